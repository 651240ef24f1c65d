"""Down to which level certainty is kept, from which it is lost, what is not known: behind the answer of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from suite.grouped import grouped
from suite.publish.doses import (
    ACCURACY,
    BESIDE,
    EXPLORATORY,
    Headline,
    Lead,
    dose_words,
    ends,
    headlines,
    known,
    share,
    states,
    tolerances,
)
from suite.publish.fields import Fields, number, one_line, text
from suite.publish.macro import macro_averages
from suite.publish.numerals import MISSING, fixed, places
from suite.publish.order import dense_of, scope_of, setting_names, setting_of, without_repeats
from suite.publish.sections.section import Block, Column, Items, Section, Span, Words, figures, words
from suite.publish.sections.words import code, count, figure, joined, say
from suite.verdicts.curves import MACRO, task_title
from suite.verdicts.dose_records import MEASURES, levels, reasons

NAMED = 12
"""So many models have a sentence, and so many rows a table that stands open; the table has all."""

GROWN = 0.1
"""Growth of a set, in options, that is worth a sentence."""

ALPHA = 0.05
"""What each side may err by."""


def doses(records: Sequence[Fields], rows: Sequence[Fields], lead: Lead = EXPLORATORY) -> Section | None:
    """Curve by curve, and what each word means; None where there is no curve.

    Args:
        records: of doses.json.
        rows: rounded and sorted.
        lead: the measure that carries the answer.
    """
    curves = headlines(records)
    shares = tolerances(records)
    if not curves or not shares:
        return None
    spoken = [one for one in curves if known(one, lead.metric)]
    floors = _floors(curves)
    return Section(
        "Down to which level is certainty kept?",
        (
            _answer(spoken, lead, shares),
            Items(_by_model(spoken, lead.metric)),
            _meaning(lead, shares),
            _primary(lead, len(spoken)),
        ),
        _header(shares, floors=floors),
        tuple(_row(one, lead.metric, floors=floors) for one in spoken),
        (
            *_points(rows, shares),
            *_noise(floors=floors),
            _transferred(records, rows, shares),
            *_notes(curves, lead.metric),
        ),
        folded=len(spoken) > NAMED,
    )


def every_dose(records: Sequence[Fields]) -> Section | None:
    """One line a curve, task and metric, for pages that can fold; None where there is no curve."""
    curves = headlines(records, averages=False)
    shares = tolerances(records)
    if not curves:
        return None
    return Section(
        "Doses task by task, on every metric",
        (
            say(
                "One line a curve, task and metric: kept through at {low}, lost from at {high}. [doses.json] has the "
                "loss of every level with its interval, at every tolerance.",
                low=share(shares[0]),
                high=share(shares[-1]),
            ),
        ),
        (*words("model", "method", "task", "metric", *_HEADINGS), Column(f"dose at {share(shares[0])}")),
        tuple(
            (*_who(one), metric, *_kept_and_lost(one, metric), figure(dose_words(one.strict(metric))))
            for one in curves
            for metric in MEASURES
            if one.strict(metric)
        ),
        folded=True,
    )


_HEADINGS = ("kept through", "lost from", "not known, and items that would decide")


def _answer(curves: Sequence[Headline], lead: Lead, shares: Sequence[float]) -> Words:
    if not curves:
        return say("Of no curve can anything be said; the reasons are below.")
    found = states(curves, lead.metric)
    kept, lost = ends(curves, lead.metric)
    accuracy = ends([one for one in curves if one.strict(ACCURACY)], ACCURACY)
    average = any(one.task == MACRO for one in curves)
    return say(
        "Of {curves}, certainty is *kept* through some level on {kept} and *lost* from some level on {lost}. Of {all} "
        "levels {states}. By accuracy it is {right} and {wrong}. Kept means a loss shown below "
        "{low} of the way from dense to chance, lost one shown above {high}.",
        curves=count(len(curves), "curve") + " (averages over tasks)" * average,
        kept=str(kept),
        lost=str(lost),
        all=str(sum(found.values())),
        states=", ".join(
            f"{found[state]}{' are' if state == 'kept' else ''} {state.replace('_', ' ')}"
            for state in ("kept", "worse", "lost", "not_known")
        ),
        right=str(accuracy[0]),
        wrong=str(accuracy[1]),
        low=share(shares[0]),
        high=share(shares[-1]),
    )


def _by_model(curves: Sequence[Headline], metric: str) -> tuple[Words, ...]:
    """A sentence a model: through which levels certainty is kept, from which it is lost."""
    models = list(dict.fromkeys(one.model for one in curves))
    lines: list[Words] = []
    for model in models[:NAMED]:
        mine = [one for one in curves if one.model == model]
        kept = [text(one.strict(metric), "kept_through") for one in mine]
        lost = [text(one.loose(metric), "lost_from") for one in mine]
        unknown = sum(text(level, "state") == "not_known" for one in mine for level in levels(one.strict(metric)))
        lines.append(
            say(
                "{model}: kept through {kept}; lost from {lost}; {unknown} not known",
                model=Span(one_line(model), "strong"),
                kept=_names(kept),
                lost=_names(lost),
                unknown=count(unknown, "level"),
            )
        )
    if len(models) > NAMED:
        lines.append(f"and {count(len(models) - NAMED, 'model')} more, in the table")
    return tuple(lines)


def _names(variants: Iterable[str]) -> Words:
    found = list(dict.fromkeys(name for name in variants if name))
    return joined(map(code, found), ", ") if found else "no level"


def _meaning(lead: Lead, shares: Sequence[float]) -> Words:
    low, high = share(shares[0]), share(shares[-1])
    return say(
        "*Certainty* is measured by the {measure}. A level's *loss* is the share of the way from dense to a blind "
        "guess that it has gone: 0.05 is as if 5 in 100 answers were blind guesses. *Kept* (K): it and every milder "
        "tested level are shown to have lost less than {low}. *Lost* (L): it and every more severe one are shown to "
        "have lost more than {high}. *Worse* (W): shown to lie between. *Not known* (?): these items do not say; "
        "beside it stands how many would, if the loss is what was seen. *Dose*: the bits, or percent of weights "
        "removed, at which {low} is lost, with the interval of the same tests. An average can hide a task, so what is "
        "kept on every task and lost on at least one stands beside it. All of it is about these checkpoints on other "
        "items of these tasks (docs/dose.md).",
        measure=MEASURES[lead.metric].title,
        low=low,
        high=high,
    )


def _header(shares: Sequence[float], *, floors: bool) -> tuple[Column, ...]:
    low, high = share(shares[0]), share(shares[-1])
    return (
        *words("model", "method", f"kept through, at {low}", "kept on every task"),
        *words(f"lost from, at {high}", "lost on a task at least"),
        *words("not known, and items that would decide"),
        *figures(f"dose at {low} (bits, or % removed)"),
        *words("accuracy kept through", "accuracy lost from"),
        *figures("dose by accuracy"),
        *(figures("noise floor") if floors else ()),
    )


def _who(one: Headline) -> tuple[Words, ...]:
    return (one.model, one.method, task_title(one.task))


def _row(one: Headline, metric: str, *, floors: bool) -> tuple[Words, ...]:
    strict, loose = one.strict(metric), one.loose(metric)
    average = one.task == MACRO
    kept, lost, unknown = _kept_and_lost(one, metric)
    return (
        one.model,
        one.method if average else say("{method}, {task}", method=one.method, task=one.task),
        kept,
        _level(strict, "kept_on_every_task") if average else kept,
        lost,
        _level(loose, "lost_on_a_task") if average else lost,
        unknown,
        figure(dose_words(strict)),
        *_kept_and_lost(one, ACCURACY)[:2],
        figure(dose_words(one.strict(ACCURACY))),
        *((figure(fixed(number(strict, "floor"), 3)),) if floors else ()),
    )


def _kept_and_lost(one: Headline, metric: str) -> tuple[Words, Words, Words]:
    strict, loose = one.strict(metric), one.loose(metric)
    wanted = strict.get("items_to_decide")
    items = wanted if isinstance(wanted, Mapping) else {}
    low = share(number(strict, "tolerance") or 0.0)
    unknown = [
        say("{level}{why}", level=code(text(level, "variant")), why=_undecided(level, items, low))
        for level in levels(strict)
        if text(level, "state") == "not_known"
    ]
    return (
        _level(strict, "kept_through"),
        _level(loose, "lost_from"),
        joined(unknown, "; ") if unknown else MISSING,
    )


def _undecided(level: Fields, items: Mapping[str, object], low: str) -> Words:
    """Items that would decide a level, and what is shown of it alone (Holm), whatever the levels before it."""
    wanted = items.get(text(level, "variant"))
    said: list[Words] = [] if wanted is None else [f"{wanted:,} items" if isinstance(wanted, int) else str(wanted)]
    if shown := {"kept": "less", "lost": "more"}.get(text(level, "holm")):
        said.append(f"{shown} than {low} is lost")
    return (": ", *joined(said, ", ")) if said else ""


def _level(record: Fields, key: str) -> Words:
    return code(text(record, key)) if text(record, key) else "no level"


def _notes(curves: Sequence[Headline], metric: str) -> tuple[Block, ...]:
    """What stood in the way, each reason once with its curves: of those without a row, then of those that have one."""
    silent: dict[str, list[str]] = {}
    spoken: dict[str, list[str]] = {}
    for one in curves:
        told = known(one, metric)
        found = reasons(one.strict(metric)) or ([] if told else [f"it has no {metric}"])
        name = f"{one.model} {one.method}" + ("" if one.task == MACRO else f" on {one.task}")
        for reason in found:
            (spoken if told else silent).setdefault(reason, []).append(name)
    blocks: list[Block] = []
    for title, why in (("Curves without a row, and why:", silent), ("Notes:", spoken)):
        if why:
            lines = (
                say(
                    "{reason}: {curves}", reason=reason, curves="all" if len(names) == len(curves) else "; ".join(names)
                )
                for reason, names in why.items()
            )
            blocks += [title, Items(tuple(lines))]
    return tuple(blocks)


def _points(rows: Sequence[Fields], shares: Sequence[float]) -> tuple[Block, ...]:
    """What each tolerance is for each model, in points of accuracy on the average over tasks."""
    lines: list[Words] = []
    for macro in macro_averages(rows):
        if macro.variant != "dense":
            continue
        right, chance = macro.average("accuracy").value, macro.average("chance_accuracy").value
        if right is None or chance is None:
            lines.append(say("{model}: above chance on no task", model=macro.scope.model))
            continue
        lines.append(
            say(
                "{model} (accuracy {right}, chance {chance}): {points}",
                model=macro.scope.model,
                right=figure(fixed(right, 3)),
                chance=figure(fixed(chance, 3)),
                points=joined(
                    (
                        (f"{share(one)} is ", figure(fixed(100 * one * (right - chance), 1)), " points")
                        for one in shares
                    ),
                    ", ",
                ),
            )
        )
    if not lines:
        return ()
    return ("What a tolerance is in points of accuracy (100 times the share of right answers):", Items(tuple(lines)))


def _primary(lead: Lead, curves: int) -> Words:
    expected = fixed(ALPHA * curves, 1)
    family = (
        f"{count(curves, 'curve')}; at most {share(ALPHA)} of them, {expected}, are expected to be wrong on each side."
    )
    if lead.chosen_before:
        return say(
            "**Primary measure**, named in the configuration before the results: {measure}. {family}",
            measure=MEASURES[lead.metric].title,
            family=family,
        )
    return say(
        "**Primary measure chosen after these data were seen: exploratory.** {family}",
        family=family,
    )


def _floors(curves: Sequence[Headline]) -> bool:
    return any(number(one.strict(metric), "floor") is not None for one in curves for metric in one.records)


def _noise(*, floors: bool) -> tuple[Words, ...]:
    """Where the noise floor comes from, or that there is none."""
    if floors:
        return (
            "Noise floor: the largest loss, at its upper bound, of the dense model computed otherwise (another dtype "
            "or order of items). Worse and lost must exceed it.",
        )
    return (
        say(
            "Noise floor: not known, for no variant here is the dense model computed otherwise (`dense@repeat`, "
            "`dense@float32`)."
        ),
    )


def _transferred(records: Sequence[Fields], rows: Sequence[Fields], shares: Sequence[float]) -> Words:
    """Coverage under dense's threshold, never without its size: where the target is held by naming more options."""
    found = say(
        "**Coverage under dense's threshold says nothing without its set size**: a broken model covers by keeping "
        "nearly every option. "
    )
    curves = [one for one in headlines(records, averages=False) if known(one, BESIDE)]
    if curves:
        kept, lost = ends(curves, BESIDE)
        found += say(
            "Task by task, coverage within 0.02 of dense's with sets that lost less than {low} is kept through some "
            "level on {kept} of {curves}; either of the two is lost from some level on {lost}. ",
            low=share(shares[0]),
            kept=str(kept),
            curves=count(len(curves), "curve"),
            lost=str(lost),
        )
    return found + _covered_by_size(without_repeats(rows))


def _covered_by_size(rows: Sequence[Fields]) -> tuple[str | Span, ...]:
    """The row that covers what was promised with the largest growth of its sets."""
    names = setting_names(rows)
    held = []
    for (scope, setting), members in grouped(rows, lambda row: (scope_of(row), setting_of(row))).items():
        before = number(dense_of(members) or {}, "lac_set_size")
        for row in members:
            coverage, size = (number(row, f"lac_transfer_{key}") for key in ("coverage", "set_size"))
            if coverage is None or size is None or before is None:
                continue
            if coverage >= 1 - scope.alpha and size - before > GROWN:
                held.append((size - before, row, names[setting], coverage, size, before))
    if not held:
        return say(
            "No row covers what was promised by keeping {grown} of an option more than dense.", grown=fixed(GROWN, 1)
        )
    _, row, where, coverage, size, before = max(held, key=lambda one: one[0])
    return say(
        "{variant} of {model} on {where} covers {coverage}, as was promised, with {size} options where dense keeps "
        "{before}.",
        variant=code(text(row, "variant")),
        model=text(row, "model"),
        where=where,
        coverage=figure(fixed(coverage, 3)),
        size=figure(fixed(size, places("set_size"))),
        before=figure(fixed(before, places("set_size"))),
    )
