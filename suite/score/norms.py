"""RMS normalization in one fused operation, where an architecture's own module takes seven.

On a CPU in bfloat16 the seven cost a sixth of a forward pass. Both compute in float32 inside; the fused one rounds
once at the end instead of twice.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# weight · x / sqrt(mean(x²) + ε), nothing else; Gemma's scales by 1 + weight and is left alone
PLAIN_RMS_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


def fuse_norms(network: Any) -> int:
    """Let every plain RMS norm of a network run fused, in place, and say how many there are. Repeating is harmless."""
    found = 0
    for module in network.modules():
        if type(module).__name__ in PLAIN_RMS_NORMS:
            module.forward = MethodType(_fused, module)
            found += 1
    return found


def _fused(module: Any, states: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.rms_norm(states, (states.shape[-1],), module.weight, module.variance_epsilon)
