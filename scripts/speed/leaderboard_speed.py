"""How long a large leaderboard takes: 12 models x 60 variants x 5 tasks of invented cells.

    .venv/bin/python -m scripts.speed.leaderboard_speed [--items 400] [--out DIR]  rendering and page, minutes
    .venv/bin/python -m scripts.speed.leaderboard_speed --every-cell [--out DIR]   rows of all 3,600 cells, half an hour
    .venv/bin/python -m scripts.speed.leaderboard_speed --page FILE [--page FILE]  pages alone, one after the other

Prints seconds of each stage, by the clock and of the processor: reading the cells, what is computed from them, what is
made of that (figures, tables, page), and, where Chromium is installed, sorting and filtering the page: milliseconds by
the clock, milliseconds of the processor and counts of work, which do not depend on what else the machine does.
Without `--every-cell` the cells of one model and task are measured and stand in, with jitter, for the others; its
verdicts stand in for those of the other models. Some of what it prints is in docs/leaderboard.md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from suite.cell import Cell, load_cells, make_cell, write_cell
from suite.config import Protocol, RunConfig, TaskChoice
from suite.decisions.analyses import DECOUPLING, SCALE, VERDICTS, Judgement, joint_keys, judge_measured
from suite.files import file_digest
from suite.metrics.rows import Measured, measure_cells
from suite.publish.manifest import describe
from suite.publish.numerals import rounded
from suite.publish.order import in_order
from suite.publish.records import parquet_bytes
from suite.publish.snapshot import Computed, compute, snapshot_texts, taken_files
from suite.publish.standings import Comparable, standings
from suite.variant import parse_variant
from suite.verdicts.given import Given
from suite.verdicts.scale import scales_of
from tests.support import headless

BILLIONS = (0.5, 1.0, 1.5, 2.0, 3.0, 7.0, 8.0, 9.0, 14.0, 27.0, 32.0, 70.0)
TASKS = ("mmlu", "cosmosqa", "hellaswag", "dialogue", "summaries")
VARIANTS = (
    "dense",
    *(
        f"{method}-w{bits}{group}"
        for method in ("rtn", "gptq")
        for group in ("", "-g32", "-g128")
        for bits in (8, 6, 4, 3, 2)
    ),
    *(f"{method}-s{percent}" for method in ("magnitude", "wanda", "sparsegpt") for percent in range(10, 100, 10)),
    *("wanda-2:4", "sparsegpt-2:4"),
)


def invented(items: int) -> Iterator[Cell]:
    """Cells whose noise grows with compression and shrinks with size."""
    for task_number, task in enumerate(TASKS):
        random = np.random.default_rng(task_number)
        answers = random.integers(0, 6, items)
        base = random.normal(size=(items, 6))
        for model_number, billions in enumerate(BILLIONS):
            signal = base.copy()
            signal[np.arange(items), answers] += 1.0 + 0.4 * np.log2(1 + billions)
            for number, name in enumerate(VARIANTS):
                known = parse_variant(name)
                bits, zeros = known.bits or 16, known.sparsity or 0.0
                noise = (0.0 if bits == 16 else 8 * 2.0**-bits) + 4 * zeros**3
                shaken = np.random.default_rng([task_number, model_number, number]).normal(size=base.shape)
                yield make_cell(
                    ids=[f"{task}-{item}" for item in range(items)],
                    answers=answers.tolist(),
                    scores=(2 * signal + noise * shaken).astype(np.float32).tolist(),
                    kind="logits",
                    model={"name": f"model-{billions:g}b", "params": int(billions * 1e9)},
                    variant={
                        **{"name": name, "bits_per_weight": bits + 0.5, "sparsity": zeros, "no_op": False},
                        "megabytes": billions * 1e9 * (bits + 0.5) / 8e6,
                    },
                    task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
                )


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print seconds by the clock and of the processor, and the most memory held, of this process and its workers."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], held())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, busy = time.perf_counter(), spent()
    yield
    clock, processor = time.perf_counter() - start, spent() - busy
    over.set()
    watcher.join()
    print(f"{what}: {clock:.1f} s, {processor:.1f} s of processor, {max(peak[0], held()) / 2**20:.0f} MiB", flush=True)


def family() -> list[psutil.Process]:
    """This process and those that it started."""
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def spent() -> float:
    """Seconds of the processor, those of workers that have ended included."""
    total = 0.0
    for process in family():
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def held() -> int:
    """Bytes in memory; what processes share counts once."""
    total = 0
    for process in family():
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total


def stand_ins(cells: Sequence[Cell], protocol: Protocol, config: RunConfig) -> Computed:
    """What follows from all cells, with the figures of one model and task, shaken a little, in the place of all."""
    first = [cell for cell in cells if cell.curve_key == cells[0].curve_key]
    with timed(f"measuring {len(first)} cells, by one process"):
        measured = measure_cells(first, protocol, keep=joint_keys())
    variants = {one.cell.key.variant: one for one in measured}
    random = np.random.default_rng(0)
    copies: list[Measured] = []
    everything: dict[tuple[str, str, str, str, int, str], Comparable] = {}
    for cell in cells:
        one = variants[cell.key.variant]
        factor = float(random.normal(1, 0.02))
        who = {"model": cell.model["name"], "task": cell.task["name"], "params_b": cell.model["params"] / 1e9}
        measured_keys = [key for key in one.values if isinstance(one.row.get(key), float)]
        shaken = {key: float(str(one.row[key])) * factor for key in measured_keys}
        row: dict[str, object] = {**one.row, **shaken, **who, "megabytes": cell.variant["megabytes"]}
        replicates = {key: copy * factor for key, copy in one.replicates.items()}
        values = {key: value * factor for key, value in one.values.items()}
        copies.append(Measured(cell, row, values, replicates, correct=one.correct, units=one.units, chance=one.chance))
        key = cell.key
        taken = {name: replicates[name].astype(np.float32) for name in ("accuracy", "set_size")}
        everything[key] = Comparable(taken, str(cell.task["name"]), one.correct.astype(np.float32), one.units)
    model = str(first[0].model["name"])
    mine = [one for one in copies if one.cell.model["name"] == model]
    with timed(f"verdicts of one model ({len(mine)} cells)"):
        judgement = judge_measured(Given(mine, protocol, config))
    names = list(dict.fromkeys(str(cell.model["name"]) for cell in cells))
    verdicts = [replace(one, place=replace(one.place, model=name)) for name in names for one in judgement.verdicts]
    couplings = [{**one, "model": name} for name in names for one in judgement.records(DECOUPLING)]
    scale = scales_of(Given(copies, protocol))
    judgement = Judgement({VERDICTS: verdicts, DECOUPLING: couplings, SCALE: scale})
    with timed("sorting rows, groups and pairs"):
        ordered = in_order([rounded(one.row) for one in copies])
        found = standings(ordered, everything)
    rows = [dict(row) for row in ordered]
    return Computed(list(cells), rows, found, [], judgement, judgement.files())


ACTIONS: dict[str, Callable[[Any], str]] = {
    "sorting": lambda key: f"document.querySelector('th[data-key={key}] button').click()",
    "typing in a filter": lambda typed: (
        f"const i = document.getElementById('megabytes'); i.value = '{typed}'; i.dispatchEvent(new Event('input'))"
    ),
}
TRIED = {
    "sorting": ("accuracy", "set_size", "megabytes", "model", "nll") * 2,
    "typing in a filter": ("9", "90", "900", "9000", "90000", ""),
}


def time_pages(pages: Sequence[Path], *, rounds: int = 3) -> None:
    """From a click or a typed digit until the browser has laid the page out again, on a desktop's width and a phone's.

    Several pages take turns, so that what else the machine does hits them alike.
    """
    if not any(shutil.which(name) for name in headless.NAMES):
        print("sorting: no Chromium is installed")
        return
    headless.PATIENCE = 600.0  # this is for busy machines, too
    browser = headless.Browser(Path(tempfile.mkdtemp()))
    browser("Performance.enable", timeDomain="threadTicks")

    def counters() -> dict[str, float]:
        return {one["name"]: one["value"] for one in browser("Performance.getMetrics")["metrics"]}

    found: dict[tuple[str, ...], list[list[float]]] = {}
    try:
        for _ in range(rounds):
            for page in pages:
                for width in (1366, 390):
                    browser.look(width=width, height=900)
                    browser.open(page)
                    for shown in ("100 rows", "all rows"):
                        if shown == "all rows":
                            browser.evaluate("document.getElementById('more').click()")
                        for action, values in TRIED.items():
                            for value in values:
                                before = counters()
                                clock = browser.evaluate(
                                    f"(() => {{ const start = performance.now(); {ACTIONS[action](value)}; "
                                    "document.body.offsetHeight; return performance.now() - start; })()"
                                )
                                after = counters()
                                spent = sum(
                                    after[key] - before[key]
                                    for key in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
                                )
                                made = after["Nodes"] - before["Nodes"]
                                where = (str(page), f"{width} px", shown, action)
                                found.setdefault(where, []).append([clock, 1000 * spent, made])
    finally:
        browser.close()
    for key, lines in found.items():
        clock, spent, made = np.array(lines).T
        print(
            f"{', '.join(key)}: median {np.median(clock):.0f} ms, longest {clock.max():.0f} ms; "
            f"of the processor {np.median(spent):.0f} and {spent.max():.0f} ms; {np.median(made):.0f} nodes made"
        )
    print(f"complaints of the browser: {browser.complaints or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--every-cell", action="store_true")
    parser.add_argument("--page", type=Path, action="append")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.page:
        time_pages(args.page)
        return
    out = args.out or Path(tempfile.mkdtemp())
    names = tuple(f"model-{billions:g}b" for billions in BILLIONS)
    protocol = Protocol(splits=args.splits, replicates=args.replicates)
    config = RunConfig(names, tuple(TaskChoice(task) for task in TASKS), VARIANTS, protocol=protocol)
    with timed("inventing and writing the cells"):
        for cell in invented(args.items):
            write_cell(cell.key.path(out), cell)
    if args.every_cell:
        with timed(f"rows, groups and verdicts of {len(BILLIONS) * len(VARIANTS) * len(TASKS)} cells"):
            computed = compute(out, config)
    else:
        with timed("reading the cells"):
            cells = load_cells([out])
        protocol = Protocol(splits=args.splits, replicates=args.replicates)
        computed = stand_ins(cells, protocol, config)
    with timed("rendering: figures"):
        pictures = computed.pictures(computed.rows)
    print(f"{len(pictures)} pictures, {sum(len(picture.content) for picture in pictures) / 1e6:.1f} MB")
    with timed("rendering: tables and page"):
        texts = snapshot_texts(computed, computed.rows, pictures)
        texts["rows.parquet"] = parquet_bytes(computed.rows)
    with timed("rendering: manifest"):
        describe(computed.cells, protocol=protocol, config=config, environment={})
        _ = [file_digest(out / name) for name in taken_files(out)]
    for name, content in texts.items():
        (out / name).write_bytes(content)
        print(f"{name}: {len(content) / 1e6:.2f} MB")
    time_pages([out / "index.html"])


if __name__ == "__main__":
    main()
