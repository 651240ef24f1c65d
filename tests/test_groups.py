"""Statistical groups: the promise about the best one, by simulation; and the paired differences, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from suite.metrics.groups import Shares, behind, groups_of_best, z_against_best


def drawn(random: np.random.Generator, truth: np.ndarray, *, n: int, replicates: int = 200) -> tuple:
    """Observed means of n correlated items an entry and their bootstrap replicates."""
    shared = random.normal(size=(n, 1))
    items = truth + shared + random.normal(size=(n, len(truth)))
    weights = random.multinomial(n, np.full(n, 1 / n), size=replicates) / n
    return items.mean(axis=0)[None], (weights @ items).T[None]


@pytest.mark.parametrize("higher", [True, False])
def test_the_first_group_holds_the_best_as_often_as_promised(higher: bool) -> None:
    random = np.random.default_rng(1)
    truth = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.0]) * (1 if higher else -1)
    held = 0
    for _ in range(300):
        values, replicates = drawn(random, truth, n=60)
        held += groups_of_best(values, replicates, higher_is_better=higher)[0] == 1
    # 95 % promised; the binomial chance of fewer than 274 of 300 is one in a thousand
    assert held >= 274


def test_an_entry_far_behind_is_in_a_later_group_and_every_group_has_its_best_first() -> None:
    random = np.random.default_rng(2)
    values, replicates = drawn(random, np.array([0.0, 3.0, 3.0, 6.0, 0.05]), n=200)
    groups = groups_of_best(values, replicates, higher_is_better=True)
    assert groups.tolist() == [3, 2, 2, 1, 3]
    lower = groups_of_best(-values, -replicates, higher_is_better=False)
    assert lower.tolist() == groups.tolist()


def test_pairing_tells_apart_what_single_intervals_cannot() -> None:
    """A constant difference under noise that both share is certain, however wide each one's own interval is."""
    random = np.random.default_rng(3)
    noise = random.normal(size=400) * 5
    replicates = np.array([[noise, noise - 0.1 + random.normal(size=400) * 0.001]])
    assert groups_of_best(np.array([[1.0, 0.9]]), replicates, higher_is_better=True).tolist() == [1, 2]
    apart = np.array([[noise, random.normal(size=400) * 5]])
    assert groups_of_best(np.array([[1.0, 0.9]]), apart, higher_is_better=True).tolist() == [1, 1]


def test_equal_entries_share_a_group() -> None:
    same = np.tile(np.random.default_rng(4).normal(size=(1, 1, 50)), (1, 3, 1))
    assert groups_of_best(np.full((1, 3), 0.5), same, higher_is_better=True).tolist() == [1, 1, 1]
    assert groups_of_best(np.full((1, 1), 0.5), same[:, :1], higher_is_better=True).tolist() == [1]


def test_the_interval_over_tasks_adds_variances() -> None:
    random = np.random.default_rng(5)
    replicates = random.normal(size=(3, 2, 4000)) * np.array([1.0, 2.0, 3.0])[:, None, None]
    values = np.array([[5.0, 4.0], [5.0, 3.0], [5.0, 2.0]])
    found = behind(values, replicates, 0, higher_is_better=True, z=2.0)
    assert found.value.tolist() == [0.0, 2.0]
    # each difference of two independent columns has twice their variance
    error = np.sqrt(2 * (1 + 4 + 9)) / 3
    assert found.high[1] - found.value[1] == pytest.approx(2 * error, rel=0.05)
    assert found.value[1] - found.low[1] == pytest.approx(2 * error, rel=0.05)


@pytest.mark.parametrize(("comparisons", "quantile"), [(0, 1.6449), (1, 1.6449), (5, 2.3263), (50, 3.0902)])
def test_the_normal_quantile_is_that_of_the_tables(comparisons: int, quantile: float) -> None:
    assert z_against_best(comparisons) == pytest.approx(quantile, abs=1e-4)


def test_entries_with_the_same_answers_are_not_known_to_be_equal() -> None:
    correct = np.array([[1.0] * 60 + [0.0] * 40] * 2)
    shares = [Shares(correct, np.arange(100))]
    found = behind(
        correct.mean(axis=1)[None], np.full((1, 2, 30), 0.6), 0, higher_is_better=True, z=1.6448536, shares=shares
    )
    hidden = 1 - 0.05**0.01  # one-sided bound at 0.95 for no flip in 100
    assert (found.value[1], found.low[1], found.high[1]) == pytest.approx((0.0, -hidden, hidden))


def test_a_few_flips_part_entries_no_sooner_than_a_coin_would() -> None:
    """All flips one way: by a coin (McNemar) 3 have p = 2^-3 and 5 have 2^-5; resampling parts entries from 2 on."""
    for lost, apart in ((1, False), (2, False), (3, False), (5, True)):
        correct = np.ones((2, 200))
        correct[1, :lost] = 0
        shares = [Shares(correct, np.arange(200))]
        replicates = np.random.default_rng(0).binomial(200, correct.mean(axis=1), (50, 2)).T[None] / 200
        groups = groups_of_best(correct.mean(axis=1)[None], replicates, higher_is_better=True, shares=shares)
        assert (groups.tolist() == [1, 2]) is apart


def test_a_proportion_over_tasks_combines_what_each_task_leaves_open() -> None:
    correct = np.random.default_rng(1).random((2, 2, 4000)) < 0.6
    shares = [Shares(part.astype(float), np.arange(4000)) for part in correct]
    values = correct.mean(axis=2)
    found = behind(values, np.zeros((2, 2, 30)), 0, higher_is_better=False, z=2.0, shares=shares)
    errors = [(part[1].astype(float) - part[0]).std() / np.sqrt(4000) for part in correct]
    assert found.value[1] == pytest.approx((values[:, 1] - values[:, 0]).mean())
    assert found.high[1] - found.value[1] == pytest.approx(2 * np.hypot(*errors) / 2, rel=0.05)
    mixed = behind(values, np.zeros((2, 2, 30)), 0, higher_is_better=False, z=2.0, shares=[shares[0], None])
    assert mixed.high[1] - mixed.value[1] == pytest.approx(2 * errors[0] / 2, rel=0.05)
