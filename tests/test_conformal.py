"""Prediction sets against brute force in exact arithmetic, on probabilities that are multiples of 1/64."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from suite.metrics import conformal
from suite.metrics.folds import Folds

UNIT = 64
ALPHAS = (Fraction(1, 20), Fraction(1, 10), Fraction(1, 5), Fraction(3, 10), Fraction(1, 2))
METHODS = ("lac", "aps", "aps-deterministic", "raps", "top-k", "ye2024-lac", "ye2024-aps")


def reference_scores(method, row, u):
    """Nonconformity of every option of one item, exactly; `row` holds whole numbers of 1/64, None where missing."""
    real = [p for p in row if p is not None]
    scores = []
    for index, p in enumerate(row):
        if p is None:
            scores.append(None)
            continue
        at_least = sum(q for q in real if q >= p)
        tied = sum(q for q in real if q == p)
        rank = 1 + sum(q > p for q in real)
        if method in ("lac", "ye2024-lac"):
            scores.append(Fraction(UNIT - p))
        elif method in ("aps", "aps-deterministic"):
            scores.append(at_least - u * tied)
        elif method == "raps":
            scores.append(at_least - u * tied + 4 * max(0, rank - 2))
        elif method == "top-k":
            scores.append(Fraction(rank))
        else:
            # order argsort(p)[::-1]: the last of tied options first
            before = [q for j, q in enumerate(row) if q is not None and (q > p or (q == p and j > index))]
            scores.append(Fraction(sum(before) + p))
    return scores


def reference_sets(method, calibration, answers, test, alpha, draws_calibration, draws_test):
    ranked = sorted(
        reference_scores(method, row, u)[answer]
        for row, answer, u in zip(calibration, answers, draws_calibration, strict=True)
    )
    n = len(ranked)
    rank = math.ceil((n + 1) * (1 - alpha))
    everything = rank > n
    if method.startswith("ye2024") and not everything:
        # numpy's quantile at level rank/n, method "higher", over n values
        rank = math.ceil(Fraction((n - 1) * rank, n)) + 1
    quantile = None if everything else ranked[rank - 1]
    sets = []
    for row, u in zip(test, draws_test, strict=True):
        scores = reference_scores(method, row, u)
        options = [j for j, p in enumerate(row) if p is not None]
        if everything:
            sets.append(set(options))
            continue
        if method == "aps-deterministic":
            above = {j: sum(q for q in row if q is not None and q > row[j]) for j in options}
            chosen = {j for j in options if above[j] < quantile or above[j] == 0}
        else:
            chosen = {j for j in options if scores[j] <= quantile}
        if method.startswith("ye2024") and not chosen:
            best = max(row[j] for j in options)
            tied = [j for j in options if row[j] == best]
            chosen = {tied[0] if method == "ye2024-lac" else tied[-1]}
        sets.append(chosen)
    return sets


def arrays(rows):
    return np.array([[math.nan if p is None else p / UNIT for p in row] for row in rows])


def kernel_sets(method, calibration, answers, test, alpha, draws_calibration, draws_test):
    p = arrays(calibration + test)
    draws = np.array([float(u) for u in draws_calibration + draws_test])
    padded = np.array(list(answers) + [0] * len(test))
    scores = make_scores(method, p, padded, draws)
    protocol = "ye2024" if method.startswith("ye2024") else "exact"
    threshold = conformal.conformal_threshold(
        scores.calibration[: len(calibration)], alpha=float(alpha), protocol=protocol
    )
    members = conformal.prediction_sets(scores.options[len(calibration) :], threshold)
    return [set(np.flatnonzero(row).tolist()) for row in members]


def make_scores(method, p, answers, draws):
    if method == "lac":
        return conformal.lac_scores(p, answers)
    if method == "aps":
        return conformal.aps_scores(p, answers, draws=draws)
    if method == "aps-deterministic":
        return conformal.aps_deterministic_scores(p, answers, draws=draws)
    if method == "raps":
        return conformal.raps_scores(p, answers, draws=draws, penalty=4 / UNIT, free_ranks=2)
    if method == "top-k":
        return conformal.top_k_scores(p, answers)
    if method == "ye2024-lac":
        return conformal.ye2024_lac_scores(p, answers)
    return conformal.ye2024_aps_scores(p, answers)


def random_row(rng, width):
    """Whole numbers that sum to 64: few distinct values so that ties abound, sometimes 64 and zeros."""
    options = int(rng.integers(2, width + 1))
    kind = rng.integers(0, 4)
    if kind == 0:
        parts = [0] * options
        parts[int(rng.integers(options))] = UNIT
    elif kind == 1:
        cuts = sorted(int(c) * 8 for c in rng.integers(0, UNIT // 8 + 1, options - 1))
        parts = [b - a for a, b in itertools.pairwise([0, *cuts, UNIT])]
    else:
        cuts = sorted(int(c) for c in rng.integers(0, UNIT + 1, options - 1))
        parts = [b - a for a, b in itertools.pairwise([0, *cuts, UNIT])]
    return parts + [None] * (width - options)


def random_case(rng):
    width = int(rng.integers(2, 6))
    n = int(rng.integers(1, 13))
    calibration = [random_row(rng, width) for _ in range(n)]
    test = [random_row(rng, width) for _ in range(int(rng.integers(1, 4)))]
    mode = rng.integers(0, 4)
    answers = []
    for row in calibration:
        options = [j for j, p in enumerate(row) if p is not None]
        ranked = sorted(options, key=lambda j: row[j])
        answers.append(
            ranked[-1] if mode == 0 else ranked[0] if mode == 1 else int(rng.choice(options))
        )  # all right, all wrong, anything
    alpha = ALPHAS[int(rng.integers(len(ALPHAS)))]
    draws = [Fraction(int(u), 16) for u in rng.integers(0, 16, n + len(test))]
    return calibration, answers, test, alpha, draws[:n], draws[n:]


@pytest.mark.parametrize("method", METHODS)
def test_sets_equal_brute_force_on_random_small_cases(method):
    rng = np.random.default_rng(sum(map(ord, method)))
    sizes = set()
    for _ in range(2000):
        case = random_case(rng)
        expected = reference_sets(method, *case)
        assert kernel_sets(method, *case) == expected, case
        sizes.update(map(len, expected))
    assert {1, 2, 3} <= sizes
    assert (0 in sizes) == (method in ("lac", "aps", "raps"))


@st.composite
def cases(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    return random_case(np.random.default_rng(seed))


@settings(max_examples=200, deadline=None)
@given(case=cases(), method=st.sampled_from(METHODS))
def test_sets_equal_brute_force_property(case, method):
    assert kernel_sets(method, *case) == reference_sets(method, *case)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_rank_is_the_exact_ceiling(alpha):
    counts = np.arange(1, 5001)
    expected = [math.ceil((n + 1) * (1 - alpha)) for n in counts.tolist()]
    assert conformal.quantile_rank(counts.astype(float), alpha=float(alpha)).tolist() == expected


def test_rank_of_the_published_protocol_is_that_of_numpy():
    rng = np.random.default_rng(0)
    for n in (9, 10, 11, 50, 99, 4998):
        values = rng.permutation(n).astype(float)
        level = np.ceil((n + 1) * 0.9) / n
        rank = int(conformal.quantile_rank(n, alpha=0.1, protocol="ye2024"))
        assert np.sort(values)[rank - 1] == np.quantile(values, level, method="higher")


def test_quantile_beyond_n_gives_every_option_even_impossible_ones():
    p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, math.nan]])
    scores = conformal.lac_scores(p, np.array([0, 0]))
    threshold = conformal.conformal_threshold(scores.calibration, alpha=0.1)
    assert conformal.prediction_sets(scores.options, threshold).tolist() == [[True, True, True], [True, True, False]]


@pytest.mark.parametrize("method", ["lac", "aps", "aps-deterministic", "raps", "top-k"])
def test_order_of_options_changes_nothing(method):
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(5), 300)
    p[::3, 1] = p[::3, 0]
    p /= p.sum(axis=1, keepdims=True)
    answers, draws = rng.integers(0, 5, 300), rng.random(300)
    order = rng.permutation(5)
    ours = make_scores(method, p, answers, draws)
    moved = make_scores(method, p[:, order], np.argsort(order)[answers], draws)
    assert np.array_equal(ours.calibration, moved.calibration)
    assert np.array_equal(ours.options[:, order], moved.options)


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sharp_probabilities_keep_their_order(method):
    # 1 - p is 1.0 for every one of these; the sets must still tell them apart.
    p = np.array([[1 - 1e-20, 10.0**-e, 1e-60] for e in range(20, 40)])
    scores = make_scores(method, p, np.ones(20, dtype=int), np.full(20, 0.5))
    threshold = conformal.conformal_threshold(scores.calibration, alpha=0.5)
    sizes = conformal.prediction_sets(scores.options, threshold).sum(axis=1)
    assert sizes.tolist() == [2] * 11 + [1] * 9


def test_randomized_aps_of_tied_options_is_as_if_in_random_order():
    # Score distribution and expected set size equal those of breaking the tie by a coin, computed in closed form.
    rng = np.random.default_rng(0)
    n = 20000
    p = np.tile([[0.2, 0.4, 0.4]], (n, 1))
    scores = conformal.aps_scores(p, np.ones(n, dtype=int), draws=rng.random(n))
    nonconformity = 1 - scores.calibration
    assert nonconformity.max() <= 0.8
    assert abs(nonconformity.mean() - 0.4) < 0.005
    assert abs(np.mean(nonconformity <= 0.2) - 0.25) < 0.015
    size = conformal.prediction_sets(scores.options, 1 - 0.3).sum(axis=1).mean()
    # coin: first of the pair in when 0.4 (1 - u) <= 0.3, second never.
    assert abs(size - 0.75) < 0.02


def test_split_results_average_only_splits_with_test_items():
    p = np.tile([[0.6, 0.3, 0.1]], (4, 1))
    answers = np.array([0, 0, 0, 1])
    none = np.empty(0, dtype=np.intp)
    folds = Folds(
        temperature=(none, none),
        rescaled=(none, none),
        conformal=(np.array([0, 1]), np.array([0, 1])),
        test=(np.array([2, 3]), none),
    )
    results = conformal.conformal_splits(conformal.lac_scores(p, answers), answers, folds=folds, alpha=0.5)
    assert results.mean_size == 1.0
    assert results.mean_coverage == 0.5
    assert results.mean_distribution.tolist() == [0, 1, 0, 0]
    assert np.isnan(results.size[1])


def test_strata_against_loops():
    rng = np.random.default_rng(1)
    sets = rng.random((500, 4)) < 0.4
    answers = rng.integers(0, 4, 500)
    subjects = [["law", "biology", None][i % 3] for i in range(500)]
    sizes = [sum(row) for row in sets.tolist()]
    covered = [row[a] for row, a in zip(sets.tolist(), answers.tolist(), strict=True)]
    strata = {s.label: s for s in conformal.coverage_by(subjects, sets, answers)}
    assert list(strata) == ["biology", "law"]
    law = [i for i in range(500) if subjects[i] == "law"]
    assert strata["law"].n == len(law)
    assert strata["law"].coverage == pytest.approx(sum(covered[i] for i in law) / len(law))
    assert strata["law"].set_size == pytest.approx(sum(sizes[i] for i in law) / len(law))
    by_size = {int(s.label): s for s in conformal.size_stratified_coverage(sets, answers)}
    for size, stratum in by_size.items():
        chosen = [i for i in range(500) if sizes[i] == size]
        assert stratum.coverage == pytest.approx(sum(covered[i] for i in chosen) / len(chosen))
        assert stratum.set_size == size


def test_band_and_undercoverage_against_a_direct_sum():
    def pmf(x, n, a, b):
        def log_beta(s, t):
            return math.lgamma(s) + math.lgamma(t) - math.lgamma(s + t)

        return math.comb(n, x) * math.exp(log_beta(x + a, n - x + b) - log_beta(a, b))

    n_calibration, n_test, alpha = 37, 60, 0.2
    rank = math.ceil(38 * 0.8)
    masses = [pmf(x, n_test, rank, n_calibration + 1 - rank) for x in range(n_test + 1)]
    cumulated = np.cumsum(masses)
    low, high = conformal.coverage_band(n_calibration, n_test, alpha=alpha)
    assert low == np.searchsorted(cumulated, 0.025) / n_test
    assert high == np.searchsorted(cumulated, 0.975) / n_test
    for covered in (10, 40, 48, 60):
        p = conformal.undercoverage_p(covered, n_test, n_calibration=n_calibration, alpha=alpha)
        assert p == pytest.approx(cumulated[covered], abs=1e-9)


@pytest.mark.parametrize("lowest", [0.2, 0.0, -np.inf])
def test_sets_at_thresholds_of_several_splits_are_those_of_each_item(lowest):
    # most items have the same set at all thresholds; one that admits every option changes them all
    rng = np.random.default_rng(12)
    options = rng.dirichlet(np.ones(4), 80)
    options[:20, 3] = np.nan
    answers = rng.integers(0, 3, 80)
    tests = tuple(np.flatnonzero(rng.random(80) < 0.4) for _ in range(3))
    thresholds = np.array([0.25, lowest, 0.22])
    found = conformal.sets_at(options, answers, thresholds=thresholds, folds=Folds((), (), (), tests))
    for split, (threshold, items) in enumerate(zip(thresholds, tests, strict=True)):
        sets = [[k for k in range(4) if options[i, k] >= threshold] for i in items]
        sizes = [len(members) for members in sets]
        assert found.size[split] == pytest.approx(np.mean(sizes))
        assert found.size_distribution[split].tolist() == [sizes.count(k) / len(items) for k in range(5)]
        inside = [answers[i] in members for i, members in zip(items, sets, strict=True)]
        assert found.coverage[split] == pytest.approx(np.mean(inside))


@pytest.mark.parametrize(("n_calibration", "n_test", "alpha"), [(160, 160, 0.1), (4000, 4010, 0.1), (30, 5, 0.4)])
def test_undercoverage_is_the_distribution_function_of_scipy(n_calibration, n_test, alpha):
    rank = math.ceil((n_calibration + 1) * (1 - alpha) - 1e-9)
    for covered in sorted({0, n_test // 2, int(0.85 * n_test), int(0.9 * n_test), n_test - 1, n_test}):
        p = conformal.undercoverage_p(covered, n_test, n_calibration=n_calibration, alpha=alpha)
        expected = stats.betabinom.cdf(covered, n_test, rank, n_calibration + 1 - rank)
        assert p == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_band_of_a_full_set_is_one():
    assert conformal.coverage_band(8, 50, alpha=0.1) == (1.0, 1.0)
    assert conformal.undercoverage_p(3, 50, n_calibration=8, alpha=0.1) == 1.0


def test_uacc_is_the_published_formula():
    assert conformal.uacc(0.6, 3.0, n_options=6) == pytest.approx(0.6 / 3 * math.sqrt(6))
    assert math.isnan(conformal.uacc(0.6, 0.0, n_options=6))


def test_the_rank_is_that_of_exact_arithmetic_at_every_alpha():
    n = np.arange(1, 501)
    for thousandths in range(1, 1000):
        exact = [-(-(count + 1) * (1000 - thousandths) // 1000) for count in n.tolist()]
        assert conformal.quantile_rank(n, alpha=thousandths / 1000).tolist() == exact


def test_an_alpha_next_to_one_takes_the_surest_right_option():
    assert conformal.conformal_threshold(np.array([0.2, 0.9, 0.5]), alpha=1 - 1e-12) == 0.9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("protocol", ["exact", "ye2024"])
def test_all_splits_at_once_are_each_split_by_itself(seed, protocol):
    rng = np.random.default_rng([3, seed])
    n = int(rng.integers(1, 90))
    p = np.round(rng.dirichlet(np.ones(4), n), 1 if seed % 2 else 9)
    p[rng.random(n) < 0.3, 3] = np.nan
    answers = rng.integers(0, 3, n)
    sides = [rng.random(n) < share for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
    calibrating, tested = (tuple(np.flatnonzero(one ^ flip) for one in sides) for flip in (False, True))
    folds = Folds(calibrating, tested, calibrating, tested)
    scores = conformal.aps_scores(p, answers, draws=rng.random(n))
    found = conformal.conformal_splits(scores, answers, folds=folds, alpha=0.2, protocol=protocol)
    for split, (fold, test) in enumerate(zip(calibrating, tested, strict=True)):
        threshold = conformal.conformal_threshold(scores.calibration[fold], alpha=0.2, protocol=protocol)
        assert found.thresholds[split] == threshold
        if len(test) == 0:
            assert np.isnan([found.size[split], found.coverage[split], *found.size_distribution[split]]).all()
            continue
        sets = conformal.prediction_sets(scores.options[test], threshold)
        sizes, covered = sets.sum(axis=1), sets[np.arange(len(test)), answers[test]]
        assert (found.size[split], found.coverage[split]) == (sizes.mean(), covered.mean())
        assert found.size_distribution[split].tolist() == [(sizes == size).mean() for size in range(5)]
