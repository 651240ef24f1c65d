"""The top of the page: one sentence a question, each from facts whose answer is plain."""

from __future__ import annotations

from typing import Any

import pytest
from support.dose_curves import curve
from support.read_pages import read_html, read_markdown

from suite.publish.doses import EXPLORATORY, Lead
from suite.publish.figures import draw_strips
from suite.publish.pages.html import html_page
from suite.publish.pages.markdown import markdown_page
from suite.publish.sections.answer import (
    NAMED,
    TITLE,
    answer,
    answers,
    by_accuracy,
    by_size,
    kept,
    old_threshold,
    shipped,
)
from suite.publish.sections.page import leaderboard_page
from suite.publish.sections.words import plain
from suite.publish.standings import Standings

Records = list[dict[str, Any]]

BITS = ("rtn-w8", "rtn-w4", "rtn-w3")
PLANNED = Lead("brier_ts", chosen_before=True)


def both(model: str, method: str, names: tuple[str, ...], certainty: str, accuracy: str, **other: Any) -> Records:
    return curve(model, method, names, certainty, **other) + curve(
        model, method, names, accuracy, metric="accuracy", **other
    )


# ---------------------------------------------------------------- kept down to where


def test_levels_are_told_curve_by_curve_in_bits_and_percent() -> None:
    records = curve("m", "gptq", ("gptq-w4", "gptq-w3"), "nl") + curve("m", "rtn", BITS, "kkl")
    records += curve("n", "wanda", ("wanda-s30", "wanda-s50"), "kw") + curve("n", "sparsegpt", ("sparsegpt-2:4",), "l")
    records += curve("n", "awq", ("awq-w4", "awq-w3"), "nn")
    assert plain(kept(records, PLANNED)) == (
        "Down to where is certainty kept? Shown: m: gptq kept at no level (mildest 4 bits), lost from 3 bits; rtn kept "
        "through 4 bits, lost from 3 bits. n: wanda kept through 30 % removed, lost at none; sparsegpt kept at no "
        "level (mildest sparsegpt-2:4), lost from sparsegpt-2:4; awq not known at any level."
    )


def test_a_measure_chosen_after_the_results_is_said_where_it_answers() -> None:
    records = curve("m", "rtn", BITS, "kkl")
    assert plain(kept(records, EXPLORATORY)).endswith("(This measure was chosen after the results were seen.)")
    assert "chosen after" not in plain(kept(records, PLANNED))


def test_many_curves_are_counted() -> None:
    records = [
        one
        for number in range(NAMED + 1)
        for one in curve(f"m{number}", "rtn", BITS, ("kwl", "nnl", "kkn")[number % 3])
    ]
    said = plain(kept(records, PLANNED))
    # of 13 curves 5 are kwl, 4 nnl, 4 kkn
    assert "kept through some level on 9 of 13 curves and lost from some level on 9;" in said
    assert "of 39 levels 13 are kept, 5 worse, 9 lost, and of 12 these items do not say." in said


@pytest.mark.parametrize("copies", [1, NAMED + 1])
def test_kept_is_by_the_smallest_tolerance_and_lost_by_the_largest(copies: int) -> None:
    records = [one for number in range(copies) for one in curve(f"m{number}", "rtn", BITS, "kwl")]
    for one in records:
        one["kept_through"] = {0.05: None, 0.10: "rtn-w8", 0.25: "rtn-w4"}[one["tolerance"]]
        one["lost_from"] = {0.05: "rtn-w8", 0.10: "rtn-w4", 0.25: None}[one["tolerance"]]
    said = plain(kept(records, PLANNED))
    if copies == 1:
        assert "rtn kept at no level (mildest 8 bits), lost at none" in said
    else:
        assert f"on 0 of {copies} curves and lost from some level on 0;" in said


def test_nothing_known() -> None:
    records = curve("m", "rtn", BITS, "nnn")
    for one in records:
        for level in one["levels"]:
            level |= {"loss": None, "low": None, "high": None}
    assert "Of no curve can anything be said" in plain(kept(records, PLANNED))
    assert "nothing can be said" in plain(by_accuracy([], records, [], PLANNED))
    files = {"doses.json": records}
    assert [line.partition("?")[0] for line in answers(files)] == [
        "Down to where is certainty kept",
        "Would accuracy alone have said the same",
        "Does size protect",
        "What does it cost to keep the old confidence threshold",
        "Would it be shipped",
    ]
    assert answer({}) is None
    assert answers({}) == []


# ---------------------------------------------------------------- accuracy alone


def passed(variant: str, **other: Any) -> dict[str, Any]:
    return {
        **{"model": "m", "variant": variant, "task": "macro", "tolerance": 0.1, "accuracy_loss": 0.06},
        **{"certainty_loss": 0.142, "beyond_damage": None, **other},
    }


def test_no_level_that_accuracy_alone_would_have_passed() -> None:
    records = both("m", "rtn", BITS, "kwl", "kwl") + both("m", "gptq", ("gptq-w4", "gptq-w3"), "nl", "kl")
    for one in records:
        if one["metric"] == "accuracy" and one["tolerance"] < 0.25:
            one["lost_from"] = one["levels"][0]["variant"]  # lost is by the largest tolerance
    said = plain(by_accuracy([], records, [], PLANNED))
    assert "At no level is it shown to pass what certainty fails" in said
    assert said.endswith(
        "By its own strip it is kept through and lost from the same levels on 1 of 2 curves; "
        "kept by accuracy and not by certainty: gptq-w4."
    )
    assert "Not asked" in plain(by_accuracy(None, records, [], PLANNED))


def test_what_accuracy_alone_would_have_passed_is_named_with_both_losses() -> None:
    records = both("m", "rtn", BITS, "kwl", "kkl")
    found = [passed("rtn-w4"), passed("rtn-w3", certainty_loss=0.2, beyond_damage=True)]
    task = passed("rtn-w8", task="sciq", certainty_loss=0.9)
    said = plain(by_accuracy([*found, task], records, [], PLANNED))
    assert (
        "It would have passed rtn-w3 of m, where accuracy is shown to have lost less and certainty more than 0.10 of "
        "the way to guessing (0.060 and 0.200), and 1 more level; on 1 of them more certainty is lost than such damage "
        "explains."
    ) in said
    alone = plain(by_accuracy([task], records, [], PLANNED))
    assert "rtn-w8 of m on sciq" in alone
    assert "may only be the finer instrument" in alone
    coupled = [{"variant": "rtn-w3", "task": "macro", "verdict": "amplified loss"}]
    coupled += [{"variant": "rtn-w8", "task": "sciq", "verdict": "amplified loss"}]
    coupled += [{"variant": "rtn-w4", "task": "macro", "verdict": "coupled"}]
    assert plain(by_accuracy([], records, coupled, PLANNED)).endswith(
        "Sets grew beyond what the damage explains at rtn-w3."
    )


# ---------------------------------------------------------------- size


def sizes(variant: str, difference: float, half: float, **other: Any) -> dict[str, Any]:
    pair = {"smaller": "q-0.5b", "larger": "q-1.5b", "difference": difference}
    pair |= {"difference_low": difference - half, "difference_high": difference + half}
    return {
        "task": "macro",
        "variant": variant,
        "metric": "set_size",
        "confounded": False,
        "differences": [pair],
        **other,
    }


def test_sizes_are_compared_pair_by_pair_within_a_family() -> None:
    scale = [sizes("rtn-w4", -0.2, 0.1), sizes("rtn-w3", -0.31, 0.1), sizes("rtn-w8", -0.02, 0.05)]
    scale += [sizes("gptq-w3", 0.2, 0.1), sizes("gptq-w4", 0.02, 0.05)]
    left_out = [sizes("dense", -0.9, 0.1), sizes("rtn-w3@seed1", -0.9, 0.1), sizes("rtn-w4", -0.9, 0.1, task="sciq")]
    left_out += [sizes("rtn-w4", -0.9, 0.1, confounded=True)]
    said = plain(by_size(scale + left_out))
    assert (
        "By set size the larger model is shown to lose less in 2 and more in 1 of 5 comparisons of two sizes of one "
        "family at one compression; "
    ) in said
    assert "furthest apart rtn-w3, q-1.5b against q-0.5b: −0.31 [−0.41, −0.21]." in said
    assert "largest, not shown, rtn-w8" in plain(by_size([sizes("rtn-w8", 0.01, 0.05)]))
    led = [*scale, sizes("rtn-w4", 0.09, 0.05, metric="brier_ts")]
    said = plain(by_size(led, PLANNED))
    assert said.index(
        "By Brier score after temperature the larger model is shown to lose less in 0 and more in 1 of"
    ) < (said.index("By set size: less in 2, more in 1 of 5 comparisons; furthest apart rtn-w3: −0.31 [−0.41, −0.21]."))


def test_one_size_and_sizes_of_different_families_say_nothing() -> None:
    assert plain(by_size([])).endswith("Not known: no family has two sizes that are compared.")
    confounded = {**sizes("rtn-w4", 0, 0), "confounded": True, "differences": []}
    assert "different families" in plain(by_size([confounded]))
    unknown = sizes("rtn-w4", -0.2, 0.1)
    unknown["differences"][0] |= {"difference_low": None, "difference_high": None}
    assert "Not known" in plain(by_size([unknown]))
    broken = sizes("rtn-w2", -0.1, 0.05)
    broken["differences"][0]["saturated"] = True
    assert "Not known: both have nothing left to lose" in plain(by_size([broken]))
    said = plain(by_size([broken, sizes("rtn-w4", 0.02, 0.05)]))
    assert "of 1 comparison of" in said
    assert "largest, not shown, rtn-w4" in said
    assert "in 1 more both have nothing left to lose" in said


# ---------------------------------------------------------------- the old threshold


def cost(variant: str, change: float | None, half: float = 10.0, **other: Any) -> dict[str, Any]:
    ends = (None, None) if change is None else (change - half, change + half)
    return {
        **{"model": "m", "task": "macro", "variant": variant, "cost_wrong": 10.0, "cost_review": 2.0},
        **{"keeping_change": change, "keeping_change_low": ends[0], "keeping_change_high": ends[1]},
        **{"costs_planned": False, **other},
    }


def test_what_keeping_costs_is_named_where_it_is_shown_for_all_of_them() -> None:
    found = [cost("rtn-w8", 1.0), cost("rtn-w4", 10.5), cost("rtn-w3", 300.0), cost("rtn-w2", 1250.0)]
    found += [cost("rtn-w6", 0.5), cost("x", None)]
    said = plain(old_threshold(found))
    # 10.5 with a half width of 10 is shown alone (p = .02) and not among five
    assert (
        "With a wrong answer at 10 and a review at 2 (the suite's defaults; the configuration names none) keeping "
        "dense's threshold is shown to cost more than tuning it again on 2 of 5 compressed results (corrected for "
        "their number), most on rtn-w2 of m: +1250 [+1240, +1260] a 1,000 questions, of which reviewing all costs "
        "2,000."
    ) in said
    assert "on 1 of 1 compressed result (" in plain(old_threshold([cost("rtn-w4", 10.5)]))


def test_costs_of_the_configuration_are_called_so_and_nothing_shown_is_said() -> None:
    said = plain(old_threshold([cost("rtn-w4", 3.0, costs_planned=True, cost_wrong=4.5)]))
    assert "With a wrong answer at 4.5 and a review at 2 (from the configuration) keeping" in said
    assert "on none of 1 compressed result (corrected for their number); the most that was seen is +3 [−7, +13]" in said
    assert "Not known" in plain(old_threshold([]))
    assert "Not known" in plain(old_threshold([cost("rtn-w4", None)]))


# ---------------------------------------------------------------- shipped


def decided(variant: str, decision: str, model: str = "m", unlocked: int = 0) -> dict[str, Any]:
    return {"model": model, "variant": variant, "policy": "certainty", "decision": decision, "unlocked": unlocked}


def test_shipping_is_answered_by_the_gate() -> None:
    gate = [decided("rtn-w8", "accept"), decided("rtn-w4", "review"), decided("rtn-w3", "reject")]
    assert plain(shipped(gate)).endswith(
        "Under the policy certainty, by the gate. m: yes rtn-w8; left to a person rtn-w4; no rtn-w3."
    )
    more = [decided(f"wanda-s{percent}", "reject", "n", unlocked=2) for percent in range(10, 10 + NAMED + 2)]
    said = plain(shipped(gate[:1] + more))
    assert "m: yes rtn-w8. n: no wanda-s10, wanda-s11, " in said
    assert ", wanda-s21 and 2 more." in said
    assert said.endswith("No lock had fixed the policy before these results.")
    assert "Nobody has decided: the configuration names no policy" in plain(shipped([]))


# ---------------------------------------------------------------- both pages


@pytest.mark.parametrize("model", ["m", "a|b <script>alert(1)</script> *x* [l](http://evil.example)"])
def test_both_pages_begin_with_the_answer(model: str) -> None:
    records = both(model, "rtn", BITS, "kwl", "kkl")
    files = {"verdicts.json": [], "decoupling.json": [], "doses.json": records, "accuracy_alone.json": []}
    files |= {"scale.json": [], "deferral.json": [cost("rtn-w4", 30.0, model=model)]}
    files |= {"gate.json": [decided("rtn-w4", "reject", model) | dict.fromkeys(("lost_at_most", "lost_at_least"), 0.1)]}
    files["gate.json"][0] |= {"reason": None, "criteria": [], "red_lines": [], "notes": [], "attempt": 1}
    page = leaderboard_page(
        [], draw_strips(records, "brier_ts", draw=False), records=files, unfinished="Unfinished: one."
    )
    board = read_markdown(markdown_page(page))
    text = html_page(page, [], [], Standings()).decode()
    shown = read_html(text)
    assert [headings[-1] for headings in board][1] == TITLE
    assert [headings[-1] for headings in shown][1] == TITLE
    title = next(headings for headings in board if headings[-1] == TITLE)
    assert board[title] == shown[title]
    assert [block[0] for block in board[title]] == ["image", "p", *["li"] * 5]
    assert [words for kind, words in board[title] if kind == "li"] == answers(files)
    assert board[title[:1]][0] == ("p", "Unfinished: one.")  # nothing else stands before it
    assert "<script>alert" not in text
