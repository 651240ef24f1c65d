"""Groups and pairs of equal size as tables that fit a page, and the rules behind them in words."""

from __future__ import annotations

from dataclasses import dataclass

from suite.publish.fields import Row, number, text, whole
from suite.publish.markdown import code, escape, table
from suite.publish.numerals import estimate, fixed, parameters, places
from suite.publish.order import grouped
from suite.publish.standings import AVERAGE, NEAR, Standings

GROUP_RULE = (
    "A group holds the best of what is left and everything that is not shown to be worse: paired differences on the "
    "same items, one-sided, 5 % in all over the comparisons of a table (Bonferroni). So group 1 holds the truly best "
    "entry in 95 of 100 repetitions. Later groups are made the same way from what is left and only describe. Entries "
    "of one group are not shown to be equal: fewer items make larger groups."
)
PAIR_RULE = (
    "A bigger model with fewer bits a weight beside a smaller one with more, where their megabytes differ by at most "
    f"{100 * NEAR:.0f} %. The partner is the nearest in size, whatever its results. Changes are the bigger minus the "
    "smaller on the same items, averaged over tasks; intervals hold for all pairs of the table at once (Bonferroni, "
    "95 %)."
)
PAIR_TITLE = "At equal megabytes: bigger and compressed, or smaller and denser"
METRIC_NAMES = {"accuracy": "accuracy, higher is better", "set_size": "set size, lower is better"}
NAMED = 8
SHOWN_PAIRS = 40


def standings_sections(standings: Standings) -> list[str]:
    """Markdown of both sections; nothing where there is nothing to compare."""
    parts: list[str] = []
    lines = group_lines(standings)
    if lines:
        header = ["task", "metric", "group", "entries", "best", "worst", "members"]
        body = [
            [escape(line.task), line.metric, str(line.group), str(line.entries), line.best, line.worst, _members(line)]
            for line in lines
        ]
        parts += ["## Groups: what these items can tell apart", GROUP_RULE, table(header, body, left=2)]
        if standings.left_out:
            told = "; ".join(f"{escape(reason)}: {count}" for reason, count in standings.left_out.items())
            parts.append(f"In no group: {told}. Every entry with its distance to the best is in ranking.csv.")
        else:
            parts.append("Every entry with its distance to the best is in ranking.csv.")
    if standings.pairs:
        changes = ("accuracy, bigger − smaller", "set size, bigger − smaller")
        header = ["bigger", "bits", "MB", "smaller", "bits", "MB", *changes]
        body = [pair_line(pair) for pair in standings.pairs[:SHOWN_PAIRS]]
        parts += [f"## {PAIR_TITLE}", PAIR_RULE, table(header, body)]
        if len(standings.pairs) > SHOWN_PAIRS:
            parts.append(f"{len(standings.pairs) - SHOWN_PAIRS} more pairs are in equal-megabytes.csv.")
    elif standings.nearest:
        parts += [f"## {PAIR_TITLE}", escape(no_pair_words(standings.nearest))]
    return parts


def no_pair_words(nearest: Row) -> str:
    """Why there is no table of pairs, and what comes nearest to one."""
    sizes = [number(nearest, f"{name}_megabytes") or 0.0 for name in ("bigger", "smaller")]
    bigger, smaller = (
        f"{text(nearest, name)} {text(nearest, f'{name}_variant')} ({fixed(size, 1)} MB)"
        for name, size in zip(("bigger", "smaller"), sizes, strict=True)
    )
    return (
        "No pair: no bigger model with fewer bits a weight comes within "
        f"{100 * NEAR:.0f} % of the megabytes of a smaller one with more. Nearest: {bigger} beside {smaller}, "
        f"{100 * abs(sizes[0] - sizes[1]) / sizes[1]:.0f} % apart."
    )


@dataclass(frozen=True)
class GroupLine:
    """One group of one table: where it stands and who is in it, the first `NAMED` by name."""

    task: str
    metric: str
    group: int
    entries: int
    best: str
    worst: str
    members: tuple[tuple[str, str], ...]


def group_lines(standings: Standings) -> list[GroupLine]:
    """Groups of the average over tasks where there is one, else of every task."""
    chosen = [row for row in standings.ranking if text(row, "task") == AVERAGE] or list(standings.ranking)
    lines = []
    for members in grouped(chosen, _place).values():
        metric = text(members[0], "metric")
        best, worst = (fixed(number(row, "value"), places(metric)) for row in (members[0], members[-1]))
        names = tuple((text(row, "model"), text(row, "variant")) for row in members[:NAMED])
        task = text(members[0], "task")
        if task == AVERAGE:
            task = f"average over {len(standings.tasks)} tasks"
        lines.append(
            GroupLine(task, METRIC_NAMES[metric], whole(members[0], "group"), len(members), best, worst, names)
        )
    return lines


def _place(row: Row) -> tuple[str, str, str, int, str, int]:
    names = (text(row, "task"), text(row, "scoring"), text(row, "prompt"))
    return (*names, whole(row, "shots"), text(row, "metric"), whole(row, "group"))


def _members(line: GroupLine) -> str:
    names = ", ".join(f"{escape(model)} {code(variant)}" for model, variant in line.members)
    return names + (f" and {line.entries - len(line.members)} more" if line.entries > len(line.members) else "")


def pair_line(pair: Row) -> list[str]:
    """One pair as Markdown cells."""
    cells: list[str] = []
    for name in ("bigger", "smaller"):
        size = parameters(number(pair, f"{name}_params_b"))
        cells.append(f"{escape(text(pair, name))} ({size}) {code(text(pair, f'{name}_variant'))}")
        cells += [fixed(number(pair, f"{name}_bits"), 2), fixed(number(pair, f"{name}_megabytes"), 1)]
    return cells + [change_words(pair, metric) for metric in ("accuracy", "set_size")]


def change_words(pair: Row, metric: str) -> str:
    """The change of one metric with its simultaneous interval."""
    return estimate(pair, f"{metric}_change", signed=True)
