"""The items that cells are measured on: folds, bootstrap weights and draws, shared by all cells with these items."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np

from suite.arrays import Bools, Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics.bootstrap import DrawnFolds, Weights, unit_weights
from suite.metrics.folds import (
    TEMPERATURE_SPLITS,
    Folds,
    hashed_folds,
    item_draws,
    uniforms,
    unit_keys,
    ye2024_folds,
)


class Sample:
    """Items in a fixed order with everything that depends on the items alone."""

    def __init__(
        self, ids: Sequence[str], units: Sequence[str], protocol: Protocol, dropped_ids: Sequence[str] | None = None
    ) -> None:
        self.ids = tuple(ids)
        self.units = tuple(units)
        self.protocol = protocol
        self._dropped_ids = dropped_ids
        self._drawn: dict[int, DrawnFolds] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def folds(self) -> Folds:
        """Folds of every split."""
        if self.protocol.name == "ye2024":
            if self._dropped_ids is None:
                return ye2024_folds(len(self))
            names = set(self._dropped_ids)
            return ye2024_folds(len(self), [row for row, item in enumerate(self.ids) if item in names])
        return hashed_folds(self.units, splits=self.protocol.splits, seed=self.protocol.seed)

    @cached_property
    def unit_numbers(self) -> Numbers:
        """Number of the unit of each item, shape [n]: equal for items that belong together."""
        return np.asarray(np.unique(np.asarray(self.units, dtype=object).astype(str), return_inverse=True)[1])

    @cached_property
    def evaluated_units(self) -> Numbers:
        """Number of the unit of each evaluated item."""
        return self.unit_numbers[self.evaluated]

    @cached_property
    def first_half(self) -> Bools:
        """Which items are in the first of two halves, shape [n]: by a hash of their unit and the seed, so that all
        cells share the halves."""
        return np.asarray(uniforms(unit_keys(self.units, purpose="deferral"), self.protocol.seed) < 0.5)

    @cached_property
    def temperature_folds(self) -> Folds:
        """The splits over which after-temperature figures are averaged."""
        return self.folds.first(TEMPERATURE_SPLITS)

    @cached_property
    def evaluated(self) -> Numbers:
        """Items that figures without a split are computed on: all of them, or the test half under ``ye2024``."""
        return self.folds.test[0] if self.protocol.name == "ye2024" else np.arange(len(self))

    @cached_property
    def weights(self) -> Weights:
        """Bootstrap weights, shape [n, replicates]."""
        if self.protocol.replicates == 1:
            raise SuiteError("replicates 1: out of range, use 0 for no intervals, or 1000")
        return unit_weights(self.units, replicates=self.protocol.replicates, seed=self.protocol.seed)

    @cached_property
    def evaluated_weights(self) -> Weights:
        """Bootstrap weights of the evaluated items."""
        return self.weights if len(self.evaluated) == len(self) else self.weights[self.evaluated]

    def drawn(self, splits: int) -> DrawnFolds:
        """The first so many splits with the bootstrap weights."""
        if splits not in self._drawn:
            self._drawn[splits] = DrawnFolds(self.folds.first(splits), self.weights)
        return self._drawn[splits]

    @cached_property
    def temperature_drawn(self) -> Bools:
        """Whether a replicate has an item to fit the temperature on, shape [temperature splits, replicates]."""
        return np.stack([self.weights[fold].any(axis=0) for fold in self.temperature_folds.temperature])

    @cached_property
    def rescaled_mass(self) -> Floats:
        """Weight of the items that are evaluated after temperature, shape [temperature splits, replicates]."""
        return np.stack([self.weights[fold].sum(axis=0, dtype=np.float64) for fold in self.temperature_folds.rescaled])

    @cached_property
    def aps_draws(self) -> Floats:
        """The uniform number that randomizes APS, one an item."""
        return item_draws(self.ids, purpose="aps", seed=self.protocol.seed)

    @cached_property
    def tie_draws(self) -> Floats:
        """The uniform number that picks among tied options, one an item."""
        return item_draws(self.ids, purpose="tie", seed=self.protocol.seed)


class Samples:
    """Samples under a protocol. A process keeps the last two, so that cells with the same items share folds and
    weights, whatever model they are of."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    def of(self, cell: Cell, chosen: Numbers | None = None) -> Sample:
        """The sample of all items of a cell, or of the chosen rows.

        Under ``exact`` items are put in the order of their ids, so that the order of a file changes nothing; under
        ``ye2024`` the order of the file decides the split.
        """
        rows = np.arange(len(cell)) if chosen is None else chosen
        if self.protocol.name == "exact":
            rows = rows[np.argsort(np.array(cell.ids, dtype=object)[rows], kind="stable")]
        units, dropped = cell.units, cell.task.get("dropped_ids")
        # a task whose demonstrations were never scored says which items the published protocol leaves out besides
        return _sample(
            tuple(cell.ids[row] for row in rows),
            tuple(units[row] for row in rows),
            self.protocol,
            None if dropped is None else tuple(dropped),
        )


@lru_cache(maxsize=2)
def _sample(
    ids: tuple[str, ...], units: tuple[str, ...], protocol: Protocol, dropped_ids: tuple[str, ...] | None
) -> Sample:
    return Sample(ids, units, protocol, dropped_ids)
