"""A SentencePiece-style BPE tokenizer rebuilt from the token list of a GGUF file.

transformers 5.17 builds Gemma's tokenizer from GGUF wrongly and says nothing: "Hello world" becomes four pieces and no
BOS is added, because the file's scores are not merge ranks. In Gemma's vocabulary a merge's rank is the id of the token
it makes, so the merges can be recovered from the tokens alone.
"""

from __future__ import annotations

from typing import Any

_SPACE = "▁"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6


def merges_by_product_id(tokens: list[str], types: list[int]) -> list[tuple[str, str]]:
    """Every way to make a token from two tokens, ordered by the id of the token made.

    Args:
        tokens: the vocabulary, position = id.
        types: GGUF token types, same length; only ordinary tokens take part.

    Returns:
        Pairs (left, right), the earliest to be applied first.
    """
    ordinary = {token for token, kind in zip(tokens, types, strict=True) if kind == _NORMAL}
    merges: list[tuple[str, str]] = []
    for token, kind in zip(tokens, types, strict=True):
        if kind != _NORMAL or len(token) < 2:
            continue
        merges.extend(
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in ordinary and token[cut:] in ordinary
        )
    return merges


def rebuild_tokenizer(reader: Any) -> Any:
    """A fast tokenizer from an open `gguf.GGUFReader` of a Gemma file.

    Returns:
        A transformers tokenizer that adds no special tokens by itself, with bos, eos, unk and pad set; None when the
        file's tokenizer is of another kind (byte-level BPE), which transformers builds rightly.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    make_tokenizer: Any = PreTrainedTokenizerFast

    if _contents(reader, "tokenizer.ggml.model") != "llama":
        return None
    tokens: list[str] = _contents(reader, "tokenizer.ggml.tokens")
    types: list[int] = _contents(reader, "tokenizer.ggml.token_type")
    unknown = tokens[int(_contents(reader, "tokenizer.ggml.unknown_token_id"))]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges_by_product_id(tokens, types),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
            ignore_merges=False,
        )
    )
    prefix = _contents(reader, "tokenizer.ggml.add_space_prefix")
    steps: list[Any] = [normalizers.Prepend(_SPACE)] if prefix else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    backend.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [
        AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types, strict=True) if k == _CONTROL
    ]
    user = [AddedToken(t, normalized=False) for t, k in zip(tokens, types, strict=True) if k == _USER_DEFINED]
    backend.add_special_tokens(special)
    backend.add_tokens(user)

    def named(key: str) -> str | None:
        identifier = _contents(reader, f"tokenizer.ggml.{key}_token_id")
        return None if identifier is None else tokens[int(identifier)]

    return make_tokenizer(
        tokenizer_object=backend,
        bos_token=named("bos"),
        eos_token=named("eos"),
        pad_token=named("padding"),
        unk_token=unknown,
        chat_template=_contents(reader, "tokenizer.chat_template"),
    )


def _contents(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()
