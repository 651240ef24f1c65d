"""AWQ (Lin et al. 2024, arXiv 2306.00978), by llm-compressor.

Before rounding, input channels with large activations are scaled up in the weights and down in what feeds them, which
changes no output; the scale is searched on a grid of 20 exponents for the least output error on sample text. Then
weights are rounded to the nearest value of an asymmetric grid (a zero point for every scale), as in the paper's code.
The relative weight error is that of the rounding, on the scaled weights.

Gemma's norms store w and scale by 1 + w. Scales of a hundred, which the search finds there, leave 1 + w so small that
in bfloat16 w is -1 give or take a rounding step, and outputs move by 0.2. A common factor of all scales of a norm is
free, so there it is chosen for 1 + w to stay as large as it was: a power of two, which changes no rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from suite.compress import llm_compressor
from suite.compress.layers import Outcome
from suite.compress.output_error import check_unchanged, sample_logits
from suite.sample_text import SampleTokens
from suite.variant import Variant

if TYPE_CHECKING:
    import torch


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Scale and quantize every linear layer of the blocks in place."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.quantization import QuantizationModifier

    arguments = llm_compressor.scheme(network, variant, symmetric=False)
    assert tokens is not None
    dense = sample_logits(network, tokens)
    notes = llm_compressor.run(network, variant, [_modifier(), QuantizationModifier(**arguments)], tokens)
    with llm_compressor.unrounded(network):
        notes.append(check_unchanged(network, variant, dense, tokens))
    return Outcome(llm_compressor.settle(network, None), notes)


def _modifier() -> Any:
    from llmcompressor.modeling.offset_norm import CalibrationOffsetNorm
    from llmcompressor.modifiers.transform.awq import AWQModifier

    class KeptSize(AWQModifier):  # type: ignore[misc]
        """AWQ whose scales leave norms that are stored less one as large as they were."""

        def _compute_best_scale(self, mapping: Any, *args: Any, **more: Any) -> torch.Tensor:
            scales: torch.Tensor = super()._compute_best_scale(mapping, *args, **more)
            if not isinstance(mapping.smooth_layer, CalibrationOffsetNorm):
                return scales
            return scales * _common_factor(mapping.smooth_layer.weight.detach(), scales)

    return KeptSize()


def _common_factor(norm: torch.Tensor, scales: torch.Tensor) -> float:
    """The power of two by which all scales of a norm change, so that its largest weight stays as large as it was.

    Args:
        norm: what the norm multiplies by, [channels].
        scales: what that will be divided by, [channels].
    """
    before = norm.float().abs().max()
    after = (norm.float() / scales.to(norm.device).float()).abs().max()
    if not (before > 0 and after > 0):
        return 1.0
    return 2.0 ** -math.floor(math.log2(float(before / after)))
