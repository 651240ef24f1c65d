"""A network that computes in float64 throughout, so that no order of a sum decides on which side of an edge a value is.

`network.double()` alone does not: norms, rotary positions and Hadamard matrices ask for float32 by name, and a value
that is rounded afterwards may take the next step on one processor and not on another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Float64(TorchFunctionMode):
    """While this is on, whoever asks torch for float32 gets float64."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wider = {key: _wider(value) for key, value in (kwargs or {}).items()}
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        return function(*map(_wider, args), **wider)


def _wider(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
