"""TruthfulQA MC1: questions that many people answer falsely; one option is true. From a file the user fetches."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from suite.errors import SuiteError
from suite.task import MAX_OPTIONS, Question, Task, check_question, content_hash
from suite.tasks.external import Place, check_different, find, questions
from suite.tasks.grouping import opening

SHUFFLE_SEED = 0
PLACE = Place(
    ("truthfulqa_mc1.jsonl", "mc_task.json", "validation-00000-of-00001.parquet"),
    "data/mc_task.json from github.com/sylinrl/TruthfulQA",
)


def load() -> tuple[Question, ...]:
    """790 questions (817 in the data's first version) with 2 to 13 options, in the file's order; the id is the row.

    The data puts the true option first; a model that likes A would look truthful. Options are shuffled by a draw from
    the item's id and `SHUFFLE_SEED`, which the revision records. An empty false option (one item has one) is left out.

    Raises:
        SuiteError: no file, or bad data with its line.
    """
    return questions(_question, find("truthfulqa-mc1", PLACE))


def _question(record: Mapping[str, Any], row: int, where: str) -> tuple[Question, str]:
    """JSONL with ``choices`` and ``answer_index``, or the authors' ``mc1_targets``."""
    choices, answer = _options(record, where)
    check_different(choices, where)
    identifier = f"truthfulqa-mc1/{row}"
    item = check_question(Question(identifier, str(record.get("question") or ""), tuple(choices), answer), where)
    order = shuffled(identifier, len(choices))
    mixed = replace(item, choices=tuple(choices[old] for old in order), answer=order.index(answer))
    return mixed, opening(item.question)


def _options(record: Mapping[str, Any], where: str) -> tuple[list[str], int]:
    targets = record.get("mc1_targets")
    if targets is None:
        choices, answer = record.get("choices"), record.get("answer_index")
        labels = [index == answer for index in range(len(choices))] if isinstance(choices, list) else []
    elif isinstance(targets, Mapping) and "choices" in targets:
        given = targets.get("labels")
        choices, labels = targets["choices"], [label == 1 for label in given] if isinstance(given, list) else []
    elif isinstance(targets, dict):
        choices, labels = list(targets), [truth == 1 for truth in targets.values()]
    else:
        choices, labels = None, []
    if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
        raise SuiteError(f"{where}: 'choices' or 'mc1_targets' must give a list of texts")
    if len(labels) != len(choices) or sum(labels) != 1:
        raise SuiteError(f"{where}: {sum(labels)} of the {len(choices)} options are marked true; exactly one must be")
    true = choices[labels.index(True)]
    choices = [text for text in choices if text.strip() or text == true]
    if not 2 <= len(choices) <= MAX_OPTIONS:
        raise SuiteError(f"{where}: {len(choices)} options; 2 to {MAX_OPTIONS} can be scored")
    return choices, choices.index(true)


def shuffled(identifier: str, count: int) -> list[int]:
    """The order in which an item's options are shown: old positions, by new position.

    >>> sorted(shuffled("truthfulqa-mc1/0", 4))
    [0, 1, 2, 3]
    """
    order = list(range(count))
    random.Random(hashlib.sha256(f"{SHUFFLE_SEED}\0{identifier}".encode()).digest()).shuffle(order)
    return order


TASK = Task(
    name="truthfulqa-mc1",
    title="TruthfulQA, single true option (MC1)",
    paper="arXiv:2109.07958",
    licence="Apache-2.0",
    source="https://github.com/sylinrl/TruthfulQA",
    revision="sha256 of the items, known once the file is there",
    kind="truthfulness",
    options="2-13",
    scoring="cloze-norm",
    load=load,
    cloze="Q: {question}\nA:",
    items=790,
    needs=PLACE.fetch,
    locate=lambda: f"shuffle-seed={SHUFFLE_SEED}@{content_hash(load())}",
)
