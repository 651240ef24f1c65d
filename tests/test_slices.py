"""Parts of a task: every figure against brute force, effects planted in one part, and the family-wise error."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.parts_of_tasks import cut_to

from suite import measure
from suite.cell import Cell, make_cell, write_cell
from suite.cli import main
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics.folds import hashed_folds
from suite.metrics.slices import EDGE_SHARE, SLICE_KEYS, STATEMENTS, compute_slices, holm

N, OPTIONS = 400, 4


def cell(
    variant: str = "dense",
    *,
    seed: int = 0,
    noise: float = 0.0,
    broken: str | None = None,
    prompt: str = "base",
    shift: float = 0.0,
    n: int = N,
) -> Cell:
    """Logits that favour the right option; a variant adds noise, and in slice `broken` no signal is left."""
    base, own = np.random.default_rng(seed), np.random.default_rng([seed, 1, len(variant), len(prompt)])
    answers = base.integers(0, OPTIONS, n)
    scores = base.normal(size=(n, OPTIONS))
    scores[np.arange(n), answers] += 1.5 - shift
    scores = scores + noise * own.normal(size=scores.shape)
    slices = [("even" if row % 2 == 0 else "odd", *(["rare"] if row % 40 == 0 else [])) for row in range(n)]
    for row in range(n):
        if broken in slices[row]:
            scores[row] = own.normal(size=OPTIONS)
    return make_cell(
        ids=[f"item-{row}" for row in range(n)],
        answers=answers.tolist(),
        scores=scores.tolist(),
        kind="logits",
        model={"name": "m"},
        variant={"name": variant},
        task={"name": "t", "scoring": "letter", "prompt": prompt, "shots": 0},
        subjects=["birds" if row < 150 else "trees" for row in range(n)],
        slices=slices,
    )


def table(cells: list[Cell], **options: Any) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = compute_slices(cells, Protocol(**({"splits": 20, "replicates": 200} | options)))
    return {(str(row["variant"]), str(row["prompt"]), str(row["slice"])): row for row in rows}


def brute(scored: Cell, calibrated: Cell, rows: list[int], splits: int = 20) -> tuple[float, float]:
    """Mean set size and coverage of some rows at the thresholds of a cell: loops, sorted scores, nothing shared."""
    order = sorted(range(len(scored)), key=lambda row: scored.ids[row])
    folds = hashed_folds([scored.ids[row] for row in order], splits=splits)

    def probabilities(one: Cell, row: int) -> list[float]:
        parts = [math.exp(float(x)) for x in one.scores[row]]
        return [part / sum(parts) for part in parts]

    sizes, coverages = [], []
    for fold, test in zip(folds.conformal, folds.test, strict=True):
        wrongness = sorted(1 - probabilities(calibrated, order[i])[calibrated.answers[order[i]]] for i in fold)
        limit = wrongness[math.ceil((len(wrongness) + 1) * 0.9) - 1]
        tested = [order[i] for i in test if order[i] in rows]
        if not tested:
            continue
        sets = [[1 - p <= limit + 1e-12 for p in probabilities(scored, row)] for row in tested]
        sizes.append(sum(map(sum, sets)) / len(tested))
        coverages.append(sum(held[scored.answers[row]] for held, row in zip(sets, tested, strict=True)) / len(tested))
    return float(np.mean(sizes)), float(np.mean(coverages))


class TestFigures:
    def test_every_part_against_brute_force(self) -> None:
        dense, variant = cell(), cell("rtn-w3", noise=1.0)
        rows = table([dense, variant], replicates=0)
        parts = {
            "all": list(range(N)),
            "even": list(range(0, N, 2)),
            "rare": list(range(0, N, 40)),
            "subject:birds": list(range(150)),
        }
        for name, members in parts.items():
            found, parent = rows["rtn-w3", "base", name], rows["dense", "base", name]
            right = variant.scores.argmax(axis=1) == variant.answers
            before = dense.scores.argmax(axis=1) == dense.answers
            assert found["n"] == len(members)
            assert found["accuracy"] == pytest.approx(right[members].mean())
            assert found["accuracy_change"] == pytest.approx(right[members].mean() - before[members].mean())
            size, coverage = brute(variant, variant, members)
            assert (found["lac_set_size"], found["lac_coverage"]) == pytest.approx((size, coverage))
            dense_size, dense_coverage = brute(dense, dense, members)
            assert (parent["lac_set_size"], parent["lac_coverage"]) == pytest.approx((dense_size, dense_coverage))
            assert found["lac_set_size_change"] == pytest.approx(size - dense_size)
            assert found["lac_transfer_coverage"] == pytest.approx(brute(variant, dense, members)[1])
            rest = [row for row in range(N) if row not in members]
            if rest:
                excess = size - dense_size - (brute(variant, variant, rest)[0] - brute(dense, dense, rest)[0])
                assert found["lac_set_size_excess"] == pytest.approx(excess)

    def test_the_whole_is_the_row_of_the_leaderboard(self) -> None:
        cells = [cell(), cell("rtn-w3", noise=1.0)]
        rows = table(cells)
        for row in measure(cells, splits=20, replicates=200):
            found = rows[str(row["variant"]), "base", "all"]
            keys = ["accuracy", "lac_set_size", "lac_coverage"]
            if row["variant"] != "dense":
                keys += ["accuracy_change", "lac_set_size_change", "lac_transfer_coverage"]
            for key in [name for stem in keys for name in (stem, f"{stem}_low", f"{stem}_high")]:
                assert found[key] == pytest.approx(row[key], abs=1e-6), key

    def test_the_edge_is_where_dense_is_least_sure_whatever_the_variant(self) -> None:
        dense = cell()
        shares = np.exp(dense.scores) / np.exp(dense.scores).sum(axis=1, keepdims=True)
        least = np.argsort(shares.max(axis=1))[: int(N * EDGE_SHARE)]
        for noise in (0.5, 3.0):
            variant = cell("rtn-w3", noise=noise)
            row = table([dense, variant], replicates=0)["rtn-w3", "base", "edge"]
            assert row["n"] == len(least)
            assert row["accuracy"] == pytest.approx((variant.scores.argmax(axis=1) == variant.answers)[least].mean())

    def test_statements_that_the_choice_of_the_edge_decides_are_not_tested(self) -> None:
        row = table([cell(), cell("rtn-w3", noise=1.0)])["rtn-w3", "base", "edge"]
        assert row["lac_set_size_change"] is not None
        assert row["lac_set_size_change_p"] is None
        assert "chosen for the dense model's low confidence" in row["notes"]["lac_set_size_change"]

    def test_rows_are_json_with_the_same_keys(self) -> None:
        rows = compute_slices([cell(n=40), cell("rtn-w3", noise=1.0, n=40)], Protocol(splits=3, replicates=20))
        assert all(tuple(row) == SLICE_KEYS for row in rows)
        json.dumps(rows, allow_nan=False)

    def test_order_of_the_items_changes_nothing(self) -> None:
        dense, variant = cell(), cell("rtn-w3", noise=1.0)
        turned = cut_to([variant], "even")[0]
        rows = table([dense, turned], replicates=50)
        assert rows["rtn-w3", "base", "all"]["n"] == N // 2


class TestVerdicts:
    def test_a_part_that_breaks_is_named_and_the_others_are_not(self) -> None:
        rows = table([cell(), cell("rtn-w3", noise=0.1, broken="even")], replicates=500)
        assert "accuracy changed otherwise than elsewhere" in rows["rtn-w3", "base", "even"]["verdict"]
        assert "under-covered" in rows["rtn-w3", "base", "even"]["verdict"].split("; ")
        assert rows["rtn-w3", "base", "odd"]["accuracy_change_p"] > 0.05
        assert rows["rtn-w3", "base", "even"]["lac_coverage_high"] < 0.9
        assert rows["rtn-w3", "base", "all"]["verdict"] is None

    def test_few_items_get_no_verdict(self) -> None:
        row = table([cell(), cell("rtn-w3", broken="rare")])["rtn-w3", "base", "rare"]
        assert (row["units"], row["verdict"], row["accuracy_change_p_raw"]) == (10, "too few items", None)

    def test_a_variant_like_any_other_draw_is_seldom_named(self) -> None:
        """Parts cut at random: of 20 tables at most four may name any, where 5 % of them would (P = 0.003)."""
        named = dict.fromkeys(("accuracy changed otherwise", "under-covered"), 0)
        for seed in range(20):
            rows = table([cell(seed=seed), cell("rtn-w8", seed=seed, noise=0.5)], splits=5, replicates=100)
            parts = [row for (_, _, part), row in rows.items() if part in ("even", "odd")]
            for text in named:
                named[text] += any(text in str(row["verdict"]).replace("under-covered at", "") for row in parts)
        assert max(named.values()) <= 4

    def test_intervals_stay_within_what_is_possible(self) -> None:
        for row in table([cell(n=60), cell("rtn-w3", noise=1.0, n=60)]).values():
            for key in ("accuracy", "lac_coverage", "lac_transfer_coverage"):
                if row[f"{key}_low"] is not None:
                    assert 0 <= row[f"{key}_low"] <= row[f"{key}_high"] <= 1

    def test_a_part_that_is_all_right_is_not_certain(self) -> None:
        dense = cell(shift=-20.0)  # every answer is right
        rows = table([dense, cell("rtn-w3", shift=-20.0, noise=0.1)])
        for part, n in (("rare", 10), ("even", 200), ("subject:birds", 150)):
            row = rows["rtn-w3", "base", part]
            assert (row["accuracy"], row["n"]) == (1, n)
            hidden = 1 - 0.025 ** (1 / n)
            assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((1 - hidden, 1))
            assert (row["accuracy_change_low"], row["accuracy_change_high"]) == pytest.approx((-hidden, hidden))
            elsewhere = 1 - 0.025 ** (1 / (N - n))
            assert row["accuracy_excess_high"] == pytest.approx(math.hypot(hidden, elsewhere))
            assert row["lac_coverage_low"] < row["lac_coverage_high"]

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
    def test_holm_is_the_closed_test_of_bonferroni(self, p_values: list[float]) -> None:
        for index, adjusted in enumerate(holm(p_values)):
            others = [i for i in range(len(p_values)) if i != index]
            subsets = itertools.chain.from_iterable(itertools.combinations(others, k) for k in range(len(others) + 1))
            worst = max((1 + len(s)) * min(p_values[i] for i in (index, *s)) for s in subsets)
            assert adjusted == pytest.approx(min(1.0, worst))

    def test_adjusted_values_are_those_of_the_curve(self) -> None:
        rows = table([cell(), cell("rtn-w3", noise=1.0), cell("rtn-w2", noise=3.0)])
        for key in STATEMENTS:
            family = [row for row in rows.values() if row[f"{key}_p_raw"] is not None]
            expected = holm([row[f"{key}_p_raw"] for row in family])
            assert [row[f"{key}_p"] for row in family] == pytest.approx(expected)


class TestPerturbed:
    def cells(self) -> list[Cell]:
        return [
            cell(),
            cell("rtn-w3", noise=0.5),
            cell(prompt="base+typos", shift=0.3),
            cell("rtn-w3", noise=0.5, prompt="base+typos", shift=1.2),
        ]

    def test_a_perturbed_cell_is_compared_with_the_same_items_unperturbed(self) -> None:
        cells = self.cells()
        row = table(cells, replicates=0)["rtn-w3", "base+typos", "perturbed:typos"]
        right = [(one.scores.argmax(axis=1) == one.answers).mean() for one in cells]
        assert row["against"] == "base"
        assert row["accuracy_change"] == pytest.approx(right[3] - right[1])
        assert row["accuracy_excess"] == pytest.approx((right[3] - right[1]) - (right[2] - right[0]))
        assert row["lac_transfer_coverage"] == pytest.approx(brute(cells[3], cells[1], list(range(N)))[1])

    def test_noise_that_compression_makes_worse_is_named(self) -> None:
        row = table(self.cells(), replicates=500)["rtn-w3", "base+typos", "perturbed:typos"]
        assert "accuracy changed otherwise than elsewhere" in row["verdict"]
        assert "under-covered at the reused threshold" in row["verdict"]

    def test_without_the_original_there_is_nothing_to_compare_with(self) -> None:
        row = table([cell(prompt="base+typos")])["dense", "base+typos", "perturbed:typos"]
        assert row["accuracy_change"] is None
        assert row["notes"] == {"against": "no cell with prompt 'base' to compare with"}

    def test_a_prompt_named_elsewhere_is_no_perturbation(self) -> None:
        assert ("dense", "my prompt!", "all") in table([cell(prompt="my prompt!")], replicates=0)


class TestCutting:
    def test_cells_of_one_part(self) -> None:
        (part,) = cut_to([cell()], "rare")
        assert part.ids == tuple(f"item-{row}" for row in range(0, N, 40))
        assert part.answers.tolist() == cell().answers[::40].tolist()

    def test_cells_without_a_common_item(self) -> None:
        (even,), (odd,) = (cut_to([cell(name)], part) for name, part in (("dense", "even"), ("rtn-w3", "odd")))
        with pytest.raises(SuiteError, match="share no item"):
            compute_slices([even, odd], Protocol(splits=2, replicates=0))


def test_the_command_prints_a_table_and_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, one in enumerate([cell(n=60), cell("rtn-w3", noise=1.0, n=60)]):
        write_cell(tmp_path / f"{number}.parquet", one)
    assert main(["metrics", str(tmp_path), "--slices"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[0].split()[:4] == ["task", "prompt", "variant", "slice"]
    assert "subject:birds" in out
    assert main(["metrics", str(tmp_path), "--slices", "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 2 * 6
