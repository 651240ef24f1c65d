"""Scores from a Parquet file of anybody: one row an item, columns named by the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cell import KINDS, Cell
from suite.errors import SuiteError, first_line, unknown_name
from suite.importers.labels import Columns, Items, Labels, check_answer, check_id, check_scores, imported_cell

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 8
"""Values of a column that an error lists."""


def read(src: Path, labels: Labels) -> list[Cell]:
    """One cell from the rows that `Columns.where` leaves.

    Scores are one column of lists of numbers, or one column an option; in the latter, an item with fewer options has
    nothing in its last ones. Without ``--prompt`` and ``--shots`` the cell says prompt ``base`` and 0 shots.

    Raises:
        SuiteError: no Parquet file, a column that is not there or of another type, no row left, or a row that is no
            item.
    """
    labels.one_model(f"{src}: a Parquet file")
    columns = labels.columns
    if columns is None:
        raise SuiteError(
            "parquet: say which columns hold what: --id COLUMN --answer COLUMN --scores COLUMN --kind KIND"
        )
    if columns.kind not in KINDS:
        raise unknown_name("kind of scores", columns.kind, KINDS)
    style = (labels.cloze(str(src), columns.kind), labels.prompt or "base", labels.shots or 0)
    rows = _Rows(src, _table(src, columns))
    ids = _ids(rows, columns.id)
    scores = _scores(rows, columns)
    return [
        imported_cell(
            labels,
            Items(
                ids=ids,
                answers=[
                    check_answer(value, len(one), rows.at(columns.answer, row))
                    for row, (value, one) in enumerate(zip(rows.of(columns.answer), scores, strict=True))
                ],
                scores=scores,
                kind=columns.kind,
                subjects=_texts(rows, columns.subject),
                groups=_texts(rows, columns.group),
            ),
            src=src,
            style=style,
        )
    ]


@dataclass(frozen=True)
class _Rows:
    src: Path
    table: pa.Table

    def of(self, column: str) -> list[Any]:
        values: list[Any] = self.table.column(column).to_pylist()
        return values

    def at(self, column: str, row: int) -> str:
        """Where a value stands, for messages; rows are counted from 1 among those that are left."""
        return f"{self.src}: column {column!r}, row {row + 1}"


def _table(src: Path, columns: Columns) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if src.is_dir():
        raise SuiteError(f"{src}: is a folder; name one Parquet file")
    try:
        file = pq.ParquetFile(src)
        names = file.schema_arrow.names
        wanted = [columns.id, columns.answer, *columns.scores, columns.subject, columns.group, *columns.where]
        for name in wanted:
            if name is not None and names.count(name) != 1:
                if name in names:
                    raise SuiteError(f"{src}: column {name!r} stands in it {names.count(name)} times")
                raise unknown_name(f"column of {src.name}", name, names)
        table = file.read(columns=list(dict.fromkeys(name for name in wanted if name is not None)))
    except (pa.ArrowException, OSError) as error:
        raise SuiteError(f"{src}: not a readable Parquet file ({first_line(error)})") from error
    for column, value in columns.where.items():
        try:
            texts = pc.cast(table.column(column), pa.string())
        except pa.ArrowException as error:
            raise SuiteError(f"--where {column}={value}: column {column!r} holds no single values") from error
        kept = table.filter(pc.fill_null(pc.equal(texts, value), False))
        if not kept.num_rows:
            found = sorted(str(one) for one in set(texts.to_pylist()))
            more = f" and {len(found) - SHOWN} others" if len(found) > SHOWN else ""
            raise SuiteError(f"--where {column}={value}: no row of {src}; there are {', '.join(found[:SHOWN])}{more}")
        table = kept
    if not table.num_rows:
        raise SuiteError(f"{src}: no rows in it")
    return table


def _ids(rows: _Rows, column: str) -> list[str]:
    found: dict[str, int] = {}
    for row, value in enumerate(rows.of(column)):
        name = check_id(value, rows.at(column, row))
        if name in found:
            raise SuiteError(
                f"{rows.at(column, row)}: duplicate id {name!r}, first in row {found[name] + 1}; where the "
                "file holds several models, variants or tasks, pick one with --where COLUMN=VALUE"
            )
        found[name] = row
    return list(found)


def _scores(rows: _Rows, columns: Columns) -> list[list[float]]:
    if len(columns.scores) == 1:
        (name,) = columns.scores
        lists: Sequence[Any] = rows.of(name)
        if any(not isinstance(one, list) for one in lists):
            row = next(row for row, one in enumerate(lists) if not isinstance(one, list))
            raise SuiteError(
                f"{rows.at(name, row)}: a list of numbers, one an option, is needed; name one column an option where "
                "each has its own"
            )
    else:
        name = columns.scores[0]
        lists = [_cut(list(values)) for values in zip(*map(rows.of, columns.scores), strict=True)]
    return [check_scores(values, columns.kind, rows.at(name, row)) for row, values in enumerate(lists)]


def _cut(values: list[Any]) -> list[Any]:
    """Without what is missing at the end."""
    while values and values[-1] is None:
        values.pop()
    return values


def _texts(rows: _Rows, column: str | None) -> list[str | None] | None:
    if column is None:
        return None
    values = rows.of(column)
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str | int):
            raise SuiteError(f"{rows.at(column, row)}: text is needed")
    return [None if value in (None, "") else str(value) for value in values]
