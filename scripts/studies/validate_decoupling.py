"""How often the labels of docs/decoupling.md are wrong on planted damage: its tables of error rates.

make validate-decoupling

Every draw has two tasks of new items, one dense model, and a variant for each kind of damage and each edge; tasks and
their average are judged by `find_couplings`. What draws come to is counted in docs/validation/decoupling.json; the
same command goes on where it stopped. `--coupled` draws the edge of *coupled* alone, of other items, at a tenth of the
cost.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from scripts.markers import check_markers, marks, write_between
from scripts.studies.reproduce_ladders import DEFAULT, read_ladder
from scripts.studies.tallies import FOLDER, Tally, grow, in_turns, rate, read_tallies
from scripts.studies.validate_intervals import population_figures
from suite.cell import Cell, load_cells, make_cell
from suite.config import Protocol
from suite.decisions.analyses import DECOUPLING, PASSED, judge_cells
from suite.errors import SuiteError
from suite.metrics import bootstrap, conformal
from suite.metrics.measure import Scored
from suite.metrics.rows import Measured, score_cell
from suite.publish.pages.markdown import table
from suite.verdicts import damage, decoupling
from suite.verdicts.collapse import RULE
from suite.verdicts.curves import MACRO, METRICS, PRIMARY
from suite.verdicts.damage import with_replicates
from suite.verdicts.decoupling import ALLOWANCE, BEYOND, COUPLINGS, find_couplings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "decoupling.md"
NAMES = (
    "label errors",
    "edges",
    *(f"{run} {what}" for run in ("three-llms", "ladder") for what in ("verdicts", "beyond")),
)
MARKERS = {name: marks(name) for name in NAMES}
SNAPSHOT = ROOT / "results" / "three-llms"
COUNTS = FOLDER / "decoupling.json"
VERSION = 1
"""Raised when the rule or the drawing changes, so that counts of an older one are not mixed in."""

OPTIONS = 4
POPULATION = 200_000
RULES = Protocol(splits=10, replicates=200)
ITEMS = (400, 1000, 3000)
TASKS = ("one", "two")

SHORT = ("silent accuracy loss", "muted loss", "uncertainty kept")

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Harm = Callable[[Floats, Numbers, float, np.random.Generator], Floats]


def _unit(scores: Floats) -> float:
    return float(np.median(scores.std(axis=1)))


def gaussian(scores: Floats, _: Numbers, amount: float, generator: np.random.Generator) -> Floats:
    """The same noise for all items."""
    return scores + amount * _unit(scores) * generator.normal(size=scores.shape)


def heavy_tailed(scores: Floats, _: Numbers, amount: float, generator: np.random.Generator) -> Floats:
    """Student's t with two degrees of freedom."""
    return scores + 0.6 * amount * _unit(scores) * generator.standard_t(2, size=scores.shape)


def broken(scores: Floats, _: Numbers, amount: float, generator: np.random.Generator) -> Floats:
    """A share of the items sees other scores altogether, no surer than before."""
    lost = generator.random(len(scores)) < 0.25 * amount
    return np.asarray(np.where(lost[:, None], scores.std() * generator.normal(size=scores.shape), scores))


def position(scores: Floats, _: Numbers, amount: float, generator: np.random.Generator) -> Floats:
    """The first option is preferred."""
    return scores + 2 * amount * _unit(scores) * (np.arange(scores.shape[1]) == 0)


def temperature(scores: Floats, _: Numbers, amount: float, generator: np.random.Generator) -> Floats:
    """Scores grow flatter, in little noise."""
    return (1 - 0.4 * amount) * scores + 0.3 * amount * _unit(scores) * generator.normal(size=scores.shape)


HARMS: dict[str, Harm] = {
    "Gaussian": gaussian,
    "heavy-tailed": heavy_tailed,
    "a broken share": broken,
    "position bias": position,
    "temperature": temperature,
}
"""Damage that accuracy and flips shall explain; no label beyond or short of the nulls is right."""


def _scramble(scores: Floats, spread: float, generator: np.random.Generator) -> Floats:
    """A factor of its own for each item: every answer stays, the order of confidences goes."""
    return scores * np.exp(generator.normal(0, spread, (len(scores), 1)))


def _lost(scores: Floats, answers: Numbers, share: float, generator: np.random.Generator) -> Floats:
    """So large a share of all items, of those that were right, gives its answer's score to another option."""
    right = scores.argmax(axis=1) == answers
    chosen = np.flatnonzero(right & (generator.random(len(scores)) < share / right.mean()))
    return _swapped(scores, chosen, answers[chosen], (answers[chosen] + 1) % scores.shape[1])


def _gained(scores: Floats, answers: Numbers, share: float, generator: np.random.Generator) -> Floats:
    """So large a share of all items, of those that were wrong, becomes right."""
    top = scores.argmax(axis=1)
    wrong = top != answers
    chosen = np.flatnonzero(wrong & (generator.random(len(scores)) < share / wrong.mean()))
    return _swapped(scores, chosen, answers[chosen], top[chosen])


def _swapped(scores: Floats, rows: NDArray[np.intp], first: Numbers, second: NDArray[np.intp]) -> Floats:
    harmed = scores.copy()
    harmed[rows, first], harmed[rows, second] = scores[rows, second], scores[rows, first]
    return harmed


def silent_edge(scores: Floats, answers: Numbers, _: float, generator: np.random.Generator) -> Floats:
    """Confidence scrambled; accuracy down by its margin."""
    return _lost(_scramble(scores, 2.0, generator), answers, 0.02, generator)


def improved_edge(scores: Floats, answers: Numbers, _: float, generator: np.random.Generator) -> Floats:
    """Surer where it was right; accuracy down by its margin."""
    surer = (
        scores + 1.5 * _unit(scores) * np.eye(scores.shape[1])[answers] * (scores.argmax(axis=1) == answers)[:, None]
    )
    return _lost(surer, answers, 0.02, generator)


def accuracy_edge(scores: Floats, answers: Numbers, _: float, generator: np.random.Generator) -> Floats:
    """Confidence scrambled; 4 % of all items lost and as many gained."""
    return _gained(_lost(_scramble(scores, 2.0, generator), answers, 0.04, generator), answers, 0.04, generator)


def coupled_edge(scores: Floats, _: Numbers, amount: float, generator: np.random.Generator) -> Floats:
    """Confidence scrambled as much as brings the excess to the practical minimum (`excess_spread`)."""
    return _scramble(scores, amount, generator)


COUPLED_EDGE = "excess at the practical minimum"

EDGES: dict[str, tuple[Harm, tuple[str, ...]]] = {
    "accuracy down by its margin, certainty lost": (silent_edge, ("silent uncertainty loss",)),
    "accuracy down by its margin, certainty gained": (improved_edge, ("improved",)),
    "accuracy unchanged, certainty lost": (accuracy_edge, ("no null", "amplified loss", *SHORT)),
    COUPLED_EDGE: (coupled_edge, ("coupled",)),
}
"""Variants at the edge of a label, and the labels that are wrong there."""


@lru_cache
def excess_spread(strength: float) -> float:
    """The spread of factors with which the excess in the population is the practical minimum.

    Such a factor flips no answer, so that the nulls explain nothing: the excess is the growth less the allowance.
    """
    generator = np.random.default_rng(1)
    scores, answers = dense_scores(POPULATION, strength, generator)
    before = population_figures(scores, answers, alpha=RULES.alpha)["set_size"]
    room = (1 - RULES.alpha) * OPTIONS - before
    margin = max(METRICS[PRIMARY].minimum, RULE.practical_of_headroom * room)

    def beyond(spread: float) -> float:
        harmed = _scramble(scores, spread, np.random.default_rng(2))
        with np.errstate(divide="ignore"):  # of the NLL, which is not asked
            after = population_figures(harmed, answers, alpha=RULES.alpha)["set_size"]
        return after - before - ALLOWANCE * room - margin

    return float(brentq(beyond, 0.01, 6.0, xtol=0.002))


def dense_scores(n: int, strength: float, generator: np.random.Generator) -> tuple[Floats, Numbers]:
    """Items of uneven difficulty, and what dense gives their options."""
    answers = generator.integers(0, OPTIONS, n)
    scores = generator.normal(size=(n, OPTIONS))
    scores[np.arange(n), answers] += strength / 2 + generator.normal(0, 1.2, n)
    return 1.5 * scores, answers


def _cell(scores: Floats, answers: Numbers, variant: str, task: str, draw: str) -> Cell:
    return make_cell(
        ids=[f"{draw}-{task}-{item}" for item in range(len(scores))],
        answers=answers.tolist(),
        scores=scores.tolist(),
        kind="logits",
        model={"name": "planted"},
        variant={"name": variant},
        task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
    )


def measured(cell: Cell, dense_accuracy: float) -> Measured:
    """What `find_couplings` needs of a cell, without the other figures."""
    scored = score_cell(cell, RULES)
    sample, sizes = scored.sample, []
    for scores in (scored.lac, scored.aps):
        split = conformal.conformal_splits(scores, scored.answers, folds=sample.folds, alpha=RULES.alpha)
        drawn = bootstrap.set_replicates(scores, scored.answers, drawn=sample.drawn(RULES.splits), alpha=RULES.alpha)
        sizes.append(np.r_[split.mean_size, drawn.size])
    columns = {"accuracy": with_replicates(scored.correct, sample.weights), "set_size": np.mean(sizes, axis=0)}
    key = cell.key
    row: Any = {
        **{"model": key.model, "variant": key.variant, "family": "planted", "task": key.task, "scoring": key.scoring},
        **{"prompt": key.prompt, "shots": key.shots, "flags": [], "set_size_chance": (1 - RULES.alpha) * OPTIONS},
        **{"accuracy": dense_accuracy, "chance_accuracy": 1 / OPTIONS},
    }
    values = {name: float(column[0]) for name, column in columns.items()}
    replicates = {name: column[1:] for name, column in columns.items()}
    chance = np.full(len(cell), 1 / OPTIONS)
    return Measured(cell, row, values, replicates, None, scored.correct, sample.unit_numbers, chance)


def judged(n: int, draw: int) -> Counter[str]:
    """One draw: how often each verdict, by task or average and kind."""
    generator = np.random.default_rng([n, draw])
    strength = float(generator.choice([2.0, 4.0]))
    amounts = {name: float(generator.choice([0.3, 0.6, 1.0])) for name in HARMS}
    amounts |= dict.fromkeys(EDGES, excess_spread(strength))
    harms = {**HARMS, **{name: harm for name, (harm, _) in EDGES.items()}}
    names = {f"magnitude-s{10 * place + 10}": name for place, name in enumerate(harms)}
    cells = []
    for task in TASKS:
        scores, answers = dense_scores(n, strength, generator)
        accuracy = float((scores.argmax(axis=1) == answers).mean())
        for variant in ("dense", *names):
            given = scores
            if variant != "dense":
                given = harms[names[variant]](scores, answers, amounts[names[variant]], generator)
            cell = _cell(given, answers, variant, task, str(draw))
            cells.append(measured(cell, accuracy))
    return _counted(find_couplings(cells, RULES), names)


def coupled_alone(n: int, draw: int) -> Counter[str]:
    """The same for a variant at the edge of *coupled* alone, of other items.

    It flips no answer. So many flips, none, are reached by damage of strength 0, which explains exactly nothing
    whatever the damage: that is said instead of measured, which would be nearly all of the cost.
    """
    generator = np.random.default_rng([n, draw, 1])
    strength = float(generator.choice([2.0, 4.0]))
    names = {"magnitude-s10": COUPLED_EDGE}
    cells = []
    for task in TASKS:
        scores, answers = dense_scores(n, strength, generator)
        accuracy = float((scores.argmax(axis=1) == answers).mean())
        harmed = coupled_edge(scores, answers, excess_spread(strength), generator)
        both = [
            measured(_cell(given, answers, variant, task, f"{draw}-alone"), accuracy)
            for variant, given in zip(("dense", *names), (scores, harmed), strict=True)
        ]
        if not np.array_equal(both[0].correct, both[1].correct):
            raise ValueError("an answer has flipped: damage may explain something")
        cells += both
    with patch.object(decoupling, "damage_paths", _undamaged):
        return _counted(find_couplings(cells, RULES), names)


def _undamaged(dense: Scored) -> dict[str, damage.Path]:
    nothing = np.zeros((1, 1 + dense.sample.weights.shape[1]))
    return dict.fromkeys(damage.DAMAGES, damage.Path(nothing, nothing, nothing))


def _counted(couplings: Sequence[Mapping[str, object]], names: Mapping[str, str]) -> Counter[str]:
    return Counter(
        seen("averages" if one["task"] == MACRO else "tasks", names[str(one["variant"])], str(one["verdict"]))
        for one in couplings
    )


def seen(what: str, kind: str, verdict: str) -> str:
    """The name under which a verdict is counted."""
    return f"{what}; {kind}; {verdict}"


def _job(job: tuple[Callable[[int, int], Counter[str]], int, Sequence[int]]) -> Counter[str]:
    one, n, draws = job
    return sum((one(n, draw) for draw in draws), Counter())


def condition(n: int) -> str:
    """The name of all draws of a number of items."""
    return f"{n:,} items"


def alone(n: int) -> str:
    """The name of those in which the edge of *coupled* is alone."""
    return f"{condition(n)}, {COUPLED_EDGE} alone"


def label_errors(tallies: Mapping[str, Tally]) -> str:
    """Wrong labels of explained damage, by kind, items, and task or average."""
    lines = []
    for what in ("tasks", "averages"):
        groups = [
            *((kind, {kind}, ITEMS) for kind in HARMS),
            *((f"all, {n:,} items", set(HARMS), (n,)) for n in ITEMS),
            ("all", set(HARMS), ITEMS),
        ]
        for name, kinds, items in groups:
            verdicts = _verdicts(tallies, what, kinds, items)
            if cases := verdicts.total():
                rates = [rate(sum(verdicts[one] for one in wrong), cases) for wrong in (BEYOND, SHORT)]
                coupled = f"{verdicts['coupled'] / cases:.2f}"
                lines.append((what, name, f"{cases:,}", *rates, str(verdicts[BEYOND[0]]), coupled))
    header = ("", "damage", "cases", "called beyond", "called short", "silent uncertainty loss", "called coupled")
    return table(header, lines, left=2)


def edges(tallies: Mapping[str, Tally]) -> str:
    """How often a label is given at its edge, by number of items and together."""
    lines = []
    for name, (_, wrong) in EDGES.items():
        for what in ("tasks", "averages"):
            rates = []
            for items in (*((n,) for n in ITEMS), ITEMS):
                verdicts = _verdicts(tallies, what, {name}, items)
                rates.append(rate(sum(verdicts[one] for one in wrong), verdicts.total()))
            lines.append((name, ", ".join(wrong), what, f"{verdicts.total():,}", *rates))
    header = ("edge", "label that is wrong there", "", "cases", *(f"{n:,} items" for n in ITEMS), "all")
    return table(header, lines, left=3)


def _verdicts(tallies: Mapping[str, Tally], what: str, kinds: Container[str], items: Sequence[int]) -> Counter[str]:
    """How often each, of some kinds and numbers of items."""
    found: Counter[str] = Counter()
    for key in (name(n) for n in items for name in (condition, alone)):
        for name, count in tallies.get(key, Tally()).counts.items():
            place, kind, verdict = name.split("; ")
            if place == what and kind in kinds:
                found[verdict] += count
    return found


def found_table(couplings: Sequence[Any]) -> str:
    """Verdicts by model, on single tasks and on averages."""
    seen = [name for name in COUPLINGS if any(one["verdict"] == name for one in couplings)]
    lines = []
    for model in dict.fromkeys(str(one["model"]) for one in couplings):
        for what, part in (("tasks", False), ("average", True)):
            some = [one for one in couplings if one["model"] == model and (one["task"] == MACRO) == part]
            above = sum((one["excess_low"] or 0) > 0 for one in some)
            counts = [str(sum(one["verdict"] == name for one in some)) for name in seen]
            lines.append((model, what, str(len(some)), *counts, str(above)))
    return table(("model", "", "variants", *seen, "excess above zero"), lines, left=2)


def passed_table(couplings: Sequence[Any], passed: Sequence[Any]) -> str:
    """What lost more than damage explains, and what accuracy alone would have passed."""
    lines = [
        (
            *(str(one[key]) for key in ("model", "variant", "task", "verdict")),
            *(_change(one, key) for key in ("accuracy_change", "set_size_change", "excess")),
        )
        for one in couplings
        if one["verdict"] in BEYOND
    ]
    header = ("model", "variant", "task", "verdict", "accuracy change", "set size change", "excess")
    first = table(header, lines, left=4) if lines else "No variant is shown to have lost more than damage explains."
    more = [
        (
            *(str(one["model"]), str(one["variant"]), str(one["task"]), f"{one['tolerance']:g}"),
            *(f"{one['accuracy_loss']:.3f}", f"{one['certainty_loss']:.3f}", f"{one['p_value']:.4f}"),
            {True: "yes", False: "no"}.get(one["beyond_damage"], "not known"),
        )
        for one in passed
    ]
    names = ("model", "variant", "task", "share", "accuracy lost", "certainty lost", "p, Holm", "beyond damage")
    second = (
        table(names, more, left=3) if more else "Accuracy alone would have passed none that certainty is shown to fail."
    )
    return f"{first}\n\n{second}"


def _change(one: Any, key: str) -> str:
    return f"{one[key]:+.3f} [{one[f'{key}_low']:+.3f}, {one[f'{key}_high']:+.3f}]"


def published(folder: Path | None, document: Path) -> None:
    """The tables of published cells."""
    cells = {"three-llms": load_cells(SNAPSHOT)}
    try:
        cells["ladder"] = read_ladder(folder or Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT))
    except SuiteError as error:
        print(f"validate_decoupling: the tables of the ladders stay as they are: {error}", file=sys.stderr)
    for name, some in cells.items():
        _, judgement = judge_cells(some, None, files=(DECOUPLING, PASSED))
        couplings, passed = judgement.records(DECOUPLING), judgement.records(PASSED)
        write_between(document, *MARKERS[f"{name} verdicts"], found_table(couplings))
        write_between(document, *MARKERS[f"{name} beyond"], passed_table(couplings, passed))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what is missing, then write both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, nargs=3, default=(400, 200, 100), help="for each number of items")
    parser.add_argument("--coupled", action="store_true", help="draws of the edge of 'coupled' alone")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--counts", type=Path, default=COUNTS, metavar="FILE")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--published", action="store_true", help="only the tables of published cells")
    parser.add_argument(
        "--ladders", type=Path, metavar="FOLDER", help="else SUITE_PUBLISHED_DATA, as reproduce-ladders"
    )
    args = parser.parse_args(argv)
    for place in MARKERS.values():
        check_markers(args.document, *place)
    if args.published:
        published(args.ladders, args.document)
        return 0
    title, one = (alone, coupled_alone) if args.coupled else (condition, judged)
    asked = {title(n): draws for n, draws in zip(ITEMS, args.draws, strict=True)}
    sizes = {title(n): n for n in ITEMS}
    turns = -(-max(args.draws) // 20) if args.coupled else max(args.draws)
    wanted = in_turns(asked, read_tallies(args.counts, VERSION), turns=turns)
    jobs = ((name, seeds, (one, sizes[name], seeds)) for name, seeds in wanted)
    tallies = grow(args.counts, VERSION, jobs, _job, processes=args.jobs)
    write_between(args.document, *MARKERS["label errors"], label_errors(tallies))
    write_between(args.document, *MARKERS["edges"], edges(tallies))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
