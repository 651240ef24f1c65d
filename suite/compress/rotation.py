"""Rotation before quantization, by llm-compressor: SpinQuant with fixed rotations, and QuIP.

Multiplying what flows between layers by an orthogonal matrix, and the weights on both sides by its inverse, changes no
output but spreads outliers over all channels, so that 4 bits hold them. `spinquant` (Liu et al. 2025, arXiv 2405.16406)
rotates the residual stream (R1), each head's values (R2) and, while the model runs, the input of the MLP's second
matrix (R4), with random Hadamard matrices as in QuaRot: they are not learned here. `quip` (Chee et al. 2023, arXiv
2307.13304; Hadamard matrices as in QuIP#) rotates inputs and outputs of every layer by itself, while the model runs,
so it serves every architecture. Both then quantize by GPTQ. The relative weight error is that of the rounding, on the
rotated weights.

The library's spinquant subtracts the mean of every embedding, as QuaRot's code does for layer norms. RMS norms do not
take the mean away, so there it would change every output; it is left out.
"""

from __future__ import annotations

from typing import Any

from suite.compress import gptq, llm_compressor
from suite.compress.layers import Outcome
from suite.compress.output_error import check_unchanged, sample_logits
from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.variant import Variant

# one plain RMS norm before attention and one before the MLP: what the library's spinquant knows how to fold away
_SPINQUANT = ("llama", "mistral", "qwen2")


def spinquant(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Rotate the residual stream, then quantize.

    Raises:
        SuiteError: norms that rotations do not commute with, in any other way than the library can fold.
    """
    llm_compressor.load(variant)
    kind = network.config.model_type
    if kind not in _SPINQUANT:
        raise SuiteError(
            f"variant {variant.name!r}: spinquant cannot fold the norms of architecture {kind!r} into its weights "
            f"(it can those of {', '.join(_SPINQUANT)}); use quip"
        )
    from llmcompressor.modifiers.transform.spinquant import SpinQuantModifier

    class Rotation(SpinQuantModifier):  # type: ignore[misc]
        def _center_embeddings(self, model: Any) -> None:
            """Nothing: see above."""

    return _rotated(
        network,
        variant,
        tokens,
        lambda: Rotation(rotations=["R1", "R2", "R4"], transform_type="random-hadamard"),
    )


def quip(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Rotate inputs and outputs of every layer, then quantize."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.transform.quip import QuIPModifier

    ignored = llm_compressor.ignored(network)
    return _rotated(
        network,
        variant,
        tokens,
        lambda: QuIPModifier(rotations=["v", "u"], transform_type="random-hadamard", ignore=ignored),
    )


def _rotated(network: Any, variant: Variant, tokens: SampleTokens | None, modifier: Any) -> Outcome:
    import torch

    assert tokens is not None
    llm_compressor.check_groups(network, variant)
    dense = sample_logits(network, tokens)
    # the library draws its signs from torch's global generator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        notes = llm_compressor.run(network, variant, [modifier()], None)
    notes.append(check_unchanged(network, variant, dense, tokens))
    outcome = gptq.compress(network, variant, tokens)
    return Outcome(outcome.changes, [*notes, *outcome.notes])
