"""Cells with planted compression for the tests of tables and figures, made by perturbing logits."""

from __future__ import annotations

from support.synthetic_cells import TWO_METHODS, noise_of


def test_noise_grows_with_severity() -> None:
    for curve in (TWO_METHODS[:5], ("dense", *TWO_METHODS[5:])):
        noises = [noise_of(variant) for variant in curve]
        assert noises == sorted(noises)
        assert noises[0] == 0.0 < noises[1]
