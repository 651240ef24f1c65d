"""Cells beside the levels of a curve: dense computed otherwise, and levels made with other seeds of sample text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suite.methods import METHODS
from suite.metrics.average import Setting
from suite.metrics.rows import Measured
from suite.metrics.seed_spread import made_as, seed_of
from suite.variant import known_variant, parse_variant
from suite.verdicts.curves import Levels


@dataclass(frozen=True)
class Repeats:
    """What repeats the levels of one curve.

    Attributes:
        nulls: by setting and name, dense computed otherwise.
        seeds: by setting and level, the cells of the same recipe with other seeds, in the same order in every setting;
            only seeds and levels that every setting has.
        notes: what was left out.
    """

    nulls: Mapping[Setting, Mapping[str, Measured]]
    seeds: Mapping[Setting, Mapping[str, Sequence[Measured]]]
    notes: tuple[str, ...] = ()


def find_repeats(settings: Mapping[Setting, Levels], repeats: Sequence[Measured]) -> Repeats:
    """The repetitions that belong to a curve: same items, same recipe but for the seed, each seed once."""
    nulls: dict[Setting, dict[str, Measured]] = {}
    seeds: dict[Setting, dict[str, Measured]] = {}
    notes: dict[str, None] = {}
    for setting, levels in settings.items():
        dense = levels.points[0].cell
        known = {point.cell.key.variant: point.cell for point in levels.points}
        taken = {(name, seed_of(cell)) for name, cell in known.items()}
        nulls[setting], seeds[setting] = {}, {}
        for one in repeats:
            cell, variant = one.cell, one.cell.parsed
            if variant is None or cell.curve_key != dense.curve_key or variant.recipe_name not in known:
                continue
            if set(cell.ids) != set(dense.ids):
                notes[f"{variant.name} has other items and is left out"] = None
            elif variant.sample_seed is None:
                nulls[setting][variant.name] = one
            elif made_as(cell) != made_as(known[variant.recipe_name]):
                notes[f"{variant.name} is of another recipe and is left out"] = None
            elif (variant.recipe_name, seed_of(cell)) not in taken:
                taken.add((variant.recipe_name, seed_of(cell)))
                seeds[setting][variant.name] = one
    first = next(iter(seeds.values()), {})
    shared = [name for name in first if all(name in found for found in seeds.values())]
    return Repeats(nulls, {setting: _by_level(found, shared) for setting, found in seeds.items()}, tuple(notes))


def _by_level(found: Mapping[str, Measured], names: Sequence[str]) -> dict[str, list[Measured]]:
    result: dict[str, list[Measured]] = {}
    for name in names:
        result.setdefault(parse_variant(name).recipe_name, []).append(found[name])
    return result


def reads_text(name: str) -> bool:
    """Whether a variant's weights depend on the draw of sample text.

    >>> reads_text("gptq-w4"), reads_text("rtn-w4"), reads_text("sparsegpt-s50+rtn-w4")
    (True, False, True)
    """
    variant = known_variant(name)
    methods = variant.method.split("+") if variant else ()
    return any(method in METHODS and METHODS[method].reads_text for method in methods)
