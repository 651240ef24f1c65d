"""The top of the page: the strips, then one sentence for each question that a reader comes with.

Each sentence is made of the records of one analysis and of nothing else, and says so where they cannot answer it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from suite.decisions.analyses import DECOUPLING, DEFERRAL, DOSES, GATE, PASSED, SCALE
from suite.decisions.deferral import PER
from suite.metrics.slices import shown_above
from suite.publish.doses import ACCURACY, EXPLORATORY, Headline, Lead, ends, headlines, known, share, states, tolerances
from suite.publish.fields import Fields, number, one_line, text
from suite.publish.figures import FOLDER, Picture
from suite.publish.numerals import fixed
from suite.publish.order import level_label
from suite.publish.sections.section import Image, Items, Section, Span, Words
from suite.publish.sections.words import change, code, count, figure, joined, plain, say
from suite.publish.strips import find_strips
from suite.variant import is_repeat
from suite.verdicts.axis import BITS, nominal_amounts
from suite.verdicts.curves import MACRO, PRIMARY
from suite.verdicts.decoupling import BEYOND
from suite.verdicts.dose_records import MEASURES, levels
from suite.verdicts.scale import NOTHING_LEFT

TITLE = "The answer"

NAMED = 12
"""So many curves are told one by one; of more the strips and the table tell."""

LISTED = 6
"""So many variants are named in one place; the others are counted."""

Records = Mapping[str, Sequence[Fields]]


def answer(records: Records, pictures: Sequence[Picture] = (), lead: Lead = EXPLORATORY) -> Section | None:
    """The strips with their key and the sentences; None where there is no curve.

    Args:
        records: contents of the analyses' files by name.
        pictures: those of the strips, if they were drawn.
        lead: the measure that carries the answer.
    """
    told = sentences(records, lead)
    if not told:
        return None
    dosed = records[DOSES]
    panels = find_strips(dosed, lead.metric).panels
    return Section(
        TITLE,
        (
            *(Image(f"{FOLDER}/{one.name}", one.caption, panels) for one in pictures),
            _key(tolerances(dosed)),
            Items(told),
        ),
    )


def answers(records: Records, lead: Lead = EXPLORATORY) -> list[str]:
    """The sentences as plain text, safe to print; none where there is no curve."""
    return list(map(plain, sentences(records, lead)))


def sentences(records: Records, lead: Lead) -> tuple[Words, ...]:
    """One a question, in the order in which readers ask; none where there is no curve."""
    dosed = records.get(DOSES, ())
    if not headlines(dosed) or not tolerances(dosed):
        return ()
    return (
        kept(dosed, lead),
        by_accuracy(records.get(PASSED), dosed, records.get(DECOUPLING, ()), lead),
        by_size(records.get(SCALE, ()), lead),
        old_threshold(records.get(DEFERRAL, ())),
        shipped(records.get(GATE, ())),
    )


def _key(shares: Sequence[float]) -> Words:
    low, high = share(shares[0]), share(shares[-1])
    return say(
        "Upper strip certainty, lower strip accuracy; milder compression to the left. *Kept* (K): shown to have lost "
        "less than {low} of the way from dense to blind guessing, as every milder level. *Lost* (L): shown to have "
        "lost more than {high}, as every more severe level. *Worse* (W): between. *Not known* (?): these items do not "
        "say. The line below: the dose at which {low} is lost, with its interval.",
        low=low,
        high=high,
    )


# ---------------------------------------------------------------- kept down to where


def kept(dosed: Sequence[Fields], lead: Lead) -> Words:
    """Through which level of each curve certainty is kept, and from which it is lost."""
    curves = [one for one in headlines(dosed) if known(one, lead.metric)]
    start = say("**Down to where is certainty kept?** ")
    if not curves:
        return start + say("Of no curve can anything be said; the reasons stand below the next table.")
    seen = () if lead.chosen_before else say(" (This measure was chosen after the results were seen.)")
    if len(curves) > NAMED:
        (through, lost), found = ends(curves, lead.metric), states(curves, lead.metric)
        return (
            *start,
            *say(
                "It is shown kept through some level on {kept} of {curves} and lost from some level on {lost}; of "
                "{all} levels {k} are kept, {w} worse, {l} lost, and of {n} these items do not say. The strips have "
                "each.",
                kept=str(through),
                curves=count(len(curves), "curve"),
                lost=str(lost),
                all=str(sum(found.values())),
                **{letter: str(found[state]) for letter, state in _LETTERS.items()},
            ),
            *seen,
        )
    told = (
        say(
            "{model}: {curves}",
            model=Span(one_line(model), "strong"),
            curves=joined(_curves(curves, model, lead), "; "),
        )
        for model in dict.fromkeys(one.model for one in curves)
    )
    return (*start, "Shown: ", *joined(told, ". "), ".", *seen)


_LETTERS = {"k": "kept", "w": "worse", "l": "lost", "n": "not_known"}


def _curves(curves: Sequence[Headline], model: str, lead: Lead) -> list[Words]:
    return [_curve(one, lead.metric) for one in curves if one.model == model]


def _curve(one: Headline, metric: str) -> Words:
    through, lost = text(one.strict(metric), "kept_through"), text(one.loose(metric), "lost_from")
    where = "" if one.task == MACRO else f" on {one.task}"
    method = say("{method}{where}", method=Span(one_line(one.method), "emphasis"), where=(where,))
    if all(text(level, "state") == "not_known" for level in levels(one.strict(metric))):
        return say("{method} not known at any level", method=method)
    return say(
        "{method} {kept}, {lost}",
        method=method,
        kept=say("kept through {level}", level=_amount(through))
        if through
        else say("kept at no level (mildest {mildest})", mildest=_amount(one.levels[0])),
        lost=say("lost from {level}", level=_amount(lost)) if lost else "lost at none",
    )


def _amount(name: str) -> Words:
    """A level as readers say it, where one number is all that there is to it.

    >>> _amount("gptq-w3"), _amount("wanda-s50"), _amount("sparsegpt-2:4").text, _amount("gptq-w4a4").text
    ('3 bits', '50 % removed', 'sparsegpt-2:4', 'gptq-w4a4')
    """
    amounts, unit = nominal_amounts([name])
    if amounts is None or level_label(name) != f"{amounts[0]:g}":
        return code(name)
    return f"{amounts[0]:g} {'bits' if unit == BITS else '% removed'}"


# ---------------------------------------------------------------- accuracy alone


def by_accuracy(
    passed: Sequence[Fields] | None, dosed: Sequence[Fields], coupled: Sequence[Fields], lead: Lead
) -> Words:
    """What accuracy alone would have passed, and where its strip has another letter than certainty's."""
    start = say("**Would accuracy alone have said the same?** ")
    if passed is None:
        return start + say("Not asked of these results.")
    curves = [one for one in headlines(dosed) if known(one, lead.metric) and known(one, ACCURACY)]
    if not curves:
        return start + say("No curve has both measures, so nothing can be said.")
    averages = [one for one in passed if text(one, "task") == MACRO]
    return (*start, *_passed(averages or passed), *_ends(curves, lead.metric), *_beyond(coupled))


def _passed(found: Sequence[Fields]) -> tuple[str | Span, ...]:
    if not found:
        return say("At no level is it shown to pass what certainty fails (corrected for all that were asked).")
    first = max(found, key=lambda one: number(one, "certainty_loss") or 0.0)
    beyond = sum(one.get("beyond_damage") is True for one in found)
    more = f", and {count(len(found) - 1, 'more level')}" if len(found) > 1 else ""
    damage = (
        f"on {beyond} of them more certainty is lost than such damage explains"
        if beyond
        else "none is shown to go beyond what such damage explains, so the Brier score may only be the finer instrument"
    )
    return say(
        "It would have passed {variant} of {model}{where}, where accuracy is shown to have lost less and certainty "
        "more than {share} of the way to guessing ({accuracy} and {certainty}){more}; {damage}.",
        variant=code(text(first, "variant")),
        model=text(first, "model"),
        where=("" if text(first, "task") == MACRO else f" on {text(first, 'task')}",),
        share=share(number(first, "tolerance") or 0.0),
        accuracy=figure(fixed(number(first, "accuracy_loss"), 3)),
        certainty=figure(fixed(number(first, "certainty_loss"), 3)),
        more=(more,),
        damage=damage,
    )


def _ends(curves: Sequence[Headline], metric: str) -> tuple[str | Span, ...]:
    """On how many curves both measures keep and lose the same levels, and where accuracy alone says kept."""
    alike = sum(
        text(one.strict(metric), "kept_through") == text(one.strict(ACCURACY), "kept_through")
        and text(one.loose(metric), "lost_from") == text(one.loose(ACCURACY), "lost_from")
        for one in curves
    )
    said = say(
        " By its own strip it is kept through and lost from the same levels on {alike} of {all}",
        alike=str(alike),
        all=count(len(curves), "curve"),
    )
    looser = [
        (one.model, name)
        for one in curves
        for name in _kept_levels(one, ACCURACY)
        if name not in _kept_levels(one, metric)
    ]
    if looser:
        many = len({one.model for one in curves}) > 1
        names = [(*say("{name}", name=code(name)), *([f" of {model}"] if many else [])) for model, name in looser]
        said += say("; kept by accuracy and not by certainty: {names}", names=_listed(names))
    return (*said, ".")


def _kept_levels(one: Headline, metric: str) -> list[str]:
    return [text(level, "variant") for level in levels(one.strict(metric)) if text(level, "state") == "kept"]


def _beyond(coupled: Sequence[Fields]) -> tuple[str | Span, ...]:
    found = [text(one, "variant") for one in coupled if text(one, "verdict") in BEYOND and text(one, "task") == MACRO]
    return say(" Sets grew beyond what the damage explains at {names}.", names=_names(found)) if found else ()


def _names(variants: Sequence[str], most: int = LISTED) -> Words:
    """Names of variants, the first ones of many."""
    return _listed([code(name) for name in dict.fromkeys(variants)], most)


def _listed(names: Sequence[Words], most: int = LISTED) -> Words:
    listed = joined(names[:most], ", ")
    return (*listed, f" and {len(names) - most} more") if len(names) > most else listed


# ---------------------------------------------------------------- size


def by_size(scale: Sequence[Fields], lead: Lead = EXPLORATORY) -> Words:
    """Whether the larger model of a family loses less, pair by pair: by the measure that leads, then by set size."""
    start = say("**Does size protect?** ")
    compressed = [one for one in scale if text(one, "variant") != "dense" and not is_repeat(text(one, "variant"))]
    averages = [one for one in compressed if text(one, "task") == MACRO] or compressed
    by_metric: dict[str, list[tuple[Fields, Fields]]] = {}
    over: Counter[str] = Counter()
    for one in averages:
        for pair in () if one.get("confounded") else _pairs(one):
            metric = text(one, "metric") or PRIMARY
            if pair.get("saturated"):
                over[metric] += 1
            elif number(pair, "difference_low") is not None:
                by_metric.setdefault(metric, []).append((one, pair))
    if not by_metric:
        why = "no family has two sizes that are compared"
        if over:
            why = f"both have {NOTHING_LEFT} wherever two sizes are compared"
        elif averages:
            why = "the sizes here are of different families, whose data and recipes differ as well"
        return start + say("Not known: {why}.", why=why)
    metrics = sorted(by_metric, key=lambda metric: metric != lead.metric)
    told = joined([_size_sentence(by_metric[metric], metric, first=metric == metrics[0]) for metric in metrics], " ")
    left = f"; in {over[metrics[0]]} more both have {NOTHING_LEFT}" if over[metrics[0]] else ""
    return (
        *start,
        *told,
        *say(" (Shares of the way to guessing; each at 95 %, not corrected for their number{left}.)", left=left),
    )


def _size_sentence(pairs: Sequence[tuple[Fields, Fields]], metric: str, *, first: bool) -> Words:
    less = [pair for pair in pairs if (number(pair[1], "difference_high") or 0.0) < 0]
    more = [pair for pair in pairs if (number(pair[1], "difference_low") or 0.0) > 0]
    record, widest = max(less or more or pairs, key=lambda pair: abs(number(pair[1], "difference") or 0.0))
    return say(
        "By {measure} the larger model is shown to lose less in {less} and more in {more} of {pairs} of two sizes of "
        "one family at one compression; {most} {variant}, {larger} against {smaller}: {difference}."
        if first
        else "By {measure}: less in {less}, more in {more} of {pairs}; {most} {variant}: {difference}.",
        measure=MEASURES[metric].title,
        pairs=count(len(pairs), "comparison"),
        less=str(len(less)),
        more=str(len(more)),
        most="furthest apart" if less or more else "largest, not shown,",
        variant=code(text(record, "variant")),
        larger=text(widest, "larger"),
        smaller=text(widest, "smaller"),
        difference=change(widest, "difference", 2),
    )


def _pairs(record: Fields) -> list[Fields]:
    pairs = record.get("differences")
    return list(pairs) if isinstance(pairs, list) else []


# ---------------------------------------------------------------- the old threshold


def old_threshold(deferral: Sequence[Fields]) -> Words:
    """What keeping dense's confidence threshold costs beyond tuning it again."""
    start = say("**What does it cost to keep the old confidence threshold?** ")
    found = [one for one in deferral if number(one, "keeping_change") is not None]
    if not found:
        return start + say("Not known: no variant has a dense model whose threshold it could keep.")
    costs = say(
        "With a wrong answer at {wrong} and a review at {review} ({whose})",
        wrong=f"{number(found[0], 'cost_wrong'):g}",
        review=f"{number(found[0], 'cost_review'):g}",
        whose="from the configuration"
        if found[0].get("costs_planned")
        else "the suite's defaults; the configuration names none",
    )
    above = shown_above([(number(one, "keeping_change") or 0.0, number(one, "keeping_change_low")) for one in found])
    shown = [one for one, is_shown in zip(found, above, strict=True) if is_shown]
    most = max(shown or found, key=lambda one: number(one, "keeping_change") or 0.0)
    said = (
        " keeping dense's threshold is shown to cost more than tuning it again on {shown} of {all} (corrected for "
        "their number), most on {variant} of {model}: {more} a {per} questions, of which reviewing all costs {every}."
        if shown
        else " keeping dense's threshold is shown to cost more than tuning it again on none of {all} (corrected for "
        "their number); the most that was seen is {more} a {per} questions ({variant} of {model}), of which reviewing "
        "all costs {every}."
    )
    return (
        *start,
        *costs,
        *say(
            said,
            shown=str(len(shown)),
            all=count(len(found), "compressed result"),
            variant=code(text(most, "variant")),
            model=text(most, "model"),
            more=change(most, "keeping_change", 0),
            per=f"{PER:,}",
            every=f"{PER * (number(most, 'cost_review') or 0.0):,.0f}",
        ),
    )


# ---------------------------------------------------------------- shipped


def shipped(gate: Sequence[Fields]) -> Words:
    """What the gate decides: the strips decide nothing."""
    start = say("**Would it be shipped?** ")
    if not gate:
        return start + say(
            "Nobody has decided: the configuration names no policy, and letters of a strip are no decision. "
            "`suite gate` decides under a policy."
        )
    told = (
        say("{model}: {decisions}", model=Span(one_line(model), "strong"), decisions=_decisions(gate, model))
        for model in dict.fromkeys(text(one, "model") for one in gate)
    )
    unlocked = any(number(one, "unlocked") for one in gate)
    return (
        *start,
        *say(
            "Under the policy {policy}, by the gate. {told}.{locked}",
            policy=code(text(gate[0], "policy")),
            told=joined(told, ". "),
            locked=(" No lock had fixed the policy before these results." if unlocked else "",),
        ),
    )


def _decisions(gate: Sequence[Fields], model: str) -> Words:
    parts = []
    for decision, words in (("accept", "yes"), ("review", "left to a person"), ("reject", "no")):
        mine = [
            text(one, "variant") for one in gate if (text(one, "model"), text(one, "decision")) == (model, decision)
        ]
        if mine:
            parts.append(say("{words} {names}", words=words, names=_names(mine, NAMED)))
    return joined(parts, "; ")
