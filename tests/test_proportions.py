"""Intervals of proportions against scipy, brute force over every sample, and the truth of simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from suite.metrics import proportions


def items(n):
    return np.arange(n)


def right_of(right, n):
    return np.r_[np.ones(right), np.zeros(n - right)]


@pytest.mark.parametrize(("right", "n"), [(0, 12), (12, 12), (3, 20), (199, 200), (1, 1), (0, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_exact_interval_equals_scipy(right, n, level):
    expected = binomtest(right, n).proportion_ci(level, method="exact")
    wanted = pytest.approx((expected.low, expected.high))
    assert proportions.exact_interval(right, n, level=level) == wanted
    assert proportions.proportion_interval(right_of(right, n), items(n), level=level) == wanted


@pytest.mark.parametrize("n", [1, 20, 200])
def test_an_error_never_raises_an_end(n):
    ends = np.array([proportions.proportion_interval(right_of(right, n), items(n)) for right in range(n, -1, -1)])
    assert (np.diff(ends, axis=0) < 0).all()


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_the_exact_interval_holds_every_share_as_often_as_it_says(n, level):
    ends = np.array([proportions.exact_interval(right, n, level=level) for right in range(n + 1)])
    for share in (0.5, 0.9, 0.98, 0.99, 0.995):
        weight = binom.pmf(np.arange(n + 1), n, share)
        assert weight[share < ends[:, 0]].sum() <= (1 - level) / 2 + 1e-9
        assert weight[share > ends[:, 1]].sum() <= (1 - level) / 2 + 1e-9


def test_what_is_unseen_is_the_end_without_an_event():
    for n in (1, 12, 100, 37.5):
        assert proportions.unseen(n) == pytest.approx(proportions.exact_interval(0, n)[1])
    # nothing in 100: the one-sided bound p has (1 - p)^100 = 0.05
    assert (1 - proportions.unseen(100, level=0.9)) ** 100 == pytest.approx(0.05)


def test_items_of_a_group_that_do_the_same_count_once():
    """60 units, each of five equal items: what is known is what 60 items would tell."""
    units = np.repeat(np.arange(60), 5)
    assert proportions.independent(units) == 60
    for right in (60, 54, 30, 0):
        alone = proportions.proportion_interval(right_of(right, 60), items(60))
        grouped = proportions.proportion_interval(np.repeat(right_of(right, 60), 5), units)
        wide = alone[1] - alone[0]
        # but for the rank of a t quantile instead of a normal one
        assert grouped == pytest.approx(alone, abs=0.05 * wide)
    changes = np.r_[np.ones(4), -np.ones(9), np.zeros(47)]
    alone = proportions.paired_interval(changes, items(60))
    assert proportions.paired_interval(np.repeat(changes, 5), units) == pytest.approx(alone, abs=0.01)


def test_groups_never_make_an_interval_narrower():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(10, 120))
        units = rng.integers(0, max(2, n // 3), n)
        values = (rng.random(n) < rng.choice([0.02, 0.5, 0.9, 0.99])).astype(float)
        alone, grouped = (proportions.proportion_interval(values, each) for each in (items(n), units))
        assert grouped[0] <= alone[0] + 1e-12
        assert grouped[1] >= alone[1] - 1e-12
        changes = values - (rng.random(n) < 0.7)
        alone, grouped = (proportions.paired_interval(changes, each) for each in (items(n), units))
        assert grouped[0] <= alone[0] + 1e-12
        assert grouped[1] >= alone[1] - 1e-12


def test_an_error_in_a_group_never_raises_the_lower_end_above_that_without():
    units = np.repeat(np.arange(40), 5)
    without = proportions.proportion_interval(np.ones(200), units)
    assert without == pytest.approx((0.025 ** (1 / 40), 1.0))
    for wrong in (1, 2, 5):
        values = np.ones(200)
        values[:wrong] = 0
        assert proportions.proportion_interval(values, units)[0] <= without[0]


@pytest.mark.parametrize("share", [0.9, 0.99])
@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
def test_grouped_intervals_hold_the_truth(share, alike):
    rng = np.random.default_rng(3)
    units = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    held = 0
    for _ in range(300):
        if alike in (0.0, 1.0):
            rate = (rng.random(60) < share).astype(float) if alike else np.full(60, share)
        else:
            rate = rng.beta(share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike, 60)
        low, high = proportions.proportion_interval((rng.random(len(units)) < rate[units]).astype(float), units)
        held += low <= share <= high
    assert held / 300 >= 0.92  # 0.95 less more than two standard errors of 300 repetitions


@pytest.mark.parametrize("n", [1, 12, 100, 400])
def test_no_flip_is_no_certainty(n):
    low, high = proportions.paired_interval(np.zeros(n), items(n))
    assert high == -low == pytest.approx(1 - 0.025 ** (1 / n))
    low, high = proportions.paired_interval(np.zeros(n), items(n), level=0.9)
    assert high == -low == pytest.approx(1 - 0.05 ** (1 / n))


def samples(n):
    """Every number of flips up and down of n items."""
    return [(up, down) for up in range(n + 1) for down in range(n + 1 - up)]


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_both_ends_of_a_paired_interval_err_as_seldom_as_they_say(level):
    """The probability of every sample of 40 items, at rates of flips from one in 200 to one in five."""
    n = 40
    counts = np.array(samples(n))
    ends = np.array(
        [
            proportions.paired_interval(
                np.r_[np.ones(up), -np.ones(down), np.zeros(n - up - down)], items(n), level=level
            )
            for up, down in counts
        ]
    )
    outcomes = np.column_stack([counts, n - counts.sum(axis=1)])
    for up in (0.0, 0.005, 0.1):
        for down in (0.005, 0.02, 0.2):
            weight = multinomial.pmf(outcomes, n, [up, down, 1 - up - down])
            assert weight.sum() == pytest.approx(1)
            for missed in (ends[:, 0] > up - down + 1e-12, ends[:, 1] < up - down - 1e-12):
                assert weight[missed].sum() <= (1 - level) / 2 + 1e-4, (up, down)


@pytest.mark.parametrize("units", [np.arange(60), np.arange(60) // 4, np.arange(60) % 7])
def test_many_changes_at_once_are_each_by_itself(units):
    changes = np.random.default_rng(7).choice([-1.0, 0.0, 0.5, 1.0], (20, 60), p=[0.1, 0.75, 0.05, 0.1])
    changes[0] = 0
    found = np.transpose(proportions.paired_intervals(changes, units))
    assert found == pytest.approx(np.array([proportions.paired_interval(row, units) for row in changes]))


def test_a_paired_interval_holds_its_value_and_turns_with_the_sign():
    rng = np.random.default_rng(4)
    for _ in range(100):
        n = int(rng.integers(1, 80))
        changes = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n, p=rng.dirichlet(np.ones(5)))
        low, high = proportions.paired_interval(changes, items(n))
        assert -1 <= low <= changes.mean() <= high <= 1
        assert proportions.paired_interval(-changes, items(n)) == pytest.approx((-high, -low))


def test_with_many_flips_a_paired_interval_is_the_normal_one():
    changes = np.r_[np.ones(900), -np.ones(1300), np.zeros(7800)]
    error = changes.std() / 100
    low, high = proportions.paired_interval(changes, items(10_000))
    assert (low, high) == pytest.approx((-0.04 - 1.96 * error, -0.04 + 1.96 * error), abs=0.03 * error)


def test_a_difference_of_independent_estimates_is_in_quadrature():
    low, high = proportions.difference_interval((0.1, 0.07, 0.2), (0.3, 0.26, 0.31))
    assert (low, high) == pytest.approx((-0.2 - np.hypot(0.03, 0.01), -0.2 + np.hypot(0.1, 0.04)))


@pytest.mark.parametrize("right", [200, 199, 190, 100, 0])
def test_replicates_of_a_plain_proportion_give_the_exact_interval(right):
    replicates = np.random.default_rng(5).binomial(200, right / 200, 200_000) / 200
    found = proportions.resampled_interval(right / 200, replicates, items(200))
    assert found == pytest.approx(proportions.exact_interval(right, 200), abs=2e-3)
    doubled = proportions.resampled_interval(right / 100, 2 * replicates, items(200), limits=(0.0, 2.0))
    assert doubled == pytest.approx([2 * end for end in found])


def test_a_mean_in_the_middle_has_the_normal_interval():
    replicates = np.random.default_rng(6).normal(0.9, 0.003, 100_000)
    found = proportions.resampled_interval(0.9, replicates, items(400))
    assert found == pytest.approx((0.9 - 0.00588, 0.9 + 0.00588), abs=2e-4)


def test_replicates_that_cannot_be_had_give_no_interval():
    some = np.full(100, 0.5)
    some[:6] = np.nan
    assert np.isnan(proportions.resampled_interval(0.5, some, items(50))).all()


def test_a_figure_that_all_resamples_repeat_may_have_unseen_exceptions():
    # 100 sets of one option each: of 0.0362 sets the size may be 0, or 4
    hidden = 1 - 0.025**0.01
    low, high = proportions.unseen_interval(1.0, proportions.unseen(100), (0.0, 4.0))
    assert (low, high) == pytest.approx((1 - hidden, 1 + 3 * hidden))
    assert proportions.varies(np.array([0.5, 0.5 + 1e-6]))
    assert not proportions.varies(np.array([0.3, 0.1 + 0.2, np.nan]))
