"""LEADERBOARD.md, parsed back and compared with the rows; and the folder it is written to."""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.synthetic_cells import TWO_METHODS, synthetic_cells, synthetic_rows
from support.written_tables import write_tables

from suite.cell import Cell
from suite.metrics.rows import FLAGS
from suite.publish.pages.markdown import table
from suite.publish.sections.reading import FLAG_WORDS

Rows = list[dict[str, Any]]
Table = list[dict[str, str]]

HOSTILE = (
    "b|ad `x` <b>bold</b> [link](http://evil.example) ![i](x.png) *e* _u_ $m$\n\n"
    "# heading\n| a | b |\n@user www.evil.example"
)


def published(rows: Sequence[Any]) -> Rows:
    """Rows as rows.csv has them, six significant digits, which is what the page shows rounded further."""
    return [{k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return synthetic_cells(n=90)


@pytest.fixture(scope="module")
def computed(cells: list[Cell]) -> Rows:
    return published(synthetic_rows(cells, replicates=30))


@pytest.fixture
def rows(computed: Rows) -> Rows:
    return copy.deepcopy(computed)


def page_of(rows: Sequence[Any], out: Path, **more: Any) -> str:
    return write_tables(rows, out, **more).read_text(encoding="utf-8")


def unescaped(cell: str) -> str:
    """What a reader sees of one table cell."""
    text = re.sub(r"\\([\\`*_\[\]|~#!$])", lambda match: f"\0{ord(match[1])}\0", cell.strip())
    text = text.replace("`", "").replace("**", "").replace("\N{NO-BREAK SPACE}", " ")
    for entity, sign in {"&lt;": "<", "&gt;": ">", "&#64;": "@", "&#58;": ":", "&#46;": ".", "&amp;": "&"}.items():
        text = text.replace(entity, sign)
    return re.sub(r"\0(\d+)\0", lambda match: chr(int(match[1])), text)


def tables(page: str) -> dict[tuple[str, ...], Table]:
    """Every table of the page under the headings it stands in: header to cell, one dictionary a line."""
    found: dict[tuple[str, ...], Table] = {}
    headings: list[str] = []
    header: list[str] | None = None
    for line in page.splitlines():
        if match := re.match(r"(#+) (.*)", line):
            headings = [*headings[: len(match[1]) - 1], unescaped(match[2])]
        if not line.startswith("|"):
            header = None
            continue
        parts = [unescaped(part) for part in re.split(r"(?<!\\)\|", line)[1:-1]]
        if header is None:
            header = parts
            found[tuple(headings[1:])] = []
        elif not all(re.fullmatch(r":--|--:", part) for part in parts):
            assert len(parts) == len(header), line
            found[tuple(headings[1:])].append(dict(zip(header, parts, strict=True)))
    return found


def numbers(cell: str) -> list[float]:
    return [float(text) for text in re.findall(r"[+-]?\d+\.?\d*", cell.replace("−", "-"))]


def shown(*values: float | None, decimals: int) -> list[float]:
    return [float(f"{value:.{decimals}f}") + 0.0 for value in values if value is not None]


SUMMARY = ("Summary: averages over tasks",)


def summary(page: str) -> dict[str, dict[str, str]]:
    return {line["variant"]: line for line in tables(page)[SUMMARY]}


# ---------------------------------------------------------------- the numbers


def test_a_last_column_of_numbers_is_aligned_right_and_one_of_words_left() -> None:
    def last(*cells: str) -> str:
        rule = table(["name", "value", "end"], [["a", "1", cell] for cell in cells]).splitlines()[1]
        assert rule.startswith("| :-- | --: | ")
        return rule.split("|")[3].strip()

    assert last("0.875", "–", "−0.26 [−0.45, −0.08]", "1.1e−05") == "--:"
    assert last("12", "", "39 % [25, 49]") == "--:"
    assert last("4 undetermined", "1") == ":--"
    assert last("–", "") == last() == last("`rtn-w3`") == last("0.1 of it") == ":--"


@pytest.mark.parametrize("scoring", ["cloze-sum", "letter"])
def test_every_number_of_a_task_table_is_the_row_rounded(tmp_path: Path, scoring: str) -> None:
    made = synthetic_cells(variants=TWO_METHODS[:4], tasks={"mmlu": 4, "boolq": 2}, scoring=scoring, n=80)
    rows = published(synthetic_rows(made, replicates=20))
    found = tables(page_of(rows, tmp_path, cells=made))
    after = scoring == "cloze-sum"
    ece, ece_other = ("ECE after T", "raw ECE") if after else ("ECE", "ECE after T")
    nll, nll_other = ("NLL after T", "raw NLL") if after else ("NLL", "NLL after T")
    for task in ("mmlu", "boolq"):
        table = found["tiny-135m (135M parameters)", task]
        assert list(table[0]) == [
            *("variant", "bits", "MB", "accuracy", "set size", "coverage (LAC) and band"),
            *(ece, ece_other, nll, nll_other, "flags"),
        ]
        group = {row["variant"]: row for row in rows if row["task"] == task}
        assert [line["variant"] for line in table] == list(TWO_METHODS[:4])
        for line in table:
            row = group[line["variant"]]
            assert numbers(line["bits"]) == shown(row["bits_per_weight"], decimals=2)
            assert numbers(line["MB"]) == shown(row["megabytes"], decimals=1)
            for column, key, decimals in (("accuracy", "accuracy", 3), ("set size", "set_size", 2)):
                want = shown(row[key], row[f"{key}_low"], row[f"{key}_high"], decimals=decimals)
                assert numbers(line[column]) == want
            band = (row["lac_coverage"], row["lac_coverage_band_low"], row["lac_coverage_band_high"])
            assert numbers(line["coverage (LAC) and band"]) == shown(*band, decimals=3)
            keys = ("ece_ts", "ece", "nll_ts", "nll") if after else ("ece", "ece_ts", "nll", "nll_ts")
            for column, key in zip((ece, ece_other, nll, nll_other), keys, strict=True):
                assert numbers(line[column]) == shown(row[key], decimals=3)
            assert line["flags"].split(", ") == [FLAG_WORDS[flag] for flag in sorted(row["flags"])]


def test_the_summary_is_the_mean_of_the_tasks(tmp_path: Path, rows: Rows) -> None:
    found = summary(page_of(rows, tmp_path))
    assert list(found) == list(TWO_METHODS)
    columns = {
        "accuracy": ("accuracy", 3),
        "accuracy change": ("accuracy_change", 3),
        "set size": ("set_size", 2),
        "set size change": ("set_size_change", 2),
        "coverage (LAC)": ("lac_coverage", 3),
        "dense threshold reused": ("lac_transfer_coverage", 3),
        "size at it": ("lac_transfer_set_size", 2),
        "ECE after T": ("ece_ts", 3),
        "NLL after T": ("nll_ts", 3),
    }
    for variant, line in found.items():
        members = [row for row in rows if row["variant"] == variant]
        for column, (key, decimals) in columns.items():
            values = [row[key] for row in members]
            if variant == "dense" and ("change" in key or "transfer" in key):
                assert line[column] == "–"
                continue
            assert numbers(line[column])[:1] == shown(sum(values) / 4, decimals=decimals), (variant, column)
        for key, decimals in (("accuracy", 3), ("set_size", 2)):
            mean = sum(row[key] for row in members) / 4
            low = mean - math.sqrt(sum((row[key] - row[f"{key}_low"]) ** 2 for row in members)) / 4
            high = mean + math.sqrt(sum((row[f"{key}_high"] - row[key]) ** 2 for row in members)) / 4
            assert numbers(line[key.replace("_", " ")])[1:] == shown(low, high, decimals=decimals)


def test_a_task_at_chance_stays_out_of_the_average_and_is_named(tmp_path: Path, rows: Rows) -> None:
    for row in rows:
        if row["task"] == "sciq":
            row["flags"] = [*row["flags"], "at-chance"]
    page = page_of(rows, tmp_path)
    assert "- tiny-135m: arc-easy, hellaswag, openbookqa; left out, dense at chance or absent: sciq" in page
    values = [row["accuracy"] for row in rows if row["variant"] == "rtn-w3" and row["task"] != "sciq"]
    assert numbers(summary(page)["rtn-w3"]["accuracy"])[0] == shown(sum(values) / 3, decimals=3)[0]
    assert "dense only guesses on 1 of 4" in summary(page)["rtn-w3"]["flags"]


def test_a_variant_that_lacks_a_task_has_no_average(tmp_path: Path, rows: Rows) -> None:
    kept = [row for row in rows if (row["variant"], row["task"]) != ("rtn-w3", "sciq")]
    line = summary(page_of(kept, tmp_path))["rtn-w3"]
    assert {line[column] for column in ("accuracy", "set size", "coverage (LAC)", "NLL after T")} == {"–"}
    assert "lacks sciq" in line["flags"]
    assert line["bits"] == "3.50"


def test_settings_of_one_task_count_as_one_task(tmp_path: Path, rows: Rows) -> None:
    """Three prompts of sciq must not outweigh arc-easy, and share items, so their intervals do not shrink."""
    two = [row for row in rows if row["task"] in ("sciq", "arc-easy")]
    copies = [dict(row, prompt=prompt) for row in two if row["task"] == "sciq" for prompt in ("x", "y", "z")]
    once = summary(page_of(two, tmp_path / "once"))
    thrice = summary(page_of([row for row in two if row["task"] != "sciq"] + copies, tmp_path / "thrice"))
    for variant, line in once.items():
        for column in ("accuracy", "set size", "accuracy change", "NLL after T"):
            assert thrice[variant][column] == line[column]
    found = tables((tmp_path / "thrice" / "LEADERBOARD.md").read_text(encoding="utf-8"))
    assert ("tiny-135m (135M parameters)", "sciq (cloze-sum, y, 0 shots)") in found


def test_coverage_outside_its_band_is_marked(tmp_path: Path, rows: Rows) -> None:
    marks = {}
    for low, high, mark in ((0.95, 0.99, "▼"), (0.1, 0.2, "▲"), (0.0, 1.0, "")):
        for row in rows:
            row["lac_coverage"], row["lac_coverage_band_low"], row["lac_coverage_band_high"] = 0.9, low, high
        page = page_of(rows, tmp_path)
        cell = tables(page)["tiny-135m (135M parameters)", "sciq"][0]["coverage (LAC) and band"]
        marks[mark] = re.findall("[▼▲]", cell)
        told = re.findall(r"\((\d of \d outside the band)\)", summary(page)["dense"]["coverage (LAC)"])
        assert told == (["4 of 4 outside the band"] if mark else [])
    assert marks == {"▼": ["▼"], "▲": ["▲"], "": []}


# ---------------------------------------------------------------- order


def test_variants_by_severity_and_unknown_names_last(tmp_path: Path, rows: Rows) -> None:
    extra = [dict(row, variant=name) for row in rows if row["variant"] == "rtn-w4" for name in ("zeta", "house-mix")]
    page = page_of(rows + extra, tmp_path)
    want = [*TWO_METHODS, "house-mix", "zeta"]
    assert [line["variant"] for line in tables(page)[SUMMARY]] == want
    assert [line["variant"] for line in tables(page)["tiny-135m (135M parameters)", "sciq"]] == want


def test_models_by_size_and_unknown_sizes_last(tmp_path: Path, rows: Rows) -> None:
    sizes = {"c": 7.0, "a": 70.0, "b": None, "d": 0.5}
    many = [dict(row, model=name, params_b=size) for name, size in sizes.items() for row in rows]
    page = page_of(many, tmp_path)
    models = [line["model"] for line in tables(page)[SUMMARY]]
    assert list(dict.fromkeys(models)) == ["d", "c", "a", "b"]
    assert re.findall(r"^## ([a-d])\b", page, re.MULTILINE) == ["d", "c", "a", "b"]
    assert {line["parameters"] for line in tables(page)[SUMMARY]} == {"500M", "7B", "70B", "–"}


def test_neither_the_order_of_rows_nor_of_cells_nor_the_folder_changes_a_byte(
    tmp_path: Path, rows: Rows, cells: list[Cell]
) -> None:
    failures = [{"model": "m", "variant": v, "task": "t", "reason": "r"} for v in ("rtn-w4", "rtn-w3")]
    page_of(rows, tmp_path / "a", cells=cells, failures=failures, draw=True)
    shuffled, other = rows[:], list(cells)
    random.Random(3).shuffle(shuffled)
    random.Random(4).shuffle(other)
    page_of(shuffled, tmp_path / "b" / "c", cells=other, failures=failures[::-1], draw=True)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert [str(file) for file in files] == [
        "LEADERBOARD.md",
        "figures/curves-tiny-135m.png",
        "figures/reliability-tiny-135m.png",
        "rows.csv",
        "rows.parquet",
    ]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / "c" / file).read_bytes(), file


def test_rows_of_one_name_have_one_order_too(tmp_path: Path, rows: Rows) -> None:
    """Two files of the same cell are a mistake, which must not make the bytes depend on luck."""
    twins = [dict(rows[0], accuracy=value) for value in (0.5, 0.3, 0.4)]
    pages = {page_of([*order, *rows[1:]], tmp_path) for order in itertools.permutations(twins)}
    assert len(pages) == 1


def test_a_changed_value_changes_the_page(tmp_path: Path, rows: Rows) -> None:
    before = page_of(rows, tmp_path / "a")
    rows[5]["accuracy"] += 0.01
    assert page_of(rows, tmp_path / "b") != before


# ---------------------------------------------------------------- what people call things


def test_a_hostile_name_stays_text(tmp_path: Path, rows: Rows) -> None:
    for row in rows:
        row["model"] = HOSTILE
    failures = [{"model": HOSTILE, "variant": HOSTILE, "task": HOSTILE, "reason": HOSTILE}]
    page = page_of(rows, tmp_path, failures=failures)
    flat = " ".join(HOSTILE.split())
    assert {line["model"] for line in tables(page)[SUMMARY]} == {flat}
    assert tables(page)["Cells that failed",][0]["reason"] == flat
    assert "<b" not in page
    assert "http://" not in page
    assert "www.evil" not in page
    assert not re.search(r"(?<!\\)\]\((?!figures/)", page)
    assert not re.search(r"^# heading", page, re.MULTILINE)


def test_a_hostile_name_renders_as_text(tmp_path: Path, rows: Rows) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    for row in rows:
        row["model"] = HOSTILE
        row["variant"] = row["variant"].replace("rtn-w3", HOSTILE)
    failures = [{"model": HOSTILE, "variant": HOSTILE, "task": HOSTILE, "reason": "[x]: http://evil.example"}]
    html = (
        markdown_it.MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(page_of(rows, tmp_path, failures=failures, draw=True))
    )
    tags = set(re.findall(r"<([a-z0-9]+)", html))
    text = {"h1", "h2", "h3", "p", "em", "strong", "code", "ol", "ul", "li", "img"}
    assert tags <= text | {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(re.findall(r'<img src="([^"]*)"', html)) == {
        f"figures/{file.name}" for file in tmp_path.glob("figures/*")
    }
    assert "b|ad `x` &lt;b&gt;bold&lt;/b&gt; [link](http://evil.example)" in html
    assert len(re.findall("<h2>", html)) == len(re.findall("^## ", (tmp_path / "LEADERBOARD.md").read_text(), re.M))


def test_a_name_like_a_link_definition_stays_text(tmp_path: Path, rows: Rows) -> None:
    """A bullet `- [x]: arc-easy` would vanish as a definition and turn every later [x] into a link."""
    for row in rows:
        row["model"] = "[0.1, 0.2]"
    page = page_of(rows, tmp_path)
    assert r"- \[0.1, 0.2\]: arc-easy" in page


@pytest.mark.parametrize("name", ["[1](figures)", "[0.5, 0.7][2]", "[3]: http"])
def test_a_name_of_numbers_in_brackets_starts_no_link(tmp_path: Path, rows: Rows, name: str) -> None:
    """Intervals in the sentences keep plain brackets; a name in the same sentence must not."""
    for row in rows:
        row["set_size_change_low"], row["set_size_change_high"] = 0.1, 0.9
        row["accuracy_change_low"], row["accuracy_change_high"] = -0.1, 0.1
        row["set_size_change"], row["accuracy_change"] = (None, None) if row["variant"] == "dense" else (0.5, 0.0)
    page = page_of(rows + [dict(row, model=name) for row in rows], tmp_path)
    sentences = page.split("## What to look at first")[1].split("## Summary")[0]
    plain = name.replace("[", r"\[").replace("]", r"\]")
    assert f" of {plain}" in sentences
    assert f" of {name}" not in sentences
    assert re.search(r"changes by \+0\.\d+ \[\+\d\.\d+, \+\d\.\d+\] nats", sentences)


def test_scopes_are_told_apart_where_protocols_differ(tmp_path: Path, rows: Rows) -> None:
    page = page_of(rows + [dict(row, protocol="ye2024", alpha=0.2) for row in rows], tmp_path)
    found = tables(page)
    assert ("tiny-135m (exact, α = 0.1) (135M parameters)", "sciq") in found
    assert ("tiny-135m (ye2024, α = 0.2) (135M parameters)", "sciq") in found
    assert "Protocol `exact`, α = 0.1 (target coverage 0.9)" in page
    assert "Protocol `ye2024`, α = 0.2 (target coverage 0.8), one split" in page
    assert len(found[SUMMARY]) == 2 * len(TWO_METHODS)


# ---------------------------------------------------------------- what is missing


def test_missing_values_are_dashes_with_their_reason(tmp_path: Path, rows: Rows) -> None:
    kept = {"model", "variant", "task", "scoring", "prompt", "shots", "protocol", "alpha", "flags"}
    for row in rows:
        for key in row:
            if key not in kept:
                row[key] = None
        row["notes"] = {"nll": "infinite: the right option has probability zero in 3 items"}
    page = page_of(rows, tmp_path)
    for line in [*tables(page)[SUMMARY], *tables(page)["tiny-135m", "sciq"]]:
        assert set(line.values()) - {"tiny-135m", line["variant"], line["flags"]} == {"–"}
    assert "- `nll`: infinite: the right option has probability zero in 3 items (36 rows)" in page
    assert "- `accuracy`: no reason recorded (36 rows)" in page
    assert "None" not in page
    assert "nan" not in page


def test_rows_with_the_barest_keys_are_shown(tmp_path: Path) -> None:
    page = page_of([{"model": "m", "variant": "rtn-w4", "task": "t"}], tmp_path)
    assert tables(page)["m", "t"][0]["accuracy"] == "–"


def test_without_dense_nothing_is_averaged_or_compared(tmp_path: Path, rows: Rows) -> None:
    kept = [dict(row) for row in rows if row["variant"] != "dense"]
    page = page_of(kept, tmp_path)
    assert "- tiny-135m: no task; left out, dense at chance or absent: arc-easy, hellaswag, openbookqa, sciq" in page
    assert {line["accuracy"] for line in tables(page)[SUMMARY]} == {"–"}
    assert tables(page)["tiny-135m (135M parameters)", "sciq"][0]["accuracy"] != "–"


def test_without_rows_the_failures_are_still_told(tmp_path: Path) -> None:
    failures = [{"model": "m", "variant": "rtn-w2", "task": "sciq", "scoring": "letter", "reason": "out of | memory"}]
    page = page_of([], tmp_path, failures=failures)
    assert "No cell has been scored." in page
    want = {"model": "m", "variant": "rtn-w2", "task": "sciq", "scoring": "letter", "reason": "out of | memory"}
    assert tables(page)["Cells that failed",] == [want]


def test_no_failures_no_section(tmp_path: Path, rows: Rows) -> None:
    page = page_of(rows, tmp_path)
    assert "failed" not in page
    assert "Why a value is missing" not in page


def test_only_flags_that_occur_are_explained(tmp_path: Path, rows: Rows) -> None:
    for row in rows:
        row["flags"] = ["no-op", "odd-new-flag"]
    page = page_of(rows, tmp_path)
    assert "  - nothing changed (`no-op`): the variant changed nothing" in page
    assert "  - odd-new-flag (`odd-new-flag`): no description recorded" in page
    assert "requantized-parent" not in page


def test_every_flag_has_words_and_a_row_shows_five_of_them(tmp_path: Path, rows: Rows) -> None:
    assert list(FLAG_WORDS) == list(FLAGS)
    for row in rows:
        row["flags"] = list(FLAGS)[:7]
    words = [FLAG_WORDS[flag] for flag in sorted(list(FLAGS)[:7])]
    said = f"| {', '.join(words[:5])}, **2 more**: {'; '.join(words[5:])} |"
    assert said in page_of(rows, tmp_path)


def test_the_promise_of_coverage_is_limited_in_words(tmp_path: Path, rows: Rows) -> None:
    page = page_of(rows, tmp_path)
    assert "Coverage is marginal, for exchangeable items" in page
    assert "averaged over random splits" in page
    counted = page_of([dict(row, splits=100) for row in rows], tmp_path)
    assert "averaged over 100 random splits" in counted


# ---------------------------------------------------------------- the folder


def test_pictures_are_shown_where_they_are(tmp_path: Path, rows: Rows, cells: list[Cell]) -> None:
    page = page_of(rows, tmp_path, cells=cells, draw=True)
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert links == ["figures/curves-tiny-135m.png", "figures/reliability-tiny-135m.png"]
    assert all((tmp_path / link).is_file() for link in links)


def test_rows_are_left_as_they_were(tmp_path: Path, rows: Rows) -> None:
    before = copy.deepcopy(rows)
    page_of(rows, tmp_path)
    assert rows == before
