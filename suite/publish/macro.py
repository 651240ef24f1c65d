"""Macro-averages over tasks: means of figures made task by task, never of items of different tasks.

Every variant of a model is averaged over the same tasks, those on which the dense model is above chance, because an
average over fewer tasks is another quantity. A variant that lacks one of them has no average.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from suite.prompt_name import original_of
from suite.publish.fields import Row, flags, number, text
from suite.publish.order import Scope, Setting, dense_of, grouped, scope_of, setting_of, severity_key


@dataclass(frozen=True)
class Average:
    """A mean over tasks with its interval; None where a task has no value, the interval where a task has none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Macro:
    """One variant of one model, averaged over tasks.

    Attributes:
        scope, variant: what was averaged.
        rows: its rows on the settings that went in.
        absent: tasks that went in for this model and that this variant has no row of.
        flags: flag to the number of its rows that carry it, on all tasks, averaged or not.
        every: its rows on all tasks.
    """

    scope: Scope
    variant: str
    rows: tuple[Row, ...]
    absent: tuple[str, ...]
    flags: dict[str, int]
    every: tuple[Row, ...]

    def average(self, key: str) -> Average:
        """The macro-average of a metric.

        Where a task was asked in several settings, its own mean over them comes first. The interval combines the
        distances of each task's interval ends from its value in quadrature (the MOVER interval for a mean of
        independent estimates, Zou & Donner 2008), since tasks share no items; settings of one task share theirs and
        are combined without gain.
        """
        if not self.rows or self.absent:
            return Average(None)
        tasks = [
            _mean_of_settings(members, key) for members in grouped(self.rows, lambda row: text(row, "task")).values()
        ]
        values = [task.value for task in tasks]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return Average(None)
        mean = sum(known) / len(known)
        below = [value - task.low for value, task in zip(known, tasks, strict=True) if task.low is not None]
        above = [task.high - value for value, task in zip(known, tasks, strict=True) if task.high is not None]
        # An interval need not hold its value (that of calibration error is debiased): quadrature has no meaning then.
        if len(below) < len(known) or len(above) < len(known) or min(*below, *above) < 0:
            return Average(mean)
        return Average(mean, mean - math.hypot(*below) / len(known), mean + math.hypot(*above) / len(known))

    def constant(self, key: str) -> float | None:
        """A property that no task changes, such as the bits; None where rows disagree or none knows it."""
        values = {number(row, key) for row in self.every} - {None}
        return values.pop() if len(values) == 1 else None


def above_chance(dense: Row | None) -> bool:
    """Whether a task can show a loss: its dense row exists, is not flagged at chance and lies above chance."""
    if dense is None or "at-chance" in flags(dense):
        return False
    accuracy, chance = number(dense, "accuracy"), number(dense, "chance_accuracy")
    return accuracy is not None and (chance is None or accuracy > chance)


def averaged_settings(rows: Sequence[Row]) -> dict[Scope, list[Setting]]:
    """For each scope, the settings whose dense row is above chance.

    A prompt with noise or rotated options is left out where the same task was asked without: it shows what the noise
    does, and would pull the task's mean.
    """
    result: dict[Scope, list[Setting]] = {}
    for scope, members in grouped(rows, scope_of).items():
        by_setting = grouped(members, setting_of)
        result[scope] = [
            setting
            for setting, group in by_setting.items()
            if above_chance(dense_of(group)) and _unperturbed(setting) not in by_setting
        ]
    return result


def _unperturbed(setting: Setting) -> Setting | None:
    """The same setting without noise and rotation, None where it has none."""
    original = original_of(setting.prompt or "")
    return None if original is None else replace(setting, prompt=original)


def macro_averages(rows: Sequence[Row]) -> list[Macro]:
    """One entry a model and variant, scopes in the order of the input, variants by severity."""
    result = []
    settings = averaged_settings(rows)
    for scope, members in grouped(rows, scope_of).items():
        variants = grouped(members, lambda row: text(row, "variant"))
        for variant in sorted(variants, key=severity_key):
            every = variants[variant]
            chosen = [row for row in every if setting_of(row) in settings[scope]]
            missing = set(settings[scope]) - {setting_of(row) for row in chosen}
            result.append(
                Macro(
                    scope=scope,
                    variant=variant,
                    rows=tuple(chosen),
                    absent=tuple(sorted({setting.task for setting in missing})),
                    flags=dict(sorted(Counter(flag for row in every for flag in flags(row)).items())),
                    every=tuple(every),
                )
            )
    return result


def _mean_of_settings(rows: Sequence[Row], key: str) -> Average:
    ends = [[number(row, name) for row in rows] for name in (key, f"{key}_low", f"{key}_high")]
    value, low, high = (_mean(values) for values in ends)
    return Average(value, low, high)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
