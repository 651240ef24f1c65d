"""Magnitude pruning, without data: in every matrix the weights nearest to zero become zero.

Each matrix loses the same fraction (layer-wise, as in Han et al. 2015 and as the baseline of the Wanda paper,
arXiv 2306.11695). Exactly ``floor(s · size)`` weights go; of equal magnitudes the earlier in row order goes first, so
the result does not depend on the machine. N:M patterns keep the N largest of every M neighbours of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.compress.layers import STORED_BITS, Outcome, check_pattern, rewrite
from suite.variant import Variant

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from suite.sample_text import SampleTokens


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

    flat = weight.flatten()
    # the small addend keeps 0.29 * 100 from becoming 28
    count = int(sparsity * flat.numel() + 1e-6)
    if count == 0:
        return weight.clone()
    size = flat.abs()
    threshold = _smallest(size, count)
    below = size <= threshold
    if int(below.sum()) > count:
        # dequantized checkpoints hold many equal magnitudes: the first ones in row order fill up the count
        below, tied = size < threshold, size == threshold
        below |= tied & (tied.cumsum(0) <= count - below.sum())
    return flat.masked_fill(below, 0).reshape(weight.shape)


def _smallest(values: torch.Tensor, count: int) -> torch.Tensor:
    """The largest of so many smallest ones."""
    import numpy as np
    import torch

    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        # a seventh of the time of kthvalue
        return torch.from_numpy(np.partition(values.detach().numpy(), count - 1)[count - 1 :])[0]
    return torch.kthvalue(values, count).values


def prune_pattern(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Keep the `n` largest absolute values of every `m` neighbours of a row; of equal ones the later stay.

    Args:
        weight: shape [outputs, inputs], inputs divisible by m.

    >>> import torch
    >>> prune_pattern(torch.tensor([[3.0, -1.0, 2.0, 0.5]]), 2, 4).tolist()
    [[3.0, 0.0, 2.0, 0.0]]
    """
    import torch

    groups = weight.reshape(-1, m)
    order = torch.argsort(groups.abs(), dim=1, stable=True)
    pruned = torch.scatter(groups, 1, order[:, : m - n], 0.0)
    return pruned.reshape(weight.shape)


def compress(network: PreTrainedModel, variant: Variant, tokens: SampleTokens | None = None) -> Outcome:
    """Prune every linear layer of the decoder blocks in place; sample text is not read."""
    check_pattern(network, variant)
    pruned = rewrite(network, lambda weight, _: _pruned(weight, variant), lambda weight: STORED_BITS * weight.numel())
    return Outcome(pruned, [])


def prune_layer(layer: Any, *, variant: Variant) -> None:
    """Prune one linear layer in place, for methods that have no data for it."""
    layer.weight.data.copy_(_pruned(layer.weight.data.float(), variant))


def _pruned(weight: torch.Tensor, variant: Variant) -> torch.Tensor:
    assert variant.sparsity is not None
    return prune(weight, variant.sparsity) if variant.n_of_m is None else prune_pattern(weight, *variant.n_of_m)
