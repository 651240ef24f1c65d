"""The three sentences: right where the rows can answer, and plain about it where they cannot."""

from __future__ import annotations

import random
from typing import Any

import pytest
from support.synthetic_cells import synthetic_cells, synthetic_rows

from suite.publish.sections.highlights import highlights

Rows = list[dict[str, Any]]


def a_row(variant: str, task: str = "sciq", *, model: str = "m", **values: object) -> dict[str, Any]:
    """A row above chance; a compressed one with no change against dense unless told otherwise."""
    row: dict[str, Any] = {
        **{"model": model, "variant": variant, "task": task, "scoring": "letter", "prompt": "p", "shots": 0},
        **{"protocol": "exact", "alpha": 0.1, "params_b": 1.0, "flags": [], "notes": {}},
        **{"accuracy": 0.6, "chance_accuracy": 0.25, "ece": 0.2, "ece_ts": 0.05},
    }
    if variant != "dense":
        row |= change("accuracy_change", 0.0, 0.02) | change("set_size_change", 0.0, 0.1)
        row |= change("lac_transfer_coverage", 0.9, 0.01)
        row |= change("ece_ts_change", 0.0, 0.01) | change("nll_ts_change", 0.0, 0.01)
    return row | values


def change(key: str, value: float, half: float) -> dict[str, float]:
    return {key: value, f"{key}_low": value - half, f"{key}_high": value + half}


def silent(by: float = 0.3) -> dict[str, float]:
    return change("set_size_change", by, 0.1) | change("accuracy_change", -0.01, 0.02)


def loud() -> dict[str, float]:
    return change("set_size_change", 0.8, 0.1) | change("accuracy_change", -0.2, 0.05)


def test_three_sentences_of_computed_rows_whatever_their_order() -> None:
    rows = synthetic_rows(synthetic_cells(tasks={"sciq": 4, "boolq": 2}, n=80), replicates=20)
    sentences = highlights(rows)
    assert [sentence.split(":")[0] for sentence in sentences] == [
        "Accuracy against uncertainty",
        "Coverage without recalibration",
        "Calibration",
    ]
    assert all(sentence.endswith(".") and "None" not in sentence and "\n" not in sentence for sentence in sentences)
    random.Random(0).shuffle(rows)
    assert highlights(rows) == sentences


def test_no_rows_no_sentences() -> None:
    assert highlights([]) == []


# ---------------------------------------------------------------- accuracy against uncertainty


def test_the_first_silent_level_of_a_curve_is_named() -> None:
    rows = [a_row("dense"), a_row("rtn-w8"), a_row("rtn-w4", **silent()), a_row("rtn-w3", **silent(0.5))]
    rows += [a_row("magnitude-s20"), a_row("magnitude-s50", **loud())]
    sentence = highlights(rows)[0]
    assert "on 1 of 2 compression curves, first at rtn-w4 (" in sentence
    assert "(set size +0.300 [+0.200, +0.400], accuracy −0.010 [−0.030, +0.010])" in sentence
    assert "rtn-w3" not in sentence
    assert "not adjusted for the number of comparisons" in sentence


def test_no_silent_level_is_said() -> None:
    rows = [a_row("dense"), a_row("rtn-w8"), a_row("rtn-w3", **loud())]
    assert "on none of 1 compression curve does set size grow while accuracy shows no change" in highlights(rows)[0]


def test_a_smaller_set_is_no_silent_loss() -> None:
    rows = [a_row("dense"), a_row("rtn-w3", **silent(-0.3))]
    assert "on none of 1" in highlights(rows)[0]


def test_the_average_over_tasks_decides() -> None:
    """One task grows and one shrinks: on average nothing changed."""
    rows = [a_row("dense", task) for task in ("a", "b")]
    rows += [a_row("rtn-w3", "a", **silent(0.3)), a_row("rtn-w3", "b", **silent(-0.3))]
    assert "on none of 1" in highlights(rows)[0]


@pytest.mark.parametrize(
    "spoil",
    [
        {"set_size_change": None},
        {"set_size_change_low": None, "set_size_change_high": None},
        {"accuracy_change": None},
        {"accuracy_change_low": None},
    ],
)
def test_what_cannot_be_compared_is_said_to_be_open(spoil: dict[str, None]) -> None:
    rows = [a_row("dense"), a_row("rtn-w3", **(silent() | spoil))]
    assert "can be neither found nor excluded" in highlights(rows)[0]


def test_a_dense_model_at_chance_leaves_it_open() -> None:
    rows = [a_row("dense", flags=["at-chance"]), a_row("rtn-w3", **silent(), flags=["at-chance"])]
    assert "can be neither found nor excluded" in highlights(rows)[0]


def test_a_no_op_and_an_unknown_name_are_on_no_curve() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **silent(), flags=["no-op"]), a_row("my-mix", **silent())]
    assert "can be neither found nor excluded" in highlights(rows)[0]
    rows.append(a_row("rtn-w3", **silent()))
    assert "on 1 of 1 compression curve, first at rtn-w3 (" in highlights(rows)[0]


def test_more_than_three_curves_are_counted() -> None:
    rows = [a_row("dense")] + [a_row(f"{m}-w3", **silent()) for m in ("rtn", "gptq", "awq", "quip", "spinquant")]
    sentence = highlights(rows)[0]
    assert sentence.count("first at") == 3
    assert "; and 2 more." in sentence


def test_models_are_named_where_there_are_several() -> None:
    rows = [a_row(v, model=m, **(silent() if v != "dense" else {})) for m in ("a", "b") for v in ("dense", "rtn-w3")]
    assert "first at rtn-w3 of a (" in highlights(rows)[0]
    assert "first at rtn-w3 (" in highlights(rows[:2])[0]


# ---------------------------------------------------------------- coverage without recalibration


def test_the_largest_loss_of_coverage_is_named() -> None:
    rows = [
        a_row("dense"),
        a_row("rtn-w4", **change("lac_transfer_coverage", 0.85, 0.02)),
        a_row("rtn-w2", **change("lac_transfer_coverage", 0.61, 0.04)),
        a_row("rtn-w3", **change("lac_transfer_coverage", 0.89, 0.02)),
        a_row("rtn-w8", **change("lac_transfer_coverage", 0.3, 0.04), flags=["no-op"]),
    ]
    sentence = highlights(rows)[1]
    assert "falls furthest for rtn-w2 on sciq" in sentence
    assert "covers 0.610 [0.570, 0.650] of the right answers, target 0.90." in sentence
    assert "below the target in 2 of 3 compressed cells." in sentence


def test_the_loss_is_measured_to_each_target() -> None:
    rows = [
        a_row("dense"),
        a_row("rtn-w4", **change("lac_transfer_coverage", 0.8, 0.02)),
        a_row("rtn-w3", alpha=0.3, **change("lac_transfer_coverage", 0.69, 0.02)),
    ]
    assert "rtn-w4 on sciq" in highlights(rows)[1]


def test_a_loss_within_its_interval_is_said_to_be_one() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **change("lac_transfer_coverage", 0.88, 0.05))]
    assert "which its interval cannot tell from the target" in highlights(rows)[1]
    assert "in 0 of 1 compressed cell." in highlights(rows)[1]


def test_no_loss_of_coverage_is_said() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **change("lac_transfer_coverage", 0.92, 0.01))]
    assert "no variant covers less than the target of 0.90; the lowest is 0.920 (rtn-w4 on sciq)" in highlights(rows)[1]


def test_coverage_without_dense_is_said_to_be_unknown() -> None:
    rows = [a_row("rtn-w4", lac_transfer_coverage=None)]
    assert "so nothing can be said" in highlights(rows)[1]


# ---------------------------------------------------------------- calibration


def test_what_temperature_leaves_is_told() -> None:
    rows = [
        a_row("dense"),
        a_row("rtn-w8"),
        a_row("rtn-w4", ece=0.2, ece_ts=0.25, **change("ece_ts_change", 0.01, 0.02)),
        a_row(
            "rtn-w3", ece=0.4, ece_ts=0.15, **change("ece_ts_change", 0.1, 0.03), **change("nll_ts_change", 0.3, 0.1)
        ),
    ]
    sentence = highlights(rows)[2]
    assert "lowers ECE in 2 of 3 compressed cells" in sentence
    assert "most for rtn-w3 on sciq, by +0.100 [+0.070, +0.130]" in sentence
    assert "above zero in 1 of 3." in sentence
    assert "NLL still changes by +0.300 [+0.200, +0.400] nats for rtn-w3 on sciq." in sentence


def test_nothing_left_above_dense_is_said() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **change("ece_ts_change", -0.01, 0.02))]
    assert "exceeds the dense model's in none" in highlights(rows)[2]


def test_calibration_without_dense_or_without_values_is_said_to_be_open() -> None:
    alone = [a_row("rtn-w4", ece_ts_change=None, nll_ts_change=None)]
    assert "no cell has a dense model to compare what is left with" in highlights(alone)[2]
    assert "stays open" in highlights([a_row("dense"), a_row("rtn-w4", ece_ts=None)])[2]


def test_missing_intervals_leave_no_empty_brackets() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", ece_ts_change=0.1, lac_transfer_coverage=0.5)]
    for row in rows:
        for key in list(row):
            if key.endswith(("_low", "_high")):
                row[key] = None
    for sentence in highlights(rows):
        assert "[" not in sentence
        assert "–" not in sentence


def test_names_cannot_reach_the_terminal() -> None:
    """A model name may carry escape sequences or line breaks; the sentences are printed."""
    rows = [
        a_row(v, model=m, **(silent() if v != "dense" else {}))
        for m in ("a\x1b[2J\nb", "c")
        for v in ("dense", "rtn-w3")
    ]
    text = "".join(highlights(rows))
    assert "\x1b" not in text
    assert "\n" not in text
    assert "rtn-w3 of a[2J b" in text
