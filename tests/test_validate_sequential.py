"""The study of decisions on few items plants what it says; its tables go where the document has a place for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.studies import validate_sequential


def test_planted_answers_flip_and_lose_as_often_as_asked() -> None:
    found = validate_sequential.planted(40000, 0.2, 0.05, np.random.default_rng(0))
    change = found.compressed["accuracy"] - found.dense["accuracy"]
    assert change.mean() == pytest.approx(0.05, abs=0.01)
    assert np.abs(change).mean() == pytest.approx(0.2, abs=0.01)
    assert found.dense["accuracy"].mean() == pytest.approx(0.3, abs=0.01)


def test_tables_stand_between_their_marks(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("a\n<!-- edge errors -->\nold\n<!-- /edge errors -->\nb\n", encoding="utf-8")
    assert validate_sequential.main(["--draws", "2", "--only", "edge errors", "--document", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.startswith("a\n")
    assert text.endswith("b\n")
    assert text.count("wrong accept") == text.count("wrong reject") == len(validate_sequential.LIMITS)
    with pytest.raises(SystemExit, match="items to accept"):
        validate_sequential.main(["--draws", "3", "--only", "items to accept", "--document", str(file)])
