"""Attention of many short rows to the long start that their contexts share, in one pass for all of them.

Row by row, products with the start are narrow: some dozens of queries a head. Those of all rows and of all heads that
share keys, one below the other, make one wide product; each row's own tokens are looked at apart. The two parts are
joined by their normalizers (Juravsky et al. 2024, arXiv 2402.05099): with Z the sum of exponentials of a part, the
attention to both is (Z_start · start + Z_own · own) / (Z_start + Z_own), what one pass over all keys computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SharedPrefix:
    """Context tokens that many items start with, forwarded once: an instruction, worked examples.

    Attributes:
        tokens: the shared tokens.
        keys, values: what each layer keeps of them, [1, key-value heads, tokens, head width].
        joined: whether attention to them may be computed apart and joined: what every layer keeps is the very
            thing that its attention is handed, in float32, under a processor's sdpa.
    """

    tokens: tuple[int, ...]
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    joined: bool = False

    def cache(self, rows: int) -> Any:
        """A cache whose every row begins with the shared tokens, which are not copied.

        Layers hand on the shared tokens' keys and values with those of a row; where `joined`, those of a row alone.
        """
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        cache = DynamicCache()
        for key, value in zip(self.keys, self.values, strict=True):
            layer: Any = DynamicLayer()  # type: ignore[no-untyped-call]
            layer.lazy_initialization(key, value)
            layer.keys, layer.values = (kept.expand(rows, -1, -1, -1) for kept in (key, value))
            if self.joined:
                layer.update = _own
            cache.layers.append(layer)
        return cache


def _own(key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return key, value


def joined(
    query: torch.Tensor,
    start: tuple[torch.Tensor, torch.Tensor],
    own: tuple[torch.Tensor, torch.Tensor],
    bias: torch.Tensor,
    scale: float | None,
) -> torch.Tensor:
    """Attention of every row to all of the start and, under a mask, to its own tokens.

    Args:
        query: [rows, heads, tokens, width].
        start: keys and values, [rows, key-value heads, shared tokens, width], every row the same.
        own: keys and values, [rows, key-value heads, tokens, width].
        bias: what is added to a row's own products, [rows, 1, tokens, tokens]: 0 or -inf.
        scale: of products; None for 1 / √width.

    Returns:
        [rows, tokens, heads, width].
    """
    import torch

    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    rows, heads, tokens, width = query.shape
    kept = start[0].shape[1]
    # heads that share keys lie next to each other
    below = query.view(rows, kept, heads // kept, tokens, width).permute(1, 2, 0, 3, 4)
    first, first_log = attend(below.reshape(1, kept, -1, width), *(one[:1] for one in start), scale=scale)
    second, second_log = attend(query, *own, attn_mask=bias, scale=scale)
    first = first.reshape(below.shape).permute(2, 3, 0, 1, 4).reshape(rows, tokens, heads, width)
    first_log = first_log.reshape(below.shape[:4]).permute(2, 3, 0, 1).reshape(rows, tokens, heads, 1)
    second = second.transpose(1, 2)
    share = torch.sigmoid(first_log - second_log.transpose(1, 2)[..., None])
    return torch.lerp(second, first, share)
