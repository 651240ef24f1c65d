"""Put part of the summary of results/three-llms into README.md, between its markers.

    .venv/bin/python -m scripts.readme_results

The numbers are those of results/three-llms/LEADERBOARD.md, which `suite leaderboard results/three-llms` makes from its
cells. Which variants are shown was chosen before there were any.
"""

from __future__ import annotations

import re
from pathlib import Path

from scripts.markers import write_between

ROOT = Path(__file__).resolve().parent.parent

BOARD = ROOT / "results" / "three-llms" / "LEADERBOARD.md"
README = ROOT / "README.md"
COLUMNS = ("model", "variant", "bits", "accuracy", "set size", "dense threshold reused")
VARIANTS = ("dense", "rtn-w4", "gptq-w4", "rtn-w3", "gptq-w3", "magnitude-s50", "sparsegpt-s50", "depth-s20")
UNFINISHED = "**Unfinished:**"
START, END = "<!-- leaderboard -->", "<!-- /leaderboard -->"


def summary(board: str, variants: tuple[str, ...] = VARIANTS) -> str:
    """Some columns and lines of the leaderboard's first table; a model is named once.

    Raises:
        SystemExit: the leaderboard lacks one of the variants for one of its models.
    """
    section = board.split("## Summary", 1)[1]
    lines = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    wanted = [cells[0].index(name) for name in COLUMNS]
    header, rule, *body = [[row[index] for index in wanted] for row in cells]
    chosen = [row for row in body if row[1].strip("`") in variants]
    models = [row[0] for row in chosen]
    there = {(row[0], row[1].strip("`")) for row in chosen}
    wanted_rows = [(model, variant) for model in dict.fromkeys(row[0] for row in body) for variant in variants]
    if missing := [f"{variant} of {model}" for model, variant in wanted_rows if (model, variant) not in there]:
        raise SystemExit(f"{BOARD}: its summary has no {', '.join(missing)}")
    named = [["" if place and models[place - 1] == row[0] else row[0], *row[1:]] for place, row in enumerate(chosen)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *named))


def unfinished(board: str) -> str:
    """What the leaderboard says of cells that are still to come, with a space before it."""
    said = [line for line in board.splitlines() if line.startswith(UNFINISHED)]
    return f" {said[0]}" if said else ""


def main() -> None:
    """Write the block."""
    board = BOARD.read_text(encoding="utf-8")
    block = (
        f"{summary(board)}\n\nAverages over four tasks with 95 % intervals. All variants, every task, verdicts and "
        "flags: [results/three-llms/LEADERBOARD.md](results/three-llms/LEADERBOARD.md); what follows from them: "
        f"[docs/findings.md](docs/findings.md).{unfinished(board)}\n\n"
        "![Loss of certainty by model, method and level, as a fraction of the way to chance]"
        "(results/three-llms/figures/levels.png)"
    )
    write_between(README, START, END, block)


if __name__ == "__main__":
    main()
