"""Everything that is said about the cells of a run beyond their rows: collapse, decoupling, size. And its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.cell import Cell
from suite.config import Protocol, RunConfig, protocol_of
from suite.errors import SuiteError
from suite.metrics.replicates import Store
from suite.metrics.rows import Measured, measure_cells
from suite.metrics.workers import workers_for
from suite.variant import is_repeat, parse_variant
from suite.verdicts import curves, dose_records
from suite.verdicts.by_size import size_places
from suite.verdicts.curves import MACRO, PRIMARY, record_title
from suite.verdicts.decoupling import find_couplings
from suite.verdicts.dose_records import doses_of
from suite.verdicts.scale import find_scale
from suite.verdicts.slices import SliceVerdict, find_slice_verdicts
from suite.verdicts.verdict import Verdict, family_size, find_verdicts

FILES = {
    "verdicts": "verdicts.json",
    "couplings": "decoupling.json",
    "scale": "scale.json",
    "doses": "doses.json",
    "slices": "slice_verdicts.json",
}
"""The last one is written only where a task has parts."""


KEPT = tuple(dict.fromkeys((*curves.KEPT, *dose_records.KEPT)))
"""Keys whose joint replicates verdicts and doses need."""


@dataclass(frozen=True)
class Assessment:
    """Verdicts and doses of curves, the coupling of every variant, size comparisons, verdicts of parts of tasks."""

    verdicts: tuple[Verdict, ...]
    couplings: tuple[dict[str, object], ...]
    scale: tuple[dict[str, object], ...]
    doses: tuple[dict[str, object], ...] = ()
    slices: tuple[SliceVerdict, ...] = ()

    @property
    def records(self) -> list[dict[str, object]]:
        """The verdicts with their agreed keys."""
        return [verdict.record() for verdict in self.verdicts]

    def files(self) -> dict[str, list[Any]]:
        """Contents of the JSON files by name, numbers with six significant digits, as in rows.csv."""
        contents = {name: list(getattr(self, name)) for name in ("couplings", "scale", "doses")}
        contents["verdicts"] = self.records
        if self.slices:
            contents["slices"] = [one.record() for one in self.slices]
        return {FILES[key]: _rounded(content) for key, content in contents.items()}

    def lines(self) -> list[str]:
        """A plain summary for a terminal: primary verdicts, variants that fail silently, size comparisons."""
        primary = [record for record in self.records if record["metric"] == PRIMARY]
        lines = ["set size along rising compression:"]
        lines += [f"  {_said(record)}" for record in primary] or ["  no curve: no dense cell with a variant beside it"]
        silent = [record for record in self.couplings if record["verdict"] == "silent uncertainty loss"]
        lines.append("accuracy alone would have passed, uncertainty does not:")
        lines += [f"  {_coupled(record)}" for record in silent] or ["  none shown"]
        slopes = [record for record in self.scale if record["slope"] is not None and record["task"] == MACRO]
        slopes = slopes or [record for record in self.scale if record["slope"] is not None]
        if self.scale:
            lines.append("size, slope a tenfold of parameters (below zero: larger models lose less):")
            lines += [f"  {_sloped(record)}" for record in slopes] or ["  fewer than three sizes: no slope"]
        return lines


def judge_cells(
    cells: Sequence[Cell],
    config: RunConfig | None,
    *,
    store: Store | None = None,
    slices: bool = True,
    doses: bool = True,
) -> tuple[list[Measured], Assessment]:
    """Measure cells as a run's configuration says and judge them: the one way from cells to verdicts.

    Args:
        config: as run; None for the default protocol (imported cells).
        store: where measurements are kept (`suite.metrics.replicates`).
        slices, doses: judge the parts of tasks as well, say doses.
    """
    protocol, workers = protocol_of(config), workers_for(sum(map(len, cells)))
    measured = measure_cells(cells, protocol, keep=KEPT, store=store, workers=workers)
    return measured, assess(measured, protocol, config=config, slices=slices, doses=doses, workers=workers)


def assess(
    measured: Sequence[Measured],
    protocol: Protocol,
    *,
    config: RunConfig | None = None,
    slices: bool = True,
    doses: bool = True,
    workers: int = 1,
) -> Assessment:
    """Judge measured cells.

    Args:
        measured: with the replicates of `KEPT`; repetitions (`Variant.repeats`) are left out,
            because a recipe is one point of one curve however often it was drawn or computed.
        config: what the run was planned to hold, which fixes the family of hypotheses whatever has been scored yet.
        slices, doses: judge the parts of tasks as well, say doses.
        workers: processes that share the work; see `suite.metrics.workers`.
    """
    found = doses_of(measured, config) if doses else []
    measured = _once(measured)
    sizes = None if config is None else planned_families(config)
    places = size_places(measured)
    measured = sorted(measured, key=lambda one: places[str(one.cell.model["name"])])
    family_sizes: Mapping[str, int] = {} if sizes is None else dict.fromkeys(places, sizes)
    return Assessment(
        tuple(find_verdicts(measured, protocol, family_sizes=family_sizes, workers=workers)),
        tuple(find_couplings(measured, protocol, workers=workers)),
        tuple(find_scale(measured, protocol=protocol.name)),
        tuple(found),
        tuple(find_slice_verdicts(measured, protocol, methods=_planned_methods(config))) if slices else (),
    )


def _once(measured: Sequence[Measured]) -> list[Measured]:
    return [one for one in measured if not is_repeat(one.cell.key.variant)]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


def planned_families(config: RunConfig) -> int:
    """Primary curves of each model that a configuration plans."""
    return family_size(len({task.name for task in config.tasks}), _planned_methods(config))


def _planned_methods(config: RunConfig | None) -> int:
    methods = set()
    if config is None:
        return 0
    for name in config.variants:
        try:
            variant = parse_variant(name)
        except SuiteError:
            continue
        if variant.family != "dense" and not variant.repeats:
            methods.add((variant.family, variant.curve))
    return len(methods)


def _said(record: Mapping[str, object]) -> str:
    where = f"{record['model']} {record_title(record)} on {record['task']}: {record['verdict']}"
    if record["level"] is not None:
        where += f" at {record['level']}"
        if (record["level_low"], record["level_high"]) != (record["level"], record["level"]):
            where += f" ({record['level_low']} to {record['level_high']})"
    if isinstance(record["jump"], float):
        where += f", largest jump {record['jump']:.2f} [{record['jump_low']:.2f}, {record['jump_high']:.2f}]"
    if isinstance(record["p_value"], float):
        where += f", p = {record['p_value']:.2g}"
    notes = record["notes"]
    assert isinstance(notes, list)
    return where + (f"; {notes[0]}" if notes and record["verdict"] != "threshold" else "")


def _coupled(record: Mapping[str, object]) -> str:
    return (
        f"{record['model']} {record['variant']} on {record['task']}: accuracy {record['accuracy_change']:+.3f}, "
        f"set size {record['set_size_change']:+.2f} "
        f"[{record['set_size_change_low']:+.2f}, {record['set_size_change_high']:+.2f}]"
    )


def _sloped(record: Mapping[str, object]) -> str:
    return (
        f"{record['group']} {record['variant']} on {record['task']}: {record['figure']} {record['slope']:+.3f} "
        f"[{record['slope_low']:+.3f}, {record['slope_high']:+.3f}]" + (" (confounded)" if record["confounded"] else "")
    )
