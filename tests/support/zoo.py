"""Tiny models of many architectures: random weights, from their configurations, with windows that short texts leave."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from support.tiny_models import build_tokenizer

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
WINDOWED = ["sliding_attention", "full_attention", "sliding_attention"]
MIXED: dict[str, Any] = {"sliding_window": 8, "layer_types": WINDOWED}

# architecture: what its configuration says beside COMMON. Their layers differ where the architecture lets them.
SHAPES: Mapping[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "ministral": MIXED,
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 8},
    "qwen3": MIXED | {"use_sliding_window": True},
    "gemma": {"tie_word_embeddings": True},
    "gemma2": MIXED | {"query_pre_attn_scalar": 16, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 2.0},
    "gemma3_text": MIXED | {"query_pre_attn_scalar": 16, "rope_parameters": None},
    "phi3": {"sliding_window": 8, "original_max_position_embeddings": 512},
    "phi": {"partial_rotary_factor": 0.5},
    "olmo": {"clip_qkv": 3.0},
    "olmo2": {},
    "olmo3": MIXED | {"rope_parameters": None},
    "granite": {
        "logits_scaling": 4.0,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
        "attention_multiplier": 0.1,
    },
    "smollm3": MIXED | {"no_rope_layers": [1, 0, 1], "use_sliding_window": True},
    "glm4": {"partial_rotary_factor": 0.5},
    "glm": {"partial_rotary_factor": 0.5},
    "cohere": {"logit_scale": 0.25},
    "cohere2": MIXED | {"logit_scale": 0.25},
    "nemotron": {},
    "stablelm": {},
    "starcoder2": {"sliding_window": 8},
    "exaone4": MIXED,
    "seed_oss": {},
    "ernie4_5": {},
    "helium": {},
    "arcee": {},
    "hunyuan_v1_dense": {},
    "gpt_neox": {"rotary_pct": 0.5},
    "gptj": {"rotary_dim": 8},
    "gpt2": {},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "mixtral": EXPERTS | {"num_local_experts": 4, "sliding_window": 8},
    "qwen2_moe": EXPERTS | {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48},
    "qwen3_moe": EXPERTS | {"num_experts": 4, "moe_intermediate_size": 32},
    "olmoe": EXPERTS | {"num_experts": 4},
    "granitemoe": EXPERTS | {"num_local_experts": 4, "logits_scaling": 4.0},
    "gpt_oss": EXPERTS | {"num_local_experts": 4, "sliding_window": 8},
    "deepseek_v3": EXPERTS
    | {
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "head_dim": None,
        "kv_lora_rank": 16,
        "q_lora_rank": 24,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "llama4_text": EXPERTS
    | {
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 96,
        "attention_chunk_size": 8,
        "no_rope_layers": [1, 0, 1],
        "layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
    },
    # no tree: states that run along the row, positions that are counted along it
    "mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 8, "expand": 2, "n_groups": 2, "chunk_size": 8},
    "qwen3_next": EXPERTS
    | {
        "num_experts": 4,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "full_attn_idxs": [1]},
    "minimax_m3_vl_text": EXPERTS
    | {"num_local_experts": 4, "layer_types": ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"]},
    "bloom": {"n_head": 4},
    "mpt": {"d_model": 64, "n_heads": 4, "n_layers": 3},
    "falcon": {"alibi": True, "head_dim": None},
    "gpt_neo": {
        "num_layers": 3,
        "attention_types": [[["local", "global", "local"], 1]],
        "num_heads": 4,
        "window_size": 8,
    },
    # no causal language model
    "bert": {},
}


_SIGHT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_SIGHT: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "embed_dim": 32,
    "num_heads": 2,
    "out_hidden_size": 64,
    "intermediate_size": 48,
    "patch_size": 14,
    "window_size": 28,
    "fullatt_block_indexes": [0],
    "deepstack_visual_indexes": [0],
    "num_position_embeddings": 16,
}
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_IMAGES = {"image_token_id": 383, "video_token_id": 382, "vision_start_token_id": 381, "vision_end_token_id": 380}

# models that see: architecture -> (architecture of its text decoder, changes to that one's configuration, the rest)
SEEING: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gemma3": (
        "gemma3_text",
        {},
        {"vision_config": {"model_type": "siglip_vision_model", **_SIGHT}, "mm_tokens_per_image": 4},
    ),
    "mistral3": ("mistral", {}, {"vision_config": {"model_type": "pixtral", "head_dim": 16, **_SIGHT}}),
    "llava": ("llama", {}, {"vision_config": {"model_type": "clip_vision_model", **_SIGHT}}),
    "llama4": (
        "llama4_text",
        {},
        {
            "vision_config": _SIGHT
            | {
                "intermediate_size": 128,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
                "pixel_shuffle_ratio": 0.5,
            }
        },
    ),
    "qwen2_5_vl": (
        "qwen2",
        {"model_type": "qwen2_5_vl_text", "rope_parameters": _ROPE},
        {"vision_config": _QWEN_SIGHT, **_IMAGES},
    ),
    "qwen3_vl": (
        "qwen3",
        {"model_type": "qwen3_vl_text", "rope_parameters": _ROPE, "layer_types": None, "sliding_window": None},
        {"vision_config": _QWEN_SIGHT, **_IMAGES},
    ),
    "qwen3_vl_moe": (
        "qwen3_moe",
        {"model_type": "qwen3_vl_moe_text", "rope_parameters": _ROPE},
        {"vision_config": _QWEN_SIGHT, **_IMAGES},
    ),
}


@cache
def network(shape: str) -> Any:
    """A model of that shape in evaluation mode, its weights drawn from a fixed seed; shared, so leave it as it is."""
    return build(shape)


def build(shape: str, **changes: Any) -> Any:
    """A new model of that shape, with other values in its configuration."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    if shape in SEEING:
        return build_seeing(shape, *SEEING[shape][:2])
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(shape, **_options(shape, changes))).eval()


def build_seeing(shape: str, text: str, special: Mapping[str, Any]) -> Any:
    """A new model that sees, around a text decoder of a shape, with changes to that one's configuration."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    torch.manual_seed(0)
    inner = {"model_type": text, **_options(text, special)}
    config = AutoConfig.for_model(shape, text_config=inner, **copy.deepcopy(SEEING[shape][2]))
    return AutoModelForImageTextToText.from_config(config).eval()


def _options(shape: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    # configurations change what they are given
    options = copy.deepcopy({**COMMON, **SHAPES.get(shape, {}), **changes})
    return {name: value for name, value in options.items() if value is not None}


def folder(shape: str, path: Path) -> Path:
    """Save that model with a tokenizer as a checkpoint folder."""
    network(shape).save_pretrained(path)
    build_tokenizer().save_pretrained(path)
    return path


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 1e4, "factor": 8.0}


def longrope(length: int = 32) -> Any:
    rope = LONG | {"original_max_position_embeddings": length}
    return build("phi3", rope_parameters=rope, original_max_position_embeddings=length, sliding_window=None)
