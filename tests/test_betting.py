"""Capital of bets: exact martingale and error rates over all sequences, a slow twin, MAPIE's bounds, hashed order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from suite.metrics.betting import LED, SPREAD, STAKES, log_capital

Floats = NDArray[np.float64]
PRIOR = ((0.1, 9.0), (-0.9, 0.5), (1.1, 0.5))


def every_sequence(values: tuple[float, ...], chances: tuple[float, ...], n: int) -> tuple[Floats, Floats]:
    """All sequences of n items and the probability of each."""
    places = np.array(list(itertools.product(range(len(values)), repeat=n)))
    return np.array(values)[places], np.array(chances)[places].prod(axis=1)


WORLDS = {
    "as often lost as gained": ((-0.9, 0.1, 1.1), (0.15, 0.8, 0.05)),
    "seldom lost": ((-1.0, 0.05, 0.0), (1 / 21, 20 / 21, 0.0)),
    "never moves": ((0.0, 0.0, 0.0), (0.2, 0.3, 0.5)),
    "half and half": ((-1.0, 0.0, 1.0), (0.5, 0.0, 0.5)),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("aimed", [True, False])
def test_nothing_is_gained_on_average_and_whoever_stops_at_the_best_moment_errs_in_5_percent(
    world: str, aimed: bool
) -> None:
    values, chances = WORLDS[world]
    mean = float(np.dot(values, chances))
    sequences, probability = every_sequence(values, chances, 8)
    assert mean <= 1e-12
    path = log_capital(
        sequences, low=-1.0, mirrored=0.2 - sequences if aimed else None, prior=PRIOR if aimed else ((0.3, 1.0),)
    )
    if abs(mean) < 1e-12:
        # exactly fair at every look, not only at the last
        np.testing.assert_allclose(probability @ np.exp(path), 1.0, rtol=1e-9)
    for level in (0.05, 0.2, 0.5):
        stopped = path.max(axis=1) >= np.log(1 / level)
        assert probability @ stopped <= level + 1e-12


@pytest.mark.parametrize(
    ("name", "values", "chances"),
    [
        ("flips both ways", (-0.95, 0.05, 1.05), (0.075, 0.9, 0.025)),
        ("few flips", (-0.98, 0.02, 1.02), (0.025, 0.97, 0.005)),
        ("all lost on a few", (-0.95, 0.05, 0.05), (0.05, 0.95, 0.0)),
    ],
)
def test_an_adversary_who_looks_after_every_item_is_wrong_in_5_percent(
    name: str, values: tuple[float, ...], chances: tuple[float, ...]
) -> None:
    """1,500 planted streams exactly at the limit; 3 standard errors are allowed for."""
    assert abs(np.dot(values, chances)) < 1e-12, name
    streams = np.random.default_rng(5).choice(values, p=chances, size=(1500, 200))
    limit = -values[0] - 1
    path = log_capital(streams, low=values[0], mirrored=-2 * limit - streams, prior=PRIOR)
    wrong = float((path.max(axis=1) >= np.log(20)).mean())
    assert 0.002 < wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def slow_twin(values: list[float], low: float, mirrored: list[float] | None, prior: list[tuple[float, float]]) -> float:
    """The same capital, item by item, in plain arithmetic."""
    led, spread = LED, [(1 - LED) / len(SPREAD)] * len(SPREAD)
    for place, value in enumerate(values):

        def grown(stake: float, before: int = place) -> float:
            total = sum(weight * np.log(1 + stake * one / -low) for one, weight in prior)
            for earlier in range(before):
                images = [values[earlier], *([] if mirrored is None else [mirrored[earlier]])]
                total += np.mean([np.log(1 + stake * image / -low) for image in images])
            return float(total)

        led *= 1 + max(STAKES, key=grown) * value / -low
        spread = [part * (1 + fraction * value / -low) for part, fraction in zip(spread, SPREAD, strict=True)]
    return led + sum(spread)


def test_the_capital_is_what_its_definition_says() -> None:
    values = np.random.default_rng(1).choice([-0.9, 0.1, 0.4], size=12)
    mirrored = 0.2 - values
    prior = [(0.05, 3.0), (-0.5, 1.0)]
    found = np.exp(log_capital(values, low=-0.95, mirrored=mirrored, prior=prior)[-1])
    assert found == pytest.approx(slow_twin(values.tolist(), -0.95, mirrored.tolist(), prior), rel=1e-9)
    alone = np.exp(log_capital(values, low=-0.95, prior=prior)[-1])
    assert alone == pytest.approx(slow_twin(values.tolist(), -0.95, None, prior), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 2, allow_nan=False), min_size=2, max_size=30), st.integers(0, 5), st.integers(1, 29))
def test_what_comes_later_changes_no_look(values: list[float], seen: int, kept: int) -> None:
    path = log_capital(np.array(values), low=-1.0, seen=seen)
    short = log_capital(np.array(values[:kept]), low=-1.0, seen=seen)
    np.testing.assert_allclose(path[:kept], short, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(path[:seen], 0.0, atol=1e-12)


def test_values_below_the_bound_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"-0.5 lies below -0.4"):
        log_capital(np.array([0.1, -0.5]), low=-0.4)
    with pytest.raises(ValueError, match="nothing is staked"):
        log_capital(np.array([0.1]), low=0.0)


def test_mapie_monitors_the_same_streams_and_is_never_contradicted_nor_faster() -> None:
    """MAPIE's time-uniform bound (conjugate mixture, empirical Bernstein) of a mean in [0, 1] against a threshold."""
    from mapie.exchangeability_testing.bounds import conjugate_mixture_empirical_bernstein_bound

    generator, limit, both, sooner = np.random.default_rng(3), 0.2, 0, 0
    for mean in (0.1, 0.2, 0.35, 0.5):
        for _ in range(4):
            risks = (generator.random(150) < mean).astype(float)
            theirs = conjugate_mixture_empirical_bernstein_bound(risks, v_opt=10, alpha=0.1, bound_side="lower") > limit
            above = log_capital(risks - limit, low=-limit) >= np.log(20)
            below = log_capital(limit - risks, low=limit - 1) >= np.log(20)
            assert not (theirs.any() and below.any())
            assert not (above.any() and below.any())
            if theirs.any():
                both += 1
                assert above.any()
                sooner += int(above.argmax() <= theirs.argmax())
    assert both >= 4
    assert sooner == both


def test_mapie_finds_a_files_order_not_exchangeable_and_the_hashed_order_exchangeable() -> None:
    """A task sorted by subject, easy ones first, is no random order; items by a hash of their id are."""
    from mapie.exchangeability_testing import OnlineMartingaleTest
    from mapie.regression import SplitConformalRegressor
    from sklearn.dummy import DummyRegressor

    from suite.decisions.item_by_item import item_order

    generator = np.random.default_rng(0)
    ids = [f"item-{row}" for row in range(240)]
    brier = dict(zip(ids, np.sort(generator.random(240)) + generator.normal(0, 0.1, 240), strict=True))
    ordered = item_order("task", ids, ids, [4] * 240).ids
    assert ordered != tuple(ids)
    assert sorted(ordered) == sorted(ids)
    found = []
    for order in (ids, ordered):
        model = DummyRegressor(strategy="constant", constant=0.0).fit(np.zeros((2, 1)), [0.0, 0.0])
        test = OnlineMartingaleTest(
            SplitConformalRegressor(model, prefit=True), task="regression", random_state=0, warn=False
        )
        test.update(np.zeros((240, 1)), np.array([brier[name] for name in order]))
        found.append(test.is_exchangeable)
    assert found == [False, True]
