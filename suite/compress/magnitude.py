"""Unstructured magnitude pruning, without data: in every matrix the weights nearest to zero become zero.

Each matrix loses the same fraction (layer-wise, as in Han et al. 2015 and as the baseline of the Wanda paper,
arXiv 2306.11695). Exactly ``floor(s · size)`` weights go; of equal magnitudes the earlier in row order goes first, so
the result does not depend on the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.compress.layers import STORED_BITS, LayerChange, rewrite
from suite.errors import SuiteError
from suite.variant import Variant

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def prune(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Zero the fraction `sparsity` of a matrix with the smallest absolute values.

    Args:
        weight: shape [outputs, inputs].
        sparsity: 0 to 1.

    Returns:
        A new tensor, same shape and dtype.

    >>> import torch
    >>> prune(torch.tensor([[3.0, -1.0], [2.0, 0.5]]), 0.5).tolist()
    [[3.0, 0.0], [2.0, 0.0]]
    """
    import torch

    flat = weight.flatten()
    # the small addend keeps 0.29 * 100 from becoming 28
    count = int(sparsity * flat.numel() + 1e-6)
    if count == 0:
        return weight.clone()
    size = flat.abs()
    threshold = torch.kthvalue(size, count).values
    below = size < threshold
    tied = size == threshold
    # dequantized checkpoints hold many equal magnitudes: the first ones in row order fill up the count
    below |= tied & (tied.cumsum(0) <= count - below.sum())
    return flat.masked_fill(below, 0).reshape(weight.shape)


def compress(network: PreTrainedModel, variant: Variant) -> list[LayerChange]:
    """Prune every linear layer of the decoder blocks in place."""
    sparsity = variant.sparsity
    assert sparsity is not None
    if variant.n_of_m is not None:
        raise SuiteError(f"variant {variant.name!r}: N:M patterns are not built yet; use magnitude-s<percent>")
    return rewrite(network, lambda weight, _: prune(weight, sparsity), lambda weight: STORED_BITS * weight.numel())
