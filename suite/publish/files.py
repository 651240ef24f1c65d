"""Writing a file so that it is complete or absent."""

from __future__ import annotations

import os
from pathlib import Path

from suite.errors import SuiteError


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old content or the new one, whatever interrupts the writing.

    Raises:
        SuiteError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        raise SuiteError(
            f"cannot write {path}: {error.strerror or error}; free some disk space or name another folder"
        ) from error
    finally:
        _forget(partial)


def _forget(partial: Path) -> None:
    # When the parent is a file, unlinking raises NotADirectoryError, which would hide the message above.
    if partial.parent.is_dir():
        partial.unlink(missing_ok=True)
