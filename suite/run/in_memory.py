"""Scoring a model that is in memory already, such as one that a compression script has just made.

The cell is like any other: `suite metrics` and `suite leaderboard` read it, beside one of the dense model under the
same name that was scored before the compression. `suite.score_model` is the way in.
"""

from __future__ import annotations

from typing import Any

from suite.cell import Cell
from suite.compress import measure_network
from suite.errors import SuiteError
from suite.models.in_memory import checkpoint_of
from suite.score.cells import score
from suite.score.sheet import Sheet
from suite.score.transformers.network import NetworkScorer
from suite.variant import parse_variant


def score_network(network: Any, tokenizer: Any, sheet: Sheet, *, name: str, variant: str = "dense") -> Cell:
    """Score a transformers causal language model as it is.

    Args:
        network: on any one device, in evaluation mode or not; it is left as it was. One that llm-compressor has just
            quantized rounds weights and activations in its forward pass, and is scored like that.
        tokenizer: its fast tokenizer.
        sheet: a task as it is asked.
        name: how results call the model; the same for the dense model and for what was made of it.
        variant: what was done to it, such as ``gptq-w4-g128``; ``dense`` for nothing.

    Returns:
        The cell, its `variant` section with measured bits a weight and zeros.

    Raises:
        SuiteError: a malformed variant name.
        CellFailure: scores that are not finite.
    """
    what = parse_variant(variant)
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        checkpoint = checkpoint_of(network, tokenizer, name)
        if what.dtype not in (None, checkpoint.dtype):
            raise SuiteError(
                f"variant {variant!r}: the model in memory computes in {checkpoint.dtype}; call it by that"
            )
        info = measure_network(checkpoint.network, what).as_metadata()
        return score(NetworkScorer(checkpoint, info, again=what.again), sheet)
    finally:
        # parts may have been in training while others were not
        for module, flag in training.items():
            module.training = flag
