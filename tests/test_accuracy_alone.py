"""What accuracy alone would have passed: planted levels that keep all answers and lose certainty, and others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scripts.studies.synthetic import Plan, Population, draw_cells
from suite.cell import Cell
from suite.config import Protocol
from suite.metrics.rows import measure_cells
from suite.verdicts.accuracy_alone import _shown, both_sides, find_passed
from suite.verdicts.dose import Answers, Ladder
from suite.verdicts.dose_records import JOINT_KEYS
from suite.verdicts.given import Given

RULES = Protocol(splits=4, replicates=200)


def passed(cells: list[Cell]) -> list[dict[str, object]]:
    return find_passed(Given(measure_cells(cells, RULES, keep=JOINT_KEYS), RULES))


def cells(noise: float, n: int = 900) -> list[Cell]:
    return draw_cells(Population(strength=2.5), Plan(np.array([0.3, noise]), np.zeros(2)), n=n, seed=0)


def test_answers_kept_and_certainty_lost_is_found_and_has_no_explanation() -> None:
    dense, _ = cells(0.3)
    factor = np.exp(np.random.default_rng(1).normal(0, 2.0, (len(dense), 1)))
    scrambled = replace(dense, scores=(dense.scores * factor).astype(np.float32), variant={"name": "rtn-w4"})
    (record,) = passed([dense, scrambled])
    assert (record["variant"], record["accuracy_loss"], record["beyond_damage"]) == ("rtn-w4", 0, True)
    assert float(str(record["certainty_loss"])) > float(str(record["tolerance"]))
    assert (record["compared"], float(str(record["p_value"])) <= 0.05) == (3, True)


@pytest.mark.parametrize("noise", [0.3, 2.5])
def test_what_is_kept_or_lost_by_both_is_not_in_it(noise: float) -> None:
    assert passed(cells(noise)) == []


def ladder(lost: float, error: float, *, correct: np.ndarray | None = None) -> Ladder:
    generator = np.random.default_rng(0)
    noise = error * generator.normal(size=(2, 4000))
    answers = (
        () if correct is None else (Answers(correct, np.full(correct.shape[1], 0.25), np.arange(correct.shape[1])),)
    )
    values = np.array([0.0, lost])
    return Ladder(
        ("dense", "rtn-w4"), values, values[:, None] + noise * [[0], [1]], 1.0, np.ones(4000), 1001, answers=answers
    )


def test_each_side_counts_at_half_the_level() -> None:
    """Certainty at .15 with an error of .02, accuracy at .05 with .02: 2.5 standard errors either side of .10."""
    both = {"accuracy": ladder(0.05, 0.02), "brier_ts": ladder(0.15, 0.02)}
    (p,) = both_sides(both, 0.10)
    assert p == pytest.approx(2 * 0.0063, rel=0.15)  # stdtr(1000, -2.5) = .0063
    assert both_sides(both, 0.05)[0] == pytest.approx(1.0, abs=0.1)
    assert both_sides(both, 0.15)[0] == pytest.approx(1.0, abs=0.1)


def test_every_level_share_and_curve_that_was_asked_is_paid_for() -> None:
    asked = [
        {"model": "m", "method": "rtn", "variant": f"v{i}", "task": "t", "tolerance": 0.1, "p_value_raw": 0.004}
        for i in range(12)
    ]
    assert len(_shown(asked)) == 12
    rest = [{**asked[0], "variant": f"w{i}", "p_value_raw": 1.0} for i in range(2)]
    # Holm: 14 times .004 is above .05
    assert _shown([*asked, *rest]) == []
