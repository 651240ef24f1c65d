"""Cells from files that other programs wrote, one file a format."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from suite.cell import Cell, CellKey, file_key, key_of, read_metadata, write_cell
from suite.errors import SuiteError, unknown_name
from suite.importers import jsonl, lm_eval, npz, parquet, ye2024
from suite.importers.labels import Columns, Labels, check_labels

IMPORTERS: dict[str, Callable[[Path, Labels], list[Cell]]] = {
    "jsonl": jsonl.read,
    "npz": npz.read,
    "parquet": parquet.read,
    "lm-eval": lm_eval.read,
    "ye2024": ye2024.read,
}


def import_cells(
    format: str,
    src: str | Path,
    *,
    model: str,
    variant: str,
    task: str,
    scoring: str | None = None,
    params_b: float | None = None,
    prompt: str | None = None,
    shots: int | None = None,
    filter: str | None = None,
    columns: Columns | None = None,
) -> list[Cell]:
    """Read the scores that another program wrote.

    Args:
        format: one of `IMPORTERS`.
        src: the file or folder.
        model, variant, task: names the cells get. For files that hold several models, `model` picks one of them and
            ``"*"`` takes all.
        scoring: ``"sum"`` or ``"norm"``: what log-likelihoods are (jsonl, npz, parquet) or become (lm-eval);
            ``"letter"`` where they are those of option letters (not for lm-eval, which says so itself).
        params_b: the model's parameters in billions.
        prompt, shots: how the questions were asked, where the source does not say it. Where the source holds several
            prompts or numbers of shots, they pick one, and None takes all.
        filter: which of a task's filters, where lm-eval has logged it once a filter.
        columns: of a parquet file.

    Returns:
        At least one cell.

    Raises:
        SuiteError: one line for anything unusable in the arguments or the source.
    """
    if format not in IMPORTERS:
        raise unknown_name("import format", format, IMPORTERS)
    src = Path(src)
    labels = check_labels(Labels(model, variant, task, scoring, params_b, prompt, shots, filter, columns))
    if filter is not None and format != "lm-eval":
        raise SuiteError(f"--filter {filter!r}: {format} files have none; it is for lm-eval")
    if scoring == "letter" and format == "lm-eval":
        raise SuiteError("--scoring letter: lm-eval files say themselves whether options are letters; leave it out")
    if columns is not None and format != "parquet":
        raise SuiteError(
            f"--id, --answer, --scores and --kind name columns of parquet files; {format} has its own names"
        )
    if not src.exists():
        raise SuiteError(f"{src}: not found; name the file or folder to import")
    return IMPORTERS[format](src, labels)


def store_cells(cells: Sequence[Cell], run_dir: str | Path, *, replace: bool) -> list[Path]:
    """Write cells into a run directory, all of them or none.

    Args:
        replace: overwrite a cell of the same model, task, scoring, prompt, shots and variant.

    Returns:
        Where each cell is now.

    Raises:
        SuiteError: a model, task or prompt whose name makes the folder of another one, of the cells given or of those
            there; two of the cells have one name; a cell of that name is there already and `replace` is off; disk full.
    """
    run_dir = Path(run_dir)
    _check_folders(cells, run_dir)
    targets = [cell.key.path(run_dir) for cell in cells]
    seen: dict[str, Cell] = {}
    for target, cell in zip(targets, cells, strict=True):
        key = file_key(target)
        if key in seen:
            raise SuiteError(f"two cells would both be {target}: {seen[key].where} and {cell.where}; import them apart")
        seen[key] = cell
        if target.exists() and not replace:
            raise SuiteError(f"{target}: there is a cell of this name already; use --replace, or another --out")
    staging = run_dir / f".import-{os.getpid()}"
    staged = [staging / f"{number}.parquet" for number in range(len(cells))]
    try:
        for path, cell in zip(staged, cells, strict=True):
            write_cell(path, cell)
        for path, target in zip(staged, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    except OSError as error:
        raise SuiteError(f"cannot write into {run_dir}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return targets


def _check_folders(cells: Sequence[Cell], run_dir: Path) -> None:
    """Refuse a name whose folder is another one's: ``a_b`` beside ``a/b``, and on some systems ``A`` beside ``a``."""
    owners: dict[str, str] = {}
    for folder in sorted((run_dir / "cells").glob("*/*/*")):
        for file in sorted(folder.glob("*.parquet")):
            with contextlib.suppress(SuiteError, KeyError, TypeError, ValueError):  # unreadable: it stands for nothing
                for place, _, name in _folders(run_dir, key_of(read_metadata(file))):
                    owners.setdefault(place, name)
                break
    for cell in cells:
        for place, option, name in _folders(run_dir, cell.key):
            owner = owners.setdefault(place, name)
            if owner != name:
                raise SuiteError(
                    f"{option} {name!r}: its folder in {run_dir} would be that of {owner!r}, as the names differ in "
                    f"signs or case alone; give another {option}, or another --out"
                )


def _folders(run_dir: Path, key: CellKey) -> list[tuple[str, str, str]]:
    """Each folder above a cell, the option that names it, and the name."""
    style = key.path(run_dir).parent
    places = (style.parent.parent, style.parent, style)
    named = (("--model", key.model), ("--task", key.task), ("--prompt", key.prompt))
    return [(file_key(place), *pair) for place, pair in zip(places, named, strict=True)]
