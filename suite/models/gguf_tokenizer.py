"""Tokenizers rebuilt from GGUF files: byte-level BPE by its pre-tokenizer's name, SentencePiece's by tokens and scores.

transformers 5.17 builds both wrongly and says nothing. Byte-level BPE gets GPT-2's pre-tokenizer (Qwen's for Qwen
architectures) whatever `tokenizer.ggml.pre` asks for, so numbers, contractions and runs of spaces are cut elsewhere
than the model learnt them. Gemma's "Hello world" becomes four pieces, because the file's scores are not merge ranks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from suite.errors import SuiteError, unknown_name
from suite.models.gguf_file import field

BUILDER_VERSION = 1
_ARCHITECTURE, _MODEL, _PRE = "general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre"
_ADD_BOS, _MERGES = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.merges"
_SPACE = "▁"
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_PHI3_KEEPS_SPACE = ("<unk>", "<s>", "<|endoftext|>")


class PreTokenizer(NamedTuple):
    """How a family cuts a text into words before the merges.

    Attributes:
        splits: regular expressions applied one after the other, each to the pieces of the one before; matches and
            what lies between them become pieces.
        nfc: the text is brought into Unicode's form NFC first.
        ignore_merges: a word that is a token stays whole whatever the merges make of it.
        add_bos: whether sequences start with BOS where the file does not say.
    """

    splits: tuple[str, ...]
    nfc: bool = False
    ignore_merges: bool = False
    add_bos: bool = False


_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_DIGIT = r"\p{N}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CL100K = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _END
_QWEN2 = _CL100K.replace(r"\p{N}{1,3}", _DIGIT)
_QWEN35 = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _END
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _END
)
_TEKKEN = _O200K.replace(f"{_CONTRACTION}?", "").replace(r"\p{N}{1,3}", _DIGIT)
_HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# cased letters, block by block
_DEEPSEEK_LETTERS = (
    r"\s?["
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+"
)
_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
    + _END,
)
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

# What the models' own tokenizer.json and llama.cpp's llama-vocab.cpp say, by the name in `tokenizer.ggml.pre`.
PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    **dict.fromkeys(
        ("a.x-4.0", "exaone4", "gigachat", "gpt-2", "gpt2", "granite-docling", "jais", "mellum", "phi-2", "trillion"),
        PreTokenizer((_GPT2,)),
    ),
    **dict.fromkeys(
        ("bailingmoe", "bailingmoe2", "grok-2", "hunyuan", "kormo", "solar-open", "stablelm2"), PreTokenizer((_QWEN2,))
    ),
    **dict.fromkeys(("bloom", "gpt3-finnish", "poro-chat"), PreTokenizer((_BLOOM,))),
    **dict.fromkeys(("chatglm-bpe", "dbrx", "smaug-bpe"), PreTokenizer((_CL100K,))),
    **dict.fromkeys(
        ("codeshell", "exaone", "mellum2", "minerva-7b", "refact", "smollm", "starcoder"), PreTokenizer((_DIGIT, _GPT2))
    ),
    "command-r": PreTokenizer((_DIGIT, _GPT2), nfc=True),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, _DIGIT)),
    **dict.fromkeys(("deepseek-r1-qwen", "megrez", "qwen2"), PreTokenizer((_QWEN2,), nfc=True)),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), PreTokenizer(_DEEPSEEK_V3)),
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    **dict.fromkeys(
        ("falcon-h1", "falcon3", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0", "pixtral"),
        PreTokenizer((_CL100K,), ignore_merges=True, add_bos=True),
    ),
    "glm4": PreTokenizer((_CL100K,), ignore_merges=True),
    **dict.fromkeys(("gpt-4o", "kanana2", "llama4", "minimax-m2"), PreTokenizer((_O200K,))),
    "minicpm5": PreTokenizer((r"\p{N}{1,3}", _QWEN2.replace(_DIGIT + "|", r"\p{N}+|")), ignore_merges=True),
    **dict.fromkeys(("mpt", "olmo"), PreTokenizer((_GPT2,), nfc=True)),
    "qwen35": PreTokenizer((_QWEN35,), nfc=True),
    "seed-coder": PreTokenizer((_CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + _END,)),
    "tekken": PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True),
    "viking": PreTokenizer((_BLOOM, _DIGIT)),
    "deepseek-llm": PreTokenizer(
        (
            r"[\r\n]",
            _DEEPSEEK_LETTERS,
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"\s+$",
            _HAN,
            _DIGIT,
        )
    ),
}
# What a file without the key gets, as it always has here.
UNNAMED = "gpt-2"

# The pre-tokenizer that transformers 5.17 gives every byte-level file of an architecture.
_GIVEN_ANYWAY = {
    **dict.fromkeys(("bloom", "falcon", "gpt2", "llama", "nemotron", "stablelm", "starcoder2"), "gpt-2"),
    "mamba": "olmo",
    **dict.fromkeys(("qwen2", "qwen2moe", "qwen3", "qwen3moe"), "qwen2"),
}


class Rebuilt(NamedTuple):
    """A tokenizer made from a file.

    Attributes:
        tokenizer: a fast transformers tokenizer that adds no special tokens by itself; bos, eos, unk and pad are set.
        add_bos: whether sequences start with BOS where the file's `add_bos_token` does not say.
        assumed: the pre-tokenizer taken where a byte-level file names none, else None.
    """

    tokenizer: Any
    add_bos: bool
    assumed: str | None = None


def tokenizer_identity(path: Path) -> str | None:
    """What names a file's tokens where they are no longer those that transformers alone made of it, else None.

    It is part of the key of every number from such a file. Files whose tokens never changed have none, so that their
    numbers stay what they are.

    Returns:
        ``smollm-1``: the pre-tokenizer's name and the builder's version; None too for a file that cannot be read,
        which loading will name.
    """
    fields = header_fields(path, (_ARCHITECTURE, _MODEL, _PRE))
    architecture, kind, name = fields.get(_ARCHITECTURE, ""), fields.get(_MODEL), fields.get(_PRE) or UNNAMED
    if kind == "llama" and not architecture.startswith("gemma"):
        further = header_fields(path, (_ADD_BOS, _MERGES))
        # what transformers made of these was right, BOS aside
        right = architecture == "llama" and _ADD_BOS in further and _MERGES not in further
        return None if right else f"sentencepiece-{BUILDER_VERSION}"
    if kind != "gpt2":
        return None
    before = PRE_TOKENIZERS.get(_GIVEN_ANYWAY.get(architecture, ""))
    if before and name in PRE_TOKENIZERS and PRE_TOKENIZERS[name][:3] == before[:3]:
        return None
    return f"{name}-{BUILDER_VERSION}"


def markers_identity(path: Path) -> str | None:
    """What names the special tokens of a file without `tokenizer_identity`; None for Gemma's, which were always right.

    transformers left most of the markers that chat templates write in pieces, and took BOS for EOS. Texts without
    such markers never changed, so this is part of the key of chat prompts alone.
    """
    fields = header_fields(path, (_ARCHITECTURE, _MODEL))
    if fields.get(_MODEL) not in ("gpt2", "llama") or fields.get(_ARCHITECTURE, "").startswith("gemma"):
        return None
    return None if tokenizer_identity(path) else f"special-{BUILDER_VERSION}"


def rebuild_tokenizer(reader: Any) -> Rebuilt:
    """The tokenizer that an open `gguf.GGUFReader`'s file asks for.

    Raises:
        SuiteError: a kind of tokenizer or a pre-tokenizer that is not supported, named with those that are.
        ValueError: a file without a tokenizer.
    """
    kind = field(reader, _MODEL)
    if kind is None:
        raise ValueError("the file holds no tokenizer")
    if kind == "gpt2":
        return _byte_level(reader)
    if kind == "llama":
        return _sentencepiece(reader)
    raise SuiteError(
        f"unknown tokenizer.ggml.model {kind!r}: gpt2 (byte-level BPE) and llama (SentencePiece-style BPE) are read; "
        "convert the checkpoint to safetensors with its tokenizer.json"
    )


def _byte_level(reader: Any) -> Rebuilt:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    stated = field(reader, _PRE)
    name = stated or UNNAMED
    if name not in PRE_TOKENIZERS:
        raise unknown_name("pre-tokenizer (tokenizer.ggml.pre)", name, PRE_TOKENIZERS)
    family = PRE_TOKENIZERS[name]
    merges = [_pair(merge) for merge in field(reader, _MERGES) or []]
    tokens: list[str] = field(reader, "tokenizer.ggml.tokens")
    backend = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            ignore_merges=family.ignore_merges,
        )
    )
    if family.nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(split), "isolated") for split in family.splits),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return Rebuilt(_finished(reader, backend, tokens), family.add_bos, None if stated else name)


def _pair(merge: str) -> tuple[str, str]:
    """Left and right of a merge; a token may begin with the space that separates them."""
    cut = merge.find(" ", 1)
    return merge[:cut], merge[cut + 1 :]


def merges_by_product_id(tokens: list[str], types: list[int]) -> list[tuple[str, str]]:
    """Every way to make a token from two tokens, ordered by the id of the token made: Gemma's merges.

    Args:
        tokens: the vocabulary, position = id.
        types: GGUF token types, same length; only ordinary tokens take part.

    Returns:
        Pairs (left, right), the earliest to be applied first.
    """
    return _merges(tokens, types, range(len(tokens)))


def merges_by_score(tokens: list[str], types: list[int], scores: list[float]) -> list[tuple[str, str]]:
    """Every way to make a token from two tokens, the token with the highest score first: SentencePiece's merges."""
    return _merges(tokens, types, sorted(range(len(tokens)), key=lambda index: -scores[index]))


def _merges(tokens: list[str], types: list[int], order: Iterable[int]) -> list[tuple[str, str]]:
    ordinary = {token for token, kind in zip(tokens, types, strict=True) if kind == _NORMAL}
    merges: list[tuple[str, str]] = []
    for index in order:
        token = tokens[index]
        if types[index] != _NORMAL or len(token) < 2:
            continue
        merges.extend(
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in ordinary and token[cut:] in ordinary
        )
    return merges


def _sentencepiece(reader: Any) -> Rebuilt:
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens: list[str] = field(reader, "tokenizer.ggml.tokens")
    types: list[int] = field(reader, "tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    scores: list[float] | None = field(reader, "tokenizer.ggml.scores")
    gemma = str(field(reader, _ARCHITECTURE)).startswith("gemma")
    unknown = field(reader, "tokenizer.ggml.unknown_token_id")
    backend = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            # Gemma's scores say nothing
            merges=merges_by_product_id(tokens, types)
            if gemma or not scores
            else merges_by_score(tokens, types, scores),
            unk_token=None if unknown is None else tokens[int(unknown)],
            fuse_unk=True,
            byte_fallback=True,
            ignore_merges=False,
        )
    )
    prefix = field(reader, "tokenizer.ggml.add_space_prefix")
    if prefix is None:
        prefix = not gemma
    steps: list[Any] = [normalizers.Prepend(_SPACE)] if prefix else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    # the space put in front is no part of the text
    strip: list[Any] = [decoders.Strip(" ", 1, 0)] if prefix and not gemma else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    # llama.cpp reads a file that does not say as one that wants BOS
    return Rebuilt(_finished(reader, backend, tokens), True)


def _finished(reader: Any, backend: Any, tokens: list[str]) -> Any:
    """The backend with the file's special tokens and those of the user, as a transformers tokenizer."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    make_tokenizer: Any = PreTrainedTokenizerFast
    types: list[int] = field(reader, "tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    # Phi-3 swallows the white space behind its markers
    phi3 = field(reader, _ARCHITECTURE) == "phi3"
    phi3 = phi3 and field(reader, _MODEL) == "llama"
    backend.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, rstrip=phi3 and token not in _PHI3_KEEPS_SPACE)
            for token, kind in zip(tokens, types, strict=True)
            if kind == _CONTROL
        ]
    )
    backend.add_tokens(
        [AddedToken(t, normalized=False) for t, k in zip(tokens, types, strict=True) if k == _USER_DEFINED]
    )

    def named(key: str) -> str | None:
        identifier = field(reader, f"tokenizer.ggml.{key}_token_id")
        return None if identifier is None else tokens[int(identifier)]

    return make_tokenizer(
        tokenizer_object=backend,
        bos_token=named("bos"),
        eos_token=named("eos"),
        pad_token=named("padding"),
        unk_token=named("unknown"),
        chat_template=field(reader, "tokenizer.chat_template"),
    )


# bytes of a number of each GGUF value type; 8 is a string, 9 a list
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_WHOLE, _STRING, _LIST = 4, 8, 9


def header_fields(path: Path, keys: tuple[str, ...]) -> dict[str, str]:
    """Some fields of a GGUF file's head: texts, whole numbers as texts, others as ""; none of one that cannot be read.

    Reading ends with the last of them, and tens of thousands of tokens are skipped, not read.
    """
    found: dict[str, str] = {}
    try:
        with path.open("rb") as handle:
            for key, value in _head(handle, keys):
                found[key] = value
                if len(found) == len(keys):
                    break
    except (OSError, struct.error, ValueError, LookupError, OverflowError, MemoryError):
        return {}
    return found


def _head(handle: BinaryIO, keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    def number(code: str) -> int:
        value: int = struct.unpack("<" + code, handle.read(struct.calcsize("<" + code)))[0]
        return value

    def text() -> str:
        return handle.read(number("Q")).decode()

    def skip(kind: int) -> None:
        if kind == _STRING:
            handle.seek(number("Q"), 1)
        elif kind == _LIST:
            inner, count = number("I"), number("Q")
            if inner in _SIZES:
                handle.seek(count * _SIZES[inner], 1)
            else:
                for _ in range(count):
                    skip(inner)
        else:
            handle.seek(_SIZES[kind], 1)

    if handle.read(4) != b"GGUF":
        return
    number("I"), number("Q")
    for _ in range(number("Q")):
        key, kind = text(), number("I")
        if kind == _STRING and key in keys:
            yield key, text()
            continue
        if kind == _WHOLE and key in keys:
            yield key, str(number("I"))
            continue
        skip(kind)
        if key in keys:
            yield key, ""
