"""The two pictures of a leaderboard: curves over compression levels, and reliability diagrams.

Matplotlib is imported when a figure is drawn and never touches global state. The same rows and cells give the same
bytes with the same Matplotlib.
"""

from __future__ import annotations

import io
import math
import warnings
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
    from matplotlib.lines import Line2D

    from suite.metrics.calibration import ReliabilityBins

Floats = NDArray[np.float64]

# Okabe and Ito's palette: told apart with any common colour blindness. Its yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")
INK, QUIET, FAINT = "#222222", "#666666", "#D9D9D9"
WIDTH = 10.0
DPI = 150
MAX_COLUMNS = 4
CHANCE: dict[str, Any] = {"linewidth": 1.0, "linestyle": (0, (1, 2))}
STYLE: dict[Any, Any] = {
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
    width = WIDTH if columns > 1 else 6.4
    handles = _legend(rows, settings, names)
    legend_columns = _legend_columns(list(handles), width)
    top = 1.05 + 0.22 * math.ceil(len(handles) / legend_columns)
    panel, gap, band_gap, bottom = 1.85, 0.14, 0.95, 0.62
    height = top + bands * (2 * panel + gap) + (bands - 1) * band_gap + bottom
    figure = _figure(width, height)
    left, right, between = 0.68, 0.15, 0.22
    panel_width = (width - left - right - (columns - 1) * between) / columns
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
        upper.set_title(_shorter(_curve_title(curve), 30), fontweight="bold", pad=7)
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
    order = _row_by_row(list(handles), legend_columns)
    figure.legend(
        [handles[label] for label in order],
        order,
        loc="upper left",
        bbox_to_anchor=(0.1 / width, 1 - 0.66 / height),
        ncols=legend_columns,
        frameon=False,
        borderaxespad=0,
        columnspacing=1.6,
    )
    return figure


def _curve_panel(
    axes: Axes, rows: Sequence[Row], levels: Sequence[str], *, key: str, chance_key: str, joined: bool
) -> None:
    """One metric along the levels of one curve, a line a setting; `joined` is false where levels have no order."""
    by_setting = grouped(rows, setting_of)
    chances = _chances(rows, chance_key)
    for index, (setting, group) in enumerate(by_setting.items()):
        look = _look(index)
        shift = 0.0 if len(by_setting) == 1 else (index / (len(by_setting) - 1) - 0.5) * 0.26
        found = {text(row, "variant"): row for row in group}
        points = [found.get(name) for name in levels]
        values, low, high = (
            np.array([_nan(row, name) for row in points]) for name in (key, f"{key}_low", f"{key}_high")
        )
        place = np.arange(len(levels)) + shift
        # A variant that changed nothing would draw a flat stretch that no compression earned.
        idle = np.array([row is not None and "no-op" in flags(row) for row in points])
        bars = ~(np.isnan(values) | np.isnan(low) | np.isnan(high))
        axes.vlines(place[bars], low[bars], high[bars], color=look["color"], linewidth=1.1, alpha=0.55)
        dash = look["linestyle"] if joined else "none"
        axes.plot(place[~idle], values[~idle], **{**look, "linestyle": dash})
        axes.plot(place[idle], values[idle], **{**look, "linestyle": "none", "mfc": "white"})
        if len(set(chances.values())) > 1 and setting in chances:
            axes.axhline(chances[setting], color=look["color"], zorder=1, **CHANCE)
    if len(set(chances.values())) == 1:
        axes.axhline(next(iter(chances.values())), color=QUIET, zorder=1, **CHANCE)
    axes.set_xlim(-0.4, len(levels) - 0.6)
    axes.set_xticks(range(len(levels)))
    axes.tick_params(axis="x", length=0)


def _look(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
        "linewidth": 1.5,
        "markersize": 4.6,
    }


def _chances(rows: Sequence[Row], key: str) -> dict[Setting, float]:
    found = {setting: _known(group, key) for setting, group in grouped(rows, setting_of).items()}
    return {setting: values[0] for setting, values in found.items() if values}


def _legend(rows: Sequence[Row], settings: Sequence[Setting], names: Mapping[Setting, str]) -> dict[str, Line2D]:
    """Handles by label: the settings, the chance line, and how variants that changed nothing are drawn."""
    from matplotlib.lines import Line2D

    handles = {_shorter(one_line(names[setting]), 48): Line2D([], [], **_look(i)) for i, setting in enumerate(settings)}
    chances = {*_chances(rows, "chance_accuracy").values()}
    if chances:
        several = ", by task" if len(chances) > 1 else ""
        handles[f"at chance{several}"] = Line2D([], [], color=QUIET, **CHANCE)
    if any("no-op" in flags(row) for row in rows):
        hollow: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4.6, "mfc": "white", "mec": QUIET}
        handles["changed nothing, off the line"] = Line2D([], [], **hollow)
    return handles


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """As many columns as fit, by the width of a letter; one row where all labels fit side by side."""
    widths = [0.72 + 0.08 * len(label) for label in labels]
    if sum(widths) <= width - 0.2:
        return len(labels)
    return max(1, min(len(labels), int((width - 0.2) / max(widths))))


def _row_by_row(labels: Sequence[str], columns: int) -> list[str]:
    """Labels reordered so that a legend, which fills column by column, reads row by row."""
    return [label for column in range(columns) for label in labels[column::columns]]


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


def _curve_title(curve: Curve) -> str:
    """The method, told apart from its other curves where it has them."""
    return curve.name + {"N:M": " N:M", "activation quantization": ", activations too"}.get(curve.family, "")


def _curve_key(curve: Curve) -> tuple[int, str]:
    return curve.key


# ---------------------------------------------------------------- reliability


def _reliability(scope: Scope, panels: Sequence[tuple[Row, Cell]], names: Mapping[Setting, str]) -> Figure:
    setting = setting_of(panels[0][0])
    width, height = WIDTH, 6.6
    figure = _figure(width, height)
    left, right, between, top, bottom = 0.68, 0.2, 0.75, 1.5, 0.6
    panel_width = (width - left - right - between) / 2
    counted, gap = 0.95, 0.16
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
    _headline(
        figure,
        "Does confidence match accuracy? Dense beside the variant whose sets grow most",
        f"{_shorter(one_line(scope.model), 44)}{_size([panels[0][0]])} on {_shorter(how, 50)}. "
        "Larger points hold more items; bars are 95 % intervals.",
    )
    _reliability_legend(figure, series)
    return figure


def _reliability_legend(figure: Figure, series: Sequence[_Series]) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    handles = [
        Line2D(
            [], [], color=each.colour, marker="o" if each.filled else "s", mfc=each.colour if each.filled else "white"
        )
        for each in reversed(series)
    ]
    handles.append(Line2D([], [], color=QUIET, linewidth=1.0, linestyle=(0, (4, 3))))
    labels = [f"confidence {each.label}" for each in reversed(series)] + ["confidence equals accuracy"]
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.1 / width, 1 - 0.66 / height),
        ncols=3,
        frameon=False,
        borderaxespad=0,
    )


@dataclass(frozen=True)
class _Series:
    """One way of reading a cell's confidence."""

    label: str
    colour: str
    bins: ReliabilityBins
    filled: bool


def _reliability_panel(figure: Figure, panels: tuple[Axes, Axes], row: Row, cell: Cell) -> list[_Series]:
    upper, lower = panels
    series = _series(row, cell)
    upper.plot([0, 1], [0, 1], color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for place, each in enumerate(series):
        bins = each.bins
        held = bins.count > 0
        x, y, n = bins.confidence[held], bins.accuracy[held], bins.count[held]
        low, high = _wilson(y, n)
        upper.vlines(x, low, high, color=each.colour, linewidth=1.1, alpha=0.45, zorder=2 + place)
        upper.plot(x, y, color=each.colour, linewidth=0.8, alpha=0.4, zorder=2 + place)
        # Points grow with their items: a bin of three should not look like a bin of three hundred.
        upper.scatter(
            x,
            y,
            s=10 + 150 * np.sqrt(n / n.sum()),
            marker="o" if each.filled else "s",
            facecolor=each.colour if each.filled else "white",
            edgecolor=each.colour,
            linewidth=1.2,
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
    upper.set_title(f"{errors}; {accuracy}", color=QUIET, fontsize=9, pad=6)
    upper.text(
        0,
        1,
        _shorter(one_line(text(row, "variant")), 40),
        transform=_above(figure, upper, points=21),
        fontweight="bold",
        fontsize=11,
        va="bottom",
    )
    return series


def _series(row: Row, cell: Cell) -> list[_Series]:
    """Confidence raw and, where the row has a temperature, divided by it; the one that leads comes last, on top.

    The temperature is the row's, a mean over splits, applied to all items; the row's own after-temperature figures are
    evaluated on items that the temperature has not seen.
    """
    from suite.metrics import calibration
    from suite.metrics.rows import score_cell
    from suite.metrics.sample import Settings

    settings = Settings(text(row, "protocol") or "exact", number(row, "alpha") or 0.1, splits=1, replicates=0)
    scored = score_cell(cell, settings)
    some = scored.sample.evaluated
    confidence, correct = scored.confidence[some], scored.correct[some]
    raw = calibration.reliability_bins(confidence, correct)
    temperature = number(row, "temperature")
    if not is_cloze(row) or temperature is None or temperature <= 0:
        return [_Series("raw", COLOURS[0], raw, True)]
    rescaled = calibration.rescale(scored.log_probabilities[some], temperature)
    after = calibration.reliability_bins(np.exp(rescaled.max(axis=1)), correct)
    return [_Series("raw", COLOURS[1], raw, False), _Series("after temperature scaling", COLOURS[0], after, True)]


def _wilson(share: Floats, count: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The 95 % Wilson interval of a proportion: bounded by 0 and 1, and wide where a bin holds few items."""
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return middle - half, middle + half


# ---------------------------------------------------------------- drawing


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and `STYLE`, whatever the reader's configuration file says."""
    import matplotlib

    with matplotlib.rc_context():
        keep = {key: matplotlib.rcParams[key] for key in ("backend", "backend_fallback")}
        matplotlib.rcParams.update({k: v for k, v in matplotlib.rcParamsDefault.items() if k not in keep})
        matplotlib.rcParams.update(STYLE)
        yield


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    """The figure as PNG, without the date and the version that would change its bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A model name may use signs that the font lacks; they show as boxes, and the text has the name.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _headline(figure: Figure, title: str, subtitle: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.12 / height, title, fontsize=13, fontweight="bold", va="top")
    figure.text(0.1 / width, 1 - 0.4 / height, subtitle, fontsize=9.5, color=QUIET, va="top")


def _above(figure: Figure, axes: Axes, *, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return axes.transAxes + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)


def _size(rows: Sequence[Row]) -> str:
    known = _known(rows, "params_b")
    return f", {parameters(known[0])} parameters" if known else ""


def _shorter(value: str, most: int) -> str:
    """Text cut in its middle, where names of models differ least."""
    if len(value) <= most:
        return value
    head = (most - 1) * 2 // 3
    return f"{value[:head]}…{value[len(value) - (most - 1 - head) :]}"


def _known(rows: Sequence[Row], key: str) -> list[float]:
    return [value for row in rows if (value := number(row, key)) is not None]


def _nan(row: Row | None, key: str) -> float:
    value = None if row is None else number(row, key)
    return math.nan if value is None else value


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
