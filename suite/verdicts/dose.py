"""Down to which level is a metric kept, from which is it lost, and what is not known between: one curve at a time.

A loss is a share of the way from dense to chance: with v the metric (turned so that higher is worse), v_0 that of dense
and c its value at chance, level j has lost (v_j - v_0) / (c - v_0). It is never tested as a ratio of estimates. Whether
it lies below or above a tolerance f is the sign of the contrast

    g_j(f) = v_j - (1 - f) v_0 - f c,

tested with its own standard error: dense, chance and level vary together in the replicates, or, for accuracy, item by
item in a score test. All that is said of a curve comes from the two p-values of these contrasts: the states of levels,
the interval of a loss (the tolerances that its tests leave open), and the dose (where the same bounds cross f).

docs/dose.md has the definitions, error rates and limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from suite.arrays import Floats, Numbers
from suite.config import Primary
from suite.errors import SuiteError
from suite.metrics.proportions import WORTH_OF_ITEM
from suite.metrics.score_test import Stratum, score_statistic
from suite.metrics.skewness import Moments, without_skewness
from suite.metrics.slices import holm
from suite.verdicts.axis import BITS
from suite.verdicts.recipe_scope import new_draw_variance, p_value

TOLERANCES = Primary().tolerances
"""Shares of the headroom that are looked at unless others are named."""

CONFIDENCE = 0.95
"""Of each side: "kept" is wrong in 5 % of curves at most, and so is "lost"."""

COVERAGE_BAND = 0.02
"""How far coverage under dense's threshold may lie from dense's own, either way."""

STATES = ("kept", "worse", "lost", "not_known")

FARTHEST = 64.0
"""Losses beyond this share of the headroom are called unbounded."""

Z_POWER = 0.8416212
"""Power 0.8, in standard errors: how surely the items named by `items_to_decide` decide."""


@dataclass(frozen=True)
class Answers:
    """Whether each item of one task was answered rightly, level by level.

    Attributes:
        correct: 0, 1 or a fraction where options tie, shape [levels, n].
        chance: what a blind guess is worth on each item, shape [n].
        units: number of the unit of each item, shape [n].
    """

    correct: Floats
    chance: Floats
    units: Numbers

    @cached_property
    def average(self) -> float:
        """What a blind guess is worth on the mean item."""
        return float(self.chance.mean())

    @cached_property
    def kinds(self) -> list[tuple[Floats, Numbers]]:
        """By level: the different items there are (answer of dense, answer of the level, chance; shape [3, kinds]), and
        of which kind each one is, shape [n]."""
        result = []
        for level in self.correct:
            known, kinds = np.unique(np.stack([self.correct[0], level, self.chance]), axis=1, return_inverse=True)
            result.append((known, kinds.ravel()))
        return result


@dataclass(frozen=True)
class Band:
    """A second measure that must stay near that of dense: coverage beside set size.

    Attributes:
        values: shape [levels].
        replicates: joint with those of the curve, shape [levels, replicates].
        width: how far it may lie from dense's.
        noise: how far dense computed otherwise may lie from it.
        draws: as of the curve.
    """

    values: Floats
    replicates: Floats
    width: float = COVERAGE_BAND
    noise: float = 0.0
    draws: tuple[Floats, ...] = ()


@dataclass(frozen=True)
class Ladder:
    """One metric along levels in their fixed nominal order, dense first; higher is worse.

    Attributes:
        names: variant of each level.
        values: shape [levels].
        replicates: bootstrap values, joint over levels, shape [levels, replicates].
        chance: the value of an uninformative model.
        chance_replicates: the same in each replicate, shape [replicates].
        independent: number of independent units of items.
        freedom: degrees of freedom of the errors of contrasts, for their t distribution; 0 for independent - 1.
        amounts: bits or percent zeros of each level, that of dense unused, shape [levels]; None where there is no such
            axis.
        unit: ``bits`` or ``percent zeros``.
        answers: item by item, one entry a task, for accuracy: they take the place of the replicates.
        band: of a measure that never stands alone.
        floor: loss that worse and lost must exceed, whatever the tolerance (`suite.verdicts.noise_floor`).
        draws: for a verdict on a recipe, the value of each level with each seed of its sample text, dense's empty;
            values and replicates are then means over seeds. Empty for a verdict on a checkpoint.
        worth: events that an independent item stands for where few of them decide (`few_events`).
        refitted: the values rest on something fitted to a part of the items, as replicates do again: how far these lie
            off the value on average is the bias of the value itself. Not of set sizes, whose replicates average fewer
            splits than their values.
    """

    names: tuple[str, ...]
    values: Floats
    replicates: Floats
    chance: float
    chance_replicates: Floats
    independent: int
    freedom: int = 0
    amounts: Floats | None = None
    unit: str = ""
    answers: tuple[Answers, ...] = ()
    band: Band | None = None
    floor: float = 0.0
    draws: tuple[Floats, ...] = ()
    worth: float = WORTH_OF_ITEM
    refitted: bool = False

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.values.shape != (count,) or len(self.replicates) != count or count < 2:
            raise ValueError(f"{count} names, values {self.values.shape}, replicates {self.replicates.shape}")

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the errors, 1 at least."""
        return max(self.freedom or self.independent - 1, 1)


@dataclass(frozen=True)
class LevelDose:
    """One level at one tolerance.

    Attributes:
        variant: its name.
        loss: share of the headroom; below 0 for a gain; None where the headroom is not shown off zero.
        low, high: one-sided bounds of it, each with the confidence; None where unbounded.
        state: one of `STATES`.
        holm: ``kept`` or ``lost`` where that is shown without an order, corrected for all levels; else None.
        items_to_decide: see `Dose`.
    """

    variant: str
    loss: float | None
    low: float | None
    high: float | None
    state: str
    holm: str | None = None
    items_to_decide: int | str | None = None


@dataclass(frozen=True)
class Dose:
    """What one curve says at one tolerance.

    Attributes:
        kept_through: the severest level such that it and every tested level before it are shown to have lost less.
        lost_from: the mildest level such that it and every tested level after it are shown to have lost more.
        levels: dense left out. ``kept``: within `kept_through`. ``lost``: lost at the largest tolerance. ``worse``:
            lost at this tolerance and kept at the largest. Its `items_to_decide`, where neither side of this tolerance
            is shown: the items that would show one in 80 % of repetitions if the true loss is what was seen, or ``at
            the tolerance``, ``within the noise floor``, ``needs more seeds``.
        dose, low, high: where loss and bounds cross the tolerance, in bits or percent zeros; None off the levels.
        bound: where the dose lies off the levels, such as ``> 8 bits``; else None.
        notes: what stood in the way.
    """

    kept_through: str | None
    lost_from: str | None
    levels: tuple[LevelDose, ...]
    dose: float | None = None
    low: float | None = None
    high: float | None = None
    bound: str | None = None
    notes: tuple[str, ...] = ()


def check_confidence(confidence: float) -> float:
    """The confidence of each side.

    Raises:
        SuiteError: not between .5 and 1.
    """
    if not 0.5 < confidence < 1:
        raise SuiteError(f"confidence {confidence:g}: out of range, use a number above 0.5 and below 1 such as 0.95")
    return confidence


def check_tolerances(tolerances: Sequence[float]) -> tuple[float, ...]:
    """The tolerances, rising, each once.

    Raises:
        SuiteError: one is not between 0 and 1.
    """
    for tolerance in tolerances:
        if not 0 < tolerance < 1:
            raise SuiteError(
                f"tolerance {tolerance:g}: out of range, use a share of the way from dense to chance between 0 and 1, "
                "such as 0.05"
            )
    return tuple(sorted(set(tolerances)))


def find_doses(
    ladder: Ladder, *, tolerances: Sequence[float] = TOLERANCES, confidence: float = CONFIDENCE, tied: bool = False
) -> dict[float, Dose]:
    """What a curve says at each tolerance.

    Args:
        ladder: its levels in the order of their nominal amounts, which was fixed before any outcome.
        tolerances: shares of the headroom; the largest decides what is called lost.
        confidence: of each side.
        tied: the levels have no order: each stands alone.

    >>> noise = np.random.default_rng(0).normal(0, 0.003, (4, 999))
    >>> values = np.array([0.40, 0.40, 0.45, 0.70])
    >>> curve = Ladder(("dense", "w8", "w4", "w2"), values, values[:, None] + noise, 0.75, np.full(999, 0.75), 999)
    >>> found = find_doses(curve)
    >>> found[0.05].kept_through, found[0.25].lost_from, [level.state for level in found[0.05].levels]
    ('w8', 'w2', ['kept', 'worse', 'lost'])
    """
    check_confidence(confidence)
    shares = check_tolerances(tolerances)
    test = Contrasts(ladder, confidence)
    if not test.enough:
        return _unknown(ladder, shares, "a level has too few bootstrap replicates")
    if not test.known:
        return _unknown(
            ladder, shares, "headroom not shown off zero: dense is not shown to lie above chance, nothing can be lost"
        )
    bounds = [test.interval(level, confidence) for level in range(1, len(ladder.names))]
    tests = {share: _shown(test, share, tied=tied) for share in shares}
    largest = tests[shares[-1]]
    return {share: _dose_at(test, share, tests[share], largest, bounds, tied=tied) for share in shares}


def kept_everywhere(
    tasks: Sequence[Ladder], *, tolerance: float, confidence: float = CONFIDENCE, tied: bool = False
) -> str | None:
    """The severest level that is kept on every task; all must hold, so none is corrected for their number.

    Args:
        tasks: curves with the same levels, one a task; nothing is kept on one without values.
    """
    kept = np.all([_shown(Contrasts(one, confidence), tolerance, tied=tied).kept for one in tasks], axis=0)
    return next((name for name, one in zip(tasks[0].names[:0:-1], kept[::-1].tolist(), strict=True) if one), None)


def lost_somewhere(
    tasks: Sequence[Ladder], *, tolerance: float, confidence: float = CONFIDENCE, tied: bool = False
) -> str | None:
    """The mildest level such that it and all after it are lost on at least one task, corrected for their number (Holm).

    Args:
        tasks: curves with the same levels, one a task; one without values counts as a task without a loss.
    """
    found = [Contrasts(ladder, confidence) for ladder in tasks]
    shown = [
        min(holm([test.lost(level, tolerance) for test in found])) <= 1 - confidence
        for level in range(1, len(tasks[0].names))
    ]
    lost = tuple(shown) if tied else in_sequence(shown[::-1])[::-1]
    return next((name for name, one in zip(tasks[0].names[1:], lost, strict=True) if one), None)


def sides(ladder: Ladder, share: float) -> tuple[list[float], list[float]]:
    """Of each compressed level the p-values of "has lost less than this share" and of "has lost more"; 1 where nothing
    can be said of the curve."""
    test = Contrasts(ladder)
    levels = range(1, test.count + 1)
    return [test.kept(level, share) for level in levels], [test.lost(level, share) for level in levels]


def share_of(ladder: Ladder, level: int) -> float:
    """What a level has lost, as a share of the headroom; dense is level 0."""
    return _share_of(ladder.values, ladder.chance, level)


def without_values(names: Sequence[str], tolerances: Sequence[float], note: str) -> dict[float, Dose]:
    """The doses of a curve of which nothing can be said, with the reason."""
    levels = tuple(LevelDose(name, None, None, None, "not_known") for name in names)
    return {share: Dose(None, None, levels, notes=(note,)) for share in check_tolerances(tolerances)}


def _unknown(ladder: Ladder, shares: Sequence[float], note: str) -> dict[float, Dose]:
    return without_values(ladder.names[1:], shares, note)


class Contrasts:
    """p-values of the contrasts of one curve, at a confidence of each side."""

    def __init__(self, ladder: Ladder, confidence: float = CONFIDENCE) -> None:
        self.ladder, self.confidence = ladder, confidence
        finite = np.isfinite(ladder.replicates).all(axis=0) & np.isfinite(ladder.chance_replicates)
        if ladder.band is not None:
            finite &= np.isfinite(ladder.band.replicates).all(axis=0)
        self.enough = bool(ladder.answers) or bool(finite.sum() >= max(2, 0.95 * len(finite)))
        rows = np.vstack([ladder.replicates, ladder.chance_replicates])[:, finite]
        self._values = np.r_[ladder.values, ladder.chance]
        resampled = self.enough and not ladder.answers
        self._moments = Moments(rows if resampled else np.zeros((len(rows), 2)))
        self._off = rows.mean(axis=1) - self._values if resampled and ladder.refitted else np.zeros(len(rows))
        self._units = ladder.independent
        self._freedom = ladder.degrees
        self._finite = finite

    @property
    def count(self) -> int:
        """Compressed levels."""
        return len(self.ladder.names) - 1

    def loss(self, level: int) -> float:
        """What was seen: the share of the headroom that a level has lost."""
        return _share_of(self.ladder.values, self.ladder.chance, level)

    def estimate(self, level: int, share: float) -> float:
        """The contrast itself."""
        return float(self._weights(level, share) @ self._values)

    def statistic(self, level: int, share: float, *, headroom: bool = False, less: float = 0.0) -> float:
        """The contrast of a level at a tolerance in its standard errors; the headroom's at level 0 with `headroom`.

        Args:
            less: answers that are taken from what was lost.
        """
        if answers := self.ladder.answers:
            taken = less / len(answers)
            return score_statistic([_stratum(one, level, share, headroom=headroom, less=taken) for one in answers])
        weights = self._weights(level, share)
        if headroom:
            weights = -self._weights(0, 1.0)
        value = float(weights @ self._values)
        variance = self._moments.variance(weights)
        scale = float(np.abs(self._values).max()) or 1.0
        if variance <= (1e-9 * scale) ** 2:
            return 0.0 if abs(value) <= 1e-9 * scale else float(np.copysign(np.inf, value))
        return float(value / np.sqrt(variance))

    def corrected(self, level: int, share: float) -> float:
        """The statistic without the skewness of its replicates; the score test of answers has none to take out."""
        statistic = self.statistic(level, share)
        if self.ladder.answers:
            return statistic
        return without_skewness(statistic, self._moments.skewness(self._weights(level, share)))

    def bias(self, level: int, share: float) -> float:
        """How far the contrast lies too high on average, in its standard errors: it is taken out of "lost", and out of
        "kept" where it is negative.

        A temperature that is fitted to a fifth of the items costs score outside them, the more the flatter the model:
        it makes levels look worse than dense. Replicates are fitted to items of a sample as the sample is to those of
        the population, and show the same once more.
        """
        weights = self._weights(level, share)
        variance = self._moments.variance(weights)
        off = float(weights @ self._off)
        return off / float(np.sqrt(variance)) if off and variance > 0 else 0.0

    @cached_property
    def known(self) -> bool:
        """Whether anything can be said: enough replicates are finite, and dense is shown to lie off chance."""
        headroom = float(self.ladder.chance - self.ladder.values[0])
        return self.enough and headroom > 0 and self.above(0, 0.0, headroom=True) <= 1 - self.confidence

    def below(self, level: int, share: float) -> float:
        """p-value of "has lost less than this share"."""
        if self.ladder.draws:
            found = self._drawn(level, share, -1)
        else:
            flattered = max(-self.bias(level, share), 0.0)
            found = self._tail(max(self.statistic(level, share), self.corrected(level, share)) + flattered)
        if self.ladder.answers:
            return found
        return max(found, few_events(self.loss(level), share, self._units, worth=self.ladder.worth))

    def above(self, level: int, share: float, *, headroom: bool = False) -> float:
        """p-value of "has lost more than this share", or of "dense lies off chance"."""
        if self.ladder.draws and not headroom:
            return self._drawn(level, share, +1)
        # answers are whole: without half of one, few flips are too many in up to 7 % at 100 items
        statistic = self.statistic(level, share, headroom=headroom, less=0.5)
        return self._tail(-statistic if headroom else max(self.bias(level, share), 0.0) - statistic)

    def kept(self, level: int, share: float) -> float:
        """p-value of "kept": below the tolerance, and within the band where there is one; 1 where nothing is known."""
        if not self.known:
            return 1.0
        found = self.below(level, share)
        if self.ladder.band is None:
            return found
        width = self.ladder.band.width
        return max(found, *(self.band_above(level, side, -width) for side in (-1, 1)))

    def lost(self, level: int, share: float) -> float:
        """p-value of "lost": above the tolerance, or outside the band where there is one (each at half the level).

        What dense loses when it is computed otherwise is no loss: the noise floor must be exceeded too. 1 where nothing
        is known.
        """
        if not self.known:
            return 1.0
        found = self.above(level, min(max(share, self.ladder.floor), FARTHEST))
        if self.ladder.band is None:
            return found
        width = max(self.ladder.band.width, self.ladder.band.noise)
        return min(1.0, 2 * min(found, *(self.band_above(level, side, width) for side in (-1, 1))))

    def items_statistic(self, level: int, share: float) -> float:
        """Of a recipe: the contrast beyond the margin of its seeds, in standard errors of items; 0 within it."""
        from scipy.special import stdtrit

        weights, draws = self._weights(level, share), self.ladder.draws[level]
        value = self.estimate(level, share)
        left = value**2 - float(stdtrit(len(draws) - 1, self.confidence)) ** 2 * new_draw_variance(draws)
        variance = self._moments.variance(weights)
        return float(np.copysign(np.sqrt(max(left, 0.0) / max(variance, 1e-24)), value))

    def interval(self, level: int, confidence: float) -> tuple[float | None, float | None]:
        """The tolerances that the two one-sided tests leave open (Fieller's interval); None where unbounded."""
        at = self.loss(level)
        return (
            end_of(partial(self.above, level), at, -1, confidence),
            end_of(partial(self.below, level), at, +1, confidence),
        )

    def _weights(self, level: int, share: float) -> Floats:
        weights = np.zeros(len(self._values))
        weights[level] += 1.0
        weights[0] -= 1.0 - share
        weights[-1] -= share
        return weights

    def _drawn(self, level: int, share: float, side: int) -> float:
        """p-value of a recipe: of a contrast below (-1) or above (+1) zero with another draw of the sample text."""
        weights = self._weights(level, share)
        variance = self._moments.variance(weights)
        value = side * self.estimate(level, share) - max(side * float(weights @ self._off), 0.0)
        return p_value(value, variance, self._freedom, self.ladder.draws[level])

    def band_above(self, level: int, side: int, edge: float) -> float:
        """p-value of "a change of the band's measure, turned by the side (+1 or -1), is more than this"."""
        band = self.ladder.band
        assert band is not None
        value = side * float(band.values[level] - band.values[0]) - edge
        moments = Moments(side * (band.replicates[level] - band.replicates[0])[None, self._finite])
        variance = max(moments.variance(np.ones(1)), 1e-24)
        if band.draws:
            return p_value(value, variance, self._freedom, band.draws[level])
        statistic = float(value / np.sqrt(variance))
        return self._tail(-min(statistic, without_skewness(statistic, moments.skewness(np.ones(1)))))

    def _tail(self, statistic: float) -> float:
        from scipy.special import stdtr

        return float(stdtr(self._freedom, statistic)) if np.isfinite(statistic) else float(statistic > 0)


def end_of(p_value: Callable[[float], float], start: float, direction: int, confidence: float) -> float | None:
    """The end of an interval: where a p-value falls to the level, going this way; None where it does not.

    Args:
        p_value: of a hypothesis about a share; found on the normal scale, where it is nearly a line.
        start: what was seen.
        direction: -1 or +1.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    def left(share: float) -> float:
        return float(ndtri(min(max(p_value(share), 1e-300), 1 - 1e-15)) + ndtri(confidence))

    step, near, before = 1 / 64, start, left(start)
    while step <= FARTHEST:
        far = start + direction * step
        after = left(far)
        if after <= 0:
            return near if before <= 0 else float(brentq(left, near, far, xtol=1e-10))
        near, before, step = far, after, 2 * step
    return None


def _stratum(answers: Answers, level: int, share: float, *, headroom: bool, less: float) -> Stratum:
    average, taken = answers.average, less / len(answers.chance)
    (before, after, chance), kinds = answers.kinds[level]
    if headroom:
        return Stratum(before - chance - taken, answers.units, -average - taken, 1 - average, kinds)
    values = (1 - share) * before - after + share * chance - taken
    low, high = min(0.0, 1 - share) - 1 + share * average - taken, max(0.0, 1 - share) + share * average
    return Stratum(values, answers.units, min(low, float(values.min())), max(high, float(values.max())), kinds)


def few_events(loss: float, share: float, units: float, *, worth: float = WORTH_OF_ITEM) -> float:
    """p-value of "has lost less than this share" where all that is lost is lost on a few items, answered blindly.

    Where none or hardly any were seen, resampling sees hardly any spread; a binomial tail knows what can hide among so
    many items. A gain counts as no loss.

    Args:
        worth: events that an item stands for; 1 where an item is lost or kept as a whole.

    >>> round(few_events(0.0, 0.05, 200), 3)  # 0.95 ** 50
    0.077
    """
    from scipy.special import betainc

    count = worth * units
    seen = max(loss, 0.0) * count
    if share <= 0 or share >= 1 or seen >= count:
        return float(share < 1)
    return float(betainc(count - seen, seen + 1, 1 - share))


def _share_of(values: Floats, chance: float, level: int) -> float:
    headroom = float(chance - values[0])
    return float(values[level] - values[0]) / headroom if headroom else float("nan")


@dataclass(frozen=True)
class _Shown:
    """By level (dense left out): in the kept sequence, in the lost sequence, shown alone, shown under Holm."""

    kept: tuple[bool, ...]
    lost: tuple[bool, ...]
    kept_alone: tuple[bool, ...]
    lost_alone: tuple[bool, ...]
    holm: tuple[str | None, ...]


def _shown(test: Contrasts, share: float, *, tied: bool) -> _Shown:
    level = 1 - test.confidence
    kept = [test.kept(one, share) for one in range(1, test.count + 1)]
    lost = [test.lost(one, share) for one in range(1, test.count + 1)]
    kept_alone, lost_alone = tuple(p <= level for p in kept), tuple(p <= level for p in lost)
    corrected = [
        "kept" if low <= level else "lost" if high <= level else None
        for low, high in zip(holm(kept), holm(lost), strict=True)
    ]
    if tied:
        return _Shown(kept_alone, lost_alone, kept_alone, lost_alone, tuple(corrected))
    return _Shown(
        in_sequence(kept_alone), in_sequence(lost_alone[::-1])[::-1], kept_alone, lost_alone, tuple(corrected)
    )


def in_sequence(shown: Sequence[bool]) -> tuple[bool, ...]:
    """Tests in a fixed order: each counts only if all before it did.

    Reference: W. Maurer, L. Hothorn, W. Lehmacher, "Multiple comparisons in drug clinical trials and preclinical
    assays: a-priori ordered hypotheses", 1995.

    >>> in_sequence([True, False, True])
    (True, False, False)
    """
    first = next((place for place, one in enumerate(shown) if not one), len(shown))
    return tuple(place < first for place in range(len(shown)))


def _dose_at(
    test: Contrasts,
    share: float,
    shown: _Shown,
    largest: _Shown,
    bounds: Sequence[tuple[float | None, float | None]],
    *,
    tied: bool,
) -> Dose:
    ladder = test.ladder
    names = ladder.names[1:]
    levels = []
    for place, name in enumerate(names):
        state = "not_known"
        if shown.kept[place]:
            state = "kept"
        elif largest.lost[place]:
            state = "lost"
        elif shown.lost[place] and largest.kept[place]:
            state = "worse"
        open_at = not shown.kept_alone[place] and not shown.lost_alone[place]
        levels.append(
            LevelDose(
                name,
                _share_of(ladder.values, ladder.chance, place + 1),
                *bounds[place],
                state,
                shown.holm[place],
                _items_to_decide(test, place + 1, share) if open_at and ladder.band is None else None,
            )
        )
    kept_through = [name for name, one in zip(names, shown.kept, strict=True) if one]
    lost_from = [name for name, one in zip(names, shown.lost, strict=True) if one]
    found = Dose(kept_through[-1] if kept_through else None, lost_from[0] if lost_from else None, tuple(levels))
    notes = []
    if any(high is None for _, high in bounds):
        notes.append("a loss without an upper bound: the headroom is known too badly")
    if ladder.band is not None:
        return replace(found, notes=(*notes, "two measures, set size and coverage: no dose"))
    if tied or ladder.amounts is None:
        return replace(found, notes=(*notes, "no order of levels: no dose"))
    return _crossed(found, ladder, share, bounds, notes)


def _items_to_decide(test: Contrasts, level: int, share: float) -> int | str:
    from scipy.special import ndtri

    if test.above(level, share) <= 1 - test.confidence:
        return "within the noise floor"
    statistic = test.statistic(level, share)
    if abs(statistic) < 1:
        return "at the tolerance"
    if test.ladder.draws:
        statistic = test.items_statistic(level, share)
        if statistic == 0:
            return "needs more seeds"
    edge, ladder = float(ndtri(test.confidence)), test.ladder
    items = ladder.independent * ((edge + Z_POWER) / statistic) ** 2
    if statistic < 0 and not ladder.answers:
        loss = max(_share_of(ladder.values, ladder.chance, level), 0.0)
        spread = edge * np.sqrt(share * (1 - share)) + Z_POWER * np.sqrt(loss * (1 - loss))
        items = max(items, (spread / (share - loss)) ** 2 / WORTH_OF_ITEM)
    return int(np.ceil(items))


def _crossed(
    found: Dose,
    ladder: Ladder,
    share: float,
    bounds: Sequence[tuple[float | None, float | None]],
    notes: Sequence[str],
) -> Dose:
    """With the dose: where the loss (isotonic) and its bounds (the nearest curves that rise) cross the tolerance.

    The upper bound is carried on from level to level and the lower one back, which is what tests in sequence do, so
    that the interval begins where "kept" ends and ends where "lost" begins.
    """
    assert ladder.amounts is not None
    amounts = ladder.amounts[1:]
    upper = np.maximum.accumulate([np.inf if high is None else high for _, high in bounds])
    lower = np.minimum.accumulate([-np.inf if low is None else low for low, _ in bounds][::-1])[::-1]
    middle = rising(np.array([level.loss for level in found.levels], dtype=np.float64))
    (mild, mild_off), (dose, off), (severe, severe_off) = (
        crossing(amounts, np.asarray(curve), at)
        for curve, at in ((upper, share), (middle, share), (lower, max(share, ladder.floor)))
    )
    falls = ladder.unit == BITS
    milder, severer = (">", "<") if falls else ("<", ">")
    beyond = {-1: f"{milder} {amounts[0]:g} {ladder.unit}", 1: f"{severer} {amounts[-1]:g} {ladder.unit}"}
    first, last = ("dose_high", "dose_low") if falls else ("dose_low", "dose_high")
    said = [f"{end} {beyond[place]}" for end, place in ((first, mild_off), (last, severe_off)) if place]
    low, high = (severe, mild) if falls else (mild, severe)
    return replace(found, dose=dose, low=low, high=high, bound=beyond.get(off), notes=(*notes, *said))


def crossing(amounts: Floats, curve: Floats, share: float) -> tuple[float | None, int]:
    """Where a rising curve over levels reaches a tolerance, linear between neighbours.

    Returns:
        The amount and 0; None and -1 where it does before the first level, None and 1 where it does not by the last.

    >>> crossing(np.array([8.0, 4.0, 3.0]), np.array([0.0, 0.1, 0.5]), 0.3)
    (3.5, 0)
    >>> crossing(np.array([8.0, 4.0, 3.0]), np.array([0.0, 0.1, 0.5]), 0.6)
    (None, 1)
    """
    reached = np.flatnonzero(curve >= share)
    if len(reached) == 0:
        return None, 1
    first = int(reached[0])
    if first == 0:
        return None, -1
    before, after = float(curve[first - 1]), float(curve[first])
    if not np.isfinite(before) or not np.isfinite(after):
        return float(amounts[first - 1] if np.isfinite(before) else amounts[first]), 0
    part = (share - before) / (after - before)
    return float(amounts[first - 1] + part * (amounts[first] - amounts[first - 1])), 0


def rising(values: Floats) -> Floats:
    """The nearest curve that does not fall (least squares, equal weights): pool adjacent violators.

    >>> rising(np.array([0.0, 0.3, 0.1, 0.5])).tolist()
    [0.0, 0.2, 0.2, 0.5]
    """
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values).x, dtype=np.float64)
