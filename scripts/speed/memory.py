"""Anonymous memory of loading and compressing a model, against the size of its dense weights.

    .venv/bin/python -m scripts.speed.memory smollm2-135m rtn-w4 magnitude-s50

Each variant is measured in a process of its own, because memory once touched is not given back. Anonymous memory
(RssAnon) is what the process itself holds; pages of the checkpoint file that the system can drop again do not count.
The peak is sampled every 2 ms, above what the imports left.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def anonymous_bytes() -> int:
    """RssAnon of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("memory: this system does not tell anonymous memory (no RssAnon in /proc/self/status)")


class Peak:
    """The largest anonymous memory while the block runs, above what it was at the start."""

    def __enter__(self) -> Peak:
        self.start = self.top = anonymous_bytes()
        self.running = True
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.running = False
        self.thread.join()
        self.bytes = max(self.top, anonymous_bytes()) - self.start

    def _sample(self) -> None:
        while self.running:
            self.top = max(self.top, anonymous_bytes())
            time.sleep(0.002)


def measure(name: str, variant: str, dtype: str, task: str, limit: int) -> dict[str, float]:
    """Peaks in bytes of load + compress, and of scoring after it; runs in a process of its own."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from suite.compress import apply
    from suite.models.checkpoint import load
    from suite.models.model import resolve_model
    from suite.score.cells import score
    from suite.score.sheet import make_sheet
    from suite.score.transformers.network import NetworkScorer
    from suite.tasks import get_task
    from suite.variant import parse_variant

    model = resolve_model(name)
    # conversion happens once in a cache's life and is not what is measured
    warm = multiprocessing.get_context("spawn").Process(target=_convert, args=(name, dtype))
    warm.start()
    warm.join()
    sheet = make_sheet(get_task(task), limit=limit)
    # the architecture's own modules are imports too; they are loaded on first use
    config = AutoConfig.for_model("llama") if model.path.is_file() else AutoConfig.from_pretrained(model.path)
    AutoModelForCausalLM._model_mapping[type(config)], AutoTokenizer
    torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))
    with Peak() as compression:
        checkpoint = load(model, dtype=dtype)
        info = apply(checkpoint.network, parse_variant(variant)).as_metadata()
    sizes = [parameter.numel() * parameter.element_size() for parameter in checkpoint.network.parameters()]
    with Peak() as scoring:
        score(NetworkScorer(checkpoint, info), sheet)
    return {"dense": sum(sizes), "largest": max(sizes), "compression": compression.bytes, "scoring": scoring.bytes}


def _convert(name: str, dtype: str) -> None:
    from suite.models.checkpoint import load
    from suite.models.model import resolve_model

    load(resolve_model(name), dtype=dtype)


def _child(queue: Any, function: Callable[..., Any], *args: Any) -> None:
    queue.put(function(*args))


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, function, *args))
    process.start()
    result = queue.get()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Anonymous memory of loading, compressing and scoring.")
    parser.add_argument("model")
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--task", default="arc-easy")
    parser.add_argument("--limits", type=int, nargs="+", default=[100, 400])
    args = parser.parse_args()
    print("| variant | dense weights, MB | load + compress, MB | 1.3 × dense + largest, MB | scoring above that, MB |")
    print("|---|--:|--:|--:|---|")
    for variant in args.variants:
        rows = [apart(measure, args.model, variant, args.dtype, args.task, limit) for limit in args.limits]
        first = rows[0]
        bound = 1.3 * first["dense"] + first["largest"]
        pairs = zip(rows, args.limits, strict=True)
        scoring = ", ".join(f"{row['scoring'] / 1e6:.0f} at {limit} items" for row, limit in pairs)
        peak = max(row["compression"] for row in rows)
        print(f"| {variant} | {first['dense'] / 1e6:.0f} | {peak / 1e6:.0f} | {bound / 1e6:.0f} | {scoring} |")


if __name__ == "__main__":
    main()
