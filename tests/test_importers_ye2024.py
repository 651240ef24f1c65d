"""Importing a clone of the benchmark of arXiv:2401.12794, and reading pickles without running what they name."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.cell import Cell
from suite.errors import SuiteError
from suite.importers import import_cells
from suite.importers.pickles import as_array, load

LABELS = list("ABCDEF")


def question(number: int, **changes: Any) -> dict[str, Any]:
    choices = {label: f"option {label}" for label in LABELS}
    return {"id": number, "source": "X", "context": "", "question": "?", "choices": choices, "answer": "C", **changes}


def logits(count: int, shift: float = 0.0) -> list[dict[str, Any]]:
    return [
        {"id": number, "logits_options": np.arange(6, dtype=np.float32) + np.float32(shift + number)}
        for number in range(count)
    ]


def nested() -> list[Any]:
    """A list of 100 references to a list of 100 references, and so on: small in a file, endless when written out."""
    value: list[Any] = [1] * 100
    for _ in range(60):
        value = [value] * 100
    return value


def clone(folder: Path, *names: str, data: str = "mmlu_10k", questions: list[dict[str, Any]] | None = None) -> Path:
    """A repository with one data file and a pickle for each name, whose first logit is the name's position."""
    (folder / "data").mkdir()
    questions = [question(number) for number in range(4)] if questions is None else questions
    (folder / "data" / f"{data}.json").write_text(json.dumps(questions), encoding="utf-8")
    (folder / "outputs_base").mkdir()
    for position, name in enumerate(names or (f"Model-1_8B_{data}_base_icl1",)):
        (folder / "outputs_base" / f"{name}.pkl").write_bytes(pickle.dumps(logits(len(questions), position)))
    return folder


def read(src: Path, **changes: Any) -> list[Cell]:
    options: dict[str, Any] = {"model": "*", "variant": "dense", "task": "ye2024-qa", **changes}
    return import_cells("ye2024", src, **options)


def refusal(src: Path, **changes: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        read(src, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestClone:
    def test_one_file(self, tmp_path: Path) -> None:
        (cell,) = read(clone(tmp_path), model="Model-1_8B", params_b=1.8)
        assert cell.curve_key == ("Model-1_8B", "ye2024-qa", "letter", "base", 5)
        assert cell.kind == "logits"
        assert cell.ids == ("0", "1", "2", "3")
        assert cell.answers.tolist() == [2] * 4
        assert cell.scores[1].tolist() == [1, 2, 3, 4, 5, 6]
        assert cell.task["option_labels"] == LABELS
        assert cell.model["params"] == 1_800_000_000
        assert cell.run["imported_from"] == "Model-1_8B_mmlu_10k_base_icl1.pkl"
        assert cell.groups is None

    def test_models_prompts_and_shots(self, tmp_path: Path) -> None:
        names = ("a_mmlu_10k_base_icl1", "a_mmlu_10k_task_icl1", "b_mmlu_10k_base_icl0", "b_mmlu_10k_base_icl0_cot")
        src = clone(tmp_path, *names, "b_halu_dialogue_base_icl1")
        keys = [(cell.model["name"], cell.task["prompt"], cell.task["shots"], cell.scores[0, 0]) for cell in read(src)]
        assert keys == [("a", "base", 5, 0), ("a", "task", 5, 1), ("b", "base", 0, 2), ("b", "base-cot", 0, 3)]
        assert [cell.task["prompt"] for cell in read(src, model="a", prompt="task")] == ["task"]
        assert [cell.model["name"] for cell in read(src, prompt="base", shots=0)] == ["b"]

    @pytest.mark.parametrize(
        ("task", "data", "shots"),
        [
            ("qa", "mmlu_10k", 5),
            ("ye2024-rc", "cosmosqa_10k", 5),
            ("hellaswag_10k", "hellaswag_10k", 5),
            ("ye2024-drs", "halu_dialogue", 3),
            ("ye2024-ds", "halu_summarization", 1),
        ],
    )
    def test_the_five_tasks(self, tmp_path: Path, task: str, data: str, shots: int) -> None:
        (cell,) = read(clone(tmp_path, data=data), task=task)
        assert cell.task["name"] == task
        assert cell.task["shots"] == shots

    def test_an_outputs_folder_with_the_data_beside_it(self, tmp_path: Path) -> None:
        assert len(read(clone(tmp_path) / "outputs_base")) == 1

    def test_items_with_the_same_context_are_one_group(self, tmp_path: Path) -> None:
        questions = [question(number, context=text) for number, text in enumerate(["one", "two", "one", " "])]
        (cell,) = read(clone(tmp_path, questions=questions))
        assert cell.groups is not None
        first, second, third, fourth = cell.groups
        assert first == third is not None
        assert (second, fourth) == (None, None)

    def test_an_unknown_task(self, tmp_path: Path) -> None:
        assert refusal(clone(tmp_path), task="qu").startswith("unknown task 'qu': ")

    def test_an_unknown_model_or_prompt(self, tmp_path: Path) -> None:
        src = clone(tmp_path)
        assert refusal(src, model="Model-1_8C") == (
            "unknown model 'Model-1_8C': did you mean Model-1_8B? Valid: *, Model-1_8B"
        )
        assert refusal(src, prompt="shared") == "unknown prompt 'shared': Valid: base"
        assert "no file of 2 shots; few-shot prompts of this task hold 5" in refusal(src, shots=2)

    def test_scoring_is_about_log_likelihoods(self, tmp_path: Path) -> None:
        assert "holds logits: --scoring norm is for log-likelihoods" in refusal(clone(tmp_path), scoring="norm")

    def test_the_same_prompt_twice(self, tmp_path: Path) -> None:
        src = clone(tmp_path)
        (src / "outputs_chat").mkdir()
        for path in (src / "outputs_base").iterdir():
            (src / "outputs_chat" / path.name).write_bytes(path.read_bytes())
        assert refusal(src).endswith("are the same prompt of one model; name one folder as SRC")
        assert len(read(src / "outputs_chat")) == 1

    def test_no_data_file(self, tmp_path: Path) -> None:
        src = clone(tmp_path)
        (src / "data" / "mmlu_10k.json").unlink()
        assert refusal(src).endswith(
            "not found; fetch mmlu_10k.json from the data set ErikYip/LLM-Uncertainty-Bench on the Hugging Face hub"
        )

    def test_no_pickle(self, tmp_path: Path) -> None:
        assert "no <model>_halu_dialogue_<prompt>_icl<n>.pkl in it" in refusal(clone(tmp_path), task="drs")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("")
        assert "not a folder; name the clone" in refusal(tmp_path / "x")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "not valid JSON"),
            ("\udcff", "not UTF-8 text"),
            ("{}", "a list of questions is needed, found dict"),
            ("[]", "a list of questions is needed"),
            ("[1]", "question 0: an object with id, choices and answer is needed"),
            (json.dumps([question(0, choices=["a"])]), "question 0: an object with id, choices and answer is needed"),
            (json.dumps([question(0, answer="G")]), "question 0: answer 'G' is none of its choices A, B, C, D, E, F"),
            (json.dumps([question(0, answer=["A"])]), "question 0: answer ['A'] is none of its choices"),
            (json.dumps([question(0, id=None)]), "question 0: an id must be text or a whole number"),
        ],
    )
    def test_a_bad_data_file(self, tmp_path: Path, content: str, message: str) -> None:
        src = clone(tmp_path)
        (src / "data" / "mmlu_10k.json").write_bytes(content.encode(errors="surrogateescape"))
        said = refusal(src)
        assert "mmlu_10k.json: " in said
        assert message in said

    def test_duplicate_ids(self, tmp_path: Path) -> None:
        src = clone(tmp_path, questions=[question(0), question(0)])
        path = next((src / "outputs_base").iterdir())
        path.write_bytes(pickle.dumps([logits(1)[0], logits(1)[0]]))
        assert "duplicate id '0'" in refusal(src)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ({}, "a list of 4 entries is needed, as many as the data has; found dict"),
            (logits(3), "found 3 entries"),
            ([1, 2, 3, 4], "entry 0: an object with id and logits_options is needed"),
            ([{"id": 0}] * 4, "entry 0: an object with id and logits_options is needed"),
            (logits(4)[::-1], "entry 0: its id is not '0' as in the data; not the same questions"),
            ([{"id": 10**5000, "logits_options": np.ones(6)}] * 4, "entry 0: its id is not '0' as in the data"),
            ([{"id": nested(), "logits_options": np.ones(6)}] * 4, "entry 0: its id is not '0' as in the data"),
            ([{"id": False, "logits_options": np.ones(6)}] * 4, "entry 0: its id is not '0' as in the data"),
            ([{"id": 0, "logits_options": nested()}] * 4, "entry 0: logits_options is no array of 6 floats"),
            ([{"id": 0, "logits_options": [1.0] * 6}] * 4, "entry 0: logits_options is no array of 6 floats"),
            ([{"id": 0, "logits_options": np.ones(5)}] * 4, "entry 0: logits_options is no array of 6 floats"),
            (
                [{"id": 0, "logits_options": np.ones(6, dtype=int)}] * 4,
                "entry 0: logits_options is no array of 6 floats",
            ),
            ([{"id": 0, "logits_options": np.full(6, np.nan)}] * 4, "entry 0: logits hold nan"),
            ([{"id": 0, "logits_options": np.full(6, np.inf)}] * 4, "entry 0: logits hold inf"),
        ],
    )
    def test_bad_rows(self, tmp_path: Path, rows: Any, message: str) -> None:
        src = clone(tmp_path)
        next((src / "outputs_base").iterdir()).write_bytes(pickle.dumps(rows))
        assert message in refusal(src)


def loaded(folder: Path, raw: bytes) -> Any:
    path = folder / "x.pkl"
    path.write_bytes(raw)
    return load(path)


def refused(folder: Path, raw: bytes) -> str:
    with pytest.raises(SuiteError) as caught:
        loaded(folder, raw)
    message = str(caught.value)
    assert "\n" not in message
    return message


class Runs:
    """Whatever unpickles this has run a command."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduction = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduction

    def __repr__(self) -> str:
        """The same in every process, as it names tests."""
        return f"Runs({self.reduction[0].__name__})"


@pytest.mark.parametrize("protocol", range(6))
class TestArraysInPickles:
    @pytest.mark.parametrize(
        "array",
        [
            np.arange(6, dtype=np.float32),
            np.arange(6, dtype=np.float16),
            np.arange(6, dtype=">f8").reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.arange(3, dtype=np.int64),
            np.array([True, False]),
            np.array(2.5),
        ],
        ids=str,
    )
    def test_plain_arrays_come_back(self, tmp_path: Path, protocol: int, array: Any) -> None:
        back = as_array(loaded(tmp_path, pickle.dumps({"x": [array]}, protocol))["x"][0])
        assert back is not None
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
        assert back.shape == array.shape

    def test_scalars_come_back(self, tmp_path: Path, protocol: int) -> None:
        back = as_array(loaded(tmp_path, pickle.dumps(np.float32(1.5), protocol)))
        assert back is not None
        assert back.shape == ()
        assert back == 1.5

    def test_built_in_containers_come_back(self, tmp_path: Path, protocol: int) -> None:
        value = [{"id": 1, "text": "é"}, (1.5, None, True), 10**30]
        assert loaded(tmp_path, pickle.dumps(value, protocol)) == value

    @pytest.mark.parametrize(
        ("value", "name"),
        [
            (Runs(os.system, "touch {}"), "posix.system"),
            (Runs(eval, "open('{}', 'w')"), "eval"),
            (Runs(exec, "open('{}', 'w')"), "exec"),
            (Runs(Path.write_text, Path("{}"), "x"), ""),
            (Runs(np.load, "{}"), "load"),
            (Runs(np.ones, 3), "numpy"),
            (Runs(getattr, "x", "upper"), "getattr"),
            (OrderedDict(a=1), "collections.OrderedDict"),
            ({1, 2}, ""),
            (Path("x"), "pathlib"),
            (ValueError("x"), "ValueError"),
            (np.array([Runs(os.system, "touch {}")], dtype=object), ""),
            (np.array(["text"]), "array type 'U4'"),
            (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]), "array type 'V8'"),
            (np.datetime64("2020-01-01"), "array type 'M8'"),
            (np.ma.array([1.0, 2.0]), "numpy.ma"),
            (np.float64, ""),
        ],
        ids=repr,
    )
    def test_everything_else_is_refused_and_nothing_runs(
        self, tmp_path: Path, protocol: int, value: Any, name: str
    ) -> None:
        trap = tmp_path / "trap"
        if isinstance(value, Runs):
            function, arguments = value.reduction
            value = Runs(
                function, *[type(a)(str(a).format(trap)) if isinstance(a, str | Path) else a for a in arguments]
            )
        try:
            raw = pickle.dumps(value, protocol)
        except (TypeError, pickle.PicklingError):
            pytest.skip("no pickle of this protocol")
        if isinstance(value, set) and protocol >= 4:
            assert loaded(tmp_path, raw) == value
            return
        said = refused(tmp_path, raw)
        assert name in said
        assert "only NumPy arrays are read from pickles" in said
        assert not trap.exists()


class TestHandWrittenPickles:
    """What a pickler would not write, but an attacker can."""

    @pytest.mark.parametrize(
        "raw",
        [
            b"cos\nsystem\n(S'true'\ntR.",
            b"(S'true'\nios\nsystem\n.",
            b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
            b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.",
            b"cnumpy\nload\n(S'x'\ntR.",
            b"cbuiltins\neval\n(S'1'\ntR.",
            b"c__builtin__\neval\n(S'1'\ntR.",
            b"cnumpy\nndarray\n((I1000000000000\ntS'f8'\ntR.",
            b"Ppersistent\n.",
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
            b"c_codecs\nencode\n(S'abc'\nS'rot13'\ntR.",
        ],
    )
    def test_names_are_refused(self, tmp_path: Path, raw: bytes) -> None:
        assert "refused, the pickle names" in refused(tmp_path, raw)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b".",
            b"\x80\x04",
            b"\x80\xff.",
            b"garbage",
            pickle.dumps(logits(3))[:-20],
            # state set on an admitted function, and attributes through a slot state
            b"cnumpy.core.multiarray\n_reconstruct\n(dS'__doc__'\nS'x'\nsb.",
            b"cnumpy.core.multiarray\n_reconstruct\n(N(dS'__class__'\nI1\nstb.",
            # an admitted function as a class of new objects
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)\x81.",
            # array contents of another length than the shape
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I7\ntcnumpy\ndtype\n(S'f4'\ntRI00\n"
            b"c_codecs\nencode\n(VAAAA\nS'latin1'\ntRtb.",
            b"cnumpy\ndtype\n(S'f4'\ntR(I3\nS'?'\ntb.",
            b"cnumpy\ndtype\n(tR.",
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f4'\ntRI5\ntR.",
            b"cnumpy.core.numeric\n_frombuffer\n(c_codecs\nencode\n(VAAAA\nS'latin1'\ntRcnumpy\ndtype\n(S'f4'\ntR(I-1\ntS'C'\ntR.",
            b"\x80\x03r\xff\xff\xff\x7f.",
        ],
    )
    def test_damage_is_one_line(self, tmp_path: Path, raw: bytes) -> None:
        assert "x.pkl: " in refused(tmp_path, raw)

    def test_pickles_of_numpy_1(self, tmp_path: Path) -> None:
        """NumPy 1 called the same functions ``numpy.core``."""
        raw = pickle.dumps(np.arange(3.0), 2)
        assert b"numpy._core.multiarray" in raw
        back = as_array(loaded(tmp_path, raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")))
        assert back is not None
        assert back.tolist() == [0, 1, 2]

    def test_references_to_references_cost_nothing(self, tmp_path: Path) -> None:
        assert loaded(tmp_path, pickle.dumps(nested()))[0][99]

    def test_no_array_is_an_array(self, tmp_path: Path) -> None:
        assert as_array([1.0]) is None
        unfinished = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR."
        assert as_array(loaded(tmp_path, unfinished)) is None

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match="Is a directory"):
            load(tmp_path)


OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
PIECES = [
    *OPCODES,
    b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"S'f4'\n",
    b"I0\n",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=25))
def test_any_program_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.pkl"
    path.write_bytes(b"".join(pieces) + b".")
    lines: list[int] = []
    try:
        load(path)
    except SuiteError as error:
        lines.append(str(error).count("\n"))
    assert lines == [] or lines == [0]


def test_a_pickler_still_calls_what_we_expect() -> None:
    """The names that NumPy writes are the ones on the list; a new NumPy that writes others turns this red."""
    names = set()
    for protocol in range(6):
        for value in (np.ones(2), np.float32(1)):
            for opcode, argument, _ in pickletools.genops(io.BytesIO(pickle.dumps(value, protocol))):
                if opcode.name == "GLOBAL":
                    names.add(str(argument))
    assert names == {
        "numpy dtype",
        "numpy ndarray",
        "numpy._core.multiarray _reconstruct",
        "numpy._core.multiarray scalar",
        "_codecs encode",
    }
