"""Cells from elsewhere: a team scores its own variants alone, and somebody else's unfinished run is carried on."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suite.cell import load_cells, read_cell, write_cell
from suite.cli import main

ROOT = Path(__file__).resolve().parent.parent
QUIZ = "\n".join(
    json.dumps(
        {"id": f"q{i}", "question": f"What is {i} and {i}?", "choices": ["one", "two", "six"], "answer_index": i % 3}
    )
    for i in range(24)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """A checkpoint, a task and a configuration."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "quiz.jsonl").write_text(QUIZ)
    shutil.copytree(tiny_models["llama"], folder / "ours")
    return folder


def config(folder: Path, *variants: str, limit: int = 24) -> Path:
    text = json.dumps(
        {
            "models": [str(folder / "ours")],
            "tasks": [{"name": str(folder / "quiz.jsonl"), "limit": limit}],
            "variants": list(variants),
            "dtype": "float32",
            "device": "cpu",
            "protocol": {"splits": 3, "replicates": 20},
        }
    )
    (folder / "team.yaml").write_text(text)
    return folder / "team.yaml"


@pytest.fixture(scope="module")
def published(folder: Path) -> Path:
    out = folder / "published"
    assert main(["run", str(config(folder, "dense", "rtn-w3")), "--out", str(out)]) == 0
    return out


def test_adding_a_result_works_as_contributing_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of CONTRIBUTING's code blocks, run as they stand in a clone; NAME alone is filled in."""
    words = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = words.partition("### To add a result")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    commands = [
        shlex.split(line, comments=True) for block in blocks for line in block.replace("NAME", "team").split("\n")
    ]
    commands = [line for line in commands if line]
    assert [line[:2] for line in commands] == [["suite", "run"], ["suite", "verify"]]
    clone = tmp_path / "clone"
    (clone / "configs").mkdir(parents=True)
    (clone / "results").mkdir()
    shutil.copyfile(config(folder, "dense", "rtn-w3"), clone / "configs" / "team.yaml")
    monkeypatch.chdir(clone)
    for line in commands:
        assert main(line[1:]) == 0, line
    made = clone / "results" / "team"
    assert (made / "index.html").is_file()  # which the section says to look at
    # what git takes is the snapshot: files whose name starts with a dot stay at home, and the rest verifies elsewhere
    taken = tmp_path / "taken"
    shutil.copytree(made, taken, ignore=shutil.ignore_patterns(".*"))
    assert main(["verify", str(taken)]) == 0
    capsys.readouterr()
    assert main(["diff", str(made), str(taken)]) == 0
    assert "2 with the same scores, 0 that differ" in capsys.readouterr().out


def test_dense_cells_are_taken_from_a_snapshot(
    folder: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["run", str(config(folder, "dense", "rtn-w2")), "--out", str(tmp_path / "mine")]
    assert main([*args, "--dense-from", str(published)]) == 0
    err = capsys.readouterr().err
    assert "1 dense cells from" in err
    assert "2 cells: 1 are there already, 1 to score" in err
    cells = {cell.variant["name"]: cell for cell in load_cells([tmp_path / "mine"])}
    theirs = {cell.variant["name"]: cell for cell in load_cells([published])}
    assert set(cells) == {"dense", "rtn-w2"}
    assert (cells["dense"].scores == theirs["dense"].scores).all()
    checksum = json.loads((published / "manifest.json").read_text())["checksum"]
    assert cells["dense"].run["taken_from"] == checksum
    assert "taken_from" not in cells["rtn-w2"].run
    assert main(["verify", str(tmp_path / "mine")]) == 0


@pytest.mark.parametrize("what", ["items", "weights", "edited"])
def test_dense_cells_of_something_else_are_refused(
    folder: Path, published: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(folder, "dense", "rtn-w2", limit=20 if what == "items" else 24)
    snapshot = published
    if what == "weights":
        other = tmp_path / "ours"
        shutil.copytree(folder / "ours", other)
        weights = other / "model.safetensors"
        raw = bytearray(weights.read_bytes())
        raw[-1] ^= 1
        weights.write_bytes(raw)
        file.write_text(file.read_text().replace(str(folder / "ours"), str(other)))
    if what == "edited":
        snapshot = tmp_path / "edited"
        shutil.copytree(published, snapshot)
        (snapshot / "rows.csv").write_text((snapshot / "rows.csv").read_text().replace("0", "1", 1))
    assert main(["run", str(file), "--out", str(tmp_path / "mine"), "--dense-from", str(snapshot)]) == 2
    words = {"items": "other items or another prompt", "weights": "other weights", "edited": "does not verify"}[what]
    assert words in capsys.readouterr().err.splitlines()[-1]


# --- somebody else's run carried on


def bytes_of(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "cells").rglob("*.parquet")}


def test_a_run_resumed_from_committed_cells_scores_none_again(
    folder: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = tmp_path / "committed"  # as git takes it: files whose name starts with a dot stay at home
    shutil.copytree(published, committed, ignore=shutil.ignore_patterns(".*", "environment.json"))
    args = ["run", str(config(folder, "dense", "rtn-w3")), "--out", str(tmp_path / "mine")]
    assert main([*args, "--cells-from", str(committed)]) == 0
    err = capsys.readouterr().err
    assert "2 of 2 cells are in" in err
    assert "2 cells: 2 are there already, 0 to score" in err
    assert bytes_of(tmp_path / "mine") == bytes_of(published)
    assert main(["verify", str(tmp_path / "mine")]) == 0
    capsys.readouterr()
    assert main(["diff", str(committed), str(tmp_path / "mine")]) == 0
    assert "2 with the same scores, 0 that differ" in capsys.readouterr().out


def test_an_unfinished_run_directory_is_carried_on(
    folder: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(published / "cells", theirs / "cells")  # no tables, no manifest
    args = ["run", str(config(folder, "dense", "rtn-w3", "rtn-w2")), "--out", str(tmp_path / "mine")]
    assert main([*args, "--cells-from", str(theirs)]) == 0
    err = capsys.readouterr().err
    assert "2 of 3 cells are in" in err
    assert "3 cells: 2 are there already, 1 to score" in err
    assert bytes_of(tmp_path / "mine").items() > bytes_of(published).items()
    # the other option on top: what is there already stays
    assert main([*args, "--cells-from", str(theirs), "--dense-from", str(published)]) == 0
    assert "3 cells: 3 are there already" in capsys.readouterr().err


def test_a_part_of_which_nothing_is_there_yet_is_scored(
    folder: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["run", str(config(folder, "dense", "rtn-w3", "rtn-w2")), "--out", str(tmp_path / "mine")]
    assert main([*args, "--cells-from", str(published), "--only", "*/*/rtn-w2"]) == 0
    err = capsys.readouterr().err
    assert "--cells-from: ours/quiz/rtn-w2: no cell of its content key there" in err
    assert "1 cells: 0 are there already, 1 to score" in err
    assert [*bytes_of(tmp_path / "mine")] == ["rtn-w2.parquet"]


@pytest.mark.parametrize("what", ["damaged", "replaced"])
def test_a_cell_that_is_not_what_was_published_is_named_and_scored(
    folder: Path, published: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(published, theirs)
    file = next((theirs / "cells").rglob("rtn-w3.parquet"))
    if what == "damaged":
        file.write_bytes(file.read_bytes()[:-100])
    else:  # sound, of the same key, with other scores
        cell = read_cell(file)
        write_cell(file, replace(cell, scores=cell.scores + 1, path=""))
    args = ["run", str(config(folder, "dense", "rtn-w3")), "--out", str(tmp_path / "mine")]
    assert main([*args, "--cells-from", str(theirs)]) == 0
    err = capsys.readouterr().err
    (said,) = [line for line in err.splitlines() if line.startswith("--cells-from:")]
    assert "rtn-w3.parquet" in said
    assert ("is not the file that manifest.json lists" in said) is (what == "replaced")
    assert "2 cells: 1 are there already, 1 to score" in err
    np.testing.assert_allclose(
        *(
            next(c.scores for c in load_cells([run]) if c.variant["name"] == "rtn-w3")
            for run in (tmp_path / "mine", published)
        ),
        atol=1e-4,
    )


@pytest.mark.parametrize("what", ["items", "dtype", "manifest", "folder"])
def test_what_holds_no_cell_of_this_run_is_refused(
    folder: Path, published: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(folder, "dense", "rtn-w3", limit=20 if what == "items" else 24)
    theirs = tmp_path / "theirs"
    if what == "dtype":
        file.write_text(file.read_text().replace("float32", "bfloat16"))
    if what != "folder":
        shutil.copytree(published, theirs)
    if what == "manifest":
        manifest = theirs / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"cells": 2', '"cells": 3'))
    assert main(["run", str(file), "--out", str(tmp_path / "mine"), "--cells-from", str(theirs)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"suite: --cells-from {theirs}: ")
    no_cell = "no cell fits this run; ours/quiz/dense: no cell of its content key there"
    words = {"items": no_cell, "dtype": no_cell, "manifest": "it was edited", "folder": "no cells in it"}
    assert words[what] in said
    assert not list((tmp_path / "mine").rglob("*.parquet"))


def test_an_unfinished_run_is_carried_on_and_published_in_parts_as_the_page_says(
    folder: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of docs/carrying_on.md, run as they stand in a clone; NAME alone is filled in."""
    words = (ROOT / "docs" / "carrying_on.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", words, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in "".join(blocks).replace("NAME", "team").splitlines()]
    assert [line[:2] for line in commands] == [["suite", "run"]] * 3 + [["suite", "verify"]]
    clone = tmp_path / "clone"
    (clone / "configs").mkdir(parents=True)
    shutil.copyfile(config(folder, "dense", "rtn-w3", "rtn-w2", "dense@repeat"), clone / "configs" / "team.yaml")
    shutil.copytree(published, clone / "results" / "team", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.chdir(clone)
    scored = []
    for line in commands:
        assert main(line[1:]) == 0, line
        scored += re.findall(r"(\d+) to score", capsys.readouterr().err)
    assert scored == ["2", "0", "0"]
    assert bytes_of(clone / "results" / "team") == bytes_of(clone / "runs" / "team")
    assert bytes_of(clone / "results" / "team").items() > bytes_of(published).items()
