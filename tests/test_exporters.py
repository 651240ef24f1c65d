"""Snapshots in the formats of others: what those formats demand, and that every number is the row's."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from support.dose_curves import curve
from support.synthetic_cells import synthetic_cells
from support.synthetic_snapshot import publish, write_run

from suite.cell import Cell
from suite.cli import main

HOSTILE = '=HYPERLINK("http://evil.example")'


def invented() -> list[Cell]:
    return [
        *synthetic_cells(
            models={"tiny-135m": 0.135, HOSTILE: 1.0}, variants=("dense", "rtn-w4"), tasks={"sciq": 4}, n=60
        ),
        *synthetic_cells(variants=("dense", "rtn-w4"), tasks={"boolq": 2}, scoring="letter", n=60),
        *synthetic_cells(variants=("dense", "rtn-w4"), tasks={"openbookqa": 4}, scoring="cloze-norm", n=60),
    ]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    return publish(write_run(folder / "run", invented()), folder / "snapshot")


@pytest.fixture(scope="module")
def rows(snapshot: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    table = pq.read_table(snapshot / "rows.parquet").to_pylist()
    return {(row["model"], row["variant"], row["task"]): row for row in table}


def exported(kind: str, snapshot: Path, out: Path) -> dict[str, Path]:
    assert main(["export", kind, str(snapshot), "--out", str(out)]) == 0
    return {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}


# ---------------------------------------------------------------- Every Eval Ever

# What version 0.3.0 of the schema demands of the parts that are used here.
REQUIRED = {
    "": ("schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library"),
    "source_metadata": ("source_type", "source_organization_name", "evaluator_relationship"),
    "eval_library": ("name", "version"),
    "model_info": ("name", "id", "additional_details"),
}
TOP = {
    *(
        "schema_version",
        "evaluation_id",
        "evaluation_timestamp",
        "retrieved_timestamp",
        "source_metadata",
        "model_info",
    ),
    *("eval_library", "evaluation_results", "detailed_evaluation_results"),
}


def check_record(record: dict[str, Any]) -> None:
    """The demands of the schema, by hand: required keys, closed lists, free fields of text, ranges of scores."""
    assert set(record) <= TOP
    for part, keys in REQUIRED.items():
        assert set(keys) <= set(record if part == "" else record[part])
    assert record["schema_version"] == "0.3.0"
    assert record["source_metadata"]["source_type"] in ("documentation", "evaluation_run")
    assert record["source_metadata"]["evaluator_relationship"] in (
        "first_party",
        "third_party",
        "collaborative",
        "other",
    )
    details = record["model_info"]["additional_details"]
    assert details["deployment_type"] in ("self_deployed", "externally_managed", "unknown")
    assert details["model_availability"] in ("open_weights", "closed_weights", "unknown")
    assert record["evaluation_results"]
    for result in record["evaluation_results"]:
        assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(result)
        assert result["source_data"]["source_type"] == "other"
        assert isinstance(result["source_data"]["dataset_name"], str)
        config, details = result["metric_config"], result["score_details"]
        assert isinstance(config["lower_is_better"], bool)
        assert isinstance(details["score"], float)
        assert config["score_type"] == "continuous"  # which asks for both ends
        assert config["min_score"] <= details["score"]
        assert config["max_score"] == "Infinity" or details["score"] <= config["max_score"]
        interval = details["uncertainty"].get("confidence_interval")
        if interval is not None:
            assert interval["lower"] <= interval["upper"]
            assert interval["confidence_level"] == 0.95
        assert isinstance(details["uncertainty"]["num_samples"], int)

    def free(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("additional_details", "details"):
                    assert all(isinstance(text, str) for text in inner.values()), inner
                free(inner)
        elif isinstance(value, list):
            for inner in value:
                free(inner)

    free(record)


def test_every_eval_ever_records_meet_the_schema_itself(snapshot: Path, tmp_path: Path) -> None:
    """Against the file that Every Eval Ever publishes, where someone names one; it is not ours to keep here."""
    if not (file := os.environ.get("EEE_SCHEMA")):
        pytest.skip("EEE_SCHEMA does not name the eval.schema.json of Every Eval Ever")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(Path(file).read_text(encoding="utf-8"))
    for path in exported("eee", snapshot, tmp_path).values():
        jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)


def test_every_eval_ever_records_meet_the_schema_and_hold_the_rows(
    snapshot: Path, tmp_path: Path, rows: dict[tuple[str, str, str], dict[str, Any]]
) -> None:
    files = exported("eee", snapshot, tmp_path)
    assert len(files) == 4
    seen = 0
    for path in files.values():
        record = json.loads(path.read_text(encoding="utf-8"))
        check_record(record)
        variant = record["model_info"]["additional_details"]["variant"]
        manifest = json.loads((snapshot / "manifest.json").read_text())
        assert record["source_metadata"]["additional_details"]["snapshot_sha256"] == manifest["checksum"][7:]
        for result in record["evaluation_results"]:
            task, key = result["evaluation_name"].split(" ")
            row = rows[record["model_info"]["id"], variant, task]
            assert result["score_details"]["score"] == row[key]
            interval = result["score_details"]["uncertainty"].get("confidence_interval")
            if interval is not None:
                assert (interval["lower"], interval["upper"]) == (row[f"{key}_low"], row[f"{key}_high"])
                assert not key.startswith("ece")  # its interval belongs to another estimate
                assert interval["method"].startswith("exact") == (key.startswith(("acc", "brier")) or "coverage" in key)
                resampled = "num_bootstrap_samples" in result["score_details"]["uncertainty"]
                assert resampled == (interval["method"] != "exact binomial")
            if key == "set_size":
                assert result["metric_config"]["max_score"] == pytest.approx(2 if task == "boolq" else 4)
            seen += 1
    assert seen > 60


# ---------------------------------------------------------------- lm-eval


def test_lm_eval_results_have_its_shape_and_hold_the_rows(
    snapshot: Path, tmp_path: Path, rows: dict[tuple[str, str, str], dict[str, Any]]
) -> None:
    files = exported("lm-eval", snapshot, tmp_path)
    results = json.loads(files["tiny-135m__rtn-w4/results.json"].read_text(encoding="utf-8"))
    kept = Path(__file__).parent / "test_importers_data" / "lm_eval_0.4.13"
    real = json.loads(next(kept.glob("results_*.json")).read_text())
    assert set(results["config"]) >= {"model", "model_args"} <= set(real["config"])
    for part in ("n-shot", "versions"):
        assert set(results[part]) == {"boolq", "openbookqa", "sciq"}
    names = {"boolq": "acc", "sciq": "acc", "openbookqa": "acc_norm"}
    for task, name in names.items():
        row, found = rows["tiny-135m", "rtn-w4", task], results["results"][task]
        assert found[f"{name},none"] == row["accuracy"]
        error = (row["accuracy_high"] - row["accuracy_low"]) / 2 / 1.96
        assert found[f"{name}_stderr,none"] == pytest.approx(error, rel=1e-4)
        assert found["set_size,none"] == row["set_size"]
        assert found["ece_stderr,none"] == "N/A"
        assert results["higher_is_better"][task][name] is True
        assert results["higher_is_better"][task]["set_size"] is False
        assert results["n-samples"][task] == {"original": 60, "effective": 60}


# ---------------------------------------------------------------- model cards


def test_model_cards_are_read_by_the_hub_s_own_library(
    snapshot: Path, tmp_path: Path, rows: dict[tuple[str, str, str], dict[str, Any]]
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    files = exported("model-card", snapshot, tmp_path)
    card = hub.ModelCard(files["tiny-135m/rtn-w4.md"].read_text(encoding="utf-8"))
    found = {(entry.dataset_type, entry.metric_type): entry for entry in card.data.eval_results}
    assert len(found) == 15
    for (task, key), entry in found.items():
        row = rows["tiny-135m", "rtn-w4", task]
        assert entry.metric_value == row[key]
        assert (key == "ece") == (task == "boolq" and key.startswith("ece"))
    assert card.data.model_name == "tiny-135m rtn-w4"


def test_model_cards_say_what_is_known_of_the_certainty(snapshot: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    with_doses = shutil.copytree(snapshot, tmp_path / "with doses")
    doses = curve("tiny-135m", "rtn", ("rtn-w8", "rtn-w4", "rtn-w3"), "kwl") + curve(HOSTILE, "rtn", ("rtn-w4",), "n")
    doses += curve("tiny-135m", "rtn", ("rtn-w8", "rtn-w4"), "ll", metric="accuracy")
    (with_doses / "doses.json").write_text(json.dumps(doses), encoding="utf-8")
    files = exported("model-card", with_doses, tmp_path / "out")
    text = files["tiny-135m/rtn-w4.md"].read_text(encoding="utf-8")
    assert text.split("---\n")[2] == (
        "\nCertainty (Brier score after temperature, average of tasks): `rtn-w4` is **worse**. rtn is kept through "
        "`rtn-w8` at a tolerance of 0.05 and lost from `rtn-w3` at 0.25 of the way from dense to chance, for this "
        "checkpoint on items like these.\n"
    )
    assert len(hub.ModelCard(text).data.eval_results) == 15
    assert files["tiny-135m/dense.md"].read_text(encoding="utf-8").endswith("---\n")
    (strange,) = [path for name, path in files.items() if "HYPERLINK" in name and "rtn-w4" in name]
    assert "is **not known**. rtn is kept through no level" in strange.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{}", "[1]", "no JSON"])
def test_damaged_doses_are_one_line(
    snapshot: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(snapshot, tmp_path / "damaged")
    (damaged / "doses.json").write_text(content, encoding="utf-8")
    assert main(["export", "model-card", str(damaged), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "doses.json: not" in line


def test_hostile_names_stay_values(snapshot: Path, tmp_path: Path) -> None:
    files = exported("model-card", snapshot, tmp_path)
    (name,) = [name for name in files if "HYPERLINK" in name and "dense" in name]
    front = files[name].read_text(encoding="utf-8").split("---\n")[1]
    assert yaml.safe_load(front)["model-index"][0]["name"] == HOSTILE
    # and no cell of a spreadsheet starts a formula
    for table in ("rows.csv", "ranking.csv", "equal-megabytes.csv"):
        text = (snapshot / table).read_text(encoding="utf-8")
        assert not re.search(r'(?:^|,)"?[=@+]', text, re.MULTILINE)
    assert "'=HYPERLINK" in (snapshot / "ranking.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["eee", "lm-eval", "model-card"])
def test_the_same_snapshot_gives_the_same_files(snapshot: Path, tmp_path: Path, kind: str) -> None:
    first, second = exported(kind, snapshot, tmp_path / "a"), exported(kind, snapshot, tmp_path / "b")
    assert {name: path.read_bytes() for name, path in first.items()} == {
        name: path.read_bytes() for name, path in second.items()
    }


def test_unknown_formats_and_edited_snapshots_are_refused(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "helm", str(snapshot), "--out", str(tmp_path)]) == 2
    assert "Valid: eee, lm-eval, model-card" in capsys.readouterr().err
    assert main(["export", "eee", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    edited = tmp_path / "edited"
    edited.mkdir()
    (edited / "manifest.json").write_text((snapshot / "manifest.json").read_text().replace("sciq", "scix"))
    assert main(["export", "eee", str(edited), "--out", str(tmp_path / "out")]) == 2
    assert "it was edited" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
