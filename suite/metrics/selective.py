"""Selective prediction: what is gained by leaving the least confident items to somebody else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suite.arrays import Floats
from suite.metrics.proportions import exact_interval


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve: entry k is about answering the k + 1 most confident items.

    Attributes:
        answered: fraction answered (the "coverage" of selective prediction, no relation to conformal coverage), shape
        [n]. risk: error rate among them, averaged over the orders of items whose confidence ties, shape [n].
    """

    answered: Floats
    risk: Floats


def risk_coverage(confidence: Floats, error: Floats) -> RiskCoverage:
    """Error rate among the most confident items, for every number of items answered.

    Args:
        confidence: any score that ranks, higher is surer, shape [n].
        error: 1 minus correct, in [0, 1], shape [n].

    Reference: R. El-Yaniv, Y. Wiener, "On the foundations of noise-free selective classification", JMLR 2010.

    >>> risk_coverage(np.array([0.9, 0.5]), np.array([0.0, 1.0])).risk.tolist()
    [0.0, 0.5]
    """
    n = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], error[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sizes = np.diff(np.r_[starts, n])
    # Within a block of ties every order is as likely, so each place holds the mean error of its block.
    means = np.add.reduceat(errors, starts) / sizes
    answered = np.arange(1, n + 1)
    return RiskCoverage(answered / n, np.repeat(means, sizes).cumsum() / answered)


def aurc(confidence: Floats, error: Floats) -> float:
    """Area under the risk-coverage curve: the mean of its risks. In [0, 1], lower is better.

    It mixes how often the model is right with how well it knows when: a more accurate model has a lower AURC at equal
    ranking. `excess_aurc` takes that part out.

    Reference: Y. Geifman, G. Uziel, R. El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers",
    ICLR 2019.

    >>> aurc(np.array([0.9, 0.5]), np.array([0.0, 1.0]))
    0.25
    """
    return float(risk_coverage(confidence, error).risk.mean())


def excess_aurc(confidence: Floats, error: Floats) -> float:
    """AURC minus that of an oracle which ranks the same items by their error. At least 0, lower is better.

    >>> excess_aurc(np.array([0.5, 0.9]), np.array([0.0, 1.0]))
    0.5
    """
    return aurc(confidence, error) - aurc(-error, error)


def error_auroc(confidence: Floats, error: Floats) -> float:
    """Probability that a right item is more confident than a wrong one, ties counted half. 0.5 is no better than
    chance.

    An item that is right by a fraction counts by that fraction on the right side and by the rest on the wrong side.
    NaN when there is no error or nothing but errors.

    Reference: D. Hendrycks, K. Gimpel, "A baseline for detecting misclassified and out-of-distribution examples",
    ICLR 2017.

    >>> error_auroc(np.array([0.9, 0.6, 0.7]), np.array([0.0, 0.0, 1.0]))
    0.5
    """
    wrong = error.sum()
    right = len(error) - wrong
    if wrong <= 0 or right <= 0:
        return float("nan")
    order = np.argsort(confidence, kind="stable")
    ranked, errors = confidence[order], error[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    wrongs = np.add.reduceat(errors, starts)
    rights = np.add.reduceat(1 - errors, starts)
    below = wrongs.cumsum() - wrongs
    return float((rights * (below + wrongs / 2)).sum() / (wrong * right))


def accuracy_at(confidence: Floats, error: Floats, *, answered: float = 0.8) -> float:
    """Accuracy on the most confident fraction `answered` of the items (rounded up to whole items).

    >>> accuracy_at(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([0.0, 0, 0, 0, 1]))
    1.0
    """
    count = max(1, int(np.ceil(answered * len(confidence) - 1e-9)))
    return float(1 - risk_coverage(confidence, error).risk[count - 1])


@dataclass(frozen=True)
class Deferral:
    """A rule "answer when the confidence is at least `threshold`, else defer".

    Attributes:
        threshold: on the confidence; +inf when no rule keeps the wanted error rate, and everything is deferred.
        answered: fraction of these items answered.
        error: error rate among them; NaN when none is answered.
        bound: upper confidence bound of that error rate, valid for the chosen rule; NaN when none is answered.
    """

    threshold: float
    answered: float
    error: float
    bound: float


def deferral_threshold(
    confidence: Floats, error: Floats, *, wanted_error: float, delta: float = 0.05, candidates: int = 20
) -> Deferral:
    """The lowest threshold whose error rate is at most `wanted_error`, sure with probability 1 - delta.

    Candidate thresholds answer 1/candidates, 2/candidates, ... of the items (and whatever ties). Each gets a
    Clopper-Pearson upper bound at level delta / candidates, so that all bounds hold together and the best candidate
    may be picked by looking. The bound is for items exchangeable with these; fractions of an error are rounded up.

    Reference: Y. Geifman, R. El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017, with a
    Bonferroni correction over a fixed grid in place of their binary search.

    >>> confidence = np.linspace(0, 1, 1000)
    >>> rule = deferral_threshold(confidence, (confidence < 0.5).astype(float), wanted_error=0.1)
    >>> rule.answered, rule.bound < 0.1
    (0.5, True)
    """
    n = len(confidence)
    ranked = np.sort(confidence)[::-1]
    best = Deferral(float("inf"), 0.0, float("nan"), float("nan"))
    for step in range(1, candidates + 1):
        threshold = ranked[int(np.ceil(step * n / candidates - 1e-9)) - 1]
        kept = confidence >= threshold
        count = int(kept.sum())
        wrong = int(np.ceil(error[kept].sum() - 1e-9))
        _, bound = exact_interval(wrong, count, level=1 - 2 * delta / candidates)
        if bound <= wanted_error:
            best = Deferral(float(threshold), count / n, float(error[kept].mean()), bound)
    return best


def cheapest_threshold(confidence: Floats, error: Floats, *, cost_wrong: float, cost_review: float) -> float:
    """The threshold at which answering from that confidence on costs least: a wrong answer costs `cost_wrong`, an item
    that is deferred `cost_review`, a right answer nothing.

    Args:
        confidence: any score that ranks, higher is surer, shape [n].
        error: 1 minus correct, in [0, 1], shape [n].

    Returns:
        A confidence of these items, or +inf where deferring everything is cheapest. Of thresholds that cost the same
        the highest, which defers more. It was picked for being cheap here, so here it looks cheaper than it is: other
        items must say what it costs.

    Reference: C. K. Chow, "On optimum recognition error and reject tradeoff", IEEE Transactions on Information Theory
    1970, for the rule; the threshold itself is that of the smallest mean cost seen.

    >>> cheapest_threshold(np.array([0.9, 0.8, 0.4]), np.array([0.0, 0.0, 1.0]), cost_wrong=10, cost_review=2)
    0.8
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    answered = ends + 1
    # In reviews, and rounded, so that equal costs are equal whatever the units and the processor.
    costs = error[order].cumsum()[ends] * (cost_wrong / cost_review) + (len(ranked) - answered)
    best = int(np.argmin(np.round(np.r_[float(len(ranked)), costs], 9)))
    return float("inf") if best == 0 else float(ranked[ends[best - 1]])
