"""The pipeline: what is scored and what is not, and that no accident costs a number or makes a wrong one."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support.task_files import QUESTIONS, listing, spoil, write_task
from support.tiny_models import build_tokenizer

import suite.models.checkpoint
import suite.models.dtype
import suite.publish.snapshot
import suite.run.pipeline
from suite.cell import Cell, load_cells, read_cell, write_cell
from suite.cli import main
from suite.config import RunConfig, parse_config
from suite.errors import SuiteError
from suite.models import load_report
from suite.publish.failures import read_failures
from suite.run.pipeline import RunResult, execute, publish
from suite.score.store import ShardStore
from suite.score.transformers import budget, engine

VARIANTS = ("dense", "rtn-w3", "magnitude-s50")
STYLE = "cloze-sum-base-0"
BUDGET = 30


@pytest.fixture(autouse=True)
def _fixed_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, so that a cell has several parts, and the same ones everywhere."""
    monkeypatch.setattr(budget, "measure_budget", lambda _: BUDGET)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are added up in another order by another number of threads; the killed runs have one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _cheap_collections() -> Iterator[None]:
    """A run collects garbage after every model; in a test process that is half a second over everybody's objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def models(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two checkpoints that this module may copy and rename."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        name: Path(shutil.copytree(tiny_models[shape], folder / name))
        for name, shape in (("alpha", "llama"), ("beta", "mistral"))
    }


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "quiz.jsonl")


@pytest.fixture(scope="module")
def config(models: dict[str, Path], task: Path) -> RunConfig:
    return parse_config(
        {
            "models": [str(path) for path in models.values()],
            "tasks": [str(task)],
            "variants": list(VARIANTS),
            "dtype": "float32",
            "device": "cpu",
            "protocol": {"splits": 5, "replicates": 20},
        },
        "test",
    )


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A complete run that no test may change."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "measure_budget", lambda _: BUDGET)
        return out, execute(config, out, log=lambda _: None)


@pytest.fixture
def out(finished: tuple[Path, RunResult], tmp_path: Path) -> Path:
    """A complete run to work on."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@contextlib.contextmanager
def nothing_loaded() -> Iterator[None]:
    """Inside, no model may be loaded: whatever is scored would have to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite.models.checkpoint, "load", lambda *_, **__: pytest.fail("a model was loaded"))
        yield


def again(config: RunConfig, out: Path, *, tables: bool = False, **options: Any) -> tuple[RunResult, list[str]]:
    """Run, and what it said. The tables cost more time than the cells: they are made where a test reads them."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        if not tables:
            patch.setattr(suite.run.pipeline, "publish", lambda out, *_: (out / "LEADERBOARD.md", []))
            patch.setattr(suite.publish.snapshot, "write_tables", lambda out, _: out / "LEADERBOARD.md")
        return execute(config, out, log=lines.append, **options), lines


def path_of(out: Path, model: str, variant: str) -> Path:
    return out / "cells" / model / "quiz" / STYLE / f"{variant}.parquet"


def scores(out: Path) -> dict[tuple[str, str], Any]:
    """Every cell's ids and numbers by model and variant."""
    return {
        (str(cell.model["name"]), str(cell.variant["name"])): (cell.ids, cell.scores.tobytes())
        for cell in load_cells([out])
    }


def cell_bytes(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in (out / "cells").rglob("*.parquet")}


def with_models(config: RunConfig, *folders: Path) -> RunConfig:
    return replace(config, models=tuple(map(str, folders)))


# a run from the start


def test_every_cell_is_scored_and_published(finished: tuple[Path, RunResult], config: RunConfig) -> None:
    out, result = finished
    assert (result.scored, result.reused, result.failures) == (6, 0, [])
    assert result.leaderboard == out / "LEADERBOARD.md"
    assert result.highlights
    cells = load_cells([out])
    assert [(cell.model["name"], cell.variant["name"]) for cell in cells] == [
        (model, variant) for model in ("alpha", "beta") for variant in sorted(VARIANTS)
    ]
    for cell in cells:
        assert Path(cell.path) == path_of(out, cell.model["name"], cell.variant["name"])
        assert cell.ids == tuple(record["id"] for record in QUESTIONS)
        assert cell.answers.tolist() == [record["answer_index"] for record in QUESTIONS]
        assert cell.subjects == tuple(record["subject"] for record in QUESTIONS)
        assert cell.run["dtype"] == "float32"
    assert len({cell.run["key"] for cell in cells}) == 6
    page = (out / "LEADERBOARD.md").read_text(encoding="utf-8")
    for name in ("alpha", "beta", "quiz", *VARIANTS):
        assert name in page
    assert len((out / "rows.csv").read_text(encoding="utf-8").splitlines()) == 7
    assert list((out / "figures").glob("*.png"))
    text = (out / "config.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# {config.hash}\n")
    assert parse_config(yaml.safe_load(text), "kept") == config


def test_a_finished_run_has_no_leftovers(finished: tuple[Path, RunResult]) -> None:
    names = listing(finished[0])
    assert not [name for name in names if ".partial" in name or "superseded" in name or "failed" in name]
    assert {name.split("/")[0] for name in names if name.startswith(".")} == {".lock", ".replicates"}


def test_variants_differ_and_models_differ(finished: tuple[Path, RunResult]) -> None:
    numbers = [raw for _, raw in scores(finished[0]).values()]
    assert len(set(numbers)) == 6


def test_the_environment_is_recorded(finished: tuple[Path, RunResult]) -> None:
    environment = json.loads((finished[0] / "environment.json").read_text(encoding="utf-8"))
    assert (environment["dtype"], environment["device"]) == ("float32", "cpu")
    assert environment["asked"] == {"dtype": "float32", "device": "cpu"}
    assert {"torch", "transformers", "mapie", "suite"} <= set(environment["versions"])
    assert set(environment["token_budgets"].values()) == {BUDGET}


def test_publishing_again_gives_the_same_tables(out: Path, config: RunConfig) -> None:
    names = ("LEADERBOARD.md", "rows.csv", "rows.parquet")
    before = [(out / name).read_bytes() for name in names]
    for name in names:
        (out / name).unlink()
    publish(out, config)
    assert [(out / name).read_bytes() for name in names] == before


# what is there already


def test_a_second_run_scores_nothing(out: Path, config: RunConfig) -> None:
    before = cell_bytes(out)
    start = time.perf_counter()
    with nothing_loaded():
        result, lines = again(config, out, tables=True)
    assert time.perf_counter() - start < 20
    assert (result.scored, result.reused) == (0, 6)
    assert lines == ["6 cells: 6 are there already, 0 to score"]
    assert cell_bytes(out) == before
    assert ".superseded" not in listing(out)


def test_a_renamed_checkpoint_is_not_scored_again(
    out: Path, config: RunConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    renamed = Path(shutil.copytree(models["alpha"], tmp_path / "gamma"))
    before = scores(out)
    with nothing_loaded():
        result, _ = again(with_models(config, renamed, models["beta"]), out, tables=True)
    assert (result.scored, result.reused) == (0, 6)
    after = scores(out)
    for variant in VARIANTS:
        assert after["gamma", variant] == before["alpha", variant]
        cell = read_cell(path_of(out, "gamma", variant))
        assert (cell.model["name"], cell.model["id"]) == ("gamma", "gamma")
    assert "gamma" in result.leaderboard.read_text(encoding="utf-8")


def test_one_checkpoint_under_two_names_stays_as_it_is(
    out: Path, config: RunConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    twin = Path(shutil.copytree(models["alpha"], tmp_path / "gamma"))
    both = with_models(config, models["alpha"], twin)
    with nothing_loaded():
        again(both, out)
        before = cell_bytes(out)
        again(both, out)
    assert cell_bytes(out) == before
    assert ".superseded" not in listing(out)


def test_another_checkpoint_of_the_same_name_shares_nothing(
    out: Path, config: RunConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    before = scores(out)
    impostor = Path(shutil.copytree(models["beta"], tmp_path / "elsewhere" / "alpha"))
    # another weight, so that it is neither of the two
    file = impostor / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[:-4] + np.float32(0.25).tobytes())
    result, _ = again(with_models(config, impostor), out)
    assert (result.scored, result.reused) == (3, 0)
    during = scores(out)
    for variant in VARIANTS:
        assert during["alpha", variant] != before["alpha", variant]
        assert during["alpha", variant] != before["beta", variant]
    with nothing_loaded():
        result, _ = again(config, out)
    assert (result.scored, result.reused) == (0, 6)
    assert scores(out) == before
    with nothing_loaded():
        again(with_models(config, impostor), out)
    assert scores(out) == during


def test_two_checkpoints_that_swap_names_swap_cells(
    out: Path, config: RunConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    swapped = [
        Path(shutil.copytree(models[old], tmp_path / new)) for old, new in (("alpha", "beta"), ("beta", "alpha"))
    ]
    before = scores(out)
    for folders in (swapped, list(models.values()), swapped[::-1]):
        with nothing_loaded():
            again(with_models(config, *folders), out)
        exchange = folders != list(models.values())
        after = scores(out)
        for variant in VARIANTS:
            assert after["alpha", variant] == before["beta" if exchange else "alpha", variant]
            assert after["beta", variant] == before["alpha" if exchange else "beta", variant]


def test_two_models_of_one_name_are_refused(
    out: Path, config: RunConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    twin = Path(shutil.copytree(models["beta"], tmp_path / "alpha"))
    with pytest.raises(
        SuiteError, match="have the same model, task, style and variant name: alpha/quiz/dense; rename one"
    ):
        again(with_models(config, models["alpha"], twin), out)


def test_a_limit_sets_cells_aside_and_finds_them_again(out: Path, config: RunConfig) -> None:
    before = scores(out)
    result, _ = again(config, out, limit=5)
    assert (result.scored, result.reused) == (6, 0)
    shorter = scores(out)
    for key, (ids, _) in shorter.items():
        assert len(ids) == 5
        assert set(ids) < set(before[key][0])
    assert len(listing(out / ".superseded")) == 6
    with nothing_loaded():
        assert again(config, out)[0].reused == 6
        assert scores(out) == before
        assert again(config, out, limit=5)[0].reused == 6
        assert scores(out) == shorter


def test_a_part_scores_the_same_numbers_as_the_whole(out: Path, config: RunConfig) -> None:
    whole = {cell.path: dict(zip(cell.ids, cell.scores.tolist(), strict=True)) for cell in load_cells([out])}
    again(config, out, limit=5, only="alpha")
    for cell in load_cells([out / "cells" / "alpha"]):
        for item, row in zip(cell.ids, cell.scores, strict=True):
            known = whole[cell.path][item][: len(row)]
            np.testing.assert_allclose(row[: len(known)], known, atol=1e-4)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("rtn-*", {("alpha", "rtn-w3"), ("beta", "rtn-w3")}),
        ("alpha", {("alpha", variant) for variant in VARIANTS}),
        ("beta/quiz/dense", {("beta", "dense")}),
        ("*/dense", {("alpha", "dense"), ("beta", "dense")}),
    ],
)
def test_only_the_cells_that_match_are_scored(
    config: RunConfig, tmp_path: Path, only: str, expected: set[tuple[str, str]]
) -> None:
    result, _ = again(config, tmp_path / "run", only=only)
    assert set(scores(tmp_path / "run")) == expected
    assert result.scored == len(expected)


def test_cells_that_do_not_match_are_left_as_they_are(out: Path, config: RunConfig) -> None:
    before = cell_bytes(out)
    result, _ = again(config, out, limit=5, only="alpha/quiz/rtn-w3")
    assert (result.scored, result.reused) == (1, 0)
    after = cell_bytes(out)
    assert [name for name in before if after[name] != before[name]] == [f"cells/alpha/quiz/{STYLE}/rtn-w3.parquet"]


def test_another_tokenizer_or_dtype_or_configuration_is_scored_again(
    out: Path, config: RunConfig, models: dict[str, Path], tmp_path: Path
) -> None:
    alpha = Path(shutil.copytree(models["alpha"], tmp_path / "alpha"))
    only_alpha = with_models(config, alpha)
    assert again(replace(only_alpha, dtype="bfloat16"), out)[0].scored == 3
    with nothing_loaded():
        assert again(only_alpha, out)[0].reused == 3
    build_tokenizer(bos=True).save_pretrained(alpha)
    assert again(only_alpha, out)[0].scored == 3
    text = json.loads((alpha / "config.json").read_text(encoding="utf-8"))
    (alpha / "config.json").write_text(json.dumps(text | {"rms_norm_eps": 0.5}), encoding="utf-8")
    assert again(only_alpha, out)[0].scored == 3


def test_other_questions_under_the_same_name_are_scored_again(out: Path, config: RunConfig, tmp_path: Path) -> None:
    changed = write_task(tmp_path / "quiz.jsonl", [QUESTIONS[0] | {"question": "Which?"}, *QUESTIONS[1:]])
    config = replace(config, tasks=(replace(config.tasks[0], name=str(changed)),))
    assert again(config, out)[0].scored == 6


def test_dtype_is_decided_once_for_a_directory(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = iter([{"bfloat16": 10.0, "float32": 100.0}, {"bfloat16": 100.0, "float32": 10.0}])
    monkeypatch.setattr(suite.models.dtype, "measure_dtypes", lambda *_: next(speeds))
    config = replace(config, dtype="auto", variants=("dense",))
    assert again(config, tmp_path / "run")[0].scored == 2
    with nothing_loaded():
        assert again(config, tmp_path / "run")[0].reused == 2
    environment = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert (environment["dtype"], environment["dtype_gflops"]["float32"]) == ("float32", 100.0)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_a_damaged_environment_is_one_line(out: Path, config: RunConfig, text: str) -> None:
    (out / "environment.json").write_text(text, encoding="utf-8")
    with pytest.raises(SuiteError, match=r"environment\.json: damaged; remove it, the cells are kept"):
        again(config, out)


# damage


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_cell_is_named_and_scored_again(out: Path, config: RunConfig, damage: str) -> None:
    path = path_of(out, "beta", "rtn-w3")
    before = scores(out)
    raw = bytearray(path.read_bytes())
    raw[200] ^= 0x55
    path.write_bytes({"cut": bytes(raw[:400]), "flipped": bytes(raw), "empty": b""}[damage])
    result, lines = again(config, out)
    assert (result.scored, result.reused) == (1, 5)
    assert len([line for line in lines if str(path) in line]) == 1
    assert scores(out) == before
    with nothing_loaded():
        _, lines = again(config, out)
    assert lines == ["6 cells: 6 are there already, 0 to score"]


def test_an_edited_cell_is_scored_again(out: Path, config: RunConfig) -> None:
    """It is a good file of other numbers, moved to this name by hand."""
    before = scores(out)
    shutil.copy(path_of(out, "alpha", "dense"), path_of(out, "beta", "dense"))
    result, _ = again(config, out)
    assert (result.scored, result.reused) == (1, 5)
    assert scores(out) == before


def test_cells_from_elsewhere_are_set_aside_and_not_lost(out: Path, config: RunConfig) -> None:
    """Imported cells have no key."""
    import suite.cell

    replaced = []
    for variant in VARIANTS[:2]:
        for model in ("alpha", "beta"):
            path = path_of(out, model, variant)
            cell = read_cell(path)
            replaced.append(cell.scores.tobytes())
            suite.cell.write_cell(path, replace(cell, run={}))
    assert again(config, out)[0].scored == 4
    kept = [read_cell(path).scores.tobytes() for path in (out / ".superseded").iterdir()]
    assert sorted(kept) == sorted(replaced)


def test_files_that_a_killed_run_was_writing_are_removed(out: Path, config: RunConfig) -> None:
    half = [path_of(out, "alpha", "x").with_name(".x.parquet.9.partial"), out / ".rows.csv.9.partial"]
    for path in half:
        path.write_bytes(b"half")
    with nothing_loaded():
        again(config, out)
    assert not any(path.exists() for path in half)


# failures


@pytest.fixture
def broken(models: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint with a weight that is not a number."""
    folder = Path(shutil.copytree(models["alpha"], tmp_path / "broken"))
    spoil(folder)
    return folder


def write_config(path: Path, config: RunConfig) -> Path:
    path.write_text(config.to_yaml(), encoding="utf-8")
    return path


def test_a_failed_cell_is_recorded_and_the_others_finish(
    out: Path, config: RunConfig, broken: Path, models: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    file = write_config(out.parent / "c.yaml", with_models(config, broken, models["beta"]))
    shutil.rmtree(out / "cells" / "beta")
    before = set(listing(out / "cells"))
    assert main(["run", str(file), "--out", str(out)]) == 1
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("suite: failed cell broken/quiz/")]) == 3
    new = {name for name in set(listing(out / "cells")) - before if name.endswith((".json", ".parquet"))}
    assert new == {f"broken/quiz/{STYLE}/{variant}.failed.json" for variant in VARIANTS} | {
        f"beta/quiz/{STYLE}/{variant}.parquet" for variant in VARIANTS
    }
    records = read_failures(out)
    assert {record["variant"] for record in records} == set(VARIANTS)
    assert {record["model"] for record in records} == {"broken"}
    assert all("not finite" in record["reason"] for record in records)
    page = (out / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert "broken" in page
    assert "not finite" in page


def test_a_repaired_checkpoint_clears_the_record(
    out: Path, config: RunConfig, broken: Path, models: dict[str, Path]
) -> None:
    config = with_models(config, broken, models["beta"])
    assert len(again(config, out)[0].failures) == 3
    shutil.copy(models["alpha"] / "model.safetensors", broken)
    with nothing_loaded():
        result, _ = again(config, out, tables=True)
    assert (result.failures, read_failures(out)) == ([], [])
    assert "not finite" not in result.leaderboard.read_text(encoding="utf-8")


def test_a_failure_does_not_leave_the_cell_of_other_weights(
    out: Path, config: RunConfig, broken: Path, models: dict[str, Path]
) -> None:
    impostor = broken.rename(broken.parent / "alpha")
    before = scores(out)
    assert len(again(with_models(config, impostor), out)[0].failures) == 3
    assert set(scores(out)) == {("beta", variant) for variant in VARIANTS}
    with nothing_loaded():
        again(config, out)
    assert scores(out) == before
    assert read_failures(out) == []


def test_a_variant_that_does_not_fit_leaves_the_others(out: Path, config: RunConfig) -> None:
    result, _ = again(replace(config, variants=(*VARIANTS, "rtn-w4-g64", "magnitude-s20")), out)
    assert (result.scored, result.reused) == (2, 6)
    assert [failure["variant"] for failure in result.failures] == ["rtn-w4-g64"] * 2
    assert "group size 64 does not divide the 96 inputs" in result.failures[0]["reason"]


def test_memory_that_runs_out_fails_one_cell(out: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(out, "alpha", "rtn-w3").unlink()
    path_of(out, "beta", "rtn-w3").unlink()
    read, calls = engine.log_likelihoods, []

    def hungry(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) <= 30 and args[0].config.model_type == "llama":
            raise MemoryError
        return read(*args, **options)

    monkeypatch.setattr(engine, "log_likelihoods", hungry)
    result, _ = again(config, out)
    assert result.scored == 1
    (failure,) = result.failures
    assert (failure["model"], failure["variant"]) == ("alpha", "rtn-w3")
    assert "out of memory" in failure["reason"]


def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(
    config: RunConfig, finished: tuple[Path, RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    write, written = ShardStore.write, []

    def full(self: ShardStore, number: int, values: Any) -> None:
        written.append(number)
        if len(written) == 9:
            raise SuiteError("cannot write x: No space left on device; free some disk space and start again")
        write(self, number, values)

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "write", full)
        with pytest.raises(SuiteError, match="No space left"):
            again(config, out)
    kept = len(cell_bytes(out))
    assert 0 < kept < 6
    result, _ = again(config, out)
    assert (result.scored, result.reused) == (6 - kept, kept)
    assert scores(out) == scores(finished[0])


# two runs, and runs that are killed


LOCK = (
    "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


def test_two_runs_in_one_directory_are_refused(out: Path, config: RunConfig, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_config(out.parent / "c.yaml", config)
    before = cell_bytes(out)
    command = [sys.executable, "-c", LOCK, str(out / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert main(["run", str(file), "--out", str(out), "--limit", "5"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"suite: {out}: another run (process ")
        assert line.endswith("wait for it, or name another --out")
        assert cell_bytes(out) == before
        holder.communicate("\n")
    with nothing_loaded():
        again(config, out)


FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    [
        "torch",
        "transformers.models.llama.modeling_llama",
        "transformers.models.mistral.modeling_mistral",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "suite.run.pipeline",
        "suite.models.checkpoint",
        "suite.score.transformers.engine",
        "suite.metrics.rows",
        "suite.publish.snapshot",
    ]
)


def slow_run(file: Path, out: Path, errors: Path, delay: float) -> None:
    """The body of a process: the command line with a delay at every batch and small batches."""
    import torch

    torch.set_num_threads(1)
    # a test run started in the background inherits an ignored interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    read = engine.log_likelihoods

    def slowed(*args: Any, **options: Any) -> Any:
        time.sleep(delay)
        return read(*args, **options)

    engine.log_likelihoods = slowed
    budget.measure_budget = lambda _: BUDGET
    sys.exit(main(["run", str(file), "--out", str(out)]))


@pytest.fixture
def start(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a slow run in a process of its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = write_config(tmp_path / "c.yaml", config)

    def call(out: Path, delay: float = 0.05) -> Any:
        process = FORK.Process(target=slow_run, args=(file, out, tmp_path / "stderr", delay))
        process.start()
        return process

    return call


def wait_for(process: Any, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.is_alive(), "the run ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def parts(out: Path) -> int:
    """How much of a run is on disk: finished cells count more than the parts of an unfinished one."""
    # os.walk bears with folders that vanish meanwhile
    names = [name for _, _, files in os.walk(out) for name in files if not name.startswith(".")]
    weights = {".parquet": 1000, ".shard": 1}
    return sum(weights.get(Path(name).suffix, 0) for name in names)


def test_a_run_killed_again_and_again_ends_with_the_same_numbers(
    config: RunConfig, finished: tuple[Path, RunResult], start: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    generator = np.random.default_rng(0)
    for _ in range(4):
        process, before = start(out), parts(out)
        wait_for(process, lambda before=before: parts(out) > before)
        time.sleep(float(generator.uniform(0, 0.15)))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        for path in (out / "cells").rglob("[!.]*.parquet"):
            assert len(read_cell(path)) == 12
    assert len(cell_bytes(out)) < 6
    result, lines = again(config, out)
    assert result.scored + result.reused == 6
    assert not [line for line in lines if "damaged" in line]
    assert scores(out) == scores(finished[0])
    assert not [name for name in listing(out) if "partial" in name]


def test_finished_parts_of_a_killed_run_are_not_forwarded_again(
    config: RunConfig, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded: list[int] = []
    read = engine.log_likelihoods

    def counted(network: Any, items: Any, **options: Any) -> Any:
        forwarded.append(len(items))
        return read(network, items, **options)

    monkeypatch.setattr(engine, "log_likelihoods", counted)
    out = tmp_path / "run"
    process = start(out, delay=0.1)
    wait_for(process, lambda: parts(out) > 0)
    process.kill()
    process.join()
    assert parts(out) == 1
    again(config, out, only="alpha/quiz/dense")
    assert 0 < sum(forwarded) < 12


def test_ctrl_c_keeps_what_is_finished(
    config: RunConfig, finished: tuple[Path, RunResult], start: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for(process, lambda: parts(out) >= 1001)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    error = (tmp_path / "stderr").read_text(encoding="utf-8")
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("interrupted; what is finished is kept")
    assert not list(out.rglob(".*.partial"))
    result, _ = again(config, out)
    assert result.reused >= 1
    assert scores(out) == scores(finished[0])


def test_a_cell_says_which_model_and_variant_it_is(finished: tuple[Path, RunResult]) -> None:
    cells: dict[str, Cell] = {str(cell.variant["name"]): cell for cell in load_cells([finished[0] / "cells" / "alpha"])}
    assert cells["dense"].variant["bits_per_weight"] == 16
    assert cells["rtn-w3"].variant["bits_per_weight"] < 16
    assert cells["magnitude-s50"].variant["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert len({cell.model["weights_hash"] for cell in cells.values()}) == 1


def test_cells_of_an_earlier_version_count_while_their_checkpoint_is_read_today(
    models: dict[str, Path], task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left out what its network does not take, under the same key."""
    whole, half = models["alpha"], tmp_path / "half"
    shutil.copytree(whole, half)
    tensors = load_file(half / "model.safetensors")
    for layer in range(3):
        tensors[f"model.layers.{layer}.self_attn.o_proj.bias"] = torch.ones(64)
    save_file(tensors, half / "model.safetensors", {"format": "pt"})
    about = {"tasks": [str(task)], "variants": ["dense", "rtn-w3"], "dtype": "float32", "device": "cpu"}
    config = parse_config({"models": [str(whole), str(half)], **about}, "test")
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_report, "check", lambda *_: (frozenset(), []))
        again(config, out)
    result, _ = again(config, out)
    assert (result.scored, result.reused, result.failures) == (0, 4, [])
    for cell in load_cells([out]):
        write_cell(cell.path, replace(cell, run={k: v for k, v in cell.run.items() if k != "attention"}))
    result, lines = again(config, out)
    assert (result.scored, result.reused, len(result.failures)) == (0, 2, 2)
    assert all("o_proj.bias" in failure["reason"] for failure in result.failures)
    assert sum("earlier version" in line for line in lines) == 2
    assert {cell.model["name"] for cell in load_cells([out])} == {"alpha"}
    assert {failure["model"] for failure in read_failures(out)} == {"half"}
