"""What the leaderboard says about itself: how to read it, how it was measured, what each column means."""

from __future__ import annotations

from collections.abc import Sequence

from suite.metrics.rows import FLAGS
from suite.publish.fields import Fields, flags, number
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

COLUMNS = {
    "parameters": "weights of the model, embeddings included.",
    "bits": "measured bits a weight of the whole model, embeddings included; lower is smaller.",
    "MB": "measured size of the weights in 10⁶ bytes; lower is smaller.",
    "accuracy": ("fraction of items whose most likely option is right, ties counted as a fraction; higher is better."),
    "set size": (
        "mean number of options in the conformal set, averaged over LAC and randomized APS; lower means the model "
        "knows better what to rule out. Without knowledge it is (1 − α) times the number of options."
    ),
    "coverage (LAC)": (
        "fraction of items whose LAC set holds the right option, the threshold fitted on the variant's own answers; it "
        "should be near 1 − α, neither end is better. The band holds the coverage of a single split 95 times in 100; "
        "an average over splits varies less. ▼ and ▲ mark values below and above the band."
    ),
    "dense threshold reused": (
        "the same coverage when the threshold of the dense model is kept, as when nobody recalibrates after "
        "compression; below 1 − α the sets are too small for the compressed model. Read it with their size."
    ),
    "size at it": (
        "mean number of options in the sets at the dense model's threshold; where it grows, coverage is kept by naming "
        "more options."
    ),
    "ECE": (
        "expected calibration error of the most likely option, 15 equal-width bins; lower is better. Small where a "
        "model answers at chance and says so: read it beside accuracy. Inflated when items are few."
    ),
    "NLL": "mean negative log-likelihood of the right option over the item's options, in nats; lower is better.",
    "after T": "after temperature scaling, the temperature fitted on items that are not evaluated.",
}

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
            say("**flags**, in the summary with the number of tasks that carry one where it is not all of them:")
        )
    meanings = tuple(
        say("{flag}: {meaning}", flag=code(flag), meaning=FLAGS.get(flag, "no description recorded")) for flag in seen
    )
    return Section("What the columns mean", (Items(tuple(lines), under=meanings), ROUNDING))
