"""README, docs/ and the other pages of the repository, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from scripts.notebook import as_markdown, read_notebook

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *NOTEBOOKS]
MARKDOWN = MarkdownIt("commonmark").enable("table")


def text_of(document: Path) -> str:
    """Its Markdown; of a notebook, that of the page which the site makes of it."""
    return as_markdown(read_notebook(document)) if document.suffix == ".ipynb" else document.read_text(encoding="utf-8")


def inline(tokens: list[Token]) -> Iterator[Token]:
    """Tokens and those inside them, in order."""
    for token in tokens:
        yield token
        yield from inline(token.children or [])
