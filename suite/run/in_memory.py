"""Scoring a model that is in memory already, such as one that a compression script has just made.

>>> from suite.run.in_memory import score_network  # doctest: +SKIP
>>> cell = score_network(model, tokenizer, "arc-easy", name="my-model", variant="gptq-w4-g128")  # doctest: +SKIP
>>> write_cell(Path("run/cells/my-model.parquet"), cell)  # doctest: +SKIP

The cell is like any other: `suite metrics` and `suite leaderboard` read it, beside one of the dense model under the
same name that was scored before the compression.
"""

from __future__ import annotations

import hashlib
from typing import Any

from suite.cell import Cell
from suite.compress import measure_network
from suite.errors import SuiteError
from suite.models.checkpoint import GRID_PARAMETERS, Checkpoint
from suite.models.text_decoder import left_note, text_decoder
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
        network, beside, more = text_decoder(network, own=False)
        ids = tokenizer("a").input_ids
        bos = tokenizer.bos_token_id if ids and ids[0] == tokenizer.bos_token_id else None
        dtype = str(network.get_input_embeddings().weight.dtype).removeprefix("torch.")
        params = sum(
            parameter.numel() for key, parameter in network.named_parameters() if not key.endswith(GRID_PARAMETERS)
        )
        info = {
            "name": name,
            "id": name,
            "source": "memory",
            "revision": None,
            "weights_hash": _hash(network),
            "params": params,
            "architecture": network.config.model_type,
            "parent_quantization": None,
        }
        if beside:
            info["notes"] = [left_note(beside, more)]
        if what.dtype not in (None, dtype):
            raise SuiteError(f"variant {variant!r}: the model in memory computes in {dtype}; call it by that")
        checkpoint = Checkpoint(network, tokenizer, bos, dtype, info)
        scorer = NetworkScorer(checkpoint, measure_network(network, what).as_metadata(), again=what.again)
        return score(scorer, sheet)
    finally:
        # parts may have been in training while others were not
        for module, flag in training.items():
            module.training = flag


def _hash(network: Any) -> str:
    """SHA-256 over names and bytes of every parameter, in order of names."""
    import torch

    digest = hashlib.sha256()
    for key, parameter in sorted(network.named_parameters()):
        digest.update(key.encode() + b"\0")
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + digest.hexdigest()
