"""Verdicts of a whole set of cells: every curve judged, corrected for its family, as records with the agreed keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics.rows import Measured
from suite.metrics.workers import in_processes
from suite.verdicts.by_size import size_places
from suite.verdicts.collapse import RULE, Curve, Finding, correct_family, judge
from suite.verdicts.curves import (
    MACRO,
    METRICS,
    PRIMARY,
    Levels,
    Place,
    average,
    collect_levels,
    incomplete_names,
    no_op_notes,
    settings_averaged,
)
from suite.verdicts.rise import Rise, describe_rise

LEAST_SIMULATIONS = 1999


@dataclass(frozen=True)
class Verdict:
    """A finding with where it belongs and the curve it is about."""

    place: Place
    metric: str
    finding: Finding
    curve: Curve | None

    def record(self) -> dict[str, object]:
        """The verdict, JSON-safe; levels by the name of their variant.

        `jump` is in units of the metric and positive when the metric gets worse.
        """
        finding, curve = self.finding, self.curve

        def name(level: int | None) -> str | None:
            return None if level is None or curve is None else curve.names[level]

        headroom = None if curve is None else curve.headroom
        rise = finding.rise or Rise()
        return {
            **{key: getattr(self.place, key) for key in ("model", "method", "family", "task")},
            "metric": self.metric,
            "verdict": finding.verdict,
            **{key: name(getattr(finding, key)) for key in ("level", "level_low", "level_high")},
            **{key: getattr(finding, key) for key in ("end_of_curve", "jump", "jump_low", "jump_high")},
            "jump_of_headroom": None if finding.jump is None or headroom is None else finding.jump / headroom,
            "p_value": finding.p,
            "p_value_raw": finding.p_raw,
            **{key: getattr(finding, key) for key in ("p_gradual", "p_gradual_raw", "minimum_detectable")},
            "axis": rise.axis or None,
            **{f"steepest_{key}": getattr(rise, key) for key in ("span", "share", "share_low", "share_high")},
            **{f"rise_{key}": getattr(rise, key) for key in ("width", "width_low", "width_high")},
            "notes": [*finding.notes, *([f"shape: {rise.note}"] if rise.note else [])],
        }


def find_verdicts(
    measured: Sequence[Measured],
    protocol: Protocol,
    *,
    family_sizes: Mapping[str, int] | None = None,
    workers: int = 1,
) -> list[Verdict]:
    """A verdict for each curve and metric, task by task and on the average over tasks.

    Args:
        measured: cells of `suite.metrics.rows.measure_cells` with the replicates of `suite.verdicts.curves.JOINT_KEYS`.
        family_sizes: primary curves of each model in the configuration that have enough levels to be judged, when more
            were planned than are here.
        workers: processes that share the work; see `suite.metrics.workers`.

    Returns:
        In the order of model (by size), family, method, task (averages last) and metric. Settings of one task (prompts,
        shots, option orders) share one verdict; where they disagree it is undetermined.
    """
    curves = collect_levels(measured, protocol)
    members = grouped(curves, lambda levels: replace(levels.place, setting=()))
    macros = grouped(curves, lambda levels: replace(levels.place, setting=(), task=MACRO))
    several = {place: group for place, group in macros.items() if len({one.place.task for one in group}) > 1}
    sizes: dict[str, int] = {}
    for model in sorted({place.model for place in members}):
        enough = [
            place
            for place, group in (*members.items(), *several.items())
            if place.model == model and max(len(one.names) + len(one.no_ops) for one in group) >= RULE.least_levels
        ]
        sizes[model] = max((family_sizes or {}).get(model, 0), len(enough))
    asked = [
        _Asked(place, metric, tuple(levels.curve(metric) for levels in members[place]), tuple(members[place]))
        for place in members
        for metric in METRICS
    ]
    chosen = settings_averaged(measured)
    for place, group in several.items():
        settings_of_model = chosen[place.model]
        lacking = incomplete_names(group, settings_of_model)
        remark = f"no average, a setting is missing: {', '.join(lacking)}" if lacking else ""
        asked += [
            _Asked(place, metric, (average(group, metric, settings_of_model),), remark=remark) for metric in METRICS
        ]
    tasks = [(curve, max(LEAST_SIMULATIONS, 100 * sizes[one.place.model] - 1)) for one in asked for curve in one.curves]
    findings = iter(in_processes(_judged, tasks, workers=workers))
    everything = [one.to_verdict([next(findings) for _ in one.curves]) for one in asked]
    result = []
    for model, size in sizes.items():
        found = [verdict for verdict in everything if verdict.place.model == model]
        primary = [verdict for verdict in found if verdict.metric == PRIMARY]
        corrected = correct_family([verdict.finding for verdict in primary], size=size)
        replaced = {id(old): replace(old, finding=new) for old, new in zip(primary, corrected, strict=True)}
        result += [replaced.get(id(verdict), verdict) for verdict in found]
    order = {metric: index for index, metric in enumerate(METRICS)}
    places = size_places(measured)
    return sorted(
        result,
        key=lambda one: (
            places[one.place.model],
            one.place.family,
            one.place.method,
            one.place.task == MACRO,
            one.place.task,
            order[one.metric],
        ),
    )


def family_size(tasks: int, methods: int) -> int:
    """Primary curves of one model: each method on each task, and on their average where there are several tasks.

    Args:
        methods: those with enough levels to be judged; others are no hypotheses.
    """
    return methods * (tasks + (1 if tasks > 1 else 0))


@dataclass(frozen=True)
class _Asked:
    """What a verdict is wanted for.

    Attributes:
        curves: one a setting of the task, or the average over tasks; None where some level has no value.
        settings: behind the curves; empty for an average.
        remark: what is said besides, or empty.
    """

    place: Place
    metric: str
    curves: tuple[Curve | None, ...]
    settings: tuple[Levels, ...] = ()
    remark: str = ""

    def to_verdict(self, findings: Sequence[Finding]) -> Verdict:
        """The verdict, from the findings of its curves."""
        finding, curve = across_settings(list(zip(findings, self.curves, strict=True)), self.settings)
        if self.remark:
            finding = replace(finding, notes=(*finding.notes, self.remark))
        finding = replace(finding, notes=(*finding.notes, *no_op_notes(self.settings)))
        return Verdict(self.place, self.metric, finding, curve)


def _judged(task: tuple[Curve | None, int]) -> Finding:
    curve, simulations = task
    found = judge(curve, simulations=simulations)
    if curve is None:
        return found
    rise = describe_rise(curve.names, curve.values, curve.replicates, level=RULE.level, least_error=curve.least_error)
    return replace(found, rise=rise)


def across_settings(
    judged: Sequence[tuple[Finding, Curve | None]], settings: Sequence[Levels]
) -> tuple[Finding, Curve | None]:
    """The verdict of several settings of one task: theirs where they agree, with the largest p; else undetermined."""
    if len(judged) == 1:
        return judged[0]
    kinds = {
        (finding.verdict, None if finding.level is None or curve is None else curve.names[finding.level])
        for finding, curve in judged
    }
    finding, curve = max(judged, key=lambda one: 1.0 if one[0].p_raw is None else one[0].p_raw)
    if len({verdict for verdict, _ in kinds}) == 1 and (finding.verdict != "threshold" or len(kinds) == 1):
        return replace(finding, notes=(*finding.notes, f"{len(judged)} settings agree")), curve
    said = "; ".join(
        f"{'/'.join(str(part) for part in levels.place.setting)}: {one.verdict}"
        for levels, (one, _) in zip(settings, judged, strict=True)
    )
    note = f"settings of the task disagree ({said})"
    return Finding("undetermined", finding.practical_minimum, p_raw=finding.p_raw, p=finding.p, notes=(note,)), curve
