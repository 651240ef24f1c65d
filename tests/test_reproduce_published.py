"""The study of published tables on small made-up archives, against counting by hand, and on the published data."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from suite.metrics.folds import ye2024_folds

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "studies" / "reproduce_published.py"
PUBLISHED = Path(os.environ.get("SUITE_PUBLISHED_DATA") or ROOT.parent / "shared" / "data" / "published")
needs_data = pytest.mark.skipif(
    not (PUBLISHED / "published_table.json").is_file(),
    reason="needs published_table.json, qa.npz, drs.npz, ds.npz in the folder named by SUITE_PUBLISHED_DATA",
)

MODELS = ["Qwen-7B", "Llama-2-7b-hf", "Llama-2-70b-hf", "lonely"]
PROMPTS = ["base", "shared", "task"]
ITEMS = 90
RUN = [sys.executable, "-m", "scripts.studies.reproduce_published"]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reproduce_published", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# The paper's procedure by hand: loops, and ties as its table needs them (of tied options the last comes first).


def softmax(row):
    parts = np.exp(row - row.max())
    return parts / parts.sum()


def descending(p):
    return sorted(range(len(p)), key=lambda option: (p[option], option), reverse=True)


def aps_score(p, answer, order):
    return float(np.cumsum([p[option] for option in order])[order.index(answer)])


def quantile(scores):
    n = len(scores)
    return float(np.quantile(scores, math.ceil((n + 1) * 0.9) / n, method="higher"))


def by_hand(logits, answers, rank_of=descending):
    """Accuracy, LAC size and APS size of one model and prompt."""
    p = [softmax(row.astype(np.float32)).astype(np.float64) for row in logits]
    conformal, test = ye2024_folds(len(p)).conformal[0], ye2024_folds(len(p)).test[0]
    lac_limit = min(sorted((p[i][answers[i]] for i in conformal), reverse=True)[: _rank(len(conformal))])
    aps_limit = quantile([aps_score(p[i], answers[i], rank_of(p[i])) for i in conformal])
    lac = [max(1, sum(value >= lac_limit for value in p[i])) for i in test]
    aps = [max(1, sum(value <= aps_limit for value in np.cumsum(sorted(p[i], reverse=True)))) for i in test]
    right = [list(logits[i]).index(max(logits[i])) == answers[i] for i in test]
    return np.mean(right), np.mean(lac), np.mean(aps)


def _rank(n):
    return min(n, math.ceil((n + 1) * 0.9) + 1)


def table_by_hand(archives, ndigits):
    table = {}
    for place, name in enumerate(MODELS):
        entry = {"label": name.upper(), "params_b": 7.0 + 10 * place}
        entry |= {"accuracy_percent": {}, "set_size": {}, "uacc_percent": {}}
        for task, (logits, answers) in archives.items():
            found = [by_hand(logits[place, prompt], answers) for prompt in range(len(PROMPTS))]
            entry["accuracy_percent"][task.upper()] = round(100 * np.mean([a for a, _, _ in found]), ndigits)
            entry["set_size"][task.upper()] = round(np.mean([(lac + aps) / 2 for _, lac, aps in found]), ndigits)
            uacc = [100 * a * math.sqrt(6) * (1 / lac + 1 / aps) / 2 for a, lac, aps in found]
            entry["uacc_percent"][task.upper()] = round(np.mean(uacc), ndigits)
        table[name] = entry
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Archives with ties (logits in steps of 1/2), and the table of their figures with two decimals."""
    where = tmp_path_factory.mktemp("published")
    generator = np.random.default_rng(5)
    archives = {}
    for task in ("qa", "drs", "ds"):
        answers = generator.integers(0, 4, ITEMS)
        logits = generator.normal(0, 1, (len(MODELS), len(PROMPTS), ITEMS, 6))
        logits[:, :, :, 4:] -= 2
        logits[:, :, np.arange(ITEMS), answers] += np.linspace(0.5, 2.5, len(MODELS))[:, None, None]
        logits = (np.round(2 * logits) / 2).astype(np.float32)
        ambiguous = np.zeros(ITEMS, dtype=bool)
        if task == "qa":
            ambiguous[[ye2024_folds(ITEMS).conformal[0][3], ye2024_folds(ITEMS).conformal[0][8]]] = True
        np.savez(where / f"{task}.npz", logits=logits, answers=answers.astype(np.int8), ambiguous=ambiguous,
                 models=np.array(MODELS), prompts=np.array(PROMPTS), options=np.array(list("ABCDEF")))  # fmt: skip
        archives[task] = logits, answers
    (where / "published_table.json").write_text(json.dumps({"models": table_by_hand(archives, 2)}))
    (where / "exact.json").write_text(json.dumps(table_by_hand(archives, 12)))
    return where


@pytest.fixture(scope="module")
def source(script, folder):
    return script.Source(folder, replicates=20, splits=3)


@pytest.fixture(scope="module")
def stages(script, source):
    return script.run(source, 1)


def results(stages, number):
    return list(stages.values())[number].results


# Data in


def test_missing_data_is_one_line_that_names_the_files_and_where_they_come_from(tmp_path):
    (tmp_path / "qa.npz").touch()
    for arguments, extra in (([str(tmp_path)], {}), ([], {"SUITE_PUBLISHED_DATA": str(tmp_path)})):
        found = subprocess.run(
            [*RUN, *arguments],
            cwd=ROOT,
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert found.returncode == 2
        assert found.stdout == ""
        assert found.stderr.count("\n") == 1
        assert f"{tmp_path}: no drs.npz, ds.npz, published_table.json;" in found.stderr
        assert "smartyfh/LLM-Uncertainty-Bench" in found.stderr


def test_the_default_folder_lies_beside_the_repository(script):
    assert ROOT.resolve().parent / "shared" / "data" / "published" == script.DEFAULT


def test_demonstrations_are_left_out_and_nothing_else_changes(script, source):
    cell = script.cells_of(script.Job(source, "qa", "task"))[2]
    kept = script.without_demonstrations(cell)
    assert set(cell.ids) - set(kept.ids) == {"1", "3", "5", "7", "9"}
    place = kept.ids.index("40")
    assert kept.answers[place] == cell.answers[40]
    assert (kept.scores[place] == cell.scores[40]).all()
    assert kept.slices[place] == cell.slices[40]


def test_models_are_paired_within_their_family(script, source):
    assert script.references(MODELS) == {
        "Qwen-7B": "Qwen-7B",
        "Llama-2-7b-hf": "Llama-2-7b-hf",
        "Llama-2-70b-hf": "Llama-2-7b-hf",
        "lonely": "Llama-2-7b-hf",
    }
    assert script.references(["x", "y"]) == {"x": "x", "y": "x"}


def test_rows_of_other_models_have_paired_figures(script, stages):
    for number in (0, 1):
        assert {row["model"] for row in results(stages, number)} == set(MODELS)
        for row in results(stages, number):
            reference = row["model"] in ("Qwen-7B", "Llama-2-7b-hf")
            assert (row["accuracy_change"] is None) == reference
            assert (row["set_size_change_low"] is None) == reference


# Section 1


def test_figures_are_those_counted_by_hand(script, folder, stages):
    exact = json.loads((folder / "exact.json").read_text())
    found = script.compare(exact, results(stages, 0))
    assert len(found) == 3 * len(MODELS)
    for one in found:
        for figure in script.FIGURES:
            assert one.ours[figure] == pytest.approx(one.published[figure], abs=1e-6), (one.model, one.task, figure)


def test_counts_and_misses_follow_the_differences(script, folder, stages):
    table = script.read_table(folder)
    means = script.readings_over_prompts(results(stages, 2))
    good = script.compare(table, results(stages, 0))
    assert len(script.miss_lines(good, means)) == 2  # no line below the header
    assert [script.within(good, figure, 0.005) for figure in script.FIGURES] == [12, 12, 12]
    table["lonely"]["set_size"]["QA"] += 0.015
    table["lonely"]["accuracy_percent"]["DS"] -= 0.5
    bad = script.compare(table, results(stages, 0))
    assert [script.within(bad, "set size", limit) for limit in (0.005, 0.03)] == [11, 12]
    lines = script.count_lines(bad)
    assert "| accuracy, percentage points | 11 of 12 | 11 of 12 | 11 of 12 | " in "\n".join(lines)
    missed = script.miss_lines(bad, means)
    assert [line.split(" | ")[1:3] for line in missed if "LONELY" in line] == [
        ["LONELY", "set size"],
        ["LONELY", "accuracy"],
    ]
    assert missed[-1].endswith("| – | tie order |")  # no answer key moves an accuracy


def test_a_cause_reaches_what_lies_in_its_range_or_arithmetic_among_its_values(script):
    assert script.reaches(2.0, "tie order", [1.9, 2.1])
    assert not script.reaches(2.2, "tie order", [1.9, 2.1])
    assert not script.reaches(2.0, "arithmetic", [1.9, 2.1])
    assert script.reaches(1.904, "arithmetic", [1.9, 2.1])


def test_signs(script):
    assert [script.signed(value, 2) for value in (0.004, -0.004, 0.126, -0.126)] == ["0.00", "0.00", "+0.13", "-0.13"]


# Section 2


def readings_by_key(script, stages):
    return script.readings_over_prompts(results(stages, 2))


@pytest.mark.parametrize(("task", "model"), [("qa", 0), ("ds", 3)])
def test_tie_orders_are_bounded_by_right_option_first_and_last(script, folder, stages, task, model):
    data = np.load(folder / f"{task}.npz")
    answers, found = data["answers"].astype(int), readings_by_key(script, stages)[MODELS[model], task.upper()]
    sizes = {}
    for name, first in (("ties_low", True), ("ties_high", False)):
        means = []
        for logits in data["logits"][model]:
            place = {tuple(softmax(row)): item for item, row in enumerate(logits.astype(np.float32))}

            def order(p, place=place, first=first):
                answer = answers[place[tuple(p.astype(np.float32))]]
                return sorted(range(6), key=lambda option: (-p[option], (option == answer) != first))

            means.append(sum(by_hand(logits, answers, order)[1:]) / 2)
        sizes[name] = np.mean(means)
        assert found[name] == pytest.approx(sizes[name], abs=1e-6)
    assert found["ties_low"] <= found["ties_mean"] <= found["ties_high"]
    assert found["ties_low"] <= found["published"] <= found["ties_high"]
    assert sizes["ties_low"] < sizes["ties_high"]


def test_answer_keys_bound_every_answer_to_the_flagged_items(script, folder, stages):
    data = np.load(folder / "qa.npz")
    answers, flagged = data["answers"].astype(int), np.flatnonzero(data["ambiguous"])
    for model, name in enumerate(MODELS):
        sizes = []
        for choice in itertools.product(range(4), repeat=len(flagged)):
            tried = answers.copy()
            tried[flagged] = choice
            sizes.append(np.mean([sum(by_hand(logits, tried)[1:]) / 2 for logits in data["logits"][model]]))
        found = readings_by_key(script, stages)[name, "QA"]
        assert found["key_items"] == 2
        assert found["key_low"] <= min(sizes) + 1e-6
        assert found["key_high"] >= max(sizes) - 1e-6
        assert readings_by_key(script, stages)[name, "DS"]["key_low"] == found_published(script, stages, name)


def found_published(script, stages, name):
    return readings_by_key(script, stages)[name, "DS"]["published"]


def test_accuracy_under_ties_lost_and_won(script, folder, stages):
    data = np.load(folder / "drs.npz")
    answers, test = data["answers"].astype(int), ye2024_folds(ITEMS).test[0]
    for model, name in enumerate(MODELS):
        lost, won = [], []
        for logits in data["logits"][model]:
            top = [[option for option in range(6) if logits[i][option] == max(logits[i])] for i in test]
            lost.append(np.mean([tops == [answers[i]] for tops, i in zip(top, test, strict=True)]))
            won.append(np.mean([answers[i] in tops for tops, i in zip(top, test, strict=True)]))
        found = readings_by_key(script, stages)[name, "DRS"]
        assert found["accuracy_ties_low"] == pytest.approx(np.mean(lost))
        assert found["accuracy_ties_high"] == pytest.approx(np.mean(won))
        assert found["step"] == 0.5


def test_aps_rules_are_nested(script, stages):
    for values in readings_by_key(script, stages).values():
        assert values["aps_bare_coverage"] >= 0.8
        for kind in ("", "_coverage"):
            excluded, randomized, included = (values[f"aps_{n}{kind}"] for n in ("excluded", "randomized", "included"))
            assert randomized <= included
            assert excluded <= included


def test_exact_readings_are_those_of_the_rows(script, stages):
    means, found = script.over_prompts(results(stages, 1)), readings_by_key(script, stages)
    for key, values in found.items():
        assert values["exact"] == pytest.approx(means[key]["set_size"])
        assert values["published"] == pytest.approx(script.over_prompts(results(stages, 0))[key]["set_size"])


def test_swapped_pairs_are_named_with_both_differences(script):
    means = {(m, t): {"published": 2.0, "exact": 2.0} for m in "ab" for t in script.TASKS.values()}
    means["a", "QA"] = {"published": 2.5, "exact": 1.9}
    assert script.swapped_lines({"a": "A", "b": "B"}, means)[2:] == ["| QA | A | B | +0.50 | -0.10 |"]


def test_extremes_are_the_smallest_and_the_largest(script, stages):
    means = readings_by_key(script, stages)
    lines = script.extreme_lines({name: name.upper() for name in MODELS}, means)
    sizes = sorted((v["published"] - v["exact"], f"{model.upper()} on {task}") for (model, task), v in means.items())
    (line,) = (line for line in lines if "published less exact" in line)
    assert line.split(" | ")[1:] == [f"{script.signed(sizes[0][0], 2)}", sizes[0][1],
                                     f"{script.signed(sizes[-1][0], 2)}", f"{sizes[-1][1]} |"]  # fmt: skip
    covered = [v["aps_published_coverage"] for v in means.values()]
    (line,) = (line for line in lines if "APS: published rule |" in line)
    assert [line.split(" | ")[place] for place in (1, 3)] == [f"{min(covered):.3f}", f"{max(covered):.3f}"]


def test_rank_correlation_is_scipys(script):
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    one, other = generator.integers(0, 6, (2, 40))
    assert script.rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert math.isnan(script.rank_correlation([1.0, 1.0], [1.0, 2.0]))


# Section 3


def test_intervals_of_prompt_means_are_means_of_ends(script, stages):
    rows = [row for row in results(stages, 1) if row["model"] == "lonely" and script.task_of(row) == "DS"]
    means = script.over_prompts(results(stages, 1))["lonely", "DS"]
    assert len(rows) == 3
    for key in ("accuracy", "accuracy_low", "set_size_change_high", "error_auroc"):
        assert means[key] == pytest.approx(np.mean([row[key] for row in rows]))
    assert script.interval_of(means, "ece_debiased") == (means["ece_low"], means["ece_high"])
    differ = script.differences_of_prompts(rows, ["lonely"])["lonely", "DS"]
    assert differ["accuracy"] == pytest.approx(max(r["accuracy"] for r in rows) - min(r["accuracy"] for r in rows))


def test_series_count_what_is_clearly_better(script, folder, stages):
    table, means = script.read_table(folder), script.over_prompts(results(stages, 1))
    ends = [means["Llama-2-70b-hf", task]["accuracy_change_low"] for task in script.TASKS.values()]
    line = script.series_lines(table, means, results(stages, 1))[2]
    assert line.split(" | ")[1] == str(sum(low > 0 for low in ends))


def test_headroom_is_the_way_from_one_to_chance(script, folder, stages):
    means = script.over_prompts(results(stages, 1))
    row = means["Llama-2-70b-hf", "QA"]
    line = next(line for line in script.size_lines(script.read_table(folder), means) if "LLAMA-2-70B-HF" in line)
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[6] == f"{(row['set_size'] - 1) / (0.9 * 6 - 1):.2f}"
    assert cells[7] == f"{(row['set_size'] - 1) / (0.9 * 4 - 1):.2f}"


# The page


def test_tables_and_figure_are_the_same_from_one_process_and_from_two(script, source, stages, tmp_path):
    tables, figure = script.tables_of(source, stages, 1)
    assert "LONELY" in "\n".join(tables["comparison"])
    assert not any("nan" in line.split() for name, lines in tables.items() for line in lines if name != "timing")
    assert figure.startswith(b"\x89PNG")
    page = tmp_path / "published.md"
    words = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    page.write_text(words, encoding="utf-8")
    options = ["--replicates", "20", "--splits", "3", "--jobs", "2", "--out", str(page)]
    found = subprocess.run(
        [*RUN, str(source.folder), *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert found.returncode == 0, found.stderr
    assert "| set size | 12 of 12 | 12 of 12 | 12 of 12 |" in found.stdout
    written = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        inside = written.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]
        assert inside.splitlines() == lines or name == "timing"
    marked = re.compile(r"(<!-- (\w+) -->).*?(<!-- /\2 -->)", re.DOTALL)
    assert marked.sub("", written) == marked.sub("", words)
    assert len(marked.findall(words)) == len(tables)
    assert (tmp_path / "figures" / script.PICTURE).read_bytes() == figure


@pytest.mark.slow
@needs_data
def test_published_tables_are_reproduced_and_the_page_says_so(script):
    source = script.Source(PUBLISHED, replicates=0)
    rows = [
        row
        for task in script.TASKS
        for prompt in script.prompts_of(PUBLISHED, task)
        for row in script.published_rows(script.Job(source, task, prompt))
    ]
    found = script.compare(script.read_table(PUBLISHED), rows)
    assert len(found) == 33
    assert script.within(found, "accuracy", 0.01) == 33
    assert script.within(found, "set size", 0.02) >= 30
    page = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    assert "\n".join(script.comparison_lines(found)) in page
    assert "\n".join(script.count_lines(found)) in page
