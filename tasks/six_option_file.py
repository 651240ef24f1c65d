"""Files of six-option questions in the format of arXiv 2401.12794, and how that benchmark asks them.

A file is a JSON list of objects with ``id, source, task, context, question, choices`` (an object, A to F), ``answer``.
``source`` decides the wording. Some rows of a file are worked examples and are never scored.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from suite.errors import SuiteError, unknown_name
from suite.files import unpacked_name
from suite.task import LetterStyle, Question, Task, check_new_id, check_question, content_hash
from suite.tasks.external import records
from suite.tasks.grouping import opening, with_groups

LABELS = "ABCDEF"
PUBLISHED_DROPPED_ROWS = (1, 3, 5, 7, 9)
WINDOW = 2048
IDENTICAL = "identical-options"

_SHARED_ZERO = (
    "The following is a multiple-choice question with six potential answers. Only one of these options is correct. "
    "Please make your best effort and select the correct answer. You only need to output the option.\n\n"
)
_SHARED_FEW = (
    "Below are some examples of multiple-choice questions with six potential answers. "
    "For each question, only one option is correct.\n\n"
)
_CLOSING = (
    "\nNow make your best effort and select the correct answer for the following question. "
    "You only need to output the option.\n\n"
)
_ZERO = "The following is a multiple-choice question about {0}. {1} You only need to output the option.\n\n"
_FEW = "Below are some examples of multiple-choice questions about {0}. {1}\n\n"


@dataclass(frozen=True)
class Wording:
    """What a source's questions look like.

    Attributes:
        kind: the task's kind.
        demonstrations: rows that serve as worked examples.
        passage: how the context is introduced, "" for questions without one.
        topic, zero, few: the wording of style ``task``, without and with worked examples.
    """

    kind: str
    demonstrations: tuple[int, ...]
    passage: str
    topic: str
    zero: str
    few: str

    def styles(self) -> dict[str, LetterStyle]:
        """The styles ``base`` (no instruction), ``shared`` (one for all five tasks) and ``task`` (its own)."""
        lead = f"{self.passage}: {{context}}\n" if self.passage else ""
        base = LetterStyle(lead + "Question: {question}\nChoices:\n{options}Answer:", gap="\n")
        return {
            "base": base,
            "shared": replace(base, instruction=_SHARED_ZERO, examples_instruction=_SHARED_FEW, closing=_CLOSING),
            "task": replace(
                base,
                instruction=_ZERO.format(self.topic, self.zero),
                examples_instruction=_FEW.format(self.topic, self.few),
                closing=_CLOSING,
            ),
        }


WORDINGS: Mapping[str, Wording] = {
    "MMLU": Wording(
        "classification",
        (1, 3, 5, 7, 9),
        "",
        "question answering",
        "You should answer the question based on your world knowledge and problem solving ability.",
        "Each question should be answered based on your world knowledge and problem solving ability.",
    ),
    "CosmosQA": Wording(
        "comprehension",
        (1, 3, 5, 7, 9),
        "Context",
        "reading comprehension",
        "You should answer the question based on the given context and you can use commonsense reasoning when "
        "necessary.",
        "Each question should be answered based on the given context and commonsense reasoning when necessary.",
    ),
    "HellaSwag": Wording(
        "commonsense",
        (1, 3, 5, 7, 9),
        "Context",
        "commonsense natural language inference",
        "You are given a context and you should choose the most likely follow-up.",
        "For each question, there is a given context and the answer is the option that most likely follows the "
        "context.",
    ),
    "Halu-OpenDialKG": Wording(
        "dialogue",
        (5, 7, 9),
        "Dialogue",
        "dialogue response selection",
        "You are given a dialogue history and you should select the best and correct response without hallucination "
        "and non-factual information.",
        "For each question, the answer is the option that represents the most suitable response for the given dialogue "
        "history, without hallucination and non-factual information.",
    ),
    "Halu-CNN/DailyMail": Wording(
        "summarization",
        (9,),
        "Document",
        "document summarization",
        "You are given a document and you should select the best and correct summary without hallucination and "
        "non-factual information.",
        "For each question, the answer is the option that accurately summarizes the given document without "
        "hallucination and non-factual information.",
    ),
}
"""By the records' ``source``. The wording is that of the benchmark: it is what its models saw."""

WITHOUT_QUESTION = ("HellaSwag", "Halu-OpenDialKG", "Halu-CNN/DailyMail")
"""Sources whose raw sets ask nothing: a passage is to be continued, answered or summed up. What the published files put
there is the benchmark's, and taken as it is, empty or not."""


@dataclass(frozen=True)
class SixOptions:
    """A file's questions, apart from its worked examples."""

    source: str
    questions: tuple[Question, ...]
    demonstrations: tuple[Question, ...]


def read(path: Path, *, strict: bool) -> SixOptions:
    """Read and check a file.

    Args:
        strict: refuse an empty question from every source (see `WITHOUT_QUESTION`), and two identical options. The
            published files hold some (eight items of ``mmlu_10k``), and figures
            published for them include these, so there they stay and carry the slice ``identical-options``.

    Raises:
        SuiteError: with the file's name and the line on which the question starts.
    """
    sources: dict[str, str] = {}
    questions: list[Question] = []
    seen: dict[str, str] = {}
    for where, record in records(path):
        item = _question(record, where, strict=strict)
        if len(set(item.choices)) < len(item.choices):
            if strict:
                raise SuiteError(f"{where}: item {item.id!r} has two identical choices, only one can be the answer")
            item = replace(item, slices=(IDENTICAL,))
        check_new_id(item, where, seen)
        source = str(record["source"])
        if source not in WORDINGS:
            raise SuiteError(f"{where}: {unknown_name('source', source, WORDINGS)}")
        sources.setdefault(source, where)
        if len(sources) > 1:
            raise SuiteError(f"{where}: source {source!r} in a file that began with {next(iter(sources))!r}")
        questions.append(item)
    if not questions:
        raise SuiteError(f"{path}: no questions in it")
    return split(next(iter(sources)), questions, str(path))


def split(source: str, questions: list[Question], where: str) -> SixOptions:
    """Set the worked examples apart; group items that share a passage, or the opening of a question without one."""
    rows = WORDINGS[source].demonstrations
    if len(questions) <= max(rows) + 1:
        raise SuiteError(
            f"{where}: {len(questions)} questions are too few: rows {', '.join(map(str, rows))} (0 is the first) are "
            f"worked examples and are not scored"
        )
    grouped = _grouped(questions)
    return SixOptions(
        source,
        tuple(item for row, item in enumerate(grouped) if row not in rows),
        tuple(questions[row] for row in rows),
    )


def as_task(name: str, data: SixOptions, revision: str, *, title: str, licence: str, source: str) -> Task:
    """The task of a file that somebody made."""
    wording = WORDINGS[data.source]
    return Task(
        name=name,
        title=title,
        paper="",
        licence=licence,
        source=source,
        revision=revision,
        kind=wording.kind,
        options="6",
        scoring="letter",
        load=lambda: data.questions,
        demonstrations=lambda: data.demonstrations,
        letter_styles=wording.styles(),
        pinned_options=2,
        window=WINDOW,
        items=len(data.questions),
    )


def json_task(path: str | Path) -> Task:
    """A task from a user's file in this format; its name is the file's stem, its revision the hash of its items."""
    path = Path(path)
    data = read(path, strict=True)
    everything = (*data.demonstrations, *data.questions)
    name = unpacked_name(path.name).removesuffix(".json")
    return as_task(
        name,
        data,
        content_hash(everything),
        title=f"user task from {path.name}",
        licence="unknown (user file)",
        source=path.name,
    )


def _question(record: Mapping[str, Any], where: str, *, strict: bool) -> Question:
    for key in ("id", "source", "question", "choices", "answer"):
        if key not in record:
            raise SuiteError(f"{where}: missing field {key!r}")
    identifier, choices = record["id"], record["choices"]
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise SuiteError(f"{where}: 'id' must be text or a whole number")
    if not isinstance(choices, dict):
        raise SuiteError(f"{where}: 'choices' must be an object with the keys A to F")
    for label in LABELS:
        if label not in choices:
            raise SuiteError(f"{where}: item {str(identifier)!r} has no option {label}; six are needed, A to F")
    if list(choices) != list(LABELS):
        raise SuiteError(
            f"{where}: item {str(identifier)!r} has the options {', '.join(map(str, choices))}; they must be A to F, "
            "in this order"
        )
    if not all(isinstance(text, str | int | float) for text in choices.values()):
        raise SuiteError(f"{where}: item {str(identifier)!r}: an option is no text")
    answer = record["answer"]
    if answer not in choices:
        raise SuiteError(f"{where}: item {str(identifier)!r}: answer {answer!r} is none of its options A to F")
    texts = {}
    for key in ("context", "question"):
        value = record.get(key) or ""
        if not isinstance(value, str):
            raise SuiteError(f"{where}: {key!r} must be text")
        texts[key] = value
    item = Question(
        id=str(identifier),
        question=texts["question"],
        choices=tuple(str(text) for text in choices.values()),
        answer=LABELS.index(answer),
        context=texts["context"],
    )
    return check_question(item, where, passage_alone=not strict and record["source"] in WITHOUT_QUESTION)


def _grouped(questions: list[Question]) -> list[Question]:
    counts = Counter(item.context for item in questions if item.context.strip())
    if counts:
        # the same names as imported scores of this benchmark have
        return [
            replace(item, group="context-" + hashlib.sha256(item.context.encode()).hexdigest()[:12])
            if counts[item.context] > 1
            else item
            for item in questions
        ]
    return list(with_groups(questions, [[opening(item.question)] for item in questions]))
