"""The gate: decisions of planted cells, exact error rates over the table, what stands in the way, bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.synthetic_cells import cell_of
from support.synthetic_snapshot import PROTOCOL, publish, sign, write_run

from suite.cell import Cell, load_cells, write_cell
from suite.cli import main
from suite.config import RunConfig, TaskChoice, parse_config, read_config
from suite.decisions import gate
from suite.decisions.answers import LostAnswers, Pairs, pairs_of
from suite.decisions.attempts import spent
from suite.decisions.built_in import get_policy
from suite.decisions.gate import GATE_KEYS, LINE_KEYS, gate_variants, lines_of
from suite.decisions.items import items_needed, relative_power
from suite.decisions.lock import smallest_accepted
from suite.decisions.policy import Criterion, Policy, RedLine
from suite.errors import SuiteError
from suite.files import json_bytes
from suite.metrics.score_test import Stratum, score_statistic, tango
from suite.run.pipeline import execute
from suite.verdicts.dose_records import JOINT_KEYS, find_dose_records
from suite.verdicts.given import Given

CONFIG = RunConfig(("m",), (TaskChoice("sciq"),), ("dense",), protocol=PROTOCOL)
N = 600


def points(limit: float, **more: Any) -> Policy:
    return Policy("ours", "us", (Criterion("accuracy", limit, "points", **more),))


def planted(variant: str, lost: int, gained: int = 0, *, n: int = N, task: str = "sciq", model: str = "m") -> Cell:
    """Dense has three quarters right; the variant loses the first of these and gains the last of the others."""
    right = np.arange(n) < 3 * n // 4
    if variant != "dense":
        right = right.copy()
        right[:lost] = False
        right[n - gained :] = gained > 0
    answers = np.arange(n) % 4
    scores = np.zeros((n, 4))
    scores[np.arange(n), np.where(right, answers, (answers + 1) % 4)] = 1 + np.arange(n) % 7 / 7
    return cell_of(model, variant, task, scores, answers)


def judged(cells: Sequence[Cell], policy: Policy, **more: Any) -> dict[str, dict[str, Any]]:
    found = gate_variants(Given.of(cells, CONFIG, keep=JOINT_KEYS), policy, **more)
    return {
        f"{one['model']} {one['variant']}" if len({c.key.model for c in cells}) > 1 else one["variant"]: one
        for one in found
    }


def table(n: int, lost: int, gained: int) -> Pairs:
    return Pairs((1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0,) * 3, (lost, gained, n - lost - gained), float(n))


def outcome(n: int, lost: int, gained: int, policy: Policy) -> str:
    (line,) = lines_of(policy, ["sciq"])
    return gate.outcomes_of([gate.Tested(line, LostAnswers((table(n, lost, gained),)))], policy)[0]


def error(n: int, flips: float, truth: float, policy: Policy, wrong: str) -> float:
    """Probability of a wrong outcome, summed over every table that has weight; outcomes are monotone in losses."""
    total = 0.0
    counts = np.arange(n + 1)
    weight = stats.binom.pmf(counts, n, flips)
    for moved in counts[weight > 1e-7].tolist():
        first, last = -1, moved + 1
        while last - first > 1:
            middle = (first + last) // 2
            is_wrong = outcome(n, middle, moved - middle, policy) == wrong
            first, last = (middle, last) if is_wrong == (wrong == "within") else (first, middle)
        share = (1 + truth / flips) / 2
        beyond = stats.binom.cdf(first, moved, share) if wrong == "within" else stats.binom.sf(first, moved, share)
        total += weight[moved] * beyond
    return total


@pytest.mark.parametrize(
    ("n", "flips", "limit"),
    [(60, 0.05, 0.05), (59, 0.2, 0.05), (150, 0.02, 0.02), (200, 0.1, 0.02), (400, 0.05, 0.01), (1000, 0.02, 0.005)],
)
def test_errors_at_the_edge_are_rare_by_exact_sums(n: int, flips: float, limit: float) -> None:
    assert error(n, flips, limit, points(limit), "within") <= 0.055
    if 1.5 * limit <= flips:
        assert error(n, flips, 1.5 * limit, points(limit), "exceeded") <= 0.055


def test_nothing_is_accepted_with_fewer_items_than_can_hide_the_limit() -> None:
    assert [outcome(n, 0, 0, points(0.05)) for n in (58, 59)] == ["undecided", "within"]


def test_the_bound_is_tangos() -> None:
    loss = LostAnswers((table(400, 9, 4),))
    _, upper = loss.bounds(0.95)
    assert upper is not None
    assert float(tango(np.array(9.0), np.array(4.0), 400, upper)) == pytest.approx(stats.norm.ppf(0.05), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.3), st.booleans())
def test_relative_limits_are_linear_contrasts(seed: int, limit: float, growth: bool) -> None:
    random = np.random.default_rng(seed)
    dense, other = (random.random((2, 80)) < 0.7).astype(float)
    wrong = (1 - other) - (1 + limit) * (1 - dense), -1 - limit, 1.0
    right = (1 - limit) * dense - other, -1.0, 1 - limit
    values, low, high = wrong if growth else right
    expected = score_statistic([Stratum(values, np.arange(80), low, high)])
    loss = LostAnswers((pairs_of(dense, other),), "error_rate" if growth else "accuracy", "relative")
    assert loss.tested(limit) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_bounds_say_what_the_tests_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.choice([0.0, 0.5, 1.0], (2, 120), p=[0.3, 0.05, 0.65])
    loss = LostAnswers((pairs_of(rows[0], rows[1]),))
    lower, upper = loss.bounds(0.95)
    assert lower is not None
    assert upper is not None
    assert lower < loss.value < upper  # type: ignore[operator]
    assert loss.below(upper + 1e-3) < 0.05 < loss.below(upper - 1e-3)
    assert loss.above(lower - 1e-3) < 0.05 < loss.above(lower + 1e-3)


def test_every_decision_and_its_reason() -> None:
    cells = [planted("dense", 0), planted("rtn-w8", 1, 1), planted("rtn-w6", 16, 6), planted("rtn-w4", 36, 6)]
    cells += [planted("rtn-w3", 60), planted("rtn-w5", 20)]
    found = judged(cells, points(0.025))
    said = {name: (one["decision"], one["reason"]) for name, one in found.items()}
    assert said == {
        "rtn-w8": ("accept", None),
        "rtn-w6": ("review", "undecided"),
        "rtn-w5": ("review", "undecided"),
        "rtn-w4": ("review", "in_band"),
        "rtn-w3": ("reject", None),
    }
    assert tuple(found["rtn-w8"]) == GATE_KEYS
    assert tuple(found["rtn-w8"]["criteria"][0]) == LINE_KEYS
    assert [one["criteria"][0]["outcome"] for one in found.values()] == [
        *("within", "undecided", "undecided", "in_band", "exceeded")
    ]
    needed = found["rtn-w6"]["criteria"][0]["items_to_decide"]
    assert N < needed < 20 * N


def test_the_point_rule_of_mlperf_stands_beside_and_decides_nothing() -> None:
    found = judged([planted("dense", 0), planted("rtn-w8", 3), planted("rtn-w4", 30)], get_policy("mlperf-99"))
    assert [one["notes"] for one in found.values()] == [
        [f"MLPerf's own point rule, no decision here: met on {met} of 1 tasks"] for met in (1, 0)
    ]
    assert found["rtn-w8"]["decision"] == "review"


def test_ties_share_the_credit() -> None:
    dense, other = np.ones(400), np.ones(400)
    other[:30] = 0.5
    tied, lost = (LostAnswers((pairs_of(dense, np.where(other < 1, value, 1.0)),)) for value in (0.5, 0.0))
    assert tied.value == pytest.approx(0.0375)
    low, high = tied.bounds(0.95)
    assert low is not None
    assert high is not None
    assert 0.02 < low < tied.value < high < 0.075  # type: ignore[operator]
    assert high < lost.bounds(0.95)[1]  # type: ignore[operator]


def flagged(cell: Cell, **more: Mapping[str, Any]) -> Cell:
    changed: dict[str, Any] = {section: {**getattr(cell, section), **said} for section, said in more.items()}
    return replace(cell, **changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cell: flagged(cell, variant={"share_touched": 0.5}), "partly compressed"),
        (lambda cell: flagged(cell, run={"drift": {"largest": 0.5, "changed_answers": 2.0}}), "drift"),
        (lambda cell: flagged(cell, task={"prompt_hash": "sha256:other"}), "mixed prompts"),
        (lambda cell: flagged(cell, variant={"no_op": True}), "nothing was compressed"),
    ],
)
def test_what_stands_in_the_way_of_an_acceptance(change: Any, said: str) -> None:
    dense = flagged(planted("dense", 0), task={"prompt_hash": "sha256:same"})
    good = flagged(planted("rtn-w8", 1), task={"prompt_hash": "sha256:same"})
    assert judged([dense, good], points(0.05))["rtn-w8"]["decision"] == "accept"
    found = judged([dense, change(good)], points(0.05))["rtn-w8"]
    assert (found["decision"], found["reason"]) == ("review", "blocked")
    assert said in found["notes"][0]


def test_a_missing_task_and_a_failed_cell_are_reviewed_by_name() -> None:
    cells = [planted(name, 1, task=task) for task in ("sciq", "piqa") for name in ("dense", "rtn-w8", "rtn-w6")]
    failure = {"model": "m", "variant": "rtn-w6", "task": "piqa", "reason": "out of memory"}
    found = judged(cells[:-1], points(0.05), failures=[failure])
    assert found["rtn-w8"]["decision"] == "accept"
    assert (found["rtn-w6"]["decision"], found["rtn-w6"]["reason"]) == ("review", "blocked")
    assert "failed cell piqa: out of memory" in found["rtn-w6"]["notes"]
    assert "missing task piqa: there is no cell" in found["rtn-w6"]["notes"]


def test_a_task_where_dense_guesses_blocks() -> None:
    random = np.random.default_rng(0)
    answers, scores = random.integers(0, 4, 200), random.normal(size=(200, 4))
    cells = [planted(name, 1) for name in ("dense", "rtn-w8")]
    cells += [cell_of("m", name, "piqa", scores, answers) for name in ("dense", "rtn-w8")]
    found = judged(cells, points(0.05, each_task=True))["rtn-w8"]
    assert (found["decision"], found["reason"]) == ("review", "blocked")
    assert "piqa: dense at chance" in found["notes"]
    assert [one["outcome"] for one in found["criteria"]] == ["not_measured", "within"]  # piqa, sciq


def test_a_red_line_rejects_at_once_and_has_no_band() -> None:
    cells = [planted("dense", 0), planted("rtn-w4", 45)]
    red = replace(points(0.06), red_lines=(RedLine("accuracy", 0.05, "points"),))
    assert judged(cells, red)["rtn-w4"]["decision"] == "reject"
    found = judged(cells, points(0.06))["rtn-w4"]
    assert (found["decision"], found["reason"]) == ("review", "undecided")
    unmeasured = RedLine("safety_violations", 0.01, "points")
    (good,) = judged([cells[0], planted("rtn-w8", 1)], replace(red, red_lines=(unmeasured,))).values()
    assert (good["decision"], good["red_lines"][0]["outcome"]) == ("accept", "not_measured")
    needed = replace(red, red_lines=(replace(unmeasured, required=True),))
    (good,) = judged([cells[0], planted("rtn-w8", 1)], needed).values()
    assert (good["decision"], good["reason"]) == ("review", "blocked")


def test_the_edge_is_where_other_models_are_least_sure() -> None:
    """The damage lies on the items that another model finds hard; the compared models' own confidence says nothing."""
    n = 400
    answers = np.arange(n) % 4

    def cell(model: str, variant: str, right: np.ndarray, sure: np.ndarray) -> Cell:
        scores = np.zeros((n, 4))
        scores[np.arange(n), np.where(right, answers, (answers + 1) % 4)] = sure
        return cell_of(model, variant, "sciq", scores, answers)

    hard = np.arange(n) >= 320
    everything = np.ones(n, dtype=bool)
    cells = [
        cell("other", "dense", everything, np.where(hard, 0.5, 3.0)),
        cell("mine", "dense", everything, np.where(hard, 3.0, 0.5)),
        cell("mine", "rtn-w4", ~hard | (np.arange(n) % 2 == 0), np.where(hard, 3.0, 0.5)),
    ]
    policy = replace(points(0.3), red_lines=(RedLine("accuracy", 0.2, "relative", slice="edge"),))
    (found,) = judged(cells, policy).values()
    assert found["decision"] == "reject"
    assert found["red_lines"][0]["loss"] == pytest.approx(0.5)
    (alone,) = judged(cells[1:], policy).values()
    assert alone["decision"] == "accept"
    assert alone["red_lines"][0]["outcome"] == "not_measured"
    assert "no other model" in alone["red_lines"][0]["note"]


def test_certainty_has_the_bounds_of_doses() -> None:
    random = np.random.default_rng(3)
    answers, scores = random.integers(0, 4, 300), random.normal(size=(300, 4))
    scores[np.arange(300), answers] += 1.5
    noise = random.normal(size=scores.shape)
    cells = [
        cell_of("m", name, "sciq", scores + size * noise, answers)
        for name, size in (("dense", 0.0), ("rtn-w8", 0.05), ("rtn-w4", 0.5), ("rtn-w2", 3.0))
    ]
    found = judged(cells, get_policy("certainty"))
    doses = find_dose_records(cells, CONFIG, metrics=["brier_ts"], tolerances=[0.05])
    for level in doses[0]["levels"]:  # type: ignore[attr-defined]
        line = found[level["variant"]]["criteria"][0]
        assert (line["metric"], line["unit"]) == ("brier_ts", "headroom")
        assert (line["loss"], line["lower"], line["upper"]) == pytest.approx(
            (level["loss"], level["low"], level["high"])
        )
    assert found["rtn-w2"]["decision"] == "reject"
    coverage = found["rtn-w4"]["criteria"][2]
    assert coverage["metric"] == "lac_transfer_coverage"
    assert "options, dense" in coverage["note"]


def run_gate(run: Path, *arguments: str) -> int:
    return main(["gate", str(run), "--policy", *arguments])


def test_the_command_and_its_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [planted("dense", 0), planted("rtn-w8", 0), planted("rtn-w6", 16, 6), planted("rtn-w3", 90)]
    cells[1] = replace(cells[1], scores=cells[1].scores * np.float32(1.01))
    run = write_run(tmp_path / "run", cells)
    policy = tmp_path / "p.yaml"
    policy.write_text("name: ours\nsource: us\ncriteria: [{metric: accuracy, limit: 0.025, unit: points}]\n")
    assert run_gate(run, str(policy), "--variant", "rtn-w[68]") == 3
    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    in_pipe = [dict(zip(header, row, strict=True)) for row in rows]
    assert {row["variant"]: row["decision"] for row in in_pipe} == {"rtn-w8": "accept", "rtn-w6": "review"}
    assert header[0] == "lost_at_most"
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert run_gate(run, str(policy), "--variant", "rtn-w8") == 0
    assert run_gate(run, str(policy), "--variant", "rtn-w[68]") == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("accuracy: lost at most") for line in lines)
    for row, line in zip(in_pipe, lines[1:], strict=True):
        assert row["why"] in line
        assert float(re.findall(r"at most (\S+),", line)[0]) == pytest.approx(
            100 * float(row["lost_at_most"]), abs=0.11
        )
    assert run_gate(run, str(policy), "--json") == 1
    said = capsys.readouterr()
    assert {one["variant"]: one["decision"] for one in json.loads(said.out)} == {
        **{"rtn-w8": "accept", "rtn-w6": "review", "rtn-w3": "reject"}
    }


@pytest.mark.parametrize("flips", [0.05, 0.1])
def test_the_planned_items_have_the_power(flips: float) -> None:
    n = items_needed(0.05, flips)
    assert n is not None
    assert 0.78 <= error(n, flips, 0.0, points(0.05), "within") <= 0.85


def plan(tmp_path: Path, policy: str, *more: str, items: int = 400, models: str = "[smollm2-135m]") -> int:
    rows = [{"id": n, "question": f"{n}?", "choices": ["a", "b", "c"], "answer_index": n % 3} for n in range(items)]
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = f"models: {models}\ntasks: [{tmp_path / 'quiz.jsonl'}]\nvariants: [dense, rtn-w4]\n"
    (tmp_path / "config.yaml").write_text(config)
    return main(["gate", str(tmp_path / "config.yaml"), "--policy", policy, "--plan", *more])


def test_a_plan_says_what_can_never_be_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.yaml"
    criteria = "[{metric: accuracy, limit: 0.05, unit: points}, {metric: brier_ts, limit: 0.05, unit: headroom}]"
    file.write_text(f"name: ours\nsource: us\ncriteria: {criteria}\n")
    assert plan(tmp_path, str(file), "--json") == 0
    accuracy, brier = json.loads(capsys.readouterr().out)
    assert (accuracy["items"], accuracy["items_needed"]) == (400, items_needed(0.05, 0.05, wanted=0.9))
    assert (brier["items_needed"], brier["items_are"], brier["never"]) == (236, "floor", False)
    assert plan(tmp_path, str(file), items=60) == 3
    assert capsys.readouterr().out.count("cannot be accepted") == 1
    assert plan(tmp_path, "mlperf-99.9", "--json") == 3
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["never"], line["items_needed"], line["items_are"]) == (True, 640_000, "normal")
    assert line["would_do"] is None
    assert plan(tmp_path, "mlperf-99", "--dense-accuracy", "0.9", "--json") == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["items_are"], line["never"]) == ("exact", False)
    assert line["power"] == relative_power(400, 0.01, 0.05, accuracy=0.9)
    assert "a task with so many items" in line["would_do"]
    assert plan(tmp_path, "mlperf-99", "--dense-accuracy", "0.99") == 2
    assert "dense accuracy 0.99: not between 0.025 and 0.975" in capsys.readouterr().err
    assert plan(tmp_path, "industry-1-2", "--json") == 0
    edge = json.loads(capsys.readouterr().out)[-1]
    assert (edge["scope"], edge["never"]) == ("slice edge", False)
    assert "one model" in edge["note"]
    assert plan(tmp_path, str(file), "--flips", "2") == 2


def swap(run: Path, cell: Cell) -> None:
    write_cell(cell.key.path(run), cell)


def judged_by_command(run: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, Any]]:
    assert run_gate(run, "industry-1-2", "--json", *more) in (0, 1, 3)
    return {one["variant"]: one for one in json.loads(capsys.readouterr().out)}


def test_each_new_candidate_on_the_same_items_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [planted(*one) for one in (("dense", 0), ("rtn-w8", 3), ("rtn-w6", 5))]
    run = write_run(tmp_path / "run", cells)
    for _ in range(2):  # the same candidates are the same attempt, however often they are judged
        found = judged_by_command(run, capsys)
        assert [one["attempt"] for one in found.values()] == [1, 1]
    first = found["rtn-w6"]["criteria"][0]
    swap(run, planted("rtn-w6", 6))
    swap(run, planted("rtn-w6", 5, 1))
    found = judged_by_command(run, capsys)
    assert (found["rtn-w8"]["attempt"], found["rtn-w6"]["attempt"]) == (1, 2)
    second = found["rtn-w6"]["criteria"][0]
    assert second["loss"] < first["loss"]
    assert second["upper"] > first["upper"]
    swap(run, cells[2])
    assert judged_by_command(run, capsys, "--variant", "rtn-w6")["rtn-w6"]["attempt"] == 1
    swap(run, planted("rtn-w6", 4))
    assert judged_by_command(run, capsys)["rtn-w6"]["attempt"] == 3
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert run_gate(run, "industry-1-2") == 3
    assert "attempt 3 on these items, unlocked (1 cell)" in capsys.readouterr().out
    assert len((run / "attempts.jsonl").read_text().splitlines()) == 4


def test_tuning_until_green_errs_no_more_than_promised() -> None:
    """Twenty tries at the limit, each tested as the attempt that it is: .66 of such teams would ship one."""
    n, flips, limit = 1000, 0.06, 0.02
    levels = [0.05 * spent(k, listed=False, locked=False) for k in range(1, 21)]
    accepted = [error(n, flips, limit, points(limit, confidence=1 - level), "within") for level in levels]
    assert 1 - np.prod([1 - one for one in accepted]) <= 0.075
    strict = [6 / np.pi**2 / k**2 for k in range(1, 21)]
    assert [spent(k, listed=False, locked=True) for k in range(1, 21)] == pytest.approx(strict)
    assert sum(strict) < 1
    assert spent(7, listed=True, locked=True) == 1


@pytest.fixture(scope="module")
def locked_run(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path], quiz: Path) -> Path:
    """A run of a tiny model under a lock, which lies beside it."""
    folder = tmp_path_factory.mktemp("locked")
    config = folder / "config.yaml"
    variants = "[dense, rtn-w8, rtn-w4]"
    config.write_text(f"models: [{tiny_models['llama']}]\ntasks: [{quiz}]\nvariants: {variants}\ndtype: float32\n")
    assert main(["policy", "lock", "industry-1-2", "--config", str(config), "--out", str(folder / "policy.lock")]) == 0
    assert main(["run", str(config), "--out", str(folder / "run"), "--lock", str(folder / "policy.lock")]) == 0
    return folder


def test_a_lock_is_stamped_on_compressed_cells_alone(locked_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = json.loads((locked_run / "policy.lock").read_text())
    stamped = {cell.key.variant: cell.run.get("lock") for cell in load_cells([locked_run / "run"])}
    assert stamped == {"dense": None, "rtn-w8": lock["lock_hash"], "rtn-w4": lock["lock_hash"]}
    assert [variant for _, variant in lock["candidates"]] == ["rtn-w8", "rtn-w4"]
    (task,) = lock["tasks"]
    assert task["ids"] == [f"q{n}" for n in range(6)]
    assert set(task["search_half"]) < set(task["ids"])
    found = judged_by_command(locked_run / "run", capsys, "--lock", str(locked_run / "policy.lock"))
    assert {one["unlocked"] for one in found.values()} == {0}
    plain = next(cell for cell in load_cells([locked_run / "run"]) if cell.key.variant == "rtn-w4")
    swap(locked_run / "run", replace(plain, run={k: v for k, v in plain.run.items() if k != "lock"}))
    found = judged_by_command(locked_run / "run", capsys, "--lock", str(locked_run / "policy.lock"))
    assert {name: one["unlocked"] for name, one in found.items()} == {"rtn-w8": 0, "rtn-w4": 1}


def test_a_foreign_or_changed_lock_is_refused(
    locked_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = locked_run / "policy.lock"
    run = write_run(tmp_path / "run", [planted(name, 1) for name in ("dense", "rtn-w8")])

    def refused(*command: str) -> str:
        assert main(list(command)) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    said = refused("gate", str(run), "--policy", "industry-1-2", "--lock", str(path))
    assert "foreign lock: no such task on sciq" in said
    judge = ("gate", str(locked_run / "run"), "--lock")
    assert "it fixes the policy industry-1-2" in refused(*judge, str(path), "--policy", "mlperf-99")
    again = ("run", str(locked_run / "config.yaml"), "--out", str(tmp_path / "other"))
    assert "foreign lock: other items" in refused(*again, "--lock", str(path), "--limit", "4")
    changed = tmp_path / "changed.lock"
    changed.write_text(path.read_text().replace('"review": 1.5', '"review": 3.0'))
    assert "changed since it was written" in refused(*judge, str(changed), "--policy", "industry-1-2")
    other = ("--config", str(locked_run / "config.yaml"), "--out", str(path))
    assert "a lock is written once" in refused("policy", "lock", "certainty", *other)


def test_the_sequence_ends_at_the_first_that_is_not_accepted() -> None:
    lock = {"candidates": [["m", "w8"], ["m", "w6"], ["m", "w4"], ["other", "w2"]]}
    records = [
        {"model": "m", "variant": name, "decision": said}
        for name, said in (("w4", "accept"), ("w6", "review"), ("w8", "accept"))
    ]
    assert smallest_accepted(records, lock, "m") == "w8"
    assert smallest_accepted([], lock, "m") is None


def with_policy(run: Path, policy: str | dict[str, Any]) -> RunConfig:
    config = replace(read_config(run / "config.yaml"), policy=policy)
    (run / "config.yaml").write_text(f"# {config.hash}\n{config.to_yaml()}", encoding="utf-8")
    return read_config(run / "config.yaml")


OURS = {"name": "ours", "source": "us", "criteria": [{"metric": "accuracy", "limit": 0.025, "unit": "points"}]}


def test_a_snapshot_holds_the_decisions_of_its_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [planted("dense", 0), planted("rtn-w8", 1), planted("rtn-w6", 16, 6), planted("rtn-w3", 90)]
    run = write_run(tmp_path / "run", cells)
    publish(run, tmp_path / "plain")
    assert not (tmp_path / "plain" / "gate.json").exists()
    assert with_policy(run, OURS).policy == OURS
    snapshot = publish(run, tmp_path / "snapshot")
    records = json.loads((snapshot / "gate.json").read_text(encoding="utf-8"))
    assert {one["variant"]: one["decision"] for one in records} == {
        **{"rtn-w8": "accept", "rtn-w6": "review", "rtn-w3": "reject"}
    }
    page, text = ((snapshot / name).read_text(encoding="utf-8") for name in ("index.html", "LEADERBOARD.md"))
    assert "<summary>review (undecided)</summary>" in page
    assert "items would tell" in page
    assert "May it replace dense? Policy ours" in text
    assert "**review (undecided)**: " in text
    assert main(["verify", str(snapshot)]) == 0
    records[0]["decision"] = "accept" if records[0]["decision"] != "accept" else "reject"
    (snapshot / "gate.json").write_bytes(json_bytes(records))
    sign(snapshot)
    assert main(["verify", str(snapshot)]) == 1
    assert "gate.json" in capsys.readouterr().out


def test_a_configuration_without_a_policy_keeps_its_hash(tmp_path: Path) -> None:
    content = {"models": ["m"], "tasks": ["sciq"], "variants": ["dense"]}
    plain = parse_config(content, "here")
    assert plain.hash == "sha256:55028e3e57c7a6e1294418a2ae746593db8663fe4c9a12ae84836513982da864"
    assert "policy" not in plain.to_yaml()
    named = parse_config({**content, "policy": "certainty"}, "here")
    assert len({plain.hash, named.hash, parse_config({**content, "policy": OURS}, "here").hash}) == 3
    assert parse_config(yaml.safe_load(named.to_yaml()), "here") == named


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("task-kind-z", "unknown policy 'task-kind-z'"),
        ({**OURS, "criteria": []}, "'criteria' must be"),
        ({**OURS, "name": "certainty"}, "'certainty' is a built-in policy"),
        ({**OURS, "criteria": [{**OURS["criteria"][0], "kind": "code"}]}, "none of sciq is one"),  # type: ignore[dict-item]
    ],
)
def test_a_policy_that_is_none_is_found_before_anything_is_scored(policy: Any, said: str, tmp_path: Path) -> None:
    config = replace(CONFIG, policy=policy)
    with pytest.raises(SuiteError, match=said):
        execute(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_for_pipelines_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    cells = [planted("dense", 0), planted("rtn-w8", 1), planted("rtn-w6", 30, 10), planted("rtn-w3", 120)]
    run = write_run(tmp_path / "run", cells)
    files = ["--junit", str(tmp_path / "out" / "gate.xml"), "--markdown", str(tmp_path / "out" / "gate.md")]
    assert run_gate(run, "industry-1-2", *files) == 1
    said = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    tree = ElementTree.parse(files[1]).getroot()
    cases = {case.get("name"): case for case in tree.iter("testcase")}
    assert {name: [child.tag for child in case] for name, case in cases.items()} == {
        **{"rtn-w3": ["failure"], "rtn-w6": ["error"], "rtn-w8": ["system-out"]}
    }
    assert [(part.get("tests"), part.get("failures"), part.get("errors")) for part in tree] == [("3", "1", "1")]
    text = Path(files[3]).read_text(encoding="utf-8")
    assert all(line in text for line in said)
    assert text.count("**reject**") == 1


@pytest.mark.parametrize(
    ("policy", "more", "said"),
    [
        ("task-kind-c", [], "unknown policy"),
        ("{metric: accuracy, limit: 0.05, unit: points, kind: code}", [], "none of sciq is one"),
        ("{metric: accuracy, limit: 0.0, unit: points}", [], "contradiction"),
        ("{metric: accuraci, limit: 0.1, unit: points}", [], "unknown metric 'accuraci'"),
        ("{metric: accuracy, limit: 0.1, unit: points, taks: sciq}", [], "unknown key 'taks' in a criterion"),
        ("task-kind-a", ["--variant", "gptq*"], "matches 'gptq*'; there are: rtn-w8"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str, more: list[str], said: str
) -> None:
    run = write_run(tmp_path / "run", [planted(name, 1, n=120) for name in ("dense", "rtn-w8")])
    if policy.startswith("{"):
        file = tmp_path / "p.yaml"
        file.write_text(f"name: ours\nsource: us\ncriteria: [{policy}]\n")
        policy = str(file)
    assert run_gate(run, policy, *more) == 2
    error_text = capsys.readouterr().err
    assert said in error_text
    assert error_text.count("\n") == 1
