"""Where perplexity breaks along each compression curve, and where uncertainty does.

Writes the table of docs/phase_transitions.md.

    .venv/bin/python -m scripts.studies.phase_transitions [configs/three-llms.yaml] [--snapshot results/three-llms]

Perplexities are those of scripts/studies/compression_table.py for the configuration's first model; what is measured
already is not measured again. Verdicts come from the snapshot.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution

from scripts.markers import check_markers, marks, write_between
from scripts.studies.compression_table import records
from suite.config import read_config
from suite.publish.macro import macro_averages
from suite.variant import Variant, parse_variant

ROOT = Path(__file__).resolve().parent.parent.parent

DOCUMENT = ROOT / "docs" / "phase_transitions.md"
START, END = marks("transitions")
# a point between two levels says nothing where there are no more, and a fit has four parameters
FEWEST_LEVELS, FEWEST_FITTED = 3, 5
# by family of methods; whucs21Mzy/Model-Phase-Transitions, npj Artificial Intelligence 2026, s44387-026-00072-8
PUBLISHED = {"quantization": "below 3 bits", "sparsity": "55 to 65 %", "structured": "30 to 45 %"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Transition:
    """Where a power law gives way to an exponential.

    Attributes:
        point: the dose of the change.
        low, high: doses that fit no worse at the 5 % level (F test on the residual sum of squares); None with as many
            parameters as points.
        residual: root mean square of the residuals, in nats of log perplexity.
    """

    point: float
    low: float | None
    high: float | None
    residual: float


def transition(dose: Floats, perplexity: Floats) -> Transition:
    """Fit a power law up to a point and an exponential beyond it, continuous, by least squares in log perplexity.

    With P₀ the perplexity at dose 0: P(s) = P₀ + a sᵇ for s ≤ s₀, and P(s₀) exp(k (s − s₀)) beyond; a, b, k > 0. s₀ is
    searched between the second and the last but one dose.

    Args:
        dose: rising, the first one 0, shape [levels + 1].
        perplexity: at each dose.
    """
    target = np.log(perplexity)
    candidates = np.linspace(dose[1], dose[-2], 61)
    losses = np.array([_loss(point, dose, target) for point in candidates])
    best = int(losses.argmin())
    free = len(dose) - 1 - 4
    low = high = None
    if free > 0:
        limit = losses[best] * (1 + f_distribution.ppf(0.95, 1, free) / free)
        fitting = candidates[losses <= limit]
        low, high = float(fitting.min()), float(fitting.max())
    return Transition(float(candidates[best]), low, high, math.sqrt(losses[best] / (len(dose) - 1)))


def _loss(point: float, dose: Floats, target: Floats) -> float:
    """Residual sum of squares of the best curve that changes at `point`."""
    dense, doses, wanted = math.exp(target[0]), dose[1:], target[1:]

    def residuals(parameters: Floats) -> Floats:
        scale, power, rate = np.exp(parameters)
        rise = np.log(dense + scale * np.minimum(doses, point) ** power)
        return np.asarray(rise + rate * np.maximum(doses - point, 0.0) - wanted)

    reach = doses[-1]
    starts = [
        (math.log(dense / reach**power * share), math.log(power), math.log(5 / reach))
        for power in (1.0, 4.0)
        for share in (0.1, 10.0)
    ]
    bounds = (np.array([-60.0, math.log(0.2), -20.0]), np.array([60.0, math.log(40.0), 10.0]))
    fits = [least_squares(residuals, np.clip(start, *bounds), bounds=bounds) for start in starts]
    return min(2 * float(fit.cost) for fit in fits)


def doubling(dose: Floats, perplexity: Floats) -> float | None:
    """The dose at which perplexity is twice the dense one for good, between measured levels on a logarithmic scale."""
    return _passes(dose, np.log2(perplexity / perplexity[0]), 1.0)


def half_lost(dose: Floats, set_size: Floats, chance: float) -> float | None:
    """The dose at which set size has gone half of its way from dense to chance for good, between measured levels."""
    if chance <= set_size[0]:
        return None
    return _passes(dose, (set_size - set_size[0]) / (chance - set_size[0]), 0.5)


def _passes(dose: Floats, values: Floats, limit: float) -> float | None:
    """Where straight lines between the values pass a limit for the last time; None where the last value is below it."""
    above = values >= limit
    if not above[-1]:
        return None
    last = len(above) - 1
    while above[last - 1]:
        last -= 1
    share = (limit - values[last - 1]) / (values[last] - values[last - 1])
    return float(dose[last - 1] + share * (dose[last] - dose[last - 1]))


def dose_of(variant: Variant) -> float:
    """Fraction of weights removed, or bits below 16."""
    if variant.sparsity is not None:
        return variant.sparsity
    return 16.0 - (variant.bits if variant.bits is not None else 16)


def in_words(dose: float | None, family: str) -> str:
    """A dose as people write it."""
    if dose is None:
        return "–"
    return f"{16 - dose:.1f} bits" if family == "quantization" else f"{100 * dose:.0f} %"


def curve_rows(
    found: Sequence[Mapping[str, Any]],
    verdicts: Sequence[Mapping[str, Any]],
    averages: Mapping[str, tuple[float, float]],
    model: str,
) -> list[str]:
    """One line of the table a curve with enough levels.

    Args:
        found: perplexities, one a variant.
        verdicts: of verdicts.json.
        averages: variant to its set size and that at chance, both averaged over tasks.
    """
    dense = next(record["perplexity"] for record in found if record["name"] == "dense")
    curves: dict[str, list[tuple[Variant, float]]] = {}
    for record in found:
        variant = parse_variant(record["name"])
        if variant.family in PUBLISHED and not variant.repeats:
            curves.setdefault(variant.curve, []).append((variant, record["perplexity"]))
    lines = []
    for curve, points in curves.items():
        if len(points) < FEWEST_LEVELS:
            continue
        points.sort(key=lambda point: point[0].severity)
        family = points[0][0].family
        dose = np.array([0.0, *(dose_of(variant) for variant, _ in points)])
        values = np.array([dense, *(value for _, value in points)])
        steps = ", ".join(f"{variant.name.rpartition('-')[2]} {value / dense:.2f}" for variant, value in points)
        fitted = "–"
        if len(points) >= FEWEST_FITTED and np.isfinite(values).all():
            fit = transition(dose, values)
            fitted = in_words(fit.point, family)
            if fit.low is not None and fit.high is not None:
                fitted += f" [{in_words(fit.low, family)}, {in_words(fit.high, family)}]"
        half = None
        names = ["dense", *(variant.name for variant, _ in points)]
        if all(name in averages for name in names):
            half = half_lost(dose, np.array([averages[name][0] for name in names]), averages["dense"][1])
        lines.append(
            f"| `{curve}` | {steps} | {in_words(doubling(dose, values), family)} | {fitted} | {PUBLISHED[family]} | "
            f"{in_words(half, family)} | "
            f"{verdict_words(verdicts, model, family, curve)} |"
        )
    return lines


def verdict_words(verdicts: Sequence[Mapping[str, Any]], model: str, family: str, curve: str) -> str:
    """The verdicts of a curve on set size: that on the average over tasks, and how many tasks say what."""
    said = [entry for entry in verdicts if (entry["model"], entry["metric"]) == (model, "set_size")]
    said = [entry for entry in said if (entry["family"], entry["method"]) == (family, curve)]
    if not said:
        return "–"
    words = []
    for entry in sorted(said, key=lambda entry: (entry["task"] != "macro", entry["task"])):
        level = f" at {entry['level']}" if entry["level"] else ""
        words.append(f"{'average' if entry['task'] == 'macro' else entry['task']}: {entry['verdict']}{level}")
    return "; ".join(words)


def set_sizes(snapshot: Path, model: str) -> dict[str, tuple[float, float]]:
    """Variant to its set size and that at chance, averaged over the tasks on which dense is above chance."""
    rows = pq.read_table(snapshot / "rows.parquet").to_pylist()
    found = {}
    for one in macro_averages([row for row in rows if row["model"] == model]):
        value, chance = one.average("set_size").value, one.average("set_size_chance").value
        if value is not None and chance is not None:
            found[one.variant] = (value, chance)
    return found


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="Perplexity transitions beside the verdicts on uncertainty.")
    parser.add_argument("config", type=Path, nargs="?", default=ROOT / "configs" / "three-llms.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "compression_table", metavar="DIR")
    parser.add_argument("--snapshot", type=Path, default=ROOT / "results" / "three-llms")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, write what is there")
    args = parser.parse_args()
    check_markers(DOCUMENT, START, END)
    config = read_config(args.config)
    found = records(config, args.out, measuring=not args.table_only)
    dense = next((record["perplexity"] for record in found if record["name"] == "dense"), None)
    if dense is None:
        raise SystemExit(f"{args.out}: no perplexity of the dense model; leave out --table-only, and it is measured")
    verdicts = json.loads((args.snapshot / "verdicts.json").read_text(encoding="utf-8"))
    model = config.models[0]
    averages = set_sizes(args.snapshot, model)
    head = (
        f"{model}; {args.snapshot.name}. Perplexity as a multiple of the dense model's ({dense:.2f}).\n\n"
        "| curve | perplexity of dense | doubles at | fitted transition | published | half lost at | verdict |\n"
        "|---|---|--:|--:|--:|--:|---|\n"
    )
    write_between(DOCUMENT, START, END, head + "\n".join(curve_rows(found, verdicts, averages, model)))


if __name__ == "__main__":
    main()
