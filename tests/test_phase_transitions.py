"""The transition of a perplexity curve, on curves whose transition is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.studies.phase_transitions import curve_rows, doubling, half_lost, main, transition

DOSE = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])


def planted(point: float, *, power: float = 3.0, rate: float = 12.0) -> np.ndarray:
    """20 at dose 0, a power law that adds 10 at `point`, and an exponential beyond it."""
    before = 20 + 10 * (np.minimum(DOSE, point) / point) ** power
    return np.asarray(before * np.exp(rate * np.maximum(DOSE - point, 0)))


@pytest.mark.parametrize("point", [0.3, 0.45, 0.6])
def test_a_planted_transition_is_found(point: float) -> None:
    noise = 0.01 * np.random.default_rng(7).standard_normal(len(DOSE))
    noise[0] = 0
    found = transition(DOSE, planted(point) * np.exp(noise))
    assert found.point == pytest.approx(point, abs=0.03)
    assert found.low is not None
    assert found.high is not None
    assert found.low - 0.02 <= point <= found.high + 0.02
    assert found.residual < 0.03


def test_a_pure_power_law_has_no_transition_inside() -> None:
    found = transition(DOSE, 20 + 300 * DOSE**4)
    assert found.high is not None
    assert found.high >= DOSE[-2] - 1e-9


def test_as_many_parameters_as_points_give_no_range() -> None:
    found = transition(DOSE[:5], planted(0.3)[:5])
    assert found.low is None
    assert found.high is None


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(1.5, 30))
def test_doubling_of_an_exponential_is_its_closed_form(rate: float) -> None:
    assert doubling(DOSE, 20 * np.exp(rate * DOSE)) == pytest.approx(np.log(2) / rate)


def test_doubling_counts_for_good_only() -> None:
    assert doubling(DOSE[:5], np.array([10.0, 30.0, 11.0, 15.0, 40.0])) > 0.3  # type: ignore[operator]
    assert doubling(DOSE[:3], np.array([10.0, 30.0, 12.0])) is None


def test_half_is_lost_between_two_levels_and_for_good() -> None:
    dose = np.array([0.0, 0.2, 0.4, 0.6])
    assert half_lost(dose, np.array([3.0, 3.1, 3.2, 3.4]), 3.6) == pytest.approx(0.5)
    assert half_lost(dose, np.array([3.0, 3.4, 3.1, 3.4]), 3.6) == pytest.approx(0.4 + 0.2 * 2 / 3)
    assert half_lost(dose, np.array([3.0, 3.4, 3.1, 3.2]), 3.6) is None
    assert half_lost(dose, np.array([3.7, 3.4, 3.1, 3.2]), 3.6) is None  # nothing to lose


def test_table_lines_name_levels_and_verdicts() -> None:
    names = ["dense", "magnitude-s60", "rtn-w4", "magnitude-s20", "rtn-w3", "rtn-w8", "magnitude-s40"]
    values = [20.0, 200.0, 22.0, 21.0, 30.0, 20.0, 40.0]
    found = [{"name": name, "perplexity": value} for name, value in zip(names, values, strict=True)]
    found += [{"name": "wanda-s50@seed1", "perplexity": 30.0}, {"name": "wanda-s50", "perplexity": 30.0}]
    verdict = {"model": "m", "metric": "set_size", "family": "sparsity", "method": "magnitude", "task": "macro"}
    verdict |= {"verdict": "threshold", "level": "magnitude-s60"}
    other = verdict | {"family": "N:M", "verdict": "gradual"}  # another curve of the same method
    sizes = {"dense": 3.0, "magnitude-s20": 3.0, "magnitude-s40": 3.2, "magnitude-s60": 3.6, "rtn-w8": 3.0}
    averages = {name: (size, 3.6) for name, size in sizes.items()}
    (sparse, bits) = curve_rows(found, [other, verdict], averages, "m")
    assert sparse.startswith("| `magnitude` | s20 1.05, s40 2.00, s60 10.00 | 40 % | – | 55 to 65 % | 45 % |")
    assert "average: threshold at magnitude-s60" in sparse
    assert "gradual" not in sparse
    assert bits == "| `rtn` | w8 1.00, w4 1.10, w3 1.50 | – | – | below 3 bits | – | – |"


def test_a_table_without_measurements_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["phase_transitions.py", "--table-only", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"no perplexity of the dense model; leave out --table-only"):
        main()
