"""A variant against the dense model it came from, item by item: the same items, the same folds, the same draws."""

from __future__ import annotations

import numpy as np

from suite.arrays import Bools, Floats

DETECTABLE = 2.8015852
"""z(0.975) + z(0.8): standard errors a true change must have to be found at level 0.05 in 80 % of repetitions."""


def flips(dense_correct: Bools, variant_correct: Bools) -> tuple[int, int]:
    """(right to wrong, wrong to right) counts.

    Accuracy can stay while many answers flip both ways.

    >>> flips(np.array([True, True, False]), np.array([False, False, True]))
    (2, 1)
    """
    return int((dense_correct & ~variant_correct).sum()), int((~dense_correct & variant_correct).sum())


def mcnemar_p(to_wrong: int, to_right: int) -> float:
    """McNemar's exact two-sided p-value: are flips both ways equally likely? 1 when nothing flips.

    Reference: Q. McNemar, Psychometrika 1947; exact binomial form. Items in groups are not independent, and then it
    is too small.

    >>> round(mcnemar_p(9, 1), 4)
    0.0215
    """
    from scipy.stats import binomtest

    total = to_wrong + to_right
    return float(binomtest(to_wrong, total, 0.5).pvalue) if total else 1.0


def kl_divergence(dense: Floats, variant: Floats) -> Floats:
    """KL(dense || variant) of each item in nats, shape [n]; 0 when equal; infinite where the variant rules out what
    dense does not.

    Args:
        dense, variant: log probabilities, shape [n, options]; -inf for impossible and missing options.

    Reference: S. Kullback, R. Leibler, Annals of Mathematical Statistics 1951.

    >>> kl_divergence(np.log(np.array([[0.5, 0.5]])), np.log(np.array([[0.9, 0.1]]))).round(4).tolist()
    [0.5108]
    """
    possible = np.isfinite(dense)
    with np.errstate(invalid="ignore"):
        terms = np.exp(dense) * np.where(possible, dense - variant, 0.0)
    # Rounding can leave -1e-17 where the two agree.
    return np.asarray(np.maximum(np.where(possible, terms, 0.0).sum(axis=1), 0.0))


def js_divergence(dense: Floats, variant: Floats) -> Floats:
    """Jensen-Shannon divergence of each item in nats, shape [n], in [0, log 2]: symmetric and always finite.

    Reference: J. Lin, IEEE Transactions on Information Theory 1991.

    >>> js_divergence(np.array([[0.0, -np.inf]]), np.array([[-np.inf, 0.0]])).round(4).tolist()
    [0.6931]
    """
    middle = np.logaddexp(dense, variant) - np.log(2)
    return (kl_divergence(dense, middle) + kl_divergence(variant, middle)) / 2


def rank_correlation(dense: Floats, variant: Floats) -> float:
    """Spearman's correlation of two confidences over the same items; NaN when one of them is constant.

    1 means that both models are sure of the same items, whatever the level.

    >>> rank_correlation(np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.4, 0.5])).__round__(6)
    1.0
    """
    from scipy.stats import rankdata

    first, second = rankdata(dense), rankdata(variant)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def minimum_detectable(standard_error: float) -> float:
    """The smallest true change that a two-sided test at level 0.05 finds in 80 % of repetitions, 2.8 standard errors.

    Beside every change: "no change found" says little when this is large.

    >>> round(minimum_detectable(0.01), 4)
    0.028
    """
    return DETECTABLE * standard_error


def undercoverage_over_splits(p_values: Floats) -> float:
    """One p-value out of those of several splits of the same items: twice their mean, at most 1.

    Valid whatever the dependence between splits. Reference: V. Vovk, R. Wang, "Combining p-values via averaging",
    Biometrika 2020.

    >>> undercoverage_over_splits(np.array([0.01, 0.03]))
    0.04
    """
    return min(1.0, 2 * float(np.mean(p_values)))
