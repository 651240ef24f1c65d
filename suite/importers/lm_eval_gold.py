"""Which option of a logged item is the right one, and which text of a continuation is the option's own.

The files of lm-evaluation-harness say neither. A target is written as text, be it an index or the answer's words, and
options that are whole numbers make the two look alike; what stands between context and option is part of the
continuation, and options may begin with a space of their own. So every reading is tried on the whole file. One that
contradicts what the file has logged (`acc`, `acc_norm`, ...) is out; of the others, the task's configuration decides
where a results file has it, then the documents. What nothing decides is read in the usual way and said in a note.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from suite.errors import SuiteError
from suite.importers.lm_eval_samples import Sample

_LONGEST_LIST = 1000

Options = tuple[str, ...]


@dataclass(frozen=True)
class Understood:
    """What a file's samples mean.

    Attributes:
        options: of each sample, its continuations without the delimiter.
        answers: index of the right option of each sample.
        notes: what was assumed.
    """

    options: list[Options]
    answers: list[int]
    notes: tuple[str, ...]


def understand(samples: Sequence[Sample], config: Mapping[str, Any], *, need_lengths: bool) -> Understood:
    """Read targets and continuations of one file.

    Args:
        config: the task's configuration as a results file has it, {} without one.
        need_lengths: whether scores will be divided by the options' characters, so that the delimiter matters.

    Raises:
        SuiteError: an item with several right options or none, or no reading that agrees with what the file says of
            itself; the message names the first such item.
    """
    targets = [_target(sample) for sample in samples]
    delimiters, known = _delimiters(samples, config)
    problems: dict[str, str] = {}
    fitting: list[_Reading] = []
    for delimiter in delimiters:
        options = [tuple(text[len(delimiter) :] for text in sample.continuations) for sample in samples]
        for name, read in _READINGS.items():
            answers = [read(target, texts) for target, texts in zip(targets, options, strict=True)]
            reading = _Reading(name, delimiter, options, [answer for answer in answers if answer is not None])
            if len(reading.answers) < len(samples):
                continue
            if problem := _contradiction(samples, reading):
                problems.setdefault(name, problem)
            else:
                fitting.append(reading)
    if not fitting:
        raise SuiteError(next(iter(problems.values()), "") or _misfit(samples, targets, delimiters))
    fitting = [reading for reading in fitting if _agrees(samples, reading)] or fitting
    name, guessed = _decide(samples, fitting, config)
    reading, *others = [one for one in fitting if one.name == name]
    notes = []
    if guessed:
        notes.append(
            "the right answer is given as a whole number that is also the text of an option, and was read as that "
            f"text; read as an index it would be another option in {guessed} of {len(samples)} items (a log with acc "
            "decides that)"
        )
    for sample, texts in zip(samples, reading.options, strict=True):
        _check_single(sample, texts)
        if need_lengths and not all(texts):
            raise SuiteError(
                f"{sample.where}: item {sample.id!r} has an empty option, which cannot be divided by its characters"
            )
    if need_lengths and others and not known:
        notes.append(
            f"{reading.delimiter!r} was taken for what stands between context and option; if it is part of the "
            "options, each has more characters"
        )
    return Understood(reading.options, reading.answers, tuple(notes))


@dataclass(frozen=True)
class _Reading:
    """One way of understanding a file: what targets are, and what stands before an option."""

    name: str
    delimiter: str
    options: list[Options]
    answers: list[int]


# targets


@dataclass(frozen=True)
class _Target:
    """A target as it was logged, and what a list of one holds; `index` where that can be one."""

    texts: tuple[str, ...]
    index: int | None


def _target(sample: Sample) -> _Target:
    raw = sample.target
    texts = [raw] if isinstance(raw, str) else []
    inner = _listed(raw) if isinstance(raw, str) else raw
    if isinstance(inner, list):
        if len(inner) != 1:
            if isinstance(raw, str) and any(text.strip() == raw.strip() for text in sample.continuations):
                return _Target((raw,), None)
            raise SuiteError(
                f"{sample.where}: target {str(raw)[:60]}: {len(inner) or 'no'} right options; a task of this kind "
                "(truthfulqa_mc2 is one) has no single right option, which is needed here"
            )
        inner = inner[0]
    if isinstance(inner, str):
        texts.append(inner)
        # ASCII alone: Python takes the digits of every script for a number, lm-eval does not
        if re.fullmatch(r"\s*[0-9]{1,4}\s*", inner):
            return _Target(tuple(texts), int(inner))
        return _Target(tuple(texts), {"True": 1, "False": 0}.get(inner))
    if isinstance(inner, int):
        return _Target(tuple(texts), int(inner))
    raise SuiteError(f"{sample.where}: target {raw!r}: items with one correct option are needed")


def _listed(text: str) -> Any:
    """The list that a text spells, else the text."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")) or len(stripped) > _LONGEST_LIST:
        return text
    try:
        found = ast.literal_eval(stripped)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, list) else text


def _as_text(target: _Target, options: Options) -> int | None:
    """The one option of that text, spaces around it left aside unless they decide."""
    for text in target.texts:
        for matches in (
            [index for index, option in enumerate(options) if option == text],
            [index for index, option in enumerate(options) if option.strip() == text.strip()],
        ):
            if len(matches) == 1:
                return matches[0]
    return None


def _as_index(target: _Target, options: Options) -> int | None:
    return target.index if target.index is not None and 0 <= target.index < len(options) else None


_READINGS: dict[str, Callable[[_Target, Options], int | None]] = {"text": _as_text, "index": _as_index}


def _misfit(samples: Sequence[Sample], targets: Sequence[_Target], delimiters: Sequence[str]) -> str:
    """What is wrong where no reading fits every item: the first item that has none, else the first that has one."""

    def fits(sample: Sample, target: _Target) -> list[bool]:
        options = tuple(text[len(delimiters[0]) :] for text in sample.continuations)
        return [reading(target, options) is not None for reading in _READINGS.values()]

    found = [(sample, target, fits(sample, target)) for sample, target in zip(samples, targets, strict=True)]
    sample, target, fit = next((one for one in found if not any(one[2])), None) or next(
        one for one in found if not all(one[2])
    )
    same = sum(option.strip() == text.strip() for text in target.texts[:1] for option in sample.continuations)
    if same > 1:
        return (
            f"{sample.where}: target {target.texts[0][:60]!r} is the text of {same} options; one right option is needed"
        )
    if target.index is not None and not any(fit):
        count = len(sample.continuations)
        return f"{sample.where}: target {target.index} is outside its {count} options (0 is the first)"
    shown = sample.target if isinstance(sample.target, str) else str(sample.target)
    if any(fit):
        return (
            f"{sample.where}: target {shown[:60]!r} is {'an index' if fit[1] else 'the text of an option'} and others "
            "of the file are not; targets of one kind are needed"
        )
    return f"{sample.where}: target {shown[:60]!r} is not one of the options; one correct option is needed"


def _contradiction(samples: Sequence[Sample], reading: _Reading) -> str | None:
    """The first item whose acc or acc_norm is not what the reading gives."""
    for sample, texts, right in zip(samples, reading.options, reading.answers, strict=True):
        recomputed = _recomputed(sample, texts, right)
        for name in ("acc", "acc_norm"):
            logged, found = sample.verdicts.get(name), recomputed.get(name)
            if logged is not None and found is not None and logged != found:
                return (
                    f"{sample.where}: item {sample.id!r}: the file says {name} {int(logged)}, its log-likelihoods and "
                    f"target give {int(found)}; the file was changed or is of an unknown form"
                )
    return None


def _agrees(samples: Sequence[Sample], reading: _Reading) -> bool:
    """Whether all else that is logged is what the reading gives; a task may use those names for other things."""
    for sample, texts, right in zip(samples, reading.options, reading.answers, strict=True):
        recomputed = _recomputed(sample, texts, right)
        if any(sample.verdicts.get(name, found) != found for name, found in recomputed.items()):
            return False
        if sample.gold not in (None, right):
            return False
    return True


def _recomputed(sample: Sample, texts: Options, right: int) -> dict[str, bool]:
    """The verdicts as lm-eval computes them; lengths are those of the options as the task has them."""
    values = np.array(sample.logliks)
    found = {"acc": int(values.argmax()) == right}
    if all(texts):
        for name, lengths in (("acc_norm", map(len, texts)), ("acc_bytes", (len(text.encode()) for text in texts))):
            found[name] = int((values / np.array([*lengths], dtype=float)).argmax()) == right
    if len(sample.unconditional) == len(values):
        with np.errstate(invalid="ignore"):
            found["acc_mutual_info"] = int((values - np.array(sample.unconditional)).argmax()) == right
    if sample.greedy:
        found["exact_match"] = sample.greedy[right]
    return found


def _decide(samples: Sequence[Sample], fitting: Sequence[_Reading], config: Mapping[str, Any]) -> tuple[str, int]:
    """The kind of target to read, and in how many items another kind would differ where nothing decided."""
    first = {reading.name: reading for reading in reversed(fitting)}
    if len(first) == 1:
        return fitting[0].name, 0
    text, index = first["text"], first["index"]
    differ = sum(one != other for one, other in zip(text.answers, index.answers, strict=True))
    if all(sample.typed for sample in samples) or not differ:
        return "text", 0  # an index that was logged as a number has no other reading
    said = _configured(samples, config) or _witnessed(samples, text, index)
    return said or "text", 0 if said else differ


def _configured(samples: Sequence[Sample], config: Mapping[str, Any]) -> str:
    """What the task's ``doc_to_target`` makes of whole numbers, "" where that cannot be seen.

    A template that gives digits gives an index; the name of a field gives what the field holds.
    """
    rule = config.get("doc_to_target")
    if isinstance(rule, int):
        return "index"
    if not isinstance(rule, str):
        return ""
    held = [sample.doc.get(rule) if isinstance(sample.doc, Mapping) else None for sample in samples]
    if all(isinstance(value, int) for value in held):
        return "index"
    if all(isinstance(value, str) for value in held):
        return "text"
    return "index" if "{{" in rule and "}}" in rule and "def " not in rule else ""


def _witnessed(samples: Sequence[Sample], text: _Reading, index: _Reading) -> str:
    """The reading that a field of the documents agrees with in every item, "" where none or both have one."""
    common: dict[str, list[int]] = {}
    for number, (sample, options) in enumerate(zip(samples, text.options, strict=True)):
        here = dict(_pointers(sample, options))
        common = {place: [*common.get(place, []), at] for place, at in here.items() if number == 0 or place in common}
    agree = [reading.name for reading in (text, index) if reading.answers in common.values()]
    return agree[0] if len(agree) == 1 else ""


def _pointers(sample: Sample, options: Options) -> Iterator[tuple[str, int]]:
    """Fields of the document that can point at an option: (how, which option)."""
    count = len(options)
    fields = dict(_fields(sample.doc))
    lists = {place: value for place, value in fields.items() if isinstance(value, list) and len(value) == count}
    for place, value in lists.items():
        if sorted(map(str, value)) in (sorted([*"0" * (count - 1), "1"]), sorted([*["False"] * (count - 1), "True"])):
            yield f"{place} marks it", [str(one) in ("1", "True") for one in value].index(True)
    for place, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            continue
        if isinstance(value, int) and 0 <= value < count:
            yield f"{place} counts", value
        if isinstance(value, str) and re.fullmatch("[A-Z]", value) and ord(value) - ord("A") < count:
            yield f"{place} is a letter", ord(value) - ord("A")
        for other, several in lists.items():
            # the target itself among the options says nothing
            if several.count(value) == 1 and not (tuple(several) == options and str(value) == sample.target):
                yield f"{place} in {other}", several.index(value)


def _fields(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a document that is no object, by its place."""
    if isinstance(value, Mapping) and place.count("/") < 8:
        for key, inner in value.items():
            yield from _fields(inner, f"{place}/{key}")
    else:
        yield place, value


def _check_single(sample: Sample, options: Options) -> None:
    """Refuse a document that marks several of these very options as right, whatever its target (truthfulqa_mc2)."""
    fields = dict(_fields(sample.doc))
    for place, value in fields.items():
        if not isinstance(value, list) or tuple(value) != options:
            continue
        folder = place.rpartition("/")[0]
        marks = fields.get(f"{folder}/labels")
        if isinstance(marks, list) and len(marks) == len(options) and all(mark in (0, 1) for mark in marks):
            right = sum(map(int, marks))
            if right != 1:
                raise SuiteError(
                    f"{sample.where}: item {sample.id!r} has {right or 'no'} right options ({place.strip('/')}); such "
                    "a task has no single right option, import one that has (truthfulqa_mc1 instead of truthfulqa_mc2)"
                )


# delimiters


def _delimiters(samples: Sequence[Sample], config: Mapping[str, Any]) -> tuple[list[str], bool]:
    """What may stand between context and option, likeliest first, and whether the first is known rather than usual.

    It is one space nearly always, a line break for some tasks, and nothing under some chat templates.
    """
    texts = [text for sample in samples for text in sample.continuations]
    first, last = min(texts), max(texts)
    # what the first and the last in order share, all share
    shared = first[
        : next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    ]
    white = shared[: len(shared) - len(shared.lstrip())]
    usual = "\n\n" if white.startswith("\n\n") else white[:1]
    every = list(dict.fromkeys([usual, "", *(white[:end] for end in range(1, min(len(white), 4) + 1))]))
    stated = config.get("target_delimiter")
    if isinstance(stated, str) and shared.startswith(stated):
        return list(dict.fromkeys([stated, *every])), True
    if len(every) == 1:
        return every, True
    known = [delimiter for delimiter in every if _in_documents(samples, len(delimiter))]
    return list(dict.fromkeys([*known, *every])), len(known) == 1


def _in_documents(samples: Sequence[Sample], cut: int) -> bool:
    """Whether every option of every item is a text of its document once the delimiter is cut off."""
    for sample in samples:
        texts: set[str] = set()
        _collect(sample.doc, texts)
        if not all(text[cut:] in texts for text in sample.continuations):
            return False
    return True


def _collect(value: Any, texts: set[str], depth: int = 0) -> None:
    if isinstance(value, str):
        texts.add(value)
    elif depth < 8 and isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            _collect(inner, texts, depth + 1)
