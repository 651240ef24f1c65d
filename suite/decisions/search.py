"""The smallest variant that passes: searched for on one half of the items, tested on the other.

Whoever takes, of many candidates, any that passes ships a bad one more often than in 5 %. Here one half of the items
says in which order candidates are worth a test, and the other half, which the search has not seen, tests them in that
order until one is not accepted: a fixed sequence, each at the full level. Which item is in which half follows from a
hash of its id (`suite.decisions.lock.in_search_half`), before any outcome.

Reference: B. Laufer-Goldshtein, A. Fisch, R. Barzilay, T. Jaakkola, "Efficiently controlling multiple risks with
Pareto testing", ICLR 2023 (arXiv 2210.07913).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from suite.cell import Cell
from suite.config import RunConfig
from suite.decisions.attempts import Candidate
from suite.decisions.gate import (
    ACCEPT,
    BLOCKED,
    GATE_KEYS,
    REVIEW,
    Record,
    as_record,
    evidence,
    exit_status,
    gate_variants,
)
from suite.decisions.lock import in_search_half, locked_half, unlocked
from suite.decisions.policy import Policy
from suite.errors import SuiteError
from suite.grouped import grouped
from suite.metrics.slices import subset
from suite.verdicts.dose import in_sequence
from suite.verdicts.dose_records import JOINT_KEYS
from suite.verdicts.given import Given

SEARCH_KEYS = (*GATE_KEYS, "search")
"""Keys of a record of `search_cells`; `search` has those below."""

PLACE_KEYS = ("searched", "tested", "place", "smallest")
"""Items of each task that searched and that tested; the place in the order of tests, None where there was no test; and
whether it is the smallest of its model that passes."""


def search_cells(
    cells: Sequence[Cell],
    policy: Policy,
    *,
    config: RunConfig,
    variant: str | None = None,
    failures: Sequence[Mapping[str, Any]] = (),
    lock: Mapping[str, Any] | None = None,
    attempts: Mapping[Candidate, int] | None = None,
) -> list[Record]:
    """Find the smallest variant of each model that passes.

    Candidates stand in the order of the lock, from the safest to the smallest; without one by their measured size, the
    largest first, and those of one size, or all where a size is not known, as the configuration has them.

    Args:
        cells: of one run, dense ones among them.
        config: as run.
        variant, failures, lock, attempts: as `suite.decisions.gate.gate_variants` has them; with a lock its candidates
            alone are searched, on the halves that it names.

    Returns:
        Records with the keys `SEARCH_KEYS`, in the order of the candidates. Those that were not tested are under
        review (`blocked`), and their note says why.

    Raises:
        SuiteError: no variant matches, none is in the lock, or a task has too few items for two halves.
    """
    halves = [_halves(cell, lock) for cell in cells]
    first = _given([one for one, _ in halves], policy, config)
    seen = evidence(first, policy, variant=variant, failures=failures)
    order = _by_size(list(seen), cells)
    if lock is not None:
        order = [(model, name) for model, name in lock["candidates"] if (model, name) in seen]
        if not order:
            raise SuiteError("none of the lock's candidates is among these cells; name the run that it was made for")
    by_model = grouped(order, lambda one: one[0])
    sequences = {model: pareto_sequence(mine, seen) for model, mine in by_model.items()}
    hopeless = {one for one in order if np.isinf(seen[one])}
    wanted = hopeless.union(*sequences.values())
    other = [half for _, half in halves if half.is_dense or (half.key.model, half.key.variant) in wanted]
    tested = gate_variants(
        _given(other, policy, config),
        policy,
        failures=[one for one in failures if (one.get("model"), one.get("variant")) in wanted],
        lock=lock,
        attempts=attempts,
    )
    known = {(one["model"], one["variant"]): one for one in tested}
    sizes = _sizes(halves)
    records = []
    for model, sequence in sequences.items():
        passed = [known[one]["decision"] == ACCEPT for one in sequence]
        in_order = in_sequence(passed)
        for one in by_model[model]:
            place = sequence.index(one) if one in sequence else None
            reached = place is not None and all(passed[:place])
            if one in hopeless and not reached:
                record = dict(known[one])
            elif reached:
                record, searched, left = dict(known[one]), *sizes.get(model, ({}, {}))
                said = f"searched on {sum(searched.values())} items, tested on the {sum(left.values())} others"
                record["notes"] = [*record["notes"], said]
            else:
                record = _not_tested(one, policy, (attempts or {}).get(one, 1), cells, lock)
                record["notes"] = [_why_not(one, sequence, passed)]
            last = reached and place == sum(in_order) - 1
            values = (*sizes.get(model, ({}, {})), place + 1 if reached and place is not None else None, last)
            records.append({**record, "search": dict(zip(PLACE_KEYS, values, strict=True))})
    return records


def pareto_sequence(order: Sequence[Candidate], seen: Mapping[Candidate, float]) -> list[Candidate]:
    """The candidates worth a test, from the safest to the smallest: those that no smaller one equals. Those of which
    nothing can be said are left out; where that is all, the safest is tested.

    Args:
        order: from the safest to the smallest.
        seen: how far from an acceptance each is, on the items of the search.

    >>> pareto_sequence([("m", "w8"), ("m", "w6"), ("m", "w4")], {("m", "w8"): 0.4, ("m", "w6"): 0.1, ("m", "w4"): 3.0})
    [('m', 'w6'), ('m', 'w4')]
    """
    kept, best = list[Candidate](), np.inf
    for one in reversed(order):
        if seen[one] < best:
            kept, best = [one, *kept], seen[one]
    return kept or list(order[:1])


def search_status(records: Sequence[Mapping[str, Any]]) -> int:
    """0 where every model has a variant that passes; else by the worst decision of the models that have none."""
    found = {record["model"] for record in records if record["search"]["smallest"]}
    tests = [one for one in records if one["model"] not in found and one["search"]["place"] is not None]
    return exit_status(tests)


def search_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a model: the smallest variant that passes, and the items behind it."""
    lines = []
    for model in dict.fromkeys(record["model"] for record in records):
        mine = [record for record in records if record["model"] == model]
        found = next((record["variant"] for record in mine if record["search"]["smallest"]), "none")
        counts = [sum(mine[0]["search"][key].values()) for key in ("searched", "tested")]
        tests = sum(record["search"]["place"] is not None for record in mine)
        lines.append(
            f"{model}: the smallest that passes: {found} ({len(mine)} candidates searched on {counts[0]} items, "
            f"{tests} tested on {counts[1]} others)"
        )
    return lines


def _by_size(order: Sequence[Candidate], cells: Sequence[Cell]) -> list[Candidate]:
    """The largest first; as they are where a size is not known."""
    sizes: dict[Candidate, float] = {}
    for cell in cells:
        known = cell.variant.get("megabytes")
        if known is not None:
            sizes[cell.key.model, cell.key.variant] = float(known)
    found = []
    for mine in grouped(order, lambda one: one[0]).values():
        found += sorted(mine, key=lambda one: -sizes[one]) if all(one in sizes for one in mine) else mine
    return found


def _halves(cell: Cell, lock: Mapping[str, Any] | None) -> tuple[Cell, Cell]:
    """The items that search and those that test."""
    locked = None if lock is None else locked_half(lock, cell)
    inside = in_search_half(cell.units) if locked is None else np.array([item in locked for item in cell.ids])
    if inside.all() or not inside.any():
        raise SuiteError(f"{cell.where}: its {len(cell)} items make no two halves; leave out --search")
    return subset(cell, np.flatnonzero(inside)), subset(cell, np.flatnonzero(~inside))


def _sizes(halves: Sequence[tuple[Cell, Cell]]) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Items of each task in both halves, by model, as dense has them."""
    found: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for pair in halves:
        for half, counts in zip(pair, found.setdefault(pair[0].key.model, ({}, {})), strict=True):
            counts[half.key.task] = max(counts.get(half.key.task, 0), len(half))
    return found


def _given(cells: Sequence[Cell], policy: Policy, config: RunConfig) -> Given:
    """Measured anew, as no half is kept; without replicates where all limits are of answers, which need none."""
    if not all(line.metric in ("accuracy", "error_rate", "safety_violations") for line in policy.lines):
        return Given.of(cells, config, keep=JOINT_KEYS)
    return Given.of(cells, replace(config, protocol=replace(config.protocol, replicates=0)), keep=())


def _not_tested(
    one: Candidate, policy: Policy, attempt: int, cells: Sequence[Cell], lock: Mapping[str, Any] | None
) -> Record:
    mine = [cell for cell in cells if (cell.key.model, cell.key.variant) == one]
    return as_record(one, policy, (REVIEW, BLOCKED, []), unlocked=unlocked(mine, lock), attempt=attempt)


def _why_not(one: Candidate, sequence: Sequence[Candidate], passed: Sequence[bool]) -> str:
    if one not in sequence:
        return "not tested: on the items of the search a smaller one lost no more"
    stopped = sequence[list(passed).index(False)][1]
    return f"not tested: {stopped}, which comes before it, was not accepted"
