"""Cells in, rows out: one flat, JSON-safe dictionary a cell.

Figures are fractions, never percent. What cannot be computed is None, with the reason under ``notes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell
from suite.errors import SuiteError
from suite.metrics import bootstrap, conformal, paired, proportions
from suite.metrics.figures import CHANGES, COMPUTED_KEYS, INTERVAL_KEYS, PAIRED_KEYS, ROW_KEYS
from suite.metrics.measure import NO_ITEMS, Figures, Scored, count_items, full_sets, limits_of, recentring
from suite.metrics.oracle import library_remarks
from suite.metrics.sample import Sample, Settings
from suite.metrics.workers import each
from suite.remarks import remarks, untouched
from suite.variant import parse_variant

Floats = NDArray[np.float64]

FLAGS = {
    "at-chance": "the dense model of this curve is not above chance (lower accuracy bound at or below it)",
    "variant-at-chance": "this variant is not above chance",
    "no-op": "the variant changed nothing: recorded as such, or scores identical to dense",
    "requantized-parent": "the parent checkpoint was itself quantized",
    "off-nominal": "measured sparsity, pattern or number of weight levels is not what the variant's name says",
    "partly-compressed": "less than 0.95 of the weights in the blocks' matrices changed, and nothing excuses the rest",
    "not-finite": "outputs of the compressed model on sample text are not finite",
    "drift": "16-bit arithmetic changed an answer among the items scored again in float32",
    "ties": "more than 1 % of items tie in the most likely option",
    "dense-missing": "there is no dense cell with the same model, task, scoring, prompt and shots",
    "unpaired-items": "some items are not in dense, or differ in answer or option count; changes leave them out",
    "small-n": "fewer than 100 items, or a conformal fold too small for a quantile at this alpha",
    "temperature-at-bound": "a fitted temperature ran into a bound: all right, or no information in confidence",
}
"""What each flag means."""

SMALL_N = 100
TIE_RATE = 0.01
TOUCHED = 0.95


def compute_rows(
    cells: Sequence[Cell],
    *,
    protocol: str = "exact",
    alpha: float = 0.1,
    splits: int = 100,
    replicates: int = 1000,
    seed: int = 0,
    workers: int = 1,
) -> list[dict[str, object]]:
    """All figures of all cells.

    Args:
        cells: in any order; a cell is compared with the dense cell of equal model, task, scoring, prompt and shots.
        protocol: ``exact`` or ``ye2024`` (see `suite.metrics.folds`).
        alpha: miscoverage of the prediction sets.
        splits: number of random splits that conformal figures are averaged over; ``ye2024`` has one.
        replicates: bootstrap replicates; 0 leaves all intervals None.
        seed: of splits, draws and bootstrap.
        workers: processes that share the work; see `suite.metrics.workers`.

    Returns:
        One dictionary a cell with the keys `ROW_KEYS`, ordered by model, task, scoring, prompt, shots and severity.

    Raises:
        SuiteError: a parameter out of range.
    """
    settings = Settings(protocol, alpha, splits, replicates, seed)
    return [measured.row for measured in measure_cells(cells, settings, workers=workers)]


def measure_cells(
    cells: Sequence[Cell],
    settings: Settings,
    *,
    keep: Collection[str] = (),
    summarize: Callable[[Scored], object] | None = None,
    workers: int = 1,
) -> list[Measured]:
    """The rows of `compute_rows` with the numbers behind them.

    Args:
        keep: keys whose values and bootstrap replicates are wanted.
        summarize: called once a cell with everything that its row was made from, while that is in memory; what it
            returns is kept as `Measured.summary`.
        workers: processes that share the work; see `suite.metrics.workers`.
    """
    curves: dict[tuple[str, str, str, str, int], list[Cell]] = {}
    for cell in cells:
        curve = curves.setdefault(cell.curve_key, [])
        twin = next((other for other in curve if other.variant["name"] == cell.variant["name"]), None)
        if twin is not None:
            # which of two would be compared with dense, or be dense, is a matter of chance
            name = "/".join(str(part) for part in (*cell.curve_key, cell.variant["name"]))
            raise SuiteError(f"two cells are {name}: {twin.where} and {cell.where}; measure one run at a time")
        curve.append(cell)
    tasks = [sorted(curves[key], key=_severity) for key in sorted(curves)]
    measure = partial(_measure_curve, settings=settings, keep=tuple(keep), summarize=summarize)
    results = each(measure, tasks, workers=workers)
    return [
        Measured(cell, *found)
        for task, curve in zip(tasks, results, strict=True)
        for cell, found in zip(task, curve, strict=True)
    ]


@dataclass(frozen=True)
class Measured:
    """A cell's row, and for some keys the numbers behind its intervals.

    Attributes:
        cell, row: the cell and its row.
        values: point value by key; the debiased one where intervals are based on that.
        replicates: bootstrap values by key, shape [replicates]; cells of one curve with the same items share the
            resampled items, so differences are paired.
        summary: what `measure_cells` was asked to keep besides.
        correct: right or not, of each evaluated item, in an order that cells of one curve with the same items share.
        units: number of the unit of each of these items.
    """

    cell: Cell
    row: dict[str, object]
    values: dict[str, float]
    replicates: dict[str, Floats]
    summary: object = None
    correct: Floats = field(default_factory=lambda: np.empty(0))
    units: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of the row."""
        flags = self.row["flags"]
        assert isinstance(flags, list)
        return tuple(flags)


def score_cell(cell: Cell, settings: Settings) -> Scored:
    """One cell on all of its items, for whoever needs more than its row."""
    return _Samples(settings).scored(cell)


class _Samples:
    """The last few samples, so that cells with the same items share folds and weights."""

    def __init__(self, settings: Settings, *, keep: int = 2) -> None:
        self.settings = settings
        self._keep = keep
        self._kept: dict[tuple[tuple[str, ...], tuple[str, ...]], Sample] = {}

    def scored(self, cell: Cell, chosen: NDArray[np.intp] | None = None) -> Scored:
        """The cell on all of its items, or on the chosen ones.

        Under ``exact`` items are put in the order of their ids, so that the order of a file changes nothing; under
        ``ye2024`` the order of the file decides the split.
        """
        rows = np.arange(len(cell)) if chosen is None else chosen
        if self.settings.protocol == "exact":
            rows = rows[np.argsort(np.array(cell.ids, dtype=object)[rows], kind="stable")]
        units = cell.units
        key = (tuple(cell.ids[row] for row in rows), tuple(units[row] for row in rows))
        if key not in self._kept:
            # a task whose demonstrations were never scored says which items the published protocol leaves out besides
            self._kept[key] = Sample(*key, self.settings, cell.task.get("dropped_ids"))
        sample = self._kept[key] = self._kept.pop(key)  # last used, last out
        while len(self._kept) > self._keep:
            del self._kept[next(iter(self._kept))]
        return Scored(cell, rows, sample)


_Found = tuple[dict[str, object], dict[str, float], dict[str, Floats], object, Floats, NDArray[np.intp]]
"""A `Measured` without its cell, which need not travel back from another process."""


def _measure_curve(
    cells: list[Cell], *, settings: Settings, keep: Collection[str], summarize: Callable[[Scored], object] | None
) -> list[_Found]:
    samples = _Samples(settings)
    dense = next((cell for cell in cells if cell.variant["name"] == "dense"), None)
    dense_scored = None if dense is None else samples.scored(dense)
    at_chance = False
    result: list[_Found] = []
    for cell in cells:
        scored = dense_scored if cell is dense and dense_scored is not None else samples.scored(cell)
        row = _row(cell, scored)
        for library, remark in library_remarks(scored).items():
            _note(row, library, remark)
        figures = [scored.figures]
        flags = _flags(cell, scored, row)
        if cell is not dense and _at_chance(row):
            flags.append("variant-at-chance")
        if cell is dense:
            at_chance = _at_chance(row)
            _no_change(row)
        elif dense is None or dense_scored is None:
            flags.append("dense-missing")
            _leave_out(row, PAIRED_KEYS, "there is no dense cell with the same model, task, scoring, prompt and shots")
            row["n_paired"] = 0
        else:
            more, paired_figures = _compare(row, scored, dense_scored, samples)
            flags += more
            figures.append(paired_figures)
        if at_chance:
            flags.append("at-chance")
        row["flags"] = [flag for flag in FLAGS if flag in flags]
        for key in COMPUTED_KEYS:
            if key not in row:
                row[key] = None
                _note(row, key, "no value on these items" if len(scored.sample.evaluated) else NO_ITEMS)
        values, replicates = _kept(figures, keep)
        summary = None if summarize is None else summarize(scored)
        sample = scored.sample
        items = scored.correct[sample.evaluated], sample.evaluated_units
        result.append(({key: row.get(key) for key in ROW_KEYS}, values, replicates, summary, *items))
    return result


def _kept(figures: Sequence[Figures], keep: Collection[str]) -> tuple[dict[str, float], dict[str, Floats]]:
    values, replicates = {}, {}
    for part in figures:
        for key in keep:
            if key in part.points and key in part.replicates:
                values[key] = part.centres.get(key, part.points[key])
                replicates[key] = part.replicates[key]
    return values, replicates


def _row(cell: Cell, scored: Scored) -> dict[str, object]:
    settings = scored.sample.settings
    model, task, scoring, prompt, shots = cell.curve_key
    family, method = _family(cell)
    params = _number(cell.model.get("params"))
    row: dict[str, object] = {
        "model": model,
        "variant": str(cell.variant["name"]),
        "family": family,
        "method": method,
        "task": task,
        "scoring": scoring,
        "prompt": prompt,
        "shots": shots,
        "chat_template": str(cell.task.get("chat_template") or "raw"),
        "protocol": settings.protocol,
        "alpha": settings.alpha,
        "n": len(cell),
        "n_evaluated": len(scored.sample.evaluated),
        "params_b": None if params is None else params / 1e9,
        "kind": cell.kind,
        "notes": dict(remarks(cell)),
    }
    for key in ("bits_per_weight", "megabytes", "sparsity", "relative_weight_error", "share_touched"):
        row[key] = _number(cell.variant.get(key))
    for key in ("params_b", "bits_per_weight", "megabytes", "sparsity", "relative_weight_error", "share_touched"):
        if row[key] is None:
            dense = key == "share_touched" and cell.variant["name"] == "dense"
            _note(row, key, "this is the dense model" if dense else "not recorded in the cell")
    drift = cell.run.get("drift")
    for key, name in (("drift_largest", "largest"), ("drift_changed_answers", "changed_answers")):
        row[key] = _number(drift.get(name)) if isinstance(drift, Mapping) else None
        if row[key] is None:
            _note(row, key, "not compared with float32")
    row["chance_accuracy"] = float((1 / cell.n_options).mean())
    row["set_size_chance"] = float((1 - settings.alpha) * cell.n_options.mean())
    _fill(row, scored.figures)
    return row


def _fill(row: dict[str, object], figures: Figures) -> None:
    for key, value in figures.points.items():
        _put(row, key, value, figures)
    for key, reason in figures.notes.items():
        row[key] = None
        _note(row, key, reason)
        if key in INTERVAL_KEYS:
            row[f"{key}_low"] = row[f"{key}_high"] = None


def _put(row: dict[str, object], key: str, value: float, figures: Figures) -> None:
    if not math.isfinite(value):
        row[key] = None
        _note(row, key, "not finite")
        return
    row[key] = value
    if key not in INTERVAL_KEYS:
        return
    low, high, reason = interval_of(figures, key)
    known = math.isfinite(low) and math.isfinite(high)
    row[f"{key}_low"], row[f"{key}_high"] = (low, high) if known else (None, None)
    if not known:
        _note(row, f"{key}_low", reason)


def interval_of(figures: Figures, key: str) -> tuple[float, float, str]:
    """The 95 % interval of a figure, NaN where there is none, with the reason.

    In this order: an exact one; where every resample says the same, what unseen exceptions could make of it, within the
    limits of the figure; around a debiased estimate, the normal one; percentiles of the bootstrap.
    """
    replicates, centre = figures.replicates.get(key), figures.centres.get(key)
    if replicates is None:
        return math.nan, math.nan, "no bootstrap replicates were asked for"
    if key in figures.intervals:
        return *figures.intervals[key], "too many bootstrap replicates have no value"
    if np.isfinite(replicates).any() and not proportions.varies(replicates):
        limits = limits_of(key, figures.options)
        if limits is None:
            return math.nan, math.nan, "all resamples agree, and no limit follows for what unseen items may do"
        hidden = figures.hidden.get(key, figures.hidden[""])
        value = figures.points[key] if centre is None else min(max(centre, limits[0]), limits[1])
        return *proportions.unseen_interval(value, hidden, limits), ""
    if centre is None:
        return *bootstrap.percentile_interval(replicates), "too many bootstrap replicates have no value"
    low, high = bootstrap.normal_interval(centre, replicates)
    if not key.endswith("_change"):
        low, high = max(low, 0.0), max(high, 0.0)
    return low, high, "too many bootstrap replicates have no value"


def _note(row: dict[str, object], key: str, reason: str) -> None:
    notes = row["notes"]
    assert isinstance(notes, dict)
    notes[key] = reason


def _leave_out(row: dict[str, object], keys: Iterable[str], reason: str) -> None:
    for key in keys:
        row[key] = None
        if key in INTERVAL_KEYS:
            row[f"{key}_low"] = row[f"{key}_high"] = None
        _note(row, key, reason)


def _no_change(row: dict[str, object]) -> None:
    _leave_out(row, PAIRED_KEYS, "this is the dense model")
    row["n_paired"] = row["n"]


def _flags(cell: Cell, scored: Scored, row: dict[str, object]) -> list[str]:
    flags = []
    if cell.variant.get("no_op") is True:
        flags.append("no-op")
    if cell.model.get("parent_quantization"):
        flags.append("requantized-parent")
    if cell.variant.get("off_nominal") is True:
        flags.append("off-nominal")
    if _partly_compressed(cell):
        flags.append("partly-compressed")
    if any("not finite" in str(note) for note in cell.variant.get("notes") or ()):
        flags.append("not-finite")
    changed = row.get("drift_changed_answers")
    if isinstance(changed, float) and changed > 0:
        flags.append("drift")
    tie_rate = row.get("tie_rate")
    if isinstance(tie_rate, float) and tie_rate > TIE_RATE:
        flags.append("ties")
    smallest = min(len(fold) for fold in scored.sample.folds.conformal)
    too_small = float(conformal.quantile_rank(smallest, alpha=scored.sample.settings.alpha)) > smallest
    if len(cell) < SMALL_N or too_small:
        flags.append("small-n")
    return flags + sorted(scored.figures.flags)


def _partly_compressed(cell: Cell) -> bool:
    """Whether too much of the model stayed as it was without a reason; never where the cell does not know."""
    share = _number(cell.variant.get("share_touched"))
    if share is None:
        return False
    excused = [_number(entry.get("share")) or 0.0 for entry in untouched(cell) if entry.get("reason")]
    return share + sum(excused) < TOUCHED


def _at_chance(row: dict[str, object]) -> bool:
    """Whether accuracy is not clearly above chance: its lower bound, or without intervals the value itself."""
    low = row.get("accuracy_low")
    bound = low if low is not None else row.get("accuracy")
    chance = row["chance_accuracy"]
    assert isinstance(chance, float)
    return isinstance(bound, float) and bound <= chance


def _compare(row: dict[str, object], scored: Scored, dense: Scored, samples: _Samples) -> tuple[list[str], Figures]:
    """Fill in the figures against dense; returns flags and figures."""
    cell, parent = scored.cell, dense.cell
    shared = _shared_items(cell, parent)
    row["n_paired"] = len(shared)
    flags = [] if len(shared) == len(cell) == len(parent) else ["unpaired-items"]
    if len(shared) == 0:
        _leave_out(row, PAIRED_KEYS, "no item is shared with dense with equal answer and number of options")
        return flags, Figures()
    if flags or dense.sample.ids != scored.sample.ids or dense.sample.units != scored.sample.units:
        scored = samples.scored(cell, shared)
        dense = Scored(parent, _rows_of(parent, scored.sample.ids), scored.sample)
    if np.array_equal(dense.raw, scored.raw, equal_nan=True):
        flags.append("no-op")
    figures = scored.no_figures()
    _divergences(figures, scored, dense)
    _changes(figures, scored, dense)
    _transfer(figures, scored, dense)
    count_items(figures, scored.sample)
    _fill(row, figures)
    return flags, figures


def _shared_items(cell: Cell, dense: Cell) -> NDArray[np.intp]:
    """Rows of the cell whose item dense has too: equal id, answer and number of options."""
    place = {item: row for row, item in enumerate(dense.ids)}
    pairs = [(row, place[item]) for row, item in enumerate(cell.ids) if item in place]
    ours, theirs = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    same = (cell.answers[ours] == dense.answers[theirs]) & (cell.n_options[ours] == dense.n_options[theirs])
    return np.asarray(ours[same])


def _rows_of(cell: Cell, ids: Sequence[str]) -> NDArray[np.intp]:
    place = {item: row for row, item in enumerate(cell.ids)}
    return np.array([place[item] for item in ids], dtype=np.intp)


def _divergences(figures: Figures, scored: Scored, dense: Scored) -> None:
    some = scored.sample.evaluated
    replicated = bool(scored.sample.settings.replicates)
    if len(some) == 0:
        for key in ("flips_to_wrong", "flips_to_right", "mcnemar_p", "kl", "js", "confidence_correlation"):
            figures.notes[key] = NO_ITEMS
        return
    to_wrong, to_right = paired.flips(dense.picked_correct[some], scored.picked_correct[some])
    figures.points["flips_to_wrong"], figures.points["flips_to_right"] = to_wrong / len(some), to_right / len(some)
    figures.points["mcnemar_p"] = paired.mcnemar_p(to_wrong, to_right)
    ours, theirs = scored.log_probabilities[some], dense.log_probabilities[some]
    for key, divergence in (("kl", paired.kl_divergence(theirs, ours)), ("js", paired.js_divergence(theirs, ours))):
        if np.isinf(divergence).any():
            count = int(np.isinf(divergence).sum())
            figures.notes[key] = f"infinite: an option possible under dense has probability zero in {count} items"
            continue
        figures.points[key] = float(divergence.mean())
        if replicated:
            figures.replicates[key] = bootstrap.weighted_means(divergence, scored.sample.evaluated_weights)
    correlation = paired.rank_correlation(dense.confidence[some], scored.confidence[some])
    if math.isnan(correlation):
        figures.notes["confidence_correlation"] = "the confidence is the same for all items"
    else:
        figures.points["confidence_correlation"] = correlation


def _changes(figures: Figures, scored: Scored, dense: Scored) -> None:
    ours, theirs = scored.figures, dense.figures
    for key in CHANGES:
        change = f"{key}_change"
        if key not in ours.points or key not in theirs.points:
            reason = ours.notes.get(key) or f"dense: {theirs.notes.get(key)}"
            figures.notes[change] = figures.notes[f"{change}_detectable"] = reason
            continue
        if key in ours.centres and key in theirs.centres:
            figures.points[change] = figures.centres[change] = ours.centres[key] - theirs.centres[key]
        else:
            figures.points[change] = ours.points[key] - theirs.points[key]
        if key not in ours.replicates:
            figures.notes[f"{change}_detectable"] = "no bootstrap replicates were asked for"
            continue
        figures.replicates[change] = ours.replicates[key] - theirs.replicates[key]
        if key == "accuracy":
            some = scored.sample.evaluated
            difference = scored.correct[some] - dense.correct[some]
            figures.intervals[change] = proportions.paired_interval(difference, scored.sample.evaluated_units)
        elif key in ours.hidden and key in theirs.hidden:
            figures.hidden[change] = max(ours.hidden[key], theirs.hidden[key])
        figures.points[f"{change}_detectable"] = paired.minimum_detectable(_standard_error(figures, change))


def _standard_error(figures: Figures, key: str) -> float:
    """Spread of the replicates; where the interval is not made of them, what that interval says it is."""
    usable = figures.replicates[key][np.isfinite(figures.replicates[key])]
    if key in figures.intervals or (len(usable) and not proportions.varies(usable)):
        low, high, _ = interval_of(figures, key)
        return (high - low) / 2 / proportions.NORMAL
    return float(usable.std(ddof=1)) if len(usable) > 1 else math.nan


def _transfer(figures: Figures, scored: Scored, dense: Scored) -> None:
    """The dense model's threshold on the variant's sets: what happens when nobody recalibrates."""
    sample, settings = scored.sample, scored.sample.settings
    thresholds = dense.lac_splits.thresholds
    result = conformal.sets_at(scored.lac.options, scored.answers, thresholds=thresholds, folds=sample.folds)
    keys = ("lac_transfer_coverage", "lac_transfer_set_size")
    if math.isnan(result.mean_size):
        for key in (*keys, "lac_transfer_undercoverage_p"):
            figures.notes[key] = "no split has items to test"
        return
    figures.points["lac_transfer_coverage"] = result.mean_coverage
    figures.points["lac_transfer_set_size"] = result.mean_size
    p_values = [
        conformal.undercoverage_p(
            round(result.coverage[split] * len(test)),
            len(test),
            n_calibration=len(fold),
            alpha=settings.alpha,
            protocol=settings.protocol,
        )
        for split, (fold, test) in enumerate(zip(sample.folds.conformal, sample.folds.test, strict=True))
        if len(test)
    ]
    figures.points["lac_transfer_undercoverage_p"] = paired.undercoverage_over_splits(np.array(p_values))
    if settings.replicates:
        resampled = bootstrap.sets_at_replicates(
            scored.lac.options,
            scored.answers,
            thresholds=dense.lac_resampled.thresholds,
            folds=sample.interval_folds,
            weights=sample.weights,
        )
        first = len(sample.interval_folds)
        figures.replicates["lac_transfer_coverage"] = resampled.coverage + recentring(result.coverage, first)
        figures.replicates["lac_transfer_set_size"] = resampled.size + recentring(result.size, first)
        full_sets(figures, "lac_transfer_coverage", "lac_transfer_set_size", result)


def _family(cell: Cell) -> tuple[str, str]:
    """Family and method: as the name says, else as the file says, else unknown."""
    try:
        variant = parse_variant(str(cell.variant["name"]))
    except SuiteError:
        return str(cell.variant.get("family") or "unknown"), str(cell.variant.get("method") or cell.variant["name"])
    return variant.family, variant.method


def _severity(cell: Cell) -> tuple[bool, tuple[float, float, float], str]:
    name = str(cell.variant["name"])
    try:
        return False, parse_variant(name).severity, name
    except SuiteError:
        return True, (0.0, 0.0, 0.0), name


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
