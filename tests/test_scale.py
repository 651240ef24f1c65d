"""Size comparisons: the slope against scipy, model families by name, and what is not said."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from scripts.studies import size_tables
from scripts.studies.synthetic import Plan, Population, draw_cells
from suite.cell import Cell
from suite.config import Protocol
from suite.decisions.analyses import SCALE, Judgement
from suite.metrics.rows import measure_cells
from suite.verdicts.dose_records import JOINT_KEYS, MEASURES
from suite.verdicts.given import Given
from suite.verdicts.scale import Sized, differences, find_scale, model_family, order_on_size, scales_of, slope_on_size

FAST = Protocol(splits=5, replicates=150)


def test_slope_is_least_squares_on_log_parameters() -> None:
    generator = np.random.default_rng(0)
    sizes, values = np.array([1.2, 3.0, 8.0, 34.0, 70.0]), np.array([0.4, 0.35, 0.1, 0.2, 0.05])
    noise = generator.normal(0, 0.02, (5, 1000))
    slope = slope_on_size([Sized(f"m-{b}b", b, v, v + e) for b, v, e in zip(sizes, values, noise, strict=True)])
    assert slope is not None
    expected = stats.linregress(np.log10(sizes), values)
    assert slope.value == pytest.approx(expected.slope)
    centred = np.log10(sizes) - np.log10(sizes).mean()
    error = 0.02 / np.sqrt((centred**2).sum())
    assert slope.items_high - slope.items_low == pytest.approx(2 * 1.96 * error, rel=0.1)
    # resampling models as well can only say less
    assert slope.low is not None
    assert slope.high is not None
    assert slope.high - slope.low > slope.items_high - slope.items_low


def test_items_that_models_share_do_not_blur_the_slope() -> None:
    common = np.random.default_rng(0).normal(0, 0.3, 500)
    models = [Sized(f"m-{b}b", b, 0.5, 0.5 + common) for b in (1.0, 10.0, 100.0)]
    slope = slope_on_size(models)
    assert slope is not None
    assert (slope.items_low, slope.items_high) == pytest.approx((0, 0), abs=1e-9)


def test_without_headroom_in_many_replicates_a_slope_has_no_interval() -> None:
    values = np.r_[np.full(80, np.nan), np.linspace(0.4, 0.6, 920)]
    slope = slope_on_size([Sized(f"m-{b}b", b, 0.5, values) for b in (1.0, 10.0, 100.0)])
    assert slope is not None
    assert (slope.items_low, slope.items_high) == (None, None)


def test_four_models_are_no_sample_of_models() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 300)
    slope = slope_on_size([Sized(f"m-{b}b", b, 1 / b, 1 / b + noise) for b in (1.0, 2.0, 4.0, 8.0)])
    assert slope is not None
    assert (slope.low, slope.high) == (None, None)
    assert slope.items_low <= slope.value <= slope.items_high


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_the_order_is_tested_as_scipy_tests_it(count: int) -> None:
    generator = np.random.default_rng(count)
    for _ in range(20):
        values = generator.permutation(count).astype(float)
        sizes = np.arange(count) + 1.0
        found = order_on_size([Sized(str(b), b, v, np.zeros(2)) for b, v in zip(sizes, values, strict=True)])
        assert found is not None
        expected = stats.kendalltau(sizes, values, alternative="less", method="exact")
        assert found.p == pytest.approx(expected.pvalue)
        assert found.least == pytest.approx(1 / np.prod(np.arange(1, count + 1)))


def test_three_sizes_never_reach_a_sixth() -> None:
    falling = [Sized(str(b), b, 1 / b, np.zeros(2)) for b in (1.0, 10.0, 100.0)]
    found = order_on_size(falling)
    assert found is not None
    assert found.p == found.least == pytest.approx(1 / 6)
    twins = order_on_size([*falling[:2], Sized("twin", 10.0, 0.05, np.zeros(2))])
    assert twins is not None
    assert twins.least == pytest.approx(1 / 3)  # the two of one size may stand either way
    assert order_on_size(falling[:1]) is None


def test_pairs_are_compared_on_the_items_they_share() -> None:
    common = np.random.default_rng(0).normal(0, 0.3, 500)
    own = np.random.default_rng(1).normal(0, 0.02, 500)
    models = [Sized("b", 7.0, 0.3, 0.3 + common + own), Sized("a", 1.0, 0.5, 0.5 + common)]
    (pair,) = differences([*models])
    assert (pair["smaller"], pair["larger"], pair["difference"]) == ("a", "b", pytest.approx(-0.2))
    assert pair["difference_low"] == pytest.approx(-0.2 - 1.96 * 0.02, abs=0.006)
    assert pair["difference_high"] == pytest.approx(-0.2 + 1.96 * 0.02, abs=0.006)
    assert differences([models[0], replace(models[0], model="c")]) == []


def test_two_sizes_have_no_slope() -> None:
    noise = np.zeros(100)
    assert slope_on_size([Sized("a-1b", 1.0, 0.1, noise), Sized("a-7b", 7.0, 0.2, noise)]) is None
    assert slope_on_size([Sized("a-1b", 1.0, 0.1, noise)] * 3) is None


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Llama-2-13b-hf", "Llama-2-hf"),
        ("meta-llama/Llama-2-70b-hf@abc", "Llama-2-hf"),
        ("Qwen-1_8B", "Qwen"),
        ("Qwen-72B", "Qwen"),
        ("smollm2-135m", "smollm2"),
        ("Llama-3.2-1B", "Llama-3.2"),
        ("gemma-3-270m", "gemma-3"),
        ("mpt-7b", "mpt"),
    ],
)
def test_family_is_the_name_without_its_size(name: str, family: str) -> None:
    assert model_family(name) == family


def models_of_sizes(sizes: dict[str, float], variant_noise: dict[str, float]) -> list[Cell]:
    cells = []
    for name, params in sizes.items():
        levels = np.array([0.5, variant_noise[name]])
        for cell in draw_cells(Population(), Plan(levels, np.zeros(2)), n=400, seed=1):
            cells.append(replace(cell, model={"name": name, "params": params * 1e9}))
    return cells


def test_records_of_a_run_with_three_sizes() -> None:
    sizes = {"a-1b": 1.0, "a-7b": 7.0, "a-70b": 70.0, "other-7b": 7.0}
    noise = {"a-1b": 4.0, "a-7b": 2.5, "a-70b": 1.2, "other-7b": 3.0}
    measured = measure_cells(models_of_sizes(sizes, noise), FAST, keep=JOINT_KEYS)
    records = find_scale(measured, FAST)
    by = {(record["variant"], record["group"]): record for record in records}
    assert set(by) == {("dense", "a"), ("dense", "all"), ("magnitude-s10", "a"), ("magnitude-s10", "all")}
    within = by["magnitude-s10", "a"]
    assert (within["metric"], within["figure"]) == ("set_size", "loss")
    assert within["confounded"] is False
    assert [m["model"] for m in within["models"]] == ["a-1b", "a-7b", "a-70b"]  # type: ignore[attr-defined]
    assert float(str(within["slope"])) < -0.1
    assert (within["slope_low"], within["slope_high"]) == (None, None)
    assert [(one["smaller"], one["larger"]) for one in within["differences"]] == [  # type: ignore[attr-defined]
        ("a-1b", "a-7b"),
        ("a-1b", "a-70b"),
        ("a-7b", "a-70b"),
    ]
    assert within["order_p"] == within["order_p_least"] == pytest.approx(1 / 6)
    assert "p of the order is 0.17 at least with 3 models" in str(within["notes"])
    assert by["magnitude-s10", "all"]["differences"] == []
    assert by["magnitude-s10", "all"]["confounded"] is True
    assert by["dense", "a"]["figure"] == "value"
    # a loss is the change as a fraction of the way to chance
    rows = {(one.row["model"], one.row["variant"]): one.row for one in measured}
    dense, worse = rows["a-1b", "dense"], rows["a-1b", "magnitude-s10"]
    expected = (float(str(worse["set_size"])) - float(str(dense["set_size"]))) / (
        float(str(dense["set_size_chance"])) - float(str(dense["set_size"]))
    )
    assert within["models"][0]["value"] == pytest.approx(expected)  # type: ignore[index]


def test_over_tasks_a_loss_is_mean_change_over_mean_headroom() -> None:
    """A task on which dense has next to nothing to lose must not rule the average."""
    cells = []
    for name, params in (("a-1b", 1e9), ("a-7b", 7e9)):
        for task, noise in (("much", 0.5), ("little", 6.0)):
            for cell in draw_cells(Population(), Plan(np.array([noise, noise + 3]), np.zeros(2)), n=400, seed=1):
                named = replace(cell, model={"name": name, "params": params})
                cells.append(replace(named, task={**cell.task, "name": task}))
    measured = measure_cells(cells, FAST, keep=JOINT_KEYS)
    records = [one for one in find_scale(measured, FAST) if one["variant"] != "dense"]
    (average,) = [one for one in records if one["task"] == "macro"]
    rows = {(r["task"], r["variant"]): r for one in measured if (r := one.row)["model"] == "a-7b"}
    change = room = 0.0
    for task in ("much", "little"):
        dense, worse = rows[task, "dense"], rows[task, "magnitude-s10"]
        change += float(str(worse["set_size"])) - float(str(dense["set_size"]))
        room += float(str(dense["set_size_chance"])) - float(str(dense["set_size"]))
    found = average["models"][1]  # type: ignore[index]
    assert found["value"] == pytest.approx(change / room)
    assert found["low"] < found["value"] < found["high"]
    single = [one["models"][1]["value"] for one in records if one["task"] != "macro"]  # type: ignore[index]
    assert len(single) == 2
    assert abs(np.mean(single) - change / room) > 0.02


@pytest.mark.parametrize("metric", list(MEASURES))
def test_every_measure_is_a_loss_from_dense_to_a_blind_guess(metric: str) -> None:
    sizes, noise = {"a-1b": 1.0, "a-7b": 7.0}, {"a-1b": 3.0, "a-7b": 2.0}
    measured = measure_cells(models_of_sizes(sizes, noise), FAST, keep=JOINT_KEYS)
    records = find_scale(measured, FAST, metric=metric)
    (record,) = [one for one in records if one["variant"] != "dense"]
    rows = {(one.row["model"], one.row["variant"]): one.row for one in measured}
    # four options, alpha .1: a blind guess has these values whatever the items
    key, start, chance = {
        "brier_ts": ("brier_ts", "brier_ts", 0.75),
        "set_size": ("set_size", "set_size", 3.6),
        "accuracy": ("accuracy", "accuracy", 0.25),
        "nll_ts": ("nll_ts", "nll_ts", np.log(4)),
        "lac_transfer_coverage": ("lac_transfer_set_size", "lac_set_size", 3.6),
    }[metric]
    for one in record["models"]:  # type: ignore[attr-defined]
        dense = float(str(rows[one["model"], "dense"][start]))
        worse = float(str(rows[one["model"], "magnitude-s10"][key]))
        assert one["value"] == pytest.approx((worse - dense) / (chance - dense))
        assert one["low"] < one["value"] < one["high"]
    assert record["metric"] == metric


def test_the_interval_of_a_pair_is_that_of_items_drawn_again_for_both_models() -> None:
    """Against a bootstrap of its own, item by item; with items drawn apart it would be a good part longer."""
    protocol = Protocol(splits=5, replicates=2000)
    cells = models_of_sizes({"a-1b": 1.0, "a-7b": 7.0}, {"a-1b": 2.0, "a-7b": 1.5})
    measured = measure_cells(cells, protocol, keep=JOINT_KEYS)
    records = find_scale(measured, protocol, metric="accuracy")
    (pair,) = next(one for one in records if one["variant"] != "dense")["differences"]  # type: ignore[misc]
    right = {(one.row["model"], one.row["variant"]): one.correct.astype(float) for one in measured}

    def loss(model: str, items: np.ndarray) -> np.ndarray:
        dense, worse = (right[model, variant][items].mean(axis=-1) for variant in ("dense", "magnitude-s10"))
        return np.asarray((dense - worse) / (dense - 0.25))

    generator = np.random.default_rng(5)
    items, others = generator.integers(0, 400, (2, 4000, 400))
    drawn = loss("a-7b", items) - loss("a-1b", items)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert pair["difference_high"] - pair["difference_low"] == pytest.approx(high - low, rel=0.1)
    assert (pair["difference_low"], pair["difference_high"]) == pytest.approx((low, high), abs=0.1 * (high - low))
    apart = np.quantile(loss("a-7b", items) - loss("a-1b", others), [0.025, 0.975])
    assert np.ptp(apart) > 1.2 * (high - low)


@pytest.mark.parametrize(
    ("small", "large", "saturated"),
    [((1.3, 1.4), (1.1, 1.2), True), ((0.9, 1.1), (0.8, 1.1), True), ((0.9, 1.1), (0.7, 0.9), False)],
)
def test_two_guessers_are_not_compared(small: tuple[float, float], large: tuple[float, float], saturated: bool) -> None:
    """A pair of which neither is shown to have anything left is said to be saturated; of dense models none is."""
    models = [
        Sized(name, size, sum(ends) / 2, np.linspace(*ends, 1001))
        for name, size, ends in (("a-1b", 1.0, small), ("a-7b", 7.0, large))
    ]
    assert [one["saturated"] for one in differences(models, end=1.0)] == [saturated]
    assert [one["saturated"] for one in differences(models)] == [False]


def test_the_bias_of_a_fit_is_taken_out_of_intervals() -> None:
    """Where dense's value lies below its replicates, so does the truth below the value: a loss by Brier score is larger
    than was seen, and its interval moves further than the value. Set sizes are left as they are."""
    measured = measure_cells(
        models_of_sizes({"a-1b": 1.0, "a-7b": 7.0}, {"a-1b": 3.0, "a-7b": 2.0}), FAST, keep=JOINT_KEYS
    )
    for metric, refitted in (("brier_ts", True), ("set_size", False)):
        moved = []
        for one in measured:
            values = dict(one.values) | {metric: one.values[metric] - (0.03 if one.cell.is_dense else 0.0)}
            moved.append(replace(one, values=values))
        plain, off = (
            next(one for one in find_scale(cells, FAST, metric=metric) if one["variant"] != "dense")["models"]
            for cells in (measured, moved)
        )
        for before, after in zip(plain, off, strict=True):  # type: ignore[call-overload]
            # dense reads .03 better than its replicates say: the loss is larger, and the truth lies beyond it
            assert after["value"] > before["value"]
            if refitted:
                assert after["low"] > before["low"] + (after["value"] - before["value"])
            else:
                assert after["low"] == pytest.approx(before["low"])


def test_a_run_is_compared_by_the_measure_that_it_names_and_by_set_size() -> None:
    sizes, noise = {"a-1b": 1.0, "a-7b": 7.0}, {"a-1b": 3.0, "a-7b": 2.0}
    measured = measure_cells(models_of_sizes(sizes, noise), FAST, keep=JOINT_KEYS)
    metrics = [str(one["metric"]) for one in scales_of(Given(measured, FAST))]
    assert list(dict.fromkeys(metrics)) == ["brier_ts", "set_size"]
    assert Counter(metrics) == {"brier_ts": 2, "set_size": 2}
    lines = Judgement({SCALE: scales_of(Given(measured, FAST))}).lines()
    led = lines.index("size, by Brier score after temperature: loss of the larger model less that of the smaller one")
    assert lines[led + 1].startswith("  magnitude-s10 on ") or lines[led + 1].startswith("  dense on ")
    assert any(line.startswith("size, by set size: ") for line in lines[led:])


def test_two_sizes_are_shown_without_a_slope() -> None:
    measured = measure_cells(
        models_of_sizes({"a-1b": 1.0, "a-7b": 7.0}, {"a-1b": 3.0, "a-7b": 2.0}), FAST, keep=JOINT_KEYS
    )
    records = find_scale(measured, FAST)
    assert records
    assert all(record["slope"] is None for record in records)
    assert all("no slope" in str(record["notes"]) for record in records)


def test_one_member_of_each_family_is_compared_with_none_and_says_so() -> None:
    alone = measure_cells(models_of_sizes({"a-1b": 1.0}, {"a-1b": 3.0}), FAST, keep=JOINT_KEYS)
    assert find_scale(alone, FAST) == []
    sizes, noise = {"a-1b": 1.0, "b-7b": 7.0}, {"a-1b": 3.0, "b-7b": 2.0}
    two = measure_cells(models_of_sizes(sizes, noise), FAST, keep=JOINT_KEYS)
    records = find_scale(two, FAST)
    assert {one["group"] for one in records} == {"all"}
    assert all(one["confounded"] and one["differences"] == [] for one in records)
    for found in ([], records):
        assert Judgement({SCALE: found}).lines()[-1] == "  one model of each family: nothing to compare within one"


def test_the_tables_of_size_show_what_the_records_say() -> None:
    model = {"low": 0.1, "high": 0.3}
    models = [model | {"model": "a-1b", "value": 0.25}, model | {"model": "a-7b", "value": 0.125}]
    pair = {"smaller": "a-1b", "larger": "a-7b", "difference": -0.125}
    pair |= {"difference_low": -0.2, "difference_high": 0.1}
    record = {"task": "macro", "metric": "brier_ts", "variant": "rtn-w4", "models": models}
    record |= {"order_p": 0.5, "differences": [pair]}
    within = record | {"confounded": False}
    across = record | {"confounded": True, "slope": -0.1, "slope_items_low": -0.3, "slope_items_high": 0.2}
    one_task = within | {"task": "arc"}
    assert size_tables.sizes_table(
        [one_task, within | {"metric": "set_size"}, within, across], "brier_ts"
    ).splitlines()[-1] == ("| rtn-w4 | 0.25 | 0.12 | −0.12 [−0.20, +0.10] | 0.500 |")
    assert size_tables.confounded_table([one_task, within, across], "brier_ts").splitlines()[-1] == (
        "| rtn-w4 | 0.25 [0.10, 0.30] | 0.12 [0.10, 0.30] | -0.10 [-0.30, +0.20] | 0.500 |"
    )
