"""How many right answers a compressed model has lost: tests and bounds from both models' answers to the same items.

A loss x is stated in points, relative to dense's accuracy or error rate, or as a share of its headroom. With d and c
right or not of dense and of the compressed model, and a the *anchor* of an item (1, d, 1 - d, or d less a blind guess),
"more than x is lost" is the sign of the mean of

    d - c - x a,

one linear contrast, whatever the unit: no limit is computed from an estimate. It is tested by the score test of
`suite.metrics.score_test` (Tango's, for points); with several tasks, by the mean of their means. Where few answers
flip, a binomial tail knows what can hide (`suite.verdicts.dose.few_events`): the larger p-value counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from suite.arrays import Floats, Numbers
from suite.metrics.score_test import Counted, effective_number, statistic_of
from suite.verdicts.dose import end_of, few_events

ANCHORS: dict[tuple[str, str], Callable[[Floats, Floats], Floats]] = {
    ("accuracy", "points"): lambda right, _: np.ones_like(right),
    ("accuracy", "relative"): lambda right, _: right,
    ("accuracy", "headroom"): lambda right, chance: right - chance,
    ("error_rate", "points"): lambda right, _: np.ones_like(right),
    ("error_rate", "relative"): lambda right, _: 1 - right,
}
"""What a loss is a share of, item by item, from dense's right answers and the worth of a blind guess."""

HALF = 0.5
"""Of an answer, taken from what was lost before "more was lost" is said: answers are whole."""


@dataclass(frozen=True)
class Pairs:
    """Answers of two models to the same items of one task, counted.

    Attributes:
        dense, compressed: right (1), wrong (0) or between, where options tie; a number a row of the table.
        chance: what a blind guess is worth.
        counts: items with these values.
        worth: of how many independent items.
    """

    dense: tuple[float, ...]
    compressed: tuple[float, ...]
    chance: tuple[float, ...]
    counts: tuple[int, ...]
    worth: float

    @property
    def n(self) -> int:
        """Items."""
        return sum(self.counts)

    @property
    def flips(self) -> float:
        """Share of the items whose answer became right or wrong."""
        moved = np.abs(np.subtract(self.dense, self.compressed)) > 1e-9
        return float(np.dot(moved, self.counts)) / self.n


def pairs_of(dense: Floats, compressed: Floats, units: Numbers | None = None, chance: Floats | None = None) -> Pairs:
    """Count the answers of two models.

    Args:
        dense, compressed: right or not of each item, in one order, shape [n], n at least 1.
        units: number of the unit of each item; none where every item is one.
        chance: what a blind guess is worth on each item; none where no limit is a share of the headroom.

    >>> pairs_of(np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])).counts
    (1, 1, 1)
    """
    guess = np.zeros_like(dense) if chance is None else chance
    rows, counts = np.unique(np.stack([dense, compressed, guess]), axis=1, return_counts=True)
    worth = effective_number(dense - compressed, np.arange(len(dense)) if units is None else units)
    columns = [tuple(row.tolist()) for row in rows]
    return Pairs(columns[0], columns[1], columns[2], tuple(counts.tolist()), worth)


@dataclass(frozen=True)
class LostAnswers:
    """The loss of a metric on one task, or on the mean of several.

    Attributes:
        tasks: one table each.
        metric, unit: of a limit, one of `ANCHORS`.
    """

    tasks: tuple[Pairs, ...]
    metric: str = "accuracy"
    unit: str = "points"

    @property
    def value(self) -> float | None:
        """What was seen, in the unit; above 0 where something was lost. None where the anchor is not above zero."""
        lost, anchor = self._means
        return lost / anchor if anchor > 0 else None

    def below(self, limit: float) -> float:
        """p-value of "less than this is lost"."""
        return _below(self, limit)

    def above(self, limit: float) -> float:
        """p-value of "more than this is lost"."""
        return _above(self, limit)

    def bounds(self, confidence: float) -> tuple[float | None, float | None]:
        """What is lost at least and at most, each with this confidence; None where unbounded."""
        return _bounds(self, confidence)

    def tested(self, limit: float, less: float = 0.0) -> float:
        """The contrast at a limit in its standard errors."""
        return statistic_of([one.contrast(limit, less / len(self.tasks)) for one in self._anchored])

    @cached_property
    def events(self) -> float:
        """Independent items that could have been lost. On the mean of tasks one task may lose for all of them."""
        shares = [float(np.dot(one.anchor, one.pairs.counts)) / one.pairs.n for one in self._anchored]
        return len(self.tasks) * min(max(share, 0.0) * one.worth for share, one in zip(shares, self.tasks, strict=True))

    @cached_property
    def _means(self) -> tuple[float, float]:
        lost = [np.dot(np.subtract(one.dense, one.compressed), one.counts) / one.n for one in self.tasks]
        anchor = [np.dot(one.anchor, one.pairs.counts) / one.pairs.n for one in self._anchored]
        return float(np.mean(lost)), float(np.mean(anchor))

    @cached_property
    def _anchored(self) -> tuple[_Anchored, ...]:
        return tuple(_Anchored(one, self.metric, self.unit) for one in self.tasks)


@dataclass(frozen=True)
class _Anchored:
    """A table, and what a loss on it is a share of: what does not depend on the limit is computed once."""

    pairs: Pairs
    metric: str
    unit: str

    @cached_property
    def anchor(self) -> Floats:
        """Of each row of the table."""
        return ANCHORS[self.metric, self.unit](np.array(self.pairs.dense), np.array(self.pairs.chance))

    @cached_property
    def _rows(self) -> tuple[Floats, Floats, list[tuple[float, Floats]]]:
        """What was lost in each row, its share of the items, and the anchors of an answer that nobody saw: right or
        wrong of dense."""
        lost = np.subtract(self.pairs.dense, self.pairs.compressed)
        shares = np.array(self.pairs.counts, dtype=np.float64) / self.pairs.n
        chance = np.unique(self.pairs.chance)
        unseen = [(dense, ANCHORS[self.metric, self.unit](np.full_like(chance, dense), chance)) for dense in (1.0, 0.0)]
        return lost, shares, unseen

    def contrast(self, limit: float, less: float) -> Counted:
        """The contrast at a limit, so many answers less."""
        lost, shares, unseen = self._rows
        taken = less / self.pairs.n
        values = lost - limit * self.anchor - taken
        corners = [dense - limit * anchors - taken for dense, anchors in unseen]
        low = min(float(corner.min()) for corner in corners) - 1
        high = max(float(corner.max()) for corner in corners)
        mean = float(values @ shares)
        spread = float(shares @ (values - mean) ** 2)
        return Counted(values.tolist(), shares.tolist(), self.pairs.worth, low, high, mean, spread)


@lru_cache(maxsize=65536)
def _below(loss: LostAnswers, limit: float) -> float:
    from scipy.special import ndtr

    if loss.value is None:
        return 1.0
    hidden = few_events(loss.value, limit, loss.events, worth=1.0) if limit < 1 else 0.0
    return max(float(ndtr(loss.tested(limit))), hidden)


@lru_cache(maxsize=65536)
def _above(loss: LostAnswers, limit: float) -> float:
    from scipy.special import ndtr

    return 1.0 if loss.value is None else float(ndtr(-loss.tested(limit, HALF)))


@lru_cache(maxsize=65536)
def _bounds(loss: LostAnswers, confidence: float) -> tuple[float | None, float | None]:
    if loss.value is None:
        return None, None
    return end_of(loss.above, loss.value, -1, confidence), end_of(loss.below, loss.value, +1, confidence)
