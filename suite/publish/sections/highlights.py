"""The three things a reader should look at first, as sentences made from the rows and from nothing else.

Each sentence answers one question, and says so where the rows cannot answer it:

1. Is there a level at which accuracy shows no change while uncertainty grows?
2. What happens to coverage when nobody recalibrates?
3. What does temperature scaling leave of the calibration error?
"""

from __future__ import annotations

from collections.abc import Sequence

from suite.metrics.average import Setting
from suite.publish.fields import Fields, flags, number, text
from suite.publish.macro import Macro, macro_averages
from suite.publish.numerals import estimate, fixed, rounded, with_interval
from suite.publish.order import OTHER, curve_of, in_order, setting_names, setting_of, without_repeats
from suite.publish.sections.section import Items, Section, Words
from suite.publish.sections.words import figure, joined, plain, say

NAMED = 3
"""How many curves one sentence names; the others are counted."""


def highlights(rows: Sequence[Fields]) -> list[str]:
    """Three plain sentences, or none where there are no rows.

    Args:
        rows: from `suite.metrics.rows.compute_rows`, in any order; the order changes nothing.

    Returns:
        Plain text, safe to print.
    """
    return published_highlights(in_order([rounded(row) for row in rows]))


def published_highlights(rows: Sequence[Fields]) -> list[str]:
    """The same for rows that are rounded and sorted already, as those of a snapshot are."""
    return [plain(sentence) for sentence in _sentences(rows)]


def first_look(rows: Sequence[Fields]) -> Section | None:
    """The section; None where there are no rows."""
    sentences = _sentences(rows)
    return Section("What to look at first", (Items(sentences, numbered=True),)) if sentences else None


def _sentences(rows: Sequence[Fields]) -> tuple[Words, ...]:
    rows = without_repeats(rows)
    if not rows:
        return ()
    names = setting_names(rows)
    return (_silent_loss(rows), _transferred_coverage(rows, names), _calibration(rows, names))


def _silent_loss(rows: Sequence[Fields]) -> Words:
    """First level of each curve whose set size grew (interval above zero) with the accuracy change covering zero."""
    curves: dict[tuple[str, str, str], list[Macro]] = {}
    many = len({text(row, "model") for row in rows}) > 1
    for macro in macro_averages(rows):
        curve = curve_of(macro.variant)
        if macro.variant != "dense" and curve != OTHER and "no-op" not in macro.flags:
            curves.setdefault((repr(macro.scope), curve.family, curve.name), []).append(macro)
    judged = {key: [macro for macro in macros if _decidable(macro)] for key, macros in curves.items()}
    judged = {key: macros for key, macros in judged.items() if macros}
    if not judged:
        return say(
            "**Accuracy against uncertainty:** no variant can be compared with its dense model on every task above "
            "chance, so a silent growth of set size can be neither found nor excluded."
        )
    found = [next((macro for macro in macros if _silent(macro)), None) for macros in judged.values()]
    hits = [macro for macro in found if macro is not None]
    if not hits:
        return say(
            "**Accuracy against uncertainty:** on none of {curves} does set size grow while accuracy shows no change: "
            "wherever the interval of the set size change lies above zero, that of the accuracy change excludes zero "
            "too (averages over tasks, 95 % intervals).",
            curves=_count(len(judged), "compression curve"),
        )
    return say(
        "**Accuracy against uncertainty:** set size grows where accuracy shows no change on {hits} of {curves}, "
        "{shown}{more}. These are averages over tasks with 95 % intervals not adjusted for the number of comparisons; "
        "an interval that covers zero does not prove that nothing changed.",
        hits=str(len(hits)),
        curves=_count(len(judged), "compression curve"),
        shown=joined((_silent_words(macro, many=many) for macro in hits[:NAMED]), "; "),
        more=f"; and {len(hits) - NAMED} more" if len(hits) > NAMED else "",
    )


def _decidable(macro: Macro) -> bool:
    return None not in (macro.average("set_size_change").low, macro.average("accuracy_change").low)


def _silent(macro: Macro) -> bool:
    size, accuracy = macro.average("set_size_change"), macro.average("accuracy_change")
    if size.low is None or accuracy.low is None or accuracy.high is None:
        return False
    return size.low > 0 and accuracy.low <= 0 <= accuracy.high


def _silent_words(macro: Macro, *, many: bool) -> Words:
    size, accuracy = macro.average("set_size_change"), macro.average("accuracy_change")
    grown = with_interval(size.value, size.low, size.high, 3, signed=True)
    changed = with_interval(accuracy.value, accuracy.low, accuracy.high, 3, signed=True)
    return say(
        "first at {who} (set size {grown}, accuracy {changed})",
        who=_who(macro.scope.model, macro.variant, many=many),
        grown=figure(grown),
        changed=figure(changed),
    )


def _transferred_coverage(rows: Sequence[Fields], names: dict[Setting, str]) -> Words:
    """The variant that loses most coverage under the dense model's threshold, against the promised 1 - alpha."""
    lost = [(short, row) for row in rows if (short := _shortfall(row)) is not None and "no-op" not in flags(row)]
    if not lost:
        return say(
            "**Coverage without recalibration:** no variant has a dense model to take a threshold from, so nothing can "
            "be said."
        )
    worst, row = max(lost, key=lambda pair: pair[0])
    value, target = number(row, "lac_transfer_coverage"), 1 - (number(row, "alpha") or 0.0)
    where = _where(row, rows, names)
    if worst <= 0:
        return say(
            "**Coverage without recalibration:** with the dense model's threshold reused, no variant covers less than "
            "the target of {target}; the lowest is {value} ({where}).",
            target=fixed(target, 2),
            value=fixed(value, 3),
            where=where,
        )
    below = sum(_surely_below(each) for _, each in lost)
    doubt = "" if _surely_below(row) else ", which its interval cannot tell from the target"
    return say(
        "**Coverage without recalibration:** it falls furthest for {where}, where the dense model's threshold covers "
        "{covered} of the right answers, target {target}{doubt}. The whole interval lies below the target in {below} "
        "of {cells}.",
        where=where,
        covered=figure(estimate(row, "lac_transfer_coverage")),
        target=fixed(target, 2),
        doubt=doubt,
        below=str(below),
        cells=_count(len(lost), "compressed cell"),
    )


def _shortfall(row: Fields) -> float | None:
    coverage, alpha = number(row, "lac_transfer_coverage"), number(row, "alpha")
    return None if coverage is None or alpha is None else 1 - alpha - coverage


def _surely_below(row: Fields) -> bool:
    high, alpha = number(row, "lac_transfer_coverage_high"), number(row, "alpha")
    return high is not None and alpha is not None and high < 1 - alpha


def _calibration(rows: Sequence[Fields], names: dict[Setting, str]) -> Words:
    """What temperature repairs: how often it lowers the error, and where most is left above the dense model's."""
    compressed = [row for row in rows if text(row, "variant") != "dense" and "no-op" not in flags(row)]
    known = [(number(row, "ece"), number(row, "ece_ts")) for row in compressed]
    pairs = [(raw, after) for raw, after in known if raw is not None and after is not None]
    if not pairs:
        return say(
            "**Calibration:** no compressed cell has a calibration error both raw and after temperature scaling, so "
            "whether temperature repairs it stays open."
        )
    repaired = sum(after < raw for raw, after in pairs)
    start = say(
        "**Calibration:** temperature scaling lowers ECE in {repaired} of {cells}; ",
        repaired=str(repaired),
        cells=_count(len(pairs), "compressed cell"),
    )
    left = [(rise, row) for row in compressed if (rise := number(row, "ece_ts_change")) is not None]
    if not left:
        return (*start, "no cell has a dense model to compare what is left with.")
    worst, row = max(left, key=lambda pair: pair[0])
    surely = sum((number(each, "ece_ts_change_low") or 0.0) > 0 for _, each in left)
    where = _where(row, rows, names)
    if worst <= 0:
        found = say("what is left exceeds the dense model's in none.")
    else:
        found = say(
            "what is left exceeds the dense model's most for {where}, by {by}, and with the whole interval above zero "
            "in {surely} of {cells}.",
            where=where,
            by=figure(estimate(row, "ece_ts_change", signed=True)),
            surely=str(surely),
            cells=str(len(left)),
        )
    losses = [(rise, each) for each in compressed if (rise := number(each, "nll_ts_change")) is not None]
    if not losses:
        return start + found
    # A model that answers at chance with the confidence of chance has no calibration error, and knows nothing.
    _, lost = max(losses, key=lambda pair: pair[0])
    rest = say(
        " A low ECE is not knowledge: after temperature, NLL still changes by {by} nats for {where}.",
        by=figure(estimate(lost, "nll_ts_change", signed=True)),
        where=_where(lost, rows, names),
    )
    return start + found + rest


def _where(row: Fields, rows: Sequence[Fields], names: dict[Setting, str]) -> str:
    many = len({text(each, "model") for each in rows}) > 1
    return f"{_who(text(row, 'model'), text(row, 'variant'), many=many)} on {names[setting_of(row)]}"


def _who(model: str, variant: str, *, many: bool) -> str:
    return f"{variant} of {model}" if many else variant


def _count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"
