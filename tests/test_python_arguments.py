"""Python use: paths may be strings wherever a path is asked for, ids whole numbers wherever ids are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from support.synthetic_snapshot import small_snapshot

from suite.config import read_config
from suite.exporters import export_snapshot
from suite.importers import import_cells, store_cells
from suite.metrics.folds import hashed_folds, item_draws, unit_keys
from suite.models.model import content_parts, resolve_model, tensor_bits, tensor_sizes, weights_hash
from suite.publish.diff import compare
from suite.publish.manifest import read_manifest
from suite.publish.verify import verify
from suite.run.pipeline import publish
from suite.run.plan import plan
from suite.sample_text import read_sample_text
from suite.score.sheet import make_sheet
from suite.task import Question, Task, jsonl_task, select
from suite.tasks import get_task

QUIZ = {"id": 1, "question": "Why?", "choices": ["x", "y"], "answer_index": 0}


def test_snapshots(tmp_path: Path) -> None:
    snapshot = small_snapshot(tmp_path, variants=("dense", "rtn-w4"), n=20)
    run, again = str(tmp_path / "run"), str(tmp_path / "again")
    assert publish(run, read_config(f"{run}/config.yaml"), again)[0] == tmp_path / "again" / "LEADERBOARD.md"
    assert verify(again).problems == []
    assert read_manifest(again) == read_manifest(snapshot)
    assert compare(str(snapshot), again).lines()
    for path in export_snapshot("lm-eval", again, str(tmp_path / "out")):
        assert path.is_file()


def test_models_tasks_and_plans(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    folder = tiny_models["llama"]
    model = resolve_model(folder)
    assert model == resolve_model(str(folder))
    for measured in (tensor_bits, tensor_sizes, weights_hash):
        assert measured(str(folder)) == measured(folder)  # type: ignore[operator]
    assert content_parts(model)["weights"] == weights_hash(str(folder))
    file = tmp_path / "quiz.jsonl"
    file.write_text(json.dumps(QUIZ))
    assert get_task(file).revision == get_task(str(file)).revision == jsonl_task(str(file)).revision
    (tmp_path / "run.yaml").write_text(f"models: [{folder}]\ntasks: [{file}]\nvariants: [dense]\n")
    config = read_config(str(tmp_path / "run.yaml"))
    (cell,) = plan(config, str(tmp_path / "run"), dtype="float32", device="cpu")
    assert cell.path.is_relative_to(tmp_path / "run")
    file.with_suffix(".txt").write_text("one")
    assert read_sample_text(str(file.with_suffix(".txt"))).passages == ("one",)


def test_imports(tmp_path: Path) -> None:
    rows = np.arange(8, dtype=np.float32).reshape(1, 1, 4, 2)
    np.savez(tmp_path / "x.npz", logits=rows, models=np.array(["m"]), prompts=np.array(["p"]), answers=np.zeros(4, int))
    cells = import_cells("npz", str(tmp_path / "x.npz"), model="m", variant="dense", task="t")
    (path,) = store_cells(cells, str(tmp_path / "run"), replace=False)
    assert path.is_file()


def test_whole_numbers_as_ids() -> None:
    numbers, texts = [3, 1, 2], ["3", "1", "2"]
    assert unit_keys(numbers).tolist() == unit_keys(texts).tolist()
    assert item_draws(np.array(numbers), purpose="aps").tolist() == item_draws(texts, purpose="aps").tolist()  # type: ignore[arg-type]
    for one, other in zip(hashed_folds(numbers, splits=2).test, hashed_folds(texts, splits=2).test, strict=True):
        assert one.tolist() == other.tolist()
    questions = [Question(number, "Why?", ("x", "y"), 0, group=7) for number in numbers]  # type: ignore[arg-type]
    assert [(item.id, item.group) for item in questions] == [(text, "7") for text in texts]
    assert len(select(questions, 2)) == 2
    task = Task("own", "", "", "", "", "1", "custom", "2", "letter", load=lambda: questions)
    assert [item.id for item in make_sheet(task, limit=2).questions] == [item.id for item in select(questions, 2)]
