"""Does uncertainty collapse on some items and not on others? The rule of `suite.verdicts.collapse`, part by part.

A family of hypotheses of its own: the verdicts of whole tasks are the same with and without it. docs/slices.md says why
a part's thresholds come from its own items here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from suite.config import Protocol
from suite.grouped import grouped
from suite.metrics.rows import Measured
from suite.metrics.slices import EDGE, OwnSetSize, OwnSetSizes, part_members
from suite.prompt_name import original_of, parse_prompt
from suite.verdicts.collapse import RULE, Curve, Finding, correct_family, judge
from suite.verdicts.curves import METRICS, PRIMARY, Levels, Place, collect_levels, no_op_notes, record_title
from suite.verdicts.verdict import LEAST_SIMULATIONS, Verdict, across_settings

CHOSEN = (
    "items chosen because dense is least sure of them: their sets tend to shrink under any other model, "
    "which can hide a rise"
)


@dataclass(frozen=True)
class SliceVerdict:
    """A verdict about some of a task's items.

    Attributes:
        name: ``subject:<name>``, a slice that items carry, ``edge``, or ``perturbed:<what>``.
        n, units: how many items, and how many independent units (groups, else items) they make.
    """

    verdict: Verdict
    name: str
    n: int
    units: int

    def record(self) -> dict[str, object]:
        """The verdict, JSON-safe, with the part's name, its items and independent units behind the task."""
        record = self.verdict.record()
        whole = {key: record.pop(key) for key in ("model", "method", "family", "task")}
        return {**whole, "slice": self.name, "n": self.n, "units": self.units, **record}


@dataclass(frozen=True)
class _Part:
    """One part under one setting of a task; no curve where it has too few units, or a level has no value."""

    levels: Levels
    n: int
    units: int
    curve: Curve | None


def find_slice_verdicts(measured: Sequence[Measured], protocol: Protocol, *, methods: int = 0) -> list[SliceVerdict]:
    """A verdict on set size for each curve and part of its task.

    Conformal thresholds come from the part's items alone. With those of the whole task a part that lost nothing would
    break as soon as another part does, because the threshold they share moves. The rule is that of whole tasks. Holm's
    correction goes over all parts of all curves of a model that have enough units to be judged at all, which depends
    on the items alone; a part with fewer is undetermined and is no hypothesis.

    Parts: named slices, subjects, the edge, and every perturbed prompt. Subjects and the edge are left out where they
    have fewer units than can be judged.

    Args:
        measured: as for `suite.verdicts.verdict.find_verdicts`.
        methods: compression methods that the configuration plans, when more than are here: the family counts them.

    Returns:
        In the order of model, family, method, task and part. Settings of one task share one verdict, as on whole tasks.
    """
    found: dict[tuple[Place, str], list[_Part]] = {}
    for name, part in _parts(collect_levels(measured, protocol), protocol):
        found.setdefault((replace(part.levels.place, setting=()), name), []).append(part)
    result = []
    for model in sorted({place.model for place, _ in found}):
        mine = {key: parts for key, parts in found.items() if key[0].model == model}
        judged = [key for key, parts in mine.items() if min(part.units for part in parts) >= RULE.least_items]
        size = max(len(judged), methods * len({(place.task, name) for place, name in judged}))
        verdicts = {key: _verdict(key, parts, size) for key, parts in mine.items()}
        corrected = correct_family([verdicts[key].verdict.finding for key in judged], size=size)
        for key, finding in zip(judged, corrected, strict=True):
            verdicts[key] = replace(verdicts[key], verdict=replace(verdicts[key].verdict, finding=finding))
        result += list(verdicts.values())
    return sorted(result, key=lambda one: (one.verdict.place, one.name))


def _parts(curves: Sequence[Levels], protocol: Protocol) -> Iterator[tuple[str, _Part]]:
    for same in grouped(curves, lambda levels: levels.points[0].cell.curve_key).values():
        prompt = str(same[0].points[0].cell.task["prompt"])
        if original_of(prompt) is not None:
            for levels in same:
                cell = levels.points[0].cell
                whole = _Part(levels, len(cell), len(set(cell.units)), levels.curve(PRIMARY))
                yield f"perturbed:{parse_prompt(prompt).perturbation}", whole
            continue
        # methods share their dense cell and mostly their items, so dense is measured once
        for group in grouped(same, lambda levels: id(levels.points[0].cell)).values():
            dense = group[0].points[0].cell
            for name, ids in part_members(dense, protocol).items():
                sizes = OwnSetSizes(dense, ids, protocol)
                if sizes.units < RULE.least_items:
                    if name != EDGE and not name.startswith("subject:"):
                        yield from ((name, _Part(levels, len(ids), sizes.units, None)) for levels in group)
                    continue
                parent = sizes.of(dense)
                for levels in group:
                    own = [parent, *(sizes.of(point.cell) for point in levels.points[1:])]
                    yield name, _Part(levels, len(ids), sizes.units, _curve(levels, own, ids, protocol))


def _curve(levels: Levels, own: Sequence[OwnSetSize], ids: Sequence[str], protocol: Protocol) -> Curve | None:
    values = np.array([one.value for one in own])
    if not np.isfinite(values).all():
        return None
    dense, wanted = levels.points[0].cell, set(ids)
    rows = [row for row, item in enumerate(dense.ids) if item in wanted]
    minimum, chance = METRICS[PRIMARY].minimum, (1 - protocol.alpha) * float(dense.n_options[rows].mean())
    exhausted = levels.exhausted(values[0], chance, minimum)
    if not (levels.at_chance or own[0].above_chance):
        exhausted = "dense is not above chance on these items: nothing is left to lose"
    return Curve(
        names=levels.names,
        values=values,
        replicates=np.stack([one.replicates for one in own]),
        minimum=minimum,
        chance=chance,
        items=len({dense.units[row] for row in rows}),
        exhausted=exhausted,
        dose=levels.dose(),
    )


def _verdict(key: tuple[Place, str], parts: Sequence[_Part], size: int) -> SliceVerdict:
    place, name = key
    fewest = min(parts, key=lambda part: part.units)
    if fewest.units < RULE.least_items:
        note = f"{fewest.units} independent items, {RULE.least_items} are needed"
        finding, curve = Finding("undetermined", METRICS[PRIMARY].minimum, notes=(note,)), None
    else:
        judged = [(_judged(part.curve, size), part.curve) for part in parts]
        finding, curve = across_settings(judged, [part.levels for part in parts])
        if name == EDGE:
            finding = _of_the_edge(finding)
    finding = replace(finding, notes=(*finding.notes, *no_op_notes([part.levels for part in parts])))
    return SliceVerdict(Verdict(place, PRIMARY, finding, curve), name, fewest.n, fewest.units)


def _judged(curve: Curve | None, size: int) -> Finding:
    finding = judge(curve, simulations=LEAST_SIMULATIONS)
    if finding.verdict == "threshold" and 100 * size - 1 > LEAST_SIMULATIONS:
        # only a threshold needs the resolution that a large family asks for
        finding = judge(curve, simulations=100 * size - 1)
    return finding


def _of_the_edge(finding: Finding) -> Finding:
    if finding.verdict == "none":
        return replace(finding, verdict="undetermined", notes=(f"no rise is seen, but {CHOSEN}", *finding.notes))
    return replace(finding, notes=(*finding.notes, CHOSEN))


def slice_lines(records: Sequence[Mapping[str, object]]) -> list[str]:
    """A plain summary for a terminal: parts on which uncertainty breaks or fades, and how many others there are."""
    lines = ["parts of tasks, set size along rising compression:"]
    if not records:
        return [*lines, "  no part with a curve: no slices, and too few items for an edge"]
    for record in records:
        if record["verdict"] in ("threshold", "gradual"):
            where = f"{record['model']} {record_title(record)} on {record['task']}, {record['slice']}"
            lines.append(f"  {where} ({record['n']} items): {record['verdict']} at {record['level']}")
    counts = Counter(str(record["verdict"]) for record in records)
    others = [f"{counts[kind]} {kind}" for kind in ("none", "saturated", "undetermined")]
    return [*lines, f"  others: {', '.join(others)}"]
