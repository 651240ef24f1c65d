"""Asking two models the items of some tasks in a random order until a policy says yes or no, and no item more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from suite.cell import Cell, load_cells
from suite.compress.ready_made import variant_of
from suite.config import Protocol
from suite.decisions.attempts import numbered_by_items, spent_under
from suite.decisions.gate import DOUBTS, OBSTACLES
from suite.decisions.item_by_item import FIRST, MEASURES, Order, check_first, item_order, pair
from suite.decisions.lock import check_policy_of, check_tasks, read_lock, unlocked
from suite.decisions.policy import KINDS, Policy
from suite.decisions.sequential import check_bounded, look, record_of, stop
from suite.errors import SuiteError
from suite.metrics.rows import rows_against
from suite.models.model import resolve_model
from suite.run.in_batches import GrowingCell
from suite.run.lock import asked as planned_tasks
from suite.run.lock import check_dense
from suite.run.plan import PlannedCell, plan_variant
from suite.run.prepare import Conditions, open_scorer
from suite.score.sheet import Sheet, make_sheet, part
from suite.task import Task
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
    """One task before two models: its order, what gives the cell of the items with these ids, and what is compressed.

    Attributes:
        key: of the whole cell of the compressed model (`suite.run.plan.PlannedCell`).
        names: its model and variant.
    """

    order: Order
    dense: Ask
    compressed: Ask
    key: str
    names: tuple[str, str]


def gate_item_by_item(
    sides: Sides,
    policy: Policy,
    conditions: Conditions,
    out: Path,
    *,
    first: int = FIRST,
    batch: int = BATCH,
    seed: int = 0,
    lock: Path | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Ask until the policy is decided, or all items are asked.

    Args:
        out: run directory for the cells that are scored on the way.
        first: items of each task that fix temperature and thresholds.
        batch: items a task between two looks, a twentieth of those asked where that is more; it changes what is asked,
            never what is decided.
        seed: of the order of the items.
        lock: a file of `suite policy lock`: its tasks are asked as it says, its candidates have the whole error
            probability, and compressed cells that are scored now carry its hash.
        log: called with one line a look.

    Returns:
        The record of `suite.decisions.gate`, with the items that the decision rests on (`items`) and those that were
        asked (`asked`), by task.

    Raises:
        SuiteError: unusable arguments, or a policy that cannot be tested item by item.
        CellFailure: a model that cannot be made or scored.
    """
    check_bounded(policy)
    check_first(first)
    if batch < 1:
        raise SuiteError(f"batch {batch}: out of range, use 1 item or more; {BATCH} is usual")
    fixed = None if lock is None else _fixed(lock, policy, sides, first, seed)
    asked = _asking(sides, policy, conditions, out, seed, fixed, f"lock {lock}")
    most = max(len(one.order.ids) for one in asked)
    fitted = any(MEASURES[line.metric].fitted for line in policy.lines if line.metric in MEASURES)
    items = first if fitted else 0
    told_apart = [[one.order.task, one.key] for one in asked]
    ids = {one.order.task: one.order.ids for one in asked}
    attempt = numbered_by_items(ids, [told_apart, first, seed], asked[0].names)
    share = spent_under(fixed, asked[0].names, attempt)
    while True:
        # with many items a look costs more: they come further apart
        items = min(items + max(batch, items // 20), most)
        cells = [_ask(one, items) for one in asked]
        answered = [pair(one.order, *both, first=first) for one, both in zip(asked, cells, strict=True)]
        flags = [_doubts(*both) for both in cells]
        doubts = [said for one in flags for said in one.values()]
        # arithmetic that changed answers stands in the way of an acceptance alone: a rejection may still be reached
        hopeless = any(flag != "drift" for one in flags for flag in one)
        found = stop(answered, policy, share=share)
        log(f"{items} items a task: {found.decision or 'undecided'}, {found.held} of {found.lines} limits hold")
        if found.decision or hopeless or items >= most:
            decided = look(answered, policy, doubted=bool(doubts), share=share)
            free = unlocked([both[1] for both in cells], fixed)
            record = record_of(decided, policy, asked[0].names, doubts, attempt=attempt, unlocked=free)
            counts = {one.order.task: len(both[1]) for one, both in zip(asked, cells, strict=True)}
            return {**record, "asked": counts, "first": first, "seed": seed}


def _ask(asking: Asking, items: int) -> tuple[Cell, Cell]:
    order = asking.order
    ids = order.ids[: int(order.ends[order.units_of(min(items, len(order.ids))) - 1])]
    return asking.dense(ids), asking.compressed(ids)


def _doubts(dense: Cell, compressed: Cell) -> dict[str, str]:
    """What stands in the way of an acceptance, known from the first items, by flag."""
    row = rows_against(dense, [compressed], Protocol(splits=1, replicates=0))[1]
    known = {**OBSTACLES, **DOUBTS}
    flags = [flag for flag in row["flags"] if flag in known and flag != "at-chance"]
    return {flag: f"{compressed.key.task}: {known[flag]}" for flag in flags}


def _fixed(lock: Path, policy: Policy, sides: Sides, first: int, seed: int) -> dict[str, Any]:
    """A lock, where nothing is asked for that it fixes otherwise."""
    found = read_lock(lock)
    check_policy_of(found, policy, f"lock {lock}")
    if (first, seed, sides.limit) != (FIRST, found["protocol"]["seed"], None):
        raise SuiteError(
            f"lock {lock}: fixes the items and their order; leave out --limit, --seed and --first "
            f"(seed {found['protocol']['seed']}, first {FIRST})"
        )
    return found


def _asking(
    sides: Sides,
    policy: Policy,
    conditions: Conditions,
    out: Path,
    seed: int,
    lock: Mapping[str, Any] | None,
    where: str,
) -> list[Asking]:
    given = _given(sides)
    locked = {} if lock is None else {str(one["name"]): one for one in lock["tasks"]}
    names = sides.tasks or tuple(locked) or tuple(given) or _tasks_of(policy)
    if not names:
        raise SuiteError(f"policy {policy.name} names no task; say which with --task")
    sheets = [_sheet(get_task(name), given, sides, locked) for name in names]
    compressed = _cells_of(sides, given, sheets, conditions)
    if lock is not None:
        check_tasks(lock, planned_tasks(sheets), where)
    if given:
        dense = [_already(given[sheet.task.name]) for sheet in sheets]
    else:
        plain = plan_variant(sides.dense, None, sheets, conditions)
        if lock is not None:
            check_dense(lock, [plain[0].model], where)
        dense = _growing(plain, conditions, out)
    other = _growing(compressed, conditions, out, stamp=None if lock is None else str(lock["lock_hash"]))
    return [
        Asking(_order(sheet, seed), one, two, planned.key, (planned.names.model, planned.names.variant))
        for sheet, one, two, planned in zip(sheets, dense, other, compressed, strict=True)
    ]


def _given(sides: Sides) -> dict[str, Cell]:
    """Dense cells by task, where a file or folder of cells was named in the place of a model."""
    path = Path(sides.dense)
    holds_cells = not (path / "config.json").is_file() and next(path.rglob("*.parquet"), None) is not None
    if path.suffix != ".parquet" and not holds_cells:
        return {}
    found: dict[str, Cell] = {}
    for cell in load_cells(path):
        if cell.is_dense:
            if cell.key.task in found:
                raise SuiteError(f"{path}: two dense cells of task {cell.key.task}; name one cell file")
            found[cell.key.task] = cell
    if not found:
        raise SuiteError(f"{path}: no dense cell in it; name dense cells, or the dense model")
    return found


def _tasks_of(policy: Policy) -> tuple[str, ...]:
    """The tasks that a policy names, itself or by their kind."""
    named = [line.task for line in policy.lines if line.task]
    kinds = [task for line in policy.lines if line.kind for task in KINDS[line.kind] if task in TASKS]
    return tuple(dict.fromkeys([*named, *kinds]))


def _sheet(task: Task, given: Mapping[str, Cell], sides: Sides, locked: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """The task as it is asked: as the dense cell was, where there is one, and no items that it lacks; else as a lock
    has it."""
    if not given and task.name in locked:
        asked = locked[task.name]
        ways = {key: asked[key] for key in ("scoring", "prompt", "shots")}
        return make_sheet(task, **ways, limit=len(asked["ids"]))
    if not given:
        return make_sheet(task, limit=sides.limit)
    if task.name not in given:
        raise SuiteError(f"{sides.dense}: no dense cell of task {task.name}; there are: {', '.join(given)}")
    cell = given[task.name]
    key = cell.key
    sheet = make_sheet(task, scoring=key.scoring, prompt=key.prompt, shots=key.shots, limit=sides.limit)
    places = set(cell.ids)
    rows = [row for row, item in enumerate(sheet.questions) if item.id in places]
    if not rows:
        raise SuiteError(f"{cell.where}: no item of task {task.name} is in it")
    some = part(sheet, rows)
    hashed = cell.task.get("prompt_hash")
    if len(rows) == len(cell) and not sheet.name.chat and hashed not in (None, some.prompt_hash):
        raise SuiteError(f"{cell.where}: its prompts are not those of this version's {task.name}; score dense again")
    return some


def _order(sheet: Sheet, seed: int) -> Order:
    ids, options = zip(*((one.id, len(one.choices)) for one in sheet.questions), strict=True)
    return item_order(sheet.task.name, ids, sheet.units, options, seed=seed)


def _cells_of(
    sides: Sides, given: Mapping[str, Cell], sheets: Sequence[Sheet], conditions: Conditions
) -> list[PlannedCell]:
    """The compressed model's cells, under the name of the dense model."""
    if not given:
        if sides.dense != sides.model:
            return plan_variant(sides.model, sides.variant, sheets, conditions, dense=sides.dense)
        if sides.variant in (None, "dense"):
            raise SuiteError(f"model {sides.model}: is the dense model too; name a --variant to make of it")
        return plan_variant(sides.model, sides.variant, sheets, conditions)
    variant = sides.variant or variant_of(resolve_model(sides.model)).name
    planned = plan_variant(sides.model, sides.variant, sheets, conditions)
    return [
        replace(one, names=one.names._replace(model=given[one.sheet.task.name].key.model, variant=variant))
        for one in planned
    ]


def _already(cell: Cell) -> Ask:
    return lambda _: cell


def _growing(
    planned: Sequence[PlannedCell], conditions: Conditions, out: Path, *, stamp: str | None = None
) -> list[Ask]:
    """One model on several tasks; it is loaded once, when it is asked first."""
    one = planned[0]
    opened = cache(partial(open_scorer, one.model, one.variant, conditions, ready=one.ready))
    return [GrowingCell(cell, opened, out, stamp=stamp).ask for cell in planned]
