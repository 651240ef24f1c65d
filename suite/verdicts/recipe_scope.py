"""Whether a difference is more than another draw of items, and another draw of sample text, would make.

A verdict on a checkpoint is about these weights on other items. One on a recipe is about the weights that it would give
with another draw of its sample text: to the variance of items comes that of one new draw around the mean of m seeds,
s² (1 + 1/m), known from m - 1 degrees of freedom.

The two parts keep their own t quantiles, combined as squares:

    g² = t(p, units - 1)² · var(items) + t(p, m - 1)² · s² (1 + 1/m)

is solved for p. One t quantile at Satterthwaite's degrees of freedom for the sum of both was tried first: with two or
three seeds its degrees of freedom are large just where s² came out small by chance, and it errs in up to 8.3 % (m = 2)
and 6.1 % (m = 3) at 5 %; this in 5.0 % at most (docs/dose.md).

References: W. Howe, "Approximate confidence limits on the mean of X + Y where X and Y are two tabled independent random
variables", JASA 1974; F. Graybill, C.-M. Wang, "Confidence intervals on nonnegative linear combinations of variances",
JASA 1980.
"""

from __future__ import annotations

import math

from suite.arrays import Floats

CHECKPOINT, RECIPE = "checkpoint", "recipe"
"""Scopes of a verdict: these weights; or those that the recipe gives with another draw of its sample text."""

SMALLEST = 1e-15
"""p-values below are given as this one."""


def new_draw_variance(draws: Floats) -> float:
    """Variance of one new draw around the mean of these: s² (1 + 1/m); 0 where there is one draw or none.

    >>> import numpy as np
    >>> round(new_draw_variance(np.array([0.1, 0.2, 0.3])), 6)
    0.013333
    """
    return 0.0 if len(draws) < 2 else float(draws.var(ddof=1)) * (1 + 1 / len(draws))


def p_value(value: float, items_variance: float, freedom: int, draws: Floats) -> float:
    """One-sided p-value of "above zero".

    Args:
        value: what was seen: for several draws, their mean.
        items_variance: of it, from items.
        freedom: degrees of freedom of that variance.
        draws: the value with each seed; fewer than two for a verdict on the checkpoint, which is Student's test.

    >>> import numpy as np
    >>> round(p_value(1.645, 1.0, 10**9, np.zeros(0)), 4)
    0.05
    >>> round(p_value(2.92 * (4 / 3) ** 0.5, 0.0, 999, np.array([-1.0, 0.0, 1.0])), 4)  # t with 2 degrees of freedom
    0.05
    """
    from scipy.optimize import brentq
    from scipy.special import stdtr, stdtrit

    seeds = new_draw_variance(draws)
    if items_variance + seeds <= 0:
        return 0.5 if value == 0 else float(value < 0)
    if seeds == 0:
        return float(stdtr(freedom, -value / math.sqrt(items_variance)))
    if value <= 0:
        return 1 - p_value(-value, items_variance, freedom, draws) if value else 0.5

    def excess(log_p: float) -> float:
        p = math.exp(log_p)
        margin = stdtrit(freedom, p) ** 2 * items_variance + stdtrit(len(draws) - 1, p) ** 2 * seeds
        return float(margin) - value**2

    least = math.log(SMALLEST)
    return SMALLEST if excess(least) <= 0 else math.exp(float(brentq(excess, least, math.log(0.5), xtol=1e-10)))
