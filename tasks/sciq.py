"""SciQ: science exam questions, most with a support passage, validation split."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from suite.task import Question, Task
from suite.tasks.embedded import arrow_rows, read_files, revision
from suite.tasks.grouping import opening, with_groups

DATA = "hf_datasets/sciq/none/validation/data-00000-of-00001.arrow"
SHA256 = "656cdf16f40617360683b039b8c2a2b48b479be06d1df5c8b023afbb648da9bd"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,000 questions with 4 options; 113 have no passage. The id is the row, as the data has no ids."""
    (raw,) = read_files([DATA], SHA256)
    questions = [_question(row, number) for number, row in enumerate(arrow_rows(raw))]
    return with_groups(questions, [[opening(item.context)] if item.context else [] for item in questions])


def _question(row: dict[str, Any], number: int) -> Question:
    identifier = f"sciq/validation/{number}"
    choices = [row["distractor1"], row["distractor2"], row["distractor3"]]
    answer = answer_position(identifier)
    choices.insert(answer, row["correct_answer"])
    return Question(
        id=identifier, question=row["question"], choices=tuple(choices), answer=answer, context=row["support"].lstrip()
    )


def answer_position(identifier: str) -> int:
    """Where the correct answer stands among the four options: a hash of the item id.

    The data gives it apart from the distractors. A fixed place would reward a model that prefers one letter.
    """
    return hashlib.sha256(identifier.encode()).digest()[0] % 4


TASK = Task(
    name="sciq",
    title="SciQ (with support passages)",
    paper="arXiv:1707.06209",
    licence="CC-BY-NC-3.0",
    source="https://allenai.org/data/sciq",
    revision=revision("sciq/validation", SHA256),
    kind="comprehension",
    options="4",
    scoring="cloze-sum",
    load=load,
    cloze="{context}\nQuestion: {question}\nAnswer:",
    prompts={"closed-book": "Question: {question}\nAnswer:"},
    items=1000,
)
