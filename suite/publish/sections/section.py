"""A section of the leaderboard as values: a title, prose, a table. It knows neither Markdown nor HTML.

Names of models and variants come from strangers and stay plain text in here; whoever renders a section escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from suite.publish.fields import one_line

Look = Literal["code", "strong", "emphasis", "figure", "file", "flag", "term"]


@dataclass(frozen=True)
class Span:
    """Words that are more than words.

    Attributes:
        text: as a reader sees it.
        look: ``code`` a name to type; ``strong`` and ``emphasis``; ``figure`` a number of `suite.publish.numerals`,
            with its interval if it has one; ``file`` a file beside the page; ``flag`` of a row; ``term`` words that
            `note` explains.
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
    """

    path: str
    caption: str


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
        title, how_to_read, protocol: what stands at its top.
        remarks: what a reader must know before anything else.
        sections: in their order.
        every_verdict: too long for a page that cannot fold; None where there are no verdicts.
    """

    title: str
    how_to_read: Words
    protocol: Words
    remarks: tuple[Words, ...]
    sections: tuple[Section, ...]
    every_verdict: Section | None = None


def code(name: str) -> Span:
    """A name as it is typed."""
    return Span(name, "code")


def figure(shown: str) -> Span:
    """A number that is formatted already, with its interval if it has one."""
    return Span(shown, "figure")


def words(*headings: str) -> tuple[Column, ...]:
    """Columns of words."""
    return tuple(Column(heading, words=True) for heading in headings)


def figures(*headings: str) -> tuple[Column, ...]:
    """Columns of figures."""
    return tuple(Column(heading) for heading in headings)


def pieces(text: Words) -> tuple[str | Span, ...]:
    """The parts of words, whichever way they are given."""
    return text if isinstance(text, tuple) else (text,)


def joined(parts: Iterable[Words], between: str) -> tuple[str | Span, ...]:
    """Words in a row, with something between them."""
    found: list[str | Span] = []
    for part in parts:
        found += [between] * bool(found) + list(pieces(part))
    return tuple(found)


_MARK = re.compile(
    r"\*\*(?P<strong>.+?)\*\*|\*(?P<emphasis>.+?)\*|`(?P<code>.+?)`|\[(?P<file>[\w.-]+)\]|\{(?P<value>\w+)\}"
)


def say(sentence: str, **values: Words) -> tuple[str | Span, ...]:
    """Words of our own with values put in.

    In the sentence ``*x*`` is emphasis, ``**x**`` strong, ```x``` code, ``[x]`` a file beside the page and ``{x}`` a
    value. A value is text whatever signs it holds, made fit for one line.

    >>> say("*Size* of {model}", model="a*b*")
    (Span(text='Size', look='emphasis', note=''), ' of ', 'a*b*')
    """
    found: list[str | Span] = []
    end = 0
    for match in _MARK.finditer(sentence):
        found.append(sentence[end : match.start()])
        end = match.end()
        look = match.lastgroup
        if look == "value":
            value = values[match[look]]
            found += [one_line(value)] if isinstance(value, str) else pieces(value)
        else:
            found.append(Span(match[look], look))  # type: ignore[arg-type, index]
    return tuple(piece for piece in (*found, sentence[end:]) if piece)


def tidy(piece: str) -> str:
    """A piece of plain text made safe to show, as `one_line` does, that keeps a blank at either end."""
    clean = one_line(piece)
    return f"{' ' * piece[:1].isspace()}{clean}{' ' * (piece[-1:].isspace() and clean != '')}"


def plain(text: Words) -> str:
    """The words alone.

    >>> plain(say("**Size:** {shown}", shown=figure("3.18 [3.05, 3.26]")))
    'Size: 3.18 [3.05, 3.26]'
    """
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces(text))
