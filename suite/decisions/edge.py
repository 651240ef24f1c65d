"""Parts of a task that a policy limits by themselves, fixed without either of the two models that are compared.

Items on which dense itself is least sure hide damage: chosen for its low confidence, they would get better in any other
model. So ``edge`` is where *other* models of the run are least sure; other parts are slices and subjects that the items
carry.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.measure import Scored
from suite.metrics.sample import Samples
from suite.metrics.slices import EDGE, EDGE_SHARE, item_parts


def evaluated_ids(cell: Cell, protocol: Protocol) -> list[str]:
    """Ids of the items that figures are computed on, in the order of `suite.metrics.rows.Measured.correct`."""
    sample = Samples(protocol).of(cell)
    return [sample.ids[row] for row in sample.evaluated]


def part_rows(cell: Cell, part: str, protocol: Protocol, *, others: Sequence[Cell] = ()) -> tuple[Numbers, str]:
    """Which evaluated items belong to a part, and why none does.

    Args:
        cell: dense.
        part: ``edge``, ``subject:<name>``, or a slice that items carry.
        others: dense cells of other models on the same task, for ``edge``.
    """
    ids, nothing = evaluated_ids(cell, protocol), np.empty(0, dtype=np.intp)
    if part == EDGE:
        wanted = _least_sure(ids, others, protocol)
        why = "the run has no other model that could say which items are hardest"
    else:
        wanted = {name for row, name in enumerate(cell.ids) if part in item_parts(cell, row)}
        why = f"no item is in {part!r}"
    rows = np.array([row for row, name in enumerate(ids) if name in wanted], dtype=np.intp)
    return (rows, "") if len(rows) else (nothing, why)


def _least_sure(ids: Sequence[str], others: Sequence[Cell], protocol: Protocol) -> set[str]:
    """The share `EDGE_SHARE` of the items with the lowest mean rank of confidence; equal ones go by their ids."""
    shared = set(ids).intersection(*(other.ids for other in others)) if others else set()
    names = sorted(shared)
    ranks = np.zeros(len(names))
    for other in others:
        sample = Samples(protocol).of(other)
        sure = dict(zip(sample.ids, Scored(other, sample).confidence.tolist(), strict=True))
        ranks += _mean_ranks(np.array([sure[name] for name in names]))
    order = np.argsort(ranks, kind="stable")
    return {names[place] for place in order[: int(len(names) * EDGE_SHARE)]}


def _mean_ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs. As scipy.stats.rankdata, which takes longer to load than
    a policy takes to decide."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])
