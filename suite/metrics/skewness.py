"""One-sided tests of a statistic whose distribution is skew: what Student's t does not see of a few large losses.

Where much of a loss lies on few items, the estimate is skew to the right, and comes out low together with its own
standard error: a sample that holds few of those items says twice that little is lost. Student's t then finds too often
that a limit is kept. Hall's transformation of the statistic takes the skewness out to second order.
"""

from __future__ import annotations

import numpy as np

from suite.arrays import Floats


class Moments:
    """Variance and skewness of any weighted sum of a few statistics, from their joint bootstrap replicates.

    Args:
        replicates: shape [statistics, replicates], all finite, two replicates or more.

    >>> moments = Moments(np.array([[0.0, 0.0, 0.0, 4.0], [1.0, 1.0, 1.0, 1.0]]))
    >>> moments.variance(np.array([1.0, 5.0])), round(moments.skewness(np.array([-1.0, 0.0])), 4)
    (4.0, -0.75)
    """

    def __init__(self, replicates: Floats) -> None:
        apart = replicates - replicates.mean(axis=1, keepdims=True)
        count = len(apart)
        self._second = np.atleast_2d(np.cov(replicates))
        pairs = (apart[:, None, :] * apart[None, :, :]).reshape(count * count, -1)
        self._third = (pairs @ apart.T / replicates.shape[1]).reshape(count, count, count)

    def variance(self, weights: Floats) -> float:
        """Of the sum with these weights, shape [statistics]."""
        return float(weights @ self._second @ weights)

    def skewness(self, weights: Floats) -> float:
        """Third central moment over the cubed standard deviation; 0 for a sum that does not vary."""
        variance = self.variance(weights)
        return 0.0 if variance <= 0 else float(self._third @ weights @ weights @ weights / variance**1.5)


def without_skewness(statistic: float, skewness: float) -> float:
    """A statistic in its estimated standard errors, transformed so that it is nearly normal where its mean is zero.

    Args:
        statistic: estimate over estimated standard error.
        skewness: of the estimate (for a mean of n items, theirs over the root of n), as its bootstrap replicates have.

    Reference: P. Hall, "On the removal of skewness by transformation", JRSS B 1992: monotone, and right to second
    order; its first terms are N. Johnson's modified t test, JASA 1978.

    >>> round(without_skewness(-2.0, 0.3), 3), without_skewness(-2.0, 0.0)
    (-1.577, -2.0)
    """
    if not np.isfinite(statistic):
        return statistic
    return statistic + skewness * statistic**2 / 3 + skewness**2 * statistic**3 / 27 + skewness / 6
