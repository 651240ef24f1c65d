"""What a model that knows nothing has on each item, by figure: the end of the way that a loss is a share of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from suite.arrays import Floats


def _options_covered(options: Floats, alpha: float) -> Floats:
    return (1 - alpha) * options


AT_CHANCE: dict[str, Callable[[Floats, float], Floats]] = {
    "accuracy": lambda options, _: 1 / options,
    "brier_ts": lambda options, _: 1 - 1 / options,
    "nll_ts": lambda options, _: np.log(options),
    "set_size": _options_covered,
    "lac_set_size": _options_covered,
    "aps_set_size": _options_covered,
    "lac_transfer_set_size": _options_covered,
}
"""From the numbers of options of items, shape [n], and alpha, to values of shape [n]: all options equally likely."""
