"""A cell against another one of any name: counted by hand, and the same figures as against dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from suite import measure
from suite.cell import Cell, make_cell
from suite.config import Protocol
from suite.metrics.figures import CELL, FIGURES, columns_of
from suite.metrics.rows import rows_against

PROTOCOL = Protocol(splits=4, replicates=60)


def cell(scores: np.ndarray, answers: np.ndarray, *, model: str, variant: str, ids: Sequence[str]) -> Cell:
    return make_cell(
        ids=list(ids),
        answers=answers.tolist(),
        scores=scores.tolist(),
        kind="logits",
        model={"name": model},
        variant={"name": variant},
        task={"name": "t", "scoring": "letter", "prompt": "base", "shots": 0},
    )


@pytest.fixture(scope="module")
def pair() -> tuple[Cell, Cell]:
    """Two models on 160 items; the second lacks ten of them, has other answers to ten, and stands in another order."""
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 1.5, (160, 4))
    answers = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    ids = [f"i{row}" for row in range(160)]
    order = rng.permutation(150)
    keyed = answers.copy()
    keyed[:10] = (keyed[:10] + 1) % 4
    other = (scores + rng.normal(size=scores.shape))[order]
    return (
        cell(scores, answers, model="small", variant="rtn-w4", ids=ids),
        cell(other, keyed[order], model="large", variant="wanda-s50", ids=[ids[row] for row in order]),
    )


def test_flips_and_changes_are_those_counted_item_by_item(pair: tuple[Cell, Cell]) -> None:
    reference, changed = pair
    before = dict(zip(reference.ids, zip(reference.answers, reference.scores, strict=True), strict=True))
    after = dict(zip(changed.ids, zip(changed.answers, changed.scores, strict=True), strict=True))
    shared = [item for item in before if item in after and before[item][0] == after[item][0]]
    right = np.array([[known[item][1].argmax() == known[item][0] for known in (before, after)] for item in shared])
    row = rows_against(reference, [changed], PROTOCOL)[1]
    assert row["n_paired"] == len(shared) == 140
    assert row["flips_to_wrong"] == pytest.approx((right[:, 0] & ~right[:, 1]).mean())  # type: ignore[typeddict-item]
    assert row["flips_to_right"] == pytest.approx((~right[:, 0] & right[:, 1]).mean())  # type: ignore[typeddict-item]
    assert row["accuracy_change"] == pytest.approx(np.diff(right.mean(axis=0))[0])  # type: ignore[typeddict-item]
    assert row["flags"] == ["unpaired-items"]


def test_names_change_nothing(pair: tuple[Cell, Cell]) -> None:
    reference, changed = pair
    rows = rows_against(reference, [changed], PROTOCOL)
    assert [(row["model"], row["variant"]) for row in rows] == [("small", "rtn-w4"), ("large", "wanda-s50")]
    disguised = [
        replace(reference, variant={"name": "dense"}),
        replace(changed, model={"name": "small"}),
    ]
    columns = [column for key, figure in FIGURES.items() if figure.source != CELL for column in columns_of(key)]
    for row, other in zip(rows, measure(disguised, splits=4, replicates=60), strict=True):
        assert {key: row[key] for key in columns} == {key: other[key] for key in columns}  # type: ignore[literal-required]
        assert row["n_paired"] == other["n_paired"]


def test_several_cells_keep_their_order_and_one_with_equal_scores_is_a_no_op(pair: tuple[Cell, Cell]) -> None:
    reference, changed = pair
    twin = replace(reference, model={"name": "twin"})
    rows = rows_against(reference, [twin, changed, twin], Protocol(splits=2, replicates=0))
    assert [row["model"] for row in rows] == ["small", "twin", "large", "twin"]
    assert rows[1]["flags"] == ["no-op"]
    assert rows[0]["notes"]["kl"] == "this is the dense model"
    assert rows[1]["kl"] == 0.0  # type: ignore[typeddict-item]


def test_no_shared_item_is_said(pair: tuple[Cell, Cell]) -> None:
    reference, changed = pair
    far = replace(changed, ids=tuple(f"x{row}" for row in range(len(changed))))
    row = rows_against(reference, [far], Protocol(splits=2, replicates=0))[1]
    assert row["n_paired"] == 0
    assert row["notes"]["accuracy_change"].startswith("no item is shared")
