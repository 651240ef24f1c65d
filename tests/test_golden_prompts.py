"""Every task in every style: one whole prompt each, pinned by its SHA-256 (benchmark text is not committed).

Embedded tasks show their first item as loaded; tasks whose data is fetched an invented item of their shape. A task or
style without an entry here fails, and so does an entry that no task has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from suite.score.prompt import render
from suite.task import Question, Task
from suite.tasks import TASKS

INVENTED = {
    "bbq": Question("1", "Who sang?", ("unknown", "the tall one", "the short one"), 0, context="Two people met."),
    "cosmosqa": Question("1", "Why did he sing?", (*"abcd",), 2, context="He sang.\nIt rained."),
    "truthfulqa-mc1": Question("1", "Do bells sing?", ("no", "yes", "at night", "in June", "twice"), 0),
    **{
        f"ye2024-{short}": Question(
            "1",
            "What is the bell made of?",
            ("iron", "the moon", "light", "stone", "I don't know", "None of the above"),
            0,
            context="" if short == "qa" else "A bell is made of metal.",
        )
        for short in ("qa", "rc", "ci", "drs", "ds")
    },
}


def every_prompt() -> Iterator[tuple[str, str, str]]:
    for name, task in TASKS.items():
        yield from ((name, "letter", style) for style in task.letter_styles)
        yield from ((name, "cloze", style) for style in task.cloze_styles)


def shown(name: str) -> Question:
    return INVENTED[name] if name in INVENTED else TASKS[name].load()[0]


def digest(task: Task, item: Question, scoring: str, style: str) -> str:
    text = render(task, item, scoring="letter" if scoring == "letter" else task_cloze(task), prompt=style)
    return hashlib.sha256("\0".join((text.context, *text.continuations)).encode()).hexdigest()[:16]


def task_cloze(task: Task) -> str:
    return task.scoring if task.scoring != "letter" else "cloze-sum"


GOLDEN: dict[str, dict[str, str]] = {
    "arc-challenge": {
        "letter/base": "0580da5f045cfdc2",
        "letter/plain": "01b6bfcd65f090d5",
        "letter/choices": "ead582392055ac5b",
        "cloze/question": "f0d2aeedfa1f87eb",
        "cloze/qa": "0873b135c0542c52",
        "cloze/plain": "fc4abdf8d79af770",
        "cloze/base": "f0d2aeedfa1f87eb",
    },
    "arc-easy": {
        "letter/base": "683ac1d6a5e672e5",
        "letter/plain": "5211e1470c22c8e1",
        "letter/choices": "bfd2200e8bf3ed3a",
        "cloze/question": "97c03ec1163ba671",
        "cloze/qa": "b621ce42e0ec58ca",
        "cloze/plain": "d4b72c78d2fadd03",
        "cloze/base": "97c03ec1163ba671",
    },
    "bbq": {
        "letter/base": "d20325231aff0554",
        "letter/plain": "5a7140415f755a31",
        "letter/choices": "a80e4fd7b58565ba",
        "cloze/question": "ea607a49ace00a8c",
        "cloze/qa": "8e55b979dca38ccd",
        "cloze/plain": "b95dea26975cf364",
        "cloze/base": "ea607a49ace00a8c",
    },
    "boolq": {
        "letter/base": "77ee5045cac4a3cd",
        "letter/plain": "809fe74b4a4150d6",
        "letter/choices": "a207c534573532d3",
        "cloze/question": "6bfc4a23d8ac9fe9",
        "cloze/qa": "3461259f176fc66b",
        "cloze/plain": "260f96b9bfb55169",
        "cloze/base": "6bfc4a23d8ac9fe9",
    },
    "commonsenseqa": {
        "letter/base": "62aa47786fb653de",
        "letter/plain": "74710bae3146d76c",
        "letter/choices": "fe9e5c14257fe3cb",
        "cloze/question": "19ec9a216fde3867",
        "cloze/qa": "942d10eb834b500c",
        "cloze/plain": "388a458e525c283e",
        "cloze/base": "19ec9a216fde3867",
    },
    "cosmosqa": {
        "letter/base": "8bc66bf700a9c6b1",
        "letter/plain": "5b5cbda55e549359",
        "letter/choices": "8ad4b4ebb0c681e4",
        "cloze/question": "e664896b930a8c97",
        "cloze/qa": "643cecce502ee8a2",
        "cloze/plain": "8b96c8454df9353b",
        "cloze/base": "e664896b930a8c97",
    },
    "hellaswag": {
        "letter/base": "4023719fc50f8ddf",
        "letter/plain": "c4b51a54325c3fee",
        "letter/choices": "b6fcabd8e448980a",
        "cloze/question": "0bf35775cc159f66",
        "cloze/qa": "aeff0902d2f95a0a",
        "cloze/plain": "eb26333d8291ea1f",
        "cloze/base": "eb26333d8291ea1f",
    },
    "hellaswag-activitynet": {
        "letter/base": "4023719fc50f8ddf",
        "letter/plain": "c4b51a54325c3fee",
        "letter/choices": "b6fcabd8e448980a",
        "cloze/question": "0bf35775cc159f66",
        "cloze/qa": "aeff0902d2f95a0a",
        "cloze/plain": "eb26333d8291ea1f",
        "cloze/base": "eb26333d8291ea1f",
    },
    "medmcqa": {
        "letter/base": "d936c024757eec53",
        "letter/plain": "2c697693871fb1a0",
        "letter/choices": "de255eb44e9cc8bc",
        "cloze/question": "96d2d3845fe1478f",
        "cloze/qa": "3ac17ff07b7f9cc2",
        "cloze/plain": "e71d7c3f178b6de6",
        "cloze/base": "96d2d3845fe1478f",
    },
    "medqa": {
        "letter/base": "b0e92f12bc88e691",
        "letter/plain": "2870145587e08ce6",
        "letter/choices": "e68b15ba40a57d29",
        "cloze/question": "3b565d2a30a6bb67",
        "cloze/qa": "8447696a1b5cf72d",
        "cloze/plain": "fa9dfa6ae69d82dd",
        "cloze/base": "3b565d2a30a6bb67",
    },
    "mmlu": {
        "letter/base": "94735d33ed20c578",
        "letter/plain": "d7f544c708a5cd9c",
        "letter/choices": "718c8193cdd2a34c",
        "cloze/question": "0003ca305e928aac",
        "cloze/qa": "65f4cb18634d3449",
        "cloze/plain": "f86e22b753d46dab",
        "cloze/base": "0003ca305e928aac",
    },
    "openbookqa": {
        "letter/base": "8730a83e7e344b94",
        "letter/plain": "14893444593c4cd7",
        "letter/choices": "332c4f17358a68be",
        "cloze/question": "64c4e0c589920b9a",
        "cloze/qa": "319fb138cb82d4c3",
        "cloze/plain": "0a01dc8d6f765bf4",
        "cloze/base": "0a01dc8d6f765bf4",
    },
    "piqa": {
        "letter/base": "7b42a551a533b016",
        "letter/plain": "b84261b121772314",
        "letter/choices": "7d3bddd6901189ac",
        "cloze/question": "a48f4c6c9031df3a",
        "cloze/qa": "406caf10c69fdfd1",
        "cloze/plain": "571f7b9e69edd2aa",
        "cloze/base": "a48f4c6c9031df3a",
    },
    "sciq": {
        "letter/base": "0d888137315688e4",
        "letter/plain": "81354fae2893d842",
        "letter/choices": "143eb22916943523",
        "cloze/question": "93b8f3db4a3c6879",
        "cloze/qa": "82b8dddb51961da6",
        "cloze/plain": "6a659e7f7ef536a0",
        "cloze/closed-book": "93b8f3db4a3c6879",
        "cloze/base": "93b8f3db4a3c6879",
    },
    "socialiqa": {
        "letter/base": "34adb04376c6b0fb",
        "letter/plain": "0b5d48ea04593c78",
        "letter/choices": "8e682379de53bd1d",
        "cloze/question": "60efbd88192a6660",
        "cloze/qa": "8e2f87aee4049705",
        "cloze/plain": "d2a2ad2e3292b218",
        "cloze/base": "2ea79afc7b19cf77",
    },
    "truthfulqa-mc1": {
        "letter/base": "3ed4c96921aa1880",
        "letter/plain": "a25025cfd227948b",
        "letter/choices": "13fa9102a8b408df",
        "cloze/question": "720475987db45584",
        "cloze/qa": "c3c103e26f65bc69",
        "cloze/plain": "cb3fbbbb919e0b64",
        "cloze/base": "c3c103e26f65bc69",
    },
    "winogrande": {
        "letter/base": "4a535aea35f30880",
        "letter/plain": "38722274066c82f3",
        "letter/choices": "e5443cdaf07be17b",
        "cloze/question": "3c60f8c4ad7e7dd8",
        "cloze/qa": "843a7d244e5e87be",
        "cloze/plain": "71a32f77b3b63ac5",
        "cloze/base": "71a32f77b3b63ac5",
    },
    "ye2024-qa": {
        "letter/base": "553ea0e433fe3da6",
        "letter/shared": "7667553fa016107d",
        "letter/task": "b7a1c2ee0285057c",
        "cloze/question": "31bc831c3373cd55",
        "cloze/qa": "a9b7a25a747f701a",
        "cloze/plain": "9a903563b510e5b2",
        "cloze/base": "31bc831c3373cd55",
    },
    "ye2024-rc": {
        "letter/base": "ca88f91b191f3a4a",
        "letter/shared": "9b4899d55d75434c",
        "letter/task": "ba53da9a9a776469",
        "cloze/question": "b61005aaf8591b7b",
        "cloze/qa": "dfadb59cac706b16",
        "cloze/plain": "78c3e29f81a22cb7",
        "cloze/base": "b61005aaf8591b7b",
    },
    "ye2024-ci": {
        "letter/base": "ca88f91b191f3a4a",
        "letter/shared": "9b4899d55d75434c",
        "letter/task": "e84b7aad05a0ac7e",
        "cloze/question": "b61005aaf8591b7b",
        "cloze/qa": "dfadb59cac706b16",
        "cloze/plain": "78c3e29f81a22cb7",
        "cloze/base": "b61005aaf8591b7b",
    },
    "ye2024-drs": {
        "letter/base": "4c1b80697c6052ef",
        "letter/shared": "e5917740a8becfb6",
        "letter/task": "e66c70fecbdeb4ce",
        "cloze/question": "b61005aaf8591b7b",
        "cloze/qa": "dfadb59cac706b16",
        "cloze/plain": "78c3e29f81a22cb7",
        "cloze/base": "b61005aaf8591b7b",
    },
    "ye2024-ds": {
        "letter/base": "fabc11bcdf6c4849",
        "letter/shared": "b3c3c4ffc4a45aaa",
        "letter/task": "c1a0bd20e4ade634",
        "cloze/question": "b61005aaf8591b7b",
        "cloze/qa": "dfadb59cac706b16",
        "cloze/plain": "78c3e29f81a22cb7",
        "cloze/base": "b61005aaf8591b7b",
    },
}
"""By task, then by ``<letter or cloze>/<style>``."""


def test_every_task_and_style_has_a_golden_prompt_and_no_other() -> None:
    pinned = {(name, *key.split("/")) for name, prompts in GOLDEN.items() for key in prompts}
    assert pinned == set(every_prompt())
    assert set(INVENTED) == {name for name, task in TASKS.items() if task.needs}


@pytest.mark.parametrize("name", TASKS)
def test_prompts_are_the_pinned_ones(name: str) -> None:
    item = shown(name)
    found = {
        f"{scoring}/{style}": digest(TASKS[name], item, scoring, style)
        for one, scoring, style in every_prompt()
        if one == name
    }
    assert found == GOLDEN[name]


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_holds_what_its_item_asks(name: str) -> None:
    """What a digest cannot show: question, options and passage are there, in this order, and nothing of the answer."""
    item = shown(name)
    for one, scoring, style in every_prompt():
        if one != name:
            continue
        text = render(
            TASKS[name], item, scoring="letter" if scoring == "letter" else task_cloze(TASKS[name]), prompt=style
        )
        asked = text.context.index(item.question)
        if item.context and style != "closed-book":
            assert text.context.index(item.context) < asked
        if scoring == "letter":
            places = [
                text.context.index(f"{letter}. {choice}\n", asked)
                for letter, choice in zip("ABCDEF", item.choices, strict=False)
            ]
            assert places == sorted(places)
            assert text.continuations == tuple(f" {letter}" for letter, _ in zip("ABCDEF", item.choices, strict=False))
        else:
            assert text.continuations == tuple(f" {choice}" for choice in item.choices)
        assert not text.context.endswith((" ", *text.continuations))
