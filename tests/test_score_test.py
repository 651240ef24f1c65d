"""The score test's likeliest distribution, against scipy's root finder and against maximization itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from suite.metrics.score_test import Stratum, effective_number, score_statistic


def by_root(values: np.ndarray, low: float, high: float) -> float:
    """One stratum of single items: the mean over the standard error at mean zero, the root found by scipy."""
    if not low < 0 < high:
        return float(np.copysign(np.inf, values.mean()))

    def balance(slope: float) -> float:
        return float((values / (1 + slope * values)).mean())

    first, last = -1 / high, -1 / low
    margin = 1e-9 * (last - first)
    if balance(first + margin) <= 0:
        slope, end = first + margin, high
    elif balance(last - margin) >= 0:
        slope, end = last - margin, low
    else:
        slope, end = brentq(balance, first + margin, last - margin, xtol=1e-15), None
    weights = 1 / (1 + slope * values) / len(values)
    spread = (weights * values**2).sum()
    if end is not None:
        spread += max(-(weights * values).sum() / end, 0.0) * end**2
    return float(values.mean() / np.sqrt(spread / len(values)))


def samples() -> list[tuple[np.ndarray, float, float]]:
    rng = np.random.default_rng(0)
    found = [
        (np.array([1.0] * 10 + [-1.0] * 2 + [0.0] * 32), -1.0, 1.0),
        (np.array([0.3] + [-0.001] * 400), -1.0, 1.0),  # a root next to the end of what is possible
        # a step from the middle leaves what is possible
        (np.repeat([-0.86, 0.26, 0.27], [9, 54, 71]), -1.0, 1.0),
        (np.repeat([-0.84, 0.2, 0.32], [4, 53, 9]), -1.0, 1.0),
        (np.array([1.0] * 50), -1.0, 1.0),  # nothing on the other side
        (np.array([-1e-9] * 50 + [1e-9] * 49), -1.0, 1.0),
    ]
    for share in (0.0, 0.05, 0.25, 0.9):
        for n in (3, 50, 2000):
            values = (rng.random(n) < 0.3) - (1 - share) * (rng.random(n) < 0.35) - share * 0.25
            found.append((values, -1.0 - share, 1.0))
            found.append((np.round(rng.normal(0.05, 0.3, n).clip(-1, 1), 2), -1.0, 1.0))
    return found


@pytest.mark.parametrize(("values", "low", "high"), samples())
def test_the_statistic_equals_that_of_another_root_finder(values: np.ndarray, low: float, high: float) -> None:
    found = score_statistic([Stratum(values, np.arange(len(values)), low, high)])
    expected = 0.0 if values.mean() == 0 else by_root(values, low, high)
    assert found == pytest.approx(expected, rel=1e-7)


def test_the_distribution_is_the_likeliest_one_of_its_mean() -> None:
    values, counts = np.array([-1.0, 0.0, 1.0]), np.array([2, 32, 10])
    whole = np.repeat(values, counts)

    def surprise(p: np.ndarray) -> float:
        return float(-(counts * np.log(p)).sum())

    rules = [{"type": "eq", "fun": lambda p: p.sum() - 1}, {"type": "eq", "fun": lambda p: p @ values}]
    best = minimize(
        surprise, counts / counts.sum(), bounds=[(1e-6, 1)] * 3, constraints=rules, options={"ftol": 1e-14}
    ).x
    expected = whole.mean() / np.sqrt(best @ values**2 / len(whole))
    assert score_statistic([Stratum(whole, np.arange(44), -1.0, 1.0)]) == pytest.approx(expected, rel=1e-5)


def test_units_count_where_their_numbers_have_gaps() -> None:
    values = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    dense, sparse = np.array([0, 0, 1, 1, 2]), np.array([7, 7, 90, 90, 3])
    assert effective_number(values, dense) == effective_number(values, sparse) < 5
