"""The two things a reader should look at first, as sentences made from the rows and from nothing else.

Each sentence answers one question, and says so where the rows cannot answer it:

1. What happens to coverage when nobody recalibrates?
2. What does temperature scaling leave of the calibration error?

Whoever names the most striking of many cells has looked at all of them: a cell is named only where what is said of it
holds when corrected for their number (Holm).
"""

from __future__ import annotations

from collections.abc import Sequence

from suite.metrics.average import Setting
from suite.metrics.slices import shown_above
from suite.publish.fields import Fields, flags, number, text
from suite.publish.numerals import estimate, fixed
from suite.publish.order import setting_names, setting_of, without_repeats
from suite.publish.sections.section import Items, Section, Words
from suite.publish.sections.words import count, figure, plain, say


def published_highlights(rows: Sequence[Fields]) -> list[str]:
    """Two plain sentences, safe to print, or none where there are no rows.

    Args:
        rows: rounded and sorted, as those of a snapshot are.
    """
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
    return (_transferred_coverage(rows, names), _calibration(rows, names))


def _transferred_coverage(rows: Sequence[Fields], names: dict[Setting, str]) -> Words:
    """The variant that loses most coverage under the dense model's threshold, against the promised 1 - alpha."""
    lost = [(short, row) for row in rows if (short := _shortfall(row)) is not None and "no-op" not in flags(row)]
    if not lost:
        return say(
            "**Coverage without recalibration:** no variant has a dense model to take a threshold from, so nothing can "
            "be said."
        )
    shown = shown_above([(short, _shortfall(each, "_high")) for short, each in lost])
    below = [pair for pair, one in zip(lost, shown, strict=True) if one]
    _, row = max(below or lost, key=lambda pair: pair[0])
    target, where = fixed(1 - (number(row, "alpha") or 0.0), 2), _where(row, rows, names)
    cells = count(len(lost), "compressed cell")
    if not below:
        return say(
            "**Coverage without recalibration:** with the dense model's threshold reused, no variant is shown to cover "
            "less than the target of {target}, corrected for {cells}; the lowest is {value} ({where}).",
            target=target,
            cells=cells,
            value=fixed(number(row, "lac_transfer_coverage"), 3),
            where=where,
        )
    return say(
        "**Coverage without recalibration:** it falls furthest for {where}, where the dense model's threshold covers "
        "{covered} of the right answers, target {target}. Corrected for their number (Holm), {below} of {cells} are "
        "shown to cover too little.",
        where=where,
        covered=figure(estimate(row, "lac_transfer_coverage")),
        target=target,
        below=str(len(below)),
        cells=cells,
    )


def _shortfall(row: Fields, end: str = "") -> float | None:
    """What coverage under dense's threshold, or an end of its interval, lacks to the target."""
    coverage, alpha = number(row, f"lac_transfer_coverage{end}"), number(row, "alpha")
    return None if coverage is None or alpha is None else 1 - alpha - coverage


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
        cells=count(len(pairs), "compressed cell"),
    )
    left = [(rise, row) for row in compressed if (rise := number(row, "ece_ts_change")) is not None]
    if not left:
        return (*start, "no cell has a dense model to compare what is left with.")
    found = _risen(left, "ece_ts_change")
    if not found:
        told = say(
            "what is left is shown to exceed the dense model's in none of {cells}, corrected for their number (Holm).",
            cells=str(len(left)),
        )
    else:
        row = found[0]
        told = say(
            "what is left exceeds the dense model's most for {where}, by {by}, and is shown to in {surely} of {cells}, "
            "corrected for their number (Holm).",
            where=_where(row, rows, names),
            by=figure(estimate(row, "ece_ts_change")),
            surely=str(len(found)),
            cells=str(len(left)),
        )
    losses = [(change, each) for each in compressed if (change := number(each, "nll_ts_change")) is not None]
    lost = _risen(losses, "nll_ts_change")
    if not lost:
        return start + told
    # A model that answers at chance with the confidence of chance has no calibration error, and knows nothing.
    rest = say(
        " A low ECE is not knowledge: after temperature, NLL still changes by {by} nats for {where}.",
        by=figure(estimate(lost[0], "nll_ts_change")),
        where=_where(lost[0], rows, names),
    )
    return start + told + rest


def _risen(changes: Sequence[tuple[float, Fields]], key: str) -> list[Fields]:
    """The rows whose change is shown above zero, corrected for all of them; the largest first."""
    shown = shown_above([(value, number(row, f"{key}_low")) for value, row in changes])
    kept = [pair for pair, one in zip(changes, shown, strict=True) if one]
    return [row for _, row in sorted(kept, key=lambda pair: -pair[0])]


def _where(row: Fields, rows: Sequence[Fields], names: dict[Setting, str]) -> str:
    of = f" of {text(row, 'model')}" if len({text(each, "model") for each in rows}) > 1 else ""
    return f"{text(row, 'variant')}{of} on {names[setting_of(row)]}"
