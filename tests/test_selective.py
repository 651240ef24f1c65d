"""Selective prediction against brute force and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from suite.metrics import selective


def brute_aurc(confidence, error):
    """Mean over all orders of tied items of the mean risk."""
    n = len(confidence)
    values = []
    for order in itertools.permutations(range(n)):
        ranked = [confidence[i] for i in order]
        if ranked == sorted(ranked, reverse=True):
            values.append(sum(sum(error[i] for i in order[: k + 1]) / (k + 1) for k in range(n)) / n)
    return sum(values) / len(values)


def test_aurc_equals_brute_force_over_tied_orders():
    rng = np.random.default_rng(0)
    for _ in range(150):
        n = int(rng.integers(1, 7))
        confidence = rng.integers(0, 3, n) / 4
        error = rng.choice([0.0, 0.5, 1.0], n)
        assert selective.aurc(confidence, error) == pytest.approx(brute_aurc(confidence.tolist(), error.tolist()))


def test_risk_coverage_without_ties_is_the_running_error_rate():
    rng = np.random.default_rng(1)
    confidence, error = rng.random(100), (rng.random(100) < 0.4).astype(float)
    curve = selective.risk_coverage(confidence, error)
    order = np.argsort(confidence)[::-1]
    for k in (0, 3, 50, 99):
        assert curve.risk[k] == pytest.approx(error[order[: k + 1]].mean())
        assert curve.answered[k] == (k + 1) / 100
    assert curve.risk[-1] == pytest.approx(error.mean())


def test_excess_aurc_is_zero_for_an_oracle_and_positive_otherwise():
    rng = np.random.default_rng(2)
    error = (rng.random(200) < 0.3).astype(float)
    assert selective.excess_aurc(1 - error, error) == pytest.approx(0)
    assert selective.excess_aurc(error, error) > 0.3
    wrong = int(error.sum())
    oracle = sum((k - (200 - wrong)) / k for k in range(200 - wrong + 1, 201)) / 200
    assert selective.aurc(-error, error) == pytest.approx(oracle)


def test_error_auroc_equals_scikit_learn_and_a_double_loop():
    rng = np.random.default_rng(3)
    for _ in range(100):
        n = int(rng.integers(3, 40))
        confidence = np.round(rng.random(n), int(rng.integers(1, 4)))
        error = (rng.random(n) < 0.5).astype(float)
        found = selective.error_auroc(confidence, error)
        if error.sum() in (0, n):
            assert math.isnan(found)
            continue
        assert found == pytest.approx(roc_auc_score(error, -confidence))
    error = rng.choice([0, 0.5, 1], 30)
    confidence = np.round(rng.random(30), 1)
    total = sum(
        (1 - error[i]) * error[j] * ((confidence[i] > confidence[j]) + 0.5 * (confidence[i] == confidence[j]))
        for i in range(30)
        for j in range(30)
    )
    assert selective.error_auroc(confidence, error) == pytest.approx(total / (error.sum() * (30 - error.sum())))


def test_accuracy_at_answers_the_most_confident_items():
    confidence = np.linspace(0, 1, 10)
    error = np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    assert selective.accuracy_at(confidence, error, answered=0.8) == pytest.approx(7 / 8)
    assert selective.accuracy_at(confidence, error, answered=1.0) == pytest.approx(0.7)
    assert selective.accuracy_at(confidence[:3], error[:3], answered=0.8) == pytest.approx(1 / 3)


def test_deferral_bound_is_clopper_pearson_at_the_corrected_level():
    confidence = np.linspace(0, 1, 400)
    error = (np.arange(400) % 50 == 0).astype(float)
    rule = selective.deferral_threshold(confidence, error, wanted_error=0.06)
    assert rule.answered == 1.0
    assert rule.error == pytest.approx(8 / 400)
    assert rule.bound == pytest.approx(beta.ppf(1 - 0.05 / 20, 9, 392))


def test_deferral_gives_up_when_nothing_is_sure_enough():
    rule = selective.deferral_threshold(np.linspace(0, 1, 50), np.ones(50), wanted_error=0.1)
    assert rule.threshold == math.inf
    assert rule.answered == 0
    assert math.isnan(rule.error)
    assert math.isnan(rule.bound)


def test_deferral_keeps_ties_together():
    confidence = np.repeat([0.2, 0.8], 100)
    error = np.repeat([1.0, 0.0], 100)
    rule = selective.deferral_threshold(confidence, error, wanted_error=0.2)
    assert (rule.threshold, rule.answered, rule.error) == (0.8, 0.5, 0.0)


def test_deferral_keeps_its_promise_on_new_items():
    # true error rate at confidence c is 1 - c; the rule may exceed the wanted rate in at most 5 % of samples
    rng = np.random.default_rng(4)
    broken = answered = 0
    for _ in range(300):
        confidence = rng.uniform(0.3, 1, 400)
        error = (rng.random(400) < 1 - confidence).astype(float)
        rule = selective.deferral_threshold(confidence, error, wanted_error=0.2)
        if rule.answered:
            answered += 1
            broken += (1 - max(rule.threshold, 0.3)) / 2 > 0.2
    assert answered > 250
    assert broken <= 0.05 * 300
