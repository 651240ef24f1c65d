"""May this compressed model replace that dense one? Each variant of a run under one policy.

The interface: `gate_variants` takes the measured cells of a run and a `suite.decisions.policy.Policy` and gives one
record a variant with the keys `GATE_KEYS`. `exit_status` is the worst decision of some records,
`suite.decisions.report` says them in words. `lines_of` says which limits apply to which tasks, and `decide` makes a
decision of tested limits: whoever measures losses in another way uses these two.

*Accept*: of every limit and every red line the upper bound of the loss lies inside. All have to hold, so nothing is
corrected for their number. *Reject*: a red line, or the policy's multiple of a limit, is shown to be exceeded (Holm
over all of them). Else *review*, with a reason: ``blocked`` (a task is missing, a part of the model is not compressed,
dense at chance, arithmetic that changed answers, other prompts than dense's), ``in_band`` (more than a limit is shown
to be lost, its multiple is not), ``undecided`` (more items would tell). No decision rests on a point value.
docs/gate.md has definitions, error rates and limits.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from suite.arrays import Numbers
from suite.cell import Cell
from suite.config import Protocol as Rules
from suite.config import RunConfig
from suite.decisions.answers import LostAnswers, Pairs, pairs_of
from suite.decisions.attempts import Candidate, spent_under
from suite.decisions.built_in import planned_policy
from suite.decisions.edge import part_rows
from suite.decisions.items import items_needed
from suite.decisions.lock import unlocked
from suite.decisions.policy import KINDS, Criterion, Policy, RedLine, policy_hash
from suite.errors import SuiteError
from suite.grouped import grouped
from suite.metrics.average import Setting, unperturbed
from suite.metrics.proportions import proportion_interval
from suite.metrics.rows import Measured, measure_cells
from suite.metrics.slices import SMALLEST, holm
from suite.verdicts.by_size import size_places
from suite.verdicts.curves import Levels, Place, cell_setting, with_shared_items
from suite.verdicts.dose import CONFIDENCE, Z_POWER, Contrasts, Ladder
from suite.verdicts.dose_records import NoValueError, pair_ladder
from suite.verdicts.given import Given

ACCEPT, REVIEW, REJECT = "accept", "review", "reject"
BLOCKED, IN_BAND, UNDECIDED = "blocked", "in_band", "undecided"
WITHIN, EXCEEDED, NOT_MEASURED = "within", "exceeded", "not_measured"
"""Outcomes of one limit; besides these `IN_BAND` and `UNDECIDED`."""

GATE_KEYS = (
    *("model", "variant", "policy", "policy_hash", "decision", "reason", "unlocked", "attempt"),
    *("lost_at_most", "lost_at_least", "criteria", "red_lines", "notes"),
)
LINE_KEYS = ("metric", "scope", "limit", "unit", "loss", "lower", "upper", "outcome", "items_to_decide", "note")
"""Keys of a record and of each of its criteria and red lines, in order."""

EXACT_POWER = 20_000
"""Beyond so many items `items_to_decide` goes by the normal approximation, which is as good there and quick."""

Record = dict[str, Any]


class Loss(Protocol):
    """What one limit is about: a loss that can be tested. Upwards is worse, in the unit of the limit."""

    @property
    def value(self) -> float | None:
        """What was seen."""

    def below(self, limit: float) -> float:
        """p-value of "less than this is lost"."""

    def above(self, limit: float) -> float:
        """p-value of "more than this is lost"."""

    def bounds(self, confidence: float) -> tuple[float | None, float | None]:
        """What is lost at least and at most, each with this confidence; None where unbounded."""


@dataclass(frozen=True)
class Line:
    """One limit of a policy on the tasks that it is about.

    Attributes:
        line: as the policy has it.
        scope: where, in words.
        tasks: more than one for an average.
    """

    line: Criterion
    scope: str
    tasks: tuple[str, ...]

    @property
    def is_red(self) -> bool:
        """Whether nothing is reviewed beyond it."""
        return isinstance(self.line, RedLine)


@dataclass(frozen=True)
class Tested:
    """A limit with the loss that was measured.

    Attributes:
        loss: None where there is none.
        note: why not, or what must be known beside it.
        items: what the loss was measured on, for `items_to_decide`; None where that is not known.
    """

    line: Line
    loss: Loss | None
    note: str = ""
    items: float | None = None


def gate_variants(
    given: Given,
    policy: Policy,
    *,
    variant: str | None = None,
    failures: Sequence[Mapping[str, Any]] = (),
    lock: Mapping[str, Any] | None = None,
    attempts: Mapping[Candidate, int] | None = None,
) -> list[Record]:
    """Decide about every compressed variant of every model.

    Args:
        given: cells of one run, dense ones among them, with the replicates of
            `suite.verdicts.dose_records.JOINT_KEYS`.
        variant: only variants whose name matches this pattern (``rtn-w4*``).
        failures: records of cells that could not be scored.
        lock: what was fixed beforehand (`suite.decisions.lock.read_lock`).
        attempts: of each model and variant, which attempt it is on its items (`suite.decisions.attempts`); else the
            first.

    Returns:
        Records with the keys `GATE_KEYS`, JSON-safe, by model (size) and variant as the run has them.

    Raises:
        SuiteError: no variant matches, or no limit of the policy is about a task of the run.
    """
    result = []
    for judged in _each_judged(given, policy, variant, failures):
        attempt = (attempts or {}).get((judged.model, judged.variant), 1)
        share = spent_under(lock, (judged.model, judged.variant), attempt)
        result.append(judged.record(attempt=attempt, share=share, lock=lock))
    return result


def evidence(
    given: Given,
    policy: Policy,
    *,
    variant: str | None = None,
    failures: Sequence[Mapping[str, Any]] = (),
) -> dict[Candidate, float]:
    """How far from an acceptance each candidate is, in the order of `gate_variants`: of all limits the largest p-value
    of "less than this is lost", as a multiple of the error probability that the limit allows. At 1 and less a first
    attempt is accepted, unless something stands in the way of that; infinite where nothing can be said at all."""
    found = {}
    for judged in _each_judged(given, policy, variant, failures):
        seen = judged.seen
        ratios = [_evidence_of(one) for one in seen.tested]
        found[judged.model, judged.variant] = float("inf") if seen.obstacles else max(ratios, default=float("inf"))
    return found


def _evidence_of(one: Tested) -> float:
    line, missing = one.line.line, one.loss is None or one.loss.value is None
    if missing or line.tested <= 0:
        return float("inf") if not missing or must_be_measured(one.line) else 0.0
    assert one.loss is not None
    return one.loss.below(line.tested) / (1 - line.confidence)


def _each_judged(
    given: Given, policy: Policy, variant: str | None, failures: Sequence[Mapping[str, Any]]
) -> list[_Judged]:
    """Every compressed variant of every model, by model (size) and variant as the run has them."""
    real = [one for one in given.every if not _is_null(one)]
    places = size_places(real)
    models = grouped(sorted(real, key=lambda one: places[one.cell.key.model]), lambda one: one.cell.key.model)
    for failure in failures:
        models.setdefault(str(failure.get("model")), [])
    wanted = {model: _variants(members, model, failures, given.config) for model, members in models.items()}
    if variant is not None:
        wanted = {
            model: [name for name in names if fnmatch.fnmatchcase(name, variant)] for model, names in wanted.items()
        }
    if not any(wanted.values()):
        every = sorted({one.cell.key.variant for one in given.every if not one.cell.is_dense})
        pattern = "" if variant is None else f" matches {variant!r}"
        raise SuiteError(f"no compressed variant{pattern}; there are: {', '.join(every) or 'none'}")
    dense = [one for one in given.every if one.cell.is_dense]
    result = []
    for model, names in wanted.items():
        parts: dict[tuple[Setting, str, tuple[str, ...]], tuple[Numbers, str]] = {}
        for name in names:
            result.append(_Judged(model, name, models[model], dense, failures, policy, given.protocol, parts))
    return result


def gates_of(given: Given) -> list[Record]:
    """Decisions under the policy that the configuration of a run names; none where it names none, or nothing is
    compressed yet."""
    policy = planned_policy(given.config)
    if policy is None or not any(not one.cell.is_dense and not _is_null(one) for one in given.every):
        return []
    return gate_variants(given, policy)


def candidates(cells: Sequence[Cell], variant: str | None = None) -> list[Candidate]:
    """Model and variant of what would be judged, in the order of the cells: compressed, and matching the pattern."""
    found = [cell.key for cell in cells if not cell.is_dense and (cell.parsed is None or cell.parsed.family != "dense")]
    wanted = [key for key in found if variant is None or fnmatch.fnmatchcase(key.variant, variant)]
    return list(dict.fromkeys((key.model, key.variant) for key in wanted))


def lines_of(policy: Policy, tasks: Sequence[str]) -> list[Line]:
    """The limits that apply to these tasks, criteria first, one a task where a limit is about each of several.

    Raises:
        SuiteError: no criterion is about one of these tasks.

    >>> from suite.decisions.built_in import get_policy
    >>> [line.scope for line in lines_of(get_policy("mlperf-99"), ["sciq", "piqa"])]
    ['task sciq', 'task piqa']
    """
    found = []
    for line in policy.lines:
        if line.task is not None:
            found.append(Line(line, f"task {line.task}", (line.task,)))
        elif line.kind is not None:
            found += [Line(line, f"task {task}", (task,)) for task in tasks if task in _of_kind(policy, line, tasks)]
        elif line.each_task:
            found += [Line(line, f"task {task}", (task,)) for task in tasks]
        else:
            found.append(Line(line, line.scope, tuple(tasks)))
    if all(line.is_red for line in found):
        kinds = sorted({line.kind for line in policy.criteria if line.kind})
        raise SuiteError(
            f"policy {policy.name}: its limits are about tasks of the kinds {', '.join(kinds)}, and none of "
            f"{', '.join(tasks)} is one; use another policy, or a limit with 'task' or for the average"
        )
    return found


def decide(
    tested: Sequence[Tested],
    policy: Policy,
    *,
    blocked: bool = False,
    doubted: bool = False,
    share: float = 1.0,
) -> tuple[str, str | None, list[Record]]:
    """Decision, reason, and one record a limit with the keys `LINE_KEYS`, in the order given.

    Args:
        tested: from `lines_of`.
        blocked: something is missing; only a rejection stands without it.
        doubted: something stands in the way of an acceptance alone.
        share: of each error probability that this decision may use (`suite.decisions.attempts.spent`).

    >>> from suite.decisions.answers import LostAnswers, pairs_of
    >>> right = np.r_[np.ones(700), np.zeros(300)]
    >>> policy = Policy("ours", "us", (Criterion("accuracy", 0.02, "points"),))
    >>> (line,) = lines_of(policy, ["sciq"])
    >>> decide([Tested(line, LostAnswers((pairs_of(right, right),)))], policy)[:2]
    ('accept', None)
    """
    levels = [(1 - one.line.line.confidence) * share for one in tested]
    outcomes = outcomes_of(tested, policy, share=share)
    records = [_line_record(one, outcome, level) for one, outcome, level in zip(tested, outcomes, levels, strict=True)]
    unknown = [
        must_be_measured(one.line) for one, outcome in zip(tested, outcomes, strict=True) if outcome == NOT_MEASURED
    ]
    if EXCEEDED in outcomes:
        return REJECT, None, records
    if blocked or any(unknown):
        return REVIEW, BLOCKED, records
    for reason in (IN_BAND, UNDECIDED):
        if reason in outcomes:
            return REVIEW, reason, records
    return (REVIEW, BLOCKED, records) if doubted else (ACCEPT, None, records)


def as_record(
    names: Candidate,
    policy: Policy,
    decided: tuple[str, str | None, Sequence[Record]],
    *,
    red: Sequence[bool] = (),
    unlocked: int,
    attempt: int,
    lost: tuple[float | None, float | None] = (None, None),
    notes: Iterable[str] = (),
) -> Record:
    """A decision with the keys `GATE_KEYS`.

    Args:
        names: model and variant.
        decided: from `decide`.
        red: of each limit in it, whether it is a red line.
        unlocked: cells that no lock had fixed.
        attempt: the how manieth on these items it is (`suite.decisions.attempts`).
        lost: answers lost at least and at most, as a share of the items.
    """
    decision, reason, records = decided
    at_least, at_most = lost
    values = (
        *(*names, policy.name, policy_hash(policy), decision, reason, unlocked, attempt, at_most, at_least),
        [one for one, is_red in zip(records, red, strict=True) if not is_red],
        [one for one, is_red in zip(records, red, strict=True) if is_red],
        list(notes),
    )
    return dict(zip(GATE_KEYS, values, strict=True))


def outcomes_of(tested: Sequence[Tested], policy: Policy, *, share: float = 1.0) -> list[str]:
    """What is shown of each limit, without bounds: `decide` has the arguments."""
    adjusted = holm([1.0 if one.loss is None else one.loss.above(_beyond(one.line, policy)) for one in tested])
    levels = [(1 - one.line.line.confidence) * share for one in tested]
    return [_outcome(one, level, worse <= level) for one, level, worse in zip(tested, levels, adjusted, strict=True)]


def exit_status(records: Sequence[Mapping[str, Any]]) -> int:
    """By the worst decision: 1 any rejected, else 3 any under review, else 0."""
    decisions = {record["decision"] for record in records}
    return 1 if REJECT in decisions else 3 if REVIEW in decisions else 0


def must_be_measured(line: Line) -> bool:
    """Whether nothing is accepted without it: a criterion, or a red line that the policy requires."""
    return line.line.required if isinstance(line.line, RedLine) else True


def _beyond(line: Line, policy: Policy) -> float:
    """What must be shown to be exceeded for a rejection."""
    return float(line.line.limit * (1.0 if line.is_red else policy.review))


def _outcome(tested: Tested, level: float, exceeded: bool) -> str:
    line, loss = tested.line.line, tested.loss
    if loss is None or loss.value is None:
        return NOT_MEASURED
    if exceeded:
        return EXCEEDED
    if line.tested > 0 and loss.below(line.tested) <= level:
        return WITHIN
    return IN_BAND if not tested.line.is_red and loss.above(line.limit) <= level else UNDECIDED


def _line_record(tested: Tested, outcome: str, level: float) -> Record:
    line, loss = tested.line.line, tested.loss
    lower, upper = (None, None) if loss is None else loss.bounds(1 - level)
    needed = None if loss is None or outcome != UNDECIDED else _items_to_decide(loss, line, level, tested.items)
    note = tested.note or (f"tested at {line.tested:g}, with its margin" if line.margin else "")
    values = (line.metric, tested.line.scope, float(line.limit), line.unit, loss.value if loss else None, lower, upper)
    return dict(zip(LINE_KEYS, (*values, outcome, needed, note or None), strict=True))


def _items_to_decide(loss: Loss, line: Criterion, level: float, items: float | None) -> int | None:
    """Items with which the limit is shown to hold, or not to, in 80 % of repetitions if the true loss is what was seen;
    by exact power for accuracy in points, up to `EXACT_POWER` items. None where it lies at the limit."""
    from scipy.special import ndtri

    value = loss.value
    if value is None or line.tested <= 0:
        return None
    if isinstance(loss, LostAnswers) and loss.unit == "points" and 0 <= value < line.tested:
        flips = max(float(np.mean([one.flips for one in loss.tasks])), value, 1e-3)
        if _first_guess(line.tested, flips, value) <= EXACT_POWER:
            return items_needed(line.tested, round(flips, 3), lost=round(value, 3), confidence=1 - level)
    p_value = loss.below(line.tested) if value < line.tested else loss.above(line.tested)
    away = -float(ndtri(min(max(p_value, 1e-12), 1 - 1e-12)))
    if items is None or away < 1:
        return None
    return int(np.ceil(items * ((-float(ndtri(level)) + Z_POWER) / away) ** 2))


def _first_guess(limit: float, flips: float, lost: float) -> float:
    return flips * ((1.645 + Z_POWER) / (limit - lost)) ** 2


@dataclass(frozen=True)
class LostMean:
    """The loss of a metric that has replicates: the contrasts of a dose with one level."""

    contrasts: Contrasts

    @classmethod
    def of(cls, ladder: Ladder, metric: str, unit: str) -> LostMean:
        """The loss as a share of the headroom, or with dense plus one, or twice dense, in the place of chance."""
        if metric == "lac_transfer_coverage":
            assert ladder.band is not None
            band = ladder.band
            ladder = replace(ladder, values=-band.values, replicates=-band.replicates, band=None, worth=1.0)
        if unit == "points":
            chance, replicates = ladder.values[0] + 1, ladder.replicates[0] + 1
        elif unit == "relative":
            chance, replicates = 2 * ladder.values[0], 2 * ladder.replicates[0]
        else:
            return cls(Contrasts(ladder))
        return cls(Contrasts(replace(ladder, chance=float(chance), chance_replicates=replicates)))

    @property
    def value(self) -> float | None:
        """See `Loss`; None where too few replicates are finite, or dense is not shown to lie off chance."""
        return self.contrasts.loss(1) if self.contrasts.known else None

    def below(self, limit: float) -> float:
        """See `Loss`."""
        return 1.0 if self.value is None else self.contrasts.below(1, limit)

    def above(self, limit: float) -> float:
        """See `Loss`."""
        return 1.0 if self.value is None else self.contrasts.above(1, limit)

    def bounds(self, confidence: float) -> tuple[float | None, float | None]:
        """See `Loss`."""
        return (None, None) if self.value is None else self.contrasts.interval(1, confidence)


def _is_null(one: Measured) -> bool:
    """Dense computed otherwise: the noise floor, which is no compressed model."""
    variant = one.cell.parsed
    return variant is not None and variant.family == "dense" and not one.cell.is_dense


def _variants(
    members: Sequence[Measured], model: str, failures: Sequence[Mapping[str, Any]], config: RunConfig | None
) -> list[str]:
    found = [one.cell.key.variant for one in members if not one.cell.is_dense]
    found += [
        str(one.get("variant")) for one in failures if one.get("model") == model and one.get("variant") != "dense"
    ]
    known = list(dict.fromkeys(found))
    if config is None:
        return known
    order = {name: place for place, name in enumerate(config.variants)}
    return sorted(known, key=lambda name: order.get(name, len(order)))


def _of_kind(policy: Policy, line: Criterion, tasks: Sequence[str]) -> list[str]:
    """The tasks of a kind; of `other`, those that no other criterion is about."""

    def among(kind: str) -> set[str]:
        return {task for task in tasks if task.replace("_", "-") in KINDS[kind]}

    if line.kind != "other":
        return sorted(among(str(line.kind)))
    taken = set().union(
        *(among(one.kind) for one in policy.criteria if one.kind), (one.task for one in policy.criteria)
    )
    return sorted(set(tasks) - taken)


@dataclass(frozen=True)
class _Seen:
    """What was measured of one variant.

    Attributes:
        tested: the limits that apply.
        obstacles, doubts: what stands in the way of anything but a rejection, and of an acceptance alone.
        mixed: its prompts are not those of dense.
        answers: of both models, by task.
        cells: of the variant.
    """

    tested: list[Tested]
    obstacles: list[str]
    doubts: list[str]
    mixed: bool
    answers: dict[str, Pairs]
    cells: list[Cell]


@dataclass(frozen=True)
class _Judged:
    """One variant of one model."""

    model: str
    variant: str
    members: Sequence[Measured]
    dense: Sequence[Measured]
    failures: Sequence[Mapping[str, Any]]
    policy: Policy
    protocol: Rules
    parts: dict[tuple[Setting, str, tuple[str, ...]], tuple[Numbers, str]]

    @cached_property
    def seen(self) -> _Seen:
        """What was measured."""
        everything = unperturbed(dict.fromkeys(cell_setting(one) for one in self.members))
        tasks = list(dict.fromkeys(setting.task for setting in everything))
        mine = [one for one in self.members if one.cell.key.variant == self.variant]
        obstacles, doubts = self._failed(), []
        pairs: dict[Setting, Levels] = {}
        mixed = False
        for setting in everything:
            one, dense = self._cell(mine, setting), self._cell([m for m in self.members if m.cell.is_dense], setting)
            if one is None or dense is None:
                missing = "dense has" if dense is None else "there is"
                obstacles.append(f"missing task {setting.task}: {missing} no cell")
                continue
            obstacles += [f"{setting.task}: {said}" for flag, said in OBSTACLES.items() if flag in one.flags]
            doubts += [f"{setting.task}: {said}" for flag, said in DOUBTS.items() if flag in one.flags]
            if _other_prompt(dense.cell, one.cell):
                mixed = True
                obstacles.append(f"{setting.task}: mixed prompts, its prompts are not those of dense")
            if "at-chance" in one.flags:
                continue
            again = partial(measure_cells, protocol=self.protocol, keep=tuple(dense.values))
            both = with_shared_items([dense, one], again)
            if len(both) < 2:
                obstacles.append(f"{setting.task}: no item is shared with dense")
                continue
            pairs[setting] = Levels(Place(self.model, "", "", setting.task), tuple(both))
        lines = lines_of(self.policy, tasks or sorted({str(one.get("task")) for one in self.failures}))
        tested = [self._tested(line, pairs) for line in lines]
        cells = [one.cell for one in mine]
        return _Seen(tested, obstacles, doubts, mixed, self._answers(tasks, pairs), cells)

    def record(self, *, attempt: int, share: float, lock: Mapping[str, Any] | None) -> Record:
        """The decision with the keys `GATE_KEYS`."""
        seen = self.seen
        decision, reason, records = decide(
            seen.tested, self.policy, blocked=bool(seen.obstacles), doubted=bool(seen.doubts), share=share
        )
        if seen.mixed:
            decision, reason = REVIEW, BLOCKED
        return as_record(
            (self.model, self.variant),
            self.policy,
            (decision, reason, records),
            red=[one.line.is_red for one in seen.tested],
            unlocked=unlocked(seen.cells, lock),
            attempt=attempt,
            lost=LostAnswers(tuple(seen.answers.values())).bounds(CONFIDENCE) if seen.answers else (None, None),
            notes=dict.fromkeys([*seen.obstacles, *seen.doubts, *_point_rule(self.policy, records)]),
        )

    def _failed(self) -> list[str]:
        return [
            f"failed cell {one.get('task')}: {one.get('reason')}"
            for one in self.failures
            if (one.get("model"), one.get("variant")) == (self.model, self.variant)
        ]

    def _cell(self, members: Sequence[Measured], setting: Setting) -> Measured | None:
        return next((one for one in members if cell_setting(one) == setting), None)

    def _tested(self, line: Line, pairs: Mapping[Setting, Levels]) -> Tested:
        inside = {setting: levels for setting, levels in pairs.items() if setting.task in line.tasks}
        if not inside:
            missing = [task for task in line.tasks if all(setting.task != task for setting in pairs)]
            return Tested(line, None, f"nothing is measured on {', '.join(missing) or 'any task'}")
        metric, unit = line.line.metric, line.line.unit
        if metric in ("accuracy", "error_rate"):
            answers, notes = self._answers(line.tasks, inside), list[str]()
            if line.line.slice is not None:
                answers, notes = self._part(line.line.slice, inside)
            note = "; ".join(notes)
            if not answers:
                return Tested(line, None, note)
            found = tuple(answers.values())
            return Tested(line, LostAnswers(found, metric, unit), note, float(sum(one.n for one in found)))
        if line.line.slice is not None or metric == "safety_violations":
            return Tested(line, None, "no task of the run measures it" if line.line.slice is None else "not by slices")
        try:
            ladder = pair_ladder(inside, metric, self.protocol)
        except NoValueError as error:
            return Tested(line, None, str(error))
        loss, note = LostMean.of(ladder, metric, unit), ""
        if metric == "lac_transfer_coverage":
            note = f"with sets of {ladder.values[1]:.2f} options, dense {ladder.values[0]:.2f}"
        if loss.value is None:
            note = "dense is not shown to lie off chance"
        return Tested(line, loss, note, float(ladder.independent))

    def _answers(self, tasks: Sequence[str], pairs: Mapping[Setting, Levels]) -> dict[str, Pairs]:
        """By task, settings of one task averaged item by item where they have the same items, else the first alone."""
        found = {}
        for task in tasks:
            both = [levels.points for setting, levels in pairs.items() if setting.task == task]
            both = [points for points in both if np.array_equal(points[0].units, both[0][0].units)]
            if both:
                dense, one = (np.mean([points[side].correct for points in both], axis=0) for side in (0, 1))
                found[task] = pairs_of(dense, one, both[0][0].units, both[0][0].chance)
        return found

    def _part(self, part: str, pairs: Mapping[Setting, Levels]) -> tuple[dict[str, Pairs], list[str]]:
        """The items of a part, task by task; a task where dense is at chance on them is left out by name."""
        found: dict[str, Pairs] = {}
        notes = []
        for setting, levels in pairs.items():
            dense, one = levels.points
            others = [
                other.cell
                for other in self.dense
                if other.cell.key.model != self.model and cell_setting(other).task == setting.task
            ]
            if setting.task in found:
                continue
            key = (setting, part, dense.cell.ids)
            if key not in self.parts:
                self.parts[key] = part_rows(dense.cell, part, self.protocol, others=others)
            rows, why = self.parts[key]
            if len(rows) < SMALLEST:
                notes.append(why or f"{setting.task}: only {len(rows)} items in {part}")
                continue
            right, units, chance = dense.correct[rows], dense.units[rows], dense.chance[rows]
            if proportion_interval(right, units)[0] <= float(chance.mean()):
                notes.append(f"{setting.task}: dense is at chance on {part}, which is left out")
                continue
            found[setting.task] = pairs_of(right, one.correct[rows], units, chance)
        return found, list(dict.fromkeys(notes))


def _point_rule(policy: Policy, records: Sequence[Record]) -> list[str]:
    """What MLPerf would have said: it compares point values."""
    known = [one for one in records if one["loss"] is not None]
    if not policy.name.startswith("mlperf-") or not known:
        return []
    met = sum(one["loss"] <= one["limit"] for one in known)
    return [f"MLPerf's own point rule, no decision here: met on {met} of {len(known)} tasks"]


OBSTACLES = {
    "partly-compressed": "partly compressed",
    "at-chance": "dense at chance",
    "not-finite": "outputs are not finite",
}
"""Flags of a cell without whose cause nothing but a rejection can be said, in words."""

DOUBTS = {"drift": "drift, 16-bit arithmetic changed answers", "no-op": "nothing was compressed"}
"""Flags of a cell that stand in the way of an acceptance alone."""


def _other_prompt(dense: Cell, one: Cell) -> bool:
    """Whether the same items were asked in other words."""
    if dense.ids != one.ids:
        return False
    said = [(cell.task.get("prompt_hash"), cell.task.get("chat_template")) for cell in (dense, one)]
    return any(None not in pair and pair[0] != pair[1] for pair in zip(*said, strict=True))
