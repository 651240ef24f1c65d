"""The tasks are suite.tasks, whatever else is called tasks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def python(code: str, folder: Path) -> str:
    """What a program prints that runs in a folder and finds the suite as a clone."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_tasks_module_of_somebody_elses_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("get_task = None\n")
    code = "import tasks; from suite.tasks import get_task; print(tasks.get_task, get_task('sciq').name)"
    said = python(code, tmp_path)
    assert said == "None sciq\n"


def test_the_old_name_is_the_same_module_and_says_so(tmp_path: Path) -> None:
    said = python("from tasks import get_task; import suite.tasks; print(get_task is suite.tasks.get_task)", tmp_path)
    assert said.startswith("True\n")
    assert "DeprecationWarning: import suite.tasks" in said
