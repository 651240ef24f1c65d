"""Split conformal prediction keeps its promise: coverage over simulated splits has the law that theory gives it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom, binom, chi2

from suite.metrics import conformal

SPLITS = 1000
CALIBRATION, TEST, OPTIONS = 60, 50, 4


def draw(generator, n):
    """Overconfident, noisy probabilities: coverage must hold whatever the model is worth."""
    hidden = generator.normal(0, 1.2, (n, OPTIONS))
    answers = (hidden + generator.gumbel(size=hidden.shape)).argmax(axis=1)
    logits = 2 * (hidden + generator.normal(size=hidden.shape))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), answers, generator.random(n)


def scores_of(method, p, answers, draws):
    if method == "lac":
        return conformal.lac_scores(p, answers)
    if method == "aps":
        return conformal.aps_scores(p, answers, draws=draws)
    if method == "raps":
        return conformal.raps_scores(p, answers, draws=draws, penalty=0.05, free_ranks=1)
    if method == "aps-deterministic":
        return conformal.aps_deterministic_scores(p, answers, draws=draws)
    return conformal.top_k_scores(p, answers)


def covered_counts(method, alpha, seed):
    generator = np.random.default_rng(seed)
    counts = []
    for _ in range(SPLITS):
        p, answers, draws = draw(generator, CALIBRATION + TEST)
        scores = scores_of(method, p, answers, draws)
        threshold = conformal.conformal_threshold(scores.calibration[:CALIBRATION], alpha=alpha)
        right = scores.options[np.arange(CALIBRATION, CALIBRATION + TEST), answers[CALIBRATION:]]
        counts.append(int((right >= threshold).sum()))
    return np.array(counts)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_covered_counts_follow_the_beta_binomial_law(method, alpha):
    counts = covered_counts(method, alpha, seed=int(100 * alpha))
    rank = int(conformal.quantile_rank(CALIBRATION, alpha=alpha))
    law = betabinom(TEST, rank, CALIBRATION + 1 - rank)
    # mean coverage: within four standard errors of rank / (n + 1), which is at least 1 - alpha
    assert rank / (CALIBRATION + 1) >= 1 - alpha
    assert abs(counts.mean() / TEST - rank / (CALIBRATION + 1)) < 4 * law.std() / TEST / np.sqrt(SPLITS)
    # the band holds as many splits as it says
    low, high = conformal.coverage_band(CALIBRATION, TEST, alpha=alpha)
    promised = law.cdf(round(high * TEST)) - law.cdf(round(low * TEST) - 1)
    assert promised >= 0.95
    inside = int(((counts >= low * TEST - 1e-9) & (counts <= high * TEST + 1e-9)).sum())
    assert binom.cdf(inside, SPLITS, promised) > 1e-3
    assert binom.sf(inside - 1, SPLITS, promised) > 1e-3
    # the whole distribution, by chi-square over cells of ten expected splits or more
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, 9)).round().astype(int))
    expected = np.diff(np.r_[0, law.cdf(edges), 1]) * SPLITS
    seen = np.diff(np.r_[0, np.searchsorted(np.sort(counts), edges, side="right"), SPLITS])
    keep = expected > 10
    statistic = ((seen - expected)[keep] ** 2 / expected[keep]).sum()
    assert chi2.sf(statistic, keep.sum() - 1) > 1e-3


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("method", ["aps-deterministic", "top-k"])
def test_scores_with_ties_or_extra_labels_cover_at_least_as_promised(method, alpha):
    counts = covered_counts(method, alpha, seed=7)
    assert counts.mean() / TEST > 1 - alpha
    rank = int(conformal.quantile_rank(CALIBRATION, alpha=alpha))
    assert (counts / TEST).mean() > rank / (CALIBRATION + 1)


def test_undercoverage_p_values_are_uniform_or_larger_under_exchangeability():
    counts = covered_counts("lac", 0.1, seed=11)
    p = np.array([conformal.undercoverage_p(int(c), TEST, n_calibration=CALIBRATION, alpha=0.1) for c in counts])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / SPLITS)
    assert (p <= 0.2).mean() > 0.1  # and not trivially large


def test_a_threshold_from_another_law_is_found_out():
    generator = np.random.default_rng(12)
    found = 0
    for _ in range(100):
        p, answers, _ = draw(generator, 800)
        threshold = conformal.conformal_threshold(p[np.arange(400), answers[:400]], alpha=0.1)
        shifted = p[400:] ** 2
        shifted /= shifted.sum(axis=1, keepdims=True)
        covered = int((shifted[np.arange(400), answers[400:]] >= threshold).sum())
        found += conformal.undercoverage_p(covered, 400, n_calibration=400, alpha=0.1) < 0.01
    assert found > 95
