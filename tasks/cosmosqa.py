"""CosmosQA: why something happened in a short personal story, validation split, from a file the user fetches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.errors import SuiteError
from suite.task import Question, Task, content_hash
from suite.tasks.external import Place, find, options, questions

PLACE = Place(
    ("cosmosqa_valid.jsonl", "valid.jsonl", "valid.csv"),
    "data/valid.csv from github.com/wilburOne/cosmosqa",
)


def load() -> tuple[Question, ...]:
    """2,985 questions with 4 options, in the file's order; ids are the dataset's own. A story is one group.

    Raises:
        SuiteError: no file, or bad data with its line.
    """
    return questions(_question, find("cosmosqa", PLACE))


def _question(record: Mapping[str, Any], _: int, where: str) -> tuple[Question, str]:
    """JSONL with ``choices`` and ``answer_index``, or CSV with the authors' columns."""
    choices = options(record, "answer", 4, where)
    answer = record.get("answer_index", record.get("label"))
    if str(answer) not in ("0", "1", "2", "3"):
        raise SuiteError(f"{where}: the answer {answer!r} is not among the options 0 to 3")
    identifier = "cosmosqa/validation/" + str(record.get("id") or "").removeprefix("cosmosqa/val/")
    context = str(record.get("context") or "")
    return Question(identifier, str(record.get("question") or ""), choices, int(str(answer)), context), context


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
    items=2985,
    needs=PLACE.fetch,
    locate=lambda: content_hash(load()),
)
