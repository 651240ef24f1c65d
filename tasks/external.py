"""Benchmark data that is not part of the suite: found in a folder that the user names, or fetched from the hub."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from suite.errors import MissingData, SuiteError, first_line
from suite.files import decoded, json_objects, parse_json, read_bytes, unpacked_name
from suite.hub import NotFetched, fetch
from suite.task import Question, check_new_id, check_question
from suite.tasks.grouping import with_groups

DATA_VARIABLE = "SUITE_DATA"
REVISION_VARIABLE = "SUITE_HUB_REVISION"


@dataclass(frozen=True)
class Place:
    """Where a task's data comes from.

    Attributes:
        names: file names that are looked for in the data folders, best first; the first names the file in messages.
        fetch: where to get it, for people.
        hub: hub data set that holds the first name and that it is fetched from when no folder has it; "" for none.
        hub_revision: branch, tag or commit of the hub data set; the environment's ``SUITE_HUB_REVISION`` comes first.
    """

    names: tuple[str, ...]
    fetch: str
    hub: str = ""
    hub_revision: str = "main"


def folders() -> list[Path]:
    """The folders named in the environment's ``SUITE_DATA``, separated as in ``PATH``, each with its own ``data/``."""
    named = [Path(part).expanduser() for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part.strip()]
    for folder in named:
        if not folder.is_dir():
            raise SuiteError(f"{DATA_VARIABLE} names {folder}, which is no folder; name one that holds the data files")
    return [place for folder in named for place in (folder, folder / "data")]


def find(task: str, place: Place) -> Path:
    """The data file of a task, in a folder as it is or packed (``.gz``).

    Raises:
        MissingData: one line that says which file to fetch, from where, and how to name its folder.
    """
    for folder in folders():
        for name in place.names:
            if file := located(folder, name):
                return file
    why = f"no folder in {DATA_VARIABLE} holds {place.names[0]}"
    if place.hub:
        try:
            return _from_hub(place)
        except NotFetched as error:
            named = os.environ.get(REVISION_VARIABLE, "").strip()
            at = f" at {REVISION_VARIABLE}={named}" if named else ""
            why += f" and the hub did not give it{at} ({error})"
    raise MissingData(f"task {task}: {why}; fetch {place.fetch} and name its folder: {DATA_VARIABLE}=FOLDER suite ...")


def located(folder: Path, name: str) -> Path | None:
    """The file of that name, or of that name and ``.gz``; None where the folder has neither."""
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _from_hub(place: Place) -> Path:
    import huggingface_hub

    revision = os.environ.get(REVISION_VARIABLE, "").strip() or place.hub_revision

    def download(local: bool) -> str:
        return huggingface_hub.hf_hub_download(
            repo_id=place.hub,
            filename=place.names[0],
            repo_type="dataset",
            revision=revision,
            local_files_only=local,
        )

    return fetch(download, place.hub, revision=revision, dataset=True)


Reader = Callable[[Mapping[str, Any], int, str], tuple[Question, str]]
"""From a record, its number in the file and its place for messages: the question, and what its group has in common."""


def questions(read: Reader, *files: Path) -> tuple[Question, ...]:
    """The questions of some data files, checked and grouped; read again only when a file has changed.

    Raises:
        SuiteError: bad data with its line, or no question at all.
    """
    return _questions(read, files, tuple(file.stat().st_mtime_ns for file in files))


@lru_cache(maxsize=3)
def _questions(read: Reader, files: Sequence[Path], _modified: Sequence[int]) -> tuple[Question, ...]:
    found, shared = [], []
    seen: dict[str, str] = {}
    for file in files:
        for row, (where, record) in enumerate(records(file)):
            item, common = read(record, row, where)
            check_new_id(check_question(item, where), where, seen)
            found.append(item)
            shared.append([common])
    if not found:
        raise SuiteError(f"{files[0]}: no questions in it")
    return with_groups(found, shared)


def options(record: Mapping[str, Any], key: str, count: int, where: str) -> tuple[str, ...]:
    """A record's options: a list ``choices``, or a field each, ``<key>0`` and so on."""
    choices = record.get("choices") or [record.get(f"{key}{number}") for number in range(count)]
    if not isinstance(choices, list) or len(choices) != count or not all(isinstance(choice, str) for choice in choices):
        number = {3: "three", 4: "four"}[count]
        raise SuiteError(f"{where}: {number} options are needed, {key}0 to {key}{count - 1} or a list 'choices'")
    check_different(choices, where)
    return tuple(choices)


def check_different(choices: Sequence[str], where: str) -> None:
    """Raise where two options are the same."""
    if len(set(choices)) < len(choices):
        raise SuiteError(f"{where}: two options are identical, only one can be the answer")


def records(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a data file, each with the place that messages name: ``file:line`` (``file:row`` for Parquet).

    A JSON file holds one list of objects; JSONL one object a line; CSV a header line. A gzip file is
    unpacked.

    Raises:
        SuiteError: a file that cannot be read, or is not what its name says.
    """
    path = Path(path)
    name = unpacked_name(path.name)
    raw = read_bytes(path, todo="fetch it again")
    if name.endswith(".parquet"):
        yield from _parquet(path, raw)
        return
    text = decoded(raw, str(path))
    if name.endswith(".jsonl"):
        for number, record in json_objects(path, text):
            yield f"{path}:{number}", record
    else:
        yield from _csv(path, text) if name.endswith(".csv") else _json_list(path, text)


def _parquet(path: Path, raw: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(raw)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SuiteError(f"{path}: not a readable Parquet file; fetch it again") from error
    for number, record in enumerate(rows):
        yield f"{path}:row {number}", record


def _csv(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    end = 1
    try:
        for record in reader:
            yield f"{path}:{end + 1}", dict(record)
            end = reader.line_num
    except csv.Error as error:
        raise SuiteError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error


def _json_list(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a JSON list, read one after another so that each is known by the line it starts on."""
    decoder = json.JSONDecoder()
    place = _skip(text, 0)
    if text[place : place + 1] != "[":
        raise SuiteError(f"{path}:1: expected a JSON list of objects")
    place, line, counted = _skip(text, place + 1), 1, 0
    while text[place : place + 1] != "]":
        line += text.count("\n", counted, place)
        counted = place
        where = f"{path}:{line}"
        try:
            _, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise SuiteError(f"{where}: not valid JSON ({first_line(error)})") from error
        record = parse_json(text[place:end], where)
        if not isinstance(record, dict):
            raise SuiteError(f"{where}: expected a JSON object, found {type(record).__name__}")
        yield where, record
        place = _skip(text, end)
        if text[place : place + 1] == ",":
            place = _skip(text, place + 1)
        elif text[place : place + 1] != "]":
            raise SuiteError(f"{where}: not valid JSON (the list is not closed behind the object that starts here)")


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\n", "\r", "\t"):
        place += 1
    return place
