"""The GitHub action and the GitLab snippet: their own shell lines, run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from support.lm_eval_files import generation_lines, write_run

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["id"]: step for step in ACTION["runs"]["steps"]}
POLICY = "name: ours\nsource: us\ncriteria:\n  - {metric: accuracy, limit: 0.05, unit: points}\n"
RIGHT = [float(number % 4 > 0) for number in range(200)]


def flipped(count: int) -> list[float]:
    return [0.0 if number < 2 * count and one else one for number, one in enumerate(RIGHT)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Samples of a dense model, of one that lost nothing, a little and a lot."""
    folder = tmp_path_factory.mktemp("out")
    found = {"dense": RIGHT, "same": [*RIGHT[:-1], 0.0], "worse": flipped(5), "broken": flipped(60)}
    return {name: write_run(folder / name, {"sums": generation_lines("sums", one)}) for name, one in found.items()}


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """What a pipeline gives its steps: a temporary folder, here with the suite already in its place."""
    bin_ = tmp_path / "temp" / "suite" / "bin"
    bin_.mkdir(parents=True)
    script = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m suite "$@"\n'
    (bin_ / "suite").write_text(script)
    (bin_ / "suite").chmod(0o755)
    (tmp_path / "p.yaml").write_text(POLICY)
    return tmp_path


def bash(script: str, folder: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """As GitHub runs `shell: bash`."""
    file = folder / "step.sh"
    file.write_text(script)
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "TERM", "NO_COLOR")}
    environment |= {
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_OUTPUT": str(folder / "output"),
        **given,
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def decide(folder: Path, **inputs: Any) -> tuple[int, dict[str, str], str]:
    """The deciding step with these inputs: its exit status, its outputs and the step summary."""
    step = STEPS["decide"]
    given = {}
    for name, value in step["env"].items():
        key = re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)
        assert key, f"{name}: inputs come through the environment, never into the script"
        given[name] = str(inputs.get(key[1], ACTION["inputs"][key[1]]["default"]))
    done = bash(step["run"], folder, given)
    output = (
        dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())
        if (folder / "output").is_file()
        else {}
    )
    summary = folder / "summary.md"
    return done.returncode, output, summary.read_text() if summary.is_file() else done.stderr


@pytest.mark.parametrize(
    ("name", "review", "status", "decision"),
    [
        ("same", "fail", 0, "accept"),
        ("worse", "fail", 3, "review"),
        ("worse", "pass", 0, "review"),
        ("broken", "pass", 1, "reject"),
    ],
)
def test_the_decision_is_status_output_summary_and_junit(
    runs: dict[str, Path], runner: Path, name: str, review: str, status: int, decision: str
) -> None:
    found = decide(runner, dense=runs["dense"], compressed=runs[name], policy="p.yaml", review=review)
    assert found[:2] == (
        status,
        {"decision": decision, "status": str({"accept": 0, "reject": 1, "review": 3}[decision])},
    )
    assert "lost at most" in found[2]
    assert f"**{decision}" in found[2]
    report = ElementTree.parse(runner / ACTION["inputs"]["junit"]["default"]).getroot()
    outcomes = [child.tag for child in report.iter("testcase") for child in child]
    assert outcomes == {"accept": ["system-out"], "review": ["error"], "reject": ["failure"]}[decision]


def test_without_a_policy_it_reports_and_passes(runs: dict[str, Path], runner: Path) -> None:
    status, output, summary = decide(runner, dense=runs["dense"], compressed=runs["broken"])
    assert (status, output) == (0, {"decision": "", "status": "0"})
    assert summary.startswith("```\ndense: a-model\n")
    assert "\x1b" not in summary
    assert summary.endswith("```\n")


def test_bad_input_is_no_decision(runs: dict[str, Path], runner: Path) -> None:
    assert decide(runner, dense=runs["dense"], compressed="nowhere; echo no")[:2] == (
        2,
        {"decision": "", "status": "2"},
    )
    assert decide(runner, command="compress")[0] == 2


def test_the_suite_is_installed_with_its_pins_from_the_actions_own_folder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake = tmp_path / "python"
    fake.write_text(
        f'#!/bin/sh\necho "$@" >> "{log}"\nif [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
    )
    fake.chmod(0o755)
    done = bash(STEPS["install"]["run"], tmp_path, {"PYTHON": str(fake), "SOURCE": str(ROOT)})
    assert done.returncode == 0, done.stderr
    made, installed = log.read_text().splitlines()
    assert made == f"-m venv {tmp_path}/temp/suite"
    *_, option, pins, source = installed.split()
    assert (option, pins, source) == ("-c", str(ROOT / "constraints.txt"), str(ROOT))
    assert Path(pins).is_file()


def test_gitlabs_lines_do_the_same(runs: dict[str, Path], runner: Path) -> None:
    text = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## GitLab\n\n```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    job = yaml.safe_load(block)["gate"]
    install, run = job["script"]
    assert " -c suite/constraints.txt ./suite" in install
    given = {**job["variables"], "DENSE": str(runs["dense"]), "COMPRESSED": str(runs["worse"]), "POLICY": "p.yaml"}
    path = f"{runner / 'temp' / 'suite' / 'bin'}:{os.environ['PATH']}"
    done = bash(run, runner, {**given, "PATH": path})
    assert done.returncode in job["allow_failure"]["exit_codes"]
    assert (runner / job["artifacts"]["reports"]["junit"]).is_file()
    assert all((runner / name).is_file() for name in job["artifacts"]["paths"])


def test_every_input_is_used_and_every_output_is_written() -> None:
    used = " ".join(str(step["env"]) for step in STEPS.values())
    assert all(f"inputs.{name} " in used for name in ACTION["inputs"])
    assert all(f"{name}=" in STEPS["decide"]["run"] for name in ACTION["outputs"])
