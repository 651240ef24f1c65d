"""How long a large leaderboard takes: 12 models x 60 variants x 5 tasks of invented cells.

    .venv/bin/python scripts/leaderboard_speed.py [--items 100] [--out DIR]

Prints seconds of each stage, by the clock and of the processor (rows and verdicts from cells; figures; tables and
page), the size of the page and, where Chromium is installed, milliseconds of sorting it. Some of it is in
docs/leaderboard.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from suite.cell import Cell, cell_path, make_cell, write_cell  # noqa: E402
from suite.config import Protocol, RunConfig, TaskChoice  # noqa: E402
from suite.publish.figures import draw_figures  # noqa: E402
from suite.publish.snapshot import compute, snapshot_texts  # noqa: E402
from suite.variant import parse_variant  # noqa: E402

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
    start, busy = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s, {time.process_time() - busy:.1f} s of processor", flush=True)


def sorting(page: Path) -> None:
    """Milliseconds from a click on a heading until the browser has laid the table out again."""
    from headless import NAMES, Browser, shutil

    if not any(shutil.which(name) for name in NAMES):
        print("sorting: no Chromium is installed")
        return
    browser = Browser(Path(tempfile.mkdtemp()))
    try:
        browser.look(width=1366, height=900)
        browser.open(page)
        for task in (0, 1):
            browser.evaluate(
                f"(() => {{ const v = document.getElementById('view'); v.selectedIndex = {task}; "
                "v.dispatchEvent(new Event('change')); })()"
            )
            times = [
                browser.evaluate(
                    f"(() => {{ const b = document.querySelector('th[data-key={key}] button'); "
                    "const start = performance.now(); b.click(); document.body.offsetHeight; "
                    "return performance.now() - start; })()"
                )
                for _ in range(5)
                for key in ("accuracy", "set_size", "megabytes", "model", "nll")
            ]
            rows = browser.evaluate("document.getElementById('count').textContent")
            print(f"sorting ({rows}): median {np.median(times):.0f} ms, longest {max(times):.0f} ms")
        print(f"complaints of the browser: {browser.complaints or 'none'}")
    finally:
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out or Path(tempfile.mkdtemp())
    names = tuple(f"model-{billions:g}b" for billions in BILLIONS)
    protocol = Protocol(splits=20, replicates=args.replicates)
    config = RunConfig(names, tuple(TaskChoice(task) for task in TASKS), VARIANTS, protocol=protocol)
    with timed("inventing and writing the cells"):
        for cell in invented(args.items):
            write_cell(cell_path(out, cell), cell)
    with timed(f"rows, groups and verdicts of {len(BILLIONS) * len(VARIANTS) * len(TASKS)} cells"):
        computed = compute(out, config)
    with timed("rendering: figures"):
        pictures = draw_figures(computed.rows, computed.cells)
    with timed("rendering: tables and page"):
        texts = snapshot_texts(computed, computed.rows, pictures)
    for name, content in texts.items():
        (out / name).write_bytes(content)
        print(f"{name}: {len(content) / 1e6:.2f} MB")
    sorting(out / "index.html")


if __name__ == "__main__":
    main()
