"""Importing per-sample files of lm-evaluation-harness, as versions 0.4.13 and 0.4.2 write them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.cell import Cell
from suite.errors import SuiteError
from suite.importers import import_cells

DATA = Path(__file__).parent / "test_importers_data"
NEW = DATA / "lm_eval_0.4.13"
OLD = DATA / "lm_eval_0.4.2"
STAMP = "2026-11-23T04-17-10.756379"

Change = Callable[[dict[str, Any]], None]


def read(src: Path, **changes: Any) -> Cell:
    options: dict[str, Any] = {"model": "m", "variant": "dense", "task": "mini_birds", **changes}
    (cell,) = import_cells("lm-eval", src, **options)
    return cell


def refusal(src: Path, **changes: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        read(src, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def samples(subtask: str) -> Path:
    return NEW / f"samples_{subtask}_{STAMP}.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewritten(folder: Path, change: Change, subtask: str = "mini_birds", item: int = 1) -> Path:
    """The file with one item changed."""
    rows = records(samples(subtask))
    change(rows[item])
    path = folder / samples(subtask).name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class TestOneFile:
    def test_sums(self) -> None:
        cell = read(samples("mini_birds"))
        rows = records(samples("mini_birds"))
        assert cell.kind == "loglik"
        assert cell.curve_key == ("m", "mini_birds", "cloze-sum", "lm-eval", 0)
        assert cell.ids == tuple(f"mini_birds/{row['doc_id']}#{row['doc_hash'][:8]}" for row in rows)
        assert cell.answers.tolist() == [int(row["target"]) for row in rows]
        assert cell.n_options.tolist() == [len(row["doc"]["ch"]) for row in rows]
        assert cell.scores[0].tolist() == [np.float32(value) for value, _ in rows[0]["filtered_resps"]]
        assert cell.subjects is None

    def test_norms_divide_by_the_options_characters(self) -> None:
        cell = read(samples("mini_birds"), scoring="norm")
        assert cell.task["scoring"] == "cloze-norm"
        for row, scores in zip(records(samples("mini_birds")), cell.scores, strict=True):
            expected = [float(v) / len(o) for (v, _), o in zip(row["filtered_resps"], row["doc"]["ch"], strict=True)]
            assert scores[: len(expected)] == pytest.approx(expected)

    @pytest.mark.parametrize(("scoring", "metric"), [("sum", "acc"), ("norm", "acc_norm")])
    @pytest.mark.parametrize("subtask", ["mini_birds", "mini_trees", "textgold_birds"])
    def test_accuracy_is_the_files_own(self, subtask: str, scoring: str, metric: str) -> None:
        cell = read(samples(subtask), scoring=scoring)
        right = np.nanargmax(cell.scores, axis=1) == cell.answers
        assert right.tolist() == [bool(row[metric]) for row in records(samples(subtask))]

    def test_letters_are_a_letter_read_out(self) -> None:
        cell = read(samples("letters_birds"))
        assert (cell.task["scoring"], cell.kind) == ("letter", "loglik")
        same = read(samples("letters_birds"), scoring="norm")
        assert same.task["scoring"] == "letter"
        assert np.array_equal(same.scores, cell.scores, equal_nan=True)

    def test_a_target_that_is_the_options_text(self) -> None:
        cell = read(samples("textgold_birds"))
        assert cell.answers.tolist() == [row["doc"]["gold"] for row in records(samples("textgold_birds"))]

    def test_mutual_information_keeps_the_options_given_the_question(self) -> None:
        cell = read(samples("mi_birds"))
        assert cell.n_options.tolist() == [len(row["doc"]["ch"]) for row in records(samples("mi_birds"))]

    def test_what_the_results_file_says_is_recorded(self) -> None:
        cell = read(samples("mini_birds"), params_b=0.5)
        assert cell.model["id"] == "dummy"
        assert cell.run["versions"] == {"lm_eval": "0.4.13", "transformers": "5.17.0"}
        assert cell.task["subtasks"] == ["mini_birds"]

    def test_the_prompt_hash_is_the_one_of_cells_scored_here(self) -> None:
        digest = hashlib.sha256()
        for row in records(samples("mini_birds")):
            pairs = list(row["arguments"].values())
            for text in (pairs[0]["arg_0"], *(pair["arg_1"] for pair in pairs)):
                digest.update(len(text.encode()).to_bytes(8, "little") + text.encode())
        assert read(samples("mini_birds")).task["prompt_hash"] == "sha256:" + digest.hexdigest()


class TestOldVersion:
    def test_it_is_read_like_the_new_one(self) -> None:
        old, new = read(OLD / "_mini_birds.jsonl"), read(samples("mini_birds"))
        assert old.ids == new.ids  # the hash that old versions did not log is computed as new ones do
        assert old.answers.tolist() == new.answers.tolist()
        assert old.n_options.tolist() == new.n_options.tolist()
        assert old.task["prompt_hash"] == new.task["prompt_hash"]
        assert old.task["revision"] == new.task["revision"]

    def test_a_folder_of_old_files(self) -> None:
        assert read(OLD, task="mini-birds").ids == read(OLD / "_mini_birds.jsonl").ids

    def test_the_answers_text(self) -> None:
        cell = read(OLD / "_textgold_birds.jsonl", task="textgold_birds")
        assert cell.answers.tolist() == read(samples("mini_birds")).answers.tolist()

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        path = tmp_path / "_mini_birds.jsonl"
        path.write_text((OLD / "_mini_birds.jsonl").read_text(encoding="utf-8")[:-40], encoding="utf-8")
        assert "_mini_birds.jsonl: not valid JSON" in refusal(path)

    def test_a_list_of_something_else(self, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl"
        path.write_text("[1, 2]")
        assert refusal(path) == f"{path}: entry 1 is no JSON object; not a per-sample file of lm-eval"

    def test_a_file_of_version_0_3(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_text('[{"doc_id": 0, "prompt_0": "q", "logit_0": -1.0, "truth": "a", "acc": "1.0"}]')
        assert "sample 1: no 'doc'; a per-sample file of lm-eval 0.4 or later is needed" in refusal(path)


class TestFolder:
    def test_subtasks_become_one_cell(self) -> None:
        cell = read(NEW, task="mini")
        birds, trees = read(samples("mini_birds")), read(samples("mini_trees"))
        assert cell.ids == birds.ids + trees.ids
        assert cell.subjects == ("mini_birds",) * 6 + ("mini_trees",) * 5
        assert cell.task["subtasks"] == ["mini_birds", "mini_trees"]
        assert cell.curve_key == ("m", "mini", "cloze-sum", "lm-eval", 0)

    def test_a_task_of_exactly_this_name_comes_first(self) -> None:
        assert read(NEW, task="mini-trees").ids == read(samples("mini_trees")).ids

    def test_the_parent_folder_will_do(self, tmp_path: Path) -> None:
        shutil.copytree(NEW, tmp_path / "out" / "model")
        assert len(read(tmp_path / "out", task="mini")) == 11

    def test_two_models_folders(self, tmp_path: Path) -> None:
        shutil.copytree(NEW, tmp_path / "one")
        shutil.copytree(NEW, tmp_path / "two")
        assert "one and" in refusal(tmp_path, task="mini")
        assert refusal(tmp_path, task="mini").endswith("two; name one model's folder")

    def test_two_runs_of_a_subtask(self, tmp_path: Path) -> None:
        shutil.copy(samples("mini_birds"), tmp_path)
        shutil.copy(samples("mini_birds"), tmp_path / "samples_mini_birds_2027-01-01T00-00-00.000001.jsonl")
        said = refusal(tmp_path, task="mini")
        assert "two runs of 'mini_birds'" in said
        assert said.endswith("name one file")

    def test_a_task_that_is_not_there(self) -> None:
        said = refusal(NEW, task="maxi")
        assert (
            "no per-sample file of task 'maxi' or its subtasks; the folder has gen_birds, letters_birds, mi_birds"
            in said
        )

    def test_a_folder_without_samples(self, tmp_path: Path) -> None:
        assert refusal(tmp_path).endswith("the folder has no samples_<task>_<time>.jsonl")


def results(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(NEW, folder / "run")
    path = folder / "run" / f"results_{STAMP}.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")
    return folder / "run"


class TestShotsAndPrompt:
    def test_from_the_results_file(self, tmp_path: Path) -> None:
        src = results(tmp_path, lambda found: found["n-shot"].update(mini_birds=5, mini_trees=5))
        assert read(src, task="mini").task["shots"] == 5
        assert read(src, task="mini", shots=5).task["shots"] == 5
        assert "--shots 4, but its results file says 5" in refusal(src, task="mini", shots=4)

    def test_subtasks_that_differ(self, tmp_path: Path) -> None:
        src = results(tmp_path, lambda found: found["n-shot"].update(mini_birds=5))
        assert "its subtasks were run with 0 and 5 shots" in refusal(src, task="mini")

    def test_without_a_results_file_they_are_the_users(self, tmp_path: Path) -> None:
        shutil.copy(samples("mini_birds"), tmp_path)
        src = tmp_path / samples("mini_birds").name
        assert read(src).task["shots"] == 0
        assert read(src, shots=3).task["shots"] == 3
        assert read(src).model["id"] is None

    def test_a_chat_template_is_another_prompt(self, tmp_path: Path) -> None:
        src = results(tmp_path, lambda found: found.update(chat_template="{{x}}", chat_template_sha="abc"))
        cell = read(src, task="mini")
        assert cell.task["prompt"] == "lm-eval-chat"
        assert cell.model["chat_template_hash"] == "abc"
        assert read(src, task="mini", prompt="own").task["prompt"] == "own"

    def test_a_broken_results_file(self, tmp_path: Path) -> None:
        src = results(tmp_path, lambda found: None)
        (src / f"results_{STAMP}.json").write_text("{")
        assert f"results_{STAMP}.json: not valid JSON" in refusal(src)

    def test_a_results_file_that_is_no_text(self, tmp_path: Path) -> None:
        src = results(tmp_path, lambda found: None)
        (src / f"results_{STAMP}.json").write_bytes(b"\xff")
        assert f"results_{STAMP}.json: not UTF-8 text" in refusal(src)

    @pytest.mark.parametrize("content", ["[]", '{"n-shot": 3, "config": [], "model_name": 5}'])
    def test_a_foreign_results_file_says_nothing(self, tmp_path: Path, content: str) -> None:
        src = results(tmp_path, lambda found: None)
        (src / f"results_{STAMP}.json").write_text(content)
        cell = read(src)
        assert (cell.task["shots"], cell.model["id"], cell.run["versions"]) == (0, None, None)


class TestDelimiter:
    def test_none_under_a_chat_template(self, tmp_path: Path) -> None:
        """Continuations without a leading space are the options themselves."""

        def strip(row: dict[str, Any]) -> None:
            for pair in row["arguments"].values():
                pair["arg_1"] = pair["arg_1"].removeprefix(" ")

        rows = records(samples("mini_birds"))
        for row in rows:
            strip(row)
        path = tmp_path / "samples.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert np.array_equal(
            read(path, scoring="norm").scores, read(samples("mini_birds"), scoring="norm").scores, equal_nan=True
        )

    def test_options_that_all_begin_with_a_space(self, tmp_path: Path) -> None:
        """Then only acc_norm tells whether the space belongs to the option."""
        row = records(samples("mini_birds"))[0]
        row |= {"target": "0", "doc": {}, "acc": 0, "acc_norm": 1}
        row["arguments"] = {f"gen_args_{i}": {"arg_0": "q", "arg_1": text} for i, text in enumerate([" abcd", " ab"])}
        row["filtered_resps"] = [["-4.5", "False"], ["-2.6", "False"]]
        path = tmp_path / "samples.jsonl"
        path.write_text(
            json.dumps(row)
        )  # -4.5/4 > -2.6/2, and -4.5/5 < -2.6/3 is false: both agree, one space is assumed
        assert read(path, scoring="norm").scores[0].tolist() == [np.float32(-4.5 / 4), np.float32(-1.3)]
        row |= {"filtered_resps": [["-4.2", "False"], ["-2.1", "False"]], "acc_norm": 0}
        row["arguments"]["gen_args_1"]["arg_1"] = " abcde"
        row["filtered_resps"] = [["-5.0", "False"], ["-6.1", "False"]]  # /4, /5: second; /5, /6: first
        row |= {"acc": 1, "acc_norm": 1}
        path.write_text(json.dumps(row))
        assert read(path, scoring="norm").scores[0].tolist() == [np.float32(-1.0), np.float32(-6.1 / 6)]


def setter(**values: Any) -> Change:
    return lambda row: row.update(values)


def without(key: str) -> Change:
    return lambda row: row.pop(key)


BAD: list[tuple[str, Change, str]] = [
    ("acc", lambda row: row.update(acc=1 - row["acc"]), "the file says acc 1, its log-likelihoods and target give 0"),
    ("acc_norm", lambda row: row.update(acc_norm=1 - row["acc_norm"]), "the file says acc_norm"),
    ("acc value", setter(acc=2), "acc is 2, 0 or 1 needed"),
    ("acc share", setter(acc=0.5), "acc is 0.5, the share of several right options as in truthfulqa_mc2"),
    ("acc text", setter(acc="1.0"), "acc is '1.0', 0 or 1 needed"),
    ("no doc_id", without("doc_id"), "no 'doc_id'; a per-sample file of lm-eval 0.4 or later is needed"),
    ("no arguments", without("arguments"), "no 'arguments'"),
    ("no responses", without("filtered_resps"), "no 'filtered_resps'"),
    ("no target", without("target"), "no 'target'"),
    ("doc_id", setter(doc_id="1"), "doc_id '1' is no whole number"),
    ("duplicate", setter(doc_id=0), "duplicate id 'mini_birds/0', first at"),
    ("target outside", setter(target="9"), "target 9 is outside its 3 options"),
    ("target negative", setter(target=-100), "target -100 is outside its 3 options"),
    ("target foreign", setter(target="maybe"), "target 'maybe' is not one of the options"),
    (
        "several targets",
        setter(target="[0, 1]"),
        "target [0, 1]: 2 right options; a task of this kind (truthfulqa_mc2 is one) has no single right option",
    ),
    ("target list", setter(target=[0, 1]), "target [0, 1]: 2 right options"),
    ("empty list", setter(target="[]"), "target []: no right options"),
    ("target none", setter(target=None), "target None: items with one correct option are needed"),
    ("responses", setter(filtered_resps=["lol"]), "only multiple-choice tasks can be imported"),
    ("responses text", setter(filtered_resps="x"), "only multiple-choice tasks can be imported"),
    ("responses words", setter(filtered_resps=[["a", "b"]] * 3), "only multiple-choice tasks can be imported"),
    ("responses bool", setter(filtered_resps=[[True, False]] * 3), "only multiple-choice tasks can be imported"),
    ("count", setter(filtered_resps=[["-1", "False"]] * 2), "3 arguments but 2 responses"),
    ("nan", setter(filtered_resps=[["nan", "False"]] * 3), "loglik hold nan, which is no usable number"),
    ("positive", setter(filtered_resps=[["5", "False"]] * 3), "loglik hold 5.0, a log-likelihood is never above 0"),
    ("minus infinity", setter(filtered_resps=[["-inf", "False"]] * 3), "every option has probability zero"),
    ("arguments", setter(arguments={"x": 1}), "arguments are not pairs of context and option"),
    ("arguments text", setter(arguments="x"), "arguments are not pairs of context and option"),
    ("arguments short", setter(arguments=[["q"]] * 3), "arguments are not pairs of context and option"),
    (
        "arguments generation",
        setter(arguments=[["q", {"until": []}]] * 3),
        "arguments are not pairs of context and option",
    ),
    ("contexts", setter(arguments=[["q1", " a"], ["q2", " a"], ["q3", " a"]]), "its options stand in the context"),
    ("doc_hash", setter(doc_hash="zz"), "doc_hash 'zz' is no hash"),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_item_is_refused_with_its_line(tmp_path: Path, name: str, change: Change, message: str) -> None:
    path = rewritten(tmp_path, change)
    said = refusal(path)
    assert said.startswith(f"{path}:2: ")
    assert message in said


def test_a_mismatch_names_the_item(tmp_path: Path) -> None:
    path = rewritten(tmp_path, lambda row: row.update(acc=1 - row["acc"]), item=3)
    assert f"item '{read(samples('mini_birds')).ids[3]}'" in refusal(path)


@pytest.mark.parametrize("item", range(6))
def test_changing_any_target_is_noticed(tmp_path: Path, item: int) -> None:
    """The new target makes a right pick wrong, or the picked option right."""

    def move(row: dict[str, Any]) -> None:
        values = [float(value) for value, _ in row["filtered_resps"]]
        best = int(np.argmax(values))
        row["target"] = str(best if int(row["target"]) != best else (best + 1) % len(values))

    assert "the file says acc" in refusal(rewritten(tmp_path, move, item=item))


def test_an_empty_option_cannot_be_normalised(tmp_path: Path) -> None:
    def empty(row: dict[str, Any]) -> None:
        row["arguments"]["gen_args_0"]["arg_1"] = " "
        del row["acc_norm"]

    path = rewritten(tmp_path, empty)
    assert len(read(path)) == 6
    assert "has an empty option, which cannot be divided by its characters" in refusal(path, scoring="norm")


def test_a_generation_task() -> None:
    assert "only multiple-choice tasks can be imported" in refusal(samples("gen_birds"))


def test_one_option_is_no_choice(tmp_path: Path) -> None:
    def keep_one(row: dict[str, Any]) -> None:
        row |= {"arguments": [["q", " a"]], "filtered_resps": [[-1.0, False]]}

    # a pair is needed for the numbers to be scores at all, so the count is what the message is about
    assert "only multiple-choice tasks can be imported" in refusal(rewritten(tmp_path, keep_one))


@pytest.mark.parametrize("raw", [b"[\xff]", b"\xff"])
def test_not_utf8(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(raw)
    assert "not UTF-8 text" in refusal(path)


@pytest.mark.parametrize("depth", [10, *range(860, 1000, 7), 5000])
def test_a_doc_nested_deeply_is_hashed_or_refused(tmp_path: Path, depth: int) -> None:
    """How deep is too deep depends on how deep the caller stands already."""
    rows = records(samples("mini_birds"))
    del rows[0]["doc_hash"]
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(rows[0] | {"doc": "@"}).replace('"@"', "[" * depth + "]" * depth))
    try:
        cell = read(path)
    except SuiteError:
        assert "nested too deeply" in refusal(path)
    else:
        assert len(cell) == 1


@pytest.mark.parametrize("content", ["", "\n", "[]"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(content)
    assert refusal(path).endswith("no samples in it")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(samples("mini_birds").read_text(encoding="utf-8")[:-50])
    assert f"{path}:6: not valid JSON" in refusal(path)


def test_every_model_at_once_is_refused() -> None:
    assert "a run of lm-eval holds one model" in refusal(NEW, model="*")


def test_a_file_without_the_verdicts_is_accepted(tmp_path: Path) -> None:
    def drop(row: dict[str, Any]) -> None:
        del row["acc"], row["acc_norm"]

    assert len(read(rewritten(tmp_path, drop))) == 6
