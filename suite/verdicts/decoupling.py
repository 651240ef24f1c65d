"""Accuracy and uncertainty, do they move together? Each variant against dense, judged against an accuracy-matched null.

The null is what uncertainty would do if the variant were the dense model with noise of its own: independent Gaussian
noise on the dense model's log probabilities, as much as it takes to lose the accuracy that the variant lost. Larger
prediction sets that merely follow lower accuracy are therefore no decoupling; what is left, the *excess*, is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell
from suite.config import Protocol
from suite.metrics import bootstrap, conformal, proper, proportions
from suite.metrics.folds import Folds, item_draws
from suite.metrics.measure import Scored
from suite.metrics.rows import Measured, score_cell
from suite.metrics.workers import in_processes
from suite.verdicts.collapse import RULE, Z_LEVEL, Z_POWER, Rule
from suite.verdicts.curves import METRICS, PRIMARY

Floats = NDArray[np.float64]

COUPLINGS = {
    "coupled": "uncertainty moved as the change of accuracy says it should",
    "silent uncertainty loss": "accuracy is equivalent to dense, uncertainty is worse than that explains",
    "silent accuracy loss": "accuracy is lost, uncertainty does not show it",
    "improved": "uncertainty is better than dense at no loss of accuracy",
    "undetermined": "not enough items to tell",
}

ACCURACY_MARGIN = 0.02
"""Changes of accuracy within this are equivalence (two one-sided tests at level 0.05)."""

ONE_SIDED = 0.90
"""Level of the two-sided interval whose ends are one-sided bounds at 0.95."""

NOISE_COPIES, NULL_SPLITS = 3, 10
NOISE_GRID = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)
"""Noise in units of the dense model's typical spread of log probabilities within an item."""


@dataclass(frozen=True)
class NoiseCurve:
    """Accuracy and set size of a dense model under rising noise of its own.

    Attributes:
        accuracy, set_size: point values, shape [noise levels].
        accuracy_replicates, set_size_replicates: in each bootstrap replicate, shape [noise levels, replicates].
    """

    accuracy: Floats
    set_size: Floats
    accuracy_replicates: Floats
    set_size_replicates: Floats

    def change_at(self, loss: float) -> float:
        """Change of set size after losing so much accuracy to noise; 0 for no loss.

        >>> curve = NoiseCurve(np.array([0.8, 0.6]), np.array([1.5, 2.5]), np.empty((2, 0)), np.empty((2, 0)))
        >>> round(curve.change_at(0.1), 3)
        0.5
        """
        return float(_change_at(self.accuracy[:, None], self.set_size[:, None], np.array([loss]))[0])

    def replicated_change_at(self, losses: Floats) -> Floats:
        """The same in each bootstrap replicate, shape [replicates]."""
        return _change_at(self.accuracy_replicates, self.set_size_replicates, losses)


def _change_at(accuracy: Floats, size: Floats, loss: Floats) -> Floats:
    """Interpolate the change of size at a loss of accuracy, column by column; both made monotone in the noise first."""
    lost = np.maximum.accumulate(accuracy[0] - accuracy, axis=0)
    grown = np.maximum.accumulate(size - size[0], axis=0)
    place = np.clip((lost < loss).sum(axis=0), 1, len(lost) - 1)
    columns = np.arange(lost.shape[1])
    below, above = lost[place - 1, columns], lost[place, columns]
    share = np.clip((loss - below) / np.where(above > below, above - below, 1.0), 0.0, 1.0)
    start, stop = grown[place - 1, columns], grown[place, columns]
    return np.asarray(np.where(loss <= 0, 0.0, start + share * (stop - start)))


def noise_curve(dense: Scored) -> NoiseCurve:
    """Add noise to the dense model's log probabilities and measure accuracy and set size (mean of LAC and APS).

    The noise follows from the item ids, so neither order nor variant changes it; three copies are averaged.
    """
    sample = dense.sample
    folds = sample.folds.first(NULL_SPLITS)
    finite = np.isfinite(dense.log_probabilities)
    scores = np.where(finite, dense.log_probabilities, 0.0)
    centre = scores.sum(axis=1, keepdims=True) / finite.sum(axis=1, keepdims=True)
    spread = np.sqrt((np.where(finite, scores - centre, 0.0) ** 2).sum(axis=1) / finite.sum(axis=1))
    unit = max(float(np.median(spread)), 1e-6)
    points = np.zeros((2, len(NOISE_GRID)))
    replicates = np.zeros((2, len(NOISE_GRID), sample.protocol.replicates))
    points[:, 0], replicates[:, 0] = _accuracy_and_size(dense, dense.probabilities, folds)
    for copy in range(NOISE_COPIES):
        shocks = _normal_draws(sample.ids, scores.shape[1], copy)
        for level, amount in enumerate(NOISE_GRID[1:], 1):
            noisy = np.where(finite, scores + amount * unit * shocks, -np.inf)
            shifted = np.exp(noisy - noisy.max(axis=1, keepdims=True))
            p = np.where(dense.valid, shifted / shifted.sum(axis=1, keepdims=True), np.nan)
            point, resampled = _accuracy_and_size(dense, p, folds)
            points[:, level] += point / NOISE_COPIES
            replicates[:, level] += resampled / NOISE_COPIES
    return NoiseCurve(points[0], points[1], replicates[0], replicates[1])


def _accuracy_and_size(dense: Scored, p: Floats, folds: Folds) -> tuple[Floats, Floats]:
    sample, answers = dense.sample, dense.answers
    protocol = sample.protocol
    correct = proper.fractional_correct(p, answers)
    both = [conformal.lac_scores(p, answers), conformal.aps_scores(p, answers, draws=sample.aps_draws)]
    sizes, resampled = [], []
    for scores in both:
        split = conformal.conformal_splits(scores, answers, folds=folds, alpha=protocol.alpha)
        sizes.append(split.mean_size)
        resampled.append(
            bootstrap.set_replicates(scores, answers, folds=folds, weights=sample.weights, alpha=protocol.alpha).size
        )
    means = bootstrap.weighted_means(correct, sample.weights)
    return np.array([correct.mean(), np.mean(sizes)]), np.stack([means, np.mean(resampled, axis=0)])


def _normal_draws(ids: Sequence[str], options: int, copy: int) -> Floats:
    from scipy.special import ndtri

    columns = [item_draws(ids, purpose=f"matched-null-{copy}-{option}") for option in range(options)]
    return np.asarray(ndtri(np.clip(np.column_stack(columns), 1e-12, 1 - 1e-12)))


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, and its standard error.

    Attributes:
        one_sided: bounds that each hold at level 0.95, for tests of equivalence; None where they are those of a normal
            estimate.
    """

    value: float
    low: float
    high: float
    error: float
    one_sided: tuple[float, float] | None = None

    @classmethod
    def of(cls, value: float, replicates: Floats, *, units: NDArray[np.intp], most: float) -> Estimate:
        """From a point value and bootstrap replicates.

        Args:
            units: number of the unit of each item.
            most: how far one item can change, for replicates that all agree.
        """
        if proportions.varies(replicates):
            low, high = bootstrap.percentile_interval(replicates)
            return cls(value, low, high, float(np.nanstd(replicates, ddof=1)))
        worth = proportions.independent(units)
        (low, high), one_sided = (
            proportions.unseen_interval(value, proportions.unseen(worth, level=level), (-most, most))
            for level in (proportions.LEVEL, ONE_SIDED)
        )
        return cls(value, low, high, (high - low) / 2 / proportions.NORMAL, one_sided)

    @classmethod
    def paired(cls, value: float, replicates: Floats, *, changes: Floats, units: NDArray[np.intp]) -> Estimate:
        """Of a proportion, from the change of each item: no flip seen is not none to come.

        The standard error is that of the replicates, which shrinks with the number of items as the truth does; without
        a flip the interval stands in for it.
        """
        low, high = proportions.paired_interval(changes, units)
        one_sided = proportions.paired_interval(changes, units, level=ONE_SIDED)
        spread = float(np.nanstd(replicates, ddof=1)) if proportions.varies(replicates) else 0.0
        return cls(value, low, high, spread or (high - low) / 2 / proportions.NORMAL, one_sided)

    @property
    def bounds(self) -> tuple[float, float]:
        """One-sided bounds at level 0.95, below and above."""
        return self.one_sided or (self.value - Z_LEVEL * self.error, self.value + Z_LEVEL * self.error)

    def within(self, margin: float) -> bool:
        """Two one-sided tests at level 0.05: is the truth within plus and minus the margin?"""
        low, high = self.bounds
        return -margin < low and high < margin


@dataclass(frozen=True)
class Coupling:
    """How one variant's uncertainty moved against its accuracy.

    Attributes:
        verdict: a key of `COUPLINGS`.
        accuracy_change, set_size_change: variant minus dense.
        matched_change: change of set size that the loss of accuracy explains.
        excess: change of set size less the matched one.
        headroom: set size from dense to chance.
        margin: practical minimum of set size.
        items_needed: how many items would decide, where undetermined.
    """

    verdict: str
    accuracy_change: Estimate
    set_size_change: Estimate
    matched_change: float
    excess: Estimate
    headroom: float
    margin: float
    items_needed: int | None = None
    notes: tuple[str, ...] = ()


def couple(
    accuracy: tuple[Estimate, float],
    size: Estimate,
    excess: tuple[Estimate, float],
    *,
    headroom: float,
    items: int,
    rule: Rule = RULE,
) -> Coupling:
    """The rule.

    * *silent uncertainty loss*: accuracy equivalent to dense; set size up (two-sided, 95 %) by the practical minimum
      or more; excess above zero.
    * *silent accuracy loss*: accuracy down (two-sided) by the margin or more; set size equivalent; excess below zero.
    * *improved*: set size down by the practical minimum or more (two-sided); accuracy not lower by the margin.
    * *coupled*: excess equivalent to zero.

    Args:
        accuracy: change of accuracy and its margin.
        size: change of set size.
        excess: excess, and the change that accuracy explains.
    """
    change, accuracy_margin = accuracy
    beyond, matched = excess
    margin = max(METRICS[PRIMARY].minimum, rule.practical_of_headroom * max(headroom, 0.0))
    equivalent = change.within(accuracy_margin)
    not_worse = change.bounds[0] > -accuracy_margin
    needed: int | None = None
    notes: tuple[str, ...] = ()
    if equivalent and size.low > 0 and size.value >= margin and beyond.low > 0:
        verdict = "silent uncertainty loss"
    elif change.high < 0 and change.value <= -accuracy_margin and size.within(margin) and beyond.high < 0:
        verdict = "silent accuracy loss"
    elif not_worse and size.high < 0 and size.value <= -margin:
        verdict = "improved"
    elif beyond.within(margin):
        verdict = "coupled"
    else:
        verdict = "undetermined"
        factor = (Z_LEVEL + Z_POWER) ** 2
        decide = {"accuracy": (change.error / accuracy_margin) ** 2, "set size": (beyond.error / margin) ** 2}
        name = max(decide, key=lambda key: decide[key])
        needed = math.ceil(items * factor * decide[name])
        notes = (f"about {needed:,} items would decide ({name} within its margin, if the truth is in its middle)",)
    return Coupling(verdict, change, size, matched, beyond, headroom, margin, needed, notes)


def find_couplings(
    measured: Sequence[Measured], protocol: Protocol, *, rule: Rule = RULE, workers: int = 1
) -> list[dict[str, object]]:
    """One record a variant and task setting that has a dense cell on the same items, in the order given.

    Left out: variants without dense, no-ops, tasks on which dense is at chance, items that differ from dense's, and
    protocols of a single split.
    """
    if protocol.name != "exact" or not protocol.replicates:
        return []
    dense_of = {one.cell.curve_key: one for one in measured if one.cell.is_dense}
    pairs = [
        (one, dense)
        for one in measured
        if (dense := dense_of.get(one.cell.curve_key)) is not None and one is not dense and not _left_out(one, dense)
    ]
    needed = {dense.cell.curve_key: dense.cell for _, dense in pairs}
    found = in_processes(partial(_noise_curve_of, protocol=protocol), list(needed.values()), workers=workers)
    curves = dict(zip(needed, found, strict=True))
    return [_record(one, _coupling(one, dense, curves[one.cell.curve_key], rule)) for one, dense in pairs]


def _noise_curve_of(cell: Cell, *, protocol: Protocol) -> NoiseCurve:
    return noise_curve(score_cell(cell, protocol))


def _left_out(one: Measured, dense: Measured) -> bool:
    known = all(key in side.values for key in ("accuracy", PRIMARY) for side in (one, dense))
    return not known or bool({"no-op", "unpaired-items", "at-chance"} & set(one.flags))


def _coupling(one: Measured, dense: Measured, curve: NoiseCurve, rule: Rule) -> Coupling:
    changes, resampled = {}, {}
    for key in ("accuracy", PRIMARY):
        changes[key] = one.values[key] - dense.values[key]
        resampled[key] = one.replicates[key] - dense.replicates[key]
    matched = curve.change_at(-changes["accuracy"])
    excess = resampled[PRIMARY] - curve.replicated_change_at(-resampled["accuracy"])
    flips = one.correct - dense.correct
    accuracy = Estimate.paired(changes["accuracy"], resampled["accuracy"], changes=flips, units=one.units)
    estimate = partial(Estimate.of, units=one.units, most=float(one.cell.n_options.max()))
    return couple(
        (accuracy, ACCURACY_MARGIN),
        estimate(changes[PRIMARY], resampled[PRIMARY]),
        (estimate(changes[PRIMARY] - matched, excess), matched),
        headroom=dense.row["set_size_chance"] - dense.values[PRIMARY],
        items=len(set(one.cell.units)),
        rule=rule,
    )


def _record(one: Measured, coupling: Coupling) -> dict[str, object]:
    row: Mapping[str, object] = one.row
    record: dict[str, object] = {
        key: row[key] for key in ("model", "variant", "family", "task", "scoring", "prompt", "shots")
    }
    record["verdict"] = coupling.verdict
    for name, estimate in (
        ("accuracy_change", coupling.accuracy_change),
        ("set_size_change", coupling.set_size_change),
        ("excess", coupling.excess),
    ):
        record[name], record[f"{name}_low"], record[f"{name}_high"] = estimate.value, estimate.low, estimate.high
    record["matched_change"] = coupling.matched_change
    record["excess_of_headroom"] = coupling.excess.value / coupling.headroom if coupling.headroom > 0 else None
    record["margin"] = coupling.margin
    record["items_needed"] = coupling.items_needed
    record["notes"] = list(coupling.notes)
    return record
