"""index.html in a real browser: sorted, filtered, opened and typed at, with names that would like to run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.headless import Browser
from support.read_pages import read_html
from support.synthetic_cells import synthetic_cells, synthetic_rows
from support.synthetic_snapshot import publish, write_run

from suite.cell import Cell
from suite.publish.order import in_order
from suite.publish.pages.html import html_page
from suite.publish.sections.page import leaderboard_page
from suite.publish.standings import Standings

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&amp;{{7*7}}"
MODELS = {"small-100m": 0.1, "large-400m": 0.4, HOSTILE: 1.0}
VARIANTS = ("dense", "rtn-w8", "rtn-w4", "rtn-w2", "magnitude-s50", "<b onclick=alert(3)>own</b>")


def invented() -> list[Cell]:
    """Known variants, and one whose name a stranger chose."""
    from dataclasses import replace

    cells = synthetic_cells(models=MODELS, variants=VARIANTS[:5], tasks={"arc-easy": 4, "sciq": 4}, n=50)
    strange = [
        replace(cell, variant={**cell.variant, "name": VARIANTS[5], "family": "<i>x</i>", "method": "<u>y</u>"})
        for cell in cells
        if cell.variant["name"] == "rtn-w8"
    ]
    return cells + strange


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return publish(write_run(folder / "run", invented()), folder / "snapshot") / "index.html"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def browser(started: Browser, page: Path) -> Iterator[Browser]:
    """A fresh page, at whose end nothing was complained about and nothing was asked of a network."""
    started.complaints.clear()
    started.requests.clear()
    started.look(width=1366, height=900)
    started.open(page)
    yield started
    started.evaluate("0")  # collect what is still under way
    assert started.complaints == []
    assert [url for url in started.requests if not url.startswith("file://") or not url.endswith("index.html")] == []


def column(browser: Browser, key: str) -> list[str]:
    return list(
        browser.evaluate(
            f"""[...document.querySelectorAll('.board tbody tr')].map(row =>
            row.cells[[...document.querySelectorAll('.board thead th')].findIndex(h => h.dataset.key === '{key}')]
            .querySelector('button, span')?.textContent ?? row.cells[0].textContent)"""
        )
    )


def models(browser: Browser) -> list[str]:
    return list(browser.evaluate("[...document.querySelectorAll('.board tbody tr')].map(r => r.cells[0].textContent)"))


def click_head(browser: Browser, key: str) -> None:
    browser.evaluate(f"document.querySelector('th[data-key={key}] button').click()")


def choose(browser: Browser, control: str, words: str) -> None:
    browser.evaluate(
        f"""(() => {{ const s = document.getElementById('{control}');
        s.selectedIndex = [...s.options].findIndex(o => o.textContent === {json.dumps(words)});
        s.dispatchEvent(new Event('change')); }})()"""
    )


def number(shown: str) -> float:
    return float(shown.replace("−", "-"))


def data_of(page: Path) -> dict[str, Any]:
    """The page's data as an HTML parser finds it."""
    text = page.read_text(encoding="utf-8")
    return dict(json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[0]))


# ---------------------------------------------------------------- the file


def test_no_line_can_end_between_a_number_and_its_percent_sign(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    blocks = re.findall(r"<(?:p|li)\b[^>]*>.*?</(?:p|li)>", written, re.DOTALL)
    assert any("%" in block for block in blocks)
    assert [block for block in blocks if re.search(r"\d %", block)] == []


def test_nothing_in_the_page_points_to_a_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_names_are_escaped_in_the_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "<b onclick" not in text
    assert len(re.findall(r"</script", text)) == 2
    assert text.count("<script") == 2
    shown = read_html(text)
    ((_, lines),) = [
        block for at, blocks in shown.items() if "Summary" in at[-1] for block in blocks if block[0] == "table"
    ]
    assert {line[0] for line in lines} == {"model", "small-100m", "large-400m", HOSTILE}
    assert data_of(page)["models"] == ["small-100m", "large-400m", HOSTILE]


def test_the_page_shows_the_digits_of_the_tables(page: Path) -> None:
    board = (page.parent / "LEADERBOARD.md").read_text(encoding="utf-8")
    data = data_of(page)
    at = {name: index for index, name in enumerate(data["fields"])}
    shown = [row[at["accuracy_shown"]] for row in data["rows"]] + [row[at["nll_shown"]] for row in data["rows"][:18]]
    plain = board.replace("\N{NO-BREAK SPACE}", " ")
    assert len(shown) > 50
    assert [value for value in shown if value.split(" [")[0] not in plain] == []
    assert [row[at["accuracy_shown"]] for row in data["rows"] if row[at["accuracy_shown"]] not in plain] == []


# ---------------------------------------------------------------- sorted and filtered


def test_sorting_orders_all_rows_both_ways(browser: Browser) -> None:
    before = column(browser, "accuracy")
    assert len(before) == 18
    click_head(browser, "accuracy")
    falling = [number(value) for value in column(browser, "accuracy")]
    assert falling == sorted(falling, reverse=True)
    assert sorted(falling) == sorted(map(number, before))
    assert browser.evaluate("document.querySelector('th[data-key=accuracy]').getAttribute('aria-sort')") == "descending"
    click_head(browser, "accuracy")
    rising = [number(value) for value in column(browser, "accuracy")]
    assert rising == sorted(rising)
    click_head(browser, "set_size")
    sizes = [number(value) for value in column(browser, "set_size")]
    assert sizes == sorted(sizes)
    assert browser.evaluate("document.querySelector('th[data-key=accuracy]').getAttribute('aria-sort')") == "none"
    browser.evaluate("document.getElementById('reset').click()")
    assert column(browser, "accuracy") == before


def test_what_is_missing_comes_last_both_ways(browser: Browser) -> None:
    for _ in range(2):
        click_head(browser, "accuracy_change")
        shown = column(browser, "accuracy_change")
        assert shown[-3:] == ["–"] * 3  # the dense models
        assert "–" not in shown[:-3]


def test_filters_by_task_model_method_and_size(browser: Browser) -> None:
    choose(browser, "model", "large-400m")
    assert models(browser) == ["large-400m"] * 6
    choose(browser, "method", "rtn")
    assert column(browser, "variant") == ["dense", "rtn-w8", "rtn-w4", "rtn-w2"]
    average = column(browser, "accuracy")
    choose(browser, "view", "sciq")
    assert column(browser, "variant") == ["dense", "rtn-w8", "rtn-w4", "rtn-w2"]
    assert column(browser, "accuracy") != average
    browser.evaluate("document.getElementById('reset').click()")
    choose(browser, "params", "400M")
    assert set(models(browser)) == {"small-100m", "large-400m"}
    browser.evaluate("""(() => { const i = document.getElementById('megabytes'); i.value = '230';
        i.dispatchEvent(new Event('input')); })()""")
    sizes = [number(value) for value in column(browser, "megabytes")]
    assert sizes
    assert max(sizes) <= 230
    assert (
        browser.evaluate("document.getElementById('count').textContent") == f"{len(sizes)} of {len(sizes)} rows shown"
    )


def test_a_filter_that_leaves_nothing_says_so(browser: Browser) -> None:
    browser.evaluate("""(() => { const i = document.getElementById('megabytes'); i.value = '0.1';
        i.dispatchEvent(new Event('input')); })()""")
    assert models(browser) == []
    assert browser.evaluate("document.getElementById('count').textContent") == "0 of 0 rows shown"


# ---------------------------------------------------------------- many rows


@pytest.fixture
def many(browser: Browser, tmp_path: Path) -> Browser:
    """A page with 150 rows in one view: one row a hundred and fifty times, its accuracy shuffled."""
    (row, *_) = synthetic_rows(synthetic_cells(variants=("dense",), tasks={"sciq": 4}, n=40), replicates=20, splits=2)
    rows = in_order([{**row, "variant": f"own-{i:03d}", "accuracy": (i * 37 % 150) / 150} for i in range(150)])
    file = tmp_path / "index.html"
    file.write_bytes(html_page(leaderboard_page(rows), rows, [], Standings()))
    browser.open(file)
    return browser


def mark_rows(browser: Browser) -> None:
    browser.evaluate("window.known = new WeakSet(document.querySelectorAll('.board tbody tr'))")


def marked_rows(browser: Browser) -> list[bool]:
    return list(browser.evaluate("[...document.querySelectorAll('.board tbody tr')].map(row => window.known.has(row))"))


def test_all_rows_are_shown_on_request_and_stay(many: Browser) -> None:
    assert len(models(many)) == 100
    assert many.evaluate("document.getElementById('count').textContent") == "100 of 150 rows shown"
    many.evaluate("document.getElementById('more').focus(), document.getElementById('more').click()")
    assert len(models(many)) == 150
    assert many.evaluate("document.activeElement.textContent") == "own-100"  # the first of the new ones
    assert many.evaluate("getComputedStyle(document.getElementById('more')).display") == "none"
    click_head(many, "accuracy")
    falling = [number(value) for value in column(many, "accuracy")]
    assert len(falling) == 150
    assert falling == sorted(falling, reverse=True)
    many.evaluate("document.getElementById('reset').click()")
    assert len(models(many)) == 100


def test_sorting_and_filtering_make_no_row_twice(many: Browser) -> None:
    many.evaluate("document.getElementById('more').click()")
    mark_rows(many)
    before = column(many, "variant")
    for key in ("accuracy", "variant", "variant"):
        click_head(many, key)
        assert marked_rows(many) == [True] * 150
    assert column(many, "variant") == sorted(before, reverse=True)
    many.evaluate("""(() => { const i = document.getElementById('megabytes'); i.value = '0.1';
        i.dispatchEvent(new Event('input')); i.value = ''; i.dispatchEvent(new Event('input')); })()""")
    assert marked_rows(many) == [True] * 150


def test_rows_out_of_sight_are_not_laid_out_and_columns_stay_in_line(many: Browser) -> None:
    many.evaluate("document.getElementById('more').click(), window.scrollTo(0, 0)")
    # two frames, after which the browser has decided what is in sight
    many.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    drawn = many.evaluate(
        "[...document.querySelectorAll('.board tbody td:first-child')]"
        ".filter(cell => cell.checkVisibility({contentVisibilityAuto: true})).length"
    )
    assert 0 < drawn < 75
    lefts = many.evaluate(
        """[0, 5, 149].map(n => [...document.querySelectorAll('.board tbody tr')[n].cells].map(
        cell => cell.getBoundingClientRect().right))"""
    )
    heads = many.evaluate("[...document.querySelectorAll('.board th')].map(h => h.getBoundingClientRect().right)")
    for line in lefts:
        assert line == pytest.approx(heads, abs=0.5)


def test_the_variant_stays_in_sight_when_the_table_scrolls_sideways(many: Browser) -> None:
    edges = many.evaluate(
        """(() => { const box = document.querySelector('.scroll'); box.scrollLeft = 400;
        return [box, document.querySelector('td.variant'), document.querySelector('td.model')]
            .map(e => e.getBoundingClientRect().left); })()"""
    )
    assert edges[1] == pytest.approx(edges[0], abs=2)
    assert edges[2] < edges[0] - 100


def test_the_table_is_a_table_to_assistive_technology(many: Browser) -> None:
    many("Accessibility.enable")
    nodes = many("Accessibility.getFullAXTree")["nodes"]
    many("Accessibility.disable")
    (table, *_) = [node for node in nodes if node["role"]["value"] == "table"]
    by_id = {node["nodeId"]: node for node in nodes}

    def roles(node: dict[str, Any]) -> Iterator[str]:
        yield node["role"]["value"]
        for child in node.get("childIds", ()):
            yield from roles(by_id[child])

    found = list(roles(table))
    assert found.count("row") == 101
    assert found.count("columnheader") == 16
    assert found.count("cell") >= 150  # rows far out of sight get theirs when they come near


# ---------------------------------------------------------------- opened


def test_a_click_shows_curve_and_reliability(browser: Browser) -> None:
    choose(browser, "view", "sciq")
    browser.evaluate("document.querySelectorAll('button[data-row]')[2].click()")
    assert browser.evaluate("document.getElementById('detail').open")
    assert browser.evaluate("document.getElementById('detail-title').textContent") == "small-100m · rtn-w4 · sciq"
    labels = browser.evaluate("[...document.querySelectorAll('#detail svg')].map(s => s.getAttribute('aria-label'))")
    assert len(labels) == 3
    assert labels[0].startswith("Accuracy by confidence. raw: ")
    shown = column(browser, "accuracy")
    # the curve of rtn: dense, 8, 4, 2, with the figures of the table
    assert [part.split()[0] for part in labels[1].removeprefix("Accuracy: ").split("; ")] == ["dense", "8", "4", "2"]
    assert [part.split()[1] for part in labels[1].removeprefix("Accuracy: ").split("; ")] == shown[:4]
    assert browser.evaluate("document.querySelectorAll('#detail circle.chosen').length") == 2


def test_reliability_bins_are_those_of_the_cell(browser: Browser, page: Path) -> None:
    """Counts of all bins add up to the items, and their accuracies to the accuracy of the row."""
    data = data_of(page)
    at = {name: index for index, name in enumerate(data["fields"])}
    assert len(data["bins"]) == 36
    for key, series in data["bins"].items():
        row = data["rows"][int(key)]
        for _, bins in series:
            count = sum(n for _, _, n in bins)
            assert count == row[at["items"]] == 50
            assert sum(accuracy * n for _, accuracy, n in bins) / count == pytest.approx(row[at["accuracy"]], abs=1e-3)


def test_the_dense_row_shows_every_curve_of_its_model(browser: Browser) -> None:
    browser.evaluate("document.querySelectorAll('button[data-row]')[0].click()")
    heads = browser.evaluate("[...document.querySelectorAll('#detail h3')].map(h => h.textContent)")
    assert [head for head in heads if head.startswith("Rising")] == [
        "Rising compression: rtn (quantization)",
        "Rising compression: magnitude (sparsity)",
        "Rising compression: other",
    ]


def test_hostile_names_are_text_wherever_they_appear(browser: Browser) -> None:
    choose(browser, "model", HOSTILE)
    assert models(browser) == [HOSTILE] * 6
    assert VARIANTS[5] in column(browser, "variant")
    browser.evaluate("[...document.querySelectorAll('button[data-row]')].at(-1).click()")
    assert HOSTILE in browser.evaluate("document.getElementById('detail-title').textContent")
    assert "<i>x</i>" in browser.evaluate("document.getElementById('detail-body').textContent")
    assert browser.evaluate("document.querySelectorAll('img, b, iframe, [onclick], [onerror]').length") == 0
    assert browser.evaluate("document.scripts.length") == 2


def test_the_policy_stops_what_got_in_anyway(browser: Browser) -> None:
    browser.evaluate("""(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';
        document.body.append(s); })()""")
    assert browser.evaluate("typeof window.ran") == "undefined"
    browser.evaluate("0")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)
    browser.complaints.clear()


# ---------------------------------------------------------------- keyboard, phone, dark


def test_the_keyboard_alone_sorts_opens_and_closes(browser: Browser) -> None:
    def focused() -> str:
        return str(browser.evaluate("document.activeElement.id || document.activeElement.textContent"))

    seen = []
    for _ in range(60):
        browser.press("Tab")
        seen.append(focused())
        if seen[-1] == "accuracy":
            break
    assert {"view", "model", "method", "params", "megabytes", "reset"} <= set(seen)
    browser.press("Enter", "\r")
    falling = [number(value) for value in column(browser, "accuracy")]
    assert falling == sorted(falling, reverse=True)
    assert focused() == "accuracy"
    for _ in range(60):
        browser.press("Tab")
        if browser.evaluate("'row' in document.activeElement.dataset"):
            break
    name = focused()
    browser.press("Enter", "\r")
    assert browser.evaluate("document.getElementById('detail').open")
    assert name in browser.evaluate("document.getElementById('detail-title').textContent")
    browser.press("Escape")
    assert not browser.evaluate("document.getElementById('detail').open")
    assert focused() == name


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_screen_scrolls_down_and_not_sideways(browser: Browser, width: int) -> None:
    browser.look(width=width, height=800)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate("document.querySelectorAll('button[data-row]')[1].click()")
    assert browser.evaluate(
        "document.getElementById('detail').scrollWidth <= document.getElementById('detail').clientWidth"
    )
    assert browser.evaluate("document.getElementById('detail').getBoundingClientRect().right") <= width


def test_a_phone_sorts_by_a_list(browser: Browser) -> None:
    assert browser.evaluate("getComputedStyle(document.getElementById('sort').parentElement).display") == "none"
    browser.look(width=390, height=800)
    assert browser.evaluate("getComputedStyle(document.getElementById('sort').parentElement).display") == "grid"
    choose(browser, "sort", "set size, low first")
    sizes = [number(value) for value in column(browser, "set_size")]
    assert sizes == sorted(sizes)
    assert browser.evaluate("document.querySelector('.board td:nth-child(6)').dataset.label") == "accuracy"


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_background(browser: Browser, dark: bool) -> None:
    browser.look(width=1366, height=900, dark=dark)
    colours = browser.evaluate(
        """['body', '.quiet', 'td button', '.flag', '.range', 'select'].map(s => {
        const e = document.querySelector(s); return [s, getComputedStyle(e).color,
        getComputedStyle(document.body).backgroundColor]; })"""
    )

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert (luminance(colours[0][2]) < 0.1) == dark
    for name, ink, paper in colours:
        light, shade = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (shade + 0.05) >= 4.5, name  # WCAG 2.2, level AA
