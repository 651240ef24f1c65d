"""What a snapshot says of cells that its configuration asks for and that are not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.studies.synthetic import Population, draw_cells, plan_curve
from suite.cli import main
from suite.config import ReadyMade, RunConfig, TaskChoice
from suite.publish.unfinished import unfinished

EMBEDDED = Path(__file__).resolve().parent.parent / "results" / "embedded"
POPULATION = Population(options=4)
CELLS = draw_cells(POPULATION, plan_curve(POPULATION, "step", levels=3, rise=0.5), n=40, seed=0)
NAMES = tuple(cell.variant["name"] for cell in CELLS)


def config(variants: tuple[str, ...] = NAMES, **other: object) -> RunConfig:
    return RunConfig(("m",), (TaskChoice("t"),), variants, **other)  # type: ignore[arg-type]


def test_a_whole_run_says_nothing() -> None:
    assert unfinished(config(), CELLS, []) == ""
    assert unfinished(None, CELLS, []) == ""


def test_missing_cells_are_counted_by_model() -> None:
    said = unfinished(config((*NAMES, "rtn-w3")), CELLS, [])
    assert said.startswith(f"Unfinished: of the {len(NAMES) + 1} cells of its configuration {len(NAMES)} are here")
    assert f"({len(NAMES)} of {CELLS[0].model['name']}), and 0 failed" in said


def test_cells_that_failed_are_not_missing() -> None:
    assert unfinished(config((*NAMES, "rtn-w3")), CELLS, [{"variant": "rtn-w3"}]) == ""


def test_cells_of_other_configurations_do_not_fill_gaps() -> None:
    assert "1 of" in unfinished(config((NAMES[0], "rtn-w3")), CELLS, [])


def test_ready_made_checkpoints_count() -> None:
    ready = ReadyMade("checkpoint", "m", "gptq-w4")
    assert f"of the {len(NAMES) + 1} cells" in unfinished(config(ready_made=(ready,)), CELLS, [])
    unnamed = ReadyMade("checkpoint", "m")
    assert unfinished(config(NAMES[:-1], ready_made=(unnamed,)), CELLS, []) == ""


def test_leaderboard_and_page_say_so_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(EMBEDDED / "cells" / "smollm2-135m" / "sciq", run / "cells" / "smollm2-135m" / "sciq")
    text = (EMBEDDED / "config.yaml").read_text(encoding="utf-8")
    quick = text.replace("splits: 100", "splits: 5").replace("replicates: 1000", "replicates: 20")
    (run / "config.yaml").write_text(quick, encoding="utf-8")
    assert main(["leaderboard", str(run), "--out", str(out)]) == 0
    for name in ("LEADERBOARD.md", "index.html"):
        assert "of the 36 cells of its configuration 9 are here" in (out / name).read_text(encoding="utf-8")
        assert "Unfinished" not in (EMBEDDED / name).read_text(encoding="utf-8")
    assert main(["verify", str(out)]) == 0, capsys.readouterr().out
