"""SentencePiece-style tokenizers rebuilt from the tokens of a GGUF file: words stay whole, the definition agrees."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import TEXT
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from suite.errors import SuiteError
from suite.models.checkpoint import Checkpoint, load
from suite.models.gguf_tokenizer import merges_by_product_id, rebuild_tokenizer
from suite.models.model import resolve_model

NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


def brute_merges(tokens: list[str], types: list[int]) -> list[tuple[str, str]]:
    """Every pair of ordinary tokens that makes an ordinary token, ordered by that token's id, then by its left part."""
    ordinary = [token for token, kind in zip(tokens, types, strict=True) if kind == NORMAL and token]
    pairs = [(tokens.index(a + b), len(a), a, b) for a in ordinary for b in ordinary if a + b in ordinary]
    return [(a, b) for _, _, a, b in sorted(pairs)]


def sentencepiece(text: str, ids: dict[str, int]) -> list[str]:
    """The definition: of all neighbours whose union is a token, join the pair with the smallest id, leftmost first."""
    pieces = list(text)
    while True:
        found = [
            (ids[left + right], index) for index, (left, right) in enumerate(pairwise(pieces)) if left + right in ids
        ]
        if not found:
            return pieces
        _, index = min(found)
        pieces[index : index + 2] = [pieces[index] + pieces[index + 1]]


@given(
    tokens=st.lists(st.text("ab▁", min_size=1, max_size=5), unique=True, max_size=25),
    data=st.data(),
)
def test_merges_equal_brute_force(tokens: list[str], data: st.DataObject) -> None:
    kinds = st.sampled_from([NORMAL, NORMAL, NORMAL, UNKNOWN, CONTROL, USER, BYTE])
    types = data.draw(st.lists(kinds, min_size=len(tokens), max_size=len(tokens)))
    assert merges_by_product_id(tokens, types) == brute_merges(tokens, types)


def test_merges_are_ordered_by_the_token_they_make() -> None:
    tokens = ["a", "b", "abc", "ab", "c", "bc"]
    assert merges_by_product_id(tokens, [NORMAL] * 6) == [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "c")]


def vocabulary() -> tuple[list[str], list[int]]:
    """Special tokens, 256 bytes, one token of the user's, then pieces learnt from a few lines, as Gemma has them."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learner.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=260, show_progress=False))
    learnt = [token for token, _ in sorted(learner.get_vocab().items(), key=lambda entry: entry[1])]
    special = [("<pad>", CONTROL), ("<eos>", CONTROL), ("<bos>", CONTROL), ("<unk>", UNKNOWN)]
    entries = [*special, *((f"<0x{byte:02X}>", BYTE) for byte in range(256)), ("<turn>", USER)]
    entries += [(token, NORMAL) for token in learnt]
    return [token for token, _ in entries], [kind for _, kind in entries]


TOKENS, TYPES = vocabulary()
IDS = {token: index for index, (token, kind) in enumerate(zip(TOKENS, TYPES, strict=True)) if kind == NORMAL}


def write_gemma(
    path: Path,
    *,
    add_bos: bool | None = True,
    prefix: bool | None = False,
    model: str = "llama",
    tensors: bool = True,
    blocks: int = 1,
    base: float = 10000.0,
    factor: float | None = None,
) -> Path:
    """A Gemma-3 of equal layers with random weights."""
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(base)
    if factor is not None:
        writer.add_string("gemma3.rope.scaling.type", "linear")
        writer.add_float32("gemma3.rope.scaling.factor", factor)
    writer.add_sliding_window(16)
    writer.add_tokenizer_model(model)
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-1000.0] * len(TOKENS))
    writer.add_token_types(TYPES)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    if prefix is not None:
        writer.add_add_space_prefix(prefix)
    shapes = {
        "token_embd": (len(TOKENS), 32),
        "output_norm": (32,),
        **{f"blk.0.{name}": (32,) for name in ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")},
        **{f"blk.0.attn_{name}_norm": (16,) for name in "qk"},
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32),
        **{f"blk.0.ffn_{name}": (32, 32) for name in ("gate", "up", "down")},
    }
    generator = np.random.default_rng(0)
    for name, shape in shapes.items() if tensors else ():
        values = generator.normal(size=shape).astype(np.float32)
        for block in range(blocks if name.startswith("blk.") else 1):
            writer.add_tensor(f"{name.replace('blk.0.', f'blk.{block}.')}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_linear_factor_of_gemma_3_is_that_of_the_layers_without_a_window(tmp_path: Path) -> None:
    """As in its sizes from 4B on; every sixth layer sees everything."""
    file = write_gemma(tmp_path / "gemma.gguf", blocks=6, base=1e6, factor=8.0)
    network = load(resolve_model(str(file)), dtype="float32").network
    assert network.config.layer_types == ["sliding_attention"] * 5 + ["full_attention"]
    found = {name: buffer.numpy() for name, buffer in network.model.rotary_emb.named_buffers()}
    steps = np.arange(0, 16, 2) / 16
    np.testing.assert_allclose(found["full_attention_inv_freq"], 1e6**-steps / 8, rtol=1e-6)
    np.testing.assert_allclose(found["sliding_attention_inv_freq"], 1e4**-steps, rtol=1e-6)


def rebuilt(path: Path, **options: Any) -> Any:
    return rebuild_tokenizer(gguf.GGUFReader(write_gemma(path, tensors=False, **options))).tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return rebuilt(tmp_path_factory.mktemp("gguf") / "gemma.gguf")


def pieces(tokenizer: Any, text: str) -> list[str]:
    found: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids)
    return found


def test_words_of_the_vocabulary_stay_whole(tokenizer: Any) -> None:
    whole = [token for token in TOKENS if token.startswith("▁") and len(token) > 3 and token in IDS]
    assert len(whole) > 20
    for word in whole:
        assert pieces(tokenizer, word.replace("▁", " ")) == [word]
    assert pieces(tokenizer, "The moon moves around the earth") == [
        "The",
        *sentencepiece("▁moon▁moves▁around▁the▁earth", IDS),
    ]


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(sorted(set("".join(TEXT))), max_size=30)
    | st.lists(st.sampled_from(" ".join(TEXT).split()), max_size=6).map(" ".join)
)
def test_pieces_are_those_of_sentencepiece(tokenizer: Any, text: str) -> None:
    assert pieces(tokenizer, text) == sentencepiece(text.replace(" ", "▁"), IDS)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=20).filter(lambda t: "<" not in t))
def test_every_text_comes_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert TOKENS.index("<unk>") not in ids


def test_unseen_characters_become_bytes(tokenizer: Any) -> None:
    assert pieces(tokenizer, "é") == ["<0xC3>", "<0xA9>"]


def test_special_and_user_tokens_are_not_cut(tokenizer: Any) -> None:
    assert pieces(tokenizer, "<bos>iron<turn><eos>")[0] == "<bos>"
    assert pieces(tokenizer, "a<turn>a") == ["a", "<turn>", "a"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id) == (
        2,
        1,
        0,
        3,
    )


def test_no_special_token_is_added(tokenizer: Any) -> None:
    assert tokenizer("a").input_ids == tokenizer("a", add_special_tokens=False).input_ids == [IDS["a"]]
    assert len(tokenizer) == len(TOKENS)


def test_every_id_is_that_of_the_file(tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens(list(range(len(TOKENS)))) == TOKENS


@pytest.mark.parametrize(("prefix", "first"), [(True, "▁"), (False, "a"), (None, "a")])
def test_a_space_in_front_where_the_file_says_so(tmp_path: Path, prefix: bool | None, first: str) -> None:
    assert "".join(pieces(rebuilt(tmp_path / "gemma.gguf", prefix=prefix), "and")).startswith(first)


@pytest.mark.parametrize("kind", ["bert", "t5", "rwkv", "plamo2", "gemma4", "no_vocab"])
def test_other_kinds_of_tokenizer_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    with pytest.raises(SuiteError, match=f"unknown tokenizer.ggml.model '{kind}': gpt2 .* and llama"):
        rebuilt(tmp_path / "gemma.gguf", model=kind)


def load_path(path: Path) -> Checkpoint:
    return load(resolve_model(str(path)), dtype="float32")


@pytest.mark.parametrize(("add_bos", "expected"), [(True, 2), (False, None), (None, 2)])
def test_bos_is_what_the_file_says(tmp_path: Path, add_bos: bool | None, expected: int | None) -> None:
    path = write_gemma(tmp_path / "gemma.gguf", add_bos=add_bos)
    assert load_path(path).bos == expected
    assert load_path(path).bos == expected


def test_a_loaded_gemma_has_the_rebuilt_tokenizer(tmp_path: Path, tokenizer: Any) -> None:
    path = write_gemma(tmp_path / "gemma.gguf")
    for _ in range(2):
        checkpoint = load_path(path)
        assert checkpoint.info["architecture"].startswith("gemma3")
        for text in [*TEXT, "naïve\n\n two  spaces"]:
            assert pieces(checkpoint.tokenizer, text) == pieces(tokenizer, text)
