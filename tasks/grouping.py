"""Which items of a task belong together: they share a passage, a source or a template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from suite.task import Question

OPENING = 80


def opening(text: str) -> str:
    """The first `OPENING` characters, runs of white space collapsed.

    Items whose stems start with the same 80 characters continue one passage or fill in one template; stems that are
    shorter must be identical to be equal here.
    """
    return " ".join(text.split())[:OPENING]


def with_groups(questions: Sequence[Question], keys: Sequence[Sequence[str]]) -> tuple[Question, ...]:
    """The questions with `group` set: items are together when they share a key, directly or through other items.

    The group is named for its first item. An item alone has no group.

    Args:
        keys: for each question, the names of what it shares (empty: nothing).
    """
    parent = list(range(len(questions)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    for index, names in enumerate(keys):
        for name in names:
            a, b = root(first.setdefault(name, index)), root(index)
            parent[max(a, b)] = min(a, b)
    roots = [root(index) for index in range(len(questions))]
    sizes = Counter(roots)
    return tuple(
        replace(item, group=questions[top].id) if sizes[top] > 1 else item
        for item, top in zip(questions, roots, strict=True)
    )
