"""Mixtures of experts: each expert is compressed by itself, on the tokens that the router sends to it.

The tiny models have one block of four experts. Their router is set by hand: every ordinary token goes to experts 0 and
1, one single token of the sample text to expert 2, and none to expert 3.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.packing import down
from support.tiny_models import build_tokenizer
from transformers import AutoModelForCausalLM, DeepseekV3Config, GptOssConfig, MixtralConfig, Qwen3MoeConfig

from suite.cli import main
from suite.compress import VariantInfo, apply, measure_network, recipe_of
from suite.compress.ready_made import load_ready
from suite.compress.save import save
from suite.errors import SuiteError
from suite.models.checkpoint import load
from suite.models.linearized import Experts, linearized
from suite.models.model import has_experts, resolve_model
from suite.sample_text import SampleTokens
from suite.variant import parse_variant

WIDTH, INNER, SPECIAL = 32, 64, 5
SHAPES = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3")
EXPERTS = [(number, part) for number in range(4) for part in ("gate", "up", "down")]


def config_of(shape: str, blocks: int = 1) -> Any:
    common: dict[str, Any] = {
        "vocab_size": 384,
        "hidden_size": WIDTH,
        "num_hidden_layers": blocks,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "tie_word_embeddings": False,
    }
    if shape == "mixtral":
        return MixtralConfig(**common, intermediate_size=INNER, num_local_experts=4)
    if shape == "qwen3_moe":
        return Qwen3MoeConfig(**common, intermediate_size=96, moe_intermediate_size=INNER, num_experts=4, head_dim=16)
    if shape == "gpt_oss":
        kinds = ["sliding_attention", "full_attention"][:blocks]
        return GptOssConfig(**common, intermediate_size=INNER, num_local_experts=4, head_dim=16, layer_types=kinds)
    return DeepseekV3Config(
        **common, intermediate_size=96, moe_intermediate_size=INNER, n_routed_experts=4, n_shared_experts=1, n_group=1,
        topk_group=1, first_k_dense_replace=blocks - 1, q_lora_rank=32, kv_lora_rank=32, qk_rope_head_dim=16,
        qk_nope_head_dim=16, v_head_dim=16,
    )  # fmt: skip


def network_of(shape: str, blocks: int = 1) -> Any:
    torch.manual_seed(1)
    network = AutoModelForCausalLM.from_config(config_of(shape, blocks)).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if not name.endswith("norm.weight"):
            # some start as zeros, or as whatever was in memory
            parameter.data.normal_(0, 0.02 if name.endswith("bias") else 0.2)
    for block in network.model.layers:
        if hasattr(block.mlp, "experts"):
            route(network, block)
    return network


def route(network: Any, block: Any) -> None:
    """Channel 0 of every embedding is 1, channel 1 is 0 but for one token's; attention hardly changes that."""
    embeddings = network.get_input_embeddings().weight
    embeddings[:, 0], embeddings[:, 1], embeddings[SPECIAL, 1] = 1, 0, 8
    for layer in network.model.layers:
        layer.self_attn.o_proj.weight.data *= 0.01
        if not hasattr(layer.mlp, "experts"):
            layer.mlp.down_proj.weight.data *= 0.01
    router = block.mlp.router if hasattr(block.mlp, "router") else block.mlp.gate
    router.weight.data.zero_()
    for expert, channel, size in ((0, 0, 4), (1, 0, 3), (2, 1, 8), (3, 0, -8)):
        router.weight[expert, channel] = size
    if getattr(router, "bias", None) is not None:
        router.bias.data.zero_()


def sample() -> SampleTokens:
    numbers = np.random.default_rng(0)
    ids = numbers.integers(SPECIAL + 1, 384, (4, 48))
    ids[1, 7] = SPECIAL
    return SampleTokens(ids, numbers.integers(SPECIAL + 1, 384, (1, 80)), "numbers")


def compressed(network: Any, name: str) -> VariantInfo:
    return apply(network, parse_variant(name), sample())


def matrix(network: Any, number: int, part: str, block: int = -1) -> np.ndarray[Any, Any]:
    """One expert's matrix as [outputs, inputs], from transformers' stacks, for each layout by hand."""
    experts = network.model.layers[block].mlp.experts
    stack = (experts.down_proj if part == "down" else experts.gate_up_proj)[number].double().numpy()
    if network.config.model_type == "gpt_oss":
        stack = stack.T
        return stack if part == "down" else stack[(0 if part == "gate" else 1) :: 2]
    if part == "down":
        return stack
    return stack[:INNER] if part == "gate" else stack[INNER:]


def matrices(network: Any, block: int = -1) -> dict[tuple[int, str], np.ndarray[Any, Any]]:
    return {(number, part): matrix(network, number, part, block).copy() for number, part in EXPERTS}


def inputs_of_experts(network: Any, block: int = -1) -> np.ndarray[Any, Any]:
    """What a mixture is given over the sample text, [tokens, width], and which experts each token goes to."""
    seen: list[torch.Tensor] = []
    mlp = network.model.layers[block].mlp
    handle = mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    with torch.inference_mode():
        for row in sample().ids:
            network(input_ids=torch.from_numpy(row)[None], use_cache=False)
    handle.remove()
    return torch.cat(seen).double().numpy()


def chosen(given: np.ndarray[Any, Any], number: int) -> np.ndarray[Any, Any]:
    """The tokens of one expert: all but the special one for expert 1, all for expert 0, that one for 2, none for 3."""
    special = given[:, 1] > 1
    assert special.sum() == 1
    return given[[slice(None), ~special, special, slice(0, 0)][number]]


def rounded(weight: np.ndarray[Any, Any], bits: int, group: int) -> np.ndarray[Any, Any]:
    """Round to nearest by its definition, in float32 as the method."""
    parts = weight.astype(np.float32).reshape(len(weight), -1, group)
    step = np.abs(parts).max(axis=-1, keepdims=True) / np.float32((2**bits - 1) / 2)
    return (np.clip(np.rint(parts / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step).reshape(weight.shape)


def smallest_gone(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half of a matrix, the weights nearest to zero, set to zero."""
    result = weight.copy()
    result.flat[np.argsort(np.abs(weight), axis=None, kind="stable")[: weight.size // 2]] = 0
    return result


def check_rows(new: np.ndarray[Any, Any], old: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> None:
    """In every row half of the weights are gone, none with a higher score than one that stayed, rounding aside."""
    gone = new == 0
    np.testing.assert_array_equal(gone.sum(axis=1), old.shape[1] // 2)
    np.testing.assert_array_equal(new[~gone], old[~gone])
    highest, lowest = np.where(gone, scores, 0).max(axis=1), np.where(gone, np.inf, scores).min(axis=1)
    assert (highest <= lowest * (1 + 1e-5)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_experts_as_layers_compute_what_the_stack_does(shape: str) -> None:
    network, ids = network_of(shape), torch.from_numpy(sample().ids)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.inference_mode():
        whole = network(ids).logits
        with linearized(network) as pieces:
            assert pieces.experts
            layers = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
            assert sum(".experts." in name and "shared" not in name for name in layers) == len(EXPERTS)
            apart = network(ids).logits
        again = network(ids).logits
    torch.testing.assert_close(apart, whole, rtol=1e-5, atol=1e-5)
    assert torch.equal(again, whole)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(isinstance(module, Experts) for module in network.modules())


@pytest.mark.parametrize("shape", SHAPES)
def test_rtn_rounds_each_expert_by_itself(shape: str) -> None:
    network = network_of(shape)
    dense = matrices(network)
    info = compressed(network, "rtn-w4-g16")
    for key, weight in matrices(network).items():
        np.testing.assert_allclose(weight, rounded(dense[key], 4, 16), rtol=1e-5, atol=1e-7)
        error = np.linalg.norm(weight - dense[key]) / np.linalg.norm(dense[key])
        name = f"model.layers.0.mlp.experts.{key[0]}.{key[1]}_proj"
        assert info.layer_errors[name] == pytest.approx(error, abs=1e-5)
    assert info.share_touched == 1
    router = "router" if shape == "gpt_oss" else "gate"
    assert f"model.layers.*.mlp.{router}.weight (router)" in info.left_out
    linear = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if ("_proj" in name) and not name.endswith("bias") and "layernorm" not in name
    )
    params = sum(parameter.numel() for parameter in network.parameters())
    expected = (linear * (4 + 16 / 16) + 16 * (params - linear)) / params
    assert info.bits_per_weight == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_magnitude_prunes_each_expert_by_itself(shape: str) -> None:
    network = network_of(shape)
    dense = matrices(network)
    info = compressed(network, "magnitude-s50")
    for key, weight in matrices(network).items():
        np.testing.assert_array_equal(weight, smallest_gone(dense[key]))
    assert (info.share_touched, info.sparsity) == (1, pytest.approx(0.5, abs=1e-3))


@pytest.mark.parametrize("shape", SHAPES)
def test_wanda_prunes_an_expert_by_its_own_tokens(shape: str) -> None:
    network = network_of(shape)
    dense, given = matrices(network), inputs_of_experts(network)
    info = compressed(network, "wanda-s50")
    after = matrices(network)
    for number in (0, 1):
        norms = np.linalg.norm(chosen(given, number), axis=0)
        for part in ("gate", "up"):
            check_rows(after[number, part], dense[number, part], np.abs(dense[number, part]) * norms)
    for number in (2, 3):
        for part in ("gate", "up", "down"):
            np.testing.assert_array_equal(after[number, part], smallest_gone(dense[number, part]))
    (note,) = [note for note in info.notes if "experts saw" in note]
    assert note == (
        "2 experts saw fewer than 32 tokens of the sample text, so they were pruned by magnitude "
        "(model.layers.0.mlp: 2, 3)"
    )


def test_wanda_prunes_what_reads_an_experts_middle_by_its_own_tokens() -> None:
    network = network_of("mixtral")
    dense, given = matrices(network), inputs_of_experts(network)
    compressed(network, "wanda-s50")
    for number in (0, 1):
        tokens = chosen(given, number)
        gate = tokens @ dense[number, "gate"].T
        norms = np.linalg.norm(gate / (1 + np.exp(-gate)) * (tokens @ dense[number, "up"].T), axis=0)
        check_rows(matrix(network, number, "down"), dense[number, "down"], np.abs(dense[number, "down"]) * norms)


@pytest.mark.parametrize("shape", SHAPES)
def test_gptq_fits_an_expert_to_its_own_tokens(shape: str) -> None:
    network = network_of(shape)
    dense, given = matrices(network), inputs_of_experts(network)
    info = compressed(network, "gptq-w3")
    after = matrices(network)
    for number in (0, 1):
        tokens = chosen(given, number)
        for part in ("gate", "up"):
            nearest = rounded(dense[number, part], 3, WIDTH)
            moved = [np.linalg.norm(tokens @ (dense[number, part] - each).T) for each in (after[number, part], nearest)]
            assert moved[0] < 0.96 * moved[1]
    for number in (2, 3):
        for part, size in (("gate", WIDTH), ("up", WIDTH), ("down", INNER)):
            np.testing.assert_allclose(after[number, part], rounded(dense[number, part], 3, size), rtol=1e-5, atol=1e-6)
    assert any(re.search(r"2 experts saw .* rounded to nearest \(model\.layers\.0\.mlp: 2, 3\)", n) for n in info.notes)
    assert info.share_touched == 1


def test_sparsegpt_leaves_rare_experts_to_magnitude() -> None:
    network = network_of("qwen3_moe")
    dense = matrices(network)
    info = compressed(network, "sparsegpt-s50")
    for key, weight in matrices(network).items():
        assert np.array_equal(weight, smallest_gone(dense[key])) == (key[0] in (2, 3))
    assert any("pruned by magnitude (model.layers.0.mlp: 2, 3)" in note for note in info.notes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["awq-w8", "smoothquant-w8a8"])
def test_what_is_moved_between_matrices_changes_no_output(shape: str, name: str) -> None:
    """The router reads what the norm gives too: left out of the scaling, it would send tokens elsewhere."""
    network = network_of(shape)
    norm = network.model.layers[0].post_attention_layernorm.weight.clone()
    info = compressed(network, name)
    (moved,) = [note for note in info.notes if note.startswith("the transformation before rounding moves outputs by")]
    assert float(moved.rpartition(" ")[2]) < 1e-3
    assert not torch.equal(network.model.layers[0].post_attention_layernorm.weight, norm)
    assert (info.share_touched, info.relative_output_error or 1) == (1, pytest.approx(0, abs=0.1))


WEIGHTS = ["magnitude-2:4", "wanda-4:8", "sparsegpt-s50+rtn-w4", "quip-w4"]
RUNNING = ["rtn-w8a8", "rtn-w8kv8"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*WEIGHTS, *RUNNING])
def test_every_other_method_takes_experts_too(shape: str, name: str) -> None:
    network = network_of(shape)
    info = compressed(network, name)
    assert (info.share_touched, info.off_nominal, info.no_op) == (1, False, False)
    assert 0 < (info.relative_output_error or 0) < (0.2 if name in RUNNING else 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_activations_of_experts_are_rounded(shape: str) -> None:
    """What an expert makes of an input differs once that is rounded to few levels."""
    fine, coarse = network_of(shape), network_of(shape)
    compressed(fine, "rtn-w8"), compressed(coarse, "rtn-w8a4")
    states = torch.linspace(-1, 1, 2 * WIDTH).reshape(2, WIDTH)
    routing = (torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 2))
    with torch.inference_mode():
        given = [network.model.layers[0].mlp.experts(states, *routing) for network in (fine, coarse)]
    assert 1e-3 < float((given[0] - given[1]).norm() / given[0].norm()) < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_token_is_rounded_to_depends_on_no_other(shape: str) -> None:
    """Neither on other texts of a batch nor on the tokens after it."""
    network = network_of(shape)
    compressed(network, "rtn-w8a4")
    whole, ids = logits(network), torch.from_numpy(sample().ids)
    with torch.inference_mode():
        alone, start = network(ids[:1]).logits, network(ids[:, :20]).logits
    assert float((whole[:1] - alone).norm() / alone.norm()) < 0.02
    assert float((whole[:, :20] - start).norm() / start.norm()) < 0.02


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["width-s50", "spinquant-w4a4"])
def test_what_does_not_take_experts_is_refused_in_one_line(shape: str, name: str) -> None:
    network = network_of(shape)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(SuiteError, match=f"architecture '{shape}'") as caught:
        compressed(network, name)
    assert len(str(caught.value).splitlines()) == 1
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def saved(network: Any, folder: Path) -> Path:
    network.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def logits(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.from_numpy(sample().ids)).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["rtn-w4", "gptq-w4", "depth-s50"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_mixture_comes_back_with_the_same_logits(shape: str, name: str, tmp_path: Path) -> None:
    """Depth too: the configuration says which of the blocks left hold experts."""
    folder = saved(network_of(shape, blocks=2), tmp_path / "dense")
    assert has_experts(resolve_model(str(folder)))
    checkpoint = load(resolve_model(str(folder)), dtype="bfloat16")
    info = compressed(checkpoint.network, name)
    before = logits(checkpoint.network)
    save(checkpoint, info, tmp_path / "made")
    assert torch.equal(logits(load(resolve_model(str(tmp_path / "made")), dtype="bfloat16").network), before)


@pytest.mark.parametrize("name", ["rtn-w8a8", "rtn-w8kv8"])
def test_a_mixture_that_no_loader_puts_together_is_not_saved(name: str, tmp_path: Path) -> None:
    checkpoint = load(resolve_model(str(saved(network_of("mixtral"), tmp_path / "dense"))), dtype="float32")
    info = compressed(checkpoint.network, name)
    with pytest.raises(SuiteError, match=rf"{name}: .* of architecture 'mixtral'; score it with"):
        save(checkpoint, info, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_what_cannot_be_saved_is_refused_before_anything_is_loaded(tmp_path: Path, capsys: Any) -> None:
    folder = saved(network_of("mixtral"), tmp_path / "parent")
    (folder / "model.safetensors").unlink()
    args = ["compress", "--model", str(folder), "--variant", "gptq-w8a8", "--out", str(tmp_path / "made")]
    assert main(args) == 2
    assert "beside the stacked experts of parent" in capsys.readouterr().err


def test_keys_change_for_mixtures_alone(tiny_models: dict[str, Path]) -> None:
    assert not has_experts(resolve_model(str(tiny_models["llama"])))
    variant = parse_variant("rtn-w4")
    assert (
        recipe_of(variant)
        == "symmetric min-max grid, one scale an output row or group; all linear layers of the blocks"
    )
    assert recipe_of(variant, experts=True) == f"{recipe_of(variant)}; experts one by one"
    assert compressed(network_of("mixtral"), "rtn-w4").recipe == recipe_of(variant, experts=True)


def packed(parent: Path, child: Path, left: str) -> Path:
    """The parent packed to 4 bits in groups of 32 as GPTQ files are, one matrix an expert, but for `left`."""
    child.mkdir()
    for file in parent.iterdir():
        (child / file.name).write_bytes(file.read_bytes())
    tensors = {}
    for name, weight in load_file(child / "model.safetensors").items():
        inside = re.search(r"(_proj|\.w[123])\.weight$", name)
        if not inside or left in name:
            tensors[name] = weight
            continue
        grouped = weight.float().reshape(len(weight), -1, 32)
        scale = (grouped.abs().amax(-1) / 7.5).half().float()
        levels = torch.clamp(torch.round(grouped / scale[..., None]) + 8, 0, 15)
        stem = name.removesuffix("weight")
        tensors[f"{stem}qweight"] = down(levels.reshape(weight.shape).T.int().numpy(), 4)
        zeros = np.full((weight.shape[0], weight.shape[1] // 32), 7)
        tensors[f"{stem}qzeros"] = down(zeros, 4).T.contiguous()
        tensors[f"{stem}scales"] = scale.T.half().contiguous()
        tensors[f"{stem}g_idx"] = torch.arange(weight.shape[1], dtype=torch.int32) // 32
    save_file(tensors, child / "model.safetensors", {"format": "pt"})
    config = json.loads((child / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False}
    (child / "config.json").write_text(json.dumps(config))
    return child


def ready(child: Path, parent: Path, name: str | None = None) -> dict[str, Any]:
    _, variant = load_ready(
        resolve_model(str(child)),
        resolve_model(str(parent)),
        name,
        load_as=lambda model: load(model, dtype="float32"),
        tokens_of=lambda _: None,
    )
    return variant


def test_a_mixture_whose_activations_nobody_rounds_is_refused(tmp_path: Path) -> None:
    parent = saved(network_of("mixtral"), tmp_path / "parent")
    with pytest.raises(
        SuiteError, match="rtn-w8a8 rounds activations while it runs, and transformers does not do that"
    ):
        ready(packed(parent, tmp_path / "child", left=".gate."), parent, "rtn-w8a8")


@pytest.mark.parametrize("shape", ["mixtral", "qwen3_moe"])
def test_a_packed_mixture_is_compared_with_its_parent_expert_by_expert(shape: str, tmp_path: Path) -> None:
    network = network_of(shape)
    parent = saved(network, tmp_path / "parent")
    child = packed(parent, tmp_path / "child", left=".experts.1.")
    variant = ready(child, parent)
    for number, part in EXPERTS:
        dense = matrix(network, number, part)
        error = np.linalg.norm(rounded(dense, 4, 32) - dense) / np.linalg.norm(dense)
        found = variant["layer_errors"][f"model.layers.0.mlp.experts.{number}.{part}_proj"]
        assert found == pytest.approx(0 if number == 1 else error, abs=1e-3)
    inside = [key for key in variant["layer_errors"] if "_proj" in key]
    total = sum(network.get_submodule(key).weight.numel() for key in inside if ".experts." not in key)
    one = 3 * WIDTH * INNER
    assert variant["share_touched"] == pytest.approx(1 - one / (total + 4 * one), abs=1e-12)
    assert {entry["names"] for entry in variant["untouched"]} == {
        f"model.layers.*.mlp.experts.*.{part}_proj.weight" for part in ("gate", "up", "down")
    }
    assert all(entry["reason"] is None for entry in variant["untouched"])


def compressed_tensors(parent: Path, child: Path, bits: int, *, act: bool, left: str = "never") -> Path:
    """The parent in the compressed-tensors format: 8 bits as int8 matrices, 4 bits eight to a word, a scale a row."""
    child.mkdir()
    for file in parent.iterdir():
        (child / file.name).write_bytes(file.read_bytes())
    tensors = {}
    for name, weight in load_file(child / "model.safetensors").items():
        if not re.search(r"(_proj|_mqa|\.w[123])\.weight$", name) or left in name:
            tensors[name] = weight
            continue
        scale = weight.abs().amax(1, keepdim=True) / ((2**bits - 1) / 2)
        levels = torch.clamp(torch.round(weight / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).int()
        tensors[f"{name}_scale"] = scale
        if bits == 8:
            tensors[name] = levels.to(torch.int8)
            continue
        words = ((levels + 8).reshape(len(weight), -1, 8).long() << (4 * torch.arange(8))).sum(-1)
        tensors[f"{name}_packed"] = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
        tensors[f"{name}_shape"] = torch.tensor(weight.shape)
    save_file(tensors, child / "model.safetensors", {"format": "pt"})
    config = json.loads((child / "config.json").read_text())
    grid = {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False, "strategy": "channel"}
    rounding = {**grid, "num_bits": 8, "dynamic": True, "strategy": "token"} if act else None
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized" if bits == 8 else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head", "re:.*gate$", f"re:.*{left}.*"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": grid, "input_activations": rounding}},
    }
    (child / "config.json").write_text(json.dumps(config))
    return child


@pytest.mark.parametrize(("bits", "act"), [(8, True), (8, False), (4, False)])
@pytest.mark.parametrize("shape", ["mixtral", "qwen3_moe", "deepseek_v3"])
def test_compressed_tensors_of_a_mixture_are_read_expert_by_expert(
    shape: str, bits: int, act: bool, tmp_path: Path
) -> None:
    network = network_of(shape)
    parent = saved(network, tmp_path / "parent")
    child = compressed_tensors(parent, tmp_path / "child", bits, act=act)
    variant = ready(child, parent)
    assert variant["name"].endswith("a8") is act
    assert (variant["share_touched"], variant["off_nominal"]) == (1, False)
    for number, part in EXPERTS:
        dense = matrix(network, number, part)
        error = np.linalg.norm(rounded(dense, bits, dense.shape[1]) - dense) / np.linalg.norm(dense)
        found = variant["layer_errors"][f"model.layers.0.mlp.experts.{number}.{part}_proj"]
        assert found == pytest.approx(error, rel=1e-3, abs=1e-6)


def test_a_mixture_whose_file_rounds_activations_rounds_those_of_experts(tmp_path: Path) -> None:
    """Each expert's inputs, one scale a token, before the first matrices and before the last.

    Of tokens whose largest value is negative that one lies half-way between two levels, so they are left out.
    """
    network = network_of("mixtral")
    folder = compressed_tensors(saved(network, tmp_path / "parent"), tmp_path / "child", 8, act=True)
    experts = load(resolve_model(str(folder)), dtype="float32").network.model.layers[0].mlp.experts
    states = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(40) % 4
    with torch.inference_mode():
        found = experts(states, numbers[:, None], torch.ones(40, 1)).double().numpy()
    seen = set()
    for row, number in enumerate(numbers.tolist()):
        first = states[row : row + 1].double().numpy()
        gate, up = (
            rounded(first, 8, WIDTH) @ rounded(matrix(network, number, part), 8, WIDTH).T for part in ("gate", "up")
        )
        middle = gate / (1 + np.exp(-gate)) * up
        if all(each.max() > -each.min() for each in (first, middle)):
            last = rounded(middle, 8, INNER) @ rounded(matrix(network, number, "down"), 8, INNER).T
            np.testing.assert_allclose(found[row], last[0], rtol=1e-4, atol=1e-4)
            plain = middle @ rounded(matrix(network, number, "down"), 8, INNER).T
            assert np.abs(found[row] - plain[0]).max() > 1e-3
            seen.add(number)
    assert len(seen) == 4


def test_experts_that_are_rounded_in_part_while_the_model_runs_are_refused(tmp_path: Path) -> None:
    folder = saved(network_of("qwen3_moe"), tmp_path / "parent")
    mixed = compressed_tensors(folder, tmp_path / "child", 8, act=True, left="experts.1")
    with pytest.raises(SuiteError, match="inputs of its experts are rounded in several ways"):
        load(resolve_model(str(mixed)), dtype="float32")
    # without rounding, experts that the file leaves dense stay dense
    some = ready(compressed_tensors(folder, tmp_path / "some", 8, act=False, left="experts.1"), folder)
    assert {entry["reason"] for entry in some["untouched"]} == {"on the checkpoint's own ignore list"}


def test_in_memory_a_stack_that_stayed_dense_is_seen() -> None:
    """Weights of attention alone are on the grid, as a method that knows no stacks leaves a mixture."""
    network = network_of("mixtral")
    kept = matrices(network)
    compressed(network, "rtn-w3")
    whole = measure_network(network, parse_variant("rtn-w3"))
    assert whole.share_touched == 1
    experts = network.model.layers[0].mlp.experts
    experts.down_proj.data.copy_(torch.from_numpy(np.stack([kept[number, "down"] for number in range(4)])))
    part = measure_network(network, parse_variant("rtn-w3"))
    inside = 4 * 3 * WIDTH * INNER + 4 * WIDTH * WIDTH
    assert part.share_touched == pytest.approx(1 - 4 * WIDTH * INNER / inside, abs=1e-12)
    assert measure_network(network, parse_variant("dense")).share_touched is None
