"""Standings: models and variants in statistical groups, and pairs of equal size, instead of a bare order.

Both need the paired bootstrap replicates of accuracy and set size, which `Comparable` takes from measured cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from suite.cell import CellKey
from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics.average import Setting, above_chance, averaged_settings, task_means
from suite.metrics.figures import FIGURES, HIGHER
from suite.metrics.groups import Shares, behind, groups_of_best, z_against_best
from suite.metrics.rows import Measured
from suite.metrics.sample import Samples
from suite.publish.fields import Fields, flags, number, text
from suite.publish.numerals import rounded
from suite.publish.order import cell_of, dense_of, scope_of, setting_of, without_repeats
from suite.publish.records import csv_bytes
from suite.variant import is_repeat

RANKED = {key: FIGURES[key].better == HIGHER for key in ("accuracy", "set_size")}
"""What entries are grouped by, and whether higher is better."""

AVERAGE = "average"
"""The task name under which averages over tasks stand."""

NEAR = 0.1
"""Megabytes count as equal when they differ by at most this fraction of the smaller model's."""

RANKING_KEYS = (
    *("task", "scoring", "prompt", "shots", "metric", "place", "group", "entries", "model", "variant"),
    *("params_b", "bits_per_weight", "megabytes", "value", "behind_best", "behind_best_low", "behind_best_high"),
)
PAIR_KEYS = (
    *("bigger", "bigger_variant", "bigger_params_b", "bigger_bits", "bigger_megabytes"),
    *("smaller", "smaller_variant", "smaller_params_b", "smaller_bits", "smaller_megabytes"),
    *("tasks", "accuracy_change", "accuracy_change_low", "accuracy_change_high"),
    *("set_size_change", "set_size_change_low", "set_size_change_high", "pairs"),
)

_Table = tuple[NDArray[np.float64], NDArray[np.float32], list[Shares | None] | None]
"""Values [tasks, entries], replicates [tasks, entries, replicates], and of a proportion what is behind them."""


@dataclass(frozen=True)
class Comparable:
    """What standings need of one cell.

    Attributes:
        replicates: one array a metric, shape [replicates].
        items: a digest of its items: two cells are compared only where it is equal.
        correct: right or not, of each evaluated item, in the order of their ids.
        units: number of the unit of each of these items.
        order: a digest of these items and units alone, which settings of one task may share.
    """

    replicates: Mapping[str, NDArray[np.float32]]
    items: str
    correct: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    units: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    order: str = ""

    @classmethod
    def of(cls, one: Measured, samples: Samples) -> Comparable:
        """From a measured cell with the replicates of `RANKED`."""
        cell, sample = one.cell, samples.of(one.cell)
        place = {item: row for row, item in enumerate(cell.ids)}
        rows = [place[item] for item in sample.ids]
        found = {name: one.replicates.get(name) for name in RANKED}
        replicates = {
            name: values.astype(np.float32)
            for name, values in found.items()
            if values is not None and np.isfinite(values).all()
        }
        return cls(
            replicates,
            _digest(sample.ids, sample.units, cell.answers[rows].tolist(), cell.n_options[rows].tolist()),
            one.correct.astype(np.float32),
            one.units,
            _digest(sample.ids, sample.units),
        )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


Collected = Mapping[CellKey, Comparable]


def collect(measured: Iterable[Measured], protocol: Protocol) -> dict[CellKey, Comparable]:
    """What standings need of measured cells, by cell."""
    samples = Samples(protocol)
    return {one.cell.key: Comparable.of(one, samples) for one in measured}


@dataclass(frozen=True)
class Standings:
    """What a leaderboard says about order.

    Attributes:
        ranking: one mapping an entry with the keys `RANKING_KEYS`: by setting (averages first), metric and place.
        settings: the settings that went into the averages.
        left_out: entries that stand in no table, by reason.
        pairs: one mapping a pair of equal megabytes with the keys `PAIR_KEYS`.
        nearest: where there is no pair, the two that come nearest to one, with the keys `PAIR_KEYS` up to their sizes.
    """

    ranking: tuple[Fields, ...] = ()
    settings: tuple[Setting, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[Fields, ...] = ()
    nearest: Fields | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that went into the averages."""
        return tuple(sorted({setting.task for setting in self.settings}))

    def groups(self) -> dict[tuple[str, str, str, str, int, str, str], int]:
        """Group number by model, task, scoring, prompt, shots, variant and metric."""
        names = ("model", "task", "scoring", "prompt", "shots", "variant", "metric")
        return {tuple(row[name] for name in names): row["group"] for row in self.ranking}  # type: ignore[misc]


def standings(rows: Sequence[Fields], collected: Collected) -> Standings:
    """Groups for every setting and for the average over tasks, and pairs of equal megabytes.

    Args:
        rows: rounded and sorted (`suite.publish.order.in_order`), of one protocol and one alpha; empty standings where
            there are several.
        collected: from the computation of these rows (`collect`).

    Entries of one table were measured on the same items; where cells of a setting differ in their items, the most
    common set of items is ranked and the others are counted under `left_out`, as are repetitions of a variant under
    another seed of sample text, whose best draw is no entry of its own, and dense computed otherwise. An average is
    made as `suite.metrics.average` says, of the same settings for all entries; an entry that lacks one of them is left
    out.
    """
    if len({(scope_of(row).protocol, scope_of(row).alpha) for row in rows}) != 1:
        return Standings()
    left_out: dict[str, int] = {}
    entered = without_repeats(rows)
    computed = sum(text(row, "family") == "dense" and is_repeat(text(row, "variant")) for row in rows)
    _count(left_out, "dense computed otherwise", computed)
    _count(left_out, "another seed of sample text", len(rows) - len(entered) - computed)
    by_setting = {
        setting: _comparable(members, collected, left_out) for setting, members in grouped(entered, setting_of).items()
    }
    useful = averaged_settings({setting: _anyone_above_chance(members) for setting, members in by_setting.items()})
    entries, tables = _complete(by_setting, useful, collected, left_out)
    ranking: list[Fields] = []
    average = Setting(AVERAGE, "", "", 0)
    ranking += _ranked(average, entries, tables) if len(useful) > 1 else []
    for setting, members in by_setting.items():
        ranking += _ranked(setting, members, {name: _table({setting: members}, name, collected) for name in RANKED})
    pairs, nearest = _size_pairs(entries)
    compared = _compare_sizes(entries, tables, pairs, len({setting.task for setting in useful}))
    missed = None if pairs or nearest is None else rounded(_sizes(entries, *nearest))
    return Standings(tuple(ranking), tuple(useful), dict(sorted(left_out.items())), compared, missed)


def _comparable(members: Sequence[Fields], collected: Collected, left_out: dict[str, int]) -> list[Fields]:
    """The rows that share the most common set of items and have replicates of every metric."""
    usable = [
        row
        for row in members
        if (one := collected.get(cell_of(row))) is not None and set(one.replicates) == set(RANKED)
    ]
    usable = [row for row in usable if all(number(row, name) is not None for name in RANKED)]
    _count(left_out, "no interval", len(members) - len(usable))
    sets = grouped(usable, lambda row: collected[cell_of(row)].items)
    if not sets:
        return []
    # of equally common sets, the one with more items, then a fixed one
    common = max(sets, key=lambda digest: (len(sets[digest]), number(sets[digest][0], "n") or 0, digest))
    _count(left_out, "scored on other items than most", len(usable) - len(sets[common]))
    return sets[common]


def _anyone_above_chance(members: Sequence[Fields]) -> bool:
    return any(above_chance(dense_of(group)) for group in grouped(members, lambda row: text(row, "model")).values())


def _complete(
    by_setting: Mapping[Setting, Sequence[Fields]],
    useful: Sequence[Setting],
    collected: Collected,
    left_out: dict[str, int],
) -> tuple[list[Fields], dict[str, _Table]]:
    """Entries with a cell in every useful setting, first row of each, and their tables by task."""
    found: dict[tuple[str, str], dict[Setting, Fields]] = {}
    for setting in useful:
        for row in by_setting[setting]:
            found.setdefault((text(row, "model"), text(row, "variant")), {})[setting] = row
    complete = [cells for cells in found.values() if len(cells) == len(useful)]
    _count(left_out, "no average: a task is missing", len(found) - len(complete))
    if not complete:
        return [], {}
    columns = {setting: [cells[setting] for cells in complete] for setting in useful}
    return columns[useful[0]], {metric: _table(columns, metric, collected) for metric in RANKED}


def _table(columns: Mapping[Setting, Sequence[Fields]], metric: str, collected: Collected) -> _Table:
    """Values [tasks, entries] and replicates [tasks, entries, replicates] of entries by setting, in one order."""
    values = {
        setting: np.array([number(row, metric) or 0.0 for row in members]) for setting, members in columns.items()
    }
    copies = {
        setting: np.array([collected[cell_of(row)].replicates[metric] for row in members])
        for setting, members in columns.items()
    }
    shares = _shares(columns, collected) if metric == "accuracy" else None
    return np.array(list(task_means(values).values())), np.array(list(task_means(copies).values())), shares


def _shares(columns: Mapping[Setting, Sequence[Fields]], collected: Collected) -> list[Shares | None]:
    """Right or not, averaged over the settings of each task; None where these have other items, which nothing pairs."""
    cells = {setting: [collected[cell_of(row)] for row in members] for setting, members in columns.items()}
    orders: dict[str, set[str]] = {}
    for setting, members in cells.items():
        orders.setdefault(setting.task, set()).update(cell.order for cell in members)
    paired = {setting: members for setting, members in cells.items() if len(orders[setting.task]) == 1}
    correct = task_means({setting: np.array([cell.correct for cell in members]) for setting, members in paired.items()})
    units = {setting.task: members[0].units for setting, members in paired.items()}
    return [Shares(correct[task], units[task]) if task in correct and len(units[task]) else None for task in orders]


def _ranked(setting: Setting, entries: Sequence[Fields], tables: Mapping[str, _Table]) -> list[Fields]:
    result: list[Fields] = []
    if len(entries) < 2:
        return result
    for metric, higher in RANKED.items():
        values, copies, shares = tables[metric]
        groups = groups_of_best(values, copies, higher_is_better=higher, shares=shares)
        means = values.mean(axis=0)
        best = int(means.argmax() if higher else means.argmin())
        z = z_against_best(len(entries) - 1)
        gap = behind(values, copies, best, higher_is_better=higher, z=z, shares=shares)
        for place, index in enumerate(np.lexsort((np.arange(len(entries)), -means if higher else means, groups)), 1):
            row = entries[index]
            line = {
                **{"task": setting.task, "scoring": setting.scoring, "prompt": setting.prompt, "shots": setting.shots},
                **{"metric": metric, "place": place, "group": int(groups[index]), "entries": len(entries)},
                **{key: row.get(key) for key in ("model", "variant", "params_b", "bits_per_weight", "megabytes")},
                "value": float(means[index]),
                "behind_best": float(gap.value[index]) + 0.0,
                "behind_best_low": float(gap.low[index]) + 0.0,
                "behind_best_high": float(gap.high[index]) + 0.0,
            }
            result.append(rounded({key: line[key] for key in RANKING_KEYS}))
    return result


_Pair = tuple[int, int]


def _size_pairs(entries: Sequence[Fields]) -> tuple[list[_Pair], _Pair | None]:
    """Each dense or quantized entry of a model beside the entry of each bigger model nearest to it in megabytes.

    The partner is chosen by size alone, never by its results; it has fewer bits a weight.

    Returns:
        Places in `entries` of bigger and smaller: those of equal size, and of all others the pair that comes nearest.
    """
    pairs: list[_Pair] = []
    missed: list[tuple[float, _Pair]] = []
    models: dict[str, list[int]] = {}
    for index, row in enumerate(entries):
        models.setdefault(text(row, "model"), []).append(index)
    for small, row in enumerate(entries):
        if text(row, "family") not in ("dense", "quantization") or "no-op" in flags(row):
            continue
        for others in models.values():
            denser = [(_apart(entries[big], row), big) for big in others if _bigger(entries[big], row)]
            if not denser:
                continue
            gap, big = min(denser)
            if gap <= NEAR:
                pairs.append((big, small))
            else:
                missed.append((gap, (big, small)))
    return pairs, min(missed)[1] if missed else None


def _sizes(entries: Sequence[Fields], big: int, small: int) -> dict[str, object]:
    line: dict[str, object] = {}
    for name, index in (("bigger", big), ("smaller", small)):
        row = entries[index]
        line |= {name: text(row, "model"), f"{name}_variant": text(row, "variant")}
        keys = (("params_b", "params_b"), ("bits", "bits_per_weight"), ("megabytes", "megabytes"))
        line |= {f"{name}_{short}": number(row, key) for short, key in keys}
    return line


def _compare_sizes(
    entries: Sequence[Fields], tables: Mapping[str, _Table], pairs: Sequence[_Pair], tasks: int
) -> tuple[Fields, ...]:
    z = z_against_best(2 * len(pairs))  # two sides
    result: list[Fields] = []
    for big, small in pairs:
        line = {"tasks": tasks, "pairs": len(pairs), **_sizes(entries, big, small)}
        for metric in RANKED:
            values, copies, shares = tables[metric]
            chosen = [big, small]
            both = None if shares is None else [one if one is None else one.of(chosen) for one in shares]
            change = behind(values[:, chosen], copies[:, chosen], 1, higher_is_better=False, z=z, shares=both)
            # "lower is better" with the smaller as reference: bigger minus smaller
            line[f"{metric}_change"] = float(change.value[0]) + 0.0
            line[f"{metric}_change_low"], line[f"{metric}_change_high"] = float(change.low[0]), float(change.high[0])
        result.append(rounded({key: line[key] for key in PAIR_KEYS}))
    return tuple(result)


def _bigger(big: Fields, small: Fields) -> bool:
    """Whether an entry has more parameters, fewer bits a weight and a known size."""
    sizes = [number(row, key) for key in ("params_b", "bits_per_weight", "megabytes") for row in (big, small)]
    if any(size is None for size in sizes):
        return False
    many, few, bits, more_bits, _, megabytes = (size or 0.0 for size in sizes)
    return many > few and bits < more_bits and megabytes > 0


def _apart(big: Fields, small: Fields) -> float:
    """Difference in megabytes as a fraction of the smaller model's."""
    wanted = number(small, "megabytes") or 0.0
    return abs((number(big, "megabytes") or 0.0) - wanted) / wanted


def _count(counts: dict[str, int], reason: str, more: int) -> None:
    if more:
        counts[reason] = counts.get(reason, 0) + more


def standings_texts(standings: Standings) -> dict[str, bytes]:
    """The CSV files of standings by name."""
    tables = {
        "ranking.csv": (standings.ranking, RANKING_KEYS),
        "equal-megabytes.csv": (standings.pairs, PAIR_KEYS),
    }
    return {name: csv_bytes(lines) or (",".join(keys) + "\n").encode() for name, (lines, keys) in tables.items()}
