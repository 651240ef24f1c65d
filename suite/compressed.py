"""compressed-tensors checkpoints: transformers makes them dense on loading, and rounds activations as they say."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.model import Model

if TYPE_CHECKING:
    import torch


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

    setting: Any = CompressedTensorsConfig
    library: Any = base
    unpack = library.unpack_fp4_from_uint8
    library.unpack_fp4_from_uint8 = partial(unpack, dtype=dtype)
    logger.disable("compressed_tensors")
    try:
        yield {"quantization_config": setting(dequantize=True)}
    finally:
        logger.enable("compressed_tensors")
        library.unpack_fp4_from_uint8 = unpack


def settle(network: Any, dtype: torch.dtype) -> None:
    """Bring what compressed-tensors left in another dtype into the run's: scales of powers of two come as bfloat16."""
    for module in network.modules():
        if hasattr(module, "quantization_scheme"):
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point() and parameter.dtype != dtype:
                    parameter.data = parameter.data.to(dtype)
