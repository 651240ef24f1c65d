"""The cells of a configuration: what is scored, where it goes and by which key it is found again.

Runs, dry runs, `suite score` and counts go by these lists.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from suite.cell import Cell, CellKey, file_key
from suite.config import ReadyMade, RunConfig, TaskChoice
from suite.errors import SuiteError
from suite.models.model import Model, content_parts, resolve_model, template_parts
from suite.run.prepare import Conditions, sample_recipes
from suite.score.scorer import DEFAULT, backend, key_parts
from suite.score.sheet import Sheet, make_sheet
from suite.score.store import content_key
from suite.score.transformers.again import CONDITIONS
from suite.task import check_limit
from suite.variant import Variant, check_dtype, parse_variant


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a run: what to score and where it goes.

    Attributes:
        names: the key that its cell has, in words.
        key: what it is found by again, whatever its name: a hash of all that its numbers depend on.
        seed: of the sample text, for a variant that reads it.
        ready: the checkpoint that is the variant, where somebody else has made it.
    """

    model: Model
    variant: Variant
    sheet: Sheet
    names: CellKey
    path: Path
    key: str
    seed: int
    ready: Model | None = None

    @property
    def label(self) -> str:
        """``model/task/variant``, what ``--only`` matches and messages name."""
        return f"{self.model.name}/{self.sheet.task.name}/{self.variant.name}"

    def signed(self, cell: Cell, stamp: str | None = None) -> Cell:
        """A cell that has just been scored, with the key under which a run finds it and the seed of its sample text.

        Args:
            stamp: the hash of a lock, which a compressed cell carries.
        """
        lock = {} if stamp is None or self.names.variant == "dense" else {"lock": stamp}
        return replace(cell, run={**cell.run, "key": self.key, "seed": self.seed, **lock})


def plan(config: RunConfig, out: str | Path, *, dtype: str, device: str, only: str | None = None) -> list[PlannedCell]:
    """Every cell of the configuration in the order it is scored: model by model, variant by variant, task by task."""
    from suite.compress.ready_made import variant_of

    check_names(config, dtype)
    conditions = conditions_of(config, dtype=dtype, device=device)
    sheets = [sheet_of(choice) for choice in config.tasks]
    samples = sample_recipes(config.sample_text, [parse_variant(name) for name in config.variants])
    cells: list[PlannedCell] = []
    for name in config.models:
        model = resolve_model(name)
        content = content_parts(model)
        for entry in config.variants_of(name):
            ready = None
            if isinstance(entry, ReadyMade):
                ready = resolve_model(entry.checkpoint)
                variant = variant_of(ready, entry.variant)
            else:
                variant = parse_variant(entry)
            sample = samples.get(variant.name, "")
            cells += cells_of(model, variant, sheets, conditions, ready=ready, content=content, sample=sample, out=out)
    return chosen(cells, only)


def cells_of(
    model: Model,
    variant: Variant,
    sheets: Sequence[Sheet],
    conditions: Conditions,
    *,
    ready: Model | None = None,
    content: Mapping[str, str | None] | None = None,
    sample: str | None = None,
    out: str | Path = "",
) -> list[PlannedCell]:
    """The cells of one variant of a model, one a sheet.

    Args:
        ready: a checkpoint that is this variant of the model already.
        content, sample: the model's `content_parts` and what of the sample text decides the weights (`sample_recipes`),
            where they are known.
        out: the run directory.
    """
    from suite.compress import recipe_for

    content = content_parts(model) if content is None else content
    if ready is not None:
        recipe = f"ready-made {json.dumps(content_parts(ready), sort_keys=True)}"
    elif variant.family == "dense":
        recipe = CONDITIONS if variant.again else ""
    else:
        sample = sample_recipes(conditions.sampling, [variant])[variant.name] if sample is None else sample
        recipe = recipe_for(model, variant, sample)
    cells = []
    for sheet in sheets:
        key = content_key(
            {
                "model": content,
                **(template_parts(model) if sheet.name.chat else {}),
                "variant": variant.name,
                "recipe": recipe,
                "dtype": variant.dtype or conditions.dtype,
                "device": conditions.device.partition(":")[0],
                **sheet.key_parts(),
                **key_parts(conditions.scorer),
            }
        )
        names = CellKey(model.name, sheet.task.name, sheet.scoring, sheet.prompt, sheet.shots, variant.name)
        seed = conditions.sampling.drawn_with(variant.sample_seed).seed
        cells.append(PlannedCell(model, variant, sheet, names, names.path(out), key, seed, ready))
    return cells


def plan_variant(
    model: str, variant: str | None, sheets: Sequence[Sheet], conditions: Conditions, *, dense: str | None = None
) -> list[PlannedCell]:
    """The cells of one variant by the names that a user gives, one a sheet; they have the keys that a run gives them.

    Args:
        dense: the model that `model`, a finished checkpoint, was made of.

    Raises:
        SuiteError: an unknown model, or a variant that no method here makes.
    """
    from suite.compress import check_supported
    from suite.compress.ready_made import variant_of

    found = resolve_model(model)
    if dense is not None:
        return cells_of(resolve_model(dense), variant_of(found, variant), sheets, conditions, ready=found)
    wanted = parse_variant(variant or "dense")
    check_supported(wanted)
    return cells_of(found, wanted, sheets, conditions)


def conditions_of(config: RunConfig, *, dtype: str, device: str) -> Conditions:
    """The conditions of a run, with what ``auto`` stands for here."""
    return Conditions(dtype, device, config.trust_remote_code, config.sample_text, config.scorer or DEFAULT)


def check_names(config: RunConfig, dtype: str) -> None:
    """Raise one line when a scorer or a method is not there, or a variant's own number format is `dtype`, the run's."""
    from suite.compress import check_supported

    backend(config.scorer or DEFAULT)
    for variant in map(parse_variant, config.variants):
        check_supported(variant)
        check_dtype(variant, dtype)


def sheet_of(choice: TaskChoice) -> Sheet:
    """A task as it is asked."""
    from suite.tasks import get_task

    task = get_task(choice.name)
    return make_sheet(task, scoring=choice.scoring, prompt=choice.prompt, shots=choice.shots, limit=choice.limit)


def limited(config: RunConfig, limit: int | None) -> RunConfig:
    """The configuration with another number of items a task, None for its own."""
    check_limit(limit)
    if limit is None:
        return config
    return replace(config, tasks=tuple(replace(choice, limit=limit) for choice in config.tasks))


class Labelled(Protocol):
    """Anything that stands for a cell: its name ``model/task/variant`` and its file in the run directory."""

    @property
    def label(self) -> str:
        """The name."""

    @property
    def path(self) -> Path:
        """The file."""


AnyCell = TypeVar("AnyCell", bound=Labelled)


def chosen(cells: Sequence[AnyCell], only: str | None) -> list[AnyCell]:
    """The cells that a glob matches, by ``model/task/variant`` or by any one of the three; all where there is none.

    Raises:
        SuiteError: it matches nothing; or two of all the cells would be one file, here or on a system that does not
            tell case.
    """
    _check_distinct(cells)
    if only is None:
        return list(cells)
    found = [
        cell for cell in cells if any(fnmatch.fnmatchcase(name, only) for name in (cell.label, *cell.label.split("/")))
    ]
    if not found:
        raise SuiteError(f"--only {only!r} matches no cell; they are named model/task/variant: {cells[0].label}, ...")
    return found


def _check_distinct(cells: Sequence[Labelled]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        key = file_key(cell.path)
        if key in seen:
            both = cell.label if seen[key] == cell.label else f"{seen[key]} and {cell.label}"
            raise SuiteError(
                f"two cells of this configuration have the same model, task, style and variant name: {both}; rename one"
            )
        seen[key] = cell.label
