"""A model card fragment for the hub: YAML front matter with a `model-index`, one file a model and variant.

Below it stands what is known of the variant's certainty. Paste both into README.md of the checkpoint. The hub reads one
value a metric; the interval stands in its name.
"""

from __future__ import annotations

from typing import Any

import yaml

from suite.exporters.source import Source
from suite.metrics.figures import DENSE, FIGURES, PAGE_COLUMNS, leading
from suite.publish.doses import headlines, share
from suite.publish.fields import Fields, flags, is_cloze, number, text, whole
from suite.publish.numerals import interval, places
from suite.publish.pages.markdown import code, escape
from suite.verdicts.curves import task_title
from suite.verdicts.dose_records import MEASURES, levels


def export(source: Source) -> dict[str, bytes]:
    """Fragments by path: ``<model>/<variant>.md``."""
    files: dict[str, bytes] = {}
    for path, (model, variant, rows) in source.by_path("/").items():
        index = [{"name": f"{model} {variant}" if variant != "dense" else model, "results": results(source, rows)}]
        text_ = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True, width=1000)
        files[f"{path}.md"] = f"---\n{text_}---\n{said(source, model, variant)}".encode("utf-8", errors="replace")
    return files


def said(source: Source, model: str, variant: str) -> str:
    """What is known of a variant by the measure that leads, a paragraph in Markdown; empty where it has no dose."""
    lines = []
    for one in headlines(source.doses):
        strict, loose = one.strict(source.lead.metric), one.loose(source.lead.metric)
        mine = next((level for level in levels(strict) if level["variant"] == variant), None)
        if one.model != model or mine is None:
            continue
        ends = (text(strict, "kept_through"), text(loose, "lost_from"))
        kept, lost = (code(name) if name else "no level" for name in ends)
        low, high = (share(number(record, "tolerance") or 0.0) for record in (strict, loose))
        lines.append(
            f"Certainty ({MEASURES[source.lead.metric].title}, {escape(task_title(one.task))}): {code(variant)} is "
            f"**{text(mine, 'state').replace('_', ' ')}**. {escape(one.method)} is kept through {kept} at a tolerance "
            f"of {low} and lost from {lost} at {high} of the way from dense to chance, for this checkpoint on items "
            "like these.\n"
        )
    return "".join(f"\n{line}" for line in lines)


def results(source: Source, rows: list[Fields]) -> list[dict[str, Any]]:
    """One result a task."""
    found = []
    for row in rows:
        alone = (key for key in PAGE_COLUMNS if FIGURES[key].source != DENSE)
        keys = [leading(key, cloze=is_cloze(row)) for key in alone]
        how = ", ".join(f"{key} {row.get(key)}" for key in ("scoring", "prompt", "shots"))
        marks = f"; flags: {', '.join(flags(row))}" if flags(row) else ""
        found.append(
            {
                "task": {"type": "multiple-choice", "name": "Multiple choice"},
                "dataset": {
                    "name": f"{text(row, 'task')} ({how}, {whole(row, 'n')} items{marks})",
                    "type": text(row, "task"),
                    "revision": str(source.task(row).get("revision") or "unknown"),
                    # the hub asks for an address beside a source's name, and a checksum has none
                    "args": {"snapshot": str(source.manifest["checksum"])},
                },
                "metrics": [
                    {"type": key, "name": f"{FIGURES[key].title}{_ends(row, key)}", "value": number(row, key)}
                    for key in keys
                    if number(row, key) is not None
                ],
            }
        )
    return found


def _ends(row: Fields, key: str) -> str:
    if FIGURES[key].debiased:
        return ""
    ends = interval(number(row, f"{key}_low"), number(row, f"{key}_high"), places(key))
    return f", 95 % {ends}" if ends else ""
