"""A cell: the option logits of one model variant on one task, and the Parquet file that holds them.

This is the seam of the suite. Everything that runs a language model ends by writing cells; every statistic starts from
them. The module needs NumPy and PyArrow only.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from suite.errors import SuiteError, first_line
from suite.files import replacing
from suite.sample_text import recorded
from suite.variant import Variant, known_variant

SCHEMA_VERSION = 1
METADATA_KEY = b"suite"
KINDS = ("logits", "loglik", "probs")

_REQUIRED = {"model": ("name",), "variant": ("name",), "task": ("name", "scoring", "prompt", "shots"), "run": ()}


class CellKey(NamedTuple):
    """What a cell is of; no two cells of a run share it. Its order is that of results."""

    model: str
    task: str
    scoring: str
    prompt: str
    shots: int
    variant: str

    @property
    def curve(self) -> tuple[str, str, str, str, int]:
        """All but the variant: cells of one curve's model, task and style."""
        return self[:5]

    def path(self, run_dir: str | Path) -> Path:
        """Where a run directory keeps it: ``cells/<model>/<task>/<scoring>-<prompt>-<shots>/<variant>.parquet``."""
        folder = Path(run_dir) / "cells" / slug(self.model) / slug(self.task)
        return folder / slug(f"{self.scoring}-{self.prompt}-{self.shots}") / cell_file(self.variant)

    def __str__(self) -> str:
        return "/".join(map(str, self))


class Asked(Protocol):
    """One item as a model sees it: what comes before the answer, and each option as a continuation of it."""

    @property
    def context(self) -> str:
        """The text before the answer."""

    @property
    def continuations(self) -> Sequence[str]:
        """The options."""


def prompt_hash(items: Sequence[Asked]) -> str:
    """SHA-256 over the exact text of every item of a cell, in order, each text preceded by its length in bytes.

    The ``prompt_hash`` of a cell's task, scored here or imported.
    """
    digest = hashlib.sha256()
    for item in items:
        for text in (item.context, *item.continuations):
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
    return "sha256:" + digest.hexdigest()


def key_of(metadata: Mapping[str, Any]) -> CellKey:
    """The key of the cell that has this metadata (see `read_metadata`)."""
    task = metadata["task"]
    return CellKey(
        str(metadata["model"]["name"]),
        str(task["name"]),
        str(task["scoring"]),
        str(task["prompt"]),
        int(task["shots"]),
        str(metadata["variant"]["name"]),
    )


@dataclass(frozen=True)
class Cell:
    """Option scores of one (model, variant, task, scoring, prompt, shots).

    Attributes:
        ids: item ids, unique, in file order.
        answers: index of the correct option, shape [n].
        n_options: options of each item, shape [n].
        scores: what the model gave each option, float32, shape [n, max options]; entries beyond an item's own options
            are NaN and mean nothing.
        kind: what the scores are: ``logits`` (softmax gives option probabilities), ``loglik`` (log-likelihoods of
            option texts, whose softmax is a ranking device, not a probability the model claims) or ``probs``.
        model, variant, task, run: metadata as stored in the file (see docs/formats.md).
        subjects, slices, groups: per item, None where the file has no such column.
        path: where it was read from, for messages.
    """

    ids: tuple[str, ...]
    answers: NDArray[np.int64]
    n_options: NDArray[np.int64]
    scores: NDArray[np.float32]
    kind: str
    model: Mapping[str, Any]
    variant: Mapping[str, Any]
    task: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)
    subjects: tuple[str | None, ...] | None = None
    slices: tuple[tuple[str, ...], ...] | None = None
    groups: tuple[str | None, ...] | None = None
    path: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def where(self) -> str:
        """How messages name this cell."""
        return self.path or str(self.key)

    @cached_property
    def key(self) -> CellKey:
        """Model, task, scoring, prompt, shots and variant by name."""
        return key_of({"model": self.model, "task": self.task, "variant": self.variant})

    @property
    def curve_key(self) -> tuple[str, str, str, str, int]:
        """(model, task, scoring, prompt, shots): cells with the same key differ in their variant alone."""
        return self.key.curve

    @cached_property
    def parsed(self) -> Variant | None:
        """What its variant's name says (`suite.variant.known_variant`)."""
        return known_variant(self.key.variant)

    @property
    def is_dense(self) -> bool:
        """Whether it is what the other cells of its curve are compared with; repetitions of dense are not."""
        return self.key.variant == "dense"

    @property
    def sample_seed(self) -> int | None:
        """Seed of the sample text that its variant was made with; None where nobody said."""
        said = self.run.get("seed")
        if not isinstance(said, int):
            # cells from before this field say it at the end of their recipe
            drawn = recorded(str(self.variant.get("recipe") or ""))
            said = drawn.seed if drawn else None
        return said

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which entries of `scores` are real options, shape [n, max options]."""
        return np.arange(self.scores.shape[1])[None, :] < self.n_options[:, None]

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of replication of each item: its group where it has one, else its id."""
        if self.groups is None:
            return self.ids
        return tuple(group if group is not None else item for group, item in zip(self.groups, self.ids, strict=True))

    def log_probabilities(self) -> NDArray[np.float64]:
        """Log of the option probabilities, float64, shape [n, max options].

        Logits and log-likelihoods go through a softmax over the item's own options; probabilities are divided by their
        sum. A zero probability, and every entry beyond an item's own options, is -inf.
        """
        raw = np.where(self.valid, self.scores, np.nan).astype(np.float64)
        if self.kind == "probs":
            with np.errstate(divide="ignore"):
                raw = np.log(raw)
        raw = np.where(self.valid, raw, -np.inf)
        shifted = raw - raw.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def make_cell(
    *,
    ids: Sequence[str | int],
    answers: Sequence[int],
    scores: Sequence[Sequence[float]],
    kind: str,
    model: Mapping[str, Any],
    variant: Mapping[str, Any],
    task: Mapping[str, Any],
    run: Mapping[str, Any] | None = None,
    subjects: Sequence[str | int | None] | None = None,
    slices: Sequence[Sequence[str | int]] | None = None,
    groups: Sequence[str | int | None] | None = None,
    path: str | Path = "",
) -> Cell:
    """Build and check a cell. The one place where a cell is made.

    Args:
        ids, subjects, slices, groups: text or whole numbers, which become text.
        scores: one sequence an item, as long as that item has options.

    Raises:
        SuiteError: a missing metadata key, duplicate ids, an id that is neither text nor a whole number, an answer
            that is no whole number or out of range, fewer than two options, lengths that differ, or a score that is
            not a number (which zero-probability options are: -inf is legal, NaN is not).
    """
    path = str(path)
    where = path or f"cell {model.get('name')}/{task.get('name')}/{variant.get('name')}"
    if kind not in KINDS:
        raise SuiteError(f"{where}: kind {kind!r} is not one of {', '.join(KINDS)}")
    sections = {"model": model, "variant": variant, "task": task, "run": run or {}}
    for section, keys in _REQUIRED.items():
        if not isinstance(sections[section], Mapping):
            raise SuiteError(f"{where}: metadata section {section!r} is not an object; write the cell again")
        for key in keys:
            if sections[section].get(key) is None:
                raise SuiteError(f"{where}: metadata has no {section}.{key}; write the cell again")
    shots = task["shots"]
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 0:
        raise SuiteError(f"{where}: task.shots is {shots!r}, a whole number of 0 or more is needed")
    columns: dict[str, Sequence[Any] | None] = {
        "answers": answers,
        "scores": scores,
        "subjects": subjects,
        "slices": slices,
        "groups": groups,
    }
    for name, column in columns.items():
        if column is not None and len(column) != len(ids):
            raise SuiteError(f"{where}: {len(ids)} ids but {len(column)} {name}")
    if len(ids) == 0:
        raise SuiteError(f"{where}: no items")
    names = tuple(_named(item, "an id", where) for item in ids)
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise SuiteError(f"{where}: duplicate id {twice!r}")
    n_options = np.array([len(row) for row in scores], dtype=np.int64)
    if n_options.min() < 2:
        raise SuiteError(f"{where}: item {names[int(n_options.argmin())]!r} has fewer than two options")
    matrix = np.full((len(names), int(n_options.max())), np.nan, dtype=np.float32)
    for index, row in enumerate(scores):
        matrix[index, : len(row)] = row
    for answer in answers:
        if isinstance(answer, bool | np.bool_ | str) or answer != int(answer):
            raise SuiteError(f"{where}: answer {answer!r}: a whole number is needed, 0 for the first option")
    try:
        answer_array = np.asarray(answers, dtype=np.int64)
    except OverflowError as error:
        raise SuiteError(f"{where}: answer {max(answers, key=abs)} is outside its item's options (0-based)") from error
    _check_items(where, names, answer_array, n_options, matrix, kind)
    return Cell(
        ids=names,
        answers=answer_array,
        n_options=n_options,
        scores=matrix,
        kind=kind,
        model=dict(model),
        variant=dict(variant),
        task=dict(task),
        run=dict(run or {}),
        subjects=_named_or_none(subjects, "a subject", where),
        slices=None
        if slices is None
        else tuple(tuple(_named(name, "a slice", where) for name in several) for several in slices),
        groups=_named_or_none(groups, "a group", where),
        path=path,
    )


def _named(value: object, what: str, where: str) -> str:
    """Text as it is, a whole number as text."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    raise SuiteError(f"{where}: {what} is {value!r}; text or a whole number is needed")


def _named_or_none(values: Sequence[str | int | None] | None, what: str, where: str) -> tuple[str | None, ...] | None:
    if values is None:
        return None
    return tuple(None if value is None else _named(value, what, where) for value in values)


def write_cell(path: str | Path, cell: Cell) -> None:
    """Write a cell atomically: the file is complete or absent, whatever interrupts the writing.

    Raises:
        SuiteError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    rows = [row[:count] for row, count in zip(cell.scores, cell.n_options, strict=True)]
    columns: dict[str, pa.Array] = {
        "id": pa.array(cell.ids, pa.string()),
        "answer": pa.array(cell.answers, pa.int32()),
        "logits": pa.array(rows, pa.list_(pa.float32())),
    }
    if cell.subjects is not None:
        columns["subject"] = pa.array(cell.subjects, pa.string())
    if cell.slices is not None:
        columns["slice"] = pa.array(cell.slices, pa.list_(pa.string()))
    if cell.groups is not None:
        columns["group"] = pa.array(cell.groups, pa.string())
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "kind": cell.kind,
        "model": cell.model,
        "variant": cell.variant,
        "task": cell.task,
        "run": cell.run,
    }
    table = pa.table(columns)
    signed = metadata | {"checksum": _checksum(metadata, table.to_pydict())}
    text = json.dumps(signed, sort_keys=True, ensure_ascii=False)
    # without Arrow's copy of the schema: it would hold the metadata a second time, half of a file of 400 items
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    with replacing(path) as handle, pq.ParquetWriter(handle, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({METADATA_KEY: text})


def read_cell(path: str | Path) -> Cell:
    """Read and check a cell file.

    Raises:
        SuiteError: missing, truncated or foreign file, wrong column types, or contents that `make_cell` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise SuiteError(f"cell file {path}: not found")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        columns = table.column_names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    metadata = _metadata(path, table.schema)
    types = {"id": pa.types.is_string, "answer": pa.types.is_integer, "logits": _is_float_list}
    optional = {"subject": pa.types.is_string, "group": pa.types.is_string, "slice": _is_string_list}
    for name, check in {**types, **optional}.items():
        if name not in columns:
            if name in types:
                raise SuiteError(f"cell file {path}: no column {name!r}; a cell has id, answer and logits")
            continue
        if not check(table.schema.field(name).type):
            raise SuiteError(f"cell file {path}: column {name!r} has type {table.schema.field(name).type}")
        if name in types and table[name].null_count:
            raise SuiteError(f"cell file {path}: column {name!r} has empty entries")
    try:
        pydict = table.to_pydict()
    except ValueError as error:  # text that is not UTF-8
        raise _unreadable(path, error) from error
    # page checksums do not cover the file's own description of its columns, nor the metadata
    if metadata.pop("checksum", None) not in (None, _checksum(metadata, pydict)):
        raise SuiteError(f"cell file {path}: contents and checksum differ, it was damaged or edited; score it again")
    if any(chunk.flatten().null_count for chunk in table["logits"].chunks):
        raise SuiteError(f"cell file {path}: column 'logits' has empty entries")
    return make_cell(
        ids=pydict["id"],
        answers=pydict["answer"],
        scores=pydict["logits"],
        kind=metadata["kind"],
        model=metadata["model"],
        variant=metadata["variant"],
        task=metadata["task"],
        run=metadata["run"],
        subjects=pydict.get("subject"),
        slices=None if "slice" not in pydict else [names or () for names in pydict["slice"]],
        groups=pydict.get("group"),
        path=str(path),
    )


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a cell file alone, without reading its items.

    Raises:
        SuiteError: as `read_cell`.
    """
    path = Path(path)
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return _metadata(path, schema)


def _unreadable(path: Path, error: Exception) -> SuiteError:
    return SuiteError(f"cell file {path}: not a readable Parquet file ({first_line(error)}); score it again")


def _checksum(metadata: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
    """SHA-256 over everything a cell file says: its metadata and every column."""
    text = json.dumps([metadata, columns], sort_keys=True, default=repr)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _metadata(path: Path, schema: pa.Schema) -> dict[str, Any]:
    raw = (schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise SuiteError(f"cell file {path}: Parquet, but not a cell of this suite (no metadata); use 'suite import'")
    try:
        metadata = json.loads(raw)
    except ValueError as error:
        raise SuiteError(f"cell file {path}: metadata is not valid JSON; score it again") from error
    if not isinstance(metadata, dict):
        raise SuiteError(f"cell file {path}: metadata is not an object; score it again")
    version = metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SuiteError(f"cell file {path}: schema version {version!r}, this suite reads {SCHEMA_VERSION}")
    for key in ("kind", "model", "variant", "task", "run"):
        if key not in metadata:
            raise SuiteError(f"cell file {path}: metadata has no {key!r}; score it again")
    return metadata


def _check_items(
    where: str,
    ids: Sequence[str],
    answers: NDArray[np.int64],
    n_options: NDArray[np.int64],
    matrix: NDArray[np.float32],
    kind: str,
) -> None:
    outside = (answers < 0) | (answers >= n_options)
    if outside.any():
        index = int(outside.argmax())
        raise SuiteError(
            f"{where}: item {ids[index]!r}: answer {answers[index]} is outside its {n_options[index]} options (0-based)"
        )
    valid = np.arange(matrix.shape[1])[None, :] < n_options[:, None]
    bad = valid & (np.isnan(matrix) | np.isposinf(matrix))
    if kind == "probs":
        bad |= valid & ((matrix < 0) | np.isneginf(matrix))
    if bad.any():
        index = int(bad.any(axis=1).argmax())
        raise SuiteError(
            f"{where}: item {ids[index]!r}: {kind} {matrix[index, : n_options[index]].tolist()} are not usable"
        )
    empty = np.where(valid, matrix, -np.inf).max(axis=1)
    nothing = empty <= (0 if kind == "probs" else -np.inf)
    if nothing.any():
        index = int(nothing.argmax())
        raise SuiteError(f"{where}: item {ids[index]!r}: every option has probability zero")


def _is_float_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))


def _is_string_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


def cell_file(variant: str) -> str:
    """The file name of a variant's cell.

    >>> cell_file("wanda-2:4@seed1")
    'wanda-2of4@seed1.parquet'
    """
    return "@".join(map(slug, variant.replace(":", "of").split("@"))) + ".parquet"


def slug(name: str) -> str:
    """A name made safe as one path component on every system; different names may share a slug only by their signs."""
    return "".join(char if char.isalnum() or char in "._-+" else "_" for char in name).lstrip(".") or "_"


def file_key(path: str | Path) -> str:
    """What two paths have in common that some system takes for one: they differ in case, or in dots at an end, alone.

    >>> file_key("cells/Model./dense") == file_key("cells/model/dense")
    True
    """
    return "/".join(part.casefold().rstrip(".") for part in Path(path).parts)


def load_cells(paths: str | Path | Sequence[str | Path]) -> list[Cell]:
    """Read every cell named by one path or several: cell files, and folders of them (a run directory, a snapshot).

    Files whose name starts with a dot are unfinished and left alone.

    Returns:
        Cells ordered by (model, task, scoring, prompt, shots, variant), whatever the order of the paths.

    Raises:
        SuiteError: a path that does not exist, a folder without cells, or a file that `read_cell` refuses.
    """
    files: set[Path] = set()
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if path.is_dir():
            root = path / "cells" if (path / "cells").is_dir() else path
            found = [file for file in root.rglob("*.parquet") if not file.name.startswith(".")]
            if not found:
                raise SuiteError(f"{path}: no cells in it; name a run directory or cell files")
            files.update(found)
        elif path.is_file():
            files.add(path)
        else:
            raise SuiteError(f"{path}: not found; name a run directory or cell files")
    cells = [read_cell(file) for file in sorted(files)]
    return sorted(cells, key=lambda cell: cell.key)
