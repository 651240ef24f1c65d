"""One item as lm-evaluation-harness logs it with ``--log_samples``, of any version since 0.4."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import SuiteError, unknown_name
from suite.files import json_objects, parse_json, read_text
from suite.importers.labels import check_scores

VERDICTS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
"""What lm-eval logs as 1 where an option that it picked is the right one, else 0."""

_WITH_GOLD = ("f1", "mcc", "brier_score", "likelihood")
"""What lm-eval logs as a pair whose first entry is the index of the right option."""


@dataclass(frozen=True)
class Sample:
    """One item as logged.

    Attributes:
        context, continuations: what was scored; a continuation is the task's delimiter and an option.
        logliks: of the continuations.
        unconditional: log-likelihoods of the continuations without the context, () where none were asked for.
        greedy: whether a continuation is what the model would have written, () where that is not logged.
        target: the right option as logged: an index, a text, or a list of those. Since 0.4.3 all are text.
        typed: whether a target's type is the task's own, as it was until 0.4.2.
        doc: the task's own record.
        verdicts: the file's own judgements by name (see `VERDICTS`), those that it has.
        gold: the index of the right option where a metric logs it, else None.
    """

    id: str
    where: str
    context: str
    continuations: tuple[str, ...]
    logliks: tuple[float, ...]
    unconditional: tuple[float, ...]
    greedy: tuple[bool, ...]
    target: Any
    typed: bool
    doc: Any
    verdicts: Mapping[str, bool]
    gold: int | None


def read_samples(path: Path, subtask: str, filter: str | None, *, alone: bool) -> list[Sample]:
    """The samples of one file.

    Args:
        filter: the one to take, None where there is only one.
        alone: whether this is the only file; among several, one with a single filter is taken whatever that is called.

    Raises:
        SuiteError: no samples, a filter that is not there or has to be named, a document twice, or a line that is no
            sample of a multiple-choice task.
    """
    records = list(read_records(path))
    if not records:
        raise SuiteError(f"{path}: no samples in it")
    names = list(dict.fromkeys(str(record["filter"]) for _, record in records if record.get("filter") is not None))
    if filter not in (None, *names) and len(names) < 2 and not alone:
        filter = None
    if filter not in (None, *names):
        if not names:
            raise SuiteError(f"{path}: its lines name no filter; leave --filter out")
        raise SuiteError(f"{path}: {unknown_name('filter', str(filter), names)}")
    if filter is None and len(names) > 1:
        _sample(records[0][1], records[0][0], subtask)  # of a task that cannot be imported, no filter can
        raise SuiteError(f"{path}: the task was logged once a filter; pick one with --filter: {', '.join(names)}")
    samples = [
        _sample(record, where, subtask)
        for where, record in records
        if filter is None or str(record.get("filter")) == filter
    ]
    check_unique([(sample.id, sample.where) for sample in samples])
    return samples


def check_unique(items: Iterable[tuple[str, str]]) -> None:
    """Raise where a document is there twice; items are (id, where)."""
    seen: dict[str, str] = {}
    for name, where in items:
        doc = name.rpartition("#")[0]
        if doc in seen:
            raise SuiteError(f"{where}: duplicate id {doc!r}, first at {seen[doc]}; keep one run in the file")
        seen[doc] = where


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file's objects; versions before 0.4.3 wrote one JSON list into the ``.jsonl`` file."""
    text = read_text(path, todo="name a per-sample file")
    if not text.lstrip().startswith("["):
        for number, record in json_objects(path, text):
            yield f"{path}:{number}", record
        return
    for number, record in enumerate(parse_json(text, str(path)), start=1):
        if not isinstance(record, dict):
            raise SuiteError(f"{path}: entry {number} is no JSON object; not a per-sample file of lm-eval")
        yield f"{path}: sample {number}", record


def item_id(record: dict[str, Any], where: str, subtask: str, *, needed: Sequence[str] = ()) -> str:
    """``subtask/doc_id#`` and the first 8 digits of the document's hash, of a line that is a sample.

    Args:
        needed: what the line must have besides what every sample has.
    """
    for key in ("doc_id", "doc", "target", "arguments", *needed):
        if key not in record:
            raise SuiteError(
                f"{where}: no {key!r}; a per-sample file of lm-eval 0.4 or later is needed (--log_samples)"
            )
    doc_id = record["doc_id"]
    if isinstance(doc_id, bool) or not isinstance(doc_id, int):
        raise SuiteError(f"{where}: doc_id {doc_id!r} is no whole number")
    return f"{subtask}/{doc_id}#{doc_hash(record, where)[:8]}"


def holds_options(record: Mapping[str, Any]) -> bool:
    """Whether a sample holds a log-likelihood for each of several options of one question with one right answer.

    Generated text does not, nor do options that stand in the context (WinoGrande) or several right options.
    """
    responses, arguments = record.get("filtered_resps"), record.get("arguments")
    if not isinstance(responses, list) or not all(isinstance(one, list) and len(one) == 2 for one in responses):
        return False
    rows = [[*row.values()] if isinstance(row, dict) else row for row in _listed(arguments)]
    if not all(isinstance(row, list) and len(row) > 1 and isinstance(row[1], str) for row in rows):
        return False
    asked = rows[: len(rows) // 2] if "acc_mutual_info" in record else rows
    whole = all(record.get(key) in (None, 0, 1) for key in ("acc", "acc_norm"))
    return len(asked) > 1 and len({str(row[0]) for row in asked}) == 1 and whole


def _listed(arguments: Any) -> list[Any]:
    if isinstance(arguments, dict):
        return [arguments.get(f"gen_args_{index}") for index in range(len(arguments))]
    return arguments if isinstance(arguments, list) else [None]


def _sample(record: dict[str, Any], where: str, subtask: str) -> Sample:
    name = item_id(record, where, subtask, needed=("filtered_resps",))
    logliks, greedy = _responses(record["filtered_resps"], where)
    pairs = _pairs(record["arguments"], where)
    if len(pairs) != len(logliks):
        raise SuiteError(f"{where}: {len(pairs)} arguments but {len(logliks)} responses")
    unconditional: tuple[float, ...] = ()
    if "acc_mutual_info" in record:  # the second half are the options without their context
        half = len(pairs) // 2
        pairs, logliks, unconditional, greedy = pairs[:half], logliks[:half], logliks[half:], greedy[:half]
    if len(pairs) < 2:
        raise SuiteError(f"{where}: one response a document; only multiple-choice tasks can be imported")
    if len({context for context, _ in pairs}) > 1:
        raise SuiteError(f"{where}: its options stand in the context (as in WinoGrande), which is not supported")
    return Sample(
        id=name,
        where=where,
        context=pairs[0][0],
        continuations=tuple(continuation for _, continuation in pairs),
        logliks=tuple(check_scores(logliks, "loglik", where)),
        unconditional=unconditional,
        greedy=greedy,
        target=record["target"],
        typed=isinstance(record["arguments"], list),
        doc=record["doc"],
        verdicts=_verdicts(record, where),
        gold=_gold(record, len(pairs)),
    )


def _responses(responses: Any, where: str) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """``[log-likelihood, is_greedy]`` pairs taken apart; new versions write both as text."""
    logliks, greedy = [], []
    for response in responses if isinstance(responses, list) else [None]:
        value, flag = response if isinstance(response, list) and len(response) == 2 else (None, None)
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise ValueError
            logliks.append(float(value))
        except (ValueError, OverflowError) as error:
            raise SuiteError(
                f"{where}: filtered_resps are not pairs of a log-likelihood and a flag; only multiple-choice tasks can "
                "be imported"
            ) from error
        greedy.append({"True": True, "False": False}.get(str(flag)))
    flags = tuple(flag for flag in greedy if flag is not None)
    return tuple(logliks), flags if len(flags) == len(greedy) else ()


def _pairs(arguments: Any, where: str) -> list[tuple[str, str]]:
    """(context, continuation) of each request: a list of lists in old versions, an object of objects in new ones."""
    pairs = []
    for row in _listed(arguments):
        if isinstance(row, dict):
            row = [row.get("arg_0"), row.get("arg_1")]
        if not isinstance(row, list) or len(row) < 2 or not isinstance(row[0], str) or not isinstance(row[1], str):
            raise SuiteError(
                f"{where}: arguments are not pairs of context and option; only multiple-choice tasks can be imported"
            )
        pairs.append((row[0], row[1]))
    return pairs


def doc_hash(record: dict[str, Any], where: str) -> str:
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


def _verdicts(record: dict[str, Any], where: str) -> dict[str, bool]:
    found = {}
    for key in VERDICTS:
        value = record.get(key)
        if value is None:
            continue
        if isinstance(value, int | float) and value in (0, 1):
            found[key] = bool(value)
        elif key in ("acc", "acc_norm"):
            if isinstance(value, int | float) and 0 < value < 1:
                raise SuiteError(
                    f"{where}: {key} is {value:g}, the share of several right options as in truthfulqa_mc2; such a "
                    "task has no single right option, import one that has (truthfulqa_mc1)"
                )
            raise SuiteError(f"{where}: {key} is {value!r}, 0 or 1 needed")
    return found


def _gold(record: dict[str, Any], options: int) -> int | None:
    for key in _WITH_GOLD:
        value = record.get(key)
        if isinstance(value, list) and len(value) == 2 and type(value[0]) is int and 0 <= value[0] < options:
            return value[0]
    return None
