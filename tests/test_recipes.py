"""Recipes of CONTRIBUTING.md, played through on invented examples: two code files at most, and everything follows."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from support.read_pages import read_html, read_markdown
from support.synthetic_snapshot import small_snapshot

from suite.cli import main
from suite.methods import METHODS, PRUNER, Method
from suite.task import Question, Task
from suite.tasks import TASKS, get_task
from suite.variant import parse_variant

ROOT = Path(__file__).resolve().parent.parent


def test_a_task_is_its_file_and_one_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tuple(Question(f"capitals/{n}", f"Capital of country {n}?", ("Oslo", "Rome"), n % 2) for n in range(4))
    capitals = Task(
        name="capitals",
        title="Capitals",
        paper="none",
        licence="CC0-1.0",
        source="invented",
        revision="1",
        kind="custom",
        options="2",
        scoring="cloze-sum",
        load=lambda: questions,
        cloze="{question} It is",
        items=4,
    )
    monkeypatch.setitem(TASKS, "capitals", capitals)
    assert get_task("capitals").load() == questions
    assert main(["list", "tasks"]) == 0
    assert re.search(r"^capitals\tcustom\t4\t2\t", capsys.readouterr().out, re.M)
    assert main(["show", "capitals", "--item", "2"]) == 0
    assert "Capital of country 2? It is" in capsys.readouterr().out


def test_a_method_is_its_file_and_one_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name, its recipe in the key, what it did and whether it kept its promise all follow from the two."""
    import torch
    from support.tiny_models import tiny_config
    from transformers import AutoModelForCausalLM

    from suite.compress import apply, check_supported, recipe_of
    from suite.compress.layers import STORED_BITS, Outcome, rewrite

    def compress(network: object, variant: object, tokens: object = None) -> Outcome:
        """Every other column becomes zero."""

        def change(weight: torch.Tensor, _: str) -> torch.Tensor:
            pruned = weight.clone()
            pruned[:, ::2] = 0
            return pruned

        return Outcome(rewrite(network, change, lambda weight: STORED_BITS * weight.numel()), ["invented"])  # type: ignore

    file = ModuleType("suite.compress.stripes")
    file.compress = compress  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "suite.compress.stripes", file)
    entry = Method(
        kind=PRUNER,
        compress="stripes.compress",
        levels="stripes-s50",
        needs="nothing",
        paper="invented",
        recipe="every other column to zero",
        limits="blind to everything",
        reads_text=False,
    )
    monkeypatch.setitem(METHODS, "stripes", entry)
    variant = parse_variant("stripes-s50")
    assert (variant.family, variant.sparsity) == ("sparsity", 0.5)
    check_supported(variant)
    check_supported(parse_variant("stripes-s50+rtn-w4"))
    assert recipe_of(variant) == "every other column to zero"
    network = AutoModelForCausalLM.from_config(tiny_config("llama")).eval().requires_grad_(False)
    info = apply(network, variant)
    assert (info.sparsity, info.share_touched, info.off_nominal, info.notes) == (0.5, 1, False, ["invented"])
    assert apply(network, parse_variant("stripes-s90")).off_nominal
    assert main(["list", "methods"]) == 0
    assert "stripes\tstripes-s50\tnothing\tinvented\t" in capsys.readouterr().out


def test_every_method_of_the_table_is_there() -> None:
    for name, method in METHODS.items():
        module, function = method.compress.split(".")
        assert (ROOT / "suite" / "compress" / f"{module}.py").is_file(), name
        assert re.search(rf"^def {function}\(", (ROOT / "suite" / "compress" / f"{module}.py").read_text(), re.M), name


METRIC = {
    "metrics/measure.py": (
        r"(?m)^( +)count_items\(figures, self\.sample\)\n +return figures\n",
        "{1}_sharpness(self, figures)\n{0}",
        '''

def _sharpness(scored: Scored, figures: Figures) -> None:
    """Mean confidence: what the model believes of itself, right or wrong."""
    some = scored.sample.evaluated
    figures.points["sharpness"] = float(scored.confidence[some].mean())
    if scored.sample.protocol.replicates:
        weights = scored.sample.evaluated_weights
        figures.replicates["sharpness"] = bootstrap.weighted_means(scored.confidence[some], weights)
''',
    ),
    "metrics/figures.py": (
        r'(?m)^    "tie_rate": ',
        '    "sharpness": Figure(\n'
        "        SCORES,\n"
        "        interval=1,\n"
        "        change=Change(column=True),\n"
        '        title="sharpness",\n'
        "        better=HIGHER,\n"
        '        meaning="mean confidence, right or wrong",\n'
        "        limits=SHARE,\n"
        "        column=Column(8),\n"
        "    ),\n{0}",
        "",
    ),
}
VERDICT = {"verdicts/curves.py": (r'(?m)^    "accuracy": Metric\(', '    "sharpness": Metric(0.02),\n{0}', "")}
SECTION = {
    "publish/sections/sharpest.py": (
        "",
        "",
        '''"""The sharpest variant."""

from suite.publish.sections.section import Section


def sharpest(rows):
    best = max(rows, key=lambda row: row["sharpness"])
    return Section("Who is surest", (f"It is {best['variant']}.",))
''',
    ),
    "publish/sections/page.py": (
        r"(?m)^( +)columns\(rows\),\n",
        "{0}{1}sharpest(rows) if rows else None,\n",
        "\n\nfrom suite.publish.sections.sharpest import sharpest  # noqa: E402\n",
    ),
}

ANALYSIS = {
    "verdicts/surest.py": (
        "",
        "",
        '''"""How much surer than dense each variant is, by its joint replicates."""

import numpy as np


def surest(given):
    dense = next(one for one in given.measured if one.cell.key.variant == "dense")
    changes = [(one, one.replicates["sharpness"] - dense.replicates["sharpness"]) for one in given.measured]
    return [
        {
            "variant": one.cell.key.variant,
            "protocol": given.protocol.name,
            "surer": one.values["sharpness"] - dense.values["sharpness"],
            "surer_low": float(np.quantile(change, 0.025)),
            "surer_high": float(np.quantile(change, 0.975)),
            "splits": {"rising": bool(change.mean() > 0)},
        }
        for one, change in changes
        if one is not dense
    ]
''',
    ),
    "decisions/analyses.py": (
        r"(?m)^ANALYSES: .*\n",
        "from suite.verdicts.surest import surest  # noqa: E402\n\n{0}"
        '    "surest.json": Analysis(\n'
        '        surest, 1, ("sharpness",), title="Who grew surer", about="Mean confidence less that of dense."\n'
        "    ),\n",
        "",
    ),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a copy of the suite publishes in which the recipes for metric, verdict, section, analysis were followed."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "suite", folder / "suite", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (pattern, words, end) in {**METRIC, **VERDICT, **SECTION, **ANALYSIS}.items():
        file = folder / "suite" / name
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if pattern:
            (match,) = re.finditer(pattern, text)
            new = words.format(match[0], *match.groups())
            text = text[: match.start()] + new + text[match.end() :]
        file.write_text(text + end, encoding="utf-8")
    with tarfile.open(ROOT / "tests" / "snapshots" / "2026-11-29.tar.xz") as archive:
        archive.extractall(folder / "older", filter="data")
    small_snapshot(folder / "plain")
    script = (
        "import sys; from pathlib import Path; from support.synthetic_snapshot import small_snapshot; "
        "from suite.cli import main; small_snapshot(Path('out')); assert main(['verify', 'out/snapshot']) == 0; "
        "file = Path('out/snapshot/surest.json'); right = file.read_text(); "
        "file.write_text(right.replace('.0', '.1', 1)); assert main(['verify', 'out/snapshot']) == 1; "
        "file.write_text(right); sys.exit(main(['verify', 'older']) or main(['verify', 'plain/snapshot']))"
    )
    path = os.pathsep.join((str(folder), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "SUITE_WORKERS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    (folder / "said").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_each_recipe_takes_two_code_files_at_most() -> None:
    assert [len(recipe) for recipe in (METRIC, VERDICT, SECTION, ANALYSIS)] == [2, 1, 2, 2]


def test_a_metric_is_its_formula_and_one_place_in_the_list(published: Path) -> None:
    with (published / "out" / "snapshot" / "rows.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["variant"]: row for row in csv.DictReader(handle)}
    for row in rows.values():
        assert float(row["sharpness_low"]) < float(row["sharpness"]) < float(row["sharpness_high"])
    one = rows["rtn-w2"]
    change = float(one["sharpness"]) - float(rows["dense"]["sharpness"])
    assert float(one["sharpness_change"]) == pytest.approx(change, abs=2e-6)
    assert float(one["sharpness_change_low"]) < change < float(one["sharpness_change_high"])
    assert float(one["sharpness_change_detectable"]) > 0


def test_a_metric_has_a_column_its_change_and_its_direction_on_both_pages(published: Path) -> None:
    """And in the table of `suite metrics`; where it is exported, by the same entry."""
    folder = published / "out" / "snapshot"
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))

    def ends(row: dict[str, str], key: str) -> list[str]:
        sign = "+" if "change" in key else ""
        return [f"{float(row[key + end]):{sign}.3f}" for end in ("", "_low", "_high") if row[key + end]]

    for read, name in (read_markdown, "LEADERBOARD.md"), (read_html, "index.html"):
        sections = read((folder / name).read_text(encoding="utf-8"))
        tables = [block[1] for blocks in sections.values() for block in blocks if block[0] == "table"]
        columns = {"sharpness": [], "sharpness change": []}
        for header, *lines in tables:
            for heading in columns.keys() & set(header):
                columns[heading] += [line[header.index(heading)].replace("−", "-") for line in lines]
        assert [len(column) for column in columns.values()] == [2 * len(rows), len(rows)]
        for (heading, column), row in itertools.product(columns.items(), rows):
            key = heading.replace(" ", "_")
            told = [re.findall(r"[+-]?\d\.\d+", one) for one in column]
            assert told.count(ends(row, key)) >= 2 - ("change" in key)
        words = [str(block) for blocks in sections.values() for block in blocks]
        assert any("mean confidence, right or wrong; higher is better." in block for block in words)
    page = (folder / "index.html").read_text(encoding="utf-8")
    board = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[0])
    for look, first in (("sharpness", "higher"), ("sharpness_change", "lower")):
        heading = re.search(rf'<th [^>]*data-key="{look}"[^>]*data-better="(\w+)"', page)
        assert heading
        assert heading[1] == first
        at = board["fields"].index(f"{look}_shown")
        told = [re.findall(r"[+-]?\d\.\d+", line[at].replace("−", "-")) for line in board["rows"]]
        assert told == [ends(row, look) for row in rows]


def test_a_verdict_on_another_figure_is_one_entry(published: Path) -> None:
    records = json.loads((published / "out" / "snapshot" / "verdicts.json").read_text(encoding="utf-8"))
    judged = [record for record in records if record["metric"] == "sharpness"]
    assert judged
    assert {record["verdict"] for record in judged} <= {"none", "gradual", "threshold", "saturated", "undetermined"}


def test_a_section_is_one_function_and_one_line(published: Path) -> None:
    for name in ("LEADERBOARD.md", "index.html"):
        text = (published / "out" / "snapshot" / name).read_text(encoding="utf-8")
        assert "Who is surest" in text
        assert "It is dense." in text or "It is rtn-w" in text


def test_an_analysis_is_its_function_and_one_entry(published: Path) -> None:
    """In the snapshot, numbered, made again by the verifier, and a table on both pages."""
    folder = published / "out" / "snapshot"
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["variant"]: row for row in csv.DictReader(handle)}
    records = json.loads((folder / "surest.json").read_text(encoding="utf-8"))
    assert {record["variant"] for record in records} == rows.keys() - {"dense"}
    for record in records:
        row = rows[record["variant"]]
        for end in ("", "_low", "_high"):
            assert record[f"surer{end}"] == pytest.approx(float(row[f"sharpness_change{end}"]), abs=2e-6)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["formulas"]["files"]["surest.json"] == 1
    assert re.search(r"^out.snapshot: surest\.json: line \d", (published / "said").read_text(), re.M)
    one = records[0]
    figure = f"{one['surer']:+.3f} [{one['surer_low']:+.3f}, {one['surer_high']:+.3f}]".replace("-", "−")
    for name in ("LEADERBOARD.md", "index.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "Who grew surer" in text
        assert "Mean confidence less that of dense." in text
        assert figure in text


def test_older_snapshots_stay_valid_under_all_of_it(published: Path) -> None:
    said = (published / "said").read_text()
    assert "is what the cells give, pages and pictures are as published" in said
    assert "older: remark: written without surest.json" in said
    assert said.count("rows.csv: written without sharpness") == 2
    assert "plain/snapshot: remark: verdicts.json: written without what is said of sharpness" in said
