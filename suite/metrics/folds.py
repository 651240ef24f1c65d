"""Which items calibrate, which set the temperature, which are tested: the protocols, in one place.

Under ``exact`` an item's fold follows from a hash of its unit (its group, else its id) and of the split number alone.
Every variant of every model therefore shares the folds, so that comparisons are paired, and items of one group stay
together. Under ``ye2024`` the folds are those of arXiv 2401.12794, which follow from the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from suite.arrays import Bools, Floats, Numbers

TEMPERATURE_SHARE = 0.2
CONFORMAL_SHARE = 0.4
TEST_SHARE = 0.4

TEMPERATURE_SPLITS = 10
"""Splits over which after-temperature figures are averaged (fewer where fewer splits are asked for)."""

INTERVAL_SPLITS = 50
"""Splits averaged inside each bootstrap replicate (fewer where fewer splits are asked for)."""

YE2024_DROPPED_ROWS = (1, 3, 5, 7, 9)
YE2024_SEED = 42

_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


NO_ITEM: Numbers = np.empty(0, dtype=np.intp)


@dataclass(frozen=True)
class Folds:
    """Item indices of each fold, one entry a split.

    Attributes:
        temperature: items on which the temperature is fitted.
        rescaled: items on which after-temperature figures are evaluated; shares no item with `temperature`.
        conformal: items whose scores give the conformal threshold.
        test: items whose prediction sets are counted; shares no item with `conformal`.
    """

    temperature: tuple[Numbers, ...]
    rescaled: tuple[Numbers, ...]
    conformal: tuple[Numbers, ...]
    test: tuple[Numbers, ...]

    def __len__(self) -> int:
        return len(self.test)

    def first(self, splits: int) -> Folds:
        """The first so many splits."""
        return Folds(self.temperature[:splits], self.rescaled[:splits], self.conformal[:splits], self.test[:splits])


def membership(fold: Sequence[Numbers], n: int) -> Bools:
    """Which of n items each split has in a fold, shape [splits, n].

    >>> membership((np.array([2, 0]), np.array([1])), 3).tolist()
    [[True, False, True], [False, True, False]]
    """
    inside = np.zeros((len(fold), n), dtype=bool)
    inside[np.repeat(np.arange(len(fold)), [len(items) for items in fold]), np.concatenate([*fold, NO_ITEM])] = True
    return inside


def unit_keys(units: Sequence[str | int], *, purpose: str = "fold") -> NDArray[np.uint64]:
    """A 64-bit BLAKE2b key for each unit; different purposes give unrelated keys.

    >>> bool((unit_keys(["a", "b"]) == unit_keys(["b", "a"])[::-1]).all())
    True
    """
    prefix = purpose.encode() + b"\x00"
    digests = b"".join(
        hashlib.blake2b(prefix + str(unit).encode("utf-8", "surrogatepass"), digest_size=8).digest() for unit in units
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def uniforms(keys: NDArray[np.uint64], seed: int) -> Floats:
    """One uniform number in [0, 1) a key, mixed from key and seed by SplitMix64.

    Args:
        keys: from `unit_keys`, shape [n].
        seed: any whole number of 0 or more; different seeds give independent numbers.

    Returns:
        Multiples of 2**-53, shape [n].

    Reference: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

    >>> u = uniforms(unit_keys([str(i) for i in range(1000)]), seed=3)
    >>> bool(0.45 < u.mean() < 0.55 and u.min() >= 0 and u.max() < 1)
    True
    """
    with np.errstate(over="ignore"):
        mixed = _splitmix(keys ^ _splitmix(np.full(1, seed % 2**64, dtype=np.uint64)))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + _ODD
    state = (state ^ (state >> np.uint64(30))) * _MIX[0]
    state = (state ^ (state >> np.uint64(27))) * _MIX[1]
    return state ^ (state >> np.uint64(31))


def item_draws(ids: Sequence[str | int], *, purpose: str, seed: int = 0) -> Floats:
    """One uniform number in [0, 1) an item, a function of its id, the purpose and the seed.

    Order, variant and model change nothing, so the same item meets the same draw in every cell.

    >>> item_draws(["q1"], purpose="aps")[0] == item_draws(["q0", "q1"], purpose="aps")[1]
    np.True_
    """
    return uniforms(unit_keys(ids, purpose=purpose), seed)


def hashed_folds(units: Sequence[str | int], *, splits: int, seed: int = 0) -> Folds:
    """Folds of the ``exact`` protocol.

    With u the uniform number of (unit, split): temperature where u < 0.2, conformal where 0.2 <= u < 0.6, test from 0.6
    up. After-temperature figures are evaluated on the conformal and test folds together.

    Args:
        units: the unit of each item, shape [n].
        splits: how many splits.
        seed: changes every split; split s of seed r uses the number r * 2**32 + s.

    Returns:
        Folds; with few units a fold can be empty, which callers must expect.

    >>> folds = hashed_folds([f"item{i // 2}" for i in range(200)], splits=2)
    >>> bool(set(folds.conformal[0] // 2) & set(folds.test[0] // 2))
    False
    """
    keys = unit_keys(units)
    temperature, rescaled, conformal, test = [], [], [], []
    for split in range(splits):
        draw = uniforms(keys, (seed << 32) + split)
        warm = draw < TEMPERATURE_SHARE
        tested = draw >= TEMPERATURE_SHARE + CONFORMAL_SHARE
        temperature.append(np.flatnonzero(warm))
        rescaled.append(np.flatnonzero(~warm))
        conformal.append(np.flatnonzero(~warm & ~tested))
        test.append(np.flatnonzero(tested))
    return Folds(tuple(temperature), tuple(rescaled), tuple(conformal), tuple(test))


def ye2024_folds(n: int, dropped: Sequence[int] = YE2024_DROPPED_ROWS) -> Folds:
    """The one split of arXiv 2401.12794.

    Rows 1, 3, 5, 7, 9 (zero-based; the demonstrations of its prompts) are dropped; scikit-learn's ``train_test_split``
    with ``train_size=0.5, random_state=42`` halves the rest. That protocol fits no temperature; here the conformal half
    fits it and the test half evaluates it.

    Args:
        n: number of rows; with fewer than two kept rows every fold is empty.
        dropped: rows to drop, where the demonstrations were never scored and rows have other numbers. The split depends
            on the number and order of the kept rows alone, so it is that of the whole file.
    """
    kept = np.setdiff1d(np.arange(n), np.asarray(dropped, dtype=np.intp))
    if len(kept) < 2:
        none = (np.empty(0, dtype=np.intp),)
        return Folds(none, none, none, none)
    from sklearn.model_selection import train_test_split

    first, second = train_test_split(kept, train_size=0.5, random_state=YE2024_SEED)
    conformal, test = (np.asarray(first, dtype=np.intp),), (np.asarray(second, dtype=np.intp),)
    return Folds(conformal, test, conformal, test)
