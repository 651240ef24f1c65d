"""What all pictures share: size, colours, type, and how a figure becomes a file.

Matplotlib is imported when a figure is drawn and its global state is left as it was.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from suite.publish.fields import Fields, number
from suite.publish.numerals import parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


# Okabe and Ito's palette: told apart with any common colour blindness. Its yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, QUIET = "#222222", "#666666"
WIDTH = 10.0
DPI = 150
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
    "axes.titley": 1.0,
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


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own defaults and `STYLE`, whatever the reader's configuration file says."""
    import matplotlib

    with matplotlib.rc_context():
        # Asking for the backend would choose one and load its window system.
        chosen = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in ("backend", "backend_fallback")}
        matplotlib.rcParams.update(chosen)
        matplotlib.rcParams.update(STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure, sizes in inches, drawn without a window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, without the date and the version that would change its bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A model name may use signs that the font lacks; they show as boxes, and the text has the name.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def headline(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle at the upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.12 / height, title, fontsize=13, fontweight="bold", va="top")
    figure.text(0.1 / width, 1 - 0.4 / height, subtitle, fontsize=9.5, color=QUIET, va="top")


def footnote(figure: Figure, note: str) -> None:
    """A quiet line at the lower left corner."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 0.12 / height, note, fontsize=8.5, color=QUIET, va="bottom")


def above(figure: Figure, axes: Axes, *, points: float) -> Any:
    """Coordinates of the axes, moved up by so many points."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transAxes + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)


def size_words(rows: Sequence[Fields]) -> str:
    """The parameter count as the end of a phrase, empty where it is unknown."""
    sizes = known(rows, "params_b")
    return f", {parameters(sizes[0])} parameters" if sizes else ""


def shorter(value: str, most: int) -> str:
    """Text cut in its middle, where names of models differ least."""
    if len(value) <= most:
        return value
    head = (most - 1) * 2 // 3
    return f"{value[:head]}…{value[len(value) - (most - 1 - head) :]}"


def known(rows: Sequence[Fields], key: str) -> list[float]:
    """The values of a metric that are there, in the order of the rows."""
    return [value for row in rows if (value := number(row, key)) is not None]


def number_or_nan(row: Fields | None, key: str) -> float:
    """A metric as Matplotlib wants it: NaN where there is no row or no value."""
    value = None if row is None else number(row, key)
    return math.nan if value is None else value


def legend(figure: Figure, entries: Sequence[tuple[str, Line2D]], columns: int) -> None:
    """A legend below the headline, outside of all panels, that reads row by row."""
    width, height = figure.get_size_inches()
    # Matplotlib fills a legend column by column.
    order = [entry for column in range(columns) for entry in entries[column::columns]]
    figure.legend(
        [handle for _, handle in order],
        [label for label, _ in order],
        loc="upper left",
        bbox_to_anchor=(0.1 / width, 1 - 0.66 / height),
        ncols=columns,
        frameon=False,
        borderaxespad=0,
        columnspacing=1.6,
    )
