"""Cells: what goes in comes out, what is wrong is refused, what was damaged is noticed."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from support.disks import small_disk

from suite.cell import (
    KINDS,
    METADATA_KEY,
    Cell,
    CellKey,
    load_cells,
    make_cell,
    read_cell,
    read_metadata,
    slug,
    write_cell,
)
from suite.errors import SuiteError

STYLE = {"name": "quiz", "scoring": "cloze-sum", "prompt": "base", "shots": 0}


def build(**changes: Any) -> Cell:
    """A cell of three ragged items; keywords replace what `make_cell` is given."""
    given_here: dict[str, Any] = {
        "ids": ["a", "b", "c"],
        "answers": [0, 2, 1],
        "scores": [[1.0, -2.0], [0.5, 0.25, -np.inf], [-7.0, -8.0, -9.0, -10.0]],
        "kind": "loglik",
        "model": {"name": "m"},
        "variant": {"name": "dense"},
        "task": STYLE,
    }
    return make_cell(**(given_here | changes))


def same(left: Cell, right: Cell) -> bool:
    arrays = ("answers", "n_options", "scores")
    rest = ("ids", "kind", "model", "variant", "task", "run", "subjects", "slices", "groups")
    return all(np.array_equal(getattr(left, name), getattr(right, name), equal_nan=True) for name in arrays) and all(
        getattr(left, name) == getattr(right, name) for name in rest
    )


def one_line(error: SuiteError) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    return message


def refusal(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        read_cell(path)
    message = one_line(caught.value)
    assert path.name in message
    return message


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    kind = draw(st.sampled_from(KINDS))
    score = st.floats(0, 1, width=32) if kind == "probs" else FLOAT32 | st.just(float("-inf"))
    usable = (lambda row: max(row) > 0) if kind == "probs" else (lambda row: max(row) > -np.inf)
    rows = draw(st.lists(st.lists(score, min_size=2, max_size=6).filter(usable), min_size=1, max_size=6))
    n = len(rows)

    def column(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.lists(values, min_size=n, max_size=n))

    return make_cell(
        ids=draw(st.lists(TEXT, min_size=n, max_size=n, unique=True)),
        answers=[draw(st.integers(0, len(row) - 1)) for row in rows],
        scores=rows,
        kind=kind,
        model=draw(st.dictionaries(TEXT, JSON, max_size=2)) | {"name": draw(TEXT)},
        variant={"name": draw(st.sampled_from(["dense", "rtn-w4", "wanda-2:4"])), "no_op": False},
        task=STYLE | {"name": draw(TEXT), "shots": draw(st.integers(0, 9))},
        run=draw(st.dictionaries(TEXT, JSON, max_size=2)),
        subjects=column(st.none() | TEXT),
        slices=column(st.lists(TEXT, max_size=3)),
        groups=column(st.none() | TEXT),
    )


@settings(max_examples=80, deadline=None)
@given(cell=cells())
def test_a_cell_that_was_written_is_read_equal(tmp_path_factory: pytest.TempPathFactory, cell: Cell) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.parquet"
    write_cell(path, cell)
    again = read_cell(path)
    assert same(again, cell)
    assert again.path == str(path)
    assert len(again) == len(cell.ids)


@settings(max_examples=100, deadline=None)
@given(cell=cells())
def test_log_probabilities_equal_scipys(cell: Cell) -> None:
    log_probabilities = cell.log_probabilities()
    assert log_probabilities.dtype == np.float64
    for index, count in enumerate(cell.n_options):
        row = cell.scores[index, :count].astype(np.float64)
        with np.errstate(divide="ignore"):
            expected = log_softmax(np.log(row) if cell.kind == "probs" else row)
        np.testing.assert_allclose(log_probabilities[index, :count], expected, rtol=1e-12, atol=1e-12)
        assert (log_probabilities[index, count:] == -np.inf).all()
    np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1)


def test_probabilities_need_not_sum_to_one() -> None:
    cell = build(scores=[[0.2, 0.6], [0.1, 0.0, 0.1], [1, 1, 1, 1]], kind="probs")
    expected = [[0.25, 0.75, 0, 0], [0.5, 0, 0.5, 0], [0.25] * 4]
    np.testing.assert_allclose(np.exp(cell.log_probabilities()), expected, rtol=1e-6)


def test_large_scores_do_not_overflow() -> None:
    cell = build(ids=["a"], answers=[0], scores=[[3e38, 3e38, -3e38]], kind="logits")
    np.testing.assert_allclose(cell.log_probabilities()[0], [-np.log(2), -np.log(2), -6e38], rtol=0.2)
    assert cell.log_probabilities()[0, 0] == pytest.approx(-np.log(2))


def test_a_cell_is_read_by_name_key_and_unit() -> None:
    cell = build(groups=["g", None, "g"], task=STYLE | {"shots": 3})
    assert cell.curve_key == ("m", "quiz", "cloze-sum", "base", 3)
    assert cell.units == ("g", "b", "g")
    assert build().units == ("a", "b", "c")
    assert cell.where == "m/quiz/cloze-sum/base/3/dense"
    assert cell.valid.tolist() == [[True, True, False, False], [True, True, True, False], [True] * 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "scores"}, "kind 'scores' is not one of logits, loglik, probs"),
        ({"model": {}}, "metadata has no model.name"),
        ({"model": {"name": None}}, "metadata has no model.name"),
        ({"variant": {"method": "rtn"}}, "metadata has no variant.name"),
        ({"task": {"name": "quiz"}}, "metadata has no task.scoring"),
        ({"task": STYLE | {"shots": "many"}}, "task.shots is 'many'"),
        ({"task": STYLE | {"shots": True}}, "task.shots is True"),
        ({"task": STYLE | {"shots": -1}}, "task.shots is -1"),
        ({"ids": ["a", "b"]}, "2 ids but 3 answers"),
        ({"answers": [0]}, "3 ids but 1 answers"),
        ({"groups": ["g"]}, "3 ids but 1 groups"),
        ({"subjects": ["s"] * 4}, "3 ids but 4 subjects"),
        ({"slices": [[]]}, "3 ids but 1 slices"),
        ({"ids": ["a", "b", "a"]}, "duplicate id 'a'"),
        ({"ids": [], "answers": [], "scores": []}, "no items"),
        ({"scores": [[1.0, 2.0], [1.0], [1.0, 2.0]]}, "item 'b' has fewer than two options"),
        ({"answers": [0, 3, 1]}, "item 'b': answer 3 is outside its 3 options (0-based)"),
        ({"answers": [-1, 2, 1]}, "item 'a': answer -1 is outside its 2 options"),
        ({"answers": [2, 2, 1]}, "item 'a': answer 2 is outside its 2 options"),
        ({"scores": [[1, 2], [1, 2, 3], [np.nan, 2]]}, "item 'c': loglik [nan, 2.0] are not usable"),
        ({"scores": [[1, 2], [1, np.inf, 3], [1, 2]]}, "item 'b': loglik [1.0, inf, 3.0] are not usable"),
        ({"scores": [[1, 2], [1, 2, 3], [-np.inf, -np.inf]]}, "item 'c': every option has probability zero"),
        ({"kind": "probs", "scores": [[-0.1, 0.2], [1, 2, 3], [1, 2]]}, "item 'a': probs [-0."),
        ({"kind": "probs", "scores": [[1, -np.inf], [1, 2, 3], [1, 2]]}, "item 'a': probs [1.0, -inf]"),
        ({"kind": "probs", "scores": [[0, 0], [1, 2, 3], [1, 2]]}, "item 'a': every option has probability zero"),
    ],
)
def test_what_is_no_cell_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        build(**changes)
    assert message in str(caught.value)
    one_line(caught.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cell]:
    """A cell file with every column and dictionary-encoded, compressed pages."""
    generator = np.random.default_rng(0)
    cell = build(
        ids=[f"item-{index}" for index in range(12)],
        answers=[index % 3 for index in range(12)],
        scores=[generator.normal(size=3 + index % 3).tolist() for index in range(12)],
        subjects=[None if index % 5 else "s" for index in range(12)],
        slices=[["x"] * (index % 3) for index in range(12)],
        groups=[f"group-{index // 2}" for index in range(12)],
        run={"key": "abc", "seconds": 1.5},
    )
    path = tmp_path_factory.mktemp("cell") / "whole.parquet"
    write_cell(path, cell)
    return path, cell


def test_one_changed_bit_anywhere_never_gives_other_numbers(whole: tuple[Path, Cell], tmp_path: Path) -> None:
    source, cell = whole
    raw = source.read_bytes()
    path = tmp_path / "flipped.parquet"
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    positions = [*range(footer), *range(footer, len(raw), 5)]
    refused = 0
    for position in positions:
        flipped = bytearray(raw)
        flipped[position] ^= 1 << position * 5 % 8
        path.write_bytes(flipped)
        try:
            again = read_cell(path)
        except SuiteError as error:
            one_line(error)
            refused += 1
        else:
            assert same(again, cell), position
    # the rest is statistics and offsets that a reader of whole columns does not need
    assert refused > len(positions) / 2


def test_a_cut_file_is_refused(whole: tuple[Path, Cell], tmp_path: Path) -> None:
    raw = whole[0].read_bytes()
    path = tmp_path / "cut.parquet"
    for keep in [0, 1, 4, 12, *range(20, len(raw), 97), len(raw) - 1]:
        path.write_bytes(raw[:keep])
        assert "not a readable Parquet file" in refusal(path)
        assert "score it again" in refusal(path)


def rewrite(path: Path, columns: dict[str, pa.Array], **changes: Any) -> Path:
    """Write a cell file by hand; keywords replace metadata, None removes a key."""
    metadata: dict[str, Any] = {
        "schema_version": 1,
        "kind": "loglik",
        "model": {"name": "m"},
        "variant": {"name": "dense"},
        "task": STYLE,
        "run": {},
    }
    metadata = {key: value for key, value in (metadata | changes).items() if value is not None}
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    pq.write_table(table, path)
    return path


COLUMNS = {
    "id": pa.array(["a", "b"]),
    "answer": pa.array([0, 1], pa.int32()),
    "logits": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())),
}


def test_a_file_written_by_someone_else_is_read(tmp_path: Path) -> None:
    """No checksum, wider numbers, an extra column, an extra key: all of that is legal."""
    columns = COLUMNS | {
        "answer": pa.array([0, 1], pa.int64()),
        "logits": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64())),
        "slice": pa.array([None, ["x"]], pa.list_(pa.string())),
        "note": pa.array([b"\xff", b""]),
    }
    cell = read_cell(rewrite(tmp_path / "c.parquet", columns, more={"x": 1}))
    assert cell.ids == ("a", "b")
    assert cell.slices == ((), ("x",))
    assert cell.scores.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": None}, "no column 'id'"),
        ({"answer": None}, "no column 'answer'"),
        ({"logits": None}, "no column 'logits'"),
        ({"id": pa.array([1, 2])}, "column 'id' has type int64"),
        ({"id": pa.array(["a", None])}, "column 'id' has empty entries"),
        ({"answer": pa.array([0.0, 1.0])}, "column 'answer' has type double"),
        ({"answer": pa.array([0, None], pa.int32())}, "column 'answer' has empty entries"),
        ({"answer": pa.array([0, 2**64 - 1], pa.uint64())}, "answer 18446744073709551615 is outside"),
        ({"logits": pa.array([1.0, 2.0])}, "column 'logits' has type double"),
        ({"logits": pa.array([["x"], ["y"]])}, "column 'logits' has type list<"),
        ({"logits": pa.array([[1.0, 2.0], None], pa.list_(pa.float32()))}, "column 'logits' has empty entries"),
        ({"logits": pa.array([[1.0, 2.0], [None, 1.0]], pa.list_(pa.float32()))}, "column 'logits' has empty entries"),
        ({"subject": pa.array([1, 2])}, "column 'subject' has type int64"),
        ({"group": pa.array([1, 2])}, "column 'group' has type int64"),
        ({"slice": pa.array(["x", "y"])}, "column 'slice' has type string"),
    ],
)
def test_columns_that_are_none_of_a_cell(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    columns = {name: column for name, column in (COLUMNS | changes).items() if column is not None}
    assert message in refusal(rewrite(tmp_path / "c.parquet", columns))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2, this suite reads 1"),
        ({"schema_version": None}, "schema version None"),
        ({"kind": None}, "metadata has no 'kind'"),
        ({"kind": ["probs"]}, "is not one of logits, loglik, probs"),
        ({"model": None}, "metadata has no 'model'"),
        ({"model": "m"}, "metadata section 'model' is not an object"),
        ({"run": "fast"}, "metadata section 'run' is not an object"),
        ({"task": STYLE | {"shots": 1.5}}, "task.shots is 1.5"),
        ({"checksum": "sha256:0"}, "contents and checksum differ, it was damaged or edited; score it again"),
    ],
)
def test_metadata_that_is_none_of_a_cell(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(rewrite(tmp_path / "c.parquet", COLUMNS, **changes))


def test_a_foreign_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    assert "Parquet, but not a cell of this suite (no metadata); use 'suite import'" in refusal(path)
    for raw in (b"{", b"[]", b"\xff\xfe"):
        pq.write_table(pa.table(COLUMNS).replace_schema_metadata({METADATA_KEY: raw}), path)
        assert "metadata is not" in refusal(path)


def test_an_edited_number_is_noticed(whole: tuple[Path, Cell], tmp_path: Path) -> None:
    """Every byte is right, and yet these are not the numbers that were scored."""
    table = pq.read_table(whole[0])
    answers = table["answer"].to_pylist()
    edited = table.set_column(table.column_names.index("answer"), "answer", pa.array([1, *answers[1:]], pa.int32()))
    path = tmp_path / "edited.parquet"
    pq.write_table(edited, path)
    assert "damaged or edited" in refusal(path)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    metadata["variant"]["name"] = "rtn-w4"
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()}), path)
    assert "damaged or edited" in refusal(path)


def test_metadata_alone_is_read_without_the_items(whole: tuple[Path, Cell], tmp_path: Path) -> None:
    metadata = read_metadata(whole[0])
    assert metadata["run"] == {"key": "abc", "seconds": 1.5}
    assert metadata["task"] == STYLE
    for path in (tmp_path / "none.parquet", tmp_path):
        with pytest.raises(SuiteError, match="not a readable Parquet file"):
            read_metadata(path)


def test_a_missing_file_and_a_folder_are_not_found(tmp_path: Path) -> None:
    assert "not found" in refusal(tmp_path / "none.parquet")
    assert "not found" in refusal(tmp_path)


def test_two_writes_of_one_cell_are_the_same_bytes(tmp_path: Path) -> None:
    write_cell(tmp_path / "a.parquet", build())
    write_cell(tmp_path / "b.parquet", build(model=dict(reversed({"name": "m"}.items()))))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_file_holds_its_metadata_once(tmp_path: Path) -> None:
    """Metadata is longer than the logits of a few hundred items, and Arrow would keep it twice."""
    long = "x" * 100_000
    write_cell(tmp_path / "a.parquet", build(model={"name": "m", "note": long}))
    assert read_cell(tmp_path / "a.parquet").model["note"] == long
    assert len(long) < (tmp_path / "a.parquet").stat().st_size < 1.1 * len(long)


def test_a_full_disk_leaves_the_old_cell_and_nothing_half_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    n = 20_000
    big = build(ids=[f"{i}" for i in range(n)], answers=[0] * n, scores=generator.normal(size=(n, 4)))
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "c.parquet"
        write_cell(path, build())
        with pytest.raises(SuiteError, match=r"cannot write .*[Nn]o space left on device.*free some disk") as caught:
            write_cell(path, big)
        one_line(caught.value)
        assert listing(disk) == ["c.parquet"]
        assert same(read_cell(path), build())


def test_a_disk_that_fills_up_while_flushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "cells" / "c.parquet"
    write_cell(path, build())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SuiteError, match="No space left on device"):
        write_cell(path, build(kind="logits"))
    assert listing(tmp_path) == ["cells", "cells/c.parquet"]
    assert read_cell(path).kind == "loglik"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SuiteError, match="cannot write") as caught:
        write_cell(tmp_path / "file" / "c.parquet", build())
    one_line(caught.value)


@given(name=st.text(max_size=12))
def test_a_slug_is_one_visible_path_component(name: str) -> None:
    component = slug(name)
    assert component
    assert Path(component).name == component
    assert not component.startswith(".")
    assert not set(component) & set('/\\:*?"<>| \0\n')
    assert slug(component) == component


def test_usual_names_are_their_own_slugs() -> None:
    for name in ("smollm2-135m", "rtn-w4-g32", "sparsegpt-s50+gptq-w4", "Qwen2.5-0.5B", "cloze-sum-base-0"):
        assert slug(name) == name


def test_where_a_cell_lies(tmp_path: Path) -> None:
    cell = build(variant={"name": "wanda-2:4"}, model={"name": "org/m"}, task=STYLE | {"name": "../quiz", "shots": 2})
    expected = tmp_path / "cells" / "org_m" / "_quiz" / "cloze-sum-base-2" / "wanda-2of4.parquet"
    assert cell.key.path(tmp_path) == expected
    assert cell.key == CellKey("org/m", "../quiz", "cloze-sum", "base", 2, "wanda-2:4")
    assert cell.key.path(tmp_path) == expected
    assert (cell.curve_key, cell.where) == (cell.key[:5], "org/m/../quiz/cloze-sum/base/2/wanda-2:4")


def test_a_cells_variant_is_read_once_and_strangers_are_none() -> None:
    cell = build(variant={"name": "gptq-w3-g64@seed2"})
    assert cell.parsed is not None
    assert (cell.parsed.bits, cell.parsed.group, cell.parsed.sample_seed) == (3, 64, 2)
    assert cell.parsed is cell.parsed
    assert build(variant={"name": "somebody's own"}).parsed is None


@pytest.mark.parametrize(
    ("recipe", "run", "seed"),
    [
        ("GPTQ; sample text notes.txt@sha256:a0ef70c43442, 8 x 64 tokens, seed 2", {"seed": 3}, 3),
        (
            "GPTQ; sample text notes.txt@sha256:a0ef70c43442, 8 x 64 tokens, seed 2",
            {},
            2,
        ),  # a cell from before the field
        ("GPTQ; sample text notes.txt@sha256:a0ef70c43442, 8 x 64 tokens, seed 2", {"seed": None}, 2),
        ("round to nearest", {"seed": 0}, 0),
        ("round to nearest", {}, None),
        (None, {}, None),
    ],
)
def test_the_seed_of_its_sample_text_is_a_field(recipe: str | None, run: dict[str, Any], seed: int | None) -> None:
    assert build(variant={"name": "gptq-w3", "recipe": recipe}, run=run).sample_seed == seed


def test_cells_come_in_order_of_their_names(tmp_path: Path) -> None:
    expected = []
    for model in ("a", "b"):
        for task in ("quiz", "trivia"):
            for shots in (0, 2, 10):
                for variant in ("dense", "magnitude-s50", "rtn-w4"):
                    cell = build(
                        model={"name": model}, variant={"name": variant}, task=STYLE | {"name": task, "shots": shots}
                    )
                    expected.append((cell.curve_key, variant))
                    write_cell(cell.key.path(tmp_path), cell)
    (tmp_path / "cells" / ".half.parquet").write_bytes(b"unfinished")
    (tmp_path / "rows.parquet").write_bytes(b"not a cell")
    found = [(cell.curve_key, cell.variant["name"]) for cell in load_cells([tmp_path])]
    assert found == sorted(expected)
    files = sorted((tmp_path / "cells").rglob("[!.]*.parquet"), reverse=True)
    assert [(cell.curve_key, cell.variant["name"]) for cell in load_cells([*files, tmp_path / "cells"])] == found


def test_paths_without_cells_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no cells in it; name a run directory or cell files"):
        load_cells([tmp_path])
    with pytest.raises(SuiteError, match="not found; name a run directory or cell files"):
        load_cells([tmp_path / "none"])
    write_cell(tmp_path / "a.parquet", build())
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(SuiteError, match=r"b\.parquet: not a readable Parquet file"):
        load_cells([tmp_path])


def test_a_cell_may_be_renamed_after_reading(whole: tuple[Path, Cell], tmp_path: Path) -> None:
    cell = replace(read_cell(whole[0]), model={"name": "other"}, path="")
    write_cell(tmp_path / "c.parquet", cell)
    assert read_cell(tmp_path / "c.parquet").model == {"name": "other"}


# Python use: ids that are numbers, paths that are strings


@pytest.mark.parametrize(
    "ids", [[3, 1, 2], np.array([3, 1, 2]), np.array([3, 1, 2], dtype=np.uint8), ["3", 1, np.int64(2)], range(3)]
)
def test_whole_numbers_become_text(tmp_path: Path, ids: Any) -> None:
    cell = build(ids=ids, groups=[7, None, "x"], subjects=[1, 1, None], slices=[[2], ["y", 3], []])
    wanted = tuple(str(number) for number in (ids if isinstance(ids, range) else (3, 1, 2)))
    write_cell(tmp_path / "a.parquet", cell)
    for found in (cell, read_cell(tmp_path / "a.parquet")):
        assert found.ids == wanted
        assert found.groups == ("7", None, "x")
        assert found.units == ("7", wanted[1], "x")
        assert found.subjects == ("1", "1", None)
        assert found.slices == (("2",), ("y", "3"), ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": [1, "1", 2]}, "duplicate id '1'"),
        ({"ids": [1, 2.5, 3]}, "an id is 2.5; text or a whole number is needed"),
        ({"ids": [True, 2, 3]}, "an id is True"),
        ({"ids": ["a", None, "c"]}, "an id is None"),
        ({"groups": [1.5, 1, 2]}, "a group is 1.5"),
        ({"answers": [0.5, 2, 1]}, "answer 0.5: a whole number is needed"),
        ({"answers": [True, 2, 1]}, "answer True: a whole number is needed"),
        ({"answers": ["0", 2, 1]}, "answer '0': a whole number is needed"),
    ],
)
def test_what_is_neither_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        build(**changes)
    assert message in one_line(caught.value)


def test_paths_may_be_strings(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    file = str(build().key.path(run))
    write_cell(file, build())
    assert same(read_cell(file), build())
    assert read_metadata(file)["model"] == {"name": "m"}
    for paths in (run, Path(run), [run], (file,), file):
        assert [cell.ids for cell in load_cells(paths)] == [build().ids]
    for missing in (str(tmp_path / "none"), [str(tmp_path / "none")]):
        with pytest.raises(SuiteError, match="not found"):
            load_cells(missing)
