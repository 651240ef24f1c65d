"""Round-to-nearest weight quantization on a symmetric grid, without data.

For a row (or a group of `group` neighbours in a row) of weights w and b bits, the scale is
``s = max|w| / ((2^b - 1) / 2)`` and the stored weight is ``s · clamp(round(w / s), -2^(b-1), 2^(b-1) - 1)``. This is
the symmetric min-max grid of the compressed-tensors format. At two bits the levels are -2s, -s, 0, s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.compress.layers import STORED_BITS, Outcome, rewrite
from suite.errors import SuiteError
from suite.variant import Variant

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from suite.sample_text import SampleTokens


def quantize(weight: torch.Tensor, bits: int, group: int | None = None) -> torch.Tensor:
    """Quantize and dequantize a weight matrix.

    Args:
        weight: float32, shape [outputs, inputs].
        bits: 2 to 8.
        group: weights along the input dimension that share a scale; None: one scale an output row.

    Returns:
        The nearest grid values, same shape; at most 2^bits distinct ones a scale.

    Raises:
        SuiteError: the group size does not divide the input dimension.

    >>> import torch
    >>> quantize(torch.tensor([[1.5, 0.4, -2.6, 3.0]]), 2).tolist()
    [[2.0, 0.0, -2.0, 2.0]]
    """
    import torch

    outputs, inputs = weight.shape
    size = group or inputs
    if inputs % size:
        raise SuiteError(f"group size {size} does not divide the {inputs} inputs of a layer; use a divisor, such as 32")
    grouped = weight.reshape(outputs, inputs // size, size)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale = grouped.abs().amax(dim=-1, keepdim=True) / ((high - low) / 2)
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    levels: torch.Tensor = torch.clamp(torch.round(grouped / safe), low, high)
    dequantized: torch.Tensor = levels * scale
    return dequantized.reshape(outputs, inputs)


def compress(network: PreTrainedModel, variant: Variant, tokens: SampleTokens | None = None) -> Outcome:
    """Quantize every linear layer of the decoder blocks in place; sample text is read for a key-value cache alone."""
    bits, group = variant.bits, variant.group
    assert bits is not None
    if variant.activation_bits or variant.kv_bits:
        from suite.compress.gptq import round_to_nearest

        return round_to_nearest(network, variant, tokens)

    def change(weight: torch.Tensor, name: str) -> torch.Tensor:
        try:
            return quantize(weight, bits, group)
        except SuiteError as error:
            raise SuiteError(f"variant {variant.name!r}, layer {name}: {error}") from error

    def stored_bits(weight: torch.Tensor) -> float:
        outputs, inputs = weight.shape
        return bits * outputs * inputs + STORED_BITS * outputs * (inputs // (group or inputs))

    return Outcome(rewrite(network, change, stored_bits), [])
