"""Curves: accuracy and conformal set size against compression level, as small multiples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.grouped import grouped
from suite.metrics.average import Setting
from suite.publish.canvas import (
    COLOURS,
    MARKERS,
    QUIET,
    WIDTH,
    footnote,
    headline,
    known,
    legend,
    new_figure,
    number_or_nan,
    shorter,
    size_words,
)
from suite.publish.fields import Fields, flags, one_line, text
from suite.publish.order import (
    OTHER,
    Curve,
    Scope,
    curve_of,
    level_axis,
    level_label,
    setting_of,
    severity_key,
)
from suite.variant import curve_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
MAX_COLUMNS = 4
NARROW = 7.0
CHANCE: dict[str, Any] = {"linewidth": 1.0, "linestyle": (0, (1, 2))}


def shared_limits(rows: Sequence[Fields], key: str) -> tuple[float, float]:
    """One range for all panels of all models, so that heights compare between pictures."""
    chance = {"accuracy": "chance_accuracy", "set_size": "set_size_chance"}[key]
    values = [value for name in (key, f"{key}_low", f"{key}_high", chance) for value in known(rows, name)]
    if not values:
        return (0.0, 1.0)
    margin = 0.05 * (max(values) - min(values)) or 0.05
    return (max(0.0, min(values) - margin), max(values) + margin)


def curves_figure(
    scope: Scope, rows: Sequence[Fields], names: Mapping[Setting, str], limits: Mapping[str, tuple[float, float]]
) -> Figure:
    """Accuracy above set size, a column a curve, a line a setting.

    Args:
        rows: of one scope, sorted, at least one of them compressed.
        names: what settings are called.
        limits: range of the vertical axes of `accuracy` and `set_size`.
    """
    found = {curve_of(text(row, "variant")) for row in rows if text(row, "variant") != "dense"}
    curves = sorted(found, key=lambda curve: curve.key)
    settings = list(grouped(rows, setting_of))
    bands = math.ceil(len(curves) / MAX_COLUMNS)
    columns = math.ceil(len(curves) / bands)
    width = WIDTH if columns > 1 else NARROW
    entries = _legend_entries(rows, settings, names)
    legend_columns = _legend_columns([label for label, _ in entries], width)
    top = 1.05 + 0.22 * math.ceil(len(entries) / legend_columns)
    left, right, between = 0.68, 0.15, 0.22
    panel_width = (width - left - right - (columns - 1) * between) / columns
    labels = {curve: [level_label(name) for name in _levels(rows, curve)] for curve in curves}
    slant = 0.4 if any(not _fits(each, panel_width) for each in labels.values()) else 0.0
    panel, gap, band_gap, bottom = 1.85, 0.14, 0.95 + slant, 0.82 + slant
    height = top + bands * (2 * panel + gap) + (bands - 1) * band_gap + bottom
    figure = new_figure(width, height)
    for index, curve in enumerate(curves):
        band, column = divmod(index, columns)
        x = left + column * (panel_width + between)
        y = height - top - band * (2 * panel + gap + band_gap)
        upper = figure.add_axes((x / width, (y - panel) / height, panel_width / width, panel / height))
        lower = figure.add_axes((x / width, (y - 2 * panel - gap) / height, panel_width / width, panel / height))
        levels = _levels(rows, curve)
        for axes, key, chance in ((upper, "accuracy", "chance_accuracy"), (lower, "set_size", "set_size_chance")):
            _curve_panel(axes, rows, levels, key=key, chance_key=chance, joined=curve != OTHER)
            axes.set_ylim(*limits[key])
            if column:
                axes.tick_params(labelleft=False, left=False)
        upper.set_title(
            shorter(curve_title(curve.family, curve.name), int(panel_width / 0.09)), fontweight="bold", pad=7
        )
        upper.tick_params(labelbottom=False)
        lower.set_xlabel(level_axis(curve), color=QUIET)
        _tick_labels(lower, labels[curve], panel_width)
        if column == 0:
            upper.set_ylabel("accuracy")
            lower.set_ylabel("set size (options)")
    headline(
        figure,
        "Accuracy and conformal set size as weights are compressed",
        f"{shorter(one_line(scope.model), 56)}{size_words(rows)}",
    )
    footnote(figure, "Bars are 95 % intervals. Compression rises to the right; all models share one scale.")
    legend(figure, entries, legend_columns)
    return figure


def _curve_panel(
    axes: Axes, rows: Sequence[Fields], levels: Sequence[str], *, key: str, chance_key: str, joined: bool
) -> None:
    """One metric along the levels of one curve, a line a setting; `joined` is false where levels have no order."""
    by_setting = grouped(rows, setting_of)
    chances = _chances(rows, chance_key)
    one_chance = _alike(chances)
    for index, (setting, group) in enumerate(by_setting.items()):
        look = _look(setting, list(by_setting))
        shift = 0.0 if len(by_setting) == 1 else (index / (len(by_setting) - 1) - 0.5) * 0.26
        found = {text(row, "variant"): row for row in group}
        points = [found.get(name) for name in levels]
        values, low, high = (
            np.array([number_or_nan(row, name) for row in points]) for name in (key, f"{key}_low", f"{key}_high")
        )
        place = np.arange(len(levels)) + shift
        # A variant that changed nothing would draw a flat stretch that no compression earned.
        idle = np.array([row is not None and "no-op" in flags(row) for row in points])
        bars = ~(np.isnan(values) | np.isnan(low) | np.isnan(high))
        axes.vlines(place[bars], low[bars], high[bars], color=look["color"], linewidth=1.1, alpha=0.55)
        dash = look["linestyle"] if joined else "none"
        axes.plot(place[~idle], values[~idle], **{**look, "linestyle": dash})
        axes.plot(place[idle], values[idle], **{**look, "linestyle": "none", "mfc": "white"})
        if not one_chance and setting in chances:
            axes.axhline(chances[setting], color=look["color"], zorder=1, **CHANCE)
    if one_chance:
        axes.axhline(sum(chances.values()) / len(chances), color=QUIET, zorder=1, **CHANCE)
    axes.set_xlim(-0.4, len(levels) - 0.6)
    axes.set_xticks(range(len(levels)))
    axes.tick_params(axis="x", length=0)


def _look(setting: Setting, settings: Sequence[Setting]) -> dict[str, Any]:
    """Colour and marker say the task, the dash says which of its settings."""
    task = sorted({other.task for other in settings}).index(setting.task)
    way = [other for other in settings if other.task == setting.task].index(setting)
    return {
        "color": COLOURS[task % len(COLOURS)],
        "marker": MARKERS[task % len(MARKERS)],
        "linestyle": DASHES[(task // len(COLOURS) + way) % len(DASHES)],
        "linewidth": 1.5,
        "markersize": 4.6,
    }


def _chances(rows: Sequence[Fields], key: str) -> dict[Setting, float]:
    found = {setting: known(group, key) for setting, group in grouped(rows, setting_of).items()}
    return {setting: values[0] for setting, values in found.items() if values}


def _alike(chances: Mapping[Setting, float]) -> bool:
    """Whether one line serves all: a task with a few items of three options is at 0.2498, not 0.25."""
    return bool(chances) and max(chances.values()) - min(chances.values()) <= 0.02 * max(chances.values())


def _legend_entries(
    rows: Sequence[Fields], settings: Sequence[Setting], names: Mapping[Setting, str]
) -> list[tuple[str, Line2D]]:
    """Labels and handles: the settings, the chance line, and how variants that changed nothing are drawn."""
    from matplotlib.lines import Line2D

    entries = [
        (shorter(one_line(names[setting]), 48), Line2D([], [], **_look(setting, settings))) for setting in settings
    ]
    chances = _chances(rows, "chance_accuracy")
    if chances:
        label = "at chance" if _alike(chances) else "at chance, by task"
        entries.append((label, Line2D([], [], color=QUIET, **CHANCE)))
    if any("no-op" in flags(row) for row in rows):
        hollow: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4.6, "mfc": "white", "mec": QUIET}
        entries.append(("changed nothing, off the line", Line2D([], [], **hollow)))
    return entries


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """As many columns as fit, by the width of a letter; one row where all labels fit side by side."""
    widths = [0.72 + 0.08 * len(label) for label in labels]
    if sum(widths) <= width - 0.2:
        return len(labels)
    return max(1, min(len(labels), int((width - 0.2) / max(widths))))


def _levels(rows: Sequence[Fields], curve: Curve) -> list[str]:
    """Variant names along a curve, dense first; the reference of unparsed names is shown too."""
    names = {text(row, "variant") for row in rows}
    chosen = {name for name in names if name == "dense" or curve_of(name) == curve}
    return sorted(chosen, key=severity_key)


def _tick_labels(axes: Axes, labels: Sequence[str], panel_width: float) -> None:
    """Labels that do not touch: upright where they fit, slanted and shortened where they do not."""
    if _fits(labels, panel_width):
        axes.set_xticklabels([one_line(label) for label in labels])
    else:
        axes.set_xticklabels([shorter(one_line(label), 14) for label in labels], rotation=35, ha="right", fontsize=7.5)


def _fits(labels: Sequence[str], panel_width: float) -> bool:
    return max(map(len, labels)) * 0.085 <= panel_width / len(labels)
