"""Every method on an architecture that none of them can take apart: one line each, and nothing on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, JetMoeConfig

from suite.compress import apply
from suite.errors import SuiteError
from suite.methods import METHODS
from suite.sample_text import SampleTokens
from suite.variant import parse_variant

NAMES = {
    "rtn": "rtn-w8kv8",
    "gptq": "gptq-w4",
    "awq": "awq-w4",
    "smoothquant": "smoothquant-w8a8",
    "spinquant": "spinquant-w4a4",
    "quip": "quip-w4a4",
    "magnitude": "magnitude-2:4",
    "wanda": "wanda-s50",
    "sparsegpt": "sparsegpt-2:4",
    "depth": "depth-s50",
    "width": "width-s50",
    "joint": "sparsegpt-s50+gptq-w4",
}


def test_no_method_is_left_out() -> None:
    assert set(NAMES) == {*METHODS, "joint"}


@pytest.mark.parametrize("name", NAMES.values())
def test_an_unsupported_architecture_is_one_line(name: str) -> None:
    pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")
    draw = np.random.default_rng(0)
    tokens = SampleTokens(draw.integers(0, 64, (2, 16)), draw.integers(0, 64, (1, 16)), "random tokens")
    # its experts are stacked in a form of their own
    config = JetMoeConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_key_value_heads=1, kv_channels=8,
        num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
    )  # fmt: skip
    with pytest.raises(SuiteError) as caught:
        apply(AutoModelForCausalLM.from_config(config), parse_variant(name), tokens)
    message = str(caught.value)
    assert "architecture 'jetmoe'" in message
    assert len(message.splitlines()) == 1


def test_what_libraries_say_does_not_reach_stdout(
    tiny_models: dict[str, Path],
    text: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")
    args = ["compress", "--model", tiny_models["llama"], "--variant", "awq-w4-g32@seed1", "--sample-text", text]
    args += ["--samples", 2, "--sample-length", 16, "--dtype", "float32", "--device", "cpu", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "suite", *map(str, args), "--out", str(tmp_path / "made")],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "awq-w4-g32@seed1"
