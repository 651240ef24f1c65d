"""What the analysis costs: rows, verdicts and doses of a snapshot, and how that grows with items and replicates.

    .venv/bin/python -m scripts.speed.analysis_speed [--snapshot results/three-llms] [--repeats 3] [--against FOLDER]
    .venv/bin/python -m scripts.speed.analysis_speed --clock [--snapshot results/three-llms] [--repeats 3]
    .venv/bin/python -m scripts.speed.analysis_speed --growth [--most 1000000]

Seconds are those of the processor (user and system, one thread), which do not depend on what else the machine does as
much as the clock's do. Every repeat is a process of its own. `--against` names a checkout of another commit: the two
take turns, A B A B, and ratios are taken in pairs. Each call writes its table between markers of docs/benchmarks.md,
with a line added to those of earlier calls; `--growth` draws a picture and shows it there. `--clock` says what a user
waits for: seconds by the clock with as many processes as the suite starts unasked, commands with all they load; where
SUITE_PUBLISHED_DATA names the published logits (`make reproduce-published`), the rows of their cells too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.markers import check_markers, grown_table, marks, write_between

ROOT = Path(__file__).resolve().parent.parent.parent
START, END = marks("analysis")
EARLIER, NO_EARLIER = marks("analysis earlier")
NOTES, NO_NOTES = marks("analysis notes")  # written by hand
GROWTH, NO_GROWTH = marks("analysis growth")
CLOCK, NO_CLOCK = marks("analysis clock")
WAITED = ("| commit | processor | cells | what | goal, s | s |", "|---|---|---|---|--:|--:|")
GREW = (
    "| commit | processor | items | s | slope of seconds | MiB | slope of memory |",
    "|---|---|--:|--:|--:|--:|--:|",
)
MEASURED = ("| commit | processor | snapshot | rows, s | verdicts and doses, s |", "|---|---|---|--:|--:|")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "SUITE_WORKERS"), "1")

PHASES = """
import json, resource, sys, tempfile, time
from pathlib import Path
import suite
from suite.cell import load_cells
from suite.config import read_config
from suite.metrics.replicates import Store
from suite.metrics.rows import measure_cells
try:
    from suite.decisions.analyses import ANALYSES, joint_keys
except ImportError:  # an earlier commit
    from suite.verdicts.analyses import ANALYSES, joint_keys
from suite.metrics.workers import workers_for
from suite.verdicts.given import Given

by_clock = "--clock" in sys.argv
def spent():
    if by_clock:
        return time.perf_counter()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

folder, taken = Path(sys.argv[1]), {}
config = read_config(folder / "config.yaml")
def phase(name, function):
    before = spent()
    result = function()
    taken[name] = spent() - before
    return result

cells = phase("reading the cells", lambda: load_cells([folder]))
workers = workers_for(sum(map(len, cells)))
with tempfile.TemporaryDirectory() as kept:
    how = dict(keep=joint_keys(), store=Store(Path(kept)), workers=workers)
    measured = phase("rows, cold", lambda: measure_cells(cells, config.protocol, **how))
    phase("rows, from kept replicates", lambda: measure_cells(cells, config.protocol, **how))
given = Given(measured, config.protocol, config, workers)
for file, analysis in ANALYSES.items():
    phase(file, lambda: analysis.find(given))
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": taken, "cells": len(cells), "bytes": peak}))
"""

PUBLISHED = """
import json, sys, time
from pathlib import Path
from scripts.studies.reproduce_published import TASKS, Job, Source, cells_of, prompts_of
from suite.config import Protocol
from suite.metrics.rows import measure_cells
from suite.metrics.workers import workers_for

source, begin = Source(Path(sys.argv[1])), time.perf_counter()
jobs = [Job(source, task, prompt) for task in TASKS for prompt in prompts_of(source.folder, task)]
cells = [cell for job in jobs for cell in cells_of(job)]
read = time.perf_counter()
measure_cells(cells, Protocol(), workers=workers_for(sum(map(len, cells))))
taken = {"reading the cells": read - begin, "rows": time.perf_counter() - read}
print(json.dumps({"seconds": taken, "cells": len(cells)}))
"""

ONE_CELL = """
import json, resource, sys
import numpy as np
from suite.cell import make_cell
from suite.config import Protocol
from suite.metrics.rows import measure_cells
import netcal

def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

items, splits, replicates, cells = map(int, sys.argv[1:])
random = np.random.default_rng(0)
answers = random.integers(0, 4, items)
signal = random.normal(size=(items, 4))
signal[np.arange(items), answers] += 1.2
ids = [f"item-{number}" for number in range(items)]
made = [
    make_cell(
        ids=ids, answers=answers.tolist(), kind="logits",
        scores=(signal + 0.1 * number * random.normal(size=signal.shape)).astype(np.float32).tolist(),
        model={"name": "invented", "params": 10**9},
        variant={"name": "dense" if number == 0 else f"magnitude-s{number}"},
        task={"name": "invented", "scoring": "letter", "prompt": "base", "shots": 0},
    )
    for number in range(cells)
]
before = spent()
measure_cells(made, Protocol("exact", 0.1, splits, replicates, 0))
print(json.dumps({"seconds": spent() - before, "bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""

PLAIN = {"items": 1000, "splits": 100, "replicates": 1000, "cells": 1}
STEPS = {
    "items": (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
    "splits": (25, 50, 100, 200, 400),
    "replicates": (250, 500, 1000, 2000, 4000),
    "cells": (1, 2, 4, 8, 16),
}


def run(
    code: str, arguments: Sequence[str], checkout: Path = ROOT, limits: Mapping[str, str] = ONE_THREAD
) -> dict[str, object]:
    """One run in a process of its own, by the code of a checkout."""
    environment = {**os.environ, **limits, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, cwd=checkout, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median (smallest to largest)."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def processor() -> str:
    """Model, widest vector instructions that NumPy computes with, and for whom its matrix products are written."""
    from numpy._core._multiarray_umath import __cpu_features__ as features
    from threadpoolctl import threadpool_info

    told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace") if Path("/proc/cpuinfo").exists() else ""
    name = next((line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")), "")
    widest = next((kind for kind in ("AVX512_SPR", "AVX512_ICL", "AVX512_SKX", "AVX2") if features.get(kind)), "plain")
    written_for = {str(one.get("architecture")) for one in threadpool_info() if "numpy" in one["filepath"]}
    return ", ".join([name or platform.machine(), f"{os.cpu_count()} cores", widest, *sorted(written_for)])


def commit(checkout: Path) -> str:
    """Short name of the commit that is checked out."""
    told = subprocess.run(["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return told.stdout.strip() or "no commit"


def totals(seconds: Sequence[Mapping[str, float]]) -> list[float]:
    """All but what is read from kept replicates instead."""
    return [sum(value for name, value in one.items() if "kept" not in name) for one in seconds]


def phases(snapshot: Path, repeats: int, against: Path | None, out: Path) -> None:
    """Measure a snapshot's analysis and write the tables."""
    sides = [ROOT, *([against] if against else [])]
    runs: list[list[Mapping[str, float]]] = [[] for _ in sides]
    for repeat in range(repeats):
        for side, found in zip(sides, runs, strict=True):
            one = run(PHASES, [str(snapshot.resolve())], side)
            seconds, cells, peak = one["seconds"], one["cells"], one["bytes"]
            assert isinstance(seconds, dict)
            assert isinstance(peak, int)
            found.append(seconds)
            print(
                f"repeat {repeat + 1}, {commit(side)}: {sum(seconds.values()):.1f} s, {peak / 2**20:.0f} MiB",
                file=sys.stderr,
            )
    head, rule = ["phase", f"{commit(ROOT)}, s"], "|---|--:|"
    if against:
        head, rule = [*head, f"{commit(against)}, s", "ratio in pairs"], rule + "--:|--:|"
    lines = [f"| {' | '.join(head)} |", rule]
    ours = {name: [one[name] for one in runs[0]] for name in runs[0][0]} | {"**all, cold**": totals(runs[0])}
    theirs = {}
    if against:
        theirs = {name: [one[name] for one in runs[1]] for name in runs[1][0]} | {"**all, cold**": totals(runs[1])}
    for name, values in ours.items():
        cells_of = [name, spread(values)]
        if against:
            other = theirs.get(name)
            pairs = [b / a for a, b in zip(values, other, strict=True) if a > 0.05] if other else []
            cells_of += [spread(other) if other else "", spread(pairs, 2) if pairs else ""]
        lines.append(f"| {' | '.join(cells_of)} |")
    told = f"{cells} cells of {snapshot.name}, {processor()}; {repeats} repeats."
    write_between(out, START, END, f"{told}\n\n" + "\n".join(lines))
    rows = []
    for side, found in zip(sides, runs, strict=True):
        rows_cold = [one["rows, cold"] for one in found]
        judged = [sum(value for name, value in one.items() if name.endswith(".json")) for one in found]
        rows.append(f"| {commit(side)} | {processor()} | {snapshot.name} | {spread(rows_cold)} | {spread(judged)} |")
    write_between(out, EARLIER, NO_EARLIER, grown_table(out, EARLIER, NO_EARLIER, MEASURED, rows))


def waited(snapshot: Path, repeats: int, out: Path) -> None:
    """What a user waits for, by the clock, with as many processes as the suite starts unasked."""
    found: dict[tuple[str, str], list[float]] = {}
    published = os.environ.get("SUITE_PUBLISHED_DATA")
    goals = {
        "rows, verdicts and doses": "30",
        "rows": "30",
        "suite verify": "45",
        "suite dose --json": "10",
    }
    program = Path(sys.executable).with_name("suite")
    for _ in range(repeats):
        seconds = run(PHASES, [str(snapshot.resolve()), "--clock"], limits={})["seconds"]
        assert isinstance(seconds, dict)
        seconds["rows, verdicts and doses"] = sum(
            seconds[name] for name in ("rows, cold", "verdicts.json", "doses.json")
        )
        with tempfile.TemporaryDirectory() as folder:
            for name, place, call in (
                ("suite leaderboard", "one", ["leaderboard", str(snapshot), "--out", f"{folder}/again"]),
                ("suite verify", "one", ["verify", str(snapshot)]),
                ("suite dose --json, nothing kept", "other", ["dose", str(snapshot), "--json"]),
                ("suite dose --json", "other", ["dose", str(snapshot), "--json"]),
            ):
                kept = {**os.environ, "SUITE_CACHE": f"{folder}/{place}"}
                begin = time.perf_counter()
                subprocess.run([str(program), *call], check=True, stdout=subprocess.DEVNULL, env=kept)
                seconds[name] = time.perf_counter() - begin
        measured = {(snapshot.name, name): value for name, value in seconds.items()}
        if published:
            told = run(PUBLISHED, [str(Path(published).resolve())], limits={})["seconds"]
            assert isinstance(told, dict)
            measured |= {("published logits, 99 cells", name): value for name, value in told.items()}
        for (of, name), value in measured.items():
            found.setdefault((of, name), []).append(value)
            print(f"{of}, {name}: {value:.1f} s", file=sys.stderr, flush=True)
    rows = [
        f"| {commit(ROOT)} | {processor()} | {of} | {name} | {goals.get(name, '')} | {spread(values)} |"
        for (of, name), values in found.items()
        if max(values) >= 0.5
    ]
    write_between(out, CLOCK, NO_CLOCK, grown_table(out, CLOCK, NO_CLOCK, WAITED, rows))


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Of the logarithms, over the upper half of the sizes: 1 is linear growth."""
    import numpy as np

    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def growth(most: int, out: Path) -> None:
    """Measure one invented cell of rising size and write table and plot."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    lines = ["| grows | from | to | seconds at the end | slope of seconds | MiB at the end | slope of memory |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for what, steps in STEPS.items():
        sizes = [step for step in steps if what != "items" or step <= most]
        seconds, peaks = [], []
        for size in sizes:
            one = run(ONE_CELL, [str(value) for value in (PLAIN | {what: size}).values()])
            seconds.append(float(str(one["seconds"])))
            peaks.append(float(str(one["bytes"])) / 2**20)
            print(f"{size} {what}: {seconds[-1]:.2f} s, {peaks[-1]:.0f} MiB", file=sys.stderr, flush=True)
        axes[0].loglog(sizes, seconds, marker="o", label=what)
        axes[1].loglog(sizes, peaks, marker="o", label=what)
        lines.append(
            f"| {what} | {sizes[0]:,} | {sizes[-1]:,} | {seconds[-1]:.2f} | {slope(sizes, seconds):.2f} | "
            f"{peaks[-1]:,.0f} | {slope(sizes, peaks):.2f} |"
        )
        if what == "items":
            ours = [commit(ROOT), processor(), f"{sizes[-1]:,}", f"{seconds[-1]:.1f}", f"{slope(sizes, seconds):.2f}"]
            line = f"| {' | '.join([*ours, f'{peaks[-1]:,.0f}', f'{slope(sizes, peaks):.2f}'])} |"
    for axis, title in zip(axes, ("seconds of the processor", "peak memory, MiB, imports included"), strict=True):
        axis.set(title=title, xlabel="items, splits, replicates or cells")
        axis.grid(alpha=0.3)
        axis.legend()
    picture = Path("figures") / "analysis-growth.png"
    figure.savefig(out.parent / picture, dpi=110, metadata={"Software": None})
    lines += ["", f"![seconds and memory against what grows, both axes logarithmic]({picture.as_posix()})"]
    lines += ["", "Growth with items, earlier and later:", "", grown_table(out, GROWTH, NO_GROWTH, GREW, [line])]
    write_between(out, GROWTH, NO_GROWTH, f"{processor()}, {commit(ROOT)}.\n\n" + "\n".join(lines))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="What the analysis costs, and how that grows.")
    parser.add_argument("--snapshot", type=Path, default=ROOT / "results" / "three-llms")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", type=Path, help="a checkout of another commit")
    parser.add_argument("--growth", action="store_true", help="instead: how the cost of one cell grows")
    parser.add_argument("--clock", action="store_true", help="instead: seconds by the clock, commands among them")
    parser.add_argument("--most", type=int, default=STEPS["items"][-1], help="items of the largest cell")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    for start, end in ((START, END), (EARLIER, NO_EARLIER), (GROWTH, NO_GROWTH), (CLOCK, NO_CLOCK)):
        check_markers(args.out, start, end)
    if args.growth:
        growth(args.most, args.out)
    elif args.clock:
        waited(args.snapshot, args.repeats, args.out)
    else:
        phases(args.snapshot, args.repeats, args.against, args.out)


if __name__ == "__main__":
    main()
