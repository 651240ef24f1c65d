"""Prediction sets against mapie, set by set, in its domain; and the edges where mapie says something else."""

from __future__ import annotations

import math
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from suite.metrics import conformal
from suite.metrics.mapie_adapter import comparable, in_domain, mapie_sets, same_rank

METHODS = ("lac", "aps", "aps-deterministic", "top_k")


def scores_of(method, p, answers, draws):
    if method == "lac":
        return conformal.lac_scores(p, answers)
    if method == "aps":
        return conformal.aps_scores(p, answers, draws=draws)
    if method == "aps-deterministic":
        return conformal.aps_deterministic_scores(p, answers, draws=draws)
    return conformal.top_k_scores(p, answers)


def random_case(rng, method):
    width = int(rng.integers(2 if method == "lac" else 3, 7))
    alpha = float(rng.choice([0.05, 0.1, 0.2, 0.3]))
    n = int(rng.integers(np.ceil(1 / alpha), 61))
    total = n + 30
    p = rng.dirichlet(np.full(width, rng.choice([0.3, 1.0, 5.0])), total)
    if method == "lac" and rng.random() < 0.5:
        p = np.round(p * 8)  # ties, zeros and ones
        p[p.sum(axis=1) == 0] = 1
        p /= p.sum(axis=1, keepdims=True)
    if method != "lac":
        p = 0.99 * p + 0.01 * rng.dirichlet(np.full(width, 20.0), total)
    kind = rng.integers(0, 4)
    right, wrong = p.argmax(axis=1), p.argmin(axis=1)
    sampled = (p.cumsum(axis=1) < rng.random(total)[:, None]).sum(axis=1).clip(max=width - 1)
    answers = (right, wrong, sampled, sampled)[kind]
    return p, answers, np.arange(n), np.arange(n, total), alpha, rng.random(total)


@pytest.mark.parametrize("method", METHODS)
def test_sets_equal_mapie_in_its_domain(method):
    rng = np.random.default_rng(len(method))
    compared = empty = 0
    for _ in range(150):
        p, answers, fold, test, alpha, draws = random_case(rng, method)
        theirs = mapie_sets(method, p, answers, conformal=fold, test=test, alpha=alpha, draws=draws)
        if theirs is None:
            continue
        scores = scores_of(method, p, answers, draws)
        threshold = conformal.conformal_threshold(scores.calibration[fold], alpha=alpha)
        ours = conformal.prediction_sets(scores.options[test], threshold)
        judged = comparable(scores.options[test], threshold)
        assert np.array_equal(ours[judged], theirs[judged])
        compared += int(judged.sum())
        empty += int((~theirs.any(axis=1)).sum())
    assert compared > 3000
    assert (empty > 0) == (method in ("lac", "aps"))


def classifier(width, **options):
    from mapie.classification import SplitConformalClassifier

    from suite.metrics.mapie_adapter import _pass_through

    return SplitConformalClassifier(_pass_through(width), prefit=True, **options)


def test_mapie_raises_below_one_over_alpha_and_the_kernel_gives_every_option():
    p = np.tile([[0.6, 0.3, 0.1]], (20, 1))
    answers = np.zeros(20, dtype=int)
    model = classifier(3, confidence_level=0.9).conformalize(p[:8], answers[:8])
    with pytest.raises(ValueError, match="too low"):
        model.predict_set(p[8:])
    assert not in_domain("lac", p, answers, conformal=np.arange(8), test=np.arange(8, 20), alpha=0.1)
    threshold = conformal.conformal_threshold(p[:8, 0], alpha=0.1)
    assert conformal.prediction_sets(p[8:], threshold).all()


def mapie_rank(n, alpha):
    """Rank of the quantile that mapie's LAC takes of n scores, None where it refuses."""
    p = np.column_stack([np.arange(1, n + 1), np.arange(n, 0, -1)]) / (n + 1)
    model = classifier(2, confidence_level=float(1 - Decimal(str(alpha)))).conformalize(p, np.zeros(n, dtype=int))
    try:
        model.predict_set(p[:1])
    except ValueError:
        return None
    return round((n + 1) * float(model._mapie_classifier.conformity_score_function_.quantiles_[0]))


@pytest.mark.parametrize(
    ("n", "alpha"),
    [(149, 0.18), (149, 0.1), (99, 0.45), (9, 0.7), (150, 0.995), (19, 0.95), (8, 0.1), (30, 1 / 3), (20, 0.4)],
)
def test_mapies_rank_is_foreseen(n, alpha):
    rank = mapie_rank(n, alpha)
    exact = math.ceil((n + 1) * (1 - Fraction(str(alpha))))
    assert same_rank(n, alpha=alpha) == (rank is not None and rank == exact <= n)


@pytest.mark.parametrize("alpha", [1e-17, 1e-9, 1 - 1e-16])
def test_an_alpha_that_floats_hardly_tell_from_none_or_all_is_left_to_the_kernel(alpha):
    assert not same_rank(300, alpha=alpha)


def test_mapie_rounds_a_float_product_up_and_the_kernel_does_not():
    assert mapie_rank(149, 0.18) == 124
    assert conformal.quantile_rank(149, alpha=0.18) == 123


@pytest.mark.parametrize("score", ["aps", "raps", "top_k"])
@pytest.mark.parametrize("width", [2, 3])
def test_mapie_refuses_two_right_options_for_all_but_lac(score, width):
    # It looks at the answers of the conformal fold, so a task of three options is refused too when one is never right.
    p = np.tile([[0.6, 0.3, 0.1][:width]], (200, 1)) / sum([0.6, 0.3, 0.1][:width])
    with pytest.raises(ValueError, match=r"[Bb]inary"):
        classifier(width, conformity_score=score).conformalize(p, np.arange(200) % 2)
    assert not in_domain("aps", p, np.arange(200) % 2, conformal=np.arange(100), test=np.arange(100, 200), alpha=0.1)


def mapie_deterministic(p, answers, n):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = classifier(p.shape[1], conformity_score="aps", random_state=0).conformalize(p[:n], answers[:n])
        return model.predict_set(p[n:], conformity_score_params={"include_last_label": True})[1][:, :, 0]


def test_mapie_drops_options_of_probability_zero_although_they_are_the_right_ones():
    # Three in ten right options have probability zero, so 90 % coverage needs them in the sets.
    n = 400
    p = np.tile([[0.6, 0.4, 0.0]], (n, 1))
    answers = np.where(np.arange(n) % 10 < 3, 2, np.arange(n) % 2)
    theirs = mapie_deterministic(p, answers, 200)
    assert not theirs[:, 2].any()
    draws = np.random.default_rng(0).random(n)
    scores = conformal.aps_scores(p, answers, draws=draws)
    threshold = conformal.conformal_threshold(scores.calibration[:200], alpha=0.1)
    ours = conformal.prediction_sets(scores.options[200:], threshold)
    assert ours[:, 2].all()
    assert not in_domain("aps", p, answers, conformal=np.arange(200), test=np.arange(200, n), alpha=0.1)


def test_mapie_puts_scores_within_its_tolerance_together():
    # 1e-10 and 1e-9 differ for the kernel; mapie sees 1 - p equal within 1e-8.
    p = np.tile([[1 - 1.1e-9, 1e-9, 1e-10]], (40, 1))
    answers = np.ones(40, dtype=int)
    fold, test = np.arange(20), np.arange(20, 40)
    theirs = mapie_sets("lac", p, answers, conformal=fold, test=test, alpha=0.1, draws=np.zeros(40))
    threshold = conformal.conformal_threshold(p[fold, 1], alpha=0.1)
    assert theirs.all()
    assert conformal.prediction_sets(p[test], threshold).sum(axis=1).tolist() == [2] * 20
    assert not comparable(p[test], threshold).any()


def test_mapie_includes_all_tied_options_but_scores_them_one_by_one():
    # Two tied options: mapie calibrates by their order in the row, then includes both or neither.
    n = 600
    p = np.tile([[0.3, 0.3, 0.4]], (n, 1))
    answers = np.where(np.arange(n) % 10 < 6, 2, np.arange(n) % 2)
    theirs = mapie_deterministic(p, answers, 300)
    assert (theirs[:, 0] == theirs[:, 1]).all()
    assert not in_domain("aps", p, answers, conformal=np.arange(300), test=np.arange(300, n), alpha=0.1)


def raps_in_mapie(p, answers, n, include, u):
    """mapie's RAPS with one number in place of its random draws; returns sets, quantile, penalty, free ranks."""
    from mapie.conformity_scores import RAPSConformityScore

    class Constant(np.random.RandomState):
        def uniform(self, low=0.0, high=1.0, size=None):
            return np.full(size, u)

    score = RAPSConformityScore(size_raps=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = classifier(p.shape[1], conformity_score=score, random_state=Constant(0))
        model.conformalize(p[:n], answers[:n])
        _, sets = model.predict_set(p[n:], conformity_score_params={"include_last_label": include})
    return sets[:, :, 0], float(score.quantiles_[0]), float(score.lambda_star), float(score.k_star[0])


def test_raps_equals_mapie_up_to_the_first_penalized_rank_and_differs_beyond():
    rng = np.random.default_rng(5)
    u, agreed, differed = 0.5, 0, 0
    for _ in range(40):
        p = rng.dirichlet(np.full(8, 0.7), 500) * 0.99 + 0.01 * rng.dirichlet(np.full(8, 20.0), 500)
        answers = (p.cumsum(axis=1) < rng.random(500)[:, None]).sum(axis=1).clip(max=7)
        # every rank is counted from one here and in mapie; its k_star is already one more than the quantile
        theirs, quantile, penalty, free = raps_in_mapie(p, answers, 300, "randomized", u)
        if penalty == 0:
            continue
        scores = conformal.raps_scores(p, answers, draws=np.full(500, u), penalty=penalty, free_ranks=free)
        ours = conformal.prediction_sets(scores.options[300:], 1 - quantile)
        ranked = np.sort(p[300:], axis=1)[:, ::-1].cumsum(axis=1)
        ranked = ranked + penalty * np.maximum(0, np.arange(1, 9) - free)
        last = (ranked < quantile).sum(axis=1) + 1  # rank of the option at which the quantile is crossed
        near = (np.abs(scores.options[300:] - (1 - quantile)) < 1e-7).any(axis=1)
        simple = (last <= free + 1) & ~near
        assert np.array_equal(ours[simple], theirs[simple])
        agreed += int(simple.sum())
        differed += int((ours != theirs)[~simple & ~near].any(axis=1).sum())
    assert agreed > 1000
    # mapie divides by p - penalty (L - k - 1) where the score has p: beyond rank k + 1 sets and scores part.
    assert differed > 0


def test_deterministic_aps_overcovers_and_contains_the_randomized_sets():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.5, (4000, 4))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    answers = (p.cumsum(axis=1) < rng.random(4000)[:, None]).sum(axis=1).clip(max=3)
    draws = rng.random(4000)
    fold, test = np.arange(2000), np.arange(2000, 4000)
    found = {}
    for method in ("aps", "aps-deterministic"):
        scores = scores_of(method, p, answers, draws)
        threshold = conformal.conformal_threshold(scores.calibration[fold], alpha=0.1)
        found[method] = conformal.prediction_sets(scores.options[test], threshold)
    assert (found["aps-deterministic"] >= found["aps"]).all()
    coverage = {m: s[np.arange(len(test)), answers[test]].mean() for m, s in found.items()}
    low, high = conformal.coverage_band(2000, 2000, alpha=0.1, level=0.999)
    assert low <= coverage["aps"] <= high < coverage["aps-deterministic"]
