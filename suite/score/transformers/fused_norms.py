"""RMS normalization in one fused operation, where an architecture's own module takes seven.

On a CPU in bfloat16 the seven cost a sixth of a forward pass. Both compute in float32 inside; the fused one rounds
once at the end instead of twice, so a quarter of its 16-bit outputs differ. A network that is scored is therefore
given back as it came.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# weight · x / sqrt(mean(x²) + ε), nothing else; Gemma's scales by 1 + weight and is left alone
PLAIN_RMS_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


@contextlib.contextmanager
def fused_norms(network: Any) -> Iterator[int]:
    """Inside, every plain RMS norm of a network runs fused; yields how many there are. Contexts may be nested."""
    norms = [module for module in network.modules() if type(module).__name__ in PLAIN_RMS_NORMS]
    # a module may have a forward pass of its own already, such as one that moves tensors between devices
    given = [vars(module).get("forward") for module in norms]
    try:
        for module in norms:
            module.forward = MethodType(_fused, module)
        yield len(norms)
    finally:
        for module, forward in zip(norms, given, strict=True):
            if forward is None:
                vars(module).pop("forward", None)
            else:
                module.forward = forward


def _fused(module: Any, states: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.rms_norm(states, (states.shape[-1],), module.weight, module.variance_epsilon)
