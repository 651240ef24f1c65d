"""Statistical groups: which of several entries are not shown to be worse than the best of them.

The entries were measured on the same items with the same bootstrap weights, so that every difference is paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Floats, Numbers
from suite.metrics.proportions import paired_intervals


@dataclass(frozen=True)
class Behind:
    """How far entries lie behind a reference, in units of the metric; positive is worse.

    Attributes:
        value: shape [entries].
        low, high: simultaneous paired interval of each, shape [entries].
    """

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Shares:
    """What lies behind the values of a proportion on one task, item by item.

    Attributes:
        correct: right or not, shape [entries, items]; the same items in the same order for all entries.
        units: number of the unit of each item, shape [items].
    """

    correct: NDArray[np.floating[Any]]
    units: Numbers

    def of(self, entries: Numbers | list[int]) -> Shares:
        """Those of some entries."""
        return Shares(self.correct[entries], self.units)


def behind(
    values: Floats,
    replicates: NDArray[np.floating[Any]],
    reference: int,
    *,
    higher_is_better: bool,
    z: float,
    shares: Sequence[Shares | None] | None = None,
) -> Behind:
    """Paired differences to one entry, averaged over independent tasks.

    With d_t the difference on task t and s_t the standard deviation of its paired bootstrap replicates, the interval
    reaches z s_t to both sides on one task; of a proportion it is that of the paired flips, at the same level
    (`suite.metrics.proportions.paired_interval`), as no flip seen is not none to come. The difference is mean(d_t), and
    distances to the ends are combined in quadrature: sqrt(sum of squares) / T.

    Args:
        values: shape [tasks, entries].
        replicates: shape [tasks, entries, replicates]; entry by entry from the same bootstrap weights.
        reference: index of the entry that the others are compared with.
        z: normal quantile, from `z_against_best`.
        shares: of a proportion, one a task, None for a task whose items are not known.

    >>> values = np.array([[0.8, 0.7]])
    >>> copies = np.array([[[0.79, 0.81], [0.69, 0.71]]])
    >>> behind(values, copies, 0, higher_is_better=True, z=2.0).low.round(3).tolist()
    [0.0, 0.1]
    """
    from scipy.special import ndtr

    sign = 1.0 if higher_is_better else -1.0
    difference = sign * (values[:, reference, None] - values).mean(axis=0)
    level = 2 * float(ndtr(z)) - 1
    squares = np.zeros((2, values.shape[1]))
    for task, copies in enumerate(replicates):
        one = None if shares is None else shares[task]
        if one is None:
            reach = z * (copies[reference] - copies).std(axis=1, ddof=1, dtype=np.float64)
            below = above = reach
        else:
            correct = one.correct.astype(np.float64)
            changes = sign * (correct[reference] - correct)
            low, high = paired_intervals(changes, one.units, level=level)
            below, above = changes.mean(axis=1) - low, high - changes.mean(axis=1)
        squares += np.stack([below, above]) ** 2
    low, high = np.sqrt(squares) / len(values)
    # of an entry with itself nothing is unknown
    low[reference] = high[reference] = 0.0
    return Behind(difference, difference - low, difference + high)


def z_against_best(comparisons: int, *, level: float = 0.95) -> float:
    """One-sided normal quantile with Bonferroni's correction for so many comparisons.

    >>> round(z_against_best(1), 3), round(z_against_best(719), 3)
    (1.645, 3.81)
    """
    from scipy.special import ndtri

    return float(ndtri(1 - (1 - level) / max(comparisons, 1)))


def groups_of_best(
    values: Floats,
    replicates: NDArray[np.floating[Any]],
    *,
    higher_is_better: bool,
    level: float = 0.95,
    shares: Sequence[Shares | None] | None = None,
) -> NDArray[np.int64]:
    """Group number of each entry, from 1; shape [entries].

    Group 1 holds the observed best and every entry whose paired one-sided lower bound of "behind the best" is not above
    zero, each at 1 - (1 - level) / (k - 1) for k entries. It therefore holds the truly best entry with probability of
    at least `level`, although the observed best was picked by looking: the truly best one is left out only if its
    comparison with whichever entry came out on top errs, and Bonferroni's correction covers all k - 1 of those. The
    next group is made in the same way from the entries that are left, and is descriptive: the statement above is about
    group 1. Two entries of one group are not shown to be equal.

    Args:
        values: shape [tasks, entries].
        replicates: paired bootstrap replicates, shape [tasks, entries, replicates].
        shares: as in `behind`.

    Reference: the "best" of J. Hsu, "Multiple Comparisons", 1996, chapter 4, with Bonferroni's constants.

    >>> random = np.random.default_rng(0)
    >>> noise = random.normal(size=(1, 1, 500)) + 0.1 * random.normal(size=(1, 3, 500))
    >>> groups_of_best(np.array([[5.0, 4.9, 2.0]]), noise, higher_is_better=True).tolist()
    [1, 1, 2]
    """
    groups = np.zeros(values.shape[1], dtype=np.int64)
    left = np.arange(values.shape[1])
    number = 0
    while len(left):
        number += 1
        means = values[:, left].mean(axis=0)
        best = int(means.argmax() if higher_is_better else means.argmin())
        z = z_against_best(len(left) - 1, level=level)
        some = None if shares is None else [one if one is None else one.of(left) for one in shares]
        distance = behind(
            values[:, left], replicates[:, left], best, higher_is_better=higher_is_better, z=z, shares=some
        )
        inside = ~(distance.low > 1e-12)
        inside[best] = True
        groups[left[inside]] = number
        left = left[~inside]
    return groups
