"""What keeping dense's threshold costs on published cells, and how often bounds hold: the tables of docs/deferral.md.

make deferral-costs

FOLDER (else the variable SUITE_PUBLISHED_DATA, else ../shared/data/ladders beside the repository) holds the ladders, as
for `make reproduce-ladders`; without it their tables stay as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.markers import check_markers, marks, write_between
from scripts.studies.reproduce_ladders import DEFAULT, read_ladder
from scripts.studies.tallies import bounds
from suite.cell import Cell, load_cells, make_cell
from suite.config import Costs, Protocol
from suite.decisions.deferral import KEPT, TUNED, find_deferrals, with_interval
from suite.decisions.task_shift import find_shifts
from suite.errors import SuiteError
from suite.publish.pages.markdown import table
from suite.verdicts.curves import MACRO

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "deferral.md"
SNAPSHOT = ROOT / "results" / "three-llms"
NAMES = ("bounds", "ladder costs", "ladder shift", "three-llms costs", "three-llms counts", "three-llms shift")
MARKERS = {name: marks(name) for name in NAMES}

RATIOS = (2.0, 5.0, 20.0)
"""Costs of a wrong answer in reviews."""

SHOWN = ("rtn-w8", "rtn-w6", "rtn-w4", "rtn-w3", "gptq-w4", "gptq-w3", "awq-w4", "awq-w3", "wanda-s50", "depth-s20")
"""Variants of three-llms in the tables; the counts are of all."""

CURVE = tuple(f"affine-w{bits}-g64" for bits in (8, 6, 5, 4, 3, 2))
"""Variants of the ladders in the table of task shift."""

Records = Sequence[Mapping[str, Any]]


def costs_table(records: Records, variants: Sequence[str] = ()) -> str:
    """Averages over tasks: what dense's own rule costs, and each variant's, kept and tuned again."""
    lines = []
    averages = [one for one in records if one["task"] == MACRO]
    for one in averages:
        if one["rule"] == KEPT and (not variants or one["variant"] in variants):
            (again,) = (
                other
                for other in averages
                if (other["model"], other["variant"], other["rule"]) == (one["model"], one["variant"], TUNED)
            )
            lines.append(
                (
                    *(one["model"], one["variant"], f"{again['answered']:.2f}", f"{one['answered']:.2f}", _errors(one)),
                    *(with_interval(one, key, "{:+,.0f}") for key in ("cost_change", "keeping_change")),
                    with_interval(again, "cost_change", "{:+,.0f}"),
                )
            )
        elif one["variant"] == "dense":
            cost = f"costs {with_interval(one, 'cost', '{:,.0f}')}"
            lines.append((one["model"], "dense", f"{one['answered']:.2f}", "", _errors(one), cost, "", ""))
    header = ("model", "variant", "answered, tuned", "answered, kept", "error, kept", "kept against dense")
    return table((*header, "keeping against tuning", "tuned against dense"), lines, left=2)


def _errors(one: Mapping[str, Any]) -> str:
    return "–" if one["error"] is None else f"{one['error']:.3f} (≤ {one['error_bound']:.3f})"


def counts_table(cells: Sequence[Cell]) -> str:
    """Of how many variant-and-task pairs each change is shown, by the ratio of the costs."""
    lines = []
    for ratio in RATIOS:
        kept = [one for one in find_deferrals(cells, Protocol(), Costs(ratio, 1)) if one["rule"] == KEPT]
        tasks = [one for one in kept if one["task"] != MACRO and one["cost_change"] is not None]
        shown = [
            sum(test(one) for one in tasks)
            for test in (_above("cost_change"), _above("keeping_change"), _below("keeping_change"))
        ]
        lines.append((f"{ratio:g}", str(len(tasks)), *map(str, shown)))
    header = ("ratio", "pairs", "kept costs more than dense", "keeping costs more than tuning again", "less")
    return table(header, lines, left=0)


def _above(key: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda one: bool(one[f"{key}_low"] > 0)


def _below(key: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda one: bool(one[f"{key}_high"] < 0)


def shift_table(records: Records, variants: Sequence[str] = ()) -> str:
    """Coverage and set size of each pair of tasks with equally many options."""
    lines = [
        (
            *(one["model"], f"{one['source']} → {one['target']}", one["variant"]),
            *(with_interval(one, "coverage", "{:.3f}"), with_interval(one, "coverage_change", "{:+.3f}")),
            *(with_interval(one, "set_size", "{:.2f}"), with_interval(one, "set_size_change", "{:+.2f}")),
        )
        for one in records
        if (not variants or one["variant"] in ("dense", *variants)) and not any("options" in n for n in one["notes"])
    ]
    header = ("model", "threshold of → used on", "variant", "coverage", "against dense", "set size", "against dense")
    return table(header, lines, left=3)


def bounds_table(draws: int) -> str:
    """How often the true error among the answered is within its bound, and the true cost within its interval."""
    lines = []
    for n in (60, 150, 400, 1000):
        for name, slope in (("calibrated", 1.0), ("overconfident", 0.5)):
            for ratio in (2.0, 5.0):
                held = _held(n, slope, Costs(ratio, 1.0), draws)
                lines.append((str(n), name, f"{ratio:g}", *(_share(found, draws) for found in held)))
    header = ("items", "confidence", "ratio of costs", "error within its bound", "cost within its interval")
    return table(header, lines, left=2)


def _share(held: int, draws: int) -> str:
    return f"{held / draws:.3f} (≥ {bounds(held, draws)[0]:.3f})"


def _held(n: int, slope: float, costs: Costs, draws: int) -> tuple[int, int]:
    """Of so many new samples of items; confidence in hundredths, from 30 to 99, alike."""
    generator = np.random.default_rng([n, int(10 * slope), int(costs.wrong)])
    right = 0.25 + slope * (np.arange(30, 100) / 100 - 0.25)
    within = [0, 0]
    for draw in range(draws):
        sure = generator.integers(30, 100, n)
        cell = _planted(sure, generator.random(n) < right[sure - 30], draw)
        (record,) = find_deferrals([cell], Protocol(), costs)
        if record["thresholds"] is None:  # no item in one half
            within = [one + 1 for one in within]
            continue
        at = [100 if one is None else round(100 * one) for one in record["thresholds"]]
        # by half: share of all questions that the other half's threshold answers, and answers wrongly
        answered = [(100 - one) / 70 for one in at]
        wrong = [float((1 - right[one - 30 :]).sum() / 70) for one in at]
        if record["error"] is None or sum(answered) == 0:
            within[0] += 1
        else:
            within[0] += sum(wrong) / sum(answered) <= record["error_bound"]
        cost = 1000 * float(
            np.mean([costs.wrong * w + costs.review * (1 - a) for w, a in zip(wrong, answered, strict=True)])
        )
        within[1] += record["cost_low"] <= cost <= record["cost_high"]
    return within[0], within[1]


def _planted(sure: np.ndarray, right: np.ndarray, draw: int) -> Cell:
    return make_cell(
        ids=[f"{draw}-{place}" for place in range(len(sure))],
        answers=np.where(right, 0, 1).tolist(),
        scores=[[one / 100, *[(1 - one / 100) / 3] * 3] for one in sure.tolist()],
        kind="probs",
        model={"name": "planted"},
        variant={"name": "dense"},
        task={"name": "planted", "scoring": "letter", "prompt": "base", "shots": 0},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write every table between its markers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    parser.add_argument("--draws", type=int, default=1000, help="samples of items for each line of the bounds")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    args = parser.parse_args(argv)
    for place in MARKERS.values():
        check_markers(args.document, *place)
    texts = {"bounds": bounds_table(args.draws)}
    cells, costs = load_cells(SNAPSHOT), Costs(10, 2)
    texts["three-llms costs"] = costs_table(find_deferrals(cells, Protocol(), costs), SHOWN)
    texts["three-llms counts"] = counts_table(cells)
    texts["three-llms shift"] = shift_table(find_shifts(cells, Protocol()), SHOWN)
    try:
        ladder = read_ladder(args.folder or Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT))
    except SuiteError as error:
        print(f"deferral_costs: the tables of the ladders stay as they are: {error}", file=sys.stderr)
    else:
        texts["ladder costs"] = costs_table(find_deferrals(ladder, Protocol(), costs))
        texts["ladder shift"] = shift_table(find_shifts(ladder, Protocol()), CURVE)
    for name, text in texts.items():
        write_between(args.document, *MARKERS[name], text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
