"""Files of the published six-option tasks, a few invented items each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILES = {
    "qa": ("mmlu_10k", "MMLU", (1, 3, 5, 7, 9)),
    "rc": ("cosmosqa_10k", "CosmosQA", (1, 3, 5, 7, 9)),
    "ci": ("hellaswag_10k", "HellaSwag", (1, 3, 5, 7, 9)),
    "drs": ("halu_dialogue", "Halu-OpenDialKG", (5, 7, 9)),
    "ds": ("halu_summarization", "Halu-CNN/DailyMail", (9,)),
}


def record(row: int, source: str) -> dict[str, Any]:
    """An invented question of the benchmark's format; row 2 asks what the golden prompts below show."""
    texts = ["iron", "the moon", "light", f"stone {row}", "I don't know", "None of the above"]
    return {
        "id": row,
        "source": source,
        "task": "whatever",
        "context": "" if source == "MMLU" else f"Bell {row} is made of metal.",
        "question": f"What is bell {row} made of?",
        "choices": dict(zip("ABCDEF", texts, strict=True)),
        "answer": "ABCD"[row % 4],
    }


def write(folder: Path, name: str, records: list[Any], indent: int | None = 1) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(records, indent=indent), encoding="utf-8")
    return path
