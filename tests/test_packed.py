"""Packed weights: tensors packed by hand, the way their formats describe it, come back as what went in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packing import AWQ_ORDER, down, stream

from suite.errors import SuiteError
from suite.models.packed import read_module
from suite.models.packed.awq import awq
from suite.models.packed.bits import unpack_bits
from suite.models.packed.bitsandbytes import bitsandbytes4, bitsandbytes8
from suite.models.packed.gptq import gptq


@settings(max_examples=60, deadline=None)
@given(bits=st.sampled_from([2, 3, 4, 5, 6, 8]), seed=st.integers(0, 1000))
def test_bits_come_back(bits: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 2**bits, (32, 3))
    np.testing.assert_array_equal(unpack_bits(down(levels, bits), bits).numpy(), levels)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("ordered", [False, True])
def test_gptq_layers(bits: int, version: str, ordered: bool) -> None:
    draw = np.random.default_rng(bits)
    inputs, outputs, group = 64, 32, 16
    levels = draw.integers(0, 2**bits, (inputs, outputs))
    zeros = draw.integers(0, 2**bits, (inputs // group, outputs))
    scales = draw.uniform(0.01, 0.1, (inputs // group, outputs)).astype(np.float16)
    groups = np.arange(inputs) // group
    if ordered:
        groups = draw.permutation(groups)
    stored = zeros if version == "gptq_v2" else (zeros - 1) % 2**bits
    tensors = {
        "qweight": down(levels, bits),
        "qzeros": down(stored.T, bits).T.contiguous(),
        "scales": torch.from_numpy(scales),
    }
    if ordered:
        tensors["g_idx"] = torch.tensor(groups, dtype=torch.int32)
    expected = np.empty((outputs, inputs))
    for row in range(outputs):
        for column in range(inputs):
            g = groups[column]
            expected[row, column] = float(scales[g, row]) * (int(levels[column, row]) - int(zeros[g, row]))
    dense = gptq(tensors, bits, zeros_as_they_are=version == "gptq_v2")
    np.testing.assert_allclose(dense.numpy(), expected, rtol=1e-6)
    about = {"quant_method": "gptq", "bits": bits, "checkpoint_format": version}
    assert torch.equal(read_module(tensors, about)[0]["weight"], dense)


def test_awq_layers() -> None:
    draw = np.random.default_rng(0)
    inputs, outputs, group = 32, 16, 8
    levels, zeros = draw.integers(0, 16, (inputs, outputs)), draw.integers(0, 16, (inputs // group, outputs))
    scales = draw.uniform(0.01, 0.1, (inputs // group, outputs)).astype(np.float16)

    def interleaved(matrix: np.ndarray) -> torch.Tensor:
        rows = []
        for row in matrix:
            words = []
            for first in range(0, len(row), 8):
                words += stream([row[first + place] for place in AWQ_ORDER], 4)
            rows.append(words)
        return torch.tensor(rows, dtype=torch.int32)

    tensors = {"qweight": interleaved(levels), "qzeros": interleaved(zeros), "scales": torch.from_numpy(scales)}
    group_of = np.arange(inputs) // group
    expected = ((levels - zeros[group_of]) * scales.astype(np.float64)[group_of]).T
    np.testing.assert_allclose(awq(tensors).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_4_bit_layers(nested: bool) -> None:
    draw = np.random.default_rng(1)
    shape, block, outer = (6, 32), 16, 4
    index = draw.integers(0, 16, shape[0] * shape[1])
    table = np.sort(draw.uniform(-1, 1, 16)).astype(np.float32)
    absmax = draw.uniform(0.5, 2, len(index) // block).astype(np.float32)
    about: dict[str, object] = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": list(shape)}
    tensors = {
        "weight": torch.tensor((index[0::2] << 4) | index[1::2], dtype=torch.uint8)[:, None],
        "weight.absmax": torch.from_numpy(absmax),
        "weight.quant_map": torch.from_numpy(table),
    }
    if nested:
        codes, second = draw.integers(0, 256, len(absmax)), np.linspace(-1, 1, 256, dtype=np.float32)
        outer_max = draw.uniform(0.5, 2, -(-len(absmax) // outer)).astype(np.float32)
        about |= {"nested_blocksize": outer, "nested_offset": 0.7}
        absmax = np.array([second[code] * outer_max[place // outer] + 0.7 for place, code in enumerate(codes)])
        tensors |= {
            "weight.absmax": torch.tensor(codes, dtype=torch.uint8),
            "weight.nested_absmax": torch.from_numpy(outer_max),
            "weight.nested_quant_map": torch.from_numpy(second),
        }
    tensors["weight.quant_state.bitsandbytes__nf4"] = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
    expected = np.array([table[value] * absmax[place // block] for place, value in enumerate(index)]).reshape(shape)
    np.testing.assert_allclose(bitsandbytes4(tensors).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert read_module(tensors, {"quant_method": "bitsandbytes"})[0].keys() == {"weight"}


def test_bitsandbytes_8_bit_layers() -> None:
    weight = torch.tensor([[127, -127, 0], [1, 2, 64]], dtype=torch.int8)
    dense = bitsandbytes8({"weight": weight, "SCB": torch.tensor([2.0, 12.7])})
    np.testing.assert_allclose(dense.numpy(), [[2, -2, 0], [0.1, 0.2, 6.4]], rtol=1e-6)


def test_layers_that_are_not_packed_are_left_alone() -> None:
    for method in ("gptq", "awq", "bitsandbytes"):
        tensors = {"weight": torch.ones(2, 2)}
        assert read_module(tensors, {"quant_method": method, "bits": 4}) == (tensors, [])


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "AWQ layout 'gemv', 4 bits is not read"),
        ({"quant_method": "awq", "bits": 3}, "3 bits is not read"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "GPTQ layout 'marlin' is not read"),
    ],
)
def test_layouts_that_are_not_read(about: dict[str, object], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        read_module({"qweight": torch.zeros(1, 1, dtype=torch.int32)}, about)
