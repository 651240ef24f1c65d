"""Deciding on few items first: a policy's limits as bets on items in a fixed random order, looked at after every item.

A limit of a policy is the sign of the mean of one number an item. With c and d what the compressed and the dense model
do badly on it (1 for a wrong answer, the Brier score, the size of the prediction set), its loss is c - d; with the
*anchor* a that its limit is a share of (1 for points, dense's value, or the way from dense to chance),

    x a - (c - d)

is above zero on average where less than x is lost, and below where more is. Each such number lies between bounds that
are known beforehand, so that bets on it (`suite.metrics.betting`) may be looked at after every item, and one may stop
when one likes. Decisions are those of `suite.decisions.gate`, with p-values that hold at every look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.decisions.gate import ACCEPT, REJECT, Line, Tested, as_record, decide, lines_of, must_be_measured
from suite.decisions.item_by_item import AGAINST, MEASURES, Answered, Order
from suite.decisions.policy import Policy
from suite.errors import SuiteError
from suite.metrics.betting import log_capital
from suite.verdicts.dose import CONFIDENCE, end_of

Floats = NDArray[np.float64]

LEVEL = 1 - CONFIDENCE
"""Of "dense is above chance"."""

IMAGINED = 10.0
"""Items imagined before the first, one in ten of them lost or gained as a whole: they temper the first stakes."""


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
        tasks: what both models did, one entry a task.
        metric, unit: of a limit; the metric is one of `MEASURES`.
        rounds: looked at so far, all by default.
    """

    def __init__(self, tasks: Sequence[Answered], metric: str, unit: str, rounds: int | None = None) -> None:
        self.tasks, self.metric, self.unit = tuple(tasks), metric, unit
        usable = min(one.rounds for one in self.tasks)
        self.rounds = usable if rounds is None else min(rounds, usable)
        measure = MEASURES[metric]
        self.seen = 0
        if measure.fitted:
            self.seen = max(one.order.units_of(one.first) for one in self.tasks)
        if self.rounds > self.seen:
            self._loss, self._anchor = self._mean(usable, metric)
            self._against = self._mean(usable, AGAINST[metric]) if metric in AGAINST else (self._loss, self._anchor)

    def _mean(self, usable: int, key: str) -> tuple[Floats, Floats]:
        parts = [self._of(one, usable, key) for one in self.tasks]
        loss, allowed = (np.mean([part[place] for part in parts], axis=0) for place in (0, 1))
        return loss, allowed

    def _of(self, task: Answered, usable: int, key: str) -> tuple[Floats, Floats]:
        """Losses and anchors of one task, summed over units and divided by their mean size."""
        measure, starts = MEASURES[self.metric], np.r_[0, task.order.ends[: usable - 1]]
        items = int(task.order.ends[usable - 1])
        dense, compressed = (side[key][:items] for side in (task.dense, task.compressed))
        counts = task.n_options[:items].tolist()
        chance = np.array([measure.chance(count) for count in counts]) if measure.chance else np.zeros(items)
        values = compressed - dense, anchor(self.unit, self.metric, dense, chance)
        loss, allowed = (np.add.reduceat(part, starts) / _mean_size(task.order) for part in values)
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

    def bounds(self, confidence: float) -> tuple[float | None, float | None]:
        """What is lost at least and at most, each with this confidence whenever one looks; None where unbounded."""
        if self.value is None:
            return None, None
        return end_of(self.above, self.value, -1, confidence), end_of(self.below, self.value, +1, confidence)

    def below_path(self, limit: float) -> Floats:
        """`below` after each round, shape [rounds]."""
        if not self.staked:
            return np.ones(self.rounds)
        values, size = limit * self._anchor - self._loss, len(self.tasks) ** -0.5
        typical = max(limit * float(self._anchor[: self.seen].mean() if self.seen else 1.0), 0.0)
        imagined = [(typical, 0.9 * IMAGINED), *((typical + one, 0.05 * IMAGINED) for one in (-size, size))]
        mirrored = limit * self._anchor + self._loss
        return self._p_values(values, _least(self.tasks, self.metric, self.unit, limit, +1), imagined, mirrored)

    def above_path(self, limit: float) -> Floats:
        """`above` after each round, shape [rounds]."""
        if not self.staked:
            return np.ones(self.rounds)
        low = _least(self.tasks, self.metric, self.unit, limit, -1)
        loss, allowed = self._against
        return self._p_values(loss - limit * allowed, low, [(-0.3 * low, 2.0), (0.3 * low, 1.0)], None)

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


def _least(tasks: Sequence[Answered], metric: str, unit: str, limit: float, sign: int) -> float:
    """The least that `sign` times (limit x anchor - loss) of one round can be: at a corner, as it is linear."""
    measure, found = MEASURES[metric], []
    for one in tasks:
        corners = []
        for options in one.order.options:
            ends = np.array([0.0, measure.most(options)])
            chance = np.full(2, measure.chance(options) if measure.chance else 0.0)
            allowed = limit * anchor(unit, metric, ends, chance)
            corners.append(sign * (allowed[None, :] - (ends[:, None] - ends[None, :])))
        found.append(min(float(corner.min()) for corner in corners) * max(one.order.sizes) / _mean_size(one.order))
    return min(float(np.mean(found)), -1e-9)


def above_chance(task: Answered) -> Floats:
    """p-value of "dense answers better than a blind guess" after each round, shape [rounds]."""
    rounds = task.rounds
    if not rounds:
        return np.ones(0)
    items = int(task.order.ends[rounds - 1])
    right = 1 - task.dense["accuracy"][:items] - 1 / task.n_options[:items]
    values = np.add.reduceat(right, np.r_[0, task.order.ends[: rounds - 1]]) / _mean_size(task.order)
    low = -max(task.order.sizes) / _mean_size(task.order) / min(task.order.options)
    grown = log_capital(values, low=low, prior=[(-0.3 * low, 2.0), (0.3 * low, 1.0)])
    return np.asarray(np.exp(-np.maximum.accumulate(np.maximum(grown, 0.0))))


@dataclass(frozen=True)
class Look:
    """What is decided after some items.

    Attributes:
        decision, reason, lines: as `suite.decisions.gate.decide` gives them.
        red: which of the lines are red lines.
        items: of each task that the decision rests on.
        lost: what is lost of accuracy at least and at most, in points, on average over tasks.
        notes: what stands in the way.
    """

    decision: str
    reason: str | None
    lines: list[dict[str, Any]]
    red: list[bool]
    items: Mapping[str, int]
    lost: tuple[float | None, float | None]
    notes: tuple[str, ...] = ()


def check_bounded(policy: Policy) -> None:
    """Raise one line where a criterion cannot be tested item by item.

    Raises:
        SuiteError: a criterion on a metric without bounds, or on a part of tasks.
    """
    for line in policy.criteria:
        if line.metric not in MEASURES:
            raise SuiteError(
                f"policy {policy.name}: {line.metric} of one item has no bound, so that it cannot be tested item by "
                f"item. With --sequential: {', '.join(MEASURES)}"
            )
        if line.slice is not None:
            raise SuiteError(
                f"policy {policy.name}: its limit on the slice {line.slice} needs all items; leave out --sequential"
            )


@dataclass(frozen=True)
class Stop:
    """Where a decision is reached first.

    Attributes:
        decision: ACCEPT, REJECT, or None where there is none yet.
        rounds: units of each task that it rests on; all of them where there is none.
        held, lines: of so many limits so many are shown to hold.
    """

    decision: str | None
    rounds: int
    held: int
    lines: int


def stop(tasks: Sequence[Answered], policy: Policy, *, share: float = 1.0) -> Stop:
    """The first item after which there is a decision.

    Whether one looks after every item, at the end of batches or once changes nothing: what was reached is kept. Of
    policies that should be refused one in twenty at most is ever accepted, of those that should not be rejected one in
    twenty at most ever is.

    Args:
        tasks: what both models did so far, one entry a task.
        share: of each error probability that this decision may use (`suite.decisions.attempts.spent`).

    Raises:
        SuiteError: as `check_bounded` and `suite.decisions.gate.lines_of`.
    """
    check_bounded(policy)
    known = {one.order.task: one for one in tasks}
    bets = _bets(tasks, policy)
    most = max(one.rounds for one in tasks)
    shown, over, held = np.ones(most, dtype=bool), np.zeros(most, dtype=bool), 0
    for one in known.values():
        shown &= _padded(above_chance(one), most) <= LEVEL
    for line, bet in bets:
        level = (1 - line.line.confidence) * share
        if bet is None:
            shown &= not must_be_measured(line)
            continue
        beyond = float(line.line.limit * (1.0 if line.is_red else policy.review))
        within = _padded(bet.below_path(line.line.tested), most) <= level if line.line.tested > 0 else shown & False
        shown &= within
        held += bool(within[-1:].any())
        # the first step of Holm's correction over all lines
        over |= _padded(bet.above_path(beyond), most) * len(bets) <= level
    either = shown | over
    if not either.any():
        return Stop(None, most, held, len(bets))
    rounds = int(either.argmax()) + 1
    return Stop(REJECT if over[rounds - 1] else ACCEPT, rounds, held, len(bets))


def look(tasks: Sequence[Answered], policy: Policy, *, doubted: bool = False, share: float = 1.0) -> Look:
    """The decision where it is reached first (see `stop`), or what is known after all items that were answered.

    Args:
        doubted: something stands in the way of an acceptance (see `suite.decisions.gate.decide`).
        share: as in `stop`.
    """
    rounds = stop(tasks, policy, share=share).rounds
    bets = _bets(tasks, policy)
    tested = [
        Tested(line, None, _unmeasured(line))
        if bet is None
        else Tested(line, BetLoss(bet.tasks, bet.metric, bet.unit, rounds))
        for line, bet in bets
    ]
    guessing = [one.order.task for one in tasks if _padded(above_chance(one), rounds)[rounds - 1] > LEVEL]
    decision, reason, lines = decide(tested, policy, blocked=bool(guessing), doubted=doubted, share=share)
    return Look(
        decision,
        reason,
        lines,
        [line.is_red for line, _ in bets],
        {one.order.task: _items(one.order, min(rounds, one.rounds)) for one in tasks},
        BetLoss(tasks, "accuracy", "points", rounds).bounds(CONFIDENCE),
        tuple(f"{name}: dense is not shown to answer better than a blind guess" for name in guessing),
    )


def record_of(
    found: Look,
    policy: Policy,
    names: tuple[str, str],
    notes: Sequence[str] = (),
    *,
    attempt: int = 1,
    unlocked: int | None = None,
) -> dict[str, Any]:
    """The record of `suite.decisions.gate`, with the items of each task that the decision rests on.

    Args:
        names: model and variant.
        attempt: the how manieth on these items it is (`suite.decisions.attempts`).
        unlocked: cells that no lock had fixed; all by default.
    """
    record = as_record(
        names,
        policy,
        (found.decision, found.reason, found.lines),
        red=found.red,
        unlocked=len(found.items) if unlocked is None else unlocked,
        attempt=attempt,
        lost=found.lost,
        notes=[*notes, *found.notes],
    )
    return {**record, "items": dict(found.items)}


def _bets(tasks: Sequence[Answered], policy: Policy) -> list[tuple[Line, BetLoss | None]]:
    known = {one.order.task: one for one in tasks}
    return [(line, _bet(line, known)) for line in lines_of(policy, list(known))]


def _bet(line: Line, known: Mapping[str, Answered]) -> BetLoss | None:
    tasks = [known[name] for name in line.tasks if name in known]
    if len(tasks) < len(line.tasks) or line.line.slice is not None or line.line.metric not in MEASURES:
        return None
    return BetLoss(tasks, line.line.metric, line.line.unit)


def _unmeasured(line: Line) -> str:
    if line.line.slice is not None:
        return "parts of tasks need all items"
    return "no task of the suite measures it" if line.line.metric not in MEASURES else "its task was not asked"


def _items(order: Order, rounds: int) -> int:
    return int(order.ends[rounds - 1]) if rounds else 0


def _padded(path: Floats, rounds: int) -> Floats:
    """A path that ends before others stays where it ended."""
    return np.pad(path[:rounds], (0, max(rounds - len(path), 0)), mode="edge") if len(path) else np.ones(rounds)
