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
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.cell import Cell, make_cell
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics.rows import rows_against
from suite.variant import parse_variant
from suite.verdicts.curves import MACRO, task_title
from suite.verdicts.dose import STATES
from suite.verdicts.dose_records import find_dose_records

ROOT = Path(__file__).resolve().parent.parent.parent

DEFAULT = ROOT.parent / "shared" / "data" / "ladders"
PAGE = ROOT / "docs" / "published_ladders.md"
LADDER = "qwen2.5"
BINS = 15
METHOD = "affine-g64"
BESIDE = ("brier_ts", "accuracy")
EQUAL_BITS = (("affine-w4-g128", "mxfp4"), ("affine-w4-g64", "affine-w4-g32"), ("affine-w4-g64", "mixed-4-6"))
"""What is compared pairwise: both at 4.25 bits a weight, 4.5 and 5.0, 4.5 and more."""

Records = Sequence[Mapping[str, Any]]


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
    text = page(errors, find_dose_records(cells), paired_changes(cells))
    args.out.write_text(text, encoding="utf-8")
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


def bits_a_weight(name: str) -> str:
    """Bits with the scales: 16 bits each of scale and offset a group, 8 of a scale for mxfp4; files do not say them.

    >>> [bits_a_weight(name) for name in ("affine-w4-g64", "affine-w4-g128", "mxfp4", "mixed-3-6")]
    ['4.50', '4.25', '4.25', '3.50 to 6.50']
    """
    variant = parse_variant(name)
    if variant.mixed:
        return f"{min(variant.mixed) + 0.5:.2f} to {max(variant.mixed) + 0.5:.2f}"
    assert variant.bits is not None
    assert variant.group is not None
    return f"{variant.bits + (8 if name == 'mxfp4' else 32) / variant.group:.2f}"


def paired_changes(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One recipe against another of the same model and task, item by item, for each of `EQUAL_BITS`."""
    known = {(cell.model["name"], cell.task["name"], cell.variant["name"]): cell for cell in cells}
    found = []
    for model, task in dict.fromkeys((model, task) for model, task, _ in known):
        for first, second in EQUAL_BITS:
            pair = [known.get((model, task, name)) for name in (first, second)]
            if pair[0] is not None and pair[1] is not None:
                row = rows_against(pair[0], [pair[1]], Protocol())[1]
                found.append({"model": model, "task": task, "first": first, "second": second, **row})
    return found


def page(errors: Sequence[tuple[str, str, str, float, float]], records: Records, changes: Records = ()) -> str:
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
        *_counts(records),
        *_sizes(records),
        *_recipes(records, changes),
        "## All doses",
        "",
        "Bits at which the loss reaches the tolerance, with the interval of its two one-sided 95 % bounds. Kept",
        "through and lost from at the tolerance of the row; *not known*: how many levels stay open.",
        "",
        "| model | task | metric | tolerance | kept through | lost from | dose, bits | not known |",
        "|---|---|---|--:|---|---|---|--:|",
    ]
    for record in records:
        if record["method"] != METHOD:
            continue
        unknown = record["not_known"]
        assert isinstance(unknown, list)
        lines.append(
            f"| {record['model']} | {task_title(str(record['task']))} | `{record['metric']}` | {record['tolerance']} "
            f"| {record['kept_through'] or '–'} | {record['lost_from'] or '–'} | {_dose(record)} | {len(unknown)} |"
        )
    return "\n".join([*lines, ""])


def _counts(records: Records) -> list[str]:
    """How many levels are kept, worse, lost and not known, and what would decide the last."""
    lines = [
        "## How much is known",
        "",
        f"Levels of the {METHOD} curves by tolerance. *Averages*: `{BESIDE[0]}` on the average of tasks, the",
        "primary cell; *median*: levels not known a curve. *All*: both tasks and the average, five metrics. No",
        "level is left out.",
        "",
        "| tolerance | curves | kept | worse | lost | not known | median | items that would decide |",
        "|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    ladders = [one for one in records if one["method"] == METHOD]
    for title, primary in (("averages", True), ("all", False)):
        for share in dict.fromkeys(one["tolerance"] for one in ladders):
            some = [one for one in ladders if one["tolerance"] == share and (not primary or _is_primary(one))]
            states = [level["state"] for one in some for level in one["levels"]]
            counts = " | ".join(str(states.count(state)) for state in STATES)
            unknown = median(len(one["not_known"]) for one in some)
            wanted = [
                f"{one['model']} {name}: {f'{n:,}' if isinstance(n, int) else n}"
                for one in some
                for name, n in one["items_to_decide"].items()
                if primary and name in one["not_known"]
            ]
            said = "; ".join(wanted) or "–"
            lines.append(f"| {share} | {title}, {len(some)} | {counts} | {unknown:g} | {said} |")
    return [
        *lines,
        "",
        "A level that is shown above its own tolerance and neither shown above the largest nor below it is not known",
        "either; no number of items is given for it. 1,000 items a task were scored.",
        "",
    ]


def _is_primary(record: Mapping[str, Any]) -> bool:
    return record["task"] == MACRO and record["metric"] == BESIDE[0]


def _sizes(records: Records) -> list[str]:
    """The doses of the models beside each other, and which of them are shown to differ."""
    chosen = [one for one in records if one["method"] == METHOD and one["task"] == MACRO and one["metric"] in BESIDE]
    models = list(dict.fromkeys(one["model"] for one in chosen))
    lines = [
        "## Does size protect?",
        "",
        "Bits at which the loss on the average of tasks reaches the tolerance: fewer is better. *Shown*: pairs of",
        "models whose intervals do not overlap, each end at 95 %; they answer the same items, so that others may",
        "differ too.",
        "",
        f"| metric | tolerance | {' | '.join(models)} | shown to need fewer bits |",
        f"|---|--:|{'---|' * len(models)}---|",
    ]
    fewer = {"larger": 0, "smaller": 0}
    for metric in BESIDE:
        for share in dict.fromkeys(one["tolerance"] for one in chosen):
            by_model = {one["model"]: one for one in chosen if (one["metric"], one["tolerance"]) == (metric, share)}
            pairs = [
                (a, b)
                for a, one in by_model.items()
                for b, other in by_model.items()
                if None not in (one["dose_high"], other["dose_low"]) and one["dose_high"] < other["dose_low"]
            ]
            for a, b in pairs:  # models are in rising size
                fewer["larger" if models.index(a) > models.index(b) else "smaller"] += 1
            shown = [f"{a} < {b}" for a, b in pairs]
            cells = " | ".join(_dose(by_model[model]) for model in models)
            lines.append(f"| `{metric}` | {share} | {cells} | {'; '.join(shown) or '–'} |")
    return [
        *lines,
        "",
        f"Of the pairs shown, the larger model needs fewer bits in {fewer['larger']} and the smaller one in"
        f" {fewer['smaller']}.",
        "",
    ]


def _recipes(records: Records, changes: Records) -> list[str]:
    lines = [
        "## Group size, mxfp4 and mixed recipes, average of tasks, Brier score after temperature",
        "",
        "Bits a weight with scales and offsets, computed from the format; of mixed recipes the files do not say them.",
        "Loss as a share of the way from dense to chance, with its two one-sided 95 % bounds.",
        "",
        "| model | variant | bits a weight | loss | at .05 |",
        "|---|---|--:|---|---|",
    ]
    for record in records:
        if _is_primary(record) and record["tolerance"] == 0.05:
            lines += [
                f"| {record['model']} | {level['variant']} | {bits_a_weight(level['variant'])} | {level['loss']:.3f} "
                f"[{level['low']:.3f}, {level['high']:.3f}] | {str(level['state']).replace('_', ' ')} |"
                for level in record["levels"]
                if None not in (level["loss"], level["low"], level["high"])
            ]
    lines += [
        "",
        "One recipe against another, paired item by item: change of the Brier score after temperature and of accuracy,",
        "with 95 % intervals. A higher Brier score is worse.",
        "",
        "| model | task | from | to | bits | Brier | accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in changes:
        bits = " → ".join(bits_a_weight(one[end]) for end in ("first", "second"))
        numbers = " | ".join(_change(one, f"{metric}_change") for metric in BESIDE)
        lines.append(f"| {one['model']} | {one['task']} | {one['first']} | {one['second']} | {bits} | {numbers} |")
    return [*lines, ""]


def _change(row: Mapping[str, Any], key: str) -> str:
    value, low, high = (row[name] for name in (key, f"{key}_low", f"{key}_high"))
    return "–" if None in (value, low, high) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _dose(record: Mapping[str, object]) -> str:
    if record["dose"] is None:
        return str(record["dose_bound"] or "–")
    ends = ["?" if record[key] is None else f"{record[key]:.2f}" for key in ("dose_low", "dose_high")]
    return f"{record['dose']:.2f} [{ends[0]}, {ends[1]}]"


if __name__ == "__main__":
    sys.exit(main())
