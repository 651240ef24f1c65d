"""Accuracy, and proper scores: NLL and Brier. They reward honest probabilities, and sharp ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Floats, Numbers


def top_ties(probabilities: Floats) -> NDArray[np.int64]:
    """How many options share the highest probability, shape [n]; 1 where there is no tie.

    >>> top_ties(np.array([[0.4, 0.4, 0.2], [0.5, 0.3, 0.2]])).tolist()
    [2, 1]
    """
    return np.asarray((probabilities == np.nanmax(probabilities, axis=1, keepdims=True)).sum(axis=1))


def fractional_correct(probabilities: Floats, answers: NDArray[np.int64]) -> Floats:
    """1 where the most likely option is right, 0 where not, 1/m where the right one is among m that tie. Shape [n].

    This is the mean over all orders of the tied options; scores stored in 16 bits tie often enough to matter.

    Args:
        probabilities: shape [n, options], NaN where there is no such option.

    >>> fractional_correct(np.array([[0.4, 0.4, 0.2], [0.5, 0.3, 0.2]]), np.array([1, 0])).tolist()
    [0.5, 1.0]
    """
    tops = probabilities == np.nanmax(probabilities, axis=1, keepdims=True)
    return np.asarray(tops[np.arange(len(answers)), answers] / tops.sum(axis=1))


def picked_option(probabilities: Floats, *, draws: Floats) -> Numbers:
    """The answer each item gives, ties resolved by the item's own draw. Shape [n].

    Of m options that tie, the one with number floor(u m) in option order is picked. Two models that tie on the same
    options pick the same one, so a tie alone is no flip.

    Args:
        draws: u in [0, 1), shape [n].

    >>> picked_option(np.array([[0.4, 0.4, 0.2]] * 2), draws=np.array([0.2, 0.7])).tolist()
    [0, 1]
    """
    tops = probabilities == np.nanmax(probabilities, axis=1, keepdims=True)
    wanted = np.floor(draws * tops.sum(axis=1))
    return np.asarray((tops & (tops.cumsum(axis=1) - 1 == wanted[:, None])).argmax(axis=1))


def negative_log_likelihood(log_probabilities: Floats, answers: NDArray[np.int64]) -> Floats:
    """-log p(right option) of each item, in nats, shape [n]; lower is better; infinite where that probability is zero.

    Reference: I. J. Good, "Rational decisions", JRSS B 1952.

    >>> negative_log_likelihood(np.log(np.array([[0.5, 0.5]])), np.array([0])).round(4).tolist()
    [0.6931]
    """
    return np.asarray(-log_probabilities[np.arange(len(answers)), answers])


def brier_score(probabilities: Floats, answers: NDArray[np.int64]) -> Floats:
    """Sum over options of (p_k - [k is right])^2 of each item, in [0, 2], shape [n]; lower is better.

    The definition of Brier with all classes: with two options it is twice the one-class form.

    Reference: G. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.

    >>> brier_score(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 1])).tolist()
    [0.5, 2.0]
    """
    squares = np.nansum(probabilities**2, axis=1)
    return np.asarray(squares - 2 * probabilities[np.arange(len(answers)), answers] + 1)


@dataclass(frozen=True)
class BrierParts:
    """A Brier score in two parts: total = calibration + refinement.

    Attributes:
        calibration: what recalibrating the forecasts bin by bin would save; in [0, 2], lower is better.
        refinement: what is left then: how far the forecasts are from telling right options from wrong ones; lower is
        better.
    """

    calibration: float
    refinement: float


def brier_parts(probabilities: Floats, answers: NDArray[np.int64], *, bins: int = 15) -> BrierParts:
    """Calibration and refinement parts of the mean Brier score.

    All (item, option) pairs are binned by probability into equal widths. With m_b pairs in bin b, mean forecast f_b
    and fraction right o_b: calibration = (1/n) sum_b m_b (f_b - o_b)^2, and refinement is the rest of the score, so
    that the two add up exactly. Binned like an ECE, the calibration part is inflated at small n.

    Reference: M. DeGroot, S. Fienberg, The Statistician 1983; A. Murphy, Journal of Applied Meteorology 1973.

    >>> brier_parts(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    BrierParts(calibration=0.5, refinement=0.5)
    """
    right = np.zeros(probabilities.shape)
    right[np.arange(len(answers)), answers] = 1.0
    present = ~np.isnan(probabilities)
    forecast, happened = probabilities[present], right[present]
    edges = np.linspace(0.0, 1.0, bins + 1)
    number = np.clip(np.searchsorted(edges, forecast, side="right") - 1, 0, bins - 1)
    count = np.bincount(number, minlength=bins)
    gap = np.bincount(number, weights=forecast - happened, minlength=bins)
    used = count > 0
    calibration = float((gap[used] ** 2 / count[used]).sum() / len(answers))
    return BrierParts(calibration, float(brier_score(probabilities, answers).mean()) - calibration)
