"""The front door: what Python users call, on what they have at hand, and what they are told when it does not fit."""

from __future__ import annotations

import doctest
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from netcal.metrics import ECE

import suite
from suite.cell import write_cell
from suite.cli import main

ROOT = Path(__file__).resolve().parent.parent


def logits_and_answers(n: int = 300, options: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    answers = draw.integers(0, options, n)
    logits = draw.normal(size=(n, options))
    logits[np.arange(n), answers] += 1.0
    return logits.astype(np.float32), answers


def test_five_lines_from_logits_to_figures() -> None:
    logits, answers = logits_and_answers()
    (row,) = suite.measure(suite.make_cell(logits, answers))
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(1, keepdims=True)
    correct = logits.argmax(1) == answers
    assert row["accuracy"] == pytest.approx(correct.mean())
    assert row["ece"] == pytest.approx(ECE(15).measure(probabilities.max(1), correct), abs=1e-9)
    assert row["nll"] == pytest.approx(-np.log(probabilities[np.arange(300), answers]).mean(), abs=1e-6)
    for key in ("accuracy", "lac_set_size", "lac_coverage", "ece"):
        assert row[f"{key}_low"] < row[key] < row[f"{key}_high"] or key == "ece"
    # split conformal by hand, averaged over halves: the set size is near the published definition's
    order = np.random.default_rng(1)
    sizes = []
    for _ in range(200):
        mixed = order.permutation(300)
        calibration, test = mixed[:150], mixed[150:]
        scores = np.sort(1 - probabilities[calibration, answers[calibration]])
        threshold = scores[int(np.ceil(151 * 0.9)) - 1]
        sizes.append((1 - probabilities[test] <= threshold).sum(1).mean())
    assert row["lac_set_size"] == pytest.approx(np.mean(sizes), abs=0.06)


@pytest.mark.parametrize("form", ["array", "lists", "tensor", "half tensor", "rows of arrays"])
def test_logits_of_any_form_are_the_same_cell(form: str) -> None:
    import torch

    logits, answers = logits_and_answers(20)
    logits = logits.astype(np.float16).astype(np.float32)
    given: Any = {
        "array": logits,
        "lists": logits.tolist(),
        "tensor": torch.tensor(logits),
        "half tensor": torch.tensor(logits).half().requires_grad_(),
        "rows of arrays": list(logits),
    }[form]
    targets: Any = torch.tensor(answers) if "tensor" in form else answers.tolist()
    cell = suite.make_cell(given, targets, ids=range(20))
    np.testing.assert_array_equal(cell.scores, logits)
    assert cell.ids == tuple(map(str, range(20)))
    assert cell.answers.tolist() == answers.tolist()


def test_ragged_options() -> None:
    cell = suite.make_cell([[1.0, 2.0], [1.0, 2.0, 3.0]], [1, 2])
    assert cell.n_options.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": np.zeros(4)}, "shape [4]"),
        ({"logits": np.zeros((4, 2, 2))}, "shape [4, 2, 2]"),
        ({"logits": [1.0, 2.0]}, "item 0"),
        ({"logits": [["a", "b"]] * 4}, "not numbers"),
        ({"logits": [[0.0, float("nan")]] * 4}, "not usable"),
        ({"answers": [0, 1, 0]}, "4 ids but 3 answers"),
        ({"answers": [0, 1, 0, 2]}, "answer 2 is outside"),
        ({"answers": [0, 1, 0, -1]}, "answer -1 is outside"),
        ({"answers": [0.5, 1, 0, 1]}, "not whole numbers"),
        ({"answers": ["A", "B", "A", "B"]}, "not whole numbers"),
        ({"answers": [[0], [1], [0], [1]]}, "shape [4, 1]"),
        ({"ids": [1, 1, 2, 3]}, "duplicate id '1'"),
        ({"ids": [1.5, 2, 3, 4]}, "an id is 1.5; text or a whole number is needed"),
        ({"ids": ["a"]}, "1 ids but 4"),
        ({"model": ""}, "model ''"),
        ({"kind": "logit"}, "logit"),
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"logits": [[0.0, 1.0]] * 4, "answers": [0, 1, 0, 1], **change}
    with pytest.raises(suite.SuiteError) as caught:
        suite.make_cell(given.pop("logits"), given.pop("answers"), **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("results/embedded", "suite.load_cells('results/embedded')"),
        ([], "no cells"),
        ([1], "not int"),
        ({"a": 1}, "not dict"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_cell_is_refused(cells: Any, words: str) -> None:
    for function in (suite.measure, suite.judge, suite.find_doses):
        with pytest.raises(suite.SuiteError) as caught:
            function(cells)
        assert words in str(caught.value)


def test_cells_of_two_runs_are_refused() -> None:
    logits, answers = logits_and_answers(120)
    with pytest.raises(suite.SuiteError, match="two cells are model/task/letter/base/0/dense"):
        suite.measure([suite.make_cell(logits, answers), suite.make_cell(-logits, answers)], replicates=0)


def test_doses_are_those_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits, answers = logits_and_answers(120)
    cells = [suite.make_cell(logits, answers), suite.make_cell(logits[::-1].copy(), answers, variant="rtn-w2")]
    for cell in cells:
        write_cell(tmp_path / f"{cell.variant['name']}.parquet", cell)
    command = ["dose", str(tmp_path), "--metric", "accuracy", "--tolerance", "0.1", "0.4", "--confidence", "0.9"]
    assert main([*command, "--json"]) == 0
    found = suite.find_doses(cells, metrics="accuracy", tolerances=[0.1, 0.4], confidence=0.9)
    assert json.loads(json.dumps(found)) == json.loads(capsys.readouterr().out)
    assert [record["lost_from"] for record in found] == ["rtn-w2", "rtn-w2"]
    assert {record["metric"] for record in suite.find_doses(cells)} == {"brier_ts"}
    assert len({record["metric"] for record in suite.find_doses(cells, metrics=[])}) == 5
    with pytest.raises(suite.SuiteError, match="did you mean nll_ts"):
        suite.find_doses(cells, metrics="nll")


def test_variants_are_compared_with_dense() -> None:
    logits, answers = logits_and_answers()
    cells = [suite.make_cell(logits, answers), suite.make_cell(logits / 3, answers, variant="rtn-w4", params_b=0.5)]
    rows = suite.measure(cells, replicates=100)
    assert [row["variant"] for row in rows] == ["dense", "rtn-w4"]
    assert rows[1]["accuracy_change"] == 0
    assert rows[1]["nll_change"] == pytest.approx(rows[1]["nll"] - rows[0]["nll"])
    assert rows[1]["params_b"] == 0.5
    verdicts = suite.judge(cells)
    assert {record["method"] for record in verdicts} == {"rtn"}


def test_rows_become_a_table_where_pandas_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, answers = logits_and_answers(120)
    rows = suite.measure(suite.make_cell(logits, answers), replicates=0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(suite.SuiteError, match="pandas is not installed"):
        rows.to_pandas()

    class Table:
        def __init__(self, rows: list[dict[str, Any]]) -> None:
            self.rows = rows

    monkeypatch.setitem(sys.modules, "pandas", type(sys)("pandas"))
    monkeypatch.setattr(sys.modules["pandas"], "DataFrame", Table, raising=False)
    assert rows.to_pandas().rows == list(rows)


def test_a_snapshot_of_cells_verifies(tmp_path: Path) -> None:
    logits, answers = logits_and_answers(150)
    cells = [suite.make_cell(logits, answers), suite.make_cell(logits / 3, answers, variant="rtn-w4")]
    board = suite.write_snapshot(cells, str(tmp_path / "snapshot"))
    assert board.name == "LEADERBOARD.md"
    assert board.is_file()
    assert suite.verify_snapshot(str(tmp_path / "snapshot")).problems == []
    again = suite.load_cells(str(tmp_path / "snapshot"))
    assert [cell.variant["name"] for cell in again] == ["dense", "rtn-w4"]
    np.testing.assert_array_equal(again[0].scores, logits)


def test_every_name_stays_callable_after_every_module_was_imported() -> None:
    code = (
        "import importlib, pkgutil, suite\n"
        "first = {name: getattr(suite, name) for name in suite.__all__}\n"
        "for module in pkgutil.iter_modules(suite.__path__):\n"
        "    if module.name != '__main__':\n"
        "        importlib.import_module(f'suite.{module.name}')\n"
        "assert all(getattr(suite, name) is value for name, value in first.items())\n"
        "assert set(suite.__all__) <= set(dir(suite))\n"
        "cell = suite.make_cell([[2., 0, 1], [0, 1, 3]] * 200, [0, 2] * 200)\n"
        "print(suite.measure([cell], replicates=0)[0]['lac_set_size'])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout == "1.0\n"


def test_no_name_is_a_submodule() -> None:
    assert {module.name for module in pkgutil.iter_modules(suite.__path__)}.isdisjoint(suite.__all__)


def test_an_unknown_name_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(AttributeError, match="measure"):
        suite.mesure  # noqa: B018


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, suite\n"
        "heavy = ('numpy', 'torch', 'pyarrow', 'scipy', 'transformers', 'pydantic')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[]\n"


def test_the_page_on_python_is_what_happens() -> None:
    found = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert found.attempted > 8
    assert found.failed == 0
