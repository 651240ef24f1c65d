"""A network scored once more under conditions that ought to change nothing: ``dense@repeat``.

What its scores differ by from dense is what arithmetic does to them when sums are taken in another order: a floor under
every difference between variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from suite.score.sheet import Scores, Sheet

Score = Callable[[Sheet], Scores]

CONDITIONS = "items in reverse order, half the tokens in a batch, another number of threads"
"""Part of the key of every ``dense@repeat`` cell; half the tokens are the scorer's part."""


def scored_again(score: Score, sheet: Sheet) -> Scores:
    """Scores of a sheet in its own order, of texts that were asked in reverse with one thread (two where one is usual).

    `run.repeat` says so.
    """
    last = len(sheet.questions) - 1
    turned = replace(
        sheet,
        questions=sheet.questions[::-1],
        rendered=sheet.rendered[::-1],
        owners=tuple(last - owner for owner in sheet.owners[::-1]),
    )
    with _other_threads() as threads:
        found = score(turned)
    return Scores(found.values[::-1], {**found.run, "repeat": {"order": "reversed", "threads": threads}})


@contextmanager
def _other_threads() -> Iterator[int]:
    """Inside, torch computes with one thread, or with two where one is usual."""
    import torch

    usual = torch.get_num_threads()
    other = 1 if usual > 1 else 2
    torch.set_num_threads(other)
    try:
        yield other
    finally:
        torch.set_num_threads(usual)
