"""MedQA (USMLE): questions of the US medical licensing exam, test split with five options.

1,273 questions; the id is the row, as the data has no ids. The exam's step is a slice.
"""

from __future__ import annotations

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split


def _question(doc: Row, identifier: str) -> Question:
    step = f"exam:{doc['meta_info']}"
    return Question(identifier, doc["question"], tuple(doc["choices"]), doc["gold"], slices=(step,))


SPLIT = Split(
    "medqa/test",
    "oe_eval_tasks/medqa_en/rc_5shot/requests.jsonl.gz",
    "2b11306ae434908c96d4b5610a71facb084fd5a97e833c2d61190b7c11c81e4c",
    _question,
)
TASK = Task(
    name="medqa",
    title="MedQA (USMLE, English, five options)",
    paper="arXiv:2009.13081",
    licence="MIT",
    source="https://github.com/jind11/MedQA",
    revision=SPLIT.revision,
    kind="medical",
    options="5",
    scoring="cloze-norm",
    load=SPLIT.load,
    cloze="Question: {question}\nAnswer:",
    items=1273,
)
