"""Tables that scripts write into documents, between two comments that mark the place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """The comments before and after the place of a table.

    >>> marks("error rates")
    ('<!-- error rates -->', '<!-- /error rates -->')
    """
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def write_between(document: Path, start: str, end: str, text: str) -> None:
    """Put text between two markers of a document, in place of what is there.

    Raises:
        SystemExit: a marker is missing.
    """
    before, after = _around(document, start, end)
    document.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def kept_block(document: Path, start: str, end: str) -> str:
    """What stands between two markers, with them; an empty line where there is no such document or place yet."""
    whole = document.read_text(encoding="utf-8") if document.is_file() else ""
    inside = whole.partition(start)[2].partition(end)[0]
    return f"{start}{inside or chr(10)}{end}"


def grown_table(document: Path, start: str, end: str, head: Sequence[str], rows: Sequence[str]) -> str:
    """A table that keeps what earlier calls wrote: the rows that stand under its head between two markers, then the new
    ones, each once.

    Args:
        head: the line of titles and the one below it.
    """
    kept = kept_block(document, start, end).splitlines()
    earlier = kept[kept.index(head[0]) + 2 : -1] if head[0] in kept else []
    return "\n".join([*head, *dict.fromkeys([*earlier, *rows])])


def check_markers(document: Path, start: str, end: str) -> None:
    """Raise SystemExit where a marker is missing: before hours of work, not after."""
    _around(document, start, end)


def _around(document: Path, start: str, end: str) -> tuple[str, str]:
    whole = document.read_text(encoding="utf-8")
    before, found, rest = whole.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{document.name}: no {start} and {end} around the place for the table")
    return before, after
