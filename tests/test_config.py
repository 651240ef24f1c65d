"""Run configurations: every key, every default, and one line for whatever YAML can hold that is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from suite.config import Protocol, RunConfig, TaskChoice, parse_config, read_config
from suite.errors import SuiteError

MINIMAL: dict[str, Any] = {"models": ["m"], "tasks": ["sciq"], "variants": ["dense"]}
FULL = """
models: [m, org/name@abc]
tasks:
  - sciq
  - {name: q.jsonl, scoring: letter, prompt: base, shots: 2, limit: 30}
variants: [dense, rtn-w4-g32, magnitude-s50]
dtype: float32
device: cpu
trust_remote_code: true
protocol: {name: ye2024, alpha: 0.2, splits: 7, replicates: 50, seed: 3}
"""


def one_line(error: SuiteError) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    return message


def refusal(raw: object) -> str:
    with pytest.raises(SuiteError) as caught:
        parse_config(raw, "c.yaml")
    message = one_line(caught.value)
    assert message.startswith("configuration c.yaml: ")
    return message


def read_refusal(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        read_config(path)
    message = one_line(caught.value)
    assert str(path) in message
    return message


def test_every_key_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(FULL, encoding="utf-8")
    assert read_config(path) == RunConfig(
        models=("m", "org/name@abc"),
        tasks=(TaskChoice("sciq"), TaskChoice("q.jsonl", "letter", "base", 2, 30)),
        variants=("dense", "rtn-w4-g32", "magnitude-s50"),
        dtype="float32",
        device="cpu",
        protocol=Protocol("ye2024", 0.2, 7, 50, 3),
        trust_remote_code=True,
    )


def test_defaults() -> None:
    config = parse_config(MINIMAL, "c.yaml")
    assert config == RunConfig(("m",), (TaskChoice("sciq"),), ("dense",))
    assert (config.dtype, config.device, config.trust_remote_code) == ("auto", "auto", False)
    assert config.protocol == Protocol("exact", 0.1, 100, 1000, 0)


def test_the_hash_ignores_comments_and_key_order_and_written_defaults() -> None:
    config = parse_config(yaml.safe_load(FULL), "a")
    shuffled = dict(reversed(list(yaml.safe_load("# note\n" + FULL).items())))
    assert parse_config(shuffled, "b").hash == config.hash
    written = parse_config(MINIMAL | {"dtype": "auto", "protocol": {"alpha": 0.1}}, "a")
    assert written.hash == parse_config(MINIMAL, "b").hash


def test_the_hash_stays_what_it_was() -> None:
    """It is stored in result files: a change of this value is a decision, to be told in the changelog."""
    expected = "sha256:55028e3e57c7a6e1"
    assert parse_config(MINIMAL, "a").hash.startswith(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"models": ("n",)},
        {"tasks": (TaskChoice("sciq", limit=3),)},
        {"tasks": (TaskChoice("sciq", shots=1),)},
        {"tasks": (TaskChoice("sciq", "letter"),)},
        {"variants": ("dense", "rtn-w4")},
        {"dtype": "float32"},
        {"device": "cpu"},
        {"trust_remote_code": True},
        {"protocol": Protocol(alpha=0.2)},
        {"protocol": Protocol(splits=1)},
        {"protocol": Protocol(seed=1)},
    ],
)
def test_the_hash_changes_with_every_value(change: dict[str, Any]) -> None:
    config = parse_config(MINIMAL, "a")
    assert replace(config, **change).hash != config.hash


# PyYAML takes U+0085 and its like for line ends whatever quotes stand around them
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
NAMES = st.text(CHARACTERS, min_size=1, max_size=12)
CONFIGS = st.builds(
    RunConfig,
    models=st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple),
    tasks=st.lists(
        st.builds(
            TaskChoice,
            name=NAMES,
            scoring=st.none() | st.sampled_from(["letter", "cloze-sum", "cloze-norm"]),
            prompt=st.none() | NAMES,
            shots=st.integers(0, 9),
            limit=st.none() | st.integers(1, 10**9),
        ),
        min_size=1,
        max_size=3,
        unique=True,
    ).map(tuple),
    variants=st.lists(st.sampled_from(["rtn-w4", "wanda-2:4", "magnitude-s50"]), unique=True).map(
        lambda names: ("dense", *names)
    ),
    dtype=st.sampled_from(["auto", "bfloat16", "float16", "float32"]),
    device=NAMES,
    protocol=st.builds(
        Protocol,
        name=st.sampled_from(["exact", "ye2024"]),
        alpha=st.floats(0.001, 0.999),
        splits=st.integers(1, 10**6),
        replicates=st.integers(1, 10**6),
        seed=st.integers(0, 2**63),
    ),
    trust_remote_code=st.booleans(),
)


@given(config=CONFIGS)
def test_to_yaml_reads_back_equal(config: RunConfig) -> None:
    again = parse_config(yaml.safe_load(config.to_yaml()), "again")
    assert again == config
    assert again.hash == config.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ["m"]}, "unknown key 'model' in the configuration: did you mean 'models'?"),
        ({"Dtype": "auto"}, "unknown key 'Dtype' in the configuration: did you mean 'dtype'?"),
        ({"zzz": 1}, "unknown key 'zzz' in the configuration: Valid: models, tasks, variants, dtype"),
        ({3: 1}, "unknown key 3"),
        ({None: 1}, "unknown key None"),
        ({"models": "m"}, "'models' must be a list of names"),
        ({"models": []}, "'models' must be a list of names with at least one entry"),
        ({"models": [1]}, "'models' must be a list of names"),
        ({"models": [""]}, "'models' must be a list of names"),
        ({"models": None}, "'models' must be a list of names"),
        ({"models": {"m": 1}}, "'models' must be a list of names"),
        ({"models": ["m", "m"]}, "'models' lists the same name twice"),
        ({"variants": ["dense", "rtn-w4", "rtn-w4"]}, "'variants' lists the same name twice"),
        ({"variants": ["rtn-w4"]}, "'variants' has no 'dense'; every comparison is made against it"),
        ({"variants": ["dense", "rtn-w9"]}, "variant 'rtn-w9': 9 weight bits out of range, use one of 8, 6, 5, 4, 3"),
        ({"variants": ["dense", "magnitde-s50"]}, "did you mean magnitude?"),
        ({"tasks": "sciq"}, "'tasks' must be a list"),
        ({"tasks": []}, "'tasks' must be a list with at least one task"),
        ({"tasks": [7]}, "a task must be a mapping"),
        ({"tasks": [{}]}, "a task needs a 'name'"),
        ({"tasks": [{"name": 7}]}, "a task needs a 'name'"),
        ({"tasks": [{"name": "a", "limits": 3}]}, "unknown key 'limits' in a task: did you mean 'limit'?"),
        ({"tasks": [{"name": "a", "scoring": "cloze"}]}, "task 'a': scoring 'cloze' is not valid: did you mean 'cloze"),
        ({"tasks": [{"name": "a", "scoring": ["letter"]}]}, "task 'a': scoring ['letter'] is not valid"),
        ({"tasks": [{"name": "a", "prompt": 1}]}, "task 'a': 'prompt' must be text"),
        ({"tasks": [{"name": "a", "shots": -1}]}, "task 'a': shots must be a whole number of 0 or more, not -1"),
        ({"tasks": [{"name": "a", "shots": None}]}, "task 'a': shots must be a whole number"),
        ({"tasks": [{"name": "a", "limit": 0}]}, "task 'a': limit must be a whole number of 1 or more, not 0"),
        ({"tasks": [{"name": "a", "limit": True}]}, "task 'a': limit must be a whole number"),
        ({"tasks": [{"name": "a", "limit": 2.5}]}, "task 'a': limit must be a whole number"),
        ({"tasks": ["sciq", {"name": "sciq"}]}, "'tasks' lists the same task twice"),
        (
            {"dtype": "bf16"},
            "dtype 'bf16' is not valid: did you mean 'bfloat16'? Valid: auto, bfloat16, float16, float3",
        ),
        ({"dtype": None}, "dtype None is not valid"),
        ({"device": 0}, "'device' must be text, such as auto, cpu or cuda"),
        ({"trust_remote_code": "yes"}, "'trust_remote_code' must be true or false"),
        ({"trust_remote_code": 1}, "'trust_remote_code' must be true or false"),
        ({"protocol": "exact"}, "'protocol' must be a mapping"),
        ({"protocol": {"alhpa": 0.1}}, "unknown key 'alhpa' in 'protocol': did you mean 'alpha'?"),
        ({"protocol": {"name": "exakt"}}, "protocol name 'exakt' is not valid: did you mean 'exact'?"),
        ({"protocol": {"alpha": 0}}, "protocol alpha 0 is not between 0 and 1"),
        ({"protocol": {"alpha": 1}}, "protocol alpha 1 is not between 0 and 1"),
        ({"protocol": {"alpha": True}}, "protocol alpha True"),
        ({"protocol": {"alpha": float("nan")}}, "protocol alpha nan"),
        ({"protocol": {"alpha": "0.1"}}, "protocol alpha '0.1'"),
        ({"protocol": {"splits": 0}}, "protocol splits must be a whole number of 1 or more"),
        ({"protocol": {"replicates": 0}}, "protocol replicates must be a whole number of 1 or more"),
        ({"protocol": {"seed": -1}}, "protocol seed must be a whole number of 0 or more"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_line(change: dict[Any, Any], message: str) -> None:
    assert message in refusal(MINIMAL | change)


@pytest.mark.parametrize("key", ["models", "tasks", "variants"])
def test_a_missing_key(key: str) -> None:
    assert f"missing key {key!r}" in refusal({k: v for k, v in MINIMAL.items() if k != key})


@pytest.mark.parametrize("raw", [None, [], "text", 3, [MINIMAL]])
def test_a_configuration_is_a_mapping(raw: object) -> None:
    assert "must be a mapping of keys to values" in refusal(raw)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(CHARACTERS, max_size=8)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(["dense", "rtn-w4", "sciq", "auto", "exact", "letter", "magnitude-s50"])
)
KEYS = (
    st.sampled_from(["models", "tasks", "variants", "dtype", "device", "protocol", "trust_remote_code"])
    | st.sampled_from(["name", "scoring", "prompt", "shots", "limit", "alpha", "splits", "replicates", "seed"])
    | LEAVES
)
OBJECTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(raw=OBJECTS | st.dictionaries(KEYS, OBJECTS, max_size=5).map(lambda entries: MINIMAL | entries))
@example(raw=MINIMAL | {"models": ["\ud800"]})
@example(raw=MINIMAL | {"variants": ["dense", "a\nb"]})
@example(raw=MINIMAL | {"tasks": [{"name": "a\nb", "shots": -1}]})
def test_any_object_is_a_configuration_or_one_line(raw: object) -> None:
    try:
        config = parse_config(raw, "c.yaml")
    except SuiteError as error:
        one_line(error)
    else:
        assert parse_config(yaml.safe_load(config.to_yaml()), "again") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a\ntasks: b", "not valid YAML (line 2)"),
        ("models:\n\t- a", "not valid YAML (line 2)"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML (line 1)"),
        ("? [a]\n: b\n? {c: d}\n: e", "not valid YAML"),
        ("a: \0", "not valid YAML"),
        ("a: 2001-13-45", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("", "must be a mapping"),
        ("# nothing but a comment", "must be a mapping"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_text_that_is_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert message in read_refusal(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in read_refusal(tmp_path / "none.yaml")
    assert "directory" in read_refusal(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"models: [caf\xe9]")
    assert "not UTF-8 text" in read_refusal(latin)


@given(
    raw=st.binary(max_size=60)
    | st.text(alphabet="models: [taskvrin]{}-&*!?|>'\"#%@\n\t09.", max_size=60).map(str.encode)
)
def test_any_bytes_are_a_configuration_or_one_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    read_refusal(path)
