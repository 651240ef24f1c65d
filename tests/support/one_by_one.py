"""Log-likelihoods from one plain forward pass a sequence."""

from __future__ import annotations

from typing import Any

import torch

from suite.score.transformers.encode import Encoded


def one_by_one(model: Any, item: Encoded) -> list[float]:
    """Sum of log-probabilities of each option's own tokens, each option forwarded alone, without padding or masks."""
    sums = []
    for branch, unscored in zip(item.branches, item.unscored, strict=True):
        tokens = [*item.prefix, *branch]
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].double().log_softmax(-1)
        first = len(item.prefix) + unscored
        sums.append(sum(float(logprobs[index - 1, tokens[index]]) for index in range(first, len(tokens))))
    return sums
