"""Tiny models of many architectures: random weights, from their configurations, with windows that short texts leave."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from conftest import build_tokenizer

VOCABULARY = 384

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "initializer_range": 0.2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "output_router_logits": False}

# architecture: what its configuration says beside COMMON
SHAPES: Mapping[str, dict[str, Any]] = {
    "gpt_oss": {**EXPERTS, "num_local_experts": 4, "sliding_window": 8},
}


@cache
def network(shape: str, **changes: Any) -> Any:
    """A model of that shape in evaluation mode, its weights drawn from a fixed seed; shared, so leave it as it is."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(shape, **{**COMMON, **SHAPES[shape], **changes})
    return AutoModelForCausalLM.from_config(config).eval()


def folder(shape: str, path: Path) -> Path:
    """Save that model with a tokenizer as a checkpoint folder."""
    network(shape).save_pretrained(path)
    build_tokenizer().save_pretrained(path)
    return path
