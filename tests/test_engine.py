"""The forward passes against a reference that scores one option at a time, alone, in float32."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.one_by_one import one_by_one
from support.tiny_models import SHAPES, tiny_config
from transformers import AutoModelForCausalLM

from suite.score.transformers import engine
from suite.score.transformers.encode import Encoded
from suite.score.transformers.fused_norms import fused_norms
from suite.score.transformers.kept_start import joined
from suite.score.transformers.pack import batches

VOCABULARY = 384


@cache
def network(shape: str, implementation: str | None = None) -> Any:
    torch.manual_seed(SHAPES.index(shape))
    implementation = implementation or ("eager" if shape == "gemma2" else "sdpa")
    return AutoModelForCausalLM.from_config(tiny_config(shape), attn_implementation=implementation).eval()


@st.composite
def items(draw: st.DrawFn, longest: int = 30) -> Encoded:
    token = st.integers(2, VOCABULARY - 1)
    prefix = draw(st.lists(token, min_size=1, max_size=longest))
    branches = draw(st.lists(st.lists(token, min_size=1, max_size=12), min_size=2, max_size=6))
    unscored = [draw(st.integers(0, min(2, len(branch) - 1))) for branch in branches]
    return Encoded(tuple(prefix), tuple(map(tuple, branches)), tuple(unscored))


@pytest.mark.parametrize("backend", ["tree", "plain"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(batch=st.lists(items(), min_size=1, max_size=5))
def test_batches_equal_the_one_by_one_reference(shape: str, backend: str, batch: list[Encoded]) -> None:
    model = network(shape)
    with fused_norms(model) as norms:
        scores = engine.log_likelihoods(model, batch, backend=backend)
    found = sum("RMSNorm" in type(module).__name__ for module in model.modules())
    assert norms == (0 if shape.startswith("gemma") else found)
    for item, values in zip(batch, scores, strict=True):
        expected = one_by_one(network(shape), item)
        np.testing.assert_allclose(values, expected, atol=1e-4)
        assert np.argmax(values) == np.argmax(expected) or np.ptp(np.sort(expected)[-2:]) < 1e-4


@pytest.mark.parametrize("backend", ["tree", "plain"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_letters_equal_the_logits_of_a_lone_forward_pass(
    shape: str, backend: str, lengths: list[int], seed: int
) -> None:
    model = network(shape)
    generator = np.random.default_rng(seed)
    letters = ((5,), (9,), (70,), (6,))
    batch = [Encoded(tuple(generator.integers(2, VOCABULARY, n).tolist()), letters, (0, 0, 0, 0)) for n in lengths]
    for item, values in zip(batch, engine.option_logits(model, batch, backend=backend), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([item.prefix]), use_cache=False).logits[0, -1].float()
        np.testing.assert_allclose(values, logits[[5, 9, 70, 6]].numpy(), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_options_do_not_see_each_other(shape: str) -> None:
    model = network(shape)
    context, options = (3, 4, 5, 6), [(10, 11, 12, 13), (20, 21, 22), (30, 31, 32, 33, 34)]
    before = engine.log_likelihoods(model, [Encoded(context, tuple(options), (0, 0, 0))], backend="tree")[0]
    for changed in range(3):
        other = [*options]
        other[changed] = tuple(token + 100 for token in options[changed])
        after = engine.log_likelihoods(model, [Encoded(context, tuple(other), (0, 0, 0))], backend="tree")[0]
        for index in range(3):
            if index == changed:
                assert abs(after[index] - before[index]) > 1e-3
            else:
                assert after[index] == pytest.approx(before[index], abs=1e-5)


@pytest.mark.parametrize("shape", ["mistral", "gemma2", "gemma3"])
def test_contexts_longer_than_the_window_equal_the_reference(shape: str) -> None:
    """The window is 8 tokens; the context has 60, and the options stand up to 30 places apart in their row."""
    model = network(shape)
    generator = np.random.default_rng(0)
    context = tuple(generator.integers(2, VOCABULARY, 60).tolist())
    options = tuple(tuple(generator.integers(2, VOCABULARY, 10).tolist()) for _ in range(4))
    item = Encoded(context, options, (0, 0, 0, 0))
    for backend in ("tree", "plain"):
        np.testing.assert_allclose(
            engine.log_likelihoods(model, [item], backend=backend)[0], one_by_one(model, item), atol=1e-4
        )
    # and the window matters for this item: without it the numbers are others
    config = tiny_config(shape)
    config.sliding_window = 512
    wide = AutoModelForCausalLM.from_config(config, attn_implementation=model.config._attn_implementation).eval()
    wide.load_state_dict(model.state_dict())
    assert np.abs(np.array(one_by_one(wide, item)) - one_by_one(model, item)).max() > 1e-2


@settings(max_examples=15, deadline=None)
@given(batch=st.lists(items(), min_size=2, max_size=6), order=st.randoms(use_true_random=False))
def test_neighbours_and_order_change_nothing(batch: list[Encoded], order: Any) -> None:
    model = network("llama")
    together = engine.log_likelihoods(model, batch, backend="tree")
    places = list(range(len(batch)))
    order.shuffle(places)
    shuffled = engine.log_likelihoods(model, [batch[place] for place in places], backend="tree")
    for place, values in zip(places, shuffled, strict=True):
        np.testing.assert_allclose(values, together[place], atol=1e-4)


def test_keys_and_values_are_not_copied_for_every_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two key-value heads serve four: attention is handed two, under the tree's masks too."""
    seen: list[tuple[int, int]] = []
    usual = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Any, key: Any, value: Any, **rest: Any) -> Any:
        seen.append((query.shape[1], key.shape[1]))
        return usual(query, key, value, **rest)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    model = network("llama")
    engine.log_likelihoods(model, [Encoded((3, 4, 5), ((10, 11), (20,)), (0, 0))], backend="tree")
    heads = model.config.num_attention_heads, model.config.num_key_value_heads
    assert heads[0] > heads[1]
    assert set(seen) == {heads}


def test_every_token_is_forwarded_once() -> None:
    """The tree's token count, told by the embedding layer itself."""
    model = network("llama")
    seen: list[int] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    item = Encoded((3, 4, 5, 6, 7), ((10, 11, 12), (20,), (30, 31)), (0, 0, 0))
    engine.log_likelihoods(model, [item], backend="tree")
    hook.remove()
    assert seen == [5 + 2 + 0 + 1] == [item.forwarded]


def test_bfloat16_bodies_get_float32_heads() -> None:
    """Logits of a bfloat16 model with large weights are not rounded to bfloat16's coarse grid."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama"), attn_implementation="sdpa").eval()
    model.lm_head.weight.data.mul_(20)
    model.to(torch.bfloat16)
    batch = [Encoded((3, 4, 5), tuple((token,) for token in range(2, 28)), (0,) * 26)]
    logits = torch.tensor(engine.option_logits(model, batch, backend="tree")[0])
    assert logits.abs().max() > 16
    assert (logits.bfloat16().double() != logits).float().mean() > 0.9
    # log-likelihoods too: the same body's hidden state through a float64 head
    with torch.no_grad():
        state = model.base_model(input_ids=torch.tensor([[3, 4, 5]])).last_hidden_state[0, -1]
    exact = (model.lm_head.weight.detach().double() @ state.double()).log_softmax(-1)[2:28].numpy()
    scores = engine.log_likelihoods(model, batch, backend="tree")[0]
    assert np.abs(scores - exact).max() < 0.01


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 1000))
def test_batches_hold_every_item_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    grouped = batches(lengths, budget)
    assert sorted(index for group in grouped for index in group) == list(range(len(lengths)))
    for group in grouped:
        assert len(group) == 1 or max(lengths[index] for index in group) * len(group) <= budget


def test_repository_has_the_score_package_free_of_right_hand_imports() -> None:
    source = "".join(file.read_text() for file in (Path(engine.__file__).parent).glob("*.py"))
    assert not any(f"import {name}" in source for name in ("mapie", "netcal", "matplotlib"))


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(
    shared=st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=40),
    batch=st.lists(items(longest=10), min_size=1, max_size=4),
)
def test_a_shared_prefix_forwarded_once_changes_nothing(shape: str, shared: list[int], batch: list[Encoded]) -> None:
    model = network(shape)
    prefix = engine.encode_prefix(model, shared)
    batch = [Encoded((*shared, *item.prefix), item.branches, item.unscored) for item in batch]
    scores = engine.log_likelihoods(model, batch, backend="tree", shared=prefix)
    for item, values in zip(batch, scores, strict=True):
        np.testing.assert_allclose(values, one_by_one(model, item), atol=1e-4)
    again = engine.log_likelihoods(model, batch, backend="tree", shared=prefix)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(scores))
    letters = [Encoded(item.prefix, ((5,), (9,)), (0, 0)) for item in batch]
    for item, values in zip(letters, engine.option_logits(model, letters, backend="tree", shared=prefix), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([item.prefix]), use_cache=False).logits[0, -1].float()
        np.testing.assert_allclose(values, logits[[5, 9]].numpy(), atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 4),
    heads=st.sampled_from([(1, 1), (4, 4), (6, 2), (9, 3)]),
    lengths=st.tuples(st.integers(1, 90), st.integers(1, 40)),
    strength=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_two_parts_joined_are_attention_to_all_keys_at_once(
    rows: int, heads: tuple[int, int], lengths: tuple[int, int], strength: float, seed: int
) -> None:
    """Against the softmax over all keys written out in float64; products as far apart as 30 make one part vanish."""
    generator = torch.Generator().manual_seed(seed)
    (shared, own), (many, few), width = lengths, heads, 16

    def draw(*shape: int) -> Any:
        return torch.randn(shape, generator=generator)

    query = strength * draw(rows, own, many, width).transpose(1, 2)
    start = draw(1, few, shared, width), draw(1, few, shared, width)
    mine = draw(rows, few, own, width), draw(rows, few, own, width)
    sees = (torch.rand((rows, 1, own, own), generator=generator) < 0.5) | torch.eye(own, dtype=torch.bool)
    bias = torch.zeros(sees.shape).masked_fill_(~sees, float("-inf"))
    found = joined(query, tuple(one.expand(rows, -1, -1, -1) for one in start), mine, bias, 0.3)
    key, value = (
        torch.cat([one.expand(rows, -1, -1, -1), two], 2).repeat_interleave(many // few, 1).double()
        for one, two in zip(start, mine, strict=True)
    )
    products = 0.3 * query.double() @ key.mT
    products[..., shared:] += bias
    expected = (products.softmax(-1) @ value).transpose(1, 2)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-5 * max(1.0, strength))


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_look_at_the_kept_start_together_where_they_may(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one product for all rows, without a copy for each, wherever float32 attention under sdpa sees all of it."""
    model = network(shape)
    generator = np.random.default_rng(1)
    start = generator.integers(2, VOCABULARY, 40).tolist()
    batch = [
        Encoded((*start, *generator.integers(2, VOCABULARY, 3 + row).tolist()), ((5, 6), (7, 8, 9)), (0, 0))
        for row in range(3)
    ]
    kept = engine.encode_prefix(model, start)
    assert kept.joined == (shape != "gemma2")
    rows = engine.log_likelihoods(model, batch, backend="tree", shared=replace(kept, joined=False))
    keys: list[int] = []
    usual = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Any, key: Any, value: Any, **rest: Any) -> Any:
        keys.append(key.shape[2])
        return usual(query, key, value, **rest)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    together = engine.log_likelihoods(model, batch, backend="tree", shared=kept)
    # layers whose window is shorter than the start, which go row by row
    windowed = {"mistral": 3, "gemma3": 2}.get(shape, 0)
    assert len(keys) == windowed
    assert all(count > len(start) for count in keys)
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(rows), atol=1e-4)
    for item, values in zip(batch, together, strict=True):
        np.testing.assert_allclose(values, one_by_one(model, item), atol=1e-4)


def test_in_16_bits_rows_look_at_the_start_one_by_one_as_before() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama"), attn_implementation="sdpa").eval()
    assert engine.encode_prefix(model, (3, 4, 5)).joined
    assert not engine.encode_prefix(model.to(torch.bfloat16), (3, 4, 5)).joined
