"""Whatever runs a language model stands behind one seam: another one is a file and an entry, and nothing else knows."""

from __future__ import annotations

import ast
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from support.task_files import QUESTIONS, write_task

import suite.models.checkpoint
import suite.run.pipeline
from suite import measure
from suite.cell import Cell, load_cells
from suite.cli import main
from suite.config import parse_config
from suite.run.pipeline import execute
from suite.run.plan import plan
from suite.score.scorer import BACKENDS

ROOT = Path(__file__).resolve().parent.parent

FORMULA = '''
"""A scorer that loads nothing: an option's score is what its text weighs."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from suite.errors import CellFailure
from suite.score.sheet import Scores


@dataclass(frozen=True)
class FormulaScorer:
    """Weighs texts."""

    name: ClassVar[str] = "formula"
    version: ClassVar[int] = 2  # as the first: names tell their keys apart
    model: dict[str, Any]
    variant: dict[str, Any]
    tokenizer: None = None

    @classmethod
    def of(cls, subject):
        if subject.variant.family != "dense":
            raise CellFailure("formula scores dense models alone")
        return cls({"name": subject.model.name}, {"name": subject.variant.name})

    def scores(self, sheet, *, shards=None, progress=None):
        values = []
        for text in sheet.rendered:
            start = len(text.context) % 3
            values.append(np.array([-(len(option) % 5) - start for option in text.continuations], float))
            if progress:
                progress(1)
        return Scores(values, {"dtype": "float64", "device": "paper", "notes": ["nothing was loaded"]})
'''


@pytest.fixture
def formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one file and the one entry."""
    file = tmp_path / "formula.py"
    file.write_text(FORMULA, encoding="utf-8")
    spec = spec_from_file_location("suite.score.formula", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(BACKENDS, "formula", module.FormulaScorer)


def configuration(models: dict[str, Path], tmp_path: Path, **more: object) -> object:
    task = write_task(tmp_path / "quiz.jsonl")
    asked = {"models": [str(models["llama"])], "tasks": [str(task)], "variants": ["dense", "rtn-w3"]}
    return {**asked, "dtype": "float32", "device": "cpu", **more}


def test_another_scorer_goes_from_a_configuration_to_figures(
    formula: None, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite.models.checkpoint, "load", lambda *_, **__: pytest.fail("a network was loaded"))
    monkeypatch.setattr(suite.run.pipeline, "publish", lambda out, *_: (out / "LEADERBOARD.md", []))
    config = parse_config(configuration(tiny_models, tmp_path, scorer="formula"), "test")
    result = execute(config, tmp_path / "run", log=lambda _: None)
    assert (result.scored, [failure["reason"] for failure in result.failures]) == (
        1,
        ["formula scores dense models alone"],
    )
    cells: list[Cell] = load_cells([tmp_path / "run"])
    (cell,) = cells
    assert cell.run["scorer"] == {"name": "formula", "version": 2}
    assert (cell.run["device"], cell.run["notes"]) == ("paper", ["nothing was loaded"])
    # by hand: a choice with the space before it, its length modulo 5
    wanted = [[-((len(choice) + 1) % 5) for choice in question["choices"]] for question in QUESTIONS]
    for row, count, mine in zip(cell.scores, cell.n_options, wanted, strict=True):
        np.testing.assert_allclose(row[:count] - row[0], np.array(mine) - mine[0])
    right = [int(np.argmax(mine)) == question["answer_index"] for mine, question in zip(wanted, QUESTIONS, strict=True)]
    (row,) = measure(cells, splits=3, replicates=0)
    assert row["accuracy"] == pytest.approx(np.mean(right))
    assert execute(config, tmp_path / "run", log=lambda _: None).scored == 0


def test_two_scorers_have_two_keys_and_the_first_has_the_one_it_always_had(
    formula: None, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    raw = configuration(tiny_models, tmp_path)
    assert isinstance(raw, dict)
    plain, named, other = (
        parse_config({**raw, **more}, "test") for more in ({}, {"scorer": "transformers"}, {"scorer": "formula"})
    )
    keys = [[cell.key for cell in plan(one, "", dtype="float32", device="cpu")] for one in (plain, named, other)]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
    assert "\nscorer:" not in plain.to_yaml()
    assert "\nscorer: formula" in other.to_yaml()
    assert len({plain.hash, other.hash}) == 2


def test_a_name_that_is_no_scorer_is_answered_with_those_there_are(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path / "quiz.jsonl")
    args = [
        "score",
        "--model",
        tiny_models["llama"],
        "--task",
        task,
        "--scorer",
        "vllm",
        "--out",
        tmp_path / "x.parquet",
    ]
    assert main([str(arg) for arg in args]) == 2
    assert capsys.readouterr().err == "suite: unknown scorer 'vllm': Valid: transformers\n"


def test_nothing_outside_knows_what_runs_the_model() -> None:
    """Two files are enough for another one, because these are all that name the first."""
    knowing = set()
    for file in (ROOT / "suite").rglob("*.py"):
        words = {
            node.id for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
        }
        place = file.relative_to(ROOT / "suite").as_posix()
        if "NetworkScorer" in words and not place.startswith("score/transformers/"):
            knowing.add(place)
    # a network that a caller holds in memory is one of transformers
    assert knowing == {"score/scorer.py", "run/in_memory.py"}
