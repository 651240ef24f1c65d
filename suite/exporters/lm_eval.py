"""lm-evaluation-harness: a results JSON a model and variant, for readers of ``results_*.json``.

`acc` is the accuracy of ``cloze-sum`` and letter scores, `acc_norm` that of ``cloze-norm`` (per character, as there);
everything else stands under its own name with the filter ``none``. Where a row has an interval, the standard error is a
quarter of its width over 0.98: that of a normal interval of 95 %.
"""

from __future__ import annotations

from typing import Any

from suite.cell import slug
from suite.exporters.source import EXPORTED, Source
from suite.files import json_bytes
from suite.metrics.figures import HIGHER
from suite.publish.fields import Fields, number, text, whole

TWO_SIDED = 2 * 1.959964
"""Standard errors in a normal 95 % interval, end to end."""


def export(source: Source) -> dict[str, bytes]:
    """Results by path: ``<model>__<variant>/results.json``."""
    return {f"{path}/results.json": json_bytes(results(source, *one)) for path, one in source.by_path("__").items()}


def results(source: Source, model: str, variant: str, rows: list[Fields]) -> dict[str, Any]:
    """One results file."""
    names = _names(rows)
    known = source.model(model)
    return {
        "results": {name: {"alias": name, **_figures(row)} for name, row in names.items()},
        "group_subtasks": {name: [] for name in names},
        "configs": {
            name: {
                "task": text(row, "task"),
                "num_fewshot": whole(row, "shots"),
                "output_type": "multiple_choice",
                "metadata": {key: row.get(key) for key in ("scoring", "prompt", "protocol", "alpha")},
            }
            for name, row in names.items()
        },
        "versions": {name: str(source.task(row).get("revision") or "N/A") for name, row in names.items()},
        "n-shot": {name: whole(row, "shots") for name, row in names.items()},
        "higher_is_better": {
            name: {_key(key, row): figure.better == HIGHER for key, figure in EXPORTED.items() if figure.better}
            for name, row in names.items()
        },
        "n-samples": {
            name: {"original": whole(row, "n"), "effective": whole(row, "n_evaluated")} for name, row in names.items()
        },
        "config": {
            "model": "compressed-llm-uncertainty",
            "model_args": {"pretrained": known.get("id") or model, "variant": variant},
            "model_num_parameters": known.get("params"),
            "model_revision": known.get("revision"),
            "bootstrap_iters": source.manifest.get("protocol", {}).get("replicates"),
        },
        "git_hash": source.manifest.get("suite", {}).get("git_commit"),
        "model_source": "compressed-llm-uncertainty",
        "model_name": f"{model} {variant}" if variant != "dense" else model,
        "model_name_sanitized": f"{slug(model)}__{slug(variant)}",
    }


def _names(rows: list[Fields]) -> dict[str, Fields]:
    """Each row under its task, with its way of asking where a task has several."""
    tasks = [text(row, "task") for row in rows]
    return {
        task
        if tasks.count(task) == 1
        else f"{task}_{text(row, 'scoring')}_{text(row, 'prompt')}_{whole(row, 'shots')}": row
        for task, row in zip(tasks, rows, strict=True)
    }


def _figures(row: Fields) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for key, figure in EXPORTED.items():
        value = number(row, key)
        if value is None:
            continue
        name = _key(key, row)
        found[f"{name},none"] = value
        low, high = number(row, f"{key}_low"), number(row, f"{key}_high")
        known = low is not None and high is not None and not figure.debiased
        found[f"{name}_stderr,none"] = ((high or 0.0) - (low or 0.0)) / TWO_SIDED if known else "N/A"
    return found


def _key(key: str, row: Fields) -> str:
    if key != "accuracy":
        return key
    return "acc_norm" if text(row, "scoring") == "cloze-norm" else "acc"
