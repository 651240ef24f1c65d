"""The pictures of a leaderboard: for each model its curves and a reliability diagram.

The same rows and cells give the same bytes with the same Matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from suite.cell import Cell, slug
from suite.decisions.analyses import DECOUPLING, Judgement
from suite.grouped import grouped
from suite.publish.canvas import house_style, png
from suite.publish.curves import curves_figure, shared_limits
from suite.publish.doses import tolerances
from suite.publish.fields import Fields, one_line, text
from suite.publish.order import Scope, cell_of, scope_of, setting_names, setting_of, without_repeats
from suite.publish.reliability import collapsed_pair, reliability_figure
from suite.publish.strip_figure import strips_figure
from suite.publish.strips import LETTERS, find_strips
from suite.publish.verdict_figures import collapse_figure, coupling_figure, shown_verdicts

FOLDER = "figures"
STRIPS = "strips.png"
KINDS = (STRIPS, "curves-*.png", "reliability-*.png", "collapse-*.png", "coupling-*.png", "levels.png")
"""How a leaderboard calls its pictures, or did once: what of these is left from an older one is removed."""


@dataclass(frozen=True)
class Picture:
    """A PNG file of the leaderboard.

    Attributes:
        name: file name, unique in the leaderboard.
        scope: the model it shows, with its protocol; None where it belongs to the whole page.
        caption: what it shows, for readers who cannot see it.
        content: the file.
    """

    name: str
    scope: Scope | None
    caption: str
    content: bytes


def draw_figures(rows: Sequence[Fields], cells: Sequence[Cell], *, draw: bool = True) -> list[Picture]:
    """Curves and a reliability diagram for each model.

    Args:
        rows: sorted by `suite.publish.order.in_order`; those of other seeds of sample text are not drawn.
        cells: option logits behind the rows; a model whose cells are absent gets no reliability diagram.
        draw: False for names and captions alone, with empty contents, which takes no time.

    Returns:
        Pictures, models in the order of the rows. A model without a compressed variant has no curves; one without a
        task above chance, or without a compressed variant on it, has no reliability diagram.
    """
    rows = without_repeats(rows)
    names = setting_names(rows)
    limits = {key: shared_limits(rows, key) for key in ("accuracy", "set_size")}
    logits: dict[tuple[object, ...], Cell] = {cell.key: cell for cell in cells}
    taken: set[str] = set()
    pictures = []
    for scope, members in grouped(rows, scope_of).items():
        stem = _unique(slug(one_line(scope.model))[:60], taken)
        if any(text(row, "variant") != "dense" for row in members):
            content = _drawn(curves_figure, draw, scope, members, names, limits)
            caption = f"Accuracy and conformal set size of {one_line(scope.model)} as weights are compressed"
            pictures.append(Picture(f"curves-{stem}.png", scope, caption, content))
        pair = collapsed_pair(members)
        if pair is None:
            continue
        panels = [(row, cell) for row in pair if (cell := logits.get(cell_of(row))) is not None]
        if len(panels) < len(pair):
            continue
        content = _drawn(reliability_figure, draw, scope, panels, names)
        caption = (
            f"Confidence against accuracy of {one_line(scope.model)} on {names[setting_of(pair[0])]}: "
            f"dense beside {one_line(text(pair[1], 'variant'))}"
        )
        pictures.append(Picture(f"reliability-{stem}.png", scope, caption, content))
    return pictures


def draw_strips(records: Sequence[Fields], metric: str, *, draw: bool = True) -> list[Picture]:
    """What is known of each level of each curve, in one picture; none where there is no curve.

    Args:
        records: of doses.json.
        metric: the one that leads.
    """
    found = find_strips(records, metric)
    if not found.panels:
        return []
    letters = ", ".join(f"{letter} {state.replace('_', ' ')}" for state, letter in LETTERS.items())
    caption = (
        f"Strips of every method and model, certainty above accuracy, a box a level: {letters}; the table says the "
        "same in words"
    )
    content = _drawn(strips_figure, draw, found, metric, tolerances(records))
    return [Picture(STRIPS, None, caption, content)]


def draw_verdict_figures(
    rows: Sequence[Fields], judgement: Judgement, pictures: Sequence[Picture], *, draw: bool = True
) -> list[Picture]:
    """Fitted curves and accuracy against set size for each model with a verdict.

    Args:
        rows: sorted; they give the order of the models.
        pictures: those drawn already, whose names are taken.
    """
    taken = {picture.name.lower() for picture in pictures}
    found = []
    for scope in grouped(rows, scope_of):
        model = one_line(scope.model)
        shown = shown_verdicts(judgement.verdicts, scope.model)
        if not shown:
            continue
        stem = _unique(f"collapse-{slug(model)[:60]}", taken)
        caption = f"Set size of {model} along rising compression, with the best fits of smooth curves and the verdict"
        found.append(Picture(f"{stem}.png", scope, caption, _drawn(collapse_figure, draw, scope.model, shown)))
        records = [one for one in judgement.records(DECOUPLING) if one["model"] == scope.model]
        if records:
            stem = _unique(f"coupling-{slug(model)[:60]}", taken)
            caption = f"Change of accuracy against change of set size of every compressed {model}"
            found.append(Picture(f"{stem}.png", scope, caption, _drawn(coupling_figure, draw, scope.model, records)))
    return found


def _drawn(figure: Callable[..., Any], draw: bool, *content: Any) -> bytes:
    if not draw:
        return b""
    with house_style():
        return png(figure(*content))


def _unique(stem: str, taken: set[str]) -> str:
    """A file name part not used before, also where the file system ignores case."""
    chosen, count = stem, 1
    while chosen.lower() in taken:
        count += 1
        chosen = f"{stem}-{count}"
    taken.add(chosen.lower())
    return chosen
