"""How often one-sided bounds of changes miss the truth, from one flipped item in a hundred up: a table of
docs/intervals.md.

Items are planted, never values: hidden logits with answers drawn from them, which dense sees in noise. The level has
dense's logits but for *a few items*, answered as if it saw others, or it sees *all items* through a little more noise;
so much that a given share of the answers flips from right to wrong or back. Temperature, thresholds, dense and level
are redone in every replicate by the suite itself. Used by scripts/studies/validate_intervals.py.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from scripts.studies.tallies import FOLDER, Tally, bounds, rate
from suite.cell import Cell, make_cell
from suite.config import Protocol
from suite.metrics import rows
from suite.verdicts.dose import Contrasts, sides
from suite.verdicts.dose_records import JOINT_KEYS, MEASURES, ladders_of
from suite.verdicts.given import Given

Floats = NDArray[np.float64]

ITEMS = (100, 200, 400, 1000)
FLIPS = (0.01, 0.05, 0.2)
LAWS = ("a few items", "all items")
CHANGES = {
    "accuracy": ("accuracy", "accuracy"),
    "brier_ts": ("brier_ts", "brier_ts"),
    "nll_ts": ("nll_ts", "nll_ts"),
    "set_size": ("set_size", "set_size"),
    "lac_transfer_coverage": ("lac_coverage", "lac_transfer_coverage"),
    "lac_transfer_set_size": ("lac_set_size", "lac_transfer_set_size"),
}
"""By figure: whose value is read of dense and of the level."""

KEYS = tuple(dict.fromkeys(key for both in CHANGES.values() for key in both))
SPLITS, REPLICATES, POPULATION = 20, 400, 300_000
LEVEL, ALPHA, OPTIONS, STRENGTH, NOISE = 0.05, 0.1, 4, 2.0, 0.5
AT_CHANCE = {
    "accuracy": 1 / OPTIONS,
    "brier_ts": 1 - 1 / OPTIONS,
    "nll_ts": float(np.log(OPTIONS)),
    **dict.fromkeys(("set_size", "lac_transfer_set_size"), (1 - ALPHA) * OPTIONS),
}
"""Value of a blind model."""

DOSES = tuple(key for key in CHANGES if key in MEASURES)
ENDS = ("low", "high")
COUNTS = FOLDER / "changes.json"
VERSION = 1
"""Raised when a rule or the drawing changes, so that counts of an older one are not mixed in."""


def cells_of(law: str, size: float, *, n: int, seed: int) -> tuple[Cell, Cell]:
    """Dense and the level on new items.

    Args:
        size: share of the items that are lost, or standard deviation of the noise added to all.
    """
    generator = np.random.default_rng([seed, n])
    hidden, other = STRENGTH * generator.normal(size=(2, n, OPTIONS))
    answers = (hidden + generator.gumbel(size=hidden.shape)).argmax(axis=1)
    dense = hidden + NOISE * generator.normal(size=hidden.shape)
    extra = generator.normal(size=hidden.shape)
    if law == LAWS[0]:
        level = np.where(generator.random((n, 1)) < size, other + NOISE * extra, dense)
    else:
        level = dense + size * extra

    def cell(logits: Floats, variant: str) -> Cell:
        return make_cell(
            ids=[f"{seed}-{item}" for item in range(n)],
            answers=answers.tolist(),
            scores=logits.astype(np.float32).tolist(),
            kind="logits",
            model={"name": "planted"},
            variant={"name": variant},
            task={"name": "planted", "scoring": "letter", "prompt": "base", "shots": 0},
        )

    return cell(dense, "dense"), cell(level, "rtn-w4")


@cache
def size_of(law: str, flips: float) -> float:
    """The size at which this share of the answers flips."""

    def excess(size: float) -> float:
        right = [cell.scores.argmax(axis=1) == cell.answers for cell in cells_of(law, size, n=100_000, seed=1)]
        return float((right[0] != right[1]).mean()) - flips

    return float(optimize.brentq(excess, 0.0, 1.0 if law == LAWS[0] else 5.0, xtol=1e-3))


@cache
def truth(law: str, flips: float) -> dict[str, float]:
    """Change of each figure in the population, as a share of the headroom (``lost``) too, and `flips` as they came
    out."""
    dense, level = cells_of(law, size_of(law, flips), n=POPULATION, seed=7)
    before, after = _figures(dense), _figures(level)
    threshold = np.quantile(before["right"], ALPHA)
    plain = ("accuracy", "brier_ts", "nll_ts", "set_size")
    found = {key: float(np.mean(after[key]) - np.mean(before[key])) for key in plain}
    found["lac_transfer_coverage"] = float((after["right"] >= threshold).mean() - (1 - ALPHA))
    sizes = [(part["p"] >= threshold).sum(axis=1).mean() for part in (before, after)]
    found["lac_transfer_set_size"] = float(sizes[1] - sizes[0])
    start = {key: float(np.mean(before[key])) for key in plain} | {"lac_transfer_set_size": float(sizes[0])}
    found |= {f"{key} lost": found[key] / (AT_CHANCE[key] - start[key]) for key in AT_CHANCE}
    found["flips"] = float((before["accuracy"] != after["accuracy"]).mean())
    return found


def _figures(cell: Cell) -> dict[str, Floats]:
    logits, answers = cell.scores.astype(np.float64), cell.answers
    everyone = np.arange(len(answers))

    def loss(temperature: float) -> Floats:
        return -special.log_softmax(logits / temperature, axis=1)[everyone, answers]

    best = optimize.minimize_scalar(lambda t: loss(t).mean(), bounds=(0.05, 20), method="bounded").x
    p, after = special.softmax(logits, axis=1), special.softmax(logits / best, axis=1)
    hot = np.eye(p.shape[1])[answers]
    order = np.argsort(-p, axis=1)
    ranked = np.take_along_axis(p, order, axis=1)
    draws = np.random.default_rng(3).random((len(p), 1))
    reached = ranked.cumsum(axis=1) - draws * ranked  # randomized APS: the score of each option, most likely first
    place = (order == answers[:, None]).argmax(axis=1)
    right = p[everyone, answers]
    lac = (p >= np.quantile(right, ALPHA)).sum(axis=1).mean()
    aps = (reached <= np.quantile(reached[everyone, place], 1 - ALPHA)).sum(axis=1).mean()
    return {
        "accuracy": (p.argmax(axis=1) == answers).astype(np.float64),
        "brier_ts": ((after - hot) ** 2).sum(axis=1),
        "nll_ts": loss(best),
        "set_size": np.array((lac + aps) / 2),
        "right": right,
        "p": p,
    }


def draw(law: str, flips: float, n: int, seed: int) -> dict[str, tuple[bool, bool]]:
    """One benchmark: by figure and rule, whether the lower bound lies above the truth, and the upper one below it.

    Rules: ``t`` (a standard error of the replicates and Student's t), ``dose`` (the tests of doses, asked at the true
    loss), ``row`` (each end of the 95 % interval of the row, for changes that rows have).
    """
    cells = cells_of(law, size_of(law, flips), n=n, seed=seed)
    rules = Protocol(splits=SPLITS, replicates=REPLICATES, seed=seed)
    with patch.object(rows, "library_remarks", lambda _: {}):
        dense, level = rows.measure_cells(cells, rules, keep=tuple(dict.fromkeys((*KEYS, *JOINT_KEYS))))
    ladders = next((one for _, one in ladders_of(Given([dense, level], rules), DOSES)), None)
    true, found = truth(law, flips), {}
    for key, (ours, theirs) in CHANGES.items():
        at = true[key]
        change = level.values[theirs] - dense.values[ours]
        spread = level.replicates[theirs] - dense.replicates[ours]
        reach = stats.t.ppf(1 - LEVEL, n - 1) * spread.std(ddof=1)
        found[f"{key} t"] = _missed(change - reach, change + reach, at)
        if ladders is None:  # a level that equals dense on every item is no level: doses say nothing of it
            found[f"{key} dose"] = False, False
        elif key == "lac_transfer_coverage":
            test = Contrasts(ladders[key])
            found[f"{key} dose"] = test.band_above(1, +1, at) <= LEVEL, test.band_above(1, -1, -at) <= LEVEL
        else:
            ladder = replace(ladders["lac_transfer_coverage" if key == "lac_transfer_set_size" else key], band=None)
            (below,), (above,) = sides(ladder, true[f"{key} lost"])
            low, high = (below, above) if key == "accuracy" else (above, below)  # a loss of accuracy is a fall
            found[f"{key} dose"] = low <= LEVEL, high <= LEVEL
        if f"{key}_change" in level.row:
            known = [level.row.get(f"{key}_change_{end}") for end in ("low", "high")]
            nothing = None in known
            found[f"{key} row"] = (False, False) if nothing else _missed(float(str(known[0])), float(str(known[1])), at)
    return found


def _missed(low: float, high: float, at: float) -> tuple[bool, bool]:
    return bool(low > at + 1e-12), bool(high < at - 1e-12)


def conditions() -> dict[str, tuple[str, float, int]]:
    """Every law, share of flips and number of items, by name."""
    return {f"{law}; {flips:g} flipped; {n:,} items": (law, flips, n) for law in LAWS for flips in FLIPS for n in ITEMS}


def count(job: tuple[str, Sequence[int]]) -> Counter[str]:
    """How often each bound missed in some benchmarks of a condition."""
    name, seeds = job
    condition, counts = conditions()[name], Counter[str]()
    for seed in seeds:
        missed = draw(*condition, zlib.crc32(name.encode()) + seed)
        for bound, both in missed.items():
            counts.update({f"{bound}: {end}": int(one) for end, one in zip(ENDS, both, strict=True)})
    return +counts


def section(tallies: Mapping[str, Tally]) -> str:
    """The part of docs/intervals.md."""
    drawn = {one: tallies[name] for name, one in conditions().items() if name in tallies}
    few, many = min(one.draws for one in drawn.values()), max(one.draws for one in drawn.values())
    lines = [
        "## One side at a time: changes where few items flip",
        "",
        f"{_number(few, many)} benchmarks a condition, each of new items with folds and draws of its own, {SPLITS} "
        f"splits and {REPLICATES} replicates",
        "(counts: [validation/changes.json](validation/changes.json)). The level has lost *a few items*, answered as",
        "if it saw others, or sees *all items* in more noise, until the given share of the answers flips. How often",
        "each bound misses the true change: the lower one above it / the upper one below it.",
        "",
        "* *t*: bounds at 0.95 each from the replicates' standard error and Student's t, which nothing uses;",
        "* *dose*: what doses test ([dose.md](dose.md)), asked at the true loss, at 0.95 a side; of coverage the test",
        "  of its band, at the true change;",
        "* *row*: each end of the 95 % interval in the row, which may miss in 0.025.",
        "",
        "All numbers of items together, by law and share of flips; in brackets one-sided 95 % upper bounds:",
        "",
        "| change | bound | "
        + " | ".join(f"{law}, {flips:g}" for law in LAWS for flips in FLIPS)
        + " | "
        + " | ".join(f"{law}, all" for law in LAWS)
        + " |",
        "|---|---|" + "---|" * (len(LAWS) * len(FLIPS) + len(LAWS)),
    ]
    for key, rule in _bounds(drawn):
        if rule != "t":
            groups = [*((law, flips) for law in LAWS for flips in FLIPS), *((law,) for law in LAWS)]
            rates = [_pooled(drawn, key, rule, group) for group in groups]
            lines.append(f"| `{key}` | {rule} | {' | '.join(rates)} |")
    lines += [
        "",
        "One by one; rates whose one-sided 95 % lower bound (Clopper-Pearson) lies above 0.05, or above 0.025 for",
        "*row*, are bold.",
        "",
    ]
    for key in CHANGES:
        rules = [rule for one, rule in _bounds(drawn) if one == key]
        lines += [
            f"`{key}`:",
            "",
            "| lost | flips | items | " + " | ".join(rules) + " |",
            "|---|--:|--:|" + "---|" * len(rules),
        ]
        for (law, flips, n), seen in drawn.items():
            rates = [
                " / ".join(_rate(seen.counts[f"{key} {rule}: {end}"], seen.draws, rule) for end in ENDS)
                for rule in rules
            ]
            lines.append(f"| {law} | {flips:g} | {n:,} | {' | '.join(rates)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


Drawn = Mapping[tuple[str, float, int], Tally]


def _bounds(drawn: Drawn) -> list[tuple[str, str]]:
    """Figure and rule of every bound that ever missed: each does somewhere."""
    missed = {name.partition(": ")[0] for one in drawn.values() for name in one.counts}
    return [(key, rule) for key in CHANGES for rule in ("t", "dose", "row") if f"{key} {rule}" in missed]


def _pooled(drawn: Drawn, key: str, rule: str, of: tuple[str | float, ...]) -> str:
    some = [one for condition, one in drawn.items() if condition[: len(of)] == of]
    draws = sum(one.draws for one in some)
    return " / ".join(rate(sum(one.counts[f"{key} {rule}: {end}"] for one in some), draws) for end in ENDS)


def _number(few: int, many: int) -> str:
    return f"{few}" if few == many else f"{few} to {many}"


def _rate(missed: int, of: int, rule: str) -> str:
    allowed = LEVEL / 2 if rule == "row" else LEVEL
    shown = f"{missed / of:.3f}"
    return f"**{shown}**" if bounds(missed, of)[0] > allowed else shown
