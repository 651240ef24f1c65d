"""Is a snapshot what its cells give? Every fact is made again and compared, every file is held against the manifest.

Facts are rows, standings, verdicts and what the manifest says of the cells, compared on the columns and keys that the
snapshot has: what today's code has beside them, or no longer makes, is a remark. Pages and pictures show facts; they
are held to their checksums, and pages are made again where the code that runs is, byte for byte, the code that
published. So no change of words, style or columns makes an older snapshot wrong.

Two processors can differ in the last of the six published digits, because floating-point sums are formed in another
order. Such a digit is a remark, not a fault, as long as the file is the one whose checksum the manifest holds; a file
that was changed afterwards is compared digit by digit.

What another formula made than today's (`suite.publish.formulas`) cannot be made again: it is held to its checksum.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from suite.config import Protocol, RunConfig, config_in
from suite.decisions.analyses import ANALYSES
from suite.errors import SuiteError, first_line
from suite.files import file_digest, json_bytes
from suite.metrics.figures import ROW_KEYS
from suite.publish.agreement import (
    LAST,
    Difference,
    columns,
    compare_records,
    compare_tables,
    first_difference,
    parsed,
    paths,
)
from suite.publish.figures import FOLDER
from suite.publish.formulas import IDENTITY, PAGES, Held, find_held
from suite.publish.manifest import NAME as MANIFEST
from suite.publish.manifest import code_hash, describe, distinct, read_environment, read_manifest
from suite.publish.records import csv_bytes, parquet_bytes
from suite.publish.snapshot import (
    TAKEN,
    Computed,
    compute,
    present_files,
    snapshot_texts,
    taken_files,
)
from suite.publish.standings import standings_texts

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
        held: whether some facts could not be made again and were held to the checksums of the manifest.
        drawn: whether pages were made again and compared, because the code that runs is the code that published.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    cells: int = 0
    files: int = 0
    held: bool = False
    drawn: bool = False

    @property
    def conclusion(self) -> str:
        """What holds where there is no problem."""
        found = "what can be made again" if self.held else "everything" if self.drawn else "every table and verdict"
        pages = "" if self.drawn else ", pages and pictures are as published"
        return f"{self.cells} cells, {self.files} files: {found} is what the cells give{pages}"


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
    held = find_held(manifest, columns(_read(folder / "rows.csv") or b"") or ROW_KEYS)
    report.drawn = manifest.get("suite", {}).get("code") == code_hash()
    try:
        config = config_in(folder)
        protocol = config.protocol if config else _stored_protocol(manifest)
        computed = compute(folder, config)
    except SuiteError as error:
        report.problems.append(str(error).replace(f"{folder}/", ""))
        return report
    report.cells = len(computed.cells)
    _description(folder, manifest, computed, config, protocol, held, report)
    _facts(folder, changed, computed, held, report)
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
        if name.startswith(("cells/", f"{FOLDER}/")) or name in (*_CSV, *TAKEN, *ANALYSES, "rows.parquet"):
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
        return Protocol(**manifest["protocol"])
    except (KeyError, TypeError, SuiteError) as error:
        raise SuiteError(f"{MANIFEST}: its protocol is damaged, and there is no config.yaml") from error


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
    for key in _compared_keys(manifest, wanted, report):
        stored, now = manifest.get(key), wanted[key]
        if not report.drawn and key != "library_versions":
            stored, now = _on_common_keys(stored, now)
        if stored != now:
            report.problems.append(f"{MANIFEST}: {key!r} is not what cells, configuration and environment say")
    made = {*standings_texts(computed.standings), *computed.records}
    expected = {*taken_files(folder), "rows.csv", "rows.parquet", *PAGES, *made} - {*held.files, *held.newer}
    if report.drawn:
        expected |= {f"{FOLDER}/{picture.name}" for picture in computed.pictures(computed.rows, draw=False)}
    for name in sorted(expected - set(manifest["files"]) - set(present_files(folder))):
        report.problems.append(f"{name}: missing, and not in the manifest either")
    report.remarks += [f"written without {name}" for name in held.newer if name in made]


def _compared_keys(manifest: Mapping[str, Any], wanted: Mapping[str, Any], report: Report) -> list[str]:
    """What a manifest says of the cells and can be asked for: all of it where the same code wrote it."""
    if report.drawn:
        return list(wanted)
    apart = [key for key in wanted if key not in manifest]
    if "sample_texts" in apart and "seeds" in manifest:
        apart.append("seeds")  # without sample texts these were other seeds
    newer = paths(wanted) - paths({key: manifest[key] for key in wanted if key in manifest})
    newer -= {path for path in newer if path.startswith("library_versions.")}
    if newer:
        report.remarks.append(f"{MANIFEST}: written without {', '.join(sorted(newer))}")
    return [key for key in wanted if key not in apart]


def _on_common_keys(stored: Any, wanted: Any) -> tuple[Any, Any]:
    """Two records, or two lists of distinct records, reduced to the keys that both sides know."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        both = {key: _on_common_keys(stored[key], wanted[key]) for key in stored.keys() & wanted.keys()}
        return {key: one for key, (one, _) in both.items()}, {key: other for key, (_, other) in both.items()}
    if not (isinstance(stored, list) and isinstance(wanted, list) and paths(stored) and paths(wanted)):
        return stored, wanted
    common = paths(stored) & paths(wanted)
    ours, theirs = (
        distinct({key: one[key] for key in one if key in common} if isinstance(one, dict) else {} for one in side)
        for side in (stored, wanted)
    )
    return ours, theirs


def _facts(folder: Path, changed: Sequence[str], computed: Computed, held: Held, report: Report) -> None:
    """Rows, analyses, and where the same code made them, pages."""
    stored = _read(folder / "rows.csv")
    rows = [dict(row) for row in computed.rows]
    if stored is not None:
        report.problems += [f"rows.csv: lacks the column {column}" for column in held.lacking]
        rows = rows if report.drawn else _in_stored_order(parsed(stored), rows, report)
        # what follows is made from the digits that were published, as far as they are right
        for found in _table("rows.csv", stored, csv_bytes(rows), changed, report, held=held.columns):
            if found.excuse == LAST:
                rows[found.line][found.column] = float(found.stored)
    _parquet(folder, changed, rows, stored, held, report)
    tables, shown = standings_texts(computed.standings), dict(computed.records)
    for name in sorted({*tables, *shown} - {*held.files, *held.newer}):
        if (stored := _read(folder / name)) is not None:
            if name in shown:
                shown[name] = _records(name, stored, shown[name], changed, report)
            else:
                _table(name, stored, tables[name], changed, report)
    for name in sorted(set(ANALYSES) - {*computed.records, *held.files}):
        if (folder / name).is_file():
            report.problems.append(f"{name}: nothing of the kind follows from the cells")
    if report.drawn:
        texts = snapshot_texts(computed, rows, computed.pictures(rows, draw=False), records=shown)
        for name in PAGES:
            if (stored := _read(folder / name)) is not None:
                _text(name, stored, texts[name], report)


def _in_stored_order(
    stored: Sequence[Sequence[str]], rows: list[dict[str, object]], report: Report
) -> list[dict[str, object]]:
    """The rows in the order of a table, where both hold the same cells."""
    header = stored[0] if stored else []
    if not set(IDENTITY) <= set(header):
        return rows
    places = [header.index(key) for key in IDENTITY]
    order = [[line[place] for place in places if place < len(line)] for line in stored[1:]]
    now = parsed(csv_bytes([{key: row.get(key) for key in IDENTITY} for row in rows]))[1:]
    if order == now or sorted(order) != sorted(now) or len({*map(tuple, now)}) < len(now):
        return rows
    report.remarks.append("rows.csv: in another order than today's")
    return [rows[now.index(cell)] for cell in order]


def _records(name: str, stored: bytes, content: list[Any], changed: Sequence[str], report: Report) -> list[Any]:
    """Compare a file of records; returns them as pages of this snapshot show them."""
    try:
        found = json.loads(stored)
    except (ValueError, RecursionError):
        found = None
    wanted, remarks = compare_records(found, content, near=name not in changed, strict=report.drawn)
    report.remarks += [f"{name}: {remark}" for remark in remarks]
    _text(name, stored, json_bytes(wanted), report)
    return wanted


def _table(
    name: str,
    stored: bytes,
    wanted: bytes,
    changed: Sequence[str],
    report: Report,
    *,
    held: Collection[str] | None = None,
) -> list[Difference]:
    """Compare a table; returns the values that differ."""
    found, remarks = compare_tables(stored, wanted, near=name not in changed, strict=report.drawn, held=held)
    wrong = [f"{name}: {one}" for one in found if not one.excuse]
    report.problems += wrong[:NAMED]
    if len(wrong) > NAMED:
        report.problems.append(f"{name}: and {len(wrong) - NAMED} more values")
    report.remarks += [f"{name}: {remark}" for remark in remarks]
    return found


def _text(name: str, stored: bytes, wanted: bytes, report: Report) -> None:
    if stored != wanted:
        report.problems.append(f"{name}: {first_difference(stored, wanted)}")


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _parquet(
    folder: Path,
    changed: Sequence[str],
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
        report.problems.append(f"rows.parquet: not readable ({first_line(error)})")
        return
    right = pq.read_table(pa.BufferReader(parquet_bytes(rows)))
    compared = [column for column in table.column_names if column not in held.columns]
    if (
        not set(compared) <= set(right.column_names)
        or not table.select(compared).schema.equals(right.select(compared).schema)
        or (stored_rows is not None and table.column_names != columns(stored_rows))
    ):
        report.problems.append("rows.parquet: other columns or types than the cells give")
        return
    _table("rows.parquet", stored, csv_bytes(right.to_pylist()), changed, report, held=held.columns)
    if stored_rows is not None and held.columns:
        _same_values(stored, stored_rows, held, report)


def _same_values(parquet: bytes, table: bytes, held: Held, report: Report) -> None:
    """Columns that cannot be made again must at least be the same in both files."""
    ours, theirs = parsed(parquet), parsed(table)
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
