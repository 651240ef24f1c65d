"""What the draws of a study came to, counted: a small file in the repository, so that anybody's draws add up.

A study names its conditions and numbers the draws of each; the number is the seed. Only counts are kept, with the
numbers of the draws behind them: no draw is made or counted twice, whoever stopped whichever run, and tables are made
from the counts alone. ``docs/validation/NAME.json`` holds one study at one version of its rule.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.files import read_text, write_file
from suite.metrics.proportions import exact_interval

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "validation"


@dataclass(frozen=True)
class Tally:
    """Draws of one condition.

    Attributes:
        seeds: numbers of the draws.
        counts: how often what was seen in them, by a name of the study's choice; what was never seen counts 0.
    """

    seeds: frozenset[int] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def draws(self) -> int:
        """How many."""
        return len(self.seeds)

    def __add__(self, other: Tally) -> Tally:
        """Both together.

        Raises:
            ValueError: a draw is in both.
        """
        if twice := self.seeds & other.seeds:
            raise ValueError(f"counted twice: draws {_ranges(twice)}")
        return Tally(self.seeds | other.seeds, self.counts + other.counts)


def read_tallies(file: Path, version: int) -> dict[str, Tally]:
    """By condition; nothing where there is no such file, or where it holds another version (said on stderr)."""
    if not file.is_file():
        return {}
    kept = json.loads(read_text(file, "counts"))
    if kept["version"] != version:
        print(f"{file}: counts of version {kept['version']} are left out, the study is at {version}", file=sys.stderr)
        return {}
    return {
        key: Tally(
            frozenset(seed for first, last in one["draws"] for seed in range(first, last + 1)), Counter(one["counts"])
        )
        for key, one in kept["conditions"].items()
    }


def write_tallies(file: Path, version: int, tallies: Mapping[str, Tally]) -> None:
    """Whole or not at all, a condition a line, so that a difference names the conditions that have grown."""
    lines = [
        f"  {json.dumps(key)}: "
        + json.dumps({"draws": _ranges(one.seeds), "counts": {name: one.counts[name] for name in sorted(one.counts)}})
        for key, one in tallies.items()
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(lines)
    write_file(file, f'{{\n "version": {version},\n "conditions": {{\n{text}\n }}\n}}\n')


def _ranges(seeds: Iterable[int]) -> list[list[int]]:
    """First and last of each run of numbers.

    >>> _ranges([4, 0, 1, 2, 7])
    [[0, 2], [4, 4], [7, 7]]
    """
    found: list[list[int]] = []
    for seed in sorted(seeds):
        if found and seed == found[-1][1] + 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return found


def in_turns(
    asked: Mapping[str, int], known: Mapping[str, Tally], *, turns: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The draws that are missing, a part of every condition's in each turn: all grow together, so that a study that is
    stopped early has some of each.

    Args:
        asked: how many draws of each condition there shall be.
    """
    for turn in range(turns):
        for key, draws in asked.items():
            first, last = (round(draws * part / turns) for part in (turn, turn + 1))
            some = tuple(seed for seed in range(first, last) if key not in known or seed not in known[key].seeds)
            if some:
                yield key, some


def grow(
    file: Path,
    version: int,
    jobs: Iterable[tuple[str, Sequence[int], Any]],
    count: Callable[[Any], Counter[str]],
    *,
    processes: int = 1,
) -> dict[str, Tally]:
    """Make draws and add what they came to. The file is written after each job: an interruption costs that one.

    Args:
        jobs: condition, numbers of the draws, and what ``count`` gets.
        count: makes the draws of a job and counts them.

    Returns:
        What the file then holds.
    """
    tallies = read_tallies(file, version)
    for key, seeds, counts in _counted(count, jobs, processes):
        tallies[key] = tallies.get(key, Tally()) + Tally(frozenset(seeds), counts)
        write_tallies(file, version, tallies)
        print(f"{tallies[key].draws:,} draws: {key}", file=sys.stderr)
    return tallies


def _counted(
    count: Callable[[Any], Counter[str]], jobs: Iterable[tuple[str, Sequence[int], Any]], processes: int
) -> Iterator[tuple[str, Sequence[int], Counter[str]]]:
    if processes < 2:
        yield from ((key, seeds, count(job)) for key, seeds, job in jobs)
        return
    known = list(jobs)
    with ProcessPoolExecutor(processes) as pool:
        for (key, seeds, _), counts in zip(known, pool.map(count, [job for _, _, job in known]), strict=True):
            yield key, seeds, counts


def bounds(hits: int, of: int) -> tuple[float, float]:
    """One-sided 95 % bounds of a rate (Clopper-Pearson)."""
    return exact_interval(hits, of, level=0.9)


def rate(hits: int, of: int) -> str:
    """A rate with its one-sided 95 % upper bound.

    >>> rate(0, 59), rate(0, 0)
    ('0.000 (≤ 0.050)', '–')
    """
    return f"{hits / of:.3f} (≤ {bounds(hits, of)[1]:.3f})" if of else "–"
