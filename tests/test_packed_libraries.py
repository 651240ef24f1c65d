"""Packed layers that the real libraries made: read to the very weights that the libraries read.

The file beside this one was written by ``scripts/packed_vectors.py`` with the versions it names.
"""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.tiny_models import build_tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from suite.compress.ready_made import variant_of
from suite.errors import SuiteError
from suite.models.checkpoint import load
from suite.models.model import resolve_model
from suite.models.packed import read_module

VECTORS = json.loads((Path(__file__).parent / "packed_by_libraries.json").read_text(encoding="utf-8"))


def tensor(about: dict[str, Any]) -> torch.Tensor:
    raw = bytearray(base64.b64decode(about["base64"]))
    return torch.frombuffer(raw, dtype=getattr(torch, about["dtype"])).reshape(about["shape"])


def tensors(one: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: tensor(about) for name, about in one["tensors"].items()}


def grid(quantization: dict[str, Any]) -> torch.Tensor:
    """The weights that were packed: w[o, i] = scale · (level - zero) in groups of 16 inputs."""
    bits, low = quantization["bits"], int(quantization.get("checkpoint_format") == "gptq")
    weight = torch.empty(32, 32)
    for o in range(32):
        for i in range(32):
            group = i // 16
            level = (7 * o + 3 * i + o * i) % 2**bits
            zero = low + (5 * o + 3 * group) % (2**bits - low)
            weight[o, i] = (level - zero) * (o + 1 + group) / 64
    return weight


def test_every_library_and_format_is_there() -> None:
    assert {one["made_by"].split()[0] for one in VECTORS} == {"bitsandbytes", "auto-round"}
    assert len(VECTORS) == 13


@pytest.mark.parametrize("one", VECTORS, ids=[one["name"] for one in VECTORS])
def test_a_layer_is_read_to_the_weights_the_library_means(one: dict[str, Any]) -> None:
    read = read_module(tensors(one), one["quantization"])[0]["weight"]
    expected = tensor(one["dense"]) if "dense" in one else grid(one["quantization"])
    assert torch.equal(read, expected)


def test_bitsandbytes_stays_near_what_it_was_given() -> None:
    """The oracle itself, against the weights that went in: nf4 and fp4 lose some percent, int8 half a step."""
    given = torch.tensor([[(((7 * o + 3 * i + o * i) % 61) - 30) * (o + 1) / 256 for i in range(64)] for o in range(5)])
    for one in VECTORS:
        if "dense" in one:
            lost = (tensor(one["dense"]) - given).norm() / given.norm()
            assert lost < (0.005 if "int8" in one["name"] else 0.2), one["name"]


def test_int8_weights_tiled_for_a_kernel_are_refused() -> None:
    (one,) = (one for one in VECTORS if one["name"] == "bitsandbytes int8")
    tiled = {**tensors(one), "weight_format": torch.tensor(2, dtype=torch.uint8)}
    with pytest.raises(SuiteError, match=r"bitsandbytes int8 layout 2 is not read; save the checkpoint again"):
        read_module(tiled, one["quantization"])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb-w4-g64"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True}, "bnb-w4-g64"),
        ({"load_in_8bit": True}, "bnb-w8"),
    ],
    ids=["nf4", "fp4, scales quantized", "int8"],
)
def test_a_model_that_bitsandbytes_saved(
    tiny_models: dict[str, Path], tmp_path: Path, options: dict[str, Any], name: str
) -> None:
    bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    network = AutoModelForCausalLM.from_pretrained(
        tiny_models["llama"], quantization_config=BitsAndBytesConfig(**options), dtype=torch.float32, device_map="cpu"
    )
    network.save_pretrained(tmp_path / "made")
    build_tokenizer().save_pretrained(tmp_path / "made")
    model = resolve_model(str(tmp_path / "made"))
    assert variant_of(model).name == name
    read = dict(load(model, dtype="float32").network.named_parameters())
    count = 0
    for key, module in network.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # 0.50.2 on a processor takes wrong scales where rows are no multiple of the blocks of 64 (here 96 inputs),
            # so it is asked for blocks, which is how it packed them
            state = copy.copy(module.weight.quant_state)
            shape, state.shape = state.shape, torch.Size([state.shape.numel() // 64, 64])
            expected = bnb.functional.dequantize_4bit(module.weight.data, state).reshape(shape)
            given = load_file(tiny_models["llama"] / "model.safetensors")[f"{key}.weight"]
            assert (expected - given).norm() < 0.2 * given.norm(), key
        elif isinstance(module, bnb.nn.Linear8bitLt):
            expected = bnb.functional.int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
        else:
            continue
        count += 1
        assert torch.equal(read[f"{key}.weight"].data, expected.float()), key
    assert count == 21
