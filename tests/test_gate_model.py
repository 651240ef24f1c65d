"""`suite.gate_model`: a model in memory or a checkpoint against its parent, in three lines of a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import suite
from suite.decisions.policy import Criterion, Policy

pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")

LOOSE = Policy("loose", "a test", (Criterion("accuracy", 0.2, "points"),))
OPTIONS = ("iron", "light", "water", "the moon")


@pytest.fixture(scope="module")
def parent(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def easy(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that the parent answers without an error: the right answers are its own."""
    file = tmp_path_factory.mktemp("easy") / "easy.jsonl"
    questions: list[dict[str, Any]] = [
        {"id": f"q{n}", "question": f"Which is {n} times {n * n % 17}?", "choices": OPTIONS, "answer_index": 0}
        for n in range(120)
    ]

    def write() -> None:
        file.write_text("".join(json.dumps(one) + "\n" for one in questions), encoding="utf-8")

    write()
    (cell,) = suite.score_model(parent, tasks=file, dtype="float32", device="cpu")
    picked = dict(zip(cell.ids, cell.scores.argmax(axis=1).tolist(), strict=True))
    for one in questions:
        one["answer_index"] = picked[one["id"]]
    write()
    return file


def network_of(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def quantized(folder: Path, scheme: str) -> Any:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    model = network_of(folder)
    oneshot(model=model, recipe=QuantizationModifier(scheme=scheme, targets=["Linear"], ignore=["lm_head"]))
    return model


def test_three_lines_after_oneshot_let_a_harmless_model_pass(parent: Path, easy: Path) -> None:
    model = quantized(parent, "W8A8")
    result = suite.gate_model(model, dense=parent, policy=LOOSE, tasks=easy)
    result.raise_if_rejected()
    result.raise_unless_accepted()
    assert (result.decision, result.reason) == ("accept", None)
    assert result.record["variant"] == "int8-w8a8"
    assert [cell.key.variant for cell in result.cells] == ["dense", "int8-w8a8"]
    assert result.record["lost_at_most"] < 0.2
    assert str(result).startswith("accuracy: lost at most")


def test_a_broken_model_stops_the_script(parent: Path, easy: Path) -> None:
    import torch

    model = network_of(parent)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    result = suite.gate_model(model, dense=parent, policy=LOOSE, tasks=easy, variant="rtn-w2")
    assert result.decision == "reject"
    again = suite.gate_model(model, dense=parent, policy=LOOSE, tasks=easy, variant="rtn-w2")
    other = suite.gate_model(network_of(parent), dense=parent, policy=LOOSE, tasks=easy, variant="rtn-w8")
    assert again.record["attempt"] == result.record["attempt"] < other.record["attempt"]
    for stop in (result.raise_if_rejected, result.raise_unless_accepted):
        with pytest.raises(suite.NotAccepted, match=r"lost at most .* reject"):
            stop()


def test_a_parent_in_the_place_of_its_child_is_a_review_which_only_the_strict_call_stops(
    parent: Path, easy: Path
) -> None:
    dense = suite.score_model(parent, tasks=easy, limit=20, dtype="float32", device="cpu")
    from transformers import AutoTokenizer

    result = suite.gate_model(
        network_of(parent), dense=dense, policy=LOOSE, tasks=easy, limit=20, variant="rtn-w8",
        tokenizer=AutoTokenizer.from_pretrained(parent),
    )  # fmt: skip
    assert (result.decision, result.reason) == ("review", "blocked")
    assert "nothing was compressed" in str(result)
    result.raise_if_rejected()
    with pytest.raises(suite.NotAccepted, match="review"):
        result.raise_unless_accepted()


def test_a_checkpoint_is_gated_like_a_model_in_memory(parent: Path, easy: Path, tmp_path: Path) -> None:
    suite.compress_model(parent, "rtn-w8", tmp_path / "w8", dtype="float32", device="cpu")
    result = suite.gate_model(tmp_path / "w8", dense=parent, policy=LOOSE, tasks=easy)
    assert (result.decision, result.record["variant"]) == ("accept", "rtn-w8")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": "certanty"}, "unknown policy 'certanty'"),
        ({"tasks": []}, "no tasks"),
        ({"dense": []}, "no cells"),
        ({"variant": None}, "a model in memory that is not quantized does not say what it is; name its variant"),
    ],
)
def test_what_cannot_be_used_is_one_line(parent: Path, easy: Path, given: dict[str, Any], said: str) -> None:
    options = {"dense": parent, "policy": LOOSE, "tasks": easy, "variant": "rtn-w8", **given}
    with pytest.raises(suite.SuiteError, match=said) as caught:
        suite.gate_model(network_of(parent), **options)
    assert "\n" not in str(caught.value)
