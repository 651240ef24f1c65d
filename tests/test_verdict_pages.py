"""What LEADERBOARD.md and the figures say of verdicts."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from support.pictures import collisions
from support.read_pages import markdown

from scripts.studies.synthetic import Population, draw_cells, plan_curve
from suite.config import Protocol
from suite.decisions.analyses import ANALYSES, DECOUPLING, SCALE, VERDICTS, Judgement, judge_measured
from suite.metrics.rows import measure_cells
from suite.publish.canvas import house_style
from suite.publish.figures import draw_verdict_figures
from suite.publish.order import in_order
from suite.publish.sections.verdicts import verdict_sections
from suite.publish.verdict_figures import collapse_figure, coupling_figure
from suite.verdicts.collapse import Curve
from suite.verdicts.curves import JOINT_KEYS
from suite.verdicts.given import Given
from suite.verdicts.verdict import Verdict

HOSTILE = "a|b <script>alert(1)</script>"


@pytest.fixture(scope="module")
def assessed() -> tuple[list[dict[str, object]], Judgement]:
    """Rows and verdicts of a model with a threshold and a hostile name."""
    cells = draw_cells(Population(), plan_curve(Population(), "step", levels=5, rise=0.7), n=500, seed=0)
    cells = [replace(cell, model={"name": HOSTILE, "params": 1e9}) for cell in cells]
    settings = Protocol(splits=10, replicates=200)
    measured = measure_cells(cells, settings, keep=JOINT_KEYS)
    return in_order([one.row for one in measured]), judge_measured(Given(measured, settings))


def test_sections_say_where_it_breaks_and_escape_names(
    assessed: tuple[list[dict[str, object]], Judgement],
) -> None:
    text = "\n\n".join(markdown(verdict_sections(assessed[1].files())))
    assert "## Where it breaks" in text
    assert "**threshold** | `magnitude-s30`" in text
    assert "## Does uncertainty follow accuracy?" in text
    assert "None is shown to have lost more." in text
    assert "<script>" not in text
    assert "a\\|b" in text


def test_curves_of_one_method_are_told_apart_and_those_without_levels_take_no_row() -> None:
    record: dict[str, object] = dict.fromkeys(("level", "level_low", "level_high", "p_value", "minimum_detectable"))
    record |= {"model": "m", "method": "wanda", "family": "sparsity", "task": "t", "metric": "set_size"}
    record |= {"verdict": "gradual", "jump": 0.2, "jump_low": 0.1, "jump_high": 0.3, "jump_of_headroom": 0.5}
    empty = record | {"verdict": "undetermined", "jump": None, "jump_of_headroom": None}
    empty["notes"] = ["2 levels, 4 are needed"]
    saturated = empty | {"verdict": "saturated", "task": "u"}
    few = [empty | {"method": "awq", "family": "quantization", "task": task} for task in ("t", "macro")]
    verdicts = [record, record | {"family": "N:M"}, saturated, saturated | {"family": "N:M"}, *few]
    text = "\n\n".join(markdown(verdict_sections({VERDICTS: verdicts, DECOUPLING: [], SCALE: []})))
    rows = [line.split(" | ")[:4] for line in text.splitlines() if line.startswith("| m ")]
    assert rows == [["| m", "wanda N:M", "t", "gradual"], ["| m", "wanda", "t", "gradual"]]
    assert text.endswith("and why:\n\n- m: *saturated* on u. awq (2 levels, 4 are needed)")


def test_sections_list_silent_losses() -> None:
    record: dict[str, object] = {"model": "m", "variant": "rtn-w3", "task": "t", "verdict": "silent uncertainty loss"}
    for key, value in (("accuracy_change", -0.004), ("set_size_change", 0.31), ("excess", 0.3)):
        record |= {key: value, f"{key}_low": value - 0.01, f"{key}_high": value + 0.01}
    text = "\n".join(markdown(verdict_sections({VERDICTS: [], DECOUPLING: [record], SCALE: []})))
    assert (
        "| m | `rtn-w3` | t | silent uncertainty loss | −0.004 [−0.014, +0.006] | +0.31 [+0.30, +0.32] "
        "| +0.30 [+0.29, +0.31] |"
    ) in text


def test_nothing_is_said_of_nothing() -> None:
    assert verdict_sections({name: [] for name in ANALYSES}) == []


def test_a_curve_of_one_level_is_not_drawn(assessed: tuple[list[dict[str, object]], Judgement]) -> None:
    rows, judgement = assessed
    short = [
        replace(
            verdict,
            curve=replace(
                verdict.curve,
                names=verdict.curve.names[:2],
                values=verdict.curve.values[:2],
                replicates=verdict.curve.replicates[:2],
            ),
        )
        for verdict in judgement.verdicts
        if verdict.curve is not None
    ]
    assert (
        draw_verdict_figures(rows, replace(judgement, found={**judgement.found, VERDICTS: short}), [], draw=False) == []
    )


def test_figures_are_drawn_and_named_without_drawing(assessed: tuple[list[dict[str, object]], Judgement]) -> None:
    rows, judgement = assessed
    pictures = draw_verdict_figures(rows, judgement, [])
    names = [picture.name for picture in pictures]
    assert [name.partition("-")[0] for name in names] == ["collapse", "coupling"]
    for picture in pictures:
        width, height = struct.unpack(">II", picture.content[16:24])
        assert width > 900
        assert height > 300
    again = draw_verdict_figures(rows, judgement, [])
    assert [picture.content for picture in again] == [picture.content for picture in pictures]
    blank = draw_verdict_figures(rows, judgement, [], draw=False)
    assert [(p.name, p.caption, p.content) for p in blank] == [(p.name, p.caption, b"") for p in pictures]


def drawn_curve(judgement: Judgement) -> tuple[Verdict, Curve]:
    """A verdict on set size, and the curve it is about."""
    return next((one, one.curve) for one in judgement.verdicts if one.metric == "set_size" and one.curve is not None)


@pytest.mark.parametrize("drawn", [1, 0])
def test_the_collapse_figure_names_every_line_whichever_panel_has_it(
    assessed: tuple[list[dict[str, object]], Judgement], drawn: int
) -> None:
    whole = next(one for one in assessed[1].verdicts if one.metric == "set_size" and one.finding.fits)
    bare = replace(whole, finding=replace(whole.finding, fits={}))
    figure = collapse_figure("m", [bare, *[whole] * drawn])
    [legend] = figure.legends
    named = {
        text.get_text(): line.get_color() for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert ({"straight", "exponential", "sigmoid"} <= set(named)) == bool(drawn)
    lines = {line.get_color() for axes in figure.axes for line in axes.get_lines()}
    assert lines <= set(named.values())
    assert len(set(named.values())) == len(named)
    assert all(axes.get_legend() is None for axes in figure.axes)


@pytest.mark.parametrize("bare", [True, False])
def test_the_collapse_figure_says_why_a_judged_panel_has_no_fits(
    assessed: tuple[list[dict[str, object]], Judgement], bare: bool
) -> None:
    whole = next(one for one in assessed[1].verdicts if one.metric == "set_size" and one.finding.fits)
    assert whole.finding.p is not None
    panel = replace(whole, finding=replace(whole.finding, fits={})) if bare else whole
    said = [text.get_text() for text in collapse_figure("m", [whole, panel]).texts]
    assert any("the largest jump is the last one" in text for text in said) == bare


@pytest.mark.parametrize(("silent", "words"), [(0, "(none here)"), (2, "(2 here)")])
def test_the_coupling_figure_rings_silent_losses_and_counts_the_rings(silent: int, words: str) -> None:
    verdicts = ["silent uncertainty loss"] * silent + ["coupled"] * 3
    records: list[dict[str, object]] = [
        {
            "variant": f"rtn-w{8 - i}",
            "task": "t",
            "accuracy_change": 0.0,
            "set_size_change": 0.1 * i,
            "verdict": verdict,
        }
        for i, verdict in enumerate(verdicts)
    ]
    figure = coupling_figure("m", records)
    rings = [one for one in figure.axes[0].collections if len(one.get_edgecolor()) and not len(one.get_facecolor())]
    assert sum(len(one.get_offsets()) for one in rings) == silent
    assert any(words in text.get_text() for text in figure.texts)


@pytest.mark.parametrize("model", ["m", "a-very-long-name-of-a-model-" * 4])
@pytest.mark.parametrize("curves", [1, 7])
def test_no_word_of_the_verdict_figures_collides(
    assessed: tuple[list[dict[str, object]], Judgement], model: str, curves: int
) -> None:
    whole, _ = drawn_curve(assessed[1])
    bare = replace(whole, finding=replace(whole.finding, fits={}))
    assert bare.finding.p is not None
    named = [replace(one, place=replace(one.place, model=model)) for one in [whole, *[bare] * (curves - 1)]]
    records: list[dict[str, object]] = [
        {"variant": f"{method}-w4", "accuracy_change": -0.1, "set_size_change": 0.5, "verdict": "coupled"}
        for method in ("awq", "gptq", "magnitude", "rtn", "smoothquant", "sparsegpt", "spinquant", "wanda")
    ]
    for draw in (
        lambda: collapse_figure(model, named),
        lambda: coupling_figure(model, records),
    ):
        with house_style():
            figure = draw()
            figure.draw_without_rendering()
        assert collisions(figure) == []


def test_no_two_methods_look_alike_in_the_coupling_figure() -> None:
    methods = ("awq", "depth", "gptq", "magnitude", "quip", "rtn", "smoothquant", "sparsegpt", "spinquant", "wanda")
    records: list[dict[str, object]] = [
        {"variant": f"{method}-w4", "accuracy_change": 0.0, "set_size_change": 0.1, "verdict": "coupled"}
        for method in methods
    ]
    drawn = [one for one in coupling_figure("m", records).axes[0].collections if str(one.get_label()) in methods]
    looks = {(str(one.get_facecolor()), str(one.get_paths()[0].vertices.tolist())) for one in drawn}
    assert len(drawn) == len(looks) == len(methods)


def test_files_are_rounded_and_free_of_numbers_json_lacks(
    assessed: tuple[list[dict[str, object]], Judgement],
) -> None:
    for records in assessed[1].files().values():
        for record in records:
            for value in record.values():
                if isinstance(value, float):
                    assert np.isfinite(value)
                    assert float(f"{value:.6g}") == value


def test_models_come_by_size_wherever_they_are_listed() -> None:
    """Names in one order, sizes in another, one size unknown."""
    sizes: dict[str, float | None] = {"a-big": 9e9, "b-unknown": None, "c-small": 1e8, "d-middle": 1e9, "d-same": 1e9}
    wanted = ["c-small", "d-middle", "d-same", "a-big", "b-unknown"]
    population = Population(options=4)
    cells = [
        replace(cell, model={"name": name, "params": size})
        for name, size in sizes.items()
        for cell in draw_cells(population, plan_curve(population, "step", levels=3, rise=0.6), n=120, seed=0)
    ]
    settings = Protocol(splits=4, replicates=40)
    measured = measure_cells(cells, settings, keep=JOINT_KEYS)
    judgement = judge_measured(Given(measured, settings))
    assert list(dict.fromkeys(verdict.place.model for verdict in judgement.verdicts)) == wanted
    assert list(dict.fromkeys(record["model"] for record in judgement.records(DECOUPLING))) == wanted
    broken = "\n".join(markdown(verdict_sections(judgement.files()))).split("## Where it breaks")[1].split("## ")[0]
    # so few items get no row
    found = [line.removeprefix("- ").split(":")[0] for line in broken.splitlines() if line.startswith("- ")]
    assert found == wanted
    pictures = draw_verdict_figures(in_order([one.row for one in measured]), judgement, [], draw=False)
    assert [picture.scope.model for picture in pictures if picture.name.startswith("collapse")] == wanted
    summary = [line.split()[0] for line in judgement.lines() if line.startswith("  ")]
    assert list(dict.fromkeys(summary[:5])) == wanted
