"""The published tables of a run as text: rows.csv, the CSV files of standings, LEADERBOARD.md.

The same rows give the same bytes, in whatever order they come: one sort (`suite.publish.order`), one rounding
(`suite.publish.numerals`), no date and no machine in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.publish.pages.markdown import markdown_page
from suite.publish.records import csv_bytes
from suite.publish.sections.section import Page
from suite.publish.standings import PAIR_KEYS, RANKING_KEYS, Standings


def leaderboard_texts(
    rows: Sequence[Mapping[str, object]], page: Page, standings: Standings | None = None
) -> dict[str, bytes]:
    """The text files of a leaderboard by name: LEADERBOARD.md, rows.csv and, where there are standings, their CSVs.

    Args:
        rows: rounded and sorted.
        page: from `suite.publish.sections.page.leaderboard_page`.
        standings: groups and pairs of equal size, from the computation of the rows.
    """
    texts = {"rows.csv": csv_bytes(rows)}
    if standings is not None:
        texts |= standings_texts(standings)
    return texts | {"LEADERBOARD.md": markdown_page(page).encode("utf-8", errors="replace")}


def standings_texts(standings: Standings) -> dict[str, bytes]:
    """The CSV files of standings by name."""
    tables = {
        "ranking.csv": (standings.ranking, RANKING_KEYS),
        "equal-megabytes.csv": (standings.pairs, PAIR_KEYS),
    }
    return {name: csv_bytes(lines) or (",".join(keys) + "\n").encode() for name, (lines, keys) in tables.items()}
