"""CommonsenseQA: everyday questions written around one concept and its neighbours, validation split.

1,215 questions with 5 options; ids are the dataset's own. The file has 1,221; six are left out because their correct
answer stands among the options twice. Eighteen items with two identical wrong options stay.
"""

from __future__ import annotations

from suite.task import Task
from suite.tasks.embedded import Split, labelled

SPLIT = Split(
    "commonsenseqa/validation",
    "hf_datasets/tau/commonsense_qa/none/validation/data-00000-of-00001.arrow",
    "1db2816a0bac86ff6f67bcb39b53a3cf76af7fbaa6d769608bbbc1e1d0c9aed6",
    labelled,
)
TASK = Task(
    name="commonsenseqa",
    title="CommonsenseQA",
    paper="arXiv:1811.00937",
    licence="MIT",
    source="https://www.tau-nlp.org/commonsenseqa",
    revision=SPLIT.revision,
    kind="commonsense",
    options="5",
    scoring="cloze-sum",
    load=SPLIT.load,
    cloze="Question: {question}\nAnswer:",
    items=1215,
)
