"""One score an item from per-sample files of lm-evaluation-harness that hold no option log-likelihoods: generation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.importers.lm_eval_samples import check_unique, item_id

# what every sample has, and no metric is called
_OWN = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_OWN |= {"doc_hash", "prompt_hash", "target_hash"}


@dataclass(frozen=True)
class Judged:
    """One item with what the metrics of its task gave it, those in [0, 1]."""

    id: str
    asked: str
    target: str
    scores: Mapping[str, float]


def read_scores(records: Sequence[tuple[str, dict[str, Any]]], subtask: str) -> list[Judged]:
    """The items of one file under one filter.

    Raises:
        SuiteError: a document twice, or a line that is no sample.
    """
    found = []
    for where, record in records:
        name, asked = item_id(record, where, subtask), json.dumps(record["arguments"], sort_keys=True)
        found.append(
            Judged(
                id=name,
                asked=hashlib.sha256(asked.encode()).hexdigest(),
                target=str(record["target"]),
                scores=_scores(record),
            )
        )
    check_unique([(one.id, where) for one, (where, _) in zip(found, records, strict=True)])
    return found


def choose_metric(items: Sequence[Judged], preferred: Sequence[str]) -> str | None:
    """The metric to compare: a preferred one, else the first that every item has; None without one."""
    common = [name for name in items[0].scores if all(name in one.scores for one in items)]
    return next((name for name in (*preferred, *common) if name in common), None)


def _scores(record: Mapping[str, Any]) -> dict[str, float]:
    named = record.get("metrics")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else [*record]
    values = {name: record.get(name) for name in names if name not in _OWN}
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, bool | int | float) and math.isfinite(value) and 0 <= value <= 1
    }
