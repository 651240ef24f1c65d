"""Scoring throughput on an accelerator: a model of 7B shape with random weights, against the measured matrix peak.

    python -m scripts.speed.gpu_throughput [--dtype bfloat16] [--items 512] [--layers 32]

Needs torch, transformers, numpy and pyarrow alone. No tokenizer and no checkpoint: items are random tokens with the
lengths of a cloze task (context 40 to 400, four options of 2 to 30), so the figures tell arithmetic, not accuracy.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from suite.score.transformers import engine
from suite.score.transformers.encode import Encoded
from suite.score.transformers.pack import plan_batches


def build(layers: int, dtype: torch.dtype, device: str) -> Any:
    """A Llama-2-7B-shaped network with random weights, made on the device itself."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    finally:
        torch.set_default_dtype(before)


def make_items(count: int, seed: int = 0) -> list[Encoded]:
    """Random items with the shape of a cloze task."""
    generator = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        prefix = tuple(generator.integers(3, 32000, generator.integers(40, 401)).tolist())
        branches = tuple(tuple(generator.integers(3, 32000, generator.integers(2, 31)).tolist()) for _ in range(4))
        items.append(Encoded(prefix, branches, (0, 0, 0, 0)))
    return items


def seconds(function: Callable[[], object], device: str) -> float:
    """Wall time with the device's queue emptied before and after."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begin = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def matrix_peak(dtype: torch.dtype, device: str, size: int) -> float:
    """FLOP/s of one large square matrix product, the median of ten."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = [seconds(lambda: left @ right, device) for _ in range(13)][3:]
    return 2 * size**3 / statistics.median(times)


def score_all(network: Any, items: Sequence[Encoded], budget: int) -> np.ndarray[Any, Any]:
    """Every item through the tree path; the log-likelihoods in item order."""
    scores: list[Any] = [None] * len(items)
    for batch in plan_batches(items, backend="tree", budget=budget):
        for index, values in zip(
            batch.items,
            engine.log_likelihoods(network, [items[i] for i in batch.items], backend="tree"),
            strict=True,
        ):
            scores[index] = values
    return np.concatenate(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description="Scoring throughput of a 7B-shaped model with random weights.")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--budgets", type=int, nargs="+", default=[8192, 16384, 32768])
    parser.add_argument("--peak-size", type=int, default=8192)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    peak = matrix_peak(dtype, args.device, args.peak_size)
    network = build(args.layers, dtype, args.device)
    body = sum(p.numel() for name, p in network.named_parameters() if "embed" not in name and "lm_head" not in name)
    items = make_items(args.items)
    tokens = sum(item.forwarded for item in items)
    print(f"{args.device}, {args.dtype}: matrix peak {peak / 1e12:.1f} TFLOP/s, body {body / 1e9:.2f} B weights")
    print("| budget, tokens | tokens/s | prefill FLOP/s over matrix peak |\n|--:|--:|--:|")
    for budget in args.budgets:
        score_all(network, items[: max(8, args.items // 16)], budget)
        run = functools.partial(score_all, network, items, budget)
        taken = statistics.median(seconds(run, args.device) for _ in range(3))
        print(f"| {budget} | {tokens / taken:,.0f} | {2 * body * tokens / taken / peak:.3f} |")
    few = items[:8]
    narrow = score_all(network, few, args.budgets[0])
    wide = score_all(network.float(), few, args.budgets[0])
    print(f"{args.dtype} against float32, 8 items: largest difference {np.abs(narrow - wide).max():.3f} nats")


if __name__ == "__main__":
    main()
