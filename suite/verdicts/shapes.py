"""The rival shapes of a degradation curve, and how a threshold is told from them.

A curve is a vector of values at levels 0 (dense), 1, ..., L, oriented so that higher is worse, with the covariance of
its estimation error. Every shape is a linear combination of a constant and one function of the level (two for the
parabola), so a fit is a projection, and a family with free centre or width is a grid of projections.

A threshold is a jump between two neighbouring levels that carries more than half of the whole rise. The smooth rivals
are therefore all curves of the named kinds that spread the middle half of their rise over a level or more: a sigmoid
or a ramp at least that wide, a straight line, a parabola, an exponential.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from suite.arrays import Floats

SIGMOID_SCALES = (1 / (2 * np.log(3)), 0.55, 0.7, 0.9, 1.2, 1.7, 2.5)
"""Scales s of 1 / (1 + exp(-(x - m) / s)); the first one rises from a quarter to three quarters over one level."""

RAMP_WIDTHS = (2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Levels a ramp takes; the middle half of its rise takes half of that."""

GROWTH_RATES = (-np.log(2), -0.5, -0.3, -0.15, 0.15, 0.3, 0.5, np.log(2), 0.9, 1.2, 1.6, 2.0, 3.0)
"""Rates k of exp(k x). Negative ones level off; log 2 halves (doubles) the increment from level to level."""

CENTRE_STEP = 0.25


@dataclass(frozen=True)
class Family:
    """One kind of curve: every member a basis of shape [members, levels, columns]."""

    name: str
    bases: Floats


@lru_cache(maxsize=64)
def smooth_families(positions: tuple[float, ...]) -> tuple[Family, ...]:
    """Every smooth rival on a dose axis.

    Args:
        positions: of each level, 0 for dense and about one unit between neighbours.

    >>> [family.name for family in smooth_families((0.0, 1.0, 2.0, 3.0, 4.0))]
    ['constant', 'straight', 'quadratic', 'exponential', 'sigmoid', 'ramp']
    """
    dose = np.array(positions)
    one = np.ones_like(dose)
    last = float(dose[-1])
    centres = np.arange(-1.0, last + 1 + 1e-9, CENTRE_STEP)
    exponentials = [np.exp(rate * (dose - (last if rate > 0 else 0.0))) for rate in GROWTH_RATES]
    sigmoids = [1 / (1 + np.exp(-(dose - m) / s)) for s in SIGMOID_SCALES for m in centres]
    # A ramp that ends beyond the last level is the hinge.
    ramps = [np.clip((dose - m) / w, 0, 1) for w in RAMP_WIDTHS for m in centres if m < last - 1 and m + w > 1]
    hinges = [np.maximum(dose - m, 0.0) for m in centres if 0 < m < last]
    return (
        Family("constant", one[None, :, None]),
        Family("straight", np.stack([one, dose], axis=1)[None]),
        Family("quadratic", np.stack([one, dose, dose**2], axis=1)[None]),
        Family("exponential", _with_constant(exponentials)),
        Family("sigmoid", _with_constant(sigmoids)),
        Family("ramp", _with_constant(ramps + hinges)),
    )


def step_family(levels: int) -> Family:
    """A jump at one interior level on top of a straight line: one member for each first broken level 1, ..., L - 1.

    >>> step_family(5).bases.shape
    (3, 5, 3)
    """
    dose = np.arange(levels, dtype=np.float64)
    return Family(
        "step", np.stack([np.stack([np.ones(levels), dose, dose >= j], axis=1) for j in range(1, levels - 1)])
    )


def _with_constant(shapes: list[Floats]) -> Floats:
    return np.stack([np.stack([np.ones_like(shape), shape], axis=1) for shape in shapes])


@dataclass(frozen=True)
class Whitened:
    """Curves as seen by a covariance: coordinates in which estimation errors are independent and of unit size."""

    transform: Floats

    @classmethod
    def by(cls, covariance: Floats) -> Whitened:
        """From a covariance [levels, levels]; singular ones get a millionth of their mean variance on the diagonal."""
        size = max(float(np.trace(covariance)) / len(covariance), 1e-18)
        lower = np.linalg.cholesky(covariance + 1e-6 * size * np.eye(len(covariance)))
        return cls(np.linalg.inv(lower))

    def projector(self, family: Family) -> Callable[[Floats], tuple[Floats, Floats]]:
        """A function from curves [curves, levels] to the least weighted squared distance from the family, shape
        [curves], and to what tells its members apart of each curve, shape [members, curves]: the nearest has most."""
        bases = np.einsum("ij,mjk->mik", self.transform, family.bases)
        orthogonal, triangle = np.linalg.qr(bases)
        # A degenerate member (a shape that is constant on these levels) spans less; its spare directions are dropped.
        diagonal = np.abs(np.diagonal(triangle, axis1=1, axis2=2))
        orthogonal = orthogonal * (diagonal > 1e-9 * diagonal.max(axis=1, keepdims=True))[:, None, :]

        columns = np.ascontiguousarray(orthogonal.transpose(2, 0, 1))
        # what all members have in common (a constant, a line) is explained once
        common = [bool(np.ptp(column, axis=0).max() <= 1e-12) for column in columns]
        shared = [column[0] for column, once in zip(columns, common, strict=True) if once]
        apart = [column for column, once in zip(columns, common, strict=True) if not once]

        def distance(curves: Floats) -> tuple[Floats, Floats]:
            white = self.transform @ curves.T
            left = (white**2).sum(axis=0)
            for line in shared:
                left -= (line @ white) ** 2
            own = np.zeros((len(orthogonal), len(curves)))
            for place, column in enumerate(apart):
                product = np.matmul(column, white, out=None if place else own)
                np.square(product, out=product)
                if place:
                    own += product
            return np.maximum(left - own.max(axis=0), 0.0), own

        return distance

    def fitted(self, family: Family, member: int, curve: Floats) -> Floats:
        """The member's best fit to a curve, shape [levels]."""
        basis = family.bases[member]
        coefficients = np.linalg.lstsq(self.transform @ basis, self.transform @ curve, rcond=None)[0]
        return np.asarray(basis @ coefficients)


@dataclass(frozen=True)
class Rivalry:
    """How the smooth rivals fare against a step.

    Attributes:
        p: by family, how often curves of that family's best fit look as much like a step as this one does.
        fits: by family, its best fit, shape [levels].
    """

    p: Mapping[str, float]
    fits: Mapping[str, Floats]

    @property
    def worst(self) -> tuple[str, float]:
        """The rival that is hardest to reject, and its p-value."""
        name = max(self.p, key=lambda name: self.p[name])
        return name, self.p[name]


def reject_rivals(curve: Floats, covariance: Floats, *, draws: Floats, dose: Floats | None = None) -> Rivalry:
    """Test every smooth rival against a step on a line by likelihood ratio, its law simulated at the rival's best fit.

    The statistic is the rival's weighted squared distance from the curve less that of the best step on a line. p is
    (1 + number of simulated curves with a statistic as large) / (1 + simulated curves).

    Args:
        curve: shape [levels].
        covariance: of the estimation error, shape [levels, levels].
        draws: standard normal numbers, shape [simulations, levels].
        dose: positions of the levels; 0, 1, 2, ... unless given.

    >>> rng = np.random.default_rng(0)
    >>> curve = np.array([0, 0, 0, 1, 1, 1.0])
    >>> rivalry = reject_rivals(curve, 0.001 * np.eye(6), draws=rng.normal(size=(999, 6)))
    >>> rivalry.worst[1]
    0.001
    """
    levels = len(curve)
    positions = range(levels) if dose is None else dose.tolist()
    white = Whitened.by(covariance)
    noise = draws @ np.linalg.inv(white.transform).T
    step = white.projector(step_family(levels))
    observed_step = step(curve[None])[0][0]
    p, fits = {}, {}
    for family in smooth_families(tuple(map(float, positions))):
        distance = white.projector(family)
        observed, own = distance(curve[None])
        fits[family.name] = white.fitted(family, int(own[:, 0].argmax()), curve)
        simulated = fits[family.name] + noise
        statistic = distance(simulated)[0] - step(simulated)[0]
        p[family.name] = float((1 + (statistic >= observed[0] - observed_step - 1e-12).sum()) / (1 + len(draws)))
    return Rivalry(p, fits)
