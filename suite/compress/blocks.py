"""Decoder blocks of a network: finding them, watching them on sample text, and what their removal takes along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.sample_text import SampleTokens

if TYPE_CHECKING:
    import torch


def blocks_of(network: Any) -> Any:
    """The list of decoder blocks.

    Raises:
        SuiteError: an architecture that keeps them elsewhere.
    """
    blocks = getattr(network.base_model, "layers", None)
    if blocks is None or not len(blocks) or not hasattr(blocks[0], "self_attn") or not hasattr(blocks[0], "mlp"):
        raise SuiteError(
            f"model architecture {network.config.model_type!r} has no list of blocks with self_attn and mlp; "
            "depth and width pruning cannot take it apart"
        )
    return blocks


def watch(
    network: Any, modules: Sequence[Any], see: Callable[[int, torch.Tensor, torch.Tensor], None], tokens: SampleTokens
) -> None:
    """Forward the sample text, one sequence at a time, and show each module's input and output.

    Args:
        see: called with (index of the module, input [tokens, width], output [tokens, width]).
    """
    import torch

    def hook(index: int) -> Callable[..., None]:
        def seen(_: Any, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            states = given[0] if given else named["hidden_states"]
            result = output[0] if isinstance(output, tuple) else output
            see(index, states.flatten(0, -2), result.flatten(0, -2))

        return seen

    handles = [module.register_forward_hook(hook(index), with_kwargs=True) for index, module in enumerate(modules)]
    device = network.get_input_embeddings().weight.device
    try:
        with torch.inference_mode():
            for row in tokens.ids:
                network.base_model(input_ids=torch.from_numpy(row)[None].to(device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
