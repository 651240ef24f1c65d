"""GPTQ layers, as AutoGPTQ, GPTQModel and AutoRound pack them.

``w[o, i] = scale[g, o] · (q[i, o] - zero[g, o])`` with g the group of input i; both q and zero are bit streams of
32-bit words. The older convention stores every zero point less one, modulo 2^bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.models.packed.bits import stated_group_of, unpack_bits

if TYPE_CHECKING:
    import torch

_FORMATS = {"gptq": False, "gptq_v2": True}
_BITS = (2, 3, 4, 5, 6, 8)


def gptq(
    tensors: Mapping[str, torch.Tensor], bits: int, group: int | None = None, *, zeros_as_they_are: bool = False
) -> torch.Tensor:
    """Dense weight [outputs, inputs], float32, of a GPTQ layer.

    Args:
        tensors: ``qweight`` int32 [inputs · bits / 32, outputs], ``qzeros`` int32 [groups, outputs · bits / 32],
            ``scales`` [groups, outputs], and ``g_idx`` [inputs] where groups are not of neighbours.
        bits: 2 to 8.
        group: inputs that share a scale; -1 for all; None where the file does not say, which then takes equal groups.
        zeros_as_they_are: the ``gptq_v2`` format. The older one stores every zero point less one, modulo 2^bits.

    Raises:
        SuiteError: tensors that do not fit each other or the stated grid.
    """
    scales = tensors["scales"].float()
    groups, outputs = scales.shape
    fitting = [width for width in _BITS if math.ceil(outputs * width / 32) == tensors["qzeros"].shape[1]]
    if bits not in fitting:
        found = f"{fitting[0]} bits" if fitting else "no width that is known"
        raise SuiteError(f"{bits} bits by the configuration, but its zero points are packed as {found}")
    levels = unpack_bits(tensors["qweight"], bits)
    zeros = unpack_bits(tensors["qzeros"].T.contiguous(), bits).T[:, :outputs]
    if not zeros_as_they_are:
        zeros = (zeros + 1) & (2**bits - 1)
    inputs = len(levels)
    index = tensors.get("g_idx")
    if index is None:
        index = stated_group_of(inputs, groups, group)
    else:
        used = set(index.tolist())
        if len(index) != inputs or used != set(range(groups)):
            beyond = "" if used <= set(range(groups)) else f", some of them beyond the {groups}"
            raise SuiteError(
                f"g_idx puts {len(index)} inputs into {len(used)} groups{beyond}, not {inputs} into {groups}"
            )
    index = index.long()
    dense: torch.Tensor = (scales[index] * (levels - zeros[index])).T
    return dense.contiguous()


def read(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense ``weight`` of a GPTQ layer; what it is made of is taken out of `tensors`. Empty for other layers."""
    if "qweight" not in tensors:
        return {}
    version = str(grid.get("checkpoint_format") or grid.get("format") or "gptq")
    if version not in _FORMATS:
        raise SuiteError(f"GPTQ layout {version!r} is not read; convert it to 'gptq'")
    return {"weight": _dense(tensors, grid, zeros_as_they_are=_FORMATS[version])}


def read_auto_round(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The same of a layer that AutoRound has packed like GPTQ's.

    By its exporter, a packing with ``gptq`` in its name stores zero points less one, and ``auto_round`` and
    ``auto_round:gptqmodel`` as they are. A symmetric grid has its zero point in the middle, which tells the two apart
    where the configuration does not.

    Raises:
        SuiteError: a packing of another name on a grid that does not tell.
    """
    if "qweight" not in tensors or "awq" in str(grid.get("packing_format")):
        return {}
    packing = str(grid.get("packing_format") or grid.get("backend") or "auto_round:auto_gptq")
    as_they_are: bool | None = None
    if packing == "auto" or "gptq" in packing:
        as_they_are = "gptqmodel" in packing
    elif packing == "auto_round":
        as_they_are = True
    if grid.get("sym") is True and "bits" in grid:
        bits = int(grid["bits"])
        zeros = unpack_bits(tensors["qzeros"].T.contiguous(), bits)[: tensors["scales"].shape[1]]
        stored, middle = set(zeros.flatten().tolist()), 1 << (bits - 1)
        if stored in ({middle}, {middle - 1}):
            as_they_are = stored == {middle}
    if as_they_are is None:
        raise SuiteError(
            f"AutoRound's packing {packing!r} does not say how zero points are stored; 'auto_round', "
            "'auto_round:auto_gptq', 'auto_round:gptqmodel' and 'auto_round:auto_awq' do"
        )
    return {"weight": _dense(tensors, grid, zeros_as_they_are=as_they_are)}


def _dense(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any], *, zeros_as_they_are: bool) -> torch.Tensor:
    if grid.get("bits") is None:
        raise SuiteError("its configuration states no bits")
    dense = gptq(tensors, int(grid["bits"]), grid.get("group_size"), zeros_as_they_are=zeros_as_they_are)
    for name in ("qweight", "qzeros", "scales", "g_idx"):
        tensors.pop(name, None)
    return dense
