"""Cells cut down to one part of their task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suite.cell import Cell
from suite.metrics.slices import item_parts, subset


def cut_to(cells: Sequence[Cell], name: str) -> list[Cell]:
    """The items of a slice, or of ``subject:<name>``."""
    rows = [[row for row in range(len(cell)) if name in item_parts(cell, row)] for cell in cells]
    return [subset(cell, np.array(some, dtype=np.intp)) for cell, some in zip(cells, rows, strict=True)]
