"""Scores from a NumPy archive: models × prompts × items × options in one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.cell import KINDS, Cell
from suite.errors import SuiteError, first_line
from suite.importers.labels import EVERY_MODEL, Items, Labels, check_scores, chosen, imported_cell
from suite.importers.ye2024 import demonstrations_of

_NEEDED = ("models", "prompts", "answers")
_TEXT, _WHOLE, _FLOAT, _BOOL = "U", "iu", "f", "b"


def read(src: Path, labels: Labels) -> list[Cell]:
    """One cell a model and prompt.

    Arrays: ``logits`` (or ``loglik``, ``probs``) [models, prompts, items, options], ``models``, ``prompts``,
    ``answers`` [items]; optionally ``ids`` (else row numbers), ``subjects``, ``groups``, ``options`` (labels), and
    ``ambiguous`` [items], whose items get the slice of that name. No row is dropped here.

    The shots are those of the five-task benchmark of arXiv:2401.12794 where the task is one of its names, else 0.
    """
    arrays = _load(src)
    kind, scores = _scores(src, arrays)
    models = [str(name) for name in _array(src, arrays, "models", _TEXT, scores.shape[0])]
    prompts = [str(name) for name in _array(src, arrays, "prompts", _TEXT, scores.shape[1])]
    answers = _array(src, arrays, "answers", _WHOLE, scores.shape[2])
    count = scores.shape[2]
    ids = [str(row) for row in range(count)]
    if "ids" in arrays:
        ids = [str(value) for value in _array(src, arrays, "ids", _TEXT + _WHOLE, count)]
    extra = {name: _column(src, arrays, name, count) for name in ("subjects", "groups")}
    slices = None
    if "ambiguous" in arrays:
        flags = _array(src, arrays, "ambiguous", _BOOL, count)
        slices = [("ambiguous",) if flag else () for flag in flags]
    task = {}
    if "options" in arrays:
        task["option_labels"] = [str(name) for name in _array(src, arrays, "options", _TEXT, scores.shape[3])]
    cells = []
    for model in _chosen("model", labels.model, models):
        for prompt in _chosen("prompt", labels.prompt or EVERY_MODEL, prompts):
            rows = scores[models.index(model), prompts.index(prompt)]
            where = f"{src}: {model}, prompt {prompt}"
            checked = [check_scores(row, kind, f"{where}: item {ids[i]!r}") for i, row in enumerate(rows.tolist())]
            items = Items(ids, answers.tolist(), checked, kind, extra["subjects"], slices, extra["groups"])
            shots = demonstrations_of(labels.task) if labels.shots is None else labels.shots
            style = (labels.cloze(str(src), kind), prompt, shots)
            cells.append(imported_cell(labels, items, src=src, style=style, model={"name": model}, task=task))
    return cells


def _load(src: Path) -> dict[str, NDArray[np.generic]]:
    try:
        archive = np.load(src, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("a single array, the names are missing")
        with archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise SuiteError(f"{src}: not a readable .npz archive of plain arrays ({first_line(error)})") from error


def _scores(src: Path, arrays: dict[str, NDArray[np.generic]]) -> tuple[str, NDArray[np.generic]]:
    missing = [name for name in _NEEDED if name not in arrays]
    present = [kind for kind in KINDS if kind in arrays]
    if missing or len(present) != 1:
        wanted = f"one of {', '.join(KINDS)}" if len(present) != 1 else f"array {missing[0]!r}"
        raise SuiteError(f"{src}: {wanted} is needed, the archive holds {', '.join(sorted(arrays)) or 'nothing'}")
    scores = arrays[present[0]]
    if scores.ndim != 4 or scores.dtype.kind != "f" or 0 in scores.shape:
        raise SuiteError(
            f"{src}: {present[0]} is {scores.dtype} {list(scores.shape)}; floats of models × prompts × items × options "
            "are needed"
        )
    return present[0], scores


def _array(
    src: Path, arrays: dict[str, NDArray[np.generic]], name: str, kinds: str, length: int
) -> NDArray[np.generic]:
    array = arrays[name]
    if array.shape != (length,) or array.dtype.kind not in kinds:
        raise SuiteError(f"{src}: {name} is {array.dtype} {list(array.shape)}, {length} entries of another type needed")
    return array


def _column(src: Path, arrays: dict[str, NDArray[np.generic]], name: str, count: int) -> list[str | None] | None:
    if name not in arrays:
        return None
    return [str(value) or None for value in _array(src, arrays, name, _TEXT, count)]


def _chosen(what: str, wanted: str, present: list[str]) -> list[str]:
    for name in present:
        if present.count(name) > 1:
            raise SuiteError(f"{what} {name!r} stands in the archive twice")
    return list(chosen(what, wanted, present))
