"""What a prompt's name says: a style, and what is done to it before a model sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from suite.errors import SuiteError

NOISES = ("typos", "case", "spaces")
GRAMMAR = "STYLE[+chat][+rotK | +rotations][+typos[SEED] | +case[SEED] | +spaces[SEED]]"

_STYLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROTATION = re.compile(r"rot([1-9][0-9]?)")
_NOISE = re.compile(rf"({'|'.join(NOISES)})(0|[1-9][0-9]{{0,8}})?")


@dataclass(frozen=True)
class PromptName:
    """A prompt's name, taken apart. The name is part of a curve's key, so cells asked differently never mix.

    Attributes:
        style: the template, one of the task's own or of the general ones.
        chat: the text is wrapped in the model's chat template; otherwise it is given raw.
        rotation: lettered options are shown starting with this one (0: as the task has them).
        every_rotation: every rotation is asked and the letters' logits are averaged.
        noise: ``typos``, ``case``, ``spaces``, or "" for none.
        seed: of the noise.
    """

    style: str
    chat: bool = False
    rotation: int = 0
    every_rotation: bool = False
    noise: str = ""
    seed: int = 0

    @property
    def perturbation(self) -> str:
        """What sets this prompt apart from one with the same style: ``rot2``, ``typos``, ``rot1+case3``, or ""."""
        return str(self).removeprefix(self.original)[1:]

    @property
    def original(self) -> str:
        """The name without a single rotation and without noise: the prompt that perturbed items are paired with."""
        return str(PromptName(self.style, self.chat, 0, self.every_rotation))

    def __str__(self) -> str:
        parts = [self.style]
        if self.chat:
            parts.append("chat")
        if self.every_rotation:
            parts.append("rotations")
        if self.rotation:
            parts.append(f"rot{self.rotation}")
        if self.noise:
            parts.append(self.noise + (str(self.seed) if self.seed else ""))
        return "+".join(parts)


def original_of(name: str) -> str | None:
    """The prompt that a perturbed one is paired with; None for one that is not perturbed, or was named elsewhere.

    >>> original_of("base+chat+typos"), original_of("base+chat"), original_of("my prompt")
    ('base+chat', None, None)
    """
    try:
        prompt = parse_prompt(name)
    except SuiteError:  # scores made elsewhere call their prompts what they like
        return None
    return prompt.original if prompt.perturbation else None


def parse_prompt(name: str) -> PromptName:
    """Take a prompt's name apart.

    Raises:
        SuiteError: a part that means nothing, or one given twice.

    >>> parse_prompt("task+chat+rotations")
    PromptName(style='task', chat=True, rotation=0, every_rotation=True, noise='', seed=0)
    >>> parse_prompt("base+rot2+typos7").perturbation
    'rot2+typos7'
    """
    style, *parts = name.split("+")
    if not _STYLE.fullmatch(style):
        raise SuiteError(f"prompt {name!r}: a prompt's name is {GRAMMAR}")
    chat, every, rotation, noise, seed = False, False, 0, "", 0
    for part in parts:
        if part == "chat" and not chat:
            chat = True
        elif part == "rotations" and not every and not rotation:
            every = True
        elif (match := _ROTATION.fullmatch(part)) and not every and not rotation:
            rotation = int(match[1])
        elif (match := _NOISE.fullmatch(part)) and not noise:
            noise, seed = match[1], int(match[2] or 0)
        else:
            raise SuiteError(f"prompt {name!r}: {part!r} is unknown or does not fit here; a prompt's name is {GRAMMAR}")
    return PromptName(style, chat, rotation, every, noise, seed)
