"""LEADERBOARD.md: a summary, a table for each model and task, what failed, and what the columns mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from suite.metrics.average import Average, Setting
from suite.metrics.rows import FLAGS
from suite.prompt_name import original_of
from suite.publish.definitions import COLUMNS, HOW_TO_READ, MARGINAL, ROUNDING
from suite.publish.fields import Row, flags, is_cloze, notes, number, one_line, text
from suite.publish.figures import FOLDER, Picture
from suite.publish.highlights import published_highlights
from suite.publish.macro import Macro, macro_averages, settings_averaged
from suite.publish.markdown import code, escape, table
from suite.publish.numerals import MISSING, estimate, fixed, interval, parameters, places
from suite.publish.order import Scope, grouped, scope_of, setting_names, setting_of
from suite.publish.seed_sections import seed_sections
from suite.publish.standings import Standings
from suite.publish.standings_tables import standings_sections
from suite.publish.verdict_sections import verdict_sections

NO_BREAK = "\N{NO-BREAK SPACE}"
_INTERVAL = re.compile(r"\\\[([−+]?\d+\.\d+, [−+]?\d+\.\d+)\\\](?![(\[:\\])")


def leaderboard_page(
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    failures: Sequence[Row],
    *,
    standings: Standings | None = None,
    assessed: Mapping[str, Sequence[Row]] | None = None,
    seeds: Sequence[Row] = (),
    unfinished: str = "",
) -> str:
    """The text of LEADERBOARD.md.

    Args:
        rows: sorted by `suite.publish.order.in_order`.
        pictures: shown above the tables of their model.
        failures: cells that could not be scored.
        standings: groups and pairs of equal size; left out where there are none.
        assessed: contents of the verdict files by name; left out where there are none.
        seeds: spread over seeds of the sample text; left out where there are none.
        unfinished: what is said where cells of the configuration are missing.
    """
    parts = [
        "# Leaderboard: does a compressed model still know when it may be wrong?",
        HOW_TO_READ,
        _protocol(rows),
    ]
    if unfinished:
        parts.append(_bold_start(unfinished))
    sentences = published_highlights(rows)
    if sentences:
        parts += [
            "## What to look at first",
            "\n".join(f"{i}. {_bold_start(line)}" for i, line in enumerate(sentences, 1)),
        ]
    if rows:
        parts += _summary(rows)
        if standings is not None:
            parts += standings_sections(standings)
        if assessed is not None:
            parts += verdict_sections(assessed)
        parts += seed_sections(seeds, setting_names(rows))
        parts += _sections(rows, pictures)
    else:
        parts.append("No cell has been scored.")
    parts += _failed(failures)
    parts += _missing(rows)
    parts += ["## What the columns mean", "\n".join([*COLUMNS, *_flag_meanings(rows)]), ROUNDING]
    return "\n\n".join(parts) + "\n"


def _bold_start(sentence: str) -> str:
    topic, colon, rest = sentence.partition(": ")
    if not colon:
        return escape(sentence)
    # Brackets around numbers start no link, so an interval stays readable in the source too.
    plain = _INTERVAL.sub(r"[\1]", escape(rest))
    return f"**{escape(topic)}:** {plain}"


def _protocol(rows: Sequence[Row]) -> str:
    found = sorted({(scope_of(row).protocol, scope_of(row).alpha, number(row, "splits")) for row in rows}, key=repr)
    lines = []
    for protocol, alpha, splits in found:
        if protocol == "ye2024":
            averaged = "one split, as in arXiv 2401.12794"
        elif splits is None:
            averaged = "averaged over random splits of the items into conformal and test folds"
        else:
            averaged = f"averaged over {splits:.0f} random splits of the items into conformal and test folds"
        lines.append(
            f"Protocol {code(protocol or 'unknown')}, α = {alpha:g} (target coverage {1 - alpha:g}), {averaged}."
        )
    return " ".join(["**How it was measured.**", *lines, MARGINAL])


def _summary(rows: Sequence[Row]) -> list[str]:
    macros = macro_averages(rows)
    after = any(is_cloze(row) for row in rows)
    scopes = _scope_names(rows)
    header = [
        *("model", "parameters", "variant", "bits", "MB", "accuracy", "accuracy change", "set size", "set size change"),
        *("coverage (LAC)", "dense threshold reused", *_proper_header(after)[::2], "flags"),
    ]
    body = [_summary_line(macro, scopes, after=after) for macro in macros]
    return [
        "## Summary: averages over tasks",
        "Means of figures made task by task, over the tasks on which the dense model is above chance. A variant that "
        "lacks one of them has no average. Changes are against dense on the same items.",
        "\n".join(_went_in(rows, scopes)),
        table(header, body, left=3),
    ]


def _went_in(rows: Sequence[Row], scopes: Mapping[Scope, str]) -> list[str]:
    lines = []
    for scope, settings in settings_averaged(rows).items():
        left_out = sorted({setting_of(row) for row in rows if scope_of(row) == scope} - set(settings))
        line = f"- {escape(scopes[scope])}: {_tasks(settings) or 'no task'}"
        perturbed = [setting for setting in left_out if original_of(setting.prompt or "") is not None]
        if unfit := [setting for setting in left_out if setting not in perturbed]:
            line += f"; left out, dense at chance or absent: {_tasks(unfit)}"
        if perturbed:
            line += f"; kept apart, noise or rotated options: {_tasks(perturbed)}"
        lines.append(line)
    return lines


def _tasks(settings: Sequence[Setting]) -> str:
    counts = Counter(setting.task for setting in settings)
    return ", ".join(escape(task) + (f" ({n} settings)" if n > 1 else "") for task, n in sorted(counts.items()))


def _summary_line(macro: Macro, scopes: Mapping[Scope, str], *, after: bool) -> list[str]:
    suffix = "_ts" if after else ""
    outside = sum(1 for row in macro.rows if _beyond_band(row))
    coverage = fixed(macro.average("lac_coverage").value, 3)
    if outside and coverage != MISSING:
        coverage += f" ({outside} of {len(macro.rows)} outside the band)"
    marks = [
        escape(flag) + (f" on {count} of {len(macro.every)}" if count < len(macro.every) else "")
        for flag, count in macro.flags.items()
    ]
    if macro.absent:
        marks.append(f"lacks {', '.join(map(escape, macro.absent))}")
    return [
        escape(scopes[macro.scope]),
        parameters(macro.constant("params_b")),
        code(macro.variant),
        fixed(macro.constant("bits_per_weight"), places("bits_per_weight")),
        fixed(macro.constant("megabytes"), places("megabytes")),
        _average(macro.average("accuracy"), "accuracy"),
        _average(macro.average("accuracy_change"), "accuracy_change", signed=True),
        _average(macro.average("set_size"), "set_size"),
        _average(macro.average("set_size_change"), "set_size_change", signed=True),
        coverage,
        fixed(macro.average("lac_transfer_coverage").value, 3),
        fixed(macro.average(f"ece{suffix}").value, 3),
        fixed(macro.average(f"nll{suffix}").value, 3),
        ", ".join(marks),
    ]


def _average(average: Average, key: str, *, signed: bool = False) -> str:
    decimals = places(key)
    value = fixed(average.value, decimals, signed=signed)
    return _whole(f"{value} {interval(average.low, average.high, decimals, signed=signed)}".strip())


def _sections(rows: Sequence[Row], pictures: Sequence[Picture]) -> list[str]:
    names = setting_names(rows)
    scopes = _scope_names(rows)
    parts = []
    for scope, members in grouped(rows, scope_of).items():
        size = parameters(next((value for row in members if (value := number(row, "params_b")) is not None), None))
        parts.append(f"## {escape(scopes[scope])}" + (f" ({size} parameters)" if size != MISSING else ""))
        for picture in pictures:
            if picture.scope == scope:
                parts.append(f"![{escape(picture.caption)}]({FOLDER}/{picture.name})")
        for setting, group in grouped(members, setting_of).items():
            parts += [f"### {escape(names[setting])}", _setting_line(setting, group), _task_table(group)]
    return parts


def _setting_line(setting: Setting, rows: Sequence[Row]) -> str:
    counts = sorted({int(value) for row in rows if (value := number(row, "n")) is not None})
    chance = next((value for row in rows if (value := number(row, "chance_accuracy")) is not None), None)
    at_chance = next((value for row in rows if (value := number(row, "set_size_chance")) is not None), None)
    parts = [
        f"Scoring {code(setting.scoring)}" if setting.scoring else "Scoring unknown",
        f"prompt {code(setting.prompt)}" if setting.prompt else "prompt unknown",
        f"{setting.shots} shot" + ("" if setting.shots == 1 else "s"),
        (f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}") + " items"
        if counts
        else "items unknown",
        f"accuracy at chance {fixed(chance, 3)}",
        f"set size at chance {fixed(at_chance, 2)}",
    ]
    line = ", ".join(parts) + "."
    if any(is_cloze(row) for row in rows):
        line += (
            " A softmax over log-likelihoods of option texts is no probability the model claims, so ECE and NLL after "
            "temperature scaling lead."
        )
    return line


def _task_table(rows: Sequence[Row]) -> str:
    after = any(is_cloze(row) for row in rows)
    header = [
        "variant",
        "bits",
        "MB",
        "accuracy",
        "set size",
        "coverage (LAC) and band",
        *_proper_header(after),
        "flags",
    ]
    proper = ("ece_ts", "ece", "nll_ts", "nll") if after else ("ece", "ece_ts", "nll", "nll_ts")
    body = [
        [
            code(text(row, "variant")),
            fixed(number(row, "bits_per_weight"), places("bits_per_weight")),
            fixed(number(row, "megabytes"), places("megabytes")),
            _whole(estimate(row, "accuracy")),
            _whole(estimate(row, "set_size")),
            _coverage(row),
            *(fixed(number(row, key), places(key)) for key in proper),
            ", ".join(escape(flag) for flag in flags(row)),
        ]
        for row in rows
    ]
    return table(header, body)


def _proper_header(after: bool) -> tuple[str, str, str, str]:
    if after:
        return ("ECE after T", "raw ECE", "NLL after T", "raw NLL")
    return ("ECE", "ECE after T", "NLL", "NLL after T")


def _coverage(row: Row) -> str:
    value = number(row, "lac_coverage")
    if value is None:
        return MISSING
    low, high = number(row, "lac_coverage_band_low"), number(row, "lac_coverage_band_high")
    band = f" ({fixed(low, 3)} to {fixed(high, 3)})" if low is not None and high is not None else ""
    mark = {-1: " ▼", 0: "", 1: " ▲"}[_beyond_band(row)]
    return _whole(f"**{fixed(value, 3)}{mark}**{band}" if mark else f"{fixed(value, 3)}{band}")


def _whole(shown: str) -> str:
    """A figure with its interval or band: a narrow column may break before the bracket and nowhere else."""
    head, bracket, rest = shown.partition(" [") if " [" in shown else shown.partition(" (")
    return head.replace(" ", NO_BREAK) + bracket + rest.replace(" ", NO_BREAK)


def _beyond_band(row: Row) -> int:
    """-1 where coverage lies below its band, 1 above, 0 inside or unknown."""
    value, low, high = (number(row, f"lac_coverage{end}") for end in ("", "_band_low", "_band_high"))
    if value is None or low is None or high is None:
        return 0
    return (value > high) - (value < low)


def _scope_names(rows: Sequence[Row]) -> dict[Scope, str]:
    """The model, with protocol and α only where rows differ in them."""
    scopes = set(map(scope_of, rows))
    alike = len({(scope.protocol, scope.alpha) for scope in scopes}) == 1
    return {
        scope: (one_line(scope.model) or "unnamed model")
        + ("" if alike else f" ({one_line(scope.protocol)}, α = {scope.alpha:g})")
        for scope in scopes
    }


def _failed(failures: Sequence[Row]) -> list[str]:
    if not failures:
        return []
    keys: list[tuple[str, Callable[[str], str]]] = [
        ("model", escape),
        ("variant", code),
        ("task", escape),
        ("scoring", escape),
        ("reason", escape),
    ]
    body = sorted([show(text(failure, key)) or MISSING for key, show in keys] for failure in failures)
    return [
        "## Cells that failed",
        "These were asked for and could not be scored; nothing above counts them.",
        table([key for key, _ in keys], body, left=len(keys)),
    ]


_SHOWN = ("accuracy", "set_size", "lac_coverage", "lac_transfer_coverage", "ece", "ece_ts", "nll", "nll_ts")
_SIZES = ("params_b", "bits_per_weight", "megabytes")


def _missing(rows: Sequence[Row]) -> list[str]:
    """Why the tables have dashes: each reason once, with how many rows it touches."""
    reasons: dict[tuple[str, str], int] = {}
    for row in rows:
        if text(row, "variant") == "dense":
            keys = [key for key in (*_SIZES, *_SHOWN) if key != "lac_transfer_coverage"]
        else:
            keys = [*_SIZES, *_SHOWN, "accuracy_change", "set_size_change"]
        for key in keys:
            if number(row, key) is None:
                reason = notes(row).get(key, "no reason recorded")
                reasons[key, reason] = reasons.get((key, reason), 0) + 1
    if not reasons:
        return []
    lines = [f"- {code(key)}: {escape(reason)} ({count} rows)" for (key, reason), count in sorted(reasons.items())]
    return ["## Why a value is missing", "\n".join(lines)]


def _flag_meanings(rows: Sequence[Row]) -> list[str]:
    seen = sorted({flag for row in rows for flag in flags(row)})
    if not seen:
        return []
    meanings = [f"  - {code(flag)}: {escape(FLAGS.get(flag, 'no description recorded'))}" for flag in seen]
    return [
        "- **flags**, in the summary with the number of tasks that carry one where it is not all of them:",
        *meanings,
    ]
