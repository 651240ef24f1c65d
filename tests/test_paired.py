"""Comparisons with dense against scipy and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import norm, spearmanr
from statsmodels.stats.contingency_tables import mcnemar

from suite.metrics import paired


def test_flips_against_a_loop():
    rng = np.random.default_rng(0)
    dense, variant = rng.random((2, 300)) < 0.6
    to_wrong = sum(d and not v for d, v in zip(dense, variant, strict=True))
    to_right = sum(v and not d for d, v in zip(dense, variant, strict=True))
    assert paired.flips(dense, variant) == (to_wrong, to_right)


@pytest.mark.parametrize(("to_wrong", "to_right"), [(0, 0), (5, 0), (3, 9), (7, 7), (120, 80)])
def test_mcnemar_is_the_exact_binomial_tail_doubled(to_wrong, to_right):
    n, low = to_wrong + to_right, min(to_wrong, to_right)
    tail = sum(math.comb(n, k) for k in range(low + 1)) / 2**n
    assert paired.mcnemar_p(to_wrong, to_right) == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_equals_statsmodels_on_every_small_table_and_some_large_ones():
    pairs = [(a, b) for a in range(25) for b in range(25)] + [(300, 250), (5_000, 4_800), (1, 900)]
    for to_wrong, to_right in pairs:
        expected = mcnemar([[0, to_wrong], [to_right, 0]], exact=True).pvalue
        assert paired.mcnemar_p(to_wrong, to_right) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def random_log(rng, n=200, width=4):
    p = rng.dirichlet(np.full(width, 0.5), n)
    p[:20, 3] = 0
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return p, np.log(p)


def test_divergences_equal_scipy():
    rng = np.random.default_rng(1)
    (p, log_p), (q, log_q) = random_log(rng), random_log(rng)
    assert paired.kl_divergence(log_p, log_q) == pytest.approx(rel_entr(p, q).sum(axis=1))
    assert paired.js_divergence(log_p, log_q) == pytest.approx(jensenshannon(p, q, axis=1) ** 2)


def test_divergences_of_equal_and_of_impossible_options():
    _, log_p = random_log(np.random.default_rng(2))
    assert not paired.kl_divergence(log_p, log_p).any()
    assert paired.js_divergence(log_p, log_p) == pytest.approx(np.zeros(200), abs=1e-12)
    sure, other = np.array([[0.0, -np.inf]]), np.log(np.array([[0.5, 0.5]]))
    assert paired.kl_divergence(other, sure)[0] == np.inf
    assert paired.kl_divergence(sure, other)[0] == pytest.approx(math.log(2))
    assert paired.js_divergence(sure, sure[:, ::-1])[0] == pytest.approx(math.log(2))


def test_rank_correlation_equals_scipy():
    rng = np.random.default_rng(3)
    a, b = np.round(rng.random((2, 100)), 1)
    assert paired.rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert math.isnan(paired.rank_correlation(np.ones(5), np.arange(5.0)))


def test_minimum_detectable_effect_has_the_power_it_says():
    effect = paired.minimum_detectable(2.0)
    power = norm.sf(norm.ppf(0.975) - effect / 2.0) + norm.cdf(-norm.ppf(0.975) - effect / 2.0)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_p_values_of_splits_combine_to_twice_their_mean():
    assert paired.undercoverage_over_splits(np.array([0.02, 0.04, 0.03])) == pytest.approx(0.06)
    assert paired.undercoverage_over_splits(np.array([0.9, 0.8])) == 1.0
