"""The resampling kernel: every statistic of a cell under many reweightings of its items, in NumPy.

A replicate draws units (items, or groups of items) with replacement; the number of times each is drawn is its weight.
Folds are a function of the unit, so all copies of an item fall on the same side of every split, and the conformal
threshold is computed again inside each replicate. Cells that share items share the weights, so differences between
them are paired.

Weights have shape [n, replicates], so that one item's weights are contiguous: sums over items are matrix products or
additions of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.metrics.calibration import folded_normal_mean
from suite.metrics.conformal import SetScores, quantile_rank
from suite.metrics.folds import Folds
from suite.metrics.proportions import LEVEL

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]

_WIDENED = 256


def unit_weights(units: Sequence[str], *, replicates: int, seed: int = 0) -> Weights:
    """How often each item occurs in each bootstrap sample, shape [n, replicates].

    As many units are drawn as there are; items of one unit share their weight. The weights depend on the set of
    units and the seed, not on the order of the items.

    Reference: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993.

    >>> unit_weights(["a", "a", "b"], replicates=2).shape
    (3, 2)
    """
    names, member = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
    generator = np.random.default_rng([seed, len(names)])
    count = len(names)
    drawn = np.empty((replicates, count), dtype=np.float32)
    for replicate in range(replicates):
        drawn[replicate] = np.bincount(generator.integers(0, count, count), minlength=count)
    return np.ascontiguousarray(drawn.T[member])


def weighted_means(values: Floats, weights: Weights) -> Floats:
    """Weighted mean of each column in each replicate.

    Args:
        values: per item, shape [n] or [n, columns].
        weights: shape [n, replicates].

    Returns:
        Shape [replicates] or [columns, replicates].

    >>> weighted_means(np.array([0.0, 1.0]), np.array([[1.0, 2.0], [1.0, 0.0]], dtype=np.float32)).tolist()
    [0.5, 0.0]
    """
    table = values.reshape(len(values), -1)
    means = ratio(weighted_sums(table.T, weights), weights.sum(axis=0, dtype=np.float64))
    return np.asarray(means[0] if values.ndim == 1 else means)


def weighted_sums(columns: Floats, weights: Weights) -> Floats:
    """Sum over items, times their weights, in each replicate.

    In float64: float32 products differ between processors in the digits that are published. (Counts of items, as
    conformal sets need them, are whole numbers and exact in float32.)

    Args:
        columns: shape [columns, n].
        weights: shape [n, replicates].

    Returns:
        Shape [columns, replicates].

    >>> weighted_sums(np.array([[0.5, 0.25]]), np.array([[1.0, 2.0], [1.0, 0.0]], dtype=np.float32)).tolist()
    [[0.75, 1.0]]
    """
    replicates = weights.shape[1]
    sums = np.empty((len(columns), replicates))
    for start in range(0, replicates, _WIDENED):  # so that few weights are held twice
        block = slice(start, start + _WIDENED)
        sums[:, block] = columns @ weights[:, block].astype(np.float64)
    return sums


def ratio(above: Floats, below: Floats) -> Floats:
    """Elementwise quotient, NaN where the divisor is zero: a replicate that drew no item of a fold has no value.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    quotient = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def debiased_error_replicates(
    difference: Floats, number: NDArray[np.intp], *, deviation: Floats, weights: Weights
) -> Floats:
    """The debiased ECE (see `suite.metrics.calibration.debiased_calibration_error`) in each replicate.

    Args:
        difference: correct minus confidence, shape [n].
        number: bin of each item, shape [n].
        deviation: standard error of the sum of differences in each bin, shape [bins]; that of the sample, as it hardly
            changes between replicates.

    >>> ones = np.ones((2, 1), dtype=np.float32)
    >>> debiased_error_replicates(np.array([0.5, -0.5]), np.array([0, 1]), deviation=np.zeros(2), weights=ones).tolist()
    [0.5]
    """
    columns = np.zeros((len(deviation), len(difference)))
    columns[number, np.arange(len(difference))] = difference
    return debiased_sums(weighted_sums(columns, weights), deviation, weights.sum(axis=0, dtype=np.float64))


def debiased_sums(sums: Floats, deviation: Floats, mass: Floats) -> Floats:
    """Sum over bins of 2 |S_b| - E|N(S_b, deviation_b^2)|, over the total weight; sums: [bins, replicates]."""
    size = np.abs(sums)
    spread = np.broadcast_to(deviation[:, None], size.shape)
    return ratio((2 * size - folded_normal_mean(size, spread)).sum(axis=0), mass)


@dataclass(frozen=True)
class SelectiveReplicates:
    """AURC and error-detection AUROC in each replicate, shape [replicates]; NaN where one half is empty."""

    aurc: Floats
    auroc: Floats


def selective_replicates(confidence: Floats, error: Floats, weights: Weights) -> SelectiveReplicates:
    """AURC and error AUROC in each replicate, exactly as on the resampled items (copies of an item are ties).

    A block of W tied items with mean error r, after N items with E errors, adds W r + (E - r N)(H(N + W) - H(N)) to the
    sum of risks, where H is the harmonic number. Summed by parts, the terms with E need blocks that hold errors only.

    >>> both = selective_replicates(np.array([0.9, 0.5]), np.array([0.0, 1.0]), np.ones((2, 1), dtype=np.float32))
    >>> both.aurc.tolist(), both.auroc.tolist()
    ([0.25], [1.0])
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], error[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    total = weights.sum(axis=0, dtype=np.float64)
    harmonic = np.r_[0.0, (1.0 / np.arange(1, int(total.max()) + 1)).cumsum()]
    replicates = weights.shape[1]
    seen = np.zeros(replicates, dtype=np.float32)  # whole numbers, exact up to 2**24
    wrong, area, pairs = np.zeros((3, replicates))
    ends = np.r_[starts[1:], len(order)]
    faulty = np.add.reduceat(errors, starts) > 0
    for start, stop, any_error in zip(starts.tolist(), ends.tolist(), faulty.tolist(), strict=True):
        if not any_error:
            for row in order[start:stop]:
                seen += weights[row]
            continue
        before = seen.astype(np.float64)
        if stop - start == 1:
            mass = weights[order[start]].astype(np.float64)
            rate: Floats | float = float(errors[start])
            missed = mass * rate
        else:
            rows = weights[order[start:stop]]
            mass = rows.sum(axis=0, dtype=np.float64)
            missed = errors[start:stop] @ rows
            rate = ratio(missed, np.maximum(mass, 1.0))
        after = before + mass
        reached = harmonic[after.astype(np.intp)]
        area += missed * (1 - reached) - rate * before * (reached - harmonic[before.astype(np.intp)])
        # Errors in this block rank below the right items seen before, and tie with those of their own block.
        pairs += missed * (before - wrong + (mass - missed) / 2)
        wrong += missed
        seen = after.astype(np.float32)
    area += wrong * harmonic[total.astype(np.intp)]
    right = total - wrong
    both = (wrong > 1e-9) & (right > 1e-9)
    return SelectiveReplicates(ratio(area, total), ratio(pairs, np.where(both, wrong * right, 0.0)))


@dataclass(frozen=True)
class SetReplicates:
    """Set size and coverage in each replicate, averaged over splits, and the thresholds that gave them.

    Attributes:
        size, coverage: shape [replicates]; NaN where no split has a test item.
        thresholds: conformity thresholds, shape [splits, replicates].
    """

    size: Floats
    coverage: Floats
    thresholds: Floats


def set_replicates(
    scores: SetScores,
    answers: NDArray[np.int64],
    *,
    folds: Folds,
    weights: Weights,
    alpha: float,
    protocol: str = "exact",
) -> SetReplicates:
    """Conformal prediction in each replicate: weighted threshold on the conformal fold, weighted sets on the test fold.

    The rank is that of the number of copies in the fold, so a replicate is what the point estimate would be on the
    resampled items.

    >>> p = np.tile([[0.6, 0.4]], (200, 1))
    >>> from suite.metrics.conformal import lac_scores
    >>> from suite.metrics.folds import hashed_folds
    >>> ids = [str(i) for i in range(200)]
    >>> scores = lac_scores(p, np.zeros(200, dtype=int))
    >>> folds, weights = hashed_folds(ids, splits=2), unit_weights(ids, replicates=3)
    >>> set_replicates(scores, np.zeros(200, dtype=int), folds=folds, weights=weights, alpha=0.1).size.tolist()
    [1.0, 1.0, 1.0]
    """
    thresholds = threshold_replicates(scores.calibration, folds=folds, weights=weights, alpha=alpha, protocol=protocol)
    return sets_at_replicates(scores.options, answers, thresholds=thresholds, folds=folds, weights=weights)


def threshold_replicates(
    calibration: Floats, *, folds: Folds, weights: Weights, alpha: float, protocol: str = "exact"
) -> Floats:
    """The conformal threshold of each split in each replicate, shape [splits, replicates]; -inf for "every option".

    With item weights w the threshold is the largest conformity t such that the weights of items at or above t reach
    the rank k of their total. Only ranks within ten standard deviations of the unweighted one are looked at first;
    where a replicate falls outside, all are.
    """
    n = len(calibration)
    count = len(folds)
    orders, low, high = [], [], []
    columns = np.zeros((2 * count, n), dtype=np.float32)
    for split, fold in enumerate(folds.conformal):
        order = fold[np.argsort(-calibration[fold], kind="stable")]
        size = len(order)
        centre = float(quantile_rank(size, alpha=alpha, protocol=protocol)) - 1
        reach = 10 * np.sqrt(size * alpha * (1 - alpha)) + 10
        orders.append(order)
        low.append(int(np.clip(centre - reach, 0, size)))
        high.append(int(np.clip(centre + reach, 0, size)))
        columns[2 * split, order] = 1
        columns[2 * split + 1, order[: low[-1]]] = 1
    sums = columns @ weights
    thresholds = np.full((count, weights.shape[1]), -np.inf)
    for split, order in enumerate(orders):
        total, prefix = sums[2 * split], sums[2 * split + 1]
        rank = quantile_rank(total.astype(np.float64), alpha=alpha, protocol=protocol).astype(np.float32)
        start, stop = low[split], high[split]
        if start > 0 and bool((prefix >= rank).any()):
            start, prefix = 0, np.zeros_like(prefix)
        place, reached = _crossing(order[start:stop], weights, prefix, rank)
        if stop < len(order) and bool(((reached < rank) & (rank <= total)).any()):
            stop = len(order)
            place, reached = _crossing(order[start:stop], weights, prefix, rank)
        found = (rank <= total) & (place < stop - start)
        if len(order):
            thresholds[split, found] = calibration[order[start + place[found]]]
    return thresholds


def _crossing(
    rows: NDArray[np.intp], weights: Weights, prefix: NDArray[np.float32], rank: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """First row at which prefix plus cumulated weights reaches the rank (len(rows) if none does), and the final sum."""
    place = np.zeros(weights.shape[1], dtype=np.intp)
    running = prefix.copy()
    for row in rows:
        running += weights[row]
        place += running < rank
    return place, running


def sets_at_replicates(
    options: Floats, answers: NDArray[np.int64], *, thresholds: Floats, folds: Folds, weights: Weights
) -> SetReplicates:
    """Set size and coverage on the test folds at given thresholds, in each replicate.

    Args:
        options: conformity of every option, shape [n, options].
        thresholds: shape [splits, replicates]; from this model or, in the transferred view, from another.
    """
    n = len(options)
    count = len(folds)
    right = options[np.arange(n), answers]
    columns = np.zeros((3 * count, n), dtype=np.float32)
    present = np.where(np.isnan(options), -np.inf, options)
    # Above the highest threshold of a split an option counts in all replicates; below the lowest in none.
    highest, lowest = thresholds.max(axis=1), thresholds.min(axis=1)
    for split, fold in enumerate(folds.test):
        columns[3 * split, fold] = 1
        columns[3 * split + 1, fold] = _count_at(options[fold], highest[split])
        columns[3 * split + 2, fold] = right[fold] >= highest[split]
    sums = columns @ weights
    sizes, coverages = np.full((2, count, weights.shape[1]), np.nan)
    for split, fold in enumerate(folds.test):
        total = sums[3 * split]
        size = sums[3 * split + 1] + _between(
            present[fold], fold, thresholds[split], weights, lowest[split], highest[split]
        )
        one = right[fold][:, None]
        covered = sums[3 * split + 2] + _between(one, fold, thresholds[split], weights, lowest[split], highest[split])
        sizes[split] = ratio(size, total)
        coverages[split] = ratio(covered, total)
    return SetReplicates(_nanmean(sizes), _nanmean(coverages), thresholds)


def _count_at(options: Floats, threshold: float) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray((options >= threshold).sum(axis=1), dtype=np.float64)


def _between(
    conformity: Floats,
    items: NDArray[np.intp],
    thresholds: Floats,
    weights: Weights,
    lowest: float,
    highest: float,
) -> NDArray[np.float32]:
    """In each replicate, the total weight of entries from its threshold up to below the highest threshold."""
    inside = (conformity < highest) & (conformity >= lowest) & (conformity > -np.inf)
    rows, _ = np.nonzero(inside)
    values = conformity[inside]
    order = np.argsort(-values, kind="stable")
    values, owners = values[order], items[rows[order]]
    # Entries needed by each replicate, in descending order of conformity.
    needed = np.searchsorted(-values, -thresholds, side="right")
    stops, which = np.unique(needed, return_inverse=True)
    reached = np.empty((len(stops), weights.shape[1]), dtype=np.float32)
    running = np.zeros(weights.shape[1], dtype=np.float32)
    done = 0
    for place, stop in enumerate(stops):
        for owner in owners[done:stop]:
            running += weights[owner]
        done = stop
        reached[place] = running
    return np.asarray(reached[which, np.arange(weights.shape[1])])


def _nanmean(table: Floats) -> Floats:
    usable = ~np.isnan(table)
    return ratio(np.where(usable, table, 0.0).sum(axis=0), usable.sum(axis=0))


def percentile_interval(replicates: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """The central interval that holds `level` of the replicates; (NaN, NaN) when more than a twentieth of them is not
    finite.

    >>> percentile_interval(np.arange(101.0), level=0.5)
    (25.0, 75.0)
    """
    usable = replicates[np.isfinite(replicates)]
    if len(usable) < 0.95 * len(replicates) or len(usable) == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    return float(low), float(high)


def normal_interval(centre: float, replicates: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """Centre plus and minus a normal quantile times the standard deviation of the replicates.

    For statistics such as ECE whose replicates are biased though their spread is right: the centre is the debiased
    estimate. (NaN, NaN) when more than a twentieth of the replicates is not finite.

    >>> [round(end, 2) for end in normal_interval(0.5, np.array([0.3, 0.4, 0.5]))]
    [0.3, 0.7]
    """
    from scipy.special import ndtri

    usable = replicates[np.isfinite(replicates)]
    if len(usable) < max(2, 0.95 * len(replicates)):
        return float("nan"), float("nan")
    reach = float(ndtri((1 + level) / 2) * usable.std(ddof=1))
    return centre - reach, centre + reach
