"""Cells that are scored already, taken from a published snapshot or another run directory instead of scored again.

``--cells-from`` takes every cell of equal content key: somebody else's unfinished run is carried on. ``--dense-from``
takes dense cells alone, which may have been computed in another dtype or on another device, so that a team scores its
own variants alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from suite.cell import Cell, load_cells, read_cell
from suite.errors import SuiteError
from suite.files import file_digest
from suite.models.gguf_tokenizer import tokenizer_identity
from suite.models.model import content_parts
from suite.publish.manifest import NAME, read_manifest
from suite.run.plan import PlannedCell

SUPERSEDED = ".superseded"
"""Where a run directory keeps cells whose name another cell has now."""

Put = Callable[[Cell, Path], object]
"""What writes a cell at its place."""


def take_cells(
    source: str | Path, plan: Sequence[PlannedCell], put: Put, log: Callable[[str], None], *, whole: bool = True
) -> int:
    """Put every cell that has the content key of a planned one where a run expects it; returns how many are there.

    Such a cell is what this run would score: same weights, tokens, recipe, items, prompt, read-out, dtype and kind of
    device. It stays as it is, with the processor and versions it was scored with. A damaged one, or one that is not the
    file its snapshot's manifest lists, is named and left.

    Args:
        source: a snapshot, or a run directory, finished or not.
        whole: the plan is of all cells of the run; of a part of them none may be there yet, which is logged.

    Raises:
        SuiteError: no such folder, an edited manifest, or no cell that this run wants where the plan is whole.
    """
    source = Path(source)
    if not (source / "cells").is_dir():
        raise SuiteError(f"--cells-from {source}: no cells in it; name a snapshot or a run directory")
    listed = _listed(source)
    known = known_keys(source, lambda line: log(f"--cells-from: {line}"))

    def find(cell: PlannedCell) -> Cell | str:
        for file in reversed(known.get(cell.key, [])):
            digest = listed.get(file.relative_to(source).as_posix())
            if digest in (None, file_digest(file)):
                return renamed(read_cell(file), cell)
            log(f"--cells-from: {file}: is not the file that {NAME} lists; left")
        return (
            f"{cell.label}: no cell of its content key there (weights, recipe, items, prompt, dtype and device count)"
        )

    taken, reasons = _take(plan, find, put)
    if not taken and whole:
        raise SuiteError(f"--cells-from {source}: no cell fits this run; {reasons[0]}")
    if not taken:
        log(f"--cells-from: {reasons[0]}")
    return taken


def take_dense(snapshot: str | Path, plan: Sequence[PlannedCell], put: Put, log: Callable[[str], None]) -> int:
    """Put the dense cells of a snapshot where a run expects them; returns how many are there.

    A cell is taken only when the snapshot verifies and it holds the same model by the hash of its weights, the same
    task, items, prompt text and read-out. Its dtype and device may differ from the run's: both stay recorded in the
    cell, with the checksum of the snapshot's manifest under `run.taken_from`. A cell that is there already stays.

    Raises:
        SuiteError: the snapshot does not verify, or has no dense cell that this run wants.
    """
    from suite.publish.verify import verify

    report = verify(snapshot)
    if report.problems:
        raise SuiteError(f"--dense-from {snapshot}: does not verify ({report.problems[0]}); 'suite verify' says more")
    origin = read_manifest(snapshot)[0]["checksum"]
    stored = {cell.key: cell for cell in load_cells([snapshot]) if cell.is_dense}

    def find(cell: PlannedCell) -> Cell | str:
        found = stored.get(cell.names)
        if found is None:
            return f"{cell.label}: not in the snapshot"
        return _other(found, cell) or replace(found, run={**found.run, "key": cell.key, "taken_from": origin}, path="")

    taken, reasons = _take([cell for cell in plan if cell.variant.name == "dense"], find, put)
    for reason in reasons:
        log(f"--dense-from: {reason}; this run scores it")
    if not taken:
        raise SuiteError(
            f"--dense-from {snapshot}: no dense cell fits this run; {reasons[0] if reasons else 'none is planned'}"
        )
    return taken


def known_keys(folder: Path, log: Callable[[str], None]) -> dict[str, list[Path]]:
    """Where the cells of a run directory are, by content key; a damaged cell is named and does not count."""
    known: dict[str, list[Path]] = {}
    for file in [*sorted((folder / SUPERSEDED).glob("*.parquet")), *sorted((folder / "cells").rglob("*.parquet"))]:
        if file.name.startswith("."):
            continue
        try:
            key = read_cell(file).run.get("key")
        except SuiteError as error:
            log(f"{error} (this run does so if it needs it)")
            continue
        if key:
            known.setdefault(key, []).append(file)
    return known


def renamed(found: Cell, cell: PlannedCell) -> Cell:
    """A cell of equal content, its model called as this run calls it."""
    model = {**found.model, "name": cell.model.name, "id": cell.model.id, "revision": cell.model.revision}
    return replace(found, model=model, path="")


def _take(plan: Sequence[PlannedCell], find: Callable[[PlannedCell], Cell | str], put: Put) -> tuple[int, list[str]]:
    """How many of the cells are there then, and of each of the others why not, as `find` says."""
    taken, reasons = 0, []
    for cell in plan:
        if _is_there(cell):
            taken += 1
        elif isinstance(found := find(cell), str):
            reasons.append(found)
        else:
            put(found, cell.path)
            taken += 1
    return taken, reasons


def _is_there(cell: PlannedCell) -> bool:
    try:
        return cell.path.is_file() and read_cell(cell.path).run.get("key") == cell.key
    except SuiteError:  # damaged; another one takes its place
        return False


def _listed(folder: Path) -> dict[str, str]:
    """Checksums of the files of a snapshot; none for a run directory that was never published."""
    if not (folder / NAME).is_file():
        return {}
    content, problems = read_manifest(folder)
    if problems:
        raise SuiteError(f"--cells-from {folder}: {problems[0]}; 'suite verify' says more")
    return dict(content["files"])


def _other(found: Cell, cell: PlannedCell) -> str:
    """Why a stored cell is not the planned one; empty where it is."""
    sheet = cell.sheet
    if found.task.get("prompt_hash") != sheet.prompt_hash or found.ids != tuple(item.id for item in sheet.questions):
        return f"{cell.label}: other items or another prompt"
    weights = {value for value in content_parts(cell.model).values() if value}
    if found.model.get("weights_hash") not in weights:
        return f"{cell.label}: the model here has other weights"
    if cell.model.path.is_file() and found.model.get("tokenizer_build") != tokenizer_identity(cell.model.path):
        return f"{cell.label}: the model's file was read with another tokenizer then"
    return ""
