"""The five tasks of arXiv 2401.12794: 10,000 six-option questions each, from the files its authors published.

E is always "I don't know", F always "None of the above", neither is ever right. Ids are the row numbers, as in scores
imported from the authors' repository. The worked examples are rows of the same files and are never scored; rows that
the published analysis leaves out besides (it drops 1, 3, 5, 7 and 9 for every task) are marked, so that protocol
``ye2024`` splits a cell of this task exactly as it splits the published logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from suite.errors import SuiteError
from suite.files import unpacked_name
from suite.task import Question, Task, content_hash
from suite.tasks import mmlu
from suite.tasks.external import Place, find, records
from suite.tasks.six_option_file import (
    IDENTICAL,
    LABELS,
    PUBLISHED_DROPPED_ROWS,
    WINDOW,
    WORDINGS,
    SixOptions,
    read,
    split,
)

HUB = "ErikYip/LLM-Uncertainty-Bench"
ORDER = ("mmlu_10k_order.jsonl", "lub_mmlu_10k.jsonl.gz", "lub_mmlu_10k.jsonl")
UNSURE = ("I don't know", "None of the above")
ROWS = 10_000

_FILES = {
    "qa": ("mmlu_10k", "MMLU", "question answering, from MMLU"),
    "rc": ("cosmosqa_10k", "CosmosQA", "reading comprehension, from CosmosQA"),
    "ci": ("hellaswag_10k", "HellaSwag", "commonsense inference, from HellaSwag"),
    "drs": ("halu_dialogue", "Halu-OpenDialKG", "dialogue response selection, from HaluEval"),
    "ds": ("halu_summarization", "Halu-CNN/DailyMail", "document summarization, from HaluEval"),
}


@dataclass(frozen=True)
class Pin:
    """What the data behind the published figures is known by, as SHA-256.

    Attributes:
        answers: of the 10,000 right options as letters, in the order of the rows, without anything between.
        items: of the whole items, as in a cell's revision; "" where their text is not known.
    """

    answers: str
    items: str = ""


PUBLISHED = {
    "qa": Pin(
        "dfc2955d8d96c9c4e8a65adf513cb25037b8cc3c3a76f2490213fe5b99540776",
        "0c92a5b34346707a3f5deaf3a2d309460332e6e2f5cb4187a1369ba43b0c394d",
    ),
    "drs": Pin("42f2b83851004364e91d28075c2feaff2b09ec7545b40d5b3c935e3413ec2127"),
    "ds": Pin("42f2b83851004364e91d28075c2feaff2b09ec7545b40d5b3c935e3413ec2127"),
}
"""Right answers of three of the tasks are published beside their logits (two of them share one sequence); the texts of
``qa`` follow from MMLU. Of ``rc`` and ``ci`` nothing is known here, so their data is not pinned."""


def place(short: str) -> Place:
    """Where the file of a task is found; for ``qa`` an order file together with the embedded MMLU does, too."""
    name = f"{_FILES[short][0]}.json"
    fetch = f"{name} from the data set {HUB} on the Hugging Face hub"
    return Place((name, *(ORDER if short == "qa" else ())), fetch, hub=HUB)


def data(short: str) -> SixOptions:
    """The questions of one of the five tasks, read once.

    Raises:
        SuiteError: no such file, or a file that is not what it should be.
    """
    path = find(f"ye2024-{short}", place(short))
    return _read(short, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=5)
def _read(short: str, path: Path, _modified: int) -> SixOptions:
    found = _from_order(path) if unpacked_name(path.name) in ORDER else read(path, strict=False)
    expected = _FILES[short][1]
    if found.source != expected:
        raise SuiteError(f"{path}: its questions come from {found.source}, those of ye2024-{short} from {expected}")
    rows = {item.id for item in (*found.questions, *found.demonstrations)}
    if rows != {str(row) for row in range(len(rows))}:
        raise SuiteError(f"{path}: ids are not the row numbers 0 to {len(rows) - 1}; fetch the file again")
    _check_published(short, path, published_order((*found.questions, *found.demonstrations)))
    return found


def _check_published(short: str, path: Path, questions: Sequence[Question]) -> None:
    """Refuse data that the published figures are not about; items rebuilt from MMLU must be exactly theirs."""
    pin = PUBLISHED.get(short)
    if pin is None:
        return
    letters = "".join(LABELS[item.answer] for item in questions)
    if len(questions) != ROWS:
        differs = f"it has {len(questions):,} questions where the published data of ye2024-{short} has {ROWS:,}"
    elif hashlib.sha256(letters.encode()).hexdigest() != pin.answers:
        differs = f"its right answers are not those of the published data of ye2024-{short}"
    elif unpacked_name(path.name) in ORDER and content_hash(questions) != f"sha256:{pin.items}":
        differs = f"the questions it gives are not those of the published data of ye2024-{short}"
    else:
        return
    ask = "fetch it again, or give it as a task of its own: --task FOLDER/NAME.json"
    raise SuiteError(f"{path}: {differs}, so figures cannot be compared; {ask}")


def _from_order(path: Path) -> SixOptions:
    """The file rebuilt: the order names each row's MMLU item (``mmlu_id``), its text comes from the embedded MMLU."""
    text = mmlu.raw_items("test")
    questions = []
    for row, (where, record) in enumerate(records(path)):
        item = text.get(str(record.get("mmlu_id")))
        if item is None:
            raise SuiteError(f"{where}: 'mmlu_id' {record.get('mmlu_id')!r} is no item of MMLU's test split")
        identical = len(set(item.choices)) < len(item.choices)
        questions.append(
            Question(
                id=str(row),
                question=item.question,
                choices=(*item.choices, *UNSURE),
                answer=item.answer,
                slices=(IDENTICAL,) if identical else (),
            )
        )
    return split("MMLU", questions, str(path))


def published_order(questions: Sequence[Question]) -> list[Question]:
    """Questions by row number."""
    return sorted(questions, key=lambda item: int(item.id))


def _task(short: str) -> Task:
    name, source, title = _FILES[short]
    wording = WORDINGS[source]
    scored = [row for row in PUBLISHED_DROPPED_ROWS if row not in wording.demonstrations]

    def revision() -> str:
        found = data(short)
        return content_hash(published_order((*found.questions, *found.demonstrations)))

    return Task(
        name=f"ye2024-{short}",
        title=f"{name} of LLM-Uncertainty-Bench: {title}",
        paper="arXiv:2401.12794",
        licence="MIT (the benchmark; its sources have their own)",
        source=f"https://huggingface.co/datasets/{HUB}",
        revision="sha256 of the items, known once the file is there",
        kind=wording.kind,
        options="6",
        scoring="letter",
        load=lambda: data(short).questions,
        demonstrations=lambda: data(short).demonstrations,
        letter_styles=wording.styles(),
        items=ROWS - len(wording.demonstrations),
        needs=place(short).fetch
        + (", or an order file for the embedded MMLU" if short == "qa" else "")
        + ("; right answers are pinned" if short in PUBLISHED else "; not pinned, the revision tells data apart"),
        locate=revision,
        pinned_options=len(UNSURE),
        dropped_ids=tuple(str(row) for row in scored),
        window=WINDOW,
    )


QA, RC, CI, DRS, DS = (_task(short) for short in _FILES)
