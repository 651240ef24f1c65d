"""The smallest variant that passes, searched for on one half of the items and tested on the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mapie.risk_control import control_fwer
from support.synthetic_cells import cell_of
from support.synthetic_snapshot import PROTOCOL, write_run

from suite.cell import Cell
from suite.cli import main
from suite.config import Protocol, RunConfig, TaskChoice
from suite.decisions.answers import LostAnswers, Pairs
from suite.decisions.gate import gate_variants
from suite.decisions.lock import in_search_half, lock_content, lock_text, read_lock, task_record
from suite.decisions.policy import Criterion, Policy
from suite.decisions.search import PLACE_KEYS, SEARCH_KEYS, pareto_sequence, search_cells, search_status
from suite.errors import SuiteError
from suite.metrics.slices import subset
from suite.verdicts.dose_records import JOINT_KEYS
from suite.verdicts.given import Given

NAMES = ("rtn-w8", "rtn-w6", "rtn-w5", "rtn-w4", "rtn-w3")
CONFIG = RunConfig(("m",), (TaskChoice("sciq"),), ("dense", *NAMES), protocol=PROTOCOL)
OURS = Policy("ours", "us", (Criterion("accuracy", 0.03, "points"),))
N = 1200


def planted(variant: str, wrong: Any, *, n: int = N, groups: int = 1) -> Cell:
    """Dense has three quarters right; the variant has these items wrong besides."""
    right = np.arange(n) % 4 > 0
    right[np.asarray(wrong, dtype=int)] = False
    answers = np.arange(n) % 3
    scores = np.zeros((n, 4))
    scores[np.arange(n), np.where(right, answers, (answers + 1) % 4)] = 1 + np.arange(n) % 7 / 7
    cell = cell_of("m", variant, "sciq", scores, answers)
    return replace(cell, groups=tuple(f"g{place // groups}" for place in range(n))) if groups > 1 else cell


def ladder(**more: Any) -> list[Cell]:
    """8 bits lose six answers, 6 and 5 bits four, 4 bits one in twenty, 3 bits one in eight."""
    lost = {"dense": [], "rtn-w8": [1, 2, 3, 801, 802, 803], "rtn-w6": [2, 3, 401, 402], "rtn-w5": [5, 6, 405, 406]}
    lost |= {"rtn-w4": np.arange(1, N, 20), "rtn-w3": np.arange(1, N, 8)}
    return [planted(name, wrong, **more) for name, wrong in lost.items()]


def by_name(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["variant"]: one for one in records}


def test_the_smallest_that_passes_is_tested_on_items_that_the_search_has_not_seen() -> None:
    cells = ladder()
    found = by_name(search_cells(cells, OURS, config=CONFIG))
    assert tuple(found) == NAMES
    assert {tuple(one) for one in found.values()} == {SEARCH_KEYS}
    assert [name for name, one in found.items() if one["search"]["smallest"]] == ["rtn-w5"]
    sizes = {name: (one["search"]["searched"]["sciq"], one["search"]["tested"]["sciq"]) for name, one in found.items()}
    assert {sum(pair) for pair in sizes.values()} == {N}
    # another way: the same gate on the other half alone
    left = np.flatnonzero(~in_search_half(cells[0].ids))
    alone = by_name(gate_variants(Given.of([subset(cell, left) for cell in cells], CONFIG, keep=JOINT_KEYS), OURS))
    tested = {name: one for name, one in found.items() if one["search"]["place"] is not None}
    for name, one in tested.items():
        assert [one[key] for key in ("decision", "lost_at_most", "lost_at_least", "criteria")] == [
            alone[name][key] for key in ("decision", "lost_at_most", "lost_at_least", "criteria")
        ]
        assert f"tested on the {len(left)} others" in one["notes"][-1]
    assert [one["decision"] for one in tested.values()][-1] != "accept"
    for one in found.values():
        assert tuple(one["search"]) == PLACE_KEYS
        if one["search"]["place"] is None:
            assert (one["decision"], one["reason"], one["criteria"]) == ("review", "blocked", [])
            assert one["notes"][0].startswith("not tested: ")


def test_smaller_is_what_takes_fewer_megabytes() -> None:
    """Without sizes the last of the configuration counts as smallest, with them the lightest."""
    sizes = {"rtn-w8": 40.0, "rtn-w6": 30.0, "rtn-w5": 60.0, "rtn-w4": 20.0, "rtn-w3": 15.0}
    cells = [
        replace(cell, variant={**cell.variant, "megabytes": sizes.get(cell.key.variant, 100.0)}) for cell in ladder()
    ]
    found = search_cells(cells, OURS, config=CONFIG)
    assert [one["variant"] for one in found] == ["rtn-w5", "rtn-w8", "rtn-w6", "rtn-w4", "rtn-w3"]
    assert [one["variant"] for one in found if one["search"]["smallest"]] == ["rtn-w6"]


def test_halves_go_by_ids_alone_and_keep_units_together() -> None:
    cells = ladder()
    other = [planted(cell.key.variant, np.arange(0, 40), groups=3) for cell in cells]
    plain = in_search_half(cells[0].ids)
    assert 0.4 < plain.mean() < 0.6
    assert in_search_half(cells[3].ids).tolist() == plain.tolist()
    inside = in_search_half(other[0].units).reshape(-1, 3)
    assert (inside.all(axis=1) | ~inside.any(axis=1)).all()
    (record,) = search_cells(other[:2], OURS, config=CONFIG)
    assert record["search"]["searched"]["sciq"] == int(inside.sum())


def test_the_order_of_tests_is_that_of_pareto_testing_and_mapie_names_the_same() -> None:
    random = np.random.default_rng(0)
    order = [("m", f"v{place}") for place in range(9)]
    for _ in range(200):
        searched, tested = (np.round(random.random(9) ** 3, 2) for _ in range(2))
        seen = dict(zip(order, searched.tolist(), strict=True))
        front = [
            one for place, one in enumerate(order) if all(seen[one] < seen[smaller] for smaller in order[place + 1 :])
        ]
        assert pareto_sequence(order, seen) == front
        assert [seen[one] for one in front] == sorted(seen[one] for one in front)
        p_values = np.array([tested[order.index(one)] for one in front])
        valid = control_fwer(p_values, 0.05, "fixed_sequence")
        first = next((place for place, p in enumerate(p_values) if p > 0.05), len(front))
        assert len(valid) == first
    nothing = dict.fromkeys(order, float("inf"))
    assert pareto_sequence(order, nothing) == order[:1]
    assert pareto_sequence(order, {**nothing, order[2]: 7.0}) == [order[2]]


def test_a_search_over_bad_candidates_errs_in_one_of_twenty() -> None:
    """All lose exactly the limit: named from half the items and tested on the rest, one passes in 5 % of searches;
    tested on the items of the search themselves, far more often."""
    random, n, limit, candidates, searches = np.random.default_rng(1), 400, 0.03, 12, 1500
    known: dict[tuple[int, int], float] = {}

    def p_value(table: Any) -> float:
        lost, gained, rest = (int(count) for count in table)
        pairs = Pairs((1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0,) * 3, (lost, gained, rest), float(n))
        return known.setdefault((lost, gained), LostAnswers((pairs,)).below(limit))

    order = [("m", str(place)) for place in range(candidates)]
    shipped = cheated = 0
    tables = random.multinomial(n, [0.065, 0.035, 0.9], (searches, 2, candidates))
    for search, test in tables:
        seen = {one: p_value(row) / 0.05 for one, row in zip(order, search, strict=True)}
        first = pareto_sequence(order, seen)[0]
        shipped += p_value(test[order.index(first)]) <= 0.05
        cheated += seen[first] <= 1
    assert shipped / searches <= 0.065  # .05 and two standard errors of 1,500
    assert cheated / searches > 0.3


def test_a_lock_says_who_is_searched_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ladder()
    run = write_run(tmp_path / "run", cells)
    key = cells[0].key
    asked = {"scoring": key.scoring, "prompt": key.prompt, "shots": key.shots}
    task = task_record("sciq", **asked, prompt_hash="", template="raw", ids=cells[0].ids, units=cells[0].units)
    task["search_half"] = list(cells[0].ids[: N // 3])
    listed = [("m", "rtn-w8"), ("m", "rtn-w4")]
    content = lock_content(OURS, CONFIG, candidates=listed, tasks=[task], dense={}, version="0")
    lock = tmp_path / "policy.lock"
    lock.write_text(lock_text(content))
    found = by_name(search_cells(cells, OURS, config=CONFIG, lock=read_lock(lock)))
    assert tuple(found) == ("rtn-w8", "rtn-w4")
    assert found["rtn-w8"]["search"]["searched"] == {"sciq": N // 3}
    assert found["rtn-w8"]["search"]["smallest"]
    policy = tmp_path / "ours.yaml"
    policy.write_text("name: ours\nsource: us\ncriteria: [{metric: accuracy, limit: 0.03, unit: points}]\n")
    report = tmp_path / "gate.md"
    command = ["gate", str(run), "--policy", str(policy), "--search", "half", "--json"]
    assert main([*command, "--lock", str(lock), "--markdown", str(report)]) == 0
    said = capsys.readouterr()
    assert by_name(json.loads(said.out)).keys() == found.keys()
    assert (
        "m: the smallest that passes: rtn-w8 (2 candidates searched on 400 items, 2 tested on 800 others)" in said.err
    )
    assert "searched on 400 items, tested on the 800 others" in report.read_text()


def test_what_could_not_be_scored_is_no_candidate_that_passes() -> None:
    """The smallest of a model failed on its task, and of another model nothing is there at all."""
    failures = [{"model": model, "variant": "rtn-w3", "task": "sciq", "reason": "out of memory"} for model in "mn"]
    cells = [cell for cell in ladder() if cell.key.variant in ("dense", "rtn-w5")]
    found = search_cells(cells, OURS, config=CONFIG, failures=failures)
    said = {(one["model"], one["variant"]): (one["decision"], one["search"]["smallest"]) for one in found}
    assert said == {
        ("m", "rtn-w5"): ("accept", True),
        ("m", "rtn-w3"): ("review", False),
        ("n", "rtn-w3"): ("review", False),
    }
    assert search_status(found) == 3
    (failed,) = [one for one in found if (one["model"], one["variant"]) == ("m", "rtn-w3")]
    assert "failed cell sciq: out of memory" in failed["notes"]


def test_where_nothing_passes_the_worst_test_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [cell for cell in ladder() if cell.key.variant in ("dense", "rtn-w3")])
    assert main(["gate", str(run), "--policy", "task-kind-a", "--search", "half"]) == 1
    assert "m: the smallest that passes: none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--sequential", "--model", "a", "--dense", "b"], "--search needs the cells of a run"),
        (["--plan"], "--search needs the cells of a run"),
        (["--variant", "gptq*"], "matches 'gptq*'"),
    ],
)
def test_bad_input_is_one_line(more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [planted(name, [1], n=120) for name in ("dense", "rtn-w8")])
    assert main(["gate", str(run), "--policy", "task-kind-a", "--search", "half", *more]) == 2
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1


def test_too_few_items_make_no_halves_and_cells_without_a_run_have_no_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [planted(name, [0], n=12, groups=12) for name in ("dense", "rtn-w8")]
    with pytest.raises(SuiteError, match="make no two halves"):
        search_cells(few, OURS, config=replace(CONFIG, protocol=Protocol(splits=1, replicates=0)))
    run = write_run(tmp_path / "run", ladder()[:2])
    (run / "config.yaml").unlink()
    assert main(["gate", str(run), "--policy", "task-kind-a", "--search", "half"]) == 2
    assert "--search needs the order of the candidates" in capsys.readouterr().err
