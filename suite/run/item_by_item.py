"""Asking two models the items of some tasks in a random order until a policy says yes or no, and no item more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from suite.cell import Cell, load_cells
from suite.decisions import item_by_item
from suite.decisions.gate import ACCEPT, REJECT, doubts_of
from suite.decisions.item_by_item import FIRST, Order, item_order
from suite.decisions.policy import KINDS, Policy
from suite.decisions.sequential import Look, check_bounded, look, record_of
from suite.errors import SuiteError
from suite.models.model import resolve_model
from suite.run.in_batches import GrowingCell
from suite.run.plan import PlannedCell, plan_variant
from suite.run.prepare import Conditions, open_scorer
from suite.score.scorer import Scorer
from suite.score.sheet import Sheet, make_sheet, part
from suite.tasks import TASKS, get_task

BATCH = 20
"""Items a task between two looks."""


@dataclass(frozen=True)
class Sides:
    """What is asked.

    Attributes:
        model: the compressed model: a finished checkpoint, or with `variant` what that is made of.
        dense: the model that it is compared with; or a folder or file with its cells.
        variant: what to make of the model, or what a finished checkpoint is called.
        tasks: built-in names or files; empty for those that the policy names.
        limit: a fixed subset of this many items a task.
    """

    model: str
    dense: str
    variant: str | None = None
    tasks: tuple[str, ...] = ()
    limit: int | None = None


Ask = Callable[[Sequence[str]], Cell]


@dataclass(frozen=True)
class Asking:
    """One task before two models: its order, and what gives the cell of the items with these ids."""

    order: Order
    dense: Ask
    compressed: Ask


def gate_item_by_item(
    sides: Sides,
    policy: Policy,
    conditions: Conditions,
    out: Path,
    *,
    first: int = FIRST,
    batch: int = BATCH,
    seed: int = 0,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Ask until the policy is decided, or all items are asked.

    Args:
        out: run directory for the cells that are scored on the way.
        first: items of each task that fix temperature and thresholds.
        batch: items a task between two looks; it changes what is asked, never what is decided.
        seed: of the order of the items.
        log: called with one line a look.

    Returns:
        The record of `suite.decisions.gate`, with the items that the decision rests on (`items`) and those that were
        asked (`asked`), by task.

    Raises:
        SuiteError: unusable arguments, or a policy that cannot be tested item by item.
        CellFailure: a model that cannot be made or scored.
    """
    check_bounded(policy)
    if batch < 1:
        raise SuiteError(f"batch {batch}: out of range, use 1 item or more; {BATCH} is usual")
    asked = _asking(sides, policy, conditions, out, seed)
    most, items = max(len(one.order.ids) for one in asked), first
    while True:
        items = min(items + batch, most)
        cells = [_ask(one, items) for one in asked]
        answered = [
            item_by_item.pair(one.order, *pair, first=first) for one, pair in zip(asked, cells, strict=True)
        ]
        doubts = [said for pair in cells for said in doubts_of(*pair)]
        found = look(answered, policy, doubted=bool(doubts))
        log(_said(found, items))
        if found.decision in (ACCEPT, REJECT) or items >= most:
            compressed = cells[0][1]
            record = record_of(found, policy, compressed.key.model, compressed.key.variant, len(cells), doubts)
            counts = {one.order.task: len(pair[1]) for one, pair in zip(asked, cells, strict=True)}
            return {**record, "asked": counts, "first": first, "seed": seed}
