"""How a checkpoint folder says that its weights are packed, wherever it says so, and the grid of each module.

Tools keep that in files of their own, beside config.json or instead of it. Every method named anywhere is applied
or refused by name; two files that contradict each other are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from suite.errors import SuiteError, first_line
from suite.models.packed import READERS
from suite.models.weight_files import tensor_entries

# what a tool writes beside config.json, and the method it means where the file names none
SIDE_FILES = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "quantization_config.json": "",
    "hf_quant_config.json": "modelopt",
}
# methods that transformers itself makes dense on loading
LOADED = ("compressed-tensors",)
_READ_BEFORE = ("gptq", "awq", "bitsandbytes", *LOADED)
# what a file that speaks of packed weights has
_TELLING = {"quant_method", "quant_algo", "bits", "w_bit", "load_in_4bit", "load_in_8bit"}
_SYNONYMS = {"w_bit": "bits", "wbits": "bits", "q_group_size": "group_size"}
_METHODS = {"intel/auto-round": "auto-round", "auto_round": "auto-round", "gptqmodel": "gptq"}
# of Model Optimizer; what else it knows needs more than weights and scales
_ALGORITHMS = (
    *("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MXFP8", "MXFP4", "MIXED_PRECISION"),
)
# settings that add to what the packed weights compute, and that no reader here applies
_UNREAD = ("rotation", "rotation_config", "spinquant_config", "adapter", "super_bits", "is_marlin_format")
# the same of compressed-tensors: transformers makes weights dense and leaves the rotations out without a word
_UNREAD_ON_LOADING = ("transform_config",)
# settings on which it depends what tensors stand for, and values that are what is taken without them
_READING = ("bits", "group_size", "checkpoint_format", "packing_format", "dynamic", "extra_config")
_SAY_NOTHING: tuple[object, ...] = (None, {}, "gptq")
# compression recipes that pack weights; where config.json does not say so, it was lost
_RECIPES = re.compile(r"\b(GPTQModifier|AWQModifier|QuantizationModifier)\b")


def quantization_of(path: Path) -> dict[str, Any]:
    """What a folder says of its packed weights, under the names that transformers uses; empty where it says nothing.

    Args:
        path: of a folder; a GGUF file has no such configuration.

    Returns:
        ``quant_method`` (lower case, one spelling a method) and its settings; ``stated_in`` names the file.

    Raises:
        SuiteError: a method that is not read here, files that contradict each other, or one that is damaged.
    """
    if not path.is_dir():
        return {}
    others = sorted(file.name for file in path.glob("*quant*.json") if file.name not in SIDE_FILES)
    stated = [one for one in (_in_config(path), *(_beside(path, name) for name in (*SIDE_FILES, *others))) if one]
    if not stated:
        _check_recipe(path)
        return {}
    first = stated[0]
    for other in stated[1:]:
        first = _joined(path, first, other)
    _check_read(path, first)
    return first


def _joined(path: Path, first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The first file's settings, and those of another on which reading depends and the first does not speak of."""
    for key in ("quant_method", *_READING):
        ours, theirs = (_comparable(key, one.get(key)) for one in (first, other))
        guessed = key == "quant_method" and (first.get("guessed") or other.get("guessed"))
        if ours is not None and theirs is not None and ours != theirs and not guessed:
            raise SuiteError(
                f"model {path}: {first['stated_in']} says {key} {ours}, {other['stated_in']} says {theirs}; "
                "remove the one that is not meant"
            )
    further = {key: other[key] for key in _READING if first.get(key) is None and other.get(key) not in _SAY_NOTHING}
    if not further:
        return first
    return {**first, **further, "stated_in": f"{first['stated_in']} and {other['stated_in']}"}


def reading_parts(path: Path) -> dict[str, str]:
    """What the scores of a packed folder depend on beside its weights and config.json; empty for most.

    That is a quantization named in another file, and for folders that once were read otherwise, or not whole, that
    they are read as they are now.
    """
    found = quantization_of(path)
    if not found:
        return {}
    parts = {}
    if found["stated_in"] != "config.json":
        parts["quantization"] = json.dumps(found, sort_keys=True)
    if found["quant_method"] not in _READ_BEFORE or _ragged(path, found):
        parts["reading"] = "2"
    return parts


def _ragged(path: Path, quantization: Mapping[str, Any]) -> bool:
    """Whether some module's last group of inputs is shorter and no ``g_idx`` says so."""
    if quantization["quant_method"] != "gptq":
        return False
    shapes = {entry.name: entry.shape for entry in tensor_entries(path)}
    for name, shape in shapes.items():
        module, _, local = name.rpartition(".")
        if local == "qweight" and f"{module}.g_idx" not in shapes:
            grid = grid_of(quantization, module) or {}
            groups = shapes.get(f"{module}.scales", (1,))[0]
            if (shape[0] * 32 // int(grid.get("bits") or 4)) % groups:
                return True
    return False


def grid_of(quantization: Mapping[str, Any], module: str, modules: Collection[str] = ()) -> dict[str, Any] | None:
    """The settings of one module: the folder's, and what it says of that module.

    GPTQModel's ``dynamic`` takes the first pattern that matches from the name's start; ``-:`` leaves modules dense.
    AutoRound's ``extra_config`` takes the entry of that name, else the first pattern that matches anywhere in it. MLX
    lists modules by name.

    Args:
        modules: names of all modules, which are no patterns.

    Returns:
        None for a module that is stated to be dense.

    >>> grid_of({"bits": 4, "dynamic": {"-:.*q_proj": {}, "+:.*down": {"bits": 8}}}, "layers.0.down_proj")["bits"]
    8
    """
    special: Any = None
    for pattern, override in (quantization.get("dynamic") or {}).items():
        if re.match(pattern.removeprefix("-:").removeprefix("+:"), module):
            special = False if pattern.startswith("-:") else override
            break
    extra = quantization.get("extra_config") or {}
    if module in extra:
        special = extra[module]
    elif special is None:
        patterns = [pattern for pattern in extra if pattern not in modules and extra[pattern]]
        special = next((extra[pattern] for pattern in patterns if _matches(pattern, module)), None)
    if quantization.get("quant_method") == "mlx":
        special = quantization.get(module, special)
    if special is False or int((special if isinstance(special, dict) else {}).get("bits") or 0) >= 16:
        return None
    return {**quantization, **_renamed(special if isinstance(special, dict) else {})}


def packed_bits(path: Path, quantization: Mapping[str, Any]) -> list[tuple[int | None, Any]]:
    """Weight bits and group size of every module of a folder that holds packed integers, by the configuration."""
    names = {entry.name for entry in tensor_entries(path)}
    endings = (".qweight", ".scales") if quantization["quant_method"] == "mlx" else (".qweight",)
    modules = {name.removesuffix(ending) for name in names for ending in endings if name.endswith(ending)}
    grids = [grid_of(quantization, module, modules) for module in sorted(modules)]
    return [(int(grid["bits"]), grid.get("group_size")) for grid in grids if grid and grid.get("bits")]


def float_kinds(path: Path) -> set[str]:
    """What floating-point grids a folder's packed tensors are on: of ``nvfp4``, ``mxfp4``, ``fp8``, ``mxfp8``."""
    kinds = {entry.name: entry.kind for entry in tensor_entries(path)}
    found = set()
    for name, kind in kinds.items():
        stem = re.sub(r"_(packed|blocks)$", "", name)
        scale = next((kinds[stem + end] for end in ("_scale", "_scale_inv", "_scales") if stem + end in kinds), None)
        if kind == "U8" and scale in ("U8", "F8_E4M3", "F8_E8M0") and not name.endswith(("_scale", "_scales")):
            found.add("nvfp4" if scale == "F8_E4M3" else "mxfp4")
        elif kind in ("F8_E4M3", "F8_E5M2") and scale is not None:
            found.add("mxfp8" if scale == "U8" else "fp8")
    return found


def _in_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config.get("quantization_config")
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # `config_hash` says in one line what is wrong with such a file
    texts = [config, config.get("text_config") or {}]
    keys = ("quantization_config", "compression_config")
    found = next((text[key] for key in keys for text in texts if text.get(key)), None)
    mlx = config.get("quantization")
    if isinstance(mlx, dict) and mlx.get("bits") and not (isinstance(found, dict) and found.get("quant_method")):
        return {**mlx, "quant_method": "mlx", "stated_in": "config.json"}
    return _settled(path, "config.json", found, "") if found else {}


def _beside(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SuiteError(f"model file {file}: damaged ({first_line(error)}); fetch it again") from error
    if isinstance(found, dict) and isinstance(found.get("quantization"), dict):
        found = found["quantization"]
    if name not in SIDE_FILES and not (isinstance(found, dict) and found.keys() & _TELLING):
        return {}
    return _settled(path, name, found, SIDE_FILES.get(name, ""))


def _settled(path: Path, name: str, found: object, method: str) -> dict[str, Any]:
    """One file's settings under one spelling."""
    if not isinstance(found, dict):
        raise SuiteError(f"model {path}: the quantization in {name} is no JSON object; correct that file")
    settings = _renamed(found)
    if "quant_algo" in settings:
        if str(settings["quant_algo"] or "").upper() in ("", "NONE", "NO_QUANT"):
            return {}
        settings.setdefault("quant_method", "modelopt")
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        settings.setdefault("quant_method", "bitsandbytes")
    stated = str(settings.get("quant_method") or method).lower()
    if not stated:
        raise SuiteError(f"model {path}: {name} describes packed weights and names no quant_method; add it")
    if not settings.get("quant_method"):
        settings["guessed"] = True
        if stated in ("gptq", "awq"):
            stated = _by_shapes(path) or stated
    settings["quant_method"] = _METHODS.get(stated, stated)
    return {**settings, "stated_in": name}


def _by_shapes(path: Path) -> str | None:
    """Which of GPTQ and AWQ packed the tensors: along the inputs, or along the outputs."""
    shapes = {entry.name: entry.shape for entry in tensor_entries(path)}
    for name, shape in shapes.items():
        scales = shapes.get(name.removesuffix("qweight") + "scales") if name.endswith(".qweight") else None
        if scales is not None:
            return "gptq" if shape[1] == scales[1] else "awq"
    return None


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under one spelling, whole numbers that are written as text as numbers."""
    found = {_SYNONYMS.get(key, key): value for key, value in settings.items()}
    for key in ("bits", "group_size"):
        if isinstance(found.get(key), str) and re.fullmatch(r"-?\d+", found[key]):
            found[key] = int(found[key])
    return found


def _comparable(key: str, value: object) -> object:
    if value is None:
        return None
    if key == "group_size":
        return value if not isinstance(value, int) or value > 0 else -1
    return str(value).lower() if isinstance(value, str) else value


def _check_read(path: Path, settings: Mapping[str, Any]) -> None:
    method, where = settings["quant_method"], settings["stated_in"]
    if method not in READERS and method not in LOADED:
        raise SuiteError(
            f"model {path}: {where} says its weights are packed by {method!r}, which is not read; save it dense, or in "
            f"one of: {', '.join(sorted((*READERS, *LOADED)))}"
        )
    if method in LOADED and where != "config.json":
        raise SuiteError(f"model {path}: {where} says {method}, and config.json does not; copy it there")
    algorithm = str(settings.get("quant_algo") or "FP8").upper()
    if method == "modelopt" and algorithm not in _ALGORITHMS:
        raise SuiteError(
            f"model {path}: {where} names the algorithm {algorithm}, which is not read; read are "
            f"{', '.join(_ALGORITHMS)}"
        )
    for key in _UNREAD if method in READERS else _UNREAD_ON_LOADING:
        if settings.get(key):
            raise SuiteError(
                f"model {path}: {where} sets {key!r}, which is not applied here; save the checkpoint without"
            )


def _check_recipe(path: Path) -> None:
    file = path / "recipe.yaml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if match := _RECIPES.search(text):
        raise SuiteError(
            f"model {path}: recipe.yaml quantizes its weights ({match[1]}), and config.json says nothing; restore "
            "its quantization_config, or remove recipe.yaml if the weights are dense"
        )


def _matches(pattern: str, module: str) -> bool:
    try:
        return re.search(pattern, module) is not None
    except re.error:  # a plain name with characters that mean something to patterns
        return False
