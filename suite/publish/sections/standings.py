"""Groups and pairs of equal size, and the rules behind them in words."""

from __future__ import annotations

from collections.abc import Sequence

from suite.grouped import grouped
from suite.metrics.figures import FIGURES
from suite.publish.fields import Fields, number, text, whole
from suite.publish.numerals import estimate, fixed, parameters, places
from suite.publish.sections.section import Section, Span, Words, figures, words
from suite.publish.sections.words import code, figure, joined, say
from suite.publish.standings import AVERAGE, NEAR, RANKED, Standings

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
NAMED = 8
"""So many members of a group are named, the others counted."""

SHOWN_PAIRS = 40


def groups(standings: Standings) -> Section | None:
    """Groups of the average over tasks where there is one, else of every task; None where nothing is ranked."""
    chosen = [row for row in standings.ranking if text(row, "task") == AVERAGE] or list(standings.ranking)
    if not chosen:
        return None
    left_out = "; ".join(f"{reason}: {count}" for reason, count in standings.left_out.items())
    told = f"In no group: {left_out}. " if left_out else ""
    return Section(
        "Groups: what these items can tell apart",
        (GROUP_RULE,),
        (*words("task", "metric"), *figures("group", "entries", "best", "worst"), *words("members")),
        tuple(_group(members, standings) for members in grouped(chosen, _place).values()),
        (say("{told}Every entry with its distance to the best is in [ranking.csv].", told=(told,)),),
    )


def _group(members: Sequence[Fields], standings: Standings) -> tuple[Words, ...]:
    metric, task = text(members[0], "metric"), text(members[0], "task")
    ends = (fixed(number(row, "value"), places(metric)) for row in (members[0], members[-1]))
    names = joined((_entry(row, "model", "variant") for row in members[:NAMED]), ", ")
    return (
        Span(f"average over {len(standings.tasks)} tasks", "term", ", ".join(standings.tasks))
        if task == AVERAGE
        else task,
        f"{FIGURES[metric].title}, {FIGURES[metric].better} is better",
        *map(figure, (str(whole(members[0], "group")), str(len(members)), *ends)),
        (*names, f" and {len(members) - NAMED} more") if len(members) > NAMED else names,
    )


def _place(row: Fields) -> tuple[str, str, str, int, str, int]:
    names = (text(row, "task"), text(row, "scoring"), text(row, "prompt"))
    return (*names, whole(row, "shots"), text(row, "metric"), whole(row, "group"))


def _entry(row: Fields, model: str, variant: str, size: str = "") -> tuple[str | Span, ...]:
    return say("{model}{size} {variant}", model=text(row, model), size=(size,), variant=code(text(row, variant)))


def equal_megabytes(standings: Standings) -> Section | None:
    """Pairs of equal size, or which two come nearest to one; None where there is nothing to compare."""
    if not standings.pairs:
        return Section(PAIR_TITLE, (_no_pair(standings.nearest),)) if standings.nearest else None
    rest = len(standings.pairs) - SHOWN_PAIRS
    return Section(
        PAIR_TITLE,
        (PAIR_RULE,),
        (
            *(column for name in ("bigger", "smaller") for column in (*words(name), *figures("bits", "MB"))),
            *figures("accuracy, bigger − smaller", "set size, bigger − smaller"),
        ),
        tuple(map(_pair, standings.pairs[:SHOWN_PAIRS])),
        (say("{rest} more pairs are in [equal-megabytes.csv].", rest=str(rest)),) if rest > 0 else (),
    )


def _pair(pair: Fields) -> tuple[Words, ...]:
    cells: list[Words] = []
    for name in ("bigger", "smaller"):
        size = f" ({parameters(number(pair, f'{name}_params_b'))})"
        cells.append(_entry(pair, name, f"{name}_variant", size))
        cells += [
            figure(fixed(number(pair, f"{name}_{key}"), digits)) for key, digits in (("bits", 2), ("megabytes", 1))
        ]
    return (*cells, *(figure(estimate(pair, f"{key}_change")) for key in RANKED))


def _no_pair(nearest: Fields) -> str:
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
