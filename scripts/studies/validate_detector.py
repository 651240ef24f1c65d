"""How often are the collapse verdicts right? Plants curves of known shape and writes the tables of docs/detector.md.

    make validate-detector
    .venv/bin/python -m scripts.studies.validate_detector --jobs 2 --repetitions 400
    .venv/bin/python -m scripts.studies.validate_detector --repetitions 0      the tables again, from the counts

Every repetition draws new items with new scores for dense and for each level, computes set sizes and their bootstrap
replicates the way rows are computed, and applies the rule. What they come to is counted in
docs/validation/detector.json; an interrupted study goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scripts.markers import check_markers, marks, write_between
from scripts.studies.synthetic import (
    LEVEL_NAMES,
    SHAPES,
    THRESHOLDS,
    Plan,
    Population,
    draw_cells,
    in_one_step,
    plan_curve,
)
from scripts.studies.tallies import FOLDER, Tally, bounds, grow, in_turns, read_tallies
from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.measure import Scored
from suite.metrics.proportions import exact_interval
from suite.metrics.sample import Sample
from suite.publish.pages.markdown import table
from suite.verdicts.collapse import RULE, Curve, judge
from suite.verdicts.curves import METRICS, PRIMARY
from suite.verdicts.shapes import Family, Whitened, smooth_families

ROOT = Path(__file__).resolve().parent.parent.parent

SPLITS, REPLICATES = 20, 300
COUNTS = FOLDER / "detector.json"
TABLES = ("in short", "other rules", "no threshold", "threshold", "shares")
VERSION = 3
"""Raised when the rule or the drawing changes, so that kept results of an older one are not mixed in."""


USUAL = Population()


@dataclass(frozen=True)
class Setting:
    """One planted truth."""

    shape: str
    n: int = 1000
    levels: int = 7
    rise: float = 0.5
    jitter: float = 0.0
    population: Population = USUAL

    @property
    def title(self) -> str:
        """A stable name."""
        return f"{self.shape}, {describe(self)}"

    @property
    def broken(self) -> int | None:
        """First broken level of a planted threshold."""
        if self.shape not in THRESHOLDS:
            return None
        return self.levels - 1 if self.shape == "end step" else (self.levels - 1) // 2 + 1

    def repetitions(self, asked: int) -> int:
        """Fewer for large samples, which take longer."""
        return max(min(60, asked), min(asked, int(asked * 1500 / self.n)))


NULLS = [shape for shape in SHAPES if shape not in THRESHOLDS]
MAIN_NULLS = ("constant", "straight", "convex")


def settings() -> list[Setting]:
    """Every planted truth of the study; the base case is 1,000 items, 7 levels with dense, 4 options."""
    found = [Setting(shape) for shape in SHAPES]
    others = [Population(options=2), Population(options=6), Population(strength=1.0)]
    others += [Population(strength=4.0), Population(uneven=0.5), Population(group=4)]
    for shape in MAIN_NULLS:
        found += [Setting(shape, n=n) for n in (100, 300, 3000, 10_000)]
        found += [Setting(shape, rise=0.9), Setting(shape, jitter=0.03)]
        found += [Setting(shape, n=3000, jitter=0.03), Setting(shape, n=3000, jitter=0.06)]
        found += [Setting(shape, levels=4), Setting(shape, levels=5), Setting(shape, levels=8)]
        found += [Setting(shape, population=population) for population in others]
    for rise in (0.25, 0.5, 0.75):
        found += [Setting("step", n=n, rise=rise) for n in (100, 300, 1000, 3000)]
    found += [Setting("step", jitter=0.03), Setting("step", levels=5), Setting("step", levels=8)]
    found += [Setting("step", population=population) for population in others]
    found += [Setting("end step", rise=0.75), Setting("end step", n=3000)]
    return list(dict.fromkeys(found))


def one_curve(setting: Setting, plan: Plan, seed: int) -> Curve:
    """New items, their scores on every level, set sizes with replicates: what the rule sees."""
    return measure_curve(setting, draw_cells(setting.population, plan, n=setting.n, seed=seed))


def measure_curve(setting: Setting, cells: Sequence[Cell], *, replicates: int = REPLICATES) -> Curve:
    """Set sizes of every level with replicates, as rows have them."""
    how = Protocol(splits=SPLITS, replicates=replicates, seed=0)
    sample = Sample(cells[0].ids, cells[0].units, how)
    values, resampled = [], []
    for cell in cells:
        scored = Scored(cell, sample)
        values.append((scored.lac_splits.mean_size + scored.aps_splits.mean_size) / 2)
        resampled.append((scored.lac_resampled.size + scored.resampled(scored.aps).size) / 2)
    metric = METRICS[PRIMARY]
    chance = setting.population.chance
    exhausted = "at the value at chance" if chance - values[0] <= metric.minimum else ""
    return Curve(
        names=LEVEL_NAMES[: setting.levels],
        values=np.array(values),
        replicates=np.stack(resampled),
        minimum=metric.minimum,
        chance=chance,
        items=len(set(cells[0].units)),
        exhausted=exhausted,
    )


PARAMETERS = {"constant": 1, "straight": 2, "quadratic": 3, "exponential": 3, "sigmoid": 4, "ramp": 4, "step": 3}


def lowest_bic(curve: Curve) -> bool:
    """The obvious rival of the rule: is a step the shape with the lowest Bayesian information criterion?"""
    levels = len(curve.values)
    white = Whitened.by(np.cov(curve.replicates))
    dose = np.arange(levels, dtype=np.float64)
    steps = np.stack([np.stack([np.ones(levels), dose >= level], axis=1) for level in range(1, levels)])
    families = [*smooth_families(tuple(dose.tolist())), Family("step", steps.astype(np.float64))]
    scores = {
        family.name: float(white.projector(family)(curve.values[None])[0][0])
        + PARAMETERS[family.name] * math.log(levels)
        for family in families
    }
    return min(scores, key=lambda name: scores[name]) == "step"


def largest_jump(curve: Curve) -> bool:
    """Another: does the largest jump alone, by its interval, carry more than half of the rise?"""
    level = int(np.diff(curve.values).argmax()) + 1
    replicates = curve.replicates
    share = replicates[level] - replicates[level - 1] - (replicates[-1] - replicates[0]) / 2
    jump = replicates[level] - replicates[level - 1]
    return bool(np.quantile(share, 0.05) > 0 and np.quantile(jump, 0.05) > curve.minimum)


def run_setting(setting: Setting, seeds: Iterable[int]) -> Counter[str]:
    """Verdicts of some repetitions; of those called a threshold, what else is right; and what other rules call one."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        generator = np.random.default_rng([setting.n, setting.levels, seed])
        jitter = generator.normal(0, setting.jitter, setting.levels - 1) if setting.jitter else None
        plan = plan_curve(setting.population, setting.shape, levels=setting.levels, rise=setting.rise, jitter=jitter)
        curve = one_curve(setting, plan, seed=seed)
        finding = judge(curve)
        counts[finding.verdict] += 1
        if finding.verdict == "threshold" and setting.broken is not None:
            low, high = finding.level_low, finding.level_high
            least, most = finding.jump_low, finding.jump_high
            assert low is not None
            assert high is not None
            assert least is not None
            assert most is not None
            true_jump = float(np.diff(plan.set_size)[int(np.diff(curve.values).argmax())])
            counts["right level"] += finding.level == setting.broken
            counts["level interval"] += low <= setting.broken <= high
            counts["jump interval"] += least <= true_jump <= most
        counts["lowest BIC"] += lowest_bic(curve)
        counts["largest jump"] += largest_jump(curve)
    return +counts


SHARES = (0.4, 0.5, 0.6, 0.75)
"""Of the rise, in one step: real rounding curves have .46 to .68 there, and the rule's cut-off is one half."""

SHARES_ITEMS = (300, 1000)

LISTS = {
    "all seven": (0, 1, 2, 3, 4, 5, 6),
    "every other": (0, 2, 4, 6),
    "gap at the step": (0, 2, 5, 6),
    "many mild ones, none after": (0, 1, 2, 3, 4),
    "many severe ones": (0, 3, 4, 5, 6),
}
"""Lists of levels of one and the same curve, by their places."""


def share_in_one_jump(share: float, levels: Sequence[int]) -> float:
    """Part of the rise that the largest jump between listed levels carries.

    >>> round(share_in_one_jump(0.4, (0, 2, 5, 6)), 2)
    0.64
    """
    jumps = np.diff(in_one_step(share)(np.arange(7.0))[list(levels)])
    return float(jumps.max() / jumps.sum())


def run_shares(share: float, n: int, seeds: Iterable[int]) -> Counter[str]:
    """What is said of one planted share by every list of levels, on the same draws."""
    setting = Setting("step", n=n)
    plan = plan_curve(setting.population, in_one_step(share), levels=setting.levels, rise=setting.rise)
    counts: Counter[str] = Counter()
    for seed in seeds:
        curve = one_curve(setting, plan, seed=10_000 + seed)
        for name, levels in LISTS.items():
            some = list(levels)
            part = dataclasses.replace(
                curve,
                names=tuple(curve.names[level] for level in some),
                values=curve.values[some],
                replicates=curve.replicates[some],
            )
            counts[f"{name}: {judge(part).verdict}"] += 1
    return counts


def shares_title(share: float, n: int) -> str:
    """The name of a planted share."""
    return f"{share:g} of the rise in one step, {n:,} items"


def shares_table(tallies: Mapping[str, Tally]) -> str:
    """Steps near the cut-off, and lists of levels."""
    lines = []
    for n in SHARES_ITEMS:
        for share in SHARES:
            seen = tallies.get(shares_title(share, n), Tally())
            for name, levels in LISTS.items() if seen.draws else ():
                others = (seen.counts[f"{name}: {verdict}"] / seen.draws for verdict in ("gradual", "undetermined"))
                jump = f"{share_in_one_jump(share, levels):.2f}"
                threshold = interval(seen.counts[f"{name}: threshold"], seen.draws)
                lines.append((f"{share:g}", f"{n:,}", name, jump, str(seen.draws), threshold, *_two_digits(others)))
    header = ("in one step", "items", "list of levels", "largest jump", "repetitions", *VERDICT_COLUMNS)
    return table(header, lines, left=3)


def timing(repetitions: int = 5) -> tuple[float, float]:
    """Median processor seconds of the base case at 1,000 replicates: from scores to replicates, and the rule alone."""
    setting = Setting("step")
    plan = plan_curve(setting.population, setting.shape, levels=setting.levels, rise=setting.rise)
    measuring, judging = [], []
    for seed in range(repetitions):
        cells = draw_cells(setting.population, plan, n=setting.n, seed=seed)
        begin = time.process_time()
        curve = measure_curve(setting, cells, replicates=1000)
        middle = time.process_time()
        judge(curve)
        measuring.append(middle - begin)
        judging.append(time.process_time() - middle)
    return float(np.median(measuring)), float(np.median(judging))


def interval(hits: int, of: int) -> str:
    """A rate with its two-sided 95 % interval (Clopper-Pearson)."""
    if not of:
        return "–"
    low, high = exact_interval(hits, of)
    return f"{hits / of:.3f} [{low:.3f}, {high:.3f}]"


def describe(setting: Setting) -> str:
    """What differs from the base case."""
    parts = [f"{setting.n:,} items", f"{setting.levels} levels", f"rise {setting.rise:g}"]
    if setting.jitter:
        parts.append(f"jitter {setting.jitter:g}")
    of = setting.population
    if of.options != 4:
        parts.append(f"{of.options} options")
    if of.strength != 2:
        parts.append("weak dense" if of.strength < 2 else "strong dense")
    if of.uneven:
        parts.append("uneven items")
    if of.group > 1:
        parts.append(f"groups of {of.group}")
    return ", ".join(parts)


Found = Sequence[tuple[Setting, Tally]]


def in_short(found: Found) -> str:
    """Goals and what is measured."""
    nulls = [(setting, seen) for setting, seen in found if setting.shape in MAIN_NULLS]
    main = [(setting, seen) for setting, seen in nulls if setting.jitter <= RULE.jitter_of_headroom]
    rough = [seen for setting, seen in nulls if setting.jitter > RULE.jitter_of_headroom]
    planted = [seen for setting, seen in found if setting.broken is not None]
    base = [seen for setting, seen in found if setting == Setting("step")]
    false = f"{_called([seen for _, seen in main])} over all {len(main)} settings"
    if main:
        upper = {setting: bounds(seen.counts["threshold"], seen.draws)[1] for setting, seen in main}
        worst = max(upper, key=lambda setting: upper[setting])
        false += f"; worst setting ({worst.title}): upper 95 % bound {upper[worst]:.3f}"
    lines = [
        ("false thresholds on constant, straight and convex truth ≤ 5 %", false),
        ("the same with twice the jitter that the rule allows for, 3,000 items (no goal)", _called(rough)),
        (
            "power ≥ 90 % at 1,000 items, 7 levels, one step that is the whole rise, half of the headroom",
            _called(base),
        ),
        ("right level ≥ 90 % of those calls", _among_calls(base, "right level")),
        ("level interval holds the true level ≥ 93 %", _among_calls(planted, "level interval")),
        ("jump interval holds the true jump 93–97 %", _among_calls(planted, "jump interval")),
    ]
    return table(("goal", "measured"), lines, left=2)


def other_rules(found: Found) -> str:
    """The same curves by the rule and by two that were tried first."""
    groups = {
        "constant, straight, convex (all settings): false calls": [
            seen for one, seen in found if one.shape in MAIN_NULLS and one.jitter <= RULE.jitter_of_headroom
        ],
        "the same with jitter: false calls": [seen for one, seen in found if one.shape in MAIN_NULLS and one.jitter],
        "other shapes without a threshold: false calls": [
            seen for one, seen in found if one.broken is None and one.shape not in MAIN_NULLS
        ],
        "step, base case: power": [seen for one, seen in found if one == Setting("step")],
    }
    rules = ("threshold", "lowest BIC", "largest jump")
    lines = [(name, *(_called(some, rule) for rule in rules)) for name, some in groups.items()]
    return table(("truth", "this rule", *rules[1:]), lines, left=4)


def no_threshold(found: Found) -> str:
    """Truths without one."""
    lines = []
    for one, seen in found:
        if one.broken is None:
            upper = f"{bounds(seen.counts['threshold'], seen.draws)[1]:.3f}"
            others = (seen.counts[verdict] / seen.draws for verdict in ("none", "gradual", "undetermined"))
            lines.append((one.shape, describe(one), str(seen.draws), _called([seen]), upper, *_two_digits(others)))
    header = ("shape", "setting", "repetitions", "called threshold", "upper 95 % bound")
    return table((*header, "none", "gradual", "undetermined"), lines, left=2)


def with_threshold(found: Found) -> str:
    """Planted ones."""
    lines = []
    for one, seen in found:
        if one.broken is not None:
            right = (_among_calls([seen], name) for name in ("right level", "level interval", "jump interval"))
            others = (seen.counts[verdict] / seen.draws for verdict in ("gradual", "none", "undetermined"))
            lines.append((one.shape, describe(one), str(seen.draws), _called([seen]), *right, *_two_digits(others)))
    header = ("shape", "setting", "repetitions", "called threshold", "right level", "level interval", "jump interval")
    return table((*header, "gradual", "none", "undetermined"), lines, left=2)


VERDICT_COLUMNS = ("threshold", "gradual", "undetermined")


def _two_digits(shares: Iterable[float]) -> Iterator[str]:
    return (f"{share:.2f}" for share in shares)


def _called(some: Sequence[Tally], rule: str = "threshold") -> str:
    return interval(sum(one.counts[rule] for one in some), sum(one.draws for one in some))


def _among_calls(some: Sequence[Tally], right: str) -> str:
    return interval(sum(one.counts[right] for one in some), sum(one.counts["threshold"] for one in some))


def tables(tallies: Mapping[str, Tally]) -> dict[str, str]:
    """Of docs/detector.md, by name."""
    found = [(setting, tallies[setting.title]) for setting in settings() if setting.title in tallies]
    written = (in_short(found), other_rules(found), no_threshold(found), with_threshold(found), shares_table(tallies))
    return dict(zip(TABLES, written, strict=True))


def _job(job: tuple[partial[Counter[str]], Sequence[int]]) -> Counter[str]:
    run, seeds = job
    return run(seeds=seeds)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--counts", type=Path, default=COUNTS, metavar="FILE")
    parser.add_argument("--document", type=Path, default=ROOT / "docs" / "detector.md")
    parser.add_argument("--timing", action="store_true", help="print how long one curve takes, and draw nothing")
    options = parser.parse_args(argv)
    if options.timing:
        print("from scores to replicates {:.2f} s, the rule {:.3f} s (processor time)".format(*timing()))
        return 0
    for name in TABLES:
        check_markers(options.document, *marks(name))
    asked = {one.title: (partial(run_setting, one), one.repetitions(options.repetitions)) for one in settings()}
    for n in SHARES_ITEMS:
        for share in SHARES:
            asked[shares_title(share, n)] = partial(run_shares, share, n), min(options.repetitions, 60_000 // n)
    draws = {title: count for title, (_, count) in asked.items()}
    wanted = in_turns(draws, read_tallies(options.counts, VERSION), turns=-(-options.repetitions // 10))
    jobs = ((title, seeds, (asked[title][0], seeds)) for title, seeds in wanted)
    for name, text in tables(grow(options.counts, VERSION, jobs, _job, processes=options.jobs)).items():
        write_between(options.document, *marks(name), text)
    print(options.document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
