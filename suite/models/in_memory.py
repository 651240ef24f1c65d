"""A network that somebody holds in memory, as a model that can be measured and scored."""

from __future__ import annotations

import hashlib
from typing import Any

from suite.models.checkpoint import Checkpoint, bos_of, count_parameters
from suite.models.text_decoder import left_note, text_decoder


def checkpoint_of(network: Any, tokenizer: Any, name: str) -> Checkpoint:
    """A transformers causal language model with its tokenizer, under a name that results call it by.

    The network is left as it is; of one that sees and hears too, the part that writes text is taken.
    """
    network, beside, more = text_decoder(network, own=False)
    dtype = str(network.get_input_embeddings().weight.dtype).removeprefix("torch.")
    info = {
        "name": name,
        "id": name,
        "source": "memory",
        "revision": None,
        "weights_hash": _hash(network),
        "params": count_parameters(network),
        "architecture": network.config.model_type,
        "parent_quantization": None,
    }
    if beside:
        info["notes"] = [left_note(beside, more)]
    return Checkpoint(network, tokenizer, bos_of(tokenizer, {}), dtype, info)


def _hash(network: Any) -> str:
    """SHA-256 over names and bytes of every parameter, in order of names."""
    import torch

    digest = hashlib.sha256()
    for key, parameter in sorted(network.named_parameters()):
        digest.update(key.encode() + b"\0")
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + digest.hexdigest()
