"""A packed checkpoint written dense: every tensor of its weight files is read, turned into weights, or named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.errors import SuiteError, first_line
from suite.models.model import Model
from suite.models.packed import read_module
from suite.models.quantization import grid_of
from suite.models.weight_files import SINGLE, tensor_entries, weight_files

# where a configuration speaks of packed weights
_QUANTIZED = ("quantization_config", "compression_config", "quantization")


def unpack(model: Model, quantization: Mapping[str, Any], dtype: str, out: Path) -> dict[str, Any]:
    """Write a packed checkpoint's weights as dense ones, and its configuration without the packing, into a folder.

    Args:
        quantization: what the folder says of it (see `suite.models.quantization.quantization_of`).
        dtype: of every floating-point tensor written.

    Returns:
        ``parent_quantization``; ``unread``: names of the file's tensors that no weight depends on; ``notes``: what a
        reader of the scores should know of them.

    Raises:
        SuiteError: a module whose tensors do not fit each other or the stated grid, or nothing packed at all.
    """
    import torch
    from safetensors.torch import save_file

    wanted = getattr(torch, dtype)
    grouped = _by_module(model.path)
    modules = frozenset(grouped)
    state: dict[str, Any] = {}
    unread: list[str] = []
    unpacked = 0
    for module in sorted(modules):
        tensors = grouped.pop(module)
        found, left = _read(model, module, tensors, quantization, modules)
        unpacked += any(found[name] is not tensors.get(name) for name in found)
        unread += [f"{module}.{name}" for name in left]
        for local, tensor in found.items():
            name = f"{module}.{local}" if module else local
            if local.endswith("weight") and not tensor.is_floating_point():
                raise SuiteError(
                    f"model {model.id}: {name} holds {tensor.dtype} and nothing says how to read them; is it packed by "
                    f"{quantization['quant_method']}, as {quantization['stated_in']} says?"
                )
            state[name] = (tensor.to(wanted) if tensor.is_floating_point() else tensor).contiguous()
    if not unpacked:
        raise SuiteError(
            f"model {model.id}: {quantization['stated_in']} says its weights are packed by "
            f"{quantization['quant_method']}, and none of its tensors are; remove that setting if they are dense"
        )
    save_file(state, out / SINGLE, {"format": "pt"})
    _write_config(model.path, out)
    notes = []
    if unread:
        notes = [f"scales for rounding activations and caches: {len(unread)} tensors left out, first {unread[0]}"]
    return {
        "parent_quantization": quantization["quant_method"],
        "unread": unread,
        "notes": notes,
    }


def unpack_mixture(model: Model, quantization: Mapping[str, Any], dtype: str, out: Path) -> dict[str, Any]:
    """Write a compressed-tensors checkpoint of packed experts as a dense one, its configuration without the packing.

    Args:
        quantization: what the folder says of it.
        dtype: of every weight that was packed.

    Returns:
        ``parent_quantization``, and ``inputs``: how inputs of layers are rounded (see
        `suite.models.compressed.made_dense`).
    """
    import torch
    from safetensors.torch import save_file

    from suite.models.compressed import made_dense

    state, inputs = made_dense(model, _by_module(model.path), quantization, getattr(torch, dtype))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, out / SINGLE, {"format": "pt"})
    _write_config(model.path, out)
    return {"parent_quantization": quantization["quant_method"], "inputs": inputs}


def _write_config(folder: Path, out: Path) -> None:
    """The configuration of a folder without what it says of packed weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, config.get("text_config") or {}):
        for key in _QUANTIZED:
            part.pop(key, None)
    (out / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")


def _read(
    model: Model, module: str, tensors: dict[str, Any], quantization: Mapping[str, Any], modules: frozenset[str]
) -> tuple[dict[str, Any], list[str]]:
    grid = grid_of(quantization, module, modules)
    try:
        if grid is None:
            if "qweight" in tensors:
                raise SuiteError("packed, though the configuration says that it is left dense")
            return tensors, []
        return read_module(tensors, grid)
    except SuiteError as error:
        raise SuiteError(f"model {model.id}, {module}: {error}") from error
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
        raise SuiteError(
            f"model {model.id}: the packed tensors of {module} do not fit together ({first_line(error)}); are they "
            f"packed as {quantization['stated_in']} says?"
        ) from error


def _by_module(folder: Path) -> dict[str, dict[str, Any]]:
    """Every tensor by module and local name."""
    from safetensors import safe_open

    names: dict[Path, list[str]] = {file: [] for file in weight_files(folder)}
    for entry in tensor_entries(folder):
        names[entry.file].append(entry.name)
    grouped: dict[str, dict[str, Any]] = {}
    for file, held in names.items():
        with safe_open(file, framework="pt") as handle:
            for name in held:
                # bitsandbytes hangs its tensors below the weight
                head, found, tail = name.partition(".weight.")
                module, _, local = (head, "", f"weight.{tail}") if found else name.rpartition(".")
                grouped.setdefault(module, {})[local] = handle.get_tensor(name)
    return grouped
