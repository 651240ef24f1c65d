"""How often is `suite gate` wrong, and what does it say of real models? Writes the tables of docs/gate.md.

    make validate-gate
    .venv/bin/python -m scripts.studies.validate_gate --only sizes power
    .venv/bin/python -m scripts.studies.validate_gate --draws 1000 --only certainty

*decisions*: every built-in policy on results/three-llms and on the ladder of scripts/studies/reproduce_ladders
(SUITE_PUBLISHED_DATA names its folder; left out where it is missing). *sizes* and *power*: summed over the table, not
simulated, through `suite.decisions.gate.outcomes_of`. *search*: 24 candidates, simulated. *certainty*: item by item,
with a Brier loss that lies at the limit. Parts that are not asked for stay as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scripts.markers import check_markers, marks, write_between
from scripts.studies import reproduce_ladders, validate_dose
from suite.cell import Cell, load_cells
from suite.config import RunConfig, read_config
from suite.decisions.answers import LostAnswers, Pairs
from suite.decisions.built_in import POLICIES, get_policy
from suite.decisions.gate import Tested, gate_variants, lines_of, outcomes_of
from suite.decisions.items import items_needed
from suite.decisions.policy import Criterion, Policy
from suite.errors import SuiteError
from suite.metrics import rows as measuring
from suite.metrics.proportions import exact_interval
from suite.metrics.replicates import Store
from suite.publish.manifest import code_hash
from suite.verdicts.dose_records import JOINT_KEYS
from suite.verdicts.given import Given

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "gate.md"
FLIPS, LIMITS, ITEMS = (0.02, 0.05, 0.10, 0.20), (0.005, 0.01, 0.02, 0.05), (200, 400, 1000, 5000)
REASONS = ("accept", "review (in_band)", "review (undecided)", "review (blocked)", "reject")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the parts that are asked for and write them into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), metavar="PART")
    parser.add_argument("--draws", type=int, default=500, metavar="N", help="of certainty at its edge")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE")
    args = parser.parse_args(argv)
    for part in args.only:
        check_markers(args.out, *marks(part))
    for part in args.only:
        text = certainty(args.draws) if part == "certainty" else PARTS[part]()
        write_between(args.out, *marks(part), text)
        print(f"{args.out}: {part}", file=sys.stderr)
    return 0


def table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """A Markdown table; so many first columns hold words."""
    rule = ["---"] * left + ["--:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, rule, *rows))


# ---- decisions on real models


def decisions() -> str:
    """Every built-in policy on every set of cells."""
    rows: list[tuple[object, ...]] = []
    for name, cells, config, store in _sets():
        given = Given.of(cells, config, keep=JOINT_KEYS, store=store)
        for policy in POLICIES.values():
            try:
                records = gate_variants(given, policy)
            except SuiteError:
                rows.append((name, f"`{policy.name}`", *["no limit is about these tasks"], *[""] * (len(REASONS) - 1)))
                continue
            print(f"{name}: {policy.name}", file=sys.stderr)
            found = Counter(one["decision"] + (f" ({one['reason']})" if one["reason"] else "") for one in records)
            rows.append((name, f"`{policy.name}`", *(found[reason] for reason in REASONS)))
    return table(("variants of", "policy", *REASONS), rows, left=2)


def _sets() -> list[tuple[str, list[Cell], RunConfig | None, Store | None]]:
    folder = ROOT / "results" / "three-llms"
    found: list[tuple[str, list[Cell], RunConfig | None, Store | None]] = [
        ("three-llms", load_cells([folder]), read_config(folder / "config.yaml"), Store.of(folder, code_hash()))
    ]
    try:
        ladder = reproduce_ladders.read_ladder(
            Path(os.environ.get("SUITE_PUBLISHED_DATA") or reproduce_ladders.DEFAULT)
        )
        found.append(("Qwen2.5 ladder", ladder, None, None))
    except SuiteError as error:
        print(f"left out: {error}", file=sys.stderr)
    return found


# ---- exact error rates of accuracy


def points(limit: float) -> Policy:
    """A policy with one limit in points."""
    return Policy("one limit", "this study", (Criterion("accuracy", limit, "points"),))


def outcome(n: int, lost: int, gained: int, policy: Policy) -> str:
    """What the gate says of a table."""
    (line,) = lines_of(policy, ["task"])
    counted = Pairs((1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0,) * 3, (lost, gained, n - lost - gained), float(n))
    return outcomes_of([Tested(line, LostAnswers((counted,)))], policy)[0]


def probability(n: int, flips: float, truth: float, policy: Policy, said: str) -> float:
    """That the gate says `within` or `exceeded` where so much is lost, summed over every table that has weight."""
    total, share = 0.0, (1 + truth / flips) / 2
    reach = 6 * np.sqrt(n * flips) + 6
    for moved in range(max(0, int(n * flips - reach)), min(n, int(n * flips + reach)) + 1):
        first, last = -1, moved + 1
        while last - first > 1:
            middle = (first + last) // 2
            rises = (outcome(n, middle, moved - middle, policy) == said) == (said == "within")
            first, last = (middle, last) if rises else (first, middle)
        beyond = stats.binom.cdf(first, moved, share) if said == "within" else stats.binom.sf(first, moved, share)
        total += float(stats.binom.pmf(moved, n, flips) * beyond)
    return total


def sizes() -> str:
    """Wrong acceptances where exactly the limit is lost; wrong rejections where exactly what must be exceeded is."""
    rows = []
    found: dict[str, list[float]] = {"within": [], "exceeded": []}
    for n in ITEMS:
        for flips in FLIPS:
            row = [f"{n:,}", f"{flips:g}"]
            for said, times in (("within", 1.0), ("exceeded", 1.5)):
                for limit in LIMITS:
                    if limit > flips:
                        row.append("")
                        continue
                    found[said].append(probability(n, flips, limit, points(limit / times), said))
                    row.append(f"{found[said][-1]:.4f}")
            rows.append(row)
    header = (
        "items",
        "flips",
        *(f"accept, {limit:g}" for limit in LIMITS),
        *(f"reject, {limit:g}" for limit in LIMITS),
    )
    most = {said: max(errors) for said, errors in found.items()}
    able = [error for error in found["within"] if error > 0]
    return (
        table(header, rows, left=0)
        + f"\n\nLargest: {most['within']:.4f} of acceptances, {most['exceeded']:.4f} of rejections. Lowest of "
        f"acceptances: {min(found['within']):.4f} (too few items for the limit); {min(able):.4f} where one is possible."
    )


def power() -> str:
    """At the number of items that the plan asks for, where nothing is lost."""
    rows = []
    for limit in LIMITS:
        for flips in (0.02, 0.05, 0.10):
            n = items_needed(limit, flips)
            assert n is not None
            found = probability(n, flips, 0.0, points(limit), "within")
            rows.append((f"{limit:g}", f"{flips:g}", f"{n:,}", f"{found:.3f}"))
    return table(("limit", "flips", "items", "accepted where nothing is lost"), rows, left=0)


# ---- certainty, item by item


def certainty(draws: int) -> str:
    """A single task whose Brier score after temperature has lost exactly the limit of `certainty`."""
    # what other libraries say of the same cells changes no figure and takes a quarter of the time
    with patch.object(measuring, "library_remarks", lambda _: {}):
        return _certainty(draws)


def _certainty(draws: int) -> str:
    policy, rows = get_policy("certainty"), []
    for n in (200, 400, 1000):
        condition = validate_dose.Condition(n=n, share=0.05)
        truth = validate_dose.plant(validate_dose.POPULATIONS[condition.dense], condition.law, condition.share)
        accepted = inside = 0
        for seed in range(draws):
            cells = validate_dose._cells(condition, [truth], seed)
            (record,) = gate_variants(Given.of(cells, validate_dose._config(seed), keep=JOINT_KEYS), policy)
            accepted += record["decision"] == "accept"
            inside += record["criteria"][0]["outcome"] == "within"
        for what, count in (("Brier limit shown", inside), ("accepted", accepted)):
            low, high = exact_interval(count, draws)
            rows.append((f"{n:,}", what, f"{draws:,}", f"{count / draws:.3f}", f"{low:.3f} to {high:.3f}"))
    return table(("items", "what", "draws", "share", "95 %"), rows, left=0)


# ---- a search over candidates

CANDIDATES, SEARCHES = 24, 20_000


def search() -> str:
    """How often a search ships one of 24 candidates that all lose too much: limit .02, 1,000 items, 10 % flips."""
    n, flips, limit = 1000, 0.10, 0.02
    generator, rows = np.random.default_rng(0), []
    known: dict[tuple[int, int, int], bool] = {}

    def accepted(tables: NDArray[np.int64], items: int) -> NDArray[np.bool_]:
        pairs, where = np.unique(tables[..., :2].reshape(-1, 2), axis=0, return_inverse=True)
        for lost, gained in pairs.tolist():
            key = (items, lost, gained)
            known.setdefault(key, outcome(items, lost, gained, points(limit)) == "within")
        found = np.array([known[items, lost, gained] for lost, gained in pairs.tolist()])
        return found[where.reshape(-1)].reshape(tables.shape[:-1])

    for said, loss in (("3 points", 0.03), ("exactly the limit", limit)):
        chances = [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]
        tables = generator.multinomial(n, chances, (SEARCHES, CANDIDATES))
        seen = (tables[..., 0] - tables[..., 1]) / n
        bound = accepted(tables, n)
        # the best on one half of the items has any table on the other: the halves are independent
        other = accepted(generator.multinomial(n // 2, chances, SEARCHES), n // 2)
        for rule, shipped in (
            ("point values, any that passes", (seen <= limit).any(axis=1)),
            ("bound, any that passes, each at the full 5 %", bound.any(axis=1)),
            ("bound, in the lock's order until one fails", bound[:, 0]),
            ("best by point value on one half, bound on the other", other),
        ):
            rows.append((rule, said, f"{shipped.mean():.4f}"))
    return table(("rule", "all candidates lose", "a bad one is shipped"), rows, left=2)


PARTS: dict[str, Callable[[], str]] = {
    "decisions": decisions,
    "sizes": sizes,
    "power": power,
    "search": search,
    "certainty": lambda: certainty(500),
}

if __name__ == "__main__":
    sys.exit(main())
