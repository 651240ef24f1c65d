"""The two sentences: right where the rows can answer, and plain about it where they cannot."""

from __future__ import annotations

import random
from typing import Any

from support.highlights import highlights
from support.synthetic_cells import synthetic_cells, synthetic_rows

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


def test_two_sentences_of_computed_rows_whatever_their_order() -> None:
    rows = synthetic_rows(synthetic_cells(tasks={"sciq": 4, "boolq": 2}, n=80), replicates=20)
    sentences = highlights(rows)
    assert [sentence.split(":")[0] for sentence in sentences] == [
        "Coverage without recalibration",
        "Calibration",
    ]
    assert all(sentence.endswith(".") and "None" not in sentence and "\n" not in sentence for sentence in sentences)
    random.Random(0).shuffle(rows)
    assert highlights(rows) == sentences


def test_no_rows_no_sentences() -> None:
    assert highlights([]) == []


# ---------------------------------------------------------------- coverage without recalibration


def test_the_largest_loss_of_coverage_is_named() -> None:
    rows = [
        a_row("dense"),
        a_row("rtn-w4", **change("lac_transfer_coverage", 0.85, 0.02)),
        a_row("rtn-w2", **change("lac_transfer_coverage", 0.61, 0.04)),
        a_row("rtn-w3", **change("lac_transfer_coverage", 0.89, 0.02)),
        a_row("rtn-w8", **change("lac_transfer_coverage", 0.3, 0.04), flags=["no-op"]),
    ]
    sentence = highlights(rows)[0]
    assert "falls furthest for rtn-w2 on sciq" in sentence
    assert "covers 0.610 [0.570, 0.650] of the right answers, target 0.90." in sentence
    assert "Corrected for their number (Holm), 2 of 3 compressed cells are shown to cover too little." in sentence


def test_the_lowest_of_many_is_not_named_for_being_the_lowest() -> None:
    """Twenty cells that all cover .9 in truth: the lowest interval lies below by chance."""
    low = a_row("rtn-w2", **change("lac_transfer_coverage", 0.876, 0.0215))
    rest = [a_row(f"magnitude-s{10 + place}", **change("lac_transfer_coverage", 0.9, 0.0215)) for place in range(19)]
    assert "falls furthest for rtn-w2" in highlights([a_row("dense"), low])[0]
    sentence = highlights([a_row("dense"), low, *rest])[0]
    assert "no variant is shown to cover less than the target of 0.90, corrected for 20 compressed cells" in sentence
    risen = a_row("rtn-w2", **change("ece_ts_change", 0.025, 0.0215))
    others = [a_row(f"magnitude-s{10 + place}", **change("ece_ts_change", 0.0, 0.0215)) for place in range(19)]
    assert "most for rtn-w2" in highlights([a_row("dense"), risen])[1]
    assert "in none of 20" in highlights([a_row("dense"), risen, *others])[1]


def test_the_loss_is_measured_to_each_target() -> None:
    rows = [
        a_row("dense"),
        a_row("rtn-w4", **change("lac_transfer_coverage", 0.8, 0.02)),
        a_row("rtn-w3", alpha=0.3, **change("lac_transfer_coverage", 0.69, 0.02)),
    ]
    assert "rtn-w4 on sciq" in highlights(rows)[0]


def test_a_loss_within_its_interval_is_not_shown() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **change("lac_transfer_coverage", 0.88, 0.05))]
    assert "no variant is shown to cover less than the target of 0.90" in highlights(rows)[0]


def test_no_loss_of_coverage_is_said() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **change("lac_transfer_coverage", 0.92, 0.01))]
    assert "corrected for 1 compressed cell; the lowest is 0.920 (rtn-w4 on sciq)" in highlights(rows)[0]


def test_coverage_without_dense_is_said_to_be_unknown() -> None:
    rows = [a_row("rtn-w4", lac_transfer_coverage=None)]
    assert "so nothing can be said" in highlights(rows)[0]


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
    sentence = highlights(rows)[1]
    assert "lowers ECE in 2 of 3 compressed cells" in sentence
    assert "most for rtn-w3 on sciq, by +0.100 [+0.070, +0.130]" in sentence
    assert "is shown to in 1 of 3, corrected for their number (Holm)." in sentence
    assert "NLL still changes by +0.300 [+0.200, +0.400] nats for rtn-w3 on sciq." in sentence


def test_nothing_left_above_dense_is_said() -> None:
    rows = [a_row("dense"), a_row("rtn-w4", **change("ece_ts_change", -0.01, 0.02))]
    assert "shown to exceed the dense model's in none" in highlights(rows)[1]


def test_calibration_without_dense_or_without_values_is_said_to_be_open() -> None:
    alone = [a_row("rtn-w4", ece_ts_change=None, nll_ts_change=None)]
    assert "no cell has a dense model to compare what is left with" in highlights(alone)[1]
    assert "stays open" in highlights([a_row("dense"), a_row("rtn-w4", ece_ts=None)])[1]


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
        a_row(v, model=m, **(change("lac_transfer_coverage", 0.5, 0.1) if v != "dense" else {}))
        for m in ("a\x1b[2J\nb", "c")
        for v in ("dense", "rtn-w3")
    ]
    text = "".join(highlights(rows))
    assert "\x1b" not in text
    assert "\n" not in text
    assert "rtn-w3 of a[2J b" in text
