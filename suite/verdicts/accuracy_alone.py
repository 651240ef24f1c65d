"""What accuracy alone would have passed: levels where accuracy is shown kept and certainty shown lost, at one share.

Both are asked at the same level and the same share of the way from dense to chance, with the tests of doses
(`suite.verdicts.dose`): accuracy has lost less than that share, the Brier score after temperature more. Each must hold
at 2.5 %, corrected by Holm over all shares, levels and curves that were asked. A finer instrument shows more at equal
numbers of items, so that alone says only that Brier is the finer one; where set size is lost beyond what the damage
explains (`suite.verdicts.decoupling`), certainty went further than accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from suite.metrics.slices import holm
from suite.metrics.workers import in_processes
from suite.verdicts.curves import MACRO
from suite.verdicts.dose import TOLERANCES, Ladder, share_of, sides
from suite.verdicts.dose_records import ladders_of
from suite.verdicts.given import Given

ACCURACY, CERTAINTY = "accuracy", "brier_ts"

LEVEL = 0.05
"""Of the corrected p-value, which is twice the larger one of the two tests: 2.5 % each."""


def find_passed(given: Given) -> list[dict[str, object]]:
    """One record a level that is shown, at the smallest share at which it is.

    Averages over tasks are one family of hypotheses, single tasks another. ``tolerance``: the share; ``accuracy_loss``,
    ``certainty_loss``: what was lost, as shares of the headroom; ``p_value``: corrected for all of ``compared``;
    ``beyond_damage``: whether set size is lost beyond what the damage explains, None where that is not known.
    """
    shares = given.config.primary.tolerances if given.config and given.config.primary else TOLERANCES
    beyond = {
        (one["model"], one["variant"], one["task"]): (one["excess_low"] or 0) > 0  # type: ignore[operator]
        for one in given.couplings
    }
    curves = ladders_of(given, (ACCURACY, CERTAINTY))
    tests = in_processes(partial(_tests, shares=sorted(shares)), [both for _, both in curves], workers=given.workers)
    asked = [
        {
            **{"model": curve.model, "method": curve.method, "variant": name, "task": curve.task, "tolerance": share},
            **{"accuracy_loss": share_of(both[ACCURACY], level), "certainty_loss": share_of(both[CERTAINTY], level)},
            **{"p_value_raw": p, "beyond_damage": beyond.get((curve.model, name, curve.task))},
        }
        for (curve, both), found in zip(curves, tests, strict=True)
        for share, ps in found.items()
        for level, (name, p) in enumerate(zip(curve.names, ps, strict=True), 1)
    ]
    return [one for averages in (True, False) for one in _shown([o for o in asked if (o["task"] == MACRO) == averages])]


def _tests(ladders: Mapping[str, Ladder], *, shares: Sequence[float]) -> dict[float, list[float]]:
    return {share: both_sides(ladders, share) for share in shares}


def both_sides(ladders: Mapping[str, Ladder], share: float) -> list[float]:
    """For each level the p-value of "accuracy has lost less and certainty more than this share"."""
    kept, _ = sides(ladders[ACCURACY], share)
    _, lost = sides(ladders[CERTAINTY], share)
    return [min(1.0, 2 * max(pair)) for pair in zip(kept, lost, strict=True)]


def _shown(asked: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    corrected = holm([float(str(one["p_value_raw"])) for one in asked])
    found: dict[tuple[object, ...], dict[str, object]] = {}
    for one, p in zip(asked, corrected, strict=True):
        if p <= LEVEL:
            found.setdefault(
                (one["model"], one["method"], one["variant"], one["task"]), one | {"p_value": p, "compared": len(asked)}
            )
    return list(found.values())
