"""Peak memory of a stretch of work: of the accelerator where the work is there, else of this process."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc/self")


def reset() -> None:
    """Start a new stretch. Where the system cannot, the peak is that of the whole process."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    # Linux: 5 resets the high-water mark of resident memory
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5", encoding="ascii")


def megabytes() -> float:
    """Peak since `reset`, in units of 2^20 bytes: allocated on the accelerator, or resident in this process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text(encoding="ascii")):
            return round(int(found[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
