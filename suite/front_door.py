"""What Python users call: from a model, or from an array of logits, to figures, verdicts and a snapshot.

`import suite` offers these functions by name. They take strings, paths, lists and arrays, and answer bad input with one
sentence (`suite.SuiteError`). None of the statistics is here: each function is one call of what the commands call.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from suite import cell as cells_on_disk
from suite.cell import Cell
from suite.errors import CellFailure, SuiteError
from suite.files import check_output
from suite.models.model import resolve_model
from suite.variant import parse_variant

if TYPE_CHECKING:
    from suite.config import ProtocolName
    from suite.decisions.policy import Policy
    from suite.decisions.result import GateResult
    from suite.publish.verify import Report
    from suite.sample_text import Sampling

StrPath = str | os.PathLike[str]


class Rows(list[dict[str, Any]]):
    """Rows as plain dictionaries, in order; figures are fractions, None is what could not be computed (see `notes`)."""

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            SuiteError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise SuiteError("pandas is not installed; 'pip install pandas', or use the rows as they are") from error
        return DataFrame(list(self))


def make_cell(
    logits: ArrayLike | Sequence[Sequence[float]],
    answers: ArrayLike | Sequence[int],
    *,
    ids: Sequence[str | int] | None = None,
    kind: str = "logits",
    model: str = "model",
    variant: str = "dense",
    task: str = "task",
    params_b: float | None = None,
    subjects: Sequence[str | None] | None = None,
    groups: Sequence[str | int | None] | None = None,
) -> Cell:
    """One model variant's scores on one task, from arrays.

    Args:
        logits: what the model gave each option, [items, options]; a list of lists where items have different numbers
            of options. Arrays of NumPy and tensors of torch are taken.
        answers: index of the right option of each item, [items], counted from 0.
        ids: one an item, text or whole numbers; None numbers them. Cells are compared item by item, by these.
        kind: ``logits``, ``loglik`` (log-likelihoods of option texts) or ``probs``.
        model, variant, task: what results call them; give variants of one model the same `model`, the uncompressed one
            the variant ``dense``.
        params_b: the model's parameters in billions.
        subjects: names of parts of the task, one an item.
        groups: items that share a passage or a template get the same one and are never separated by a split.

    Raises:
        SuiteError: not two-dimensional, a NaN, an answer that is no option, or lengths that differ.

    >>> make_cell([[2.0, 0.5], [0.1, 0.3]], [0, 1]).ids
    ('0', '1')
    """
    rows = _score_rows(logits)
    return cells_on_disk.make_cell(
        ids=range(len(rows)) if ids is None else list(ids),
        answers=_answers(answers),
        scores=rows,
        kind=kind,
        model={"name": _word(model, "model"), "params": None if params_b is None else params_b * 1e9},
        variant={"name": _word(variant, "variant")},
        task={
            "name": _word(task, "task"),
            "scoring": "cloze-sum" if kind == "loglik" else "letter",
            "prompt": "base",
            "shots": 0,
        },
        subjects=None if subjects is None else list(subjects),
        groups=None if groups is None else list(groups),
    )


def load_cells(*paths: StrPath) -> list[Cell]:
    """Read the cells of run directories, snapshots or cell files, in a fixed order.

    Raises:
        SuiteError: a path that does not exist, a folder without cells, or a damaged file.
    """
    return cells_on_disk.load_cells([Path(path) for path in paths])


def measure(
    cells: Cell | Iterable[Cell],
    *,
    protocol: ProtocolName = "exact",
    alpha: float = 0.1,
    splits: int = 100,
    replicates: int = 1000,
    seed: int = 0,
) -> Rows:
    """Accuracy, set size, coverage, calibration error and the rest: one row a cell, with 95 % intervals.

    A cell is compared with the `dense` cell of the same model and task. `docs/metrics.md` says what each key means.

    Args:
        protocol: ``exact``, or ``ye2024`` for the protocol of arXiv 2401.12794.
        alpha: miscoverage that prediction sets may have.
        splits: conformal splits that set sizes and coverages are averaged over.
        replicates: of the bootstrap behind each interval; 0 leaves intervals out and is fast.
        seed: of splits and bootstrap.

    Raises:
        SuiteError: no cells, two cells of one name, or a parameter out of range.
    """
    from suite.config import Protocol
    from suite.metrics.rows import measure_cells

    found = measure_cells(_cells(cells), Protocol(protocol, alpha, splits, replicates, seed))
    return Rows(dict(one.row) for one in found)


def judge(cells: Cell | Iterable[Cell]) -> Rows:
    """Where certainty breaks along rising compression: one verdict a curve and metric (see `docs/collapse.md`).

    Raises:
        SuiteError: no cells, or two cells of one name.
    """
    from suite.decisions.analyses import VERDICTS, judge_cells

    _, judgement = judge_cells(_cells(cells), None, files=(VERDICTS,))
    return Rows(judgement.records(VERDICTS))


def find_doses(
    cells: Cell | Iterable[Cell],
    *,
    metrics: str | Sequence[str] = "brier_ts",
    tolerances: Sequence[float] = (),
    confidence: float = 0.95,
) -> Rows:
    """Down to which level a model is kept, from which it is lost: one record a curve, metric and tolerance.

    Keys are those of `suite dose --json`; see `docs/dose.md`.

    Args:
        metrics: ``brier_ts``, ``accuracy``, ``set_size`` and others; an empty list for all.
        tolerances: shares of the way from dense to chance that may be lost; none for 0.05, 0.10 and 0.25.
        confidence: of each side.

    Raises:
        SuiteError: no cells, two cells of one name, an unknown metric, or a number out of range.
    """
    from suite.verdicts.dose_records import find_dose_records

    names = [metrics] if isinstance(metrics, str) else metrics
    return Rows(find_dose_records(_cells(cells), metrics=names, tolerances=tolerances, confidence=confidence))


def score_model(
    model: Any,
    *,
    tasks: str | StrPath | Sequence[StrPath],
    dense: StrPath | None = None,
    variant: str | None = None,
    tokenizer: Any = None,
    name: str | None = None,
    limit: int | None = None,
    scoring: str | None = None,
    prompt: str | None = None,
    shots: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> list[Cell]:
    """Score a model, or a compressed variant of it, on some tasks: one cell a task, in their order.

    Args:
        model: an embedded name, a hub id ``org/name@revision``, a folder, a ``.gguf`` file; or a transformers causal
            language model in memory, which is scored as it is and needs its `tokenizer` and a `name`.
        tasks: built-in names or JSONL files.
        dense: the parent that `model`, a finished checkpoint, was made of. The cells then belong to the parent.
        variant: what to make of the model before it is scored, such as ``rtn-w4-g128``; with `dense`, or for a model in
            memory, what it is called.
        limit: a fixed subset of this many items.
        scoring, prompt, shots: how items are asked; None for each task's own way.

    Raises:
        SuiteError: anything unusable in the arguments, or a model that cannot be loaded, compressed or scored.
    """
    from suite.run.plan import plan_variant
    from suite.run.prepare import decide, open_scorer
    from suite.score.cells import score
    from suite.score.sheet import make_sheet
    from suite.tasks import get_task

    named = [tasks] if isinstance(tasks, str | os.PathLike) else list(tasks)
    if not named:
        raise SuiteError("no tasks; name at least one, such as 'arc-easy'")
    sheets = [
        make_sheet(get_task(os.fspath(task)), scoring=scoring, prompt=prompt, shots=shots, limit=limit)
        for task in named
    ]
    try:
        if not isinstance(model, str | os.PathLike):
            if tokenizer is None or name is None:
                raise SuiteError("a model in memory needs its tokenizer and a name: give score_model both")
            from suite.run.in_memory import score_network

            return [score_network(model, tokenizer, sheet, name=name, variant=variant or "dense") for sheet in sheets]
        conditions = decide(dtype, device, trust_remote_code=trust_remote_code)
        parent = None if dense is None else os.fspath(dense)
        cells = plan_variant(os.fspath(model), variant, sheets, conditions, dense=parent)
        scorer = open_scorer(cells[0].model, cells[0].variant, conditions, ready=cells[0].ready)
        scored = [cell.signed(score(scorer, cell.sheet)) for cell in cells]
        return scored if name is None else [replace(cell, model={**cell.model, "name": name}) for cell in scored]
    except CellFailure as failure:
        raise SuiteError(f"model {name or model}: {failure}") from failure


GATE_TASKS = ("arc-easy", "sciq", "hellaswag-activitynet", "piqa")
"""What a model is gated on where nobody says: tasks that the set-up brings along."""


def gate_model(
    model: Any,
    *,
    dense: StrPath | Sequence[Cell],
    policy: str | StrPath | Policy = "certainty",
    tasks: str | StrPath | Sequence[StrPath] = GATE_TASKS,
    limit: int | None = 400,
    variant: str | None = None,
    tokenizer: Any = None,
) -> GateResult:
    """May this compressed model replace the dense one? Scores both on the same items and decides by a policy.

    Args:
        model: a checkpoint as `score_model` takes it, or a transformers causal language model in memory, such as
            llm-compressor's `oneshot` has just changed.
        dense: the parent it was made of, by name or path; or cells of the parent on these tasks and items, scored
            before, which saves scoring it for every candidate.
        policy: a built-in name, a policy file, or a policy.
        tasks: built-in names or JSONL files.
        limit: items a task, a fixed subset; None for all. `suite policy show NAME` says how many a limit needs.
        variant: what the model is called; None where it says it itself (quantized by llm-compressor, a checkpoint).
        tokenizer: of a model in memory; None for the parent's.

    Raises:
        SuiteError: anything unusable in the arguments, or a model that cannot be loaded or scored.
    """
    from suite.decisions.attempts import numbered
    from suite.decisions.built_in import get_policy
    from suite.decisions.contradictions import check_policy
    from suite.decisions.gate import candidates, gate_variants
    from suite.decisions.policy import Policy
    from suite.decisions.result import GateResult
    from suite.verdicts.dose_records import JOINT_KEYS
    from suite.verdicts.given import Given

    rules = check_policy(policy if isinstance(policy, Policy) else get_policy(os.fspath(policy)))
    named = [tasks] if isinstance(tasks, str | os.PathLike) else list(tasks)
    in_memory = not isinstance(model, str | os.PathLike)
    parent = os.fspath(dense) if isinstance(dense, str | os.PathLike) else None
    if in_memory and variant is None:
        from suite.compress.ready_made import variant_of_network

        variant = variant_of_network(model).name
    if not isinstance(dense, str | os.PathLike):
        before = _cells(dense)
        if any(not cell.is_dense for cell in before):
            raise SuiteError(
                "dense: cells of the variant 'dense' are needed; suite.score_model makes them of the parent"
            )
    else:
        dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.") if in_memory else "auto"
        device = str(model.device.type) if in_memory else "auto"
        before = score_model(dense, tasks=named, limit=limit, dtype=dtype, device=device)
    name = before[0].key.model
    if in_memory:
        if tokenizer is None:
            tokenizer = _tokenizer_of(parent)
        after = score_model(model, tasks=named, limit=limit, tokenizer=tokenizer, name=name, variant=variant)
    elif parent is None:
        raise SuiteError(
            "dense: a checkpoint is measured against its parent; give the parent's name or path, not cells"
        )
    else:
        after = score_model(model, dense=parent, tasks=named, limit=limit, variant=variant)
    cells = [*before, *after]
    given = Given.of(cells, keep=JOINT_KEYS)
    (record,) = gate_variants(given, rules, attempts=numbered(cells, None, candidates(cells)))
    return GateResult(record["decision"], record["reason"], record, tuple(cells))


def _tokenizer_of(parent: str | None) -> Any:
    if parent is None:
        raise SuiteError("a model in memory needs its tokenizer where dense is given as cells: give gate_model both")
    from suite.models.checkpoint import load_tokenizer

    return load_tokenizer(resolve_model(parent))[0]


def compress_model(
    model: StrPath,
    variant: str,
    out: StrPath,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    sampling: Sampling | None = None,
) -> dict[str, Any]:
    """Compress a model into a folder that transformers loads.

    Args:
        variant: such as ``gptq-w4-g64``; `suite list methods` names them.
        out: a folder that is not there yet.
        sampling: the sample text that data-driven methods read; None for the default.

    Returns:
        What was measured on the compressed weights: bits a weight, zeros, relative weight error, notes.

    Raises:
        SuiteError: an unknown variant or model, or a folder in the way.
    """
    from suite.compress import check_supported
    from suite.compress.save import check_beforehand, save
    from suite.run.prepare import compressed, decide

    folder, wanted = Path(out), parse_variant(variant)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SuiteError(f"output {folder}: is there already; name a new folder")
    check_output(folder / "config.json")
    found = resolve_model(os.fspath(model))
    check_supported(wanted)
    check_beforehand(found, wanted)
    conditions = decide(dtype, device, trust_remote_code=trust_remote_code, sampling=sampling)
    checkpoint, info = compressed(found, wanted, conditions)
    return {**info.as_metadata(), "saved_bytes": save(checkpoint, info, folder)}


def write_snapshot(cells: Cell | Iterable[Cell] | StrPath, out: StrPath) -> Path:
    """Rows, verdicts, tables, page and figures of some cells, or of a run directory, in one folder.

    Returns:
        The folder's LEADERBOARD.md.

    Raises:
        SuiteError: no cells, two cells of one name, or a folder that cannot be written.
    """
    from suite.config import config_in
    from suite.importers import store_cells
    from suite.run.pipeline import publish

    folder = Path(out)
    if isinstance(cells, str | os.PathLike):
        source = Path(cells)
        return publish(source, config_in(source), folder)[0]
    store_cells(_cells(cells), folder, replace=True)
    return publish(folder)[0]


def verify_snapshot(folder: StrPath) -> Report:
    """Recompute a snapshot from its cells and compare; `problems` of the report is empty when all of it holds.

    Raises:
        SuiteError: the folder is no snapshot.
    """
    from suite.publish.verify import verify

    return verify(Path(folder))


def _cells(given: Cell | Iterable[Cell]) -> list[Cell]:
    """At least one cell, no two of one name."""
    cells = [given] if isinstance(given, Cell) else given
    if isinstance(cells, str | os.PathLike):
        raise SuiteError(f"cells are needed, not a path; suite.load_cells({str(cells)!r}) reads them")
    if isinstance(cells, Mapping) or not isinstance(cells, Iterable):
        raise SuiteError(f"cells are needed, not {type(given).__name__}; suite.make_cell makes one")
    found = list(cells)
    if not found:
        raise SuiteError("no cells; suite.make_cell makes one, suite.load_cells reads them")
    for one in found:
        if not isinstance(one, Cell):
            raise SuiteError(f"cells are needed, not {type(one).__name__}; suite.make_cell makes one")
    return found


def _score_rows(logits: Any) -> list[list[float]]:
    """One list of floats an item, whatever held them."""
    if hasattr(logits, "detach"):  # a tensor, perhaps in a dtype that NumPy does not have, perhaps on an accelerator
        logits = logits.detach().float().cpu().numpy()
    if isinstance(logits, np.ndarray) and logits.ndim != 2:
        raise SuiteError(f"logits have shape {list(logits.shape)}; one row an item and one column an option are needed")
    rows = []
    for place, row in enumerate(logits):
        try:
            values: NDArray[np.float64] = np.asarray(row, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise SuiteError(f"logits of item {place} are not numbers: {str(row)[:60]}") from error
        if values.ndim != 1:
            raise SuiteError(f"logits of item {place} are not one number an option: {str(row)[:60]}")
        rows.append(values.tolist())
    return rows


def _answers(answers: Any) -> list[int]:
    if hasattr(answers, "detach"):
        answers = answers.detach().cpu().numpy()
    values = np.asarray(answers)
    if values.ndim != 1:
        raise SuiteError(f"answers have shape {list(values.shape)}; one whole number an item is needed")
    if values.dtype.kind == "f" and np.array_equal(values, np.round(values)):
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu" and len(values):
        raise SuiteError(f"answers are not whole numbers: {str(answers)[:60]}; the index of the right option is needed")
    return [int(value) for value in values]


def _word(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise SuiteError(f"{what} {value!r}: a name is needed")
    return value
