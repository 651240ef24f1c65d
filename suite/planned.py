"""A cell of a run that is still to be scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.model import Model
from suite.score.cells import Sheet
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
