"""LEADERBOARD.md and index.html read back into what a reader sees of their sections, each by a parser of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from suite.publish.pages.markdown import markdown_section
from suite.publish.sections.section import Section

Block = tuple[str, object]
"""A kind (``p``, ``li``, ``image``, ``table``) and what a reader sees: words, or lines of cells, header first."""

Sections = dict[tuple[str, ...], list[Block]]
"""What stands under each heading, by the headings it stands in."""


def markdown(sections: Sequence[Section]) -> Iterator[str]:
    """Blocks of sections as LEADERBOARD.md has them."""
    for section in sections:
        yield from markdown_section(section)


def unescaped(words: str) -> str:
    """What a reader sees of one paragraph or table cell of Markdown."""
    text = re.sub(r"\\([\\`*_\[\]|~#!$])", lambda match: f"\0{ord(match[1])}\0", words.strip())
    text = re.sub(r"\*([^*]+)\*", r"\1", text.replace("`", "").replace("**", ""))
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    for entity, sign in {"&lt;": "<", "&gt;": ">", "&#64;": "@", "&#58;": ":", "&#46;": ".", "&amp;": "&"}.items():
        text = text.replace(entity, sign)
    return re.sub(r"\0(\d+)\0", lambda match: chr(int(match[1])), text)


def read_markdown(text: str) -> Sections:
    """Sections of a leaderboard in Markdown, what stands above the first one under its title."""
    found: Sections = {}
    headings: list[str] = []
    for block in text.strip().split("\n\n"):
        if match := re.fullmatch(r"(#+) (.*)", block):
            headings = [*headings[: len(match[1]) - 1], unescaped(match[2])]
            assert tuple(headings) not in found, headings
            found[tuple(headings)] = []
            continue
        here = found[tuple(headings)]
        if block.startswith("|"):
            lines = [[unescaped(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.split("\n")]
            assert all(re.fullmatch(r":--|--:", cell) for cell in lines.pop(1))
            here.append(("table", lines))
        elif match := re.fullmatch(r"!\[(.*)\]\((.*)\)", block):
            here.append(("image", (match[2], unescaped(match[1]))))
        elif re.match(r"- |1\. ", block):
            here += [("li", unescaped(re.sub(r"^ *(-|\d+\.) ", "", line))) for line in block.split("\n")]
        else:
            assert "\n" not in block, block
            here.append(("p", unescaped(block)))
    return found


def read_html(text: str) -> Sections:
    """The same of a page in HTML: without the table that a script fills, the dialog, and what the script reads."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [], reader.open
    return reader.found


class _Reader(HTMLParser):
    """Follows headings and collects paragraphs, items, cells and pictures."""

    VOID = ("meta", "input", "link", "br", "hr")
    LEFT_OUT = ("head", "script", "style", "dialog", "noscript", "summary")

    def __init__(self) -> None:
        super().__init__()
        self.found: Sections = {}
        self.headings: list[str] = []
        self.open: list[str] = []
        self.words: list[list[str]] = []
        self.lines: list[list[str]] = []
        self.picture = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        if tag == "ul" and self.words:  # a list within an item, whose own words end here
            self._item()
            self.words.append([])
        self.open.append(tag)
        if tag in ("h1", "h2", "h3", "p", "li", "th", "td"):
            self.words.append([])
        if tag == "table":
            self.lines = []
        if tag == "tr":
            self.lines.append([])
        if tag == "a" and (dict(attrs)["href"] or "").startswith("figures/"):
            self.picture = dict(attrs)["href"] or ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open)
        if tag == "summary" and self.open[-2:] == ["td", "details"]:  # what a click opens follows its word
            self.words[-1].append(": ")
        if set(self.open) & set(self.LEFT_OUT) or tag in self.LEFT_OUT:
            if tag in ("p", "h2"):
                self.words.pop()
            return
        if tag in ("h1", "h2", "h3"):
            self.headings = [*self.headings[: int(tag[1]) - 1], self._said()]
            assert tuple(self.headings) not in self.found, self.headings
            self.found[tuple(self.headings)] = []
        elif tag == "p":
            words = self._said()
            self._add(("image", (self.picture, words)) if self.picture else ("p", words))
            self.picture = ""
        elif tag == "li":
            self._item()
        elif tag in ("th", "td"):
            self.lines[-1].append(self._said())
        elif tag == "table":
            self._add(("table", self.lines))

    def handle_data(self, data: str) -> None:
        if self.words:
            self.words[-1].append(data)

    def _said(self) -> str:
        return " ".join("".join(self.words.pop()).split())

    def _item(self) -> None:
        words = self._said()
        if words:
            self._add(("li", words))

    def _add(self, block: Block) -> None:
        self.found[tuple(self.headings)].append(block)
