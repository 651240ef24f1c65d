"""LEADERBOARD.md on what follows from the rows: where uncertainty breaks, what accuracy hides, what size does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from suite.publish.fields import Row, number, text
from suite.publish.markdown import code, escape, table
from suite.publish.numerals import MISSING, fixed, interval, parameters, with_interval
from suite.verdicts.assess import FILES
from suite.verdicts.curves import MACRO, PRIMARY, record_title, task_title

NAMED = 12
"""So many parts of tasks are named; the rest is counted."""

MEANINGS = {
    "none": "no level is worse than dense by the practical minimum",
    "gradual": "worse, but not by one jump",
    "threshold": "one jump between neighbouring levels carries most of the loss, and no smooth curve explains it",
    "saturated": "dense has nothing left to lose",
    "undetermined": "too few items or levels to say",
}


def verdict_sections(assessed: Mapping[str, Sequence[Row]]) -> list[str]:
    """Markdown blocks; none where there is no curve.

    Args:
        assessed: contents of verdicts.json, decoupling.json, scale.json and, where tasks have parts,
            slice_verdicts.json by name.
    """
    return [
        *_collapse([one for one in assessed[FILES["verdicts"]] if one["metric"] == PRIMARY]),
        *_slices(assessed.get(FILES["slices"], []), assessed[FILES["verdicts"]]),
        *_decoupling(assessed[FILES["couplings"]]),
        *_scale(assessed[FILES["scale"]]),
    ]


def _collapse(verdicts: Sequence[Row]) -> list[str]:
    if not verdicts:
        return []
    # models as they come, which is by size
    places = {model: place for place, model in enumerate(dict.fromkeys(text(one, "model") for one in verdicts))}
    order = sorted(
        verdicts,
        key=lambda one: (
            places[text(one, "model")],
            text(one, "method"),
            text(one, "family"),
            text(one, "task") != MACRO,
        ),
    )
    judged = [one for one in order if number(one, "jump") is not None]
    body = [
        [
            escape(text(one, "model")),
            escape(record_title(one)),
            escape(task_title(text(one, "task"))),
            f"**{text(one, 'verdict')}**" if text(one, "verdict") == "threshold" else text(one, "verdict"),
            _level(one),
            with_interval(number(one, "jump"), number(one, "jump_low"), number(one, "jump_high"), 2, signed=True),
            _percent(number(one, "jump_of_headroom")),
            _p(number(one, "p_value")),
            fixed(number(one, "minimum_detectable"), 2),
        ]
        for one in judged
    ]
    seen = {text(one, "verdict") for one in verdicts}
    header = [
        *("model", "method", "task", "verdict", "first broken level", "largest jump of set size"),
        *("of headroom", "p of a threshold", "detectable jump"),
    ]
    return [
        "## Where it breaks",
        "Set size along rising compression. "
        + "; ".join(f"*{name}*: {meaning}" for name, meaning in MEANINGS.items() if name in seen)
        + ". p is corrected over all curves of the model (Holm). The reasons for every verdict, and those of the other "
        "metrics, are in verdicts.json; docs/collapse.md has the rule and docs/detector.md its error rates.",
        *([table(header, body, left=5)] if body else []),
        *_unjudged([one for one in order if number(one, "jump") is None]),
    ]


def _unjudged(verdicts: Sequence[Row]) -> list[str]:
    """In one line a model: the curves that have no row, since there is nothing to measure along them."""
    lines = []
    for model in dict.fromkeys(text(one, "model") for one in verdicts):
        mine = [one for one in verdicts if text(one, "model") == model]
        spent = dict.fromkeys(task_title(text(one, "task")) for one in mine if text(one, "verdict") == "saturated")
        said = [f"*saturated* on {', '.join(map(escape, spent))}"] if spent else []
        reasons: dict[str, dict[str, None]] = {}
        for one in mine:
            if text(one, "verdict") != "saturated":
                reasons.setdefault(_reason(one), {})[record_title(one)] = None
        said += [f"{'; '.join(map(escape, titles))} ({escape(reason)})" for reason, titles in reasons.items()]
        lines.append(f"- {escape(model)}: {'. '.join(said)}")
    return ["Curves without a row, and why:", "\n".join(lines)] if lines else []


def _reason(one: Row) -> str:
    notes = one.get("notes")
    return str(notes[0]) if isinstance(notes, list | tuple) and notes else "verdicts.json says why"


def _slices(records: Sequence[Row], verdicts: Sequence[Row]) -> list[str]:
    """Parts that get worse otherwise than their task; nothing where there is none."""
    whole = {_curve(one): one for one in verdicts if one["metric"] == PRIMARY}
    worse = []
    for one in records:
        task = whole.get(_curve(one))
        said = ("", "") if task is None else (text(task, "verdict"), text(task, "level"))
        if text(one, "verdict") in ("threshold", "gradual") and (text(one, "verdict"), text(one, "level")) != said:
            worse.append((one, said))
    if not worse:
        return []
    worse.sort(key=lambda pair: (text(pair[0], "verdict") != "threshold", *_curve(pair[0]), text(pair[0], "slice")))
    counts = Counter(text(one, "verdict") for one in records)
    body = [
        [
            escape(text(one, "model")),
            escape(record_title(one)),
            escape(text(one, "task")),
            escape(text(one, "slice")),
            f"{text(one, 'verdict')} {_level(one)}",
            f"{said[0]} {code(said[1])}" if said[1] else said[0],
            with_interval(number(one, "jump"), number(one, "jump_low"), number(one, "jump_high"), 2, signed=True),
            _p(number(one, "p_value")),
        ]
        for one, said in worse[:NAMED]
    ]
    more = f" {len(worse) - NAMED} more are in the file." if len(worse) > NAMED else ""
    return [
        "## Parts that break otherwise than their task",
        f"Of {len(records)} curves of parts (slices, subjects, the edge): "
        + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        + ". Listed are those that get worse and whose verdict or level is not that of the whole task. Conformal "
        "thresholds are the part's own, p is corrected over all parts of the model (Holm, a family of its own). "
        f"Two different verdicts are no test that the two differ. slice_verdicts.json has all of them.{more}",
        table(
            ["model", "method", "task", "part", "part's verdict", "task's verdict", "largest jump", "p"], body, left=6
        ),
    ]


def _curve(one: Row) -> tuple[str, ...]:
    return tuple(text(one, key) for key in ("model", "family", "method", "task"))


def _level(one: Row) -> str:
    level = text(one, "level")
    if not level:
        return MISSING
    ends = (text(one, "level_low"), text(one, "level_high"))
    return code(level) + (f" ({code(ends[0])} to {code(ends[1])})" if ends != (level, level) else "")


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{fixed(100 * value, 0)} %"


def _p(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else fixed(value, 3)


def _decoupling(records: Sequence[Row]) -> list[str]:
    if not records:
        return []
    silent = [one for one in records if text(one, "verdict") == "silent uncertainty loss"]
    counts = Counter(text(one, "verdict") for one in records)
    said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    parts = [
        "## What accuracy alone would have passed",
        "Variants whose accuracy is equivalent to dense (within 0.02) and whose prediction sets grew by more than that "
        f"explains (docs/decoupling.md). Of {len(records)} variants on single tasks: {said}.",
    ]
    if not silent:
        return [*parts, "None is shown."]
    header = ["model", "variant", "task", "accuracy change", "set size change", "more than accuracy explains"]
    body = [
        [
            escape(text(one, "model")),
            code(text(one, "variant")),
            escape(text(one, "task")),
            *(_estimate(one, key, places) for key, places in (("accuracy_change", 3), ("set_size_change", 2))),
            _estimate(one, "excess", 2),
        ]
        for one in silent
    ]
    return [*parts, table(header, body, left=3)]


def _estimate(one: Row, key: str, places: int) -> str:
    ends = interval(number(one, f"{key}_low"), number(one, f"{key}_high"), places, signed=True)
    return f"{fixed(number(one, key), places, signed=True)} {ends}".strip()


def _scale(records: Sequence[Row]) -> list[str]:
    averaged = [one for one in records if text(one, "task") == MACRO] or list(records)
    if not averaged:
        return []
    body = []
    for one in averaged:
        models = one["models"]
        assert isinstance(models, list)
        body.append(
            [
                escape(text(one, "group")) + (" (confounded)" if one["confounded"] else ""),
                code(text(one, "variant")),
                escape(task_title(text(one, "task"))),
                ", ".join(f"{parameters(number(m, 'params_b'))}: {fixed(number(m, 'value'), 2)}" for m in models),
                _estimate(one, "slope", 3) if number(one, "slope") is not None else MISSING,
            ]
        )
    return [
        "## Does size protect?",
        "Set size of dense models, and of each variant the inflation: change of set size as a fraction of the way from "
        "dense to chance. The slope is for a tenfold of parameters, with an interval over models and items; it needs "
        "three sizes (docs/scale.md). Comparisons across families are confounded with training data and recipe.",
        table(["family", "variant", "task", "by parameters", "slope"], body, left=4),
    ]
