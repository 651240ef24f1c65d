"""What scoring a sheet will put through a network, before there is a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from suite.score.sheet import Sheet
from suite.score.transformers.encode import Encoded
from suite.score.transformers.network import CPU_TOKEN_BUDGET
from suite.score.transformers.pack import forwarded_tokens, plan_batches

CHARACTERS = 4
"""Characters a token, of English text under the tokenizers of these models."""


@dataclass(frozen=True)
class Workload:
    """What a task puts through a model: tokens, and positions whose next token is read.

    `apart` are tokens where every option gets its own copy of the context.
    """

    tokens: int
    read: int
    apart: int


def workload(sheet: Sheet) -> Workload:
    """What scoring a sheet takes, by the engine's own batches, with runs of characters in the place of tokens."""
    ids: dict[str, int] = {}

    def tokens(text: str) -> tuple[int, ...]:
        pieces = (text[begin : begin + CHARACTERS] for begin in range(0, len(text), CHARACTERS))
        return tuple(ids.setdefault(piece, len(ids)) for piece in pieces)

    items = []
    letter = sheet.scoring == "letter"
    for text in sheet.rendered:
        branches = tuple((0,) if letter else tokens(option) for option in text.continuations)
        room = (sheet.task.window or 1 << 30) - max(map(len, branches))
        items.append(Encoded((tokens(text.context) or (0,))[-room:], branches, (0,) * len(branches)))
    tree, apart = (
        forwarded_tokens(items, plan_batches(items, backend=way, budget=CPU_TOKEN_BUDGET), backend=way, letters=letter)
        for way in ("tree", "plain")
    )
    read = len(items) if letter else sum(len(branch) for item in items for branch in item.branches)
    return Workload(tree, read, apart)
