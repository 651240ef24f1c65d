"""Tasks and their questions: the noun, its checks, and tasks read from a JSONL file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from suite.errors import SuiteError
from suite.files import decoded, json_objects, read_bytes, unpacked_name

Scoring = Literal["letter", "cloze-sum", "cloze-norm"]
SCORINGS: tuple[str, ...] = get_args(Scoring)
KINDS = (
    "classification",
    "comprehension",
    "commonsense",
    "dialogue",
    "summarization",
    "medical",
    "truthfulness",
    "fairness",
    "custom",
)
MAX_OPTIONS = 26


@dataclass(frozen=True)
class Question:
    """One multiple-choice item.

    Attributes:
        id: stable across machines and versions of this suite, unique in its task.
        question: the stem.
        choices: option texts, 2 to 26.
        answer: index of the correct option.
        context: a passage shown before the question, or "".
        subject: a named part of the task (MMLU's subjects), or None.
        group: items with the same group share a passage, a source or a template and are never separated by a split.
        slices: names of further subsets this item belongs to.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    context: str = ""
    subject: str | None = None
    group: str | None = None
    slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # whole numbers are ids like others; what is hashed, sorted and stored is text
        for name in ("id", "group"):
            value = getattr(self, name)
            if isinstance(value, int):
                object.__setattr__(self, name, str(value))


@dataclass(frozen=True)
class LetterStyle:
    """How a question with lettered options is written out.

    Attributes:
        block: one question up to its answer; ``{stem}`` is context and question, each on lines of its own when it is
            there, and ``{options}`` one line an option. The answer follows after one space.
        instruction: what stands first; ``{about}`` becomes `` about <subject>`` where the item has one.
        examples_instruction: the same when worked examples follow.
        gap: after the answer of each worked example.
        closing: between the last worked example and the item.
    """

    block: str = "{stem}\n{options}Answer:"
    instruction: str = ""
    examples_instruction: str = ""
    gap: str = "\n\n"
    closing: str = ""


_EXAM = "The following are multiple choice questions (with answers){about}.\n\n"

LETTER_STYLES: Mapping[str, LetterStyle] = {
    "base": LetterStyle(instruction=_EXAM, examples_instruction=_EXAM),
    "plain": LetterStyle(),
    "choices": LetterStyle("Question: {stem}\nChoices:\n{options}Answer:"),
}
"""Styles of the letter read-out for tasks that have none of their own."""

CLOZE_STYLES: Mapping[str, str] = {
    "question": "{context}\nQuestion: {question}\nAnswer:",
    "qa": "{context}\nQ: {question}\nA:",
    "plain": "{context}\n{question}",
}
"""Cloze templates that every task has beside its own ``base``."""


@dataclass(frozen=True)
class Task:
    """A set of questions and what a reader must know about it.

    Attributes:
        name: as on the command line and in paths.
        title, paper, licence, source: for people.
        revision: pins the data (package version and split, or a content hash).
        kind: one of `KINDS`.
        options: option counts of its items, for example ``"4"`` or ``"2-5"``.
        scoring: the default read-out, one of `SCORINGS`.
        load: returns every question in a fixed order.
        prompts: further cloze templates by prompt name; ``base`` is `cloze`.
        demonstrations: worked examples that are never scored, None when the task has no set apart for them.
        letter_styles: its own styles of the letter read-out, instead of `LETTER_STYLES`.
        items: how many questions it has, None where that depends on the file.
        needs: what has to be fetched and from where; "" when `make setup` brings the data.
        locate: finds data that is not part of the suite and returns its revision; None when `revision` is fixed.
        pinned_options: how many options at the end stay in place when options are rotated ("None of the above").
        dropped_ids: items that protocol ``ye2024`` leaves out although they are scored; None leaves it to row numbers.
        window: tokens that a prompt is cut to from the left, None for the model's own window.
    """

    name: str
    title: str
    paper: str
    licence: str
    source: str
    revision: str
    kind: str
    options: str
    scoring: str
    load: Callable[[], Sequence[Question]] = field(repr=False)
    default_prompt: str = "base"
    prompts: Mapping[str, str] = field(default_factory=dict)
    cloze: str = "{context}\nQuestion: {question}\nAnswer:"
    demonstrations: Callable[[], Sequence[Question]] | None = field(default=None, repr=False)
    letter_styles: Mapping[str, LetterStyle] = field(default_factory=lambda: LETTER_STYLES, repr=False)
    items: int | None = None
    needs: str = ""
    locate: Callable[[], str] | None = field(default=None, repr=False)
    pinned_options: int = 0
    dropped_ids: tuple[str, ...] | None = None
    window: int | None = None

    @property
    def cloze_styles(self) -> dict[str, str]:
        """Every cloze template by prompt name."""
        return {**CLOZE_STYLES, **self.prompts, "base": self.cloze}


def select(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """A fixed pseudo-random subset: the `limit` items whose hashed id is smallest, in the task's order.

    The subset depends on ids alone, so every model and variant sees the same items and ``limit=200`` is contained in
    ``limit=400``. Taking the first items instead would give MMLU's first subject only.
    """
    check_limit(limit)
    if limit is None or limit >= len(questions):
        return list(questions)
    ranked = sorted(range(len(questions)), key=lambda i: hashlib.sha256(questions[i].id.encode()).digest())
    return [questions[i] for i in sorted(ranked[:limit])]


def check_limit(limit: int | None) -> None:
    """Raise one line for a number of items that is none."""
    if limit is not None and limit < 1:
        raise SuiteError(f"limit {limit} out of range: use 1 or more items")


def check_question(item: Question, where: str, *, passage_alone: bool = False) -> Question:
    """Return the question unchanged, or raise one line naming what is wrong with it and where.

    Args:
        passage_alone: the format knows items that have a passage and no question.
    """
    if not item.id:
        raise SuiteError(f"{where}: empty id")
    if not item.question.strip() and not (passage_alone and item.context.strip()):
        raise SuiteError(f"{where}: item {item.id!r} has an empty question; a text to go on from belongs there")
    if len(item.choices) < 2:
        raise SuiteError(f"{where}: item {item.id!r} has {len(item.choices)} choices, at least 2 are needed")
    if len(item.choices) > MAX_OPTIONS:
        raise SuiteError(
            f"{where}: item {item.id!r} has {len(item.choices)} choices, at most {MAX_OPTIONS} can be scored"
        )
    for index, choice in enumerate(item.choices):
        if not choice.strip():
            raise SuiteError(f"{where}: item {item.id!r}: choice {index} is empty")
    if not 0 <= item.answer < len(item.choices):
        raise SuiteError(
            f"{where}: item {item.id!r}: answer_index {item.answer} is outside its {len(item.choices)} choices "
            "(0 is the first)"
        )
    return item


def content_hash(questions: Sequence[Question]) -> str:
    """SHA-256 of what items ask and what is right: ids, texts, options and answers, in order.

    >>> content_hash([Question("1", "?", ("a", "b"), 0)])[:7]
    'sha256:'
    """
    parts = [[item.id, item.context, item.question, list(item.choices), item.answer] for item in questions]
    return "sha256:" + hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def check_new_id(item: Question, where: str, seen: dict[str, str]) -> None:
    """Raise when an item's id was used before, naming both places; else remember where it is.

    Args:
        seen: place by id, of the items before this one.
    """
    if item.id in seen:
        raise SuiteError(f"{where}: duplicate id {item.id!r}, first used at {seen[item.id]}")
    seen[item.id] = where


def jsonl_task(path: str | Path) -> Task:
    """A task from a JSONL file, packed or not: one object a line.

    Keys ``id, question, choices, answer_index`` are required; ``context, subject, group, slices`` are optional. The
    unpacked file's content hash is its revision; the task's name is the file's stem.

    Raises:
        SuiteError: with the file's name and the line's number.
    """
    path = Path(path)
    raw = read_bytes(path, "task file", todo="name a readable JSONL file")
    questions = _parse_jsonl(path, raw)
    counts = sorted({len(item.choices) for item in questions})
    return Task(
        name=unpacked_name(path.name).removesuffix(".jsonl"),
        title=f"user task from {path.name}",
        paper="",
        licence="unknown (user file)",
        source=path.name,
        revision="sha256:" + hashlib.sha256(raw).hexdigest(),
        kind="custom",
        options=str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}",
        scoring="cloze-sum",
        load=lambda: questions,
    )


def _parse_jsonl(path: Path, raw: bytes) -> list[Question]:
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, record in json_objects(path, decoded(raw, f"task file {path}")):
        where = f"{path}:{number}"
        item = check_question(_from_record(record, where), where)
        if len(set(item.choices)) != len(item.choices):
            raise SuiteError(f"{where}: item {item.id!r} has two identical choices, only one can be the answer")
        if item.id in seen:
            raise SuiteError(f"{where}: duplicate id {item.id!r}, first used on line {seen[item.id]}")
        seen[item.id] = number
        questions.append(item)
    if not questions:
        raise SuiteError(f"task file {path}: no questions in it")
    return questions


def _from_record(record: dict[str, Any], where: str) -> Question:
    for key in ("id", "question", "choices", "answer_index"):
        if key not in record:
            raise SuiteError(f"{where}: missing field {key!r}")
    identifier, choices, answer = record["id"], record["choices"], record["answer_index"]
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise SuiteError(f"{where}: 'id' must be text or a whole number")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise SuiteError(f"{where}: 'choices' must be a list of texts")
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise SuiteError(f"{where}: 'answer_index' must be a whole number, 0 for the first choice")
    optional = {key: record.get(key) for key in ("context", "subject", "group")}
    for key, value in {"question": record["question"], **optional}.items():
        if value is not None and not isinstance(value, str):
            raise SuiteError(f"{where}: {key!r} must be text")
    slices = record.get("slices") or []
    if not isinstance(slices, list) or not all(isinstance(name, str) and name for name in slices):
        raise SuiteError(f"{where}: 'slices' must be a list of names")
    return Question(
        id=str(identifier),
        question=record["question"] or "",
        choices=tuple(choices),
        answer=answer,
        context=optional["context"] or "",
        subject=optional["subject"],
        group=optional["group"],
        slices=tuple(slices),
    )
