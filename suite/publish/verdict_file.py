"""verdicts.json of a run directory or a snapshot: a JSON array, one object a curve and metric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.cell import Cell
from suite.errors import SuiteError
from suite.publish.fields import Row

NAME = "verdicts.json"
KEYS = (
    *("model", "method", "family", "task", "metric", "verdict", "level", "level_low", "level_high", "end_of_curve"),
    *("jump", "jump_low", "jump_high", "jump_of_headroom", "p_value", "p_value_raw", "minimum_detectable", "notes"),
)


def read_verdicts(folder: Path) -> list[dict[str, Any]] | None:
    """The verdicts kept beside the cells; None where there are none.

    Raises:
        SuiteError: the file is no JSON array of objects with `model`, `task` and `verdict`.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SuiteError(f"{file}: not valid JSON; remove it, or write it again with 'suite collapse'") from error
    wanted = {"model", "task", "verdict"}
    if not isinstance(found, list) or not all(isinstance(entry, dict) and wanted <= set(entry) for entry in found):
        raise SuiteError(f"{file}: not an array of verdicts; remove it, or write it again with 'suite collapse'")
    return found


def verdict_bytes(verdicts: Sequence[dict[str, Any]]) -> bytes:
    """Verdicts as the text of verdicts.json: the same verdicts give the same bytes."""
    return (json.dumps(list(verdicts), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def recompute_verdicts(cells: Sequence[Cell], rows: Sequence[Row]) -> list[dict[str, Any]] | None:
    """What the cells give; None while verdicts are not part of the recomputation.

    `suite verify` then holds a stored verdicts.json against its checksum alone, and says so.
    """
    del cells, rows
    return None
