"""Tasks whose data the user fetches: the formats they come in, slices, and one line for what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from suite.errors import SuiteError
from suite.task import Task
from suite.tasks import TASKS, get_task
from suite.tasks.bbq import stereotyped_answer

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    return tmp_path


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    text = "\n".join(json.dumps(record) for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def refusal(name: str) -> str:
    with pytest.raises(SuiteError) as caught:
        get_task(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


COSMOS = [
    {
        "id": f"story{number}##q",
        "context": f"Story {number // 2}.",
        "question": "Why?",
        "choices": [*"abcd"],
        "answer_index": 2,
    }
    for number in range(4)
]


class TestCosmosQA:
    def test_authors_csv_and_jsonl_are_the_same_task(self, folder: Path) -> None:
        lines(folder / "valid.jsonl", COSMOS)
        task = get_task("cosmosqa")
        (folder / "valid.jsonl").unlink()
        rows = [f'{one["id"]},"{one["context"]}",Why?,a,b,c,d,2' for one in COSMOS]
        (folder / "valid.csv").write_text(
            "id,context,question,answer0,answer1,answer2,answer3,label\n" + "\n".join(rows)
        )
        again = get_task("cosmosqa")
        assert again.revision == task.revision
        assert again.load() == task.load()
        items = again.load()
        assert items[0].id == "cosmosqa/validation/story0##q"
        assert [item.group for item in items] == [items[0].id, items[0].id, items[2].id, items[2].id]

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"choices": [*"abc"]}, "four options are needed"),
            ({"choices": [*"abca"]}, "two options are identical"),
            ({"choices": ["a", "", "c", "d"]}, "choice 1 is empty"),
            ({"answer_index": 4}, "the answer 4 is not among the options 0 to 3"),
            ({"answer_index": None}, "the answer None is not among the options"),
            ({"question": "", "context": ""}, "has an empty question"),
            ({"question": " "}, "has an empty question"),
            ({"choices": "abcd"}, "four options are needed"),
            ({"choices": [*"a"]}, "four options are needed"),
            ({"choices": [str(number) for number in range(27)]}, "four options are needed"),
            ({"id": COSMOS[0]["id"]}, "duplicate id 'cosmosqa/validation/story0##q', first used at "),
        ],
    )
    def test_bad_data_is_refused_with_its_line(self, folder: Path, change: dict[str, Any], complaint: str) -> None:
        lines(folder / "valid.jsonl", [COSMOS[0], COSMOS[1] | change])
        message = refusal("cosmosqa")
        assert complaint in message
        assert message.startswith(f"{folder / 'valid.jsonl'}:2: ")

    def test_a_line_of_a_csv_file_is_counted_over_texts_of_several_lines(self, folder: Path) -> None:
        head = "id,context,question,answer0,answer1,answer2,answer3,label"
        (folder / "valid.csv").write_text(
            f'{head}\ns1,"It rained.\nIt snowed.",Why?,a,b,c,d,2\ns2,It hailed.,,a,b,c,d,2\n'
        )
        assert refusal("cosmosqa").startswith(f"{folder / 'valid.csv'}:4: item 'cosmosqa/validation/s2' has an empty")


TRUTH = [
    {"question": f"Do bells sing {number}?", "mc1_targets": {"true": 1, "false 1": 0, "false 2": 0, "false 3": 0}}
    for number in range(40)
]


class TestTruthfulQA:
    def test_the_three_formats_are_the_same_task(self, folder: Path) -> None:
        (folder / "mc_task.json").write_text(json.dumps(TRUTH))
        task = get_task("truthfulqa-mc1")
        (folder / "mc_task.json").unlink()
        plain = [{"question": one["question"], "choices": [*one["mc1_targets"]], "answer_index": 0} for one in TRUTH]
        lines(folder / "truthfulqa_mc1.jsonl.gz", plain)
        assert get_task("truthfulqa-mc1").revision == task.revision
        (folder / "truthfulqa_mc1.jsonl.gz").unlink()
        hub = [
            {"question": one["question"], "mc1_targets": {"choices": one["choices"], "labels": [1, 0, 0, 0]}}
            for one in plain
        ]
        pq.write_table(pa.Table.from_pylist(hub), folder / "validation-00000-of-00001.parquet")
        assert get_task("truthfulqa-mc1").revision == task.revision

    def test_options_are_shuffled_and_the_seed_is_recorded(self, folder: Path) -> None:
        (folder / "mc_task.json").write_text(json.dumps(TRUTH))
        task = get_task("truthfulqa-mc1")
        assert task.revision.startswith("shuffle-seed=0@sha256:")
        for item in task.load():
            assert item.choices[item.answer] == "true"
            assert sorted(item.choices) == ["false 1", "false 2", "false 3", "true"]
        assert set(Counter(item.answer for item in task.load())) == {0, 1, 2, 3}

    @pytest.mark.parametrize(
        ("record", "complaint"),
        [
            ({"question": "Q", "mc1_targets": {"a": 1, "b": 1}}, "2 of the 2 options are marked true"),
            ({"question": "Q", "mc1_targets": {"a": 0, "b": 0}}, "0 of the 2 options are marked true"),
            ({"question": "Q", "mc1_targets": {"a": 1}}, "1 options; 2 to 26 can be scored"),
            ({"question": "Q", "mc1_targets": {str(n): int(n == 0) for n in range(27)}}, "27 options; 2 to 26"),
            ({"question": "Q", "choices": ["a", "a"], "answer_index": 0}, "two options are identical"),
            ({"question": "Q", "choices": ["a", "b"], "answer_index": 2}, "0 of the 2 options are marked true"),
            ({"question": "", "mc1_targets": {"a": 1, "b": 0}}, "has an empty question"),
            ({"question": "Q"}, "must give a list of texts"),
            ({"question": "Q", "mc1_targets": {"": 1, "b": 0}}, "choice 0 is empty"),
        ],
    )
    def test_bad_data_is_refused_with_its_line(self, folder: Path, record: dict[str, Any], complaint: str) -> None:
        (folder / "mc_task.json").write_text(f"[\n{json.dumps(TRUTH[0])},\n{json.dumps(record)}\n]")
        message = refusal("truthfulqa-mc1")
        assert complaint in message
        assert message.startswith(f"{folder / 'mc_task.json'}:3: ")

    def test_a_parquet_file_has_rows_instead_of_lines(self, folder: Path) -> None:
        rows = [{"question": text, "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}} for text in ("Q", " ")]
        path = folder / "validation-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        assert refusal("truthfulqa-mc1").startswith(f"{path}:row 1: item 'truthfulqa-mc1/1' has an empty question")

    def test_an_empty_false_option_is_left_out(self, folder: Path) -> None:
        (folder / "mc_task.json").write_text(json.dumps([{"question": "Q", "mc1_targets": {"a": 1, "b": 0, "": 0}}]))
        (item,) = get_task("truthfulqa-mc1").load()
        assert sorted(item.choices) == ["a", "b"]


def bbq(number: int, condition: str, polarity: str, label: int, groups: tuple[str, ...] = ("tall",)) -> dict[str, Any]:
    return {
        "example_id": number,
        "question_index": "1",
        "question_polarity": polarity,
        "context_condition": condition,
        "category": "Physical_appearance",
        "answer_info": {"ans0": ["x", "unknown"], "ans1": ["tall person", "tall"], "ans2": ["short person", "short"]},
        "additional_metadata": {"stereotyped_groups": list(groups)},
        "context": "A tall and a short person met.",
        "question": "Who sang badly?" if polarity == "neg" else "Who sang well?",
        **{f"ans{place}": text for place, text in enumerate(("unknown", "the tall person", "the short person"))},
        "label": label,
    }


class TestBBQ:
    def test_contexts_polarities_and_directions(self, folder: Path) -> None:
        """Stereotype: tall people sing badly. Who sang badly: tall is expected; who sang well: short is."""
        cases = [
            (bbq(0, "ambig", "neg", 0), ("context:ambiguous", "polarity:negative")),
            (bbq(1, "disambig", "neg", 1), (*_disambiguated("negative"), "direction:stereotyped")),
            (bbq(2, "disambig", "neg", 2), (*_disambiguated("negative"), "direction:counter-stereotyped")),
            (bbq(3, "disambig", "nonneg", 2), (*_disambiguated("non-negative"), "direction:stereotyped")),
            (bbq(4, "disambig", "nonneg", 1), (*_disambiguated("non-negative"), "direction:counter-stereotyped")),
            (bbq(5, "disambig", "neg", 1, ("round",)), _disambiguated("negative")),
        ]
        lines(folder / "Physical_appearance.jsonl", [record for record, _ in cases])
        items = get_task("bbq").load()
        assert [item.slices for item in items] == [slices for _, slices in cases]
        assert {(item.subject, item.group) for item in items} == {("Physical_appearance", "bbq/Physical_appearance/0")}

    def test_several_files_are_one_task(self, folder: Path) -> None:
        lines(folder / "Physical_appearance.jsonl", [bbq(0, "ambig", "neg", 0)])
        lines(folder / "Age.jsonl", [bbq(0, "ambig", "neg", 0) | {"category": "Age"}])
        assert [item.id for item in get_task("bbq").load()] == ["bbq/Age/0", "bbq/Physical_appearance/0"]

    @pytest.mark.parametrize(
        ("groups", "names", "expected"),
        [
            (["F", "Girl"], ("M", "woman"), 2),
            (["low SES"], ("lowSES", "highSES"), 1),
            (["tall", "short"], ("tall", "short"), None),
            ([], ("tall", "short"), None),
        ],
    )
    def test_group_names_match_across_spellings(
        self, groups: list[str], names: tuple[str, str], expected: int | None
    ) -> None:
        record = bbq(0, "disambig", "neg", 1)
        record["answer_info"] = {"ans0": ["x", "unknown"], "ans1": ["a", names[0]], "ans2": ["b", names[1]]}
        record["additional_metadata"] = {"stereotyped_groups": groups}
        assert stereotyped_answer(record) == expected
        turned = stereotyped_answer(record | {"question_polarity": "nonneg"})
        assert turned == (None if expected is None else 3 - expected)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"label": 3}, "the answer 3 is not among the options 0 to 2"),
            ({"ans1": None}, "three options are needed"),
            ({"ans1": "unknown"}, "two options are identical"),
            ({"context_condition": "clear"}, "'context_condition' must be one of ambig, disambig"),
            ({"example_id": 0}, "duplicate id 'bbq/Physical_appearance/0', first used at "),
            ({"question": ""}, "has an empty question"),
            ({"ans2": " "}, "choice 2 is empty"),
            ({"choices": ["a"]}, "three options are needed"),
            ({"choices": "abc"}, "three options are needed"),
            ({"choices": [str(number) for number in range(27)]}, "three options are needed"),
            ({"question_polarity": ["neg"]}, "'question_polarity' one of neg, nonneg"),
        ],
    )
    def test_bad_data(self, folder: Path, change: dict[str, Any], complaint: str) -> None:
        path = folder / "Physical_appearance.jsonl"
        lines(path, [bbq(0, "ambig", "neg", 0), bbq(1, "ambig", "neg", 0) | change])
        message = refusal("bbq")
        assert complaint in message
        assert message.startswith(f"{path}:2: ")
        assert "duplicate" not in complaint or message.endswith(f"first used at {path}:1")

    def test_a_duplicate_in_another_file_names_both(self, folder: Path) -> None:
        lines(folder / "Age.jsonl", [bbq(0, "ambig", "neg", 0)])
        lines(folder / "Physical_appearance.jsonl", [bbq(1, "ambig", "neg", 0), bbq(0, "ambig", "neg", 0)])
        message = refusal("bbq")
        assert message.startswith(f"{folder / 'Physical_appearance.jsonl'}:2: duplicate id")
        assert message.endswith(f"first used at {folder / 'Age.jsonl'}:1")


def _disambiguated(polarity: str) -> tuple[str, str]:
    return ("context:disambiguated", f"polarity:{polarity}")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 30) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = (
    *("id", "question", "context", "choices", "answer_index", "label", "mc1_targets", "ans1", "example_id"),
    *("answer_info", "additional_metadata", "context_condition", "question_polarity", "category", "question_index"),
)


@pytest.mark.parametrize(
    ("name", "file", "good"),
    [
        ("cosmosqa", "valid.jsonl", COSMOS[0]),
        ("truthfulqa-mc1", "truthfulqa_mc1.jsonl", {"question": "Q", "choices": ["a", "b"], "answer_index": 0}),
        ("bbq", "bbq.jsonl", bbq(0, "disambig", "neg", 1)),
    ],
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3))
@example(change={"choices": 5})
@example(change={"mc1_targets": {"choices": ["a", "b"], "labels": 1}})
@example(change={"mc1_targets": 3})
@example(change={"additional_metadata": {"stereotyped_groups": 2}})
@example(change={"context_condition": ["ambig"]})
def test_any_record_is_read_or_refused_in_one_line(
    folder: Path, name: str, file: str, good: dict[str, Any], change: dict[str, Any]
) -> None:
    lines(folder / file, [good | change])
    try:
        (item,) = get_task(name).load()
    except SuiteError:
        assert refusal(name).startswith(f"{folder / file}:1: ")
    else:
        assert 0 <= item.answer < len(item.choices)


class TestFiles:
    @pytest.mark.parametrize("name", ["cosmosqa", "truthfulqa-mc1", "bbq"])
    def test_a_missing_file_is_one_line(self, folder: Path, name: str) -> None:
        message = refusal(name)
        assert message.startswith(f"task {name}: no folder in SUITE_DATA holds ")
        assert f"fetch {TASKS[name].needs} and name its folder" in message

    def test_a_folder_that_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("SUITE_DATA", str(tmp_path / "nowhere"))
        assert "nowhere, which is no folder" in refusal("bbq")

    @pytest.mark.parametrize(
        ("name", "raw"),
        [
            ("cosmosqa_valid.jsonl.gz", b"not gzip"),
            ("cosmosqa_valid.jsonl", b"\xff\xfe"),
            ("valid.csv", b"\xff\xfe\xff"),
            ("valid.csv", b'id,context\n"open'),
        ],
    )
    def test_a_damaged_file(self, folder: Path, name: str, raw: bytes) -> None:
        (folder / name).write_bytes(raw)
        assert name in refusal("cosmosqa")

    def test_a_damaged_parquet_file(self, folder: Path) -> None:
        (folder / "validation-00000-of-00001.parquet").write_bytes(b"PAR1")
        assert "not a readable Parquet file" in refusal("truthfulqa-mc1")


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the folder shared/data/tasks is not there")
@pytest.mark.parametrize(
    ("name", "count", "revision"),
    [
        ("cosmosqa", 2985, "sha256:ce2ca305fcad38ba"),
        ("truthfulqa-mc1", 790, "shuffle-seed=0@sha256:3d861e2e3d591242"),
        ("bbq", 11956, "sha256:602f5542c7cb75c8"),
    ],
)
def test_the_real_data(monkeypatch: pytest.MonkeyPatch, name: str, count: int, revision: str) -> None:
    monkeypatch.setenv("SUITE_DATA", str(SHARED_DATA))
    task: Task = get_task(name)
    assert len(task.load()) == count
    assert task.revision.startswith(revision)
