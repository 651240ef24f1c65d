"""Which tasks tell something about the embedded model: the script's arithmetic, its table, and the configurations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from scripts.studies.task_signal import END, START, per_character, signal
from suite.cell import Cell, make_cell
from suite.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = [name for name, task in TASKS.items() if not task.needs]


def cell(right: int, n: int, *, first: int) -> Cell:
    """`n` items of two options; the first `first` answers are 0, and `right` items are answered correctly."""
    answers = [0] * first + [1] * (n - first)
    picked = [answer if index < right else 1 - answer for index, answer in enumerate(answers)]
    return make_cell(
        ids=[str(index) for index in range(n)],
        answers=answers,
        scores=[[1.0, 0.0] if pick == 0 else [0.0, 1.0] for pick in picked],
        kind="loglik",
        model={"name": "m"},
        variant={"name": "dense"},
        task={"name": "t", "scoring": "cloze-sum", "prompt": "base", "shots": 0},
    )


def test_signal_is_measured_against_the_better_guess() -> None:
    found = signal(cell(130, 200, first=100), [0, 1])
    assert (found.accuracy, found.guess) == (0.65, 0.5)
    assert found.low < 0.65 < found.high
    assert found.present
    lopsided = signal(cell(130, 200, first=124), [0] * 62 + [1] * 38)
    assert lopsided.guess == 0.62
    assert not lopsided.present, "always naming the first option would do nearly as well"


def test_per_character() -> None:
    found = per_character(cell(1, 2, first=1), [[2, 4], [5, 10]])
    np.testing.assert_allclose(found.scores, [[0.5, 0.0], [0.2, 0.0]], rtol=1e-6)
    assert found.task["scoring"] == "cloze-norm"


def table() -> dict[str, list[str]]:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    block = page.partition(START)[2].partition(END)[0]
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in block.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


def test_every_embedded_task_has_its_row_and_its_verdict_follows_from_it() -> None:
    rows = table()
    assert list(rows) == EMBEDDED
    for name, (_, _, guess, letter, cloze, norm, default, seconds, fit) in rows.items():
        shown = {"letter": letter, "cloze-sum": cloze, "cloze-norm": norm}
        assert default == TASKS[name].scoring
        low = float(re.findall(r"\[([\d.]+),", shown[default])[0])
        assert (fit == "yes") == (low > float(guess)), name
        assert float(seconds) > 0


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_of_the_embedded_model_avoid_unfit_tasks(config: Path) -> None:
    raw = yaml.safe_load(config.read_text(encoding="utf-8"))
    if raw["models"] != ["smollm2-135m"]:
        pytest.skip("a configuration of other models")
    rows = table()
    names = [entry["name"] if isinstance(entry, dict) else entry for entry in raw["tasks"]]
    assert [name for name in names if name in rows and rows[name][-1] != "yes"] == []
