"""Benchmark data that is not part of the suite: found in a folder that the user names, or fetched from the hub."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import MissingData, SuiteError
from suite.task import json_objects, parse_json

DATA_VARIABLE = "SUITE_DATA"
REVISION_VARIABLE = "SUITE_HUB_REVISION"

_UNREACHED: set[str] = set()
"""Hub data sets that no network led to in this process: their other files are not waited for again."""


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
    """The data file of a task.

    Raises:
        MissingData: one line that says which file to fetch, from where, and how to name its folder.
    """
    for folder in folders():
        for name in place.names:
            if (folder / name).is_file():
                return folder / name
    why = f"no folder in {DATA_VARIABLE} holds {place.names[0]}"
    if place.hub:
        try:
            return _from_hub(place)
        except Exception as error:  # the hub's client raises a dozen types, from a missing network to a full disk
            named = os.environ.get(REVISION_VARIABLE, "").strip()
            at = f" at {REVISION_VARIABLE}={named}" if named else ""
            why += f" and the hub did not give it{at} ({type(error).__name__})"
    raise MissingData(f"task {task}: {why}; fetch {place.fetch} and name its folder: {DATA_VARIABLE}=FOLDER suite ...")


def _from_hub(place: Place) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        file = hf_hub_download(
            repo_id=place.hub,
            filename=place.names[0],
            repo_type="dataset",
            revision=os.environ.get(REVISION_VARIABLE, "").strip() or place.hub_revision,
            etag_timeout=10,
            local_files_only=place.hub in _UNREACHED,
        )
    except LocalEntryNotFoundError:  # no connection, after half a minute of trying, and no copy of its own
        _UNREACHED.add(place.hub)
        raise
    return Path(file)


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a data file, each with the place that messages name: ``file:line`` (``file:row`` for Parquet).

    A JSON file holds one list of objects; JSONL one object a line; CSV a header line. A name that ends in ``.gz`` is
    unpacked.

    Raises:
        SuiteError: a file that cannot be read, or is not what its name says.
    """
    name = path.name.removesuffix(".gz")
    try:
        raw = path.read_bytes()
        if path.name.endswith(".gz"):
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise SuiteError(f"{path}: cannot be read ({str(error).splitlines()[0]}); fetch it again") from error
    if name.endswith(".jsonl"):
        for number, record in json_objects(path, raw, "data file"):
            yield f"{path}:{number}", record
    elif name.endswith(".parquet"):
        yield from _parquet(path, raw)
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SuiteError(f"{path}: not UTF-8 text (byte {error.start})") from error
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
            raise SuiteError(f"{where}: not valid JSON ({str(error).splitlines()[0]})") from error
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
