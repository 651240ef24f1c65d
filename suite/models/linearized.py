"""Weight matrices that an architecture keeps otherwise than in `torch.nn.Linear`, as linear layers for a while.

Two forms are taken apart. Stacked experts: transformers keeps the matrices of all experts of a layer in one parameter
[experts, outputs, inputs] (gpt-oss: [experts, inputs, outputs]), gate and up matrices joined, one after the other or
row by row in turn. Each becomes a list of experts, and each expert three linear layers (two where there is no gate)
named ``experts.<number>.gate_proj``, ``up_proj`` and ``down_proj``, as in checkpoint files. And GPT-2's ``Conv1D``, a
linear layer that is stored transposed. The layers hold views: they share memory with what they stand for, and what a
method does to one is done to the stack.

Every expert sees the tokens that the router sends to it and no others, as in the network itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from suite.holding import holding

if TYPE_CHECKING:
    from torch import Tensor

_LLAMA4 = "Llama4TextExperts"


class Expert(torch.nn.Module):
    """One expert of a stack, as linear layers.

    Attributes:
        gate_proj, up_proj, down_proj: its matrices; no `gate_proj` where the stack has none.
    """

    stack: Any
    gate_proj: torch.nn.Linear | None
    up_proj: torch.nn.Linear
    down_proj: torch.nn.Linear

    def __init__(self, stack: Any, index: int) -> None:
        super().__init__()
        self.gate_proj = None
        # not as a submodule: its parameters are those of the layers here
        object.__setattr__(self, "stack", stack)
        for name, weight, bias in _views(stack, index):
            setattr(self, name, _linear(weight, bias))

    def forward(self, states: Tensor) -> Tensor:
        """What the expert makes of its tokens, [tokens, width], before the router's weights."""
        stack = self.stack
        up = self.up_proj(states)
        if self.gate_proj is None:
            between = stack.act_fn(up)
        elif _is_llama4(stack):
            between = up * stack.act_fn(self.gate_proj(states))
        else:
            gate = self.gate_proj(states)
            joined = torch.cat((gate, up), dim=-1) if stack.is_concatenated else torch.stack((gate, up), -1).flatten(-2)
            between = stack._apply_gate(joined)
        result: Tensor = self.down_proj(between)
        return result


class Experts(torch.nn.ModuleList):
    """A stack of experts as a list of them; takes the stack's place in a network.

    Attributes:
        visit_all: run experts without tokens too, on none, so that whoever watches a layer learns that it saw none.
    """

    stack: Any
    visit_all: bool = False

    def __init__(self, stack: Any) -> None:
        count = next(parameter.shape[0] for parameter in stack.parameters())
        super().__init__([Expert(stack, index) for index in range(count)])
        object.__setattr__(self, "stack", stack)

    @property
    def multiplies(self) -> bool:
        """Whether the gate multiplies what the up matrix gives and does nothing else to it."""
        if _is_llama4(self.stack):
            return True
        from transformers.integrations.moe import _default_apply_gate

        return bool(self.stack.has_gate) and type(self.stack)._apply_gate is _default_apply_gate

    def forward(self, hidden_states: Tensor, *routing: Tensor, **named: Tensor) -> Tensor:
        """What the experts make of [tokens, width], weighted and summed.

        Args:
            routing, named: chosen experts and their weights, each [tokens, chosen]. Llama 4 has none: there every
                expert gets a copy of all tokens, those that are not its own as zeros.
        """
        result = torch.zeros_like(hidden_states)
        if _is_llama4(self.stack):
            given = hidden_states.view(len(self), -1, hidden_states.shape[-1])
            out = result.view_as(given)
            for index, expert in enumerate(self):
                (rows,) = torch.where(given[index].any(dim=-1))
                if len(rows) or self.visit_all:
                    out[index, rows] = expert(given[index, rows])
            return result
        chosen, weights = (*routing, *named.values())
        for index, expert in enumerate(self):
            rows, places = torch.where(chosen == index)
            if len(rows) or self.visit_all:
                weighted = expert(hidden_states[rows]) * weights[rows, places, None]
                result.index_add_(0, rows, weighted.to(result.dtype))
        return result


@dataclass(frozen=True)
class Pieces:
    """What was taken apart.

    Attributes:
        experts: whether there were stacked experts.
        stay: whether the network stays in pieces.
    """

    experts: bool
    stay: bool


@contextmanager
def linearized(network: Any, *, stay: bool = False) -> Iterator[Pieces]:
    """Inside, every matrix that can be a linear layer is one; afterwards the network is put together again.

    Args:
        stay: leave it in pieces, because what is done to the layers has no place in a stack: a rounding of
            activations, a rotation. `in_pieces` says so of a network.
    """
    replaced: dict[Any, Any] = {}
    for name, module in list(network.named_modules()):
        piece: torch.nn.Module | None = None
        if is_stack(module):
            piece = Experts(module)
        elif _is_conv1d(module):
            piece = _linear(module.weight.data.T, module.bias)
        if piece is not None:
            piece.train(module.training)
            network.set_submodule(name, piece)
            replaced[piece] = module
    done = False
    try:
        yield Pieces(any(isinstance(piece, Experts) for piece in replaced), stay)
        done = True
    finally:
        if stay and done:
            network.is_in_pieces = bool(replaced)
        else:
            # blocks may have gone meanwhile, and others taken their numbers
            for name, piece in list(network.named_modules()):
                if piece in replaced:
                    _put_back(replaced[piece], piece)
                    network.set_submodule(name, replaced[piece])


def in_pieces(network: Any) -> bool:
    """Whether a network's experts or transposed layers were left as linear layers."""
    return bool(getattr(network, "is_in_pieces", False))


def expert_layers(network: Any) -> list[tuple[str, torch.nn.Linear]]:
    """The linear layers of all experts of a network in pieces, by name."""
    return [
        (f"{prefix}.{name}", module)
        for prefix, experts in network.named_modules()
        if isinstance(experts, Experts)
        for name, module in experts.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]


@contextmanager
def visiting_all(network: Any) -> Iterator[None]:
    """Inside, experts without tokens are run on none of them."""
    with ExitStack() as stack:
        for experts in [module for module in network.modules() if isinstance(module, Experts)]:
            stack.enter_context(holding(experts, "visit_all", True))
        yield


def _is_llama4(module: Any) -> bool:
    return type(module).__name__ == _LLAMA4


def is_stack(module: Any) -> bool:
    """Whether a module keeps its experts' matrices stacked in one of the known forms."""
    names = {name for name, parameter in module.named_parameters(recurse=False) if parameter.dim() == 3}
    if _is_llama4(module):
        return names == {"gate_up_proj", "down_proj"}
    # set by transformers' `use_experts_implementation`, whose forward passes go by nothing else
    if not all(hasattr(module, part) for part in ("has_gate", "has_bias", "is_transposed", "is_concatenated")):
        return False
    return names == {"gate_up_proj" if module.has_gate else "up_proj", "down_proj"}


def _is_conv1d(module: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _views(stack: Any, index: int) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Name, weight [outputs, inputs] and bias of one expert's layers, sharing memory with the stack."""
    transposed = _is_llama4(stack) or stack.is_transposed
    gated = _is_llama4(stack) or stack.has_gate
    biased = not _is_llama4(stack) and stack.has_bias

    def of(name: str) -> tuple[Tensor, Tensor | None]:
        weight = getattr(stack, name).data[index]
        bias = getattr(stack, f"{name}_bias").data[index] if biased else None
        return weight.T if transposed else weight, bias

    if gated:
        weight, bias = of("gate_up_proj")
        half = weight.shape[0] // 2
        concatenated = _is_llama4(stack) or stack.is_concatenated
        first, second = (slice(half), slice(half, None)) if concatenated else (slice(0, None, 2), slice(1, None, 2))
        for name, rows in (("gate_proj", first), ("up_proj", second)):
            yield name, weight[rows], None if bias is None else bias[rows]
    else:
        yield "up_proj", *of("up_proj")
    yield "down_proj", *of("down_proj")


def _linear(weight: Tensor, bias: Tensor | None) -> torch.nn.Linear:
    """A linear layer around a weight [outputs, inputs] and a bias that exist already."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias.data, requires_grad=False)
    return layer


def _put_back(module: Any, piece: Any) -> None:
    """Copy what is no view any more into the module that a piece stands for."""
    with torch.no_grad():
        if isinstance(piece, torch.nn.Linear):
            pairs = [(module.weight.data.T, piece.weight.data), (module.bias.data, piece.bias.data)]
        else:
            pairs = []
            for index, expert in enumerate(piece):
                for name, weight, bias in _views(module, index):
                    layer = getattr(expert, name)
                    pairs.append((weight, layer.weight.data))
                    if bias is not None:
                        pairs.append((bias, layer.bias.data))
        for stands, now in pairs:
            if stands.data_ptr() != now.data_ptr():
                stands.copy_(now)
