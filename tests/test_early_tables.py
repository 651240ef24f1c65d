"""The leaderboard while a run goes on: when it is written, what it holds, and that it stops nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from support.task_files import write_task

import suite.publish.snapshot
import suite.run.early_tables
import suite.run.pipeline
import suite.run.plan
from suite.cli import main
from suite.config import RunConfig, parse_config
from suite.errors import SuiteError
from suite.run.early_tables import EarlyTables
from suite.run.pipeline import execute

VARIANTS = ("dense", "rtn-w8", "rtn-w3")


@pytest.fixture(scope="module")
def config(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """One model, three variants, two tasks: six cells."""
    folder = tmp_path_factory.mktemp("tasks")
    return parse_config(
        {
            "models": [str(tiny_models["llama"])],
            "tasks": [str(write_task(folder / f"{name}.jsonl")) for name in ("first", "second")],
            "variants": list(VARIANTS),
            "dtype": "float32",
            "device": "cpu",
            "protocol": {"splits": 3, "replicates": 20},
        },
        "test",
    )


Seen = dict[tuple[str, str], tuple[str, list[dict[str, str]]]]


def watched(config: RunConfig, out: Path, log: Any) -> Seen:
    """What a reader finds of a leaderboard (its text and rows) while each cell is being scored."""
    seen: Seen = {}
    read = suite.run.pipeline.score

    def score(scorer: Any, sheet: Any, **more: Any) -> Any:
        board, rows = out / "LEADERBOARD.md", out / "rows.csv"
        text = board.read_text(encoding="utf-8") if board.is_file() else ""
        assert not text or ("figures/strips.png" in text and (out / "figures" / "strips.png").stat().st_size > 1000)
        seen[scorer.variant["name"], sheet.task.name] = (text, table(rows) if rows.is_file() else [])
        return read(scorer, sheet, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite.run.pipeline, "score", score)
        execute(config, out, log=log)
    return seen


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_tables_are_there_from_the_first_variant_beside_dense_on(config: RunConfig, tmp_path: Path) -> None:
    out, lines = tmp_path / "run", []
    seen = watched(config, out, lines.append)
    assert list(seen) == [(variant, task) for variant in VARIANTS for task in ("first", "second")]
    held = {at: {(row["variant"], row["task"]) for row in rows} for at, (_, rows) in seen.items()}
    assert not any(text for at, (text, _) in seen.items() if list(seen).index(at) < 3)
    dense = {("dense", "first"), ("dense", "second")}
    assert held["rtn-w8", "second"] == {*dense, ("rtn-w8", "first")}
    assert held["rtn-w3", "first"] == {*dense, ("rtn-w8", "first"), ("rtn-w8", "second")}
    assert "Unfinished:** of the 6 cells of its configuration 3 are here" in seen["rtn-w8", "second"][0]
    assert "Unfinished:** of the 6 cells of its configuration 4 are here" in seen["rtn-w3", "first"][0]
    (line,) = [line for line in lines if "LEADERBOARD.md" in line]
    assert line.startswith(f"first results: {out / 'LEADERBOARD.md'} ")

    assert "Unfinished" not in (out / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert main(["verify", str(out)]) == 0
    # what the early table said of a variant is what the last one says
    last = table(out / "rows.csv")
    assert all(row in last for row in seen["rtn-w3", "first"][1])


def test_tables_that_cannot_be_made_stop_the_run_at_its_end_alone(config: RunConfig, tmp_path: Path) -> None:
    out, lines = tmp_path / "run", []
    stray = out / "cells" / "other" / "task" / "cloze-sum-base-0" / "dense.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"no cell")
    with pytest.raises(SuiteError, match=r"dense\.parquet"):
        execute(config, out, log=lines.append)
    assert len(list((out / "cells" / "tiny-llama").rglob("*.parquet"))) == 6
    (line,) = [line for line in lines if line.startswith("no tables yet: ")]
    assert "dense.parquet" in line


@pytest.mark.parametrize(("seconds", "written"), [(1.0, 10), (20.0, 3)])
def test_slow_tables_take_a_small_part_of_the_time(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, written: int
) -> None:
    """Ten variants of 60 s each: tables of 20 s fit three times, as 200 s pass between one and the next."""
    now, calls = [0.0], []

    def write(out: Path, _: RunConfig) -> Path:
        now[0] += seconds
        calls.append(now[0])
        return out / "LEADERBOARD.md"

    monkeypatch.setattr(suite.publish.snapshot, "write_tables", write)
    monkeypatch.setattr(suite.run.early_tables.time, "monotonic", lambda: now[0])
    tables = EarlyTables(tmp_path, config, lambda _: None)
    cell = suite.run.plan.plan(config, tmp_path, dtype="float32", device="cpu", only="*/first/rtn-w8")[0]
    cell.path.parent.mkdir(parents=True)
    for name in ("dense.parquet", "rtn-w8.parquet"):
        (cell.path.parent / name).touch()
    tables.after_cell(cell)
    for _ in range(9):
        now[0] += 60
        tables.after_variant()
    assert len(calls) == written
