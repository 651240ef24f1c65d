"""Wanda (Sun et al. 2024, arXiv 2306.11695) and SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774).

Both by llm-compressor. Wanda: in every output row the weights with the smallest ``|w_ij| · ‖x_j‖`` become zero, where
‖x_j‖ is the norm of input channel j over sample text; nothing else changes. SparseGPT: in blocks of 128 columns the
weights with the smallest ``w² / [H⁻¹]_jj²`` become zero, and the columns to the right take over what that does to the
layer's output, as in `suite.compress.gptq`. N:M patterns keep the N best of every M neighbours of a row. The head
stays dense.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from suite.compress import llm_compressor
from suite.compress.layers import Outcome, check_pattern
from suite.compress.magnitude import prune_layer
from suite.sample_text import SampleTokens
from suite.variant import Variant

BLOCK, DAMPENING = 128, 0.01


def wanda(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Prune every linear layer of the blocks in place by weight times activation."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.pruning import WandaPruningModifier

    return _pruned(network, variant, tokens, WandaPruningModifier, {})


def sparsegpt(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Prune every linear layer of the blocks in place and let the remaining weights make up for it."""
    llm_compressor.load(variant)
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    return _pruned(network, variant, tokens, SparseGPTModifier, {"block_size": BLOCK, "dampening_frac": DAMPENING})


def _pruned(
    network: Any, variant: Variant, tokens: SampleTokens | None, modifier: Any, arguments: dict[str, Any]
) -> Outcome:
    check_pattern(network, variant)
    structure = "0:0" if variant.n_of_m is None else ":".join(map(str, variant.n_of_m))
    made, spared = llm_compressor.sparing(modifier, network, partial(prune_layer, variant=variant))
    ignored = llm_compressor.ignored(network)
    pruner = made(sparsity=variant.sparsity, mask_structure=structure, ignore=ignored, **arguments)
    outcome = llm_compressor.changed_by(network, variant, pruner, tokens)
    return outcome.noting(llm_compressor.about_spared(spared, "pruned by magnitude"))
