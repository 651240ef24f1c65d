"""Does a stored table, or a stored file of records, say what the cells give?

Compared on the columns and keys that the stored one has. `strict` is for what the running code itself wrote: it has no
reason to differ. Otherwise these are remarks:

- columns and keys that the other side lacks, and all lines or records about a figure that the stored side never names;
- notes in other words, as long as their keys, their number and every number in them are the same.

`near` lets the last published digit differ, as two processors may.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from suite.publish.records import fields_bytes

LAST_DIGIT = 2e-5
"""Relative difference that two processors may have: two units in the last published digit, and as much again."""

LAST, WORDED = "values differ in the last digit from what this processor computes", "notes are worded otherwise today"
"""Why a value may differ, as a remark says it after their number."""

FIGURE_NAMES = ("metric", "figure")
"""Where a record, or a line of a table, names the figure it is about."""


@dataclass(frozen=True)
class Difference:
    """One value that differs, or a whole table where `column` is empty; `excuse` says why that is no fault."""

    line: int
    column: str
    stored: str
    wanted: str
    who: str = ""
    excuse: str = ""

    def __str__(self) -> str:
        if not self.column:
            return self.wanted
        where = f"line {self.line + 2}" + (f" ({self.who})" if self.who else "")
        return f"{where}, {self.column}: {self.stored or 'nothing'} stored, {self.wanted or 'nothing'} from the cells"


def parsed(content: bytes) -> list[list[str]]:
    """The lines of a CSV file; none where it is not readable."""
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        return []


def columns(content: bytes) -> list[str]:
    """The header of a CSV file."""
    return next(iter(parsed(content)), [])


def compare_tables(
    stored: bytes, wanted: bytes, *, near: bool, strict: bool, held: Collection[str] | None = None
) -> tuple[list[Difference], list[str]]:
    """Every value of a CSV file that is not what it should be, and remarks.

    Args:
        held: columns that are not compared; None for those that the wanted side lacks, which is a remark.
    """
    if stored == wanted:
        return [], []
    ours, theirs = parsed(stored), parsed(wanted)
    if not ours:
        return [Difference(0, "", "", "not readable as CSV")], []
    header, places = ours[0], {column: place for place, column in enumerate(theirs[0])}
    remarks: list[str] = []
    if not strict:
        theirs[1:], remarks = _about_known_figures(
            [dict(zip(header, line, strict=False)) for line in ours[1:]],
            [dict(zip(theirs[0], line, strict=True)) for line in theirs[1:]],
            theirs[1:],
        )
        if held is None:
            held = [column for column in header if column not in places]
            newer = [column for column in theirs[0] if column not in header]
            remarks += _other_keys(newer, held)
    held = held or ()
    if len(ours) != len(theirs):
        return [Difference(0, "", "", f"{len(ours)} lines stored, {len(theirs)} from the cells")], remarks
    known = [places[column] for column in header if column in places]
    foreign = any(column not in places and column not in held for column in header)
    if foreign or len(set(header)) < len(header) or (strict and known != [*places.values()]):
        return [Difference(0, "", "", "other columns than the cells give")], remarks
    named = [places[key] for key in ("model", "task", "variant") if key in places]
    apart = {column for column in (*header, *places) if column in held or not (column in header and column in places)}
    found = []
    for line, (mine, right) in enumerate(zip(ours[1:], theirs[1:], strict=True)):
        if len(mine) != len(header):
            found.append(Difference(line, "", "", f"line {line + 2} has {len(mine)} fields, not {len(header)}"))
            continue
        for column, stands in zip(header, mine, strict=True):
            if column in held or stands == (value := right[places[column]]):
                continue
            excuse = LAST if near and is_near(stands, value) else ""
            if column == "notes" and (notes := _notes(stands, apart)) != (others := _notes(value, apart)):
                excuse = WORDED if not strict and _same_but_for_words(notes, others) else ""
            elif column == "notes":
                continue
            found.append(Difference(line, column, stands, value, "/".join(right[at] for at in named), excuse))
    if not found and fields_bytes(ours) != stored:
        return [Difference(0, "", "", "written in another way (quotes, blanks or line ends)")], remarks
    counts = Counter(one.excuse for one in found if one.excuse)
    return found, remarks + [f"{count} {excuse}" for excuse, count in counts.items()]


def compare_records(stored: Any, wanted: list[Any], *, near: bool, strict: bool) -> tuple[list[Any], list[str]]:
    """What a file of records should hold, written as it is stored as far as both say the same, and remarks.

    Args:
        stored: what the file holds.
        wanted: records from the cells.
    """
    if not isinstance(stored, list):
        return wanted, []
    if strict:
        reading = _Reading(near)
        return reading.as_stored(stored, wanted), reading.remarks
    records = [one if isinstance(one, dict) else {} for one in stored]
    kept, remarks = _about_known_figures(records, wanted, wanted)
    reading = _Reading(near, words=True, newer=paths(kept) - paths(records), older=paths(records) - paths(kept))
    asked = reading.as_stored(stored, kept)
    return asked, remarks + reading.remarks


def paths(value: Any, within: str = "") -> set[str]:
    """Every key of nested records, as a path of keys.

    >>> sorted(paths([{"level": {"low": 1}}, {"model": "m"}]))
    ['level', 'level.low', 'model']
    """
    if isinstance(value, list):
        return {path for one in value for path in paths(one, within)}
    if not isinstance(value, Mapping):
        return set()
    return {within + key for key in value} | {path for key in value for path in paths(value[key], f"{within}{key}.")}


def is_near(one: str | float, other: str | float) -> bool:
    """Whether two numbers differ in the last digit at most."""
    try:
        return math.isclose(float(one), float(other), rel_tol=LAST_DIGIT, abs_tol=1e-9)
    except ValueError:
        return False


def first_difference(stored: bytes, wanted: bytes) -> str:
    """Where two texts part, in words."""
    ours, theirs = (content.decode("utf-8", errors="replace").splitlines() for content in (stored, wanted))
    for number, (mine, right) in enumerate(zip(ours, theirs, strict=False), 1):
        if mine != right:
            at = next(
                (i for i, (a, b) in enumerate(zip(mine, right, strict=False)) if a != b), min(len(mine), len(right))
            )
            start = max(0, at - 30)
            return f"line {number}: {mine[start : at + 30]!r} stored, {right[start : at + 30]!r} from the cells"
    return f"{len(ours)} lines stored, {len(theirs)} from the cells, or other line ends"


@dataclass
class _Reading:
    """How stored records are read.

    Attributes:
        near: whether the last digit may differ.
        words: whether notes may be worded otherwise.
        newer, older: paths of keys that the stored side, or today's, has nowhere.
        excused: how often what was let pass.
    """

    near: bool
    words: bool = False
    newer: Collection[str] = ()
    older: Collection[str] = ()
    excused: Counter[str] = field(default_factory=Counter)

    def as_stored(self, stored: Any, wanted: Any, within: str = "") -> Any:
        """What should be stored, written as it is stored as far as both say the same."""
        if isinstance(stored, dict) and isinstance(wanted, dict):
            return {
                key: self.as_stored(stored[key], wanted[key], f"{within}{key}.") if key in wanted else stored[key]
                for key in stored
                if key in wanted or within + key in self.older
            } | {key: wanted[key] for key in wanted if key not in stored and within + key not in self.newer}
        if self.words and within.endswith("notes.") and stored != wanted and _same_but_for_words(stored, wanted):
            self.excused[WORDED] += 1
            return stored
        if isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
            return [self.as_stored(mine, right, within) for mine, right in zip(stored, wanted, strict=True)]
        if self.near and stored != wanted and type(stored) is type(wanted) is float and is_near(stored, wanted):
            self.excused[LAST] += 1
            return stored
        return wanted

    @property
    def remarks(self) -> list[str]:
        counts = [f"{count} {excuse}" for excuse, count in self.excused.items()]
        return _other_keys(sorted(self.newer), sorted(self.older)) + counts


def _other_keys(newer: Sequence[str], older: Sequence[str]) -> list[str]:
    """Remarks on keys or columns that one side alone has."""
    lacking = [f"written without {', '.join(newer)}"] if newer else []
    return lacking + ([f"no longer computed, held to the checksum: {', '.join(older)}"] if older else [])


def _about_known_figures(
    stored: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], lines: list[Any]
) -> tuple[list[Any], list[str]]:
    """Those of `lines`, one a record of `wanted`, whose figure some stored record names, and a remark on the others."""
    for name in FIGURE_NAMES:
        known, today = ({str(one[name]) for one in side if name in one} for side in (stored, wanted))
        if known & today and today - known:
            kept = [line for line, one in zip(lines, wanted, strict=True) if str(one.get(name)) in known]
            return kept, [f"written without what is said of {', '.join(sorted(today - known))}"]
    return lines, []


def _notes(text: str, apart: Collection[str]) -> Any:
    """The notes of a row but for those of columns that are not compared."""
    try:
        content = json.loads(text)
    except ValueError:
        return text
    return {key: content[key] for key in content if key not in apart} if isinstance(content, dict) else text


def _same_but_for_words(one: Any, other: Any) -> bool:
    """Whether notes have the same keys, the same number of sentences, and the same numbers in each."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_but_for_words(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_but_for_words, one, other))
    if isinstance(one, str) and isinstance(other, str):
        first, second = (sorted(re.findall(r"\d+(?:\.\d+)?", text)) for text in (one, other))
        return first == second
    return bool(one == other)
