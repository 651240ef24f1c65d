"""Several seeds of the sample text: names, recipes, keys, files; and what such variants are kept out of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support.highlights import highlights
from support.synthetic_cells import cell_of, synthetic_cells
from support.synthetic_snapshot import PROTOCOL, publish, write_run

from suite import measure
from suite.cell import Cell, cell_file, load_cells, read_cell, write_cell
from suite.cli import main
from suite.compress import apply, check_supported, recipe_of
from suite.compress.ready_made import variant_of
from suite.config import Protocol, RunConfig, TaskChoice, parse_config
from suite.decisions.analyses import judge_measured
from suite.errors import SuiteError
from suite.metrics.rows import measure_cells
from suite.metrics.slices import compute_slices
from suite.models.checkpoint import load
from suite.models.model import resolve_model
from suite.publish.verify import verify
from suite.run.pipeline import execute
from suite.run.plan import plan
from suite.run.prepare import sample_recipes, sample_tokens
from suite.sample_text import SampleText, Sampling, order_of
from suite.sample_text import recipe as text_recipe
from suite.variant import parse_variant
from suite.verdicts.curves import JOINT_KEYS
from suite.verdicts.given import Given, planned_families

NAMES = ("gptq-w4@seed1", "wanda-s50@seed2", "wanda-2:4@seed0", "rtn-w8kv8@seed3", "sparsegpt-s50+gptq-w4@seed1")


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_changes_nothing_else_of_a_variant(name: str) -> None:
    variant = parse_variant(name)
    plain = parse_variant(name.partition("@")[0])
    assert variant.sample_seed == int(name[-1])
    assert variant.recipe_name == plain.name == plain.recipe_name
    assert replace(variant, name=plain.name, sample_seed=None) == plain
    assert cell_file(name) == name.replace(":", "of") + ".parquet"
    check_supported(variant)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gptq-w4@seed", "expected <variant>@seed<number>, the seed last, such as gptq-w4@seed1"),
        ("gptq-w4@seed01", "expected <variant>@seed<number>"),
        ("gptq-w4@seed-1", "expected <variant>@seed<number>"),
        ("gptq-w4@1", "expected <variant>@seed<number>"),
        ("gptq-w4@seed1@seed2", "expected <variant>@seed<number>"),
        ("gptq-w4@seed٣", "expected <variant>@seed<number>"),
        ("sparsegpt-s50@seed1+gptq-w4", "expected <variant>@seed<number>, the seed last"),
        ("gptq-w7@seed1", "7 weight bits out of range"),
        ("@seed1", "unknown compression method ''"),
        ("dense@seed1", "dense reads no sample text"),
    ],
)
def test_names_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        parse_variant(name)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["rtn-w4@seed1", "magnitude-s50@seed1", "magnitude-s50+rtn-w4@seed1"])
def test_a_method_that_reads_no_text_takes_no_seed(name: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"reads no sample text: a seed changes nothing; leave '@seed1' out") as caught:
        check_supported(parse_variant(name))
    assert str(caught.value).startswith(f"variant {name!r}: ")
    (tmp_path / "model.gguf").touch()
    with pytest.raises(SuiteError, match=r"leave '@seed1' out"):
        variant_of(resolve_model(str(tmp_path / "model.gguf")), name)


def test_recipes_of_variants_without_a_seed_are_what_they_were() -> None:
    """Committed cells are found by keys that hold this text: another word in it would score all of them again."""
    sample = text_recipe(SampleText("squad+drop", ("one", "two")), Sampling())
    assert recipe_of(parse_variant("gptq-w4"), sample) == (
        "rtn's grid; GPTQ of llm-compressor, blocks of 128 columns, static activation order, dampening 0.01; "
        "sample text squad+drop@sha256:a0ef70c43442, 32 x 512 tokens, seed 0"
    )


def test_the_recipe_holds_the_seed(text: Path) -> None:
    sampling = Sampling(str(text), 4, 32, 7)
    variants = [parse_variant(name) for name in ("gptq-w4", "gptq-w4@seed7", "gptq-w4@seed0", "rtn-w4")]
    recipes = sample_recipes(sampling, variants)
    assert [recipe.rpartition(", ")[2] for recipe in recipes.values()] == ["seed 7", "seed 7", "seed 0", ""]
    assert recipes["gptq-w4"] == sample_recipes(sampling, variants[:1])["gptq-w4"]


@pytest.fixture
def config(
    tiny_models: dict[str, Path],
    quiz: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> RunConfig:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    raw = {
        "models": [str(tiny_models["llama"])],
        "tasks": [{"name": str(quiz)}],
        "variants": ["dense", "depth-s35", "depth-s35@seed0", "depth-s35@seed5"],
        "sample_text": {"source": str(text), "samples": 2, "length": 16},
        "dtype": "float32",
        "device": "cpu",
        "protocol": {"splits": 2, "replicates": 20},
    }
    return parse_config(yaml.safe_load(yaml.safe_dump(raw)), "test.yaml")


def test_tokens_are_drawn_with_the_variant_s_seed(config: RunConfig, text: Path) -> None:
    checkpoint = load(resolve_model(config.models[0]), dtype="float32")
    drawn = {
        name: sample_tokens(checkpoint, config.sample_text, parse_variant(name))
        for name in ("gptq-w4", "gptq-w4@seed0", "gptq-w4@seed5")
    }
    ids = {name: tokens.ids for name, tokens in drawn.items() if tokens is not None}
    np.testing.assert_array_equal(ids["gptq-w4"], ids["gptq-w4@seed0"])
    passages = tuple(part for part in text.read_text().split("\n\n"))
    first = passages[order_of(passages, 5)[0]]
    assert checkpoint.tokenizer.decode(ids["gptq-w4@seed5"][0])[:20] == first[:20]


def test_a_seed_gives_the_weights_of_the_same_seed_without_a_suffix(config: RunConfig) -> None:
    pytest.importorskip("llmcompressor", reason="llm-compressor is not installed")
    found = {}
    for name in ("gptq-w4", "gptq-w4@seed0", "gptq-w4@seed5"):
        checkpoint = load(resolve_model(config.models[0]), dtype="float32")
        variant = parse_variant(name)
        info = apply(checkpoint.network, variant, sample_tokens(checkpoint, config.sample_text, variant))
        assert (info.name, info.method, info.recipe[-6:]) == (name, "gptq", "seed 5" if name[-1] == "5" else "seed 0")
        found[name] = checkpoint.network.state_dict()
    same, other = (
        {k: torch.equal(v, found["gptq-w4"][k]) for k, v in found[f"gptq-w4@seed{n}"].items()} for n in (0, 5)
    )
    assert all(same.values())
    assert not all(other.values())


def test_a_run_scores_seeds_beside_each_other(config: RunConfig, tmp_path: Path) -> None:
    before = {cell.variant.name: cell.key for cell in plan(config, tmp_path, dtype="float32", device="cpu")}
    other = replace(config, sample_text=replace(config.sample_text, seed=1))
    after = {cell.variant.name: cell.key for cell in plan(other, tmp_path, dtype="float32", device="cpu")}
    assert {name for name in before if before[name] != after[name]} == {"depth-s35"}, "a name with a seed keeps its own"
    result = execute(config, tmp_path / "run", log=lambda line: None)
    assert (result.scored, result.failures) == (4, [])
    cells = {str(cell.variant["name"]): cell for cell in load_cells([tmp_path / "run"])}
    assert {name: cell.variant["recipe"][-6:] for name, cell in cells.items() if name != "dense"} == {
        "depth-s35": "seed 0", "depth-s35@seed0": "seed 0", "depth-s35@seed5": "seed 5",
    }  # fmt: skip
    np.testing.assert_array_equal(cells["depth-s35"].scores, cells["depth-s35@seed0"].scores)
    files = {file.name for file in (tmp_path / "run" / "cells").rglob("*.parquet")}
    assert files == {f"{name}.parquet" for name in cells}
    assert {cell.key.path(tmp_path / "run").name for cell in cells.values()} == files
    # seed 0 of the one is seed 0 of the other: two seeds, not three
    assert main(["metrics", str(tmp_path / "run"), "--seeds", "--json"]) == 0


def test_the_command_line_takes_a_seed_in_the_name(config: RunConfig, text: Path, tmp_path: Path) -> None:
    common = ["--model", config.models[0], "--sample-text", text, "--samples", 2, "--sample-length", 16]
    common += ["--dtype", "float32", "--device", "cpu"]
    args = ["score", *common, "--variant", "depth-s35@seed5", "--task", config.tasks[0].name, "--seed", 3]
    assert main([str(part) for part in [*args, "--out", tmp_path / "c.parquet"]]) == 0
    cell = read_cell(tmp_path / "c.parquet")
    assert (cell.run["seed"], cell.variant["recipe"][-6:]) == (5, "seed 5")
    made = tmp_path / "made"
    assert main([str(part) for part in ["compress", *common, "--variant", "depth-s35@seed5", "--out", made]]) == 0
    assert variant_of(resolve_model(str(made))).sample_seed == 5
    assert json.loads((made / "suite.json").read_text())["variant"]["recipe"].endswith("seed 5")


# --- what repetitions are kept out of


LEVELS = ("dense", "gptq-w8", "gptq-w4", "gptq-w3", "gptq-w2")
REPEATS = ("gptq-w3@seed1", "gptq-w3@seed2", "wanda-s50@seed1", "dense@repeat", "dense@bfloat16")


def with_repeats(tasks: dict[str, int], n: int = 60) -> list[Cell]:
    """Cells with repetitions far worse than what they repeat: whatever counts them shows it."""
    cells = synthetic_cells(variants=LEVELS, tasks=tasks, n=n)
    for task, options in tasks.items():
        for index, name in enumerate(REPEATS):
            random = np.random.default_rng(index)
            dense = next(cell for cell in cells if cell.task["name"] == task and cell.variant["name"] == "dense")
            scores = random.normal(size=(n, options)) * 9
            cells.append(cell_of("tiny-135m", name, task, scores, dense.answers))
    return cells


def test_repetitions_are_rows_and_neither_ranked_nor_judged(tmp_path: Path) -> None:
    tasks = {"sciq": 4, "arc-easy": 4}
    cells = with_repeats(tasks)
    without = [cell for cell in cells if cell.variant["name"] not in REPEATS]
    pages = {}
    for name, chosen in (("with", cells), ("without", without)):
        folder = publish(write_run(tmp_path / name / "run", chosen, protocol=PROTOCOL), tmp_path / name / "snapshot")
        assert verify(folder).problems == []
        pages[name] = folder
    rows = (pages["with"] / "rows.csv").read_text()
    assert all(f",{name}," in rows for name in REPEATS)
    for file in ("ranking.csv", "equal-megabytes.csv", "verdicts.json", "decoupling.json", "scale.json"):
        both = [(pages[name] / file).read_text() for name in ("with", "without")]
        assert both[0] == both[1], file
        assert "@" not in both[0]
    pictures = [{f.name: f.read_bytes() for f in (pages[name] / "figures").iterdir()} for name in ("with", "without")]
    for drawn in pictures:
        del drawn["strips.png"]  # of doses, see below
    assert pictures[0] == pictures[1]
    board, page = ((pages["with"] / file).read_text() for file in ("LEADERBOARD.md", "index.html"))
    assert "another seed of sample text: 6" in board
    assert "dense computed otherwise: 4" in board
    for content in (board, page):
        assert content.count("Seeds of the sample text") == 1
        assert "gptq-w3@seed1" in content
    # wanda has one seed and no other: there is nothing to spread
    section = board.partition("## Seeds of the sample text")[2].partition("\n## ")[0]
    assert section.count("`gptq-w3`") == 2
    assert "wanda" not in section
    assert "Seeds of the sample text" not in (pages["without"] / "LEADERBOARD.md").read_text()
    assert "Seeds of the sample text" not in (pages["without"] / "index.html").read_text()


def test_a_changed_figure_of_the_seeds_section_is_found(tmp_path: Path) -> None:
    cells = with_repeats({"sciq": 4}, n=40)
    folder = publish(write_run(tmp_path / "run", cells, protocol=PROTOCOL), tmp_path / "snapshot")
    board = folder / "LEADERBOARD.md"
    lines = board.read_text().splitlines()
    (index,) = (i for i, line in enumerate(lines) if "| `gptq-w3` | not recorded, 1, 2 |" in line)
    lines[index] = lines[index].replace("not recorded, 1, 2 |", "not recorded, 1, 3 |")
    board.write_text("\n".join(lines) + "\n")
    assert [problem.partition(":")[0] for problem in verify(folder).problems] == ["LEADERBOARD.md"]


def test_sentences_and_verdicts_do_not_count_repetitions() -> None:
    cells = with_repeats({"sciq": 4, "arc-easy": 4})
    without = [cell for cell in cells if cell.variant["name"] not in REPEATS]
    both = [measure(chosen, splits=4, replicates=30) for chosen in (cells, without)]
    assert highlights(both[0]) == highlights(both[1])
    settings = Protocol("exact", 0.1, splits=4, replicates=30)
    found = [
        judge_measured(Given(measure_cells(chosen, settings, keep=JOINT_KEYS), settings)).files()
        for chosen in (cells, without)
    ]
    doses = [one.pop("doses.json") for one in found]
    assert found[0] == found[1]
    # doses do read them: dense computed otherwise is the noise that a loss must exceed, seeds say what a recipe does
    assert [len([one for one in dose if one["scope"] == "checkpoint"]) for dose in doses] == [len(doses[1])] * 2


def test_parts_of_repetitions_are_a_family_of_their_own() -> None:
    cells = with_repeats({"sciq": 4}, n=80)
    without = [cell for cell in cells if cell.variant["name"] not in REPEATS]
    both = [compute_slices(chosen, Protocol(splits=2, replicates=30), smallest=5) for chosen in (cells, without)]
    assert [row for row in both[0] if row["variant"] not in REPEATS] == both[1]
    tested = {row["variant"] for row in both[0] if row["accuracy_change_p"] is not None}
    assert {"gptq-w3", *REPEATS} <= tested


def test_a_plan_counts_a_recipe_once() -> None:
    def planned(*variants: str) -> int:
        return planned_families(RunConfig(("m",), (TaskChoice("a"), TaskChoice("b")), ("dense", *variants)))

    gptq = ("gptq-w4", "gptq-w3", "gptq-w2")
    assert planned(*gptq) == planned(*gptq, "gptq-w3@seed1", "wanda-s50@seed1") == 3
    assert planned(*gptq[:2], "gptq-w3@seed1") == 0, "three levels with dense are judged by no test"
    assert planned(*gptq, "dense@repeat", "dense@bfloat16") == 3


def test_an_imported_repetition_is_one_too(tmp_path: Path) -> None:
    source = tmp_path / "scores.jsonl"
    source.write_text("\n".join(json.dumps({"id": str(i), "logits": [0.1 * i, 1.0], "answer": 0}) for i in range(5)))
    args = ["import", "jsonl", source, "--model", "m", "--variant", "gptq-w3@seed1", "--task", "t", "--out", tmp_path]
    assert main([str(part) for part in args]) == 0
    assert [file.name for file in tmp_path.rglob("*.parquet") if "cells" in file.parts] == ["gptq-w3@seed1.parquet"]
    write_cell(tmp_path / "copy.parquet", load_cells([tmp_path])[0])
