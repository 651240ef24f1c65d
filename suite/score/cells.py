"""Scoring one cell: a sheet of texts before a scorer, and its scores with all that is known of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell, make_cell, prompt_hash
from suite.errors import CellFailure
from suite.score.chat import RAW, in_chat, template_hash
from suite.score.prompt import Rendered
from suite.score.scorer import Scorer, ran_by
from suite.score.sheet import Scores, Sheet, part
from suite.score.store import ShardStore


@dataclass
class Asked:
    """What a scorer has answered so far, for cells that grow.

    Attributes:
        values: scores of each text, as the model saw it.
        run: what they were computed with, tokens and seconds summed.
    """

    values: dict[Rendered, NDArray[np.float64]] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)


def score(
    scorer: Scorer,
    sheet: Sheet,
    *,
    shards: ShardStore | None = None,
    progress: Callable[[int], object] | None = None,
    asked_before: Asked | None = None,
) -> Cell:
    """Score every item of a sheet.

    Args:
        scorer: a variant of a model, ready to be asked (see `suite.score.scorer`).
        shards: where finished parts are kept, None to keep nothing.
        progress: called with the number of texts just finished.
        asked_before: texts in it are not asked again; the others are added.

    Returns:
        The cell; scores are log-likelihoods (cloze) or logits (letter).

    Raises:
        CellFailure: scores that are not finite, or memory that ran out.
        SuiteError: a model that cannot take this scoring or prompt, or a full disk.
    """
    begin = time.perf_counter()
    seen: dict[str, Any] = {"chat_template": RAW, "prompt_hash": sheet.prompt_hash}
    asked = sheet
    if sheet.name.chat:
        asked = replace(sheet, rendered=tuple(in_chat(scorer.tokenizer, sheet.rendered)))
        seen = {"chat_template": template_hash(scorer.tokenizer), "prompt_hash": prompt_hash(asked.rendered)}
    if asked_before is None:
        found = scorer.scores(asked, shards=shards, progress=progress)
    else:
        found = _asked_once(scorer, asked, asked_before, shards, progress)
    scores = found.values
    _check_finite(sheet, scores)
    if sheet.owners:
        scores = _means(scores, sheet.owners)
    if sheet.scoring == "cloze-norm":
        # as lm-eval's acc_norm: characters of the option's text without the space before it
        scores = [
            values / np.array([len(choice) for choice in item.choices])
            for values, item in zip(scores, sheet.questions, strict=True)
        ]
    seconds = time.perf_counter() - begin
    if asked_before is not None:
        seconds = asked_before.run["seconds"] = asked_before.run.get("seconds", 0.0) + seconds
    run = {**found.run, **ran_by(scorer), "seconds": round(seconds, 3)}
    return _cell(scorer, sheet, scores, run, seen)


def _asked_once(
    scorer: Scorer,
    sheet: Sheet,
    before: Asked,
    shards: ShardStore | None,
    progress: Callable[[int], object] | None,
) -> Scores:
    rows = sorted({row for text, row in zip(sheet.rendered, sheet.asked, strict=True) if text not in before.values})
    if rows:
        new = part(sheet, rows)
        found = scorer.scores(new, shards=shards, progress=progress)
        before.values.update(zip(new.rendered, found.values, strict=True))
        tokens = before.run.get("tokens", 0) + found.run.get("tokens", 0)
        before.run = {**before.run, **found.run, "tokens": tokens}
    return Scores([before.values[text] for text in sheet.rendered], dict(before.run))


def _means(scores: Sequence[NDArray[np.float64]], owners: Sequence[int]) -> list[NDArray[np.float64]]:
    """Scores of one question, averaged over its texts.

    An offset that a model gives a letter whatever it stands for adds the same to every option once all rotations are
    averaged, so it is gone from their softmax.
    """
    grouped: dict[int, list[NDArray[np.float64]]] = {}
    for owner, values in zip(owners, scores, strict=True):
        grouped.setdefault(owner, []).append(values)
    return [np.mean(grouped[owner], axis=0) for owner in sorted(grouped)]


def _check_finite(sheet: Sheet, scores: Sequence[NDArray[np.float64]]) -> None:
    broken = [
        sheet.questions[owner].id
        for owner, values in zip(sheet.asked, scores, strict=True)
        if not np.isfinite(values).all()
    ]
    if broken:
        raise CellFailure(f"{len(broken)} of {len(scores)} items have scores that are not finite, first {broken[0]!r}")


def _cell(
    scorer: Scorer,
    sheet: Sheet,
    scores: Sequence[NDArray[np.float64]],
    run: dict[str, Any],
    seen: Mapping[str, Any],
) -> Cell:
    questions, task = sheet.questions, sheet.task
    present = {item.id for item in questions}
    dropped = (
        {} if task.dropped_ids is None else {"dropped_ids": [name for name in task.dropped_ids if name in present]}
    )
    return make_cell(
        ids=[item.id for item in questions],
        answers=[item.answer for item in questions],
        scores=[values.tolist() for values in scores],
        kind="logits" if sheet.scoring == "letter" else "loglik",
        model=scorer.model,
        variant=scorer.variant,
        task={
            "name": task.name,
            "revision": task.revision,
            "kind": task.kind,
            "licence": task.licence,
            "scoring": sheet.scoring,
            "prompt": sheet.prompt,
            "shots": sheet.shots,
            **seen,
            **dropped,
        },
        run=run,
        subjects=[item.subject for item in questions] if any(item.subject for item in questions) else None,
        slices=[item.slices for item in questions] if any(item.slices for item in questions) else None,
        groups=[item.group for item in questions] if any(item.group for item in questions) else None,
    )
