"""A comparison as text: two tables at a terminal, one in a pipe, and what a reader must know beside them."""

from __future__ import annotations

from collections.abc import Mapping

from suite.comparison.records import Comparison
from suite.decisions.report import gate_lines
from suite.tables import at_terminal, print_table

ACCURACY = {
    "n": "items",
    "lost_at_most": "lost at most",
    "lost_at_least": "at least",
    "accuracy_dense": "dense",
    "accuracy": "compressed",
    "flips_to_wrong": "to wrong",
    "flips_to_right": "to right",
    "mcnemar_p": "McNemar p",
    "accuracy_change_detectable": "detectable",
}
CERTAINTY = {
    "set_size_dense": "set size dense",
    "set_size": "compressed",
    "brier_ts_dense": "Brier dense",
    "brier_ts": "compressed",
    "brier_ts_change": "change",
    "lac_transfer_coverage": "coverage at dense's threshold",
    "lac_transfer_set_size": "with set size",
}
"""What is shown of a record, and what it is called at a terminal."""


def print_comparison(comparison: Comparison) -> None:
    """Print the figures on stdout: accuracy lost first, then certainty; in a pipe one table under the records' keys."""
    if not at_terminal():
        keys = (*ACCURACY, *CERTAINTY, *(() if comparison.judged is None else ("decision", "reason")))
        _print(comparison, {key: key for key in keys})
        return
    print(f"dense: {comparison.dense}\ncompressed: {comparison.compressed}")
    print("\naccuracy; lost at most, and at least: one-sided 95 % bounds on these items, below 0 is a gain")
    _print(comparison, ACCURACY)
    if any(record["kind"] != "scores" for record in comparison.records):
        print("\ncertainty")
        _print(comparison, CERTAINTY)
    if comparison.judged is not None:
        print("\n" + "\n".join(gate_lines([comparison.judged])))


def _print(comparison: Comparison, columns: Mapping[str, str]) -> None:
    named = {"task": "task", **columns}
    print_table(list(named.values()), [[record.get(key) for key in named] for record in comparison.records])


def remarks(comparison: Comparison) -> list[str]:
    """What a reader must know beside the figures."""
    lines = [*comparison.remarks, *(comparison.judged or {}).get("notes", ())]
    for record in comparison.records:
        for end, name in (("_dense", "dense"), ("", "compressed")):
            ours, theirs = record[f"accuracy{end}"], record[f"accuracy_lm_eval{end}"]
            if ours is not None and abs(ours - theirs) > 1e-9:
                lines.append(
                    f"{record['task']}: {record['metric']} of {name} is {theirs:.6g} by the first of tied options, "
                    f"{ours:.6g} with the credit shared"
                )
        if record["kind"] == "scores":
            lines.append(f"{record['task']}: {record['notes']['brier_ts']}, so accuracy ({record['metric']}) is all")
    return lines
