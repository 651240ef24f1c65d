"""What every analysis starts from: the measured cells of a run, its protocol, and what its configuration plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from suite.cell import Cell
from suite.config import Protocol, RunConfig, protocol_of
from suite.metrics.replicates import Store
from suite.metrics.rows import Measured, measure_cells
from suite.metrics.workers import workers_for
from suite.variant import is_repeat, known_variant
from suite.verdicts.by_size import size_places
from suite.verdicts.collapse import RULE
from suite.verdicts.decoupling import find_couplings
from suite.verdicts.verdict import family_size


@dataclass(frozen=True)
class Given:
    """Measured cells with the joint replicates of the figures that analyses rest on (`Analysis.rests_on`).

    Attributes:
        every: all cells, in the order of the run, repetitions (`Variant.repeats`) among them.
        protocol: how they were measured.
        config: what the run was planned to hold, which fixes the family of hypotheses whatever has been scored yet;
            None for imported cells.
        workers: processes that share the work; see `suite.metrics.workers`.
    """

    every: Sequence[Measured]
    protocol: Protocol
    config: RunConfig | None = None
    workers: int = 1

    @classmethod
    def of(
        cls, cells: Sequence[Cell], config: RunConfig | None = None, *, keep: Sequence[str], store: Store | None = None
    ) -> Given:
        """Cells measured as a run's configuration says; by the default protocol where there is none.

        Args:
            keep: figures whose joint replicates are needed.
            store: where measurements are kept (`suite.metrics.replicates`).
        """
        protocol, workers = protocol_of(config), workers_for(sum(map(len, cells)))
        measured = measure_cells(cells, protocol, keep=keep, store=store, workers=workers)
        return cls(measured, protocol, config, workers)

    @cached_property
    def measured(self) -> list[Measured]:
        """One cell a recipe, models by size: however often it was drawn or computed, it is one point of a curve."""
        once = [one for one in self.every if not is_repeat(one.cell.key.variant)]
        places = size_places(once)
        return sorted(once, key=lambda one: places[str(one.cell.model["name"])])

    @cached_property
    def couplings(self) -> list[dict[str, object]]:
        """How uncertainty moved against accuracy: more than one analysis says it."""
        return find_couplings(self.measured, self.protocol, workers=self.workers)

    @property
    def family_sizes(self) -> Mapping[str, int]:
        """Primary curves of each model that the configuration plans; empty without one."""
        if self.config is None:
            return {}
        return dict.fromkeys((str(one.cell.model["name"]) for one in self.measured), planned_families(self.config))


def planned_families(config: RunConfig) -> int:
    """Primary curves of each model that a configuration plans and that have enough levels to be judged."""
    return family_size(len({task.name for task in config.tasks}), planned_methods(config))


def planned_methods(config: RunConfig | None) -> int:
    """Compression methods for which a configuration plans enough levels to be judged; 0 without one."""
    methods: Counter[tuple[str, str]] = Counter()
    for name in config.variants if config else ():
        variant = known_variant(name)
        if variant is not None and variant.family != "dense" and not variant.repeats:
            methods[variant.family, variant.curve] += 1
    return sum(levels + 1 >= RULE.least_levels for levels in methods.values())
