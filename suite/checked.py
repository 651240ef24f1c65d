"""Dataclasses of files that people write: every key and value checked, what is wrong said in one sentence."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from pydantic import ConfigDict, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator

from suite.errors import SuiteError

KEYS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""For `pydantic.dataclasses.dataclass`."""

_T = TypeVar("_T")
_ORDER = {"unexpected_keyword_argument": 0, "invalid_key": 0, "missing": 1}


@dataclass(frozen=True)
class Wrong:
    """The first thing that is wrong with a mapping.

    Attributes:
        cls: what it was to be.
        key: whose value is missing or wrong.
        kind: pydantic's word for it; ``missing`` where there is none.
        found: the value.
        context: what pydantic knows of the kind.
        given: the whole mapping.
    """

    cls: type
    key: str
    kind: str
    found: Any
    context: Mapping[str, Any]
    given: Mapping[str, Any]


def in_one_line(titles: Mapping[str, str], sentence: Callable[[Wrong], str]) -> Any:
    """A validator for a class: the first of the errors that pydantic found, unknown and missing keys before others.

    Args:
        titles: what messages call each class, by its name.
        sentence: what is said of a value, or of one that is missing.
    """

    def check(cls: type[_T], value: Any, handler: ModelWrapValidatorHandler[_T]) -> _T:
        try:
            return handler(value)
        except ValidationError as error:
            raise SuiteError(said(cls, value, error)) from error

    def said(cls: type, value: Any, error: ValidationError) -> str:
        names = [field.name for field in fields(cls)]
        first = min(error.errors(include_url=False), key=lambda one: _ORDER.get(one["type"], 2))
        if not first["loc"]:
            return no_mapping(titles[cls.__name__])
        place, found = first["loc"][0], first["input"]
        if _ORDER.get(first["type"]) == 0:
            return unknown_key(found if first["type"] == "invalid_key" else place, titles[cls.__name__], names)
        key = names[place] if isinstance(place, int) else place
        given = value if isinstance(value, dict) else dict(zip(names, value.args, strict=False)) | (value.kwargs or {})
        return sentence(Wrong(cls, key, first["type"], found, first.get("ctx", {}), given))

    return model_validator(mode="wrap")(check)


def no_mapping(title: str) -> str:
    """What is said where a mapping should be."""
    return f"{title} must be a mapping of keys to values"


def unknown_key(key: object, title: str, known: Sequence[str]) -> str:
    """What is said of a key that is none."""
    return f"unknown key {key!r} in {title}: {closest(key, known)}Valid: {', '.join(known)}"


def closest(name: object, valid: Sequence[str]) -> str:
    """A question whether the nearest valid name was meant; nothing where none is near."""
    close = difflib.get_close_matches(str(name), valid, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def json_schema(cls: type) -> str:
    """JSON Schema of such a file, for editors and other programs."""
    schema = TypeAdapter(cls).json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"
