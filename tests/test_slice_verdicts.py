"""Collapse on parts of a task: planted truths, the same rule as on whole tasks, a family of their own, verification."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.parts_of_tasks import cut_to
from support.read_pages import markdown
from support.record_keys import SLICE_VERDICT_KEYS
from support.synthetic_snapshot import publish, sign, write_run

from scripts.studies.synthetic import Population, draw_cells, plan_curve
from suite.cell import Cell
from suite.cli import main
from suite.config import Protocol, RunConfig, TaskChoice
from suite.decisions.analyses import ANALYSES, PARTS, VERDICTS, judge_measured
from suite.metrics.rows import measure_cells
from suite.metrics.slices import holm, subset
from suite.publish.sections.verdicts import verdict_sections
from suite.publish.verify import verify
from suite.verdicts.collapse import RULE
from suite.verdicts.curves import JOINT_KEYS
from suite.verdicts.given import Given
from suite.verdicts.slices import find_slice_verdicts
from suite.verdicts.verdict import find_verdicts

FAST = Protocol(splits=10, replicates=200)
POPULATION = Population()
STEP = {"broken": "step", "whole": "constant"}


def planted(parts: Mapping[str, str], *, n: int = 600, seed: int = 0, levels: int = 6, **task: object) -> list[Cell]:
    """Cells whose items follow one planted shape in each named slice."""
    columns = [
        draw_cells(POPULATION, plan_curve(POPULATION, shape, levels=levels, rise=0.7), n=n, seed=1000 * seed + number)
        for number, shape in enumerate(parts.values())
    ]
    return [
        replace(
            level[0],
            ids=tuple(item for cell in level for item in cell.ids),
            answers=np.concatenate([cell.answers for cell in level]),
            n_options=np.concatenate([cell.n_options for cell in level]),
            scores=np.concatenate([cell.scores for cell in level]),
            slices=tuple((name,) for name in parts for _ in range(n)),
            task=level[0].task | task,
        )
        for level in zip(*columns, strict=True)
    ]


def records(cells: Sequence[Cell], **options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    found = find_slice_verdicts(measure_cells(cells, FAST, keep=JOINT_KEYS), FAST, **options)
    return {(one.verdict.place.method, one.name): one.record() for one in found}


def by_slice(cells: Sequence[Cell], **options: Any) -> dict[str, dict[str, Any]]:
    return {name: record for (_, name), record in records(cells, **options).items()}


def test_a_part_that_breaks_is_found_at_its_level_and_its_complement_is_not() -> None:
    found = by_slice(planted(STEP))
    assert (found["broken"]["verdict"], found["broken"]["level"]) == ("threshold", "magnitude-s30")
    assert found["broken"]["level_low"] == found["broken"]["level_high"] == "magnitude-s30"
    assert (found["whole"]["verdict"], found["whole"]["level"]) == ("none", None)
    truth = plan_curve(POPULATION, "step", levels=6, rise=0.7).set_size
    assert found["broken"]["jump_low"] < truth[3] - truth[2] < found["broken"]["jump_high"]
    assert all(tuple(record) == SLICE_VERDICT_KEYS for record in found.values())


def test_parts_that_lose_nothing_are_never_called_broken() -> None:
    """Four parts and the edge of five benchmarks: not one false threshold or rise."""
    for seed in range(5):
        found = by_slice(planted(dict.fromkeys("abcd", "constant"), n=150, seed=seed, levels=5))
        assert set(found) == {*"abcd", "edge"}
        assert not {record["verdict"] for record in found.values()} & {"threshold", "gradual"}


def test_the_rule_is_that_of_a_task_made_of_these_items_alone() -> None:
    cells = planted(STEP, n=300)
    for name in STEP:
        alone = find_verdicts(measure_cells(cut_to(cells, name), FAST, keep=JOINT_KEYS), FAST)
        wanted = next(one for one in alone if one.metric == "set_size").record()
        found = by_slice(cells)[name]
        for key in ("verdict", "level", "jump", "jump_low", "jump_high", "p_value_raw", "minimum_detectable"):
            same = found[key] == wanted[key]
            assert same or found[key] == pytest.approx(wanted[key], rel=1e-9), key


def test_the_order_of_items_changes_nothing() -> None:
    cells = planted(STEP, n=200, levels=4)
    order = np.random.default_rng(0).permutation(len(cells[0]))
    shuffled = [cells[0], *(subset(cell, order) for cell in cells[1:])]
    assert records(shuffled) == records(cells)


def test_holm_goes_over_every_part_that_can_be_judged() -> None:
    cells = planted(STEP, n=200)
    twin = [replace(cell, variant={"name": str(cell.variant["name"]).replace("magn", "wanda")}) for cell in cells[1:]]
    twin = [replace(cell, variant={"name": f"wanda-s{cell.variant['name'].rpartition('s')[2]}"}) for cell in twin]
    found = records([*cells, *twin])
    assert len(found) == 4  # two methods; the edge has 80 items
    adjusted = holm([record["p_value_raw"] for record in found.values()])
    assert [record["p_value"] for record in found.values()] == pytest.approx(adjusted)
    planned = by_slice(cells, methods=50)
    assert planned["broken"]["p_value"] == pytest.approx(min(1.0, 100 * planned["broken"]["p_value_raw"]))


def test_small_parts_are_undetermined_and_no_hypothesis() -> None:
    cells = planted(STEP, n=200)
    tagged = [
        replace(
            cell,
            slices=tuple((*names, *(["rare"] if row % 5 == 0 else [])) for row, names in enumerate(cell.slices or ())),
            subjects=tuple("few" if row < RULE.least_items - 1 else "many" for row in range(len(cell))),
        )
        for cell in cells
    ]
    found = by_slice(tagged)
    assert set(found) == {"broken", "whole", "rare", "subject:many"}
    assert found["rare"]["verdict"] == "undetermined"
    assert (found["rare"]["n"], found["rare"]["p_value_raw"]) == (80, None)
    assert found["rare"]["notes"] == ["80 independent items, 100 are needed"]
    assert found["broken"]["p_value"] == pytest.approx(3 * found["broken"]["p_value_raw"], rel=0.5)


def test_items_of_one_group_count_once() -> None:
    cells = [replace(cell, groups=tuple(f"g{row // 3}" for row in range(len(cell)))) for cell in planted(STEP, n=200)]
    found = by_slice(cells)
    assert (found["broken"]["n"], found["broken"]["units"], found["broken"]["verdict"]) == (200, 67, "undetermined")


def test_the_edge_never_claims_that_nothing_was_lost() -> None:
    (edge,) = by_slice([replace(cell, slices=None) for cell in planted({"all": "constant"}, n=2500)]).values()
    assert edge["slice"] == "edge"
    assert (edge["n"], edge["verdict"]) == (500, "undetermined")
    assert any("least sure" in note for note in edge["notes"])


def test_a_perturbed_prompt_is_a_part_of_its_task() -> None:
    cells = planted({"a": "constant"}, n=250)
    noisy = planted({"a": "step"}, n=250, prompt="base+typos")
    found = by_slice([*cells, *noisy])
    assert set(found) == {"a", "perturbed:typos"}
    assert (found["perturbed:typos"]["verdict"], found["a"]["verdict"]) == ("threshold", "none")


def test_verdicts_of_whole_tasks_are_the_same_with_and_without_slices() -> None:
    cells = planted(STEP, n=150, levels=4)
    plain = [replace(cell, slices=None) for cell in cells]
    both = [judge_measured(Given(measure_cells(one, FAST, keep=JOINT_KEYS), FAST)).files() for one in (cells, plain)]
    assert set(both[0]) - set(both[1]) == {PARTS}
    for name, content in both[1].items():
        assert json.dumps(content) == json.dumps(both[0][name])


METHODS = {"magnitude-s": (10, 20, 30), "rtn-w": (8, 4, 3), "wanda-s": (30, 40, 50)}
"""Those that a configuration plans with enough levels, and their levels."""


def test_the_family_is_what_the_configuration_plans() -> None:
    cells = planted(STEP, n=150, levels=4)
    enough = [f"{method}{level}" for method, levels in METHODS.items() for level in levels]
    variants = ("dense", *enough, "depth-s10", "depth-s20")  # two levels are not enough to be judged
    config = RunConfig(("synthetic",), (TaskChoice("synthetic"),), variants)
    alone, planned = (
        {
            one.name: one.record()
            for one in judge_measured(Given(measure_cells(cells, FAST, keep=JOINT_KEYS), FAST, planned)).found[PARTS]
        }
        for planned in (None, config)
    )
    smallest = min(alone, key=lambda name: alone[name]["p_value_raw"])
    assert alone[smallest]["p_value"] == pytest.approx(2 * alone[smallest]["p_value_raw"])
    assert planned[smallest]["p_value"] == pytest.approx(min(1, 6 * alone[smallest]["p_value_raw"]))


# Snapshots


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    protocol = Protocol(splits=FAST.splits, replicates=FAST.replicates)
    parts = {"broken|<b>": "step", "whole": "constant"}
    return write_run(tmp_path_factory.mktemp("run"), planted(parts, n=200), protocol=protocol)


@pytest.fixture(scope="module")
def snapshot(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(run, tmp_path_factory.mktemp("out") / "snapshot")


def test_a_snapshot_holds_and_verifies_them(snapshot: Path) -> None:
    stored = json.loads((snapshot / PARTS).read_text(encoding="utf-8"))
    assert [record["slice"] for record in stored] == ["broken|<b>", "whole"]
    assert PARTS in json.loads((snapshot / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert verify(snapshot).problems == []


def test_a_forged_slice_verdict_under_a_forged_manifest_is_named(snapshot: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(snapshot, tmp_path / "copy"))
    file = copy / PARTS
    file.write_text(file.read_text(encoding="utf-8").replace('"threshold"', '"gradual"'), encoding="utf-8")
    sign(copy)
    assert any(problem.startswith(f"{PARTS}: line ") for problem in verify(copy).problems)


def test_without_slices_there_is_no_file_and_a_smuggled_one_is_named(tmp_path: Path) -> None:
    plain = [replace(cell, slices=None) for cell in planted({"a": "step"}, n=40, levels=4)]
    made = publish(write_run(tmp_path / "run", plain), tmp_path / "snapshot")
    assert not (made / PARTS).exists()
    (made / PARTS).write_text("[]\n")
    sign(made)
    assert f"{PARTS}: nothing of the kind follows from the cells" in verify(made).problems


def test_the_leaderboard_names_parts_that_break_otherwise_than_their_task(snapshot: Path) -> None:
    written = [name for name in ANALYSES if (snapshot / name).is_file()]
    assert set(ANALYSES) - set(written) == {"gate.json"}  # no policy is named
    files = {name: json.loads((snapshot / name).read_text(encoding="utf-8")) for name in written}
    assert "## Parts" not in "\n".join(markdown(verdict_sections(files)))
    (whole,) = [one for one in files[VERDICTS] if one["metric"] == "set_size"]
    whole |= {"verdict": "gradual", "level": "magnitude-s20"}
    text = "\n".join(markdown(verdict_sections(files)))
    section = text.split("## Parts that break otherwise than their task")[1].split("\n## ")[0]
    assert "Of 2 curves of parts (slices, subjects, the edge): 1 none, 1 threshold." in section
    lines = [line for line in section.splitlines() if line.startswith("| synthetic")]
    assert len(lines) == 1
    assert "broken\\|" in lines[0]
    assert "<b>" not in lines[0]
    assert "threshold `magnitude-s30` | gradual `magnitude-s20` |" in lines[0]


def test_nothing_is_said_of_parts_that_break_like_their_task() -> None:
    cells = planted({"a": "step", "b": "step"}, n=300)
    files = judge_measured(Given(measure_cells(cells, FAST, keep=JOINT_KEYS), FAST)).files()
    assert {record["verdict"] for record in files[PARTS]} == {"threshold"}
    assert "## Parts" not in "\n".join(markdown(verdict_sections(files)))


def test_collapse_prints_them_on_request(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["collapse", str(run), "--slices"]) == 0
    out = capfd.readouterr().out
    assert "on synthetic, broken|<b> (200 items): threshold at magnitude-s30" in out
    assert "1 none, 0 saturated" in out
    assert main(["collapse", str(run), "--slices", "--json"]) == 0
    assert [record["slice"] for record in json.loads(capfd.readouterr().out)] == ["broken|<b>", "whole"]
