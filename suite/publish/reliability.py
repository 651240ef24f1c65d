"""Reliability diagrams: confidence against accuracy, dense beside a collapsed variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.cell import Cell
from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics.average import Setting, above_chance
from suite.metrics.proportions import wilson_intervals
from suite.publish.canvas import (
    COLOURS,
    QUIET,
    WIDTH,
    above,
    footnote,
    headline,
    legend,
    new_figure,
    shorter,
    size_words,
)
from suite.publish.fields import Fields, flags, is_cloze, number, one_line, text
from suite.publish.numerals import fixed
from suite.publish.order import Scope, dense_of, setting_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from suite.metrics.calibration import ReliabilityBins

FEW = 5
"""Bins with fewer items are drawn faint."""
DIAGONAL: dict[str, Any] = {"linewidth": 1.0, "linestyle": (0, (4, 3))}


def collapsed_pair(rows: Sequence[Fields]) -> tuple[Fields, Fields] | None:
    """The dense row and the row of the variant whose reliability is shown beside it.

    The task is the one on which dense accuracy lies furthest above chance; the variant is the one with the largest
    growth of set size on it, the milder one of equals. No-op variants are left out.

    Returns:
        None where no task is above chance, or no variant has a change of set size on that task.
    """
    best: tuple[float, list[Fields], Fields] | None = None
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


def reliability_figure(scope: Scope, panels: Sequence[tuple[Fields, Cell]], names: Mapping[Setting, str]) -> Figure:
    """Reliability diagrams side by side with their counts below, one a row and its cell, all of one setting."""
    setting = setting_of(panels[0][0])
    width, height = WIDTH, 6.9
    figure = new_figure(width, height)
    left, right, between, top, bottom = 0.68, 0.2, 0.75, 1.5, 0.82
    panel_width = (width - left - right - between) / 2
    counted, gap = 0.95, 0.26
    main = height - top - bottom - counted - gap
    uppers, lowers = [], []
    for index, (row, cell) in enumerate(panels):
        x = left + index * (panel_width + between)
        upper = figure.add_axes((x / width, (bottom + counted + gap) / height, panel_width / width, main / height))
        lower = figure.add_axes((x / width, bottom / height, panel_width / width, counted / height))
        series = _reliability_panel(figure, (upper, lower), row, cell)
        uppers.append(upper)
        lowers.append(lower)
    most = max(axes.get_ylim()[1] for axes in lowers)
    for axes in lowers:
        axes.set_ylim(0, most)
    uppers[0].set_ylabel("accuracy in the bin")
    lowers[0].set_ylabel("items")
    how = f"{one_line(names[setting])}, {setting.scoring} scoring" if setting.scoring else one_line(names[setting])
    headline(
        figure,
        "Does confidence match accuracy? Dense beside the variant whose sets grow most",
        f"{shorter(one_line(scope.model), 40)}{size_words([panels[0][0]])}, on {shorter(how, 48)}",
    )
    footnote(
        figure, f"Larger points hold more items, faint ones fewer than {FEW}; bars are 95 % intervals of the accuracy."
    )
    entries = _legend_entries(series)
    legend(figure, entries, len(entries))
    return figure


def _legend_entries(series: Sequence[ConfidenceSeries]) -> list[tuple[str, Line2D]]:
    from matplotlib.lines import Line2D

    entries = []
    for each in reversed(series):
        marker, inside = ("o", each.colour) if each.filled else ("s", "white")
        handle = Line2D([], [], color=each.colour, linewidth=0.8, marker=marker, mfc=inside)
        entries.append((f"confidence {each.label}", handle))
    entries.append(("confidence equals accuracy", Line2D([], [], color=QUIET, **DIAGONAL)))
    return entries


@dataclass(frozen=True)
class ConfidenceSeries:
    """One way of reading a cell's confidence."""

    label: str
    colour: str
    bins: ReliabilityBins
    filled: bool


def _reliability_panel(figure: Figure, panels: tuple[Axes, Axes], row: Fields, cell: Cell) -> list[ConfidenceSeries]:
    upper, lower = panels
    series = confidence_series(row, cell)
    upper.plot([0, 1], [0, 1], color=QUIET, zorder=1, **DIAGONAL)
    for place, each in enumerate(series):
        bins = each.bins
        held = bins.count > 0
        x, y, n = bins.confidence[held], bins.accuracy[held], bins.count[held]
        low, high = wilson_intervals(y, n)
        faded = np.where(n >= FEW, 0.45, 0.2)
        upper.vlines(x, low, high, color=each.colour, linewidth=1.1, alpha=faded, zorder=2 + place)
        # A bin of three items should not look like a bin of three hundred, nor bend the line.
        firm = n >= FEW
        strength: Any = np.where(firm, 1.0, 0.35)
        upper.plot(x[firm], y[firm], color=each.colour, linewidth=0.8, alpha=0.4, zorder=2 + place)
        upper.scatter(
            x,
            y,
            s=10 + 150 * np.sqrt(n / n.sum()),
            marker="o" if each.filled else "s",
            facecolor=each.colour if each.filled else "white",
            edgecolor=each.colour,
            linewidth=1.2,
            alpha=strength,
            clip_on=False,
            zorder=4 + place,
        )
        edges = np.append(bins.lower, bins.upper[-1])
        if each.filled:
            lower.stairs(bins.count, edges, fill=True, color=each.colour, alpha=0.45)
        else:
            lower.stairs(bins.count, edges, color=each.colour, linewidth=1.3)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    lower.set_xlim(0, 1)
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("confidence: probability of the most likely option", color=QUIET)
    lower.locator_params(axis="y", nbins=3, integer=True)
    accuracy = f"accuracy {fixed(number(row, 'accuracy'), 3)}"
    after, raw = fixed(number(row, "ece_ts"), 3), fixed(number(row, "ece"), 3)
    errors = f"ECE {after} after temperature, {raw} raw" if is_cloze(row) else f"ECE {raw}, {after} after temperature"
    upper.set_title(f"{errors}; {accuracy}", color=QUIET, fontsize=9, pad=9)
    upper.text(
        0,
        1,
        shorter(one_line(text(row, "variant")), 40),
        transform=above(figure, upper, points=24),
        fontweight="bold",
        fontsize=11,
        va="bottom",
    )
    return series


def confidence_series(row: Fields, cell: Cell) -> list[ConfidenceSeries]:
    """Confidence raw and, where the row has a temperature, divided by it; the one that leads comes last, on top.

    The temperature is the row's, a mean over splits, applied to all items; the row's own after-temperature figures are
    evaluated on items that the temperature has not seen.
    """
    from suite.metrics import calibration
    from suite.metrics.rows import score_cell

    name: Any = text(row, "protocol") or "exact"
    scored = score_cell(cell, Protocol(name, number(row, "alpha") or 0.1, splits=1, replicates=0))
    some = scored.sample.evaluated
    confidence, correct = scored.confidence[some], scored.correct[some]
    raw = calibration.reliability_bins(confidence, correct)
    temperature = number(row, "temperature")
    if not is_cloze(row) or temperature is None or temperature <= 0:
        return [ConfidenceSeries("raw", COLOURS[0], raw, True)]
    rescaled = calibration.rescale(scored.log_probabilities[some], temperature)
    after = calibration.reliability_bins(np.exp(rescaled.max(axis=1)), correct)
    return [
        ConfidenceSeries("raw", COLOURS[1], raw, False),
        ConfidenceSeries("after temperature scaling", COLOURS[0], after, True),
    ]
