"""What was fixed before anything was compressed: policy, candidates in their order, items, prompts, seeds, weights.

A lock is a JSON file that `suite policy lock` writes and `suite run --lock` stamps on the cells that it scores. It is a
record and no proof: whoever can write files can write any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell
from suite.config import RunConfig
from suite.decisions.policy import Policy, policy_hash
from suite.errors import SuiteError
from suite.files import parse_json, read_text
from suite.metrics.folds import uniforms, unit_keys
from suite.verdicts.dose import in_sequence

LOCK_KEYS = ("policy", "policy_hash", "candidates", "tasks", "dense", "protocol", "sample_text", "suite_version")
"""Keys of a lock's content, in order."""


def lock_content(
    policy: Policy,
    config: RunConfig,
    *,
    candidates: Sequence[tuple[str, str]],
    tasks: Sequence[Mapping[str, Any]],
    dense: Mapping[str, Mapping[str, Any]],
    version: str,
) -> dict[str, Any]:
    """The content of a lock.

    Args:
        candidates: model and variant, from the safest to the smallest.
        tasks: of each what it is called, how it is asked, and the ids of its items (`task_record`).
        dense: hashes of what each model's scores depend on, by name.
    """
    values = (
        json.loads(json.dumps(asdict(policy))),
        policy_hash(policy),
        [list(one) for one in candidates],
        [dict(one) for one in tasks],
        {name: dict(parts) for name, parts in dense.items()},
        asdict(config.protocol),
        json.loads(json.dumps(asdict(config.sample_text))),
        version,
    )
    return dict(zip(LOCK_KEYS, values, strict=True))


def task_record(
    name: str,
    *,
    scoring: str,
    prompt: str,
    shots: int,
    prompt_hash: str,
    template: Any,
    ids: Sequence[str],
    units: Sequence[str],
) -> dict[str, Any]:
    """How a task is asked, on which items, and which half of them a search may look at.

    Args:
        units: of each item, what stays together: items that share a passage are not parted.
    """
    first = in_search_half(units)
    return {
        **{"name": name, "scoring": scoring, "prompt": prompt, "shots": shots, "prompt_hash": prompt_hash},
        "chat_template": template,
        "ids": list(ids),
        "search_half": [item for item, inside in zip(ids, first.tolist(), strict=True) if inside],
    }


def in_search_half(units: Sequence[str]) -> NDArray[np.bool_]:
    """Which items a search may look at, shape [n]; the others are left for the test. By a hash of their units alone, so
    that no model has a say."""
    return uniforms(unit_keys(units, purpose="search half"), 0) < 0.5


def lock_text(content: Mapping[str, Any]) -> str:
    """A lock file: its content, and the hash by which cells name it."""
    return json.dumps({"lock_hash": lock_hash(content), **content}, indent=1, ensure_ascii=False) + "\n"


def lock_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of a lock's content."""
    said = {key: content[key] for key in LOCK_KEYS}
    return "sha256:" + hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_lock(path: Path) -> dict[str, Any]:
    """A lock with its `lock_hash`.

    Raises:
        SuiteError: missing, no lock, or changed since it was written.
    """
    found = parse_json(read_text(path, "lock", todo="make one with suite policy lock"), str(path))
    if not isinstance(found, dict) or not {*LOCK_KEYS, "lock_hash"} <= set(found):
        raise SuiteError(f"lock {path}: no lock; make one with suite policy lock")
    if lock_hash(found) != found["lock_hash"]:
        raise SuiteError(f"lock {path}: changed since it was written; make another one before the next candidate")
    return found


def check_planned(lock: Mapping[str, Any], config: RunConfig, tasks: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise where a run's items, prompts or protocol are not those of the lock.

    Args:
        tasks: as `task_record` makes them of what the run asks.
        where: the lock, for messages.
    """
    check_tasks(lock, tasks, where)
    if lock["protocol"] != asdict(config.protocol):
        raise SuiteError(f"{where}: foreign lock: another protocol; make a lock of this run")


def check_tasks(lock: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise where items or prompts are not those of the lock; arguments as of `check_planned`."""
    for mine in tasks:
        other = _task_of(lock, mine)
        if other is None:
            raise SuiteError(
                f"{where}: foreign lock: it has no task {mine['name']} asked in this way; make a lock of this run"
            )
        for key, said in (("ids", "items"), ("prompt_hash", "prompts")):
            if other[key] != mine[key]:
                raise SuiteError(f"{where}: foreign lock: other {said} on {mine['name']}; make a lock of this run")


def check_policy_of(lock: Mapping[str, Any], policy: Policy, where: str) -> None:
    """Raise where the policy is another one than the lock's."""
    if lock["policy_hash"] != policy_hash(policy):
        raise SuiteError(f"{where}: foreign lock: it fixes the policy {lock['policy']['name']}, not {policy.name}")


def check_cells(lock: Mapping[str, Any], cells: Sequence[Cell], policy: Policy, where: str) -> None:
    """Raise where cells to be judged have other items than the lock, or the policy is another one."""
    check_policy_of(lock, policy, where)
    for cell in cells:
        if not cell.is_dense:
            continue
        _, task, scoring, prompt, shots = cell.curve_key
        other = _task_of(lock, {"name": task, "scoring": scoring, "prompt": prompt, "shots": shots})
        if other is None or set(other["ids"]) != set(cell.ids):
            what = "no such task" if other is None else "other items"
            raise SuiteError(f"{where}: foreign lock: {what} on {task} ({cell.where}); name the lock of these cells")


def locked_half(lock: Mapping[str, Any], cell: Cell) -> set[str] | None:
    """Ids of a cell's task that a lock leaves to a search; None where it has no such task."""
    _, task, scoring, prompt, shots = cell.curve_key
    found = _task_of(lock, {"name": task, "scoring": scoring, "prompt": prompt, "shots": shots})
    return None if found is None else set(found["search_half"])


def _task_of(lock: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    keys = ("name", "scoring", "prompt", "shots")
    return next((one for one in lock["tasks"] if all(one[key] == asked[key] for key in keys)), None)


def unlocked(cells: Sequence[Cell], lock: Mapping[str, Any] | None) -> int:
    """How many cells do not carry the hash of this lock, or of any where none is given."""
    wanted = None if lock is None else lock["lock_hash"]
    return sum(cell.run.get("lock") is None or (wanted is not None and cell.run["lock"] != wanted) for cell in cells)


def smallest_accepted(records: Sequence[Mapping[str, Any]], lock: Mapping[str, Any], model: str) -> str | None:
    """The last candidate of a model, in the lock's order, such that it and all before it are accepted.

    A fixed sequence: each is tested at the full level, and the first that is not accepted ends it, so that the chance
    of naming one that loses more than a limit stays at the level of one test.
    """
    decisions = {record["variant"]: record["decision"] for record in records if record["model"] == model}
    order = [variant for name, variant in lock["candidates"] if name == model]
    shown = in_sequence([decisions.get(variant) == "accept" for variant in order])
    return next((variant for variant, one in zip(order[::-1], shown[::-1], strict=True) if one), None)
