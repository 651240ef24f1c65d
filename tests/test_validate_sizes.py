"""The study of size comparisons counts intervals that leave the truth out, and writes its table from the counts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from scripts.studies import validate_sizes
from scripts.studies.tallies import Tally, write_tallies
from scripts.studies.validate_dose import Truth
from scripts.studies.validate_sizes import METRICS, VERSION, count, main, title

NOISE = 1.5


def levels(smaller: float, larger: float) -> dict[str, Truth]:
    """Two models in as much noise that are said to have lost these shares."""
    return {
        name: Truth(NOISE, 0.0, dict.fromkeys(METRICS, loss), {})
        for name, loss in zip(validate_sizes.MODELS, (smaller, larger), strict=True)
    }


def test_intervals_are_held_against_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = dict.fromkeys(validate_sizes.MODELS, validate_sizes.MODELS["made-1.5b"])
    monkeypatch.setattr(validate_sizes, "MODELS", alike)
    drawn = (100, 0.25, range(2))
    # the same model twice: no interval leaves a difference of zero out, every one leaves out a large one
    assert count((*drawn[:2], levels(0.3, 0.3), drawn[2])) == {f"{metric}: intervals": 2 for metric in METRICS}
    for smaller, larger, side in ((0.1, 0.9, "below"), (0.9, 0.1, "above")):
        found = count((*drawn[:2], levels(smaller, larger), drawn[2]))
        assert found == {f"{metric}: {key}": 2 for metric in METRICS for key in ("intervals", side)}


def test_the_table_is_made_from_the_counts(tmp_path: Path) -> None:
    document, counts = tmp_path / "scale.md", tmp_path / "sizes.json"
    document.write_text("words\n<!-- size errors -->\nold\n<!-- /size errors -->\n", encoding="utf-8")
    seen = Counter({"brier_ts: intervals": 200, "brier_ts: above": 5, "set_size: intervals": 200})
    write_tallies(counts, VERSION, {title(400, 0.25): Tally(frozenset(range(200)), seen)})
    assert main(["--draws", "0", "--jobs", "1", "--counts", str(counts), "--document", str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    assert "old" not in text
    (line,) = [one for one in text.splitlines() if one.startswith("| 400 items a task; loss 0.25 ")]
    assert re.findall(r"0\.\d{3}", line) == ["0.000", "0.015", "0.025", "0.052", "0.000", "0.015", "0.000", "0.015"]


def test_a_document_without_the_place_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "scale.md"
    document.write_text("nothing here", encoding="utf-8")
    with pytest.raises(SystemExit, match="no <!-- size errors -->"):
        main(["--document", str(document)])
