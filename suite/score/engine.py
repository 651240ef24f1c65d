"""Option scores from a network: the forward passes, and nothing else.

Two backends give the same numbers. `tree` feeds an item once, as context followed by all its options side by side; a
mask keeps the options from seeing each other and positions continue from the context, so no token is computed twice.
`plain` feeds every option with its own copy of the context through the network's ordinary interface; it serves every
architecture and is what `tree` is tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from suite.score.prompt import Encoded

if TYPE_CHECKING:
    import torch

# How an architecture takes a ready-made mask: one for all layers, the same with a window, or one for each layer type.
TREE_ARCHITECTURES = {
    "llama": "full",
    "gemma": "full",
    "mistral": "window",
    "qwen2": "by layer type",
    "qwen3": "by layer type",
    "gemma2": "by layer type",
    "gemma3_text": "by layer type",
}
_HEAD_ROWS = 128
_EXACT_LOGITS = 16


def pick_backend(network: Any) -> str:
    """``tree`` where the architecture takes a tree mask, else ``plain``."""
    known = network.config.model_type in TREE_ARCHITECTURES
    return "tree" if known and network.config._attn_implementation in ("sdpa", "eager") else "plain"


@dataclass(frozen=True)
class SharedPrefix:
    """Context tokens that many items start with, forwarded once: an instruction, worked examples.

    Attributes:
        tokens: the shared tokens.
        keys, values: what each layer keeps of them, [1, key-value heads, tokens, head width].
    """

    tokens: tuple[int, ...]
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]


def encode_prefix(network: Any, tokens: Sequence[int]) -> SharedPrefix:
    """Forward the shared tokens once (``tree`` architectures)."""
    import torch
    from transformers import DynamicCache

    with torch.inference_mode():
        # without a configuration the cache keeps every token, in window layers too: the masks here do the windows
        cache = DynamicCache()
        item = Encoded(tuple(tokens), ((0,),), (0,))
        _tree_body(network, [item], cache=cache)
    layers: Any = cache.layers
    return SharedPrefix(tuple(tokens), tuple(layer.keys for layer in layers), tuple(layer.values for layer in layers))


def log_likelihoods(
    network: Any, items: Sequence[Encoded], *, backend: str, shared: SharedPrefix | None = None
) -> list[NDArray[np.float64]]:
    """Log-likelihood of each option given its context, in nats, summed over the option's tokens.

    Args:
        network: a transformers causal language model in evaluation mode.
        items: one batch; every item goes through the network together.
        backend: ``tree`` or ``plain``.
        shared: tokens that every item's context starts with and goes on after, already forwarded (``tree`` only).

    Returns:
        For each item an array [options], higher is more likely. Sums are float64 over float32 log-probabilities. Under
        ``tree`` the logits that matter are float32 whatever the dtype of the body, because bfloat16 logits near 20 are
        0.125 apart.
    """
    import torch

    with torch.inference_mode():
        return _tree(network, items, shared) if backend == "tree" else _plain(network, items)


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
        logits = _plain_logits(network, rows)
        picked = []
        for row, item in enumerate(items):
            last = logits[row, len(item.prefix) - 1].float()
            picked.append(last[[branch[0] for branch in item.branches]].double().cpu().numpy())
        return picked


def _plain(network: Any, items: Sequence[Encoded]) -> list[NDArray[np.float64]]:
    import torch

    rows = [list(item.prefix + branch[:-1]) for item in items for branch in item.branches]
    logits = _plain_logits(network, rows)
    scores: list[NDArray[np.float64]] = []
    row = 0
    for item in items:
        values = []
        for branch, unscored in zip(item.branches, item.unscored, strict=True):
            first = len(item.prefix) - 1 + unscored
            positions = slice(first, first + len(branch) - unscored)
            targets = torch.tensor(branch[unscored:], device=logits.device)
            # float32 log_softmax over a large vocabulary is off by 7e-6 a token, always upwards
            chosen = torch.log_softmax(logits[row, positions].double(), -1).gather(1, targets[:, None])
            values.append(float(chosen.sum()))
            row += 1
        scores.append(np.array(values))
    return scores


def _plain_logits(network: Any, rows: list[list[int]]) -> torch.Tensor:
    """Logits [rows, longest, vocabulary] of right-padded rows; padding never reaches a real position."""
    import torch

    device = network.get_input_embeddings().weight.device
    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    output = network(input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False)
    logits: torch.Tensor = output.logits
    return logits


def _tree(network: Any, items: Sequence[Encoded], shared: SharedPrefix | None) -> list[NDArray[np.float64]]:
    import torch

    hidden = _tree_body(network, items, shared)
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
        chosen = _log_probabilities(network, states[begin : begin + _HEAD_ROWS], local, wanted[rows])
        logprobs[rows] = chosen.double().cpu().numpy()
    sums = np.bincount(np.array(owners), weights=logprobs, minlength=option)
    ends = np.cumsum([len(item.branches) for item in items])
    return np.split(sums, ends[:-1])


def _tree_letters(network: Any, items: Sequence[Encoded], shared: SharedPrefix | None) -> list[NDArray[np.float64]]:
    import torch

    hidden = _tree_body(network, items, shared)
    skipped = len(shared.tokens) if shared else 0
    last = torch.tensor([len(item.prefix) - skipped - 1 for item in items], device=hidden.device)
    states = hidden[torch.arange(len(items), device=hidden.device), last]
    letters = sorted({branch[0] for item in items for branch in item.branches})
    column = {token: index for index, token in enumerate(letters)}
    logits = _head(network, states, torch.tensor(letters)).double().cpu().numpy()
    return [logits[row, [column[branch[0]] for branch in item.branches]] for row, item in enumerate(items)]


def _log_probabilities(network: Any, states: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability, float32, of each token after the final hidden state in its row.

    In float32 models the whole head is float32. In 16-bit models its matrix product is 16-bit and only the sum is taken
    from it: the wanted logits and each row's largest ones, which carry the sum, are computed again in float32.
    """
    import torch

    weight = network.get_output_embeddings().weight
    rows, tokens = rows.to(weight.device), tokens.to(weight.device)
    if torch.float32 in (weight.dtype, states.dtype):
        logits = _head(network, states)
        return logits[rows, tokens] - torch.logsumexp(logits, -1)[rows]
    coarse = _head(network, states, exact=False)
    largest = torch.topk(coarse, min(_EXACT_LOGITS, coarse.shape[1]), dim=-1, sorted=False).indices
    fine = coarse.float()
    fine.scatter_(1, largest, _head_entries(network, states, largest))
    wanted = _head_entries(network, states[rows], tokens[:, None])[:, 0]
    return wanted - torch.logsumexp(fine, -1)[rows]


def _head(
    network: Any, states: torch.Tensor, picked: torch.Tensor | None = None, *, exact: bool = True
) -> torch.Tensor:
    """Logits [n, vocabulary] from final hidden states [n, width]; `picked` takes some vocabulary entries alone.

    In float32 when `exact`, else in the network's own dtype.
    """
    import torch

    head = network.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if picked is not None:
        picked = picked.to(weight.device)
        weight, bias = weight[picked], None if bias is None else bias[picked]
    states = states.to(weight.device)
    if exact:
        states, weight, bias = states.float(), weight.float(), None if bias is None else bias.float()
    return _capped(network, torch.nn.functional.linear(states, weight, bias))


def _head_entries(network: Any, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits in float32 of some tokens a row: states [n, width], tokens [n, k], result [n, k]."""
    import torch

    head = network.get_output_embeddings()
    bias = getattr(head, "bias", None)
    states = states.to(head.weight.device).float()
    logits = torch.bmm(head.weight[tokens].float(), states[:, :, None])[:, :, 0]
    return _capped(network, logits if bias is None else logits + bias[tokens].float())


def _capped(network: Any, logits: torch.Tensor) -> torch.Tensor:
    import torch

    cap = getattr(network.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


def _tree_body(
    network: Any, items: Sequence[Encoded], shared: SharedPrefix | None = None, cache: Any = None
) -> torch.Tensor:
    """Final hidden states [items, longest tree, width] of contexts followed by all their options.

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
    output = network.base_model(
        input_ids=torch.from_numpy(tokens).to(device),
        position_ids=place,
        attention_mask=_masks(network, torch.from_numpy(branch_of).to(device), place, skipped),
        past_key_values=_expanded(shared, len(items)) if shared else cache,
        use_cache=shared is not None or cache is not None,
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def _expanded(shared: SharedPrefix, rows: int) -> Any:
    """A cache whose every row holds the shared tokens; the layers append their own to a copy."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer, (key, value) in enumerate(zip(shared.keys, shared.values, strict=True)):
        cache.update(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1), layer)
    return cache


def _masks(network: Any, branch_of: torch.Tensor, positions: torch.Tensor, skipped: int) -> Any:
    """Attention masks [items, 1, queries, skipped + keys] in the form the architecture takes.

    sdpa reads booleans, True for "may look"; eager attention adds the mask, so there it is 0 or the lowest number.
    """
    import torch

    config = network.config.get_text_config()
    rows, width = branch_of.shape
    causal = torch.ones(width, width, dtype=torch.bool, device=branch_of.device).tril()
    key, query = branch_of[:, None, :], branch_of[:, :, None]
    # padding looks at itself alone: a row without any key would be NaN
    own = torch.eye(width, dtype=torch.bool, device=branch_of.device)
    full = (causal & ((key == 0) | (key == query)) & (query >= 0) & (key >= 0)) | own
    full = torch.cat([(query >= 0).expand(rows, width, skipped), full], dim=2)
    kind = TREE_ARCHITECTURES[network.config.model_type]
    window = getattr(config, "sliding_window", None)
    if kind == "full" or (kind == "window" and window is None):
        return _readable(network, full)
    # distance counts in shared positions: an option's neighbours in the row are not its neighbours in the text
    before = torch.arange(skipped, device=positions.device).expand(rows, skipped)
    distance = positions[:, :, None] - torch.cat([before, positions], dim=1)[:, None, :]
    near = full if window is None else full & (distance < window)
    if kind == "window":
        return _readable(network, near)
    return {"full_attention": _readable(network, full), "sliding_attention": _readable(network, near)}


def _readable(network: Any, allowed: torch.Tensor) -> torch.Tensor:
    import torch

    if network.config._attn_implementation == "sdpa":
        return allowed[:, None]
    dtype = network.get_input_embeddings().weight.dtype
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
