"""CommonsenseQA: everyday questions written around one concept and its neighbours, validation split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import arrow_rows, read_files, revision
from suite.tasks.grouping import opening, with_groups

DATA = "hf_datasets/tau/commonsense_qa/none/validation/data-00000-of-00001.arrow"
SHA256 = "1db2816a0bac86ff6f67bcb39b53a3cf76af7fbaa6d769608bbbc1e1d0c9aed6"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,215 questions with 5 options; ids are the dataset's own.

    The file has 1,221; six are left out because their correct answer stands among the options twice. Eighteen items
    with two identical wrong options stay.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"commonsenseqa/validation/{row['id']}",
            question=row["question"],
            choices=tuple(row["choices"]["text"]),
            answer=row["choices"]["label"].index(row["answerKey"]),
        )
        for row in arrow_rows(raw)
    ]
    answerable = [item for item in questions if item.choices.count(item.choices[item.answer]) == 1]
    return with_groups(answerable, [[opening(item.question)] for item in answerable])


TASK = Task(
    name="commonsenseqa",
    title="CommonsenseQA",
    paper="arXiv:1811.00937",
    licence="MIT",
    source="https://www.tau-nlp.org/commonsenseqa",
    revision=revision("commonsenseqa/validation", SHA256),
    kind="commonsense",
    options="5",
    scoring="cloze-sum",
    load=load,
    cloze="Question: {question}\nAnswer:",
    items=1215,
)
