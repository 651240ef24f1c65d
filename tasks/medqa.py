"""MedQA (USMLE): questions of the US medical licensing exam, test split with five options."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import read_files, request_docs, revision
from suite.tasks.grouping import opening, with_groups

DATA = "oe_eval_tasks/medqa_en/rc_5shot/requests.jsonl.gz"
SHA256 = "2b11306ae434908c96d4b5610a71facb084fd5a97e833c2d61190b7c11c81e4c"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,273 questions with 5 options; the id is the row, as the data has no ids.

    The exam's step is a slice.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"medqa/test/{doc['index']}",
            question=doc["question"],
            choices=tuple(doc["choices"]),
            answer=doc["gold"],
            slices=(f"exam:{doc['meta_info']}",),
        )
        for doc in request_docs(raw)
    ]
    return with_groups(questions, [[opening(item.question)] for item in questions])


TASK = Task(
    name="medqa",
    title="MedQA (USMLE, English, five options)",
    paper="arXiv:2009.13081",
    licence="MIT",
    source="https://github.com/jind11/MedQA",
    revision=revision("medqa/test", SHA256),
    kind="medical",
    options="5",
    scoring="cloze-norm",
    load=load,
    cloze="Question: {question}\nAnswer:",
    items=1273,
)
