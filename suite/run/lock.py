"""A lock of a configuration: what it would score, on which items, fixed before anything is compressed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from suite import __version__
from suite.config import ReadyMade, RunConfig
from suite.decisions.gate import lines_of
from suite.decisions.lock import lock_content, task_record
from suite.decisions.policy import Policy
from suite.errors import SuiteError
from suite.models.model import Model, content_parts, resolve_model, template_parts
from suite.run.plan import sheet_of
from suite.score.sheet import Sheet
from suite.variant import parse_variant


def make_lock(policy: Policy, config: RunConfig) -> dict[str, Any]:
    """The content of a lock; candidates stand in the order of the configuration, dense and its repetitions left out.

    Raises:
        SuiteError: a task or model that is not there, or no limit is about one of the tasks.
    """
    from suite.compress.ready_made import variant_of

    models = {name: resolve_model(name) for name in config.models}
    candidates = []
    for name, model in models.items():
        for entry in config.variants_of(name):
            known = (
                variant_of(resolve_model(entry.checkpoint), entry.variant)
                if isinstance(entry, ReadyMade)
                else parse_variant(entry)
            )
            if known.family != "dense":
                candidates.append((model.name, known.name))
    sheets = [sheet_of(choice) for choice in config.tasks]
    lines_of(policy, [sheet.task.name for sheet in sheets])
    templates = {model.name: template_parts(model) for model in models.values()}
    return lock_content(
        policy,
        config,
        candidates=candidates,
        tasks=[_record(sheet, templates) for sheet in sheets],
        dense={model.name: content_parts(model) for model in models.values()},
        version=__version__,
    )


def asked(sheets: Sequence[Sheet]) -> list[dict[str, Any]]:
    """What a run asks, for `suite.decisions.lock.check_planned`."""
    return [_record(sheet, {}) for sheet in {id(sheet): sheet for sheet in sheets}.values()]


def check_dense(lock: Mapping[str, Any], models: Iterable[Model], where: str) -> None:
    """Raise where a model's weights are not those that the lock fixes."""
    for model in models:
        if lock["dense"].get(model.name) != content_parts(model):
            raise SuiteError(f"{where}: foreign lock: other dense weights of {model.name}; make a lock of this run")


def _record(sheet: Sheet, templates: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return task_record(
        sheet.task.name,
        scoring=sheet.scoring,
        prompt=sheet.prompt,
        shots=sheet.shots,
        prompt_hash=sheet.prompt_hash,
        template=templates if sheet.name.chat else "raw",
        ids=[item.id for item in sheet.questions],
        units=sheet.units,
    )
