"""The first section of a page: strips, table and words all say what the dose records say."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pytest
from support.dose_curves import curve
from support.pictures import collisions
from support.read_pages import Sections, read_html, read_markdown
from support.synthetic_cells import synthetic_cells, synthetic_rows

from suite.publish.canvas import house_style
from suite.publish.doses import EXPLORATORY, Lead
from suite.publish.figures import draw_strips
from suite.publish.order import in_order
from suite.publish.pages.html import html_page
from suite.publish.pages.markdown import markdown_page
from suite.publish.sections.page import leaderboard_page
from suite.publish.standings import Standings
from suite.publish.strip_figure import GROUND, LETTER, strips_figure
from suite.publish.strips import MOST, Strip, find_strips

Records = list[dict[str, Any]]

BITS = ("rtn-w8", "rtn-w6", "rtn-w4", "rtn-w3")
ZEROS = ("wanda-s20", "wanda-s40", "wanda-s60")
HOSTILE = "a|b <script>alert(1)</script> *x* $y$ `z` [l](http://evil.example)"
LONG = "an-organisation-with-a-long-name/An-Extremely-Long-Model-Name-70B-Instruct-v0.3-GGUF"
SHARES = (0.05, 0.10, 0.25)
SIGNS = {"kept": "K", "worse": "W", "lost": "L", "not_known": "?"}
TITLE = "Down to which level is certainty kept?"


def drawn_at_random(models: int, methods: int) -> Records:
    """Curves whose states are those of tests in a fixed order, both metrics; every method has a name of its own."""
    draw = random.Random(models * 1000 + methods)
    records: Records = []
    for model, method in itertools.product(range(models), range(methods)):
        names = draw.choice((BITS, ZEROS, BITS[:2], ("gguf-q8_0", "gguf-q4_k_m"), ("sparsegpt-2:4",)))
        for metric in ("brier_ts", "accuracy"):
            kept = draw.randint(0, len(names))
            lost = draw.randint(0, len(names) - kept)
            middle = "".join(draw.choice("wn") for _ in range(len(names) - kept - lost))
            records += curve(
                f"model-{model}", f"way {model}.{method}", names, "k" * kept + middle + "l" * lost, metric=metric
            )
    return records


def pages(
    records: Records, lead: Lead = EXPLORATORY, rows: Sequence[Mapping[str, Any]] = ()
) -> tuple[Sections, Sections, str]:
    pictures = draw_strips(records, lead.metric, draw=False)
    files = {"verdicts.json": [], "decoupling.json": [], "scale.json": [], "doses.json": records}
    page = leaderboard_page(rows, pictures, records=files, lead=lead)
    text = html_page(page, rows, [], Standings()).decode()
    return read_markdown(markdown_page(page)), read_html(text), text


def section(board: Sections) -> list[Any]:
    return next(blocks for headings, blocks in board.items() if headings[-1] == TITLE)


def table(board: Sections) -> list[list[str]]:
    return next(block[1] for block in section(board) if block[0] == "table")


def states(records: Records, metric: str) -> dict[tuple[str, str], str]:
    """Signs of each curve, at the smallest tolerance."""
    return {
        (one["model"], one["method"]): "".join(SIGNS[level["state"]] for level in one["levels"])
        for one in records
        if one["metric"] == metric and one["tolerance"] == SHARES[0]
    }


def figure_of(records: Records) -> Any:
    with house_style():
        return strips_figure(find_strips(records, "brier_ts"), "brier_ts", SHARES)


def letters_beside(figure: Any) -> dict[str, tuple[str, str]]:
    """What a reader sees to the right of each name: letters of the strip beside it, and of the one below that."""
    texts = [(*text.get_position(), text.get_text()) for text in figure.axes[0].texts]
    signs = [one for one in texts if one[2] in SIGNS.values() and one[1] > 1.3]
    reach = 4.85 if sum(name == "bits a weight" or name.startswith("% of") for _, _, name in texts) > 1 else 6.7
    found = {}
    for x, y, name in texts:
        right = sorted(one for one in signs if 0 < one[0] - x < reach and abs(one[1] - y) < 0.02)
        if right and name not in SIGNS.values():
            below = sorted(one for one in signs if 0 < one[0] - x < reach and 0.1 < one[1] - y < 0.3)
            found[name] = ("".join(one[2] for one in right), "".join(one[2] for one in below))
    return found


# ---------------------------------------------------------------- strips


def test_strips_of_the_picture_say_what_the_records_say() -> None:
    records = [one for one in drawn_at_random(3, 5) if len(one["levels"]) > 1]
    shown = letters_beside(figure_of(records))
    certainty, accuracy = states(records, "brier_ts"), states(records, "accuracy")
    assert shown == {method: (certainty[model, method], accuracy[model, method]) for model, method in certainty}
    assert len(shown) > 8


def test_strips_of_the_page_say_what_the_records_say() -> None:
    records = [one for one in drawn_at_random(3, 5) if len(one["levels"]) > 1]
    _, _, text = pages(records)
    found = {}
    for name, line in re.findall(r'<div class="curve"><span>([^<]+)</span>(.*?)</div>', text, re.DOTALL):
        strips = re.findall(
            r'<span class="strip[^"]*" role="img" aria-label="([^"]*)">(.*?)</span>\s*<svg', line, re.DOTALL
        )
        assert [words.split()[0] for words, _ in strips] == ["certainty", "accuracy"]
        boxes = [re.findall(r'<span class="(\w+)" title="[^"]*">(.)</span>', strip) for _, strip in strips]
        assert all(SIGNS[state] == letter for strip in boxes for state, letter in strip)
        for (words, _), strip in zip(strips, boxes, strict=True):  # and so does what is read aloud
            told = [
                part.split(" ", 2 if part.startswith("not known") else 1) for part in words.split(" ", 1)[1].split("; ")
            ]
            counts = {("not_known" if part[0] == "not" else part[0]): len(part[-1].split(", ")) for part in told}
            assert counts == {state: [s for s, _ in strip].count(state) for state in {s for s, _ in strip}}
        found[name] = tuple("".join(letter for _, letter in strip) for strip in boxes)
    certainty, accuracy = states(records, "brier_ts"), states(records, "accuracy")
    assert found == {method: (certainty[model, method], accuracy[model, method]) for model, method in certainty}


def test_levels_of_one_nominal_value_stand_below_one_another() -> None:
    records = curve("m", "rtn", BITS, "knwl") + curve("m", "gptq", ("gptq-w4", "gptq-w3", "gptq-w2"), "wll")
    records += curve("m", "wanda", ZEROS, "kll") + curve("m", "activations too", ("gptq-w8a8", "gptq-w4a4"), "kw")
    panels = find_strips(records, "brier_ts").panels
    assert [(panel.title, panel.columns) for panel in panels] == [
        ("bits a weight", ("8", "6", "4", "3", "2")),
        ("% of weights removed", ("20", "40", "60")),
        ("activations too", ("w8a8", "w4a4")),
    ]
    rtn, gptq = (line.strips[0] for line in panels[0].groups[0].lines)
    assert [box and box.letter for box in rtn.boxes] == ["K", "?", "W", "L", None]
    assert [box and box.letter for box in gptq.boxes] == [None, None, "W", "L", "L"]


def test_a_variant_without_a_neighbour_is_a_box_beside_the_others() -> None:
    records = [
        one
        for model, sign in (("a", "k"), ("b", "l"))
        for method, name in (("smoothquant", "smoothquant-w8a8"), ("sparsegpt N:M", "sparsegpt-2:4"))
        for one in curve(model, method, (name,), sign)
    ]
    (panel,) = find_strips(records, "brier_ts").panels
    assert set(panel.columns) == {"smoothquant-w8a8", "sparsegpt-2:4"}
    assert [(line.name, [box.letter for box in line.strips[0].boxes if box]) for line in panel.groups[0].lines] == [
        ("a", ["K", "K"]),
        ("b", ["L", "L"]),
    ]


def bar_of(records: Records) -> Any:
    return find_strips(records, "brier_ts").panels[0].groups[0].lines[0].strips[0].bar


def test_the_bar_stands_where_the_dose_lies() -> None:
    bar = bar_of(curve("m", "rtn", BITS, "knll", dose=(5.0, 3.5, 7.0)))
    # 8, 6, 4 and 3 bits stand in the middle of columns 0.5, 1.5, 2.5, 3.5
    assert (bar.left, bar.at, bar.right) == pytest.approx((1.0, 2.0, 3.0))
    assert not bar.open_left
    assert not bar.open_right
    bar = bar_of(curve("m", "wanda", ZEROS, "knl", dose=(30.0, 25.0, 60.0)))
    assert (bar.left, bar.at, bar.right) == pytest.approx((0.75, 1.0, 2.5))


@pytest.mark.parametrize(
    ("names", "notes", "dose", "wanted"),
    [
        (BITS, ["dose_high > 8 bits"], (6.0, 4.0, None), (0.0, 1.5, 2.5, True, False)),
        (BITS, ["dose_low < 3 bits"], (6.0, None, 8.0), (0.5, 1.5, 4.0, False, True)),
        (ZEROS, ["dose_low < 20 percent zeros"], (40.0, None, 60.0), (0.0, 1.5, 2.5, True, False)),
        (ZEROS, ["dose_high > 60 percent zeros"], (40.0, 20.0, None), (0.5, 1.5, 3.0, False, True)),
    ],
)
def test_an_end_off_the_tested_levels_is_open(
    names: Sequence[str], notes: list[str], dose: tuple[float | None, ...], wanted: tuple[float, ...]
) -> None:
    bar = bar_of(curve("m", "x", names, "n" * len(names), dose=dose, notes=notes))  # type: ignore[arg-type]
    assert (bar.left, bar.at, bar.right, bar.open_left, bar.open_right) == pytest.approx(wanted)


def test_a_dose_before_the_first_level_has_no_dot_and_one_without_an_interval_no_bar() -> None:
    notes = ["dose_low > 8 bits", "dose_high > 8 bits"]
    bar = bar_of(curve("m", "rtn", BITS, "llll", dose_bound="> 8 bits", notes=notes))
    assert (bar.left, bar.right, bar.at, bar.open_left) == (0.0, 0.0, None, True)
    assert bar_of(curve("m", "rtn", BITS, "nnnn", notes=["no order of levels: no dose"])) is None


def test_letters_are_read_without_colour() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for state, ground in GROUND.items():
        light, dark = sorted((luminance(ground), luminance(LETTER[state])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5, state  # contrast that WCAG 2.2 asks for
    kept, worse, lost = (luminance(GROUND[state]) for state in ("kept", "worse", "lost"))
    assert kept > 1.5 * worse > 4.5 * lost
    assert any(patch.get_hatch() for patch in figure_of(curve("m", "rtn", BITS, "knnl")).axes[0].patches)


@pytest.mark.parametrize("model", ["small", LONG, HOSTILE])
def test_no_words_of_the_picture_collide(model: str) -> None:
    records = curve(model, "rtn", BITS, "knwl", dose=(5.0, 3.5, 7.0)) + curve(model, "wanda", ZEROS, "kll")
    records += curve("other", "rtn", BITS, "knwl") + curve("other", "gptq, activations too", ("gptq-w4a4",), "l")
    records += curve(model, "smoothquant", ("smoothquant-w8a8",), "k") + curve(
        model, "s", ("sparsegpt-s50+gptq-w4",), "n"
    )
    records += [one | {"metric": "accuracy"} for one in records]
    assert collisions(figure_of(records)) == []
    assert collisions(figure_of(curve(model, "rtn", BITS, "knwl"))) == []


def test_four_curves_and_two_hundred_and_more_than_a_picture_holds() -> None:
    few = letters_beside(figure_of([one for one in drawn_at_random(2, 3) if len(one["levels"]) > 1][:-6]))
    assert 2 <= len(few) <= 6
    records = [one for one in drawn_at_random(10, 30) if len(one["levels"]) > 1][: 200 * 6]
    figure = figure_of(records)
    assert len(letters_beside(figure)) == 200
    assert max(figure.get_size_inches()) * 150 < 2**16
    more = [one for model in range(MOST + 7) for one in curve(f"m{model}", "rtn", BITS, "kkll")]
    strips = find_strips(more, "brier_ts")
    assert strips.left_out == 7
    assert sum(len(group.lines) for panel in strips.panels for group in panel.groups) == MOST
    said = [text.get_text() for text in figure_of(more[: MOST * 3 + 3]).texts]
    assert any("1 more curves are in the table" in one for one in said)
    assert len(table(pages(more)[0])) == 1 + MOST + 7


def test_the_same_records_give_the_same_bytes_and_the_picture_is_named() -> None:
    records = drawn_at_random(2, 3)
    (first,), (second,) = draw_strips(records, "brier_ts"), draw_strips(records, "brier_ts")
    assert first.content == second.content
    assert first.content.startswith(b"\x89PNG")
    assert (first.name, first.scope) == ("strips.png", None)
    matplotlib.rcParams["font.size"] = 30.0
    try:
        assert draw_strips(records, "brier_ts")[0].content == first.content
    finally:
        matplotlib.rcdefaults()


# ---------------------------------------------------------------- words and table


def test_both_pages_begin_with_it_and_hold_the_same() -> None:
    records = drawn_at_random(3, 4)
    board, page, text = pages(
        records, rows=in_order(synthetic_rows(synthetic_cells(variants=("dense", "rtn-w4"), tasks={"sciq": 4}, n=40)))
    )
    assert [headings[-1] for headings in board][1:4] == ["The answer", "What this is", TITLE]
    assert {headings: page[headings] for headings in board} == board
    assert section(board) == section(page)
    before = text.partition('<h2 id="board-title">')[0]
    assert before.index(TITLE) < before.index("What to look at first")
    assert [block[1][0] for blocks in board.values() for block in blocks if block[0] == "image"] == [
        "figures/strips.png"
    ]
    assert len(table(board)) == 1 + 12
    assert text.count("figures/strips.png") == 1


def test_the_table_says_what_the_records_say() -> None:
    records = drawn_at_random(3, 4)
    header, *lines = table(pages(records)[0])
    by = {(one["model"], one["method"], one["metric"], one["tolerance"]): one for one in records}
    for line in lines:
        shown = dict(zip(header, line, strict=True))
        who = (shown["model"], shown["method"])
        strict, loose = by[(*who, "brier_ts", 0.05)], by[(*who, "brier_ts", 0.25)]
        assert shown["kept through, at 0.05"] == (strict["kept_through"] or "no level")
        assert shown["lost from, at 0.25"] == (loose["lost_from"] or "no level")
        assert shown["not known, and items that would decide"] == ("; ".join(strict["not_known"]) or "–")
        assert shown["accuracy kept through"] == (by[(*who, "accuracy", 0.05)]["kept_through"] or "no level")
        assert shown["accuracy lost from"] == (by[(*who, "accuracy", 0.25)]["lost_from"] or "no level")
    said = " ".join(str(block[1]) for block in section(pages(records)[0]) if block[0] == "p")
    certainty = states(records, "brier_ts")
    counts = [sum(sign in one for one in certainty.values()) for sign in "KL"]
    assert f"Of 12 curves (averages over tasks), certainty is kept through some level on {counts[0]} and" in said
    assert f"lost from some level on {counts[1]}." in said
    every = "".join(certainty.values())
    kept, worse, lost, unknown = (every.count(sign) for sign in "KWL?")
    assert f"Of {len(every)} levels {kept} are kept, {worse} worse, {lost} lost, {unknown} not known." in said


def test_the_picture_says_whether_it_shows_averages() -> None:
    notes = [text.get_text() for text in figure_of(drawn_at_random(3, 4)).texts]
    assert any(note.startswith("Averages over tasks.") for note in notes)
    assert not any(
        "Averages" in text.get_text() for text in figure_of(curve("m", "rtn", BITS, "kkll", task="sciq")).texts
    )


def test_kept_and_lost_come_from_the_smallest_and_the_largest_tolerance() -> None:
    records = curve("m", "rtn", BITS, "knwl")
    for one in records:
        one["kept_through"] = {0.05: "rtn-w8", 0.10: "rtn-w6", 0.25: "rtn-w4"}[one["tolerance"]]
        one["lost_from"] = {0.05: "rtn-w4", 0.10: "rtn-w4", 0.25: "rtn-w3"}[one["tolerance"]]
        one["kept_on_every_task"] = {0.05: "rtn-w8", 0.10: "rtn-w6", 0.25: "rtn-w6"}[one["tolerance"]]
        one["lost_on_a_task"] = {0.05: "rtn-w6", 0.10: "rtn-w4", 0.25: "rtn-w4"}[one["tolerance"]]
    _, (*_, kept, everywhere, lost, somewhere, _, _, _, _, _) = table(pages(records)[0])
    assert (kept, everywhere, lost, somewhere) == ("rtn-w8", "rtn-w8", "rtn-w3", "rtn-w4")


def test_items_that_would_decide_and_what_is_shown_without_an_order_stand_beside_unknown_levels() -> None:
    records = curve("m", "rtn", BITS, "nnnl", items_to_decide={"rtn-w8": "at the tolerance", "rtn-w6": 4733})
    for one in records:
        one["levels"][2]["holm"] = "lost"
    assert table(pages(records)[0])[1][6] == (
        "rtn-w8: at the tolerance; rtn-w6: 4,733 items; rtn-w4: more than 0.05 is lost"
    )


def test_bounds_and_missing_ends_of_a_dose_are_said() -> None:
    off = ["dose_low > 4 bits", "dose_high > 4 bits"]
    records = curve("m", "a", BITS, "llll", dose_bound="> 4 bits", notes=off)
    records += curve("m", "b", BITS, "knll", dose=(21.2, None, 23.34), notes=["dose_low < 20 percent zeros"])
    records += curve("m", "c", BITS, "knll", dose=(6.0, 4.886, None))
    records += curve("m", "d", BITS, "nnnn")
    shown = {line[1]: line[7] for line in table(pages(records)[0])[1:]}
    assert shown == {"a": "> 4", "b": "21.2 [< 20, 23.3]", "c": "6.00 [4.89, ?]", "d": "–"}


def test_curves_of_which_nothing_is_known_are_named_with_the_reason() -> None:
    records = curve("m", "rtn", BITS, "knll") + curve(
        "m", "odd|one", BITS, "nnnn", notes=["dense is above chance nowhere"]
    )
    for one in records[3:]:
        for level in one["levels"]:
            level |= {"loss": None, "low": None, "high": None}
    accuracy_alone = curve("other", "rtn", BITS, "kkll", metric="accuracy")
    board, page, _ = pages(records + accuracy_alone)
    assert [line[0] for line in table(board)[1:]] == ["m"]
    items = [block[1] for block in section(board) if block[0] == "li"]
    assert "dense is above chance nowhere: m odd|one" in items
    assert "it has no brier_ts: other rtn" in items
    assert section(board) == next(blocks for headings, blocks in page.items() if headings[-1] == TITLE)
    shown = letters_beside(figure_of(records + accuracy_alone))
    assert shown["odd|one"] == ("????", "")


def test_notes_of_curves_stand_below_the_table_each_once() -> None:
    left_out, seeds = "left out as no-ops: rtn-w8", "this checkpoint: other seeds of the sample text are left out"
    records = curve("m", "rtn", BITS, "knll", notes=[left_out, "dose_low < 3 bits"])
    records += curve("m", "gptq", BITS, "knll", notes=[seeds]) + curve("n", "gptq", BITS, "knll", notes=[seeds])
    items = [block[1] for block in section(pages(records)[0]) if block[0] == "li"][-2:]
    assert items == [f"{left_out}: m rtn", f"{seeds}: m gptq; n gptq"]
    alike = curve("m", "rtn", BITS, "knll", notes=[seeds]) + curve("n", "rtn", BITS, "knll", notes=[seeds])
    assert [block[1] for block in section(pages(alike)[0]) if block[0] == "li"][-1] == f"{seeds}: all"
    assert all(items[0] != block[1] for block in section(pages(alike)[0]))


def test_nothing_is_said_and_drawn_of_nothing() -> None:
    board, _, text = pages([])
    assert TITLE not in {headings[-1] for headings in board}
    assert draw_strips([], "brier_ts") == []
    assert 'class="strips"' not in text


def test_a_method_of_one_task_stands_with_its_task() -> None:
    records = curve("m", "rtn", BITS, "knll") + curve("m", "rtn", BITS, "kkkl", task="sciq")
    records += curve("m", "awq", ("awq-w4", "awq-w3"), "kl", task="sciq")
    assert [line[1] for line in table(pages(records)[0])[1:]] == ["rtn", "awq, sciq"]
    assert set(letters_beside(figure_of(records))) == {"rtn", "awq, sciq"}


def test_every_task_and_metric_is_on_the_page_that_folds() -> None:
    records = curve("m", "rtn", BITS, "knll") + curve("m", "rtn", BITS, "kkkl", task="sciq", metric="set_size")
    records += curve("m", "rtn", BITS, "wlll", task="sciq", dose=(5.0, 4.0, 6.0))
    _, page, _ = pages(records)
    (lines,) = [blocks[-1][1] for headings, blocks in page.items() if headings[-1].startswith("Doses task by task")]
    assert lines[1:] == [
        ["m", "rtn", "sciq", "brier_ts", "no level", "rtn-w6", "–", "5.00 [4.00, 6.00]"],
        ["m", "rtn", "sciq", "set_size", "rtn-w4", "rtn-w3", "–", "–"],
    ]


def words_of(records: Records, **other: Any) -> str:
    return " ".join(str(block[1]) for block in section(pages(records, **other)[0]) if block[0] in ("p", "li"))


def test_a_tolerance_is_told_in_points_of_accuracy() -> None:
    row = {
        "model": "m",
        "protocol": "exact",
        "alpha": 0.1,
        "variant": "dense",
        "scoring": "letter",
        "shots": 0,
        "flags": [],
    }
    rows = [
        row | {"task": "sciq", "accuracy": 0.80, "chance_accuracy": 0.25, "accuracy_low": 0.7, "accuracy_high": 0.9},
        row | {"task": "piqa", "accuracy": 0.60, "chance_accuracy": 0.50, "accuracy_low": 0.55, "accuracy_high": 0.7},
    ]
    # (0.55 + 0.10) / 2 lies between dense and chance
    said = words_of(curve("m", "rtn", BITS, "knll"), rows=rows)
    assert "m (accuracy 0.700, chance 0.375): 0.05 is 1.6 points, 0.10 is 3.2 points, 0.25 is 8.1 points" in said


def test_how_the_primary_measure_was_chosen_is_said_with_the_number_of_curves() -> None:
    records = drawn_at_random(4, 5)
    explored, planned = words_of(records), words_of(records, lead=Lead("brier_ts", chosen_before=True))
    for said in (explored, planned):
        assert "20 curves; at most 0.05 of them, 1.0, are expected to be wrong on each side." in said
    assert "chosen after these data were seen: exploratory" in explored
    assert "exploratory" not in planned
    assert "named in the configuration before the results: Brier score after temperature" in planned


def test_the_noise_floor_is_shown_or_said_to_be_unknown() -> None:
    without = pages(curve("m", "rtn", BITS, "knll", floor=None))[0]
    assert "noise floor" not in table(without)[0]
    assert "Noise floor: not known" in words_of(curve("m", "rtn", BITS, "knll"))
    records = curve("m", "rtn", BITS, "knll", floor=0.0123) + curve("n", "rtn", BITS, "knll", floor=None)
    assert [line[-1] for line in table(pages(records)[0])] == ["noise floor", "0.012", "–"]


def test_coverage_never_stands_without_its_size() -> None:
    row = {
        "model": "m",
        "protocol": "exact",
        "alpha": 0.1,
        "task": "sciq",
        "scoring": "letter",
        "shots": 0,
        "flags": [],
    }
    rows = [
        row | {"variant": "dense", "lac_set_size": 1.5},
        row | {"variant": "rtn-w4", "lac_transfer_coverage": 0.91, "lac_transfer_set_size": 1.58},
        row | {"variant": "rtn-w3", "lac_transfer_coverage": 0.97, "lac_transfer_set_size": 3.6},
        row | {"variant": "rtn-w2", "lac_transfer_coverage": 0.88, "lac_transfer_set_size": 3.9},
    ]
    records = curve("m", "rtn", BITS, "knll")
    records += curve("m", "rtn", BITS, "kkll", task="sciq", metric="lac_transfer_coverage")
    said = words_of(records, rows=rows)
    assert "rtn-w3 of m on sciq covers 0.970, as was promised, with 3.60 options where dense keeps 1.50." in said
    assert "is kept through some level on 1 of 1 curve; either of the two is lost from some level on 1." in said
    assert "No row covers what was promised by keeping 0.1 of an option more" in words_of(records, rows=rows[:2])


def test_names_of_strangers_stay_names() -> None:
    records = curve(HOSTILE, "rtn", BITS, "knll") + curve(HOSTILE, HOSTILE, (HOSTILE, "<i>own</i>"), "kl")
    board, page, text = pages(records)
    assert {headings: page[headings] for headings in board} == board
    assert "<script>alert" not in text
    assert "<i>own" not in text
    assert {line[0] for line in table(board)[1:]} == {HOSTILE}
    assert '<div class="group">a|b &lt;script&gt;' in text
    assert collisions(figure_of(records)) == []
    assert isinstance(find_strips(records, "brier_ts").panels[0].groups[0].lines[0].strips[0], Strip)
