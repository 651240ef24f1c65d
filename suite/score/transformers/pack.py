"""Batches: which items go through the model together, and which start of their context they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suite.score.transformers.encode import Encoded

# Sharing pays when it spares the model at least this many tokens: a small group alone fills no batch.
_SHARED_START = 32
_WORTHWHILE = 512
_SPREAD = 0.8


@dataclass(frozen=True)
class Batch:
    """Items that go through the model together.

    Attributes:
        items: their indices.
        shared: leading context tokens that all of them have in common and that were forwarded before; empty for none.
        alone: whether each of their sequences goes through the model by itself.
    """

    items: tuple[int, ...]
    shared: tuple[int, ...] = ()
    alone: bool = False


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group items of similar length under a budget of padded tokens.

    The grouping depends on the lengths and the budget alone: whatever was already scored, an item meets the same
    neighbours, so an interrupted run ends with the same numbers. A batch that has used a quarter of the budget takes no
    item shorter than 0.8 of its longest, which keeps padding low.

    Args:
        lengths: tokens of each item.
        budget: the longest length of a batch times its item count stays at or below this, but for single items.

    Returns:
        Lists of item indices, longest items first, every index once.

    >>> batches([8, 9, 8, 3], budget=18)
    [[1, 0], [2], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    grouped: list[list[int]] = []
    for index in order:
        if grouped:
            # the first item of a batch is its longest
            longest, count = lengths[grouped[-1][0]], len(grouped[-1])
            alike = lengths[index] >= _SPREAD * longest or longest * count < budget / 4
            if alike and longest * (count + 1) <= budget:
                grouped[-1].append(index)
                continue
        grouped.append([index])
    return grouped


def shared_starts(items: Sequence[Encoded]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Items sorted into groups by the start of their contexts, with the tokens each group shares.

    Instructions and worked examples make long common starts; forwarding them once for each group spares the rest.

    Returns:
        (shared tokens, item indices) in order of first appearance; items that share nothing worthwhile come together
        under the empty start. At least one context token of every item lies behind the shared ones.
    """
    by_start: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(items):
        by_start.setdefault(item.prefix[:_SHARED_START], []).append(index)
    groups: list[tuple[tuple[int, ...], list[int]]] = []
    alone: list[int] = []
    for members in by_start.values():
        first, last = min(items[i].prefix for i in members), max(items[i].prefix for i in members)
        limit = min(len(items[i].prefix) for i in members) - 1
        # of sorted sequences, the first and the last share what all share
        length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), limit)
        length = min(length, limit)
        if length >= _SHARED_START and length * (len(members) - 1) >= _WORTHWHILE:
            groups.append((first[:length], members))
        else:
            alone.extend(members)
    return [((), sorted(alone)), *groups] if alone else groups


def plan_batches(
    items: Sequence[Encoded], *, backend: str, budget: int, sharing: bool = True, limit: int | None = None
) -> list[Batch]:
    """All batches of a cell, in the order they are run; every item once.

    Args:
        backend: ``tree`` puts an item's options into one row; elsewhere every option gets its own copy of the context.
        sharing: under ``tree``, whether common starts are forwarded once.
        limit: items with more tokens in a row than this come last, each in a batch of its own, `alone`.
    """
    rows = [_tokens_in_row(item, backend) for item in items]
    long = [index for index, tokens in enumerate(rows) if limit is not None and tokens > limit]
    apart = set(long)
    fitting = [index for index in range(len(items)) if index not in apart]
    return [*_batches(items, fitting, backend, budget, sharing), *(Batch((index,), alone=True) for index in long)]


def _batches(items: Sequence[Encoded], members: Sequence[int], backend: str, budget: int, sharing: bool) -> list[Batch]:
    if backend != "tree":
        lengths = [
            len(items[index].branches)
            * (len(items[index].prefix) + max(len(branch) for branch in items[index].branches))
            for index in members
        ]
        return [Batch(tuple(members[i] for i in group)) for group in batches(lengths, budget)]
    chosen = [items[index] for index in members]
    found: list[Batch] = []
    for shared, places in shared_starts(chosen) if sharing else [((), list(range(len(chosen))))]:
        lengths = [chosen[place].forwarded - len(shared) for place in places]
        groups = batches(lengths, budget)
        found += [Batch(tuple(members[places[i]] for i in group), shared) for group in groups]
    return found


def _tokens_in_row(item: Encoded, backend: str) -> int:
    if backend == "tree":
        return item.forwarded
    return len(item.prefix) + max(len(branch) for branch in item.branches) - 1


def forwarded_tokens(items: Sequence[Encoded], planned: Sequence[Batch], *, backend: str, letters: bool = False) -> int:
    """Tokens that go through the model in these batches, padding aside.

    Args:
        letters: options are read behind one and the same context, which then goes through once.
    """
    apart = [batch for batch in planned if backend != "tree" or batch.alone]
    rest = [batch for batch in planned if backend == "tree" and not batch.alone]
    copied = sum(
        len(items[index].prefix) + len(branch) - 1
        for batch in apart
        for index in batch.items
        for branch in items[index].branches[: 1 if letters else None]
    )
    own = sum(items[index].forwarded - len(batch.shared) for batch in rest for index in batch.items)
    return copied + own + sum(len(shared) for shared in {batch.shared for batch in rest})
