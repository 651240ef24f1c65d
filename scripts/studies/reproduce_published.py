"""The published uncertainty figures of arXiv 2401.12794, recomputed from its logits: tables of docs/published.md.

    make reproduce-published
    .venv/bin/python -m scripts.studies.reproduce_published FOLDER --jobs 2

FOLDER (else the variable SUITE_PUBLISHED_DATA, else ../shared/data/published beside the repository) holds qa.npz,
drs.npz, ds.npz and published_table.json. The tables compare every published figure with the suite's, measure what the
paper's choices are worth, compare model sizes, and say how long all of it took; what they mean is written by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.markers import marks, write_between
from suite.cell import Cell
from suite.config import Protocol
from suite.importers import import_cells
from suite.metrics import conformal, proper
from suite.metrics.folds import YE2024_DROPPED_ROWS
from suite.metrics.measure import Scored
from suite.metrics.rows import rows_against, score_cell

ROOT = Path(__file__).resolve().parent.parent.parent

Floats = NDArray[np.float64]
Key = tuple[str, str]
Row = Mapping[str, Any]

DEFAULT = ROOT.parent / "shared" / "data" / "published"
TABLE = "published_table.json"
TASKS = {"qa": "QA", "drs": "DRS", "ds": "DS"}
TITLES = {"QA": "question answering (MMLU)", "DRS": "dialogue response selection", "DS": "document summarization"}
FAMILIES = {
    "Llama-2": ("Llama-2-7b-hf", "Llama-2-13b-hf", "Llama-2-70b-hf"),
    "Qwen": ("Qwen-1_8B", "Qwen-7B", "Qwen-72B"),
}
REPLICATES, SPLITS, TIE_ORDERS = 1000, 100, 10
PRINTED = 0.005 + 1e-9
"""Figures are published with two decimals: a difference up to this is rounding."""


class MissingData(Exception):
    """One line: what is missing, where it was looked for, where it comes from."""


@dataclass(frozen=True)
class Source:
    """Where the published data are and how much is computed from them."""

    folder: Path
    replicates: int = REPLICATES
    splits: int = SPLITS


@dataclass(frozen=True)
class Job:
    """The cells of one task and prompt, every model; independent of all other jobs."""

    source: Source
    task: str
    prompt: str


@dataclass(frozen=True)
class Stage:
    """What a stage over all jobs gave, and what it cost: wall and processor seconds, peak memory in GiB."""

    results: list[Any]
    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Reading:
    """One cell under other choices than the paper's.

    Attributes:
        values: figures by name.
        splits: set size (mean of LAC and APS) of each split under ``exact``, shape [splits].
    """

    model: str
    task: str
    values: Mapping[str, float]
    splits: Floats


# Data in


def data_folder(argument: Path | None) -> Path:
    """The folder named on the command line, else by the environment, else the default.

    Raises:
        MissingData: a file is not there.
    """
    folder = argument or Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT)
    names = [f"{task}.npz" for task in TASKS] + [TABLE]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MissingData(
            f"{folder}: no {', '.join(missing)}; {', '.join(names[:-1])} (option logits [model, prompt, item, option], "
            f"answers, models, prompts) and {TABLE} (figures of its README) are made from "
            "smartyfh/LLM-Uncertainty-Bench: name their folder as argument or in SUITE_PUBLISHED_DATA"
        )
    return folder


def read_table(folder: Path) -> dict[str, dict[str, Any]]:
    """Published figures by model."""
    models: dict[str, dict[str, Any]] = json.loads((folder / TABLE).read_text(encoding="utf-8"))["models"]
    return models


def prompts_of(folder: Path, task: str) -> list[str]:
    """Names of the prompts in an archive."""
    with np.load(folder / f"{task}.npz", allow_pickle=False) as archive:
        return [str(name) for name in archive["prompts"]]


def cells_of(job: Job) -> list[Cell]:
    """Every model on one task and prompt."""
    return import_cells(
        "npz",
        job.source.folder / f"{job.task}.npz",
        model="*",
        variant="dense",
        task=f"ye2024-{job.task}",
        prompt=job.prompt,
    )


def without_demonstrations(cell: Cell) -> Cell:
    """The cell without the rows that the paper drops, which its prompts show with their answers."""
    kept = np.setdiff1d(np.arange(len(cell)), YE2024_DROPPED_ROWS)
    return dataclasses.replace(
        cell,
        ids=tuple(cell.ids[row] for row in kept),
        answers=cell.answers[kept],
        n_options=cell.n_options[kept],
        scores=cell.scores[kept],
        subjects=None if cell.subjects is None else tuple(cell.subjects[row] for row in kept),
        slices=None if cell.slices is None else tuple(cell.slices[row] for row in kept),
        groups=None if cell.groups is None else tuple(cell.groups[row] for row in kept),
    )


def references(models: Iterable[str]) -> dict[str, str]:
    """The model that each one is paired with: the smallest of its family, else the smallest of the first family."""
    present = list(models)
    families = [[model for model in members if model in present] for members in FAMILIES.values()]
    families = [members for members in families if members] or [present]
    found = dict.fromkeys(present, families[0][0])
    return found | {model: members[0] for members in families for model in members}


def paired_rows(cells: Sequence[Cell], protocol: Protocol) -> list[Row]:
    """The rows of all models, each compared with its reference model: no published model is compressed."""
    named = {str(cell.model["name"]): cell for cell in cells}
    partner = references(named)
    rows: list[Row] = []
    for reference in sorted(set(partner.values())):
        others = [named[name] for name in sorted(named) if partner[name] == reference != name]
        rows += rows_against(named[reference], others, protocol)
    return rows


def task_of(row: Row) -> str:
    """Name of the task as in the published tables."""
    return TASKS[str(row["task"]).removeprefix("ye2024-")]


# Work of one job


def published_rows(job: Job) -> list[Row]:
    """All figures under ``ye2024`` with paired intervals."""
    return paired_rows(cells_of(job), Protocol("ye2024", replicates=job.source.replicates))


def exact_rows(job: Job) -> list[Row]:
    """All figures under ``exact`` with paired intervals, on the items that the paper keeps."""
    cells = [without_demonstrations(cell) for cell in cells_of(job)]
    return paired_rows(cells, Protocol(splits=job.source.splits, replicates=job.source.replicates))


def readings(job: Job) -> list[Reading]:
    """Every cell under one changed choice at a time, and on every split of ``exact``."""
    return [read_cell(cell, job.source.splits) for cell in cells_of(job)]


def read_cell(cell: Cell, splits: int) -> Reading:
    """One cell on the paper's split with one choice changed at a time.

    Names of the values: `published`, `rank`, `empty` (empty LAC sets stay empty), `ties_low`, `ties_high`, `ties_mean`,
    `float16`, `float32`, `float64`, `float32_score`, `key_low`, `key_high` are set sizes, the mean of LAC and APS, with
    UAcc in percent as `<name>_uacc` where it is compared. `aps_<variant>` and `aps_<variant>_coverage` are APS alone.
    """
    scored = score_cell(cell, Protocol("ye2024", replicates=0))
    exact = score_cell(without_demonstrations(cell), Protocol("exact", splits=splits, replicates=0))
    lac, aps = exact.lac_splits, exact.aps_splits
    test = scored.sample.evaluated
    tied = proper.top_ties(scored.probabilities) > 1
    among = scored.probabilities[np.arange(len(cell)), scored.answers] == scored.confidence
    values = {
        **_paper_choices(scored),
        **_tie_orders(scored),
        **_precisions(scored),
        **_answer_keys(scored),
        **_aps_variants(scored),
        "accuracy_ties_low": float((among & ~tied)[test].mean()),
        "accuracy_ties_high": float(among[test].mean()),
        "tied_items": float((np.diff(np.sort(cell.scores, axis=1), axis=1) == 0).any(axis=1).mean()),
        "tied_top": float(tied.mean()),
        "step": logit_step(cell.scores),
        "exact": (lac.mean_size + aps.mean_size) / 2,
        "exact_one_split": float(lac.size[0] + aps.size[0]) / 2,
    }
    task = TASKS[cell.curve_key[1].removeprefix("ye2024-")]
    return Reading(str(cell.model["name"]), task, values, (lac.size + aps.size) / 2)


def logit_step(scores: NDArray[np.float32]) -> float:
    """The largest power of two from 1 down to 1/1024 that divides nine tenths of the scores; 0 where none does.

    >>> logit_step(np.array([[551.5, 552.0], [553.5, 554.0]], dtype=np.float32))
    0.5
    """
    steps = [2.0**-power for power in range(11)]
    return next((step for step in steps if (scores % step == 0).mean() >= 0.9), 0.0)


def _results(
    scored: Scored, scores: conformal.SetScores, answers: NDArray[np.int64], protocol: str = "ye2024"
) -> conformal.SplitResults:
    alpha = scored.sample.protocol.alpha
    return conformal.conformal_splits(scores, answers, folds=scored.sample.folds, alpha=alpha, protocol=protocol)


def _set_size(
    scored: Scored, lac: conformal.SetScores, aps: conformal.SetScores, **options: Any
) -> tuple[float, float]:
    """Mean set size of LAC and APS, and UAcc in percent with the accuracy of the test half."""
    answers = options.pop("answers", scored.answers)
    sizes = [_results(scored, scores, answers, **options).mean_size for scores in (lac, aps)]
    accuracy = float(scored.correct[scored.sample.evaluated].mean())
    n_options = float(scored.n_options.mean())
    return sum(sizes) / 2, 50 * sum(conformal.uacc(accuracy, size, n_options=n_options) for size in sizes)


def _paper_choices(scored: Scored) -> dict[str, float]:
    plain = conformal.lac_scores(scored.set_probabilities, scored.answers)
    return {
        "published": _set_size(scored, scored.lac, scored.aps)[0],
        "rank": _set_size(scored, scored.lac, scored.aps, protocol="exact")[0],
        "empty": _set_size(scored, plain, scored.aps)[0],
        "lac": scored.lac_splits.mean_size,
    }


def _tie_orders(scored: Scored) -> dict[str, float]:
    """Set size over the orders of equal probabilities: right option first, last, and at random.

    The order matters on the conformal half alone, in the score of the right option; how many options of a tied block
    are within the quantile does not depend on it. Columns are moved, as of tied options the last column comes first.
    """
    n, width = scored.set_probabilities.shape
    rows, places = np.arange(n), np.tile(np.arange(width), (n, 1))
    found = {}
    for name, column in (("ties_low", width - 1), ("ties_high", 0)):
        order = places.copy()
        order[rows, scored.answers], order[:, column] = column, scored.answers
        found[name], found[f"{name}_uacc"] = _set_size(scored, scored.lac, _reordered(scored, order))
    generator = np.random.default_rng(0)
    orders = [generator.permuted(places, axis=1) for _ in range(TIE_ORDERS)]
    found["ties_mean"] = float(np.mean([_set_size(scored, scored.lac, _reordered(scored, o))[0] for o in orders]))
    return found


def _reordered(scored: Scored, order: NDArray[np.intp]) -> conformal.SetScores:
    """The paper's APS with columns in another order, put back in place."""
    back = np.argsort(order, axis=1)
    answers = back[np.arange(len(order)), scored.answers]
    moved = conformal.ye2024_aps_scores(np.take_along_axis(scored.set_probabilities, order, axis=1), answers)
    return conformal.SetScores(moved.calibration, np.take_along_axis(moved.options, back, axis=1))


def _precisions(scored: Scored) -> dict[str, float]:
    """Set size and UAcc with the softmax in other arithmetic, and with LAC scores rounded as 1 - p in float32."""
    found = {}
    for kind in (np.float16, np.float32, np.float64):
        raw = scored.raw.astype(kind)
        parts = np.exp(raw - raw.max(axis=1, keepdims=True))
        p = (parts / parts.sum(axis=1, keepdims=True)).astype(np.float64)
        lac = conformal.ye2024_lac_scores(p, scored.answers)
        name = kind.__name__
        found[name], found[f"{name}_uacc"] = _set_size(scored, lac, conformal.ye2024_aps_scores(p, scored.answers))
    rounded = 1 - (np.float32(1) - scored.set_probabilities.astype(np.float32)).astype(np.float64)
    lac = conformal.ye2024_lac_scores(rounded, scored.answers)
    found["float32_score"], found["float32_score_uacc"] = _set_size(scored, lac, scored.aps)
    return found


def _answer_keys(scored: Scored) -> dict[str, float]:
    """Set size and UAcc when each uncertain answer of the conformal half is its likeliest or unlikeliest option.

    Between them lies what any answers to these items give: a set size grows with every conformal score. Options that
    are right nowhere are left out. Items count as uncertain that are in the slice ``ambiguous``.
    """
    slices = scored.cell.slices or ()
    doubtful = np.flatnonzero(["ambiguous" in names for names in slices])
    found = {"key_items": float(np.isin(doubtful, scored.sample.folds.conformal[0]).sum())}
    ever_right = np.unique(scored.answers)
    for name, pick in (("key_low", np.argmax), ("key_high", np.argmin)):
        answers = scored.answers.copy()
        answers[doubtful] = ever_right[pick(scored.set_probabilities[np.ix_(doubtful, ever_right)], axis=1)]
        lac = conformal.ye2024_lac_scores(scored.set_probabilities, answers)
        aps = conformal.ye2024_aps_scores(scored.set_probabilities, answers)
        found[name], found[f"{name}_uacc"] = _set_size(scored, lac, aps, answers=answers)
    return found


def _aps_variants(scored: Scored) -> dict[str, float]:
    """Size and coverage of APS on the paper's split: as published, that with sets that may be empty (bare), and three
    rules at one randomized quantile."""
    p, y, draws = scored.probabilities, scored.answers, scored.sample.aps_draws
    randomized = conformal.aps_scores(p, y, draws=draws)
    # With a draw of zero the score of an option is the mass down to and including it.
    inclusive = conformal.aps_scores(p, y, draws=np.zeros(len(y)))
    one_at_least = np.where(p == scored.confidence[:, None], np.inf, inclusive.options)
    variants = {
        "published": (scored.aps, "ye2024"),
        "bare": (inclusive, "ye2024"),
        "randomized": (randomized, "exact"),
        "included": (conformal.aps_deterministic_scores(p, y, draws=draws), "exact"),
        "excluded": (conformal.SetScores(randomized.calibration, one_at_least), "exact"),
    }
    found = {}
    for name, (scores, protocol) in variants.items():
        result = _results(scored, scores, y, protocol)
        found[f"aps_{name}"], found[f"aps_{name}_coverage"] = result.mean_size, result.mean_coverage
    return found


# All jobs


def run_stage(work: Callable[[Job], Sequence[Any]], jobs: Sequence[Job], pool: ProcessPoolExecutor | None) -> Stage:
    """Do the work of every job and measure it; without a pool in this process."""
    started = time.perf_counter()
    tasks = [(work, job) for job in jobs]
    outcomes = list(map(_measured, tasks) if pool is None else pool.map(_measured, tasks, chunksize=1))
    wall = time.perf_counter() - started
    own = 0.0 if pool is None else _peak_memory()
    peaks: dict[int, float] = {}
    for _, _, process, peak in outcomes:
        peaks[process] = max(peak, peaks.get(process, 0.0))
    results = [result for found, *_ in outcomes for result in found]
    return Stage(results, wall, sum(cpu for _, cpu, _, _ in outcomes), own + sum(peaks.values()))


def _measured(task: tuple[Callable[[Job], Sequence[Any]], Job]) -> tuple[Sequence[Any], float, int, float]:
    work, job = task
    before = time.process_time()
    found = work(job)
    return found, time.process_time() - before, os.getpid(), _peak_memory()


def _peak_memory() -> float:
    """Peak resident memory of this process in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def over_prompts(rows: Iterable[Row]) -> dict[Key, dict[str, float]]:
    """Mean over the prompts of every number of the rows, by model and task.

    The mean of interval ends is an interval for the mean figure that is too wide if anything: the prompts ask the same
    items, and the standard deviation of a mean never exceeds the mean of the standard deviations.
    """
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((str(row["model"]), task_of(row)), []).append(row)
    return {key: _means(members) for key, members in groups.items()}


def readings_over_prompts(found: Iterable[Reading]) -> dict[Key, dict[str, float]]:
    """As `over_prompts`, with the standard deviation between splits as `split_deviation`."""
    groups: dict[Key, list[Reading]] = {}
    for reading in found:
        groups.setdefault((reading.model, reading.task), []).append(reading)
    means = {}
    for key, members in groups.items():
        sizes = np.mean([member.splits for member in members], axis=0)
        spread = float(sizes.std(ddof=1)) if len(sizes) > 1 else math.nan
        means[key] = _means([member.values for member in members]) | {"split_deviation": spread}
    return means


def _means(members: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = {}
    for key in members[0]:
        values = [member[key] for member in members]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            found[key] = float(np.mean(values))
    return found


# Section 1: published figures beside ours


@dataclass(frozen=True)
class Comparison:
    """A published model and task: figures as published, ours; accuracy and UAcc in percent."""

    model: str
    label: str
    task: str
    published: Mapping[str, float]
    ours: Mapping[str, float]

    def difference(self, figure: str) -> float:
        """Ours minus published."""
        return self.ours[figure] - self.published[figure]

    def as_printed(self, figure: str) -> bool:
        """Whether the difference is no more than the rounding of the published figure."""
        return abs(self.difference(figure)) <= PRINTED


FIGURES = {"accuracy": 3, "set size": 4, "UAcc": 3}
"""Figures compared, and the digits that ours are printed with."""


def compare(table: Mapping[str, Mapping[str, Any]], rows: Iterable[Row]) -> list[Comparison]:
    """Every published figure beside the mean of our rows over the prompts, as the paper averages."""
    means = over_prompts(rows)
    found = []
    for task, (model, entry) in itertools.product(TASKS.values(), table.items()):
        published = {"accuracy": "accuracy_percent", "set size": "set_size", "UAcc": "uacc_percent"}
        row = means[model, task]
        ours = {"accuracy": 100 * row["accuracy"], "set size": row["set_size"], "UAcc": 100 * row["uacc"]}
        theirs = {figure: float(entry[key][task]) for figure, key in published.items()}
        found.append(Comparison(model, str(entry["label"]), task, theirs, ours))
    return found


def within(comparisons: Sequence[Comparison], figure: str, tolerance: float) -> int:
    """How many differences of a figure are at most the tolerance."""
    return sum(abs(one.difference(figure)) <= tolerance + 1e-9 for one in comparisons)


def comparison_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Every figure beside the published one."""
    lines = [
        "| task | model | accuracy, % | ours | diff. | set size | ours | diff. | UAcc, % | ours | diff. |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in comparisons:
        cells = [
            f"{one.published[figure]:.2f} | {one.ours[figure]:.{digits}f} | {signed(one.difference(figure), digits)}"
            for figure, digits in FIGURES.items()
        ]
        lines.append(f"| {one.task} | {one.label} | {' | '.join(cells)} |")
    return lines


def count_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """How many figures are how near."""
    lines = ["| figure | within 0.005 (equal as printed) | within 0.01 | within 0.02 | largest difference |"]
    lines.append("|---|--:|--:|--:|---|")
    for figure in FIGURES:
        counts = [f"{within(comparisons, figure, limit)} of {len(comparisons)}" for limit in (0.005, 0.01, 0.02)]
        unit = "" if figure == "set size" else ", percentage points"
        far = max((abs(one.difference(figure)), number) for number, one in enumerate(comparisons))[1]
        worst = comparisons[far]
        largest = f"{signed(worst.difference(figure), 4)} ({worst.label}, {worst.task})"
        lines.append(f"| {figure}{unit} | {' | '.join(counts)} | {largest} |")
    return lines


def signed(value: float, digits: int) -> str:
    """The value with its sign; zero without."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


CAUSES = {
    "arithmetic": ("float16", "float32", "float64", "float32_score"),
    "tie order": ("ties_low", "ties_high"),
    "answer key": ("key_low", "key_high"),
}
"""What moves a figure, and the values that say how far."""


def reaches(published: float, cause: str, values: Sequence[float]) -> bool:
    """Whether a cause can give the published figure: as one of its values, or between them where it is a range."""
    if cause == "arithmetic":
        return any(abs(value - published) <= PRINTED for value in values)
    return min(values) - PRINTED <= published <= max(values) + PRINTED


def miss_lines(comparisons: Sequence[Comparison], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Every figure that is not equal as printed, with what each cause can move it to."""
    lines = [
        "| task | model | figure | published | ours | arithmetic | tie order | answer key | reached by |",
        "|---|---|---|--:|--:|---|---|---|---|",
    ]
    for one, figure in itertools.product(comparisons, FIGURES):
        if one.as_printed(figure):
            continue
        values, ending, digits = means[one.model, one.task], "_uacc" if figure == "UAcc" else "", FIGURES[figure]
        reached = {cause: [values[name + ending] for name in names] for cause, names in CAUSES.items()}
        if figure == "accuracy":
            reached = {"tie order": [100 * values[f"accuracy_ties_{end}"] for end in ("low", "high")]}
        spans = [
            f"{min(reached[cause]):.{digits}f} … {max(reached[cause]):.{digits}f}" if cause in reached else "–"
            for cause in CAUSES
        ]
        by = [cause for cause, found in reached.items() if reaches(one.published[figure], cause, found)]
        lines.append(
            f"| {one.task} | {one.label} | {figure} | {one.published[figure]:.2f} | {one.ours[figure]:.{digits}f} "
            f"| {' | '.join(spans)} | {', '.join(by) or 'none of them'} |"
        )
    return lines


# Section 2: what the paper's choices are worth


def labels_of(table: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Label of each model, most accurate (as published, mean over tasks) first."""

    def accuracy(model: str) -> float:
        return float(np.mean([table[model]["accuracy_percent"][task] for task in TASKS.values()]))

    return {model: str(table[model]["label"]) for model in sorted(table, key=lambda name: -accuracy(name))}


def over_tasks(means: Mapping[Key, Mapping[str, float]], model: str) -> dict[str, float]:
    """Mean over the tasks of figures made task by task."""
    return _means([means[model, task] for task in TASKS.values()])


def choice_lines(labels: Mapping[str, str], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Set size (mean of LAC and APS) of each model with one of the paper's choices changed at a time."""
    lines = [
        "| model | published rules | ties: right first … last | ties at random | exact rank | randomized APS "
        "| exact, one split | exact, mean of splits | SD of one split |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for model, label in labels.items():
        v = over_tasks(means, model)
        base = v["published"]
        randomized = (v["lac"] + v["aps_randomized"]) / 2 - base
        lines.append(
            f"| {label} | {base:.3f} | {signed(v['ties_low'] - base, 3)} … {signed(v['ties_high'] - base, 3)} "
            f"| {signed(v['ties_mean'] - base, 3)} | {signed(v['rank'] - base, 4)} | {signed(randomized, 3)} "
            f"| {v['exact_one_split']:.3f} | {v['exact']:.3f} | {v['split_deviation']:.3f} |"
        )
    return lines


APS_VARIANTS = {
    "published": "published rule",
    "randomized": "randomized",
    "included": "last label included",
    "excluded": "last label excluded",
}


def aps_lines(labels: Mapping[str, str], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Size and coverage of the APS variants."""
    lines = [
        "| model | " + " | ".join(f"{title}: size | coverage" for title in APS_VARIANTS.values()) + " |",
        "|---|" + "--:|--:|" * len(APS_VARIANTS),
    ]
    for model, label in labels.items():
        v = over_tasks(means, model)
        cells = [f"{v[f'aps_{name}']:.3f} | {v[f'aps_{name}_coverage']:.3f}" for name in APS_VARIANTS]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def tie_lines(labels: Mapping[str, str], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """How often logits tie and how far the order of tied options moves accuracy and set size, task by task."""
    lines = [
        "| model | task | logit step | items with a tie | tie at the top | accuracy, %: ties lost … won "
        "| set size: right first … last | at random | as published |",
        "|---|---|--:|--:|--:|---|---|--:|--:|",
    ]
    for (model, label), task in itertools.product(labels.items(), TASKS.values()):
        v = means[model, task]
        lines.append(
            f"| {label} | {task} | {step_text(v['step'])} | {v['tied_items']:.3f} | {v['tied_top']:.3f} "
            f"| {100 * v['accuracy_ties_low']:.2f} … {100 * v['accuracy_ties_high']:.2f} "
            f"| {v['ties_low']:.3f} … {v['ties_high']:.3f} | {v['ties_mean']:.3f} | {v['published']:.3f} |"
        )
    return lines


def step_text(step: float) -> str:
    """A step of logits as a fraction; a mean of several as the power of two below it."""
    return f"1/{2 ** math.ceil(-math.log2(step))}" if step else "none"


def swapped_lines(labels: Mapping[str, str], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Pairs of models that the published rules and ``exact`` order differently by set size, clearest first.

    Clear is a pair whose smaller difference under the two protocols is large.
    """
    found = []
    for task, (one, other) in itertools.product(TASKS.values(), itertools.combinations(labels, 2)):
        before, after = (means[one, task][key] - means[other, task][key] for key in ("published", "exact"))
        if before * after < 0:
            line = f"| {task} | {labels[one]} | {labels[other]} | {signed(before, 2)} | {signed(after, 2)} |"
            found.append((min(abs(before), abs(after)), line))
    header = ["| task | model | less | published rules | exact |", "|---|---|---|--:|--:|"]
    return header + [line for _, line in sorted(found, reverse=True)]


EXTREMES: dict[str, tuple[str, str, int]] = {
    "set size: right option first of tied ones, less last": ("ties_high", "ties_low", 2),
    "set size: ties at random less published": ("ties_mean", "published", 2),
    "set size: exact rank less published": ("rank", "published", 4),
    "set size: empty LAC sets left empty, less published": ("empty", "published", 4),
    "size of APS sets: randomized less published": ("aps_randomized", "aps_published", 2),
    "coverage of APS: published rule": ("aps_published_coverage", "", 3),
    "coverage of APS: published rule, sets may be empty": ("aps_bare_coverage", "", 3),
    "coverage of APS: last label included": ("aps_included_coverage", "", 3),
    "coverage of APS: last label excluded": ("aps_excluded_coverage", "", 3),
    "set size: published less exact": ("published", "exact", 2),
    "standard deviation of set size between splits": ("split_deviation", "", 3),
}
"""What is looked at over all models and tasks: a value, what is taken off it, decimals."""


def extreme_lines(labels: Mapping[str, str], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """The smallest and the largest of each of `EXTREMES`, and where they are."""
    lines = ["| over all models and tasks | smallest | where | largest | where |", "|---|--:|---|--:|---|"]
    for title, (value, less, digits) in EXTREMES.items():
        found = [(v[value] - v.get(less, 0.0), *key) for key, v in means.items()]
        ends = [
            f"{signed(v, digits) if less else f'{v:.{digits}f}'} | {labels[model]} on {task}"
            for v, model, task in (min(found), max(found))
        ]
        lines.append(f"| {title} | {' | '.join(ends)} |")
    return lines


def correlation_lines(
    means: Mapping[Key, Mapping[str, float]], exact_means: Mapping[Key, Mapping[str, float]]
) -> list[str]:
    """Accuracy over all models and tasks beside what follows it."""
    right = [(v["accuracy_ties_low"] + v["accuracy_ties_high"]) / 2 for v in means.values()]
    aps = [v["aps_randomized"] - v["aps_published"] for v in means.values()]
    columns = [[v[key] for v in exact_means.values()] for key in ("accuracy", "set_size")]
    return [
        "| rank correlation of accuracy with | |",
        "|---|--:|",
        f"| size of APS sets, randomized less published | {signed(rank_correlation(right, aps), 2)} |",
        f"| set size under `exact` | {signed(rank_correlation(*columns), 2)} |",
    ]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, NaN where one side is constant."""
    from scipy.stats import rankdata

    one, other = rankdata(first), rankdata(second)
    return math.nan if min(one.std(), other.std()) == 0 else float(np.corrcoef(one, other)[0, 1])


# Section 3: sizes


SIZE_FIGURES = {
    "accuracy": ("accuracy", 1),
    "set_size": ("set size", -1),
    "ece_debiased": ("ECE", -1),
    "error_auroc": ("error AUROC", 1),
}
"""Row key: title, and the direction in which it is better."""


def families_of(table: Mapping[str, Any]) -> dict[str, list[str]]:
    """Members of each family that are in the table, smallest first; families of one are left out."""
    present = {family: [model for model in members if model in table] for family, members in FAMILIES.items()}
    return {family: members for family, members in present.items() if len(members) > 1}


def interval_of(values: Mapping[str, float], key: str) -> tuple[float, float] | None:
    """Ends of the 95 % interval, None where there is none. That of the debiased ECE is stored as that of ECE."""
    low, high = (values.get(f"{key.removesuffix('_debiased')}_{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def with_interval(values: Mapping[str, float], key: str, form: Callable[[float, int], str]) -> str:
    """Value and interval as text."""
    if key not in values:
        return "–"
    ends = interval_of(values, key)
    text = form(values[key], 3)
    return text if ends is None else f"{text} [{form(ends[0], 3)}, {form(ends[1], 3)}]"


def size_lines(table: Mapping[str, Mapping[str, Any]], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Every member of a family on every task."""
    lines = [
        "| task | model | parameters, 10⁹ | accuracy | set size | of 1 … 5.4 | of 1 … 3.6 | ECE | error AUROC |",
        "|---|---|--:|---|---|--:|--:|---|---|",
    ]
    for task, members in itertools.product(TASKS.values(), families_of(table).values()):
        for model in members:
            v = means[model, task]
            shares = [(v["set_size"] - 1) / (top - 1) for top in (v["set_size_chance"], four_options(v))]
            figures = {key: with_interval(v, key, lambda value, digits: f"{value:.{digits}f}") for key in SIZE_FIGURES}
            lines.append(
                f"| {task} | {table[model]['label']} | {table[model]['params_b']:g} | {figures['accuracy']} "
                f"| {figures['set_size']} | {shares[0]:.2f} | {shares[1]:.2f} | {figures['ece_debiased']} "
                f"| {figures['error_auroc']} |"
            )
    return lines


def four_options(values: Mapping[str, float]) -> float:
    """Set size of a model that knows which two options are never right and nothing else: (1 - alpha) 4 of 6 options."""
    return values["set_size_chance"] * 4 / 6


def change_lines(table: Mapping[str, Mapping[str, Any]], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Every member of a family against its smallest, paired by item."""
    titles = [title for title, _ in SIZE_FIGURES.values()]
    lines = ["| task | model | against | " + " | ".join(titles) + " |", "|---|---|---|" + "---|" * len(titles)]
    for task, members in itertools.product(TASKS.values(), families_of(table).values()):
        for model in members[1:]:
            cells = [with_interval(means[model, task], _change(key), signed) for key in SIZE_FIGURES]
            names = [table[name]["label"] for name in (model, members[0])]
            lines.append(f"| {task} | {' | '.join(names)} | {' | '.join(cells)} |")
    return lines


def _change(key: str) -> str:
    return f"{key.removesuffix('_debiased')}_change"


def series_lines(
    table: Mapping[str, Mapping[str, Any]], means: Mapping[Key, Mapping[str, float]], rows: Sequence[Row]
) -> list[str]:
    """On which tasks the largest member of a family beats its smallest, and how much prompts differ."""
    families = families_of(table)
    series = {f"{family} on {task}": (members, task) for task in TASKS.values() for family, members in families.items()}
    differ = differences_of_prompts(rows, [model for members in families.values() for model in members])
    lines = [
        f"| figure | largest member clearly better, of {len(series)} | clearly worse | not every step for the better "
        "| largest difference between prompts |",
        "|---|--:|---|---|---|",
    ]
    for key, (title, direction) in SIZE_FIGURES.items():
        better, worse, unsteady = [], [], []
        for name, (members, task) in series.items():
            ends = interval_of(means[members[-1], task], _change(key))
            if ends is not None and min(direction * ends[0], direction * ends[1]) > 0:
                better.append(name)
            if ends is not None and max(direction * ends[0], direction * ends[1]) < 0:
                worse.append(name)
            if (direction * np.diff([means[model, task][key] for model in members]) <= 0).any():
                unsteady.append(name)
        largest, (model, task) = max((values[key], where) for where, values in differ.items())
        lines.append(
            f"| {title} | {len(better)} | {', '.join(worse) or 'none'} | {', '.join(unsteady) or 'none'} "
            f"| {largest:.3f} ({table[model]['label']} on {task}) |"
        )
    return lines


def differences_of_prompts(rows: Sequence[Row], models: Sequence[str]) -> dict[Key, dict[str, float]]:
    """Largest minus smallest figure over the prompts, by model and task."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        if row["model"] in models:
            groups.setdefault((str(row["model"]), task_of(row)), []).append(row)
    return {
        key: {figure: float(np.ptp([row[figure] for row in found])) for figure in SIZE_FIGURES}
        for key, found in groups.items()
    }


def draw_sizes(
    table: Mapping[str, Mapping[str, Any]], means: Mapping[Key, Mapping[str, float]], rows: Sequence[Row]
) -> bytes:
    """The figure of section 3: tasks across, figures down, a line a family; small marks are single prompts."""
    from matplotlib.lines import Line2D

    from suite.publish.canvas import COLOURS, headline, house_style, legend, new_figure, png

    families = families_of(table)
    looks: dict[str, dict[str, Any]] = {
        family: {"color": colour, "marker": mark, "linestyle": dash}
        for family, colour, mark, dash in zip(families, COLOURS, "os", ("-", "--"), strict=False)
    }
    with house_style():
        figure = new_figure(10.0, 9.6)
        subtitle = "Mean over three prompts, 95 % item intervals; small marks: single prompts. Protocol exact, α = 0.1"
        headline(figure, "Accuracy, set size and calibration of dense models by size", subtitle)
        axes = figure.subplots(len(SIZE_FIGURES), len(TASKS), sharex=True, sharey="row", squeeze=False)
        figure.subplots_adjust(left=0.075, right=0.985, top=0.87, bottom=0.055, hspace=0.2, wspace=0.07)
        for (line, key), (column, task) in itertools.product(enumerate(SIZE_FIGURES), enumerate(TASKS.values())):
            panel = axes[line][column]
            for family, members in families.items():
                look = looks[family]
                sizes = {model: float(table[model]["params_b"]) for model in members}
                for row in rows:
                    if row["model"] in sizes and task_of(row) == task:
                        small = {"color": look["color"], "marker": look["marker"], "markersize": 3, "alpha": 0.5}
                        panel.plot(sizes[row["model"]], row[key], markeredgewidth=0, **small)
                y = np.array([means[model, task][key] for model in members])
                ends = [interval_of(means[model, task], key) or (means[model, task][key],) * 2 for model in members]
                reach = np.abs(np.array(ends).T - y)
                panel.errorbar(list(sizes.values()), y, reach, markersize=6, capsize=2.5, linewidth=1.6, **look)
            _dress(panel, key, task, means[members[0], task])
        legend(figure, [(family, Line2D([], [], **look)) for family, look in looks.items()], len(looks))
        return png(figure)


def _dress(panel: Any, key: str, task: str, values: Mapping[str, float]) -> None:
    """Axes, titles and the level of a model without knowledge."""
    from matplotlib.ticker import NullLocator

    place = panel.get_subplotspec()
    title, direction = SIZE_FIGURES[key]
    panel.set_xscale("log")
    panel.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(1.4, 95)
    levels = {
        "accuracy": (0.25, "one of four options at random"),
        "set_size": (four_options(values), "one of four options at random"),
        "error_auroc": (0.5, "confidence says nothing"),
    }
    if key in levels:
        height, text = levels[key]
        panel.axhline(height, color="#888888", linewidth=1, linestyle=":")
        if place.is_first_col():
            panel.text(1.5, height, text, fontsize=8.5, color="#666666", va="bottom", ha="left")
    if place.is_first_col():
        panel.set_ylabel(f"{title} ({'↑' if direction > 0 else '↓'} better)")
    if place.is_first_row():
        panel.set_title(f"{task}: {TITLES[task]}")
    if place.is_last_row():
        panel.set_xlabel("parameters, billions")


# Section 4: cost


def timing_lines(stages: Mapping[str, Stage], jobs: int) -> list[str]:
    """What the rows of each protocol took."""
    lines = ["| stage | wall, s | processor, s | a process, s | peak memory, GiB |", "|---|--:|--:|--:|--:|"]
    for name, stage in stages.items():
        lines.append(f"| {name} | {stage.wall:.1f} | {stage.cpu:.1f} | {stage.cpu / jobs:.1f} | {stage.memory:.2f} |")
    end = f"{jobs} process{'es' if jobs > 1 else ''}, {os.cpu_count()} cores; load average at the end"
    return [*lines, f"| {end} | {os.getloadavg()[0]:.1f} | | | |"]


# The page

PICTURE = "published-sizes.png"


def tables_of(source: Source, stages: Mapping[str, Stage], jobs: int) -> tuple[dict[str, list[str]], bytes]:
    """Tables by the marker they stand under, and the figure."""
    table = read_table(source.folder)
    ye2024, exact, found = (stage.results for stage in stages.values())
    means, exact_means = readings_over_prompts(found), over_prompts(exact)
    comparisons, labels = compare(table, ye2024), labels_of(table)
    tables = {
        "comparison": comparison_lines(comparisons),
        "counts": count_lines(comparisons),
        "misses": miss_lines(comparisons, means),
        "choices": choice_lines(labels, means),
        "aps": aps_lines(labels, means),
        "extremes": extreme_lines(labels, means),
        "swapped": swapped_lines(labels, means),
        "ties": tie_lines(labels, means),
        "sizes": size_lines(table, exact_means),
        "changes": change_lines(table, exact_means),
        "series": series_lines(table, exact_means, exact),
        "correlations": correlation_lines(means, exact_means),
        "timing": timing_lines(stages, jobs),
    }
    return tables, draw_sizes(table, exact_means, exact)


def run(source: Source, jobs: int) -> dict[str, Stage]:
    """All three stages, one after the other."""
    work = [Job(source, task, prompt) for task in TASKS for prompt in prompts_of(source.folder, task)]
    stages: dict[str, Callable[[Job], Sequence[Any]]] = {
        f"rows of protocol ye2024, {source.replicates:,} replicates": published_rows,
        f"rows of protocol exact, {source.splits} splits, {source.replicates:,} replicates": exact_rows,
        "readings of section 2": readings,
    }
    if jobs == 1:
        return {name: run_stage(stage, work, None) for name, stage in stages.items()}
    # New processes read the variable; threads on top of processes would only contend.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return {name: run_stage(stage, work, pool) for name, stage in stages.items()}


def main() -> None:
    """Recompute, put the tables into the page, draw its figure, print what is compared and the cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "published.md")
    options = parser.parse_args()
    try:
        source = Source(data_folder(options.folder), options.replicates, options.splits)
    except MissingData as error:
        print(f"reproduce-published: {error}", file=sys.stderr)
        sys.exit(2)
    stages = run(source, options.jobs)
    tables, figure = tables_of(source, stages, options.jobs)
    picture = options.out.parent / "figures" / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(figure)
    for name, lines in tables.items():
        write_between(options.out, *marks(name), "\n".join(lines))
    print("\n".join([*tables["counts"], "", *tables["timing"], "", f"written: {options.out}"]))


if __name__ == "__main__":
    main()
