"""Snapshots that older commits wrote stay valid under today's code and its changes, and a changed fact is found."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.synthetic_snapshot import another_digit, sign, small_snapshot

from suite.cli import main
from suite.config import read_config
from suite.metrics.figures import FIGURES, SCORES, Figure
from suite.publish.formulas import NUMBERED
from suite.publish.snapshot import Computed, compute
from suite.publish.verify import verify

FOLDER = Path(__file__).parent / "snapshots"
DAYS = ("2026-11-26", "2026-11-29")
CELL = "cells/tiny-135m/sciq/cloze-sum-plain-0/rtn-w4.parquet"


@pytest.fixture(scope="module", params=DAYS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Computed]:
    """An older snapshot, and what today's code makes of its cells."""
    return unpacked(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def latest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Computed]:
    """One whose facts are made again: it has today's formula numbers, and other code than today's wrote it."""
    models = {"tiny-135m": 0.135, "small-360m": 0.36}
    folder = small_snapshot(tmp_path_factory.mktemp("latest"), models=models)
    sign(folder, lambda content: content["suite"].update(code="sha256:" + 64 * "0"))
    return folder, compute(folder, read_config(folder / "config.yaml"))


def unpacked(day: str, factory: pytest.TempPathFactory) -> tuple[Path, Computed]:
    folder = factory.mktemp("older")
    with tarfile.open(FOLDER / f"{day}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder, compute(folder, read_config(folder / "config.yaml"))


@pytest.fixture
def edited() -> Any:
    """Change files of a snapshot for one test."""
    before: dict[Path, bytes] = {}

    def edit(file: Path, change: Callable[[Path], object]) -> None:
        for one in (file, file.parent / "manifest.json"):
            if one.is_file():
                before.setdefault(one, one.read_bytes())
        change(file)

    yield edit
    for file, content in before.items():
        file.write_bytes(content)


@pytest.fixture
def today(latest: tuple[Path, Computed], monkeypatch: pytest.MonkeyPatch) -> Computed:
    """Today's computation of the latest one, to be changed: verifying takes what this test leaves in it."""
    found = deepcopy(latest[1])
    found = replace(found, standings=replace(found.standings, ranking=[dict(line) for line in found.standings.ranking]))
    monkeypatch.setattr("suite.publish.verify.compute", lambda *_: found)
    return found


def flip(file: Path) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :])


def rewrite(edit: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    """Change records of a JSON file, or lines of a CSV file."""

    def change(file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            records = json.loads(text)
            edit(records)
            file.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            return
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
        edit(lines)
        sink = io.StringIO(newline="")
        writer = csv.DictWriter(sink, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        file.write_text(sink.getvalue(), encoding="utf-8")

    return change


def problems(folder: Path) -> list[str]:
    return verify(folder).problems


def test_an_older_snapshot_is_green(published: tuple[Path, Computed], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = published
    assert main(["verify", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert ": 6 cells, " in out
    assert out.endswith("is what the cells give, pages and pictures are as published\n")
    numbered = "formulas" in json.loads((folder / "manifest.json").read_text())
    assert ("computed by formula 1, today 2: " in err) == (not numbered)


@pytest.mark.parametrize(
    "name",
    [
        *("rows.csv", "ranking.csv", "equal-megabytes.csv", "verdicts.json", "decoupling.json", "scale.json"),
        *("LEADERBOARD.md", "index.html", "config.yaml", "environment.json", "manifest.json"),
        *("rows.parquet", CELL, "figures/levels.png"),
    ],
)
def test_whatever_is_changed_is_named(
    published: tuple[Path, Computed], edited: Any, name: str, monkeypatch: Any
) -> None:
    folder, computed = published
    if name not in (CELL, "config.yaml"):
        monkeypatch.setattr("suite.publish.verify.compute", lambda *_: computed)
    file = folder / name
    text = file.suffix not in (".parquet", ".png") and re.search(r"\d", file.read_text(encoding="utf-8"))
    edited(file, another_digit if text else flip)
    assert any(problem.startswith(f"{name}: ") for problem in problems(folder))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("rows.csv", lambda lines: lines[2].update(nll="0.5"), r"rows.csv: line 4 \(.*/sciq/.*\), nll: 0.5 stored, "),
        ("rows.csv", lambda lines: lines.pop(), "rows.csv: 5 lines|rows.csv: 6 lines"),
        ("rows.csv", lambda lines: lines[1].update(flags="ties"), "rows.csv: line 3 .* flags: ties stored, "),
        ("ranking.csv", lambda lines: lines[3].update(group="9"), "ranking.csv: line 5 .*, group: 9 stored, "),
        ("ranking.csv", lambda lines: lines.pop(4), "ranking.csv: 12 lines stored, 13 from the cells"),
        ("verdicts.json", lambda records: records[1].update(verdict="gradual"), "verdicts.json: line "),
        ("verdicts.json", lambda records: records[1].pop("jump"), "verdicts.json: line "),
        ("verdicts.json", lambda records: records.pop(), "verdicts.json: "),
        ("verdicts.json", lambda records: records[0]["notes"].append("sure"), "verdicts.json: line "),
        ("decoupling.json", lambda records: records[2].update(margin=0.2), "decoupling.json: line "),
        ("decoupling.json", lambda records: records.clear(), "decoupling.json: "),
        ("scale.json", lambda records: records[0]["models"][0].update(low=1.0), "scale.json: line "),
        ("doses.json", lambda records: records[0]["levels"][0].update(loss=0.125), "doses.json: line "),
        ("doses.json", lambda records: records[0].update(kept_through="rtn-w2"), "doses.json: line "),
        ("doses.json", lambda records: records.pop(), "doses.json: "),
    ],
)
def test_a_forged_fact_under_a_forged_manifest_is_named(
    latest: tuple[Path, Computed], today: Computed, edited: Any, name: str, change: Any, said: str
) -> None:
    folder, _ = latest
    edited(folder / name, rewrite(change))
    sign(folder)
    assert any(re.match(said, problem) for problem in problems(folder)), problems(folder)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda content: content["models"][0].update(params=7), "models"),
        (lambda content: content["tasks"][0].update(items_hash="sha256:0"), "tasks"),
        (lambda content: content["variants"].pop(), "variants"),
        (lambda content: content["protocol"].update(alpha=0.2), "protocol"),
        (lambda content: content["library_versions"]["tables"].pop("suite"), "library_versions"),
        (lambda content: content.update(cells=5), "cells"),
        (lambda content: content.update(configuration="sha256:0"), "configuration"),
    ],
)
def test_a_forged_description_is_named(
    latest: tuple[Path, Computed], today: Computed, edited: Any, change: Any, key: str
) -> None:
    folder, _ = latest
    edited(folder / "manifest.json", lambda _: sign(folder, change))
    assert problems(folder) == [f"manifest.json: {key!r} is not what cells, configuration and environment say"]


def remarks(folder: Path) -> list[str]:
    """What verify says of a snapshot that is right, but for figures whose formula is another one since it was made."""
    report = verify(folder)
    assert report.problems == []
    again = r"computed by formula \d+, today \d+: [^;]+(; )?"
    known = [re.sub(again, "", remark).removesuffix("; ") for remark in report.remarks]
    return [remark for remark in known if remark != "held to the checksums of the manifest: "]


def test_a_new_metric_is_asked_of_no_older_snapshot(
    latest: tuple[Path, Computed], today: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an interval, a place among the verdicts and one in the rankings, whatever number its formula starts with."""
    monkeypatch.setitem(FIGURES, "sharpness", Figure(SCORES, formula=1, interval=1))
    for row in today.rows:
        row |= {"sharpness": 0.5, "sharpness_low": 0.4, "sharpness_high": None}
        row["notes"] = {**row["notes"], "sharpness_high": "too few of 40 items"}  # type: ignore[dict-item]
    verdicts = today.records["verdicts.json"]
    verdicts += [one | {"metric": "sharpness", "jump": 3.0} for one in verdicts if one["metric"] == "nll_ts"]
    ranking = today.standings.ranking
    ranking += [{**line, "metric": "sharpness"} for line in ranking if line["metric"] == "accuracy"]  # type: ignore
    assert remarks(latest[0]) == [
        "ranking.csv: written without what is said of sharpness",
        "verdicts.json: written without what is said of sharpness",
        "rows.csv: written without sharpness, sharpness_low, sharpness_high",
    ]


def test_a_new_column_key_and_file_are_asked_of_no_older_snapshot(
    latest: tuple[Path, Computed], today: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NUMBERED, "dose.json", replace(NUMBERED["scale.json"], formula=1))
    today.records["dose.json"] = [{"kept_through": "rtn-w4"}]
    for record in today.records["scale.json"]:
        record["unit"] = "options"
        for model in record["models"]:  # type: ignore[attr-defined]
            model["tasks"] = 4
    for line in today.standings.ranking:
        line["protocol"] = "exact"  # type: ignore[index]
    assert remarks(latest[0]) == [
        "written without dose.json",
        "ranking.csv: written without protocol",
        "scale.json: written without models.tasks, unit",
    ]


def test_a_figure_key_and_file_that_nothing_computes_any_more_are_held_and_said(
    latest: tuple[Path, Computed], today: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(FIGURES, "ace")
    monkeypatch.delitem(NUMBERED, "decoupling.json")
    del today.records["decoupling.json"]
    for row in today.rows:
        del row["ace"]
    for record in today.records["verdicts.json"]:
        del record["minimum_detectable"]
    for line in today.standings.ranking:
        del line["entries"]  # type: ignore[attr-defined]
    assert remarks(latest[0]) == [
        "ranking.csv: no longer computed, held to the checksum: entries",
        "verdicts.json: no longer computed, held to the checksum: minimum_detectable",
        "held to the checksums of the manifest: no longer computed: ace; no longer computed: decoupling.json",
    ]
    flip(latest[0] / "decoupling.json")
    try:
        assert problems(latest[0]) == ["decoupling.json: changed since the snapshot was written"]
    finally:
        flip(latest[0] / "decoupling.json")


def test_other_words_in_notes_are_a_remark_and_other_numbers_a_fault(
    latest: tuple[Path, Computed], today: Computed
) -> None:
    row = next(row for row in today.rows if row["notes"])
    told: dict[str, Any] = dict(row["notes"])  # type: ignore[call-overload]
    key = next(iter(told))
    record = next(one for one in today.records["verdicts.json"] if re.search(r"\d", "".join(one["notes"])))
    at = next(place for place, note in enumerate(record["notes"]) if re.search(r"\d", note))
    row["notes"] = told | {key: f"in short: {told[key]}" if isinstance(told[key], str) else told[key]}
    record["notes"][at] = "put otherwise, " + " and ".join(re.findall(r"\d+(?:\.\d+)?", record["notes"][at])[::-1])
    assert remarks(latest[0]) == [
        "rows.csv: 1 notes are worded otherwise today",
        "rows.parquet: 1 notes are worded otherwise today",
        "verdicts.json: 1 notes are worded otherwise today",
    ]
    record["notes"][at] += " of 77"
    assert [problem.partition(":")[0] for problem in problems(latest[0])] == ["verdicts.json"]
    row["notes"] = told | {key: f"{told[key]} 0.125"}
    assert any(", notes: " in problem for problem in problems(latest[0]))
    row["notes"] = told | {"brier": "a note more"}
    assert any(", notes: " in problem for problem in problems(latest[0]))


def test_rows_and_columns_in_another_order_are_the_same_rows(
    latest: tuple[Path, Computed], today: Computed, edited: Any
) -> None:
    today.rows[:] = [dict(reversed(row.items())) for row in reversed(today.rows)]
    assert remarks(latest[0]) == ["rows.csv: in another order than today's"]
    edited(latest[0] / "rows.csv", rewrite(lambda lines: lines[0].update(nll="0.5")))
    sign(latest[0])
    assert any(", nll: 0.5 stored, " in problem for problem in problems(latest[0]))


def test_keys_that_a_manifest_was_written_without_are_a_remark(
    latest: tuple[Path, Computed], today: Computed, monkeypatch: pytest.MonkeyPatch, edited: Any
) -> None:
    from suite.publish.manifest import describe

    def described(*args: Any, **kwargs: Any) -> dict[str, Any]:
        found = describe(*args, **kwargs)
        found["hardware"]["memory"] = 64
        for one in found["models"]:
            one["owner"] = "me"
        del found["variants"][0]["recipe"]
        for one in found["variants"]:
            one.pop("recipe", None)
        return found | {"policies": []}

    monkeypatch.setattr("suite.publish.verify.describe", described)
    assert remarks(latest[0]) == ["manifest.json: written without hardware.memory, models.owner, policies"]
    edited(
        latest[0] / "manifest.json", lambda _: sign(latest[0], lambda content: content["models"][1].update(params=7))
    )
    assert problems(latest[0]) == ["manifest.json: 'models' is not what cells, configuration and environment say"]
