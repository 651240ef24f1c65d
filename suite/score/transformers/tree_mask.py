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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# forms of attention whose masks are made here: booleans, True for "may look"; or numbers that are added
FORMS = ("sdpa", "eager")

# what makes masks in this thread; transformers' table of them belongs to the process
_HERE = threading.local()
_LOCK = threading.Lock()
# how many threads are inside, by table and form, and what stood there before
_INSIDE: dict[tuple[str, str], tuple[int, Any]] = {}


@contextlib.contextmanager
def tree_masks(network: Any, branch_of: torch.Tensor, positions: torch.Tensor, skipped: int) -> Iterator[list[int]]:
    """Inside, every mask that transformers makes is that of these rows; yields a list that grows by one a mask made.

    Args:
        branch_of: [items, tokens], 0 for the context, 1.. for options, -1 for padding.
        positions: [items, tokens], in the text.
        skipped: shared tokens before each row, already forwarded.
    """
    import torch
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    form = network.config.get_text_config()._attn_implementation
    made: list[int] = []
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
        made.append(1)
        if form == "sdpa":
            return allowed
        return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)

    outer = getattr(_HERE, "make", None)
    _HERE.make = make
    try:
        with _standing_in(ALL_MASK_ATTENTION_FUNCTIONS, form, _for_thread), _attention(form):
            yield made
    finally:
        _HERE.make = outer


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
        return (getattr(_HERE, "make", None) or usual)(*args, **named)

    return make


def _sharing(usual: Callable[..., Any]) -> Callable[..., Any]:
    """Attention without a copy of keys and values for every head: the library makes one wherever there is a mask.

    A processor's kernel takes both. Behind a long start that many short rows share, copies cost a third of attention.
    """
    import torch

    def attend(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **rest: Any
    ) -> tuple[torch.Tensor, Any]:
        shared = query.shape[1] > key.shape[1] and key.shape[-1] == value.shape[-1] and key.device.type == "cpu"
        if not shared or mask is None or rest.get("dropout") or rest.get("position_bias") is not None:
            return usual(module, query, key, value, mask, **rest)  # type: ignore[no-any-return]
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=rest.get("scaling"), enable_gqa=True
        )
        return found.transpose(1, 2).contiguous(), None

    return attend
