"""How steep a rise is: two figures that do not depend on how many levels lie on a straight line."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from suite.verdicts.rise import Rise, describe_rise


def drawn(names: list[str], values: list[float], noise: float = 0.004, seed: int = 1) -> Rise:
    array = np.array(values)
    replicates = array[:, None] + np.random.default_rng(seed).normal(0, noise, (len(values), 400))
    return describe_rise(tuple(names), array, replicates)


def by_hand(places: list[float], values: list[float], span: float) -> tuple[float, float]:
    """Steepest share and width on a fine grid, written out."""
    positions = np.linspace(0, places[-1], 20_001)
    line = np.maximum.accumulate(np.maximum(np.interp(positions, places, values[1:]), values[0])) - values[0]
    line = line / line[-1]
    steps = [line[i] - np.interp(max(x - span, 0), positions, line) for i, x in enumerate(positions)]
    width = positions[np.argmax(line >= 0.75)] - positions[np.argmax(line >= 0.25)]
    return max(*steps, line[0]), float(width)


@examples(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.integers(0, 1000))
def test_against_a_fine_grid(rises: list[float], seed: int) -> None:
    bits = [8, 6, 5, 4, 3, 2][: len(rises)]
    values = [0.3, 0.31, *(0.3 + one for one in rises[1:-1]), 1.4]
    found = drawn(["dense", *(f"rtn-w{one}" for one in bits)], values, seed=seed)
    share, width = by_hand([8.0 - one for one in bits], values, 1.0)
    assert found.share == pytest.approx(share, abs=0.03)
    assert found.width == pytest.approx(width, abs=0.05)


@examples(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=5), st.integers(0, 1000))
def test_levels_on_the_straight_line_change_nothing(rises: list[float], seed: int) -> None:
    """A list of levels that is twice as dense, by interpolation, is described as the first one."""
    zeros = [20, 30, 40, 50, 60][: len(rises)]
    values = np.array([0.3, 0.31, *(0.3 + one for one in rises[1:]), 1.4])
    places = np.array([*zeros, 70.0])
    noisy = values[:, None] + np.random.default_rng(seed).normal(0, 0.01, (len(values), 400))
    denser = np.unique(np.r_[places, (places[1:] + places[:-1]) / 2])
    between = np.stack([np.interp(denser, places, one) for one in np.eye(len(places))], axis=1)
    names = [("dense", *(f"wanda-s{one:g}" for one in listed)) for listed in (places, denser)]
    few = describe_rise(names[0], values, noisy)
    many = describe_rise(names[1], np.r_[values[0], between @ values[1:]], np.vstack([noisy[:1], between @ noisy[1:]]))
    for key in ("share", "share_low", "share_high", "width", "width_low", "width_high"):
        assert getattr(many, key) == pytest.approx(getattr(few, key), abs=0.02 * (20 if "width" in key else 1)), key


def test_a_step_and_a_slope() -> None:
    names = ["dense", *(f"wanda-s{zeros}" for zeros in (10, 20, 30, 40, 50))]
    step = drawn(names, [1, 1, 1, 2, 2, 2], noise=0.001)
    slope = drawn(names, [1, 1, 1.25, 1.5, 1.75, 2], noise=0.001)
    assert step.share == pytest.approx(1, abs=0.01)
    assert step.width == pytest.approx(5, abs=0.1)
    assert slope.share == pytest.approx(0.25, abs=0.01)
    assert slope.width == pytest.approx(20, abs=0.2)
    for found in (step, slope):
        assert found.share_low <= found.share <= found.share_high  # type: ignore[operator]
        assert found.width_low <= found.width <= found.width_high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("names", "values", "reason"),
    [
        (["dense", "rtn-w8", "rtn-w4"], [1, 1, 1], "no rise is shown"),
        (["dense", "rtn-w8", "rtn-w4"], [1, 0.9, 0.8], "no rise is shown"),
        (["dense", "rtn-w4"], [1, 2], "no common axis, or are one"),
        (["dense", "ours-a", "ours-b"], [1, 2, 3], "no common axis"),
        (["dense", "rtn-w4", "rtn-w3"], [1, 1.9, 2], "before the first level|between dense and the first level"),
        (["dense", "rtn-w4", "rtn-w3"], [1, float("nan"), 2], "no value"),
    ],
)
def test_what_is_not_known_has_a_reason(names: list[str], values: list[float], reason: str) -> None:

    found = drawn(names, values)
    assert found.width is None
    assert re.search(reason, found.note)


def test_a_rise_before_the_first_level_is_the_steepest() -> None:
    found = drawn(["dense", "rtn-w4", "rtn-w3", "rtn-w2"], [1, 1.8, 1.9, 2], noise=0.001)
    assert found.share == pytest.approx(0.8, abs=0.01)
    assert (found.width, found.width_high) == (None, None)
