"""Formula numbers: which computation each published value and file comes from, and what today's code cannot make again.

The numbers of rows stand in `suite.metrics.figures`, those of files here; a snapshot's manifest keeps both. Where a
number differs from today's, `suite verify` does not recompute: it holds the value to the file's checksum and says so.
What a snapshot has is what is compared: a figure or file that its manifest does not number and that it lacks is newer
than the snapshot. One that it has all the same has the number 1. Pages and pictures have none: `suite.publish.verify`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from suite.decisions.analyses import ANALYSES
from suite.metrics.figures import FIGURES, columns_of, interval_columns
from suite.publish.figures import FOLDER


@dataclass(frozen=True)
class Numbered:
    """A file that is computed from cells.

    Attributes:
        formula: number of its formula; raise it when some cells give other contents.
        rests_on: figures of rows it is made of: when their formula is another one, so is the file's.
    """

    formula: int
    rests_on: tuple[str, ...]


NUMBERED = {
    "ranking.csv": Numbered(2, ("accuracy", "set_size", "flags")),
    "equal-megabytes.csv": Numbered(2, ("accuracy", "set_size", "flags")),
    **{file: Numbered(one.formula, (*one.rests_on, "flags")) for file, one in ANALYSES.items()},
}
"""Files of numbers beside the rows."""

PAGES = ("LEADERBOARD.md", "index.html")
"""Texts that show rows and analyses. Older manifests number them; nothing asks for it."""

IDENTITY = ("model", "variant", "task", "scoring", "prompt", "shots")
"""Columns that say which cell a row is of; no snapshot lacks one."""

UNNUMBERED = 1
"""The number of whatever a manifest does not number."""


def numbers() -> dict[str, dict[str, int]]:
    """Today's formula numbers, as a manifest keeps them: of figures, of the ends of their intervals, of files."""
    return {
        "figures": {key: figure.formula for key, figure in FIGURES.items()},
        "intervals": {key: figure.interval for key, figure in FIGURES.items() if figure.interval is not None},
        "files": {name: analysis.formula for name, analysis in NUMBERED.items()},
    }


Pair = tuple[int, int | None]
"""A formula number as stored and today's; None where nothing computes the value any more."""


@dataclass(frozen=True)
class Held:
    """What a verifier holds to its checksum, because another formula made it.

    Attributes:
        columns: of the rows, with both numbers.
        files: analyses, with both numbers; None where the numbers of what they are made of differ alone.
        absent: columns computed today that the snapshot was written without.
        lacking: columns it should have and has not.
        newer: analyses of today that the snapshot was written without.
    """

    columns: Mapping[str, Pair] = field(default_factory=dict)
    files: Mapping[str, Pair | None] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()

    def remarks(self, present: Collection[str]) -> list[str]:
        """What a reader of the verification should know, one line a kind.

        Args:
            present: files of the snapshot; others are not named.
        """
        ends = {end for key in self.columns for end in interval_columns(key)}
        groups: dict[Pair, list[str]] = {}
        for name, pair in self.columns.items():
            if name not in ends:
                groups.setdefault(pair, []).append(name)
        shown = []
        for name, both in self.files.items():
            if name not in present:
                continue
            if both is None:
                shown.append(name)
            else:
                groups.setdefault(both, []).append(name)
        said = []
        for (then, now), names in groups.items():
            how = "no longer computed" if now is None else f"computed by formula {then}, today {now}"
            newer = "; a newer suite can compute them again" if now is not None and then > now else ""
            said.append(f"{how}: {', '.join(names)}{newer}")
        if shown:
            said.append(f"made of such figures: {', '.join(shown)}")
        found = [f"held to the checksums of the manifest: {'; '.join(said)}"] if said else []
        if self.absent:
            found.append(f"rows.csv: written without {', '.join(self.absent)}")
        return found


def find_held(manifest: Mapping[str, Any], columns: Collection[str]) -> Held:
    """What of a snapshot was made by other formulas than today's.

    Args:
        manifest: of the snapshot.
        columns: of its rows.csv.
    """
    stored = manifest.get("formulas", {})
    then: dict[str, dict[str, int]] = {part: stored.get(part, {}) for part in ("figures", "intervals", "files")}
    now = numbers()

    def differing(part: str, key: str) -> Pair | None:
        pair = (then[part].get(key, UNNUMBERED), now[part][key])
        return None if pair[0] == pair[1] else pair

    other: dict[str, Pair] = {}
    for key in now["figures"]:
        if pair := differing("figures", key):
            other |= dict.fromkeys(columns_of(key), pair)
        elif key in now["intervals"] and (pair := differing("intervals", key)):
            other |= dict.fromkeys(interval_columns(key), pair)
    listed = {*then["figures"], *(end for key in then["intervals"] for end in interval_columns(key))}
    today = [column for key in FIGURES for column in columns_of(key)]
    lost = [column for column in dict.fromkeys((*today, *sorted(listed))) if column not in columns]
    lacking = tuple(column for column in lost if column in listed or column in IDENTITY)
    held = {column: pair for column, pair in other.items() if column in columns}
    for column in columns:
        if column not in today and (column in listed or not stored):
            held[column] = (then["figures"].get(column, UNNUMBERED), None)
    files: dict[str, Pair | None] = {}
    newer = []
    for name, analysis in NUMBERED.items():
        if name not in manifest["files"] and name not in then["files"]:
            newer.append(name)
        elif (pair := differing("files", name)) or not held.keys().isdisjoint(analysis.rests_on):
            files[name] = pair
    files |= {
        name: (number, None)
        for name, number in then["files"].items()
        if name not in (*NUMBERED, *PAGES, FOLDER) and name in manifest["files"]
    }
    absent = tuple(column for column in lost if column not in lacking)
    return Held(held, files, absent, lacking, tuple(newer))
