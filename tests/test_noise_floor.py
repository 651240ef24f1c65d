"""What dense loses against itself: worse and lost must exceed it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from suite.cell import Cell, make_cell
from suite.config import Protocol, RunConfig, TaskChoice
from suite.verdicts.dose import Band, Ladder, find_doses
from suite.verdicts.dose_records import dose_lines, find_dose_records
from suite.verdicts.noise_floor import noise_floor

Floats = NDArray[np.float64]
DENSE, CHANCE = 0.3, 0.75
ROOM = CHANCE - DENSE
QUICK = RunConfig(("m",), (TaskChoice("a"),), ("dense",), protocol=Protocol(splits=5, replicates=100))


def curve(losses: list[float], error: float, *, seed: int = 0, items: int = 1000, count: int = 400) -> Ladder:
    """Levels with these losses seen; each level's value has the given error, as a share of the headroom."""
    noise = error * ROOM * np.random.default_rng(seed).normal(size=(len(losses) + 1, count))
    values = DENSE + ROOM * np.array([0.0, *losses])
    replicates = values[:, None] + noise
    replicates[0] = DENSE
    names = ("dense", *(f"rtn-w{bits}" for bits in (8, 6, 5, 4, 3, 2)))[: len(values)]
    return Ladder(names, values, replicates, CHANCE, np.full(count, CHANCE), items)


def bounds(ladder: Ladder) -> tuple[float, float]:
    """With dense and chance fixed, Student's one-sided bounds of the level's loss."""
    loss = (ladder.values[1] - DENSE) / ROOM
    margin = stats.t.ppf(0.95, ladder.independent - 1) * ladder.replicates[1].std(ddof=1) / ROOM
    return loss - margin, loss + margin


@pytest.mark.parametrize(("first", "second"), [(0.10, 0.02), (-0.10, 0.02), (0.03, -0.07)])
def test_the_floor_bounds_the_size_of_the_larger_null_loss(first: float, second: float) -> None:
    nulls = {
        "dense@repeat": curve([first], 0.01, seed=1, items=50_000),
        "dense@float32": curve([second], 0.02, seed=2, items=50_000),
    }
    expected = max(max(high, -low) for low, high in map(bounds, nulls.values()))
    found = noise_floor(nulls, smallest=0.05, confidence=0.95)
    assert found.loss == pytest.approx(expected, abs=1e-5)
    larger = "dense@repeat" if abs(first) == 0.1 else "dense@float32"
    assert found.notes == (f"noise above the smallest tolerance: {larger} may have lost up to {expected:.3f}",)
    assert noise_floor({}, smallest=0.05, confidence=0.95).loss is None


@pytest.mark.parametrize(("items", "known"), [(100, False), (1000, True)])
def test_a_null_that_equals_dense_bounds_noise_by_what_few_items_hide(items: int, known: bool) -> None:
    same = curve([0.0], 0.0, items=items)
    same = replace(same, replicates=np.full((2, 400), DENSE))
    found = noise_floor({"dense@repeat": same}, smallest=0.05, confidence=0.95)
    assert found.loss == pytest.approx(1 - 0.05 ** (4 / items), abs=1e-5)
    said = f"floor not known at 100 items: dense@repeat may have lost nothing, or up to {found.loss:.3f}"
    assert found.notes == (() if known else (said,))


def test_few_items_leave_the_floor_unknown() -> None:
    found = noise_floor({"dense@repeat": curve([0.01], 0.04, items=50)}, smallest=0.05, confidence=0.95)
    assert found.notes[0].startswith("floor not known at 50 items: dense@repeat may have lost nothing, or up to 0.2")
    assert noise_floor({"dense@repeat": curve([0.01], 0.004)}, smallest=0.05, confidence=0.95).notes == ()


def test_worse_and_lost_exceed_the_floor_and_kept_does_not_care() -> None:
    ladder = curve([0.01, 0.12, 0.4], 0.005)
    plain, floored = (find_doses(replace(ladder, floor=floor)) for floor in (0.0, 0.15))
    assert [level.state for level in plain[0.05].levels] == ["kept", "worse", "lost"]
    assert [level.state for level in floored[0.05].levels] == ["kept", "not_known", "lost"]
    assert floored[0.05].levels[1].items_to_decide == "within the noise floor"
    assert floored[0.05].lost_from == "rtn-w5"
    assert [level.holm for level in floored[0.05].levels] == ["kept", None, "lost"]
    assert [level.loss for level in floored[0.05].levels] == [level.loss for level in plain[0.05].levels]
    nothing = find_doses(replace(ladder, floor=np.inf))
    assert [level.state for level in nothing[0.05].levels] == ["kept", "not_known", "not_known"]


def test_the_interval_of_a_dose_ends_where_lost_begins() -> None:
    ladder = replace(curve([0.01, 0.12, 0.4], 0.005), amounts=np.array([np.nan, 8, 6, 5]), unit="bits")
    plain, floored = (find_doses(replace(ladder, floor=floor))[0.05] for floor in (0.0, 0.15))
    assert (plain.dose, plain.high) == (floored.dose, floored.high)
    assert plain.low is not None
    assert plain.low > 6
    assert floored.low is not None
    assert 5 < floored.low < 6


def test_coverage_outside_the_band_must_exceed_its_noise_too() -> None:
    ladder = curve([0.0], 0.005)
    coverage = np.array([0.9, 0.86])
    noise = 0.002 * np.random.default_rng(3).normal(size=(2, 400))
    band = Band(coverage, coverage[:, None] + noise)
    assert find_doses(replace(ladder, band=band))[0.05].lost_from == "rtn-w8"
    assert find_doses(replace(ladder, band=replace(band, noise=0.05)))[0.05].lost_from is None
    null = replace(ladder, band=Band(coverage, coverage[:, None] + noise))
    found = noise_floor({"dense@repeat": null}, smallest=0.05, confidence=0.95)
    assert found.coverage == pytest.approx(0.04 + 1.646 * (noise[1] - noise[0]).std(ddof=1), abs=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_level_as_noisy_as_dense_itself_is_seldom_called_lost(sign: int) -> None:
    """True losses: the null's .1 or -.1, the level's .1; the tolerance is .05, and the errors have a part in common."""
    generator = np.random.default_rng(7)
    draws, error = 250, 0.03
    root = np.linalg.cholesky(np.array([[1.0, 0.5 * sign], [0.5 * sign, 1.0]]))
    count = {"with": 0, "without": 0}
    for _ in range(draws):
        seen = np.array([0.1, sign * 0.1]) + error * root @ generator.normal(size=2)
        shaken = error * ROOM * root @ generator.normal(size=(2, 300))
        level, null = (curve([float(loss)], 0.0, count=300) for loss in seen)
        level.replicates[1] += shaken[0]
        null.replicates[1] += shaken[1]
        found = noise_floor({"dense@repeat": null}, smallest=0.05, confidence=0.95)
        assert found.loss is not None
        count["with"] += find_doses(replace(level, floor=found.loss), tolerances=[0.05])[0.05].lost_from is not None
        count["without"] += find_doses(level, tolerances=[0.05])[0.05].lost_from is not None
    assert count["with"] <= stats.binom.ppf(0.999, draws, 0.05)
    assert count["without"] > 0.3 * draws


# ---- cells


def cells_of(spread: dict[str, float], *, task: str = "a", n: int = 300) -> list[Cell]:
    """Logits of dense plus noise of a size; answers are drawn from it, so that noise does harm."""
    generator = np.random.default_rng(ord(task))
    hidden = 2 * generator.normal(size=(n, 4))
    answers = (hidden + generator.gumbel(size=(n, 4))).argmax(axis=1)
    return [
        make_cell(
            ids=[f"{task}{row}" for row in range(n)],
            answers=answers.tolist(),
            scores=(hidden + size * generator.normal(size=(n, 4))).tolist(),
            kind="logits",
            model={"name": "m"},
            variant={"name": name},
            task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
        )
        for name, size in spread.items()
    ]


SPREAD = {"dense": 0.0, "dense@bfloat16": 0.02, "dense@repeat": 0.3, "rtn-w8": 0.05, "rtn-w4": 1.5, "rtn-w2": 30.0}


def the(records: list[dict[str, object]], **wanted: object) -> dict[str, object]:
    wanted = {"metric": "brier_ts", "tolerance": 0.05} | wanted
    (found,) = [one for one in records if all(one[key] == value for key, value in wanted.items())]
    return found


def test_null_variants_are_no_curves_and_the_larger_makes_the_floor() -> None:
    records = find_dose_records([*cells_of(SPREAD), *cells_of(SPREAD, task="b")], QUICK, metrics=["brier_ts"])
    assert {record["method"] for record in records} == {"rtn"}
    for task in ("a", "b", "macro"):
        assert isinstance(the(records, task=task)["floor"], float)
    # the null as a level of its own has the bound that is the floor
    renamed = {"dense@repeat": "rtn-w4", "dense": "dense", "dense@bfloat16": "rtn-w8"}
    cells = [
        make_cell(
            ids=cell.ids,
            answers=cell.answers.tolist(),
            scores=cell.scores.tolist(),
            kind="logits",
            model={"name": "m"},
            variant={"name": renamed[str(cell.variant["name"])]},
            task=dict(cell.task),
        )
        for cell in cells_of(SPREAD)
        if cell.variant["name"] in renamed
    ]
    levels = the(find_dose_records(cells, QUICK, metrics=["brier_ts"]))["levels"]
    assert isinstance(levels, list)
    expected = max(max(level["high"], -level["low"]) for level in levels)
    assert the(records, task="a")["floor"] == pytest.approx(expected, abs=1e-6)
    text = "\n".join(dose_lines(records))
    assert f"noise floor {expected:.3f}: worse and lost must exceed it" in text


def test_an_average_has_a_floor_only_where_every_task_has_one() -> None:
    without = {name: size for name, size in SPREAD.items() if not name.startswith("dense@")}
    records = find_dose_records([*cells_of(SPREAD), *cells_of(without, task="b")], QUICK, metrics=["brier_ts"])
    assert isinstance(the(records, task="a")["floor"], float)
    for task, noted in (("b", False), ("macro", True)):
        assert the(records, task=task)["floor"] is None
        notes = the(records, task=task)["notes"]
        assert isinstance(notes, list)
        assert ("floor not known: a task lacks dense computed otherwise" in notes) is noted
