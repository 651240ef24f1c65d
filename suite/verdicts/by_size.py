"""Models in the order in which readers compare them: by size."""

from __future__ import annotations

from collections.abc import Sequence

from suite.metrics.rows import Measured


def size_places(measured: Sequence[Measured]) -> dict[str, int]:
    """Place of each model: fewest parameters first, unknown counts last, models of one size by name.

    The smallest count that any cell of a model records is its size, as in the tables (`suite.publish.order`).
    """
    sizes: dict[str, float | None] = {}
    for one in measured:
        name, size = str(one.cell.model["name"]), one.row["params_b"]
        known = sizes.get(name)
        if isinstance(size, float):
            sizes[name] = size if known is None else min(size, known)
        else:
            sizes.setdefault(name, None)
    ordered = sorted(sizes, key=lambda name: (sizes[name] is None, sizes[name] or 0.0, name))
    return {name: place for place, name in enumerate(ordered)}
