"""How often are the collapse verdicts right? Plants curves of known shape and writes docs/detector.md.

    make validate-detector
    .venv/bin/python -m scripts.studies.validate_detector --jobs 2 --repetitions 400
    .venv/bin/python -m scripts.studies.validate_detector --only shares

Every repetition draws new items with new scores for dense and for each level, computes set sizes and their bootstrap
replicates the way rows are computed, and applies the rule. Finished settings are kept in --store and not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.markers import check_markers, kept_block, write_between
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
from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.measure import Scored
from suite.metrics.sample import Sample
from suite.verdicts.collapse import RULE, VERDICTS, Curve, judge
from suite.verdicts.curves import METRICS, PRIMARY
from suite.verdicts.shapes import Family, Whitened, smooth_families

ROOT = Path(__file__).resolve().parent.parent.parent

SPLITS, REPLICATES = 20, 300
START, END = "<!-- shares -->", "<!-- end of shares -->"
VERSION = 2
"""Raised when the rule or the drawing changes, so that kept results of an older one are not mixed in."""


@dataclass(frozen=True)
class Setting:
    """One planted truth."""

    shape: str
    n: int = 1000
    levels: int = 7
    rise: float = 0.5
    jitter: float = 0.0
    options: int = 4
    strength: float = 2.0
    uneven: float = 0.0
    group: int = 1

    @property
    def population(self) -> Population:
        """Where items come from."""
        return Population(options=self.options, strength=self.strength, uneven=self.uneven, group=self.group)

    @property
    def key(self) -> str:
        """A stable name."""
        return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, sort_keys=True)

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
    for shape in MAIN_NULLS:
        found += [Setting(shape, n=n) for n in (100, 300, 3000, 10_000)]
        found += [Setting(shape, rise=0.9), Setting(shape, jitter=0.03)]
        found += [Setting(shape, n=3000, jitter=0.03), Setting(shape, n=3000, jitter=0.06)]
        found += [Setting(shape, levels=4), Setting(shape, levels=5), Setting(shape, levels=8)]
        found += [Setting(shape, options=2), Setting(shape, options=6), Setting(shape, strength=1.0)]
        found += [Setting(shape, strength=4.0), Setting(shape, uneven=0.5), Setting(shape, group=4)]
    for rise in (0.25, 0.5, 0.75):
        found += [Setting("step", n=n, rise=rise) for n in (100, 300, 1000, 3000)]
    found += [Setting("step", jitter=0.03), Setting("step", levels=5), Setting("step", levels=8)]
    found += [Setting("step", options=2), Setting("step", options=6), Setting("step", strength=1.0)]
    found += [Setting("step", strength=4.0), Setting("step", uneven=0.5), Setting("step", group=4)]
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
    families = [*smooth_families(dose), Family("step", steps.astype(np.float64))]
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


def run_setting(job: tuple[Setting, int]) -> dict[str, Any]:
    """All repetitions of one setting."""
    setting, asked = job
    started, count = time.process_time(), setting.repetitions(asked)
    generator = np.random.default_rng([setting.n, setting.levels])
    outcomes = []
    judging = 0.0
    for repetition in range(count):
        jitter = generator.normal(0, setting.jitter, setting.levels - 1) if setting.jitter else None
        plan = plan_curve(setting.population, setting.shape, levels=setting.levels, rise=setting.rise, jitter=jitter)
        curve = one_curve(setting, plan, seed=repetition)
        begin = time.process_time()
        finding = judge(curve)
        judging += time.process_time() - begin
        jumps = np.diff(plan.set_size)
        place = None if finding.jump is None else int(np.diff(curve.values).argmax())
        outcomes.append(
            {
                "verdict": finding.verdict,
                "level": finding.level,
                "level_low": finding.level_low,
                "level_high": finding.level_high,
                "jump": finding.jump,
                "jump_low": finding.jump_low,
                "jump_high": finding.jump_high,
                "true_jump": None if place is None else float(jumps[place]),
                "true_break": None if setting.broken is None else float(jumps[setting.broken - 1]),
                "p": finding.p_raw,
                "bic": lowest_bic(curve),
                "largest": largest_jump(curve),
            }
        )
    seconds = (time.process_time() - started) / count
    return {"outcomes": outcomes, "seconds": seconds, "judging": judging / count}


WHAT_IS_EASY = (
    "The shapes of the next tables are far from the cut-off: a planted threshold has .79 of its rise in one step or",
    "more, other rising shapes a third as a rule, and those with a half have it at an end of the list. Rates of 0",
    "and 1 there say that the rule tells these apart, not that it decides real curves. Rounding of real models puts",
    ".46 to .68 of the rise into one step; there the rule mostly says *undetermined*, and something else for",
    "another list of levels (last table).",
)

SHARES = (0.4, 0.5, 0.6, 0.75)
"""Of the rise, in one step: real rounding curves have .46 to .68 there, and the rule's cut-off is one half."""

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


def run_shares(job: tuple[float, int, int]) -> dict[str, list[str]]:
    """What is said of one planted share by every list of levels, on the same draws."""
    share, n, count = job
    setting = Setting("step", n=n)
    plan = plan_curve(setting.population, in_one_step(share), levels=setting.levels, rise=setting.rise)
    found: dict[str, list[str]] = {name: [] for name in LISTS}
    for seed in range(count):
        curve = one_curve(setting, plan, seed=10_000 + seed)
        for name, levels in LISTS.items():
            some = list(levels)
            part = dataclasses.replace(
                curve,
                names=tuple(curve.names[level] for level in some),
                values=curve.values[some],
                replicates=curve.replicates[some],
            )
            found[name].append(judge(part).verdict)
    return found


def shares_section(results: Sequence[tuple[tuple[float, int, int], dict[str, list[str]]]]) -> str:
    """The part of docs/detector.md about steps near the cut-off and about lists of levels."""
    lines = [
        "## One curve, several lists of levels",
        "",
        "Here one step carries a share of the rise near the cut-off of one half, and the other five steps the rest in",
        "equal parts (rise 0.5 of the headroom). The same draws are judged by several lists of levels, as users choose",
        "them. *Largest jump* is the true part of the rise that lies in one jump of that list: above .5 the curve is a",
        "threshold in the sense of [collapse.md](collapse.md), by that list.",
        "",
        "| in one step | items | list of levels | largest jump | repetitions | threshold | gradual | undetermined |",
        "|--:|--:|---|--:|--:|---|--:|--:|",
    ]
    for (share, n, count), found in results:
        for name, verdicts in found.items():
            others = " | ".join(f"{verdicts.count(verdict) / count:.2f}" for verdict in ("gradual", "undetermined"))
            lines.append(
                f"| {share:g} | {n:,} | {name} | {share_in_one_jump(share, LISTS[name]):.2f} | {count} "
                f"| {rate(verdicts.count('threshold'), count)} | {others} |"
            )
    return "\n".join(lines)


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


def bounds(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a rate."""
    from suite.metrics.proportions import exact_interval

    return exact_interval(hits, count, level=level) if count else (0.0, 1.0)


def upper_bound(hits: int, count: int) -> float:
    """One-sided 95 % upper bound of a rate."""
    return bounds(hits, count, 0.9)[1]


def rate(hits: int, count: int) -> str:
    """A rate with its 95 % interval."""
    if not count:
        return "–"
    low, high = bounds(hits, count)
    return f"{hits / count:.3f} [{low:.3f}, {high:.3f}]"


def describe(setting: Setting) -> str:
    """What differs from the base case."""
    parts = [f"{setting.n:,} items", f"{setting.levels} levels", f"rise {setting.rise:g}"]
    if setting.jitter:
        parts.append(f"jitter {setting.jitter:g}")
    if setting.options != 4:
        parts.append(f"{setting.options} options")
    if setting.strength != 2:
        parts.append("weak dense" if setting.strength < 2 else "strong dense")
    if setting.uneven:
        parts.append("uneven items")
    if setting.group > 1:
        parts.append(f"groups of {setting.group}")
    return ", ".join(parts)


def page(results: Sequence[tuple[Setting, dict[str, Any]]], asked: int, seconds: tuple[float, float]) -> str:
    """docs/detector.md."""
    nulls = [(s, r["outcomes"]) for s, r in results if s.broken is None]
    planted = [(s, r["outcomes"]) for s, r in results if s.broken is not None]
    hours = sum(r["seconds"] * len(r["outcomes"]) for _, r in results) / 3600
    main = [(s, o) for s, o in nulls if s.shape in MAIN_NULLS and s.jitter <= RULE.jitter_of_headroom]
    rough = [(s, o) for s, o in nulls if s.shape in MAIN_NULLS and s.jitter > RULE.jitter_of_headroom]
    false = sum(_count(o, "threshold") for _, o in main)
    total = sum(len(o) for _, o in main)
    worst = max(main, key=lambda one: upper_bound(_count(one[1], "threshold"), len(one[1]))) if main else None
    base: list[dict[str, Any]] = next((o for s, o in planted if s == Setting("step")), [])
    lines = [
        "# How often are the collapse verdicts right?",
        "",
        "Written by `make validate-detector` (scripts/studies/validate_detector.py). Curves of known shape are planted",
        "by adding noise to made-up scores (scripts/studies/synthetic.py); set sizes are then computed as for any",
        "model,",
        f"with {SPLITS} splits and {REPLICATES} replicates, and judged by the rule of [collapse.md](collapse.md), its",
        f"constants being: tests at {RULE.level:g}, practical minimum {METRICS[PRIMARY].minimum:g} options or "
        f"{RULE.practical_of_headroom:.0%} of the headroom, jitter {RULE.jitter_of_headroom:.0%} of the headroom.",
        "Each entry is one curve by itself; Holm's correction over a model's curves makes calls rarer still.",
        f"{len(results)} settings, up to {asked} repetitions each (fewer above 1,500 items), {hours:.1f} processor",
        "hours; an interrupted study goes on where it stopped.",
        "Square brackets are 95 % Clopper-Pearson intervals. *Rise* and *jitter* are fractions of the headroom from",
        "dense to chance; levels count dense; *convex* doubles its increment from level to level, the largest ratio",
        "that the rule is meant to withstand.",
        "",
        *WHAT_IS_EASY,
        "",
        "## In short",
        "",
        "| goal | measured |",
        "|---|---|",
        f"| false thresholds on constant, straight and convex truth ≤ 5 % | {rate(false, total)} over all "
        f"{len(main)} settings"
        + (
            f"; worst setting ({worst[0].shape}, {describe(worst[0])}): upper 95 % bound "
            f"{upper_bound(_count(worst[1], 'threshold'), len(worst[1])):.3f}"
            if worst
            else ""
        )
        + " |",
        f"| the same with twice the jitter that the rule allows for, 3,000 items (no goal) "
        f"| {_called([o for _, o in rough], 'rule')} |",
        "| power ≥ 90 % at 1,000 items, 7 levels, one step that is the whole rise, half of the headroom "
        f"| {_power(base)} |",
        f"| right level ≥ 90 % of those calls | {_right(base, Setting('step'))} |",
        f"| level interval holds the true level ≥ 93 % | {_level_coverage(planted)} |",
        f"| jump interval holds the true jump 93–97 % | {_jump_coverage(planted)} |",
        f"| one curve ≤ 0.2 s at 1,000 replicates | the rule {seconds[1]:.3f} s; the replicates of its "
        f"{Setting('').levels} levels, which rows need anyway, {seconds[0]:.2f} s (processor time, {SPLITS} splits) |",
        "",
        "## Other rules on the same curves",
        "",
        "Tried first, and kept for comparison. *Lowest BIC*: a threshold is called when a step has the lowest",
        "Bayesian information criterion of all shapes. *Largest jump*: when the largest jump is shown to carry more",
        "than half of the rise, with neither rivals, nor jitter, nor equivalence before an end jump.",
        "",
        "| truth | this rule | lowest BIC | largest jump |",
        "|---|---|---|---|",
        *[
            f"| {name} | {_called(chosen, 'rule')} | {_called(chosen, 'bic')} | {_called(chosen, 'largest')} |"
            for name, chosen in (
                ("constant, straight, convex (all settings): false calls", [o for _, o in main]),
                ("the same with jitter: false calls", [o for s, o in main + rough if s.jitter]),
                ("other shapes without a threshold: false calls", [o for s, o in nulls if s.shape not in MAIN_NULLS]),
                ("step, base case: power", [base]),
            )
        ],
        "",
        "## Truths without a threshold",
        "",
        "| shape | setting | repetitions | called threshold | upper 95 % bound | none | gradual | undetermined |",
        "|---|---|--:|---|--:|--:|--:|--:|",
    ]
    for setting, outcomes in nulls:
        hits, count = _count(outcomes, "threshold"), len(outcomes)
        shares = " | ".join(f"{_count(outcomes, name) / count:.2f}" for name in ("none", "gradual", "undetermined"))
        lines.append(
            f"| {setting.shape} | {describe(setting)} | {count} | {rate(hits, count)} | {upper_bound(hits, count):.3f} "
            f"| {shares} |"
        )
    lines += [
        "",
        "## Planted thresholds",
        "",
        "*Right level* is among the calls; *level interval* and *jump interval* are the fraction that hold the truth,",
        "among the calls too.",
        "",
        "| shape | setting | repetitions | called threshold | right level | level interval | jump interval | gradual "
        "| none | undetermined |",
        "|---|---|--:|---|---|---|---|--:|--:|--:|",
    ]
    for setting, outcomes in planted:
        count = len(outcomes)
        shares = " | ".join(f"{_count(outcomes, name) / count:.2f}" for name in ("gradual", "none", "undetermined"))
        lines.append(
            f"| {setting.shape} | {describe(setting)} | {count} | {_power(outcomes)} | {_right(outcomes, setting)} "
            f"| {_level_coverage([(setting, outcomes)])} | {_jump_coverage([(setting, outcomes)])} | {shares} |"
        )
    return "\n".join([*lines, ""])


def _count(outcomes: Iterable[dict[str, Any]], verdict: str) -> int:
    assert verdict in VERDICTS
    return sum(outcome["verdict"] == verdict for outcome in outcomes)


def _called(groups: Sequence[Sequence[dict[str, Any]]], how: str) -> str:
    outcomes = [outcome for group in groups for outcome in group]
    hits = sum(outcome["verdict"] == "threshold" if how == "rule" else outcome[how] for outcome in outcomes)
    return rate(hits, len(outcomes))


def _power(outcomes: Sequence[dict[str, Any]]) -> str:
    return rate(_count(outcomes, "threshold"), len(outcomes))


def _calls(outcomes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [outcome for outcome in outcomes if outcome["verdict"] == "threshold"]


def _right(outcomes: Iterable[dict[str, Any]], setting: Setting) -> str:
    calls = _calls(outcomes)
    return rate(sum(call["level"] == setting.broken for call in calls), len(calls))


def _level_coverage(groups: Sequence[tuple[Setting, Sequence[dict[str, Any]]]]) -> str:
    held = count = 0
    for setting, outcomes in groups:
        for call in _calls(outcomes):
            held += call["level_low"] <= setting.broken <= call["level_high"]
            count += 1
    return rate(held, count)


def _jump_coverage(groups: Sequence[tuple[Setting, Sequence[dict[str, Any]]]]) -> str:
    calls = [call for _, outcomes in groups for call in _calls(outcomes)]
    return rate(sum(call["jump_low"] <= call["true_jump"] <= call["jump_high"] for call in calls), len(calls))


def main() -> None:
    """Run what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--store", type=Path, default=ROOT / "runs" / "detector")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "detector.md")
    parser.add_argument("--only", choices=("shares",), help="write the part on shares and lists of levels alone")
    options = parser.parse_args()
    if options.only:
        check_markers(options.out, START, END)
        jobs = [(share, n, min(options.repetitions, 60_000 // n)) for n in (300, 1000) for share in SHARES]
        with ProcessPoolExecutor(options.jobs) as pool:
            write_between(
                options.out, START, END, shares_section(list(zip(jobs, pool.map(run_shares, jobs), strict=True)))
            )
        return
    options.store.mkdir(parents=True, exist_ok=True)
    store = options.store / f"v{VERSION}-{options.repetitions}.jsonl"
    kept: dict[str, dict[str, Any]] = {}
    if store.is_file():
        for line in store.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # a line cut short by an interruption is run again
            kept[entry["key"]] = entry["result"]
    everything = settings()
    missing = [setting for setting in everything if setting.key not in kept]
    print(f"{len(everything)} settings, {len(missing)} to run", file=sys.stderr)
    started = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool, store.open("a", encoding="utf-8") as handle:
        jobs = [(setting, options.repetitions) for setting in missing]
        for setting, result in zip(missing, pool.map(run_setting, jobs), strict=True):
            kept[setting.key] = result
            handle.write(json.dumps({"key": setting.key, "result": result}) + "\n")
            handle.flush()
            calls = _count(result["outcomes"], "threshold")
            print(
                f"{time.monotonic() - started:6.0f} s  {setting.shape}, {describe(setting)}: "
                f"{calls} of {len(result['outcomes'])}",
                file=sys.stderr,
            )
    text = page([(s, kept[s.key]) for s in everything], options.repetitions, timing())
    options.out.write_text(f"{text}\n{kept_block(options.out, START, END)}\n", encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
