"""Sample text: what data-driven compression methods look at to decide which weights matter.

The default is one fixed text that no task of the suite scores, the same whatever tasks a run has; a user's own file is
taken as well. Both are named and hashed, because compressed weights depend on every character of them
(arXiv 2311.09755).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.files import read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT = "squad+drop"
CHECK_TOKENS = 256
_SEPARATOR = "\n\n"
_RECORDED = re.compile(r"; sample text (?P<text>.*), seed (?P<seed>\d+)$")


@dataclass(frozen=True)
class Sampling:
    """How much sample text a data-driven method reads, and which part of it.

    Attributes:
        source: ``squad+drop``, or the path of a UTF-8 text file.
        samples: number of sequences.
        length: tokens in each.
        seed: of the order in which passages are read.
    """

    source: str = DEFAULT
    samples: int = 32
    length: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("samples", 1), ("length", 16), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise SuiteError(f"sample text: {name} {value!r} out of range, use a whole number of {low} or more")

    def drawn_with(self, seed: int | None) -> Sampling:
        """The same text and amount under another seed; itself where there is none."""
        return self if seed is None else replace(self, seed=seed)


@dataclass(frozen=True)
class SampleText:
    """A text as passages that belong together, in a fixed order.

    Attributes:
        name: ``squad+drop``, or the file's name.
        passages: never empty ones.
    """

    name: str
    passages: tuple[str, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over the passages in order."""
        return "sha256:" + hashlib.sha256("\0".join(self.passages).encode()).hexdigest()


@dataclass(frozen=True)
class SampleTokens:
    """Sample text as one model's tokens.

    Attributes:
        ids: int64 [samples, length], what the method reads.
        check: int64 [1, `CHECK_TOKENS`], the text that follows: the output error is measured there, so that a method is
            not judged on what it has seen.
        recipe: text, hash, samples, length and seed, in one line.
    """

    ids: NDArray[np.int64]
    check: NDArray[np.int64]
    recipe: str


def read_sample_text(source: str = DEFAULT) -> SampleText:
    """The default sample text, or a user's file: its passages are what blank lines separate.

    Raises:
        SuiteError: the package with the default text is missing, or the file cannot be read or is empty.
    """
    if source == DEFAULT:
        from suite.tasks.sample_text import passages

        return SampleText(DEFAULT, passages())
    path = Path(source).expanduser()
    text = read_text(path, "sample text", todo=f"name a text file, or {DEFAULT!r}")
    parts = tuple(part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip())
    if not parts:
        raise SuiteError(f"sample text {source}: the file is empty; name a file with text in it")
    return SampleText(path.name, parts)


def recipe(text: SampleText, sampling: Sampling) -> str:
    """What of the sample text decides the compressed weights, in one line.

    >>> recipe(SampleText("notes.txt", ("one", "two")), Sampling("notes.txt", samples=8, length=64))
    'notes.txt@sha256:a0ef70c43442, 8 x 64 tokens, seed 0'
    """
    return f"{text.name}@{text.hash[:19]}, {sampling.samples} x {sampling.length} tokens, seed {sampling.seed}"


@dataclass(frozen=True)
class Drawn:
    """What a cell's recipe says of its sample text.

    Attributes:
        text: name, hash and amount.
        seed: of the order of its passages.
    """

    text: str
    seed: int


def recorded(variant_recipe: str) -> Drawn | None:
    """The sample text that the recipe of a variant ends with; None where it read none.

    >>> recorded("Wanda; sample text notes.txt@sha256:a0ef70c43442, 8 x 64 tokens, seed 2")
    Drawn(text='notes.txt@sha256:a0ef70c43442, 8 x 64 tokens', seed=2)
    """
    found = _RECORDED.search(variant_recipe)
    return Drawn(found["text"], int(found["seed"])) if found else None


def tokenize(text: SampleText, sampling: Sampling, tokenizer: Any, *, bos: int | None) -> SampleTokens:
    """Cut a text into sequences of one length.

    The passages, put in an order that the seed decides, are joined by blank lines and cut; every sequence starts with
    `bos` where the model wants it.

    Args:
        tokenizer: called without special tokens.
        bos: token id that every sequence starts with, None for none.

    Raises:
        SuiteError: the text is too short for that many tokens.
    """
    import numpy as np

    body = sampling.length - (bos is not None)
    wanted = sampling.samples * body + CHECK_TOKENS
    tokens: list[int] = []
    order = order_of(text.passages, sampling.seed)
    # a hundred passages a call: the fast tokenizers work in batches, and the rest of a long text is left alone
    for first in range(0, len(order), 100):
        batch = [text.passages[index] + _SEPARATOR for index in order[first : first + 100]]
        for ids in tokenizer(batch, add_special_tokens=False).input_ids:
            tokens.extend(ids)
        if len(tokens) >= wanted:
            break
    if len(tokens) < wanted:
        raise SuiteError(
            f"sample text {text.name}: {len(tokens)} tokens are too few, {sampling.samples} samples of "
            f"{sampling.length} tokens need {wanted}; use a longer text, or fewer or shorter samples"
        )
    cut = np.array(tokens[: sampling.samples * body], dtype=np.int64).reshape(sampling.samples, body)
    check = np.array(tokens[sampling.samples * body : wanted], dtype=np.int64)[None, :]
    if bos is not None:
        cut = np.concatenate([np.full((len(cut), 1), bos, dtype=np.int64), cut], axis=1)
        check = np.concatenate([[[bos]], check[:, :-1]], axis=1)
    return SampleTokens(cut, check, recipe(text, sampling))


def order_of(passages: Sequence[str], seed: int) -> list[int]:
    """Indices of passages in the order a seed reads them: by the hash of seed and passage, the same on every machine.

    >>> sorted(order_of(["a", "b", "c"], 0)), order_of(["a", "b", "c"], 0) == order_of(["a", "b", "c"], 0)
    ([0, 1, 2], True)
    """
    return sorted(
        range(len(passages)), key=lambda index: hashlib.sha256(f"{seed}\0{passages[index]}".encode()).digest()
    )
