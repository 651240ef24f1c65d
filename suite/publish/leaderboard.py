"""The published tables of a run: rows.csv, LEADERBOARD.md, and the CSV files of standings.

The same rows give the same bytes, in whatever order they come: one sort (`suite.publish.order`), one rounding
(`suite.publish.numerals`), no date and no machine in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.publish.figures import Picture
from suite.publish.markdown_page import leaderboard_page
from suite.publish.records import csv_bytes
from suite.publish.standings import PAIR_KEYS, RANKING_KEYS, Standings


def leaderboard_texts(
    rows: Sequence[Mapping[str, object]],
    pictures: Sequence[Picture],
    *,
    failures: Sequence[Mapping[str, object]] = (),
    standings: Standings | None = None,
    assessed: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    seeds: Sequence[Mapping[str, object]] = (),
    unfinished: str = "",
) -> dict[str, bytes]:
    """The text files of a leaderboard by name: LEADERBOARD.md, rows.csv and, where there are standings, their CSVs.

    Args:
        rows: rounded and sorted.
        pictures: named in the page; their contents do not matter here.
        failures: cells that could not be scored.
        standings: groups and pairs of equal size, from the computation of the rows.
        assessed: contents of the verdict files by name.
        seeds: spread over seeds of the sample text.
        unfinished: what is said where cells of the configuration are missing.
    """
    texts = {"rows.csv": csv_bytes(rows)}
    if standings is not None:
        texts |= standings_texts(standings)
    page = leaderboard_page(
        rows, pictures, failures, standings=standings, assessed=assessed, seeds=seeds, unfinished=unfinished
    )
    return texts | {"LEADERBOARD.md": page.encode("utf-8", errors="replace")}


def standings_texts(standings: Standings) -> dict[str, bytes]:
    """The CSV files of standings by name."""
    tables = {
        "ranking.csv": (standings.ranking, RANKING_KEYS),
        "equal-megabytes.csv": (standings.pairs, PAIR_KEYS),
    }
    return {name: csv_bytes(lines) or (",".join(keys) + "\n").encode() for name, (lines, keys) in tables.items()}
