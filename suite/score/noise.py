"""Small changes to a question that leave its meaning: slips of the keyboard, of the shift key, of the space bar.

Each draw follows from the item's id, the kind and the seed alone, so every model and variant meets the same noise, and
an item is paired with its original by its id. Options are left as they are: they are what is scored.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import replace

from suite.task import Question

TYPO_RATE = 0.1
CASE_RATE = 0.2
SPACE_RATE = 0.1

_WORD = re.compile(r"[A-Za-z]{4,}")
_ANY_WORD = re.compile(r"[A-Za-z]+")
_SPACE = re.compile(r"(?<=\S) (?=\S)")


def perturb(item: Question, noise: str, seed: int = 0) -> Question:
    """The item with noise in its question and context.

    Args:
        noise: ``typos`` (each word of four or more letters is hit with probability 0.1: two inner neighbours change
            places, one inner letter is lost, or one is doubled), ``case`` (each word with probability 0.2 becomes
            capitals, small letters, or has the case of its first letter changed) or ``spaces`` (each single space with
            probability 0.1 is doubled, lost, or becomes a line break). A text that no draw hits is hit once.

    >>> perturb(Question("7", "Which of these is a metal?", ("iron", "light"), 0), "spaces").choices
    ('iron', 'light')
    """
    pattern, change, rate = _NOISES[noise]
    question, context = (
        _hit(text, pattern, change, rate, _generator(item.id, noise, seed, part))
        for part, text in (("question", item.question), ("context", item.context))
    )
    return replace(item, question=question, context=context)


def _generator(identifier: str, noise: str, seed: int, part: str) -> random.Random:
    return random.Random(hashlib.sha256("\0".join((noise, str(seed), part, identifier)).encode()).digest())


def _hit(
    text: str, pattern: re.Pattern[str], change: Callable[[str, random.Random], str], rate: float, draw: random.Random
) -> str:
    matches = list(pattern.finditer(text))
    hit = [match for match in matches if draw.random() < rate] or ([draw.choice(matches)] if matches else [])
    parts, end = [], 0
    for match in hit:
        parts += [text[end : match.start()], change(match.group(), draw)]
        end = match.end()
    return "".join([*parts, text[end:]])


def _typo(word: str, draw: random.Random) -> str:
    place = draw.randrange(1, len(word) - 2)
    kind = draw.choice(("swap", "lose", "double"))
    if kind == "swap" and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "lose":
        return word[:place] + word[place + 1 :]
    return word[: place + 1] + word[place:]


def _case(word: str, draw: random.Random) -> str:
    others = sorted({word.upper(), word.lower(), word[0].swapcase() + word[1:]} - {word})
    return draw.choice(others)


def _space(space: str, draw: random.Random) -> str:
    return draw.choice(("  ", "", "\n"))


_NOISES: dict[str, tuple[re.Pattern[str], Callable[[str, random.Random], str], float]] = {
    "typos": (_WORD, _typo, TYPO_RATE),
    "case": (_ANY_WORD, _case, CASE_RATE),
    "spaces": (_SPACE, _space, SPACE_RATE),
}
