"""Cells that were asked for and could not be scored, as a run recorded them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from suite.errors import SuiteError


def read_failures(folder: Path) -> list[dict[str, Any]]:
    """The recorded failures of a run directory or a snapshot, in order of their paths.

    Raises:
        SuiteError: a record that is no JSON object.
    """
    records = []
    for file in sorted((folder / "cells").rglob("*.failed.json")):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SuiteError(f"{file}: damaged record of a failed cell; remove it, or run again") from error
        if not isinstance(record, dict):
            raise SuiteError(f"{file}: not a record of a failed cell; remove it, or run again")
        records.append(record)
    return records
