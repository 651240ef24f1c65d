"""How often decisions on few items are wrong, how many items they take, and what they say of real models.

Writes the tables of docs/sequential.md.

    make validate-sequential
    .venv/bin/python -m scripts.studies.validate_sequential [--only NAME …]

Tables of published ladders need their data (SUITE_PUBLISHED_DATA, as for make reproduce-ladders).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.markers import check_markers, marks, write_between
from scripts.studies.reproduce_ladders import DEFAULT, read_ladder
from suite.decisions.built_in import get_policy
from suite.decisions.gate import ACCEPT, REJECT
from suite.decisions.item_by_item import FIRST, Answered, Order, item_order, pair
from suite.decisions.items import floor_items, items_needed
from suite.decisions.policy import Criterion, Policy
from suite.decisions.sequential import BetLoss, stop
from suite.errors import SuiteError
from suite.publish.pages.markdown import table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "sequential.md"
FLIPS = (0.02, 0.05, 0.10, 0.20)
LIMITS = (0.05, 0.02, 0.01)
ABILITY = 0.7

Floats = NDArray[np.float64]


def planted(items: int, flips: float, loss: float, generator: np.random.Generator) -> Answered:
    """Answers of two models to items of four options: so many flip, so many more to wrong than to right."""
    wrong = (generator.random(items) >= ABILITY).astype(float)
    to_wrong, to_right = (flips + loss) / 2, (flips - loss) / 2
    draw = generator.random(items)
    moved = np.where(wrong == 0, draw < to_wrong / ABILITY, draw < to_right / (1 - ABILITY))
    other = np.where(moved, 1 - wrong, wrong)
    order = Order("planted", tuple(map(str, range(items))), (1,) * items, (4,))
    return Answered(order, {"accuracy": wrong}, {"accuracy": other}, np.full(items, 4), 0)


def accuracy_policy(limit: float) -> Policy:
    """One limit, in points."""
    return Policy("accuracy", "this study", (Criterion("accuracy", limit, "points"),))


def edge_errors(draws: int) -> str:
    """Wrong acceptances at the limit and wrong rejections at 1.5 times it, whenever within 1,000 items."""
    lines, items = [], 1000
    for limit in LIMITS:
        for title, loss, wrong in (("accept", limit, ACCEPT), ("reject", 1.5 * limit, REJECT)):
            rates = []
            for flips in FLIPS:
                if flips < loss:
                    rates.append("–")
                    continue
                generator = np.random.default_rng([1, int(1000 * limit), int(1000 * flips), wrong == ACCEPT])
                found = [
                    stop([planted(items, flips, loss, generator)], accuracy_policy(limit)).decision
                    for _ in range(draws)
                ]
                rates.append(f"{found.count(wrong) / draws:.3f}")
            lines.append((f"{limit:g}", f"wrong {title}", *rates))
    return table(("limit", "error", *(f"flips {flips:g}" for flips in FLIPS)), lines, left=2)


def items_to_accept(draws: int) -> str:
    """Items until a harmless variant is accepted, over those of the fixed design of the same limit with power .8."""
    lines = []
    for limit in LIMITS:
        for flips in (0.0, *FLIPS):
            fixed = items_needed(limit, flips) if flips else floor_items(limit)
            assert fixed is not None
            if fixed > 3500:
                continue
            generator = np.random.default_rng([2, int(1000 * limit), int(1000 * flips)])
            ends = []
            for _ in range(draws):
                end = stop([planted(3 * fixed, flips, 0.0, generator)], accuracy_policy(limit))
                ends.append(end.rounds if end.decision == ACCEPT else np.inf)
            found = np.array(ends)
            lines.append(
                (
                    f"{limit:g}",
                    f"{flips:g}",
                    f"{fixed:,}",
                    f"{np.median(found):,.0f}",
                    f"{np.median(found) / fixed:.2f}",
                    f"{np.minimum(found, 3 * fixed).mean() / fixed:.2f}",
                    f"{(found <= fixed).mean():.2f}",
                    f"{(found <= 1.5 * fixed).mean():.2f}",
                )
            )
    header = ("limit", "flips", "fixed", "median", "median / fixed", "mean / fixed", "by fixed", "by 1.5 x")
    return table(header, lines, left=0)


class Ladders:
    """The published ladders, paired in many random orders."""

    def __init__(self, folder: Path) -> None:
        self.cells = read_ladder(folder)
        self.known = {(one.model["name"], one.task["name"], one.variant["name"]): one for one in self.cells}

    def answered(self, model: str, tasks: Sequence[str], variant: str, seed: int, first: int = FIRST) -> list[Answered]:
        found = []
        for task in tasks:
            dense, compressed = self.known[model, task, "dense"], self.known[model, task, variant]
            order = item_order(task, dense.ids, dense.units, dense.n_options, seed=seed)
            found.append(pair(order, dense, compressed, first=first))
        return found


TASKS = ("arc_challenge", "mmlu")
MODELS = ("qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b")


def ladder_rejections(ladders: Ladders, orders: int) -> str:
    """Items a task until 3 bits are rejected, over random orders."""
    lines = []
    for model in MODELS[1:]:
        for tasks in (TASKS[:1], TASKS[1:], TASKS):
            for first in (20, 30, 40):
                ends = []
                for seed in range(orders):
                    found = ladders.answered(model, tasks, "affine-w3-g64", seed, first)
                    end = stop(found, get_policy("certainty"))
                    ends.append(end.rounds if end.decision == REJECT else np.inf)
                low, middle, high = np.quantile(ends, [0.1, 0.5, 0.9], method="higher")
                title = " and ".join(tasks)
                lines.append((model, title, f"{first}", f"{middle:.0f}", f"{low:.0f} to {high:.0f}"))
    return table(("model", "tasks", "first", "median items a task", "8 of 10 orders"), lines, left=2)


def ladder_decisions(ladders: Ladders, orders: int) -> str:
    """Each condition: what all 1,000 items a task say was lost, and what few items decide, over random orders."""
    policy, lines = get_policy("certainty"), []
    for model in MODELS:
        variants = dict.fromkeys(name for one, _, name in ladders.known if one == model)
        for variant in variants:
            if variant == "dense":
                continue
            whole = ladders.answered(model, TASKS, variant, 0, first=500)
            lost = [BetLoss(whole, *what).value for what in (("brier_ts", "headroom"), ("accuracy", "points"))]
            ends = [stop(ladders.answered(model, TASKS, variant, seed), policy) for seed in range(orders)]
            counts = [str(sum(end.decision == wanted for end in ends)) for wanted in (ACCEPT, REJECT, None)]
            taken = [end.rounds for end in ends if end.decision is not None]
            shown = [f"{value:.3f}" if value is not None else "–" for value in lost]
            lines.append((model, variant, *shown, *counts, f"{np.median(taken):.0f}" if taken else "–"))
    header = ("model", "variant", "Brier lost", "accuracy lost", "accept", "reject", "neither", "median items a task")
    return table(header, lines, left=2)


def resampled_edges(ladders: Ladders, draws: int) -> str:
    """Wrong decisions about Brier score and prediction sets where the truth is exactly at the edge: items drawn with
    replacement from a real pair whose loss is then the limit, or 1.5 times it."""
    lines = []
    for model, task, variant in (
        ("qwen2.5-1.5b", "arc_challenge", "affine-w4-g64"),
        ("qwen2.5-1.5b", "mmlu", "affine-w4-g32"),
        ("qwen2.5-3b", "arc_challenge", "mixed-4-6"),
    ):
        (one,) = ladders.answered(model, (task,), variant, 0, first=500)
        for metric in ("brier_ts", "set_size"):
            loss = one.compressed[metric] - one.dense[metric]
            chance = 0.75 if metric == "brier_ts" else 3.6
            share = float(loss.mean() / (chance - one.dense[metric]).mean())
            if share <= 0:
                continue
            for title, limit, wrong in (("accept", share, ACCEPT), ("reject", share / 1.5, REJECT)):
                policy = Policy("edge", "this study", (Criterion(metric, limit, "headroom"),))
                generator, found = np.random.default_rng(3), []
                for _ in range(draws):
                    rows = generator.integers(0, len(loss), 1000)
                    order = Order(task, tuple(map(str, range(1000))), (1,) * 1000, (4,))
                    dense, compressed = (
                        {key: values[rows] for key, values in side.items()} for side in (one.dense, one.compressed)
                    )
                    one_draw = Answered(order, dense, compressed, np.full(1000, 4), FIRST)
                    found.append(stop([one_draw], policy).decision)
                lines.append(
                    (
                        model,
                        task,
                        variant,
                        metric,
                        f"{share:.3f}",
                        f"wrong {title}",
                        f"{found.count(wrong) / draws:.3f}",
                    )
                )
    return table(("model", "task", "variant", "metric", "share lost", "error", "rate"), lines, left=4)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--draws", type=int, default=600, help="streams a cell of a table of errors, twice those of items"
    )
    parser.add_argument(
        "--orders",
        type=int,
        default=40,
        help="random orders of the items of a ladder, 8 times those of the table of decisions",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tables by name")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args(argv)
    folder = Path(os.environ.get("SUITE_PUBLISHED_DATA") or DEFAULT)
    tables: dict[str, Callable[[], str]] = {
        "edge errors": lambda: edge_errors(options.draws),
        "items to accept": lambda: items_to_accept(options.draws // 2),
        "resampled edges": lambda: resampled_edges(Ladders(folder), options.draws),
        "ladder rejections": lambda: ladder_rejections(Ladders(folder), options.orders),
        "ladder decisions": lambda: ladder_decisions(Ladders(folder), options.orders // 8),
    }
    for name in options.only or tables:
        place = marks(name)
        check_markers(options.document, *place)
        try:
            write_between(options.document, *place, tables[name]())
        except SuiteError as error:
            print(f"validate_sequential: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
