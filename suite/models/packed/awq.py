"""AWQ layers in AutoAWQ's gemm layout: as GPTQ's, but eight interleaved columns a word, and zero points as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.models.packed.bits import stated_group_of

if TYPE_CHECKING:
    import torch

# which of eight neighbouring columns sits in which four bits of a word
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def awq(tensors: Mapping[str, torch.Tensor], group: int | None = None) -> torch.Tensor:
    """Dense weight [outputs, inputs], float32, of a 4-bit AWQ layer in the gemm layout.

    Args:
        tensors: ``qweight`` int32 [inputs, outputs / 8], ``qzeros`` int32 [groups, outputs / 8], ``scales``
            [groups, outputs].
        group: inputs that share a scale; -1 for all; None where the file does not say, which then takes equal groups.
    """
    scales = tensors["scales"].float()
    levels, zeros = _columns(tensors["qweight"]), _columns(tensors["qzeros"])
    index = stated_group_of(len(levels), len(scales), group)
    dense: torch.Tensor = (scales[index] * (levels - zeros[index])).T
    return dense.contiguous()


def _columns(words: torch.Tensor) -> torch.Tensor:
    import torch

    shift = torch.arange(0, 32, 4)
    values = (words.to(torch.int64)[:, :, None] >> shift) & 15
    columns = torch.empty_like(values)
    columns[:, :, list(ORDER)] = values
    return columns.flatten(1)


def read(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense ``weight`` of an AWQ layer; what it is made of is taken out of `tensors`. Empty for other layers."""
    if "qweight" not in tensors:
        return {}
    version = str(grid.get("version") or grid.get("checkpoint_format") or grid.get("format") or "gemm").lower()
    bits = int(grid.get("bits") or 4)
    if version != "gemm" or bits != 4:
        raise SuiteError(f"AWQ layout {version!r}, {bits} bits is not read; 4-bit 'gemm' is")
    dense = awq(tensors, grid.get("group_size"))
    for name in ("qweight", "qzeros", "scales"):
        del tensors[name]
    return {"weight": dense}


def read_auto_round(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The same of a layer that AutoRound has packed like AWQ's."""
    return read(tensors, {**grid, "version": "gemm"}) if "awq" in str(grid.get("packing_format")) else {}
