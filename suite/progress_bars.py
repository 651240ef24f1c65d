"""Keeping the progress bars of libraries off the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from suite.holding import holding


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Draw no progress bar that is made inside; those there already go on.

    transformers, its GGUF reader and compressed-tensors each have bars, with a switch of their own or none; all are
    tqdm's.
    """
    from tqdm.std import tqdm

    bars: Any = tqdm
    make = bars.__init__

    def unseen(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **options | {"disable": True})

    with holding(bars, "__init__", unseen):
        yield
