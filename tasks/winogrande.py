"""WinoGrande XL: which of two names fills a gap, validation split, asked as which sentence ending is right.

1,267 questions with 2 options; the id is the row, as the data has no ids. The stem is the sentence up to the gap, an
option is a name together with the rest of the sentence, and its whole likelihood counts. (Harnesses that score only the
rest behind each name compare across contexts instead; figures differ.) Twin sentences, which have the same two names
and begin with the same four words, are one group.
"""

from __future__ import annotations

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split


def _question(row: Row, identifier: str) -> Question:
    before, _, after = row["sentence"].partition("_")
    choices = (row["option1"] + after, row["option2"] + after)
    return Question(identifier, before.strip(), choices, int(row["answer"]) - 1)


def _twins(_: Question, row: Row) -> list[str]:
    return ["\0".join([*sorted((row["option1"], row["option2"])), *row["sentence"].split()[:4]])]


SPLIT = Split(
    "winogrande/validation",
    "hf_datasets/winogrande/winogrande_xl/validation/data-00000-of-00001.arrow",
    "992af8404b202ada4356228ed2ebb27f10495126efdf78678ced33e94e82b830",
    _question,
    shares=_twins,
)
TASK = Task(
    name="winogrande",
    title="WinoGrande (XL)",
    paper="arXiv:1907.10641",
    licence="CC-BY-4.0",
    source="https://winogrande.allenai.org",
    revision=SPLIT.revision,
    kind="commonsense",
    options="2",
    scoring="cloze-sum",
    load=SPLIT.load,
    cloze="{question}",
    items=1267,
)
