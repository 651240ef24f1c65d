"""Policies through the command: what is built in, what files may say, what contradicts itself, items by brute force."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from suite.cli import main
from suite.decisions.answers import LostAnswers, Pairs
from suite.decisions.items import items_needed, power, relative_items_needed, relative_power
from suite.decisions.policy import KINDS, json_schema
from suite.metrics.score_test import Stratum, score_statistic, tango
from suite.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
LIMIT = "{metric: accuracy, limit: 0.02, unit: points}"


def write(tmp_path: Path, criteria: str = f"[{LIMIT}]", more: str = "", name: str = "p.yaml") -> str:
    file = tmp_path / name
    file.write_text(f"name: ours\nsource: us\ncriteria: {criteria}\n{more}\n")
    return str(file)


def show(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["policy", "show", "--json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_every_built_in_policy_is_listed_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["task-kind-a", "task-kind-b", "industry-1-2", "mlperf-99", "mlperf-99.9", "certainty"]
    assert lines[0].split("\t") == ["policy", "criteria", "red_lines", "hash", "source"]
    assert [line.split("\t")[0] for line in lines[1:]] == names
    for policy in show(capsys, *names):
        assert policy["source"]
        assert policy["reading"]
        assert {line["unit"] for line in policy["criteria"]} <= {"points", "relative", "headroom"}


def test_the_limits_of_the_built_in_policies(capsys: pytest.CaptureFixture[str]) -> None:
    a, b, industry, nines = show(capsys, "task-kind-a", "task-kind-b", "industry-1-2", "mlperf-99.9")
    assert {line["kind"]: line["limit"] for line in a["criteria"]} == {
        **{"classification": 0.05, "summarization": 0.04, "chat": 0.03, "code": 0.01, "mathematics": 0.01},
        **{"legal": 0.005, "medical": 0.005, "other": 0.02},
    }
    assert {line["kind"]: line["limit"] for line in b["criteria"]} == {
        **{"safety": 0.01, "medical": 0.02, "classification": 0.05, "ranking": 0.1, "generative": 0.15}
    }
    assert [(line["kind"], line["limit"], line["margin"]) for line in industry["criteria"]] == [
        (None, 0.02, 0),
        ("safety", 0.02, 0.25),
    ]
    assert [(line["limit"], line["unit"], line["items"]) for line in nines["criteria"]] == [
        (0.001, "relative", 640_000)
    ]
    assert (a["review"], len(a["red_lines"]), len(b["red_lines"])) == (1.5, 4, 0)


def test_every_task_of_the_suite_has_a_kind() -> None:
    assert set(TASKS) == {name for names in KINDS.values() for name in names}


def test_the_built_in_policies_do_not_contradict_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    names = [policy["name"] for policy in show(capsys, "task-kind-a", "industry-1-2", "certainty", "mlperf-99")]
    assert main(["policy", "check", *names, "task-kind-b", "mlperf-99.9"]) == 0
    out = capsys.readouterr().out
    assert "error_rate 0.1 relative is tighter than accuracy 0.05 points above accuracy 0.50" in out
    assert "0 of n only bounds it by 3/n" in out


@pytest.mark.parametrize(
    ("criteria", "more", "said"),
    [
        ("[{metric: accuracy, limit: 0.02, unit: points, margin: -0.25}]", "", "loosens the limit 0.02 to 0.025"),
        ("[{metric: accuracy, limit: 0, unit: points}]", "", "3/n"),
        (f"[{LIMIT}]", "red_lines: [{metric: error_rate, limit: 0, unit: points, required: true}]", "3/n"),
        (f"[{LIMIT}]", "red_lines: [{metric: accuracy, limit: 0.01, unit: points}]", "which never decides"),
        (f"[{LIMIT}, {LIMIT}]", "", "has two limits in points"),
        (f"[{LIMIT}]", "review: 0.9", "review 0.9 is below 1"),
    ],
)
def test_contradictions_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], criteria: str, more: str, said: str
) -> None:
    file = write(tmp_path, criteria, more)
    assert main(["policy", "check", file]) == 2
    caught = capsys.readouterr()
    assert said in caught.err
    assert caught.err.count("\n") == 1
    assert main(["policy", "check", file, "--json"]) == 2
    assert [one["level"] for one in json.loads(capsys.readouterr().out)] == ["contradiction"]


def test_remarks_are_no_contradictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    red = (
        "red_lines: [{metric: accuracy, limit: 0.025, unit: points}, {metric: error_rate, limit: 0.2, unit: relative}]"
    )
    assert main(["policy", "check", write(tmp_path, more=red)]) == 0
    out = capsys.readouterr().out
    assert "the red line 0.025 cuts the review band, which would end at 0.03" in out
    assert "above accuracy 0.90, looser below" in out
    assert main(["policy", "check", write(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("criteria", "more", "said"),
    [
        ("[{metric: accuracy, limit: 0.02}]", "", "needs a 'unit': say whether its limit is meant in points"),
        ("[{metric: acuracy, limit: 0.02, unit: points}]", "", "did you mean accuracy? Valid: accuracy, brier_ts"),
        (
            "[{metric: accuracy, limt: 0.02, unit: points}]",
            "",
            "unknown key 'limt' in a criterion: did you mean 'limit'? Valid: metric, limit",
        ),
        ("[{metric: accuracy, limit: 0.02, unit: percent}]", "", "'unit' must be points, relative or headroom"),
        ("[{metric: accuracy, limit: 2, unit: points}]", "", "limits are fractions, 1 % is 0.01"),
        ("[{metric: accuracy, limit: -0.1, unit: points}]", "", "'limit' must be a fraction of 0 or more"),
        ("[{metric: accuracy, limit: .nan, unit: points}]", "", "'limit' must be a fraction of 0 or more"),
        ("[{metric: accuracy, limit: 0.02, unit: points, kind: code, task: mmlu}]", "", "more than one of"),
        (
            "[{metric: accuracy, limit: 0.02, unit: points, kind: coding}]",
            "",
            "unknown task kind 'coding': did you mean",
        ),
        ("[{metric: lac_transfer_coverage, limit: 0.02, unit: headroom}]", "", "no unit 'headroom'. Valid: points"),
        (
            "[{metric: accuracy, limit: 0.02, unit: points, confidence: 95}]",
            "",
            "'confidence' must be between 0.5 and 1",
        ),
        ("[]", "", "'criteria' must be a list of one criterion or more"),
        ("[accuracy]", "", "a criterion must be a mapping"),
        (f"[{LIMIT}]", "redlines: []", "unknown key 'redlines' in the policy: did you mean 'red_lines'?"),
        (f"[{LIMIT}]", "review: often", "'review' must be a number above 0"),
        ("[", "", "not valid YAML (line"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], criteria: str, more: str, said: str
) -> None:
    file = write(tmp_path, criteria, more)
    assert main(["policy", "check", file]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert file in err
    assert err.count("\n") == 1


def test_unknown_names_are_answered_with_the_valid_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "mlperf-9"]) == 2
    assert "did you mean mlperf-99" in capsys.readouterr().err
    assert main(["policy", "check", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
    assert main(["policy", "show", "certainty", "--flips", "2"]) == 2
    file = tmp_path / "own.yaml"
    file.write_text(f"name: certainty\nsource: us\ncriteria: [{LIMIT}]\n")
    assert main(["policy", "check", str(file)]) == 2
    assert "'certainty' is a built-in policy; give it another name" in capsys.readouterr().err


def test_the_hash_goes_by_what_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hashed(criteria: str, more: str = "") -> str:
        return str(show(capsys, write(tmp_path, criteria, more))[0]["policy_hash"])

    plain = hashed(f"[{LIMIT}]")
    assert plain == hashed(
        "[{unit: points, limit: 0.02, metric: accuracy, margin: 0}]", "reading: another  # a comment"
    )
    assert plain != hashed("[{metric: accuracy, limit: 0.021, unit: points}]")
    assert plain != hashed("[{metric: accuracy, limit: 0.02, unit: relative}]")
    assert plain != hashed(f"[{LIMIT}]", "review: 2")


def test_the_schema_in_the_repository_is_that_of_the_code() -> None:
    """docs/formats.md has the line that writes it again."""
    assert (ROOT / "configs" / "policy.schema.json").read_text(encoding="utf-8") == json_schema()


# items


@pytest.mark.parametrize(("lost", "gained", "n", "limit"), [(4, 3, 400, 0.02), (0, 0, 300, 0.01), (9, 0, 200, 0.05)])
def test_the_score_statistic_is_that_of_the_suite(lost: int, gained: int, n: int, limit: float) -> None:
    values = np.array([-1.0] * lost + [1.0] * gained + [0.0] * (n - lost - gained)) + limit
    known = score_statistic([Stratum(values, np.arange(n), -1 + limit, 1 + limit)])
    assert float(tango(np.array(float(lost)), np.array(float(gained)), n, limit)) == pytest.approx(-known, abs=1e-6)


@pytest.mark.parametrize(("n", "limit", "flips"), [(150, 0.05, 0.05), (160, 0.02, 0.02), (90, 0.05, 0.1)])
def test_power_is_the_sum_over_every_table(n: int, limit: float, flips: float) -> None:
    lost, gained = (axis.astype(float) for axis in np.mgrid[: n + 1, : n + 1])
    same = n - lost - gained
    possible = same >= 0
    logs = math.lgamma(n + 1) - sum(_log_factorial(np.maximum(part, 0)) for part in (lost, gained, same))
    logs = logs + (lost + gained) * math.log(flips / 2) + np.maximum(same, 0) * math.log(1 - flips)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = possible & (tango(lost, gained, n, limit) <= stats.norm.ppf(0.05))
    shown &= stats.binom.cdf(np.maximum(lost - gained, 0), n, limit) <= 0.05
    assert power(n, limit, flips) == pytest.approx(float(np.exp(logs[shown]).sum()), abs=1e-9)


def _log_factorial(counts: Any) -> Any:
    from scipy.special import gammaln

    return gammaln(counts + 1)


@pytest.mark.parametrize(("limit", "flips"), [(0.05, 0.02), (0.05, 0.05), (0.05, 0.1), (0.02, 0.02)])
def test_no_smaller_number_has_the_power(limit: float, flips: float) -> None:
    found = items_needed(limit, flips)
    assert found is not None
    assert found == next(n for n in range(1, 2000) if power(n, limit, flips) >= 0.8)


@pytest.mark.parametrize(
    ("n", "limit", "flips", "accuracy", "errors"), [(17, 0.3, 0.2, 0.7, False), (17, 0.5, 0.2, 0.6, True)]
)
def test_relative_power_is_the_sum_over_every_table_of_what_the_gate_says(
    n: int, limit: float, flips: float, accuracy: float, errors: bool
) -> None:
    shares = np.array([flips / 2, flips / 2, accuracy - flips / 2, 1 - accuracy - flips / 2])
    total = 0.0
    for lost, gained, both in itertools.product(range(n + 1), repeat=3):
        counts = (lost, gained, both, n - lost - gained - both)
        if counts[3] < 0:
            continue
        seen = [row for row, count in enumerate(counts) if count]
        dense, other = (tuple(side[row] for row in seen) for side in ((1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 1.0, 0.0)))
        table = Pairs(dense, other, (0.0,) * len(seen), tuple(counts[row] for row in seen), float(n))
        if LostAnswers((table,), "error_rate" if errors else "accuracy", "relative").below(limit) <= 0.05:
            total += float(stats.multinomial.pmf(counts, n, shares))
    assert 0.1 < total < 0.9
    assert relative_power(n, limit, flips, accuracy=accuracy, errors=errors) == pytest.approx(total, abs=1e-9)


def test_the_items_of_a_relative_limit_have_the_power_and_few_fewer_have_not() -> None:
    found, exact = relative_items_needed(0.1, 0.05, accuracy=0.7)
    assert found is not None
    assert exact
    assert (
        relative_power(found, 0.1, 0.05, accuracy=0.7)
        >= 0.8
        > relative_power(round(0.85 * found), 0.1, 0.05, accuracy=0.7)
    )
    # with dense right everywhere it is the limit in points
    assert relative_power(400, 0.02, 0.02, accuracy=0.985) == pytest.approx(power(400, 0.0197, 0.02), abs=0.03)
    assert relative_items_needed(0.001, 0.05, accuracy=0.7) == (640_000, False)


def test_items_are_never_below_those_without_a_flip() -> None:
    assert [items_needed(limit, 1e-6) for limit in (0.05, 0.02, 0.01, 0.005)] == [59, 149, 299, 598]
    assert power(58, 0.05, 1e-6) == 0
    assert items_needed(1e-18, 0.05) is None


def test_each_line_gets_the_power_that_makes_all_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = "[{metric: accuracy, limit: 0.05, unit: points}, {metric: set_size, limit: 0.05, unit: headroom}]"
    lines = show(capsys, write(tmp_path, two), "--flips", "0.1")[0]["criteria"]
    assert [(line["items"], line["items_are"]) for line in lines] == [
        (items_needed(0.05, 0.1, wanted=0.9), "exact"),
        (236, "floor"),
    ]
    margin = "[{metric: accuracy, limit: 0.02, unit: points, margin: 0.5}]"
    assert show(capsys, write(tmp_path, margin))[0]["criteria"][0]["items"] == items_needed(0.01, 0.05)
    assert main(["policy", "show", write(tmp_path, two)]) == 0
    assert "236 at least" in capsys.readouterr().out
