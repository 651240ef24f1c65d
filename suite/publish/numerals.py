"""Numbers as text. Every rounding that a reader meets is stated here and nowhere else."""

from __future__ import annotations

import math

from suite.metrics.average import Average
from suite.metrics.figures import FIGURES
from suite.publish.fields import Fields
from suite.publish.macro import average_of

MISSING = "–"
DEFAULT_PLACES = 3
SIGNIFICANT = 6


def places(key: str) -> int:
    """Decimals shown of a figure, or of another number under a key."""
    return FIGURES[key].places if key in FIGURES else DEFAULT_PLACES


def fixed(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number with fixed decimals and a true minus sign; a dash where there is none.

    >>> fixed(0.47449, 3), fixed(-0.0001, 2, signed=True), fixed(-0.25, 2), fixed(None, 3)
    ('0.474', '0.00', '−0.25', '–')
    """
    if value is None:
        return MISSING
    shown = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if float(shown) == 0:
        shown = shown.lstrip("+-")
    return shown.replace("-", "−")


def interval(low: float | None, high: float | None, decimals: int, *, signed: bool = False) -> str:
    """An interval in brackets, empty text where one end is missing.

    >>> interval(0.43, 0.5204, 3)
    '[0.430, 0.520]'
    """
    if low is None or high is None:
        return ""
    return f"[{fixed(low, decimals, signed=signed)}, {fixed(high, decimals, signed=signed)}]"


def with_interval(
    value: float | None, low: float | None, high: float | None, decimals: int, *, signed: bool = False
) -> str:
    """A number and behind it its interval, where it has one.

    >>> with_interval(0.25, 0.2, 0.3, 2, signed=True), with_interval(0.25, None, None, 2)
    ('+0.25 [+0.20, +0.30]', '0.25')
    """
    return f"{fixed(value, decimals, signed=signed)} {interval(low, high, decimals, signed=signed)}".strip()


def estimate(row: Fields, key: str) -> str:
    """A metric of a row with its interval, where it has one; changes with their sign.

    >>> estimate({"accuracy": 0.475, "accuracy_low": 0.43, "accuracy_high": 0.52}, "accuracy")
    '0.475 [0.430, 0.520]'
    """
    found = average_of(row, key)
    return MISSING if found.value is None else average_words(found, key)


def average_words(average: Average, key: str) -> str:
    """An average of a metric with its interval, where it has one; changes with their sign.

    >>> average_words(Average(0.25, 0.2, 0.3), "set_size_change"), average_words(Average(None), "nll")
    ('+0.25 [+0.20, +0.30]', '–')
    """
    signed = key.endswith("_change")
    return with_interval(average.value, average.low, average.high, places(key), signed=signed)


def parameters(billions: float | None) -> str:
    """A parameter count to three significant digits.

    >>> parameters(0.134515), parameters(7.24), parameters(0.9999), parameters(None)
    ('135M', '7.24B', '1B', '–')
    """
    if billions is None or billions <= 0:
        return MISSING
    rounded = significant(billions, 3)
    for unit, size in (("B", 1.0), ("M", 1e-3), ("K", 1e-6)):
        if rounded >= size:
            return f"{significant(rounded / size, 3):g}{unit}"
    return f"{rounded * 1e9:.0f}"


def significant(value: float, digits: int = SIGNIFICANT) -> float:
    """A number rounded to significant digits, half to even on the exact binary value: rounding twice changes nothing.

    >>> significant(0.123456789), significant(1234567.0)
    (0.123457, 1234570.0)
    """
    return float(f"{value:.{digits}g}") + 0.0  # no negative zero


def rounded(row: Fields) -> dict[str, object]:
    """A row as it is published: floats to 6 significant digits, None for one that is not finite.

    Tables, pictures and sentences are made from such rows, so that whoever makes them again from rows.csv or
    rows.parquet gets the same ones.

    >>> rounded({"accuracy": 1 / 3, "n": 3, "task": "sciq", "nll": float("inf")})
    {'accuracy': 0.333333, 'n': 3, 'task': 'sciq', 'nll': None}
    """
    return {key: published(value) if isinstance(value, float) else value for key, value in row.items()}


def published(value: float | None) -> float | None:
    """A number as tables for programs hold it: `SIGNIFICANT` digits; None for one that is not finite."""
    return None if value is None or not math.isfinite(value) else significant(value)
