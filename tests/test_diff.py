"""What changed between two snapshots: paired where items are shared, refused with the reason where they are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_cells import synthetic_cells
from support.synthetic_snapshot import PROTOCOL, publish, write_run

from suite.cell import Cell, make_cell
from suite.cli import main

VARIANTS = ("dense", "rtn-w4")


def cells(**more: Any) -> list[Cell]:
    return synthetic_cells(**{"variants": VARIANTS, "tasks": {"sciq": 4}, "n": 60, **more})


def snapshot(folder: Path, made: list[Cell], **more: Any) -> Path:
    return publish(write_run(folder / "run", made, **more), folder / "snapshot")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshot(tmp_path_factory.mktemp("first"), cells())


def shaken(cell: Cell, strength: float = 1.5) -> Cell:
    noise = np.random.default_rng(5).normal(size=cell.scores.shape).astype(np.float32)
    return replace(cell, scores=cell.scores + strength * noise)


def records(a: Path, b: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["diff", str(a), str(b), "--json"]) == 0
    return list(json.loads(capsys.readouterr().out))


def chosen(cell: Cell, rows: list[int]) -> Cell:
    return make_cell(
        ids=[cell.ids[row] for row in rows],
        answers=[int(cell.answers[row]) for row in rows],
        scores=[cell.scores[row, : cell.n_options[row]].tolist() for row in rows],
        kind=cell.kind,
        **{name: getattr(cell, name) for name in ("model", "variant", "task", "run")},
    )


def test_a_snapshot_does_not_differ_from_itself(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(first), str(first)]) == 0
    assert capsys.readouterr().out == "2 cells in both: 2 with the same scores, 0 that differ\n"
    assert all(record["same_scores"] and record["accuracy_change"] == 0 for record in records(first, first, capsys))


def test_the_order_of_the_items_is_no_difference(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turned = [chosen(cell, list(reversed(range(60)))) for cell in cells()]
    assert all(record["same_scores"] for record in records(first, snapshot(tmp_path, turned), capsys))


def test_a_change_is_the_difference_item_by_item(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cells()
    after = [before[0], shaken(before[1])]
    second = snapshot(tmp_path, after)
    (same, changed) = sorted(records(first, second, capsys), key=lambda record: record["variant"])
    assert same["same_scores"]
    assert not changed["same_scores"]
    right = [cell.scores.argmax(axis=1) == cell.answers for cell in (before[1], after[1])]
    difference = right[1].astype(float) - right[0]
    assert changed["accuracy_change"] == pytest.approx(difference.mean(), abs=1e-6)
    error = difference.std() / np.sqrt(60)
    width = changed["accuracy_change_high"] - changed["accuracy_change_low"]
    assert width == pytest.approx(2 * 1.96 * error, rel=0.4)  # 30 replicates
    assert changed["n_shared"] == 60
    assert main(["diff", str(first), str(second)]) == 0
    out = capsys.readouterr().out
    assert "1 with the same scores, 1 that differ" in out
    assert "rtn-w4" in out.splitlines()[-1]


def test_shared_items_alone_are_compared(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fewer = [chosen(shaken(cell), list(range(20, 60))) for cell in cells()]
    (record, _) = records(first, snapshot(tmp_path, fewer), capsys)
    assert (record["n_first"], record["n_second"], record["n_shared"]) == (60, 40, 40)
    before = chosen(cells()[0], list(range(20, 60)))
    right = [(cell.scores.argmax(axis=1) == cell.answers).mean() for cell in (before, fewer[0])]
    assert record["accuracy_change"] == pytest.approx(right[1] - right[0], abs=1e-6)


def test_what_one_has_alone_is_listed(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = [*cells(variants=("dense", "rtn-w2")), *cells(models={"new": 1.0}, variants=("dense",))]
    assert main(["diff", str(first), str(snapshot(tmp_path, other))]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "only in A: tiny-135m/sciq/rtn-w4" in out
    assert {"only in B: new/sciq/dense", "only in B: tiny-135m/sciq/rtn-w2"} <= set(out)


def test_other_weights_under_the_same_name_are_marked(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def weighed(cell: Cell, digest: str) -> Cell:
        return replace(cell, model={**cell.model, "weights_hash": digest})

    one = snapshot(tmp_path / "one", [weighed(cell, "sha256:a") for cell in cells()])
    two = snapshot(tmp_path / "two", [weighed(shaken(cell), "sha256:b") for cell in cells()])
    assert all(record["other_weights"] for record in records(one, two, capsys))
    assert not any(record["other_weights"] for record in records(first, two, capsys))


def task(**more: Any) -> Callable[[Cell], Cell]:
    return lambda cell: replace(cell, task={**cell.task, **more})


def other_items(cell: Cell) -> Cell:
    return replace(cell, ids=tuple(f"other-{item}" for item in cell.ids))


def other_answers(cell: Cell) -> Cell:
    return replace(cell, answers=(cell.answers + 1) % 4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_items, "they share no item"),
        (other_answers, "they share no item"),
        (task(prompt_hash="sha256:b"), "the prompts differ on the same items"),
        (task(revision="2"), "other data: revision 1 and 2"),
        (task(scoring="letter"), "no scoring is in both"),
        (task(prompt="terse"), "no prompt is in both"),
        (task(shots=5), "no number of shots is in both"),
        (task(name="boolq"), "no task is in both; A has sciq, B has boolq"),
        (lambda cell: replace(cell, kind="logits"), "the scores of A are loglik, those of B logits"),
        (lambda cell: replace(cell, model={**cell.model, "name": "z"}), "no model is in both"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[Cell], Cell], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = [task(prompt_hash="sha256:a", revision="1")(cell) for cell in cells(scoring="cloze-sum")]
    one = write_run(tmp_path / "one", plain)
    two = write_run(tmp_path / "two", [change(cell) for cell in plain])
    assert main(["diff", str(one), str(two)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be compared: " in line
    assert reason in line


@pytest.mark.parametrize(("key", "value"), [("alpha", 0.2), ("name", "ye2024")])
def test_other_protocols_are_refused(
    first: Path, tmp_path: Path, key: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_run(tmp_path / "other", cells(), protocol=replace(PROTOCOL, **{key: value}))
    assert main(["diff", str(first), str(other)]) == 2
    assert f"protocol {key} " in capsys.readouterr().err


def test_a_task_that_cannot_be_compared_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = cells(tasks={"sciq": 4, "boolq": 2})
    one = write_run(tmp_path / "one", both)
    two = write_run(tmp_path / "two", [other_items(c) if c.task["name"] == "boolq" else c for c in both])
    assert main(["diff", str(one), str(two)]) == 0
    out = capsys.readouterr().out
    assert "2 cells in both: 2 with the same scores" in out
    assert "not compared: boolq (cloze-sum, plain, 0 shots): they share no item" in out
