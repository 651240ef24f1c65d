"""From a question to the text that a model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suite.errors import SuiteError, unknown_name
from suite.prompt_name import PromptName
from suite.task import SCORINGS, LetterStyle, Question, Task

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DEMONSTRATION_GAP = "\n\n"


@dataclass(frozen=True)
class Rendered:
    """One item as text: what comes before the answer, and each option as a continuation of it."""

    context: str
    continuations: tuple[str, ...]


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
