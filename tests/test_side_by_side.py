"""Batches that several threads take at once: the numbers, their order, and the library left as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from support import zoo
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from suite.score.transformers import engine
from suite.score.transformers.encode import Encoded
from suite.score.transformers.pack import Batch
from suite.score.transformers.side_by_side import AT_ONCE, at_once, read_in_order


@pytest.fixture
def threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(usual)


def draw(count: int, start: tuple[int, ...] = ()) -> list[Encoded]:
    generator = np.random.default_rng(count)

    def tokens(most: int) -> tuple[int, ...]:
        return tuple(generator.integers(2, zoo.VOCABULARY, generator.integers(1, most)).tolist())

    return [Encoded((*start, *tokens(40)), tuple(tokens(9) for _ in range(3)), (0, 0, 0)) for _ in range(count)]


# windows, chunks, experts, soft caps under eager attention
@pytest.mark.parametrize("shape", ["gemma2", "gemma3_text", "mixtral", "llama4_text"])
@pytest.mark.parametrize("shared", [(), tuple(range(100, 112))])
def test_four_threads_give_the_very_numbers_of_one(shape: str, shared: tuple[int, ...], threads: None) -> None:
    network, items = zoo.network(shape), draw(24, shared)
    batches = [Batch((index, index + 1), shared) for index in range(0, 24, 2)]

    def read(batch: Batch, start: Any) -> list[Any]:
        return engine.log_likelihoods(network, [items[i] for i in batch.items], backend="tree", shared=start)

    def start(tokens: tuple[int, ...]) -> Any:
        return engine.encode_prefix(network, tokens)

    tables = ALL_MASK_ATTENTION_FUNCTIONS, ALL_ATTENTION_FUNCTIONS
    given = [dict(table._local_mapping) for table in tables]
    together = list(read_in_order(batches, start, read, 4))
    assert [dict(table._local_mapping) for table in tables] == given
    assert torch.get_num_threads() == 4
    torch.set_num_threads(1)
    alone = list(read_in_order(batches, start, read, 1))
    for ours, theirs in zip(together, alone, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_results_come_in_order_and_each_start_is_made_once_ahead_of_its_batches(threads: None) -> None:
    starts = [(), (1,), (1,), (1,), (2,), (2,), (), (3,), (3,)]
    batches = [Batch((index,), shared) for index, shared in enumerate(starts)]
    slow = threading.Event()
    made: list[tuple[int, ...]] = []

    def start(tokens: tuple[int, ...]) -> tuple[int, ...]:
        made.append(tokens)
        return tokens

    def read(batch: Batch, found: tuple[int, ...] | None) -> tuple[int, tuple[int, ...] | None]:
        # the first batch ends last
        if batch.items[0] == 0:
            assert slow.wait(10)
        if batch.items[0] == 8:
            slow.set()
        return batch.items[0], found

    expected = [(index, shared or None) for index, shared in enumerate(starts)]
    assert list(read_in_order(batches, start, read, 2)) == expected
    assert made == [(1,), (2,), (3,)]
    made.clear()
    assert list(read_in_order(batches[1:], start, read, 1)) == expected[1:]
    assert made == [(1,), (2,), (3,)]


def test_what_one_batch_raises_is_raised_and_the_rest_is_not_begun(threads: None) -> None:
    begun: list[int] = []

    def read(batch: Batch, _: None) -> int:
        begun.append(batch.items[0])
        if batch.items[0] == 1:
            raise MemoryError("no more")
        return batch.items[0]

    batches = [Batch((index,)) for index in range(1000)]
    with pytest.raises(MemoryError, match="no more"):
        list(read_in_order(batches, lambda _: None, read, 2))
    assert len(begun) < 1000
    assert torch.get_num_threads() == 4


def test_a_network_that_keeps_something_of_a_pass_goes_one_batch_at_a_time(threads: None) -> None:
    network = zoo.network("llama")
    assert at_once(network, 100) == AT_ONCE
    assert at_once(network, 5) == 2
    assert at_once(network, 1) == at_once(network, 0) == 1
    handle = network.model.layers[0].mlp.down_proj.register_forward_hook(lambda *_: None)
    assert at_once(network, 100) == 1
    handle.remove()
    assert at_once(network, 100) == AT_ONCE
    torch.set_num_threads(2)
    assert at_once(network, 100) == 2


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotations_that_change_with_length_go_one_batch_at_a_time(
    kind: str, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = zoo.network("llama")
    monkeypatch.setattr(network.config, "rope_parameters", {"full_attention": {"rope_type": kind}})
    assert at_once(network, 100) == 1
