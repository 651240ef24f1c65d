"""A cell of a run that is still to be scored, and which of them a run takes."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from suite.cell import file_key
from suite.errors import SuiteError
from suite.models.model import Model
from suite.score.sheet import Sheet
from suite.variant import Variant


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a run: what to score and where it goes.

    Attributes:
        ready: the checkpoint that is the variant, where somebody else has made it.
    """

    model: Model
    variant: Variant
    sheet: Sheet
    path: Path
    key: str
    ready: Model | None = None

    @property
    def label(self) -> str:
        """``model/task/variant``, what ``--only`` matches and messages name."""
        return f"{self.model.name}/{self.sheet.task.name}/{self.variant.name}"


class Labelled(Protocol):
    """Anything that stands for a cell under the name ``model/task/variant``."""

    @property
    def label(self) -> str:
        """The name."""


AnyCell = TypeVar("AnyCell", bound=Labelled)


def chosen(cells: Sequence[AnyCell], only: str | None) -> list[AnyCell]:
    """The cells that a glob matches, by ``model/task/variant`` or by any one of the three; all where there is none.

    Raises:
        SuiteError: it matches nothing.
    """
    if only is None:
        return list(cells)
    found = [
        cell for cell in cells if any(fnmatch.fnmatchcase(name, only) for name in (cell.label, *cell.label.split("/")))
    ]
    if not found:
        raise SuiteError(f"--only {only!r} matches no cell; they are named model/task/variant: {cells[0].label}, ...")
    return found


def check_distinct(places: Sequence[tuple[str, Path]]) -> None:
    """Raise where two cells of a configuration would be one file, here or on a system that does not tell case.

    Args:
        places: label and path of each cell.
    """
    seen: dict[str, str] = {}
    for label, path in places:
        key = file_key(path)
        if key in seen:
            both = label if seen[key] == label else f"{seen[key]} and {label}"
            raise SuiteError(
                f"two cells of this configuration have the same model, task, style and variant name: {both}; rename one"
            )
        seen[key] = label
