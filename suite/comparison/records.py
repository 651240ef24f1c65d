"""What is said of a pair: every figure of the compressed side, those against dense, and bounds of what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell
from suite.comparison.pairs import SAME, Pair, pair_sides
from suite.config import Protocol
from suite.importers.answers import Answers
from suite.importers.lm_eval_run import subtask_mean
from suite.importers.sides import read_side
from suite.metrics import paired, proportions
from suite.metrics.average import Average, Setting, combined
from suite.metrics.figures import PAIRED_KEYS, ROW_KEYS
from suite.metrics.rows import rows_against, score_cell

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]

CONFIDENCE = 0.95
"""Of each of the two one-sided bounds of what was lost."""

NO_OPTIONS = "option log-probabilities are missing: the files hold one score an item"
DENSE_KEYS = ("accuracy", "brier_ts", "lac_set_size", "set_size")
"""Figures of dense that stand beside the compressed side's, as ``<key>_dense``."""


@dataclass(frozen=True)
class Comparison:
    """Two models on every task that both have.

    Attributes:
        dense, compressed: their names.
        records: one a task, JSON-safe.
        remarks: what was left out or assumed.
    """

    dense: str
    compressed: str
    records: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...]


def compare(dense: str | Path, compressed: str | Path, *, scoring: str | None = None) -> Comparison:
    """Compare two sides, item by item.

    Args:
        dense, compressed: see `suite.importers.sides.read_side`.
        scoring: of log-likelihoods, ``sum`` or ``norm``.

    Raises:
        SuiteError: one line for what cannot be read or compared.
    """
    first, second = (read_side(Path(side), scoring=scoring) for side in (dense, compressed))
    pairs, left = pair_sides(first, second)
    records = tuple(record_of(pair, dense=first.name, compressed=second.name) for pair in pairs)
    if all(SAME in pair.remarks for pair in pairs):
        left = [*left, SAME]
        pairs = [replace(pair, remarks=tuple(one for one in pair.remarks if one != SAME)) for pair in pairs]
    remarks = [*left, *(f"{pair.task}: {remark}" for pair in pairs for remark in pair.remarks)]
    return Comparison(first.name, second.name, records, tuple(remarks))


def record_of(pair: Pair, *, dense: str, compressed: str, protocol: Protocol | None = None) -> dict[str, Any]:
    """One pair's figures: the keys of a row, with those of dense and the bounds of what was lost beside them.

    ``lost_at_most`` and ``lost_at_least`` bound the loss of accuracy, dense minus compressed, each with confidence
    `CONFIDENCE`; negative is a gain. Fractions; None with a reason under ``notes``.
    """
    if pair.dense.cell is None or pair.compressed.cell is None:
        record = _of_scores(pair, dense=dense, compressed=compressed)
    else:
        record = _of_options(pair, pair.dense.cell, pair.compressed.cell, (dense, compressed), protocol or Protocol())
    logged = {f"accuracy_lm_eval{end}": _mean(one, one.scores) for one, end in _sides(pair)}
    return {**record, **logged, "dense": dense, "metric": pair.dense.metric, "remarks": list(pair.remarks)}


def _sides(pair: Pair) -> tuple[tuple[Answers, str], tuple[Answers, str]]:
    return (pair.compressed, ""), (pair.dense, "_dense")


def _mean(answers: Answers, values: Floats) -> float:
    return subtask_mean(values, answers.subtasks) if answers.alike else float(values.mean())


def _of_options(
    pair: Pair, dense: Cell, compressed: Cell, names: tuple[str, str], protocol: Protocol
) -> dict[str, Any]:
    if compressed.is_dense:  # files that name no variant: it is called what its side is called
        variant = {**compressed.variant, "name": names[1], "family": None, "method": None}
        compressed = replace(compressed, model={**compressed.model, "name": names[0]}, variant=variant)
    theirs, ours = rows_against(dense, [compressed], protocol)
    credit = [score_cell(cell, protocol) for cell in (dense, compressed)]
    place = {item: row for row, item in enumerate(pair.dense.ids)}
    order = [place[item] for item in credit[0].sample.ids]
    record: dict[str, Any] = {**ours, "task": pair.task}
    record |= {f"{key}_dense": theirs.get(key) for key in DENSE_KEYS}
    answers, units = pair.dense.of(order), credit[0].sample.unit_numbers
    return record | _accuracy(answers, credit[0].correct, credit[1].correct, units, record)


def _accuracy(
    answers: Answers, dense: Floats, compressed: Floats, units: Numbers, known: Mapping[str, Any]
) -> dict[str, Any]:
    """The accuracies and the bounds of their difference, subtasks weighed as they are in the task's mean."""
    parts = _parts(answers)
    bounds = _loss(dense, compressed, units, parts, level=2 * CONFIDENCE - 1)
    found: dict[str, Any] = {"lost_at_most": bounds.high, "lost_at_least": bounds.low}
    if len(parts) > 1:
        usual = _loss(dense, compressed, units, parts, level=proportions.LEVEL)
        found |= {
            "accuracy": subtask_mean(compressed, answers.subtasks),
            "accuracy_dense": subtask_mean(dense, answers.subtasks),
            **dict.fromkeys(("accuracy_low", "accuracy_high")),
            **_change(usual),
            "notes": {
                **known.get("notes", {}),
                "accuracy": "mean over subtasks, as lm-eval weighs them; set size and Brier score are over items",
            },
        }
    return found


def _parts(answers: Answers) -> list[Numbers]:
    """Rows of each subtask where subtasks count alike, else all of them."""
    if not answers.alike:
        return [np.arange(len(answers))]
    names = np.asarray(answers.subtasks)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(answers.subtasks)]


def _loss(dense: Floats, compressed: Floats, units: Numbers, parts: Sequence[Numbers], *, level: float) -> Average:
    """Dense minus compressed with its interval."""
    found = {}
    for number, rows in enumerate(parts):
        lost = dense[rows] - compressed[rows]
        low, high = proportions.paired_interval(lost, np.unique(units[rows], return_inverse=True)[1], level=level)
        found[Setting(str(number), "", "", 0)] = Average(float(lost.mean()), low, high)
    return combined(found)


def _change(loss: Average) -> dict[str, Any]:
    """A loss as the row has it: compressed minus dense, its interval, and what could be detected."""
    assert loss.value is not None
    assert loss.low is not None
    assert loss.high is not None
    return {
        "accuracy_change": -loss.value,
        "accuracy_change_low": -loss.high,
        "accuracy_change_high": -loss.low,
        "accuracy_change_detectable": paired.minimum_detectable((loss.high - loss.low) / 2 / proportions.NORMAL),
    }


def _of_scores(pair: Pair, *, dense: str, compressed: str) -> dict[str, Any]:
    """What one score an item allows: the paired comparison of accuracy."""
    theirs, ours = pair.dense.scores, pair.compressed.scores
    units = np.arange(len(pair.dense))
    usual = _loss(theirs, ours, units, _parts(pair.dense), level=proportions.LEVEL)
    notes = dict.fromkeys((*PAIRED_KEYS, "brier_ts", "lac_set_size", "set_size", "lac_coverage"), NO_OPTIONS)
    record: dict[str, Any] = dict.fromkeys(ROW_KEYS)
    record |= dict.fromkeys(f"{key}_dense" for key in DENSE_KEYS)
    record |= {
        "model": dense,
        "variant": compressed,
        "family": "unknown",
        "method": compressed,
        "task": pair.task,
        "scoring": pair.dense.metric,
        "prompt": "lm-eval",
        "shots": pair.dense.shots or 0,
        "n": len(units),
        "n_evaluated": len(units),
        "n_paired": len(units),
        "kind": "scores",
        "accuracy": _mean(pair.compressed, ours),
        "accuracy_dense": _mean(pair.dense, theirs),
        **_change(usual),
    }
    if len(_parts(pair.dense)) == 1:
        low, high = proportions.proportion_interval(ours, units)
        record |= {"accuracy_low": low, "accuracy_high": high}
    if np.isin(theirs, (0.0, 1.0)).all() and np.isin(ours, (0.0, 1.0)).all():
        to_wrong, to_right = paired.flips(theirs > 0, ours > 0)
        record |= {"flips_to_wrong": to_wrong / len(units), "flips_to_right": to_right / len(units)}
        record["mcnemar_p"] = paired.mcnemar_p(to_wrong, to_right)
    else:
        notes |= dict.fromkeys(
            ("flips_to_wrong", "flips_to_right", "mcnemar_p"), "some scores lie between 0 and 1, so nothing flips"
        )
    notes = {key: reason for key, reason in notes.items() if record.get(key) is None}
    record |= {"flags": [], "notes": notes}
    return record | _accuracy(pair.dense, theirs, ours, units, record)
