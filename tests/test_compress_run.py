"""Data-driven and ready-made variants in a run: cells, keys, the cache, failures that stay alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

from suite.cell import load_cells
from suite.compress.magnitude import prune
from suite.config import RunConfig, parse_config
from suite.errors import SuiteError
from suite.run.pipeline import execute
from suite.run.plan import plan
from suite.sample_text import Sampling

pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")


@pytest.fixture
def config(
    tiny_models: dict[str, Path],
    quiz: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> RunConfig:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "pruned"
    shutil.copytree(tiny_models["llama"], made)
    weights = {
        name: prune(weight, 0.5) if name.endswith("_proj.weight") else weight
        for name, weight in load_file(made / "model.safetensors").items()
    }
    save_file(weights, made / "model.safetensors", {"format": "pt"})
    parent = str(tiny_models["llama"])
    raw = {
        "models": [parent],
        "tasks": [{"name": str(quiz)}],
        "variants": ["dense", "gptq-w4-g32", "gptq-w4-g64", "wanda-2:4", "magnitude-s50"],
        "ready_made": [{"checkpoint": str(made), "dense": parent, "variant": "wanda-s50"}],
        "sample_text": {"source": str(text), "samples": 4, "length": 32},
        "dtype": "float32",
        "device": "cpu",
        "protocol": {"splits": 2, "replicates": 20},
    }
    return parse_config(yaml.safe_load(yaml.safe_dump(raw)), "test.yaml")


def test_a_run_scores_made_and_ready_made_variants(config: RunConfig, tmp_path: Path) -> None:
    result = execute(config, tmp_path / "run", log=lambda line: None)
    assert (result.scored, result.reused) == (5, 0)
    # 96 inputs do not divide by 64: that cell fails, the others do not
    (failure,) = result.failures
    assert failure["variant"] == "gptq-w4-g64"
    assert "group size 64 does not divide the 96 inputs" in failure["reason"]
    cells = {str(cell.variant["name"]): cell for cell in load_cells([tmp_path / "run"])}
    assert set(cells) == {"dense", "gptq-w4-g32", "wanda-2:4", "magnitude-s50", "wanda-s50"}
    assert {cell.model["name"] for cell in cells.values()} == {"tiny-llama"}
    # the checkpoint that is called wanda was pruned by size: the same weights, the same scores
    np.testing.assert_array_equal(cells["wanda-s50"].scores, cells["magnitude-s50"].scores)
    assert cells["wanda-s50"].variant["checkpoint"]["id"] == "pruned"
    assert cells["wanda-2:4"].variant["n_of_m_held"] is True
    assert "text.txt@sha256:" in cells["gptq-w4-g32"].variant["recipe"]
    assert cells["gptq-w4-g32"].variant["saved_bytes"] > 0
    assert len(list((tmp_path / "cache" / "compressed").iterdir())) == 2
    # another directory: nothing is compressed again, and the numbers are the same
    kept = {folder.name: folder.stat().st_mtime_ns for folder in (tmp_path / "cache" / "compressed").iterdir()}
    execute(config, tmp_path / "again", log=lambda line: None)
    for cell in load_cells([tmp_path / "again"]):
        first = cells[str(cell.variant["name"])]
        np.testing.assert_array_equal(cell.scores, first.scores)
        assert cell.variant["relative_weight_error"] == first.variant["relative_weight_error"]
    assert {folder.name for folder in (tmp_path / "cache" / "compressed").iterdir()} == set(kept)
    assert execute(config, tmp_path / "run", log=lambda line: None).reused == 5


def test_sample_text_and_checkpoints_decide_keys_of_what_they_decide(config: RunConfig, tmp_path: Path) -> None:
    from dataclasses import replace

    def keys(given: RunConfig) -> dict[str, str]:
        return {cell.variant.name: cell.key for cell in plan(given, tmp_path, dtype="float32", device="cpu")}

    before = keys(config)
    after = keys(replace(config, sample_text=replace(config.sample_text, seed=1)))
    assert {name for name in before if before[name] != after[name]} == {"gptq-w4-g32", "gptq-w4-g64", "wanda-2:4"}
    made = Path(config.ready_made[0].checkpoint)
    about = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**about, "rms_norm_eps": 0.5}))
    assert {name for name, key in keys(config).items() if key != before[name]} == {"wanda-s50"}


def test_defaults_leave_the_hash_of_older_configurations_alone(config: RunConfig) -> None:
    from dataclasses import replace

    plain = replace(config, sample_text=Sampling(), ready_made=())
    assert len({plain.hash, config.hash, replace(plain, ready_made=config.ready_made).hash}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_text": {"sample": 3}}, "unknown key 'sample' in 'sample_text': did you mean 'samples'?"),
        ({"sample_text": {"samples": 0}}, "sample text: samples 0 out of range"),
        ({"sample_text": {"source": 3}}, "sample_text source must be a file"),
        ({"ready_made": {"a": 1}}, "'ready_made' must be a list"),
        ({"ready_made": [{"checkpoint": "x"}]}, "a ready-made variant needs a 'dense'"),
        ({"ready_made": [{"checkpoint": "x", "dense": "y"}]}, "its 'dense' 'y' is not one of 'models'"),
    ],
)
def test_configurations_that_are_refused(change: dict[str, object], message: str) -> None:
    raw = {"models": ["m"], "tasks": ["sciq"], "variants": ["dense"], **change}
    with pytest.raises(SuiteError) as caught:
        parse_config(raw, "x.yaml")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_sample_text_that_is_missing_is_found_before_anything_is_written(config: RunConfig, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(SuiteError, match=r"sample text none\.txt: No such file"):
        execute(replace(config, sample_text=Sampling("none.txt")), tmp_path / "run", log=lambda line: None)
    assert not (tmp_path / "run").exists()
