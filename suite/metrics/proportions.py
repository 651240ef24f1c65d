"""Intervals of proportions, of paired proportions, and of other bounded means that rest on few events.

Resampling sees what happened. Where all of 100 items are right, or no answer flipped, every resample says the same, and
a percentile interval is a point; with one event or two it is too short (docs/intervals.md has the figures). Exact
binomial intervals say what other items may do, and closed forms cost nothing.

Three rules follow from one: Clopper and Pearson's interval at the number of independent items that the sample is worth.

* A proportion of items: as many as there are; fewer where items share a passage or a template (Korn & Graubard).
* A change between two models on the same items: the two kinds of flips are proportions, and their intervals are
  combined as those of a difference (MOVER).
* Another bounded mean: as many as its bootstrap spread says; where that is zero, as many as could hide an exception.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Floats, Numbers

LEVEL = 0.95
NORMAL = 1.959964
"""Standard errors from the middle of a 95 % interval to either end."""


WORTH_OF_ITEM = 0.25
"""Of an independent item that is lost or kept as a whole, where few decide. An item answered blindly costs two
headrooms of the Brier score on average, for with probabilities p that are right on average dense costs 1 - sum p^2, an
answer at random 1 + sum p^2 - 2/K and chance 1 - 1/K; most of that lies on the items that lose most, which are fewer
still (docs/dose.md)."""


def exact_interval(count: float, n: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion. Holds the truth with probability `level` at least; each end errs with
    probability (1 - level) / 2 at most, so that the upper end at level 0.90 is the one-sided bound at 0.95.

    Args:
        count: how many of n; fractions are allowed, for items that are right by a fraction.
        n: of how many; fractions are allowed, for effective numbers.

    Reference: C. Clopper, E. Pearson, Biometrika 1934.

    >>> [round(end, 4) for end in exact_interval(199, 200)]
    [0.9725, 0.9999]
    """
    low, high = _exact(np.array(count, dtype=np.float64), np.array(n, dtype=np.float64), level)
    return float(low), float(high)


def _exact(count: Floats, n: Floats, level: float) -> tuple[Floats, Floats]:
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    some, not_all = count > 0, count < n
    low = np.where(some, betaincinv(np.where(some, count, 1.0), n - count + 1, tail), 0.0)
    high = np.where(not_all, betaincinv(count + 1, np.where(not_all, n - count, 1.0), 1 - tail), 1.0)
    return low, high


def wilson_intervals(shares: Floats, counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The 95 % Wilson interval of each share of so many items: for error bars, shorter than the exact one.

    Reference: E. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    >>> [end.round(3).tolist() for end in wilson_intervals(np.array([1.0, 0.5]), np.array([10, 10]))]
    [[0.722, 0.237], [1.0, 0.763]]
    """
    middle = (shares + NORMAL**2 / (2 * counts)) / (1 + NORMAL**2 / counts)
    half = NORMAL * np.sqrt(shares * (1 - shares) / counts + NORMAL**2 / (4 * counts**2)) / (1 + NORMAL**2 / counts)
    return middle - half, middle + half


def unseen(n: float, *, level: float = LEVEL) -> float:
    """How often a thing may happen that did not happen in n independent items: the upper end of 0 of n.

    >>> round(unseen(100), 4), round(unseen(100, level=0.90), 4)
    (0.0362, 0.0295)
    """
    return float(1 - ((1 - level) / 2) ** (1 / n))


def lost_at_most(value: float, *, room: float, units: Numbers, level: float = LEVEL) -> float:
    """What may have been lost at most if all that is lost is lost on a few items, answered blindly.

    Resampling knows the spread of what was seen. Where one item in a hundred is answered blindly, none or one of them
    is seen among a hundred, and the spread is that of nothing. As in doses, what was lost is so many blind answers of
    `WORTH_OF_ITEM` times the items; the binomial bound of their share, times the room, is the end of an interval at
    this level. A gain that was seen stays one: what is hidden comes on top of it.

    Args:
        value: the change; higher is worse.
        room: from dense to chance, above 0.
        units: number of the unit of each item, shape [n].

    >>> [round(lost_at_most(change, room=0.4, units=np.arange(400)), 3) for change in (0.0, -0.1)]
    [0.014, -0.086]
    """
    worth = WORTH_OF_ITEM * independent(units)
    return min(value, 0.0) + room * exact_interval(worth * min(max(value / room, 0.0), 1.0), worth, level=level)[1]


def independent(units: Numbers) -> float:
    """How many independent items a sample is worth if all items of a unit do the same: n^2 over the sum of squared unit
    sizes. The number of units where they are alike, n where every item is a unit.

    Args:
        units: number of the unit of each item, shape [n].

    Reference: L. Kish, "Survey Sampling", 1965.

    >>> independent(np.array([0, 0, 1, 1])), independent(np.arange(4))
    (2.0, 4.0)
    """
    sizes = np.bincount(units)
    return float(len(units) ** 2 / (sizes.astype(np.float64) ** 2).sum())


def proportion_interval(values: Floats, units: Numbers, *, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the mean of values in [0, 1], such as accuracy: exact, at the effective number of items.

    Without groups that number is n. With groups it is n over the design effect (the variance between units over that of
    independent items, at least 1: a grouped sample is never worth more than an ungrouped one), times a factor for the
    few units the variance was estimated from. As few events say nothing about how they come in groups, an end never
    lies nearer to 0 or 1 than where no event had been seen in the `independent` units: more errors never raise the
    lower end above that without an error.

    Args:
        values: 0, 1, or fractions where options tie, shape [n], n at least 1.
        units: number of the unit of each item, shape [n].

    Reference: E. Korn, B. Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 1998.

    >>> [round(end, 4) for end in proportion_interval(np.ones(12), np.arange(12))]
    [0.7354, 1.0]
    """
    low, high = _proportions(values[None], _Units(units), level)
    return float(low[0]), float(high[0])


class _Units:
    """Which items belong together, prepared for sums over units."""

    def __init__(self, units: Numbers) -> None:
        self.items = len(units)
        self.order = np.argsort(units, kind="stable")
        ranked = units[self.order]
        self.starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self.count = len(self.starts)
        self.alone = self.count == self.items
        self.independent = independent(units)

    def sums(self, values: Floats) -> Floats:
        """Sum of the deviations from the mean in each unit, [rows, items] to [rows, units]."""
        apart = values - values.mean(axis=1, keepdims=True)
        return apart if self.alone else np.add.reduceat(apart[:, self.order], self.starts, axis=1)


def _proportions(values: Floats, units: _Units, level: float) -> tuple[Floats, Floats]:
    """`proportion_interval` of each row, shape [rows]."""
    mean = values.mean(axis=1).clip(0.0, 1.0)
    worth = _effective(values, mean, units, level)
    low, high = _exact(mean * worth, worth, level)
    if units.alone:
        return low, high
    hidden = unseen(units.independent, level=level)
    return np.minimum(low, 1 - hidden), np.maximum(high, hidden)


def _effective(values: Floats, mean: Floats, units: _Units, level: float) -> Floats:
    """How many independent items each row is worth, shape [rows]."""
    from scipy.special import stdtrit

    n, count = units.items, units.count
    if units.alone:
        return np.full(len(values), float(n))
    if count == 1:
        return np.ones(len(values))
    between = (units.sums(values) ** 2).sum(axis=1) * count / (count - 1)
    within = n * mean * (1 - mean) * n / (n - 1)
    known = (between > 1e-12) & (within > 1e-12)
    effect = np.maximum(between / np.where(known, within, 1.0), 1.0)
    normal, few = (float(stdtrit(degrees, (1 + level) / 2)) for degrees in (n - 1, count - 1))
    return np.where(known, np.maximum(1.0, n / effect * (normal / few) ** 2), units.independent)


def paired_interval(changes: Floats, units: Numbers, *, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the mean change of a proportion between two models on the same items, such as the change of accuracy.

    Flips up and flips down are two proportions of the same items, each with its `proportion_interval`. The interval of
    their difference takes the distances of the ends from the two values together (MOVER), with their correlation: that
    of two counts of one multinomial sample, or a lower one seen between units. Without a flip both ends are those
    of 0 of n: plus and minus .036 for 100 items, and at level 0.90, for "no worse than", .0295.

    Args:
        changes: second minus first of each item, in [-1, 1], shape [n], n at least 1.
        units: number of the unit of each item, shape [n].

    Reference: G. Zou, A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine
    2008; R. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 1998, combines Wilson intervals in this way.

    >>> [round(end, 4) for end in paired_interval(np.zeros(100), np.arange(100))]
    [-0.0362, 0.0362]
    """
    low, high = paired_intervals(changes[None], units, level=level)
    return float(low[0]), float(high[0])


def paired_intervals(changes: Floats, units: Numbers, *, level: float = LEVEL) -> tuple[Floats, Floats]:
    """`paired_interval` of several changes on the same items, [rows, items] to two of shape [rows]."""
    members = _Units(units)
    up, down = np.maximum(changes, 0.0), np.maximum(-changes, 0.0)
    gained, lost = up.mean(axis=1), down.mean(axis=1)
    up_low, up_high = _proportions(up, members, level)
    down_low, down_high = _proportions(down, members, level)
    together = _correlation(up, down, members)
    value = gained - lost
    low = value - _reach(gained - up_low, down_high - lost, together)
    high = value + _reach(up_high - gained, lost - down_low, together)
    return np.maximum(low, -1.0), np.minimum(high, 1.0)


def _correlation(up: Floats, down: Floats, units: _Units) -> Floats:
    """Correlation of two mean shares of one sample: the multinomial one, or that between units where it is lower."""
    first, second = up.mean(axis=1), down.mean(axis=1)
    both = (first > 0) & (second > 0)
    alone = -np.sqrt(first * second / np.where(both, (1 - first) * (1 - second), 1.0))
    sums = [units.sums(values) for values in (up, down)]
    sizes = np.sqrt((sums[0] ** 2).sum(axis=1) * (sums[1] ** 2).sum(axis=1))
    grouped = (sums[0] * sums[1]).sum(axis=1) / np.where(sizes > 1e-12, sizes, np.inf)
    return np.where(both, np.maximum(np.minimum(alone, grouped), -1.0), 0.0)


def _reach(first: Floats, second: Floats, correlation: Floats | float) -> Floats:
    return np.asarray(np.sqrt(np.maximum(first**2 + second**2 - 2 * correlation * first * second, 0.0)))


def weighted_interval(
    values: tuple[Floats, Floats],
    ends: tuple[tuple[float, float], tuple[float, float]],
    weights: tuple[float, float],
    units: Numbers,
) -> tuple[float, float]:
    """Interval of a weighted sum of two means over the same items, such as a cost that has two causes.

    The distances of the ends from the two means are taken together (MOVER) with the correlation that the two have
    between units.

    Args:
        values: of each item, two of shape [n].
        ends: interval of the mean of each, as `proportion_interval` or `paired_interval` gives them.
        weights: of the two in the sum, above 0.
        units: number of the unit of each item, shape [n].

    Reference: G. Zou, A. Donner, Statistics in Medicine 2008.

    >>> both, none = (np.zeros(100), np.zeros(100)), (-0.1, 0.1)
    >>> [round(end, 2) for end in weighted_interval(both, (none, none), (3.0, 4.0), np.arange(100))]
    [-0.5, 0.5]
    """
    members = _Units(units)
    (first,), (second,) = (members.sums(value[None]) for value in values)
    size = math.sqrt(float((first**2).sum() * (second**2).sum()))
    together = float((first * second).sum()) / size if size > 1e-12 else 0.0
    means = [float(value.mean()) for value in values]
    value = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
    below, above = (
        [np.array(weight * abs(end[side] - mean)) for weight, end, mean in zip(weights, ends, means, strict=True)]
        for side in (0, 1)
    )
    return value - float(_reach(below[0], below[1], -together)), value + float(_reach(above[0], above[1], -together))


def difference_interval(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Interval of a difference of two independent estimates, each given as (value, low, high) (MOVER).

    >>> [round(end, 3) for end in difference_interval((0.5, 0.4, 0.7), (0.2, 0.2, 0.2))]
    [0.2, 0.5]
    """
    value = first[0] - second[0]
    low = value - math.hypot(first[0] - first[1], second[2] - second[0])
    return low, value + math.hypot(first[2] - first[0], second[0] - second[1])


def resampled_interval(
    value: float,
    replicates: Floats,
    units: Numbers,
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of a bounded mean that has bootstrap replicates and is near a limit when few items are an exception:
    coverage (with thresholds that are resampled too), Brier score.

    The spread of the replicates says how many independent items with a value at one limit or the other the mean is
    worth; the interval is the exact one at that number. In the middle of the range that is the normal interval; near a
    limit it is as skew as it has to be. As in `proportion_interval` no end lies nearer to a limit than without an
    exception.

    Args:
        value: point value, within the limits.
        replicates: shape [replicates].
        units: number of the unit of each item, shape [n].
        limits: the lowest and the highest value that an item can have.

    Returns:
        (NaN, NaN) when more than a twentieth of the replicates is not finite.

    >>> [round(end, 4) for end in resampled_interval(1.0, np.ones(10), np.arange(100))]
    [0.9638, 1.0]
    """
    usable = replicates[np.isfinite(replicates)]
    if len(usable) < max(2, 0.95 * len(replicates)):
        return float("nan"), float("nan")
    bottom, width = limits[0], limits[1] - limits[0]
    if not varies(usable):
        return unseen_interval(value, unseen(independent(units), level=level), limits)
    share = min(max((value - bottom) / width, 0.0), 1.0)
    # Replicates of a value at the very limit can lie within: they, not the value, say what the spread is worth.
    middle = min(max((float(usable.mean()) - bottom) / width, 1e-12), 1 - 1e-12)
    worth = max(middle * (1 - middle) * width**2 / float(usable.var(ddof=1)), 1.0)
    low, high = exact_interval(share * worth, worth, level=level)
    hidden = unseen(independent(units), level=level)
    return bottom + width * min(low, 1 - hidden), bottom + width * max(high, hidden)


def unseen_interval(value: float, hidden: float, limits: tuple[float, float]) -> tuple[float, float]:
    """Interval of a mean that every resample repeats: what it would be if as many items as may have been missed had the
    lowest or the highest value instead.

    Args:
        hidden: share of items that may be exceptions without one having been seen, from `unseen`.

    >>> [round(end, 3) for end in unseen_interval(1.0, unseen(100), limits=(0.0, 4.0))]
    [0.964, 1.109]
    """
    return value - hidden * (value - limits[0]), value + hidden * (limits[1] - value)


def varies(replicates: Floats) -> bool:
    """Whether replicates differ by more than rounding does."""
    usable = replicates[np.isfinite(replicates)]
    return len(usable) > 0 and float(np.ptp(usable)) > 1e-12 * max(1.0, float(np.abs(usable).max()))
