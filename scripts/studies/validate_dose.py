"""How often is `suite dose` wrong? Plants losses that lie at the tolerance and writes the tables of docs/dose.md.

    make validate-dose
    .venv/bin/python -m scripts.studies.validate_dose --jobs 2 --draws 1000 --only "blind"
    .venv/bin/python -m scripts.studies.validate_dose --accuracy 5000   accuracy alone, which takes a tenth of the time
    .venv/bin/python -m scripts.studies.validate_dose --draws 0      the tables again, from the counts

Every draw makes new items, new logits of dense and of each level, cells of them, and asks `find_dose_records`, which is
what the command asks. The tolerance is the true loss of one level, so that to call that level kept is an error and to
call it lost is one. What draws come to is counted in docs/validation/dose.json; an interrupted study goes on.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats
from scipy.interpolate import PchipInterpolator

from scripts.markers import check_markers, marks, write_between
from scripts.studies.synthetic import Plan, Population, draw_cells
from scripts.studies.tallies import FOLDER, Tally, bounds, grow, in_turns, rate, read_tallies
from suite.cell import Cell
from suite.config import Protocol, RunConfig, TaskChoice
from suite.metrics import rows
from suite.verdicts.dose import COVERAGE_BAND, Answers, Ladder, find_doses
from suite.verdicts.dose_records import MEASURES, find_dose_records

Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent.parent
SPLITS, REPLICATES = 20, 400
TRUTH_ITEMS, BLOCKS = 400_000, 8
VERSION = 5
"""Raised when the rule or the drawing changes, so that kept draws of an older one are not mixed in."""

SIDES = ("kept", "lost", "kept_holm", "lost_holm")
COUNTS = FOLDER / "dose.json"
START, END = marks("error rates")

POPULATIONS = {
    "medium": Population(),
    "strong": Population(strength=8.0),
    "weak": Population(strength=1.0),
    "at chance": Population(strength=0.35),
    "uneven": Population(uneven=0.7),
    "groups of 4": Population(group=4),
    "2 options": Population(options=2),
}
"""Dense models by name: what they know decides how many answers are wrong, or right, at all."""

CURVES: dict[str, tuple[float, ...]] = {
    "one": (-1,),
    "rising, 4": (0, -1, 0.5, 0.9),
    "rising, 8": (0, 0, 0, -1, -1, 0.5, 0.7, 0.9),
    "flat, 8": (-1,) * 8,
    "odd, 8": (-1, 0, 0, -1, 0, 0.6, -1, 0.8),
    "ladder": (0, 0.005, 0.02, 0.08, 0.4, 0.95),
    "2 seeds": (0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "3 seeds": (0, 0.1, 0.2, 0.3, 0.4, 0.5),
}
"""True losses of the levels in the Brier score after temperature; -1 stands for the tolerance. Of a recipe, between
which losses those of its draws of sample text are found."""

SEEDS_SPREAD = 0.075
"""Standard deviation of the true loss from one draw of sample text to the next."""


@dataclass(frozen=True)
class Condition:
    """One planted truth.

    Attributes:
        law: how levels lose: ``noise`` on all logits, or a share of the items ``blind`` and the others nearly as dense.
        share: the tolerance, in the Brier score after temperature.
        effort: part of the draws asked for.
        levels: a key of `CURVES`.
        planted: what lies at an edge: ``brier_ts`` at the tolerance, or ``coverage`` as far below dense's as may be.
    """

    dense: str = "medium"
    n: int = 100
    share: float = 0.05
    law: str = "noise"
    levels: str = "one"
    planted: str = "brier_ts"
    effort: float = 1.0

    @property
    def key(self) -> str:
        """A stable name."""
        named = {name: value for name, value in asdict(self).items() if name != "effort"}
        return json.dumps({"version": VERSION, **named}, sort_keys=True)

    @property
    def title(self) -> str:
        """For readers, and for --only."""
        return f"{self.n:,} items; {self.dense}; {self.law}; {self.levels}; {self.edge}"

    @property
    def kind(self) -> str:
        """What it is drawn for, of several sizes and tolerances: a row of the second table of rates together."""
        if self.planted == "coverage":
            return "coverage at its edge"
        if self.levels.endswith("seeds"):
            return "recipes of 2 or 3 seeds"
        if self.levels != "one":
            return "4 or 8 levels, rising, flat or odd"
        if self.dense != "medium":
            return self.dense
        return "noise on every item" if self.law == "noise" else "a share of items blind"

    @property
    def truth_items(self) -> int:
        """Items by which the truth is computed: so many that its error is small beside that of a draw's items, where a
        level lies at an edge."""
        return TRUTH_ITEMS if self.levels == "ladder" else max(TRUTH_ITEMS, 320 * self.n)

    @property
    def edge(self) -> str:
        """Where the truth lies."""
        return f"loss {self.share:g}" if self.planted == "brier_ts" else f"coverage -{COVERAGE_BAND:g}"

    @property
    def losses(self) -> tuple[float, ...]:
        """Of each compressed level, in the Brier score after temperature."""
        return tuple(self.share if loss < 0 else loss for loss in CURVES[self.levels])


def conditions() -> list[Condition]:
    """Every planted truth of the study."""
    found = []
    for share in (0.05, 0.25):
        found += [Condition(n=n, share=share, law=law) for law in ("noise", "blind") for n in (100, 200, 400, 1000)]
        found += [Condition(n=10_000, share=share)]
        found += [Condition(dense, n, share, effort=0.5) for n in (100, 400) for dense in ("strong", "weak", "uneven")]
        found += [Condition("groups of 4", n, share) for n in (100, 400)]
        found += [Condition("at chance", n, share, effort=0.25) for n in (100, 400)]
        found += [Condition("2 options", 200, share)]
        found += [Condition(n=200, share=share, levels=name, effort=0.4) for name in CURVES if name[-1] in "48"]
    found += [Condition(n=n, share=0.25, planted="coverage") for n in (100, 400, 1000)]
    found += [Condition(n=n, share=0.25, law="blind", planted="coverage") for n in (100, 200, 400, 1000)]
    found += [Condition(n=n, share=0.25, levels=f"{m} seeds", effort=0.5) for n in (200, 1000) for m in (2, 3)]
    found += [Condition(n=n, share=0.05, levels="ladder", effort=0.1) for n in (100, 200, 400, 1000)]
    found += [Condition(n=10_000, share=0.05, levels="ladder", effort=0.02)]
    return found


# ---- the truth


@dataclass(frozen=True)
class _Scores:
    """Many items of the population: logits of one model, and the weight of each option as the answer."""

    logits: Floats
    weights: Floats


@lru_cache(maxsize=1)
def _hidden(population: Population, items: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Hidden logits, probabilities of the options, one shock an option, one uniform number an item.

    Answers are not drawn: each option counts by its probability, which leaves far less chance in the truth.
    """
    generator = np.random.default_rng(71)
    shape = (items, population.options)
    scale = population.strength * np.exp(population.uneven * generator.normal(size=(items, 1)))
    hidden = scale * generator.normal(size=shape)
    return hidden, special.softmax(hidden, axis=1), generator.normal(size=shape), generator.random(items)


def _scores(population: Population, items: int, noise: float, blind: float) -> _Scores:
    hidden, likely, shocks, _ = _hidden(population, items)
    # what a blind model says of an item is what it says of another one: there every option is as likely as any
    return _Scores(hidden + noise * shocks, (1 - blind) * likely + blind / population.options)


def _at_temperature(scores: _Scores, log_temperature: float) -> tuple[Floats, Floats]:
    """Brier score and NLL of each item at a temperature."""
    p = special.softmax(scores.logits / np.exp(log_temperature), axis=1)
    brier = (p * p).sum(axis=1) + 1 - 2 * (scores.weights * p).sum(axis=1)
    return brier, -(scores.weights * np.log(np.maximum(p, 1e-300))).sum(axis=1)


def _best_temperature(scores: _Scores, some: slice = slice(None)) -> float:
    part = _Scores(scores.logits[some], scores.weights[some])
    found = optimize.minimize_scalar(
        lambda at: float(_at_temperature(part, at)[1].mean()), bounds=(-4, 6), method="bounded", options={"xatol": 1e-4}
    )
    return float(found.x)


def _sizes(conformity: Floats, weights: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Options in the set of each item, and the probability that the answer is among them."""
    inside = conformity >= threshold
    return inside.sum(axis=1).astype(np.float64), np.where(inside, weights, 0.0).sum(axis=1)


def _threshold(conformity: Floats, weights: Floats, alpha: float) -> float:
    """The conformity below which lies a share alpha of the answers."""
    order = np.argsort(conformity, axis=None)
    mass = np.cumsum(weights.ravel()[order])
    return float(conformity.ravel()[order[int(np.searchsorted(mass, alpha * mass[-1]))]])


def _aps(p: Floats, draws: Floats) -> Floats:
    """Minus the mass of likelier options and a random part of the option's own."""
    order = np.argsort(-p, axis=1)
    sorted_p = np.take_along_axis(p, order, axis=1)
    score = np.cumsum(sorted_p, axis=1) - (1 - draws)[:, None] * sorted_p
    result = np.empty_like(p)
    np.put_along_axis(result, order, -score, axis=1)
    return result


def _measures(population: Population, scores: _Scores, transfer: float | None) -> tuple[dict[str, Floats], float]:
    """Every measure item by item, turned so that higher is worse, and the LAC threshold."""
    brier, nll = _at_temperature(scores, _best_temperature(scores))
    p, draws = special.softmax(scores.logits, axis=1), _hidden(population, len(scores.logits))[3]
    aps = _aps(p, draws)
    lac_at = _threshold(p, scores.weights, population.alpha)
    lac, _ = _sizes(p, scores.weights, lac_at)
    other, _ = _sizes(aps, scores.weights, _threshold(aps, scores.weights, population.alpha))
    moved, covered = _sizes(p, scores.weights, lac_at if transfer is None else transfer)
    return {
        "brier_ts": brier,
        "nll_ts": nll,
        "accuracy": -np.take_along_axis(scores.weights, p.argmax(axis=1)[:, None], axis=1)[:, 0],
        "set_size": (lac + other) / 2,
        "lac_transfer_coverage": moved,
        "coverage": covered,
    }, lac_at


@dataclass(frozen=True)
class Truth:
    """One level of the population.

    Attributes:
        noise, blind: what makes its loss.
        losses: share of the headroom, by metric; ``coverage`` is the change of coverage under dense's threshold.
        errors: Monte Carlo standard errors of these.
    """

    noise: float
    blind: float
    losses: dict[str, float]
    errors: dict[str, float]


def plant(
    population: Population, law: str, loss: float, planted: str = "brier_ts", *, items: int = TRUTH_ITEMS
) -> Truth:
    """The level whose true loss in the Brier score after temperature is this, with its losses in all metrics.

    Args:
        planted: ``coverage`` for the level that covers `COVERAGE_BAND` less under dense's threshold instead.
        items: how many the population is computed by.

    Raises:
        ValueError: no noise loses that much.
    """
    start = population.dense_noise
    dense = _scores(population, items, start, 0.0)
    chance = 1 - 1 / population.options
    level = float(_at_temperature(dense, _best_temperature(dense))[0].mean())
    before, threshold = _measures(population, dense, None)

    def lost(at: float) -> float:
        noise, blind = (start, at) if law == "blind" else (float(np.exp(at)), 0.0)
        scores = _scores(population, items, noise, blind)
        if planted == "coverage":
            covered = _sizes(special.softmax(scores.logits, axis=1), scores.weights, threshold)[1].mean()
            return loss + float(before["coverage"].mean() - covered) - COVERAGE_BAND
        brier = float(_at_temperature(scores, _best_temperature(scores))[0].mean())
        return (brier - level) / (chance - level)

    first, last = (0.0, 1.0) if law == "blind" else (float(np.log(start)), float(np.log(100.0)))
    found = first if loss == 0 else float(optimize.brentq(lambda at: lost(at) - loss, first, last, xtol=1e-6))
    noise, blind = (start, found) if law == "blind" else (float(np.exp(found)), 0.0)
    after, _ = _measures(population, _scores(population, items, noise, blind), threshold)
    k = population.options
    worst = {
        "brier_ts": chance,
        "nll_ts": float(np.log(k)),
        "accuracy": -1 / k,
        "set_size": population.chance,
        "lac_transfer_coverage": population.chance,
    }
    losses, errors = {}, {}
    for key, end in worst.items():
        losses[key], errors[key] = _share(before[key], after[key], end)
    change = (after["coverage"] - before["coverage"]).reshape(BLOCKS, -1).mean(axis=1)
    losses["coverage"], errors["coverage"] = float(change.mean()), float(change.std(ddof=1) / np.sqrt(BLOCKS))
    return Truth(noise, blind, losses, errors)


def _share(before: Floats, after: Floats, chance: float) -> tuple[float, float]:
    """The loss, and its error from how far parts of the population differ."""
    parts = (np.stack([before, after])).reshape(2, BLOCKS, -1).mean(axis=2)
    each = (parts[1] - parts[0]) / (chance - parts[0])
    whole = float((after.mean() - before.mean()) / (chance - before.mean()))
    return whole, float(each.std(ddof=1) / np.sqrt(BLOCKS))


def truths(condition: Condition, store: Path) -> list[Truth]:
    """Of every level of a condition; kept in a file, because each takes seconds."""
    path = store / "truths.jsonl"
    known = {line["key"]: line["truth"] for line in _lines(path)}
    result = []
    for loss in condition.losses:
        alone = asdict(POPULATIONS[condition.dense]) | {"group": 1}  # groups change no mean
        key = json.dumps([alone, condition.law, loss, condition.planted, condition.truth_items])
        if key not in known:
            known[key] = asdict(
                plant(Population(**alone), condition.law, loss, condition.planted, items=condition.truth_items)
            )
            with path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"key": key, "truth": known[key]}) + "\n")
        result.append(Truth(**known[key]))
    return result


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short by an interruption: made again


# ---- one draw


def one_draw(condition: Condition, levels: Sequence[Truth], seed: int) -> dict[str, dict[str, Any]]:
    """By metric: whether each side erred, and the states of the levels at the tolerance."""
    place = condition.losses.index(condition.share) if condition.share in condition.losses else None
    at = {metric: condition.share if place is None else levels[place].losses[metric] for metric in MEASURES}
    at["lac_transfer_coverage"] = condition.share  # such sets shrink as often as they grow: their coverage is planted
    asked = [share for share in at.values() if 0 < share < 1]
    records = find_dose_records(_cells(condition, levels, seed), _config(seed), tolerances=asked)
    return _judged_at(records, [level.losses for level in levels], at)


def accuracy_alone(title: str) -> str:
    """The name of a condition's draws of accuracy alone."""
    return f"{title}; accuracy alone"


def one_draw_of_accuracy(condition: Condition, levels: Sequence[Truth], seed: int) -> dict[str, dict[str, Any]]:
    """The same for accuracy and one level: its test needs answers and no replicates, so that no cell is measured."""
    cells = _cells(condition, levels, seed)
    correct = np.stack([(cell.scores.argmax(axis=1) == cell.answers).astype(np.float64) for cell in cells])
    names, share = ("dense", cells[1].key.variant), levels[0].losses["accuracy"]
    chance, units = 1 / cells[0].n_options, np.unique(cells[0].units, return_inverse=True)[1]
    ladder = Ladder(
        names=names,
        values=-correct.mean(axis=1),
        replicates=np.zeros((2, 2)),
        chance=-float(chance.mean()),
        chance_replicates=np.zeros(2),
        independent=len(set(units.tolist())),
        answers=(Answers(correct, chance, units),),
    )
    dose = find_doses(ladder, tolerances=[share])[share]
    return {"accuracy": {"kept": dose.kept_through is not None, "lost": dose.lost_from is not None}}


def one_recipe(condition: Condition, levels: Sequence[Truth], seed: int) -> dict[str, dict[str, Any]]:
    """The same for a recipe with several draws of its sample text; the tolerance is the true loss of one more draw."""
    generator = np.random.default_rng([seed, 6])
    grid = np.array([level.losses["brier_ts"] for level in levels])
    drawn = condition.share + SEEDS_SPREAD * generator.normal(size=1 + int(condition.levels[0]))
    losses = np.clip(drawn, grid[0], grid[-1])
    made = [
        Truth(float(PchipInterpolator(grid, [level.noise for level in levels])(loss)), 0.0, {}, {})
        for loss in losses[1:]
    ]
    cells = _cells(condition, made, seed)
    names = ["dense", "wanda-s50", *(f"wanda-s50@seed{number}" for number in range(1, len(made)))]
    cells = [
        replace(cell, variant={"name": name}, run={"seed": max(number - 1, 0)})
        for number, (cell, name) in enumerate(zip(cells, names, strict=True))
    ]
    truth = {
        metric: float(PchipInterpolator(grid, [level.losses[metric] for level in levels])(losses[0]))
        for metric in [*MEASURES, "coverage"]
    }
    at = {metric: share for metric, share in truth.items() if 0 < share < 1 and metric != "coverage"}
    records = find_dose_records(cells, _config(seed), tolerances=list(at.values()))
    return _judged_at([record for record in records if record["scope"] == "recipe"], [truth], at)


def _cells(condition: Condition, levels: Sequence[Truth], seed: int) -> list[Cell]:
    population = POPULATIONS[condition.dense]
    plan = Plan(
        np.array([population.dense_noise, *(level.noise for level in levels)]),
        np.empty(0),
        np.array([0.0, *(level.blind for level in levels)]) if condition.law == "blind" else None,
    )
    return draw_cells(population, plan, n=condition.n, seed=seed)


def _config(seed: int) -> RunConfig:
    rules = Protocol(splits=SPLITS, replicates=REPLICATES, seed=seed)
    return RunConfig(("synthetic",), (TaskChoice("synthetic"),), ("dense",), protocol=rules)


def _judged_at(
    records: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, float]], at: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    return {
        str(record["metric"]): judged(record, truth, at[str(record["metric"])])
        for record in records
        if record["tolerance"] == at.get(str(record["metric"]))
    }


def judged(record: Mapping[str, Any], truth: Sequence[Mapping[str, float]], share: float) -> dict[str, Any]:
    """Which claims of a record are false: a level called kept that lost no less, or called lost that lost no more."""
    metric, names = record["metric"], [level["variant"] for level in record["levels"]]
    band = metric == "lac_transfer_coverage"
    change = [abs(level["coverage"]) if band else 0.0 for level in truth]
    off = [
        level[metric] >= share - 1e-12 or far >= COVERAGE_BAND - 1e-6 for level, far in zip(truth, change, strict=True)
    ]
    within = [
        level[metric] <= share + 1e-12 and far <= COVERAGE_BAND + 1e-6 for level, far in zip(truth, change, strict=True)
    ]
    kept = names.index(record["kept_through"]) + 1 if record["kept_through"] else 0
    lost = names.index(record["lost_from"]) if record["lost_from"] else len(names)
    holm = [level["holm"] for level in record["levels"]]
    states = [level["state"] for level in record["levels"]]
    return {
        "kept": any(off[:kept]),
        "lost": any(within[lost:]),
        "kept_holm": any(one == "kept" and bad for one, bad in zip(holm, off, strict=True)),
        "lost_holm": any(one == "lost" and bad for one, bad in zip(holm, within, strict=True)),
        "open": states.count("not_known"),
    }


def counted(draws: Sequence[Mapping[str, Mapping[str, Any]]]) -> Counter[str]:
    """What draws came to: by metric, in how many there was a record, each side erred, and the levels not known."""
    counts: Counter[str] = Counter()
    for draw in draws:
        for metric, found in draw.items():
            counts[f"{metric}: records"] += 1
            counts.update({f"{metric}: {name}": int(value) for name, value in found.items()})
    return +counts


def _job(job: tuple[Condition, list[Truth], Sequence[int], str]) -> Counter[str]:
    condition, levels, seeds, title = job
    one = one_recipe if condition.levels.endswith("seeds") else one_draw
    if title != condition.title:
        one = one_draw_of_accuracy
    start = zlib.crc32((condition.key + title.removeprefix(condition.title)).encode())
    # what mapie and netcal say of the same cells changes no figure and takes a quarter of the time
    with patch.object(rows, "library_remarks", lambda _: {}):
        return counted([one(condition, levels, start + seed) for seed in seeds])


# ---- the tables


def tables(found: Mapping[str, Tally]) -> str:
    """The part of docs/dose.md about errors."""
    ladders = [one for one in conditions() if one.levels == "ladder" and one.title in found]
    edges = [one for one in conditions() if one.levels != "ladder" and one.title in found]
    head = " | ".join(f"`{metric}`" for metric in MEASURES)
    lines = [
        "Written by `make validate-dose` (scripts/studies/validate_dose.py), which goes on where it stopped. Rates of",
        "a false *kept* / a false *lost*, each with its one-sided 95 % upper bound (Clopper-Pearson) behind it.",
        "",
        f"| items | dense | law | levels | edge | draws | {head} |",
        "|--:|---|---|---|---|--:|" + "---|" * len(MEASURES),
    ]
    for one in edges:
        rates = (" / ".join(_rate(found[one.title].counts, metric, side) for side in SIDES[:2]) for metric in MEASURES)
        where = f"{one.n:,} | {one.dense} | {one.law} | {one.levels} | {one.edge}"
        lines.append(f"| {where} | {found[one.title].draws:,} | {' | '.join(rates)} |")
    lines += ["", *_together(found, edges), ""]
    lines += [
        "Levels *not known* a curve at .05, of the six of a ladder whose Brier scores have truly lost 0, .005, .02,",
        ".08, .40 and .95:",
        "",
        f"| items | draws | {head} |",
        "|--:|--:|" + "--:|" * len(MEASURES),
    ]
    for one in ladders:
        seen = found[one.title]
        means = (seen.counts[f"{metric}: open"] / seen.counts[f"{metric}: records"] for metric in MEASURES)
        lines.append(f"| {one.n:,} | {seen.draws:,} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return "\n".join(lines)


def _together(found: Mapping[str, Tally], edges: Sequence[Condition]) -> list[str]:
    """All conditions of a size together, without an order (Holm), where 5 % is exceeded; all of a kind together."""
    known = [one for one in edges if one.dense != "at chance"]
    lines = [
        "Together, by number of items (dense at chance left out, which is never shown to have headroom; of",
        "`lac_transfer_coverage` where its coverage is at the edge); *`holm`*: without an order of levels, all sizes;",
        "*above*: conditions whose one-sided lower 95 % bound lies above .05.",
        "",
    ]
    sizes = sorted({one.n for one in known})
    lines += [
        f"| metric | side | {' | '.join(f'{n:,}' for n in sizes)} | `holm` | above |",
        "|---|---|" + "---|" * (len(sizes) + 2),
    ]
    above_all, expected, rates_all = 0, 0.0, 0
    for metric in MEASURES:
        chosen = _of(metric, known)
        for side in SIDES[:2]:
            drawn = {one.title: _errors_of(found[one.title].counts, metric, side) for one in chosen}
            drawn = {title: (errors, of) for title, (errors, of) in drawn.items() if of}
            above = [title for title, (errors, of) in drawn.items() if bounds(errors, of)[0] > 0.05]
            rates_all, above_all = rates_all + len(drawn), above_all + len(above)
            expected += sum(_chance_above(of) for _, of in drawn.values())
            rates = [_pooled(found, [one for one in chosen if one.n == n], metric, side) for n in sizes]
            holm = _pooled(found, chosen, metric, f"{side}_holm")
            lines.append(f"| `{metric}` | {side} | {' | '.join(rates)} | {holm} | {'; '.join(above) or '–'} |")
    lines += [
        "",
        f"Of {rates_all} rates, {above_all} have a lower bound above .05; were each .05, {expected:.0f} would.",
        "",
        *_accuracy_alone(found, known),
        "Together, by what is drawn, all sizes and tolerances, a false *kept* / a false *lost*:",
        "",
        f"| | draws | {' | '.join(f'`{metric}`' for metric in MEASURES)} |",
        "|---|--:|" + "---|" * len(MEASURES),
    ]
    for kind in dict.fromkeys(one.kind for one in edges):
        some = [one for one in edges if one.kind == kind]
        rates = [
            " / ".join(_pooled(found, _of(metric, some), metric, side) for side in SIDES[:2]) for metric in MEASURES
        ]
        lines.append(f"| {kind} | {sum(found[one.title].draws for one in some):,} | {' | '.join(rates)} |")
    return lines


def _accuracy_alone(found: Mapping[str, Tally], some: Sequence[Condition]) -> list[str]:
    """Draws of accuracy alone, all together; nothing where there are none."""
    counts = sum((found.get(accuracy_alone(one.title), Tally()).counts for one in some), Counter())
    if not counts["accuracy: records"]:
        return []
    kept, lost = (_rate(counts, "accuracy", side) for side in SIDES[:2])
    draws = f"{counts['accuracy: records']:,} draws apart (`--accuracy`)"
    return [f"Accuracy alone at 10,000 items, {draws}: *kept* {kept}, *lost* {lost}.", ""]


def _of(metric: str, some: Sequence[Condition]) -> list[Condition]:
    """Those that put this metric's truth at the edge."""
    return [one for one in some if metric != "lac_transfer_coverage" or one.planted == "coverage"]


def _pooled(found: Mapping[str, Tally], some: Sequence[Condition], metric: str, side: str) -> str:
    return _rate(sum((found[one.title].counts for one in some), Counter()), metric, side)


def _chance_above(of: int) -> float:
    """Probability that the lower bound of a rate of .05 lies above .05."""
    # as many errors as that has at least: the bound is Clopper and Pearson's, the inverse of this test
    return float(stats.binom.sf(stats.binom.isf(0.05, of, 0.05), of, 0.05))


def _errors_of(counts: Counter[str], metric: str, side: str) -> tuple[int, int]:
    return counts[f"{metric}: {side}"], counts[f"{metric}: records"]


def _rate(counts: Counter[str], metric: str, side: str) -> str:
    return rate(*_errors_of(counts, metric, side))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what is missing, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument(
        "--accuracy", type=int, default=0, metavar="N", help="N draws of accuracy alone at 10,000 items"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="*", help="conditions whose title matches, such as '*blind*'")
    parser.add_argument("--counts", type=Path, default=COUNTS, metavar="FILE")
    parser.add_argument("--truths", type=Path, default=ROOT / "runs" / "dose", help="folder of what was solved for")
    parser.add_argument("--document", type=Path, default=ROOT / "docs" / "dose.md")
    options = parser.parse_args(argv)
    check_markers(options.document, START, END)
    options.truths.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in conditions() if fnmatch.fnmatch(one.title, options.only)]
    asked = {one.title: round(one.effort * options.draws) for one in chosen}
    by_title = {one.title: one for one in chosen}
    if options.accuracy:
        by_title = {accuracy_alone(one.title): one for one in chosen if one.levels == "one" and one.n == 10_000}
        asked = dict.fromkeys(by_title, options.accuracy)
    wanted = in_turns(asked, read_tallies(options.counts, VERSION), turns=-(-max(asked.values(), default=0) // 20))
    jobs = (
        (title, seeds, (by_title[title], truths(by_title[title], options.truths), seeds, title))
        for title, seeds in wanted
    )
    found = grow(options.counts, VERSION, jobs, _job, processes=options.jobs)
    write_between(options.document, START, END, tables(found))
    print(options.document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
