"""Policies on few items: order, frozen fits, sums with known bounds; planted damage, swapped models, groups."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence

import numpy as np
import pytest

from suite.cell import Cell, make_cell
from suite.decisions.built_in import get_policy
from suite.decisions.gate import GATE_KEYS, exit_status
from suite.decisions.item_by_item import MEASURES, Answered, Order, item_order, pair
from suite.decisions.policy import Criterion, Policy
from suite.decisions.sequential import BetLoss, above_chance, look, record_of, stop
from suite.errors import SuiteError
from suite.metrics.calibration import fit_temperature, rescale
from suite.metrics.score_test import tango


def planted(
    n: int,
    *,
    lost: float = 0.0,
    gained: float = 0.0,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    able: float = 3.0,
) -> tuple[Cell, Cell]:
    """Dense and compressed answers to n items of four options: right ones lost, wrong ones gained."""
    generator = np.random.default_rng(seed)
    answers = generator.integers(0, 4, n)
    dense = generator.normal(0, 1, (n, 4))
    dense[np.arange(n), answers] += able
    compressed = dense + generator.normal(0, 0.05, (n, 4))
    was = dense.argmax(axis=1) == answers
    share = was.mean()
    move = np.where(was, generator.random(n) < lost / share, generator.random(n) < gained / (1 - share))
    compressed[move] = np.roll(compressed[move], 1, axis=1)
    gain = move & ~was
    compressed[gain, answers[gain]] = 9.0
    cells = [
        make_cell(
            ids=[f"item-{row}" for row in range(n)],
            answers=answers.tolist(),
            scores=scores.tolist(),
            kind="logits",
            model={"name": "planted"},
            variant={"name": name},
            task={"name": "sciq", "scoring": "letter", "prompt": "base", "shots": 0},
            groups=groups,
        )
        for name, scores in (("dense", dense), ("rtn-w4-g32", compressed))
    ]
    return cells[0], cells[1]


def part(cell: Cell, names: Sequence[str]) -> Cell:
    """The cell with these items alone."""
    rows = [row for row, name in enumerate(cell.ids) if name in set(names)]
    return dataclasses.replace(
        cell,
        ids=tuple(cell.ids[row] for row in rows),
        answers=cell.answers[rows],
        n_options=cell.n_options[rows],
        scores=cell.scores[rows],
        groups=None if cell.groups is None else tuple(cell.groups[row] for row in rows),
    )


def paired(dense: Cell, compressed: Cell, *, seed: int = 0, first: int = 30, task: str = "sciq") -> Answered:
    order = item_order(task, dense.ids, dense.units, dense.n_options, seed=seed)
    return pair(order, dense, compressed, first=first)


def first_below(path: np.ndarray, level: float = 0.05) -> int | None:
    return int((path <= level).argmax()) + 1 if path[-1] <= level else None


def test_the_order_follows_from_ids_and_seed_and_keeps_units_whole() -> None:
    ids, units = [str(row) for row in range(60)], [f"passage-{row % 17}" for row in range(60)]
    order = item_order("t", ids, units, [4] * 60)
    shuffled = np.random.default_rng(0).permutation(60)
    again = item_order("t", [ids[row] for row in shuffled], [units[row] for row in shuffled], [4] * 60)
    assert order == again
    assert order != item_order("t", ids, units, [4] * 60, seed=1)
    runs = [units[int(name)] for name in order.ids]
    assert sum(one != other for one, other in itertools.pairwise(runs)) == 16
    assert sum(order.sizes) == 60


@pytest.mark.parametrize("metric", ["brier_ts", "set_size", "lac_transfer_coverage", "accuracy"])
def test_a_broken_model_is_shown_to_be_beyond_and_swapped_it_is_not(metric: str) -> None:
    dense, broken = planted(400, lost=0.3)
    unit = "headroom" if metric in ("brier_ts", "set_size") else "points"
    found, swapped = (BetLoss([paired(*both)], metric, unit) for both in ((dense, broken), (broken, dense)))
    assert found.above(0.075) <= 0.01
    assert found.below(0.05) > 0.5
    assert swapped.above(0.075) > 0.05
    assert found.value is not None
    assert found.value > 0.1


def test_a_harmless_variant_is_shown_to_be_within_and_its_loss_is_the_mean_after_the_first() -> None:
    dense, near = planted(900)
    pairs = paired(dense, near)
    for metric, unit, limit in (
        ("accuracy", "points", 0.02),
        ("accuracy", "relative", 0.02),
        ("error_rate", "relative", 0.5),
        ("brier_ts", "headroom", 0.05),
        ("set_size", "headroom", 0.05),
        ("lac_transfer_coverage", "points", 0.02),
    ):
        loss = BetLoss([pairs], metric, unit)
        assert loss.below(limit) <= 0.05, metric
        assert loss.above(1.5 * limit) > 0.05, metric
    order, places = pairs.order, {name: row for row, name in enumerate(dense.ids)}
    rows = [places[name] for name in order.ids]
    fitted, rest = rows[:30], rows[30:]
    brier = []
    for cell in (dense, near):
        logs = cell.log_probabilities()
        temperature = fit_temperature(logs[fitted], cell.answers[fitted])
        p = np.exp(rescale(logs[rest], temperature))
        brier.append(((p - np.eye(4)[cell.answers[rest]]) ** 2).sum(axis=1))
    expected = (brier[1] - brier[0]).mean() / (0.75 - brier[0]).mean()
    assert BetLoss([pairs], "brier_ts", "headroom").value == pytest.approx(expected, rel=1e-9)


def test_looks_see_no_more_than_the_items_before_them_in_whatever_batches_these_come() -> None:
    dense, broken = planted(300, lost=0.08, gained=0.02)
    whole = paired(dense, broken)
    for metric, unit in (("accuracy", "points"), ("brier_ts", "headroom"), ("set_size", "headroom")):
        everything = BetLoss([whole], metric, unit)
        for items in (40, 41, 57, 150, 299):
            some = BetLoss([paired(*(part(cell, whole.order.ids[:items]) for cell in (dense, broken)))], metric, unit)
            assert some.rounds in (0, items)
            # the order is that of the whole task, its parts are prefixes of it
            np.testing.assert_allclose(some.below_path(0.05), everything.below_path(0.05)[:items], rtol=1e-9)
            np.testing.assert_allclose(some.above_path(0.05), everything.above_path(0.05)[:items], rtol=1e-9)


def test_larger_limits_are_shown_with_no_more_items_where_nothing_flips() -> None:
    """Without a flip the items a limit needs are known: its least number, and what is spread costs."""
    dense, _ = planted(1200)
    loss = BetLoss([paired(dense, dense)], "accuracy", "points")
    needed = [first_below(loss.below_path(limit)) for limit in (0.005, 0.01, 0.02, 0.05, 0.1)]
    known = [np.log(0.05) / np.log(1 - limit) for limit in (0.005, 0.01, 0.02, 0.05, 0.1)]
    assert all(found is not None and 1 <= found / least <= 1.5 for found, least in zip(needed, known, strict=True))
    assert loss.above(0.0) > 0.999


def test_every_item_of_a_group_counts_once_and_copies_bring_no_confidence() -> None:
    dense, near = planted(150)
    copies = [
        dataclasses.replace(
            cell,
            ids=tuple(f"{name}-{copy}" for name in cell.ids for copy in range(4)),
            answers=cell.answers.repeat(4),
            n_options=cell.n_options.repeat(4),
            scores=cell.scores.repeat(4, axis=0),
            groups=tuple(name for name in cell.ids for _ in range(4)),
        )
        for cell in (dense, near)
    ]
    alone, grouped = (BetLoss([paired(*both)], "accuracy", "points") for both in ((dense, near), copies))
    assert (alone.rounds, grouped.rounds) == (150, 150)
    assert grouped.below(0.05) == pytest.approx(alone.below(0.05), rel=0.05)


def test_an_average_of_tasks_is_the_mean_of_their_means_and_ends_with_the_shortest() -> None:
    first, second = paired(*planted(300, lost=0.1)), paired(*planted(200, seed=4))
    both = BetLoss([first, second], "accuracy", "points")
    assert both.rounds == 200
    seen = [float((one.compressed["accuracy"] - one.dense["accuracy"])[:200].mean()) for one in (first, second)]
    assert both.value == pytest.approx(np.mean(seen))


def test_dense_at_chance_is_not_shown_to_be_above_it() -> None:
    assert above_chance(paired(*planted(200)))[-1] <= 0.001
    wrong = sum(above_chance(paired(*planted(100, able=0.0, seed=seed)))[-1] <= 0.05 for seed in range(60))
    assert wrong <= 7  # of 60 at 5 %: more in 2 of 1,000


def test_bad_input_is_said_in_one_line() -> None:
    dense, near = planted(60)
    with pytest.raises(SuiteError, match="first 5: out of range"):
        paired(dense, near, first=5)
    other = dataclasses.replace(near, answers=(near.answers + 1) % 4)
    with pytest.raises(SuiteError, match="has another answer or other options"):
        paired(dense, other)


@pytest.mark.parametrize("metric", MEASURES)
@pytest.mark.parametrize("unit", ["points", "relative", "headroom"])
def test_no_value_lies_beyond_the_bound_that_was_said_beforehand(metric: str, unit: str) -> None:
    """Whatever two models say: sharp, wrong, right, at random."""
    if unit == "headroom" and MEASURES[metric].chance is None:
        pytest.skip("a blind guess has no such value")
    generator = np.random.default_rng(2)
    for scale in (0.1, 5.0, 500.0):
        dense, _ = planted(120, seed=int(scale))
        other = dataclasses.replace(dense, scores=(scale * generator.normal(size=(120, 4))).astype(np.float32))
        for both in ((dense, other), (other, dense)):
            loss = BetLoss([paired(*both)], metric, unit)
            # log_capital refuses values below the bound
            assert 0 < loss.below(0.03) <= 1
            assert 0 < loss.above(0.03) <= 1


def both_tasks(dense: Cell, compressed: Cell) -> list[Answered]:
    return [paired(dense, compressed, task=task, seed=seed) for seed, task in enumerate(("sciq", "piqa"))]


def test_a_broken_model_is_rejected_early_a_near_one_accepted_and_swapped_models_are_not_rejected() -> None:
    policy = get_policy("certainty")
    dense, broken = planted(500, lost=0.4)
    found = look(both_tasks(dense, broken), policy)
    assert (found.decision, found.reason) == ("reject", None)
    assert stop(both_tasks(dense, broken), policy).decision == "reject"
    assert 30 < max(found.items.values()) < 150
    assert stop(both_tasks(broken, dense), policy).decision != "reject"
    same = look(both_tasks(*planted(700)), policy)
    assert same.decision == "accept"
    assert {one["outcome"] for one in same.lines} == {"within"}
    assert all(one["upper"] <= one["limit"] for one in same.lines)
    record = record_of(found, policy, ("m", "rtn-w3"))
    assert tuple(record) == (*GATE_KEYS, "items")
    assert exit_status([record]) == 1
    json.dumps(record, allow_nan=False)


def test_no_decision_by_the_last_item_is_review_with_its_reason() -> None:
    policy = get_policy("industry-1-2")
    found = look([paired(*planted(100))], policy)
    assert (found.decision, found.reason) == ("review", "undecided")
    assert found.items == {"sciq": 100}
    assert [one["outcome"] for one in found.lines if one["metric"] == "safety_violations"] == ["not_measured"]
    lost = Policy("ours", "us", (Criterion("accuracy", 0.2, "points"),), review=3.0)
    assert look([paired(*planted(300, lost=0.35))], lost).reason == "in_band"
    guessing = look([paired(*planted(300, able=0.0))], lost)
    assert (guessing.decision, guessing.reason) == ("review", "blocked")


def test_a_fixed_test_that_is_looked_at_often_is_no_sequential_one() -> None:
    """Planted exactly at the limit: Tango's test at ten looks accepts too often, bets at every look do not."""
    generator, limit, items, flips = np.random.default_rng(11), 0.05, 400, 0.1
    policy = Policy("ours", "us", (Criterion("accuracy", limit, "points"),))
    draws = generator.random((600, items))
    to_wrong, to_right = draws < (flips + limit) / 2, draws > 1 - (flips - limit) / 2
    looks = np.arange(40, items + 1, 40) - 1
    lost, gained = (np.cumsum(moved, axis=1)[:, looks].astype(float) for moved in (to_wrong, to_right))
    often = np.stack([tango(lost[:, at], gained[:, at], int(n) + 1, limit) for at, n in enumerate(looks)])
    assert (often <= -1.645).any(axis=0).mean() > 0.1
    assert (often[-1] <= -1.645).mean() < 0.075
    order = Order("sciq", tuple(map(str, range(items))), (1,) * items, (4,))
    wrong = 0
    for row in range(100):
        # dense is right where something is lost, wrong where something is gained, and on seven in ten of the others
        dense = np.where(to_wrong[row], 0.0, np.where(to_right[row], 1.0, generator.random(items) < 0.3))
        compressed = np.where(to_wrong[row], 1.0, np.where(to_right[row], 0.0, dense))
        answered = Answered(order, {"accuracy": dense}, {"accuracy": compressed}, np.full(items, 4), 0)
        wrong += stop([answered], policy).decision == "accept"
    assert wrong <= 11  # of 100 at 5 %: more in 4 of 1,000


def test_what_cannot_be_tested_item_by_item_is_refused_by_name() -> None:
    slices = Policy("ours", "us", (Criterion("accuracy", 0.2, "points", slice="edge"),))
    with pytest.raises(SuiteError, match="slice edge needs all items"):
        stop([paired(*planted(50))], slices)
