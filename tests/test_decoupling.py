"""Decoupling against planted truths: noise of its own is no decoupling, a scrambled confidence is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.rows import measure_cells, score_cell
from suite.verdicts.curves import JOINT_KEYS
from suite.verdicts.decoupling import COUPLINGS, Estimate, NoiseCurve, couple, find_couplings, noise_curve
from suite.verdicts.synthetic import Plan, Population, draw_cells

FAST = Protocol(splits=10, replicates=200)


def cells_with(noise: float, *, n: int = 1500, seed: int = 0) -> list[Cell]:
    """Dense and one variant that sees the hidden scores in so much noise."""
    levels = np.array([0.5, noise])
    return draw_cells(Population(strength=2.5), Plan(levels, np.zeros(2)), n=n, seed=seed)


def verdict_of(cells: list[Cell]) -> dict[str, object]:
    (record,) = find_couplings(measure_cells(cells, FAST, keep=JOINT_KEYS), FAST)
    assert record["verdict"] in COUPLINGS
    return record


def test_noise_of_its_own_is_coupled_though_sets_grow() -> None:
    record = verdict_of(cells_with(2.5, n=3000))
    assert record["verdict"] == "coupled"
    assert float(str(record["set_size_change_low"])) > 0.2
    assert float(str(record["matched_change"])) == pytest.approx(float(str(record["set_size_change"])), abs=0.12)


def test_scrambled_confidence_at_equal_answers_is_a_silent_loss() -> None:
    dense, _ = cells_with(0.5, n=3000)
    # a factor of its own for each item keeps every answer and destroys the order of confidences
    factor = np.exp(np.random.default_rng(1).normal(0, 2.0, (len(dense), 1)))
    scrambled = replace(dense, scores=(dense.scores * factor).astype(np.float32), variant={"name": "rtn-w4"})
    record = verdict_of([dense, scrambled])
    assert record["accuracy_change"] == 0
    assert record["verdict"] == "silent uncertainty loss"
    assert float(str(record["excess_low"])) > 0


@pytest.mark.parametrize(("n", "equivalent"), [(100, False), (140, False), (200, True)])
def test_answers_that_all_stay_show_equivalence_with_enough_items_only(n: int, equivalent: bool) -> None:
    """No flip in n items: the one-sided bound p has (1 - p)^n = 0.05, which is below 0.02 from 149 items on."""
    found = Estimate.paired(0.0, np.zeros(50), changes=np.zeros(n), units=np.arange(n))
    assert found.bounds[1] == -found.bounds[0] == pytest.approx(1 - 0.05 ** (1 / n))
    assert (found.low, found.high) == pytest.approx((-(1 - 0.025 ** (1 / n)), 1 - 0.025 ** (1 / n)))
    assert found.error > 0
    assert found.within(0.02) is equivalent


def test_set_sizes_that_all_stay_are_not_certain_either() -> None:
    found = Estimate.of(0.0, np.zeros(50), units=np.arange(100), most=4.0)
    assert found.high == -found.low == pytest.approx(4 * (1 - 0.025**0.01))
    assert not found.within(0.1)
    assert found.within(0.12)


def test_a_copy_of_dense_has_no_coupling() -> None:
    dense, _ = cells_with(0.5, n=300)
    copy = replace(dense, variant={"name": "rtn-w8"})
    assert find_couplings(measure_cells([dense, copy], FAST, keep=JOINT_KEYS), FAST) == []


def test_a_variant_with_less_noise_is_improved() -> None:
    cells = draw_cells(Population(strength=2.5), Plan(np.array([2.5, 0.4]), np.zeros(2)), n=2000, seed=3)
    assert verdict_of(cells)["verdict"] == "improved"


def test_few_items_are_undetermined_and_say_how_many_would_decide() -> None:
    record = verdict_of(cells_with(0.9, n=120))
    assert record["verdict"] == "undetermined"
    assert int(str(record["items_needed"])) > 120
    assert "items would decide" in str(record["notes"])


def test_the_null_follows_dense_under_its_own_noise() -> None:
    dense, _ = cells_with(0.5, n=2000)
    curve = noise_curve(score_cell(dense, FAST))
    assert curve.accuracy[0] == pytest.approx(float((dense.scores.argmax(axis=1) == dense.answers).mean()), abs=1e-9)
    assert curve.accuracy[-1] == pytest.approx(0.25, abs=0.05)
    assert curve.set_size[-1] == pytest.approx(3.6, abs=0.12)
    assert curve.change_at(0.0) == 0.0
    losses = np.linspace(0, curve.accuracy[0] - 0.25, 12)
    changes = [curve.change_at(loss) for loss in losses]
    assert changes == sorted(changes)
    # an independent draw of the same kind of noise lands on the curve
    other, worse = cells_with(2.0, n=2000)
    assert other.ids == dense.ids
    lost = float((dense.scores.argmax(axis=1) == dense.answers).mean()) - float(
        (worse.scores.argmax(axis=1) == worse.answers).mean()
    )
    rows = [one.row for one in measure_cells([dense, worse], FAST)]
    change = float(str(rows[1]["set_size"])) - float(str(rows[0]["set_size"]))
    assert curve.change_at(lost) == pytest.approx(change, abs=0.15)


@given(st.lists(st.floats(0, 0.2), min_size=2, max_size=6), st.floats(-0.1, 1.5))
def test_interpolation_stays_within_the_curve(drops: list[float], loss: float) -> None:
    accuracy = 1 - np.cumsum([0.0, *drops])
    size = 1 + np.cumsum([0.0, *drops])
    curve = NoiseCurve(accuracy, size, accuracy[:, None], size[:, None])
    change = curve.change_at(loss)
    # both axes move alike here, so the change equals the loss, within the ends
    assert change == pytest.approx(float(np.clip(loss, 0, sum(drops))), abs=1e-9)
    assert curve.replicated_change_at(np.array([loss]))[0] == pytest.approx(change)


def estimate(value: float, error: float) -> Estimate:
    return Estimate(value, value - 1.96 * error, value + 1.96 * error, error)


@pytest.mark.parametrize(
    ("accuracy", "size", "excess", "verdict"),
    [
        ((0.0, 0.005), (0.3, 0.03), (0.3, 0.04), "silent uncertainty loss"),
        ((-0.005, 0.005), (0.3, 0.03), (0.01, 0.04), "coupled"),
        ((-0.05, 0.005), (0.0, 0.02), (-0.3, 0.04), "silent accuracy loss"),
        ((-0.05, 0.005), (0.3, 0.03), (0.02, 0.04), "coupled"),
        ((0.0, 0.005), (-0.4, 0.03), (-0.4, 0.04), "improved"),
        ((0.0, 0.05), (0.3, 0.2), (0.3, 0.2), "undetermined"),
        # sets that grow by less than the practical minimum are no loss, however many items show it
        ((0.0, 0.001), (0.05, 0.001), (0.05, 0.001), "coupled"),
        # accuracy fell: sets that grow more than that explains are not silent
        ((-0.06, 0.005), (0.9, 0.03), (0.5, 0.04), "undetermined"),
    ],
)
def test_the_rule(
    accuracy: tuple[float, float], size: tuple[float, float], excess: tuple[float, float], verdict: str
) -> None:
    found = couple((estimate(*accuracy), 0.02), estimate(*size), (estimate(*excess), 0.0), headroom=2.0, items=1000)
    assert found.verdict == verdict
    assert (found.items_needed is None) == (verdict != "undetermined")
