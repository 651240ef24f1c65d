"""Made-up models whose degradation curve is known: to find out how often the verdicts are right.

Items have hidden logits, and the right option follows them by softmax sampling. A model sees the hidden logits in
Gaussian noise; compression adds noise. How much noise each level gets is chosen so that the *population* curve of set
size (mean of LAC and APS) has a planted shape; set sizes themselves are never touched, they come out of the scores
like those of a real model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from suite.cell import Cell, make_cell
from suite.metrics import conformal

Floats = NDArray[np.float64]

POPULATION = 60_000
NOISE_GRID = np.r_[0.0, np.geomspace(0.05, 40.0, 28)]

SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "constant": lambda x: np.zeros_like(x),
    "straight": lambda x: x / x[-1],
    "convex": lambda x: (2**x - 1) / (2 ** x[-1] - 1),
    "mildly convex": lambda x: (1.4**x - 1) / (1.4 ** x[-1] - 1),
    "saturating": lambda x: 1 - 2.0**-x,
    "wide sigmoid": lambda x: 1 / (1 + np.exp(-(x - (x[-1] + 1) / 2) / 1.0)),
    "power law": lambda x: (x / x[-1]) ** 3,
    "hinge": lambda x: np.maximum(x - x[-1] / 2, 0) / (x[-1] / 2),
    "two steps": lambda x: ((x >= x[-1] // 2).astype(float) + (x >= x[-1] // 2 + 2)) / 2,
    "bump": lambda x: (x == x[-1] // 2).astype(float),
    "u-shaped": lambda x: 4 * (x / x[-1]) * (x / x[-1] - 0.75),
    "step": lambda x: (x >= x[-1] // 2 + 1).astype(float),
    "narrow sigmoid": lambda x: 1 / (1 + np.exp(-(x - (x[-1] // 2 + 0.5)) / 0.2)),
    "step on a slope": lambda x: 0.75 * (x >= x[-1] // 2 + 1) + 0.25 * x / x[-1],
    "end step": lambda x: (x >= x[-1]).astype(float),
}
"""Planted shapes over levels 0 (dense), 1, ..., L: 0 at dense, about 1 where they are highest."""

THRESHOLDS = ("step", "narrow sigmoid", "step on a slope", "end step")
"""Shapes that are thresholds in the sense of docs/collapse.md; all others are not."""


@dataclass(frozen=True)
class Population:
    """Where items come from.

    Attributes:
        options: options of each item.
        strength: standard deviation of the hidden logits; 1 gives a weak dense model, 3 a strong one.
        uneven: spread of the logarithm of each item's own strength; 0 makes all items alike.
        group: items that share a group, and with it half of the variance of hidden logits and noise.
        dense_noise: noise in which dense sees the hidden logits.
        alpha: miscoverage of the sets.
    """

    options: int = 4
    strength: float = 2.0
    uneven: float = 0.0
    group: int = 1
    dense_noise: float = 0.5
    alpha: float = 0.1

    @property
    def chance(self) -> float:
        """Set size of an uninformative model."""
        return (1 - self.alpha) * self.options


@dataclass(frozen=True)
class Plan:
    """A planted curve.

    Attributes:
        noise: of each level, shape [levels].
        set_size: of the population at it, shape [levels]; empty where another measure was planted.
        blind: share of the items that each level answers as if it saw another item, shape [levels]; an item that one
            level has lost is lost to those with larger shares. None where no item is.
    """

    noise: Floats
    set_size: Floats
    blind: Floats | None = None


def in_one_step(share: float) -> Callable[[Floats], Floats]:
    """A shape whose step in the middle carries a share of the rise, the other steps the rest in equal parts.

    >>> np.diff(in_one_step(0.4)(np.arange(7.0))).round(2).tolist()
    [0.12, 0.12, 0.12, 0.4, 0.12, 0.12]
    """

    def shape(x: Floats) -> Floats:
        after = (x >= x[-1] // 2 + 1).astype(float)
        return np.asarray(share * after + (1 - share) * (x - after) / (x[-1] - 1))

    return shape


def plan_curve(
    population: Population,
    shape: str | Callable[[Floats], Floats],
    *,
    levels: int,
    rise: float,
    jitter: Floats | None = None,
) -> Plan:
    """Noise levels that give a planted curve.

    Args:
        shape: a key of `SHAPES`, or a function of the levels like its values.
        levels: with dense.
        rise: height of the shape as a fraction of the headroom from dense to chance, below 1.
        jitter: added to each level's set size, as a fraction of the headroom, shape [levels - 1].

    >>> plan = plan_curve(Population(), "step", levels=5, rise=0.5)
    >>> bool(plan.set_size[2] - plan.set_size[1] < 0.02 < plan.set_size[3] - plan.set_size[2])
    True
    """
    noise, size = set_size_by_noise(population)
    dense = float(np.interp(population.dense_noise, noise, size))
    headroom = population.chance - dense
    planted = SHAPES[shape] if isinstance(shape, str) else shape
    relative = rise * planted(np.arange(levels, dtype=np.float64))
    relative = relative - relative[0]
    if jitter is not None:
        relative[1:] += jitter
    wanted = np.clip(dense + relative * headroom, size[0], size[-1])
    wanted[0] = dense
    found = np.interp(wanted, size, noise)
    found[0] = population.dense_noise
    return Plan(found, wanted)


@lru_cache(maxsize=32)
def set_size_by_noise(population: Population) -> tuple[Floats, Floats]:
    """The population's set size, mean of LAC and APS, over a grid of noise levels; increasing."""
    generator = np.random.default_rng(20_240)
    hidden, answers, groups = _items(population, POPULATION, generator)
    shocks = _noise(population, groups, hidden.shape, generator)
    draws = generator.random(POPULATION)
    sizes = []
    for noise in NOISE_GRID:
        p = special.softmax(hidden + noise * shocks, axis=1)
        lac = conformal.lac_scores(p, answers)
        aps = conformal.aps_scores(p, answers, draws=draws)
        sizes.append(
            np.mean(
                [
                    (scores.options >= np.quantile(scores.calibration, population.alpha)).sum(axis=1).mean()
                    for scores in (lac, aps)
                ]
            )
        )
    return NOISE_GRID, np.maximum.accumulate(np.array(sizes)) + 1e-9 * np.arange(len(sizes))


def draw_cells(population: Population, plan: Plan, *, n: int, seed: int) -> list[Cell]:
    """One benchmark: a dense cell and one cell a level, on the same new items. Half of the variance of the added noise
    is common to all levels.

    Returns:
        Cells named as in `LEVEL_NAMES`, in the order of the plan; item ids follow from the seed.
    """
    generator = np.random.default_rng([seed, n, 5])
    hidden, answers, groups = _items(population, n, generator)
    first = _noise(population, groups, hidden.shape, generator)
    common = _noise(population, groups, hidden.shape, generator)
    ids = [f"{seed}-{item}" for item in range(n)]
    blind = np.zeros(len(plan.noise)) if plan.blind is None else plan.blind
    if plan.blind is not None:
        turn, (strangers, *_) = generator.random((n, 1)), _items(population, n, generator)
        strangers = strangers + population.dense_noise * _noise(population, groups, hidden.shape, generator)
    cells = []
    for level, noise in enumerate(plan.noise):
        own = _noise(population, groups, hidden.shape, generator)
        added = np.sqrt(0.5) * common + np.sqrt(0.5) * own
        # A level below dense's noise sees a part of what dense sees; above it, noise of its own comes on top.
        kept = min(noise, population.dense_noise)
        extra = np.sqrt(max(noise**2 - kept**2, 0.0))
        if level and kept == population.dense_noise:
            # Even a level that loses nothing is another checkpoint: a tenth of dense's noise is drawn again.
            kept, extra = np.sqrt(0.9) * kept, np.sqrt(extra**2 + 0.1 * kept**2)
        logits = hidden + kept * first + extra * added
        if blind[level]:
            logits = np.where(turn < blind[level], strangers, logits)
        cells.append(
            make_cell(
                ids=ids,
                answers=answers.tolist(),
                scores=logits.astype(np.float32).tolist(),
                kind="logits",
                model={"name": "synthetic"},
                variant={"name": LEVEL_NAMES[level]},
                task={"name": "synthetic", "scoring": "letter", "prompt": "base", "shots": 0},
                groups=None if population.group == 1 else [f"{seed}-g{group}" for group in groups.tolist()],
            )
        )
    return cells


LEVEL_NAMES = ("dense", *(f"magnitude-s{percent}" for percent in (10, 20, 30, 40, 50, 60, 70, 80, 90)))


def _items(
    population: Population, n: int, generator: np.random.Generator
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    groups = np.arange(n) // population.group
    scale = population.strength * np.exp(population.uneven * generator.normal(size=(n, 1)))
    hidden = scale * _noise(population, groups, (n, population.options), generator)
    answers = (hidden + generator.gumbel(size=hidden.shape)).argmax(axis=1).astype(np.int64)
    return hidden, answers, groups


def _noise(
    population: Population, groups: NDArray[np.int64], shape: tuple[int, ...], generator: np.random.Generator
) -> Floats:
    own = generator.normal(size=shape)
    if population.group == 1:
        return own
    shared = generator.normal(size=(int(groups.max()) + 1, shape[1]))
    return np.asarray(np.sqrt(0.5) * own + np.sqrt(0.5) * shared[groups])
