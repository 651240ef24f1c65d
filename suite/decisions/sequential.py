"""Deciding on few items first: a policy's lines as bets on items in a fixed random order, looked at after every item.

A line of a policy is the sign of the mean of one number an item. With c and d what the compressed and the dense model
do badly on it (1 for a wrong answer, the Brier score, the size of the prediction set), its loss is c - d; with the
*anchor* a that its limit is a share of (1 for points, dense's value, or the way from dense to chance),

    x a - (c - d)

is above zero on average where less than x is lost, and below where more is. Each such number lies between bounds that
are known beforehand, so that bets on it (`suite.metrics.betting`) may be looked at after every item. Brier score and
prediction sets become such sums because the first items, on which nothing is staked, fix temperature and thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell
from suite.errors import SuiteError
from suite.metrics import calibration, conformal, proper
from suite.metrics.betting import log_capital
from suite.metrics.folds import item_draws, uniforms, unit_keys

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]

FIRST = 40
"""Items that fix temperature and thresholds; fewer than 9 give no threshold at 90 %."""

FEWEST_FIRST = 10
ALPHA = 0.1
"""Miscoverage that prediction sets may have."""

LEVEL = 0.05
"""Of a rejection, and of "dense is above chance"."""

IMAGINED = 10.0
"""Items imagined before the first, one in ten of them lost or gained as a whole: they temper the first stakes."""


@dataclass(frozen=True)
class Order:
    """The items of one task in the order in which they are asked, fixed before any is.

    Attributes:
        task: its name.
        ids: items, those of one unit one after the other.
        sizes: items of each unit, in order.
        options: every number of options that an item has.
    """

    task: str
    ids: tuple[str, ...]
    sizes: tuple[int, ...]
    options: tuple[int, ...]

    @cached_property
    def ends(self) -> Numbers:
        """Items through each unit, shape [units]."""
        return np.cumsum(np.asarray(self.sizes, dtype=np.intp))

    def units_of(self, items: int) -> int:
        """The fewest whole units that have so many items; all of them where there are fewer."""
        return min(int(np.searchsorted(self.ends, items)) + 1, len(self.sizes)) if items > 0 else 0


def item_order(
    task: str, ids: Sequence[str], units: Sequence[str], n_options: Sequence[int] | NDArray[np.int64], *, seed: int = 0
) -> Order:
    """Items in an order that follows from a hash of their unit and the seed alone.

    >>> item_order("t", ["a", "b", "c"], ["x", "y", "x"], [4, 4, 4]).sizes in ((1, 2), (2, 1))
    True
    """
    names = list(dict.fromkeys(units))
    draws = uniforms(unit_keys(names, purpose="order"), seed)
    rank = {names[place]: number for number, place in enumerate(np.argsort(draws, kind="stable").tolist())}
    rows = sorted(range(len(ids)), key=lambda row: (rank[units[row]], ids[row]))
    sizes = np.bincount([rank[unit] for unit in units], minlength=len(names))
    options = tuple(sorted({int(count) for count in n_options}))
    return Order(task, tuple(ids[row] for row in rows), tuple(sizes.tolist()), options)


@dataclass(frozen=True)
class Measure:
    """How badly one model does on an item.

    Attributes:
        most: the worst an item can do, by its number of options; the best is 0.
        chance: what a blind guess does, by the number of options; None where that is not defined.
        fitted: whether the first items have to fix something before it can be read.
    """

    most: Callable[[int], float]
    chance: Callable[[int], float] | None
    fitted: bool


def _one(_: int) -> float:
    return 1.0


def _wrong_by_chance(options: int) -> float:
    return 1 - 1 / options


MEASURES: dict[str, Measure] = {
    "accuracy": Measure(_one, _wrong_by_chance, False),
    "error_rate": Measure(_one, None, False),
    "brier_ts": Measure(lambda _: 2.0, _wrong_by_chance, True),
    "set_size": Measure(float, lambda options: (1 - ALPHA) * options, True),
    "lac_transfer_coverage": Measure(_one, None, True),
}
"""Metrics of a policy that are bounded sums over items. NLL has no bound; safety has no task."""


@dataclass(frozen=True)
class Pairs:
    """Both models on the items of one task that were scored, in its order.

    Attributes:
        order: of the task.
        dense, compressed: how badly each did on each item, by metric, shape [n]; fitted ones only after the first.
        n_options: shape [n].
        first: items that temperature and thresholds were fitted on.
    """

    order: Order
    dense: Mapping[str, Floats]
    compressed: Mapping[str, Floats]
    n_options: NDArray[np.int64]
    first: int

    @property
    def rounds(self) -> int:
        """Whole units that both models were asked."""
        return int(np.searchsorted(self.order.ends, len(self.n_options), side="right"))


def pair(order: Order, dense: Cell, compressed: Cell, *, first: int = FIRST) -> Pairs:
    """What both models did on the items that both have answered, as far as these follow each other in the order.

    Temperature and thresholds of each model are fitted on the first items, whole units.

    Raises:
        SuiteError: too few first items, or an item with two right answers or numbers of options.
    """
    if first < FEWEST_FIRST:
        raise SuiteError(
            f"first {first}: out of range, {FEWEST_FIRST} items at least fix a threshold; {FIRST} is usual"
        )
    places = [{name: row for row, name in enumerate(cell.ids)} for cell in (dense, compressed)]
    shared = [name in places[0] and name in places[1] for name in order.ids]
    count = shared.index(False) if False in shared else len(shared)
    ids = order.ids[: _whole(order, count)]
    rows = [np.array([place[name] for name in ids], dtype=np.intp) for place in places]
    answers, options = dense.answers[rows[0]], dense.n_options[rows[0]]
    differ = (answers != compressed.answers[rows[1]]) | (options != compressed.n_options[rows[1]])
    if differ.any():
        name = ids[int(differ.argmax())]
        raise SuiteError(f"task {order.task}: item {name!r} has another answer or other options in {compressed.where}")
    fit = int(order.ends[order.units_of(first) - 1])
    logs = [
        cell.log_probabilities()[some][:, : int(options.max(initial=2))]
        for cell, some in zip((dense, compressed), rows, strict=True)
    ]
    probabilities = [
        np.where(np.arange(values.shape[1])[None, :] < options[:, None], np.exp(values), np.nan) for values in logs
    ]
    found: list[dict[str, Floats]] = [{"accuracy": 1 - proper.fractional_correct(p, answers)} for p in probabilities]
    for values in found:
        values["error_rate"] = values["accuracy"]
    if len(ids) >= fit:
        draws = item_draws(ids, purpose="aps")
        lac = [conformal.lac_scores(p, answers) for p in probabilities]
        aps = [conformal.aps_scores(p, answers, draws=draws) for p in probabilities]
        thresholds = [conformal.conformal_threshold(one.calibration[:fit], alpha=ALPHA) for one in lac]
        for side, values in enumerate(found):
            temperature = calibration.fit_temperature(logs[side][:fit], answers[:fit])
            warm = calibration.rescale(logs[side], temperature if math.isfinite(temperature) else 1.0)
            values["brier_ts"] = proper.brier_score(np.exp(warm), answers)
            sizes = [
                conformal.prediction_sets(
                    scores[side].options, conformal.conformal_threshold(scores[side].calibration[:fit], alpha=ALPHA)
                ).sum(axis=1)
                for scores in (lac, aps)
            ]
            values["set_size"] = np.asarray((sizes[0] + sizes[1]) / 2)
            values["lac_transfer_coverage"] = np.asarray(lac[side].calibration < thresholds[0], dtype=np.float64)
    return Pairs(order, found[0], found[1], options, fit)


def _whole(order: Order, items: int) -> int:
    """Items of the whole units among so many."""
    units = int(np.searchsorted(order.ends, items, side="right"))
    return int(order.ends[units - 1]) if units else 0


def anchor(unit: str, metric: str, dense: Floats, chance: Floats) -> Floats:
    """What a limit is a share of, item by item: one point, dense's value, or the way from dense to chance.

    Args:
        dense: how badly dense did; `chance`: how badly a blind guess does.
    """
    if unit == "points":
        return np.ones_like(dense)
    if unit == "headroom":
        return chance - dense
    return 1 - dense if metric == "accuracy" else dense


class BetLoss:
    """A loss on one task, or on the mean of several, as bets see it: p-values that hold whenever one looks.

    Of several tasks a round is one unit of each, so that the shortest ends it.

    Args:
        pairs: one entry a task.
        metric, unit: of a limit; the metric is one of `MEASURES`.
        rounds: looked at so far, all by default.
    """

    def __init__(self, pairs: Sequence[Pairs], metric: str, unit: str, rounds: int | None = None) -> None:
        self.pairs, self.metric, self.unit = tuple(pairs), metric, unit
        usable = min(one.rounds for one in self.pairs)
        self.rounds = usable if rounds is None else min(rounds, usable)
        measure = MEASURES[metric]
        self.seen = 0
        if measure.fitted:
            self.seen = max(one.order.units_of(one.first) for one in self.pairs)
        if self.rounds > self.seen:
            parts = [self._task(one, usable) for one in self.pairs]
            self._loss = np.mean([part[0] for part in parts], axis=0)
            self._anchor = np.mean([part[1] for part in parts], axis=0)

    def _task(self, pairs: Pairs, usable: int) -> tuple[Floats, Floats]:
        """Losses and anchors of one task, summed over units and divided by their mean size."""
        measure, starts = MEASURES[self.metric], np.r_[0, pairs.order.ends[: usable - 1]]
        items = int(pairs.order.ends[usable - 1])
        dense, compressed = (side[self.metric][:items] for side in (pairs.dense, pairs.compressed))
        counts = pairs.n_options[:items].tolist()
        chance = np.array([measure.chance(count) for count in counts]) if measure.chance else np.zeros(items)
        values = compressed - dense, anchor(self.unit, self.metric, dense, chance)
        loss, allowed = (np.add.reduceat(part, starts) / _mean_size(pairs.order) for part in values)
        return loss, allowed

    @property
    def staked(self) -> int:
        """Rounds on which something was staked."""
        return max(self.rounds - self.seen, 0)

    @property
    def value(self) -> float | None:
        """What was seen after the first items, in the unit; None where the anchor is not above zero."""
        if not self.staked:
            return None
        loss, allowed = (float(part[self.seen : self.rounds].mean()) for part in (self._loss, self._anchor))
        return loss / allowed if allowed > 0 else None

    def below(self, limit: float) -> float:
        """p-value of "less than this is lost"."""
        return float(self.below_path(limit)[-1]) if self.staked else 1.0

    def above(self, limit: float) -> float:
        """p-value of "more than this is lost"."""
        return float(self.above_path(limit)[-1]) if self.staked else 1.0

    def below_path(self, limit: float) -> Floats:
        """`below` after each round, shape [rounds]."""
        if not self.staked:
            return np.ones(self.rounds)
        values, size = limit * self._anchor - self._loss, len(self.pairs) ** -0.5
        typical = max(limit * float(self._anchor[: self.seen].mean() if self.seen else 1.0), 0.0)
        imagined = [(typical, 0.9 * IMAGINED), *((typical + one, 0.05 * IMAGINED) for one in (-size, size))]
        mirrored = limit * self._anchor + self._loss
        return self._p_values(values, _least(self.pairs, self.metric, self.unit, limit, +1), imagined, mirrored)

    def above_path(self, limit: float) -> Floats:
        """`above` after each round, shape [rounds]."""
        if not self.staked:
            return np.ones(self.rounds)
        low = _least(self.pairs, self.metric, self.unit, limit, -1)
        return self._p_values(self._loss - limit * self._anchor, low, [(-0.3 * low, 2.0), (0.3 * low, 1.0)], None)

    def _p_values(
        self, values: Floats, low: float, imagined: Sequence[tuple[float, float]], mirrored: Floats | None
    ) -> Floats:
        """One over the largest capital so far, at most 1."""
        until = slice(0, self.rounds)
        grown = log_capital(
            values[until],
            low=low,
            mirrored=None if mirrored is None else mirrored[until],
            seen=self.seen,
            prior=imagined,
        )
        return np.asarray(np.exp(-np.maximum.accumulate(np.maximum(grown, 0.0))))


def _mean_size(order: Order) -> float:
    return len(order.ids) / len(order.sizes)


def _least(pairs: Sequence[Pairs], metric: str, unit: str, limit: float, sign: int) -> float:
    """The least that `sign` times (limit x anchor - loss) of one round can be: at a corner, as it is linear."""
    measure, found = MEASURES[metric], []
    for one in pairs:
        corners = []
        for options in one.order.options:
            ends = np.array([0.0, measure.most(options)])
            chance = np.full(2, measure.chance(options) if measure.chance else 0.0)
            allowed = limit * anchor(unit, metric, ends, chance)
            corners.append(sign * (allowed[None, :] - (ends[:, None] - ends[None, :])))
        found.append(min(float(corner.min()) for corner in corners) * max(one.order.sizes) / _mean_size(one.order))
    return min(float(np.mean(found)), -1e-9)


def above_chance(pairs: Pairs) -> Floats:
    """p-value of "dense answers better than a blind guess" after each round, shape [rounds]."""
    rounds = pairs.rounds
    if not rounds:
        return np.ones(0)
    items = int(pairs.order.ends[rounds - 1])
    right = 1 - pairs.dense["accuracy"][:items] - 1 / pairs.n_options[:items]
    values = np.add.reduceat(right, np.r_[0, pairs.order.ends[: rounds - 1]]) / _mean_size(pairs.order)
    low = -max(pairs.order.sizes) / _mean_size(pairs.order) / min(pairs.order.options)
    grown = log_capital(values, low=low, prior=[(-0.3 * low, 2.0), (0.3 * low, 1.0)])
    return np.asarray(np.exp(-np.maximum.accumulate(np.maximum(grown, 0.0))))
