"""How many items a limit needs: exact power of the score test of paired proportions, before anything is run."""

from __future__ import annotations

import math

import numpy as np

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
    from scipy.special import betainc, ndtri
    from scipy.stats import binom

    if n < floor_items(limit, confidence=confidence):
        return 0.0
    spread = 8 * math.sqrt(n * flips * (1 - flips)) + 8
    counts = np.arange(max(0, math.floor(n * flips - spread)), min(n, math.ceil(n * flips + spread)) + 1)
    # the most that may be lost of so many flips: -1 where even none is too many
    most, beyond = np.full(len(counts), -1), counts + 1
    while (beyond - most > 1).any():
        middle = np.clip((most + beyond) // 2, 0, counts)
        shown = tango(middle.astype(float), (counts - middle).astype(float), n, limit) <= ndtri(1 - confidence)
        # what few flips hide: the second test of `suite.decisions.answers`
        net = np.minimum(np.maximum(2 * middle - counts, 0), n - 1)
        shown &= betainc(n - net, net + 1, 1 - limit) <= 1 - confidence
        open_ = beyond - most > 1
        most, beyond = np.where(open_ & shown, middle, most), np.where(open_ & ~shown, middle, beyond)
    return float((binom.pmf(counts, n, flips) * binom.cdf(most, counts, (1 + lost / flips) / 2)).sum())


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
