"""Is a snapshot what its cells give? Every table is made again and compared, every file is held against the manifest.

Two processors can differ in the last of the six published digits, because floating-point sums are formed in another
order. Such a digit is a remark, not a fault, as long as the file is the one whose checksum the manifest holds; a file
that was changed afterwards is compared digit by digit.

What another formula made than today's (`suite.publish.formulas`) cannot be made again: it is held to its checksum.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from suite.config import Protocol, RunConfig, read_config
from suite.errors import SuiteError
from suite.metrics.figures import ROW_KEYS
from suite.metrics.sample import Settings
from suite.publish.figures import FOLDER
from suite.publish.formulas import ANALYSES, PAGES, Held, damaged, find_held
from suite.publish.manifest import NAME as MANIFEST
from suite.publish.manifest import describe, file_digest, read_manifest
from suite.publish.records import csv_bytes, fields_bytes, parquet_bytes
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
        held: whether some of it could not be made again and was held to the checksums of the manifest.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    cells: int = 0
    files: int = 0
    held: bool = False


def verify(folder: str | Path) -> Report:
    """Check a snapshot.

    Returns:
        The report; `problems` names every file, cell, row and digit that differs.

    Raises:
        SuiteError: the folder is no snapshot.
    """
    folder, report = Path(folder), Report()
    manifest, report.problems = read_manifest(folder)
    if not manifest:
        return report
    changed = _files(folder, manifest["files"], report)
    if damaged(manifest):
        report.problems.append(f"{MANIFEST}: its formula numbers are damaged")
        return report
    held = find_held(manifest, _header(folder / "rows.csv"))
    try:
        config = read_config(folder / "config.yaml") if (folder / "config.yaml").is_file() else None
        protocol = config.protocol if config else _stored_protocol(manifest)
        computed = compute(folder, config)
    except SuiteError as error:
        report.problems.append(str(error).replace(f"{folder}/", ""))
        return report
    report.cells = len(computed.cells)
    _description(folder, manifest, computed, config, protocol, held, report)
    _tables(folder, changed, computed, held, report)
    report.remarks += held.remarks(manifest["files"])
    report.held = bool(held.columns or held.files)
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
    held: Held,
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
    expected = set(taken_files(folder)) | {"rows.csv", "rows.parquet", "ranking.csv", "equal-megabytes.csv"}
    expected |= {*computed.assessed, *PAGES} - {FOLDER} - set(held.files)
    if FOLDER not in held.files:
        expected |= {f"{FOLDER}/{picture.name}" for picture in computed.pictures(computed.rows, draw=False)}
    for name in sorted(expected - set(manifest["files"]) - set(present_files(folder))):
        report.problems.append(f"{name}: missing, and not in the manifest either")


def _verdicts(
    folder: Path, name: str, content: list[Any], changed: Sequence[str], report: Report
) -> tuple[list[Any], list[Any]]:
    """A verdict file as it should be stored, and as the pages of this snapshot show it.

    Of records, the keys that the file has: it may be older than the others. Where the file differs from the cells' by
    rounding alone, its published contents.
    """
    raw = _read(folder / name)
    if raw is None:
        return content, content
    try:
        stored = json.loads(raw)
    except ValueError:
        return content, content
    known = {key for one in stored if isinstance(one, dict) for key in one} if isinstance(stored, list) else set()
    absent = sorted({key for one in content for key in one} - known) if known else []
    wanted = [{key: one[key] for key in one if key not in absent} for one in content]
    if absent:
        report.remarks.append(f"{name}: written without {', '.join(absent)}")
    if name in changed or raw == json_bytes(wanted) or not _alike(stored, wanted):
        return wanted, content
    report.remarks.append(f"{name}: differs in the last digit from what this processor computes")
    return stored, [whole | part for whole, part in zip(content, stored, strict=True)]


def _alike(stored: Any, wanted: Any) -> bool:
    """Equal but for the last digit of numbers."""
    if isinstance(stored, float) and isinstance(wanted, float):
        return math.isclose(stored, wanted, rel_tol=LAST_DIGIT, abs_tol=1e-9)
    if isinstance(stored, list) and isinstance(wanted, list):
        return len(stored) == len(wanted) and all(map(_alike, stored, wanted))
    if isinstance(stored, dict) and isinstance(wanted, dict):
        return stored.keys() == wanted.keys() and all(_alike(stored[key], wanted[key]) for key in stored)
    return bool(stored == wanted) and type(stored) is type(wanted)


def _tables(folder: Path, changed: Sequence[str], computed: Computed, held: Held, report: Report) -> None:
    stored = _read(folder / "rows.csv")
    rows = [dict(row) for row in computed.rows]
    if stored is not None:
        report.problems += [f"rows.csv: lacks the column {column}" for column in held.lacking]
        differences = _csv_differences(stored, csv_bytes(rows), exact="rows.csv" in changed, held=held.columns)
        _tell("rows.csv", differences, report)
        # what follows is made from the digits that were published, as far as they are right
        for found in differences:
            if found.near and found.column:
                rows[found.line][found.column] = float(found.stored)
    _parquet(folder, "rows.parquet" in changed, rows, stored, held, report)
    assessed: dict[str, list[Any]] = {}
    for name, content in computed.assessed.items():
        if name in held.files:
            continue
        wanted, assessed[name] = _verdicts(folder, name, content, changed, report)
        _text(folder, name, json_bytes(wanted), report)
    for name in sorted(set(FILES.values()) - set(computed.assessed) - set(held.files)):
        if (folder / name).is_file():
            report.problems.append(f"{name}: nothing of the kind follows from the cells")
    names = set(PAGES) | set(ANALYSES) - set(FILES.values())
    if names <= set(held.files):
        return
    texts = snapshot_texts(
        computed, rows, computed.pictures(rows, draw=False), assessed={**computed.assessed, **assessed}
    )
    for name in sorted(names & set(texts) - set(held.files)):
        if name not in _CSV:
            _text(folder, name, texts[name], report)
        elif (stored := _read(folder / name)) is not None:
            absent = [column for column in _columns(texts[name]) if column not in _columns(stored)]
            if absent:
                report.remarks.append(f"{name}: written without {', '.join(absent)}")
            _tell(name, _csv_differences(stored, texts[name], exact=name in changed), report)


def _text(folder: Path, name: str, wanted: bytes, report: Report) -> None:
    stored = _read(folder / name)
    if stored is not None and stored != wanted:
        report.problems.append(f"{name}: {_first_difference(stored, wanted)}")


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


def _parsed(content: bytes) -> list[list[str]]:
    """The lines of a CSV file; none where it is not readable."""
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error):
        return []


def _columns(content: bytes) -> list[str]:
    return next(iter(_parsed(content)), [])


def _header(file: Path) -> list[str]:
    return _columns(_read(file) or b"")


def _csv_differences(stored: bytes, wanted: bytes, *, exact: bool, held: Collection[str] = ()) -> list[_Difference]:
    """Every value of a CSV file that is not what it should be; `near` is never set where `exact`.

    Compared on the columns that the file has, but for those that are held.
    """
    if stored == wanted:
        return []
    ours, theirs = _parsed(stored), _parsed(wanted)
    if not ours:
        return [_Difference(0, "", "", "not readable as CSV")]
    if len(ours) != len(theirs):
        return [_Difference(0, "", "", f"{len(ours)} lines stored, {len(theirs)} from the cells")]
    header = ours[0]
    places = {column: place for place, column in enumerate(theirs[0])}
    known = [places[column] for column in header if column in places]
    if known != sorted(set(known)) or any(column not in places and column not in held for column in header):
        return [_Difference(0, "", "", "other columns than the cells give")]
    named = [places[key] for key in ("model", "task", "variant") if key in places]
    apart = {column for column in ROW_KEYS if column in held or column not in header}
    found = []
    for line, (mine, right) in enumerate(zip(ours[1:], theirs[1:], strict=True)):
        if len(mine) != len(header):
            found.append(_Difference(line, "", "", f"line {line + 2} has {len(mine)} fields, not {len(header)}"))
            continue
        for column, stands in zip(header, mine, strict=True):
            if column in held or stands == (value := right[places[column]]):
                continue
            if column == "notes" and _but(stands, apart) == _but(value, apart):
                continue
            who = "/".join(right[index] for index in named)
            found.append(_Difference(line, column, stands, value, who, near=not exact and _near(stands, value)))
    if not found and fields_bytes(ours) != stored:
        return [_Difference(0, "", "", "written in another way (quotes, blanks or line ends)")]
    return found


def _but(notes: str, apart: Collection[str]) -> object:
    """Notes without those of the columns that are not compared."""
    try:
        content = json.loads(notes)
    except ValueError:
        return notes
    return {key: content[key] for key in content if key not in apart} if isinstance(content, dict) else notes


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


def _parquet(
    folder: Path,
    changed: bool,
    rows: Sequence[Mapping[str, object]],
    stored_rows: bytes | None,
    held: Held,
    report: Report,
) -> None:
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
    right = pq.read_table(pa.BufferReader(parquet_bytes(rows)))
    compared = [column for column in table.column_names if column not in held.columns]
    if (
        not set(compared) <= set(right.column_names)
        or not table.select(compared).schema.equals(right.select(compared).schema)
        or (stored_rows is not None and table.column_names != _columns(stored_rows))
    ):
        report.problems.append("rows.parquet: other columns or types than the cells give")
        return
    wanted = csv_bytes(right.to_pylist())
    if stored != wanted:
        differences = _csv_differences(stored, wanted, exact=changed, held=held.columns)
        _tell("rows.parquet", differences, report)
    if stored_rows is not None and held.columns:
        _same_values(stored, stored_rows, held, report)


def _same_values(parquet: bytes, table: bytes, held: Held, report: Report) -> None:
    """Columns that cannot be made again must at least be the same in both files."""
    ours, theirs = _parsed(parquet), _parsed(table)
    for number, (mine, right) in enumerate(zip(ours[1:], theirs[1:], strict=False), 2):
        for column, held_here, held_there in zip(theirs[0], mine, right, strict=False):
            if column in held.columns and not _equal(held_here, held_there):
                report.problems.append(
                    f"rows.parquet: line {number}, {column}: {held_here or 'nothing'} stored, "
                    f"{held_there or 'nothing'} in rows.csv"
                )


def _equal(one: str, other: str) -> bool:
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False


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
