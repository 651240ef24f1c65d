"""Make a file of six-option questions from a raw public set, or from records of your own with the same fields.

    .venv/bin/python -m scripts.build_six_options SOURCE RAW_FILE --out my-task.json [--count 10000] [--seed 0]

SOURCE is MMLU, CosmosQA, HellaSwag, Halu-OpenDialKG or Halu-CNN/DailyMail; RAW_FILE is JSONL, a JSON list, CSV with a
header line or Parquet. docs/tasks.md lists the fields. `suite score --task my-task.json` takes the result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from suite.errors import SuiteError
from suite.tasks.build_six_options import build
from suite.tasks.external import records


def main(argv: Sequence[str] | None = None) -> int:
    """Build and write; 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("raw", type=Path, metavar="RAW_FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="TASK.json")
    parser.add_argument("--count", type=int, help="questions to keep; default: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        built = build(args.source, records(args.raw), seed=args.seed, count=args.count)
        args.out.write_text(json.dumps(built.records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except (SuiteError, OSError) as error:
        print(f"build_six_options: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(built.records)} questions")
    for reason, number in sorted(built.left_out.items()):
        print(f"left out: {number} ({reason})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
