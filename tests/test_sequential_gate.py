"""Two models are asked item by item until a policy is decided: nothing is asked twice, cells on disk serve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.forward_passes import counted_items
from support.task_files import write_task

import suite.run.item_by_item
from suite.cell import Cell, load_cells, make_cell, read_cell, write_cell
from suite.cli import main
from suite.metrics.slices import subset

ITEMS = [
    {"id": f"q{row}", "question": f"What is {row}?", "choices": ["iron", "light", "water"], "answer_index": row % 3}
    for row in range(60)
]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path / "quiz.jsonl", ITEMS)


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each forward pass takes."""
    return counted_items(monkeypatch)


def policy(tmp_path: Path, limit: float = 0.3) -> Path:
    file = tmp_path / "ours.yaml"
    file.write_text(
        f"name: ours\nsource: us\ncriteria:\n- {{metric: accuracy, limit: {limit}, unit: points}}\n", encoding="utf-8"
    )
    return file


def gate(*args: object) -> int:
    shared = ("--sequential", "--dtype", "float32", "--device", "cpu")
    return main([str(arg) for arg in ("gate", *shared, *args)])


def test_models_at_chance_are_asked_every_item_once_and_go_to_review(
    tiny_models: dict[str, Path], task: Path, tmp_path: Path, forwarded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "run", tiny_models["llama"]
    args = ("--model", model, "--dense", model, "--variant", "rtn-w3", "--task", task, "--out", out)
    args = (*args, "--policy", policy(tmp_path), "--first", 10, "--batch", 20, "--json")
    assert gate(*args) == 3
    written = capsys.readouterr()
    (record,) = json.loads(written.out)
    assert (record["decision"], record["reason"]) == ("review", "blocked")
    assert record["notes"] == ["quiz: dense is not shown to answer better than a blind guess"]
    assert record["asked"] == {"quiz": 60}
    assert sum(forwarded) == 2 * 60
    assert [line.split()[0] for line in written.err.splitlines() if "items a task" in line] == ["20", "40", "60"]
    dense, other = sorted(load_cells([out]), key=lambda cell: not cell.is_dense)
    assert (dense.key.variant, other.key.variant) == ("dense", "rtn-w3")
    assert dense.ids == other.ids == tuple(item["id"] for item in ITEMS)
    whole = tmp_path / "whole.parquet"
    assert main(["score", "--model", str(model), "--task", str(task), "--dtype", "float32", "--out", str(whole)]) == 0
    np.testing.assert_allclose(dense.scores, read_cell(whole).scores, atol=1e-4)
    assert dense.run["key"] == read_cell(whole).run["key"]
    assert dense.task["prompt_hash"] == read_cell(whole).task["prompt_hash"]
    forwarded.clear()
    assert gate(*args) == 3
    assert json.loads(capsys.readouterr().out) == [record]
    assert forwarded == []


def scripted(task: str, *, wrong: int, variant: str) -> Cell:
    """A cell that is right but on every so many-th item."""
    scores = np.zeros((len(ITEMS), 3))
    for row, item in enumerate(ITEMS):
        right = int(str(item["answer_index"]))
        scores[row, right if not wrong or row % wrong else (right + 1) % 3] = 5.0 + row / 100
    return make_cell(
        ids=[str(item["id"]) for item in ITEMS],
        answers=[int(str(item["answer_index"])) for item in ITEMS],
        scores=scores.tolist(),
        kind="loglik",
        model={"name": "m"},
        variant={"name": variant},
        task={"name": task, "scoring": "cloze-sum", "prompt": "base", "shots": 0},
    )


def answering(monkeypatch: pytest.MonkeyPatch, *, wrong: int, **more: Any) -> list[int]:
    """Models answer as `scripted`, the compressed one's cells with more; returns how many items each is asked."""
    asked: list[int] = []

    def ask(growing: Any, ids: tuple[str, ...]) -> Cell:
        cell = scripted("quiz", wrong=wrong, variant=growing.planned.names.variant)
        asked.append(len(ids))
        if not cell.is_dense:
            cell = replace(cell, scores=cell.scores * 1.01, **more)
        return subset(cell, np.array([row for row, name in enumerate(cell.ids) if name in set(ids)]))

    monkeypatch.setattr(suite.run.item_by_item.GrowingCell, "ask", ask)
    return asked


@pytest.mark.parametrize(("wrong", "decision", "status"), [(2, "reject", 1), (0, "accept", 0)])
def test_it_stops_as_soon_as_it_is_decided_and_dense_cells_on_disk_are_not_scored(
    tiny_models: dict[str, Path],
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: int,
    decision: str,
    status: int,
) -> None:
    dense = tmp_path / "kept" / "dense.parquet"
    write_cell(dense, scripted("quiz", wrong=0, variant="dense"))
    dense = dense.parent if wrong else dense
    asked = answering(monkeypatch, wrong=wrong)
    args = ("--model", tiny_models["llama"], "--variant", "rtn-w3", "--dense", dense, "--task", task)
    args = (*args, "--out", tmp_path / "run", "--policy", policy(tmp_path, 0.1), "--first", 10, "--batch", 5)
    assert gate(*args, "--json") == status
    (record,) = json.loads(capsys.readouterr().out)
    assert record["decision"] == decision
    assert record["model"] == "m"
    used, scored = record["items"]["quiz"], record["asked"]["quiz"]
    assert used <= scored < 60
    assert scored - used < 5
    assert asked == list(range(5, scored + 1, 5))
    assert gate(*args) == status
    said = capsys.readouterr().out
    assert said.startswith("accuracy: lost at most")
    assert f"items: {used} of quiz" in said


def test_every_further_candidate_or_order_on_the_same_items_is_another_attempt(
    tiny_models: dict[str, Path],
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Later attempts are tested more strictly: the same answers need more items, or are not decided."""
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    dense = tmp_path / "dense.parquet"
    write_cell(dense, scripted("quiz", wrong=0, variant="dense"))
    answering(monkeypatch, wrong=0)

    def asked(variant: str, seed: int) -> dict[str, Any]:
        args = ("--model", tiny_models["llama"], "--variant", variant, "--dense", dense, "--task", task, "--json")
        gate(*args, "--out", tmp_path / f"{variant}-{seed}", "--policy", policy(tmp_path, 0.1), "--seed", seed)
        (record,) = json.loads(capsys.readouterr().out)
        return dict(record)

    found = [asked("rtn-w3", 0), asked("rtn-w3", 0), asked("rtn-w4", 0), asked("rtn-w3", 1)]
    assert [record["attempt"] for record in found] == [1, 1, 2, 3]
    assert found[0] == found[1]
    assert found[0]["decision"] == "accept"
    least = [record["items"]["quiz"] for record in found]
    assert least[0] < least[2] <= 60
    assert found[0]["criteria"][0]["upper"] <= found[2]["criteria"][0]["upper"]


@pytest.mark.parametrize(("wrong", "said"), [(2, ("reject", None)), (0, ("review", "blocked"))])
def test_arithmetic_that_changed_answers_stands_in_the_way_of_an_acceptance_alone(
    tiny_models: dict[str, Path],
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: int,
    said: tuple[str, str | None],
) -> None:
    """A broken model is rejected all the same, and a harmless one is asked until its limits hold and then reviewed."""
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    write_cell(tmp_path / "dense.parquet", scripted("quiz", wrong=0, variant="dense"))
    answering(monkeypatch, wrong=wrong, run={"drift": {"largest": 0.5, "changed_answers": 2.0}})
    args = ("--model", tiny_models["llama"], "--variant", "rtn-w3", "--dense", tmp_path / "dense.parquet")
    args = (*args, "--task", task, "--out", tmp_path / "run", "--policy", policy(tmp_path, 0.1), "--batch", 5)
    assert gate(*args, "--json") == {"reject": 1, "review": 3}[said[0]]
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["decision"], record["reason"]) == said
    assert record["notes"] == ["quiz: drift, 16-bit arithmetic changed answers"]
    assert 5 < record["asked"]["quiz"] < 60
    assert record["criteria"][0]["outcome"] == ("exceeded" if wrong else "within")


@pytest.fixture
def lock(tiny_models: dict[str, Path], task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Of one task and two candidates, under the policy of `policy(tmp_path, 0.1)`."""
    config, file = tmp_path / "run.yaml", tmp_path / "policy.lock"
    config.write_text(
        f"models: [{tiny_models['llama']}]\ntasks: [{task}]\nvariants: [dense, rtn-w4, rtn-w3]\ndtype: float32\n",
        encoding="utf-8",
    )
    ours = policy(tmp_path, 0.1)
    assert main(["policy", "lock", str(ours), "--config", str(config), "--out", str(file)]) == 0
    capsys.readouterr()
    return file


def test_a_lock_fixes_what_is_asked_and_is_stamped_on_the_compressed_cell(
    lock: Path, tiny_models: dict[str, Path], task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny_models["llama"], tmp_path / "run"
    args = ("--model", model, "--variant", "rtn-w3", "--dense", model, "--task", task, "--json", "--batch", 60)
    args = (*args, "--policy", policy(tmp_path, 0.1), "--out", out)
    assert gate(*args, "--lock", lock) == 3
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["unlocked"], record["asked"]) == (0, {"quiz": 60})
    known = json.loads(lock.read_text())["lock_hash"]
    assert {cell.key.variant: cell.run.get("lock") for cell in load_cells([out])} == {"dense": None, "rtn-w3": known}
    # what lay there without a hash does not get one
    bare = (*args[:-1], tmp_path / "bare")
    assert gate(*bare) == 3
    assert gate(*bare, "--lock", lock) == 3
    found = json.loads("[" + capsys.readouterr().out.strip().replace("]\n[", ",")[1:-1] + "]")
    assert [one["unlocked"] for one in found] == [1, 1]


def test_candidates_of_a_lock_have_the_whole_error_probability(
    lock: Path,
    tiny_models: dict[str, Path],
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    answering(monkeypatch, wrong=0)

    def asked(variant: str) -> dict[str, Any]:
        args = ("--model", tiny_models["llama"], "--variant", variant, "--dense", tiny_models["llama"], "--task", task)
        gate(*args, "--out", tmp_path / variant, "--policy", policy(tmp_path, 0.1), "--lock", lock, "--json")
        (record,) = json.loads(capsys.readouterr().out)
        return dict(record)

    found = [asked(variant) for variant in ("rtn-w3", "rtn-w4", "rtn-w2")]
    assert [record["attempt"] for record in found] == [1, 2, 3]
    least = [record["items"]["quiz"] for record in found]
    assert least[0] == least[1] < least[2]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--seed", 1), "fixes the items and their order"),
        (("--first", 20), "fixes the items and their order"),
        (("--limit", 20), "fixes the items and their order"),
        (("--policy", "industry-1-2"), "foreign lock: it fixes the policy ours"),
    ],
)
def test_what_a_lock_fixes_cannot_be_asked_otherwise(
    lock: Path,
    more: tuple[object, ...],
    said: str,
    tiny_models: dict[str, Path],
    task: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_models["llama"]
    args = ("--model", model, "--variant", "rtn-w3", "--dense", model, "--task", task, "--lock", lock)
    assert gate(*args, "--policy", policy(tmp_path, 0.1), *more) == 2
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1


def test_other_items_or_weights_than_the_locks_are_refused(
    lock: Path, tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = write_task(tmp_path / "other" / "quiz.jsonl", ITEMS[:40])
    shared = ("--variant", "rtn-w3", "--policy", policy(tmp_path, 0.1), "--lock", lock)
    model, another = tiny_models["llama"], tiny_models["qwen2"]
    assert gate("--model", model, "--dense", model, "--task", other, *shared) == 2
    assert "foreign lock: other items on quiz" in capsys.readouterr().err
    same = tmp_path / "quiz.jsonl"
    assert gate("--model", another, "--dense", another, "--task", same, *shared) == 2
    assert "foreign lock: other dense weights" in capsys.readouterr().err


def test_a_batch_changes_what_is_asked_and_not_what_is_decided(
    tiny_models: dict[str, Path], task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded scorer, asked in two ways: the same record but for what was asked."""
    model = tiny_models["llama"]
    args = ("--model", model, "--dense", model, "--variant", "rtn-w2", "--task", task, "--policy", policy(tmp_path))
    found: list[dict[str, Any]] = []
    for batch in (7, 60):
        gate(*args, "--first", 10, "--batch", batch, "--out", tmp_path / f"run-{batch}", "--json")
        found += json.loads(capsys.readouterr().out)
    assert found[0]["items"] == found[1]["items"]
    assert found[0]["decision"] == found[1]["decision"]
    for one, other in zip(found[0]["criteria"], found[1]["criteria"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert one["outcome"] == other["outcome"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--model", "{model}"), "needs --model and --dense"),
        (("--model", "{model}", "--dense", "{model}", "--task", "{task}"), "is the dense model too; name a --variant"),
        (("--model", "{model}", "--dense", "{model}", "--variant", "rtn-w3"), "names no task; say which with --task"),
        (
            ("--model", "{model}", "--dense", "{model}", "--variant", "rtn-w3", "--task", "{task}", "--first", "3"),
            "first 3: out of range",
        ),
        (
            ("--model", "{model}", "--dense", "{model}", "--variant", "rtn-w3", "--task", "{task}", "--batch", "0"),
            "batch 0: out of range",
        ),
    ],
)
def test_bad_input_is_said_in_one_line(
    tiny_models: dict[str, Path],
    task: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    said: str,
) -> None:
    words = [arg.format(model=tiny_models["llama"], task=task) for arg in args]
    assert gate(*words, "--policy", policy(tmp_path), "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_metric_without_a_bound_cannot_be_tested_item_by_item(
    tiny_models: dict[str, Path], task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = tmp_path / "nll.yaml", tiny_models["llama"]
    file.write_text("name: n\nsource: us\ncriteria:\n- {metric: nll_ts, limit: 0.1, unit: points}\n", encoding="utf-8")
    args = ("--model", model, "--dense", model, "--variant", "rtn-w3", "--task", task)
    assert gate(*args, "--policy", file) == 2
    assert "nll_ts of one item has no bound" in capsys.readouterr().err
    assert main(["gate", "--policy", "certainty"]) == 2
    assert "needs a run directory or a snapshot" in capsys.readouterr().err
