"""What a user says about imported numbers, and the cell that is made of both."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suite.cell import Cell, make_cell
from suite.errors import SuiteError, unknown_name
from suite.variant import parse_variant

EVERY_MODEL = "*"
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what.

    Attributes:
        id, answer: of each item; an answer is the index of the right option, 0 for the first.
        scores: one column of lists, or one an option.
        kind: of the scores, see `suite.cell.KINDS`.
        subject, group: optional.
        where: column to the value, as text, that rows must have to be read.
    """

    id: str
    answer: str
    scores: Sequence[str]
    kind: str
    subject: str | None = None
    group: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """Names and numbers that come from the command line; see `suite.importers.import_cells`."""

    model: str
    variant: str
    task: str
    scoring: str | None = None
    params_b: float | None = None
    prompt: str | None = None
    shots: int | None = None
    filter: str | None = None
    columns: Columns | None = None

    def one_model(self, what: str) -> None:
        """Raise when the user asks for every model of a source that holds one."""
        if self.model == EVERY_MODEL:
            raise SuiteError(f"{what} holds one model: give its name with --model instead of '*'")

    def cloze(self, what: str, kind: str) -> str:
        """The scoring's name for numbers of this kind; ``sum`` and ``norm`` are about log-likelihoods only.

        Log-likelihoods are those of option texts unless the user says that they are those of letters.
        """
        if kind == "loglik" and self.scoring != "letter":
            return f"cloze-{self.scoring or 'sum'}"
        if self.scoring not in (None, "letter"):
            raise SuiteError(f"{what} holds {kind}: --scoring {self.scoring} is for log-likelihoods, leave it out")
        return "letter"


def chosen(what: str, wanted: str, present: Collection[str]) -> Collection[str]:
    """The models or prompts (`what`) of a source that are to be read: all, or the wanted one.

    Raises:
        SuiteError: it is not there.
    """
    if wanted == EVERY_MODEL:
        return present
    if wanted not in present:
        raise unknown_name(what, wanted, (*present, EVERY_MODEL) if what == "model" else present)
    return [wanted]


@dataclass(frozen=True)
class Items:
    """The items of one imported cell, in file order.

    Attributes:
        ids, answers, scores: one entry an item; a row of scores is as long as the item has options.
        kind: of the scores, see `suite.cell.KINDS`.
        notes: what was assumed, or left out, in sentences for the cell's row.
    """

    ids: Sequence[str]
    answers: Sequence[int]
    scores: Sequence[Sequence[float]]
    kind: str
    subjects: Sequence[str | None] | None = None
    slices: Sequence[Sequence[str]] | None = None
    groups: Sequence[str | None] | None = None
    notes: Sequence[str] = ()


def check_labels(labels: Labels) -> Labels:
    """Return the labels unchanged, or raise one line for what is wrong with them."""
    parse_variant(labels.variant)
    for option, value in (
        ("--model", labels.model),
        ("--task", labels.task),
        ("--prompt", labels.prompt),
        ("--filter", labels.filter),
    ):
        if value is not None and (not value.strip() or not value.isprintable()):
            raise SuiteError(f"{option} {value!r}: give a name of printable characters")
    if labels.scoring not in (None, "sum", "norm", "letter"):
        raise SuiteError(f"--scoring {labels.scoring!r}: use sum, norm or letter")
    if labels.params_b is not None and not (math.isfinite(labels.params_b) and labels.params_b > 0):
        raise SuiteError(f"--params-b {labels.params_b}: give the parameters in billions, such as 7.2")
    if labels.params_b is not None and labels.model == EVERY_MODEL:
        raise SuiteError("--params-b is one model's: name the model with --model instead of '*'")
    if labels.shots is not None and labels.shots < 0:
        raise SuiteError(f"--shots {labels.shots} out of range: use 0 or more")
    return labels


def imported_cell(
    labels: Labels,
    items: Items,
    *,
    src: Path,
    style: tuple[str, str, int],
    model: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> Cell:
    """A cell with the metadata that docs/formats.md lists; what an import cannot know is null.

    The task's revision is a hash of ids, answers and option counts, so that cells of the same items agree on it.

    Args:
        src: for messages and the record of where the numbers are from.
        style: scoring, prompt, shots.
        model, task, run: what the source itself says, added to what is known from the labels.
    """
    variant = parse_variant(labels.variant)
    params = None if labels.params_b is None else round(labels.params_b * 1e9)
    scoring, prompt, shots = style
    return make_cell(
        ids=items.ids,
        answers=items.answers,
        scores=items.scores,
        kind=items.kind,
        model={
            **dict.fromkeys(("id", "revision", "weights_hash", "config_hash")),
            **dict.fromkeys(("tokenizer_hash", "tokenizer_build", "pre_tokenizer_assumed", "chat_template_hash")),
            "name": labels.model,
            "source": "imported",
            "params": params,
            "architecture": None,
            "parent_quantization": None,
            **(model or {}),
        },
        variant={
            **dict.fromkeys(("bits_per_weight", "megabytes", "sparsity", "relative_weight_error", "no_op")),
            **dict.fromkeys(("share_touched", "untouched", "left_out")),
            "name": variant.name,
            "method": variant.method,
            "family": variant.family,
            "recipe": None,
        },
        task={
            "name": labels.task,
            "revision": _revision(items),
            "kind": None,
            "licence": None,
            "prompt_hash": None,
            **(task or {}),
            "scoring": scoring,
            "prompt": prompt,
            "shots": shots,
        },
        run={
            **dict.fromkeys(("dtype", "device", "backend", "attention", "versions", "seed", "seconds", "tokens")),
            "peak_memory_mb": None,
            **(run or {}),
            "imported_from": src.name,
            **({"notes": list(items.notes)} if items.notes else {}),
        },
        subjects=items.subjects,
        slices=items.slices,
        groups=items.groups,
        path=str(src),
    )


def check_id(value: object, where: str) -> str:
    """The id of an item as text, or one line for what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise SuiteError(f"{where}: an id must be text or a whole number")
    return str(value)


def check_answer(value: object, options: int, where: str) -> int:
    """The index of an item's right option, or one line for what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SuiteError(f"{where}: an answer must be a whole number, 0 for the first option")
    if not 0 <= value < options:
        raise SuiteError(f"{where}: answer {value} is outside its {options} options (0 is the first)")
    return value


def check_scores(values: object, kind: str, where: str) -> list[float]:
    """The scores of one item, or one line for what is wrong with them.

    Zero probability is legal, and so is minus infinity for logits and log-likelihoods, as long as one option has more.
    """
    if not isinstance(values, list | tuple) or any(
        isinstance(value, bool) or not isinstance(value, int | float) for value in values
    ):
        raise SuiteError(f"{where}: {kind} must be a list of numbers, one an option, without gaps")
    try:
        scores = [float(value) for value in values]
    except OverflowError as error:
        raise SuiteError(f"{where}: {kind} hold a whole number that is too large") from error
    if len(scores) < 2:
        raise SuiteError(f"{where}: {len(scores)} {kind}, at least 2 options are needed")
    for value in scores:
        if math.isnan(value) or value > LARGEST or -math.inf < value < -LARGEST:
            raise SuiteError(f"{where}: {kind} hold {value}, which is no usable number")
        if kind == "probs" and not 0 <= value <= 1 + 1e-6:
            raise SuiteError(f"{where}: probs hold {value}, a probability is between 0 and 1")
        if kind == "loglik" and value > 1e-6:
            raise SuiteError(f"{where}: loglik hold {value}, a log-likelihood is never above 0")
    if max(scores) <= (0 if kind == "probs" else -math.inf):
        raise SuiteError(f"{where}: every option has probability zero")
    return scores


def _revision(items: Items) -> str:
    digest = hashlib.sha256()
    for name, answer, scores in zip(items.ids, items.answers, items.scores, strict=True):
        digest.update(f"{len(name)}:{name}:{answer}:{len(scores)};".encode())
    return "items-sha256:" + digest.hexdigest()
