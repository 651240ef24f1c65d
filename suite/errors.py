"""The exceptions whose message is meant for the person at the keyboard."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SuiteError(Exception):
    """Bad input or a missing prerequisite: one line that says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with status 2.
    """


class CellFailure(Exception):
    """A cell that could not be scored: the run records the reason and goes on."""


class NotAccepted(Exception):
    """A compressed model that a policy rejects, or leaves to a person; raised where a script has asked for that."""


class MissingData(SuiteError):
    """Benchmark data that is not part of the suite and was not found."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> SuiteError:
    """Error for a name that is not in a closed list, with the closest valid names.

    >>> str(unknown_name("task", "arc-esy", ["arc-easy", "sciq"]))
    "unknown task 'arc-esy': did you mean arc-easy? Valid: arc-easy, sciq"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return SuiteError(f"unknown {kind} {name!r}: {hint}Valid: {', '.join(names)}")


def first_line(error: Exception) -> str:
    """The first line of what went wrong, as the system or a library puts it; the type's name where it says nothing.

    >>> first_line(ValueError("no such key\\nin this file")), first_line(KeyError())
    ('no such key', 'KeyError')
    """
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0]
