"""SmoothQuant (Xiao et al. 2023, arXiv 2211.10438), by llm-compressor.

Outliers of activations are moved into the weights: channel j of what a norm gives is divided by
``max|x_j|^0.5 / max|w_j|^0.5`` and the weights that read it are multiplied by that, which changes no output. Then
weights (one scale an output row) and activations (one scale a token) are rounded to the nearest integer. The relative
weight error is that of the rounding, on the scaled weights.
"""

from __future__ import annotations

from typing import Any

from suite.compress import llm_compressor
from suite.compress.layers import Outcome
from suite.compress.output_error import check_unchanged, sample_logits
from suite.compress.readers import pattern, readers
from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.variant import Variant

STRENGTH = 0.5


def mappings(network: Any) -> list[tuple[list[str], str]]:
    """Which norm feeds which matrices.

    Blocks with experts or latent attention are taken one by one (see `suite.compress.readers`). For others the
    library's table takes the norm after attention for the one before the MLP; in Gemma 2 and 3 those are two, and
    smoothing the wrong one changes every output.
    """
    if (special := readers(network)) is not None:
        return [([pattern(name) for name in reading], pattern(norm)) for norm, reading in special]
    names = {name.rpartition(".")[2] for name, _ in network.named_modules()}
    before_mlp = "pre_feedforward_layernorm" if "pre_feedforward_layernorm" in names else "post_attention_layernorm"
    return [
        (["re:.*q_proj$", "re:.*k_proj$", "re:.*v_proj$"], "re:.*input_layernorm$"),
        (["re:.*gate_proj$", "re:.*up_proj$"], f"re:.*{before_mlp}$"),
    ]


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Smooth, then quantize weights in place and activations as they come.

    Raises:
        SuiteError: an architecture whose norms are not known by name, so that nothing would be smoothed.
    """
    llm_compressor.load(variant)
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    arguments = llm_compressor.scheme(network, variant)
    assert tokens is not None
    dense = sample_logits(network, tokens)
    smoothed: list[str] = []

    class Watched(SmoothQuantModifier):  # type: ignore[misc]
        """SmoothQuant that says which norms it found."""

        def on_calibration_start(self, *args: Any, **more: Any) -> None:
            smoothed.extend(mapping.smooth_name for mapping in self.resolved_mappings_)
            super().on_calibration_start(*args, **more)

    smooth = Watched(smoothing_strength=STRENGTH, mappings=mappings(network))
    notes = llm_compressor.run(network, variant, [smooth], tokens)
    if not smoothed:
        raise SuiteError(
            f"variant {variant.name!r}: smoothquant does not know which norms feed which matrices in architecture "
            f"{network.config.model_type!r}, so it would smooth nothing; use rtn with the same level"
        )
    notes.append(check_unchanged(network, variant, dense, tokens))
    notes += llm_compressor.run(network, variant, [QuantizationModifier(**arguments)], tokens)
    return Outcome(llm_compressor.settle(network, None), notes)
