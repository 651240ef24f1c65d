"""One reader for every text file that people bring: byte order marks, UTF-16, gzip, line ends, damage."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.config import read_config
from suite.errors import SuiteError
from suite.files import decoded, json_objects, read_bytes, read_text, replacing, unpacked_name, write_file
from suite.importers import import_cells
from suite.sample_text import read_sample_text
from suite.task import jsonl_task
from suite.tasks import get_task
from suite.tasks.external import Place, find, records
from suite.tasks.six_option_file import json_task

TEXT = "Grüße, 北京 🙂"
FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "marked": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "packed": lambda text: gzip.compress(text.encode()),
    "packed and marked": lambda text: gzip.compress(b"\xef\xbb\xbf" + text.encode()),
    "packed in two parts": lambda text: gzip.compress(text[:5].encode()) + gzip.compress(text[5:].encode()),
    "windows": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Callable[[str], bytes]:
    return FORMS[request.param]


def test_the_text_is_the_same_in_every_form(tmp_path: Path, form: Callable[[str], bytes]) -> None:
    (tmp_path / "x").write_bytes(form(TEXT))
    assert read_text(tmp_path / "x") == TEXT


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_scores_and_tasks(tmp_path: Path, form: Callable[[str], bytes], name: str) -> None:
    """Whatever the name says."""
    file = tmp_path / name
    file.write_bytes(form('{"id": "ä", "logits": [1, 2], "answer": 1}\n{"id": 7, "logits": [1, 2], "answer": 0}\n'))
    (cell,) = import_cells("jsonl", file, model="m", variant="dense", task="t")
    assert (cell.ids, cell.answers.tolist()) == (("ä", "7"), [1, 0])
    file.write_bytes(form(json.dumps({"id": 1, "question": TEXT, "choices": ["x", "ÿ"], "answer_index": 1}) + "\n"))
    for task in (get_task(str(file)), get_task(file), jsonl_task(file), jsonl_task(str(file))):
        assert task.name == "x"
        assert [(item.question, item.choices) for item in task.load()] == [(TEXT, ("x", "ÿ"))]


def test_a_packed_task_has_the_revision_of_the_unpacked_one(tmp_path: Path) -> None:
    raw = json.dumps({"id": 1, "question": "Why?", "choices": ["x", "y"], "answer_index": 1}).encode()
    (tmp_path / "x.jsonl").write_bytes(raw)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(raw))
    assert get_task(tmp_path / "x.jsonl").revision == get_task(tmp_path / "x.jsonl.gz").revision


def test_configurations_and_sample_texts(tmp_path: Path, form: Callable[[str], bytes]) -> None:
    (tmp_path / "run.yaml").write_bytes(form("models: [m]\ntasks: [sciq]\nvariants: [dense]\n"))
    assert read_config(tmp_path / "run.yaml") == read_config(str(tmp_path / "run.yaml"))
    (tmp_path / "mine.txt").write_bytes(form(f"{TEXT}\n\nsecond"))
    assert read_sample_text(str(tmp_path / "mine.txt")).passages == (TEXT, "second")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_data_files(tmp_path: Path, form: Callable[[str], bytes], suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": 1, "text": TEXT}, {"id": 2, "text": "y"}]
    contents = {
        "a.json": json.dumps(rows),
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.csv": f'id,text\n1,"{TEXT}"\n2,y\n',
    }
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    for name, content in contents.items():
        (tmp_path / f"{name}{suffix}").write_bytes(form(content))
        found = find("t", Place((name,), ""))
        assert [record["text"] for _, record in records(found)] == [TEXT, "y"]


def test_six_options_packed(tmp_path: Path) -> None:
    from support.six_options import record

    text = json.dumps([record(row, "MMLU") for row in range(24)])
    (tmp_path / "mine.json.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    (tmp_path / "mine.json").write_text(text)
    packed, plain = get_task(str(tmp_path / "mine.json.gz")), json_task(str(tmp_path / "mine.json"))
    assert (packed.name, packed.revision, packed.load()) == (plain.name, plain.revision, plain.load())


@pytest.mark.parametrize(
    "raw",
    [gzip.compress(b"x" * 1000)[:-9], b"\x1f\x8b", gzip.compress(b"x") + b"rest"],
    ids=["no end", "no content", "more behind the end"],
)
def test_a_damaged_packed_file(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(raw)
    with pytest.raises(SuiteError, match=r"x\.gz: cannot be unpacked \(.+\); fetch it again$") as caught:
        read_bytes(tmp_path / "x.gz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "kind"), [(b"ab\xff", "UTF-8 text (byte 2)"), (b"\xff\xfea", "UTF-16"), (b"\xff\xfe\x00\x00a", "UTF-32")]
)
def test_bytes_that_are_no_text(raw: bytes, kind: str) -> None:
    with pytest.raises(SuiteError, match=f"^here: not {kind}".replace("(", r"\(").replace(")", r"\)")):
        decoded(raw, "here")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"^list .*none: No such file or directory; name another$"):
        read_text(tmp_path / "none", "list", todo="name another")


def test_files_put_together_keep_their_marks(tmp_path: Path) -> None:
    text = '\ufeff{"a": 1}\n\ufeff{"a": 2}\n\ufeff\n'
    assert [record for _, record in json_objects(tmp_path, text)] == [{"a": 1}, {"a": 2}]


def test_the_name_without_the_packing() -> None:
    assert [unpacked_name(name) for name in ("a.jsonl.gz", "a.jsonl", "a.gz.txt")] == ["a.jsonl", "a.jsonl", "a.gz.txt"]


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.txt"
    write_file(path, "gänzlich\n")
    assert path.read_bytes() == "gänzlich\n".encode()
    with pytest.raises(KeyboardInterrupt), replacing(path) as handle:  # noqa: PT012
        handle.write(b"half of ")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "gänzlich\n"
    assert [file.name for file in path.parent.iterdir()] == ["note.txt"]


def test_a_file_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SuiteError, match=r"^cannot write \S+/file/note.txt: .*; ask for room$"):
        write_file(tmp_path / "file" / "note.txt", b"", todo="ask for room")
