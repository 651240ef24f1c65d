"""PIQA: which of two ways reaches a physical goal, validation split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import arrow_rows, read_files, revision
from suite.tasks.grouping import with_groups

DATA = "hf_datasets/piqa/plain_text/validation/data-00000-of-00001.arrow"
SHA256 = "6e14731c78016adc6a5738d661111f5cb4c6bce461c454561eb66be4abc39222"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,838 questions with 2 options; the id is the row, as the data has no ids.

    Items with the same goal are one group.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"piqa/validation/{number}",
            question=row["goal"],
            choices=(row["sol1"], row["sol2"]),
            answer=int(row["label"]),
        )
        for number, row in enumerate(arrow_rows(raw))
    ]
    return with_groups(questions, [[item.question] for item in questions])


TASK = Task(
    name="piqa",
    title="PIQA (Physical Interaction: Question Answering)",
    paper="arXiv:1911.11641",
    licence="AFL-3.0",
    source="https://yonatanbisk.com/piqa",
    revision=revision("piqa/validation", SHA256),
    kind="commonsense",
    options="2",
    scoring="cloze-norm",
    load=load,
    cloze="Question: {question}\nAnswer:",
    items=1838,
)
