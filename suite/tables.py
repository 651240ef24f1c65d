"""Tables on stdout: aligned at a terminal, tab-separated lines when piped. JSON is the commands' own ``--json``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

Row = Sequence[object]

GAP = 2
LONGEST = 24
"""Characters of a word that a narrow terminal does not break, where it is text; numbers are never broken."""


def print_table(header: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table on stdout, for eyes at a terminal and for programs in a pipe.

    Floats are shown with three decimals and None as a dash, in both: exact values are those of ``--json``. The pipe
    gets one line a row with the header first; ``TTY_COMPATIBLE=1`` asks for the terminal's form there (for ``less``).

    Args:
        header: One name a column.
        rows: One value a column each.
    """
    texts = [[as_text(value) for value in row] for row in rows]
    if at_terminal():
        numbers = [all(isinstance(value, int | float | None) for value in column) for column in zip(*rows, strict=True)]
        _draw(header, texts, numbers=numbers)
        return
    for line in (header, *texts):
        # split() takes every kind of white space, so that a tab or a line end inside a value cannot shift columns
        print("\t".join(" ".join(text.split()) for text in line))


def print_records(names: Sequence[str], records: Sequence[Mapping[str, object]]) -> None:
    """Print these keys of each record as a table."""
    print_table(names, [[record[name] for name in names] for record in records])


def at_terminal() -> bool:
    """Whether stdout is read by a person: a terminal, or ``TTY_COMPATIBLE=1``, which rich knows as well."""
    return sys.stdout.isatty() or os.environ.get("TTY_COMPATIBLE") == "1"


def as_text(value: object) -> str:
    """A value as a table shows it.

    >>> as_text(0.12345), as_text(None), as_text(12), as_text("rtn-w4")
    ('0.123', '–', '12', 'rtn-w4')
    """
    return f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines with columns of equal width, for tables inside a text.

    >>> aligned([["level", "state"], ["rtn-w4", "kept"]])
    ['level   state', 'rtn-w4  kept']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _draw(header: Sequence[str], texts: Sequence[Sequence[str]], *, numbers: Sequence[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, force_terminal=True)
    widths = _widths([header, *texts], numbers or [False] * len(header), console.width - GAP * (len(header) - 1))
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for name, width, number in zip(header, widths, numbers or [False] * len(header), strict=True):
        # Text: square brackets in a value are no markup
        drawn.add_column(Text(name), justify="right" if number else "left", width=width, overflow="fold")
    for row in texts:
        drawn.add_row(*map(Text, row))
    console.width = max(console.width, sum(widths) + GAP * len(header))
    console.print(drawn)


def _widths(texts: Sequence[Sequence[str]], numbers: Sequence[bool], room: int) -> list[int]:
    """What each column gets: all it wants where that fits, else the widest give way, down to their longest word."""
    wanted, least = [], []
    for column, number in zip(zip(*texts, strict=True), numbers, strict=True):
        wanted.append(max(map(len, column)))
        word = max((len(word) for text in column for word in text.split()), default=0)
        least.append(wanted[-1] if number else min(word, LONGEST))

    def cut(cap: int) -> list[int]:
        return [max(low, min(high, cap)) for low, high in zip(least, wanted, strict=True)]

    return next((cut(cap) for cap in range(max(wanted), 0, -1) if sum(cut(cap)) <= room), least)
