"""Built-in tasks, one file each, and tasks from JSONL files."""

from __future__ import annotations

from pathlib import Path

from suite.errors import SuiteError, unknown_name
from suite.task import Task, jsonl_task
from tasks import arc_easy, hellaswag, mmlu, openbookqa, sciq

TASKS: dict[str, Task] = {
    "arc-easy": arc_easy.TASK,
    "hellaswag": hellaswag.TASK,
    "hellaswag-activitynet": hellaswag.CAPTIONS,
    "mmlu": mmlu.TASK,
    "openbookqa": openbookqa.TASK,
    "sciq": sciq.TASK,
}


def get_task(name_or_path: str) -> Task:
    """A built-in task by name, or the task in a file whose name ends in ``.jsonl``.

    A file may not take a built-in task's name: the cells of both would have the same path.

    Raises:
        SuiteError: unknown name (with the closest valid ones), or a file that is no valid task.

    >>> get_task("arc-easy").scoring
    'cloze-sum'
    """
    if name_or_path in TASKS:
        return TASKS[name_or_path]
    if not name_or_path.endswith(".jsonl"):
        raise unknown_name("task", name_or_path, (*TASKS, "<file>.jsonl"))
    path = Path(name_or_path)
    stem = path.name.removesuffix(".jsonl")
    if stem in TASKS:
        raise SuiteError(f"task file {path}: {stem!r} is a built-in task; give the file another name")
    if not stem:
        raise SuiteError(f"task file {path}: the file's name is the task's name, so it needs one before '.jsonl'")
    return jsonl_task(path)
