"""Files: read in one place, packed or not, whatever editor has saved them; written whole or not at all."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from suite.errors import SuiteError, first_line

_GZIP = b"\x1f\x8b"
# the mark of UTF-32 first: it begins with that of UTF-16
_MARKED = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def json_bytes(content: object) -> bytes:
    """JSON as it is published: the same content gives the same bytes."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def unpacked_name(name: str) -> str:
    """A file's name without the ``.gz`` of a packed one.

    >>> unpacked_name("scores.jsonl.gz")
    'scores.jsonl'
    """
    return name.removesuffix(".gz")


def read_bytes(path: Path, what: str = "", *, todo: str = "name a readable file") -> bytes:
    """Contents of a file, unpacked where it is a gzip file (by its first bytes, whatever its name).

    Args:
        what: how messages call the file, for example ``"task file"``.
        todo: what messages say is to be done about a file that cannot be read.

    Raises:
        SuiteError: missing or unreadable, or a gzip file that is damaged.
    """
    named = f"{what} {path}".lstrip()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SuiteError(f"{named}: {error.strerror}; {todo}") from error
    if not raw.startswith(_GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise SuiteError(f"{named}: cannot be unpacked ({first_line(error)}); fetch it again") from error


def decoded(raw: bytes, named: str) -> str:
    """Text of a file's bytes: UTF-8, or what its byte order mark says. The mark itself is no part of the text.

    Args:
        named: the file, for messages.

    Raises:
        SuiteError: bytes that are no text, with the place of the first.
    """
    codec = next((name for mark, name in _MARKED.items() if raw.startswith(mark)), "utf-8-sig")
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        kind = codec.removesuffix("-sig").upper()
        raise SuiteError(f"{named}: not {kind} text (byte {error.start})") from error


def read_text(path: Path, what: str = "", *, todo: str = "name a readable file") -> str:
    """`read_bytes` and `decoded` in one."""
    return decoded(read_bytes(path, what, todo=todo), f"{what} {path}".lstrip())


def json_objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers; empty lines are passed over.

    Raises:
        SuiteError: not JSON, not an object, or text that is no Unicode.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        # files that were put together one after another keep their marks
        line = line.strip().strip("\ufeff")
        if line.strip():
            record = parse_json(line, f"{path}:{number}")
            if not isinstance(record, dict):
                raise SuiteError(f"{path}:{number}: expected a JSON object, found {type(record).__name__}")
            yield number, record


def parse_json(text: str, where: str) -> Any:
    """A JSON value, whatever can go wrong told in one line."""
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # escapes can spell half a character, which neither hashes nor Parquet can store
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise SuiteError(f"{where}: not valid JSON (nested too deeply)") from error
    except UnicodeEncodeError as error:
        raise SuiteError(f"{where}: a text holds half of a surrogate pair (\\ud800 to \\udfff)") from error
    except ValueError as error:  # JSONDecodeError, and a whole number of thousands of digits
        raise SuiteError(f"{where}: not valid JSON ({first_line(error)})") from error
    return value


def read_object(file: Path, todo: str) -> dict[str, Any]:
    """The JSON object in a file that the suite wrote itself; empty where there is no file.

    Args:
        todo: what messages say is to be done about a damaged one.

    Raises:
        SuiteError: it is no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise SuiteError(f"{file}: damaged; {todo}") from error
    if not isinstance(found, dict):
        raise SuiteError(f"{file}: damaged; {todo}")
    return found


def read_yaml(path: Path, what: str) -> Any:
    """What a YAML file says.

    Args:
        what: how messages call the file, for example ``"configuration"``.

    Raises:
        SuiteError: a missing or unreadable file, or invalid YAML, with the line.
    """
    import yaml

    text = read_text(path, what, todo="name a readable YAML file")
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise SuiteError(f"{what} {path}: not valid YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2001-13-45, a number of 5,000 digits
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        reason = getattr(error, "problem", None) or first_line(error)
        raise SuiteError(f"{what} {path}: not valid YAML{line}: {reason}") from error


@contextlib.contextmanager
def replacing(path: Path, *, todo: str = "free some disk space or name another folder") -> Iterator[IO[bytes]]:
    """A file to write into that takes its place in one step: readers see the old content or the new.

    Folders on the way are made. What has been written is on the disk before the name changes.

    Args:
        todo: what messages say is to be done about a disk that is full or a folder that cannot be written.

    Raises:
        SuiteError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        raise SuiteError(f"cannot write {path}: {error.strerror or error}; {todo}") from error
    finally:
        # the folder itself may be what is wrong: read-only, or no folder
        with contextlib.suppress(OSError):
            partial.unlink()


def write_file(path: Path, content: bytes | str, *, todo: str = "free some disk space or name another folder") -> None:
    """Write a file as a whole (see `replacing`); text as UTF-8.

    Raises:
        SuiteError: the disk is full or the folder cannot be written.
    """
    with replacing(path, todo=todo) as handle:
        handle.write(content.encode() if isinstance(content, str) else content)


def check_output(path: Path) -> None:
    """Say before an hour of work that its result could not be written."""
    if path.is_dir():
        raise SuiteError(f"output {path}: is a folder; name a file such as cell.parquet")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise SuiteError(f"output {path}: {folder} is not a folder; name another one")
    if not os.access(folder, os.W_OK):
        raise SuiteError(f"output {path}: {folder} cannot be written; name another folder")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as ``sha256:<hex>``."""
    with path.open("rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()
