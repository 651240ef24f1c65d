"""Scores from the per-sample files that lm-evaluation-harness writes with ``--log_samples``: multiple-choice tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from suite.cell import Cell, prompt_hash
from suite.errors import SuiteError
from suite.files import parse_json, read_text, unpacked_name
from suite.importers.labels import Items, Labels, imported_cell
from suite.importers.lm_eval_gold import Understood, understand
from suite.importers.lm_eval_samples import Sample, read_samples

NAME = re.compile(r"samples_(?P<task>.+)_(?P<stamp>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl?(\.gz)?")
RESULTS = re.compile(r"results_.+\.json(\.gz)?")
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class File:
    """One per-sample file; `stamp` is the time in its name, "" in names of old versions."""

    subtask: str
    path: Path
    stamp: str = ""


@dataclass(frozen=True)
class Part:
    """One subtask: its samples, and what they mean."""

    file: File
    samples: list[Sample]
    meaning: Understood

    @property
    def letters(self) -> bool:
        """Whether the options are A, B, C, ... in order."""
        return all(
            tuple(option.strip() for option in options) == _LETTERS[: len(options)] for options in self.meaning.options
        )


def read(src: Path, labels: Labels) -> list[Cell]:
    """One cell from a per-sample file, or from all subtasks of one task in a folder.

    Ids are ``subtask/doc_id#`` and the first 8 digits of the document's hash, so only equal documents pair. The cell's
    scoring is ``cloze-sum``, with ``--scoring norm`` ``cloze-norm`` (divided by the option's characters, as acc_norm),
    and ``letter`` where the options are the letters A, B, C in order; its kind is ``loglik``. The file's acc and
    acc_norm are recomputed item by item. Shots come from the ``results_*.json`` beside the file, else from ``--shots``,
    else they are 0.

    Raises:
        SuiteError: not such a file, not a multiple-choice task, or numbers that contradict acc or acc_norm.
    """
    return [read_parts(src, labels)[0]]


def read_parts(src: Path, labels: Labels) -> tuple[Cell, list[Part]]:
    """The cell of `read`, and the samples that it was made of, in its order."""
    labels.one_model(f"{src}: a run of lm-eval")
    files, notes = find_files(src, labels.task)
    results = [results_of(file) for file in files]
    norm = labels.scoring == "norm"
    samples = [read_samples(file.path, file.subtask, labels.filter, alone=not files[1:]) for file in files]
    parts = [_part(*found, norm) for found in zip(files, samples, results, strict=True)]
    letters = all(part.letters for part in parts)
    if any(part.letters for part in parts) and not letters:
        mixed = " and ".join(
            next(part.file.subtask for part in parts if part.letters is kind) for kind in (True, False)
        )
        if notes:  # nobody says that they belong together
            raise SuiteError(
                f"{src}: of the files whose names begin with {labels.task!r} some have letters for options and some "
                f"texts ({mixed}); put the run's results_<time>.json beside them, or name one file"
            )
        notes.append(f"some subtasks have letters for options and some texts ({mixed})")
    pairs = [pair for part in parts for pair in zip(part.samples, part.meaning.options, strict=True)]
    items = Items(
        ids=[sample.id for sample, _ in pairs],
        answers=[answer for part in parts for answer in part.meaning.answers],
        scores=[per_character(*pair) if norm and not letters else pair[0].logliks for pair in pairs],
        kind="loglik",
        subjects=[part.file.subtask for part in parts for _ in part.samples] if parts[1:] else None,
        notes=[*notes, *(_named(part, note, parts) for part in parts for note in part.meaning.notes)],
    )
    chat = any(found.get("chat_template") for found in results)
    style = (
        "letter" if letters else labels.cloze(str(src), "loglik"),
        labels.prompt or ("lm-eval-chat" if chat else "lm-eval"),
        _shots(src, files, results, labels.shots),
    )
    cell = imported_cell(
        labels,
        items,
        src=src,
        style=style,
        model=_model(results[0]),
        task={
            "prompt_hash": prompt_hash([sample for sample, _ in pairs]),
            "subtasks": [file.subtask for file in files],
            **({} if labels.filter is None else {"filter": labels.filter}),
        },
        run=_run(results[0]),
    )
    return cell, parts


def _part(file: File, samples: list[Sample], results: Mapping[str, Any], norm: bool) -> Part:
    config = dict(section(section(results, "configs"), file.subtask))
    if results.get("chat_template"):
        config.pop("target_delimiter", None)  # under a chat template most versions leave it out
    return Part(file, samples, understand(samples, config, need_lengths=norm))


def _named(part: Part, note: str, parts: Sequence[Part]) -> str:
    return f"{part.file.subtask}: {note}" if parts[1:] else note


def find_files(src: Path, task: str) -> tuple[list[File], list[str]]:
    """The files that hold the task, one a subtask, in order of the subtasks' names; and what was assumed."""
    if not src.is_dir():
        match = NAME.fullmatch(src.name)
        return [File(match["task"], src, match["stamp"]) if match else File(spelled(task), src)], []
    wanted = spelled(task)
    named = {path: NAME.fullmatch(path.name) for path in sorted(src.rglob("*.json*"))}
    files = [File(match["task"], path, match["stamp"]) for path, match in named.items() if match]
    if not files:  # versions before 0.4.3 named them <model arguments>_<task>.jsonl
        old = [path for path in named if unpacked_name(path.name).endswith(f"_{wanted}.jsonl")]
        files = [File(wanted, path) for path in old]
    chosen = [file for file in files if spelled(file.subtask) == wanted]
    notes: list[str] = []
    if not chosen:
        chosen, notes = _subtasks(src, wanted, files, [path for path in named if RESULTS.fullmatch(path.name)])
    if not chosen:
        present = ", ".join(sorted({file.subtask for file in files})) or "no samples_<task>_<time>.jsonl"
        raise SuiteError(f"{src}: no per-sample file of task {task!r} or its subtasks; the folder has {present}")
    if len({file.path.parent for file in chosen}) > 1:
        folders = sorted({str(file.path.parent) for file in chosen})
        raise SuiteError(f"{src}: files of {task!r} stand in {folders[0]} and {folders[1]}; name one model's folder")
    chosen.sort(key=lambda file: file.subtask)
    for first, second in pairwise(chosen):
        if first.subtask == second.subtask:
            raise SuiteError(
                f"{src}: two runs of {first.subtask!r}: {first.path.name} and {second.path.name}; name one file"
            )
    return chosen, notes


def _subtasks(src: Path, group: str, files: Sequence[File], results: Sequence[Path]) -> tuple[list[File], list[str]]:
    """The files of a group's subtasks: as a results file lists them, else those whose names begin with the group's."""
    groups: dict[str, list[str]] = {}
    for path in results:
        for name, members in section(json_object(path), "group_subtasks").items():
            if isinstance(members, list) and members:
                groups.setdefault(spelled(name), []).extend(spelled(str(member)) for member in members)
    if group in groups:
        wanted = leaves(group, groups)
        chosen = [file for file in files if spelled(file.subtask) in wanted]
        missing = sorted(wanted - {spelled(file.subtask) for file in chosen})
        if missing:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise SuiteError(
                f"{src}: {group!r} has {len(wanted)} subtasks by its results file, and {missing[0]}{more} "
                "is not here: add its samples, or import the others one by one"
            )
        return chosen, []
    chosen = [file for file in files if spelled(file.subtask).startswith(f"{group}_")]
    tails = {spelled(file.subtask).removeprefix(f"{group}_") for file in chosen}
    for word in sorted({tail.partition("_")[0] for tail in tails}):
        inner = {tail.removeprefix(f"{word}_") for tail in tails if tail.startswith(f"{word}_")}
        if len(inner) > 1 and inner < tails:
            raise SuiteError(
                f"{src}: the names of two groups begin with {group!r}: {group}_{word}_{min(inner)} goes with "
                f"{group}_{min(inner)}; put the run's results_<time>.json beside the files, which lists the subtasks"
            )
    listed = ", ".join(sorted({file.subtask for file in chosen}))
    return chosen, [f"no results file lists the subtasks: taken by name were {listed}"] if chosen[1:] else []


def leaves(group: str, groups: Mapping[str, Sequence[str]], above: tuple[str, ...] = ()) -> set[str]:
    """The subtasks of a group, and of the groups in it."""
    if group not in groups or group in above:
        return {group}
    return {leaf for member in groups[group] for leaf in leaves(member, groups, (*above, group))}


def spelled(task: str) -> str:
    return task.replace("-", "_")


def per_character(sample: Sample, options: tuple[str, ...]) -> list[float]:
    return [value / len(option) for value, option in zip(sample.logliks, options, strict=True)]


def results_of(file: File) -> dict[str, Any]:
    """The run's results file beside the samples, or nothing."""
    for name in (f"results_{file.stamp}.json", f"results_{file.stamp}.json.gz"):
        path = file.path.with_name(name)
        if file.stamp and path.is_file():
            return json_object(path)
    return {}


def json_object(path: Path) -> dict[str, Any]:
    found = parse_json(read_text(path, todo="move it away to import the samples without it"), str(path))
    return found if isinstance(found, dict) else {}


def _shots(src: Path, files: Sequence[File], results: Sequence[dict[str, Any]], given: int | None) -> int:
    logged: set[int] = set()
    for file, found in zip(files, results, strict=True):
        value = section(found, "n-shot").get(file.subtask)
        if isinstance(value, int) and not isinstance(value, bool):
            logged.add(value)
    if len(logged) > 1:
        raise SuiteError(f"{src}: its subtasks were run with {' and '.join(map(str, sorted(logged)))} shots")
    if given is not None and logged and logged != {given}:
        raise SuiteError(f"{src}: --shots {given}, but its results file says {min(logged)}")
    return min(logged) if logged else given or 0


def _model(results: dict[str, Any]) -> dict[str, Any]:
    config = section(results, "config")
    return {
        "id": _text(results.get("model_name")),
        "revision": _text(config.get("model_sha")) or _text(config.get("model_revision")),
        "chat_template_hash": _text(results.get("chat_template_sha")),
    }


def _run(results: dict[str, Any]) -> dict[str, Any]:
    config = section(results, "config")
    versions = {"lm_eval": results.get("lm_eval_version"), "transformers": results.get("transformers_version")}
    return {
        "dtype": (_text(config.get("model_dtype")) or "").removeprefix("torch.") or None,
        "device": _text(config.get("device")),
        "versions": {name: version for name, version in versions.items() if isinstance(version, str)} or None,
    }


def section(results: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = results.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
