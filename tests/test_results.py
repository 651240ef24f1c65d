"""Committed results: every table, page and manifest is what the cells give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from suite.cell import load_cells
from suite.cli import main

ROOT = Path(__file__).resolve().parent.parent
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/config.yaml"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_the_snapshot_verifies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_cells_hold_no_benchmark_text(folder: Path) -> None:
    for cell in load_cells([folder]):
        assert cell.subjects is None or all(value is None or len(value) < 60 for value in cell.subjects)
        assert all(len(item) < 80 for item in cell.ids)
        assert all(value is None or re.fullmatch(r"[\w.:/~-]{1,80}", value) for value in cell.groups or ())


def test_the_front_page_shows_the_committed_numbers() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    board = (ROOT / "results" / "three-llms" / "LEADERBOARD.md").read_text(encoding="utf-8")
    block = readme.partition("<!-- leaderboard -->")[2].partition("<!-- /leaderboard -->")[0]
    header, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if line.startswith("|")
    ]
    summary = board.partition("## Summary")[2].partition("\n## ")[0]
    names, _, *lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in summary.splitlines() if line.startswith("|")
    ]
    published = [dict(zip(names, line, strict=True)) for line in lines]
    models = list(dict.fromkeys(line["model"] for line in published))
    assert [row[0] for row in rows if row[0]] == models
    model = ""
    for row in rows:
        model = row[0] or model
        shown = dict(zip(header, row, strict=True)) | {"model": model}
        [line] = [line for line in published if (line["model"], line["variant"]) == (model, shown["variant"])]
        assert shown.items() <= line.items()
    assert len(rows) == 8 * len(models)
    assert ("**Unfinished:**" in block) == ("**Unfinished:**" in board)
