"""Notes on a cell's numbers: probabilities that do not sum to one, and what an importer assumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from suite import measure
from suite.cell import Cell, make_cell
from suite.cli import main
from suite.errors import SuiteError
from suite.importers import import_cells
from suite.remarks import remarks


def cell(scores: Any, kind: str = "probs", **run: Any) -> Cell:
    return make_cell(
        ids=range(len(scores)),
        answers=[0] * len(scores),
        scores=scores,
        kind=kind,
        model={"name": "m"},
        variant={"name": "dense"},
        task={"name": "t", "scoring": "letter", "prompt": "base", "shots": 0},
        run=run,
    )


def probabilities(spread: float, options: int = 4, n: int = 200) -> NDArray[np.float64]:
    raw = np.exp(np.random.default_rng(0).normal(size=(n, options)) * spread)
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


def significant(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    return np.vectorize(lambda value: float(f"{value:.{digits}g}"))(values)


def bfloat16(values: NDArray[np.float64]) -> NDArray[np.float32]:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x8000) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize("spread", [0.5, 6.0])
@pytest.mark.parametrize("options", [2, 4, 10])
@pytest.mark.parametrize(
    "rounded",
    [
        lambda p: p,
        lambda p: p.round(2),
        lambda p: p.round(3),
        lambda p: p.round(6),
        lambda p: significant(p, 2),
        lambda p: significant(p, 4),
        lambda p: p.astype(np.float16),
        bfloat16,
        lambda p: p * (1 + 1e-6),
    ],
)
def test_rounding_is_no_remark(spread: float, options: int, rounded: Any) -> None:
    assert remarks(cell(rounded(probabilities(spread, options)))) == {}


@pytest.mark.parametrize("spread", [0.5, 6.0])
@pytest.mark.parametrize("share", [0.3, 0.97, 0.999])
def test_a_part_of_the_mass(spread: float, share: float) -> None:
    said = remarks(cell(probabilities(spread) * share))["probabilities"]
    assert "of 200 of 200 items do not sum to 1" in said
    assert f"{1 - share:.4g} away at most" in said
    assert "each was divided by its item's sum" in said


def test_rounded_to_two_decimals_a_part_is_still_a_part() -> None:
    assert "of 200 of 200 items" in remarks(cell((probabilities(1) * 0.95).round(2)))["probabilities"]


@pytest.mark.parametrize("rows", [[[0.9, 0.8, 0.7]], [[1.0, 1.0]], [[0.6, 0.5]], [[0.1, 0.2]], [[0.3, 0.4, 0.2, 0.2]]])
def test_one_item(rows: list[list[float]]) -> None:
    """Beside others that are right; options of theirs that are not there count for nothing."""
    total = sum(rows[0])
    said = remarks(cell([*rows, [0.5, 0.5], [0.25, 0.25, 0.25, 0.25]]))["probabilities"]
    assert "of 1 of 3 items" in said
    assert f"they sum to between {total:.4g} and {total:.4g}, {abs(total - 1):.4g} away" in said


def test_other_kinds_have_no_sums() -> None:
    for kind in ("logits", "loglik"):
        assert remarks(cell([[-0.3, -0.2]], kind)) == {}


def test_the_row_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = tmp_path / "x.jsonl"
    rows = probabilities(1) * 0.3
    lines = [{"id": number, "probs": list(row), "answer": 0} for number, row in enumerate(rows)]
    src.write_text("\n".join(map(json.dumps, lines)))
    assert main(["import", "jsonl", str(src), "--model", "m", "--task", "t", "--out", str(tmp_path / "run")]) == 0
    assert "note: the probabilities of 200 of 200 items do not sum to 1" in capsys.readouterr().err
    (read,) = import_cells("jsonl", src, model="m", variant="dense", task="t")
    (row,) = measure([read], replicates=0)
    notes = row["notes"]
    assert isinstance(notes, dict)
    assert notes["probabilities"] == remarks(read)["probabilities"]


@pytest.mark.parametrize("value", ["NaN", "-0.1", "-Infinity", "1.5"])
def test_numbers_that_are_no_probabilities(tmp_path: Path, value: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"id": 1, "probs": [{value}, 0.5], "answer": 1}}')
    with pytest.raises(SuiteError, match=r"x\.jsonl:1: probs hold ") as caught:
        import_cells("jsonl", tmp_path / "x.jsonl", model="m", variant="dense", task="t")
    assert "\n" not in str(caught.value)


def test_what_an_importer_assumed_is_on_the_row() -> None:
    (row,) = measure([cell([[0.5, 0.5]] * 20, notes=["one", "two"])], replicates=0)
    notes = row["notes"]
    assert isinstance(notes, dict)
    assert notes["run"] == "one; two"
