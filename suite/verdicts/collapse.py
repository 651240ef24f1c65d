"""Does uncertainty collapse like a threshold along a curve? The rule, as a function of values and their replicates.

Values are oriented so that higher is worse. In words (docs/collapse.md has the formulas, docs/detector.md the error
rates): a *threshold* is a jump between two neighbouring levels that carries more than half of the rise, exceeds the
practical minimum, is not undone later, and cannot be had from any smooth rival; at the last level, where no shape can
tell a jump from an exponential, every level before it must be equivalent to dense and the jump several times the
practical minimum. *Gradual* is a rise that no single jump makes: none carries half of it. *None* is the demonstration
that no level is worse than dense by the practical minimum. *Saturated* curves start where nothing is left to lose. All
else is *undetermined*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from suite.arrays import Floats
from suite.metrics.proportions import NORMAL
from suite.metrics.slices import holm
from suite.verdicts.rise import Rise, rises
from suite.verdicts.shapes import reject_rivals

VERDICTS = ("none", "gradual", "threshold", "saturated", "undetermined")

Z_LEVEL, Z_POWER = 1.6448536, 0.8416212
"""One-sided level 0.05 and power 0.8, in standard errors."""


@dataclass(frozen=True)
class Rule:
    """The constants of the procedure, fixed before results are seen.

    Attributes:
        level: of every test and of the family.
        practical_of_headroom: the practical minimum is at least this fraction of the way from dense to chance.
        jitter_of_headroom: how far a checkpoint may lie off any smooth curve for reasons of its own (standard
            deviation, as a fraction of the headroom); without it many items would turn every idiosyncrasy into a
            threshold.
        end_multiple: how many practical minimums a jump at the last level must exceed.
        least_items, least_levels: fewer items, or fewer levels with dense, are undetermined.
    """

    level: float = 0.05
    practical_of_headroom: float = 0.1
    jitter_of_headroom: float = 0.03
    end_multiple: float = 3.0
    least_items: int = 100
    least_levels: int = 4


RULE = Rule()


@dataclass(frozen=True)
class Curve:
    """One metric along rising levels, higher is worse.

    Attributes:
        names: variant of each level, dense first.
        values: shape [levels].
        replicates: bootstrap values, paired over levels, shape [levels, replicates].
        minimum: the absolute part of the practical minimum, in units of the metric.
        chance: the value an uninformative model has; None where that is not defined.
        items: number of items (the smallest, of an average over tasks).
        exhausted: why dense has nothing left to lose, or empty.
        dose: the alternative axis, measured relative weight error of each level; None where unknown.
        least_error: the smallest standard error that a difference of two levels can have; of a proportion it is above
            0, because no flip seen is not none to come.
    """

    names: tuple[str, ...]
    values: Floats
    replicates: Floats
    minimum: float
    chance: float | None
    items: int
    exhausted: str = ""
    dose: Floats | None = None
    least_error: float = 0.0

    def __post_init__(self) -> None:
        if self.replicates.shape[:1] != self.values.shape or len(self.names) != len(self.values):
            raise ValueError(f"{len(self.names)} names, values {self.values.shape}, replicates {self.replicates.shape}")

    @property
    def headroom(self) -> float | None:
        """From dense to chance; None where there is none."""
        if self.chance is None or self.chance <= self.values[0]:
            return None
        return float(self.chance - self.values[0])


@dataclass(frozen=True)
class Finding:
    """What the rule says of one curve, before and after the correction for the family of curves.

    Attributes:
        verdict: one of `VERDICTS`.
        level: index of the first broken level; for gradual curves the first at which the loss reaches the practical
            minimum; None without one.
        level_low, level_high: 95 % interval of the level.
        end_of_curve: the level is the last one. With "undetermined" it says that a cliff is shown there, which a jump
            or a rise that speeds up may have made.
        jump: the largest rise between neighbours (at `level` for a threshold), with its 95 % interval.
        practical_minimum: what a rise must exceed to matter.
        p_raw: of the claim "threshold", the largest p-value of everything it needs.
        p: the same after Holm's correction.
        p_gradual_raw, p_gradual: the same of the claim "gradual".
        minimum_detectable: the smallest true jump that is shown to exceed the practical minimum in 80 % of repetitions.
        notes: what stood in the way, and what a reader must know.
        fits: best fit of each smooth rival, for figures.
        rise: how steep the rise is; None where nothing was measured.
    """

    verdict: str
    practical_minimum: float
    level: int | None = None
    level_low: int | None = None
    level_high: int | None = None
    end_of_curve: bool = False
    jump: float | None = None
    jump_low: float | None = None
    jump_high: float | None = None
    p_raw: float | None = None
    p: float | None = None
    p_gradual_raw: float | None = None
    p_gradual: float | None = None
    minimum_detectable: float | None = None
    notes: tuple[str, ...] = ()
    fits: dict[str, Floats] = field(default_factory=dict)
    rise: Rise | None = None


def judge(curve: Curve | None, *, simulations: int = 1999) -> Finding:
    """Apply the rule to one curve (None where a level has no value), without correction for other curves (see
    `correct_family`).

    Args:
        simulations: curves drawn for each rival; the smallest p-value is 1 / (simulations + 1).

    >>> values = np.array([1.5, 1.5, 1.52, 2.4, 2.45])
    >>> noise = np.random.default_rng(0).normal(0, 0.03, (5, 500))
    >>> curve = Curve(("dense", "w8", "w4", "w3", "w2"), values, values[:, None] + noise, 0.1, 3.6, items=1000)
    >>> finding = judge(curve)
    >>> finding.verdict, curve.names[finding.level]
    ('threshold', 'w3')
    """
    if curve is None:
        return Finding("undetermined", 0.0, notes=("some level has no value",))
    minimum = max(curve.minimum, RULE.practical_of_headroom * (curve.headroom or 0.0))
    if curve.exhausted:
        return Finding("saturated", minimum, notes=(curve.exhausted,))
    if len(curve.names) < RULE.least_levels:
        return Finding("undetermined", minimum, notes=(f"{len(curve.names)} levels, {RULE.least_levels} are needed",))
    usable = np.asarray(np.isfinite(curve.replicates).all(axis=0))
    if not np.isfinite(curve.values).all() or usable.sum() < 0.95 * len(usable) or usable.sum() < 100:
        return Finding("undetermined", minimum, notes=("a level has no value, or too few bootstrap replicates",))
    if curve.items < RULE.least_items:
        return Finding("undetermined", minimum, notes=(f"{curve.items} items, {RULE.least_items} are needed",))
    return _Judge(curve, curve.replicates[:, usable], minimum, simulations).finding()


class _Judge:
    """The tests of one curve, each a one-sided normal test of a linear contrast or a rivalry of shapes."""

    def __init__(self, curve: Curve, replicates: Floats, minimum: float, simulations: int) -> None:
        self.curve, self.replicates, self.minimum, self.simulations = curve, replicates, minimum, simulations
        self.values = curve.values
        self.last = len(self.values) - 1
        self.covariance = np.cov(replicates)
        jitter = RULE.jitter_of_headroom * (curve.headroom if curve.headroom is not None else 5 * minimum)
        # Dense is not a checkpoint drawn from anything: it is where the curve starts.
        self.wide = self.covariance + jitter**2 * np.diag(np.r_[0.0, np.ones(self.last)])
        self.jumps = np.diff(self.values)

    def p_above(self, contrast: Floats, bound: float = 0.0, *, wide: bool = False) -> float:
        """P-value of the null "contrast' value is at most the bound"."""
        from scipy.special import ndtr

        error = self.error(contrast, wide=wide)
        distance = float(contrast @ self.values) - bound
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(ndtr(-distance / error))

    def error(self, contrast: Floats, *, wide: bool = False) -> float:
        """Standard error of contrast' value."""
        covariance = self.wide if wide else self.covariance
        least = self.curve.least_error * float(np.abs(contrast).max())
        return max(float(np.sqrt(max(float(contrast @ covariance @ contrast), 0.0))), least)

    def rise(self, to: int, start: int = 0) -> Floats:
        """The contrast value[to] - value[start]."""
        contrast = np.zeros(self.last + 1)
        contrast[to] += 1
        contrast[start] -= 1
        return contrast

    def share(self, level: int) -> Floats:
        """The contrast that is positive when the jump to a level exceeds half of the whole rise."""
        return self.rise(level, level - 1) - self.rise(self.last) / 2

    def finding(self) -> Finding:
        largest = int(self.jumps.argmax()) + 1
        notes: list[str] = []
        if largest == self.last:
            p_raw, obstacle, fits = self._at_the_end()
        else:
            p_raw, obstacle, fits = self._inside(largest)
        rise_p = rises(self.values, self.replicates, self.curve.least_error)
        harmless_p = max(self.p_above(-self.rise(i), -self.minimum) for i in range(1, self.last + 1))
        spread_p = max(self.p_above(-self.share(i), wide=True) for i in range(1, self.last + 1))
        highest = float((self.values - self.values[0]).max())
        gradual_p = max(rise_p, spread_p) if highest >= self.minimum else 1.0
        cliff = ""
        if p_raw < RULE.level:
            verdict = "threshold"
        elif harmless_p < RULE.level:
            verdict = "none"
            notes.append(f"no level is worse than dense by {self.minimum:.3g} or more (p = {harmless_p:.2g})")
        elif gradual_p < RULE.level:
            verdict = "gradual"
            notes.append(f"rises (p = {rise_p:.2g}), and not by one jump (p = {spread_p:.2g})")
        else:
            verdict, cliff = "undetermined", self._cliff()
            notes.append(cliff or self._undecided(rise_p, highest))
        if verdict != "threshold":
            notes.append(f"not called a threshold: {obstacle}")
        falls = min(1.0, self.last * min(self.p_above(-self.rise(i)) for i in range(1, self.last + 1)))
        if falls < RULE.level:
            notes.append("some level is better than dense")
        found = self._described(verdict, largest, p_raw, notes, fits, called=verdict == "threshold" or bool(cliff))
        return replace(found, p_gradual_raw=gradual_p, p_gradual=gradual_p)

    def _cliff(self) -> str:
        """What is said of a last level whose jump is shown to carry most of the rise, and to matter; else empty."""
        p = max(
            self.p_above(self.share(self.last), wide=True),
            self.p_above(self.rise(self.last, self.last - 1), RULE.end_multiple * self.minimum),
        )
        if p >= RULE.level:
            return ""
        return (
            "a cliff at the last level: the last jump carries more than half of the rise "
            f"(p = {p:.2g}); whether a jump made it or a rise that speeds up, only levels beyond it could say"
        )

    def _inside(self, level: int) -> tuple[float, str, dict[str, Floats]]:
        draws = np.random.default_rng([0, 11]).normal(size=(self.simulations, self.last + 1))
        rivalry = reject_rivals(self.values, self.wide, draws=draws)
        rival, rival_p = rivalry.worst
        reasons = {
            f"a {rival} curve fits": rival_p,
            "the jump may carry less than half of the rise": self.p_above(self.share(level), wide=True),
            "the jump may be below the practical minimum": self.p_above(self.rise(level, level - 1), self.minimum),
            "a later level may be back within the practical minimum": max(
                self.p_above(self.rise(i, level - 1), self.minimum) for i in range(level, self.last + 1)
            ),
        }
        return *_worst(reasons), dict(rivalry.fits)

    def _at_the_end(self) -> tuple[float, str, dict[str, Floats]]:
        before = range(1, self.last)
        reasons = {
            "a level before the last may be worse than dense": max(
                self.p_above(-self.rise(i), -self.minimum) for i in before
            ),
            "a level before the last may be better than dense": max(
                self.p_above(self.rise(i), -self.minimum) for i in before
            ),
            f"the last jump may be below {RULE.end_multiple:g} practical minimums": self.p_above(
                self.rise(self.last, self.last - 1), RULE.end_multiple * self.minimum
            ),
        }
        return *_worst(reasons), {}

    def _undecided(self, rise_p: float, highest: float) -> str:
        errors = [self.error(self.rise(i)) for i in range(1, self.last + 1)]
        needed = self.curve.items * ((Z_LEVEL + Z_POWER) * max(errors) / self.minimum) ** 2
        if rise_p >= RULE.level:
            text = "neither a rise nor its absence is shown"
        elif highest < self.minimum:
            text = "a rise below the practical minimum is shown, a larger one not ruled out"
        else:
            return "a rise is shown, but neither that one jump carries most of it nor that none does"
        return f"{text}; about {_rounded(needed)} items would show that no level is worse, if none is"

    def _described(
        self, verdict: str, largest: int, p_raw: float, notes: list[str], fits: dict[str, Floats], *, called: bool
    ) -> Finding:
        """The finding with its numbers; `called`: the largest jump is called a threshold, or a cliff at the end."""
        level: int | None = None
        low = high = None
        if verdict in ("threshold", "undetermined"):
            places = np.diff(self.replicates, axis=0).argmax(axis=0) + 1
            level = largest if called else None
        elif verdict == "gradual":
            harmful = self.replicates - self.replicates[0] >= self.minimum
            places = np.where(harmful.any(axis=0), harmful.argmax(axis=0), self.last)
            level = int(np.argmax(self.values - self.values[0] >= self.minimum))
        if level is not None:
            low, high = (int(q) for q in np.quantile(places, [0.025, 0.975], method="closest_observation"))
            low, high = min(low, level), max(high, level)
        resampled = self.replicates[largest] - self.replicates[largest - 1]
        # The jump is the point value; its interval is that of the replicates, as elsewhere in the suite.
        ends = np.quantile(resampled, [0.025, 0.975])
        jump = float(self.jumps[largest - 1])
        reach = NORMAL * self.curve.least_error
        spread = max(self.error(self.rise(i, i - 1)) for i in range(1, self.last + 1))
        return Finding(
            verdict=verdict,
            practical_minimum=self.minimum,
            level=level,
            level_low=low,
            level_high=high,
            end_of_curve=called and largest == self.last,
            jump=jump,
            jump_low=min(float(ends[0]), jump - reach),
            jump_high=max(float(ends[1]), jump + reach),
            p_raw=p_raw,
            p=p_raw,
            minimum_detectable=self.minimum + (Z_LEVEL + Z_POWER) * spread,
            notes=tuple(notes + self._other_axis(verdict, largest)),
            fits=fits,
        )

    def _other_axis(self, verdict: str, largest: int) -> list[str]:
        """Whether an interior threshold survives on the axis of measured weight error."""
        dose = self.curve.dose
        if verdict != "threshold" or largest == self.last:
            return []
        if dose is None or not np.isfinite(dose).all() or (np.diff(dose) <= 0).any():
            return ["relative weight error not known at every level, or not rising: not checked on that axis"]
        draws = np.random.default_rng([0, 12]).normal(size=(self.simulations, self.last + 1))
        stretched = dose / dose[-1] * self.last
        rival, p = reject_rivals(self.values, self.wide, draws=draws, dose=stretched).worst
        if p < RULE.level:
            return []
        return [f"does not survive on the axis of relative weight error: a {rival} curve fits there (p = {p:.2g})"]


def correct_family(findings: Sequence[Finding], *, size: int) -> list[Finding]:
    """Holm's correction over the primary curves of one model, for either claim: what does not survive is undetermined.

    Thresholds are corrected among the claims "threshold" of all curves, gradual ones among the claims "gradual".

    Args:
        findings: those at hand; without a p-value they are no hypotheses.
        size: number of hypotheses in the family, at hand or not; missing ones count as p = 1.

    Reference: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian J. of Statistics 1979.

    >>> found = [Finding("threshold", 0.1, p_raw=0.04), Finding("threshold", 0.1, p_raw=0.001)]
    >>> [(finding.verdict, finding.p) for finding in correct_family(found, size=4)]
    [('undetermined', 0.12), ('threshold', 0.004)]
    """
    thresholds = _adjusted([finding.p_raw for finding in findings], size)
    graduals = _adjusted([finding.p_gradual_raw for finding in findings], size)
    result = []
    for finding, threshold, gradual in zip(findings, thresholds, graduals, strict=True):
        changed = replace(finding, p=threshold, p_gradual=gradual)
        claims = {"threshold": (finding.p_raw, threshold), "gradual": (finding.p_gradual_raw, gradual)}
        raw, adjusted = claims.get(finding.verdict, (None, None))
        if raw is not None and adjusted is not None and adjusted >= RULE.level:
            claim = "a threshold" if finding.verdict == "threshold" else "gradual"
            note = f"{claim} by itself (p = {raw:.2g}), not after Holm's correction over {size} curves"
            changed = replace(
                changed,
                verdict="undetermined",
                level=None,
                level_low=None,
                level_high=None,
                end_of_curve=False,
                notes=(note, *finding.notes),
            )
        result.append(changed)
    return result


def _adjusted(p_values: Sequence[float | None], size: int) -> list[float | None]:
    """Holm's correction of the known ones, in a family of a size."""
    known = [p for p in p_values if p is not None]
    adjusted = iter(holm([*known, *[1.0] * max(size - len(known), 0)])[: len(known)])
    return [None if p is None else next(adjusted) for p in p_values]


def _worst(reasons: Mapping[str, float]) -> tuple[float, str]:
    """The largest p-value, and its reason with it."""
    worst = max(reasons, key=lambda reason: reasons[reason])
    return reasons[worst], f"{worst} (p = {reasons[worst]:.2g})"


def _rounded(count: float) -> str:
    """Two digits: an estimate of this kind has no more."""
    magnitude = 10 ** max(int(np.floor(np.log10(max(count, 1.0)))) - 1, 0)
    return f"{int(np.ceil(count / magnitude) * magnitude):,}"
