"""Small stand-ins of the shapes that real checkpoints have: random weights, a tokenizer trained on a few lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# Threads of a library would only take the cores from one another, and from the tests that run beside.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

TEXT = [
    "The moon moves around the earth once a month, and the earth moves around the sun once a year.",
    "Question: Which of these is a metal? Answer: iron. Question: What do plants need to grow? Answer: light, water.",
    " ".join(f"Answer: {letter}" for letter in "ABCDEF" * 4),
    "The following are multiple choice questions (with answers) about high school physics.",
    "A man is sitting on a roof. He starts to remove the old tiles, one by one, and throws them to the ground.",
]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests work in a cache of their own, so that nothing depends on what a developer ran before.

    All test processes share it: a GGUF file is converted once.
    """
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"))
        yield


def build_tokenizer(bos: bool = False) -> Any:
    """A byte-level BPE tokenizer of 384 tokens, trained on `TEXT`; with `bos` it starts every text with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def tiny_config(shape: str) -> Any:
    """A model configuration with the structure of a family: grouped heads, window layers, head tying, soft caps."""
    from transformers import Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    common: dict[str, Any] = {
        "vocab_size": 384,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "initializer_range": 0.2,
    }
    windowed = {"sliding_window": 8, "head_dim": 16, "query_pre_attn_scalar": 16}
    if shape == "llama":
        return LlamaConfig(**common, tie_word_embeddings=False)
    if shape == "qwen2":
        return Qwen2Config(**common, tie_word_embeddings=True)
    if shape == "qwen3":
        return Qwen3Config(**common, head_dim=16, tie_word_embeddings=True)
    if shape == "mistral":
        return MistralConfig(**common, sliding_window=8, tie_word_embeddings=False)
    if shape == "gemma2":
        return Gemma2Config(**common, **windowed, final_logit_softcapping=5.0, attn_logit_softcapping=2.0)
    if shape == "gemma3":
        layers = ["sliding_attention", "full_attention", "sliding_attention"]
        return Gemma3TextConfig(**common, **windowed, layer_types=layers)
    raise ValueError(shape)


SHAPES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "mistral")
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
