"""GGUF files: their parts put together, and whether their tensors and metadata are those of the network that is built.

transformers takes from a GGUF file what it knows, fills in defaults for what it does not find, and passes over the rest
without a word: a second part alone becomes a network of the default size, a scaled rotary embedding an unscaled one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.errors import SuiteError
from suite.holding import holding
from suite.models.weight_files import gguf_parts

_CHUNK = 1 << 22
# type of a token that ordinary text gives
_ORDINARY = 1
# without these transformers builds a network of its default size
_NEEDED = ("embedding_length", "block_count", "attention.head_count")
# Metadata below the architecture's name that changes scores: the setting of the network that has to agree, "" where it
# has none, and values that change nothing.
SETTINGS: dict[str, tuple[str, tuple[object, ...]]] = {
    "embedding_length": ("hidden_size", ()),
    "feed_forward_length": ("intermediate_size", ()),
    "attention.head_count": ("num_attention_heads", ()),
    "attention.head_count_kv": ("num_key_value_heads", ()),
    "attention.key_length": ("head_dim", ()),
    "attention.layer_norm_rms_epsilon": ("", ()),
    "attention.layer_norm_epsilon": ("", ()),
    "attention.sliding_window": ("sliding_window", (0,)),
    "attention.scale": ("", (0.0,)),
    "attention.clamp_kqv": ("", (0.0,)),
    "attention.max_alibi_bias": ("", (0.0,)),
    "rope.freq_base": ("rope_theta", ()),
    "rope.freq_base_swa": ("rope_theta", ()),
    "rope.scale_linear": ("", (1.0,)),
    "rope.scaling.type": ("", ("none",)),
    "attn_logit_softcapping": ("attn_logit_softcapping", (0.0,)),
    "final_logit_softcapping": ("final_logit_softcapping", (0.0,)),
    "logit_scale": ("logit_scale", (0.0, 1.0)),
    "residual_scale": ("residual_multiplier", (0.0, 1.0)),
    "embedding_scale": ("embedding_multiplier", (0.0, 1.0)),
    "expert_used_count": ("num_experts_per_tok", (0,)),
    "expert_weights_scale": ("", (0.0, 1.0)),
}
# how configurations call what is added under the root of a norm
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")
# how configurations call what files state of experts
EXPERTS = {
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "expert_weights_norm": "norm_topk_prob",
}
# blocks of the sizes whose attention logits are not divided by the root of a head's size
WIDE = {"gemma2": 46, "gemma3": 62}
# tensors that hold what the configuration says as well
_DERIVED = re.compile(r"\.attn_rot_embd(\.weight)?$")
_FACTORS, _LONG, _SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"


def read_checked(path: Path) -> Any:
    """An open `gguf.GGUFReader` of a GGUF file, or of its first part, checked with all of its parts.

    Raises:
        SuiteError: parts that do not belong together, sizes that are not stated, or other ones than the tensors have.
    """
    parts = gguf_parts(path)
    readers = [opened(part) for part in parts]
    first, names = readers[0], [tensor.name for reader in readers for tensor in reader.tensors]
    for place, (part, reader) in enumerate(zip(parts, readers, strict=True)):
        count, number = (field(reader, f"split.{key}") for key in ("count", "no"))
        if count is not None and (int(count), int(number or 0)) != (len(parts), place):
            raise SuiteError(
                f"model file {part}: part {int(number or 0) + 1} of {int(count)} by its metadata; give the parts the "
                f"names <model>-00001-of-{int(count):05}.gguf and so on, and name the first"
            )
    total = field(first, "split.tensors.count")
    if len(names) != len(set(names)) or (len(parts) > 1 and total is not None and int(total) != len(names)):
        raise SuiteError(
            f"model file {path}: its parts hold {len(set(names))} tensors, {total} by its metadata; "
            "are they of one model?"
        )
    _check_sizes(path, first, [tensor for reader in readers for tensor in reader.tensors])
    return first


def joined(path: Path, out: Path) -> Path:
    """A GGUF file whole: itself, or its parts written as one file in the folder `out`."""
    parts = gguf_parts(path)
    if len(parts) == 1:
        return path
    readers = [opened(part) for part in parts]
    last = max(readers[0].fields.values(), key=lambda one: int(one.offset))
    end = last.offset + sum(int(piece.nbytes) for piece in last.parts)
    target = out / "joined.gguf"
    alignment = int(readers[0].alignment)
    tensors = [(part, tensor) for part, reader in zip(parts, readers, strict=True) for tensor in reader.tensors]
    with target.open("wb") as whole:
        with parts[0].open("rb") as handle:
            head = bytearray(handle.read(end))
        head[8:16] = len(tensors).to_bytes(8, "little")
        whole.write(head)
        offset = 0
        for _, tensor in tensors:
            *described, _ = tensor.field.parts
            whole.write(b"".join(piece.tobytes() for piece in described) + offset.to_bytes(8, "little"))
            offset += -(-int(tensor.n_bytes) // alignment) * alignment
        whole.write(bytes(-whole.tell() % alignment))
        for part, tensor in tensors:
            with part.open("rb") as handle:
                handle.seek(int(tensor.data_offset))
                left = int(tensor.n_bytes)
                while left:
                    block = handle.read(min(left, _CHUNK))
                    if not block:
                        raise SuiteError(f"model file {part}: truncated inside tensor {tensor.name!r}; fetch it again")
                    left -= whole.write(block)
            whole.write(bytes(-int(tensor.n_bytes) % alignment))
    return target


def field(reader: Any, key: str) -> Any:
    """A metadata value, None where the file has none."""
    found = reader.get_field(key)
    return None if found is None else found.contents()


def complete(reader: Any, tensors: Sequence[Any], config: Any) -> None:
    """Write into a configuration what a file says of its network and transformers leaves at defaults of its own.

    Those are the size of heads and how much of it is rotated, the base of rotations, epsilons of norms, soft caps,
    sizes of experts, whether layers have biases, Phi-3's window, GPT-2's sizes, and what attention logits of Gemma 2
    and 3 are divided by, which no file states: as llama.cpp does, the root of a head's size, for the 27B models that of
    their width over their heads.
    """
    architecture = str(field(reader, "general.architecture"))

    def stated(key: str) -> Any:
        return field(reader, f"{architecture}.{key}")

    if (size := stated("attention.key_length")) and hasattr(config, "head_dim"):
        config.head_dim = int(size)
    for key in ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"):
        name = next((name for name in EPSILONS if hasattr(config, name)), None)
        if name and stated(key) is not None:
            setattr(config, name, float(stated(key)))
    rope = getattr(config, "rope_parameters", None)
    if rope and not any(isinstance(part, dict) for part in rope.values()):
        if base := stated("rope.freq_base"):
            rope["rope_theta"] = float(base)
        if rotated := stated("rope.dimension_count"):
            share = int(rotated) / _head_size(config)
            given = rope.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None))
            if share != (1.0 if given is None else given):
                rope["partial_rotary_factor"] = config.partial_rotary_factor = share
    for key, name in EXPERTS.items():
        if stated(key) is not None and hasattr(config, name):
            setattr(config, name, type(getattr(config, name))(stated(key)))
    names = {tensor.name for tensor in tensors}
    for tensor, name in (("attn_q.bias", "attention_bias"), ("ffn_up.bias", "mlp_bias")):
        if f"blk.0.{tensor}" in names and hasattr(config, name):
            setattr(config, name, True)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if stated(key) is not None and hasattr(config, key):
            setattr(config, key, float(stated(key)) or None)
    window = stated("attention.sliding_window")
    if architecture == "phi3" and window:
        config.sliding_window = int(window)
    if architecture == "gpt2":
        config.n_inner = stated("feed_forward_length")
        config.n_positions = int(stated("context_length") or config.n_positions)
    if architecture in WIDE:
        wide = config.num_hidden_layers == WIDE[architecture]
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads if wide else config.head_dim


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def check_rotated(label: str, reader: Any, network: Any) -> None:
    """Refuse a file of which another part of each head is rotated than in the network."""
    rotated = field(reader, f"{field(reader, 'general.architecture')}.rope.dimension_count")
    found = {
        2 * buffer.shape[-1] for name, buffer in network.named_buffers() if name.rpartition(".")[2].endswith("inv_freq")
    }
    if rotated is not None and found and int(rotated) not in found:
        raise SuiteError(
            f"model {label}: {rotated} numbers of a head are rotated by the file, {min(found)} by the network that "
            "transformers makes of it; convert the original checkpoint instead"
        )


def apply_rope(path: Path, reader: Any, tensors: Sequence[Any], config: Any) -> set[str]:
    """Write a file's scaling of rotary frequencies into a configuration that transformers made without it.

    ``rope_freqs.weight`` divides each frequency (Llama 3.1 and later); Phi-3 has two such tensors, for texts up to its
    original length and beyond; a linear factor stands in the metadata, and is that of the layers without a window where
    those have rotations of their own (Gemma 3). All that transformers' ``longrope`` and ``linear`` do as well.

    Returns:
        Names of the tensors that are used by this.

    Raises:
        SuiteError: another kind of scaling.
    """
    architecture = field(reader, "general.architecture")
    values = {
        tensor.name: [float(value) for value in tensor.data.flatten()]
        for tensor in tensors
        if tensor.name in (_FACTORS, _LONG, _SHORT)
    }
    kind = field(reader, f"{architecture}.rope.scaling.type")
    factor = field(reader, f"{architecture}.rope.scaling.factor")
    if not values and kind in (None, "none"):
        return set()
    rope = {key: value for key, value in dict(config.rope_parameters).items() if key != "rope_type"}
    full = rope.get("full_attention")
    if isinstance(full, dict) and not values and kind == "linear" and factor:
        scaled = {**full, "rope_type": "linear", "factor": float(factor)}
        config.rope_parameters = {**rope, "full_attention": scaled}
    elif not isinstance(full, dict) and (_FACTORS in values or {_LONG, _SHORT} <= values.keys()):
        original = field(reader, f"{architecture}.rope.scaling.original_context_length")
        attention = field(reader, f"{architecture}.rope.scaling.attn_factor")
        both = values.get(_FACTORS)
        config.rope_parameters = {
            **rope,
            "rope_type": "longrope",
            "short_factor": both or values[_SHORT],
            "long_factor": both or values[_LONG],
            "original_max_position_embeddings": int(original or config.max_position_embeddings),
            "attention_factor": float(attention or 1.0),
        }
    elif not isinstance(full, dict) and kind == "linear" and factor:
        config.rope_parameters = {**rope, "rope_type": "linear", "factor": float(factor)}
    else:
        raise SuiteError(f"model file {path}: rotary embeddings scaled by {kind or 'factors'!r} are not read")
    return set(values)


@contextmanager
def untaken() -> Iterator[set[str]]:
    """Names of the tensors that loads in this context pass over without a word."""
    from transformers import modeling_gguf_pytorch_utils

    library: Any = modeling_gguf_pytorch_utils
    plain = library.get_gguf_hf_weights_map
    passed: set[str] = set()

    class Asked(dict[str, str]):
        def __contains__(self, name: object) -> bool:
            found = super().__contains__(name)
            if not found and name is not None:
                passed.add(str(name))
            return found

    with holding(library, "get_gguf_hf_weights_map", lambda *given, **named: Asked(plain(*given, **named))):
        yield passed


def check_taken(label: str, reader: Any, config: Any, passed: set[str], used: set[str]) -> None:
    """Refuse a file of which something that matters is not in the network.

    Args:
        config: of the loaded network's text part.
        passed: names from `untaken`.
        used: names that were used otherwise.

    Raises:
        SuiteError: tensors that nothing took, or a setting that the network has otherwise.
    """
    strange = sorted(name for name in passed - used if not _DERIVED.search(name))
    if strange:
        raise SuiteError(
            f"model {label}: {len(strange)} tensors of the file are taken by no weight of a {config.model_type}: "
            f"{', '.join(strange[:3])}{' ...' if len(strange) > 3 else ''}; convert the original checkpoint instead"
        )
    architecture = field(reader, "general.architecture")
    for key, (attribute, neutral) in SETTINGS.items():
        value = field(reader, f"{architecture}.{key}")
        if value is None or isinstance(value, list) or value in neutral or _agrees(config, key, attribute, value):
            continue
        raise SuiteError(
            f"model {label}: {architecture}.{key} is {value} in the file, and the network that transformers makes of "
            f"it has {getattr(config, attribute, 'nothing') if attribute else 'nothing'} there; convert the original "
            "checkpoint instead"
        )


def _agrees(config: Any, key: str, attribute: str, value: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or {}
    if key == "rope.scaling.type":
        return rope.get("full_attention", rope).get("rope_type") in (value, "longrope")
    if key in ("rope.freq_base", "rope.freq_base_swa"):
        found = [rope.get("rope_theta"), *(part.get("rope_theta") for part in rope.values() if isinstance(part, dict))]
    elif key.endswith("epsilon"):
        found = [getattr(config, name, None) for name in EPSILONS]
    else:
        found = [getattr(config, attribute, None) if attribute else None]
    if key == "feed_forward_length" and found == [None]:
        found = [getattr(config, "n_inner", None)]
    if key == "attention.key_length" and found == [None]:
        found = [config.hidden_size // config.num_attention_heads]
    if key == "attention.sliding_window" and int(value) >= int(getattr(config, "max_position_embeddings", 0) or 0):
        return True
    return any(isinstance(one, int | float) and abs(one - value) <= 1e-6 * abs(value) for one in found)


def opened(path: Path) -> Any:
    """A `gguf.GGUFReader`, whatever it raises on a damaged file."""
    from gguf import GGUFReader

    return GGUFReader(path)


def _fits(reader: Any, vocabulary: int | None, rows: int) -> bool:
    """Whether so many tokens go with so many rows of embeddings.

    Tokens beyond the rows do no harm as long as none of them is an ordinary one: a text that holds one is refused where
    texts are encoded.
    """
    if vocabulary is None or vocabulary == rows:
        return True
    beyond = list(field(reader, "tokenizer.ggml.token_type") or ())[rows:vocabulary]
    return len(beyond) == vocabulary - rows > 0 and _ORDINARY not in beyond


def _check_sizes(path: Path, reader: Any, tensors: list[Any]) -> None:
    architecture = field(reader, "general.architecture")
    if architecture is None:
        raise SuiteError(f"model file {path}: names no architecture; fetch it again")
    lacking = [key for key in _NEEDED if field(reader, f"{architecture}.{key}") is None]
    if lacking:
        raise SuiteError(
            f"model file {path}: its metadata has no {architecture}.{lacking[0]}; is it part of a model, or an adapter?"
        )
    width, blocks = (int(field(reader, f"{architecture}.{key}")) for key in ("embedding_length", "block_count"))
    shapes = {tensor.name: [int(size) for size in tensor.shape] for tensor in tensors}
    embeddings = shapes.get("token_embd.weight")
    vocabulary = field(reader, f"{architecture}.vocab_size")
    if embeddings is None or embeddings[0] != width or not _fits(reader, vocabulary, embeddings[1]):
        raise SuiteError(
            f"model file {path}: token_embd.weight is {embeddings or 'not there'}, and its metadata says {width} wide"
            f"{'' if vocabulary is None else f' for {vocabulary} tokens'}; they are not of one model"
        )
    there = {int(match[1]) for name in shapes if (match := re.match(r"blk\.(\d+)\.", name))}
    if there != set(range(blocks)):
        raise SuiteError(
            f"model file {path}: tensors of {len(there)} blocks, and its metadata says {blocks}; "
            "they are not of one model"
        )
