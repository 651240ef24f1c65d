"""Seconds and memory of compressing the embedded model, beside those of calling llm-compressor itself.

    .venv/bin/python -m scripts.speed.compression_speed [--repeats 2] [rtn-w4 wanda-s50 sparsegpt-s50 gptq-w4]

Both get the same loaded network, sample text (32 × 512 tokens) and modifiers; they take turns, each in a process of its
own. What the suite adds is measuring: weight errors, zeros, output error, weights put on their grid. Writes a table
between the markers in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from scripts.markers import check_markers, marks, write_between
from scripts.speed.memory import Peak, apart
from suite.variant import Variant, parse_variant

ROOT = Path(__file__).resolve().parent.parent.parent

MODEL, DTYPE = "smollm2-135m", "bfloat16"
START, END = marks("compression")
# seconds that 32 × 512 tokens may take on two cores
GOALS = {"rtn": 5, "magnitude": 5, "wanda": 60, "sparsegpt": 300, "gptq": 300}


def measure(name: str, through: str) -> dict[str, float]:
    """Seconds and peak anonymous memory above the loaded network; runs in a process of its own."""
    from suite.compress import apply, llm_compressor
    from suite.models.checkpoint import load
    from suite.models.model import resolve_model
    from suite.run.prepare import sample_tokens
    from suite.sample_text import Sampling

    variant = parse_variant(name)
    checkpoint = load(resolve_model(MODEL), dtype=DTYPE)
    tokens = sample_tokens(checkpoint, Sampling(), variant)
    llm_compressor.load(variant)
    import llmcompressor.modifiers.gptq
    import llmcompressor.modifiers.pruning
    import llmcompressor.modifiers.quantization  # noqa: F401

    with Peak() as peak:
        begin = time.perf_counter()
        if through == "suite":
            apply(checkpoint.network, variant, tokens)
        else:
            _library(checkpoint.network, variant, tokens)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "bytes": peak.bytes}


def _library(network: Any, variant: Variant, tokens: Any) -> None:
    """What a script that calls llm-compressor does."""
    import torch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader

    rows = [
        {"input_ids": torch.from_numpy(r), "attention_mask": torch.ones(len(r), dtype=torch.long)} for r in tokens.ids
    ]
    reads = variant.method not in ("rtn", "magnitude")
    oneshot(
        model=network,
        processor=object(),
        recipe=[_modifier(network, variant)],
        dataset=DataLoader(rows, batch_size=1, shuffle=False) if reads else None,  # type: ignore[arg-type]
    )


def _modifier(network: Any, variant: Variant) -> Any:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    from suite.compress.gptq import BLOCK, DAMPENING, ORDER
    from suite.compress.llm_compressor import scheme

    if variant.method in ("wanda", "sparsegpt"):
        pruning = WandaPruningModifier if variant.method == "wanda" else SparseGPTModifier
        return pruning(sparsity=variant.sparsity, targets=["Linear"], ignore=["re:.*lm_head"])
    if variant.method == "gptq":
        return GPTQModifier(block_size=BLOCK, dampening_frac=DAMPENING, actorder=ORDER, **scheme(network, variant))
    return QuantizationModifier(**scheme(network, variant))


def main() -> None:
    """Measure in turns and write the table."""
    parser = argparse.ArgumentParser(description="Seconds and memory of compression beside llm-compressor's own.")
    parser.add_argument("variants", nargs="*", default=["rtn-w4", "wanda-s50", "sparsegpt-s50", "gptq-w4"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    check_markers(args.out, START, END)
    lines = [
        "| variant | suite, s | goal, s | llm-compressor, s | ratio | suite, MB above model | llm-compressor, MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in args.variants:
        runs: dict[str, list[dict[str, float]]] = {"suite": [], "library": []}
        for _ in range(args.repeats):
            for through, kept in runs.items():
                kept.append(apart(measure, name, through))
                print(f"{name} {through}: {kept[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
        ours, theirs = ([run["seconds"] for run in runs[key]] for key in ("suite", "library"))
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        memory = [max(run["bytes"] for run in runs[key]) / 1e6 for key in ("suite", "library")]
        lines.append(
            f"| `{name}` | {spread(ours)} | {GOALS.get(parse_variant(name).method, '–')} | {spread(theirs)} | "
            f"{spread(ratios, 2)} | {memory[0]:.0f} | {memory[1]:.0f} |"
        )
    write_between(args.out, START, END, "\n".join(lines))


def spread(values: list[float], digits: int = 1) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
