"""A cell that `suite score` wrote is one that `suite run` finds by its content, and takes instead of scoring again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.forward_passes import counted_items
from support.task_files import listing, write_task

import suite
import suite.models.checkpoint
import suite.run.pipeline
from suite.cell import load_cells, read_cell
from suite.cli import main
from suite.config import RunConfig, parse_config
from suite.run.pipeline import RunResult, execute
from suite.run.plan import plan

PLACE = Path("cells/tiny-llama/quiz/cloze-sum-base-0")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path / "quiz.jsonl")


@pytest.fixture
def config(tiny_models: dict[str, Path], task: Path) -> RunConfig:
    content = {"models": [str(tiny_models["llama"])], "tasks": [str(task)], "variants": ["dense", "rtn-w3"]}
    return parse_config({**content, "dtype": "float32", "device": "cpu"}, "test")


@pytest.fixture(autouse=True)
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each forward pass takes; the tables, which cost more time, are not made."""
    monkeypatch.setattr(suite.run.pipeline, "publish", lambda out, *_: (out / "LEADERBOARD.md", []))
    monkeypatch.setattr(suite.run.pipeline.EarlyTables, "_write", lambda _: None)
    return counted_items(monkeypatch)


def score(config: RunConfig, out: Path, *more: object) -> Path:
    args = ["score", "--model", config.models[0], "--task", config.tasks[0].name, "--dtype", "float32", "--out", out]
    assert main([str(arg) for arg in (*args, "--device", "cpu", *more)]) == 0
    return out


def run(config: RunConfig, out: Path) -> RunResult:
    return execute(config, out, log=lambda _: None)


@pytest.mark.parametrize("place", ["mine.parquet", "cells/mine.parquet", str(PLACE / "dense.parquet")])
def test_what_is_scored_once_is_not_scored_by_a_run(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwarded: list[int], place: str
) -> None:
    out = tmp_path / "run"
    mine = read_cell(score(config, out / place))
    score(config, out / "cells" / "other.parquet", "--variant", "rtn-w3")
    monkeypatch.setattr(suite.models.checkpoint, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    forwarded.clear()
    result = run(config, out)
    assert (result.scored, result.reused, result.failures, forwarded) == (0, 2, [], [])
    cells = load_cells([out])
    assert [cell.key.variant for cell in cells] == ["dense", "rtn-w3"]
    assert np.array_equal(cells[0].scores, mine.scores, equal_nan=True)
    assert sorted(path.name for path in (out / "cells").rglob("*.parquet")) == ["dense.parquet", "rtn-w3.parquet"]
    assert not (out / "mine.parquet").exists()
    assert not run(config, out).scored


@pytest.mark.parametrize(
    "other",
    [
        ("--dtype", "bfloat16"),
        ("--limit", 5),
        ("--scoring", "cloze-norm"),
        ("--scoring", "letter"),
        ("--prompt", "base+case"),
        ("--backend", "plain"),
    ],
    ids=str,
)
def test_a_cell_of_other_content_is_scored_by_the_run(
    config: RunConfig, tmp_path: Path, other: tuple[object, ...]
) -> None:
    out = tmp_path / "run"
    score(config, out / PLACE / "dense.parquet", *other)
    before = listing(out)
    result = run(replace(config, variants=("dense",)), out)
    assert (result.scored, result.reused) == (1, 0)
    assert before != listing(out)
    dense = read_cell(out / PLACE / "dense.parquet")
    assert (dense.run["dtype"], len(dense), str(dense.key)) == ("float32", 12, "tiny-llama/quiz/cloze-sum/base/0/dense")
    # no two of one name, wherever the other one is now
    assert len({cell.key for cell in load_cells([out])}) == len(load_cells([out]))


def test_python_gives_the_same_key(config: RunConfig, tmp_path: Path) -> None:
    planned = plan(config, tmp_path, dtype="float32", device="cpu")
    for cell in planned:
        (scored,) = suite.score_model(
            config.models[0], tasks=config.tasks[0].name, variant=cell.variant.name, dtype="float32", device="cpu"
        )
        assert (scored.run["key"], scored.run["seed"]) == (cell.key, 0)
