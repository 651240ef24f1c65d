"""BoolQ: yes-or-no questions that people asked, each with an encyclopedia passage, validation split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import arrow_rows, read_files, revision
from suite.tasks.grouping import with_groups

DATA = "hf_datasets/boolq/none/validation/data-00000-of-00001.arrow"
SHA256 = "f858020576452e706b602bf9ad28e09d509e6dab4c97cb01a2202a2472c9afc9"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """3,270 questions with the options yes and no (62 % are yes); the id is the row, as the data has no ids.

    The data leaves the question mark out; it is put back. Items with the same passage are one group.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"boolq/validation/{number}",
            question=row["question"] + "?",
            choices=("yes", "no"),
            answer=0 if row["answer"] else 1,
            context=row["passage"],
        )
        for number, row in enumerate(arrow_rows(raw))
    ]
    return with_groups(questions, [[item.context] for item in questions])


TASK = Task(
    name="boolq",
    title="BoolQ (with passages)",
    paper="arXiv:1905.10044",
    licence="CC-BY-SA-3.0",
    source="https://github.com/google-research-datasets/boolean-questions",
    revision=revision("boolq/validation", SHA256),
    kind="comprehension",
    options="2",
    scoring="cloze-sum",
    load=load,
    cloze="{context}\nQuestion: {question}\nAnswer:",
    items=3270,
)
