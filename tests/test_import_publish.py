"""Scores that others made, from their files to a snapshot that verifies: no model, no configuration."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from suite.cli import main

LM_EVAL = Path(__file__).parent / "test_importers_data" / "lm_eval_0.4.13"
SCORED = (("dense", 0.0), ("rtn-w4", 0.3), ("rtn-w2", 3.0))


def scores(noise: float) -> str:
    """A JSONL file of 60 items with four options; what is right is the same for any noise."""
    random = np.random.default_rng(5)
    answers = random.integers(0, 4, 60)
    logits = random.normal(size=(60, 4))
    logits[np.arange(60), answers] += 1.5
    logits += noise * np.random.default_rng(6).normal(size=logits.shape)
    return "".join(
        json.dumps(
            {"id": f"q{i}", "logits": logits[i].round(4).tolist(), "answer": int(answers[i]), "group": f"g{i // 2}"}
        )
        + "\n"
        for i in range(60)
    )


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    common = ["--out", str(folder / "run"), "--params-b", "7.2"]
    for variant, noise in SCORED:
        file = folder / f"{variant}.jsonl"
        file.write_text(scores(noise), encoding="utf-8")
        names = ["--model", "theirs", "--variant", variant, "--task", "quiz"]
        assert main(["import", "jsonl", str(file), *names, *common]) == 0
    for variant in ("dense", "rtn-w4"):
        names = ["--model", "theirs", "--variant", variant, "--task", "mini_birds"]
        assert main(["import", "lm-eval", str(LM_EVAL), *names, *common]) == 0
    assert main(["leaderboard", str(folder / "run"), "--out", str(folder / "snapshot")]) == 0
    return folder / "snapshot"


def test_imported_cells_make_a_snapshot_that_verifies(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(snapshot)]) == 0
    assert "5 cells" in capsys.readouterr().out
    with (snapshot / "rows.csv").open(encoding="utf-8", newline="") as handle:
        rows = {(row["task"], row["variant"]): row for row in csv.DictReader(handle)}
    assert set(rows) == {*(("quiz", name) for name, _ in SCORED), ("mini_birds", "dense"), ("mini_birds", "rtn-w4")}
    assert {row["params_b"] for row in rows.values()} == {"7.2"}
    for name, noise in SCORED:
        lines = [json.loads(line) for line in scores(noise).splitlines()]
        right = np.mean([int(np.argmax(line["logits"])) == line["answer"] for line in lines])
        assert float(rows["quiz", name]["accuracy"]) == pytest.approx(right, abs=1e-6)
    manifest = json.loads((snapshot / "manifest.json").read_text())
    assert not (snapshot / "config.yaml").exists()
    assert manifest["protocol"]["replicates"] == 1000


def test_a_changed_score_of_an_imported_cell_is_named(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = (snapshot / "cells" / "theirs" / "quiz").rglob("rtn-w2.parquet")
    raw = cell.read_bytes()
    try:
        cell.write_bytes(raw[:200] + bytes([raw[200] ^ 1]) + raw[201:])
        assert main(["verify", str(snapshot)]) == 1
    finally:
        cell.write_bytes(raw)
    assert f"{cell.relative_to(snapshot)}: " in capsys.readouterr().out
