"""What a run will take: committed configurations are valid, and the arithmetic is that of the stated formulas."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from support import zoo
from support.six_options import FILES as FIVE_FILES
from support.six_options import record
from support.six_options import write as write_five

from suite.config import ReadyMade, RunConfig, TaskChoice, read_config
from suite.errors import SuiteError
from suite.methods import METHODS
from suite.run.estimate import estimate, measured_gflops, smallest_changes
from suite.run.plan import plan
from suite.score.sheet import make_sheet
from suite.tasks import TASKS, get_task, ye2024
from suite.variant import parse_variant

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

QUIZ = "\n".join(
    f'{{"id": "q{i}", "question": "What is {i}?", "choices": ["one", "two"], "answer_index": 0}}' for i in range(20)
)


@pytest.fixture
def quiz(tmp_path: Path) -> str:
    (tmp_path / "quiz.jsonl").write_text(QUIZ)
    return str(tmp_path / "quiz.jsonl")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_committed_configurations_can_be_estimated(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    monkeypatch.setattr(ye2024, "PUBLISHED", {})
    for name, source, _ in FIVE_FILES.values():
        write_five(tmp_path, name, [record(row, source) for row in range(24)])
    config = read_config(file)
    assert config.variants[0] == "dense"
    methods = {parse_variant(name).method for name in config.variants} - {"dense"}
    absent = sorted(methods - set(METHODS)) + sorted({task.name for task in config.tasks} - set(TASKS))
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")
    found = estimate(config)
    assert len(found.cells) == config.cell_count
    assert all(cell.gigabytes for cell in found.cells)
    assert any("smallest change" in line for line in found.summary(100.0))


def test_the_paper_s_models_and_tasks_are_the_twelve_and_the_five() -> None:
    config = read_config(ROOT / "configs" / "paper.yaml")
    assert len(config.models) == 12
    assert len(config.tasks) == 5
    assert {name.partition("/")[0] for name in config.models} == {"meta-llama", "Qwen", "google"}


def test_hub_models_are_sized_by_name_and_not_fetched(quiz: str) -> None:
    config = RunConfig(
        ("org/Llama-3.1-70B", "org/Qwen2.5-1.5B-Instruct@main", "org/tiny-135m", "org/nameless"),
        (TaskChoice(quiz),),
        ("dense", "rtn-w4"),
        dtype="bfloat16",
    )
    found = estimate(config)
    sizes = {cell.label.partition("/")[0]: cell.gigabytes for cell in found.cells}
    assert sizes == {
        "Llama-3.1-70B": pytest.approx(70e9 * 2 * 1.25 / 1e9),
        "Qwen2.5-1.5B-Instruct": pytest.approx(1.5e9 * 2 * 1.25 / 1e9),
        "tiny-135m": pytest.approx(0.135e9 * 2 * 1.25 / 1e9),
        "nameless": None,
    }
    assert len(found.cells) == 8
    assert "? GB" in found.lines()[-1]
    assert any("nameless" in remark for remark in found.remarks)
    # tokens: characters over four, an option's last one is read and not fed; hours: 2 P T over half the measured speed
    assert found.cells[0].tokens == sum(math.ceil(len(f"Question: What is {i}?\nAnswer:") / 4) for i in range(20))
    flops = sum(2 * p * found.cells[0].tokens * 2 for p in (70e9, 1.5e9, 0.135e9))
    hours = flops / (1000e9 * 0.5) / 3600
    assert f"about {hours:.2g} hours" in "\n".join(found.summary(1000.0))


def test_a_gguf_file_that_is_not_there_yet_is_sized_by_its_name_and_remarked(quiz: str) -> None:
    found = estimate(RunConfig(("models/big-70b-q4.gguf",), (TaskChoice(quiz),), ("dense",), dtype="bfloat16"))
    (cell,) = found.cells
    assert cell.label.startswith("big-70b-q4/")
    assert cell.gigabytes == pytest.approx(70e9 * 2 * 1.25 / 1e9)
    assert any("models/big-70b-q4.gguf: no such file" in remark for remark in found.remarks)


def test_a_checkpoint_is_counted(tiny_models: dict[str, Path], quiz: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_models["llama"]
    params = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())
    (cell,) = estimate(RunConfig((str(folder),), (TaskChoice(quiz),), ("dense",), dtype="float32")).cells
    assert cell.gigabytes == pytest.approx(params * 4 * 1.25 / 1e9)


def test_embedding_is_a_lookup_and_the_head_counts_where_a_token_is_read(
    tiny_models: dict[str, Path], quiz: str
) -> None:
    from transformers import AutoModelForCausalLM

    for shape in ("llama", "qwen2"):  # two tables; one that serves as both
        network = AutoModelForCausalLM.from_pretrained(tiny_models[shape])
        table = network.get_input_embeddings().weight.numel()
        body = sum(p.numel() for p in network.model.parameters()) - table
        asked = (TaskChoice(quiz, scoring="letter"), TaskChoice(quiz, scoring="cloze-sum"))
        letter, cloze = estimate(RunConfig((str(tiny_models[shape]),), asked, ("dense",), dtype="float32")).cells
        assert letter.tokens is not None
        assert letter.flops == 2 * (body * letter.tokens + table * 20)
        # " one" is one token of four characters, " two" another: 40 are read, and none is forwarded
        assert cloze.tokens is not None
        assert cloze.flops == 2 * (body * cloze.tokens + table * 40)
        assert cloze.tokens == sum(math.ceil(len(f"Question: What is {i}?\nAnswer:") / 4) for i in range(20))


@pytest.mark.parametrize("shape", ["mamba", "qwen3_next", "lfm2"])
def test_layers_that_are_no_attention_take_the_context_once_an_option(shape: str, tmp_path: Path, quiz: str) -> None:
    asked = (TaskChoice(quiz, scoring="letter"), TaskChoice(quiz, scoring="cloze-sum"))
    known, unknown = (
        estimate(RunConfig((name,), asked, ("dense",))) for name in (str(zoo.folder(shape, tmp_path / "m")), "org/a-1b")
    )
    for ours, theirs, times in zip(known.cells, unknown.cells, (1, 2), strict=True):
        assert ours.tokens == times * (theirs.tokens or 0)
    assert any("its own copy of the context" in remark for remark in known.remarks)
    assert not any("of the context, which is found by trying" in line for line in known.summary(100.0))
    # letters are read behind one context, the two options behind two
    letters, cloze = (cell.tokens or 0 for cell in unknown.cells)
    times = (letters + 2 * cloze) / (letters + cloze)
    said = "\n".join(unknown.summary(None))
    assert f"up to {times:.2g} times these tokens and hours where an architecture gives every option" in said


def write_gguf(path: Path, shapes: dict[str, tuple[int, int]]) -> Path:
    """A GGUF file of 8-bit blocks and nothing that a loader would need besides."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, shape in shapes.items():
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(np.ones(shape, dtype=np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_file_is_counted_whatever_its_name_says(tmp_path: Path, quiz: str, tied: bool) -> None:
    shapes = {"token_embd.weight": (96, 64), "blk.0.ffn_up.weight": (128, 64), "blk.0.attn_output.weight": (64, 64)}
    file = write_gguf(tmp_path / "big-70b.gguf", shapes | ({} if tied else {"output.weight": (96, 64)}))
    (cell,) = estimate(RunConfig((str(file),), (TaskChoice(quiz, scoring="letter"),), ("dense",))).cells
    body, table = 128 * 64 + 64 * 64, 96 * 64
    assert cell.gigabytes == pytest.approx((body + table * (1 if tied else 2)) * 2 * 1.25 / 1e9)
    assert cell.tokens is not None
    assert cell.flops == 2 * (body * cell.tokens + table * 20)


def test_a_damaged_gguf_file_is_one_line(tmp_path: Path, quiz: str) -> None:
    file = write_gguf(tmp_path / "tiny-1b.gguf", {"token_embd.weight": (96, 64)})
    whole = file.read_bytes()
    for kept in (b"", b"GGUF", whole[:40], whole[: len(whole) // 2], b"x" * 500):
        file.write_bytes(kept)
        with pytest.raises(SuiteError, match=r"tiny-1b\.gguf: truncated or damaged \(.+\); fetch it again") as caught:
            estimate(RunConfig((str(file),), (TaskChoice(quiz),), ("dense",)))
        assert "\n" not in str(caught.value)


def test_worked_examples_that_texts_share_count_once(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(300)]
    lines = []
    for row in range(120):
        question = " ".join(words[(row * 7 + k * 13) % 300] for k in range(20))
        lines.append(json.dumps({"id": row, "question": question, "choices": ["one", "two"], "answer_index": 0}))
    file = tmp_path / "long.jsonl"
    file.write_text("\n".join(lines))
    task = get_task(str(file))
    contexts = [text.context for text in make_sheet(task, shots=5).rendered]
    shared = next(place for place, seen in enumerate(zip(*contexts, strict=False)) if len(set(seen)) > 1)
    assert shared > 600
    alone = sum(len(context) - shared for context in contexts)
    (cell,) = estimate(RunConfig(("org/a-1b",), (TaskChoice(str(file), shots=5),), ("dense",))).cells
    assert cell.tokens == pytest.approx((shared + alone) / 4, rel=0.05)
    assert sum(map(len, contexts)) / 4 > 3 * cell.tokens


def test_tasks_whose_data_is_not_here_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiz: str) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    found = estimate(read_config(ROOT / "configs" / "paper.yaml"))
    assert len(found.cells) == 12 * len(read_config(ROOT / "configs" / "paper.yaml").variants) * 5
    assert all((cell.tokens, cell.flops) == (None, None) and cell.gigabytes for cell in found.cells)
    assert {cell.items for cell in found.cells} == {9995, 9997, 9999}
    assert sum("mmlu_10k.json" in remark for remark in found.remarks) == 1
    summary = found.summary(100.0)
    assert summary[1].startswith("tokens unknown, at most 180.0 GB")
    assert not any("hours" in line for line in summary)
    both = RunConfig(("org/a-1b",), (TaskChoice("ye2024-qa", limit=50), TaskChoice(quiz)), ("dense",))
    known = estimate(both)
    assert [cell.items for cell in known.cells] == [50, 20]
    assert " tokens in the 1 cells that can be counted" in known.summary(100.0)[1]
    assert " of scoring here in the 1 cells that can be counted" in known.summary(100.0)[2]
    wrong = RunConfig(("org/a-1b",), (TaskChoice("ye2024-qa", prompt="nonesuch"),), ("dense",))
    with pytest.raises(SuiteError, match="nonesuch"):
        estimate(wrong)


def test_the_smallest_change_is_found_in_80_of_100_runs() -> None:
    n, random = 400, np.random.default_rng(0)
    accuracy, size = smallest_changes(n, 4)
    # flips: 20 % of items, those to wrong more frequent by the change
    wrong, right = (0.2 + accuracy) / 2, (0.2 - accuracy) / 2
    draws = random.choice([-1, 1, 0], size=(2000, n), p=[wrong, right, 1 - wrong - right])
    z = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(n))
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.06)
    draws = random.normal(size, 2.0, size=(2000, n))
    z = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(n))
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.06)


def test_fewer_options_leave_smaller_changes_to_be_seen(tmp_path: Path) -> None:
    """Spread at two options a third of that at four, as paired changes on such tasks have it."""
    for options in (2, 4):
        item = {"question": "Which?", "choices": list("abcd"[:options]), "answer_index": 0}
        lines = [json.dumps(item | {"id": row}) for row in range(100)]
        (tmp_path / f"of{options}.jsonl").write_text("\n".join(lines))
    tasks = tuple(TaskChoice(str(tmp_path / f"of{options}.jsonl")) for options in (2, 4))
    two, four, average = estimate(RunConfig(("org/a-1b",), tasks, ("dense",))).detectable
    assert (two[0], four[0], average[1]) == ("of2", "of4", 200)
    assert two[2] == four[2]
    assert two[3] == pytest.approx(four[3] / 3)
    assert four[3] == pytest.approx(0.56, abs=0.01)
    assert average[3] == pytest.approx(math.hypot(two[3], four[3]) / 2)


def test_only_and_the_speed(quiz: str) -> None:
    config = RunConfig(("org/a-1b", "org/b-2b"), (TaskChoice(quiz),), ("dense", "rtn-w4"))
    assert [cell.label for cell in estimate(config, only="a-1b").cells] == ["a-1b/quiz/dense", "a-1b/quiz/rtn-w4"]
    with pytest.raises(SuiteError, match="matches no cell"):
        estimate(config, only="x")
    speeds = {"float32": 10.0, "bfloat16": 30.0}
    assert measured_gflops("auto", speeds) == 30.0
    assert measured_gflops("float32", speeds) == 10.0
    assert measured_gflops("float16", speeds) is None


class TestReadyMade:
    """Checkpoints that somebody else has compressed are cells like others."""

    def test_the_dry_run_lists_what_the_run_plans(
        self, tiny_models: dict[str, Path], quiz: str, tmp_path: Path
    ) -> None:
        llama, qwen = str(tiny_models["llama"]), str(tiny_models["qwen2"])
        config = RunConfig(
            (llama, qwen),
            (TaskChoice(quiz), TaskChoice(quiz, prompt="plain")),
            ("dense", "rtn-w4"),
            dtype="float32",
            ready_made=(
                ReadyMade(llama, llama, "wanda-s50"),
                ReadyMade(qwen, qwen, "magnitude-s30"),
                ReadyMade(llama, llama, "awq-w4-g64"),
            ),
        )
        for only in (None, "wanda-s50", f"{Path(llama).name}/*", "*/awq-*"):
            planned = plan(config, tmp_path, dtype="float32", device="cpu", only=only)
            found = estimate(config, only=only)
            assert [cell.label for cell in found.cells] == [cell.label for cell in planned]
            assert all(cell.tokens and cell.gigabytes and cell.flops for cell in found.cells)
        assert len(estimate(config).cells) == config.cell_count == 14
        assert estimate(config).to_fetch == {}
        by_variant = {cell.label: cell.gigabytes for cell in estimate(config).cells}
        name = Path(llama).name
        assert by_variant[f"{name}/quiz/wanda-s50"] == by_variant[f"{name}/quiz/dense"]

    def test_hours_and_items_count_them(self, quiz: str) -> None:
        plain = RunConfig(("org/a-1b",), (TaskChoice(quiz),), ("dense",))
        config = replace(plain, ready_made=(ReadyMade("org/a-1b-gptq", "org/a-1b", "gptq-w4-g128"),))
        one, two = estimate(plain), estimate(config)
        assert [cell.label for cell in two.cells] == ["a-1b/quiz/dense", "a-1b/quiz/gptq-w4-g128"]
        assert sum(cell.flops or 0 for cell in two.cells) == 2 * sum(cell.flops or 0 for cell in one.cells)
        assert two.summary(1e-3)[0] == "2 cells, 40 items"

    def test_a_checkpoint_that_is_not_here_stands_under_its_own_name(self, quiz: str) -> None:
        config = RunConfig(
            ("org/a-1b",), (TaskChoice(quiz),), ("dense",), ready_made=(ReadyMade("other/A-1B-AWQ@v1", "org/a-1b"),)
        )
        found = estimate(config)
        assert [cell.label for cell in found.cells] == ["a-1b/quiz/dense", "a-1b/quiz/A-1B-AWQ"]
        assert any("other/A-1B-AWQ@v1: is not here yet" in remark for remark in found.remarks)

    def test_what_is_fetched_takes_disk(self, quiz: str, tiny_models: dict[str, Path]) -> None:
        config = RunConfig(
            ("org/a-1b", "org/nameless", str(tiny_models["llama"])),
            (TaskChoice(quiz),),
            ("dense",),
            ready_made=(ReadyMade("org/a-gptq", "org/a-1b", "gptq-w4"),),
        )
        found = estimate(config)
        assert found.to_fetch == {"org/a-1b": 2.0, "org/nameless": None, "org/a-gptq": 2.0}
        assert (
            "at most 4.0 GB to fetch and keep on disk (16 bits a weight): 3 checkpoints that are not here, 1 of "
            "unknown size"
        ) in found.summary(None)
        assert estimate(config, only="nameless").to_fetch == {"org/nameless": None}

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ((ReadyMade("org/x", "org/a-1b", "rtn-w4"),), "a-1b/quiz/rtn-w4; rename one"),
            ((ReadyMade("org/x", "org/a-1b"), ReadyMade("other/X", "org/a-1b")), "a-1b/quiz/x and a-1b/quiz/X; rename"),
            ((ReadyMade("org/x", "org/a-1b", "rtm-w4"),), "unknown compression method 'rtm'"),
        ],
    )
    def test_what_the_run_refuses_the_dry_run_does(
        self, quiz: str, entries: tuple[ReadyMade, ...], message: str
    ) -> None:
        config = RunConfig(("org/a-1b",), (TaskChoice(quiz),), ("dense", "rtn-w4"), ready_made=entries)
        with pytest.raises(SuiteError, match=re.escape(message)):
            estimate(config)
