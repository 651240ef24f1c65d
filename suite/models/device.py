"""The device that a model is put on."""

from __future__ import annotations

from suite.errors import SuiteError


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where an accelerator answers, else ``cpu``; other names are checked.

    Raises:
        SuiteError: a name torch does not know, or an accelerator that is not there.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SuiteError(f"device {device!r}: not a torch device; use auto, cpu, cuda or cuda:0") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise SuiteError(f"device {device!r}: no accelerator is available here; use cpu or auto")
    return device
