"""Collapse verdicts: planted truths, invariances, the family of hypotheses. References are brute force and scipy."""

from __future__ import annotations

import doctest
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats
from support.record_keys import VERDICT_KEYS

from scripts.studies import synthetic
from scripts.studies.synthetic import SHAPES, Population, draw_cells, plan_curve, set_size_by_noise
from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.rows import measure_cells
from suite.verdicts.collapse import Curve, Finding, correct_family, judge
from suite.verdicts.curves import JOINT_KEYS, METRICS
from suite.verdicts.shapes import Whitened, reject_rivals, smooth_families, step_family
from suite.verdicts.verdict import Verdict, find_verdicts

FAST = Protocol(splits=10, replicates=200)
POPULATION = Population()


def test_examples_of_planted_curves_hold() -> None:
    assert doctest.testmod(synthetic) == (0, 3)


def planted(
    shape: str, *, seed: int = 0, n: int = 700, levels: int = 6, rise: float = 0.7, **law: object
) -> list[Cell]:
    population = replace(POPULATION, **law)  # type: ignore[arg-type]
    plan = plan_curve(population, shape, levels=levels, rise=0.7)
    return draw_cells(population, plan, n=n, seed=seed)


def primary(cells: list[Cell], settings: Protocol = FAST) -> Verdict:
    verdicts = find_verdicts(measure_cells(cells, settings, keep=JOINT_KEYS), settings)
    (found,) = [verdict for verdict in verdicts if verdict.metric == "set_size"]
    return found


def drawn_curve(values: list[float], *, error: float = 0.02, seed: int = 0, **rest: object) -> Curve:
    """A curve with independent errors of known size."""
    noise = np.random.default_rng(seed).normal(0, error, (len(values), 400))
    names = ("dense", *(f"magnitude-s{10 * i}" for i in range(1, len(values))))
    array = np.array(values)
    keys = {"minimum": 0.1, "chance": 3.6, "items": 1000} | rest
    return Curve(names, array, array[:, None] + noise, **keys)  # type: ignore[arg-type]


def test_answers_that_never_flip_show_no_harm_with_enough_items_only() -> None:
    """Accuracy of four levels without one flip: equivalence within 0.02 takes 149 items, as (1 - 0.02)^149 is 0.05."""
    from suite.verdicts.curves import least_error

    names = ("dense", "rtn-w8", "rtn-w4", "rtn-w3")
    for items, verdict in ((140, "undetermined"), (160, "none")):
        least = least_error(np.arange(items))
        values = np.full(4, -0.6)
        curve = Curve(names, values, np.repeat(values[:, None], 200, axis=1), 0.02, None, items, least_error=least)
        finding = judge(curve)
        assert finding.verdict == verdict
        record = (finding.jump_low, finding.jump, finding.jump_high)
        assert record == pytest.approx((-1.96 * least, 0.0, 1.96 * least), rel=1e-3)


# Planted truths, through the whole path from scores to verdict


@pytest.mark.parametrize(
    ("shape", "verdict", "level"),
    [
        ("step", "threshold", "magnitude-s30"),
        ("narrow sigmoid", "threshold", "magnitude-s30"),
        ("end step", "threshold", "magnitude-s50"),
        ("straight", "gradual", None),
        ("constant", "none", None),
    ],
)
def test_a_planted_shape_gets_its_verdict(shape: str, verdict: str, level: str | None) -> None:
    record = primary(planted(shape, n=1500)).record()
    assert record["verdict"] == verdict
    if level is not None:
        assert record["level"] == level
        assert record["end_of_curve"] is (shape == "end step")


@pytest.mark.parametrize("shape", ["convex", "wide sigmoid", "two steps", "bump", "hinge"])
def test_what_is_no_threshold_is_not_called_one(shape: str) -> None:
    calls = [primary(planted(shape, seed=seed)).finding.verdict == "threshold" for seed in range(4)]
    assert sum(calls) == 0


def test_the_jump_and_its_interval_are_those_of_the_population() -> None:
    plan = plan_curve(POPULATION, "step", levels=6, rise=0.7)
    finding = primary(draw_cells(POPULATION, plan, n=1500, seed=3)).finding
    assert finding.jump_low is not None
    assert finding.jump_high is not None
    assert finding.jump is not None
    truth = plan.set_size[3] - plan.set_size[2]
    assert finding.jump_low < truth < finding.jump_high
    assert finding.jump == pytest.approx(truth, abs=0.25)


def test_a_dense_model_at_chance_is_saturated_not_a_plateau() -> None:
    cells = planted("constant", strength=0.02)
    assert primary(cells).finding.verdict == "saturated"


def test_too_few_items_or_levels_are_undetermined_never_none() -> None:
    assert primary(planted("constant", n=60)).finding.verdict == "undetermined"
    short = primary(planted("constant")[:3])
    assert short.finding.verdict == "undetermined"
    assert "3 levels" in short.finding.notes[0]
    # enough to be judged, far too few to show that nothing is lost
    few = judge(drawn_curve([1.5] * 6, error=0.1))
    assert few.verdict == "undetermined"
    assert any("items would show" in note for note in few.notes)


def test_levels_shuffled_within_items_are_no_threshold() -> None:
    calls = 0
    for seed in range(6):
        cells = planted("step", seed=seed, n=500)
        generator = np.random.default_rng(seed)
        order = np.stack([generator.permutation(len(cells) - 1) for _ in range(500)])
        stack = np.stack([cell.scores for cell in cells[1:]])
        mixed = np.take_along_axis(stack, order.T[:, :, None], axis=0)
        shuffled = [cells[0], *(replace(cell, scores=mixed[i]) for i, cell in enumerate(cells[1:]))]
        finding = primary(shuffled).finding
        calls += finding.verdict == "threshold" and finding.level != 1
    # all levels are alike but for dense, so only a jump right after dense could be real
    assert calls == 0


def test_order_of_items_options_and_cells_changes_nothing() -> None:
    cells = planted("step", n=400)
    plain = primary(cells).record()
    generator = np.random.default_rng(5)
    items, options = generator.permutation(400), generator.permutation(4)
    place = np.argsort(options)
    moved = [
        replace(
            cell,
            ids=tuple(cell.ids[i] for i in items),
            answers=place[cell.answers[items]],
            n_options=cell.n_options[items],
            scores=cell.scores[items][:, options],
        )
        for cell in cells
    ]
    again = primary(moved[::-1]).record()
    for key, value in plain.items():
        if isinstance(value, float):
            assert again[key] == pytest.approx(value, abs=1e-9), key
        elif key != "notes":
            assert again[key] == value, key


def test_a_no_op_level_is_left_out_and_changes_nothing() -> None:
    cells = planted("step", n=400)
    copy = replace(cells[0], variant={"name": "magnitude-s5"})
    before, after = primary(cells).record(), primary([*cells, copy]).record()
    notes = after.pop("notes")
    before.pop("notes")
    assert after == before
    assert any("magnitude-s5" in note for note in notes)  # type: ignore[attr-defined]


def test_settings_that_disagree_are_undetermined() -> None:
    cells = planted("step", n=1500)
    other = [replace(cell, task={**cell.task, "prompt": "other"}) for cell in planted("constant", n=1500)]
    record = primary([*cells, *other]).record()
    assert record["verdict"] == "undetermined"
    assert "disagree" in str(record["notes"])
    agreeing = [replace(cell, task={**cell.task, "prompt": "other"}) for cell in cells]
    assert primary([*cells, *agreeing]).finding.verdict == "threshold"


def test_records_have_the_agreed_keys_for_every_metric_and_the_average_over_tasks() -> None:
    cells = planted("step", n=400)
    other = [replace(cell, task={**cell.task, "name": "second"}) for cell in planted("step", n=400, seed=1)]
    measured = measure_cells([*cells, *other], FAST, keep=JOINT_KEYS)
    verdicts = find_verdicts(measured, FAST)
    assert all(tuple(verdict.record()) == VERDICT_KEYS for verdict in verdicts)
    assert {verdict.metric for verdict in verdicts} == set(METRICS)
    assert {verdict.place.task for verdict in verdicts} == {"synthetic", "second", "macro"}
    by_task = {v.place.task: v.curve for v in verdicts if v.metric == "set_size"}
    both = [by_task["synthetic"], by_task["second"]]
    macro = by_task["macro"]
    assert macro is not None
    assert both[0] is not None
    assert both[1] is not None
    np.testing.assert_allclose(macro.values, (both[0].values + both[1].values) / 2)
    # tasks share no items, so the variance of the average is that of independent estimates
    expected = (both[0].replicates.var(axis=1) + both[1].replicates.var(axis=1)) / 4
    assert macro.replicates.var(axis=1).mean() == pytest.approx(expected.mean(), rel=0.3)


def test_metrics_whose_loss_is_a_fall_are_turned_round() -> None:
    verdicts = find_verdicts(measure_cells(planted("step", n=1500), FAST, keep=JOINT_KEYS), FAST)
    jumps = {verdict.metric: verdict.record() for verdict in verdicts}
    for metric in ("accuracy", "error_auroc", "lac_transfer_coverage", "brier_ts", "nll_ts"):
        assert jumps[metric]["jump"] > 0.02, metric  # type: ignore[operator]


def test_an_interior_threshold_that_weight_error_explains_is_marked() -> None:
    curve = drawn_curve([1.5, 1.5, 1.5, 2.5, 2.5, 2.5])
    uniform = replace(curve, dose=np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5]))
    stretched = replace(curve, dose=np.array([0, 0.01, 0.02, 0.48, 0.49, 0.5]))
    assert not judge(uniform).notes
    assert "does not survive" in " ".join(judge(stretched).notes)


@pytest.mark.parametrize("last", [2.0, 2.6])
def test_a_jump_at_the_end_needs_levels_that_lost_nothing(last: float) -> None:
    assert judge(drawn_curve([1.5, 1.5, 1.52, 1.5, last + 0.6])).verdict == "threshold"
    cliff = judge(drawn_curve([1.5, 1.55, 1.7, 1.9, last + 0.6]))
    assert (cliff.verdict, cliff.level, cliff.end_of_curve) == ("undetermined", 4, True)
    assert cliff.notes[0].startswith("a cliff at the last level")


def test_a_rise_that_ends_in_small_steps_is_no_cliff() -> None:
    even = judge(drawn_curve([1.5, 1.75, 2.0, 2.25, 2.5]))
    assert (even.verdict, even.end_of_curve) == ("gradual", False)


# The family of hypotheses


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 5))
def test_holm_against_its_definition(p: list[float], more: int) -> None:
    size = len(p) + more
    corrected = correct_family([Finding("threshold", 0.1, p_raw=value) for value in p], size=size)
    everything = sorted([*p, *[1.0] * more])
    for value, finding in zip(p, corrected, strict=True):
        # smallest level at which the step-down procedure rejects: the maximum over all hypotheses with smaller p
        rank = everything.index(value)
        level = max(min(1.0, (size - i) * everything[i]) for i in range(rank + 1))
        assert finding.p == pytest.approx(level)
        assert (finding.verdict == "threshold") == (level < 0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 5))
def test_gradual_passes_the_same_correction(p: list[float], more: int) -> None:
    found = [Finding("gradual", 0.1, level=1, p_raw=1.0, p_gradual_raw=value) for value in p]
    corrected = correct_family(found, size=len(p) + more)
    everything = sorted([*p, *[1.0] * more])
    for value, finding in zip(p, corrected, strict=True):
        rank = everything.index(value)
        level = max(min(1.0, (len(everything) - i) * everything[i]) for i in range(rank + 1))
        assert finding.p_gradual == pytest.approx(level)
        assert (finding.verdict, finding.level) == (("gradual", 1) if level < 0.05 else ("undetermined", None))


def test_curves_that_cannot_be_judged_are_no_hypotheses() -> None:
    short = Finding("undetermined", 0.1)
    found = correct_family([short, short, Finding("threshold", 0.1, p_raw=0.04)], size=1)
    assert [(one.verdict, one.p) for one in found] == [("undetermined", None)] * 2 + [("threshold", 0.04)]


def test_the_family_does_not_shrink_with_what_has_been_scored() -> None:
    measured = measure_cells(planted("step", n=700), FAST, keep=JOINT_KEYS)
    alone = next(v for v in find_verdicts(measured, FAST) if v.metric == "set_size").finding
    among = [v for v in find_verdicts(measured, FAST, family_sizes={"synthetic": 12}) if v.metric == "set_size"]
    assert alone.p_raw is not None
    assert among[0].finding.p is not None
    assert among[0].finding.p == pytest.approx(12 * among[0].finding.p_raw, rel=1e-9)  # type: ignore[operator]
    assert among[0].finding.p <= 0.0121, "simulations must suffice for an adjusted p of 0.01"


# Shapes


@examples(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 8))
def test_distances_against_generalized_least_squares(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(levels, levels))
    covariance = root @ root.T + 0.1 * np.eye(levels)
    curve = generator.normal(size=levels)
    white = Whitened.by(covariance)
    inverse = np.linalg.inv(covariance)
    for family in [*smooth_families(tuple(map(float, range(levels)))), step_family(levels)]:
        expected = []
        for basis in family.bases:
            beta = np.linalg.pinv(basis.T @ inverse @ basis) @ basis.T @ inverse @ curve
            left = curve - basis @ beta
            expected.append(left @ inverse @ left)
        distance, own = white.projector(family)(curve[None])
        assert distance[0] == pytest.approx(min(expected), rel=1e-3, abs=1e-4)
        assert expected[int(own[:, 0].argmax())] == pytest.approx(min(expected), rel=1e-3, abs=1e-4)


def test_the_distance_from_a_true_straight_line_is_chi_squared() -> None:
    generator = np.random.default_rng(1)
    root = generator.normal(size=(6, 6))
    covariance = root @ root.T + 0.2 * np.eye(6)
    curves = np.arange(6.0) + generator.multivariate_normal(np.zeros(6), covariance, size=4000)
    straight = smooth_families((0.0, 1.0, 2.0, 3.0, 4.0, 5.0))[1]
    distance, _ = Whitened.by(covariance).projector(straight)(curves)
    assert stats.kstest(distance, stats.chi2(4).cdf).pvalue > 0.001


@pytest.mark.parametrize("name", ["straight", "quadratic", "exponential", "sigmoid", "ramp"])
def test_a_true_rival_is_rejected_no_more_often_than_asked(name: str) -> None:
    generator = np.random.default_rng(2)
    covariance = 0.05**2 * (0.5 * np.eye(7) + 0.5)
    family = next(f for f in smooth_families(tuple(map(float, range(7)))) if f.name == name)
    draws = generator.normal(size=(499, 7))
    rejected = 0
    for _ in range(200):
        basis = family.bases[generator.integers(len(family.bases))]
        spread = max(float(np.ptp(basis[:, 1])), 1e-6)
        truth = basis[:, 1] / spread
        curve = truth + generator.multivariate_normal(np.zeros(7), covariance)
        rejected += reject_rivals(curve, covariance, draws=draws).p[name] < 0.05
    # 200 repetitions at 5 %: 17 or fewer in 98 of 100 runs
    assert rejected <= 17


def test_planted_curves_are_what_they_say_in_the_population() -> None:
    noise, size = set_size_by_noise(POPULATION)
    assert (np.diff(size) > 0).all()
    for shape, levels in itertools.product(("straight", "step", "wide sigmoid"), (5, 7)):
        plan = plan_curve(POPULATION, shape, levels=levels, rise=0.5)
        wanted = SHAPES[shape](np.arange(float(levels)))
        relative = (plan.set_size - plan.set_size[0]) / (POPULATION.chance - plan.set_size[0])
        np.testing.assert_allclose(relative, 0.5 * (wanted - wanted[0]), atol=1e-6)
        np.testing.assert_allclose(np.interp(plan.noise, noise, size), plan.set_size, atol=1e-6)


def test_a_large_jump_alone_is_no_threshold_while_a_wide_sigmoid_fits() -> None:
    """A sigmoid whose middle half takes one level: chance makes one jump carry more than half of what is seen."""
    generator = np.random.default_rng(4)
    levels = np.arange(7.0)
    truth = 1.5 + 1.2 / (1 + np.exp(-(levels - 3.5) * 2 * np.log(3)))
    jumps, calls, blocked = 0, 0, 0
    for _ in range(120):
        curve = drawn_curve(list(truth + generator.normal(0, 0.06, 7)), error=0.06)
        share = np.diff(curve.replicates, axis=0).max(axis=0) - (curve.replicates[-1] - curve.replicates[0]) / 2
        alone = bool(np.quantile(share, 0.05) > 0)
        finding = judge(replace(curve, chance=None), simulations=499)
        jumps += alone
        calls += finding.verdict == "threshold"
        blocked += alone and any("curve fits" in note for note in finding.notes)
    assert jumps > calls
    assert blocked > 0
    assert calls <= 12  # 5 % of 120 is 6; 12 or fewer in 99 of 100 runs


def test_a_curve_is_judged_on_the_items_that_all_of_its_levels_share() -> None:
    cells = planted("step", n=400)
    rows = np.arange(50, 400)

    def kept(cell: Cell) -> Cell:
        return replace(
            cell,
            ids=tuple(cell.ids[row] for row in rows),
            answers=cell.answers[rows],
            n_options=cell.n_options[rows],
            scores=cell.scores[rows],
        )

    some = [kept(cell) if index == 2 else cell for index, cell in enumerate(cells)]
    assert primary(some).record() == primary([kept(cell) for cell in cells]).record()
    # nothing shared: no curve, and no invention
    other = replace(cells[3], ids=tuple(f"other-{i}" for i in range(400)))
    assert primary([*cells[:3], other, *cells[4:]]).finding.verdict == "undetermined"
