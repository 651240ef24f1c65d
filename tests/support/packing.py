"""Integers packed into words the way checkpoint files hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def stream(values: Sequence[int], bits: int) -> list[int]:
    """Values of a few bits each, one after another in one long little-endian number, cut into signed 32-bit words."""
    number = sum(int(value) << (bits * place) for place, value in enumerate(values))
    words = [(number >> (32 * word)) & 0xFFFFFFFF for word in range(len(values) * bits // 32)]
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


def down(levels: np.ndarray, bits: int) -> torch.Tensor:
    """Pack every column of a matrix from the top to the bottom."""
    return torch.tensor(np.array([stream(column, bits) for column in levels.T]).T, dtype=torch.int32).contiguous()
