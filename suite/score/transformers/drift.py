"""How far a 16-bit run is from float32: the same weights and items, computed once more in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Drift:
    """Scores of some items in the run dtype against float32.

    Attributes:
        items: how many were compared.
        largest, mean: absolute difference of an option's score as scored (nats for sums), over all options.
        changed_answers: items whose best option differs.
    """

    items: int
    largest: float
    mean: float
    changed_answers: int


def compare(scores: Sequence[NDArray[np.float64]], reference: Sequence[NDArray[np.float64]]) -> Drift:
    """Differences between two score lists of the same items.

    >>> compare([np.array([1.0, 2.0])], [np.array([1.5, 1.0])])
    Drift(items=1, largest=1.0, mean=0.75, changed_answers=1)
    """
    differences = np.abs(np.concatenate(list(scores)) - np.concatenate(list(reference)))
    changed = sum(int(a.argmax() != b.argmax()) for a, b in zip(scores, reference, strict=True))
    return Drift(len(scores), float(differences.max()), float(differences.mean()), changed)


@contextlib.contextmanager
def in_float32(network: Any) -> Iterator[None]:
    """Inside, the network computes in float32 from its 16-bit weights, one module at a time in memory.

    Every module that owns parameters is widened before its own forward pass and narrowed after it, which loses nothing:
    each 16-bit number is a float32 number too. Where an architecture casts states to the type of the weight that is
    next (Mamba), they are rounded there still.
    """
    dtype = network.get_input_embeddings().weight.dtype

    widened: set[int] = set()

    # tensors that are wider than the network itself, as rotations are, stay as they are
    def widen(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dtype == dtype:
                tensor.data = tensor.data.float()
                widened.add(id(tensor))
        return tuple(map(wide, given)), {name: wide(value) for name, value in named.items()}

    def wide(value: Any) -> Any:
        return value.float() if getattr(value, "dtype", None) == dtype else value

    def narrow(module: Any, *_: Any) -> None:
        for tensor in (*module.parameters(), *module.buffers()):
            if id(tensor) in widened:
                tensor.data = tensor.data.to(dtype)
                widened.remove(id(tensor))

    hooks = []
    for module in network.modules():
        if any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(widen, with_kwargs=True))
            hooks.append(module.register_forward_hook(narrow, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
