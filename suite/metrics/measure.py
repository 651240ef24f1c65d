"""All figures of one cell on one sample of items: point values, bootstrap replicates, reasons for what is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from suite.arrays import Bools, Floats, Numbers
from suite.cell import Cell
from suite.metrics import bootstrap, calibration, conformal, proper, selective
from suite.metrics.conformal import SetScores, SplitResults
from suite.metrics.figures import FIGURES
from suite.metrics.folds import INTERVAL_SPLITS, membership
from suite.metrics.proportions import (
    independent,
    proportion_interval,
    resampled_interval,
    unseen,
    unseen_interval,
    varies,
)
from suite.metrics.sample import Sample

NO_ITEMS = "no items are left to evaluate"

TEMPERATURE_GRID = 9
_AT_ONE = np.linspace(0.0, 2e-9, 3)
"""Log temperatures where none can be fitted: all of them 1."""

AFTER_TEMPERATURE = ("nll_ts", "brier_ts", "ece_ts", "ece_ts_debiased")
"""Figures after temperature."""


LIMITS = {key: one.limits for key, one in FIGURES.items() if one.limits and math.isfinite(one.limits[1])}
"""Least and most of figures that have both. Set sizes lie between 0 and the number of options."""

COUNTED = {key: LIMITS[key] for key in ("brier", "brier_ts", "lac_coverage", "aps_coverage", "lac_transfer_coverage")}
"""Means over items that can rest on few of them, with what one item can have at least and at most: their intervals are
exact ones at the number of items that the bootstrap's spread is worth (`suite.metrics.proportions`)."""


def limits_of(key: str, options: int) -> tuple[float, float] | None:
    """Least and most that a figure, or a change of one, can be; None where it is not limited (NLL, temperature).

    >>> limits_of("lac_set_size", 4), limits_of("brier_change", 4), limits_of("nll", 4)
    ((0.0, 4.0), (-2.0, 2.0), None)
    """
    name = key.removesuffix("_change")
    limits = (0.0, float(options)) if name.endswith("set_size") else LIMITS.get(name)
    if limits is None or name == key:
        return limits
    return limits[0] - limits[1], limits[1] - limits[0]


@dataclass
class Figures:
    """What was measured.

    Attributes:
        points: value by key.
        replicates: bootstrap values by key, each of shape [replicates].
        notes: by key, why there is no value.
        centres: by key, the debiased estimate that its interval and its change against dense are based on.
        intervals: by key, an interval that takes the place of the bootstrap's.
        hidden: by key, share of items that may be exceptions though all resamples agree; under "" that of other keys.
        options: most options of an item.
        flags: what a reader must know beside the figures.
    """

    points: dict[str, float] = field(default_factory=dict)
    replicates: dict[str, Floats] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    centres: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    hidden: dict[str, float] = field(default_factory=dict)
    options: int = 0
    flags: set[str] = field(default_factory=set)


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
    if np.isfinite(replicates).any() and not varies(replicates):
        limits = limits_of(key, figures.options)
        if limits is None:
            return math.nan, math.nan, "all resamples agree, and no limit follows for what unseen items may do"
        hidden = figures.hidden.get(key, figures.hidden[""])
        value = figures.points[key] if centre is None else min(max(centre, limits[0]), limits[1])
        return *unseen_interval(value, hidden, limits), ""
    if centre is None:
        return *bootstrap.percentile_interval(replicates), "too many bootstrap replicates have no value"
    low, high = bootstrap.normal_interval(centre, replicates)
    if not key.endswith("_change"):
        low, high = max(low, 0.0), max(high, 0.0)
    return low, high, "too many bootstrap replicates have no value"


class Scored:
    """One cell on one sample: option probabilities, confidence, correctness, conformal scores."""

    def __init__(self, cell: Cell, sample: Sample) -> None:
        self.cell = cell
        self.sample = sample
        place = {item: row for row, item in enumerate(cell.ids)}
        rows = np.array([place[item] for item in sample.ids], dtype=np.intp)
        self.answers = cell.answers[rows]
        self.n_options = cell.n_options[rows]
        # As wide as the widest of these items, so that two cells on one sample have arrays of one shape.
        width = int(self.n_options.max())
        self.valid = cell.valid[rows, :width]
        self.raw = cell.scores[rows, :width]
        self.log_probabilities: Floats = cell.log_probabilities()[rows, :width]

    @property
    def published(self) -> bool:
        """Whether the protocol is that of arXiv 2401.12794."""
        return self.sample.protocol.name == "ye2024"

    @cached_property
    def probabilities(self) -> Floats:
        """Option probabilities, NaN beyond an item's own options."""
        return np.where(self.valid, np.exp(self.log_probabilities), np.nan)

    @cached_property
    def set_probabilities(self) -> Floats:
        """Probabilities that conformal sets are made from: float32 arithmetic under ``ye2024``."""
        if not self.published:
            return self.probabilities
        raw = np.where(self.valid, self.raw, -np.inf)
        if self.cell.kind == "probs":
            parts = np.where(self.valid, self.raw, np.float32(0))
        else:
            parts = np.exp(raw - raw.max(axis=1, keepdims=True))
        shares = np.asarray(parts / parts.sum(axis=1, keepdims=True))
        wide: Floats = np.where(self.valid, shares, np.nan).astype(np.float64)
        return wide

    @cached_property
    def confidence(self) -> Floats:
        """Probability of the most likely option, shape [n]."""
        return np.asarray(np.nanmax(self.probabilities, axis=1))

    @cached_property
    def correct(self) -> Floats:
        """Right or not, averaged over tied options; under ``ye2024`` the first of the tied options is the answer."""
        if self.published:
            first = np.where(self.valid, self.log_probabilities, -np.inf).argmax(axis=1)
            return np.asarray(first == self.answers, dtype=np.float64)
        return proper.fractional_correct(self.probabilities, self.answers)

    @cached_property
    def picked_correct(self) -> Bools:
        """Right or not, with ties resolved by the item's own draw: whole numbers, for counting flips."""
        if self.published:
            return np.asarray(self.correct > 0.5)
        return np.asarray(proper.picked_option(self.probabilities, draws=self.sample.tie_draws) == self.answers)

    @cached_property
    def lac(self) -> SetScores:
        """LAC scores under the protocol."""
        if self.published:
            return conformal.ye2024_lac_scores(self.set_probabilities, self.answers)
        return conformal.lac_scores(self.probabilities, self.answers)

    @cached_property
    def aps(self) -> SetScores:
        """APS scores under the protocol: randomized, or deterministic under ``ye2024``."""
        if self.published:
            return conformal.ye2024_aps_scores(self.set_probabilities, self.answers)
        return conformal.aps_scores(self.probabilities, self.answers, draws=self.sample.aps_draws)

    @cached_property
    def aps_deterministic(self) -> SetScores:
        """APS scores with the last label included."""
        if self.published:
            return self.aps
        return conformal.aps_deterministic_scores(self.probabilities, self.answers, draws=self.sample.aps_draws)

    def splits(self, scores: SetScores) -> SplitResults:
        """Conformal results on every split."""
        protocol = self.sample.protocol
        return conformal.conformal_splits(
            scores, self.answers, folds=self.sample.folds, alpha=protocol.alpha, protocol=protocol.name
        )

    @cached_property
    def lac_splits(self) -> SplitResults:
        """LAC on every split."""
        return self.splits(self.lac)

    @cached_property
    def aps_splits(self) -> SplitResults:
        """APS on every split."""
        return self.splits(self.aps)

    @cached_property
    def aps_deterministic_splits(self) -> SplitResults:
        """APS with the last label included, on every split."""
        if self.published:
            return self.aps_splits
        # its thresholds are those of the randomized scores
        options, thresholds = self.aps_deterministic.options, self.aps_splits.thresholds
        return conformal.sets_at(options, self.answers, thresholds=thresholds, folds=self.sample.folds)

    def resampled(self, scores: SetScores, splits: int = INTERVAL_SPLITS) -> bootstrap.SetReplicates:
        """Conformal results in every bootstrap replicate, averaged over the first so many splits."""
        protocol = self.sample.protocol
        return bootstrap.set_replicates(
            scores,
            self.answers,
            drawn=self.sample.drawn(splits),
            alpha=protocol.alpha,
            protocol=protocol.name,
        )

    @cached_property
    def lac_resampled(self) -> bootstrap.SetReplicates:
        """LAC in every bootstrap replicate."""
        return self.resampled(self.lac)

    def lac_under(
        self, other: Scored, members: Numbers | None = None
    ) -> tuple[SplitResults, bootstrap.SetReplicates | None]:
        """LAC sets at the thresholds of a cell on the same sample: of the tested items, or of these among them.

        Returns:
            What every split says; the bootstrap replicates of its mean, None where none were asked for.
        """
        sample, folds = self.sample, self.sample.folds
        if members is not None:  # the items that calibrate stay
            folds = replace(folds, test=tuple(np.intersect1d(fold, members) for fold in folds.test))
        options, thresholds = self.lac.options, other.lac_splits.thresholds
        result = conformal.sets_at(options, self.answers, thresholds=thresholds, folds=folds)
        if not sample.protocol.replicates:
            return result, None
        drawn = sample.drawn(INTERVAL_SPLITS)
        if members is not None:
            drawn = bootstrap.DrawnFolds(folds.first(INTERVAL_SPLITS), sample.weights)
        resampled = bootstrap.sets_at_replicates(
            options, self.answers, thresholds=other.lac_resampled.thresholds, drawn=drawn
        )
        return result, recentred(resampled, result)

    @cached_property
    def figures(self) -> Figures:
        """Every figure of this cell by itself."""
        figures, some = self.no_figures(), len(self.sample.evaluated) > 0
        if some:
            _proper(self, figures)
            _calibration(self, figures)
        else:
            figures.notes |= dict.fromkeys(("accuracy", "nll", "brier", "tie_rate"), NO_ITEMS)
        _temperature(self, figures)
        if some:
            _selective(self, figures)
        _conformal(self, figures)
        count_items(figures, self.sample)
        return figures

    def no_figures(self) -> Figures:
        """Figures to be filled, with what their intervals need to know of the sample."""
        units = self.sample.evaluated_units
        return Figures(hidden={"": unseen(independent(units))} if len(units) else {}, options=int(self.n_options.max()))


def count_items(figures: Figures, sample: Sample) -> None:
    """Give the figures of `COUNTED` their exact intervals."""
    for key, limits in COUNTED.items():
        if key in figures.points and key in figures.replicates and key not in figures.intervals:
            figures.intervals[key] = resampled_interval(
                figures.points[key], figures.replicates[key], sample.evaluated_units, limits=limits
            )


def _proper(scored: Scored, figures: Figures) -> None:
    some = scored.sample.evaluated
    correct = scored.correct[some]
    losses = proper.negative_log_likelihood(scored.log_probabilities[some], scored.answers[some])
    squares = proper.brier_score(scored.probabilities[some], scored.answers[some])
    columns = {"accuracy": correct, "brier": squares}
    if np.isinf(losses).any():
        figures.notes["nll"] = f"infinite: the right option has probability zero in {int(np.isinf(losses).sum())} items"
    else:
        columns["nll"] = losses
    for key, column in columns.items():
        figures.points[key] = float(column.mean())
    parts = proper.brier_parts(scored.probabilities[some], scored.answers[some])
    figures.points["brier_calibration"], figures.points["brier_refinement"] = parts.calibration, parts.refinement
    figures.points["tie_rate"] = float((proper.top_ties(scored.probabilities[some]) > 1).mean())
    if scored.sample.protocol.replicates:
        means = bootstrap.weighted_means(np.column_stack(list(columns.values())), scored.sample.evaluated_weights)
        figures.replicates.update(zip(columns, means, strict=True))
        figures.intervals["accuracy"] = proportion_interval(correct, scored.sample.evaluated_units)


def _calibration(scored: Scored, figures: Figures) -> None:
    some = scored.sample.evaluated
    confidence, correct = scored.confidence[some], scored.correct[some]
    diagram = calibration.reliability_bins(confidence, correct)
    figures.points.update(
        ece=calibration.expected_calibration_error(diagram),
        ace=calibration.average_calibration_error(diagram),
        mce=calibration.maximum_calibration_error(diagram),
        ece_debiased=calibration.debiased_calibration_error(diagram),
        ece_equal_mass=calibration.expected_calibration_error(
            calibration.reliability_bins(confidence, correct, equal_mass=True)
        ),
        ece_classwise=calibration.classwise_calibration_error(scored.probabilities[some], scored.answers[some]),
        confidence_gap=calibration.confidence_gap(confidence, correct),
    )
    figures.centres["ece"] = figures.points["ece_debiased"]
    if scored.sample.protocol.replicates:
        weights = scored.sample.evaluated_weights
        figures.replicates["ece"] = bootstrap.debiased_error_replicates(
            correct - confidence,
            calibration.bin_numbers(confidence, calibration.equal_width_edges()),
            deviation=calibration.bin_deviations(diagram),
            weights=weights,
        )
        figures.replicates["confidence_gap"] = bootstrap.weighted_means(confidence - correct, weights)


def _selective(scored: Scored, figures: Figures) -> None:
    some = scored.sample.evaluated
    confidence, error = scored.confidence[some], 1 - scored.correct[some]
    figures.points["aurc"] = selective.aurc(confidence, error)
    figures.points["excess_aurc"] = selective.excess_aurc(confidence, error)
    figures.points["accuracy_at_80"] = selective.accuracy_at(confidence, error)
    auroc = selective.error_auroc(confidence, error)
    if np.isnan(auroc):
        figures.notes["error_auroc"] = (
            "no wrong answer to tell apart" if error.sum() < 0.5 else "no right answer to tell apart"
        )
    else:
        figures.points["error_auroc"] = auroc
    if scored.sample.protocol.replicates:
        hidden = figures.hidden[""]
        # errors that were not seen may all be the surest answers: risk 1 up to their share, then falling
        figures.hidden["aurc"] = hidden * (1 - float(np.log(hidden)))
        # one side of each pair is the rarer kind of answer
        figures.hidden["error_auroc"] = unseen(max(min(error.sum(), (1 - error).sum()), 1.0))
        both = bootstrap.selective_replicates(confidence, error, scored.sample.evaluated_weights)
        figures.replicates["aurc"] = both.aurc
        if "error_auroc" in figures.points:
            figures.replicates["error_auroc"] = both.auroc


def _conformal(scored: Scored, figures: Figures) -> None:
    protocol = scored.sample.protocol
    results = {
        "lac": scored.lac_splits,
        "aps": scored.aps_splits,
        "aps_deterministic": scored.aps_deterministic_splits,
    }
    if np.isnan(results["lac"].mean_size):
        reason = "no split has items to test"
        for key in results:
            figures.notes[f"{key}_set_size"] = figures.notes[f"{key}_coverage"] = reason
        bands = ("lac_coverage_band_low", "lac_coverage_band_high")
        for key in ("set_size", "uacc", "lac_singleton_rate", "lac_empty_rate", *bands):
            figures.notes[key] = reason
        return
    points = figures.points
    for key, result in results.items():
        points[f"{key}_set_size"], points[f"{key}_coverage"] = result.mean_size, result.mean_coverage
    points["lac_empty_rate"], points["lac_singleton_rate"] = (float(x) for x in results["lac"].mean_distribution[:2])
    points["set_size"] = (points["lac_set_size"] + points["aps_set_size"]) / 2
    n_options = float(scored.n_options.mean())
    if "accuracy" in points and points["lac_set_size"] > 0 and points["aps_set_size"] > 0:
        sizes = (points["lac_set_size"], points["aps_set_size"])
        points["uacc"] = float(conformal.uacc(points["accuracy"], *sizes, n_options=n_options))
    else:
        figures.notes["uacc"] = "the mean set size is zero"
    usable = [i for i, fold in enumerate(scored.sample.folds.test) if len(fold)]
    calibrating = round(float(np.mean([len(scored.sample.folds.conformal[i]) for i in usable])))
    testing = round(float(np.mean([len(scored.sample.folds.test[i]) for i in usable])))
    band = conformal.coverage_band(calibrating, testing, alpha=protocol.alpha, protocol=protocol.name)
    points["lac_coverage_band_low"], points["lac_coverage_band_high"] = band
    if protocol.replicates:
        lac, aps = scored.lac_resampled, scored.resampled(scored.aps)
        for key, result in results.items():
            full_sets(figures, f"{key}_coverage", f"{key}_set_size", result)
        replicates = figures.replicates
        for key, resampled in (("lac", lac), ("aps", aps)):
            both = recentred(resampled, results[key])
            replicates[f"{key}_set_size"], replicates[f"{key}_coverage"] = both.size, both.coverage
        replicates["set_size"] = (replicates["lac_set_size"] + replicates["aps_set_size"]) / 2
        if "uacc" in points:
            resampled_sizes = (replicates["lac_set_size"], replicates["aps_set_size"])
            replicates["uacc"] = conformal.uacc(replicates["accuracy"], *resampled_sizes, n_options=n_options)


def full_sets(figures: Figures, coverage: str, size: str, results: SplitResults) -> None:
    """Sets that hold every option because the fold is too small for the quantile cover for certain."""
    if np.isneginf(results.thresholds).all():
        figures.intervals[coverage] = (1.0, 1.0)
        if np.ptp(results.size) == 0:
            figures.intervals[size] = (figures.points[size], figures.points[size])


def recentred(resampled: bootstrap.SetReplicates, results: SplitResults) -> bootstrap.SetReplicates:
    """Replicates of the first `INTERVAL_SPLITS` splits, moved onto the mean over all of them."""
    size, coverage = (recentring(per_split, INTERVAL_SPLITS) for per_split in (results.size, results.coverage))
    return replace(resampled, size=resampled.size + size, coverage=resampled.coverage + coverage)


def recentring(per_split: Floats, first: int) -> float:
    """Mean over all splits minus mean over the first ones, which is what the replicates average."""
    return conformal.mean_of_known(per_split) - conformal.mean_of_known(per_split[:first])


def _temperature(scored: Scored, figures: Figures) -> None:
    """After-temperature figures: mean over splits, fitted on one fold and evaluated on items outside it."""
    folds = scored.sample.temperature_folds
    log_p, answers = scored.log_probabilities, scored.answers
    finite = np.isfinite(log_p[np.arange(len(answers)), answers])
    usable = [i for i in range(len(folds)) if finite[folds.temperature[i]].any() and len(folds.rescaled[i])]
    if not usable:
        reason = "no split has items both to fit the temperature and to evaluate it"
        if not finite.any():
            reason = f"the right option has probability zero in all {len(finite)} items: no temperature can be fitted"
        figures.notes.update(dict.fromkeys(("temperature", *AFTER_TEMPERATURE), reason))
        return
    if not finite.all():
        figures.notes["nll_ts"] = f"infinite: the right option has probability zero in {int((~finite).sum())} items"
    fitted = {
        i: calibration.fit_temperature(log_p[folds.temperature[i]], answers[folds.temperature[i]]) for i in usable
    }
    determined = [i for i in usable if not np.isnan(fitted[i])]
    if not determined:
        figures.notes["temperature"] = "the NLL is the same at every temperature; after-temperature figures are at 1"
    usable = determined or usable
    temperatures = np.array([fitted[i] if determined else 1.0 for i in usable])
    values: dict[str, list[float]] = {key: [] for key in AFTER_TEMPERATURE}
    deviations = []
    for index, temperature in zip(usable, temperatures, strict=True):
        fold = folds.rescaled[index]
        after = _Rescaled.at(scored, temperature, fold)
        diagram = calibration.reliability_bins(after.confidence, scored.correct[fold])
        values["nll_ts"].append(float(after.nll.mean()))
        values["brier_ts"].append(float(after.brier.mean()))
        values["ece_ts"].append(calibration.expected_calibration_error(diagram))
        values["ece_ts_debiased"].append(calibration.debiased_calibration_error(diagram))
        deviations.append(calibration.bin_deviations(diagram))
    if determined:
        figures.points["temperature"] = float(np.exp(np.log(temperatures).mean()))
        if np.isclose(temperatures[:, None], calibration.TEMPERATURE_BOUNDS).any():
            figures.flags.add("temperature-at-bound")
    for key, value in values.items():
        if key not in figures.notes:
            figures.points[key] = float(np.mean(value))
    figures.centres["ece_ts"] = figures.points["ece_ts_debiased"]
    if scored.sample.protocol.replicates:
        grid = _temperature_grid(scored, folds.temperature[usable[0]], np.log(temperatures)) if determined else _AT_ONE
        replicates = _temperature_replicates(scored, usable, grid, deviations)
        drawn = np.asarray(scored.sample.temperature_drawn[usable].all(axis=0))
        for key in replicates.keys() & figures.points.keys():
            figures.replicates[key] = _without_steps(replicates[key], figures.points[key], drawn)


def _without_steps(replicates: Floats, point: float, drawn: Bools) -> Floats:
    """Replicates that differ by the grid's own small steps alone, as they do at a bound, made the value itself.

    Args:
        drawn: replicates in which every fold that fits a temperature has an item; the others have nothing to go by.
    """
    known = np.isfinite(replicates) & drawn
    if not known.any() or np.ptp(replicates[known]) > 1e-6 * abs(point):
        return replicates
    return np.where(np.isfinite(replicates), point, replicates)


@dataclass(frozen=True)
class _Rescaled:
    """Losses and confidence of some items at one temperature."""

    nll: Floats
    brier: Floats
    confidence: Floats

    @classmethod
    def at(cls, scored: Scored, temperature: float, items: Numbers) -> _Rescaled:
        log_p = calibration.rescale(scored.log_probabilities[items], temperature)
        answers = scored.answers[items]
        p = np.exp(log_p)
        return cls(proper.negative_log_likelihood(log_p, answers), proper.brier_score(p, answers), p.max(axis=1))


def _temperature_replicates(
    scored: Scored, usable: list[int], grid: Floats, deviations: list[Floats]
) -> dict[str, Floats]:
    """After-temperature figures in every replicate, the temperature fitted again in each.

    NLL, Brier and the 15 binned gaps are tabulated on a grid of log temperatures that spans what resampling can reach;
    in each replicate the weighted NLL of the temperature fold is minimized over the grid by a parabola through its
    lowest three points, and the figures are interpolated there.
    """
    sample, folds = scored.sample, scored.sample.temperature_folds
    everything = np.arange(len(sample))
    points = [_Rescaled.at(scored, float(np.exp(g)), everything) for g in grid]
    # An infinite loss is infinite at every temperature: such items say nothing about it.
    losses = np.stack([(np.where(np.isfinite(point.nll), point.nll, 0.0), point.brier) for point in points])

    def sums(items: Numbers | slice) -> Floats:
        """NLL and Brier score over some items, shape [grid, 2, replicates]."""
        weights = sample.weights[items]
        some = losses[:, :, items].reshape(-1, len(weights))
        return bootstrap.weighted_sums(some, weights).reshape(*losses.shape[:2], -1)

    # Over many of the items sums are dearer than over all less the few of the fold: those over all are made once.
    whole = sums(slice(None)) if len(usable) > 1 else None
    places, rests = [], []
    for index in usable:
        fold = sums(folds.temperature[index])
        places.append(_lowest(fold[:, 0]))
        rests.append(sums(folds.rescaled[index]) if whole is None else whole - fold)
    lefts = np.clip(np.floor(places).astype(np.intp), 0, len(grid) - 2)
    reached = np.arange(len(grid))[None, :, None]
    edges = calibration.equal_width_edges()
    gaps = bootstrap.binned_sums(
        np.stack([scored.correct - point.confidence for point in points]),
        np.stack([calibration.bin_numbers(point.confidence, edges) for point in points]),
        sample.weights,
        parts=membership([folds.rescaled[index] for index in usable], len(sample)),
        wanted=((reached == lefts[:, None]) | (reached == lefts[:, None] + 1)).any(axis=2),
        bins=calibration.BINS,
    )
    totals = {key: np.zeros(sample.protocol.replicates) for key in ("log_temperature", "nll_ts", "brier_ts", "ece_ts")}
    columns = np.arange(sample.protocol.replicates)
    for index, deviation, place, left, rest, gap in zip(usable, deviations, places, lefts, rests, gaps, strict=True):
        totals["log_temperature"] += np.interp(place, np.arange(len(grid)), grid)
        mass, share = sample.rescaled_mass[index], (place - left)[:, None]
        nll, brier = (rest[left, :, columns] * (1 - share) + rest[left + 1, :, columns] * share).T
        totals["nll_ts"] += bootstrap.ratio(nll, mass)
        totals["brier_ts"] += bootstrap.ratio(brier, mass)
        between = gap[left, :, columns] * (1 - share) + gap[left + 1, :, columns] * share
        totals["ece_ts"] += bootstrap.debiased_sums(between.T, deviation, mass)
    means = {key: total / len(usable) for key, total in totals.items()}
    means["temperature"] = np.exp(means.pop("log_temperature"))
    return means


def _temperature_grid(scored: Scored, fold: Numbers, fitted: Floats) -> Floats:
    """Log temperatures from four standard errors below the lowest fit to four above the highest."""
    step = 0.05
    centre = float(fitted.mean())
    losses = [_Rescaled.at(scored, float(np.exp(centre + shift)), fold).nll for shift in (-step, 0.0, step)]
    keep = np.isfinite(losses[1])
    below, middle, above = (loss[keep] for loss in losses)
    slope = (above - below) / (2 * step)
    curvature = float(((above + below - 2 * middle) / step**2).mean())
    error = 0.5
    if keep.any() and curvature > 1e-6:
        error = float(np.clip(slope.std() / np.sqrt(keep.sum()) / curvature, 0.01, 0.5))
    low, high = np.log(calibration.TEMPERATURE_BOUNDS)
    grid = np.linspace(fitted.min() - 4 * error, fitted.max() + 4 * error, TEMPERATURE_GRID)
    return np.asarray(np.clip(grid, low, high) + np.arange(TEMPERATURE_GRID) * 1e-9)


def _lowest(values: Floats) -> Floats:
    """Position of the minimum of each column along a grid, refined by a parabola, shape [columns]."""
    lowest = values.argmin(axis=0)
    inner = np.clip(lowest, 1, len(values) - 2)
    columns = np.arange(values.shape[1])
    before, at, after = (values[inner + shift, columns] for shift in (-1, 0, 1))
    bend = before + after - 2 * at
    shift = np.where(bend > 0, (before - after) / np.where(bend > 0, 2 * bend, 1.0), 0.0)
    return np.asarray(np.where(inner == lowest, inner + np.clip(shift, -1, 1), lowest.astype(np.float64)))
