"""Calibration error: does a confidence of 0.7 mean right seven times in ten?

Confidence is the probability of the most likely option; `correct` is 1 or 0, or a fraction where the most likely
options tie (one over the number tied, when the right one is among them). Bins are [lower, upper), the last one
closed, as in netcal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Floats, Numbers

BINS = 15
TEMPERATURE_BOUNDS = (0.01, 100.0)


@dataclass(frozen=True)
class ReliabilityBins:
    """A reliability diagram as numbers, one entry a bin.

    Attributes:
        lower, upper: edges.
        count: items in the bin.
        confidence, accuracy: their means over the items of the bin; NaN in an empty bin.
    """

    lower: Floats
    upper: Floats
    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def equal_width_edges(bins: int = BINS) -> Floats:
    """Edges 0, 1/bins, ..., 1."""
    return np.linspace(0.0, 1.0, bins + 1)


def equal_mass_edges(confidence: Floats, *, bins: int = BINS) -> Floats:
    """Edges at the quantiles of the confidence, the outer ones moved to 0 and 1.

    Where many items share a confidence, quantiles coincide; such edges are merged, which leaves fewer bins.

    >>> equal_mass_edges(np.array([0.5, 0.5, 0.5, 0.9]), bins=4).round(2).tolist()
    [0.0, 0.5, 0.6, 1.0]
    """
    edges = np.quantile(confidence, np.linspace(0.0, 1.0, bins + 1))
    edges[0], edges[-1] = 0.0, 1.0
    return np.unique(edges)


def bin_numbers(confidence: Floats, edges: Floats) -> Numbers:
    """Which bin each confidence is in: [lower, upper), the last bin closed."""
    return np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)


def reliability_bins(
    confidence: Floats, correct: Floats, *, bins: int = BINS, equal_mass: bool = False
) -> ReliabilityBins:
    """The reliability diagram.

    Args:
        confidence: in [0, 1], shape [n], n at least 1.
        correct: in [0, 1], shape [n].
        bins: number of bins.
        equal_mass: edges at quantiles of the confidence instead of equal widths.

    Reference: M. DeGroot, S. Fienberg, "The comparison and evaluation of forecasters", The Statistician 1983.

    >>> reliability_bins(np.array([0.9, 0.8, 0.3]), np.array([1.0, 0.0, 0.0]), bins=2).accuracy.tolist()
    [0.0, 0.5]
    """
    edges = equal_mass_edges(confidence, bins=bins) if equal_mass else equal_width_edges(bins)
    number = bin_numbers(confidence, edges)
    width = len(edges) - 1
    count = np.bincount(number, minlength=width)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(number, weights=confidence, minlength=width) / count
        mean_correct = np.bincount(number, weights=correct, minlength=width) / count
    return ReliabilityBins(edges[:-1], edges[1:], count.astype(np.int64), mean_confidence, mean_correct)


def expected_calibration_error(diagram: ReliabilityBins) -> float:
    """ECE: mean over items of |accuracy - confidence| of the item's bin. In [0, 1], lower is better.

    Inflated at small n, because chance alone separates accuracy from confidence in a bin: compare models at equal n,
    or use `debiased_calibration_error`. A model that answers at random with confidence 1/K everywhere has an ECE of
    zero.

    Reference: M. Naeini, G. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015.

    >>> diagram = reliability_bins(np.array([0.9, 0.9]), np.array([1.0, 0.0]))
    >>> round(expected_calibration_error(diagram), 3)
    0.4
    """
    return float((_gaps(diagram) * diagram.count).sum() / diagram.count.sum())


def average_calibration_error(diagram: ReliabilityBins) -> float:
    """ACE as netcal defines it: the unweighted mean of |accuracy - confidence| over the bins that hold items.

    A bin of one item weighs as much as a bin of a thousand, so it is noisy. (Nixon et al. 2019 use the same letters
    for an equal-mass, class-wise error.)

    >>> average_calibration_error(reliability_bins(np.array([0.9, 0.9, 0.5]), np.array([1.0, 1.0, 0.0])))
    0.3
    """
    return float(_gaps(diagram)[diagram.count > 0].mean())


def maximum_calibration_error(diagram: ReliabilityBins) -> float:
    """MCE: the largest |accuracy - confidence| of any bin that holds items; governed by the emptiest bin.

    >>> maximum_calibration_error(reliability_bins(np.array([0.9, 0.9, 0.5]), np.array([1.0, 1.0, 0.0])))
    0.5
    """
    return float(_gaps(diagram).max())


def bin_deviations(diagram: ReliabilityBins) -> Floats:
    """Standard error of the number of right answers of each bin, sqrt(n_b accuracy (1 - accuracy)); 0 in empty bins."""
    accuracy = np.where(diagram.count > 0, diagram.accuracy, 0.0)
    return np.asarray(np.sqrt(diagram.count * accuracy * (1 - accuracy)))


def debiased_calibration_error(diagram: ReliabilityBins) -> float:
    """ECE less an estimate of its small-sample bias. Lower is better; can be slightly negative near perfect
    calibration.

    In bin b the gap g_b = accuracy - confidence has standard error s_b = sqrt(accuracy (1 - accuracy) / n_b). Were
    g_b the true gap, the expected |gap| of a new sample would be the mean of a folded normal, E|N(g_b, s_b^2)|, and
    its excess over |g_b| estimates the bias: 2 |g_b| - E|N(g_b, s_b^2)|, averaged over items. About half of the bias
    remains where the true gaps are small against s_b.

    Reference: A. Kumar, P. Liang, T. Ma, "Verified uncertainty calibration", NeurIPS 2019 (its estimator for the l1
    error, in closed form).

    >>> rng = np.random.default_rng(0)
    >>> confidence = rng.uniform(0.3, 0.9, 200)
    >>> diagram = reliability_bins(confidence, (rng.random(200) < confidence).astype(float))
    >>> debiased_calibration_error(diagram) < expected_calibration_error(diagram)
    True
    """
    size = _gaps(diagram) * diagram.count
    return float((2 * size - folded_normal_mean(size, bin_deviations(diagram))).sum() / diagram.count.sum())


def folded_normal_mean(mean: Floats, deviation: Floats) -> Floats:
    """E|X| for X normal; |mean| where the deviation is zero.

    >>> folded_normal_mean(np.array([0.0, 2.0]), np.array([1.0, 0.0])).round(4).tolist()
    [0.7979, 2.0]
    """
    from scipy.special import ndtr

    spread = np.where(deviation > 0, deviation, 1.0)
    ratio = mean / spread
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * (1 - 2 * ndtr(-ratio))
    return np.asarray(np.where(deviation > 0, folded, np.abs(mean)))


def classwise_calibration_error(probabilities: Floats, answers: NDArray[np.int64], *, bins: int = BINS) -> float:
    """Mean over option positions k of the ECE of the forecast p_k for the event "option k is right". Lower is better.

    In multiple-choice tasks a class is a position (A, B, ...), so this shows a preference for letters. Position k
    counts the items that have it; positions weigh alike.

    Args:
        probabilities: shape [n, options], NaN where there is no such option.

    Reference: M. Kull et al., "Beyond temperature scaling", NeurIPS 2019.

    >>> classwise_calibration_error(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    0.5
    """
    errors = []
    for position in range(probabilities.shape[1]):
        forecast = probabilities[:, position]
        present = ~np.isnan(forecast)
        happened = (answers[present] == position).astype(np.float64)
        if present.any():
            errors.append(expected_calibration_error(reliability_bins(forecast[present], happened, bins=bins)))
    return float(np.mean(errors))


def confidence_gap(confidence: Floats, correct: Floats) -> float:
    """Mean confidence minus accuracy: above 0 overconfident, below 0 underconfident, in [-1, 1].

    Errors of opposite sign cancel, so 0 does not mean calibrated.

    >>> round(confidence_gap(np.array([0.9, 0.7]), np.array([1.0, 0.0])), 3)
    0.3
    """
    return float(np.mean(confidence) - np.mean(correct))


def fit_temperature(log_probabilities: Floats, answers: NDArray[np.int64]) -> float:
    """The temperature T that minimizes the NLL of softmax(log p / T), within `TEMPERATURE_BOUNDS`.

    Above 1 means the model was overconfident. Items whose right option has probability zero have an infinite NLL at
    every T and are left out. When all items are right the NLL falls as T does, and T ends at the lower bound; when
    confidence carries no information T ends at the upper bound.

    Args:
        log_probabilities: shape [n, options]; -inf for impossible and missing options.

    Returns:
        T; NaN when no T is better than another: no item is left, or the NLL is the same (to 1e-12) at every T, as it is
        where every item has one possible option, or where all its options tie.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML 2017.

    >>> log_p = np.log(np.array([[0.99, 0.01]] * 4))
    >>> fit_temperature(log_p, np.array([0, 0, 0, 1])) > 2
    True
    """
    from scipy.optimize import brentq

    right = log_probabilities[np.arange(len(answers)), answers]
    usable = np.isfinite(right)
    if not usable.any():
        return float("nan")
    scores = np.asfortranarray(log_probabilities[usable])  # option by option: sums over them are additions of columns
    possible = np.isfinite(scores)
    # The largest log probability is at most 0 and at least -log K: no overflow at any scale within the bounds.
    top = scores.max(axis=1, keepdims=True)
    below = np.where(possible, scores - top, 0.0)
    chosen = right[usable] - top[:, 0]

    def slope(log_temperature: float) -> float:
        """Derivative of the NLL by 1 / T: the mean score that softmax(log p / T) expects, less that of the answers."""
        parts = np.where(possible, np.exp(below * np.exp(-log_temperature)), 0.0)
        return float(((parts * below).sum(axis=1) / parts.sum(axis=1) - chosen).mean())

    def loss(log_temperature: float) -> float:
        scaled = below * np.exp(-log_temperature)
        parts = np.where(possible, np.exp(scaled), 0.0)
        return float((np.log(parts.sum(axis=1)) - chosen * np.exp(-log_temperature)).mean())

    # The NLL is convex in 1 / T, so its slope changes sign once at most, and it is highest at one of the bounds. A root
    # is found to the last digits; the place of a minimum would be found to half of them, and on another processor to
    # other ones.
    low, high = np.log(TEMPERATURE_BOUNDS)
    if slope(high) >= 0:
        place, found = high, TEMPERATURE_BOUNDS[1]
    elif slope(low) <= 0:
        place, found = low, TEMPERATURE_BOUNDS[0]
    else:
        place = brentq(slope, low, high, xtol=1e-13)
        found = float(np.exp(place))
    lowest = loss(place)
    flat = max(loss(low), loss(high)) - lowest <= 1e-12 * max(1.0, lowest)
    return float("nan") if flat else found


def rescale(log_probabilities: Floats, temperature: float) -> Floats:
    """Log of softmax(log p / T), shape as given; -inf stays -inf.

    >>> np.exp(rescale(np.log(np.array([[0.8, 0.2]])), 2.0)).round(3).tolist()
    [[0.667, 0.333]]
    """
    scaled = np.asfortranarray(log_probabilities) / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _gaps(diagram: ReliabilityBins) -> Floats:
    return np.where(diagram.count > 0, np.abs(diagram.accuracy - diagram.confidence), 0.0)
