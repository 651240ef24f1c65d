"""The published uncertainty figures of arXiv 2401.12794, recomputed from its logits. Writes docs/published.md.

    make reproduce-published
    .venv/bin/python scripts/reproduce_published.py FOLDER --jobs 2

FOLDER (else the variable SUITE_PUBLISHED_DATA, else ../shared/data/published beside the repository) holds qa.npz,
drs.npz, ds.npz and published_table.json. The page compares every published figure with the suite's, measures what the
paper's choices are worth, compares model sizes, and says how long all of it took.
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

from suite.cell import Cell
from suite.importers import import_cells
from suite.metrics import conformal, proper
from suite.metrics.folds import YE2024_DROPPED_ROWS
from suite.metrics.measure import Scored
from suite.metrics.rows import compute_rows, score_cell
from suite.metrics.sample import Settings

Floats = NDArray[np.float64]
Key = tuple[str, str]
Row = Mapping[str, Any]

ROOT = Path(__file__).resolve().parent.parent
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

SECONDS, GIGABYTES = 60.0, 4.0
"""The goal for all rows of one protocol."""


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


def paired(cells: Sequence[Cell]) -> list[Cell]:
    """The cells as one curve a reference model, which takes the place of dense; `model_of` undoes it.

    `compute_rows` compares each cell with the one called dense on its curve. No published model is compressed, so the
    comparison is between models.
    """
    partner = references(str(cell.model["name"]) for cell in cells)
    named = []
    for cell in cells:
        name = str(cell.model["name"])
        reference = partner[name]
        variant = {"name": "dense" if name == reference else name, "method": "none", "family": "other model"}
        named.append(dataclasses.replace(cell, model={**cell.model, "name": reference}, variant=variant))
    return named


def model_of(row: Row) -> str:
    """The model behind a row of a cell from `paired`."""
    return str(row["model"] if row["variant"] == "dense" else row["variant"])


def task_of(row: Row) -> str:
    """Name of the task as in the published tables."""
    return TASKS[str(row["task"]).removeprefix("ye2024-")]


# Work of one job


def published_rows(job: Job) -> list[dict[str, object]]:
    """All figures under ``ye2024`` with paired intervals."""
    return compute_rows(paired(cells_of(job)), protocol="ye2024", replicates=job.source.replicates)


def exact_rows(job: Job) -> list[dict[str, object]]:
    """All figures under ``exact`` with paired intervals, on the items that the paper keeps."""
    cells = [without_demonstrations(cell) for cell in cells_of(job)]
    return compute_rows(paired(cells), splits=job.source.splits, replicates=job.source.replicates)


def readings(job: Job) -> list[Reading]:
    """Every cell under one changed choice at a time, and on every split of ``exact``."""
    return [read_cell(cell, job.source.splits) for cell in cells_of(job)]


def read_cell(cell: Cell, splits: int) -> Reading:
    """One cell on the paper's split with one choice changed at a time.

    Names of the values: `published`, `rank`, `full_empty` (empty LAC sets stay empty), `ties_low`, `ties_high`,
    `ties_mean`, `float16`, `float32`, `float64`, `float32_score`, `key_low`, `key_high` are set sizes, the mean of LAC
    and APS, with UAcc in percent as `<name>_uacc` where it is compared. `aps_<variant>` and `aps_<variant>_coverage`
    are those of APS alone.
    """
    scored = score_cell(cell, Settings("ye2024", replicates=0))
    exact = score_cell(without_demonstrations(cell), Settings("exact", splits=splits, replicates=0))
    lac, aps = exact.lac_splits, exact.aps_splits
    test = scored.sample.folds.test[0]
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
        "exact_lac": lac.mean_size,
        "exact_aps": aps.mean_size,
        "exact_one_split": float(lac.size[0] + aps.size[0]) / 2,
    }
    return Reading(
        str(cell.model["name"]), TASKS[cell.curve_key[1].removeprefix("ye2024-")], values, (lac.size + aps.size) / 2
    )


def _results(
    scored: Scored, scores: conformal.SetScores, answers: NDArray[np.int64], protocol: str = "ye2024"
) -> conformal.SplitResults:
    settings = scored.sample.settings
    return conformal.conformal_splits(
        scores, answers, folds=scored.sample.folds, alpha=settings.alpha, protocol=protocol
    )


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
        "full_empty": _set_size(scored, plain, scored.aps)[0],
        "lac": scored.lac_splits.mean_size,
    }


def _tie_orders(scored: Scored) -> dict[str, float]:
    """Set size over the orders of equal probabilities: right option first, last, and at random.

    The order matters on the conformal half alone, in the score of the right option; how many options of a tied block are
    within the quantile does not depend on it. Columns are moved because of tied options the last column comes first.
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

    Between them lies what any answers to these items give: a set size grows with every conformal score. Options that are
    right nowhere are left out. Items count as uncertain that are in the slice ``ambiguous``.
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
    """Size and coverage of APS on the paper's split: as published, and three rules at one randomized quantile."""
    p, y, draws = scored.probabilities, scored.answers, scored.sample.aps_draws
    randomized = conformal.aps_scores(p, y, draws=draws)
    # With a draw of zero the score of an option is the mass down to and including it.
    inclusive = conformal.aps_scores(p, y, draws=np.zeros(len(y)))
    variants = {
        "published": (scored.aps, "ye2024"),
        "randomized": (randomized, "exact"),
        "included": (conformal.aps_deterministic_scores(p, y, draws=draws), "exact"),
        "excluded": (conformal.SetScores(randomized.calibration, inclusive.options), "exact"),
    }
    found = {}
    for name, (scores, protocol) in variants.items():
        result = _results(scored, scores, y, protocol)
        found[f"aps_{name}"], found[f"aps_{name}_coverage"] = result.mean_size, result.mean_coverage
    return found


# All jobs


def run_stage(work: Callable[[Job], list[Any]], jobs: Sequence[Job], pool: ProcessPoolExecutor | None) -> Stage:
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


def _measured(task: tuple[Callable[[Job], list[Any]], Job]) -> tuple[list[Any], float, int, float]:
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

    The mean of interval ends is an interval for the mean figure that is at most too wide: the prompts ask the same items,
    and the standard deviation of a mean never exceeds the mean of the standard deviations.
    """
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((model_of(row), task_of(row)), []).append(row)
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
    """One published model and task beside the suite's figures; accuracy and UAcc in percent."""

    model: str
    label: str
    task: str
    accuracy: tuple[float, float]
    set_size: tuple[float, float]
    uacc: tuple[float, float]

    @property
    def differences(self) -> dict[str, float]:
        """Ours minus published."""
        pairs = {"accuracy": self.accuracy, "set size": self.set_size, "UAcc": self.uacc}
        return {name: ours - theirs for name, (theirs, ours) in pairs.items()}


def compare(table: Mapping[str, Mapping[str, Any]], rows: Iterable[Row]) -> list[Comparison]:
    """Every published figure beside the mean of our rows over the prompts, as the paper averages."""
    means = over_prompts(rows)
    found = []
    for task, (model, entry) in itertools.product(TASKS.values(), table.items()):
        ours = means[model, task]
        found.append(
            Comparison(
                model,
                entry["label"],
                task,
                (entry["accuracy_percent"][task], 100 * ours["accuracy"]),
                (entry["set_size"][task], ours["set_size"]),
                (entry["uacc_percent"][task], 100 * ours["uacc"]),
            )
        )
    return found


def within(comparisons: Sequence[Comparison], name: str, tolerance: float) -> int:
    """How many differences of a figure are at most the tolerance."""
    return sum(abs(comparison.differences[name]) <= tolerance + 1e-9 for comparison in comparisons)


def comparison_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """The table of section 1 and its counts."""
    lines = [
        "| task | model | accuracy, % | ours | diff. | set size | ours | diff. | UAcc, % | ours | diff. |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in comparisons:
        cells = [
            f"{theirs:.2f} | {ours:.{digits}f} | {ours - theirs:+.{digits}f}"
            for (theirs, ours), digits in ((one.accuracy, 3), (one.set_size, 4), (one.uacc, 3))
        ]
        lines.append(f"| {one.task} | {one.label} | {' | '.join(cells)} |")
    n = len(comparisons)
    largest = {
        name: max(comparisons, key=lambda one, name=name: abs(one.differences[name]))  # type: ignore[misc]
        for name in ("accuracy", "set size", "UAcc")
    }
    lines += ["", "| figure | within 0.005 (equal as printed) | within 0.01 | within 0.02 | largest difference |"]
    lines.append("|---|--:|--:|--:|---|")
    for name, one in largest.items():
        counts = " | ".join(f"{within(comparisons, name, limit)} of {n}" for limit in (0.005, 0.01, 0.02))
        unit = "" if name == "set size" else ", percentage points"
        lines.append(f"| {name}{unit} | {counts} | {one.differences[name]:+.4f} ({one.label}, {one.task}) |")
    return lines


def misses(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons of which some figure is not equal as printed."""
    return [one for one in comparisons if any(abs(value) > PRINTED for value in one.differences.values())]


CAUSES = {
    "arithmetic": ("float16", "float32", "float64", "float32_score"),
    "tie order": ("ties_low", "ties_high"),
    "answer key": ("key_low", "key_high"),
}
"""What moves a figure: by how much is measured by the values of these names."""


def cause_range(values: Mapping[str, float], cause: str, ending: str) -> tuple[float, float]:
    """From where to where a cause moves the set size (ending "") or UAcc (ending "_uacc")."""
    reached = [values[name + ending] for name in CAUSES[cause]]
    return min(reached), max(reached)


def miss_lines(comparisons: Sequence[Comparison], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """Every figure that is not equal as printed, with what each cause can move it to."""
    found = misses(comparisons)
    if not found:
        return ["Every figure is equal as printed."]
    lines = [
        "| task | model | figure | published | ours | arithmetic | tie order | answer key | reached by |",
        "|---|---|---|--:|--:|---|---|---|---|",
    ]
    for one in found:
        values = means[one.model, one.task]
        for name, ending, (theirs, ours), digits in (
            ("set size", "", one.set_size, 4),
            ("UAcc, %", "_uacc", one.uacc, 3),
        ):
            if abs(ours - theirs) <= PRINTED:
                continue
            ranges = {cause: cause_range(values, cause, ending) for cause in CAUSES}
            reaching = [cause for cause, (low, high) in ranges.items() if low - PRINTED <= theirs <= high + PRINTED]
            spans = " | ".join(f"{low:.{digits}f} … {high:.{digits}f}" for low, high in ranges.values())
            lines.append(
                f"| {one.task} | {one.label} | {name} | {theirs:.2f} | {ours:.{digits}f} | {spans} "
                f"| {', '.join(reaching) or 'none of them'} |"
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
        "| model | published rules | exact rank | empty LAC sets stay empty | ties: answer first … last | ties: random "
        "| randomized APS | exact, one split | exact, mean of splits | SD of one split |",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for model, label in labels.items():
        v = over_tasks(means, model)
        base = v["published"]
        randomized = (v["lac"] + v["aps_randomized"]) / 2 - base
        lines.append(
            f"| {label} | {base:.3f} | {v['rank'] - base:+.4f} | {v['full_empty'] - base:+.3f} "
            f"| {v['ties_low'] - base:+.3f} … {v['ties_high'] - base:+.3f} | {v['ties_mean'] - base:+.3f} "
            f"| {randomized:+.3f} | {v['exact_one_split']:.3f} | {exact_size(v):.3f} | {v['split_deviation']:.3f} |"
        )
    return lines


def exact_size(values: Mapping[str, float]) -> float:
    """Mean set size of LAC and APS over all splits under ``exact``."""
    return (values["exact_lac"] + values["exact_aps"]) / 2


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
        "| model | task | items with a tie | tie at the top | accuracy, %: ties lost … won | set size: answer first … last "
        "| random order | published order |",
        "|---|---|--:|--:|---|---|--:|--:|",
    ]
    for (model, label), task in itertools.product(labels.items(), TASKS.values()):
        v = means[model, task]
        lines.append(
            f"| {label} | {task} | {v['tied_items']:.3f} | {v['tied_top']:.3f} "
            f"| {100 * v['accuracy_ties_low']:.2f} … {100 * v['accuracy_ties_high']:.2f} "
            f"| {v['ties_low']:.3f} … {v['ties_high']:.3f} | {v['ties_mean']:.3f} | {v['published']:.3f} |"
        )
    return lines


def swapped_pairs(means: Mapping[Key, Mapping[str, float]], models: Sequence[str]) -> list[tuple[float, str]]:
    """Pairs of models that the published rules and ``exact`` order differently by set size.

    Returns:
        The smaller of the two gaps and a description, largest gap first.
    """
    found = []
    for task, (one, other) in itertools.product(TASKS.values(), itertools.combinations(models, 2)):
        before = means[one, task]["published"] - means[other, task]["published"]
        after = exact_size(means[one, task]) - exact_size(means[other, task])
        if before * after < 0:
            found.append((min(abs(before), abs(after)), f"{one} and {other} on {task} ({before:+.2f}, {after:+.2f})"))
    return sorted(found, reverse=True)


def choice_findings(labels: Mapping[str, str], means: Mapping[Key, Mapping[str, float]]) -> list[str]:
    """The reading of section 2, its numbers taken from the figures."""
    keys = list(itertools.product(labels, TASKS.values()))

    def named(key: Key) -> str:
        return f"{labels[key[0]]} on {key[1]}"

    span = {key: means[key]["ties_high"] - means[key]["ties_low"] for key in keys}
    off = {key: means[key]["ties_mean"] - means[key]["published"] for key in keys}
    rank = {key: means[key]["rank"] - means[key]["published"] for key in keys}
    empty = {key: means[key]["full_empty"] - means[key]["published"] for key in keys}
    aps = {key: means[key]["aps_randomized"] - means[key]["aps_published"] for key in keys}
    coverage = {key: means[key]["aps_published_coverage"] for key in keys}
    total = {key: exact_size(means[key]) - means[key]["published"] for key in keys}
    noise = {key: means[key]["split_deviation"] for key in keys}
    widest, farthest = max(span, key=span.__getitem__), max(off, key=lambda key: abs(off[key]))
    ranked = max(rank, key=lambda key: abs(rank[key]))
    smallest, greatest = min(aps, key=aps.__getitem__), max(aps, key=aps.__getitem__)
    over, emptied = max(coverage, key=coverage.__getitem__), min(empty, key=empty.__getitem__)
    low, high = min(total, key=total.__getitem__), max(total, key=total.__getitem__)
    swapped = swapped_pairs({(labels[model], task): means[model, task] for model, task in keys}, list(labels.values()))
    beyond = [text for gap, text in swapped if gap > 2 * max(noise.values())]
    pairs = len(TASKS) * len(labels) * (len(labels) - 1) // 2
    included = [means[key]["aps_included_coverage"] for key in keys]
    excluded = [means[key]["aps_excluded_coverage"] for key in keys]
    return [
        f"- **Ties.** The order of tied options, which the paper leaves to a sort, moves the set size by more than 0.02 "
        f"in {sum(value > 0.02 for value in span.values())} of {len(keys)} figures and by {span[widest]:.2f} "
        f"({means[widest]['ties_low']:.2f} to {means[widest]['ties_high']:.2f}) for {named(widest)}. A random order "
        f"differs from the published one by up to {off[farthest]:+.3f} ({named(farthest)}). Models whose logits are "
        "coarse where they are large suffer, not uncertain ones: 16-bit floats near 560 are multiples of 0.5 (InternLM), "
        "bfloat16 between 16 and 32 multiples of 0.125 (DeepSeek); MPT was stored in 32 bits and never ties.",
        f"- **Quantile rank.** One rank higher than exact is worth at most {abs(rank[ranked]):.4f} options "
        f"({named(ranked)}) at about 5,000 conformal items: nothing beside the rest.",
        f"- **Empty sets.** Putting the most likely option into an empty LAC set adds up to {-empty[emptied]:.3f} "
        f"({named(emptied)}); models that are sure and right have empty sets under `exact`.",
        f"- **APS variant.** Aimed at 0.90, the published rule covers up to {coverage[over]:.3f} ({named(over)}), since "
        "its first option is in the set whatever it weighs. Randomized APS changes the size by "
        f"{aps[smallest]:+.2f} ({named(smallest)}) to {aps[greatest]:+.2f} ({named(greatest)}), the more the surer the "
        "model (rank correlation of the change with accuracy "
        f"{rank_correlation([means[key]['accuracy_ties_high'] for key in keys], [aps[key] for key in keys]):+.2f} over "
        f"{len(keys)} figures). At a randomized quantile, including the last label covers {min(included):.3f} to "
        f"{max(included):.3f}, excluding it {min(excluded):.3f} to {max(excluded):.3f}: neither is the same measurement.",
        f"- **Together.** Published minus exact set size runs from {-high_low(total[high]):+.2f} ({named(high)}) to "
        f"{-high_low(total[low]):+.2f} ({named(low)}). One split of these items has a standard deviation of "
        f"{min(noise.values()):.3f} to {max(noise.values()):.3f}, so published differences of 0.1 between models are "
        f"differences of the rules or of the split as often as of the models: {len(swapped)} of {pairs} pairs of models "
        f"change order"
        + (f", {len(beyond)} of them by more than two such deviations under both rules" if beyond else "")
        + (f"; the clearest: {'; '.join(text for _, text in swapped[:3])}." if swapped else "."),
    ]


def high_low(value: float) -> float:
    """The value, without a negative zero."""
    return value + 0.0


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, NaN where one side is constant."""
    from scipy.stats import rankdata

    one, other = rankdata(first), rankdata(second)
    if one.std() == 0 or other.std() == 0:
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])


# Section 3: sizes


SIZE_FIGURES = {
    "accuracy": "accuracy",
    "set_size": "set size",
    "ece_debiased": "ECE",
    "error_auroc": "error AUROC",
}


def families_of(table: Mapping[str, Any]) -> dict[str, list[str]]:
    """Members of each family that are in the table, smallest first; families of one are left out."""
    present = {family: [model for model in members if model in table] for family, members in FAMILIES.items()}
    return {family: members for family, members in present.items() if len(members) > 1}


def interval_of(values: Mapping[str, float], key: str) -> tuple[float, float] | None:
    """Ends of the 95 % interval, None where there is none."""
    key = "ece" if key == "ece_debiased" else key
    if f"{key}_low" not in values or f"{key}_high" not in values:
        return None
    return values[f"{key}_low"], values[f"{key}_high"]


def with_interval(values: Mapping[str, float], key: str, *, signed: bool = False) -> str:
    """Value and interval as text."""
    if key not in values:
        return "–"
    form = "{:+.3f}" if signed else "{:.3f}"
    ends = interval_of(values, key)
    text = form.format(values[key])
    return text if ends is None else f"{text} [{form.format(ends[0])}, {form.format(ends[1])}]"


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
            figures = {key: with_interval(v, key) for key in SIZE_FIGURES}
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
    keys = {"accuracy_change": "accuracy", "set_size_change": "set size", "ece_change": "ECE"}
    keys["error_auroc_change"] = "error AUROC"
    lines = ["| task | model | against | " + " | ".join(keys.values()) + " |", "|---|---|---|" + "---|" * len(keys)]
    for task, members in itertools.product(TASKS.values(), families_of(table).values()):
        for model in members[1:]:
            cells = [with_interval(means[model, task], key, signed=True) for key in keys]
            lines.append(f"| {task} | {table[model]['label']} | {table[members[0]]['label']} | {' | '.join(cells)} |")
    return lines


def size_findings(
    table: Mapping[str, Mapping[str, Any]], means: Mapping[Key, Mapping[str, float]], rows: Sequence[Row]
) -> list[str]:
    """The reading of section 3, its numbers taken from the figures."""
    series = [(family, members, task) for family, members in families_of(table).items() for task in TASKS.values()]
    better = {"accuracy": 1, "set_size": -1, "ece_debiased": -1, "error_auroc": 1}
    lines = []
    for key, title in SIZE_FIGURES.items():
        steady, ends, against = [], [], []
        for family, members, task in series:
            steps = better[key] * np.diff([means[model, task][key] for model in members])
            change = means[members[-1], task]
            ends_of_change = interval_of(change, "ece_change" if key == "ece_debiased" else f"{key}_change")
            if (steps > 0).all():
                steady.append(f"{family} {task}")
            if (
                ends_of_change is not None
                and better[key] * ends_of_change[0] > 0
                and better[key] * ends_of_change[1] > 0
            ):
                ends.append(f"{family} {task}")
            if (
                ends_of_change is not None
                and better[key] * ends_of_change[0] < 0
                and better[key] * ends_of_change[1] < 0
            ):
                against.append(f"{family} {task}")
        exceptions = [f"{family} {task}" for family, _, task in series if f"{family} {task}" not in steady]
        lines.append(
            f"- **{title[0].upper()}{title[1:]}** is better in the largest than in the smallest member, interval clear of "
            f"0, in {len(ends)} of {len(series)} series"
            + (f" and worse in {len(against)} ({', '.join(against)})" if against else "")
            + f"; it is better at every step in {len(steady)}"
            + (f" (not in {', '.join(exceptions)})." if exceptions else ".")
        )
    spread = prompt_spread(rows, [model for _, members, _ in series for model in members])
    widest = max(spread, key=lambda key: spread[key][0])
    lines.append(
        "- **Prompts.** Intervals are about items, not about prompts: the three prompts differ by up to "
        f"{spread[widest][0]:.3f} in accuracy ({table[widest[0]]['label']} on {widest[1]}) and by up to "
        f"{max(size for _, size in spread.values()):.2f} in set size, more than most intervals are wide."
    )
    every = list(means)
    correlation = rank_correlation([means[key]["accuracy"] for key in every], [means[key]["set_size"] for key in every])
    lines.append(
        f"- **Accuracy explains most of it.** Over all {len(every)} model and task pairs the rank correlation of accuracy "
        f"and set size is {correlation:+.2f}: a larger model's smaller sets are mostly its accuracy seen again. What is "
        "beyond accuracy is in ECE and error AUROC."
    )
    return lines


def prompt_spread(rows: Sequence[Row], models: Sequence[str]) -> dict[Key, tuple[float, float]]:
    """Largest minus smallest accuracy and set size over the prompts, by model and task."""
    groups: dict[Key, list[tuple[float, float]]] = {}
    for row in rows:
        if model_of(row) in models:
            key = (model_of(row), task_of(row))
            groups.setdefault(key, []).append((float(row["accuracy"]), float(row["set_size"])))
    return {key: tuple(np.ptp(np.array(found), axis=0).tolist()) for key, found in groups.items()}  # type: ignore[misc]


def draw_sizes(
    table: Mapping[str, Mapping[str, Any]], means: Mapping[Key, Mapping[str, float]], rows: Sequence[Row]
) -> bytes:
    """The figure of section 3: tasks across, figures down, a line a family; small marks are single prompts."""
    from matplotlib.lines import Line2D

    from suite.publish.canvas import COLOURS, headline, house_style, legend, new_figure, png

    marks = dict(zip(families_of(table), zip(COLOURS, "os", ("-", "--"), strict=False), strict=False))
    with house_style():
        figure = new_figure(10.0, 9.6)
        headline(
            figure,
            "Larger dense models of a family: accuracy, set size and calibration",
            "Mean over three prompts with 95 % item intervals; small marks are single prompts. Protocol exact, α = 0.1.",
        )
        axes = figure.subplots(
            len(SIZE_FIGURES), len(TASKS), sharex=True, sharey="row", squeeze=False,
            gridspec_kw={"left": 0.075, "right": 0.985, "top": 0.86, "bottom": 0.06, "hspace": 0.2, "wspace": 0.07},
        )  # fmt: skip
        for (line, (key, title)), (column, task) in itertools.product(
            enumerate(SIZE_FIGURES.items()), enumerate(TASKS.values())
        ):
            panel = axes[line][column]
            for family, members in families_of(table).items():
                colour, mark, dash = marks[family]
                x = [float(table[model]["params_b"]) for model in members]
                y = [means[model, task][key] for model in members]
                for row in rows:
                    if model_of(row) in members and task_of(row) == task:
                        place = float(table[model_of(row)]["params_b"])
                        panel.plot(place, row[key], mark, color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
                ends = [
                    interval_of(means[model, task], key) or (value, value)
                    for model, value in zip(members, y, strict=True)
                ]
                reach = np.abs(np.array(ends).T - y)
                panel.errorbar(
                    x, y, reach, color=colour, marker=mark, linestyle=dash, markersize=6, capsize=2.5, lw=1.6
                )
            _dress(panel, line, column, key, title, task, means[next(iter(means))])
        handles = [(family, Line2D([], [], color=c, marker=m, linestyle=d)) for family, (c, m, d) in marks.items()]
        legend(figure, handles, len(handles))
        return png(figure)


def _dress(panel: Any, line: int, column: int, key: str, title: str, task: str, values: Mapping[str, float]) -> None:
    from matplotlib.ticker import NullLocator

    panel.set_xscale("log")
    panel.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(1.4, 95)
    baselines = {
        "accuracy": (0.25, "one of four options at random"),
        "set_size": (four_options(values), "one of four options at random"),
        "error_auroc": (0.5, "confidence says nothing"),
    }
    if key in baselines:
        height, text = baselines[key]
        panel.axhline(height, color="#888888", linewidth=1, linestyle=":")
        if column == 0:
            panel.text(1.5, height, text, fontsize=8.5, color="#666666", va="bottom", ha="left")
    if column == 0:
        arrow = "↑ better" if key in ("accuracy", "error_auroc") else "↓ better"
        panel.set_ylabel(f"{title} ({arrow})")
    if line == 0:
        panel.set_title(f"{task}: {TITLES[task]}")
    if line == len(SIZE_FIGURES) - 1:
        panel.set_xlabel("parameters, billions")


# Section 4: cost


def timing_lines(stages: Mapping[str, Stage], jobs: int, cells: int) -> list[str]:
    """What the rows of each protocol took, against the goal."""
    load = os.getloadavg()[0]
    lines = [
        f"{cells} cells in {jobs} process{'es' if jobs > 1 else ''} with one BLAS thread each, on {os.cpu_count()} cores "
        f"with a load average of {load:.1f} at the end (this run is {jobs} of it; other work slows it down). Wall time "
        "includes import, and for the first stage the start of the processes; memory is the sum of the peaks.",
        "",
        "| stage | wall, s | processor, s | peak memory, GiB |",
        "|---|--:|--:|--:|",
    ]
    for name, stage in stages.items():
        lines.append(f"| {name} | {stage.wall:.1f} | {stage.cpu:.1f} | {stage.memory:.2f} |")
    for name, stage in list(stages.items())[:2]:
        met = "met" if stage.wall <= SECONDS and stage.memory <= GIGABYTES else "not met"
        lines += ["", f"Goal of {SECONDS:.0f} s and {GIGABYTES:.0f} GiB for {name}: {met}."]
    return lines


# The page

PAGE = """# Published figures, recomputed

Written by `make reproduce-published` (scripts/reproduce_published.py); do not edit. The paper is arXiv 2401.12794, its logits
and tables are those of smartyfh/LLM-Uncertainty-Bench (MIT): {models} base models, {tasks} of its five tasks with {items} items each,
{prompts} prompts, six options of which E ("I don't know") and F ("None of the above") are never right. Figures are means over
the prompts, as in the paper. To run it, put `qa.npz`, `drs.npz`, `ds.npz` and `published_table.json` into a folder and name it in
`SUITE_PUBLISHED_DATA`; `suite import ye2024` reads a clone of the paper's repository itself (see [importing.md](importing.md)).

## 1. Published and recomputed

Protocol `ye2024` of `suite metrics` (see [metrics.md](metrics.md)). Goals: every accuracy within 0.01 percentage points, set size within
0.02 in at least 30 of 33.

{comparison}

**Figures that are not equal as printed**, and what each possible cause moves them to: *arithmetic*, the softmax in float16, float32
and float64, and LAC scores rounded as 1 − p in float32; *tie order*, the right option first or last among options of equal
probability; *answer key*, the {key_items} items of the conformal half whose answer the archive flags as ambiguous, given their likeliest or
unlikeliest answer (which bounds all answers together).

{misses}

{miss_words}

## 2. What the paper's choices are worth

Set size, the mean of LAC and APS, on the same items; averaged over the three tasks. Columns with a sign are changes against the
published rules when one choice is changed on the paper's own split; *exact, one split* is the first split of protocol `exact`
({splits} splits, hashed, two fifths of the items for the threshold and two fifths to test), and *SD of one split* the standard
deviation of the figure between its splits. Models are ordered by accuracy.

{choices}

APS alone, size and coverage (aimed at 0.90). *Published rule*: cumulated probability at most the quantile, at least one option, one
rank higher. The other three share one quantile of randomized scores at the exact rank, on the paper's split; *included*
adds the option that crosses the quantile, *excluded* leaves it out.

{aps}

{choice_findings}

Ties task by task. Accuracy and set size depend on the order in which equal probabilities are listed; the published figures come
from a stable ascending sort, reversed (of tied options the last comes first), and an argmax (the first wins). NumPy's default sort
is not stable on every processor: the paper's program gives other figures on a machine with AVX-512. Protocol `exact` averages over tied
orders.

{ties}

## 3. Do larger models know better when they may be wrong?

Protocol `exact`, mean over {splits} splits, {kept} items (the rows shown in the prompts are dropped), 95 % bootstrap intervals over items
from {replicates} replicates. Interval ends are means over the prompts, which makes an interval at most too wide. Chance: a model that
knows nothing has a set size of (1 − α) · 6 = 5.4; one that knows only that E and F are never right has an accuracy of 0.25 and a
set size of 3.6. The headroom columns give the share of the way from 1 to 5.4, and from 1 to 3.6, that the set size still takes
(above 1 means less than that knowledge). ECE is debiased.

![Accuracy, conformal set size, ECE and error AUROC of Llama-2 and Qwen against parameters](figures/published-sizes.png)

{sizes}

Change against the smallest member of the family, paired by item:

{changes}

{size_findings}

These are dense models. Two families, three sizes each, one generation of models; sizes of a family differ in more than parameters
(Qwen's in training data too), so the lines are comparisons within a family and no law of scale. Nothing here says that size protects
against compression: that needs compressed variants of each size.

## 4. Cost

{pairing}

<!-- timing: everything below changes from run to run -->

{timing}
"""


def write_page(source: Source, stages: Mapping[str, Stage], jobs: int) -> tuple[str, bytes]:
    """The page and its figure."""
    table = read_table(source.folder)
    ye2024, exact, found = (stage.results for stage in stages.values())
    comparisons = compare(table, ye2024)
    means, exact_means = readings_over_prompts(found), over_prompts(exact)
    labels = labels_of(table)
    key_items = {values["key_items"] for values in means.values()}
    page = PAGE.format(
        models=len(table),
        tasks={3: "three"}.get(len(TASKS), len(TASKS)),
        items=f"{ye2024[0]['n']:,}",
        prompts=len({row["prompt"] for row in ye2024}),
        comparison="\n".join(comparison_lines(comparisons)),
        key_items=f"{max(key_items):.0f}",
        misses="\n".join(miss_lines(comparisons, means)),
        miss_words=miss_words(comparisons, means),
        splits=source.splits,
        choices="\n".join(choice_lines(labels, means)),
        aps="\n".join(aps_lines(labels, means)),
        choice_findings="\n".join(choice_findings(labels, means)),
        ties="\n".join(tie_lines(labels, means)),
        kept=f"{exact[0]['n']:,}",
        replicates=f"{source.replicates:,}",
        sizes="\n".join(size_lines(table, exact_means)),
        changes="\n".join(change_lines(table, exact_means)),
        size_findings="\n".join(size_findings(table, exact_means, exact)),
        pairing=pairing_words(table, len(ye2024), source),
        timing="\n".join(timing_lines(stages, jobs, len(ye2024))),
    )
    return page, draw_sizes(table, exact_means, exact)


def miss_words(comparisons: Sequence[Comparison], means: Mapping[Key, Mapping[str, float]]) -> str:
    """What the table of misses says."""
    found = misses(comparisons)
    if not found:
        return ""
    flagged = sorted({task for (_, task), values in means.items() if values["key_items"]})
    missed = sorted({one.task for one in found})
    widest = max(
        (high - low, ending)
        for one in found
        for ending in ("", "_uacc")
        for low, high in [cause_range(means[one.model, one.task], "arithmetic", ending)]
        if ending == ""
    )[0]
    return (
        f"All of them are on {', '.join(missed)}; ambiguous answers are on {', '.join(flagged) or 'no task'}. Arithmetic "
        f"moves these set sizes by at most {widest:.4f}. Where *answer key* is named, some answers to the ambiguous items "
        "give the published figure; that is a possible reason, not a proven one."
    )


def pairing_words(table: Mapping[str, Any], cells: int, source: Source) -> str:
    """What was computed and what was paired with what."""
    partner = references(table)
    reference = {table[model]["label"] for model, other in partner.items() if model == other}
    return (
        f"All rows: {len(table)} models × {len(TASKS)} tasks × {cells // len(table) // len(TASKS)} prompts, LAC and APS, "
        f"all metrics, {source.replicates:,} bootstrap replicates. There is no compressed model to pair with its dense one, "
        f"so models are paired by item with the smallest of their family, those without a family with {sorted(reference)[0]}: "
        f"the references are {' and '.join(sorted(reference))}, and every other model has all paired figures (flips, "
        "divergences, changes, transferred coverage)."
    )


def run(source: Source, jobs: int) -> dict[str, Stage]:
    """All three stages, one after the other."""
    work = [Job(source, task, prompt) for task in TASKS for prompt in prompts_of(source.folder, task)]
    stages = {
        f"rows of protocol ye2024, {source.replicates:,} replicates": published_rows,
        f"rows of protocol exact, {source.splits} splits, {source.replicates:,} replicates": exact_rows,
        "the readings of section 2": readings,
    }
    if jobs == 1:
        return {name: run_stage(stage, work, None) for name, stage in stages.items()}
    # New processes read the variable; threads on top of processes would only contend.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return {name: run_stage(stage, work, pool) for name, stage in stages.items()}


def main() -> None:
    """Recompute, write the page and its figure, print the comparison and the cost."""
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
    page, figure = write_page(source, stages, options.jobs)
    picture = options.out.parent / "figures" / "published-sizes.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(figure)
    options.out.write_text(page, encoding="utf-8")
    rows = next(iter(stages.values())).results
    print("\n".join(comparison_lines(compare(read_table(source.folder), rows))))
    print("\n".join(["", *timing_lines(stages, options.jobs, len(rows)), "", str(options.out)]))


if __name__ == "__main__":
    main()
