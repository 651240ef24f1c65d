"""Loading a model: conversion of GGUF files to a cached checkpoint, tokenizer repair, and what is recorded about it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError, first_line
from suite.files import read_object
from suite.holding import holding
from suite.models import compressed, gguf_file, load_report
from suite.models.cache import cache_dir
from suite.models.gguf_tokenizer import BUILDER_VERSION, rebuild_tokenizer, tokenizer_identity
from suite.models.model import Model, config_hash, weights_hash
from suite.models.packed import READERS
from suite.models.quantization import LOADED, quantization_of
from suite.models.text_decoder import attention_of, in_causal_form, left_note, loader_of, text_decoder
from suite.models.unpack import unpack, unpack_mixture
from suite.models.weight_files import INDEX, SINGLE, is_zero, read_tensor, tensor_entries, weight_files
from suite.progress_bars import no_bars

if TYPE_CHECKING:
    import torch

CONVERSION_VERSION = 3
UNPACKING_VERSION = 2
# parameters that describe a quantization grid are no weights of the model
GRID_PARAMETERS = ("_scale", "_zero_point", "_g_idx", "weight_shape")
NOTE = "suite.json"
# matrices in FP8 that were divided by scales use the range to its end, 448 or more; those that were not stay near 1
SCALED = 64.0


@dataclass(frozen=True)
class Checkpoint:
    """A model in memory, ready to be compressed or scored.

    Attributes:
        network: the transformers model, in evaluation mode.
        tokenizer: its fast tokenizer, called without special tokens; `bos` says what to put in front.
        bos: token id that every sequence starts with, None for none.
        dtype: ``bfloat16``, ``float16`` or ``float32``.
        info: the `model` section of a cell's metadata; under ``notes`` what of the files was left out, if anything.
        unread: names of tensors of its files that are no part of the network.
    """

    network: Any
    tokenizer: Any
    bos: int | None
    dtype: str
    info: dict[str, Any]
    unread: frozenset[str] = field(default_factory=frozenset)

    @property
    def device(self) -> torch.device:
        """Where the embeddings live, which is where inputs go."""
        device: torch.device = self.network.get_input_embeddings().weight.device
        return device

    def check_tokens(self, read: Iterable[int], where: str, *, predicted: Iterable[int] = ()) -> None:
        """Refuse tokens that the model has no numbers for.

        A tokenizer may name more tokens than there are embeddings, such as padding added to it alone; what cannot be
        scored is a text that uses one.

        Args:
            read, predicted: token ids that go into the model, and those whose probability is asked.
            where: what holds them, for the message.

        Raises:
            SuiteError: names the first such token.
        """
        rows = self.network.get_input_embeddings().weight.shape[0]
        head = getattr(self.network.get_output_embeddings(), "weight", None)
        ends = ((read, rows), (predicted, rows if head is None else head.shape[0]))
        for token, end in ((int(token), end) for tokens, end in ends for token in tokens if token >= end):
            raise SuiteError(
                f"model {self.info['id']}: {where} holds the token {self.tokenizer.convert_ids_to_tokens(token)!r} "
                f"({token}), and the model ends with token {end - 1}; change the text, or use the model's own tokenizer"
            )


def load(model: Model, *, dtype: str, device: str = "cpu", trust_remote_code: bool = False) -> Checkpoint:
    """Load a model in the dtype it will run in.

    A GGUF file is dequantized once to a cached checkpoint in that dtype (under `suite.models.cache.cache_dir`), which
    later loads read directly.

    Args:
        device: ``cpu``, ``cuda:1``, ...; ``cuda`` takes the first accelerator, and the next ones for what does not fit
            on it; ``auto`` spreads the model evenly over all of them.

    Raises:
        SuiteError: a damaged file, an architecture transformers does not know, or a full disk.
    """
    import torch
    from transformers import AutoConfig

    if (model.path / "adapter_config.json").is_file():
        raise SuiteError(
            f"model {model.id}: an adapter lies beside its weights (adapter_config.json) and is not applied; merge it "
            "into them, or remove it"
        )
    packed = quantization_of(model.path)
    method = packed.get("quant_method")
    unpacked = method in READERS or (method in LOADED and compressed.packs_experts(model.path))
    made = model.path.is_file() or unpacked
    folder = _converted(model, dtype) if made else model.path
    note = _read_note(folder)
    source_hash = note.get("weights_hash") or weights_hash(model.path)
    wanted = getattr(torch, dtype)
    packing: AbstractContextManager[dict[str, Any]] = contextlib.nullcontext({})
    if method in LOADED and not unpacked:
        packing = compressed.dense_on_loading(model, wanted)
    remedy = f"remove {folder} and try again" if made else ""
    with _silenced(), _one_line(model, remedy), load_report.report() as report, packing as settings, _shards(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        loader = _of(model, loader_of, config)
        _without_padding(config)
        parent = note.get("parent_quantization") or _quantization_of(config)
        _read_only(config, folder)
        if method in LOADED and not unpacked and not hasattr(config, "quantization_config"):
            # stated under another key, which transformers does not look at
            config.quantization_config = {key: value for key, value in packed.items() if key != "stated_in"}
        network, found = loader.from_pretrained(
            folder,
            config=config,
            dtype=wanted,
            use_safetensors=True,
            attn_implementation=attention_of(config, loader),
            trust_remote_code=trust_remote_code,
            device_map=_device_map(device),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **settings,
        )
        # where these weights were read from says nothing of where they are saved
        vars(network.config).pop("transformers_weights", None)
        if settings:
            compressed.settle(network, wanted)
        unread, notes = _check_whole(model, folder, network, report, found)
        if inputs := note.get("inputs"):
            compressed.round_inputs(network, inputs)
        network, beside, more = _of(model, text_decoder, in_causal_form(network.eval()))
        if beside:
            inside = re.compile(rf"(^|\.)({'|'.join(re.escape(name.rpartition('.')[2]) for name in beside)})\.")
            unread |= {entry.name for entry in tensor_entries(folder) if inside.search(entry.name)}
            notes.append(left_note(beside, more))
        # a packed folder's own: its conversion is kept by what the weights depend on
        tokenizer = _tokenizer(model.path if unpacked else folder, note, trust_remote_code=trust_remote_code)
    network.eval().requires_grad_(False)
    if not getattr(tokenizer, "is_fast", False):
        raise SuiteError(f"model {model.id}: its tokenizer has no fast form (tokenizer.json); convert it first")
    template = getattr(tokenizer, "chat_template", None)
    info = {
        "name": model.name,
        "id": model.id,
        "source": model.source,
        "revision": model.revision,
        "weights_hash": source_hash,
        "config_hash": config_hash(model.path),
        "tokenizer_hash": _text_hash(tokenizer.backend_tokenizer.to_str()),
        "tokenizer_build": tokenizer_identity(model.path),
        "pre_tokenizer_assumed": note.get("pre_tokenizer_assumed"),
        "chat_template_hash": _text_hash(json.dumps(template, sort_keys=True)) if template else None,
        "params": count_parameters(network),
        "architecture": network.config.model_type,
        "parent_quantization": parent,
    }
    if notes := [*note.get("notes", ()), *notes]:
        info["notes"] = notes
    return Checkpoint(
        network,
        tokenizer,
        bos_of(tokenizer, _read_note(model.path) if unpacked else note),
        dtype,
        info,
        unread | frozenset(note.get("unread", ())),
    )


def _read_only(config: Any, folder: Path) -> None:
    """Have transformers read the files that are hashed and counted, and no others."""
    only = weight_files(folder)
    stated = getattr(config, "transformers_weights", None)
    if stated is not None and [folder / str(stated)] != only:
        raise SuiteError(
            f"model {folder}: config.json names {stated} as its weights, and {only[0].name} is there too; remove "
            "'transformers_weights' from config.json, or the files that are not meant"
        )
    if [file.name for file in only] != [SINGLE]:
        config.transformers_weights = only[0].name if len(only) == 1 else INDEX


@contextlib.contextmanager
def _shards(folder: Path) -> Iterator[None]:
    """Inside, transformers takes a checkpoint's parts from `weight_files`; by itself it wants an index's metadata."""
    from transformers import modeling_utils

    library: Any = modeling_utils
    given = library.get_checkpoint_shard_files

    def parts(place: Any, *more: Any, **named: Any) -> Any:
        if Path(place) != folder:
            return given(place, *more, **named)
        return [str(file) for file in weight_files(folder)], {
            "weight_map": {entry.name: entry.file.name for entry in tensor_entries(folder)}
        }

    with holding(library, "get_checkpoint_shard_files", parts):
        yield


def _without_padding(config: Any) -> bool:
    """Take a padding token that has no embedding out of a configuration: no text is padded with it here.

    torch refuses to build embeddings for one.
    """
    text = config.get_text_config()
    token, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    beyond = isinstance(token, int) and isinstance(rows, int) and token >= rows
    if beyond:
        text.pad_token_id = None
    return beyond


def _of(model: Model, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result; what it refuses names the model."""
    try:
        return function(*arguments)
    except SuiteError as error:
        raise SuiteError(f"model {model.id}: {error}") from error


def _device_map(device: str) -> str | None:
    """What accelerate is asked for: nothing on the CPU; several accelerators are filled one after the other."""
    import torch

    if device == "cpu":
        return None
    return "sequential" if device == "cuda" and torch.cuda.device_count() > 1 else device


def load_tokenizer(model: Model) -> tuple[Any, int | None]:
    """A model's tokenizer and the id every sequence starts with, without its weights.

    A GGUF file is converted as `load` would do, because its tokenizer comes out of that.

    Raises:
        SuiteError: a tokenizer that cannot be read.
    """
    folder = _converted(model, "float32") if model.path.is_file() else model.path
    note = _read_note(folder)
    with _silenced(), _one_line(model, f"remove {folder} and try again" if model.path.is_file() else ""):
        tokenizer = _tokenizer(folder, note)
    return tokenizer, bos_of(tokenizer, note)


def _tokenizer(folder: Path, note: dict[str, Any], *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint folder.

    Of a rebuilt one tokenizer.json is taken as it stands: the classes that transformers keeps for some architectures
    put their own pre-tokenizer in its place.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    as_it_stands: Any = PreTrainedTokenizerFast
    if note.get("rebuilt"):
        return as_it_stands.from_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


def count_parameters(network: Any) -> int:
    """A network's weights; what describes a quantization grid is none."""
    return sum(one.numel() for name, one in network.named_parameters() if not name.endswith(GRID_PARAMETERS))


def bos_of(tokenizer: Any, note: Mapping[str, Any]) -> int | None:
    """The id every sequence starts with: the GGUF's add_bos_token decides, else what the tokenizer itself does."""
    if "add_bos" in note:
        return tokenizer.bos_token_id if note["add_bos"] else None
    ids = tokenizer("a").input_ids
    return tokenizer.bos_token_id if ids and ids[0] == tokenizer.bos_token_id else None


def _quantization_of(config: Any) -> str | None:
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return None
    entries = quantization if isinstance(quantization, dict) else quantization.to_dict()
    return str(entries.get("quant_method", "quantized"))


def _converted(model: Model, dtype: str) -> Path:
    """The cached checkpoint folder of a GGUF file or a packed checkpoint in a dtype, made when it is not there."""
    source_hash = weights_hash(model.path)
    packed = quantization_of(model.path)
    number = f"u{UNPACKING_VERSION}" if packed else f"v{CONVERSION_VERSION}.{BUILDER_VERSION}"
    place = source_hash
    if packed:
        # bits and layout are in the configuration, or in a file beside it
        place = _text_hash(f"{source_hash}{config_hash(model.path)}{json.dumps(packed, sort_keys=True)}")
    folder = cache_dir() / "checkpoints" / f"{place.removeprefix('sha256:')[:24]}-{dtype}-{number}"
    if (folder / NOTE).is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(".converting-*"):
            # what a killed conversion left; a day is longer than any conversion takes
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    except OSError as error:
        raise SuiteError(f"cache {folder.parent}: {error.strerror}; set SUITE_CACHE to a writable folder") from error
    try:
        with _one_line(model):
            if packed:
                make = unpack_mixture if packed["quant_method"] in LOADED else unpack
                note = {"weights_hash": source_hash, **make(model, packed, dtype, partial)}
                # written last: a folder without it is unfinished
                (partial / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True), encoding="utf-8")
            else:
                _convert(model, dtype, partial, source_hash)
        # another process may have finished the same conversion meanwhile: one of the two equal folders stays
        with contextlib.suppress(FileExistsError, OSError):
            partial.rename(folder)
        if not (folder / NOTE).is_file():
            raise SuiteError(f"cache {folder}: could not be put in place; remove it and try again")
    except OSError as error:
        raise SuiteError(
            f"cache {folder.parent}: {error.strerror or error}; free disk space or set SUITE_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _convert(model: Model, dtype: str, out: Path, source_hash: str) -> None:
    """Dequantize a GGUF file to safetensors in `dtype`, with its tokenizer, and note what it was."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    reader = gguf_file.read_checked(model.path)
    whole = gguf_file.joined(model.path, out)
    tensors = gguf_file.opened(whole).tensors
    try:
        tokenizer, wants_bos, assumed = rebuild_tokenizer(reader)
    except SuiteError as error:
        raise SuiteError(f"model {model.id}: {error}") from error
    add_bos = gguf_file.field(reader, "tokenizer.ggml.add_bos_token")
    types = Counter(tensor.tensor_type.name for tensor in tensors)
    quantized = {name: count for name, count in types.items() if name not in ("F32", "F16", "BF16")}
    with _silenced(), load_report.report() as report, gguf_file.untaken() as passed:
        config = AutoConfig.from_pretrained(whole.parent, gguf_file=whole.name)
        _without_padding(config)
        gguf_file.complete(reader, tensors, config)
        used = gguf_file.apply_rope(model.path, reader, tensors, config)
        network, found = loader.from_pretrained(
            whole.parent,
            gguf_file=whole.name,
            config=config,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        load_report.check(model.id, network, report, found["mismatched_keys"], {})
    gguf_file.check_taken(model.id, reader, network.config.get_text_config(), passed, used)
    gguf_file.check_rotated(model.id, reader, network)
    if whole != model.path:
        whole.unlink()
    note = {
        "weights_hash": source_hash,
        "parent_quantization": max(quantized, key=lambda name: quantized[name]) if quantized else None,
        "tensor_types": dict(sorted(types.items())),
        "add_bos": bool(wants_bos if add_bos is None else add_bos),
        "rebuilt": True,
        "pre_tokenizer_assumed": assumed,
    }
    network.config.__dict__.pop("quantization_config", None)
    # a file may list more tokens than it has embeddings
    network.config.get_text_config().vocab_size = network.get_input_embeddings().weight.shape[0]
    state = network.state_dict()
    if network.config.get_text_config().tie_word_embeddings:
        state.pop("lm_head.weight", None)
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, out / "model.safetensors", {"format": "pt"}
    )
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # written last: a folder without it is unfinished
    (out / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True), encoding="utf-8")


def _check_whole(
    model: Model, folder: Path, network: Any, report: load_report.Report, found: Any
) -> tuple[frozenset[str], list[str]]:
    """What of the files in a folder is no part of the network, and what to say of it; refuses what must not be."""
    entries = {entry.name: entry for entry in tensor_entries(folder)}
    shapes = {name: entry.shape for name, entry in entries.items()}
    biases = [name for name in report.unexpected & entries.keys() if name.endswith(".bias")]
    zeros = {name for name in biases if quantization_of(model.path) and is_zero(entries[name])}
    unread, notes = load_report.check(model.id, network, report, found["mismatched_keys"], shapes, zeros)
    for name in sorted(unread):
        if name.endswith("rotary_emb.inv_freq"):
            _check_frequencies(model, name, read_tensor(entries[name]), network)
    weights = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    integers = sorted(name for name in weights & entries.keys() if not entries[name].kind.startswith(("F", "BF")))
    if integers and not quantization_of(folder):
        raise SuiteError(
            f"model {model.id}: {len(integers)} of its weights are stored as integers, first {integers[0]} "
            f"({entries[integers[0]].kind}), and nothing says how they are packed; restore the quantization_config"
        )
    eights = sorted(name for name in weights & entries.keys() if entries[name].kind.startswith("F8_"))
    if eights and not quantization_of(folder):
        matrices = [network.get_parameter(name).detach() for name in eights if len(shapes[name]) > 1]
        if (far := max((float(matrix.abs().max()) for matrix in matrices), default=0.0)) >= SCALED:
            raise SuiteError(
                f"model {model.id}: {len(eights)} of its weights are stored as FP8 and reach {far:g}, as weights do "
                "that are to be multiplied by scales, and nothing says where those are; restore the "
                "quantization_config, or save it dense"
            )
    for name in entries.keys() - weights - unread:
        # one weight spelled in two ways, of which a load takes either
        if (other := f"{network.base_model_prefix}.{name}") in weights & entries.keys():
            raise SuiteError(
                f"model {model.id}: its files hold both {name} and {other}, which are one weight of the network; "
                "remove the one that is not meant"
            )
    return unread, notes


def _check_frequencies(model: Model, name: str, stored: Any, network: Any) -> None:
    """Refuse a file whose rotary frequencies are not those that its configuration makes."""
    import torch

    if getattr(network.config.get_text_config(), "rope_parameters", {}).get("rope_type", "default") != "default":
        return  # those that old files hold are unscaled
    for key, made in network.named_buffers():
        if key.endswith("rotary_emb.inv_freq") and made.shape == stored.shape:
            # they were stored in 16 bits too
            if not torch.allclose(made.float().cpu(), stored.float(), rtol=0.01, atol=1e-7):
                raise SuiteError(
                    f"model {model.id}: {name} of the file holds other rotary frequencies than config.json makes "
                    "(rope_theta, scaling); correct one of them"
                )
            return


def _read_note(folder: Path) -> dict[str, Any]:
    return read_object(folder / NOTE, "remove its folder and try again")


def _text_hash(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the libraries' own progress bars and notices off the terminal."""
    from transformers.utils import logging as library_logging

    logging: Any = library_logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with no_bars(), warnings.catch_warnings():
            # that packed weights are made dense on loading is what is wanted
            warnings.filterwarnings("ignore", message="You passed .quantization_config")
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _one_line(model: Model, remedy: str = "") -> Iterator[None]:
    """Turn what the libraries raise on a damaged or unknown checkpoint into one line that names it."""
    remedy = remedy or f"is {model.path.name} complete and supported?"
    try:
        yield
    except (SuiteError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers of damaged files raise whatever the damage makes them meet
        if "no space left" in str(error).lower():
            raise SuiteError(
                f"cache {cache_dir()}: no space left on device; free disk space or set SUITE_CACHE to another folder"
            ) from error
        raise SuiteError(f"model {model.id}: cannot be loaded ({first_line(error).rstrip('.')}); {remedy}") from error
