"""Doses of a family of real models at falling bits, and its published errors. Writes docs/published_ladders.md.

    make reproduce-ladders
    .venv/bin/python -m scripts.studies.reproduce_ladders FOLDER

FOLDER (else the variable SUITE_PUBLISHED_DATA, else ../shared/data/ladders beside the repository) holds
published_ece.csv and qwen2.5/*.parquet, item-level option log-probabilities (M. Durukan, MIT, DOI
10.5281/zenodo.21596523).
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell, make_cell
from suite.errors import SuiteError
from suite.verdicts.curves import MACRO, task_title
from suite.verdicts.dose_records import MEASURES, find_dose_records

ROOT = Path(__file__).resolve().parent.parent.parent

DEFAULT = ROOT.parent / "shared" / "data" / "ladders"
PAGE = ROOT / "docs" / "published_ladders.md"
LADDER = "qwen2.5"
BINS = 15


def main(argv: Sequence[str] | None = None) -> int:
    """Read the ladders, compare the published figures, find the doses, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE")
    args = parser.parse_args(argv)
    folder = args.folder or Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT)
    try:
        cells = read_ladder(folder)
        errors = published_errors(folder, cells)
    except SuiteError as error:
        print(f"reproduce_ladders: {error}", file=sys.stderr)
        return 2
    args.out.write_text(page(errors, find_dose_records(cells)), encoding="utf-8")
    print(args.out)
    return 0


def read_ladder(folder: Path) -> list[Cell]:
    """A cell for each file, items that were not answered left out.

    Raises:
        SuiteError: the folder has no such files.
    """
    import pyarrow.parquet as pq

    files = sorted((folder / LADDER).glob("*.parquet"))
    if not files or not (folder / "published_ece.csv").is_file():
        raise SuiteError(
            f"{folder}: no published_ece.csv with {LADDER}/*.parquet; get them from DOI 10.5281/zenodo.21596523 and "
            "name their folder as argument or in SUITE_PUBLISHED_DATA"
        )
    cells = []
    for file in files:
        model, condition, task = file.stem.split("__")
        rows = [row for row in pq.read_table(file).to_pylist() if row["status"] == "ok"]
        cells.append(
            make_cell(
                ids=[row["item_id"] for row in rows],
                answers=[row["answer_idx"] for row in rows],
                scores=[row["logprobs"] for row in rows],
                kind="loglik",
                model={"name": model, "params": float(model.rpartition("-")[2].rstrip("b")) * 1e9},
                variant={"name": variant_name(condition)},
                task={"name": task, "scoring": "letter", "prompt": "base", "shots": 0},
            )
        )
    return cells


def variant_name(condition: str) -> str:
    """The suite's name of a condition.

    >>> [variant_name(name) for name in ("bf16", "affine_b4_g64", "mxfp4_b4_g32", "mixed_3_6")]
    ['dense', 'affine-w4-g64', 'mxfp4', 'mixed-3-6']
    """
    if condition == "bf16":
        return "dense"
    method, *level = condition.split("_")
    if method == "affine":
        return f"affine-w{level[0][1:]}-{level[1]}"
    return "mxfp4" if method == "mxfp4" else "-".join((method, *level))


def equal_mass_error(cell: Cell) -> float:
    """Top-label calibration error over 15 bins of equally many items, sorted by confidence."""
    p = np.exp(cell.log_probabilities())
    confidence = np.nanmax(p, axis=1)
    right = (np.nanargmax(p, axis=1) == cell.answers).astype(np.float64)
    order: NDArray[np.intp] = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    return float(sum(len(part) * abs(right[part].mean() - confidence[part].mean()) for part in bins) / len(cell))


def published_errors(folder: Path, cells: Sequence[Cell]) -> list[tuple[str, str, str, float, float]]:
    """Model, task, variant, published and recomputed calibration error of each published cell."""
    known = {(cell.model["name"], cell.task["name"], cell.variant["name"]): cell for cell in cells}
    found = []
    with (folder / "published_ece.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["model"], row["benchmark"], variant_name(row["condition"]))
            if key in known:
                found.append((*key, float(row["ece"]), equal_mass_error(known[key])))
    return found


def page(errors: Sequence[tuple[str, str, str, float, float]], records: Sequence[Mapping[str, object]]) -> str:
    """The page."""
    largest = max((abs(ours - theirs) for *_, theirs, ours in errors), default=float("nan"))
    lines = [
        "# Published ladders: Qwen2.5-Instruct at falling bits",
        "",
        "Written by `make reproduce-ladders` from the item-level option log-probabilities of M. Durukan (MIT,",
        "DOI 10.5281/zenodo.21596523): Qwen2.5-Instruct 0.5B, 1.5B and 3B, untouched bf16 parents and asymmetric",
        "integers of 8 to 2 bits, groups of 64; letters; ARC-Challenge and MMLU, 1,000 items each. Definitions:",
        "[dose.md](dose.md). The primary measure was chosen after these data were seen: exploratory.",
        "",
        f"Published calibration errors ({BINS} bins of equally many items): {len(errors)} cells, largest difference",
        f"{largest:.1e}.",
        "",
        "## Doses",
        "",
        "Bits at which the loss reaches the tolerance, with the interval of its two one-sided 95 % bounds. Kept",
        "through and lost from at the tolerance of the row; *not known*: how many levels stay open.",
        "",
        "| model | task | metric | tolerance | kept through | lost from | dose, bits | not known |",
        "|---|---|---|--:|---|---|---|--:|",
    ]
    for record in records:
        if record["method"] != "affine-g64":
            continue
        unknown = record["not_known"]
        assert isinstance(unknown, list)
        lines.append(
            f"| {record['model']} | {task_title(str(record['task']))} | `{record['metric']}` | {record['tolerance']} "
            f"| {record['kept_through'] or '–'} | {record['lost_from'] or '–'} | {_dose(record)} | {len(unknown)} |"
        )
    lines += [
        "",
        "## Other recipes, average of tasks, Brier score after temperature",
        "",
        "Loss as a share of the way from dense to chance, with its two one-sided 95 % bounds.",
        "",
        "| model | variant | loss | at .05 |",
        "|---|---|---|---|",
    ]
    metric = next(iter(MEASURES))
    for record in records:
        if (record["task"], record["metric"], record["tolerance"]) != (MACRO, metric, 0.05):
            continue
        levels = record["levels"]
        assert isinstance(levels, list)
        lines += [
            f"| {record['model']} | {level['variant']} | {level['loss']:.3f} [{level['low']:.3f}, {level['high']:.3f}] "
            f"| {str(level['state']).replace('_', ' ')} |"
            for level in levels
            if level["loss"] is not None and level["low"] is not None and level["high"] is not None
        ]
    return "\n".join([*lines, ""])


def _dose(record: Mapping[str, object]) -> str:
    if record["dose"] is None:
        return str(record["dose_bound"] or "–")
    ends = ["?" if record[key] is None else f"{record[key]:.2f}" for key in ("dose_low", "dose_high")]
    return f"{record['dose']:.2f} [{ends[0]}, {ends[1]}]"


if __name__ == "__main__":
    sys.exit(main())
