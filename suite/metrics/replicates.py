"""What was measured of cells is kept, bootstrap replicates included: verdicts and doses then cost seconds.

One file a cell, `.replicates/<key>.npz` in the run directory. The key is made of everything that the numbers follow
from: the checksum of the cell's file and of dense's, the protocol, and the formula numbers of all figures. So nothing
in the folder can be out of date, and it may be deleted at any time. Replicates are joint: cells of one task with the
same items share the draws, in this and in every later call. They are kept in float64: what is said is the same bit for
bit.

`suite verify` measures anew, whatever is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suite.cell import Cell
from suite.config import Protocol
from suite.errors import SuiteError, first_line
from suite.files import file_digest, replacing
from suite.metrics.figures import FIGURES
from suite.models.cache import CACHE_VARIABLE, cache_dir

FOLDER = ".replicates"

STORED = (
    *("accuracy", "brier_ts", "nll_ts", "ece_ts", "error_auroc", "kl"),
    *("set_size", "lac_set_size", "aps_set_size", "lac_coverage", "aps_coverage"),
    *("lac_transfer_coverage", "lac_transfer_set_size"),
)
"""Figures whose values and replicates are kept."""

LIMIT = 1 << 30
"""Bytes that the suite's cache keeps at most, some 9,000 cells at 1,000 replicates; those used longest ago go first."""

_VERSION = 1
_NAME = re.compile(r"[0-9a-f]{64}\.npz")
_ARRAYS = ("replicates", "correct", "units", "chance")


@dataclass(frozen=True)
class Store:
    """A folder of kept measurements.

    Attributes:
        folder: where they lie; made when the first is written.
        code: a hash of the code that measures.
        strict: only what this very code has measured is taken, as for what is published; else all whose formula numbers
            are today's.
    """

    folder: Path
    code: str = ""
    strict: bool = False

    @classmethod
    def of(cls, folder: Path, code: str, *, strict: bool = False) -> Store | None:
        """Where a folder of cells keeps its measurements: in itself, but a snapshot stays as it was published.

        Those of a snapshot, or of a folder that cannot be written, are in the suite's cache, whatever the folder is
        called. None where there is no such place either.
        """
        own = folder / FOLDER
        place = own if own.is_dir() else folder
        if place.is_dir() and (place == own or not (folder / "manifest.json").exists()) and os.access(place, os.W_OK):
            return cls(own, code, strict)
        try:
            return cls(cache_dir() / "replicates", code, strict)
        except SuiteError as error:
            print(f"replicates are not kept: {error}", file=sys.stderr)
            return None

    def keys(self, cells: Sequence[Cell], dense: Cell | None, protocol: Protocol) -> list[str]:
        """Of each cell of one curve; empty for one that was not read from a file."""
        reference = "none" if dense is None else _digest(dense)
        rules = json.dumps(
            [_VERSION, STORED, asdict(protocol), {key: [one.formula, one.interval] for key, one in FIGURES.items()}],
            sort_keys=True,
        )
        keys = []
        for cell in cells:
            own = _digest(cell)
            text = f"{own}\n{reference}\n{rules}"
            keys.append(hashlib.sha256(text.encode()).hexdigest() if own and reference else "")
        return keys

    def read(self, key: str) -> dict[str, Any] | None:
        """What is kept under a key, as `write` took it.

        A file that is damaged, or that something else has put there, counts as absent, which one line on stderr says.
        """
        file = self.folder / f"{key}.npz"
        if not key or not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as stored:
                said = json.loads(stored["said"].tobytes())
                if said["key"] != key:
                    raise ValueError("it belongs to other cells")
                if self.strict and said["code"] != self.code:
                    return None
                arrays = {name: stored[name] for name in _ARRAYS}
            with suppress(OSError):  # another's file
                os.utime(file)  # used now: see `prune`
            table, values = arrays["replicates"], dict(said["values"])
            lengths = {len(arrays[name]) for name in _ARRAYS[1:]}
            if table.dtype != np.float64 or table.ndim != 2 or len(table) != len(values) or len(lengths) != 1:
                raise ValueError("its parts do not fit")
            replicates = dict(zip(values, table, strict=True))
            return {**arrays, "row": dict(said["row"]), "values": values, "replicates": replicates}
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            print(f"{file}: not usable ({first_line(error)}); measured again", file=sys.stderr)
            return None

    def write(self, key: str, found: Mapping[str, Any]) -> None:
        """Keep the measurements of one cell: the file is complete or absent. A full disk is one line on stderr.

        Args:
            found: the fields of a `suite.metrics.rows.Measured`: row, values, replicates (each of shape [replicates]),
                and correct, units, chance of each evaluated item.
        """
        if not key:
            return
        values = found["values"]
        said = {"key": key, "code": self.code, "row": found["row"], "values": values}
        table = np.stack([found["replicates"][name] for name in values]) if values else np.empty((0, 0))
        try:
            with replacing(self.folder / f"{key}.npz", todo=f"or set {CACHE_VARIABLE}") as handle:
                np.savez(
                    handle,
                    said=np.frombuffer(json.dumps(said).encode(), dtype=np.uint8),
                    replicates=table,
                    **{name: found[name] for name in _ARRAYS[1:]},
                )
        except SuiteError as error:
            print(f"replicates are not kept: {error}", file=sys.stderr)

    def prune(self, keys: Sequence[str]) -> None:
        """Delete what is kept under other keys than these: in a run directory all of it, which is of earlier cells or
        formulas; in the cache, which many runs share, what was used longest ago, until the rest is within `LIMIT`.
        """
        if not self.folder.is_dir():
            return
        wanted = {f"{key}.npz" for key in keys}
        files = [file for file in self.folder.iterdir() if _NAME.fullmatch(file.name)]
        if self.folder.name == FOLDER:
            for file in files:
                if file.name not in wanted:
                    file.unlink(missing_ok=True)
            return
        found = []
        for file in files:
            with suppress(FileNotFoundError):  # another process is pruning too
                found.append((file.stat().st_mtime, file.stat().st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= LIMIT:
                return
            if file.name not in wanted:
                file.unlink(missing_ok=True)
                total -= size


def _digest(cell: Cell) -> str:
    """Checksum of the file that a cell was read from; empty where there is none."""
    try:
        return file_digest(Path(cell.path)) if cell.path else ""
    except OSError:
        return ""
