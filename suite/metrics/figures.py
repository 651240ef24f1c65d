"""The figures of a row: every column of rows.csv in its order, and the number of the formula behind each.

A formula number says which computation a published value comes from. It stands in the manifest of a snapshot, so that
`suite verify` knows which values it can make again and which it must hold to their checksum. Raise a figure's number in
the change that makes some cell give another value, or another reason under ``notes``; raise `interval` alone where the
ends move and the value stays. A new figure starts at 1. See docs/leaderboard.md, "Formula numbers".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CELL, SCORES, DENSE = "cell", "scores", "dense"
"""Where a value comes from: the cell says it, its scores give it, or its scores beside those of dense."""


@dataclass(frozen=True)
class Figure:
    """One figure of a row.

    Attributes:
        source: `CELL`, `SCORES` or `DENSE`.
        formula: number of the formula of its value and of the bootstrap replicates of that value.
        interval: number of the formula that makes ``<key>_low`` and ``<key>_high`` of them; None where it has none.
    """

    source: str
    formula: int = 1
    interval: int | None = None


FIGURES: dict[str, Figure] = {
    "model": Figure(CELL),
    "variant": Figure(CELL),
    "family": Figure(CELL),
    "method": Figure(CELL),
    "task": Figure(CELL),
    "scoring": Figure(CELL),
    "prompt": Figure(CELL),
    "shots": Figure(CELL),
    "chat_template": Figure(CELL),
    "protocol": Figure(CELL),
    "alpha": Figure(CELL),
    "n": Figure(CELL),
    "n_evaluated": Figure(CELL),
    "params_b": Figure(CELL),
    "kind": Figure(CELL),
    "bits_per_weight": Figure(CELL),
    "megabytes": Figure(CELL),
    "sparsity": Figure(CELL),
    "relative_weight_error": Figure(CELL),
    "share_touched": Figure(CELL, formula=2),
    "drift_largest": Figure(CELL),
    "drift_changed_answers": Figure(CELL),
    "chance_accuracy": Figure(SCORES),
    "accuracy": Figure(SCORES, interval=2),
    "nll": Figure(SCORES, interval=2),
    "brier": Figure(SCORES, interval=2),
    "brier_calibration": Figure(SCORES),
    "brier_refinement": Figure(SCORES),
    "ece": Figure(SCORES, interval=2),
    "ece_equal_mass": Figure(SCORES),
    "ace": Figure(SCORES),
    "mce": Figure(SCORES),
    "ece_debiased": Figure(SCORES),
    "ece_classwise": Figure(SCORES),
    "confidence_gap": Figure(SCORES, interval=2),
    "temperature": Figure(SCORES, formula=2, interval=3),
    "nll_ts": Figure(SCORES, formula=2, interval=2),
    "brier_ts": Figure(SCORES, formula=2, interval=2),
    "ece_ts": Figure(SCORES, formula=2, interval=2),
    "ece_ts_debiased": Figure(SCORES, formula=2),
    "lac_set_size": Figure(SCORES, interval=2),
    "lac_coverage": Figure(SCORES, interval=2),
    "lac_coverage_band_low": Figure(SCORES),
    "lac_coverage_band_high": Figure(SCORES),
    "lac_singleton_rate": Figure(SCORES),
    "lac_empty_rate": Figure(SCORES),
    "aps_set_size": Figure(SCORES, interval=2),
    "aps_coverage": Figure(SCORES, interval=2),
    "aps_deterministic_set_size": Figure(SCORES),
    "aps_deterministic_coverage": Figure(SCORES),
    "set_size": Figure(SCORES, interval=2),
    "set_size_chance": Figure(SCORES),
    "uacc": Figure(SCORES, interval=2),
    "aurc": Figure(SCORES, interval=2),
    "excess_aurc": Figure(SCORES),
    "error_auroc": Figure(SCORES, interval=2),
    "accuracy_at_80": Figure(SCORES),
    "tie_rate": Figure(SCORES),
    "n_paired": Figure(CELL),
    "flips_to_wrong": Figure(DENSE),
    "flips_to_right": Figure(DENSE),
    "mcnemar_p": Figure(DENSE),
    "kl": Figure(DENSE, interval=2),
    "js": Figure(DENSE, interval=2),
    "confidence_correlation": Figure(DENSE),
    "accuracy_change": Figure(DENSE, interval=2),
    "nll_change": Figure(DENSE, interval=2),
    "brier_change": Figure(DENSE, interval=2),
    "ece_change": Figure(DENSE, interval=2),
    "nll_ts_change": Figure(DENSE, formula=2, interval=2),
    "brier_ts_change": Figure(DENSE, interval=1),
    "ece_ts_change": Figure(DENSE, formula=2, interval=2),
    "lac_set_size_change": Figure(DENSE, interval=2),
    "aps_set_size_change": Figure(DENSE, interval=2),
    "set_size_change": Figure(DENSE, interval=2),
    "aurc_change": Figure(DENSE, interval=2),
    "error_auroc_change": Figure(DENSE, interval=2),
    "accuracy_change_detectable": Figure(DENSE, formula=3),
    "nll_change_detectable": Figure(DENSE, formula=3),
    "brier_change_detectable": Figure(DENSE, formula=3),
    "ece_change_detectable": Figure(DENSE, formula=3),
    "nll_ts_change_detectable": Figure(DENSE, formula=3),
    "brier_ts_change_detectable": Figure(DENSE),
    "ece_ts_change_detectable": Figure(DENSE, formula=3),
    "lac_set_size_change_detectable": Figure(DENSE, formula=3),
    "aps_set_size_change_detectable": Figure(DENSE, formula=3),
    "set_size_change_detectable": Figure(DENSE, formula=3),
    "aurc_change_detectable": Figure(DENSE, formula=3),
    "error_auroc_change_detectable": Figure(DENSE, formula=3),
    "lac_transfer_coverage": Figure(DENSE, interval=2),
    "lac_transfer_set_size": Figure(DENSE, interval=2),
    "lac_transfer_undercoverage_p": Figure(DENSE),
    "flags": Figure(CELL, formula=2),
    "notes": Figure(CELL, formula=2),
}
"""Every figure of a row by its key, in the order of the columns."""


def columns_of(key: str) -> Iterator[str]:
    """The columns of one figure: its own, then the ends of its interval."""
    yield key
    if FIGURES[key].interval is not None:
        yield from interval_columns(key)


def interval_columns(key: str) -> tuple[str, str]:
    """The columns that hold the ends of a figure's interval."""
    return f"{key}_low", f"{key}_high"


ROW_KEYS = tuple(column for key in FIGURES for column in columns_of(key))
"""Every key of a row, in order."""

INTERVAL_KEYS = tuple(key for key, figure in FIGURES.items() if figure.interval is not None)
"""Keys with a 95 % interval beside them, as `<key>_low` and `<key>_high`."""

CHANGES = tuple(key for key in FIGURES if f"{key}_change" in FIGURES)
"""Figures whose change against dense is reported: variant minus dense on the items both have."""

COMPUTED_KEYS = tuple(key for key, figure in FIGURES.items() if figure.source != CELL)
"""Keys that are computed from scores: what a row lacks of them is null, with a reason."""

PAIRED_KEYS = tuple(key for key, figure in FIGURES.items() if figure.source == DENSE)
"""Keys that need a dense cell to compare with."""
