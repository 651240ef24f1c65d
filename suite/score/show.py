"""One item as a model meets it: the text, and where a tokenizer cuts it."""

from __future__ import annotations

from typing import Any

from suite.errors import SuiteError
from suite.score.chat import RAW, in_chat, template_hash
from suite.score.sheet import Sheet
from suite.score.transformers.encode import encode


def as_asked(sheet: Sheet, index: int, *, tokenizer: Any = None, bos: int | None = None) -> str:
    """Everything that is put before a model for item `index` of a sheet, exactly as scoring does it.

    A right answer is marked with a star. With every rotation asked, each text follows the last.

    Args:
        tokenizer, bos: a model's, to see token boundaries and its chat template; None for the text alone.

    Raises:
        SuiteError: no such item, or a chat prompt without a tokenizer.
    """
    if not 0 <= index < len(sheet.questions):
        raise SuiteError(f"task {sheet.task.name}: no item {index}, it has items 0 to {len(sheet.questions) - 1}")
    chat = sheet.name.chat
    if chat and tokenizer is None:
        raise SuiteError(f"prompt {sheet.prompt!r}: a chat template belongs to a model; name one with --model")
    item = sheet.questions[index]
    texts = [text for text, owner in zip(sheet.rendered, sheet.asked, strict=True) if owner == index]
    if chat:
        texts = in_chat(tokenizer, texts)
    template = template_hash(tokenizer) if chat else RAW
    lines = [
        f"task: {sheet.task.name}",
        f"prompt: {sheet.prompt}, {sheet.shots} shots, chat template {template}",
        *([f"slices: {', '.join(item.slices)}"] if item.slices else []),
        f"id: {item.id}",
        f"scoring: {sheet.scoring}",
    ]
    for number, text in enumerate(texts):
        name = f" {number + 1} of {len(texts)}" if len(texts) > 1 else ""
        lines += [f"--- context{name}", text.context, f"--- options{name}"]
        for option, continuation in enumerate(text.continuations):
            lines.append(f"{'*' if option == item.answer else ' '} {continuation!r}")
        if tokenizer is not None:
            (tokens,) = encode(
                tokenizer,
                [text],
                bos=None if chat else bos,
                max_length=sheet.task.window or 1 << 30,
                single_token=sheet.scoring == "letter",
            )
            pieces = tokenizer.convert_ids_to_tokens
            cut = f", {tokens.truncated} cut from the left" if tokens.truncated else ""
            lines += [f"--- tokens of the shared context ({len(tokens.prefix)}{cut})", str(pieces(list(tokens.prefix)))]
            lines += ["--- tokens of the options", *(f"  {pieces(list(branch))}" for branch in tokens.branches)]
    return "\n".join(lines)
