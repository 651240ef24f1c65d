"""Seeds of the sample text: how far another draw of the text moves the change, beside another draw of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.metrics.average import Setting
from suite.metrics.figures import FIGURES
from suite.metrics.prompt_spread import SPREAD_FIGURES
from suite.publish.fields import Fields, number, text
from suite.publish.numerals import MISSING, fixed, interval, places
from suite.publish.order import setting_of
from suite.publish.sections.section import Section, Words, figures, words
from suite.publish.sections.words import code, figure

MEANING = (
    "The same recipe, its sample text drawn with several seeds. Beside the standard deviation of the change over seeds "
    "(brackets: its 95 % interval; few seeds say little) stands half of the 95 % interval over items. Their quotient, "
    "the latter over 1.96, is above 1 where another draw of the text moves the change more than another draw of the "
    "items. Seeds of one recipe are one point of its curve, the one without a seed in its name: the others are in the "
    "tables and neither ranked nor judged."
)
PARTS = ("change, lowest to highest", "deviation over seeds", "half-width over items", "seeds / items")


def seeds(records: Sequence[Fields], names: Mapping[Setting, str]) -> Section | None:
    """The section; None where no recipe was drawn more than once.

    Args:
        records: from `suite.metrics.seed_spread.seed_spread`.
        names: what settings are called.
    """
    if not records:
        return None
    header = (
        *words("model", "task", "variant", "seeds"),
        *figures(*(f"{FIGURES[key].heading}: {part}" for key in SPREAD_FIGURES for part in PARTS)),
    )
    return Section("Seeds of the sample text", (MEANING,), header, tuple(_line(record, names) for record in records))


def _line(record: Fields, names: Mapping[Setting, str]) -> tuple[Words, ...]:
    drawn = record["seeds"]
    assert isinstance(drawn, list)
    shown = []
    for metric in SPREAD_FIGURES:
        key, decimals = f"{metric}_change", places(f"{metric}_change")
        low, high = (fixed(number(record, f"{key}_{end}"), decimals, signed=True) for end in ("low", "high"))
        deviation = fixed(number(record, f"{key}_deviation"), decimals)
        ends = interval(number(record, f"{key}_deviation_low"), number(record, f"{key}_deviation_high"), decimals)
        shown += [MISSING if low == MISSING else f"{low} to {high}", f"{deviation} {ends}".strip()]
        shown.append(fixed(number(record, f"{key}_half_width"), decimals))
        shown.append(fixed(number(record, f"{key}_seeds_over_items"), 2))
    return (
        text(record, "model"),
        names[setting_of(record)],
        code(text(record, "variant")),
        ", ".join("not recorded" if seed is None else str(seed) for seed in drawn),
        *map(figure, shown),
    )
