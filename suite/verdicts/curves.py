"""From measured cells to degradation curves: one for each model, method, task and metric, and averages over tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from suite.arrays import Floats, Numbers
from suite.cell import Cell
from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics import proportions
from suite.metrics.average import Setting, above_chance, averaged, averaged_settings, mean_over_tasks, task_means
from suite.metrics.compare import shared_rows
from suite.metrics.figures import FIGURES, LOWER
from suite.metrics.row import Row
from suite.metrics.rows import Measured, measure_cells
from suite.metrics.slices import subset
from suite.variant import curve_title
from suite.verdicts.collapse import Z_LEVEL, Curve

MACRO = "macro"
"""Stands for the task in averages over tasks."""

PRIMARY = "set_size"
"""The metric whose verdicts count; those of the others describe."""


@dataclass(frozen=True)
class Metric:
    """How a metric is read along a curve.

    Attributes:
        minimum: the smallest change that matters, whatever the headroom.
        chance: the value of an uninformative model as (row, cell) gives it; None where there is no such value.
        bounded: whether a dense value at chance leaves nothing to lose.
        proportion: whether it is a share of items.
        dense: key that is read of dense, where it is another one.
    """

    minimum: float
    chance: Callable[[Row, Cell], float] | None = None
    bounded: bool = False
    proportion: bool = False
    dense: str = ""


def _set_size_chance(row: Row, _: Cell) -> float:
    return row["set_size_chance"]


METRICS: dict[str, Metric] = {
    "set_size": Metric(0.1, _set_size_chance, bounded=True),
    "lac_set_size": Metric(0.1, _set_size_chance, bounded=True),
    "aps_set_size": Metric(0.1, _set_size_chance, bounded=True),
    "brier_ts": Metric(0.02, lambda _, cell: float((1 - 1 / cell.n_options).mean()), bounded=True),
    "nll_ts": Metric(0.05, lambda _, cell: float(np.log(cell.n_options).mean()), bounded=True),
    "ece_ts": Metric(0.02),
    "lac_transfer_coverage": Metric(0.02, proportion=True, dense="lac_coverage"),
    "lac_transfer_set_size": Metric(0.1, _set_size_chance, bounded=True, dense="lac_set_size"),
    "error_auroc": Metric(0.03, lambda *_: 0.5),
    "accuracy": Metric(0.02, lambda row, _: row["chance_accuracy"], proportion=True),
}
"""Metrics that get a verdict; the first is the primary one. Coverage under dense's threshold never stands without the
size of its sets."""


def sign_of(metric: str) -> int:
    """+1 where a higher value is worse, -1 where a lower one is."""
    return 1 if FIGURES[metric].better == LOWER else -1


JOINT_KEYS = (*METRICS, "lac_coverage")
"""Keys whose replicates verdicts need."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a curve belongs: everything equal but the level.

    Attributes:
        setting: scoring, prompt and shots; several are averaged in a macro-average, where it is empty.
    """

    model: str
    family: str
    method: str
    task: str
    setting: tuple[str, str, int] | tuple[()] = ()

    @property
    def title(self) -> str:
        """The curve for readers."""
        return curve_title(self.family, self.method)


def record_title(record: Mapping[str, object]) -> str:
    """The curve of a published verdict for readers."""
    return curve_title(str(record["family"]), str(record["method"]))


def task_title(task: str) -> str:
    """A verdict's task for readers: an average over tasks is said in words."""
    return "average of tasks" if task == MACRO else task


@dataclass(frozen=True)
class Levels:
    """The cells of one curve, dense first, rising severity, no-ops left out, all on the same items."""

    place: Place
    points: tuple[Measured, ...]
    no_ops: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Variant of each level."""
        return tuple(point.cell.key.variant for point in self.points)

    @property
    def setting(self) -> Setting:
        """How the task was asked."""
        return cell_setting(self.points[0])

    def with_points(self, points: Sequence[Measured]) -> Levels:
        """Dense with other cells beside it."""
        return replace(self, points=(self.points[0], *points))

    @property
    def at_chance(self) -> bool:
        """Whether dense is not clearly above chance on this task."""
        return "at-chance" in self.points[0].flags

    def curve(self, metric: str) -> Curve | None:
        """One metric along the levels, higher is worse; None where a level has no value or no replicates."""
        how, sign = METRICS[metric], sign_of(metric)
        values, replicates = [], []
        for index, point in enumerate(self.points):
            key = how.dense or metric if index == 0 else metric
            if key not in point.values:
                return None
            values.append(sign * point.values[key])
            replicates.append(sign * point.replicates[key])
        dense = self.points[0]
        chance = None if how.chance is None else sign * how.chance(dense.row, dense.cell)
        exhausted = self.exhausted(values[0], chance if how.bounded else None, how.minimum)
        return Curve(
            names=self.names,
            values=np.array(values),
            replicates=np.stack(replicates),
            minimum=how.minimum,
            chance=chance,
            items=len(set(dense.cell.units)),
            exhausted=exhausted,
            dose=self.dose(),
            least_error=least_error(dense.units) if how.proportion else 0.0,
        )

    def exhausted(self, value: float, chance: float | None, minimum: float) -> str:
        """Why dense has nothing left to lose, or empty; a metric that is not bounded has no chance."""
        if self.at_chance:
            return "dense is not above chance on this task: nothing is left to lose"
        if chance is not None and chance - value <= minimum:
            return f"dense is within {minimum:g} of the value at chance: nothing is left to lose"
        return ""

    def dose(self) -> Floats | None:
        """Measured relative weight error of each level, 0 for dense; None where it is not known at every level."""
        known = [point.row["relative_weight_error"] for point in self.points[1:]]
        return None if None in known else np.array([0.0, *known], dtype=np.float64)


def no_op_notes(members: Sequence[Levels]) -> list[str]:
    """What is said of the variants that were left out of curves because nothing was compressed."""
    names = sorted({name for levels in members for name in levels.no_ops})
    return [f"left out as no-ops: {', '.join(names)}"] if names else []


def collect_levels(
    measured: Sequence[Measured],
    protocol: Protocol,
    *,
    keep: Sequence[str] = JOINT_KEYS,
    strangers: bool = False,
) -> list[Levels]:
    """Every curve among measured cells, in a stable order; variants with names outside the scheme belong to none.

    A curve whose cells do not all have the same items is measured again on the items they share.

    Args:
        keep: what the cells were measured with; see `suite.metrics.rows.measure_cells`.
        strangers: variants with names outside the scheme are curves of one level, called by their names.
    """
    again = partial(measure_cells, protocol=protocol, keep=keep)
    result = []
    for (model, task, *style), members in grouped(measured, lambda one: one.cell.curve_key).items():
        dense = next((one for one in members if one.cell.is_dense), None)
        if dense is None:
            continue
        for (family, method), points in by_method(members, strangers=strangers).items():
            no_ops = tuple(one.cell.key.variant for one in points if "no-op" in one.flags)
            kept = [one for one in points if "no-op" not in one.flags]
            place = Place(model, family, method, task, (str(style[0]), str(style[1]), int(str(style[2]))))
            result.append(Levels(place, tuple(with_shared_items([dense, *kept], again)), no_ops))
    return sorted(result, key=lambda levels: levels.place)


def cell_setting(one: Measured) -> Setting:
    """How the task of a cell was asked."""
    _, task, scoring, prompt, shots = one.cell.curve_key
    return Setting(task, scoring, prompt, shots)


def settings_averaged(measured: Sequence[Measured]) -> dict[str, list[Setting]]:
    """By model, the settings that its averages over tasks are made of (`suite.metrics.average`)."""
    return {model: averaged_settings(above) for model, above in _above_chance(measured).items()}


def compared_settings(measured: Sequence[Measured]) -> list[Setting]:
    """The settings that averages are made of where models are compared: the same for all of them."""
    anyone: dict[Setting, bool] = {}
    for above in _above_chance(measured).values():
        for setting, known in above.items():
            anyone[setting] = anyone.get(setting, False) or known
    return averaged_settings(anyone)


def _above_chance(measured: Sequence[Measured]) -> dict[str, dict[Setting, bool]]:
    """By model, every setting it was asked in, and whether dense is above chance there."""
    found: dict[str, dict[Setting, bool]] = {}
    for one in measured:
        known, setting = found.setdefault(one.cell.curve_key[0], {}), cell_setting(one)
        dense = one.row if one.cell.is_dense else None
        known[setting] = known.get(setting, False) or above_chance(dense)
    return found


def average(levels: Sequence[Levels], metric: str, settings: Sequence[Setting]) -> Curve | None:
    """The average over tasks of one model and method, of the levels that have every setting which goes in.

    Args:
        levels: every curve of the model and method, one a setting.
        settings: from `settings_averaged`.

    Returns:
        None where a level has no value. A setting that the method was never scored in leaves dense alone.
    """
    if not levels:
        return None
    usable = [one for one in levels if one.setting in settings]
    if not usable:
        first = levels[0].curve(metric)
        return None if first is None else replace(first, exhausted="dense is not above chance on any task")
    names = _complete_names(usable, settings)
    curves: dict[Setting, Curve] = {}
    for one in usable:
        curve = one.curve(metric)
        if curve is None:
            return None
        curves[one.setting] = _reduced(curve, names)
    chances = {setting: np.array(curve.chance) for setting, curve in curves.items() if curve.chance is not None}
    least = list(task_means({setting: np.array(curve.least_error) for setting, curve in curves.items()}).values())
    return replace(
        next(iter(curves.values())),
        values=averaged(curves, lambda curve: curve.values),
        replicates=averaged(curves, lambda curve: curve.replicates, apart=True),
        chance=float(mean_over_tasks(chances)) if len(chances) == len(curves) else None,
        items=min(curve.items for curve in curves.values()),
        exhausted=_all_exhausted(curves),
        least_error=float(np.linalg.norm(least)) / len(least),
    )


def least_error(units: Numbers) -> float:
    """Standard error of a share that no item changed: the normal one-sided bound at 0.95 is then the exact one."""
    return proportions.unseen(proportions.independent(units), level=0.90) / Z_LEVEL


def incomplete_names(levels: Sequence[Levels], settings: Sequence[Setting]) -> list[str]:
    """The variants that have no average, because they lack a setting which goes into it; no-ops are not among them."""
    usable = [one for one in levels if one.setting in settings]
    if not usable:
        return []
    complete = _complete_names(usable, settings)
    no_ops = {name for one in levels for name in one.no_ops}
    return list(dict.fromkeys(name for one in usable for name in one.names if name not in {*complete, *no_ops}))


def _complete_names(usable: Sequence[Levels], settings: Sequence[Setting]) -> list[str]:
    """The variants that stand in every setting, dense first."""
    if {one.setting for one in usable} != set(settings):
        return [usable[0].names[0]]
    return [name for name in usable[0].names if all(name in one.names for one in usable)]


def _all_exhausted(curves: Mapping[Setting, Curve]) -> str:
    """Why dense has nothing left to lose on any task; a task has something where one of its settings has."""
    spent = [curve.exhausted for curve in curves.values()]
    return next(iter(spent)) if all(spent) else ""


def _reduced(curve: Curve, names: Sequence[str]) -> Curve:
    rows = [curve.names.index(name) for name in names]
    return replace(
        curve,
        names=tuple(names),
        values=curve.values[rows],
        replicates=curve.replicates[rows],
        dose=None if curve.dose is None else curve.dose[rows],
    )


def by_method(members: Sequence[Measured], *, strangers: bool = False) -> dict[tuple[str, str], list[Measured]]:
    """The compressed cells of one setting by family and method, rising severity; see `collect_levels`."""
    found: dict[tuple[str, str], list[tuple[tuple[float, float, float], str, Measured]]] = {}
    for one in members:
        name, variant = one.cell.key.variant, one.cell.parsed
        if variant is None:
            if strangers:
                found[str(one.cell.variant.get("family") or "unknown"), name] = [((0.0, 0.0, 0.0), name, one)]
        elif variant.family != "dense":
            found.setdefault((variant.family, variant.curve), []).append((variant.severity, name, one))
    return {key: [one for *_, one in sorted(points, key=lambda point: point[:2])] for key, points in found.items()}


def with_shared_items(points: list[Measured], again: Callable[[list[Cell]], list[Measured]]) -> list[Measured]:
    """Measured cells of one setting on the items that all of them have; as given where these are all items.

    Args:
        points: the first one decides about answers and numbers of options; it is left alone where nothing is shared.
        again: measures the cells that have been cut down.
    """
    first = points[0].cell
    shared = set(first.ids)
    for point in points[1:]:
        shared &= {point.cell.ids[row] for row in shared_rows(point.cell, first)}
    if all(len(point.cell) == len(shared) for point in points):
        return points
    if not shared:
        return points[:1]
    cells = [
        subset(point.cell, np.array([row for row, item in enumerate(point.cell.ids) if item in shared], dtype=np.intp))
        for point in points
    ]
    return again(cells)
