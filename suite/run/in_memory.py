"""Scoring a model that is in memory already, such as one that a compression script has just made.

>>> from suite.run.in_memory import score_network  # doctest: +SKIP
>>> cell = score_network(model, tokenizer, "arc-easy", name="my-model", variant="gptq-w4-g128")  # doctest: +SKIP
>>> write_cell(Path("run/cells/my-model.parquet"), cell)  # doctest: +SKIP

The cell is like any other: `suite metrics` and `suite leaderboard` read it, beside one of the dense model under the
same name that was scored before the compression.
"""

from __future__ import annotations

from typing import Any

from suite.cell import Cell
from suite.compress import measure_network
from suite.errors import SuiteError
from suite.models.in_memory import checkpoint_of
from suite.score.cells import score
from suite.score.sheet import make_sheet
from suite.score.transformers.network import NetworkScorer
from suite.variant import parse_variant


def score_network(
    network: Any,
    tokenizer: Any,
    task: str,
    *,
    name: str,
    variant: str = "dense",
    limit: int | None = None,
    scoring: str | None = None,
    prompt: str | None = None,
    shots: int = 0,
) -> Cell:
    """Score a transformers causal language model as it is, in three lines of somebody else's script.

    Args:
        network: on any one device, in evaluation mode or not; it is left as it was. One that llm-compressor has just
            quantized rounds weights and activations in its forward pass, and is scored like that.
        tokenizer: its fast tokenizer.
        task: a built-in task, or a JSONL file.
        name: how results call the model; the same for the dense model and for what was made of it.
        variant: what was done to it, such as ``gptq-w4-g128``; ``dense`` for nothing.
        limit: a fixed subset of this many items.
        scoring, prompt, shots: None for the task's own; see `suite.score.sheet.make_sheet`.

    Returns:
        The cell, its `variant` section with measured bits a weight and zeros.

    Raises:
        SuiteError: an unknown task or a malformed variant name.
        CellFailure: scores that are not finite.
    """
    from suite.tasks import get_task

    what = parse_variant(variant)
    sheet = make_sheet(get_task(task), scoring=scoring, prompt=prompt, shots=shots, limit=limit)
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
