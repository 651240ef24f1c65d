"""What the model sees: text, tokens, and the traps between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_models import build_tokenizer

from suite.cell import prompt_hash
from suite.errors import SuiteError
from suite.score.prompt import Rendered, render
from suite.score.transformers.encode import encode
from suite.task import Question, Task

TASK = Task(
    name="t",
    title="t",
    paper="",
    licence="",
    source="",
    revision="1",
    kind="custom",
    options="2-4",
    scoring="cloze-sum",
    load=tuple,
    cloze="{context}\nQuestion: {question}\nAnswer:",
)
ITEM = Question("1", "What is a metal?", ("iron", "the moon", "light"), 0)
PLAIN, WITH_BOS = build_tokenizer(), build_tokenizer(bos=True)


def tokens(text: str) -> list[int]:
    ids: list[int] = PLAIN(text, add_special_tokens=False).input_ids
    return ids


def test_cloze_text_is_the_tasks_template_and_options_follow_a_space() -> None:
    text = render(TASK, ITEM, scoring="cloze-sum")
    assert text == Rendered("Question: What is a metal?\nAnswer:", (" iron", " the moon", " light"))
    passage = Question("2", "Which?", ("a", "b"), 1, context="Iron is a metal.")
    assert render(TASK, passage, scoring="cloze-norm").context == "Iron is a metal.\nQuestion: Which?\nAnswer:"


def test_braces_in_a_question_are_text() -> None:
    item = Question("1", "What is {x} in {0}?", ("a", "b"), 0)
    assert render(TASK, item, scoring="cloze-sum").context == "Question: What is {x} in {0}?\nAnswer:"


def test_letter_text_lists_the_options() -> None:
    item = Question("1", "What is a metal?", ("iron", "light"), 0, subject="high_school_physics")
    assert render(TASK, item, scoring="letter") == Rendered(
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "What is a metal?\nA. iron\nB. light\nAnswer:",
        (" A", " B"),
    )


def test_demonstrations_carry_their_right_answer() -> None:
    demo = Question("0", "What do plants need?", ("iron", "light"), 1)
    assert render(TASK, ITEM, scoring="cloze-sum", demonstrations=[demo]).context == (
        "Question: What do plants need?\nAnswer: light\n\nQuestion: What is a metal?\nAnswer:"
    )
    letters = render(TASK, ITEM, scoring="letter", demonstrations=[demo]).context
    assert "A. iron\nB. light\nAnswer: B\n\nWhat is a metal?" in letters


def test_the_space_before_an_option_belongs_to_its_first_token() -> None:
    (item,) = encode(PLAIN, [render(TASK, ITEM, scoring="cloze-sum")], bos=None, max_length=512)
    assert list(item.prefix) == tokens("Question: What is a metal?\nAnswer:")
    assert [list(branch) for branch in item.branches] == [tokens(" iron"), tokens(" the moon"), tokens(" light")]
    assert PLAIN.convert_ids_to_tokens(item.branches[1][0]).startswith("Ġ")
    assert len(item.branches[1]) > 1
    assert item.unscored == (0, 0, 0)


def test_bos_is_put_in_front_once_even_by_a_tokenizer_that_adds_its_own() -> None:
    text = Rendered("The moon", (" moves", " sun"))
    (item,) = encode(WITH_BOS, [text], bos=0, max_length=512)
    assert list(item.prefix) == [0, *tokens("The moon")]
    (bare,) = encode(WITH_BOS, [text], bos=None, max_length=512)
    assert list(bare.prefix) == tokens("The moon")


def test_an_empty_context_starts_from_bos() -> None:
    (item,) = encode(PLAIN, [Rendered("", (" iron", " light"))], bos=None, max_length=512)
    assert item.prefix == (0,)
    assert [list(branch) for branch in item.branches] == [tokens(" iron"), tokens(" light")]


def test_a_token_across_the_border_is_scored_whole_for_that_option_only() -> None:
    """'eart' is two tokens and 'earth' is one; the other option keeps the context's own tokens."""
    context, merging = "The moon moves around the eart", "h once"
    whole, alone = tokens(context + merging), tokens(context)
    shared = next(i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b)
    assert shared < len(alone), "the trap is gone: choose another text"
    (item,) = encode(PLAIN, [Rendered(context, (merging, " light"))], bos=None, max_length=512)
    assert list(item.prefix) == alone[:shared]
    assert list(item.branches[0]) == whole[shared:]
    assert list(item.branches[1]) == alone[shared:] + tokens(" light")
    assert item.unscored == (0, len(alone) - shared)


def test_long_contexts_lose_their_left_end_but_keep_bos() -> None:
    text = Rendered("The moon moves around the earth once a month", (" iron", " light and water"))
    (item,) = encode(PLAIN, [text], bos=0, max_length=12)
    longest = max(len(branch) for branch in item.branches)
    assert len(item.prefix) + longest - 1 == 12
    assert item.prefix[0] == 0
    assert list(item.prefix[1:]) == tokens(text.context)[-(len(item.prefix) - 1) :]
    assert item.truncated == 1 + len(tokens(text.context)) + longest - 1 - 12
    with pytest.raises(SuiteError, match="does not fit the model's window of 3"):
        encode(PLAIN, [text], bos=0, max_length=3)


def test_letters_of_two_tokens_are_refused() -> None:
    with pytest.raises(SuiteError, match=r"letter read-out: this tokenizer splits ' zq'"):
        encode(PLAIN, [Rendered("Answer:", (" A", " zq"))], bos=None, max_length=512, single_token=True)


def test_the_prompt_hash_tells_texts_apart_by_every_border() -> None:
    one = prompt_hash([Rendered("ab", ("c", "d"))])
    assert one == prompt_hash([Rendered("ab", ("c", "d"))])
    assert len({one, prompt_hash([Rendered("a", ("bc", "d"))]), prompt_hash([Rendered("ab", ("cd", ""))])}) == 3


@given(st.text("Aabemnorst :\n.é", max_size=40), st.lists(st.text("abemnort .", min_size=1, max_size=12), min_size=2))
def test_prefix_and_branch_spell_the_whole_text(context: str, options: list[str]) -> None:
    text = Rendered(context, tuple(" " + option for option in options))
    (item,) = encode(PLAIN, [text], bos=None, max_length=4096)
    for continuation, branch, unscored in zip(text.continuations, item.branches, item.unscored, strict=True):
        start = [] if not tokens(context) or item.prefix == (0,) else list(item.prefix)
        assert start + list(branch) == tokens(context + continuation)
        assert 0 <= unscored < len(branch)
