"""What is said of a pair: every figure of the compressed side, those against dense, and bounds of what was lost."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.comparison.pairs import SAME, Pair, pair_sides
from suite.config import Protocol
from suite.decisions.answers import LostAnswers, pairs_of
from suite.decisions.attempts import numbered, numbered_by_items, spent_under
from suite.decisions.gate import Tested, as_record, candidates, decide, gate_variants, lines_of
from suite.decisions.policy import Policy
from suite.importers.answers import Answers
from suite.importers.lm_eval_run import subtask_mean
from suite.importers.sides import read_side
from suite.metrics import paired, proportions
from suite.metrics.average import Average, Setting, combined
from suite.metrics.figures import PAIRED_KEYS, ROW_KEYS
from suite.metrics.rows import Measured, measure_cells, score_cell
from suite.verdicts.dose_records import JOINT_KEYS
from suite.verdicts.given import Given

CONFIDENCE = 0.95
"""Of each of the two one-sided bounds of what was lost."""

NO_OPTIONS = "option log-probabilities are missing: the files hold one score an item"
DECIDED = ("policy", "policy_hash", "decision", "reason", "attempt", "criteria", "red_lines")
"""Keys of a decision that each record repeats."""
DENSE_KEYS = ("accuracy", "brier_ts", "lac_set_size", "set_size")
"""Figures of dense that stand beside the compressed side's, as ``<key>_dense``."""


@dataclass(frozen=True)
class Comparison:
    """Two models on every task that both have.

    Attributes:
        dense, compressed: their names.
        records: one a task, JSON-safe.
        remarks: what was left out or assumed.
        judged: the decision over all tasks, with the keys of `suite.decisions.gate.GATE_KEYS`; None without a policy.
    """

    dense: str
    compressed: str
    records: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...]
    judged: dict[str, Any] | None = None


def compare(
    dense: str | Path, compressed: str | Path, *, scoring: str | None = None, policy: Policy | None = None
) -> Comparison:
    """Compare two sides, item by item.

    Args:
        dense, compressed: see `suite.importers.sides.read_side`.
        scoring: of log-likelihoods, ``sum`` or ``norm``.
        policy: what may be lost; None reports and decides nothing.

    Raises:
        SuiteError: one line for what cannot be read or compared.
    """
    first, second = (read_side(Path(side), scoring=scoring) for side in (dense, compressed))
    pairs, left = pair_sides(first, second)
    keep = () if policy is None else JOINT_KEYS
    measured = [_measured(pair, first.name, second.name, Protocol(), keep) for pair in pairs]
    records = tuple(
        record_of(pair, dense=first.name, compressed=second.name, measured=known)
        for pair, known in zip(pairs, measured, strict=True)
    )
    if all(SAME in pair.remarks for pair in pairs):
        left = [*left, SAME]
        pairs = [replace(pair, remarks=tuple(one for one in pair.remarks if one != SAME)) for pair in pairs]
    remarks = [*left, *(f"{pair.task}: {remark}" for pair in pairs for remark in pair.remarks)]
    judged = None
    if policy is not None:
        judged = judge_pairs(pairs, policy, dense=first.name, compressed=second.name, measured=measured)
        records = tuple({**record, **{key: judged[key] for key in DECIDED}} for record in records)
    return Comparison(first.name, second.name, records, tuple(remarks), judged)


def record_of(
    pair: Pair,
    *,
    dense: str,
    compressed: str,
    protocol: Protocol | None = None,
    measured: Sequence[Measured] = (),
) -> dict[str, Any]:
    """One pair's figures: the keys of a row, with those of dense and the bounds of what was lost beside them.

    ``lost_at_most`` and ``lost_at_least`` bound the loss of accuracy, dense minus compressed, each with confidence
    `CONFIDENCE`; negative is a gain. Fractions; None with a reason under ``notes``.

    Args:
        measured: both cells of the pair, dense first, where they have been.
    """
    rules = protocol or Protocol()
    known = measured or _measured(pair, dense, compressed, rules)
    record = _of_options(pair, known, rules) if known else _of_scores(pair, dense=dense, compressed=compressed)
    logged = {f"accuracy_lm_eval{end}": _mean(one, one.scores) for one, end in _sides(pair)}
    return {**record, **logged, "dense": dense, "metric": pair.dense.metric, "remarks": list(pair.remarks)}


def _sides(pair: Pair) -> tuple[tuple[Answers, str], tuple[Answers, str]]:
    return (pair.compressed, ""), (pair.dense, "_dense")


def _mean(answers: Answers, values: Floats) -> float:
    return subtask_mean(values, answers.subtasks) if answers.alike else float(values.mean())


def named_cells(pair: Pair, dense: str, compressed: str) -> tuple[Cell, Cell]:
    """The cells of a pair as two variants of one model.

    Args:
        dense, compressed: what the sides are called, for files that name no variant.
    """
    ours, theirs = pair.compressed.cell, pair.dense.cell
    assert ours is not None
    assert theirs is not None
    if ours.is_dense:
        # a file called dense.jsonl on this side is compressed all the same
        name = f"{compressed} (compressed)" if compressed.partition("@")[0] == "dense" else compressed
        variant = {**ours.variant, "name": name, "family": None, "method": None}
        ours = replace(ours, model={**ours.model, "name": dense}, variant=variant)
    model, variant = {**theirs.model, "name": ours.key.model}, {**theirs.variant, "name": "dense"}
    return replace(theirs, model=model, variant=variant), ours


def _measured(
    pair: Pair, dense: str, compressed: str, protocol: Protocol, keep: Collection[str] = ()
) -> Sequence[Measured]:
    """Both cells of a pair, dense first; nothing where files hold only scores."""
    if pair.dense.cell is None or pair.compressed.cell is None:
        return ()
    return sorted(
        measure_cells(named_cells(pair, dense, compressed), protocol, keep=keep), key=lambda one: not one.cell.is_dense
    )


def _of_options(pair: Pair, measured: Sequence[Measured], protocol: Protocol) -> dict[str, Any]:
    theirs, ours = (one.row for one in measured)
    record: dict[str, Any] = {**ours, "task": pair.task}
    record |= {f"{key}_dense": theirs.get(key) for key in DENSE_KEYS}
    return record | _accuracy(credit_of(pair, protocol), record)


@dataclass(frozen=True)
class Credit:
    """Right (1), wrong (0) or between, of both models on the same items in one order.

    Attributes:
        units: number of the unit of each item.
        answers: the items as dense has them.
    """

    dense: Floats
    compressed: Floats
    units: Numbers
    answers: Answers


def credit_of(pair: Pair, protocol: Protocol) -> Credit:
    """What each item is worth: tied options share, where options are known."""
    if pair.dense.cell is None or pair.compressed.cell is None:
        return Credit(pair.dense.scores, pair.compressed.scores, np.arange(len(pair.dense)), pair.dense)
    dense, compressed = (score_cell(cell, protocol) for cell in (pair.dense.cell, pair.compressed.cell))
    place = {item: row for row, item in enumerate(pair.dense.ids)}
    order = [place[item] for item in dense.sample.ids]
    return Credit(dense.correct, compressed.correct, dense.sample.unit_numbers, pair.dense.of(order))


def _accuracy(credit: Credit, known: Mapping[str, Any]) -> dict[str, Any]:
    """The accuracies and the bounds of their difference, subtasks weighed as they are in the task's mean."""
    parts, subtasks = _parts(credit.answers), credit.answers.subtasks
    lost = LostAnswers(
        tuple(pairs_of(credit.dense[rows], credit.compressed[rows], credit.units[rows]) for rows in parts)
    )
    least, most = lost.bounds(CONFIDENCE)
    found: dict[str, Any] = {"lost_at_most": most, "lost_at_least": least}
    if len(parts) > 1:
        found |= {
            "accuracy": subtask_mean(credit.compressed, subtasks),
            "accuracy_dense": subtask_mean(credit.dense, subtasks),
            **dict.fromkeys(("accuracy_low", "accuracy_high")),
            **_change(_loss(credit, parts)),
            "notes": {
                **known.get("notes", {}),
                "accuracy": "mean over subtasks, as lm-eval weighs them; set size and Brier score are over items",
            },
        }
    return found


def judge_pairs(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    dense: str,
    compressed: str,
    measured: Sequence[Sequence[Measured]] | None = None,
) -> dict[str, Any]:
    """One decision over all tasks, with the keys of `suite.decisions.gate.GATE_KEYS`.

    Where one task has only scores, limits of accuracy in points or relative to dense are tested and the others are not
    measured.

    Args:
        measured: the cells of each pair, with the replicates of `suite.verdicts.dose_records.JOINT_KEYS`, where they
            have been.
    """
    if all(pair.dense.cell is not None for pair in pairs):
        if measured is None:
            measured = [_measured(pair, dense, compressed, Protocol(), JOINT_KEYS) for pair in pairs]
        known = [one for both in measured for one in both]
        cells = [one.cell for one in known]
        given = Given(known, Protocol())
        (record,) = gate_variants(given, policy, attempts=numbered(cells, None, candidates(cells)))
    else:
        record = _judge_scores(pairs, policy, dense, compressed)
    notes = [f"{pair.task}: every item counts alike here" for pair in pairs if pair.dense.alike]
    return {**record, "notes": [*record["notes"], *notes]}


def _judge_scores(pairs: Sequence[Pair], policy: Policy, dense: str, compressed: str) -> dict[str, Any]:
    credits = {pair.task: credit_of(pair, Protocol()) for pair in pairs}
    counted = {task: pairs_of(one.dense, one.compressed, one.units) for task, one in credits.items()}
    lines = lines_of(policy, [*counted])
    tested = []
    for line in lines:
        inside = tuple(counted[task] for task in line.tasks if task in counted)
        about = line.line.metric in ("accuracy", "error_rate") and line.line.unit != "headroom"
        if about and line.line.slice is None and inside:
            loss = LostAnswers(inside, line.line.metric, line.line.unit)
            tested.append(Tested(line, loss, "", float(sum(one.n for one in inside))))
        else:
            tested.append(Tested(line, None, NO_OPTIONS))
    content = [[task, hashlib.sha256(one.compressed.tobytes()).hexdigest()] for task, one in credits.items()]
    asked = {task: one.answers.ids for task, one in credits.items()}
    attempt = numbered_by_items(asked, [compressed, *sorted(content)], (dense, compressed))
    return as_record(
        (dense, compressed),
        policy,
        decide(tested, policy, share=spent_under(None, (dense, compressed), attempt)),
        red=[line.is_red for line in lines],
        unlocked=len(pairs),
        attempt=attempt,
        lost=LostAnswers(tuple(counted.values())).bounds(CONFIDENCE),
    )


def _parts(answers: Answers) -> list[Numbers]:
    """Rows of each subtask where subtasks count alike, else all of them."""
    if not answers.alike:
        return [np.arange(len(answers))]
    names = np.asarray(answers.subtasks)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(answers.subtasks)]


def _loss(credit: Credit, parts: Sequence[Numbers]) -> Average:
    """Dense minus compressed with the interval that changes of accuracy have in rows."""
    found = {}
    for number, rows in enumerate(parts):
        lost = credit.dense[rows] - credit.compressed[rows]
        low, high = proportions.paired_interval(lost, np.unique(credit.units[rows], return_inverse=True)[1])
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
    credit = credit_of(pair, Protocol())
    units, parts = credit.units, _parts(pair.dense)
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
        **_change(_loss(credit, parts)),
    }
    if len(parts) == 1:
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
    return record | _accuracy(credit, record)
