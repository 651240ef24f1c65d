"""Records of ARC and OpenBookQA, which are alike: scored questions from request files, worked examples from tables."""

from __future__ import annotations

from suite.task import Question
from suite.tasks.embedded import arrow_rows, read_files, request_docs
from suite.tasks.grouping import opening, with_groups


def scored(data: str, sha256: str, prefix: str) -> tuple[Question, ...]:
    """The questions of a request file; ids are the dataset's own behind the prefix.

    The file stores the stem inside a cloze prompt, from which it is taken out again.
    """
    (raw,) = read_files([data], sha256)
    questions = [
        Question(
            id=f"{prefix}/{doc['id']}",
            question=doc["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
            choices=tuple(doc["choices"]),
            answer=doc["gold"],
        )
        for doc in request_docs(raw)
    ]
    return with_groups(questions, [[opening(item.question)] for item in questions])


def worked_examples(data: str, sha256: str, prefix: str, *, stem: str = "question") -> tuple[Question, ...]:
    """The questions of a table, in its order.

    Args:
        stem: the column that holds the question.
    """
    (raw,) = read_files([data], sha256)
    return tuple(
        Question(
            id=f"{prefix}/{row['id']}",
            question=row[stem],
            choices=tuple(row["choices"]["text"]),
            answer=row["choices"]["label"].index(row["answerKey"]),
        )
        for row in arrow_rows(raw)
    )
