"""An attribute that has another value for a while: how libraries that offer no setting are told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def holding(thing: Any, name: str, value: Any) -> Iterator[Any]:
    """Inside, an attribute of an object, a class or a module has this value; yields what it had, None for nothing."""
    absent = object()
    given = getattr(thing, name, absent)
    setattr(thing, name, value)
    try:
        yield None if given is absent else given
    finally:
        if given is absent:
            delattr(thing, name)
        else:
            setattr(thing, name, given)
