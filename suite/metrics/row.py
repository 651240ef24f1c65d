"""A row: everything that is said of one cell, flat and JSON-safe. Fractions, never percent.

What cannot be computed is None, with the reason under ``notes``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict, cast

from suite.metrics.figures import COMPUTED_KEYS, INTERVAL_KEYS, ROW_KEYS, interval_columns
from suite.metrics.measure import Figures, interval_of


class Row(TypedDict):
    """What the cell says and what it was measured under. The figures stand beside these keys, named and ordered as in
    `suite.metrics.figures.ROW_KEYS`: numbers or None, read by `number`.
    """

    model: str
    variant: str
    family: str
    method: str
    task: str
    scoring: str
    prompt: str
    shots: int
    chat_template: str
    protocol: str
    alpha: float
    n: int
    n_evaluated: int
    params_b: float | None
    kind: str
    bits_per_weight: float | None
    megabytes: float | None
    sparsity: float | None
    relative_weight_error: float | None
    share_touched: float | None
    drift_largest: float | None
    drift_changed_answers: float | None
    chance_accuracy: float
    set_size_chance: float
    n_paired: int
    flags: list[str]
    notes: dict[str, str]


def number(row: Mapping[str, object], key: str) -> float | None:
    """The value under `key` as a float; None where it is absent, null, not finite or no number."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


@dataclass
class Draft:
    """A row while it is being filled.

    Attributes:
        values: by key.
        notes: by key, why there is no value, or what a reader must know of it.
    """

    values: dict[str, object]
    notes: dict[str, str] = field(default_factory=dict)

    def fill(self, figures: Figures) -> None:
        """Values, intervals and reasons of measured figures."""
        for key, value in figures.points.items():
            self._put(key, value, figures)
        for key, reason in figures.notes.items():
            self.leave_out([key], reason)

    def leave_out(self, keys: Iterable[str], reason: str) -> None:
        """No value, and no interval."""
        for key in keys:
            self.values[key] = None
            self.notes[key] = reason
            if key in INTERVAL_KEYS:
                self.values.update(dict.fromkeys(interval_columns(key)))

    def row(self, flags: list[str], *, missing: str) -> Row:
        """The row with every key, in order; `missing` is the reason for what was neither filled nor left out."""
        self.notes |= dict.fromkeys((key for key in COMPUTED_KEYS if key not in self.values), missing)
        values = self.values | {"flags": flags, "notes": self.notes}
        return cast(Row, {key: values.get(key) for key in ROW_KEYS})

    def _put(self, key: str, value: float, figures: Figures) -> None:
        if not math.isfinite(value):
            self.values[key] = None
            self.notes[key] = "not finite"
            return
        self.values[key] = value
        if key not in INTERVAL_KEYS:
            return
        low, high, reason = interval_of(figures, key)
        known = math.isfinite(low) and math.isfinite(high)
        self.values.update(zip(interval_columns(key), (low, high) if known else (None, None), strict=True))
        if not known:
            self.notes[f"{key}_low"] = reason
