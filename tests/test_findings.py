"""The tables of docs/findings.md, on records whose answers are plain."""

from __future__ import annotations

from typing import Any

from scripts.studies.findings import (
    accuracy_kept,
    coupling_table,
    inflation_table,
    kept_table,
    moved_table,
    shape_table,
    size_table,
    slope_counts,
)
from suite.publish.macro import macro_averages


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def body(text: str) -> list[list[str]]:
    return [cells_of(line) for line in text.splitlines()[2:]]


def sized(model: str, params: float, value: float, *, low: float | None = None) -> dict[str, Any]:
    return {"model": model, "params_b": params, "value": value, "low": value - 0.1 if low is None else low, "high": 1.0}


def scale_record(variant: str, *values: float, slope: tuple[float, float, float], **other: Any) -> dict[str, Any]:
    models = [sized("small", 0.1, values[0]), sized("large", 1.0, values[1])]
    return {
        "task": "macro",
        "group": "all",
        "variant": variant,
        "models": models,
        "slope": slope[0],
        "slope_low": slope[0] - 1,
        "slope_high": slope[0] + 1,
        "slope_items_low": slope[1],
        "slope_items_high": slope[2],
        **other,
    }


SCALE = [
    scale_record("rtn-w4", 0.3, 0.05, slope=(-0.2, -0.3, -0.1)),
    scale_record("rtn-w8", 0.2, 0.02, slope=(-0.1, -0.3, 0.1)),
    scale_record("rtn-w6", 0.05, 0.02, slope=(0.1, -0.3, 0.1)),  # the small model's loss goes away once more
    scale_record("rtn-w2", 0.9, 0.6, slope=(0.3, 0.2, 0.4)),
    scale_record("rtn-w2@seed1", 0.9, 0.6, slope=(0.3, 0.2, 0.4)),
    scale_record("dense", 3.0, 2.0, slope=(0.3, 0.2, 0.4)),
    scale_record("rtn-w3", 0.9, 0.9, slope=(0.3, 0.2, 0.4), task="arc-easy"),
    scale_record("rtn-w3", 0.9, 0.9, slope=(0.3, 0.2, 0.4), group="a family"),
]
VARIANTS = ("dense", "rtn-w8", "rtn-w6", "rtn-w4", "rtn-w2", "rtn-w2@seed1", "awq-w4")


def test_losses_count_from_the_level_on_which_they_stay() -> None:
    text = size_table(SCALE, VARIANTS)
    assert cells_of(text.splitlines()[0]) == [
        "curve",
        *("small (100M): loss shown from", "half lost from", "large (1B): loss shown from", "half lost from"),
    ]
    assert body(text) == [["rtn", "`rtn-w4`", "`rtn-w2`", "`rtn-w2`", "`rtn-w2`"]]


def test_a_loss_that_ends_before_the_last_level_is_none() -> None:
    records = [scale_record("rtn-w4", 0.7, 0.7, slope=(0, 0, 0)), scale_record("rtn-w3", 0.1, 0.7, slope=(0, 0, 0))]
    assert body(size_table(records, ("rtn-w4", "rtn-w3"))) == [["rtn", "never", "never", "`rtn-w4`", "`rtn-w4`"]]


def test_a_model_that_lacks_a_level_is_not_said_to_lose_nothing() -> None:
    records = [scale_record("rtn-w4", 0.1, 0.7, slope=(0, 0, 0)), scale_record("rtn-w3", 0.7, 0.7, slope=(0, 0, 0))]
    records[1]["models"].pop(0)
    assert body(size_table(records, ("rtn-w4", "rtn-w3"))) == [["rtn", "–", "–", "`rtn-w4`", "`rtn-w4`"]]
    assert body(size_table(records, ("rtn-w4", "rtn-w3", "rtn-w2"))) == []


def test_inflation_by_size_with_intervals() -> None:
    alone = scale_record("rtn-w3", 0.5, -0.02, slope=(0.1, -0.3, 0.1))
    alone["models"].pop(0)
    text = inflation_table([*SCALE[::-1], alone], ("rtn-w8", "rtn-w3", "awq-w4", "rtn-w4"))
    assert cells_of(text.splitlines()[0]) == ["variant", "small (100M)", "large (1B)", "slope on size"]
    assert body(text) == [
        ["`rtn-w8`", "20 % [10, 100]", "2 % [−8, 100]", "−0.10 [−0.30, +0.10]"],
        ["`rtn-w3`", "–", "−2 % [−12, 100]", "+0.10 [−0.30, +0.10]"],
        ["`rtn-w4`", "30 % [20, 100]", "5 % [−5, 100]", "−0.20 [−0.30, −0.10]"],
    ]


def test_slopes_are_counted_without_dense_repeats_tasks_and_families() -> None:
    said = slope_counts(SCALE)
    assert "Of 4 variants, inflation falls with size for 2 and rises for 2." in said
    assert "1 falls and 1 rises are shown" in said
    assert said.endswith("models too) 0 and 0.")
    assert slope_counts([record | {"slope": None} for record in SCALE]).startswith("No slope")


def test_couplings_are_counted_by_model() -> None:
    ends = {"more": (0.1, 0.3), "less": (-0.3, -0.1), "neither": (-0.1, 0.1), "unknown": (None, None)}
    records = [
        {"model": model, "task": "t", "verdict": verdict, "excess_low": ends[excess][0], "excess_high": ends[excess][1]}
        for model, verdict, excess in (
            ("a", "coupled", "neither"),
            ("a", "coupled", "unknown"),
            ("a", "silent uncertainty loss", "more"),
            ("b", "undetermined", "more"),
            ("b", "silent accuracy loss", "less"),
        )
    ]
    average = {**records[0], "task": "macro", "verdict": "muted loss"}
    assert body(coupling_table([*records, average])) == [
        ["a", "3", "2", "1", "0", "0", "1", "0"],
        ["b", "2", "0", "0", "1", "1", "1", "1"],
    ]


def row(variant: str, task: str, accuracy: float, set_size: float, nll: float, covered: float) -> dict[str, Any]:
    base = {"model": "m", "variant": variant, "task": task, "scoring": "letter", "prompt": "base", "shots": 0}
    base |= {"protocol": "exact", "alpha": 0.1, "flags": [], "accuracy": 0.6, "chance_accuracy": 0.25}
    if variant == "dense":
        return base
    for key, value, half in (
        ("accuracy_change", accuracy, 0.02),
        ("set_size_change", set_size, 0.05),
        ("nll_ts_change", nll, 0.01),
        ("lac_transfer_coverage", covered, 0.01),
    ):
        base |= {key: value, f"{key}_low": value - half, f"{key}_high": value + half}
    return base


def test_variants_that_kept_accuracy_and_what_moved_in_them() -> None:
    rows = [
        row(variant, task, *changes)
        for variant, *changes in (
            ("dense", 0, 0, 0, 0),
            ("rtn-w8", 0.0, 0.0, 0.0, 0.9),
            ("rtn-w4", -0.01, 0.2, 0.0, 0.85),
            ("rtn-w3", -0.05, 0.5, 0.3, 0.6),
        )
        for task in ("one", "two")
    ]
    averages = macro_averages(rows)
    assert [one.variant for one in accuracy_kept(averages)] == ["rtn-w8", "rtn-w4"]
    assert body(kept_table(averages)) == [["m", "3", "2", "1", "0", "1"]]
    [moved] = body(moved_table(averages))
    # two tasks alike: half the interval by √2
    changes = ["−0.010 [−0.024, +0.004]", "+0.20 [+0.16, +0.24]", "0.000 [−0.007, +0.007]"]
    assert moved == ["m", "`rtn-w4`", *changes, "0.850 [0.843, 0.857]"]
    assert moved_table([one for one in averages if one.variant != "rtn-w4"]) == "None."


def test_shapes_give_the_average_first_and_count_tasks() -> None:
    record: dict[str, Any] = {
        "model": "m",
        "method": "rtn",
        "family": "quantization",
        "metric": "set_size",
        "level": None,
        "jump": None,
        "jump_low": None,
    }
    record |= {"jump_high": None, "jump_of_headroom": None, "task": "one", "verdict": "undetermined"}
    activations = record | {"family": "activation quantization", "task": "macro"}  # the same method, another curve
    average = {"task": "macro", "verdict": "threshold", "level": "rtn-w3", "jump": 0.4, "jump_low": 0.3}
    average |= {"jump_high": 0.5, "jump_of_headroom": 0.62}
    records = [record, record | {"task": "two", "verdict": "gradual"}, record | average]
    records += [record | {"metric": "nll"}, record | {"model": "n", "task": "three", "verdict": "gradual", "jump": 0.2}]
    records += [activations, record | {"model": "n", "method": "awq"}]  # nothing to judge
    records.append(activations | {"model": "n", "jump": 0.1})
    assert body(shape_table(records)) == [
        ["m", "rtn", "threshold at `rtn-w3`", "+0.40 [+0.30, +0.50]", "62 %", "1 gradual, 1 undetermined"],
        ["n", "rtn", "–", "–", "–", "1 gradual"],
        ["n", "rtn, activations too", "undetermined", "+0.10", "–", ""],
    ]
