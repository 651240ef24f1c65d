"""Is a snapshot what its cells give? Every table is made again and compared, every file is held against the manifest.

Two processors can differ in the last of the six published digits, because floating-point sums are formed in another
order. Such a digit is a remark, not a fault, as long as the file is the one whose checksum the manifest holds; a file
that was changed afterwards is compared digit by digit.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from suite.config import Protocol, RunConfig, read_config
from suite.errors import SuiteError
from suite.metrics.sample import Settings
from suite.publish.figures import FOLDER
from suite.publish.manifest import NAME as MANIFEST
from suite.publish.manifest import describe, file_digest, read_manifest
from suite.publish.records import csv_bytes, parquet_bytes
from suite.publish.snapshot import (
    TAKEN,
    Computed,
    compute,
    json_bytes,
    present_files,
    read_environment,
    snapshot_texts,
    taken_files,
)
from suite.verdicts.assess import FILES

LAST_DIGIT = 2e-5
"""Relative difference that two processors may have: two units in the last published digit, and as much again."""

NAMED = 20
"""So many differing values of one file are named; the rest is counted."""

_CSV = ("rows.csv", "ranking.csv", "equal-megabytes.csv")


@dataclass
class Report:
    """What a verification found.

    Attributes:
        problems: one line each; none when the snapshot is what its cells give.
        remarks: what a reader should know and what is no fault.
        cells, files: how many were checked.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    cells: int = 0
    files: int = 0


def verify(folder: Path) -> Report:
    """Check a snapshot.

    Returns:
        The report; `problems` names every file, cell, row and digit that differs.

    Raises:
        SuiteError: the folder is no snapshot.
    """
    report = Report()
    manifest, report.problems = read_manifest(folder)
    if not manifest:
        return report
    changed = _files(folder, manifest["files"], report)
    try:
        config = read_config(folder / "config.yaml") if (folder / "config.yaml").is_file() else None
        protocol = config.protocol if config else _stored_protocol(manifest)
        computed = compute(folder, config)
    except SuiteError as error:
        report.problems.append(str(error).replace(f"{folder}/", ""))
        return report
    report.cells = len(computed.cells)
    _description(folder, manifest, computed, config, protocol, report)
    _tables(folder, changed, computed, report)
    named = {problem.partition(":")[0] for problem in report.problems}
    report.problems += [f"{name}: changed since the snapshot was written" for name in changed if name not in named]
    return report


def _files(folder: Path, listed: Mapping[str, Any], report: Report) -> list[str]:
    """Compare the files that are there with the manifest; returns those whose contents changed."""
    present = present_files(folder)
    report.files = len(present)
    for name in sorted(set(listed) - set(present)):
        what = "missing cell" if name.startswith("cells/") else "missing"
        report.problems.append(f"{name}: {what}, the manifest lists it")
    for name in sorted(set(present) - set(listed)):
        if name.startswith(("cells/", f"{FOLDER}/")) or name in (*_CSV, *TAKEN, *FILES.values(), "rows.parquet"):
            what = "foreign cell" if name.startswith("cells/") else "foreign file"
            report.problems.append(f"{name}: {what}, the manifest does not list it")
        else:
            report.remarks.append(f"{name}: not part of the snapshot")
    changed = [name for name in present if name in listed and file_digest(folder / name) != listed[name]]
    for name in changed:
        if name.startswith(("cells/", f"{FOLDER}/")) or name in TAKEN:
            report.problems.append(f"{name}: changed since the snapshot was written")
    return changed


def _stored_protocol(manifest: Mapping[str, Any]) -> Protocol:
    """The protocol of a snapshot without a configuration."""
    try:
        protocol = Protocol(**manifest["protocol"])
        Settings(protocol.name, protocol.alpha, protocol.splits, protocol.replicates, protocol.seed)
    except (KeyError, TypeError) as error:
        raise SuiteError(f"{MANIFEST}: its protocol is damaged, and there is no config.yaml") from error
    return protocol


def _description(
    folder: Path,
    manifest: Mapping[str, Any],
    computed: Computed,
    config: RunConfig | None,
    protocol: Protocol,
    report: Report,
) -> None:
    try:
        environment = read_environment(folder)
    except SuiteError as error:
        report.problems.append(str(error).replace(f"{folder}/", ""))
        return
    wanted = describe(computed.cells, protocol=protocol, config=config, environment=environment)
    for key, value in wanted.items():
        if manifest.get(key) != value:
            report.problems.append(f"{MANIFEST}: {key!r} is not what cells, configuration and environment say")
    expected = set(taken_files(folder)) | {"rows.parquet", *_texts(computed, computed.rows)}
    expected |= {f"{FOLDER}/{picture.name}" for picture in computed.pictures(computed.rows, draw=False)}
    for name in sorted(expected - set(manifest["files"]) - set(present_files(folder))):
        report.problems.append(f"{name}: missing, and not in the manifest either")


def _texts(
    computed: Computed, rows: Sequence[Mapping[str, object]], assessed: Mapping[str, list[Any]] | None = None
) -> dict[str, bytes]:
    return snapshot_texts(computed, rows, computed.pictures(rows, draw=False), assessed=assessed)


def _verdicts(folder: Path, name: str, content: list[Any], changed: Sequence[str], report: Report) -> list[Any]:
    """The published contents of a verdict file where they differ from the cells' by rounding alone, else the cells'."""
    held = _read(folder / name)
    if held is None or name in changed or held == json_bytes(content):
        return content
    try:
        stored = json.loads(held)
    except ValueError:
        return content
    if not isinstance(stored, list) or not _alike(stored, content):
        return content
    report.remarks.append(f"{name}: differs in the last digit from what this processor computes")
    return stored


def _alike(stored: Any, wanted: Any) -> bool:
    """Equal but for the last digit of numbers."""
    if isinstance(stored, float) and isinstance(wanted, float):
        return math.isclose(stored, wanted, rel_tol=LAST_DIGIT, abs_tol=1e-9)
    if isinstance(stored, list) and isinstance(wanted, list):
        return len(stored) == len(wanted) and all(map(_alike, stored, wanted))
    if isinstance(stored, dict) and isinstance(wanted, dict):
        return stored.keys() == wanted.keys() and all(_alike(stored[key], wanted[key]) for key in stored)
    return bool(stored == wanted) and type(stored) is type(wanted)


def _tables(folder: Path, changed: Sequence[str], computed: Computed, report: Report) -> None:
    stored = _read(folder / "rows.csv")
    rows = [dict(row) for row in computed.rows]
    if stored is not None:
        differences = _csv_differences("rows.csv", stored, csv_bytes(rows), exact="rows.csv" in changed)
        _tell("rows.csv", differences, report)
        # what follows is made from the digits that were published, as far as they are right
        for found in differences:
            if found.near and found.column:
                rows[found.line][found.column] = float(found.stored)
    _parquet(folder, "rows.parquet" in changed, rows, report)
    assessed = {name: _verdicts(folder, name, content, changed, report) for name, content in computed.assessed.items()}
    for name in sorted(set(FILES.values()) - set(computed.assessed)):
        if (folder / name).is_file():
            report.problems.append(f"{name}: nothing of the kind follows from the cells")
    for name, wanted in _texts(computed, rows, assessed).items():
        if name == "rows.csv" or (held := _read(folder / name)) is None or held == wanted:
            continue
        if name in _CSV:
            _tell(name, _csv_differences(name, held, wanted, exact=name in changed), report)
        else:
            report.problems.append(f"{name}: {_first_difference(held, wanted)}")


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


@dataclass(frozen=True)
class _Difference:
    """One value that differs, or a whole table where `column` is empty."""

    line: int
    column: str
    stored: str
    wanted: str
    who: str = ""
    near: bool = False

    def __str__(self) -> str:
        if not self.column:
            return self.wanted
        where = f"line {self.line + 2}" + (f" ({self.who})" if self.who else "")
        return f"{where}, {self.column}: {self.stored or 'nothing'} stored, {self.wanted or 'nothing'} from the cells"


def _csv_differences(name: str, stored: bytes, wanted: bytes, *, exact: bool) -> list[_Difference]:
    """Every value of a CSV file that is not what it should be; `near` is never set where `exact`."""
    if stored == wanted:
        return []
    try:
        ours = list(csv.reader(io.StringIO(stored.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        return [_Difference(0, "", "", "not readable as CSV")]
    theirs = list(csv.reader(io.StringIO(wanted.decode("utf-8"), newline="")))
    if len(ours) != len(theirs):
        return [_Difference(0, "", "", f"{len(ours)} lines stored, {len(theirs)} from the cells")]
    if not ours or ours[0] != theirs[0]:
        return [_Difference(0, "", "", "other columns than the cells give")]
    header = ours[0]
    named = [header.index(key) for key in ("model", "task", "variant") if key in header]
    found = []
    for line, (mine, right) in enumerate(zip(ours[1:], theirs[1:], strict=True)):
        if len(mine) != len(header):
            found.append(_Difference(line, "", "", f"line {line + 2} has {len(mine)} fields, not {len(header)}"))
            continue
        for column, held, value in zip(header, mine, right, strict=True):
            if held != value:
                who = "/".join(right[index] for index in named)
                found.append(_Difference(line, column, held, value, who, near=not exact and _near(held, value)))
    return found or [_Difference(0, "", "", "written in another way (quotes, blanks or line ends)")]


def _near(held: str, value: str) -> bool:
    try:
        return math.isclose(float(held), float(value), rel_tol=LAST_DIGIT, abs_tol=1e-9)
    except ValueError:
        return False


def _tell(name: str, differences: Sequence[_Difference], report: Report) -> None:
    far = [found for found in differences if not found.near]
    report.problems += [f"{name}: {found}" for found in far[:NAMED]]
    if len(far) > NAMED:
        report.problems.append(f"{name}: and {len(far) - NAMED} more values")
    near = len(differences) - len(far)
    if near:
        report.remarks.append(f"{name}: {near} values differ in the last digit from what this processor computes")


def _parquet(folder: Path, changed: bool, rows: Sequence[Mapping[str, object]], report: Report) -> None:
    file = folder / "rows.parquet"
    if not file.is_file():
        return
    try:
        table = pq.read_table(file)
        stored = csv_bytes(table.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        report.problems.append(f"rows.parquet: not readable ({reason})")
        return
    wanted = pq.read_table(pa.BufferReader(parquet_bytes(rows)))
    if not table.schema.equals(wanted.schema):
        report.problems.append("rows.parquet: other columns or types than the cells give")
        return
    held = csv_bytes(wanted.to_pylist())
    if stored != held:
        _tell("rows.parquet", _csv_differences("rows.parquet", stored, held, exact=changed), report)


def _first_difference(held: bytes, wanted: bytes) -> str:
    ours, theirs = (content.decode("utf-8", errors="replace").splitlines() for content in (held, wanted))
    for number, (mine, right) in enumerate(zip(ours, theirs, strict=False), 1):
        if mine != right:
            at = next(
                (i for i, (a, b) in enumerate(zip(mine, right, strict=False)) if a != b), min(len(mine), len(right))
            )
            start = max(0, at - 30)
            return f"line {number}: {mine[start : at + 30]!r} stored, {right[start : at + 30]!r} from the cells"
    return f"{len(ours)} lines stored, {len(theirs)} from the cells, or other line ends"
