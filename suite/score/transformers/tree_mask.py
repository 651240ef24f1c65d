"""Attention masks for rows that hold a context and, side by side behind it, all of its options.

transformers makes the masks of an architecture from functions of two positions: may the query at i look at the key
at j? Which functions, and which layers get which, is the architecture's own business: causal, a sliding window, chunks.
Inside `tree_masks` the same functions are asked with the positions that tokens have in the text, which options share,
instead of their places in the row; and no option sees another. So a window reaches as far into the context from the
last option as it does from the first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from suite.score.transformers.kept_start import joined

if TYPE_CHECKING:
    import torch

# forms of attention whose masks are made here: booleans, True for "may look"; or numbers that are added
FORMS = ("sdpa", "eager")

# what is inside in this thread; transformers' tables of masks and attention belong to the process
_HERE = threading.local()
_LOCK = threading.Lock()
# how many threads are inside, by table and form, and what stood there before
_INSIDE: dict[tuple[str, str], tuple[int, Any]] = {}


@dataclass
class Seen:
    """What one forward pass asked for.

    Attributes:
        masks: how many were made.
        handed: by layer, the identities of the keys and values that attention was handed, where it may be `joined`.
    """

    make: Callable[..., torch.Tensor]
    padding: torch.Tensor
    skipped: int
    kept: Any = None
    masks: int = 0
    handed: dict[int | None, tuple[int, int]] = field(default_factory=dict)
    _parts: list[tuple[torch.Tensor, torch.Tensor | None]] = field(default_factory=list)

    def own(self, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
        """The part of a mask behind the start, as numbers to add; None when a token does not see all of the start."""
        for known, bias in self._parts:
            if known is mask:
                return bias
        whole = bool((mask[..., : self.skipped] | self.padding).all())
        own = mask[..., self.skipped :]
        bias = own.new_zeros(own.shape, dtype=dtype).masked_fill_(~own, float("-inf")) if whole else None
        self._parts.append((mask, bias))
        return bias


@contextlib.contextmanager
def tree_masks(
    network: Any, branch_of: torch.Tensor, positions: torch.Tensor, skipped: int, kept: Any = None
) -> Iterator[Seen]:
    """Inside, every mask that transformers makes is that of these rows.

    Args:
        branch_of: [items, tokens], 0 for the context, 1.. for options, -1 for padding.
        positions: [items, tokens], in the text.
        skipped: shared tokens before each row, already forwarded.
        kept: the cache that holds them, where its layers hand on a row's own keys and values (see `kept_start`).
    """
    import torch
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    form = network.config.get_text_config()._attn_implementation
    rows, width = branch_of.shape
    before = torch.arange(skipped, device=positions.device).expand(rows, skipped)
    places = torch.cat([before, positions], dim=1)
    key, query = torch.nn.functional.pad(branch_of, (skipped, 0))[:, None, :], branch_of[:, :, None]
    visible = ((key == 0) | (key == query)) & (query >= 0)
    # padding looks at itself alone: a row without any key would be NaN
    own = torch.eye(width, skipped + width, dtype=torch.bool, device=branch_of.device).roll(skipped, dims=1)
    number = torch.arange(rows, device=branch_of.device)[:, None, None, None]
    head = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=branch_of.device)

    def make(*_: Any, mask_function: Any, kv_length: int, dtype: torch.dtype, **__: Any) -> torch.Tensor:
        if kv_length != skipped + width:
            raise ValueError(f"a mask for {kv_length} keys, where there are {skipped + width}")
        asked = mask_function(number, head, positions[:, None, :, None], places[:, None, None, :])
        allowed: torch.Tensor = ((asked & visible[:, None]) | own).expand(rows, 1, width, skipped + width)
        seen.masks += 1
        if form == "sdpa":
            return allowed
        return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)

    seen = Seen(make, (branch_of < 0)[:, None, :, None], skipped, kept)
    outer = getattr(_HERE, "seen", None)
    _HERE.seen = seen
    try:
        with _standing_in(ALL_MASK_ATTENTION_FUNCTIONS, form, _for_thread), _attention(form):
            yield seen
    finally:
        _HERE.seen = outer


def _attention(form: str) -> contextlib.AbstractContextManager[None]:
    """Inside, heads of a processor's sdpa attention that share keys and values read the same ones."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return _standing_in(ALL_ATTENTION_FUNCTIONS, form, _sharing) if form == "sdpa" else contextlib.nullcontext()


@contextlib.contextmanager
def _standing_in(table: Any, form: str, other: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Inside, what `other` makes of it stands in a table of transformers, once for all threads that are inside."""
    place = type(table).__name__, form
    with _LOCK:
        inside, given = _INSIDE.get(place, (0, None))
        if not inside:
            given = table._local_mapping.get(form)
            table[form] = other(table[form])
        _INSIDE[place] = inside + 1, given
    try:
        yield
    finally:
        with _LOCK:
            inside, given = _INSIDE[place]
            _INSIDE[place] = inside - 1, given
            if inside == 1 and given is None:
                del table[form]
            elif inside == 1:
                table[form] = given


def _for_thread(usual: Callable[..., Any]) -> Callable[..., Any]:
    """The thread that needs a mask is asked; other threads get the library's own."""

    def make(*args: Any, **named: Any) -> Any:
        seen: Seen | None = getattr(_HERE, "seen", None)
        return (seen.make if seen else usual)(*args, **named)

    return make


def _sharing(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Attention without a copy of keys and values for every head: the library makes one wherever there is a mask.

    A processor's kernel takes both. Behind a long start that many short rows share, copies cost a third of attention;
    there, attention to the start is one pass for all rows (see `kept_start`).
    """
    import torch

    def attend(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **rest: Any
    ) -> tuple[torch.Tensor, Any]:
        if mask is None or _odd(key, value, rest):
            return usual(module, query, key, value, mask, **rest)  # type: ignore[no-any-return]
        seen: Seen | None = getattr(_HERE, "seen", None)
        if seen:
            layer: Any = getattr(module, "layer_idx", None)
            seen.handed[layer] = id(key), id(value)
            if seen.kept is not None:
                start = seen.kept.layers[layer].keys, seen.kept.layers[layer].values
                bias = seen.own(mask, query.dtype)
                if bias is not None:
                    return joined(query, start, (key, value), bias, rest.get("scaling")), None
                key, value = (torch.cat(parts, dim=2) for parts in zip(start, (key, value), strict=True))
        if query.shape[1] == key.shape[1]:
            return usual(module, query, key, value, mask, **rest)  # type: ignore[no-any-return]
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=rest.get("scaling"), enable_gqa=True
        )
        return found.transpose(1, 2).contiguous(), None

    return attend


def _odd(key: torch.Tensor, value: torch.Tensor, rest: dict[str, Any]) -> bool:
    """Whether attention is more than a processor's kernel for queries, keys, values and a mask."""
    more = bool(rest.get("dropout")) or any(
        rest.get(name) is not None for name in ("position_bias", "softcap", "s_aux")
    )
    return more or key.device.type != "cpu" or key.shape[-1] != value.shape[-1]
