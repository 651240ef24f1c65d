"""The share of a model that was changed, against counts of parameters written down by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_models import build_tokenizer, tiny_config
from transformers import AutoModelForCausalLM

from suite.compress import VariantInfo, apply
from suite.compress.ready_made import load_ready
from suite.models.checkpoint import load
from suite.models.model import resolve_model
from suite.sample_text import SampleTokens
from suite.variant import parse_variant

# the tiny Llama: 64 wide, 96 in the feed-forward part, 4 heads of 16 and 2 of them for keys and values, 3 layers
ATTENTION = 64 * 64 + 2 * 32 * 64 + 64 * 64
BLOCK = ATTENTION + 3 * 64 * 96


def fresh(shape: str = "llama") -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(shape)).eval().requires_grad_(False)


def compressed(network: Any, name: str) -> VariantInfo:
    numbers = np.random.default_rng(0)
    tokens = SampleTokens(numbers.integers(0, 384, (4, 32)), numbers.integers(0, 384, (1, 80)), "numbers")
    return apply(network, parse_variant(name), tokens)


def without_reason(info: VariantInfo) -> float:
    return sum(entry["share"] for entry in info.untouched if entry["reason"] is None)


@pytest.mark.parametrize(
    "name", ["rtn-w4", "rtn-w8a8", "gptq-w4", "awq-w4", "smoothquant-w8a8", "quip-w4", "magnitude-s50", "wanda-2:4"]
)
def test_every_matrix_of_an_ordinary_model_is_touched(name: str) -> None:
    info = compressed(fresh(), name)
    assert (info.share_touched, info.untouched) == (1, [])
    assert info.left_out == [
        "model.embed_tokens.weight (embeddings)",
        "model.layers.*.input_layernorm.weight (norm)",
        "model.layers.*.post_attention_layernorm.weight (norm)",
        "model.norm.weight (norm)",
        "lm_head.weight (output head)",
    ]


def test_dense_has_no_share() -> None:
    info = compressed(fresh(), "dense")
    assert (info.share_touched, info.untouched, info.left_out) == (None, [], [])


@pytest.mark.parametrize("name", ["rtn-w4", "magnitude-s50", "width-s25"])
@pytest.mark.parametrize("shape", [(96, 64), (5, 32, 64)])
def test_a_part_that_no_method_knows_counts_as_untouched(name: str, shape: tuple[int, ...]) -> None:
    network = fresh()
    for block in network.model.layers:
        block.mlp.novel = torch.nn.Parameter(torch.randn(*shape), requires_grad=False)
    info = compressed(network, name)
    novel = int(np.prod(shape))
    assert info.share_touched == pytest.approx(BLOCK / (BLOCK + novel), abs=1e-12)
    (entry,) = info.untouched
    assert entry["names"] == "model.layers.*.mlp.novel" + (".*" if len(shape) == 3 else "")
    assert (entry["matrices"], entry["reason"]) == (3 * (shape[0] if len(shape) == 3 else 1), None)
    assert entry["share"] == pytest.approx(novel / (BLOCK + novel), abs=1e-12)


def test_one_expert_of_a_stack_that_stayed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fresh()
    stack = torch.nn.Parameter(torch.randn(4, 32, 64), requires_grad=False)
    network.model.layers[1].mlp.novel = stack
    from suite.compress import rtn

    given = rtn.compress

    def three_of_four(network: Any, *args: Any) -> Any:
        stack.data[[0, 1, 3]] *= 2
        return given(network, *args)

    monkeypatch.setattr(rtn, "compress", three_of_four)
    info = compressed(network, "rtn-w4")
    assert info.share_touched == pytest.approx(1 - 32 * 64 / (3 * BLOCK + 4 * 32 * 64), abs=1e-12)
    assert [(entry["names"], entry["matrices"]) for entry in info.untouched] == [("model.layers.*.mlp.novel.*", 1)]


def test_a_router_is_left_out_and_a_matrix_of_its_name_is_not() -> None:
    """A gate has as many outputs as there are experts beside it."""
    network = fresh()
    for block in network.model.layers:
        block.mlp.experts = torch.nn.Module()
        block.mlp.experts.stack = torch.nn.Parameter(torch.randn(4, 32, 64), requires_grad=False)
        block.mlp.gate = torch.nn.Module()
        block.mlp.gate.weight = torch.nn.Parameter(torch.randn(4, 64), requires_grad=False)
        block.self_attn.gate = torch.nn.Module()
        block.self_attn.gate.weight = torch.nn.Parameter(torch.randn(4, 64), requires_grad=False)
        block.mlp.wide_gate = torch.nn.Parameter(torch.randn(8, 64), requires_grad=False)
    info = compressed(network, "rtn-w4")
    assert "model.layers.*.mlp.gate.weight (router)" in info.left_out
    assert {entry["names"] for entry in info.untouched} == {
        "model.layers.*.mlp.experts.stack.*",
        "model.layers.*.self_attn.gate.weight",
        "model.layers.*.mlp.wide_gate",
    }


@pytest.mark.parametrize("name", ["magnitude-s50", "magnitude-2:4", "wanda-2:4", "wanda-s50"])
def test_weights_that_are_there_already_are_a_reason(name: str) -> None:
    network = fresh()
    compressed(network, name)
    again = compressed(network, name)
    assert again.share_touched is not None
    assert again.share_touched < 0.95
    assert without_reason(again) == 0
    assert {entry["reason"] for entry in again.untouched} == {f"was {name} already"}


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("rtn-w2", [0.0, 1, 2, 3] * 16, True),
        ("rtn-w2", [0.0, 1, 2, 4] * 15 + [3.0, 3, 3, 3], False),
        ("rtn-w2-g32", [0.0, 1, 2, 3] * 8 + [4.0, 5, 6, 7] * 8, True),
        ("rtn-w2-g32", [0.0, 1, 2, 3] * 8 + [4.0, 5, 6, 7] * 7 + [8.0] * 4, False),
        ("magnitude-2:4", [0.0, 1, 2, 0] * 16, True),
        ("magnitude-2:4", [0.0, 1, 2, 0] * 15 + [0.0, 1, 2, 3], False),
        ("magnitude-s50", [0.0] * 32 + [1.0, 2] * 16, True),
        ("magnitude-s50", [0.0] * 31 + [1.0] * 33, False),
        ("magnitude-2:4+rtn-w2", [0.0, 1, 2, 0] * 16, True),
        ("magnitude-2:4+rtn-w2", [0.0, 1, 2, 3] * 16, False),
        ("magnitude-2:4+rtn-w2", [0.0, 1, 2, 0] * 15 + [0.0, 3, 4, 0], False),
        ("width-s25", [0.0] * 64, False),
    ],
)
def test_a_part_that_is_what_the_name_says_already_is_a_reason(name: str, row: list[float], reason: bool) -> None:
    """A part that no method knows: what its weights are decides, not what it is called."""
    network = fresh()
    stack = torch.tensor([row] * 5)
    network.model.layers[0].mlp.novel = torch.nn.Parameter(stack, requires_grad=False)
    (entry,) = compressed(network, name).untouched
    assert entry["names"] == "model.layers.*.mlp.novel"
    assert entry["reason"] == (f"was {name} already" if reason else None)


def test_blocks_that_stay_are_a_reason() -> None:
    info = compressed(fresh(), "depth-s35")
    assert info.share_touched == pytest.approx(1 / 3, abs=1e-12)
    assert without_reason(info) == 0
    assert sum(entry["share"] for entry in info.untouched) == pytest.approx(2 / 3, abs=1e-12)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    folder = tmp_path / "parent"
    fresh().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def ready(child: Path, parent: Path, name: str, dtype: str = "float32") -> dict[str, Any]:
    _, variant = load_ready(
        resolve_model(str(child)),
        resolve_model(str(parent)),
        name,
        load_as=lambda model: load(model, dtype=dtype),
        tokens_of=lambda _: None,
    )
    return variant


def rewritten(parent: Path, child: Path, dtype: torch.dtype, only: str) -> Path:
    """A checkpoint in another dtype, of which the matrices with `only` in their name have weights pruned."""
    shutil.copytree(parent, child)
    weights = {name: tensor.to(dtype) for name, tensor in load_file(child / "model.safetensors").items()}
    for name in [name for name in weights if only in name and name.endswith("_proj.weight")]:
        weights[name] = weights[name] * (weights[name].abs() > 0.05)
    save_file(weights, child / "model.safetensors", {"format": "pt"})
    return child


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_of_a_checkpoint_in_another_dtype_only_what_was_compressed_is_touched(
    parent: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    variant = ready(rewritten(parent, tmp_path / "child", dtype, ".mlp."), parent, "wanda-s20")
    assert variant["share_touched"] == pytest.approx(1 - ATTENTION / BLOCK, abs=1e-12)
    assert {entry["reason"] for entry in variant["untouched"]} == {None}
    assert {entry["names"] for entry in variant["untouched"]} == {
        f"model.layers.*.self_attn.{part}_proj.weight" for part in "qkvo"
    }


def test_a_checkpoint_of_fewer_blocks_is_compared_by_content(parent: Path, tmp_path: Path) -> None:
    """The blocks left are numbered anew: the second of the child is the third of the parent."""
    network = AutoModelForCausalLM.from_pretrained(parent)
    network.model.layers = torch.nn.ModuleList([network.model.layers[index] for index in (0, 2)])
    network.config.num_hidden_layers = 2
    network.save_pretrained(tmp_path / "child")
    build_tokenizer().save_pretrained(tmp_path / "child")
    assert ready(tmp_path / "child", parent, "depth-s35")["share_touched"] == pytest.approx(1 / 3, abs=1e-12)


def test_a_checkpoints_own_ignore_list_is_a_reason(parent: Path, tmp_path: Path) -> None:
    from suite.compress.ready_made import ignored_by

    child = rewritten(parent, tmp_path / "child", torch.float32, ".mlp.")
    config = json.loads((child / "config.json").read_text())
    assert "quantization_config" not in config
    names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.experts.3.up_proj.weight"]
    for quantization, expected in [
        ({}, [False, False]),
        ({"ignore": ["lm_head", "model.layers.0.self_attn.q_proj"]}, [True, False]),
        ({"ignore": ["re:.*self_attn.*"]}, [True, False]),
        ({"ignore": ["model.layers.0.mlp.experts.3.up_proj"]}, [False, True]),
        ({"ignore": ["model.layers.0.block_sparse_moe.experts.3.w3"]}, [False, True]),
        ({"ignore": ["re:.*experts.gate_up_proj"]}, [False, True]),
        ({"ignore": ["model.layers.0.mlp.experts.33.up_proj"]}, [False, False]),
        ({"modules_to_not_convert": ["self_attn"]}, [True, False]),
        ({"modules_to_not_convert": ["attn"]}, [False, False]),
        ({"llm_int8_skip_modules": ["lm_head", "q_proj"]}, [True, False]),
        ({"modules_in_block_to_quantize": [["self_attn.q_proj"]]}, [False, True]),
        ({"dynamic": {"-:.*mlp.*": {}, "+:.*q_proj.*": {"bits": 8}}}, [False, True]),
    ]:
        ignored = ignored_by(quantization)
        assert [ignored(name) for name in names] == expected, quantization
