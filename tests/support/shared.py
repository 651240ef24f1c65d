"""Data that is not in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(name: str) -> Path:
    """A file or folder of the data beside the repository; where it is missing, the test is skipped and says so."""
    root = Path(os.environ.get("SUITE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    path = root / name
    if not path.exists():
        pytest.skip(f"{name} is not in {root}; set SUITE_SHARED to the folder that holds it")
    return path
