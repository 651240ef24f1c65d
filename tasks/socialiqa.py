"""SocialIQA: what people do, want and feel in a social situation, validation split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import arrow_rows, read_files, revision
from suite.tasks.grouping import with_groups

DATA = "hf_datasets/social_i_qa/none/validation/data-00000-of-00001.arrow"
SHA256 = "807ba7d328427ea2ff04d8cb520ccfb2d8ef269aa9e62d27ed79bd6c1345c838"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,953 questions with 3 options; the id is the row, as the data has no ids.

    The file has 1,954; one is left out because its correct answer stands among the options twice. Items about the same
    situation are one group.
    """
    (raw,) = read_files([DATA], SHA256)
    questions = [
        Question(
            id=f"socialiqa/validation/{number}",
            question=row["question"],
            choices=(row["answerA"], row["answerB"], row["answerC"]),
            answer=int(row["label"]) - 1,
            context=row["context"],
        )
        for number, row in enumerate(arrow_rows(raw))
    ]
    answerable = [item for item in questions if item.choices.count(item.choices[item.answer]) == 1]
    return with_groups(answerable, [[item.context] for item in answerable])


TASK = Task(
    name="socialiqa",
    title="SocialIQA",
    paper="arXiv:1904.09728",
    licence="not stated",
    source="https://leaderboard.allenai.org/socialiqa",
    revision=revision("socialiqa/validation", SHA256),
    kind="commonsense",
    options="3",
    scoring="cloze-norm",
    load=load,
    cloze="Question: {context} {question}\nAnswer:",
    items=1953,
)
