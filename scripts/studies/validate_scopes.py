"""How often the noise floor and the scope of recipes are wrong, where errors are normal: two tables of docs/dose.md.

make validate-scopes
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scripts.markers import check_markers, marks, write_between
from scripts.studies.tallies import bounds
from suite.publish.pages.markdown import table
from suite.verdicts.dose import Ladder, find_doses
from suite.verdicts.noise_floor import noise_floor
from suite.verdicts.recipe_scope import p_value

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "dose.md"
MARKERS = {name: marks(name) for name in ("floor errors", "seed errors")}

RATIOS = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Variance of seeds over that of items."""

SEEDS = (2, 3, 5)
FREEDOM = 999

Floats = NDArray[np.float64]


def seed_errors(draws: int) -> str:
    """Errors at 5 % about another draw of the sample text: two rules, whose truth is that draw's value."""
    lines = []
    for seeds in SEEDS:
        rates: dict[str, list[float]] = {"Satterthwaite": [], "margins as squares": []}
        for ratio in RATIOS:
            error, items, spread = _claims(seeds, ratio, draws, np.random.default_rng([seeds, int(10 * ratio)]))
            for rule, limit in (("Satterthwaite", _welch(items, spread, seeds)), ("margins as squares", None)):
                wrong = error > (_squares(items, spread, seeds) if limit is None else limit)
                rates[rule].append(float(wrong.mean()))
        lines += [(str(seeds), rule, *(_rate(rate) for rate in found)) for rule, found in rates.items()]
    return table(("seeds", "rule", *(f"{ratio:g}" for ratio in RATIOS)), lines, left=2)


def _claims(seeds: int, ratio: float, draws: int, generator: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """The mean of the seeds less a new draw's truth, and what is estimated of the two variances."""
    truths = np.sqrt(ratio) * generator.normal(size=(draws, seeds + 1))
    error = truths[:, :-1].mean(axis=1) + generator.normal(size=draws) - truths[:, -1]
    items = generator.chisquare(FREEDOM, draws) / FREEDOM
    spread = truths[:, :-1].var(axis=1, ddof=1) * (1 + 1 / seeds)
    return error, items, spread


def _welch(items: Floats, spread: Floats, seeds: int) -> Floats:
    freedom = (items + spread) ** 2 / (items**2 / FREEDOM + spread**2 / (seeds - 1))
    return np.asarray(stats.t.ppf(0.95, freedom) * np.sqrt(items + spread))


def _squares(items: Floats, spread: Floats, seeds: int) -> Floats:
    """Where `p_value` is .05; checked on the first draws."""
    margins = [stats.t.ppf(0.95, freedom) ** 2 * part for freedom, part in ((FREEDOM, items), (seeds - 1, spread))]
    limit = np.sqrt(np.sum(margins, axis=0))
    for row in range(20):
        seen = np.sqrt(spread[row] / (1 + 1 / seeds)) * stats.zscore(np.arange(seeds), ddof=1)
        found = p_value(float(limit[row]), float(items[row]), FREEDOM, seen if spread[row] else np.zeros(0))
        np.testing.assert_allclose(found, 0.05, rtol=1e-6)
    return np.asarray(limit)


def floor_errors(draws: int) -> str:
    """Wrong calls of *lost* at .05, by correlation, of a level that truly lost no more than a null variant may."""
    lines = []
    for null, level in ((0.10, 0.10), (-0.10, 0.10), (0.03, 0.05), (0.05, 0.05)):
        found = []
        for correlation in (0.0, 0.5, 0.9):
            wrong = _wrongly_lost(null, level, correlation, draws)
            found.append(f"{_rate(wrong / draws)} (≤ {_rate(bounds(wrong, draws)[1])})")
        lines.append((f"{null:.2f}", f"{level:.2f}", *found))
    return table(("null's loss", "level's loss", "independent", "correlated .5", "correlated .9"), lines, left=0)


def _wrongly_lost(null: float, level: float, correlation: float, draws: int, *, error: float = 0.02) -> int:
    generator = np.random.default_rng([5, int(100 * abs(null)), int(null < 0), int(100 * level), int(10 * correlation)])
    root = error * np.linalg.cholesky(np.array([[1.0, correlation], [correlation, 1.0]]))
    wrong = 0
    for _ in range(draws):
        seen = np.array([level, null]) + root @ generator.normal(size=2)
        shaken = root @ generator.normal(size=(2, 200))
        drawn, repeat = (_ladder(float(value), noise) for value, noise in zip(seen, shaken, strict=True))
        floor = noise_floor({"dense@repeat": repeat}, smallest=0.05, confidence=0.95).loss
        assert floor is not None
        wrong += find_doses(replace(drawn, floor=floor), tolerances=(0.05,))[0.05].lost_from is not None
    return wrong


def _ladder(loss: float, noise: Floats) -> Ladder:
    """Dense at 0 and chance at 1 without error, and one level."""
    replicates = np.vstack([np.zeros_like(noise), loss + noise])
    return Ladder(("dense", "rtn-w4"), np.array([0.0, loss]), replicates, 1.0, np.ones_like(noise), 1000)


def _rate(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def main(argv: Sequence[str] | None = None) -> int:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="of the floor; 200 times as many of the seeds")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(argv)
    for place in MARKERS.values():
        check_markers(options.document, *place)
    write_between(options.document, *MARKERS["seed errors"], seed_errors(200 * options.draws))
    write_between(options.document, *MARKERS["floor errors"], floor_errors(options.draws))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
