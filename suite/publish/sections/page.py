"""The leaderboard as one page of sections, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.decisions.analyses import DOSES, GATE, VERDICTS
from suite.publish.doses import EXPLORATORY, Lead
from suite.publish.fields import Fields
from suite.publish.figures import Picture
from suite.publish.order import setting_names
from suite.publish.sections.answer import answer
from suite.publish.sections.doses import doses, every_dose
from suite.publish.sections.gate import gate
from suite.publish.sections.highlights import first_look
from suite.publish.sections.reading import HOW_TO_READ, columns, protocol
from suite.publish.sections.section import Page, Span, Words
from suite.publish.sections.seeds import seeds
from suite.publish.sections.standings import equal_megabytes, groups
from suite.publish.sections.tables import failed, missing, summary, tasks
from suite.publish.sections.verdicts import every_verdict, verdict_sections
from suite.publish.standings import Standings


def leaderboard_page(
    rows: Sequence[Fields],
    pictures: Sequence[Picture] = (),
    failures: Sequence[Fields] = (),
    *,
    standings: Standings | None = None,
    records: Mapping[str, Sequence[Fields]] | None = None,
    drawn: Sequence[Fields] = (),
    lead: Lead = EXPLORATORY,
    unfinished: str = "",
) -> Page:
    """Everything that LEADERBOARD.md and index.html show.

    Args:
        rows: rounded, and sorted by `suite.publish.order.in_order`.
        pictures: named above the tables of their model.
        failures: cells that could not be scored.
        standings: groups and pairs of equal size; left out where there are none.
        records: contents of the verdict files by name; left out where there are none.
        lead: the measure that carries the answer on doses.
        drawn: recipes drawn with several seeds of the sample text; left out where there is none.
        unfinished: what is said where cells of the configuration are missing.
    """
    remarks: list[Words] = []
    if unfinished:
        topic, colon, rest = unfinished.partition(":")
        remarks.append((Span(topic + colon, "strong"), rest))
    if not rows:
        remarks.append("No cell has been scored.")
    ranked = standings or Standings()
    known = records or {}
    dosed = known.get(DOSES, ())
    opening = [one for one in (doses(dosed, rows, lead), first_look(rows)) if one is not None]
    found = (
        *((summary(rows), groups(ranked), equal_megabytes(ranked)) if rows else ()),
        gate(known.get(GATE, ())),
        *(verdict_sections(records) if records else ()),
        seeds(drawn, setting_names(rows)),
        *tasks(rows, pictures),
        failed(failures),
        missing(rows),
        columns(rows),
    )
    return Page(
        title="Leaderboard: does a compressed model still know when it may be wrong?",
        how_to_read=HOW_TO_READ,
        protocol=protocol(rows),
        remarks=tuple(remarks),
        sections=(*opening, *(section for section in found if section is not None)),
        answer=answer(known, [one for one in pictures if one.scope is None], lead),
        opening=max(1, len(opening)),
        every_verdict=every_verdict(records[VERDICTS]) if records else None,
        every_dose=every_dose(dosed),
    )
