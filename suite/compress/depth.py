"""Depth pruning: whole decoder blocks go, those that change what flows through them least.

Block influence (ShortGPT, Men et al. 2024, arXiv 2403.03853): ``BI = 1 - mean over tokens of cos(x, f(x))`` between the
hidden state before and after a block, on sample text, all blocks measured once on the dense network. The blocks with
the least go; nothing is trained afterwards. Of L blocks, s percent is ``round(s · L)``, halves up, so the measured
level is the next possible one; of equally influential blocks the later goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.compress.blocks import blocks_of, watch
from suite.compress.layers import STORED_BITS, Outcome, compare, linear_layers
from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.variant import Variant


def influence(network: Any, tokens: SampleTokens) -> NDArray[np.float64]:
    """Block influence of every block, [blocks], 0 to 2: the higher, the more the block changes."""
    import torch

    blocks = blocks_of(network)
    sums = np.zeros(len(blocks))

    def see(index: int, before: torch.Tensor, after: torch.Tensor) -> None:
        cosine = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=-1)
        sums[index] += float((1 - cosine).sum())

    watch(network, list(blocks), see, tokens)
    return sums / tokens.ids.size


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Remove blocks in place; the configuration says how many are left."""
    import torch

    assert variant.sparsity is not None
    assert tokens is not None
    blocks = blocks_of(network)
    count = int(variant.sparsity * len(blocks) + 0.5 + 1e-9)
    if not 0 < count < len(blocks):
        raise SuiteError(
            f"variant {variant.name!r}: that is {count} of the model's {len(blocks)} blocks; name a level that "
            "removes one at least and leaves one"
        )
    scores = influence(network, tokens)
    gone = set(sorted(range(len(blocks)), key=lambda index: (scores[index], -index))[:count])
    names = {id(module): index for index, block in enumerate(blocks) for module in block.modules()}
    changes = []
    for name, module in linear_layers(network):
        weight = module.weight.data
        if names.get(id(module)) in gone:
            changes.append(compare(name, weight, torch.zeros_like(weight), 0.0))
        else:
            changes.append(compare(name, weight, weight, STORED_BITS * weight.numel()))
    kept = [index for index in range(len(blocks)) if index not in gone]
    network.base_model.layers = torch.nn.ModuleList([blocks[index] for index in kept])
    for place, block in enumerate(network.base_model.layers):
        for module in block.modules():
            # where a block keeps its keys and values in a cache
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    _describe(network.config.get_text_config(), blocks, kept)
    return Outcome(changes, [f"blocks removed: {', '.join(str(index) for index in sorted(gone))}"])


def _describe(config: Any, blocks: Any, kept: list[int]) -> None:
    """Let a configuration say which blocks are left: how many, and of which kind where they differ."""
    config.num_hidden_layers = len(kept)
    for name in ("layer_types", "mlp_layer_types"):
        if (types := getattr(config, name, None)) is not None:
            setattr(config, name, [types[index] for index in kept])
    # blocks with experts: all but the first ones, or all but those named
    dense = [place for place, index in enumerate(kept) if not hasattr(blocks[index].mlp, "experts")]
    if getattr(config, "first_k_dense_replace", None) is not None:
        config.first_k_dense_replace = len(dense)
    if getattr(config, "mlp_only_layers", None) is not None:
        config.mlp_only_layers, config.decoder_sparse_step = dense, 1
