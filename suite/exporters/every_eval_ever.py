"""Every Eval Ever: one JSON record a model and variant, schema version 0.3.0 (github.com/evaleval/every_eval_ever).

The schema wants a moment of retrieval; a snapshot holds no date on purpose, so the record says "0" (the beginning of
Unix time), and the manifest's checksum identifies the record instead.
"""

from __future__ import annotations

import math
from typing import Any

from suite.exporters.source import EXPORTED, Source, strings
from suite.files import json_bytes
from suite.metrics.figures import LOWER
from suite.metrics.measure import COUNTED
from suite.publish.fields import Fields, flags, number, text, whole

SCHEMA_VERSION = "0.3.0"
UNDATED = "0"
UNBOUNDED = "Infinity"
"""The schema's word for a range without an end."""


def export(source: Source) -> dict[str, bytes]:
    """Records by path: ``<model>/<variant>.json``."""
    return {f"{path}.json": json_bytes(record(source, *one)) for path, one in source.by_path("/").items()}


def record(source: Source, model: str, variant: str, rows: list[Fields]) -> dict[str, Any]:
    """One record."""
    known, checksum = source.model(model), str(source.manifest["checksum"]).removeprefix("sha256:")
    suite = source.manifest.get("suite", {})
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"compressed-llm-uncertainty/{known.get('id') or model}/{variant}/{checksum[:16]}",
        "retrieved_timestamp": UNDATED,
        "source_metadata": {
            "source_name": "compressed-llm-uncertainty",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
            "additional_details": {"snapshot_sha256": checksum},
        },
        "eval_library": {
            "name": "compressed-llm-uncertainty",
            "version": str(suite.get("version") or "unknown"),
            "additional_details": strings({"git_commit": suite.get("git_commit")}),
        },
        "model_info": {
            "name": f"{model} {variant}" if variant != "dense" else model,
            "id": str(known.get("id") or model),
            "additional_details": strings(
                {
                    # weights that were hashed were here; of others (imported scores) nothing is known
                    "deployment_type": "self_deployed" if known.get("weights_hash") else "unknown",
                    "model_availability": "unknown",
                    **{key: known.get(key) for key in ("revision", "weights_hash", "params", "parent_quantization")},
                    "variant": variant,
                    "recipe": source.variant(variant).get("recipe"),
                    **{key: rows[0].get(key) for key in ("bits_per_weight", "megabytes", "sparsity")},
                }
            ),
        },
        "evaluation_results": [result(source, row, key) for row in rows for key in EXPORTED if _has(row, key)],
    }


EXACT, RESAMPLED = "exact binomial", "item bootstrap"
BOTH = "exact binomial at the effective sample size of the item bootstrap"
"""How an interval was made."""


def _method(source: Source, key: str) -> str:
    """What made the interval of a figure; the first formulas were all of the bootstrap."""
    if source.manifest.get("formulas", {}).get("intervals", {}).get(key, 1) < 2:
        return RESAMPLED
    return EXACT if key == "accuracy" else BOTH if key in COUNTED else RESAMPLED


def result(source: Source, row: Fields, key: str) -> dict[str, Any]:
    """One figure on one task; lower and upper ends only where the row has both."""
    task = source.task(row)
    value, one = number(row, key), EXPORTED[key]
    assert value is not None
    assert one.limits is not None
    low, high = number(row, f"{key}_low"), number(row, f"{key}_high")
    # a set is never larger than the number of options; (1 - alpha) of that is what the row knows of it
    bound = one.limits[1]
    if key == "set_size":
        chance, alpha = number(row, "set_size_chance"), number(row, "alpha") or 0.0
        bound = math.inf if chance is None else chance / (1 - alpha)
    config: dict[str, Any] = {
        "evaluation_description": one.meaning[0].upper() + one.meaning[1:],
        # the schema wants an answer; coverage has a target instead, and says so above
        "lower_is_better": one.better == LOWER,
        "score_type": "continuous",
        "min_score": one.limits[0],
        "max_score": UNBOUNDED if math.isinf(bound) else max(bound, value),
    }
    uncertainty: dict[str, Any] = {"num_samples": whole(row, "n_evaluated") or whole(row, "n")}
    if low is not None and high is not None and not one.debiased:
        method = _method(source, key)
        ends = {"lower": low, "upper": high, "confidence_level": 0.95, "method": method}
        uncertainty["confidence_interval"] = ends
        replicates = source.manifest.get("protocol", {}).get("replicates")
        if isinstance(replicates, int) and method != EXACT:
            uncertainty["num_bootstrap_samples"] = replicates
    asked = {name: row.get(name) for name in ("scoring", "prompt", "shots", "protocol", "alpha")}
    return {
        "evaluation_name": f"{text(row, 'task')} {key}",
        "source_data": {
            "dataset_name": text(row, "task"),
            "source_type": "other",
            "additional_details": strings(
                {**{name: task.get(name) for name in ("revision", "licence", "items", "items_hash")}, **asked}
            ),
        },
        "metric_config": config,
        "score_details": {
            "score": value,
            "details": strings({"flags": "; ".join(flags(row)) or None}),
            "uncertainty": uncertainty,
        },
    }


def _has(row: Fields, key: str) -> bool:
    return number(row, key) is not None
