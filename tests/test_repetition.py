"""dense@float32, dense@bfloat16, dense@repeat: dense computed otherwise. A row each, and no level of anything."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite import score_model
from suite.cell import Cell, load_cells, read_cell
from suite.cli import main
from suite.config import parse_config
from suite.errors import SuiteError
from suite.run.plan import plan
from suite.score.sheet import Scores, Sheet
from suite.score.transformers.network import NetworkScorer
from suite.variant import Variant, is_repeat, parse_variant

WORDS = ("one", "two", "three small stones", "the moon", "a year", "light and water")
QUIZ = "\n".join(
    json.dumps(
        {
            "id": f"q{i}",
            "question": " ".join(WORDS[(i + j) % 6] for j in range(1 + i % 9)) + "?",
            "choices": [WORDS[i % 6], WORDS[(i + 1) % 6], WORDS[(i + 3) % 6]],
            "answer_index": i % 3,
        }
    )
    for i in range(30)
)
NULLS = ("dense@bfloat16", "dense@repeat")
LEVELS = ("dense", "rtn-w4", "rtn-w3", "rtn-w2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense@float32", Variant("dense@float32", "dense", "dense", dtype="float32")),
        ("dense@bfloat16", Variant("dense@bfloat16", "dense", "dense", dtype="bfloat16")),
        ("dense@repeat", Variant("dense@repeat", "dense", "dense", again=True)),
    ],
)
def test_a_name_says_how_dense_is_computed(name: str, expected: Variant) -> None:
    assert parse_variant(name) == expected
    assert is_repeat(name)
    assert expected.repeats
    assert expected.recipe_name == "dense"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dense@", "expected dense@float32, dense@bfloat16, dense@repeat"),
        ("dense@float16", "expected dense@float32, dense@bfloat16, dense@repeat"),
        ("dense@repeat@repeat", "expected dense@float32"),
        ("gptq-w4@repeat", "expected <variant>@seed<number>"),
        ("rtn-w4@float32", "expected <variant>@seed<number>"),
    ],
)
def test_names_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as caught:
        parse_variant(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    folder = tmp_path_factory.mktemp("nulls")
    (folder / "quiz.jsonl").write_text(QUIZ)
    shutil.copytree(tiny_models["llama"], folder / "ours")
    return folder


def settings(folder: Path, variants: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "models": [str(folder / "ours")],
        "tasks": [{"name": str(folder / "quiz.jsonl"), "scoring": "cloze-sum"}],
        "variants": list(variants),
        "dtype": "float32",
        "device": "cpu",
        "protocol": {"splits": 3, "replicates": 40},
        **more,
    }


def config(folder: Path, variants: Sequence[str], **more: Any) -> Path:
    (folder / "nulls.yaml").write_text(json.dumps(settings(folder, variants, **more)))
    return folder / "nulls.yaml"


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    out = folder / "run"
    assert main(["run", str(config(folder, [*LEVELS, *NULLS])), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def without(folder: Path, run: Path) -> Path:
    """The same cells but those, of a configuration that never asked for them."""
    out = folder / "without"
    shutil.copytree(run / "cells", out / "cells")
    for name in NULLS:
        next(out.rglob(f"{name}.parquet")).unlink()
    assert main(["run", str(config(folder, LEVELS)), "--out", str(out)]) == 0
    return out


def cells_of(run: Path) -> dict[str, Cell]:
    return {str(cell.variant["name"]): cell for cell in load_cells([run])}


def test_other_number_formats_are_what_a_run_in_them_scores(folder: Path, run: Path) -> None:
    cells = cells_of(run)
    (same,) = score_model(
        folder / "ours", tasks=folder / "quiz.jsonl", scoring="cloze-sum", dtype="bfloat16", device="cpu"
    )
    assert cells["dense@bfloat16"].run["dtype"] == "bfloat16"
    assert cells["dense"].run["dtype"] == "float32"
    np.testing.assert_allclose(cells["dense@bfloat16"].scores, same.scores, atol=0.2)
    apart = np.abs(cells["dense@bfloat16"].scores - cells["dense"].scores).max()
    assert 1e-4 < apart < 1.0  # 16 bits are seen, and no more than that


def test_a_repetition_has_other_batches_threads_and_order_and_the_same_items(
    folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cells = cells_of(run)
    dense, again = cells["dense"], cells["dense@repeat"]
    assert again.ids == dense.ids
    assert again.task == dense.task
    assert (again.answers == dense.answers).all()
    np.testing.assert_allclose(again.scores, dense.scores, atol=1e-4)
    assert again.run["token_budget"] == dense.run["token_budget"] // 2
    assert again.run["repeat"]["order"] == "reversed"
    assert again.run["repeat"]["threads"] != dense.run["threads"]
    usual, seen = torch.get_num_threads(), {}

    def scored(scorer: NetworkScorer, sheet: Sheet, **how: Any) -> Scores:
        # the last call of a cell is the one that runs the model
        order = [text.context for text in sheet.rendered]
        seen[str(scorer.variant["name"])] = order, torch.get_num_threads(), scorer.batch_tokens
        return original(scorer, sheet, **how)

    original = NetworkScorer.scores
    monkeypatch.setattr(NetworkScorer, "scores", scored)
    for name in ("dense", "dense@repeat"):
        assert main([*score(folder, name), "--out", str(tmp_path / f"{name}.parquet")]) == 0
    (order, threads, tokens), (usual_order, usual_threads, usual_tokens) = seen["dense@repeat"], seen["dense"]
    assert order == usual_order[::-1]
    assert threads != usual_threads == usual == torch.get_num_threads()
    assert tokens == usual_tokens // 2
    assert read_cell(tmp_path / "dense@repeat.parquet").ids == read_cell(tmp_path / "dense.parquet").ids


def score(folder: Path, variant: str, *more: str) -> list[str]:
    args = ["score", "--model", str(folder / "ours"), "--task", str(folder / "quiz.jsonl"), "--device", "cpu"]
    return [*args, "--dtype", "float32", "--variant", variant, *more]


@pytest.mark.parametrize("prompt", ["base+rotations", "base+chat"])
def test_a_repetition_of_any_prompt_has_each_item_s_own_scores(folder: Path, tmp_path: Path, prompt: str) -> None:
    files = {}
    shutil.copytree(folder, tmp_path / "own")
    folder = tmp_path / "own"
    if prompt.endswith("chat"):
        file = folder / "ours" / "tokenizer_config.json"
        template = "{% for m in messages %}{{ m['content'] }}{% endfor %} Answer:"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    for name in ("dense", "dense@repeat"):
        files[name] = tmp_path / f"{name}.parquet"
        args = score(folder, name, "--prompt", prompt, "--scoring", "letter", "--limit", "20")
        assert main([*args, "--out", str(files[name])]) == 0
    dense, again = (read_cell(files[name]) for name in ("dense", "dense@repeat"))
    assert again.ids == dense.ids
    assert again.task == dense.task
    np.testing.assert_allclose(again.scores, dense.scores, atol=1e-4)
    assert np.abs(dense.scores - dense.scores[::-1]).max() > 1e-2  # items that were mixed up would be seen


def test_cells_say_what_they_were_computed_with(run: Path) -> None:
    dense = cells_of(run)["dense"].run
    assert dense["kernels"] == torch.backends.cpu.get_cpu_capability()
    assert dense["threads"] == torch.get_num_threads()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    assert dense["processor"] in (names or [platform.processor() or None])


def test_they_have_rows_beside_dense_and_nothing_else_changes(run: Path, without: Path) -> None:
    text = (run / "rows.csv").read_text()
    assert all(f",{name},dense,dense," in text for name in NULLS)
    assert [line for line in text.splitlines() if not any(f",{name}," in line for name in NULLS)] == (
        (without / "rows.csv").read_text().splitlines()
    )
    for file in ("ranking.csv", "verdicts.json", "decoupling.json", "scale.json"):
        assert (run / file).read_bytes() == (without / file).read_bytes(), file
    board = (run / "LEADERBOARD.md").read_text()
    assert "dense computed otherwise: 2" in board
    assert "another seed" not in board
    assert "Seeds of the sample text" not in board
    assert main(["verify", str(run)]) == 0


def test_commands_that_judge_do_not_count_them(run: Path, without: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("collapse", "dose"):
        said = []
        for where in (run, without):
            assert main([command, str(where), "--json"]) == 0
            said.append(json.loads(capsys.readouterr().out))
        assert said[0] == said[1], command
        assert said[0]


def test_keys_of_all_other_variants_stay_and_a_finished_run_scores_nothing(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with_nulls, plain = (
        {cell.variant.name: cell.key for cell in planned(folder, names, tmp_path)}
        for names in ([*LEVELS, *NULLS], LEVELS)
    )
    assert {name: with_nulls[name] for name in LEVELS} == plain
    assert len(set(with_nulls.values())) == len(with_nulls) == 6
    # a format of its own is computed in whatever the run is in
    other = {cell.variant.name: cell.key for cell in planned(folder, ["dense", *NULLS], tmp_path, dtype="float16")}
    assert other["dense@bfloat16"] == with_nulls["dense@bfloat16"]
    assert other["dense@repeat"] != with_nulls["dense@repeat"]
    assert main(["run", str(config(folder, [*LEVELS, *NULLS])), "--out", str(run)]) == 0
    assert "6 cells: 6 are there already, 0 to score" in capsys.readouterr().err


def planned(folder: Path, variants: Sequence[str], out: Path, dtype: str = "float32") -> Any:
    return plan(parse_config(settings(folder, variants), "test"), out, dtype=dtype, device="cpu")


@pytest.mark.parametrize("command", ["run", "dry run", "score"])
def test_the_number_format_of_the_run_is_refused(
    folder: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["run", str(config(folder, ["dense", "dense@float32"])), "--out", str(tmp_path / "out")]
    args += ["--dry-run"] if command == "dry run" else []
    if command == "score":
        args = [*score(folder, "dense@float32"), "--out", str(tmp_path / "out")]
    assert main(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "variant 'dense@float32': the run computes in float32 already" in line
    assert not (tmp_path / "out").exists()


def test_they_are_no_checkpoints(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["compress", "--model", str(folder / "ours"), "--variant", "dense@repeat", "--out", str(tmp_path / "out")]
    assert main(args) == 2
    assert "is the model itself, computed otherwise" in capsys.readouterr().err
