"""Rows as a caller sees them: keys, pairing, flags, reasons, and independence of order."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any, get_type_hints

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from suite import measure
from suite.cell import make_cell
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics.calibration import (
    bin_deviations,
    bin_numbers,
    equal_width_edges,
    fit_temperature,
    folded_normal_mean,
    reliability_bins,
    rescale,
)
from suite.metrics.conformal import coverage_band
from suite.metrics.figures import CELL, FIGURES, INTERVAL_KEYS, ROW_KEYS
from suite.metrics.folds import hashed_folds
from suite.metrics.proper import brier_score
from suite.metrics.row import Row
from suite.metrics.rows import FLAGS, measure_cells, score_cell

FAST = {"splits": 4, "replicates": 40}


def cell(scores, answers, *, variant="dense", ids=None, kind="logits", model=None, task="t", prompt="base", **extra):
    variant_section = variant if isinstance(variant, dict) else {"name": variant}
    return make_cell(
        ids=ids or [f"i{row}" for row in range(len(answers))],
        answers=answers,
        scores=scores,
        kind=kind,
        model={"name": "m"} | (model or {}),
        variant=variant_section,
        task={"name": task, "scoring": "letter", "prompt": prompt, "shots": 0},
        **extra,
    )


def world(n=240, width=4, seed=0, noise=(0.0,)):
    """Answers, and option scores that know them less and less."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, width))
    answers = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    return answers, [z + level * rng.normal(size=z.shape) for level in noise]


def only(rows, variant):
    (row,) = [row for row in rows if row["variant"] == variant]
    return row


def same(first, second):
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


@pytest.fixture(scope="module")
def curve():
    answers, (dense, mild, harsh) = world(noise=(0.0, 0.5, 3.0))
    return [
        cell(dense, answers),
        cell(mild, answers, variant="rtn-w4"),
        cell(harsh, answers, variant="rtn-w2"),
    ]


@pytest.fixture(scope="module")
def rows(curve):
    return measure(curve, **FAST)


def test_rows_are_json_and_have_every_key_in_order(rows):
    for row in rows:
        assert tuple(row) == ROW_KEYS
    json.dumps(rows, allow_nan=False)


def test_rows_hold_what_their_type_says(curve):
    typed = {key for key, figure in FIGURES.items() if figure.source == CELL} | {"chance_accuracy", "set_size_chance"}
    assert set(Row.__annotations__) == typed
    checked = {key: TypeAdapter(hint) for key, hint in get_type_hints(Row).items()}
    odd = cell([[0.5, 0.5]] * 20, [0] * 20, variant="by hand")
    for row in measure([*curve, odd], **FAST):
        for key, hint in checked.items():
            hint.validate_python(row[key], strict=True)
        assert all(row[key] is None or type(row[key]) is float for key in set(ROW_KEYS) - typed)


def test_documented_keys_are_there(rows):
    documented = """model variant family task scoring prompt shots protocol alpha n params_b accuracy nll brier ece
        ece_equal_mass ace mce lac_set_size lac_coverage aps_set_size aps_coverage set_size uacc aurc
        error_auroc n_paired
        flips_to_wrong flips_to_right kl set_size_change accuracy_change lac_transfer_coverage notes flags
        temperature nll_ts brier_ts ece_ts accuracy_low accuracy_high set_size_change_low
        lac_coverage_band_low tie_rate set_size_chance chance_accuracy"""
    assert set(documented.split()) <= set(ROW_KEYS)
    assert len(set(ROW_KEYS)) == len(ROW_KEYS)


def test_whatever_is_missing_has_a_reason(rows, curve):
    for row in rows + measure(curve, splits=2, replicates=0):
        for key, value in row.items():
            if value is None:
                base = key.removesuffix("_low").removesuffix("_high")
                assert {key, base, f"{base}_low"} & set(row["notes"]), key
        left = json.dumps(row["notes"])
        assert "no value on these items" not in left
        assert ("no items are left" in left) == (row["n_evaluated"] == 0)
        for key in row["notes"]:
            assert row[key] is None


def test_what_the_scoring_remarked_is_on_the_row():
    answers, (dense,) = world(n=60)
    rows = [measure([cell(dense, answers, run=run)], splits=2, replicates=0)[0] for run in ({}, {"notes": ["a", "b"]})]
    assert [row["notes"].get("run") for row in rows] == [None, "a; b"]


@pytest.mark.parametrize(
    ("dense", "other", "said"), [("AVX512", "AVX2", True), ("AVX2", "AVX2", False), (None, "AVX2", False)]
)
def test_a_variant_scored_with_other_kernels_than_dense_says_so(dense, other, said):
    answers, (first, second) = world(noise=(0.0, 1.0))
    cells = [cell(first, answers, run={"kernels": dense}), cell(second, answers, variant="v", run={"kernels": other})]
    found = measure(cells, **FAST)
    assert "kernels" not in only(found, "dense")["notes"]
    note = only(found, "v")["notes"].get("kernels", "")
    assert note.startswith("scored with AVX2 kernels, dense with AVX512") is said
    assert bool(note) is said


def test_figures_fall_and_rise_as_they_should(rows):
    dense, mild, harsh = rows
    assert [row["variant"] for row in rows] == ["dense", "rtn-w4", "rtn-w2"]
    assert dense["accuracy"] > mild["accuracy"] > harsh["accuracy"]
    assert dense["set_size"] < mild["set_size"] < harsh["set_size"] < 4
    assert dense["kl"] is None
    assert 0 < mild["kl"] < harsh["kl"]
    assert harsh["lac_transfer_coverage"] < 0.8 < mild["lac_transfer_coverage"]
    assert harsh["lac_transfer_undercoverage_p"] < 0.01
    assert harsh["temperature"] > dense["temperature"]
    assert harsh["nll_ts"] < harsh["nll"]
    assert harsh["set_size_change_low"] > 0
    assert harsh["accuracy_change_high"] < 0
    assert harsh["set_size"] == pytest.approx((harsh["lac_set_size"] + harsh["aps_set_size"]) / 2)


def test_changes_are_differences_of_the_two_rows(rows):
    dense, _, harsh = rows
    for key in (
        "accuracy",
        "nll",
        "brier",
        "lac_set_size",
        "aps_set_size",
        "set_size",
        "aurc",
        "error_auroc",
        "nll_ts",
    ):
        assert harsh[f"{key}_change"] == pytest.approx(harsh[key] - dense[key]), key
    for key in ("ece", "ece_ts"):  # their bias differs between the two, so the debiased ones are compared
        expected = harsh[f"{key}_debiased"] - dense[f"{key}_debiased"]
        assert harsh[f"{key}_change"] == pytest.approx(expected)
        middle = (harsh[f"{key}_change_low"] + harsh[f"{key}_change_high"]) / 2
        assert middle == pytest.approx(expected)


def test_uacc_is_the_mean_over_both_scores(rows):
    for row in rows:
        expected = row["accuracy"] * math.sqrt(4) * (1 / row["lac_set_size"] + 1 / row["aps_set_size"]) / 2
        assert row["uacc"] == pytest.approx(expected)


def test_temperature_is_fitted_on_its_fold_and_judged_outside_it(curve, rows):
    source = curve[2]
    order = np.argsort(source.ids)
    log_p, answers = source.log_probabilities()[order], source.answers[order]
    folds = hashed_folds([source.ids[i] for i in order], splits=4)
    values, temperatures = [], []
    for fold, rest in zip(folds.temperature, folds.rescaled, strict=True):
        temperatures.append(fit_temperature(log_p[fold], answers[fold]))
        values.append(-rescale(log_p[rest], temperatures[-1])[np.arange(len(rest)), answers[rest]].mean())
    assert rows[2]["nll_ts"] == pytest.approx(np.mean(values))
    assert rows[2]["temperature"] == pytest.approx(math.exp(np.mean(np.log(temperatures))))


def refitted(scored):
    """Temperature, NLL and Brier score of every replicate, each temperature fitted on the repeated items."""
    sample, found = scored.sample, []
    for r in range(sample.protocol.replicates):
        temperatures, values = [], []
        for fold, rest in zip(sample.folds.temperature, sample.folds.rescaled, strict=True):
            fit, judge = (np.repeat(items, sample.weights[items, r].astype(int)) for items in (fold, rest))
            temperature = fit_temperature(scored.log_probabilities[fit], scored.answers[fit])
            temperatures.append(0.0 if math.isnan(temperature) else math.log(temperature))
            after = rescale(scored.log_probabilities[judge], math.exp(temperatures[-1]))
            right = after[np.arange(len(judge)), scored.answers[judge]]
            values.append((-right.mean(), brier_score(np.exp(after), scored.answers[judge]).mean()))
        found.append((math.exp(np.mean(temperatures)), *np.mean(values, axis=0)))
    return dict(zip(("temperature", "nll_ts", "brier_ts"), np.transpose(found), strict=True))


@pytest.mark.parametrize(
    ("n", "temperature", "nll", "brier"), [(240, 0.08, 3e-3, 3e-3), (400, 0.02, 3e-3, 2e-3), (3000, 2e-3, 4e-4, 2e-4)]
)
def test_temperature_replicates_equal_refitting_on_repeated_items(n, temperature, nll, brier):
    answers, (scores,) = world(n=n, seed=1)
    scored = score_cell(cell(scores, answers), Protocol("exact", 0.1, 2, 12, 0))
    found, expected = scored.figures.replicates, refitted(scored)
    assert found["temperature"] == pytest.approx(expected["temperature"], rel=temperature)
    assert found["nll_ts"] == pytest.approx(expected["nll_ts"], abs=nll)
    assert found["brier_ts"] == pytest.approx(expected["brier_ts"], abs=brier)


def test_replicates_of_the_calibration_error_after_temperature_equal_refitting():
    answers, (scores,) = world(n=1500, seed=1)
    scored = score_cell(cell(3 * scores, answers), Protocol("exact", 0.1, 2, 12, 0))
    sample, correct = scored.sample, scored.correct

    def parts(fit, rest):
        temperature = fit_temperature(scored.log_probabilities[fit], scored.answers[fit])
        confidence = np.exp(rescale(scored.log_probabilities[rest], temperature)).max(axis=1)
        return confidence, bin_numbers(confidence, equal_width_edges())

    for r in range(12):
        values = []
        for fold, rest in zip(sample.folds.temperature, sample.folds.rescaled, strict=True):
            deviation = bin_deviations(reliability_bins(parts(fold, rest)[0], correct[rest]))
            confidence, number = parts(np.repeat(fold, sample.weights[fold, r]), rest)
            gaps = np.bincount(number, (correct[rest] - confidence) * sample.weights[rest, r], minlength=15)
            values.append(
                (2 * abs(gaps) - folded_normal_mean(abs(gaps), deviation)).sum() / sample.weights[rest, r].sum()
            )
        assert scored.figures.replicates["ece_ts"][r] == pytest.approx(np.mean(values), abs=0.012)


@pytest.mark.parametrize("scores", ["tied", "separable", "tiny"])
def test_temperature_replicates_at_a_bound_or_without_any_are_those_of_refitting(scores):
    answers, (usual,) = world(n=240, seed=1)
    apart = np.where(np.arange(4) == answers[:, None], 3.0, 0.0) + 0.1 * usual
    made = {"tied": np.zeros((240, 4)), "separable": apart, "tiny": 1e-3 * usual}[scores]
    scored = score_cell(cell(made, answers), Protocol("exact", 0.1, 4, 12, 0))
    found, expected = scored.figures.replicates, refitted(scored)
    assert ("temperature" in found) == (scores != "tied")
    for key in expected.keys() & found.keys():
        assert found[key] == pytest.approx(expected[key], abs=1e-9), key


def test_temperature_replicates_of_a_flat_nll_are_near_those_of_refitting():
    # the scores know nothing: the NLL falls slowly up to the upper bound, or to a temperature far from another's
    random = np.random.default_rng(3)
    scores, answers = random.normal(0, 1.5, (240, 4)), random.integers(0, 4, 240)
    scored = score_cell(cell(scores, answers), Protocol("exact", 0.1, 4, 40, 0))
    found, expected = scored.figures.replicates, refitted(scored)
    assert found["temperature"] == pytest.approx(expected["temperature"], rel=0.4)
    assert found["nll_ts"] == pytest.approx(expected["nll_ts"], abs=0.02)
    assert found["brier_ts"] == pytest.approx(expected["brier_ts"], abs=0.006)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_replicates_of_fifty_items_are_near_those_of_refitting(seed):
    # Ten items fit a temperature. Where a replicate has none of them wrong, refitting goes to the lower bound and NLL
    # to ten and more; the grid ends four standard errors from the fits. So NLL is compared in the middle alone.
    answers, (scores,) = world(n=50, seed=seed)
    scored = score_cell(cell(scores, answers), Protocol("exact", 0.1, 4, 60, 0))
    found, expected = scored.figures.replicates, refitted(scored)
    assert np.median(np.abs(found["nll_ts"] - expected["nll_ts"])) < 0.03
    assert np.median(np.abs(found["brier_ts"] - expected["brier_ts"])) < 0.01
    assert found["brier_ts"] == pytest.approx(expected["brier_ts"], abs=0.07)
    assert found["brier_ts"].std() == pytest.approx(expected["brier_ts"].std(), rel=0.1)


def test_intervals_hold_their_value_or_its_debiased_form(rows):
    centre = {"ece": "ece_debiased", "ece_ts": "ece_ts_debiased"}
    for row, key in itertools.product(rows, INTERVAL_KEYS):
        if row[key] is not None:
            value = row[centre.get(key, key)]
            assert row[f"{key}_low"] <= max(value, 0 if key in centre else value) <= row[f"{key}_high"], key


def test_coverage_of_each_cell_is_near_its_promise(rows):
    for row in rows:
        for key in ("lac_coverage", "aps_coverage"):
            assert abs(row[key] - 0.9) < 0.06
        assert row["aps_deterministic_coverage"] >= row["aps_coverage"]
        low, high = coverage_band(96, 96, alpha=0.1)
        assert row["lac_coverage_band_low"] == pytest.approx(low, abs=0.01)
        assert row["lac_coverage_band_high"] == pytest.approx(high, abs=0.01)


def reordered(source, order, columns=None):
    scores = source.scores[order]
    answers = source.answers[order]
    if columns is not None:
        scores, answers = scores[:, columns], np.argsort(columns)[answers]
    return cell(scores, answers, variant=dict(source.variant), ids=[source.ids[i] for i in order])


def test_order_of_items_cells_and_options_changes_nothing(curve, rows):
    rng = np.random.default_rng(1)
    columns = rng.permutation(4)
    shuffled = [reordered(c, rng.permutation(len(c))) for c in curve[::-1]]
    assert same(measure(shuffled, **FAST), rows)
    moved = measure([reordered(c, np.arange(len(c)), columns) for c in curve], **FAST)
    for row, expected in zip(moved, rows, strict=True):
        for key in ROW_KEYS:
            if isinstance(expected[key], float):
                assert row[key] == pytest.approx(expected[key], abs=2e-5), key


def test_other_variants_change_nothing(curve, rows):
    alone = measure([curve[0], curve[2]], **FAST)
    assert same(only(alone, "rtn-w2"), only(rows, "rtn-w2"))
    assert same(only(alone, "dense"), only(rows, "dense"))


def test_seed_changes_splits_and_draws_but_not_plain_figures(curve, rows):
    other = only(measure(curve, seed=1, **FAST), "rtn-w4")
    row = only(rows, "rtn-w4")
    assert other["accuracy"] == row["accuracy"]
    assert other["ece"] == row["ece"]
    assert other["aps_set_size"] != row["aps_set_size"]
    assert other["accuracy_low"] == row["accuracy_low"]  # exact: nothing is drawn
    assert other["nll_low"] != row["nll_low"]


def test_models_with_the_same_items_share_the_draws_and_others_do_not():
    answers, (first, second) = world(n=120, noise=(0.0, 1.0))
    protocol = Protocol("exact", 0.1, 4, 40, 0)
    one = score_cell(cell(first, answers), protocol)
    other = score_cell(cell(second, answers, model={"name": "another"}), protocol)
    assert other.sample is one.sample
    assert score_cell(cell(first, answers), Protocol("exact", 0.1, 4, 40, 1)).sample is not one.sample
    assert score_cell(cell(first[:90], answers[:90]), protocol).sample is not one.sample
    grouped = [f"passage {row // 4}" for row in range(120)]
    assert score_cell(cell(first, answers, groups=grouped), protocol).sample is not one.sample
    asked = {"name": "t", "scoring": "letter", "prompt": "base", "shots": 0}
    published = Protocol("ye2024", 0.1, 1, 40, 0)
    whole, less = (
        score_cell(replace(cell(first, answers), task=asked | dropped), published).sample.folds
        for dropped in ({}, {"dropped_ids": ["i1", "i3"]})
    )
    assert len(whole.test[0]) != len(less.test[0])


def test_curves_are_kept_apart(curve):
    answers, (dense,) = world(seed=5)
    elsewhere = [
        cell(dense, answers, task="u"),
        cell(dense + 1e-3, answers, task="t", prompt="other", variant="rtn-w4"),
    ]
    rows = measure([*curve, *elsewhere], **FAST)
    assert [(r["task"], r["prompt"], r["variant"]) for r in rows] == [
        ("t", "base", "dense"),
        ("t", "base", "rtn-w4"),
        ("t", "base", "rtn-w2"),
        ("t", "other", "rtn-w4"),
        ("u", "base", "dense"),
    ]
    assert rows[3]["flags"] == ["dense-missing"]
    assert rows[3]["kl"] is None
    assert rows[3]["n_paired"] == 0


def test_rows_of_several_models_and_tasks_are_those_of_their_cells():
    answers, (scores,) = world(n=60)
    places = [("m1", "t"), ("m1", "u"), ("m2", "t"), ("m2", "u")]
    cells = [cell(scores, answers, model={"name": model}, task=task) for model, task in places]
    measured = measure_cells(cells[::-1], Protocol("exact", 0.1, 2, 20, 0))
    assert [(one.row["model"], one.row["task"]) for one in measured] == places
    assert [(one.cell.key.model, one.cell.key.task) for one in measured] == places


def test_flips_and_changes_by_hand():
    dense = np.array([[3.0, 0], [3, 0], [3, 0], [0, 3], [0, 3]] * 30)
    variant = np.array([[3.0, 0], [0, 3], [0, 3], [3, 0], [0, 3]] * 30)
    row = measure([cell(dense, [0] * 150), cell(variant, [0] * 150, variant="rtn-w3")], **FAST)[1]
    assert row["flips_to_wrong"] == pytest.approx(0.4)
    assert row["flips_to_right"] == pytest.approx(0.2)
    assert row["accuracy_change"] == pytest.approx(-0.2)
    tail = sum(math.comb(90, k) for k in range(31)) / 2**90
    assert row["mcnemar_p"] == pytest.approx(2 * tail)
    gap = math.log(1 + math.exp(3)) - math.log(1 + math.exp(-3))
    assert row["nll_change"] == pytest.approx(0.2 * gap)
    p = 1 / (1 + math.exp(-3))
    assert row["kl"] == pytest.approx(0.6 * (p * 3 - (1 - p) * 3))
    assert row["confidence_correlation"] is None
    assert "same" in row["notes"]["confidence_correlation"]


def test_pairing_uses_shared_items_with_equal_answers_and_option_counts():
    answers, (dense, variant) = world(n=200, noise=(0.0, 1.0))
    ids = [f"i{i}" for i in range(200)]
    changed = answers.copy()
    changed[:10] = (changed[:10] + 1) % 4
    ragged = [list(row) for row in variant]
    for i in range(10, 20):
        ragged[i] = [*ragged[i], 0.0]
    order = np.random.default_rng(0).permutation(200)[:150]
    odd = cell([ragged[i] for i in order], changed[order], ids=[ids[i] for i in order], variant="rtn-w3")
    row = measure([cell(dense, answers, ids=ids), odd], **FAST)[1]
    kept = sorted((i for i in order if i >= 20), key=lambda i: ids[i])
    assert row["n_paired"] == len(kept)
    assert row["flags"] == ["unpaired-items"]
    clean = measure(
        [
            cell(dense[kept], answers[kept], ids=[ids[i] for i in kept]),
            cell(variant[kept], answers[kept], ids=[ids[i] for i in kept], variant="rtn-w3"),
        ],
        **FAST,
    )[1]
    for key in (
        "accuracy_change",
        "set_size_change",
        "set_size_change_low",
        "kl",
        "lac_transfer_coverage",
        "mcnemar_p",
    ):
        assert row[key] == clean[key], key


def test_nothing_shared_is_said():
    answers, (dense, variant) = world(n=120, noise=(0, 1))
    other = cell(variant, answers, ids=[f"j{i}" for i in range(120)], variant="rtn-w4")
    row = measure([cell(dense, answers), other], **FAST)[1]
    assert row["n_paired"] == 0
    assert row["kl"] is None
    assert "shared" in row["notes"]["kl"]
    assert row["accuracy"] is not None


@pytest.mark.parametrize("variant", [{"name": "rtn-w4"}, {"name": "rtn-w4", "no_op": True}])
def test_a_variant_that_changed_nothing_is_a_no_op(variant):
    answers, (dense, other) = world(noise=(0, 1))
    changed = other if variant.get("no_op") else dense
    row = measure([cell(dense, answers), cell(changed, answers, variant=variant)], **FAST)[1]
    assert "no-op" in row["flags"]
    if not variant.get("no_op"):
        for key in ("flips_to_wrong", "kl", "accuracy_change", "set_size_change", "ece_change"):
            assert row[key] == 0
        assert row["mcnemar_p"] == 1


def test_chance_is_judged_by_the_dense_model_for_the_whole_curve():
    rng = np.random.default_rng(3)
    answers, (good, bad) = world(n=300, noise=(0, 100))
    noise = rng.normal(size=(300, 4))
    blind = measure([cell(noise, answers), cell(good, answers, variant="rtn-w4")], **FAST)
    assert all("at-chance" in row["flags"] for row in blind)
    assert "variant-at-chance" not in blind[1]["flags"]
    broken = measure([cell(good, answers), cell(bad, answers, variant="rtn-w2")], **FAST)
    assert broken[0]["flags"] == []
    assert "variant-at-chance" in broken[1]["flags"]
    assert "at-chance" not in broken[1]["flags"]


def test_lac_set_size_at_chance_is_the_chance_level():
    rng = np.random.default_rng(4)
    z, answers = rng.normal(size=(4000, 5)), rng.integers(0, 5, 4000)
    row = measure([cell(z, answers)], splits=10, replicates=0)[0]
    assert row["set_size_chance"] == pytest.approx(4.5)
    assert row["lac_set_size"] == pytest.approx(4.5, abs=0.06)
    assert row["chance_accuracy"] == pytest.approx(0.2)


def test_requantized_parent_and_metadata_are_passed_on():
    answers, (dense,) = world()
    variant = {"name": "dense", "bits_per_weight": 4.5, "megabytes": 88, "sparsity": 0.0}
    row = measure(
        [cell(dense, answers, variant=variant, model={"params": 135e6, "parent_quantization": "Q4_1"})], **FAST
    )[0]
    assert row["flags"] == ["requantized-parent"]
    assert (row["bits_per_weight"], row["megabytes"], row["sparsity"], row["params_b"]) == (4.5, 88.0, 0.0, 0.135)
    assert row["relative_weight_error"] is None
    assert row["share_touched"] is None
    assert row["family"] == row["method"] == "dense"


def left(share, reason=None, names="model.layers.*.mlp.experts.*.up_proj.weight"):
    return {"names": names, "matrices": 3, "share": share, "reason": reason}


@pytest.mark.parametrize(
    ("touched", "untouched", "flagged"),
    [
        (1.0, [], False),
        (0.95, [left(0.05)], False),
        (0.94, [left(0.06)], True),
        (0.3, [left(0.7, "was rtn-w4 already")], False),
        (0.3, [left(0.6, "on the checkpoint's own ignore list"), left(0.1)], True),
        (0.3, [left(0.66, "on the checkpoint's own ignore list"), left(0.04)], False),
        (None, [], False),
        (None, [left(0.7)], False),
        (0.3, "damaged", True),
    ],
)
def test_what_stayed_without_a_reason_is_flagged(touched, untouched, flagged):
    answers, (dense, mild) = world(noise=(0.0, 0.5))
    variant = {"name": "rtn-w4", "share_touched": touched, "untouched": untouched}
    rows = measure([cell(dense, answers), cell(mild, answers, variant=variant)], **FAST)
    row = only(rows, "rtn-w4")
    assert row["share_touched"] == touched
    assert ("partly-compressed" in row["flags"]) is flagged
    assert ("share_touched" in row["notes"]) is (touched is None)
    assert "partly-compressed" not in only(rows, "dense")["flags"]
    assert only(rows, "dense")["notes"]["share_touched"] == "this is the dense model"


def test_what_stayed_and_what_does_not_count_is_named():
    answers, (dense,) = world()
    variant = {
        "name": "rtn-w4",
        "share_touched": 0.25,
        "untouched": [left(0.5), left(0.25, "was rtn-w4 already", names="b.weight")],
        "left_out": ["model.embed_tokens.weight (embeddings)", "model.layers.*.mlp.gate.weight (router)"],
    }
    (row,) = measure([cell(dense, answers, variant=variant)], **FAST)
    assert row["notes"]["weights"] == (
        "unchanged: model.layers.*.mlp.experts.*.up_proj.weight (0.500 of the weights); "
        "b.weight (0.250 of the weights, was rtn-w4 already). "
        "not counted: model.embed_tokens.weight (embeddings), model.layers.*.mlp.gate.weight (router)"
    )


def test_ties_are_counted_flagged_and_averaged():
    scores = np.tile([[1.0, 1.0, 0.0]], (200, 1))
    row = measure([cell(scores, [0, 1] * 100)], **FAST)[0]
    assert row["tie_rate"] == 1.0
    assert row["accuracy"] == 0.5
    assert "ties" in row["flags"]
    dense, variant = cell(scores, [0, 1] * 100), cell(scores * 1.5, [0, 1] * 100, variant="rtn-w4")
    row = measure([dense, variant], **FAST)[1]
    assert row["flips_to_wrong"] == row["flips_to_right"] == 0


def test_zero_probabilities_give_reasons_not_infinities():
    dense = np.tile([[0.5, 0.3, 0.2]], (150, 1))
    variant = np.tile([[0.7, 0.3, 0.0]], (150, 1))
    answers = [0] * 100 + [2] * 50
    first, row = measure(
        [cell(dense, answers, kind="probs"), cell(variant, answers, kind="probs", variant="rtn-w2")], **FAST
    )
    assert row["nll"] is None
    assert "50 items" in row["notes"]["nll"]
    assert row["nll_ts"] is None
    assert row["kl"] is None
    assert row["js"] == pytest.approx(0.0792, abs=0.03)
    assert row["nll_change"] is None
    assert first["nll"] is not None
    assert row["brier"] == pytest.approx((100 * (0.09 + 0.09) + 50 * (0.49 + 0.09 + 1)) / 150)


def test_all_right_and_all_wrong():
    sure = np.tile([[4.0, 0.0, 0.0]], (120, 1))
    right = measure([cell(sure, [0] * 120)], **FAST)[0]
    assert right["accuracy"] == right["accuracy_high"] == 1.0
    assert right["accuracy_low"] == pytest.approx(0.025 ** (1 / 120))
    assert right["error_auroc"] is None
    assert right["lac_set_size"] == 1.0
    assert "temperature-at-bound" in right["flags"]
    wrong = measure([cell(sure, [1] * 120)], **FAST)[0]
    assert wrong["accuracy"] == 0.0
    assert wrong["accuracy_high"] == pytest.approx(1 - 0.025 ** (1 / 120))
    assert wrong["flags"] == ["at-chance", "temperature-at-bound"]
    assert wrong["error_auroc"] is None


def ends(row, key):
    return row[f"{key}_low"], row[f"{key}_high"]


@pytest.mark.parametrize("wrong", [0, 1, 2, 20, 100])
def test_the_interval_of_accuracy_is_exact(wrong):
    from scipy.stats import binomtest

    answers = [1] * wrong + [0] * (200 - wrong)
    (row,) = measure([cell(np.tile([[4.0, 0.0, 0.0]], (200, 1)), answers)], **FAST)
    expected = binomtest(200 - wrong, 200).proportion_ci(method="exact")
    assert ends(row, "accuracy") == pytest.approx((expected.low, expected.high))


def scaled(n, seed=0):
    """A dense cell, and one that gives every answer of it with another confidence: no item flips."""
    answers, (dense,) = world(n=n, seed=seed)
    factors = np.exp(np.random.default_rng(seed).normal(0, 1, (n, 1)))
    return [cell(dense, answers), cell(dense * factors, answers, variant="rtn-w4")]


@pytest.mark.parametrize("n", [40, 100, 400])
def test_no_flip_is_no_certainty_about_accuracy(n):
    row = measure(scaled(n), **FAST)[1]
    hidden = 1 - 0.025 ** (1 / n)
    assert row["accuracy_change"] == row["flips_to_wrong"] == row["flips_to_right"] == 0
    assert ends(row, "accuracy_change") == pytest.approx((-hidden, hidden))
    assert row["accuracy_change_detectable"] == pytest.approx(2.8015852 / 1.959964 * hidden)


def test_the_interval_of_the_accuracy_change_is_that_of_the_flips():
    """With many flips it is the normal one of paired differences; resampling gives the same."""
    answers, (dense, variant) = world(n=2000, noise=(0.0, 1.5))
    row = measure([cell(dense, answers), cell(variant, answers, variant="rtn-w4")], splits=2, replicates=100)[1]
    changes = (variant.argmax(axis=1) == answers).astype(float) - (dense.argmax(axis=1) == answers)
    reach = 1.96 * changes.std() / math.sqrt(2000)
    expected = (changes.mean() - reach, changes.mean() + reach)
    assert ends(row, "accuracy_change") == pytest.approx(expected, abs=0.08 * reach)
    assert row["accuracy_change_detectable"] == pytest.approx(2.8 / 1.96 * reach, rel=0.06)


def test_one_hot_scores_that_are_all_right_leave_room_for_what_was_not_seen():
    answers = [i % 4 for i in range(100)]
    (row,) = measure([cell(one_hot(answers), answers, kind="probs")], **FAST)
    hidden = 1 - 0.025**0.01
    assert ends(row, "accuracy") == pytest.approx((1 - hidden, 1.0))
    assert ends(row, "brier") == ends(row, "brier_ts") == pytest.approx((0.0, 2 * hidden))
    assert ends(row, "ece") == pytest.approx((0.0, hidden))
    assert ends(row, "lac_coverage") == pytest.approx((1 - hidden, 1.0))
    assert ends(row, "lac_set_size") == pytest.approx((1 - hidden, 1 + 3 * hidden))
    # errors ranked first: the risk among the most confident share m is 1 up to `hidden`, then hidden / m
    shares = (np.arange(1_000_000) + 0.5) / 1_000_000
    assert ends(row, "aurc") == pytest.approx((0.0, np.minimum(1, hidden / shares).mean()), rel=1e-4)
    for key in ("nll", "nll_ts"):
        assert (row[key], *ends(row, key)) == (0, None, None)
        assert "no limit" in row["notes"][f"{key}_low"]


def test_sets_of_every_option_cover_for_certain():
    answers, (dense,) = world(n=12, noise=(0,))
    (row,) = measure([cell(dense, answers)], alpha=0.02, **FAST)
    assert (row["lac_set_size"], *ends(row, "lac_set_size")) == (4, 4, 4)
    assert (row["lac_coverage"], *ends(row, "lac_coverage")) == (1, 1, 1)


def test_a_brier_score_that_rests_on_one_item_is_as_uncertain_as_accuracy():
    answers = [i % 4 for i in range(200)]
    given = [1, *answers[1:]]
    (row,) = measure([cell(one_hot(given), answers, kind="probs")], splits=4, replicates=1000)
    assert row["brier"] == pytest.approx(0.01)
    wanted = [2 * (1 - row["accuracy_high"]), 2 * (1 - row["accuracy_low"])]
    assert ends(row, "brier") == pytest.approx(wanted, rel=0.1, abs=1e-4)


@pytest.mark.parametrize("protocol", ["exact", "ye2024"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 20])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_handful_of_items_gives_rows_not_errors(n, protocol):
    answers, (dense, variant) = world(n=n, width=3, noise=(0, 1))
    cells = [cell(dense, answers), cell(variant, answers, variant="rtn-w4")]
    rows = measure(cells, protocol=protocol, splits=3, replicates=20)
    json.dumps(rows, allow_nan=False)
    for row in rows:
        assert "small-n" in row["flags"]
        assert set(row["flags"]) <= set(FLAGS)
        for key, value in row.items():
            if value is None:
                base = key.removesuffix("_low").removesuffix("_high")
                assert {key, base, f"{base}_low"} & set(row["notes"]), key
        left = json.dumps(row["notes"])
        assert "no value on these items" not in left
        assert ("no items are left" in left) == (row["n_evaluated"] == 0)


def test_items_may_differ_in_their_number_of_options():
    rng = np.random.default_rng(6)
    scores = [rng.normal(size=2 + i % 3) for i in range(300)]
    answers = [int(rng.integers(len(s))) for s in scores]
    row = measure([cell(scores, answers)], splits=20, replicates=20)[0]
    assert row["chance_accuracy"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert row["set_size_chance"] == pytest.approx(2.7)
    assert row["lac_set_size"] < 3
    assert abs(row["lac_coverage"] - 0.9) < 0.05


def test_groups_widen_intervals_when_items_repeat():
    answers, (dense,) = world(n=60)
    scores, twice = np.repeat(dense, 5, axis=0), np.repeat(answers, 5)
    groups = [f"g{i // 5}" for i in range(300)]
    plain = measure([cell(scores, twice)], splits=2, replicates=300)[0]
    grouped = measure([cell(scores, twice, groups=groups)], splits=2, replicates=300)[0]

    def width(row):
        return row["accuracy_high"] - row["accuracy_low"]

    assert width(grouped) / width(plain) == pytest.approx(math.sqrt(5), rel=0.25)


def test_alpha_moves_coverage_and_size(curve):
    found = [measure(curve[:1], alpha=alpha, splits=20, replicates=0)[0] for alpha in (0.05, 0.1, 0.2, 0.35)]
    for key in ("lac_coverage", "aps_coverage"):
        for row in found:
            assert row[key] == pytest.approx(1 - row["alpha"], abs=0.04)
    sizes = [row["lac_set_size"] for row in found]
    assert sizes == sorted(sizes, reverse=True)


def test_no_replicates_leave_intervals_out(curve):
    row = measure(curve, splits=2, replicates=0)[1]
    assert row["accuracy_low"] is None
    assert row["accuracy_change"] is not None
    assert row["accuracy_change_detectable"] is None


def test_detectable_change_is_stated_from_the_spread_of_replicates(rows):
    row = only(rows, "rtn-w2")
    width = row["accuracy_change_high"] - row["accuracy_change_low"]
    assert row["accuracy_change_detectable"] == pytest.approx(width / 3.92 * 2.8, rel=0.35)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "exat"}, "protocol name 'exat' is not valid: did you mean 'exact'"),
        ({"alpha": 0.0}, "protocol alpha 0.0 is not between 0 and 1"),
        ({"alpha": 1.2}, "protocol alpha 1.2 is not between 0 and 1"),
        ({"splits": 0}, "protocol splits must be a whole number of 1 or more, not 0"),
        ({"replicates": -3}, "protocol replicates must be a whole number of 0 or more, not -3"),
        ({"replicates": 1}, "replicates 1: out of range, use 0 for no intervals, or 1000"),
        ({"seed": -1}, "protocol seed must be a whole number of 0 or more, not -1"),
    ],
)
def test_bad_parameters_are_one_line(curve, options, message):
    with pytest.raises(SuiteError, match=message) as caught:
        measure(curve, **options)
    assert "\n" not in str(caught.value)


def test_a_disagreement_with_a_library_is_a_note_and_changes_nothing(curve, monkeypatch):
    from suite.metrics import oracle

    (plain,) = measure(curve[:1], **FAST)
    assert not {"mapie", "netcal"} & set(plain["notes"])

    def stops(*arguments, **options):
        raise ValueError("too few\nscores")

    actual = oracle.mapie_sets
    for name, answer, library, words in (
        ("netcal_errors", lambda confidence, correct: (0.5, 0.5, 0.5), "netcal", "netcal says 0.5"),
        ("mapie_sets", lambda *a, **k: ~actual(*a, **k), "mapie", "lac sets differ from mapie's in"),
        ("mapie_sets", stops, "mapie", "ValueError: too few scores"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(oracle, name, answer)
            (row,) = measure(curve[:1], **FAST)
        assert words in row["notes"].pop(library)
        assert same(row, plain)


def test_no_alpha_and_no_number_of_items_stops_the_rows():
    rng = np.random.default_rng(12)
    answers, (dense, variant) = world(n=500, noise=(0, 1))
    pairs = [(375, 180), (375, 995), (250, 450), (22, 700), (375, 1), (375, 999), (1, 500)]
    pairs += zip(rng.integers(1, 501, 25).tolist(), rng.integers(1, 1000, 25).tolist(), strict=True)
    for n, thousandths in pairs:
        cells = [cell(dense[:n], answers[:n]), cell(variant[:n], answers[:n], variant="rtn-w4")]
        rows = measure(cells, alpha=thousandths / 1000, splits=2, replicates=10)
        json.dumps(rows, allow_nan=False)
        for row in rows:
            assert not {"mapie", "netcal"} & set(row["notes"]), (n, thousandths, row["notes"])


def one_hot(options, width=4):
    return np.eye(width)[options].tolist()


def test_one_hot_probabilities_have_no_temperature():
    answers = [i % 4 for i in range(120)]
    given = [(i + (i % 10 == 0)) % 4 for i in range(120)]  # one in ten is wrong
    (row,) = measure([cell(one_hot(given), answers, kind="probs")], **FAST)
    assert row["temperature"] is row["temperature_low"] is row["temperature_high"] is None
    assert "every temperature" in row["notes"]["temperature"]
    assert "temperature-at-bound" not in row["flags"]
    # a wrong answer costs 2 at every temperature: the figures after it are those without
    rescaled = hashed_folds([f"i{i}" for i in range(120)], splits=4).rescaled
    assert row["brier_ts"] == pytest.approx(np.mean([2 * (fold % 10 == 0).mean() for fold in rescaled]))
    assert row["brier_ts_low"] < row["brier_ts"] < row["brier_ts_high"]
    assert row["nll_ts"] is None
    assert "12 items" in row["notes"]["nll_ts"]


@pytest.mark.parametrize("n", [5, 12, 60])
def test_a_temperature_at_its_bound_in_every_resample_has_no_interval(n):
    """The right option is always the least likely: the hotter the better, whichever items are drawn."""
    scores = np.tile([65504.0, -65504.0, -65504.0], (n, 1)).tolist()
    (row,) = measure([cell(scores, [1] * n)], **FAST)
    assert row["temperature"] == pytest.approx(100)
    assert "temperature-at-bound" in row["flags"]
    for key in ("temperature", "nll_ts"):
        assert row[f"{key}_low"] is row[f"{key}_high"] is None
        assert "all resamples agree" in row["notes"][f"{key}_low"]


@pytest.mark.parametrize(("n", "known"), [(1, False), (3, False), (4, True)])
def test_no_change_that_cannot_be_is_called_detectable(n, known):
    # without a flip the exact interval ends at 1 - .025 ** (1 / n)
    value = 2.8015852 * (1 - 0.025 ** (1 / n)) / 1.959964
    assert (value <= 1) == known
    row = measure([cell([[1.0, 0.0]] * n, [0] * n, variant=name) for name in ("dense", "rtn-w4")], **FAST)[1]
    if known:
        assert row["accuracy_change_detectable"] == pytest.approx(value, rel=1e-3)
    else:
        assert row["accuracy_change_detectable"] is None
        assert "more than any change can be" in row["notes"]["accuracy_change_detectable"]


def test_impossible_right_options_everywhere_are_told_as_such():
    answers = [i % 4 for i in range(120)]
    scores = np.tile([0.0, 0.1, 0.2, 0.3], (120, 1))
    scores[np.arange(120), answers] = -np.inf
    (row,) = measure([cell(scores.tolist(), answers)], **FAST)
    for key in ("temperature", "nll_ts", "brier_ts", "ece_ts", "ece_ts_debiased"):
        assert row[key] is None
        assert "right option has probability zero in all 120 items" in row["notes"][key]
    assert "no items are left" not in json.dumps(row["notes"])


AT_CHANCE = {"brier_ts": 0.75, "nll_ts": np.log(4), "set_size": 3.6, "lac_set_size": 3.6, "aps_set_size": 3.6}


@pytest.mark.parametrize("lost", [0, 3, 40])
def test_the_upper_end_of_a_change_knows_what_few_items_can_hide(lost: int) -> None:
    """A binomial bound on a quarter of the items; the lower end is that of resampling; a gain that is shown stays."""
    generator = np.random.default_rng(5)
    answers = generator.integers(0, 4, 400)
    logits = generator.normal(size=(400, 4))
    logits[np.arange(400), answers] += 2.5
    after = logits + 0.001 * generator.normal(size=logits.shape)
    after[:lost] = after[:lost, ::-1]
    rows: list[Any] = [*measure([cell(logits, answers), cell(after, answers, variant="rtn-w4")])]
    before, row = rows
    for key, chance in AT_CHANCE.items():
        room, change = chance - float(before[key]), float(row[f"{key}_change"])
        seen = 100 * max(change, 0.0) / room
        most = min(change, 0.0) + room * stats.beta.ppf(0.975, seen + 1, 100 - seen)
        low, high = float(row[f"{key}_change_low"]), float(row[f"{key}_change_high"])
        if key == "brier_ts" or lost == 0:
            assert high == pytest.approx(most, rel=1e-6)
        assert high >= most - 1e-9
        assert low <= change < low + 0.5 * (high - low)
        assert float(row[f"{key}_change_detectable"]) < 3 * (change - low) + 1e-9
    if lost == 40:
        better: Any = measure([cell(after, answers), cell(logits, answers, variant="rtn-w4")])[1]
        assert all(float(better[f"{key}_change_high"]) < 0 for key in AT_CHANCE)
