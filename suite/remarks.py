"""What a reader of a cell's figures has to know of the numbers they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell

SMALLEST = 1e-4
"""Deviation of a sum from 1 that says nothing: float32 arithmetic, and then some."""

ONE_SIDED = 0.02
"""Mean deviation beyond which sums that are off to one side are no rounding, however coarse the numbers are."""


def remarks(cell: Cell) -> dict[str, str]:
    """Notes for the cell's row, by a word for what they are about; empty for nearly every cell.

    ``probabilities``: that they do not sum to one. ``run``: what the run that made the cell, or the import, says of it.
    ``checkpoint``: what of the model's files was left out. ``weights``: which matrices a compression left as they were,
    and what does not count among them.
    """
    found = {}
    if said := _sums(cell):
        found["probabilities"] = said
    if notes := cell.run.get("notes"):
        found["run"] = "; ".join(map(str, notes))
    made_of = cell.variant.get("checkpoint")
    told = (cell.model, made_of if isinstance(made_of, dict) else {})
    if unread := [str(note) for one in told for note in one.get("notes") or ()]:
        found["checkpoint"] = "; ".join(unread)
    unchanged, aside = [_left(entry) for entry in untouched(cell)], cell.variant.get("left_out")
    weights = [f"unchanged: {'; '.join(unchanged)}"] if unchanged else []
    if isinstance(aside, list) and aside:
        weights.append(f"not counted: {', '.join(map(str, aside))}")
    if weights:
        found["weights"] = ". ".join(weights)
    return found


def untouched(cell: Cell) -> list[Mapping[str, Any]]:
    """What a compression left as it was, as `suite.compress.touched` recorded it."""
    held = cell.variant.get("untouched")
    return [entry for entry in held if isinstance(entry, Mapping)] if isinstance(held, list) else []


def _left(entry: Mapping[str, Any]) -> str:
    share, reason = entry.get("share"), entry.get("reason")
    known = f"{share:.3f} of the weights" if isinstance(share, int | float) else "an unknown share"
    return f"{entry.get('names')} ({known}{f', {reason}' if reason else ''})"


def _sums(cell: Cell) -> str:
    """That probabilities do not sum to one by more than the rounding of these very numbers explains; else ""."""
    if cell.kind != "probs":
        return ""
    values = np.where(cell.valid, cell.scores, 0).astype(np.float64)
    sums = values.sum(axis=1)
    away = np.abs(sums - 1)
    if away.max() <= SMALLEST:
        return ""
    off = away > _rounding(cell, values)
    # what rounding does to many items averages out
    if abs((sums - 1).mean()) > max(ONE_SIDED, away.max() / np.sqrt(len(cell))):
        off = away > SMALLEST
    if not off.any():
        return ""
    return (
        f"the probabilities of {int(off.sum())} of {len(cell)} items do not sum to 1 (they sum to between "
        f"{sums[off].min():.4g} and {sums[off].max():.4g}, {away[off].max():.4g} away at most); each was divided by "
        "its item's sum"
    )


def _rounding(cell: Cell, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each item's sum can be from 1 because its numbers are rounded, shape [n].

    The grid is the coarsest that every number of the cell stands on: decimals, significant digits, bfloat16 or float16.
    """
    numbers = cell.scores[cell.valid]
    digits, decimals = 2, 2  # nobody rounds probabilities to tenths
    for number in np.unique(numbers[numbers > 0]):
        mantissa, _, exponent = np.format_float_scientific(number, unique=True, trim="-").partition("e")
        places = len(mantissa.replace(".", ""))
        digits, decimals = max(digits, places), max(decimals, places - 1 - int(exponent))
        if min(digits, decimals) > 6:
            break
    by_decimals = 0.5 * 10.0**-decimals * cell.n_options
    leading = np.floor(np.log10(values, out=np.zeros_like(values), where=values > 0))
    by_digits = np.where(values > 0, 0.5 * 10.0 ** (leading - digits + 1), 0).sum(axis=1)
    halves = SMALLEST
    if not (numbers.view(np.uint32) & 0xFFFF).any():
        halves = 2.0**-8  # bfloat16
    elif np.array_equal(numbers, numbers.astype(np.float16).astype(np.float32)):
        halves = 2.0**-11
    return np.asarray(np.maximum(np.maximum(by_decimals, by_digits), halves))
