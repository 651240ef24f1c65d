"""What one model answered on one task, item by item, as a comparison needs it: with options' scores or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from suite.arrays import Floats
from suite.cell import Cell


@dataclass(frozen=True)
class Answers:
    """One model on one task.

    Attributes:
        task: its name; with the filter in brackets where a run of lm-eval has logged several.
        where: the file or folder, for messages.
        metric: what `scores` are, such as ``acc``.
        filter: of lm-eval, "" where there is none.
        ids: of the items.
        scores: what the program that made the file gave each item, in [0, 1], shape [n]; the first of tied options is
            its answer.
        targets: the right answer of each item as text; for options, the index.
        asked: a hash of each item's prompt, options included; () where the file does not have it.
        subtasks: of each item; () where there are none.
        alike: whether every subtask counts alike in the task's mean, whatever its number of items; else every item.
        cell: the scores of options, one row an item in the order of `ids`; None where only `scores` are known.
        shots, chat: how it was asked, None where nobody says.
        notes: what was assumed.
    """

    task: str
    where: str
    metric: str
    ids: tuple[str, ...]
    scores: Floats
    targets: tuple[str, ...]
    asked: tuple[str, ...] = ()
    subtasks: tuple[str, ...] = ()
    alike: bool = False
    cell: Cell | None = None
    filter: str = ""
    shots: int | None = None
    chat: bool | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, rows: Sequence[int]) -> Answers:
        """Some of the items, in the order given; the cell stays whole."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            scores=self.scores[np.asarray(rows, dtype=np.intp)],
            targets=tuple(self.targets[row] for row in rows),
            asked=tuple(self.asked[row] for row in rows) if self.asked else (),
            subtasks=tuple(self.subtasks[row] for row in rows) if self.subtasks else (),
        )


@dataclass(frozen=True)
class Side:
    """One of the two models that are compared.

    Attributes:
        name: of the model, as its files have it.
        answers: by task.
        left_out: tasks that cannot be used, with the reason.
    """

    name: str
    answers: dict[str, Answers]
    left_out: dict[str, str]
