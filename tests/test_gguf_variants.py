"""GGUF files as ready-made variants beside generated ones: bits of the file, scores of the weights it stands for."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from support.gguf_files import dequantized, write_gguf
from support.tiny_models import build_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from suite import measure
from suite.cell import load_cells
from suite.config import parse_config
from suite.run.pipeline import execute

# k-quants come in blocks of 256 weights of a row
WIDTH = 256
SHAPES: dict[str, tuple[int, ...]] = {
    "token_embd": (384, WIDTH),
    "output": (384, WIDTH),
    "output_norm": (WIDTH,),
    "blk.0.attn_norm": (WIDTH,),
    "blk.0.ffn_norm": (WIDTH,),
    "blk.0.attn_q": (WIDTH, WIDTH),
    "blk.0.attn_k": (WIDTH // 2, WIDTH),
    "blk.0.attn_v": (WIDTH // 2, WIDTH),
    "blk.0.attn_output": (WIDTH, WIDTH),
    "blk.0.ffn_gate": (WIDTH, WIDTH),
    "blk.0.ffn_up": (WIDTH, WIDTH),
    "blk.0.ffn_down": (WIDTH, WIDTH),
}
PARAMS = sum(int(np.prod(shape)) for shape in SHAPES.values())
NORMS = 3 * WIDTH
# variant: (type, bits a weight of its matrices)
FILES = {"gguf-q8_0": (Kind.Q8_0, 8.5), "gguf-q4_0": (Kind.Q4_0, 4.5), "gguf-q4_k_m": (Kind.Q4_K, 4.5)}


def stored_as(values: np.ndarray, kind: Kind) -> np.ndarray:
    """The bytes of a matrix; the gguf package reads k-quants and does not make them, so Q4_K is made by hand.

    A block of 256 weights: 16-bit d and d_min, eight 6-bit scales and minima in 12 bytes, 256 four-bit values.
    With all scales and minima 1 (and none of their high bits set) w = d · q - d_min.
    """
    if kind != Kind.Q4_K:
        return gguf.quantize(values, kind)
    blocks = values.reshape(-1, 256)
    low = blocks.min(axis=1, keepdims=True).astype(np.float16)
    step = ((blocks.max(axis=1, keepdims=True) - low) / 15).astype(np.float16)
    levels = np.clip(np.round((blocks - low.astype(np.float32)) / step.astype(np.float32)), 0, 15).astype(np.uint8)
    # 64 weights share 32 bytes: the first 32 in the low halves, the others in the high ones
    paired = levels.reshape(-1, 4, 2, 32)
    nibbles = (paired[:, :, 0] | (paired[:, :, 1] << 4)).reshape(-1, 128)
    scales = np.tile(np.array([1, 1, 1, 1, 1, 1, 1, 1, 0x11, 0x11, 0x11, 0x11], np.uint8), (len(blocks), 1))
    packed = np.concatenate([step.view(np.uint8), (-low).view(np.uint8), scales, nibbles], axis=1)
    return np.ascontiguousarray(packed.reshape(len(values), -1))


def plain(folder: Path, weights: dict[str, np.ndarray]) -> Path:
    """An ordinary checkpoint with these weights."""
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    network = LlamaForCausalLM(config)
    network.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in weights.items()})
    network.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def test_the_hand_made_k_quant_is_what_the_package_reads() -> None:
    values = np.random.default_rng(1).normal(size=(3, WIDTH)).astype(np.float32)
    read = gguf.dequantize(stored_as(values, Kind.Q4_K), Kind.Q4_K)
    step = (values.max(axis=1) - values.min(axis=1)) / 15
    assert (np.abs(read - values).max(axis=1) <= step * 0.51 + 2e-3).all()


def test_a_run_lists_generated_and_gguf_variants_side_by_side(
    quiz: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    parent = plain(tmp_path / "tiny", dequantized(write_gguf(tmp_path / "tiny.F32.gguf", kind=Kind.F32, shapes=SHAPES)))
    ready_made = []
    twins = {}
    for number, (name, (kind, _)) in enumerate(FILES.items()):
        stem = f"tiny.{name.removeprefix('gguf-').upper()}"
        file = write_gguf(tmp_path / f"{stem}.gguf", kind=kind, shapes=SHAPES, stored_as=stored_as)
        ready_made.append({"checkpoint": str(file), "dense": str(parent)})
        # the same weights as an ordinary checkpoint, under a name of its own
        twins[name] = ("ct-w8", "ct-w6", "ct-w5")[number]
        twin = plain(tmp_path / twins[name], dequantized(file))
        ready_made.append({"checkpoint": str(twin), "dense": str(parent), "variant": twins[name]})
    raw = {
        "models": [str(parent)],
        "tasks": [{"name": str(quiz)}],
        "variants": ["dense", "rtn-w4-g32", "magnitude-s50"],
        "ready_made": ready_made,
        "sample_text": {"source": str(text), "samples": 2, "length": 16},
        "dtype": "float32",
        "device": "cpu",
        "protocol": {"splits": 2, "replicates": 20},
    }
    result = execute(parse_config(raw, "test.yaml"), tmp_path / "run", log=lambda line: None)
    assert (result.scored, result.failures) == (9, [])
    cells = {str(cell.variant["name"]): cell for cell in load_cells([tmp_path / "run"])}
    assert set(cells) == {"dense", "rtn-w4-g32", "magnitude-s50", *FILES, *twins.values()}
    rows = {str(row["variant"]): row for row in measure(list(cells.values()), splits=2, replicates=0)}
    verdicts = json.loads((tmp_path / "run" / "verdicts.json").read_text())
    assert {"gguf", "rtn-g32", "magnitude"} <= {verdict["method"] for verdict in verdicts}
    for name, (_, bits) in FILES.items():
        # matrices by their type; norms, which files hold in 32 bits, count as 16 like all that is not compressed
        expected = ((PARAMS - NORMS) * bits + NORMS * 16) / PARAMS
        assert rows[name]["bits_per_weight"] == pytest.approx(expected, rel=1e-9), name
        assert rows[name]["megabytes"] == pytest.approx(expected * PARAMS / 8e6, rel=1e-9), name
        assert (rows[name]["family"], rows[name]["model"]) == ("quantization", "tiny")
        np.testing.assert_allclose(cells[name].scores, cells[twins[name]].scores, rtol=1e-6, atol=1e-6, err_msg=name)
        error = cells[name].variant["relative_weight_error"]
        assert error == pytest.approx(cells[twins[name]].variant["relative_weight_error"], rel=1e-6)
        assert np.abs(cells[name].scores - cells["dense"].scores).max() > 1e-3
    errors = [float(str(rows[name]["relative_weight_error"])) for name in FILES]
    assert 0 < errors[0] < 0.01 < errors[1] < errors[2] < 0.3
