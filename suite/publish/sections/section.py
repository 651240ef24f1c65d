"""A section of the leaderboard as values: a title, prose, a table. It knows neither Markdown nor HTML.

Names of models and variants come from strangers and stay plain text in here; whoever renders a section escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from suite.publish.strips import Panel

Look = Literal["code", "strong", "emphasis", "figure", "file", "flag", "term", "reason"]


@dataclass(frozen=True)
class Span:
    """Words that are more than words.

    Attributes:
        text: as a reader sees it.
        look: ``code`` a name to type; ``strong`` and ``emphasis``; ``figure`` a number of `suite.publish.numerals`,
            with its interval if it has one; ``file`` a file beside the page; ``flag`` of a row; ``term`` words that
            `note` explains; ``reason`` words with what they rest on in `note`, on a click where a page can.
        note: what it means, for pages that can show it on request.
    """

    text: str
    look: Look
    note: str = ""


Words = str | Span | tuple[str | Span, ...]
"""A paragraph, a title or a cell of a table."""


@dataclass(frozen=True)
class Items:
    """A list.

    Attributes:
        items: one line each.
        numbered: whether their order says something.
        under: a list within the last item.
    """

    items: tuple[Words, ...]
    numbered: bool = False
    under: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Image:
    """A picture.

    Attributes:
        path: of its file, relative to the page.
        caption: what it shows, for readers who cannot see it.
        strips: the same as values, for a page that draws it itself.
    """

    path: str
    caption: str
    strips: tuple[Panel, ...] = ()


Block = Words | Items | Image


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, whether it holds words and not figures, and what it means."""

    heading: str
    words: bool = False
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        title: its heading.
        prose: what stands above the table.
        header: columns of the table.
        rows: the table, one cell a column; no table where there are none.
        after: what stands below the table.
        parts: sections within this one.
        folded: long, and shown elsewhere in another form: where a page can fold, table and parts start closed.
    """

    title: Words
    prose: tuple[Block, ...] = ()
    header: tuple[Column, ...] = ()
    rows: tuple[tuple[Words, ...], ...] = ()
    after: tuple[Block, ...] = ()
    parts: tuple[Section, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """Everything that a leaderboard shows.

    Attributes:
        title: its heading.
        remarks: what a reader must know before anything else.
        answer: what stands before every explanation; None where nothing can be answered.
        how_to_read, protocol: what the rest is about, and how it was measured.
        sections: in their order.
        opening: so many of them stand above a table that sorts.
        every_verdict, every_dose: too long for a page that cannot fold; None where there are none.
    """

    title: str
    how_to_read: Words
    protocol: Words
    remarks: tuple[Words, ...]
    sections: tuple[Section, ...]
    answer: Section | None = None
    opening: int = 1
    every_verdict: Section | None = None
    every_dose: Section | None = None


def words(*headings: str) -> tuple[Column, ...]:
    """Columns of words."""
    return tuple(Column(heading, words=True) for heading in headings)


def figures(*headings: str) -> tuple[Column, ...]:
    """Columns of figures."""
    return tuple(Column(heading) for heading in headings)
