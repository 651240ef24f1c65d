"""One average over tasks: summary, groups, page, verdicts and sizes of one leaderboard say the same number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from support.synthetic_cells import synthetic_cells
from support.synthetic_snapshot import write_run

from suite.cell import Cell
from suite.config import read_config
from suite.decisions.analyses import SCALE
from suite.metrics.average import Average, Setting, combined, independent
from suite.publish.macro import macro_averages
from suite.publish.pages.board import FIELDS, board_data
from suite.publish.snapshot import Computed, compute, snapshot_texts

MODELS = {"small-100m": 0.1, "large-400m": 0.4}
VARIANTS = ("dense", "rtn-w4", "rtn-w3", "magnitude-s60")
TASKS = {"arc": 4, "sciq": 4}
PLAIN = [(task, "cloze-sum", "plain", 0) for task in TASKS]


def asked(cells: Sequence[Cell], *, noise: float = 0.6, **how: object) -> list[Cell]:
    """The same cells asked in another way, whose figures are others."""
    found = []
    for number, cell in enumerate(cells):
        shaken = cell.scores + noise * np.random.default_rng([5, number]).normal(size=cell.scores.shape)
        found.append(replace(cell, scores=shaken, task={**cell.task, **how}))
    return found


def of(cells: Sequence[Cell], task: str) -> list[Cell]:
    return [cell for cell in cells if cell.task["name"] == task]


def guessing(cells: Sequence[Cell]) -> list[Cell]:
    """A task on which no model knows anything."""
    random = np.random.default_rng(3)
    found = []
    for cell in of(cells, "sciq"):
        wrong = random.normal(size=cell.scores.shape)
        wrong[np.arange(len(cell)), cell.answers] -= 1.0
        found.append(replace(cell, scores=wrong, task={**cell.task, "name": "guessing"}))
    return found


@dataclass(frozen=True)
class Run:
    """Cells beside the plain ones, and the settings that the averages must be made of."""

    more: Callable[[Sequence[Cell]], list[Cell]]
    settings: list[tuple[str, str, str, int]]


RUNS = {
    "plain": Run(lambda cells: [], PLAIN),
    "noise on all tasks": Run(lambda cells: asked(cells, noise=6.0, prompt="plain+typos"), PLAIN),
    "noise on one task": Run(lambda cells: asked(of(cells, "arc"), noise=6.0, prompt="plain+case3"), PLAIN),
    "rotated and noisy": Run(lambda cells: asked(of(cells, "arc"), noise=6.0, prompt="plain+rot2+typos"), PLAIN),
    "noise without its original": Run(
        lambda cells: asked(of(cells, "arc"), prompt="other+typos"), [*PLAIN, ("arc", "cloze-sum", "other+typos", 0)]
    ),
    "another prompt on one task": Run(
        lambda cells: asked(of(cells, "sciq"), prompt="other"), [*PLAIN, ("sciq", "cloze-sum", "other", 0)]
    ),
    "noise on one prompt of two": Run(
        lambda cells: [
            *asked(of(cells, "sciq"), prompt="other"),
            *asked(of(cells, "sciq"), noise=6.0, prompt="other+spaces"),
        ],
        [*PLAIN, ("sciq", "cloze-sum", "other", 0)],
    ),
    "another read-out": Run(
        lambda cells: asked(of(cells, "arc"), scoring="cloze-norm"), [*PLAIN, ("arc", "cloze-norm", "plain", 0)]
    ),
    "more shots": Run(
        lambda cells: [*asked(cells, shots=5), *asked(of(cells, "arc"), shots=2)],
        [*PLAIN, *((task, "cloze-sum", "plain", 5) for task in TASKS), ("arc", "cloze-sum", "plain", 2)],
    ),
    "a task at chance": Run(guessing, PLAIN),
}


def computed(folder: Path, cells: Sequence[Cell]) -> Computed:
    run = write_run(folder, cells)
    return compute(run, read_config(run / "config.yaml"))


def plain_cells() -> list[Cell]:
    return synthetic_cells(models=MODELS, variants=VARIANTS, tasks=TASKS, n=60)


def by_hand(rows: Sequence[Mapping[str, Any]], who: tuple[str, str], key: str, settings: list[Any]) -> float:
    """Mean of a figure over the settings of each task, then over tasks."""
    tasks: dict[str, list[float]] = {}
    for row in rows:
        setting = (row["task"], row["scoring"], row["prompt"], row["shots"])
        if (row["model"], row["variant"]) == who and setting in settings:
            tasks.setdefault(row["task"], []).append(row[key])
    assert sum(map(len, tasks.values())) == len(settings)
    return fmean(fmean(values) for values in tasks.values())


@pytest.mark.parametrize("name", RUNS)
def test_one_number_in_summary_groups_page_verdicts_and_sizes(tmp_path: Path, name: str) -> None:
    cells = plain_cells()
    run = RUNS[name]
    made = computed(tmp_path, [*cells, *run.more(cells)])
    everyone = [(model, variant) for model in MODELS for variant in VARIANTS]
    right = {
        (who, key): by_hand(made.rows, who, key, run.settings) for who in everyone for key in ("accuracy", "set_size")
    }
    summary = {(one.scope.model, one.variant): one for one in macro_averages(made.rows)}
    assert {(who, key): summary[who].average(key).value for who, key in right} == pytest.approx(right)
    ranked = {
        ((line["model"], line["variant"]), line["metric"]): line["value"]
        for line in made.standings.ranking
        if line["task"] == "average"
    }
    assert ranked == pytest.approx(right, rel=1e-5)
    page = board_data(made.rows, [], made.standings)
    shown = {}
    for values in page["rows"]:
        line = dict(zip(FIELDS, values, strict=True))
        if line["view"] == 0:
            assert line["accuracy_group"] is not None
            shown[page["models"][line["model"]], line["variant"]] = line["accuracy"]
    assert shown == pytest.approx({who: right[who, "accuracy"] for who in everyone}, rel=1e-5)
    judged = {}
    for verdict in made.judgement.verdicts:
        if verdict.place.task == "macro" and verdict.metric in ("accuracy", "set_size"):
            assert verdict.curve is not None
            sign = -1 if verdict.metric == "accuracy" else 1
            for variant, value in zip(verdict.curve.names, verdict.curve.values, strict=True):
                judged[(verdict.place.model, variant), verdict.metric] = sign * value
    assert judged == pytest.approx(right, rel=1e-4)
    sizes = {
        (one["model"], record["variant"]): one["value"]
        for record in made.judgement.records(SCALE)
        if record["task"] == "macro"
        for one in record["models"]  # type: ignore[attr-defined]
    }
    chance = {who: by_hand(made.rows, who, "set_size_chance", run.settings) for who in everyone}
    for model, variant in everyone:
        size, dense = right[(model, variant), "set_size"], right[(model, "dense"), "set_size"]
        expected = size if variant == "dense" else (size - dense) / (chance[model, variant] - dense)
        assert sizes[model, variant] == pytest.approx(expected, rel=1e-4), (model, variant)


def test_a_method_that_was_not_asked_in_every_setting_has_no_average_anywhere(tmp_path: Path) -> None:
    cells = plain_cells()
    some = [cell for cell in of(cells, "arc") if "magnitude" not in str(cell.variant["name"])]
    made = computed(tmp_path, [*cells, *asked([c for c in some if c.variant["name"] != "rtn-w3"], prompt="other")])
    lacking = {"magnitude-s60", "rtn-w3"}
    assert {one.variant for one in macro_averages(made.rows) if one.average("accuracy").value is None} == lacking
    assert not {str(line["variant"]) for line in made.standings.ranking if line["task"] == "average"} & lacking
    assert not {str(one["variant"]) for one in made.judgement.records(SCALE) if one["task"] == "macro"} & lacking
    for verdict in made.judgement.verdicts:
        if verdict.place.task == "macro" and verdict.metric == "set_size":
            assert verdict.curve is not None
            rtn = verdict.place.method == "rtn"
            assert verdict.curve.names == (("dense", "rtn-w4") if rtn else ("dense",))
            missing = "rtn-w3" if rtn else "magnitude-s60"
            assert f"no average, a setting is missing: {missing}" in verdict.record()["notes"]


def test_a_model_at_chance_on_a_task_is_averaged_without_it_and_in_no_group_beside_that_average(tmp_path: Path) -> None:
    cells = plain_cells()
    weak = [
        replace(cell, task={**cell.task, "name": "hard"})
        if cell.model["name"] == "large-400m"
        else replace(guess, task={**cell.task, "name": "hard"})
        for cell, guess in zip(of(cells, "sciq"), guessing(cells), strict=True)
    ]
    made = computed(tmp_path, [*cells, *weak])
    hard = ("hard", "cloze-sum", "plain", 0)
    for one in macro_averages(made.rows):
        settings = PLAIN if one.scope.model == "small-100m" else [*PLAIN, hard]
        expected = by_hand(made.rows, (one.scope.model, one.variant), "accuracy", settings)
        assert one.average("accuracy").value == pytest.approx(expected)
    # compared with each other, models stand on the same tasks
    for line in made.standings.ranking:
        if (line["task"], line["metric"]) == ("average", "accuracy"):
            who = (str(line["model"]), str(line["variant"]))
            assert line["value"] == pytest.approx(by_hand(made.rows, who, "accuracy", [*PLAIN, hard]), rel=1e-5)
    page = board_data(made.rows, [], made.standings)
    lines = [dict(zip(FIELDS, values, strict=True)) for values in page["rows"]]
    grouped = {page["models"][line["model"]]: line["accuracy_group"] for line in lines if line["view"] == 0}
    assert grouped["small-100m"] is None
    assert grouped["large-400m"] is not None


def test_a_prompt_at_chance_counts_as_another_average_too(tmp_path: Path) -> None:
    """The tasks are the same and the settings are not."""
    cells = plain_cells()
    other = asked(of(cells, "arc"), prompt="other")
    for place, cell in enumerate(other):
        if cell.model["name"] == "small-100m":
            guess = np.random.default_rng(place).normal(size=cell.scores.shape)
            guess[np.arange(len(cell)), cell.answers] -= 1.0
            other[place] = replace(cell, scores=guess)
    made = computed(tmp_path, [*cells, *other])
    page = board_data(made.rows, [], made.standings)
    lines = [dict(zip(FIELDS, values, strict=True)) for values in page["rows"]]
    grouped = {page["models"][line["model"]]: line["set_size_group"] for line in lines if line["view"] == 0}
    assert grouped["small-100m"] is None
    assert grouped["large-400m"] is not None


def test_pages_with_and_without_noise_show_the_same_averages(tmp_path: Path) -> None:
    cells = plain_cells()
    runs = (cells, [*cells, *asked(cells, noise=6.0, prompt="plain+typos")])
    texts = []
    for place, given in enumerate(runs):
        made = computed(tmp_path / str(place), given)
        texts.append({name: text.decode() for name, text in snapshot_texts(made, made.rows, ()).items()})
    for section, start in (("Summary: averages over tasks", "| small-100m"), ("Groups", "| average over 2 tasks")):
        tables = [
            [
                line.rsplit(" | ", 1)[0]  # the flags are those of all rows
                for line in text["LEADERBOARD.md"].split(f"## {section}")[1].split("\n## ")[0].split("\n")
                if line.startswith(start)
            ]
            for text in texts
        ]
        assert tables[0]
        assert tables[0] == tables[1]
    assert json.loads(texts[0]["scale.json"]) == json.loads(texts[1]["scale.json"])


def test_the_interval_of_a_mean_of_independent_tasks_covers() -> None:
    """By simulation with exact intervals of each task: 95 of 100, neither 80 nor 100."""
    random = np.random.default_rng(0)
    truth, half = np.array([0.2, 0.5, 0.9, 0.4]), 1.96 * np.array([0.05, 0.02, 0.04, 0.01])
    covered = 0
    for draw in random.normal(truth, half / 1.96, (2000, 4)):
        parts = {
            Setting(f"task-{place}", "letter", prompt, 0): Average(value, value - half[place], value + half[place])
            for place, value in enumerate(draw)
            for prompt in ("base", "plain")  # the same items asked twice gain nothing
        }
        found = combined(parts)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth.mean() <= found.high
    assert 0.94 < covered / 2000 < 0.96


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([Average(0.5, 0.4, 0.7), Average(None)], Average(None)),
        ([Average(0.5, 0.4, 0.7), Average(0.7)], Average(0.6)),
        ([Average(0.5, 0.6, 0.7), Average(0.7, 0.6, 0.8)], Average(0.6)),
        ([], Average(None)),
    ],
)
def test_an_average_without_a_part_is_none(parts: list[Average], expected: Average) -> None:
    found = combined({Setting(str(place), "letter", "base", 0): part for place, part in enumerate(parts)})
    assert found == expected


def test_replicates_of_tasks_are_independent_and_keep_their_entries_together() -> None:
    shared = np.random.default_rng(1).normal(size=2000)
    copies = np.stack([shared, 2 * shared])
    one, other = independent(copies, 5), independent(copies, 6)
    np.testing.assert_array_equal(one[1], 2 * one[0])
    np.testing.assert_array_equal(np.sort(one[0]), np.sort(shared))
    assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 4 / math.sqrt(2000)
