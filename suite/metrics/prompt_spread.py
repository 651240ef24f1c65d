"""How much the wording of a prompt moves the figures, beside how much compression moves them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from suite.errors import SuiteError
from suite.metrics.row import number
from suite.prompt_name import parse_prompt

SPREAD_FIGURES = ("accuracy", "set_size")


def prompt_spread(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """One dictionary a model, task, scoring, number of shots and variant that was asked in two or more ways.

    Templates, chat templates and option rotations count as ways of asking; noise (typos and the like) does not.
    For accuracy and for set size (mean of LAC and APS): ``mean``, ``low``, ``high`` and ``deviation`` (sample standard
    deviation) over the prompts; the same of the change against the dense model under the same prompt; the share of
    prompts whose change has the direction of the mean change (``same_direction``); and ``change_over_spread``, the
    size of the mean change over the deviation of the *dense* model between prompts: below 1, rewording the question
    matters more than compressing the model. What cannot be computed is None.

    Args:
        rows: of `suite.metrics.rows.measure_cells`, under one protocol.

    >>> row = {"model": "m", "task": "t", "scoring": "letter", "shots": 0, "variant": "dense", "set_size": 2.0}
    >>> found = prompt_spread([{**row, "prompt": "base", "accuracy": 0.5}, {**row, "prompt": "task", "accuracy": 0.7}])
    >>> found[0]["prompts"], found[0]["accuracy_low"], found[0]["accuracy_high"]
    (['base', 'task'], 0.5, 0.7)
    """
    grouped: dict[tuple[str, str, str, int], dict[str, dict[str, Mapping[str, object]]]] = {}
    order: list[tuple[tuple[str, str, str, int], str]] = []
    for row in rows:
        if _is_noisy(str(row["prompt"])):
            continue
        key = (str(row["model"]), str(row["task"]), str(row["scoring"]), int(str(row["shots"])))
        variants = grouped.setdefault(key, {})
        if str(row["variant"]) not in variants:
            order.append((key, str(row["variant"])))
        variants.setdefault(str(row["variant"]), {})[str(row["prompt"])] = row
    found = []
    for key, variant in order:
        asked = grouped[key][variant]
        if len(asked) > 1:
            found.append(_row(key, variant, asked, grouped[key].get("dense", {})))
    return found


def _is_noisy(prompt: str) -> bool:
    try:
        return bool(parse_prompt(prompt).noise)
    except SuiteError:  # scores made elsewhere call their prompts what they like
        return False


def _row(
    key: tuple[str, str, str, int],
    variant: str,
    asked: Mapping[str, Mapping[str, object]],
    dense: Mapping[str, Mapping[str, object]],
) -> dict[str, object]:
    model, task, scoring, shots = key
    row: dict[str, object] = {"model": model, "task": task, "scoring": scoring, "shots": shots, "variant": variant}
    row |= {"n_prompts": len(asked), "prompts": sorted(asked)}
    for metric in SPREAD_FIGURES:
        values = {prompt: number(entry, metric) for prompt, entry in asked.items()}
        parents = {prompt: number(entry, metric) for prompt, entry in dense.items()}
        row |= summary(f"{metric}_", [value for value in values.values() if value is not None])
        changes = []
        if variant != "dense":
            for prompt, value in values.items():
                parent = parents.get(prompt)
                if value is not None and parent is not None:
                    changes.append(value - parent)
        row |= summary(f"{metric}_change_", changes)
        mean, spread = number(row, f"{metric}_change_mean"), [parents[p] for p in asked if parents.get(p) is not None]
        row[f"{metric}_same_direction"] = same_direction(changes)
        deviation = statistics.stdev(value for value in spread if value is not None) if len(spread) > 1 else 0.0
        row[f"{metric}_change_over_spread"] = abs(mean) / deviation if mean is not None and deviation > 0 else None
    return row


def summary(start: str, values: Sequence[float]) -> dict[str, object]:
    """Mean, extremes and sample standard deviation (n - 1) under keys that begin alike; None for too few."""
    if not values:
        return {f"{start}{name}": None for name in ("mean", "low", "high", "deviation")}
    return {
        f"{start}mean": statistics.fmean(values),
        f"{start}low": min(values),
        f"{start}high": max(values),
        f"{start}deviation": statistics.stdev(values) if len(values) > 1 else None,
    }


def same_direction(changes: Sequence[float]) -> float | None:
    """Share of changes on the same side of zero as their mean; None where there are none.

    >>> same_direction([-0.2, -0.2, 0.1, 0.1])
    0.5
    """
    if not changes:
        return None
    mean = statistics.fmean(changes)
    return sum(change * mean > 0 or change == mean for change in changes) / len(changes)
