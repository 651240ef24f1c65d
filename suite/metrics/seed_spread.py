"""How much the draw of the sample text moves the figures of a compression recipe, beside how much the items do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from suite.cell import Cell
from suite.metrics.prompt_spread import SPREAD_FIGURES, same_direction, summary
from suite.metrics.proportions import NORMAL
from suite.metrics.row import number
from suite.variant import known_variant


def seed_spread(rows: Sequence[Mapping[str, object]], cells: Sequence[Cell]) -> list[dict[str, object]]:
    """One dictionary a model, task, scoring, prompt, shots and variant whose sample text was drawn with several seeds.

    The variant is named without its seeds (``gptq-w3`` for ``gptq-w3``, ``gptq-w3@seed1``, ...), and counts as a seed
    itself, under the number that its cell's recipe records (None in `seeds` where none is recorded). Seeds count
    together where the recipes recorded in their cells are equal but for the seed; one seed counts once.

    For accuracy and for set size (mean of LAC and APS), fractions and options: ``mean``, ``low``, ``high`` and
    ``deviation`` (sample standard deviation) over the seeds; the same of the change against dense as the rows have it
    (``change_...``); the 95 % interval of that deviation, ``change_deviation_low`` and ``_high``
    (`deviation_interval`); the share of seeds whose change has the direction of the mean change (``same_direction``);
    ``change_half_width``, half of the 95 % item-bootstrap interval of the change, averaged over seeds; and
    ``change_seeds_over_items``, the deviation over that half-width / 1.96: above 1, another draw of the sample text
    moves the change more than another draw of the items does. What cannot be computed is None.

    Args:
        rows: of `suite.metrics.rows.measure_cells`, under one protocol, with intervals.
        cells: behind the rows, for the recipes they record.

    >>> row = {"model": "m", "task": "t", "scoring": "letter", "prompt": "base", "shots": 0, "set_size": 2.0}
    >>> rows = [{**row, "variant": "gptq-w3@seed1", "accuracy": 0.5}, {**row, "variant": "gptq-w3", "accuracy": 0.6}]
    >>> found = seed_spread(rows, [])
    >>> found[0]["variant"], found[0]["seeds"], found[0]["accuracy_low"], found[0]["accuracy_high"]
    ('gptq-w3', [None, 1], 0.5, 0.6)
    """
    by_key: dict[tuple[object, ...], Cell] = {cell.key: cell for cell in cells}
    grouped: dict[tuple[object, ...], dict[int | None, Mapping[str, object]]] = {}
    for row in rows:
        name = str(row["variant"])
        variant = known_variant(name)
        if variant is None or variant.family == "dense":  # which has no seed, however it is computed
            continue
        key = tuple(row[part] for part in ("model", "task", "scoring", "prompt", "shots"))
        cell = by_key.get((*key, name))
        seed = variant.sample_seed if cell is None else seed_of(cell)
        made = "" if cell is None else made_as(cell)
        seeds = grouped.setdefault((*key, variant.recipe_name, made), {})
        if seed not in seeds or variant.sample_seed is None:
            seeds[seed] = row
    return [_row(key, seeds) for key, seeds in grouped.items() if len(seeds) > 1]


def seed_of(cell: Cell) -> int | None:
    """Seed of the sample text: as the cell records it, else as its variant's name has it."""
    named = None if cell.parsed is None else cell.parsed.sample_seed
    return named if cell.sample_seed is None else cell.sample_seed


def made_as(cell: Cell) -> str:
    """The recipe recorded in a cell but for the seed of its sample text."""
    return str(cell.variant.get("recipe") or "").removesuffix(f"seed {seed_of(cell)}")


def deviation_interval(deviation: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a standard deviation that n normal values gave: s · sqrt((n - 1) / chi2), df = n - 1.

    >>> [round(end, 2) for end in deviation_interval(1.0, 3)]
    [0.52, 6.28]
    """
    from scipy.special import gammaincinv

    degrees = n - 1
    high, low = (2 * float(gammaincinv(degrees / 2, p)) for p in (0.975, 0.025))
    return deviation * math.sqrt(degrees / high), deviation * math.sqrt(degrees / low)


def _row(key: tuple[object, ...], seeds: Mapping[int | None, Mapping[str, object]]) -> dict[str, object]:
    model, task, scoring, prompt, shots, variant, _ = key
    row: dict[str, object] = {"model": model, "task": task, "scoring": scoring, "prompt": prompt, "shots": shots}
    order = sorted(seeds, key=lambda seed: -1 if seed is None else seed)
    row |= {"variant": variant, "n_seeds": len(seeds), "seeds": order}
    for metric in SPREAD_FIGURES:
        change = f"{metric}_change"
        row |= summary(f"{metric}_", _known(seeds, order, metric))
        changes = _known(seeds, order, change)
        row |= summary(f"{change}_", changes)
        deviation = number(row, f"{change}_deviation")
        ends = (None, None) if deviation is None else deviation_interval(deviation, len(changes))
        row[f"{change}_deviation_low"], row[f"{change}_deviation_high"] = ends
        row[f"{metric}_same_direction"] = same_direction(changes)
        lows, highs = (_known(seeds, order, f"{change}_{end}") for end in ("low", "high"))
        half = sum(high - low for low, high in zip(lows, highs, strict=True)) / len(lows) / 2 if lows else None
        row[f"{change}_half_width"] = half
        row[f"{change}_seeds_over_items"] = deviation / (half / NORMAL) if deviation is not None and half else None
    return row


def _known(seeds: Mapping[int | None, Mapping[str, object]], order: Sequence[int | None], key: str) -> list[float]:
    return [value for seed in order if (value := number(seeds[seed], key)) is not None]
