"""Which way a network is scored: found by trying, for architectures that the code has never heard of."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support import zoo
from support.one_by_one import one_by_one
from support.zoo import longrope
from transformers import LlamaForCausalLM

from suite.compress import apply
from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.score.transformers import engine
from suite.score.transformers.encode import Encoded
from suite.score.transformers.pack import forwarded_tokens, plan_batches
from suite.score.transformers.path import length_limits, path_of, sharing_refused
from suite.variant import parse_variant

REFUSED = {
    # states that run along the row
    "mamba": "makes its attention masks by itself",
    "mamba2": "makes its attention masks by itself",
    "qwen3_next": "nats off",
    "lfm2": "nats off",
    # blocks of the row, which short items do not fill
    "minimax_m3_vl_text": "layers of kind minimax_m3_sparse go by blocks of the row",
    # positions that are counted along the row
    "bloom": "nats off",
    "mpt": "nats off",
    "falcon": "nats off",
    # a window that is no part of the masks, counted along the row
    "gpt_neo": "nats off",
}
TREES = sorted(set(zoo.SHAPES) - set(REFUSED) - {"bert", "gemma2"})


_COUNT = itertools.count()


def fresh(shape: str) -> Any:
    """A copy of a model that nothing is known of: what was found of one holds for all that look like it."""
    model = copy.deepcopy(zoo.network(shape))
    model.config.number_of_this_copy = next(_COUNT)
    return model


def draw(seed: int, start: tuple[int, ...] = ()) -> list[Encoded]:
    """Three items, up to 40 tokens of context and 12 of option: the windows of `zoo` are 8."""
    generator = np.random.default_rng(seed)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(generator.integers(2, zoo.VOCABULARY, generator.integers(least, most)).tolist())

    found = []
    for _ in range(3):
        branches = tuple(tokens(1, 13) for _ in range(4))
        unscored = tuple(int(generator.integers(0, min(2, len(branch)))) for branch in branches)
        found.append(Encoded((*start, *tokens(1, 41)), branches, unscored))
    return found


def assert_right(shape: str, found: list[Any], batch: list[Encoded]) -> None:
    for item, values in zip(batch, found, strict=True):
        np.testing.assert_allclose(values, one_by_one(zoo.network(shape), item), atol=1e-4)


@pytest.mark.parametrize("shape", TREES)
def test_any_decoder_with_attention_alone_takes_the_tree(shape: str) -> None:
    model, batch, start = zoo.network(shape), draw(1), tuple(range(100, 112))
    path = path_of(model)
    assert (path.backend, path.remarks, sharing_refused(model)) == ("tree", (), "")
    assert_right(shape, engine.log_likelihoods(model, batch, backend="tree"), batch)
    batch = draw(2, start)
    prefix = engine.encode_prefix(model, start)
    assert_right(shape, engine.log_likelihoods(model, batch, backend="tree", shared=prefix), batch)
    letters = [Encoded(item.prefix, ((5,), (9,), (70,)), (0, 0, 0)) for item in batch]
    for item, values in zip(letters, engine.option_logits(model, letters, backend="tree", shared=prefix), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([item.prefix]), use_cache=False).logits[0, -1]
        np.testing.assert_allclose(values, logits[[5, 9, 70]].numpy(), atol=1e-4)


@pytest.mark.parametrize("shape", REFUSED)
def test_what_meets_outside_attention_takes_the_plain_way_and_says_why(shape: str) -> None:
    model, batch = zoo.network(shape), draw(1)
    path = path_of(model)
    assert path.backend == "plain"
    assert "own copy of the context" in path.remarks[-1]
    assert REFUSED[shape] in path.remarks[-1]
    assert_right(shape, engine.log_likelihoods(model, batch, backend="plain"), batch)


# networks that are almost like any other


Change = Callable[[Any, pytest.MonkeyPatch], None]


def positions_ignored(model: Any, patch: pytest.MonkeyPatch) -> None:
    """A body that counts positions along the row, whatever it is given."""
    given = model.model.forward

    def forward(*args: Any, position_ids: Any = None, **options: Any) -> Any:
        return given(*args, **options)

    patch.setattr(model.model, "forward", forward)


def convolution(model: Any, patch: pytest.MonkeyPatch) -> None:
    """Every token is mixed with its neighbour in the row before it reaches the second block."""
    layer = model.model.layers[1]
    given = layer.forward

    def forward(hidden: torch.Tensor, *args: Any, **options: Any) -> Any:
        before = torch.nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
        return given(hidden + 0.1 * before, *args, **options)

    patch.setattr(layer, "forward", forward)


def own_window(model: Any, patch: pytest.MonkeyPatch) -> None:
    """One block looks at the last 12 places of the row, by its own hand: more than an option, less than a row."""
    layer = model.model.layers[1]
    given = layer.forward

    def forward(*args: Any, attention_mask: Any = None, **options: Any) -> Any:
        width = args[0].shape[1]
        place = torch.arange(width)
        near = place[:, None] - place[None, :] < 12
        mask = near & near.T.tril() if attention_mask is None else attention_mask & near
        return given(*args, attention_mask=mask.expand(args[0].shape[0], 1, width, width), **options)

    patch.setattr(layer, "forward", forward)


def norm_in_the_head(model: Any, patch: pytest.MonkeyPatch) -> None:
    """The last norm belongs to the head: the body gives states before it."""
    norm, head = model.model.norm, model.lm_head
    given = head.forward
    model.model.norm = torch.nn.Identity()
    patch.setattr(head, "forward", lambda states: given(norm(states)))


def nameless_factor(model: Any, patch: pytest.MonkeyPatch) -> None:
    """Logits are multiplied by a number that no configuration names."""
    given = model.lm_head.forward
    patch.setattr(model.lm_head, "forward", lambda states: 1.5 * given(states))


def squashed_logits(model: Any, patch: pytest.MonkeyPatch) -> None:
    """Logits go through another function than a soft cap."""
    given = model.lm_head.forward
    patch.setattr(model.lm_head, "forward", lambda states: given(states).sin())


BROKEN: dict[str, Change] = {
    change.__name__: change
    for change in (positions_ignored, convolution, own_window, norm_in_the_head, nameless_factor, squashed_logits)
}


def changed(change: Change, patch: pytest.MonkeyPatch, shape: str = "llama", dtype: str = "float32") -> Any:
    model = fresh(shape).to(getattr(torch, dtype))
    change(model, patch)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("change", BROKEN.values(), ids=list(BROKEN))
def test_a_network_that_differs_in_one_thing_is_found_out(
    change: Change, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = changed(change, monkeypatch, dtype=dtype)
    path = path_of(model)
    assert path.backend == "plain"
    assert "nats off" in path.remarks[-1]
    if dtype == "float32":
        batch = draw(3)
        for item, values in zip(batch, engine.log_likelihoods(model, batch, backend="plain"), strict=True):
            np.testing.assert_allclose(values, one_by_one(model, item), atol=1e-4)


def test_experts_with_room_for_so_many_tokens_are_scored_one_sequence_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens beyond an expert's capacity, counted over the batch, pass it by: neighbours change the numbers."""
    model = fresh("llama")
    mlp = model.model.layers[1].mlp
    given = mlp.forward

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        flat = hidden.flatten(0, 1)
        return torch.cat([given(flat[:20]), flat[20:]]).view_as(hidden)

    monkeypatch.setattr(mlp, "forward", forward)
    path = path_of(model)
    assert path.backend == "single"
    assert "one at a time" in path.remarks[-1]
    batch = draw(3)
    for item, values in zip(batch, engine.log_likelihoods(model, batch, backend="single"), strict=True):
        np.testing.assert_allclose(values, one_by_one(model, item), atol=1e-4)


def test_a_cache_that_does_not_give_back_what_it_was_given_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh("llama")
    given = model.model.forward

    def forward(*args: Any, past_key_values: Any = None, **options: Any) -> Any:
        if past_key_values is not None and past_key_values.get_seq_length():
            past_key_values.layers[0].keys = past_key_values.layers[0].keys.flip(-1)
        return given(*args, past_key_values=past_key_values, **options)

    monkeypatch.setattr(model.model, "forward", forward)
    assert path_of(model).backend == "tree"
    assert "nats off" in sharing_refused(model)


def test_what_sees_later_tokens_is_no_causal_language_model() -> None:
    with pytest.raises(SuiteError, match=r"architecture 'bert'.* only causal language models can be scored$"):
        path_of(zoo.network("bert"))


def test_a_soft_cap_that_sdpa_drops_is_remarked() -> None:
    model = fresh("gemma2")
    assert model.config._attn_implementation == "sdpa"  # the library's own choice
    path = path_of(model)
    assert path.backend == "tree"
    assert "sdpa attention is another function than eager attention" in path.remarks[0]
    capped = copy.deepcopy(model)
    capped.set_attn_implementation("eager")
    assert path_of(capped).remarks == ()
    # the form counts, not the network alone
    model = copy.deepcopy(capped)
    assert path_of(model).remarks == ()
    model.set_attn_implementation("sdpa")
    assert path_of(model).remarks


def test_what_is_found_holds_for_all_that_look_alike_and_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    given = LlamaForCausalLM.forward

    def counted(*args: Any, **options: Any) -> Any:
        calls.append("again")
        return given(*args, **options)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    first = fresh("llama")
    alike, changed_one = copy.deepcopy(first), copy.deepcopy(first)
    for parameter in alike.parameters():
        parameter.data = parameter.data * 1.1
    convolution(changed_one, monkeypatch)
    assert path_of(first).backend == "tree"
    before = len(calls)
    assert path_of(alike).backend == "tree"
    assert len(calls) == before
    # what somebody has changed is tried by itself, and nobody else is taken for it
    assert path_of(changed_one).backend == "plain"
    assert path_of(copy.deepcopy(first)).backend == "tree"
    # a network that says the same whatever it is asked tells nothing of others
    dead = fresh("llama")
    live = copy.deepcopy(dead)
    live.config.number_of_this_copy = dead.config.number_of_this_copy
    dead.lm_head.weight.data.zero_()
    path_of(dead)
    before = len(calls)
    path_of(live)
    assert len(calls) > before


def test_a_form_of_attention_that_takes_other_masks_is_named() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register("paper", sdpa_attention_forward)
    AttentionMaskInterface.register("paper", sdpa_mask)
    model = fresh("llama")
    model.set_attn_implementation("paper")
    path = path_of(model)
    assert path.backend == "plain"
    assert path.remarks == (
        "every option gets its own copy of the context: paper attention takes no masks of booleans or numbers",
    )


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    def state(model: Any) -> list[Any]:
        modules = [(name, sorted(vars(module))) for name, module in model.named_modules()]
        weights = {name: (tensor.dtype, float(tensor.float().sum())) for name, tensor in model.state_dict().items()}
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
        return [str(model.config), modules, weights, hooks, dict(ALL_MASK_ATTENTION_FUNCTIONS)]

    model = fresh("cohere2").bfloat16()
    before = state(model)
    path_of(model)
    assert state(model) == before

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no masks\nhere")

    model = copy.deepcopy(model)
    monkeypatch.setattr(model.model.layers[1], "forward", broken)
    patched = state(model)
    with pytest.raises(RuntimeError, match="no masks"):
        path_of(model)
    assert state(model) == patched


def test_a_network_without_finite_scores_is_left_to_the_cell() -> None:
    model = fresh("llama")
    model.model.norm.weight.data[0] = float("nan")
    assert path_of(model).remarks == ("scores of two short items are not finite",)


def test_a_network_without_life_takes_the_tree_still() -> None:
    model = fresh("llama")
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    assert path_of(model).backend == "tree"


@pytest.mark.parametrize("name", ["logit_scale", "logits_scaling"])
def test_a_named_factor_counts_as_it_is_used_not_as_it_is_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Granite divides by logits_scaling, HyperCLOVA X multiplies by it, MPT does nothing with its logit_scale."""
    for factor in (1.0, 4.0, 0.25):
        model = changed(lambda *_: None, monkeypatch)
        setattr(model.config, name, 4.0)
        given = model.lm_head.forward
        monkeypatch.setattr(model.lm_head, "forward", lambda states, by=factor, of=given: by * of(states))
        assert path_of(model).backend == "tree"
        batch = draw(4)
        for item, values in zip(batch, engine.log_likelihoods(model, batch, backend="tree"), strict=True):
            np.testing.assert_allclose(values, one_by_one(model, item), atol=1e-4)


# lengths


def test_lengths_beyond_which_neighbours_count() -> None:
    assert length_limits(longrope().config) == (32, 32)
    assert length_limits(zoo.network("llama4_text").config) == (8192, None)
    assert length_limits(zoo.network("gpt_neo").config) == (8, None)
    assert length_limits(zoo.network("gpt_oss").config) == (None, None)


def test_items_beyond_that_length_are_scored_one_sequence_at_a_time() -> None:
    """Long texts have other frequencies: items below, across and above the border, in one batch with each other."""
    model = longrope()
    path = path_of(model)
    assert (path.backend, path.limit) == ("tree", 32)
    generator = np.random.default_rng(0)
    items = [
        Encoded(
            tuple(generator.integers(2, 384, context).tolist()),
            tuple(tuple(generator.integers(2, 384, length).tolist()) for length in lengths),
            (0,) * len(lengths),
        )
        for context, lengths in ((20, (4, 5)), (29, (2, 9)), (45, (3, 4)), (10, (2, 8)), (29, (1, 3)))
    ]
    planned = plan_batches(items, backend="tree", budget=512, limit=path.limit)
    assert [batch.items for batch in planned if batch.alone] == [(1,), (2,)]
    assert sorted(index for batch in planned for index in batch.items) == [0, 1, 2, 3, 4]
    for batch in planned:
        chosen = [items[index] for index in batch.items]
        found = engine.log_likelihoods(model, chosen, backend="single" if batch.alone else "tree")
        for item, values in zip(chosen, found, strict=True):
            np.testing.assert_allclose(values, one_by_one(model, item), atol=1e-4)
    together = np.concatenate(engine.log_likelihoods(model, items, backend="plain"))
    apart = np.concatenate([one_by_one(model, item) for item in items])
    assert np.abs(together - apart).max() > 1e-2  # the trap is there
    alone = [length + 29 - 1 for length in (2, 9)] + [length + 45 - 1 for length in (3, 4)]
    tree = [items[index].forwarded for index in (0, 3, 4)]
    assert forwarded_tokens(items, planned, backend="tree") == sum(alone) + sum(tree)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rounding_of_activations_and_caches_is_off_while_a_network_is_tried(dtype: str) -> None:
    """A step of rounding that falls the other way moves scores by more than a wrong mask may."""
    pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")
    model = fresh("qwen3").to(getattr(torch, dtype)).requires_grad_(False)
    ids = np.random.default_rng(0).integers(2, zoo.VOCABULARY, (4, 32))
    apply(model, parse_variant("gptq-w4a4kv8"), SampleTokens(ids, ids[:1], "random tokens"))
    path = path_of(model)
    assert (path.backend, path.remarks, sharing_refused(model)) == ("tree", (), "")
    rounded = [module for module in model.modules() if hasattr(module, "quantization_scheme")]
    assert rounded
    assert all(getattr(module, "quantization_enabled", True) for module in rounded)
