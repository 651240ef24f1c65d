"""GGUF files: parts are one model, and what a file holds is in the network or the file is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from support import zoo
from support.gguf_files import SHAPES, load_path, refusal, write_gguf, write_network

from suite.compress.ready_made import variant_of
from suite.errors import SuiteError
from suite.models import gguf_file
from suite.models.cache import cache_dir
from suite.models.model import content_parts, resolve_model, tensor_bits, tensor_sizes, weights_hash

# parts


def parts_of(first: Path) -> list[Path]:
    return sorted(first.parent.glob("*-of-*.gguf"))


@pytest.mark.parametrize(("split", "empty_first"), [(7, False), (5, True), (1, False)])
def test_parts_are_one_model(tmp_path: Path, split: int, empty_first: bool) -> None:
    whole = write_gguf(tmp_path / "whole.Q8_0.gguf")
    (tmp_path / "parts").mkdir()
    first = write_gguf(tmp_path / "parts" / "tiny.Q8_0.gguf", split=split, empty_first=empty_first)
    parts = parts_of(first)
    assert len(parts) == -(-len(SHAPES) // split) + empty_first
    assert bool(GGUFReader(first).tensors) != empty_first
    read, expected = load_path(first), load_path(whole)
    for name, weight in expected.network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], weight), name
    assert tensor_bits(first) == tensor_bits(whole)
    assert tensor_sizes(first) == tensor_sizes(whole)
    model = resolve_model(str(first))
    assert (model.name, model.id) == ("tiny.Q8_0", first.name)
    assert variant_of(model).name == "gguf-q8_0"
    assert not list((cache_dir() / "checkpoints").rglob("joined*"))


def test_the_hash_covers_every_part(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "tiny.gguf", split=4)
    before = content_parts(resolve_model(str(first)))
    last = parts_of(first)[-1]
    raw = bytearray(last.read_bytes())
    raw[-40] ^= 1
    last.write_bytes(raw)
    after = content_parts(resolve_model(str(first)))
    assert {key for key in before if before[key] != after[key]} == {"weights"}
    assert weights_hash(first) == after["weights"]


def test_a_part_that_is_not_the_first(tmp_path: Path) -> None:
    second = parts_of(write_gguf(tmp_path / "tiny.gguf", split=7))[1]
    with pytest.raises(SuiteError, match=r"part 2 of 2 of a model; name its first part, tiny-00001-of-00002\.gguf"):
        resolve_model(str(second))
    alone = second.rename(tmp_path / "alone.gguf")
    assert "part 2 of 2 by its metadata; give the parts the names <model>-00001-of-00002.gguf" in refusal(alone)


def test_a_part_that_is_lacking(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "tiny.gguf", split=5)
    parts_of(first)[1].unlink()
    with pytest.raises(SuiteError, match=r"of its 3 parts tiny-00002-of-00003\.gguf is lacking; fetch it into"):
        resolve_model(str(first))
    alone = first.rename(tmp_path / "alone.gguf")
    assert "part 1 of 3 by its metadata" in refusal(alone)


def test_parts_of_two_models(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "tiny.gguf", split=7)
    (tmp_path / "other").mkdir()
    other = write_gguf(tmp_path / "other" / "tiny.gguf", split=11)
    shutil.copyfile(parts_of(other)[1], parts_of(first)[1])
    assert "its parts hold 8 tensors, 12 by its metadata; are they of one model?" in refusal(first)


# metadata and tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_embd": (384, 32)}, "token_embd.weight is [32, 384], and its metadata says 64 wide for 384 tokens"),
        ({"token_embd": (300, 64)}, "token_embd.weight is [64, 300], and its metadata says 64 wide for 384 tokens"),
        ({"token_embd": None}, "token_embd.weight is not there, and its metadata says 64 wide"),
        ({"blk.1.attn_norm": (64,)}, "tensors of 2 blocks, and its metadata says 1; they are not of one model"),
        (
            {"blk.0.attn_q_norm": (16,)},
            "1 tensors of the file are taken by no weight of a llama: blk.0.attn_q_norm.weight",
        ),
        ({"blk.0.ffn_gate_inp": (4, 64)}, "are taken by no weight of a llama: blk.0.ffn_gate_inp.weight"),
        ({"blk.0.ffn_up": None}, "1 weights are missing, first model.layers.0.mlp.up_proj.weight"),
    ],
)
def test_tensors_that_are_not_the_networks(
    tmp_path: Path, change: dict[str, tuple[int, ...] | None], message: str
) -> None:
    shapes = {name: shape for name, shape in (SHAPES | change).items() if shape is not None}
    assert message in refusal(write_gguf(tmp_path / "tiny.gguf", kind=Kind.F32, shapes=shapes))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("attention.clamp_kqv", 8.0, "llama.attention.clamp_kqv is 8.0 in the file, and the network"),
        ("final_logit_softcapping", 30.0, "llama.final_logit_softcapping is 30.0"),
        ("logit_scale", 0.25, "llama.logit_scale is 0.25"),
        ("attention.sliding_window", 32, "llama.attention.sliding_window is 32"),
        (
            "attention.key_length",
            32,
            "16 numbers of a head are rotated by the file, 32 by the network that transformers",
        ),
        ("rope.scaling.type", "yarn", "rotary embeddings scaled by 'yarn' are not read"),
        ("attention.clamp_kqv", 0.0, ""),
        ("logit_scale", 1.0, ""),
        ("attention.sliding_window", 256, ""),
        ("attention.key_length", 16, ""),
        ("rope.scaling.type", "none", ""),
    ],
)
def test_settings_that_transformers_passes_over(tmp_path: Path, key: str, value: Any, said: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", **{f"llama__{key.replace('.', '__')}": value})
    if said:
        assert said in refusal(file)
    else:
        load_path(file)


def frequencies() -> np.ndarray:
    return 10000.0 ** (-np.arange(0, 16, 2) / 16)


def test_factors_of_rotary_frequencies_are_applied(tmp_path: Path) -> None:
    """Llama 3.1 and later: a factor a frequency, in a tensor that transformers does not read."""
    file = write_gguf(tmp_path / "tiny.gguf", kind=Kind.F32, shapes=SHAPES | {"rope_freqs": (8,)})
    (factors,) = (tensor.data for tensor in GGUFReader(file).tensors if tensor.name == "rope_freqs.weight")
    rotary = load_path(file).network.model.rotary_emb
    np.testing.assert_allclose(rotary.inv_freq.numpy(), frequencies() / factors, rtol=1e-5)
    assert rotary.attention_scaling == 1
    states = torch.zeros(1, 300, 64)
    for length in (5, 300):  # within and beyond the context that the file states
        cosine, _ = rotary(states, torch.arange(length)[None])
        angles = np.arange(length)[:, None] * (frequencies() / factors)
        np.testing.assert_allclose(cosine[0, :, :8].numpy(), np.cos(angles), atol=1e-4)


def rotated(share: float, base: float = 10000.0) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": share}
    return {"partial_rotary_factor": share, "rope_parameters": rope}


RMS, LAYER = {"attention__layer_norm_rms_epsilon": 1e-5}, {"attention__layer_norm_epsilon": 1e-5}
# what files say and transformers reads as something else: architecture, the network's configuration, metadata
SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a window": ("phi3", {"rms_norm_eps": 1e-5, "sliding_window": 8}, RMS | {"attention__sliding_window": 8}),
    "a part of a head": ("phi3", {"rms_norm_eps": 1e-5, **rotated(0.75)}, RMS | {"rope__dimension_count": 12}),
    "half a head": ("stablelm", rotated(0.5), LAYER | {"rope__dimension_count": 8}),
    "a whole head": ("nemotron", rotated(1.0), LAYER | {"rope__dimension_count": 16}),
    "an epsilon": ("nemotron", {"norm_eps": 0.01}, {"attention__layer_norm_epsilon": 0.01}),
    "a base": ("starcoder2", {"sliding_window": None, **rotated(1.0, 1e6)}, LAYER | {"rope__freq_base": 1e6}),
    "heads": ("qwen3", {"head_dim": 32}, {"attention__layer_norm_rms_epsilon": 1e-6, "attention__key_length": 32}),
    "sizes": ("gpt2", {"n_inner": 96}, LAYER),
    "biases": ("llama", {"attention_bias": True, "rms_norm_eps": 1e-5}, RMS),
    "experts": (
        "qwen3_moe",
        {"head_dim": 16, "rms_norm_eps": 1e-5, "norm_topk_prob": False},
        RMS
        | {"attention__key_length": 16, "expert_count": 4, "expert_used_count": 2}
        | {"expert_feed_forward_length": 32, "expert_weights_norm": False},
    ),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_what_a_file_says_of_its_network_is_so(what: str, tmp_path: Path) -> None:
    architecture, changes, fields = SETTINGS[what]
    network = zoo.build(architecture, **{"sliding_window": None, "layer_types": None, "head_dim": None, **changes})
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.linspace(-1, 1, len(parameter)))
    if architecture != "gpt2":
        fields = fields | {"attention__head_count_kv": 2}
    file = write_network(tmp_path / "tiny.gguf", architecture.replace("3_moe", "3moe"), network, **fields)
    assert_same(load_path(file).network, network)


def test_a_part_of_a_head_that_the_architecture_cannot_rotate(tmp_path: Path) -> None:
    network = zoo.build("qwen2", layer_types=None, head_dim=None)
    fields = {"attention__layer_norm_rms_epsilon": 1e-6, "attention__head_count_kv": 2, "rope__dimension_count": 8}
    message = refusal(write_network(tmp_path / "tiny.gguf", "qwen2", network, **fields))
    assert "8 numbers of a head are rotated by the file, 16 by the network" in message


@pytest.mark.parametrize("wide", [False, True])
def test_what_attention_logits_of_gemma_are_divided_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    """By the root of a head's size, and in one size of each generation by that of the width over the heads."""
    if wide:
        monkeypatch.setitem(gguf_file.WIDE, "gemma2", 3)
    # files of equal bytes are converted once
    sizes = {"head_dim": 32, "layer_types": None, "max_position_embeddings": 256 if wide else 512}
    network = zoo.build("gemma2", query_pre_attn_scalar=16 if wide else 32, **sizes)
    network.set_attn_implementation("eager")
    fields = {"attention__key_length": 32, "attention__head_count_kv": 2, "attention__sliding_window": 8}
    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
    file = write_network(
        tmp_path / "tiny.gguf", "gemma2", network, attention__layer_norm_rms_epsilon=1e-6, **fields, **caps
    )
    assert_same(load_path(file).network, network)
    assert content_parts(resolve_model(str(file)))["reading"] == "2"


def assert_same(found: Any, wanted: Any) -> None:
    tokens = torch.arange(100, 140)[None]
    with torch.no_grad():
        for name, parameter in wanted.named_parameters():
            assert parameter.shape == found.get_parameter(name).shape
        np.testing.assert_allclose(found(tokens).logits, wanted(tokens).logits, atol=2e-4)


def test_a_linear_factor_is_applied(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", llama__rope__scaling__type="linear", llama__rope__scaling__factor=4.0)
    np.testing.assert_allclose(load_path(file).network.model.rotary_emb.inv_freq.numpy(), frequencies() / 4, rtol=1e-6)


def test_numbers_from_before_a_factor_was_applied_are_not_taken_for_todays(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    found = {}
    for scaling in (None, "none", "linear"):
        file = tmp_path / f"{scaling}.gguf"
        writer = GGUFWriter(file, "llama")
        if scaling is not None:
            writer.add_string("llama.rope.scaling.type", scaling)
        writer.add_string("tokenizer.ggml.model", "llama")
        writer.add_bool("tokenizer.ggml.add_bos_token", True)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        found[scaling] = {
            key: value for key, value in content_parts(resolve_model(str(file))).items() if key != "weights"
        }
    assert found[None] == found["none"] == {"config": None, "tokenizer": None}
    assert found["linear"] != found[None]


def test_a_file_without_the_sizes_of_a_network(tmp_path: Path) -> None:
    """Such as an adapter, or a second part under another name and without its metadata."""
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((4, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "no llama.embedding_length; is it part of a model, or an adapter?" in refusal(tmp_path / "x.gguf")
