"""One task ready to be scored: its items as texts, before any model is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import prompt_hash
from suite.errors import SuiteError
from suite.prompt_name import PromptName, parse_prompt
from suite.score.noise import perturb
from suite.score.prompt import Rendered, check_style, render, rotations
from suite.task import Question, Task, select


@dataclass(frozen=True)
class Sheet:
    """One task ready to be scored: its items as text, before any tokenizer is known.

    Attributes:
        task, questions: what is asked.
        rendered: each question's text, same order; with every rotation asked, as many of them a question as it has.
        scoring, prompt, shots: how it is asked.
        prompt_hash: over every text, before any chat template.
        owners: the question that each text belongs to; empty when each question has one text.
    """

    task: Task
    questions: tuple[Question, ...]
    rendered: tuple[Rendered, ...]
    scoring: str
    prompt: str
    shots: int
    prompt_hash: str
    owners: tuple[int, ...] = ()

    @property
    def name(self) -> PromptName:
        """The prompt's name, taken apart."""
        return parse_prompt(self.prompt)

    @property
    def asked(self) -> tuple[int, ...]:
        """For each text the index of its question."""
        return self.owners or tuple(range(len(self.questions)))

    @property
    def ids_hash(self) -> str:
        """SHA-256 over the item ids in order."""
        return "sha256:" + hashlib.sha256("\0".join(item.id for item in self.questions).encode()).hexdigest()

    @property
    def units(self) -> list[str]:
        """The unit of replication of each question, as `Cell.units`."""
        return [item.id if item.group is None else item.group for item in self.questions]

    def key_parts(self) -> dict[str, Any]:
        """What a cell's numbers depend on, as far as the task goes."""
        parts: dict[str, Any] = {
            "task_revision": self.task.revision,
            "prompt_hash": self.prompt_hash,
            "ids": self.ids_hash,
            "scoring": self.scoring,
        }
        # what a text without these has always been keyed by stays as it is
        if self.name.chat:
            parts["chat"] = True
        if any(item.slices for item in self.questions):
            parts["slices"] = hashlib.sha256(repr([item.slices for item in self.questions]).encode()).hexdigest()
        if self.owners:
            parts["owners"] = hashlib.sha256(repr(self.owners).encode()).hexdigest()
        return parts


@dataclass(frozen=True)
class Scores:
    """What a scorer answers to a sheet.

    Attributes:
        values: for each text an array [options], in order: log-likelihoods in nats summed over the option's tokens
            (cloze), or logits of its letter (letter). Higher is more likely.
        run: what they were computed with, for the `run` section of the cell: at least ``dtype`` and ``device``; further
            ``backend`` and ``attention`` (the kernels), ``tokens``, ``versions``, ``notes`` (what a reader must know).
    """

    values: Sequence[NDArray[np.float64]]
    run: dict[str, Any] = field(default_factory=dict)


def make_sheet(
    task: Task, *, scoring: str | None = None, prompt: str | None = None, shots: int = 0, limit: int | None = None
) -> Sheet:
    """Choose the items of a task and write out their text.

    Args:
        scoring, prompt: None for the task's own defaults; a prompt's name may ask for rotated options, noise or the
            chat template (see `suite.prompt_name`).
        shots: worked examples before each item, taken from the task's demonstration items.
        limit: score a fixed pseudo-random subset of this many items.

    Raises:
        SuiteError: an unknown scoring or prompt, or more shots than the task has demonstrations.
    """
    scoring, name = scoring or task.scoring, parse_prompt(prompt or task.default_prompt)
    check_style(task, scoring, name)
    if shots < 0:
        raise SuiteError(f"shots {shots} out of range: use 0 or more")
    everything = task.load()
    demonstrations = _demonstrations(task, everything, shots)
    held = {demo.id for demos in demonstrations.values() for demo in demos}
    questions = select([item for item in everything if item.id not in held], limit)
    if name.perturbation:
        questions = [_perturbed(item, name) for item in questions]
    shared = demonstrations.get(None, [])
    rendered, owners = [], []
    for index, item in enumerate(questions):
        for rotation in range(rotations(task, item)) if name.every_rotation else (name.rotation,):
            rendered.append(
                render(
                    task,
                    item,
                    scoring=scoring,
                    prompt=name.style,
                    demonstrations=demonstrations.get(item.subject, shared),
                    rotation=rotation,
                )
            )
            owners.append(index)
    alone = not name.every_rotation
    texts = tuple(rendered)
    return Sheet(
        task, tuple(questions), texts, scoring, str(name), shots, prompt_hash(texts), () if alone else tuple(owners)
    )


def part(sheet: Sheet, rows: Sequence[int]) -> Sheet:
    """Some questions of a sheet, in its order, asked as there.

    Args:
        rows: numbers of questions, rising.
    """
    number = {row: place for place, row in enumerate(rows)}
    kept = [(text, number[row]) for text, row in zip(sheet.rendered, sheet.asked, strict=True) if row in number]
    texts = tuple(text for text, _ in kept)
    return replace(
        sheet,
        questions=tuple(sheet.questions[row] for row in rows),
        rendered=texts,
        prompt_hash=prompt_hash(texts),
        owners=tuple(owner for _, owner in kept) if sheet.owners else (),
    )


def _perturbed(item: Question, name: PromptName) -> Question:
    """The item as noise leaves it, in the slices ``perturbed`` and ``perturbed:<what was done>``."""
    noisy = perturb(item, name.noise, name.seed) if name.noise else item
    return replace(noisy, slices=(*item.slices, "perturbed", f"perturbed:{name.perturbation}"))


def _demonstrations(task: Task, everything: Sequence[Question], shots: int) -> dict[str | None, list[Question]]:
    """Worked examples by subject; under None those for every subject without its own."""
    if shots == 0:
        return {}
    pool = task.demonstrations() if task.demonstrations is not None else None
    if pool is None:
        # no separate set: hold out the items whose hashed id is largest, so that `select` loses none of its first ones
        ranked = sorted(everything, key=lambda item: hashlib.sha256(item.id.encode()).digest(), reverse=True)
        if len(ranked) <= shots:
            raise SuiteError(f"task {task.name}: {shots} shots asked for, but it has {len(ranked)} items in all")
        return {None: ranked[:shots]}
    grouped: dict[str | None, list[Question]] = {}
    for demo in pool:
        grouped.setdefault(demo.subject, []).append(demo)
    for subject, demos in grouped.items():
        if len(demos) < shots:
            raise SuiteError(
                f"task {task.name}: {shots} shots asked for, but {subject or 'it'} has {len(demos)} demonstrations"
            )
    return {subject: demos[:shots] for subject, demos in grouped.items()}
