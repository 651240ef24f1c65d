"""How many tokens go through a model at once: found by measurement, on the machine and model at hand."""

from __future__ import annotations

import time
from typing import Any

from suite.score.transformers.head import body

CPU_BUDGETS = (512, 1024, 2048)
ACCELERATOR_BUDGETS = (4096, 8192, 16384, 32768, 65536)
_ROW = 128
_GAIN = 1.1


def measure_budget(network: Any, *, repeats: int = 2) -> int:
    """The smallest batch, in tokens, beyond which twice as many bring less than 10 % more speed.

    Small batches keep padding and the output head's memory low. Each size is timed on random tokens in rows of 128, the
    best of `repeats` after one warm-up; on a processor, where a gain is rare and a pass takes seconds, sizes beyond the
    smallest are timed once. Larger sizes are tried while they bring a gain and memory lasts.

    Returns:
        A token budget for `suite.score.transformers.pack.plan_batches`.
    """
    import torch

    device = network.get_input_embeddings().weight.device
    vocabulary = network.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    best, speed = 0, 0.0
    on_cpu = device.type == "cpu"
    with torch.inference_mode():
        for budget in CPU_BUDGETS if on_cpu else ACCELERATOR_BUDGETS:
            tokens = torch.randint(vocabulary, (budget // _ROW, _ROW), generator=generator).to(device)
            passes = 1 if on_cpu and best else repeats + 1
            try:
                seconds = min(_seconds(network, tokens) for _ in range(passes))
            except (MemoryError, torch.OutOfMemoryError):
                break
            if best and budget / seconds < _GAIN * speed:
                break
            best, speed = budget, budget / seconds
    return best or CPU_BUDGETS[0]


def _seconds(network: Any, tokens: Any) -> float:
    import torch

    begin = time.perf_counter()
    body(network)(input_ids=tokens, use_cache=False)
    if tokens.device.type == "cuda":
        torch.cuda.synchronize(tokens.device)
    return time.perf_counter() - begin
