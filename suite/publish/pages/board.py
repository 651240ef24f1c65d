"""The table of the page that sorts and filters, as plain data: one line a row and view, numbers also as text.

The page rounds nothing itself, so that it shows the digits of the sections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from suite.cell import Cell
from suite.metrics.average import Average
from suite.metrics.figures import DENSE, FIGURES, HIGHER, LOWER, PAGE_CHANGES, PAGE_COLUMNS, leading
from suite.metrics.rows import FLAGS
from suite.publish.fields import Fields, flags, is_cloze, number, one_line, text
from suite.publish.macro import average_of, macro_averages
from suite.publish.numerals import MISSING, average_words, fixed, parameters, places, published
from suite.publish.order import cell_of, curve_of, level_label, setting_names, setting_of
from suite.publish.reliability import confidence_series
from suite.publish.sections.reading import COLUMNS as MEANINGS
from suite.publish.sections.reading import FLAGS_SHOWN, SIZES, flag_words
from suite.publish.sections.tables import marks
from suite.publish.standings import AVERAGE, RANKED, Standings

BOARD_FIGURES = tuple(name for key in PAGE_COLUMNS for name in (key, f"{key}_change")[: 1 + (key in PAGE_CHANGES)])
"""Figures with their intervals, changes behind what changes; of raw and after temperature the one that leads."""

FIELDS = (
    *("view", "model", "variant", "family", "method", "curve", "label", "params", "bits", "megabytes"),
    *("params_shown", "bits_shown", "megabytes_shown", "items", "raw_ece", "drift", "ties", "sparsity", "touched"),
    *BOARD_FIGURES,
    *(f"{name}_shown" for name in BOARD_FIGURES),
    *(f"{name}{end}" for name in RANKED for end in ("_low", "_high", "_chance", "_group")),
    "flags",
)


def _title(name: str) -> str:
    """What one row's list of figures calls a figure."""
    base = name.removesuffix("_change")
    title = FIGURES[base].title + " against dense" * (base != name)
    return title + ", the one that leads" * (leading(base, cloze=True) != base)


FACTS = (
    ("family", "family"),
    ("params_shown", "parameters"),
    ("bits_shown", "bits a weight, measured"),
    ("megabytes_shown", "megabytes, measured"),
    ("sparsity", "zeros among the weights"),
    ("touched", "weights in matrices that changed"),
    ("items", "items"),
    *((f"{name}_shown", _title(name)) for name in BOARD_FIGURES),
    ("raw_ece", "ECE, raw"),
    ("ties", "items with tied options"),
    ("drift", "answers changed by 16-bit arithmetic"),
)

SERIES = ("raw", "after temperature scaling")


class BoardColumn(NamedTuple):
    """A column of the table: what a click brings to the top, classes that give its width (page.css), what it means."""

    key: str
    heading: str
    first: Literal["lower", "higher"]
    look: str
    note: str


def _figure_columns() -> Iterator[BoardColumn]:
    """The best is on top first, and of what compares with dense the worst."""
    for key in PAGE_COLUMNS:
        one = FIGURES[key]
        best: Literal["lower", "higher"] = "higher" if one.better == HIGHER else "lower"
        worst: Literal["lower", "higher"] = "higher" if one.better == LOWER else "lower"
        note = one.explanation + " After temperature for cloze scores." * (leading(key, cloze=True) != key)
        look = "number short" if one.debiased else "number"
        yield BoardColumn(key, one.heading, worst if one.source == DENSE else best, look, note)
        if key in RANKED:
            what = "1 holds the best and all not shown to be worse"
            yield BoardColumn(f"{key}_group", f"{one.heading} group", "lower", "number short", what)
        if key in PAGE_CHANGES:
            what = "against dense, on the same items"
            yield BoardColumn(f"{key}_change", f"{one.heading} change", worst, "number long", what)


COLUMNS = (
    BoardColumn("model", "model", "lower", "left wide model", "the language model"),
    BoardColumn("variant", "variant and flags", "lower", "left wide variant", "opens curves and reliability"),
    BoardColumn("params", "parameters", "lower", "number size", MEANINGS["parameters"]),
    BoardColumn("bits", "bits", "lower", "number short", MEANINGS["bits"]),
    BoardColumn("megabytes", "MB", "lower", "number short", MEANINGS["MB"]),
    *_figure_columns(),
)


def controls(rows: Sequence[Fields], data: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """What the filters above the table offer, each a list of values and words.

    Args:
        rows: as for `board_data`.
        data: what it gave.
    """
    sizes = sorted({size for row in rows if (size := number(row, "params_b")) is not None})
    methods = sorted({one_line(text(row, "method")) for row in rows} - {"dense", ""})
    ways = [("", "size and severity")]
    for column in COLUMNS:
        words = {"down": "high first", "up": "low first"}
        down, up = ((f"{column.key} {way}", f"{column.heading}, {said}") for way, said in words.items())
        ways += (down, up) if column.first == "higher" else (up, down)
    return {
        "views": [(str(index), name) for index, name in enumerate(data["views"])],
        "models": [("", "all models"), *((str(index), name) for index, name in enumerate(data["models"]))],
        "methods": [("", "all methods"), *((name, name) for name in methods)],
        "sizes": [("", "any size"), *((repr(size), parameters(size)) for size in sizes)],
        "ways": ways,
    }


def board_data(rows: Sequence[Fields], cells: Sequence[Cell], standings: Standings) -> dict[str, Any]:
    """The JSON object behind the table.

    Args:
        rows: rounded and sorted.
        cells: for reliability bins; a row whose cell is absent has none.
        standings: group numbers.
    """
    names = setting_names(rows)
    settings = list(names)
    macros = macro_averages(rows)
    averaged = len({text(row, "task") for macro in macros for row in macro.rows}) > 1
    views = ["average over tasks"] if averaged else []
    place = {setting: len(views) + index for index, setting in enumerate(settings)}
    views += [one_line(names[setting]) for setting in settings]
    models = list(dict.fromkeys(text(row, "model") for row in rows))
    groups = standings.groups()
    cloze = any(is_cloze(row) for row in rows)
    lines: list[list[Any]] = []
    bins: dict[str, Any] = {}
    stored: dict[tuple[object, ...], Cell] = {cell.key: cell for cell in cells}
    for macro in macros if averaged else ():
        who = (macro.scope.model, AVERAGE, "", "", 0, macro.variant)
        # a model that is averaged over other settings than the groups are has no place among them here
        same = {setting_of(row) for row in macro.rows} == set(standings.settings)
        sizes = {key: macro.constant(key) for key in (*SIZES, "sparsity", "share_touched")}
        lines.append(
            _line(
                {**_names({**macro.every[0], **sizes}, 0, models), "flags": marks(macro)},
                macro.average,
                {name: groups.get((*who, name)) if same else None for name in RANKED},
                cloze=cloze,
            )
        )
    for row in rows:
        key = cell_of(row)
        cell = stored.get(key)
        if cell is not None:
            bins[str(len(lines))] = _bins(row, cell)
        lines.append(
            _line(
                {**_names(row, place[setting_of(row)], models), **_of_one_row(row)},
                partial(average_of, row),
                {name: groups.get((*key, name)) for name in RANKED},
                cloze=is_cloze(row),
            )
        )
    return {
        "fields": FIELDS,
        "facts": FACTS,
        "series": SERIES,
        "views": views,
        "models": [one_line(model) or "unnamed model" for model in models],
        "flags_shown": FLAGS_SHOWN,
        "flags": {flag: FLAGS.get(flag, "") for flag in sorted({flag for row in rows for flag in flags(row)})},
        "rows": lines,
        "bins": bins,
    }


def _line(
    found: dict[str, Any], average: Callable[[str], Average], groups: Mapping[str, int | None], *, cloze: bool
) -> list[Any]:
    """One line of the table: what is known of it already, its figures, and its groups."""
    for name in BOARD_FIGURES:
        key = leading(name, cloze=cloze)
        value = average(key)
        shown = Average(value.value) if FIGURES[key].debiased else value
        found[name] = published(value.value)
        found[f"{name}_shown"] = average_words(shown, key)
        if name in RANKED:
            found |= {f"{name}_low": published(value.low), f"{name}_high": published(value.high)}
            found[f"{name}_group"] = groups[name]
    return [found.get(name) for name in FIELDS]


def _of_one_row(row: Fields) -> dict[str, Any]:
    changed = number(row, "drift_changed_answers")
    return {
        "accuracy_chance": number(row, "chance_accuracy"),
        "set_size_chance": number(row, "set_size_chance"),
        "items": number(row, "n"),
        "raw_ece": _known(fixed(number(row, "ece"), 3)),
        "ties": number(row, "tie_rate"),
        "drift": None if changed is None else f"{changed:g} of those scored again",
        "flags": [[flag, flag_words(flag)] for flag in flags(row)],
    }


def _names(row: Fields, view: int, models: Sequence[str]) -> dict[str, Any]:
    curve = curve_of(text(row, "variant"))
    params, bits, megabytes = (number(row, key) for key in ("params_b", "bits_per_weight", "megabytes"))
    return {
        "view": view,
        "model": models.index(text(row, "model")),
        "variant": one_line(text(row, "variant")) or "unnamed",
        "family": one_line(text(row, "family")),
        "method": one_line(text(row, "method")),
        "curve": f"{curve.name} ({curve.family})" if curve.family else curve.name,
        "label": one_line(level_label(text(row, "variant"))),
        "params": params,
        "bits": bits,
        "megabytes": megabytes,
        "params_shown": parameters(params),
        "bits_shown": fixed(bits, places("bits_per_weight")),
        "megabytes_shown": fixed(megabytes, places("megabytes")),
        "sparsity": _known(fixed(number(row, "sparsity"), 3)),
        "touched": _known(fixed(number(row, "share_touched"), 3)),
    }


def _bins(row: Fields, cell: Cell) -> list[Any]:
    """Reliability bins that hold items: confidence, accuracy, count; the series that leads comes last."""
    return [
        [
            SERIES.index(series.label),
            [
                [round(float(confidence), 3), round(float(accuracy), 3), int(count)]
                for confidence, accuracy, count in zip(
                    series.bins.confidence, series.bins.accuracy, series.bins.count, strict=True
                )
                if count
            ],
        ]
        for series in confidence_series(row, cell)
    ]


def _known(shown: str) -> str | None:
    return None if shown == MISSING else shown
