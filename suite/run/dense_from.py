"""Dense cells from a published snapshot, so that a team scores its own variants alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from suite.cell import Cell, load_cells, read_cell, write_cell
from suite.errors import SuiteError
from suite.models.gguf_tokenizer import tokenizer_identity
from suite.models.model import content_parts
from suite.publish.verify import verify
from suite.run.plan import PlannedCell


def take_dense(snapshot: str | Path, planned: Sequence[PlannedCell], log: Callable[[str], None]) -> int:
    """Put the dense cells of a snapshot where a run expects them; returns how many.

    A cell is taken only when the snapshot verifies and it holds the same model by the hash of its weights, the same
    task, items, prompt text and read-out. Its dtype and device may differ from the run's: both stay recorded in the
    cell, with the checksum of the snapshot's manifest under `run.taken_from`. A cell that is there already stays.

    Raises:
        SuiteError: the snapshot does not verify, or has no dense cell that this run wants.
    """
    report = verify(snapshot)
    if report.problems:
        raise SuiteError(f"--dense-from {snapshot}: does not verify ({report.problems[0]}); 'suite verify' says more")
    from suite.publish.manifest import read_manifest

    origin = read_manifest(snapshot)[0]["checksum"]
    stored = {cell.curve_key: cell for cell in load_cells([snapshot]) if cell.variant["name"] == "dense"}
    reasons: list[str] = []
    taken = 0
    for cell in planned:
        if cell.variant.name != "dense":
            continue
        if cell.path.is_file() and read_cell(cell.path).run.get("key") == cell.key:
            taken += 1
            continue
        sheet = cell.sheet
        found = stored.get((cell.model.name, sheet.task.name, sheet.scoring, sheet.prompt, sheet.shots))
        reason = f"{cell.label}: not in the snapshot" if found is None else _other(found, cell)
        if found is None or reason:
            reasons.append(reason)
            continue
        run = {**found.run, "key": cell.key, "taken_from": origin}
        write_cell(cell.path, replace(found, run=run, path=""))
        taken += 1
    for reason in reasons:
        log(f"--dense-from: {reason}; this run scores it")
    if not taken:
        raise SuiteError(
            f"--dense-from {snapshot}: no dense cell fits this run; {reasons[0] if reasons else 'none is planned'}"
        )
    return taken


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
