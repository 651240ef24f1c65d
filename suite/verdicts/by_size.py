"""Models in the order in which readers compare them: by size."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from suite.grouped import grouped
from suite.metrics.row import number
from suite.metrics.rows import Measured


def size_places(measured: Sequence[Measured]) -> dict[str, int]:
    """Place of each model: fewest parameters first, unknown counts last, models of one size by name.

    The smallest count that any cell of a model records is its size, as in the tables (`suite.publish.order`).
    """
    models = grouped(measured, lambda one: one.cell.key.model)
    counts = {name: [number(one.row, "params_b") for one in members] for name, members in models.items()}
    sizes = {name: min((count for count in known if count is not None), default=inf) for name, known in counts.items()}
    ordered = sorted(sizes, key=lambda name: (sizes[name], name))
    return {name: place for place, name in enumerate(ordered)}
