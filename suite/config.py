"""A run configuration: which models, variants and tasks, under which protocol. Read from YAML, every key checked.

The classes below are what a file may hold, key by key; `configs/schema.json` is made of them (`json_schema`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationInfo,
)
from pydantic.dataclasses import dataclass

from suite import checked
from suite.checked import KEYS, Wrong, closest, in_one_line, no_mapping, unknown_key
from suite.errors import SuiteError
from suite.files import read_yaml
from suite.sample_text import Sampling
from suite.task import Scoring
from suite.variant import check_dtype, parse_variant

ProtocolName = Literal["exact", "ye2024"]

_T = TypeVar("_T")


def _listed(raw: object) -> object:
    if not isinstance(raw, list | tuple):
        raise ValueError("no list")
    return raw


def _once(entries: tuple[_T, ...], info: ValidationInfo) -> tuple[_T, ...]:
    if len(set(entries)) != len(entries):
        what = {"tasks": "task", "tolerances": "number"}.get(str(info.field_name), "name")
        raise SuiteError(f"{info.field_name!r} lists the same {what} twice")
    return entries


_WHOLE = "{} must be a whole number of {} or more, not {!r}"
_TITLES = {
    "RunConfig": "the configuration",
    "TaskChoice": "a task",
    "Protocol": "'protocol'",
    "ReadyMade": "a ready-made variant",
    "Primary": "'primary'",
    "Costs": "'costs'",
}
_BEFORE = {
    "TaskChoice": "task {name!r}: ",
    "Protocol": "protocol ",
    "ReadyMade": "ready-made variant {checkpoint!r}: ",
    "Primary": "primary ",
    "Costs": "costs ",
}
"""What messages say before one of its keys."""

_NEEDED = {"TaskChoice": ("name",), "ReadyMade": ("checkpoint", "dense")}
_SENTENCES = {
    "models": "'models' must be a list of names with at least one entry",
    "variants": "'variants' must be a list of names with at least one entry",
    "tasks": "'tasks' must be a list with at least one task",
    "ready_made": "'ready_made' must be a list",
    "policy": "'policy' must be a name of 'suite policy list', or a mapping with the keys of a policy",
    "device": "'device' must be text, such as auto, cpu or cuda",
    "trust_remote_code": "'trust_remote_code' must be true or false",
    "prompt": "'prompt' must be text",
    "variant": "'variant' is no name",
    "wrong": "'wrong' must be a number above 0, such as 10, not {}",
    "review": "'review' must be a number above 0, such as 2, not {}",
    "alpha": "alpha {} is not between 0 and 1",
    "tolerances": "tolerances must be a list of numbers between 0 and 1, such as 0.05, not {}",
}
"""What is said of a value by its key, where its type does not say it."""


def _sentence(wrong: Wrong) -> str:
    name, key, found = wrong.cls.__name__, wrong.key, wrong.found
    if key in _NEEDED.get(name, ()):
        return f"{_TITLES[name]} needs a {key!r}"
    if wrong.kind == "missing":
        return f"missing key {key!r}"
    before = _BEFORE.get(name, "").format_map(wrong.given)
    if wrong.kind == "literal_error":
        valid = re.findall("'(.+?)'", wrong.context["expected"])
        return f"{before}{key} {found!r} is not valid: {closest(found, valid)}Valid: {', '.join(valid)}"
    if key in _SENTENCES:
        return before + _SENTENCES[key].format(repr(found))
    low = next(one.ge for one in wrong.cls.__pydantic_fields__[key].metadata if hasattr(one, "ge"))  # type: ignore[attr-defined]
    return before + _WHOLE.format(key, low, found)


_in_one_line = in_one_line(_TITLES, _sentence)

_Name = Annotated[StrictStr, Field(min_length=1)]
_Names = Annotated[tuple[_Name, ...], Field(min_length=1), BeforeValidator(_listed), AfterValidator(_once)]


@dataclass(frozen=True, config=KEYS)
class TaskChoice:
    """One task of a run and how it is asked."""

    name: StrictStr
    """A built-in name (`suite list tasks`) or a JSONL file."""
    scoring: Scoring | None = None
    """How options are scored; nothing for the task's own way."""
    prompt: StrictStr | None = None
    """How the prompt is called; nothing for the task's own style."""
    shots: Annotated[StrictInt, Field(ge=0)] = 0
    """Worked examples before each item."""
    limit: Annotated[StrictInt | None, Field(ge=1)] = None
    """A fixed subset of this many items; nothing for all."""

    _said = _in_one_line


@dataclass(frozen=True, config=KEYS)
class Protocol:
    """How cells become numbers."""

    name: ProtocolName = "exact"
    """How items are split and quantiles taken (docs/metrics.md)."""
    alpha: Annotated[StrictFloat, Field(gt=0, lt=1)] = 0.1
    """Allowed miscoverage of prediction sets, 0 to 1."""
    splits: Annotated[StrictInt, Field(ge=1)] = 100
    """Conformal splits that the headline value averages over."""
    replicates: Annotated[StrictInt, Field(ge=0, json_schema_extra={"minimum": 1})] = 1000
    """Bootstrap replicates behind each interval."""
    seed: Annotated[StrictInt, Field(ge=0)] = 0
    """Of folds and bootstrap."""

    _said = _in_one_line


@dataclass(frozen=True, config=KEYS)
class ReadyMade:
    """A checkpoint that somebody else has compressed."""

    checkpoint: _Name
    """A model by any name that `suite score --model` takes."""
    dense: _Name
    """Which of the configuration's models it was made of."""
    variant: StrictStr | None = None
    """How results name it; nothing for what the checkpoint itself says."""

    _said = _in_one_line


@dataclass(frozen=True, config=KEYS)
class Primary:
    """What carries the verdict of a run, fixed before its results."""

    metric: Literal["set_size", "brier_ts", "accuracy", "nll_ts", "lac_transfer_coverage"] = "set_size"
    """The metric, one that has doses (docs/dose.md)."""
    tolerances: Annotated[
        tuple[Annotated[StrictFloat, Field(gt=0, lt=1)], ...],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        BeforeValidator(_listed),
        AfterValidator(_once),
    ] = (0.05, 0.10, 0.25)
    """Shares of the way from dense to chance that count as kept or lost."""

    _said = _in_one_line


@dataclass(frozen=True, config=KEYS)
class Costs:
    """What a wrong answer and a review cost, in one unit; a right answer costs nothing.

    Raises:
        SuiteError: not above 0, not finite, or a review that costs no less than a wrong answer.
    """

    wrong: Annotated[StrictFloat, Field(json_schema_extra={"exclusiveMinimum": 0})]
    """Of a wrong answer."""
    review: Annotated[StrictFloat, Field(json_schema_extra={"exclusiveMinimum": 0})]
    """Of a question that is left to a reviewer: less than a wrong answer."""

    def __post_init__(self) -> None:
        for name, cost in (("wrong answer", self.wrong), ("review", self.review)):
            if not (math.isfinite(cost) and cost > 0):
                raise SuiteError(f"cost of a {name} {cost:g}: not a number above 0; use one such as 2")
        if self.review >= self.wrong:
            raise SuiteError(
                f"a review costs {self.review:g} and a wrong answer {self.wrong:g}: no review would ever pay; "
                "give a wrong answer the higher cost"
            )

    _said = _in_one_line


def _task(raw: object) -> object:
    return TaskChoice(raw) if isinstance(raw, str) else raw


def _sampling(raw: object) -> Sampling:
    if isinstance(raw, Sampling):
        return raw
    if not isinstance(raw, dict):
        raise SuiteError(no_mapping("'sample_text'"))
    known = [field.name for field in fields(Sampling)]
    for key in raw:
        if key not in known:
            raise SuiteError(unknown_key(key, "'sample_text'", known))
    source = raw.get("source", Sampling().source)
    if not isinstance(source, str) or not source:
        raise SuiteError(f"sample_text source must be a file, or {Sampling().source}")
    return Sampling(**raw)


@dataclass(frozen=True, config=KEYS)
class RunConfig:
    """Everything that decides the results of a run."""

    models: Annotated[_Names, Field(json_schema_extra={"uniqueItems": True})]
    """Embedded names, hub ids org/name@revision, folders or .gguf files."""
    tasks: Annotated[
        tuple[Annotated[TaskChoice, BeforeValidator(_task, json_schema_input_type=str | TaskChoice)], ...],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        BeforeValidator(_listed),
        AfterValidator(_once),
    ]
    """What is asked: names, or mappings with a `name`."""
    variants: Annotated[_Names, Field(json_schema_extra={"uniqueItems": True, "contains": {"const": "dense"}})]
    """`dense` and what is made of each model, such as `rtn-w4-g128` or `wanda-s50`."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Arithmetic of the models; `auto` measures which is faster here."""
    device: StrictStr = "auto"
    """Where models run: `auto`, `cpu`, `cuda`."""
    protocol: Protocol = Protocol()
    trust_remote_code: StrictBool = False
    """Whether code that comes with a model may run."""
    sample_text: Annotated[Sampling, BeforeValidator(_sampling, json_schema_input_type=Sampling)] = Sampling()
    """What data-driven methods read, how much of it, and its seed."""
    ready_made: Annotated[tuple[ReadyMade, ...], BeforeValidator(_listed)] = ()
    """Checkpoints that somebody else has compressed."""
    primary: Primary | None = None
    scorer: _Name | None = None
    """What runs the models (`suite list scorers`); nothing for transformers."""
    policy: _Name | dict[str, Any] | None = None
    """What may be lost at most: a built-in policy (`suite policy list`), or a policy as it would stand in a file. Every
    variant is then accepted, reviewed or rejected (docs/gate.md)."""
    costs: Costs | None = None
    """What a wrong answer and a review cost (docs/deferral.md); nothing for 10 and 2."""

    _said = _in_one_line

    @property
    def hash(self) -> str:
        """SHA-256 of the configuration's content; comments and key order do not count."""
        # configurations from before these keys, and those that are None, keep their hash
        content = self._given()
        for key, default in (("sample_text", asdict(Sampling())), ("ready_made", ())):
            if content[key] == default:
                del content[key]
        return "sha256:" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def variants_of(self, model: str) -> tuple[str | ReadyMade, ...]:
        """What is scored of one of its models, in order: its variants, then the checkpoints made of it elsewhere.

        Runs, dry runs and counts all go by this list.
        """
        return (*self.variants, *(entry for entry in self.ready_made if entry.dense == model))

    @property
    def cell_count(self) -> int:
        """How many cells it asks for."""
        return len(self.tasks) * sum(len(self.variants_of(model)) for model in self.models)

    def to_yaml(self) -> str:
        """The configuration with every default written out; keys that are None are left out."""
        text: str = yaml.safe_dump(json.loads(json.dumps(self._given())), sort_keys=False, allow_unicode=True)
        return text

    def _given(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def protocol_of(config: RunConfig | None) -> Protocol:
    """What the rows of a run are computed under; the defaults where there is no configuration."""
    return config.protocol if config else Protocol()


def config_in(folder: Path) -> RunConfig | None:
    """The configuration that a run directory or a snapshot keeps; None where cells were imported."""
    file = folder / "config.yaml"
    return read_config(file) if file.is_file() else None


def read_config(path: str | Path) -> RunConfig:
    """Read and check a configuration file.

    Raises:
        SuiteError: a missing file, invalid YAML, an unknown or missing key, a value of the wrong type or out of range.
    """
    return parse_config(read_yaml(Path(path), "configuration"), str(path))


def parse_config(raw: object, where: str) -> RunConfig:
    """Check what YAML gave; `where` names the source in messages."""
    try:
        config = TypeAdapter(RunConfig).validate_python(raw)
        if config.protocol.replicates < 1:
            raise SuiteError(f"protocol {_WHOLE.format('replicates', 1, config.protocol.replicates)}")
        for name in config.variants:
            check_dtype(parse_variant(name), config.dtype)
        if "dense" not in config.variants:
            raise SuiteError("'variants' has no 'dense'; every comparison is made against it")
        for entry in config.ready_made:
            if entry.dense not in config.models:
                raise SuiteError(
                    f"ready-made variant {entry.checkpoint!r}: its 'dense' {entry.dense!r} is not one of 'models'"
                )
    except SuiteError as error:
        raise SuiteError(f"configuration {where}: {error}") from error
    return config


def json_schema() -> str:
    """JSON Schema of a configuration file, for editors and other programs."""
    return checked.json_schema(RunConfig)
