"""Cells that grow: a model is asked some items of a task, then more, and no item twice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from suite.cell import Cell, read_metadata, write_cell
from suite.run.plan import PlannedCell
from suite.score.cells import Asked, score
from suite.score.scorer import Scorer
from suite.score.sheet import part
from suite.score.store import ShardStore


class GrowingCell:
    """One model on one task, asked item by item.

    Args:
        planned: the cell of the whole task.
        scorer: its model, ready to be asked; called when something has to be asked.
        out: run directory. The cell of what was asked so far goes where a run keeps it, the scores of each call in a
            folder beside: asked for the same items in the same steps after an interruption, nothing is computed again.
        stamp: the hash of a lock, which a compressed cell carries unless some of it lay there without.
    """

    def __init__(
        self, planned: PlannedCell, scorer: Callable[[], Scorer], out: Path, *, stamp: str | None = None
    ) -> None:
        self.planned = planned
        self._path = planned.names.path(out)
        if stamp is not None and self._path.is_file():
            stamp = read_metadata(self._path)["run"].get("lock")
        self._stamp = stamp
        self._shards = ShardStore(out / "parts" / planned.key[:16])
        self._open = scorer
        self._asked = Asked()

    def ask(self, ids: Collection[str]) -> Cell:
        """The cell of these items, in the task's order; those not asked before are asked now.

        Raises:
            CellFailure: as `suite.score.cells.score`.
        """
        sheet, wanted = self.planned.sheet, set(ids)
        rows = [row for row, item in enumerate(sheet.questions) if item.id in wanted]
        cell = score(self._open(), part(sheet, rows), shards=self._shards, asked_before=self._asked)
        names = self.planned.names
        cell = self.planned.signed(cell, self._stamp)
        cell = replace(cell, model={**cell.model, "name": names.model}, variant={**cell.variant, "name": names.variant})
        if len(rows) < len(sheet.questions) or names.variant != self.planned.variant.name:
            # a run that finds it must not take it for the whole, nor for another variant
            run = {name: value for name, value in cell.run.items() if name != "key"}
            cell = replace(cell, run={**run, "part_of": self.planned.key})
        write_cell(self._path, cell)
        return cell
