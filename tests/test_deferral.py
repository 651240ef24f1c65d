"""What deferring costs: by hand on twenty items, against brute force, and bounds that hold on simulated items."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.cell import Cell, make_cell, write_cell
from suite.cli import main
from suite.config import Costs, Protocol, RunConfig, TaskChoice
from suite.decisions.deferral import KEPT_KEYS, deferral_lines, find_deferrals, kept_costs
from suite.decisions.task_shift import find_shifts, shift_lines
from suite.errors import SuiteError
from suite.metrics.folds import uniforms, unit_keys
from suite.metrics.proportions import paired_interval, weighted_interval
from suite.metrics.selective import cheapest_threshold
from suite.verdicts.given import Given

COSTS = Costs(10, 2)


def halves(count: int) -> list[str]:
    """Ids of equally many items of each half, those of the first one first."""
    names = [f"q{number}" for number in range(20 * count)]
    first = uniforms(unit_keys(names, purpose="deferral"), 0) < 0.5
    return [
        name
        for half in (True, False)
        for name in [n for n, one in zip(names, first, strict=True) if one == half][:count]
    ]


def cell(
    hundredths: list[int],
    right: list[bool],
    *,
    variant: str = "dense",
    task: str = "quiz",
    ids: list[str] | None = None,
) -> Cell:
    """Four options, the first of which gets so many hundredths; the others share the rest."""
    return make_cell(
        ids=ids or halves(len(right) // 2),
        answers=[0 if one else 1 for one in right],
        scores=[[one / 100, *[(1 - one / 100) / 3] * 3] for one in hundredths],
        kind="probs",
        model={"name": "planted"},
        variant={"name": variant},
        task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
    )


CONFIDENCE = list(range(80, 30, -5)) * 2
RIGHT = [place not in (6, 7, 9) for place in range(10)] + [place not in (2, 8, 9) for place in range(10)]


def test_costs_of_twenty_planted_items_are_those_counted_by_hand() -> None:
    # First half, surest first: six right, two wrong, right, wrong. Answering 6 costs 4 reviews, 8: .55 is cheapest.
    # Second half: wrong at the third, ninth and tenth. Answering 8 costs one wrong and 2 reviews, 14: .45 is cheapest.
    dense = cell(CONFIDENCE, RIGHT)
    # Surer by .10 everywhere and right on the same items.
    variant = cell([one + 10 for one in CONFIDENCE], RIGHT, variant="rtn-w4")
    records = find_deferrals([variant, dense], Protocol(), COSTS)
    assert [(one["variant"], one["rule"]) for one in records] == [
        ("dense", "tuned"),
        ("rtn-w4", "kept"),
        ("rtn-w4", "tuned"),
    ]
    own, kept, again = records
    # First half at .45: 8 answered, 2 wrong: 20 + 4. Second half at .55: 6 answered, 1 wrong: 10 + 8. 42 for 20.
    assert own["thresholds"] == pytest.approx([0.55, 0.45])
    assert (own["cost"], own["answered"], own["error"]) == pytest.approx((2100, 14 / 20, 3 / 14))
    assert (own["cost_answering"], own["cost_reviewing"]) == pytest.approx((3000, 2000))
    # 3 of the 6 deferred are wrong, 3 of the 14 answered.
    assert (own["pays_from"], own["pays_to"]) == pytest.approx((2, 14 / 3))
    assert own["cost_change"] is None
    # First half at .45: all answered, 3 wrong: 30. Second half at .55: 8 answered, 1 wrong: 10 + 4. 44 for 20.
    assert kept["thresholds"] == pytest.approx([0.55, 0.45])
    assert (kept["cost"], kept["answered"], kept["error"]) == pytest.approx((2200, 18 / 20, 4 / 18))
    assert (kept["cost_change"], kept["answered_change"], kept["wrong_change"]) == pytest.approx((100, 0.2, 0.05))
    assert kept["keeping_change"] == pytest.approx(100)
    # At a ratio of 4 the wrong answer more costs as much as the four reviews less.
    assert kept["break_even"] == pytest.approx(4)
    cheap, dear = (
        next(one for one in find_deferrals([variant, dense], Protocol(), Costs(ratio, 1)) if one["rule"] == "kept")
        for ratio in (4.9, 5.1)
    )
    assert cheap["thresholds"] == dear["thresholds"] == kept["thresholds"]
    assert again["thresholds"] == pytest.approx([0.65, 0.55])
    assert (again["cost"], again["cost_change"], again["keeping_change"]) == (pytest.approx(2100), 0, None)
    assert again["cost_change_low"] < 0 < again["cost_change_high"]
    assert [one["notes"] for one in records] == [[], [], []]


@given(
    items=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12),
    wrong=st.integers(2, 30),
    scale=st.sampled_from([0.01, 1.0, 700.0]),
)
def test_no_threshold_is_cheaper(items: list[tuple[int, float]], wrong: int, scale: float) -> None:
    confidence = np.array([one for one, _ in items]) / 7
    error = np.array([one for _, one in items])

    def cost(threshold: float) -> float:
        return sum(wrong * bad if sure >= threshold else 1.0 for sure, bad in zip(confidence, error, strict=True))

    found = cheapest_threshold(confidence, error, cost_wrong=wrong * scale, cost_review=scale)
    rivals = [*confidence, np.inf]
    assert cost(found) == pytest.approx(min(map(cost, rivals)))
    assert found == max(one for one in rivals if cost(one) == pytest.approx(cost(found)))


def test_an_item_is_never_counted_by_a_threshold_it_helped_to_choose() -> None:
    """Confidence that says nothing looks cheap where it was tuned; counted elsewhere it does not."""
    generator = np.random.default_rng(3)
    costs, seen = Costs(2, 1), []
    for _ in range(60):
        right = (generator.random(60) < 0.5).tolist()
        (record,) = find_deferrals([cell(generator.integers(30, 99, 60).tolist(), right)], Protocol(), costs)
        seen.append(record["cost"])
    # every rule costs 1,000 on average here; on the items it was tuned on it would cost 905
    assert np.mean(seen) == pytest.approx(1000, abs=3.3 * np.std(seen) / 60**0.5)
    assert np.mean(seen) > 960


@pytest.mark.parametrize("slope", [0.5])
def test_the_error_among_the_answered_is_within_its_bound(slope: float) -> None:
    """In 95 % of 1,000 simulated splits at least: the true error of the two thresholds, weighted as they answered."""
    generator = np.random.default_rng(1)
    ids = halves(75)
    first = np.arange(150) < 75
    held = cost_held = 0
    for _ in range(1000):
        sure = generator.integers(30, 100, 150)
        chance = 0.25 + slope * (sure / 100 - 0.25)
        planted = cell(sure.tolist(), (generator.random(150) < chance).tolist(), ids=ids)
        (record,) = find_deferrals([planted], Protocol(), Costs(5, 2))
        at = [101.0 if one is None else one * 100 - 1e-3 for one in record["thresholds"]]
        wrong = answered = cost = 0.0
        for threshold, half in ((at[1], first), (at[0], ~first)):
            levels = np.arange(max(30, int(np.ceil(threshold))), 100)
            share = len(levels) / 70
            bad = float((1 - 0.25 - slope * (levels / 100 - 0.25)).mean()) if len(levels) else 0.0
            count = (sure[half] >= threshold).sum()
            wrong, answered = wrong + count * bad, answered + count
            cost += 1000 / 2 * (5 * share * bad + 2 * (1 - share))
        held += answered == 0 or wrong / answered <= record["error_bound"]
        cost_held += record["cost_low"] <= cost <= record["cost_high"]
    assert held >= 950
    assert cost_held >= 950


def test_the_interval_of_a_cost_covers_it() -> None:
    generator = np.random.default_rng(5)
    weights, units = (10.0, 2.0), np.arange(300)
    shares = {(0, 0): 0.82, (1, -1): 0.04, (-1, 1): 0.02, (1, 0): 0.03, (-1, 0): 0.01, (0, 1): 0.05, (0, -1): 0.03}
    kinds, chances = np.array(list(shares)), list(shares.values())
    truth = float((np.array(chances) @ kinds) @ weights)
    held = 0
    for _ in range(400):
        drawn = kinds[generator.choice(len(kinds), 300, p=chances)].astype(float)
        ends = tuple(paired_interval(drawn[:, part], units) for part in (0, 1))
        low, high = weighted_interval((drawn[:, 0], drawn[:, 1]), (ends[0], ends[1]), weights, units)
        held += low <= truth <= high
    assert 0.94 <= held / 400 <= 0.985


@pytest.mark.parametrize(("turn", "width"), [(1.0, 3 * 0.02 + 2 * 0.03), (-1.0, abs(3 * 0.02 - 2 * 0.03) + 1e-9)])
def test_parts_that_move_together_add_and_those_against_each_other_cancel(turn: float, width: float) -> None:
    moves = np.array([1.0, -1.0, 0.0, 0.0])
    ends = ((-0.02, 0.02), (-0.03, 0.03))
    found = weighted_interval((moves, turn * moves), ends, (3.0, 2.0), np.arange(4))
    assert found == pytest.approx((-width, width), abs=1e-6)


def test_nothing_to_defer_on_and_nothing_to_keep_are_said() -> None:
    flat = cell([40] * 20, RIGHT)
    (record,) = find_deferrals([flat], Protocol(), COSTS)
    assert record["notes"] == ["the confidence is the same for all 20 items: nothing to defer on"]
    assert record["cost"] is None
    kept, tuned = find_deferrals([flat, cell(CONFIDENCE, RIGHT, variant="rtn-w4")], Protocol(), COSTS)[1:]
    assert (kept["rule"], kept["cost"]) == ("kept", None)
    assert kept["notes"] == ["dense: the confidence is the same for all 20 items: nothing to defer on"]
    assert tuned["cost"] == pytest.approx(2100)
    (alone,) = find_deferrals([cell(CONFIDENCE, RIGHT, variant="rtn-w4")], Protocol(), COSTS)
    assert (alone["rule"], alone["cost_change"]) == ("tuned", None)
    assert "there is no dense cell" in alone["notes"][0]
    (short,) = find_deferrals([cell([50], [True], ids=["q0"])], Protocol(), COSTS)
    assert "too few to tune on one half" in short["notes"][0]
    (wrong,) = find_deferrals([cell(CONFIDENCE, [False] * 20)], Protocol(), COSTS)
    assert (wrong["answered"], wrong["error"], wrong["cost"]) == (0, None, 2000)
    assert "nothing is answered" in wrong["notes"][0]
    lines = "\n".join(deferral_lines([record, kept, tuned, alone, short, wrong]))
    assert "nothing to defer on" in lines


def test_groups_stay_whole_and_order_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    ids = [f"q{number}" for number in range(200)]
    sure, right = generator.integers(30, 99, 200), generator.random(200) < 0.6
    planted = cell(sure.tolist(), right.tolist(), ids=ids)
    order = generator.permutation(200)
    turned = cell(sure[order].tolist(), right[order].tolist(), ids=[ids[place] for place in order])
    assert find_deferrals([turned], Protocol(), COSTS) == find_deferrals([planted], Protocol(), COSTS)
    twins = make_cell(
        ids=ids,
        answers=planted.answers.tolist(),
        scores=planted.scores.tolist(),
        kind="probs",
        model=planted.model,
        variant=planted.variant,
        task=planted.task,
        groups=["one"] * 100 + ["other"] * 100,
    )
    (record,) = find_deferrals([twins], Protocol(seed=1), COSTS)
    # two groups: in one half each, or both in one half, where nothing can be tuned
    assert record["cost"] is not None or "too few" in record["notes"][0]


def test_averages_take_tasks_with_equal_weight() -> None:
    other = [f"r{name}" for name in halves(30)]
    generator = np.random.default_rng(2)
    cells = []
    for variant in ("dense", "rtn-w4"):
        cells.append(cell(CONFIDENCE * 3, RIGHT * 3, variant=variant, task="quiz", ids=halves(30)))
        cells.append(
            cell(
                generator.integers(30, 99, 60).tolist(),
                (generator.random(60) < 0.8).tolist(),
                variant=variant,
                task="other",
                ids=other,
            )
        )
    records = find_deferrals(cells, Protocol(), COSTS)
    for rule in ("kept", "tuned"):
        parts = [one for one in records if one["variant"] == "rtn-w4" and one["rule"] == rule]
        assert [one["task"] for one in parts] == ["other", "quiz", "macro"]
        for key in ("cost", "answered", "cost_change"):
            assert parts[2][key] == pytest.approx((parts[0][key] + parts[1][key]) / 2)
        assert parts[2]["cost_low"] < parts[2]["cost"] < parts[2]["cost_high"]


@pytest.mark.parametrize(
    ("wrong", "review", "said"),
    [(0, 2, "wrong answer 0: not a number above 0"), (10, -1, "review -1: not"), (float("nan"), 2, "nan: not"),
     (float("inf"), 2, "inf: not"), (2, 2, "no review would ever pay")],
)  # fmt: skip
def test_costs_that_are_none(wrong: float, review: float, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        Costs(wrong, review)


def test_a_snapshot_has_what_keeping_costs_on_averages_at_the_costs_of_its_configuration() -> None:
    cells = [
        cell([min(97, one + noise) for one in CONFIDENCE], RIGHT, variant=variant, task=task)
        for task in ("quiz", "other")
        for variant, noise in (("dense", 0), ("rtn-w4", 25), ("rtn-w4@seed1", 30))
    ]
    measured = [
        SimpleNamespace(cell=one, row={"params_b": None}) for one in cells
    ]  # all that is asked of measured cells

    def found(costs: Costs | None) -> list[dict[str, Any]]:
        config = RunConfig(("planted",), (TaskChoice("quiz"), TaskChoice("other")), ("dense", "rtn-w4"), costs=costs)
        return kept_costs(Given(measured, Protocol(), config))  # type: ignore[arg-type]

    (record,) = found(None)
    assert (record["variant"], record["task"], record["costs_planned"]) == ("rtn-w4", "macro", False)
    plain = find_deferrals([one for one in cells if "@" not in one.key.variant], Protocol(), Costs(10, 2))
    (wanted,) = [one for one in plain if (one["task"], one["rule"], one["variant"]) == ("macro", "kept", "rtn-w4")]
    assert record == {key: wanted[key] for key in KEPT_KEYS} | {"costs_planned": False}
    (other,) = found(Costs(3, 1))
    assert (other["cost_wrong"], other["cost_review"], other["costs_planned"]) == (3, 1, True)
    assert other["cost"] != record["cost"]
    assert kept_costs(Given(measured[1:2], Protocol())) == []  # type: ignore[arg-type]


def run_dir(folder: Path, cells: list[Cell]) -> Path:
    for one in cells:
        write_cell(one.key.path(folder), one)
    return folder


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_dir(tmp_path, [cell(CONFIDENCE, RIGHT), cell(CONFIDENCE, RIGHT, variant="rtn-w4")])
    args = ["defer", str(folder), "--cost-wrong", "10", "--cost-review", "2"]
    assert main([*args, "--json"]) == 0
    out, err = capfd.readouterr()
    assert [one["cost"] for one in json.loads(out)] == [2100, 2100, 2100]
    assert err == ""
    assert main(args) == 0
    header, first, *_ = capfd.readouterr().out.splitlines()
    assert dict(zip(header.split("\t"), first.split("\t"), strict=True))["cost"] == "2100.000"
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert main(args) == 0
    assert "dense    tuned  0.700     0.214  0.466    2,100 [" in capfd.readouterr().out
    assert main(["defer", str(folder), "--cost-wrong", "10"]) == 2
    assert capfd.readouterr().err == (
        "suite: defer needs two costs: give --cost-wrong and --cost-review, such as 10 and 2\n"
    )
    assert main(["defer", str(folder), "--cost-wrong", "-1", "--cost-review", "2"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert main(["defer", str(folder), "--shift", "--json"]) == 0
    assert capfd.readouterr().out == "[]\n"


def test_a_threshold_of_one_task_used_on_another() -> None:
    """Against sets counted item by item, and replicates drawn and counted one by one."""
    generator = np.random.default_rng(4)
    cells, sure, right = [], {}, {}
    for task, level in (("easy", 20), ("hard", 0)):
        for variant, noise in (("dense", 1), ("rtn-w4", 25)):
            one = np.clip(55 + level + generator.integers(-15, 16, 80) + noise, 26, 97)
            sure[task, variant] = one
            right[task, variant] = generator.random(80) < (0.5 + level / 60)
            ids = [f"{task}{number}" for number in range(80)]
            cells.append(cell(one.tolist(), right[task, variant].tolist(), variant=variant, task=task, ids=ids))
    # dense and variant answer other questions alike in name only: answers differ, so few items are shared
    records = find_shifts([one for one in cells if one.key.variant == "dense"], Protocol(replicates=50))
    assert [(one["source"], one["target"]) for one in records] == [("easy", "hard"), ("hard", "easy")]
    record = records[0]

    def conformity(task: str) -> np.ndarray:
        top = sure[task, "dense"] / 100
        return np.where(right[task, "dense"], top, (1 - top) / 3)

    # rank ceil(81 x .9) = 73 of 80 from the least conforming: the eighth smallest
    threshold = np.sort(conformity("easy"))[::-1][73 - 1]
    covered = conformity("hard") >= threshold - 1e-6
    assert record["coverage"] == pytest.approx(covered.mean())
    top = sure["hard", "dense"] / 100
    sizes = (top >= threshold - 1e-6) + 3.0 * ((1 - top) / 3 >= threshold - 1e-6)
    assert record["set_size"] == pytest.approx(sizes.mean())
    assert record["coverage_low"] <= record["coverage"] <= record["coverage_high"]
    assert (record["coverage_change"], record["notes"]) == (None, ["this is the dense model"])
    # dense against itself under another name: no change, whatever the threshold
    twins = [*cells[::2], *(cell(sure[t, "dense"].tolist(), right[t, "dense"].tolist(), variant="rtn-w8", task=t,
             ids=[f"{t}{n}" for n in range(80)]) for t in ("easy", "hard"))]  # fmt: skip
    changes = [one for one in find_shifts(twins, Protocol(replicates=50)) if one["variant"] == "rtn-w8"]
    assert [one["coverage_change"] for one in changes] == [0, 0]
    assert all(one["coverage_change_low"] < 0 < one["coverage_change_high"] for one in changes)
    assert "threshold of easy on hard, wanted 0.9" in shift_lines(changes)[0]
    with pytest.raises(SuiteError, match="replicates 0"):
        find_shifts(cells, Protocol(replicates=0))


def test_the_interval_under_task_shift_resamples_both_tasks() -> None:
    """Its width is that of drawing both samples anew."""
    generator = np.random.default_rng(6)

    def draw() -> list[Cell]:
        found = []
        for task in ("one", "two"):
            sure = generator.integers(30, 99, 150)
            right = generator.random(150) < sure / 100
            ids = [f"{task}{number}" for number in range(150)]
            found.append(cell(sure.tolist(), right.tolist(), task=task, ids=ids))
        return found

    seen = [find_shifts(draw(), Protocol(replicates=2))[0]["coverage"] for _ in range(200)]
    record = find_shifts(draw(), Protocol(replicates=400))[0]
    width = record["coverage_high"] - record["coverage_low"]
    assert width == pytest.approx(2 * 1.96 * float(np.std(seen)), rel=0.25)
