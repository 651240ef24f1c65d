"""Prediction sets by split conformal prediction: LAC, APS, RAPS, top-k.

Everything here is written in terms of *conformity*, the negative of the nonconformity score, because it keeps its
relative precision where a softmax is sharp: 1 - p is the same float for p = 1e-17 and p = 1e-30, p itself is not. For
LAC the conformity of an option is its probability p (the score is 1 - p); for APS it is the probability mass ranked
at or below the option (the score is one minus that). An option is in the set when its conformity is at least the
threshold, and the threshold is the k-th largest conformity of the right options of the conformal fold, which is the
k-th smallest score.

Probabilities are float arrays of shape [n, options]; NaN stands where an item has fewer options than the widest one.

Coverage is marginal, and for items exchangeable with the items of the conformal fold. It promises nothing about one
item, about a subject, or about traffic the benchmark does not sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Bools, Floats
from suite.metrics.folds import Folds, membership

_COMPARED = 2**20


@dataclass(frozen=True)
class SetScores:
    """What a conformal method needs of each item.

    Attributes:
        calibration: conformity of the right option as used for the threshold, shape [n].
        options: conformity of every option as compared with the threshold, shape [n, options]; NaN where there is no
            such option, +inf where a rule puts the option in every set.
    """

    calibration: Floats
    options: Floats


def quantile_rank(n: int | Floats, *, alpha: float, protocol: str = "exact") -> Floats:
    """Rank k of the calibration score that serves as the quantile; above n it means "every option".

    ``exact``: k = ceil((n + 1)(1 - alpha)), the smallest rank for which split conformal prediction covers at least 1
    - alpha. ``ye2024``: ``np.quantile(scores, ceil((n + 1)(1 - alpha)) / n, method="higher")``, one rank above that,
    but never above n while the exact rank is not. The lowest score has rank 1.

    Args:
        n: number of calibration items, a number or an array.
        alpha: wanted miscoverage, in (0, 1).

    Reference: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005.

    >>> float(quantile_rank(99, alpha=0.1)), float(quantile_rank(8, alpha=0.1))
    (90.0, 9.0)
    >>> float(quantile_rank(99, alpha=0.1, protocol="ye2024"))
    91.0
    """
    count = np.asarray(n, dtype=np.float64)
    # The product is within 1e-9 of a whole number when it should be one; without the shift ceil would go one too high.
    rank = np.maximum(np.ceil((count + 1) * (1 - alpha) - 1e-9), 1.0)
    if protocol == "ye2024":
        return np.asarray(np.where(rank <= count, np.minimum(rank + 1, count), rank))
    return np.asarray(rank)


def conformal_threshold(calibration: Floats, *, alpha: float, protocol: str = "exact") -> float:
    """The k-th largest conformity, k from `quantile_rank`; -inf (every option) when k exceeds the number of items.

    >>> conformal_threshold(np.array([0.9, 0.5, 0.8, 0.2]), alpha=0.5)
    0.5
    >>> conformal_threshold(np.array([0.9, 0.5]), alpha=0.1)
    -inf
    """
    rank = int(quantile_rank(len(calibration), alpha=alpha, protocol=protocol))
    if rank > len(calibration):
        return -np.inf
    place = len(calibration) - rank
    return float(np.partition(calibration, place)[place])


def lac_scores(probabilities: Floats, answers: NDArray[np.int64]) -> SetScores:
    """LAC, the least ambiguous classifier: score 1 - p(right option), the smallest sets on average for a calibrated
    model.

    Sets can be empty. At chance (uninformative probabilities) the expected size is (1 - alpha) times the number of
    options.

    Reference: M. Sadinle, J. Lei, L. Wasserman, "Least ambiguous set-valued classifiers with bounded error levels",
    JASA 2019.

    >>> p = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    >>> prediction_sets(lac_scores(p, np.array([0, 1])).options, 0.35).tolist()
    [[True, False, False], [True, True, False]]
    """
    return SetScores(_of_answers(probabilities, answers), probabilities)


def aps_scores(probabilities: Floats, answers: NDArray[np.int64], *, draws: Floats) -> SetScores:
    """Randomized APS, adaptive prediction sets.

    Score of option y: sum of the probabilities from the largest down to p(y), minus u times the probability of y and
    of the options tied with it; u is the item's uniform draw, used when it calibrates and when it is tested. Treating
    tied options as one block has the same distribution of scores and of set sizes as putting them in random order,
    and depends on no order. Sets can be empty.

    Args:
        draws: u in [0, 1), shape [n].

    Reference: Y. Romano, M. Sesia, E. Candes, "Classification with valid and adaptive coverage", NeurIPS 2020.

    >>> p = np.array([[0.5, 0.3, 0.2]])
    >>> (1 - aps_scores(p, np.array([1]), draws=np.array([0.5])).options).round(3).tolist()
    [[0.25, 0.65, 0.9]]
    """
    below, block = _mass_below(probabilities)
    options = below + draws[:, None] * block
    return SetScores(_of_answers(options, answers), options)


def aps_deterministic_scores(probabilities: Floats, answers: NDArray[np.int64], *, draws: Floats) -> SetScores:
    """APS sets with the last label included, at the threshold of the randomized scores (what MAPIE calls ``True``).

    An option is in the set when the probability mass above it is less than the quantile; the most likely option
    always is. The set contains the randomized one, so it covers more than asked for.

    >>> p = np.array([[0.5, 0.3, 0.2]])
    >>> scores = aps_deterministic_scores(p, np.array([1]), draws=np.array([0.5]))
    >>> prediction_sets(scores.options, 1 - 0.65).tolist()
    [[True, True, False]]
    """
    below, block = _mass_below(probabilities)
    calibration = _of_answers(below + draws[:, None] * block, answers)
    # mass above < quantile is mass at or below > threshold; the next float down turns > into >=.
    options = np.nextafter(below + block, -np.inf)
    return SetScores(calibration, _always_top(options, probabilities))


def raps_scores(
    probabilities: Floats, answers: NDArray[np.int64], *, draws: Floats, penalty: float = 0.01, free_ranks: int = 2
) -> SetScores:
    """Randomized RAPS: APS plus `penalty` for every rank beyond `free_ranks`, which keeps unlikely options out.

    The rank of an option is one plus the number of options strictly more likely.

    Reference: A. Angelopoulos, S. Bates, J. Malik, M. Jordan, "Uncertainty sets for image classifiers using conformal
    prediction", ICLR 2021.

    >>> p = np.array([[0.5, 0.3, 0.2]])
    >>> scores = raps_scores(p, np.array([1]), draws=np.array([0.5]), penalty=0.1, free_ranks=1)
    >>> (1 - scores.options).round(3).tolist()
    [[0.25, 0.75, 1.1]]
    """
    plain = aps_scores(probabilities, answers, draws=draws).options
    options = plain - penalty * np.maximum(0, _ranks(probabilities) - free_ranks)
    return SetScores(_of_answers(options, answers), options)


def top_k_scores(probabilities: Floats, answers: NDArray[np.int64]) -> SetScores:
    """Top-k: the score is the rank of the right option, so every set holds the same number of options but for ties.

    The rank is one plus the number of options strictly more likely: options that tie at the edge are all in the set.

    >>> p = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    >>> (-top_k_scores(p, np.array([1, 0])).options).tolist()
    [[1.0, 2.0, 3.0], [1.0, 1.0, 3.0]]
    """
    options = -_ranks(probabilities)
    return SetScores(_of_answers(options, answers), options)


def ye2024_lac_scores(probabilities: Floats, answers: NDArray[np.int64]) -> SetScores:
    """LAC as in arXiv 2401.12794: an empty set becomes the most likely option (the first, where several tie).

    >>> p = np.array([[0.4, 0.4, 0.2]])
    >>> prediction_sets(ye2024_lac_scores(p, np.array([1])).options, 0.9).tolist()
    [[True, False, False]]
    """
    top = probabilities.copy()
    first = np.nanargmax(probabilities, axis=1)
    top[np.arange(len(top)), first] = np.inf
    return SetScores(_of_answers(probabilities, answers), top)


def ye2024_aps_scores(probabilities: Floats, answers: NDArray[np.int64]) -> SetScores:
    """Deterministic APS as in arXiv 2401.12794: cumulated probability at most the quantile, and at least one option.

    Options go in the order ``np.argsort(p, kind="stable")[::-1]``, so of tied options the last comes first.

    >>> p = np.array([[0.5, 0.3, 0.2]])
    >>> (-ye2024_aps_scores(p, np.array([1])).calibration).round(3).tolist()
    [0.8]
    """
    # A missing option sorts last in the descending order, as -1 does. The default sort orders ties by processor.
    order = np.argsort(np.where(np.isnan(probabilities), -1.0, probabilities), axis=1, kind="stable")[:, ::-1]
    ranked = np.take_along_axis(np.nan_to_num(probabilities), order, axis=1)
    cumulated = np.empty_like(probabilities)
    np.put_along_axis(cumulated, order, ranked.cumsum(axis=1), axis=1)
    options = np.where(np.isnan(probabilities), np.nan, -cumulated)
    top = options.copy()
    top[np.arange(len(top)), order[:, 0]] = np.inf
    return SetScores(_of_answers(options, answers), top)


def prediction_sets(options: Floats, threshold: float | Floats) -> Bools:
    """Which options are in each set, shape [n, options]: conformity at least the threshold; never a missing one."""
    with np.errstate(invalid="ignore"):
        return np.asarray(options >= threshold)


@dataclass(frozen=True)
class SplitResults:
    """Conformal results split by split; NaN where a split has no test item.

    Attributes:
        thresholds: conformity threshold, shape [splits].
        size, coverage: mean set size and coverage on the test fold, shape [splits].
        size_distribution: fraction of test sets of each size, shape [splits, options + 1].
    """

    thresholds: Floats
    size: Floats
    coverage: Floats
    size_distribution: Floats

    @property
    def mean_size(self) -> float:
        """Mean set size over the splits that have test items; NaN when none has."""
        return mean_of_known(self.size)

    @property
    def mean_coverage(self) -> float:
        """Mean coverage over the splits that have test items; NaN when none has."""
        return mean_of_known(self.coverage)

    @property
    def mean_distribution(self) -> Floats:
        """Mean over splits of the fraction of sets of each size, shape [options + 1]."""
        usable = ~np.isnan(self.size)
        if not usable.any():
            return np.full(self.size_distribution.shape[1], np.nan)
        return np.asarray(self.size_distribution[usable].mean(axis=0))


def conformal_splits(
    scores: SetScores, answers: NDArray[np.int64], *, folds: Folds, alpha: float, protocol: str = "exact"
) -> SplitResults:
    """Thresholds from each conformal fold, sets on each test fold.

    >>> p = np.tile([[0.6, 0.3, 0.1]], (300, 1))
    >>> from suite.metrics.folds import hashed_folds
    >>> folds = hashed_folds([str(i) for i in range(300)], splits=3)
    >>> conformal_splits(lac_scores(p, np.zeros(300, int)), np.zeros(300, int), folds=folds, alpha=0.1).size.tolist()
    [1.0, 1.0, 1.0]
    """
    ranked = np.argsort(scores.calibration, kind="stable")
    sizes = np.array([len(fold) for fold in folds.conformal])
    ranks = quantile_rank(sizes, alpha=alpha, protocol=protocol)
    thresholds = np.full(len(folds), -np.inf)
    step = max(_COMPARED // max(len(ranked), 1), 1)
    for start in range(0, len(folds), step):  # splits at a time, so that few places are held
        inside = membership(folds.conformal[start : start + step], len(ranked))[:, ranked]
        place = inside.cumsum(axis=1, dtype=np.int32)
        for split, row in enumerate(place, start):
            if ranks[split] <= sizes[split]:  # the first item at which so many are as low
                thresholds[split] = scores.calibration[ranked[row.searchsorted(sizes[split] - ranks[split] + 1)]]
    return sets_at(scores.options, answers, thresholds=thresholds, folds=folds)


def sets_at(options: Floats, answers: NDArray[np.int64], *, thresholds: Floats, folds: Folds) -> SplitResults:
    """Sets on each test fold at given thresholds, one a split: the transferred view, when they come from another model.

    Args:
        options: conformity of every option, shape [n, options].
        thresholds: shape [splits].
    """
    n, width = len(options), options.shape[1] + 1
    right = _of_answers(options, answers)
    tested = membership(folds.test, n)
    # Sets at one threshold hold those at a higher one: most items have the same set at the lowest and the highest.
    low, high = thresholds.min(), thresholds.max()
    least, most = (prediction_sets(options, end).sum(axis=1) for end in (high, low))
    fixed, moving = least == most, np.flatnonzero(least != most)
    counts = np.stack([tested[:, fixed & (least == size)].sum(axis=1) for size in range(width)], axis=1)
    covered = tested[:, fixed & prediction_sets(right, high)].sum(axis=1)
    step = max(_COMPARED // max(len(moving) * width, 1), 1)
    for start in range(0, len(folds), step):  # splits at a time, so that few comparisons are held
        some = slice(start, start + step)
        at, inside = thresholds[some, None], tested[some, moving]
        sizes = np.zeros(inside.shape, dtype=np.int16)
        for column in options[moving].T:
            sizes += prediction_sets(column, at)
        own = np.arange(len(at))[:, None] * width + sizes
        counts[some] += np.bincount(own[inside], minlength=len(at) * width).reshape(-1, width)
        covered[some] += (prediction_sets(right[moving], at) & inside).sum(axis=1)
    items = tested.sum(axis=1)
    with np.errstate(invalid="ignore"):
        size, coverage, shares = counts @ np.arange(width) / items, covered / items, counts / items[:, None]
    return SplitResults(thresholds, size, coverage, shares)


@lru_cache(maxsize=1 << 10)
def coverage_band(
    n_calibration: int, n_test: int, *, alpha: float, protocol: str = "exact", level: float = 0.95
) -> tuple[float, float]:
    """The exact band of the coverage of one split, for exchangeable items and scores without ties.

    Given n calibration items and rank k from `quantile_rank`, the number of covered test items is Beta-binomial
    with parameters (n_test, k, n + 1 - k). The band runs between its (1 - level)/2 and (1 + level)/2 quantiles. It
    judges one split; an average over splits varies less and needs its own interval. When k exceeds n every set is
    full and the band is (1, 1). With tied scores coverage is at least as high.

    Reference: V. Vovk, "Conditional validity of inductive conformal predictors", ACML 2012; A. Angelopoulos, S.
    Bates, "A gentle introduction to conformal prediction", 2021, section 3.2.

    >>> low, high = coverage_band(1000, 1000, alpha=0.1)
    >>> round(low, 3), round(high, 3)
    (0.873, 0.925)
    """
    from scipy.stats import betabinom

    rank = int(quantile_rank(n_calibration, alpha=alpha, protocol=protocol))
    if rank > n_calibration or n_test == 0:
        return 1.0, 1.0
    tail = (1 - level) / 2
    counts = betabinom.ppf([tail, 1 - tail], n_test, rank, n_calibration + 1 - rank)
    return float(counts[0] / n_test), float(counts[1] / n_test)


@lru_cache(maxsize=1 << 16)
def undercoverage_p(covered: int, n_test: int, *, n_calibration: int, alpha: float, protocol: str = "exact") -> float:
    """Exact one-sided p-value that the covered count is as low as seen, were the test items exchangeable with the
    calibration ones.

    P(X <= covered) for X Beta-binomial as in `coverage_band`. Small values say that a threshold taken over from another
    model (or another set of items) covers too little here. 1 when every set is full.

    >>> undercoverage_p(850, 1000, n_calibration=1000, alpha=0.1) < 0.001
    True
    """
    from scipy.special import betaln

    rank = int(quantile_rank(n_calibration, alpha=alpha, protocol=protocol))
    if rank > n_calibration or n_test == 0:
        return 1.0
    below = n_calibration + 1 - rank
    # Each probability follows from the next one; scipy's betabinom takes two of its slowest functions for every one.
    log_last = betaln(covered + rank, n_test - covered + below) - betaln(rank, below)
    log_last -= np.log(n_test + 1) + betaln(n_test - covered + 1, covered + 1)
    x = np.arange(covered, 0.0, -1.0)
    ratios = x * (n_test - x + below) / ((n_test - x + 1) * (x - 1 + rank))
    return min(float(np.exp(log_last + np.r_[0.0, np.log(ratios).cumsum()]).sum()), 1.0)


@dataclass(frozen=True)
class Stratum:
    """Coverage of one group of items: its label, how many items, their coverage and mean set size."""

    label: str
    n: int
    coverage: float
    set_size: float


def coverage_by(labels: Sequence[str | int | None], sets: Bools, answers: NDArray[np.int64]) -> list[Stratum]:
    """Coverage and set size within each group of items: by subject, by right option, or by set size.

    Split conformal prediction promises coverage over all items together; a group can be far below. Items
    labelled None are left out. Groups come sorted by label; small ones scatter widely, so read n with them.

    >>> coverage_by(["a", "b"], np.array([[True, False], [True, False]]), np.array([0, 1]))
    [Stratum(label='a', n=1, coverage=1.0, set_size=1.0), Stratum(label='b', n=1, coverage=0.0, set_size=1.0)]
    """
    covered = sets[np.arange(len(sets)), answers]
    sizes = sets.sum(axis=1)
    members: dict[str | int, list[int]] = {}
    for index, label in enumerate(labels):
        if label is not None:
            members.setdefault(label, []).append(index)
    # Whole numbers sort as numbers, so that a set size of 10 comes after 9.
    ordered = sorted(members, key=lambda label: (0, label, "") if isinstance(label, int) else (1, 0, label))
    return [
        Stratum(
            str(label), len(members[label]), float(covered[members[label]].mean()), float(sizes[members[label]].mean())
        )
        for label in ordered
    ]


def size_stratified_coverage(sets: Bools, answers: NDArray[np.int64]) -> list[Stratum]:
    """Coverage among items whose set has 0, 1, 2, ... options.

    Adaptive sets should cover alike at every size; the smallest entry is the "size-stratified coverage" of
    Angelopoulos et al. 2021. Items with an empty set are never covered.

    >>> [row.coverage for row in size_stratified_coverage(np.array([[True, True], [True, False]]), np.array([1, 1]))]
    [0.0, 1.0]
    """
    return coverage_by([int(size) for size in sets.sum(axis=1)], sets, answers)


def uacc(accuracy: float | Floats, *set_sizes: float | Floats, n_options: float) -> Floats:
    """Uncertainty-aware accuracy: accuracy / set size * sqrt(number of options), averaged over the set sizes of several
    methods. Higher is better; it can exceed 1. NaN where a mean set size is 0.

    It mixes two quantities with an arbitrary exchange rate, so use it to compare with published tables, and read
    accuracy and set size themselves otherwise.

    Reference: F. Ye et al., "Benchmarking LLMs via uncertainty quantification", NeurIPS 2024 (arXiv 2401.12794).

    >>> uacc(0.5, 2.0, n_options=4).round(3).tolist()
    0.5
    """
    sizes = np.asarray(set_sizes, dtype=np.float64)
    inverse = 1 / np.where(sizes > 0, sizes, np.nan)
    return np.asarray(accuracy * inverse.sum(axis=0) / len(sizes) * n_options**0.5)


def _of_answers(values: Floats, answers: NDArray[np.int64]) -> Floats:
    return np.asarray(values[np.arange(len(values)), answers])


def _always_top(options: Floats, probabilities: Floats) -> Floats:
    top = probabilities == np.nanmax(probabilities, axis=1, keepdims=True)
    return np.where(top, np.inf, options)


def _ranks(probabilities: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        above = (probabilities[:, None, :] > probabilities[:, :, None]).sum(axis=2)
    return np.where(np.isnan(probabilities), np.nan, above + 1.0)


def _mass_below(probabilities: Floats) -> tuple[Floats, Floats]:
    """Probability mass strictly below each option, and the mass of the block of options tied with it.

    Sums run from the smallest probability up, so that tiny tails keep their relative precision and rows that hold the
    same probabilities in another order give the same floats.
    """
    missing = np.isnan(probabilities)
    order = np.argsort(np.where(missing, -1.0, probabilities), axis=1, kind="stable")
    ranked = np.take_along_axis(np.where(missing, -1.0, probabilities), order, axis=1)
    cumulated = np.maximum(ranked, 0.0).cumsum(axis=1)
    width = ranked.shape[1]
    below = np.zeros_like(ranked)
    count = np.ones_like(ranked)
    for place in range(1, width):
        same = ranked[:, place] == ranked[:, place - 1]
        below[:, place] = np.where(same, below[:, place - 1], cumulated[:, place - 1])
        count[:, place] = np.where(same, count[:, place - 1] + 1, 1)
    for place in range(width - 2, -1, -1):
        same = ranked[:, place] == ranked[:, place + 1]
        count[:, place] = np.where(same, count[:, place + 1], count[:, place])
    unsorted_below, unsorted_block = np.empty_like(ranked), np.empty_like(ranked)
    np.put_along_axis(unsorted_below, order, below, axis=1)
    np.put_along_axis(unsorted_block, order, count * ranked, axis=1)
    return np.where(missing, np.nan, unsorted_below), np.where(missing, np.nan, unsorted_block)


def mean_of_known(values: Floats) -> float:
    """Mean of the entries that are not NaN; NaN when there are none."""
    usable = values[~np.isnan(values)]
    return float(usable.mean()) if len(usable) else float("nan")
