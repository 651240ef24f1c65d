"""Pictures of verdicts: fitted curves with the level's interval, accuracy against set size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.publish.canvas import COLOURS, INK, MARKERS, QUIET, WIDTH, footnote, headline, legend, new_figure, shorter
from suite.publish.fields import Fields, number, one_line, text
from suite.publish.order import level_label
from suite.verdicts.curves import MACRO, PRIMARY, task_title
from suite.verdicts.decoupling import ACCURACY_MARGIN, BEYOND
from suite.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MAX_COLUMNS = 3
RIVAL_COLOURS = {"straight": "#999999", "exponential": "#E69F00", "sigmoid": "#56B4E9"}
_MEASURED: dict[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 4.5, "linewidth": 1.6}
_CHANCE: dict[str, Any] = {"color": QUIET, "linewidth": 1.0, "linestyle": (0, (1, 2))}
_WHERE: dict[str, Any] = {"color": "#D55E00", "alpha": 0.12}


def shown_verdicts(verdicts: Sequence[Verdict], model: str) -> list[Verdict]:
    """The primary verdicts of a model that are drawn: averages over tasks, or the tasks where there is just one.

    Curves of dense and one level more are left out: a line between two points shows nothing that a table does not.
    """
    mine = [one for one in verdicts if one.place.model == model and one.metric == PRIMARY]
    mine = [one for one in mine if one.curve is not None and len(one.curve.names) > 2]
    averages = [one for one in mine if one.place.task == MACRO]
    return averages or mine


def collapse_figure(model: str, verdicts: Sequence[Verdict]) -> Figure:
    """Set size along the levels of each method, with intervals, the best fit of smooth rivals, and what was concluded.

    Args:
        verdicts: of one model, one a panel.
    """
    columns = min(MAX_COLUMNS, len(verdicts))
    bands = math.ceil(len(verdicts) / columns)
    width, top, panel, gap, left, between = WIDTH, 1.25, 2.4, 1.15, 0.68, 0.35
    height = top + bands * (panel + gap) + 0.1
    panel_width = (width - left - 0.15 - (columns - 1) * between) / columns
    figure = new_figure(width, height)
    lows = [float(np.quantile(one.curve.replicates, 0.01, axis=1).min()) for one in verdicts if one.curve]
    highs = [float(np.quantile(one.curve.replicates, 0.99, axis=1).max()) for one in verdicts if one.curve]
    chances = [one.curve.chance for one in verdicts if one.curve and one.curve.chance is not None]
    for index, verdict in enumerate(verdicts):
        band, column = divmod(index, columns)
        x = left + column * (panel_width + between)
        y = height - top - band * (panel + gap) - panel
        axes = figure.add_axes((x / width, y / height, panel_width / width, panel / height))
        _collapse_panel(axes, verdict)
        axes.set_ylim(min(lows) - 0.05, max([*highs, *chances]) + 0.1)
        if column == 0:
            axes.set_ylabel("set size (options)")
    entries = _collapse_legend(verdicts)
    legend(figure, entries, len(entries))
    headline(figure, "Where uncertainty breaks, and what smooth curves would say", shorter(one_line(model), 70))
    footnote(figure, _collapse_note(verdicts))
    return figure


def _collapse_note(verdicts: Sequence[Verdict]) -> str:
    """What the lines are, and why a judged panel may have none."""
    note = (
        "Bars: 95 % intervals. Thin lines: best fits of smooth rivals, to steps between levels: all levels share their "
        "items,\nso steps are known better than heights, and a fit may lie above or below all points."
    )
    if any(one.finding.p is not None and not one.finding.fits for one in verdicts):
        note += "\nWithout thin lines: the largest jump is the last one, which no shape can tell from a smooth curve."
    return note


def _collapse_panel(axes: Axes, verdict: Verdict) -> None:
    curve, finding = verdict.curve, verdict.finding
    assert curve is not None
    place = np.arange(len(curve.names))
    low, high = np.quantile(curve.replicates, [0.025, 0.975], axis=1)
    for name, colour in RIVAL_COLOURS.items():
        if name in finding.fits:
            axes.plot(place, finding.fits[name], color=colour, linewidth=1.0)
    if finding.level is not None and finding.level_low is not None and finding.level_high is not None:
        axes.axvspan(finding.level_low - 0.5, finding.level_high + 0.5, linewidth=0, **_WHERE)
    axes.vlines(place, low, high, color=COLOURS[0], linewidth=1.2, alpha=0.6)
    axes.plot(place, curve.values, **_MEASURED)
    if curve.chance is not None:
        axes.axhline(curve.chance, **_CHANCE)
    task = one_line(task_title(verdict.place.task))
    axes.set_title(shorter(f"{verdict.place.title}, {task}", 34), fontweight="bold", pad=7)
    said = finding.verdict
    if finding.level is not None:
        said += f" at {level_label(curve.names[finding.level])}"
    if finding.p is not None:
        said += f" (p of a threshold {'< 0.001' if finding.p < 0.001 else f'{finding.p:.2g}'})"
    axes.set_xlabel(said, color=INK)
    axes.set_xticks(place, [level_label(name) for name in curve.names], rotation=0 if len(place) < 8 else 45)


def _collapse_legend(verdicts: Sequence[Verdict]) -> list[tuple[str, Line2D]]:
    """Whatever some panel shows."""
    from matplotlib.lines import Line2D

    entries = [("measured", Line2D([], [], **_MEASURED))]
    for name, colour in RIVAL_COLOURS.items():
        if any(name in one.finding.fits for one in verdicts):
            entries.append((name, Line2D([], [], color=colour, linewidth=1.0)))
    if any(one.curve and one.curve.chance is not None for one in verdicts):
        entries.append(("chance", Line2D([], [], **_CHANCE)))
    if any(one.finding.level is not None and one.finding.level_low is not None for one in verdicts):
        entries.append(("interval of the level", Line2D([], [], linewidth=9, solid_capstyle="butt", **_WHERE)))
    return entries


def coupling_figure(model: str, records: Sequence[Fields]) -> Figure:
    """Change of accuracy against change of set size, one point a variant and task, with the zone of equivalence.

    Args:
        records: of decoupling.json, one model.
    """
    width, height, top, bottom = 7.0, 5.05, 0.7, 0.9
    figure = new_figure(width, height)
    axes = figure.add_axes((0.7 / width, bottom / height, (width - 2.4) / width, (height - top - bottom) / height))
    margins = [value for one in records if (value := number(one, "margin")) is not None]
    margin = min(margins) if margins else 0.1
    axes.axvspan(-ACCURACY_MARGIN, ACCURACY_MARGIN, color="#009E73", alpha=0.10, linewidth=0)
    axes.axhspan(-margin, margin, color="#009E73", alpha=0.10, linewidth=0)
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.axvline(0, color="#999999", linewidth=0.8)
    methods = sorted({text(one, "variant").partition("-")[0] for one in records})
    records = [one for one in records if text(one, "task") != MACRO]
    ringed = sum(text(one, "verdict") in BEYOND for one in records)
    for index, method in enumerate(methods):
        mine = [one for one in records if text(one, "variant").partition("-")[0] == method]
        x = [number(one, "accuracy_change") or 0.0 for one in mine]
        y = [number(one, "set_size_change") or 0.0 for one in mine]
        colour = COLOURS[index % len(COLOURS)]
        marker = MARKERS[index // len(COLOURS) % len(MARKERS)]
        axes.scatter(x, y, s=22, color=colour, marker=marker, label=method, alpha=0.8, linewidths=0)
        silent = [i for i, one in enumerate(mine) if text(one, "verdict") in BEYOND]
        axes.scatter([x[i] for i in silent], [y[i] for i in silent], s=90, facecolors="none", edgecolors=INK)
    axes.set_xlabel("change of accuracy (worse to the left)")
    axes.set_ylabel("change of set size (worse upwards)")
    axes.grid(visible=True, axis="both")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    headline(figure, "Does uncertainty follow accuracy?", shorter(one_line(model), 60))
    footnote(
        figure,
        "A point is a variant on a task. Green: equivalent to dense.\n"
        f"In a black ring: more uncertainty lost than damage explains ({ringed or 'none'} here).",
    )
    return figure
