"""Folders as lm-evaluation-harness 0.4.13 writes them with ``--log_samples``, of invented questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

STAMP = "2026-11-23T04-17-10.756379"
Line = dict[str, Any]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def option_lines(
    task: str, scores: np.ndarray, answers: Sequence[int], *, prefix: str = "", filter: str = "none"
) -> list[Line]:
    """One sample an item of a multiple-choice task, scored by these log-likelihoods, [items, options]."""
    lines = []
    for number, (row, right) in enumerate(zip(np.asarray(scores).tolist(), answers, strict=True)):
        options = [f"{'long ' * place}thing {place} of {number}" for place in range(len(row))]
        doc = {"q": f"Which {task} thing is {number}?", "ch": options, "gold": int(right)}
        context = f"{prefix}Question: {doc['q']}\nAnswer:"
        picked = [int(np.argmax(row)), int(np.argmax([v / len(o) for v, o in zip(row, options, strict=True)]))]
        responses = [[str(value), "False"] for value in row]
        lines.append(
            {
                "doc_id": number,
                "doc": doc,
                "target": str(int(right)),
                "arguments": {
                    f"gen_args_{place}": {"arg_0": context, "arg_1": f" {option}"}
                    for place, option in enumerate(options)
                },
                "resps": [[one] for one in responses],
                "filtered_resps": responses,
                "filter": filter,
                "metrics": ["acc", "acc_norm"],
                "doc_hash": _sha(json.dumps(doc, indent=2, ensure_ascii=False)),
                "prompt_hash": _sha(context),
                "target_hash": _sha(str(int(right))),
                "acc": float(picked[0] == right),
                "acc_norm": float(picked[1] == right),
            }
        )
    return lines


def generation_lines(
    task: str, scores: Sequence[float], *, metric: str = "exact_match", filter: str = "none"
) -> list[Line]:
    """One sample an item of a task whose answers are written, with the score of each."""
    lines = []
    for number, score in enumerate(scores):
        doc = {"q": f"What {task} is {number}?", "gold": str(number)}
        context = f"Q: {doc['q']}"
        lines.append(
            {
                "doc_id": number,
                "doc": doc,
                "target": str(number),
                "arguments": {"gen_args_0": {"arg_0": context, "arg_1": {"until": ["\n"], "do_sample": False}}},
                "resps": [[f"written {score}"]],
                "filtered_resps": [f"written {score}"],
                "filter": filter,
                "metrics": [metric],
                "doc_hash": _sha(json.dumps(doc, indent=2, ensure_ascii=False)),
                "prompt_hash": _sha(context),
                "target_hash": _sha(str(number)),
                metric: score,
            }
        )
    return lines


def write_run(
    folder: Path,
    tasks: Mapping[str, Sequence[Line]],
    *,
    model: str = "a-model",
    shots: int = 0,
    chat: str | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    group_values: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """Write the samples of each task and the results file beside them.

    Args:
        group_values: by group, what lm-eval has aggregated, such as ``{"acc,none": 0.5}``.
    """
    place = folder / model.replace("/", "__")
    place.mkdir(parents=True, exist_ok=True)
    for task, lines in tasks.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (place / f"samples_{task}_{STAMP}.jsonl").write_text(text, encoding="utf-8")
    results = {
        "results": {**{task: {"alias": task} for task in tasks}, **(group_values or {})},
        "group_subtasks": {group: list(members) for group, members in (groups or {}).items()},
        "n-shot": dict.fromkeys(tasks, shots),
        "lm_eval_version": "0.4.13",
        "chat_template": chat,
        "chat_template_sha": None if chat is None else _sha(chat),
        "config": {"model": "hf"},
        "model_name": model,
    }
    (place / f"results_{STAMP}.json").write_text(json.dumps(results), encoding="utf-8")
    return folder
