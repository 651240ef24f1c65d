"""Verdicts on a recipe: another draw of its sample text makes other weights, and that is in the error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from suite.cell import Cell, make_cell
from suite.config import Protocol, RunConfig, TaskChoice
from suite.publish.doses import headlines
from suite.verdicts.dose import Ladder, find_doses
from suite.verdicts.dose_records import dose_lines, find_dose_records
from suite.verdicts.recipe_scope import new_draw_variance, p_value

DENSE, CHANCE = 0.3, 0.75
ROOM = CHANCE - DENSE
FEW = 100_000
"""Items so many that what few of them can hide is nothing."""


@pytest.mark.parametrize("draws", [[0.0, 1.0, 2.0], [0.3, 0.1, 0.25, 0.2]])
def test_without_items_error_it_is_the_prediction_of_a_new_draw(draws: list[float]) -> None:
    seen = np.array(draws)
    m = len(seen)
    for value in (0.05, 0.3, 2.0):
        statistic = value / (seen.std(ddof=1) * np.sqrt(1 + 1 / m))
        assert p_value(value, 0.0, 999, seen) == pytest.approx(stats.t.sf(statistic, m - 1), rel=1e-6)
        assert p_value(-value, 0.0, 999, seen) == pytest.approx(stats.t.cdf(statistic, m - 1), rel=1e-6)


def test_without_seeds_it_is_students_test_and_both_margins_add_as_squares() -> None:
    assert p_value(0.4, 0.04, 50, np.zeros(0)) == pytest.approx(stats.t.sf(2.0, 50))
    draws, items, value = np.array([0.1, 0.2, 0.4]), 0.01, 0.6
    p = p_value(value, items, 200, draws)
    margin = stats.t.isf(p, 200) ** 2 * items + stats.t.isf(p, 2) ** 2 * new_draw_variance(draws)
    assert margin == pytest.approx(value**2, rel=1e-6)
    assert p_value(0.0, items, 200, draws) == 0.5
    assert p_value(1e9, items, 200, draws) < 1e-12


def ladder(draws: np.ndarray, items: np.ndarray) -> Ladder:
    """One level seen with some seeds; what the draw of items adds is the same for all, and so are its replicates."""
    losses = draws + items[0]
    values = np.array([DENSE, DENSE + ROOM * losses.mean()])
    replicates = values[:, None] + ROOM * np.vstack([np.zeros(len(items) - 1), items[1:]])
    level = Ladder(("dense", "gptq-w4"), values, replicates, CHANCE, np.full(len(items) - 1, CHANCE), FEW)
    return replace(level, draws=(np.array([DENSE]), DENSE + ROOM * losses))


@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_a_recipe_is_seldom_wrong_about_another_draw(spread: float) -> None:
    """Three seeds and the loss of a fourth, a new draw; items' error is .02.

    A claim is wrong where the new draw lies on the other side of the tolerance; tolerances are put where that is
    hardest, at the bound itself.
    """
    generator = np.random.default_rng(11)
    count, wrong = 300, {"recipe": np.zeros(2), "checkpoint": np.zeros(2)}
    for _ in range(count):
        recipe = ladder(0.4 + spread * generator.normal(size=3), 0.02 * generator.normal(size=201))
        truth = 0.4 + spread * generator.normal()
        one = replace(recipe, draws=())
        for name, curve in (("recipe", recipe), ("checkpoint", one)):
            level = find_doses(curve, tolerances=[0.4])[0.4].levels[0]
            low = -np.inf if level.low is None else level.low
            high = np.inf if level.high is None else level.high
            wrong[name] += [truth < low, truth > high]
    assert (wrong["recipe"] <= stats.binom.ppf(0.999, count, 0.05)).all()
    assert (wrong["checkpoint"] > 0.1 * count).all() or spread == 0.02


def test_states_and_what_would_help() -> None:
    items = 0.001 * np.random.default_rng(0).normal(size=201)
    items[0] = 0.0
    alike = find_doses(ladder(np.array([0.10, 0.11, 0.12]), items))[0.05]
    apart = find_doses(ladder(np.array([0.03, 0.11, 0.19]), items))[0.05]
    assert (alike.lost_from, apart.lost_from) == ("gptq-w4", None)
    assert apart.levels[0].items_to_decide == "needs more seeds"
    checkpoint = replace(ladder(np.array([0.03, 0.11, 0.19]), items), draws=())
    assert find_doses(checkpoint)[0.05].lost_from == "gptq-w4"
    noisy = find_doses(ladder(np.array([0.10, 0.11, 0.12]), 60 * items))[0.05].levels[0].items_to_decide
    assert isinstance(noisy, int)
    assert noisy > FEW


# ---- cells


def cell(name: str, task: str, blind: float, *, seed: int = 0, recipe: str = "gptq") -> Cell:
    """A share of the items is answered blindly; which ones, the seed says."""
    generator = np.random.default_rng(ord(task))
    answers = generator.integers(0, 4, 300)
    pushed = generator.normal(size=(300, 4))
    pushed[np.arange(300), answers] += 2.5
    own = np.random.default_rng([ord(task), seed, len(name)])
    logits = np.where((own.random(300) < blind)[:, None], own.normal(size=(300, 4)), pushed)
    return make_cell(
        ids=[f"{task}{row}" for row in range(300)],
        answers=answers.tolist(),
        scores=logits.tolist(),
        kind="logits",
        model={"name": "m"},
        variant={"name": name, "recipe": None if name == "dense" else f"{recipe} seed {seed}"},
        task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
        run={"seed": seed},
    )


QUICK = RunConfig(("m",), (TaskChoice("a"),), ("dense",), protocol=Protocol(splits=5, replicates=100))
BLIND = {0: 0.25, 1: 0.3, 2: 0.4}


@pytest.fixture(scope="module")
def records() -> list[dict[str, object]]:
    cells = []
    for task in "ab":
        cells += [cell("dense", task, 0.0), cell("gptq-w8", task, 0.02), cell("rtn-w4", task, 0.3)]
        cells += [
            cell("gptq-w4" + (f"@seed{seed}" if seed else ""), task, blind, seed=seed) for seed, blind in BLIND.items()
        ]
    cells.append(cell("gptq-w8@seed1", "a", 0.02, seed=1))
    cells.append(cell("gptq-w4@seed9", "a", 0.9, seed=9, recipe="another"))
    return find_dose_records(cells, QUICK, metrics=["brier_ts", "accuracy", "lac_transfer_coverage"])


def chosen(records: list[dict[str, object]], **wanted: object) -> list[dict[str, object]]:
    wanted = {"metric": "brier_ts", "tolerance": 0.05, "method": "gptq"} | wanted
    return [one for one in records if all(one[key] == value for key, value in wanted.items())]


def levels(record: dict[str, object]) -> dict[str, dict[str, float]]:
    found = record["levels"]
    assert isinstance(found, list)
    return {level["variant"]: level for level in found}


def test_both_scopes_are_there_where_seeds_are(records: list[dict[str, object]]) -> None:
    for task, names in (("a", ["gptq-w8", "gptq-w4"]), ("b", ["gptq-w4"]), ("macro", ["gptq-w4"])):
        checkpoint, recipe = chosen(records, task=task)
        assert (checkpoint["scope"], recipe["scope"]) == ("checkpoint", "recipe")
        assert list(levels(checkpoint)) == ["gptq-w8", "gptq-w4"]
        assert list(levels(recipe)) == names
    assert [one["scope"] for one in chosen(records, method="rtn", task="a")] == ["checkpoint"]
    for one in headlines(records):
        assert all(record["scope"] == "checkpoint" for by in one.records.values() for record in by.values())
    assert "(this recipe)" in "\n".join(dose_lines(records))


@pytest.mark.parametrize("task", ["b", "macro"])
@pytest.mark.parametrize("metric", ["brier_ts", "accuracy", "lac_transfer_coverage"])
def test_a_recipe_has_lost_the_mean_over_its_seeds(records: list[dict[str, object]], metric: str, task: str) -> None:
    singles = []
    for seed, blind in BLIND.items():
        alone = []
        for one in "ab":
            drawn = cell("gptq-w4" + (f"@seed{seed}" if seed else ""), one, blind, seed=seed)
            alone += [cell("dense", one, 0.0), replace(drawn, variant=dict(drawn.variant) | {"name": "gptq-w4"})]
        (record,) = chosen(find_dose_records(alone, QUICK, metrics=[metric]), metric=metric, task=task)
        singles.append(levels(record)["gptq-w4"]["loss"])
    checkpoint, recipe = chosen(records, task=task, metric=metric)
    level = levels(recipe)["gptq-w4"]
    assert level["loss"] == pytest.approx(np.mean(singles), abs=1e-9)
    assert levels(checkpoint)["gptq-w4"]["loss"] == pytest.approx(singles[0], abs=1e-9)
    # no narrower than what three draws alone say of a fourth, the headroom known
    margin = stats.t.ppf(0.95, 2) * np.std(singles, ddof=1) * np.sqrt(4 / 3)
    assert level["high"] is None or level["high"] - level["loss"] >= margin * 0.95
    assert level["low"] is None or level["loss"] - level["low"] >= margin * 0.95


def test_notes_say_what_a_record_is_about(records: list[dict[str, object]]) -> None:
    checkpoint, recipe = (set(one["notes"]) for one in chosen(records, task="b"))  # type: ignore[call-overload]
    assert "this checkpoint: no other seeds of the sample text (gptq-w8)" in checkpoint
    assert "this checkpoint: the recipe, with other seeds, has its own record (gptq-w4)" in checkpoint
    assert "the recipe: mean over 3 seeds of the sample text, with the error of another draw" in recipe
    assert "left out, one seed: gptq-w8" in recipe
    (other,) = (set(one["notes"]) for one in chosen(records, task="a")[:1])  # type: ignore[call-overload]
    assert "gptq-w4@seed9 is of another recipe and is left out" in other
    alone = find_dose_records([cell("dense", "a", 0.0), cell("gptq-w8", "a", 0.02)], QUICK, metrics=["brier_ts"])
    assert "this checkpoint: no other seeds of the sample text" in alone[0]["notes"]  # type: ignore[operator]
    (free,) = chosen(records, method="rtn", task="a")
    assert not [note for note in free["notes"] if "checkpoint" in note]  # type: ignore[attr-defined]
