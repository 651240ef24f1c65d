"""The one order of a snapshot, and what belongs together in it, whatever order the rows came in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from suite.cell import CellKey
from suite.grouped import grouped
from suite.metrics.average import Setting
from suite.publish.fields import Fields, number, text, whole
from suite.variant import FAMILIES, is_repeat, known_variant


@dataclass(frozen=True, order=True)
class Scope:
    """What an average must never cross: one model under one protocol and one α."""

    model: str
    protocol: str
    alpha: float


@dataclass(frozen=True)
class Curve:
    """The variants of one method whose levels form a line: everything equal but the level."""

    family: str
    name: str

    @property
    def key(self) -> tuple[int, str]:
        """Sort key: families in the order of `suite.variant.FAMILIES`, names that cannot be parsed last."""
        place = FAMILIES.index(self.family) if self.family in FAMILIES else len(FAMILIES)
        return (place, self.name)


OTHER = Curve("", "other")


def severity_key(name: str) -> tuple[int, tuple[float, float, float], str]:
    """Sort key of a variant: dense, then rising severity, then names that cannot be parsed, alphabetically."""
    variant = known_variant(name)
    if variant is None:
        return (2, (0.0, 0.0, 0.0), name)
    return (0 if variant.family == "dense" else 1, variant.severity, name)


def curve_of(name: str) -> Curve:
    """The curve a variant is a point of; all GGUF types share one.

    Names that cannot be parsed, and repetitions (`Variant.repeats`), are points of none: `OTHER`.
    """
    variant = known_variant(name)
    if variant is None or variant.repeats:
        return OTHER
    return Curve(variant.family, variant.curve)


def level_label(name: str) -> str:
    """A variant's level as a tick label.

    >>> [level_label(name) for name in ("dense", "rtn-w3-g32", "gptq-w4a8", "wanda-s50", "wanda-2:4", "gguf-q4_k_m")]
    ['dense', '3', 'w4a8', '50', '2:4', 'q4_k_m']
    >>> level_label("sparsegpt-s50+gptq-w4")
    '50+4'
    """
    variant = known_variant(name)
    if variant is None or variant.family == "dense" or variant.repeats:
        return name
    if variant.family == "joint":
        return "+".join(level_label(part) for part in name.split("+"))
    if variant.method.startswith("gguf-"):
        return name.removeprefix("gguf-")
    if variant.n_of_m is not None:
        return f"{variant.n_of_m[0]}:{variant.n_of_m[1]}"
    if variant.activation_bits is not None or variant.kv_bits is not None:
        kv = "" if variant.kv_bits is None else f"kv{variant.kv_bits}"
        act = "" if variant.activation_bits is None else f"a{variant.activation_bits}"
        return f"w{variant.bits}{act}{kv}"
    if variant.bits is not None:
        return str(variant.bits)
    return f"{(variant.sparsity or 0) * 100:.0f}"


def level_axis(curve: Curve) -> str:
    """What the tick labels of a curve count."""
    return {
        "quantization": "GGUF type" if curve.name == "gguf" else "bits a weight",
        "activation quantization": "bits of weights and activations",
        "sparsity": "% of weights removed",
        "N:M": "weights kept of neighbours",
        "structured": "% of structure removed",
        "joint": "% of weights removed + bits",
    }.get(curve.family, "variant")


def scope_of(row: Fields) -> Scope:
    """The scope a row counts in."""
    return Scope(text(row, "model"), text(row, "protocol"), number(row, "alpha") or 0.0)


def setting_of(row: Fields) -> Setting:
    """The setting a row was made in."""
    return Setting(text(row, "task"), text(row, "scoring"), text(row, "prompt"), whole(row, "shots"))


def cell_of(row: Fields) -> CellKey:
    """The cell that a row is about."""
    setting = setting_of(row)
    return CellKey(
        text(row, "model"), setting.task, setting.scoring, setting.prompt, setting.shots, text(row, "variant")
    )


def in_order(rows: Sequence[Fields]) -> list[Fields]:
    """Rows by model (fewest parameters first, unknown last), protocol, task, setting and severity.

    Rows that agree in all of these are ordered by their contents, so that the order of the input never shows.
    """
    sizes: dict[str, float] = {}
    for row in rows:
        size = number(row, "params_b")
        if size is not None:
            sizes[text(row, "model")] = min(size, sizes.get(text(row, "model"), size))

    def key(row: Fields) -> tuple[object, ...]:
        scope = scope_of(row)
        size = sizes.get(scope.model)
        return (size is None, size or 0.0, scope, setting_of(row), severity_key(text(row, "variant")))

    alike = grouped(rows, key)
    return [
        row
        for place in sorted(alike)
        for row in (
            sorted(alike[place], key=lambda row: json.dumps(row, sort_keys=True, default=str))
            if len(alike[place]) > 1
            else alike[place]
        )
    ]


def setting_names(rows: Sequence[Fields]) -> dict[Setting, str]:
    """A short name for each setting: the task alone, with scoring, prompt and shots where a task has several."""
    settings = sorted({setting_of(row) for row in rows})
    tasks = [setting.task for setting in settings]
    return {
        setting: setting.task
        if tasks.count(setting.task) == 1
        else f"{setting.task} ({setting.scoring}, {setting.prompt}, {setting.shots} shots)"
        for setting in settings
    }


def without_repeats(rows: Sequence[Fields]) -> list[Fields]:
    """The rows but those of repetitions (`Variant.repeats`), which nothing is ranked or judged by."""
    return [row for row in rows if not is_repeat(text(row, "variant"))]


def dense_of(rows: Sequence[Fields]) -> Fields | None:
    """The dense row among rows of one scope and setting; None where there is none."""
    return next((row for row in rows if text(row, "variant") == "dense"), None)
