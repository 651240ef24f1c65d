"""WinoGrande XL: which of two names fills a gap, validation split, asked as which sentence ending is right."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from suite.task import Question, Task
from suite.tasks.embedded import arrow_rows, read_files, revision
from suite.tasks.grouping import with_groups

DATA = "hf_datasets/winogrande/winogrande_xl/validation/data-00000-of-00001.arrow"
SHA256 = "992af8404b202ada4356228ed2ebb27f10495126efdf78678ced33e94e82b830"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,267 questions with 2 options; the id is the row, as the data has no ids.

    The stem is the sentence up to the gap, an option is a name together with the rest of the sentence, and its whole
    likelihood counts. (Harnesses that score only the rest behind each name compare across contexts instead; figures
    differ.) Twin sentences, which have the same two names and begin with the same four words, are one group.
    """
    (raw,) = read_files([DATA], SHA256)
    rows = arrow_rows(raw)
    return with_groups([_question(row, number) for number, row in enumerate(rows)], [[_twins(row)] for row in rows])


def _question(row: dict[str, Any], number: int) -> Question:
    before, _, after = row["sentence"].partition("_")
    return Question(
        id=f"winogrande/validation/{number}",
        question=before.strip(),
        choices=(row["option1"] + after, row["option2"] + after),
        answer=int(row["answer"]) - 1,
    )


def _twins(row: dict[str, Any]) -> str:
    return "\0".join([*sorted((row["option1"], row["option2"])), *row["sentence"].split()[:4]])


TASK = Task(
    name="winogrande",
    title="WinoGrande (XL)",
    paper="arXiv:1907.10641",
    licence="CC-BY-4.0",
    source="https://winogrande.allenai.org",
    revision=revision("winogrande/validation", SHA256),
    kind="commonsense",
    options="2",
    scoring="cloze-sum",
    load=load,
    cloze="{question}",
    items=1267,
)
