"""Which number format a model runs in: measured on the machine at hand, because processors differ.

A processor with bfloat16 matrix instructions (AVX512-BF16, AMX) runs a prefill two to three times faster in bfloat16
than in float32; one without them runs it slower. Nothing but a measurement tells which one this is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

DTYPES = ("bfloat16", "float32")
ADVANTAGE = 1.15

# tokens, inputs, outputs of one linear layer. On a CPU: the MLP of a 135M model. On an accelerator that layer would
# only time the launch, so the layer of a 7B model is measured there.
_CPU_SHAPE = (512, 576, 1536)
_ACCELERATOR_SHAPE = (4096, 4096, 4096)
_SECONDS = 0.6
_ROUNDS = 21


def measure_dtypes(device: str = "cpu") -> dict[str, float]:
    """Speed of one linear layer in each dtype, in GFLOP/s (higher is faster), in well under 1.5 s.

    The dtypes take turns, so that another busy process slows both; the figure is the median round after a warm-up one.
    The layer is 512 tokens through 576 × 1536 on a CPU and 4096 tokens through 4096 × 4096 elsewhere. The global random
    state is left as it was.

    Args:
        device: a torch device, for example ``cpu`` or ``cuda``.

    Returns:
        GFLOP/s by name from `DTYPES`; a dtype this device cannot multiply is left out.
    """
    import torch

    tokens, inputs, outputs = _CPU_SHAPE if torch.device(device).type == "cpu" else _ACCELERATOR_SHAPE
    generator = torch.Generator().manual_seed(0)
    hidden = torch.rand(tokens, inputs, generator=generator)
    weight = torch.rand(outputs, inputs, generator=generator)
    operands: dict[str, tuple[Any, Any]] = {}
    with torch.inference_mode():
        for name in DTYPES:
            dtype = getattr(torch, name)
            pair = (hidden.to(device, dtype), weight.to(device, dtype))
            try:
                _seconds_of_linear(*pair)
            except RuntimeError:
                continue
            operands[name] = pair
        seconds: dict[str, list[float]] = {name: [] for name in operands}
        start = time.perf_counter()
        for _ in range(_ROUNDS):
            for name, pair in operands.items():
                seconds[name].append(_seconds_of_linear(*pair))
            if time.perf_counter() - start > _SECONDS:
                break
    operations = 2 * tokens * inputs * outputs
    return {name: operations / statistics.median(values) / 1e9 for name, values in seconds.items()}


def pick_dtype(speeds: Mapping[str, float]) -> str:
    """The dtype that ``auto`` stands for, given measured speeds.

    bfloat16 must earn its lost digits: it is picked when it is at least 1.15 times as fast as float32, or the only one.

    >>> pick_dtype({"bfloat16": 370.0, "float32": 126.0})
    'bfloat16'
    >>> pick_dtype({"bfloat16": 130.0, "float32": 126.0})
    'float32'
    """
    half, full = speeds.get("bfloat16", 0.0), speeds.get("float32", 0.0)
    return "bfloat16" if half > 0 and half >= ADVANTAGE * full else "float32"


def _seconds_of_linear(hidden: Any, weight: Any) -> float:
    """Wall time of one ``hidden @ weight.T``, the device's queue emptied before and after."""
    import torch

    wait = getattr(getattr(torch, hidden.device.type, None), "synchronize", None)
    if wait:
        wait()
    start = time.perf_counter()
    torch.nn.functional.linear(hidden, weight)
    if wait:
        wait()
    return time.perf_counter() - start
