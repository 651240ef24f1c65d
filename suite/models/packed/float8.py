"""FP8 weights with scales beside them: one a tensor, one an output row, one a block, or powers of two a group.

``w = q · scale`` whatever the scale is called: ``weight_scale_inv`` of DeepSeek and transformers is multiplied too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.models.packed.bits import scale_of

if TYPE_CHECKING:
    import torch

_SCALES = ("_scale", "_scale_inv")
_BLOCK = 128


def read(tensors: dict[str, torch.Tensor], grid: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Dense weights, float32, of every FP8 tensor of a module; they and their scales are taken out of `tensors`.

    Raises:
        SuiteError: an FP8 tensor without a scale, or a scale that does not fit it.
    """
    import torch

    dense = {}
    kinds = (torch.float8_e4m3fn, torch.float8_e5m2)
    block = grid.get("weight_block_size") or grid.get("group_size")
    for name in [name for name, tensor in tensors.items() if tensor.dtype in kinds and not name.endswith(_SCALES)]:
        beside = [name + ending for ending in _SCALES if name + ending in tensors]
        if len(beside) != 1:
            raise SuiteError(f"{name} is FP8 and has {len(beside) or 'no'} scales beside it")
        weight = tensors.pop(name).float()
        scale = stretched(tensors.pop(beside[0]), weight.shape, block if isinstance(block, list | tuple) else None)
        dense[name] = weight * scale
    return dense


def stretched(scale: torch.Tensor, shape: Sequence[int], block: Sequence[int] | None) -> torch.Tensor:
    """A scale for every weight, float32, of `shape` or broadcasting to it.

    Args:
        scale: one number; one a row; or as many in each dimension as there are blocks, the last of which may be
            smaller. Stored as uint8 it is an exponent of two with bias 127 (E8M0).
        block: sizes of a block in the last two dimensions, None where the configuration does not say.

    Raises:
        SuiteError: scales that cannot be laid over the weights.
    """
    import torch

    values = scale_of(scale)
    if values.numel() == 1:
        return values.reshape(())
    if values.dim() == 4 and len(shape) == 2 and values.shape[1] == values.shape[3] == 1:
        # Model Optimizer keeps the dimensions inside a block
        values = values[:, 0, :, 0]
    if values.dim() == 1 and values.numel() % shape[0] == 0:
        values = values.reshape(shape[0], *[1] * (len(shape) - 2), -1)
    if values.dim() != len(shape):
        raise SuiteError(f"scales {list(scale.shape)} do not fit weights {list(shape)}")
    sizes = [None] * (len(shape) - 2) + list(block or (None, None))
    for dimension, (want, have, size) in enumerate(zip(shape, values.shape, sizes, strict=True)):
        if have in (1, want):
            continue
        wide = size or (want // have if want % have == 0 else _BLOCK)
        if -(-want // wide) != have:
            raise SuiteError(f"scales {list(scale.shape)} do not fit weights {list(shape)} in blocks of {wide}")
        values = values.index_select(dimension, torch.arange(want) // wide)
    return values
