"""Checkpoints others made: what they are is read from them, and they are measured against their parent."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import zoo
from support.packing import down
from support.tiny_models import build_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from suite.cell import read_cell
from suite.cli import main
from suite.compress.magnitude import prune
from suite.compress.ready_made import variant_of
from suite.errors import SuiteError
from suite.models.checkpoint import load
from suite.models.model import resolve_model

GROUP = 32


@pytest.fixture(scope="module")
def gptq(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The tiny Llama packed by hand to 4 bits, and the dense weights that stand for it."""
    folder = tmp_path_factory.mktemp("made") / "tiny-gptq"
    shutil.copytree(tiny_models["llama"], folder)
    tensors, expected = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = weight
            continue
        grouped = weight.float().reshape(len(weight), -1, GROUP)
        scale = (grouped.abs().amax(-1) / 7.5).half().float()
        levels = torch.clamp(torch.round(grouped / scale[..., None]) + 8, 0, 15)
        stem = name.removesuffix("weight")
        tensors[f"{stem}qweight"] = down(levels.reshape(weight.shape).T.int().numpy(), 4)
        zeros = np.full((weight.shape[0], weight.shape[1] // GROUP), 7)
        tensors[f"{stem}qzeros"] = down(zeros, 4).T.contiguous()
        tensors[f"{stem}scales"] = scale.T.half().contiguous()
        tensors[f"{stem}g_idx"] = torch.arange(weight.shape[1], dtype=torch.int32) // GROUP
        expected[name] = ((levels - 8) * scale[..., None]).reshape(weight.shape)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, expected


def score(tmp_path: Path, quiz: Path, text: Path, *args: object) -> Any:
    out = tmp_path / "cell.parquet"
    fixed = ["--task", quiz, "--dtype", "float32", "--device", "cpu", "--sample-text", text, "--samples", 4]
    assert main([str(part) for part in ["score", *args, *fixed, "--sample-length", 32, "--out", out]]) == 0
    return read_cell(out)


def test_what_is_saved_beside_weights_and_is_none_takes_no_bits(tmp_path: Path, quiz: Path, text: Path) -> None:
    """MiniMax saves the decays of its linear attention, which its configuration makes."""
    parent, child = tmp_path / "minimax", tmp_path / "pruned"
    network = zoo.build("minimax", num_local_experts=4, num_experts_per_tok=2)
    network.save_pretrained(parent)
    build_tokenizer().save_pretrained(parent)
    shutil.copytree(parent, child)
    weights = {name for name, _ in network.named_parameters()}
    tensors = load_file(child / "model.safetensors")
    assert any(name.endswith("decay") and name not in weights for name in tensors)
    pruned = {name: tensor * (tensor.abs() > tensor.abs().median()) for name, tensor in tensors.items()}
    save_file(
        {name: pruned[name] if "_proj" in name or ".w" in name else tensor for name, tensor in tensors.items()},
        child / "model.safetensors",
        {"format": "pt"},
    )
    cell = score(tmp_path, quiz, text, "--model", child, "--dense", parent, "--variant", "magnitude-s50")
    assert cell.variant["bits_per_weight"] == pytest.approx(16)


def test_a_gptq_checkpoint_is_unpacked_to_the_weights_it_stands_for(gptq: tuple[Path, dict[str, Any]]) -> None:
    folder, expected = gptq
    network = load(resolve_model(str(folder)), dtype="float32").network
    for name, weight in expected.items():
        torch.testing.assert_close(network.get_parameter(name).data, weight, rtol=1e-6, atol=1e-7)


def test_a_gptq_checkpoint_is_a_variant_of_its_parent(
    gptq: tuple[Path, dict[str, Any]], tiny_models: dict[str, Path], quiz: Path, text: Path, tmp_path: Path
) -> None:
    folder, expected = gptq
    cell = score(tmp_path, quiz, text, "--model", folder, "--dense", tiny_models["llama"])
    assert (cell.model["name"], cell.variant["name"], cell.variant["family"]) == (
        "tiny-llama", "gptq-w4-g32", "quantization",
    )  # fmt: skip
    assert cell.model["parent_quantization"] is None
    dense = load_file(tiny_models["llama"] / "model.safetensors")
    lost = sum(float((dense[name] - weight).double().square().sum()) for name, weight in expected.items())
    whole = sum(float(dense[name].double().square().sum()) for name in expected)
    assert cell.variant["relative_weight_error"] == pytest.approx((lost / whole) ** 0.5, rel=1e-5)
    linear = sum(weight.numel() for weight in expected.values())
    other = sum(weight.numel() for name, weight in dense.items() if name not in expected)
    # 4 bits, and a 16-bit scale and a 4-bit zero point a group; the group indices are stored too
    indices = 32 * sum(weight.shape[1] for weight in expected.values())
    bits = (linear * (4 + 20 / GROUP) + indices + 16 * other) / (linear + other)
    assert cell.variant["bits_per_weight"] == pytest.approx(bits, rel=1e-6)
    assert 0 < cell.variant["relative_output_error"] < 1
    assert cell.variant["off_nominal"] is False
    assert cell.variant["checkpoint"]["weights_hash"].startswith("sha256:")


def pruned(parent: Path, folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    shutil.copytree(parent, folder)
    weights = load_file(folder / "model.safetensors")
    changed = {name: change(name, weight) for name, weight in weights.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_plain_pruned_checkpoint_has_its_zeros_counted(
    tiny_models: dict[str, Path], quiz: Path, text: Path, tmp_path: Path
) -> None:
    folder = pruned(
        tiny_models["llama"],
        tmp_path / "pruned",
        lambda name, weight: prune(weight, 0.3) if name.endswith("_proj.weight") else weight,
    )
    args = ("--model", folder, "--dense", tiny_models["llama"])
    cell = score(tmp_path, quiz, text, *args, "--variant", "wanda-s30")
    assert cell.variant["sparsity"] == pytest.approx(0.3, abs=1e-3)
    assert cell.variant["off_nominal"] is False
    assert score(tmp_path, quiz, text, *args, "--variant", "wanda-s50").variant["off_nominal"] is True
    with pytest.raises(SuiteError, match=r"does not say how it was compressed; name it with --variant"):
        variant_of(resolve_model(str(folder)))


def test_an_unchanged_checkpoint_is_a_no_op(
    tiny_models: dict[str, Path], quiz: Path, text: Path, tmp_path: Path
) -> None:
    same = pruned(tiny_models["llama"], tmp_path / "same", lambda name, weight: weight)
    cell = score(tmp_path, quiz, text, "--model", same, "--dense", tiny_models["llama"], "--variant", "gptq-w4")
    assert (cell.variant["no_op"], cell.variant["off_nominal"]) == (True, True)
    assert cell.variant["relative_output_error"] == 0


@pytest.mark.parametrize(
    ("child", "parent", "message"),
    [
        ("qwen2", "llama", "their tokenizers differ|has no layer|embeddings"),
        ("gemma3", "llama", "was not made of tiny-llama"),
    ],
)
def test_another_parent_is_one_line(
    tiny_models: dict[str, Path], quiz: Path, tmp_path: Path, child: str, parent: str, message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if child == "qwen2":
        # the same family, but wider
        shutil.copytree(tiny_models["llama"], tmp_path / "wide")
        config = json.loads((tmp_path / "wide" / "config.json").read_text())
        config["intermediate_size"] = 128
        (tmp_path / "wide" / "config.json").write_text(json.dumps(config))
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path / "wide")).save_pretrained(
            tmp_path / "wide"
        )
        folder, message = tmp_path / "wide", r"layer model\.layers\.0\.mlp\.gate_proj is 128 × 64, the parent's 96 × 64"
    else:
        folder = tiny_models[child]
    args = ["score", "--model", folder, "--dense", tiny_models[parent], "--variant", "gptq-w4", "--task", quiz]
    assert main([*map(str, args), "--dtype", "float32", "--device", "cpu", "--out", str(tmp_path / "c.parquet")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suite:")]
    assert re.search(message, line)


def test_packed_tensors_that_do_not_fit_are_one_line(gptq: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(gptq[0], tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.scales"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(SuiteError, match=r"the packed tensors of model\.layers\.1\.mlp\.up_proj do not fit together"):
        load(resolve_model(str(tmp_path / "broken")), dtype="float32")


def scheme(weights: dict[str, Any], activations: dict[str, Any] | None = None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("modifiers", "quantization", "name"),
    [
        (("QuantizationModifier",), scheme({"num_bits": 8}, {"num_bits": 8, "dynamic": True}), "rtn-w8a8"),
        (("QuantizationModifier",), scheme({"num_bits": 8}, {"num_bits": 8, "dynamic": False}), "int8-w8a8"),
        (("QuantizationModifier",), scheme({"num_bits": 4, "group_size": 64, "symmetric": False}), "affine-w4-g64"),
        (("QuantizationModifier",), scheme({"num_bits": 4, "group_size": 64}), "rtn-w4-g64"),
        (("GPTQModifier",), scheme({"num_bits": 4, "group_size": 64, "symmetric": False}), "gptq-w4-g64"),
        (("SmoothQuantModifier", "GPTQModifier"), scheme({"num_bits": 8}, {"num_bits": 8}), "gptq-w8a8"),
        (("GPTQModifier",), scheme({"num_bits": 4, "type": "float", "group_size": 16}), "nvfp4"),
    ],
)
def test_what_a_recipe_adds_to_the_name(
    tiny_models: dict[str, Path], tmp_path: Path, modifiers: tuple[str, ...], quantization: dict[str, Any], name: str
) -> None:
    shutil.copytree(tiny_models["llama"], tmp_path / "x")
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    (tmp_path / "x" / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
    (tmp_path / "x" / "recipe.yaml").write_text(json.dumps({modifier: {} for modifier in modifiers}))
    assert variant_of(resolve_model(str(tmp_path / "x"))).name == name


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "gptq-w3-g128"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "gptq-w4"),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, "awq-w4-g64"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb-w4-g64"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb-w8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "g": {"weights": {"num_bits": 4, "group_size": 32}, "input_activations": {"num_bits": 8}}
                },
            },
            "ct-w4a8-g32",
        ),
        (scheme({"num_bits": 8}, {"num_bits": 8, "dynamic": True}), "int8-w8a8"),
        (scheme({"num_bits": 8}), "ct-w8"),
        (scheme({"num_bits": 4, "group_size": 64, "symmetric": False}), "affine-w4-g64"),
        (scheme({"num_bits": 4, "type": "float", "group_size": 16}), "nvfp4"),
        (scheme({"num_bits": 4, "type": "float", "group_size": 32}), "mxfp4"),
        (scheme({"num_bits": 8, "type": "float", "group_size": 32}), "mxfp8"),
        (scheme({"num_bits": 8, "type": "float"}, {"num_bits": 8, "type": "float", "dynamic": False}), "fp8"),
        (scheme({"num_bits": 8, "type": "float"}, {"num_bits": 8, "type": "float", "dynamic": True}), "fp8-dynamic"),
    ],
)
def test_what_a_checkpoint_says_it_is(
    tiny_models: dict[str, Path], tmp_path: Path, quantization: dict[str, Any], name: str
) -> None:
    shutil.copytree(tiny_models["llama"], tmp_path / "x")
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    (tmp_path / "x" / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
    assert variant_of(resolve_model(str(tmp_path / "x"))).name == name
    assert variant_of(resolve_model(str(tmp_path / "x")), "rtn-w8").name == "rtn-w8"


def test_a_gguf_file_is_named_by_its_type(tmp_path: Path) -> None:
    for stem, name in (("Model-7B.Q4_K_M", "gguf-q4_k_m"), ("model-iq2_xs", "gguf-iq2_xs")):
        (tmp_path / f"{stem}.gguf").touch()
        assert variant_of(resolve_model(str(tmp_path / f"{stem}.gguf"))).name == name
