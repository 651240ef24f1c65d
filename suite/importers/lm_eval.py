"""Scores from the per-sample files that lm-evaluation-harness writes with ``--log_samples``: multiple-choice tasks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from suite.cell import Cell
from suite.errors import SuiteError
from suite.importers.labels import Items, Labels, check_scores, imported_cell
from suite.task import json_objects, parse_json

_NAME = re.compile(r"samples_(?P<task>.+)_(?P<stamp>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl?")
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class _File:
    """One per-sample file; `stamp` is the time in its name, "" in names of old versions."""

    subtask: str
    path: Path
    stamp: str = ""


@dataclass(frozen=True)
class _Sample:
    """One item as logged.

    Attributes:
        context, continuations: what was scored; a continuation is the task's delimiter and an option.
        logliks: of the continuations.
        acc, acc_norm: the file's own verdict, None where it has none.
    """

    id: str
    where: str
    context: str
    continuations: tuple[str, ...]
    logliks: tuple[float, ...]
    target: Any
    acc: float | None
    acc_norm: float | None


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
    labels.one_model(f"{src}: a run of lm-eval")
    files = _find(src, labels.task)
    results = [_results(file) for file in files]
    parts = [_read_subtask(file, need_lengths=labels.scoring == "norm") for file in files]
    asked = [pair for part in parts for pair in part]
    letters = all(options == _LETTERS[: len(options)] for _, options in asked)
    norm = labels.scoring == "norm" and not letters
    items = Items(
        ids=[sample.id for sample, _ in asked],
        answers=[_answer(sample, options) for sample, options in asked],
        scores=[_per_character(sample, options) if norm else sample.logliks for sample, options in asked],
        kind="loglik",
        subjects=[file.subtask for file, part in zip(files, parts, strict=True) for _ in part] if parts[1:] else None,
    )
    chat = any(found.get("chat_template") for found in results)
    style = (
        "letter" if letters else labels.cloze(str(src), "loglik"),
        labels.prompt or ("lm-eval-chat" if chat else "lm-eval"),
        _shots(src, files, results, labels.shots),
    )
    return [
        imported_cell(
            labels,
            items,
            src=src,
            style=style,
            model=_model(results[0]),
            task={
                "prompt_hash": _prompt_hash([sample for sample, _ in asked]),
                "subtasks": [file.subtask for file in files],
            },
            run=_run(results[0]),
        )
    ]


def _find(src: Path, task: str) -> list[_File]:
    """The files that hold the task, one a subtask, in order of the subtasks' names."""
    if not src.is_dir():
        match = _NAME.fullmatch(src.name)
        return [_File(match["task"], src, match["stamp"]) if match else _File(task.replace("-", "_"), src)]
    wanted = task.replace("-", "_")
    named = {path: _NAME.fullmatch(path.name) for path in sorted(src.rglob("*.json*"))}
    files = [_File(match["task"], path, match["stamp"]) for path, match in named.items() if match]
    if not files:  # versions before 0.4.3 named them <model arguments>_<task>.jsonl
        files = [_File(wanted, path) for path in named if path.suffix == ".jsonl" and path.stem.endswith(f"_{wanted}")]
    spelled = {file: file.subtask.replace("-", "_") for file in files}
    chosen = [file for file in files if spelled[file] == wanted]
    chosen = chosen or [file for file in files if spelled[file].startswith(f"{wanted}_")]
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
    return chosen


def _read_subtask(file: _File, *, need_lengths: bool) -> list[tuple[_Sample, tuple[str, ...]]]:
    """The samples of one file, each with its options."""
    samples = [_sample(record, where, file.subtask) for where, record in _records(file.path)]
    if not samples:
        raise SuiteError(f"{file.path}: no samples in it")
    seen: dict[str, str] = {}
    for sample in samples:
        doc = sample.id.rpartition("#")[0]
        if doc in seen:
            raise SuiteError(
                f"{sample.where}: duplicate id {doc!r}, first at {seen[doc]} (a task with several filters is logged "
                "once a filter; keep one)"
            )
        seen[doc] = sample.where
    return list(zip(samples, _options(samples, need_lengths=need_lengths), strict=True))


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file's objects; versions before 0.4.3 wrote one JSON list into the ``.jsonl`` file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}; name a per-sample file") from error
    if not raw.lstrip().startswith(b"["):
        for number, record in json_objects(path, raw, "file"):
            yield f"{path}:{number}", record
        return
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path}: not UTF-8 text (byte {error.start})") from error
    for number, record in enumerate(parse_json(text, str(path)), start=1):
        if not isinstance(record, dict):
            raise SuiteError(f"{path}: entry {number} is no JSON object; not a per-sample file of lm-eval")
        yield f"{path}: sample {number}", record


def _sample(record: dict[str, Any], where: str, subtask: str) -> _Sample:
    for key in ("doc_id", "doc", "target", "arguments", "filtered_resps"):
        if key not in record:
            raise SuiteError(
                f"{where}: no {key!r}; a per-sample file of lm-eval 0.4 or later is needed (--log_samples)"
            )
    doc_id = record["doc_id"]
    if isinstance(doc_id, bool) or not isinstance(doc_id, int):
        raise SuiteError(f"{where}: doc_id {doc_id!r} is no whole number")
    logliks = _logliks(record["filtered_resps"], where)
    pairs = _pairs(record["arguments"], where)
    if len(pairs) != len(logliks):
        raise SuiteError(f"{where}: {len(pairs)} arguments but {len(logliks)} responses")
    if "acc_mutual_info" in record:  # the second half are the options without their context
        pairs, logliks = pairs[: len(pairs) // 2], logliks[: len(logliks) // 2]
    if len(pairs) < 2:
        raise SuiteError(f"{where}: one response a document; only multiple-choice tasks can be imported")
    if len({context for context, _ in pairs}) > 1:
        raise SuiteError(f"{where}: its options stand in the context (as in WinoGrande), which is not supported")
    return _Sample(
        id=f"{subtask}/{doc_id}#{_doc_hash(record, where)[:8]}",
        where=where,
        context=pairs[0][0],
        continuations=tuple(continuation for _, continuation in pairs),
        logliks=tuple(check_scores(logliks, "loglik", where)),
        target=record["target"],
        acc=_verdict(record, "acc", where),
        acc_norm=_verdict(record, "acc_norm", where),
    )


def _logliks(responses: Any, where: str) -> tuple[float, ...]:
    """First entries of ``[log-likelihood, is_greedy]`` pairs; new versions write both as text."""
    logliks = []
    for response in responses if isinstance(responses, list) else [None]:
        value = response[0] if isinstance(response, list) and len(response) == 2 else None
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise ValueError
            logliks.append(float(value))
        except (ValueError, OverflowError) as error:
            raise SuiteError(
                f"{where}: filtered_resps are not pairs of a log-likelihood and a flag; only multiple-choice tasks can "
                "be imported"
            ) from error
    return tuple(logliks)


def _pairs(arguments: Any, where: str) -> list[tuple[str, str]]:
    """(context, continuation) of each request: a list of lists in old versions, an object of objects in new ones."""
    if isinstance(arguments, dict):
        listed = [arguments.get(f"gen_args_{index}") for index in range(len(arguments))]
        rows = [[row.get("arg_0"), row.get("arg_1")] if isinstance(row, dict) else None for row in listed]
    else:
        rows = arguments if isinstance(arguments, list) else [None]
    pairs = []
    for row in rows:
        if not isinstance(row, list) or len(row) < 2 or not isinstance(row[0], str) or not isinstance(row[1], str):
            raise SuiteError(
                f"{where}: arguments are not pairs of context and option; only multiple-choice tasks can be imported"
            )
        pairs.append((row[0], row[1]))
    return pairs


def _doc_hash(record: dict[str, Any], where: str) -> str:
    """The logged hash, or for versions that logged none the same one computed here."""
    logged = record.get("doc_hash")
    if logged is None:
        try:
            text = json.dumps(record["doc"], indent=2, ensure_ascii=False)
        except RecursionError as error:
            raise SuiteError(f"{where}: doc is nested too deeply") from error
        return hashlib.sha256(text.encode()).hexdigest()
    if not isinstance(logged, str) or re.fullmatch("[0-9a-f]{8,}", logged) is None:
        raise SuiteError(f"{where}: doc_hash {logged!r} is no hash")
    return logged


def _verdict(record: dict[str, Any], key: str, where: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or value not in (0, 1):
        raise SuiteError(f"{where}: {key} is {value!r}, 0 or 1 needed")
    return float(value)


def _options(samples: Sequence[_Sample], *, need_lengths: bool) -> list[tuple[str, ...]]:
    """The options of each sample: its continuations without the delimiter, which the file does not name.

    The delimiter is one space nearly always, and nothing under some chat templates. One is assumed where every
    continuation of the file starts with white space; where acc_norm contradicts that, none; where that contradicts too,
    the file is refused.

    Raises:
        SuiteError: naming the first item whose acc or acc_norm differs from the recomputed one.
    """
    spaced = all(text[:1].isspace() for sample in samples for text in sample.continuations)
    problems = []
    for cut in (1, 0) if spaced else (0,):
        options = [tuple(text[cut:] for text in sample.continuations) for sample in samples]
        problem = _contradiction(samples, options, need_lengths)
        if problem is None:
            return options
        problems.append(problem)
    raise SuiteError(problems[0])


def _contradiction(samples: Sequence[_Sample], options: Sequence[tuple[str, ...]], need_lengths: bool) -> str | None:
    for sample, texts in zip(samples, options, strict=True):
        right = _answer(sample, texts)
        values = np.array(sample.logliks)
        lengths = np.array([len(text) for text in texts], dtype=float)
        if need_lengths and not lengths.all():
            raise SuiteError(
                f"{sample.where}: item {sample.id!r} has an empty option, which cannot be divided by its characters"
            )
        found = {"acc": int(values.argmax()) == right}
        if sample.acc_norm is not None and lengths.all():
            found["acc_norm"] = int((values / lengths).argmax()) == right
        for name, recomputed in found.items():
            logged = getattr(sample, name)
            if logged is not None and bool(logged) != recomputed:
                return (
                    f"{sample.where}: item {sample.id!r}: the file says {name} {logged:g}, its log-likelihoods and "
                    f"target give {int(recomputed)}; the file was changed or is of an unknown form"
                )
    return None


def _per_character(sample: _Sample, options: tuple[str, ...]) -> list[float]:
    return [value / len(option) for value, option in zip(sample.logliks, options, strict=True)]


def _answer(sample: _Sample, options: tuple[str, ...]) -> int:
    """The index of the correct option: the target is an index, its text (new versions), or the option's own text."""
    target = sample.target
    if isinstance(target, str) and re.fullmatch(r"\s*\d{1,4}\s*", target):
        target = int(target)
    if isinstance(target, bool) or not isinstance(target, int | str):
        raise SuiteError(f"{sample.where}: target {target!r}: items with one correct option are needed")
    if isinstance(target, int):
        if not 0 <= target < len(options):
            raise SuiteError(f"{sample.where}: target {target} is outside its {len(options)} options (0 is the first)")
        return target
    matches = [index for index, option in enumerate(options) if option.strip() == target.strip()]
    if len(matches) != 1:
        raise SuiteError(
            f"{sample.where}: target {target[:60]!r} is not one of the options; one correct option is needed"
        )
    return matches[0]


def _results(file: _File) -> dict[str, Any]:
    """The run's results file beside the samples, or nothing."""
    path = file.path.with_name(f"results_{file.stamp}.json")
    if not file.stamp or not path.is_file():
        return {}
    try:
        found = parse_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read; move it away to import the samples without it") from error
    return found if isinstance(found, dict) else {}


def _shots(src: Path, files: Sequence[_File], results: Sequence[dict[str, Any]], given: int | None) -> int:
    logged: set[int] = set()
    for file, found in zip(files, results, strict=True):
        value = _section(found, "n-shot").get(file.subtask)
        if isinstance(value, int) and not isinstance(value, bool):
            logged.add(value)
    if len(logged) > 1:
        raise SuiteError(f"{src}: its subtasks were run with {' and '.join(map(str, sorted(logged)))} shots")
    if given is not None and logged and logged != {given}:
        raise SuiteError(f"{src}: --shots {given}, but its results file says {min(logged)}")
    return min(logged) if logged else given or 0


def _model(results: dict[str, Any]) -> dict[str, Any]:
    config = _section(results, "config")
    return {
        "id": _text(results.get("model_name")),
        "revision": _text(config.get("model_sha")) or _text(config.get("model_revision")),
        "chat_template_hash": _text(results.get("chat_template_sha")),
    }


def _run(results: dict[str, Any]) -> dict[str, Any]:
    config = _section(results, "config")
    versions = {"lm_eval": results.get("lm_eval_version"), "transformers": results.get("transformers_version")}
    return {
        "dtype": (_text(config.get("model_dtype")) or "").removeprefix("torch.") or None,
        "device": _text(config.get("device")),
        "versions": {name: version for name, version in versions.items() if isinstance(version, str)} or None,
    }


def _section(results: dict[str, Any], key: str) -> dict[str, Any]:
    value = results.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _prompt_hash(samples: Sequence[_Sample]) -> str:
    """As for cells scored here: SHA-256 over every text of every item, each preceded by its length in bytes."""
    digest = hashlib.sha256()
    for sample in samples:
        for text in (sample.context, *sample.continuations):
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
    return "sha256:" + digest.hexdigest()
