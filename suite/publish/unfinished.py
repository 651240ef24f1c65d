"""What a snapshot says where its configuration asks for more cells than it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from suite.cell import Cell
from suite.config import RunConfig
from suite.publish.fields import Fields, one_line


def unfinished(config: RunConfig | None, cells: Sequence[Cell], failures: Sequence[Fields]) -> str:
    """One sentence on cells that are neither there nor failed; empty where there are none.

    Args:
        config: as run; None, for imported cells, asks for nothing.
    """
    if config is None:
        return ""
    # a run directory may hold cells of other configurations; a ready-made checkpoint may have a name of its own
    names = {*config.variants, *(entry.variant for entry in config.ready_made)}
    mine = [cell for cell in cells if None in names or cell.variant["name"] in names]
    if len(mine) + len(failures) >= config.cell_count:
        return ""
    counts = Counter(one_line(str(cell.model["name"])) for cell in mine)
    held = ", ".join(f"{count} of {model}" for model, count in counts.items())
    return (
        f"Unfinished: of the {config.cell_count} cells of its configuration {len(mine)} are here"
        f"{f' ({held})' if held else ''}, and {len(failures)} failed. Averages, groups and verdicts are of these; more "
        "levels may change them."
    )
