"""Built-in tasks, one file each (ARC and OpenBookQA are alike and share one), and tasks from JSONL files."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

from suite.errors import SuiteError, unknown_name
from suite.files import unpacked_name
from suite.task import Task, jsonl_task
from suite.tasks import (
    bbq,
    boolq,
    commonsenseqa,
    cosmosqa,
    hellaswag,
    medmcqa,
    medqa,
    mmlu,
    piqa,
    science_exams,
    sciq,
    socialiqa,
    truthfulqa,
    winogrande,
    ye2024,
)
from suite.tasks.six_option_file import json_task

TASKS: dict[str, Task] = {
    "arc-challenge": science_exams.ARC_CHALLENGE,
    "arc-easy": science_exams.ARC_EASY,
    "bbq": bbq.TASK,
    "boolq": boolq.TASK,
    "commonsenseqa": commonsenseqa.TASK,
    "cosmosqa": cosmosqa.TASK,
    "hellaswag": hellaswag.TASK,
    "hellaswag-activitynet": hellaswag.CAPTIONS,
    "medmcqa": medmcqa.TASK,
    "medqa": medqa.TASK,
    "mmlu": mmlu.TASK,
    "openbookqa": science_exams.OPENBOOKQA,
    "piqa": piqa.TASK,
    "sciq": sciq.TASK,
    "socialiqa": socialiqa.TASK,
    "truthfulqa-mc1": truthfulqa.TASK,
    "winogrande": winogrande.TASK,
    "ye2024-qa": ye2024.QA,
    "ye2024-rc": ye2024.RC,
    "ye2024-ci": ye2024.CI,
    "ye2024-drs": ye2024.DRS,
    "ye2024-ds": ye2024.DS,
}

_READERS = {".jsonl": jsonl_task, ".json": json_task}


def get_task(name_or_path: str | Path) -> Task:
    """A built-in task by name, or the task in a file whose name ends in ``.jsonl`` (any questions) or ``.json`` (six
    options, see `suite.tasks.six_option_file`), or in either with ``.gz`` behind it.

    A task whose data is not part of the suite is looked up at once, so that its revision says what was found. A file
    may not take a built-in task's name: the cells of both would have the same path.

    Raises:
        SuiteError: unknown name (with the closest valid ones), data that is not there, or a file that is no valid task.

    >>> get_task("arc-easy").scoring
    'cloze-sum'
    """
    name = str(name_or_path)
    if name in TASKS:
        task = TASKS[name]
        return replace(task, revision=task.locate()) if task.locate else task
    suffix = next((ending for ending in _READERS if unpacked_name(name).endswith(ending)), None)
    if suffix is None:
        raise unknown_name("task", name, (*TASKS, "<file>.jsonl"))
    path = Path(name)
    stem = unpacked_name(path.name).removesuffix(suffix)
    if stem in TASKS:
        raise SuiteError(f"task file {path}: {stem!r} is a built-in task; give the file another name")
    if not stem:
        raise SuiteError(f"task file {path}: the file's name is the task's name, so it needs one before '{suffix}'")
    return _READERS[suffix](path)


if __name__ == "tasks":  # the name until 0.1, which a stranger's tasks.py may have too
    import suite.tasks

    warnings.warn("import suite.tasks: the name tasks will go", DeprecationWarning, stacklevel=2)
    sys.modules[__name__] = suite.tasks
