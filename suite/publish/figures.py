"""The two pictures of a leaderboard: curves over compression levels, and reliability diagrams.

Matplotlib is imported when a figure is drawn and never touches global state. The same rows and cells give the same
bytes with the same Matplotlib.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell, slug
from suite.publish.fields import Row, flags, is_cloze, number, one_line, text
from suite.publish.macro import above_chance
from suite.publish.numerals import fixed, parameters
from suite.publish.order import (
    OTHER,
    Curve,
    Scope,
    Setting,
    curve_of,
    dense_of,
    grouped,
    level_axis,
    level_label,
    scope_of,
    setting_names,
    setting_of,
    severity_key,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

# Okabe and Ito's palette: told apart with any common colour blindness. Its yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")
INK, QUIET, FAINT = "#222222", "#666666", "#D9D9D9"
WIDTH = 10.0
DPI = 150
MAX_COLUMNS = 4
STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#ECECEC",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}


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


def draw_figures(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Picture]:
    """Curves and a reliability diagram for each model.

    Args:
        rows: sorted by `suite.publish.order.in_order`.
        cells: option logits behind the rows; a model whose cells are absent gets no reliability diagram.

    Returns:
        Pictures, models in the order of the rows. A model without a compressed variant has no curves; one without a
        task above chance, or without a compressed variant on it, has no reliability diagram.
    """
    names = setting_names(rows)
    limits = {key: _limits(rows, key) for key in ("accuracy", "set_size")}
    logits = {(*cell.curve_key, str(cell.variant["name"])): cell for cell in cells}
    taken: set[str] = set()
    pictures = []
    for scope, members in grouped(rows, scope_of).items():
        stem = _unique(slug(one_line(scope.model))[:60], taken)
        if any(text(row, "variant") != "dense" for row in members):
            with _style():
                content = _png(_curves(scope, members, names, limits))
            caption = f"Accuracy and conformal set size of {one_line(scope.model)} as weights are compressed"
            pictures.append(Picture(f"curves-{stem}.png", scope, caption, content))
        pair = collapsed_pair(members)
        if pair is None:
            continue
        panels = [(row, logits.get(_cell_key(row))) for row in pair]
        if any(cell is None for _, cell in panels):
            continue
        with _style():
            content = _png(_reliability(scope, [(row, cell) for row, cell in panels if cell is not None], names))
        caption = (
            f"Confidence against accuracy of {one_line(scope.model)} on {names[setting_of(pair[0])]}: "
            f"dense beside {one_line(text(pair[1], 'variant'))}"
        )
        pictures.append(Picture(f"reliability-{stem}.png", scope, caption, content))
    return pictures


def collapsed_pair(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The dense row and the row of the variant whose reliability is shown beside it.

    The task is the one on which dense accuracy lies furthest above chance; the variant is the one with the largest
    growth of set size on it, the milder one of equals. No-op variants are left out.

    Returns:
        None where no task is above chance, or no variant has a change of set size on that task.
    """
    best: tuple[float, list[Row], Row] | None = None
    for group in grouped(rows, setting_of).values():
        dense = dense_of(group)
        if dense is None or not above_chance(dense):
            continue
        margin = (number(dense, "accuracy") or 0.0) - (number(dense, "chance_accuracy") or 0.0)
        if best is None or margin > best[0]:
            best = (margin, group, dense)
    if best is None:
        return None
    _, group, dense = best
    grown = [row for row in group if number(row, "set_size_change") is not None and "no-op" not in flags(row)]
    if not grown:
        return None
    return dense, max(grown, key=lambda row: number(row, "set_size_change") or 0.0)


# ---------------------------------------------------------------- curves


def _curves(
    scope: Scope, rows: Sequence[Row], names: Mapping[Setting, str], limits: Mapping[str, tuple[float, float]]
) -> Figure:
    curves = sorted({curve_of(text(row, "variant")) for row in rows if text(row, "variant") != "dense"}, key=_curve_key)
    settings = list(grouped(rows, setting_of))
    bands = math.ceil(len(curves) / MAX_COLUMNS)
    columns = math.ceil(len(curves) / bands)
    legend_columns = 4 if max(len(names[setting]) for setting in settings) < 24 else 2
    has_no_op = any("no-op" in flags(row) for row in rows)
    entries = len(settings) + 1 + has_no_op
    top = 0.85 + 0.26 * math.ceil(entries / legend_columns)
    panel, gap, band_gap, bottom = 1.85, 0.14, 0.95, 0.62
    height = top + bands * (2 * panel + gap) + (bands - 1) * band_gap + bottom
    width = WIDTH if columns > 1 else 6.4
    figure = _figure(width, height)
    left, right, between = 0.68, 0.15, 0.22
    panel_width = (width - left - right - (columns - 1) * between) / columns
    handles: dict[str, Any] = {}
    for index, curve in enumerate(curves):
        band, column = divmod(index, columns)
        x = left + column * (panel_width + between)
        y = height - top - band * (2 * panel + gap + band_gap)
        upper = figure.add_axes((x / width, (y - panel) / height, panel_width / width, panel / height))
        lower = figure.add_axes((x / width, (y - 2 * panel - gap) / height, panel_width / width, panel / height))
        levels = _levels(rows, curve)
        for axes, key, chance in ((upper, "accuracy", "chance_accuracy"), (lower, "set_size", "set_size_chance")):
            handles |= _curve_panel(axes, rows, curve, levels=levels, names=names, keys=(key, chance))
            axes.set_ylim(*limits[key])
            if column:
                axes.tick_params(labelleft=False, left=False)
        upper.set_title(_shorter(curve.name, 30), fontweight="bold", pad=7)
        upper.tick_params(labelbottom=False)
        lower.set_xlabel(level_axis(curve), color=QUIET)
        _tick_labels(lower, [level_label(name) for name in levels], panel_width)
        if column == 0:
            upper.set_ylabel("accuracy")
            lower.set_ylabel("set size (options)")
    _headline(
        figure,
        "Accuracy and conformal set size as weights are compressed",
        f"{_shorter(one_line(scope.model), 60)}{_size(rows)}. Bars are 95 % intervals; compression rises to the right.",
    )
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="upper left",
        bbox_to_anchor=(0.1 / width, 1 - 0.68 / height),
        ncols=legend_columns,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.6,
        borderaxespad=0,
    )
    return figure


def _curve_panel(
    axes: Axes,
    rows: Sequence[Row],
    curve: Curve,
    *,
    levels: Sequence[str],
    names: Mapping[Setting, str],
    keys: tuple[str, str],
) -> dict[str, Any]:
    """One panel; returns legend handles by label."""
    key, chance_key = keys
    by_setting = grouped(rows, setting_of)
    chances = {setting: next(iter(_known(group, chance_key)), None) for setting, group in by_setting.items()}
    handles: dict[str, Any] = {}
    one_chance = {value for value in chances.values() if value is not None}
    for index, (setting, group) in enumerate(by_setting.items()):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        dash = DASHES[index // len(COLOURS) % len(DASHES)]
        shift = 0.0 if len(by_setting) == 1 else (index / (len(by_setting) - 1) - 0.5) * 0.26
        found = {text(row, "variant"): row for row in group}
        points = [found.get(name) for name in levels]
        values = np.array([_nan(row, key) for row in points])
        low = np.array([_nan(row, f"{key}_low") for row in points])
        high = np.array([_nan(row, f"{key}_high") for row in points])
        place = np.arange(len(levels)) + shift
        idle = np.array([row is not None and "no-op" in flags(row) for row in points])
        line = np.where(idle, np.nan, values)
        style: dict[str, Any] = {"color": colour, "linewidth": 1.5, "linestyle": "none" if curve == OTHER else dash}
        # The line runs through the levels that were measured and skips a variant that changed nothing.
        measured = ~np.isnan(line) | (~idle & np.isnan(values))
        handle = axes.plot(place[measured], line[measured], marker=marker, markersize=4.6, **style)[0]
        bars = ~np.isnan(values) & ~np.isnan(low) & ~np.isnan(high)
        axes.vlines(place[bars], low[bars], high[bars], color=colour, linewidth=1.1, alpha=0.55)
        axes.plot(place[idle], values[idle], linestyle="none", marker=marker, markersize=4.6, mfc="white", mec=colour)
        handles[_shorter(one_line(names[setting]), 48)] = handle
        chance = chances[setting]
        if chance is not None and len(one_chance) > 1:
            axes.axhline(chance, color=colour, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
    if len(one_chance) == 1:
        axes.axhline(next(iter(one_chance)), color=QUIET, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
    from matplotlib.lines import Line2D

    handles["at chance" + (" (colour of the task)" if len(one_chance) > 1 else "")] = Line2D(
        [], [], color=QUIET, linewidth=1.0, linestyle=(0, (1, 2))
    )
    if any("no-op" in flags(row) for row in rows):
        handles["changed nothing, left out of the line"] = Line2D(
            [], [], linestyle="none", marker="o", markersize=4.6, mfc="white", mec=QUIET
        )
    axes.set_xlim(-0.4, len(levels) - 0.6)
    axes.set_xticks(range(len(levels)))
    axes.tick_params(axis="x", length=0)
    return handles


def _levels(rows: Sequence[Row], curve: Curve) -> list[str]:
    """Variant names along a curve, dense first; the reference of unparsed names is shown too."""
    names = {text(row, "variant") for row in rows}
    chosen = {name for name in names if name == "dense" or curve_of(name) == curve}
    return sorted(chosen, key=severity_key)


def _tick_labels(axes: Axes, labels: Sequence[str], panel_width: float) -> None:
    """Labels that do not touch: upright where they fit, slanted and shortened where they do not."""
    room = panel_width / max(len(labels), 1)
    needed = max(len(label) for label in labels) * 0.085
    if needed <= room:
        axes.set_xticklabels([one_line(label) for label in labels])
    else:
        axes.set_xticklabels([_shorter(one_line(label), 14) for label in labels], rotation=35, ha="right", fontsize=7.5)


def _limits(rows: Sequence[Row], key: str) -> tuple[float, float]:
    """One range for all panels of all models, so that heights compare between pictures."""
    chance = {"accuracy": "chance_accuracy", "set_size": "set_size_chance"}[key]
    values = [value for name in (key, f"{key}_low", f"{key}_high", chance) for value in _known(rows, name)]
    if not values:
        return (0.0, 1.0)
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return (max(0.0, min(values) - margin), max(values) + margin)


def _curve_key(curve: Curve) -> tuple[int, str]:
    return curve.key


# ---------------------------------------------------------------- reliability


def _reliability(scope: Scope, panels: Sequence[tuple[Row, Cell]], names: Mapping[Setting, str]) -> Figure:
    setting = setting_of(panels[0][0])
    cloze = is_cloze(panels[0][0])
    width, height = WIDTH, 6.2
    figure = _figure(width, height)
    left, right, between, top, bottom = 0.68, 0.2, 0.75, 1.0, 0.6
    panel_width = (width - left - right - between) / 2
    counted, gap = 0.95, 0.16
    main = height - top - bottom - counted - gap
    uppers, lowers = [], []
    for index, (row, cell) in enumerate(panels):
        x = left + index * (panel_width + between)
        upper = figure.add_axes(
            (x / width, (bottom + counted + gap) / height, panel_width / width, main / height)
        )
        lower = figure.add_axes((x / width, bottom / height, panel_width / width, counted / height))
        _reliability_panel(upper, lower, row, cell)
        uppers.append(upper)
        lowers.append(lower)
    most = max(axes.get_ylim()[1] for axes in lowers)
    for axes in lowers:
        axes.set_ylim(0, most)
    uppers[0].set_ylabel("accuracy in the bin")
    lowers[0].set_ylabel("items")
    kind = ", raw and after temperature scaling" if cloze else ""
    how = f"{one_line(names[setting])}, {setting.scoring} scoring" if setting.scoring else one_line(names[setting])
    _headline(
        figure,
        f"Does confidence match accuracy? Dense beside its variant with the largest sets{kind}",
        f"{_shorter(one_line(scope.model), 44)}{_size([panels[0][0]])} on {_shorter(how, 50)}. "
        "Bars are 95 % intervals of a bin's accuracy.",
    )
    return figure
