"""What exporters read: the rows of a snapshot, its manifest, and its doses with the measure that leads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.cell import file_key, slug
from suite.grouped import grouped
from suite.metrics.figures import FIGURES, SCORES
from suite.publish.doses import EXPLORATORY, Lead
from suite.publish.fields import Fields, number, text

EXPORTED = {key: one for key, one in FIGURES.items() if one.source == SCORES and one.meaning and one.limits}
"""Figures that are exported: whose meaning and range `FIGURES` tells."""


@dataclass(frozen=True)
class Source:
    """A snapshot as exporters see it."""

    rows: Sequence[Fields]
    manifest: Mapping[str, Any]
    doses: Sequence[Fields] = ()
    lead: Lead = EXPLORATORY

    def by_path(self, between: str) -> dict[str, tuple[str, str, list[Fields]]]:
        """Each model, variant and their rows under a path: both names, `between` them, and an underscore behind where
        some system would take the path for one that is there."""
        found: dict[str, tuple[str, str, list[Fields]]] = {}
        for (model, variant), rows in grouped(
            self.rows, lambda row: (text(row, "model"), text(row, "variant"))
        ).items():
            path = slug(model) + between + slug(variant.replace(":", "of"))
            while file_key(path) in map(file_key, found):
                path += "_"
            found[path] = model, variant, rows
        return found

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
