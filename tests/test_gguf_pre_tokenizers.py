"""A byte-level tokenizer from a GGUF file cuts texts as the file's pre-tokenizer asks.

The reference is written out here: the regular expression of each family, applied by the `regex` module, and merges done
by hand.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import regex
from support.gguf_files import write_gguf
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import suite
from suite.errors import SuiteError
from suite.models.checkpoint import load_tokenizer
from suite.models.gguf_tokenizer import PRE_TOKENIZERS, rebuild_tokenizer, tokenizer_identity
from suite.models.model import content_parts, resolve_model, template_parts

HARD = (
    "In 1850 there were 12345 ships, 3.14159 and 7/8; 1,000,000 of 2²³ ½ Ⅷ ٣٤٥; the 1st, 22nd, 333rd, 4444th",
    "I'm sure they'll say it's what we've DON'T you'd're 'S 'T THEY'LL I'Ve x'y'z",
    "a  b   c    d\t\te\n\n\nf \n g  \r\n  h      1   ",
    "   leading and trailing   ",
    "你好，世界！这是一个测试。日本語のテキスト、カタカナ 한국어 문장입니다 12個",
    "😀👍🏽 family 👨‍👩‍👧‍👦 flag 🇩🇪 heart ❤️!! 3😀4",
    'def f(x):\n    return x**2 + 1  # comment\n\nfor i in range(10):\n\tprint(f"{i:>5}")\n}; a->b != c && d::e',
    "naïve café e\u0301clair A\u030angström Привет мир مرحبا שלום हिन्दी ภาษาไทย",
    "HelloWorld camelCase XMLHttpRequest snake_case_name ALLCAPS iPhone14Pro ÉcoleÉTÉ",
    "$5.00 (50%) <b>x</b> [a|b] ~`^ a/b/c\n/d/\n\n “double” — dash … end.\n",
    "\u00a0nbsp\u2003em\u3000ideographic",
    "",
    " ",
    "\n",
    "007",
)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGITS = (r"\p{N}", GPT2)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
# letters of scripts with two cases; the list in DeepSeek's own file names their blocks one by one
CASED = r"\s?[[\p{Lu}\p{Ll}\p{Lt}]--[\p{Lm}\p{Lo}]]+"
SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "gpt2", "phi-2", "jais", "trillion", "granite-docling", "mpt", "olmo"), (GPT2,)),
    **dict.fromkeys(("a.x-4.0", "exaone4", "gigachat", "mellum"), (GPT2,)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"), DIGITS
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3"), (LLAMA3,)),
    **dict.fromkeys(("falcon-h1", "lfm2", "midm-2.0", "pixtral"), (LLAMA3,)),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), (LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "hunyuan", "stablelm2"), (QWEN2,)),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "grok-2", "kormo", "solar-open"), (QWEN2,)),
    "qwen35": (QWEN35,),
    **dict.fromkeys(("gpt-4o", "llama4", "minimax-m2", "kanana2"), (GPT4O,)),
    "tekken": (TEKKEN,),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), (BLOOM,)),
    "viking": (BLOOM, r"\p{N}"),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}"),
    "deepseek-llm": (r"[\r\n]", CASED, r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$", HAN, r"\p{N}"),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), DEEPSEEK_V3),
    # numbers are cut to threes first
    "minicpm5": (r"\p{N}{1,3}", LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")),
    "default": (r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "falcon": (r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"),
    "seed-coder": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
COMPOSED = ("command-r", "qwen2", "qwen35", "deepseek-r1-qwen", "megrez", "mpt", "olmo")
WHOLE = (
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "lfm2",
    "midm-2.0",
    "pixtral",
    "glm4",
    "tekken",
    "minicpm5",
)


@cache
def learnt() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges learnt across the borders that every family draws, so that a missing border shows."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s*\S{1,7}|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=["<s>", "</s>", "<|mark|>", "<tool>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(HARD, trainer)
    model = json.loads(learner.to_str())["model"]
    # a token that no merge makes
    return [*sorted(model["vocab"], key=model["vocab"].get), "Ġships"], [tuple(pair) for pair in model["merges"]]


def write(
    path: Path, pre: str | None, *, architecture: str = "llama", add_bos: bool | None = False, model: str = "gpt2"
) -> Path:
    """A GGUF file with a tokenizer, embeddings and no blocks."""
    tokens, merges = learnt()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(0)
    writer.add_head_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 8), dtype=np.float32))
    writer.add_tokenizer_model(model)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, 4] + [1] * (len(tokens) - 4))
    if model == "llama":
        writer.add_token_scores([-float(index) for index in range(len(tokens))])
    else:
        writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rebuilt(path: Path) -> Any:
    return rebuild_tokenizer(gguf.GGUFReader(path)).tokenizer


def byte_symbols() -> dict[int, str]:
    """The letter that stands for each byte in a byte-level vocabulary, as GPT-2's encoder defines it."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(others)}


SYMBOLS = byte_symbols()


def cut(text: str, splits: tuple[str, ...]) -> list[str]:
    """Pieces of a text: the matches of one expression after another, and what is left between them."""
    pieces = [text]
    for expression in splits:
        found: list[str] = []
        for piece in pieces:
            end = 0
            for match in regex.finditer(expression, piece, flags=regex.VERSION1):
                found += [piece[end : match.start()], match.group()]
                end = match.end()
            found.append(piece[end:])
        pieces = [piece for piece in found if piece]
    return pieces


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Byte pair encoding by its definition: the earliest merge that applies, leftmost first, until none does."""
    symbols = list(word)
    while True:
        found = [(ranks[pair], index) for index, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return symbols
        _, index = min(found)
        symbols[index : index + 2] = [symbols[index] + symbols[index + 1]]


def reference(text: str, pre: str) -> list[str]:
    tokens, merges = learnt()
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    text = unicodedata.normalize("NFC", text) if pre in COMPOSED else text
    pieces: list[str] = []
    for word in cut(text, SPLITS[pre]):
        symbols = "".join(SYMBOLS[byte] for byte in word.encode())
        pieces += [symbols] if pre in WHOLE and symbols in tokens else merged(symbols, ranks)
    return pieces


def pieces(tokenizer: Any, text: str) -> list[str]:
    found: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids)
    return found


def test_every_supported_pre_tokenizer_has_a_reference() -> None:
    assert SPLITS.keys() == PRE_TOKENIZERS.keys()


@pytest.mark.parametrize("pre", SPLITS)
def test_tokens_are_those_of_the_family(tmp_path: Path, pre: str) -> None:
    tokenizer = rebuilt(write(tmp_path / "m.gguf", pre))
    for text in HARD:
        assert pieces(tokenizer, text) == reference(text, pre), text
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == (unicodedata.normalize("NFC", text) if pre in COMPOSED else text)


def test_the_families_differ_on_the_texts() -> None:
    """Else a mistaken family would go unseen."""
    cuts = {splits: tuple(tuple(cut(text, splits)) for text in HARD) for splits in SPLITS.values()}
    assert len(set(cuts.values())) == len(cuts)
    assert any(reference(text, "llama-bpe") != reference(text, "dbrx") for text in HARD)


def test_a_file_that_names_none_is_read_as_before(tmp_path: Path) -> None:
    found = rebuild_tokenizer(gguf.GGUFReader(write(tmp_path / "m.gguf", None)))
    assert [pieces(found.tokenizer, text) for text in HARD] == [reference(text, "gpt-2") for text in HARD]
    assert found.assumed == "gpt-2"


def test_a_cell_says_that_a_pre_tokenizer_was_assumed(tmp_path: Path) -> None:
    task = tmp_path / "quiz.jsonl"
    task.write_text('{"id": "0", "question": "a b", "choices": ["c", "d"], "answer_index": 0}\n', encoding="utf-8")
    model = write_gguf(tmp_path / "m.gguf")
    (cell,) = suite.score_model(model, tasks=[task], scoring="cloze-sum", dtype="float32", device="cpu")
    assert cell.run["notes"] == ["the GGUF file names no pre-tokenizer (tokenizer.ggml.pre): gpt-2 is taken"]
    assert rebuild_tokenizer(gguf.GGUFReader(write(tmp_path / "named.gguf", "gpt-2"))).assumed is None


@pytest.mark.parametrize("pre", ["superbpe", "kimi-k2", "llama-bp", "made-up"])
def test_others_are_refused_by_name(tmp_path: Path, pre: str) -> None:
    path = write(tmp_path / "m.gguf", pre)
    with pytest.raises(SuiteError) as caught:
        load_tokenizer(resolve_model(str(path)))
    message = str(caught.value)
    assert message.startswith(f"model m.gguf: unknown pre-tokenizer (tokenizer.ggml.pre) '{pre}'")
    assert len(message.splitlines()) == 1
    assert "smollm" in message


def test_special_tokens_and_those_of_the_user_stay_whole(tmp_path: Path) -> None:
    tokenizer = rebuilt(write(tmp_path / "m.gguf", "smollm"))
    assert pieces(tokenizer, "<s>a<|mark|> <tool>a</s>") == ["<s>", "a", "<|mark|>", "Ġ", "<tool>", "a", "</s>"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 1)
    assert tokenizer.decode([0, 4, 3], skip_special_tokens=True) == tokenizer.decode([4, 3])
    assert len(tokenizer) == len(learnt()[0])
    assert tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))) == learnt()[0]


@pytest.mark.parametrize(("pre", "expected"), [("llama-bpe", True), ("tekken", True), ("smollm", False)])
def test_bos_where_the_file_does_not_say(tmp_path: Path, pre: str, expected: bool) -> None:
    reader = gguf.GGUFReader(write(tmp_path / "m.gguf", pre, add_bos=None))
    assert rebuild_tokenizer(reader).add_bos is expected


@pytest.mark.parametrize(
    ("architecture", "pre", "expected"),
    [
        ("llama", "gpt-2", None),
        ("llama", None, None),
        ("llama", "phi-2", None),
        ("starcoder2", "gpt-2", None),
        ("qwen2", "qwen2", None),
        ("qwen3moe", "deepseek-r1-qwen", None),
        ("llama", "smollm", "smollm-1"),
        ("llama", "llama-bpe", "llama-bpe-1"),
        ("llama", "qwen2", "qwen2-1"),
        ("qwen2", "gpt-2", "gpt-2-1"),
        ("starcoder2", "starcoder", "starcoder-1"),
        ("phi3", "gpt-2", "gpt-2-1"),
    ],
)
def test_only_files_whose_tokens_changed_have_a_new_key(
    tmp_path: Path, architecture: str, pre: str | None, expected: str | None
) -> None:
    model = resolve_model(str(write(tmp_path / "m.gguf", pre, architecture=architecture)))
    parts = content_parts(model)
    assert parts["tokenizer"] == expected
    assert parts["config"] is None
    # markers of chat templates were in pieces before
    assert template_parts(model) == ({} if expected else {"special_tokens": "special-1"})


@pytest.mark.parametrize(
    ("architecture", "add_bos", "expected"),
    [
        ("gemma3", True, None),
        ("gemma3", None, None),
        ("llama", True, None),
        ("llama", None, "sentencepiece-1"),
        ("phi3", False, "sentencepiece-1"),
    ],
)
def test_sentencepiece_files_with_a_new_key(
    tmp_path: Path, architecture: str, add_bos: bool | None, expected: str | None
) -> None:
    path = write(tmp_path / "m.gguf", "default", architecture=architecture, add_bos=add_bos, model="llama")
    assert content_parts(resolve_model(str(path)))["tokenizer"] == expected


def test_a_folder_keeps_its_key(tiny_models: dict[str, Path]) -> None:
    model = resolve_model(str(tiny_models["llama"]))
    assert tokenizer_identity(model.path) is None
    assert len(str(content_parts(model)["tokenizer"])) == 64
    assert template_parts(model) == {}
