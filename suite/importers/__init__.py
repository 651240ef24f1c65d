"""Cells from files that other programs wrote, one file a format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from suite.cell import Cell, cell_path, read_metadata, write_cell
from suite.errors import SuiteError, unknown_name
from suite.importers import jsonl, lm_eval, npz, ye2024
from suite.importers.labels import Labels, check_labels

IMPORTERS: dict[str, Callable[[Path, Labels], list[Cell]]] = {
    "jsonl": jsonl.read,
    "npz": npz.read,
    "lm-eval": lm_eval.read,
    "ye2024": ye2024.read,
}


def import_cells(
    format: str,
    src: Path,
    *,
    model: str,
    variant: str,
    task: str,
    scoring: str | None = None,
    params_b: float | None = None,
    prompt: str | None = None,
    shots: int | None = None,
) -> list[Cell]:
    """Read the scores that another program wrote.

    Args:
        format: one of `IMPORTERS`.
        src: the file or folder.
        model, variant, task: names the cells get. For files that hold several models, `model` picks one of them and
            ``"*"`` takes all.
        scoring: ``"sum"`` or ``"norm"``: what log-likelihoods are (jsonl) or become (lm-eval).
        params_b: the model's parameters in billions.
        prompt, shots: how the questions were asked, where the source does not say it. Where the source holds several
            prompts or numbers of shots, they pick one, and None takes all.

    Returns:
        At least one cell.

    Raises:
        SuiteError: one line for anything unusable in the arguments or the source.
    """
    if format not in IMPORTERS:
        raise unknown_name("import format", format, IMPORTERS)
    labels = check_labels(Labels(model, variant, task, scoring, params_b, prompt, shots))
    if not src.exists():
        raise SuiteError(f"{src}: not found; name the file or folder to import")
    return IMPORTERS[format](src, labels)


def store_cells(cells: Sequence[Cell], run_dir: Path, *, replace: bool) -> list[Path]:
    """Write cells into a run directory, all of them or none.

    Args:
        replace: overwrite a cell of the same model, task, scoring, prompt, shots and variant.

    Returns:
        Where each cell is now.

    Raises:
        SuiteError: two of the cells have one name; a cell of that name is there already and `replace` is off; the
            file that would be replaced belongs to another model or task whose name differs in signs only; disk full.
    """
    targets = [cell_path(run_dir, cell) for cell in cells]
    seen: dict[Path, Cell] = {}
    for target, cell in zip(targets, cells, strict=True):
        if target in seen:
            raise SuiteError(
                f"two cells would both be {target}: {seen[target].where} and {cell.where}; import them apart"
            )
        seen[target] = cell
        if target.exists():
            _check_replaceable(target, cell, replace)
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


def _check_replaceable(target: Path, cell: Cell, replace: bool) -> None:
    if not replace:
        raise SuiteError(f"{target}: there is a cell of this name already; use --replace, or another --out")
    try:
        old = read_metadata(target)
        key = (old["model"]["name"], old["task"]["name"], old["variant"]["name"])
    except (SuiteError, KeyError, TypeError):
        return  # unreadable: nothing is lost by replacing it
    new = (cell.model["name"], cell.task["name"], cell.variant["name"])
    if key != new:
        raise SuiteError(f"{target} holds {'/'.join(map(str, key))}, not {'/'.join(new)}; give --model another name")
