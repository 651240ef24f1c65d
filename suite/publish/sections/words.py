"""Making the words of a section: sentences of our own, and names, figures and files in them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from suite.publish.fields import Fields, number, one_line
from suite.publish.numerals import with_interval
from suite.publish.sections.section import Span, Words


def code(name: str) -> Span:
    """A name as it is typed."""
    return Span(name, "code")


def figure(shown: str) -> Span:
    """A number that is formatted already, with its interval if it has one."""
    return Span(shown, "figure")


def change(one: Fields, key: str, decimals: int) -> Span:
    """A difference of a record with its interval, under ``key``, ``key_low`` and ``key_high``."""
    value, low, high = (number(one, f"{key}{end}") for end in ("", "_low", "_high"))
    return figure(with_interval(value, low, high, decimals, signed=True))


def count(number_of: int, noun: str) -> str:
    """A number with what it counts.

    >>> count(1, "curve"), count(2, "curve")
    ('1 curve', '2 curves')
    """
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


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
