"""What exporters read: the rows of a snapshot, its manifest, and its doses with the measure that leads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.publish.doses import EXPLORATORY, Lead
from suite.publish.fields import Fields, number, text
from suite.publish.order import grouped


@dataclass(frozen=True)
class Metric:
    """A figure of a row as others want it described.

    Attributes:
        key: key of the row.
        words: one sentence.
        lower_is_better: None where neither end is better.
        low, high: possible range; `high` is None where there is no bound that holds for every task.
    """

    key: str
    words: str
    lower_is_better: bool | None
    low: float
    high: float | None


EXPORTED = (
    Metric("accuracy", "Fraction of items whose most likely option is right", False, 0.0, 1.0),
    Metric("set_size", "Mean size of LAC and randomized APS conformal sets, in options", True, 0.0, None),
    Metric(
        "lac_coverage",
        "Fraction of items whose LAC set holds the right option; the target is 1 - alpha",
        None,
        0.0,
        1.0,
    ),
    Metric("ece", "Expected calibration error of the most likely option, 15 equal-width bins", True, 0.0, 1.0),
    Metric("ece_ts", "Expected calibration error after temperature scaling", True, 0.0, 1.0),
    Metric("nll", "Mean negative log-likelihood of the right option, in nats", True, 0.0, None),
    Metric("nll_ts", "Mean negative log-likelihood after temperature scaling, in nats", True, 0.0, None),
    Metric("brier", "Brier score over all options", True, 0.0, 2.0),
    Metric("aurc", "Area under the risk-coverage curve", True, 0.0, 1.0),
    Metric("error_auroc", "Area under the ROC curve of confidence separating right from wrong", False, 0.0, 1.0),
)
"""What is exported."""


@dataclass(frozen=True)
class Source:
    """A snapshot as exporters see it."""

    rows: Sequence[Fields]
    manifest: Mapping[str, Any]
    doses: Sequence[Fields] = ()
    lead: Lead = EXPLORATORY

    def by_model(self) -> dict[tuple[str, str], list[Fields]]:
        """Rows of each model and variant."""
        return grouped(self.rows, lambda row: (text(row, "model"), text(row, "variant")))

    def model(self, name: str) -> Mapping[str, Any]:
        """The manifest's entry of a model; empty where it has none."""
        return next((entry for entry in self.manifest.get("models", ()) if entry.get("name") == name), {})

    def task(self, row: Fields) -> Mapping[str, Any]:
        """The manifest's entry of a row's task and setting."""
        wanted = {key: row.get(key) for key in ("scoring", "prompt", "shots")} | {"name": row.get("task")}
        found = [e for e in self.manifest.get("tasks", ()) if all(e.get(k) == v for k, v in wanted.items())]
        return next((entry for entry in found if entry.get("items") == number(row, "n")), found[0] if found else {})

    def variant(self, name: str) -> Mapping[str, Any]:
        """The manifest's entry of a variant."""
        return next((entry for entry in self.manifest.get("variants", ()) if entry.get("name") == name), {})


def strings(values: Mapping[str, Any]) -> dict[str, str]:
    """Known values as text, as formats with free fields want them."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for key, value in values.items()
        if value is not None
    }


def json_bytes(content: object) -> bytes:
    """JSON in a stable form."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", errors="replace")
