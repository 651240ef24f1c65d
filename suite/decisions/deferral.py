"""What keeping the old threshold costs: answer from a confidence on, leave the rest to a reviewer.

The threshold is the one that costs least on one half of the items; what it costs is counted on the other half, and the
other way round, so that every item is counted once and never by a threshold that it helped to choose. A variant either
keeps the thresholds that were tuned on dense or gets its own. See docs/deferral.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from suite.arrays import Bools, Floats, Numbers
from suite.cell import Cell
from suite.config import Costs, Protocol
from suite.metrics.average import Average, Setting, above_chance, averaged_settings, combined
from suite.metrics.compare import on_shared_items
from suite.metrics.measure import Scored
from suite.metrics.proportions import (
    LEVEL,
    paired_interval,
    proportion_interval,
    weighted_interval,
)
from suite.metrics.rows import curves_of, is_at_chance
from suite.metrics.sample import Sample, Samples
from suite.metrics.selective import cheapest_threshold
from suite.metrics.workers import in_processes
from suite.tables import aligned
from suite.verdicts.curves import MACRO
from suite.verdicts.given import Given

MeanInterval = Callable[[Floats, Numbers], tuple[float, float]]
"""From values and units to the interval of their mean."""

TUNED, KEPT = "tuned", "kept"
"""A rule tuned on the cell itself, or kept from dense."""

DEFAULT_COSTS = Costs(wrong=10, review=2)
"""Where nobody has said what they are: a wrong answer costs five reviews. Snapshots and pages say that nobody has."""

PER = 1000
"""Questions that costs are given for."""

ONE_SIDED = 2 * LEVEL - 1
"""Level of the two-sided interval whose upper end is the one-sided bound at `LEVEL`."""

SHOWN = (
    *("model", "task", "variant", "rule", "n", "answered", "error", "error_bound", "cost", "cost_low", "cost_high"),
    *("cost_change", "cost_change_low", "cost_change_high"),
    *("keeping_change", "keeping_change_low", "keeping_change_high", "pays_from", "pays_to"),
)
"""Columns of the table in a pipe."""

KEPT_KEYS = (
    *("model", "task", "variant", "n", "cost_wrong", "cost_review", "answered", "answered_low", "answered_high"),
    *("error", "error_bound", "cost", "cost_low", "cost_high", "cost_change", "cost_change_low", "cost_change_high"),
    *("keeping_change", "keeping_change_low", "keeping_change_high", "notes"),
)
"""Of the records in a snapshot."""

AVERAGED = ("answered", "error", "cost", "answered_change", "wrong_change", "cost_change", "keeping_change")
"""Figures that are averaged over tasks."""


@dataclass(frozen=True)
class Outcome:
    """What a rule did with each item.

    Attributes:
        thresholds: on the confidence; the first counts on the second half of the items, and the other way round.
        answered: whether it was answered, shape [n].
        wrong: 1 where it was answered wrongly, a fraction where options tie, 0 where deferred, shape [n].
    """

    thresholds: tuple[float, float]
    answered: Bools
    wrong: Floats

    @property
    def deferred(self) -> Floats:
        """1 where it was left to the reviewer, shape [n]."""
        return (~self.answered).astype(np.float64)


def tune(scored: Scored, costs: Costs) -> tuple[float, float]:
    """The cheapest threshold on either half."""
    half = scored.sample.first_half
    first, second = (
        cheapest_threshold(
            scored.confidence[some], 1 - scored.correct[some], cost_wrong=costs.wrong, cost_review=costs.review
        )
        for some in (half, ~half)
    )
    return first, second


def apply(scored: Scored, thresholds: tuple[float, float]) -> Outcome:
    """Answer each half at the threshold that was tuned on the other."""
    half = scored.sample.first_half
    answered = scored.confidence >= np.where(half, thresholds[1], thresholds[0])
    return Outcome(thresholds, answered, np.where(answered, 1 - scored.correct, 0.0))


def kept_costs(given: Given) -> list[dict[str, Any]]:
    """What it costs to keep dense's thresholds, of every compressed variant on the average over tasks.

    The costs are those of the configuration, else `DEFAULT_COSTS`; ``costs_planned`` says which. Records have the keys
    `KEPT_KEYS`, as `find_deferrals` gives them; where a model has no average, they are of its tasks.
    """
    planned = given.config.costs if given.config else None
    cells = [one.cell for one in given.measured]
    found = find_deferrals(cells, given.protocol, planned or DEFAULT_COSTS, rules=(KEPT,), workers=given.workers)
    averaged = {one["model"] for one in found if one["task"] == MACRO}
    return [
        {key: one[key] for key in KEPT_KEYS if key in one} | {"costs_planned": planned is not None}
        for one in found
        if (one["task"] == MACRO) == (one["model"] in averaged)
    ]


def find_deferrals(
    cells: Sequence[Cell], protocol: Protocol, costs: Costs, *, rules: Sequence[str] = (KEPT, TUNED), workers: int = 1
) -> list[dict[str, Any]]:
    """What deferring costs with each cell.

    Args:
        protocol: its seed decides the halves.
        rules: which records are wanted.
        workers: processes that share the work; see `suite.metrics.workers`.

    Returns:
        One record a cell and rule (`TUNED`, `KEPT`), then one for each average over tasks. ``answered``: share of the
        questions. ``error``: among the answered, with ``error_bound``, its one-sided 95 % bound. ``cost``: for 1,000
        questions; ``cost_answering`` and ``cost_reviewing`` where all are answered or all reviewed.
        ``pays_from``, ``pays_to``: between which ratios of the two costs these thresholds are cheaper than answering
        or reviewing everything; ``pays_to_sure``: the same with the bound of the error. ``<key>_change`` (``answered``,
        ``wrong``: wrongly answered of all questions, ``cost``): against dense's own rule on the same items, and
        ``break_even``: the ratio at which both cost the same, where there is one. ``keeping_change``: cost of the kept
        rule less that of the one tuned again. Intervals are of 95 % for other items at these thresholds. What has no
        value is None, with the reason under ``notes``.

    Raises:
        SuiteError: two cells of one name.
    """
    curves = curves_of(cells)
    alone = partial(_of_curve, protocol=replace(protocol, name="exact"), costs=costs, rules=tuple(rules))
    found = in_processes(alone, curves, workers=workers)
    usable = {curve[0].curve_key: counts for curve, (_, counts) in zip(curves, found, strict=True)}
    records = [record for one, _ in found for record in one]
    return records + _averages(records, usable)


def _of_curve(
    curve: Sequence[Cell], *, protocol: Protocol, costs: Costs, rules: Sequence[str]
) -> tuple[list[dict[str, Any]], bool]:
    """The records of one model's cells of a task, and whether the task goes into the average."""
    samples = Samples(protocol)
    dense = next((cell for cell in curve if cell.is_dense), None)
    usable = dense is not None and _can_lose(Scored(dense, samples.of(dense)))
    return [record for cell in curve for record in _of_cell(cell, dense, samples, costs, rules)], usable


def _can_lose(dense: Scored) -> bool:
    """Whether the dense model is above chance on a task, as in every average."""
    accuracy = float(dense.correct.mean())
    row = {"accuracy": accuracy, "chance_accuracy": float((1 / dense.n_options).mean())}
    row["accuracy_low"] = proportion_interval(dense.correct, dense.sample.unit_numbers)[0]
    return above_chance({**row, "flags": ["at-chance"] if is_at_chance(row) else []})


def _of_cell(
    cell: Cell, dense: Cell | None, samples: Samples, costs: Costs, rules: Sequence[str]
) -> list[dict[str, Any]]:
    """The records of one cell under the rules asked for; without a dense model there is nothing to keep."""
    own = Scored(cell, samples.of(cell))
    alone = [TUNED] if TUNED in rules else []
    if cell is dense:
        return [_record(own, rule, costs) for rule in alone]
    if dense is None:
        note = "there is no dense cell with the same model, task, scoring, prompt and shots: nothing to keep"
        return [_record(own, rule, costs, notes=[note]) for rule in alone]
    both = on_shared_items(own, Scored(dense, samples.of(dense)), samples)
    if both is None:
        note = "no item is shared with dense with equal answer and number of options"
        return [_record(own, rule, costs, notes=[note]) for rule in alone]
    scored, reference = both
    notes = [] if len(scored.sample) == len(cell) == len(dense) else [f"{len(scored.sample)} items shared with dense"]
    return [_record(scored, rule, costs, reference=reference, notes=notes) for rule in rules]


def _record(
    scored: Scored, rule: str, costs: Costs, *, reference: Scored | None = None, notes: Sequence[str] = ()
) -> dict[str, Any]:
    key = scored.cell.key
    record: dict[str, Any] = {**key._asdict(), "rule": rule, "n": len(scored.sample)}
    record |= {"cost_wrong": costs.wrong, "cost_review": costs.review}
    record |= dict.fromkeys(_VALUES)
    record["notes"] = list(notes)
    sides = [("", scored)] + ([("dense: ", reference)] if reference is not None else [])
    for prefix, side in sides:
        if reason := _unusable(side):
            record["notes"].append(prefix + reason)
            if side is scored or rule == KEPT:
                return record
            reference = None
    mine = tune(scored, costs)
    theirs = mine if reference is None else tune(reference, costs)
    outcome = apply(scored, theirs if rule == KEPT else mine)
    record |= _figures(outcome, scored, costs)
    if reference is not None:
        record |= _against(outcome, apply(reference, theirs), scored.sample, costs)
        if rule == KEPT:
            change = _cost_change(outcome, apply(scored, mine), scored.sample, costs)
            record |= _interval("keeping_change", *change)
    if record["error"] is None:
        record["notes"].append("nothing is answered: reviewing everything is cheapest")
    return record


_VALUES = (
    *("thresholds", "answered", "answered_low", "answered_high", "error", "error_low", "error_bound"),
    *("cost", "cost_low", "cost_high", "cost_answering", "cost_reviewing", "pays_from", "pays_to", "pays_to_sure"),
    *(f"{key}{end}" for key in ("answered_change", "wrong_change", "cost_change") for end in ("", "_low", "_high")),
    "break_even",
    *(f"keeping_change{end}" for end in ("", "_low", "_high")),
)


def _unusable(scored: Scored) -> str:
    """Why nothing can be deferred by this confidence; empty where it can."""
    half = scored.sample.first_half
    if half.all() or not half.any():
        return f"{len(half)} items: too few to tune on one half and count on the other"
    if np.ptp(scored.confidence) < 1e-12:
        return f"the confidence is the same for all {len(half)} items: nothing to defer on"
    return ""


def _interval(key: str, value: float, low: float, high: float) -> dict[str, float]:
    return {key: value, f"{key}_low": low, f"{key}_high": high}


def _figures(outcome: Outcome, scored: Scored, costs: Costs) -> dict[str, Any]:
    units, error = scored.sample.unit_numbers, 1 - scored.correct
    share = float(outcome.answered.mean())
    wrong = outcome.wrong.mean()
    found: dict[str, Any] = {"thresholds": [None if math.isinf(one) else one for one in outcome.thresholds]}
    parts = outcome.wrong, outcome.deferred
    low, high = _by_halves(parts[1], scored.sample, proportion_interval)
    found |= _interval("answered", share, 1 - high, 1 - low)
    low, high = _cost_interval(parts, scored.sample, costs, proportion_interval)
    cost = float(costs.wrong * wrong + costs.review * (1 - share))
    found |= _interval("cost", PER * cost, PER * max(low, 0.0), PER * min(high, costs.wrong))
    found |= {"cost_answering": PER * costs.wrong * float(error.mean()), "cost_reviewing": PER * costs.review}
    if outcome.answered.any():
        some = outcome.answered
        members = np.unique(units[some], return_inverse=True)[1]
        low, bound = proportion_interval(error[some], members, level=ONE_SIDED)
        found |= {"error": float(error[some].mean()), "error_low": low, "error_bound": bound}
        found |= {"pays_to": _ratio(1.0, found["error"]), "pays_to_sure": _ratio(1.0, bound)}
    if not outcome.answered.all():
        found["pays_from"] = _ratio(1.0, float(error[~outcome.answered].mean()))
    return found


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 1e-12 else None


def _against(outcome: Outcome, dense: Outcome, sample: Sample, costs: Costs) -> dict[str, Any]:
    """Changes against dense's own rule, on the same items."""
    answered = dense.deferred - outcome.deferred
    wrong = outcome.wrong - dense.wrong
    found: dict[str, Any] = {}
    for key, change in (("answered_change", answered), ("wrong_change", wrong)):
        found |= _interval(key, float(change.mean()), *_by_halves(change, sample, paired_interval))
    found |= _interval("cost_change", *_cost_change(outcome, dense, sample, costs))
    more_wrong, more_answered = found["wrong_change"], found["answered_change"]
    # One ratio makes both cost the same only where one rule errs more and the other defers more.
    if more_wrong * more_answered > 1e-12:
        found["break_even"] = more_answered / more_wrong
    return found


def _cost_change(outcome: Outcome, other: Outcome, sample: Sample, costs: Costs) -> tuple[float, float, float]:
    """Change of cost from the other to the outcome for 1,000 questions, with its interval."""
    changes = outcome.wrong - other.wrong, outcome.deferred - other.deferred
    weights = costs.wrong, costs.review
    value = sum(weight * float(change.mean()) for weight, change in zip(weights, changes, strict=True))
    low, high = _cost_interval(changes, sample, costs, paired_interval)
    return PER * value, PER * low, PER * high


def _cost_interval(
    parts: tuple[Floats, Floats], sample: Sample, costs: Costs, interval: MeanInterval
) -> tuple[float, float]:
    """Of the mean cost of an item, from what is wrong and what is deferred, or from the changes of both."""
    weights = costs.wrong, costs.review

    def of_half(values: Floats, units: Numbers) -> tuple[float, float]:
        wrong, deferred = values.T
        ends = interval(wrong, units), interval(deferred, units)
        return weighted_interval((wrong, deferred), ends, weights, units)

    mean = weights[0] * parts[0] + weights[1] * parts[1]
    return _by_halves(np.column_stack(parts), sample, of_half, means=mean)


def _by_halves(
    values: Floats, sample: Sample, interval: MeanInterval, *, means: Floats | None = None
) -> tuple[float, float]:
    """Interval of a mean over both halves, each of which was answered at the threshold that the other one gave.

    Given its threshold a half is a sample like any other, and has its interval. The two are not independent: a lucky
    half also gives the other its threshold. So the distances of the ends from the two values are averaged, as if they
    moved together; by the triangle inequality no dependence is worse.

    Args:
        values: what `interval` takes, of each item.
        interval: of the mean of some items, given their units.
        means: the mean that the interval is of, item by item, where `values` are not that.
    """
    half, units = sample.first_half, sample.unit_numbers
    each = values if means is None else means
    value = float(each.mean())
    below = above = 0.0
    for some in (half, ~half):
        members = np.unique(units[some], return_inverse=True)[1]
        low, high = interval(values[some], members)
        middle, weight = float(each[some].mean()), float(some.mean())
        below, above = below + weight * (middle - low), above + weight * (high - middle)
    return value - below, value + above


def _averages(
    records: Sequence[Mapping[str, Any]], usable: Mapping[tuple[str, str, str, str, int], bool]
) -> list[dict[str, Any]]:
    """Averages over the tasks of each model; a variant or rule that lacks one of them has none."""
    found = []
    for model in dict.fromkeys(record["model"] for record in records):
        settings = {_setting(one): usable[_curve(one)] for one in records if one["model"] == model}
        wanted = averaged_settings(settings)
        if len({setting.task for setting in wanted}) < 2:
            continue
        parts: dict[tuple[str, str], dict[Setting, Mapping[str, Any]]] = {}
        for one in records:
            if one["model"] == model and _setting(one) in wanted:
                parts.setdefault((one["variant"], one["rule"]), {})[_setting(one)] = one
        for members in parts.values():
            if len(members) < len(wanted):
                continue
            first = members[wanted[0]]
            record = {**first, **dict.fromkeys(_VALUES), "task": MACRO, "scoring": "", "prompt": "", "shots": None}
            record |= {"n": sum(one["n"] for one in members.values()), "notes": []}
            for key in AVERAGED:
                record |= _averaged(key, members)
            lacking = sorted({one["task"] for one in members.values() if one["cost"] is None})
            record["notes"] += [f"no average: {', '.join(lacking)} has no value"] * bool(lacking)
            found.append(record)
    return found


def _averaged(key: str, members: Mapping[Setting, Mapping[str, Any]]) -> dict[str, float | None]:
    high = "error_bound" if key == "error" else f"{key}_high"
    mean = combined({at: Average(one[key], one[f"{key}_low"], one[high]) for at, one in members.items()})
    return {key: mean.value, f"{key}_low": mean.low, high: mean.high}


def _curve(record: Mapping[str, Any]) -> tuple[str, str, str, str, int]:
    return record["model"], record["task"], record["scoring"], record["prompt"], record["shots"]


def _setting(record: Mapping[str, Any]) -> Setting:
    return Setting(*_curve(record)[1:])


def deferral_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Records in aligned lines, a table a model and task."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for one in records:
        style = "" if one["task"] == MACRO else f" ({one['scoring']}, {one['prompt']}, {one['shots']} shots)"
        tables.setdefault(f"{one['model']} on {one['task']}{style}", []).append(one)
    header = (
        "variant",
        "rule",
        "answered",
        "error",
        "at most",
        "cost",
        "against dense",
        "keeping costs",
        "pays at ratios",
    )
    lines: list[str] = []
    for title, members in tables.items():
        first = members[0]
        about = f"wrong {first['cost_wrong']:g}, review {first['cost_review']:g}; costs of {PER:,} questions"
        rows = [header, *map(_shown, members)]
        lines += ["", f"{title}: {about}", *(f"  {line}" for line in aligned(rows))]
        lines += [f"  {one['variant']}, {one['rule']}: {note}" for one in members for note in one["notes"]]
    return lines[1:] or ["no cells"]


def _shown(one: Mapping[str, Any]) -> tuple[str, ...]:
    def said(key: str, how: Callable[[float], str]) -> str:
        return "–" if one[key] is None else how(one[key])

    return (
        *(one["variant"], one["rule"]),
        said("answered", "{:.3f}".format),
        said("error", "{:.3f}".format),
        said("error_bound", "{:.3f}".format),
        with_interval(one, "cost", "{:,.0f}"),
        with_interval(one, "cost_change", "{:+,.0f}"),
        with_interval(one, "keeping_change", "{:+,.0f}"),
        _pays(one),
    )


def _pays(one: Mapping[str, Any]) -> str:
    """Between which ratios of the costs the thresholds are cheaper than answering or reviewing everything."""
    if one["error"] is None:
        return "–"
    least, most = one["pays_from"] or 0.0, one["pays_to"]
    if most is None:
        return "–" if one["task"] == MACRO else f"from {least:.1f}"
    return f"{least:.1f} to {most:.1f}" if least < most else "never"


def with_interval(record: Mapping[str, Any], key: str, form: str) -> str:
    """A value with its interval, each in this form; a dash where there is none.

    >>> with_interval({"cost": 1200.0, "cost_low": 1000.0, "cost_high": 1400.0}, "cost", "{:,.0f}")
    '1,200 [1,000, 1,400]'
    """
    value, low, high = (record[name] for name in (key, f"{key}_low", f"{key}_high"))
    if value is None:
        return "–"
    return form.format(value) + ("" if low is None else f" [{form.format(low)}, {form.format(high)}]")
