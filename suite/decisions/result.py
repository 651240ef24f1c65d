"""One model's decision as a script uses it: look at it, or let it stop the script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from suite.cell import Cell
from suite.decisions.gate import ACCEPT, REJECT
from suite.decisions.report import gate_lines
from suite.errors import NotAccepted


@dataclass(frozen=True)
class GateResult:
    """What a policy says of one compressed model.

    Attributes:
        decision: ``accept``, ``review`` or ``reject``.
        reason: of a review: ``in_band``, ``undecided`` or ``blocked``; else None.
        record: everything that was measured, with the keys of docs/gate.md.
        cells: the scores behind it, dense ones first; `suite.write_snapshot` publishes them.
    """

    decision: str
    reason: str | None
    record: dict[str, Any]
    cells: tuple[Cell, ...]

    def __str__(self) -> str:
        return gate_lines([self.record])[0]

    def raise_if_rejected(self) -> None:
        """Stop a script where the loss is shown to be too large.

        Raises:
            NotAccepted: the decision is ``reject``.
        """
        if self.decision == REJECT:
            raise NotAccepted(str(self))

    def raise_unless_accepted(self) -> None:
        """Stop a script where the loss is not shown to be small enough.

        Raises:
            NotAccepted: the decision is ``reject`` or ``review``.
        """
        if self.decision != ACCEPT:
            raise NotAccepted(str(self))
