"""A reduced run of scripts/studies/validate_intervals.py: intervals hold the truth about as often as they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "validate_intervals.py"
SIMULATIONS, ITEMS, REPLICATES = 100, 200, 150


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("validate_intervals", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def records(study):
    scenario = next(s for s in study.SCENARIOS if s.name == "moderate loss")
    truth = study.true_figures(scenario, population=300_000)
    results = [study.simulate(scenario, ITEMS, seed, replicates=REPLICATES) for seed in range(SIMULATIONS)]
    return study.summarize(results, truth)


KEYS = [f"{key}_change" for key in ("accuracy", "nll", "brier", "lac_set_size", "aps_set_size", "set_size")]


@pytest.mark.slow
@pytest.mark.parametrize("key", [*KEYS, "nll", "brier"])
def test_interval_covers_the_truth_in_about_95_percent(records, key):
    # 100 simulations: 0.95 has a standard error of 0.022, 0.88 is three of them away
    assert 0.88 <= records[key].coverage <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_interval_is_as_wide_as_the_spread_of_estimates(records, key):
    # the spread is known to 7 %
    assert records[key].standard_error == pytest.approx(records[key].deviation, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_estimates_of_change_are_nearly_unbiased(records, key):
    record = records[key]
    assert abs(record.mean - record.truth) < 0.35 * record.deviation


@pytest.mark.slow
def test_debiased_ece_change_is_covered_where_plain_percentiles_fail(records):
    assert records["ece_change"].coverage >= 0.85
    assert records["ece_change plain"].coverage < 0.7
    assert abs(records["ece_change"].mean - records["ece_change"].truth) < abs(
        records["ece_change plain"].mean - records["ece_change plain"].truth
    )


def test_the_page_lists_every_figure_and_every_way_tried(study, records):
    text = study.page({("moderate loss", ITEMS): records}, SIMULATIONS)
    for key in KEYS:
        assert f"`{key}`" in text
    assert "| moderate loss | 200 | `ece_change` |" in text
    for name in study.ECE_METHODS:
        assert f"*{name}*" in text


def test_exact_intervals_hold_where_percentiles_do_not():
    from scripts.studies import proportion_coverage

    exact, resampled = proportion_coverage.accuracy_coverage(0.98, 200)
    assert exact >= 0.95
    assert resampled == pytest.approx(0.908, abs=0.001)  # summed over every sample: no simulation
    assert min(proportion_coverage.accuracy_coverage(share, 50)[0] for share in proportion_coverage.SHARES) >= 0.95


def test_the_tables_of_few_errors_have_every_row(monkeypatch):
    from scripts.studies import proportion_coverage

    few = {"SAMPLES": 20, "GROUPED_SAMPLES": 3, "SET_SAMPLES": 2, "REPLICATES": 20, "POPULATION": 99, "ITEMS": (50,)}
    for name, value in few.items():
        monkeypatch.setattr(proportion_coverage, name, value)
    text = proportion_coverage.section()
    for share in proportion_coverage.SHARES:
        assert text.count(f"\n| {share:g} |") == 2  # accuracy and Brier score
        assert f"\n| {share:g}, 0.3 |" in text
    for up, down in proportion_coverage.FLIPS:
        assert f"\n| {up:g}, {down:g} |" in text
    assert "\n| 0.01 |" in text
