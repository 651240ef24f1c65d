"""Shards of an unfinished cell: whole or absent, and never wrong numbers."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.disks import small_disk

from suite.errors import SuiteError
from suite.score.store import ShardStore, content_key

SCORES = [np.array([-1.5, 0.25]), np.array([3.0, -np.inf, 1e-300]), np.array([7.0, 8.0])]
LENGTHS = [2, 3, 2]


def same(left: list[Any] | None, right: list[Any]) -> bool:
    return left is not None and len(left) == len(right) and all(map(np.array_equal, left, right))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore(tmp_path / "cell")


@given(
    scores=st.lists(arrays(np.float64, st.integers(1, 6), elements=st.floats(allow_nan=False)), min_size=1, max_size=8),
    number=st.integers(0, 10**6),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, scores: list[np.ndarray[Any, Any]], number: int
) -> None:
    store = ShardStore(tmp_path_factory.mktemp("shards"))
    store.write(number, scores)
    assert same(store.read(number, [len(values) for values in scores]), scores)
    assert store.read(number + 1, [1]) is None
    assert len(files(store.folder)) == 1


def test_a_missing_shard_is_none_without_a_word(store: ShardStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert store.read(0, LENGTHS) is None
    assert capsys.readouterr() == ("", "")
    assert not store.folder.exists()


def test_one_changed_byte_anywhere_is_noticed(store: ShardStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(0, SCORES)
    (path,) = store.folder.iterdir()
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert store.read(0, LENGTHS) is None, position
        assert capsys.readouterr().err == f"shard {path} is damaged: its items are scored again\n"
    path.write_bytes(whole)
    assert same(store.read(0, LENGTHS), SCORES)


@pytest.mark.parametrize("keep", [0, 1, 8, 39, 40, 41, 100, -1])
def test_a_cut_shard_is_noticed(store: ShardStore, keep: int, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(0, SCORES)
    (path,) = store.folder.iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    assert store.read(0, LENGTHS) is None
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("lengths", [[2, 3], [2, 3, 3], [2, 3, 2, 1], [7, 1]])
def test_a_shard_of_other_items_is_not_taken(
    store: ShardStore, lengths: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(0, SCORES)
    assert store.read(0, lengths) is None
    assert "is damaged" in capsys.readouterr().err


def test_writing_again_replaces(store: ShardStore) -> None:
    store.write(3, SCORES)
    store.write(3, SCORES[::-1])
    assert same(store.read(3, LENGTHS[::-1]), SCORES[::-1])
    assert len(files(store.folder)) == 1


def test_clear_removes_everything_and_may_be_repeated(store: ShardStore) -> None:
    store.write(0, SCORES)
    store.clear()
    store.clear()
    assert not store.folder.exists()


def test_a_full_disk_is_one_line_and_costs_no_earlier_shard(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = ShardStore(disk / "cell")
        store.write(0, SCORES)
        with pytest.raises(SuiteError, match=r"cannot write .*No space left on device; free some disk space") as caught:
            store.write(1, [np.zeros(50_000)])
        assert "\n" not in str(caught.value)
        assert files(disk) == ["000000.shard", "cell"]
        assert same(store.read(0, LENGTHS), SCORES)


def test_a_disk_that_fills_up_while_flushing(store: ShardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store.write(0, SCORES)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SuiteError, match="No space left on device"):
        store.write(1, SCORES)
    with pytest.raises(SuiteError, match="No space left on device"):
        store.write(0, SCORES[::-1])
    assert files(store.folder) == ["000000.shard"]
    assert same(store.read(0, LENGTHS), SCORES)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cell").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(SuiteError, match="cannot write") as caught:
        ShardStore(tmp_path / "cell").write(0, SCORES)
    assert "\n" not in str(caught.value)


def test_the_key_follows_content_and_not_order() -> None:
    parts = {"model": {"weights": "a", "tokenizer": None}, "variant": "rtn-w4", "ids": "b"}
    assert content_key(parts) == content_key(dict(reversed(parts.items())))
    assert content_key(parts) != content_key(parts | {"variant": "rtn-w3"})
    assert content_key(parts) != content_key(parts | {"model": {"weights": "a", "tokenizer": "c"}})
    assert content_key({"a": "1"}) != content_key({"a": 1})
