"""Option scores from a network: the forward passes, and nothing else.

Two backends give the same numbers. `tree` feeds an item once, as context followed by all its options side by side; a
mask keeps the options from seeing each other and positions continue from the context, so no token is computed twice.
`plain` feeds every option with its own copy of the context through the network's ordinary interface; it serves every
architecture and is what `tree` is tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_HEAD_ROWS = 512


def pick_backend(network: Any) -> str:
    """``tree`` where the architecture takes a tree mask, else ``plain``."""
    known = network.config.model_type in TREE_ARCHITECTURES
    return "tree" if known and network.config._attn_implementation in ("sdpa", "eager") else "plain"


def item_length(item: Encoded, backend: str) -> int:
    """Tokens one item takes in a batch row: the whole tree, or its padded options together."""
    if backend == "tree":
        return item.forwarded
    return len(item.branches) * (len(item.prefix) + max(len(branch) for branch in item.branches))


def log_likelihoods(network: Any, items: Sequence[Encoded], *, backend: str) -> list[NDArray[np.float64]]:
    """Log-likelihood of each option given its context, in nats, summed over the option's tokens.

    Args:
        network: a transformers causal language model in evaluation mode.
        items: one batch; every item goes through the network together.
        backend: ``tree`` or ``plain``.

    Returns:
        For each item an array [options], higher is more likely. Sums are float64 over float32 log-probabilities; the
        output head runs in float32 whatever the dtype of the body, because bfloat16 logits near 20 are 0.125 apart.
    """
    import torch

    with torch.inference_mode():
        return _tree(network, items) if backend == "tree" else _plain(network, items)


def option_logits(network: Any, items: Sequence[Encoded], *, backend: str) -> list[NDArray[np.float64]]:
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
            return _tree_letters(network, items)
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
            chosen = torch.log_softmax(logits[row, positions].float(), -1).gather(1, targets[:, None])
            values.append(float(chosen.double().sum()))
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


def _tree(network: Any, items: Sequence[Encoded]) -> list[NDArray[np.float64]]:
    import torch

    hidden = _tree_body(network, items)
    # every predicted token: which (row, position) predicts it, its id, and which option it counts for
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    width, option = hidden.shape[1], 0
    for row, item in enumerate(items):
        offset = len(item.prefix)
        for branch, unscored in zip(item.branches, item.unscored, strict=True):
            for index in range(unscored, len(branch)):
                position = len(item.prefix) - 1 if index == 0 else offset + index - 1
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
        logits = _head(network, states[begin : begin + _HEAD_ROWS])
        normalizer = torch.logsumexp(logits, -1)
        local = torch.from_numpy(inverse[rows] - begin).to(logits.device)
        chosen = logits[local, wanted[rows].to(logits.device)] - normalizer[local]
        logprobs[rows] = chosen.double().cpu().numpy()
    sums = np.bincount(np.array(owners), weights=logprobs, minlength=option)
    ends = np.cumsum([len(item.branches) for item in items])
    return np.split(sums, ends[:-1])


def _tree_letters(network: Any, items: Sequence[Encoded]) -> list[NDArray[np.float64]]:
    import torch

    hidden = _tree_body(network, items)
    last = torch.tensor([len(item.prefix) - 1 for item in items], device=hidden.device)
    states = hidden[torch.arange(len(items), device=hidden.device), last]
    letters = sorted({branch[0] for item in items for branch in item.branches})
    column = {token: index for index, token in enumerate(letters)}
    logits = _head(network, states, torch.tensor(letters)).double().cpu().numpy()
    return [logits[row, [column[branch[0]] for branch in item.branches]] for row, item in enumerate(items)]


def _head(network: Any, states: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Logits in float32 from final hidden states [n, width]; `rows` picks vocabulary entries."""
    import torch

    head = network.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if rows is not None:
        rows = rows.to(weight.device)
        weight, bias = weight[rows], None if bias is None else bias[rows]
    logits = torch.nn.functional.linear(
        states.to(weight.device).float(), weight.float(), None if bias is None else bias.float()
    )
    cap = getattr(network.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


def _tree_body(network: Any, items: Sequence[Encoded]) -> torch.Tensor:
    """Final hidden states [items, longest tree, width] of contexts followed by all their options."""
    import torch

    embeddings = network.get_input_embeddings().weight
    width = max(item.forwarded for item in items)
    tokens = np.zeros((len(items), width), dtype=np.int64)
    positions = np.zeros((len(items), width), dtype=np.int64)
    # which branch a token is in: 0 context, 1.. options, -1 padding
    branch_of = np.full((len(items), width), -1, dtype=np.int64)
    for row, item in enumerate(items):
        length = len(item.prefix)
        tokens[row, :length] = item.prefix
        positions[row, :length] = np.arange(length)
        branch_of[row, :length] = 0
        offset = length
        for index, branch in enumerate(item.branches, start=1):
            end = offset + len(branch) - 1
            tokens[row, offset:end] = branch[:-1]
            positions[row, offset:end] = np.arange(length, length + len(branch) - 1)
            branch_of[row, offset:end] = index
            offset = end
    device = embeddings.device
    place = torch.from_numpy(positions).to(device)
    output = network.base_model(
        input_ids=torch.from_numpy(tokens).to(device),
        position_ids=place,
        attention_mask=_masks(network, torch.from_numpy(branch_of).to(device), place),
        use_cache=False,
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def _masks(network: Any, branch_of: torch.Tensor, positions: torch.Tensor) -> Any:
    """Attention masks [items, 1, queries, keys] in the form the architecture takes.

    sdpa reads booleans, True for "may look"; eager attention adds the mask, so there it is 0 or the lowest number.
    """
    import torch

    config = network.config.get_text_config()
    width = branch_of.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=branch_of.device).tril()
    key, query = branch_of[:, None, :], branch_of[:, :, None]
    # padding looks at itself alone: a row without any key would be NaN
    own = torch.eye(width, dtype=torch.bool, device=branch_of.device)
    full = (causal & ((key == 0) | (key == query)) & (query >= 0) & (key >= 0)) | own
    kind = TREE_ARCHITECTURES[network.config.model_type]
    window = getattr(config, "sliding_window", None)
    if kind == "full" or (kind == "window" and window is None):
        return _readable(network, full)
    # distance counts in shared positions: an option's neighbours in the row are not its neighbours in the text
    near = full if window is None else full & ((positions[:, :, None] - positions[:, None, :]) < window)
    if kind == "window":
        return _readable(network, near)
    return {"full_attention": _readable(network, full), "sliding_attention": _readable(network, near)}


def _readable(network: Any, allowed: torch.Tensor) -> torch.Tensor:
    import torch

    if network.config._attn_implementation == "sdpa":
        return allowed[:, None]
    dtype = network.get_input_embeddings().weight.dtype
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
