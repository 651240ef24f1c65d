"""The front page's table: chosen lines of a leaderboard, none of them left out in silence."""

from __future__ import annotations

import pytest

from scripts.readme_results import summary, unfinished

HEAD = "| model | other | variant | bits | accuracy | set size | dense threshold reused |\n|--|--|--|--|--|--|--|"


def board(*rows: tuple[str, str]) -> str:
    lines = "\n".join(f"| {model} | x | `{variant}` | 4 | {variant}! | 3.0 | 0.9 |" for model, variant in rows)
    return f"# Title\n\n| model | variant |\n\n## Summary: averages\n\n{HEAD}\n{lines}\n\n## Next\n\n| a | `dense` |\n"


def test_chosen_lines_in_the_order_of_the_leaderboard_with_a_model_named_once() -> None:
    text = board(("a", "dense"), ("a", "rtn-w8"), ("a", "rtn-w4"), (r"b \| c", "dense"), (r"b \| c", "rtn-w4"))
    assert summary(text, ("rtn-w4", "dense")).splitlines()[2:] == [
        "| a | `dense` | 4 | dense! | 3.0 | 0.9 |",
        "|  | `rtn-w4` | 4 | rtn-w4! | 3.0 | 0.9 |",
        r"| b \| c | `dense` | 4 | dense! | 3.0 | 0.9 |",
        "|  | `rtn-w4` | 4 | rtn-w4! | 3.0 | 0.9 |",
    ]


def test_a_variant_that_one_model_lacks_is_named() -> None:
    text = board(("a", "dense"), ("a", "rtn-w4"), ("b", "rtn-w4"), ("c", "rtn-w8"))
    with pytest.raises(SystemExit, match=r"no dense of b, dense of c, rtn-w4 of c$"):
        summary(text, ("dense", "rtn-w4"))


def test_what_is_missing_is_said_beside_the_table() -> None:
    assert unfinished("# Title\n\n**Unfinished:** of 4 cells 3.\n\n## Next\n") == " **Unfinished:** of 4 cells 3."
    assert unfinished("# Title\n\nNothing of the kind.\n") == ""
