"""Compressed checkpoints kept by content, so that a method that takes minutes runs once for a model.

They lie under ``compressed/`` of the suite's cache folder. When they take more than ``SUITE_CACHE_GB`` (20 unless told
otherwise; 0 keeps none), those not used for longest go. Removing any of them, or all, loses time and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.compress import VariantInfo
from suite.compress.save import save
from suite.errors import SuiteError
from suite.files import write_file
from suite.models.cache import cache_dir
from suite.models.checkpoint import NOTE, Checkpoint, load
from suite.models.model import Model

LIMIT_VARIABLE = "SUITE_CACHE_GB"
DEFAULT_LIMIT = 20.0


def limit_bytes() -> float:
    """How much compressed checkpoints may take together.

    Raises:
        SuiteError: ``SUITE_CACHE_GB`` is no number of 0 or more.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(text) if text else DEFAULT_LIMIT
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise SuiteError(f"{LIMIT_VARIABLE}={text}: not a number of gigabytes; use 20, or 0 to keep none")
    return limit * 1e9


def folder_of(key: str) -> Path:
    """Where a compressed checkpoint of this content is, or would be."""
    return cache_dir() / "compressed" / key[:32]


def find(key: str, model: Model, *, dtype: str, device: str) -> tuple[Checkpoint, dict[str, Any]] | None:
    """A compressed checkpoint of this content, loaded; None where there is none.

    Returns:
        The checkpoint, named as `model` is now, and the `variant` section of its cells.
    """
    folder = folder_of(key)
    file = folder / NOTE
    if not file.is_file():
        return None
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
        variant, dense = note["variant"], note["dense"]
        if "share_touched" not in variant:
            raise KeyError("made by a version that did not ask whether its parent was read whole")
        loaded = load(Model(model.name, model.id, "directory", folder, model.revision), dtype=dtype, device=device)
    except (SuiteError, OSError, ValueError, KeyError):
        # one that is damaged, or too old, is made again
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):
        # the last use decides what goes first
        os.utime(file)
    named = {"name": model.name, "id": model.id, "source": model.source, "revision": model.revision}
    return replace(loaded, info={**dense, **named}), variant


def keep(key: str, checkpoint: Checkpoint, info: VariantInfo) -> VariantInfo:
    """Put a compressed checkpoint where `find` looks, and remove the oldest ones beyond the limit.

    Returns:
        The same record with the bytes of the files; unchanged where nothing is kept.
    """
    limit = limit_bytes()
    if limit == 0 or info.method in ("spinquant", "quip"):
        return info
    folder = folder_of(key)
    try:
        size = save(checkpoint, info, folder)
    except SuiteError:
        # a full disk must not cost a score
        return info
    kept = replace(info, saved_bytes=size)
    note = {**json.loads((folder / NOTE).read_text(encoding="utf-8")), "variant": kept.as_metadata()}
    write_file(folder / NOTE, json.dumps(note, indent=1, sort_keys=True))
    trim(limit)
    return kept


def trim(limit: float) -> list[Path]:
    """Remove the checkpoints not used for longest until the rest takes `limit` bytes at most; returns what went."""
    entries = []
    for note in (cache_dir() / "compressed").glob(f"*/{NOTE}"):
        with suppress(OSError):
            size = sum(file.stat().st_size for file in note.parent.iterdir())
            entries.append((note.stat().st_mtime, size, note.parent))
    total = sum(size for _, size, _ in entries)
    gone = []
    for _, size, folder in sorted(entries):
        if total <= limit:
            break
        shutil.rmtree(folder, ignore_errors=True)
        gone.append(folder)
        total -= size
    return gone
