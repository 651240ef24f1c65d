"""The command line: what it prints, what it returns, and one line for everything a user can get wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.disks import small_disk
from support.gguf_files import write_gguf
from support.record_keys import VERDICT_KEYS
from support.task_files import QUESTIONS, listing, spoil, write_task

import suite.cli
from scripts.studies.synthetic import Population, draw_cells, plan_curve
from suite.cell import make_cell, read_cell, write_cell
from suite.cli import main
from suite.config import parse_config

CONFIG = "models: [{model}]\ntasks: [{{name: {task}, limit: 4}}]\nvariants: [dense]\ndtype: float32\ndevice: cpu\n"


@pytest.fixture
def llama(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint of its own for a test to damage."""
    return Path(shutil.copytree(tiny_models["llama"], tmp_path / "tiny-llama"))


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path / "quiz.jsonl")


@pytest.fixture
def config(tmp_path: Path, llama: Path, task: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(model=llama, task=task), encoding="utf-8")
    return path


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused: exit 2, one line on stderr, nothing on stdout, no file made or changed."""

    def call(*args: object) -> str:
        before = {name: (tmp_path / name).stat().st_mtime_ns for name in listing(tmp_path)}
        capfd.readouterr()
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        assert code == 2
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("suite: ")
        assert "Traceback" not in line
        after = {name: (tmp_path / name).stat().st_mtime_ns for name in listing(tmp_path)}
        assert sorted(after) == sorted(before)
        assert after == before
        return line

    return call


@pytest.fixture
def score(refused: Callable[..., str], llama: Path, task: Path, tmp_path: Path) -> Callable[..., str]:
    """`refused` for `suite score` with good values for whatever is not given."""

    def call(*flags: str, **given: object) -> str:
        values = {"model": llama, "task": task, "out": tmp_path / "new" / "cell.parquet", "dtype": "float32"} | given
        return refused("score", *(part for key, value in values.items() for part in (f"--{key}", value)), *flags)

    return call


# names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "smollm2-135"}, "unknown model 'smollm2-135': did you mean smollm2-135m?"),
        ({"model": "none.gguf"}, "model none.gguf: no such file"),
        ({"model": "org/none"}, "model org/none: cannot fetch it from the hub"),
        ({"task": "arc-esy"}, "unknown task 'arc-esy': did you mean arc-easy"),
        ({"task": "none.jsonl"}, "task file none.jsonl: No such file"),
        ({"variant": "rtm-w4"}, "unknown compression method 'rtm': did you mean rtn?"),
        ({"variant": "rtn-w7"}, "7 weight bits out of range, use one of 8, 6, 5, 4, 3, 2"),
        ({"variant": "magnitude-s99"}, "99 % out of range, use 5, 10, 15, ... 95 or 98"),
        (
            {"variant": "ct-w4"},
            "variant 'ct-w4': ct is made elsewhere only; name the checkpoint as the model, or import its scores. "
            "Made here: awq, dense, depth, gptq, magnitude",
        ),
        ({"variant": "rtn-w4-g64"}, "group size 64 does not divide the 96 inputs of a layer"),
        ({"scoring": "cloze-nrm"}, "unknown scoring 'cloze-nrm': did you mean cloze-norm or cloze-sum?"),
        ({"prompt": "bas"}, "'bas': did you mean base?"),
        ({"device": "gpu"}, "device 'gpu': not a torch device; use auto, cpu, cuda or cuda:0"),
        ({"limit": 0}, "limit 0 out of range: use 1 or more items"),
        ({"limit": -3}, "limit -3 out of range"),
        ({"limit": "few"}, "argument --limit: invalid int value: 'few'"),
        ({"shots": -1}, "shots -1 out of range: use 0 or more"),
        ({"shots": 12}, "12 shots asked for, but it has 12 items in all"),
        ({"dtype": "float8"}, "argument --dtype: invalid choice: 'float8' (choose from"),
        ({"colour": "red"}, "unrecognized arguments: --colour red"),
    ],
)
def test_a_wrong_argument_of_score(score: Callable[..., str], given: dict[str, object], message: str) -> None:
    assert message in score(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator here")
def test_an_accelerator_that_is_not_there(score: Callable[..., str]) -> None:
    assert "device 'cuda': no accelerator is available here; use cpu or auto" in score(device="cuda")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["scoer"], "invalid choice: 'scoer'"),
        (["score"], "the following arguments are required: --model, --task, --out; see 'suite score --help'"),
        (["list", "task"], "invalid choice: 'task'"),
        (["run", "none.yaml"], "configuration none.yaml: No such file"),
        (["metrics", "none"], "none: not found; name a run directory or cell files"),
        (["metrics", "none", "--alpha", "1"], "alpha 1.0 out of range: use a number between 0 and 1"),
        (["metrics", "none", "--alpha", "nan"], "alpha nan out of range"),
        (["metrics", "none", "--protocol", "exakt"], "invalid choice: 'exakt'"),
        (["leaderboard", "none"], "none: not found"),
        (["show", "arc-esy"], "did you mean arc-easy"),
        (["import", "csv", "x", "--model", "m", "--task", "t", "--out", "r"], "csv"),
        (["import", "jsonl", "x", "--model", "m", "--task", "t", "--out", "r", "--variant", "rtn-w7"], "7 weight bits"),
    ],
)
def test_a_wrong_command(refused: Callable[..., str], args: list[str], message: str) -> None:
    assert message in refused(*args)


def test_debug_shows_where(capfd: pytest.CaptureFixture[str]) -> None:
    for args in (["--debug", "show", "arc-esy"], ["show", "arc-esy", "--debug"]):
        assert main(args) == 2
        err = capfd.readouterr().err
        assert err.startswith("Traceback")
        assert err.splitlines()[-1].startswith("suite: unknown task 'arc-esy'")


# tasks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": None}, "quiz.jsonl:3: 'choices' must be a list of texts"),
        ({"choices": []}, "quiz.jsonl:3: item 'q2' has 0 choices, at least 2 are needed"),
        ({"choices": ["iron", " "]}, "quiz.jsonl:3: item 'q2': choice 1 is empty"),
        ({"answer_index": 3}, "quiz.jsonl:3: item 'q2': answer_index 3 is outside its 3 choices (0 is the first)"),
        ({"answer_index": "2"}, "quiz.jsonl:3: 'answer_index' must be a whole number"),
        ({"id": "q0"}, "quiz.jsonl:3: duplicate id 'q0', first used on line 1"),
        ({"question": 3}, "quiz.jsonl:3: 'question' must be text"),
    ],
)
def test_a_task_file_with_a_wrong_line(
    score: Callable[..., str], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    records = [*QUESTIONS[:2], QUESTIONS[2] | change, *QUESTIONS[3:]]
    assert message in score(task=write_task(tmp_path / "quiz.jsonl", records))


@pytest.mark.parametrize("field", ["id", "question", "choices", "answer_index"])
def test_a_task_file_with_a_missing_field(score: Callable[..., str], tmp_path: Path, field: str) -> None:
    records = [QUESTIONS[0], {key: value for key, value in QUESTIONS[1].items() if key != field}]
    task = write_task(tmp_path / "quiz.jsonl", records)
    assert f"quiz.jsonl:2: missing field {field!r}" in score(task=task)


def test_a_task_file_that_is_no_jsonl(score: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    for content, message in ((b"", "no questions in it"), (b"[]\n", "quiz.jsonl:1:"), (b"\xff", "not UTF-8 text")):
        path.write_bytes(content)
        assert message in score(task=path)
    path.unlink()
    path.mkdir()
    assert "Is a directory" in score(task=path)


# models


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": torch.zeros(1)}, folder / "pytorch_model.bin")


MODEL_FAULTS = [
    (lambda folder: (folder / "config.json").unlink(), "the folder has no config.json"),
    (damage_config, "config.json"),
    (lambda folder: (folder / "model.safetensors").unlink(), "no .safetensors files in it"),
    (cut_weights, "model.safetensors: truncated or damaged"),
    (only_pickled, "pickled weights are not read"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "model tiny-llama: cannot be loaded ("),
]


@pytest.mark.parametrize(("damage", "message"), MODEL_FAULTS)
def test_a_damaged_model_folder(
    score: Callable[..., str], llama: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(llama)
    assert message in score()


@pytest.mark.parametrize(("damage", "message"), MODEL_FAULTS[:5])
def test_a_damaged_model_folder_in_a_run(
    refused: Callable[..., str], config: Path, llama: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(llama)
    assert message in refused("run", config, "--out", config.parent / "run")


@pytest.mark.parametrize("keep", [0, 4, 3_000, 60_000, -50])
def test_a_truncated_gguf(score: Callable[..., str], tmp_path: Path, keep: int) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:keep])
    assert "model tiny.gguf: cannot be loaded (" in score(model=path)


def test_a_gguf_that_is_none(score: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<html>404</html>" * 20, encoding="utf-8")
    assert "model page.gguf: cannot be loaded (" in score(model=path)


# output


def test_an_output_that_is_a_folder(score: Callable[..., str], tmp_path: Path) -> None:
    assert f"output {tmp_path}: is a folder; name a file such as cell.parquet" in score(out=tmp_path)


def test_an_output_below_a_file(score: Callable[..., str], task: Path) -> None:
    assert "is not a folder" in score(out=task / "cell.parquet")
    assert "is not a folder" in score(out=task / "a" / "b" / "cell.parquet")


def test_an_output_folder_that_cannot_be_written(
    score: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert f"{tmp_path} cannot be written; name another folder" in score()


@pytest.mark.parametrize("left", [0, 4096])
def test_a_full_disk_leaves_nothing(tmp_path: Path, llama: Path, capfd: pytest.CaptureFixture[str], left: int) -> None:
    # a cell that is longer than what is left
    records = [QUESTIONS[0] | {"id": f"q{number}", "question": f"Is it {number}?"} for number in range(400)]
    task = write_task(tmp_path / "long.jsonl", records)
    with small_disk(tmp_path / "disk") as disk:
        (disk / "filler").write_bytes(bytes(64 * 1024 - left))
        args = ["score", "--model", llama, "--task", task, "--dtype", "float32", "--out", disk / "cell.parquet"]
        assert main([str(arg) for arg in args]) == 2
        last = capfd.readouterr().err.splitlines()[-1]
        assert "o space left on device" in last
        assert last.startswith(f"suite: cannot write {disk / 'cell.parquet'}: ")
        assert "Traceback" not in last
        assert listing(disk) == ["filler"]


def test_a_run_on_a_full_disk_is_one_line(tmp_path: Path, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk / "filler").write_bytes(bytes(64 * 1024 - 4096))
        assert main(["run", str(config), "--out", str(disk / "run")]) == 2
        err = capfd.readouterr().err
        assert "Traceback" not in err
        assert [line for line in err.splitlines() if line.startswith("suite: ")] == [err.splitlines()[-1]]
        assert "o space left on device" in err
        assert not list(disk.rglob("*.partial"))


def test_an_operating_system_error_from_anywhere_is_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, message in (
        (OSError(errno.EROFS, "Read-only file system", "/x"), "suite: /x: Read-only file system"),
        (OSError("odd\nand long"), "suite: odd and long"),
        (MemoryError(), "suite: out of memory"),
    ):

        def fail(_: object, error: BaseException = error) -> int:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(suite.cli, "_list", fail)
            assert refused("list", "tasks").startswith(message)


# configurations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modles: [m]\n", "unknown key 'modles' in the configuration: did you mean 'models'?"),
        ("models: m\ntasks: [sciq]\nvariants: [dense]\n", "'models' must be a list of names"),
        ("models: [m]\ntasks: [sciq]\n", "missing key 'variants'"),
        ("models: [m]\ntasks: [sciq]\nvariants: [rtn-w4]\n", "'variants' has no 'dense'"),
        ("models: [m]\ntasks: [sciq]\nvariants: [dense, rtn-w9]\n", "9 weight bits out of range"),
        ("models: [m\n", "not valid YAML"),
        ("models: [m]\ntasks: [{name: sciq, limit: 0}]\nvariants: [dense]\n", "limit must be a whole number of 1"),
    ],
)
def test_a_wrong_configuration(refused: Callable[..., str], tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    line = refused("run", path, "--out", tmp_path / "run")
    assert message in line
    assert str(path) in line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("quiz.jsonl", "quizz.jsonl", "quizz.jsonl: No such file"),
        ("tiny-llama", "tiny-lama", "unknown model"),
        ("[dense]", "[dense, ct-w4]", "ct is made elsewhere only"),
        ("cpu", "gpu", "device 'gpu': not a torch device"),
    ],
)
def test_a_configuration_that_names_what_is_not_there(
    refused: Callable[..., str], config: Path, old: str, new: str, message: str
) -> None:
    config.write_text(config.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert message in refused("run", config, "--out", config.parent / "run")
    assert message in refused("run", config, "--out", config.parent / "run", "--dry-run")


def test_cells_that_would_have_one_name(refused: Callable[..., str], config: Path, task: Path) -> None:
    text = config.read_text(encoding="utf-8")
    both = text.replace("limit: 4}", f"limit: 4}}, {{name: {task}, limit: 5}}")
    config.write_text(both, encoding="utf-8")
    assert "have the same model, task, style and variant name" in refused("run", config, "--out", config.parent / "run")


def test_a_limit_of_zero_for_a_run(refused: Callable[..., str], config: Path) -> None:
    assert "limit 0 out of range" in refused("run", config, "--limit", 0, "--out", config.parent / "run")


def test_a_glob_that_matches_nothing(refused: Callable[..., str], config: Path) -> None:
    line = refused("run", config, "--only", "rtn-*", "--out", config.parent / "run")
    assert "--only 'rtn-*' matches no cell" in line
    assert "tiny-llama/quiz/dense" in line


def test_a_run_directory_that_is_a_file(refused: Callable[..., str], config: Path, task: Path) -> None:
    assert str(task) in refused("run", config, "--out", task)
    assert str(task) in refused("run", config, "--out", task / "run")


# cells


def small_cell(**changes: Any) -> Any:
    """Made-up scores of 60 items, enough for every metric."""
    generator = np.random.default_rng(0)
    given_here: dict[str, Any] = {
        "ids": [f"i{index}" for index in range(60)],
        "answers": generator.integers(0, 4, 60).tolist(),
        "scores": generator.normal(size=(60, 4)).tolist(),
        "kind": "logits",
        "model": {"name": "m", "params": 10**9},
        "variant": {"name": "dense", "family": "dense", "method": "dense"},
        "task": {"name": "t", "scoring": "letter", "prompt": "base", "shots": 0},
    }
    return make_cell(**(given_here | changes))


def test_metrics_prints_one_json_array_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.parquet"
    write_cell(path, small_cell())
    assert main(["metrics", str(path), "--json"]) == 0
    out, err = capfd.readouterr()
    (row,) = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    keys = "model variant family task scoring prompt shots protocol alpha n params_b accuracy nll brier ece".split()  # noqa: SIM905
    assert set(keys) <= set(row)
    assert (row["model"], row["n"], row["alpha"]) == ("m", 60, 0.1)
    assert err == ""
    assert main(["metrics", str(path)]) == 0
    header, line = capfd.readouterr().out.splitlines()
    assert header.split()[:4] == ["model", "task", "variant", "n"]
    assert line.split()[:4] == ["m", "t", "dense", "60"]


@pytest.mark.parametrize("command", ["metrics", "leaderboard", "collapse"])
def test_a_damaged_or_foreign_cell(refused: Callable[..., str], tmp_path: Path, command: str) -> None:
    path = small_cell().key.path(tmp_path / "run")
    write_cell(path, small_cell())
    raw = bytearray(path.read_bytes())
    raw[300] ^= 0xFF
    path.write_bytes(raw)
    target = path if command == "metrics" else tmp_path / "run"
    assert f"cell file {path}: " in refused(command, target)
    path.write_bytes(raw[:100])
    assert "not a readable Parquet file" in refused(command, target)
    pq.write_table(pa.table({"x": [1]}), path)
    assert "Parquet, but not a cell of this suite" in refused(command, target)


def test_a_folder_without_cells(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("metrics", "leaderboard", "collapse"):
        assert "no cells in it" in refused(command, tmp_path / "empty")


def test_leaderboard_is_rewritten_from_cells(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_cell(small_cell().key.path(tmp_path / "run"), small_cell())
    assert main(["leaderboard", str(tmp_path / "run"), "--out", str(tmp_path / "page")]) == 0
    page = tmp_path / "page" / "LEADERBOARD.md"
    assert capfd.readouterr().out == f"{page}\n"
    assert "| m | 1B | `dense` |" in page.read_text(encoding="utf-8")


def test_collapse_prints_the_agreed_keys_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = plan_curve(Population(), "step", levels=5, rise=0.7)
    for cell in draw_cells(Population(), plan, n=300, seed=2):
        write_cell(cell.key.path(tmp_path / "run"), cell)
    assert main(["collapse", str(tmp_path / "run"), "--json"]) == 0
    captured = capfd.readouterr()
    records = json.loads(captured.out)
    metrics = {record["metric"] for record in records}
    assert metrics >= {"set_size", "brier_ts", "nll_ts", "accuracy", "lac_transfer_coverage"}
    assert all(tuple(record) == VERDICT_KEYS for record in records)
    (primary,) = [record for record in records if record["metric"] == "set_size"]
    assert (primary["verdict"], primary["level"]) == ("threshold", "magnitude-s30")
    assert main(["collapse", str(tmp_path / "run")]) == 0
    assert "threshold at magnitude-s30" in capfd.readouterr().out
    # the leaderboard stores the same
    assert main(["leaderboard", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "verdicts.json").read_text(encoding="utf-8")) == records
    assert json.loads((tmp_path / "run" / "decoupling.json").read_text(encoding="utf-8"))


PLANNED = (("rtn", ""), ("gptq", "-g128"), ("gptq", ""))
"""Methods and group sizes of a planned run."""


def test_collapse_counts_what_the_configuration_plans(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = plan_curve(Population(), "step", levels=5, rise=0.7)
    for cell in draw_cells(Population(), plan, n=300, seed=2):
        write_cell(cell.key.path(tmp_path / "run"), cell)
    methods = [
        [f"magnitude-s{zeros}" for zeros in (30, 40, 50)],
        *([f"{method}-w{bits}{group}" for bits in (4, 3, 2)] for method, group in PLANNED),
    ]
    config = parse_config(
        {
            "models": ["synthetic"],
            "tasks": ["arc_easy", "sciq", "mmlu"],
            "variants": ["dense", *(name for names in methods for name in names), "depth-s10", "depth-s20"],
            "primary": {"metric": "brier_ts", "tolerances": [0.05, 0.25]},
        },
        "here",
    )
    (tmp_path / "run" / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert main(["collapse", str(tmp_path / "run")]) == 0
    heads = [line for line in capfd.readouterr().out.splitlines() if "along rising compression" in line]
    assert [head.split(" along")[0] for head in heads] == ["Brier score after temperature", "set size"]
    assert main(["collapse", str(tmp_path / "run"), "--json"]) == 0
    (primary,) = [one for one in json.loads(capfd.readouterr().out) if one["metric"] == "set_size"]
    # four methods (two group sizes of one count twice) on three tasks and on their average; depth has too few levels
    assert primary["p_value"] == pytest.approx(min(1.0, 16 * primary["p_value_raw"]), rel=1e-3)


# what works


def test_score_writes_a_cell(llama: Path, task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "cell.parquet"
    args = ["score", "--model", llama, "--task", task, "--variant", "rtn-w4", "--dtype", "float32", "--limit", 5]
    assert main([str(arg) for arg in [*args, "--seed", 3, "--out", out]]) == 0
    cell = read_cell(out)
    assert (cell.model["name"], cell.variant["name"], cell.task["name"]) == ("tiny-llama", "rtn-w4", "quiz")
    assert (cell.kind, len(cell), cell.run["dtype"], cell.run["seed"]) == ("loglik", 5, "float32", 3)
    assert cell.subjects is not None
    captured = capfd.readouterr()
    assert captured.out == ""
    assert f"{out}: 5 items" in captured.err
    assert listing(out.parent) == ["cell.parquet"]


def test_scores_that_are_not_finite_are_a_failed_cell(
    llama: Path, task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(llama)
    out = tmp_path / "cell.parquet"
    assert main(["score", "--model", str(llama), "--task", str(task), "--dtype", "float32", "--out", str(out)]) == 1
    err = capfd.readouterr().err
    assert "suite: failed cell tiny-llama/" in err
    assert "12 of 12 items have scores that are not finite, first 'q0'" in err
    assert "Traceback" not in err
    assert not out.exists()


def test_dry_run_lists_the_cells(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = listing(config.parent)
    args = ["run", str(config), "--dry-run", "--out", str(config.parent / "run")]
    assert main(args) == 0
    out, err = capfd.readouterr()
    label, scoring, items, tokens, memory = out.removesuffix("\n").split("\t")
    assert (label, scoring, items) == ("tiny-llama/quiz/dense", "cloze-sum", "4 items")
    assert tokens.endswith(" tokens")
    assert memory == "0.0 GB"
    assert err.splitlines()[0] == "1 cells, 4 items"
    assert "hours of scoring here" in err
    assert "n = 4: accuracy 0.626, set size 2.33" in err  # 2.8 x 2/3 x (3.5 options - 1) / 2
    assert main([*args, "--limit", "7"]) == 0
    assert "7 items" in capfd.readouterr().out
    assert listing(config.parent) == before


def test_show_prints_what_a_model_sees(task: Path, llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(task), "--item", "1", "--model", str(llama)]) == 0
    out = capfd.readouterr().out
    assert "id: q1\nscoring: cloze-sum\n--- context\nQuestion: Which of these is number 1?\nAnswer:\n" in out
    assert "* ' light'\n" in out
    assert "  ' iron'\n" in out
    assert "--- tokens of the options" in out
    assert main(["show", str(task), "--scoring", "letter"]) == 0
    assert "A. iron\nB. light\n" in capfd.readouterr().out


@pytest.mark.parametrize("item", [-1, 12])
def test_show_of_an_item_that_is_not_there(refused: Callable[..., str], task: Path, item: int) -> None:
    assert f"no item {item}, it has items 0 to 11" in refused("show", task, "--item", item)


@pytest.mark.parametrize(
    ("what", "name"),
    [("models", "smollm2-135m"), ("methods", "magnitude"), ("tasks", "sciq"), ("scorers", "transformers")],
)
def test_list(what: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    header, *rows = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    assert header[0] == "name"
    assert {len(row) for row in rows} == {len(header)}
    shown = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert main(["list", what, "--json"]) == 0
    records = json.loads(capfd.readouterr().out)
    assert name in {record["name"] for record in records}
    for record in records:
        for key, value in record.items():
            assert shown[record["name"]][key] == ("–" if value is None else str(value))


def test_no_command_prints_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: suite" in capfd.readouterr().out


def test_interruption_says_that_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite.cli, "_list", interrupt)
    assert main(["list", "tasks"]) == 130
    assert capfd.readouterr().err.startswith("interrupted; what is finished is kept")


def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    command = [sys.executable, "-m", "suite", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_help_comes_at_once_and_loads_nothing_heavy() -> None:
    start = time.perf_counter()
    done = run("--help")
    seconds = time.perf_counter() - start
    assert done.returncode == 0
    assert "score every cell of a configuration" in done.stdout
    assert seconds < 2
    code = "import sys, suite.cli; suite.cli._parser(); print(sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_process_reports_bad_input_in_one_line(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-50])
    task = write_task(tmp_path / "quiz.jsonl")
    done = run("score", "--model", path, "--task", task, "--dtype", "float32", "--out", tmp_path / "c.parquet")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("suite: model tiny.gguf: cannot be loaded (")
    assert listing(tmp_path) == ["quiz.jsonl", "tiny.gguf"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m suite list tasks | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
