"""A task in a file, and folders as they are listed and spoiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

QUESTIONS = [
    {
        "id": f"q{index}",
        "question": f"Which of these is number {index}?",
        "choices": ["iron", "light", "water", "the moon"][: 3 + index % 2],
        "answer_index": index % 3,
        "subject": "metals" if index % 2 else "plants",
    }
    for index in range(12)
]


def write_task(path: Path, records: list[dict[str, Any]] = QUESTIONS) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def spoil(folder: Path) -> None:
    """Write NaN into the last weight of a checkpoint."""
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[:-4] + np.float32(np.nan).tobytes())
