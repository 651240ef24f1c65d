"""Loading: what is recorded of a checkpoint, GGUF files converted once, and one line for whatever cannot be loaded."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file
from support.disks import small_disk
from support.gguf_files import SHAPES, dequantized, load_path, refusal, write_gguf
from support.tiny_models import build_tokenizer

from suite.errors import SuiteError
from suite.models import checkpoint as checkpoint_module
from suite.models.cache import cache_dir
from suite.models.checkpoint import load
from suite.models.model import Model, config_hash, resolve_model, weights_hash


def kept() -> list[str]:
    """What the cache holds of converted checkpoints."""
    folder = cache_dir() / "checkpoints"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint of its own for a test to change."""
    return Path(shutil.copytree(tiny_models["llama"], tmp_path / "tiny-llama"))


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


# folders


def test_a_folder_is_recorded(tiny_models: dict[str, Path]) -> None:
    folder = tiny_models["llama"]
    checkpoint = load_path(folder)
    info = checkpoint.info
    assert (info["name"], info["id"], info["source"], info["revision"]) == ("tiny-llama",) * 2 + ("directory", None)
    assert info["params"] == sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    assert (info["architecture"], info["parent_quantization"]) == ("llama", None)
    assert (info["weights_hash"], info["config_hash"]) == (weights_hash(folder), config_hash(folder))
    assert info["tokenizer_hash"].startswith("sha256:")
    assert info["chat_template_hash"] is None
    assert json.loads(json.dumps(info)) == info


def test_a_network_is_ready_to_score(tiny_models: dict[str, Path]) -> None:
    checkpoint = load_path(tiny_models["gemma3"])
    assert not checkpoint.network.training
    assert checkpoint.network.config._attn_implementation == "sdpa"
    assert not any(parameter.requires_grad for parameter in checkpoint.network.parameters())
    assert checkpoint.device.type == "cpu"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_network_is_in_the_dtype_it_will_run_in(tiny_models: dict[str, Path], dtype: str) -> None:
    checkpoint = load_path(tiny_models["llama"], dtype)
    assert checkpoint.dtype == dtype
    assert {parameter.dtype for parameter in checkpoint.network.parameters()} == {getattr(torch, dtype)}


def test_tied_embeddings_count_once(tiny_models: dict[str, Path]) -> None:
    checkpoint = load_path(tiny_models["gemma3"])
    stored = sum(tensor.numel() for tensor in load_file(tiny_models["gemma3"] / "model.safetensors").values())
    assert checkpoint.info["params"] == stored


@pytest.mark.parametrize(("shape", "bos"), [("llama", None), ("gemma3", 0), ("mistral", 0)])
def test_bos_is_what_the_tokenizer_puts_in_front(tiny_models: dict[str, Path], shape: str, bos: int | None) -> None:
    assert load_path(tiny_models[shape]).bos == bos


def test_tokenizer_and_template_have_hashes_of_their_own(folder: Path) -> None:
    before = load_path(folder).info
    tokenizer = build_tokenizer()
    hashes = []
    for template in ("{{ messages }}", "{{ messages }}!"):
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        info = load_path(folder).info
        hashes.append(info["chat_template_hash"])
        assert info["tokenizer_hash"] == before["tokenizer_hash"]
    assert len({*hashes, None}) == 3
    shutil.rmtree(folder / "chat_template.jinja", ignore_errors=True)
    build_tokenizer(bos=True).save_pretrained(folder)
    assert load_path(folder).info["tokenizer_hash"] != before["tokenizer_hash"]


def test_loading_prints_nothing(
    tiny_models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_path(tiny_models["gemma3"])
    load_path(write_gguf(tmp_path / "t.gguf"))
    out, err = capfd.readouterr()
    assert out == ""
    # tolerated: nothing at all but blank lines
    assert err.strip() == ""


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": torch.zeros(1)}, folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def other_sizes(folder: Path) -> None:
    edit_config(folder, hidden_size=32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "truncated or damaged"),
        (only_pickled, "no .safetensors files in it"),
        (no_tokenizer, "model tiny-llama: cannot be loaded ("),
        (other_sizes, "model tiny-llama: 30 tensors do not fit the network, first "),
        (lambda folder: edit_config(folder, model_type="lama"), "model tiny-llama: cannot be loaded ("),
        (lambda folder: edit_config(folder, model_type=None), "model tiny-llama: cannot be loaded ("),
        (lambda folder: edit_config(folder, hidden_size="wide"), "model tiny-llama: cannot be loaded ("),
        (lambda folder: (folder / "tokenizer.json").write_text("{", encoding="utf-8"), "tiny-llama: cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "tiny-llama"),
    ],
)
def test_a_folder_that_cannot_be_loaded(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    assert message in refusal(folder)


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    """transformers would initialize them at random and say so only in its log."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refusal(folder)


def test_packed_weights_are_not_made_up(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = {name.replace("proj.weight", "proj.qweight"): value for name, value in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    assert "21 weights are missing, first model.layers.0.mlp.down_proj.weight" in refusal(folder)


def test_code_of_a_checkpoint_is_not_run(folder: Path) -> None:
    ran = folder.parent / "ran"
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass C: ...\n", encoding="utf-8")
    classes = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C", "AutoTokenizer": ["code.C", None]}
    edit_config(folder, auto_map=classes, model_type="unheard-of")
    refusal(folder)
    assert not ran.exists()


def test_a_disk_error_while_loading_is_one_line(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def unreadable(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", unreadable)
    assert "Input/output error" in refusal(tiny_models["llama"])


# GGUF


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_1, Kind.F16, Kind.F32])
def test_a_gguf_loads_with_the_weights_that_gguf_itself_reads(tmp_path: Path, kind: Kind) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", kind=kind)
    checkpoint = load_path(path)
    expected = dequantized(path)
    assert set(dict(checkpoint.network.named_parameters())) == set(expected)
    for name, parameter in checkpoint.network.named_parameters():
        np.testing.assert_array_equal(parameter.numpy(), expected[name], err_msg=name)
    info = checkpoint.info
    assert info["parent_quantization"] == (kind.name if kind in (Kind.Q8_0, Kind.Q4_1) else None)
    assert (info["name"], info["source"], info["architecture"]) == ("tiny", "gguf", "llama")
    assert info["params"] == sum(values.size for values in expected.values())
    assert info["weights_hash"] == weights_hash(path)


def test_bfloat16_is_rounded_from_the_dequantized_weights(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    parameters = dict(load_path(path, "bfloat16").network.named_parameters())
    for name, values in dequantized(path).items():
        assert torch.equal(parameters[name], torch.from_numpy(values.copy()).to(torch.bfloat16)), name


def test_the_most_common_quantized_type_names_the_parent(tmp_path: Path) -> None:
    kinds = {"blk.0.ffn_up": Kind.Q4_0, "blk.0.ffn_gate": Kind.Q4_0, "blk.0.ffn_down": Kind.Q8_0}
    assert load_path(write_gguf(tmp_path / "tiny.gguf", kind=kinds)).info["parent_quantization"] == "Q4_0"


def test_a_gguf_without_a_head_of_its_own_is_tied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SHAPES, "output")
    path = write_gguf(tmp_path / "tied.gguf")
    for network in (load_path(path).network, load_path(path).network):
        assert network.lm_head.weight is network.model.embed_tokens.weight
        np.testing.assert_array_equal(network.lm_head.weight.numpy(), dequantized(path)["model.embed_tokens.weight"])


def test_the_tokenizer_is_that_of_the_file(tmp_path: Path) -> None:
    checkpoint = load_path(write_gguf(tmp_path / "tiny.gguf"))
    for text in ("Question: What do plants need to grow?", " iron", "naïve\n\n  tabs\t"):
        ids = checkpoint.tokenizer(text, add_special_tokens=False).input_ids
        assert ids == build_tokenizer()(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize(("add_bos", "expected"), [(True, 0), (False, None)])
def test_the_file_says_whether_texts_start_with_bos(tmp_path: Path, add_bos: bool, expected: int | None) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", ggml__add_bos_token=add_bos)
    assert load_path(path).bos == expected
    # and again from the converted checkpoint
    assert load_path(path).bos == expected


def test_bos_is_known_even_where_eos_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_eos_token_id", lambda *_: None)
    assert load_path(write_gguf(tmp_path / "tiny.gguf", ggml__add_bos_token=True)).bos == 0


def test_a_chat_template_in_the_file_is_recorded(tmp_path: Path) -> None:
    assert load_path(write_gguf(tmp_path / "a.gguf")).info["chat_template_hash"] is None
    with_template = write_gguf(tmp_path / "b.gguf", chat_template="{{ messages }}")
    assert load_path(with_template).info["chat_template_hash"] is not None


def test_a_gguf_is_converted_once_for_each_dtype(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    convert = checkpoint_module._convert

    def counted(model: Model, dtype: str, *rest: Any) -> None:
        converted.append((model.name, dtype))
        convert(model, dtype, *rest)

    monkeypatch.setattr(checkpoint_module, "_convert", counted)
    path = write_gguf(tmp_path / "tiny.gguf")
    first = load_path(path)
    again = load_path(path)
    renamed = load_path(Path(shutil.copy(path, tmp_path / "other.gguf")))
    assert converted == [("tiny", "float32")]
    assert renamed.info == again.info | {"name": "other", "id": "other.gguf"}
    assert again.info == first.info
    for left, right in zip(first.network.parameters(), renamed.network.parameters(), strict=True):
        assert torch.equal(left, right)
    load_path(path, "bfloat16")
    load_path(write_gguf(tmp_path / "tiny.gguf", kind=Kind.F32))
    assert converted == [("tiny", "float32"), ("tiny", "bfloat16"), ("tiny", "float32")]
    assert len(kept()) == 3


def test_what_a_killed_conversion_left_does_no_harm(cache: Path, tmp_path: Path) -> None:
    left = cache / "checkpoints" / ".converting-abc"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    load_path(write_gguf(tmp_path / "tiny.gguf"))
    # it may be another process at work
    assert left.is_dir()
    os.utime(left, (0, 0))
    load_path(write_gguf(tmp_path / "tiny.gguf"), "bfloat16")
    assert not left.exists()
    assert len(kept()) == 2


def test_two_processes_may_convert_the_same_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = checkpoint_module._convert

    def overtaken(model: Model, dtype: str, out: Path, source_hash: str) -> None:
        convert(model, dtype, out, source_hash)
        shutil.copytree(out, out.parent / f"{source_hash.removeprefix('sha256:')[:24]}-{dtype}-v3.1")

    monkeypatch.setattr(checkpoint_module, "_convert", overtaken)
    assert load_path(write_gguf(tmp_path / "tiny.gguf")).info["params"] > 0
    assert len(kept()) == 1


def test_an_unfinished_folder_in_the_way_is_named(cache: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    load_path(path)
    (name,) = kept()
    (cache / "checkpoints" / name / "suite.json").unlink()
    assert "could not be put in place; remove it and try again" in refusal(path)
    assert kept() == [name]


@pytest.mark.parametrize("name", ["model.safetensors", "suite.json", "config.json", "tokenizer.json"])
def test_a_damaged_conversion_names_the_folder_to_remove(cache: Path, tmp_path: Path, name: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    load_path(path)
    folder = cache / "checkpoints" / kept()[0]
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    assert str(folder) in refusal(path)
    assert "try again" in refusal(path)
    shutil.rmtree(folder)
    load_path(path)


@pytest.mark.parametrize("keep", [0, 3, 4, 24, 100, 5_000, 20_000, 60_000, -1, -2_000])
def test_a_cut_gguf(cache: Path, tmp_path: Path, keep: int) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(path)
    assert message.startswith("model tiny.gguf: cannot be loaded (")
    assert "is tiny.gguf complete and supported?" in message
    assert kept() == []


@pytest.mark.parametrize(
    "content", [b"<html>not found</html>" * 9, b"GGUF" + b"\xff" * 99, bytes(400), b"GGUF\3\0\0\0"]
)
def test_a_file_that_is_no_gguf(cache: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(content)
    assert "model tiny.gguf: cannot be loaded (" in refusal(path)
    assert kept() == []


def test_changed_bytes_in_a_gguf_header_end_in_one_line_if_at_all(cache: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    raw = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for position in [*range(8, 24), *generator.integers(24, 12_000, 24)]:
        changed = bytearray(raw)
        changed[position] ^= 0x80
        path.write_bytes(changed)
        try:
            load_path(path)
        except SuiteError as error:
            refused += len(str(error).splitlines())
    assert refused >= 16
    assert not [name for name in kept() if name.startswith(".")]


def test_a_gguf_without_one_of_its_tensors(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SHAPES, "blk.0.ffn_up")
    message = refusal(write_gguf(tmp_path / "tiny.gguf"))
    assert "1 weights are missing, first model.layers.0.mlp.up_proj.weight" in message
    assert kept() == []


def test_an_architecture_that_is_not_known(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(path, "perceptron")
    writer.add_embedding_length(4)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((2, 4), dtype=np.float32))
    writer.add_tensor("blk.0.w", np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "model odd.gguf: cannot be loaded (" in refusal(path)
    assert kept() == []


def test_a_full_disk_while_converting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("SUITE_CACHE", str(disk))
        message = refusal(path)
        assert "free disk space or set SUITE_CACHE to another folder" in message
        assert kept() == []


def test_an_error_while_writing_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_gguf(tmp_path / "tiny.gguf")
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        assert "no space left on device; free disk space or set SUITE_CACHE" in refusal(path)
    assert kept() == []
    load_path(path)
    assert len(kept()) == 1


def test_an_interrupted_conversion_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.torch, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_path(write_gguf(tmp_path / "tiny.gguf"))
    assert kept() == []


def test_a_cache_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "file"))
    assert "SUITE_CACHE" in refusal(write_gguf(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize(
    ("device", "accelerators", "wanted"),
    [("cpu", 4, None), ("cuda", 1, "cuda"), ("cuda", 4, "sequential"), ("cuda:2", 4, "cuda:2"), ("auto", 4, "auto")],
)
def test_several_accelerators_are_filled_one_after_the_other(
    tiny_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    accelerators: int,
    wanted: str | None,
) -> None:
    asked: list[object] = []
    real = transformers.AutoModelForCausalLM.from_pretrained

    def record(*args: Any, **rest: Any) -> Any:
        asked.append(rest.pop("device_map"))
        return real(*args, **rest)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", record)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: accelerators)
    load(resolve_model(str(tiny_models["llama"])), dtype="float32", device=device)
    assert asked == [wanted]
