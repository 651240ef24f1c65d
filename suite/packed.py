"""Packed weights without their kernels: GPTQ, AWQ and bitsandbytes tensors to dense matrices.

Such formats are made for kernels that multiply packed integers; where there are none, the dense matrix that those
kernels stand for is computed once. Each function takes the tensors of one layer as their files hold them.

GPTQ (AutoGPTQ, GPTQModel): ``w[o, i] = scale[g, o] · (q[i, o] - zero[g, o])`` with g the group of input i; both q and
zero are bit streams of 32-bit words. AWQ (AutoAWQ, gemm layout): the same with eight columns a word, interleaved.
bitsandbytes: 4-bit indices into a table of 16 values times a scale a block of neighbours, or 8-bit rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError

if TYPE_CHECKING:
    import torch

PACKED_METHODS = ("gptq", "awq", "bitsandbytes")
# which of eight neighbouring columns sits in which four bits of a word
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_BNB4 = "weight.quant_state.bitsandbytes__"


def unpack_bits(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers out of little-endian bit streams that run down the columns of a matrix of 32-bit words.

    Args:
        words: int32, [words, columns].
        bits: 2 to 8; a value may begin in one word and end in the next (3, 5 and 6 bits).

    Returns:
        int32, [words · 32 // bits, columns], each 0 to 2^bits - 1.

    >>> import torch
    >>> unpack_bits(torch.tensor([[0x0000_4321]], dtype=torch.int32), 4)[:, 0].tolist()
    [1, 2, 3, 4, 0, 0, 0, 0]
    """
    import torch

    count = words.shape[0] * 32 // bits
    wide = words.to(torch.int64) & 0xFFFF_FFFF
    # the value that begins at bit p of the stream lies in word p // 32 and, at most, the one after it
    wide = torch.cat([wide, torch.zeros_like(wide[:1])])
    start = torch.arange(count) * bits
    word, shift = start // 32, (start % 32)[:, None]
    low = wide[word] >> shift
    high = torch.where(shift > 0, wide[word + 1] << (32 - shift), torch.zeros_like(low))
    values: torch.Tensor = (low | high) & (2**bits - 1)
    return values.to(torch.int32)


def gptq(tensors: Mapping[str, torch.Tensor], bits: int, *, zeros_as_they_are: bool = False) -> torch.Tensor:
    """Dense weight [outputs, inputs], float32, of a GPTQ layer.

    Args:
        tensors: ``qweight`` int32 [inputs · bits / 32, outputs], ``qzeros`` int32 [groups, outputs · bits / 32],
            ``scales`` [groups, outputs], and ``g_idx`` [inputs] where groups are not of neighbours.
        bits: 2 to 8.
        zeros_as_they_are: the ``gptq_v2`` format. The older one stores every zero point less one, modulo 2^bits.
    """
    import torch

    levels = unpack_bits(tensors["qweight"], bits)
    zeros = unpack_bits(tensors["qzeros"].T.contiguous(), bits).T
    if not zeros_as_they_are:
        zeros = (zeros + 1) & (2**bits - 1)
    scales = tensors["scales"].float()
    group = tensors.get("g_idx")
    if group is None:
        group = torch.arange(levels.shape[0]) // (levels.shape[0] // scales.shape[0])
    group = group.long()
    dense: torch.Tensor = (scales[group] * (levels - zeros[group])).T.contiguous()
    return dense


def awq(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Dense weight [outputs, inputs], float32, of a 4-bit AWQ layer in the gemm layout.

    Args:
        tensors: ``qweight`` int32 [inputs, outputs / 8], ``qzeros`` int32 [groups, outputs / 8], ``scales`` [groups,
            outputs].
    """
    levels, zeros = _interleaved(tensors["qweight"]), _interleaved(tensors["qzeros"])
    scales = tensors["scales"].float()
    repeat = levels.shape[0] // scales.shape[0]
    dense: torch.Tensor = (
        (levels - zeros.repeat_interleave(repeat, 0)) * scales.repeat_interleave(repeat, 0)
    ).T.contiguous()
    return dense


def _interleaved(words: torch.Tensor) -> torch.Tensor:
    import torch

    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    values = (words[:, :, None] >> shifts) & 15
    columns = torch.empty_like(values)
    columns[:, :, list(AWQ_ORDER)] = values
    return columns.flatten(1)


def bitsandbytes4(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Dense weight of a 4-bit bitsandbytes layer (nf4 or fp4, scales themselves quantized or not), float32.

    Args:
        tensors: ``weight`` uint8, two values a byte, the first in the high half; ``weight.absmax``,
            ``weight.quant_map``, the JSON of ``weight.quant_state.bitsandbytes__nf4`` and, where scales are quantized,
            ``weight.nested_absmax`` and ``weight.nested_quant_map``.
    """
    import torch

    (state,) = (tensor for name, tensor in tensors.items() if name.startswith(_BNB4))
    about = json.loads(bytes(state.tolist()).decode("utf-8"))
    packed = tensors["weight"].flatten()
    index = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    scale = tensors["weight.absmax"]
    if "weight.nested_absmax" in tensors:
        outer = tensors["weight.nested_absmax"].float().repeat_interleave(int(about["nested_blocksize"]))
        scale = tensors["weight.nested_quant_map"].float()[scale.long()] * outer[: len(scale)]
        scale = scale + float(about["nested_offset"])
    shape = [int(size) for size in about["shape"]]
    count = shape[0] * shape[1]
    spread = scale.float().repeat_interleave(int(about["blocksize"]))[:count]
    return (tensors["weight.quant_map"].float()[index[:count]] * spread).reshape(shape)


def bitsandbytes8(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Dense weight [outputs, inputs], float32, of an 8-bit bitsandbytes layer: ``weight`` int8, ``SCB`` [outputs]."""
    # in the library's order, which decides the last bit
    return tensors["weight"].float() * tensors["SCB"].float()[:, None] * (1 / 127)


def dense_of(tensors: Mapping[str, torch.Tensor], quantization: Mapping[str, Any]) -> torch.Tensor | None:
    """Dense weight of one module from its tensors by local name; None for a module that is not packed.

    Args:
        quantization: ``quantization_config`` of the checkpoint's config.json.

    Raises:
        SuiteError: a layout that is not read here.
    """
    method = quantization["quant_method"]
    if method == "gptq" and "qweight" in tensors:
        version = str(quantization.get("checkpoint_format", "gptq"))
        if version not in ("gptq", "gptq_v2"):
            raise SuiteError(f"GPTQ layout {version!r} is not read; convert it to 'gptq'")
        return gptq(tensors, int(quantization["bits"]), zeros_as_they_are=version == "gptq_v2")
    if method == "awq" and "qweight" in tensors:
        version = str(quantization.get("version", "gemm")).lower()
        if version != "gemm" or int(quantization.get("bits", 4)) != 4:
            raise SuiteError(f"AWQ layout {version!r}, {quantization.get('bits')} bits is not read; 4-bit 'gemm' is")
        return awq(tensors)
    if method == "bitsandbytes":
        if any(name.startswith(_BNB4) for name in tensors):
            return bitsandbytes4(tensors)
        if "SCB" in tensors:
            # older versions could save what they had tiled for a kernel; 0 is row after row
            layout = int(tensors.get("weight_format", 0))
            if layout:
                raise SuiteError(
                    f"bitsandbytes int8 layout {layout} is not read; save the checkpoint again with bitsandbytes 0.45 "
                    "or later"
                )
            return bitsandbytes8(tensors)
    return None


def bits_of(quantization: Mapping[str, Any]) -> int | None:
    """Nominal weight bits that a packed checkpoint's configuration states."""
    if quantization["quant_method"] == "bitsandbytes":
        return 4 if quantization.get("load_in_4bit") or quantization.get("_load_in_4bit") else 8
    found = quantization.get("bits")
    return None if found is None else int(found)
