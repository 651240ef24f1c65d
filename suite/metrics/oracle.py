"""The kernel against mapie and netcal, on every cell: where a library defines the figure, both must agree."""

from __future__ import annotations

import numpy as np

from suite.metrics.conformal import SetScores, prediction_sets
from suite.metrics.mapie_adapter import comparable, mapie_sets
from suite.metrics.measure import Scored
from suite.metrics.netcal_adapter import netcal_equal_mass, netcal_errors

CLOSE = 1e-9


def library_remarks(scored: Scored) -> dict[str, str]:
    """Where mapie or netcal, asked in their domain, say something else: by library, what; empty where they agree.

    The figures of a row are the suite's own either way. The first split's prediction sets are compared with mapie's,
    set by set, and the calibration errors with netcal's. mapie takes milliseconds a call, too long for every split of
    every cell, so the first split stands for all: they run through the same code. mapie's quantile is that of
    ``exact``; under ``ye2024`` sets are not compared.
    """
    asked = {"netcal": _calibration} | ({} if scored.published else {"mapie": _sets})
    remarks = {}
    for library, differences in asked.items():
        try:
            found = differences(scored)
        except Exception as error:  # whatever a library stops at, the figures do not need it
            found = [f"{library} stops with {type(error).__name__}: {' '.join(str(error).split())}"]
        if found:
            remarks[library] = f"{'; '.join(found)}. The figures are the suite's own; please report this"
    return remarks


def _sets(scored: Scored) -> list[str]:
    methods = (("lac", scored.lac), ("aps", scored.aps), ("aps-deterministic", scored.aps_deterministic))
    return [words for method, scores in methods if (words := _different_sets(scored, method, scores))]


def _different_sets(scored: Scored, method: str, scores: SetScores) -> str:
    sample = scored.sample
    conformal, test = sample.folds.conformal[0], sample.folds.test[0]
    theirs = mapie_sets(
        method,
        scored.probabilities,
        scored.answers,
        conformal=conformal,
        test=test,
        alpha=sample.protocol.alpha,
        draws=sample.aps_draws,
    )
    if theirs is None:
        return ""
    splits = {"lac": scored.lac_splits, "aps": scored.aps_splits}.get(method, scored.aps_deterministic_splits)
    threshold = float(splits.thresholds[0])
    ours = prediction_sets(scores.options[test], threshold)
    judged = comparable(scores.options[test], threshold)
    different = int((ours != theirs)[judged].any(axis=1).sum())
    return f"{method} sets differ from mapie's in {different} of {len(test)} items" if different else ""


def _calibration(scored: Scored) -> list[str]:
    some = scored.sample.evaluated
    if len(some) == 0:
        return []
    confidence, correct, points = scored.confidence[some], scored.correct[some], scored.figures.points
    theirs = dict(zip(("ece", "ace", "mce"), netcal_errors(confidence, correct), strict=True))
    equal_mass = netcal_equal_mass(confidence, correct)
    if equal_mass is not None:
        theirs["ece_equal_mass"] = equal_mass
    return [
        f"{key} is {points[key]!r} but netcal says {value!r}"
        for key, value in theirs.items()
        if not np.isclose(points[key], value, rtol=0, atol=CLOSE)
    ]
