"""Work shared by processes gives what one process gives, and ends in one line when a process is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.synthetic_cells import synthetic_cells
from support.synthetic_snapshot import small_snapshot

from suite.cli import main
from suite.config import Protocol
from suite.decisions.analyses import joint_keys, judge_measured
from suite.errors import SuiteError
from suite.metrics.rows import measure_cells
from suite.metrics.workers import VARIABLE, WORTH, in_processes, workers_for
from suite.publish.standings import collect
from suite.verdicts.given import Given


def squared(value: int) -> tuple[int, int]:
    return value**2, os.getpid()


def refused(value: int) -> int:
    if value == 3:
        raise SuiteError("three: not wanted; use four")
    return value


def killed(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    found = in_processes(squared, range(40), workers=workers)
    assert [value for value, _ in found] == [value**2 for value in range(40)]
    assert (os.getpid() in {process for _, process in found}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_the_function_s_own(workers: int) -> None:
    with pytest.raises(SuiteError, match="three: not wanted; use four"):
        in_processes(refused, range(8), workers=workers)


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(MemoryError, match=f"was killed.*{VARIABLE}=1") as caught:
        in_processes(killed, range(8), workers=2)
    assert "\n" not in str(caught.value)


def test_everything_that_is_published_is_the_same_by_one_process_and_by_two() -> None:
    cells = synthetic_cells(models={"a-100m": 0.1, "b-1b": 1.0}, tasks={"sciq": 4, "boolq": 2}, n=110)
    settings = Protocol(splits=5, replicates=50)
    by_one, by_two = (measure_cells(cells, settings, keep=joint_keys(), workers=workers) for workers in (1, 2))
    assert [one.row for one in by_one] == [one.row for one in by_two]
    assert [one.cell.where for one in by_one] == [one.cell.where for one in by_two]
    for one, two in zip(by_one, by_two, strict=True):
        assert one.replicates.keys() == two.replicates.keys() == set(joint_keys()) & set(one.replicates)
        assert all((one.replicates[key] == two.replicates[key]).all() for key in one.replicates)
    first, second = (collect(measured, settings) for measured in (by_one, by_two))
    assert {key: one.items for key, one in first.items()} == {key: one.items for key, one in second.items()}
    judged = [
        judge_measured(Given(measured, settings, workers=workers)).files()
        for measured, workers in ((by_one, 1), (by_two, 2))
    ]
    assert judged[0] == judged[1]


def test_the_command_line_takes_the_number_of_processes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = small_snapshot(tmp_path, models={"a": 0.1, "b": 0.2}, n=40)
    printed = []
    for workers in ("1", "2"):
        monkeypatch.setenv(VARIABLE, workers)
        assert main(["metrics", str(out), "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
        assert main(["verify", str(out)]) == 0
        capsys.readouterr()
    assert printed[0] == printed[1]


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    out = small_snapshot(tmp_path, n=30)
    monkeypatch.setenv(VARIABLE, asked)
    assert main(["metrics", str(out)]) == 2
    assert f"{VARIABLE}={asked}" in capsys.readouterr().err


def test_few_items_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert workers_for(WORTH - 1) == 1
    assert 1 <= workers_for(WORTH) <= 16
    monkeypatch.setenv(VARIABLE, "3")
    assert workers_for(1) == 3
