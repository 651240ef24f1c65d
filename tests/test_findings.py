"""Sentences and tables of docs/findings.md, on records whose answers are plain."""

from __future__ import annotations

from typing import Any

import pytest
from support.dose_curves import curve

from scripts.markers import kept_block
from scripts.studies.findings import (
    DOCUMENT,
    PLACES,
    SNAPSHOT,
    accuracy_holds,
    decided,
    levels_table,
    of_snapshot,
    shapes_table,
    sizes_table,
    sizes_tables,
    steepness,
    texts,
)
from suite.publish.doses import Lead, headlines

BITS = ("rtn-w8", "rtn-w4", "rtn-w3")


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def body(text: str) -> list[list[str]]:
    return [cells_of(line) for line in text.splitlines()[2:]]


def losses(metric: str, *values: float, half: float = 0.05, states: str = "kwl") -> list[dict[str, Any]]:
    records = curve("m_1", "rtn", BITS, states, metric=metric)
    for one in records:
        for level, value in zip(one["levels"], values, strict=True):
            level |= {"loss": value, "low": value - half, "high": value + half}
    return records


RECORDS = losses("brier_ts", 0.01, 0.2, 0.9) + losses("accuracy", 0.02, 0.04, 0.7)
COUPLED = [
    {"model": "m_1", "variant": "rtn-w4", "task": "macro", "verdict": "coupled"}
    | {"set_size_change": 0.15, "set_size_change_low": 0.09, "set_size_change_high": 0.2},
    {"model": "m_1", "variant": "rtn-w8", "task": "sciq", "verdict": "improved", "set_size_change": 9.0},
]


def test_losses_of_both_measures_stand_side_by_side() -> None:
    assert body(levels_table(headlines(RECORDS), COUPLED, "brier_ts")) == [
        ["m\\_1", "`rtn-w8`", "0.01 [−0.04, 0.06]", "0.02 [−0.03, 0.07]", "–", "–"],
        ["m\\_1", "`rtn-w4`", "0.20 [0.15, 0.25]", "0.04 [−0.01, 0.09]", "+0.15 [+0.09, +0.20]", "coupled"],
        ["m\\_1", "`rtn-w3`", "0.90 [0.85, 0.95]", "0.70 [0.65, 0.75]", "–", "–"],
    ]


def test_levels_at_which_accuracy_holds_are_counted_and_those_with_lost_certainty_named() -> None:
    said = accuracy_holds(headlines(RECORDS), "brier_ts")
    assert said.startswith("At 2 of 3 levels accuracy is not shown to be lower")
    assert "certainty is shown to be lower at 1 of them: `rtn-w4` of m\\_1 (0.20 [0.15, 0.25])." in said
    assert said.endswith("certainty has lost the larger share at 2 of 3.")
    assert "lower at 0 of them. " in accuracy_holds(
        headlines(losses("brier_ts", 0, 0, 0.9) + losses("accuracy", 0, 0, 0.9)), "brier_ts"
    )


def sized(variant: str, small: float, large: float | None, **other: Any) -> dict[str, Any]:
    models = [{"model": "q-1.5b", "params_b": 1.5, "value": large, "low": 0.1, "high": 0.2}] * (large is not None)
    models.append({"model": "q-0.5b", "params_b": 0.5, "value": small, "low": 0.0, "high": 0.4})
    pair = {
        "larger": "q-1.5b",
        "smaller": "q-0.5b",
        "difference": (large or 0) - small,
        "difference_low": -0.3,
        "difference_high": -0.1,
    }
    return {
        **{"task": "macro", "metric": "set_size", "confounded": False, "variant": variant, "models": models},
        **{"differences": [pair] * (large is not None), **other},
    }


def test_sizes_stand_in_their_order_with_the_difference() -> None:
    left_out = [sized("dense", 3, 2), sized("rtn-w4@seed1", 0.3, 0.1), sized("rtn-w4", 0.3, 0.1, task="sciq")]
    left_out.append(sized("rtn-w4", 0.3, 0.1, metric="brier_ts"))
    text = sizes_table([sized("rtn-w4", 0.35, 0.15), sized("rtn-w3", 0.9, None), *left_out], "set_size")
    assert cells_of(text.splitlines()[0]) == ["variant", "q-0.5b (500M)", "q-1.5b (1.5B)", "larger less smaller"]
    assert body(text) == [
        ["`rtn-w4`", "0.35 [0.00, 0.40]", "0.15 [0.10, 0.20]", "−0.20 [−0.30, −0.10]"],
        ["`rtn-w3`", "0.90 [0.00, 0.40]", "–", "–"],
    ]
    assert sizes_table([sized("rtn-w4", 0.3, 0.1, confounded=True)], "set_size").startswith("No table")
    assert sizes_tables([]).startswith("No table")


def verdict(method: str, said: str, jump: float | None, **other: Any) -> dict[str, Any]:
    return {
        **{"model": "m_1", "method": method, "family": "quantization", "metric": "set_size", "task": "macro"},
        **{"verdict": said, "jump": jump, "level": None, "rise_width": 0.74, "steepest_share": 0.678},
        **{"steepest_share_low": 0.58, "steepest_share_high": 0.81, **other},
    }


def test_shapes_stand_beside_doses() -> None:
    records = curve("m_1", "rtn", BITS, "kwl", dose=(5.09, 4.82, 6.36))
    verdicts = [verdict("rtn", "threshold", 0.4, level="rtn-w3"), verdict("rtn", "gradual", 0.4, task="sciq")]
    verdicts += [verdict("rtn", "none", 0.4, metric="nll"), verdict("gptq", "undetermined", 0.3)]
    (line,) = body(shapes_table(headlines(records), verdicts, "brier_ts", [0.05, 0.1, 0.25]))
    assert line == [
        *("m\\_1", "rtn", "`rtn-w8`", "`rtn-w3`", "5.09 [4.82, 6.36]", "5.09 [4.82, 6.36]"),
        *("threshold at `rtn-w3`", "0.68 [0.58, 0.81]", "0.7"),
    ]
    (line,) = body(shapes_table(headlines(records), [], "brier_ts", [0.05, 0.1, 0.25]))
    assert line[6:] == ["–", "–", "–"]
    assert steepness([*verdicts, verdict("awq", "undetermined", None)]) == (
        "Of 3 curves (averages over tasks), by verdict: 1 threshold, 1 undetermined; 1 with too few levels to be "
        "judged."
    )
    assert steepness([]) == "Of 0 curves (averages over tasks), by verdict: none can be judged."


def test_curves_that_are_nearly_decided_are_counted() -> None:
    records = curve("m", "a", BITS, "knl") + curve("m", "b", BITS, "nnl") + curve("m", "c", BITS, "kkl")
    assert decided(headlines(records), "brier_ts") == "At most one level is not known on 2 of 3 curves."


@pytest.mark.parametrize("scale", [[], [sized("rtn-w4", 0.35, 0.15)]])
def test_every_place_of_the_page_is_written_however_much_there_is(scale: list[Any]) -> None:
    files = {"doses.json": RECORDS, "decoupling.json": [], "scale.json": scale, "verdicts.json": []}
    found = texts(files, Lead("brier_ts", chosen_before=True), "Unfinished: one.")
    assert set(found) == set(PLACES)
    assert all(found.values())
    assert found["cells"] == "Unfinished: one."
    assert texts(files, Lead("brier_ts"), "")["cells"] == "Every cell of its configuration is there."
    assert ("q-1.5b against q-0.5b" in found["size"]) == bool(scale)


def test_the_page_says_what_the_committed_snapshot_says() -> None:
    for name, text in of_snapshot(SNAPSHOT).items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        stale = f"docs/findings.md, {name}: run python -m scripts.studies.findings"
        assert kept_block(DOCUMENT, start, end) == f"{start}\n{text}\n{end}", stale
