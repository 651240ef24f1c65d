"""A run configuration: which models, variants and tasks, under which protocol. Read from YAML, every key checked."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from suite.errors import SuiteError
from suite.files import read_text
from suite.sample_text import Sampling
from suite.task import SCORINGS
from suite.variant import parse_variant

DTYPES = ("auto", "bfloat16", "float16", "float32")
PROTOCOLS = ("exact", "ye2024")


@dataclass(frozen=True)
class TaskChoice:
    """One task of a run and how it is asked; None means the task's own default."""

    name: str
    scoring: str | None = None
    prompt: str | None = None
    shots: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class Protocol:
    """How cells become numbers.

    Attributes:
        name: ``exact`` or ``ye2024``.
        alpha: allowed miscoverage, 0 to 1.
        splits: conformal splits that the headline value averages over.
        replicates: bootstrap replicates behind each interval.
        seed: of the bootstrap.
    """

    name: str = "exact"
    alpha: float = 0.1
    splits: int = 100
    replicates: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class ReadyMade:
    """A checkpoint that somebody else has compressed.

    Attributes:
        checkpoint: a model by any name that `suite score --model` takes.
        dense: which of the configuration's models it was made of.
        variant: how results name it, None for what the checkpoint itself says.
    """

    checkpoint: str
    dense: str
    variant: str | None = None


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the results of a run."""

    models: tuple[str, ...]
    tasks: tuple[TaskChoice, ...]
    variants: tuple[str, ...]
    dtype: str = "auto"
    device: str = "auto"
    protocol: Protocol = Protocol()
    trust_remote_code: bool = False
    sample_text: Sampling = field(default_factory=Sampling)
    ready_made: tuple[ReadyMade, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the configuration's content; comments and key order do not count."""
        content = asdict(self)
        # configurations from before these keys keep their hash
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
        """The configuration with every default written out."""
        text: str = yaml.safe_dump(json.loads(json.dumps(asdict(self))), sort_keys=False, allow_unicode=True)
        return text


def read_config(path: str | Path) -> RunConfig:
    """Read and check a configuration file.

    Raises:
        SuiteError: a missing file, invalid YAML, an unknown or missing key, a value of the wrong type or out of range.
    """
    path = Path(path)
    text = read_text(path, "configuration", todo="name a readable YAML file")
    try:
        raw = yaml.safe_load(text)
    except RecursionError as error:
        raise SuiteError(f"configuration {path}: not valid YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2001-13-45, a number of 5,000 digits
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise SuiteError(f"configuration {path}: not valid YAML{line}: {reason}") from error
    return parse_config(raw, str(path))


def parse_config(raw: object, where: str) -> RunConfig:
    """Check what YAML gave; `where` names the source in messages."""
    top = _mapping(raw, where, "the configuration", RunConfig)
    for key in ("models", "tasks", "variants"):
        if key not in top:
            raise SuiteError(f"configuration {where}: missing key {key!r}")
    models = _strings(top["models"], where, "models")
    variants = _strings(top["variants"], where, "variants")
    for name in variants:
        try:
            parse_variant(name)
        except SuiteError as error:
            raise SuiteError(f"configuration {where}: {error}") from error
    if "dense" not in variants:
        raise SuiteError(f"configuration {where}: 'variants' has no 'dense'; every comparison is made against it")
    tasks = top["tasks"]
    if not isinstance(tasks, list) or not tasks:
        raise SuiteError(f"configuration {where}: 'tasks' must be a list with at least one task")
    choices = tuple(_task(entry, where) for entry in tasks)
    if len(set(choices)) != len(choices):
        raise SuiteError(f"configuration {where}: 'tasks' lists the same task twice")
    dtype = _one_of(top.get("dtype", "auto"), DTYPES, where, "dtype")
    device = top.get("device", "auto")
    if not isinstance(device, str):
        raise SuiteError(f"configuration {where}: 'device' must be text, such as auto, cpu or cuda")
    trust = top.get("trust_remote_code", False)
    if not isinstance(trust, bool):
        raise SuiteError(f"configuration {where}: 'trust_remote_code' must be true or false")
    return RunConfig(
        models,
        choices,
        variants,
        dtype,
        device,
        _protocol(top.get("protocol", {}), where),
        trust,
        _sampling(top.get("sample_text", {}), where),
        _ready_made(top.get("ready_made", []), models, where),
    )


def _sampling(raw: object, where: str) -> Sampling:
    fields = _mapping(raw, where, "'sample_text'", Sampling)
    source = fields.get("source", Sampling().source)
    if not isinstance(source, str) or not source:
        raise SuiteError(f"configuration {where}: sample_text source must be a file, or {Sampling().source}")
    try:
        return Sampling(**fields)
    except SuiteError as error:
        raise SuiteError(f"configuration {where}: {error}") from error


def _ready_made(raw: object, models: Sequence[str], where: str) -> tuple[ReadyMade, ...]:
    if not isinstance(raw, list | tuple):
        raise SuiteError(f"configuration {where}: 'ready_made' must be a list")
    found = []
    for entry in raw:
        fields = _mapping(entry, where, "a ready-made variant", ReadyMade)
        for key in ("checkpoint", "dense"):
            if not isinstance(fields.get(key), str) or not fields[key]:
                raise SuiteError(f"configuration {where}: a ready-made variant needs a {key!r}")
        if fields["dense"] not in models:
            raise SuiteError(
                f"configuration {where}: ready-made variant {fields['checkpoint']!r}: its 'dense' {fields['dense']!r} "
                "is not one of 'models'"
            )
        if (name := fields.get("variant")) is not None and not isinstance(name, str):
            raise SuiteError(
                f"configuration {where}: ready-made variant {fields['checkpoint']!r}: 'variant' is no name"
            )
        found.append(ReadyMade(fields["checkpoint"], fields["dense"], name))
    return tuple(found)


def _task(entry: object, where: str) -> TaskChoice:
    if isinstance(entry, str):
        return TaskChoice(entry)
    fields = _mapping(entry, where, "a task", TaskChoice)
    if not isinstance(fields.get("name"), str):
        raise SuiteError(f"configuration {where}: a task needs a 'name'")
    name = fields["name"]
    scoring = fields.get("scoring")
    if scoring is not None:
        _one_of(scoring, SCORINGS, where, f"task {name!r}: scoring")
    prompt = fields.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise SuiteError(f"configuration {where}: task {name!r}: 'prompt' must be text")
    shots = _whole(fields.get("shots", 0), where, f"task {name!r}: shots", low=0)
    limit = fields.get("limit")
    if limit is not None:
        limit = _whole(limit, where, f"task {name!r}: limit", low=1)
    return TaskChoice(name, scoring, prompt, shots, limit)


def _protocol(raw: object, where: str) -> Protocol:
    fields = _mapping(raw, where, "'protocol'", Protocol)
    default = Protocol()
    alpha = fields.get("alpha", default.alpha)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise SuiteError(f"configuration {where}: protocol alpha {alpha!r} is not between 0 and 1")
    return Protocol(
        name=_one_of(fields.get("name", default.name), PROTOCOLS, where, "protocol name"),
        alpha=float(alpha),
        splits=_whole(fields.get("splits", default.splits), where, "protocol splits", low=1),
        replicates=_whole(fields.get("replicates", default.replicates), where, "protocol replicates", low=1),
        seed=_whole(fields.get("seed", default.seed), where, "protocol seed", low=0),
    )


def _mapping(raw: object, where: str, what: str, noun: Any) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise SuiteError(f"configuration {where}: {what} must be a mapping of keys to values")
    known = list(noun.__dataclass_fields__)
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise SuiteError(f"configuration {where}: unknown key {key!r} in {what}: {hint}Valid: {', '.join(known)}")
    return raw


def _strings(raw: object, where: str, key: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(entry, str) and entry for entry in raw):
        raise SuiteError(f"configuration {where}: {key!r} must be a list of names with at least one entry")
    if len(set(raw)) != len(raw):
        raise SuiteError(f"configuration {where}: {key!r} lists the same name twice")
    return tuple(raw)


def _whole(raw: object, where: str, what: str, *, low: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < low:
        raise SuiteError(f"configuration {where}: {what} must be a whole number of {low} or more, not {raw!r}")
    return raw


def _one_of(raw: object, valid: Sequence[str], where: str, what: str) -> str:
    if raw not in valid:
        close = difflib.get_close_matches(str(raw), valid, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SuiteError(f"configuration {where}: {what} {raw!r} is not valid: {hint}Valid: {', '.join(valid)}")
    return str(raw)
