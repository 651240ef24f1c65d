"""Saved compressed models, the cache of them, and models scored in memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from suite.cell import read_cell
from suite.cli import main
from suite.compress import apply
from suite.compress.cache import find, folder_of, keep, limit_bytes, trim
from suite.compress.save import save
from suite.errors import SuiteError
from suite.front_door import score_model
from suite.models.checkpoint import load
from suite.models.model import resolve_model
from suite.sample_text import SampleTokens
from suite.score.transformers import engine
from suite.variant import parse_variant

pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")

IDS = torch.from_numpy(np.random.default_rng(1).integers(2, 384, (2, 30)))
DRAW = np.random.default_rng(0)
TOKENS = SampleTokens(DRAW.integers(2, 384, (4, 32)), DRAW.integers(2, 384, (1, 96)), "random tokens")


def logits(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        hidden = network.base_model(input_ids=IDS, use_cache=False).last_hidden_state
        return network.get_output_embeddings()(hidden)  # type: ignore[no-any-return]


def compressed(folder: Path, name: str, dtype: str = "float32") -> tuple[Any, Any]:
    checkpoint = load(resolve_model(str(folder)), dtype=dtype)
    return checkpoint, apply(checkpoint.network, parse_variant(name), TOKENS)


SAVED = [
    "rtn-w4", "gptq-w4-g32", "gptq-w3", "awq-w4-g32", "smoothquant-w8a8", "rtn-w4a8", "gptq-w8kv8", "wanda-2:4",
    "sparsegpt-s50+gptq-w4", "depth-s35", "width-s30",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_comes_back_with_the_same_logits(
    tiny_models: dict[str, Path], tmp_path: Path, name: str, dtype: str, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint, info = compressed(tiny_models["gemma3" if "a" in name[4:] else "llama"], name, dtype)
    before = logits(checkpoint.network)
    capfd.readouterr()
    size = save(checkpoint, info, tmp_path / "out")
    assert size == sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    assert torch.equal(logits(checkpoint.network), before)  # saving changes nothing in memory
    again = load(resolve_model(str(tmp_path / "out")), dtype=dtype)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""  # neither saving nor loading draws a library's bars
    assert torch.equal(logits(again.network), before)
    assert again.bos == checkpoint.bos
    assert again.info["params"] <= checkpoint.info["params"]
    note = json.loads((tmp_path / "out" / "suite.json").read_text())
    assert note["variant"]["name"] == name
    assert note["dense"]["weights_hash"] == checkpoint.info["weights_hash"]


def test_four_bits_take_less_room_than_sixteen(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    sizes = []
    for name in ("gptq-w4", "wanda-s50"):
        checkpoint, info = compressed(tiny_models["llama"], name, "bfloat16")
        sizes.append(save(checkpoint, info, tmp_path / name))
    assert sizes[0] < 0.75 * sizes[1]


@pytest.mark.parametrize("name", ["spinquant-w4a4", "quip-w4"])
def test_rotated_models_are_not_saved(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    checkpoint, info = compressed(tiny_models["llama"], name)
    with pytest.raises(SuiteError, match="rotates activations while it runs, and transformers does not load that back"):
        save(checkpoint, info, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def cli(*args: object) -> int:
    return main([str(part) for part in args])


def common(text: Path) -> list[object]:
    fixed: list[object] = ["--sample-text", text, "--samples", 4, "--sample-length", 32]
    return [*fixed, "--dtype", "float32", "--device", "cpu"]


def test_suite_compress_and_suite_score_agree(
    tiny_models: dict[str, Path],
    quiz: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parent, made = tiny_models["llama"], tmp_path / "made"
    assert cli("compress", "--model", parent, "--variant", "gptq-w4-g32", "--out", made, "--json", *common(text)) == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["name"], measured["off_nominal"]) == ("gptq-w4-g32", False)
    assert measured["saved_bytes"] == sum(file.stat().st_size for file in made.glob("*.safetensors"))
    cells = []
    for args in (["--model", parent, "--variant", "gptq-w4-g32"], ["--model", made, "--dense", parent]):
        out = tmp_path / f"{len(cells)}.parquet"
        assert cli("score", *args, "--task", quiz, "--out", out, *common(text)) == 0
        cells.append(read_cell(out))
    np.testing.assert_array_equal(cells[0].scores, cells[1].scores)
    assert cells[1].variant["name"] == "gptq-w4-g32"
    assert cells[1].model == cells[0].model
    for key in ("relative_weight_error", "relative_output_error", "sparsity"):
        assert cells[1].variant[key] == pytest.approx(cells[0].variant[key], rel=1e-5)
    assert cells[1].variant["bits_per_weight"] == pytest.approx(cells[0].variant["bits_per_weight"], rel=0.02)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("quip-w4", "rotates activations while it runs"),
        ("gptq-w4-g64", "group size 64 does not divide the 96 inputs"),
        ("gptq-w7", "7 weight bits out of range"),
        ("wanda-s50+awq-w4", "joint variants quantize with rtn or gptq"),
    ],
)
def test_what_cannot_be_made_leaves_nothing_behind(
    tiny_models: dict[str, Path], text: Path, tmp_path: Path, variant: str, message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    args = ["compress", "--model", tiny_models["llama"], "--variant", variant, "--out", tmp_path / "x"]
    code = cli(*args, *common(text))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suite:")]
    assert code == 2
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_found_before_the_work(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert cli("compress", "--model", tiny_models["llama"], "--variant", "gptq-w4", "--out", tmp_path / "out") == 2
    assert "is there already; name a new folder" in capsys.readouterr().err


def test_a_text_that_is_too_short_is_one_line(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("too short")
    args = ["compress", "--model", tiny_models["llama"], "--variant", "gptq-w4", "--sample-text", short]
    assert cli(*args, "--dtype", "float32", "--device", "cpu", "--out", tmp_path / "out") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suite:")]
    assert "tokens are too few, 32 samples of 512 tokens need" in line


# the cache


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_kept_model_is_found_by_its_content(tiny_models: dict[str, Path], own_cache: Path) -> None:
    model = resolve_model(str(tiny_models["llama"]))
    assert find("key", model, dtype="float32", device="cpu") is None
    checkpoint, info = compressed(tiny_models["llama"], "gptq-w4")
    before = logits(checkpoint.network)
    kept = keep("key", checkpoint, info)
    assert kept.saved_bytes
    found = find("key", model, dtype="float32", device="cpu")
    assert found is not None
    assert torch.equal(logits(found[0].network), before)
    assert found[0].info == checkpoint.info
    assert found[1] == kept.as_metadata()


def test_a_damaged_one_is_made_again(tiny_models: dict[str, Path], own_cache: Path) -> None:
    checkpoint, info = compressed(tiny_models["llama"], "gptq-w4")
    keep("key", checkpoint, info)
    (folder_of("key") / "model.safetensors").write_bytes(b"damaged")
    assert find("key", resolve_model(str(tiny_models["llama"])), dtype="float32", device="cpu") is None
    assert not folder_of("key").exists()


def test_beyond_the_limit_the_longest_unused_go(own_cache: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = folder_of(name)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes(1000))
        (folder / "suite.json").write_text("{}")
        os.utime(folder / "suite.json", (10_000 - age, 10_000 - age))
    assert trim(1e6) == []
    assert trim(2100) == [folder_of("old")]
    assert trim(0) == [folder_of("middle"), folder_of("new")]


@pytest.mark.parametrize(("given", "limit"), [("", 20e9), ("1.5", 1.5e9), ("0", 0.0)])
def test_limits(monkeypatch: pytest.MonkeyPatch, given: str, limit: float) -> None:
    monkeypatch.setenv("SUITE_CACHE_GB", given)
    assert limit_bytes() == limit


@pytest.mark.parametrize("given", ["much", "-1", "nan"])
def test_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SUITE_CACHE_GB", given)
    with pytest.raises(SuiteError, match="not a number of gigabytes"):
        limit_bytes()


# in memory


def test_a_model_that_llm_compressor_has_just_made_is_scored_in_memory(
    tiny_models: dict[str, Path],
    quiz: Path,
    tmp_path: Path,
) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    folder = tiny_models["llama"]
    network, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    dense = score_model(network, tokenizer=tokenizer, tasks=quiz, name="mine")[0]
    oneshot(model=network, recipe=QuantizationModifier(scheme="W8A8", targets=["Linear"], ignore=["lm_head"]))
    cell = score_model(network, tokenizer=tokenizer, tasks=quiz, name="mine", variant="rtn-w8a8")[0]
    out = tmp_path / "cell.parquet"
    # the same weights and activations, by the suite's own hand
    args = ["score", "--model", folder, "--variant", "rtn-w8a8", "--task", quiz, "--dtype", "float32"]
    assert cli(*args, "--device", "cpu", "--out", out) == 0
    np.testing.assert_allclose(cell.scores, read_cell(out).scores, rtol=1e-3, atol=1e-3)
    assert not np.allclose(cell.scores, dense.scores, atol=1e-3)
    assert cell.variant["bits_per_weight"] == pytest.approx(read_cell(out).variant["bits_per_weight"], rel=1e-9)
    assert cell.model["weights_hash"] != dense.model["weights_hash"] or cell.variant["name"] != dense.variant["name"]
    assert cell.variant["relative_weight_error"] is None
    assert cell.model["params"] == dense.model["params"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_scored_in_memory_is_left_as_it_was(
    tiny_models: dict[str, Path],
    quiz: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
) -> None:
    folder = tiny_models["llama"]
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    network.train()
    network.model.layers[1].eval()
    tokenizer, norm = AutoTokenizer.from_pretrained(folder), network.model.norm
    given = norm.forward
    norm.forward = lambda states: given(states)
    own, states = norm.forward, torch.randn(64, 64, dtype=torch.bfloat16)

    def state() -> list[Any]:
        modules = [(name, module.training, sorted(vars(module))) for name, module in network.named_modules()]
        return [modules, str(network.config), [p.requires_grad for p in network.parameters()], norm.forward is own]

    def outputs() -> list[torch.Tensor]:
        return [*(layer.input_layernorm(states) for layer in network.model.layers), logits(network)]

    before, results = state(), outputs()
    if fails:

        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no")

        monkeypatch.setattr(engine, "log_likelihoods", broken)
        with pytest.raises(RuntimeError, match="no"):
            score_model(network, tokenizer=tokenizer, tasks=quiz, name="mine")
    else:
        score_model(network, tokenizer=tokenizer, tasks=quiz, name="mine")
    assert state() == before
    assert all(torch.equal(a, b) for a, b in zip(outputs(), results, strict=True))
