"""The cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.errors import SuiteError
from suite.models.cache import cache_dir


def test_environment_variable_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "elsewhere"))
    assert cache_dir() == tmp_path / "elsewhere"
    assert not cache_dir().exists()


def test_tilde_is_expanded_and_a_relative_name_is_fixed_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SUITE_CACHE", "~/models")
    assert cache_dir() == tmp_path / "models"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_CACHE", "models")
    assert cache_dir() == tmp_path / "models"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_default_lies_under_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SUITE_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("SUITE_CACHE", value)
    assert cache_dir() == tmp_path / ".cache" / "compressed-llm-uncertainty"


def test_no_home_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SUITE_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(SuiteError, match="set SUITE_CACHE to a folder"):
        cache_dir()
