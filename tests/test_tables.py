"""Tables on stdout: aligned for eyes, tab-separated for programs, nothing of a value lost in either."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.tables import aligned, print_table

HEADER = ("model", "paper", "n", "accuracy")
ROWS = [
    ("smollm2-135m", "Frantar et al. 2023, arXiv 2210.17323", 300, 0.54),
    ("rtn-w{8,4}[a{8,4}][-g<group>]", None, 12345, 0.07349),
]


def printed(capsys: pytest.CaptureFixture[str], header: tuple[str, ...] = HEADER, rows: object = ROWS) -> list[str]:
    print_table(header, rows)  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


def unstyled(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in lines]


def test_a_pipe_gets_tabs_whatever_colours_are_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    assert printed(capsys) == [
        "model\tpaper\tn\taccuracy",
        "smollm2-135m\tFrantar et al. 2023, arXiv 2210.17323\t300\t0.540",
        "rtn-w{8,4}[a{8,4}][-g<group>]\t–\t12345\t0.073",
    ]


def test_a_terminal_gets_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    lines = printed(capsys)
    assert "\x1b[1m" in lines[0]
    assert "\t" not in "".join(lines)
    header, first, second = unstyled(lines)
    assert second.startswith("rtn-w{8,4}[a{8,4}][-g<group>]  –")
    assert first.endswith("    300     0.540")
    assert second.endswith("  12345     0.073")
    assert len(header) == len(first) == len(second)


@pytest.mark.parametrize("columns", [10, 40, 62, 80])
def test_a_narrow_terminal_folds_text_and_never_a_number(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = unstyled(printed(capsys))
    whole = "\n".join(lines)
    assert re.search(r" 300 +0\.540$", whole, flags=re.MULTILINE)
    assert re.search(r" 12345 +0\.073$", whole, flags=re.MULTILINE)
    assert "…" not in whole
    # column by column, nothing is gone
    ends = lines[0].index("paper"), lines[0].index("n", lines[0].index("paper") + 5)
    paper = " ".join(line[ends[0] : ends[0] + 24].strip() for line in lines)
    for word in ("Frantar", "2023,", "2210.17323"):
        assert word in paper
    if columns > 60:
        assert max(map(len, lines)) <= columns


def test_no_rows_are_a_header(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(capsys, rows=[]) == ["model\tpaper\tn\taccuracy"]
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert unstyled(printed(capsys, rows=[]))[0].split() == list(HEADER)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.text(max_size=12), min_size=width, max_size=width), min_size=1, max_size=5)
    )
)
def test_any_text_stays_in_its_column(rows: list[list[str]]) -> None:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_table(rows[0], rows[1:])
    lines = out.getvalue().split("\n")[:-1]
    assert [line.split("\t") for line in lines] == [[" ".join(value.split()) for value in row] for row in rows]


def test_aligned_columns_start_below_each_other() -> None:
    lines = aligned([["a", "long one", "x"], ["bbbb", "b", "y"]])
    assert lines == ["a     long one  x", "bbbb  b         y"]
