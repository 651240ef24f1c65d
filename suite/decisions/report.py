"""Decisions of the gate in words: every line begins with what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from suite.decisions.gate import ACCEPT, BLOCKED, EXCEEDED, NOT_MEASURED, REJECT, REVIEW, WITHIN
from suite.tables import aligned


def gate_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a variant that begins with what was lost, then the decision and what it rests on."""
    rows = []
    for record in records:
        rows.append((lost(record), decided(record), record["model"], record["variant"], marked(record), why(record)))
    return aligned(rows)


SHOWN = ("lost_at_most", "lost_at_least", "decision", "reason", "model", "variant", "attempt", "unlocked", "why")


def gate_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """One row a variant with the keys `SHOWN`: losses of accuracy as fractions, reasons as `gate_lines` has them."""
    return [{**{key: record[key] for key in SHOWN[:-1]}, "why": why(record)} for record in records]


def marked(record: Mapping[str, Any]) -> str:
    """Which attempt it is on these items, and how many of its cells no lock had fixed.

    >>> marked({"attempt": 2, "unlocked": 4})
    'attempt 2 on these items, unlocked (4 cells)'
    """
    count = record["unlocked"]
    said = f", unlocked ({count} cell{'s' * (count != 1)})" if count else ", locked"
    return f"attempt {record['attempt']} on these items{said}"


def junit(records: Sequence[Mapping[str, Any]]) -> str:
    """Decisions as a JUnit file, a test a variant: a rejected one fails, one under review is an error."""
    suites = ElementTree.Element("testsuites", name="suite gate", tests=str(len(records)))
    for model in dict.fromkeys(record["model"] for record in records):
        mine = [record for record in records if record["model"] == model]
        counts = {name: str(sum(record["decision"] == name for record in mine)) for name in (REJECT, REVIEW)}
        policy = str(mine[0]["policy"])
        part = ElementTree.SubElement(
            suites, "testsuite", name=model, tests=str(len(mine)), failures=counts[REJECT], errors=counts[REVIEW]
        )
        for record in mine:
            case = ElementTree.SubElement(part, "testcase", classname=f"{policy}.{model}", name=record["variant"])
            if record["decision"] != ACCEPT:
                kind = "failure" if record["decision"] == REJECT else "error"
                found = ElementTree.SubElement(case, kind, type=decided(record), message=lost(record))
                found.text = f"{why(record)}; {marked(record)}"
            else:
                ElementTree.SubElement(case, "system-out").text = f"{lost(record)}; {marked(record)}"
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Decisions as a Markdown table, for the summary of a pipeline."""
    policy = records[0]
    out = [f"### Policy {policy['policy']} ({policy['policy_hash'][:19]})", ""]
    out += ["| lost | decision | model | variant | attempt | why |", "|---|---|---|---|---|---|"]
    for record in records:
        cells = (
            lost(record),
            f"**{decided(record)}**",
            record["model"],
            record["variant"],
            marked(record),
            why(record),
        )
        out.append("| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(out) + "\n"


def decided(record: Mapping[str, Any]) -> str:
    """The decision with its reason.

    >>> decided({"decision": "review", "reason": "in_band"})
    'review (in_band)'
    """
    return str(record["decision"]) + (f" ({record['reason']})" if record["reason"] else "")


def lost(record: Mapping[str, Any]) -> str:
    """What was lost of accuracy, on average over tasks.

    >>> lost({"lost_at_most": 0.0213, "lost_at_least": -0.004})
    'accuracy: lost at most 2.1, at least -0.4 points'
    """
    most, least = record["lost_at_most"], record["lost_at_least"]
    if most is None or least is None:
        return "accuracy: not measured"
    return f"accuracy: lost at most {100 * most:.1f}, at least {100 * least:.1f} points"


def why(record: Mapping[str, Any]) -> str:
    """What a decision rests on: the limits that were not met, obstacles; for an acceptance how many were."""
    lines = [*record["criteria"], *record["red_lines"]]
    wanted = {REJECT: EXCEEDED}.get(record["decision"], record["reason"])
    said = [line_said(one) for one in lines if one["outcome"] == wanted]
    if record["reason"] == BLOCKED:
        said = [*record["notes"]] or [
            f"{one['metric']} ({one['scope']}): {one['note']}" for one in lines if one["outcome"] == NOT_MEASURED
        ]
    if record["decision"] == ACCEPT:
        said = [f"{sum(one['outcome'] == WITHIN for one in lines)} limits hold"]
    beside = [] if record["reason"] == BLOCKED else record["notes"]
    more = [f"and {len(said) - 2} more"] * (len(said) > 2)
    return "; ".join([*said[:2], *more, *beside])


def line_said(line: Mapping[str, Any]) -> str:
    """One limit in words."""

    def shown(value: float | None) -> str:
        return "?" if value is None else f"{value:.3f}"

    unit = {"points": "", "relative": " relative", "headroom": " of headroom"}[line["unit"]]
    ends = f"{shown(line['lower'])} to {shown(line['upper'])}"
    text = f"{line['metric']} ({line['scope']}): loss {ends}{unit}, limit {line['limit']:g}"
    if line["items_to_decide"]:
        text += f", {line['items_to_decide']} items would tell"
    return text
