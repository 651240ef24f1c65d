"""The published tables of a run: rows.csv, rows.parquet, LEADERBOARD.md and its figures.

The same rows give the same bytes, in whatever order they come: one sort (`suite.publish.order`), one rounding
(`suite.publish.numerals`), no date and no machine in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from suite.cell import Cell
from suite.publish.figures import FOLDER, draw_figures
from suite.publish.files import write_file
from suite.publish.markdown_page import leaderboard_page
from suite.publish.numerals import rounded
from suite.publish.order import in_order
from suite.publish.records import csv_bytes, parquet_bytes


def write_leaderboard(
    rows: Sequence[Mapping[str, object]],
    cells: Sequence[Cell],
    out: Path,
    *,
    failures: Sequence[Mapping[str, object]] = (),
) -> Path:
    """Write the tables and figures of a run; each file is complete or absent.

    Args:
        rows: one flat mapping a cell (`suite.metrics.rows.compute_rows`), in any order.
        cells: option logits the rows were made from, for reliability diagrams; those that are absent cost a diagram.
        out: folder that gets rows.csv, rows.parquet, LEADERBOARD.md and figures/*.png. Pictures of an earlier
            leaderboard in figures/ are removed.
        failures: cells that could not be scored, each with `model`, `variant`, `task` and `reason`.

    Returns:
        The path of LEADERBOARD.md.

    Raises:
        SuiteError: the folder cannot be written.
    """
    ordered = in_order([rounded(row) for row in rows])
    write_file(out / "rows.csv", csv_bytes(ordered))
    write_file(out / "rows.parquet", parquet_bytes(ordered))
    pictures = draw_figures(ordered, cells)
    for picture in pictures:
        write_file(out / FOLDER / picture.name, picture.content)
    for stale in [*(out / FOLDER).glob("curves-*.png"), *(out / FOLDER).glob("reliability-*.png")]:
        if stale.name not in {picture.name for picture in pictures}:
            stale.unlink()
    page = out / "LEADERBOARD.md"
    write_file(page, leaderboard_page(ordered, pictures, failures).encode("utf-8", errors="replace"))
    return page
