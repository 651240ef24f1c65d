"""Policies: what a compressed model may lose at most, of which metric, on which tasks, fixed before it is measured.

A policy is data. The built-in ones stand in `suite.decisions.built_in`; one's own is a YAML file with the keys of the
classes below (docs/gate.md). `configs/policy.schema.json` is made of them (`json_schema`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter
from pydantic.dataclasses import dataclass

from suite import checked
from suite.checked import KEYS, Wrong, in_one_line
from suite.errors import SuiteError, unknown_name
from suite.files import read_yaml

Unit = Literal["points", "relative", "headroom"]

LOSSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "accuracy": ("share of right answers lost", ("points", "relative", "headroom")),
    "error_rate": ("growth of the share of wrong answers", ("points", "relative")),
    "brier_ts": ("growth of the Brier score after temperature", ("points", "relative", "headroom")),
    "nll_ts": ("growth of the NLL after temperature", ("points", "relative", "headroom")),
    "set_size": ("growth of prediction sets, in options", ("points", "relative", "headroom")),
    "lac_transfer_coverage": ("coverage lost under dense's threshold; its set size stands beside it", ("points",)),
    "safety_violations": (
        "growth of the share of unsafe answers; no task of the suite measures it",
        ("points", "relative"),
    ),
}
"""Metrics of criteria: what is lost, always counted so that more is worse, and the units its limit may have."""

KINDS: dict[str, tuple[str, ...]] = {
    "classification": (
        *(
            "arc-challenge",
            "arc-easy",
            "bbq",
            "boolq",
            "commonsenseqa",
            "cosmosqa",
            "hellaswag",
            "hellaswag-activitynet",
        ),
        *("mmlu", "openbookqa", "piqa", "sciq", "socialiqa", "truthfulqa-mc1", "winogrande"),
        *("ye2024-qa", "ye2024-rc", "ye2024-ci"),
    ),
    "summarization": ("ye2024-ds",),
    "chat": ("ye2024-drs",),
    "medical": ("medqa", "medmcqa"),
    "factual": ("truthfulqa-mc1",),
    "code": (),
    "mathematics": (),
    "legal": (),
    "safety": (),
    "ranking": (),
    "generative": (),
    "other": (),
}
"""Kinds of tasks and the suite's tasks of each. `other` is every task that no other criterion is about."""

_TITLES = {"Policy": "the policy", "Criterion": "a criterion", "RedLine": "a red line"}
_SENTENCES = {
    "limit": "a fraction of 0 or more, such as 0.02",
    "unit": "points, relative or headroom",
    "confidence": "between 0.5 and 1",
    "margin": "a share between 0 and 1",
    "review": "a number above 0, such as 1.5",
    "criteria": "a list of one criterion or more",
    "red_lines": "a list",
    "each_task": "true or false",
    "required": "true or false",
}


def _sentence(wrong: Wrong) -> str:
    title, key = _TITLES[wrong.cls.__name__], wrong.key
    if wrong.kind == "missing":
        units = ": say whether its limit is meant in points, relative or headroom"
        return f"{title} needs a {key!r}" + units * (key == "unit")
    return f"{title}: {key!r} must be {_SENTENCES.get(key, 'text')}, not {wrong.found!r}"


_in_one_line = in_one_line(_TITLES, _sentence)


def _known(kind: str, valid: Sequence[str]) -> AfterValidator:
    def check(name: str | None) -> str | None:
        if name is not None and name not in valid:
            raise unknown_name(kind, name, valid)
        return name

    return AfterValidator(check)


_Metric = Annotated[StrictStr, _known("metric", tuple(LOSSES)), Field(json_schema_extra={"enum": list(LOSSES)})]
_Kind = Annotated[
    StrictStr | None, _known("task kind", tuple(KINDS)), Field(json_schema_extra={"enum": [*KINDS, None]})
]
_Text = Annotated[StrictStr, Field(min_length=1)]


@dataclass(frozen=True, config=KEYS)
class Criterion:
    """A limit: the loss of one metric on some tasks must be shown to lie below it."""

    metric: _Metric
    """What may be lost: one of `LOSSES`."""
    limit: Annotated[StrictFloat | StrictInt, Field(ge=0)]
    """The largest loss, as a fraction: 0.01 is one point or one hundredth."""
    unit: Unit
    """`points` of the metric, `relative` to dense's value, or a share of the `headroom` from dense to chance."""
    task: StrictStr | None = None
    """One task, by name; nothing of these for the average over tasks."""
    kind: _Kind = None
    """Every task of a kind: one of `KINDS`."""
    slice: StrictStr | None = None
    """A part of tasks, such as `edge`."""
    each_task: StrictBool = False
    """Each task by itself in place of the average."""
    confidence: Annotated[StrictFloat, Field(ge=0.5, lt=1)] = 0.95
    """Of the one-sided bound that must lie below the limit."""
    margin: Annotated[StrictFloat | StrictInt, Field(gt=-1, lt=1)] = 0.0
    """Share of the limit that is kept free inside it: .25 tests three quarters of it."""

    _said = _in_one_line

    @property
    def tested(self) -> float:
        """The limit less its margin: what the bound is held against."""
        return float(self.limit * (1 - self.margin))

    @property
    def scope(self) -> str:
        """Where it holds, in words."""
        named = [f"{key} {value}" for key in ("task", "kind", "slice") if (value := getattr(self, key)) is not None]
        return (named or ["average over tasks"])[0] if not self.each_task else "each task"


@dataclass(frozen=True, config=KEYS)
class RedLine(Criterion):
    """A limit beyond which nothing is reviewed: shown to be exceeded it rejects, not excluded it is no acceptance."""

    required: StrictBool = False
    """Whether data that is missing forces a review; else the line is `not measured`."""


@dataclass(frozen=True, config=KEYS)
class Policy:
    """What may be lost in all: every criterion and every red line has to hold."""

    name: _Text
    source: _Text
    """Who states these limits, and where."""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    reading: StrictStr = ""
    """How the source was read where it leaves something open: points or relative, which end of a range."""
    review: Annotated[StrictFloat | StrictInt, Field(gt=0)] = 1.5
    """Losses up to this multiple of a limit go to a person; beyond it they are rejected."""
    red_lines: tuple[RedLine, ...] = ()

    _said = _in_one_line

    @property
    def lines(self) -> tuple[Criterion, ...]:
        """Criteria, then red lines: all that has to hold."""
        return (*self.criteria, *self.red_lines)


def read_policy(path: str | Path) -> Policy:
    """Read and check a policy file.

    Raises:
        SuiteError: a missing file, invalid YAML, an unknown or missing key, a value of the wrong type or out of range.
    """
    return parse_policy(read_yaml(Path(path), "policy"), f"policy {path}")


def parse_policy(raw: object, where: str) -> Policy:
    """Check what YAML gave; `where` names the source in messages."""
    try:
        policy: Policy = TypeAdapter(Policy).validate_python(raw)
        for entry in policy.lines:
            _check_line(entry)
    except SuiteError as error:
        raise SuiteError(f"{where}: {error}") from error
    return policy


def _check_line(line: Criterion) -> None:
    units = LOSSES[line.metric][1]
    if line.unit not in units:
        raise SuiteError(f"the limit of {line.metric} has no unit {line.unit!r}. Valid: {', '.join(units)}")
    if sum((line.task is not None, line.kind is not None, line.slice is not None, line.each_task)) > 1:
        raise SuiteError(f"the limit of {line.metric} names more than one of 'task', 'kind', 'slice' and 'each_task'")
    if line.limit >= 1 and (line.unit != "points" or line.metric not in ("nll_ts", "set_size")):
        raise SuiteError(f"the limit of {line.metric} is {line.limit:g}: limits are fractions, 1 % is 0.01")


def policy_hash(policy: Policy) -> str:
    """SHA-256 of what a policy decides by; its name, source and reading do not count, nor how its file is written."""
    content = asdict(policy)
    for key in ("name", "source", "reading"):
        del content[key]
    for line in (*content["criteria"], *content["red_lines"]):
        line["limit"], line["margin"] = float(line["limit"]), float(line["margin"])
    content["review"] = float(content["review"])
    return "sha256:" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def json_schema() -> str:
    """JSON Schema of a policy file, for editors and other programs."""
    return checked.json_schema(Policy)
