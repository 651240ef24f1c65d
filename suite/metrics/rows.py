"""Cells in, rows out: one flat, JSON-safe dictionary a cell.

Figures are fractions, never percent. What cannot be computed is None, with the reason under ``notes``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics import conformal
from suite.metrics.compare import on_shared_items, paired_figures
from suite.metrics.figures import PAIRED_KEYS
from suite.metrics.measure import NO_ITEMS, Figures, Scored
from suite.metrics.oracle import library_remarks
from suite.metrics.replicates import STORED, Store
from suite.metrics.row import Draft, Row, number
from suite.metrics.sample import Samples
from suite.metrics.workers import in_processes
from suite.remarks import remarks, untouched

FLAGS = {
    "at-chance": "the dense model of this curve is not above chance (lower accuracy bound at or below it)",
    "variant-at-chance": "this variant is not above chance",
    "no-op": "the variant changed nothing: recorded as such, or scores identical to dense",
    "requantized-parent": "the parent checkpoint was itself quantized",
    "off-nominal": "measured sparsity, pattern or number of weight levels is not what the variant's name says",
    "partly-compressed": "less than 0.95 of the weights in the blocks' matrices changed, and nothing excuses the rest",
    "not-finite": "outputs of the compressed model on sample text are not finite",
    "drift": "16-bit arithmetic changed an answer among the items scored again in float32",
    "ties": "more than 1 % of items tie in the most likely option",
    "dense-missing": "there is no dense cell with the same model, task, scoring, prompt and shots",
    "unpaired-items": "some items are not in dense, or differ in answer or option count; changes leave them out",
    "small-n": "fewer than 100 items, or a conformal fold too small for a quantile at this alpha",
    "temperature-at-bound": "a fitted temperature ran into a bound: all right, or no information in confidence",
}
"""What each flag means."""

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")

SMALL_N = 100
TIE_RATE = 0.01
TOUCHED = 0.95
_RECORDED = ("bits_per_weight", "megabytes", "sparsity", "relative_weight_error", "share_touched")


def measure_cells(
    cells: Sequence[Cell],
    protocol: Protocol,
    *,
    keep: Collection[str] = (),
    summarize: Callable[[Scored], object] | None = None,
    store: Store | None = None,
    workers: int = 1,
) -> list[Measured]:
    """All figures of all cells: rows with the numbers behind them.

    Args:
        cells: in any order; a cell is compared with the dense cell of equal model, task, scoring, prompt and shots.
        keep: keys whose values and bootstrap replicates are wanted.
        summarize: called once a cell with everything that its row was made from, while that is in memory; what it
            returns is kept as `Measured.summary`.
        store: where measurements are kept: those that are there are taken, the others added. Not with `summarize`; it
            holds the keys `suite.metrics.replicates.STORED`.
        workers: processes that share the work; see `suite.metrics.workers`.

    Returns:
        Ordered by model, task, scoring, prompt, shots and severity; rows have the keys `ROW_KEYS`.

    Raises:
        SuiteError: two cells of one name, or a single replicate.
    """
    if store is not None and (summarize is not None or not {*keep} <= {*STORED}):
        raise ValueError(f"nothing is kept of {summarize or sorted({*keep} - {*STORED})}")
    tasks = curves_of(cells)
    if store is None:
        measure = partial(_measure_curve, protocol=protocol, keep=tuple(keep), summarize=summarize)
        results = _by_task(measure, tasks, tasks, workers)
    else:
        results = _from_store(tasks, store, protocol, workers)
    return [
        Measured(cell, **found)
        for task, curve in zip(tasks, results, strict=True)
        for cell, found in zip(task, curve, strict=True)
    ]


def curves_of(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in their variant alone, each curve by rising severity.

    Raises:
        SuiteError: two cells of one name.
    """
    curves: dict[tuple[str, str, str, str, int], list[Cell]] = {}
    for cell in cells:
        curve = curves.setdefault(cell.curve_key, [])
        twin = next((other for other in curve if other.key == cell.key), None)
        if twin is not None:
            # which of two would be compared with dense, or be dense, is a matter of chance
            raise SuiteError(f"two cells are {cell.key}: {twin.where} and {cell.where}; measure one run at a time")
        curve.append(cell)
    return [sorted(curves[key], key=_severity) for key in sorted(curves)]


def _from_store(tasks: Sequence[list[Cell]], store: Store, protocol: Protocol, workers: int) -> list[list[_Found]]:
    """What is kept of the curves; what is not is measured and kept, curve by curve."""
    keys = [store.keys(cells, _dense(cells), protocol) for cells in tasks]
    known = [[store.read(key) for key in curve] for curve in keys]
    left = [place for place, curve in enumerate(known) if None in curve]
    work = [
        [(cell, key, one is None) for cell, key, one in zip(tasks[place], keys[place], known[place], strict=True)]
        for place in left
    ]
    fill = partial(_fill, store=store, protocol=protocol)
    for place, made in zip(left, _by_task(fill, work, [tasks[place] for place in left], workers), strict=True):
        known[place] = [made.get(at, one) for at, one in enumerate(known[place])]
    store.prune([key for curve in keys for key in curve])
    return [[one for one in curve if one is not None] for curve in known]


def _by_task(
    function: Callable[[_Work], _Result], work: Sequence[_Work], curves: Sequence[Sequence[Cell]], workers: int
) -> list[_Result]:
    """Do the work of every curve, those of one task after one another: their cells share samples."""
    order = sorted(range(len(work)), key=lambda at: curves[at][0].key.task)
    done = dict(zip(order, in_processes(function, [work[at] for at in order], workers=workers), strict=True))
    return [done[at] for at in range(len(work))]


def _fill(curve: Sequence[tuple[Cell, str, bool]], *, store: Store, protocol: Protocol) -> dict[int, _Found]:
    """Measure and keep the cells of a curve that are wanted; by their places."""
    dense = _dense([cell for cell, *_ in curve])
    taken = [place for place, (cell, _, wanted) in enumerate(curve) if wanted or cell is dense]
    found = _measure_curve([curve[place][0] for place in taken], protocol=protocol, keep=STORED)
    made = {place: one for place, one in zip(taken, found, strict=True) if curve[place][2]}
    for place, one in made.items():
        store.write(curve[place][1], one)
    return made


def _dense(cells: Sequence[Cell]) -> Cell | None:
    return next((cell for cell in cells if cell.is_dense), None)


@dataclass(frozen=True)
class Measured:
    """A cell's row, and for some keys the numbers behind its intervals.

    Attributes:
        cell, row: the cell and its row.
        values: point value by key; the debiased one where intervals are based on that.
        replicates: bootstrap values by key, shape [replicates]; cells of one curve with the same items share the
            resampled items, so differences are paired.
        summary: what `measure_cells` was asked to keep besides.
        correct: right or not, of each evaluated item, in an order that cells of one curve with the same items share.
        units: number of the unit of each of these items.
        chance: what a blind guess is worth on each of them.
    """

    cell: Cell
    row: Row
    values: dict[str, float]
    replicates: dict[str, Floats]
    summary: object = None
    correct: Floats = field(default_factory=lambda: np.empty(0))
    units: Numbers = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    chance: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of the row."""
        return tuple(self.row["flags"])


def score_cell(cell: Cell, protocol: Protocol) -> Scored:
    """One cell on all of its items, for whoever needs more than its row."""
    return Scored(cell, Samples(protocol).of(cell))


def rows_against(reference: Cell, cells: Sequence[Cell], protocol: Protocol) -> list[Row]:
    """The row of the reference, then those of the cells in their order, compared with it as others are with dense.

    Whatever they are called: another run's cell of the same name, another model's.
    """
    measured = _measure_curve([reference, *cells], protocol=protocol, reference=reference)
    return [found["row"] for found in measured]


_Found = dict[str, Any]
"""The fields of a `Measured` without its cell, which need not travel back from another process."""


def _measure_curve(
    cells: Sequence[Cell],
    *,
    protocol: Protocol,
    keep: Collection[str] = (),
    summarize: Callable[[Scored], object] | None = None,
    reference: Cell | None = None,
) -> list[_Found]:
    """Measure cells, each against the reference: the dense one among them unless another is named."""
    samples = Samples(protocol)
    dense = reference or _dense(cells)
    dense_scored = None if dense is None else Scored(dense, samples.of(dense))
    at_chance = False
    result: list[_Found] = []
    for cell in cells:
        scored = dense_scored if cell is dense and dense_scored is not None else Scored(cell, samples.of(cell))
        draft = _draft(cell, scored)
        draft.notes |= library_remarks(scored)
        figures = [scored.figures]
        flags = _flags(cell, scored, draft.values)
        if cell is not dense and is_at_chance(draft.values):
            flags.append("variant-at-chance")
        if cell is dense:
            at_chance = is_at_chance(draft.values)
            draft.leave_out(PAIRED_KEYS, "this is the dense model")
            draft.values["n_paired"] = len(cell)
        elif dense_scored is None:
            flags.append("dense-missing")
            draft.leave_out(PAIRED_KEYS, "there is no dense cell with the same model, task, scoring, prompt and shots")
            draft.values["n_paired"] = 0
        else:
            more, paired_figures = _compare(draft, scored, dense_scored, samples)
            flags += more
            figures.append(paired_figures)
        if at_chance:
            flags.append("at-chance")
        sample = scored.sample
        row = draft.row(
            [flag for flag in FLAGS if flag in flags],
            missing="no value on these items" if len(sample.evaluated) else NO_ITEMS,
        )
        values, replicates = _kept(figures, keep)
        found: _Found = {"row": row, "values": values, "replicates": replicates}
        found |= {"summary": None if summarize is None else summarize(scored), "units": sample.evaluated_units}
        some = sample.evaluated
        found |= {"correct": scored.correct[some], "chance": 1 / scored.n_options[some].astype(np.float64)}
        result.append(found)
    return result


def _kept(figures: Sequence[Figures], keep: Collection[str]) -> tuple[dict[str, float], dict[str, Floats]]:
    values, replicates = {}, {}
    for part in figures:
        for key in keep:
            if key in part.points and key in part.replicates:
                values[key] = part.centres.get(key, part.points[key])
                replicates[key] = part.replicates[key]
    return values, replicates


def _draft(cell: Cell, scored: Scored) -> Draft:
    protocol = scored.sample.protocol
    family, method = _family(cell)
    params = number(cell.model, "params")
    drift = cell.run.get("drift")
    drift = drift if isinstance(drift, Mapping) else {}
    recorded = {
        "params_b": None if params is None else params / 1e9,
        **{key: number(cell.variant, key) for key in _RECORDED},
    }
    draft = Draft(
        {
            **cell.key._asdict(),
            "family": family,
            "method": method,
            "chat_template": str(cell.task.get("chat_template") or "raw"),
            "protocol": protocol.name,
            "alpha": protocol.alpha,
            "n": len(cell),
            "n_evaluated": len(scored.sample.evaluated),
            "kind": cell.kind,
            **recorded,
            "drift_largest": number(drift, "largest"),
            "drift_changed_answers": number(drift, "changed_answers"),
            "chance_accuracy": float((1 / cell.n_options).mean()),
            "set_size_chance": float((1 - protocol.alpha) * cell.n_options.mean()),
        },
        dict(remarks(cell)),
    )
    for key, value in recorded.items():
        if value is None:
            dense = key == "share_touched" and family == "dense"
            draft.notes[key] = "this is the dense model" if dense else "not recorded in the cell"
    for key in ("drift_largest", "drift_changed_answers"):
        if draft.values[key] is None:
            draft.notes[key] = "not compared with float32"
    draft.fill(scored.figures)
    return draft


def _flags(cell: Cell, scored: Scored, row: Mapping[str, object]) -> list[str]:
    smallest = min(len(fold) for fold in scored.sample.folds.conformal)
    too_small = float(conformal.quantile_rank(smallest, alpha=scored.sample.protocol.alpha)) > smallest
    said = {
        "no-op": cell.variant.get("no_op") is True,
        "requantized-parent": bool(cell.model.get("parent_quantization")),
        "off-nominal": cell.variant.get("off_nominal") is True,
        "partly-compressed": _partly_compressed(cell),
        "not-finite": any("not finite" in str(note) for note in cell.variant.get("notes") or ()),
        "drift": (number(row, "drift_changed_answers") or 0.0) > 0,
        "ties": (number(row, "tie_rate") or 0.0) > TIE_RATE,
        "small-n": len(cell) < SMALL_N or too_small,
    }
    return [flag for flag, holds in said.items() if holds] + sorted(scored.figures.flags)


def _partly_compressed(cell: Cell) -> bool:
    """Whether too much of the model stayed as it was without a reason; never where the cell does not know."""
    share = number(cell.variant, "share_touched")
    if share is None:
        return False
    excused = [number(entry, "share") or 0.0 for entry in untouched(cell) if entry.get("reason")]
    return share + sum(excused) < TOUCHED


def is_at_chance(row: Mapping[str, object]) -> bool:
    """Whether accuracy is not clearly above chance: its lower bound, or without intervals the value itself."""
    low = row.get("accuracy_low")
    bound = low if low is not None else row.get("accuracy")
    chance = row["chance_accuracy"]
    assert isinstance(chance, float)
    return isinstance(bound, float) and bound <= chance


def _compare(draft: Draft, scored: Scored, dense: Scored, samples: Samples) -> tuple[list[str], Figures]:
    """Fill in the figures against dense; returns flags and figures."""
    both = on_shared_items(scored, dense, samples)
    shared = 0 if both is None else len(both[0].sample)
    draft.values["n_paired"] = shared
    flags = [] if shared == len(scored.cell) == len(dense.cell) else ["unpaired-items"]
    if both is None:
        draft.leave_out(PAIRED_KEYS, "no item is shared with dense with equal answer and number of options")
        return flags, Figures()
    kernels = [str(side.run.get("kernels") or "") for side in (scored.cell, dense.cell)]
    if all(kernels) and kernels[0] != kernels[1]:
        draft.notes["kernels"] = f"scored with {kernels[0]} kernels, dense with {kernels[1]}: a change may be theirs"
    if np.array_equal(both[1].raw, both[0].raw, equal_nan=True):
        flags.append("no-op")
    figures = paired_figures(*both)
    draft.fill(figures)
    return flags, figures


def _family(cell: Cell) -> tuple[str, str]:
    """Family and method: as the name says, else as the file says, else unknown."""
    if cell.parsed is None:
        return str(cell.variant.get("family") or "unknown"), str(cell.variant.get("method") or cell.key.variant)
    return cell.parsed.family, cell.parsed.method


def _severity(cell: Cell) -> tuple[bool, tuple[float, float, float], str]:
    if cell.parsed is None:
        return True, (0.0, 0.0, 0.0), cell.key.variant
    return False, cell.parsed.severity, cell.key.variant
