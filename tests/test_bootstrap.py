"""The resampling kernel against literally repeating items and computing the plain figures."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from suite.metrics import bootstrap, calibration, conformal, proper, selective
from suite.metrics.folds import Folds, hashed_folds


def cell(rng, n=60, width=4, decimals=None):
    z = rng.normal(0, 1.5, (n, width))
    if decimals is not None:
        z = np.round(z, decimals)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    answers = (p.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1).clip(max=width - 1)
    return p, answers


def repeated(column, *columns):
    """Each array with item i repeated as often as its weight says."""
    counts = column.astype(int)
    return tuple(np.repeat(c, counts, axis=0) for c in columns)


def repeated_folds(folds, column):
    """Folds of the repeated items: every copy where its original was."""
    owner = np.repeat(np.arange(len(column)), column.astype(int))
    parts = [tuple(np.flatnonzero(np.isin(owner, fold)) for fold in f) for f in (folds.conformal, folds.test)]
    return Folds(parts[0], parts[0], parts[0], parts[1])


IDS = [f"item{i}" for i in range(60)]


@pytest.mark.parametrize("method", ["lac", "aps", "ye2024-aps", "ye2024-lac", "aps-deterministic"])
@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.5])
def test_conformal_replicates_equal_the_plain_computation_on_repeated_items(method, decimals, alpha):
    rng = np.random.default_rng(1)
    p, answers = cell(rng, decimals=decimals)
    draws = rng.random(60)
    scores = {
        "lac": lambda: conformal.lac_scores(p, answers),
        "aps": lambda: conformal.aps_scores(p, answers, draws=draws),
        "aps-deterministic": lambda: conformal.aps_deterministic_scores(p, answers, draws=draws),
        "ye2024-aps": lambda: conformal.ye2024_aps_scores(p, answers),
        "ye2024-lac": lambda: conformal.ye2024_lac_scores(p, answers),
    }[method]()
    protocol = "ye2024" if method.startswith("ye2024") else "exact"
    folds = hashed_folds(IDS, splits=3)
    weights = bootstrap.unit_weights(IDS, replicates=40)
    found = bootstrap.set_replicates(
        scores, answers, drawn=bootstrap.DrawnFolds(folds, weights), alpha=alpha, protocol=protocol
    )
    for r in range(40):
        calibration_scores, options, right = repeated(weights[:, r], scores.calibration, scores.options, answers)
        expected = conformal.conformal_splits(
            conformal.SetScores(calibration_scores, options),
            right,
            folds=repeated_folds(folds, weights[:, r]),
            alpha=alpha,
            protocol=protocol,
        )
        assert found.thresholds.values[:, r].tolist() == expected.thresholds.tolist()
        assert found.size[r] == pytest.approx(expected.mean_size, abs=1e-6)
        assert found.coverage[r] == pytest.approx(expected.mean_coverage, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_conformal_replicates_of_uneven_folds_and_heavy_units(seed):
    # few units of many items: weights that fill a byte soon, folds from empty to most of the items, tied scores
    rng = np.random.default_rng([9, seed])
    n = int(rng.integers(40, 160))
    p, answers = cell(rng, n=n, decimals=1 if seed % 2 else None)
    p[rng.random(n) < 0.2, 3] = np.nan
    answers = np.where(np.isnan(p[np.arange(n), answers]), 0, answers)
    weights = rng.choice([0, 0, 1, 2, 40, 200], size=(n, 12)).astype(np.uint8)
    sides = [rng.random(n) < share for share in (0.0, 0.03, 0.3, 0.9, 0.5)]
    conformal_folds = tuple(np.flatnonzero(side) for side in sides)
    folds = Folds(conformal_folds, conformal_folds, conformal_folds, tuple(np.flatnonzero(~side) for side in sides))
    scores = conformal.aps_scores(p, answers, draws=rng.random(n))
    found = bootstrap.set_replicates(scores, answers, drawn=bootstrap.DrawnFolds(folds, weights), alpha=0.2)
    for r in range(12):
        c, o, a = repeated(weights[:, r], scores.calibration, scores.options, answers)
        there = repeated_folds(folds, weights[:, r])
        expected = conformal.conformal_splits(conformal.SetScores(c, o), a, folds=there, alpha=0.2)
        assert found.thresholds.values[:, r].tolist() == expected.thresholds.tolist()
        assert found.size[r] == pytest.approx(expected.mean_size, abs=1e-5)
        assert found.coverage[r] == pytest.approx(expected.mean_coverage, abs=1e-5)


def test_large_samples_take_the_same_thresholds_through_the_window():
    # enough items that only ranks near the quantile are looked at
    rng = np.random.default_rng(2)
    n = 3000
    p, answers = cell(rng, n=n)
    ids = [str(i) for i in range(n)]
    scores, folds = conformal.lac_scores(p, answers), hashed_folds(ids, splits=2)
    weights = bootstrap.unit_weights(ids, replicates=10)
    # one replicate far from the others: only hard items are drawn, so its quantile lies outside the window
    weights[:, 0] = np.where(scores.calibration < 0.1, 3, 0)
    weights[:, 1] = np.where(scores.calibration > 0.5, 2, 0)
    found = bootstrap.set_replicates(scores, answers, drawn=bootstrap.DrawnFolds(folds, weights), alpha=0.1)
    for r in range(10):
        c, o, a = repeated(weights[:, r], scores.calibration, scores.options, answers)
        expected = conformal.conformal_splits(
            conformal.SetScores(c, o), a, folds=repeated_folds(folds, weights[:, r]), alpha=0.1
        )
        assert found.thresholds.values[:, r].tolist() == expected.thresholds.tolist()
        assert found.size[r] == pytest.approx(expected.mean_size, abs=1e-5)


def test_transferred_replicates_use_the_thresholds_of_the_other_model():
    rng = np.random.default_rng(3)
    p, answers = cell(rng)
    q, _ = cell(rng)
    folds, weights = hashed_folds(IDS, splits=2), bootstrap.unit_weights(IDS, replicates=15)
    dense, variant = conformal.lac_scores(p, answers), conformal.lac_scores(q, answers)
    thresholds = bootstrap.threshold_replicates(
        dense.calibration, drawn=bootstrap.DrawnFolds(folds, weights), alpha=0.2
    )
    found = bootstrap.sets_at_replicates(
        variant.options, answers, thresholds=thresholds, drawn=bootstrap.DrawnFolds(folds, weights)
    )
    for r in range(15):
        o, a = repeated(weights[:, r], variant.options, answers)
        expected = conformal.sets_at(
            o, a, thresholds=thresholds.values[:, r], folds=repeated_folds(folds, weights[:, r])
        )
        assert found.size[r] == pytest.approx(expected.mean_size, abs=1e-6)
        assert found.coverage[r] == pytest.approx(expected.mean_coverage, abs=1e-6)


def test_a_replicate_without_test_items_has_no_value():
    p, answers = cell(np.random.default_rng(4), n=4)
    halves = (np.array([0, 1]),)
    folds = Folds(halves, halves, halves, (np.array([2, 3]),))
    weights = np.array([[2, 1], [2, 1], [0, 1], [0, 1]], dtype=np.float32)
    found = bootstrap.set_replicates(
        conformal.lac_scores(p, answers), answers, drawn=bootstrap.DrawnFolds(folds, weights), alpha=0.5
    )
    assert np.isnan(found.size[0])
    assert not np.isnan(found.size[1])


@pytest.mark.parametrize("ties", [False, True])
def test_selective_replicates_equal_the_plain_figures_on_repeated_items(ties):
    rng = np.random.default_rng(5)
    confidence = np.round(rng.random(60), 1 if ties else 12)
    error = rng.choice([0.0, 0.5, 1.0], 60) if ties else (rng.random(60) < 0.4).astype(float)
    weights = bootstrap.unit_weights(IDS, replicates=30)
    found = bootstrap.selective_replicates(confidence, error, weights)
    for r in range(30):
        c, e = repeated(weights[:, r], confidence, error)
        assert found.aurc[r] == pytest.approx(selective.aurc(c, e), abs=1e-9)
        assert found.auroc[r] == pytest.approx(selective.error_auroc(c, e), abs=1e-9)


@pytest.mark.parametrize("wrong", [0.002, 0.4, 1.0])
def test_selective_replicates_of_many_items_equal_the_plain_figures(wrong):
    # long stretches of right items, hundreds of short ones, and one of nothing but errors
    rng = np.random.default_rng(10)
    confidence = np.round(rng.random(2000), 3)
    error = (rng.random(2000) < wrong).astype(float)
    weights = bootstrap.unit_weights([str(i) for i in range(2000)], replicates=6)
    found = bootstrap.selective_replicates(confidence, error, weights)
    for r in range(6):
        c, e = repeated(weights[:, r], confidence, error)
        assert found.aurc[r] == pytest.approx(selective.aurc(c, e), abs=1e-11)
        assert found.auroc[r] == pytest.approx(selective.error_auroc(c, e), abs=1e-11, nan_ok=True)


def test_binned_sums_equal_plain_sums_over_repeated_items():
    rng = np.random.default_rng(11)
    values, number = rng.normal(size=(3, 60)), rng.integers(0, 4, (3, 60))
    parts, wanted = rng.random((2, 60)) < 0.6, np.array([[True, True, False], [False, True, True]])
    weights = bootstrap.unit_weights(IDS, replicates=7)
    found = bootstrap.binned_sums(values, number, weights, parts=parts, wanted=wanted, bins=5)
    assert found.shape == (2, 3, 5, 7)
    for part, table, one in np.ndindex(2, 3, 5):
        inside = parts[part] & (number[table] == one)
        expected = [np.repeat(values[table][inside], weights[inside, r]).sum() for r in range(7)]
        assert found[part, table, one] == pytest.approx(np.multiply(expected, wanted[part, table]), abs=1e-12)


def test_selective_replicates_without_errors_have_no_auroc():
    weights = bootstrap.unit_weights(IDS, replicates=5)
    found = bootstrap.selective_replicates(np.linspace(0, 1, 60), np.zeros(60), weights)
    assert np.isnan(found.auroc).all()
    assert found.aurc.tolist() == [0.0] * 5


def test_weighted_means_and_calibration_errors_equal_those_of_repeated_items():
    rng = np.random.default_rng(6)
    p, answers = cell(rng)
    confidence, correct = p.max(axis=1), proper.fractional_correct(p, answers)
    values = np.column_stack([1000 + rng.random(60), correct])
    weights = bootstrap.unit_weights(IDS, replicates=20)
    means = bootstrap.weighted_means(values, weights)
    number = calibration.bin_numbers(confidence, calibration.equal_width_edges())
    plain = bootstrap.debiased_error_replicates(correct - confidence, number, deviation=np.zeros(15), weights=weights)
    for r in range(20):
        v, c, k = repeated(weights[:, r], values, confidence, correct)
        assert means[:, r] == pytest.approx(v.mean(axis=0), abs=1e-5)
        # without deviations there is nothing to debias
        expected = calibration.expected_calibration_error(calibration.reliability_bins(c, k))
        assert plain[r] == pytest.approx(expected, abs=1e-5)


def test_debiased_replicate_of_the_sample_itself_is_the_point_estimate():
    rng = np.random.default_rng(7)
    p, answers = cell(rng)
    confidence, correct = p.max(axis=1), proper.fractional_correct(p, answers)
    diagram = calibration.reliability_bins(confidence, correct)
    found = bootstrap.debiased_error_replicates(
        correct - confidence,
        calibration.bin_numbers(confidence, calibration.equal_width_edges()),
        deviation=calibration.bin_deviations(diagram),
        weights=np.ones((60, 1), dtype=np.float32),
    )
    assert found[0] == pytest.approx(calibration.debiased_calibration_error(diagram), abs=1e-6)


def test_weights_draw_units_with_replacement():
    units = [f"u{i % 25}" for i in range(100)]
    weights = bootstrap.unit_weights(units, replicates=400, seed=3)
    per_unit = weights[:25]
    assert (per_unit.sum(axis=0) == 25).all()  # as many units as there are
    assert (weights[25:50] == per_unit).all()  # items of a unit move together
    assert abs(per_unit.var() - (1 - 1 / 25)) < 0.05  # multinomial, not without replacement
    assert abs(np.corrcoef(per_unit[0], per_unit[1])[0, 1]) < 0.15


def test_draws_are_those_of_the_first_published_results():
    weights = bootstrap.unit_weights([f"u{i // 2}" for i in range(200)], replicates=300, seed=3)
    drawn = hashlib.sha256(np.ascontiguousarray(weights, dtype=np.uint8).tobytes()).hexdigest()
    assert drawn == "d33a59ec6d01ef2498892a88c8c5ba64176f4e2ab1454d56856cccd947c69696"


def test_weights_depend_on_the_units_not_on_their_order():
    units = [f"u{i}" for i in range(30)]
    order = np.random.default_rng(0).permutation(30)
    weights = bootstrap.unit_weights(units, replicates=5)
    shuffled = bootstrap.unit_weights([units[i] for i in order], replicates=5)
    assert np.array_equal(weights[order], shuffled)
    assert not np.array_equal(weights, bootstrap.unit_weights(units, replicates=5, seed=1))


def test_intervals():
    replicates = np.random.default_rng(8).normal(3, 2, 20_000)
    low, high = bootstrap.percentile_interval(replicates)
    assert (low, high) == pytest.approx((3 - 3.92, 3 + 3.92), abs=0.1)
    low, high = bootstrap.normal_interval(10.0, replicates)
    assert (low, high) == pytest.approx((10 - 3.92, 10 + 3.92), abs=0.1)
    some = replicates.copy()
    some[:2000] = np.nan
    assert np.isnan(bootstrap.percentile_interval(some)).all()
    assert np.isnan(bootstrap.normal_interval(0.0, some)).all()
    some[500:2000] = 3.0
    assert np.isfinite(bootstrap.percentile_interval(some)).all()
