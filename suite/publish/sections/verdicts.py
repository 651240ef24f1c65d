"""What follows from the rows: where uncertainty breaks, what accuracy hides, what size does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from suite.decisions.analyses import ANALYSES, DECOUPLING, PARTS, SCALE, VERDICTS
from suite.publish.fields import Fields, number, text
from suite.publish.numerals import MISSING, fixed, parameters, places, with_interval
from suite.publish.sections.section import Block, Column, Items, Section, Span, Words, figures, words
from suite.publish.sections.words import change, code, figure, joined, say
from suite.verdicts.curves import MACRO, PRIMARY, record_title, task_title
from suite.verdicts.decoupling import BEYOND
from suite.verdicts.dose_records import MEASURES
from suite.verdicts.scale import NOTHING_LEFT

NAMED = 12
"""So many parts of tasks are named; the rest is counted."""

MEANINGS = {
    "none": "no level is worse than dense by the practical minimum",
    "gradual": "worse, but not by one jump",
    "threshold": "one jump between neighbouring levels carries most of the loss, and no smooth curve explains it",
    "saturated": "dense has nothing left to lose",
    "undetermined": "too few items or levels to say",
}


def verdict_sections(records: Mapping[str, Sequence[Fields]]) -> list[Section]:
    """The sections on what follows from the rows; none where there is no curve.

    Args:
        records: contents of the verdict files by name; those on parts of tasks may be absent.
    """
    verdicts = records[VERDICTS]
    found = (
        collapse(verdicts),
        parts(records.get(PARTS, ()), verdicts),
        decoupling(records[DECOUPLING]),
        size(records[SCALE]),
        *(listed(file, records.get(file, ())) for file, analysis in ANALYSES.items() if analysis.title),
    )
    return [section for section in found if section is not None]


def collapse(records: Sequence[Fields]) -> Section | None:
    """Where set size breaks along rising compression; None where there is no curve.

    Args:
        records: of verdicts.json, models by size.
    """
    verdicts = [one for one in records if one["metric"] == PRIMARY]
    if not verdicts:
        return None
    order = {model: place for place, model in enumerate(dict.fromkeys(text(one, "model") for one in verdicts))}
    verdicts.sort(
        key=lambda one: (
            order[text(one, "model")],
            text(one, "method"),
            text(one, "family"),
            text(one, "task") != MACRO,
        )
    )
    seen = {text(one, "verdict") for one in verdicts}
    meanings = joined(
        ((Span(name, "emphasis"), f": {meaning}") for name, meaning in MEANINGS.items() if name in seen), "; "
    )
    unjudged = _unjudged([one for one in verdicts if number(one, "jump") is None])
    return Section(
        "Where it breaks",
        (
            say(
                "Set size along rising compression. {meanings}. p is corrected over all curves of the model that have "
                "enough levels (Holm). The last two columns describe a shown rise without a verdict: the largest part "
                "of it within one bit or ten percent zeros (or before the first level), and over how many bits or "
                "percent zeros its middle half goes. "
                "The reasons for every verdict, and those of the other metrics, are in [verdicts.json]; "
                "docs/collapse.md has the rule and docs/detector.md its error rates.",
                meanings=meanings,
            ),
        ),
        (
            *words("model", "method", "task", "verdict", "first broken level"),
            *figures("largest jump of set size", "of headroom", "p of a threshold", "detectable jump"),
            *figures("steepest share of the rise", "width of its middle half"),
        ),
        tuple(
            (
                *_curve_words(one),
                _verdict(one),
                _level(one),
                change(one, "jump", 2),
                figure(_percent(number(one, "jump_of_headroom"))),
                _p(one),
                figure(fixed(number(one, "minimum_detectable"), 2)),
                change(one, "steepest_share", 2),
                change(one, "rise_width", 1),
            )
            for one in verdicts
            if number(one, "jump") is not None
        ),
        ("Curves without a row, and why:", Items(unjudged)) if unjudged else (),
    )


def every_verdict(records: Sequence[Fields]) -> Section | None:
    """One line a curve and metric; None where there is no curve."""
    if not records:
        return None
    return Section(
        "Verdicts on every metric",
        (
            "One line a curve and metric: whether it falls off at a threshold, gradually, or not at all. p is "
            "corrected over all curves of the model (Holm).",
        ),
        (*words("model", "method", "task", "metric", "verdict", "level"), *figures("jump", "p")),
        tuple(
            (
                *_curve_words(one),
                *(text(one, key) for key in ("metric", "verdict")),
                code(text(one, "level")) if text(one, "level") else MISSING,
                change(one, "jump", places(text(one, "metric"))),
                _p(one),
            )
            for one in records
        ),
        folded=True,
    )


def _curve_words(one: Fields) -> tuple[Words, ...]:
    return (text(one, "model"), record_title(one), task_title(text(one, "task")))


def _unjudged(verdicts: Sequence[Fields]) -> tuple[Words, ...]:
    """In one line a model: the curves that have no row, since there is nothing to measure along them."""
    lines: list[Words] = []
    for model in dict.fromkeys(text(one, "model") for one in verdicts):
        mine = [one for one in verdicts if text(one, "model") == model]
        spent = dict.fromkeys(task_title(text(one, "task")) for one in mine if text(one, "verdict") == "saturated")
        said: list[Words] = [say("*saturated* on {tasks}", tasks=", ".join(spent))] if spent else []
        reasons: dict[str, dict[str, None]] = {}
        for one in mine:
            if text(one, "verdict") != "saturated":
                reasons.setdefault(_reason(one), {})[record_title(one)] = None
        said += [f"{'; '.join(titles)} ({reason})" for reason, titles in reasons.items()]
        lines.append(say("{model}: {said}", model=model, said=joined(said, ". ")))
    return tuple(lines)


def _reason(one: Fields) -> str:
    notes = one.get("notes")
    return str(notes[0]) if isinstance(notes, list | tuple) and notes else "verdicts.json says why"


def parts(records: Sequence[Fields], verdicts: Sequence[Fields]) -> Section | None:
    """Parts that get worse otherwise than their task; None where there is none.

    Args:
        records: of slice_verdicts.json.
        verdicts: of verdicts.json.
    """
    whole = {_curve(one): one for one in verdicts if one["metric"] == PRIMARY}
    worse = []
    for one in records:
        task = whole.get(_curve(one))
        said = ("", "") if task is None else (text(task, "verdict"), text(task, "level"))
        if text(one, "verdict") in ("threshold", "gradual") and (text(one, "verdict"), text(one, "level")) != said:
            worse.append((one, said))
    if not worse:
        return None
    worse.sort(key=lambda pair: (text(pair[0], "verdict") != "threshold", *_curve(pair[0]), text(pair[0], "slice")))
    more = f" {len(worse) - NAMED} more are in the file." if len(worse) > NAMED else ""
    return Section(
        "Parts that break otherwise than their task",
        (
            say(
                "Of {count} curves of parts (slices, subjects, the edge): {counts}. Listed are those that get worse "
                "and whose verdict or level is not that of the whole task. Conformal thresholds are the part's own, p "
                "is corrected over all parts of the model (Holm, a family of its own). Two different verdicts are no "
                "test that the two differ. [slice_verdicts.json] has all of them.{more}",
                count=str(len(records)),
                counts=_counts(records),
                more=(more,),
            ),
        ),
        (
            *words("model", "method", "task", "part", "part's verdict", "task's verdict"),
            *figures("largest jump", "p"),
        ),
        tuple(
            (
                *(text(one, "model"), record_title(one), text(one, "task"), text(one, "slice")),
                say("{verdict} {level}", verdict=text(one, "verdict"), level=_level(one)),
                say("{verdict} {level}", verdict=said[0], level=code(said[1])) if said[1] else said[0],
                change(one, "jump", 2),
                _p(one),
            )
            for one, said in worse[:NAMED]
        ),
    )


def _curve(one: Fields) -> tuple[str, ...]:
    return tuple(text(one, key) for key in ("model", "family", "method", "task"))


def _counts(records: Sequence[Fields]) -> str:
    return ", ".join(
        f"{count} {name}" for name, count in sorted(Counter(text(one, "verdict") for one in records).items())
    )


def _verdict(one: Fields) -> Words:
    verdict = text(one, "verdict")
    if verdict == "threshold":
        return Span(verdict, "strong")
    return f"{verdict}: a cliff at the last level" if one.get("end_of_curve") is True else verdict


def _level(one: Fields) -> Words:
    level, low, high = (text(one, key) for key in ("level", "level_low", "level_high"))
    if not level:
        return MISSING
    if (low, high) == (level, level):
        return code(level)
    return say("{level} ({low} to {high})", level=code(level), low=code(low), high=code(high))


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{fixed(100 * value, 0)} %"


def _p(one: Fields) -> Span:
    value = number(one, "p_value")
    return figure("< 0.001" if value is not None and value < 0.001 else fixed(value, 3))


def decoupling(records: Sequence[Fields]) -> Section | None:
    """Variants that lost more certainty than damage of their accuracy explains; None where nothing was compared.

    Args:
        records: of decoupling.json.
    """
    if not records:
        return None
    averages, tasks = ([o for o in records if (text(o, "task") == MACRO) == macro] for macro in (True, False))
    shown = [one for one in (*averages, *tasks) if text(one, "verdict") in BEYOND]
    counted = [
        f"Of {len(some)} variants on {where}: {_counts(some)}."
        for where, some in (("averages over tasks", averages), ("single tasks", tasks))
        if some
    ]
    prose: tuple[Block, ...] = (
        "Set size against accuracy: what is lost beyond what damage explains that flips as many answers and loses as "
        "much accuracy, whatever its kind (docs/decoupling.md). Certainty lost on answers that are wrong anyway is the "
        f"usual case and no decoupling. {' '.join(counted)}",
    )
    return Section(
        "Does uncertainty follow accuracy?",
        prose if shown else (*prose, "None is shown to have lost more."),
        (
            *words("model", "variant", "task", "verdict"),
            *figures("accuracy change", "set size change", "more than damage explains"),
        ),
        tuple(
            (
                *(text(one, "model"), code(text(one, "variant")), task_title(text(one, "task")), text(one, "verdict")),
                *(change(one, key, places(key)) for key in ("accuracy_change", "set_size_change")),
                change(one, "excess", 2),
            )
            for one in shown
        ),
    )


def size(records: Sequence[Fields]) -> Section | None:
    """Values of dense models and losses of variants by parameters; None where no sizes were compared.

    Args:
        records: of scale.json.
    """
    averaged = [one for one in records if text(one, "task") == MACRO] or list(records)
    if not averaged:
        return None
    return Section(
        "Does size protect?",
        (
            "Of dense models the measure itself, and of each variant its loss, as a fraction of the way from dense to "
            "chance. Within a family: the larger model's less the smaller one's, with 95 % intervals "
            "over items. The slope is for a tenfold of parameters, for these very models; it needs three sizes. The "
            "p-value is of the order of models alone, and behind it the smallest that so many models can reach "
            "(docs/scale.md). Comparisons across families are confounded with training data and recipe.",
        ),
        (
            *words("family", "measure", "variant", "task", "by parameters", "larger less smaller"),
            *figures("slope", "p of the order"),
        ),
        tuple(
            (
                text(one, "group") + (" (confounded)" if one["confounded"] else ""),
                MEASURES[text(one, "metric")].title,
                code(text(one, "variant")),
                task_title(text(one, "task")),
                figure(_by_parameters(one)),
                figure("; ".join(pair_differences(one)) or MISSING),
                figure(with_interval(*_ends(one, "slope", "slope_items"), 3, signed=True)),
                figure(_order(one)),
            )
            for one in averaged
        ),
    )


def _ends(one: Fields, key: str, items: str) -> tuple[float | None, float | None, float | None]:
    return number(one, key), number(one, f"{items}_low"), number(one, f"{items}_high")


def pair_differences(one: Fields) -> list[str]:
    """Of a record of sizes, each larger model's figure less each smaller one's; none across families."""
    pairs = one.get("differences")
    return [
        with_interval(*_ends(pair, "difference", "difference"), 2, signed=True)
        + (f" ({NOTHING_LEFT})" if pair.get("saturated") else "")
        for pair in (pairs if isinstance(pairs, list) else [])
    ]


def _order(one: Fields) -> str:
    p, least = number(one, "order_p"), number(one, "order_p_least")
    return MISSING if p is None or least is None else f"{fixed(p, 3)} (≥ {fixed(least, 3)})"


def listed(file: str, records: Sequence[Fields]) -> Section | None:
    """The records of an analysis as they are: a column a key, its interval behind it; None where there are none.

    Args:
        file: its key in `ANALYSES`, which has title and prose.
    """
    keys = dict.fromkeys(key for one in records for key, value in one.items() if not isinstance(value, list | dict))
    ends = {f"{key}{end}" for key in keys for end in ("_low", "_high")}
    shown = [key for key in keys if key not in ends]
    if not shown:
        return None
    numbers = {key for key in shown if all(isinstance(one.get(key), int | float | None) for one in records)}
    return Section(
        ANALYSES[file].title,
        (say("{about} [{file}] has the records.", about=ANALYSES[file].about, file=Span(file, "file")),),
        tuple(Column(key.replace("_", " "), words=key not in numbers) for key in shown),
        tuple(
            tuple(change(one, key, places(key)) if key in numbers else text(one, key) for key in shown)
            for one in records
        ),
        folded=len(records) > NAMED,
    )


def _by_parameters(one: Fields) -> str:
    models = one["models"]
    assert isinstance(models, list)
    return ", ".join(f"{parameters(number(m, 'params_b'))}: {fixed(number(m, 'value'), 2)}" for m in models)
