"""How often one-sided bounds of changes miss the truth, from one flipped item in a hundred up: a table of
docs/intervals.md.

Items are planted, never values: hidden logits with answers drawn from them, which dense sees in noise. The level has
dense's logits but for *a few items*, answered as if it saw others, or it sees *all items* through a little more noise;
so much that a given share of the answers flips from right to wrong or back. Temperature, thresholds, dense and level
are redone in every replicate by the suite itself. Used by scripts/studies/validate_intervals.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from scripts.studies.tallies import bounds
from suite.cell import Cell, make_cell
from suite.config import Protocol
from suite.metrics import rows
from suite.metrics.proportions import lost_at_most

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
    "brier_ts": 1 - 1 / OPTIONS,
    "nll_ts": float(np.log(OPTIONS)),
    **dict.fromkeys(("set_size", "lac_transfer_set_size"), (1 - ALPHA) * OPTIONS),
}
"""Figures of which doses ask what few items can hide, with their value for a blind model."""


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
    """Change of each figure in the population, and `flips` as they came out."""
    dense, level = cells_of(law, size_of(law, flips), n=POPULATION, seed=7)
    before, after = _figures(dense), _figures(level)
    threshold = np.quantile(before["right"], ALPHA)
    found = {key: float(np.mean(after[key]) - np.mean(before[key])) for key in ("accuracy", "brier_ts", "nll_ts")}
    found["set_size"] = float(after["set_size"] - before["set_size"])
    found["lac_transfer_coverage"] = float((after["right"] >= threshold).mean() - (1 - ALPHA))
    sizes = [(part["p"] >= threshold).sum(axis=1).mean() for part in (before, after)]
    found["lac_transfer_set_size"] = float(sizes[1] - sizes[0])
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

    Rules: ``t`` (a standard error of the replicates and Student's t), ``dose`` (what doses take: that, and what few
    items can hide), ``row`` (each end of the 95 % interval of the row, for changes that rows have).
    """
    cells = cells_of(law, size_of(law, flips), n=n, seed=seed)
    rules = Protocol(splits=SPLITS, replicates=REPLICATES, seed=seed)
    with patch.object(rows, "library_remarks", lambda _: {}):
        dense, level = rows.measure_cells(cells, rules, keep=KEYS)
    found = {}
    for key, (ours, theirs) in CHANGES.items():
        change = level.values[theirs] - dense.values[ours]
        spread = level.replicates[theirs] - dense.replicates[ours]
        reach = stats.t.ppf(1 - LEVEL, n - 1) * spread.std(ddof=1)
        ends = {"t": (change - reach, change + reach)}
        if key in AT_CHANCE:
            room = AT_CHANCE[key] - dense.values[ours]
            most = lost_at_most(change, room=room, units=level.units, level=1 - 2 * LEVEL) if room > 0 else 0.0
            ends["dose"] = (change - reach, max(change + reach, most))
        if f"{key}_change" in level.row:
            known = [level.row.get(f"{key}_change_{end}") for end in ("low", "high")]
            ends["row"] = (-np.inf, np.inf) if None in known else (float(str(known[0])), float(str(known[1])))
        at = truth(law, flips)[key]
        for rule, (low, high) in ends.items():
            found[f"{key} {rule}"] = (bool(low > at + 1e-12), bool(high < at - 1e-12))
    return found


def conditions() -> Iterator[tuple[str, float, int]]:
    """Every law, share of flips and number of items."""
    yield from ((law, flips, n) for law in LAWS for flips in FLIPS for n in ITEMS)


Draws = Sequence[Mapping[str, tuple[bool, bool]]]


def section(drawn: Mapping[tuple[str, float, int], Draws]) -> str:
    """The part of docs/intervals.md."""
    few, many = min(map(len, drawn.values())), max(map(len, drawn.values()))
    lines = [
        "## One side at a time: changes where few items flip",
        "",
        f"{few} to {many} benchmarks a condition, each of new items with folds and draws of its own, {SPLITS} splits",
        f"and {REPLICATES} replicates (Monte Carlo standard error of a rate of .05: {_error(0.05, many)} to "
        f"{_error(0.05, few)}). The level has lost *a few items*,",
        "answered as if it saw others, or sees *all items* in more noise, until the given share of the answers flips.",
        "How often each bound misses the true change: the lower one above it / the upper one below it.",
        "",
        "* *t*: bounds at 0.95 each from the replicates' standard error and Student's t;",
        "* *dose*: those that doses take ([dose.md](dose.md)), whose upper one knows what few items can hide;",
        "* *row*: each end of the 95 % interval in the row, which may miss in 0.025.",
        "",
        "Rates whose one-sided 95 % lower bound (Clopper-Pearson) lies above 0.05, or above 0.025 for *row*, are bold.",
        "",
    ]
    names = list(next(iter(drawn.values()))[0])
    for key in CHANGES:
        rules = [name for name in names if name.split()[0] == key]
        title = f"`{key}_change`" if f"{key} row" in names else f"`{key}`, against dense's own"
        lines += [
            f"{title}:",
            "",
            "| lost | flips | items | " + " | ".join(name.split()[1] for name in rules) + " |",
            "|---|--:|--:|" + "---|" * len(rules),
        ]
        for (law, flips, n), draws in drawn.items():
            rates = [" / ".join(_rate([one[name][side] for one in draws], name) for side in (0, 1)) for name in rules]
            lines.append(f"| {law} | {flips:g} | {n:,} | {' | '.join(rates)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _error(rate: float, count: int) -> str:
    return f"{np.sqrt(rate * (1 - rate) / count):.3f}"


def _rate(missed: Sequence[bool], name: str) -> str:
    allowed = LEVEL / 2 if name.endswith(" row") else LEVEL
    shown = f"{np.mean(missed):.3f}"
    return f"**{shown}**" if bounds(sum(missed), len(missed))[0] > allowed else shown
