"""What is asked of a model, counted."""

from __future__ import annotations

import pytest

from suite.score.transformers import engine


def counted_items(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each forward pass takes from now on, pass by pass."""
    read, seen = engine.log_likelihoods, []

    def counted(network: object, items: list[object], **options: object) -> object:
        seen.append(len(items))
        return read(network, items, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "log_likelihoods", counted)
    return seen
