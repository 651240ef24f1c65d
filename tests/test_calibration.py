"""Calibration errors against netcal, brute force and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from suite.metrics import calibration
from suite.metrics.netcal_adapter import netcal_equal_mass, netcal_errors


def brute_force(confidence, correct, edges):
    """(ECE, ACE, MCE) by loops over items and bins."""
    gaps, counts = [], []
    for b in range(len(edges) - 1):
        last = b == len(edges) - 2
        members = [
            (c, r)
            for c, r in zip(confidence.tolist(), correct.tolist(), strict=True)
            if edges[b] <= c and (c < edges[b + 1] or (last and c <= edges[b + 1]))
        ]
        if members:
            gaps.append(abs(sum(r for _, r in members) - sum(c for c, _ in members)) / len(members))
            counts.append(len(members))
    total = sum(counts)
    assert total == len(confidence)
    return sum(g * n for g, n in zip(gaps, counts, strict=True)) / total, sum(gaps) / len(gaps), max(gaps)


def kernel(confidence, correct, **options):
    diagram = calibration.reliability_bins(confidence, correct, **options)
    return (
        calibration.expected_calibration_error(diagram),
        calibration.average_calibration_error(diagram),
        calibration.maximum_calibration_error(diagram),
    )


def random_case(rng):
    n = int(rng.integers(1, 40))
    kind = rng.integers(0, 4)
    confidence = rng.uniform(0.2, 1, n)
    if kind == 1:  # on the edges of bins, and exactly 1
        confidence = rng.integers(3, 16, n) / 15
    if kind == 2:
        confidence = np.round(confidence, 1)
    correct = (rng.random(n) < confidence).astype(float)
    kind = rng.integers(0, 5)
    if kind == 0:
        correct[:] = 1
    if kind == 1:
        correct[:] = 0
    if kind == 2:
        correct = rng.choice([0, 1 / 3, 0.5, 1], n)
    return confidence, correct


def test_errors_equal_netcal_and_brute_force_on_random_small_cases():
    rng = np.random.default_rng(0)
    for trial in range(1500):
        confidence, correct = random_case(rng)
        ours = kernel(confidence, correct)
        assert ours == pytest.approx(brute_force(confidence, correct, np.linspace(0, 1, 16).tolist()), abs=1e-12)
        if trial < 400:
            assert ours == pytest.approx(netcal_errors(confidence, correct), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    confidence=hnp.arrays(float, st.integers(1, 30), elements=st.floats(0, 1)),
    seed=st.integers(0, 1000),
    bins=st.integers(1, 20),
)
def test_errors_equal_brute_force_for_any_confidence_and_number_of_bins(confidence, seed, bins):
    correct = np.random.default_rng(seed).choice([0.0, 0.5, 1.0], len(confidence))
    expected = brute_force(confidence, correct, np.linspace(0, 1, bins + 1).tolist())
    assert kernel(confidence, correct, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_equal_mass_equals_netcal_without_ties_and_brute_force_with_them():
    rng = np.random.default_rng(1)
    compared = 0
    for _ in range(300):
        confidence, correct = random_case(rng)
        ours = kernel(confidence, correct, equal_mass=True)[0]
        edges = np.quantile(confidence, np.linspace(0, 1, 16))
        edges[0], edges[-1] = 0, 1
        merged = sorted(set(edges.tolist()))
        assert ours == pytest.approx(brute_force(confidence, correct, merged)[0], abs=1e-12)
        theirs = netcal_equal_mass(confidence, correct)
        if theirs is not None:
            assert ours == pytest.approx(theirs, abs=1e-9)
            compared += 1
    assert compared > 50


def test_netcal_cannot_bin_tied_quantiles_and_the_kernel_can():
    from netcal.metrics import ECE

    confidence, correct = np.full(60, 0.5), np.arange(60) % 2.0
    with pytest.raises((ValueError, OverflowError, IndexError)):
        ECE(15, equal_intervals=False, detection=True).measure(confidence, correct)
    assert netcal_equal_mass(confidence, correct) is None
    assert kernel(confidence, correct, equal_mass=True)[0] == 0.0


def test_netcal_takes_fractions_for_labels_unless_told_not_to():
    from netcal.metrics import ECE

    confidence, correct = np.full(30, 0.8), np.tile([0.0, 0.5, 1.0], 10)
    assert netcal_errors(confidence, correct)[0] == pytest.approx(0.3)
    # it compares the position of the only column, 0, with the "label"
    assert ECE(15).measure(confidence.copy(), correct.copy()) == pytest.approx(0.8 - 1 / 3)


def test_netcal_reads_a_matrix_of_two_classes_as_the_second_one():
    from netcal.metrics import ECE

    p = np.tile([[0.9, 0.1]], (50, 1))
    answers = np.zeros(50, dtype=int)
    assert ECE(15).measure(p.copy(), answers) == pytest.approx(0.1)  # of the event "class 1", confidence 0.1
    p[:, 0], p[:, 1] = 0.45, 0.55
    # the top option is always wrong, at confidence 0.55: top-label ECE 0.55; netcal has the same only by symmetry
    assert netcal_errors(p.max(axis=1), np.zeros(50))[0] == pytest.approx(0.55)
    answers = np.tile([0, 1], 25)
    p[::2] = [0.9, 0.1]
    p[1::2] = [0.1, 0.9]
    assert ECE(15).measure(p.copy(), answers) == pytest.approx(netcal_errors(p.max(axis=1), np.ones(50))[0])
    p[::2] = [0.6, 0.4]
    p[1::2] = [0.4, 0.6]
    answers = np.tile([0, 0, 1, 1], 13)[:50]
    top = netcal_errors(p.max(axis=1), (p.argmax(axis=1) == answers).astype(float))
    assert ECE(15).measure(p.copy(), answers) == pytest.approx(top[0], abs=0.05)
    assert kernel(p.max(axis=1), (p.argmax(axis=1) == answers).astype(float)) == pytest.approx(top, abs=1e-9)


def test_confidence_of_one_belongs_to_the_last_bin():
    diagram = calibration.reliability_bins(np.array([1.0, 1.0]), np.array([1.0, 0.0]))
    assert diagram.count.tolist() == [0] * 14 + [2]
    assert diagram.accuracy[-1] == 0.5
    assert np.isnan(diagram.accuracy[:-1]).all()
    assert calibration.expected_calibration_error(diagram) == 0.5


def test_debiased_error_against_simulated_folded_normals():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.3, 1, 300)
    correct = (rng.random(300) < confidence**2).astype(float)
    diagram = calibration.reliability_bins(confidence, correct)
    used = diagram.count > 0
    n, accuracy, mean = diagram.count[used], diagram.accuracy[used], diagram.confidence[used]
    resampled = rng.normal(accuracy, np.sqrt(accuracy * (1 - accuracy) / n), (200_000, len(n)))
    expected = 2 * (n * np.abs(accuracy - mean)).sum() / 300
    expected -= (n * np.abs(resampled - mean)).sum(axis=1).mean() / 300
    assert calibration.debiased_calibration_error(diagram) == pytest.approx(expected, abs=5e-4)


def test_debiasing_removes_most_of_the_bias():
    rng = np.random.default_rng(3)
    plain, debiased = [], []
    for _ in range(300):
        confidence = rng.uniform(0.3, 0.95, 200)
        correct = (rng.random(200) < confidence - 0.1).astype(float)
        diagram = calibration.reliability_bins(confidence, correct)
        plain.append(calibration.expected_calibration_error(diagram))
        debiased.append(calibration.debiased_calibration_error(diagram))
    assert np.mean(plain) - 0.1 > 0.015
    assert abs(np.mean(debiased) - 0.1) < 0.4 * (np.mean(plain) - 0.1)


def test_folded_normal_mean_against_a_quadrature():
    from scipy.integrate import quad

    for mean, deviation in ((0.0, 1.0), (0.3, 0.2), (-2.0, 0.5)):

        def density(x, mean=mean, deviation=deviation):
            return abs(x) * math.exp(-(((x - mean) / deviation) ** 2) / 2) / deviation / math.sqrt(2 * math.pi)

        expected = quad(density, mean - 10 * deviation, mean + 10 * deviation, points=[0.0])[0]
        found = calibration.folded_normal_mean(np.array([mean]), np.array([deviation]))[0]
        assert found == pytest.approx(expected, abs=1e-7)


def test_classwise_error_against_a_loop():
    rng = np.random.default_rng(4)
    p = rng.dirichlet(np.ones(4), 200)
    p[:50, 3] = 0
    p /= p.sum(axis=1, keepdims=True)
    p[:50, 3] = np.nan  # these items have three options
    answers = np.array([rng.integers(0, 3 if i < 50 else 4) for i in range(200)])
    errors = []
    for k in range(4):
        have = ~np.isnan(p[:, k])
        edges = np.linspace(0, 1, 16).tolist()
        errors.append(brute_force(p[have, k], (answers[have] == k).astype(float), edges)[0])
    assert calibration.classwise_calibration_error(p, answers) == pytest.approx(np.mean(errors), abs=1e-12)


def test_confidence_gap_is_signed():
    confidence = np.array([0.9, 0.9])
    assert calibration.confidence_gap(confidence, np.array([1.0, 0.0])) == pytest.approx(0.4)
    assert calibration.confidence_gap(confidence, np.array([1.0, 1.0])) == pytest.approx(-0.1)


def softmax_log(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def test_temperature_recovers_a_known_one():
    rng = np.random.default_rng(5)
    z = rng.normal(0, 1.5, (40_000, 4))
    answers = (z + rng.gumbel(size=z.shape)).argmax(axis=1)  # softmax(z) is the truth
    for true in (0.5, 1.0, 2.5):
        assert calibration.fit_temperature(softmax_log(z * true), answers) == pytest.approx(true, rel=0.03)


def test_temperature_minimizes_the_loss_over_a_fine_grid():
    rng = np.random.default_rng(6)
    log_p = softmax_log(rng.normal(0, 3, (60, 5)))
    answers = rng.integers(0, 5, 60)
    found = calibration.fit_temperature(log_p, answers)

    def loss(temperature):
        return -calibration.rescale(log_p, temperature)[np.arange(60), answers].mean()

    grid = np.exp(np.linspace(np.log(0.01), np.log(100), 4001))
    assert loss(found) <= min(loss(t) for t in grid) + 1e-7


@pytest.mark.parametrize(("confidence", "right"), [(0.99, 14), (0.9, 19), (0.6, 12), (0.55, 19)])
def test_temperature_is_the_closed_form_to_the_last_digits(confidence, right):
    """Two options, all with one confidence q, a share a of them right: the best T has logit(q) / T = logit(a)."""
    log_p = np.log(np.tile([[confidence, 1 - confidence]], (20, 1)))
    answers = (np.arange(20) >= right).astype(int)
    share = right / 20
    wanted = np.log(confidence / (1 - confidence)) / np.log(share / (1 - share))
    assert calibration.fit_temperature(log_p, answers) == pytest.approx(wanted, rel=1e-10)


def test_temperature_ends_at_its_bounds_and_ignores_impossible_answers():
    sure = softmax_log(np.tile([[3.0, 0.0]], (20, 1)))
    assert calibration.fit_temperature(sure, np.zeros(20, dtype=int)) == pytest.approx(0.01)
    assert calibration.fit_temperature(sure, np.ones(20, dtype=int)) == pytest.approx(100)
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([[0.9, 0.1, 0.0]] * 30))
    answers = np.array([0, 1] * 15)
    with_impossible = np.concatenate([answers[:-5], np.full(5, 2)])
    assert calibration.fit_temperature(log_p, with_impossible) == pytest.approx(
        calibration.fit_temperature(log_p[:25], answers[:25]), rel=1e-3
    )


@pytest.mark.parametrize(
    ("log_p", "answers"),
    [
        (np.where(np.eye(4) > 0, 0.0, -np.inf), np.arange(4)),  # one possible option, and right
        (np.where(np.eye(4) > 0, 0.0, -np.inf), np.array([0, 1, 1, 3])),  # one of them impossible: left out
        (np.where(np.eye(4) > 0, 0.0, -131008.0), np.arange(4)),  # the ends of 16-bit floats, all right
        (np.full((4, 4), -np.log(4)), np.arange(4)),  # all options tie
        (np.where(np.eye(4) > 0, 0.0, -np.inf), np.array([1, 2, 3, 0])),  # no item is left
    ],
)
def test_no_temperature_where_none_is_better_than_another(log_p, answers):
    assert np.isnan(calibration.fit_temperature(log_p, answers))


def test_a_loss_that_depends_on_the_temperature_a_little_has_one():
    log_p = softmax_log(np.tile([[2000.0, 0.0]], (20, 1)))
    assert calibration.fit_temperature(log_p, np.zeros(20, dtype=int)) == pytest.approx(0.01)
    assert calibration.fit_temperature(softmax_log(np.tile([[1e-4, 0.0]], (20, 1))), np.arange(20) % 2) == 100


def test_rescaling_keeps_impossible_options_and_sums_to_one():
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([[0.7, 0.3, 0.0]]))
    p = np.exp(calibration.rescale(log_p, 3.0))
    assert p.sum() == pytest.approx(1)
    assert p[0, 2] == 0
    assert p[0, 0] / p[0, 1] == pytest.approx((7 / 3) ** (1 / 3))
