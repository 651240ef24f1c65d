"""Batches: which items go through the model together."""

from __future__ import annotations

from collections.abc import Sequence


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group items of similar length under a budget of padded tokens.

    The grouping depends on the lengths and the budget alone: whatever was already scored, an item meets the same
    neighbours, so an interrupted run ends with the same numbers.

    Args:
        lengths: tokens of each item.
        budget: the longest length of a batch times its item count stays at or below this, but for single items.

    Returns:
        Lists of item indices, longest items first, every index once.

    >>> batches([3, 9, 4, 8], budget=18)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    grouped: list[list[int]] = []
    for index in order:
        # the first item of a batch is its longest
        if grouped and lengths[grouped[-1][0]] * (len(grouped[-1]) + 1) <= budget:
            grouped[-1].append(index)
        else:
            grouped.append([index])
    return grouped
