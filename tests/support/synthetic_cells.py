"""Cells of invented models whose scores grow noisier with compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from suite import measure
from suite.cell import Cell, make_cell
from suite.variant import parse_variant

TWO_METHODS = (
    *("dense", "rtn-w8", "rtn-w4", "rtn-w3", "rtn-w2"),
    *("magnitude-s20", "magnitude-s40", "magnitude-s50", "magnitude-s60"),
)


FOUR_TASKS = {"arc-easy": 4, "sciq": 4, "hellaswag": 4, "openbookqa": 4}


def noise_of(variant: str) -> float:
    """Standard deviation of the noise that stands for a compression level; more for fewer bits and more zeros."""
    known = parse_variant(variant)
    bits, zeros = known.bits if known.bits is not None else 16, known.sparsity or 0.0
    return (0.0 if bits >= 16 else 6.0 * 2.0 ** (1.4 * (3 - bits))) + (0.0 if zeros == 0 else 20.0 * zeros**4)


def synthetic_cells(
    *,
    models: Mapping[str, float] | None = None,
    variants: Sequence[str] = TWO_METHODS,
    tasks: Mapping[str, int] | None = None,
    scoring: str = "cloze-sum",
    n: int = 120,
) -> list[Cell]:
    """One cell a model (name to parameters in billions), variant and task (name to number of options)."""
    cells = []
    for model_number, (model, billions) in enumerate((models or {"tiny-135m": 0.135}).items()):
        for task_number, (task, options) in enumerate((tasks or FOUR_TASKS).items()):
            random = np.random.default_rng([7, task_number])
            answers = random.integers(0, options, n)
            signal = random.normal(1.2 + 0.4 * task_number + 0.5 * model_number, 1.5, n)
            scores = random.normal(size=(n, options)) * 1.3
            scores[np.arange(n), answers] += signal
            for variant in variants:
                noise = np.random.default_rng([11, model_number, task_number, *variant.encode()])
                shaken = scores + noise_of(variant) * noise.normal(size=scores.shape)
                cells.append(cell_of(model, variant, task, shaken * 1.4, answers, billions=billions, scoring=scoring))
    return cells


def cell_of(
    model: str,
    variant: str,
    task: str,
    scores: np.ndarray,
    answers: np.ndarray,
    *,
    billions: float | None = 0.135,
    scoring: str = "cloze-sum",
) -> Cell:
    """A cell with the metadata that the tables show."""
    known = parse_variant(variant)
    bits = (known.bits or 16) + 0.5
    return make_cell(
        ids=[f"{task}-{i}" for i in range(len(answers))],
        answers=answers.tolist(),
        scores=scores.tolist(),
        kind="loglik" if scoring.startswith("cloze") else "logits",
        model={"name": model, "params": None if billions is None else billions * 1e9, "parent_quantization": "Q4_1"},
        variant={
            "name": variant,
            "bits_per_weight": bits,
            "megabytes": None if billions is None else billions * 1e3 * bits / 8,
            "sparsity": known.sparsity or 0.0,
            "no_op": False,
        },
        task={"name": task, "scoring": scoring, "prompt": "plain", "shots": 0},
    )


def synthetic_rows(cells: Sequence[Cell], *, replicates: int = 50, splits: int = 10) -> list[dict[str, object]]:
    """The rows of cells, with few splits and replicates: quick, and good enough to be shown."""
    return measure(cells, splits=splits, replicates=replicates)
