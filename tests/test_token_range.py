"""Tokenizers that name more tokens than a model has: unused they do no harm, a text that uses one is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.gguf_files import write_gguf
from support.tiny_models import TEXT, build_tokenizer

import suite
from suite.cli import main
from suite.errors import SuiteError
from suite.models.checkpoint import load, load_tokenizer
from suite.models.model import resolve_model
from suite.run.prepare import sample_tokens
from suite.sample_text import Sampling
from suite.variant import parse_variant

ROWS = 384
QUESTIONS = [
    {"id": f"q{number}", "question": text, "choices": ["the moon", "iron", "a roof"], "answer_index": number % 3}
    for number, text in enumerate(TEXT[:4])
]


def write_task(path: Path, *changed: dict[str, Any]) -> Path:
    rows = [*QUESTIONS, *({**QUESTIONS[0], "id": f"odd{number}", **one} for number, one in enumerate(changed))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def scores(model: Path, task: Path, **options: Any) -> Any:
    (cell,) = suite.score_model(model, tasks=[task], scoring="cloze-sum", dtype="float32", device="cpu", **options)
    return cell.scores


def with_more_tokens(folder: Path, tokens: list[str], **config: Any) -> Path:
    """The folder, its tokenizer with tokens behind the last embedding, the last of them for padding."""
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(tokens)
    tokenizer.pad_token = tokens[-1]
    tokenizer.save_pretrained(folder)
    edit_config(folder, **config)
    return folder


@pytest.fixture
def folder(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models["llama"], tmp_path / "tiny-llama"))


@pytest.fixture(scope="module")
def plain(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return scores(tiny_models["llama"], write_task(tmp_path_factory.mktemp("task") / "quiz.jsonl"))


@pytest.mark.parametrize(
    ("tokens", "config"),
    [
        (["[PAD]"], {}),
        (["[PAD]"], {"pad_token_id": ROWS}),
        ([f"<extra {number}>" for number in range(40)], {"pad_token_id": ROWS + 39}),
        (["[PAD]"], {"pad_token_id": -1}),
    ],
)
def test_tokens_that_no_text_uses_change_nothing(
    folder: Path, tmp_path: Path, plain: Any, tokens: list[str], config: dict[str, Any]
) -> None:
    model = with_more_tokens(folder, tokens, **config)
    np.testing.assert_array_equal(scores(model, write_task(tmp_path / "quiz.jsonl")), plain)


@pytest.mark.parametrize(
    "changed",
    [
        {"question": "the <one> moon"},
        {"choices": ["the moon", "iron <two>", "a roof"]},
        # the last token of an option is predicted, not read
        {"choices": ["the moon", "iron", "a roof<two>"]},
    ],
)
def test_a_text_that_uses_one_is_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    model = with_more_tokens(folder, ["<one>", "<two>"])
    task = write_task(tmp_path / "quiz.jsonl", changed)
    arguments = ["score", "--model", model, "--task", task, "--scoring", "cloze-sum", "--dtype", "float32"]
    capfd.readouterr()
    assert main([*map(str, arguments), "--device", "cpu", "--out", str(tmp_path / "c.parquet")]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("suite: ")]
    used = "'<one>' (384)" if "question" in changed else "'<two>' (385)"
    assert f"model tiny-llama: item odd0 holds the token {used}, and the model ends with token 383" in line
    assert not (tmp_path / "c.parquet").exists()


def test_fewer_embeddings_than_words(folder: Path, tmp_path: Path) -> None:
    """Rows cut off at the end: texts without the last words keep their scores, but for the lost words' share."""
    rows = ROWS - 4
    lost = [build_tokenizer().convert_ids_to_tokens(token) for token in range(rows, ROWS)]
    tensors = load_file(folder / "model.safetensors")
    full = {name: value for name, value in tensors.items() if len(value) == ROWS}
    assert full
    save_file(tensors | {name: value[:rows].contiguous() for name, value in full.items()},
              folder / "model.safetensors", {"format": "pt"})  # fmt: skip
    edit_config(folder, vocab_size=rows)
    assert load(resolve_model(str(folder)), dtype="float32").network.get_input_embeddings().weight.shape[0] == rows
    words = [word.replace("Ġ", " ").strip() for word in lost]
    safe = {"question": "0 1", "choices": ["0", "1"], "answer_index": 0}
    task = tmp_path / "quiz.jsonl"
    task.write_text(json.dumps({"id": "0", **safe}) + "\n", encoding="utf-8")
    assert np.isfinite(scores(folder, task)).all()
    task.write_text(json.dumps({"id": "0", **safe, "question": " ".join(words)}) + "\n", encoding="utf-8")
    with pytest.raises(SuiteError, match=r"item 0 holds the token '.*' \(38\d\), and the model ends with token 379"):
        scores(folder, task)


def test_sample_text_that_uses_one_is_refused(folder: Path, tmp_path: Path) -> None:
    model = with_more_tokens(folder, ["<one>"])
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"{line} <one>" for line in TEXT * 40), encoding="utf-8")
    checkpoint = load(resolve_model(str(model)), dtype="float32")
    with pytest.raises(SuiteError, match=r"sample text text\.txt holds the token '<one>' \(384\)"):
        sample_tokens(checkpoint, Sampling(str(text), samples=2, length=64), parse_variant("wanda-s50"))


def test_a_ready_made_checkpoint_may_have_padding_of_its_own(
    tiny_models: dict[str, Path], folder: Path, tmp_path: Path, plain: Any
) -> None:
    model = with_more_tokens(folder, ["[PAD]"])
    task = write_task(tmp_path / "quiz.jsonl")
    found = scores(model, task, dense=tiny_models["llama"], variant="gptq-w4")
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize(("padding", "stated"), [(None, None), (ROWS, ROWS), (ROWS, ROWS + 1)])
def test_a_gguf_file_with_a_token_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: int | None, stated: int | None
) -> None:
    path = write_gguf(tmp_path / "plain.gguf")
    expected = load(resolve_model(str(path)), dtype="float32").network.state_dict()
    add_list, add_types, add_size = (
        getattr(gguf.GGUFWriter, name) for name in ("add_token_list", "add_token_types", "add_vocab_size")
    )

    def add_longer(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
        add_list(writer, [*tokens, "[PAD]"])
        if padding is not None:
            writer.add_pad_token_id(padding)

    monkeypatch.setattr(gguf.GGUFWriter, "add_token_list", add_longer)
    monkeypatch.setattr(gguf.GGUFWriter, "add_token_types", lambda writer, types: add_types(writer, [*types, 3]))
    monkeypatch.setattr(gguf.GGUFWriter, "add_vocab_size", lambda writer, _: stated and add_size(writer, stated))
    model = resolve_model(str(write_gguf(tmp_path / "longer.gguf")))
    loaded = load(model, dtype="float32")
    assert len(loaded.tokenizer) == len(load_tokenizer(model)[0]) == ROWS + 1
    found = loaded.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(SuiteError, match=r"item odd0 holds the token '\[PAD\]' \(384\)"):
        scores(tmp_path / "longer.gguf", write_task(tmp_path / "quiz.jsonl", {"question": "a [PAD]"}))
