"""How much dense loses against itself when it is computed otherwise: what another variant must exceed.

A null variant (`dense@float32`, `dense@bfloat16`, `dense@repeat`) is dense with other arithmetic, so that its loss is
noise, of either sign. The floor is an upper bound, at the confidence, of the size of the larger one's loss:

    floor = max over null variants of max(high, -low),

with the one-sided bounds of docs/dose.md. Whatever the sign of the true loss, only one of the two bounds can miss it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from suite.verdicts.dose import Ladder, find_doses


@dataclass(frozen=True)
class Floor:
    """What must be exceeded.

    Attributes:
        loss: share of the headroom; infinite where it has no bound, None without null variant or headroom.
        coverage: the same of a change of coverage, where a measure has a band of it; else 0.
        notes: what stood in the way.
    """

    loss: float | None
    coverage: float = 0.0
    notes: tuple[str, ...] = ()


def noise_floor(nulls: Mapping[str, Ladder], *, smallest: float, confidence: float) -> Floor:
    """The floor of a metric on one task, or on an average.

    Args:
        nulls: by null variant, dense and it alone as a curve.
        smallest: tolerance; a floor above it is not known where the loss behind it may be none.
        confidence: of the bound.
    """
    found: dict[str, tuple[float, bool]] = {}
    for name, ladder in nulls.items():
        level = find_doses(ladder, tolerances=(smallest,), confidence=confidence, tied=True)[smallest].levels[0]
        if level.loss is None:
            return Floor(None)
        low = -np.inf if level.low is None else level.low
        high = np.inf if level.high is None else level.high
        size = max(high, -low)
        found[name] = size, 2 * abs(level.loss) <= size  # zero is as near as the bound
    if not found:
        return Floor(None)
    name = max(found, key=lambda one: found[one][0])
    loss, may_be_none = found[name]
    notes: tuple[str, ...] = ()
    if loss > smallest and may_be_none:
        said = f"{loss:.3f}" if np.isfinite(loss) else "anything"
        items = nulls[name].independent
        notes = (f"floor not known at {items} items: {name} may have lost nothing, or up to {said}",)
    elif loss > smallest:
        notes = (f"noise above the smallest tolerance: {name} may have lost up to {loss:.3f}",)
    return Floor(loss, max(_coverage(ladder, confidence) for ladder in nulls.values()), notes)


def _coverage(ladder: Ladder, confidence: float) -> float:
    from scipy.special import stdtrit

    if ladder.band is None:
        return 0.0
    change = float(ladder.band.values[1] - ladder.band.values[0])
    error = float(np.nanstd(ladder.band.replicates[1] - ladder.band.replicates[0], ddof=1))
    return abs(change) + float(stdtrit(ladder.degrees, confidence)) * error
