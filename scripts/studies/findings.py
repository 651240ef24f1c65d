"""What the three findings of arXiv 2606.01850 look like in a snapshot: sentences and tables of docs/findings.md.

    .venv/bin/python -m scripts.studies.findings [results/qwen-coder-sizes]

Every figure comes from files of the snapshot, which `suite verify` recomputes from its cells. Sentences are those of
the snapshot's own page where it has them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.markers import check_markers, marks, write_between
from suite.cell import load_cells
from suite.config import read_config
from suite.decisions.analyses import ANALYSES, DECOUPLING, DOSES, PASSED, SCALE, VERDICTS
from suite.publish.doses import ACCURACY, Headline, Lead, dose_words, headlines, known, lead_of, share, tolerances
from suite.publish.failures import read_failures
from suite.publish.fields import number, text
from suite.publish.numerals import MISSING, fixed, parameters, with_interval
from suite.publish.pages.markdown import code, escape, markdown_section, table
from suite.publish.sections.answer import by_accuracy, by_size, kept
from suite.publish.sections.section import Section, Words
from suite.publish.sections.verdicts import pair_differences
from suite.publish.sections.words import count
from suite.publish.unfinished import unfinished
from suite.variant import is_repeat
from suite.verdicts.curves import MACRO, PRIMARY, record_title
from suite.verdicts.dose_records import MEASURES, levels

ROOT = Path(__file__).resolve().parent.parent.parent

DOCUMENT = ROOT / "docs" / "findings.md"
SNAPSHOT = ROOT / "results" / "qwen-coder-sizes"
NO_PAIR = "No table: a comparison needs two sizes of one family with the same variant."
PLACES = ("cells", "accuracy", "levels", "size", "sizes", "steepness", "shapes", "kept")

Record = Mapping[str, Any]


def levels_table(curves: Sequence[Headline], couplings: Sequence[Record], metric: str) -> str:
    """A line a level: what certainty and accuracy have lost of the way to guessing, and whether damage explains it."""
    coupled = {(one["model"], one["variant"]): one for one in couplings if one["task"] == MACRO}
    body = []
    for one in curves:
        beside = {text(level, "variant"): level for level in levels(one.strict(ACCURACY))}
        for level in levels(one.strict(metric)):
            name = text(level, "variant")
            verdict = coupled.get((one.model, name), {})
            grown = with_interval(
                *(verdict.get(f"set_size_change{end}") for end in ("", "_low", "_high")), 2, signed=True
            )
            said = str(verdict.get("verdict", MISSING))
            body.append([escape(one.model), code(name), _loss(level), _loss(beside.get(name, {})), grown, said])
    header = ["model", "variant", "certainty lost", "accuracy lost", "set size change", "beyond damage?"]
    return table(header, body, left=2)


def accuracy_holds(curves: Sequence[Headline], metric: str) -> str:
    """Of the levels whose accuracy is not shown to be lower, on how many certainty is."""
    pairs = []
    for one in curves:
        beside = {text(level, "variant"): level for level in levels(one.strict(ACCURACY))}
        pairs += [
            (one.model, level, beside[name])
            for level in levels(one.strict(metric))
            if (name := text(level, "variant")) in beside and number(level, "low") is not None
        ]
    held = [(model, level) for model, level, accuracy in pairs if (number(accuracy, "low") or 0.0) <= 0]
    moved = [
        f"{code(text(level, 'variant'))} of {escape(model)} ({_loss(level)})"
        for model, level in held
        if (number(level, "low") or 0.0) > 0
    ]
    further = sum((number(level, "loss") or 0.0) > (number(accuracy, "loss") or 0.0) for _, level, accuracy in pairs)
    return (
        f"At {len(held)} of {count(len(pairs), 'level')} accuracy is not shown to be lower than dense's (the interval "
        f"of its loss reaches 0); certainty is shown to be lower at {len(moved)} of them"
        + (f": {', '.join(moved)}. " if moved else ". ")
        + "Each level by its own interval, not corrected for their number; a finer measure shows more at equal items. "
        f"By the points that were seen, certainty has lost the larger share at {further} of {len(pairs)}."
    )


def sizes_tables(scale: Sequence[Record]) -> str:
    """`sizes_table` by each measure, with its name."""
    metrics = dict.fromkeys(str(one["metric"]) for one in scale)
    return "\n\n".join(f"By {MEASURES[one].title}:\n\n{sizes_table(scale, one)}" for one in metrics) or NO_PAIR


def sizes_table(scale: Sequence[Record], metric: str) -> str:
    """What each variant loses by model in rising size, and the larger model's loss less the smaller one's."""
    found = [
        one
        for one in scale
        if (one["task"], one["metric"]) == (MACRO, metric)
        and not one["confounded"]
        and one["variant"] != "dense"
        and not is_repeat(one["variant"])
    ]
    if not found:
        return NO_PAIR
    sizes = {each["model"]: each["params_b"] for one in found for each in one["models"]}
    models = sorted(sizes, key=lambda name: (sizes[name], name))
    body = []
    for one in found:
        values = {each["model"]: each for each in one["models"]}
        shown = [
            with_interval(values[model]["value"], values[model]["low"], values[model]["high"], 2)
            if model in values
            else MISSING
            for model in models
        ]
        body.append([code(one["variant"]), *shown, "; ".join(pair_differences(one)) or MISSING])
    heads = [f"{escape(model)} ({parameters(sizes[model])})" for model in models]
    return table(["variant", *heads, "larger less smaller"], body)


def shapes_table(curves: Sequence[Headline], verdicts: Sequence[Record], metric: str, shares: Sequence[float]) -> str:
    """A line a curve: kept, lost, the doses at the least and the largest tolerance, and how steep set size rises."""
    judged = {
        (one["model"], record_title(one)): one for one in verdicts if (one["metric"], one["task"]) == (PRIMARY, MACRO)
    }
    body = []
    for one in curves:
        verdict = judged.get((one.model, one.method), {})
        level = f" at {code(verdict['level'])}" if verdict.get("level") else ""
        body.append(
            [
                *(escape(one.model), escape(one.method)),
                *(_level(one.strict(metric), "kept_through"), _level(one.loose(metric), "lost_from")),
                *(dose_words(one.strict(metric)), dose_words(one.loose(metric))),
                f"{verdict.get('verdict', MISSING)}{level}",
                with_interval(
                    *(verdict.get(f"steepest_share{end}") for end in ("", "_low", "_high")),
                    2,  # type: ignore[arg-type]
                ),
                fixed(verdict.get("rise_width"), 1),
            ]
        )
    low, high = share(shares[0]), share(shares[-1])
    header = [
        "model",
        "method",
        f"kept through, at {low}",
        f"lost from, at {high}",
        f"dose at {low}",
        f"dose at {high}",
    ]
    return table([*header, "set size", "steepest share", "width"], body, left=4)


def steepness(verdicts: Sequence[Record]) -> str:
    """How often a curve of set size is a threshold, a slope, or neither can be shown."""
    averages = [one for one in verdicts if (one["metric"], one["task"]) == (PRIMARY, MACRO)]
    long = [one for one in averages if one["jump"] is not None]
    counts = Counter(str(one["verdict"]) for one in long)
    said = ", ".join(f"{number_of} {name}" for name, number_of in sorted(counts.items()))
    short = len(averages) - len(long)
    return (
        f"Of {count(len(averages), 'curve')} (averages over tasks), by verdict: {said or 'none can be judged'}"
        + (f"; {short} with too few levels to be judged" if short else "")
        + "."
    )


def decided(curves: Sequence[Headline], metric: str) -> str:
    """On how many curves at most one level is not known."""
    few = sum(sum(text(level, "state") == "not_known" for level in levels(one.strict(metric))) <= 1 for one in curves)
    return f"At most one level is not known on {few} of {count(len(curves), 'curve')}."


def said(*words: Words) -> str:
    """Sentences of the leaderboard in Markdown, as they stand there."""
    return "\n\n".join(list(markdown_section(Section("", words)))[1:])


def _level(record: Mapping[str, object], key: str) -> str:
    return code(text(record, key)) if text(record, key) else "no level"


def _loss(level: Mapping[str, object]) -> str:
    return with_interval(number(level, "loss"), number(level, "low"), number(level, "high"), 2)


def texts(records: Mapping[str, Sequence[Record]], lead: Lead, missing: str) -> dict[str, str]:
    """Every place of the page by its name."""
    dosed, shares = records[DOSES], tolerances(records[DOSES])
    curves = [one for one in headlines(dosed) if known(one, lead.metric)]
    return {
        "cells": escape(missing) or "Every cell of its configuration is there.",
        "accuracy": said(by_accuracy(records.get(PASSED), dosed, records[DECOUPLING], lead))
        + "\n\n"
        + accuracy_holds(curves, lead.metric),
        "levels": levels_table(curves, records[DECOUPLING], lead.metric),
        "size": said(by_size(records[SCALE], lead)),
        "sizes": sizes_tables(records[SCALE]),
        "kept": said(kept(dosed, lead)) + f" {decided(curves, lead.metric)}",
        "steepness": steepness(records[VERDICTS]),
        "shapes": shapes_table(curves, records[VERDICTS], lead.metric, shares),
    }


def of_snapshot(folder: Path) -> dict[str, str]:
    """The same from the files of a snapshot."""
    records = {
        name: json.loads((folder / name).read_text(encoding="utf-8")) for name in ANALYSES if (folder / name).is_file()
    }
    config = read_config(folder / "config.yaml")
    return texts(records, lead_of(config), unfinished(config, load_cells([folder]), read_failures(folder)))


def main() -> None:
    """Write every sentence and table between its markers."""
    parser = argparse.ArgumentParser(description="Sentences and tables of docs/findings.md from a snapshot.")
    parser.add_argument("snapshot", type=Path, nargs="?", default=SNAPSHOT)
    folder = parser.parse_args().snapshot
    places = {name: marks(name) for name in PLACES}
    for start, end in places.values():
        check_markers(DOCUMENT, start, end)
    found = of_snapshot(folder)
    for name, (start, end) in places.items():
        write_between(DOCUMENT, start, end, found[name])


if __name__ == "__main__":
    main()
