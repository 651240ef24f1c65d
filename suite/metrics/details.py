"""What lies behind a row: distributions and breakdowns of one cell, as `suite metrics --details` shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from suite.cell import Cell
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics import calibration, conformal, selective
from suite.metrics.conformal import SetScores
from suite.metrics.measure import Scored
from suite.metrics.rows import measure_cells

CURVE_POINTS = 200

WHICH = ("model", "task", "scoring", "prompt", "shots", "variant", "protocol", "alpha", "n", "n_evaluated")
"""Keys of a row that say what is broken down."""

SHARES = tuple(step / 10 for step in range(1, 11))
"""Parts of the items answered at which `details_tables` reads the risk-coverage curve."""


def compute_details(
    cells: Sequence[Cell], protocol: Protocol, *, wanted_error: float = 0.1, workers: int = 1
) -> list[dict[str, Any]]:
    """Breakdowns of cells, without intervals; those of subjects, with intervals, are `suite.metrics.slices`.

    Args:
        cells, workers: as in `suite.metrics.rows.measure_cells`.
        wanted_error: error rate that the deferral rule shall keep.

    Returns:
        One JSON-safe dictionary a cell, in the order of the rows. Which cell and protocol, as in its row.
        ``conformal``: for ``lac``, ``aps`` and, under ``exact``, ``aps_deterministic``, ``raps``, ``top_k``, the mean
        size and coverage, the fraction of sets of each size, and coverage by set size and by right option (pooled over
        the test folds of all splits, so that ``n`` counts an item once a split). ``reliability``,
        ``reliability_equal_mass``: bins as lists. ``risk_coverage``: error rate by the fraction answered, at 200 equal
        steps (at every item where there are fewer). ``deferral``: the error rate wanted, threshold, fraction answered,
        error and its bound; the threshold is None when everything is deferred.

    Raises:
        SuiteError: a wanted error out of range, or no item left to evaluate.
    """
    if not 0 < wanted_error < 1:
        raise SuiteError(f"wanted error {wanted_error} out of range: use a number between 0 and 1, such as 0.1")
    summarize = partial(_broken_down, wanted_error=wanted_error)
    found = measure_cells(cells, replace(protocol, replicates=0), summarize=summarize, workers=workers)
    which = ({key: value for key, value in one.row.items() if key in WHICH} for one in found)
    return [said | one.summary for said, one in zip(which, found, strict=True) if isinstance(one.summary, dict)]


def _broken_down(scored: Scored, *, wanted_error: float) -> dict[str, Any]:
    methods = {"lac": scored.lac, "aps": scored.aps}
    if not scored.published:
        draws = scored.sample.aps_draws
        methods["aps_deterministic"] = scored.aps_deterministic
        methods["raps"] = conformal.raps_scores(scored.probabilities, scored.answers, draws=draws)
        methods["top_k"] = conformal.top_k_scores(scored.probabilities, scored.answers)
    some = scored.sample.evaluated
    if len(some) == 0:
        cell, protocol = scored.cell, scored.sample.protocol.name
        raise SuiteError(f"{cell.where}: {len(cell)} items are too few for protocol {protocol}; use more items")
    confidence, correct = scored.confidence[some], scored.correct[some]
    rule = selective.deferral_threshold(confidence, 1 - correct, wanted_error=wanted_error)
    return {
        "conformal": {name: _sets(scored, scores) for name, scores in methods.items()},
        "reliability": _bins(calibration.reliability_bins(confidence, correct)),
        "reliability_equal_mass": _bins(calibration.reliability_bins(confidence, correct, equal_mass=True)),
        "risk_coverage": _curve(selective.risk_coverage(confidence, 1 - correct)),
        "deferral": {"wanted_error": wanted_error} | {key: _known(value) for key, value in asdict(rule).items()},
    }


def details_tables(details: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """The breakdowns of one cell as tables for a terminal, each with its title; the curve at ten points."""
    sets = {name: found for name, found in details["conformal"].items() if found["set_size"] is not None}
    if sets:
        yield (
            "prediction sets: mean size, coverage, and the share of sets with that many options",
            [
                {"sets": name, "size": found["set_size"], "coverage": found["coverage"]}
                | {str(size): share for size, share in enumerate(found["size_distribution"])}
                for name, found in sets.items()
            ],
        )
    for key, title in (("by_set_size", "coverage of sets of that size"), ("by_answer", "coverage by the right option")):
        labels = sorted({one["label"] for found in sets.values() for one in found[key]}, key=int)
        covered = {name: {one["label"]: one["coverage"] for one in found[key]} for name, found in sets.items()}
        if labels:
            yield title, [{"sets": name} | {at: found.get(at) for at in labels} for name, found in covered.items()]
    bins = details["reliability"]
    columns = zip(bins["lower"], bins["upper"], bins["count"], bins["confidence"], bins["accuracy"], strict=True)
    yield (
        "reliability: mean confidence and accuracy by confidence",
        [dict(zip(("from", "to", "n", "confidence", "accuracy"), one, strict=True)) for one in columns if one[2]],
    )
    risks = list(zip(details["risk_coverage"]["answered"], details["risk_coverage"]["risk"], strict=True))
    yield (
        "error rate among the most confident, by the share of items answered",
        [{f"{share:.1f}": next(risk for answered, risk in risks if answered >= share - 1e-9) for share in SHARES}],
    )
    yield "deferral: answer from that confidence on, and the error rate stays below the bound", [details["deferral"]]


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
    return {
        "set_size": _known(results.mean_size),
        "coverage": _known(results.mean_coverage),
        "size_distribution": [_known(share) for share in results.mean_distribution],
        "by_set_size": list(map(asdict, conformal.size_stratified_coverage(sets, answers))),
        "by_answer": list(map(asdict, conformal.coverage_by(answers.tolist(), sets, answers))),
    }


def _bins(diagram: calibration.ReliabilityBins) -> dict[str, object]:
    columns = {key: column.tolist() for key, column in vars(diagram).items()}
    return {key: [None if math.isnan(value) else value for value in column] for key, column in columns.items()}


def _curve(curve: selective.RiskCoverage) -> dict[str, object]:
    steps = np.arange(1, CURVE_POINTS + 1) * len(curve.risk) / CURVE_POINTS
    chosen = np.unique(np.ceil(steps - 1e-9).astype(np.intp)) - 1
    return {"answered": curve.answered[chosen].tolist(), "risk": curve.risk[chosen].tolist()}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
