"""From a checkpoint folder of any shape to its cell, against forward passes of one sequence at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from conftest import build_tokenizer

from suite.cell import Cell, read_cell
from suite.cli import main
from suite.metrics.rows import compute_rows

CONTEXTS = ("The moon moves around the earth once a month, and what", "Which of these", "Iron is a metal, light")
CHOICES = (("plants need to grow", "water", "a roof"), ("is iron", "old tiles, one by one"), ("is not", "is", "was"))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("task") / "task.jsonl"
    rows = zip(CONTEXTS, CHOICES, strict=True)
    lines = [{"id": f"q{n}", "question": q, "choices": c, "answer_index": 0} for n, (q, c) in enumerate(rows)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


def scored(folder: Path, task: Path, *more: str) -> Cell:
    out = folder.parent / f"{folder.name}.parquet"
    args = ["score", "--model", folder, "--task", task, "--scoring", "cloze-sum", "--dtype", "float32", "--out", out]
    assert main([*map(str, args), *more]) == 0
    return read_cell(out)


def expected(model: Any, text: str, option: str) -> float:
    """Log-likelihood of the option's tokens, alone in a forward pass of the library's own."""
    import torch

    tokenizer = build_tokenizer()
    tokens, start = tokenizer(f"{text} {option}").input_ids, len(tokenizer(text).input_ids)
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logprobs[index - 1, tokens[index]]) for index in range(start, len(tokens)))


def prompt_of(question: str) -> str:
    """What the suite puts around the question of a task of one's own."""
    return f"Question: {question}\nAnswer:"


def test_attention_sinks_are_scored_by_eager_attention_and_the_row_says_so(tmp_path: Path, task: Path) -> None:
    model = zoo.network("gpt_oss")
    assert model.config._attn_implementation == "eager"
    cell = scored(zoo.folder("gpt_oss", tmp_path / "sinks"), task)
    for values, question, choices in zip(cell.scores, CONTEXTS, CHOICES, strict=True):
        wanted = [expected(model, prompt_of(question), choice) for choice in choices]
        np.testing.assert_allclose(values[: len(wanted)], wanted, atol=1e-4)
    assert cell.run["attention"] == "eager"
    row = compute_rows([cell], splits=2, replicates=0)[0]
    assert "GptOssForCausalLM" in row["notes"]["run"]  # type: ignore[index]


def test_a_library_s_sentence_is_given_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = zoo.folder("gpt_oss", tmp_path / "odd")
    name = "not_an_architecture_" * 30
    config = json.loads((folder / "config.json").read_text()) | {"model_type": name}
    (folder / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["score", "--model", str(folder), "--task", "sciq", "--out", str(tmp_path / "c.parquet")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"{name}` but Transformers does not recognize this architecture" in message
    assert message.endswith("is odd complete and supported?\n")
