"""How many items a limit needs: exact power of the score test of paired proportions, before anything is run.

For limits in points the table that may come has three counts (lost, gained, the rest), for limits that are relative to
dense four: how many both have right counts too. Both are summed over every table that has weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from suite.arrays import Bools, Floats, Numbers
from suite.metrics.score_test import tango

MOST = 1_000_000

MOST_RELATIVE = 10_000
"""Items up to which the power of a relative limit is summed over tables: they have one count more."""


def floor_items(limit: float, *, confidence: float = 0.95) -> int:
    """The fewest items that can show a loss to be below a limit: where not one answer flips, ln(1 - confidence) over
    ln(1 - limit).

    Args:
        limit: of the share of items that may be lost, above 0 and below 1.

    >>> [floor_items(limit) for limit in (0.05, 0.02, 0.01, 0.005)]
    [59, 149, 299, 598]
    """
    return math.ceil(round(math.log(1 - confidence) / math.log1p(-limit), 9))


def power(n: int, limit: float, flips: float, *, lost: float = 0.0, confidence: float = 0.95) -> float:
    """Probability that so many items show a loss below the limit. Summed over every table that may come, not simulated;
    0 below `floor_items`.

    Args:
        flips: share of the items whose answer becomes right or wrong, above 0 and below 1.
        lost: what is lost in truth, of `flips` at most: at 0 as many answers flip to right as to wrong.

    >>> round(power(1000, 0.02, 0.05), 2)
    0.87
    """
    if n < floor_items(limit, confidence=confidence):
        return 0.0
    spread = 8 * math.sqrt(n * flips * (1 - flips)) + 8
    counts = np.arange(max(0, math.floor(n * flips - spread)), min(n, math.ceil(n * flips + spread)) + 1)
    most = _most_lost(n, counts, limit, confidence)
    return float(_pmf(counts, n, flips) @ _reached(most, counts, (1 + lost / flips) / 2))


def relative_power(
    n: int, limit: float, flips: float, *, accuracy: float, errors: bool = False, confidence: float = 0.95
) -> float:
    """Probability that so many items show less than this share of dense's right answers to be lost, where nothing is;
    or with `errors`, that its wrong ones grow by less. Summed over every table that has weight.

    Args:
        accuracy: share of the items that dense, and the compressed model, have right; half the flips at least, and one
            less half the flips at most.

    >>> round(relative_power(1000, 0.1, 0.05, accuracy=0.7), 2), round(power(1000, 0.07, 0.05), 2)
    (1.0, 1.0)
    """
    f, r = (_likely(n, share) for share in (flips, accuracy - flips / 2))
    flipped, both = (grid.ravel() for grid in np.meshgrid(f, r, indexing="ij"))
    inside = flipped + both <= n
    flipped, both = flipped[inside], both[inside]
    share = (accuracy - flips / 2) / (1 - flips)
    weights = _pmf(flipped, n, flips) * _pmf(both, n - flipped, share)
    heavy = weights > 1e-12
    flipped, both, weights = flipped[heavy], both[heavy], weights[heavy]

    def shown(lost: Numbers, rows: Numbers) -> Bools:
        return _relative_shown(lost, flipped[rows] - lost, both[rows], n, limit, errors, confidence)

    anchors = (1 - accuracy if errors else accuracy) * n
    guess = (flipped + limit * anchors - _quantile(confidence) * np.sqrt(np.maximum(flipped, 1.0))) / 2
    most = _largest(guess, flipped, shown)
    # of right answers a few lost ones are events that could have been more: with none, too few may be left to tell
    enough = math.log(1 - confidence) / math.log1p(-limit)
    least = np.zeros_like(both) if errors else np.maximum(np.ceil(enough - both - 1e-9), 0).astype(np.intp)
    return float(weights @ np.maximum(_reached(most, flipped, 0.5) - _reached(least - 1, flipped, 0.5), 0.0))


def _relative_shown(
    lost: Numbers, gained: Numbers, both: Numbers, n: int, limit: float, errors: bool, confidence: float
) -> Bools:
    """What `suite.decisions.answers` says of tables with these counts: its two tests in closed form."""
    from scipy.special import betainc

    neither = n - lost - gained - both
    # by lost, gained and the third count that has a value: right answers of both, or of neither
    values = (1.0, -1 - limit, -limit) if errors else (1 - limit, -1.0, -limit)
    counts = [part.astype(float) for part in (lost, gained, neither if errors else both)]
    total = sum(count * value for count, value in zip(counts, values, strict=True))
    # the tilt s at which sum count value / (1 + s value) is zero: three values, so a quadratic
    first, second, third = values
    squared = sum(counts) * first * second * third
    linear = (
        counts[0] * first * (second + third)
        + counts[1] * second * (first + third)
        + counts[2] * third * (first + second)
    )
    low, high = -1 / max(values), -1 / min(values)
    low, high = low + 1e-9 * (high - low), high - 1e-9 * (high - low)
    # the sum falls from one end to the other, so one root lies between them, or its sign says at which end to stay
    ends = [
        sum(count * value / (1 + end * value) for count, value in zip(counts, values, strict=True))
        for end in (low, high)
    ]
    root = np.sqrt(np.maximum(linear**2 - 4 * squared * total, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        sharp = -(linear + np.copysign(root, linear)) / 2
        roots = np.nan_to_num([sharp / squared, total / sharp])
    tilt = np.where((roots[0] > low) & (roots[0] < high), roots[0], roots[1])
    tilt = np.where(ends[0] <= 0, low, np.where(ends[1] >= 0, high, np.clip(tilt, low, high)))
    weights = [count / n / (1 + tilt * value) for count, value in zip(counts, values, strict=True)]
    left = sum(weight * value for weight, value in zip(weights, values, strict=True))
    spread = sum(weight * value**2 for weight, value in zip(weights, values, strict=True))
    end = np.where(tilt <= low, max(values), np.where(tilt >= high, min(values), np.inf))
    with np.errstate(invalid="ignore"):
        spread = spread + np.where(np.isfinite(end), np.maximum(-left / end, 0.0) * np.square(end), 0.0)
    events = (gained + neither if errors else lost + both).astype(float)
    seen = np.maximum(lost - gained, 0).astype(float)
    known = events > seen
    passed = known & (total / n <= -_quantile(confidence) * np.sqrt(np.maximum(spread, 1e-300) / n))
    passed[passed] = betainc(events[passed] - seen[passed], seen[passed] + 1, 1 - limit) <= 1 - confidence
    return np.asarray(passed)


def _quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(confidence))


def _likely(n: int, share: float) -> Numbers:
    """The counts of a binomial distribution that have weight."""
    spread = 6.5 * math.sqrt(n * share * (1 - share)) + 6
    return np.arange(max(0, math.floor(n * share - spread)), min(n, math.ceil(n * share + spread)) + 1)


def _pmf(counts: Numbers, n: int | Numbers, share: float) -> Floats:
    """Of a binomial distribution: differences of its cumulative one, so that sums stay exact."""
    from scipy.special import bdtr

    return np.asarray(bdtr(counts, n, share) - np.where(counts > 0, bdtr(np.maximum(counts - 1, 0), n, share), 0.0))


def _reached(most: Numbers, counts: Numbers, share: float) -> Floats:
    """Probability that of so many flips so many at most are losses; 0 where none is too many."""
    from scipy.special import bdtr

    return np.where(most < 0, 0.0, bdtr(np.clip(most, 0, counts), counts, share))


def _most_lost(n: int, counts: Numbers, limit: float, confidence: float) -> Numbers:
    """The most answers that may be lost where so many flip and the loss is still shown to lie below the limit; -1 where
    even none is too many."""
    from scipy.special import betainc

    quantile = -_quantile(confidence)

    def shown(lost: Numbers, rows: Numbers) -> Bools:
        flipped = counts[rows]
        passed = tango(lost.astype(float), (flipped - lost).astype(float), n, limit) <= quantile
        # what few flips hide: the second test of `suite.decisions.answers`
        net = np.minimum(np.maximum(2 * lost - flipped, 0), n - 1)
        passed[passed] = betainc(n - net[passed], net[passed] + 1, 1 - limit) <= 1 - confidence
        return passed

    guess = (counts + n * limit + quantile * np.sqrt(np.maximum(counts - n * limit**2, 1.0))) / 2
    return _largest(guess, counts, shown)


def _largest(guess: Floats, top: Numbers, shown: Callable[[Numbers, Numbers], Bools]) -> Numbers:
    """The largest count of each row that is shown, at most `top`; -1 where none is. Whoever loses less passes too.

    Args:
        guess: rarely off by more than one or two.
        shown: of counts, and the numbers of the rows that they belong to.
    """
    most: Numbers = np.clip(np.floor(guess), -1, top).astype(np.intp)
    for step in (1, -1):
        moving = np.arange(len(top))
        while len(moving):
            at = most[moving] + (step > 0)
            inside = (at >= 0) & (at <= top[moving])
            moving, at = moving[inside], at[inside]
            moving = moving[shown(at, moving) == (step > 0)]
            most[moving] += step
    return most


def items_needed(
    limit: float, flips: float, *, lost: float = 0.0, wanted: float = 0.8, confidence: float = 0.95
) -> int | None:
    """The smallest number of items with this power, to three digits from 1,000 on; None beyond a million.

    >>> items_needed(0.05, 0.05)
    158
    """
    return _smallest(
        lambda n: power(n, limit, flips, lost=lost, confidence=confidence),
        floor_items(limit, confidence=confidence),
        wanted,
        digits=3,
    )


@lru_cache(maxsize=256)
def relative_items_needed(
    limit: float,
    flips: float,
    *,
    accuracy: float,
    errors: bool = False,
    wanted: float = 0.8,
    confidence: float = 0.95,
) -> tuple[int | None, bool]:
    """`items_needed` of a limit that is relative to dense, to two digits from 100 on; and whether by exact power.

    Beyond `MOST_RELATIVE` items by the normal approximation, which is as good there.
    """
    anchor = 1 - accuracy if errors else accuracy
    least = math.ceil(floor_items(limit, confidence=confidence) / anchor)
    about = flips * ((_quantile(confidence) + _quantile(wanted)) / (limit * anchor)) ** 2
    if max(about, least) > MOST_RELATIVE:
        return (None if max(about, least) > MOST else _rounded_up(max(about, least))), False
    found = _smallest(
        lambda n: relative_power(n, limit, flips, accuracy=accuracy, errors=errors, confidence=confidence),
        least,
        wanted,
        digits=2,
    )
    return found, True


def _smallest(power_of: Callable[[int], float], floor: int, wanted: float, *, digits: int) -> int | None:
    """The smallest number of items with this power, so many digits of it; None beyond `MOST`."""
    if floor > MOST:
        return None
    few, enough = floor - 1, floor
    while power_of(enough) < wanted:
        few, enough = enough, 2 * enough
        if enough > MOST:
            return None
    while enough - few > max(1, enough // 10**digits):
        middle = (few + enough) // 2
        if power_of(middle) < wanted:
            few = middle
        else:
            enough = middle
    # counts are whole, so power has teeth: a little fewer items may have it too
    n, step = max(floor, round(0.93 * enough)), _step(enough, digits)
    n = -(-n // step) * step
    while power_of(n) < wanted:
        n += step
    return n


def _rounded_up(n: float) -> int:
    step = _step(int(n), 2)
    return math.ceil(n / step) * step


def _step(n: int, digits: int) -> int:
    return int(10 ** max(0, len(str(n)) - digits))
