"""The pipeline: every cell of a configuration, then metrics and the leaderboard. Resumes by itself.

``RUN_DIR`` holds ``config.yaml`` (as run), ``environment.json`` (dtype and device decisions, versions), ``cells/`` and
the published tables. A cell is scored when no cell with the same content key is there, whatever its name.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from suite import __version__
from suite.cell import Cell, file_key, key_of, read_cell, read_metadata, write_cell
from suite.config import RunConfig
from suite.decisions.built_in import planned_policy
from suite.decisions.gate import lines_of
from suite.decisions.lock import check_planned, read_lock
from suite.errors import CellFailure, SuiteError
from suite.files import write_file
from suite.models.device import resolve_device
from suite.models.model import Model
from suite.publish.manifest import read_environment
from suite.run.early_tables import EarlyTables
from suite.run.lock import asked, check_dense
from suite.run.plan import PlannedCell, conditions_of, limited, plan
from suite.run.prepare import Conditions, open_scorer, resolve_dtype
from suite.run.taken import SUPERSEDED, known_keys, renamed, take_cells, take_dense
from suite.score.cells import score
from suite.score.scorer import Scorer
from suite.score.store import ShardStore

_VERSIONED = (
    "torch",
    "transformers",
    "llmcompressor",
    "tokenizers",
    "numpy",
    "scipy",
    "mapie",
    "netcal",
    "scikit-learn",
    "pyarrow",
)


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        scored, reused: cells scored now and cells found complete.
        failures: one record a cell that could not be scored.
        leaderboard: path of LEADERBOARD.md.
        highlights: what a reader should look at first.
    """

    scored: int
    reused: int
    failures: list[dict[str, Any]]
    leaderboard: Path
    highlights: list[str]


def execute(
    config: RunConfig,
    out: str | Path,
    *,
    limit: int | None = None,
    only: str | None = None,
    cells_from: str | Path | None = None,
    dense_from: str | Path | None = None,
    lock: Path | None = None,
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> RunResult:
    """Score what is missing, then compute and publish.

    Args:
        out: the run directory, made when it is not there.
        limit: overrides every task's own limit (a quick trial).
        only: a glob over ``model/task/variant`` or over any one of the three; other cells are left as they are.
        cells_from: a snapshot or run directory whose cells are taken instead of scored, where their keys are the same.
        dense_from: a snapshot whose dense cells are taken instead of scored, where they are of the same content.
        lock: a file of `suite policy lock`, whose hash compressed cells that are scored now will carry.

    Raises:
        SuiteError: bad input, a full disk, another run at work in the directory, or no cell at all to publish.
    """
    out = Path(out)
    config = limited(config, limit)
    if (policy := planned_policy(config)) is not None:
        lines_of(policy, [task.name for task in config.tasks])
    # bad input is found before anything is written
    environment = _environment(config, out)
    planned = plan(config, out, dtype=environment["dtype"], device=environment["device"], only=only)
    stamp = None if lock is None else _checked_lock(lock, config, planned)
    make_folder(out)
    with _locked(out):
        _remove_unfinished(out)
        _keep_environment(environment, out)
        write_file(out / "config.yaml", f"# {config.hash}\n{config.to_yaml()}")
        put = partial(_put, out=out)
        if cells_from is not None:
            taken = take_cells(cells_from, planned, put, log, whole=only is None)
            log(f"{taken} of {len(planned)} cells are in {cells_from}")
        if dense_from is not None:
            log(f"{take_dense(dense_from, planned, put, log)} dense cells from {dense_from}")
        scored, reused, failures = _score_all(planned, out, config, environment, log, stamp=stamp)
        shutil.rmtree(out / ".partial", ignore_errors=True)
        leaderboard, highlights = publish(out, config)
    return RunResult(scored, reused, failures, leaderboard, highlights)


def publish(
    run_dir: str | Path, config: RunConfig | None = None, out: str | Path | None = None
) -> tuple[Path, list[str]]:
    """Rows, leaderboard, page and figures from the cells of a run directory: a snapshot.

    Args:
        out: folder of the snapshot, the run directory itself when None.

    Returns:
        The leaderboard's path and the sentences that say where to look first.
    """
    from suite.publish.snapshot import write_snapshot

    return write_snapshot(run_dir, config, out or run_dir)


def make_folder(path: Path) -> None:
    """Create a folder, or say in one line why not."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SuiteError(f"folder {path}: {error.strerror}; name another one") from error


def _environment(config: RunConfig, out: Path) -> dict[str, Any]:
    """Decisions made once for a run directory: a resumed run keeps its dtype even if a new measurement would differ."""
    device = resolve_device(config.device)
    asked = {"dtype": config.dtype, "device": config.device}
    known = read_environment(out)
    if known.get("asked") == asked and known.get("device") == device and "dtype" in known:
        return known
    dtype, speeds = resolve_dtype(config.dtype, device)
    return {
        "asked": asked,
        "dtype": dtype,
        "dtype_gflops": speeds,
        "device": device,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {"suite": __version__, **{name: _version(name) for name in _VERSIONED}},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # what only some variants need
        return None


def _keep_environment(environment: dict[str, Any], out: Path) -> None:
    write_file(out / "environment.json", json.dumps(environment, indent=1, sort_keys=True) + "\n")


def _score_all(
    planned: Sequence[PlannedCell],
    out: Path,
    config: RunConfig,
    environment: dict[str, Any],
    log: Callable[[str], None],
    *,
    stamp: str | None = None,
) -> tuple[int, int, list[dict[str, Any]]]:
    """Score the cells that are not there yet; returns (scored, reused, failures)."""
    from tqdm import tqdm

    _set_strays_aside(out, log)
    known = known_keys(out, log)
    conditions = conditions_of(config, dtype=environment["dtype"], device=environment["device"])
    refused = _refused_today([cell for cell in planned if cell.key in known], known, conditions, log)
    failures = [_fail(cell, refused[cell.key], out, log) for cell in planned if cell.key in refused]
    kept = [cell for cell in planned if cell.key not in refused]
    todo = [cell for cell in kept if not _reuse(cell, known, out)]
    reused = len(kept) - len(todo)
    log(f"{len(planned)} cells: {reused} are there already, {len(todo)} to score")
    if not todo:
        return 0, reused, failures
    items = sum(len(cell.sheet.rendered) for cell in todo)
    tables = EarlyTables(out, config, log)
    with tqdm(total=items, unit="item", file=sys.stderr, smoothing=0.05, dynamic_ncols=True) as bar:
        for number, group in enumerate(_by_variant(todo)):
            first = group[0]
            bar.set_description(
                f"{first.model.name} {first.variant.name} (cell {_position(todo, first)} of {len(todo)})"
            )
            if number == 0 and first.model.path.is_file():
                log(f"loading {first.model.id} (a GGUF file is converted once, which takes half a minute or more)")
            try:
                scorer = open_scorer(
                    first.model,
                    first.variant,
                    conditions,
                    ready=first.ready,
                    making=_failing_alone,
                    remembered=partial(_remembered, environment, out),
                )
            except CellFailure as failure:
                failures.extend(_fail(cell, str(failure), out, log) for cell in group)
                continue
            for cell in group:
                bar.set_description(f"{cell.label} (cell {_position(todo, cell)} of {len(todo)})")
                try:
                    _score_one(cell, scorer, out, bar.update, stamp)
                except CellFailure as failure:
                    failures.append(_fail(cell, str(failure), out, log))
                if cell is not todo[-1]:
                    tables.after_cell(cell)
            del scorer
            gc.collect()
            if group[-1] is not todo[-1]:
                tables.after_variant()
    return len(planned) - reused - len(failures), reused, failures


def _refused_today(
    there: Sequence[PlannedCell], known: dict[str, list[Path]], conditions: Conditions, log: Callable[[str], None]
) -> dict[str, str]:
    """Why cells, by key, that an earlier version scored do not count: their checkpoint is refused today.

    That version passed over tensors that its network does not take, and its cells' keys are those of the same files.
    """
    early = [cell for cell in there if not read_metadata(known[cell.key][-1])["run"].keys() & {"attention", "scorer"}]
    reasons: dict[Model | None, str] = {}
    for model in dict.fromkeys(model for cell in early for model in (cell.model, cell.ready) if model):
        if model.source == "embedded":
            continue
        log(f"{model.id}: its cells are of an earlier version; is it read whole today?")
        try:
            conditions.load(model)
        except SuiteError as error:
            reasons[model] = str(error)
    return {cell.key: reasons[model] for cell in early for model in (cell.model, cell.ready) if model in reasons}


@contextmanager
def _failing_alone() -> Iterator[None]:
    """A variant that cannot be made is a failed cell: the other variants may be fine."""
    try:
        yield
    except MemoryError as error:
        raise CellFailure("out of memory while compressing") from error
    except SuiteError as error:  # weights that are not finite, a group that does not fit
        raise CellFailure(str(error)) from error


def _checked_lock(lock: Path, config: RunConfig, planned: Sequence[PlannedCell]) -> str:
    """The hash of a lock that is one of this run."""
    found = read_lock(lock)
    check_planned(found, config, asked([cell.sheet for cell in planned]), f"lock {lock}")
    check_dense(found, {cell.model.name: cell.model for cell in planned}.values(), f"lock {lock}")
    return str(found["lock_hash"])


def _score_one(cell: PlannedCell, scorer: Scorer, out: Path, update: Callable[[int], Any], stamp: str | None) -> None:
    shards = ShardStore(out / ".partial" / cell.key[:32])
    scored = score(scorer, cell.sheet, shards=shards, progress=update)
    _put(cell.signed(scored, stamp), cell.path, out)
    shards.clear()


def _fail(cell: PlannedCell, reason: str, out: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Record a failed cell beside where it would have been."""
    record = {
        **cell.names._asdict(),
        "reason": reason,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # a cell of other content under this name would be shown as if it were this one
    _set_aside(cell.path, out)
    write_file(cell.path.with_suffix(".failed.json"), json.dumps(record, indent=1, sort_keys=True) + "\n")
    log(f"failed: {cell.label}: {reason}")
    return record


def _set_strays_aside(out: Path, log: Callable[[str], None]) -> None:
    """Cells that `suite score` wrote under names of their own: where this run asks for one, its key finds it again."""
    for file in [*sorted(out.glob("[!.]*.parquet")), *sorted((out / "cells").rglob("[!.]*.parquet"))]:
        try:
            metadata = read_metadata(file)
            place = key_of(metadata).path(out)
        except (SuiteError, KeyError, TypeError, ValueError):  # no cell, or damaged, which is said when it is read
            continue
        if metadata["run"].get("key") and file_key(file) != file_key(place):
            _set_aside(file, out)
            log(f"{file.relative_to(out)}: put aside; its scores count where this run asks for such a cell")


def _reuse(cell: PlannedCell, known: dict[str, list[Path]], out: Path) -> bool:
    """Whether the cell is there; a cell of equal content under another name is copied under this one's."""
    sources = known.get(cell.key, [])
    if not sources:
        return False
    if cell.path not in sources:
        aside = _put(renamed(read_cell(sources[-1]), cell), cell.path, out)
        # the cell that stood there may be what another one is looking for
        for paths in known.values():
            paths[:] = [aside if path == cell.path and aside else path for path in paths]
        sources.append(cell.path)
    return True


def _remembered(environment: dict[str, Any], out: Path, name: str, measure: Callable[[], int]) -> int:
    """Batch size for a model, measured once for a run directory: a resumed run forms the same batches."""
    budgets: dict[str, int] = environment.setdefault("token_budgets", {})
    if name not in budgets:
        budgets[name] = measure()
        _keep_environment(environment, out)
    return budgets[name]


def _put(cell: Cell, path: Path, out: Path) -> Path | None:
    """Write a cell; one of other content under the same name is set aside, and found again by its key."""
    aside = _set_aside(path, out)
    write_cell(path, cell)
    path.with_suffix(".failed.json").unlink(missing_ok=True)
    return aside


def _set_aside(path: Path, out: Path) -> Path | None:
    """Move the file at a cell's path out of the way; returns where it is now."""
    if not path.is_file():
        return None
    cells = out / "cells"
    place = "_".join(path.relative_to(cells if path.is_relative_to(cells) else out).with_suffix("").parts)
    try:
        key = str(read_cell(path).run.get("key") or "")
        name = f"{key[:32] or place}.parquet"
    except SuiteError:
        name = f"{place}.damaged"
    make_folder(out / SUPERSEDED)
    aside = out / SUPERSEDED / name
    path.replace(aside)
    return aside


def _by_variant(cells: Sequence[PlannedCell]) -> Iterator[list[PlannedCell]]:
    """Consecutive cells that share a loaded, compressed model."""
    for _, group in groupby(cells, key=lambda cell: (cell.model, cell.variant, cell.ready)):
        yield list(group)


def _position(cells: Sequence[PlannedCell], cell: PlannedCell) -> int:
    return next(index for index, other in enumerate(cells, start=1) if other is cell)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One run at a time in a directory; the lock goes with the process, however it ends."""
    try:
        handle: TextIO = (out / ".lock").open("a+", encoding="ascii")
    except OSError as error:
        raise SuiteError(f"folder {out}: {error.strerror}; name another --out") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise SuiteError(
                f"{out}: another run (process {holder}) is at work here; wait for it, or name another --out"
            ) from error
        # the number is for the message above alone: a full disk is reported where it matters
        with suppress(OSError):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
        yield
    finally:
        with suppress(OSError):
            handle.close()


def _remove_unfinished(out: Path) -> None:
    """Remove the files that a killed run was writing; nobody else writes here, the lock sees to that."""
    for file in [*out.glob(".*.partial"), *(out / "cells").rglob(".*.partial"), *(out / "figures").glob(".*.partial")]:
        file.unlink(missing_ok=True)
