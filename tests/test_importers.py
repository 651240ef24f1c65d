"""Importing cells: arguments, JSONL, NumPy archives, and storing into a run directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from suite.cell import Cell, load_cells, read_cell
from suite.errors import SuiteError
from suite.importers import IMPORTERS, import_cells, store_cells
from tests.support.shared import shared

GOOD: dict[str, Any] = {"id": "a", "logits": [1.5, -2.0, 0.25], "answer": 2}


def write(folder: Path, *records: object) -> Path:
    path = folder / "scores.jsonl"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def read(src: Path, format: str = "jsonl", **changes: Any) -> list[Cell]:
    options: dict[str, Any] = {"model": "m", "variant": "dense", "task": "t", **changes}
    return import_cells(format, src, **options)


def refusal(src: Path, format: str = "jsonl", **changes: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        read(src, format, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestArguments:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"variant": "rtn-w9"}, "variant 'rtn-w9': 9 weight bits out of range"),
            ({"variant": "rtm-w4"}, "unknown compression method 'rtm': did you mean rtn?"),
            ({"model": ""}, "--model '': give a name of printable characters"),
            ({"model": "*"}, "a JSONL file holds one model: give its name with --model instead of '*'"),
            ({"task": " "}, "--task ' ': give a name"),
            ({"task": "a\nb"}, "--task 'a\\nb': give a name"),
            ({"prompt": ""}, "--prompt '': give a name"),
            ({"scoring": "mean"}, "--scoring 'mean': use sum, norm or letter"),
            ({"scoring": "sum"}, "holds logits: --scoring sum is for log-likelihoods, leave it out"),
            ({"params_b": 0.0}, "--params-b 0.0: give the parameters in billions"),
            ({"params_b": float("nan")}, "--params-b nan: give the parameters in billions"),
            ({"params_b": float("inf")}, "--params-b inf: give the parameters in billions"),
            ({"model": "*", "params_b": 7.0}, "--params-b is one model's"),
            ({"shots": -1}, "--shots -1 out of range"),
        ],
    )
    def test_bad_ones_are_refused(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        assert message in refusal(write(tmp_path, GOOD), **changes)

    def test_an_unknown_format_lists_the_valid_ones(self, tmp_path: Path) -> None:
        said = refusal(write(tmp_path, GOOD), "json")
        assert said == "unknown import format 'json': did you mean jsonl? Valid: jsonl, lm-eval, npz, parquet, ye2024"

    @pytest.mark.parametrize("format", IMPORTERS)
    def test_a_missing_source(self, tmp_path: Path, format: str) -> None:
        assert refusal(tmp_path / "none", format).endswith("none: not found; name the file or folder to import")

    def test_nothing_is_imported_that_runs_models(self) -> None:
        code = "import sys, suite.importers; print([m for m in ('torch', 'transformers') if m in sys.modules])"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == "[]"


class TestJsonl:
    def test_a_cell_with_everything(self, tmp_path: Path) -> None:
        src = write(
            tmp_path,
            GOOD | {"subject": "s", "group": "g", "note": [1]},
            GOOD | {"id": 7, "logits": [0, 1], "answer": 0},
        )
        (cell,) = read(src, params_b=7.2, variant="rtn-w4-g128", prompt="mine", shots=3)
        assert cell.ids == ("a", "7")
        assert cell.answers.tolist() == [2, 0]
        assert cell.n_options.tolist() == [3, 2]
        assert cell.scores[0].tolist() == [1.5, -2.0, 0.25]
        assert cell.subjects == ("s", None)
        assert cell.groups == ("g", None)
        assert cell.curve_key == ("m", "t", "letter", "mine", 3)
        assert cell.kind == "logits"
        assert cell.model["source"] == "imported"
        assert cell.model["params"] == 7_200_000_000
        assert (cell.variant["name"], cell.variant["method"], cell.variant["family"]) == (
            "rtn-w4-g128",
            "rtn",
            "quantization",
        )
        assert cell.variant["bits_per_weight"] is None
        assert cell.run["imported_from"] == "scores.jsonl"

    def test_every_documented_metadata_key_is_there(self, tmp_path: Path) -> None:
        (cell,) = read(write(tmp_path, GOOD))
        page = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
        for section in ("model", "variant", "task", "run"):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{section}` |"))
            names = set(re.findall(r"`([a-z_]+)`", row.split("|", 2)[2]))
            assert len(names) >= 8
            # values, keys of what lies deeper, and what is there only where there is something to say
            names -= {
                "embedded",
                "hub",
                "directory",
                "gguf",
                "imported",
                "names",
                "matrices",
                "share",
                "reason",
                "notes",
            }
            assert names <= set(getattr(cell, section))

    @pytest.mark.parametrize(
        ("kind", "values", "scoring", "label"),
        [
            ("logits", [1, 2], None, "letter"),
            ("probs", [0.25, 0.75], None, "letter"),
            ("loglik", [-3.5, -2], None, "cloze-sum"),
            ("loglik", [-3.5, -2], "sum", "cloze-sum"),
            ("loglik", [-3.5, -2], "norm", "cloze-norm"),
        ],
    )
    def test_each_kind_is_recorded_as_what_it_is(
        self, tmp_path: Path, kind: str, values: list[float], scoring: str | None, label: str
    ) -> None:
        (cell,) = read(write(tmp_path, {"id": 1, kind: values, "answer": 0}), scoring=scoring)
        assert (cell.kind, cell.task["scoring"]) == (kind, label)
        assert cell.scores.tolist() == [values]

    @pytest.mark.parametrize(
        ("kind", "values", "expected"),
        [
            ("probs", "[0, 1]", [-np.inf, 0.0]),
            ("loglik", "[-Infinity, -2]", [-np.inf, 0.0]),
            ("logits", "[-Infinity, 5]", [-np.inf, 0.0]),
        ],
    )
    def test_zero_probability_is_legal(self, tmp_path: Path, kind: str, values: str, expected: list[float]) -> None:
        (cell,) = read(write(tmp_path, f'{{"id": 1, "{kind}": {values}, "answer": 0}}'))
        assert cell.log_probabilities().tolist() == [expected]

    def test_two_variants_of_the_same_items_agree_on_the_revision(self, tmp_path: Path) -> None:
        (dense,) = read(write(tmp_path, GOOD))
        (other,) = read(write(tmp_path, GOOD | {"logits": [0.0, 0.0, 1.0]}), variant="rtn-w4")
        (changed,) = read(write(tmp_path, GOOD | {"answer": 0}))
        assert dense.task["revision"] == other.task["revision"] != changed.task["revision"]

    CASES: tuple[tuple[object, str], ...] = (
        (GOOD, "duplicate id 'a', first used on line 1"),
        ({"logits": [1, 2], "answer": 0}, "an id must be text or a whole number"),
        (GOOD | {"id": ""}, "an id must be text or a whole number"),
        (GOOD | {"id": True}, "an id must be text or a whole number"),
        (GOOD | {"id": 1.0}, "an id must be text or a whole number"),
        ({"id": 1, "answer": 0}, "one of logits, loglik, probs is needed, found none"),
        (GOOD | {"id": 1, "probs": [0.5, 0.5]}, "one of logits, loglik, probs is needed, found logits and probs"),
        ({"id": 1, "probs": [0.5, 0.5], "answer": 0}, "has probs where the lines before have logits"),
        (GOOD | {"id": 1, "logits": 3}, "logits must be a list of numbers"),
        (GOOD | {"id": 1, "logits": ["1", "2"]}, "logits must be a list of numbers"),
        (GOOD | {"id": 1, "logits": [True, False]}, "logits must be a list of numbers"),
        (GOOD | {"id": 1, "logits": [1, None]}, "logits must be a list of numbers"),
        (GOOD | {"id": 1, "logits": []}, "0 logits, at least 2 options are needed"),
        (GOOD | {"id": 1, "logits": [1]}, "1 logits, at least 2 options are needed"),
        ('{"id": 1, "logits": [NaN, 1], "answer": 0}', "logits hold nan, which is no usable number"),
        ('{"id": 1, "logits": [Infinity, 1], "answer": 0}', "logits hold inf, which is no usable number"),
        ('{"id": 1, "logits": [1e999, 1], "answer": 0}', "logits hold inf, which is no usable number"),
        ('{"id": 1, "logits": [1e39, 1], "answer": 0}', "logits hold 1e+39, which is no usable number"),
        ('{"id": 1, "logits": [-1e39, 1], "answer": 0}', "logits hold -1e+39, which is no usable number"),
        ('{"id": 1, "logits": [-Infinity, -Infinity], "answer": 0}', "every option has probability zero"),
        (GOOD | {"id": 1, "logits": [10**400, 1]}, "logits hold a whole number that is too large"),
        ({"id": 1, "logits": [1, 2]}, "an answer must be a whole number, 0 for the first option"),
        (GOOD | {"id": 1, "answer": "0"}, "an answer must be a whole number"),
        (GOOD | {"id": 1, "answer": True}, "an answer must be a whole number"),
        (GOOD | {"id": 1, "answer": 3}, "answer 3 is outside its 3 options (0 is the first)"),
        (GOOD | {"id": 1, "answer": -1}, "answer -1 is outside its 3 options (0 is the first)"),
        (GOOD | {"id": 1, "subject": 5}, "'subject' must be text"),
        (GOOD | {"id": 1, "group": ["g"]}, "'group' must be text"),
        (json.dumps(GOOD)[:-3], "not valid JSON"),
        ("[1, 2]", "expected a JSON object, found list"),
    )

    @pytest.mark.parametrize(("record", "message"), CASES)
    def test_a_bad_line_is_refused_with_its_number(self, tmp_path: Path, record: object, message: str) -> None:
        src = write(tmp_path, GOOD, "", record)
        assert refusal(src).startswith(f"{src}:3: {message}")

    @pytest.mark.parametrize(
        ("kind", "values", "message"),
        [
            ("probs", [-0.1, 0.5], "probs hold -0.1, a probability is between 0 and 1"),
            ("probs", [35.0, 65.0], "probs hold 35.0, a probability is between 0 and 1"),
            ("probs", [0, 0], "every option has probability zero"),
            ("loglik", [1, -1], "loglik hold 1.0, a log-likelihood is never above 0"),
        ],
    )
    def test_numbers_that_are_not_what_they_are_called(
        self, tmp_path: Path, kind: str, values: list[float], message: str
    ) -> None:
        assert message in refusal(write(tmp_path, {"id": 1, kind: values, "answer": 0}))

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_an_empty_file(self, tmp_path: Path, content: str) -> None:
        assert refusal(write(tmp_path, content)).endswith("no items in it")

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_bytes(b"\xff")
        assert "not UTF-8 text (byte 0)" in refusal(tmp_path / "x.jsonl")

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "Is a directory; name a readable JSONL file" in refusal(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
KEYS = st.sampled_from(["id", "logits", "loglik", "probs", "answer", "subject", "group"])


@given(st.lists(st.dictionaries(KEYS, VALUES), min_size=1, max_size=3))
@example([{"id": 1, "logits": [1e38, -1e38]}])
@example([{"id": "\ud800"}])
@example([{"logits": [1, 2, 3], "subject": "", "group": ""}])
def test_any_records_make_a_readable_cell_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    src = write(folder, *[GOOD | {"id": number} | change for number, change in enumerate(changes)])
    try:
        cells = read(src)
    except SuiteError:
        assert str(src) in refusal(src)
        return
    (path,) = store_cells(cells, folder, replace=False)
    assert read_cell(path).ids == cells[0].ids
    assert np.isclose(np.exp(read_cell(path).log_probabilities()).sum(axis=1), 1).all()


@given(st.binary(max_size=120))
@example(json.dumps(GOOD).encode()[:20])
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    src = tmp_path_factory.mktemp("fuzz") / "x.jsonl"
    src.write_bytes(raw)
    for format in ("jsonl", "npz", "lm-eval"):
        assert refusal(src, format)


def archive(folder: Path, **changes: Any) -> Path:
    """Two models, two prompts, three items, two options."""
    arrays: dict[str, Any] = {
        "logits": np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2),
        "models": np.array(["big", "small"]),
        "prompts": np.array(["base", "task"]),
        "answers": np.array([0, 1, 1], dtype=np.int8),
    }
    arrays |= changes
    path = folder / "scores.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


class TestNpz:
    def test_one_cell_a_model_and_prompt(self, tmp_path: Path) -> None:
        cells = read(archive(tmp_path), "npz", model="*")
        assert [cell.curve_key for cell in cells] == [
            (model, "t", "letter", prompt, 0) for model in ("big", "small") for prompt in ("base", "task")
        ]
        assert [cell.scores[0, 0] for cell in cells] == [0, 6, 12, 18]
        assert cells[0].ids == ("0", "1", "2")
        assert cells[0].answers.tolist() == [0, 1, 1]

    def test_one_model_and_one_prompt(self, tmp_path: Path) -> None:
        (cell,) = read(archive(tmp_path), "npz", model="small", prompt="task", params_b=1.5)
        assert cell.scores[2].tolist() == [22, 23]
        assert cell.model["params"] == 1_500_000_000

    def test_optional_arrays(self, tmp_path: Path) -> None:
        src = archive(
            tmp_path,
            ids=np.array([5, 6, 7]),
            subjects=np.array(["s", "", "t"]),
            groups=np.array(["g", "g", ""]),
            ambiguous=np.array([False, True, False]),
            options=np.array(["A", "B"]),
        )
        cell = read(src, "npz", model="big")[0]
        assert cell.ids == ("5", "6", "7")
        assert cell.subjects == ("s", None, "t")
        assert cell.groups == ("g", "g", None)
        assert cell.slices == ((), ("ambiguous",), ())
        assert cell.task["option_labels"] == ["A", "B"]

    @pytest.mark.parametrize(
        ("task", "given", "shots"),
        [("ye2024-qa", None, 5), ("drs", None, 3), ("ye2024-ds", None, 1), ("other", None, 0), ("ye2024-qa", 0, 0)],
    )
    def test_shots(self, tmp_path: Path, task: str, given: int | None, shots: int) -> None:
        assert read(archive(tmp_path), "npz", model="big", task=task, shots=given)[0].task["shots"] == shots

    def test_log_likelihoods(self, tmp_path: Path) -> None:
        src = archive(tmp_path, logits=None, loglik=-np.ones((2, 2, 3, 2)))
        cell = read(src, "npz", model="big", scoring="norm")[0]
        assert (cell.kind, cell.task["scoring"]) == ("loglik", "cloze-norm")

    def test_an_unknown_model_or_prompt(self, tmp_path: Path) -> None:
        src = archive(tmp_path)
        assert refusal(src, "npz", model="bigg") == "unknown model 'bigg': did you mean big? Valid: *, big, small"
        assert refusal(src, "npz", model="big", prompt="x") == "unknown prompt 'x': Valid: base, task"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"models": None}, "array 'models' is needed, the archive holds answers, logits, prompts"),
            ({"logits": None}, "one of logits, loglik, probs is needed"),
            ({"probs": np.ones((2, 2, 3, 2))}, "one of logits, loglik, probs is needed"),
            (
                {"logits": np.ones((2, 3, 2))},
                "logits is float64 [2, 3, 2]; floats of models × prompts × items × options",
            ),
            ({"logits": np.ones((2, 2, 3, 2), dtype=int)}, "logits is int64 [2, 2, 3, 2]; floats of models"),
            ({"logits": np.ones((2, 2, 0, 2))}, "logits is float64 [2, 2, 0, 2]; floats of models"),
            ({"models": np.array(["one"])}, "models is <U3 [1], 2 entries of another type needed"),
            ({"models": np.array([1, 2])}, "models is int64 [2], 2 entries of another type needed"),
            ({"models": np.array(["a", "a"])}, "model 'a' stands in the archive twice"),
            ({"answers": np.array([0.0, 1.0, 1.0])}, "answers is float64 [3], 3 entries of another type needed"),
            ({"answers": np.array([0, 1, 2])}, "item '2': answer 2 is outside its 2 options"),
            ({"answers": np.array([0, 1, -1])}, "item '2': answer -1 is outside its 2 options"),
            ({"ids": np.array(["x", "x", "y"])}, "duplicate id 'x'"),
            ({"logits": np.full((2, 2, 3, 2), np.nan)}, "big, prompt base: item '0': logits hold nan"),
            ({"logits": None, "probs": np.full((2, 2, 3, 2), -1.0)}, "item '0': probs hold -1.0"),
            ({"logits": np.array([[None]])}, "not a readable .npz archive of plain arrays (Object arrays"),
        ],
    )
    def test_bad_arrays(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        assert message in refusal(archive(tmp_path, **changes), "npz", model="*")

    def test_a_truncated_archive(self, tmp_path: Path) -> None:
        src = archive(tmp_path)
        src.write_bytes(src.read_bytes()[:400])
        assert "not a readable .npz archive" in refusal(src, "npz", model="*")

    def test_a_damaged_archive(self, tmp_path: Path) -> None:
        src = tmp_path / "scores.npz"
        np.savez_compressed(src, logits=np.random.default_rng(0).normal(size=(2, 2, 300, 2)))
        raw = bytearray(src.read_bytes())
        raw[3000:3100] = bytes(100)
        src.write_bytes(raw)
        assert "not a readable .npz archive" in refusal(src, "npz", model="*")

    def test_a_single_array(self, tmp_path: Path) -> None:
        np.save(tmp_path / "scores.npy", np.ones(3))
        assert "a single array" in refusal(tmp_path / "scores.npy", "npz", model="*")

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "not a readable .npz archive" in refusal(tmp_path, "npz", model="*")


@pytest.mark.parametrize(
    ("name", "shots", "ambiguous", "correct"),
    [("qa", 5, 24, [5407, 5230, 5240]), ("drs", 3, 0, [5154, 5266, 5251]), ("ds", 1, 0, [5898, 5857, 6135])],
)
def test_the_published_logits(name: str, shots: int, ambiguous: int, correct: list[int]) -> None:
    src = shared(f"data/published/{name}.npz")
    cells = read(src, "npz", model="Llama-2-13b-hf", task=f"ye2024-{name}")
    assert [cell.curve_key[2:] for cell in cells] == [
        ("letter", prompt, shots) for prompt in ("base", "shared", "task")
    ]
    hits = [int((_picked(cell) == cell.answers).sum()) for cell in cells]
    assert hits == correct
    assert all(len(cell) == 10_000 and cell.task["option_labels"] == list("ABCDEF") for cell in cells)
    assert sum(len(names) for names in cells[0].slices or ()) == ambiguous


def _picked(cell: Cell) -> NDArray[np.int64]:
    return np.nanargmax(cell.scores, axis=1)


class TestStore:
    def test_cells_are_where_a_run_keeps_them(self, tmp_path: Path) -> None:
        cells = read(archive(tmp_path), "npz", model="*")
        paths = store_cells(cells, tmp_path / "run", replace=False)
        assert paths == [cell.key.path(tmp_path / "run") for cell in cells]
        loaded = load_cells([tmp_path / "run"])
        assert [cell.curve_key for cell in loaded] == [cell.curve_key for cell in cells]
        assert np.array_equal(loaded[3].scores, cells[3].scores)

    def test_several_imports_make_one_run(self, tmp_path: Path) -> None:
        store_cells(read(write(tmp_path, GOOD)), tmp_path / "run", replace=False)
        store_cells(read(write(tmp_path, GOOD), variant="wanda-2:4"), tmp_path / "run", replace=False)
        assert [cell.variant["name"] for cell in load_cells([tmp_path / "run"])] == ["dense", "wanda-2:4"]

    def test_a_second_cell_of_the_same_name_is_refused(self, tmp_path: Path) -> None:
        cells = read(write(tmp_path, GOOD))
        (path,) = store_cells(cells, tmp_path / "run", replace=False)
        before = path.read_bytes()
        other = read(write(tmp_path, GOOD | {"logits": [0, 0, 9]}))
        with pytest.raises(SuiteError, match=r"dense\.parquet: there is a cell of this name already; use --replace"):
            store_cells(other, tmp_path / "run", replace=False)
        assert path.read_bytes() == before
        store_cells(other, tmp_path / "run", replace=True)
        assert read_cell(path).scores.tolist() == [[0, 0, 9]]

    def test_one_refused_cell_stops_all(self, tmp_path: Path) -> None:
        src = archive(tmp_path)
        store_cells(read(src, "npz", model="small", prompt="task"), tmp_path / "run", replace=False)
        with pytest.raises(SuiteError, match="already"):
            store_cells(read(src, "npz", model="*"), tmp_path / "run", replace=False)
        assert len(load_cells([tmp_path / "run"])) == 1

    def test_two_cells_of_one_name_in_one_import(self, tmp_path: Path) -> None:
        cells = read(write(tmp_path, GOOD))
        with pytest.raises(SuiteError, match="two cells would both be") as caught:
            store_cells([*cells, *cells], tmp_path / "run", replace=True)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("option", "first", "second"),
        [
            ("model", "a/b", "a_b"),
            ("model", "Model", "model"),
            ("model", "m.", "m"),
            ("task", "t:1", "t/1"),
            ("task", "T", "t"),
            ("prompt", "p q", "p_q"),
        ],
    )
    @pytest.mark.parametrize("variant", ["dense", "rtn-w4"])
    @pytest.mark.parametrize("replace", [False, True])
    def test_a_name_that_makes_another_ones_folder(
        self, tmp_path: Path, option: str, first: str, second: str, variant: str, replace: bool
    ) -> None:
        """Whatever the variant, and at once: to replace was never what is wanted."""
        store_cells(read(write(tmp_path, GOOD), **{option: first}), tmp_path / "run", replace=False)
        with pytest.raises(SuiteError) as caught:
            store_cells(
                read(write(tmp_path, GOOD), variant=variant, **{option: second}), tmp_path / "run", replace=replace
            )
        said = str(caught.value)
        assert said.startswith(f"--{option} {second!r}: its folder in {tmp_path / 'run'} would be that of {first!r}")
        assert said.endswith(f"give another --{option}, or another --out")
        (cell,) = load_cells(tmp_path / "run")
        assert (cell.model["name"], cell.task["name"], cell.task["prompt"]) == (
            *(first if option == name else default for name, default in (("model", "m"), ("task", "t"))),
            first if option == "prompt" else "base",
        )

    def test_two_such_names_in_one_import(self, tmp_path: Path) -> None:
        src = archive(tmp_path, models=np.array(["a/b", "a_b"]))
        with pytest.raises(SuiteError, match=r"--model 'a_b': its folder in .* would be that of 'a/b'"):
            store_cells(read(src, "npz", model="*"), tmp_path / "run", replace=True)
        assert not (tmp_path / "run").exists()

    def test_other_names_stand_side_by_side(self, tmp_path: Path) -> None:
        for model in ("a/b", "a-b", "ab"):
            for prompt in ("p", "q"):
                store_cells(read(write(tmp_path, GOOD), model=model, prompt=prompt), tmp_path / "run", replace=False)
        assert len(load_cells(tmp_path / "run")) == 6

    def test_replace_mends_a_damaged_cell(self, tmp_path: Path) -> None:
        cells = read(write(tmp_path, GOOD))
        (path,) = store_cells(cells, tmp_path / "run", replace=False)
        path.write_bytes(b"PAR1")
        store_cells(cells, tmp_path / "run", replace=True)
        assert read_cell(path).ids == ("a",)

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cells = read(archive(tmp_path), "npz", model="*")
        calls = 0

        def full(handle: int) -> None:
            nonlocal calls
            calls += 1
            if calls > 2:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SuiteError, match="No space left on device"):
            store_cells(cells, tmp_path / "run", replace=False)
        assert calls == 3
        assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == []

    def test_a_run_directory_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(SuiteError, match="cannot write") as caught:
            store_cells(read(write(tmp_path, GOOD)), tmp_path / "run", replace=False)
        assert "\n" not in str(caught.value)
