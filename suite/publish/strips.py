"""Strips: what is known of each level of each curve, laid out once for the picture and for the page that draws its own.

A curve is a line of two strips, certainty above accuracy; levels of one nominal value stand below one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from suite.publish.doses import ACCURACY, Headline, headlines
from suite.publish.fields import Fields, number, one_line, text
from suite.publish.numerals import fixed
from suite.publish.order import curve_of, level_label, severity_key
from suite.verdicts.axis import BITS, ZEROS, nominal_amounts
from suite.verdicts.curves import MACRO
from suite.verdicts.dose_records import beyond, levels

LETTERS = {"kept": "K", "worse": "W", "lost": "L", "not_known": "?"}
"""States of a level, and the sign that says them without colour."""

MOST = 240
"""So many lines a picture holds; the table has all."""

ABREAST = 4
"""Variants without a neighbour that stand side by side."""

TITLES = {BITS: "bits a weight", ZEROS: "% of weights removed"}
SINGLE = "one level each"


@dataclass(frozen=True)
class Bar:
    """A dose and its interval in columns: 0 is the left edge of the first one, 1.5 the middle of the second.

    Attributes:
        left, right: ends of the interval.
        at: the dose; None where it lies off the tested levels.
        open_left, open_right: that end lies off the tested levels.
    """

    left: float
    right: float
    at: float | None
    open_left: bool
    open_right: bool


@dataclass(frozen=True)
class Box:
    """One level: its state, and what is known of it in words."""

    state: str
    letter: str
    words: str


@dataclass(frozen=True)
class Strip:
    """The levels of a curve by one measure, one a column; None where the curve has no such level."""

    measure: str
    boxes: tuple[Box | None, ...]
    bar: Bar | None
    words: str


@dataclass(frozen=True)
class Line:
    """A curve, or the single levels of a model: certainty above accuracy."""

    name: str
    strips: tuple[Strip, Strip]


@dataclass(frozen=True)
class Group:
    """Lines under one name."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Panel:
    """Groups of lines whose levels stand in the same columns."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Strips:
    """Every panel, whether they show averages over tasks, and how many lines are in the table alone."""

    panels: tuple[Panel, ...] = ()
    averaged: bool = False
    left_out: int = 0


def find_strips(records: Sequence[Fields], metric: str) -> Strips:
    """Strips of dose records.

    Args:
        records: of doses.json.
        metric: the one that leads.
    """
    curves = [one for one in headlines(records) if one.levels]
    by_model = len({one.model for one in curves}) <= len({one.method for one in curves})
    tasks = len({one.task for one in curves}) > 1

    def place(one: Headline) -> tuple[str, str]:
        where = f", {one.task}" if tasks and one.task != MACRO else ""
        return (one.model, one.method + where) if by_model else (one.method, one.model + where)

    panels: list[Panel] = []
    ladders: dict[str, list[Headline]] = {}
    single: list[Headline] = []
    for one in curves:
        if len(one.levels) == 1:
            single.append(one)
        else:
            unit = nominal_amounts(one.levels)[1]
            ladders.setdefault(TITLES.get(unit, one_line(one.method)), []).append(one)
    order = list(TITLES.values())
    for title in sorted(ladders, key=lambda title: (order.index(title) if title in order else len(order), title)):
        members = ladders[title]
        columns = _columns(members, numbered=title in order)
        found: dict[str, list[Line]] = {}
        for one in members:
            group, name = place(one)
            found.setdefault(group, []).append(_line(name, [one], columns, metric))
        panels.append(Panel(title, tuple(columns), _groups(found)))
    names = sorted({one.levels[0] for one in single}, key=lambda name: (curve_of(name).key, severity_key(name)))
    for start in range(0, len(names), ABREAST):
        some = names[start : start + ABREAST]
        rows: dict[tuple[str, str], list[Headline]] = {}
        for one in single:
            if one.levels[0] in some:
                rows.setdefault((one.model, one.task), []).append(one)
        lines = [
            _line(
                model + (f", {task}" if tasks and task != MACRO else ""), mine, {name: [name] for name in some}, metric
            )
            for (model, task), mine in rows.items()
        ]
        panels.append(Panel(SINGLE, tuple(map(one_line, some)), (Group("", tuple(lines)),)))
    return _bounded(panels, averaged=any(one.task == MACRO for one in curves))


def _columns(curves: Sequence[Headline], *, numbered: bool) -> dict[str, list[str]]:
    """Levels that share a column, by its heading, from mild to severe."""
    columns: dict[str, list[str]] = {}
    for name in sorted({name for one in curves for name in one.levels}, key=severity_key):
        amounts = nominal_amounts([name])[0] if numbered else None
        columns.setdefault(one_line(level_label(name)) if amounts is None else f"{amounts[0]:g}", []).append(name)
    return columns


def _line(name: str, curves: Sequence[Headline], columns: Mapping[str, Sequence[str]], metric: str) -> Line:
    certainty, accuracy = (
        _strip(measure, [one.strict(key) for one in curves], columns)
        for measure, key in (("certainty", metric), ("accuracy", ACCURACY))
    )
    return Line(one_line(name), (certainty, accuracy))


def _strip(measure: str, records: Sequence[Fields], columns: Mapping[str, Sequence[str]]) -> Strip:
    known = {text(level, "variant"): level for record in records for level in levels(record)}
    boxes = tuple(next((_box(known[name]) for name in names if name in known), None) for names in columns.values())
    told: dict[str, list[str]] = {}
    for heading, box in zip(columns, boxes, strict=True):
        if box is not None:
            told.setdefault(box.state, []).append(heading)
    words = "; ".join(f"{state.replace('_', ' ')} {', '.join(told[state])}" for state in LETTERS if state in told)
    bar = _bar(records[0], columns) if len(records) == 1 and len(known) > 1 else None
    return Strip(measure, boxes, bar, f"{measure} {words or 'without a value'}")


def _box(level: Fields) -> Box:
    state = text(level, "state")
    loss, low, high = (number(level, key) for key in ("loss", "low", "high"))
    ends = ["?" if end is None else fixed(end, 3) for end in (low, high)]
    lost = "" if loss is None else f", loss {fixed(loss, 3)} [{', '.join(ends)}]"
    return Box(state, LETTERS.get(state, "?"), f"{one_line(text(level, 'variant'))}: {state.replace('_', ' ')}{lost}")


def _bar(record: Fields, columns: Mapping[str, Sequence[str]]) -> Bar | None:
    """Where the dose lies; None where nothing is known of it, or the levels have no number."""
    mine = [text(level, "variant") for level in levels(record)]
    amounts, _ = nominal_amounts(mine)
    if amounts is None:
        return None
    at = [place + 0.5 for place, names in enumerate(columns.values()) if set(names) & set(mine)]
    rising = amounts[-1] > amounts[0]
    order = slice(None) if rising else slice(None, None, -1)

    def column(key: str) -> tuple[float | None, int]:
        """Where an end stands, and whether it lies before the first level (-1) or past the last one (1)."""
        value = number(record, key)
        if value is not None:
            return float(np.interp(value, amounts[order], np.array(at)[order])), 0
        off = beyond(record).get(key, text(record, "dose_bound") if key == "dose" else "")
        if not off:
            return None, 0
        before = off.startswith("<") == rising
        return (at[0] - 0.5, -1) if before else (at[-1] + 0.5, 1)

    ends = sorted(
        ((place, off) for place, off in map(column, ("dose_low", "dose_high")) if place is not None),
        key=lambda end: end[0],
    )
    if len(ends) < 2:
        return None
    value, off = column("dose")
    (left, before), (right, past) = ends
    return Bar(left, right, None if off else value, before != 0, past != 0)


def _groups(found: Mapping[str, Sequence[Line]]) -> tuple[Group, ...]:
    return tuple(Group(one_line(name) or "unnamed", tuple(lines)) for name, lines in found.items())


def _bounded(panels: Sequence[Panel], *, averaged: bool) -> Strips:
    """The first lines of all panels, in turn, where there are too many for one picture."""
    count = sum(len(group.lines) for panel in panels for group in panel.groups)
    if count <= MOST:
        return Strips(tuple(panels), averaged)
    left = MOST
    shown = []
    for panel in panels:
        groups = []
        for group in panel.groups:
            lines = group.lines[:left]
            left -= len(lines)
            if lines:
                groups.append(Group(group.name, lines))
        if groups:
            shown.append(Panel(panel.title, panel.columns, tuple(groups)))
    return Strips(tuple(shown), averaged, count - MOST)
