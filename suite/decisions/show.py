"""A policy for people and programs: its lines, and how many items each of them needs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from suite.decisions.contradictions import findings
from suite.decisions.items import floor_items, items_needed
from suite.decisions.policy import Criterion, Policy, RedLine, policy_hash
from suite.errors import SuiteError
from suite.metrics.proportions import WORTH_OF_ITEM
from suite.tables import aligned

JOINT_POWER = 0.8
FLIPS = 0.05


def items_of(policy: Policy, *, flips: float = FLIPS) -> list[tuple[int | None, bool]]:
    """Items that each line needs, criteria first: (items of its scope, whether that is exact power or a floor).

    Exact power of the score test where accuracy or error rate is limited in points: the smallest number with which the
    line is shown with probability 1 - .2 / lines where nothing is lost, so that all lines hold together with .8. Else
    the floor: fewer items cannot show it, whatever they say (shares of the headroom in blind answers, as doses count
    them). None where no number does. Items of an average are taken as one sample.

    Args:
        flips: expected share of items whose answer becomes right or wrong.
    """
    if not 0 < flips < 1:
        raise SuiteError(f"flips {flips:g} is not between 0 and 1")
    wanted = 1 - (1 - JOINT_POWER) / len(policy.lines)
    return [line_items(line, flips=flips, wanted=wanted) for line in policy.lines]


def line_items(line: Criterion, *, flips: float, wanted: float) -> tuple[int | None, bool]:
    """Items that one limit needs for this power: by exact power, or else the floor; which of the two."""
    if not 0 < line.tested < 1:
        return None, False
    if line.unit == "points" and line.metric in ("accuracy", "error_rate"):
        return items_needed(line.tested, flips, wanted=wanted, confidence=line.confidence), True
    return math.ceil(floor_items(line.tested, confidence=line.confidence) / worth_of(line)), False


def worth_of(line: Criterion) -> float:
    """Events that an item stands for where few of them decide: less than one where an item loses a part."""
    return WORTH_OF_ITEM if line.unit == "headroom" or line.metric in ("brier_ts", "nll_ts", "set_size") else 1.0


def record(policy: Policy, *, flips: float = FLIPS) -> dict[str, Any]:
    """A policy as `--json` gives it: its keys, its hash, and the items that each line needs."""
    content = json.loads(json.dumps(asdict(policy)))
    for line, (items, exact) in zip(
        (*content["criteria"], *content["red_lines"]), items_of(policy, flips=flips), strict=True
    ):
        line |= {"items": items, "items_are": "exact" if exact else "floor"}
    return {**content, "policy_hash": policy_hash(policy), "expected_flips": flips}


def shown(policy: Policy, *, flips: float = FLIPS) -> list[str]:
    """A policy in aligned lines."""
    out = [f"{policy.name}  {policy_hash(policy)[:19]}", f"source: {policy.source}"]
    out += [f"reading: {policy.reading}"] * bool(policy.reading)
    out += [f"review up to {policy.review:g} x a limit; items at {flips:g} flips and joint power {JOINT_POWER:g}"]
    rows = [("", "metric", "where", "limit", "unit", "margin", "confidence", "items")]
    for line, (items, exact) in zip(policy.lines, items_of(policy, flips=flips), strict=True):
        count = "never" if items is None else f"{items}" if exact else f"{items} at least"
        which = "red line" if isinstance(line, RedLine) else "limit"
        numbers = (f"{line.limit:g}", line.unit, f"{line.margin:g}", f"{line.confidence:g}", count)
        rows.append((which, line.metric, line.scope, *numbers))
    out += ["  " + text for text in aligned(rows)]
    return out + [f"  {level}: {text}" for level, text in findings(policy)]
