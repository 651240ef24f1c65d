"""How often do the suite's 95 % intervals hold the truth? Simulates whole benchmarks and writes docs/intervals.md.

    python -m scripts.studies.validate_intervals --simulations 1000 --jobs 2
    python -m scripts.studies.validate_intervals --only proportions
    python -m scripts.studies.validate_intervals --only changes --simulations 400

Each simulation draws new items with a known law, scores them with a dense model and a variant, and asks `measure`
for its intervals. The truth is the same figure on a million items. About twenty minutes on two cores; the tables of few
errors and few flips alone take a few minutes on one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from scripts.markers import check_markers, kept_block, marks, write_between
from scripts.studies import change_errors
from scripts.studies.proportion_coverage import section
from scripts.studies.tallies import grow, in_turns, read_tallies
from suite import measure
from suite.cell import Cell, make_cell
from suite.metrics import bootstrap, calibration, conformal, proper
from suite.metrics.proportions import paired_interval

Floats = NDArray[np.float64]

OPTIONS = 4
POPULATION = 1_000_000
REPLICATES = 500
CHANGES = ("accuracy", "nll", "brier", "lac_set_size", "aps_set_size", "set_size", "ece")
MEANS = ("accuracy", "nll", "brier")
MANY = 10_000
START, END = marks("few errors")
CHANGES_START, CHANGES_END = marks("one side")
ECE_METHODS = {
    "plain": "percentiles of the plug-in ECE",
    "recentred": "the same percentiles, moved by twice the bootstrap's estimate of the bias",
    "debiased": "debiased ECE, plus and minus 1.96 bootstrap standard errors (what the suite reports)",
}


@dataclass(frozen=True)
class Scenario:
    """A dense model and a variant: noise on the logits (lost knowledge) and their scale (misplaced confidence)."""

    name: str
    dense_scale: float
    variant_noise: float
    variant_scale: float
    dense_noise: float = 0.3


SCENARIOS = (
    Scenario("no change", 1.0, 0.3, 1.0),
    Scenario("no change, both overconfident", 1.6, 0.3, 1.6),
    Scenario("moderate loss", 1.0, 0.8, 1.3),
    Scenario("collapse, overconfident", 1.0, 2.0, 2.0),
)


def draw_scores(scenario: Scenario, n: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Answers, dense logits, variant logits. Answers follow hidden logits that both models see in noise."""
    hidden = generator.normal(0, 1.3, (n, OPTIONS))
    answers = (hidden + generator.gumbel(size=hidden.shape)).argmax(axis=1)
    dense = (hidden + scenario.dense_noise * generator.normal(size=hidden.shape)) * scenario.dense_scale
    variant = (hidden + scenario.variant_noise * generator.normal(size=hidden.shape)) * scenario.variant_scale
    return answers, dense, variant


def population_figures(logits: Floats, answers: NDArray[np.int64], *, alpha: float = 0.1) -> dict[str, float]:
    """The figures of a model without sampling error, up to that of the population's size."""
    p = special.softmax(logits, axis=1)
    right = p[np.arange(len(answers)), answers]
    aps = conformal.aps_scores(p, answers, draws=np.random.default_rng(1).random(len(answers)))
    diagram = calibration.reliability_bins(p.max(axis=1), proper.fractional_correct(p, answers))
    lac_size = float((p >= np.quantile(right, alpha)).sum(axis=1).mean())
    aps_size = float((aps.options >= np.quantile(aps.calibration, alpha)).sum(axis=1).mean())
    return {
        "accuracy": float(proper.fractional_correct(p, answers).mean()),
        "nll": float(-np.log(right).mean()),
        "brier": float(proper.brier_score(p, answers).mean()),
        "lac_set_size": lac_size,
        "aps_set_size": aps_size,
        "set_size": (lac_size + aps_size) / 2,
        "ece": calibration.expected_calibration_error(diagram),
    }


def true_figures(scenario: Scenario, *, population: int = POPULATION) -> dict[str, float]:
    """Truth of every figure of the variant and of every change."""
    answers, dense, variant = draw_scores(scenario, population, np.random.default_rng(12345))
    before, after = population_figures(dense, answers), population_figures(variant, answers)
    return {**after, **{f"{key}_change": after[key] - before[key] for key in CHANGES}}


def as_cell(logits: Floats, answers: NDArray[np.int64], ids: list[str], variant: str) -> Cell:
    """A cell of simulated scores."""
    return make_cell(
        ids=ids,
        answers=answers.tolist(),
        scores=logits.tolist(),
        kind="logits",
        model={"name": "simulated"},
        variant={"name": variant},
        task={"name": "simulated", "scoring": "letter", "prompt": "base", "shots": 0},
    )


def simulate(
    scenario: Scenario, n: int, seed: int, *, replicates: int = REPLICATES
) -> dict[str, tuple[float, float, float]]:
    """One benchmark: (value, low, high) of every figure of the variant, every change, and the other ECE intervals."""
    generator = np.random.default_rng([seed, n])
    answers, dense, variant = draw_scores(scenario, n, generator)
    ids = [f"{seed}-{item}" for item in range(n)]  # new items, so new folds and draws
    cells = [as_cell(dense, answers, ids, "dense"), as_cell(variant, answers, ids, "rtn-w4")]
    row = measure(cells, replicates=replicates)[1]
    found = {}
    for key in [*CHANGES, *(f"{key}_change" for key in CHANGES)]:
        centre = "ece_debiased" if key == "ece" else key
        found[key] = (float(str(row[centre])), float(str(row[f"{key}_low"])), float(str(row[f"{key}_high"])))
    return found | _other_ece_intervals(dense, variant, answers, ids, replicates)


def _other_ece_intervals(
    dense: Floats, variant: Floats, answers: NDArray[np.int64], ids: list[str], replicates: int
) -> dict[str, tuple[float, float, float]]:
    weights = bootstrap.unit_weights(ids, replicates=replicates)
    points, resampled = [], []
    for logits in (dense, variant):
        p = special.softmax(logits, axis=1)
        confidence, correct = p.max(axis=1), proper.fractional_correct(p, answers)
        number = calibration.bin_numbers(confidence, calibration.equal_width_edges())
        points.append(calibration.expected_calibration_error(calibration.reliability_bins(confidence, correct)))
        resampled.append(
            # without deviations this is the plain ECE of each replicate
            bootstrap.debiased_error_replicates(
                correct - confidence, number, deviation=np.zeros(calibration.BINS), weights=weights
            )
        )
    found = {}
    for key, point, spread in (
        ("ece", points[1], resampled[1]),
        ("ece_change", points[1] - points[0], resampled[1] - resampled[0]),
    ):
        low, high = bootstrap.percentile_interval(spread)
        bias = float(spread.mean()) - point
        found[f"{key} plain"] = (point, low, high)
        found[f"{key} recentred"] = (point - bias, low - 2 * bias, high - 2 * bias)
    return found


def coverage_of_means(scenario: Scenario, n: int, *, simulations: int, seed: int = 1) -> dict[str, float]:
    """Coverage for the changes that are plain means, which are quick enough for many more benchmarks, on new items.

    The kernel is the suite's, at its default of 1,000 replicates, and so is the interval of the paired proportion.
    """
    weights = bootstrap.unit_weights([str(item) for item in range(n)], replicates=1000)
    truth = true_figures(scenario)
    held = np.zeros(3)
    generator = np.random.default_rng([seed, n])
    for _ in range(simulations):
        answers, *both = draw_scores(scenario, n, generator)
        columns = []
        for logits in both:
            p = special.softmax(logits, axis=1)
            loss = -np.log(p[np.arange(n), answers])
            columns.append(
                np.column_stack([proper.fractional_correct(p, answers), loss, proper.brier_score(p, answers)])
            )
        replicates = bootstrap.weighted_means(columns[1] - columns[0], weights)
        for index, key in enumerate(MEANS):
            low, high = bootstrap.percentile_interval(replicates[index])
            if key == "accuracy":
                low, high = paired_interval(columns[1][:, index] - columns[0][:, index], np.arange(n))
            held[index] += low <= truth[f"{key}_change"] <= high
    return dict(zip(MEANS, (held / simulations).tolist(), strict=True))


@dataclass(frozen=True)
class Record:
    """What the simulations say about one figure: truth, mean and spread of its estimates, and its interval's record."""

    truth: float
    mean: float
    deviation: float
    standard_error: float
    coverage: float
    simulations: int


def summarize(results: list[dict[str, tuple[float, float, float]]], truth: dict[str, float]) -> dict[str, Record]:
    """Coverage and calibration of the interval of each figure."""
    records = {}
    for key in results[0]:
        values, low, high = np.array([result[key] for result in results]).T
        target = truth[key.split()[0]]
        records[key] = Record(
            target,
            float(values.mean()),
            float(values.std(ddof=1)),
            float((high - low).mean() / 3.92),
            float(((low <= target) & (target <= high)).mean()),
            len(results),
        )
    return records


def _job(arguments: tuple[int, int, int]) -> dict[str, tuple[float, float, float]]:
    scenario, n, seed = arguments
    return simulate(SCENARIOS[scenario], n, seed)


def changes(file: Path, benchmarks: int, jobs: int) -> str:
    """The part of docs/intervals.md about single sides, after what is missing has been drawn."""
    asked = dict.fromkeys(change_errors.conditions(), benchmarks)
    wanted = in_turns(asked, read_tallies(file, change_errors.VERSION), turns=-(-benchmarks // 20))
    work = ((name, seeds, (name, seeds)) for name, seeds in wanted)
    return change_errors.section(grow(file, change_errors.VERSION, work, change_errors.count, processes=jobs))


def means_section(coverages: dict[tuple[str, int], dict[str, float]]) -> str:
    """The part of docs/intervals.md about changes that are plain means."""
    lines = [
        "## Changes of plain means, with many more benchmarks",
        "",
        "All benchmarks of one size share the bootstrap's draws, so the simulations above share their luck, and with",
        f"it an error of some hundredths in the width of an interval. Here are {MANY:,} other benchmarks a scenario at",
        "the suite's default of 1,000 replicates (a coverage has a Monte Carlo standard error of 0.002). The change of",
        "accuracy has no draws: its interval is that of the flips.",
        "",
        "| scenario | items | `accuracy_change` | `nll_change` | `brier_change` |",
        "|---|---|---|---|---|",
        *[
            f"| {name} | {n} | " + " | ".join(f"{found[key]:.3f}" for key in MEANS) + " |"
            for (name, n), found in coverages.items()
        ],
    ]
    return "\n".join([*lines, ""])


def page(records: dict[tuple[str, int], dict[str, Record]], simulations: int) -> str:
    """docs/intervals.md."""
    lines = [
        "# Do the intervals hold the truth?",
        "",
        f"Written by `scripts/studies/validate_intervals.py` from {simulations} simulated benchmarks a scenario (four",
        f"options an item, 100 splits, {REPLICATES} replicates, alpha 0.1).",
        "Every simulation draws new items, with new folds.",
        "The truth is the figure on a million items, at the population's own conformal threshold. *Spread* is the",
        "standard deviation of the estimate over simulations, *SE* the interval's width over 3.92; they should be",
        "alike, and the coverage of a 95 % interval near 0.95 (a coverage has a Monte Carlo standard error of",
        f"{np.sqrt(0.95 * 0.05 / simulations):.3f}). With few items the conformal rank ceil((n + 1)(1 - alpha)) lies "
        "above",
        "the population's quantile, so set sizes run slightly high; in changes this cancels.",
        "",
    ]
    header = ["| figure | truth | mean estimate | spread | SE | coverage |", "|---|---|---|---|---|---|"]
    for (name, n), table in records.items():
        lines += [f"## {name[0].upper()}{name[1:]}, {n} items", "", *header]
        for key, record in table.items():
            if " " not in key:
                lines.append(_line(f"`{key}`", record))
        lines.append("")
    lines += [
        "## Expected calibration error: which interval?",
        "",
        "The estimand is the top-label ECE over 15 equal-width bins of the population. The plug-in estimate is biased",
        "upward, the more so the better the model is calibrated, and resampling repeats the bias; it differs between",
        "dense and variant, so it does not cancel in the change. Tried:",
        "",
        *[f"* *{name}*: {meaning}" for name, meaning in ECE_METHODS.items()],
        "",
        "| scenario | items | figure | truth | plain | recentred | debiased | debiased: mean estimate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, n), table in records.items():
        for key in ("ece", "ece_change"):
            ours = table[key]
            plain, recentred = table[f"{key} plain"].coverage, table[f"{key} recentred"].coverage
            lines.append(
                f"| {name} | {n} | `{key}` | {ours.truth:.4f} | {plain:.3f} | {recentred:.3f} | {ours.coverage:.3f} "
                f"| {ours.mean:.4f} |"
            )
    return "\n".join([*lines, ""])


def _line(name: str, record: Record) -> str:
    return (
        f"| {name} | {record.truth:.4f} | {record.mean:.4f} | {record.deviation:.4f} | {record.standard_error:.4f} "
        f"| {record.coverage:.3f} |"
    )


def main() -> None:
    """Simulate, summarize, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--items", type=int, nargs="+", default=[400])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("proportions", "changes"), help="write these tables alone")
    parser.add_argument("--counts", type=Path, default=change_errors.COUNTS, metavar="FILE", help="of --only changes")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs" / "intervals.md")
    options = parser.parse_args()
    if options.only == "changes":
        check_markers(options.out, CHANGES_START, CHANGES_END)
        text = changes(options.counts, options.simulations, options.jobs)
        write_between(options.out, CHANGES_START, CHANGES_END, text)
        return
    if options.only:
        check_markers(options.out, START, END)
        write_between(options.out, START, END, section())
        return
    started = time.monotonic()
    records: dict[tuple[str, int], dict[str, Record]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, scenario in enumerate(SCENARIOS):
            truth = true_figures(scenario)
            for n in options.items:
                jobs = [(number, n, seed) for seed in range(options.simulations)]
                records[scenario.name, n] = summarize(list(pool.map(_job, jobs, chunksize=10)), truth)
                print(f"{scenario.name}, {n} items: {time.monotonic() - started:.0f} s", file=sys.stderr)
    means = {
        (scenario.name, n): coverage_of_means(scenario, n, simulations=MANY)
        for scenario in SCENARIOS
        for n in options.items
    }
    few = f"{START}\n{section()}\n{END}\n"
    sides = kept_block(options.out, CHANGES_START, CHANGES_END)
    text = "\n".join([page(records, options.simulations), few, sides, "", means_section(means)])
    options.out.write_text(text, encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
