"""What lm-eval's logs leave open: which option is right, where it begins, which files are a task's, which filter.

The logs are made here as lm-eval 0.4.13 makes them (`api/task.py`, ConfigurableTask.process_results): the string that
acc_norm measures is the choice as the task has it, spaces and all.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.cell import Cell
from suite.errors import SuiteError
from suite.importers import import_cells
from suite.remarks import remarks

STAMP = "2026-03-02T10-11-12.345678"
Record = dict[str, Any]


def logged(
    number: int,
    choices: Sequence[str],
    gold: int,
    logliks: Sequence[float],
    *,
    target: str | None = None,
    delimiter: str = " ",
    doc: Any = None,
    metrics: Sequence[str] = (),
) -> Record:
    """One line of a log; `gold` is the right index, `target` how the log spells it."""
    values = np.array(logliks)
    by_character = values / np.array([len(choice) for choice in choices])
    by_byte = values / np.array([len(choice.encode()) for choice in choices])
    greedy = [index == int(values.argmax()) for index in range(len(choices))]
    every: Record = {
        "acc": float(values.argmax() == gold),
        "acc_norm": float(by_character.argmax() == gold),
        "acc_bytes": float(by_byte.argmax() == gold),
        "exact_match": int(greedy[gold]),
        "f1": [gold, int(values.argmax())],
        "brier_score": [gold, "[0.5 0.5]"],
    }
    responses = [[str(value), str(flag)] for value, flag in zip(logliks, greedy, strict=True)]
    doc = {"q": f"question {number}"} if doc is None else doc
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(gold) if target is None else target,
        "arguments": {
            f"gen_args_{index}": {"arg_0": "q", "arg_1": delimiter + choice} for index, choice in enumerate(choices)
        },
        "resps": [[response] for response in responses],
        "filtered_resps": responses,
        "doc_hash": hashlib.sha256(json.dumps(doc, indent=2).encode()).hexdigest(),
        **{name: every[name] for name in metrics},
    }


def stored(folder: Path, rows: Sequence[Record], subtask: str = "toy", **results: Any) -> Path:
    """A file of samples; keywords go into a results file beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"samples_{subtask}_{STAMP}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    if results:
        (folder / f"results_{STAMP}.json").write_text(json.dumps(results), encoding="utf-8")
    return path


def read(src: Path, **changes: Any) -> Cell:
    (cell,) = import_cells("lm-eval", src, **{"model": "m", "variant": "dense", "task": "toy", **changes})
    return cell


def refusal(src: Path, **changes: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        read(src, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


# right answers that are whole numbers, among options that are

# options, the answer's text, its index read as text, and read as an index
DIGITS = [
    (["1", "3", "0", "2"], "3", 1, 3),
    (["2", "1", "0", "3"], "0", 2, 0),
    (["3", "0", "1", "2"], "2", 3, 2),
    (["1", "2", "3", "0"], "1", 0, 1),
]
AS_TEXT, AS_INDEX = [1, 2, 3, 0], [3, 0, 2, 1]


def digits(reading: str, metrics: Sequence[str] = (), **docs: Sequence[Any]) -> list[Record]:
    """A log of `DIGITS` under one reading; keywords are fields of the documents, one value an item."""
    rows = []
    for number, (choices, target, text, index) in enumerate(DIGITS):
        doc = {"q": str(number), "o": choices} | {name: values[number] for name, values in docs.items()}
        gold = text if reading == "text" else index
        logliks = [-4.0 - option for option in range(4)]
        logliks[(gold + number) % 4] = -1.0  # right in the first item, wrong in the others
        rows.append(logged(number, choices, gold, logliks, target=target, doc=doc, metrics=metrics))
    return rows


class TestWholeNumbers:
    @pytest.mark.parametrize(
        "metrics", [["acc"], ["acc_norm"], ["acc_bytes"], ["exact_match"], ["f1"], ["brier_score"]]
    )
    @pytest.mark.parametrize(("reading", "answers"), [("text", AS_TEXT), ("index", AS_INDEX)])
    def test_what_is_logged_decides(self, tmp_path: Path, metrics: list[str], reading: str, answers: list[int]) -> None:
        cell = read(stored(tmp_path, digits(reading, metrics)))
        assert cell.answers.tolist() == answers
        assert remarks(cell) == {}

    def test_without_it_the_answer_is_a_text_and_a_note_says_so(self, tmp_path: Path) -> None:
        cell = read(stored(tmp_path, digits("text")))
        assert cell.answers.tolist() == AS_TEXT
        assert "read as an index it would be another option in 4 of 4 items" in remarks(cell)["run"]

    @pytest.mark.parametrize(
        ("docs", "answers"),
        [
            ({"label": AS_TEXT}, AS_TEXT),
            ({"label": AS_INDEX}, AS_INDEX),
            ({"key": [*"BCDA"]}, AS_TEXT),
            ({"key": [*"DACB"]}, AS_INDEX),
            ({"key": [*"2341"], "keys": [["1", "2", "3", "4"]] * 4}, AS_TEXT),
            ({"key": [*"4132"], "keys": [["1", "2", "3", "4"]] * 4}, AS_INDEX),
            ({"marks": [[int(at == right) for at in range(4)] for right in AS_TEXT]}, AS_TEXT),
            ({"gold": [{"at": at} for at in AS_INDEX]}, AS_INDEX),
        ],
    )
    def test_the_documents_decide(self, tmp_path: Path, docs: dict[str, list[Any]], answers: list[int]) -> None:
        cell = read(stored(tmp_path, digits("text", **docs)))
        assert cell.answers.tolist() == answers
        assert remarks(cell) == {}

    @pytest.mark.parametrize(
        "docs",
        [
            {"answer": [target for _, target, _, _ in DIGITS]},  # the target itself, as text
            {"level": [0, 1, 2, 3]},
            {"one": AS_TEXT, "other": AS_INDEX},
        ],
    )
    def test_documents_that_say_nothing_of_it(self, tmp_path: Path, docs: dict[str, list[Any]]) -> None:
        cell = read(stored(tmp_path, digits("text", **docs)))
        assert cell.answers.tolist() == AS_TEXT
        assert "run" in remarks(cell)

    @pytest.mark.parametrize(
        ("rule", "docs", "answers"),
        [
            ("answer", {"answer": [target for _, target, _, _ in DIGITS]}, AS_TEXT),
            ("answer", {"answer": [int(target) for _, target, _, _ in DIGITS]}, AS_INDEX),
            ("{{answer}}", {"answer": [target for _, target, _, _ in DIGITS]}, AS_INDEX),
            ("def doc_to_target(doc):\n    return '{{' + doc['x'] + '}}'", {"label": AS_TEXT}, AS_TEXT),
        ],
    )
    def test_the_tasks_configuration_decides(
        self, tmp_path: Path, rule: str, docs: dict[str, list[Any]], answers: list[int]
    ) -> None:
        """A template that gives digits gives an index, a field what it holds; a function's source tells nothing."""
        path = stored(tmp_path, digits("text", **docs), configs={"toy": {"doc_to_target": rule}})
        cell = read(path)
        assert cell.answers.tolist() == answers
        assert remarks(cell) == {}

    def test_a_number_that_is_no_option_is_an_index_in_every_item(self, tmp_path: Path) -> None:
        rows = [logged(0, ["3", "0", "7"], 1, [-1, -2, -3]), logged(1, ["5", "9", "8"], 0, [-1, -2, -3])]
        cell = read(stored(tmp_path, rows))
        assert cell.answers.tolist() == [1, 0]
        assert remarks(cell) == {}

    def test_a_number_that_is_no_index_is_a_text_in_every_item(self, tmp_path: Path) -> None:
        rows = [
            logged(0, ["2", "4", "8"], 1, [-1, -2, -3], target="4"),
            logged(1, ["2", "0", "1"], 0, [-1, -2, -3], target="2"),
        ]
        cell = read(stored(tmp_path, rows))
        assert cell.answers.tolist() == [1, 0]
        assert remarks(cell) == {}

    @pytest.mark.parametrize(
        "choices",
        [
            ["1,000", "100", "10"],
            ["0.5", "1", "2"],
            ["-3", "3", "0"],
            ["٣", "1", "2"],  # ARABIC-INDIC DIGIT THREE
            ["２", "1", "3"],
            ["²", "1", "2"],
            ["1/2", "1", "2"],
            ["True", "False", "Maybe"],
            ["[0]", "[1]", "[2]"],
        ],
    )
    def test_numbers_of_other_forms_are_texts(self, tmp_path: Path, choices: list[str]) -> None:
        rows = [logged(0, choices, 0, [-1, -2, -3], target=choices[0], metrics=["acc"])]
        assert read(stored(tmp_path, rows)).answers.tolist() == [0]

    def test_a_truth_value_is_an_index(self, tmp_path: Path) -> None:
        rows = [
            logged(number, ["no", "yes"], gold, [-1, -2], target=str(bool(gold)), metrics=["acc"])
            for number, gold in enumerate([1, 0, 1])
        ]
        assert read(stored(tmp_path, rows)).answers.tolist() == [1, 0, 1]

    def test_kinds_that_alternate_are_refused(self, tmp_path: Path) -> None:
        rows = [logged(0, ["a", "b"], 1, [-1, -2]), logged(1, ["a", "b"], 1, [-1, -2], target="b")]
        path = stored(tmp_path, rows)
        assert refusal(path).startswith(f"{path}:1: target '1' is an index and others of the file are not")

    def test_a_text_of_two_options(self, tmp_path: Path) -> None:
        path = stored(tmp_path, [logged(0, ["a", "a", "b"], 0, [-1, -2, -3], target="a")])
        assert "target 'a' is the text of 2 options" in refusal(path)


# lists


class TestLists:
    def test_one_in_a_list_is_the_right_one(self, tmp_path: Path) -> None:
        rows = [
            logged(
                number, ["(A)x", "(B)y", "(C)z"], gold, [-1, -2, -3], target=f"[{gold}]", delimiter="", metrics=["acc"]
            )
            for number, gold in enumerate([0, 2, 1])
        ]
        assert read(stored(tmp_path, rows)).answers.tolist() == [0, 2, 1]

    def test_a_text_in_a_list(self, tmp_path: Path) -> None:
        rows = [logged(0, ["x", "y"], 1, [-1, -2], target="['y']")]
        assert read(stored(tmp_path, rows)).answers.tolist() == [1]

    @pytest.mark.parametrize("target", ["[0, 2]", "['x', 'y']"])
    def test_several(self, tmp_path: Path, target: str) -> None:
        path = stored(tmp_path, [logged(0, ["x", "y", "z"], 0, [-1, -2, -3], target=target)])
        assert refusal(path) == (
            f"{path}:1: target {target}: 2 right options; a task of this kind (truthfulqa_mc2 is one) has no single "
            "right option, which is needed here"
        )

    @pytest.mark.parametrize("acc", [0.37, None])
    def test_truthfulqa_mc2(self, tmp_path: Path, acc: float | None) -> None:
        """Its target is 0 always and its acc a share; the labels stand in the document."""
        choices = ["x", "y", "z"]
        doc = {"q": "?", "mc2_targets": {"choices": choices, "labels": [1, 1, 0]}}
        row = logged(0, choices, 0, [-1, -2, -3], doc=doc) | ({} if acc is None else {"acc": acc})
        assert "has no single right option, import one that has (truthfulqa_mc1" in refusal(stored(tmp_path, [row]))
        one = logged(
            0, choices, 0, [-1, -2, -3], doc={"mc1": {"choices": choices, "labels": [1, 0, 0]}}, metrics=["acc"]
        )
        assert read(stored(tmp_path, [one])).answers.tolist() == [0]


# delimiters

ANIMALS = [" ox", " elephant", " a"]


def animals(delimiter: str, choices: Sequence[str] = ANIMALS, metrics: Sequence[str] = (), **doc: Any) -> list[Record]:
    return [
        logged(number, choices, number % 3, [-3.0 - number, -7.5, -2.0], delimiter=delimiter, doc=doc, metrics=metrics)
        for number in range(5)
    ]


def divided(cell: Cell, lengths: Sequence[int]) -> bool:
    wanted = [np.array([-3.0 - number, -7.5, -2.0]) / lengths for number in range(5)]
    return bool(np.allclose(cell.scores, wanted))


class TestDelimiter:
    @pytest.mark.parametrize("delimiter", ["", " ", "\n"])
    def test_the_documents_hold_the_options(self, tmp_path: Path, delimiter: str) -> None:
        cell = read(stored(tmp_path, animals(delimiter, o=ANIMALS)), scoring="norm")
        assert divided(cell, [3, 9, 2])
        assert remarks(cell) == {}

    def test_options_that_are_fields_of_their_own(self, tmp_path: Path) -> None:
        cell = read(stored(tmp_path, animals("", sol1=" ox", more={"x": [" elephant", {"y": " a"}]})), scoring="norm")
        assert divided(cell, [3, 9, 2])

    @pytest.mark.parametrize(("delimiter", "lengths"), [("", [3, 9, 2]), (" ", [2, 8, 1])])
    def test_the_configuration_names_it(self, tmp_path: Path, delimiter: str, lengths: list[int]) -> None:
        choices = [" " * (not delimiter) + text for text in ("ox", "elephant", "a")]
        configs = {"toy": {"target_delimiter": delimiter}}
        cell = read(stored(tmp_path, animals(delimiter, choices), configs=configs), scoring="norm")
        assert divided(cell, lengths)
        assert remarks(cell) == {}

    def test_a_chat_template_overrides_the_configuration(self, tmp_path: Path) -> None:
        configs = {"toy": {"target_delimiter": " "}}
        path = stored(tmp_path, animals("", o=ANIMALS), configs=configs, chat_template="{{x}}")
        assert divided(read(path, scoring="norm"), [3, 9, 2])

    @pytest.mark.parametrize("metric", ["acc_norm", "acc_bytes"])
    @pytest.mark.parametrize(("delimiter", "own"), [("", " "), (" ", "")])
    def test_what_is_logged_decides(self, tmp_path: Path, metric: str, delimiter: str, own: str) -> None:
        """-5 and -6.1 divided by 4 and 5: the second is larger; by 5 and 6: the first."""
        choices = [f"{own}abcd", f"{own}abcde"]
        row = logged(0, choices, 0, [-5.0, -6.1], delimiter=delimiter, metrics=[metric])
        cell = read(stored(tmp_path, [row]), scoring="norm")
        assert cell.scores[0].tolist() == pytest.approx([-5.0 / len(choices[0]), -6.1 / len(choices[1])])

    def test_where_nothing_decides_a_note_says_what_was_taken(self, tmp_path: Path) -> None:
        path = stored(tmp_path, animals(" ", ["ox", "elephant", "a"]))
        cell = read(path, scoring="norm")
        assert divided(cell, [2, 8, 1])
        assert remarks(cell)["run"].startswith("' ' was taken for what stands between context and option")
        assert remarks(read(path)) == {}  # sums do not depend on it

    def test_letters_with_a_space_of_their_own_are_letters(self, tmp_path: Path) -> None:
        rows = [logged(0, [" A", " B"], 0, [-1, -2], delimiter="", doc={"o": [" A", " B"]})]
        assert read(stored(tmp_path, rows)).task["scoring"] == "letter"


# groups


def zoo(folder: Path, subtasks: dict[str, Sequence[str]], **results: Any) -> Path:
    for name, choices in subtasks.items():
        rows = [logged(n, choices, n % 2, [-1, -2], doc={"q": f"{name} {n}"}) for n in range(3)]
        stored(folder, rows, name, **results)
    return folder


WORDS, LETTERS = ("red", "green"), ("A", "B")
ZOO = {"zoo_birds": LETTERS, "zoo_fish": LETTERS, "zoo_wild_birds": WORDS, "zoo_wild_fish": WORDS}


class TestGroups:
    def test_the_results_file_lists_the_subtasks(self, tmp_path: Path) -> None:
        groups = {"zoo": ["zoo_birds", "zoo_fish"], "zoo_wild": ["zoo_wild_birds", "zoo_wild_fish"], "zoo_fish": []}
        zoo(tmp_path, ZOO, group_subtasks=groups)
        cell = read(tmp_path, task="zoo")
        assert (len(cell), cell.task["scoring"], cell.task["subtasks"]) == (6, "letter", ["zoo_birds", "zoo_fish"])
        assert remarks(cell) == {}
        assert read(tmp_path, task="zoo-wild").task["subtasks"] == ["zoo_wild_birds", "zoo_wild_fish"]

    def test_groups_in_groups_and_members_of_other_names(self, tmp_path: Path) -> None:
        groups = {"zoo": ["inner", "aviary"], "inner": ["zoo_fish"], "other": ["zoo_birds"]}
        zoo(tmp_path, {"zoo_birds": WORDS, "zoo_fish": WORDS, "aviary": WORDS}, group_subtasks=groups)
        assert read(tmp_path, task="zoo").task["subtasks"] == ["aviary", "zoo_fish"]

    def test_a_packed_results_file(self, tmp_path: Path) -> None:
        zoo(tmp_path, ZOO, group_subtasks={"zoo": ["zoo_birds", "zoo_fish"]})
        plain = tmp_path / f"results_{STAMP}.json"
        (tmp_path / f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        assert len(read(tmp_path, task="zoo")) == 6

    def test_a_subtask_without_samples(self, tmp_path: Path) -> None:
        zoo(tmp_path, {"zoo_birds": WORDS}, group_subtasks={"zoo": ["zoo_birds", "zoo_fish", "zoo_frogs"]})
        assert "'zoo' has 3 subtasks by its results file, and zoo_fish and 1 more is not here" in refusal(
            tmp_path, task="zoo"
        )

    def test_names_that_begin_alike_without_a_results_file(self, tmp_path: Path) -> None:
        zoo(tmp_path, dict.fromkeys(ZOO, WORDS))
        said = refusal(tmp_path, task="zoo")
        assert "the names of two groups begin with 'zoo': zoo_wild_birds goes with zoo_birds" in said
        assert "put the run's results_<time>.json beside the files" in said
        assert read(tmp_path, task="zoo_wild").task["subtasks"] == ["zoo_wild_birds", "zoo_wild_fish"]

    def test_letters_and_texts_without_a_results_file(self, tmp_path: Path) -> None:
        zoo(tmp_path, {"zoo_birds": LETTERS, "zoo_wild_fish": WORDS})
        assert "some have letters for options and some texts (zoo_birds and zoo_wild_fish)" in refusal(
            tmp_path, task="zoo"
        )

    def test_letters_and_texts_that_belong_together(self, tmp_path: Path) -> None:
        zoo(tmp_path, {"zoo_birds": LETTERS, "zoo_fish": WORDS}, group_subtasks={"zoo": ["zoo_birds", "zoo_fish"]})
        cell = read(tmp_path, task="zoo")
        assert (len(cell), cell.task["scoring"]) == (6, "cloze-sum")
        assert "some subtasks have letters for options and some texts" in remarks(cell)["run"]

    def test_subtasks_taken_by_name_are_named_in_a_note(self, tmp_path: Path) -> None:
        zoo(tmp_path, {"zoo_birds": WORDS, "zoo_great_fish": WORDS})
        cell = read(tmp_path, task="zoo")
        assert len(cell) == 6
        assert remarks(cell)["run"].endswith("taken by name were zoo_birds, zoo_great_fish")


# filters


class TestFilters:
    def rows(self) -> list[Record]:
        """The second filter sees other numbers, so that which one was taken shows."""
        return [
            logged(n, ["x", "y"], 0, logliks, metrics=["acc"]) | {"filter": name}
            for name, logliks in (("none", [-1.0, -2.0]), ("strict match", [-4.0, -3.0]))
            for n in range(3)
        ]

    def test_one_has_to_be_picked(self, tmp_path: Path) -> None:
        path = stored(tmp_path, self.rows())
        assert refusal(path) == f"{path}: the task was logged once a filter; pick one with --filter: none, strict match"
        assert refusal(path, filter="strict").endswith(
            "unknown filter 'strict': did you mean strict match? Valid: none, strict match"
        )

    @pytest.mark.parametrize(("name", "first"), [("none", -1.0), ("strict match", -4.0)])
    def test_the_one_that_was_picked(self, tmp_path: Path, name: str, first: float) -> None:
        cell = read(stored(tmp_path, self.rows()), filter=name)
        assert (len(cell), cell.scores[0, 0], cell.task["filter"]) == (3, first, name)

    def test_a_single_one_needs_no_picking(self, tmp_path: Path) -> None:
        path = stored(tmp_path, self.rows()[:3])
        assert "filter" not in read(path).task
        assert len(read(path, filter="none")) == 3
        assert "unknown filter 'x'" in refusal(path, filter="x")

    def test_a_group_of_which_some_subtasks_have_filters(self, tmp_path: Path) -> None:
        groups = {"zoo": ["zoo_birds", "zoo_fish"]}
        zoo(tmp_path, {"zoo_birds": WORDS}, group_subtasks=groups)
        stored(tmp_path, self.rows(), "zoo_fish")
        cell = read(tmp_path, task="zoo", filter="strict match")
        assert (len(cell), cell.scores[3, 0], cell.task["filter"]) == (6, -4.0, "strict match")
        assert "zoo_fish" in refusal(tmp_path, task="zoo", filter="other")

    def test_a_log_without_filters(self, tmp_path: Path) -> None:
        path = stored(tmp_path, [logged(0, ["x", "y"], 0, [-1, -2])])
        assert refusal(path, filter="none") == f"{path}: its lines name no filter; leave --filter out"

    def test_of_a_generation_task_none_helps(self, tmp_path: Path) -> None:
        row = {
            "doc_id": 0,
            "doc": {},
            "target": "4",
            "arguments": {"gen_args_0": {"arg_0": "q", "arg_1": {"until": []}}},
        }
        rows = [row | {"filtered_resps": ["4"], "resps": [["4"]], "filter": name} for name in ("strict", "flexible")]
        for changes in ({}, {"filter": "strict"}):
            assert "only multiple-choice tasks can be imported" in refusal(stored(tmp_path, rows), **changes)

    def test_other_formats_have_none(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text('{"id": 1, "logits": [1, 2], "answer": 0}')
        with pytest.raises(SuiteError, match="--filter 'none': jsonl files have none; it is for lm-eval"):
            import_cells("jsonl", tmp_path / "x.jsonl", model="m", variant="dense", task="t", filter="none")


def test_a_log_saved_by_any_editor_or_packed(tmp_path: Path) -> None:
    rows = digits("text", ["acc"])
    plain = read(stored(tmp_path, rows))
    text = "\r\n".join(json.dumps(row) for row in rows)
    for place, raw in enumerate(
        (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16"), b"\xef\xbb\xbf" + json.dumps(rows).encode())
    ):
        for name, content in (
            (f"samples_toy_{STAMP}.jsonl", raw),
            (f"samples_toy_{STAMP}.jsonl.gz", gzip.compress(raw)),
        ):
            folder = tmp_path / f"{place}{name}"
            folder.mkdir()
            (folder / name).write_bytes(content)
            for src in (folder, folder / name, str(folder)):
                cell = read(src)  # type: ignore[arg-type]
                assert (cell.ids, cell.answers.tolist()) == (plain.ids, AS_TEXT)
