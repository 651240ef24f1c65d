"""Cells that were asked for and could not be scored, as a run recorded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.files import read_object


def read_failures(folder: Path) -> list[dict[str, Any]]:
    """The recorded failures of a run directory or a snapshot, in order of their paths.

    Raises:
        SuiteError: a record that is no JSON object.
    """
    files = sorted((folder / "cells").rglob("*.failed.json"))
    return [read_object(file, "remove this record of a failed cell, or run again") for file in files]
