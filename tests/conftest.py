"""Small stand-ins of the shapes that real checkpoints have: random weights, a tokenizer trained on a few lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.tiny_models import SHAPES, TEXT, build_tokenizer, tiny_config

# A busy machine is no failure.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# Threads of a library would only take the cores from one another, and from the tests that run beside.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests work in a cache of their own, so that nothing depends on what a developer ran before.

    All test processes share it: a GGUF file is converted once.
    """
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"))
        yield


WITH_BOS = ("gemma2", "gemma3", "mistral")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved checkpoint folder for each shape."""
    import torch
    from transformers import AutoModelForCausalLM

    folders: dict[str, Path] = {}
    for seed, shape in enumerate(SHAPES):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(tiny_config(shape))
        folder = tmp_path_factory.mktemp("models") / f"tiny-{shape}"
        network.save_pretrained(folder)
        build_tokenizer(bos=shape in WITH_BOS).save_pretrained(folder)
        folders[shape] = folder
    return folders


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("\n\n".join(f"{line} {number}" for number in range(20) for line in TEXT), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def quiz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("task") / "quiz.jsonl"
    rows = [
        {
            "id": f"q{n}",
            "question": f"{n} and one is?",
            "choices": [str(n), str(n + 1), "a tree"],
            "answer_index": 1,
        }
        for n in range(6)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file
