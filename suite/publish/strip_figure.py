"""The first picture of a leaderboard: strips of every curve (`suite.publish.strips`), each level with a letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.publish.canvas import INK, QUIET, WIDTH, footnote, headline, new_figure, shorter
from suite.publish.doses import share
from suite.publish.strips import LETTERS, Bar, Panel, Strip, Strips
from suite.verdicts.dose_records import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From light to dark as it gets worse, so that a print without colour tells the states apart; unknown is hatched.
GROUND = {"kept": "#CFE6F5", "worse": "#E69F00", "lost": "#6B2C0A", "not_known": "#FFFFFF"}
LETTER = {"kept": INK, "worse": INK, "lost": "#FFFFFF", "not_known": INK}
HATCHED = "not_known"

MARGIN, BETWEEN, TOP, BOTTOM = 0.1, 0.35, 1.32, 0.42
TITLE, NAME, HEADS, GAP = 0.3, 0.21, 0.17, 0.16
UPPER, LOWER, DOSE, SPACE, APART = 0.18, 0.14, 0.06, 0.04, 0.08
LINE = UPPER + LOWER + 2 * DOSE + SPACE
"""Heights in inches: two strips, the dose below each, and the space to the next line."""


def strips_figure(found: Strips, metric: str, shares: Sequence[float]) -> Figure:
    """Panels in two columns, each a group of curves whose levels stand in the same columns.

    Args:
        found: at least one panel.
        metric: the one that leads.
        shares: tolerances, smallest first.
    """
    abreast = min(2, len(found.panels))
    width = WIDTH
    panel_width = (width - 2 * MARGIN - BETWEEN) / 2 if abreast > 1 else 0.66 * width
    ends = [TOP] * abreast
    places: list[tuple[int, float]] = []
    for panel in found.panels:
        column = ends.index(min(ends))
        places.append((column, ends[column]))
        ends[column] += _height(panel)
    height = max(ends) + BOTTOM
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    for panel, (column, y) in zip(found.panels, places, strict=True):
        _panel(axes, panel, MARGIN + column * (panel_width + BETWEEN), y, panel_width)
    headline(figure, "Down to which level is certainty kept?", _subtitle(metric))
    _legend(axes, shares)
    more = f" {found.left_out} more curves are in the table." if found.left_out else ""
    footnote(
        figure,
        f"{'Averages over tasks. ' if found.averaged else ''}Line with a dot: dose at {share(shares[0])} with its "
        f"interval; an arrow points off the tested levels.{more}",
    )
    return figure


def _subtitle(metric: str) -> str:
    return f"upper strip: certainty ({MEASURES[metric].title}), lower strip: accuracy; milder levels to the left"


def _height(panel: Panel) -> float:
    lines = sum(len(group.lines) for group in panel.groups)
    heads = sum((NAME if group.name else 0.0) + HEADS + _tall(panel) + APART for group in panel.groups)
    return TITLE + heads + lines * LINE + GAP


def _tall(panel: Panel) -> float:
    """What headings of two lines take more."""
    return 0.12 if any("-" in heading for heading in panel.columns) else 0.0


def _panel(axes: Axes, panel: Panel, x: float, y: float, width: float) -> None:
    names = [line.name for group in panel.groups for line in group.lines]
    most = min(24, max(map(len, names)))
    left = x + 0.1 + 0.069 * most
    box = (x + width - left) / len(panel.columns)
    axes.text(x, y, panel.title, fontsize=9.5, color=QUIET, va="top")
    y += TITLE - 0.05
    for group in panel.groups:
        if group.name:
            axes.text(x, y, shorter(group.name, int(width / 0.085)), fontsize=9.5, fontweight="bold", va="top")
            y += NAME
        for place, heading in enumerate(panel.columns):
            words = "\n".join(shorter(part, int(box / 0.066)) for part in heading.split("-", 1))
            axes.text(
                left + (place + 0.5) * box,
                y + HEADS + _tall(panel) - 0.03,
                words,
                fontsize=7.5,
                color=QUIET,
                ha="center",
                va="bottom",
                linespacing=1.0,
            )
        y += HEADS + _tall(panel)
        for line in group.lines:
            axes.text(x, y + UPPER / 2, shorter(line.name, most), fontsize=8.5, va="center")
            certainty, accuracy = line.strips
            _strip(axes, certainty, left, y, box, UPPER)
            _strip(axes, accuracy, left, y + UPPER + DOSE, box, LOWER)
            y += LINE
        y += APART


def _strip(axes: Axes, strip: Strip, x: float, y: float, box: float, height: float) -> None:
    for place, level in enumerate(strip.boxes):
        if level is not None:
            _box(axes, level.state, (x + place * box, y), box, height)
    if strip.bar is not None:
        _bar(axes, strip.bar, x, y + height + DOSE / 2, box)


def _box(axes: Axes, state: str, corner: tuple[float, float], width: float, height: float) -> None:
    from matplotlib.patches import Rectangle

    look: dict[str, Any] = {"facecolor": GROUND.get(state, "#FFFFFF"), "linewidth": 0.6, "edgecolor": "#8A8A8A"}
    axes.add_patch(Rectangle((corner[0] + 0.01, corner[1]), width - 0.02, height, **look))
    if state == HATCHED:
        axes.add_patch(
            Rectangle(
                (corner[0] + 0.01, corner[1]),
                width - 0.02,
                height,
                fill=False,
                hatch="////",
                linewidth=0,
                edgecolor="#B5B5B5",
            )
        )
    ground: dict[str, Any] = (
        {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if state == HATCHED else {"alpha": 0, "pad": 0}
    )
    axes.text(
        corner[0] + width / 2,
        corner[1] + height / 2 + 0.005,
        LETTERS.get(state, "?"),
        fontsize=44 * height,
        fontweight="bold",
        color=LETTER.get(state, INK),
        ha="center",
        va="center",
        bbox=ground,
    )


def _bar(axes: Axes, bar: Bar, x: float, y: float, box: float) -> None:
    """The interval of a dose, its dose as a dot, an arrow where an end lies off the tested levels."""
    left, right = x + bar.left * box, x + bar.right * box
    axes.plot([left, right], [y, y], color=INK, linewidth=1.4, solid_capstyle="butt")
    look: dict[str, Any] = {"color": INK, "markersize": 4.2, "linestyle": "none", "markeredgewidth": 0}
    end = look | {"markeredgewidth": 1.2}
    if bar.open_left or right > left:
        axes.plot([left], [y], **(look if bar.open_left else end), marker="<" if bar.open_left else "|")
    if right > left or not bar.open_left:
        axes.plot([right], [y], **(look if bar.open_right else end), marker=">" if bar.open_right else "|")
    if bar.at is not None:
        axes.plot([x + bar.at * box], [y], marker="o", **look)


def _legend(axes: Axes, shares: Sequence[float]) -> None:
    low, high = share(shares[0]), share(shares[-1])
    between = f"more than {low}, less than {high}" if low != high else f"more than {low}"
    words = {
        "kept": f"kept: this level and all milder ones shown to have lost less than {low}",
        "worse": f"worse: shown to have lost {between}",
        "lost": f"lost: this level and all more severe ones shown to have lost more than {high}",
        "not_known": "not known: these items do not say",
    }
    for place, (state, said) in enumerate(words.items()):
        row, column = divmod(place, 2)
        x, y = MARGIN + column * WIDTH / 2, 0.7 + 0.22 * row
        _box(axes, state, (x, y), 0.24, 0.16)
        axes.text(x + 0.32, y + 0.08, said, fontsize=8.5, va="center")
