"""One side of a comparison from whatever holds it: a run of lm-eval, cells, or JSONL files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from suite.cell import Cell, load_cells
from suite.errors import SuiteError
from suite.files import json_objects, read_text, unpacked_name
from suite.importers import jsonl
from suite.importers.answers import Answers, Side
from suite.importers.labels import Labels
from suite.importers.lm_eval_run import is_run, read_run

ITEMS = "items"
"""The task of a JSONL file, which names none."""


def read_side(src: Path, *, scoring: str | None) -> Side:
    """Read one side.

    Args:
        src: a folder that lm-eval has written or one of its per-sample files; a cell (``.parquet``) or a folder with
            those of one variant; a JSONL file in the form that `suite import jsonl` takes.
        scoring: of log-likelihoods, ``sum`` or ``norm``; None for sums, and for cells, which say it themselves.

    Raises:
        SuiteError: one line for what cannot be read.
    """
    if not src.exists():
        raise SuiteError(f"{src}: not found; name lm-eval samples, cells (.parquet) or a JSONL file")
    if src.suffix == ".parquet" or (src.is_dir() and not is_run(src) and any(src.rglob("*.parquet"))):
        return _of_cells(src, scoring)
    if src.is_dir():
        if not is_run(src):
            raise SuiteError(
                f"{src}: neither samples_<task>_<time>.jsonl of lm-eval (--log_samples) nor cells in it; name one file"
            )
        return read_run(src, scoring=scoring)
    return read_run(src, scoring=scoring) if _is_logged(src) else _of_jsonl(src, scoring)


def _is_logged(src: Path) -> bool:
    """Whether a file holds samples of lm-eval: old versions wrote one JSON list, and all name their documents."""
    text = read_text(src, todo="name lm-eval samples, cells (.parquet) or a JSONL file")
    if text.lstrip().startswith("["):
        return True
    first = next(json_objects(src, text), None)
    return first is not None and "doc_id" in first[1]


def _of_cells(src: Path, scoring: str | None) -> Side:
    if scoring is not None:
        raise SuiteError(
            f"--scoring {scoring}: {src} holds cells, which say themselves how they were scored; leave it out"
        )
    found: dict[str, Answers] = {}
    for cell in load_cells([src]):
        name = cell.key.task
        if name in found:
            raise SuiteError(f"{src}: two cells of {name}, {found[name].where} and {cell.where}; name one cell file")
        found[name] = _of_cell(cell, name)
    first = next(iter(found.values())).cell
    assert first is not None
    said = f"{first.key.model} {first.key.variant}"
    return Side(said, found, {})


def _of_jsonl(src: Path, scoring: str | None) -> Side:
    name = Path(unpacked_name(src.name)).stem
    (cell,) = jsonl.read(src, Labels(name, "dense", ITEMS, scoring))
    return Side(name, {ITEMS: _of_cell(cell, ITEMS)}, {})


def _of_cell(cell: Cell, task: str) -> Answers:
    first = np.where(cell.valid, cell.scores, -np.inf).argmax(axis=1)
    return Answers(
        task=task,
        where=cell.where,
        metric="acc",
        ids=cell.ids,
        scores=(first == cell.answers).astype(np.float64),
        targets=tuple(map(str, cell.answers.tolist())),
        cell=cell,
        shots=cell.key.shots,
        notes=tuple(str(note) for note in cell.run.get("notes") or ()),
    )
