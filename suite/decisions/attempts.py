"""How often somebody has tried on the same items: a team that tunes until the gate is green undoes its 5 %.

Every candidate that was judged is a line of `attempts.jsonl`. All that are seen for the first time in one call share
one attempt; a candidate that was judged before keeps its own. From the second attempt on a candidate is tested at
alpha 6 / (pi^2 k^2), which over all k sums to alpha.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.cell import Cell
from suite.errors import SuiteError
from suite.files import json_objects, read_text, write_file
from suite.models.cache import cache_dir

FILE = "attempts.jsonl"

Candidate = tuple[str, str]
"""Model and variant."""


def spent(attempt: int, *, listed: bool, locked: bool) -> float:
    """Share of an error probability that a candidate may use.

    Args:
        listed: it is one of the lock's candidates, which were fixed beforehand.
        locked: there is a lock.

    >>> spent(1, listed=False, locked=False), round(spent(2, listed=False, locked=False), 3)
    (1.0, 0.152)
    """
    if listed or (attempt == 1 and not locked):
        return 1.0
    return 6 / (math.pi * attempt) ** 2


def spent_under(lock: Mapping[str, Any] | None, names: Candidate, attempt: int) -> float:
    """`spent` of a candidate under a lock, or without one (None)."""
    listed = lock is not None and list(names) in lock["candidates"]
    return spent(attempt, listed=listed, locked=lock is not None)


def numbered(cells: Sequence[Cell], folder: Path | None, wanted: Iterable[Candidate]) -> dict[Candidate, int]:
    """The attempt that each candidate is on the items of its model, with new ones written down.

    The file lies in a run directory; of a snapshot, a folder that cannot be written, or none, in the suite's cache.
    """
    items = _items(cells)
    asked = {one: _content(cells, *one) for one in wanted}
    return _numbered(_file(folder, items), {one: (items[one[0]], content) for one, content in asked.items()})


def numbered_by_items(tasks: Mapping[str, Sequence[str]], candidate: Sequence[object], names: Candidate) -> int:
    """The attempt of one candidate whose items are asked one by one, with a new one written down in the suite's cache.

    Args:
        tasks: ids of all items that may be asked, by task.
        candidate: what it is told apart by, its order of items among it: asked in another order it has another chance.
        names: model and variant.
    """
    items = _hash([names[0], sorted([task, sorted(ids)] for task, ids in tasks.items())])
    return _numbered(_file(None, {names[0]: items}), {names: (items, _hash(list(candidate)))})[names]


def _numbered(file: Path, wanted: Mapping[Candidate, tuple[str, str]]) -> dict[Candidate, int]:
    """By candidate, given as hashes of its items and of itself."""
    known: dict[tuple[str, str], int] = {}
    text = read_text(file) if file.is_file() else ""
    for number, record in json_objects(file, text):
        try:
            known[str(record["items"]), str(record["candidate"])] = int(record["attempt"])
        except (KeyError, TypeError, ValueError) as error:
            raise SuiteError(f"{file}:{number}: no attempt; remove the line") from error
    found: dict[Candidate, int] = {}
    fresh = []
    for (model, variant), (items, content) in wanted.items():
        before = [attempt for (where, _), attempt in known.items() if where == items]
        attempt = known.get((items, content), max(before, default=0) + 1)
        found[model, variant] = attempt
        if (items, content) not in known:
            fresh.append({"items": items, "candidate": content, "attempt": attempt, "model": model, "variant": variant})
    if fresh:
        write_file(file, text + "".join(json.dumps(one) + "\n" for one in fresh))
    return found


def _items(cells: Sequence[Cell]) -> dict[str, str]:
    """By model, a hash of the items and prompts that dense was asked."""
    parts: dict[str, list[Any]] = {}
    for cell in cells:
        asked = parts.setdefault(cell.key.model, [])
        if cell.is_dense:
            asked.append([*cell.key[1:5], sorted(cell.ids)])
    return {model: _hash([model, sorted(asked)]) for model, asked in parts.items()}


def _content(cells: Sequence[Cell], model: str, variant: str) -> str:
    """A hash of a candidate's scores: another checkpoint under the same name is another candidate."""
    mine = sorted(
        (*map(str, cell.key[1:5]), hashlib.sha256(cell.scores.tobytes()).hexdigest())
        for cell in cells
        if (cell.key.model, cell.key.variant) == (model, variant)
    )
    return _hash([variant, mine])


def _hash(value: object) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value).encode("utf-8", "surrogatepass")).hexdigest()


def _file(folder: Path | None, items: Mapping[str, str]) -> Path:
    if (
        folder is not None
        and folder.is_dir()
        and not (folder / "manifest.json").exists()
        and os.access(folder, os.W_OK)
    ):
        return folder / FILE
    return cache_dir() / "attempts" / f"{_hash(sorted(items.values())).removeprefix('sha256:')}.jsonl"
