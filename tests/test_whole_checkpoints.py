"""Every tensor of a checkpoint is used or named, and only the files that its index names are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from suite.cell import make_cell
from suite.cli import main
from suite.errors import SuiteError
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import content_parts, resolve_model, tensor_bits, tensor_sizes, weights_hash
from suite.remarks import remarks


def copied(parent: Path, folder: Path) -> Path:
    return Path(shutil.copytree(parent, folder))


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def add(folder: Path, **more: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    added = {name.replace("__", "."): tensor for name, tensor in more.items()}
    save_file(load_file(file) | added, file, {"format": "pt"})


def loaded(folder: Path) -> Checkpoint:
    return load(resolve_model(str(folder)), dtype="float32")


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(SuiteError) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# tensors


@pytest.mark.parametrize(
    "name",
    [
        "model__layers__1__self_attn__q_proj__bias",
        "model__layers__1__self_attn__q_norm__weight",
        "model__layers__3__mlp__up_proj__weight",
        "model__embed_positions__weight",
        "score__weight",
        "model__layers__1__mlp__output_scale",
    ],
)
def test_a_tensor_that_no_weight_takes(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    add(folder, **{name: torch.zeros(64)})
    message = refusal(lambda: loaded(folder))
    assert "1 tensors of the file belong to no weight of the network by config.json" in message
    assert name.replace("__", ".") in message


def test_biases_that_the_configuration_turns_off(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """The weights fit, so that the network loads and answers; its attention lacks what it was trained with."""
    config = AutoModelForCausalLM.from_pretrained(tiny_models["llama"]).config
    config.attention_bias = True
    network = AutoModelForCausalLM.from_config(config)
    folder = copied(tiny_models["llama"], tmp_path / "made")
    network.save_pretrained(folder)
    loaded(folder)
    edit(folder, attention_bias=False)
    message = refusal(lambda: loaded(folder))
    assert "12 tensors of the file belong to no weight" in message
    assert "model.layers.0.self_attn.k_proj.bias" in message
    assert message.endswith("correct config.json or remove them")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model__layers__0__self_attn__rotary_emb__inv_freq", (8,)),
        ("model__layers__0__attn__masked_bias", ()),
        ("model__layers__0__attn__bias", (1, 1, 8, 8)),
        ("model__position_ids", (1, 8)),
    ],
)
def test_tensors_on_which_no_score_depends(
    tiny_models: dict[str, Path], tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    frequencies = 10000.0 ** (-torch.arange(0, 16, 2) / 16)
    add(folder, **{name: frequencies.half() if name.endswith("inv_freq") else torch.ones(shape)})
    checkpoint = loaded(folder)
    assert checkpoint.unread == {name.replace("__", ".")}
    assert "notes" not in checkpoint.info
    assert tensor_bits(folder, without=checkpoint.unread) == tensor_bits(tiny_models["llama"])


def test_rotary_frequencies_of_another_base(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    add(folder, model__layers__0__self_attn__rotary_emb__inv_freq=500000.0 ** (-torch.arange(0, 16, 2) / 16))
    message = refusal(lambda: loaded(folder))
    assert "model.layers.0.self_attn.rotary_emb.inv_freq of the file holds other rotary frequencies" in message


def test_a_bias_is_no_mask(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    add(folder, model__layers__0__attn__bias=torch.ones(64))
    assert "model.layers.0.attn.bias" in refusal(lambda: loaded(folder))


@pytest.mark.parametrize(
    ("name", "settings", "note"),
    [
        ("mtp__layers__0__mlp__up_proj__weight", {}, "layers that predict further tokens"),
        (
            "model__layers__3__mlp__up_proj__weight",
            {"num_nextn_predict_layers": 1},
            "layers that predict further tokens",
        ),
        ("vision_tower__blocks__0__weight", {}, "parts that read images or sound"),
        ("model__layers__0__self_attn__k_proj__k_scale", {}, "scales for rounding activations and caches"),
    ],
)
def test_parts_beside_the_decoder_are_said_on_the_row(
    tiny_models: dict[str, Path], tmp_path: Path, name: str, settings: dict[str, Any], note: str
) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    add(folder, **{name: torch.ones(1 if name.endswith("scale") else 64)})
    edit(folder, **settings)
    checkpoint = loaded(folder)
    (said,) = checkpoint.info["notes"]
    assert said == f"{note}: 1 tensors left out, first {name.replace('__', '.')}"
    task = {"name": "t", "scoring": "letter", "prompt": "p", "shots": 0}
    for model, variant in (
        (checkpoint.info, {"name": "dense"}),
        ({"name": "m"}, {"name": "gptq-w4", "checkpoint": {"notes": [said]}}),
    ):
        cell = make_cell(
            ids=["a"], answers=[0], scores=[[0.0, 1.0]], kind="logits", model=model, variant=variant, task=task, run={}
        )
        assert remarks(cell) == {"checkpoint": said}


def test_a_head_tied_to_the_embeddings(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """A copy of them is no second matrix; another matrix means that the configuration is wrong."""
    folder = copied(tiny_models["qwen2"], tmp_path / "made")
    embeddings = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    add(folder, lm_head__weight=embeddings.clone())
    checkpoint = loaded(folder)
    assert checkpoint.unread == {"lm_head.weight"}
    assert checkpoint.info["params"] == sum(tensor_sizes(tiny_models["qwen2"]).values())
    assert tensor_bits(folder, without=checkpoint.unread) == tensor_bits(tiny_models["qwen2"])
    add(folder, lm_head__weight=embeddings + 1e-3)
    message = refusal(lambda: loaded(folder))
    assert "config.json ties lm_head.weight to model.embed_tokens.weight" in message
    assert "set tie_word_embeddings to false" in message
    edit(folder, tie_word_embeddings=False)
    assert torch.equal(loaded(folder).network.lm_head.weight, embeddings + 1e-3)


# files


@pytest.fixture
def sharded(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """The tiny Llama in several files, and an index that names them."""
    folder = copied(tiny_models["llama"], tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tiny_models["llama"]).save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return folder


@pytest.mark.parametrize("name", ["consolidated.safetensors", "model-00009-of-00009.safetensors", "z.safetensors"])
def test_files_beside_the_index_are_not_read(sharded: Path, tiny_models: dict[str, Path], name: str) -> None:
    before = content_parts(resolve_model(str(sharded)))
    weights = {key: value + 1 for key, value in load_file(tiny_models["llama"] / "model.safetensors").items()}
    save_file(weights | {"layers.0.attention.wq.weight": torch.ones(64, 64)}, sharded / name)
    assert content_parts(resolve_model(str(sharded))) == before
    assert weights_hash(sharded) == weights_hash(tiny_models["llama"])
    assert tensor_bits(sharded) == tensor_bits(tiny_models["llama"])
    assert tensor_sizes(sharded) == tensor_sizes(tiny_models["llama"])
    read = loaded(sharded).network.state_dict()
    for key, value in loaded(tiny_models["llama"]).network.state_dict().items():
        assert torch.equal(read[key], value)


def test_a_file_that_the_configuration_names_and_that_is_not_the_one(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """transformers reads that file; hash and bits would be of the other."""
    folder = copied(tiny_models["llama"], tmp_path / "made")
    whole = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in whole.items()}, folder / "other.safetensors", {"format": "pt"})
    edit(folder, transformers_weights="other.safetensors")
    assert "config.json names other.safetensors as its weights, and model.safetensors is" in refusal(
        lambda: loaded(folder)
    )
    (folder / "model.safetensors").unlink()
    assert torch.equal(loaded(folder).network.lm_head.weight, whole["lm_head.weight"] + 1)


def test_one_weight_under_two_names(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    add(folder, layers__0__mlp__up_proj__weight=torch.ones(96, 64))
    message = refusal(lambda: loaded(folder))
    assert "hold both layers.0.mlp.up_proj.weight and model.layers.0.mlp.up_proj.weight" in message


def test_files_beside_the_one_file_are_not_read(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert weights_hash(folder) == weights_hash(tiny_models["llama"])
    assert tensor_bits(folder) == tensor_bits(tiny_models["llama"])


def test_an_adapter_is_not_passed_over(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    save_file({"base_model.x.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    assert "an adapter lies beside its weights" in refusal(lambda: loaded(folder))


def test_one_file_beside_an_index_of_others(sharded: Path, tiny_models: dict[str, Path]) -> None:
    """Readers disagree on which of them counts."""
    shutil.copyfile(tiny_models["llama"] / "model.safetensors", sharded / "model.safetensors")
    for act in (lambda: weights_hash(sharded), lambda: loaded(sharded)):
        message = refusal(act)
        assert "model.safetensors stands beside model.safetensors.index.json, which names model-00001-of-" in message


def test_the_only_file_may_have_any_name(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    (folder / "model.safetensors").rename(folder / "gptq_model-4bit-128g.safetensors")
    read = loaded(folder).network.state_dict()
    for key, value in loaded(tiny_models["llama"]).network.state_dict().items():
        assert torch.equal(read[key], value)


def test_a_file_of_any_name_is_compressed_and_read_again(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["llama"], tmp_path / "made")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    out = tmp_path / "out"
    assert main(["compress", "--model", str(folder), "--variant", "rtn-w4-g32", "--out", str(out)]) == 0
    assert "model.layers.0.self_attn.q_proj.weight" in loaded(out).network.state_dict()


def test_an_index_needs_no_metadata(sharded: Path, tiny_models: dict[str, Path]) -> None:
    file = sharded / "model.safetensors.index.json"
    places = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
    wanted = loaded(tiny_models["llama"]).network.state_dict()
    for more in ({}, {"metadata": None}):
        file.write_text(json.dumps({"weight_map": places, **more}), encoding="utf-8")
        read = loaded(sharded).network.state_dict()
        assert all(torch.equal(read[key], value) for key, value in wanted.items())


def test_an_index_may_name_the_usual_file_among_others(sharded: Path, tiny_models: dict[str, Path]) -> None:
    file = sharded / "model.safetensors.index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    first = min(index["weight_map"].values())
    (sharded / first).rename(sharded / "model.safetensors")
    places = {key: "model.safetensors" if name == first else name for key, name in index["weight_map"].items()}
    file.write_text(json.dumps({**index, "weight_map": places}), encoding="utf-8")
    read = loaded(sharded).network.state_dict()
    for key, value in loaded(tiny_models["llama"]).network.state_dict().items():
        assert torch.equal(read[key], value)


def break_index(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    change(index["weight_map"])
    file.write_text(json.dumps(index), encoding="utf-8")


def elsewhere(places: dict[str, str]) -> None:
    places["lm_head.weight"] = next(name for name in places.values() if name != places["lm_head.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda places: places.update(x="model-00009-of-00009.safetensors"), "names model-00009-of-00009.safetensors,"),
        (
            lambda places: places.update(x=places["lm_head.weight"]),
            "names 1 tensors that its files do not hold,",
        ),
        (elsewhere, "tensor lm_head.weight is in model-0000"),
        (lambda places: places.clear(), "index.json: damaged"),
        (lambda places: places.update(x="../elsewhere.safetensors"), "index.json: damaged"),
    ],
)
def test_an_index_that_does_not_fit_its_files(
    sharded: Path, change: Callable[[dict[str, str]], object], message: str
) -> None:
    break_index(sharded, change)
    assert message in refusal(lambda: weights_hash(sharded))


def test_several_files_and_no_index(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    assert "and no model.safetensors.index.json that says which are its weights" in refusal(
        lambda: weights_hash(sharded)
    )
