"""bitsandbytes layers: 4-bit indices into a table of 16 values times a scale a block of neighbours, or 8-bit rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError

if TYPE_CHECKING:
    import torch

_BNB4 = "weight.quant_state.bitsandbytes__"


def bitsandbytes4(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Dense weight of a 4-bit bitsandbytes layer (nf4 or fp4, scales themselves quantized or not), float32.

    Args:
        tensors: ``weight``, two values a byte, the first in the high half, the bytes as uint8 or in words of whatever
            type ``bnb_4bit_quant_storage`` names; ``weight.absmax``, ``weight.quant_map``, the JSON of
            ``weight.quant_state.bitsandbytes__nf4`` and, where scales are quantized, ``weight.nested_absmax`` and
            ``weight.nested_quant_map``.
    """
    import torch

    (state,) = (tensor for name, tensor in tensors.items() if name.startswith(_BNB4))
    about = json.loads(bytes(state.tolist()).decode("utf-8"))
    packed = tensors["weight"].contiguous().flatten().view(torch.uint8)
    index = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    scale = tensors["weight.absmax"]
    if "weight.nested_absmax" in tensors:
        outer = tensors["weight.nested_absmax"].float().repeat_interleave(int(about["nested_blocksize"]))
        scale = tensors["weight.nested_quant_map"].float()[scale.long()] * outer[: len(scale)]
        scale = scale + float(about["nested_offset"])
    shape = [int(size) for size in about["shape"]]
    count = shape[0] * shape[1]
    scales = scale.float().repeat_interleave(int(about["blocksize"]))[:count]
    return (tensors["weight.quant_map"].float()[index[:count]] * scales).reshape(shape)


def bitsandbytes8(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Dense weight [outputs, inputs], float32, of an 8-bit bitsandbytes layer: ``weight`` int8, ``SCB`` [outputs]."""
    # in the library's order, which decides the last bit
    return tensors["weight"].float() * tensors["SCB"].float()[:, None] * (1 / 127)


def read(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense ``weight`` of a layer; what it is made of is taken out of `tensors`. Empty for other layers."""
    del grid
    if any(name.startswith(_BNB4) for name in tensors):
        dense = bitsandbytes4(tensors)
        for name in [name for name in tensors if name == "weight" or name.startswith("weight.")]:
            del tensors[name]
        return {"weight": dense}
    if "SCB" in tensors:
        # older versions could save what they had tiled for a kernel; 0 is row after row
        layout = int(tensors.pop("weight_format", 0))
        if layout:
            raise SuiteError(
                f"bitsandbytes int8 layout {layout} is not read; save the checkpoint again with bitsandbytes 0.45 "
                "or later"
            )
        dense = bitsandbytes8(tensors)
        del tensors["weight"], tensors["SCB"]
        return {"weight": dense}
    return {}
