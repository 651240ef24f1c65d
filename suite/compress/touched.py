"""How much of a model's weight matrices a compression changed, counted from its tensors and from nothing a method says.

Counted are all parameters of two or more dimensions, expert by expert where experts are stacked; embeddings, the
output head, routers and vectors (norms, biases) are left out by name. A matrix is untouched when the compressed network
still holds one of the same shape and the same bytes, wherever it stands there, so that removed blocks, removed
channels, rotations and roundings all count as changes. Whatever an architecture calls its parts, a part that a method
does not know is a matrix that did not change.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.compress.layers import is_router
from suite.models.checkpoint import GRID_PARAMETERS
from suite.variant import Variant, parse_variant

if TYPE_CHECKING:
    import torch

_SAMPLE = 512
# 16-bit formats keep a value to 2^-8 of itself, and float16 what is near zero to 6e-8
_ROUNDING, _SMALLEST = 2.0**-8, 6e-8


@dataclass(frozen=True)
class Mark:
    """What a matrix is recognized by.

    Attributes:
        shape: as stored.
        digest: CRC-32 of its bytes. Two different matrices that share one would count as untouched, never the reverse.
        sample: some of its values in float32, where it may have been stored in another dtype meanwhile.
    """

    shape: tuple[int, ...]
    digest: int
    sample: torch.Tensor | None = None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Untouched:
    """Matrices that stayed as they were.

    Attributes:
        names: their names, numbers replaced by ``*``.
        matrices: how many.
        share: of all weights counted.
        reason: why that is as it should be; None where nothing says so.
    """

    names: str
    matrices: int
    share: float
    reason: str | None


@dataclass(frozen=True)
class Touched:
    """What a compression changed, under the names of `suite.compress.VariantInfo`.

    Attributes:
        share_touched: weights of matrices that changed over those of all that count, 0 to 1.
        untouched: the matrices that did not change.
        left_out: what does not count, by name, with what it is.
    """

    share_touched: float
    untouched: list[Untouched]
    left_out: list[str]


def matrices(network: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight matrix that counts, by the name of its parameter; stacked ones one by one, their number last.

    Yields:
        Name, and the matrix as [outputs, inputs] where its module says how it is laid out, as stored otherwise.
    """
    for name, owner, parameter in _parameters(network):
        if _what(network, name, owner, parameter):
            continue
        for local, matrix in _slices(parameter.data):
            yield f"{name}{local}", matrix.T if _transposed(owner) else matrix


def fingerprint(network: Any, *, samples: bool = False) -> dict[str, Mark]:
    """Marks of all matrices that count, by name.

    Args:
        samples: keep some values too, for a comparison with a network that was stored in another dtype.
    """
    return {
        name: Mark(tuple(matrix.shape), _digest(matrix), _sample(matrix) if samples else None)
        for name, matrix in matrices(network)
    }


def left_out(network: Any) -> list[str]:
    """What does not count, by name with numbers replaced by ``*``, and what it is, such as ``lm_head.weight (output
    head)``."""
    found: dict[str, None] = {}
    for name, owner, parameter in _parameters(network):
        if what := _what(network, name, owner, parameter):
            found[f"{_pattern(name)} ({what})"] = None
    return list(found)


def touched(
    before: dict[str, Mark], network: Any, variant: Variant, ignored: Callable[[str], bool] | None = None
) -> Touched:
    """What became of a network's matrices.

    Args:
        before: marks of the dense network.
        network: the compressed one.
        ignored: whether a checkpoint says of itself that it leaves the matrix of this name alone.
    """
    now = dict(matrices(network))
    marks = {name: Mark(tuple(matrix.shape), _digest(matrix)) for name, matrix in now.items()}
    left = Counter(marks.values())
    same: dict[str, str | None] = {}
    for name, mark in before.items():
        bare = Mark(mark.shape, mark.digest)
        if left[bare] > 0:
            left[bare] -= 1
        elif not _only_rounded(mark, now.get(name)):
            continue
        same[name] = _reason(variant, name, now.get(name), ignored)
    return _summed(before, same, network)


def visibly_touched(network: Any, variant: Variant) -> Touched | None:
    """What was changed in a network whose dense self is not at hand, as far as its weights show it.

    A matrix counts as changed when it is what the variant's name says: so sparse, in that pattern, on so few levels, or
    rounded in the forward pass that llm-compressor gave its layer.

    Args:
        network: in pieces (see `suite.models.linearized`).

    Returns:
        None where weights cannot show it: dense, structured variants, and rows too short for so many levels.
    """
    if variant.family in ("dense", "structured") or (variant.bits is None and variant.sparsity is None):
        return None
    found = dict(matrices(network))
    if variant.bits and not all(_decidable(variant, matrix.shape[1]) for matrix in found.values()):
        return None
    changed = {
        name
        for name, matrix in found.items()
        if getattr(
            getattr(network.get_submodule(name.rpartition(".")[0]), "quantization_scheme", None), "weights", None
        )
        or _holds(variant, matrix, by_row=True)
    }
    marks = {name: Mark(tuple(matrix.shape), 0) for name, matrix in found.items()}
    return _summed(marks, {name: None for name in found if name not in changed}, network)


def _summed(marks: dict[str, Mark], same: dict[str, str | None], network: Any) -> Touched:
    """Shares from marks of all matrices, and the reasons of those that stayed the same."""
    total = sum(mark.weights for mark in marks.values())
    grouped: dict[tuple[str, str | None], list[int]] = {}
    for name, reason in same.items():
        grouped.setdefault((_pattern(name), reason), []).append(marks[name].weights)
    entries = [
        Untouched(names, len(weights), sum(weights) / total, reason) for (names, reason), weights in grouped.items()
    ]
    changed = total - sum(map(sum, grouped.values()))
    return Touched(changed / total if total else 0.0, entries, left_out(network))


def _parameters(network: Any) -> Iterator[tuple[str, Any, torch.Tensor]]:
    for prefix, module in network.named_modules():
        for local, parameter in module.named_parameters(recurse=False):
            if not local.endswith(GRID_PARAMETERS):
                yield f"{prefix}.{local}" if prefix else local, module, parameter


def _what(network: Any, name: str, owner: Any, parameter: torch.Tensor) -> str | None:
    """What a parameter is when it does not count, None when it does."""
    import torch

    head, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    if isinstance(owner, torch.nn.Embedding) or owner is embeddings:
        return "embeddings"
    if owner is head:
        return "output head"
    if parameter.dim() < 2 or name.endswith("bias"):
        return "norm" if "norm" in type(owner).__name__.lower() else "vector"
    return "router" if is_router(network, name, parameter) else None


def _slices(parameter: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    if parameter.dim() == 2:
        yield "", parameter
    elif parameter.dim() == 3 and min(parameter.shape[1:]) > 1:
        for index, matrix in enumerate(parameter):
            yield f".{index}", matrix
    else:
        # a convolution's kernel
        yield "", parameter.flatten(1)


def _transposed(owner: Any) -> bool:
    return bool(getattr(owner, "is_transposed", False)) or type(owner).__name__ == "Conv1D"


def _pattern(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


def _stored(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix in the order in which its bytes lie."""
    return matrix if matrix.is_contiguous() else matrix.T


def _digest(matrix: torch.Tensor) -> int:
    import torch

    with torch.inference_mode():
        content: Any = _stored(matrix).cpu().contiguous().view(torch.uint8).numpy()
    return zlib.crc32(content)


def _sample(matrix: torch.Tensor) -> torch.Tensor:
    flat = _stored(matrix).flatten()
    # an odd step meets every place of a group
    return flat[:: (flat.numel() // _SAMPLE) | 1].float().cpu()


def _only_rounded(mark: Mark, matrix: torch.Tensor | None) -> bool:
    """Whether a matrix differs from a parent's by no more than storing it in another 16-bit format does."""
    if mark.sample is None or matrix is None or tuple(matrix.shape) != mark.shape:
        return False
    difference = (_sample(matrix) - mark.sample).abs()
    return bool((difference <= mark.sample.abs() * _ROUNDING + _SMALLEST).all())


def _reason(
    variant: Variant, name: str, matrix: torch.Tensor | None, ignored: Callable[[str], bool] | None
) -> str | None:
    """Why a matrix may have stayed as it was, None where nothing says so."""
    if ignored is not None and ignored(name):
        return "on the checkpoint's own ignore list"
    if variant.method == "depth":
        return "whole blocks are removed, the others stay as they are"
    if variant.bits is None and variant.sparsity is None:
        return "the variant rounds no weights"
    if matrix is not None and _holds(variant, matrix):
        return f"was {variant.recipe_name} already"
    return None


def _holds(variant: Variant, matrix: torch.Tensor, *, by_row: bool = False) -> bool:
    """Whether a matrix already is what the variant's name promises: as sparse, with that pattern, on so few levels.

    Args:
        by_row: look at rows as wholes, because groups need not be of neighbours (GPTQ's activation order).
    """
    if variant.family == "joint":
        return all(_holds(parse_variant(part), matrix, by_row=by_row) for part in variant.recipe_name.split("+"))
    if variant.n_of_m is not None:
        n, m = variant.n_of_m
        if matrix.shape[1] % m or int((matrix.reshape(-1, m) != 0).sum(dim=1).max()) > n:
            return False
    elif variant.sparsity is not None:
        zeros = matrix.numel() - int(matrix.count_nonzero())
        if zeros < int(variant.sparsity * matrix.numel() + 1e-6):
            return False
    if variant.bits is None:
        return variant.family != "structured"
    columns = matrix.shape[1]
    size = columns if by_row else variant.group or columns
    if columns % size or not _decidable(variant, size):
        return False
    ordered = matrix.float().reshape(-1, size).sort(dim=1).values
    steps = (ordered[:, 1:] != ordered[:, :-1]).sum(dim=1)
    return int(steps.max()) < _levels(variant, size)


def _decidable(variant: Variant, size: int) -> bool:
    """Whether so many neighbours can have more different values than the variant's grid has."""
    return _levels(variant, size) < size


def _levels(variant: Variant, size: int) -> int:
    """How many different values so many neighbours of a row may have on the variant's grid."""
    assert variant.bits is not None
    levels: int = 2**variant.bits * -(-size // (variant.group or size))
    return levels
