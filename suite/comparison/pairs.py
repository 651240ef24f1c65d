"""Which items of two sides are the same question, asked in the same way; what keeps two sides from being compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from suite.errors import SuiteError
from suite.importers.answers import Answers, Side
from suite.metrics.slices import subset

SAME = "both sides hold the same scores: nothing was compressed, or one file was given twice"


@dataclass(frozen=True)
class Pair:
    """Two models on the same items of one task, in the same order.

    Attributes:
        dense, compressed: their answers; both have a cell or neither has.
        remarks: what a reader must know.
    """

    dense: Answers
    compressed: Answers
    remarks: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """Its name."""
        return self.dense.task


def pair_sides(dense: Side, compressed: Side) -> tuple[list[Pair], list[str]]:
    """Every task that both have, with what was left out.

    Raises:
        SuiteError: no task in both, or one that was asked otherwise.
    """
    shared = [task for task in dense.answers if task in compressed.answers]
    if not shared:
        raise SuiteError(_no_task(dense, compressed))
    left = [
        f"left out: {task}: {reason}"
        for task, reason in {**dense.left_out, **compressed.left_out}.items()
        if task not in shared
    ]
    for side, other, name in ((dense, compressed, "DENSE"), (compressed, dense, "COMPRESSED")):
        left += [
            f"left out: {task}: only {name} has it"
            for task in side.answers
            if task not in other.answers and task not in other.left_out
        ]
    return [pair_answers(dense.answers[task], compressed.answers[task]) for task in shared], left


def pair_answers(dense: Answers, compressed: Answers) -> Pair:
    """The items that both have: of equal id, prompt and right answer.

    Raises:
        SuiteError: no such item; other shots, chat template, prompt, scoring or metric; an item whose options or right
            answer differ.
    """
    task = dense.task
    _check_alike(dense, compressed)
    place = {item: row for row, item in enumerate(compressed.ids)}
    ours = [row for row, item in enumerate(dense.ids) if item in place]
    theirs = [place[dense.ids[row]] for row in ours]
    if not ours:
        raise SuiteError(
            f"{task}: {dense.where} and {compressed.where} share no item: other documents, or another version of the "
            f"task (the first ids are {dense.ids[0]!r} and {compressed.ids[0]!r})"
        )
    first, second = _kept(dense, ours), _kept(compressed, theirs)
    _check_items(first, second)
    if dense.ids != compressed.ids:
        first, second = _without_hash(first), _without_hash(second)
    remarks = list(dict.fromkeys((*dense.notes, *compressed.notes)))
    lost = len(dense) + len(compressed) - 2 * len(ours)
    if lost:
        remarks.append(f"{len(ours)} items are in both; DENSE has {len(dense)}, COMPRESSED {len(compressed)}")
    if first.cell is not None and second.cell is not None:
        if np.array_equal(first.cell.scores, second.cell.scores, equal_nan=True):
            remarks.append(SAME)
    elif first.cell is not None or second.cell is not None:
        name = "COMPRESSED" if second.cell is None else "DENSE"
        remarks.append(f"{name} has no log-likelihoods of options, so only its scores are compared")
        first, second = replace(first, cell=None), replace(second, cell=None)
    return Pair(first, second, tuple(remarks))


def _no_task(dense: Side, compressed: Side) -> str:
    names = [_few([*side.answers]) for side in (dense, compressed)]
    bare = [{task.partition(" (")[0] for task in side.answers} for side in (dense, compressed)]
    if bare[0] & bare[1]:
        return f"no filter of {min(bare[0] & bare[1])} is in both: DENSE has {names[0]}, COMPRESSED has {names[1]}"
    return f"no task is in both: DENSE has {names[0]}, COMPRESSED has {names[1]}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_alike(dense: Answers, compressed: Answers) -> None:
    """Refuse two sides whose files say that they were asked, or scored, otherwise."""
    task = dense.task
    if None not in (dense.shots, compressed.shots) and dense.shots != compressed.shots:
        raise SuiteError(f"{task}: {dense.shots} shots in DENSE and {compressed.shots} in COMPRESSED; run both alike")
    if None not in (dense.chat, compressed.chat) and dense.chat != compressed.chat:
        name = "DENSE" if dense.chat else "COMPRESSED"
        raise SuiteError(f"{task}: a chat template in {name} alone; run both with it, or both without")
    if dense.filter and compressed.filter and dense.filter != compressed.filter:
        raise SuiteError(
            f"{task}: filter {dense.filter} in DENSE and {compressed.filter} in COMPRESSED; use one of them"
        )
    if dense.cell is None or compressed.cell is None:
        if dense.metric != compressed.metric:
            raise SuiteError(
                f"{task}: {dense.metric} in DENSE and {compressed.metric} in COMPRESSED; one metric is needed"
            )
        return
    ours, theirs = dense.cell, compressed.cell
    if ours.kind != theirs.kind:
        raise SuiteError(f"{task}: the scores of DENSE are {ours.kind}, those of COMPRESSED {theirs.kind}")
    for what in ("scoring", "prompt"):
        said = [str(cell.task[what]) for cell in (ours, theirs)]
        if said[0] != said[1]:
            raise SuiteError(f"{task}: {what} {said[0]} in DENSE and {said[1]} in COMPRESSED; score both alike")
    hashes = [cell.task.get("prompt_hash") for cell in (ours, theirs)]
    if (
        not (dense.asked and compressed.asked)
        and None not in hashes
        and hashes[0] != hashes[1]
        and ours.ids == theirs.ids
    ):
        raise SuiteError(f"{task}: the prompts differ on the same items: other wording, or another version of the task")


def _kept(answers: Answers, rows: Sequence[int]) -> Answers:
    kept = answers.of(rows)
    if answers.cell is None:
        return kept
    return replace(kept, cell=subset(answers.cell, np.asarray(rows, dtype=np.intp)))


def _without_hash(answers: Answers) -> Answers:
    """One whose prompts have been compared item by item: a hash of other items, or in another order, says nothing."""
    if answers.cell is None:
        return answers
    return replace(answers, cell=replace(answers.cell, task={**answers.cell.task, "prompt_hash": None}))


def _check_items(dense: Answers, compressed: Answers) -> None:
    """Refuse items of one id that are not one question."""
    task = dense.task
    if dense.cell is not None and compressed.cell is not None:
        counts = [answers.cell.n_options.tolist() for answers in (dense, compressed) if answers.cell is not None]
        for item, one, other in zip(dense.ids, *counts, strict=True):
            if one != other:
                raise SuiteError(f"{task}: item {item!r} has {one} options in DENSE and {other} in COMPRESSED")
    if dense.asked and compressed.asked:
        differ = [
            item for item, one, other in zip(dense.ids, dense.asked, compressed.asked, strict=True) if one != other
        ]
        if differ:
            raise SuiteError(
                f"{task}: {len(differ)} of {len(dense)} shared documents were asked in other words, such as "
                f"{differ[0]!r}: other shots, chat template or version of the task; run both alike"
            )
    for item, one, other in zip(dense.ids, dense.targets, compressed.targets, strict=True):
        if one != other:
            raise SuiteError(
                f"{task}: the right answer of item {item!r} is {one!r} in DENSE and {other!r} in COMPRESSED"
            )
