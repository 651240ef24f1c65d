"""Losses by size, within a family on published ladders and across families in results/three-llms, for docs/scale.md.

make size-tables

FOLDER (else the variable SUITE_PUBLISHED_DATA, else ../shared/data/ladders beside the repository) holds the ladders, as
for `make reproduce-ladders`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.markers import check_markers, marks, write_between
from scripts.studies.reproduce_ladders import DEFAULT, read_ladder
from suite.decisions.analyses import SCALE, judge_cells
from suite.errors import SuiteError
from suite.files import read_text
from suite.metrics.figures import FIGURES
from suite.publish.pages.markdown import table
from suite.publish.sections.verdicts import pair_differences
from suite.verdicts.curves import MACRO, PRIMARY
from suite.verdicts.dose_records import primary_measure

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "scale.md"
SNAPSHOT = ROOT / "results" / "three-llms"
LADDER = {primary_measure(None): "ladder sizes", PRIMARY: "ladder set sizes"}
MARKS = {name: marks(name) for name in (*LADDER.values(), "three-llms sizes")}


def _averages(records: Sequence[Any], metric: str, *, confounded: bool) -> list[Any]:
    """Averages over tasks of the variants that all models of the first one have."""
    asked = (MACRO, metric, confounded)
    found = [one for one in records if (one["task"], one["metric"], one["confounded"]) == asked]
    return [one for one in found if len(one["models"]) == len(found[0]["models"])]


def _variant(one: Any) -> str:
    return str(one["variant"]) + (f" ({FIGURES[one['metric']].title})" if one["variant"] == "dense" else "")


def sizes_table(records: Sequence[Any], metric: str) -> str:
    """One line a variant: averages over tasks of one family."""
    averages = _averages(records, metric, confounded=False)
    models = [model["model"] for model in averages[0]["models"]]
    pairs = [f"{one['larger']} less {one['smaller']}" for one in averages[0]["differences"]]
    lines = [
        (
            _variant(one),
            *(f"{model['value']:.2f}" for model in one["models"]),
            *pair_differences(one),
            f"{one['order_p']:.3f}",
        )
        for one in averages
    ]
    return table(("variant", *models, *pairs, "p of the order"), lines, left=1)


def confounded_table(records: Sequence[Any], metric: str) -> str:
    """One line a variant: averages over tasks of models of different families."""
    averages = _averages(records, metric, confounded=True)
    models = [model["model"] for model in averages[0]["models"]]
    lines = [
        (
            _variant(one),
            *(f"{model['value']:.2f} [{model['low']:.2f}, {model['high']:.2f}]" for model in one["models"]),
            f"{one['slope']:+.2f} [{one['slope_items_low']:+.2f}, {one['slope_items_high']:+.2f}]",
            f"{one['order_p']:.3f}",
        )
        for one in averages
    ]
    return table(("variant", *models, "slope, items alone", "p of the order"), lines, left=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables between their markers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    args = parser.parse_args(argv)
    for place in MARKS.values():
        check_markers(args.document, *place)
    published = json.loads(read_text(SNAPSHOT / SCALE))
    write_between(args.document, *MARKS["three-llms sizes"], confounded_table(published, PRIMARY))
    try:
        cells = read_ladder(args.folder or Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT))
    except SuiteError as error:
        print(f"size_tables: {error}", file=sys.stderr)
        return 2
    _, judgement = judge_cells(cells, None, files=(SCALE,))
    for metric, name in LADDER.items():
        write_between(args.document, *MARKS[name], sizes_table(judgement.records(SCALE), metric))
    return 0


if __name__ == "__main__":
    sys.exit(main())
