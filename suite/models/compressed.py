"""compressed-tensors checkpoints: transformers makes them dense on loading, and rounds activations as they say.

All but mixtures of experts: transformers 5.17 joins the experts of a block into one parameter while it loads, knows how
to do that for some formats alone, and rounds nothing inside. Such files are made dense first, by the library's own
readers, and where they round activations, experts stay apart as linear layers that do so.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError, first_line
from suite.holding import holding
from suite.models.model import Model
from suite.models.weight_files import tensor_entries

if TYPE_CHECKING:
    import torch


_EXPERT = re.compile(r"\.experts\.\d+\.")
_PACKED = re.compile(r"\.weight_(packed|scale)$")


def each_token_its_scale() -> None:
    """Mend how the library rounds inputs with one scale a token: it takes the first two dimensions for batch and token.

    So compressed-tensors 0.19 gives [tokens, width], as experts are called, one scale in all, and [batch, 1, tokens,
    width], as latent attention is, one a sequence: what a token is rounded to would depend on the others. Repeating is
    harmless.
    """
    from compressed_tensors.quantization import QuantizationStrategy
    from compressed_tensors.quantization.lifecycle import forward

    library: Any = forward
    given = library.compute_dynamic_scales_and_zp
    if getattr(given, "by_token", False):
        return

    def by_token(value: torch.Tensor, args: Any, module: Any, *more: Any, **named: Any) -> Any:
        if args.strategy != QuantizationStrategy.TOKEN or value.dim() == 3:
            return given(value, args, module, *more, **named)
        found = given(value.reshape(1, -1, value.shape[-1]), args, module, *more, **named)
        return tuple(one.reshape(*value.shape[:-1], 1) for one in found)

    by_token.by_token = True  # type: ignore[attr-defined]
    library.compute_dynamic_scales_and_zp = by_token


def packs_experts(path: Path) -> bool:
    """Whether a folder holds experts one by one, and packed."""
    return any(_EXPERT.search(entry.name) and _PACKED.search(entry.name) for entry in tensor_entries(path))


def made_dense(
    model: Model, modules: Mapping[str, dict[str, torch.Tensor]], quantization: Mapping[str, Any], dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a checkpoint with dense weights in the place of packed ones.

    Args:
        modules: tensors by module and local name.
        quantization: what the folder says of its packing.
        dtype: of the weights that were packed.

    Returns:
        Tensors by full name; and how inputs are rounded while the model runs, by module: experts under ``experts``.

    Raises:
        SuiteError: tensors that do not fit the configuration, experts that are treated in several ways, a rounding with
            stored scales, or a rounded cache.
    """
    if quantization.get("kv_cache_scheme"):
        raise SuiteError(f"model {model.id}: a rounded key-value cache beside packed experts is not read here")
    state: dict[str, torch.Tensor] = {}
    inputs: dict[str, Any] = {}
    of_experts: list[Any] = []
    for module, tensors in modules.items():
        found, rounded = tensors, None
        if any(_PACKED.search(f".{name}") for name in tensors):
            found, rounded = _dense(model, module, tensors, quantization, dtype)
        if _EXPERT.search(f"{module}."):
            of_experts.append(rounded)
        elif rounded:
            inputs[module] = rounded
        state |= {f"{module}.{name}" if module else name: tensor for name, tensor in found.items()}
    if any(one != of_experts[0] for one in of_experts):
        raise SuiteError(f"model {model.id}: inputs of its experts are rounded in several ways, which is not read here")
    if of_experts[0]:
        inputs["experts"] = of_experts[0]
    for module, rounded in inputs.items():
        if not rounded.get("dynamic") or rounded.get("strategy") not in ("token", "group"):
            raise SuiteError(
                f"model {model.id}: inputs of {module} are rounded with scales that are no token's own "
                f"({rounded.get('strategy')}), which is not read here for mixtures of experts"
            )
    return state, inputs


def round_inputs(network: Any, inputs: Mapping[str, Any]) -> None:
    """Let layers round their inputs while a network runs; experts stay linear layers from here on.

    Args:
        inputs: as `made_dense` gives them.

    Raises:
        SuiteError: a layer that the network does not have.
    """
    from compressed_tensors.quantization import (
        QuantizationScheme,
        QuantizationStatus,
        initialize_module_for_quantization,
    )
    from torch.nn import Linear

    from suite.models.linearized import expert_layers, linearized

    each_token_its_scale()
    with linearized(network, stay="experts" in inputs):
        layers = {name: module for name, module in network.named_modules() if isinstance(module, Linear)}
        wanted = {name: rounded for name, rounded in inputs.items() if name != "experts"}
        wanted |= {name: inputs["experts"] for name, _ in expert_layers(network) if "experts" in inputs}
        for name, rounded in wanted.items():
            if name not in layers:
                raise SuiteError(f"inputs of {name} are rounded, and the network has no such layer")
            scheme = QuantizationScheme.model_validate({"targets": ["Linear"], "input_activations": dict(rounded)})
            initialize_module_for_quantization(layers[name], scheme)
            # weights are dense, inputs are rounded
            layers[name].quantization_status = QuantizationStatus.DECOMPRESSED


def _dense(
    model: Model,
    module: str,
    tensors: dict[str, torch.Tensor],
    quantization: Mapping[str, Any],
    dtype: torch.dtype,
) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    """One module's tensors with a dense weight, and how its inputs are rounded."""
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import QuantizationScheme
    from torch.nn import Linear

    try:
        scheme = QuantizationScheme.model_validate({**_group_of(module, quantization), "targets": ["Linear"]})
        kind = scheme.format or quantization.get("format")
        if kind in (None, "mixed-precision"):
            kind = infer_module_format(Linear, scheme)
        packer = BaseCompressor.get_value_from_registry(getattr(kind, "value", kind))
        weight = packer.decompress(dict(tensors), scheme)["weight"]
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        raise SuiteError(
            f"model {model.id}: the packed tensors of {module} do not fit together ({first_line(error)}); "
            "fetch it again"
        ) from error
    rounded = None if scheme.input_activations is None else scheme.input_activations.model_dump(mode="json")
    return {"weight": weight.to(dtype), **{name: tensors[name] for name in tensors if name == "bias"}}, rounded


def _group_of(module: str, quantization: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the group that a linear layer belongs to, by name or type."""
    for group in (quantization.get("config_groups") or {}).values():
        for target in group.get("targets") or ():
            if target in ("Linear", module) or (target.startswith("re:") and re.match(target[3:], module)):
                return {key: value for key, value in group.items() if key != "targets"}
    raise SuiteError(f"{module} is packed, and no group of the quantization_config says how")


@contextmanager
def dense_on_loading(model: Model, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """What `from_pretrained` is told so that weights are dense, and in the run's dtype, before the first forward pass.

    compressed-tensors 0.19 unpacks FP4 to bfloat16 whatever the model's dtype: in float32 that is a weight rounded to
    8 bits of mantissa in a layer that then meets inputs of another dtype.
    """
    if importlib.util.find_spec("compressed_tensors") is None:
        raise SuiteError(
            f"model {model.id}: its weights are packed by compressed-tensors, which is not installed; run 'make setup' "
            "or 'pip install compressed-tensors'"
        )
    from compressed_tensors.compressors.nvfp4 import base
    from loguru import logger
    from transformers import CompressedTensorsConfig

    each_token_its_scale()
    setting: Any = CompressedTensorsConfig
    logger.disable("compressed_tensors")
    try:
        with holding(base, "unpack_fp4_from_uint8", partial(base.unpack_fp4_from_uint8, dtype=dtype)):
            yield {"quantization_config": setting(dequantize=True)}
    finally:
        logger.enable("compressed_tensors")


def settle(network: Any, dtype: torch.dtype) -> None:
    """Bring what compressed-tensors left in another dtype into the run's: scales of powers of two come as bfloat16."""
    for module in network.modules():
        if hasattr(module, "quantization_scheme"):
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point() and parameter.dtype != dtype:
                    parameter.data = parameter.data.to(dtype)
