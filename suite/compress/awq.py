"""AWQ (Lin et al. 2024, arXiv 2306.00978), by llm-compressor.

Before rounding, input channels with large activations are scaled up in the weights and down in what feeds them, which
changes no output; the scale is searched on a grid of 20 exponents for the least output error on sample text. Then
weights are rounded to the nearest value of an asymmetric grid (a zero point for every scale), as in the paper's code.
The relative weight error is that of the rounding, on the scaled weights.
"""

from __future__ import annotations

from typing import Any

from suite.compress import llm_compressor
from suite.compress.layers import Outcome
from suite.compress.output_error import check_unchanged, sample_logits
from suite.sample_text import SampleTokens
from suite.variant import Variant


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Scale and quantize every linear layer of the blocks in place."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    arguments = llm_compressor.scheme(network, variant, symmetric=False)
    assert tokens is not None
    dense = sample_logits(network, tokens)
    notes = llm_compressor.run(network, variant, [AWQModifier(), QuantizationModifier(**arguments)], tokens)
    with llm_compressor.unrounded(network):
        notes.append(check_unchanged(network, variant, dense, tokens))
    return Outcome(llm_compressor.settle(network, None), notes)
