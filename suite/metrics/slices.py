"""Accuracy, set size and coverage of parts of a task: subjects, named slices, the dense model's edge, perturbed copies.

Coverage is promised for a whole task, not for its parts. These figures say where it is missed, and whether compression
takes more from one part than from the others. Thresholds come from the whole task, as in deployment; `OwnSetSizes`
alone, which collapse verdicts of parts are made from, gives a part thresholds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.errors import SuiteError
from suite.grouped import grouped
from suite.metrics import bootstrap, proportions
from suite.metrics.compare import on_shared_items
from suite.metrics.measure import Scored, recentring
from suite.metrics.proportions import NORMAL
from suite.metrics.sample import Samples
from suite.prompt_name import original_of, parse_prompt
from suite.variant import is_repeat

WHOLE = "all"
EDGE = "edge"
EDGE_SHARE = 0.2
SMALLEST = 20
OWN_SPLITS = 20
"""Splits averaged inside a bootstrap replicate of a part with thresholds of its own. Fewer than for whole tasks,
because there are many parts; it makes standard errors a few percent larger, never smaller."""
SIGNIFICANT = 0.05
"""A statement is made of a part whose adjusted p-value is below this."""

_INTERVALS = (
    "accuracy",
    "lac_set_size",
    "lac_coverage",
    "lac_transfer_coverage",
    "accuracy_change",
    "lac_set_size_change",
    "accuracy_excess",
    "lac_set_size_excess",
)
STATEMENTS = {
    "lac_coverage": "under-covered",
    "lac_transfer_coverage": "under-covered at the reused threshold",
    "accuracy_change": "accuracy changed",
    "lac_set_size_change": "set size changed",
    "accuracy_excess": "accuracy changed otherwise than elsewhere",
    "lac_set_size_excess": "set size changed otherwise than elsewhere",
}
"""What is tested for every part, and what its verdict says when the adjusted p-value is below 0.05."""

SLICE_KEYS = (
    *("model", "variant", "task", "scoring", "prompt", "shots", "protocol", "alpha", "slice", "against", "n", "units"),
    *(name for key in _INTERVALS for name in (key, f"{key}_low", f"{key}_high")),
    *(name for key in STATEMENTS for name in (f"{key}_p_raw", f"{key}_p")),
    "verdict",
    "notes",
)
"""Every key of a row, in order."""


def compute_slices(cells: Sequence[Cell], protocol: Protocol, *, smallest: int = SMALLEST) -> list[dict[str, Any]]:
    """One dictionary a cell and part, with the keys `SLICE_KEYS`; the part ``all`` comes first.

    Parts: ``subject:<name>`` and every slice that items carry; ``edge``, the fifth of the items on which the dense
    model of the same curve is least confident (chosen without the variant and the right answers); and for a cell with a
    perturbed prompt ``perturbed:<what>``, all of its items against the same items of the unperturbed cell.

    Figures, all with 95 % intervals (units resampled, thresholds computed again in each replicate; for accuracy, its
    changes and coverage the exact ones of `suite.metrics.proportions`): ``accuracy``; ``lac_set_size`` and
    ``lac_coverage`` at the whole cell's own thresholds; ``lac_transfer_coverage`` at the thresholds of what it is
    compared with (``against``: the dense cell, or the same variant's unperturbed cell); ``*_change``, this cell minus
    that one on the same items; ``*_excess``, the change in this part minus the change in the other items (for perturbed
    parts: minus the change that the same noise makes to the dense model). Fractions and options; a positive change of
    set size is a loss of certainty.

    ``*_p_raw`` tests one statement: coverage below 1 - alpha (one-sided), a change or excess other than zero
    (two-sided), by a normal approximation with the bootstrap's standard error. ``*_p`` is Holm's adjustment over all
    parts and variants of one curve, statement by statement (repetitions of variants under other seeds of sample text
    are a family of their own): of all the parts about which a statement is made, one is
    named wrongly with probability 0.05 at most. Intervals are not adjusted. The verdict joins the statements that hold.

    Args:
        cells: in any order.
        smallest: parts with fewer independent units get no p-values and the verdict ``too few items``.

    Raises:
        SuiteError: a single replicate.
    """
    by_key: dict[tuple[object, ...], Cell] = {cell.key: cell for cell in cells}
    curves = grouped(cells, lambda cell: cell.curve_key)
    samples = Samples(protocol)
    table: list[dict[str, Any]] = []
    for key in sorted(curves):
        members = sorted(curves[key], key=lambda cell: (not cell.is_dense, cell.key.variant))
        original, plain = _original(key), by_key.get((*key, "dense"))
        dense = None if original is not None or plain is None else Scored(plain, samples.of(plain))
        rows: list[dict[str, Any]] = []
        for cell in members:
            variant = cell.key.variant
            if original is not None:
                both = by_key.get((*original, "dense")), plain
                rows += _perturbed(cell, by_key.get((*original, variant)), both, samples)
            elif dense is not None and variant == "dense":
                rows += _parts(dense, None, samples, smallest)
            else:
                rows += _parts(Scored(cell, samples.of(cell)), dense, samples, smallest)
        # another seed of sample text repeats a recipe: it adds no hypothesis to the family of the others
        for family in (False, True):
            _judge([row for row in rows if is_repeat(str(row["variant"])) is family], smallest)
        table += rows
    return [{key: row.get(key) for key in SLICE_KEYS} for row in table]


def subset(cell: Cell, rows: Numbers) -> Cell:
    """The cell with some of its items, in the order given."""

    def pick(column: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if column is None else tuple(column[row] for row in rows)

    return replace(
        cell,
        ids=tuple(cell.ids[row] for row in rows),
        answers=cell.answers[rows],
        n_options=cell.n_options[rows],
        scores=cell.scores[rows],
        subjects=pick(cell.subjects),
        slices=pick(cell.slices),
        groups=pick(cell.groups),
    )


def part_members(dense: Cell, protocol: Protocol) -> dict[str, list[str]]:
    """Ids of the items of each part by its name, sorted: slices and subjects of the cell, and its edge."""
    scored = Scored(dense, Samples(protocol).of(dense))
    parts = _members(scored) | {EDGE: edge_rows(scored)}
    return {name: sorted(scored.sample.ids[row] for row in rows) for name, rows in parts.items() if name != WHOLE}


@dataclass(frozen=True)
class OwnSetSize:
    """How uncertain a model is on some items when its thresholds come from these items alone.

    Attributes:
        value: mean of LAC and APS set size over splits; NaN where no split has items to test.
        replicates: the same in each bootstrap replicate of these items, shape [replicates].
        above_chance: the lower end of the accuracy on these items lies above chance.
    """

    value: float
    replicates: Floats
    above_chance: bool


class OwnSetSizes:
    """Set sizes of cells on the same few items; folds, draws and resampled items are made once.

    Args:
        ids: of the items, which every cell must have.
        cell: any of the cells, for its groups.
    """

    def __init__(self, cell: Cell, ids: Sequence[str], protocol: Protocol) -> None:
        wanted = set(ids)
        rows = np.array([row for row, item in enumerate(cell.ids) if item in wanted], dtype=np.intp)
        self._sample = Samples(protocol).of(subset(cell, rows))

    @property
    def units(self) -> int:
        """Independent units among the items."""
        return len(set(self._sample.units))

    def of(self, cell: Cell) -> OwnSetSize:
        """A cell's set size on these items: the value that `suite.metrics.rows` gives a cell that holds no others."""
        scored, sample = Scored(cell, self._sample), self._sample
        value = (scored.lac_splits.mean_size + scored.aps_splits.mean_size) / 2
        correct = scored.correct[sample.evaluated]
        bound = float(correct.mean()) if len(correct) else math.nan
        replicates = np.empty(0)
        if sample.protocol.replicates and math.isfinite(value):
            both = [
                scored.resampled(scores, OWN_SPLITS).size + recentring(results.size, OWN_SPLITS)
                for scores, results in ((scored.lac, scored.lac_splits), (scored.aps, scored.aps_splits))
            ]
            replicates = (both[0] + both[1]) / 2
            bound, _ = proportions.proportion_interval(correct, sample.evaluated_units)
        chance = float((1 / scored.n_options).mean())
        return OwnSetSize(value, replicates, bound > chance)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: the chance of one wrong rejection among all of them stays below the level.

    Reference: S. Holm, Scandinavian Journal of Statistics 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def shown_above(estimates: Sequence[tuple[float, float | None]], *, level: float = 0.05) -> list[bool]:
    """Which of several values are shown to lie above zero, corrected for all of them (Holm).

    Args:
        estimates: value and lower end of its 95 % interval, None where there is none; nothing is shown there.

    >>> shown_above([(0.3, 0.1), (0.3, -0.1), (0.3, None)])
    [True, False, False]
    """
    from scipy.special import ndtr

    p_values = []
    for value, low in estimates:
        error = None if low is None or low >= value else (value - low) / NORMAL
        # an interval that is a point: all or nothing
        p = float(value <= 0) if low is not None and error is None else 1.0
        p_values.append(float(ndtr(-value / error)) if error else p)
    return [p <= level for p in holm(p_values)]


@dataclass
class _Figure:
    """A value and its bootstrap replicates (empty when none were asked for).

    Attributes:
        ends: its interval, where that is not the percentiles of the replicates.
    """

    value: float
    replicates: Floats = field(default_factory=lambda: np.empty(0))
    ends: tuple[float, float] | None = None

    def less(self, other: _Figure, ends: tuple[float, float] | None = None) -> _Figure:
        """The difference, and its interval where that is not made of the replicates."""
        return _Figure(self.value - other.value, self.replicates - other.replicates, ends)

    def within(self, limits: tuple[float, float], hidden: float) -> _Figure:
        """The figure; where all replicates agree with what unseen exceptions could make of it."""
        if len(self.replicates) and self.ends is None and not proportions.varies(self.replicates):
            self.ends = proportions.unseen_interval(self.value, hidden, limits)
        return self

    def interval(self) -> tuple[float | None, float | None]:
        if len(self.replicates) == 0:
            return None, None
        low, high = self.ends or bootstrap.percentile_interval(self.replicates)
        return (low, high) if math.isfinite(low) else (None, None)

    def bounded(self) -> tuple[float, float, float]:
        """Value and interval; NaN for an interval that is not there."""
        low, high = self.interval()
        return (self.value, math.nan, math.nan) if low is None or high is None else (self.value, low, high)

    def deviation(self) -> float:
        usable = self.replicates[np.isfinite(self.replicates)]
        return float(usable.std(ddof=1)) if len(usable) > 1 else math.nan


def _pair(scored: Scored, other: Scored, samples: Samples) -> tuple[Scored, Scored]:
    """Two cells on the items both have, with equal answer and number of options."""
    both = on_shared_items(scored, other, samples)
    if both is None:
        where = f"{scored.cell.where} and {other.cell.where}"
        raise SuiteError(f"{where} share no item with equal answer and number of options")
    return both


def _original(key: tuple[str, str, str, str, int]) -> tuple[str, str, str, str, int] | None:
    """The curve that a perturbed prompt's cells are paired with; None for a prompt that is not perturbed."""
    model, task, scoring, prompt, shots = key
    original = original_of(prompt)
    return None if original is None else (model, task, scoring, original, shots)


def item_parts(cell: Cell, row: int) -> list[str]:
    """Names of the parts that an item belongs to: its slices, and its subject."""
    names = [] if cell.slices is None else list(cell.slices[row])
    if cell.subjects is not None and cell.subjects[row] is not None:
        names.append(f"subject:{cell.subjects[row]}")
    return names


def _members(scored: Scored) -> dict[str, Numbers]:
    """Rows of each part in the sample's order, ``all`` first."""
    cell = scored.cell
    place = {item: row for row, item in enumerate(cell.ids)}
    found: dict[str, list[int]] = {}
    for index, item in enumerate(scored.sample.ids):
        for name in item_parts(cell, place[item]):
            found.setdefault(name, []).append(index)
    parts = {name: np.array(found[name], dtype=np.intp) for name in sorted(found) if not name.startswith("perturbed")}
    return {WHOLE: np.arange(len(scored.sample)), **parts}


def edge_rows(dense: Scored) -> Numbers:
    """The items on which the dense model is least confident, in the sample's order; equal confidence goes by the id."""
    count = int(len(dense.sample) * EDGE_SHARE)
    order = np.argsort(dense.confidence, kind="stable")
    return np.sort(order[:count])


def _parts(scored: Scored, dense: Scored | None, samples: Samples, smallest: int) -> list[dict[str, Any]]:
    cell, reference = scored.cell, None
    if dense is not None:
        scored, reference = _pair(scored, dense, samples)
    parts = _members(scored)
    least_sure = reference or (scored if cell.is_dense else None)
    if least_sure is not None:
        parts[EDGE] = edge_rows(least_sure)
    rows = []
    for name, members in parts.items():
        row = _row(cell, scored, name, members, against=None if dense is None else "dense")
        figures = _measure(scored, members) if reference is None else _against(scored, reference, members)
        rest = np.setdiff1d(parts[WHOLE], members)
        if reference is not None and len(rest) >= smallest:
            figures |= _excess(figures, _against(scored, reference, rest), scored, members, rest)
        if reference is not None:
            figures["lac_transfer_coverage"] = _sets(scored, members, reference)[1]
        _fill(row, figures, scored)
        if name == EDGE and reference is not None:
            for key in ("lac_set_size_change", "accuracy_excess", "lac_set_size_excess"):
                row[f"{key}_p_raw"], row["notes"][key] = None, _CHOSEN
        rows.append(row)
    return rows


_CHOSEN = "no test: items chosen for the dense model's low confidence would differ without any compression"


def _perturbed(
    cell: Cell, original: Cell | None, dense: tuple[Cell | None, Cell | None], samples: Samples
) -> list[dict[str, Any]]:
    """Rows of a cell whose items are perturbed copies: against the same variant's unperturbed cell."""
    name = f"perturbed:{parse_prompt(str(cell.task['prompt'])).perturbation}"
    if original is None:
        scored = Scored(cell, samples.of(cell))
        row = _row(cell, scored, name, np.arange(len(scored.sample)), against=None)
        _fill(row, _measure(scored, np.arange(len(scored.sample))), scored)
        asked = parse_prompt(str(cell.task["prompt"])).original
        row["notes"]["against"] = f"no cell with prompt {asked!r} to compare with"
        return [row]
    scored, reference = _pair(Scored(cell, samples.of(cell)), Scored(original, samples.of(original)), samples)
    everything = np.arange(len(scored.sample))
    row = _row(cell, scored, name, everything, against=str(original.task["prompt"]))
    figures = _against(scored, reference, everything)
    plain, noisy = dense
    known = plain is not None and noisy is not None and _covers(plain, scored) and _covers(noisy, scored)
    if not cell.is_dense and known and plain is not None and noisy is not None:
        parent, parent_noisy = Scored(plain, scored.sample), Scored(noisy, scored.sample)
        figures |= _excess(figures, _against(parent_noisy, parent, everything), scored, everything, None)
    figures["lac_transfer_coverage"] = _sets(scored, everything, reference)[1]
    _fill(row, figures, scored)
    return [row]


def _covers(cell: Cell, scored: Scored) -> bool:
    return set(scored.sample.ids) <= set(cell.ids)


def _measure(scored: Scored, members: Numbers) -> dict[str, _Figure]:
    """Accuracy, and size and coverage of the sets at the cell's own thresholds, of some of its items."""
    counted = np.intersect1d(members, scored.sample.evaluated)
    correct = scored.correct[counted]
    accuracy = _Figure(float(correct.mean()) if len(counted) else math.nan)
    if scored.sample.protocol.replicates and len(counted):
        accuracy.replicates = bootstrap.weighted_means(correct, scored.sample.weights[counted])
        accuracy.ends = proportions.proportion_interval(correct, scored.sample.unit_numbers[counted])
    size, coverage = _sets(scored, members, scored)
    return {"accuracy": accuracy, "lac_set_size": size, "lac_coverage": coverage}


def _against(scored: Scored, reference: Scored, members: Numbers) -> dict[str, _Figure]:
    """Those of `_measure`, and how they compare with the reference's on the same items."""
    figures, theirs = _measure(scored, members), _measure(reference, members)
    sample = scored.sample
    counted = np.intersect1d(members, sample.evaluated)
    paired: tuple[float, float] | None = None
    if sample.protocol.replicates and len(counted):
        difference = scored.correct[counted] - reference.correct[counted]
        paired = proportions.paired_interval(difference, sample.unit_numbers[counted])
    size = figures["lac_set_size"].less(theirs["lac_set_size"])
    return {
        **figures,
        "accuracy_change": figures["accuracy"].less(theirs["accuracy"], paired),
        "lac_set_size_change": size.within(_both_ways(scored), _hidden(scored, members)),
    }


def _excess(
    figures: Mapping[str, _Figure],
    elsewhere: Mapping[str, _Figure],
    scored: Scored,
    members: Numbers,
    rest: Numbers | None,
) -> dict[str, _Figure]:
    """Changes here less changes elsewhere: on the rest of the items, or on the same ones (None)."""
    here, there = figures["accuracy_change"], elsewhere["accuracy_change"]
    accuracy = here.less(there)
    low, high = accuracy.interval()
    if rest is not None and low is not None and high is not None:
        ends = proportions.difference_interval(here.bounded(), there.bounded())
        units = scored.sample.unit_numbers
        if len(np.intersect1d(units[members], units[rest])):  # units with items in both move both
            ends = min(low, ends[0]), max(high, ends[1])
        accuracy.ends = ends
    hidden = _hidden(scored, members)
    low_size, high_size = _both_ways(scored)
    return {
        "accuracy_excess": accuracy.within((-2.0, 2.0), hidden),
        "lac_set_size_excess": figures["lac_set_size_change"]
        .less(elsewhere["lac_set_size_change"])
        .within((2 * low_size, 2 * high_size), hidden),
    }


def _both_ways(scored: Scored) -> tuple[float, float]:
    """How far a set size can change."""
    most = float(scored.n_options.max())
    return -most, most


def _hidden(scored: Scored, members: Numbers) -> float:
    """Share of the items of a part that may be exceptions unseen."""
    return proportions.unseen(proportions.independent(scored.sample.unit_numbers[members]))


def _sets(scored: Scored, members: Numbers, thresholds_of: Scored) -> tuple[_Figure, _Figure]:
    """Mean set size and coverage over the tested items of a part, at the thresholds of a cell on the same sample."""
    result, resampled = scored.lac_under(thresholds_of, members)
    size, coverage = _Figure(result.mean_size), _Figure(result.mean_coverage)
    if resampled is not None:
        size.replicates, coverage.replicates = resampled.size, resampled.coverage
        if math.isfinite(result.mean_size):
            units = scored.sample.unit_numbers[members]
            coverage.ends = proportions.resampled_interval(coverage.value, coverage.replicates, units)
            if np.isneginf(result.thresholds).all():  # every option is in every set
                size.ends, coverage.ends = (size.value, size.value), (1.0, 1.0)
            size.within((0.0, float(scored.n_options.max())), _hidden(scored, members))
    return size, coverage


def _row(cell: Cell, scored: Scored, name: str, members: Numbers, *, against: str | None) -> dict[str, Any]:
    protocol = scored.sample.protocol
    return {
        **cell.key._asdict(),
        "protocol": protocol.name,
        "alpha": protocol.alpha,
        "slice": name,
        "against": against,
        "n": len(members),
        "units": len({scored.sample.units[row] for row in members}),
        "notes": {},
    }


def _fill(row: dict[str, Any], figures: Mapping[str, _Figure], scored: Scored) -> None:
    for key, figure in figures.items():
        known = math.isfinite(figure.value)
        row[key] = figure.value if known else None
        low, high = figure.interval() if known else (None, None)
        if not key.endswith(("_change", "_excess")) and low is not None and high is not None:
            # replicates are shifted onto the mean over all splits, which can carry an end past what is possible
            low, high = max(low, 0.0), high if key == "lac_set_size" else min(high, 1.0)
        row[f"{key}_low"], row[f"{key}_high"] = low, high
        if key in STATEMENTS and known:
            row[f"{key}_p_raw"] = _p_value(key, figure, scored.sample.protocol.alpha, units=row["units"])


def _p_value(key: str, figure: _Figure, alpha: float, *, units: int) -> float | None:
    """Normal p-value of one statement; None without replicates."""
    from scipy.special import ndtr

    deviation = figure.deviation()
    if not math.isfinite(deviation):
        return None
    if key.endswith("coverage"):
        # resampling sees no spread where every item is covered or none is
        return float(ndtr((figure.value - (1 - alpha)) / max(deviation, 1 / units)))
    if abs(figure.value) < 1e-12:
        return 1.0
    return float(2 * ndtr(-abs(figure.value) / max(deviation, 1 / units)))


def _judge(rows: list[dict[str, Any]], smallest: int) -> None:
    """Adjust the p-values of one curve and say what holds."""
    tested = [row for row in rows if row["slice"] != WHOLE and row["units"] >= smallest]
    for key in STATEMENTS:
        family = [row for row in tested if row.get(f"{key}_p_raw") is not None]
        adjusted = holm([row[f"{key}_p_raw"] for row in family])
        for row, p_value in zip(family, adjusted, strict=True):
            row[f"{key}_p"] = p_value
    for row in rows:
        if row["slice"] == WHOLE or row["units"] < smallest:
            row |= dict.fromkeys(f"{key}_p_raw" for key in STATEMENTS)
            row["verdict"] = None if row["slice"] == WHOLE else "too few items"
        else:
            holds = [text for key, text in STATEMENTS.items() if row.get(f"{key}_p", 1.0) < SIGNIFICANT]
            row["verdict"] = "; ".join(holds) or "nothing shown"
