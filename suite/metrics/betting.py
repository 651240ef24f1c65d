"""Bets on the mean of bounded values: evidence that may be looked at after every item.

Against "the mean is zero or less" one stakes, before each item, a part of the capital on its value being above zero.
Under that hypothesis no way of staking gains on average, so that the capital ever reaches 1/level with probability
`level` at most, whenever one looks and for whatever reason one stops (Ville's inequality). The stakes decide how soon
a true difference is seen, never whether the error rate holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPREAD = tuple(2.0**-power for power in range(7))
"""Constant stakes, as fractions of the largest that cannot lose more than the capital, with equal parts of it."""

STAKES = (0.0, *np.geomspace(1 / 256, 0.9999, 48).tolist())
"""What the led stake is chosen from."""

LED = 0.75
"""Part of the capital that follows the led stake; the rest is spread."""

Prior = Sequence[tuple[float, float]]


def log_capital(
    values: Floats, *, low: float, mirrored: Floats | None = None, seen: int = 0, prior: Prior = ()
) -> Floats:
    """Log of the capital after each item, shape [..., n]; 0 at the start. Above log(1/level): the mean is above zero.

    A part of the capital is spread over constant stakes, which loses little against the best of them whatever comes
    (a universal portfolio). The other part stakes what would have grown fastest on the items before: on them as they
    were, or, with `mirrored`, on them and their mirror images alike, which is the best stake where the two compared
    models are alike and the spread is that of the items before.

    Args:
        values: of each item in the order in which they come, shape [..., n], none below `low`.
        low: the lowest value that an item can have, below 0; known before the items are.
        mirrored: what the values would be if the loss of each item had the other sign; decides stakes alone.
        seen: so many items at the beginning decide stakes, and nothing is staked on them.
        prior: (value, weight) of items imagined before the first; decides stakes alone.

    References: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024
    (arXiv 2010.09686); T. Cover, "Universal portfolios", Mathematical Finance 1991.

    >>> path = log_capital(np.full(100, 0.05), low=-0.95)  # not one answer lost where 5 in 100 may be
    >>> int((path > np.log(20)).argmax()) + 1
    64
    """
    if not low < 0:
        raise ValueError(f"low {low}: nothing is staked where no value is below zero")
    if values.size and float(values.min()) < low * (1 + 1e-9):
        raise ValueError(f"a value of {values.min()} lies below {low}")
    scaled = np.maximum(values / -low, -1.0)
    images = [scaled] if mirrored is None else [scaled, np.maximum(mirrored / -low, -1.0)]
    stake = _led(images, [(max(value / -low, -1.0), weight) for value, weight in prior])
    staked = scaled.copy()
    staked[..., :seen] = 0.0
    led = np.cumsum(np.log1p(stake * staked), axis=-1) + np.log(LED)
    spread = np.full(values.shape, -np.inf)
    with np.errstate(divide="ignore"):
        for fraction in SPREAD:
            spread = np.logaddexp(spread, np.cumsum(np.log1p(fraction * staked), axis=-1))
    return np.asarray(np.logaddexp(led, spread + np.log((1 - LED) / len(SPREAD))))


def _led(images: Sequence[Floats], prior: Prior) -> Floats:
    """The stake for each item that would have grown fastest on the items before it."""
    shape = images[0].shape
    best, stake = np.full(shape, -np.inf), np.zeros(shape)
    for fraction in STAKES:
        grown = np.full(shape, float(sum(weight * np.log1p(fraction * value) for value, weight in prior)))
        for image in images:
            grown[..., 1:] += np.cumsum(np.log1p(fraction * image[..., :-1]), axis=-1) / len(images)
        better = grown > best
        best, stake = np.where(better, grown, best), np.where(better, fraction, stake)
    return stake
