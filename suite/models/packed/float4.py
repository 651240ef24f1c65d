"""FP4 (E2M1) weights, two a byte, the first in the low half: NVFP4, MXFP4, and the experts of gpt-oss.

NVFP4 has an FP8 scale for 16 neighbours and one float32 number for the whole tensor: ``weight_scale_2`` of Model
Optimizer is multiplied, ``weight_global_scale`` of compressed-tensors and AutoRound divides. MXFP4 has a power of two
for 32 neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.models.packed.bits import scale_of

if TYPE_CHECKING:
    import torch

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def unpack_e2m1(packed: torch.Tensor) -> torch.Tensor:
    """FP4 values, float32, of bytes: the last dimension doubles.

    >>> import torch
    >>> unpack_e2m1(torch.tensor([[0xF1]], dtype=torch.uint8)).tolist()
    [[0.5, -6.0]]
    """
    import torch

    table = torch.tensor([*_E2M1, *(-value for value in _E2M1)], device=packed.device)
    return table[torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).long()]


def _grouped(packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Values [..., inputs] times a scale [..., groups] of equally many neighbours."""
    values = unpack_e2m1(packed)
    if values.shape[:-1] != scale.shape[:-1] or values.shape[-1] % scale.shape[-1]:
        raise SuiteError(f"scales {list(scale.shape)} do not fit FP4 weights {list(values.shape)}")
    split = values.reshape(*scale.shape, -1)
    return (split * scale[..., None]).flatten(-2)


def read(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense ``weight`` of an FP4 layer; what it is made of is taken out of `tensors`. Empty for other layers."""
    import torch

    if str(grid.get("data_type") or "").startswith("mx_int"):
        raise SuiteError(f"AutoRound's data type {grid['data_type']!r} is not read; FP4, FP8 and integer grids are")
    name = "weight_packed" if "weight_packed" in tensors else "weight"
    packed, stored = tensors.get(name), tensors.get("weight_scale")
    if packed is None or stored is None or packed.dtype != torch.uint8:
        return {}
    scale = scale_of(stored)
    if (multiplied := tensors.pop("weight_scale_2", None)) is not None:
        scale = scale * multiplied.float().reshape(())
    if (divides := tensors.pop("weight_global_scale", None)) is not None:
        scale = scale / divides.float().reshape(())
    del tensors[name], tensors["weight_scale"]
    return {"weight": _grouped(packed, scale)}


def read_experts(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense experts [experts, inputs, outputs] of gpt-oss from ``<name>_blocks`` and ``<name>_scales``.

    Args:
        tensors: blocks uint8 [experts, outputs, groups, 16], scales uint8 [experts, outputs, groups].
    """
    del grid
    dense = {}
    for name in [name.removesuffix("_blocks") for name in tensors if name.endswith("_blocks")]:
        blocks, scales = tensors.pop(f"{name}_blocks"), tensors.pop(f"{name}_scales")
        dense[name] = _grouped(blocks.flatten(-2), scale_of(scales)).transpose(-1, -2).contiguous()
    return dense
