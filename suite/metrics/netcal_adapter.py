"""Calibration errors as netcal computes them, where defined. The one file that imports netcal (and so torch)."""

from __future__ import annotations

import numpy as np

from suite.arrays import Floats


def netcal_errors(confidence: Floats, correct: Floats, *, bins: int = 15) -> tuple[float, float, float]:
    """(ECE, ACE, MCE) over equal-width bins.

    netcal is given (top confidence, correct), with ``detection=True``: without it a matrix changes meaning when there
    are two classes, and a fractional `correct` is taken for class labels.

    Args:
        confidence: in [0, 1], shape [n], n at least 1.
        correct: in [0, 1], shape [n].
    """
    from netcal.metrics import ACE, ECE, MCE

    ece, ace, mce = (
        measure(bins, detection=True).measure(confidence.copy(), correct.copy()) for measure in (ECE, ACE, MCE)
    )
    return float(ece), float(ace), float(mce)


def netcal_equal_mass(confidence: Floats, correct: Floats, *, bins: int = 15) -> float | None:
    """ECE over equal-mass bins, or None where quantiles of the confidence coincide, which netcal cannot bin."""
    edges = np.quantile(np.clip(confidence, 2.3e-16, 1 - 2.3e-16), np.linspace(0, 1, bins + 1))
    edges[0], edges[-1] = 0.0, 1.0
    if bool((np.diff(edges) <= 1e-12).any()):
        return None
    from netcal.metrics import ECE

    return float(ECE(bins, equal_intervals=False, detection=True).measure(confidence.copy(), correct.copy()))
