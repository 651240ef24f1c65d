"""The items that cells are measured on: folds, bootstrap weights and draws, shared by all cells with these items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from suite.config import Protocol, RunConfig
from suite.errors import SuiteError, unknown_name
from suite.metrics.bootstrap import Weights, unit_weights
from suite.metrics.folds import (
    INTERVAL_SPLITS,
    PROTOCOLS,
    TEMPERATURE_SPLITS,
    Folds,
    hashed_folds,
    item_draws,
    ye2024_folds,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What a row was computed under: protocol, miscoverage, number of splits and bootstrap replicates, seed.

    Raises:
        SuiteError: a value that is out of range.
    """

    protocol: str = "exact"
    alpha: float = 0.1
    splits: int = 100
    replicates: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise unknown_name("protocol", self.protocol, PROTOCOLS)
        if not 0 < self.alpha < 1:
            raise SuiteError(f"alpha {self.alpha}: out of range, use a number between 0 and 1 such as 0.1")
        if self.splits < 1:
            raise SuiteError(f"splits {self.splits}: out of range, use 1 or more (100 is usual)")
        if self.replicates < 0 or self.replicates == 1:
            raise SuiteError(f"replicates {self.replicates}: out of range, use 0 for no intervals, or 1000")
        if self.seed < 0:
            raise SuiteError(f"seed {self.seed}: out of range, use 0 or more")


def settings_of(config: RunConfig | None) -> Settings:
    """What the rows of a run are computed under; the defaults where there is no configuration."""
    protocol = config.protocol if config else Protocol()
    return Settings(protocol.name, protocol.alpha, protocol.splits, protocol.replicates, protocol.seed)


class Sample:
    """Items in a fixed order with everything that depends on the items alone."""

    def __init__(
        self, ids: Sequence[str], units: Sequence[str], settings: Settings, dropped_ids: Sequence[str] | None = None
    ) -> None:
        self.ids = tuple(ids)
        self.units = tuple(units)
        self.settings = settings
        self._dropped_ids = dropped_ids

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def folds(self) -> Folds:
        """Folds of every split."""
        if self.settings.protocol == "ye2024":
            if self._dropped_ids is None:
                return ye2024_folds(len(self))
            names = set(self._dropped_ids)
            return ye2024_folds(len(self), [row for row, item in enumerate(self.ids) if item in names])
        return hashed_folds(self.units, splits=self.settings.splits, seed=self.settings.seed)

    @cached_property
    def unit_numbers(self) -> NDArray[np.intp]:
        """Number of the unit of each item, shape [n]: equal for items that belong together."""
        return np.asarray(np.unique(np.asarray(self.units, dtype=object).astype(str), return_inverse=True)[1])

    @cached_property
    def evaluated_units(self) -> NDArray[np.intp]:
        """Number of the unit of each evaluated item."""
        return self.unit_numbers[self.evaluated]

    @cached_property
    def interval_folds(self) -> Folds:
        """The splits averaged inside a bootstrap replicate."""
        return self.folds.first(INTERVAL_SPLITS)

    @cached_property
    def temperature_folds(self) -> Folds:
        """The splits over which after-temperature figures are averaged."""
        return self.folds.first(TEMPERATURE_SPLITS)

    @cached_property
    def evaluated(self) -> NDArray[np.intp]:
        """Items that figures without a split are computed on: all of them, or the test half under ``ye2024``."""
        return self.folds.test[0] if self.settings.protocol == "ye2024" else np.arange(len(self))

    @cached_property
    def weights(self) -> Weights:
        """Bootstrap weights, shape [n, replicates]."""
        return unit_weights(self.units, replicates=self.settings.replicates, seed=self.settings.seed)

    @cached_property
    def evaluated_weights(self) -> Weights:
        """Bootstrap weights of the evaluated items."""
        return self.weights if len(self.evaluated) == len(self) else self.weights[self.evaluated]

    @cached_property
    def aps_draws(self) -> Floats:
        """The uniform number that randomizes APS, one an item."""
        return item_draws(self.ids, purpose="aps", seed=self.settings.seed)

    @cached_property
    def tie_draws(self) -> Floats:
        """The uniform number that picks among tied options, one an item."""
        return item_draws(self.ids, purpose="tie", seed=self.settings.seed)
