"""Coverage under task shift: the conformal threshold of one task used on another, dense against variants.

Split conformal prediction promises coverage for items like those that gave the threshold. Whoever calibrates on one
task and serves another has no such promise; the question is how much further a compressed model falls than dense.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.decisions.deferral import with_interval
from suite.errors import SuiteError
from suite.metrics import bootstrap, conformal
from suite.metrics.average import Setting, independent, unperturbed
from suite.metrics.compare import on_shared_items
from suite.metrics.folds import Folds
from suite.metrics.measure import Scored
from suite.metrics.proportions import resampled_interval
from suite.metrics.rows import curves_of
from suite.metrics.sample import Samples
from suite.tables import aligned

SHOWN = (
    *("model", "source", "target", "variant", "n_target", "coverage", "coverage_low", "coverage_high"),
    *("coverage_change", "coverage_change_low", "coverage_change_high"),
    *("set_size", "set_size_low", "set_size_high", "set_size_change", "set_size_change_low", "set_size_change_high"),
)
"""Columns of the table in a pipe."""


@dataclass(frozen=True)
class _Threshold:
    """Of all items of one task.

    Attributes:
        value: shape [1].
        replicates: of one split, in the task's own order.
    """

    value: Floats
    replicates: bootstrap.Thresholds


@dataclass(frozen=True)
class _Sets:
    """Coverage and size of the sets of one task under the threshold of another, with replicates."""

    coverage: float
    size: float
    coverages: Floats
    sizes: Floats


def find_shifts(cells: Sequence[Cell], protocol: Protocol) -> list[dict[str, Any]]:
    """LAC sets of each task at the threshold of each other task that was scored in the same way.

    Args:
        protocol: its alpha, seed and number of replicates.

    Returns:
        One record a model, variant and ordered pair of tasks of equal scoring and shots (and of equal prompt, where
        both were asked with it). ``coverage`` and ``set_size`` on ``target`` at the threshold of all items of
        ``source``; ``undercoverage_p``: how often exchangeable items would cover so little;
        ``coverage_change``, ``set_size_change``: less those of dense at dense's threshold of the same task, on the same
        items. Intervals resample the items of both tasks. Tasks and noise are chosen as in averages.

    Raises:
        SuiteError: two cells of one name; without bootstrap replicates there are no intervals.
    """
    if protocol.replicates < 2:
        raise SuiteError(f"replicates {protocol.replicates}: coverage under task shift needs intervals, use 1000")
    rules = replace(protocol, name="exact")
    records: list[dict[str, Any]] = []
    for model in sorted({cell.key.model for cell in cells}):
        curves = curves_of([cell for cell in cells if cell.key.model == model])
        found = {(Setting(*cell.key[1:5]), cell.key.variant): cell for curve in curves for cell in curve}
        settings = unperturbed(setting for setting, _ in found)
        pairs = [(a, b) for a in settings for b in settings if _comparable(a, b, settings)]
        used = {setting for pair in pairs for setting in pair}
        done = {
            at: _Side.of(at, cell, found.get((at[0], "dense")), rules) for at, cell in found.items() if at[0] in used
        }
        for source, target in pairs:
            for variant in dict.fromkeys(variant for setting, variant in done if setting == source):
                if (target, variant) in done:
                    records.append(_record(model, variant, source, target, done, rules))
    return records


def _comparable(source: Setting, target: Setting, settings: Sequence[Setting]) -> bool:
    if source.task == target.task or (source.scoring, source.shots) != (target.scoring, target.shots):
        return False
    return source.prompt == target.prompt or not (
        replace(source, prompt=target.prompt) in settings or replace(target, prompt=source.prompt) in settings
    )


@dataclass(frozen=True)
class _Side:
    """A cell and its dense on the items that both have, each with the threshold of these items."""

    scored: Scored
    dense: Scored | None
    threshold: _Threshold
    dense_threshold: _Threshold | None

    @classmethod
    def of(cls, at: tuple[Setting, str], cell: Cell, dense: Cell | None, protocol: Protocol) -> _Side:
        samples = Samples(protocol)
        scored = Scored(cell, samples.of(cell))
        both = None if dense is None else on_shared_items(scored, Scored(dense, samples.of(dense)), samples)
        ours, theirs = (scored, None) if both is None else both
        seed = zlib.crc32(at[0].task.encode())
        return cls(ours, theirs, _threshold(ours, seed), None if theirs is None else _threshold(theirs, seed))


def _threshold(scored: Scored, seed: int) -> _Threshold:
    protocol, everything = scored.sample.protocol, np.arange(len(scored.sample))
    value = conformal.conformal_threshold(scored.lac.calibration, alpha=protocol.alpha)
    replicates = bootstrap.threshold_replicates(
        scored.lac.calibration,
        drawn=bootstrap.DrawnFolds(Folds((), (), (everything,), (everything,)), scored.sample.weights),
        alpha=protocol.alpha,
    )
    return _Threshold(np.array([value]), replace(replicates, taken=independent(replicates.taken, seed)))


def _sets(scored: Scored, threshold: _Threshold) -> _Sets:
    everything = np.arange(len(scored.sample))
    folds = Folds((), (), (everything,), (everything,))
    options, answers = scored.lac.options, scored.answers
    point = conformal.sets_at(options, answers, thresholds=threshold.value, folds=folds)
    resampled = bootstrap.sets_at_replicates(
        options, answers, thresholds=threshold.replicates, drawn=bootstrap.DrawnFolds(folds, scored.sample.weights)
    )
    return _Sets(point.mean_coverage, point.mean_size, resampled.coverage, resampled.size)


def _record(
    model: str,
    variant: str,
    source: Setting,
    target: Setting,
    done: Mapping[tuple[Setting, str], _Side],
    protocol: Protocol,
) -> dict[str, Any]:
    giving, serving = done[source, variant], done[target, variant]
    ours = _sets(serving.scored, giving.threshold)
    units = serving.scored.sample.unit_numbers
    options = float(serving.scored.n_options.max())
    n_source, n_target = len(giving.scored.sample), len(serving.scored.sample)
    record: dict[str, Any] = {
        **{"model": model, "variant": variant, "source": source.task, "target": target.task},
        **{"scoring": target.scoring, "prompt_source": source.prompt, "prompt_target": target.prompt},
        **{"shots": target.shots, "alpha": protocol.alpha, "n_source": n_source, "n_target": n_target},
        **_interval("coverage", ours.coverage, ours.coverages, units, 1.0, 0.0),
        **_interval("set_size", ours.size, ours.sizes, units, options, 0.0),
        "undercoverage_p": conformal.undercoverage_p(
            round(ours.coverage * n_target), n_target, n_calibration=n_source, alpha=protocol.alpha
        ),
    }
    changes = [f"{key}{end}" for key in ("coverage_change", "set_size_change") for end in ("", "_low", "_high")]
    record |= dict.fromkeys(changes) | {"notes": []}
    given, usual = (float(np.median(side.scored.n_options)) for side in (giving, serving))
    if given != usual:
        record["notes"].append(f"items have {given:g} and {usual:g} options: one threshold means another thing on each")
    if variant == "dense":
        record["notes"].append("this is the dense model")
    elif serving.dense is None or giving.dense_threshold is None:
        record["notes"].append("there is no dense cell with the same items on both tasks: no change")
    else:
        theirs = _sets(serving.dense, giving.dense_threshold)
        for key, change, changed, most in (
            ("coverage_change", ours.coverage - theirs.coverage, ours.coverages - theirs.coverages, 1.0),
            ("set_size_change", ours.size - theirs.size, ours.sizes - theirs.sizes, options),
        ):
            record |= _interval(key, change, changed, units, most, -most)
    return record


def _interval(
    key: str, value: float, replicates: Floats, units: Numbers, most: float, least: float
) -> dict[str, float | None]:
    low, high = resampled_interval(value, replicates, units, limits=(least, most))
    ends = (low, high) if np.isfinite(low) else (None, None)
    return {key: value, f"{key}_low": ends[0], f"{key}_high": ends[1]}


def shift_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Records in aligned lines, a table a model and pair of tasks."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for one in records:
        title = f"{one['model']}: threshold of {one['source']} on {one['target']}, wanted {1 - one['alpha']:g}"
        tables.setdefault(title, []).append(one)
    header = ("variant", "coverage", "against dense", "set size", "against dense")
    lines: list[str] = []
    for title, members in tables.items():
        rows = [
            (
                one["variant"],
                with_interval(one, "coverage", "{:.3f}"),
                with_interval(one, "coverage_change", "{:+.3f}"),
                with_interval(one, "set_size", "{:.2f}"),
                with_interval(one, "set_size_change", "{:+.2f}"),
            )
            for one in members
        ]
        lines += ["", title, *(f"  {line}" for line in aligned([header, *rows]))]
        said = dict.fromkeys(note for one in members for note in one["notes"] if one["variant"] != "dense")
        lines += [f"  {note}" for note in said]
    return lines[1:] or ["no two tasks were scored in the same way with equally many shots"]
