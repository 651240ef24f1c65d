"""BoolQ: yes-or-no questions that people asked, each with an encyclopedia passage, validation split.

3,270 questions with the options yes and no (62 % are yes); the id is the row, as the data has no ids. The data leaves
the question mark out; it is put back. Items with the same passage are one group.
"""

from __future__ import annotations

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split


def _question(row: Row, identifier: str) -> Question:
    return Question(identifier, row["question"] + "?", ("yes", "no"), 0 if row["answer"] else 1, context=row["passage"])


SPLIT = Split(
    "boolq/validation",
    "hf_datasets/boolq/none/validation/data-00000-of-00001.arrow",
    "f858020576452e706b602bf9ad28e09d509e6dab4c97cb01a2202a2472c9afc9",
    _question,
    shares=lambda item, _: [item.context],
)
TASK = Task(
    name="boolq",
    title="BoolQ (with passages)",
    paper="arXiv:1905.10044",
    licence="CC-BY-SA-3.0",
    source="https://github.com/google-research-datasets/boolean-questions",
    revision=SPLIT.revision,
    kind="comprehension",
    options="2",
    scoring="cloze-sum",
    load=SPLIT.load,
    items=3270,
)
