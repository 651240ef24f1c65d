"""From a checkpoint folder of any shape to its cell, against forward passes of one sequence at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import zoo
from support.tiny_models import build_tokenizer
from support.zoo import longrope
from transformers import Lfm2ForCausalLM

from suite import measure
from suite.cell import Cell, read_cell
from suite.cli import main
from suite.errors import SuiteError
from suite.front_door import score_model
from suite.score.transformers.path import path_of

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
        logprobs = model(input_ids=torch.tensor([tokens[:-1]]), use_cache=False).logits[0].double().log_softmax(-1)
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
    row = measure([cell], splits=2, replicates=0)[0]
    assert "GptOssForCausalLM" in row["notes"]["run"]  # type: ignore[index]


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def test_a_decoder_that_takes_eager_attention_does_so_inside_a_model_that_sees(tmp_path: Path, task: Path) -> None:
    model = zoo.build_seeing("llava", "gpt_oss", {})
    assert model.config.text_config._attn_implementation == "eager"
    cell = scored(saved(model, tmp_path / "seeing"), task)
    assert_scores(cell, wanted(model))
    assert cell.run["attention"] == "eager"
    assert any("eager" in note for note in cell.run["notes"])
    assert any("scored on text alone" in note for note in cell.model["notes"])


def test_attention_that_sees_tokens_to_come_is_not_taken(tmp_path: Path, task: Path) -> None:
    # Doge makes its own mask out of one that the library leaves away under sdpa
    model = zoo.build("doge")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("self_attn.A"):
                parameter.add_(0.3)
    folder = saved(model, tmp_path / "doge")
    right = wanted(model)
    model.set_attn_implementation("eager")
    assert np.abs(np.concatenate(right) - np.concatenate(wanted(model))).max() > 0.1
    cell = scored(folder, task)
    assert_scores(cell, wanted(model))
    assert cell.run["attention"] == "eager"
    assert any("eager" in note for note in cell.run["notes"])
    # more tokens than it keeps are read one sequence at a time, without the masks of a tree
    model.set_attn_implementation("sdpa")
    with pytest.raises(SuiteError, match="architecture 'doge': what it says of a token changes with"):
        path_of(model)


def test_tokens_of_letters_are_those_that_went_through(
    tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = zoo.folder("lfm2", tmp_path / "letters"), []
    given = Lfm2ForCausalLM.forward

    def counted(self: Any, *, attention_mask: Any = None, **options: Any) -> Any:
        if attention_mask is not None:
            seen.append(int(attention_mask.sum()))
        return given(self, attention_mask=attention_mask, **options)

    scored(folder, task, "--scoring", "letter")  # finds the way
    monkeypatch.setattr(Lfm2ForCausalLM, "forward", counted)
    cell = scored(folder, task, "--scoring", "letter")
    assert cell.run["backend"] == "plain"
    assert cell.run["tokens"] == sum(seen) > 0


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


def wanted(model: Any) -> list[list[float]]:
    rows = zip(CONTEXTS, CHOICES, strict=True)
    return [[expected(model, prompt_of(question), choice) for choice in choices] for question, choices in rows]


def assert_scores(cell: Cell, right: list[list[float]]) -> None:
    for values, row in zip(cell.scores, right, strict=True):
        np.testing.assert_allclose(values[: len(row)], row, atol=2e-4)


@pytest.mark.parametrize("shape", zoo.SEEING)
def test_a_model_that_sees_is_scored_on_text_without_what_it_sees_with(shape: str, tmp_path: Path, task: Path) -> None:
    model = zoo.network(shape)
    cell = scored(zoo.folder(shape, tmp_path / shape), task)
    assert_scores(cell, wanted(model))
    assert cell.run["backend"] == "tree"
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    used = {id(parameter): parameter.numel() for part in (decoder, head) for parameter in part.parameters()}
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert cell.model["params"] == sum(used.values()) < everything
    assert cell.variant["megabytes"] == pytest.approx(cell.model["params"] * 2 / 1e6)
    (note,) = [note for note in cell.model["notes"] if "scored on text alone" in note]
    assert f"{everything - cell.model['params']:,} parameters" in note
    row = measure([cell], splits=2, replicates=0)[0]
    assert "vis" in row["notes"]["checkpoint"]  # type: ignore[index]


@pytest.mark.parametrize("shape", ["gemma3", "qwen2_5_vl", "qwen3_vl_moe"])
def test_in_memory_it_is_scored_on_text_and_left_whole(shape: str, task: Path) -> None:
    model = zoo.build(shape)
    model.train()
    before = [(name, parameter.requires_grad) for name, parameter in model.named_parameters()]
    settings = str(model.config)
    (cell,) = score_model(model, tokenizer=build_tokenizer(), tasks=task, name="mine", scoring="cloze-sum")
    assert [(name, parameter.requires_grad) for name, parameter in model.named_parameters()] == before
    assert all(module.training for module in model.modules())
    assert str(model.config) == settings
    assert_scores(cell, wanted(model.eval()))
    everything = sum(parameter.numel() for parameter in model.parameters())
    # a decoder without a class of its own is counted with what surrounds it
    assert (cell.model["params"] < everything) == ("notes" in cell.model) == (shape != "qwen3_vl_moe")


@pytest.mark.parametrize("shape", ["gemma3", "qwen2_5_vl", "qwen3_vl_moe"])
def test_its_text_decoder_is_compressed_and_saved_like_any_other(shape: str, tmp_path: Path, task: Path) -> None:
    folder = zoo.folder(shape, tmp_path / shape)
    cell = scored(folder, task, "--variant", "rtn-w4-g32")
    assert cell.variant["bits_per_weight"] < 16
    sight = {name: tensor for name, tensor in zoo.network(shape).state_dict().items() if "vis" in name}
    assert sight
    assert not {name for name in cell.variant["layer_errors"] if "vis" in name or "projector" in name}
    out = tmp_path / "saved"
    assert (
        main(["compress", "--model", str(folder), "--variant", "rtn-w4-g32", "--dtype", "float32", "--out", str(out)])
        == 0
    )
    again = scored(out, task)
    np.testing.assert_allclose(again.scores, cell.scores, atol=1e-5)
    ready = scored(out, task, "--dense", str(folder))
    np.testing.assert_allclose(ready.scores, cell.scores, atol=1e-5)
    assert ready.variant["relative_weight_error"] == pytest.approx(cell.variant["relative_weight_error"], rel=1e-4)


@pytest.mark.parametrize("shape", ["mamba", "qwen3_next"])
def test_states_that_run_along_the_row_are_scored_the_plain_way(shape: str, tmp_path: Path, task: Path) -> None:
    cell = scored(zoo.folder(shape, tmp_path / shape), task)
    assert_scores(cell, wanted(zoo.network(shape)))
    assert cell.run["backend"] == "plain"
    row = measure([cell], splits=2, replicates=0)[0]
    assert "every option gets its own copy of the context" in row["notes"]["run"]  # type: ignore[index]


def test_texts_beyond_the_length_where_frequencies_change_are_scored_alone(tmp_path: Path, task: Path) -> None:
    model = longrope(20)
    model.save_pretrained(tmp_path / "long")
    build_tokenizer().save_pretrained(tmp_path / "long")
    cell = scored(tmp_path / "long", task)
    lengths = [len(build_tokenizer()(prompt_of(text)).input_ids) for text in CONTEXTS]
    assert min(lengths) < 20
    assert max(lengths) > 20
    assert_scores(cell, wanted(model))
    assert cell.run["backend"] == "tree"
    (note,) = cell.run["notes"]
    assert "longer than 20 tokens are scored one sequence at a time" in note


@pytest.mark.parametrize("shape", ["mamba", "gpt_oss"])
def test_in_sixteen_bits_they_are_compared_with_float32(shape: str, tmp_path: Path, task: Path) -> None:
    folder = zoo.folder(shape, tmp_path / shape)
    full, half = scored(folder, task), scored(folder, task, "--dtype", "bfloat16")
    moved = np.nanmax(np.abs(full.scores - half.scores))
    assert 0 < moved < 2
    assert half.run["drift"]["largest"] == pytest.approx(moved, abs=0.3 if shape == "mamba" else 0.05)


@pytest.mark.parametrize(
    ("shape", "changes", "reason"),
    [
        ("t5", {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1}, "has an encoder beside its decoder"),
        ("bart", {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1}, "has an encoder beside its decoder"),
        ("bert", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}, "fills gaps in a text"),
        ("modernbert", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}, "fills gaps in a text"),
        ("vit", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}, "none that transformers has"),
    ],
)
def test_what_is_no_decoder_is_refused_before_its_weights_are_read(
    shape: str, changes: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoConfig

    folder = zoo.folder("gpt_oss", tmp_path / "other")
    config = AutoConfig.for_model(shape, **changes)
    if shape == "modernbert":
        config.architectures = ["ModernBertForMaskedLM"]
    config.save_pretrained(folder)
    capsys.readouterr()
    assert main(["score", "--model", str(folder), "--task", "sciq", "--out", str(tmp_path / "c.parquet")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(f"suite: model other: architecture '{shape}'")
    assert reason in message
