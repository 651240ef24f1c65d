"""The leaderboard in GitHub's Markdown, and Markdown that stays what it was meant to be, whatever a model is called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from suite.publish.fields import one_line
from suite.publish.sections.section import Block, Image, Items, Look, Page, Section, Span, Words
from suite.publish.sections.words import pieces, tidy

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_FIGURE = re.compile(r"[+−-]?\d[\d.,e+−-]*( %)?( \[.*\])?", re.DOTALL)
"""A number, with its interval or without."""

_SIGNS = set("\\`*_[]|~#!$")


def markdown_page(page: Page) -> str:
    """The text of LEADERBOARD.md."""
    parts = [f"# {page.title}", *map(_words, page.remarks)]
    parts += markdown_section(page.answer) if page.answer else ()
    parts += markdown_section(Section("What this is", (page.how_to_read, page.protocol)))
    for section in page.sections:
        parts += markdown_section(section)
    return "\n\n".join(parts) + "\n"


def markdown_section(section: Section, level: int = 2) -> Iterator[str]:
    """The blocks of a section, to stand with an empty line between them."""
    yield f"{'#' * level} {_words(section.title)}"
    yield from map(_block, section.prose)
    if section.rows:
        # columns of words start at the left as far as they come first; `table` sees to the last one
        names = [column.words for column in section.header]
        left = names.index(False) if False in names else len(names)
        body = [[_words(cell) for cell in row] for row in section.rows]
        yield table([escape(column.heading) for column in section.header], body, left=left)
    yield from map(_block, section.after)
    for part in section.parts:
        yield from markdown_section(part, level + 1)


def _block(block: Block) -> str:
    if isinstance(block, Image):
        return f"![{escape(block.caption)}]({block.path})"
    if isinstance(block, Items):
        marks = (f"{number}." if block.numbered else "-" for number in range(1, len(block.items) + 1))
        lines = [f"{mark} {_words(item)}" for mark, item in zip(marks, block.items, strict=True)]
        return "\n".join([*lines, *(f"  - {_words(item)}" for item in block.under)])
    return _words(block)


def _words(words: Words) -> str:
    shown = (
        _safe(tidy(piece)) if isinstance(piece, str) else _LOOKS[piece.look](piece.text) + _reason(piece)
        for piece in pieces(words)
    )
    return "".join(shown).strip()


def _reason(piece: Span) -> str:
    return f": {escape(tidy(piece.note))}" if piece.look == "reason" else ""


def escape(value: str) -> str:
    """Text that renders as itself inside a paragraph, a heading or a table cell.

    Line breaks become blanks; signs with a meaning in Markdown get a backslash; HTML, mentions and bare addresses are
    taken apart, so that a name can neither start a tag nor become a link.

    >>> escape("a|b <i>[x](y)")
    'a\\\\|b &lt;i&gt;\\\\[x\\\\](y)'
    """
    return _safe(one_line(value))


def _safe(line: str) -> str:
    escaped = "".join(_ENTITIES.get(char, f"\\{char}" if char in _SIGNS else char) for char in line)
    escaped = escaped.replace("://", "&#58;//")
    return re.sub(r"(?i)\bwww\.", lambda match: match[0][:-1] + "&#46;", escaped)


def code(value: str) -> str:
    """Text in a code span, safe in a table cell too; plain names only, others are escaped instead.

    >>> code("rtn-w4-g128"), code("odd`name")
    ('`rtn-w4-g128`', 'odd\\\\`name')
    """
    clean = one_line(value)
    return f"`{clean}`" if re.fullmatch(r"[\w.:+@/ -]+", clean) else escape(clean)


_LOOKS: dict[Look, Callable[[str], str]] = {
    "code": code,
    "strong": lambda words: f"**{_safe(words)}**",
    "emphasis": lambda words: f"*{_safe(words)}*",
    "figure": str,
    "file": str,
    "flag": escape,
    "term": escape,
    "reason": lambda words: f"**{_safe(words)}**",
}
"""How the looks of a span are written. Figures and names of files are ours and hold nothing to escape."""


def table(header: Sequence[str], body: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table in GitHub's Markdown; cells are taken as they are.

    Args:
        left: so many first columns are aligned left; all others hold numbers and go right, but for a last one of words.
    """
    rule = [":--" if index < left else "--:" for index in range(len(header))]
    last = {line[-1] for line in body} - {"", "–"}
    if not (last and all(_FIGURE.fullmatch(cell) for cell in last)):
        rule[-1] = ":--"
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *body))
