"""A policy for people and programs: its lines, and how many items each of them needs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from suite.decisions.contradictions import findings
from suite.decisions.items import (
    MOST_RELATIVE,
    floor_items,
    items_needed,
    power,
    relative_items_needed,
    relative_power,
)
from suite.decisions.policy import Criterion, Policy, RedLine, policy_hash
from suite.errors import SuiteError
from suite.metrics.proportions import WORTH_OF_ITEM
from suite.tables import aligned

JOINT_POWER = 0.8
FLIPS = 0.05
RIGHT = 0.7
"""Share of the items that dense is expected to have right; limits that are relative to dense depend on it."""

EXACT, NORMAL, FLOOR = "exact", "normal", "floor"
"""What a number of items goes by: exact power, the normal approximation of it, or that fewer cannot show it."""


@dataclass(frozen=True)
class Expected:
    """What is expected before anything is run.

    Attributes:
        flips: share of items whose answer becomes right or wrong.
        right: share that dense has right.
    """

    flips: float = FLIPS
    right: float = RIGHT

    def __post_init__(self) -> None:
        if not 0 < self.flips < 1:
            raise SuiteError(f"flips {self.flips:g} is not between 0 and 1")
        if not self.flips / 2 < self.right < 1 - self.flips / 2:
            raise SuiteError(
                f"dense accuracy {self.right:g}: not between {self.flips / 2:g} and {1 - self.flips / 2:g}, where "
                f"{self.flips:g} can flip"
            )


EXPECTED = Expected()
"""Where nobody says otherwise."""


def items_of(policy: Policy, expected: Expected = EXPECTED) -> list[tuple[int | None, str]]:
    """Items that each line needs, criteria first: (items of its scope, what they go by).

    Power of the score test where accuracy or error rate is limited in points or relative to dense: the smallest number
    with which the line is shown with probability 1 - .2 / lines where nothing is lost, so that all lines hold together
    with .8. Else the floor: fewer items cannot show it, whatever they say (shares of the headroom in blind answers, as
    doses count them). None where no number does. Items of an average are taken as one sample.
    """
    wanted = 1 - (1 - JOINT_POWER) / len(policy.lines)
    return [line_items(line, expected, wanted=wanted) for line in policy.lines]


def line_items(line: Criterion, expected: Expected, *, wanted: float) -> tuple[int | None, str]:
    """Items that one limit needs for this power, and what they go by."""
    if not 0 < line.tested < 1:
        return None, FLOOR
    if line.metric in ("accuracy", "error_rate") and line.unit == "points":
        return items_needed(line.tested, expected.flips, wanted=wanted, confidence=line.confidence), EXACT
    if line.metric in ("accuracy", "error_rate") and line.unit == "relative":
        found, exact = relative_items_needed(
            line.tested,
            expected.flips,
            accuracy=expected.right,
            errors=line.metric == "error_rate",
            wanted=wanted,
            confidence=line.confidence,
        )
        return found, EXACT if exact else NORMAL
    return math.ceil(floor_items(line.tested, confidence=line.confidence) / worth_of(line)), FLOOR


def line_power(line: Criterion, expected: Expected, items: int) -> float | None:
    """Exact power of one limit with so many items where nothing is lost; None where it is not computed."""
    if line.metric not in ("accuracy", "error_rate") or not 0 < line.tested < 1 or line.unit == "headroom":
        return None
    if not items:
        return 0.0
    if line.unit == "points":
        return power(items, line.tested, expected.flips, confidence=line.confidence)
    if items > MOST_RELATIVE:
        return None
    errors = line.metric == "error_rate"
    return relative_power(
        items, line.tested, expected.flips, accuracy=expected.right, errors=errors, confidence=line.confidence
    )


def about(items: int | None, goes_by: str) -> str:
    """A number of items in words."""
    said = {EXACT: "", NORMAL: " about", FLOOR: " at least"}[goes_by]
    return "never" if items is None else f"{items}{said}"


def worth_of(line: Criterion) -> float:
    """Events that an item stands for where few of them decide: less than one where an item loses a part."""
    return WORTH_OF_ITEM if line.unit == "headroom" or line.metric in ("brier_ts", "nll_ts", "set_size") else 1.0


def record(policy: Policy, expected: Expected = EXPECTED) -> dict[str, Any]:
    """A policy as `--json` gives it: its keys, its hash, and the items that each line needs."""
    content = json.loads(json.dumps(asdict(policy)))
    for line, (items, goes_by) in zip(
        (*content["criteria"], *content["red_lines"]), items_of(policy, expected), strict=True
    ):
        line |= {"items": items, "items_are": goes_by}
    said = {"policy_hash": policy_hash(policy), "expected_flips": expected.flips, "expected_right": expected.right}
    return {**content, **said}


def shown(policy: Policy, expected: Expected = EXPECTED) -> list[str]:
    """A policy in aligned lines."""
    out = [f"{policy.name}  {policy_hash(policy)[:19]}", f"source: {policy.source}"]
    out += [f"reading: {policy.reading}"] * bool(policy.reading)
    out += [
        f"review up to {policy.review:g} x a limit; items at {expected.flips:g} flips, dense right in "
        f"{expected.right:g}, and joint power {JOINT_POWER:g}"
    ]
    rows = [("", "metric", "where", "limit", "unit", "margin", "confidence", "items")]
    for line, (items, goes_by) in zip(policy.lines, items_of(policy, expected), strict=True):
        which = "red line" if isinstance(line, RedLine) else "limit"
        numbers = (f"{line.limit:g}", line.unit, f"{line.margin:g}", f"{line.confidence:g}", about(items, goes_by))
        rows.append((which, line.metric, line.scope, *numbers))
    out += ["  " + text for text in aligned(rows)]
    return out + [f"  {level}: {text}" for level, text in findings(policy)]
