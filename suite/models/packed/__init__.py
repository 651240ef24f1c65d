"""Packed weights without their kernels: the dense matrices that packed tensors stand for.

Such formats are made for kernels that multiply packed numbers; where there are none, the dense matrix that those
kernels stand for is computed once. One file a family of formats; each of its readers takes the tensors of one module
as their files hold them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from suite.models.packed import affine, awq, bitsandbytes, float4, float8, gptq

if TYPE_CHECKING:
    import torch

Reader = Callable[[dict[str, "torch.Tensor"], Mapping[str, Any]], dict[str, "torch.Tensor"]]
# by what a folder calls the method; a module is what the first reader that knows its tensors makes of it
READERS: dict[str, tuple[Reader, ...]] = {
    "gptq": (gptq.read,),
    "awq": (awq.read,),
    "auto-round": (awq.read_auto_round, gptq.read_auto_round, float4.read, float8.read),
    "bitsandbytes": (bitsandbytes.read,),
    "fp8": (float8.read,),
    "fbgemm_fp8": (float8.read,),
    "modelopt": (float4.read, float8.read),
    "mxfp4": (float4.read_experts,),
    "mlx": (affine.read,),
}
# what kernels round activations and caches with; the dense weights do not depend on it
ACTIVATIONS = re.compile(
    r"(^|[._])(input_scale(_inv)?|input_global_scale|input_activation_scale|output_scale|act_scale|input_scale_ub|"
    r"activation_scale|(k|v|q|kv|prob_output)_(cache_)?(scale|zero_point)|kv_cache_scaling_factor)$"
)


def read_module(
    tensors: Mapping[str, torch.Tensor], grid: Mapping[str, Any]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A module's tensors with dense ones in the place of packed ones, and the names of those that only kernels need.

    Args:
        tensors: by local name, such as ``qweight``.
        grid: what the configuration says of this module (see `suite.models.quantization.grid_of`).

    Returns:
        Tensors by local name: dense ones float32, others as they were; and the activation scales left out.

    Raises:
        SuiteError: a layout that is not read here, or tensors that do not fit each other.
    """
    rest = dict(tensors)
    dense: dict[str, Any] = {}
    for reader in READERS[str(grid["quant_method"])]:
        if dense := reader(rest, grid):
            break
    left = sorted(name for name in rest if ACTIVATIONS.search(name))
    return {**{name: tensor for name, tensor in rest.items() if name not in left}, **dense}, left
