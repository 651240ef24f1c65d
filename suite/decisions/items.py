"""How many items a limit needs: exact power of the score test of paired proportions, before anything is run."""

from __future__ import annotations

import math

import numpy as np

from suite.arrays import Bools, Numbers
from suite.metrics.score_test import tango

MOST = 1_000_000


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
    from scipy.special import bdtr

    if n < floor_items(limit, confidence=confidence):
        return 0.0
    spread = 8 * math.sqrt(n * flips * (1 - flips)) + 8
    counts = np.arange(max(0, math.floor(n * flips - spread)), min(n, math.ceil(n * flips + spread)) + 1)
    most = _most_lost(n, counts, limit, confidence)
    # of the binomial distribution each count's own share of the cumulative one: sums stay exact
    reached = bdtr(counts, n, flips)
    weights = np.diff(reached, prepend=float(bdtr(counts[0] - 1, n, flips)) if counts[0] else 0.0)
    within = np.where(most < 0, 0.0, bdtr(np.maximum(most, 0), counts, (1 + lost / flips) / 2))
    return float(weights @ within)


def _most_lost(n: int, counts: Numbers, limit: float, confidence: float) -> Numbers:
    """The most answers that may be lost where so many flip and the loss is still shown to lie below the limit; -1 where
    even none is too many. The test is one-sided: whoever loses less passes too."""
    from scipy.special import betainc, ndtri

    quantile = float(ndtri(1 - confidence))

    def shown(lost: Numbers, flipped: Numbers) -> Bools:
        passed = tango(lost.astype(float), (flipped - lost).astype(float), n, limit) <= quantile
        # what few flips hide: the second test of `suite.decisions.answers`
        net = np.minimum(np.maximum(2 * lost - flipped, 0), n - 1)
        passed[passed] = betainc(n - net[passed], net[passed] + 1, 1 - limit) <= 1 - confidence
        return passed

    # from a guess, which is rarely off by more than one or two
    guess = (counts + n * limit + quantile * np.sqrt(np.maximum(counts - n * limit**2, 1.0))) / 2
    most: Numbers = np.clip(np.floor(guess), -1, counts).astype(np.intp)
    for step in (1, -1):
        moving = np.arange(len(counts))
        while len(moving):
            at = most[moving] + (step > 0)
            inside = (at >= 0) & (at <= counts[moving])
            moving, at = moving[inside], at[inside]
            moving = moving[shown(at, counts[moving]) == (step > 0)]
            most[moving] += step
    return most


def items_needed(
    limit: float, flips: float, *, lost: float = 0.0, wanted: float = 0.8, confidence: float = 0.95
) -> int | None:
    """The smallest number of items with this power, to three digits from 1,000 on; None beyond a million.

    >>> items_needed(0.05, 0.05)
    158
    """
    floor = floor_items(limit, confidence=confidence)
    if floor > MOST:
        return None
    few, enough = floor - 1, floor
    while power(enough, limit, flips, lost=lost, confidence=confidence) < wanted:
        few, enough = enough, 2 * enough
        if enough > MOST:
            return None
    while enough - few > max(1, enough // 1000):
        middle = (few + enough) // 2
        if power(middle, limit, flips, lost=lost, confidence=confidence) < wanted:
            few = middle
        else:
            enough = middle
    # counts are whole, so power has teeth: a little fewer items may have it too
    n, step = max(floor, round(0.93 * enough)), _step(enough)
    n = -(-n // step) * step
    while power(n, limit, flips, lost=lost, confidence=confidence) < wanted:
        n += step
    return n


def _step(n: int) -> int:
    return int(10 ** max(0, len(str(n)) - 3))
