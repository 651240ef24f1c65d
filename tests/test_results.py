"""Committed results, from outside: what `make verify` does not ask, which recomputes each from its cells."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from netcal.metrics import ECE
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from suite.cell import load_cells

ROOT = Path(__file__).resolve().parent.parent
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/config.yaml"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the other kernels are those of x86")
def test_another_processor_finds_the_same_digits() -> None:
    """NumPy without AVX and OpenBLAS as on a processor of 2008, in a process of its own."""
    older = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR", "OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run(
        [sys.executable, "-m", "suite", "verify", str(ROOT / "results" / "embedded")],
        env={**os.environ, **older},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "last digit" not in done.stdout


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_cells_hold_no_benchmark_text(folder: Path) -> None:
    for cell in load_cells([folder]):
        assert cell.subjects is None or all(value is None or len(value) < 60 for value in cell.subjects)
        assert all(len(item) < 80 for item in cell.ids)
        assert all(value is None or re.fullmatch(r"[\w.:/~+-]{1,80}", value) for value in cell.groups or ())


def test_the_front_page_shows_the_committed_numbers() -> None:
    folder = ROOT / "results" / "qwen-coder-sizes"
    if not (folder / "doses.json").is_file():
        pytest.skip("results/qwen-coder-sizes was written before it had doses")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("<!-- leaderboard -->")[2].partition("<!-- /leaderboard -->")[0]
    assert (folder / "figures" / "strips.png").is_file()
    assert "(results/qwen-coder-sizes/figures/strips.png)" in block
    certainty, accuracy = (
        {
            (one["model"], one["method"], one["tolerance"]): one
            for one in json.loads((folder / "doses.json").read_text(encoding="utf-8"))
            if (one["task"], one["metric"], one["scope"]) == ("macro", metric, "checkpoint")
        }
        for metric in ("brier_ts", "accuracy")
    )
    strict = [one for (*_, tolerance), one in certainty.items() if tolerance == 0.05]
    states = Counter(level["state"] for one in strict for level in one["levels"])
    kept, lost, right, wrong = (
        sum(bool(one[key]) for (*_, tolerance), one in found.items() if tolerance == share)
        for found in (certainty, accuracy)
        for key, share in (("kept_through", 0.05), ("lost_from", 0.25))
    )
    assert (
        f"Of {len(strict)} curves (averages over tasks), certainty is *kept* through some level on {kept} and *lost* "
        f"from some level on {lost}. Of {states.total()} levels {states['kept']} are kept, {states['worse']} worse, "
        f"{states['lost']} lost, {states['not_known']} not known. By accuracy it is {right} and {wrong}."
    ) in block
    assert f"{len(strict)} curves; at most 0.05 of them, {0.05 * len(strict):.1f}, are expected" in block
    board = (folder / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert ("**Unfinished:**" in block) == ("**Unfinished:**" in board)


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_losses_by_size_follow_from_the_published_rows(folder: Path) -> None:
    """Averages over tasks in scale.json are mean change over mean headroom, to the digits that the rows have."""
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    cells = {(row["model"], row["variant"], row["task"]): row for row in rows}
    tasks: dict[str, list[str]] = {}
    for model, variant, task in cells:
        if variant == "dense":
            tasks.setdefault(model, []).append(task)
    scale = json.loads((folder / "scale.json").read_text(encoding="utf-8"))
    checked = Counter[str]()
    for record in scale:
        if record["task"] != "macro" or record["variant"] == "dense":
            continue
        metric = record["metric"]
        for one in record["models"]:
            name = one["model"]
            dense = [cells[name, "dense", task] for task in tasks[name]]
            worse = [cells[name, record["variant"], task] for task in tasks[name]]
            change = np.mean([row[metric] for row in worse]) - np.mean([row[metric] for row in dense])
            chance = [row["set_size_chance"] if metric == "set_size" else 1 - row["chance_accuracy"] for row in dense]
            headroom = np.mean(chance) - np.mean([row[metric] for row in dense])
            assert one["value"] == pytest.approx(change / headroom, rel=4e-5, abs=1e-4)
            checked[metric] += 1
    assert checked.keys() == {"brier_ts", "set_size"} or len(tasks) < 2


def splitmix(state: int) -> int:
    """The output function of SplitMix64 (Steele et al. 2014), on Python's integers."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


@cache
def folds(units: tuple[str, ...], splits: int, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Conformal and test fold of every split, as docs/metrics.md says they are drawn; indices of items."""
    keys = [int.from_bytes(blake2b(b"fold\0" + unit.encode(), digest_size=8).digest(), "little") for unit in units]
    drawn = []
    for split in range(splits):
        place = np.array([(splitmix(key ^ splitmix(seed * 2**32 + split)) >> 11) / 2**53 for key in keys])
        drawn.append((np.flatnonzero((place >= 0.2) & (place < 0.6)), np.flatnonzero(place >= 0.6)))
    return tuple(drawn)


def conformal(scores: np.ndarray, answers: np.ndarray, dense: np.ndarray, alpha: float, drawn: Iterable) -> np.ndarray:
    """LAC with nothing but a sorted list, averaged over splits.

    Returns:
        [6]: set size, coverage, share of sets of one and of none, then coverage and set size under the dense
        model's threshold.
    """
    # minus p instead of 1 - p, which is 1 for every p below 1e-16
    own, other = (-matrix[np.arange(len(answers)), answers] for matrix in (scores, dense))
    found = []
    for calibration, test in drawn:
        rank = math.ceil((len(calibration) + 1) * (1 - alpha))
        threshold, reused = np.sort(own[calibration])[rank - 1], np.sort(other[calibration])[rank - 1]
        sizes, resized = ((-scores[test] <= limit).sum(axis=1) for limit in (threshold, reused))
        covered, recovered = ((own[test] <= limit).mean() for limit in (threshold, reused))
        found.append((sizes.mean(), covered, (sizes == 1).mean(), (sizes == 0).mean(), recovered, resized.mean()))
    return np.mean(found, axis=0)


CONFORMAL = (
    "lac_set_size",
    "lac_coverage",
    "lac_singleton_rate",
    "lac_empty_rate",
    "lac_transfer_coverage",
    "lac_transfer_set_size",
)


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_a_reader_finds_the_published_figures_in_the_committed_cells(folder: Path) -> None:
    """Recomputed from the cell files with other people's libraries, on folds drawn as the documents say."""
    protocol = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["protocol"]
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as handle:
        rows = {(row["model"], row["task"], row["variant"]): row for row in csv.DictReader(handle)}
    scored = {}
    for file in sorted(folder.glob("cells/**/*.parquet")):
        table = pq.read_table(file)
        meta = json.loads(table.schema.metadata[b"suite"])
        listed = table.column("logits").to_pylist()
        answers = np.array(table.column("answer").to_pylist())
        width = max(len(options) for options in listed)
        # an option that an item does not have gets probability 0, and is in no set
        logits = np.array([options + [-np.inf] * (width - len(options)) for options in listed])
        ids = table.column("id").to_pylist()
        groups = table.column("group").to_pylist() if "group" in table.column_names else [None] * len(ids)
        units = tuple(item if group is None else group for group, item in zip(groups, ids, strict=True))
        key = (meta["model"]["name"], meta["task"]["name"], meta["variant"]["name"])
        scored[key] = (np.exp(log_softmax(logits, axis=1)), answers, units)
    tied = 0
    for key, (scores, answers, units) in scored.items():
        row = rows[key]
        n = len(answers)
        first = scores.max(axis=1)
        tied_options = {item: np.flatnonzero(scores[item] == first[item]) for item in range(n)}
        tied_options = {item: options for item, options in tied_options.items() if len(options) > 1}
        assert float(row["tie_rate"]) == pytest.approx(len(tied_options) / n, rel=1e-5)
        if math.prod(map(len, tied_options.values())) > 16:
            tied += 1
            continue
        assert int(row["n"]) == n
        assert float(row["nll"]) == pytest.approx(-np.log(scores[np.arange(n), answers]).mean(), rel=1e-5)
        # few ties: the mean over every order in which the tied options could stand
        by_order = []
        for order in itertools.product(*tied_options.values()):
            chosen = scores.argmax(axis=1)
            chosen[list(tied_options)] = order
            right = chosen == answers
            by_order.append((right.mean(), ECE(15).measure(first, right), roc_auc_score(right, first)))
        for name, value in zip(("accuracy", "ece", "error_auroc"), np.mean(by_order, axis=0), strict=True):
            assert float(row[name]) == pytest.approx(value, rel=1e-5), (key, name)
        drawn = folds(units, protocol["splits"], protocol["seed"])
        dense = scored[key[0], key[1], "dense"][0]
        found = conformal(scores, answers, dense, protocol["alpha"], drawn)
        for name, value in zip(CONFORMAL, found, strict=True):
            if row[name]:
                assert float(row[name]) == pytest.approx(value, rel=1e-5), (key, name)
    assert len(scored) == len(rows)
    assert tied < 0.1 * len(rows)
