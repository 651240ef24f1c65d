"""``suite doctor --drift MODEL``: what 16-bit arithmetic and batch composition do to scores on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from suite.cell import Cell
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import Model
from suite.score.cells import score
from suite.score.sheet import Sheet
from suite.score.transformers.drift import Drift, compare, in_float32
from suite.score.transformers.network import NetworkScorer

SMALL_BUDGET, LARGE_BUDGET = 256, 4096


@dataclass(frozen=True)
class DriftReport:
    """Differences between ways to compute the same option scores.

    Attributes:
        batches: 16-bit with small against 16-bit with large batches: what batch composition alone moves.
        precision: 16-bit with large batches against float32.
        accuracy16, accuracy32: on these items.
    """

    model: str
    task: str
    dtype: str
    batches: Drift
    precision: Drift
    accuracy16: float
    accuracy32: float

    def lines(self) -> list[str]:
        """For a person to read."""
        return [
            f"{self.model} on {self.precision.items} items of {self.task}, {self.dtype}:",
            f"  batch composition: {_moved(self.batches)}",
            f"  against float32:   {_moved(self.precision)}",
            f"  accuracy {self.accuracy16:.3f} in {self.dtype}, {self.accuracy32:.3f} in float32",
        ]


def check_drift(model: Model, sheet: Sheet, *, device: str = "cpu") -> DriftReport:
    """Score a sheet three times: small batches, large batches, and large batches in float32."""
    checkpoint = load(model, dtype="bfloat16", device=device)
    small = _score(checkpoint, sheet, SMALL_BUDGET)
    large = _score(checkpoint, sheet, LARGE_BUDGET)
    with in_float32(checkpoint.network):
        full = _score(checkpoint, sheet, LARGE_BUDGET)
    return DriftReport(
        model=model.name,
        task=sheet.task.name,
        dtype=checkpoint.dtype,
        batches=compare(_rows(small), _rows(large)),
        precision=compare(_rows(large), _rows(full)),
        accuracy16=_accuracy(large),
        accuracy32=_accuracy(full),
    )


def _score(checkpoint: Checkpoint, sheet: Sheet, budget: int) -> Cell:
    return score(NetworkScorer(checkpoint, token_budget=budget), sheet)


def _rows(cell: Cell) -> Sequence[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    return [row[:count].astype(np.float64) for row, count in zip(cell.scores, cell.n_options, strict=True)]


def _moved(drift: Drift) -> str:
    return (
        f"scores move by {drift.largest:.3f} at most, {drift.mean:.4f} on average; "
        f"{drift.changed_answers} answers change"
    )


def _accuracy(cell: Cell) -> float:
    return float(np.mean(np.nanargmax(cell.scores, axis=1) == cell.answers))
