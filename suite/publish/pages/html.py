"""index.html: the leaderboard as one static page that asks no network for anything.

Names of models and variants come from strangers. They reach the page in two ways, as text that the template escapes and
as JSON that the page's script turns into text nodes; a content security policy admits the page's own script and style
and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from suite.cell import Cell
from suite.publish.fields import Fields
from suite.publish.pages.board import COLUMNS, board_data, controls
from suite.publish.sections.section import Image, Items, Page
from suite.publish.sections.words import pieces, tidy
from suite.publish.standings import Standings

TAGS = {"code": "code", "strong": "strong", "emphasis": "em"}
"""Elements of the looks of a span that are nothing but an element; the template has the others."""


def html_page(page: Page, rows: Sequence[Fields], cells: Sequence[Cell], standings: Standings) -> bytes:
    """The page, UTF-8; the same input gives the same bytes.

    Args:
        page: every section.
        rows: rounded and sorted, for the table to sort and filter.
        cells: behind the rows, for reliability diagrams.
        standings: group numbers.
    """
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"pieces": pieces, "tidy": _tidy, "percent": _percent, "digest": _digest}
    environment.tests |= {"items": lambda one: isinstance(one, Items), "image": lambda one: isinstance(one, Image)}
    data = board_data(rows, cells, standings)
    shown = environment.get_template("page.html").render(
        page=page,
        data=data,
        controls=controls(rows, data),
        columns=COLUMNS,
        tags=TAGS,
        style=_source("page.css"),
        script=_source("page.js"),
    )
    return shown.encode("utf-8", errors="replace")


def _source(name: str) -> str:
    return files("suite.publish.pages").joinpath(name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")


def _tidy(piece: str) -> str:
    return _percent(tidy(piece))


def _percent(shown: str) -> str:
    """No line ends between a number and its percent sign."""
    return shown.replace(" %", "\N{NO-BREAK SPACE}%")
