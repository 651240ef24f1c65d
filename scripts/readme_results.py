"""Put the first answer of results/qwen-coder-sizes, its words and its strips, into README.md, between its markers.

    .venv/bin/python -m scripts.readme_results

The words are those of results/qwen-coder-sizes/LEADERBOARD.md, which `suite leaderboard results/qwen-coder-sizes` makes
from its cells.
"""

from __future__ import annotations

import re
from pathlib import Path

from scripts.markers import marks, write_between

ROOT = Path(__file__).resolve().parent.parent

RESULTS = "results/qwen-coder-sizes"
BOARD = ROOT / RESULTS / "LEADERBOARD.md"
README = ROOT / "README.md"
HEADING = "## Down to which level is certainty kept?"
PRIMARY = "**Primary measure"
UNFINISHED = "**Unfinished:**"
START, END = marks("leaderboard")


def first_answer(board: str) -> str:
    """The strips of a leaderboard, how many curves are kept and lost, and whether the primary measure was planned.

    Raises:
        SystemExit: the leaderboard has no such section, no strips, or does not say how the measure was chosen.
    """
    _, found, section = board.partition(f"{HEADING}\n")
    blocks = section.partition("\n## ")[0].strip().split("\n\n")
    strips = re.search(r"^!\[(.*)\]\((figures/strips.*)\)$", board, re.MULTILINE)
    chosen = next((block for block in blocks if block.startswith(PRIMARY)), None)
    if not found or strips is None or chosen is None:
        raise SystemExit(f"{BOARD}: has no section '{HEADING}' with strips; publish the results again")
    return (
        f"[![{strips[1]}]({RESULTS}/{strips[2]})]({RESULTS}/LEADERBOARD.md)\n\n{blocks[0]}\n\n"
        f"{chosen}{unfinished(board)}"
    )


def unfinished(board: str) -> str:
    """What the leaderboard says of cells that are still to come, with a space before it."""
    said = [line for line in board.splitlines() if line.startswith(UNFINISHED)]
    return f" {said[0]}" if said else ""


def main() -> None:
    """Write the block."""
    write_between(README, START, END, first_answer(BOARD.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
