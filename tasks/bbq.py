"""BBQ: questions about two people of whom a stereotype says something; from the files that the user fetches.

Slices: ``context:ambiguous`` (the text does not say, "unknown" is right) and ``context:disambiguated``;
``polarity:negative`` and ``polarity:non-negative``; and for disambiguated items whose data names the stereotyped
groups, ``direction:stereotyped`` (the right answer is what the stereotype expects), ``direction:counter-stereotyped``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from suite.errors import SuiteError
from suite.task import Question, Task, content_hash
from suite.tasks.external import Place, find, folders, located, options, questions

CATEGORIES = (
    "Age",
    "Disability_status",
    "Gender_identity",
    "Nationality",
    "Physical_appearance",
    "Race_ethnicity",
    "Race_x_SES",
    "Race_x_gender",
    "Religion",
    "SES",
    "Sexual_orientation",
)
PLACE = Place(
    ("bbq.jsonl", "bbq_6cat.jsonl"),
    "data/*.jsonl (Age.jsonl, ...) from github.com/nyu-mll/BBQ",
)

_CONTEXTS = {"ambig": "context:ambiguous", "disambig": "context:disambiguated"}
_POLARITIES = {"neg": "polarity:negative", "nonneg": "polarity:non-negative"}


def load() -> tuple[Question, ...]:
    """Every question of the files found, 3 options each; the category is the subject, a template one group.

    Looked for: the authors' file of each category (those that are there), else one file with all of them.

    Raises:
        SuiteError: no file, or bad data with its line.
    """
    own = tuple(file for folder in folders() for name in CATEGORIES if (file := located(folder, f"{name}.jsonl")))
    return questions(_question, *(own or (find("bbq", PLACE),)))


def _question(record: Mapping[str, Any], _: int, where: str) -> tuple[Question, str]:
    """Authors' format, or ``choices`` with ``answer_index``."""
    choices = options(record, "ans", 3, where)
    answer = record.get("answer_index", record.get("label"))
    category = str(record.get("subject") or record.get("category") or "")
    condition, polarity = str(record.get("context_condition")), str(record.get("question_polarity"))
    if isinstance(answer, bool) or answer not in (0, 1, 2):
        raise SuiteError(f"{where}: the answer {answer!r} is not among the options 0 to 2")
    if condition not in _CONTEXTS or polarity not in _POLARITIES:
        raise SuiteError(
            f"{where}: 'context_condition' must be one of {', '.join(_CONTEXTS)} and 'question_polarity' one of "
            f"{', '.join(_POLARITIES)}"
        )
    slices = [_CONTEXTS[condition], _POLARITIES[polarity]]
    expected = stereotyped_answer(record)
    if condition == "disambig" and expected is not None:
        slices.append("direction:stereotyped" if expected == answer else "direction:counter-stereotyped")
    number = str(record.get("id") or record.get("example_id", "")).rpartition("/")[2]
    item = Question(
        id=f"bbq/{category}/{number}",
        question=str(record.get("question") or ""),
        choices=choices,
        answer=int(answer),
        context=str(record.get("context") or ""),
        subject=category,
        slices=tuple(slices),
    )
    return item, f"{category}\0{record.get('question_index')}"


def stereotyped_answer(record: Mapping[str, Any]) -> int | None:
    """The option that the stereotype expects, None where the data does not say.

    For a negative question that is the person of a stereotyped group, for a non-negative one the other person. A person
    belongs to the groups named in ``answer_info``; the answer is known only where exactly one of the two people is of a
    stereotyped group.
    """
    info, more = record.get("answer_info"), record.get("additional_metadata")
    if not isinstance(info, Mapping) or not isinstance(more, Mapping):
        return None
    groups = {_plain(group) for group in _listed(more.get("stereotyped_groups"))}
    people = {}
    for number in range(3):
        words = [_plain(word) for word in _listed(info.get(f"ans{number}"))]
        if words and words[-1] != "unknown":
            people[number] = bool(groups & set(words))
    if len(people) != 2 or sum(people.values()) != 1:
        return None
    negative = record.get("question_polarity") == "neg"
    return next(number for number, stereotyped in people.items() if stereotyped == negative)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(name: object) -> str:
    """Group names without their differences in spelling: ``lowSES`` and ``low SES``, ``F`` and ``woman``."""
    text = re.sub(r"[^a-z]", "", str(name).lower())
    return {"f": "woman", "female": "woman", "girl": "woman", "m": "man", "male": "man", "boy": "man"}.get(text, text)


TASK = Task(
    name="bbq",
    title="BBQ (Bias Benchmark for Question Answering)",
    paper="arXiv:2110.08193",
    licence="CC-BY-4.0",
    source="https://github.com/nyu-mll/BBQ",
    revision="sha256 of the items, known once the files are there",
    kind="fairness",
    options="3",
    scoring="cloze-sum",
    load=load,
    needs=PLACE.fetch,
    locate=lambda: content_hash(load()),
)
