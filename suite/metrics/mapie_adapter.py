"""Prediction sets as mapie computes them, where its answer is defined. The one file that imports mapie.

Outside its domain these functions return None; docs/metrics.md lists the cases, tests/test_conformal_mapie.py shows
them.
"""

from __future__ import annotations

import warnings
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Bools, Floats, Numbers
from suite.metrics.conformal import quantile_rank

TOLERANCE = 1e-8
"""mapie compares with this tolerance: scores closer than it are one score to mapie."""


def mapie_sets(
    method: str,
    probabilities: Floats,
    answers: NDArray[np.int64],
    *,
    conformal: Numbers,
    test: Numbers,
    alpha: float,
    draws: Floats,
) -> Bools | None:
    """Sets of the test items by mapie's ``SplitConformalClassifier``, or None outside its domain.

    Args:
        method: ``lac``, ``aps`` (randomized), ``aps-deterministic`` (last label included) or ``top_k``.
        probabilities: shape [n, options], NaN where there is no such option.
        conformal, test: item indices.
        draws: one uniform number an item, for the calibration score and the set alike.

    Returns:
        Membership, shape [len(test), options].
    """
    if not in_domain(method, probabilities, answers, conformal=conformal, test=test, alpha=alpha):
        return None
    from mapie.classification import SplitConformalClassifier

    name = "aps" if method.startswith("aps") else method
    stream = _draws((draws[conformal], draws[test]) if method == "aps" else (draws[conformal],))
    include = "randomized" if method == "aps" else True
    with warnings.catch_warnings():
        # It warns when some option is right in no calibration item, which changes nothing.
        warnings.simplefilter("ignore")
        classifier = SplitConformalClassifier(
            _pass_through(probabilities.shape[1]),
            confidence_level=_confidence_level(alpha),
            conformity_score=name,
            prefit=True,
            random_state=stream,
        )
        classifier.conformalize(probabilities[conformal], answers[conformal])
        _, sets = classifier.predict_set(probabilities[test], conformity_score_params={"include_last_label": include})
    return np.asarray(sets[:, :, 0], dtype=bool)


def in_domain(
    method: str,
    probabilities: Floats,
    answers: NDArray[np.int64],
    *,
    conformal: Numbers,
    test: Numbers,
    alpha: float,
) -> bool:
    """Whether mapie defines the sets.

    Option counts must be equal, and the conformal fold large enough for mapie to take a quantile whose rank is that of
    the definition (`same_rank`). For all but LAC there must also be three options, three different right options in the
    conformal fold (with two mapie calls the target binary), no ties within an item and no probability of zero.
    """
    if len(test) == 0 or not same_rank(len(conformal), alpha=alpha):
        return False
    used = probabilities[np.concatenate([conformal, test])]
    if bool(np.isnan(used).any()):
        return False
    if method == "lac":
        return True
    if used.shape[1] < 3 or len(np.unique(answers[conformal])) < 3 or float(used.min()) <= TOLERANCE:
        return False
    return bool((np.diff(np.sort(used, axis=1), axis=1) > TOLERANCE).all())


def same_rank(n: int, *, alpha: float) -> bool:
    """Whether mapie takes the k-th smallest of n calibration scores with k = ceil((n + 1)(1 - alpha)), at most n.

    It refuses n below 1 / alpha and below 1 / (1 - alpha), and rounds up a float product: 150 x 0.82 is 123 and a
    little there, so that its rank is 124.

    >>> same_rank(149, alpha=0.1), same_rank(149, alpha=0.18), same_rank(150, alpha=0.995)
    (True, False, False)
    """
    theirs = float(Decimal(1) - Decimal(str(_confidence_level(alpha))))
    if not 0 < theirs < 1 or n < max(1 / theirs, 1 / (1 - theirs)):
        return False
    rank = float(quantile_rank(n, alpha=alpha))
    return rank <= n and float(np.ceil((n + 1) * (1 - theirs))) == rank


def _confidence_level(alpha: float) -> float:
    """1 - alpha as decimals give it: mapie turns it back into alpha by decimals."""
    return float(Decimal(1) - Decimal(str(alpha)))


def comparable(options: Floats, threshold: float) -> Bools:
    """Items with no option within mapie's tolerance of the threshold but for those equal to it, shape [n]."""
    distance = np.abs(options - threshold)
    with np.errstate(invalid="ignore"):
        return np.asarray(~((distance > 0) & (distance <= 2 * TOLERANCE)).any(axis=1))


def _pass_through(options: int) -> Any:
    """A fitted classifier whose features are its probabilities."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class PassThrough(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self) -> None:
            self.classes_ = np.arange(options)
            self.n_features_in_ = options

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, features: Floats, target: NDArray[np.int64]) -> PassThrough:
            return self

        def predict(self, features: Floats) -> Numbers:
            return np.asarray(features.argmax(axis=1))

        def predict_proba(self, features: Floats) -> Floats:
            return features

    return PassThrough()


def _draws(batches: tuple[Floats, ...]) -> np.random.RandomState:
    """A random state that hands out given numbers: mapie draws once for calibration items and once for test items."""

    queue = iter(batches)

    class Given(np.random.RandomState):
        def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
            batch = next(queue)
            return batch.reshape(size) if isinstance(size, tuple) else batch

    return Given(0)
