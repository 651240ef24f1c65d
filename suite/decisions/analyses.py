"""Everything that is said about the cells of a run beyond their rows, and the one list of its files.

A new analysis is a file in suite/verdicts/ with a function from `Given` to records, and an entry in `ANALYSES`. It is
then written into snapshots, made again by `suite verify`, numbered in manifests and shown on the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from suite.cell import Cell
from suite.config import RunConfig
from suite.decisions.deferral import kept_costs
from suite.decisions.gate import gates_of
from suite.grouped import grouped
from suite.metrics.figures import FIGURES
from suite.metrics.replicates import STORED, Store
from suite.metrics.rows import Measured
from suite.verdicts import curves, dose_records
from suite.verdicts.accuracy_alone import ACCURACY, CERTAINTY, find_passed
from suite.verdicts.curves import MACRO, PRIMARY, record_title
from suite.verdicts.dose_records import doses_of
from suite.verdicts.given import Given, planned_methods
from suite.verdicts.scale import NOTHING_LEFT, scales_of
from suite.verdicts.slices import find_slice_verdicts
from suite.verdicts.verdict import Verdict, find_verdicts

VERDICTS, DECOUPLING, SCALE, DOSES = "verdicts.json", "decoupling.json", "scale.json", "doses.json"
PARTS, GATE, PASSED = "slice_verdicts.json", "gate.json", "accuracy_alone.json"
DEFERRAL = "deferral.json"


@dataclass(frozen=True)
class Analysis:
    """A file of records that follow from the measured cells.

    Attributes:
        find: from what is given to records: dictionaries that JSON can hold, or objects whose `record` gives one.
        formula: number of its formula; raise it when some cells give other contents.
        rests_on: figures of rows it is made of. Their joint replicates are kept for `find`, and when the formula of
            one is another, so is the file's.
        where_any: no file where there are no records; else an empty one.
        title, about: of the table that pages show of it, a column a key and its interval behind it; empty where
            `suite.publish.sections` has a section of its own for it.
    """

    find: Callable[[Given], Sequence[Any]]
    formula: int
    rests_on: tuple[str, ...]
    where_any: bool = False
    title: str = ""
    about: str = ""


ANALYSES: dict[str, Analysis] = {
    VERDICTS: Analysis(
        lambda given: find_verdicts(
            given.measured, given.protocol, family_sizes=given.family_sizes, workers=given.workers
        ),
        formula=4,
        rests_on=curves.JOINT_KEYS,
    ),
    DECOUPLING: Analysis(
        lambda given: given.couplings,
        formula=4,
        rests_on=("accuracy", PRIMARY),
    ),
    SCALE: Analysis(
        scales_of,
        formula=4,
        rests_on=dose_records.JOINT_KEYS,
    ),
    DOSES: Analysis(
        doses_of,
        formula=3,
        rests_on=dose_records.JOINT_KEYS,
    ),
    PASSED: Analysis(
        find_passed,
        formula=2,
        rests_on=(ACCURACY, CERTAINTY, PRIMARY),
        title="What accuracy alone would have passed",
        about="Levels at which accuracy is shown to have lost less, and the Brier score after temperature more, than "
        "one share of the way from dense to chance (tolerance): each at 2.5 %, corrected by Holm over all shares, "
        "levels and curves. Where set size is not lost beyond what the damage explains too, that says only that the "
        "Brier score is the finer instrument (docs/decoupling.md).",
    ),
    DEFERRAL: Analysis(kept_costs, formula=1, rests_on=()),
    PARTS: Analysis(
        lambda given: find_slice_verdicts(given.measured, given.protocol, methods=planned_methods(given.config)),
        formula=3,
        rests_on=(PRIMARY,),
        where_any=True,
    ),
    GATE: Analysis(gates_of, formula=2, rests_on=dose_records.JOINT_KEYS, where_any=True),
}
"""Files by name, in the order of manifests."""


def joint_keys() -> tuple[str, ...]:
    """Figures whose joint replicates some analysis needs."""
    return tuple(dict.fromkeys(key for analysis in ANALYSES.values() for key in analysis.rests_on))


@dataclass(frozen=True)
class Judgement:
    """What the analyses found.

    Attributes:
        found: by file; of some analyses objects whose `record` is what the file holds.
    """

    found: Mapping[str, Sequence[Any]]

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """Of every curve, with its replicates and fits."""
        return self.found[VERDICTS]

    def records(self, file: str) -> list[Any]:
        """What is said in a file, unrounded; nothing where it was not asked for."""
        return [one if isinstance(one, Mapping) else one.record() for one in self.found.get(file, ())]

    def files(self) -> dict[str, list[Any]]:
        """Contents of the JSON files by name, numbers with six significant digits, as in rows.csv."""
        written = {file: records for file, records in self.found.items() if records or not ANALYSES[file].where_any}
        return {file: _rounded(self.records(file)) for file in written}

    def lines(self, metric: str = PRIMARY) -> list[str]:
        """A plain summary for a terminal: verdicts, variants that fail silently, size comparisons.

        Args:
            metric: that leads; set size, whose verdicts are corrected for the number of curves, follows another one.
        """
        lines = []
        for one in dict.fromkeys((metric, PRIMARY)):
            alone = "" if one == PRIMARY else " (each curve by itself, not corrected for their number)"
            lines.append(f"{FIGURES[one].title} along rising compression{alone}:")
            curves = [record for record in self.records(VERDICTS) if record["metric"] == one]
            lines += [f"  {_said(record)}" for record in curves] or [
                "  no curve: no dense cell with a variant beside it"
            ]
        lines.append("accuracy alone would have passed, certainty does not:")
        lines += [f"  {_passed(record)}" for record in self.records(PASSED)] or ["  none shown"]
        beyond = [one for one in self.records(DECOUPLING) if (one["excess_low"] or 0) > 0]
        lines.append("set size lost beyond what damage of that accuracy explains:")
        lines += [f"  {_coupled(record)}" for record in beyond] or ["  none shown"]
        if SCALE in self.found:
            families = [record for record in self.records(SCALE) if not record["confounded"]]
            for one, records in grouped(families, itemgetter("metric")).items():
                lines.append(f"size, by {FIGURES[one].title}: loss of the larger model less that of the smaller one")
                lines += [
                    f"  {line}"
                    for record in [record for record in records if record["task"] == MACRO] or records
                    for line in _compared(record)
                ]
            if not families:
                lines += ["size, loss of the larger model less that of the smaller one:"]
                lines += ["  one model of each family: nothing to compare within one"]
        return lines


def judge_cells(
    cells: Sequence[Cell],
    config: RunConfig | None,
    *,
    store: Store | None = None,
    files: Collection[str] = (),
) -> tuple[Sequence[Measured], Judgement]:
    """Measure cells as a run's configuration says and judge them: the one way from cells to verdicts.

    Args:
        config: as run; None for the default protocol (imported cells).
        store: where measurements are kept (`suite.metrics.replicates`).
        files: analyses that are wanted; none for all.
    """
    joint = joint_keys()
    given = Given.of(cells, config, keep=joint, store=store if {*joint} <= {*STORED} else None)
    return given.every, judge_measured(given, files)


def judge_measured(given: Given, files: Collection[str] = ()) -> Judgement:
    """Judge measured cells that have the replicates of `joint_keys`; `files`: as of `judge_cells`."""
    wanted = [file for file in ANALYSES if file in (files or ANALYSES)]
    return Judgement({file: ANALYSES[file].find(given) for file in wanted})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


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


def _passed(record: Mapping[str, object]) -> str:
    beyond = record["beyond_damage"]
    return (
        f"{record['model']} {record['variant']} on {record['task']}: of the headroom accuracy lost "
        f"{record['accuracy_loss']:.3f} and certainty {record['certainty_loss']:.3f}, either side of "
        f"{record['tolerance']:g}" + ("" if beyond else "; the Brier score may only be the finer instrument")
    )


def _coupled(record: Mapping[str, object]) -> str:
    return (
        f"{record['model']} {record['variant']} on {record['task']}: {record['verdict']}, "
        f"accuracy {record['accuracy_change']:+.3f}, set size {record['set_size_change']:+.2f} "
        f"[{record['set_size_change_low']:+.2f}, {record['set_size_change_high']:+.2f}]"
    )


def _compared(record: Mapping[str, object]) -> list[str]:
    pairs = record["differences"]
    assert isinstance(pairs, list)
    order = f"; p of the order {record['order_p']:.2g}, {record['order_p_least']:.2g} at least"
    return [
        f"{record['variant']} on {record['task']}: {one['larger']} against {one['smaller']} {one['difference']:+.3f}"
        + ("" if one["difference_low"] is None else f" [{one['difference_low']:+.3f}, {one['difference_high']:+.3f}]")
        + (f"; {NOTHING_LEFT}" if one["saturated"] else "")
        + (order if len(pairs) > 1 else "")
        for one in pairs
    ]
