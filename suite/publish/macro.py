"""The lines of the summary: each variant of each model, averaged over tasks as `suite.metrics.average` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from suite.grouped import grouped
from suite.metrics.average import Average, Setting, above_chance, averaged_settings, combined
from suite.publish.fields import Fields, flags, number, text
from suite.publish.order import Scope, dense_of, scope_of, setting_of, severity_key


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
    rows: tuple[Fields, ...]
    absent: tuple[str, ...]
    flags: dict[str, int]
    every: tuple[Fields, ...]

    def average(self, key: str) -> Average:
        """The average of a metric over tasks (`suite.metrics.average`); none where a setting is absent."""
        if not self.rows or self.absent:
            return Average(None)
        return combined({setting_of(row): average_of(row, key) for row in self.rows})

    def constant(self, key: str) -> float | None:
        """A property that no task changes, such as the bits; None where rows disagree or none knows it."""
        values = {number(row, key) for row in self.every} - {None}
        return values.pop() if len(values) == 1 else None


def average_of(row: Fields, key: str) -> Average:
    """A metric of a row and its interval, as the average that it is of itself."""
    return Average(*(number(row, f"{key}{end}") for end in ("", "_low", "_high")))


def settings_averaged(rows: Sequence[Fields]) -> dict[Scope, list[Setting]]:
    """For each scope, the settings that its averages are made of."""
    return {
        scope: averaged_settings(
            {setting: above_chance(dense_of(group)) for setting, group in grouped(members, setting_of).items()}
        )
        for scope, members in grouped(rows, scope_of).items()
    }


def macro_averages(rows: Sequence[Fields]) -> list[Macro]:
    """One entry a model and variant, scopes in the order of the input, variants by severity."""
    result = []
    settings = settings_averaged(rows)
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
