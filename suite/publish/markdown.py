"""Markdown that stays what it was meant to be, whatever a model is called."""

from __future__ import annotations

import re
from collections.abc import Sequence

from suite.publish.fields import one_line

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_FIGURE = re.compile(r"[+−-]?\d[\d.,e+−-]*( %)?( \[.*\])?", re.DOTALL)
"""A number, with its interval or without."""

_SIGNS = set("\\`*_[]|~#!$")


def escape(value: str) -> str:
    """Text that renders as itself inside a paragraph, a heading or a table cell.

    Line breaks become blanks; signs with a meaning in Markdown get a backslash; HTML, mentions and bare addresses are
    taken apart, so that a name can neither start a tag nor become a link.

    >>> escape("a|b <i>[x](y)")
    'a\\\\|b &lt;i&gt;\\\\[x\\\\](y)'
    """
    escaped = "".join(_ENTITIES.get(char, f"\\{char}" if char in _SIGNS else char) for char in one_line(value))
    escaped = escaped.replace("://", "&#58;//")
    return re.sub(r"(?i)\bwww\.", lambda match: match[0][:-1] + "&#46;", escaped)


def code(value: str) -> str:
    """Text in a code span, safe in a table cell too; plain names only, others are escaped instead.

    >>> code("rtn-w4-g128"), code("odd`name")
    ('`rtn-w4-g128`', 'odd\\\\`name')
    """
    clean = one_line(value)
    return f"`{clean}`" if re.fullmatch(r"[\w.:+@/ -]+", clean) else escape(clean)


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
