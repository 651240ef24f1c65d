"""Typed access to a row, a standing or a record as it is read: a flat mapping in which every value may be missing."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from suite.metrics.row import number as number

Fields = Mapping[str, object]


def text(row: Fields, key: str) -> str:
    """The value under `key` as text; empty where it is absent or null."""
    value = row.get(key)
    return "" if value is None else str(value)


def whole(row: Fields, key: str) -> int:
    """The value under `key` as a whole number; 0 where it is absent, null or no number."""
    value = number(row, key)
    return 0 if value is None else int(value)


def flags(row: Fields) -> tuple[str, ...]:
    """The flags of a row, sorted, each once."""
    value = row.get("flags")
    return tuple(sorted({str(flag) for flag in value})) if isinstance(value, list | tuple) else ()


def notes(row: Fields) -> dict[str, str]:
    """Why a value of the row is missing: key to reason."""
    value = row.get("notes")
    return {str(key): str(reason) for key, reason in value.items()} if isinstance(value, Mapping) else {}


def is_cloze(row: Fields) -> bool:
    """Whether the scores are log-likelihoods of option texts.

    Their softmax over the options ranks them and is no probability that the model claims, so figures after temperature
    scaling lead and raw ones stand beside them.
    """
    scoring = text(row, "scoring")
    return scoring.startswith("cloze") or (scoring != "letter" and text(row, "kind") == "loglik")


def one_line(value: str) -> str:
    """Text from a user or a file made safe to show: control and direction marks out, white space runs to one blank.

    >>> one_line("a\\n\\n b\\x1b[31m")
    'a b[31m'
    """
    spaced = "".join(" " if char.isspace() else char for char in value)
    return " ".join("".join(char for char in spaced if unicodedata.category(char) not in ("Cc", "Cf", "Cs")).split())
