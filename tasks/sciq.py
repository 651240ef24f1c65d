"""SciQ: science exam questions, most with a support passage, validation split.

1,000 questions with 4 options; 113 have no passage. The id is the row, as the data has no ids. Items whose passages
begin alike are one group.
"""

from __future__ import annotations

import hashlib

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split
from suite.tasks.grouping import opening


def _question(row: Row, identifier: str) -> Question:
    choices = [row["distractor1"], row["distractor2"], row["distractor3"]]
    answer = answer_position(identifier)
    choices.insert(answer, row["correct_answer"])
    return Question(identifier, row["question"], tuple(choices), answer, context=row["support"].lstrip())


def answer_position(identifier: str) -> int:
    """Where the correct answer stands among the four options: a hash of the item id.

    The data gives it apart from the distractors. A fixed place would reward a model that prefers one letter.
    """
    return hashlib.sha256(identifier.encode()).digest()[0] % 4


SPLIT = Split(
    "sciq/validation",
    "hf_datasets/sciq/none/validation/data-00000-of-00001.arrow",
    "656cdf16f40617360683b039b8c2a2b48b479be06d1df5c8b023afbb648da9bd",
    _question,
    shares=lambda item, _: [opening(item.context)] if item.context else [],
)
TASK = Task(
    name="sciq",
    title="SciQ (with support passages)",
    paper="arXiv:1707.06209",
    licence="CC-BY-NC-3.0",
    source="https://allenai.org/data/sciq",
    revision=SPLIT.revision,
    kind="comprehension",
    options="4",
    scoring="cloze-sum",
    load=SPLIT.load,
    prompts={"closed-book": "Question: {question}\nAnswer:"},
    items=1000,
)
