"""What a page says of each curve first, chosen from dose records: certainty beside accuracy, kept and lost.

A curve is a method of a model on the average over tasks, or on a task where there is no average.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from suite.config import Primary, RunConfig
from suite.publish.fields import Fields, number, text
from suite.publish.numerals import MISSING, fixed
from suite.verdicts.curves import MACRO
from suite.verdicts.dose_records import MEASURES, beyond, levels, primary_measure
from suite.verdicts.recipe_scope import RECIPE

ACCURACY = "accuracy"
BESIDE = "lac_transfer_coverage"


@dataclass(frozen=True)
class Lead:
    """The measure that carries the answer.

    Attributes:
        metric: key of `MEASURES`.
        chosen_before: the configuration names it, so that it was chosen before the results.
    """

    metric: str = next(iter(MEASURES))
    chosen_before: bool = False


EXPLORATORY = Lead()


def lead_of(config: RunConfig | None) -> Lead:
    """The measure that leads a run's page."""
    return Lead(primary_measure(config), isinstance(config and config.primary, Primary))


@dataclass(frozen=True)
class Headline:
    """One curve as it is told first.

    Attributes:
        model, method, task: of the curve; the task is `MACRO` for the average.
        records: by metric, each by tolerance, smallest first.
    """

    model: str
    method: str
    task: str
    records: Mapping[str, Mapping[float, Fields]] = field(default_factory=dict)

    def strict(self, metric: str) -> Fields:
        """The record at the smallest tolerance: kept through, states, the dose; empty where there is none."""
        found = self.records.get(metric, {})
        return found[min(found)] if found else {}

    def loose(self, metric: str) -> Fields:
        """The record at the largest tolerance: lost from; empty where there is none."""
        found = self.records.get(metric, {})
        return found[max(found)] if found else {}

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of its compressed levels, in their order."""
        return tuple(
            dict.fromkeys(text(one, "variant") for metric in self.records for one in levels(self.strict(metric)))
        )


def headlines(records: Sequence[Fields], *, averages: bool = True) -> list[Headline]:
    """The curves of a set of records, in its order; records of recipes, which stand beside some, are left to the file.

    Args:
        averages: of a method that has an average this one alone; False for every task and no average.
    """
    found: dict[tuple[str, str, str], dict[str, dict[float, Fields]]] = {}
    for one in records:
        if text(one, "scope") == RECIPE:
            continue
        key = (text(one, "model"), text(one, "method"), text(one, "task"))
        found.setdefault(key, {}).setdefault(text(one, "metric"), {})[number(one, "tolerance") or 0.0] = one
    averaged = {key[:2] for key in found if key[2] == MACRO}
    return [
        Headline(*key, found[key])
        for key in found
        if ((key[2] == MACRO) == (key[:2] in averaged) if averages else key[2] != MACRO)
    ]


def known(curve: Headline, metric: str) -> bool:
    """Whether anything can be said of a curve: some level has a loss."""
    return any(number(level, "loss") is not None for level in levels(curve.strict(metric)))


def ends(curves: Sequence[Headline], metric: str) -> tuple[int, int]:
    """On how many curves some level is kept, at the smallest tolerance, and lost, at the largest."""
    through = sum(bool(text(one.strict(metric), "kept_through")) for one in curves)
    return through, sum(bool(text(one.loose(metric), "lost_from")) for one in curves)


def states(curves: Sequence[Headline], metric: str) -> Counter[str]:
    """How many levels of all curves are in each state."""
    return Counter(text(level, "state") for one in curves for level in levels(one.strict(metric)))


def tolerances(records: Sequence[Fields]) -> list[float]:
    """Every tolerance, smallest first."""
    return sorted({share for one in records if (share := number(one, "tolerance")) is not None})


def dose_words(record: Fields) -> str:
    """A dose with its interval.

    >>> dose_words({"dose": 6.10379, "dose_low": 4.88622, "dose_high": 7.17285, "notes": []})
    '6.10 [4.89, 7.17]'
    >>> dose_words({"dose": 21.2, "dose_high": 23.3, "notes": ["dose_low < 20 percent zeros"]})
    '21.2 [< 20, 23.3]'
    >>> dose_words({"dose_bound": "> 4 bits", "notes": ["dose_low > 4 bits", "dose_high > 4 bits"]})
    '> 4'
    >>> dose_words({"dose_bound": "> 8 bits", "notes": ["dose_low < 8 bits", "dose_high > 8 bits"]})
    'not known'
    """
    off = beyond(record)
    value = _bare(text(record, "dose_bound")) or _short(number(record, "dose"))
    ends = [_bare(off[key]) if key in off else _short(number(record, key)) for key in ("dose_low", "dose_high")]
    if value == MISSING or set(ends) <= {value, MISSING}:
        return value
    if text(record, "dose_bound") and len(off) == 2:
        return "not known"  # the bounds leave every dose open
    return f"{value} [{', '.join('?' if end == MISSING else end for end in ends)}]"


def _bare(bound: str) -> str:
    return " ".join(bound.split()[:2])


def _short(value: float | None) -> str:
    return MISSING if value is None else f"{value:#.3g}".removesuffix(".")


def share(value: float) -> str:
    """A tolerance as it is written.

    >>> share(0.05), share(0.125)
    ('0.05', '0.125')
    """
    return fixed(value, 2) if round(value, 2) == value else f"{value:g}"
