"""Which variants may replace dense under the policy that the run's configuration names, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.decisions.analyses import GATE
from suite.decisions.report import decided, why
from suite.publish.numerals import fixed
from suite.publish.sections.section import Section, Span, figures, words
from suite.publish.sections.words import code, figure, say


def gate(records: Sequence[Mapping[str, Any]]) -> Section | None:
    """A line a variant, the decision with its reason behind it; None where the configuration names no policy.

    Args:
        records: of gate.json.
    """
    if not records:
        return None
    counts = {one: sum(record["decision"] == one for record in records) for one in ("accept", "review", "reject")}
    return Section(
        say("May it replace dense? Policy {policy}", policy=str(records[0]["policy"])),
        (
            say(
                f"{counts['accept']} accepted, {counts['review']} to review, {counts['reject']} rejected. "
                "*Accept*: the one-sided 95 % upper bound of every limited loss lies inside its limit. *Reject*: a red "
                "line, or the multiple of a limit that the policy names, is shown to be exceeded. All else is for a "
                "person. Accuracy lost, in points, is the average over tasks. {file} has every limit with its bounds.",
                file=Span(GATE, "file"),
            ),
        ),
        (*words("model", "variant"), *figures("lost at most", "lost at least"), *words("decision")),
        tuple(
            (
                str(record["model"]),
                code(str(record["variant"])),
                figure(_points(record["lost_at_most"])),
                figure(_points(record["lost_at_least"])),
                Span(decided(record), "reason", note=why(record)),
            )
            for record in records
        ),
    )


def _points(share: float | None) -> str:
    return fixed(None if share is None else 100 * share, 1)
