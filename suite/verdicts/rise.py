"""How steep the rise along a curve is, in figures instead of a label: docs/collapse.md, "How steep it is".

The values stand at the nominal amounts of their levels (bits, percent zeros) and are joined by straight lines; M is
the running maximum of that line, from dense on. Two figures describe M between dense and its highest value, R higher:

- the *steepest share*: the largest rise of M within one bit, or ten percent zeros, over R;
- the *width*: the way from where M has risen by R/4 to where it has risen by 3R/4.

Levels that are put between others on the straight line change neither, so the description does not depend on how dense
the list of levels is where the curve is straight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suite.arrays import Bools, Floats
from suite.verdicts.axis import BITS, ZEROS, nominal_amounts

SPANS = {BITS: 1.0, ZEROS: 10.0}
"""Within what a rise counts as steep, by axis."""

GRID = 16
"""Points of the line a span."""


@dataclass(frozen=True)
class Rise:
    """The shape of a rise; a value that is not known is None, with the reason in `note`.

    Attributes:
        axis: ``bits`` or ``percent zeros``; empty where the levels have none.
        share: of the whole rise, the largest part within one span of the axis or between dense and the first level.
        share_low, share_high: its 95 % interval.
        width: of the middle half of the rise, in units of the axis.
        width_low, width_high: its 95 % interval, the lower end alone where the width is not known; no upper end where a
            quarter of the rise may lie before the first level.
        note: why something is missing.
    """

    axis: str = ""
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    width: float | None = None
    width_low: float | None = None
    width_high: float | None = None
    note: str = ""

    @property
    def span(self) -> float | None:
        """Within what the share is counted, in units of the axis."""
        return SPANS.get(self.axis)


def describe_rise(
    names: tuple[str, ...], values: Floats, replicates: Floats, *, level: float = 0.05, least_error: float = 0.0
) -> Rise:
    """The shape of one curve.

    Args:
        names: variant of each level, dense first.
        values: higher is worse, shape [levels].
        replicates: joint over levels, shape [levels, replicates].
        level: at which a rise must be shown (one-sided, Bonferroni over levels).
        least_error: see `suite.verdicts.collapse.Curve`.

    >>> values = np.array([0.40, 0.41, 0.41, 0.80])
    >>> noise = np.random.default_rng(0).normal(0, 0.002, (4, 999))
    >>> found = describe_rise(("dense", "rtn-w5", "rtn-w4", "rtn-w3"), values, values[:, None] + noise)
    >>> round(found.share, 3), round(found.width, 2), found.axis
    (0.975, 0.51, 'bits')
    """
    amounts, axis = nominal_amounts(names[1:])
    if amounts is None or len(amounts) < 2:
        return Rise(note="the levels have no common axis, or are one")
    places = np.abs(amounts - amounts[0])
    if (np.diff(places) <= 0).any():
        return Rise(note="two levels have the same nominal amount")
    usable = np.isfinite(replicates).all(axis=0)
    if not np.isfinite(values).all() or usable.sum() < 100:
        return Rise(axis, note="a level has no value, or too few bootstrap replicates")
    replicates = replicates[:, usable]
    p = rises(values, replicates, least_error)
    if p >= level:
        return Rise(axis, note=f"no rise is shown (p = {p:.2g})")
    shares, widths, earlies = _shape(np.column_stack([values, replicates]), places, SPANS[axis])
    known, bounded = not earlies[0], float(earlies[1:].mean()) <= 0.025
    share, width = float(shares[0]), float(widths[0])
    (low, high), (narrow, wide) = (np.nanquantile(one[1:], [0.025, 0.975]) for one in (shares, widths))
    return Rise(
        axis,
        share=share,
        share_low=min(float(low), share),
        share_high=max(float(high), share),
        width=width if known else None,
        width_low=min(float(narrow), width),
        width_high=max(float(wide), width) if known and bounded else None,
        note="" if known else "a quarter of the rise lies between dense and the first level",
    )


def rises(values: Floats, replicates: Floats, least_error: float = 0.0) -> float:
    """p-value of "no level is worse than dense": one-sided normal tests, Bonferroni over levels.

    Args:
        values: higher is worse, dense first, shape [levels].
        replicates: joint over levels, all finite, shape [levels, replicates].
        least_error: the smallest standard error that a difference of two levels can have.

    >>> values = np.array([0.0, 0.1])
    >>> round(rises(values, values[:, None] + np.array([[0.0, 0.0, 0.0], [-0.1, 0.0, 0.1]])), 4)
    0.1587
    """
    from scipy.special import ndtr

    errors = np.maximum((replicates[1:] - replicates[0]).std(axis=1, ddof=1), max(least_error, 1e-12))
    return float(min(1.0, len(errors) * ndtr(-(values[1:] - values[0]) / errors).min()))


def _shape(curves: Floats, places: Floats, span: float) -> tuple[Floats, Floats, Bools]:
    """Steepest share and width of curves, and whether a quarter of the rise lies before the first level.

    Args:
        curves: dense first, shape [levels, curves]; not a number where a curve never rises.
        places: of the compressed levels, from 0, shape [levels - 1].
    """
    grid = np.unique(np.r_[places, np.arange(0.0, places[-1], span / GRID)])
    weights = np.stack([np.interp(grid, places, one) for one in np.eye(len(places))], axis=1)
    line = np.maximum.accumulate(np.vstack([curves[:1], weights @ curves[1:]]), axis=0)
    risen = line - line[0]
    whole = np.where(risen[-1] > 0, risen[-1], np.nan)
    risen = risen / whole
    before = np.stack([np.interp(np.maximum(grid - span, 0.0), grid, one) for one in np.eye(len(grid))], axis=1)
    along = risen[1:]
    share = np.maximum((along - before @ along).max(axis=0), along[0])
    quarter, three = (_crossing(grid, along, part) for part in (0.25, 0.75))
    return share, np.where(np.isnan(whole), np.nan, three - quarter), along[0] >= 0.25


def _crossing(grid: Floats, along: Floats, part: float) -> Floats:
    """Where each rising line reaches a part of its rise."""
    reached = along >= part
    at = np.where(reached.any(axis=0), reached.argmax(axis=0), len(grid) - 1)
    last = np.maximum(at - 1, 0)
    columns = np.arange(along.shape[1])
    low, high = along[last, columns], along[at, columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high > low, (part - low) / (high - low), 1.0)
    return np.asarray(grid[last] + np.clip(share, 0.0, 1.0) * (grid[at] - grid[last]))
