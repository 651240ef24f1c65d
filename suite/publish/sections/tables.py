"""The tables of figures: a summary over tasks, one table for each model and task, what failed and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from suite.metrics.average import Setting
from suite.metrics.rows import FLAGS
from suite.prompt_name import original_of
from suite.publish.fields import Fields, flags, is_cloze, notes, number, one_line, text
from suite.publish.figures import FOLDER, Picture
from suite.publish.macro import Macro, macro_averages, settings_averaged
from suite.publish.numerals import MISSING, average_words, estimate, fixed, parameters, places
from suite.publish.order import Scope, grouped, scope_of, setting_names, setting_of
from suite.publish.sections.reading import explained
from suite.publish.sections.section import Block, Column, Image, Items, Section, Span, Words, words
from suite.publish.sections.words import code, figure, joined, say

NO_BREAK = "\N{NO-BREAK SPACE}"


def summary(rows: Sequence[Fields]) -> Section:
    """Averages over tasks, one line a model and variant.

    Args:
        rows: rounded and sorted, at least one.
    """
    after = any(is_cloze(row) for row in rows)
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
            *(explained(name) for name in ("bits", "MB", "accuracy", "accuracy change", "set size", "set size change")),
            *(explained(name) for name in ("coverage (LAC)", "dense threshold reused", "size at it")),
            *_proper_columns(after)[::2],
            explained("flags", words=True),
        ),
        tuple(_summary_line(macro, scopes, after=after) for macro in macro_averages(rows)),
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


def _summary_line(macro: Macro, scopes: Mapping[Scope, str], *, after: bool) -> tuple[Words, ...]:
    suffix = "_ts" if after else ""
    outside = sum(1 for row in macro.rows if _beyond_band(row))
    coverage = fixed(macro.average("lac_coverage").value, 3)
    if outside and coverage != MISSING:
        coverage += f" ({outside} of {len(macro.rows)} outside the band)"
    changing = ("accuracy", "accuracy_change", "set_size", "set_size_change")
    return (
        scopes[macro.scope],
        figure(parameters(macro.constant("params_b"))),
        code(macro.variant),
        *(figure(fixed(macro.constant(key), places(key))) for key in ("bits_per_weight", "megabytes")),
        *(figure(_whole(average_words(macro.average(key), key))) for key in changing),
        figure(coverage),
        *(
            figure(fixed(macro.average(key).value, places(key)))
            for key in ("lac_transfer_coverage", "lac_transfer_set_size", f"ece{suffix}", f"nll{suffix}")
        ),
        _flags(marks(macro)),
    )


def marks(macro: Macro) -> list[tuple[str, str]]:
    """The flags of a line of the summary, each with words: how many tasks carry it where not all do, what it lacks."""
    found = [
        (flag, one_line(flag) + (f" on {count} of {len(macro.every)}" if count < len(macro.every) else ""))
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
    after = any(is_cloze(row) for row in rows)
    proper = ("ece_ts", "ece", "nll_ts", "nll") if after else ("ece", "ece_ts", "nll", "nll_ts")
    return Section(
        name,
        (_setting_line(setting, rows),),
        (
            explained("variant", words=True),
            *(explained(name) for name in ("bits", "MB", "accuracy", "set size")),
            Column("coverage (LAC) and band", note=explained("coverage (LAC)").note),
            *_proper_columns(after),
            explained("flags", words=True),
        ),
        tuple(
            (
                code(text(row, "variant")),
                *(figure(fixed(number(row, key), places(key))) for key in ("bits_per_weight", "megabytes")),
                *(figure(_whole(estimate(row, key))) for key in ("accuracy", "set_size")),
                _coverage(row),
                *(figure(fixed(number(row, key), places(key))) for key in proper),
                _flags([(flag, flag) for flag in flags(row)]),
            )
            for row in rows
        ),
    )


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
        shots=f"{setting.shots} shot" + ("" if setting.shots == 1 else "s"),
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
    return joined((Span(shown, "flag", FLAGS.get(flag, "")) for flag, shown in marked), ", ")


def _proper_columns(after: bool) -> tuple[Column, ...]:
    names = (
        ("ECE after T", "raw ECE", "NLL after T", "raw NLL") if after else ("ECE", "ECE after T", "NLL", "NLL after T")
    )
    return tuple(Column(name, note=explained("ECE" if "ECE" in name else "NLL").note) for name in names)


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


_SHOWN = ("accuracy", "set_size", "lac_coverage", "lac_transfer_coverage", "ece", "ece_ts", "nll", "nll_ts")
SIZES = ("params_b", "bits_per_weight", "megabytes")
"""What no task changes."""


def missing(rows: Sequence[Fields]) -> Section | None:
    """Why tables have dashes: each reason once, with how many rows it touches; None where there are no dashes."""
    reasons: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if text(row, "variant") == "dense":
            keys = [key for key in (*SIZES, *_SHOWN) if key != "lac_transfer_coverage"]
        else:
            keys = [*SIZES, *_SHOWN, "accuracy_change", "set_size_change"]
        for key in keys:
            if number(row, key) is None:
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
