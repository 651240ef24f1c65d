"""Writing a compressed model as a checkpoint that transformers loads and that scores the same.

Methods of llm-compressor write the packed compressed-tensors format, which vLLM serves as well; everything else is a
plain checkpoint. ``suite.json`` beside the weights says which variant of which model it is and what was measured.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from suite.compress import VariantInfo
from suite.errors import SuiteError
from suite.models.checkpoint import NOTE, Checkpoint
from suite.models.model import Model, has_experts
from suite.progress_bars import no_bars
from suite.variant import Variant


def check_savable(info_method: str) -> None:
    """Raise one line for methods whose model no loader puts together again."""
    if info_method in ("spinquant", "quip"):
        raise SuiteError(
            f"{info_method}: rotates activations while it runs, and transformers does not load that back; "
            "score it with 'suite score --variant' instead of saving it"
        )


def check_beforehand(model: Model, variant: Variant) -> None:
    """Raise one line for what could not be saved after hours of compression."""
    check_savable(variant.method)
    if variant.repeats and variant.family == "dense":
        raise SuiteError(
            f"{variant.name}: is the model itself, computed otherwise; score it with 'suite score --variant'"
        )
    if has_experts(model) and (variant.activation_bits or variant.kv_bits):
        raise SuiteError(
            f"{variant.name}: rounds activations or a cache while it runs, and no saved format has a place for that "
            f"beside the stacked experts of {model.name}; score it with 'suite score --variant' instead of saving it"
        )


def check_whole(network: Any, info: VariantInfo) -> None:
    """Raise one line for a compressed network that no loader puts together again."""
    from suite.models.linearized import in_pieces, is_stack

    check_savable(info.method)
    kind = network.config.model_type
    if in_pieces(network):
        raise SuiteError(
            f"{info.name}: rounds activations while it runs, and transformers does not do that in the layers of "
            f"architecture {kind!r}; score it with 'suite score --variant' instead of saving it"
        )
    if info.family == "structured" and not _described(network):
        raise SuiteError(
            f"{info.name}: the configuration of architecture {kind!r} cannot say which parts are left; score it with "
            "'suite score --variant' instead of saving it"
        )
    held = any(hasattr(module, "quantization_scheme") for module in network.modules())
    if held and any(is_stack(module) for module in network.modules()):
        raise SuiteError(
            f"{info.name}: the packed format has no place for the stacked experts of architecture {kind!r}; "
            "score it with 'suite score --variant' instead of saving it"
        )


def _described(network: Any) -> bool:
    """Whether a network's configuration builds a network of the same parts."""
    import torch

    with torch.device("meta"):
        built = type(network)(network.config)
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (network, built)]
    return shapes[0] == shapes[1]


def save(checkpoint: Checkpoint, info: VariantInfo, out: str | Path) -> int:
    """Write a checkpoint folder, whole or not at all.

    Args:
        checkpoint: the model, compressed in place; it stays as it is.
        info: what `suite.compress.apply` gave for it.
        out: a folder that is not there yet, or is empty.

    Returns:
        Bytes of its weight files.

    Raises:
        SuiteError: a method that cannot be saved, a folder in the way, or a full disk.
    """
    check_whole(checkpoint.network, info)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SuiteError(f"output {out}: is there already; name a new folder")
    partial = None
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
        with no_bars():
            _write(checkpoint, partial)
        note = {
            "variant": info.as_metadata(),
            "dense": checkpoint.info,
            "dtype": checkpoint.dtype,
            "add_bos": checkpoint.bos is not None,
        }
        (partial / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True), encoding="utf-8")
        size = sum(file.stat().st_size for file in partial.glob("*.safetensors"))
        with suppress(FileNotFoundError):
            out.rmdir()
        # mkdtemp's folder is for its owner alone
        partial.chmod(0o755)
        partial.rename(out)
    except OSError as error:
        raise SuiteError(f"output {out}: {error.strerror or error}; free space or name another folder") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return size


def _write(checkpoint: Checkpoint, folder: Path) -> None:
    network: Any = checkpoint.network
    if any(hasattr(module, "quantization_scheme") for module in network.modules()):
        from suite.compress.llm_compressor import save_packed

        save_packed(network, folder)
    else:
        # a pruning recipe has wrapped the method; the plain one is the class's
        type(network).save_pretrained(network, folder)
    checkpoint.tokenizer.save_pretrained(folder)
