"""What keeps a half-scored cell safe: shards on disk, written whole or not at all, each with a checksum."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.files import write_file

_MAGIC = b"SUITESH1"


def content_key(parts: Mapping[str, Any]) -> str:
    """A cell's identity: SHA-256 of everything that its numbers depend on, and of no name.

    >>> content_key({"b": 1, "a": 2}) == content_key({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class ShardStore:
    """The finished parts of one unfinished cell, in a folder of its own.

    A shard holds the scores of some items, in order. It is written to a temporary file, flushed to disk and renamed, so
    whatever kills the process leaves it complete or absent; a checksum finds one that was damaged later.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def within(self, name: str) -> ShardStore:
        """The store in a folder below this one."""
        return ShardStore(self.folder / name)

    def read(self, number: int, lengths: Sequence[int]) -> list[NDArray[np.float64]] | None:
        """The scores of shard `number`, or None when it is missing or damaged (which is said on stderr).

        Args:
            lengths: how many options each of its items has.
        """
        path = self._path(number)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        body = raw[len(_MAGIC) + 32 :]
        intact = raw.startswith(_MAGIC) and hashlib.sha256(body).digest() == raw[len(_MAGIC) : len(_MAGIC) + 32]
        values: NDArray[np.float64] | None = np.load(io.BytesIO(body), allow_pickle=False) if intact else None
        if values is None or values.shape != (sum(lengths),):
            print(f"shard {path} is damaged: its items are scored again", file=sys.stderr)
            return None
        return list(np.split(values, np.cumsum(lengths)[:-1]))

    def write(self, number: int, scores: Sequence[NDArray[np.float64]]) -> None:
        """Keep the scores of shard `number`.

        Raises:
            SuiteError: the disk is full or the folder cannot be written; earlier shards stay.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(scores).astype(np.float64), allow_pickle=False)
        body = buffer.getvalue()
        todo = "free some disk space and start again, finished parts are kept"
        write_file(self._path(number), _MAGIC + hashlib.sha256(body).digest() + body, todo=todo)

    def clear(self) -> None:
        """Remove the folder: the cell is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.shard"
