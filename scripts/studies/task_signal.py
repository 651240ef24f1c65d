"""Which tasks tell something about a model: dense accuracy of every embedded task under every scoring.

    .venv/bin/python -m scripts.studies.task_signal [--limit 200] [--out runs/task-signal]

Scores the embedded model, keeps the cells under ``--out`` (a second call scores what is missing) and writes the table
between the markers in docs/tasks.md. A task is fit for the model when the lower end of the 95 % interval of its
accuracy under its default scoring is above both chance (the mean of 1/options) and, for letters and for options that
are the same in every item, the best constant guess (the share of the place most often right; BoolQ has 62 % yes).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.markers import check_markers, marks, write_between
from suite import measure
from suite.cell import Cell, read_cell, write_cell
from suite.task import Question

ROOT = Path(__file__).resolve().parent.parent.parent

MODEL = "smollm2-135m"
START, END = marks("dense")
SCORINGS = ("letter", "cloze-sum", "cloze-norm")


@dataclass(frozen=True)
class Signal:
    """Dense accuracy under one scoring, with its interval, and what guessing reaches on the same items."""

    accuracy: float
    low: float
    high: float
    guess: float

    @property
    def present(self) -> bool:
        """Whether the accuracy is clearly above guessing."""
        return self.low > self.guess


def signal(cell: Cell, answers: Sequence[int]) -> Signal:
    """The accuracy of a cell against the better of chance and the best constant guess.

    Args:
        answers: those of the whole task, since the most frequent place among a hundred items is above its share by
            luck; empty where no constant guess is possible.
    """
    (row,) = measure([cell], splits=1)
    guess = float((1 / cell.n_options).mean())
    if answers:
        guess = max(guess, max(Counter(answers).values()) / len(answers))
    accuracy, low, high = (float(str(row[key])) for key in ("accuracy", "accuracy_low", "accuracy_high"))
    return Signal(accuracy, low, high, guess)


def per_character(cell: Cell, characters: Sequence[Sequence[float]]) -> Cell:
    """What ``cloze-norm`` would have given: the same log-likelihoods, divided by the options' characters."""
    lengths = np.full(cell.scores.shape, np.nan, dtype=np.float32)
    for index, row in enumerate(characters):
        lengths[index, : len(row)] = row
    return replace(cell, scores=cell.scores / lengths, task={**cell.task, "scoring": "cloze-norm"})


def cell_of(name: str, scoring: str, limit: int, out: Path) -> Cell:
    """The dense cell of one task under one scoring; it is read where it is there already."""
    from suite.models.checkpoint import load
    from suite.models.device import resolve_device
    from suite.models.model import resolve_model
    from suite.run.prepare import resolve_dtype
    from suite.score.cells import score
    from suite.score.sheet import make_sheet
    from suite.score.transformers.network import NetworkScorer
    from suite.tasks import get_task

    path = out / "cells" / MODEL / name / f"{scoring}-base-0" / "dense.parquet"
    if path.is_file():
        return read_cell(path)
    if scoring == "cloze-sum" and (committed := _committed(name, limit)) is not None:
        return committed
    if not _LOADED:
        device = resolve_device("auto")
        _LOADED.append(load(resolve_model(MODEL), dtype=resolve_dtype("auto", device)[0], device=device))
    print(f"{name} {scoring}", file=sys.stderr)
    # letters are at chance for a model this small: half the items are enough to say so
    sheet = make_sheet(
        get_task(name), scoring=scoring, prompt="base", limit=limit // 2 if scoring == "letter" else limit
    )
    cell = score(NetworkScorer(_LOADED[0], drift=False), sheet)
    assert cell.key.path(out) == path
    write_cell(path, cell)
    return cell


def cells_of(name: str, limit: int, out: Path) -> dict[str, Cell]:
    """The cells of one task by scoring."""
    from suite.tasks import get_task

    found = {scoring: cell_of(name, scoring, limit, out) for scoring in ("letter", "cloze-sum")}
    texts = {item.id: item.choices for item in get_task(name).load()}
    lengths = [[len(choice) for choice in texts[item]] for item in found["cloze-sum"].ids]
    return {**found, "cloze-norm": per_character(found["cloze-sum"], lengths)}


def _committed(name: str, limit: int) -> Cell | None:
    """The dense cell of results/embedded where it was asked in the same way with at least as many items."""
    from suite.tasks import get_task

    folder = ROOT / "results" / "embedded" / "cells" / MODEL / name
    for scoring in ("cloze-sum", "cloze-norm"):
        path = folder / f"{scoring}-base-0" / "dense.parquet"
        if path.is_file() and len(cell := read_cell(path)) >= limit:
            if scoring == "cloze-sum":
                return cell
            texts = {item.id: item.choices for item in get_task(name).load()}
            return per_character(cell, [[1 / len(choice) for choice in texts[item]] for item in cell.ids])
    return None


_LOADED: list[Any] = []


def _characters(item: Question) -> int:
    return len(item.context) + len(item.question) + sum(map(len, item.choices))


def table(limit: int, out: Path) -> str:
    """The table of docs/tasks.md."""
    from suite.tasks import TASKS

    lines = [
        "| task | items (cloze / letter) | guess | letter | cloze-sum | cloze-norm | default | s / 100 items | fit |",
        "|---|--:|--:|---|---|---|---|--:|---|",
    ]
    embedded = {name: task for name, task in TASKS.items() if not task.needs}
    short_first = sorted(
        embedded, key=lambda name: sum(map(_characters, embedded[name].load())) / len(embedded[name].load())
    )
    for scoring in ("cloze-sum", "letter"):
        for name in short_first:
            cell_of(name, scoring, limit, out)
    for name, task in embedded.items():
        cells = cells_of(name, limit, out)
        answers = [item.answer for item in task.load()]
        # a cloze text shows no places to prefer, but options that are the same for every item can be preferred
        constant = len({item.choices for item in task.load()}) == 1
        signals = {
            scoring: signal(cells[scoring], answers if constant or scoring == "letter" else ()) for scoring in SCORINGS
        }
        shown = [
            f"{'**' * s.present}{s.accuracy:.3f}{'**' * s.present} [{s.low:.3f}, {s.high:.3f}]"
            for s in signals.values()
        ]
        default = cells["letter" if task.scoring == "letter" else "cloze-sum"]
        seconds = float(default.run["seconds"]) / len(default) * 100
        fit = "yes" if signals[task.scoring].present else "no: at chance"
        told = (
            f"`{name}`",
            f"{len(cells['cloze-sum'])} / {len(cells['letter'])}",
            f"{signals[task.scoring].guess:.3f}",
            *shown,
        )
        lines.append(f"| {' | '.join((*told, task.scoring, f'{seconds:.1f}', fit))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=200, help="items a task")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "task-signal")
    args = parser.parse_args()
    page = ROOT / "docs" / "tasks.md"
    check_markers(page, START, END)
    write_between(page, START, END, table(args.limit, args.out))


if __name__ == "__main__":
    main()
