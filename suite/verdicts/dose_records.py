"""Doses of a whole set of cells: every curve, task by task and on the average over tasks, as records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import pairwise
from operator import itemgetter

import numpy as np

from suite.arrays import Floats
from suite.cell import Cell, CellKey
from suite.config import Protocol, RunConfig, protocol_of
from suite.errors import SuiteError, unknown_name
from suite.grouped import grouped
from suite.metrics.at_chance import AT_CHANCE
from suite.metrics.average import Setting, averaged, by_task, unperturbed
from suite.metrics.bootstrap import unit_weights, weighted_means
from suite.metrics.figures import FIGURES
from suite.metrics.folds import CONFORMAL_SHARE
from suite.metrics.measure import AFTER_TEMPERATURE
from suite.metrics.replicates import Store
from suite.metrics.rows import Measured
from suite.metrics.workers import in_processes
from suite.variant import curve_title, is_repeat, parse_variant
from suite.verdicts.axis import nominal_amounts
from suite.verdicts.by_size import size_places
from suite.verdicts.curves import (
    MACRO,
    Levels,
    by_method,
    collect_levels,
    no_op_notes,
    settings_averaged,
    sign_of,
    task_title,
)
from suite.verdicts.dose import (
    CONFIDENCE,
    TOLERANCES,
    Answers,
    Band,
    Dose,
    Ladder,
    check_confidence,
    check_tolerances,
    find_doses,
    kept_everywhere,
    lost_somewhere,
    without_values,
)
from suite.verdicts.given import Given
from suite.verdicts.noise_floor import Floor, noise_floor
from suite.verdicts.recipe_scope import CHECKPOINT, RECIPE
from suite.verdicts.repeats import find_repeats, reads_text


@dataclass(frozen=True)
class Measure:
    """How a metric becomes a loss.

    Attributes:
        key: figure whose values and replicates are read of compressed cells.
        dense: the one that is read of dense cells, where it is another.
        name: for readers, where the figure's title says too little.
    """

    key: str
    dense: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """For readers."""
        return self.name or FIGURES[self.key].title

    def read(self, *, dense: bool) -> str:
        """The figure that is read of a cell."""
        return self.dense if dense and self.dense else self.key

    @property
    def sign(self) -> int:
        """+1 where higher is worse, -1 where lower is."""
        return sign_of(self.key)

    def of_blind_guess(self, cell: Cell, protocol: Protocol) -> tuple[float, Floats]:
        """Mean value of a blind guess on a cell's items, turned so that higher is worse, and that of each replicate."""
        each = self.sign * AT_CHANCE[self.key](cell.n_options.astype(np.float64), protocol.alpha)
        drawn = _resampled(tuple(each.tolist()), cell.units, protocol.replicates, protocol.seed)
        return float(each.mean()), drawn


MEASURES: dict[str, Measure] = {
    "brier_ts": Measure("brier_ts"),
    "set_size": Measure("set_size"),
    "accuracy": Measure("accuracy"),
    "nll_ts": Measure("nll_ts"),
    "lac_transfer_coverage": Measure(
        "lac_transfer_set_size",
        dense="lac_set_size",
        name="coverage and set size under dense's threshold",
    ),
}
"""Metrics that have doses, first the one that leads where a configuration names none. Coverage under dense's threshold
never stands without its size."""


def primary_measure(config: RunConfig | None) -> str:
    """The metric that leads: the one that the configuration names, else the first of `MEASURES`."""
    return config.primary.metric if config and config.primary else next(iter(MEASURES))


JOINT_KEYS = (*(key for one in MEASURES.values() for key in (one.read(dense=True), one.key)), "lac_coverage")
JOINT_KEYS = tuple(dict.fromkeys((*JOINT_KEYS, "lac_transfer_coverage")))
"""Keys whose joint replicates doses need."""

SET_SIZES = ("set_size", "lac_transfer_coverage")
"""Measures in options: averaged over tasks only where these have equally many."""


def threshold_freedom(units: int, alpha: float) -> int:
    """Degrees of freedom of what rests on a conformal threshold: the calibrating items beyond it, a share alpha.

    >>> threshold_freedom(100, 0.1), threshold_freedom(1000, 0.1)
    (4, 40)
    """
    return max(1, round(alpha * CONFORMAL_SHARE * units))


def find_dose_records(
    cells: Sequence[Cell],
    config: RunConfig | None = None,
    *,
    metrics: Sequence[str] = (),
    tolerances: Sequence[float] = (),
    confidence: float = CONFIDENCE,
    store: Store | None = None,
) -> list[dict[str, object]]:
    """Measure cells and say `doses_of` them.

    Args:
        cells: of one run.
        config: as run; None for the default protocol.
        metrics: keys of `MEASURES`; none for all.
        tolerances: shares of the headroom; none for those of the configuration's `primary`, else `TOLERANCES`.
        confidence: of each side.
        store: where measurements are kept (`suite.metrics.replicates`).

    Raises:
        SuiteError: an unknown metric, or a number out of range.
    """
    check_confidence(confidence)
    check_tolerances(tolerances)
    check_metrics(metrics)
    if protocol_of(config).replicates == 0:
        raise SuiteError("replicates 0 in the configuration: doses need bootstrap replicates; use 1000")
    given = Given.of(cells, config, keep=JOINT_KEYS, store=store)
    return doses_of(given, metrics=metrics, tolerances=tolerances, confidence=confidence)


def doses_of(
    given: Given, *, metrics: Sequence[str] = (), tolerances: Sequence[float] = (), confidence: float = CONFIDENCE
) -> list[dict[str, object]]:
    """Records of every curve, JSON-safe: by model (size), method, task (average last),
    metric, scope (the recipe's second, where levels have several seeds) and tolerance.

    Args:
        given: cells of one run, with the replicates of `JOINT_KEYS`.
        metrics, tolerances, confidence: see `find_dose_records`.
    """
    primary = given.config.primary if given.config else None
    shares = check_tolerances(tolerances or (primary.tolerances if primary else TOLERANCES))
    repeats = [one for one in given.every if is_repeat(one.cell.key.variant)]
    measured = given.measured
    places = size_places(measured)
    curves = [scoped for one in _curves(measured, given.protocol) for scoped in _with_repeats(one, repeats)]
    records = partial(_records, metrics=tuple(metrics or MEASURES), shares=shares, confidence=confidence)
    found = [one for curve in in_processes(records, curves, workers=given.workers) for one in curve]
    order = {metric: index for index, metric in enumerate(MEASURES)}
    return sorted(
        found,
        key=lambda one: (
            places[str(one["model"])],
            str(one["method"]),
            one["task"] == MACRO,
            str(one["task"]),
            order[str(one["metric"])],
        ),
    )


def pair_ladder(settings: Mapping[Setting, Levels], metric: str, protocol: Protocol) -> Ladder:
    """One compressed cell a setting beside its dense one, as doses read them: on the mean over tasks.

    Set sizes of tasks with different numbers of options are averaged as shares of the options.

    Args:
        settings: of each, dense and the compressed cell on the same items, with the replicates of `JOINT_KEYS`.
        metric: a key of `MEASURES`.

    Raises:
        NoValueError: one of the cells has no value.
    """
    first = next(iter(settings.values()))
    curve = _Curve(first.place.model, "", "", (first.names[-1],), settings, protocol)
    ladders = curve.ladders(metric)
    options = {setting: float(levels.points[0].cell.n_options.mean()) for setting, levels in settings.items()}
    if metric in SET_SIZES and len(set(options.values())) > 1:
        ladders = {setting: _scaled(ladder, 1 / options[setting]) for setting, ladder in ladders.items()}
    return _averaged(ladders)


def _scaled(ladder: Ladder, factor: float) -> Ladder:
    return replace(
        ladder,
        values=factor * ladder.values,
        replicates=factor * ladder.replicates,
        chance=factor * ladder.chance,
        chance_replicates=factor * ladder.chance_replicates,
        draws=tuple(factor * one for one in ladder.draws),
    )


@dataclass(frozen=True)
class CurveName:
    """Which curve a ladder is of: model, method, task (`MACRO` for the average), and its compressed levels."""

    model: str
    method: str
    task: str
    names: tuple[str, ...]


def ladders_of(given: Given, metrics: Sequence[str]) -> list[tuple[CurveName, dict[str, Ladder]]]:
    """The ladders that `doses_of` tests, of every curve that has all of these metrics; checkpoints, no recipes.

    Args:
        metrics: keys of `MEASURES`.
    """
    found = []
    for curve in _curves(given.measured, given.protocol):
        try:
            if curve.nothing:
                continue
            ladders = {metric: _averaged(curve.ladders(metric)) for metric in metrics}
        except NoValueError:
            continue
        found.append((CurveName(curve.model, curve.method, curve.task, curve.names), ladders))
    return found


def check_metrics(metrics: Sequence[str]) -> Sequence[str]:
    """The metrics, as given.

    Raises:
        SuiteError: one has no dose.
    """
    for metric in metrics:
        if metric not in MEASURES:
            raise unknown_name("metric", metric, MEASURES)
    return metrics


def _records(
    curve: _Curve, *, metrics: Sequence[str], shares: Sequence[float], confidence: float
) -> list[dict[str, object]]:
    return [one for metric in metrics for one in curve.records(metric, shares, confidence)]


@dataclass(frozen=True)
class _Curve:
    """One curve on one task, or on the average over tasks.

    Attributes:
        names: its compressed levels.
        settings: the cells of each setting that goes in; empty where nothing can be said.
        tied: the levels have no order.
        notes: for every record.
        nothing: why nothing can be said.
        nulls: by setting and name, the cells of dense computed otherwise.
        seeds: for the recipe's scope, by setting and level the cells with other seeds of the sample text.
    """

    model: str
    method: str
    task: str
    names: tuple[str, ...]
    settings: Mapping[Setting, Levels]
    rules: Protocol
    tied: bool = False
    notes: tuple[str, ...] = ()
    nothing: str = ""
    nulls: Mapping[Setting, Mapping[str, Measured]] = field(default_factory=dict)
    seeds: Mapping[Setting, Mapping[str, Sequence[Measured]]] = field(default_factory=dict)

    def records(self, metric: str, shares: Sequence[float], confidence: float) -> list[dict[str, object]]:
        """One record a tolerance."""
        tasks: list[Ladder] = []
        floor = Floor(None)
        try:
            if self.nothing:
                raise NoValueError(self.nothing)
            if self.task == MACRO and metric in SET_SIZES:
                self._check_options()
            ladders = self.ladders(metric)
            floor = self._floor(metric, self.settings, shares[0], confidence)
            whole = _above_noise(_averaged(ladders), floor)
            doses = find_doses(whole, tolerances=shares, confidence=confidence, tied=self.tied)
            for part in grouped(ladders, lambda at: at.task).values() if self.task == MACRO else ():
                alone = _averaged({setting: ladders[setting] for setting in part})
                tasks.append(_above_noise(alone, self._floor(metric, part, shares[0], confidence)))
        except NoValueError as error:
            doses = without_values(self.names, shares, str(error))
        result = []
        for share, dose in doses.items():
            everywhere = somewhere = None
            if tasks:
                everywhere, somewhere = (
                    found(tasks, tolerance=share, confidence=confidence, tied=self.tied)
                    for found in (kept_everywhere, lost_somewhere)
                )
            record = self._record(metric, share, dose, everywhere, somewhere)
            known = floor.loss is not None and np.isfinite(floor.loss)
            result.append(record | {"floor": floor.loss if known else None, "notes": [*said(record), *floor.notes]})
        return result

    def _floor(self, metric: str, settings: Iterable[Setting], smallest: float, confidence: float) -> Floor:
        """Of the null variants that are in each of these settings and have the metric."""
        chosen = {setting: self.nulls.get(setting, {}) for setting in settings}
        ladders: dict[str, Ladder] = {}
        notes: list[str] = []
        for name in next(iter(chosen.values()), {}):
            if all(name in nulls for nulls in chosen.values()):
                pairs = {one: self.settings[one].with_points([nulls[name]]) for one, nulls in chosen.items()}
                try:
                    ladders[name] = _averaged(replace(self, names=(name,), settings=pairs, seeds={}).ladders(metric))
                except NoValueError as error:
                    notes.append(f"not in the noise floor: {error}")
        found = noise_floor(ladders, smallest=smallest, confidence=confidence)
        lacking = any(self.nulls.values()) and not ladders
        if lacking and not notes:
            notes.append("floor not known: a task lacks dense computed otherwise")
        return replace(found, notes=(*found.notes, *notes))

    def _record(
        self, metric: str, share: float, dose: Dose, everywhere: str | None, somewhere: str | None
    ) -> dict[str, object]:
        return {
            "model": self.model,
            "method": self.method,
            "task": self.task,
            "metric": metric,
            "tolerance": share,
            "kept_through": dose.kept_through,
            "lost_from": dose.lost_from,
            "not_known": [level.variant for level in dose.levels if level.state == "not_known"],
            "items_to_decide": {
                level.variant: level.items_to_decide for level in dose.levels if level.items_to_decide is not None
            },
            "dose": dose.dose,
            **{f"dose_{end}": getattr(dose, end) for end in ("low", "high", "bound")},
            "levels": [
                {key: getattr(level, key) for key in ("variant", "loss", "low", "high", "state", "holm")}
                for level in dose.levels
            ],
            "kept_on_every_task": everywhere,
            "lost_on_a_task": somewhere,
            "floor": None,
            "scope": RECIPE if self.seeds else CHECKPOINT,
            "notes": [*dose.notes, *self.notes],
        }

    def _check_options(self) -> None:
        options = {float(levels.points[0].cell.n_options.mean()) for levels in self.settings.values()}
        if len(options) > 1:
            raise NoValueError("tasks differ in their number of options: set sizes are not averaged over them")

    def ladders(self, metric: str) -> dict[Setting, Ladder]:
        """What is tested of a metric, setting by setting.

        Raises:
            NoValueError: a level has no value.
        """
        return {setting: self._ladder(levels, metric) for setting, levels in self.settings.items()}

    def _ladder(self, levels: Levels, metric: str) -> Ladder:
        measure, dense = MEASURES[metric], levels.points[0]
        points = [dense, *(point for point in levels.points[1:] if point.cell.key.variant in self.names)]
        seeds = self.seeds.get(levels.setting, {})
        draws = [(point, *seeds.get(point.cell.key.variant, ())) for point in points]
        columns = [_columns(one, measure.read(dense=not place)) for place, one in enumerate(draws)]
        chance, chance_replicates = measure.of_blind_guess(dense.cell, self.rules)
        amounts, unit = nominal_amounts(self.names)
        units = len(set(dense.cell.units))
        band = None
        if metric == "lac_transfer_coverage":
            both = [_columns(one, metric if place else "lac_coverage") for place, one in enumerate(draws)]
            band = Band(
                np.array([one.value for one in both]),
                np.stack([one.replicates for one in both]),
                draws=tuple(one.draws for one in both) if seeds else (),
            )
        return Ladder(
            names=("dense", *self.names),
            values=measure.sign * np.array([one.value for one in columns]),
            replicates=measure.sign * np.stack([one.replicates for one in columns]),
            chance=chance,
            chance_replicates=chance_replicates,
            independent=units,
            freedom=threshold_freedom(units, self.rules.alpha) if metric in SET_SIZES else 0,
            amounts=None if amounts is None or self.tied else np.r_[np.nan, amounts],
            unit=unit,
            answers=_answers(points) if metric == "accuracy" and not seeds else (),
            band=band,
            draws=tuple(measure.sign * one.draws for one in columns) if seeds else (),
            refitted=metric in AFTER_TEMPERATURE,
        )


@lru_cache(maxsize=256)
def _resampled(values: tuple[float, ...], units: tuple[str, ...], count: int, seed: int) -> Floats:
    """The mean of item values in each replicate; kept, for all methods of a model share it."""
    each = np.array(values)
    if np.ptp(each) == 0:
        return np.full(count, each.mean())
    return weighted_means(each, unit_weights(units, replicates=count, seed=seed))


class NoValueError(Exception):
    """Why nothing can be said of a curve."""


def _column(point: Measured, key: str) -> tuple[float, Floats]:
    if key not in point.values:
        notes = point.row["notes"]
        reason = notes.get(key) if isinstance(notes, dict) else None
        raise NoValueError(f"{point.cell.variant['name']} has no {key}: {reason or 'no value'}")
    return point.values[key], point.replicates[key]


@dataclass(frozen=True)
class _Columns:
    """The mean over the draws of a level: its value, its replicates, and the value of each draw."""

    value: float
    replicates: Floats
    draws: Floats


def _columns(points: Sequence[Measured], key: str) -> _Columns:
    found = [_column(point, key) for point in points]
    draws = np.array([value for value, _ in found])
    return _Columns(float(draws.mean()), np.mean([column for _, column in found], axis=0), draws)


def _with_repeats(curve: _Curve, repeats: Sequence[Measured]) -> list[_Curve]:
    """The curve with what is known of noise, and the curve of its recipe where levels have several seeds."""
    found = find_repeats(curve.settings, repeats)
    seeds = next(iter(found.seeds.values()), {})
    several = tuple(name for name in curve.names if name in seeds)
    plain = replace(curve, nulls=found.nulls, notes=(*curve.notes, *found.notes))
    notes = []
    if alone := [name for name in curve.names if name not in several and reads_text(name)]:
        which = f" ({', '.join(alone)})" if several else ""
        notes.append(f"this checkpoint: no other seeds of the sample text{which}")
    if not several:
        return [replace(plain, notes=(*plain.notes, *notes))]
    counts = "/".join(str(count) for count in sorted({len(seeds[name]) + 1 for name in several}))
    said = [f"the recipe: mean over {counts} seeds of the sample text, with the error of another draw"]
    if rest := [name for name in curve.names if name not in several]:
        said.append(f"left out, one seed: {', '.join(rest)}")
    notes.append(f"this checkpoint: the recipe, with other seeds, has its own record ({', '.join(several)})")
    return [
        replace(plain, notes=(*plain.notes, *notes)),
        replace(plain, names=several, seeds=found.seeds, notes=(*plain.notes, *said)),
    ]


def _above_noise(ladder: Ladder, floor: Floor) -> Ladder:
    band = None if ladder.band is None else replace(ladder.band, noise=floor.coverage)
    return replace(ladder, floor=floor.loss or 0.0, band=band)


def _answers(points: Sequence[Measured]) -> tuple[Answers, ...]:
    dense = points[0]
    return (Answers(np.stack([one.correct for one in points]), dense.chance, dense.units),)


def _averaged(ladders: Mapping[Setting, Ladder]) -> Ladder:
    """The mean over tasks of the means over their settings; items of different tasks are independent."""
    first = next(iter(ladders.values()))
    if len(ladders) == 1:
        return first
    tasks = list(by_task(ladders).values())
    bands = {setting: one.band for setting, one in ladders.items() if one.band is not None}
    several = len(tasks) > 1
    band = first.band and Band(
        averaged(bands, lambda one: one.values),
        averaged(bands, lambda one: one.replicates, apart=several),
        draws=_averaged_draws({setting: one.draws for setting, one in bands.items()}),
    )
    return replace(
        first,
        values=averaged(ladders, lambda one: one.values),
        replicates=averaged(ladders, lambda one: one.replicates, apart=several),
        chance=float(np.mean([np.mean([one.chance for one in part]) for part in tasks])),
        chance_replicates=averaged(ladders, lambda one: one.chance_replicates, apart=several),
        independent=sum(min(one.independent for one in part) for part in tasks),
        freedom=sum(min(one.freedom for one in part) for part in tasks),
        answers=_averaged_answers(tasks),
        band=band,
        draws=_averaged_draws({setting: one.draws for setting, one in ladders.items()}),
    )


def _averaged_draws(draws: Mapping[Setting, tuple[Floats, ...]]) -> tuple[Floats, ...]:
    """Level by level: one draw of sample text makes one checkpoint, which all tasks see."""
    levels = len(next(iter(draws.values())))
    return tuple(averaged(draws, itemgetter(level)) for level in range(levels))


def _averaged_answers(tasks: Sequence[Sequence[Ladder]]) -> tuple[Answers, ...]:
    """Item by item over the settings of a task; none where these have other items, and resampling must do."""
    result = []
    for part in tasks:
        answers = [one for ladder in part for one in ladder.answers]
        if not answers or any(not np.array_equal(one.units, answers[0].units) for one in answers):
            return ()
        result.append(replace(answers[0], correct=np.mean([one.correct for one in answers], axis=0)))
    return tuple(result)


def split_order(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The variants of one curve that stand in one order, and those that do not.

    Two of one nominal value have no order between them; levels that differ in several numbers have one only where none
    of these falls while another rises.

    >>> split_order(["rtn-w8", "rtn-w4"])
    (['rtn-w8', 'rtn-w4'], [])
    >>> split_order(["gguf-q8_0", "gguf-q4_0", "gguf-q4_k_m"])
    (['gguf-q8_0'], ['gguf-q4_0', 'gguf-q4_k_m'])
    """
    try:
        severity = {name: parse_variant(name).severity for name in names}
    except SuiteError:
        return ([], list(names)) if len(names) > 1 else (list(names), [])
    tied = [name for name in names if list(severity.values()).count(severity[name]) > 1]
    ordered = [name for name in names if name not in tied]
    steps = [np.subtract(severity[after], severity[before]) for before, after in pairwise(ordered)]
    if any((step < -1e-12).any() for step in steps):
        return [], list(names)
    return ordered, tied


def _curves(measured: Sequence[Measured], protocol: Protocol) -> list[_Curve]:
    everything = collect_levels(measured, protocol, keep=JOINT_KEYS, strangers=True)
    items = {one.cell.key: len(one.cell) for one in measured}
    chosen = settings_averaged(measured)
    result = []
    methods = grouped(everything, lambda levels: (levels.place.model, levels.place.family, levels.place.method))
    for (model, family, method), members in methods.items():
        title = curve_title(family, method)
        asked = grouped(members, lambda levels: levels.place.task)
        for task, part in asked.items():
            wanted = unperturbed(levels.setting for levels in part)
            result += _of(model, title, task, [one for one in part if one.setting in wanted], protocol, items)
        if len(asked) > 1:
            wanted = chosen.get(model, [])
            part = [one for one in members if one.setting in wanted]
            if {one.setting for one in part} == set(wanted) and part:
                result += _of(model, title, MACRO, part, protocol, items)
            else:
                names = tuple(dict.fromkeys(name for one in members for name in one.names[1:]))
                why = "a task that goes into the average lacks this method" if part else "dense is above chance nowhere"
                result.append(_Curve(model, title, MACRO, names, {}, protocol, nothing=why))
    return result + _without_dense(measured, protocol)


def _of(
    model: str,
    title: str,
    task: str,
    members: Sequence[Levels],
    protocol: Protocol,
    items: Mapping[CellKey, int],
) -> list[_Curve]:
    first = members[0]
    names = [name for name in first.names[1:] if all(name in one.names for one in members)]
    notes = no_op_notes(members)
    known = {*names, *(name for one in members for name in one.no_ops)}
    missing = [name for name in dict.fromkeys(n for one in members for n in one.names[1:]) if name not in known]
    if missing:
        notes.append(f"left out, not in every setting: {', '.join(missing)}")
    for one in members:
        shared = len(one.points[0].cell)
        if any(items[point.cell.key] != shared for point in one.points):
            notes.append(f"other items between levels: measured on the {shared} that all share ({one.place.task})")
    if len({one.setting for one in members}) > len({one.setting.task for one in members}):
        notes.append(f"mean over {len(members)} settings")
    by_setting = {one.setting: one for one in members}
    if not names:
        return []
    ordered, tied = split_order(names)
    result = []
    if ordered:
        result.append(_Curve(model, title, task, tuple(ordered), by_setting, protocol, notes=tuple(notes)))
    for name in tied:
        note = "no order: another level has the same nominal value, or a number falls while another rises; stands alone"
        result.append(_Curve(model, name, task, (name,), by_setting, protocol, tied=True, notes=(*notes, note)))
    return result


def _without_dense(measured: Sequence[Measured], protocol: Protocol) -> list[_Curve]:
    result = []
    for (model, task, *_), members in grouped(measured, lambda one: one.cell.curve_key).items():
        if any(one.cell.is_dense for one in members):
            continue
        for (family, method), points in by_method(members, strangers=True).items():
            names = tuple(point.cell.key.variant for point in points)
            why = "there is no dense cell with the same model, task, scoring, prompt and shots"
            result.append(_Curve(model, curve_title(family, method), task, names, {}, protocol, nothing=why))
    return result


def levels(record: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The levels of a record."""
    found = record.get("levels")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def said(record: Mapping[str, object]) -> list[str]:
    """The notes of a record."""
    found = record.get("notes")
    return [str(note) for note in found] if isinstance(found, list | tuple) else []


def beyond(record: Mapping[str, object]) -> dict[str, str]:
    """Ends of a dose's interval that lie off the tested levels, by key: ``{"dose_low": "< 20 percent zeros"}``."""
    return {match[1]: match[2] for note in said(record) if (match := re.match(r"(dose_low|dose_high) ([<>] .+)", note))}


def reasons(record: Mapping[str, object]) -> list[str]:
    """The notes of a record that do not belong to its dose."""
    return [note for note in said(record) if not note.startswith(("dose_low", "dose_high"))]


def dose_lines(records: Iterable[Mapping[str, object]]) -> list[str]:
    """A plain table a curve: one line a level, what is known of it at each tolerance."""
    curves = grouped(records, itemgetter("metric", "model", "method", "task", "scope"))
    if not curves:
        return ["no curve: no dense cell with a compressed variant beside it"]
    lines = []
    for (metric, model, method, task, scope), members in curves.items():
        shares = [float(str(member["tolerance"])) for member in members]
        lines.append(f"{model}, {method}, {task_title(str(task))}: {MEASURES[str(metric)].title}")
        first, last = members[0], members[-1]
        kept, lost = first["kept_through"] or "no level", last["lost_from"] or "no level"
        lines.append(f"  kept through {kept} at {shares[0]:g}, lost from {lost} at {shares[-1]:g} (this {scope})")
        if isinstance(first["floor"], float):
            lines.append(f"  noise floor {first['floor']:.3f}: worse and lost must exceed it")
        if first["kept_on_every_task"] or last["lost_on_a_task"]:
            everywhere, somewhere = first["kept_on_every_task"] or "no level", last["lost_on_a_task"] or "no level"
            lines.append(f"  kept on every task through {everywhere}; lost on a task at least from {somewhere}")
        by_share = [levels(member) for member in members]
        width = max([len(str(level["variant"])) for level in by_share[0]] + [5])
        header = "".join(f"{f'at {share:g}':>11}" for share in shares)
        lines.append(f"  {'level':<{width}}  {'loss':>7} {'low':>7} {'high':>7}{header}")
        for place, level in enumerate(by_share[0]):
            numbers = " ".join(_shown(level[key], end) for key, end in (("loss", ""), ("low", "<"), ("high", ">")))
            states = "".join(f"{str(one[place]['state']).replace('_', ' '):>11}" for one in by_share)
            lines.append(f"  {level['variant']!s:<{width}}  {numbers}{states}")
        for member, share in zip(members, shares, strict=True):
            wanted = member["items_to_decide"]
            assert isinstance(wanted, Mapping)
            said = [f"dose at {share:g}: {_dose(member)}"] if member["dose"] is not None or member["dose_bound"] else []
            said += [f"{name} {n if isinstance(n, str) else f'needs {n} items'}" for name, n in wanted.items()]
            if said:
                lines.append(f"  {'; '.join(said)}")
        for note in dict.fromkeys(note for member in members for note in reasons(member)):
            lines.append(f"  note: {note}")
        lines.append("")
    return lines[:-1]


TABLE = ("model", "method", "task", "metric", "scope", "tolerance")


def dose_table(records: Iterable[Mapping[str, object]]) -> tuple[tuple[str, ...], list[dict[str, object]]]:
    """One row a curve, tolerance and level: the columns, and the rows by column.

    ``needs`` is how many items would decide what is not known.
    """
    rows = []
    for record in records:
        wanted = record["items_to_decide"]
        assert isinstance(wanted, Mapping)
        about = {key: record[key] for key in TABLE} | {"tolerance": f"{record['tolerance']:g}"}
        notes = "; ".join(reasons(record)) or None
        for level in levels(record):
            numbers = {key: level[key] for key in _OF_LEVEL}
            needs = wanted.get(level["variant"])
            rows.append({**about, "level": level["variant"], **numbers, "needs": needs, "notes": notes})
    return (*TABLE, "level", *_OF_LEVEL, "needs", "notes"), rows


_OF_LEVEL = ("loss", "low", "high", "state")


def _dose(record: Mapping[str, object]) -> str:
    off = beyond(record)
    value = record["dose_bound"] or f"{record['dose']:.3g}"
    low, high = (
        f"{record[key]:.3g}" if record[key] is not None else off.get(key, "not known")
        for key in ("dose_low", "dose_high")
    )
    return f"{value} [{low}, {high}]"


def _shown(value: object, end: str) -> str:
    return f"{value:7.3f}" if isinstance(value, float) else f"{end + ' ?' if end else '-':>7}"
