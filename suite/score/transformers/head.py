"""From final hidden states to logits: a network's own output head, in float32 where it matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch

# bfloat16 logits near 20 are 0.125 apart: of each row this many of the largest are computed in float32
_EXACT_LOGITS = 16
# rows whose sums are taken together: their float32 copies stay in a core's cache
_IN_CACHE = 8
_PROBED = 4
_SCALES: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


def body(network: Any) -> Any:
    """All of a network but its output head: what gives final hidden states."""
    base = network.base_model
    # Llama 4 looks for its own under another name
    return network.model if base is network and hasattr(network, "model") else base


def log_probabilities(network: Any, states: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability, float32, of each token after the final hidden state in its row.

    In float32 models the whole head is float32. In 16-bit models its matrix product is 16-bit and only the sum is taken
    from it: the wanted logits and each row's largest ones, which carry the sum, are computed again in float32.
    """
    import torch

    weight = network.get_output_embeddings().weight
    rows, tokens = rows.to(weight.device), tokens.to(weight.device)
    if torch.float32 in (weight.dtype, states.dtype):
        logits = head_logits(network, states)
        sums = torch.cat([part.logsumexp(-1) for part in torch.split(logits, _IN_CACHE)])
        return logits[rows, tokens] - sums[rows]
    coarse = head_logits(network, states, exact=False)
    largest = torch.topk(coarse, min(_EXACT_LOGITS, coarse.shape[1]), dim=-1, sorted=False).indices
    exact = _entries(network, states, largest)
    parts = [slice(begin, begin + _IN_CACHE) for begin in range(0, len(coarse), _IN_CACHE)]
    sums = torch.cat([coarse[part].float().scatter_(1, largest[part], exact[part]).logsumexp(-1) for part in parts])
    wanted = _entries(network, states[rows], tokens[:, None])[:, 0]
    return wanted - sums[rows]


def head_logits(
    network: Any, states: torch.Tensor, picked: torch.Tensor | None = None, *, exact: bool = True
) -> torch.Tensor:
    """Logits [n, vocabulary] from final hidden states [n, width]; `picked` takes some vocabulary entries alone.

    In float32 when `exact`, else in the network's own dtype.
    """
    return _finished(network, _product(network, states, picked, exact=exact))


def _product(network: Any, states: torch.Tensor, picked: torch.Tensor | None = None, *, exact: bool) -> torch.Tensor:
    import torch

    head = network.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if picked is not None:
        picked = picked.to(weight.device)
        weight, bias = weight[picked], None if bias is None else bias[picked]
    states = states.to(weight.device)
    if exact:
        states, weight, bias = states.float(), weight.float(), None if bias is None else bias.float()
    return torch.nn.functional.linear(states, weight, bias)


def _entries(network: Any, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits in float32 of some tokens a row: states [n, width], tokens [n, k], result [n, k]."""
    import torch

    head = network.get_output_embeddings()
    bias = getattr(head, "bias", None)
    states = states.to(head.weight.device).float()
    logits = torch.bmm(head.weight[tokens].float(), states[:, :, None])[:, :, 0]
    return _finished(network, logits if bias is None else logits + bias[tokens].float())


def _finished(network: Any, logits: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    """What a network does to its head's product: a constant factor (Cohere, Granite), a soft cap (Gemma 2)."""
    import torch

    scale = logit_scale(network) if scale is None else scale
    if scale != 1.0:
        logits = logits * scale
    cap = getattr(network.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


def logit_scale(network: Any) -> float:
    """The constant that a network multiplies its head's product by, 1 for most.

    Configurations name such a constant (``logit_scale``, ``logits_scaling``, ``lm_head_multiplier``) but not whether it
    multiplies or divides, and some name one that is not used. So the network is asked: a few tokens go through it, and
    of 1, the constants and their inverses that one is taken which gives its logits.
    """
    if network not in _SCALES:
        candidates = [1.0, *_constants(network.config.get_text_config())]
        _SCALES[network] = candidates[0] if len(candidates) == 1 else _best_scale(network, candidates)
    return _SCALES[network]


def _constants(config: Any) -> Iterator[float]:
    for name, value in sorted(vars(config).items()):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and value > 0 and ("logit" in name or "lm_head" in name) and "cap" not in name:
            yield from (float(value), 1 / value)


def _best_scale(network: Any, candidates: list[float]) -> float:
    import torch

    embeddings = network.get_input_embeddings().weight
    first = embeddings.shape[0] // 4
    tokens = torch.arange(first, first + _PROBED, device=embeddings.device)[None]
    with torch.inference_mode():
        hidden = body(network)(input_ids=tokens, use_cache=False).last_hidden_state[0]
        wanted = network(input_ids=tokens, use_cache=False).logits[0].float()
        product = _product(network, hidden, exact=True)
        width = min(product.shape[1], wanted.shape[1])
        off = [(_finished(network, product, scale) - wanted)[:, :width].abs().max() for scale in candidates]
    return candidates[int(torch.stack(off).argmin())]
