"""The kernel against mapie and netcal, on every cell: where a library defines the figure, both must agree."""

from __future__ import annotations

import numpy as np

from suite.metrics.conformal import SetScores, prediction_sets
from suite.metrics.mapie_adapter import comparable, mapie_sets
from suite.metrics.measure import Scored
from suite.metrics.netcal_adapter import netcal_equal_mass, netcal_errors

CLOSE = 1e-9


def check_against_libraries(scored: Scored) -> None:
    """Compare the first split's prediction sets with mapie's, set by set, and the calibration errors with netcal's.

    mapie takes milliseconds a call, too long for every split of every cell, so the first split stands for all: they
    run through the same code. mapie's quantile is that of ``exact``; under ``ye2024`` sets are not compared.

    Raises:
        RuntimeError: they disagree.
    """
    _check_calibration(scored)
    if not scored.published:
        for method, scores in (
            ("lac", scored.lac),
            ("aps", scored.aps),
            ("aps-deterministic", scored.aps_deterministic),
        ):
            _check_sets(scored, method, scores)


def _check_sets(scored: Scored, method: str, scores: SetScores) -> None:
    sample = scored.sample
    conformal, test = sample.folds.conformal[0], sample.folds.test[0]
    theirs = mapie_sets(
        method,
        scored.probabilities,
        scored.answers,
        conformal=conformal,
        test=test,
        alpha=sample.settings.alpha,
        draws=sample.aps_draws,
    )
    if theirs is None:
        return
    splits = {"lac": scored.lac_splits, "aps": scored.aps_splits}.get(method, scored.aps_deterministic_splits)
    threshold = float(splits.thresholds[0])
    ours = prediction_sets(scores.options[test], threshold)
    judged = comparable(scores.options[test], threshold)
    different = int((ours != theirs)[judged].any(axis=1).sum())
    if different:
        raise RuntimeError(
            f"{scored.cell.where}: {method} sets differ from mapie's in {different} of {len(test)} items; "
            "please report this"
        )


def _check_calibration(scored: Scored) -> None:
    some = scored.sample.evaluated
    if len(some) == 0:
        return
    confidence, correct, points = scored.confidence[some], scored.correct[some], scored.figures.points
    theirs = dict(zip(("ece", "ace", "mce"), netcal_errors(confidence, correct), strict=True))
    equal_mass = netcal_equal_mass(confidence, correct)
    if equal_mass is not None:
        theirs["ece_equal_mass"] = equal_mass
    for key, value in theirs.items():
        if not np.isclose(points[key], value, rtol=0, atol=CLOSE):
            raise RuntimeError(
                f"{scored.cell.where}: {key} is {points[key]!r} but netcal says {value!r}; please report this"
            )
