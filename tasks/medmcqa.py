"""MedMCQA: questions of Indian medical entrance exams, validation split.

4,179 questions with 4 options; ids and subjects are the dataset's own. The file has 4,183; four are left out because
their correct answer stands among the options twice. Seventeen items with two identical wrong options stay.
"""

from __future__ import annotations

from suite.task import Question, Task
from suite.tasks.embedded import Row, Split


def _question(doc: Row, identifier: str) -> Question:
    return Question(identifier, doc["question"], tuple(doc["choices"]), doc["gold"], subject=doc["subject_name"])


SPLIT = Split(
    "medmcqa/validation",
    "oe_eval_tasks/medmcqa/rc_5shot/requests.jsonl.gz",
    "54a3ae0d9bc23a092de7a18964d5f6cdb211d27010476862a263cd0a7a43edbe",
    _question,
)
TASK = Task(
    name="medmcqa",
    title="MedMCQA",
    paper="arXiv:2203.14371",
    licence="Apache-2.0",
    source="https://medmcqa.github.io",
    revision=SPLIT.revision,
    kind="medical",
    options="4",
    scoring="cloze-norm",
    load=SPLIT.load,
    cloze="Question: {question}\nAnswer:",
    items=4179,
)
