"""Arranged weights: the same bits out, the same bits back, and nothing touched that is not a plain layer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support import zoo

from suite.score.transformers import engine
from suite.score.transformers.encode import Encoded
from suite.score.transformers.packed_layers import packed_layers

ITEMS = [
    Encoded(tuple(range(20, 20 + length)), ((5, 6, 7), (9,), (70, 71)), (0, 0, 0)) for length in (1, 3, 30, 31, 60)
]


def in_bfloat16(shape: str) -> Any:
    return copy.deepcopy(zoo.network(shape)).to(torch.bfloat16)


def taken() -> bool:
    """Whether this processor's oneDNN arranges bfloat16 weights at all."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.ones(8, 8, dtype=torch.bfloat16), 4)
    except RuntimeError:
        return False
    return True


# biases, experts, shared embeddings, window layers
@pytest.mark.parametrize("shape", ["qwen2", "gemma3_text", "mixtral", "phi"])
def test_scores_and_weights_keep_every_bit(shape: str) -> None:
    network = in_bfloat16(shape)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = engine.log_likelihoods(network, ITEMS, backend="tree")
    with packed_layers(network) as count:
        inside = engine.log_likelihoods(network, ITEMS, backend="tree")
    linear = [module for module in network.model.modules() if type(module) is torch.nn.Linear]
    assert count == (len(linear) if taken() else 0)
    for ours, theirs in zip(inside, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    after = network.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert not any("forward" in vars(module) for module in network.modules())


def test_float32_is_left_alone() -> None:
    with packed_layers(zoo.network("llama")) as count:
        assert count == 0


def test_layers_that_others_use_or_changed_are_left_alone() -> None:
    network = in_bfloat16("llama")
    first, second, third = (layer.mlp.down_proj for layer in network.model.layers)
    second.weight = first.weight
    third.register_forward_hook(lambda *_: None)
    weights = [first.weight.clone(), third.weight.clone()]
    with packed_layers(network) as count:
        assert count == (sum(type(m) is torch.nn.Linear for m in network.model.modules()) - 3 if taken() else 0)
        assert torch.equal(first.weight, weights[0])
        assert torch.equal(third.weight, weights[1])
    assert second.weight is first.weight


def test_a_network_that_reads_a_weight_by_itself_is_left_as_it_was() -> None:
    network = in_bfloat16("llama")
    mlp = type(network.model.layers[0].mlp)

    class Reading(mlp):  # type: ignore[misc, valid-type]
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            hidden = self.act_fn(states @ self.gate_proj.weight.mT) * self.up_proj(states)
            return self.down_proj(hidden)  # type: ignore[no-any-return]

    network.model.layers[1].mlp.__class__ = Reading
    before = engine.log_likelihoods(network, ITEMS, backend="tree")
    with packed_layers(network) as count:
        assert count == 0
        inside = engine.log_likelihoods(network, ITEMS, backend="tree")
    for ours, theirs in zip(inside, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_come_back_when_something_fails_inside() -> None:
    network = in_bfloat16("llama")
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(MemoryError), packed_layers(network):
        raise MemoryError
    assert all(torch.equal(network.state_dict()[name], weights[name]) for name in weights)
