"""CosmosQA: why something happened in a short personal story, validation split, from a file the user fetches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from suite.errors import SuiteError
from suite.task import Question, Task, check_new_id, check_question, content_hash
from suite.tasks.external import Place, find, records
from suite.tasks.grouping import with_groups

PLACE = Place(
    ("cosmosqa_valid.jsonl", "valid.jsonl", "valid.csv"),
    "data/valid.csv from github.com/wilburOne/cosmosqa",
)


def load() -> tuple[Question, ...]:
    """2,985 questions with 4 options, in the file's order; ids are the dataset's own. A story is one group.

    Raises:
        SuiteError: no file, or bad data with its line.
    """
    path = find("cosmosqa", PLACE)
    return read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def read(path: Path, _modified: int) -> tuple[Question, ...]:
    """The questions of one file: JSONL with ``choices`` and ``answer_index``, or CSV with the authors' columns."""
    questions: list[Question] = []
    seen: dict[str, str] = {}
    for where, record in records(path):
        questions.append(check_question(_question(record, where), where))
        check_new_id(questions[-1], where, seen)
    if not questions:
        raise SuiteError(f"{path}: no questions in it")
    return with_groups(questions, [[item.context] for item in questions])


def _question(record: Mapping[str, Any], where: str) -> Question:
    choices = record.get("choices") or [record.get(f"answer{number}") for number in range(4)]
    answer = record.get("answer_index", record.get("label"))
    if not isinstance(choices, list) or len(choices) != 4 or not all(isinstance(choice, str) for choice in choices):
        raise SuiteError(f"{where}: four options are needed, answer0 to answer3 or a list 'choices'")
    if len(set(choices)) < 4:
        raise SuiteError(f"{where}: two options are identical, only one can be the answer")
    if str(answer) not in ("0", "1", "2", "3"):
        raise SuiteError(f"{where}: the answer {answer!r} is not among the options 0 to 3")
    return Question(
        id="cosmosqa/validation/" + str(record.get("id") or "").removeprefix("cosmosqa/val/"),
        question=str(record.get("question") or ""),
        choices=tuple(choices),
        answer=int(str(answer)),
        context=str(record.get("context") or ""),
    )


TASK = Task(
    name="cosmosqa",
    title="CosmosQA",
    paper="arXiv:1909.00277",
    licence="CC-BY-4.0",
    source="https://wilburone.github.io/cosmos",
    revision="sha256 of the items, known once the file is there",
    kind="comprehension",
    options="4",
    scoring="cloze-norm",
    load=load,
    cloze="{context}\nQuestion: {question}\nAnswer:",
    items=2985,
    needs=PLACE.fetch,
    locate=lambda: content_hash(load()),
)
