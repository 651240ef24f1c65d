"""Uncertainty and calibration benchmark for compressed language models.

>>> import suite
>>> cell = suite.make_cell([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]] * 100, [0, 2] * 100)
>>> row = suite.measure(cell)[0]
>>> row["accuracy"], row["lac_set_size"]
(1.0, 1.0)

Everything below is loaded when it is first used; `docs/python.md` shows each at work.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.errors import NotAccepted, SuiteError
    from suite.front_door import (
        compress_model,
        find_doses,
        gate_model,
        judge,
        load_cells,
        make_cell,
        measure,
        score_model,
        verify_snapshot,
        write_snapshot,
    )

__version__ = "0.1.0"

__all__ = [
    "NotAccepted",
    "SuiteError",
    "__version__",
    "compress_model",
    "find_doses",
    "gate_model",
    "judge",
    "load_cells",
    "make_cell",
    "measure",
    "score_model",
    "verify_snapshot",
    "write_snapshot",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        home = "suite.errors" if name in ("SuiteError", "NotAccepted") else "suite.front_door"
        return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'suite' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
