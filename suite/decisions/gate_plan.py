"""Can a configuration decide under a policy at all? Before anything is run: the items there are, and those it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.decisions.gate import Line, lines_of, must_be_measured
from suite.decisions.items import floor_items
from suite.decisions.policy import Policy
from suite.decisions.show import EXPECTED, JOINT_POWER, Expected, about, line_items, line_power, worth_of
from suite.metrics.slices import EDGE, EDGE_SHARE
from suite.tables import aligned

PLAN_KEYS = (
    *("metric", "scope", "limit", "unit", "items", "items_needed", "items_are", "power", "never", "would_do", "note"),
)
"""Keys of a record of `plan_records`, in order."""


def plan_records(
    policy: Policy,
    items: Mapping[str, int],
    expected: Expected = EXPECTED,
    *,
    models: int = 1,
    larger: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """One record a limit that applies, with the keys `PLAN_KEYS`.

    Each limit is to be shown with probability 1 - .2 / k where nothing is lost, so that all k hold together with .8 or
    more. Exact power where accuracy or error rate is limited in points or relative to dense; else the floor below
    which nothing can be shown. ``never``: this configuration cannot accept, whatever is measured.

    Args:
        items: of each task of the configuration, by name.
        models: how many; with one there is no other that says which items are hardest.
        larger: items that tasks have in all, by name: what could be asked instead.

    Raises:
        SuiteError: no criterion is about one of these tasks.
    """
    lines = lines_of(policy, list(items))
    counted = [line for line in lines if not _unmeasured(line, models)]
    wanted = 1 - (1 - JOINT_POWER) / max(len(counted), 1)
    return [_record(line, items, expected, wanted, _unmeasured(line, models), larger or {}) for line in lines]


def plan_lines(records: Sequence[Mapping[str, Any]], expected: Expected = EXPECTED) -> list[str]:
    """Records in aligned lines."""
    rows = [("metric", "where", "limit", "unit", "items", "needed", "power", "")]
    for one in records:
        needed = about(one["items_needed"], one["items_are"])
        chance = "" if one["power"] is None else f"{one['power']:.2f}"
        said = ("cannot be accepted" if one["never"] else "", one["note"], one["would_do"])
        numbers = (f"{one['limit']:g}", one["unit"], str(one["items"]), needed, chance)
        rows.append((one["metric"], one["scope"], *numbers, "; ".join(text for text in said if text)))
    head = f"at {expected.flips:g} flips, dense right in {expected.right:g}, and joint power {JOINT_POWER:g}"
    return [head, *aligned(rows)]


def _unmeasured(line: Line, models: int) -> str:
    """Why a limit cannot be measured, whatever is run; else empty."""
    if line.line.metric == "safety_violations":
        return "no task of the suite measures it"
    if line.line.slice == EDGE and models < 2:
        return "one model: no other one says which items are hardest"
    return ""


def _record(
    line: Line, items: Mapping[str, int], expected: Expected, wanted: float, why: str, larger: Mapping[str, int]
) -> dict[str, Any]:
    limit, missing = line.line, [task for task in line.tasks if task not in items]
    have = 0 if missing else sum(items[task] for task in line.tasks)
    if limit.slice == EDGE:
        have = int(have * EDGE_SHARE)
    needed, goes_by = line_items(limit, expected, wanted=wanted)
    shown = None if why else line_power(limit, expected, have)
    floor = floor_items(limit.tested, confidence=limit.confidence) / worth_of(limit) if 0 < limit.tested < 1 else None
    counts = not why and limit.slice is None
    never = bool(missing) or (counts and (floor is None or have < floor))
    if why and must_be_measured(line):
        never = True
    note = why or (f"the configuration has no task {', '.join(missing)}" if missing else "")
    would = _would_do(line, items, needed, larger) if counts and needed is not None and have < needed else None
    values = (limit.metric, line.scope, float(limit.limit), limit.unit, have, needed, goes_by)
    return dict(zip(PLAN_KEYS, (*values, shown, never, would, note or None), strict=True))


def _would_do(line: Line, items: Mapping[str, int], needed: int, larger: Mapping[str, int]) -> str | None:
    """Which task or pooling has the items."""
    found = []
    for task in line.tasks:
        if len(line.tasks) == 1 and larger.get(task, 0) >= needed > items.get(task, 0):
            found.append(f"all {larger[task]} items of {task}")
    total = sum(items.values())
    if len(line.tasks) == 1 and total >= needed:
        found.append(f"a limit on the average over the {len(items)} tasks ({total} items)")
    whole = sum(max(larger.get(task, 0), items.get(task, 0)) for task in line.tasks)
    if len(line.tasks) > 1 and whole >= needed:
        found.append(f"all {whole} items of these tasks")
    enough = [task for task, count in larger.items() if count >= needed and task not in items]
    if not found and enough:
        found.append(f"a task with so many items, such as {', '.join(sorted(enough)[:3])}")
    return " or ".join(found) or None
