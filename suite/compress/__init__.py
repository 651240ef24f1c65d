"""Compression methods, and the record of what a method did to a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from suite.compress import magnitude, rtn
from suite.compress.layers import STORED_BITS, LayerChange, linear_layers
from suite.errors import SuiteError, unknown_name
from suite.variant import Variant


@dataclass(frozen=True)
class Method:
    """A compression method as a user sees it."""

    compress: Callable[[Any, Variant], list[LayerChange]]
    levels: str
    needs: str
    paper: str
    recipe: str


METHODS = {
    "rtn": Method(
        compress=rtn.compress,
        levels="rtn-w{8,6,5,4,3,2}[-g<group>]",
        needs="nothing",
        paper="baseline",
        recipe="symmetric min-max grid, one scale an output row or group; all linear layers of the blocks",
    ),
    "magnitude": Method(
        compress=magnitude.compress,
        levels="magnitude-s{5,10,...,95,98}",
        needs="nothing",
        paper="Han et al. 2015, arXiv 1506.02626",
        recipe="smallest absolute weights of each matrix to zero; all linear layers of the blocks",
    ),
}


@dataclass(frozen=True)
class VariantInfo:
    """What a variant is and what was measured on its weights: the `variant` section of a cell's metadata.

    Attributes:
        bits_per_weight: stored bits of the whole model, embeddings and scales included, over its number of weights.
            Tensors that no method touches count as 16 bits.
        megabytes: that many bits in units of 10^6 bytes.
        sparsity: fraction of exact zeros among the weights of the linear layers (of all matrices where there are none).
        relative_weight_error: Frobenius norm of (dense - compressed) over that of dense, over all linear layers.
        no_op: no weight differs from the dense model's.
    """

    name: str
    method: str
    family: str
    recipe: str
    bits_per_weight: float
    megabytes: float
    sparsity: float
    relative_weight_error: float
    no_op: bool

    def as_metadata(self) -> dict[str, Any]:
        """As stored in a cell."""
        return asdict(self)


def check_supported(variant: Variant) -> None:
    """Raise one line when no method here makes this variant."""
    if variant.family != "dense" and variant.method not in METHODS:
        raise unknown_name("compression method", variant.method, ["dense", *METHODS])
    if variant.method == "magnitude" and variant.n_of_m is not None:
        raise SuiteError(f"variant {variant.name!r}: N:M patterns are not built yet; use magnitude-s<percent>")
    if variant.method == "rtn" and (variant.activation_bits or variant.kv_bits):
        raise SuiteError(f"variant {variant.name!r}: rtn quantizes weights alone here; drop the a and kv parts")


def apply(network: Any, variant: Variant) -> VariantInfo:
    """Compress a loaded network in place.

    Args:
        network: a transformers causal language model, dense.
        variant: what to make of it; ``dense`` changes nothing and measures it.

    Raises:
        SuiteError: an unknown method, an unsupported architecture, or a group size that does not fit.
    """
    check_supported(variant)
    params = sum(parameter.numel() for parameter in network.parameters())
    if variant.family == "dense":
        try:
            matrices = [module.weight for _, module in linear_layers(network)]
        except SuiteError:  # what no method here can compress can still be scored as it is
            matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
        zeros = sum(int((weight == 0).sum()) for weight in matrices)
        weights = sum(weight.numel() for weight in matrices)
        return _info(variant, "none", STORED_BITS * params, params, zeros / weights, 0.0, no_op=False)
    method = METHODS[variant.method]
    changes = method.compress(network, variant)
    touched = sum(change.weights for change in changes)
    bits = sum(change.bits for change in changes) + STORED_BITS * (params - touched)
    norm = sum(change.squared_norm for change in changes)
    error = math.sqrt(sum(change.squared_error for change in changes) / norm) if norm else 0.0
    zeros = sum(change.zeros for change in changes)
    changed = any(change.changed for change in changes)
    return _info(variant, method.recipe, bits, params, zeros / touched, error, no_op=not changed)


def _info(
    variant: Variant, recipe: str, bits: float, params: int, sparsity: float, error: float, *, no_op: bool
) -> VariantInfo:
    return VariantInfo(
        name=variant.name,
        method=variant.method,
        family=variant.family,
        recipe=recipe,
        bits_per_weight=bits / params,
        megabytes=bits / 8e6,
        sparsity=sparsity,
        relative_weight_error=error,
        no_op=no_op,
    )
