"""LEADERBOARD.md and index.html show the same sections, whatever a run holds and whatever things are called."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dose_curves import curve
from support.read_pages import Sections, read_html, read_markdown
from support.synthetic_cells import cell_of, synthetic_cells
from support.synthetic_snapshot import write_run

import suite.publish
from suite.config import read_config
from suite.decisions.analyses import DECOUPLING, PARTS, VERDICTS
from suite.publish.pages.html import html_page
from suite.publish.pages.markdown import markdown_page
from suite.publish.sections.section import Column, Image, Items, Page, Section, Span
from suite.publish.sections.words import code, figure, say
from suite.publish.snapshot import Computed, compute, snapshot_texts
from suite.publish.standings import Standings

ROOT = Path(__file__).resolve().parent.parent
RESULTS = sorted(folder.name for folder in (ROOT / "results").iterdir() if (folder / "index.html").is_file())

HOSTILE = "b|ad `x` <b>bold</b> [link](http://evil.example) **e** _u_ {n}\n\n# heading\n| a | b |\n@user & </td>"
VARIANTS = ("dense", "rtn-w8", "rtn-w4", "gptq-w3", "magnitude-s50")
FIRST = "Leaderboard: does a compressed model still know when it may be wrong?"
HTML_ALONE = {
    (FIRST, name)
    for name in ("Leaderboard", "Behind this page", "Verdicts on every metric", "Doses task by task, on every metric")
}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Computed:
    """Everything that a page can show: groups, a pair, verdicts, parts, silent losses, sizes, seeds, failures, gaps."""
    cells = synthetic_cells(
        models={"small-100m": 0.1, "large-400m": 0.4, HOSTILE: 1.0},
        variants=VARIANTS,
        tasks={"arc-easy": 4, "sci_q": 4},
        n=40,
    )
    dense = next(cell for cell in cells if cell.task["name"] == "sci_q")
    cells += [
        cell_of(
            "small-100m", name, "sci_q", np.random.default_rng(seed).normal(size=(40, 4)), dense.answers, billions=0.1
        )
        for seed, name in enumerate(("gptq-w3@seed1", "gptq-w3@seed2"))
    ]
    cells = [
        replace(cell, variant={**cell.variant, "name": "<i>o|wn</i> _x_"})
        if cell.variant["name"] == "rtn-w8" and cell.model["name"] == HOSTILE
        else cell
        for cell in cells
    ]
    run = write_run(tmp_path_factory.mktemp("sections") / "run", cells)
    failure = {
        "model": HOSTILE,
        "variant": "rtn-w3",
        "task": "sci_q",
        "scoring": "letter",
        "reason": "out of | <memory>",
    }
    (run / "cells" / "one.failed.json").write_text(json.dumps(failure))
    made = compute(run, read_config(run / "config.yaml"))
    assert made.standings.pairs
    planted(made.records)
    for number, row in enumerate(made.rows):
        if number % 5 == 0:
            row |= {
                "nll": None,
                "nll_ts": None,
                "notes": {"nll": "infinite in 3 items | *x*"},
                "flags": ["no-op", "odd_1"],
            }
        if number % 7 == 0:
            row["lac_coverage_band_low"] = 0.995
    return replace(
        made,
        standings=replace(made.standings, left_out={"scored on other items than most": 2}),
        unfinished="Unfinished: of the 99 cells of its configuration 38 are here (3 of small_100m), and 1 failed.",
    )


def planted(records: Mapping[str, list[Any]]) -> None:
    """Verdicts of every kind, parts that differ from their task, and silent losses, which so few items do not show."""
    curves = [one for one in records[VERDICTS] if one["metric"] == "set_size"]
    assert len(curves) > 8
    for number, one in enumerate(curves[:-3]):
        one |= {"jump": 0.3, "jump_low": 0.1, "jump_high": 0.5, "jump_of_headroom": 0.4, "minimum_detectable": 0.2}
        one |= {"verdict": ("threshold", "gradual", "none")[number % 3], "p_value": (0.0001, 0.5, None)[number % 3]}
        one |= {"level": "rtn-w2", "level_low": "rtn-w4" if number % 2 else "rtn-w2", "level_high": "rtn-w2"}
    records[PARTS] = [
        one | {"slice": f"part_{name}|", "verdict": "threshold", "level": "rtn-w4"}
        for one in curves[:7]
        for name in "abc"
    ]
    for one in records[DECOUPLING][:3]:
        one["verdict"] = "silent uncertainty loss"
    levels = ("rtn-w8", "<i>o|wn</i> _x_")
    records["doses.json"] = [
        one
        for model, states in (("small-100m", "kn"), ("large-400m", "wl"), (HOSTILE, "nl"))
        for metric in ("brier_ts", "accuracy")
        for task in ("macro", "sci_q")
        for one in curve(model, "rtn", levels, states, metric=metric, task=task, dose=(6.0, 5.0, None))
    ]


def both(made: Computed) -> tuple[Sections, Sections]:
    texts = snapshot_texts(made, made.rows, made.pictures(made.rows, draw=False))
    return read_markdown(texts["LEADERBOARD.md"].decode()), read_html(texts["index.html"].decode())


def test_both_pages_hold_the_same_rows_and_words_of_every_section(computed: Computed) -> None:
    board, page = both(computed)
    names = [headings[-1].split(":")[0] for headings in board]
    for name in (
        *(
            "Down to which level is certainty kept?",
            "What to look at first",
            "Summary",
            "Groups",
            "At equal megabytes",
            "Where it breaks",
        ),
        *("Parts that break otherwise than their task", "Does uncertainty follow accuracy?", "Does size protect?"),
        *("Seeds of the sample text", "small-100m (100M parameters)", "sci_q", "Cells that failed"),
        *("Why a value is missing", "What the columns mean"),
    ):
        assert name in names
    assert [headings for headings in page if headings in board] == list(board)
    for headings, blocks in board.items():
        assert page[headings] == blocks, headings
    assert set(page) - set(board) == HTML_ALONE
    tables = {headings[-1]: block[1] for headings, blocks in board.items() for block in blocks if block[0] == "table"}
    assert all(len(lines) > 1 and len({len(line) for line in lines}) == 1 for lines in tables.values())  # type: ignore[arg-type]
    assert len(tables) == 12
    flat = " ".join(HOSTILE.split())
    assert flat in {line[0] for line in tables["Summary: averages over tasks"]}  # type: ignore[attr-defined]


def test_no_word_of_ours_is_markup_to_a_reader(computed: Computed) -> None:
    """Ready Markdown or HTML in a section would be escaped like a name, and stand on both pages alike."""

    def strings(value: object) -> list[str]:
        return [value] if isinstance(value, str) else [one for part in value for one in strings(part)]  # type: ignore[attr-defined]

    strange = (" ".join(HOSTILE.split()), "<i>o|wn</i> _x_", "out of | <memory>", "infinite in 3 items | *x*")
    for page in both(computed):
        seen = strings([*page, *page.values()])
        assert len(seen) > 500
        for name in strange:
            assert any(name in one for one in seen)
            seen = [one.replace(name, "") for one in seen]
        assert [one for one in seen if re.search(r"[*`\\]|</?\w|\]\(|&#?\w+;", one)] == []


@pytest.mark.parametrize("name", RESULTS)
def test_both_pages_of_published_results_hold_the_same(name: str) -> None:
    folder = ROOT / "results" / name
    formulas = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["formulas"]["files"]
    if "index.html" in formulas:  # pages had numbers then
        pytest.skip(f"results/{name} was written before its page showed all sections")
    board = read_markdown((folder / "LEADERBOARD.md").read_text(encoding="utf-8"))
    page = read_html((folder / "index.html").read_text(encoding="utf-8"))
    assert {headings: page[headings] for headings in board} == board


def test_a_run_without_cells_says_so_on_both_pages(computed: Computed) -> None:
    from suite.publish.sections.page import leaderboard_page

    page = leaderboard_page([], failures=computed.failures)
    board = read_markdown(markdown_page(page))
    assert ("p", "No cell has been scored.") in board[FIRST,]
    assert list(board) == [
        (FIRST,),
        *((FIRST, one) for one in ("What this is", "Cells that failed", "What the columns mean")),
    ]
    shown = read_html(html_page(page, [], [], Standings()).decode())
    assert {headings: shown[headings] for headings in board} == board


def test_every_part_of_a_section_is_on_both_pages() -> None:
    words = say("{name} is *so* in `x y`, **indeed**, see [rows.csv]", name=HOSTILE)
    inner = Section(
        "inner_1", header=(Column("a|b", words=True), Column("c")), rows=((words, figure("1.0 [0.5, 1.5]")),)
    )
    whole = Section(
        title=HOSTILE,
        prose=(words, Items((words, "two"), numbered=True), Image("figures/x.png", HOSTILE)),
        header=(Column("n", words=True), Column("v"), Column("f", words=True)),
        rows=(
            (code(HOSTILE), figure("< 0.001"), Span(HOSTILE, "flag", HOSTILE)),
            ("", "–", Span("t", "term", 'a "b"')),
        ),
        after=(Items(("one", words), under=(words, "below")), HOSTILE),
        parts=(inner, replace(inner, title="inner_2")),
    )
    page = Page("T", words, words, (words,), (replace(whole, title="0"), whole, replace(whole, title="2", folded=True)))
    board = read_markdown(markdown_page(page))
    assert len(board) == 11
    flat = " ".join(HOSTILE.split())
    said = f"{flat} is so in x y, indeed, see rows.csv"
    assert board["T",] == [("p", said)]
    assert board["T", "What this is"] == [("p", said)] * 2
    blocks = board["T", flat]
    assert blocks[:4] == [("p", said), ("li", said), ("li", "two"), ("image", ("figures/x.png", flat))]
    assert blocks[4] == ("table", [["n", "v", "f"], [flat, "< 0.001", flat], ["", "–", "t"]])
    assert blocks[5:] == [("li", "one"), ("li", said), ("li", said), ("li", "below"), ("p", flat)]
    assert board["T", flat, "inner_2"] == [("table", [["a|b", "c"], [said, "1.0 [0.5, 1.5]"]])]
    text = html_page(page, [], [], Standings()).decode()
    shown = read_html(text)
    assert {headings: shown[headings] for headings in board} == board
    for markup in ("<b>bold", "<td>@user", "**", "](http"):
        assert markup not in text.split("<main>")[1].replace(flat.split(" _u_")[0].split("</b>")[1], "")
    assert shown.keys() - board.keys() == {("T", "Leaderboard"), ("T", "Behind this page")}


def test_sections_know_neither_page() -> None:
    """What is shown is decided without Markdown and HTML; one file knows the templates."""
    publish = Path(suite.publish.__file__).parent
    known: dict[str, set[str]] = {}
    for file in sorted(publish.rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        known[file.relative_to(publish).as_posix()] = names
    inside = {name for file, names in known.items() if file.startswith("sections/") for name in names}
    assert len(inside) > 10
    assert not [name for name in inside if name.startswith(("suite.publish.pages", "jinja2", "html", "markupsafe"))]
    assert [file for file, names in known.items() if any(name.startswith("jinja2") for name in names)] == [
        "pages/html.py"
    ]
