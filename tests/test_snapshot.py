"""What a snapshot holds, that it is whole or absent, and that the same cells give the same bytes."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_cells import synthetic_cells
from support.synthetic_snapshot import publish, small_snapshot, write_run

from suite.cell import load_cells
from suite.cli import main
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics.measure import Scored
from suite.metrics.rows import measure_cells
from suite.publish import snapshot as snapshot_module
from suite.publish.standings import collect
from suite.publish.verify import verify
from suite.verdicts.curves import JOINT_KEYS

MODELS = {"small-100m": 0.1, "large-400m": 0.4}
VARIANTS = ("dense", "rtn-w8", "rtn-w4", "magnitude-s50")
TASKS = {"arc-easy": 4, "sciq": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return small_snapshot(folder, models=MODELS, variants=VARIANTS, tasks=TASKS, n=60)


def lines(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_it_holds_what_it_promises(made: Path) -> None:
    names = set(contents(made))
    assert {
        *("manifest.json", "config.yaml", "environment.json", "rows.csv", "rows.parquet", "ranking.csv"),
        *("equal-megabytes.csv", "LEADERBOARD.md", "index.html", "figures/curves-small-100m.png"),
    } <= names
    assert len([name for name in names if name.startswith("cells/")]) == 16
    assert not [name for name in names if ".partial" in name]


def test_the_manifest_says_where_the_numbers_come_from(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    for name, content in contents(made).items():
        if name != "manifest.json":
            assert manifest["files"].pop(name) == "sha256:" + hashlib.sha256(content).hexdigest()
    assert manifest["files"] == {}
    assert manifest["schema_version"] == 1
    assert (made / "config.yaml").read_text().startswith(f"# {manifest['configuration']}\n")
    assert manifest["protocol"] == {"name": "exact", "alpha": 0.1, "splits": 4, "replicates": 30, "seed": 0}
    assert [model["name"] for model in manifest["models"]] == sorted(MODELS)
    assert [(task["name"], task["items"]) for task in manifest["tasks"]] == [("arc-easy", 60), ("sciq", 60)]
    assert {variant["name"] for variant in manifest["variants"]} == set(VARIANTS)
    assert manifest["library_versions"]["tables"] == {"suite": "0.1.0"}
    assert manifest["hardware"]["cores"] == 2
    assert set(manifest["suite"]) == {"version", "code", "git_commit", "changed"}


def test_the_manifest_names_sample_texts_and_seeds(tmp_path: Path) -> None:
    """As the recipes in the cells record them; a scorer's own seed counts where there is no sample text."""
    text = "words.txt@sha256:0123456789ab, 32 x 512 tokens"
    cells = synthetic_cells(variants=("dense", "rtn-w4", "gptq-w3", "gptq-w3@seed2"), tasks={"sciq": 4}, n=30)
    for index, cell in enumerate(cells):
        name = str(cell.variant["name"])
        if name.startswith("gptq"):
            recipe = f"GPTQ; sample text {text}, seed {2 if name.endswith('@seed2') else 0}"
            cells[index] = replace(cell, variant={**cell.variant, "recipe": recipe})
        elif name == "rtn-w4":
            cells[index] = replace(cell, run={**cell.run, "seed": 5})
    run = write_run(tmp_path / "run", cells)
    manifest = json.loads((publish(run, tmp_path / "out") / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sample_texts"] == [text]
    assert manifest["seeds"] == {"protocol": 0, "cells": [0, 2, 5]}


def test_the_items_hash_follows_items_alone(tmp_path: Path) -> None:
    """Equal for every variant, whatever the order of the file; another answer or another item changes it."""
    from suite.publish.manifest import items_hash

    cell, other = synthetic_cells(variants=("dense", "rtn-w2"), tasks={"sciq": 4}, n=20)
    order = list(reversed(range(20)))
    turned = replace(
        cell, ids=tuple(cell.ids[i] for i in order), answers=cell.answers[order], scores=cell.scores[order]
    )
    assert items_hash(cell) == items_hash(other) == items_hash(turned)
    answers = cell.answers.copy()
    answers[3] = (answers[3] + 1) % 4
    assert items_hash(replace(cell, answers=answers)) != items_hash(cell)
    assert items_hash(replace(cell, ids=("x", *cell.ids[1:]))) != items_hash(cell)


def test_the_same_cells_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = publish(made, tmp_path / "again")
    assert contents(again) == contents(made)


def test_publishing_in_place_gives_the_same_bytes_and_removes_old_pictures(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    (copy / "figures" / "curves-gone.png").touch()
    (copy / "figures" / "mine.png").touch()
    (copy / "rows.csv").unlink()
    assert main(["leaderboard", str(copy)]) == 0
    assert contents(copy) == {**contents(made), "figures/mine.png": b""}


def test_verdicts_are_part_of_it_and_on_the_page(made: Path) -> None:
    verdicts = json.loads((made / "verdicts.json").read_text(encoding="utf-8"))
    assert {(v["model"], v["method"]) for v in verdicts} >= {(model, "rtn") for model in MODELS}
    assert "Where it breaks" in (made / "index.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- whole or absent


def test_a_snapshot_is_replaced_as_a_whole(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path(shutil.copytree(made, tmp_path / "out"))
    less = write_run(tmp_path / "less", synthetic_cells(variants=("dense", "rtn-w4"), tasks={"sciq": 4}, n=30))
    seen: list[set[str]] = []
    real = snapshot_module.write_file

    def watched(path: Path, content: bytes) -> None:
        seen.append(set(contents(out)))
        real(path, content)

    monkeypatch.setattr(snapshot_module, "write_file", watched)
    publish(less, out)
    assert seen
    assert all(names == set(contents(made)) for names in seen)
    assert verify(out).cells == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_full_disk_leaves_the_old_snapshot(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path(shutil.copytree(made, tmp_path / "out"))
    before = contents(out)

    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(SuiteError, match="No space left"):
        publish(made, out)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("where", ["full disk", "a folder in the way"])
def test_in_place_a_file_that_cannot_be_written_is_one_clear_line(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    if where == "full disk":

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
    else:
        (copy / "rows.csv").unlink()
        (copy / "rows.csv").mkdir()
    before = contents(copy)
    with pytest.raises(SuiteError, match=r"^cannot write .*; free some disk space or name another folder$"):
        publish(copy, copy)
    assert contents(copy) == before


def test_in_place_a_file_is_swapped_in_whole(made: Path, tmp_path: Path) -> None:
    """A reader that has the old file open keeps it; nobody sees half of the new one."""
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    write_run(copy, synthetic_cells(models=MODELS, variants=("rtn-w2",), tasks=TASKS, n=60))
    names = ("LEADERBOARD.md", "rows.csv", "rows.parquet", "manifest.json", "index.html")
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context((copy / name).open("rb")) for name in names}
        old = {name: (copy / name).read_bytes() for name in names}
        publish(copy, copy)
        assert {name: handle.read() for name, handle in opened.items()} == old
    assert all((copy / name).read_bytes() != old[name] for name in names)
    assert not [name for name in contents(copy) if ".partial" in name]


@pytest.mark.parametrize("name", ["thesis.txt", "cells/mine.parquet", "manifest.json"])
def test_a_folder_with_other_files_is_left_alone(made: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    if name != "thesis.txt":
        shutil.copytree(made, out)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    if name == "manifest.json":
        (out / name).unlink()
    else:
        (out / name).write_text("mine")
    before = contents(out)
    with pytest.raises(SuiteError, match=r"another folder|empty folder"):
        publish(made, out)
    assert contents(out) == before


def test_a_file_in_the_way_is_bad_input(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(SuiteError, match="is a file"):
        publish(made, tmp_path / "out")


def test_an_interrupted_publication_in_place_does_not_verify(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    more = synthetic_cells(models=MODELS, variants=("rtn-w2",), tasks=TASKS, n=60)
    write_run(copy, more)
    (copy / "config.yaml").write_bytes((made / "config.yaml").read_bytes())
    real, count = snapshot_module.write_file, 0

    def stops(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(snapshot_module, "write_file", stops)
    assert main(["leaderboard", str(copy)]) == 130
    monkeypatch.undo()
    assert main(["verify", str(copy)]) == 1
    assert main(["leaderboard", str(copy)]) == 0
    assert main(["verify", str(copy)]) == 0


# ---------------------------------------------------------------- standings


def test_taking_replicates_for_standings_leaves_the_rows_as_they_are() -> None:
    """Who watches may look at everything: figures that are computed when first asked for, resampled sets, folds."""
    cells = synthetic_cells(variants=("dense", "rtn-w4", "rtn-w2"), tasks={"sciq": 4, "boolq": 2}, n=50)
    settings = Protocol(splits=3, replicates=20)
    alone = measure_cells(cells, settings)
    seen: list[str] = []

    def watch(scored: Scored) -> None:
        assert len(scored.lac_resampled.size) == settings.replicates
        assert len(scored.aps_deterministic_splits.coverage) == settings.splits
        seen.append(scored.cell.where)

    watched = measure_cells(cells, settings, keep=JOINT_KEYS, summarize=watch)
    collected = collect(watched, settings)
    assert len(seen) == len(set(seen)) == len(cells) == len(collected)
    assert [one.row for one in watched] == [one.row for one in alone]
    # and what was taken is what the rows' intervals came from
    for one in watched:
        copies = collected[(*one.cell.curve_key, str(one.cell.variant["name"]))].replicates["set_size"]
        low, high = np.quantile(copies.astype(float), [0.025, 0.975])
        assert one.row["set_size_low"] == pytest.approx(low, abs=0.02)
        assert one.row["set_size_high"] == pytest.approx(high, abs=0.02)


def test_every_entry_stands_in_every_table_once_and_groups_rise(made: Path) -> None:
    ranking = lines(made / "ranking.csv")
    tables: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in ranking:
        tables.setdefault((line["task"], line["metric"]), []).append(line)
    assert set(tables) == {(task, metric) for task in ("average", *TASKS) for metric in ("accuracy", "set_size")}
    for (_, metric), entries in tables.items():
        assert [int(line["place"]) for line in entries] == list(range(1, 9))
        assert len({(line["model"], line["variant"]) for line in entries}) == 8
        groups = [int(line["group"]) for line in entries]
        assert groups == sorted(groups)
        assert groups[0] == 1
        best = max if metric == "accuracy" else min
        assert float(entries[0]["value"]) == best(float(line["value"]) for line in entries)
        for line in entries:
            gap = abs(float(line["value"]) - float(entries[0]["value"]))
            assert float(line["behind_best"]) == pytest.approx(gap, abs=2e-5)
            # the first group is exactly what the interval does not put behind the best
            assert (int(line["group"]) == 1) == (float(line["behind_best_low"]) <= 1e-12)


def test_the_average_is_the_mean_over_tasks_and_its_interval_that_of_paired_differences(made: Path) -> None:
    ranking = lines(made / "ranking.csv")
    rows = {(row["model"], row["variant"], row["task"]): row for row in lines(made / "rows.csv")}
    for line in ranking:
        if line["task"] == "average":
            values = [float(rows[line["model"], line["variant"], task][line["metric"]]) for task in TASKS]
            assert float(line["value"]) == pytest.approx(sum(values) / 2, rel=1e-5)
    # an independent computation of one interval: accuracy differences item by item, resampled by the row's own weights
    (entry,) = [
        line
        for line in ranking
        if (line["task"], line["metric"], line["model"], line["variant"])
        == ("sciq", "accuracy", "small-100m", "magnitude-s50")
    ]
    (best,) = [r for r in ranking if (r["task"], r["metric"], r["place"]) == ("sciq", "accuracy", "1")]
    cells = {(c.model["name"], c.variant["name"]): c for c in load_cells([made]) if c.task["name"] == "sciq"}
    right = [
        cells[who].scores.argmax(axis=1) == cells[who].answers
        for who in ((best["model"], best["variant"]), (entry["model"], entry["variant"]))
    ]
    difference = right[0].astype(float) - right[1]
    half = 2.4500  # normal quantile of 1 - 0.05 / 7
    error = difference.std() / math.sqrt(60)
    width = (float(entry["behind_best_high"]) - float(entry["behind_best_low"])) / 2
    assert width == pytest.approx(half * error, rel=0.35)  # 30 replicates
    assert float(entry["behind_best"]) == pytest.approx(difference.mean(), abs=1e-5)


def test_pairs_of_equal_megabytes_are_chosen_by_size_and_compared_item_by_item(made: Path) -> None:
    pairs = lines(made / "equal-megabytes.csv")
    rows = {(row["model"], row["variant"], row["task"]): row for row in lines(made / "rows.csv")}
    assert [(p["bigger"], p["bigger_variant"], p["smaller"], p["smaller_variant"]) for p in pairs] == [
        ("large-400m", "rtn-w4", "small-100m", "dense")
    ]
    (pair,) = pairs
    assert abs(float(pair["bigger_megabytes"]) / float(pair["smaller_megabytes"]) - 1) <= 0.1
    assert float(pair["bigger_bits"]) < float(pair["smaller_bits"])
    for metric in ("accuracy", "set_size"):
        means = [
            np.mean([float(rows[who, variant, task][metric]) for task in TASKS])
            for who, variant in (("large-400m", "rtn-w4"), ("small-100m", "dense"))
        ]
        assert float(pair[f"{metric}_change"]) == pytest.approx(means[0] - means[1], abs=2e-5)
        low, high = float(pair[f"{metric}_change_low"]), float(pair[f"{metric}_change_high"])
        assert low < float(pair[f"{metric}_change"]) < high


def test_where_no_pair_is_of_equal_megabytes_the_nearest_is_named(tmp_path: Path) -> None:
    """600M at 4.5 bits are 337.5 MB, 100M at 16.5 are 206.25: 64 % more; all other pairs are further apart."""
    out = small_snapshot(
        tmp_path, models={"small-100m": 0.1, "large-600m": 0.6}, variants=VARIANTS, tasks={"sciq": 4}, n=40
    )
    assert lines(out / "equal-megabytes.csv") == []
    said = "Nearest: large-600m rtn-w4 (337.5 MB) beside small-100m dense (206.2 MB), 64 % apart."
    for name in ("LEADERBOARD.md", "index.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert "At equal megabytes" in text
        assert said in text.replace("\\", "").replace("\N{NO-BREAK SPACE}", " ")
    assert verify(out).problems == []


def test_a_single_model_has_nothing_to_stand_beside(tmp_path: Path) -> None:
    out = small_snapshot(tmp_path, n=30)
    assert "equal megabytes" not in (out / "LEADERBOARD.md").read_text(encoding="utf-8")


def test_cells_with_other_items_are_left_out_of_the_ranking_and_counted(tmp_path: Path) -> None:
    cells = synthetic_cells(variants=("dense", "rtn-w4", "rtn-w2"), tasks={"sciq": 4}, n=40)
    cells += synthetic_cells(models={"other": 1.0}, variants=("dense",), tasks={"sciq": 4}, n=30)
    out = publish(write_run(tmp_path / "run", cells), tmp_path / "out")
    assert {line["model"] for line in lines(out / "ranking.csv")} == {"tiny-135m"}
    page = (out / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert "scored on other items than most: 1" in page
    assert verify(out).problems == []


def test_one_cell_alone_is_a_snapshot_too(tmp_path: Path) -> None:
    out = small_snapshot(tmp_path, variants=("dense",), n=30)
    assert lines(out / "ranking.csv") == []
    assert (out / "ranking.csv").read_text().startswith("task,")
    assert verify(out).problems == []
