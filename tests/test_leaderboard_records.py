"""rows.csv and rows.parquet: the rows come back, to six significant digits, and nothing in them runs."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.highlights import highlights
from support.synthetic_cells import synthetic_cells, synthetic_rows
from support.written_tables import write_tables

from suite.metrics.figures import ROW_KEYS

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def computed() -> Rows:
    cells = synthetic_cells(variants=("dense", "rtn-w4", "rtn-w2"), tasks={"sciq": 4, "boolq": 2}, n=60)
    return synthetic_rows(cells, replicates=20)  # type: ignore[return-value]


def written(rows: Rows, out: Path) -> tuple[list[str], list[dict[str, str]], pa.Table]:
    write_tables(rows, out)
    with (out / "rows.csv").open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        lines = list(reader)
        header = list(reader.fieldnames or [])
    return header, lines, pq.read_table(out / "rows.parquet")


def a_row(**values: object) -> dict[str, Any]:
    return {"model": "m", "variant": "dense", "task": "t", "scoring": "letter", "prompt": "p", "shots": 0, **values}


def test_csv_comes_back(tmp_path: Path, computed: Rows) -> None:
    header, lines, _ = written(computed, tmp_path)
    assert header == list(ROW_KEYS)
    by_cell = {(row["variant"], row["task"]): row for row in computed}
    assert len(lines) == len(computed) == 6
    seen_number = seen_none = 0
    for line in lines:
        row = by_cell[line["variant"], line["task"]]
        assert line["flags"] == ";".join(row["flags"])
        assert json.loads(line["notes"]) == row["notes"]
        for key in ROW_KEYS:
            value = row[key]
            if value is None:
                assert line[key] == ""
                seen_none += 1
            elif isinstance(value, float):
                assert math.isclose(float(line[key]), value, rel_tol=5e-6, abs_tol=0)
                assert float(line[key]) == float(f"{value:.6g}")
                seen_number += 1
            elif key not in ("flags", "notes"):
                assert line[key] == str(value)
    assert seen_number > 100
    assert seen_none > 10


def test_parquet_holds_what_the_csv_holds_with_types(tmp_path: Path, computed: Rows) -> None:
    header, lines, table = written(computed, tmp_path)
    assert table.column_names == header
    types = {field.name: field.type for field in table.schema}
    assert types["model"] == types["notes"] == pa.string()
    assert types["n"] == types["shots"] == types["n_paired"] == pa.int64()
    assert types["accuracy"] == types["accuracy_change"] == types["flips_to_wrong"] == pa.float64()
    assert types["flags"] == pa.list_(pa.string())
    for line, row in zip(lines, table.to_pylist(), strict=True):
        for key, value in row.items():
            if value is None:
                assert line[key] == ""
            elif isinstance(value, float | int):
                assert float(line[key]) == value
            elif isinstance(value, list):
                assert line[key] == ";".join(value)
            else:
                assert line[key] == value


def test_a_column_without_any_value_keeps_its_type(tmp_path: Path) -> None:
    _, _, table = written([a_row(accuracy=None, n_paired=None, family=None, flags=None)], tmp_path)
    types = {field.name: field.type for field in table.schema}
    assert types["accuracy"] == pa.float64()
    assert types["n_paired"] == pa.int64()
    assert types["family"] == pa.string()
    assert types["flags"] == pa.list_(pa.string())


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_is_made_harmless(tmp_path: Path, name: str) -> None:
    row = a_row(model=name, flags=[name], **{name: name})
    header, lines, _ = written([row], tmp_path)
    assert lines[0]["model"] == lines[0]["flags"] == f"'{name}"
    assert f"'{name}" in header


@pytest.mark.parametrize("name", ["-1", "+2.5", "-1e-3", "plain", "a,b", 'say "x"', "two\nlines", "naïve–名", "'x"])
def test_other_text_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    _, lines, table = written([a_row(model=name)], tmp_path)
    assert lines[0]["model"] == name
    assert table["model"].to_pylist() == [name]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333"),
        (1.23456789e-12, "1.23457e-12"),
        (123456789.0, "123457000.0"),
        (-0.25, "-0.25"),
        (-0.0, "0.0"),
        (1.0, "1.0"),
        (7, "7"),
        (123456789, "123456789"),
        (True, "true"),
        (math.nan, ""),
        (math.inf, ""),
        (None, ""),
    ],
)
def test_numbers_as_text(tmp_path: Path, value: object, text: str) -> None:
    _, lines, _ = written([a_row(x=value)], tmp_path)
    assert lines[0]["x"] == text


def test_the_last_bits_of_a_sum_change_no_byte(tmp_path: Path, computed: Rows) -> None:
    write_tables(computed, tmp_path / "a")
    shaken = [{k: v * (1 + 1e-13) if isinstance(v, float) else v for k, v in row.items()} for row in computed]
    assert shaken != computed
    write_tables(shaken, tmp_path / "b")
    for name in ("rows.csv", "rows.parquet", "LEADERBOARD.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_everything_can_be_made_again_from_the_published_rows(tmp_path: Path, computed: Rows) -> None:
    """Were the page made from more digits than the files hold, a figure near a rounding edge would differ."""
    computed = [dict(row) for row in computed]
    for row in computed:
        row["accuracy"] = 0.33749999999  # the mean is 0.337 from these digits, 0.338 from the published ones
    write_tables(computed, tmp_path / "a")
    stored = pq.read_table(tmp_path / "a" / "rows.parquet").to_pylist()
    again = [{**row, "notes": json.loads(row["notes"])} for row in stored]
    write_tables(again, tmp_path / "b")
    for name in ("rows.csv", "rows.parquet", "LEADERBOARD.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert highlights(again) == highlights(computed)


def test_rounding_twice_changes_nothing(tmp_path: Path) -> None:
    random.seed(1)
    values = [random.uniform(-1, 1) * 10 ** random.randint(-9, 9) for _ in range(2000)]
    _, lines, _ = written([a_row(task=f"{i:04}", x=value) for i, value in enumerate(values)][:1], tmp_path)
    from suite.publish.numerals import significant

    assert float(lines[0]["x"]) == significant(values[0])
    assert [significant(significant(value)) for value in values] == [significant(value) for value in values]


def test_a_key_that_only_a_later_row_has_gets_a_column_at_the_end(tmp_path: Path) -> None:
    header, lines, _ = written([a_row(task="a", first=1.0), a_row(task="b", first=2.0, more="x")], tmp_path)
    assert header[-2:] == ["first", "more"]
    assert [line["more"] for line in lines] == ["", "x"]


def test_no_rows_give_files_without_columns(tmp_path: Path) -> None:
    header, lines, table = written([], tmp_path)
    assert header == lines == table.column_names == []


def test_text_that_is_no_unicode_does_not_stop_the_files(tmp_path: Path) -> None:
    _, lines, table = written([a_row(model="bad \ud800 name")], tmp_path)
    assert lines[0]["model"] == "bad ? name"
    assert table["model"].to_pylist() == ["bad ? name"]
