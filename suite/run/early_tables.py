"""The leaderboard while a run goes on: a reader need not wait for the last cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from suite.cell import cell_file
from suite.config import RunConfig
from suite.run.plan import PlannedCell

# Tables made this quickly are made after every variant; slower ones take a tenth of the time at most.
_QUICK = 10.0
_SHARE = 0.1


class EarlyTables:
    """Writes the tables first when a variant stands beside dense on one task, then after every variant.

    The strips stand among them. The other figures and the manifest, and with them the snapshot, come at the end of the
    run. Tables that cannot be made do not stop the scoring: what is wrong is said once, and stops the run at its end if
    it is still wrong then.
    """

    def __init__(self, out: Path, config: RunConfig, log: Callable[[str], None]) -> None:
        self._out, self._config, self._log = out, config, log
        self._begun = self._named = self._failed = False
        self._not_before = 0.0

    def after_cell(self, cell: PlannedCell) -> None:
        """A cell has been scored, or has failed."""
        if self._begun or cell.variant.family == "dense":
            return
        if cell.path.is_file() and cell.path.with_name(cell_file("dense")).is_file():
            self._begun = True
            self._write()

    def after_variant(self) -> None:
        """The last cell of a variant has been scored, or has failed."""
        if self._begun and time.monotonic() >= self._not_before:
            self._write()

    def _write(self) -> None:
        from suite.publish.snapshot import write_tables

        begun = time.monotonic()
        try:
            path = write_tables(self._out, self._config)
            if not self._named:
                self._log(f"first results: {path} (made again after every variant; more figures follow at the end)")
            self._named = True
        except Exception as error:  # hours of scoring may lie ahead, and its cells are good
            if not self._failed:
                self._log(f"no tables yet: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            self._failed = True
        took = time.monotonic() - begun
        self._not_before = begun + (0 if took <= _QUICK else took * (1 + 1 / _SHARE))
