"""Tests of skew statistics: against the definitions, and how often they are wrong where few items decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from suite.metrics.skewness import Moments, without_skewness
from suite.verdicts.dose import Ladder, find_doses


@pytest.mark.parametrize("seed", range(3))
def test_moments_are_those_of_the_weighted_sum(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, weights = generator.gamma(0.7, size=(4, 300)), generator.normal(size=4)
    together = weights @ rows
    moments = Moments(rows)
    assert moments.variance(weights) == pytest.approx(together.var(ddof=1))
    expected = stats.skew(together) * ((300 - 1) / 300) ** 1.5
    assert moments.skewness(weights) == pytest.approx(expected)
    assert Moments(np.ones((2, 5))).skewness(np.ones(2)) == 0


@given(st.floats(-8, 8), st.floats(0.001, 3), st.floats(0, 1), st.booleans())
def test_the_transformation_is_monotone_and_odd(statistic: float, step: float, skewness: float, left: bool) -> None:
    """A larger statistic is never read as a smaller one, and a mirrored one is read mirrored."""
    skew = -skewness if left else skewness
    assert without_skewness(statistic + step, skew) >= without_skewness(statistic, skew) - 1e-12
    assert without_skewness(-statistic, -skew) == pytest.approx(-without_skewness(statistic, skew))


def test_it_is_johnsons_modified_t_to_first_order() -> None:
    """(mean + third / (6 s^2 n) + third (mean)^2 / (3 s^4)) / (s / sqrt(n)), for small skewness."""
    mean, s, n, third = -0.3, 1.7, 5000, 0.4
    modified = (mean + third / (6 * s**2 * n) + third * mean**2 / (3 * s**4)) / (s / n**0.5)
    assert without_skewness(mean / (s / n**0.5), third / s**3 / n**0.5) == pytest.approx(modified, abs=2e-3)


def test_rare_losses_are_not_overlooked() -> None:
    """Of a mean of gamma values as skew as a loss on few items: Student's t says "below" too often."""
    generator = np.random.default_rng(3)
    n, draws, shape = 400, 20_000, 0.05
    values = generator.gamma(shape, size=(draws, n))
    apart = values - values.mean(axis=1, keepdims=True)
    spread = apart.std(axis=1, ddof=1)
    statistic = (values.mean(axis=1) - shape) / (spread / n**0.5)
    skewness = (apart**3).mean(axis=1) / spread**3 / n**0.5
    edge = stats.t.ppf(0.05, n - 1)
    corrected = [without_skewness(*one) for one in zip(statistic.tolist(), skewness.tolist(), strict=True)]
    assert (statistic < edge).mean() > 0.09
    assert (np.array(corrected) < edge).mean() < 0.062


@pytest.mark.parametrize(("mirror", "kept"), [(1, False), (-1, True)])
def test_kept_is_said_without_the_skewness_of_losses(mirror: int, kept: bool) -> None:
    """Two curves with one spread: rare large losses take a claim away, rare large gains give none beyond Student's."""
    generator = np.random.default_rng(0)
    noise = generator.gamma(8, size=2000)
    noise = mirror * (noise - noise.mean()) / noise.std(ddof=1)  # skewness .7 or -.7
    values = np.array([0.3, 0.3])
    spread = 0.05 * 0.45 / 1.8  # 1.8 standard errors below the tolerance
    replicates = np.stack([np.full(2000, 0.3), 0.3 + spread * noise])
    curve = Ladder(("dense", "rtn-w4"), values, replicates, 0.75, np.full(2000, 0.75), 100_000)
    assert (find_doses(curve, tied=True)[0.05].kept_through is not None) == kept
    high = find_doses(curve, tied=True)[0.05].levels[0].high
    assert high is not None
    assert (high < 0.05) == kept
    plain = replace(curve, replicates=np.stack([np.full(2000, 0.3), 0.3 + spread * np.tile([-1.0, 1.0], 1000)]))
    reach = find_doses(plain, tied=True)[0.05].levels[0].high
    assert reach == pytest.approx(1.645 * 0.05 / 1.8, rel=0.01)
    assert high >= reach * 0.99
