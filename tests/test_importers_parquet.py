"""Importing cells from Parquet files whose columns the user names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from suite.cell import load_cells
from suite.cli import main
from suite.errors import SuiteError
from suite.importers import import_cells
from suite.importers.labels import Columns
from tests.support.shared import shared


def table(path: Path, **columns: object) -> Path:
    usual: dict[str, object] = {
        "key": ["a", "b", "c", "a"],
        "right": [0, 2, 1, 0],
        "lp": [[-1.0, -2.0, -3.0], [-1.5, -0.5, -0.25], [-0.1, -4.0], [-9.0, -1.0]],
        "model": ["m1", "m1", "m1", "m2"],
        "fine": [True, True, True, False],
        "topic": ["x", None, "y", "x"],
    }
    pq.write_table(pa.table(usual | columns), path)
    return path


COLUMNS = ["--id", "key", "--answer", "right", "--scores", "lp", "--kind", "loglik"]


def command(src: Path, out: Path, *options: str, columns: list[str] | None = None) -> list[str]:
    names = ["--model", "m", "--variant", "affine-w4-g64", "--task", "quiz", "--out", str(out)]
    return ["import", "parquet", str(src), *names, *(COLUMNS if columns is None else columns), *options]


def test_named_columns_of_chosen_rows_become_a_cell(tmp_path: Path) -> None:
    src, out = table(tmp_path / "t.parquet"), tmp_path / "run"
    more = ["--where", "model=m1", "--where", "fine=true", "--subject", "topic", "--scoring", "letter"]
    assert main(command(src, out, *more)) == 0
    (cell,) = load_cells([out])
    assert cell.ids == ("a", "b", "c")
    assert cell.answers.tolist() == [0, 2, 1]
    assert cell.n_options.tolist() == [3, 3, 2]
    assert cell.scores[1].tolist() == [-1.5, -0.5, -0.25]
    assert (cell.kind, cell.task["scoring"], cell.variant["name"]) == ("loglik", "letter", "affine-w4-g64")
    assert cell.subjects == ("x", None, "y")


def test_one_column_an_option(tmp_path: Path) -> None:
    src = table(
        tmp_path / "t.parquet",
        key=[1, 2, 3, 4],
        A=[0.5, 0.2, 0.5, 0.1],
        B=[0.3, 0.3, 0.5, 0.9],
        C=[0.2, 0.5, None, None],
    )
    (cell,) = import_cells(
        "parquet",
        src,
        model="m",
        variant="mxfp4",
        task="quiz",
        columns=Columns(id="key", answer="right", scores=["A", "B", "C"], kind="probs"),
    )
    assert cell.ids == ("1", "2", "3", "4")
    assert cell.n_options.tolist() == [3, 3, 2, 2]
    assert cell.scores[0, :3] == pytest.approx([0.5, 0.3, 0.2])
    assert cell.task["scoring"] == "letter"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--id", "kei"], "unknown column of t.parquet 'kei': did you mean key?"),
        (["--kind", "scores"], "unknown kind of scores 'scores'"),
        (["--where", "model=m3"], "--where model=m3: no row of"),
        (["--where", "model"], "--where 'model': write COLUMN=VALUE"),
        (["--where", "model=m1", "--where", "model=m2"], "--where 'model=m2': write COLUMN=VALUE, each column once"),
        (["--where", "lp=1"], "--where lp=1: column 'lp' holds no single values"),
        ([], "column 'key', row 4: duplicate id 'a', first in row 1"),
        (["--where", "model=m1", "--answer", "fine"], "column 'fine', row 1: an answer must be a whole number"),
        (["--where", "model=m1", "--scores", "right"], "column 'right', row 1: a list of numbers, one an option"),
        (
            ["--where", "model=m1", "--scores", "topic", "model"],
            "column 'topic', row 1: loglik must be a list of numbers",
        ),
        (["--where", "model=m1", "--group", "lp"], "column 'lp', row 1: text is needed"),
        (["--where", "model=m1", "--kind", "probs"], "probs hold -1.0"),
        (["--where", "model=m1", "--kind", "logits", "--scoring", "norm"], "holds logits: --scoring norm is for"),
        (["--where", "model=m1", "--id", "lp"], "column 'lp', row 1: an id must be text or a whole number"),
        (["--where", "model=m2", "--variant", "affine-w7"], "7 weight bits out of range"),
        (["--model", "*"], "a Parquet file holds one model"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    src = table(tmp_path / "t.parquet")
    assert main(command(src, tmp_path / "run", *options)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_bad_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "t.parquet"
    text.write_text("id,answer\n")
    empty = table(tmp_path / "empty.parquet")
    pq.write_table(pq.read_table(empty).slice(0, 0), empty)
    outside = table(tmp_path / "outside.parquet", key=list("abcd"), right=[0, 3, 0, 0])
    for src, columns, message in (
        (text, None, "not a readable Parquet file"),
        (tmp_path, None, "is a folder; name one Parquet file"),
        (empty, None, "no rows in it"),
        (outside, None, "row 2: answer 3 is outside its 3 options"),
        (outside, ["--id", "key"], "--answer, --scores, --kind missing"),
        (outside, [], "say which columns hold what"),
    ):
        assert main(command(src, tmp_path / "run", columns=columns)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_columns_are_for_parquet_alone(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}")
    columns = Columns(id="a", answer="b", scores=["c"], kind="probs")
    with pytest.raises(SuiteError, match="name columns of parquet files"):
        import_cells("jsonl", tmp_path / "x.jsonl", model="m", variant="dense", task="t", columns=columns)
    with pytest.raises(SuiteError, match="lm-eval files say themselves"):
        import_cells("lm-eval", tmp_path, model="m", variant="dense", task="t", scoring="letter")


def test_a_published_ladder_is_read(tmp_path: Path) -> None:
    src = shared("data/ladders/qwen2.5/qwen2.5-0.5b__mixed_3_6__mmlu.parquet")
    columns = ["--id", "item_id", "--answer", "answer_idx", "--scores", "logprobs", "--kind", "loglik"]
    options = ["--where", "status=ok", "--variant", "mixed-3-6", "--scoring", "letter"]
    assert main(command(src, tmp_path / "run", *options, columns=columns)) == 0
    (cell,) = load_cells([tmp_path / "run"])
    frame = pq.read_table(src).to_pandas()
    frame = frame[frame.status == "ok"]
    assert len(cell) == len(frame)
    assert np.mean(np.argmax(cell.scores, axis=1) == cell.answers) == pytest.approx(frame.is_correct.mean(), abs=0.02)
