"""Committed results: every table, page and manifest is what the cells give."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from netcal.metrics import ECE
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

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


def conformal(scores: np.ndarray, answers: np.ndarray, dense: np.ndarray, splits: int = 200) -> np.ndarray:
    """LAC with nothing but a sorted list, on random splits (40 % of the items calibrate, 40 % are tested).

    Returns:
        [splits, 3]: size, coverage, and coverage under the dense model's threshold.
    """
    random, n = np.random.default_rng(0), len(answers)
    part = round(0.4 * n)
    rank = math.ceil((part + 1) * 0.9)
    # minus p instead of 1 - p, which is 1 for every p below 1e-16
    own, other = (-matrix[np.arange(n), answers] for matrix in (scores, dense))
    found = []
    for _ in range(splits):
        order = random.permutation(n)
        calibration, test = order[:part], order[part : 2 * part]
        threshold, reused = np.sort(own[calibration])[rank - 1], np.sort(other[calibration])[rank - 1]
        sizes = (-scores[test] <= threshold).sum(axis=1)
        found.append((sizes.mean(), (own[test] <= threshold).mean(), (own[test] <= reused).mean()))
    return np.array(found)


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_a_reader_finds_the_published_figures_in_the_committed_cells(folder: Path) -> None:
    """Recomputed from the cell files with other people's libraries, on other splits than the suite's."""
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as handle:
        rows = {(row["model"], row["task"], row["variant"]): row for row in csv.DictReader(handle)}
    scored = {}
    for file in sorted(folder.glob("cells/**/*.parquet")):
        table = pq.read_table(file)
        meta = json.loads(table.schema.metadata[b"suite"])
        listed = table.column("logits").to_pylist()
        answers = np.array(table.column("answer").to_pylist())
        if len({len(options) for options in listed}) == 1:
            key = (meta["model"]["name"], meta["task"]["name"], meta["variant"]["name"])
            scored[key] = (np.exp(log_softmax(np.array(listed), axis=1)), answers)
    compared = 0
    for key, (scores, answers) in scored.items():
        row = rows[key]
        if float(row["tie_rate"]) > 0:
            continue
        n = len(answers)
        right = scores.argmax(axis=1) == answers
        assert int(row["n"]) == n
        assert float(row["accuracy"]) == pytest.approx(right.mean(), rel=1e-5)
        assert float(row["nll"]) == pytest.approx(-np.log(scores[np.arange(n), answers]).mean(), rel=1e-5)
        assert float(row["ece"]) == pytest.approx(ECE(15).measure(scores.max(axis=1), right), rel=1e-5)
        assert float(row["error_auroc"]) == pytest.approx(roc_auc_score(right, scores.max(axis=1)), rel=1e-5)
        found = conformal(scores, answers, scored[key[0], key[1], "dense"][0])
        # the suite's mean is over 100 splits of its own: both scatter around what all splits together would give
        tolerance = 4.5 * found.std(axis=0) * math.sqrt(1 / 100 + 1 / len(found))
        for place, name in enumerate(("lac_set_size", "lac_coverage", "lac_transfer_coverage")):
            if row[name]:
                assert abs(float(row[name]) - found[:, place].mean()) <= tolerance[place], (key, name)
        compared += 1
    assert compared > 0.6 * len(rows)
