"""Methods of llm-compressor, and structured pruning: against brute force, closed forms and each other."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.float64 import Float64
from transformers import AutoModelForCausalLM

from suite.compress import VariantInfo, apply, check_supported, recipe_of, smoothquant
from suite.compress.blocks import blocks_of
from suite.compress.depth import influence
from suite.compress.layers import linear_layers
from suite.compress.magnitude import prune_pattern
from suite.compress.rtn import quantize
from suite.compress.width import importance
from suite.errors import SuiteError
from suite.methods import METHODS
from suite.sample_text import SampleTokens
from suite.score.transformers.drift import in_float32
from suite.score.transformers.encode import Encoded
from suite.score.transformers.engine import log_likelihoods, option_logits
from suite.variant import parse_variant

pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")

Load = Callable[..., Any]
FIRST = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def load(tiny_models: dict[str, Path]) -> Load:
    def fresh(shape: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
        network = AutoModelForCausalLM.from_pretrained(tiny_models[shape], dtype=dtype, attn_implementation="sdpa")
        return network.eval().requires_grad_(False)

    return fresh


@pytest.fixture(scope="module")
def tokens() -> SampleTokens:
    draw = np.random.default_rng(0)
    return SampleTokens(draw.integers(2, 384, (6, 48)), draw.integers(2, 384, (1, 96)), "random tokens")


@pytest.fixture(scope="module")
def prompt() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(2, 384, (2, 30)))


def made(network: Any, name: str, tokens: SampleTokens | None) -> VariantInfo:
    return apply(network, parse_variant(name), tokens)


def layers(network: Any) -> dict[str, torch.Tensor]:
    return {name: module.weight.data.clone() for name, module in linear_layers(network)}


def logits(network: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(input_ids=ids, use_cache=False).logits  # type: ignore[no-any-return]


def inputs_of(network: Any, name: str, tokens: SampleTokens) -> torch.Tensor:
    """What one layer is given over the sample text, [tokens, inputs]."""
    seen: list[torch.Tensor] = []
    handle = network.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    logits(network, torch.from_numpy(tokens.ids))
    handle.remove()
    return torch.cat(seen)


# weights


@pytest.mark.parametrize("name", ["gptq-w3", "gptq-w2-g32"])
def test_gptq_moves_a_layers_output_less_than_rounding(load: Load, name: str) -> None:
    dense, network = load(), load()
    # a few words in many orders: inputs that go together, as those of real text do
    words = np.random.default_rng(2).integers(2, 34, (6, 48))
    tokens = SampleTokens(words, words[:1], "few words")
    variant = parse_variant(name)
    made(network, name, tokens)
    given = inputs_of(dense, FIRST, tokens)
    weight = layers(dense)[FIRST]
    rounded = quantize(weight, variant.bits or 0, variant.group)

    def moved(other: torch.Tensor) -> float:
        return float((given @ (weight - other).T).norm())

    assert moved(layers(network)[FIRST]) < 0.9 * moved(rounded)


@pytest.mark.parametrize("name", ["gptq-w4", "gptq-w3-g32", "gptq-w4a8"])
def test_gptq_uses_the_grid_of_rtn(load: Load, tokens: SampleTokens, name: str) -> None:
    """Every weight is a whole number of steps of that grid, within its range."""
    dense, network, variant = layers(load()), load(), parse_variant(name)
    made(network, name, tokens)
    bits = variant.bits or 0
    for key, weight in layers(network).items():
        size = variant.group or weight.shape[1]
        step = dense[key].reshape(len(weight), -1, size).abs().amax(-1, keepdim=True) / ((2**bits - 1) / 2)
        steps = weight.reshape(len(weight), -1, size) / step
        if key == FIRST:  # later layers' scales come from the same weights too, as nothing scales them
            assert float((steps - steps.round()).abs().max()) < 1e-3
        assert int(steps.round().min()) >= -(2 ** (bits - 1))
        assert int(steps.round().max()) <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize("name", ["rtn-w4a8", "rtn-w8kv8", "rtn-w3a4-g32"])
def test_rounding_with_activations_rounds_weights_as_without(load: Load, tokens: SampleTokens, name: str) -> None:
    dense, network, variant = layers(load()), load(), parse_variant(name)
    made(network, name, tokens)
    for key, weight in layers(network).items():
        torch.testing.assert_close(weight, quantize(dense[key], variant.bits or 0, variant.group), rtol=1e-5, atol=1e-6)


def test_wanda_prunes_what_brute_force_does(load: Load, tokens: SampleTokens) -> None:
    dense, network = load(), load()
    made(network, "wanda-s30", tokens)
    norms = inputs_of(dense, FIRST, tokens).double().square().sum(0).sqrt().numpy()
    before, after = layers(dense)[FIRST].double().numpy(), layers(network)[FIRST].double().numpy()
    for old, new in zip(before, after, strict=True):
        score = np.abs(old) * norms
        gone = sorted(range(len(old)), key=lambda column: score[column])[: len(old) * 30 // 100]
        expected = old.copy()
        expected[gone] = 0
        np.testing.assert_array_equal(new, expected)


@pytest.mark.parametrize("shape", ["llama", "mistral", "qwen3", "gemma3"])
def test_sample_text_is_read_under_the_models_own_mask(load: Load, tokens: SampleTokens, shape: str) -> None:
    """What attention gives its output matrix depends on the mask: a token must not see those after it."""
    dense, network = load(shape), load(shape)
    made(network, "wanda-s50", tokens)
    name = "model.layers.0.self_attn.o_proj"
    norms = inputs_of(dense, name, tokens).double().square().sum(0).sqrt().numpy()
    before, after = layers(dense)[name].double().numpy(), layers(network)[name].double().numpy()
    scores, gone = np.abs(before) * norms, after == 0
    np.testing.assert_array_equal(gone.sum(axis=1), before.shape[1] // 2)
    assert (np.where(gone, scores, 0).max(axis=1) <= np.where(gone, np.inf, scores).min(axis=1) * (1 + 1e-5)).all()


@pytest.mark.parametrize("name", ["magnitude-2:4", "wanda-2:4", "sparsegpt-2:4", "magnitude-4:8", "sparsegpt-4:8"])
def test_patterns_leave_exactly_half_of_every_neighbourhood(load: Load, tokens: SampleTokens, name: str) -> None:
    network, variant = load(), parse_variant(name)
    info = made(network, name, tokens)
    n, m = variant.n_of_m or (0, 0)
    for weight in layers(network).values():
        assert ((weight.reshape(-1, m) == 0).sum(1) == m - n).all()
    assert (info.n_of_m_held, info.off_nominal, info.sparsity) == (True, False, 0.5)


@settings(max_examples=100, deadline=None)
@given(
    weight=arrays(np.float32, (3, 8), elements=st.sampled_from([0.0, 0.5, -0.5, 1.0]) | st.floats(-2, 2, width=32)),
    pattern=st.sampled_from([(2, 4), (4, 8)]),
)
def test_magnitude_patterns_equal_a_stable_sort(weight: np.ndarray[Any, Any], pattern: tuple[int, int]) -> None:
    n, m = pattern
    expected = weight.copy()
    for row in expected.reshape(-1, m):
        row[sorted(range(m), key=lambda place: (abs(row[place]), place))[: m - n]] = 0
    np.testing.assert_array_equal(prune_pattern(torch.from_numpy(weight), n, m).numpy(), expected)


def test_sparsegpt_moves_a_layers_output_less_than_pruning_by_size(load: Load, tokens: SampleTokens) -> None:
    dense, given = load(), None
    given, weight = inputs_of(dense, FIRST, tokens), layers(dense)[FIRST]
    moved = {}
    for name in ("sparsegpt-s50", "magnitude-s50"):
        network = load()
        assert made(network, name, tokens).sparsity == pytest.approx(0.5, abs=0.005)
        moved[name] = float((given @ (weight - layers(network)[FIRST]).T).norm())
    assert moved["sparsegpt-s50"] < moved["magnitude-s50"]


@pytest.mark.parametrize("name", ["sparsegpt-s50+gptq-w4", "magnitude-2:4+rtn-w4", "wanda-s50+rtn-w4a8"])
def test_joint_variants_keep_zeros_and_count_their_bits(load: Load, tokens: SampleTokens, name: str) -> None:
    dense, network = layers(load()), load()
    info = made(network, name, tokens)
    assert info.sparsity >= 0.49
    assert not info.off_nominal
    assert info.bits_per_weight == pytest.approx(made(load(), "rtn-w4", None).bits_per_weight, rel=1e-9)
    after = layers(network)
    lost = sum(float((dense[key] - after[key]).double().square().sum()) for key in dense)
    whole = sum(float(dense[key].double().square().sum()) for key in dense)
    assert info.relative_weight_error == pytest.approx((lost / whole) ** 0.5, rel=1e-6)


def test_awq_counts_zero_points_and_beats_rounding_on_its_grid(load: Load, tokens: SampleTokens) -> None:
    info = made(load(), "awq-w4-g32", tokens)
    plain = made(load(), "rtn-w4-g32", tokens)
    linear = sum(weight.numel() for weight in layers(load()).values())
    total = sum(parameter.numel() for parameter in load().parameters())
    assert info.bits_per_weight - plain.bits_per_weight == pytest.approx(4 * linear / 32 / total, rel=1e-9)


# what is rounded while the model runs


def test_activations_are_rounded_token_by_token(load: Load, tokens: SampleTokens) -> None:
    network = load()
    made(network, "rtn-w8a4", tokens)
    module = network.get_submodule(FIRST)
    given = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    step = given.abs().amax(-1, keepdim=True) / 7.5
    rounded = torch.clamp(torch.round(given / step), -8, 7) * step
    with torch.inference_mode():
        torch.testing.assert_close(
            module(given), torch.nn.functional.linear(rounded, module.weight), rtol=1e-4, atol=1e-5
        )


def test_a_rounded_cache_moves_outputs_and_activations_move_them_more_with_fewer_bits(
    load: Load, tokens: SampleTokens, prompt: torch.Tensor
) -> None:
    plain = load()
    made(plain, "rtn-w8", None)
    reference = logits(plain, prompt)
    moved = {}
    for name in ("rtn-w8kv8", "rtn-w8a8"):
        network = load()
        info = made(network, name, tokens)
        moved[name] = float((logits(network, prompt) - reference).norm() / reference.norm())
        assert not info.no_op
    four = load()
    made(four, "rtn-w4a4", tokens)
    assert 0 < moved["rtn-w8kv8"] < 0.5
    assert 0 < moved["rtn-w8a8"] < float((logits(four, prompt) - reference).norm() / reference.norm())


def off_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps a millionth wider than the library's.

    Its steps put the largest value of a token at 7.5 of them exactly, where -8 and -7 meet: the last bit of a sum,
    which depends on the processor and on the batch, would decide.
    """
    from compressed_tensors.quantization.utils import helpers

    original = helpers.calculate_qparams

    def wider(*args: Any, **more: Any) -> Any:
        scale, zero = original(*args, **more)
        return scale * (1 + 1e-6), zero

    monkeypatch.setattr(helpers, "calculate_qparams", wider)


@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("name", ["rtn-w8a8", "rtn-w8kv8", "quip-w4a4", "depth-s35", "width-s30"])
def test_both_backends_agree_on_what_is_rounded_while_it_runs(
    load: Load, tokens: SampleTokens, shape: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(shape)
    made(network, name, tokens)
    network.double()
    off_the_edge(monkeypatch)
    draw = np.random.default_rng(3)
    items = [
        Encoded(
            tuple(draw.integers(2, 384, length).tolist()),
            tuple(map(tuple, draw.integers(2, 384, (3, 4)).tolist())),
            (0, 0, 0),
        )
        for length in (5, 14)
    ]
    letters = [Encoded(item.prefix, tuple((branch[0],) for branch in item.branches), item.unscored) for item in items]
    for function, batch in ((log_likelihoods, items), (option_logits, letters)):
        # one value that takes the next step moves a score by up to .8: in float64 none lies so near to an edge
        with Float64():
            tree, plain = (function(network, batch, backend=backend) for backend in ("tree", "plain"))
        for left, right in zip(tree, plain, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-9)


@pytest.mark.parametrize("name", ["quip-w8a8", "rtn-w8kv8"])
def test_the_float32_check_leaves_a_compressed_model_as_it_was(
    load: Load, tokens: SampleTokens, prompt: torch.Tensor, name: str
) -> None:
    network = load("llama", torch.bfloat16)
    made(network, name, tokens)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    reference = logits(network, prompt)
    with in_float32(network):
        exact = logits(network, prompt)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)
    assert torch.equal(logits(network, prompt), reference)
    assert float((exact.float() - reference.float()).norm() / exact.float().norm()) < 0.5


# transformations that must not change a thing


@pytest.mark.parametrize("name", ["smoothquant-w8a8", "awq-w8", "quip-w8", "spinquant-w8"])
@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma3"])
def test_transformations_before_rounding_leave_outputs_as_they_are(
    load: Load, tokens: SampleTokens, shape: str, name: str
) -> None:
    if (shape, name) == ("gemma3", "spinquant-w8"):
        with pytest.raises(
            SuiteError, match=r"spinquant cannot fold the norms of architecture 'gemma3_text'.*use quip"
        ):
            made(load(shape), name, tokens)
        return
    info = made(load(shape), name, tokens)
    (note,) = [note for note in info.notes if "transformation" in note]
    assert float(note.rpartition(" ")[2]) < 1e-3
    assert info.relative_output_error is not None
    assert info.relative_output_error < 0.15


@pytest.mark.parametrize("shape", ["gemma2", "gemma3"])
def test_awq_in_bfloat16_keeps_norms_that_are_stored_less_one(load: Load, tokens: SampleTokens, shape: str) -> None:
    """Channels that a norm switches off let the library's scales grow a hundredfold, and 1 + w vanish beside 1."""
    draw = torch.Generator().manual_seed(0)
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        network = load(shape, dtype)
        for name, parameter in network.named_parameters():
            if name.endswith("pre_feedforward_layernorm.weight"):
                parameter.copy_(10 ** (torch.rand(len(parameter), generator=draw) - 0.5) - 1)
                parameter[::9] = -1
        (note,) = [note for note in made(network, "awq-w8", tokens).notes if "transformation" in note]
        moved[dtype] = float(note.rpartition(" ")[2])
    assert moved[torch.float32] < 1e-4
    # what rounding every weight to bfloat16 a second time does
    assert moved[torch.bfloat16] < 0.04


def test_a_transformation_that_does_not_fit_is_refused(
    load: Load, tokens: SampleTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own table for Gemma takes the norm after attention for the one before the MLP."""
    wrong = [
        (["re:.*q_proj$", "re:.*k_proj$", "re:.*v_proj$"], "re:.*input_layernorm$"),
        (["re:.*gate_proj$", "re:.*up_proj$"], "re:.*post_attention_layernorm$"),
    ]
    monkeypatch.setattr(smoothquant, "mappings", lambda network: wrong)
    with pytest.raises(SuiteError, match=r"changes the outputs of architecture 'gemma3_text' by 0\.\d\d"):
        made(load("gemma3"), "smoothquant-w8a8", tokens)


def test_awq_runs_without_an_accelerator_because_pinning_is_skipped(
    load: Load, tokens: SampleTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.accelerator.is_available():
        pytest.skip("there is an accelerator")
    from contextlib import nullcontext

    from llmcompressor.pipelines.cache import IntermediatesCache

    from suite.compress import llm_compressor

    given = IntermediatesCache.pin_memory
    assert made(load(), "awq-w4", tokens).relative_weight_error > 0
    assert IntermediatesCache.pin_memory is given
    monkeypatch.setattr(llm_compressor, "_without_pinning", nullcontext)
    with pytest.raises(SuiteError, match=r"llm-compressor cannot make it.*\(RuntimeError"):
        made(load(), "awq-w4", tokens)


def test_what_the_library_says_of_threads_is_no_note_on_a_model(
    load: Load, tokens: SampleTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    assert made(load(), "gptq-w4", tokens).notes == []


# structure


def test_depth_removes_the_blocks_of_least_influence(load: Load, tokens: SampleTokens, prompt: torch.Tensor) -> None:
    dense, network = load(), load()
    scores = []
    for block in blocks_of(dense):
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []

        def hook(module: Any, given: Any, named: Any, out: Any, seen: list[Any] = seen) -> None:
            seen.append(((given or (named["hidden_states"],))[0], out[0] if isinstance(out, tuple) else out))

        handle = block.register_forward_hook(hook, with_kwargs=True)
        logits(dense, torch.from_numpy(tokens.ids))
        handle.remove()
        before, after = (part.flatten(0, 1).double().numpy() for part in seen[0])
        cosine = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
        scores.append(1 - cosine.mean())
    np.testing.assert_allclose(influence(load(), tokens), scores, rtol=1e-6)
    info = made(network, "depth-s35", tokens)
    gone = int(np.argmin(scores))
    assert info.notes == [f"blocks removed: {gone}"]
    assert info.sparsity == pytest.approx(1 / 3)
    assert network.config.num_hidden_layers == 2
    for name, module in linear_layers(dense):
        if name.startswith(f"model.layers.{gone}.") and name.endswith(("o_proj", "down_proj")):
            module.weight.data.zero_()  # a block that adds nothing to the residual stream
    torch.testing.assert_close(logits(network, prompt), logits(dense, prompt), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma3"])
def test_width_is_what_zeroed_channels_are(load: Load, tokens: SampleTokens, prompt: torch.Tensor, shape: str) -> None:
    dense, network = load(shape), load(shape)
    given = {
        name: inputs_of(dense, name, tokens)
        for name, _ in linear_layers(dense)
        if name.endswith(("o_proj", "down_proj"))
    }
    info = made(network, "width-s30", tokens)
    assert info.sparsity == pytest.approx(0.3, abs=0.01)
    assert network.config.num_key_value_heads == 1
    left = network.config.intermediate_size
    for name, x in given.items():
        weight = dense.get_submodule(name).weight
        score = (weight.double().abs() * x.double().square().sum(0).sqrt()).sum(0).numpy()
        if name.endswith("down_proj"):
            weight.data[:, np.argsort(score)[: len(score) - left]] = 0
        else:
            head = score.reshape(2, -1).sum(1).argmin() * 32
            weight.data[:, head : head + 32] = 0
    torch.testing.assert_close(logits(network, prompt), logits(dense, prompt), rtol=1e-4, atol=1e-4)


def test_importance_by_hand() -> None:
    weight, squares = torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([4.0, 9.0])
    assert importance(weight, squares).tolist() == [8.0, 7.5]


# every method on every shape, and what is recorded


LEVELS = {
    "rtn": "rtn-w4a8", "gptq": "gptq-w4kv8", "awq": "awq-w4", "smoothquant": "smoothquant-w8a8", "quip": "quip-w4",
    "spinquant": "spinquant-w4a4", "magnitude": "magnitude-4:8", "wanda": "wanda-s50", "sparsegpt": "sparsegpt-s50",
    "depth": "depth-s35", "width": "width-s30",
}  # fmt: skip


def test_every_method_has_a_level_here() -> None:
    assert LEVELS.keys() == METHODS.keys()


@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("method", LEVELS)
def test_every_method_runs_in_bfloat16(load: Load, tokens: SampleTokens, shape: str, method: str) -> None:
    if (shape, method) == ("gemma3", "spinquant"):
        pytest.skip("spinquant refuses Gemma, which another test says")
    network = load(shape, torch.bfloat16)
    info = made(network, LEVELS[method], tokens)
    assert not info.no_op
    assert not info.off_nominal
    assert 0 < info.relative_weight_error < 0.7
    assert info.relative_output_error is not None
    assert set(info.layer_errors) == set(layers(load(shape)))
    assert info.seconds > 0
    assert info.peak_memory_mb > 10
    assert torch.isfinite(logits(network, torch.tensor([[5, 6, 7]]))).all()


def test_sample_text_is_part_of_the_recipe_where_it_is_read(load: Load, tokens: SampleTokens) -> None:
    assert "random tokens" in made(load(), "wanda-s50", tokens).recipe
    assert "random tokens" not in made(load(), "rtn-w4", tokens).recipe
    assert recipe_of(parse_variant("rtn-w8kv8"), "text") != recipe_of(parse_variant("rtn-w8kv8"), "other text")


def test_weights_depend_on_sample_text_where_it_is_read(load: Load, tokens: SampleTokens) -> None:
    other = SampleTokens(tokens.ids[:2], tokens.check, "fewer")
    for name, depends in (("gptq-w3", True), ("wanda-s50", True), ("rtn-w4a8", False)):
        one, two = load(), load()
        made(one, name, tokens), made(two, name, other)
        assert torch.equal(layers(one)[FIRST], layers(two)[FIRST]) != depends


# bad input


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("awq-w4a8", "awq quantizes weights alone"),
        ("smoothquant-w8", "smoothquant quantizes activations too"),
        ("rtn-w8a4", None),
        ("rtn-w4kv4", "key-value caches are quantized to 8 bits here; use kv8"),
        ("awq-w4kv8", "a quantized key-value cache goes with rtn and gptq"),
        ("depth-s25+gptq-w4", "joint variants prune with magnitude, wanda, sparsegpt"),
        ("wanda-s50+quip-w4", "joint variants quantize with rtn or gptq"),
        ("gguf-q4_0", "name the .gguf file as the model"),
        ("bnb-w4", "bnb is made elsewhere only"),
        ("affine-w4-g64", "variant 'affine-w4-g64': affine is made elsewhere only; name the checkpoint"),
        ("mxfp4", "variant 'mxfp4': mxfp4 is made elsewhere only"),
        ("mixed-3-6", "variant 'mixed-3-6': mixed is made elsewhere only"),
    ],
)
def test_combinations(name: str, message: str | None) -> None:
    if message is None:
        check_supported(parse_variant(name))
        return
    with pytest.raises(SuiteError) as caught:
        check_supported(parse_variant(name))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gptq-w4-g64", "group size 64 does not divide the 96 inputs of a layer; use a divisor, such as 32"),
        ("quip-w4-g64", "group size 64 does not divide"),
        ("depth-s10", "that is 0 of the model's 3 blocks"),
    ],
)
def test_levels_that_do_not_fit_the_model(load: Load, tokens: SampleTokens, name: str, message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        made(load(), name, tokens)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_method_that_reads_text_says_so_without_any(load: Load) -> None:
    with pytest.raises(SuiteError, match="gptq reads sample text and none was given"):
        made(load(), "gptq-w4", None)


def test_without_the_library_one_line(load: Load, tokens: SampleTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.compress import llm_compressor

    monkeypatch.setattr(llm_compressor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SuiteError, match=r"package llmcompressor is not installed; run 'make setup'"):
        made(load(), "gptq-w4", tokens)
    assert made(load(), "rtn-w4", None).bits_per_weight < 16


def test_the_library_talks_to_nobody(load: Load, tokens: SampleTokens, capfd: pytest.CaptureFixture[str]) -> None:
    made(load(), "gptq-w4", tokens)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "WARNING" not in captured.err


@pytest.mark.parametrize("name", ["gptq-w4", "wanda-s50", "rtn-w8kv8", "sparsegpt-s50+gptq-w4", "quip-w4a4"])
def test_a_compressed_network_can_be_let_go(load: Load, tokens: SampleTokens, name: str) -> None:
    """Otherwise each variant of a run would stay in memory, and its recorded peak hold all variants before it."""
    network = load()
    made(network, name, tokens)
    held = weakref.ref(network)
    del network
    gc.collect()
    assert held() is None
