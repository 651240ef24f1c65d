"""Does size protect? Loss of uncertainty against the number of parameters, model families first.

Within a family models are compared pair by pair on the items they share, and the order of their losses is tested
against that of their sizes.

The loss of a variant is that of doses (`suite.verdicts.dose`): change of a metric against dense as a fraction of the
headroom from dense to chance, so that strong and weak models are on one scale. Variants are compared at equal method
and equal whole-model bits (or equal sparsity). The slope is per tenfold parameters; below zero means that larger models
lose less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, permutations
from math import factorial

import numpy as np

from suite.arrays import Floats
from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics import bootstrap
from suite.metrics.average import Setting, averaged, unperturbed
from suite.metrics.measure import AFTER_TEMPERATURE
from suite.metrics.rows import Measured
from suite.verdicts.curves import MACRO, PRIMARY, cell_setting, compared_settings
from suite.verdicts.dose_records import MEASURES, primary_measure
from suite.verdicts.given import Given

LEAST_SIZES = 3
LEAST_MODELS = 5
"""Fewer models are no sample of models: drawn with replacement, three are the same one in one of nine draws."""

MOST_ORDERS = 8
"""Models of which all orders are looked at, 40,320; of more the p-value is that of a normal approximation."""
NOTHING_LEFT = "nothing left to lose"
"""For readers, of a saturated pair."""
BITS_ALIKE = 0.15
"""Measured whole-model bits a weight that differ by less count as equal."""

_SIZE = re.compile(r"(?<![A-Za-z0-9])(\d+(?:[._]\d+)?)\s*([bBmM])(?![A-Za-z])")


def model_family(name: str) -> str:
    """What models of several sizes have in common in their names: everything but the size.

    >>> model_family("Llama-2-7b-hf"), model_family("meta/Llama-2-70b-hf"), model_family("Qwen-1_8B")
    ('Llama-2-hf', 'Llama-2-hf', 'Qwen')
    """
    stem = name.rsplit("/", 1)[-1].split("@")[0]
    return re.sub(r"[-_. ]{2,}", "-", _SIZE.sub("", stem)).strip("-_. ")


@dataclass(frozen=True)
class Sized:
    """One model at one compression: its size, what was measured, and bootstrap values.

    Attributes:
        params_b: parameters in billions.
        value: shape [].
        replicates: shape [replicates]; models on the same items share resampled items.
        bits: measured bits a weight of the whole model; None where unknown.
    """

    model: str
    params_b: float
    value: float
    replicates: Floats
    bits: float | None = None

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % over items; not a number where too few replicates are."""
        return bootstrap.percentile_interval(self.replicates)


@dataclass(frozen=True)
class Slope:
    """Least-squares slope on log10 parameters.

    Attributes:
        value: per tenfold parameters.
        low, high: 95 % percentile interval when items and models are resampled; None with fewer than `LEAST_MODELS`.
        items_low, items_high: when items alone are resampled: for these very models, not for models like them; None
            where more than a twentieth of the replicates leave a model no headroom.
    """

    value: float
    low: float | None
    high: float | None
    items_low: float | None
    items_high: float | None


def slope_on_size(models: Sequence[Sized], *, seed: int = 0) -> Slope | None:
    """The slope over models of at least three different sizes; None with fewer.

    Each replicate draws models with replacement, and of each its value in the same bootstrap replicate of the items;
    draws with fewer than two different sizes have no slope and are drawn again.

    >>> noise = np.zeros(200)
    >>> slope = slope_on_size([Sized(str(b), b, v, v + noise) for b, v in ((1.0, 0.5), (10.0, 0.3), (100.0, 0.1))])
    >>> round(slope.value, 3)
    -0.2
    """
    size = np.log10([one.params_b for one in models])
    if len(np.unique(size.round(6))) < LEAST_SIZES:
        return None
    replicates = np.stack([one.replicates for one in models])
    count = replicates.shape[1]
    items = bootstrap.percentile_interval(_slopes(np.broadcast_to(size, (count, len(size))), replicates.T))
    value = float(_slopes(size[None], np.array([[one.value for one in models]]))[0])
    if len(models) < LEAST_MODELS:
        return Slope(value, None, None, *_ends(*items))
    generator = np.random.default_rng([seed, len(models)])
    chosen = generator.integers(0, len(models), (count, len(models)))
    for _ in range(1000):
        flat = np.ptp(size[chosen], axis=1) < 1e-6
        if not flat.any():
            break
        chosen[flat] = generator.integers(0, len(models), (int(flat.sum()), len(models)))
    picked = replicates[chosen, np.arange(count)[:, None]]
    both = bootstrap.percentile_interval(_slopes(size[chosen], picked))
    return Slope(value, *_ends(*both), *_ends(*items))


@dataclass(frozen=True)
class Order:
    """Whether losses fall with size, by the order of models alone.

    Attributes:
        p: one-sided p-value of "larger models lose less" if any order of these losses were as likely.
        least: the smallest that it can be: 1 over the number of orders, whatever the losses and the items.
    """

    p: float
    least: float


def order_on_size(models: Sequence[Sized]) -> Order | None:
    """Kendall's test of order, exact for eight models or fewer; None with fewer than two sizes.

    The statistic is the number of pairs in which the larger model loses less, minus that in which it loses more; pairs
    of one size do not count. Items play no part: it asks about models like these, and three of them can say little.

    Reference: M. Kendall, "A new measure of rank correlation", Biometrika 1938.

    >>> models = [Sized(str(b), b, v, np.zeros(2)) for b, v in ((1.0, 0.5), (10.0, 0.3), (100.0, 0.1))]
    >>> order_on_size(models)
    Order(p=0.16666666666666666, least=0.16666666666666666)
    """
    sizes, values = [one.params_b for one in models], [one.value for one in models]
    if len(set(sizes)) < 2:
        return None
    pairs = [(a, b) for a, b in combinations(range(len(models)), 2) if sizes[a] != sizes[b]]

    def concordant(order: Sequence[int]) -> int:
        """Of the losses put in another order: pairs that fall with size less pairs that rise."""
        signs = (np.sign(sizes[a] - sizes[b]) * np.sign(values[order[b]] - values[order[a]]) for a, b in pairs)
        return int(sum(signs))

    if len(models) > MOST_ORDERS:
        from scipy.stats import kendalltau

        found = kendalltau(sizes, values, alternative="less")
        return Order(float(found.pvalue), 1 / factorial(len(models)))
    seen = concordant(range(len(models)))
    orders = [concordant(order) for order in permutations(range(len(models)))]
    best = max(orders)
    return Order(sum(one >= seen for one in orders) / len(orders), sum(one == best for one in orders) / len(orders))


def differences(models: Sequence[Sized], *, end: float = np.inf) -> list[dict[str, object]]:
    """Each larger model's loss less each smaller one's, on the items they share; below 0 the larger loses less.

    Intervals are of 95 % over items, for these very models, and not corrected for the number of pairs.

    Args:
        end: loss from which on nothing is left. A pair of which neither is shown to lie below is ``saturated``:
            it says nothing about who loses less.
    """
    found = []
    saturated = {one.model: one.interval[1] >= end for one in models}
    for small, large in combinations(sorted(models, key=lambda one: (one.params_b, one.model)), 2):
        if small.params_b < large.params_b:
            ends = _ends(*bootstrap.percentile_interval(large.replicates - small.replicates))
            found.append(
                {
                    **{"smaller": small.model, "larger": large.model, "difference": large.value - small.value},
                    **{"difference_low": ends[0], "difference_high": ends[1]},
                    "saturated": saturated[small.model] and saturated[large.model],
                }
            )
    return found


def _ends(low: float, high: float) -> tuple[float, float] | tuple[None, None]:
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (None, None)


def _slopes(size: Floats, values: Floats) -> Floats:
    centred = size - size.mean(axis=1, keepdims=True)
    return np.asarray((centred * values).sum(axis=1) / (centred**2).sum(axis=1))


def scales_of(given: Given) -> list[dict[str, object]]:
    """Size comparisons by the measure that leads, then by set size, that of arXiv 2401.12794 and 2606.01850."""
    metrics = dict.fromkeys((primary_measure(given.config), PRIMARY))
    return [one for metric in metrics for one in find_scale(given.measured, given.protocol, metric=metric)]


def find_scale(measured: Sequence[Measured], protocol: Protocol, *, metric: str = PRIMARY) -> list[dict[str, object]]:
    """Size comparisons among measured cells: a metric of dense models by size, and the loss of each variant by size.

    Args:
        measured: cells with the joint replicates of the metric.
        metric: a key of `MEASURES`.

    Returns:
        One record a task (and the average over tasks, of the models that have all of them), variant and group of
        models: a model family with several sizes, or ``all`` families together, which is marked as confounded.
        `figure`: ``value`` for dense, ``loss`` for the rest. `models`
        lists sizes, values and intervals; `slope` and its intervals are None, with the reason under
        `notes`, for fewer than three sizes, and its interval over models for fewer than five models. `differences`: of
        pairs within a family; `order_p` and `order_p_least`: see `Order`.
    """
    by_variant: dict[tuple[str, str], list[Sized]] = {}
    losses = _losses(measured, protocol, metric)
    wanted = compared_settings(measured)
    several = len({setting.task for setting in wanted}) > 1
    for (variant, _), parts in losses.items():
        means = {task: {one: parts[one] for one in parts if one.task == task} for task in {one.task for one in parts}}
        if several and parts.keys() >= set(wanted):
            means[MACRO] = {one: parts[one] for one in sorted(wanted)}
        for task, some in means.items():
            mean = _mean(some, apart=task == MACRO)
            if mean.room > 0:
                by_variant.setdefault((task, variant), []).append(mean.sized())
    records = []
    for (task, variant), models in sorted(by_variant.items(), key=lambda item: (item[0][0] == MACRO, item[0])):
        models = sorted(models, key=lambda one: (one.params_b, one.model))
        families = grouped(models, lambda one: model_family(one.model))
        place = (task, variant, metric)
        for family, members in sorted(families.items()):
            if len({one.params_b for one in members}) > 1:
                records.append(_record(*place, family, members, protocol.name, confounded=False))
        if len(families) > 1:
            records.append(_record(*place, "all", models, protocol.name, confounded=True))
    return records


@dataclass(frozen=True)
class _Loss:
    """What a model loses, and what it has to lose, higher being worse; of a dense model, its value over 1.

    Attributes:
        change, room: shape [].
        changes, rooms: shape [replicates].
        refitted: of something that is fitted to a part of the items (a temperature): the fit costs score on the others,
            the more the less a model knows, and replicates show that bias once more (docs/dose.md).
    """

    model: str
    params_b: float
    bits: float | None
    change: float
    changes: Floats
    room: float
    rooms: Floats
    refitted: bool

    def sized(self) -> Sized:
        """The quotient, its replicates about what the value would be without the bias of a fit."""
        changes, rooms = self.changes, self.rooms
        if self.refitted:
            changes, rooms = _unbiased(changes, self.change), _unbiased(rooms, self.room)
        quotients = changes / np.where(rooms > 0, rooms, np.nan)
        return Sized(self.model, self.params_b, self.change / self.room, quotients, self.bits)


def _unbiased(replicates: Floats, value: float) -> Floats:
    """Moved by twice what they lie off the value on average: that lies as far off the truth as they off it."""
    usable = replicates[np.isfinite(replicates)]
    return replicates - 2 * (usable.mean() - value) if len(usable) else replicates


def _losses(
    measured: Sequence[Measured], protocol: Protocol, metric: str
) -> dict[tuple[str, str], dict[Setting, _Loss]]:
    """By variant and model, what is lost in each setting; noise and rotations are left out as in every average."""
    measure = MEASURES[metric]
    dense_of = {one.cell.curve_key: one for one in measured if one.cell.is_dense}
    models = grouped(measured, lambda one: one.cell.curve_key[0])
    plain = {model: set(unperturbed(map(cell_setting, members))) for model, members in models.items()}
    found: dict[tuple[str, str], dict[Setting, _Loss]] = {}
    for one in measured:
        params, model, setting = one.row["params_b"], one.cell.curve_key[0], cell_setting(one)
        dense = dense_of.get(one.cell.curve_key)
        key, parent = measure.read(dense=one is dense), measure.read(dense=True)
        if not isinstance(params, float) or dense is None or key not in one.values or parent not in dense.values:
            continue
        if one is not dense and {"no-op", "unpaired-items", "at-chance"} & set(one.flags):
            continue
        if setting not in plain[model]:
            continue
        change, changes = one.values[key], one.replicates[key]
        room, rooms = 1.0, np.ones_like(changes)
        if one is not dense:
            chance, chances = measure.of_blind_guess(dense.cell, protocol)
            start, starts = measure.sign * dense.values[parent], measure.sign * dense.replicates[parent]
            change, changes = measure.sign * change - start, measure.sign * changes - starts
            room, rooms = chance - start, chances - starts
        bits = one.row["bits_per_weight"]
        known = bits if isinstance(bits, float) else None
        loss = _Loss(model, params, known, change, changes, room, rooms, key in AFTER_TEMPERATURE)
        found.setdefault((one.cell.key.variant, model), {})[setting] = loss
    return found


def _mean(parts: Mapping[Setting, _Loss], *, apart: bool) -> _Loss:
    """Loss and room averaged apart: a mean of quotients would be that of the part with the least room."""
    return replace(
        next(iter(parts.values())),
        change=float(averaged(parts, lambda part: np.array(part.change))),
        changes=averaged(parts, lambda part: part.changes, apart=apart),
        room=float(averaged(parts, lambda part: np.array(part.room))),
        rooms=averaged(parts, lambda part: part.rooms, apart=apart),
    )


def _record(
    task: str, variant: str, metric: str, family: str, models: Sequence[Sized], protocol: str, *, confounded: bool
) -> dict[str, object]:
    slope = slope_on_size(models)
    notes = []
    if slope is None:
        count = len({one.params_b for one in models})
        notes.append(f"{count} sizes: no slope is drawn through fewer than {LEAST_SIZES}")
    elif slope.low is None:
        notes.append(f"{len(models)} models are no sample of models: the interval of the slope is that of items alone")
    order = order_on_size(models)
    if order is not None and order.least > 0.05:
        notes.append(f"p of the order is {order.least:.2g} at least with {len(models)} models, whatever the items say")
    if confounded:
        notes.append("across families: training data and recipe change with size, so the slope is confounded")
    known = [one.bits for one in models if one.bits is not None]
    if variant != "dense" and known and max(known) - min(known) > BITS_ALIKE:
        notes.append(f"measured bits a weight differ between models ({min(known):.2f} to {max(known):.2f})")
    listed = []
    for one in models:
        ends = _ends(*one.interval)
        listed.append(
            {"model": one.model, "params_b": one.params_b, "value": one.value, "low": ends[0], "high": ends[1]}
        )
    return {
        "task": task,
        "variant": variant,
        "metric": metric,
        "figure": "value" if variant == "dense" else "loss",
        "group": family,
        "confounded": confounded,
        "protocol": protocol,
        "models": listed,
        "slope": None if slope is None else slope.value,
        **{f"slope_{end}": getattr(slope, end, None) for end in ("low", "high", "items_low", "items_high")},
        "differences": [] if confounded else differences(models, end=np.inf if variant == "dense" else 1.0),
        "order_p": None if order is None else order.p,
        "order_p_least": None if order is None else order.least,
        "notes": notes,
    }
