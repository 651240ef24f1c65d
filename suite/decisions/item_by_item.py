"""How two models do on the items of a task, item by item in a fixed random order, as bounded numbers that add up.

Brier score after temperature and prediction sets become such numbers because the first items fix temperature and
thresholds of both models; afterwards these stay as they are.
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
from suite.metrics.folds import item_draws, uniforms, unit_keys

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]

FIRST = 30
"""Items that fix temperature and thresholds."""

FEWEST_FIRST = 10
"""With fewer than 9 there is no threshold at 90 %."""

ALPHA = 0.1
"""Miscoverage that prediction sets may have."""


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

AGAINST = {"set_size": "set_size_against"}
"""By metric, what stands for it where a loss is to be shown: thresholds from few items differ by luck."""


@dataclass(frozen=True)
class Answered:
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


def check_first(first: int) -> None:
    """Raise one line where so few first items fix no threshold."""
    if first < FEWEST_FIRST:
        raise SuiteError(
            f"first {first}: out of range, {FEWEST_FIRST} items at least fix a threshold; {FIRST} is usual"
        )


def pair(order: Order, dense: Cell, compressed: Cell, *, first: int = FIRST) -> Answered:
    """What both models did on the items that both have answered, as far as these follow each other in the order.

    Temperature and thresholds of each model are fitted on the first items, whole units.

    Raises:
        SuiteError: too few first items, or an item with two right answers or numbers of options.
    """
    check_first(first)
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
            # a rejection must hold with thresholds that are an item off in the compressed model's favour on either side
            for key, shift in (("set_size", 0), (AGAINST["set_size"], 1 - 2 * side)):
                sizes = [
                    conformal.prediction_sets(
                        scores[side].options, _threshold(scores[side].calibration[:fit], shift)
                    ).sum(axis=1)
                    for scores in (lac, aps)
                ]
                values[key] = np.asarray((sizes[0] + sizes[1]) / 2)
            values["lac_transfer_coverage"] = np.asarray(lac[side].calibration < thresholds[0], dtype=np.float64)
    return Answered(order, found[0], found[1], options, fit)


def _threshold(calibration: Floats, shift: int) -> float:
    """The conformal threshold, so many items further into the tail."""
    rank = int(conformal.quantile_rank(len(calibration), alpha=ALPHA)) + shift
    return float(np.sort(calibration)[len(calibration) - rank]) if rank <= len(calibration) else -np.inf


def _whole(order: Order, items: int) -> int:
    """Items of the whole units among so many."""
    units = int(np.searchsorted(order.ends, items, side="right"))
    return int(order.ends[units - 1]) if units else 0
