"""The sentences that say where to look first, for rows as they are computed."""

from __future__ import annotations

from collections.abc import Sequence

from suite.publish.fields import Fields
from suite.publish.numerals import rounded
from suite.publish.order import in_order
from suite.publish.sections.highlights import published_highlights


def highlights(rows: Sequence[Fields]) -> list[str]:
    """Of rows in any order."""
    return published_highlights(in_order([rounded(row) for row in rows]))
