"""The resampling kernel: every statistic of a cell under many reweightings of its items, in NumPy.

A replicate draws units (items, or groups of items) with replacement; the number of times each is drawn is its weight.
Folds are a function of the unit, so all copies of an item fall on the same side of every split, and the conformal
threshold is computed again inside each replicate. Cells that share items share the weights, so differences between
them are paired.

Weights have shape [n, replicates], so that one item's weights are contiguous: sums over items are matrix products or
additions of rows. They are bytes: a million items with a thousand replicates are one gigabyte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Bools, Floats, Numbers
from suite.metrics.calibration import folded_normal_mean
from suite.metrics.conformal import SetScores, quantile_rank
from suite.metrics.folds import Folds, membership
from suite.metrics.proportions import LEVEL

Weights = NDArray[np.uint8]

_WIDENED = 256
_ITEMS = 2**9
_STRETCHES = 2**6


def unit_weights(units: Sequence[str], *, replicates: int, seed: int = 0) -> Weights:
    """How often each item occurs in each bootstrap sample, shape [n, replicates].

    As many units are drawn as there are; items of one unit share their weight. The weights depend on the set of
    units and the seed, not on the order of the items.

    Reference: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993.

    >>> unit_weights(["a", "a", "b"], replicates=2).shape
    (3, 2)
    """
    names, member = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
    generator = np.random.default_rng([seed, len(names)])
    count = len(names)
    drawn = np.empty((count, replicates), dtype=np.uint8)  # that a unit is drawn 256 times does not happen
    for start in range(0, replicates, _WIDENED):
        some = [
            np.bincount(generator.integers(0, count, count), minlength=count)
            for _ in range(replicates)[start:][:_WIDENED]
        ]
        drawn[:, start : start + _WIDENED] = np.array(some, dtype=np.uint8).T
    return drawn if np.array_equal(member, np.arange(count)) else drawn[member]


def weighted_means(values: Floats, weights: Weights) -> Floats:
    """Weighted mean of each column in each replicate.

    Args:
        values: per item, shape [n] or [n, columns].
        weights: shape [n, replicates].

    Returns:
        Shape [replicates] or [columns, replicates].

    >>> weighted_means(np.array([0.0, 1.0]), np.array([[1.0, 2.0], [1.0, 0.0]], dtype=np.float32)).tolist()
    [0.5, 0.0]
    """
    table = values.reshape(len(values), -1)
    sums = weighted_sums(np.vstack([table.T, np.ones(len(table))]), weights)
    means = ratio(sums[:-1], np.broadcast_to(sums[-1], sums[:-1].shape))
    return np.asarray(means[0] if values.ndim == 1 else means)


def weighted_sums(columns: Floats, weights: Weights) -> Floats:
    """Sum over items, times their weights, in each replicate.

    In float64: float32 products differ between processors in the digits that are published. (Counts of items, as
    conformal sets need them, are whole numbers and exact in float32.)

    Args:
        columns: shape [columns, n].
        weights: shape [n, replicates].

    Returns:
        Shape [columns, replicates].

    >>> weighted_sums(np.array([[0.5, 0.25]]), np.array([[1.0, 2.0], [1.0, 0.0]], dtype=np.float32)).tolist()
    [[0.75, 1.0]]
    """
    sums = np.zeros((len(columns), weights.shape[1]))
    # So many items at a time that their widened weights stay in the cache: of few columns, widening is what costs.
    step = 128 if len(columns) < 64 else 512
    for start in range(0, len(weights), step):
        block = slice(start, start + step)
        sums += columns[:, block] @ weights[block].astype(np.float64)
    return sums


def binned_sums(values: Floats, number: Numbers, weights: Weights, *, parts: Bools, wanted: Bools, bins: int) -> Floats:
    """`weighted_sums` of the items of each bin, over several parts of the items.

    Args:
        values: shape [tables, n].
        number: bin of each entry, shape [tables, n]; tables in which most items are in the same bin cost least.
        weights: shape [n, replicates].
        parts: which items each part has, shape [parts, n].
        wanted: which tables are summed over which part, shape [parts, tables].

    Returns:
        Shape [parts, tables, bins, replicates]; 0 where no sum is wanted.

    >>> values, number, weights = np.array([[0.5, 0.25]]), np.array([[1, 0]]), np.ones((2, 1), dtype=np.uint8)
    >>> binned_sums(values, number, weights, parts=np.ones((1, 2), bool), wanted=np.ones((1, 1), bool), bins=2).tolist()
    [[[[0.25], [0.5]]]]
    """
    part, table = np.nonzero(wanted)
    sums = np.zeros((*wanted.shape, bins, weights.shape[1]))
    for one in range(bins):
        inside = number == one
        items = np.flatnonzero(inside.any(axis=0))
        if len(items):
            columns = np.where(inside[:, items], values[:, items], 0.0)
            sums[part, table, one] = weighted_sums(columns[table] * parts[:, items][part], weights[items])
    return sums


def ratio(above: Floats | NDArray[np.float32], below: Floats | NDArray[np.float32]) -> Floats:
    """Elementwise quotient, NaN where the divisor is zero: a replicate that drew no item of a fold has no value.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    quotient = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def debiased_error_replicates(difference: Floats, number: Numbers, *, deviation: Floats, weights: Weights) -> Floats:
    """The debiased ECE (see `suite.metrics.calibration.debiased_calibration_error`) in each replicate.

    Args:
        difference: correct minus confidence, shape [n].
        number: bin of each item, shape [n].
        deviation: standard error of the sum of differences in each bin, shape [bins]; that of the sample, as it hardly
            changes between replicates.

    >>> ones = np.ones((2, 1), dtype=np.float32)
    >>> debiased_error_replicates(np.array([0.5, -0.5]), np.array([0, 1]), deviation=np.zeros(2), weights=ones).tolist()
    [0.5]
    """
    everything, this = np.ones((1, len(difference)), dtype=bool), np.ones((1, 1), dtype=bool)
    ((sums,),) = binned_sums(
        difference[None], number[None], weights, parts=everything, wanted=this, bins=len(deviation)
    )
    (mass,) = weighted_sums(everything.astype(np.float64), weights)
    return debiased_sums(sums, deviation, mass)


def debiased_sums(sums: Floats, deviation: Floats, mass: Floats) -> Floats:
    """Sum over bins of 2 |S_b| - E|N(S_b, deviation_b^2)|, over the total weight; sums: [bins, replicates]."""
    terms = np.abs(sums)  # where nothing deviates there is nothing to debias
    some = deviation > 0
    size = terms[some]
    terms[some] = 2 * size - folded_normal_mean(size, np.broadcast_to(deviation[some, None], size.shape))
    return ratio(terms.sum(axis=0), mass)


@dataclass(frozen=True)
class SelectiveReplicates:
    """AURC and error-detection AUROC in each replicate, shape [replicates]; NaN where one half is empty."""

    aurc: Floats
    auroc: Floats


def selective_replicates(confidence: Floats, error: Floats, weights: Weights) -> SelectiveReplicates:
    """AURC and error AUROC in each replicate, exactly as on the resampled items (copies of an item are ties).

    A block of W tied items with mean error r, after N of M items, adds r (W H(M) - G(N + W) + G(N)) to the sum of
    risks, where H is the harmonic number and G(N) = H(0) + ... + H(N - 1) = N H(N) - N. The pairs of a wrong item and
    one above it are half of the sum of r ((N + W)^2 - N^2) less the square of all errors. So blocks of nothing but
    errors, or of none, that follow each other are one stretch, and only its ends count.

    >>> both = selective_replicates(np.array([0.9, 0.5]), np.array([0.0, 1.0]), np.ones((2, 1), dtype=np.uint8))
    >>> both.aurc.tolist(), both.auroc.tolist()
    ([0.25], [1.0])
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], error[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    least, most = np.minimum.reduceat(errors, starts), np.maximum.reduceat(errors, starts)
    pure = (least == most) & ((most == 0) | (most == 1))
    new = np.r_[True, ~(pure[1:] & pure[:-1] & (most[1:] == most[:-1]))]
    starts, rates, even = starts[new], most[new], (least == most)[new]
    total, wrong = weighted_sums(np.stack([np.ones(len(error)), error]), weights)
    counts = np.arange(int(total.max()) + 1)
    harmonic = np.r_[0.0, (1.0 / counts[1:]).cumsum()]
    passed = counts * (harmonic - 1)

    risks, squares = np.zeros((2, weights.shape[1]))
    seen = np.zeros((_STRETCHES + 1, weights.shape[1]), dtype=np.intp)
    sums, square = np.empty((2, *seen.shape))
    for first in range(0, len(starts), _STRETCHES):
        edges = np.r_[starts, len(order)][first : first + _STRETCHES + 1]
        _accumulate(order[edges[0] : edges[-1]], edges[1:-1] - edges[0], weights, seen)
        some = slice(first, first + len(edges) - 1)
        reached = seen[: len(edges)]
        np.take(passed, reached, out=sums[: len(edges)], mode="clip")
        np.multiply(reached, reached, out=square[: len(edges)])
        steps = -np.diff(np.r_[0.0, np.where(even[some], rates[some], 0.0), 0.0])
        risks += steps @ sums[: len(edges)]
        squares += steps @ square[: len(edges)]
        for row in np.flatnonzero(~even[some]):  # a rate that depends on which of the tied items were drawn
            inside = slice(edges[row], edges[row + 1])
            rate = ratio(errors[inside] @ weights[order[inside]], np.maximum(reached[row + 1] - reached[row], 1))
            risks += rate * (sums[row + 1] - sums[row])
            squares += rate * (square[row + 1] - square[row])
        seen[0] = reached[-1]
    area = wrong * harmonic[total.astype(np.intp)] - risks
    right = total - wrong
    both = (wrong > 1e-9) & (right > 1e-9)
    return SelectiveReplicates(ratio(area, total), ratio((squares - wrong**2) / 2, np.where(both, wrong * right, 0.0)))


def _accumulate(items: Numbers, edges: Numbers, weights: Weights, seen: NDArray[np.intp]) -> None:
    """Add up weights of items onto the first row of `seen`, and put into a row of it what is reached at each edge."""
    ends = iter([*edges.tolist(), -1])
    end, row = next(ends), 0
    into = seen[1]
    for start in range(0, len(items), _ITEMS):
        for place, drawn in enumerate(weights[items[start : start + _ITEMS]], start):
            if place == end:
                end, row = next(ends), row + 1
                into = seen[row + 1]
                np.add(seen[row], drawn, out=into)
            elif place:
                np.add(into, drawn, out=into)
            else:
                np.add(seen[0], drawn, out=into)


@dataclass(frozen=True)
class DrawnFolds:
    """Folds of items that are drawn again, with what follows from the items alone: made once for all their cells.

    Attributes:
        folds: of every split.
        weights: how often each replicate draws an item, shape [n, replicates].
    """

    folds: Folds
    weights: Weights

    @cached_property
    def conformal(self) -> Bools:
        """Which items give each split its threshold, shape [splits, n]."""
        return membership(self.folds.conformal, len(self.weights))

    @cached_property
    def test(self) -> Bools:
        """Which items each split tests, shape [splits, n]."""
        return membership(self.folds.test, len(self.weights))

    @cached_property
    def conformal_mass(self) -> Floats:
        """How many copies of items give the threshold, shape [splits, replicates]."""
        return _whole_sums(self.conformal, self.weights)

    @cached_property
    def test_mass(self) -> Floats:
        """How many copies of items are tested, shape [splits, replicates]."""
        return _whole_sums(self.test, self.weights)


@dataclass(frozen=True)
class Thresholds:
    """The conformity threshold of each split in each replicate.

    Attributes:
        levels: what thresholds can be, in descending order, with -inf ("every option") at the end.
        taken: which of them each is, shape [splits, replicates].
    """

    levels: Floats
    taken: NDArray[np.int32]

    @property
    def values(self) -> Floats:
        """As numbers, shape [splits, replicates]."""
        return np.asarray(self.levels[self.taken])


@dataclass(frozen=True)
class SetReplicates:
    """Set size and coverage in each replicate, averaged over splits, and the thresholds that gave them.

    Attributes:
        size, coverage: shape [replicates]; NaN where no split has a test item. Coverage is empty if not asked for.
        thresholds: of every split and replicate.
    """

    size: Floats
    coverage: Floats
    thresholds: Thresholds


def set_replicates(
    scores: SetScores,
    answers: NDArray[np.int64],
    *,
    drawn: DrawnFolds,
    alpha: float,
    protocol: str = "exact",
    sizes_only: bool = False,
) -> SetReplicates:
    """Conformal prediction in each replicate: weighted threshold on the conformal fold, weighted sets on the test fold.

    The rank is that of the number of copies in the fold, so a replicate is what the point estimate would be on the
    resampled items.

    Args:
        sizes_only: without coverage, a third sooner.

    >>> p = np.tile([[0.6, 0.4]], (200, 1))
    >>> from suite.metrics.conformal import lac_scores
    >>> from suite.metrics.folds import hashed_folds
    >>> ids = [str(i) for i in range(200)]
    >>> scores = lac_scores(p, np.zeros(200, dtype=int))
    >>> drawn = DrawnFolds(hashed_folds(ids, splits=2), unit_weights(ids, replicates=3))
    >>> set_replicates(scores, np.zeros(200, dtype=int), drawn=drawn, alpha=0.1).size.tolist()
    [1.0, 1.0, 1.0]
    """
    thresholds = threshold_replicates(scores.calibration, drawn=drawn, alpha=alpha, protocol=protocol)
    return sets_at_replicates(scores.options, answers, thresholds=thresholds, drawn=drawn, sizes_only=sizes_only)


def threshold_replicates(
    calibration: Floats, *, drawn: DrawnFolds, alpha: float, protocol: str = "exact"
) -> Thresholds:
    """The conformal threshold of each split in each replicate.

    With item weights w the threshold is the largest conformity t such that the weights of items at or above t reach
    the rank k of their total. Only ranks within six standard deviations of the unweighted one are looked at first; all
    of them in a replicate that falls outside.
    """
    ranked = np.argsort(-calibration)  # equal ones in any order: they are one threshold
    weights, total = drawn.weights, drawn.conformal_mass
    inside = drawn.conformal[:, ranked]
    place = inside.cumsum(axis=1, dtype=np.int32)  # counted from 1
    size = place[:, -1:]
    centre = quantile_rank(size, alpha=alpha, protocol=protocol) - 1
    reach = 6 * np.sqrt(size * alpha * (1 - alpha)) + 6
    low, high = (np.clip(end, 0, size).astype(np.intp) for end in (centre - reach, centre + reach))
    before = place <= low
    prefix = _counted(before.view(np.uint8), inside, total, weights, items=ranked)
    rank = quantile_rank(total, alpha=alpha, protocol=protocol)
    split, column = np.nonzero(inside & ~before & (place <= high))
    passed, more = _crossing(_windows(split, ranked[column], weights, splits=len(inside)), rank - prefix)
    chosen = low + passed
    reached = prefix + more
    found = rank <= total
    outside = ((prefix >= rank) & (low > 0)) | ((reached < rank) & found & (high < size))
    for one in np.flatnonzero(outside.any(axis=1)):
        order = ranked[inside[one]]
        for some in _blocks(np.flatnonzero(outside[one]), len(order)):
            cumulated = weights[np.ix_(order, some)].cumsum(axis=0, dtype=np.int64)
            chosen[one, some] = (cumulated < rank[one, some]).sum(axis=0)
    start = np.cumsum(size, axis=0) - size
    columns = np.r_[np.nonzero(inside)[1], len(ranked)]  # of every split's items, one split after the other
    taken = columns[np.where(found, start + chosen, len(columns) - 1)].astype(np.int32)
    return Thresholds(np.r_[calibration[ranked], -np.inf], taken)


def sets_at_replicates(
    options: Floats,
    answers: NDArray[np.int64],
    *,
    thresholds: Thresholds,
    drawn: DrawnFolds,
    sizes_only: bool = False,
) -> SetReplicates:
    """Set size and coverage on the test folds at given thresholds, in each replicate.

    Args:
        options: conformity of every option, shape [n, options].
        thresholds: from this model or, in the transferred view, from another.
        sizes_only: without coverage.
    """
    weights, tested, total = drawn.weights, drawn.test, drawn.test_mass
    # Above the highest threshold of a split an option counts in all replicates; below the lowest in none.
    highest = thresholds.levels[thresholds.taken.min(axis=1)][:, None]
    certain = np.zeros(tested.shape, dtype=np.uint8)
    with np.errstate(invalid="ignore"):
        for column in options.T:
            certain += column >= highest
    # quotients of single precision, as they were when the first results were published
    mass = total.astype(np.float32)

    def mean(counts: NDArray[np.uint8], entries: Floats) -> Floats:
        table = _counted(counts, tested, total, weights) + _between(entries, tested, thresholds, weights)
        return _nanmean(ratio(table.astype(np.float32), mass))

    size, coverage = mean(certain, options), np.empty(0)
    if not sizes_only:
        right = options[np.arange(len(options)), answers][:, None]
        with np.errstate(invalid="ignore"):
            coverage = mean((right[:, 0] >= highest).view(np.uint8), right)
    return SetReplicates(size, coverage, thresholds)


def _between(conformity: Floats, tested: Bools, thresholds: Thresholds, weights: Weights) -> NDArray[np.int64]:
    """The weight of tested items' entries from each threshold up to below the highest one of its split.

    Args:
        conformity: shape [n, entries]; NaN and -inf are no entries.
        tested: which items each split tests, shape [splits, n].

    Returns:
        Shape [splits, replicates].
    """
    flat = conformity.ravel()
    entries = np.flatnonzero(flat > -np.inf)
    entries = entries[np.argsort(-flat[entries])]
    items = entries // conformity.shape[1]
    at_or_above = np.searchsorted(-flat[entries], -thresholds.levels, side="right")
    first, last = (at_or_above[end(axis=1)][:, None] for end in (thresholds.taken.min, thresholds.taken.max))
    start, stop = int(first.min()), int(last.max())
    counted = tested[:, items[start:stop]]
    seen = np.zeros((len(counted), stop - start + 1), dtype=np.int32)
    np.cumsum(counted, axis=1, out=seen[:, 1:])
    at = at_or_above[thresholds.taken] - start
    needed = np.take_along_axis(seen, at, axis=1) - np.take_along_axis(seen, first - start, axis=1)
    column = np.arange(start, stop)
    split, column = np.nonzero(counted & (column >= first) & (column < last))
    return _first_ones(_windows(split, items[start + column], weights, splits=len(counted)), needed)


@dataclass(frozen=True)
class _Windows:
    """Some items of every split, one after another: to go through all splits at once takes a call a place.

    Attributes:
        splits: by falling number of items, shape [splits].
        items: shape [places, splits], in that order of splits; beyond a split's own items anything.
        live: how many splits have an item at each place; they are the first ones.
        weights: shape [n, replicates].
        chunk: over so many places sums of weights stay below 255.
    """

    splits: Numbers
    items: Numbers
    live: list[int]
    weights: NDArray[np.uint8]
    chunk: int

    def chunks(self) -> Iterator[range]:
        """The places, a chunk at a time."""
        for start in range(0, len(self.live), self.chunk):
            yield range(start, min(start + self.chunk, len(self.live)))


def _windows(split: Numbers, items: Numbers, weights: Weights, *, splits: int) -> _Windows:
    """From pairs of a split and an item, in the order of splits."""
    lengths = np.bincount(split, minlength=splits)
    order = np.argsort(-lengths, kind="stable")
    column = np.empty(splits, dtype=np.intp)
    column[order] = np.arange(splits)
    table = np.zeros((int(lengths.max(initial=0)), splits), dtype=np.intp)
    table[np.arange(len(split)) - np.repeat(np.cumsum(lengths) - lengths, lengths), column[split]] = items
    live = (lengths > np.arange(len(table))[:, None]).sum(axis=1).tolist()
    chunk = 254 // max(int(weights.max(initial=0)), 1)
    return _Windows(order, table, live, weights.astype(np.uint8, copy=False), chunk)


def _crossing(windows: _Windows, wanted: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many items pass before their weights sum up to what is wanted, and the sum over all; [splits, replicates]."""
    wanted = wanted[windows.splits]
    passed, reached = np.zeros((2, *wanted.shape), dtype=np.int64)
    running, few, weight, short = np.empty((4, *wanted.shape), dtype=np.uint8)
    for places in windows.chunks():
        running[:], few[:] = 0, 0
        left = np.clip(wanted - reached, 0, 255).astype(np.uint8)
        for place, live in zip(places, windows.live[places.start : places.stop], strict=True):
            now, drawn, lower = running[:live], weight[:live], short[:live]
            windows.weights.take(windows.items[place, :live], axis=0, out=drawn, mode="clip")
            np.add(now, drawn, out=now)
            np.less(now, left[:live], out=lower.view(np.bool_))
            np.add(few[:live], lower, out=few[:live])
        passed += few
        reached += running
    return _in_order(windows, passed), _in_order(windows, reached)


def _first_ones(windows: _Windows, needed: NDArray[np.int32]) -> NDArray[np.int64]:
    """The weight of the first so many items of each window, shape [splits, replicates] like their numbers."""
    needed = needed[windows.splits]
    total = np.zeros(needed.shape, dtype=np.int64)
    running, weight, counted = np.empty((3, *needed.shape), dtype=np.uint8)
    for places in windows.chunks():
        running[:] = 0
        left = np.clip(needed - places.start, 0, 255).astype(np.uint8)
        for place, live in zip(places, windows.live[places.start : places.stop], strict=True):
            now, drawn, inside = running[:live], weight[:live], counted[:live]
            windows.weights.take(windows.items[place, :live], axis=0, out=drawn, mode="clip")
            np.greater(left[:live], place - places.start, out=inside.view(np.bool_))
            np.multiply(drawn, inside, out=drawn)
            np.add(now, drawn, out=now)
        total += running
    return _in_order(windows, total)


def _in_order(windows: _Windows, table: NDArray[np.int64]) -> NDArray[np.int64]:
    ordered = np.empty_like(table)
    ordered[windows.splits] = table
    return ordered


def _counted(
    counts: NDArray[np.uint8], inside: Bools, mass: Floats, weights: Weights, *, items: Numbers | None = None
) -> Floats:
    """Sums of counts over the items of each split, times their weights, shape [splits, replicates].

    What most items have is counted by the weight of all; so the product is over the others alone.

    Args:
        counts, inside: shape [splits, n]; what is to be counted, and which items a split has.
        mass: weight of each split's items, shape [splits, replicates].
        items: of each column, where columns are in another order than weights.
    """
    common = int(np.bincount(counts.ravel(), minlength=1).argmax())
    some = np.flatnonzero((counts != common).any(axis=0))
    rest = (counts[:, some].astype(np.int16) - common) * inside[:, some]
    return common * mass + _whole_sums(rest, weights, some if items is None else items[some])


def _whole_sums(table: NDArray[np.integer | np.bool_], weights: Weights, items: Numbers | None = None) -> Floats:
    """Sums of counts over items, times their weights, exact in every block: whole numbers below 2**24.

    Args:
        table: shape [splits, n].
        items: which items its columns are; all of them in their order where that is not said.

    Returns:
        Shape [splits, replicates].
    """
    sums = np.zeros((len(table), weights.shape[1]))
    for start in range(0, table.shape[1], _ITEMS):
        block = slice(start, start + _ITEMS)
        drawn = weights[block if items is None else items[block]]
        sums += table[:, block].astype(np.float32) @ drawn.astype(np.float32)
    return sums


def _blocks(numbers: Numbers, each: int) -> Iterator[Numbers]:
    """Some of the numbers at a time, so that a table of `each` entries for every one stays small."""
    step = max(2**24 // max(each, 1), 1)
    for start in range(0, len(numbers), step):
        yield numbers[start : start + step]


def _nanmean(table: Floats) -> Floats:
    usable = ~np.isnan(table)
    return ratio(np.where(usable, table, 0.0).sum(axis=0), usable.sum(axis=0))


def percentile_interval(replicates: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """The central interval that holds `level` of the replicates; (NaN, NaN) when more than a twentieth of them is not
    finite.

    >>> percentile_interval(np.arange(101.0), level=0.5)
    (25.0, 75.0)
    """
    usable = replicates[np.isfinite(replicates)]
    if len(usable) < 0.95 * len(replicates) or len(usable) == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    return float(low), float(high)


def normal_interval(centre: float, replicates: Floats, *, level: float = LEVEL) -> tuple[float, float]:
    """Centre plus and minus a normal quantile times the standard deviation of the replicates.

    For statistics such as ECE whose replicates are biased though their spread is right: the centre is the debiased
    estimate. (NaN, NaN) when more than a twentieth of the replicates is not finite.

    >>> [round(end, 2) for end in normal_interval(0.5, np.array([0.3, 0.4, 0.5]))]
    [0.3, 0.7]
    """
    from scipy.special import ndtri

    usable = replicates[np.isfinite(replicates)]
    if len(usable) < max(2, 0.95 * len(replicates)):
        return float("nan"), float("nan")
    reach = float(ndtri((1 + level) / 2) * usable.std(ddof=1))
    return centre - reach, centre + reach
