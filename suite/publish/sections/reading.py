"""What the leaderboard says about itself: how to read it, how it was measured, what each column means."""

from __future__ import annotations

from collections.abc import Sequence

from suite.metrics.figures import FIGURES, PAGE_COLUMNS
from suite.metrics.rows import FLAGS
from suite.publish.fields import Fields, flags, number, one_line
from suite.publish.order import scope_of
from suite.publish.sections.section import Column, Items, Section, Span, Words
from suite.publish.sections.words import code, say

HOW_TO_READ = say(
    "Each row is one language model after one kind of compression, answering multiple-choice questions. "
    "*Accuracy* says how often its first choice is right. *Set size* says how many options must be kept so that "
    "the right one is among them as often as the target coverage asks: it grows when the model can no longer tell "
    "which answers to rule out, even while its first choice stays right. Compare a variant with the `dense` row "
    "of its own table, from mild to severe compression. Brackets are 95 % intervals over items of one row; "
    "variants share their items, so a difference is judged by the paired changes in the summary, not by whether "
    "brackets overlap."
)

MARGINAL = (
    "Coverage is marginal, for exchangeable items of these benchmarks: it promises nothing for single items, for "
    "subjects, or for the traffic of a deployment."
)

SIZES = ("params_b", "bits_per_weight", "megabytes")
"""What no task changes."""

COLUMNS = {
    **{FIGURES[key].heading: FIGURES[key].explanation for key in (*SIZES, *PAGE_COLUMNS)},
    "after T": "after temperature scaling, the temperature fitted on items that are not evaluated.",
}
"""What columns mean, by their headings."""

FLAG_WORDS = {
    "at-chance": "dense only guesses",
    "variant-at-chance": "only guesses",
    "no-op": "nothing changed",
    "requantized-parent": "parent rounded before",
    "off-nominal": "not what its name says",
    "partly-compressed": "partly compressed",
    "not-finite": "outputs not finite",
    "drift": "16 bits change answers",
    "ties": "many ties",
    "dense-missing": "no dense to compare with",
    "unpaired-items": "other items than dense",
    "small-n": "few items",
    "temperature-at-bound": "temperature at its limit",
}
"""Flags as a reader meets them; what each means stands behind it on a click, and below the tables."""

FLAGS_SHOWN = 5
"""So many flags of a row are shown; the others are counted, and stand behind a click."""


def flag_words(flag: str) -> str:
    """A flag in words that need no explanation before them.

    >>> flag_words("ties"), flag_words("of-a-newer-suite")
    ('many ties', 'of-a-newer-suite')
    """
    return FLAG_WORDS.get(flag, one_line(flag))


ROUNDING = say(
    "Rounded to 3 decimals; set sizes and bits to 2, megabytes to 1; parameters to 3 significant digits. A dash "
    "is a value that could not be computed. Every figure, with the intervals of columns that show none here, is "
    "in [rows.csv] and [rows.parquet] to 6 significant digits. The interval of an average treats tasks as independent "
    "samples; calibration errors have none, because theirs belongs to the debiased estimate."
)


def explained(heading: str, *, words: bool = False) -> Column:
    """A column with what it means, where `COLUMNS` says so."""
    return Column(heading, words, COLUMNS.get(heading, ""))


def protocol(rows: Sequence[Fields]) -> Words:
    """How the rows were measured, one sentence a protocol, and what their coverage does not promise."""
    found = sorted({(scope_of(row).protocol, scope_of(row).alpha, number(row, "splits")) for row in rows}, key=repr)
    said = say("**How it was measured.** ")
    for name, alpha, splits in found:
        if name == "ye2024":
            averaged = "one split, as in arXiv 2401.12794"
        elif splits is None:
            averaged = "averaged over random splits of the items into conformal and test folds"
        else:
            averaged = f"averaged over {splits:.0f} random splits of the items into conformal and test folds"
        said += say(
            "Protocol {name}, α = {alpha} (target coverage {target}), {averaged}. ",
            name=code(name or "unknown"),
            alpha=f"{alpha:g}",
            target=f"{1 - alpha:g}",
            averaged=averaged,
        )
    return (*said, MARGINAL)


def columns(rows: Sequence[Fields]) -> Section:
    """What the columns mean, the flags that occur, and how figures were rounded."""
    lines: list[Words] = [(Span(heading, "strong"), f": {meaning}") for heading, meaning in COLUMNS.items()]
    seen = sorted({flag for row in rows for flag in flags(row)})
    if seen:
        lines.append(
            say(
                "**flags**, with their names in [rows.csv]; in the summary with the number of tasks that carry one "
                "where it is not all of them:"
            )
        )
    meanings = tuple(
        say(
            "{words} ({flag}): {meaning}",
            words=flag_words(flag),
            flag=code(flag),
            meaning=FLAGS.get(flag, "no description recorded"),
        )
        for flag in seen
    )
    return Section("What the columns mean", (Items(tuple(lines), under=meanings), ROUNDING))
