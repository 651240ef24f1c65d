"""Doses: what is kept, lost and not known along a curve, against short code of its own and planted losses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, special, stats
from support.record_keys import DOSE_KEYS

from scripts.studies.synthetic import Plan, Population, draw_cells
from suite.cell import Cell, make_cell, write_cell
from suite.cli import main
from suite.config import Primary, Protocol, RunConfig, TaskChoice
from suite.errors import SuiteError
from suite.metrics.rows import measure_cells
from suite.metrics.score_test import Stratum, score_statistic
from suite.verdicts.dose import Answers, Band, Contrasts, Ladder, find_doses, kept_everywhere
from suite.verdicts.dose_records import JOINT_KEYS, dose_lines, find_dose_records, ladders_of
from suite.verdicts.given import Given

Floats = NDArray[np.float64]
CHANCE = 0.75


def ladder(
    values: list[float], spread: float = 0.01, *, shared: float = 0.5, seed: int = 0, count: int = 1000
) -> Ladder:
    """A Brier-like curve with normal replicates that have a part in common, as many of each sign: without skewness."""
    generator = np.random.default_rng(seed)
    half = (count + 1) // 2
    noise = np.sqrt(shared) * generator.normal(size=half) + np.sqrt(1 - shared) * generator.normal(
        size=(len(values), half)
    )
    noise = np.hstack([noise, -noise])
    names = ("dense", *(f"rtn-w{bits}" for bits in (8, 6, 5, 4, 3, 2)))[: len(values)]
    amounts = np.array([np.nan, 8, 6, 5, 4, 3, 2])[: len(values)]
    v = np.array(values)
    return Ladder(
        names, v, v[:, None] + spread * noise, CHANCE, np.full(2 * half, CHANCE), 1000, amounts=amounts, unit="bits"
    )


def outside(curve: Ladder, level: int, share: float) -> float:
    """The contrast in standard errors, written out."""
    weights = 1 - share
    contrast = curve.replicates[level] - weights * curve.replicates[0] - share * curve.chance_replicates
    value = curve.values[level] - weights * curve.values[0] - share * curve.chance
    return float(value / contrast.std(ddof=1))


@pytest.mark.parametrize("seed", range(4))
def test_states_are_sequences_of_one_sided_tests(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = [0.3, *(0.3 + 0.45 * np.sort(generator.uniform(-0.02, 1, 6)) + generator.normal(0, 0.02, 6))]
    curve = ladder(values, 0.015, seed=seed)
    edge = stats.t.ppf(0.95, 999)
    found = find_doses(curve)
    below = [outside(curve, level, 0.25) < -edge for level in range(1, 7)]
    through_most = [name for place, name in enumerate(curve.names[1:]) if all(below[: place + 1])]
    for share, dose in found.items():
        kept = [outside(curve, level, share) < -edge for level in range(1, 7)]
        lost = [outside(curve, level, share) > edge for level in range(1, 7)]
        through = [name for place, name in enumerate(curve.names[1:]) if all(kept[: place + 1])]
        beyond = [name for place, name in enumerate(curve.names[1:]) if all(lost[place:])]
        assert dose.kept_through == (through[-1] if through else None)
        assert dose.lost_from == (beyond[0] if beyond else None)
        for level in dose.levels:
            if level.variant in through:
                expected = "kept"
            elif found[0.25].lost_from and curve.names.index(level.variant) >= curve.names.index(found[0.25].lost_from):
                expected = "lost"
            elif level.variant in beyond and level.variant in through_most:
                expected = "worse"
            else:
                expected = "not_known"
            assert level.state == expected


def test_an_interval_of_the_loss_is_fiellers() -> None:
    curve = ladder([0.3, 0.31, 0.45, 0.7], 0.02)
    edge = stats.t.ppf(0.95, 999)
    for place, level in enumerate(find_doses(curve)[0.05].levels, start=1):
        rise, room = curve.values[place] - curve.values[0], curve.chance - curve.values[0]
        table = np.cov(curve.replicates[place] - curve.replicates[0], curve.chance_replicates - curve.replicates[0])
        ends = np.roots(
            [
                room**2 - edge**2 * table[1, 1],
                -2 * (rise * room - edge**2 * table[0, 1]),
                rise**2 - edge**2 * table[0, 0],
            ]
        )
        assert level.loss == pytest.approx(rise / room)
        assert (level.low, level.high) == pytest.approx((ends.min(), ends.max()), abs=1e-5)


@pytest.mark.parametrize("off", [0.3, -0.3])
def test_what_fitting_again_costs_is_no_loss_and_no_gain(off: float) -> None:
    """Replicates of the level lie off its value by a part of a standard error, and its value off the truth as far."""
    plain = replace(ladder([0.3, 0.3 + 0.25 * 0.45], 0.01, shared=0.0), independent=100_000)
    error = float(np.std(plain.replicates[1] - 0.75 * plain.replicates[0], ddof=1))
    biased = replace(plain, replicates=plain.replicates + np.array([[0.0], [off * error]]))
    edge = stats.norm.ppf(0.95)

    def ends(curve: Ladder) -> tuple[float, float]:
        (level,) = find_doses(curve, tolerances=[0.25])[0.25].levels
        assert level.low is not None
        assert level.high is not None
        return level.low, level.high

    def contrast(curve: Ladder, share: float) -> tuple[float, float]:
        weights = np.array([share - 1, 1.0])
        return float(weights @ curve.values - share * CHANCE), float(np.std(weights @ curve.replicates, ddof=1))

    # without a fit, where replicates lie off the value says nothing: set sizes average fewer splits in them
    assert ends(biased) == pytest.approx(ends(plain), abs=1e-9)
    low, high = ends(replace(biased, refitted=True))
    for share, side in ((low, 1), (high, -1)):
        value, spread = contrast(biased, share)
        cost = max(side * off * error, 0.0)
        assert (side * value - cost) / spread == pytest.approx(edge, abs=1e-4)
    assert (low < ends(plain)[0] - 1e-4, high > ends(plain)[1] + 1e-4) == (off > 0, off < 0)
    # a value 1.8 errors above a tolerance is shown above it, and is not where .3 of them are what the fit costs
    above = replace(plain, values=np.array([0.3, 0.3 + 0.1 * 0.45 + 1.8 * error]))
    shifted = replace(above, replicates=above.replicates + np.array([[0.0], [0.3 * error]]), refitted=True)
    found = [find_doses(one, tolerances=[0.1])[0.1].lost_from for one in (above, shifted)]
    assert found == ["rtn-w8", None]


def test_a_fitted_temperature_costs_what_the_test_takes_out() -> None:
    """By short code of its own: the score at the temperature of a fifth of the items, less that at the best one."""
    generator = np.random.default_rng(4)
    n, blocks, share, levels = 200, 200, 0.4, (0.3, 2.0)
    hidden = 1.2 * generator.normal(size=(n * blocks, 4))
    answers = (hidden + generator.gumbel(size=hidden.shape)).argmax(axis=1)
    noise = generator.normal(size=hidden.shape)
    grid = np.linspace(-1.5, 4, 111)
    loss, brier = np.empty((2, len(levels), len(grid), n * blocks))
    for place, level in enumerate(levels):
        for column, at in enumerate(grid):
            log_p = special.log_softmax((hidden + level * noise) / np.exp(at), axis=1)
            loss[place, column] = -log_p[np.arange(len(answers)), answers]
            brier[place, column] = ((np.exp(log_p) - np.eye(4)[answers]) ** 2).sum(axis=1)
    best = loss.mean(axis=2).argmin(axis=1)
    costs = np.zeros((blocks, len(levels)))
    for block, place in np.ndindex(costs.shape):
        items = slice(n * block, n * block + n)
        for _ in range(10):
            some = generator.random(n) < 0.2
            own = loss[place][:, items][:, some].mean(axis=1).argmin()
            rest = brier[place][:, items][:, ~some].mean(axis=1)
            costs[block, place] += (rest[own] - rest[best[place]]) / 10
    cost = costs[:, 1] - (1 - share) * costs[:, 0]
    found = []
    for start in range(0, 10 * n, n):
        items = slice(start, start + n)
        cells = [
            make_cell(
                ids=[str(item) for item in range(start, start + n)],
                answers=answers[items].tolist(),
                scores=(hidden[items] + level * noise[items]).tolist(),
                kind="logits",
                model={"name": "m"},
                variant={"name": variant},
                task={"name": "a", "scoring": "letter", "prompt": "base", "shots": 0},
            )
            for variant, level in zip(("dense", "rtn-w2"), levels, strict=True)
        ]
        rules = Protocol(splits=10, replicates=200)
        given = Given.of(cells, RunConfig(("m",), (TaskChoice("a"),), ("dense",), protocol=rules), keep=JOINT_KEYS)
        ((_, ladders),) = ladders_of(given, ["brier_ts", "set_size", "accuracy"])
        assert [one.refitted for one in ladders.values()] == [True, False, False]
        curve = ladders["brier_ts"]
        off = curve.replicates.mean(axis=1) - curve.values
        found.append(off[1] - (1 - share) * off[0])
        contrast = curve.replicates[1] - (1 - share) * curve.replicates[0]
        assert Contrasts(curve).bias(1, share) == pytest.approx(found[-1] / contrast.std(ddof=1))
    assert cost.mean() > 4 * cost.std(ddof=1) / blocks**0.5
    assert np.mean(found) == pytest.approx(cost.mean(), rel=0.4)


def test_a_mild_level_that_is_not_kept_ends_the_sequence_and_hides_nothing() -> None:
    curve = ladder([0.3, 0.36, 0.3, 0.3, 0.7], 0.004)
    dose = find_doses(curve)[0.05]
    assert dose.kept_through is None
    assert dose.lost_from == "rtn-w4"
    assert [level.state for level in dose.levels] == ["not_known", "not_known", "not_known", "lost"]
    assert [level.holm for level in dose.levels] == ["lost", "kept", "kept", "lost"]


def test_pairing_decides_at_mild_levels() -> None:
    values = [0.3, 0.3, 0.7]
    assert find_doses(ladder(values, 0.03, shared=0.99))[0.05].kept_through == "rtn-w8"
    assert find_doses(ladder(values, 0.03, shared=0.0))[0.05].kept_through is None


def test_dense_and_chance_vary_too() -> None:
    """With the level glued to dense, all that is uncertain is the headroom: nothing when nothing was lost.

    What is left above the loss is what few of 1,000 items, worth a quarter each, may hide: a Clopper-Pearson bound.
    """

    def may_be(loss: float) -> float:
        return float(stats.beta.ppf(0.95, 250 * loss + 1, 250 * (1 - loss)))

    curve = ladder([0.3, 0.3], 0.05, shared=0.0)
    glued = replace(curve, replicates=np.stack([curve.replicates[0], curve.replicates[0]]))
    level = find_doses(glued)[0.05].levels[0]
    assert (level.loss, level.low, level.high) == pytest.approx((0, 0, may_be(0)), abs=1e-6)
    halfway = np.stack([curve.replicates[0], 0.5 * (curve.replicates[0] + curve.chance_replicates)])
    level = find_doses(replace(curve, values=np.array([0.3, 0.525]), replicates=halfway))[0.05].levels[0]
    assert (level.loss, level.low, level.high) == pytest.approx((0.5, 0.5, may_be(0.5)), abs=1e-6)


@pytest.mark.parametrize(("items", "kept"), [(100, [0.25]), (400, [0.05, 0.25]), (4000, [0.01, 0.05, 0.25])])
def test_nothing_seen_among_few_items_is_not_nothing_lost(items: int, kept: list[float]) -> None:
    curve = replace(ladder([0.3, 0.3], 1e-9), independent=items)
    found = find_doses(curve, tolerances=[0.01, 0.05, 0.25])
    assert [share for share, dose in found.items() if dose.kept_through] == kept
    assert found[0.05].levels[0].high == pytest.approx(1 - 0.05 ** (4 / items), abs=1e-5)
    gain = replace(curve, values=np.array([0.3, 0.29]))
    assert [
        share for share, dose in find_doses(gain, tolerances=[0.01, 0.05, 0.25]).items() if dose.kept_through
    ] == kept
    assert found[0.01].levels[0].items_to_decide == (None if items == 4000 else pytest.approx(1072, abs=1))


def test_the_dose_lies_where_the_strip_says() -> None:
    curve = ladder([0.3, 0.3, 0.305, 0.33, 0.5, 0.7, 0.75], 0.006)
    for share, dose in find_doses(curve, tolerances=[0.05, 0.1, 0.25]).items():
        assert dose.dose is not None, share
        assert dose.low is not None
        assert dose.high is not None
        assert dose.low <= dose.dose <= dose.high
        amounts = dict(zip(curve.names[1:], [8, 6, 5, 4, 3, 2], strict=True))
        assert dose.kept_through is not None
        assert dose.lost_from is not None
        kept, lost = amounts[dose.kept_through], amounts[dose.lost_from]
        assert kept >= dose.high > max(amount for amount in amounts.values() if amount < kept)
        assert lost <= dose.low < min(amount for amount in amounts.values() if amount > lost)
    # straight between neighbours: 25 % lies between w5 (.0667) and w4 (.4444)
    assert dose.dose == pytest.approx(5 - (0.25 - 0.03 / 0.45) / (0.17 / 0.45))


def test_a_curve_that_goes_up_and_down_has_the_interval_its_sequences_have() -> None:
    curve = ladder([0.3, 0.304, 0.3, 0.45, 0.31, 0.6], 0.002)
    dose = find_doses(curve, tolerances=[0.1])[0.1]
    assert (dose.kept_through, dose.lost_from) == ("rtn-w6", "rtn-w3")
    first, _, last = dose.levels[0], dose.levels[1], dose.levels[2]
    assert first.high is not None
    assert last.high is not None
    assert dose.high == pytest.approx(6 - (0.1 - first.high) / (last.high - first.high))
    before, after = dose.levels[3], dose.levels[4]
    assert before.low is not None
    assert after.low is not None
    assert dose.low == pytest.approx(4 - (0.1 - before.low) / (after.low - before.low))


def test_no_dose_outside_the_levels() -> None:
    early = find_doses(ladder([0.3, 0.6, 0.7], 0.003))[0.05]
    assert (early.dose, early.bound) == (None, "> 8 bits")
    assert early.notes == ("dose_high > 8 bits", "dose_low > 8 bits")
    late = find_doses(ladder([0.3, 0.3, 0.302], 0.003))[0.25]
    assert (late.dose, late.bound) == (None, "< 6 bits")
    zeros = replace(ladder([0.3, 0.3, 0.302], 0.003), amounts=np.array([np.nan, 30, 50]), unit="percent zeros")
    assert find_doses(zeros)[0.25].bound == "> 50 percent zeros"


def test_what_is_not_known_says_how_many_items_would_do() -> None:
    dose = find_doses(ladder([0.3, 0.312, 0.7], 0.01))[0.05]
    wanted = dose.levels[0].items_to_decide
    curve = ladder([0.3, 0.312, 0.7], 0.01)
    statistic = outside(curve, 1, 0.05)
    if abs(statistic) < 1:
        assert wanted == "at the tolerance"
    else:
        assert wanted == pytest.approx(1000 * ((1.64485 + 0.84162) / statistic) ** 2, abs=1.5)
    assert find_doses(ladder([0.3, 0.3225, 0.7], 0.01))[0.05].levels[0].items_to_decide == "at the tolerance"
    assert dose.levels[1].items_to_decide is None


def test_kept_on_every_task_is_the_severest_level_that_is_kept_on_each() -> None:
    mild, middling = ladder([0.3, 0.3, 0.3, 0.302, 0.7], 0.002), ladder([0.3, 0.3, 0.301, 0.6, 0.7], 0.002)
    assert kept_everywhere([mild], tolerance=0.05) == "rtn-w5"
    assert kept_everywhere([mild, middling], tolerance=0.05) == "rtn-w6"
    assert kept_everywhere([mild, ladder([0.3, 0.5, 0.3, 0.3, 0.7], 0.002)], tolerance=0.05) is None
    at_chance = ladder([0.74, 0.74, 0.74, 0.74, 0.74], 0.02)
    assert kept_everywhere([mild, at_chance], tolerance=0.05) is None


def test_headroom_that_is_not_shown() -> None:
    dose = find_doses(ladder([0.74, 0.75], 0.02))[0.05]
    assert "headroom not shown off zero" in dose.notes[0]
    assert [level.state for level in dose.levels] == ["not_known"]
    assert dose.levels[0].loss is None


def test_coverage_and_size_stand_together() -> None:
    curve = ladder([0.3, 0.3, 0.3, 0.7], 0.002)

    def states(coverage: list[float]) -> list[str]:
        values = np.array(coverage)
        replicates = values[:, None] + 0.002 * np.random.default_rng(9).normal(size=(4, 1000))
        return [one.state for one in find_doses(replace(curve, band=Band(values, replicates)))[0.05].levels]

    assert states([0.9, 0.9, 0.9, 0.9]) == ["kept", "kept", "lost"]
    assert states([0.9, 0.9, 0.86, 0.97]) == ["kept", "lost", "lost"]
    assert states([0.9, 0.9, 0.94, 0.9]) == ["kept", "lost", "lost"]
    assert states([0.9, 0.9, 0.92, 0.9]) == ["kept", "not_known", "lost"]


@pytest.mark.parametrize(("errors", "state"), [(1.8, "not_known"), (2.1, "lost")])
def test_either_of_two_measures_is_tested_at_half_the_level(errors: float, state: str) -> None:
    generator = np.random.default_rng(9)
    noise = generator.normal(size=1000)
    noise = 0.004 * (noise - noise.mean()) / noise.std(ddof=1)
    beyond = Band(np.array([0.9, 0.92 + errors * 0.004]), np.stack([np.zeros(1000), noise]))
    curve = replace(ladder([0.3, 0.3], 0.002), band=beyond)
    assert find_doses(curve)[0.25].levels[0].state == state


@pytest.mark.parametrize(("metric", "freedom"), [("set_size", 8), ("brier_ts", 199)])
def test_set_sizes_are_known_no_better_than_the_items_beyond_their_threshold(metric: str, freedom: int) -> None:
    """Of 200 items 80 calibrate, and a tenth of these lie beyond: the lower end is Fieller's with so few degrees."""
    cells = draw_cells(Population(), Plan(np.array([0.5, 1.2]), np.empty(0)), n=200, seed=4)
    config = RunConfig(("m",), (TaskChoice("t"),), ("dense",), protocol=Protocol(splits=8, replicates=200))
    (record,) = find_dose_records(cells, config, metrics=[metric], tolerances=[0.1])
    dense, level = measure_cells(cells, config.protocol, keep=[metric])
    chance = {"set_size": 3.6, "brier_ts": 0.75}[metric]
    low = record["levels"][0]["low"]  # type: ignore[index]
    value = level.values[metric] - (1 - low) * dense.values[metric] - low * chance
    drawn = level.replicates[metric] - (1 - low) * dense.replicates[metric] - low * chance
    if metric == "brier_ts":
        value -= max(drawn.mean() - value, 0.0)  # what fitting the temperature costs
    beyond = value / drawn.std(ddof=1)
    assert beyond == pytest.approx(stats.t.ppf(0.95, freedom), rel=1e-4)


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_the_score_test_takes_the_likeliest_table(share: float) -> None:
    """Against a maximization over all four cells of the two answers, those with no item included."""
    counts = np.array([40, 0, 3, 17])  # both right, gained, lost, both wrong
    dense, level = np.repeat([1, 0, 1, 0], counts), np.repeat([1, 1, 0, 0], counts)
    scores = (1 - share) * np.array([1, 0, 1, 0]) - np.array([1, 1, 0, 0]) + share / 4

    def likelihood(p: Floats) -> float:
        return -float((counts * np.log(np.maximum(p, 1e-300))).sum())

    found = optimize.minimize(
        likelihood,
        np.full(4, 0.25),
        bounds=[(1e-12, 1)] * 4,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "eq", "fun": lambda p: p @ scores},
        ],
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    values = (1 - share) * dense - level + share / 4
    expected = values.mean() / np.sqrt(found.x @ scores**2 / 60)
    stratum = Stratum(values, np.arange(60), float(scores.min()), float(scores.max()))
    assert score_statistic([stratum]) == pytest.approx(expected, abs=2e-4)


def test_no_flip_in_a_hundred_items_is_not_certainty() -> None:
    def few(items: int) -> str | None:
        right = np.arange(items) < 0.6 * items
        answers = Answers(np.stack([right, right]).astype(float), np.full(items, 0.25), np.arange(items))
        value = -float(right.mean())
        curve = Ladder(
            ("dense", "rtn-w8"),
            np.full(2, value),
            np.full((2, 9), value),
            -0.25,
            np.full(9, -0.25),
            items,
            answers=(answers,),
        )
        return find_doses(curve)[0.05].kept_through

    assert few(60) is None
    assert few(1000) == "rtn-w8"


@pytest.mark.parametrize(("flips", "lost"), [(5, False), (6, True)])
def test_few_flips_are_counted_in_whole_answers(flips: int, lost: bool) -> None:
    """At a loss of .05 of a headroom of .45, 100 items flip 2.25 times on average: five or more in 7.6 %."""
    share, items = 0.05, np.arange(100)
    assert (stats.binom.sf(flips - 1, 100, share * 0.45) < 0.05) == lost
    right = np.stack([items < 70, (items >= flips) & (items < 70)]).astype(float)
    values = -right.mean(axis=1)
    answers = (Answers(right, np.full(100, 0.25), items),)
    curve = Ladder(
        ("dense", "rtn-w4"), values, np.zeros((2, 9)), -0.25, np.full(9, -0.25), independent=100, answers=answers
    )
    assert (find_doses(curve, tolerances=[share])[share].lost_from is not None) == lost


@pytest.mark.parametrize("group", [1, 4])
def test_planted_losses_are_missed_on_either_side_as_often_as_promised(group: int) -> None:
    """The true loss of accuracy lies at the tolerance: each side may be claimed in 5 % of draws."""
    generator = np.random.default_rng(3)
    draws, units, share = 100, 100, 0.25
    kept = lost = 0
    for _ in range(draws):
        dense = np.repeat(generator.random(units) < 0.75, group)
        broken = np.repeat(generator.random(units) < share, group)
        guessed = np.repeat(generator.random(units) < 0.25, group)
        level = np.where(broken, guessed, dense)
        answers = Answers(
            np.stack([dense, level]).astype(float), np.full(units * group, 0.25), np.repeat(np.arange(units), group)
        )
        values = -answers.correct.mean(axis=1)
        curve = Ladder(
            ("dense", "rtn-w4"), values, np.zeros((2, 9)), -0.25, np.full(9, -0.25), units, answers=(answers,)
        )
        dose = find_doses(curve, tolerances=[share])[share]
        kept, lost = kept + (dose.kept_through is not None), lost + (dose.lost_from is not None)
    most = stats.binom.ppf(0.9999, draws, 0.06)
    assert 0 < kept <= most
    assert 0 < lost <= most


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tolerances": [0.0]}, "tolerance 0"),
        ({"tolerances": [0.1, 1.0]}, "tolerance 1"),
        ({"tolerances": [float("nan")]}, "tolerance nan"),
        ({"confidence": 0.5}, "confidence 0.5"),
        ({"confidence": 1.0}, "confidence 1"),
    ],
)
def test_numbers_out_of_range(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        find_doses(ladder([0.3, 0.4]), **arguments)  # type: ignore[arg-type]


# ---- cells


QUICK = RunConfig(("m",), (TaskChoice("a"),), ("dense",), protocol=Protocol(splits=10, replicates=200))


def cells_of(names: dict[str, float], *, task: str = "a", n: int = 240, options: int = 4) -> list[Cell]:
    """Cells whose logits are the right answer's push plus noise; a share of the items is blind."""
    generator = np.random.default_rng(ord(task))
    answers = generator.integers(0, options, n)
    noise = generator.normal(size=(n, options))
    blind = generator.random(n)
    guess = generator.normal(size=(n, options))
    pushed = noise.copy()
    pushed[np.arange(n), answers] += 2.5
    result = []
    for name, share in names.items():
        logits = np.where((blind < share)[:, None], guess, pushed)
        logits = logits + (0.05 * generator.normal(size=logits.shape) if name != "dense" else 0)
        rows = np.arange(n)
        result.append(
            make_cell(
                ids=[f"{task}{row}" for row in rows],
                answers=answers[rows].tolist(),
                scores=logits[rows].tolist(),
                kind="logits",
                model={"name": "m"},
                variant={"name": name},
                task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
            )
        )
    return result


@pytest.fixture(scope="module")
def records() -> list[dict[str, object]]:
    """Two tasks, three levels; one level more that stands outside the scheme, and two of one nominal value."""
    names = {"dense": 0.0, "rtn-w8": 0.0, "rtn-w4": 0.05, "rtn-w2": 0.9}
    more = {"wanda-2:4": 0.1, "wanda-4:8": 0.1, "mine": 0.8}
    return find_dose_records([*cells_of(names | more), *cells_of(names | {"rtn-w4": 0.6}, task="b", options=5)], QUICK)


def the(records: list[dict[str, object]], **wanted: object) -> dict[str, object]:
    wanted = {"metric": "brier_ts", "tolerance": 0.05, "task": "a", "method": "rtn"} | wanted
    (found,) = [one for one in records if all(one[key] == value for key, value in wanted.items())]
    return found


def test_records_have_the_agreed_keys(records: list[dict[str, object]]) -> None:
    assert all(tuple(record) == DOSE_KEYS for record in records)
    json.dumps(records, allow_nan=False)
    assert {record["scope"] for record in records} == {"checkpoint"}
    assert {record["metric"] for record in records} == {
        "brier_ts",
        "set_size",
        "accuracy",
        "nll_ts",
        "lac_transfer_coverage",
    }


def test_accuracy_is_counted_and_certainty_recomputed(records: list[dict[str, object]]) -> None:
    cells = cells_of({"dense": 0.0, "rtn-w8": 0.0, "rtn-w4": 0.05, "rtn-w2": 0.9})
    right = [float((cell.scores.argmax(axis=1) == cell.answers).mean()) for cell in cells]
    briers = [brier_after_temperature(cell) for cell in cells]
    for metric, values, chance, error in (("accuracy", right, 0.25, 1e-9), ("brier_ts", briers, 0.75, 0.04)):
        levels = the(records, metric=metric)["levels"]
        assert isinstance(levels, list)
        for level, value in zip(levels, values[1:], strict=True):
            assert level["loss"] == pytest.approx((value - values[0]) / (chance - values[0]), abs=error)
            assert level["low"] < level["loss"] < level["high"]


def brier_after_temperature(cell: Cell) -> float:
    """Fitted on one half and scored on the other, both ways round."""
    halves = np.arange(len(cell)) % 2 == 0
    total = 0.0
    for fit, rest in ((halves, ~halves), (~halves, halves)):

        def losses(temperature: float, rows: NDArray[np.bool_]) -> Floats:
            z = cell.scores[rows].astype(float) / temperature
            return np.asarray(np.exp(z - z.max(axis=1, keepdims=True)))

        def nll(temperature: float, rows: NDArray[np.bool_] = fit) -> float:
            p = losses(temperature, rows)
            return -float(np.log(p[np.arange(len(p)), cell.answers[rows]] / p.sum(axis=1)).mean())

        best = optimize.minimize_scalar(nll, bounds=(0.05, 50), method="bounded").x
        p = losses(best, rest)
        p /= p.sum(axis=1, keepdims=True)
        total += float(((p - np.eye(p.shape[1])[cell.answers[rest]]) ** 2).sum())
    return total / len(cell)


def test_levels_without_an_order_stand_alone(records: list[dict[str, object]]) -> None:
    for name in ("wanda-2:4", "wanda-4:8"):
        record = the(records, method=name)
        assert [level["variant"] for level in record["levels"]] == [name]  # type: ignore[attr-defined]
        assert any("no order" in note for note in record["notes"])  # type: ignore[attr-defined]
        assert record["dose"] is None
    assert the(records, method="mine", tolerance=0.25)["lost_from"] == "mine"


def test_the_average_stands_beside_what_holds_on_every_task(records: list[dict[str, object]]) -> None:
    record = the(records, task="macro", tolerance=0.25)
    tasks = [the(records, task=task, tolerance=0.25) for task in "ab"]
    assert [task["lost_from"] for task in tasks] == ["rtn-w2", "rtn-w4"]
    assert record["lost_on_a_task"] == "rtn-w4"
    assert [task["kept_through"] for task in tasks] == ["rtn-w4", "rtn-w8"]
    assert record["kept_on_every_task"] == "rtn-w8"
    assert all(task["kept_on_every_task"] is None for task in tasks)
    # the sum of the tasks' contrasts, not the mean of their losses
    parts = []
    for task, options in (("a", 4), ("b", 5)):
        dense, level = cells_of({"dense": 0.0, "rtn-w2": 0.9}, task=task, options=options)
        parts.append(
            [float((one.scores.argmax(axis=1) == one.answers).mean()) for one in (dense, level)] + [1 / options]
        )
    (dense, level, chance) = np.mean(parts, axis=0)
    seen = the(records, task="macro", metric="accuracy")["levels"][-1]["loss"]  # type: ignore[index]
    assert seen == pytest.approx((dense - level) / (dense - chance), abs=0.03)


def test_set_sizes_are_averaged_over_equal_numbers_of_options_alone(records: list[dict[str, object]]) -> None:
    record = the(records, task="macro", metric="set_size")
    assert record["kept_through"] is None
    assert "number of options" in record["notes"][0]
    assert the(records, task="a", metric="set_size")["kept_through"] is not None


def test_a_curve_without_dense_and_levels_on_other_items_are_said() -> None:
    alone = find_dose_records(cells_of({"rtn-w8": 0.0}, n=60), QUICK, metrics=["accuracy"])
    assert [record["kept_through"] for record in alone] == [None] * 3
    assert "no dense cell" in alone[0]["notes"][0]  # type: ignore[index]
    dense, moved = cells_of({"dense": 0.0, "rtn-w8": 0.0}, n=160)
    kept = replace(
        moved,
        ids=moved.ids[40:],
        answers=moved.answers[40:],
        n_options=moved.n_options[40:],
        scores=moved.scores[40:],
    )
    record = find_dose_records([dense, kept], QUICK, metrics=["accuracy"])[0]
    assert any("measured on the 120 that all share" in note for note in record["notes"])  # type: ignore[attr-defined]


def test_an_error_combined_from_two_rows_is_not_that_of_their_difference() -> None:
    """Levels see the same items, so their errors have most in common, from the cells on: in the replicates."""
    dense, level = cells_of({"dense": 0.0, "rtn-w8": 0.02}, n=400)
    record = find_dose_records([dense, level], QUICK, metrics=["brier_ts"])[0]
    (seen,) = record["levels"]  # type: ignore[misc]
    squares = []
    for cell in (dense, level):
        logits = cell.scores.astype(float)

        def nll(temperature: float, z: Floats = logits, right: NDArray[np.int64] = cell.answers) -> float:
            return -float(special.log_softmax(z / temperature, axis=1)[np.arange(len(z)), right].mean())

        best = optimize.minimize_scalar(nll, bounds=(0.05, 50), method="bounded").x
        squares.append(((special.softmax(logits / best, axis=1) - np.eye(4)[cell.answers]) ** 2).sum(axis=1))
    before, after = squares
    loss = (after.mean() - before.mean()) / (CHANCE - before.mean())
    paired = (after - (1 - loss) * before).std(ddof=1) / 20 / (CHANCE - before.mean())
    apart = np.hypot(after.std(ddof=1), before.std(ddof=1)) / 20 / (CHANCE - before.mean())
    assert paired < apart / 3
    reach = seen["loss"] - seen["low"]  # the other end also knows what few items can hide
    assert reach == pytest.approx(1.645 * paired, rel=0.25)
    rows = measure_cells([dense, level], QUICK.protocol)
    combined = np.hypot(*[float(one.row["brier_ts_high"]) - float(one.row["brier_ts_low"]) for one in rows])  # type: ignore[typeddict-item]
    assert combined / 2 / (CHANCE - before.mean()) > 3 * reach
    change = rows[1].row
    reach = float(change["brier_ts_change"]) - float(change["brier_ts_change_low"])  # type: ignore[typeddict-item]
    assert reach == pytest.approx(1.96 * (after - before).std(ddof=1) / 20, rel=0.25)


def test_the_order_of_cells_and_items_changes_nothing() -> None:
    cells = cells_of({"dense": 0.0, "rtn-w8": 0.0, "rtn-w4": 0.3}, n=120)
    backwards = [
        replace(
            cell,
            ids=cell.ids[::-1],
            answers=cell.answers[::-1],
            n_options=cell.n_options[::-1],
            scores=cell.scores[::-1],
        )
        for cell in cells[::-1]
    ]
    assert find_dose_records(cells, QUICK, metrics=["brier_ts"]) == find_dose_records(
        backwards, QUICK, metrics=["brier_ts"]
    )


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for cell in cells_of({"dense": 0.0, "rtn-w8": 0.0, "rtn-w2": 0.9}, n=200):
        write_cell(tmp_path / "cells" / f"{cell.variant['name']}.parquet", cell)
    assert main(["dose", str(tmp_path), "--tolerance", "0.1", "0.3", "--metric", "accuracy", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [(record["metric"], record["tolerance"]) for record in records] == [("accuracy", 0.1), ("accuracy", 0.3)]
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert main(["dose", str(tmp_path), "--tolerance", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert "lost from rtn-w2 at 0.3" in printed
    assert "Brier score after temperature" in printed
    for arguments, said in (
        (["--metric", "nll"], "did you mean nll_ts? Valid: accuracy, brier_ts"),
        (["--tolerance", "2"], "tolerance 2: out of range"),
        (["--confidence", "0.3"], "confidence 0.3: out of range"),
    ):
        assert main(["dose", str(tmp_path), *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("suite: ")
        assert said in error
        assert error.count("\n") == 1


def test_in_a_pipe_doses_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in cells_of({"dense": 0.0, "rtn-w8": 0.06, "rtn-w2": 0.9}, n=200):
        write_cell(tmp_path / "cells" / f"{cell.variant['name']}.parquet", cell)
    command = ["dose", str(tmp_path), "--metric", "accuracy", "--tolerance", "0.05", "0.3"]
    assert main([*command, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["tolerance"], row["level"], row["state"], row["loss"]) for row in found] == [
        (str(record["tolerance"]), level["variant"], level["state"], f"{level['loss']:.3f}")
        for record in records
        for level in record["levels"]
    ]
    needed = {(row["tolerance"], row["level"]): row["needs"] for row in found if row["needs"] != "–"}
    assert needed == {
        (str(record["tolerance"]), name): str(items)
        for record in records
        for name, items in record["items_to_decide"].items()
    }
    assert needed


def test_a_curve_without_dense_is_a_line_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in cells_of({"dense": 0.0, "rtn-w2": 0.9}, n=50):
        if not cell.is_dense:
            write_cell(tmp_path / "cells" / "rtn-w2.parquet", cell)
    assert main(["dose", str(tmp_path), "--tolerance", "0.1"]) == 0
    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {(row[header.index("level")], row[header.index("state")]) for row in rows} == {("rtn-w2", "not_known")}
    assert all("there is no dense cell" in row[header.index("notes")] for row in rows)


def test_the_primary_cell_of_a_run_is_what_the_command_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for cell in cells_of({"dense": 0.0, "rtn-w2": 0.9}, n=200):
        write_cell(tmp_path / "cells" / f"{cell.variant['name']}.parquet", cell)
    config = replace(QUICK, primary=Primary("accuracy", (0.3, 0.15)))
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert main(["dose", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "m, rtn, a: accuracy" in printed
    assert "Brier" not in printed
    assert "at 0.15" in printed.splitlines()[1]
    assert "at 0.3 " in printed.splitlines()[1]
    assert main(["dose", str(tmp_path), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert len({record["metric"] for record in records}) == 5
    assert {record["tolerance"] for record in records} == {0.15, 0.3}
    assert main(["dose", str(tmp_path), "--metric", "nll_ts", "--tolerance", "0.2", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {(record["metric"], record["tolerance"]) for record in records} == {("nll_ts", 0.2)}


def test_nothing_to_say_is_said() -> None:
    assert dose_lines([]) == ["no curve: no dense cell with a compressed variant beside it"]
