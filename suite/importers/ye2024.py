"""Scores of the benchmark of arXiv:2401.12794: a clone of its repository with logit pickles and data files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suite.cell import Cell
from suite.errors import SuiteError, unknown_name
from suite.files import parse_json, read_text
from suite.importers.labels import EVERY_MODEL, Items, Labels, check_id, check_scores, chosen, imported_cell
from suite.importers.pickles import as_array, load

# task, its data file, rows used as worked examples (never scored by the benchmark)
_TASKS: dict[str, tuple[str, tuple[int, ...]]] = {
    "qa": ("mmlu_10k", (1, 3, 5, 7, 9)),
    "rc": ("cosmosqa_10k", (1, 3, 5, 7, 9)),
    "ci": ("hellaswag_10k", (1, 3, 5, 7, 9)),
    "drs": ("halu_dialogue", (5, 7, 9)),
    "ds": ("halu_summarization", (9,)),
}
_HUB = "ErikYip/LLM-Uncertainty-Bench"


@dataclass(frozen=True)
class _File:
    """A pickle named ``<model>_<data>_<prompt>_icl<n>[_cot].pkl``; `few_shot` is false for n = 0."""

    path: Path
    model: str
    prompt: str
    few_shot: bool


def demonstrations_of(task: str) -> int:
    """Worked examples that the benchmark's few-shot prompts hold, 0 for a task that is none of its five.

    >>> demonstrations_of("ye2024-drs"), demonstrations_of("qa"), demonstrations_of("arc-easy")
    (3, 5, 0)
    """
    known = _TASKS.get(_short(task))
    return len(known[1]) if known else 0


def read(src: Path, labels: Labels) -> list[Cell]:
    """One cell a model, prompt and number of shots.

    SRC is the clone, or one of its ``outputs*`` folders; the data files are looked for in ``data/`` of it or beside it.
    The task is ``qa``, ``rc``, ``ci``, ``drs`` or ``ds``, with or without ``ye2024-`` before it, or the data file's
    name. No row is dropped here. Items with the same context are one group.
    """
    if _short(labels.task) not in _TASKS:
        raise unknown_name("task", labels.task, [f"ye2024-{name}" for name in _TASKS])
    data_name, demonstrations = _TASKS[_short(labels.task)]
    if not src.is_dir():
        raise SuiteError(f"{src}: not a folder; name the clone of the repository or one of its outputs folders")
    files = _choose(src, data_name, labels, len(demonstrations))
    data = _read_data(src, data_name)
    cells = []
    for file in files:
        rows = load(file.path)
        items = Items(
            ids=[row.id for row in data],
            answers=[row.answer for row in data],
            scores=_scores(rows, data, file.path),
            kind="logits",
            groups=_groups(data),
        )
        style = (labels.cloze(str(src), "logits"), file.prompt, len(demonstrations) if file.few_shot else 0)
        task = {"option_labels": list(data[0].labels)}
        cells.append(imported_cell(labels, items, src=file.path, style=style, model={"name": file.model}, task=task))
    return cells


def _short(task: str) -> str:
    name = task.removeprefix("ye2024-")
    return next((short for short, (data, _) in _TASKS.items() if name == data), name)


def _choose(src: Path, data_name: str, labels: Labels, demonstrations: int) -> list[_File]:
    pattern = re.compile(rf"(?P<model>.+)_{data_name}_(?P<prompt>[^_]+)_icl(?P<n>\d+)(?P<cot>_cot)?\.pkl")
    found = []
    for path in sorted(src.rglob(f"*_{data_name}_*.pkl")):
        match = pattern.fullmatch(path.name)
        if match:
            prompt = match["prompt"] + ("-cot" if match["cot"] else "")
            found.append(_File(path, match["model"], prompt, match["n"] != "0"))
    if not found:
        raise SuiteError(f"{src}: no <model>_{data_name}_<prompt>_icl<n>.pkl in it")
    for what, wanted in (("model", labels.model), ("prompt", labels.prompt or EVERY_MODEL)):
        taken = chosen(what, wanted, {str(getattr(file, what)) for file in found})
        found = [file for file in found if getattr(file, what) in taken]
    if labels.shots is not None:
        found = [file for file in found if (demonstrations if file.few_shot else 0) == labels.shots]
        if not found:
            raise SuiteError(
                f"{src}: no file of {labels.shots} shots; few-shot prompts of this task hold {demonstrations}"
            )
    seen: dict[tuple[str, str, bool], Path] = {}
    for file in found:
        key = (file.model, file.prompt, file.few_shot)
        if key in seen:
            raise SuiteError(
                f"{src}: {seen[key]} and {file.path} are the same prompt of one model; name one folder as SRC"
            )
        seen[key] = file.path
    return found


@dataclass(frozen=True)
class _Row:
    id: str
    answer: int
    labels: tuple[str, ...]
    context: str


def _read_data(src: Path, data_name: str) -> list[_Row]:
    places = [folder / f"{data_name}.json" for folder in (src / "data", src, src.parent / "data")]
    packed = [place.with_name(f"{place.name}.gz") for place in places]
    path = next((place for place in (*places, *packed) if place.is_file()), None)
    if path is None:
        raise SuiteError(
            f"{places[0]}: not found; fetch {data_name}.json from the data set {_HUB} on the Hugging Face hub"
        )
    records = parse_json(read_text(path), str(path))
    if not isinstance(records, list) or not records:
        raise SuiteError(f"{path}: a list of questions is needed, found {type(records).__name__}")
    return [_row(record, f"{path}: question {number}") for number, record in enumerate(records)]


def _row(record: Any, where: str) -> _Row:
    if not isinstance(record, dict) or not isinstance(record.get("choices"), dict):
        raise SuiteError(f"{where}: an object with id, choices and answer is needed")
    name, answer, context = check_id(record.get("id"), where), record.get("answer"), record.get("context")
    labels = tuple(record["choices"])
    if answer not in labels:
        raise SuiteError(f"{where}: answer {answer!r} is none of its choices {', '.join(labels)}")
    return _Row(name, labels.index(answer), labels, context if isinstance(context, str) else "")


def _scores(rows: Any, data: Sequence[_Row], path: Path) -> list[list[float]]:
    if not isinstance(rows, list) or len(rows) != len(data):
        found = f"{len(rows)} entries" if isinstance(rows, list) else type(rows).__name__
        raise SuiteError(f"{path}: a list of {len(data)} entries is needed, as many as the data has; found {found}")
    scores = []
    for number, (row, item) in enumerate(zip(rows, data, strict=True)):
        where = f"{path}: entry {number}"
        if not isinstance(row, dict) or "id" not in row or "logits_options" not in row:
            raise SuiteError(f"{where}: an object with id and logits_options is needed")
        if not _is_id(row["id"], item.id):
            raise SuiteError(f"{where}: its id is not {item.id!r} as in the data; not the same questions")
        array = as_array(row["logits_options"])
        if array is None or array.shape != (len(item.labels),) or array.dtype.kind != "f":
            raise SuiteError(f"{where}: logits_options is no array of {len(item.labels)} floats, one an option")
        scores.append(check_scores(array.astype(np.float64).tolist(), "logits", where))
    return scores


def _is_id(value: object, wanted: str) -> bool:
    """Compares without writing the value out, which a hostile file can make endless."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63 and str(value) == wanted
    return isinstance(value, str) and value == wanted


def _groups(data: Sequence[_Row]) -> list[str | None] | None:
    counts = Counter(row.context for row in data if row.context.strip())
    groups = [
        "context-" + hashlib.sha256(row.context.encode()).hexdigest()[:12] if counts[row.context] > 1 else None
        for row in data
    ]
    return groups if any(groups) else None
