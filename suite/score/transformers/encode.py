"""From a text to the tokens that a model sees: the context that options share, and each option behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from suite.errors import SuiteError
from suite.score.prompt import Rendered

_CHUNK = 4096


@dataclass(frozen=True)
class Encoded:
    """One item as tokens, shared ones apart.

    Attributes:
        prefix: tokens that every option's sequence starts with, BOS included, at least one.
        branches: for each option the tokens after the prefix, at least one.
        unscored: for each option how many leading branch tokens still belong to the context. Zero unless a tokenizer
            merges characters across the border for some option only.
        truncated: tokens cut from the left of the context because the model's window is too short.
    """

    prefix: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    unscored: tuple[int, ...]
    truncated: int = 0

    @property
    def forwarded(self) -> int:
        """Tokens that must pass through the model once: all but the last of each option, which is only predicted."""
        return len(self.prefix) + sum(len(branch) - 1 for branch in self.branches)


def encode(
    tokenizer: Any, rendered: Sequence[Rendered], *, bos: int | None, max_length: int, single_token: bool = False
) -> list[Encoded]:
    """Tokenize items.

    The text of an option is tokenized together with its context, so that its tokens are the ones a model has seen in
    running text, and the option's own tokens are those after the longest start shared with the context tokenized alone.

    Args:
        bos: id put in front of every sequence, None for none.
        max_length: the model's window; longer contexts lose tokens on the left (BOS stays).
        single_token: options must be one token each (letter read-out).

    Raises:
        SuiteError: an option longer than the window, or a letter of more than one token.
    """
    start = [] if bos is None else [bos]
    encoded: list[Encoded] = []
    for begin in range(0, len(rendered), _CHUNK):
        chunk = rendered[begin : begin + _CHUNK]
        contexts = tokenizer([item.context for item in chunk], add_special_tokens=False).input_ids
        texts = [item.context + continuation for item in chunk for continuation in item.continuations]
        wholes = iter(tokenizer(texts, add_special_tokens=False).input_ids)
        for item, context in zip(chunk, contexts, strict=True):
            options = [next(wholes) for _ in item.continuations]
            encoded.append(_split(tokenizer, start, context, options, max_length))
    if single_token:
        for item, tokens in zip(rendered, encoded, strict=True):
            _assert_letters(tokenizer, item, tokens)
    return encoded


def _split(tokenizer: Any, start: list[int], context: list[int], wholes: list[list[int]], max_length: int) -> Encoded:
    # an option is never left without a token of its own
    borders = [min(_shared(context, whole), len(whole) - 1) for whole in wholes]
    shared = min(borders)
    prefix = start + context[:shared]
    if not prefix:
        filler = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if filler is None:
            raise SuiteError(
                "an item has an empty context and the tokenizer has neither BOS nor EOS to stand in for it"
            )
        prefix = [int(filler)]
    branches = [tuple(whole[shared:]) for whole in wholes]
    # the last token of an option is predicted, never fed
    excess = len(prefix) + max(len(branch) for branch in branches) - 1 - max_length
    if excess > 0:
        if excess >= len(prefix) - len(start):
            raise SuiteError(
                f"an option of {max(map(len, branches))} tokens does not fit the model's window of {max_length}"
            )
        prefix = start + prefix[len(start) + excess :]
    unscored = tuple(border - shared for border in borders)
    return Encoded(tuple(prefix), tuple(branches), unscored, max(excess, 0))


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count


def _assert_letters(tokenizer: Any, item: Rendered, tokens: Encoded) -> None:
    for continuation, branch in zip(item.continuations, tokens.branches, strict=True):
        if len(branch) != 1:
            pieces = tokenizer.convert_ids_to_tokens(list(branch))
            raise SuiteError(
                f"letter read-out: this tokenizer splits {continuation!r} into {pieces}; use a cloze scoring"
            )
    if len({branch[0] for branch in tokens.branches}) != len(tokens.branches):
        raise SuiteError("letter read-out: two letters are the same token for this tokenizer; use a cloze scoring")
