"""SocialIQA: what people do, want and feel in a social situation, validation split.

1,953 questions with 3 options; the id is the row, as the data has no ids. The file has 1,954; one is left out because
its correct answer stands among the options twice. Items about the same situation are one group.
"""

from __future__ import annotations

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split


def _question(row: Row, identifier: str) -> Question:
    choices = (row["answerA"], row["answerB"], row["answerC"])
    return Question(identifier, row["question"], choices, int(row["label"]) - 1, context=row["context"])


SPLIT = Split(
    "socialiqa/validation",
    "hf_datasets/social_i_qa/none/validation/data-00000-of-00001.arrow",
    "807ba7d328427ea2ff04d8cb520ccfb2d8ef269aa9e62d27ed79bd6c1345c838",
    _question,
    shares=lambda item, _: [item.context],
)
TASK = Task(
    name="socialiqa",
    title="SocialIQA",
    paper="arXiv:1904.09728",
    licence="not stated",
    source="https://leaderboard.allenai.org/socialiqa",
    revision=SPLIT.revision,
    kind="commonsense",
    options="3",
    scoring="cloze-norm",
    load=SPLIT.load,
    cloze="Question: {context} {question}\nAnswer:",
    items=1953,
)
