"""Every command that README, CONTRIBUTING or docs/ shows: it is run here, or marked with what it needs, and parsed.

A block of shell commands that no test runs stands under `<!-- not run: WHY -->`, which readers do not see.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.documents import DOCUMENTS, MARKDOWN, ROOT, inline, text_of

from suite.cli import _parser, main

MARK = re.compile(r"<!-- not run: (.+) -->")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*?## ", MAKEFILE, flags=re.MULTILINE))
PROGRAMS = {"make", "suite", "python", "ruff", "docker"}
READS = {"list", "policy", "dose", "metrics", "show"}
"""Commands that write nothing and need no model: run wherever they stand, if what they are given is there."""


@dataclass(frozen=True)
class Shown:
    """A command of a document: its words, and why no test runs it ("" where one does)."""

    document: str
    words: tuple[str, ...]
    not_run: str = ""

    @property
    def program(self) -> str:
        return Path(self.words[0]).name


def blocks(name: str, markdown: str) -> Iterator[Shown]:
    """The commands of every ``sh`` block, with the mark above it."""
    why = ""
    for token in MARKDOWN.parse(markdown):
        if token.type == "fence" and token.info.split()[:1] == ["sh"]:
            for line in token.content.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    if words := shlex.split(part, comments=True):
                        yield Shown(name, tuple(words), why)
        if token.type != "list_item_open":
            found = MARK.search(token.content) if token.type == "html_block" else None
            why = found[1] if found else ""


def spans(name: str, markdown: str) -> Iterator[Shown]:
    """Calls of `suite`, `make` and `python -m` inside sentences, up to where a pipe begins."""
    for token in inline(MARKDOWN.parse(markdown)):
        if token.type == "code_inline" and re.match(r"(\.venv/bin/)?(suite|make|python -m) \S", token.content):
            yield Shown(name, tuple(shlex.split(token.content.split(" | ")[0])))


IN_BLOCKS = [shown for file in DOCUMENTS for shown in blocks(file.name, text_of(file))]
IN_SENTENCES = [shown for file in DOCUMENTS for shown in spans(file.name, text_of(file))]


def label(shown: Shown) -> str:
    return f"{shown.document}: {' '.join(shown.words)[:80]}"


def complaint(words: tuple[str, ...]) -> str | None:
    """What argparse says against a call of `suite`, None if nothing."""
    try:
        _parser().parse_args(words)
    except SystemExit as stop:
        return f"exit {stop.code}"
    return None


def options_of(words: tuple[str, ...]) -> set[str]:
    """Options of the command that these words name.

    Raises:
        KeyError: there is no such command.
    """
    parser: argparse.ArgumentParser = _parser()
    for word in words:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parser = action.choices[word]
                break
        else:
            break
    return set(parser._option_string_actions)


def runs_here(shown: Shown) -> bool:
    """Whether a call in a sentence is whole and quick: it only reads, and what it reads is in the repository."""
    words = shown.words[1:]
    paths = [word for word in words if "/" in word]
    return (
        shown.program == "suite"
        and words[0] in READS
        and "results/three-llms" not in paths  # 492 cells
        and not any(re.search(r"[A-Z…|\[]", word) for word in words)
        and (bool(paths) or words[0] in ("list", "policy"))
        and all((ROOT / path).exists() for path in paths)
        and complaint(words) is None
    )


def test_blocks_and_their_marks_are_found() -> None:
    found = blocks(
        "x",
        "a\n```sh\nmake a  # why\nsuite b \\\n  --c 1 && make d\n```\n\n"
        "<!-- not run: a model -->\n```sh\nsuite e\n```\n\n```sh\nsuite f\n```\n```json\n{}\n```\n\n"
        "1. one\n\n   <!-- not run: hours -->\n   ```sh\n   make g\n   ```\n",
    )
    assert [(shown.words, shown.not_run) for shown in found] == [
        (("make", "a"), ""),
        (("suite", "b", "--c", "1"), ""),
        (("make", "d"), ""),
        (("suite", "e"), "a model"),
        (("suite", "f"), ""),
        (("make", "g"), "hours"),
    ]
    assert {("make", "bench"), ("make", "test")} <= {shown.words for shown in IN_BLOCKS}
    assert {shown.program for shown in IN_BLOCKS} <= PROGRAMS


@pytest.mark.parametrize("shown", IN_BLOCKS, ids=label)
def test_a_command_of_a_block_is_understood(shown: Shown) -> None:
    program, words = shown.program, shown.words[1:]
    if program == "suite":
        assert complaint(words) is None
    elif program == "make":
        assert {word for word in words if "=" not in word} <= TARGETS
        variables = {word.split("=")[0] for word in words if "=" in word}
        assert {name for name in variables if f"$({name})" not in MAKEFILE} == set()
    elif program == "python" and words[0] == "-m":
        assert importlib.util.find_spec(words[1])
    else:
        assert program in ("ruff", "python", "docker")


@pytest.mark.parametrize("shown", [shown for shown in IN_BLOCKS if not shown.not_run], ids=label)
def test_a_command_without_a_mark_does_what_it_is_shown_for(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    words = list(shown.words[1:])
    if shown.program == "python" and words[0] == "-c":
        code, arrow, file = words[1:]
        assert arrow == ">"
        exec(code, {})
        assert capsys.readouterr().out == Path(file).read_text(encoding="utf-8")
        return
    assert shown.program == "suite", "run it in a test, or put '<!-- not run: WHY -->' above the block"
    assert not {"--out"} & set(words), "it writes: run it in a test of its own, and mark the block"
    run(words, capsys)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.strip()
    if "--json" in words:
        assert json.loads(printed)


@pytest.mark.parametrize("shown", [shown for shown in IN_SENTENCES if runs_here(shown)], ids=label)
def test_a_whole_command_in_a_sentence_runs(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    run(list(shown.words[1:]), capsys)


def test_commands_in_sentences_exist_with_their_options() -> None:
    wrong = []
    for shown in IN_SENTENCES:
        words = shown.words[1:]
        named = {match[0] for word in words for match in re.finditer(r"(?<![\w-])--[a-z][a-z-]*", word)}
        if shown.program == "suite":
            try:
                wrong += [label(shown)] if named - options_of(words) else []
            except KeyError:
                wrong.append(label(shown))
        elif shown.program == "make":
            wrong += [label(shown)] if words[0] not in TARGETS and words[0].islower() else []
        elif not importlib.util.find_spec(words[1]):
            wrong.append(label(shown))
    assert wrong == []
    assert len(IN_SENTENCES) > 80


def test_a_renamed_option_or_command_would_be_noticed() -> None:
    assert complaint(("dose", "results/embedded", "--tolerances", "0.1")) == "exit 2"
    assert complaint(("score", "--model", "m", "--task", "t")) == "exit 2"
    assert complaint(("dose", "results/embedded", "--tolerance", "0.1")) is None
    assert "--flips" in options_of(("policy", "show", "task-kind-a"))
    assert "--flips" not in options_of(("policy", "list"))
    with pytest.raises(KeyError):
        options_of(("dosage", "results/embedded"))


def test_a_mark_says_why() -> None:
    marks = [shown.not_run for shown in IN_BLOCKS if shown.not_run]
    assert all(len(mark.split()) >= 2 for mark in marks)
    stray = [file.name for file in DOCUMENTS if text_of(file).count("<!-- not run") != len(MARK.findall(text_of(file)))]
    assert stray == []
