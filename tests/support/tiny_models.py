"""Configurations of every tested shape, tiny, and a tokenizer trained on a few lines."""

from __future__ import annotations

from typing import Any

TEXT = [
    "The moon moves around the earth once a month, and the earth moves around the sun once a year.",
    "Question: Which of these is a metal? Answer: iron. Question: What do plants need to grow? Answer: light, water.",
    " ".join(f"Answer: {letter}" for letter in "ABCDEF" * 4),
    "The following are multiple choice questions (with answers) about high school physics.",
    "A man is sitting on a roof. He starts to remove the old tiles, one by one, and throws them to the ground.",
]


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
