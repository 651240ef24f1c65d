"""The tables and pictures of rows in a folder, without cells and without a manifest: what a reader would open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from suite.cell import Cell
from suite.publish.figures import FOLDER, draw_figures
from suite.publish.numerals import rounded
from suite.publish.order import in_order
from suite.publish.pages.markdown import markdown_page
from suite.publish.records import csv_bytes, parquet_bytes
from suite.publish.sections.page import leaderboard_page


def write_tables(
    rows: Sequence[Mapping[str, object]],
    out: Path,
    *,
    cells: Sequence[Cell] = (),
    failures: Sequence[Mapping[str, object]] = (),
    draw: bool = False,
) -> Path:
    """Write what a snapshot makes of these rows, in any order; pictures if `draw`. Returns LEADERBOARD.md."""
    ordered = in_order([rounded(row) for row in rows])
    pictures = draw_figures(ordered, cells) if draw else []
    page = markdown_page(leaderboard_page(ordered, pictures, failures)).encode("utf-8", errors="replace")
    made = {"rows.csv": csv_bytes(ordered), "rows.parquet": parquet_bytes(ordered), "LEADERBOARD.md": page}
    made |= {f"{FOLDER}/{picture.name}": picture.content for picture in pictures}
    for name, content in made.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return out / "LEADERBOARD.md"
