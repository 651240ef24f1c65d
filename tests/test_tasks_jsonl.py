"""Tasks from a user's JSONL file: what is accepted, and one line for everything that is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suite.errors import SuiteError
from suite.task import Question, jsonl_task

GOOD: dict[str, Any] = {"id": "a", "question": "Why?", "choices": ["x", "y"], "answer_index": 1}


def write(folder: Path, *records: object) -> Path:
    path = folder / "task.jsonl"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        jsonl_task(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_full_record(tmp_path: Path) -> None:
    record = GOOD | {"id": 7, "context": "C", "subject": "s", "group": "g", "slices": ["x", "y"], "note": "ignored"}
    path = write(tmp_path, record, "", GOOD)
    task = jsonl_task(path)
    first, second = task.load()
    assert first == Question(
        id="7", question="Why?", choices=("x", "y"), answer=1, context="C", subject="s", group="g", slices=("x", "y")
    )
    assert second.id == "a"
    assert (second.context, second.subject, second.group) == ("", None, None)


def test_the_description(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, GOOD | {"id": "b", "choices": ["x", "y", "z"]})
    task = jsonl_task(path)
    assert (task.name, task.kind, task.options, task.scoring) == ("task", "custom", "2-3", "cloze-sum")
    assert task.revision == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert task.cloze == "{context}\nQuestion: {question}\nAnswer:"


def test_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert len(jsonl_task(path).load()) == 1


def test_a_line_separator_inside_a_text_is_no_new_line(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(GOOD | {"question": "a\u2028b"}, ensure_ascii=False))
    assert jsonl_task(path).load()[0].question == "a\u2028b"


@pytest.mark.parametrize("field", ["id", "question", "choices", "answer_index"])
def test_a_missing_field(tmp_path: Path, field: str) -> None:
    record = {key: value for key, value in GOOD.items() if key != field}
    assert f"task.jsonl:2: missing field '{field}'" in refusal(write(tmp_path, GOOD | {"id": "b"}, record))


CASES: list[tuple[dict[str, Any], str]] = [
    ({"slices": "x"}, "'slices' must be a list of names"),
    ({"slices": [""]}, "'slices' must be a list of names"),
    ({"answer_index": 2}, "item 'a': answer_index 2 is outside its 2 choices"),
    ({"answer_index": -1}, "item 'a': answer_index -1 is outside its 2 choices"),
    ({"answer_index": "1"}, "'answer_index' must be a whole number"),
    ({"answer_index": 1.0}, "'answer_index' must be a whole number"),
    ({"answer_index": True}, "'answer_index' must be a whole number"),
    ({"answer_index": None}, "'answer_index' must be a whole number"),
    ({"choices": []}, "has 0 choices, at least 2 are needed"),
    ({"choices": ["x"], "answer_index": 0}, "has 1 choices, at least 2 are needed"),
    ({"choices": [str(number) for number in range(27)]}, "has 27 choices, at most 26 can be scored"),
    ({"choices": ["x", ""]}, "choice 1 is empty"),
    ({"choices": [" ", "x"]}, "choice 0 is empty"),
    ({"choices": ["x", "x"]}, "two identical choices, only one can be the answer"),
    ({"choices": "xy"}, "'choices' must be a list of texts"),
    ({"choices": ["x", 2]}, "'choices' must be a list of texts"),
    ({"choices": {"A": "x", "B": "y"}}, "'choices' must be a list of texts"),
    ({"question": ""}, "item 'a' has an empty question"),
    ({"question": "  "}, "item 'a' has an empty question"),
    ({"question": "", "context": "C"}, "item 'a' has an empty question"),
    ({"question": 5}, "'question' must be text"),
    ({"context": ["C"]}, "'context' must be text"),
    ({"subject": 1}, "'subject' must be text"),
    ({"group": 1}, "'group' must be text"),
    ({"id": ""}, "empty id"),
    ({"id": None}, "'id' must be text or a whole number"),
    ({"id": 1.5}, "'id' must be text or a whole number"),
    ({"id": True}, "'id' must be text or a whole number"),
    ({"question": "\ud800"}, "half of a surrogate pair"),
]


@pytest.mark.parametrize(("change", "message"), CASES)
def test_a_bad_record_is_refused_with_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, GOOD | {"id": "first"}, "", GOOD | change)
    said = refusal(path)
    assert f"{path}:3: " in said
    assert message in said


def test_26_choices_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD | {"choices": [str(number) for number in range(26)]})
    assert jsonl_task(path).options == "26"


def test_a_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, GOOD | {"id": "b"}, GOOD)
    assert refusal(path) == f"{path}:3: duplicate id 'a', first used on line 1"


def test_a_number_and_its_text_are_the_same_id(tmp_path: Path) -> None:
    assert ":2: duplicate id '1'" in refusal(write(tmp_path, GOOD | {"id": 1}, GOOD | {"id": "1"}))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        ("[1, 2]", "expected a JSON object, found list"),
        ("null", "expected a JSON object, found NoneType"),
        ("hello", "not valid JSON"),
        ('{"id": ' + "1" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON (nested too deeply)"),
        ("\u2060" + json.dumps(GOOD), "not valid JSON"),
    ],
)
def test_not_json(tmp_path: Path, line: str, message: str) -> None:
    assert f":2: {message}" in refusal(write(tmp_path, GOOD, line))


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_bytes(b'{"id": "\xff"}')
    assert refusal(path).endswith("not UTF-8 text (byte 8)")


@pytest.mark.parametrize("content", ["", "\n\n", "   "])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    assert refusal(write(tmp_path, content)).endswith("no questions in it")


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file or directory; name a readable JSONL file" in refusal(tmp_path / "none.jsonl")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "task.jsonl").mkdir()
    assert "Is a directory" in refusal(tmp_path / "task.jsonl")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "question", "choices", "answer_index", "context", "subject", "group"]), VALUES
    )
)
@example({"choices": ["x", "y"], "answer_index": 10**30})
def test_any_record_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any]
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz"), GOOD | change)
    try:
        (item,) = jsonl_task(path).load()
    except SuiteError:
        assert f"{path}:1: " in refusal(path)
    else:
        assert 0 <= item.answer < len(item.choices)
        item.id.encode()


@given(st.binary(max_size=200))
@example(json.dumps(GOOD).encode()[:-5])
@example(b"\x00\x00")
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "task.jsonl"
    path.write_bytes(raw)
    assert refusal(path)
