"""Compression: the grids and masks against loops written by hand, and what is recorded about a whole model."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import AutoModelForCausalLM, GPT2Config

from suite.compress import VariantInfo, apply, check_supported
from suite.compress.layers import linear_layers
from suite.compress.magnitude import prune
from suite.compress.rtn import quantize
from suite.errors import SuiteError
from suite.methods import METHODS
from suite.variant import DENSE, WEIGHT_BITS, parse_variant

# the tiny Llama: 64 wide, 96 in the feed-forward part, 4 heads of 16 and 2 of them for keys and values, 3 layers
LAYER_SHAPES = [(64, 64), (32, 64), (32, 64), (64, 64), (96, 64), (96, 64), (64, 96)]
LINEAR = 3 * sum(rows * columns for rows, columns in LAYER_SHAPES)
ROWS = 3 * sum(rows for rows, _ in LAYER_SHAPES)
OTHER = 2 * 384 * 64 + 7 * 64
PARAMS = LINEAR + OTHER

Load = Callable[..., Any]


def one_line(error: SuiteError) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    return message


def refusal(call: Callable[..., object], *args: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        call(*args)
    return one_line(caught.value)


@pytest.fixture(scope="module")
def load(tiny_models: dict[str, Path]) -> Load:
    """A fresh copy of a tiny network."""

    def fresh(shape: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
        return AutoModelForCausalLM.from_pretrained(tiny_models[shape], dtype=dtype).eval().requires_grad_(False)

    return fresh


def compressed(network: Any, name: str) -> VariantInfo:
    return apply(network, parse_variant(name))


def weights(network: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {name: module.weight.double().numpy().copy() for name, module in linear_layers(network)}


# round to nearest


def by_hand(weight: np.ndarray[Any, Any], bits: int, group: int | None) -> np.ndarray[Any, Any]:
    """The definition, one weight at a time, in the same number format."""
    result = np.zeros_like(weight)
    size = group or weight.shape[1]
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], size):
            part = weight[row, start : start + size]
            scale = np.float32(np.abs(part).max()) / np.float32((2**bits - 1) / 2)
            for column, value in enumerate(part, start=start):
                if scale > 0:
                    level = min(max(np.rint(value / scale), -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
                    result[row, column] = np.float32(level) * scale
    return result


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], int | None]:
    group = draw(st.sampled_from([None, 1, 2, 4]))
    shape = (draw(st.integers(1, 4)), (group or draw(st.integers(1, 6))) * draw(st.integers(1, 3)))
    values = st.floats(-4, 4, width=32, allow_subnormal=False) | st.integers(-8, 8).map(float) | st.just(0.0)
    weight = draw(arrays(np.float32, shape, elements=values.filter(lambda value: value == 0 or abs(value) > 1e-30)))
    if draw(st.booleans()):
        weight[0] = 0
    return weight, group


@settings(max_examples=150, deadline=None)
@given(case=matrices(), bits=st.sampled_from(WEIGHT_BITS))
def test_rtn_equals_the_loop_written_by_hand(case: tuple[np.ndarray[Any, Any], int | None], bits: int) -> None:
    weight, group = case
    quantized = quantize(torch.from_numpy(weight), bits, group).numpy()
    np.testing.assert_array_equal(quantized, by_hand(weight, bits, group))


@settings(max_examples=150, deadline=None)
@given(case=matrices(), bits=st.sampled_from(WEIGHT_BITS))
def test_rtn_errs_by_half_a_step_at_most(case: tuple[np.ndarray[Any, Any], int | None], bits: int) -> None:
    """The largest weight is half a step beyond the top level, so the bound holds for it too."""
    weight, group = case
    size = group or weight.shape[1]
    parts = weight.reshape(weight.shape[0], -1, size)
    quantized = quantize(torch.from_numpy(weight), bits, group).numpy().reshape(parts.shape)
    step = np.abs(parts).max(axis=-1, keepdims=True) / ((2**bits - 1) / 2)
    assert (np.abs(parts - quantized) <= step / 2 * (1 + 1e-4)).all()
    assert (quantized[np.broadcast_to(step, parts.shape) == 0] == 0).all()
    assert all(len(np.unique(part)) <= 2**bits for row in quantized for part in row)


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_rtn_uses_every_level_and_no_other(bits: int) -> None:
    weight = torch.linspace(-1, 1, 4096)[None, :]
    levels = (quantize(weight, bits).unique() * (2**bits - 1) / 2).round(decimals=3).tolist()
    # -1 lies halfway between the two lowest levels: which of them it takes is up to the last digit
    assert levels in [list(range(low, 2 ** (bits - 1))) for low in (-(2 ** (bits - 1)), 1 - 2 ** (bits - 1))]


def test_rtn_levels_at_two_bits() -> None:
    assert quantize(torch.tensor([[3.0, -3.0, 1.1, -1.1, 0.9]]), 2).tolist() == [[2.0, -4.0, 2.0, -2.0, 0.0]]


def test_rtn_groups_do_not_touch_each_other() -> None:
    weight = torch.tensor([[1.0, 0.3, 100.0, 30.0], [0.0, 0.0, 5.0, 5.0]])
    quantized = quantize(weight, 4, 2)
    for columns in (slice(0, 2), slice(2, 4)):
        torch.testing.assert_close(quantized[:, columns], quantize(weight[:, columns].contiguous(), 4), rtol=0, atol=0)
    # without groups the small ones drown
    assert quantize(weight, 4)[0, :2].tolist() == [0.0, 0.0]


def test_rtn_of_a_power_of_two_times_the_weights_is_that_times_the_result() -> None:
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quantize(weight * 8, 3, 16), quantize(weight, 3, 16) * 8, rtol=0, atol=0)


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_rtn_is_not_idempotent(bits: int) -> None:
    """The grid's outermost level lies half a step inside the largest weight, so a second pass moves it again.

    That is why a checkpoint which was once quantized on this grid does not come back unchanged: only zeros do.
    """
    once = quantize(torch.randn(8, 64, generator=torch.Generator().manual_seed(1)), bits, 32)
    twice = quantize(once, bits, 32)
    assert not torch.equal(once, twice)
    assert torch.equal(torch.sign(once), torch.sign(twice))
    error = float((twice - once).norm() / once.norm())
    assert error <= 1 / (2**bits - 1) * 1.01


def test_rtn_leaves_its_input_alone() -> None:
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    kept = weight.clone()
    quantize(weight, 2, 4)
    prune(weight, 0.5)
    assert torch.equal(weight, kept)


@pytest.mark.parametrize("group", [3, 7, 16])
def test_a_group_that_does_not_divide_a_row(group: int) -> None:
    message = refusal(quantize, torch.zeros(2, 8), 4, group)
    assert message == f"group size {group} does not divide the 8 inputs of a layer; use a divisor, such as 32"


# magnitude


@settings(max_examples=200, deadline=None)
@given(
    weight=arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 12)),
        elements=st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -1.0]) | st.floats(-2, 2, width=32),
    ),
    percent=st.integers(0, 100),
)
def test_magnitude_equals_a_stable_sort(weight: np.ndarray[Any, Any], percent: int) -> None:
    flat = weight.ravel()
    count = int(Fraction(percent, 100) * flat.size)
    gone = sorted(range(flat.size), key=lambda index: (abs(flat[index]), index))[:count]
    expected = flat.copy()
    expected[gone] = 0
    np.testing.assert_array_equal(
        prune(torch.from_numpy(weight), percent / 100).numpy(), expected.reshape(weight.shape)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_magnitude_counts_exactly_among_equal_weights(dtype: torch.dtype) -> None:
    pruned = prune(torch.full((30, 30), -0.25, dtype=dtype), 0.29)
    assert int((pruned == 0).sum()) == 261
    assert (pruned.flatten()[:261] == 0).all()
    assert pruned.dtype == dtype


def test_magnitude_at_no_sparsity_copies() -> None:
    weight = torch.ones(2, 2)
    assert prune(weight, 0.0) is not weight
    assert torch.equal(prune(weight, 0.0), weight)


# a whole model


@pytest.mark.parametrize(
    ("name", "linear_bits"),
    [
        ("dense", 16 * LINEAR),
        ("rtn-w4", 4 * LINEAR + 16 * ROWS),
        ("rtn-w3-g32", 3 * LINEAR + 16 * LINEAR / 32),
        ("rtn-w8-g8", 8 * LINEAR + 16 * LINEAR / 8),
        ("magnitude-s50", 16 * LINEAR),
    ],
)
def test_bits_are_those_of_the_whole_model(load: Load, name: str, linear_bits: float) -> None:
    info = compressed(load(), name)
    assert info.bits_per_weight == pytest.approx((linear_bits + 16 * OTHER) / PARAMS, rel=1e-12)
    assert info.megabytes == pytest.approx((linear_bits + 16 * OTHER) / 8e6, rel=1e-12)


@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma3", "mistral"])
@pytest.mark.parametrize("name", ["rtn-w2", "magnitude-s60"])
def test_only_the_linear_layers_of_the_blocks_change(load: Load, shape: str, name: str) -> None:
    dense, network = load(shape).state_dict(), load(shape)
    assert not compressed(network, name).no_op
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, dense[key])}
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    blocks = [f"model.layers.{layer}" for layer in range(3)]
    expected = {
        f"{b}.{'mlp' if p[0] in 'gu' or p == 'down_proj' else 'self_attn'}.{p}.weight" for b in blocks for p in parts
    }
    assert changed == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["rtn-w8", "rtn-w3-g32", "magnitude-s40", "dense"])
def test_error_and_sparsity_equal_those_computed_from_the_weights(load: Load, name: str, dtype: torch.dtype) -> None:
    network = load(dtype=dtype)
    before = weights(network)
    info = compressed(network, name)
    after = weights(network)
    lost = sum(np.square(before[key] - after[key]).sum() for key in before)
    whole = sum(np.square(before[key]).sum() for key in before)
    assert info.relative_weight_error == pytest.approx(np.sqrt(lost / whole), rel=1e-6)
    assert info.sparsity == pytest.approx(sum((value == 0).sum() for value in after.values()) / LINEAR, rel=1e-12)
    assert {module.weight.dtype for _, module in linear_layers(network)} == {dtype}


def test_every_matrix_loses_the_same_fraction(load: Load) -> None:
    network = load()
    info = compressed(network, "magnitude-s30")
    for weight in weights(network).values():
        assert (weight == 0).sum() == weight.size * 30 // 100
    assert info.sparsity == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("name", ["rtn-w4-g32", "rtn-w2"])
def test_every_matrix_lies_on_its_grid(load: Load, name: str) -> None:
    network, variant = load(), parse_variant(name)
    before = {key: module.weight.clone() for key, module in linear_layers(network)}
    apply(network, variant)
    for key, module in linear_layers(network):
        assert torch.equal(module.weight, quantize(before[key], variant.bits or 0, variant.group))


def test_error_rises_with_severity(load: Load) -> None:
    for names in ([f"rtn-w{bits}" for bits in WEIGHT_BITS], [f"magnitude-s{percent}" for percent in (10, 40, 80)]):
        errors = [compressed(load(), name).relative_weight_error for name in names]
        assert errors == sorted(errors)
        assert errors[0] > 0
    assert compressed(load(), "rtn-w4-g8").relative_weight_error < compressed(load(), "rtn-w4").relative_weight_error


def test_the_record_names_the_recipe_and_goes_into_a_cell(load: Load) -> None:
    info = compressed(load(), "rtn-w4-g32")
    assert (info.name, info.method, info.family) == ("rtn-w4-g32", "rtn", "quantization")
    assert info.recipe == METHODS["rtn"].recipe
    assert json.loads(json.dumps(info.as_metadata())) == info.as_metadata()
    dense = compressed(load(), "dense")
    assert (dense.recipe, dense.relative_weight_error, dense.no_op) == ("none", 0.0, False)


def test_a_variant_that_changes_nothing_is_a_no_op(load: Load) -> None:
    network = load()
    assert not compressed(network, "magnitude-s50").no_op
    again = compressed(network, "magnitude-s20")
    assert again.no_op
    assert (again.relative_weight_error, again.sparsity) == (0.0, pytest.approx(0.5, abs=1e-3))
    assert not compressed(network, "magnitude-s60").no_op


def test_a_model_of_zeros_is_a_no_op_for_rtn(load: Load) -> None:
    network = load()
    for _, module in linear_layers(network):
        module.weight.data.zero_()
    info = compressed(network, "rtn-w4")
    assert (info.no_op, info.relative_weight_error, info.sparsity) == (True, 0.0, 1.0)


def test_one_changed_weight_is_no_no_op(load: Load) -> None:
    network = load()
    for _, module in linear_layers(network):
        module.weight.data.zero_()
    next(iter(linear_layers(network)))[1].weight.data[0, 0] = 1.0
    assert not compressed(network, "rtn-w8").no_op


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["rtn-w4", "magnitude-s50"])
def test_weights_that_are_not_finite(load: Load, name: str, value: float) -> None:
    network = load()
    network.model.layers[1].mlp.up_proj.weight.data[3, 4] = value
    message = refusal(compressed, network, name)
    assert "layer model.layers.1.mlp.up_proj: compression made weights that are not finite" in message


def test_a_group_that_does_not_fit_names_variant_and_layer(load: Load) -> None:
    message = refusal(compressed, load(), "rtn-w4-g64")
    assert message == (
        "variant 'rtn-w4-g64', layer model.layers.0.mlp.down_proj: group size 64 does not divide the 96 inputs of a "
        "layer; use a divisor, such as 32"
    )


@pytest.fixture
def gpt2() -> Any:
    """Its blocks hold Conv1D in place of Linear."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=1)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", ["rtn-w4", "rtn-w3-g8", "magnitude-s50", "dense"])
def test_layers_that_are_stored_transposed_are_compressed_as_what_they_multiply_by(gpt2: Any, name: str) -> None:
    """GPT-2 keeps [inputs, outputs]; rows, groups and zeros go by outputs."""
    before = {key: value.clone() for key, value in gpt2.state_dict().items()}
    info = compressed(gpt2, name)
    changed = {key for key, value in gpt2.state_dict().items() if not torch.equal(value, before[key])}
    inside = {f"transformer.h.0.{part}.weight" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    assert changed == (set() if name == "dense" else inside)
    assert info.share_touched == (None if name == "dense" else 1)
    variant = parse_variant(name)
    for key in changed:
        old, new = before[key].T.numpy(), gpt2.state_dict()[key].T.numpy()
        if variant.bits:
            np.testing.assert_array_equal(new, by_hand(old, variant.bits, variant.group))
        else:
            gone = np.argsort(np.abs(old), axis=None, kind="stable")[: old.size // 2]
            expected = old.copy()
            expected.flat[gone] = 0
            np.testing.assert_array_equal(new, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ct-w4",
            "variant 'ct-w4': ct is made elsewhere only; name the checkpoint as the model, or import its scores. "
            "Made here: awq, dense, depth, gptq, magnitude",
        ),
        ("gguf-q4_0", "GGUF types are ready-made variants; name the .gguf file as the model"),
        ("rtn-w4kv4", "key-value caches are quantized to 8 bits here; use kv8"),
    ],
)
def test_a_variant_that_no_method_here_makes(name: str, message: str) -> None:
    assert message in refusal(check_supported, parse_variant(name))


def test_every_method_is_listed_with_its_levels() -> None:
    check_supported(DENSE)
    for name, method in METHODS.items():
        assert method.levels.startswith(f"{name}-")
        assert method.recipe
        assert method.paper
