"""GPTQ (Frantar et al. 2023, arXiv 2210.17323) and round-to-nearest with quantized activations, by llm-compressor.

GPTQ rounds a layer's columns one after another and moves what each rounding does to the layer's output, as sample text
sees it, onto the columns that are still free. The grid is that of `suite.compress.rtn` (symmetric, min-max), so that
the two differ in the rounding alone. Columns with the largest activations go first ("static" activation order), blocks
of 128 columns, a hundredth of the mean diagonal added to the Hessian. Weights that are zero already stay zero.
"""

from __future__ import annotations

from typing import Any

from suite.compress import llm_compressor
from suite.compress.layers import Outcome
from suite.sample_text import SampleTokens
from suite.variant import Variant

BLOCK, DAMPENING, ORDER = 128, 0.01, "static"


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Quantize every linear layer of the blocks in place."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization.calibration import update_qparams

    arguments = llm_compressor.scheme(network, variant)
    # with the scales of its own weights a layer is rounded to the nearest when it is settled
    modifier, spared = llm_compressor.sparing(GPTQModifier, network, lambda layer: update_qparams(layer, "weight"))
    made = modifier(block_size=BLOCK, dampening_frac=DAMPENING, actorder=ORDER, **arguments)
    outcome = llm_compressor.changed_by(network, variant, made, tokens)
    return outcome.noting(llm_compressor.about_spared(spared, "rounded to nearest"))


def round_to_nearest(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Quantize weights to the nearest grid value, and activations or the key-value cache as they come."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.quantization import QuantizationModifier

    modifier = QuantizationModifier(**llm_compressor.scheme(network, variant))
    return llm_compressor.changed_by(network, variant, modifier, tokens if variant.kv_bits else None)
