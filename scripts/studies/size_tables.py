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
from suite.publish.pages.markdown import table
from suite.verdicts.curves import MACRO

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "scale.md"
SNAPSHOT = ROOT / "results" / "three-llms"
MARKS = {name: marks(name) for name in ("ladder sizes", "three-llms sizes")}


def _averages(records: Sequence[Any], *, confounded: bool) -> list[Any]:
    """Averages over tasks of the variants that all models of the first one have."""
    found = [one for one in records if one["task"] == MACRO and one["confounded"] == confounded]
    return [one for one in found if len(one["models"]) == len(found[0]["models"])]


def _variant(one: Any) -> str:
    return str(one["variant"]) + (" (set size)" if one["variant"] == "dense" else "")


def sizes_table(records: Sequence[Any]) -> str:
    """One line a variant: averages over tasks of one family."""
    averages = _averages(records, confounded=False)
    models = [model["model"] for model in averages[0]["models"]]
    pairs = [f"{one['larger']} less {one['smaller']}" for one in averages[0]["differences"]]
    lines = [
        (
            _variant(one),
            *(f"{model['value']:.2f}" for model in one["models"]),
            *(
                f"{pair['difference']:+.2f} [{pair['difference_low']:+.2f}, {pair['difference_high']:+.2f}]"
                for pair in one["differences"]
            ),
            f"{one['order_p']:.3f}",
        )
        for one in averages
    ]
    return table(("variant", *models, *pairs, "p of the order"), lines, left=1)


def confounded_table(records: Sequence[Any]) -> str:
    """One line a variant: averages over tasks of models of different families."""
    averages = _averages(records, confounded=True)
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
    write_between(args.document, *MARKS["three-llms sizes"], confounded_table(published))
    try:
        cells = read_ladder(args.folder or Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT))
    except SuiteError as error:
        print(f"size_tables: {error}", file=sys.stderr)
        return 2
    _, judgement = judge_cells(cells, None, files=(SCALE,))
    write_between(args.document, *MARKS["ladder sizes"], sizes_table(judgement.records(SCALE)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
