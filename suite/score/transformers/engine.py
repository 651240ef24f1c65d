"""Option scores from a network: the forward passes, and nothing else.

Three backends give the same numbers. `tree` feeds an item once, as context followed by all its options side by side; a
mask keeps the options from seeing each other and positions continue from the context, so no token is computed twice.
`plain` feeds every option with its own copy of the context through the network's ordinary interface, many in a batch.
`single` does so one sequence at a time. Which one a network takes is found by `suite.score.transformers.path`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from suite.score.transformers.encode import Encoded
from suite.score.transformers.head import body, head_logits, log_probabilities
from suite.score.transformers.kept_start import SharedPrefix
from suite.score.transformers.tree_mask import Seen, tree_masks

if TYPE_CHECKING:
    import torch

_HEAD_ROWS = 128


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out; torch's CPU allocator has no exception type of its own."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def encode_prefix(network: Any, tokens: Sequence[int]) -> SharedPrefix:
    """Forward the shared tokens once (``tree`` architectures)."""
    import torch
    from transformers import DynamicCache

    with torch.inference_mode():
        # without a configuration the cache keeps every token, in window layers too: the masks here do the windows
        cache = DynamicCache()
        item = Encoded(tuple(tokens), ((0,),), (0,))
        _, seen = _tree_body(network, [item], cache=cache)
    layers: Any = cache.layers
    handed = {number: (id(layer.keys), id(layer.values)) for number, layer in enumerate(layers)}
    return SharedPrefix(
        tuple(tokens),
        tuple(layer.keys for layer in layers),
        tuple(layer.values for layer in layers),
        # in 16 bits the parts would be rounded before they are joined: other numbers
        joined=seen.handed == handed and network.get_input_embeddings().weight.dtype == torch.float32,
    )


def log_likelihoods(
    network: Any, items: Sequence[Encoded], *, backend: str, shared: SharedPrefix | None = None
) -> list[NDArray[np.float64]]:
    """Log-likelihood of each option given its context, in nats, summed over the option's tokens.

    Args:
        network: a transformers causal language model in evaluation mode.
        items: one batch; every item goes through the network together.
        backend: ``tree``, ``plain`` or ``single``.
        shared: tokens that every item's context starts with and goes on after, already forwarded (``tree`` only).

    Returns:
        For each item an array [options], higher is more likely. Sums are float64 over float32 log-probabilities. Under
        ``tree`` the logits that matter are float32 whatever the dtype of the body, because bfloat16 logits near 20 are
        0.125 apart.
    """
    import torch

    with torch.inference_mode():
        return _tree(network, items, shared) if backend == "tree" else _plain(network, items, backend)


def option_logits(
    network: Any, items: Sequence[Encoded], *, backend: str, shared: SharedPrefix | None = None
) -> list[NDArray[np.float64]]:
    """Logit of each option's single token after its context (letter read-out), float32 precision.

    Only the last position and the option rows of the head are computed under ``tree``.

    Args:
        items: one batch; every branch is one token long.

    Returns:
        For each item an array [options].
    """
    import torch

    with torch.inference_mode():
        if backend == "tree":
            return _tree_letters(network, items, shared)
        rows = [list(item.prefix) for item in items]
        picked = []
        for item, logits in zip(items, _plain_logits(network, rows, backend), strict=True):
            last = logits[-1].float()
            picked.append(last[[branch[0] for branch in item.branches]].double().cpu().numpy())
        return picked


def _plain(network: Any, items: Sequence[Encoded], backend: str) -> list[NDArray[np.float64]]:
    import torch

    rows = [list(item.prefix + branch[:-1]) for item in items for branch in item.branches]
    found = _plain_logits(network, rows, backend)
    scores: list[NDArray[np.float64]] = []
    for item in items:
        values = []
        for branch, unscored in zip(item.branches, item.unscored, strict=True):
            logits = next(found)[len(item.prefix) - 1 + unscored :]
            targets = torch.tensor(branch[unscored:], device=logits.device)
            # float32 log_softmax over a large vocabulary is off by 7e-6 a token, always upwards
            chosen = torch.log_softmax(logits.double(), -1).gather(1, targets[:, None])
            values.append(float(chosen.sum()))
        scores.append(np.array(values))
    return scores


def _plain_logits(network: Any, rows: list[list[int]], backend: str) -> Iterator[torch.Tensor]:
    """Logits [tokens, vocabulary] of each row; right-padded together under ``plain``, else each by itself."""
    import torch

    device = network.get_input_embeddings().weight.device
    if backend == "single":
        for row in rows:
            yield network(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0]
        return
    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    output = network(input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False)
    for row, logits in zip(rows, output.logits, strict=True):
        yield logits[: len(row)]


def _tree(network: Any, items: Sequence[Encoded], shared: SharedPrefix | None) -> list[NDArray[np.float64]]:
    import torch

    hidden, _ = _tree_body(network, items, shared)
    skipped = len(shared.tokens) if shared else 0
    # every predicted token: which (row, position) predicts it, its id, and which option it counts for
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    width, option = hidden.shape[1], 0
    for row, item in enumerate(items):
        context = len(item.prefix) - skipped
        offset = context
        for branch, unscored in zip(item.branches, item.unscored, strict=True):
            for index in range(unscored, len(branch)):
                position = context - 1 if index == 0 else offset + index - 1
                sources.append(row * width + position)
                targets.append(branch[index])
                owners.append(option)
            offset += len(branch) - 1
            option += 1
    # options start from the same last context position: each position goes through the head once
    positions, inverse = np.unique(np.array(sources), return_inverse=True)
    states = hidden.flatten(0, 1)[torch.from_numpy(positions).to(hidden.device)]
    wanted = torch.tensor(targets)
    logprobs = np.empty(len(targets))
    for begin in range(0, len(positions), _HEAD_ROWS):
        rows = np.flatnonzero((inverse >= begin) & (inverse < begin + _HEAD_ROWS))
        local = torch.from_numpy(inverse[rows] - begin)
        chosen = log_probabilities(network, states[begin : begin + _HEAD_ROWS], local, wanted[rows])
        logprobs[rows] = chosen.double().cpu().numpy()
    sums = np.bincount(np.array(owners), weights=logprobs, minlength=option)
    ends = np.cumsum([len(item.branches) for item in items])
    return np.split(sums, ends[:-1])


def _tree_letters(network: Any, items: Sequence[Encoded], shared: SharedPrefix | None) -> list[NDArray[np.float64]]:
    import torch

    hidden, _ = _tree_body(network, items, shared)
    skipped = len(shared.tokens) if shared else 0
    last = torch.tensor([len(item.prefix) - skipped - 1 for item in items], device=hidden.device)
    states = hidden[torch.arange(len(items), device=hidden.device), last]
    letters = sorted({branch[0] for item in items for branch in item.branches})
    column = {token: index for index, token in enumerate(letters)}
    logits = head_logits(network, states, torch.tensor(letters)).double().cpu().numpy()
    return [logits[row, [column[branch[0]] for branch in item.branches]] for row, item in enumerate(items)]


def _tree_body(
    network: Any, items: Sequence[Encoded], shared: SharedPrefix | None = None, cache: Any = None
) -> tuple[torch.Tensor, Seen]:
    """Final hidden states [items, longest tree, width] of contexts followed by all their options, and what was seen.

    With `shared`, the rows start after its tokens and look back at them. A `cache` collects keys and values.
    """
    import torch

    skipped = len(shared.tokens) if shared else 0
    width = max(item.forwarded for item in items) - skipped
    tokens = np.zeros((len(items), width), dtype=np.int64)
    positions = np.full((len(items), width), skipped, dtype=np.int64)
    # which branch a token is in: 0 context, 1.. options, -1 padding
    branch_of = np.full((len(items), width), -1, dtype=np.int64)
    for row, item in enumerate(items):
        length = len(item.prefix)
        context = length - skipped
        tokens[row, :context] = item.prefix[skipped:]
        positions[row, :context] = np.arange(skipped, length)
        branch_of[row, :context] = 0
        offset = context
        for index, branch in enumerate(item.branches, start=1):
            end = offset + len(branch) - 1
            tokens[row, offset:end] = branch[:-1]
            positions[row, offset:end] = np.arange(length, length + len(branch) - 1)
            branch_of[row, offset:end] = index
            offset = end
    device = network.get_input_embeddings().weight.device
    place = torch.from_numpy(positions).to(device)
    if shared:
        cache = shared.cache(len(items))
    kept = cache if shared and shared.joined else None
    with tree_masks(network, torch.from_numpy(branch_of).to(device), place, skipped, kept) as seen:
        output = body(network)(
            input_ids=torch.from_numpy(tokens).to(device),
            position_ids=place,
            # a mask of ones: without one, positions that do not rise by one are taken for several sequences in a row
            attention_mask=torch.ones(len(items), skipped + width, dtype=torch.long, device=device),
            past_key_values=cache,
            use_cache=cache is not None,
        )
    if not seen.masks:
        raise NotImplementedError("it makes its attention masks by itself")
    return output.last_hidden_state, seen
