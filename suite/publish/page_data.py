"""What the page shows, as plain data: one line a row and view, with every number also as the text that is shown.

The page rounds nothing itself, so that it shows the digits of LEADERBOARD.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.cell import Cell
from suite.metrics.average import Setting
from suite.metrics.rows import FLAGS
from suite.publish.fields import Row, flags, is_cloze, number, one_line, text
from suite.publish.macro import Macro, macro_averages
from suite.publish.numerals import MISSING, estimate, fixed, interval, parameters, places, significant
from suite.publish.order import curve_of, level_label, setting_names, setting_of
from suite.publish.reliability import confidence_series
from suite.publish.standings import AVERAGE, METRICS, Standings

FIGURES = ("accuracy", "accuracy_change", "set_size", "set_size_change", "coverage", "transfer", "ece", "nll")
"""Shown with their intervals, under the key of the row that `_source` names."""

FIELDS = (
    *("view", "model", "variant", "family", "method", "curve", "label", "params", "bits", "megabytes"),
    *("params_shown", "bits_shown", "megabytes_shown", "items", "raw_ece", "drift", "ties", "sparsity", "touched"),
    *FIGURES,
    *(f"{name}_shown" for name in FIGURES),
    *(f"{name}{end}" for name in METRICS for end in ("_low", "_high", "_chance", "_group")),
    "flags",
)

FACTS = (
    ("family", "family"),
    ("params_shown", "parameters"),
    ("bits_shown", "bits a weight, measured"),
    ("megabytes_shown", "megabytes, measured"),
    ("sparsity", "zeros among the weights"),
    ("touched", "weights in matrices that changed"),
    ("items", "items"),
    ("accuracy_shown", "accuracy"),
    ("accuracy_change_shown", "accuracy against dense"),
    ("set_size_shown", "set size"),
    ("set_size_change_shown", "set size against dense"),
    ("coverage_shown", "coverage (LAC)"),
    ("transfer_shown", "coverage with the dense threshold"),
    ("ece_shown", "ECE, the one that leads"),
    ("raw_ece", "ECE, raw"),
    ("nll_shown", "NLL, the one that leads"),
    ("ties", "items with tied options"),
    ("drift", "answers changed by 16-bit arithmetic"),
)

SERIES = ("raw", "after temperature scaling")


def page_data(rows: Sequence[Row], cells: Sequence[Cell], standings: Standings) -> dict[str, Any]:
    """The JSON object behind the page.

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
    after = any(is_cloze(row) for row in rows)
    lines: list[list[Any]] = []
    bins: dict[str, Any] = {}
    stored = {(*cell.curve_key, str(cell.variant["name"])): cell for cell in cells}
    for macro in macros if averaged else ():
        lines.append(_average_line(macro, models, groups, standings, after=after))
    for row in rows:
        setting = setting_of(row)
        key = (text(row, "model"), *_parts(setting), text(row, "variant"))
        cell = stored.get(key)
        if cell is not None:
            bins[str(len(lines))] = _bins(row, cell)
        lines.append(_row_line(row, place[setting], models, {name: groups.get((*key, name)) for name in METRICS}))
    return {
        "fields": FIELDS,
        "facts": FACTS,
        "series": SERIES,
        "views": views,
        "models": [one_line(model) or "unnamed model" for model in models],
        "flags": {flag: FLAGS.get(flag, "") for flag in sorted({flag for row in rows for flag in flags(row)})},
        "rows": lines,
        "bins": bins,
    }


def _source(name: str, *, after: bool) -> str:
    """The key of a row behind a column of the page."""
    suffix = "_ts" if after else ""
    keys = {
        "coverage": "lac_coverage",
        "transfer": "lac_transfer_coverage",
        "ece": f"ece{suffix}",
        "nll": f"nll{suffix}",
    }
    return keys.get(name, name)


def _row_line(row: Row, view: int, models: Sequence[str], groups: Mapping[str, int | None]) -> list[Any]:
    after = is_cloze(row)
    found: dict[str, Any] = _names(row, view, models)
    for name in FIGURES:
        key = _source(name, after=after)
        found[name] = number(row, key)
        # the interval of a calibration error belongs to its debiased estimate and need not hold it
        signed = name.endswith("_change")
        found[f"{name}_shown"] = fixed(found[name], places(key)) if name == "ece" else estimate(row, key, signed=signed)
    for name in METRICS:
        found |= {f"{name}{end}": number(row, f"{name}{end}") for end in ("_low", "_high")}
        found[f"{name}_group"] = groups[name]
    found |= {"accuracy_chance": number(row, "chance_accuracy"), "set_size_chance": number(row, "set_size_chance")}
    changed = number(row, "drift_changed_answers")
    found |= {
        "items": number(row, "n"),
        "raw_ece": _known(fixed(number(row, "ece"), 3)),
        "ties": number(row, "tie_rate"),
        "drift": None if changed is None else f"{changed:g} of those scored again",
        "flags": [[flag, one_line(flag)] for flag in flags(row)],
    }
    return [found.get(name) for name in FIELDS]


def _average_line(
    macro: Macro, models: Sequence[str], groups: Mapping[Any, int], standings: Standings, *, after: bool
) -> list[Any]:
    first = macro.every[0]
    constants = {
        key: macro.constant(key) for key in ("params_b", "bits_per_weight", "megabytes", "sparsity", "share_touched")
    }
    found: dict[str, Any] = _names({**first, **constants}, 0, models)
    same_settings = {setting_of(row) for row in macro.rows} == set(standings.settings)
    for name in FIGURES:
        key = _source(name, after=after)
        average = macro.average(key)
        signed = name.endswith("_change")
        # calibration errors have no interval, see `suite.publish.definitions.ROUNDING`
        ends = "" if name == "ece" else interval(average.low, average.high, places(key), signed=signed)
        found[name] = None if average.value is None else significant(average.value)
        found[f"{name}_shown"] = f"{fixed(average.value, places(key), signed=signed)} {ends}".strip()
        if name in METRICS:
            for end, value in (("_low", average.low), ("_high", average.high)):
                found[f"{name}{end}"] = None if value is None else significant(value)
            group = groups.get((macro.scope.model, AVERAGE, "", "", 0, macro.variant, name))
            # a model that is averaged over other settings than the groups are has no place among them here
            found[f"{name}_group"] = group if same_settings else None
    found["flags"] = [
        [flag, one_line(flag) + (f" on {count} of {len(macro.every)}" if count < len(macro.every) else "")]
        for flag, count in macro.flags.items()
    ]
    found["flags"] += [["lacks", f"lacks {one_line(task)}"] for task in macro.absent]
    return [found.get(name) for name in FIELDS]


def _names(row: Row, view: int, models: Sequence[str]) -> dict[str, Any]:
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


def _bins(row: Row, cell: Cell) -> list[Any]:
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


def _parts(setting: Setting) -> tuple[str, str, str, int]:
    return (setting.task, setting.scoring, setting.prompt, setting.shots)


def _known(shown: str) -> str | None:
    return None if shown == MISSING else shown
