"""A copy of the dense weights on disk, so that what a library did to them can be measured one layer at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.compress.layers import linear_layers
from suite.errors import SuiteError

if TYPE_CHECKING:
    import torch


class Reference:
    """Weights of the linear layers as they were, read back one at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def weight(self, name: str) -> torch.Tensor:
        """The weight of one layer, on the CPU, in the dtype it had."""
        from safetensors import safe_open

        with safe_open(self._file, framework="pt") as handle:
            weight: torch.Tensor = handle.get_tensor(name)
            return weight


@contextmanager
def remember(network: Any) -> Iterator[Reference]:
    """Write the weights of every linear layer to a temporary file, gone with the context.

    Raises:
        SuiteError: no room for it in the temporary folder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory(prefix="suite-") as folder:
        file = Path(folder) / "dense.safetensors"
        try:
            save_file({name: module.weight.data.contiguous() for name, module in linear_layers(network)}, file)
        except (OSError, SafetensorError) as error:
            raise SuiteError(
                f"temporary folder {Path(folder).parent}: {error}; compression keeps a copy of the dense weights "
                "there; free some space or set TMPDIR"
            ) from error
        # the network may go while its weights wait here
        del network
        yield Reference(file)
