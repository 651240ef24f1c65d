"""The front page's answer: the words and strips of a leaderboard, taken as they are or not at all."""

from __future__ import annotations

import pytest

from scripts.readme_results import HEADING, first_answer, unfinished

ANSWER = "Of 2 curves, certainty is *kept* through some level on 1."
CHOSEN = "**Primary measure chosen after these data were seen: exploratory.** 2 curves."
BOARD = f"""# Title

How to read.

{HEADING}

{ANSWER}

- **m**: kept through `rtn-w8`

![Strips](figures/strips.png)

| model | method |
| :-- | :-- |
| m | rtn |

{CHOSEN}

## Next

![other](figures/levels.png)
"""


def test_words_strips_and_how_the_measure_was_chosen_come_from_the_leaderboard() -> None:
    assert first_answer(BOARD).split("\n\n") == [
        "[![Strips](results/qwen-coder-sizes/figures/strips.png)](results/qwen-coder-sizes/LEADERBOARD.md)",
        ANSWER,
        CHOSEN,
    ]


@pytest.mark.parametrize("lost", [HEADING, "![Strips](figures/strips.png)", CHOSEN])
def test_a_leaderboard_without_its_answer_is_refused(lost: str) -> None:
    with pytest.raises(SystemExit, match="publish the results again"):
        first_answer(BOARD.replace(lost, "nothing"))


def test_what_is_missing_is_said_beside_it() -> None:
    assert unfinished("# Title\n\n**Unfinished:** of 4 cells 3.\n\n## Next\n") == " **Unfinished:** of 4 cells 3."
    assert unfinished("# Title\n\nNothing of the kind.\n") == ""
    assert first_answer(BOARD.replace("How to", "**Unfinished:** of 4 cells 3.\n\nHow to")).endswith("of 4 cells 3.")
