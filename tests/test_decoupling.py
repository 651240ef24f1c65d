"""Decoupling against planted truths: noise of its own is no decoupling, a scrambled confidence is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.studies.synthetic import Plan, Population, draw_cells
from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.rows import measure_cells, score_cell
from suite.verdicts.curves import JOINT_KEYS
from suite.verdicts.damage import NULLS, SHARES, Path, damage_paths, explained, interpolated
from suite.verdicts.decoupling import COUPLINGS, Coupling, Estimate, find_couplings

FAST = Protocol(splits=4, replicates=100)


def cells_with(noise: float, *, n: int = 1500, seed: int = 0) -> list[Cell]:
    """Dense and one variant that sees the hidden scores in so much noise."""
    levels = np.array([0.5, noise])
    return draw_cells(Population(strength=2.5), Plan(levels, np.zeros(2)), n=n, seed=seed)


def verdict_of(cells: list[Cell]) -> dict[str, object]:
    (record,) = find_couplings(measure_cells(cells, FAST, keep=JOINT_KEYS), FAST)
    assert record["verdict"] in COUPLINGS
    return record


def scrambled(dense: Cell, spread: float = 2.0, seed: int = 1) -> Cell:
    """A factor of its own for each item keeps every answer and destroys the order of confidences."""
    factor = np.exp(np.random.default_rng(seed).normal(0, spread, (len(dense), 1)))
    return replace(dense, scores=(dense.scores * factor).astype(np.float32), variant={"name": "rtn-w4"})


def broken(cell: Cell, share: float, seed: int = 2) -> Cell:
    """Some items answered as if they were others."""
    generator = np.random.default_rng(seed)
    lost = generator.random(len(cell)) < share
    scores = np.where(lost[:, None], cell.scores[generator.permutation(len(cell))], cell.scores)
    return replace(cell, scores=scores, variant={"name": "rtn-w4"})


def number(record: dict[str, object], key: str) -> float:
    return float(str(record[key]))


def test_noise_of_its_own_is_coupled_though_sets_grow() -> None:
    record = verdict_of(cells_with(2.5, n=700))
    assert record["verdict"] == "coupled"
    assert number(record, "set_size_change_low") > 0.2
    assert number(record, "matched_change_low") < number(record, "set_size_change") + 0.1
    assert number(record, "matched_change_high") > number(record, "set_size_change") - 0.1


@pytest.mark.parametrize("share", [0.08, 0.2])
def test_a_broken_share_of_items_is_no_amplified_loss(share: float) -> None:
    """Sets grow three times as much as under even noise that loses the same accuracy; the damage explains it."""
    dense, _ = cells_with(0.5, n=600)
    record = verdict_of([dense, broken(dense, share)])
    even = record["matched_changes"]
    assert isinstance(even, dict)
    assert number(record, "set_size_change") > 1.5 * even["position bias"]
    assert record["verdict"] in ("coupled", "undetermined")


def test_scrambled_confidence_at_equal_answers_is_a_silent_loss() -> None:
    dense, _ = cells_with(0.5, n=600)
    record = verdict_of([dense, scrambled(dense)])
    assert record["accuracy_change"] == 0
    assert record["verdict"] == "silent uncertainty loss"
    assert number(record, "excess_low") > 0
    # nothing flipped: no damage explains anything
    assert number(record, "matched_change_low") == number(record, "matched_change_high") == 0


def test_scrambled_confidence_and_lost_accuracy_are_an_amplified_loss() -> None:
    dense, _ = cells_with(0.5, n=1000)
    right = np.flatnonzero(dense.scores.argmax(axis=1) == dense.answers)[:30]
    harmed = scrambled(dense).scores.copy()
    answers = dense.answers[right]
    other = (answers + 1) % 4
    harmed[right, answers], harmed[right, other] = harmed[right, other], harmed[right, answers]
    record = verdict_of([dense, replace(dense, scores=harmed, variant={"name": "rtn-w4"})])
    assert number(record, "accuracy_change") == pytest.approx(-0.03)
    assert record["verdict"] == "amplified loss"


def test_answers_lost_on_the_surest_items_alone_and_all_others_surer_is_a_muted_loss() -> None:
    dense, _ = cells_with(0.5, n=700)
    top = dense.scores.argmax(axis=1)
    right = np.flatnonzero(top == dense.answers)
    surer = dense.scores.copy()
    surer[right, dense.answers[right]] += 3
    lost = right[:70]
    surer[lost, dense.answers[lost]] -= 6
    record = verdict_of([dense, replace(dense, scores=surer, variant={"name": "rtn-w4"})])
    assert number(record, "accuracy_change") < -0.05
    assert record["verdict"] in ("muted loss", "silent accuracy loss")
    assert number(record, "excess_high") < 0


def test_accuracy_that_rose_has_no_null() -> None:
    dense, _ = cells_with(0.5, n=400)
    wrong = np.flatnonzero(dense.scores.argmax(axis=1) != dense.answers)[:24]
    better = dense.scores.copy()
    better[wrong, dense.answers[wrong]] = better[wrong].max(axis=1) + 0.01
    assert verdict_of([dense, replace(dense, scores=better, variant={"name": "rtn-w4"})])["verdict"] == "no null"


def test_the_average_over_tasks_is_that_of_its_tasks() -> None:
    cells = []
    for task, seed in (("one", 3), ("two", 4)):
        dense, _ = cells_with(0.5, n=400, seed=seed)
        ids = tuple(f"{task}-{item}" for item in dense.ids)
        about = {**dense.task, "name": task}
        cells += [replace(one, ids=ids, task=about) for one in (dense, scrambled(dense, seed=seed))]
    *tasks, both = find_couplings(measure_cells(cells, FAST, keep=JOINT_KEYS), FAST)
    assert [one["task"] for one in (*tasks, both)] == ["one", "two", "macro"]
    for key in ("accuracy_change", "set_size_change"):
        assert number(both, key) == pytest.approx(np.mean([number(one, key) for one in tasks]))
    widths = [number(one, "set_size_change_high") - number(one, "set_size_change_low") for one in (*tasks, both)]
    # two independent tasks: the interval of the mean is 1 / sqrt(2) of theirs
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]) / 2, rel=0.2)
    assert both["verdict"] == "silent uncertainty loss"


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
    cells = draw_cells(Population(strength=2.5), Plan(np.array([2.5, 0.4]), np.zeros(2)), n=800, seed=3)
    assert verdict_of(cells)["verdict"] == "improved"


def test_few_items_are_undetermined_and_say_how_many_would_decide() -> None:
    dense, _ = cells_with(0.5, n=150)
    record = verdict_of([dense, scrambled(dense, 0.5)])
    assert record["verdict"] == "undetermined"
    assert int(str(record["items_needed"])) > 150
    assert "items would decide" in str(record["notes"])


def test_paths_follow_dense_under_noise_of_its_own() -> None:
    dense, _ = cells_with(0.5, n=700)
    paths = damage_paths(score_cell(dense, FAST))
    even = paths["even"]
    assert even.lost[-1, 0] == pytest.approx(
        float((dense.scores.argmax(axis=1) == dense.answers).mean()) - 0.25, abs=0.1
    )
    assert all((path.flips[0] == 0).all() and (path.grown[0] == 0).all() for path in paths.values())
    # an independent draw of the same kind of noise lands on the path
    other, worse = cells_with(2.0, n=700)
    assert other.ids == dense.ids
    flips = np.abs(
        (worse.scores.argmax(axis=1) == worse.answers).astype(float)
        - (dense.scores.argmax(axis=1) == dense.answers).astype(float)
    ).mean()
    rows = [one.row for one in measure_cells([dense, worse], FAST)]
    change = float(str(rows[1]["set_size"])) - float(str(rows[0]["set_size"]))
    _, grown = even.at(np.full(101, flips))
    assert grown[0] == pytest.approx(change, abs=0.15)
    # nothing flipped, nothing lost: nothing is explained
    assert explained(paths, flips=np.zeros(101), lost=np.zeros(101)).tolist() == np.zeros((len(NULLS), 101)).tolist()


def test_a_broken_share_flips_no_more_answers_than_it_breaks() -> None:
    """Of a share s of the items hardly anything is left, and no other moves: s of the accuracy above chance is lost."""
    dense = score_cell(cells_with(0.6)[0], FAST)
    path = damage_paths(dense)["broken"]
    shares = np.array([0.0, *SHARES])
    # which items break is drawn twice: three deviations of the mean of two binomial shares
    chance = 3 * np.sqrt(shares * (1 - shares) / (2 * len(dense.sample)))
    assert (path.flips[:, 0] <= shares + chance).all()
    above = float(dense.correct.mean()) - 1 / 4
    assert path.lost[:, 0] == pytest.approx(shares * above, rel=0.15, abs=0.02)


def test_a_null_stands_where_both_flips_and_accuracy_are_matched() -> None:
    """Two curves that lose .01 and .03 with ten flips in a hundred and gain .2 and .4: .025 lost is three quarters."""
    mild = Path(*(np.array([[0.0], [end]]) for end in (0.2, 0.02, 0.4)))
    harsh = Path(*(np.array([[0.0], [end]]) for end in (0.2, 0.06, 0.8)))
    paths = dict.fromkeys(("even", "position", "flatter", "sharper"), mild) | dict.fromkeys(
        ("uneven", "very uneven", "half broken", "broken"), harsh
    )
    found = dict(zip(NULLS, explained(paths, flips=np.array([0.1]), lost=np.array([0.025]))[:, 0], strict=True))
    assert found["log-normal noise"] == pytest.approx(0.35)
    assert found["position bias"] == pytest.approx(0.2)
    beyond = explained(paths, flips=np.array([0.1]), lost=np.array([0.5]))[:, 0]
    assert beyond.max() == pytest.approx(0.4)


@given(st.lists(st.floats(0.001, 0.2), min_size=2, max_size=6), st.floats(-0.1, 1.5))
def test_interpolation_is_that_of_numpy(steps: list[float], at: float) -> None:
    x = np.cumsum([0.0, *steps])
    y = np.sin(9 * x)
    assert interpolated(x[:, None], y[:, None], np.array([at]))[0] == pytest.approx(np.interp(at, x, y), abs=1e-12)


def estimate(value: float, error: float) -> Estimate:
    return Estimate(value, value - 1.96 * error, value + 1.96 * error, error)


def coupling(accuracy: tuple[float, float], size: tuple[float, float], above: float, below: float, error: float):
    return Coupling(
        estimate(*accuracy), estimate(*size), estimate(above, error), estimate(below, error), headroom=2.0, items=1000
    )


@pytest.mark.parametrize(
    ("accuracy", "size", "above", "below", "error", "verdict"),
    [
        ((0.0, 0.005), (0.3, 0.03), 0.3, 0.4, 0.04, "silent uncertainty loss"),
        ((-0.005, 0.005), (0.3, 0.03), -0.1, 0.1, 0.04, "coupled"),
        ((-0.05, 0.005), (0.0, 0.02), -0.5, -0.3, 0.04, "silent accuracy loss"),
        ((-0.05, 0.005), (0.3, 0.03), -0.2, 0.02, 0.04, "coupled"),
        ((0.0, 0.005), (-0.4, 0.03), -0.5, -0.4, 0.04, "improved"),
        ((0.05, 0.005), (0.0, 0.03), 0.0, 0.0, 0.04, "no null"),
        # neither shown beyond all kinds of damage nor shown within what they explain
        ((-0.05, 0.005), (0.5, 0.05), 0.1, 0.3, 0.2, "undetermined"),
        # sets that grow by less than the practical minimum are no loss, however many items show it
        ((0.0, 0.001), (0.05, 0.001), 0.05, 0.05, 0.001, "coupled"),
        ((-0.06, 0.005), (0.9, 0.03), 0.5, 0.7, 0.04, "amplified loss"),
        ((-0.06, 0.005), (0.4, 0.03), -0.9, -0.5, 0.04, "muted loss"),
        ((-0.01, 0.02), (0.5, 0.03), 0.3, 0.4, 0.04, "uncertainty loss"),
        ((-0.01, 0.02), (0.1, 0.03), -0.6, -0.4, 0.04, "uncertainty kept"),
    ],
)
def test_the_rule(
    accuracy: tuple[float, float], size: tuple[float, float], above: float, below: float, error: float, verdict: str
) -> None:
    found = coupling(accuracy, size, above, below, error)
    assert found.verdict == verdict
    assert (found.items_needed is None) == (verdict != "undetermined")
    value, low, high = found.excess
    assert low <= value <= high
    # an excess above zero has a name
    assert verdict != "undetermined" or low <= 0 <= high


def test_items_are_named_where_they_would_decide_and_only_there() -> None:
    unsure = coupling((-0.01, 0.03), (0.2, 0.2), 0.05, 0.06, 0.2)
    assert unsure.verdict == "undetermined"
    needed = unsure.items_needed
    assert needed is not None
    # within .2 (a tenth of the headroom) with power .8: (1.645 + .84) standard errors must fit into .15, or .25
    assert needed == pytest.approx(1000 * (2.486 * 0.2 / 0.15) ** 2, rel=0.02)
    assert "items would decide" in unsure.notes[0]
    # a million items and more are no answer
    never = coupling((-0.01, 0.03), (0.2, 0.2), 0.05, 0.06, 10.0)
    assert (never.verdict, never.items_needed) == ("undetermined", None)
    assert never.notes == ("no number of items up to 1,000,000 would decide if the truth is what was seen",)
