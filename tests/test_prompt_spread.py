"""The spread over prompts beside the effect of compression, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.record_keys import SPREAD_KEYS

from suite.cell import make_cell, write_cell
from suite.cli import main
from suite.metrics.prompt_spread import prompt_spread


def row(variant: str, prompt: str, accuracy: float | None, set_size: float = 2.0) -> dict[str, object]:
    key = {"model": "m", "task": "t", "scoring": "letter", "shots": 0}
    return {**key, "variant": variant, "prompt": prompt, "accuracy": accuracy, "set_size": set_size}


def test_by_hand() -> None:
    rows = [
        row("dense", "base", 0.60),
        row("dense", "task", 0.70),
        row("dense", "base+rot1", 0.50),
        row("rtn-w3", "base", 0.50, 3.0),
        row("rtn-w3", "task", 0.66, 2.5),
        row("rtn-w3", "base+rot1", 0.51, 2.0),
    ]
    dense, variant = prompt_spread(rows)
    assert tuple(dense) == SPREAD_KEYS
    assert (dense["n_prompts"], dense["prompts"]) == (3, ["base", "base+rot1", "task"])
    assert (dense["accuracy_low"], dense["accuracy_high"]) == (0.5, 0.7)
    assert (dense["accuracy_mean"], dense["accuracy_deviation"]) == pytest.approx((0.6, 0.1))
    assert dense["accuracy_change_mean"] is None
    assert dense["accuracy_change_over_spread"] is None
    assert variant["accuracy_change_mean"] == pytest.approx((-0.10 - 0.04 + 0.01) / 3)
    assert (variant["accuracy_change_low"], variant["accuracy_change_high"]) == pytest.approx((-0.10, 0.01))
    assert variant["accuracy_change_deviation"] == pytest.approx(np.std([-0.10, -0.04, 0.01], ddof=1))
    assert variant["accuracy_same_direction"] == pytest.approx(2 / 3)
    assert variant["accuracy_change_over_spread"] == pytest.approx(0.13 / 3 / 0.1)
    assert variant["set_size_change_mean"] == pytest.approx(0.5)
    assert variant["set_size_change_over_spread"] is None, "the dense set size is the same under all prompts"


def test_noise_is_no_way_of_asking_and_one_prompt_has_no_spread() -> None:
    assert prompt_spread([row("dense", "base", 0.5), row("dense", "base+typos", 0.4)]) == []
    (found,) = prompt_spread([row("dense", "base", 0.5), row("dense", "my prompt!", 0.4)])
    assert found["n_prompts"] == 2


def test_missing_values_and_missing_dense() -> None:
    (found,) = prompt_spread([row("rtn-w3", "base", None), row("rtn-w3", "task", 0.4)])
    assert (found["accuracy_mean"], found["accuracy_deviation"]) == (0.4, None)
    assert found["accuracy_change_mean"] is None
    assert found["accuracy_same_direction"] is None


def test_tasks_are_kept_apart() -> None:
    rows = [row("dense", prompt, 0.5) | {"task": task} for task in ("s", "t") for prompt in ("base", "task")]
    assert [found["task"] for found in prompt_spread(rows)] == ["s", "t"]


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(30, 4)).tolist()
    common: dict[str, Any] = {
        "ids": [str(i) for i in range(30)],
        "answers": [0] * 30,
        "kind": "logits",
        "model": {"name": "m"},
    }
    for prompt in ("base", "plain"):
        task = {"name": "t", "scoring": "letter", "prompt": prompt, "shots": 0}
        cell = make_cell(**common, scores=scores, variant={"name": "dense"}, task=task)
        write_cell(tmp_path / f"{prompt}.parquet", cell)
    assert main(["metrics", str(tmp_path), "--spread", "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert found["prompts"] == ["base", "plain"]
    assert main(["metrics", str(tmp_path), "--spread"]) == 0
    assert "n_prompts" in capfd.readouterr().out
    assert main(["metrics", str(tmp_path / "base.parquet"), "--spread"]) == 2
    assert "no task was asked with two prompts" in capfd.readouterr().err
