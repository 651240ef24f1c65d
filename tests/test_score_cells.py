"""A whole cell from a tiny model: shared starts, 16-bit drift, memory that runs out, batch sizes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from suite.cell import Cell
from suite.errors import CellFailure
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import resolve_model
from suite.score.cells import score
from suite.score.sheet import Sheet, make_sheet
from suite.score.transformers import budget, engine
from suite.score.transformers.budget import CPU_BUDGETS, measure_budget
from suite.score.transformers.drift import compare, in_float32
from suite.score.transformers.encode import Encoded
from suite.score.transformers.network import NetworkScorer
from suite.score.transformers.pack import plan_batches, shared_starts
from suite.task import Question, Task

WORDS = [
    "moon",
    "earth",
    "sun",
    "iron",
    "metal",
    "light",
    "water",
    "plants",
    "month",
    "year",
    "roof",
    "tiles",
    "man",
    "ground",
    "physics",
]


def make_task(count: int, subjects: int = 2) -> Task:
    generator = np.random.default_rng(0)

    def item(number: int, place: str) -> Question:
        words = generator.choice(WORDS, 6, replace=False).tolist()
        subject = f"s{number % subjects}"
        question = f"Which of these goes with {words[0]} and {words[1]}?"
        return Question(f"{place}/{number}", question, tuple(words[2:6]), number % 4, subject=subject)

    items = tuple(item(number, "t") for number in range(count))
    demos = tuple(item(number, "d") for number in range(3 * subjects))
    return Task(
        name="tiny",
        title="t",
        paper="",
        licence="",
        source="",
        revision="1",
        kind="custom",
        options="4",
        scoring="cloze-sum",
        load=lambda: items,
        cloze="Question: {question}\nAnswer:",
        demonstrations=lambda: demos,
    )


def checkpoint(folder: Path, dtype: str) -> Checkpoint:
    return load(resolve_model(str(folder)), dtype=dtype)


def rows(cell: Cell) -> list[NDArray[np.float32]]:
    return [values[:count] for values, count in zip(cell.scores, cell.n_options, strict=True)]


@pytest.fixture(scope="module")
def sheet() -> Sheet:
    return make_sheet(make_task(30))


@pytest.mark.parametrize("shape", ["llama", "gemma3", "mistral"])
@pytest.mark.parametrize("scoring", ["letter", "cloze-sum"])
def test_worked_examples_are_forwarded_once_for_each_subject(
    tiny_models: dict[str, Path], shape: str, scoring: str
) -> None:
    model = checkpoint(tiny_models[shape], "float32")
    sheet = make_sheet(make_task(24), scoring=scoring, shots=3)
    tree, plain = (score(NetworkScorer(model, way=backend), sheet) for backend in ("tree", "plain"))
    np.testing.assert_allclose(tree.scores, plain.scores, atol=2e-4)
    assert tree.run["tokens"] < 0.5 * plain.run["tokens"] / (4 if scoring == "cloze-sum" else 1)


@st.composite
def encoded_items(draw: st.DrawFn) -> list[Encoded]:
    starts = [list(range(size)) for size in (0, 20, 40, 90)]
    drawn = draw(
        st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1, max_size=9)), min_size=1)
    )
    return [Encoded((*starts[start], *tail), ((5, 6), (7,)), (0, 0)) for start, tail in drawn]


@settings(max_examples=200)
@given(items=encoded_items(), repeat=st.integers(1, 30))
def test_shared_starts_are_shared_and_leave_every_item_a_context_of_its_own(items: list[Encoded], repeat: int) -> None:
    items = items * repeat
    groups = shared_starts(items)
    assert sorted(index for _, members in groups for index in members) == list(range(len(items)))
    for shared, members in groups:
        prefixes = [items[index].prefix for index in members]
        assert all(prefix[: len(shared)] == shared and len(prefix) > len(shared) for prefix in prefixes)
        if shared:
            # no longer start would do: someone has only one token left, or two differ at the next
            assert min(map(len, prefixes)) == len(shared) + 1 or len({prefix[len(shared)] for prefix in prefixes}) > 1
    planned = plan_batches(items, backend="tree", budget=200)
    assert sorted(index for batch in planned for index in batch.items) == list(range(len(items)))


def test_drift_is_the_difference_to_the_same_weights_in_float32(tiny_models: dict[str, Path], sheet: Sheet) -> None:
    narrow = checkpoint(tiny_models["llama"], "bfloat16")
    wide = checkpoint(tiny_models["llama"], "bfloat16")
    wide.network.float()
    cell = score(NetworkScorer(narrow), sheet)
    full = score(NetworkScorer(Checkpoint(wide.network, wide.tokenizer, wide.bos, "float32", wide.info)), sheet)
    assert full.run["drift"] is None
    everything = compare([r.astype(float) for r in rows(cell)], [r.astype(float) for r in rows(full)])
    assert cell.run["drift"]["items"] == 8
    assert 0 < cell.run["drift"]["largest"] <= everything.largest + 1e-5
    assert cell.run["drift"]["changed_answers"] <= everything.changed_answers


def test_widening_restores_every_weight_and_computes_in_float32(tiny_models: dict[str, Path]) -> None:
    network = checkpoint(tiny_models["gemma3"], "bfloat16").network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wide = checkpoint(tiny_models["gemma3"], "bfloat16").network.float()
    item = Encoded((3, 4, 5, 6), ((7, 8), (9, 10)), (0, 0))
    with in_float32(network):
        inside = engine.log_likelihoods(network, [item], backend="tree")[0]
    np.testing.assert_allclose(inside, engine.log_likelihoods(wide, [item], backend="tree")[0], atol=1e-5)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == torch.bfloat16 for name in before)
    outside = engine.log_likelihoods(network, [item], backend="tree")[0]
    assert np.abs(outside - inside).max() > 1e-5


def test_compare_by_hand() -> None:
    drift = compare([np.array([1.0, 2.0]), np.array([0.0, -1.0])], [np.array([1.5, 1.0]), np.array([0.0, -1.25])])
    assert (drift.items, drift.largest, drift.changed_answers) == (2, 1.0, 1)
    assert drift.mean == pytest.approx((0.5 + 1 + 0 + 0.25) / 4)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("can't allocate memory: 9")])
def test_a_batch_that_memory_does_not_hold_is_halved(
    tiny_models: dict[str, Path], sheet: Sheet, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model = checkpoint(tiny_models["llama"], "float32")
    whole = score(NetworkScorer(model), sheet)
    read, sizes = engine.log_likelihoods, []

    def limited(network: Any, items: Any, **options: Any) -> Any:
        sizes.append(len(items))
        if len(items) > 3:
            raise error
        return read(network, items, **options)

    monkeypatch.setattr(engine, "log_likelihoods", limited)
    halved = score(NetworkScorer(model), sheet)
    np.testing.assert_allclose(halved.scores, whole.scores, atol=1e-4)
    assert max(sizes) > 3

    def never(network: Any, items: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(engine, "log_likelihoods", never)
    with pytest.raises(CellFailure, match="out of memory on a single item"):
        score(NetworkScorer(model), sheet)


def test_another_error_is_not_taken_for_lack_of_memory(
    tiny_models: dict[str, Path], sheet: Sheet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(engine, "log_likelihoods", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        score(NetworkScorer(checkpoint(tiny_models["llama"], "float32")), sheet)


def test_the_budget_is_one_of_the_measured_sizes(tiny_models: dict[str, Path]) -> None:
    assert measure_budget(checkpoint(tiny_models["llama"], "float32").network, repeats=1) in CPU_BUDGETS


@pytest.mark.parametrize(("speeds", "expected"), [((1, 1.05, 9), 512), ((1, 1.2, 1.3), 1024), ((1, 1.2, 1.4), 2048)])
def test_a_larger_batch_is_taken_while_it_brings_a_tenth_more_speed(
    speeds: tuple[float, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded: list[int] = []

    def seconds(_: object, tokens: Any) -> float:
        forwarded.append(tokens.numel())
        return float(tokens.numel() / speeds[CPU_BUDGETS.index(tokens.numel())])

    monkeypatch.setattr(budget, "_seconds", seconds)
    network = torch.nn.Embedding(8, 2)
    network.get_input_embeddings = lambda: network  # type: ignore[method-assign, assignment]
    assert measure_budget(network) == expected
    assert forwarded[:3] == [512] * 3
    assert len(set(forwarded[3:])) == len(forwarded) - 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma3", "mistral"])
def test_an_accelerator_gives_the_processors_numbers(tiny_models: dict[str, Path], sheet: Sheet, shape: str) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    folder = str(tiny_models[shape])
    there = score(NetworkScorer(load(resolve_model(folder), dtype="float32", device="cuda")), sheet)
    here = score(NetworkScorer(checkpoint(tiny_models[shape], "float32")), sheet)
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-3)


@pytest.mark.parametrize("backend", ["tree", "plain"])
@pytest.mark.parametrize("shape", ["llama", "gemma3"])
def test_a_model_spread_over_devices_scores_as_in_one_place(
    tiny_models: dict[str, Path], shape: str, backend: str
) -> None:
    """accelerate moves activations from part to part by hooks, as it does between accelerators."""
    sheet = make_sheet(make_task(6))
    whole = load(resolve_model(str(tiny_models[shape])), dtype="float32")
    parts = load(resolve_model(str(tiny_models[shape])), dtype="float32")
    layers = {f"model.layers.{index}": "cpu" for index in range(parts.network.config.num_hidden_layers)}
    rest = {f"model.{name}": "cpu" for name, _ in parts.network.model.named_children() if name != "layers"}
    accelerate.dispatch_model(parts.network, {**layers, **rest, "lm_head": "cpu"}, main_device="cpu", force_hooks=True)
    assert hasattr(parts.network.model.layers[1], "_hf_hook")
    expected = score(NetworkScorer(whole, way=backend, drift=False), sheet)
    spread = score(NetworkScorer(parts, way=backend, drift=False), sheet)
    np.testing.assert_allclose(spread.scores, expected.scores, atol=1e-5)
