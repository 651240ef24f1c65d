"""index.html: the leaderboard as one static page that asks no network for anything.

Names of models and variants come from strangers. They reach the page in two ways, as escaped HTML and as JSON that the
page's script turns into text nodes; a content security policy admits the page's own script and style and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from suite.cell import Cell
from suite.publish.definitions import HOW_TO_READ, MARGINAL
from suite.publish.fields import Row, number, one_line, text
from suite.publish.highlights import published_highlights
from suite.publish.numerals import fixed, parameters, with_interval
from suite.publish.order import scope_of, setting_names
from suite.publish.page_data import page_data
from suite.publish.seed_sections import HEADER, MEANING, seed_line
from suite.publish.seed_sections import TITLE as SEEDS
from suite.publish.standings import Standings
from suite.publish.standings_tables import (
    GROUP_RULE,
    PAIR_RULE,
    PAIR_TITLE,
    change_words,
    group_lines,
    no_pair_words,
)
from suite.verdicts.curves import record_title

TITLE = "Does a compressed model still know when it may be wrong?"
SHOWN_PAIRS = 200

# key, heading, what a click sorts first, explanation
HEADS = (
    ("model", "model", "lower", "the language model"),
    ("variant", "variant and flags", "lower", "how it was compressed; opens curves and reliability"),
    ("params", "parameters", "lower", "weights of the model, embeddings included"),
    ("bits", "bits", "lower", "measured bits a weight, embeddings included"),
    ("megabytes", "MB", "lower", "measured size of the weights in millions of bytes"),
    ("accuracy", "accuracy", "higher", "fraction of items whose first choice is right; higher is better"),
    ("accuracy_group", "acc. group", "lower", "1 holds the best and all not shown to be worse"),
    ("accuracy_change", "acc. change", "lower", "against dense, on the same items"),
    ("set_size", "set size", "lower", "options kept so that the right one is among them; lower is better"),
    ("set_size_group", "set group", "lower", "1 holds the best and all not shown to be worse"),
    ("set_size_change", "set change", "higher", "against dense, on the same items; growth is loss"),
    ("coverage", "coverage", "lower", "of LAC sets, threshold of the variant's own; should be near the target"),
    (
        "transfer",
        "dense threshold",
        "lower",
        "coverage when nobody recalibrates; below the target the sets are too small",
    ),
    ("ece", "ECE", "lower", "calibration error; after temperature scaling for cloze scores"),
    ("nll", "NLL", "lower", "negative log-likelihood in nats; after temperature scaling for cloze scores"),
)
LOOKS = {
    **{"model": "left wide model", "variant": "left wide variant", "params": "number size"},
    **dict.fromkeys(("bits", "megabytes", "accuracy_group", "set_size_group", "ece"), "number short"),
    **dict.fromkeys(("accuracy_change", "set_size_change"), "number long"),
}
"""Classes of a column, which give it its width; the others are "number". Widths are fixed, see page.css."""


def leaderboard_html(
    rows: Sequence[Row],
    cells: Sequence[Cell],
    standings: Standings,
    verdicts: Sequence[Mapping[str, Any]] | None = None,
    *,
    seeds: Sequence[Row] = (),
    unfinished: str = "",
) -> bytes:
    """The page, UTF-8; the same input gives the same bytes.

    Args:
        rows: rounded and sorted.
        cells: behind the rows, for reliability diagrams.
        standings: groups and pairs of equal size.
        verdicts: of `verdicts.json`, where there are any.
        seeds: spread over seeds of the sample text, where there are any.
        unfinished: what is said where cells of the configuration are missing.
    """
    folder = files("suite.publish")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    data = page_data(rows, cells, standings)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Leaderboard: {html.escape(TITLE)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{html.escape(TITLE)}</h1>",
        "<details><summary>How to read this</summary>",
        f"<p>{_prose(HOW_TO_READ.replace('*', '').replace('`', ''))}</p></details>",
        f'<p class="quiet">{html.escape(_protocol(rows))} {html.escape(MARGINAL)}</p>',
        *([f"<p><strong>{html.escape(unfinished)}</strong></p>"] if unfinished else []),
        *_highlights(rows),
        *_controls(rows, data),
        *_board(),
        *_groups(standings),
        *_pairs(standings),
        *_verdicts(verdicts),
        *_seeds(seeds, rows),
        '<h2>Behind this page</h2><p class="quiet">Every figure with its interval: <a href="rows.csv">rows.csv</a>, '
        '<a href="rows.parquet">rows.parquet</a>, <a href="LEADERBOARD.md">LEADERBOARD.md</a>. Where it comes from: '
        '<a href="manifest.json">manifest.json</a>. <code>suite verify</code> recomputes all of it from the stored '
        "scores.</p>",
        "</main>",
        _DIALOG,
        f'<script type="application/json" id="data">{_json(data)}</script>',
        f"<script>{script}</script>",
        "</body>",
        "</html>",
    ]
    return ("\n".join(parts) + "\n").encode("utf-8", errors="replace")


_DIALOG = (
    '<dialog id="detail" aria-labelledby="detail-title"><header><h2 id="detail-title"></h2>'
    '<button type="button" id="close">Close</button></header><div id="detail-body"></div></dialog>'
)


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")


def _json(data: Mapping[str, Any]) -> str:
    """JSON that can stand inside a script element: no sign in it can end the element or open a comment."""
    shown = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return shown.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _prose(words: str) -> str:
    """The text of a paragraph: escaped, and no line ends between a number and its percent sign."""
    return html.escape(words).replace(" %", "\u00a0%")


def _protocol(rows: Sequence[Row]) -> str:
    found = sorted({(scope_of(row).protocol, scope_of(row).alpha) for row in rows})
    return " ".join(f"Protocol {name}, α = {alpha:g}, target coverage {1 - alpha:g}." for name, alpha in found)


def _highlights(rows: Sequence[Row]) -> list[str]:
    sentences = published_highlights(rows)
    if not sentences:
        return ["<p>No cell has been scored.</p>"]
    items = []
    for sentence in sentences:
        topic, _, rest = sentence.partition(": ")
        items.append(f"<li><strong>{html.escape(topic)}:</strong> {_prose(rest)}</li>")
    return ["<h2>What to look at first</h2>", "<ol>", *items, "</ol>"]


def _options(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<option value="{html.escape(value)}">{html.escape(shown)}</option>' for value, shown in pairs)


def _controls(rows: Sequence[Row], data: Mapping[str, Any]) -> list[str]:
    sizes = sorted({size for row in rows if (size := number(row, "params_b")) is not None})
    methods = sorted({one_line(text(row, "method")) for row in rows} - {"dense", ""})
    views = [(str(index), name) for index, name in enumerate(data["views"])]
    models = [("", "all models"), *((str(index), name) for index, name in enumerate(data["models"]))]
    ways = [("", "size and severity")]
    for key, heading, better, _ in HEADS:
        both = [(f"{key} down", f"{heading}, high first"), (f"{key} up", f"{heading}, low first")]
        ways += both if better == "higher" else both[::-1]
    return [
        '<h2 id="board-title">Leaderboard</h2>',
        '<div class="controls" role="group" aria-label="Filters">',
        f'<label>task<select id="view">{_options(views)}</select></label>',
        f'<label>model<select id="model">{_options(models)}</select></label>',
        '<label>method (dense stays)<select id="method">'
        f"{_options([('', 'all methods'), *((name, name) for name in methods)])}</select></label>",
        '<label>largest model<select id="params">'
        f"{_options([('', 'any size'), *((repr(size), parameters(size)) for size in sizes)])}</select></label>",
        '<label>at most, MB<input id="megabytes" type="number" min="0" step="any" inputmode="decimal"></label>',
        f'<label class="narrow">sort by<select id="sort">{_options(ways)}</select></label>',
        '<button type="button" id="reset">Reset</button>',
        "</div>",
        '<p class="quiet"><span id="count" role="status" aria-live="polite"></span>. Brackets are 95&nbsp;% intervals. '
        "Choose a variant to see its curves and its reliability.</p>",
        "<noscript><p>Sorting and charts need scripts; the same figures are in "
        '<a href="LEADERBOARD.md">LEADERBOARD.md</a>.</p></noscript>',
    ]


def _board() -> list[str]:
    heads = []
    for key, heading, better, words in HEADS:
        heads.append(
            f'<th role="columnheader" class="{LOOKS.get(key, "number")}" data-key="{key}" data-label="{heading}" '
            f'data-better="{better}" aria-sort="none" title="{html.escape(words)}">'
            f'<button type="button">{heading}</button></th>'
        )
    return [
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="board-title">',
        '<table class="board" role="table"><thead role="rowgroup">'
        f'<tr role="row">{"".join(heads)}</tr></thead><tbody role="rowgroup"></tbody></table>',
        "</div>",
        '<p><button type="button" id="more" hidden>Show all rows</button></p>',
    ]


def _table(header: Sequence[str], body: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    def cells(tag: str, line: Sequence[str]) -> str:
        scope, side = ' scope="col"' if tag == "th" else "", ' class="left"'
        return "".join(
            f"<{tag}{scope}{side if index in left else ''}>{html.escape(value)}</{tag}>"
            for index, value in enumerate(line)
        )

    return [
        '<div class="scroll" tabindex="0" role="region" aria-label="table">',
        f"<table><thead><tr>{cells('th', header)}</tr></thead>",
        "<tbody>",
        *(f"<tr>{cells('td', line)}</tr>" for line in body),
        "</tbody></table></div>",
    ]


def _groups(standings: Standings) -> list[str]:
    lines = group_lines(standings)
    if not lines:
        return []
    body = []
    for line in lines:
        names = ", ".join(f"{one_line(model)} {one_line(variant)}" for model, variant in line.members)
        more = f" and {line.entries - len(line.members)} more" if line.entries > len(line.members) else ""
        body.append(
            [one_line(line.task), line.metric, str(line.group), str(line.entries), line.best, line.worst, names + more]
        )
    header = ("task", "metric", "group", "entries", "best", "worst", "members")
    left_out = "; ".join(f"{reason}: {count}" for reason, count in standings.left_out.items())
    return [
        "<h2>Groups: what these items can tell apart</h2>",
        f"<p>{_prose(GROUP_RULE)} The average is over {html.escape(', '.join(map(one_line, standings.tasks)))}."
        + (f" In no group: {html.escape(left_out)}." if left_out else "")
        + "</p>",
        *_table(header, body, left=(0, 1, 6)),
    ]


def _pairs(standings: Standings) -> list[str]:
    if not standings.pairs:
        near = standings.nearest
        return [f"<h2>{PAIR_TITLE}</h2>", f"<p>{_prose(one_line(no_pair_words(near)))}</p>"] if near else []
    body = []
    for pair in standings.pairs[:SHOWN_PAIRS]:
        line = []
        for name in ("bigger", "smaller"):
            line.append(f"{one_line(text(pair, name))} ({parameters(number(pair, f'{name}_params_b'))})")
            line.append(one_line(text(pair, f"{name}_variant")))
            line += [fixed(number(pair, f"{name}_bits"), 2), fixed(number(pair, f"{name}_megabytes"), 1)]
        body.append([*line, change_words(pair, "accuracy"), change_words(pair, "set_size")])
    side = ("variant", "bits", "MB")
    header = ("bigger", *side, "smaller", *side, "accuracy, bigger − smaller", "set size, bigger − smaller")
    rest = len(standings.pairs) - SHOWN_PAIRS
    return [
        f"<h2>{PAIR_TITLE}</h2>",
        f"<p>{_prose(PAIR_RULE)}</p>",
        *_table(header, body, left=(0, 1, 4, 5)),
        *([f'<p class="quiet">{rest} more are in equal-megabytes.csv.</p>'] if rest > 0 else []),
    ]


def _verdicts(verdicts: Sequence[Mapping[str, Any]] | None) -> list[str]:
    if not verdicts:
        return []
    keys = ("model", "method", "task", "metric", "verdict", "level")
    body = [
        [
            one_line(text(verdict, "model")),
            one_line(record_title(verdict)),
            *(one_line(text(verdict, key)) or "–" for key in keys[2:]),
            with_interval(
                number(verdict, "jump"), number(verdict, "jump_low"), number(verdict, "jump_high"), 3, signed=True
            ),
            fixed(number(verdict, "p_value"), 3),
        ]
        for verdict in verdicts
    ]
    return [
        "<h2>Where it breaks</h2>",
        "<p>One line a curve and metric: whether it falls off at a threshold, gradually, or not at all. The p-value is "
        "adjusted for the number of curves; every figure is in verdicts.json.</p>",
        f"<details><summary>{len(body)} verdicts</summary>",
        *_table((*keys, "jump", "p"), body, left=(0, 1, 2, 3, 4)),
        "</details>",
    ]


def _seeds(seeds: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    if not seeds:
        return []
    names = setting_names(rows)
    body = [[one_line(value) for value in seed_line(record, names)] for record in seeds]
    return [f"<h2>{SEEDS}</h2>", f"<p>{_prose(MEANING)}</p>", *_table(HEADER, body, left=(0, 1, 2, 3))]
