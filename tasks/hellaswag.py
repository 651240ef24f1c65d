"""HellaSwag: which sentence continues a video caption or a how-to article, validation split.

10,042 questions with 4 options. ``ind`` is unique only together with its source (activitynet or wikihow), so the id
holds both. Items of one video or article, and items with the same text before the options, are one group.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split

_TAG = re.compile(r"\[.*?\]")


def _question(row: Row, _: str) -> Question:
    corpus = row["source_id"].partition("~")[0]
    context = row["ctx_a"] + " " + row["ctx_b"].capitalize()
    return Question(
        id=f"hellaswag/validation/{corpus}-{row['ind']}",
        question=clean(row["activity_label"] + ": " + context),
        choices=tuple(clean(ending) for ending in row["endings"]),
        answer=int(row["label"]),
    )


def clean(text: str) -> str:
    """Text without the marks of the how-to articles, as evaluation harnesses clean it.

    A title mark ends a sentence, other bracketed marks go, and double spaces become single ones in one pass. An option
    that began with a mark keeps the space behind it: published figures were made with it, and right and wrong
    options begin with a mark equally often (26.7 % and 27.2 %).

    >>> clean("[header] How to fish [title] Buy a rod. [step] Any will do.")
    ' How to fish. Buy a rod. Any will do.'
    """
    return _TAG.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


SPLIT = Split(
    "hellaswag/validation",
    "hf_datasets/hellaswag/none/validation/data-00000-of-00001.arrow",
    "5d21a8cf3f95280f2916128ed480c6b518a11aacb18b1ea200eefd8c0b92c16b",
    _question,
    shares=lambda item, row: [row["source_id"], item.question],
)
TASK = Task(
    name="hellaswag",
    title="HellaSwag",
    paper="arXiv:1905.07830",
    licence="MIT",
    source="https://rowanzellers.com/hellaswag",
    revision=SPLIT.revision,
    kind="commonsense",
    options="4",
    scoring="cloze-norm",
    load=SPLIT.load,
    cloze="{question}",
    items=10042,
)


@lru_cache(maxsize=1)
def load_captions() -> tuple[Question, ...]:
    """The 3,243 questions about ActivityNet video captions, whose options are half as long as the how-to articles'."""
    return tuple(item for item in SPLIT.load() if item.id.startswith("hellaswag/validation/activitynet-"))


CAPTIONS = replace(
    TASK,
    name="hellaswag-activitynet",
    title="HellaSwag, its video caption items (ActivityNet)",
    load=load_captions,
    items=3243,
)
