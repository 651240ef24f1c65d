"""Measurements that are kept: the same bit for bit, made anew where anything they follow from is another."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_cells import synthetic_cells
from support.synthetic_snapshot import publish, write_run

from suite.cell import load_cells, write_cell
from suite.cli import main
from suite.config import Protocol
from suite.decisions.analyses import joint_keys
from suite.metrics import replicates, rows
from suite.metrics.figures import FIGURES
from suite.metrics.replicates import STORED, Store
from suite.metrics.rows import Measured, measure_cells
from suite.verdicts import curves, dose_records

RULES = Protocol(splits=4, replicates=50)
NAMES = ("dense", "rtn-w4", "rtn-w2")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    cells = synthetic_cells(variants=NAMES, tasks={"sciq": 4, "arc-easy": 3}, n=60)
    return write_run(tmp_path / "run", cells, protocol=RULES)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Variants of the cells that are measured, in their order."""
    seen: list[str] = []
    measure = rows._measure_curve

    def watched(cells: Any, **others: Any) -> Any:
        seen.extend(cell.key.variant for cell in cells)
        return measure(cells, **others)

    monkeypatch.setattr(rows, "_measure_curve", watched)
    return seen


def measured(run: Path, store: Store | None, protocol: Protocol = RULES) -> list[Measured]:
    return measure_cells(load_cells(run), protocol, keep=STORED, store=store)


def same(ours: list[Measured], theirs: list[Measured]) -> bool:
    """To the last bit, types and order of keys included."""
    return all(
        repr(one.row) == repr(other.row)
        and repr(one.values) == repr(other.values)
        and list(one.replicates) == list(other.replicates)
        and all(
            np.array_equal(first, second, equal_nan=True) and first.dtype == second.dtype
            for first, second in [
                *((one.replicates[key], other.replicates[key]) for key in one.replicates),
                *((getattr(one, name), getattr(other, name)) for name in ("correct", "units", "chance")),
            ]
        )
        for one, other in zip(ours, theirs, strict=True)
    )


def test_what_is_kept_is_what_was_measured_bit_for_bit(run: Path, count: list[str]) -> None:
    plain = measured(run, None)
    store = Store.of(run, "code")
    assert store is not None
    assert store.folder == run / ".replicates"
    assert same(measured(run, store), plain)
    count.clear()
    assert same(measured(run, store), plain)
    assert count == []
    assert all(one.replicates["accuracy"].dtype == np.float64 for one in plain)


def test_verdicts_and_doses_need_nothing_that_is_not_kept() -> None:
    assert {*curves.JOINT_KEYS, *dose_records.JOINT_KEYS, *joint_keys()} <= {*STORED}


def test_only_what_changed_is_measured_again(run: Path, count: list[str]) -> None:
    store = Store(run / ".replicates")
    measured(run, store)
    (cell,) = [one for one in load_cells(run) if (one.key.task, one.key.variant) == ("sciq", "rtn-w2")]
    write_cell(cell.path, replace(cell, scores=cell.scores[:, ::-1].copy(), path=""))
    count.clear()
    assert same(measured(run, store), measured(run, None))
    assert count[:2] == ["dense", "rtn-w2"]
    (cell,) = [one for one in load_cells(run) if (one.key.task, one.key.variant) == ("sciq", "dense")]
    write_cell(cell.path, replace(cell, scores=cell.scores + np.float32(0.5) * (cell.scores > 0), path=""))
    count.clear()
    measured(run, store)
    assert sorted(count) == sorted(NAMES)
    assert len(list(store.folder.iterdir())) == len(load_cells(run)), "what belongs to earlier cells is deleted"


@pytest.mark.parametrize("protocol", [replace(RULES, alpha=0.2), replace(RULES, splits=5), replace(RULES, seed=1)])
def test_another_protocol_is_measured_anew(run: Path, count: list[str], protocol: Protocol) -> None:
    store = Store(run / ".replicates")
    measured(run, store)
    count.clear()
    assert same(measured(run, store, protocol), measured(run, None, protocol))
    assert len(count) == 2 * len(load_cells(run))


def test_another_formula_is_measured_anew(run: Path, count: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(run / ".replicates")
    measured(run, store)
    for change in ({"formula": 9}, {"interval": 9}):
        monkeypatch.setitem(FIGURES, "accuracy", replace(FIGURES["accuracy"], **change))
        count.clear()
        measured(run, store)
        assert len(count) == len(load_cells(run))


def foreign(file: Path) -> None:
    """Somebody else's archive under the name."""
    sink = io.BytesIO()
    np.savez(sink, said=np.zeros(3))
    file.write_bytes(sink.getvalue())


def pickled(file: Path) -> None:
    sink = io.BytesIO()
    np.savez(sink, said=np.array([{"key": 1}], dtype=object))
    file.write_bytes(sink.getvalue())


def another_cells(file: Path) -> None:
    other = next(one for one in sorted(file.parent.iterdir()) if one != file)
    file.write_bytes(other.read_bytes())


def flipped(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "flipped": flipped,
    "text": lambda file: file.write_text("no archive"),
    "foreign": foreign,
    "pickled": pickled,
    "another cell's": another_cells,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_named_and_made_again(
    run: Path, count: list[str], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    store = Store(run / ".replicates")
    plain = measured(run, store)
    file = min(store.folder.iterdir())
    DAMAGE[damage](file)
    capsys.readouterr()
    count.clear()
    assert same(measured(run, store), plain)
    assert 1 <= len(count) <= 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: not usable (")
    assert line.endswith("; measured again")
    count.clear()
    assert same(measured(run, store), plain)
    assert count == []


def test_a_folder_that_cannot_be_written_is_said_and_costs_nothing_else(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / ".replicates").write_text("a file is in the way")
    assert same(measured(run, Store(run / ".replicates")), measured(run, None))
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("replicates are not kept: cannot write ") for line in lines)


def test_files_of_others_in_the_folder_stay(run: Path) -> None:
    store = Store(run / ".replicates")
    store.folder.mkdir()
    mine = store.folder / "notes.txt"
    mine.write_text("mine")
    (store.folder / f"{'0' * 64}.npz").write_text("of an earlier cell")
    measured(run, store)
    assert mine.read_text() == "mine"
    assert not (store.folder / f"{'0' * 64}.npz").exists()


def test_the_cache_keeps_what_was_used_last(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the limit; and all of the cells that were asked for, whatever that is."""
    store = Store(run.parent / "cache")
    cells = load_cells(run)
    first, second, third = cells[:3], cells[:2], [replace(cell, model={"name": "other"}) for cell in cells[:1]]
    measure_cells(first, RULES, keep=STORED, store=store)
    files = sorted(store.folder.iterdir())
    size = max(file.stat().st_size for file in files)
    for file in files:
        os.utime(file, (1, 1))
    measure_cells(second, RULES, keep=STORED, store=store)  # read, not written: yet used
    used = {file for file in files if file.stat().st_mtime > 1}
    assert len(used) == len(second)
    assert {*store.folder.iterdir()} == {*files}
    monkeypatch.setattr(replicates, "LIMIT", 2 * size)
    measure_cells(second, RULES, keep=STORED, store=store)
    assert {*store.folder.iterdir()} == used
    monkeypatch.setattr(replicates, "LIMIT", 0)
    measure_cells(third, RULES, keep=STORED, store=store)
    assert len([*store.folder.iterdir()]) == len(third)


def test_the_command_says_the_same_with_without_and_from_what_is_kept(
    run: Path, capsys: pytest.CaptureFixture[str], count: list[str]
) -> None:
    said = []
    for _ in range(2):
        count.clear()
        assert main(["dose", str(run), "--json"]) == 0
        said.append(capsys.readouterr().out)
    assert count == []
    plain = dose_records.find_dose_records(load_cells(run), assess_config(run))
    assert said[0] == said[1] == json.dumps(plain, indent=1) + "\n"


def assess_config(run: Path) -> Any:
    from suite.config import read_config

    return read_config(run / "config.yaml")


def test_a_snapshot_stays_as_it_was_published(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its measurements are in the cache; and verifying takes no notice of them, however well they are forged."""
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    assert main(["dose", str(run)]) == 0
    snapshot = publish(run, tmp_path / "snapshot")
    assert not (snapshot / ".replicates").exists()
    before = sorted((file, file.read_bytes()) for file in snapshot.rglob("*") if file.is_file())
    assert main(["dose", str(snapshot)]) == 0
    assert sorted((file, file.read_bytes()) for file in snapshot.rglob("*") if file.is_file()) == before
    kept = sorted((tmp_path / "cache" / "replicates").iterdir())
    assert len(kept) == len(load_cells(snapshot))
    store = Store(tmp_path / "cache" / "replicates")
    for file in kept:
        found = store.read(file.stem)
        assert found is not None
        values = {key: value + 0.1 for key, value in found["values"].items()}
        store.write(file.stem, {**found, "values": values})
    capsys.readouterr()
    assert main(["verify", str(snapshot)]) == 0, capsys.readouterr()


def test_measurements_in_a_run_directory_are_no_part_of_its_snapshot(run: Path) -> None:
    assert main(["dose", str(run)]) == 0
    assert main(["leaderboard", str(run)]) == 0
    assert list((run / ".replicates").iterdir())
    listed = json.loads((run / "manifest.json").read_text())["files"]
    assert not [name for name in listed if "replicates" in name]
    assert main(["verify", str(run)]) == 0


def test_what_is_published_was_measured_by_the_code_that_publishes(run: Path, count: list[str]) -> None:
    """Formula numbers are a promise of people: the manifest names one code, so only its own measurements are taken."""
    measured(run, Store(run / ".replicates", "earlier"))
    count.clear()
    measured(run, Store(run / ".replicates", "today"))
    assert count == []
    measured(run, Store(run / ".replicates", "today", strict=True))
    assert len(count) == len(load_cells(run))
    count.clear()
    measured(run, Store(run / ".replicates", "today", strict=True))
    assert count == []
