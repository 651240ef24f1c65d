"""MLX's affine layers: ``w[o, i] = scale[o, g] · q[o, i] + bias[o, g]``, q a bit stream along each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.models.packed.bits import group_of, unpack_bits

if TYPE_CHECKING:
    import torch


def read(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense ``weight`` [outputs, inputs], float32; what it is made of is taken out of `tensors`.

    Args:
        tensors: ``weight`` uint32 [outputs, inputs · bits / 32], ``scales`` and ``biases`` [outputs, groups].
    """
    import torch

    if "scales" not in tensors or tensors["weight"].dtype not in (torch.uint32, torch.int32):
        return {}
    if (mode := str(grid.get("mode") or "affine")) != "affine":
        raise SuiteError(f"MLX mode {mode!r} is not read; 'affine' is")
    words = tensors.pop("weight").view(torch.int32)
    scales, biases = tensors.pop("scales").float(), tensors.pop("biases").float()
    levels = unpack_bits(words.T.contiguous(), int(grid["bits"])).T
    index = group_of(levels.shape[1], scales.shape[1], int(grid["group_size"]))
    return {"weight": scales[:, index] * levels + biases[:, index]}
