"""The published tables of a run: rows.csv, rows.parquet, LEADERBOARD.md and its figures.

The same rows give the same bytes, in whatever order they come: one sort (`suite.publish.order`), one rounding
(`suite.publish.numerals`), no date and no machine in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from suite.cell import Cell
from suite.publish.figures import FOLDER, KINDS, Picture, draw_figures
from suite.publish.files import write_file
from suite.publish.markdown_page import leaderboard_page
from suite.publish.numerals import rounded
from suite.publish.order import in_order
from suite.publish.records import csv_bytes, parquet_bytes
from suite.publish.standings import PAIR_KEYS, RANKING_KEYS, Standings


def leaderboard_texts(
    rows: Sequence[Mapping[str, object]],
    pictures: Sequence[Picture],
    *,
    failures: Sequence[Mapping[str, object]] = (),
    standings: Standings | None = None,
    assessed: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    seeds: Sequence[Mapping[str, object]] = (),
) -> dict[str, bytes]:
    """The text files of a leaderboard by name: LEADERBOARD.md, rows.csv and, where there are standings, their CSVs.

    Args:
        rows: rounded and sorted.
        pictures: named in the page; their contents do not matter here.
        failures: cells that could not be scored.
        standings: groups and pairs of equal size, from the computation of the rows.
        assessed: contents of the verdict files by name.
        seeds: spread over seeds of the sample text.
    """
    texts = {"rows.csv": csv_bytes(rows)}
    if standings is not None:
        for name, lines, keys in (
            ("ranking.csv", standings.ranking, RANKING_KEYS),
            ("equal-megabytes.csv", standings.pairs, PAIR_KEYS),
        ):
            texts[name] = csv_bytes(lines) or (",".join(keys) + "\n").encode()
    page = leaderboard_page(rows, pictures, failures, standings=standings, assessed=assessed, seeds=seeds)
    return texts | {"LEADERBOARD.md": page.encode("utf-8", errors="replace")}


def write_leaderboard(
    rows: Sequence[Mapping[str, object]],
    cells: Sequence[Cell],
    out: Path,
    *,
    failures: Sequence[Mapping[str, object]] = (),
    standings: Standings | None = None,
) -> Path:
    """Write the tables and figures of a run; each file is complete or absent.

    Args:
        rows: one flat mapping a cell (`suite.metrics.rows.compute_rows`), in any order.
        cells: option logits the rows were made from, for reliability diagrams; those that are absent cost a diagram.
        out: folder that gets rows.csv, rows.parquet, LEADERBOARD.md and figures/*.png. Pictures of an earlier
            leaderboard in figures/ are removed.
        failures: cells that could not be scored, each with `model`, `variant`, `task` and `reason`.
        standings: groups and pairs of equal size; without them the page has neither.

    Returns:
        The path of LEADERBOARD.md.

    Raises:
        SuiteError: the folder cannot be written.
    """
    ordered = in_order([rounded(row) for row in rows])
    pictures = draw_figures(ordered, cells)
    write_file(out / "rows.parquet", parquet_bytes(ordered))
    for picture in pictures:
        write_file(out / FOLDER / picture.name, picture.content)
    for stale in [file for kind in KINDS for file in (out / FOLDER).glob(kind)]:
        if stale.name not in {picture.name for picture in pictures}:
            stale.unlink()
    for name, content in leaderboard_texts(ordered, pictures, failures=failures, standings=standings).items():
        write_file(out / name, content)
    return out / "LEADERBOARD.md"
