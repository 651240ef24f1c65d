"""Width pruning: attention heads and MLP channels go, as many in every block, so that any loader takes what is left.

A channel's importance is ``Σ_i |w_ij| · ‖x_j‖``, summed over the output rows i of the matrix that reads it (the MLP's
second matrix, attention's output matrix), with the norm of its activation on sample text: Wanda's score, summed over a
structure, as in FLAP (An et al. 2024, arXiv 2312.11983). Heads go in whole groups, a key-value head with the query
heads that share it; their share is the level rounded to whole groups, halves up, leaving one at least. MLP channels
make up the difference, so that the fraction of removed weights is the level as nearly as whole channels allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.compress.blocks import blocks_of, watch
from suite.compress.layers import STORED_BITS, LayerChange, Outcome, linear_layers
from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.variant import Variant

if TYPE_CHECKING:
    import torch

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")


def importance(weight: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Importance of every input channel of a matrix.

    Args:
        weight: [outputs, inputs].
        squares: sum of squares of every input channel over the sample text, [inputs].

    Returns:
        [inputs], float32.
    """
    return weight.float().abs().sum(dim=0) * squares.float().sqrt()


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Remove heads and channels in place; the configuration has the new sizes."""
    import torch

    assert variant.sparsity is not None
    assert tokens is not None
    blocks = blocks_of(network)
    for block in blocks:
        _check(network, block, variant)
    config = network.config.get_text_config()
    head = int(blocks[0].self_attn.head_dim)
    groups = int(config.num_key_value_heads)
    shared = int(config.num_attention_heads) // groups
    channels = int(blocks[0].mlp.down_proj.weight.shape[1])
    attention = sum(getattr(blocks[0].self_attn, part).weight.numel() for part in _ATTENTION)
    mlp = sum(getattr(blocks[0].mlp, part).weight.numel() for part in _MLP)
    fewer = min(int(variant.sparsity * groups + 0.5 + 1e-9), groups - 1)
    wanted = variant.sparsity * (attention + mlp) - fewer * attention / groups
    drop = min(max(round(wanted / (mlp / channels)), 0), channels - 1)

    readers = [module for block in blocks for module in (block.self_attn.o_proj, block.mlp.down_proj)]
    squares = [torch.zeros(module.weight.shape[1], dtype=torch.float64) for module in readers]

    def see(index: int, before: torch.Tensor, _: torch.Tensor) -> None:
        squares[index] += before.double().square().sum(dim=0).cpu()

    watch(network, readers, see, tokens)
    before = {
        name: (module.weight.numel(), float(module.weight.float().square().sum(dtype=torch.float64)))
        for name, module in linear_layers(network)
    }
    for number, block in enumerate(blocks):
        output, down = block.self_attn.o_proj, block.mlp.down_proj
        by_head = importance(output.weight, squares[2 * number].to(output.weight.device))
        by_group = by_head.reshape(groups, shared * head).sum(dim=1)
        kept_groups = _largest(by_group, groups - fewer)
        queries = _rows(kept_groups, shared * head)
        keys = _rows(kept_groups, head)
        by_channel = importance(down.weight, squares[2 * number + 1].to(down.weight.device))
        kept = _largest(by_channel, channels - drop)
        _keep(block.self_attn.q_proj, rows=queries)
        _keep(block.self_attn.k_proj, rows=keys)
        _keep(block.self_attn.v_proj, rows=keys)
        _keep(output, columns=queries)
        _keep(block.mlp.gate_proj, rows=kept)
        _keep(block.mlp.up_proj, rows=kept)
        _keep(down, columns=kept)
        for part, size in (("num_heads", shared * (groups - fewer)), ("num_key_value_heads", groups - fewer)):
            if hasattr(block.self_attn, part):
                setattr(block.self_attn, part, size)
        if hasattr(block.mlp, "intermediate_size"):
            block.mlp.intermediate_size = channels - drop
    config.head_dim = head
    config.num_attention_heads = shared * (groups - fewer)
    config.num_key_value_heads = groups - fewer
    config.intermediate_size = channels - drop
    changes = []
    for name, module in linear_layers(network):
        weights, norm = before[name]
        left = module.weight
        remaining = float(left.float().square().sum(dtype=torch.float64))
        changes.append(
            LayerChange(
                name=name,
                weights=weights,
                squared_error=max(norm - remaining, 0.0),
                squared_norm=norm,
                zeros=weights - int((left != 0).sum()),
                bits=STORED_BITS * left.numel(),
                changed=left.numel() < weights,
            )
        )
    note = f"every block lost {fewer} of {groups} groups of heads and {drop} of {channels} channels"
    return Outcome(changes, [note])


def _check(network: Any, block: Any, variant: Variant) -> None:
    named = {*dir(block.self_attn), *dir(block.mlp)}
    if missing := [part for part in (*_ATTENTION, *_MLP, "head_dim") if part not in named]:
        raise SuiteError(
            f"variant {variant.name!r}: architecture {network.config.model_type!r} has no {missing[0]} in its blocks; "
            "width pruning cannot take it apart, use depth"
        )


def _largest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of the largest scores in rising order; of equal ones the earlier stay."""
    import torch

    return torch.sort(torch.argsort(scores, descending=True, stable=True)[:count]).values


def _rows(groups: torch.Tensor, size: int) -> torch.Tensor:
    import torch

    return (groups[:, None] * size + torch.arange(size, device=groups.device)[None, :]).flatten()


def _keep(module: Any, *, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None) -> None:
    import torch

    weight = module.weight.data
    if rows is not None:
        weight = weight[rows]
        if module.bias is not None:
            module.bias = torch.nn.Parameter(module.bias.data[rows].clone(), requires_grad=False)
        module.out_features = len(rows)
    if columns is not None:
        weight = weight[:, columns]
        module.in_features = len(columns)
    module.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
