"""The pictures of a leaderboard: for each model its curves and a reliability diagram.

The same rows and cells give the same bytes with the same Matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suite.cell import Cell, slug
from suite.publish.canvas import house_style, png
from suite.publish.curves import curves_figure, shared_limits
from suite.publish.fields import Row, one_line, text
from suite.publish.order import Scope, grouped, scope_of, setting_names, setting_of
from suite.publish.reliability import collapsed_pair, reliability_figure

FOLDER = "figures"
"""Where a leaderboard keeps its pictures."""


@dataclass(frozen=True)
class Picture:
    """A PNG file of the leaderboard.

    Attributes:
        name: file name, unique in the leaderboard.
        scope: the model it shows, with its protocol.
        caption: what it shows, for readers who cannot see it.
        content: the file.
    """

    name: str
    scope: Scope
    caption: str
    content: bytes


def draw_figures(rows: Sequence[Row], cells: Sequence[Cell], *, draw: bool = True) -> list[Picture]:
    """Curves and a reliability diagram for each model.

    Args:
        rows: sorted by `suite.publish.order.in_order`.
        cells: option logits behind the rows; a model whose cells are absent gets no reliability diagram.
        draw: False for names and captions alone, with empty contents, which takes no time.

    Returns:
        Pictures, models in the order of the rows. A model without a compressed variant has no curves; one without a
        task above chance, or without a compressed variant on it, has no reliability diagram.
    """
    names = setting_names(rows)
    limits = {key: shared_limits(rows, key) for key in ("accuracy", "set_size")}
    logits = {(*cell.curve_key, str(cell.variant["name"])): cell for cell in cells}
    taken: set[str] = set()
    pictures = []
    for scope, members in grouped(rows, scope_of).items():
        stem = _unique(slug(one_line(scope.model))[:60], taken)
        if any(text(row, "variant") != "dense" for row in members):
            content = b""
            if draw:
                with house_style():
                    content = png(curves_figure(scope, members, names, limits))
            caption = f"Accuracy and conformal set size of {one_line(scope.model)} as weights are compressed"
            pictures.append(Picture(f"curves-{stem}.png", scope, caption, content))
        pair = collapsed_pair(members)
        if pair is None:
            continue
        panels = [(row, logits.get(_cell_key(row))) for row in pair]
        if any(cell is None for _, cell in panels):
            continue
        content = b""
        if draw:
            held = [(row, cell) for row, cell in panels if cell is not None]
            with house_style():
                content = png(reliability_figure(scope, held, names))
        caption = (
            f"Confidence against accuracy of {one_line(scope.model)} on {names[setting_of(pair[0])]}: "
            f"dense beside {one_line(text(pair[1], 'variant'))}"
        )
        pictures.append(Picture(f"reliability-{stem}.png", scope, caption, content))
    return pictures


def _cell_key(row: Row) -> tuple[str, str, str, str, int, str]:
    setting = setting_of(row)
    return (text(row, "model"), setting.task, setting.scoring, setting.prompt, setting.shots, text(row, "variant"))


def _unique(stem: str, taken: set[str]) -> str:
    """A file name part not used before, also where the file system ignores case."""
    chosen, count = stem, 1
    while chosen.lower() in taken:
        count += 1
        chosen = f"{stem}-{count}"
    taken.add(chosen.lower())
    return chosen
