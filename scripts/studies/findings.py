"""What the three findings of arXiv 2606.01850 look like in a snapshot: the tables of docs/findings.md.

    .venv/bin/python -m scripts.studies.findings [results/three-llms]

Every figure comes from files of the snapshot, which `suite verify` recomputes from its cells.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scripts.markers import check_markers, write_between
from suite.grouped import grouped
from suite.publish.macro import Macro, macro_averages
from suite.publish.numerals import MISSING, fixed, interval, parameters, with_interval
from suite.publish.order import without_repeats
from suite.publish.pages.markdown import code, escape, table
from suite.variant import Variant, curve_title, is_repeat, parse_variant
from suite.verdicts.curves import MACRO, PRIMARY, record_title
from suite.verdicts.decoupling import COUPLINGS

ROOT = Path(__file__).resolve().parent.parent.parent

DOCUMENT = ROOT / "docs" / "findings.md"
VERDICTS = ("threshold", "gradual", "none", "saturated", "undetermined")
TARGET = 0.9
VARIANTS = ("dense", "rtn-w4", "gptq-w4", "rtn-w3", "gptq-w3", "magnitude-s50", "sparsegpt-s50", "depth-s20")
"""Shown of inflation by size; chosen before there were results."""

Record = Mapping[str, Any]


def coupling_table(couplings: Sequence[Record]) -> str:
    """Verdicts on single tasks by model, and how often set size moved by more or less than accuracy explains."""
    body = []
    couplings = [one for one in couplings if one["task"] != MACRO]
    seen = [name for name in COUPLINGS if any(one["verdict"] == name for one in couplings)]
    for model, records in grouped(couplings, lambda one: str(one["model"])).items():
        counts = Counter(record["verdict"] for record in records)
        more = sum(record["excess_low"] is not None and record["excess_low"] > 0 for record in records)
        less = sum(record["excess_high"] is not None and record["excess_high"] < 0 for record in records)
        body.append([escape(model), str(len(records)), *(str(counts[name]) for name in seen), str(more), str(less)])
    return table(["model", "variants × tasks", *seen, "more than damage explains", "less"], body)


def accuracy_kept(averages: Sequence[Macro]) -> list[Macro]:
    """Compressed variants whose average accuracy is not shown to be lower: the interval of its change reaches 0."""
    kept = []
    for one in averages:
        change = one.average("accuracy_change")
        if one.variant != "dense" and change.high is not None and change.high >= 0:
            kept.append(one)
    return kept


def kept_table(averages: Sequence[Macro]) -> str:
    """What has moved in the variants that kept their accuracy."""
    body = []
    for model in dict.fromkeys(one.scope.model for one in averages):
        kept = [one for one in accuracy_kept(averages) if one.scope.model == model]
        compressed = [one for one in averages if one.scope.model == model and one.variant != "dense"]
        body.append(
            [
                escape(model),
                str(len(compressed)),
                str(len(kept)),
                str(sum(_above(one, "set_size_change") for one in kept)),
                str(sum(_above(one, "nll_ts_change") for one in kept)),
                str(sum(_below_target(one) for one in kept)),
            ]
        )
    header = [
        *("model", "compressed variants", "accuracy not shown lower", "of these: larger sets shown"),
        *("higher NLL after T shown", "dense threshold shown to cover less than 0.90"),
    ]
    return table(header, body)


def moved_table(averages: Sequence[Macro]) -> str:
    """Those of them in which something has, with intervals."""
    moved = [
        one
        for one in accuracy_kept(averages)
        if _above(one, "set_size_change") or _above(one, "nll_ts_change") or _below_target(one)
    ]
    if not moved:
        return "None."
    body = [
        [
            escape(one.scope.model),
            code(one.variant),
            _shown(one, "accuracy_change", 3, signed=True),
            _shown(one, "set_size_change", 2, signed=True),
            _shown(one, "nll_ts_change", 3, signed=True),
            _shown(one, "lac_transfer_coverage", 3),
        ]
        for one in moved
    ]
    return table(
        ["model", "variant", "accuracy change", "set size change", "NLL after T, change", "dense threshold reused"],
        body,
        left=2,
    )


def size_table(scale: Sequence[Record], variants: Iterable[str]) -> str:
    """By curve and model: the first level with a shown loss, and the first with half of the way to chance gone.

    Args:
        scale: of scale.json, which has the levels that several models share.
        variants: names of all variants of the snapshot. A model without a figure at one of the levels of a curve gets
            no words on it: "never" would speak of levels that are not there. Curves without any words are left out.
    """
    levels = Counter((one.family, one.curve) for one in map(parse_variant, set(variants)) if not is_repeat(one.name))
    averages = _averages(scale)
    losses: dict[tuple[str, str], dict[str, list[tuple[Variant, Record]]]] = {}
    for record in averages:
        variant = parse_variant(record["variant"])
        for one in record["models"]:
            losses.setdefault((variant.family, variant.curve), {}).setdefault(one["model"], []).append((variant, one))
    models = _by_size(averages)
    body = []
    for (family, curve), by_model in losses.items():
        cells = []
        for model in models:
            points = sorted(by_model.get(model, []), key=lambda point: point[0].severity)
            first = _first(points, lambda one: one["low"] is not None and one["low"] > 0)
            half = _first(points, lambda one: one["value"] >= 0.5)
            cells += [first, half] if len(points) == levels[family, curve] else [MISSING, MISSING]
        if set(cells) != {MISSING}:
            body.append([curve_title(family, curve), *cells])
    return table(
        ["curve", *(head for name in models.values() for head in (f"{name}: loss shown from", "half lost from"))],
        body,
        left=1 + 2 * len(models),
    )


def inflation_table(scale: Sequence[Record], variants: Sequence[str] = VARIANTS) -> str:
    """Inflation of some variants, averaged over tasks, by model in rising size, and its slope on size."""
    averages = _averages(scale)
    wanted = {record["variant"]: record for record in averages}
    models = _by_size(averages)
    body = []
    for name in variants:
        if name not in wanted:
            continue
        record = wanted[name]
        values = {one["model"]: one for one in record["models"]}
        cells = [_percent(values[model]) if model in values else MISSING for model in models]
        slope = with_interval(record["slope"], record["slope_items_low"], record["slope_items_high"], 2, signed=True)
        body.append([code(name), *cells, slope])
    return table(["variant", *models.values(), "slope on size"], body)


def slope_counts(scale: Sequence[Record]) -> str:
    """In one sentence: how many slopes on size are below and above zero, and of how many the interval says so."""
    slopes = [one for one in _averages(scale) if one["slope"] is not None]
    if not slopes:
        return "No slope on size: fewer than three sizes."
    below = sum(one["slope"] < 0 for one in slopes)
    items = [one for one in slopes if one["slope_items_high"] < 0 or one["slope_items_low"] > 0]
    several = [one for one in slopes if one["slope_low"] is not None]
    models = [one for one in several if one["slope_high"] < 0 or one["slope_low"] > 0]
    return (
        f"Of {len(slopes)} variants, inflation falls with size for {below} and rises for {len(slopes) - below}. For "
        f"these very models (intervals over items) {sum(one['slope'] < 0 for one in items)} falls and "
        f"{sum(one['slope'] > 0 for one in items)} rises are shown; "
        + (
            "for another draw of such models (intervals over models too) "
            f"{sum(one['slope'] < 0 for one in models)} and {sum(one['slope'] > 0 for one in models)}."
            if several
            else "fewer than five models say nothing about others like them."
        )
    )


def shape_table(verdicts: Sequence[Record]) -> str:
    """By model and curve: the verdict on the average of tasks, its largest jump, and the verdicts task by task.

    Curves with too few levels to be judged are left out.
    """
    primary = [one for one in verdicts if one["metric"] == PRIMARY]
    body = []
    for (model, title), of_curve in grouped(primary, lambda one: (str(one["model"]), record_title(one))).items():
        counts = Counter(one["verdict"] for one in of_curve if one["task"] != MACRO)
        average = next((one for one in of_curve if one["task"] == MACRO), None)
        if all(one["jump"] is None for one in of_curve):
            continue
        cells = [MISSING] * 3
        if average is not None:
            level = f" at {code(average['level'])}" if average["level"] else ""
            cells = [
                f"{average['verdict']}{level}",
                with_interval(average["jump"], average["jump_low"], average["jump_high"], 2, signed=True),
                MISSING if average["jump_of_headroom"] is None else f"{100 * average['jump_of_headroom']:.0f} %",
            ]
        tasks = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])
        body.append([escape(model), title, *cells, tasks])
    return table(["model", "curve", "average of tasks", "largest jump", "of headroom", "single tasks"], body, left=3)


def _averages(scale: Sequence[Record]) -> list[Record]:
    """Compressed variants averaged over tasks, models of all families together, without repeats under other seeds."""
    return [
        record
        for record in scale
        if (record["task"], record["group"]) == (MACRO, "all")
        and record["variant"] != "dense"
        and not is_repeat(record["variant"])
    ]


def _by_size(records: Sequence[Record]) -> dict[str, str]:
    """Every model in rising size, and how a table's head calls it."""
    sizes = {one["model"]: one["params_b"] for record in records for one in record["models"]}
    ordered = sorted(sizes, key=lambda name: (sizes[name], name))
    return {model: f"{escape(model)} ({parameters(sizes[model])})" for model in ordered}


def _first(points: Sequence[tuple[Variant, Record]], holds: Callable[[Record], bool]) -> str:
    """The first level from which on a condition holds at every level; words where there is none."""
    first = None
    for variant, one in reversed(points):
        if not holds(one):
            break
        first = variant.recipe_name
    return code(first) if first else "never"


def _percent(one: Record) -> str:
    ends = "" if one["low"] is None else interval(100 * one["low"], 100 * one["high"], 0)
    return f"{fixed(100 * one['value'], 0)} % {ends}".strip()


def _above(one: Macro, key: str) -> bool:
    low = one.average(key).low
    return low is not None and low > 0


def _below_target(one: Macro) -> bool:
    high = one.average("lac_transfer_coverage").high
    return high is not None and high < TARGET


def _shown(one: Macro, key: str, places: int, *, signed: bool = False) -> str:
    found = one.average(key)
    return with_interval(found.value, found.low, found.high, places, signed=signed)


def main() -> None:
    """Write every table between its markers."""
    parser = argparse.ArgumentParser(description="The tables of docs/findings.md from a snapshot.")
    parser.add_argument("snapshot", type=Path, nargs="?", default=ROOT / "results" / "three-llms")
    args = parser.parse_args()
    places = {
        name: (f"<!-- {name} -->", f"<!-- /{name} -->")
        for name in ("couplings", "kept", "moved", "inflation", "slopes", "size", "shapes")
    }
    for start, end in places.values():
        check_markers(DOCUMENT, start, end)
    couplings, scale, verdicts = (
        json.loads((args.snapshot / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("decoupling", "scale", "verdicts")
    )
    rows = pq.read_table(args.snapshot / "rows.parquet").to_pylist()
    averages = macro_averages(without_repeats(rows))
    texts = {
        "couplings": coupling_table(couplings),
        "kept": kept_table(averages),
        "moved": moved_table(averages),
        "inflation": inflation_table(scale),
        "size": size_table(scale, [one.variant for one in averages]),
        "slopes": slope_counts(scale),
        "shapes": shape_table(verdicts),
    }
    for name, (start, end) in places.items():
        write_between(DOCUMENT, start, end, texts[name])


if __name__ == "__main__":
    main()
