"""What certainty does when a model is damaged: dense with noise of its own, of several kinds, at every strength.

A variant that answers other questions rightly than dense does was damaged somehow. Each kind of damage here costs set
size, accuracy and flipped answers along a curve of rising strength. A *null* takes the strength that flips as many
answers as the variant flipped; where a null has several curves, it stands between them where it loses as much accuracy
as the variant lost. What the nulls then say of the set size is what accuracy and flips explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from suite.arrays import Floats
from suite.metrics import bootstrap, conformal, proper
from suite.metrics.folds import item_draws
from suite.metrics.measure import Scored

COPIES, SPLITS = 2, 5
"""Draws of the noise that are averaged, and conformal splits of each."""

STRENGTHS = (0.15, 0.3, 0.5, 0.8, 1.3, 2.2, 4.5)
"""Noise in units of dense's typical spread of log probabilities within an item."""

SHARES = (0.02, 0.05, 0.08, 0.11, 0.15, 0.22, 0.35, 0.6, 0.95)
"""Shares of items that are broken."""

SCRAMBLED = 10.0
"""Noise of a broken item, in the same units: nothing is left of it."""


@dataclass(frozen=True)
class Damage:
    """One way to damage a model.

    Attributes:
        strengths: how much of it, rising.
        spread: standard deviation of the logarithm of an item's own share of the noise; 0 where all items get the same.
        broken: part of the damage that breaks a share of the items, between 0 (noise on all) and 1 (on none else).
        factor: the log probabilities are multiplied by it first: below 1 flatter, above 1 sharper.
        position: the noise is one and the same for all items: one option is preferred.
    """

    strengths: tuple[float, ...] = STRENGTHS
    spread: float = 0.0
    broken: float = 0.0
    factor: float = 1.0
    position: bool = False


DAMAGES: dict[str, Damage] = {
    "even": Damage(),
    "uneven": Damage(spread=1.0),
    "very uneven": Damage(spread=2.0),
    "half broken": Damage(broken=0.5),
    "broken": Damage(SHARES, broken=1.0),
    "position": Damage(tuple(3 * one for one in STRENGTHS[:6]), position=True),
    "flatter": Damage(STRENGTHS[1:6], factor=0.6),
    "sharper": Damage(STRENGTHS[1:6], factor=1.6),
}
"""Ways by name."""

NULLS: dict[str, tuple[str, ...]] = {
    "log-normal noise": ("even", "uneven", "very uneven"),
    "broken share": ("even", "half broken", "broken"),
    "position bias": ("position",),
    "flatter": ("flatter",),
    "sharper": ("sharper",),
}
"""What may explain a change, by name, and the curves that each is made of."""


@dataclass(frozen=True)
class Path:
    """What one damage does at rising strength, from dense on.

    Attributes:
        flips: share of items whose answer became right or wrong, shape [strengths, columns].
        lost: accuracy lost, same shape.
        grown: set size gained (mean of LAC and APS), same shape. The first column is the value, the others are
            bootstrap replicates.
    """

    flips: Floats
    lost: Floats
    grown: Floats

    def at(self, flips: Floats) -> tuple[Floats, Floats]:
        """Accuracy lost and set size gained where so many answers have flipped, column by column, shape [columns]."""
        reached = np.maximum.accumulate(self.flips, axis=0)
        return interpolated(reached, self.lost, flips), interpolated(reached, self.grown, flips)


def interpolated(x: Floats, y: Floats, at: Floats) -> Floats:
    """y at a point, column by column: linear between rising x, constant beyond the ends.

    Args:
        x, y: shape [points, columns], x not falling.
        at: shape [columns].

    >>> x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [10.0], [30.0]])
    >>> [float(interpolated(x, y, np.array([at]))[0]) for at in (-1.0, 0.5, 1.5, 9.0)]
    [0.0, 5.0, 20.0, 30.0]
    """
    if len(x) == 1:
        return np.asarray(y[0])
    columns = np.arange(x.shape[1])
    place = np.clip((x < at).sum(axis=0), 1, len(x) - 1)
    below, above = x[place - 1, columns], x[place, columns]
    share = np.clip((at - below) / np.where(above > below, above - below, 1.0), 0.0, 1.0)
    start, stop = y[place - 1, columns], y[place, columns]
    return np.asarray(start + share * (stop - start))


def explained(paths: Mapping[str, Path], *, flips: Floats, lost: Floats) -> Floats:
    """Set size gained by each null at so many flips and so much accuracy lost, shape [nulls, columns].

    Args:
        paths: from `damage_paths`.
        flips, lost: of the variant; value first, then replicates, shape [columns].
    """
    found = []
    for names in NULLS.values():
        both = [paths[name].at(flips) for name in names]
        losses, sizes = (np.stack(part) for part in zip(*both, strict=True))
        order = np.argsort(losses, axis=0, kind="stable")
        found.append(
            interpolated(np.take_along_axis(losses, order, axis=0), np.take_along_axis(sizes, order, axis=0), lost)
        )
    return np.stack(found)


def damage_paths(dense: Scored) -> dict[str, Path]:
    """Damage the dense model in every way of `DAMAGES`. The noise follows from the item ids, so that neither order nor
    variant changes it."""
    sample, log_p = dense.sample, dense.log_probabilities
    finite = np.isfinite(log_p)
    scores = np.where(finite, log_p, 0.0)
    centre = scores.sum(axis=1, keepdims=True) / finite.sum(axis=1, keepdims=True)
    spread = np.sqrt((np.where(finite, scores - centre, 0.0) ** 2).sum(axis=1) / finite.sum(axis=1))
    unit = max(float(np.median(spread)), 1e-6)
    weights, redrawn = sample.weights, sample.drawn(SPLITS)
    folds = redrawn.folds

    def outcome(logs: Floats) -> tuple[Floats, Floats, Floats]:
        """Correctness of each item; accuracy and set size with replicates, shape [1 + replicates]."""
        shifted = np.where(finite, np.exp(logs - logs.max(axis=1, keepdims=True)), 0.0)
        p = np.where(dense.valid, shifted / shifted.sum(axis=1, keepdims=True), np.nan)
        correct = proper.fractional_correct(p, dense.answers)
        both = [
            conformal.lac_scores(p, dense.answers),
            conformal.aps_scores(p, dense.answers, draws=sample.aps_draws),
        ]
        sizes = [
            np.r_[
                conformal.conformal_splits(one, dense.answers, folds=folds, alpha=sample.protocol.alpha).mean_size,
                bootstrap.set_replicates(
                    one, dense.answers, drawn=redrawn, alpha=sample.protocol.alpha, sizes_only=True
                ).size,
            ]
            for one in both
        ]
        return correct, with_replicates(correct, weights), np.mean(sizes, axis=0)

    start, accuracy, size = outcome(np.where(finite, scores, -np.inf))
    noises = [_Noise(sample.ids, scores.shape[1], copy) for copy in range(COPIES)]
    found = {}
    for name, damage in DAMAGES.items():
        rows = [np.zeros((3, len(size)))]
        for strength in damage.strengths:
            total = np.zeros((3, len(size)))
            for drawn in noises:
                noise = unit * damage.factor * drawn.of(damage, strength)
                correct, after, grown = outcome(np.where(finite, damage.factor * scores + noise, -np.inf))
                flipped = with_replicates(np.abs(correct - start), weights)
                total += np.stack([flipped, accuracy - after, grown - size]) / COPIES
            rows.append(total)
        table = np.stack(rows, axis=1)
        found[name] = Path(table[0], table[1], table[2])
    return found


def with_replicates(values: Floats, weights: bootstrap.Weights) -> Floats:
    """The mean of item values, then its bootstrap replicates, shape [1 + replicates]."""
    return np.concatenate([[values.mean()], bootstrap.weighted_means(values, weights)])


class _Noise:
    """One draw of everything random that damage uses; strengths and ways of damage share it."""

    def __init__(self, ids: Sequence[str], options: int, copy: int) -> None:
        shape = (len(ids), options)
        self.preferred = np.broadcast_to(np.arange(options) == copy % options, shape)
        self.scale = _normal(ids, f"damage-scale-{copy}")
        self.chosen = item_draws(ids, purpose=f"damage-broken-{copy}")
        self.shocks = np.column_stack([_normal(ids, f"matched-null-{copy}-{option}") for option in range(options)])

    def of(self, damage: Damage, strength: float) -> Floats:
        """In units of the typical spread, shape [n, options]."""
        if damage.position:
            return np.asarray(strength * self.preferred)
        amount = np.full(len(self.chosen), strength * (1 - damage.broken))
        if damage.spread:
            amount = amount * np.exp(damage.spread * self.scale)
        if damage.broken:
            share = strength if damage.broken == 1 else 1 - np.exp(-0.8 * damage.broken * strength)
            amount = np.where(self.chosen < share, SCRAMBLED, amount)
        return np.asarray(amount[:, None] * self.shocks)


def _normal(ids: Sequence[str], purpose: str) -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(item_draws(ids, purpose=purpose), 1e-12, 1 - 1e-12)))
