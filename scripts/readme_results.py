"""Put the summary of results/embedded into README.md, between its markers.

    .venv/bin/python scripts/readme_results.py

The numbers are those of results/embedded/LEADERBOARD.md, which `suite leaderboard results/embedded` makes from its
cells.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.markers import write_between  # noqa: E402

BOARD = ROOT / "results" / "embedded" / "LEADERBOARD.md"
COLUMNS = ("variant", "bits", "accuracy", "set size", "dense threshold reused", "ECE after T")
START, END = "<!-- leaderboard -->", "<!-- /leaderboard -->"


def summary(board: str) -> str:
    """Some columns of the leaderboard's first table."""
    section = board.split("## Summary", 1)[1]
    lines = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    wanted = [cells[0].index(name) for name in COLUMNS]
    return "\n".join("| " + " | ".join(row[index] for index in wanted) + " |" for row in cells)


def tasks(board: str) -> str:
    """Which tasks went into the averages, as the leaderboard says it."""
    section = board.split("## Summary", 1)[1]
    line = next(line for line in section.splitlines() if line.startswith("- "))
    return line[2:].partition(": ")[2]


def main() -> None:
    board = BOARD.read_text(encoding="utf-8")
    readme = ROOT / "README.md"
    block = (
        f"{summary(board)}\n\nAverages over tasks ({tasks(board)}) with 95 % intervals; "
        "the whole table, every task and every flag: "
        "[results/embedded/LEADERBOARD.md](results/embedded/LEADERBOARD.md).\n\n"
        "![Accuracy and conformal set size as weights are compressed]"
        f"(results/embedded/figures/curves-smollm2-135m.png)"
    )
    write_between(readme, START, END, block)


if __name__ == "__main__":
    main()
