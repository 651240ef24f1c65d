"""Run configurations: every key, every default, and one line for whatever YAML can hold that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from suite.config import Costs, Primary, Protocol, RunConfig, TaskChoice, json_schema, parse_config, read_config
from suite.errors import SuiteError
from suite.verdicts.dose_records import MEASURES

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


# primary


def test_primary_is_what_carries_the_verdict() -> None:
    assert parse_config(MINIMAL, "c.yaml").primary is None
    given = {"metric": "brier_ts", "tolerances": [0.02, 0.3]}
    config = parse_config(MINIMAL | {"primary": given}, "c.yaml")
    assert config.primary == Primary("brier_ts", (0.02, 0.3))
    assert parse_config(MINIMAL | {"primary": {}}, "c.yaml").primary == Primary("set_size", (0.05, 0.1, 0.25))
    again = parse_config(yaml.safe_load(config.to_yaml()), "again")
    assert again == config
    assert again.hash == config.hash


def test_the_hash_tells_primaries_apart_and_not_whether_the_key_was_known() -> None:
    found = [MINIMAL, *(MINIMAL | {"primary": one} for one in ({}, {"metric": "nll_ts"}, {"tolerances": [0.1]}))]
    assert len({parse_config(raw, "c.yaml").hash for raw in found}) == 4
    assert parse_config(MINIMAL | {"primary": None}, "c.yaml").hash == parse_config(MINIMAL, "c.yaml").hash
    assert "primary" not in parse_config(MINIMAL, "c.yaml").to_yaml()


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ("brier_ts", "'primary' must be a mapping of keys to values"),
        ({"metrics": "brier_ts"}, "unknown key 'metrics' in 'primary': did you mean 'metric'?"),
        (
            {"metric": "brier"},
            "primary metric 'brier' is not valid: did you mean 'brier_ts'? Valid: set_size, brier_ts",
        ),
        ({"metric": "ece"}, "primary metric 'ece' is not valid: Valid: set_size, brier_ts, accuracy, nll_ts, lac_tran"),
        ({"metric": None}, "primary metric None is not valid"),
        (
            {"tolerances": [0.05, 1]},
            "primary tolerances must be a list of numbers between 0 and 1, such as 0.05, not 1",
        ),
        ({"tolerances": [0]}, "primary tolerances must be a list of numbers between 0 and 1, such as 0.05, not 0"),
        ({"tolerances": [-0.1]}, "not -0.1"),
        ({"tolerances": [float("nan")]}, "not nan"),
        ({"tolerances": [True]}, "not True"),
        ({"tolerances": ["0.05"]}, "not '0.05'"),
        ({"tolerances": 0.05}, "not 0.05"),
        ({"tolerances": []}, "not []"),
        ({"tolerances": [0.1, 0.1]}, "'tolerances' lists the same number twice"),
    ],
)
def test_a_wrong_primary_is_refused_in_one_line(primary: object, message: str) -> None:
    assert message in refusal(MINIMAL | {"primary": primary})


def test_costs_are_kept_and_leave_the_hash_of_a_configuration_without_them_alone() -> None:
    plain = parse_config(MINIMAL, "c.yaml")
    config = parse_config(MINIMAL | {"costs": {"wrong": 5, "review": 0.5}}, "c.yaml")
    assert config.costs == Costs(5, 0.5)
    assert parse_config(yaml.safe_load(config.to_yaml()), "again") == config
    assert config.hash != plain.hash == parse_config(MINIMAL | {"costs": None}, "c.yaml").hash
    assert "costs" not in plain.to_yaml()


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"wrong": 5}, "missing key 'review'"),
        ({"wrong": "5", "review": 1}, "costs 'wrong' must be a number above 0, such as 10, not '5'"),
        ({"wrong": 5, "review": True}, "costs 'review' must be a number above 0, such as 2, not True"),
        ({"wrong": 5, "review": 0}, "cost of a review 0: not a number above 0"),
        ({"wrong": 5, "review": 5}, "no review would ever pay"),
        ({"wrong": 5, "review": 1, "x": 1}, "unknown key 'x' in 'costs'"),
        ([5, 1], "'costs' must be a mapping of keys to values"),
    ],
)
def test_wrong_costs_are_refused_in_one_line(costs: object, message: str) -> None:
    assert message in refusal(MINIMAL | {"costs": costs})


def test_primary_metrics_are_those_that_have_doses() -> None:
    offered = set(json.loads(json_schema())["$defs"]["Primary"]["properties"]["metric"]["enum"])
    assert offered == set(MEASURES)


# what is committed

COMMITTED = {
    "configs/embedded.yaml": "sha256:635644eb4b58166a01a3098d4d0e63ce3a4367854b95ca51dd70eb2fbc033f69",
    "configs/methods.yaml": "sha256:f6d00f17b88137ab06d45d19af133db9a3481cde69b036830209a9db9b01ce63",
    "configs/paper.yaml": "sha256:35bbca33c6240337f14371680b087e49971ea47141572cc5fa0596d07d3391e0",
    "configs/qwen-coder-sizes.yaml": "sha256:a9d2b0a7114a85a445a23f281e1c4e488198d73f238a001929d1b1c2d7f225ce",
    "configs/three-llms.yaml": "sha256:652469b77aea1fe477258c2fa860030a4d48682d12747d0a1f14008736b44212",
    "results/embedded/config.yaml": "sha256:635644eb4b58166a01a3098d4d0e63ce3a4367854b95ca51dd70eb2fbc033f69",
    "results/three-llms/config.yaml": "sha256:652469b77aea1fe477258c2fa860030a4d48682d12747d0a1f14008736b44212",
}
"""Hashes of configurations by the code that first read them: they are stored in manifests and never change."""

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for where in ("configs/*.yaml", "results/*/config.yaml")
    for file in ROOT.glob(where)
)


@pytest.mark.parametrize("name", sorted(COMMITTED))
def test_the_hash_of_a_committed_configuration_stays_what_it_was(name: str) -> None:
    assert read_config(ROOT / name).hash == COMMITTED[name]


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("results/")])
def test_a_published_configuration_is_written_as_it_was(name: str) -> None:
    config, text = read_config(ROOT / name), (ROOT / name).read_text(encoding="utf-8")
    assert text == f"# {config.hash}\n{config.to_yaml()}"


# JSON Schema


def test_the_schema_in_the_repository_is_that_of_the_code() -> None:
    """docs/formats.md has the line that writes it again."""
    assert (ROOT / "configs" / "schema.json").read_text(encoding="utf-8") == json_schema()


def admits(schema: dict[str, Any], value: object) -> bool:
    """Whether a JSON value fits a schema: by the jsonschema package where it is installed, else the keywords we use."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return fits(schema, value, schema)
    found: bool = Draft202012Validator(schema).is_valid(value)
    assert found == fits(schema, value, schema)
    return found


TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
RULES: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda kind, value: isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)),
    "enum": lambda valid, value: value in valid,
    "minItems": lambda low, value: len(value) >= low,
    "minLength": lambda low, value: len(value) >= low,
    "uniqueItems": lambda _, value: all(one not in value[:place] for place, one in enumerate(value)),
    "contains": lambda wanted, value: wanted["const"] in value,
    "minimum": lambda low, value: value >= low,
    "exclusiveMinimum": lambda low, value: value > low,
    "exclusiveMaximum": lambda high, value: value < high,
    "required": lambda keys, value: set(keys) <= set(value),
}
SAID = {
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "properties",
    "additionalProperties",
    "items",
    "anyOf",
    "$ref",
}


def fits(schema: dict[str, Any], value: Any, whole: dict[str, Any]) -> bool:
    assert set(schema) <= RULES.keys() | SAID, "a keyword that this test does not know"
    if "$ref" in schema:
        return fits(whole["$defs"][schema["$ref"].rpartition("/")[2]], value, whole)
    if "anyOf" in schema:
        return any(fits(one, value, whole) for one in schema["anyOf"])
    if not all(rule(schema[key], value) for key, rule in RULES.items() if key in schema):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        assert schema["additionalProperties"] is False
        return set(value) <= set(known) and all(fits(known[key], one, whole) for key, one in value.items())
    return all(fits(schema["items"], one, whole) for one in value) if isinstance(value, list) else True


@pytest.mark.parametrize("name", FILES)
def test_committed_configurations_fit_the_schema_and_misspelt_ones_do_not(name: str) -> None:
    schema = json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8"))
    raw = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert admits(schema, raw)
    for key in raw:
        misspelt = {key[:-1] if one == key else one: value for one, value in raw.items()}
        assert not admits(schema, misspelt), key
    for key in ("protocol", "sample_text", "primary"):
        assert not admits(schema, raw | {key: {"nmae": "exact"}}), key
    for entry in ({"name": "sciq", "limits": 3}, {"limit": 3}, 3):
        assert not admits(schema, raw | {"tasks": [entry]}), entry


@pytest.mark.parametrize(
    "change",
    [
        *({"models": models} for models in ("m", [], [1], [""], ["m", "m"], None)),
        *({"variants": variants} for variants in (["rtn-w4"], ["dense", "dense"], [])),
        *(
            {"tasks": [{"name": "a"} | more]}
            for more in ({"scoring": "cloze"}, {"shots": -1}, {"limit": 0}, {"prompt": 1})
        ),
        *(
            {"protocol": one}
            for one in ({"alpha": 0}, {"alpha": 1}, {"splits": 0}, {"replicates": 0}, {"name": "exakt"})
        ),
        *({"primary": one} for one in ({"metric": "ece"}, {"tolerances": [1]}, {"tolerances": []}, "brier_ts")),
        *({"ready_made": one} for one in ({"a": 1}, [{"checkpoint": "x"}], [{"checkpoint": "x", "dense": ""}])),
        *({key: 1} for key in ("dtype", "device", "trust_remote_code", "sample_text")),
    ],
    ids=str,
)
def test_what_is_refused_does_not_fit_the_schema(change: dict[str, Any]) -> None:
    assert admits(json.loads(json_schema()), MINIMAL)
    assert not admits(json.loads(json_schema()), MINIMAL | change)
    refusal(MINIMAL | change)
