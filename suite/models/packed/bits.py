"""Integers out of 32-bit words, and which group of inputs shares a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError

if TYPE_CHECKING:
    import torch


def unpack_bits(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers out of little-endian bit streams that run down the columns of a matrix of 32-bit words.

    Args:
        words: int32, [words, columns].
        bits: 2 to 8; a value may begin in one word and end in the next (3, 5 and 6 bits).

    Returns:
        int32, [words · 32 // bits, columns], each 0 to 2^bits - 1.

    >>> import torch
    >>> unpack_bits(torch.tensor([[0x0000_4321]], dtype=torch.int32), 4)[:, 0].tolist()
    [1, 2, 3, 4, 0, 0, 0, 0]
    """
    import torch

    count = words.shape[0] * 32 // bits
    wide = words.to(torch.int64) & 0xFFFF_FFFF
    # the value that begins at bit p of the stream lies in word p // 32 and, at most, the one after it
    wide = torch.cat([wide, torch.zeros_like(wide[:1])])
    start = torch.arange(count) * bits
    word, shift = start // 32, (start % 32)[:, None]
    low = wide[word] >> shift
    high = torch.where(shift > 0, wide[word + 1] << (32 - shift), torch.zeros_like(low))
    values: torch.Tensor = (low | high) & (2**bits - 1)
    return values.to(torch.int32)


def stated_group_of(inputs: int, groups: int, size: Any) -> torch.Tensor:
    """`group_of`, of equal groups where the configuration states no size (None).

    Raises:
        SuiteError: as there, or inputs that make no such groups.
    """
    if size is None and inputs % groups:
        raise SuiteError(f"{inputs} inputs do not make {groups} equal groups, and no group size is stated")
    return group_of(inputs, groups, inputs // groups if size is None else int(size))


def scale_of(stored: torch.Tensor) -> torch.Tensor:
    """A scale, float32; stored as uint8 it is an exponent of two with bias 127 (E8M0)."""
    import torch

    return torch.exp2(stored.float() - 127) if stored.dtype == torch.uint8 else stored.float()


def group_of(inputs: int, groups: int, size: int | None) -> torch.Tensor:
    """The group of each input where groups are of neighbours, int64 [inputs]; the last one may be shorter.

    Args:
        size: inputs a group as the configuration states it; None or -1 for all of them.

    Raises:
        SuiteError: that many groups of that size are not what the inputs make.

    >>> group_of(5, 3, 2).tolist(), group_of(4, 1, -1).tolist()
    ([0, 0, 1, 1, 2], [0, 0, 0, 0])
    """
    import torch

    whole = size is None or size <= 0
    wide = inputs if whole else int(size or 0)
    if -(-inputs // wide) != groups:
        stated = "one group" if whole else f"groups of {wide}"
        raise SuiteError(f"{inputs} inputs in {stated} by the configuration, but scales of {groups}")
    return torch.arange(inputs) // wide
