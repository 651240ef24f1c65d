"""A snapshot verifies as written, and any digit, byte or line that was changed is found and named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.synthetic_snapshot import another_digit, sign, small_snapshot

from suite.cell import read_cell, write_cell
from suite.cli import main
from suite.config import RunConfig, read_config
from suite.metrics import paired
from suite.metrics.figures import FIGURES
from suite.publish.formulas import NUMBERED
from suite.publish.manifest import code_hash
from suite.publish.records import csv_bytes
from suite.publish.snapshot import Computed, compute
from suite.publish.verify import verify

FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
CELL = "cells/tiny-135m/sciq/cloze-sum-plain-0/rtn-w4.parquet"
TEXTS = (
    *("rows.csv", "ranking.csv", "LEADERBOARD.md", "index.html", "verdicts.json", "decoupling.json"),
    *("deferral.json", "manifest.json", "config.yaml", "environment.json"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_snapshot(tmp_path_factory.mktemp("original"))


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def older(copy: Path) -> Path:
    """A snapshot of the same facts, written by other code."""
    sign(copy, lambda content: content["suite"].update(code="sha256:other"))
    return copy


@pytest.fixture(scope="module")
def once(original: Path) -> tuple[RunConfig, Computed]:
    config = read_config(original / "config.yaml")
    return config, compute(original, config)


@pytest.fixture
def same_cells(once: tuple[RunConfig, Computed], monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that touch no cell: what follows from cells and configuration is computed once."""
    known, found = once
    monkeypatch.setattr(
        "suite.publish.verify.compute",
        lambda folder, config: found if config == known else compute(folder, config),
    )


SAME_CELLS = pytest.mark.usefixtures("same_cells")


def problems(folder: Path) -> list[str]:
    return verify(folder).problems


def test_a_snapshot_verifies_as_written(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(original)]) == 0
    out = capsys.readouterr().out
    assert "3 cells" in out
    assert "everything is what the cells give" in out


def test_signing_anew_changes_nothing(copy: Path) -> None:
    before = (copy / "manifest.json").read_bytes()
    sign(copy)
    assert (copy / "manifest.json").read_bytes() == before


def test_a_failed_verification_exits_with_1(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / CELL).unlink()
    assert main(["verify", str(copy)]) == 1
    assert f"{CELL}: missing cell" in capsys.readouterr().out


@SAME_CELLS
@FEW
@given(data=st.data())
@pytest.mark.parametrize("name", TEXTS)
def test_any_changed_digit_is_named(original: Path, name: str, data: st.DataObject) -> None:
    file = original / name
    raw = file.read_bytes()
    places = [match.start() for match in re.finditer(rb"\d", raw)]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([d for d in b"0123456789" if d != raw[place]]))
    try:
        file.write_bytes(raw[:place] + bytes([digit]) + raw[place + 1 :])
        assert any(problem.startswith(f"{name}: ") for problem in problems(original))
    finally:
        file.write_bytes(raw)


@settings(FEW, max_examples=25)
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_named(original: Path, data: st.DataObject) -> None:
    """Tables, pictures, verdicts, cells, configuration: the manifest stays as it is and gives the file away."""
    name = data.draw(
        st.sampled_from([*json.loads((original / "manifest.json").read_bytes())["files"], "manifest.json"])
    )
    file = original / name
    raw = file.read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    flip = data.draw(st.integers(1, 255))
    try:
        file.write_bytes(raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :])
        assert any(problem.startswith(f"{name}: ") for problem in problems(original))
    finally:
        file.write_bytes(raw)


@FEW
@given(data=st.data())
def test_any_changed_byte_of_a_cell_is_named(original: Path, data: st.DataObject) -> None:
    file = original / CELL
    raw = file.read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    flip = data.draw(st.integers(1, 255))
    try:
        file.write_bytes(raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :])
        assert any(problem.startswith(f"{CELL}: ") for problem in problems(original))
    finally:
        file.write_bytes(raw)


@SAME_CELLS
@FEW
@given(data=st.data(), how=st.sampled_from(["drop", "double", "swap", "blank"]))
def test_any_changed_line_of_the_manifest_is_found(original: Path, data: st.DataObject, how: str) -> None:
    file = original / "manifest.json"
    raw = file.read_bytes()
    lines = raw.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 2))
    changed = {
        "drop": [*lines[:at], *lines[at + 1 :]],
        "double": [*lines[:at], lines[at], *lines[at:]],
        "swap": [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
        "blank": [*lines[:at], b" " + lines[at], *lines[at + 1 :]],
    }[how]
    try:
        file.write_bytes(b"".join(changed))
        if b"".join(changed) != raw:
            assert any(problem.startswith("manifest.json: ") for problem in problems(original))
    finally:
        file.write_bytes(raw)


@SAME_CELLS
@pytest.mark.parametrize(("name", "column"), [("rows.csv", "nll"), ("ranking.csv", "behind_best_low")])
def test_a_forged_digit_under_a_forged_manifest_is_named_with_its_row(copy: Path, name: str, column: str) -> None:
    file = copy / name
    lines = file.read_text(encoding="utf-8").split("\n")
    at = lines[0].split(",").index(column)
    fields = lines[2].split(",")
    fields[at] = "0.123456"
    lines[2] = ",".join(fields)
    file.write_text("\n".join(lines), encoding="utf-8")
    sign(copy)
    (problem, *_) = [problem for problem in problems(copy) if problem.startswith(f"{name}: ")]
    assert f", {column}: 0.123456 stored, " in problem
    assert "line 3 (tiny-135m/" in problem


@SAME_CELLS
def test_another_processor_s_last_digit_is_a_remark(copy: Path) -> None:
    """The sixth digit may differ where the tables were made elsewhere; the other files follow the published digits."""
    file = copy / "rows.csv"
    header, line, *rest = file.read_text(encoding="utf-8").split("\n")
    at = header.split(",").index("error_auroc")
    fields = line.split(",")
    digits = fields[at]
    fields[at] = digits[:-1] + ("5" if digits[-1] != "5" else "4")
    assert abs(float(fields[at]) / float(digits) - 1) < 2e-5
    file.write_text("\n".join([header, ",".join(fields), *rest]), encoding="utf-8")
    assert any(", error_auroc: " in problem for problem in problems(copy))  # not under a checksum that differs
    table = pq.read_table(copy / "rows.parquet").to_pydict()
    table["error_auroc"][0] = float(fields[at])
    schema = pq.read_schema(copy / "rows.parquet")
    pq.write_table(pa.table(table, schema=schema), copy / "rows.parquet")
    sign(copy)
    report = verify(copy)
    assert report.problems == []
    assert any("1 values differ in the last digit" in remark for remark in report.remarks)


@SAME_CELLS
def test_a_forged_value_in_parquet_is_named(copy: Path) -> None:
    table = pq.read_table(copy / "rows.parquet")
    values = table.to_pydict()
    values["accuracy"][1] += 0.01
    pq.write_table(pa.table(values, schema=table.schema), copy / "rows.parquet")
    sign(copy)
    assert any(problem.startswith("rows.parquet: line 3 (") and ", accuracy: " in problem for problem in problems(copy))


@SAME_CELLS
def test_forged_words_under_a_forged_manifest_are_named(copy: Path) -> None:
    for name, old, new in (
        ("LEADERBOARD.md", "What to look at first", "What to look at last"),
        ("index.html", "What to look at first", "What to look at last"),
    ):
        file = copy / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
    sign(copy)
    found = problems(copy)
    assert [problem.partition(":")[0] for problem in found] == ["LEADERBOARD.md", "index.html"]
    assert all("line " in problem for problem in found)


@SAME_CELLS
def test_a_forged_description_is_named(copy: Path) -> None:
    file = copy / "manifest.json"
    content = json.loads(file.read_text())
    content["models"][0]["weights_hash"] = "sha256:other"
    content["protocol"]["seed"] = 7
    file.write_text(json.dumps(content))
    sign(copy)
    found = problems(copy)
    assert [problem for problem in found if "'models'" in problem]
    assert [problem for problem in found if "'protocol'" in problem]


def missing(folder: Path) -> None:
    (folder / CELL).unlink()


def foreign(folder: Path) -> None:
    cell = read_cell(folder / CELL)
    write_cell(folder / CELL.replace("rtn-w4", "rtn-w3"), cell)


def exchanged(folder: Path) -> None:
    """The cell of another variant under this one's name."""
    other = folder / CELL.replace("rtn-w4", "rtn-w2")
    (folder / CELL).write_bytes(other.read_bytes())


@pytest.mark.parametrize("change", [missing, foreign, exchanged])
@pytest.mark.parametrize("signed", [False, True])
def test_a_missing_foreign_or_exchanged_cell(copy: Path, change: Callable[[Path], None], signed: bool) -> None:
    change(copy)
    if signed:
        sign(copy)
        assert problems(copy)
        return
    name = CELL.replace("rtn-w4", "rtn-w3") if change is foreign else CELL
    words = {missing: "missing cell", foreign: "foreign cell", exchanged: "changed"}[change]
    assert any(problem.startswith(f"{name}: {words}") for problem in problems(copy))


@SAME_CELLS
def test_figures_are_held_against_the_manifest(copy: Path) -> None:
    (picture, *_) = sorted((copy / "figures").glob("*.png"))
    picture.write_bytes(picture.read_bytes() + b"\0")
    (copy / "figures" / "mine.png").write_bytes(b"")
    found = problems(copy)
    assert f"figures/{picture.name}: changed since the snapshot was written" in found
    assert "figures/mine.png: foreign file, the manifest does not list it" in found
    picture.unlink()
    (copy / "figures" / "mine.png").unlink()
    sign(copy)
    assert f"figures/{picture.name}: missing, and not in the manifest either" in problems(copy)


@SAME_CELLS
def test_a_note_of_the_publisher_is_a_remark(copy: Path) -> None:
    (copy / "README.md").write_text("who made this")
    report = verify(copy)
    assert (report.problems, report.remarks) == ([], ["README.md: not part of the snapshot"])


@SAME_CELLS
def test_a_forged_verdict_under_a_forged_manifest_is_named(copy: Path) -> None:
    file = copy / "verdicts.json"
    verdicts = json.loads(file.read_text(encoding="utf-8"))
    verdicts[0]["verdict"] = "none" if verdicts[0]["verdict"] != "none" else "threshold"
    file.write_text(json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sign(copy)
    assert any(problem.startswith("verdicts.json: line ") for problem in problems(copy))


@SAME_CELLS
@pytest.mark.parametrize(("factor", "found"), [(1 + 1e-3, True), (1 + 1e-4, True), (1 + 5e-6, False)])
def test_a_forged_number_of_a_verdict_is_named_and_another_processor_s_last_digit_is_a_remark(
    copy: Path, factor: float, found: bool
) -> None:
    file = copy / "decoupling.json"
    records = json.loads(file.read_text(encoding="utf-8"))
    assert abs(records[0]["set_size_change"]) > 0.01
    records[0]["set_size_change_high"] *= factor
    file.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sign(copy)
    report = verify(copy)
    named = [one for one in report.problems if one.startswith("decoupling.json: ")]
    told = [one for one in report.remarks if one.startswith("decoupling.json: ")]
    assert (bool(named), bool(told)) == (found, not found)


@pytest.mark.parametrize("what", ["absent", "empty", "file"])
def test_a_folder_that_is_no_snapshot_is_bad_input(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "snapshot"
    if what == "empty":
        folder.mkdir()
    elif what == "file":
        folder.touch()
    assert main(["verify", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"schema_version": 9, "files": {}}', '{"files": 3}', "\x00"),
        '{"schema_version": 1, "files": {"rows.csv": 3}}',
    ],
)
def test_a_manifest_that_is_none(copy: Path, content: str) -> None:
    (copy / "manifest.json").write_text(content)
    assert any(problem.startswith("manifest.json: ") for problem in problems(copy))


def raise_figure(monkeypatch: pytest.MonkeyPatch, key: str, *parts: str) -> str:
    """As if today's code had another formula for a figure of the rows, or its interval; returns what is said of it."""
    figure = FIGURES[key]
    then = [getattr(figure, part) for part in parts]
    monkeypatch.setitem(FIGURES, key, replace(figure, **{p: n + 1 for p, n in zip(parts, then, strict=True)}))
    return f"computed by formula {then[0]}, today {then[0] + 1}: "


def raise_analysis(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    then = NUMBERED[name].formula
    monkeypatch.setitem(NUMBERED, name, replace(NUMBERED[name], formula=then + 1))
    return f"computed by formula {then}, today {then + 1}: "


def first_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no number had been raised yet."""
    for key, figure in FIGURES.items():
        monkeypatch.setitem(FIGURES, key, replace(figure, formula=1, interval=figure.interval and 1))
    for name, analysis in NUMBERED.items():
        monkeypatch.setitem(NUMBERED, name, replace(analysis, formula=1))


@SAME_CELLS
def test_a_manifest_without_formula_numbers_means_the_first_formulas(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(older, lambda content: content.pop("formulas"))
    first_formulas(monkeypatch)
    assert (verify(older).problems, verify(older).remarks) == ([], [])
    raise_figure(monkeypatch, "aurc", "formula")
    report = verify(older)
    assert report.problems == []
    assert report.remarks == ["held to the checksums of the manifest: computed by formula 1, today 2: aurc"]


def test_a_formula_that_changed_needs_its_number(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "mcnemar_p", lambda *_: 0.25)
    assert any(problem.startswith("rows.csv: ") and ", mcnemar_p: " in problem for problem in problems(older))
    said = raise_figure(monkeypatch, "mcnemar_p", "formula")
    report = verify(older)
    assert report.problems == []
    assert report.remarks == [f"held to the checksums of the manifest: {said}mcnemar_p"]


@SAME_CELLS
def test_another_interval_leaves_values_and_analyses_to_be_made_again(
    older: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = raise_figure(monkeypatch, "accuracy", "interval")
    assert main(["verify", str(older)]) == 0
    out, err = capsys.readouterr()
    assert "what can be made again is what the cells give" in out
    assert f"{said}accuracy_low, accuracy_high\n" in err
    assert "decoupling.json" not in err
    for name, column in (("rows.csv", "accuracy"), ("rows.csv", "nll_low"), ("decoupling.json", "")):
        before = (older / name).read_bytes()
        another_digit(older / name, column)
        sign(older)
        assert any(problem.startswith(f"{name}: ") for problem in problems(older)), (name, column)
        (older / name).write_bytes(before)


@SAME_CELLS
@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "LEADERBOARD.md", "index.html", "ranking.csv"])
def test_a_changed_digit_of_what_is_held_is_found(older: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    raise_figure(monkeypatch, "accuracy", "formula", "interval")
    raise_figure(monkeypatch, "accuracy_change", "formula")
    assert problems(older) == []
    if name == "rows.parquet":
        table = pq.read_table(older / name)
        values = table.to_pydict()
        values["accuracy"][1] += 0.01
        pq.write_table(pa.table(values, schema=table.schema), older / name)
    else:
        another_digit(older / name, "accuracy_high" if name == "rows.csv" else "value" if name == "ranking.csv" else "")
    assert any(problem.startswith(f"{name}: ") for problem in problems(older))
    sign(older)
    # two files hold the values of rows: who forges one of them and the manifest is found all the same
    assert bool(problems(older)) == name.startswith("rows.")


@SAME_CELLS
@pytest.mark.parametrize("name", ["verdicts.json", "equal-megabytes.csv", "scale.json"])
def test_an_analysis_has_a_number_of_its_own(older: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said = raise_analysis(monkeypatch, name)
    report = verify(older)
    assert report.problems == []
    assert report.remarks == [f"held to the checksums of the manifest: {said}{name}"]
    (older / name).write_bytes((older / name).read_bytes() + b" ")
    assert problems(older) == [f"{name}: changed since the snapshot was written"]


@pytest.fixture
def other_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if today's pages and pictures were others."""
    monkeypatch.setattr("suite.publish.snapshot.html_page", lambda *_, **__: b"new")
    monkeypatch.setattr(Computed, "pictures", lambda *_, **__: [])


@SAME_CELLS
@pytest.mark.usefixtures("other_looks")
def test_other_words_style_and_pictures_leave_an_older_snapshot_green(
    older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (problems(older), verify(older).remarks) == ([], [])
    assert main(["verify", str(older)]) == 0
    said = "every table and verdict is what the cells give, pages and pictures are as published"
    assert capsys.readouterr().out.endswith(f"{said}\n")


@SAME_CELLS
@pytest.mark.parametrize("name", ["index.html", "LEADERBOARD.md", "figures"])
def test_a_page_or_picture_of_other_code_is_held_to_its_checksum(older: Path, name: str) -> None:
    file = older / name if name != "figures" else sorted((older / name).glob("*.png"))[0]
    file.write_bytes(file.read_bytes() + b"1")
    name = file.relative_to(older).as_posix()
    assert problems(older) == [f"{name}: changed since the snapshot was written"]


@SAME_CELLS
@pytest.mark.usefixtures("other_looks")
def test_pages_are_made_again_by_the_code_that_published_and_no_other(original: Path, older: Path) -> None:
    assert any(problem.startswith("index.html: ") for problem in problems(original))
    code = json.loads((original / "manifest.json").read_text())["suite"]["code"]
    assert problems(older) == []
    sign(older, lambda content: content["suite"].update(code=code, git_commit=None, changed=True))
    assert any(problem.startswith("index.html: ") for problem in problems(older))
    sign(older, lambda content: content.pop("suite"))
    assert problems(older) == []


def test_one_byte_of_the_package_makes_it_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("__init__.py", ""), ("page.css", "a {}"), ("sub/part.py", "x = 1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr("suite.__file__", str(tmp_path / "__init__.py"))
    seen = [code_hash()]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "part.pyc").write_bytes(b"compiled")
    (tmp_path / ".page.css.swp").write_bytes(b"being edited")
    assert code_hash() == seen[0]
    for change in (
        lambda: (tmp_path / "page.css").write_text("b {}"),
        lambda: (tmp_path / "sub" / "part.py").rename(tmp_path / "part.py"),
        lambda: (tmp_path / "part.py").unlink(),
    ):
        change()
        seen.append(code_hash())
    assert len(set(seen)) == len(seen)


def rewrite_rows(folder: Path, edit: Callable[[list[dict[str, Any]]], object], schema: pa.Schema) -> None:
    """Both files of rows with other columns."""
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    edit(rows)
    (folder / "rows.csv").write_bytes(csv_bytes(rows))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "rows.parquet")


def without(key: str) -> Callable[[list[dict[str, Any]]], object]:
    """Rows of a suite that did not have a figure yet, nor reasons why it is missing."""

    def edit(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for column in (key, f"{key}_low", f"{key}_high"):
                row.pop(column, None)
            notes = json.loads(row["notes"])
            row["notes"] = json.dumps({name: notes[name] for name in notes if name != key}, sort_keys=True)

    return edit


@SAME_CELLS
def test_a_column_that_is_new_today_is_not_asked_of_an_older_snapshot(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = pq.read_schema(older / "rows.parquet")
    schema = pa.schema([one for one in full if one.name not in ("kl", "kl_low", "kl_high")])
    rewrite_rows(older, without("kl"), schema)
    sign(older)
    assert "rows.csv: lacks the column kl" in problems(older)
    raise_figure(monkeypatch, "kl", "formula", "interval")
    assert "rows.csv: lacks the column kl" in problems(older)  # the manifest says that it was there
    sign(older, lambda content: (content["formulas"]["figures"].pop("kl"), content["formulas"]["intervals"].pop("kl")))
    report = verify(older)
    assert report.problems == []
    assert report.remarks == ["rows.csv: written without kl, kl_low, kl_high"]
    another_digit(older / "rows.csv", "js")
    sign(older)
    assert any(", js: " in problem for problem in problems(older))


@SAME_CELLS
def test_a_column_that_nothing_computes_any_more_is_held(older: Path) -> None:
    schema = pq.read_schema(older / "rows.parquet").append(pa.field("old_figure", pa.float64()))
    rewrite_rows(older, lambda rows: [row.update(old_figure=0.5) for row in rows], schema)
    sign(older)
    assert "rows.csv: other columns than the cells give" in problems(older)
    sign(older, lambda content: content["formulas"]["figures"].update(old_figure=4))
    report = verify(older)
    assert report.problems == []
    assert report.remarks == ["held to the checksums of the manifest: no longer computed: old_figure"]
    another_digit(older / "rows.csv", "old_figure")
    sign(older)
    assert any(problem.startswith("rows.parquet: line 3, old_figure: ") for problem in problems(older))


@SAME_CELLS
def test_a_key_that_records_have_only_today_is_a_remark(older: Path) -> None:
    file = older / "decoupling.json"
    records = json.loads(file.read_text(encoding="utf-8"))
    for record in records:
        del record["matched_change_low"]
    file.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sign(older)
    report = verify(older)
    assert report.problems == []
    assert report.remarks == ["decoupling.json: written without matched_change_low"]
    records[0]["margin"] *= 2
    file.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sign(older)
    assert any(problem.startswith("decoupling.json: line ") for problem in problems(older))


@SAME_CELLS
def test_a_newer_suite_s_formula_is_held_and_said(older: Path) -> None:
    today = FIGURES["error_auroc"].formula
    sign(older, lambda content: content["formulas"]["figures"].update(error_auroc=today + 1))
    report = verify(older)
    assert report.problems == []
    said = f"computed by formula {today + 1}, today {today}: error_auroc; a newer suite can compute them again"
    assert report.remarks == [f"held to the checksums of the manifest: {said}; made of such figures: verdicts.json"]


@SAME_CELLS
@pytest.mark.parametrize("formulas", [3, {"figures": 3}, {"figures": {"nll": 0}}, {"files": {"index.html": "1"}}])
def test_formula_numbers_that_are_none(older: Path, formulas: object) -> None:
    sign(older, lambda content: content.update(formulas=formulas))
    assert problems(older) == ["manifest.json: its formula numbers are damaged"]


@SAME_CELLS
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": 3}, "its protocol is damaged"),
        ({"protocol": {"alpha": 2}}, "its protocol is damaged"),
        ({"protocol": {"alhpa": 0.1}}, "its protocol is damaged"),
        ({"models": {}}, "its 'models' is damaged"),
        ({"cells": "3"}, "its 'cells' is damaged"),
        ({"suite": ["0.1.0"]}, "its 'suite' is damaged"),
        ({"schema_version": 2, "formulas": 3}, "schema version 2, this suite reads 1"),
    ],
    ids=str,
)
def test_values_of_a_manifest_that_are_none_are_one_line(older: Path, change: dict[str, Any], said: str) -> None:
    sign(older, lambda content: content.update(change))
    assert problems(older) == [f"manifest.json: {said}"]


def test_every_column_and_file_of_a_snapshot_has_a_number(original: Path) -> None:
    header = (original / "rows.csv").read_text(encoding="utf-8").split("\n")[0].split(",")
    manifest = json.loads((original / "manifest.json").read_text())
    formulas = manifest["formulas"]
    numbered = {*formulas["figures"], *(f"{key}_{end}" for key in formulas["intervals"] for end in ("low", "high"))}
    assert numbered == set(header)
    made = {name.split("/")[0] for name in manifest["files"]} - {"cells", "config.yaml", "environment.json"}
    assert made - {"rows.csv", "rows.parquet", "LEADERBOARD.md", "index.html", "figures"} <= set(formulas["files"])
