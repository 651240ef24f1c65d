"""Which matrices read what a norm gives, in blocks that llm-compressor's tables do not fit.

SmoothQuant and AWQ divide what a norm gives by a factor a channel and multiply every matrix that reads it by the same
factor. One reader left out changes the outputs. In a block with experts the readers are the first matrices of all
experts and of the shared one, and the router; in multi-head latent attention (DeepSeek) the projections into the latent
spaces, whose norms have readers of their own.
"""

from __future__ import annotations

import re
from typing import Any

from suite.compress.layers import is_router

_MLP = ("mlp", "feed_forward", "block_sparse_moe")
# after attention and before the MLP: the one of Gemma 2 and 3, of AFMoE, of everybody else
_BEFORE_MLP = ("pre_feedforward_layernorm", "pre_mlp_layernorm", "post_attention_layernorm")
_ATTENTION = (
    ("input_layernorm", ("q_proj", "q_a_proj", "k_proj", "v_proj", "kv_a_proj_with_mqa")),
    ("self_attn.q_a_layernorm", ("q_b_proj",)),
    ("self_attn.kv_a_layernorm", ("kv_b_proj",)),
)


def readers(network: Any) -> list[tuple[str, list[str]]] | None:
    """Norms and the modules that read them, by name, block after block.

    Args:
        network: in pieces (see `suite.models.linearized`).

    Returns:
        None where no block has experts or latent attention: there the library's own tables hold.
    """
    names = {name for name, _ in network.named_modules()}
    blocks = sorted(
        {match[1] for name in names if (match := re.fullmatch(r"(.*\.\d+)\.self_attn", name))},
        key=lambda name: int(name.rpartition(".")[2]),
    )
    special = [name for name in names if name.endswith((".experts.0", ".kv_a_proj_with_mqa"))]
    if not special:
        return None
    found: list[tuple[str, list[str]]] = []
    for block in blocks:
        for norm, parts in _ATTENTION:
            reading = [name for part in parts if (name := f"{block}.self_attn.{part}") in names]
            if f"{block}.{norm}" in names and reading:
                found.append((f"{block}.{norm}", reading))
        before = next((name for part in _BEFORE_MLP if (name := f"{block}.{part}") in names), None)
        inside = next((name for part in _MLP if (name := f"{block}.{part}") in names), None)
        if before and inside and (reading := _first_matrices(network, inside)):
            found.append((before, reading))
    return found


def pattern(name: str) -> str:
    """A module's name as llm-compressor takes it: this one and no other."""
    return f"re:^{re.escape(name)}$"


def _first_matrices(network: Any, inside: str) -> list[str]:
    """Matrices of an MLP, or of a mixture of experts, that read its input; the router first."""
    routers, others = [], []
    for name, module in network.get_submodule(inside).named_modules(prefix=inside):
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() != 2:
            continue
        if is_router(network, f"{name}.weight", weight):
            routers.append(name)
        elif name.rpartition(".")[2] in ("gate_proj", "up_proj"):
            others.append(name)
    return routers + others
