"""Packed checkpoint folders, made by hand the way their formats describe it: read to the weights that they stand for.

Numbers come out of bytes here by tables and loops of the tests' own, never by the code under test.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import zoo
from support.packing import AWQ_ORDER, down, stream

from suite.compress.ready_made import variant_of
from suite.errors import SuiteError
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import content_parts, resolve_model, tensor_bits

Packed = tuple[dict[str, torch.Tensor], np.ndarray]


def edit(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json.dumps(content | changes), encoding="utf-8")


def repack(
    parent: Path, folder: Path, pack: Callable[[str, tuple[int, int]], Packed | None], **config: Any
) -> tuple[Path, dict[str, np.ndarray]]:
    """A copy of a checkpoint with its layers packed, and the dense weights that are in it.

    Args:
        pack: (module, [outputs, inputs]) -> tensors by local name and the dense weight; None leaves the module.
        config: ``quantization_config`` for config.json.
    """
    shutil.copytree(parent, folder)
    tensors, dense = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        module = name.removesuffix(".weight")
        made = pack(module, tuple(weight.shape)) if module.endswith("_proj") else None
        if made is None:
            tensors[name] = weight
            continue
        tensors |= {f"{module}.{local}": tensor for local, tensor in made[0].items()}
        dense[name] = made[1]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if config:
        edit(folder / "config.json", **config)
    return folder, dense


def loaded(folder: Path) -> Checkpoint:
    return load(resolve_model(str(folder)), dtype="float32")


def check(folder: Path, dense: dict[str, np.ndarray]) -> Checkpoint:
    checkpoint = loaded(folder)
    assert dense
    for name, weight in dense.items():
        np.testing.assert_allclose(checkpoint.network.get_parameter(name).numpy(), weight, rtol=1e-5, atol=1e-7)
    return checkpoint


def refusal(folder: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        loaded(folder)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "fetch it again" not in message
    return message


def draw(module: str) -> np.random.Generator:
    return np.random.default_rng(sum(module.encode()))


def gptq(
    module: str, shape: tuple[int, int], *, bits: int = 4, group: int = 32, less_one: bool = True, g_idx: bool = False
) -> Packed:
    """Random levels, zero points and scales; the last group is shorter where the group does not divide the inputs."""
    outputs, inputs = shape
    rng, size = draw(module), inputs if group < 0 else group
    groups = np.arange(inputs) // size
    count = int(groups[-1]) + 1
    levels = rng.integers(0, 2**bits, (inputs, outputs))
    zeros = rng.integers(0, 2**bits, (count, outputs))
    scales = rng.uniform(0.01, 0.1, (count, outputs)).astype(np.float16)
    tensors = {
        "qweight": down(levels, bits),
        "qzeros": down(((zeros - less_one) % 2**bits).T, bits).T.contiguous(),
        "scales": torch.from_numpy(scales),
    }
    if g_idx:
        tensors["g_idx"] = torch.tensor(groups, dtype=torch.int32)
    return tensors, ((levels - zeros[groups]) * scales.astype(np.float64)[groups]).T


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}


# GPTQ and its relatives


def test_bits_and_groups_that_differ_between_modules(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """The first pattern that matches from the start of the name counts; one with a minus leaves modules dense."""

    def pack(module: str, shape: tuple[int, int]) -> Packed | None:
        if module == "model.layers.0.self_attn.q_proj":
            return None
        if module.endswith("down_proj"):
            return gptq(module, shape, bits=8, group=48)
        return gptq(module, shape, bits=3 if "layers.1." in module else 4)

    rules = {
        r"-:.*layers\.0\.self_attn\.q_proj": {},
        "self_attn": {"bits": 2},  # never at the start of a name
        "+:.*down_proj.*": {"bits": 8, "group_size": 48},
        r"model\.layers\.1\.": {"bits": 3},
        ".*": {},
    }
    made = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config={**GPTQ, "dynamic": rules})
    check(*made)
    assert variant_of(resolve_model(str(made[0]))).name == "mixed-3-4-8"
    edit(made[0] / "config.json", quantization_config={**GPTQ, "dynamic": {"+:.*down_proj.*": {"bits": 8}}})
    assert "layers.0.mlp.down_proj: 96 inputs in groups of 32" in refusal(made[0])
    edit(made[0] / "config.json", quantization_config={**GPTQ, "dynamic": {"-:.*down_proj": {}}})
    assert "down_proj: packed, though the configuration says that it is left dense" in refusal(made[0])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_biases_that_a_packer_adds_count_where_they_are_not_zero(
    tiny_models: dict[str, Path], tmp_path: Path, value: float
) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        tensors, dense = gptq(module, shape)
        return {**tensors, "bias": torch.full((shape[0],), value)}, dense

    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=GPTQ)
    if value:
        assert "21 tensors of the file belong to no weight" in refusal(folder)
    else:
        check(folder, dense)


@pytest.mark.parametrize("shift", [-1, 1])
def test_group_indices_outside_the_groups(tiny_models: dict[str, Path], tmp_path: Path, shift: int) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        tensors, dense = gptq(module, shape, g_idx=True)
        return {**tensors, "g_idx": tensors["g_idx"] + shift}, dense

    folder, _ = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=GPTQ)
    assert "some of them beyond the 3" in refusal(folder)


def test_packed_tensors_of_which_one_is_lacking(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        tensors, dense = gptq(module, shape)
        return {name: tensor for name, tensor in tensors.items() if name != "qzeros"}, dense

    folder, _ = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=GPTQ)
    assert "do not fit together ('qzeros'); are they packed as config.json says?" in refusal(folder)


def test_stated_bits_that_are_not_the_packed_ones(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder, _ = repack(tiny_models["llama"], tmp_path / "made", gptq, quantization_config={**GPTQ, "bits": 8})
    assert "8 bits by the configuration, but its zero points are packed as 4 bits" in refusal(folder)


@pytest.mark.parametrize("group", [48, 40, -1, 128])
@pytest.mark.parametrize("g_idx", [False, True])
def test_groups_that_do_not_divide_the_inputs(
    tiny_models: dict[str, Path], tmp_path: Path, group: int, g_idx: bool
) -> None:
    check(
        *repack(
            tiny_models["llama"],
            tmp_path / "made",
            lambda module, shape: gptq(module, shape, group=group, g_idx=g_idx),
            quantization_config={**GPTQ, "group_size": group},
        )
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 32, "desc_act": False, "damp_percent": 0.01}),
        ("quantize_config.json", {**GPTQ, "checkpoint_format": "gptq_v2"}),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}),
        ("quantize_config.json", {"w_bit": 4, "q_group_size": 32, "version": "gemm"}),
        ("quantization_config.json", {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": False}),
        ("my_quant.json", {"quant_method": "gptq", "bits": 4, "group_size": 32}),
    ],
)
def test_a_grid_in_a_file_of_its_own(
    tiny_models: dict[str, Path], tmp_path: Path, file: str, content: dict[str, Any]
) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        if "w_bit" in content:
            return awq(module, shape)
        return gptq(module, shape, less_one="checkpoint_format" not in content)

    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack)
    before = content_parts(resolve_model(str(folder)))
    assert "are weights packed, and nothing says how?" in refusal(folder)
    edit(folder / file, **content)
    check(folder, dense)
    # scores depend on that file, so does their key; a copy of what config.json says changes nothing
    assert content_parts(resolve_model(str(folder))) != before
    if "w_bit" not in content:
        edit(folder / "config.json", quantization_config={"quant_method": "gptq", **content})
        both = content_parts(resolve_model(str(folder)))
        (folder / file).unlink()
        assert content_parts(resolve_model(str(folder))) == both


def test_what_one_file_leaves_open_another_may_say(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """config.json of GPTQModel's second layout without the layout: zero points would be one too high."""
    folder, dense = repack(
        tiny_models["llama"],
        tmp_path / "made",
        lambda module, shape: gptq(module, shape, less_one=False),
        quantization_config=GPTQ,
    )
    before = content_parts(resolve_model(str(folder)))
    edit(folder / "quantize_config.json", bits=4, group_size=32, checkpoint_format="gptq_v2")
    check(folder, dense)
    assert content_parts(resolve_model(str(folder))) != before
    edit(folder / "quantize_config.json", checkpoint_format="gptq")
    assert content_parts(resolve_model(str(folder))) == before


def test_files_that_contradict_each_other(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder, _ = repack(tiny_models["llama"], tmp_path / "made", gptq, quantization_config=GPTQ)
    edit(folder / "quantize_config.json", bits=8, group_size=32)
    assert "config.json says bits 4, quantize_config.json says 8; remove the one" in refusal(folder)


def awq(module: str, shape: tuple[int, int]) -> Packed:
    outputs, inputs = shape
    rng, groups = draw(module), np.arange(inputs) // 32
    levels, zeros = rng.integers(0, 16, (inputs, outputs)), rng.integers(0, 16, (groups[-1] + 1, outputs))
    scales = rng.uniform(0.01, 0.1, zeros.shape).astype(np.float16)

    def words(matrix: np.ndarray) -> torch.Tensor:
        rows = [
            [stream([row[first + place] for place in AWQ_ORDER], 4)[0] for first in range(0, outputs, 8)]
            for row in matrix
        ]
        return torch.tensor(rows, dtype=torch.int32)

    tensors = {"qweight": words(levels), "qzeros": words(zeros), "scales": torch.from_numpy(scales)}
    return tensors, ((levels - zeros[groups]) * scales.astype(np.float64)[groups]).T


@pytest.mark.parametrize(
    ("packing", "less_one"),
    [
        ("auto_round:auto_gptq", True),
        ("auto_round:gptq", True),
        (None, True),
        ("auto_round", False),
        ("auto_round:gptqmodel", False),
        ("auto_round:auto_awq", None),
    ],
)
def test_auto_round(tiny_models: dict[str, Path], tmp_path: Path, packing: str | None, less_one: bool | None) -> None:
    """By name or pattern, entries of extra_config stand before the settings of the whole; 16 bits are dense."""
    about: dict[str, Any] = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": False}
    if packing is not None:
        about["packing_format"] = packing
    if less_one is not None:
        about["extra_config"] = {
            "model.layers.0.self_attn.k_proj": {"bits": 16},
            "model.layers.1.mlp.up_proj": {"bits": 8},
            r".*\.1\.mlp\.up": {"bits": 2},
            r"layers\.2\..*gate": {"bits": 3, "group_size": 64},
        }

    def pack(module: str, shape: tuple[int, int]) -> Packed | None:
        if less_one is None:
            return awq(module, shape)
        if module == "model.layers.0.self_attn.k_proj":
            return None
        bits = 8 if module.endswith("1.mlp.up_proj") else 3 if module.endswith("2.mlp.gate_proj") else 4
        return gptq(module, shape, bits=bits, group=64 if bits == 3 else 32, less_one=less_one)

    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=about)
    checkpoint = check(folder, dense)
    assert checkpoint.info["parent_quantization"] == "auto-round"
    name = "autoround-w4-g32" if less_one is None else "mixed-3-4-8"
    assert variant_of(resolve_model(str(folder))).name == name


@pytest.mark.parametrize("packing", [None, "auto_round:marlin", "auto_round:auto_gptq:marlin"])
@pytest.mark.parametrize("stored", [7, 8])
def test_a_symmetric_grid_says_itself_how_zero_points_are_stored(
    tiny_models: dict[str, Path], tmp_path: Path, stored: int, packing: str | None
) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        tensors, _ = gptq(module, shape)
        levels = draw(module).integers(0, 16, (shape[1], shape[0]))
        tensors["qzeros"] = down(np.full((shape[0], shape[1] // 32), stored), 4).T.contiguous()
        scales = tensors["scales"].numpy().astype(np.float64)
        return tensors, ((levels - 8) * scales[np.arange(shape[1]) // 32]).T

    about: dict[str, Any] = {"quant_method": "intel/auto-round", "bits": 4, "group_size": 32, "sym": True}
    if packing is not None:
        about["packing_format"] = packing
    check(*repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=about))


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_packing_that_does_not_say_how_zero_points_are_stored(
    tiny_models: dict[str, Path], tmp_path: Path, symmetric: bool
) -> None:
    about = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "packing_format": "auto_round:marlin"}
    folder, _ = repack(tiny_models["llama"], tmp_path / "made", gptq, quantization_config={**about, "sym": symmetric})
    assert "packing 'auto_round:marlin' does not say how zero points are stored" in refusal(folder)


def test_numbers_that_are_written_as_text(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    about = {"quant_method": "gptq", "bits": "4", "group_size": "32"}
    folder, dense = repack(tiny_models["llama"], tmp_path / "made", gptq, quantization_config=about)
    check(folder, dense)
    assert variant_of(resolve_model(str(folder))).name == "gptq-w4-g32"


@pytest.mark.parametrize("storage", ["uint8", "bfloat16", "float16", "float32"])
def test_bitsandbytes_words_of_any_type(tiny_models: dict[str, Path], tmp_path: Path, storage: str) -> None:
    table = np.sort(np.random.default_rng(0).uniform(-1, 1, 16)).astype(np.float32)

    def pack(module: str, shape: tuple[int, int]) -> Packed:
        rng, count = draw(module), shape[0] * shape[1]
        index, absmax = rng.integers(0, 16, count), rng.uniform(0.5, 2, count // 64).astype(np.float32)
        about = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(shape)}
        words = torch.tensor((index[0::2] << 4) | index[1::2], dtype=torch.uint8).view(getattr(torch, storage))
        return {
            "weight": words[:, None],
            "weight.absmax": torch.from_numpy(absmax),
            "weight.quant_map": torch.from_numpy(table.copy()),
            "weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8),
        }, (table[index].reshape(-1, 64) * absmax[:, None]).reshape(shape)

    about = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_storage": storage}
    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=about)
    check(folder, dense)
    # 4 bits and a float32 scale for 64 weights, which counts as 16 bits
    layers = sum(weight.size for weight in dense.values())
    whole = load_file(tiny_models["llama"] / "model.safetensors")
    other = sum(tensor.numel() for name, tensor in whole.items() if name not in dense)
    extra = len(dense) * 16 * 16 + 8 * sum(
        tensor.numel() for name, tensor in load_file(folder / "model.safetensors").items() if "quant_state" in name
    )
    assert tensor_bits(folder) == layers * (4 + 16 / 64) + 16 * other + extra


# floating-point grids


def e4m3(byte: int) -> float:
    sign, exponent, mantissa = -1 if byte & 128 else 1, (byte >> 3) & 15, byte & 7
    return sign * (mantissa / 8 * 2**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def e5m2(byte: int) -> float:
    sign, exponent, mantissa = -1 if byte & 128 else 1, (byte >> 2) & 31, byte & 3
    return sign * (mantissa / 4 * 2**-14 if exponent == 0 else (1 + mantissa / 4) * 2.0 ** (exponent - 15))


E4M3, E5M2 = (np.array([decode(byte) for byte in range(256)]) for decode in (e4m3, e5m2))
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def eight(module: str, shape: tuple[int, int], kind: str = "float8_e4m3fn") -> tuple[torch.Tensor, np.ndarray]:
    """Random FP8 weights that are finite."""
    table = E4M3 if kind == "float8_e4m3fn" else E5M2
    # sign, exponent and mantissa below those of NaN and infinity
    values = draw(module).integers(0, 0x70, shape) | (draw(module + "sign").integers(0, 2, shape) << 7)
    return torch.tensor(values, dtype=torch.uint8).view(getattr(torch, kind)), table[values]


def blocks(shape: tuple[int, int], size: tuple[int, int], scales: np.ndarray) -> np.ndarray:
    spread = np.empty(shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            spread[row, column] = scales[row // size[0], column // size[1]]
    return spread


MODELOPT = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}


@pytest.mark.parametrize("layout", ["tensor", "tensor of one", "row", "column of rows", "e5m2"])
def test_fp8_with_scales_beside_it(tiny_models: dict[str, Path], tmp_path: Path, layout: str) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        weight, values = eight(module, shape, "float8_e5m2" if layout == "e5m2" else "float8_e4m3fn")
        rows = draw(module + "scale").uniform(1e-4, 1e-3, shape[0]).astype(np.float32)
        one = not layout.endswith(("row", "rows"))
        scale = torch.tensor(rows[0]) if one else torch.from_numpy(rows)
        scale = scale[None] if layout == "tensor of one" else scale[:, None] if layout == "column of rows" else scale
        tensors = {"weight": weight, "weight_scale": scale, "input_scale": torch.tensor(0.5)}
        return tensors, values * (rows[0] if one else rows[:, None])

    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack)
    assert "model.layers.0.mlp.down_proj.weight_scale" in refusal(folder)
    edit(folder / "hf_quant_config.json", **MODELOPT)
    checkpoint = check(folder, dense)
    assert checkpoint.info["parent_quantization"] == "modelopt"
    (note,) = checkpoint.info["notes"]
    assert "rounding activations" in note
    assert "21 tensors left out, first model.layers.0.mlp.down_proj.input_scale" in note
    assert variant_of(resolve_model(str(folder))).name == "fp8"


@pytest.mark.parametrize("beside", ["output_scale", "k_scale", ""])
def test_fp8_whose_scales_are_not_found(tiny_models: dict[str, Path], tmp_path: Path, beside: str) -> None:
    """Scales under another name, as one number or one a row, or in a file that no index names."""

    def pack(module: str, shape: tuple[int, int]) -> Packed:
        weight, values = eight(module, shape)
        rows = torch.from_numpy(draw(module).uniform(1e-4, 1e-3, shape[0]).astype(np.float32))
        scale = rows[0] if "layers.0" in module else rows
        return {"weight": weight, **({beside: scale.clone()} if beside else {})}, values

    folder, _ = repack(tiny_models["llama"], tmp_path / "made", pack)
    text = "belong to no weight" if beside else "21 of its weights are stored as FP8 and reach 120, as weights do"
    assert text in refusal(folder)


def test_fp8_that_needs_no_scales(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_models["llama"], tmp_path / "made"))
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    check(folder, {name: E4M3[tensors[name].view(torch.uint8).numpy()]})


@pytest.mark.parametrize("block", [(32, 32), (40, 24), None])
def test_fp8_in_blocks(tiny_models: dict[str, Path], tmp_path: Path, block: tuple[int, int] | None) -> None:
    """The last block of a row or column may be smaller; sizes that are not stated come out of the shapes."""
    size = block or (16, 32)

    def pack(module: str, shape: tuple[int, int]) -> Packed:
        weight, values = eight(module, shape)
        count = [math.ceil(want / each) for want, each in zip(shape, size, strict=True)]
        scales = draw(module + "scale").uniform(1e-4, 1e-3, count).astype(np.float32)
        return {"weight": weight, "weight_scale_inv": torch.from_numpy(scales)}, values * blocks(shape, size, scales)

    about = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": list(block) if block else None}
    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=about)
    check(folder, dense)
    edit(folder / "config.json", quantization_config={**about, "weight_block_size": [8, 8]})
    assert "do not fit weights" in refusal(folder)


@pytest.mark.parametrize("algorithm", ["FP8_PB_WO", "MXFP8", "NVFP4"])
def test_other_grids_of_model_optimizer(tiny_models: dict[str, Path], tmp_path: Path, algorithm: str) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        rng = draw(module + "scale")
        weight, values = eight(module, shape)
        if algorithm == "FP8_PB_WO":
            scales = rng.uniform(1e-4, 1e-3, (shape[0] // 16, shape[1] // 16)).astype(np.float32)
            return {"weight": weight, "weight_scale": torch.from_numpy(scales)[:, None, :, None]}, values * blocks(
                shape, (16, 16), scales
            )
        if algorithm == "MXFP8":
            exponents = rng.integers(110, 120, (shape[0], shape[1] // 32))
            scale = torch.tensor(exponents, dtype=torch.uint8)
            return {"weight": weight, "weight_scale": scale}, values * blocks(shape, (1, 32), 2.0 ** (exponents - 127))
        index = rng.integers(0, 16, shape)
        small = rng.integers(40, 80, (shape[0], shape[1] // 16))
        tensors = {
            "weight": torch.tensor(index[:, 0::2] | (index[:, 1::2] << 4), dtype=torch.uint8),
            "weight_scale": torch.tensor(small, dtype=torch.uint8).view(torch.float8_e4m3fn),
            "weight_scale_2": torch.tensor(0.125),
            "input_scale": torch.tensor(1.0),
        }
        return tensors, E2M1[index] * blocks(shape, (1, 16), E4M3[small]) * 0.125

    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack)
    edit(folder / "hf_quant_config.json", quantization={"quant_algo": algorithm})
    check(folder, dense)
    name = {"FP8_PB_WO": "fp8", "MXFP8": "mxfp8", "NVFP4": "nvfp4"}[algorithm]
    assert variant_of(resolve_model(str(folder))).name == name


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("nvfp4", "float32"), ("nvfp4", "bfloat16"), ("mxfp4", "float32"), ("fp8", "float32"), ("fp8-dynamic", "float32")],
)
def test_compressed_tensors_of_floating_point(
    tiny_models: dict[str, Path], tmp_path: Path, kind: str, dtype: str
) -> None:
    weights: dict[str, Any] = {"num_bits": 8 if kind.startswith("fp8") else 4, "type": "float", "symmetric": True}
    if kind == "nvfp4":
        layout = "nvfp4-pack-quantized"
        weights |= {"strategy": "tensor_group", "group_size": 16, "scale_dtype": "torch.float8_e4m3fn"}
    elif kind == "mxfp4":
        layout = "mxfp4-pack-quantized"
        weights |= {"strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
    else:
        layout = "float-quantized"
        weights |= {"strategy": "channel"}
    activations = None
    if kind == "fp8-dynamic":
        activations = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}

    def pack(module: str, shape: tuple[int, int]) -> Packed:
        rng = draw(module + "scale")
        if kind.startswith("fp8"):
            weight, values = eight(module, shape)
            rows = rng.uniform(1e-4, 1e-3, (shape[0], 1)).astype(np.float32)
            return {"weight": weight, "weight_scale": torch.from_numpy(rows)}, values * rows
        index = rng.integers(0, 16, shape)
        tensors = {"weight_packed": torch.tensor(index[:, 0::2] | (index[:, 1::2] << 4), dtype=torch.uint8)}
        if kind == "mxfp4":
            exponents = rng.integers(120, 126, (shape[0], shape[1] // 32))
            tensors["weight_scale"] = torch.tensor(exponents, dtype=torch.uint8)
            return tensors, E2M1[index] * blocks(shape, (1, 32), 2.0 ** (exponents - 127))
        small = rng.integers(40, 80, (shape[0], shape[1] // 16))
        tensors["weight_scale"] = torch.tensor(small, dtype=torch.uint8).view(torch.float8_e4m3fn)
        tensors["weight_global_scale"] = torch.tensor([7.0])
        return tensors, E2M1[index] * blocks(shape, (1, 16), E4M3[small]) / 7

    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    about = {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }
    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=about)
    (folder / "recipe.yaml").write_text("modifiers: {QuantizationModifier: {}}", encoding="utf-8")
    model = resolve_model(str(folder))
    assert variant_of(model).name == kind
    network = load(model, dtype=dtype).network
    exact = dtype == "float32"
    for name, weight in dense.items():
        found = network.get_parameter(name)
        assert found.dtype == getattr(torch, dtype)
        np.testing.assert_allclose(found.float().numpy(), weight, rtol=1e-6 if exact else 2**-7, atol=1e-7)
    with torch.no_grad():
        assert network(torch.arange(8)[None]).logits.dtype == getattr(torch, dtype)


def test_compressed_tensors_named_by_their_older_key(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        weight, values = eight(module, shape)
        return {"weight": weight, "weight_scale": torch.tensor([0.001])}, values * 0.001

    weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor"}
    about = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    check(*repack(tiny_models["llama"], tmp_path / "made", pack, compression_config=about))


@pytest.mark.parametrize("kind", ["nv_fp", "mx_fp", "fp8"])
def test_auto_round_of_floating_point(tiny_models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        rng = draw(module + "scale")
        if kind == "fp8":
            weight, values = eight(module, shape)
            rows = rng.uniform(1e-4, 1e-3, (shape[0], 1)).astype(np.float32)
            return {"weight": weight, "weight_scale": torch.from_numpy(rows)}, values * rows
        index = rng.integers(0, 16, shape)
        tensors = {"weight_packed": torch.tensor(index[:, 0::2] | (index[:, 1::2] << 4), dtype=torch.uint8)}
        if kind == "mx_fp":
            exponents = rng.integers(120, 126, (shape[0], shape[1] // 32))
            tensors["weight_scale"] = torch.tensor(exponents, dtype=torch.uint8)
            return tensors, E2M1[index] * blocks(shape, (1, 32), 2.0 ** (exponents - 127))
        small = rng.integers(40, 80, (shape[0], shape[1] // 16))
        tensors["weight_scale"] = torch.tensor(small, dtype=torch.uint8).view(torch.float8_e4m3fn)
        tensors |= {"weight_global_scale": torch.tensor([7.0]), "input_global_scale": torch.tensor([3.0])}
        return tensors, E2M1[index] * blocks(shape, (1, 16), E4M3[small]) / 7

    about = {"quant_method": "auto-round", "data_type": kind, "packing_format": "auto_round:llm_compressor", "bits": 4}
    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization_config=about)
    checkpoint = check(folder, dense)
    assert ("notes" in checkpoint.info) == (kind == "nv_fp")
    assert variant_of(resolve_model(str(folder))).name == {"nv_fp": "nvfp4", "mx_fp": "mxfp4", "fp8": "fp8"}[kind]
    edit(folder / "config.json", quantization_config={**about, "data_type": "mx_int"})
    if kind != "fp8":
        assert "AutoRound's data type 'mx_int' is not read" in refusal(folder)


def test_experts_in_mxfp4_as_gpt_oss_has_them(tmp_path: Path) -> None:
    folder = zoo.folder("gpt_oss", tmp_path / "made")
    tensors, dense = load_file(folder / "model.safetensors"), {}
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        rng = draw(name)
        index = rng.integers(0, 16, (experts, outputs, inputs))
        exponents = rng.integers(120, 126, (experts, outputs, inputs // 32))
        packed = index[..., 0::2] | (index[..., 1::2] << 4)
        tensors[f"{name}_blocks"] = torch.tensor(packed, dtype=torch.uint8).reshape(experts, outputs, -1, 16)
        tensors[f"{name}_scales"] = torch.tensor(exponents, dtype=torch.uint8)
        values = E2M1[index].reshape(experts, outputs, -1, 32) * (2.0 ** (exponents - 127))[..., None]
        dense[name] = values.reshape(experts, outputs, inputs).transpose(0, 2, 1)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    edit(folder / "config.json", quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    check(folder, dense)
    assert variant_of(resolve_model(str(folder))).name == "mxfp4"


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_affine_grids_of_mlx(tiny_models: dict[str, Path], tmp_path: Path, bits: int) -> None:
    def pack(module: str, shape: tuple[int, int]) -> Packed:
        rng = draw(module)
        levels = rng.integers(0, 2**bits, shape)
        scales, biases = (rng.uniform(-0.1, 0.1, (shape[0], shape[1] // 32)).astype(np.float16) for _ in range(2))
        tensors = {
            "weight": down(levels.T, bits).T.contiguous().view(torch.uint32),
            "scales": torch.from_numpy(scales),
            "biases": torch.from_numpy(biases),
        }
        spread = (blocks(shape, (1, 32), part.astype(np.float64)) for part in (scales, biases))
        return tensors, levels * next(spread) + next(spread)

    grid = {"bits": bits, "group_size": 32}
    folder, dense = repack(tiny_models["llama"], tmp_path / "made", pack, quantization=grid, quantization_config=grid)
    check(folder, dense)
    assert variant_of(resolve_model(str(folder))).name == f"affine-w{bits}-g32"
    edit(folder / "config.json", quantization={**grid, "mode": "nvfp4"})
    assert "MLX mode 'nvfp4' is not read" in refusal(folder)


# what is not read


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"quant_method": "hqq"}, "config.json says its weights are packed by 'hqq', which is not read; save it dense"),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, "names the algorithm W4A16_AWQ, which is not read"),
        ({**GPTQ, "rotation": "hadamard"}, "config.json sets 'rotation', which is not applied here"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {}, "transform_config": {"R1": {}}},
            "config.json sets 'transform_config', which is not applied here",
        ),
        ({"bits": 4}, "config.json describes packed weights and names no quant_method"),
        (GPTQ, "config.json says its weights are packed by gptq, and none of its tensors are"),
    ],
)
def test_methods_that_are_not_read_are_named(
    tiny_models: dict[str, Path], tmp_path: Path, about: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(tiny_models["llama"], tmp_path / "made"))
    edit(folder / "config.json", quantization_config=about)
    assert message in refusal(folder)


def test_a_recipe_that_quantizes_and_a_configuration_that_does_not(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_models["llama"], tmp_path / "made"))
    (folder / "recipe.yaml").write_text("stage: {modifiers: {GPTQModifier: {scheme: W4A16}}}", encoding="utf-8")
    assert "recipe.yaml quantizes its weights (GPTQModifier), and config.json says nothing" in refusal(folder)
    (folder / "recipe.yaml").write_text("stage: {modifiers: {SparseGPTModifier: {sparsity: 0.5}}}", encoding="utf-8")
    loaded(folder)


def test_integers_that_nothing_explains(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """transformers would take the levels for the weights."""

    def pack(module: str, shape: tuple[int, int]) -> Packed:
        levels = draw(module).integers(-127, 128, shape)
        return {"weight": torch.tensor(levels, dtype=torch.int8)}, levels

    folder, _ = repack(tiny_models["llama"], tmp_path / "made", pack)
    assert "21 of its weights are stored as integers, first model.layers.0.mlp.down_proj.weight (I8)" in refusal(folder)
