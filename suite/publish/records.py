"""Rows as files for programs: CSV for spreadsheets and diffs, Parquet with types. Both hold the same values.

Numbers come rounded to 6 significant digits (`suite.publish.numerals.rounded`), so that the last bits of a
floating-point sum, which differ between processors, change neither file. What is missing is an empty field in CSV and
null in Parquet.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from suite.publish.fields import Fields

TEXT_KEYS = frozenset(
    {"model", "variant", "family", "method", "task", "scoring", "prompt", "protocol", "kind", "notes"}
)
COUNT_KEYS = frozenset({"shots", "n", "n_evaluated", "n_paired"})
# A spreadsheet takes a cell that starts with one of these for a formula and would run it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def columns(rows: Sequence[Fields]) -> list[str]:
    """Every key once: those of the first row in its order, then keys that only later rows have."""
    return list(dict.fromkeys(key for row in rows for key in row))


def csv_bytes(rows: Sequence[Fields]) -> bytes:
    """Rows, rounded, as CSV: UTF-8, comma, one header line, ``\\n`` line ends.

    Flags are joined by ``;``, notes are JSON text. Text that a spreadsheet would run as a formula gets a leading
    apostrophe.
    """
    keys = columns(rows)
    lines = [[_field(row.get(key)) for key in keys] for row in rows]
    header = [[_harmless(key) for key in keys]] if keys else []
    return fields_bytes([*header, *lines])


def fields_bytes(lines: Iterable[Iterable[str]]) -> bytes:
    """Fields that are text already as CSV, in the one way in which it is published."""
    text = "".join(",".join(map(_quoted, line)) + "\n" for line in lines)
    return text.encode("utf-8", errors="replace")


def parquet_bytes(rows: Sequence[Fields]) -> bytes:
    """Rows, rounded, as Parquet: the columns of the CSV in its order, typed.

    Names are strings, counts int64, flags list<string>, notes JSON text, everything else float64 unless the column
    holds text or truth values only.
    """
    arrays = {key: _array(key, [row.get(key) for row in rows]) for key in columns(rows)}
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    return sink.getvalue()


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return _harmless(";".join(str(part) for part in value))
    return _harmless(_json(value) if isinstance(value, Mapping) else str(value))


def _quoted(value: str) -> str:
    # The csv module of Python 3.11 leaves a lone carriage return bare, which readers take for the end of the line.
    return '"' + value.replace('"', '""') + '"' if any(sign in value for sign in ',"\r\n') else value


def _harmless(value: str) -> str:
    if not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _array(key: str, values: Sequence[object]) -> pa.Array:
    known = [value for value in values if value is not None]
    if key == "flags":
        return pa.array([None if value is None else _words(value) for value in values], pa.list_(pa.string()))
    if key in TEXT_KEYS or any(not isinstance(value, bool | int | float) for value in known):
        return pa.array([None if value is None else _plain(value) for value in values], pa.string())
    if known and all(isinstance(value, bool) for value in known):
        return pa.array(values, pa.bool_())
    if key in COUNT_KEYS and all(isinstance(value, int) for value in known):
        return pa.array(values, pa.int64())
    return pa.array([_float(value) for value in values], pa.float64())


def _words(value: object) -> list[str]:
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else [_plain(value)]


def _plain(value: object) -> str:
    shown = _json(value) if isinstance(value, Mapping | list | tuple) else str(value)
    return shown.encode("utf-8", errors="replace").decode("utf-8")


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, bool | int | float) else None
