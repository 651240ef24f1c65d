"""Wrapping a prompt in a model's chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from suite.errors import SuiteError, first_line
from suite.score.prompt import Rendered

RAW = "raw"
# Templates that print today's date would make a score depend on the day; this is the date Llama 3's falls back on.
DATE = "26 Jul 2024"


def template_hash(tokenizer: Any) -> str:
    """SHA-256 of the tokenizer's chat template.

    Raises:
        SuiteError: it has none.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise SuiteError("this model has no chat template; use the prompt without '+chat'")
    return "sha256:" + hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def in_chat(tokenizer: Any, rendered: Sequence[Rendered]) -> list[Rendered]:
    """Each text as one user message, followed by the header after which the model answers.

    The answer stands at the very start of the model's turn. Where the header ends in white space (a new line, in most
    families) the answer follows it without a space of its own, otherwise after one space, so that letters are tokens
    that the model would write there. The template says whether a text starts with BOS: none is added to it.

    Raises:
        SuiteError: no template, or one that cannot render a single user message.
    """
    template_hash(tokenizer)
    wrapped = []
    for item in rendered:
        try:
            context = tokenizer.apply_chat_template(
                [{"role": "user", "content": item.context}],
                tokenize=False,
                add_generation_prompt=True,
                date_string=DATE,
            )
        except Exception as error:  # a template is a program of the model's publisher and may raise anything
            raise SuiteError(f"the model's chat template fails on a user message: {first_line(error)}") from error
        start = "" if context[-1:].isspace() else " "
        wrapped.append(Rendered(context, tuple(start + text.removeprefix(" ") for text in item.continuations)))
    return wrapped
