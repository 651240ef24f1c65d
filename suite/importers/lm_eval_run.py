"""Everything that a run of lm-evaluation-harness logged: its tasks, groups of tasks as it weighs them, and filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from suite.arrays import Floats
from suite.cell import prompt_hash
from suite.errors import SuiteError
from suite.importers.answers import Answers, Side
from suite.importers.labels import Labels
from suite.importers.lm_eval import (
    NAME,
    RESULTS,
    File,
    find_files,
    json_object,
    leaves,
    per_character,
    read_parts,
    results_of,
    section,
    spelled,
)
from suite.importers.lm_eval_samples import holds_options, read_records
from suite.importers.lm_eval_scores import choose_metric, read_scores

UNNAMED = "samples"
"""The task of a single file whose name does not say it."""

_EQUAL = 1e-6
_Records = list[tuple[str, dict[str, Any]]]


def is_run(path: Path) -> bool:
    """Whether a folder holds per-sample files of lm-eval."""
    return any(NAME.fullmatch(file.name) for file in path.rglob("*.json*"))


def read_run(src: Path, *, scoring: str | None) -> Side:
    """Every task of a run, a group of subtasks as one where lm-eval has aggregated it.

    Args:
        src: a folder with the files of one model, or one per-sample file.
        scoring: ``sum`` for log-likelihoods as they are (acc), ``norm`` for those by character (acc_norm).

    Raises:
        SuiteError: no such files, two runs of a task, or a file that is damaged.
    """
    answers: dict[str, Answers] = {}
    left_out: dict[str, str] = {}
    name = ""
    for task in _tasks(src):
        files, _ = find_files(src, task)
        results = results_of(files[0])
        said = results.get("model_name")
        name = name or (said if isinstance(said, str) else "")
        records = [list(read_records(file.path)) for file in files]
        for file, found in zip(files, records, strict=True):
            if not found:
                raise SuiteError(f"{file.path}: no samples in it")
        filters = _filters(records)
        for filter in filters:
            label = f"{task} ({filter})" if filters[1:] else task
            try:
                one = _answers(src, task, files, records, filter if filters[1:] else None, scoring)
            except _NotUsable as error:
                left_out[label] = str(error)
                continue
            answers[label] = _described(one, label, results, files, task, filter)
    if not answers:
        task, reason = next(iter(left_out.items()))
        raise SuiteError(f"{src}: {task}: {reason}")
    return Side(name or src.name, answers, left_out)


class _NotUsable(Exception):
    """A task without a score that can be compared."""


def _tasks(src: Path) -> list[str]:
    """Names of what the run is made of: groups that it has aggregated, and tasks that stand in none of them."""
    if not src.is_dir():
        match = NAME.fullmatch(src.name)
        return [match["task"] if match else UNNAMED]
    paths = sorted(src.rglob("*.json*"))
    subtasks = sorted({match["task"] for path in paths if (match := NAME.fullmatch(path.name))})
    groups: dict[str, list[str]] = {}
    aggregated: set[str] = set()
    for path in paths:
        if not RESULTS.fullmatch(path.name):
            continue
        found = json_object(path)
        values = section(found, "results")
        for group, members in section(found, "group_subtasks").items():
            if isinstance(members, list) and members:
                groups.setdefault(spelled(group), []).extend(spelled(str(member)) for member in members)
                if not values or any(_is_value(key, value) for key, value in section(values, group).items()):
                    aggregated.add(spelled(group))
    inner = {leaf for group in aggregated for leaf in _below(group, groups)}
    outer = sorted(aggregated - inner)
    covered = {leaf for group in outer for leaf in leaves(group, groups)}
    return [*outer, *(task for task in subtasks if spelled(task) not in covered)]


def _below(group: str, groups: Mapping[str, Sequence[str]]) -> set[str]:
    """Everything that stands in a group, at any depth."""
    found: set[str] = set()
    waiting = [*groups.get(group, ())]
    while waiting:
        member = waiting.pop()
        if member not in found and member != group:
            found.add(member)
            waiting += groups.get(member, ())
    return found


def _is_value(key: str, value: object) -> bool:
    return "," in key and "_stderr" not in key and isinstance(value, int | float)


def _filters(records: Sequence[_Records]) -> list[str]:
    """Filters that every file has, in order; one file's are enough where each has a single one."""
    each = [list(dict.fromkeys(str(record.get("filter")) for _, record in found)) for found in records]
    if all(len(names) == 1 for names in each):
        return each[0]
    return [name for name in each[0] if all(name in names for names in each)]


def _answers(
    src: Path,
    task: str,
    files: Sequence[File],
    records: Sequence[_Records],
    filter: str | None,
    scoring: str | None,
) -> Answers:
    kept = [[one for one in found if filter is None or str(one[1].get("filter")) == filter] for found in records]
    if all(holds_options(record) for found in kept for _, record in found):
        return _of_options(src, Labels("m", "dense", task, scoring, filter=filter))
    judged = [read_scores(found, file.subtask) for found, file in zip(kept, files, strict=True)]
    items = [one for found in judged for one in found]
    metric = choose_metric(items, ("acc_norm", "acc") if scoring == "norm" else ("acc",))
    if metric is None:
        raise _NotUsable("neither log-likelihoods of options nor a score of 0 to 1 an item")
    return Answers(
        task=task,
        where=str(src),
        metric=metric,
        ids=tuple(one.id for one in items),
        scores=np.array([one.scores[metric] for one in items]),
        targets=tuple(one.target for one in items),
        asked=tuple(one.asked for one in items),
        subtasks=tuple(file.subtask for file, found in zip(files, judged, strict=True) for _ in found),
    )


def _of_options(src: Path, labels: Labels) -> Answers:
    cell, parts = read_parts(src, labels)
    norm = cell.task["scoring"] == "cloze-norm"
    first, asked = [], []
    for part in parts:
        for sample, options, right in zip(part.samples, part.meaning.options, part.meaning.answers, strict=True):
            values = per_character(sample, options) if norm else sample.logliks
            first.append(float(np.argmax(np.asarray(values)) == right))
            asked.append(prompt_hash([sample]))
    return Answers(
        task=labels.task,
        where=str(src),
        metric="acc_norm" if norm else "acc",
        ids=cell.ids,
        scores=np.array(first),
        targets=tuple(map(str, cell.answers.tolist())),
        asked=tuple(asked),
        subtasks=tuple(part.file.subtask for part in parts for _ in part.samples),
        cell=cell,
        notes=tuple(str(note) for note in cell.run.get("notes") or ()),
    )


def _described(
    answers: Answers, label: str, results: Mapping[str, Any], files: Sequence[File], task: str, filter: str
) -> Answers:
    """With its name, how it was asked and how lm-eval weighs its subtasks."""
    said = section(results, "n-shot").get(files[0].subtask)
    alike, note = _weighed(answers, section(section(results, "results"), task), filter) if files[1:] else (False, "")
    return replace(
        answers,
        task=label,
        filter=filter,
        shots=said if isinstance(said, int) and not isinstance(said, bool) else None,
        chat=bool(results.get("chat_template")) if "chat_template" in results else None,
        alike=alike,
        notes=(*answers.notes, *([note] if note else [])),
    )


def _weighed(answers: Answers, logged: Mapping[str, Any], filter: str) -> tuple[bool, str]:
    """Whether subtasks count alike: what the group's own value in the results file says."""
    value = logged.get(f"{answers.metric},{filter}")
    by_item, by_subtask = float(answers.scores.mean()), subtask_mean(answers.scores, answers.subtasks)
    if not isinstance(value, int | float):
        return False, f"no {answers.metric} of the group in a results file: every item counts alike"
    if abs(value - by_item) <= _EQUAL or len(set(Counter(answers.subtasks).values())) == 1:
        return False, ""
    if abs(value - by_subtask) <= _EQUAL:
        return True, ""
    return False, (
        f"the results file says {answers.metric} {value:.6g}, which is neither the mean over items ({by_item:.6g}) nor "
        f"over subtasks ({by_subtask:.6g}): every item counts alike"
    )


def subtask_mean(values: Floats, subtasks: Sequence[str]) -> float:
    """Mean over subtasks of their means.

    >>> subtask_mean(np.array([1.0, 1.0, 0.0]), ["a", "a", "b"])
    0.5
    """
    names = np.asarray(subtasks)
    return float(np.mean([values[names == name].mean() for name in dict.fromkeys(subtasks)]))
