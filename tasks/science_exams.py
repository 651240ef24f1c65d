"""ARC and OpenBookQA, whose records are alike: the test split out of request files, worked examples out of tables.

ARC: grade-school science questions; its challenge set are those that retrieval and word co-occurrence get wrong. 2,376
easy and 1,172 hard ones with 3 to 5 options, nearly all with 4. OpenBookQA: elementary science facts applied to new
situations, without the open book; 500 with 4 options. Ids are the datasets' own. Worked examples are the whole
validation splits.
"""

from __future__ import annotations

from dataclasses import replace

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split, labelled


def _question(doc: Row, identifier: str) -> Question:
    """The file stores the stem inside a cloze prompt, from which it is taken out again."""
    stem = doc["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
    return Question(identifier, stem, tuple(doc["choices"]), doc["gold"])


def _examples(name: str, folder: str, sha256: str) -> Split:
    file = f"hf_datasets/{folder}/validation/data-00000-of-00001.arrow"
    return Split(f"{name}/validation", file, sha256, labelled, shares=lambda item, _: [])


CHALLENGE_SPLIT = Split(
    "arc-challenge/test",
    "oe_eval_tasks/arc_challenge/test_rc_5shot/requests.jsonl.gz",
    "98e001dffe5fc8fa3b6e15bbca96b1d7a55e5a797c12ff10c18ed574d54bfa57",
    _question,
)
EASY_SPLIT = Split(
    "arc-easy/test",
    "oe_eval_tasks/arc_easy/test_rc_5shot/requests.jsonl.gz",
    "c964881d2bb2ae8d9612c81ed6c5aecc402aa31e498af87f61bde503cc8224dc",
    _question,
)
OPENBOOKQA_SPLIT = Split(
    "openbookqa/test",
    "oe_eval_tasks/openbookqa/test_rc_5shot/requests.jsonl.gz",
    "4159dc91f154933a0778fb5520997cc2c5314fa7f014c527f3a56e4a5844bd15",
    _question,
)

ARC_CHALLENGE = Task(
    name="arc-challenge",
    title="ARC-Challenge (AI2 Reasoning Challenge, challenge set)",
    paper="arXiv:1803.05457",
    licence="CC-BY-SA-4.0",
    source="https://allenai.org/data/arc",
    revision=CHALLENGE_SPLIT.revision,
    kind="classification",
    options="3-5",
    scoring="cloze-norm",
    load=CHALLENGE_SPLIT.load,
    cloze="Question: {question}\nAnswer:",
    demonstrations=_examples(
        "arc-challenge", "ai2_arc/ARC-Challenge", "4cf59b321066b627168d8a7b4c0ddeb5c29b5db6a8083056871baa943d5b0c90"
    ).load,
    items=1172,
)
ARC_EASY = replace(
    ARC_CHALLENGE,
    name="arc-easy",
    title="ARC-Easy (AI2 Reasoning Challenge, easy set)",
    revision=EASY_SPLIT.revision,
    scoring="cloze-sum",
    load=EASY_SPLIT.load,
    demonstrations=_examples(
        "arc-easy", "ai2_arc/ARC-Easy", "44acbea3816c25c21610ca390fbe567dc3da48c8b5b91391224562636872474b"
    ).load,
    items=2376,
)
OPENBOOKQA = Task(
    name="openbookqa",
    title="OpenBookQA (main)",
    paper="arXiv:1809.02789",
    licence="Apache-2.0",
    source="https://allenai.org/data/open-book-qa",
    revision=OPENBOOKQA_SPLIT.revision,
    kind="commonsense",
    options="4",
    scoring="cloze-norm",
    load=OPENBOOKQA_SPLIT.load,
    cloze="{question}",
    demonstrations=_examples(
        "openbookqa", "openbookqa/main", "07155b012c9420605fc5677a589ba673f3aa9122c5e8408f5c3f0f320b88690f"
    ).load,
    items=500,
)
