"""How often intervals of proportions hold the truth where errors, or flips, are few: tables of docs/intervals.md.

Beside every interval of the suite (`suite.metrics.proportions`) stands the percentile interval of the bootstrap, from
the same samples. Used by scripts/studies/validate_intervals.py.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import special

from suite.metrics import bootstrap, conformal, proportions
from suite.metrics.folds import hashed_folds

Floats = NDArray[np.float64]

SHARES = (0.5, 0.9, 0.98, 0.99, 0.995)
ITEMS = (50, 100, 200, 400, 1000)
FLIPS = ((0.0, 0.005), (0.005, 0.005), (0.0, 0.02), (0.005, 0.02), (0.02, 0.05), (0.1, 0.1), (0.05, 0.2))
ALIKE = (0.0, 0.3, 1.0)
UNITS = (40, 100, 200)
ALPHAS = (0.1, 0.02, 0.01)
SET_ITEMS = (200, 400)
POPULATION = 2_000_000
SAMPLES, GROUPED_SAMPLES, SET_SAMPLES, REPLICATES = 10_000, 1_000, 1_000, 1_000


def percentiles(replicates: Floats) -> tuple[Floats, Floats]:
    """Percentile intervals, one a row of replicates."""
    low, high = np.quantile(replicates, [0.025, 0.975], axis=1)
    return low, high


def accuracy_coverage(share: float, n: int) -> tuple[float, float]:
    """How often the exact and the percentile interval hold a share: summed over every number of right items.

    Of the percentile interval with so many replicates that they add no noise.
    """
    from scipy.stats import binom

    right = np.arange(n + 1)
    weight = binom.pmf(right, n, share)
    exact = np.array([proportions.exact_interval(count, n) for count in right.tolist()])
    resampled = np.column_stack([binom.ppf(tail, n, right / n) / n for tail in (0.025, 0.975)])
    held = [weight[(ends[:, 0] <= share + 1e-12) & (share - 1e-12 <= ends[:, 1])].sum() for ends in (exact, resampled)]
    return float(held[0]), float(held[1])


def change_coverage(up: float, down: float, n: int, generator: np.random.Generator) -> tuple[float, float, float]:
    """How often both intervals hold a change, and how often the likelier end of the paired one misses it."""
    counts = generator.multinomial(n, [up, down, 1 - up - down], SAMPLES)
    seen, which = np.unique(counts, axis=0, return_inverse=True)
    held = np.zeros(2)
    missed = np.zeros(2)
    often = np.bincount(which.ravel(), minlength=len(seen)) / SAMPLES
    for (gained, lost, same), weight in zip(seen.tolist(), often.tolist(), strict=True):
        changes = np.repeat([1.0, -1.0, 0.0], [gained, lost, same])
        low, high = proportions.paired_interval(changes, np.arange(n))
        missed += weight * np.array([low > up - down + 1e-12, high < up - down - 1e-12])
        draws = generator.multinomial(n, np.array([gained, lost, same]) / n, REPLICATES)
        ends = percentiles((draws[:, 0] - draws[:, 1])[None] / n)
        held += weight * np.array(
            [low <= up - down <= high, ends[0][0] - 1e-12 <= up - down <= ends[1][0] + 1e-12], dtype=np.float64
        )
    return float(held[0]), float(held[1]), float(missed.max())


def grouped_coverage(share: float, units: int, alike: float, generator: np.random.Generator) -> tuple[float, float]:
    """How often both intervals hold a share where 1 to 9 items belong together, alike by an intraclass correlation."""
    held = np.zeros(2)
    for _ in range(GROUPED_SAMPLES):
        sizes = generator.integers(1, 10, units)
        number = np.repeat(np.arange(units), sizes)
        right = (generator.random(len(number)) < rates(share, units, alike, generator)[number]).astype(np.float64)
        low, high = proportions.proportion_interval(right, number)
        drawn = generator.multinomial(units, np.full(units, 1 / units), REPLICATES).astype(np.float64)
        ends = percentiles(((drawn @ np.bincount(number, weights=right)) / (drawn @ sizes))[None])
        held += [low <= share <= high, ends[0][0] <= share <= ends[1][0]]
    return float(held[0] / GROUPED_SAMPLES), float(held[1] / GROUPED_SAMPLES)


def rates(share: float, units: int, alike: float, generator: np.random.Generator) -> Floats:
    """Chance of a right answer in each unit."""
    if alike == 0:
        return np.full(units, share)
    if alike == 1:
        return (generator.random(units) < share).astype(np.float64)
    return generator.beta(share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike, units)


def brier_coverage(share: float, n: int, generator: np.random.Generator) -> tuple[float, float]:
    """How often both intervals hold the Brier score of a model that is always nearly certain and right by a share."""
    truth = float(sure_briers(share, POPULATION, generator).mean())
    drawn = generator.multinomial(n, np.full(n, 1 / n), REPLICATES).astype(np.float64).T / n
    held = np.zeros(2)
    for _ in range(GROUPED_SAMPLES):
        briers = sure_briers(share, n, generator)
        replicates = briers @ drawn
        low, high = proportions.resampled_interval(float(briers.mean()), replicates, np.arange(n), limits=(0.0, 2.0))
        ends = percentiles(replicates[None])
        held += [low <= truth <= high, ends[0][0] <= truth <= ends[1][0]]
    return float(held[0] / GROUPED_SAMPLES), float(held[1] / GROUPED_SAMPLES)


def sure_briers(share: float, n: int, generator: np.random.Generator) -> Floats:
    """Brier scores of items: near 0 where the sure answer is right, near 2 where it is not."""
    doubt = generator.beta(1, 30, n)
    return np.where(generator.random(n) < share, 2 * doubt**2, 2 * (1 - doubt) ** 2)


def set_coverages(alpha: float, n: int, generator: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """How often both intervals hold the coverage of LAC sets: at the model's own thresholds, and at another model's.

    The model knows a little less than the other one, and is surer of itself. The truth is what such sets cover on
    average over the samples.
    """
    values = np.empty((SET_SAMPLES, 2))
    ends = np.empty((SET_SAMPLES, 2, 2, 2))
    for sample in range(SET_SAMPLES):
        ids = [f"{generator.integers(2**60)}-{item}" for item in range(n)]
        folds = hashed_folds(ids, splits=20)
        drawn = bootstrap.DrawnFolds(folds, bootstrap.unit_weights(ids, replicates=400))
        hidden = generator.normal(0, 3, (n, 4))
        answers = (hidden + generator.gumbel(size=hidden.shape)).argmax(axis=1)
        other, own = (
            conformal.lac_scores(
                special.softmax(factor * (hidden + noise * generator.normal(size=(n, 4))), axis=1), answers
            )
            for factor, noise in ((1.0, 0.5), (1.3, 0.7))
        )
        thresholds = [
            conformal.conformal_splits(one, answers, folds=folds, alpha=alpha).thresholds for one in (own, other)
        ]
        for place, (model, limits) in enumerate(zip((own, other), thresholds, strict=True)):
            found = conformal.sets_at(own.options, answers, thresholds=limits, folds=folds)
            redrawn = bootstrap.threshold_replicates(model.calibration, drawn=drawn, alpha=alpha)
            replicates = bootstrap.sets_at_replicates(own.options, answers, thresholds=redrawn, drawn=drawn).coverage
            values[sample, place] = found.mean_coverage
            ends[sample, place, 0] = proportions.resampled_interval(found.mean_coverage, replicates, np.arange(n))
            ends[sample, place, 1] = bootstrap.percentile_interval(replicates)
    truth = values.mean(axis=0)[:, None]
    held = ((ends[..., 0] <= truth) & (truth <= ends[..., 1])).mean(axis=0)
    return tuple((float(ours), float(resampled)) for ours, resampled in held)


INTRODUCTION = """## Few errors, few flips

Resampling sees what happened, so the percentile interval of 200 right answers of 200 is a point, and that of 199 is too
short. The suite's intervals of proportions are exact ones (Clopper-Pearson), those of changes combine exact ones of the
two kinds of flips (`suite/metrics/proportions.py`). Each cell: coverage of the suite's 95 % interval, and in brackets
that of the bootstrap's percentiles. Written by `python -m scripts.studies.validate_intervals --only proportions`.

**Accuracy**, summed over every possible number of right answers:
"""
CHANGE = f"""
**Change of accuracy**, {SAMPLES:,} samples (a coverage has a Monte Carlo standard error of 0.002), by the share of
items that flip to right and to wrong. Each end of the suite's interval may miss the truth in 0.025, so that each is a
one-sided bound, as tests of equivalence need; the likelier one missed it in %.4f at most.
"""
GROUPED = f"""
**Accuracy of grouped items**, {GROUPED_SAMPLES:,} samples (standard error 0.007): units of 1 to 9 items, whose answers
have an intraclass correlation of 0, 0.3 or 1. The exact interval is taken at the effective number of items; percentiles
are those of resampled units.
"""
BRIER = f"""
**Brier score** of a model that is nearly certain of every answer, {GROUPED_SAMPLES:,} samples:
"""
SETS = f"""
**Coverage of LAC sets**, {SET_SAMPLES:,} samples (standard error 0.007), at the model's own thresholds and at those of
another model, against what such sets cover on average:
"""


def section() -> str:
    """The part of docs/intervals.md about proportions."""
    return "\n".join(part() for part in PARTS)


def _accuracy() -> str:
    lines = [_line(f"{share:g}", [_pair(*accuracy_coverage(share, n)) for n in ITEMS]) for share in SHARES]
    return "\n".join([INTRODUCTION, _header("accuracy", _items(ITEMS)), *lines])


def _changes() -> str:
    generator, worst, lines = np.random.default_rng([2, 1]), 0.0, []
    for up, down in FLIPS:
        found = [change_coverage(up, down, n, generator) for n in ITEMS]
        worst = max(worst, *(missed for *_, missed in found))
        lines.append(_line(f"{up:g}, {down:g}", [_pair(*both) for *both, _ in found]))
    return "\n".join([CHANGE % worst, _header("flips up, down", _items(ITEMS)), *lines])


def _grouped() -> str:
    generator = np.random.default_rng([2, 2])
    lines = [
        _line(f"{share:g}, {alike:g}", [_pair(*grouped_coverage(share, units, alike, generator)) for units in UNITS])
        for share, alike in itertools.product(SHARES, ALIKE)
    ]
    return "\n".join([GROUPED, _header("accuracy, correlation", [f"{units} units" for units in UNITS]), *lines])


def _briers() -> str:
    generator = np.random.default_rng([2, 3])
    lines = [_line(f"{share:g}", [_pair(*brier_coverage(share, n, generator)) for n in ITEMS]) for share in SHARES]
    return "\n".join([BRIER, _header("accuracy", _items(ITEMS)), *lines])


def _sets() -> str:
    generator = np.random.default_rng([2, 4])
    lines = [
        _line(f"{alpha:g}", [_pair(*both) for n in SET_ITEMS for both in set_coverages(alpha, n, generator)])
        for alpha in ALPHAS
    ]
    columns = [f"{what}, {n} items" for n in SET_ITEMS for what in ("own", "other")]
    return "\n".join([SETS, _header("alpha", columns), *lines])


PARTS = (_accuracy, _changes, _grouped, _briers, _sets)


def _items(counts: tuple[int, ...]) -> list[str]:
    return [f"{n} items" for n in counts]


def _header(first: str, columns: list[str]) -> str:
    return _line(first, columns) + "\n" + "|---" * (len(columns) + 1) + "|"


def _line(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _pair(ours: float, resampled: float) -> str:
    return f"{ours:.3f} ({resampled:.3f})"
