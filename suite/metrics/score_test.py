"""Score test of a mean of bounded item values, such as a weighted difference of two accuracies on the same items.

Resampling sees what happened: where few items differ, or none, the spread of a contrast is measured too small exactly
when the contrast looks good. A score test takes the spread that the items would have if the null hypothesis were true:
of all distributions with the mean that is tested it takes the likeliest one, which may put weight where nothing was
seen. For "second right minus first right is -d" it is Tango's test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from suite.arrays import Floats, Numbers

ROUNDS = 6


@dataclass(frozen=True)
class Stratum:
    """Values of independent items of one task.

    Attributes:
        values: of each item, shape [n]; with `kinds` those that occur, in any order.
        units: number of the unit of each item, shape [n].
        low, high: the lowest and the highest value that an item can have; no value lies beyond.
        kinds: which of `values` each item has, shape [n].
    """

    values: Floats
    units: Numbers
    low: float
    high: float
    kinds: Numbers | None = None


def score_statistic(strata: Sequence[Stratum]) -> float:
    """Mean over strata, in standard errors under the hypothesis that it is zero: about standard normal if it is.

    With several strata the hypothesis is about the mean of their means; each stratum is taken at the mean that lies
    nearest to what was seen, in its own standard errors. Items of a unit are worth less by their design effect.

    Returns:
        Plus or minus infinity where the values cannot come from a distribution with that mean.

    Reference: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 1998.

    >>> values = np.array([1.0] * 10 + [-1.0] * 2 + [0.0] * 32)  # 12 of 44 pairs differ, 10 to 2
    >>> everyone = np.arange(44)
    >>> round(score_statistic([Stratum(values, everyone, -1.0, 1.0)]), 4)  # McNemar's (10 - 2) / sqrt(12)
    2.3094
    """
    return statistic_of([counted(stratum) for stratum in strata])


def tango(lost: Floats, gained: Floats, n: int, limit: float) -> Floats:
    """`score_statistic` of whether a share `limit` of the items is lost, from counts alone; low where less is.

    Args:
        lost, gained: items right with dense alone, with the compressed model alone; any shape.

    >>> float(tango(np.array(4.0), np.array(3.0), 400, 0.02).round(3))
    -2.06
    """
    linear = -(lost + gained) + (2 * n - lost + gained) * limit
    root = np.sqrt(linear**2 + 8 * n * gained * limit * (1 - limit))
    share = (root - linear) / (4 * n)
    return np.asarray((lost - gained - n * limit) / np.sqrt(n * (2 * share + limit * (1 - limit))))


@dataclass(frozen=True)
class Counted:
    """What the score test needs to know of a stratum: its distinct values and how often they were seen.

    Attributes:
        values: distinct ones; few, so that lists are quicker than arrays.
        shares: of the items with each of them, length of `values`, sum 1.
        worth: of how many independent items.
        low, high: as of the stratum.
        mean, variance: of the values.
    """

    values: list[float]
    shares: list[float]
    worth: float
    low: float
    high: float
    mean: float
    variance: float


def counted(stratum: Stratum) -> Counted:
    """A stratum as counts of its distinct values."""
    values, kinds = stratum.values, stratum.kinds
    if kinds is None:
        values, kinds = np.unique(values, return_inverse=True)
    shares = np.bincount(kinds, minlength=len(values)) / len(kinds)
    mean = float(shares @ values)
    return Counted(
        values.tolist(),
        shares.tolist(),
        effective_number(values, stratum.units, kinds),
        stratum.low,
        stratum.high,
        mean,
        float(shares @ (values - mean) ** 2),
    )


def statistic_of(parts: Sequence[Counted]) -> float:
    """`score_statistic` of strata that have been counted."""
    means = np.array([part.mean for part in parts])
    total = float(means.sum())
    if total == 0.0:
        return 0.0
    worth = np.array([part.worth for part in parts])
    variance = np.array([part.variance for part in parts]) / worth + 1e-12
    for _ in range(ROUNDS if len(parts) > 1 else 1):
        before, wanted = variance, means - variance * total / variance.sum()
        variance = np.array(
            [
                _variance_at(part.values, part.shares, mean, part.low, part.high)
                for part, mean in zip(parts, wanted.tolist(), strict=True)
            ]
        )
        variance /= worth
        if variance.sum() <= 0:
            return float(np.copysign(np.inf, total))
        if np.abs(variance - before).max() <= 1e-11 * variance.sum():
            break
    return float(total / np.sqrt(variance.sum()))


def effective_number(values: Floats, units: Numbers, kinds: Numbers | None = None) -> float:
    """How many independent items the mean of these is worth: n over the design effect, at most n.

    Args:
        values, units, kinds: as of `Stratum`.

    >>> effective_number(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1])) < 4
    True
    """
    n, count = len(units), int(np.count_nonzero(np.bincount(units)))
    if count == n:
        return float(n)
    values = values if kinds is None else values[kinds]
    centred = values - values.mean()
    within = float((centred**2).sum()) * n / (n - 1)
    sums = np.bincount(units, weights=centred)
    between = float((sums**2).sum()) * count / max(count - 1, 1)
    if within <= 1e-12:
        return float(count)
    return max(1.0, n / max(between / within, 1.0))


def _variance_at(values: Sequence[float], shares: Sequence[float], mean: float, low: float, high: float) -> float:
    """Variance of one item in the likeliest distribution on [low, high] that has this mean.

    It weighs a value x by share / (1 + s (x - mean)); where no s gives the mean, the rest of the weight lies at an end
    where nothing was seen.
    """
    below, above = low - mean, high - mean
    if not below < 0 < above:
        return 0.0

    gaps = [value - mean for value in values]
    first, last = -1 / above, -1 / below
    margin = 1e-9 * (last - first)
    pairs = [(share * gap, gap) for share, gap in zip(shares, gaps, strict=True)]
    slope, end = _balanced(pairs, first + margin, last - margin), 0.0
    if slope == first + margin:
        end = above
    elif slope == last - margin:
        end = below
    weights = [share / (1 + slope * gap) for share, gap in zip(shares, gaps, strict=True)]
    spread = float(np.add.reduce([weight * (gap * gap) for weight, gap in zip(weights, gaps, strict=True)]))
    if end:
        left = float(np.add.reduce([weight * gap for weight, gap in zip(weights, gaps, strict=True)]))
        spread += max(-left / end, 0.0) * end**2
    return spread


def _balanced(pairs: Sequence[tuple[float, float]], first: float, last: float) -> float:
    """The s between two ends at which the sum of weight / (1 + s gap), which falls, is zero; else the nearer end."""
    for end, sign in ((first, 1.0), (last, -1.0)):
        value = 0.0
        for weight, gap in pairs:
            value += weight / (1 + end * gap)
        if sign * value <= 0:
            return end
    low, high, slope = first, last, 0.0
    near = 1e-14 * (last - first)
    for _ in range(200):
        # Newton's step, or half of what is left
        value = change = 0.0
        for weight, gap in pairs:
            scale = 1 + slope * gap
            part = weight / scale
            value += part
            change -= part * gap / scale
        if value > 0:
            low = slope
        else:
            high = slope
        after = slope - value / change if change else low
        if not low < after < high:
            after = (low + high) / 2
        if abs(after - slope) <= near:
            return after
        slope = after
    return slope
