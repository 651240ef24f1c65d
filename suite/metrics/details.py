"""What lies behind a row: distributions and breakdowns of one cell, for figures and for a closer look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell
from suite.config import Protocol, ProtocolName
from suite.errors import SuiteError
from suite.metrics import calibration, conformal, selective
from suite.metrics.conformal import SetScores, Stratum
from suite.metrics.measure import Scored
from suite.metrics.rows import score_cell

Floats = NDArray[np.float64]

CURVE_POINTS = 200


def compute_details(
    cell: Cell,
    *,
    protocol: ProtocolName = "exact",
    alpha: float = 0.1,
    splits: int = 100,
    seed: int = 0,
    wanted_error: float = 0.1,
) -> dict[str, object]:
    """Breakdowns of one cell, JSON-safe.

    Args:
        cell: the cell.
        protocol, alpha, splits, seed: as in `suite.metrics.rows.compute_rows`.
        wanted_error: error rate that the deferral rule shall keep.

    Returns:
        ``conformal``: for ``lac``, ``aps``, ``aps_deterministic``, ``raps``, ``top_k`` the mean size and coverage, the
        fraction of sets of each size, and coverage by set size, right option and subject (pooled over the test
        folds of all splits, so that ``n`` counts an item once a split). ``reliability``, ``reliability_equal_mass``:
        bins as lists. ``risk_coverage``: the curve at up to 200 points. ``deferral``: threshold, fraction answered,
        error and its bound; the threshold is None when everything is deferred.

    Raises:
        SuiteError: a parameter out of range, or no item left to evaluate.
    """
    scored = score_cell(cell, Protocol(protocol, alpha, splits, 0, seed))
    methods = {"lac": scored.lac, "aps": scored.aps, "aps_deterministic": scored.aps_deterministic}
    if not scored.published:
        draws = scored.sample.aps_draws
        methods["raps"] = conformal.raps_scores(scored.probabilities, scored.answers, draws=draws)
        methods["top_k"] = conformal.top_k_scores(scored.probabilities, scored.answers)
    some = scored.sample.evaluated
    if len(some) == 0:
        raise SuiteError(f"{cell.where}: {len(cell)} items are too few for protocol {protocol}; use more items")
    confidence, correct = scored.confidence[some], scored.correct[some]
    return {
        "conformal": {name: _sets(scored, scores) for name, scores in methods.items()},
        "reliability": _bins(calibration.reliability_bins(confidence, correct)),
        "reliability_equal_mass": _bins(calibration.reliability_bins(confidence, correct, equal_mass=True)),
        "risk_coverage": _curve(selective.risk_coverage(confidence, 1 - correct)),
        "deferral": _deferral(selective.deferral_threshold(confidence, 1 - correct, wanted_error=wanted_error)),
    }


def _sets(scored: Scored, scores: SetScores) -> dict[str, object]:
    results = scored.splits(scores)
    tested = np.concatenate(scored.sample.folds.test)
    if len(tested) == 0:
        return {"set_size": None, "coverage": None}
    sets = np.concatenate(
        [
            conformal.prediction_sets(scores.options[fold], threshold)
            for fold, threshold in zip(scored.sample.folds.test, results.thresholds, strict=True)
        ]
    )
    answers = scored.answers[tested]
    found: dict[str, object] = {
        "set_size": _known(results.mean_size),
        "coverage": _known(results.mean_coverage),
        "size_distribution": [_known(share) for share in results.mean_distribution],
        "by_set_size": _strata(conformal.size_stratified_coverage(sets, answers)),
        "by_answer": _strata(conformal.coverage_by(answers.tolist(), sets, answers)),
    }
    if scored.subjects is not None:
        subjects = [scored.subjects[item] for item in tested]
        found["by_subject"] = _strata(conformal.coverage_by(subjects, sets, answers))
    return found


def _strata(strata: Sequence[Stratum]) -> list[dict[str, object]]:
    return [{"label": s.label, "n": s.n, "coverage": s.coverage, "set_size": s.size} for s in strata]


def _bins(diagram: calibration.ReliabilityBins) -> dict[str, object]:
    return {
        "lower": diagram.lower.tolist(),
        "upper": diagram.upper.tolist(),
        "count": diagram.count.tolist(),
        "confidence": [_known(value) for value in diagram.confidence],
        "accuracy": [_known(value) for value in diagram.accuracy],
    }


def _curve(curve: selective.RiskCoverage) -> dict[str, object]:
    chosen = np.unique(np.linspace(0, len(curve.risk) - 1, min(CURVE_POINTS, len(curve.risk))).round().astype(np.intp))
    return {"answered": curve.answered[chosen].tolist(), "risk": curve.risk[chosen].tolist()}


def _deferral(rule: selective.Deferral) -> dict[str, object]:
    return {
        "threshold": _known(rule.threshold),
        "answered": rule.answered,
        "error": _known(rule.error),
        "bound": _known(rule.bound),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
