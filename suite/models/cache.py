"""Where the suite keeps what it can make again: converted checkpoints, downloaded models."""

from __future__ import annotations

import os
from pathlib import Path

from suite.errors import SuiteError

CACHE_VARIABLE = "SUITE_CACHE"


def cache_dir() -> Path:
    """The cache folder: the environment's ``SUITE_CACHE``, else ``~/.cache/compressed-llm-uncertainty``.

    The folder is named, not created: whoever writes there makes it.

    Raises:
        SuiteError: no ``SUITE_CACHE``, and no home directory to fall back on.
    """
    named = os.environ.get(CACHE_VARIABLE, "").strip()
    try:
        return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "compressed-llm-uncertainty"
    except RuntimeError as error:
        raise SuiteError(f"cache folder: no home directory is known; set {CACHE_VARIABLE} to a folder") from error
