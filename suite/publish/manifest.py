"""manifest.json of a snapshot: where its numbers come from, and a checksum of every file, itself included.

Everything but `suite` and `formulas` follows from the other files of the snapshot: a verifier can make it again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

import suite
from suite.cell import Cell
from suite.config import Protocol, RunConfig
from suite.errors import SuiteError
from suite.files import file_digest, read_object
from suite.sample_text import recorded

NAME = "manifest.json"
SCHEMA_VERSION = 1
_MODEL_KEYS = (
    *("name", "id", "source", "revision", "weights_hash", "config_hash", "tokenizer_hash", "chat_template_hash"),
    *("params", "architecture", "parent_quantization"),
)
_TASK_KEYS = ("name", "revision", "kind", "licence", "scoring", "prompt", "shots", "prompt_hash")


class Manifest(BaseModel):
    """What a manifest may hold: older ones lack some of these keys, and newer ones have others."""

    model_config = ConfigDict(extra="allow", strict=True)

    schema_version: Literal[1]
    files: dict[str, str]
    checksum: str | None = None
    formulas: dict[str, dict[str, Annotated[StrictInt, Field(ge=1)]]] = {}
    suite: dict[str, StrictStr | bool | None] = {}
    configuration: str | None = None
    protocol: Protocol | None = None
    models: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    variants: list[dict[str, Any]] = []
    sample_texts: list[str] = []
    library_versions: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    seeds: dict[str, Any] = {}
    cells: int = 0


def describe(
    cells: Sequence[Cell], *, protocol: Protocol, config: RunConfig | None, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything a manifest says that follows from cells, configuration and environment.

    Returns:
        `configuration` (hash, null where cells were imported), `protocol`, `models`, `tasks` (with a hash of the
        items), `variants` (recipe), `sample_texts` (name, hash and amount of what data-driven methods read),
        `library_versions`, `hardware`, `seeds` (of folds and bootstrap, and of cells: their sample text's), `cells`.
    """
    return {
        "configuration": None if config is None else config.hash,
        "protocol": asdict(protocol),
        "models": distinct({key: cell.model.get(key) for key in _MODEL_KEYS} for cell in cells),
        "tasks": distinct(
            {key: cell.task.get(key) for key in _TASK_KEYS} | {"items": len(cell), "items_hash": items_hash(cell)}
            for cell in cells
        ),
        "variants": distinct(_variant(cell) for cell in cells),
        "library_versions": {
            "cells": distinct(cell.run.get("versions") or {} for cell in cells),
            "tables": environment.get("versions"),
        },
        "hardware": {
            "devices": sorted({str(cell.run.get("device") or "unknown") for cell in cells}),
            "dtypes": sorted({str(cell.run.get("dtype") or "unknown") for cell in cells}),
            "machine": environment.get("machine"),
            "cores": environment.get("cores"),
            "python": environment.get("python"),
        },
        "sample_texts": sorted({drawn.text for cell in cells if (drawn := recorded(_recipe(cell)))}),
        "seeds": {
            "protocol": protocol.seed,
            "cells": sorted({seed for cell in cells if (seed := cell.sample_seed) is not None}),
        },
        "cells": len(cells),
    }


def items_hash(cell: Cell) -> str:
    """SHA-256 over ids, right answers, option counts and groups, in the order of the ids."""
    lines = sorted(zip(cell.ids, cell.answers.tolist(), cell.n_options.tolist(), cell.units, strict=True))
    return bytes_digest(json.dumps(lines).encode("utf-8"))


def distinct(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each record once, in a fixed order."""
    found = {json.dumps(dict(record), sort_keys=True, default=str): dict(record) for record in records}
    return [json.loads(text) for text in sorted(found)]


def manifest_bytes(
    description: Mapping[str, Any],
    checksums: Mapping[str, str],
    origin: Mapping[str, Any],
    formulas: Mapping[str, Mapping[str, int]],
) -> bytes:
    """The text of manifest.json.

    Args:
        description: from `describe`.
        checksums: SHA-256 of every other file of the snapshot by its path.
        origin: from `code_origin`.
        formulas: from `suite.publish.formulas.numbers`.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        **description,
        "formulas": formulas,
        "suite": dict(origin),
        "files": dict(sorted(checksums.items())),
    }
    return _canonical(content | {"checksum": bytes_digest(_canonical(content))})


def read_manifest(folder: str | Path) -> tuple[dict[str, Any], list[str]]:
    """A manifest and what is wrong with it: text that nobody wrote like this, a checksum that differs, damaged values.

    Returns:
        The content as it stands, empty where keys cannot be read (`Manifest`), and one line a fault.

    Raises:
        SuiteError: no manifest, no JSON object, or a schema version this suite does not know.
    """
    folder = Path(folder)
    file = folder / NAME
    if not folder.is_dir():
        raise SuiteError(f"{folder}: no such folder; name a snapshot, such as results/embedded")
    if not file.is_file():
        raise SuiteError(f"{folder}: no {NAME}, so no snapshot; 'suite leaderboard RUN_DIR --out DIR' writes one")
    raw = file.read_bytes()
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return {}, [f"{NAME}: not valid JSON"]
    wrong = _wrong_keys(content)
    if wrong & {"", "files"}:
        return {}, [f"{NAME}: not a manifest"]
    if "schema_version" in wrong:
        version = content.get("schema_version")
        readable = content if wrong == {"schema_version"} else {}
        return readable, [f"{NAME}: schema version {version!r}, this suite reads {SCHEMA_VERSION}"]
    if wrong:
        said = {"formulas": "formula numbers are", "protocol": "protocol is"}
        return {}, [f"{NAME}: its {said.get(key, f'{key!r} is')} damaged" for key in sorted(wrong)]
    body = {key: value for key, value in content.items() if key != "checksum"}
    try:
        if content.get("checksum") != bytes_digest(_canonical(body)):
            return content, [f"{NAME}: its contents and its own checksum differ, it was edited"]
        if raw != _canonical(content):
            return content, [f"{NAME}: not as it was written (blanks, order or signs differ)"]
    except UnicodeEncodeError:
        return content, [f"{NAME}: holds text that is not UTF-8"]
    return content, []


def _wrong_keys(content: object) -> set[str]:
    """The keys whose values are none; an empty one where there are no keys."""
    try:
        Manifest.model_validate(content)
    except ValidationError as error:
        return {str(one["loc"][0]) if one["loc"] else "" for one in error.errors()}
    except SuiteError:  # what a protocol says of its own values
        return {"protocol"}
    return set()


def read_environment(folder: Path) -> dict[str, Any]:
    """environment.json, empty where there is none.

    Raises:
        SuiteError: it is no JSON object.
    """
    return read_object(folder / "environment.json", "remove it, the cells are kept")


def code_origin() -> dict[str, Any]:
    """Version, hash and git commit of the code that makes the tables; `changed` where it differs from that commit.

    The commit is null where the code does not come from a clone of its own.
    """
    root = Path(suite.__file__).resolve().parent.parent
    origin: dict[str, Any] = {
        "version": suite.__version__,
        "code": code_hash(),
        "git_commit": None,
        "changed": None,
    }
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root:
        return origin
    status = _git(root, "status", "--porcelain", "--", "suite", "tasks")
    return origin | {"git_commit": _git(root, "rev-parse", "HEAD"), "changed": bool(status)}


def code_hash() -> str:
    """SHA-256 over the files of this package and their names, but for tasks, which no page depends on.

    Equal code, installed or in a clone, has one hash.
    """
    package, digest = Path(suite.__file__).resolve().parent, hashlib.sha256()
    for file in sorted(package.rglob("*")):
        name = file.relative_to(package)
        if name.parts[0] == "tasks" or any(part.startswith((".", "__pycache__")) for part in name.parts):
            continue
        if file.is_file():
            digest.update(f"{name.as_posix()}\0{file_digest(file)}\n".encode())
    return "sha256:" + digest.hexdigest()


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _variant(cell: Cell) -> dict[str, Any]:
    return {key: cell.variant.get(key) for key in ("name", "method", "family", "recipe")}


def _recipe(cell: Cell) -> str:
    return str(cell.variant.get("recipe") or "")


def _canonical(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def bytes_digest(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
