"""Dose records of invented curves, as `suite dose --json` prints them, made of nothing but the states that they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHARES = (0.05, 0.10, 0.25)


def curve(
    model: str,
    method: str,
    levels: Sequence[str],
    states: str,
    *,
    metric: str = "brier_ts",
    task: str = "macro",
    dose: tuple[float | None, float | None, float | None] = (None, None, None),
    **other: Any,
) -> list[dict[str, Any]]:
    """One curve and metric at every tolerance.

    Args:
        states: a letter a level, of ``kept``, ``worse``, ``lost`` and ``not known``: ``"kwln"``.
        dose: with its interval.
        other: keys that differ from what follows from the states.
    """
    words = {"k": "kept", "w": "worse", "l": "lost", "n": "not_known"}
    found = [words[letter] for letter in states]
    kept = [name for name, state in zip(levels, found, strict=True) if state == "kept"]
    lost = [name for name, state in zip(levels, found, strict=True) if state == "lost"]
    value, low, high = dose
    return [
        {
            "model": model,
            "method": method,
            "task": task,
            "metric": metric,
            "tolerance": share,
            "kept_through": kept[-1] if kept else None,
            "lost_from": lost[0] if lost else None,
            "not_known": [name for name, state in zip(levels, found, strict=True) if state == "not_known"],
            "items_to_decide": {},
            "dose": value,
            "dose_low": low,
            "dose_high": high,
            "dose_bound": None,
            "levels": [
                {
                    "variant": name,
                    "loss": 0.1 * place,
                    "low": 0.1 * place - 0.02,
                    "high": 0.1 * place + 0.02,
                    "state": state,
                    "holm": None,
                }
                for place, (name, state) in enumerate(zip(levels, found, strict=True))
            ],
            "kept_on_every_task": None,
            "lost_on_a_task": None,
            "scope": "checkpoint",
            "notes": [],
            **other,
        }
        for share in SHARES
    ]
