"""Make a file of six-option questions from a raw public set, or from records of your own with the same fields.

    .venv/bin/python -m scripts.build_six_options SOURCE RAW_FILE --out my-task.json [--count 10000] [--seed 0]

SOURCE is MMLU, CosmosQA, HellaSwag, Halu-OpenDialKG or Halu-CNN/DailyMail; RAW_FILE is JSONL, a JSON list, CSV with a
header line or Parquet. docs/tasks.md lists the fields. `suite score --task my-task.json` takes the result.

Every draw follows from the seed and the record's own text, so the order of the raw file changes neither which options a
question gets nor their order.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import SuiteError, unknown_name
from suite.tasks.external import records
from suite.tasks.six_option_file import LABELS, WORDINGS
from suite.tasks.ye2024 import UNSURE

QUESTIONS = {
    "HellaSwag": "Which of the options is the most likely follow-up of the context?",
    "Halu-OpenDialKG": "Which of the options is the best response to the dialogue?",
    "Halu-CNN/DailyMail": "Which of the options is the best summary of the document?",
}
"""What is asked where the raw set has no question; this suite's own words."""


@dataclass(frozen=True)
class Raw:
    """A raw record with what the builders need; `foreign` options are still to be drawn."""

    context: str
    question: str
    options: tuple[str, ...]
    answer: int
    foreign: int = 0


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        records: questions in the file's format, in their final order, ids 0, 1, ...
        left_out: how many raw records were not used, by reason.
    """

    records: list[dict[str, Any]]
    left_out: Mapping[str, int]


def build(
    source: str, raw: Iterable[tuple[str, Mapping[str, Any]]], *, seed: int = 0, count: int | None = None
) -> Built:
    """Questions with the options A to D of a raw set, E "I don't know" and F "None of the above".

    Args:
        source: one of `WORDINGS`; it names the raw set and decides how questions will be asked.
        raw: (place for messages, record), see docs/tasks.md for the fields.
        seed: of every draw.
        count: how many questions to keep, drawn at random; None for all.

    Raises:
        SuiteError: an unknown source, a record without the fields of its set (with its place), or too few records.
    """
    if source not in WORDINGS:
        raise unknown_name("source", source, WORDINGS)
    left_out: Counter[str] = Counter()
    usable: dict[str, Raw] = {}
    for where, record in raw:
        try:
            item = _READERS[source](record)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise SuiteError(f"{where}: not a record of {source}: {reason}") from error
        problem = _problem(item)
        key = "\0".join((item.context, item.question, *item.options))
        if problem:
            left_out[problem] += 1
        elif key in usable:
            left_out["same record again"] += 1
        else:
            usable[key] = item
    order = sorted(usable, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode()).digest())
    needed = max(WORDINGS[source].demonstrations) + 2
    if len(order) < max(needed, count or 0):
        raise SuiteError(
            f"{len(order)} usable records of {source}, {max(needed, count or 0)} are needed; left out: "
            f"{', '.join(f'{number} {reason}' for reason, number in sorted(left_out.items())) or 'none'}"
        )
    right = sorted({item.options[item.answer] for item in usable.values()})
    records: list[dict[str, Any]] = []
    for key in order[:count]:
        item = usable[key]
        options, answer = _options(
            item, right, random.Random(hashlib.sha256(f"options\0{seed}\0{key}".encode()).digest())
        )
        records.append(
            {
                "id": len(records),
                "source": source,
                "task": WORDINGS[source].topic,
                "context": item.context,
                "question": item.question,
                "choices": dict(zip(LABELS, (*options, *UNSURE), strict=True)),
                "answer": LABELS[answer],
            }
        )
    return Built(records, dict(left_out))


def _options(item: Raw, right: Sequence[str], draw: random.Random) -> tuple[list[str], int]:
    """The four options in the order they are shown, and where the right one is."""
    if not item.foreign:
        return list(item.options), item.answer
    own = set(item.options)
    foreign: list[str] = []
    while len(foreign) < item.foreign:
        other = right[draw.randrange(len(right))]
        if other not in own:
            own.add(other)
            foreign.append(other)
    options = [*item.options, *foreign]
    answer = options[item.answer]
    draw.shuffle(options)
    return options, options.index(answer)


def _problem(item: Raw) -> str:
    """Why a record cannot become a question, or ""."""
    texts = [text.strip() for text in item.options]
    if not item.question.strip():
        return "empty question"
    if not all(texts):
        return "empty option"
    if len({*texts, *UNSURE}) < len(texts) + len(UNSURE):
        return "identical options"
    if not 0 <= item.answer < len(texts):
        return "answer outside the options"
    return ""


def _mmlu(record: Mapping[str, Any]) -> Raw:
    options = record["choices"] if "choices" in record else [record[label] for label in "ABCD"]
    answer = record["answer"]
    return Raw(
        "", _text(record["question"]), _four(options), "ABCD".index(answer) if answer in [*"ABCD"] else int(answer)
    )


def _cosmosqa(record: Mapping[str, Any]) -> Raw:
    options = [record[f"answer{number}"] for number in range(4)]
    return Raw(_text(record["context"]), _text(record["question"]), _four(options), int(record["label"]))


def _hellaswag(record: Mapping[str, Any]) -> Raw:
    return Raw(_text(record["ctx"]), QUESTIONS["HellaSwag"], _four(record["endings"]), int(record["label"]))


def _dialogue(record: Mapping[str, Any]) -> Raw:
    options = (_text(record["right_response"]), _text(record["hallucinated_response"]))
    return Raw(_text(record["dialogue_history"]), QUESTIONS["Halu-OpenDialKG"], options, 0, foreign=2)


def _summary(record: Mapping[str, Any]) -> Raw:
    options = (_text(record["right_summary"]), _text(record["hallucinated_summary"]))
    return Raw(_text(record["document"]), QUESTIONS["Halu-CNN/DailyMail"], options, 0, foreign=2)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _four(options: Sequence[object]) -> tuple[str, ...]:
    if isinstance(options, str) or len(options) != 4:
        raise ValueError("four options are needed")
    return tuple(_text(option) for option in options)


_READERS: dict[str, Callable[[Mapping[str, Any]], Raw]] = {
    "MMLU": _mmlu,
    "CosmosQA": _cosmosqa,
    "HellaSwag": _hellaswag,
    "Halu-OpenDialKG": _dialogue,
    "Halu-CNN/DailyMail": _summary,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Build and write; 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("raw", type=Path, metavar="RAW_FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="TASK.json")
    parser.add_argument("--count", type=int, help="questions to keep; default: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        built = build(args.source, records(args.raw), seed=args.seed, count=args.count)
        args.out.write_text(json.dumps(built.records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except (SuiteError, OSError) as error:
        print(f"build_six_options: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(built.records)} questions")
    for reason, number in sorted(built.left_out.items()):
        print(f"left out: {number} ({reason})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
