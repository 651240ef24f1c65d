"""The reader of published ladders: files become cells, published calibration errors are compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "studies" / "reproduce_ladders.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce_ladders", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folder_without_the_files_is_one_line(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "SUITE_PUBLISHED_DATA" in error


def test_published_errors_are_compared(script: ModuleType, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "qwen2.5").mkdir()
    for condition in ("bf16", "affine_b4_g64"):
        scores = np.log(generator.dirichlet(np.ones(4), size=61))
        answers = generator.integers(0, 4, 61)
        rows = [
            {"item_id": f"q{i}", "answer_idx": int(a), "logprobs": s.tolist(), "status": "ok" if i else "failed"}
            for i, (a, s) in enumerate(zip(answers, scores, strict=True))
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "qwen2.5" / f"m-0.5b__{condition}__quiz.parquet")
    # four items a bin, by hand
    top, right = np.exp(scores[1:]).max(axis=1), scores[1:].argmax(axis=1) == answers[1:]
    ranks = np.argsort(np.argsort(top)) // 4
    expected = sum(abs(right[ranks == b].mean() - top[ranks == b].mean()) for b in range(15)) / 15
    (tmp_path / "published_ece.csv").write_text(
        f"model,benchmark,condition,ece\nm-0.5b,quiz,affine_b4_g64,{expected + 0.25}\n"
    )
    cells = script.read_ladder(tmp_path)
    assert [(cell.variant["name"], len(cell)) for cell in cells] == [("affine-w4-g64", 60), ("dense", 60)]
    ((*key, published, ours),) = script.published_errors(tmp_path, cells)
    assert key == ["m-0.5b", "quiz", "affine-w4-g64"]
    assert ours == pytest.approx(expected)
    assert published - ours == pytest.approx(0.25)
    assert script.bits_a_weight("affine-w3-g32") == "4.00"
    assert "1 cells, largest difference\n2.5e-01" in script.page([(*key, published, ours)], [])
