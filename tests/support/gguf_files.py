"""GGUF files written from a network, and how a checkpoint is loaded or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from support.tiny_models import build_tokenizer

from suite.errors import SuiteError
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import resolve_model

SHAPES = {
    "token_embd": (384, 64),
    "output": (384, 64),
    "output_norm": (64,),
    "blk.0.attn_norm": (64,),
    "blk.0.ffn_norm": (64,),
    "blk.0.attn_q": (64, 64),
    "blk.0.attn_k": (32, 64),
    "blk.0.attn_v": (32, 64),
    "blk.0.attn_output": (64, 64),
    "blk.0.ffn_gate": (96, 64),
    "blk.0.ffn_up": (96, 64),
    "blk.0.ffn_down": (64, 96),
}


def write_gguf(
    path: Path,
    *,
    kind: Kind | dict[str, Kind] = Kind.Q8_0,
    shapes: dict[str, tuple[int, ...]] = SHAPES,
    stored_as: Callable[[np.ndarray, Kind], np.ndarray] = gguf.quantize,
    split: int = 0,
    empty_first: bool = False,
    **fields: Any,
) -> Path:
    """A Llama of one layer with random weights and a byte-level tokenizer.

    Args:
        kind: how matrices are stored, for all or by tensor name (the rest is float32).
        shapes: of all tensors; four heads, two of keys and values.
        stored_as: makes the bytes of a matrix.
        split: tensors a part, for a file in parts; 0 for one file.
        empty_first: whether the first part holds metadata alone.
        fields: further metadata, dots written as two underscores, below ``tokenizer.`` unless it begins with ``llama``.

    Returns:
        The file, or its first part.
    """
    tokenizer = json.loads(build_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=split, small_first_shard=empty_first)
    writer.add_context_length(256)
    writer.add_embedding_length(shapes["output_norm"][0])
    writer.add_block_count(1)
    writer.add_feed_forward_length(shapes["blk.0.ffn_down"][1])
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shapes["output_norm"][0] // 4)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<s>", "</s>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, value in fields.items():
        key = ("" if name.startswith("llama") else "tokenizer.") + name.replace("__", ".")
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, value)
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        values = generator.normal(size=shape).astype(np.float32)
        stored = kind.get(name, Kind.F32) if isinstance(kind, dict) else kind
        if len(shape) == 1 or stored == Kind.F32:
            writer.add_tensor(f"{name}.weight", values)
        else:
            writer.add_tensor(f"{name}.weight", stored_as(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return next(iter(sorted(path.parent.glob(f"{path.stem}-00001-of-*.gguf")))) if split else path


def write_network(path: Path, architecture: str, network: Any, **fields: Any) -> Path:
    """A network as llama.cpp's converter writes it, for a few architectures.

    Args:
        fields: metadata below the architecture's name, dots written as two underscores.
    """
    config, tokenizer = network.config, json.loads(build_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", 96))
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<s>", "</s>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    for name, value in fields.items():
        put = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        put = writer.add_bool if isinstance(value, bool) else put
        put(f"{architecture}.{name.replace('__', '.')}", value)
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    for name, tensor in network.state_dict().items():
        module, _, local = name.rpartition(".")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values, block = tensor.numpy(), module.partition("layers.")[2].partition(".")[0]
        if architecture in ("nemotron", "gemma2") and name.endswith(("norm.weight", "layernorm.weight")):
            values = values + 1
        elif architecture == "gpt2" and module.rpartition(".")[2].startswith("c_") and local == "weight":
            values = values.T
        elif architecture == "llama" and module.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads
            halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if module.endswith("experts"):
            parts = np.split(values, 2, axis=1) if local == "gate_up_proj" else [values]
            for part, matrices in zip(("gate", "up") if len(parts) == 2 else ("down",), parts, strict=True):
                writer.add_tensor(f"blk.{block}.ffn_{part}_exps.weight", np.ascontiguousarray(matrices))
        else:
            writer.add_tensor(f"{names.get_name(module)}.{local}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load_path(path: Path, dtype: str = "float32") -> Checkpoint:
    return load(resolve_model(str(path)), dtype=dtype)


def refusal(path: Path, dtype: str = "float32") -> str:
    with pytest.raises(SuiteError) as caught:
        load_path(path, dtype)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def dequantized(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors by the names and in the row order that transformers uses."""
    names = {
        "token_embd": "model.embed_tokens",
        "output": "lm_head",
        "output_norm": "model.norm",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_output": "self_attn.o_proj",
        **{f"attn_{part}": f"self_attn.{part}_proj" for part in "qkv"},
        **{f"ffn_{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
    }
    weights = {}
    for tensor in gguf.GGUFReader(path).tensors:
        stem = tensor.name.removesuffix(".weight")
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if stem.endswith(("attn_q", "attn_k")):
            # GGUF keeps the two halves of a head's rotary pairs interleaved
            width = values.shape[1]
            values = values.reshape(-1, width // 8, 2, width).swapaxes(1, 2).reshape(-1, width)
        layer = "model.layers.0." if stem.startswith("blk.0.") else ""
        weights[f"{layer}{names[stem.removeprefix('blk.0.')]}.weight"] = values
    return weights
