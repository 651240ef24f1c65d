"""The tables of figures: a summary over tasks, one table for each model and task, what failed and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from suite.grouped import grouped
from suite.metrics.average import Average, Setting
from suite.metrics.figures import DENSE, FIGURES, PAGE_CHANGES, PAGE_COLUMNS, leading
from suite.metrics.rows import FLAGS
from suite.prompt_name import original_of
from suite.publish.fields import Fields, flags, is_cloze, notes, number, one_line, text
from suite.publish.figures import FOLDER, Picture
from suite.publish.macro import Macro, average_of, macro_averages, settings_averaged
from suite.publish.numerals import MISSING, average_words, fixed, parameters, places
from suite.publish.order import Scope, scope_of, setting_names, setting_of
from suite.publish.sections.reading import FLAGS_SHOWN, SIZES, explained, flag_words
from suite.publish.sections.section import Block, Column, Image, Items, Section, Span, Words, words
from suite.publish.sections.words import code, count, figure, joined, say

NO_BREAK = "\N{NO-BREAK SPACE}"


def summary(rows: Sequence[Fields]) -> Section:
    """Averages over tasks, one line a model and variant.

    Args:
        rows: rounded and sorted, at least one.
    """
    cloze = any(is_cloze(row) for row in rows)
    scopes = scope_names(rows)
    return Section(
        "Summary: averages over tasks",
        (
            "Means of figures made task by task, over the tasks on which the dense model is above chance. A variant "
            "that lacks one of them has no average. Changes are against dense on the same items.",
            Items(_went_in(rows, scopes)),
        ),
        (
            *(explained(name, words=True) for name in ("model", "parameters", "variant")),
            *(explained(FIGURES[key].heading) for key in SIZES[1:]),
            *(column for _, column in _summary_columns(cloze=cloze)),
            explained("flags", words=True),
        ),
        tuple(_summary_line(macro, scopes, cloze=cloze) for macro in macro_averages(rows)),
        folded=True,
    )


def _went_in(rows: Sequence[Fields], scopes: Mapping[Scope, str]) -> tuple[Words, ...]:
    lines = []
    for scope, settings in settings_averaged(rows).items():
        left_out = sorted({setting_of(row) for row in rows if scope_of(row) == scope} - set(settings))
        line = f"{scopes[scope]}: {_tasks(settings) or 'no task'}"
        perturbed = [setting for setting in left_out if original_of(setting.prompt or "") is not None]
        if unfit := [setting for setting in left_out if setting not in perturbed]:
            line += f"; left out, dense at chance or absent: {_tasks(unfit)}"
        if perturbed:
            line += f"; kept apart, noise or rotated options: {_tasks(perturbed)}"
        lines.append(line)
    return tuple(lines)


def _tasks(settings: Sequence[Setting]) -> str:
    counts = Counter(setting.task for setting in settings)
    return ", ".join(one_line(task) + (f" ({n} settings)" if n > 1 else "") for task, n in sorted(counts.items()))


def _summary_columns(*, cloze: bool) -> Iterator[tuple[str, Column]]:
    """Every figure of the pages, the one that leads of raw and after temperature, and behind it its change."""
    for key in PAGE_COLUMNS:
        yield _column(key, leading(key, cloze=cloze), cloze=cloze)
        if key in PAGE_CHANGES:
            yield f"{key}_change", Column(f"{FIGURES[key].heading} change")


def _column(key: str, shown: str, *, cloze: bool) -> tuple[str, Column]:
    """The column of a figure, raw or after temperature, with the key that is shown in it."""
    heading = FIGURES[key].heading
    how = f"{heading} after T" if shown != key else f"raw {heading}" if leading(key, cloze=cloze) != key else heading
    return shown, Column(how, note=explained(heading).note)


def _summary_line(macro: Macro, scopes: Mapping[Scope, str], *, cloze: bool) -> tuple[Words, ...]:
    outside = sum(1 for row in macro.rows if _beyond_band(row))
    coverage = fixed(macro.average("lac_coverage").value, 3)
    if outside and coverage != MISSING:
        coverage += f" ({outside} of {len(macro.rows)} outside the band)"
    return (
        scopes[macro.scope],
        figure(parameters(macro.constant("params_b"))),
        code(macro.variant),
        *(figure(fixed(macro.constant(key), places(key))) for key in SIZES[1:]),
        *(
            figure(coverage) if key == "lac_coverage" else _value(macro.average(key), key)
            for key, _ in _summary_columns(cloze=cloze)
        ),
        _flags(marks(macro)),
    )


def _value(average: Average, key: str) -> Words:
    """A figure, with its interval where its column has room for one."""
    column = FIGURES[key].column
    if FIGURES[key].debiased or key.endswith("_ts") or (column and column.narrow):
        return figure(fixed(average.value, places(key)))
    return figure(_whole(average_words(average, key)))


def marks(macro: Macro) -> list[tuple[str, str]]:
    """The flags of a line of the summary, each with words: how many tasks carry it where not all do, what it lacks."""
    found = [
        (flag, flag_words(flag) + (f" on {count} of {len(macro.every)}" if count < len(macro.every) else ""))
        for flag, count in macro.flags.items()
    ]
    return found + [("lacks", f"lacks {', '.join(map(one_line, macro.absent))}")] * bool(macro.absent)


def tasks(rows: Sequence[Fields], pictures: Sequence[Picture]) -> tuple[Section, ...]:
    """One section a model, with its pictures and a table for each of its tasks."""
    names = setting_names(rows)
    scopes = scope_names(rows)
    found = []
    for scope, members in grouped(rows, scope_of).items():
        size = parameters(next((value for row in members if (value := number(row, "params_b")) is not None), None))
        found.append(
            Section(
                scopes[scope] + (f" ({size} parameters)" if size != MISSING else ""),
                tuple(Image(f"{FOLDER}/{one.name}", one.caption) for one in pictures if one.scope == scope),
                parts=tuple(_task(names[key], key, group) for key, group in grouped(members, setting_of).items()),
                folded=True,
            )
        )
    return tuple(found)


def _task(name: str, setting: Setting, rows: Sequence[Fields]) -> Section:
    columns = list(_task_columns(cloze=any(is_cloze(row) for row in rows)))
    return Section(
        name,
        (_setting_line(setting, rows),),
        (
            explained("variant", words=True),
            *(explained(FIGURES[key].heading) for key in SIZES[1:]),
            *(column for _, column in columns),
            explained("flags", words=True),
        ),
        tuple(
            (
                code(text(row, "variant")),
                *(figure(fixed(number(row, key), places(key))) for key in SIZES[1:]),
                *(_coverage(row) if key == "lac_coverage" else _value(average_of(row, key), key) for key, _ in columns),
                _flags([(flag, flag_words(flag)) for flag in flags(row)]),
            )
            for row in rows
        ),
    )


def _task_columns(*, cloze: bool) -> Iterator[tuple[str, Column]]:
    """Every figure of the pages that needs no dense cell; raw and after temperature beside each other."""
    for key in (key for key in PAGE_COLUMNS if FIGURES[key].source != DENSE):
        if key == "lac_coverage":
            yield key, Column("coverage (LAC) and band", note=explained("coverage (LAC)").note)
            continue
        for shown in dict.fromkeys((leading(key, cloze=cloze), leading(key, cloze=not cloze))):
            yield _column(key, shown, cloze=cloze)


def _setting_line(setting: Setting, rows: Sequence[Fields]) -> Words:
    counts = sorted({int(value) for row in rows if (value := number(row, "n")) is not None})
    items = (f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}") if counts else ""
    chance, at_chance = (
        next((value for row in rows if (value := number(row, key)) is not None), None)
        for key in ("chance_accuracy", "set_size_chance")
    )
    line = say(
        "Scoring {scoring}, prompt {prompt}, {shots}, {items}, accuracy at chance {chance}, set size at chance {size}.",
        scoring=code(setting.scoring) if setting.scoring else "unknown",
        prompt=code(setting.prompt) if setting.prompt else "unknown",
        shots=count(setting.shots, "shot"),
        items=f"{items} items" if items else "items unknown",
        chance=figure(fixed(chance, 3)),
        size=figure(fixed(at_chance, 2)),
    )
    if any(is_cloze(row) for row in rows):
        line += (
            " A softmax over log-likelihoods of option texts is no probability the model claims, so ECE and NLL after "
            "temperature scaling lead.",
        )
    return line


def _flags(marked: Sequence[tuple[str, str]]) -> Words:
    """The first flags of a row, and how many more it has with the others behind that."""
    some: list[Words] = [Span(shown, "flag", FLAGS.get(flag, "")) for flag, shown in marked[:FLAGS_SHOWN]]
    if rest := [shown for _, shown in marked[FLAGS_SHOWN:]]:
        some.append(Span(f"{len(rest)} more", "reason", "; ".join(rest)))
    return joined(some, ", ")


def _coverage(row: Fields) -> Words:
    value = number(row, "lac_coverage")
    if value is None:
        return MISSING
    low, high = number(row, "lac_coverage_band_low"), number(row, "lac_coverage_band_high")
    band = f" ({fixed(low, 3)} to {fixed(high, 3)})" if low is not None and high is not None else ""
    mark = {-1: " ▼", 0: "", 1: " ▲"}[_beyond_band(row)]
    head, rest = fixed(value, 3) + mark, _whole(band)
    return (Span(_whole(head), "strong"), figure(rest)) if mark else figure(_whole(head + band))


def _whole(shown: str) -> str:
    """A figure with its interval or band: a narrow column may break before the bracket and nowhere else."""
    head, bracket, rest = shown.partition(" [") if " [" in shown else shown.partition(" (")
    return head.replace(" ", NO_BREAK) + bracket + rest.replace(" ", NO_BREAK)


def _beyond_band(row: Fields) -> int:
    """-1 where coverage lies below its band, 1 above, 0 inside or unknown."""
    value, low, high = (number(row, f"lac_coverage{end}") for end in ("", "_band_low", "_band_high"))
    if value is None or low is None or high is None:
        return 0
    return (value > high) - (value < low)


def scope_names(rows: Sequence[Fields]) -> dict[Scope, str]:
    """The model, with protocol and α only where rows differ in them."""
    scopes = set(map(scope_of, rows))
    alike = len({(scope.protocol, scope.alpha) for scope in scopes}) == 1
    return {
        scope: (one_line(scope.model) or "unnamed model")
        + ("" if alike else f" ({one_line(scope.protocol)}, α = {scope.alpha:g})")
        for scope in scopes
    }


def failed(failures: Sequence[Fields]) -> Section | None:
    """Cells that could not be scored; None where there are none."""
    if not failures:
        return None
    keys = ("model", "variant", "task", "scoring", "reason")
    lines = sorted([one_line(text(failure, key)) or MISSING for key in keys] for failure in failures)
    return Section(
        "Cells that failed",
        ("These were asked for and could not be scored; nothing above counts them.",),
        words(*keys),
        tuple((model, code(variant), *rest) for model, variant, *rest in lines),
    )


def missing(rows: Sequence[Fields]) -> Section | None:
    """Why tables have dashes: each reason once, with how many rows it touches; None where there are no dashes."""
    reasons: Counter[tuple[str, str]] = Counter()
    either = (leading(key, cloze=cloze) for key in PAGE_COLUMNS for cloze in (False, True))
    keys = dict.fromkeys((*SIZES, *either, *(f"{key}_change" for key in PAGE_CHANGES)))
    for row in rows:
        for key in keys:
            dense = text(row, "variant") == "dense" and FIGURES[key].source == DENSE
            if number(row, key) is None and not dense:
                reasons[key, notes(row).get(key, "no reason recorded")] += 1
    if not reasons:
        return None
    lines: tuple[Block, ...] = (
        Items(
            tuple(
                say("{key}: {reason} ({count} rows)", key=code(key), reason=reason, count=str(count))
                for (key, reason), count in sorted(reasons.items())
            )
        ),
    )
    return Section("Why a value is missing", lines)
