"""Scores from a JSONL file: one object a line with ``id``, ``answer`` and one of ``logits``, ``loglik``, ``probs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.cell import KINDS, Cell
from suite.errors import SuiteError
from suite.files import json_objects, read_text
from suite.importers.labels import Items, Labels, check_answer, check_id, check_scores, imported_cell


def read(src: Path, labels: Labels) -> list[Cell]:
    """One cell from one file.

    ``subject`` and ``group`` are optional, other keys are ignored. Every line must use the same one of the three kinds
    of numbers. Without ``--prompt`` and ``--shots`` the cell says prompt ``base`` and 0 shots.
    """
    labels.one_model(f"{src}: a JSONL file")
    text = read_text(src, todo="name a readable JSONL file")
    ids: dict[str, int] = {}
    answers: list[int] = []
    scores: list[list[float]] = []
    subjects: list[str | None] = []
    groups: list[str | None] = []
    kind = ""
    for number, record in json_objects(src, text):
        where = f"{src}:{number}"
        name = check_id(record.get("id"), where)
        if name in ids:
            raise SuiteError(f"{where}: duplicate id {name!r}, first used on line {ids[name]}")
        ids[name] = number
        kind = _kind(record, kind, where)
        scores.append(check_scores(record[kind], kind, where))
        answers.append(check_answer(record.get("answer"), len(scores[-1]), where))
        subjects.append(_text(record, "subject", where))
        groups.append(_text(record, "group", where))
    if not ids:
        raise SuiteError(f"{src}: no items in it")
    items = Items(
        ids=list(ids),
        answers=answers,
        scores=scores,
        kind=kind,
        subjects=subjects if any(subjects) else None,
        groups=groups if any(groups) else None,
    )
    style = (labels.cloze(str(src), kind), labels.prompt or "base", labels.shots or 0)
    return [imported_cell(labels, items, src=src, style=style)]


def _kind(record: dict[str, Any], before: str, where: str) -> str:
    present = [kind for kind in KINDS if record.get(kind) is not None]
    if len(present) != 1:
        found = " and ".join(present) or "none"
        raise SuiteError(f"{where}: one of {', '.join(KINDS)} is needed, found {found}")
    if before and present[0] != before:
        raise SuiteError(f"{where}: has {present[0]} where the lines before have {before}; import them apart")
    return present[0]


def _text(record: dict[str, Any], key: str, where: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise SuiteError(f"{where}: '{key}' must be text")
    return value or None
