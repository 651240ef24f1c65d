"""From a question to the text and the tokens that the model sees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.errors import SuiteError, unknown_name
from suite.prompt_name import PromptName
from suite.task import SCORINGS, LetterStyle, Question, Task

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DEMONSTRATION_GAP = "\n\n"
_ENCODE_CHUNK = 4096


@dataclass(frozen=True)
class Rendered:
    """One item as text: what comes before the answer, and each option as a continuation of it."""

    context: str
    continuations: tuple[str, ...]


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


def check_style(task: Task, scoring: str, prompt: PromptName) -> None:
    """Raise one line for an unknown scoring, a style that the task does not have, or a rotation without letters."""
    if scoring not in SCORINGS:
        raise unknown_name("scoring", scoring, SCORINGS)
    styles: Mapping[str, object] = task.letter_styles if scoring == "letter" else task.cloze_styles
    if prompt.style not in styles:
        raise unknown_name(f"{scoring.partition('-')[0]} prompt of task {task.name}", prompt.style, styles)
    if scoring != "letter" and (prompt.rotation or prompt.every_rotation):
        raise SuiteError(f"prompt '{prompt}': a cloze text shows no options, so none are rotated; use --scoring letter")


def render(
    task: Task,
    item: Question,
    *,
    scoring: str,
    prompt: str = "base",
    demonstrations: Sequence[Question] = (),
    rotation: int = 0,
) -> Rendered:
    """The text of one item, before any chat template.

    Cloze: the task's own template, continued by a space and the option's text. Letter: an instruction, the question,
    the lettered options and ``Answer:``, continued by a space and the letter. Demonstrations stand before the item in
    the same form with their right answer.

    Args:
        prompt: the style.
        rotation: by how many places the lettered options move up, the first ones to the end. Continuations stay in the
            task's order of options, each with the letter it is shown under, so scores of all rotations can be compared.
    """
    if scoring == "letter":
        return _letters(task, item, task.letter_styles[prompt], demonstrations, rotation)
    template = task.cloze_styles[prompt]
    blocks = [_cloze(template, demo) + " " + demo.choices[demo.answer] for demo in demonstrations]
    context = DEMONSTRATION_GAP.join([*blocks, _cloze(template, item)])
    return Rendered(context, tuple(" " + choice for choice in item.choices))


def rotations(task: Task, item: Question) -> int:
    """How many different rotations the item's options have."""
    return max(len(item.choices) - task.pinned_options, 1)


def _letters(
    task: Task, item: Question, style: LetterStyle, demonstrations: Sequence[Question], rotation: int
) -> Rendered:
    about = f" about {item.subject.replace('_', ' ')}" if item.subject else ""
    instruction = style.examples_instruction if demonstrations else style.instruction
    examples = [
        _lettered(style, demo, range(len(demo.choices))) + f" {LETTERS[demo.answer]}" + style.gap
        for demo in demonstrations
    ]
    moving = rotations(task, item)
    shown = [(place + rotation) % moving for place in range(moving)] + list(range(moving, len(item.choices)))
    context = "".join(
        [
            instruction.replace("{about}", about),
            *examples,
            style.closing if demonstrations else "",
            _lettered(style, item, shown),
        ]
    )
    return Rendered(context, tuple(f" {LETTERS[shown.index(option)]}" for option in range(len(item.choices))))


def _lettered(style: LetterStyle, item: Question, shown: Sequence[int]) -> str:
    options = "".join(f"{LETTERS[place]}. {item.choices[option]}\n" for place, option in enumerate(shown))
    stem = "\n".join(part for part in (item.context, item.question) if part)
    return style.block.format(stem=stem, context=item.context, question=item.question, options=options)


def _cloze(template: str, item: Question) -> str:
    return template.format(context=item.context, question=item.question).lstrip()


def prompt_hash(rendered: Sequence[Rendered]) -> str:
    """SHA-256 over the exact text of every item of a cell, in order."""
    digest = hashlib.sha256()
    for item in rendered:
        for text in (item.context, *item.continuations):
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
    return "sha256:" + digest.hexdigest()


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
    for begin in range(0, len(rendered), _ENCODE_CHUNK):
        chunk = rendered[begin : begin + _ENCODE_CHUNK]
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
