"""Fold membership: shared, grouped, reproducible, of the stated sizes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from suite.metrics import folds


def test_folds_have_the_stated_shares_and_cover_every_item_once():
    ids = [f"q{i}" for i in range(20_000)]
    found = folds.hashed_folds(ids, splits=3)
    for split in range(3):
        sizes = [len(fold[split]) / 20_000 for fold in (found.temperature, found.conformal, found.test)]
        assert sizes == pytest.approx([0.2, 0.4, 0.4], abs=0.015)
        together = np.concatenate([found.temperature[split], found.conformal[split], found.test[split]])
        assert sorted(together.tolist()) == list(range(20_000))
        rest = np.concatenate([found.conformal[split], found.test[split]])
        assert sorted(found.rescaled[split].tolist()) == sorted(rest.tolist())


def test_membership_is_independent_between_splits_and_seeds():
    ids = [f"q{i}" for i in range(20_000)]
    two, other = folds.hashed_folds(ids, splits=2), folds.hashed_folds(ids, splits=1, seed=1)
    for fold in (two.test[1], other.test[0]):
        both = len(np.intersect1d(two.test[0], fold)) / 20_000
        assert both == pytest.approx(0.16, abs=0.01)


def test_membership_depends_on_the_unit_alone():
    ids = [f"q{i}" for i in range(300)]
    order = np.random.default_rng(0).permutation(300)
    whole = folds.hashed_folds(ids, splits=4)
    shuffled = folds.hashed_folds([ids[i] for i in order[:100]], splits=4)
    for split in range(4):
        assert {ids[i] for i in whole.test[split]} >= {ids[order[i]] for i in shuffled.test[split]}
        assert not {ids[i] for i in whole.conformal[split]} & {ids[order[i]] for i in shuffled.test[split]}


def test_membership_stays_what_it_was():
    # Snapshots are recomputed years later: a change of the hash is a change of every published number.
    found = folds.hashed_folds([f"item{i}" for i in range(12)], splits=2)
    assert [fold.tolist() for fold in found.conformal] == PINNED_CONFORMAL
    assert [fold.tolist() for fold in found.test] == PINNED_TEST
    assert folds.item_draws(["item0", "item1"], purpose="aps").tolist() == PINNED_DRAWS


PINNED_CONFORMAL = [[0, 5, 6, 9], [1, 7, 9, 11]]
PINNED_TEST = [[2, 3, 4, 7, 8, 10], [0, 3, 5, 8]]
PINNED_DRAWS = [0.004541919149903428, 0.860669227414806]


def test_draws_are_uniform_and_unrelated_between_purposes():
    ids = [f"q{i}" for i in range(20_000)]
    aps, tie = folds.item_draws(ids, purpose="aps"), folds.item_draws(ids, purpose="tie")
    counts = np.histogram(aps, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-square, 19 degrees of freedom
    assert abs(np.corrcoef(aps, tie)[0, 1]) < 0.03
    assert abs(np.corrcoef(aps, folds.item_draws(ids, purpose="aps", seed=1))[0, 1]) < 0.03


def test_published_folds_are_those_of_the_paper():
    kept = [i for i in range(10_000) if i not in (1, 3, 5, 7, 9)]
    first, second = train_test_split(kept, train_size=0.5, random_state=42)
    found = folds.ye2024_folds(10_000)
    assert found.conformal[0].tolist() == first
    assert found.test[0].tolist() == second


@pytest.mark.parametrize("n", [1, 2, 3])
def test_published_folds_of_a_handful_of_rows(n):
    found = folds.ye2024_folds(n)
    assert len(found.conformal[0]) + len(found.test[0]) == (2 if n == 3 else 0)
