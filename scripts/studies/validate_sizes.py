"""How often do two sizes of one family seem to differ when they do not? Writes the table of docs/scale.md.

    make validate-sizes
    .venv/bin/python -m scripts.studies.validate_sizes --jobs 2 --draws 1000

Two models see the same items, the smaller one in more noise, and the same share of the way to guessing is planted in
both (Brier score after temperature). `scales_of`, what `suite collapse` and the pages say, is asked for the difference
on the average over two tasks; an interval that leaves the true difference out, to either side, is an error. By set size
the same levels truly differ by a little, which is known and taken as the truth. Counts: docs/validation/sizes.json.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from scripts.markers import check_markers, marks, write_between
from scripts.studies.synthetic import Plan, Population, draw_cells
from scripts.studies.tallies import FOLDER, Tally, grow, in_turns, rate, read_tallies
from scripts.studies.validate_dose import REPLICATES, SPLITS, Truth, plant
from suite.config import Protocol
from suite.metrics.rows import measure_cells
from suite.publish.pages.markdown import table
from suite.verdicts.curves import MACRO
from suite.verdicts.dose_records import JOINT_KEYS
from suite.verdicts.given import Given
from suite.verdicts.scale import scales_of

VERSION = 2
"""Raised when the rule or the drawing changes."""
COUNTS = FOLDER / "sizes.json"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
PLACE = marks("size errors")

MODELS = {"made-0.5b": Population(dense_noise=2.0), "made-1.5b": Population()}
BILLIONS = {"made-0.5b": 5e8, "made-1.5b": 1.5e9}
ITEMS, LOSSES = (100, 400, 1000), (0.05, 0.25)
METRICS = ("brier_ts", "set_size")

Job = tuple[int, float, Mapping[str, Truth], Sequence[int]]


def title(items: int, loss: float) -> str:
    """The name of a condition."""
    return f"{items:,} items a task; loss {loss:g}"


@lru_cache
def truth(loss: float) -> dict[str, Truth]:
    """The level of each model that has truly lost so much."""
    return {name: plant(population, "noise", loss) for name, population in MODELS.items()}


def one_draw(items: int, levels: Mapping[str, Truth], seed: int) -> dict[str, str]:
    """By metric: ``below`` or ``above`` where the interval leaves the true difference out on that side, else ``""``."""
    cells = []
    for task in range(2):
        for name, population in MODELS.items():
            plan = Plan(np.array([population.dense_noise, levels[name].noise]), np.empty(0))
            for cell in draw_cells(population, plan, n=items, seed=2 * seed + task):
                named = replace(cell, model={"name": name, "params": BILLIONS[name]})
                cells.append(replace(named, task={**cell.task, "name": f"task-{task}"}))
    rules = Protocol(splits=SPLITS, replicates=REPLICATES, seed=seed)
    found = {}
    for one in scales_of(Given(measure_cells(cells, rules, keep=JOINT_KEYS), rules)):
        metric = str(one["metric"])
        pairs = one["differences"]
        assert isinstance(pairs, list)
        if (one["task"], one["figure"]) == (MACRO, "loss") and pairs and pairs[0]["difference_low"] is not None:
            small, large = (levels[name].losses[metric] for name in MODELS)
            low, high = pairs[0]["difference_low"], pairs[0]["difference_high"]
            found[metric] = "below" if high < large - small else "above" if low > large - small else ""
    return found


def count(job: Job) -> Counter[str]:
    """What some draws of a condition came to."""
    items, _, levels, seeds = job
    counts: Counter[str] = Counter()
    for seed in seeds:
        for metric, side in one_draw(items, levels, seed).items():
            counts.update([f"{metric}: intervals", *([f"{metric}: {side}"] if side else [])])
    return counts


def errors_table(tallies: Mapping[str, Tally]) -> str:
    """A line a condition, then all together: how often the interval misses the truth, with one-sided upper bounds."""
    lines = []
    together = sum((one.counts for one in tallies.values()), Counter[str]())
    everything = Tally(frozenset(range(sum(one.draws for one in tallies.values()))), together)
    for key, one in [*tallies.items(), ("together", everything)]:
        cells = [
            rate(one.counts[f"{metric}: {side}"], one.counts[f"{metric}: intervals"])
            for metric in METRICS
            for side in ("below", "above")
        ]
        lines.append((key, f"{one.draws:,}", *cells))
    heads = [f"`{metric}`, {side} the truth" for metric in METRICS for side in ("below", "above")]
    return table(("condition", "draws", *heads), lines, left=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the draws that are missing and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=200, metavar="N", help="of each condition (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--counts", type=Path, default=COUNTS, metavar="FILE")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE")
    args = parser.parse_args(argv)
    check_markers(args.document, *PLACE)
    asked = {title(items, loss): (items, loss) for items in ITEMS for loss in LOSSES}
    turns = in_turns(dict.fromkeys(asked, args.draws), read_tallies(args.counts, VERSION), turns=10)
    jobs = ((key, seeds, (*asked[key], truth(asked[key][1]), seeds)) for key, seeds in turns)
    tallies = grow(args.counts, VERSION, jobs, count, processes=args.jobs)
    write_between(args.document, *PLACE, errors_table({key: tallies[key] for key in asked if key in tallies}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
