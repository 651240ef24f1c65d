"""Accuracy and uncertainty, do they move together? Each variant against dense, judged against matched nulls.

The nulls say what set size would do if the variant were the dense model with noise of its own, of several kinds, as
much of it as flips the answers that the variant flipped and loses the accuracy that it lost (`suite.verdicts.damage`).
Larger prediction sets that merely follow lower accuracy are therefore no decoupling; what is left beyond all of them,
the *excess*, is. On single tasks and on averages over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics import bootstrap, proportions
from suite.metrics.average import Average, Setting, averaged, combined
from suite.metrics.rows import Measured, score_cell
from suite.metrics.workers import in_processes
from suite.verdicts.collapse import RULE, Z_LEVEL, Z_POWER
from suite.verdicts.curves import MACRO, METRICS, PRIMARY, cell_setting, settings_averaged
from suite.verdicts.damage import NULLS, damage_paths, explained, with_replicates

COUPLINGS = {
    "coupled": "uncertainty moved as damage of that accuracy and so many flips moves it",
    "silent uncertainty loss": "accuracy is equivalent to dense, uncertainty is lost beyond what damage explains",
    "amplified loss": "accuracy is lost, and uncertainty beyond what damage explains",
    "uncertainty loss": "uncertainty is lost beyond what damage explains; whether accuracy is lost is not known",
    "silent accuracy loss": "accuracy is lost, uncertainty does not show it",
    "muted loss": "accuracy is lost, and less uncertainty than damage explains",
    "uncertainty kept": "less uncertainty is lost than damage explains; whether accuracy is lost is not known",
    "improved": "uncertainty is better than dense at no loss of accuracy",
    "no null": "accuracy rose: no damage explains that",
    "undetermined": "not enough items to tell, or the kinds of damage do not agree",
}

BEYOND = ("silent uncertainty loss", "amplified loss", "uncertainty loss")
"""Verdicts that say that more uncertainty is lost than damage explains."""

ACCURACY_MARGIN = 0.02
"""Changes of accuracy within this are equivalence (two one-sided tests at level 0.05)."""

ONE_SIDED = 0.90
"""Level of the two-sided interval whose ends are one-sided bounds at 0.95."""

ALLOWANCE = 0.03
"""Share of the headroom by which the nulls may all miss: planted damage of other kinds lies outside their range by up
to so much (docs/decoupling.md)."""

MOST_ITEMS = 1_000_000
"""More items than this are no answer to how many would decide."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, and its standard error.

    Attributes:
        one_sided: bounds that each hold at level 0.95, for tests of equivalence; None where they are those of a normal
            estimate.
    """

    value: float
    low: float
    high: float
    error: float
    one_sided: tuple[float, float] | None = None

    @classmethod
    def of(cls, value: float, replicates: Floats, *, units: Numbers, most: float) -> Estimate:
        """From a point value and bootstrap replicates.

        Args:
            units: number of the unit of each item.
            most: how far one item can change, for replicates that all agree.
        """
        if proportions.varies(replicates):
            (low, high), sides = (
                bootstrap.percentile_interval(replicates, level=level) for level in (proportions.LEVEL, ONE_SIDED)
            )
            return cls(value, low, high, float(np.nanstd(replicates, ddof=1)), sides)
        worth = proportions.independent(units)
        (low, high), one_sided = (
            proportions.unseen_interval(value, proportions.unseen(worth, level=level), (-most, most))
            for level in (proportions.LEVEL, ONE_SIDED)
        )
        return cls(value, low, high, (high - low) / 2 / proportions.NORMAL, one_sided)

    @classmethod
    def paired(cls, value: float, replicates: Floats, *, changes: Floats, units: Numbers) -> Estimate:
        """Of a proportion, from the change of each item: no flip seen is not none to come.

        The standard error is that of the replicates, which shrinks with the number of items as the truth does; without
        a flip the interval stands in for it.
        """
        low, high = proportions.paired_interval(changes, units)
        one_sided = proportions.paired_interval(changes, units, level=ONE_SIDED)
        spread = float(np.nanstd(replicates, ddof=1)) if proportions.varies(replicates) else 0.0
        return cls(value, low, high, spread or (high - low) / 2 / proportions.NORMAL, one_sided)

    def shrunk(self, factor: float, *, power: bool = False) -> Estimate:
        """With its ends nearer to the value by a factor, as more items make them.

        Args:
            power: so far as to lie where they would in 80 % of repetitions.
        """
        more = 1 + Z_POWER / Z_LEVEL if power else 1.0

        def moved(end: float) -> float:
            return self.value + (end - self.value) * factor * more

        low, high = self.bounds
        return Estimate(self.value, moved(self.low), moved(self.high), self.error * factor, (moved(low), moved(high)))

    @property
    def bounds(self) -> tuple[float, float]:
        """One-sided bounds at level 0.95, below and above."""
        return self.one_sided or (self.value - Z_LEVEL * self.error, self.value + Z_LEVEL * self.error)

    def within(self, margin: float) -> bool:
        """Two one-sided tests at level 0.05: is the truth within plus and minus the margin?"""
        low, high = self.bounds
        return -margin < low and high < margin


@dataclass(frozen=True)
class Coupling:
    """How one variant's uncertainty moved against its accuracy.

    Attributes:
        accuracy: change of accuracy, variant minus dense.
        size: change of set size.
        above: change of set size less the most that a null explains, and the allowance; above 0 is beyond all of them.
        below: less the least that one explains; below 0 is short of all of them.
        headroom: set size from dense to chance.
        items: number of units behind it.
        matched: change that each of `NULLS` explains.
    """

    accuracy: Estimate
    size: Estimate
    above: Estimate
    below: Estimate
    headroom: float
    items: int
    matched: tuple[float, ...] = ()

    @property
    def margin(self) -> float:
        """Practical minimum of set size."""
        return max(METRICS[PRIMARY].minimum, RULE.practical_of_headroom * max(self.headroom, 0.0))

    @property
    def excess(self) -> tuple[float, float, float]:
        """How far the change lies outside what the nulls explain, with its 95 % interval; 0 within."""
        pairs = (
            (self.above.value, self.below.value),
            (self.above.low, self.below.low),
            (self.above.high, self.below.high),
        )
        value, low, high = (max(above, 0.0) + min(below, 0.0) for above, below in pairs)
        return value, low, high

    @property
    def verdict(self) -> str:
        """A key of `COUPLINGS`; what comes first counts.

        * *silent uncertainty loss*: accuracy equivalent; set size up (two-sided, 95 %) by the practical minimum or
          more; beyond all nulls.
        * *silent accuracy loss*: accuracy down (two-sided) by the margin or more; set size equivalent; short of all
          nulls.
        * *improved*: set size down by the practical minimum or more (two-sided); accuracy not lower by the margin.
        * *no null*: accuracy up (two-sided).
        * *coupled*: within the practical minimum of what the nulls explain (two one-sided tests).
        * beyond all nulls (two-sided): *amplified loss* where accuracy is down (two-sided), else *uncertainty loss*.
        * short of all nulls: *muted loss* where accuracy is down, else *uncertainty kept*.
        """
        change, size, margin = self.accuracy, self.size, self.margin
        lost = change.high < 0
        if change.within(ACCURACY_MARGIN) and size.low > 0 and size.value >= margin and self.above.low > 0:
            return "silent uncertainty loss"
        if lost and change.value <= -ACCURACY_MARGIN and size.within(margin) and self.below.high < 0:
            return "silent accuracy loss"
        if change.bounds[0] > -ACCURACY_MARGIN and size.high < 0 and size.value <= -margin:
            return "improved"
        if change.low > 0:
            return "no null"
        if self.above.bounds[1] < margin and self.below.bounds[0] > -margin:
            return "coupled"
        if self.above.low > 0:
            return "amplified loss" if lost else "uncertainty loss"
        if self.below.high < 0:
            return "muted loss" if lost else "uncertainty kept"
        return "undetermined"

    @property
    def items_needed(self) -> int | None:
        """How many items would give a verdict in 80 % of repetitions if the truth is what was seen; None where there is
        one already, and where no number would."""
        if self.verdict != "undetermined" or self._at(MOST_ITEMS).verdict == "undetermined":
            return None
        least, most = self.items, MOST_ITEMS
        while most - least > max(1, least // 100):
            middle = (least + most) // 2
            if self._at(middle).verdict == "undetermined":
                least = middle
            else:
                most = middle
        return most

    def _at(self, items: int) -> Coupling:
        """As so many items would show it."""
        factor = math.sqrt(self.items / items)
        names = ("accuracy", "size", "above", "below")
        return replace(self, **{name: getattr(self, name).shrunk(factor, power=True) for name in names})

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said beside the verdict."""
        if self.verdict != "undetermined":
            return ()
        needed = self.items_needed
        if needed is None:
            return (f"no number of items up to {MOST_ITEMS:,} would decide if the truth is what was seen",)
        return (f"about {needed:,} items would decide, if the truth is what was seen",)


@dataclass(frozen=True)
class _Moved:
    """What one variant changed against dense, on one setting of a task.

    Attributes:
        flips: change of each answer, -1 to 1, shape [n].
        changes: change of accuracy and of set size, value first, then replicates, shape [2, 1 + replicates].
        headroom: set size from dense to chance.
        most: how far the set size of one item can change.
        units: number of the unit of each item, shape [n].
    """

    flips: Floats
    changes: Floats
    headroom: float
    most: float
    units: Numbers

    @classmethod
    def between(cls, one: Measured, dense: Measured) -> _Moved:
        """Of two cells on the same items."""
        changes = [
            np.r_[one.values[key] - dense.values[key], one.replicates[key] - dense.replicates[key]]
            for key in ("accuracy", PRIMARY)
        ]
        headroom = dense.row["set_size_chance"] - dense.values[PRIMARY]
        most = float(one.cell.n_options.max())
        return cls(one.correct - dense.correct, np.stack(changes), headroom, most, one.units)


@dataclass(frozen=True)
class _Part:
    """The same beside what damage explains, before it is averaged.

    Attributes:
        explained: change of set size that each null explains, shape [nulls, 1 + replicates].
        accuracy: the change with its interval.
        coupling: judged on its own.
    """

    moved: _Moved
    explained: Floats
    accuracy: Estimate
    coupling: Coupling


def _judged(
    accuracy: Estimate,
    changes: Floats,
    matched: Floats,
    *,
    estimate: Callable[[float, Floats], Estimate],
    headroom: float,
    items: int,
) -> Coupling:
    size = changes[1]
    slack = ALLOWANCE * max(headroom, 0.0)
    above, below = size - matched.max(axis=0) - slack, size - matched.min(axis=0) + slack
    moved, beyond, short = (estimate(float(one[0]), one[1:]) for one in (size, above, below))
    explains = tuple(float(one) for one in matched[:, 0])
    return Coupling(accuracy, moved, beyond, short, headroom, items, explains)


def find_couplings(measured: Sequence[Measured], protocol: Protocol, *, workers: int = 1) -> list[dict[str, object]]:
    """One record a variant and task setting that has a dense cell on the same items, in the order given, then one a
    variant on the average over tasks.

    Left out: variants without dense, no-ops, tasks on which dense is at chance, items that differ from dense's, and
    protocols of a single split. A variant that lacks a setting which goes into the average has none.
    """
    if protocol.name != "exact" or not protocol.replicates:
        return []
    dense_of = {one.cell.curve_key: one for one in measured if one.cell.is_dense}
    pairs = [
        (one, dense)
        for one in measured
        if (dense := dense_of.get(one.cell.curve_key)) is not None and one is not dense and not _left_out(one, dense)
    ]
    by_dense = grouped(pairs, lambda pair: pair[1].cell.curve_key)
    work = [
        (members[0][1].cell, [_Moved.between(one, dense) for one, dense in members]) for members in by_dense.values()
    ]
    found = in_processes(partial(_parts, protocol=protocol), work, workers=workers)
    known = {
        id(one): part
        for members, many in zip(by_dense.values(), found, strict=True)
        for (one, _), part in zip(members, many, strict=True)
    }
    parts = [(one, known[id(one)]) for one, _ in pairs]
    return [_record(one, part.coupling) for one, part in parts] + _averages(parts, settings_averaged(measured))


def _parts(work: tuple[Cell, Sequence[_Moved]], *, protocol: Protocol) -> list[_Part]:
    """What each null explains of variants of one dense cell, given what became of each item and of accuracy."""
    cell, variants = work
    dense = score_cell(cell, protocol)
    paths, weights = damage_paths(dense), dense.sample.weights
    return [
        _part(one, explained(paths, flips=with_replicates(np.abs(one.flips), weights), lost=-one.changes[0]))
        for one in variants
    ]


def _part(moved: _Moved, matched: Floats) -> _Part:
    accuracy, units = moved.changes[0], moved.units
    change = Estimate.paired(float(accuracy[0]), accuracy[1:], changes=moved.flips, units=units)
    alone = _judged(
        change,
        moved.changes,
        matched,
        estimate=partial(Estimate.of, units=units, most=moved.most),
        headroom=moved.headroom,
        items=len(np.unique(units)),
    )
    return _Part(moved, matched, change, alone)


def _left_out(one: Measured, dense: Measured) -> bool:
    known = all(key in side.values for key in ("accuracy", PRIMARY) for side in (one, dense))
    return not known or bool({"no-op", "unpaired-items", "at-chance"} & set(one.flags))


def _averages(
    parts: Sequence[tuple[Measured, _Part]], averaged: Mapping[str, Sequence[Setting]]
) -> list[dict[str, object]]:
    found = []
    by_variant: dict[tuple[str, str], dict[Setting, tuple[Measured, _Part]]] = {}
    for one, part in parts:
        key = one.cell.key
        by_variant.setdefault((key.model, key.variant), {})[cell_setting(one)] = one, part
    for (model, _), members in by_variant.items():
        wanted = averaged.get(model, ())
        if len({setting.task for setting in wanted}) < 2 or not members.keys() >= set(wanted):
            continue
        record = _record(members[wanted[0]][0], _averaged({setting: members[setting][1] for setting in wanted}))
        found.append(record | {"task": MACRO, "scoring": "", "prompt": "", "shots": None})
    return found


def _averaged(parts: Mapping[Setting, _Part]) -> Coupling:
    """Tasks share no items: replicates are kept from moving together, intervals of accuracy are combined."""

    def mean(of: Callable[[_Part], Floats]) -> Floats:
        value = averaged(parts, lambda one: of(one)[:, :1])
        return np.concatenate([value, averaged(parts, lambda one: of(one)[:, 1:], apart=True)], axis=1)

    changes = mean(lambda part: part.moved.changes)
    accuracy = {setting: part.accuracy for setting, part in parts.items()}
    both = combined({at: Average(one.value, one.low, one.high) for at, one in accuracy.items()})
    sides = combined({at: Average(one.value, *one.bounds) for at, one in accuracy.items()})
    ends = [both.low, both.high, sides.low, sides.high]
    low, high, least, most = (math.nan if end is None else end for end in ends)
    spread = float(np.nanstd(changes[0, 1:], ddof=1))
    unseen = [part.moved.units for part in parts.values()]
    # As many items as the task with the fewest, where resampling shows no change at all.
    fewest = min(unseen, key=lambda units: len(np.unique(units)))
    return _judged(
        Estimate(float(changes[0, 0]), low, high, spread or (high - low) / 2 / proportions.NORMAL, (least, most)),
        changes,
        mean(lambda part: part.explained),
        estimate=partial(Estimate.of, units=fewest, most=max(part.moved.most for part in parts.values())),
        headroom=float(averaged(parts, lambda part: np.array(part.moved.headroom))),
        items=len(np.unique(fewest)),
    )


def _record(one: Measured, coupling: Coupling) -> dict[str, object]:
    row: Mapping[str, object] = one.row
    record: dict[str, object] = {
        key: row[key] for key in ("model", "variant", "family", "task", "scoring", "prompt", "shots")
    }
    record["verdict"] = coupling.verdict
    for name, ends in (
        ("accuracy_change", (coupling.accuracy.value, coupling.accuracy.low, coupling.accuracy.high)),
        ("set_size_change", (coupling.size.value, coupling.size.low, coupling.size.high)),
        ("excess", coupling.excess),
    ):
        record[name], record[f"{name}_low"], record[f"{name}_high"] = ends
    record["matched_change_low"], record["matched_change_high"] = min(coupling.matched), max(coupling.matched)
    record["matched_changes"] = dict(zip(NULLS, coupling.matched, strict=True))
    record["excess_of_headroom"] = coupling.excess[0] / coupling.headroom if coupling.headroom > 0 else None
    record["margin"] = coupling.margin
    record["items_needed"] = coupling.items_needed
    record["notes"] = list(coupling.notes)
    return record
