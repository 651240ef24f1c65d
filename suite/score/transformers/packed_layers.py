"""Linear layers in bfloat16 whose weights lie as the processor's matrix product reads them.

PyTorch keeps weights as rows, and every product arranges them anew. oneDNN takes them arranged once: the same bits come
out, 5 to 13 % sooner. In float32 PyTorch's product is another library's, whose last digit differs; there nothing is
arranged.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from suite.score.transformers.engine import out_of_memory
from suite.score.transformers.head import body
from suite.score.transformers.path import replaced

if TYPE_CHECKING:
    import torch

# rows of a product that the arrangement is chosen for; others are right too
_ROWS = 512
_TRIED = 8


@contextlib.contextmanager
def packed_layers(network: Any) -> Iterator[int]:
    """Inside, plain bfloat16 linear layers on a processor compute from arranged weights; yields how many there are.

    An arranged weight takes the place of its rows in memory, layer by layer, and gives the very same rows back
    afterwards. The network is tried: where a few tokens do not give the same bits as before (code that reads a layer's
    weight by itself, a processor without the instructions), all is left as it was. The output head, layers
    that share their weight and those with another forward pass are never arranged.
    """
    arranged: list[tuple[Any, torch.Tensor]] = []
    try:
        if layers := _plain(network):
            before = _said(network)
            if not (all(_arrange(layer, arranged) for layer in layers) and _same(network, before)):
                _give_back(arranged)
        yield len(arranged)
    finally:
        _give_back(arranged)


def _plain(network: Any) -> list[Any]:
    import torch

    owners = Counter(id(weight) for module in network.modules() for weight in module.parameters(recurse=False))
    return [
        module
        for module in network.modules()
        if type(module) is torch.nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.bfloat16
        and owners[id(module.weight)] == 1
        and module is not network.get_output_embeddings()
        and not replaced(module)
    ]


def _arrange(layer: Any, arranged: list[tuple[Any, torch.Tensor]]) -> bool:
    import torch

    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
    except (RuntimeError, AttributeError) as error:
        if out_of_memory(error):
            raise
        # oneDNN is not built in, or does not take bfloat16 on this processor
        return False
    arranged.append((layer, weight))
    layer.forward = partial(_product, weight, layer.bias)
    # what asks a layer for the type of its weight is still told
    layer.weight.data = torch.empty(0, dtype=torch.bfloat16)
    return True


def _give_back(arranged: list[tuple[Any, torch.Tensor]]) -> None:
    while arranged:
        layer, weight = arranged.pop()
        del layer.forward
        layer.weight.data = weight.to_dense()


def _product(weight: torch.Tensor, bias: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
    import torch

    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return found


def _same(network: Any, before: torch.Tensor) -> bool:
    import torch

    try:
        return torch.equal(_said(network), before)
    except Exception as error:  # an architecture may stumble over a layer without rows in any way
        if out_of_memory(error):
            raise
        return False


def _said(network: Any) -> torch.Tensor:
    """Final hidden states of a few tokens."""
    import torch

    first = network.get_input_embeddings().weight.shape[0] // 4
    with torch.inference_mode():
        found: torch.Tensor = body(network)(
            input_ids=torch.arange(first, first + _TRIED)[None], use_cache=False
        ).last_hidden_state
    return found
