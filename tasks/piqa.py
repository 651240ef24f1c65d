"""PIQA: which of two ways reaches a physical goal, validation split.

1,838 questions with 2 options; the id is the row, as the data has no ids. Items with the same goal are one group.
"""

from __future__ import annotations

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split


def _question(row: Row, identifier: str) -> Question:
    return Question(identifier, row["goal"], (row["sol1"], row["sol2"]), int(row["label"]))


SPLIT = Split(
    "piqa/validation",
    "hf_datasets/piqa/plain_text/validation/data-00000-of-00001.arrow",
    "6e14731c78016adc6a5738d661111f5cb4c6bce461c454561eb66be4abc39222",
    _question,
    shares=lambda item, _: [item.question],
)
TASK = Task(
    name="piqa",
    title="PIQA (Physical Interaction: Question Answering)",
    paper="arXiv:1911.11641",
    licence="AFL-3.0",
    source="https://yonatanbisk.com/piqa",
    revision=SPLIT.revision,
    kind="commonsense",
    options="2",
    scoring="cloze-norm",
    load=SPLIT.load,
    cloze="Question: {question}\nAnswer:",
    items=1838,
)
