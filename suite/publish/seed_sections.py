"""Seeds of the sample text as a table that fits a page, and what it means in words."""

from __future__ import annotations

from collections.abc import Sequence

from suite.metrics.average import Setting
from suite.publish.fields import Row, number, text
from suite.publish.markdown import code, escape, table
from suite.publish.numerals import MISSING, fixed, interval, places
from suite.publish.order import setting_of

TITLE = "Seeds of the sample text"
MEANING = (
    "The same recipe, its sample text drawn with several seeds. Beside the standard deviation of the change over seeds "
    "(brackets: its 95 % interval; few seeds say little) stands half of the 95 % interval over items. Their quotient, "
    "the latter over 1.96, is above 1 where another draw of the text moves the change more than another draw of the "
    "items. Seeds of one recipe are one point of its curve, the one without a seed in its name: the others are in the "
    "tables and neither ranked nor judged."
)
HEADER = (
    *("model", "task", "variant", "seeds"),
    *(
        f"{name} {part}"
        for name in ("accuracy:", "set size:")
        for part in ("change, lowest to highest", "deviation over seeds", "half-width over items", "seeds / items")
    ),
)


def seed_sections(records: Sequence[Row], names: dict[Setting, str]) -> list[str]:
    """Markdown of the section; nothing where no recipe was drawn more than once.

    Args:
        records: from `suite.metrics.seed_spread.seed_spread`.
        names: what settings are called.
    """
    if not records:
        return []
    body = [
        [escape(model), escape(task), code(variant), *rest]
        for model, task, variant, *rest in (seed_line(record, names) for record in records)
    ]
    return [f"## {TITLE}", MEANING, table(list(HEADER), body, left=4)]


def seed_line(record: Row, names: dict[Setting, str]) -> list[str]:
    """One record as plain cells under `HEADER`."""
    seeds = record["seeds"]
    assert isinstance(seeds, list)
    line = [text(record, "model"), names[setting_of(record)], text(record, "variant")]
    line.append(", ".join("not recorded" if seed is None else str(seed) for seed in seeds))
    for metric in ("accuracy", "set_size"):
        key, decimals = f"{metric}_change", places(f"{metric}_change")
        low, high = (fixed(number(record, f"{key}_{end}"), decimals, signed=True) for end in ("low", "high"))
        deviation = fixed(number(record, f"{key}_deviation"), decimals)
        ends = interval(number(record, f"{key}_deviation_low"), number(record, f"{key}_deviation_high"), decimals)
        line += [MISSING if low == MISSING else f"{low} to {high}", f"{deviation} {ends}".strip()]
        line.append(fixed(number(record, f"{key}_half_width"), decimals))
        line.append(fixed(number(record, f"{key}_seeds_over_items"), 2))
    return line
