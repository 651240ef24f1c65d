"""Accuracy, NLL and Brier against scikit-learn and loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from suite.metrics import proper


def test_nll_and_brier_equal_scikit_learn():
    rng = np.random.default_rng(0)
    for width in (2, 3, 5):
        p = rng.dirichlet(np.ones(width), 400)
        answers = rng.integers(0, width, 400)
        labels = list(range(width))
        assert proper.negative_log_likelihood(np.log(p), answers).mean() == pytest.approx(
            log_loss(answers, p, labels=labels)
        )
        assert proper.brier_score(p, answers).mean() == pytest.approx(
            brier_score_loss(answers, p, labels=labels, scale_by_half=False)
        )


def test_brier_of_two_options_is_twice_the_one_class_form():
    p = np.array([[0.7, 0.3], [0.2, 0.8]])
    assert proper.brier_score(p, np.array([0, 0])).tolist() == pytest.approx([2 * 0.3**2, 2 * 0.8**2])


def test_missing_options_count_for_nothing():
    p = np.array([[0.7, 0.3, np.nan]])
    assert proper.brier_score(p, np.array([0]))[0] == pytest.approx(0.18)
    assert proper.top_ties(p).tolist() == [1]
    assert proper.fractional_correct(p, np.array([0])).tolist() == [1.0]


def test_impossible_answer_has_infinite_nll():
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([[1.0, 0.0]]))
    assert proper.negative_log_likelihood(log_p, np.array([1]))[0] == np.inf
    assert proper.brier_score(np.array([[1.0, 0.0]]), np.array([1]))[0] == 2.0


def test_fractional_correct_is_the_mean_over_tied_orders():
    rng = np.random.default_rng(1)
    for _ in range(500):
        width = int(rng.integers(2, 5))
        p = rng.integers(0, 3, width) + 0.5
        answer = int(rng.integers(width))
        hits = [max(order, key=lambda j: (p[j], -order.index(j))) == answer for order in map(list, permutations(width))]
        found = proper.fractional_correct((p / p.sum())[None, :], np.array([answer]))[0]
        assert found == pytest.approx(np.mean(hits))


def permutations(width):
    return itertools.permutations(range(width))


def test_picked_option_is_among_the_tied_ones_each_alike_and_the_only_one_without_ties():
    p = np.tile([[0.4, 0.2, 0.4]], (3000, 1))
    picked = proper.picked_option(p, draws=np.random.default_rng(2).random(3000))
    assert set(picked.tolist()) == {0, 2}
    assert abs(np.mean(picked == 0) - 0.5) < 0.05
    assert proper.picked_option(np.array([[0.1, 0.9]]), draws=np.array([0.999])).tolist() == [1]
    assert proper.picked_option(np.array([[0.5, 0.5]]), draws=np.array([np.nextafter(1, 0)])).tolist() == [1]


def test_brier_parts_add_up_and_equal_a_loop():
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(3), 200)
    p[:40, 2] = np.nan
    p[:40] /= np.nansum(p[:40], axis=1, keepdims=True)
    answers = np.array([rng.integers(0, 2 if i < 40 else 3) for i in range(200)])
    parts = proper.brier_parts(p, answers)
    bins: dict[int, list[tuple[float, float]]] = {}
    for row, answer in zip(p, answers, strict=True):
        for k, value in enumerate(row):
            if not np.isnan(value):
                bins.setdefault(min(int(value * 15), 14), []).append((value, float(k == answer)))
    expected = sum(len(m) * (np.mean([f for f, _ in m]) - np.mean([o for _, o in m])) ** 2 for m in bins.values()) / 200
    assert parts.calibration == pytest.approx(expected)
    assert parts.calibration + parts.refinement == pytest.approx(proper.brier_score(p, answers).mean())


def test_brier_calibration_part_is_what_recalibration_saves():
    # forecasts constant within a bin: replacing each by the bin's frequency leaves exactly the refinement
    p = np.tile([[0.8, 0.2]], (100, 1))
    answers = (np.arange(100) < 40).astype(int)
    parts = proper.brier_parts(p, answers)
    recalibrated = np.tile([[0.6, 0.4]], (100, 1))
    assert parts.refinement == pytest.approx(proper.brier_score(recalibrated, answers).mean())
