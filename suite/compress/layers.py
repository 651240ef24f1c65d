"""Which weights a compression method touches, and what it did to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.variant import Variant

if TYPE_CHECKING:
    import torch

STORED_BITS = 16.0


@dataclass(frozen=True)
class LayerChange:
    """What happened to one weight matrix.

    Attributes:
        name: module path in the network.
        weights: number of weights.
        squared_error, squared_norm: sums over the weights of (dense - compressed)² and dense², float64.
        zeros: weights that are exactly zero after compression.
        bits: stored bits of the matrix, scales and zero points included.
        changed: whether any weight differs from the dense one.
    """

    name: str
    weights: int
    squared_error: float
    squared_norm: float
    zeros: int
    bits: float
    changed: bool

    @property
    def relative_error(self) -> float:
        """‖dense - compressed‖ / ‖dense‖, Frobenius; 0 for a matrix of zeros."""
        return math.sqrt(self.squared_error / self.squared_norm) if self.squared_norm else 0.0


@dataclass(frozen=True)
class Outcome:
    """What a method did.

    Attributes:
        changes: one record a matrix, in network order.
        notes: what the method warned of, for example layers it had to treat differently.
    """

    changes: list[LayerChange]
    notes: list[str]

    def noting(self, more: Sequence[str]) -> Outcome:
        """The same with further notes."""
        return Outcome(self.changes, [*self.notes, *more])


def compare(name: str, dense: torch.Tensor, stored: torch.Tensor, bits: float) -> LayerChange:
    """The record of one matrix, from its dense and its compressed weights.

    Raises:
        SuiteError: compressed weights that are not finite.
    """
    import torch

    if not all(torch.isfinite(end) for end in torch.aminmax(stored)):
        raise SuiteError(f"layer {name}: compression made weights that are not finite; the checkpoint may be damaged")
    dense = dense.float()
    difference = stored.float() - dense
    return LayerChange(
        name=name,
        weights=stored.numel(),
        squared_error=float(difference.square().sum(dtype=torch.float64)),
        squared_norm=float(dense.square().sum(dtype=torch.float64)),
        zeros=int((stored == 0).sum()),
        bits=bits,
        changed=not torch.equal(stored.float(), dense),
    )


def linear_layers(network: Any) -> Iterator[tuple[str, Any]]:
    """The weight matrices that compression methods touch: every `torch.nn.Linear` inside the decoder blocks.

    Embeddings, norms, routers and the output head stay as they are. Inside `suite.models.linearized` stacked experts
    and transposed layers are among them.

    Raises:
        SuiteError: the network has none.
    """
    import torch

    head = network.get_output_embeddings()
    found = False
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            if is_router(network, f"{name}.weight", module.weight):
                continue
            found = True
            yield name, module
    if not found:
        raise SuiteError(
            f"model architecture {network.config.model_type!r} has no torch.nn.Linear layers in its blocks; "
            "the built-in methods cannot compress it"
        )


def is_router(network: Any, name: str, parameter: torch.Tensor) -> bool:
    """Whether a matrix chooses among experts or weighs them: a gate by name, and one output an expert, or one in all.

    The number of experts is that of the stack, or list, of experts beside it, so that no other matrix passes for one.
    """
    if parameter.dim() != 2:
        return False
    parts = name.split(".")
    found = [depth for depth, part in enumerate(parts) if "router" in part or part == "gate" or part.endswith("_gate")]
    if not found:
        return False
    counts = _expert_counts(network.get_submodule(".".join(parts[: found[0]])))
    return bool(counts) and parameter.shape[0] in {1, *counts}


def _expert_counts(module: Any) -> set[int]:
    import torch

    counts = {
        parameter.shape[0]
        for child in module.modules()
        for parameter in child.parameters(recurse=False)
        if parameter.dim() == 3
    }
    lists = {
        len(child)
        for name, child in module.named_modules()
        if isinstance(child, torch.nn.ModuleList) and "experts" in name.rpartition(".")[2]
    }
    return counts | lists


def rewrite(
    network: Any,
    change: Callable[[torch.Tensor, str], torch.Tensor],
    bits: Callable[[torch.Tensor], float],
) -> list[LayerChange]:
    """Replace every linear layer's weight in place, one layer at a time, and record what changed.

    Args:
        change: (weight as float32 [outputs, inputs], layer name) -> new weight of the same shape, float32. Must not
            modify its argument.
        bits: compressed weight -> bits needed to store that matrix.

    Returns:
        One record a layer, in network order. The error is measured on the weights as stored, after rounding to the run
        dtype.
    """
    import torch

    changes: list[LayerChange] = []
    with torch.inference_mode():
        for name, module in linear_layers(network):
            weight = module.weight
            dense = weight.float()
            stored = change(dense, name).to(weight.dtype)
            changes.append(compare(name, dense, stored, bits(stored)))
            weight.data.copy_(stored)
    return changes


def check_pattern(network: Any, variant: Variant) -> None:
    """Raise one line when an N:M pattern does not fit the rows of every layer."""
    if variant.n_of_m is None:
        return
    n, m = variant.n_of_m
    for name, module in linear_layers(network):
        if module.weight.shape[1] % m:
            raise SuiteError(
                f"variant {variant.name!r}, layer {name}: the pattern {n}:{m} does not fit its "
                f"{module.weight.shape[1]} inputs, which {m} does not divide; use an unstructured level"
            )
