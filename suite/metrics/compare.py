"""A cell against another one, item by item: flips, divergences, changes, and sets at the other's thresholds.

The other is the dense cell of the same curve in a run's rows; it may be any cell with some of the same items: another
run's, another model's.
"""

from __future__ import annotations

import math

import numpy as np

from suite.arrays import Numbers
from suite.cell import Cell
from suite.metrics import bootstrap, conformal, paired, proportions
from suite.metrics.at_chance import AT_CHANCE
from suite.metrics.figures import CHANGES
from suite.metrics.measure import NO_ITEMS, Figures, Scored, count_items, full_sets, interval_of, limits_of
from suite.metrics.sample import Sample, Samples

FEW_LOST = ("nll_ts", "brier_ts", "lac_set_size", "aps_set_size", "set_size")
"""Figures of whose change resampling does not see the upper end where all that is lost is lost on a few items."""


def shared_rows(cell: Cell, reference: Cell) -> Numbers:
    """Rows of the cell whose item the reference has too: equal id, answer and number of options."""
    place = {item: row for row, item in enumerate(reference.ids)}
    pairs = [(row, place[item]) for row, item in enumerate(cell.ids) if item in place]
    ours, theirs = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    same = (cell.answers[ours] == reference.answers[theirs]) & (cell.n_options[ours] == reference.n_options[theirs])
    return np.asarray(ours[same])


def on_shared_items(scored: Scored, reference: Scored, samples: Samples) -> tuple[Scored, Scored] | None:
    """Both on one sample of the items that both have; as given where these are all items, None where there are none."""
    cell, other = scored.cell, reference.cell
    shared = shared_rows(cell, other)
    if len(shared) == 0:
        return None
    whole = len(shared) == len(cell) == len(other)
    if whole and reference.sample.ids == scored.sample.ids and reference.sample.units == scored.sample.units:
        return scored, reference
    sample = samples.of(cell, shared)
    return Scored(cell, sample), Scored(other, sample)


def paired_figures(scored: Scored, reference: Scored) -> Figures:
    """Every figure of a cell that needs another one to compare with, on one sample of both."""
    figures = scored.no_figures()
    _divergences(figures, scored, reference)
    _changes(figures, scored, reference)
    _transfer(figures, scored, reference)
    count_items(figures, scored.sample)
    return figures


def _divergences(figures: Figures, scored: Scored, reference: Scored) -> None:
    some = scored.sample.evaluated
    replicated = bool(scored.sample.protocol.replicates)
    if len(some) == 0:
        for key in ("flips_to_wrong", "flips_to_right", "mcnemar_p", "kl", "js", "confidence_correlation"):
            figures.notes[key] = NO_ITEMS
        return
    to_wrong, to_right = paired.flips(reference.picked_correct[some], scored.picked_correct[some])
    figures.points["flips_to_wrong"], figures.points["flips_to_right"] = to_wrong / len(some), to_right / len(some)
    figures.points["mcnemar_p"] = paired.mcnemar_p(to_wrong, to_right)
    ours, theirs = scored.log_probabilities[some], reference.log_probabilities[some]
    for key, divergence in (("kl", paired.kl_divergence(theirs, ours)), ("js", paired.js_divergence(theirs, ours))):
        if np.isinf(divergence).any():
            count = int(np.isinf(divergence).sum())
            figures.notes[key] = f"infinite: an option possible under dense has probability zero in {count} items"
            continue
        figures.points[key] = float(divergence.mean())
        if replicated:
            figures.replicates[key] = bootstrap.weighted_means(divergence, scored.sample.evaluated_weights)
    correlation = paired.rank_correlation(reference.confidence[some], scored.confidence[some])
    if math.isnan(correlation):
        figures.notes["confidence_correlation"] = "the confidence is the same for all items"
    else:
        figures.points["confidence_correlation"] = correlation


def _changes(figures: Figures, scored: Scored, reference: Scored) -> None:
    ours, theirs = scored.figures, reference.figures
    for key in CHANGES:
        change = f"{key}_change"
        if key not in ours.points or key not in theirs.points:
            reason = ours.notes.get(key) or f"dense: {theirs.notes.get(key)}"
            figures.notes[change] = figures.notes[f"{change}_detectable"] = reason
            continue
        if key in ours.centres and key in theirs.centres:
            figures.points[change] = figures.centres[change] = ours.centres[key] - theirs.centres[key]
        else:
            figures.points[change] = ours.points[key] - theirs.points[key]
        if key not in ours.replicates:
            figures.notes[f"{change}_detectable"] = "no bootstrap replicates were asked for"
            continue
        figures.replicates[change] = ours.replicates[key] - theirs.replicates[key]
        if key == "accuracy":
            some = scored.sample.evaluated
            difference = scored.correct[some] - reference.correct[some]
            figures.intervals[change] = proportions.paired_interval(difference, scored.sample.evaluated_units)
        elif key in ours.hidden and key in theirs.hidden:
            figures.hidden[change] = max(ours.hidden[key], theirs.hidden[key])
        detectable = paired.minimum_detectable(_standard_error(figures, change))
        limits = limits_of(change, figures.options)
        if limits is not None and detectable > limits[1]:
            figures.notes[f"{change}_detectable"] = "more than any change can be: so few items show none"
        else:
            figures.points[f"{change}_detectable"] = detectable
        if key in FEW_LOST:
            _few_lost(figures, change, room=_chance(reference, key) - theirs.points[key], sample=scored.sample)


def _few_lost(figures: Figures, change: str, *, room: float, sample: Sample) -> None:
    """Let the upper end of a change know what few items can hide."""
    low, high, _ = interval_of(figures, change)
    if room > 0 and not math.isnan(high):
        most = proportions.lost_at_most(figures.points[change], room=room, units=sample.evaluated_units)
        figures.intervals[change] = low, max(high, most)


def _chance(scored: Scored, key: str) -> float:
    options = scored.n_options.astype(np.float64)
    return float(AT_CHANCE[key](options, scored.sample.protocol.alpha).mean())


def _standard_error(figures: Figures, key: str) -> float:
    """Spread of the replicates; where the interval is not made of them, what that interval says it is."""
    usable = figures.replicates[key][np.isfinite(figures.replicates[key])]
    if key in figures.intervals or (len(usable) and not proportions.varies(usable)):
        low, high, _ = interval_of(figures, key)
        return (high - low) / 2 / proportions.NORMAL
    return float(usable.std(ddof=1)) if len(usable) > 1 else math.nan


def _transfer(figures: Figures, scored: Scored, reference: Scored) -> None:
    """The dense model's threshold on the variant's sets: what happens when nobody recalibrates."""
    sample, protocol = scored.sample, scored.sample.protocol
    if not any(map(len, sample.folds.test)):
        for key in ("lac_transfer_coverage", "lac_transfer_set_size", "lac_transfer_undercoverage_p"):
            figures.notes[key] = "no split has items to test"
        return
    result, resampled = scored.lac_under(reference)
    figures.points["lac_transfer_coverage"] = result.mean_coverage
    figures.points["lac_transfer_set_size"] = result.mean_size
    p_values = [
        conformal.undercoverage_p(
            round(result.coverage[split] * len(test)),
            len(test),
            n_calibration=len(fold),
            alpha=protocol.alpha,
            protocol=protocol.name,
        )
        for split, (fold, test) in enumerate(zip(sample.folds.conformal, sample.folds.test, strict=True))
        if len(test)
    ]
    figures.points["lac_transfer_undercoverage_p"] = paired.undercoverage_over_splits(np.array(p_values))
    if resampled is not None:
        figures.replicates["lac_transfer_coverage"] = resampled.coverage
        figures.replicates["lac_transfer_set_size"] = resampled.size
        full_sets(figures, "lac_transfer_coverage", "lac_transfer_set_size", result)
