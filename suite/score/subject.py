"""What is to be scored, as the scorers are given it: a variant of a model, under decided conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.models.model import Model
from suite.variant import Variant

if TYPE_CHECKING:
    from suite.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Subject:
    """A variant of a model that is not in memory yet.

    Attributes:
        model: what the variant is made of.
        variant: what is made of it.
        dtype, device: decided ones, such as ``bfloat16`` and ``cpu``.
        network: the variant made, as a torch network in memory, and the `variant` section of its cells with what was
            measured on the weights. A scorer that reads the model by itself does not call it.
        way: how texts go through, where a scorer knows several ways; ``auto`` for the fastest.
        remembered: called with a name and a measurement: what was measured under that name in this run directory
            before, or measured now, so that a resumed run forms the same batches. None where nothing is remembered.
    """

    model: Model
    variant: Variant
    dtype: str
    device: str
    network: Callable[[], tuple[Checkpoint, dict[str, Any]]]
    way: str = "auto"
    remembered: Callable[[str, Callable[[], int]], int] | None = None
