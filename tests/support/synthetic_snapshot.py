"""Run directories made of invented scores, small enough to publish and verify in a second."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.synthetic_cells import synthetic_cells

from suite.cell import Cell, write_cell
from suite.config import Protocol, RunConfig, TaskChoice, read_config
from suite.publish.snapshot import write_snapshot
from suite.variant import known_variant

PROTOCOL = Protocol(splits=4, replicates=30)


def write_run(folder: Path, cells: Sequence[Cell], *, protocol: Protocol = PROTOCOL) -> Path:
    """A run directory that holds these cells, with its configuration."""
    for cell in cells:
        write_cell(cell.key.path(folder), cell)
    names = {str(cell.variant["name"]) for cell in cells}
    config = RunConfig(
        models=tuple(sorted({str(cell.model["name"]) for cell in cells})),
        tasks=tuple(TaskChoice(name) for name in sorted({str(cell.task["name"]) for cell in cells})),
        variants=("dense", *sorted(name for name in names - {"dense"} if known_variant(name) is not None)),
        protocol=protocol,
    )
    (folder / "config.yaml").write_text(f"# {config.hash}\n{config.to_yaml()}", encoding="utf-8")
    (folder / "environment.json").write_text('{"cores": 2, "machine": "x86_64", "versions": {"suite": "0.1.0"}}\n')
    return folder


def publish(run: Path, out: Path) -> Path:
    """The snapshot of a run directory, in another folder."""
    write_snapshot(run, read_config(run / "config.yaml"), out)
    return out


def small_snapshot(
    folder: Path,
    *,
    models: Mapping[str, float] | None = None,
    variants: Sequence[str] = ("dense", "rtn-w4", "rtn-w2"),
    tasks: Mapping[str, int] | None = None,
    n: int = 40,
) -> Path:
    """A snapshot under `folder`, which also keeps the run directory it was made from."""
    cells = synthetic_cells(models=models, variants=variants, tasks=tasks or {"sciq": 4}, n=n)
    return publish(write_run(folder / "run", cells), folder / "snapshot")


def sign(folder: Path, edit: Callable[[dict[str, Any]], object] = lambda _: None) -> None:
    """Write the manifest's checksums anew, as a forger would, or an older suite after other changes."""
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    del content["checksum"]
    edit(content)
    content["files"] = {
        path.relative_to(folder).as_posix(): "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != file
    }

    def text(value: object) -> str:
        return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    content["checksum"] = "sha256:" + hashlib.sha256(text(content).encode()).hexdigest()
    file.write_text(text(content))


def another_digit(file: Path, column: str = "") -> None:
    """Change one value of a table's second line, or the last digit of any other file."""
    raw = file.read_text(encoding="utf-8")
    if column:
        header, *lines = csv.reader(io.StringIO(raw, newline=""))
        at = header.index(column)
        lines[1][at] = f"{float(lines[1][at]) + 0.125:.6g}"
        sink = io.StringIO(newline="")
        csv.writer(sink, lineterminator="\n").writerows([header, *lines])
        changed = sink.getvalue()
    else:
        place = [match.start() for match in re.finditer(r"\d", raw)][-1]
        changed = raw[:place] + str((int(raw[place]) + 5) % 10) + raw[place + 1 :]
    assert changed != raw
    file.write_text(changed, encoding="utf-8")
