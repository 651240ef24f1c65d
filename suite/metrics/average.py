"""The one average over tasks: which prompts go in, which tasks, which variants, and its interval.

Everything that averages over tasks goes through here, so that one leaderboard has one number: the summary, groups and
ranking, verdicts, sizes, and the sentences on top.

* *Prompts.* Noise and a rotation of the options are left out where the task was asked without: they show what the noise
  does and would pull the task's mean.
* *Tasks.* Those on which the dense model is above chance; where models are compared, those on which one of them is.
* *Variants.* One that lacks a setting which went in has no average: over fewer tasks it would be another quantity.
* *Mean.* Settings of one task (prompts, shots, read-outs) are averaged first, then tasks with equal weight.
* *Interval.* Tasks share no items, so they are independent; settings of one task share theirs and are combined without
  gain. From the tasks' intervals `combined` makes the one of the mean; where replicates are needed, `independent` keeps
  tasks from moving together.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Floats
from suite.grouped import grouped
from suite.prompt_name import original_of

_Floats = TypeVar("_Floats", NDArray[np.float32], Floats)
_Numbers = TypeVar("_Numbers", NDArray[np.float32], Floats, NDArray[np.int32])
_Part = TypeVar("_Part")


@dataclass(frozen=True, order=True)
class Setting:
    """How a task was asked."""

    task: str
    scoring: str
    prompt: str
    shots: int


@dataclass(frozen=True)
class Average:
    """A mean with its interval; None where a part has no value, the interval where a part has none."""

    value: float | None
    low: float | None = None
    high: float | None = None


def above_chance(dense: Mapping[str, object] | None) -> bool:
    """Whether a task can show a loss: its dense row exists, is not flagged at chance and lies above chance."""
    if dense is None:
        return False
    flags, accuracy, chance = (dense.get(key) for key in ("flags", "accuracy", "chance_accuracy"))
    if isinstance(flags, list | tuple) and "at-chance" in flags:
        return False
    if not isinstance(accuracy, int | float):
        return False
    return not isinstance(chance, int | float) or accuracy > chance


def unperturbed(settings: Iterable[Setting]) -> list[Setting]:
    """The settings but those with noise or a rotation whose original is among them, in their order."""
    given = list(dict.fromkeys(settings))
    known = set(given)
    return [setting for setting in given if _original(setting) not in known]


def _original(setting: Setting) -> Setting | None:
    prompt = original_of(setting.prompt)
    return None if prompt is None else replace(setting, prompt=prompt)


def averaged_settings(above: Mapping[Setting, bool]) -> list[Setting]:
    """The settings that go into an average, in the order given.

    Args:
        above: every setting of a model with whether its dense row is `above_chance`; of several models that are
            compared, whether that of any of them is.

    >>> asked = [Setting("sciq", "letter", prompt, 0) for prompt in ("base", "base+typos")]
    >>> [setting.prompt for setting in averaged_settings(dict.fromkeys(asked, True))]
    ['base']
    """
    return [setting for setting in unperturbed(above) if above[setting]]


def task_means(parts: Mapping[Setting, _Floats]) -> dict[str, _Floats]:
    """Mean over the settings of each task, tasks in the order given.

    Args:
        parts: arrays of one shape; replicates of one task's settings share their resampled items.
    """
    return {
        task: np.mean(arrays, axis=0, dtype=arrays[0].dtype) if len(arrays) > 1 else arrays[0]
        for task, arrays in by_task(parts).items()
    }


def mean_over_tasks(parts: Mapping[Setting, _Floats]) -> _Floats:
    """Mean over tasks of the means over their settings; arrays of one shape.

    >>> asked = [("sciq", "base"), ("sciq", "plain"), ("piqa", "base")]
    >>> float(mean_over_tasks({Setting(t, "letter", p, 0): np.array(v) for (t, p), v in zip(asked, (0.5, 0.7, 0.8))}))
    0.7
    """
    return np.asarray(np.mean(list(task_means(parts).values()), axis=0))


def averaged(parts: Mapping[Setting, _Part], of: Callable[[_Part], _Floats], *, apart: bool = False) -> _Floats:
    """`mean_over_tasks` of what each part has.

    Args:
        of: an array of the part; of all parts of one shape.
        apart: the last axis are replicates, which shall not move together between tasks (`independent`).
    """
    found = {setting: of(part) for setting, part in parts.items()}
    if apart:
        found = {at: independent(array, zlib.crc32(at.task.encode())) for at, array in found.items()}
    return mean_over_tasks(found)


def combined(parts: Mapping[Setting, Average]) -> Average:
    """The mean over tasks with its interval, from values and intervals setting by setting.

    With v the value of a task and [l, u] its interval, the lower end is mean(v) - sqrt(sum (v - l)^2) / tasks, and the
    upper end likewise: MOVER for a mean of independent estimates (G. Y. Zou, A. Donner, Statistics in Medicine 2008).
    Ends of several settings of one task are averaged like their values. Where an interval does not hold its value (that
    of a calibration error is debiased), the mean has none.

    >>> parts = {Setting(task, "letter", "base", 0): Average(0.5, 0.4, 0.6) for task in "abcd"}
    >>> combined(parts)
    Average(value=0.5, low=0.45, high=0.55)
    """
    tasks = [_of_settings(settings) for settings in by_task(parts).values()]
    values = [task.value for task in tasks if task.value is not None]
    if not tasks or len(values) < len(tasks):
        return Average(None)
    mean = sum(values) / len(values)
    below = [value - task.low for value, task in zip(values, tasks, strict=True) if task.low is not None]
    above = [task.high - value for value, task in zip(values, tasks, strict=True) if task.high is not None]
    if len(below) < len(values) or len(above) < len(values) or min(*below, *above) < 0:
        return Average(mean)
    return Average(mean, mean - math.hypot(*below) / len(values), mean + math.hypot(*above) / len(values))


def independent(replicates: _Numbers, seed: int | Sequence[int]) -> _Numbers:
    """Replicates in another order, along the last axis: alike for all entries of a task, another one for each task.

    Two tasks with equally many items have the same bootstrap weights and would seem to move together.

    Args:
        seed: of the task.
    """
    order = np.random.default_rng(seed).permutation(replicates.shape[-1])
    return replicates[..., order]


def _of_settings(settings: Sequence[Average]) -> Average:
    return Average(*(_mean(getattr(one, name) for one in settings) for name in ("value", "low", "high")))


def _mean(values: Iterable[float | None]) -> float | None:
    given = list(values)
    known = [value for value in given if value is not None]
    return sum(known) / len(known) if len(known) == len(given) else None


def by_task(parts: Mapping[Setting, _Part]) -> dict[str, list[_Part]]:
    """The parts of each task, tasks in the order given."""
    tasks = grouped(parts, lambda setting: setting.task)
    return {task: [parts[setting] for setting in settings] for task, settings in tasks.items()}
