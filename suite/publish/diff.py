"""What changed from one snapshot to another: cell by cell, paired where the two share items.

Both are measured again from their cells, the second one as if it were a variant of the first: the same items, folds
and bootstrap weights, so that the interval of a change is that of a paired difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from suite.cell import Cell, CellKey, load_cells
from suite.config import Protocol, config_in
from suite.errors import SuiteError
from suite.metrics.figures import CHANGES, FIGURES, PAGE_CHANGES, leading
from suite.metrics.rows import rows_against
from suite.publish.fields import Fields, is_cloze, number, one_line
from suite.publish.manifest import NAME as MANIFEST
from suite.publish.manifest import read_manifest
from suite.publish.numerals import estimate, rounded
from suite.tables import aligned

COMPARED = (*PAGE_CHANGES, "nll")
"""Figures of the table; the records have every one of `CHANGES`, B minus A, where both have it."""

_Setting = tuple[str, str, str, int]


@dataclass(frozen=True)
class Change:
    """One cell that both snapshots have.

    Attributes:
        key: of the cell.
        shared, first, second: items of both, of the first and of the second.
        same_scores: every shared item has the same scores in both.
        other_weights: the dense weights differ by their hash.
        row: the second cell against the first, under the keys `<metric>_change` with `_low` and `_high`; empty where
            the scores are the same.
    """

    key: CellKey
    shared: int
    first: int
    second: int
    same_scores: bool
    other_weights: bool
    row: Fields = field(default_factory=dict)

    def surely(self, key: str) -> bool:
        """Whether the interval of a change leaves zero out."""
        low, high = (number(self.row, f"{key}_change{end}") for end in ("_low", "_high"))
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Comparison:
    """What two snapshots have in common and what changed.

    Attributes:
        changes: cells of both, in a fixed order.
        refused: settings of both that cannot be compared, with the reason.
        only_first, only_second: cells of one alone, as model/task/variant.
    """

    changes: tuple[Change, ...]
    refused: Mapping[_Setting, str]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One JSON-safe object a cell of both."""
        return [
            {
                **{"model": change.key.model, "variant": change.key.variant, **change.key._asdict()},
                **{"n_first": change.first, "n_second": change.second, "n_shared": change.shared},
                **{"same_scores": change.same_scores, "other_weights": change.other_weights},
                **{
                    f"{key}_change{end}": 0.0 if change.same_scores else number(change.row, f"{key}_change{end}")
                    for key in CHANGES
                    for end in ("", "_low", "_high")
                },
            }
            for change in self.changes
        ]

    def lines(self) -> list[str]:
        """The comparison in words and a plain table."""
        equal = sum(change.same_scores for change in self.changes)
        shown = [change for change in self.changes if not change.same_scores]
        lines = [f"{len(self.changes)} cells in both: {equal} with the same scores, {len(shown)} that differ"]
        if shown:
            lines += [
                "changes are B minus A on shared items; brackets are 95 % paired intervals, not adjusted for number,",
                "* marks one without zero",
            ]
            header = ["model", "task", "variant", "items", *(FIGURES[key].heading for key in COMPARED)]
            lines += aligned([header, *(self._line(change) for change in shown)])
        for setting, reason in self.refused.items():
            lines.append(f"not compared: {_name(setting)}: {reason}")
        for side, names in (("A", self.only_first), ("B", self.only_second)):
            lines += [f"only in {side}: {name}" for name in names]
        return lines

    @staticmethod
    def _line(change: Change) -> list[str]:
        items = (
            f"{change.shared}"
            if change.shared == change.first == change.second
            else (f"{change.shared} of {change.first} and {change.second}")
        )
        model, task, variant = map(one_line, (change.key.model, change.key.task, change.key.variant))
        marks = " (other weights)" if change.other_weights else ""
        return [
            model + marks,
            task,
            variant,
            items,
            *(_shown(change, leading(key, cloze=is_cloze(change.row))) for key in COMPARED),
        ]


def compare(first: str | Path, second: str | Path) -> Comparison:
    """Compare two snapshots or run directories.

    Raises:
        SuiteError: a folder without cells, or nothing that can be compared, with the reason.
    """
    first, second = Path(first), Path(second)
    ours, theirs = _by_cell(first), _by_cell(second)
    protocol, other = _protocol(first), _protocol(second)
    for key in ("name", "alpha"):
        if getattr(protocol, key) != getattr(other, key):
            raise SuiteError(
                f"{first} and {second} cannot be compared: protocol {key} {getattr(protocol, key)} and "
                f"{getattr(other, key)}; publish one of them again under the protocol of the other"
            )
    refused: dict[_Setting, str] = {}
    changes: list[Change] = []
    for cell in sorted(set(ours) & set(theirs)):
        reason = _why_not(ours[cell], theirs[cell])
        if reason:
            refused.setdefault(cell[1:5], reason)
        else:
            changes.append(_change(ours[cell], theirs[cell], protocol))
    if not changes:
        if refused:
            setting, reason = next(iter(refused.items()))
            raise SuiteError(f"{first} and {second} cannot be compared: {_name(setting)}: {reason}")
        raise SuiteError(f"{first} and {second} cannot be compared: {_nothing_shared(ours, theirs)}")
    only = [
        tuple(f"{key[0]}/{key[1]}/{key[5]}" for key in sorted(set(a) - set(b)))
        for a, b in ((ours, theirs), (theirs, ours))
    ]
    return Comparison(tuple(changes), refused, *only)


def _by_cell(folder: Path) -> dict[CellKey, Cell]:
    return {cell.key: cell for cell in load_cells([folder])}


def _protocol(folder: Path) -> Protocol:
    if config := config_in(folder):
        return config.protocol
    stored = read_manifest(folder)[0].get("protocol") if (folder / MANIFEST).is_file() else None
    return Protocol(**(stored or {}))


def _why_not(first: Cell, second: Cell) -> str:
    """Why two cells of one name cannot be compared; empty where they can."""
    if first.kind != second.kind:
        return f"the scores of A are {first.kind}, those of B {second.kind}"
    hashes = (first.task.get("prompt_hash"), second.task.get("prompt_hash"))
    shared, same_items = _shared(first, second)
    if not shared:
        return "they share no item; other items of the task were scored"
    if None not in hashes and same_items and hashes[0] != hashes[1]:
        return "the prompts differ on the same items: other wording, or another version of the task"
    revisions = (first.task.get("revision"), second.task.get("revision"))
    if None not in revisions and revisions[0] != revisions[1]:
        return f"other data: revision {revisions[0]} and {revisions[1]}"
    return ""


def _shared(first: Cell, second: Cell) -> tuple[int, bool]:
    """How many items both have with equal answer and option count, and whether they have the same items."""
    ours, theirs = (
        set(zip(cell.ids, cell.answers.tolist(), cell.n_options.tolist(), strict=True)) for cell in (first, second)
    )
    return len(ours & theirs), ours == theirs


def _nothing_shared(ours: Mapping[CellKey, Cell], theirs: Mapping[CellKey, Cell]) -> str:
    """What keeps the cells apart, from the most general to the most particular."""
    for place, what in (
        (1, "task"),
        (2, "scoring"),
        (3, "prompt"),
        (4, "number of shots"),
        (0, "model"),
        (5, "variant"),
    ):
        a, b = ({key[place] for key in side} for side in (ours, theirs))
        if not a & b:
            return f"no {what} is in both; A has {_few(a)}, B has {_few(b)}"
    return "no cell is in both: models, tasks and variants are combined in other ways"


def _few(names: set[Any]) -> str:
    shown = sorted(map(str, names))
    return ", ".join(shown[:3]) + (" and more" if len(shown) > 3 else "")


def _change(first: Cell, second: Cell, protocol: Protocol) -> Change:
    shared, _ = _shared(first, second)
    weights = (first.model.get("weights_hash"), second.model.get("weights_hash"))
    change = Change(
        key=first.key,
        shared=shared,
        first=len(first),
        second=len(second),
        same_scores=_same(first, second),
        other_weights=None not in weights and weights[0] != weights[1],
    )
    if change.same_scores:
        return change
    return replace(change, row=rounded(rows_against(first, [second], protocol)[1]))


def _same(first: Cell, second: Cell) -> bool:
    if set(first.ids) != set(second.ids):
        return False
    place = {item: index for index, item in enumerate(second.ids)}
    order = [place[item] for item in first.ids]
    return first.scores.shape == second.scores.shape and bool(
        np.array_equal(first.scores, second.scores[order], equal_nan=True)
        and np.array_equal(first.answers, second.answers[order])
    )


def _shown(change: Change, key: str) -> str:
    return estimate(change.row, f"{key}_change") + ("*" if change.surely(key) else "")


def _name(setting: _Setting) -> str:
    task, scoring, prompt, shots = setting
    return f"{one_line(task)} ({one_line(scoring)}, {one_line(prompt)}, {shots} shots)"
