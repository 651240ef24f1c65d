"""How far a compressed network's outputs are from the dense one's, on sample text that no method has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.variant import Variant

if TYPE_CHECKING:
    import torch

POSITIONS = 64
# chosen between what was seen on small models: folds that fit the architecture moved outputs by 0.05 at most, folds
# that do not by half and more
TOLERANCE = 0.15


def sample_logits(network: Any, tokens: SampleTokens) -> torch.Tensor:
    """Logits of the last `POSITIONS` positions of the check text, [positions, vocabulary], float32, on the CPU."""
    import torch

    device = network.get_input_embeddings().weight.device
    with torch.inference_mode():
        ids = torch.from_numpy(tokens.check).to(device)
        output = network(input_ids=ids, use_cache=False, logits_to_keep=POSITIONS)
        logits: torch.Tensor = output.logits[0, -POSITIONS:].float().cpu()
    return logits


def check_unchanged(network: Any, variant: Variant, dense: torch.Tensor, tokens: SampleTokens) -> str:
    """A transformation that ought to leave every output as it was has done so.

    Args:
        dense: `sample_logits` of the dense network.

    Returns:
        How far outputs did move, in words.

    Raises:
        SuiteError: they moved by more than rounding can: the transformation does not fit the architecture.
    """
    moved = relative_error(dense, sample_logits(network, tokens))
    if not moved <= TOLERANCE:
        raise SuiteError(
            f"variant {variant.name!r}: the transformation before rounding changes the outputs of architecture "
            f"{network.config.model_type!r} by {moved:.2f}, where it should change nothing; use another method"
        )
    return f"the transformation before rounding moves outputs by {moved:.4f}"


def relative_error(dense: torch.Tensor, compressed: torch.Tensor) -> float:
    """‖L − L̂‖ / ‖L‖, Frobenius, of logits from which each position's mean is taken (it changes no probability).

    Args:
        dense, compressed: [positions, vocabulary].

    Returns:
        0 for equal outputs; near √2 and above, nothing of the dense output is left. NaN when outputs are not finite.

    >>> import torch
    >>> relative_error(torch.tensor([[1.0, -1.0]]), torch.tensor([[1.5, 0.5]]))
    0.5
    """
    left = dense.double() - dense.double().mean(dim=-1, keepdim=True)
    right = compressed.double() - compressed.double().mean(dim=-1, keepdim=True)
    return float((left - right).norm() / left.norm())
