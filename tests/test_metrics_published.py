"""The published tables of arXiv 2401.12794 from the published logits. Skips where the data is not at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from suite import measure
from suite.cell import Cell

SHARED = Path(os.environ.get("SUITE_SHARED", Path(__file__).parents[1] / ".." / "shared"))
PUBLISHED = SHARED / "data" / "published"
needs_data = pytest.mark.skipif(
    not (PUBLISHED / "published_table.json").is_file(),
    reason="needs data/published (published_table.json, qa.npz, drs.npz, ds.npz) in the folder named by SUITE_SHARED",
)


def cells_of(task, models=slice(None)):
    data = np.load(PUBLISHED / f"{task}.npz", allow_pickle=False)
    ids = tuple(str(row) for row in range(len(data["answers"])))
    for m, name in list(enumerate(data["models"]))[models]:
        for p, prompt in enumerate(data["prompts"]):
            yield Cell(
                ids=ids,
                answers=data["answers"].astype(np.int64),
                n_options=np.full(len(ids), 6),
                scores=data["logits"][m, p],
                kind="logits",
                model={"name": str(name)},
                variant={"name": "dense"},
                task={"name": task, "scoring": "letter", "prompt": str(prompt), "shots": 0},
            )


@needs_data
@pytest.mark.parametrize("task", ["qa", "drs", "ds"])
def test_published_accuracies_set_sizes_and_uacc_are_reproduced(task):
    table = json.loads((PUBLISHED / "published_table.json").read_text())["models"]
    rows = measure(list(cells_of(task)), protocol="ye2024", replicates=0)
    for name, entry in table.items():
        mine = [row for row in rows if row["model"] == name]
        assert len(mine) == 3
        key = task.upper()
        accuracy = 100 * np.mean([row["accuracy"] for row in mine])
        assert accuracy == pytest.approx(entry["accuracy_percent"][key], abs=0.01), name
        size = np.mean([row["set_size"] for row in mine])
        assert size == pytest.approx(entry["set_size"][key], abs=0.02), name
        uacc = 100 * np.mean([row["uacc"] for row in mine])
        assert uacc == pytest.approx(entry["uacc_percent"][key], abs=0.5), name


@needs_data
def test_exact_protocol_agrees_with_mapie_and_netcal_on_published_logits():
    # measure raises where the kernel and the libraries differ
    rows = measure(list(cells_of("qa", slice(0, 2))), splits=5, replicates=0)
    assert all(abs(row["lac_coverage"] - 0.9) < 0.01 for row in rows)
