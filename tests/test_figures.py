"""The pictures: they show the rows, their words do not collide, and the same input gives the same bytes."""

from __future__ import annotations

import copy
import math
import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from support.pictures import collisions
from support.synthetic_cells import TWO_METHODS, synthetic_cells, synthetic_rows

from suite.cell import Cell
from suite.publish.canvas import house_style
from suite.publish.curves import curves_figure, shared_limits
from suite.publish.figures import Picture, draw_figures
from suite.publish.order import in_order, scope_of, setting_names
from suite.publish.reliability import collapsed_pair, reliability_figure

Rows = list[dict[str, Any]]

SIX_METHODS = (
    "dense",
    *(f"{method}-w{bits}" for method in ("rtn", "gptq", "awq") for bits in (8, 4, 3, 2)),
    *(f"{method}-s{percent}" for method in ("magnitude", "wanda", "sparsegpt") for percent in (20, 40, 50, 60)),
)
MANY = (
    *SIX_METHODS,
    *("wanda-2:4", "wanda-4:8", "gptq-w8a8", "gptq-w4a4", "gptq-w4a8kv4", "sparsegpt-s50+gptq-w4", "depth-s25"),
    *("gguf-q8_0", "gguf-q4_k_m", "gguf-iq3_xxs", "gguf-q2_k", "rtn-w4-g128", "our own method", "another of our own"),
)
LONG_NAME = "an-organisation-with-a-long-name/An-Extremely-Long-Model-Name-70B-Instruct-v0.3-$GGUF$"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return synthetic_cells(n=90)


@pytest.fixture(scope="module")
def computed(cells: list[Cell]) -> Rows:
    return synthetic_rows(cells, replicates=30)  # type: ignore[return-value]


@pytest.fixture
def rows(computed: Rows) -> Rows:
    return in_order(copy.deepcopy(computed))  # type: ignore[return-value,arg-type]


def size_of(picture: Picture) -> tuple[int, int]:
    assert picture.content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture.content[16:24])
    return width, height


def pixels(picture: Picture) -> np.ndarray:
    import io

    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(picture.content), format="png"))[..., :3]


def curves_of(rows: Rows) -> Any:
    limits = {key: shared_limits(rows, key) for key in ("accuracy", "set_size")}
    with house_style():
        figure = curves_figure(scope_of(rows[0]), rows, setting_names(rows), limits)
        figure.draw_without_rendering()
    return figure


def reliability_of(rows: Rows, cells: Sequence[Cell]) -> Any:
    pair = collapsed_pair(rows)
    assert pair is not None
    found = [
        next(c for c in cells if c.task["name"] == row["task"] and c.variant["name"] == row["variant"]) for row in pair
    ]
    with house_style():
        figure = reliability_figure(scope_of(rows[0]), list(zip(pair, found, strict=True)), setting_names(rows))
        figure.draw_without_rendering()
    return figure


def with_names(rows: Rows, names: Sequence[str]) -> Rows:
    """The rows with other variant names; those beyond the ones there are copies of a compressed one."""
    compressed = [row for row in rows if row["variant"] == "rtn-w4"]
    dense = [row for row in rows if row["variant"] == "dense"]
    made = dense + [dict(row, variant=name) for name in names if name != "dense" for row in compressed]
    return in_order(made)  # type: ignore[return-value,arg-type]


# ---------------------------------------------------------------- files


def test_each_model_gets_both_pictures(rows: Rows, cells: list[Cell]) -> None:
    pictures = draw_figures(rows, cells)
    assert [picture.name for picture in pictures] == ["curves-tiny-135m.png", "reliability-tiny-135m.png"]
    for picture in pictures:
        width, height = size_of(picture)
        assert 1000 <= width <= 2000
        assert 500 <= height <= 2000
        shades = pixels(picture)
        assert 0.02 < (shades.min(axis=2) < 0.9).mean() < 0.5, "neither blank nor black"
        assert "tiny-135m" in picture.caption
    pair = collapsed_pair(rows)
    assert pair is not None
    assert f"{pair[0]['task']}: dense beside {pair[1]['variant']}" in pictures[1].caption


def test_the_same_input_gives_the_same_bytes_in_any_order(rows: Rows, cells: list[Cell]) -> None:
    first = draw_figures(rows, cells)
    shuffled = list(cells)
    random.Random(1).shuffle(shuffled)
    assert draw_figures(rows, shuffled) == first


def test_what_a_reader_configured_changes_nothing_and_is_left_alone(rows: Rows, cells: list[Cell]) -> None:
    first = draw_figures(rows, cells)
    with matplotlib.rc_context(
        {"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red", "text.parse_math": True}
    ):
        assert draw_figures(rows, cells) == first
        assert matplotlib.rcParams["font.size"] == 30
        assert matplotlib.rcParams["axes.facecolor"] == "red"


def test_importing_loads_no_matplotlib_and_drawing_no_window_system(tmp_path: Path) -> None:
    code = """
import sys
from suite.publish.figures import draw_figures
assert "matplotlib" not in sys.modules
from pathlib import Path
rows = [{"model": "m", "variant": v, "task": "t", "accuracy": 0.5, "set_size": 2.0} for v in ("dense", "rtn-w4")]
(picture,) = draw_figures(rows, [])
(Path(sys.argv[1]) / picture.name).write_bytes(picture.content)
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
assert not [name for name in sys.modules if name.startswith(("tkinter", "PyQt", "gi"))]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True, timeout=120)
    assert (tmp_path / "curves-m.png").stat().st_size > 10_000


def test_without_cells_only_curves_and_with_dense_alone_no_picture(rows: Rows, cells: list[Cell]) -> None:
    assert [picture.name for picture in draw_figures(rows, [])] == ["curves-tiny-135m.png"]
    assert draw_figures([row for row in rows if row["variant"] == "dense"], cells) == []
    assert draw_figures([], cells) == []


def test_names_that_differ_by_case_or_signs_get_files_of_their_own(rows: Rows) -> None:
    few = [row for row in rows if row["task"] == "sciq" and row["variant"] in ("dense", "rtn-w4")]
    models = ("a/b", "A/B", "a_b", "../../etc", "x" * 300, "模型", "con\nrol")
    many = [dict(row, model=model) for model in models for row in few]
    names = [picture.name for picture in draw_figures(many, [])]
    assert len({name.lower() for name in names}) == len(models)
    assert all(len(name) < 80 and "/" not in name and "\n" not in name for name in names)


# ---------------------------------------------------------------- curves


def test_curves_show_the_rows(rows: Rows) -> None:
    figure = curves_of(rows)
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["rtn", "", "magnitude", ""]
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in panels]
    assert ticks[1] == ["dense", "8", "4", "3", "2"]
    assert ticks[3] == ["dense", "20", "40", "50", "60"]
    assert [axes.get_xlabel() for axes in panels] == ["", "bits a weight", "", "% of weights removed"]
    for axes, key, names in zip(
        panels,
        ("accuracy", "set_size") * 2,
        (TWO_METHODS[:5], TWO_METHODS[:5], ("dense", *TWO_METHODS[5:]), ("dense", *TWO_METHODS[5:])),
        strict=True,
    ):
        lines = [line for line in axes.get_lines() if len(line.get_ydata()) == 5]
        for line, task in zip(lines, ("arc-easy", "hellaswag", "openbookqa", "sciq"), strict=True):
            want = {row["variant"]: row for row in rows if row["task"] == task}
            assert list(line.get_ydata()) == [want[name][key] for name in names]
            assert np.abs(np.asarray(line.get_xdata()) - np.arange(5)).max() < 0.2
        bars = [bar for collection in axes.collections for bar in collection.get_segments()]
        ends = {(round(bar[0][1], 9), round(bar[1][1], 9)) for bar in bars}
        assert ends == {
            (round(row[f"{key}_low"], 9), round(row[f"{key}_high"], 9)) for row in rows if row["variant"] in names
        }


def test_a_chance_line_for_all_tasks_or_one_for_each(rows: Rows) -> None:
    def chance_heights(figure: Any) -> set[float]:
        found = [line for line in figure.axes[0].get_lines() if list(line.get_xdata()) == [0, 1]]
        return {float(line.get_ydata()[0]) for line in found}

    assert chance_heights(curves_of(rows)) == {0.25}
    for row in rows:
        if row["task"] == "sciq":
            row["chance_accuracy"] = 0.2496  # some of its items have five options
    assert len(chance_heights(curves_of(rows))) == 1
    for row in rows:
        if row["task"] == "sciq":
            row["chance_accuracy"] = 0.5
    assert chance_heights(curves_of(rows)) == {0.25, 0.5}


def test_a_variant_that_changed_nothing_is_off_the_line(rows: Rows) -> None:
    for row in rows:
        if row["variant"] == "rtn-w8":
            row["flags"] = [*row["flags"], "no-op"]
    lines = curves_of(rows).axes[0].get_lines()
    assert {len(line.get_ydata()) for line in lines if line.get_linestyle() not in ("None", "none")} >= {4}
    hollow = [line for line in lines if line.get_markerfacecolor() == "white" and len(line.get_ydata())]
    assert [len(line.get_ydata()) for line in hollow] == [1] * 4


def test_missing_values_leave_gaps(rows: Rows) -> None:
    for row in rows:
        if row["variant"] == "rtn-w4" and row["task"] == "sciq":
            row["accuracy"] = None
    kept = [row for row in rows if (row["variant"], row["task"]) != ("rtn-w3", "arc-easy")]
    lines = [line.get_ydata() for line in curves_of(kept).axes[0].get_lines() if len(line.get_ydata()) == 5]
    gaps = [[index for index, value in enumerate(line) if math.isnan(value)] for line in lines]
    assert gaps == [[3], [], [], [2]]


def test_all_models_share_one_scale(rows: Rows) -> None:
    other = [dict(row, model="z", accuracy=0.99, accuracy_high=0.995) for row in rows]
    limits = {key: shared_limits([*rows, *other], key) for key in ("accuracy", "set_size")}
    with house_style():
        figure = curves_figure(scope_of(rows[0]), rows, setting_names(rows), limits)
    assert figure.axes[0].get_ylim()[1] > 0.99
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim() == limits["accuracy"]


def test_names_outside_the_scheme_are_points_without_a_line(rows: Rows) -> None:
    figure = curves_of(with_names(rows, ("dense", "mine", "yours")))
    assert figure.axes[0].get_title(loc="left") == "other"
    assert all(line.get_linestyle() == "None" for line in figure.axes[0].get_lines() if len(line.get_ydata()) == 3)


# ---------------------------------------------------------------- reliability


@pytest.mark.parametrize("scoring", ["cloze-sum", "letter"])
def test_the_diagram_shows_the_cells(scoring: str) -> None:
    made = synthetic_cells(variants=("dense", "rtn-w3"), tasks={"sciq": 4}, scoring=scoring, n=150)
    rows: Rows = in_order(synthetic_rows(made, replicates=10))  # type: ignore[assignment]
    figure = reliability_of(rows, made)
    for panel, counts, row, cell in zip(figure.axes[::2], figure.axes[1::2], rows, made, strict=True):
        p = np.exp(cell.log_probabilities())
        confidence, right = p.max(axis=1), p.argmax(axis=1) == cell.answers
        points = panel.collections
        # intervals and points for each series
        raw = points[1].get_offsets()
        assert len(points) == (4 if scoring == "cloze-sum" else 2)
        bins = np.minimum((confidence * 15).astype(int), 14)
        want = [(confidence[bins == b].mean(), right[bins == b].mean()) for b in range(15) if (bins == b).any()]
        np.testing.assert_allclose(np.asarray(raw), want, atol=1e-9)
        held = [(bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean()) for b in set(bins)]
        title = panel.get_title(loc="left")
        assert f"{sum(held):.3f}" in title
        assert f"{row['ece_ts']:.3f} after temperature" in title
        assert title.startswith(
            "ECE " + (f"{row['ece_ts']:.3f} after" if scoring == "cloze-sum" else f"{row['ece']:.3f},")
        )
        values, edges, _ = counts.patches[0].get_data()
        assert values.sum() == 150
        assert len(edges) == 16
    assert figure.axes[1].get_ylim() == figure.axes[3].get_ylim()


def test_bins_of_few_items_are_faint_and_off_the_line(rows: Rows, cells: list[Cell]) -> None:
    panel = reliability_of(rows, cells).axes[0]
    joined = [line.get_xdata() for line in panel.get_lines()[1:]]
    points = panel.collections[1::2]
    assert len(joined) == len(points) == 2
    faint = 0
    for line, marks in zip(joined, points, strict=True):
        strength = np.asarray(marks.get_alpha())
        places = np.asarray(marks.get_offsets())[:, 0]
        assert set(line) == set(places[strength == 1])
        faint += int((strength < 1).sum())
    assert faint > 0


def test_the_temperature_moves_the_leading_series(rows: Rows, cells: list[Cell]) -> None:
    for row in rows:
        row["temperature"] = 50.0
    panel = reliability_of(rows, cells).axes[0]
    after = np.asarray(panel.collections[3].get_offsets())
    assert after[:, 0].max() < 0.3, "at such a temperature every confidence is near a quarter"


def test_the_pair_is_chosen_by_the_stated_rule(rows: Rows) -> None:
    for row in rows:
        row["accuracy"] = {"sciq": 0.9, "arc-easy": 0.95}.get(row["task"], 0.5)
        row["chance_accuracy"] = {"sciq": 0.2, "arc-easy": 0.5}.get(row["task"], 0.25)
        if row["variant"] != "dense":
            row["set_size_change"] = {"rtn-w3": 1.0, "magnitude-s60": 2.0, "magnitude-s50": 2.0}.get(
                row["variant"], 0.0
            )
    pair = collapsed_pair(rows)
    assert pair is not None
    assert [(row["task"], row["variant"]) for row in pair] == [("sciq", "dense"), ("sciq", "magnitude-s50")]
    for row in rows:
        if row["variant"] == "magnitude-s50":
            row["flags"] = ["no-op"]
        if row["task"] == "sciq" and row["variant"] == "magnitude-s60":
            row["set_size_change"] = None
    pair = collapsed_pair(rows)
    assert pair is not None
    assert pair[1]["variant"] == "rtn-w3"
    for row in rows:
        row["flags"] = ["at-chance"]
    assert collapsed_pair(rows) is None


def test_no_change_of_set_size_no_pair(rows: Rows) -> None:
    for row in rows:
        row["set_size_change"] = None
    assert collapsed_pair(rows) is None


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("names", [("dense", "rtn-w4"), TWO_METHODS, SIX_METHODS, MANY], ids=["1", "2", "6", "many"])
@pytest.mark.parametrize("model", ["m", LONG_NAME])
def test_no_word_of_the_curves_collides(rows: Rows, names: Sequence[str], model: str) -> None:
    figure = curves_of([dict(row, model=model) for row in with_names(rows, names)])
    assert collisions(figure) == []


def test_no_word_collides_with_many_settings(rows: Rows) -> None:
    prompts = ("base", "shared", "task")
    many = [dict(row, prompt=prompt, chance_accuracy=0.2 + 0.1 * i) for i, prompt in enumerate(prompts) for row in rows]
    assert collisions(curves_of(in_order(many))) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["m", LONG_NAME])
def test_no_word_of_the_reliability_diagram_collides(rows: Rows, cells: list[Cell], model: str) -> None:
    renamed = [dict(row, model=model, task=row["task"]) for row in rows]
    assert collisions(reliability_of(renamed, cells)) == []


def test_a_collision_is_seen() -> None:
    with house_style():
        from suite.publish.canvas import new_figure

        figure = new_figure(4, 3)
        figure.text(0.4, 0.5, "one text")
        figure.text(0.42, 0.51, "another text")
        figure.text(0.95, 0.2, "a long text at the edge")
        figure.draw_without_rendering()
    assert len(collisions(figure)) == 2


def test_a_dollar_sign_is_a_dollar_sign(rows: Rows) -> None:
    figure = curves_of([dict(row, model="$x^$") for row in rows])
    assert any("$x^$" in text.get_text() for text in figure.texts)
    draw_figures([dict(row, model="$\\frac{$") for row in rows[:9]], [])
