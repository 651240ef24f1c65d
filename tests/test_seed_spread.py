"""The spread over seeds of the sample text beside the interval over items, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from support.record_keys import SEED_SPREAD_KEYS

from suite import measure
from suite.cell import Cell, make_cell, write_cell
from suite.cli import main
from suite.metrics.seed_spread import deviation_interval, seed_spread

PLACE = {"model": "m", "task": "t", "scoring": "letter", "prompt": "base", "shots": 0}


def row(variant: str, accuracy: float, change: float | None, half: float = 0.02) -> dict[str, object]:
    ends = {} if change is None else {"accuracy_change_low": change - half, "accuracy_change_high": change + half}
    return {**PLACE, "variant": variant, "accuracy": accuracy, "accuracy_change": change, **ends, "set_size": 2.0}


def cell(variant: str, recipe: str, task: str = "t", shift: float = 0.0) -> Cell:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(40, 4)) + shift * np.random.default_rng(len(recipe) + ord(variant[-1])).normal(
        size=(40, 4)
    )
    return make_cell(
        ids=[str(i) for i in range(40)],
        answers=[i % 4 for i in range(40)],
        scores=scores.tolist(),
        kind="logits",
        model={"name": "m"},
        variant={"name": variant, "recipe": recipe},
        task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
    )


def test_by_hand() -> None:
    rows = [
        row("dense", 0.60, None),
        row("gptq-w3", 0.50, -0.10, 0.02),
        row("gptq-w3@seed2", 0.46, -0.14, 0.03),
        row("gptq-w3@seed10", 0.61, 0.01, 0.04),
        row("wanda-s50@seed1", 0.5, -0.1),
    ]
    cells = [cell("gptq-w3", "gptq; sample text x, 32 x 512 tokens, seed 5")]
    cells += [cell(f"gptq-w3@seed{n}", f"gptq; sample text x, 32 x 512 tokens, seed {n}") for n in (2, 10)]
    (found,) = seed_spread(rows, cells)
    assert tuple(found) == SEED_SPREAD_KEYS
    assert (found["variant"], found["n_seeds"], found["seeds"]) == ("gptq-w3", 3, [2, 5, 10])
    assert found["accuracy_mean"] == pytest.approx((0.50 + 0.46 + 0.61) / 3)
    assert (found["accuracy_low"], found["accuracy_high"]) == (0.46, 0.61)
    assert found["accuracy_deviation"] == pytest.approx(np.std([0.50, 0.46, 0.61], ddof=1))
    changes = [-0.10, -0.14, 0.01]
    assert found["accuracy_change_mean"] == pytest.approx(np.mean(changes))
    assert (found["accuracy_change_low"], found["accuracy_change_high"]) == (-0.14, 0.01)
    deviation = np.std(changes, ddof=1)
    assert found["accuracy_change_deviation"] == pytest.approx(deviation)
    assert found["accuracy_same_direction"] == pytest.approx(2 / 3)
    assert found["accuracy_change_half_width"] == pytest.approx(0.03)
    assert found["accuracy_change_seeds_over_items"] == pytest.approx(deviation / (0.03 / 1.959964))
    low, high = (deviation * np.sqrt(2 / scipy.stats.chi2.ppf(p, 2)) for p in (0.975, 0.025))
    assert found["accuracy_change_deviation_low"] == pytest.approx(low)
    assert found["accuracy_change_deviation_high"] == pytest.approx(high)
    assert (found["set_size_deviation"], found["set_size_change_mean"]) == (0.0, None)
    assert found["set_size_change_seeds_over_items"] is None


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_interval_of_a_deviation_holds_the_truth(n: int) -> None:
    samples = np.random.default_rng(n).normal(scale=2.0, size=(4000, n)).std(axis=1, ddof=1)
    held = np.mean([low <= 2.0 <= high for low, high in (deviation_interval(one, n) for one in samples)])
    assert held == pytest.approx(0.95, abs=0.012)


def test_the_same_seed_counts_once_and_other_recipes_apart() -> None:
    rows = [row("gptq-w3", 0.5, -0.1), row("gptq-w3@seed0", 0.9, 0.3), row("gptq-w3@seed1", 0.6, 0.0)]
    recipe = "gptq; sample text x, 32 x 512 tokens, seed {}"
    cells = [cell("gptq-w3", recipe.format(0)), cell("gptq-w3@seed0", recipe.format(0))]
    cells += [cell("gptq-w3@seed1", recipe.format(1))]
    for order in (rows, rows[::-1]):
        (found,) = seed_spread(order, cells)
        assert (found["seeds"], found["accuracy_high"]) == ([0, 1], 0.6), "the name without a seed is seed 0"
    assert seed_spread(rows[:2], cells) == []
    # twice as much text is no other seed of the same recipe
    other = [*cells[:2], cell("gptq-w3@seed1", "gptq; sample text x, 64 x 512 tokens, seed 1")]
    assert seed_spread(rows, other) == []


def test_settings_are_kept_apart() -> None:
    rows = [row(name, 0.5, -0.1) | {"task": task} for task in ("s", "t") for name in ("gptq-w3", "gptq-w3@seed1")]
    assert [(found["task"], found["seeds"]) for found in seed_spread(rows, [])] == [("s", [None, 1]), ("t", [None, 1])]
    assert seed_spread([rows[0], rows[1] | {"shots": 1}], []) == []
    assert seed_spread([row("my model!", 0.5, 0.1), row("dense", 0.5, None)], []) == []


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cells = [cell("dense", "none")]
    cells += [
        cell(name, "gptq; sample text x, seed " + name[-1], shift=0.5) for name in ("gptq-w3@seed1", "gptq-w3@seed2")
    ]
    for index, one in enumerate(cells):
        write_cell(tmp_path / f"{index}.parquet", one)
    assert main(["metrics", str(tmp_path), "--seeds", "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert found["seeds"] == [1, 2]
    rows = {str(one["variant"]): one for one in measure(cells)}
    for metric in ("accuracy", "set_size"):
        values = [rows[f"gptq-w3@seed{n}"][f"{metric}_change"] for n in (1, 2)]
        assert found[f"{metric}_change_mean"] == pytest.approx(np.mean(values))
        widths = [
            float(str(rows[f"gptq-w3@seed{n}"][f"{metric}_change_high"]))
            - float(str(rows[f"gptq-w3@seed{n}"][f"{metric}_change_low"]))
            for n in (1, 2)
        ]
        assert found[f"{metric}_change_half_width"] == pytest.approx(np.mean(widths) / 2)
    assert main(["metrics", str(tmp_path), "--seeds"]) == 0
    assert "seeds_over_items" in capfd.readouterr().out
    assert main(["metrics", str(tmp_path / "0.parquet"), "--seeds"]) == 2
    assert "no variant was made with two seeds of sample text" in capfd.readouterr().err
