"""llm-compressor, the field's library of compression methods: everything the suite needs of it, in one place.

The library's recipes run on a network in memory and leave their mark on its modules: scales, and a forward pass that
rounds weights and activations. `settle` turns that into weights that are what they will be when stored, so that they
are rounded once and not in every forward pass; rounding of activations and of the key-value cache stays, because it
belongs to the compressed model.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from suite.compress.layers import STORED_BITS, LayerChange, Outcome, compare, linear_layers
from suite.compress.reference import Reference, remember
from suite.errors import SuiteError, first_line
from suite.holding import holding
from suite.models.compressed import each_token_its_scale
from suite.sample_text import SampleTokens
from suite.variant import Variant

if TYPE_CHECKING:
    import torch

# an expert that saw fewer tokens is compressed without data
FEW_TOKENS = 32
PACKAGE = "llmcompressor"
_LOG_LEVEL = "LLM_COMPRESSOR_LOG_LEVEL"
# said on every run of its kind, and of no weight; routers stay dense, so they have no scheme
_EXPECTED = (
    "No accelerator available",
    "Disabling tokenizer parallelism",
    "Unable to find quantization scheme for targeted layer",
)
_ROUNDS = 16
# of a block's output less its input, where both do the same operations in the same order
_TRACED_TOLERANCE = 0.01
_LAYER = re.compile(r"\((\d+)/(\d+)\): Calibrating")


def load(variant: Variant) -> None:
    """Import the library, which otherwise talks to stdout while it is imported.

    Raises:
        SuiteError: it is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise SuiteError(
            f"variant {variant.name!r}: package {PACKAGE} is not installed; run 'make setup' or 'pip install {PACKAGE}'"
        )
    if PACKAGE in sys.modules:
        each_token_its_scale()
        return
    given = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = "ERROR"
    try:
        from llmcompressor.logger import LoggerConfig, configure_logger

        # awq, smoothquant and the rotations warn of a missing accelerator while their classes are made
        importlib.import_module("llmcompressor.modifiers.transform")
    finally:
        os.environ.pop(_LOG_LEVEL)
        if given is not None:
            os.environ[_LOG_LEVEL] = given
    # as it would have been
    configure_logger(LoggerConfig())
    each_token_its_scale()


def run(network: Any, variant: Variant, modifiers: Sequence[Any], tokens: SampleTokens | None) -> list[str]:
    """Apply modifiers to a network in place, block after block, each block seeing what the ones before it became.

    Args:
        modifiers: llm-compressor modifiers, applied together.
        tokens: sample text; None for recipes that read none.

    Returns:
        What the library warned of, for example layers whose Hessian could not be inverted.

    Raises:
        SuiteError: an architecture that the library cannot take apart, with its own first line.
    """
    from llmcompressor import oneshot

    from suite.models.linearized import visiting_all

    said: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(visiting_all(network))
        stack.enter_context(_silenced(f"compressing {variant.name}", said))
        stack.enter_context(_without_pinning())
        stack.enter_context(_named(network))
        stack.enter_context(_masked(network))
        stack.enter_context(_released())
        check = stack.enter_context(_as_computed(network, tokens)) if tokens is not None else None
        try:
            oneshot(
                model=network,
                # nothing is saved here, so nothing asks this what it is
                processor=object(),
                recipe=list(modifiers),
                dataset=_batches(tokens) if tokens is not None else None,
                moe_calibrate_all_experts=False,
            )
        except (MemoryError, KeyboardInterrupt, SuiteError):
            raise
        except Exception as error:  # tracing and the modifiers raise many unrelated types
            raise SuiteError(
                f"variant {variant.name!r}: llm-compressor cannot make it of architecture "
                f"{network.config.model_type!r} ({type(error).__name__}: {first_line(error)[:300]}); use another method"
            ) from error
    if check is not None and check.moved > _TRACED_TOLERANCE:
        raise SuiteError(
            f"variant {variant.name!r}: llm-compressor shows the sample text to the first block of architecture "
            f"{network.config.model_type!r} otherwise than the model computes it (output off by {check.moved:.2f}): "
            "use a method without sample text"
        )
    if variant.kv_bits and not any(hasattr(module, "k_scale") for module in network.modules()):
        raise SuiteError(
            f"variant {variant.name!r}: llm-compressor finds no keys and values to round in the attention of "
            f"architecture {network.config.model_type!r}; drop the kv part"
        )
    return said


def sparing(kind: Any, network: Any, fallback: Callable[[Any], object]) -> tuple[Any, list[str]]:
    """A modifier of the library that leaves alone experts which the sample text hardly reaches.

    Whatever is computed from a handful of tokens fits those and nothing else. Layers of such experts are given to
    `fallback`; all other layers are treated as the library does.

    Args:
        kind: a modifier class that gathers data in `calibrate_module` and uses it in `compress_modules`.
        network: in pieces (see `suite.models.linearized`).
        fallback: compresses one layer in place without data.

    Returns:
        The class to use, and the names of the layers that went to `fallback`, filled while it runs.
    """
    from suite.models.linearized import expert_layers

    names = {id(module): name for name, module in expert_layers(network)}
    tokens: dict[int, int] = {}
    spared: list[str] = []

    class Sparing(kind):  # type: ignore[misc]
        """The modifier, but for rarely chosen experts."""

        def calibrate_module(self, module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen = args[0]
            if id(module) in names:
                tokens[id(module)] = tokens.get(id(module), 0) + seen.shape[:-1].numel()
            if seen.dim() > 3:
                # as latent attention gives them
                args = (seen.flatten(1, -2), *args[1:])
            super().calibrate_module(module, args, output)

        def compress_modules(self) -> None:
            held = (self._num_samples, *(getattr(self, part, {}) for part in ("_hessians", "_row_scalars")))
            for module in [module for module in self._num_samples if tokens.get(id(module), FEW_TOKENS) < FEW_TOKENS]:
                for part in held:
                    part.pop(module, None)
                spared.append(names[id(module)])
                fallback(module)
            super().compress_modules()

    return Sparing, spared


def about_spared(spared: Sequence[str], how: str) -> list[str]:
    """What a row says of layers that `sparing` left alone: experts by number, for each block."""
    experts: dict[str, list[int]] = {}
    for name in spared:
        place, _, rest = name.rpartition(".experts.")
        number = int(rest.partition(".")[0])
        if number not in experts.setdefault(place, []):
            experts[place].append(number)
    if not experts:
        return []
    count = sum(map(len, experts.values()))
    who = "1 expert saw" if count == 1 else f"{count} experts saw"
    listed = "; ".join(f"{place}: {', '.join(map(str, sorted(numbers)))}" for place, numbers in experts.items())
    done = f"so {'it was' if count == 1 else 'they were'} {how}"
    return [f"{who} fewer than {FEW_TOKENS} tokens of the sample text, {done} ({listed})"]


def scheme(network: Any, variant: Variant, *, symmetric: bool = True) -> dict[str, Any]:
    """The quantization scheme of a variant, as arguments of the library's quantizing modifiers.

    Weights: integers, one scale an output row or a group. Activations: integers, symmetric, one scale a token, found
    when the token comes. Key-value cache: 8-bit floating point (e4m3), one scale for a layer's keys and one for its
    values, from the sample text.

    Raises:
        SuiteError: the group size does not divide a layer's inputs.
    """
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    check_groups(network, variant)
    weights = QuantizationArgs(
        num_bits=variant.bits,
        type="int",
        symmetric=symmetric,
        strategy="group" if variant.group else "channel",
        group_size=variant.group,
    )
    activations = None
    if variant.activation_bits:
        activations = QuantizationArgs(
            num_bits=variant.activation_bits, type="int", symmetric=True, strategy="token", dynamic=True
        )
    arguments: dict[str, Any] = {
        "config_groups": {
            "group_0": QuantizationScheme(targets=["Linear"], weights=weights, input_activations=activations)
        },
        "ignore": ignored(network),
    }
    if variant.kv_bits:
        arguments["kv_cache_scheme"] = QuantizationArgs(
            num_bits=8, type="float", symmetric=True, strategy="tensor", dynamic=False
        )
    return arguments


def ignored(network: Any) -> list[str]:
    """Linear layers that are no part of the blocks: the output head."""
    ours = {name for name, _ in linear_layers(network)}
    import torch

    return [
        f"re:{re.escape(name)}"
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in ours
    ]


def check_groups(network: Any, variant: Variant) -> None:
    """Raise one line when the variant's groups do not divide the rows of every layer."""
    if variant.group is None:
        return
    for name, module in linear_layers(network):
        if module.weight.shape[1] % variant.group:
            raise SuiteError(
                f"variant {variant.name!r}, layer {name}: group size {variant.group} does not divide the "
                f"{module.weight.shape[1]} inputs of a layer; use a divisor, such as 32"
            )


def changed_by(network: Any, variant: Variant, modifier: Any, tokens: SampleTokens | None) -> Outcome:
    """`run` one modifier and `settle` what it did, compared with the dense weights."""
    with remember(network) as reference:
        notes = run(network, variant, [modifier], tokens)
        return Outcome(settle(network, reference), notes)


def settle(network: Any, reference: Reference | None) -> list[LayerChange]:
    """Make every layer's weight what it is when stored, and record what became of it.

    Args:
        reference: dense weights to compare with. None: the library transforms weights before it rounds them (AWQ,
            SmoothQuant), which changes no output, so the error is that of the rounding alone.
    """
    import torch
    from compressed_tensors.quantization import QuantizationStatus

    changes: list[LayerChange] = []
    with torch.inference_mode():
        for name, module in linear_layers(network):
            weight = module.weight
            held = getattr(module, "quantization_scheme", None)
            stored, bits = weight.data, STORED_BITS * float(weight.numel())
            if held is not None and held.weights is not None:
                stored = _on_grid(partial(_rounded, module), weight.data)
                bits = stored_bits(module)
            dense = weight.data if reference is None else reference.weight(name).to(weight.device)
            changes.append(compare(name, dense, stored, bits))
            if stored is not weight.data:
                # an inference tensor could not be trained or saved with hooks later on
                weight.data.copy_(stored)
                # the library's own name for this state: weights are on their grid, the forward pass leaves them alone
                module.quantization_status = QuantizationStatus.DECOMPRESSED
    return changes


def save_packed(network: Any, folder: Path) -> None:
    """Write a network that the library has quantized in the compressed-tensors format; it scores the same afterwards.

    Packing takes the dense weights away; they are unpacked again in memory.
    """
    from compressed_tensors.compressors import ModelCompressor

    with _silenced("saving", []), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attempting to save a model with offloaded modules")
        network.save_pretrained(folder, save_compressed=True)
        # the library would unpack in the next forward pass of the whole network; scoring enters below that
        ModelCompressor.from_pretrained_model(network).decompress_model(network)


def forget(network: Any) -> None:
    """Take what the library left on a network's layers away: weights that are on their grid stay what they are."""
    for module in network.modules():
        if hasattr(module, "quantization_scheme"):
            from compressed_tensors.quantization import QuantizationMetadata

            QuantizationMetadata.clear_quantization(module)
            for left in ("quantization_status", "quantization_enabled"):
                module.__dict__.pop(left, None)


@contextmanager
def unrounded(network: Any) -> Iterator[None]:
    """A network that the library has quantized but that is not settled yet, as it is before rounding."""
    from compressed_tensors.quantization import disable_quantization, enable_quantization

    network.apply(disable_quantization)
    try:
        yield
    finally:
        network.apply(enable_quantization)


def _rounded(module: Any, weight: torch.Tensor) -> torch.Tensor:
    from compressed_tensors.quantization import forward_quantize

    rounded: torch.Tensor = forward_quantize(module, weight, "weight", module.quantization_scheme.weights)
    return rounded.to(weight.dtype)


def _on_grid(rounded: Callable[[torch.Tensor], torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Round until rounding changes nothing.

    The library divides by the scale in the weights' own dtype. At 8 bits in bfloat16 the quotient is off by up to half
    a step, so that a rounded weight may be rounded to its neighbour when it is packed: the saved model would not be the
    one that was scored.
    """
    import torch

    stored = rounded(weight)
    for _ in range(_ROUNDS):
        again = rounded(stored)
        if torch.equal(again, stored):
            break
        stored = again
    return stored


def stored_bits(module: Any) -> float:
    """Bits that a linear layer takes when stored: weights, 16-bit scales, and zero points where the grid has any."""
    held = getattr(module, "quantization_scheme", None)
    if held is None or held.weights is None:
        return STORED_BITS * float(module.weight.numel())
    bits = held.weights.num_bits * module.weight.numel() + STORED_BITS * module.weight_scale.numel()
    if not held.weights.symmetric:
        bits += held.weights.num_bits * module.weight_zero_point.numel()
    return float(bits)


def _batches(tokens: SampleTokens) -> Any:
    import torch
    from torch.utils.data import DataLoader

    rows = [
        {"input_ids": torch.from_numpy(row), "attention_mask": torch.ones(len(row), dtype=torch.long)}
        for row in tokens.ids
    ]
    return DataLoader(rows, batch_size=1, shuffle=False)  # type: ignore[arg-type]


@contextmanager
def _named(network: Any) -> Iterator[None]:
    """The library reads the configuration again from where the network came from; a network may come from nowhere."""
    with tempfile.TemporaryDirectory(prefix="suite-") as folder:
        network.config.save_pretrained(folder)
        with holding(network.config, "_name_or_path", folder):
            yield


@contextmanager
def _masked(network: Any) -> Iterator[None]:
    """Keep the attention mask of models that choose between two functions for it.

    llm-compressor 0.14 traces a model and leaves calls of transformers' mask functions to run time. It knows them by
    their global names. Some models (Mistral, Mixtral, Phi-3, Qwen3-MoE, ...) put one of two into a local
    `mask_function` and call that: traced, it gives no mask, and every token of the sample text would see the ones after
    it. A global function of that name is what the library takes the local one for.
    """
    import transformers.masking_utils as masks

    def mask_function(config: Any, **more: Any) -> Any:
        windowed = getattr(config, "sliding_window", None) is not None
        make: Any = masks.create_sliding_window_causal_mask if windowed else masks.create_causal_mask
        return make(config=config, **more)

    module = sys.modules[type(network.base_model).__module__]
    with holding(module, "mask_function", getattr(module, "mask_function", mask_function)):
        yield


@dataclass
class _Check:
    """What the first block made of the first sequence: relative difference of its output less its input."""

    moved: float = 0.0


@contextmanager
def _as_computed(network: Any, tokens: SampleTokens) -> Iterator[_Check]:
    """Compare what the library shows to the first block, before anything is compressed, with a plain forward pass."""
    import torch
    from llmcompressor.utils.helpers import calibration_forward_context

    kinds = set(getattr(network, "_no_split_modules", None) or ())
    block = next((module for module in network.modules() if type(module).__name__ in kinds), None)
    check = _Check()
    plain: list[torch.Tensor] = []
    if block is None:
        yield check
        return
    row = torch.from_numpy(tokens.ids[0])[None].to(network.get_input_embeddings().weight.device)

    def seen(_: Any, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        states = (given[0] if given else named["hidden_states"]).float()
        made = (output[0] if isinstance(output, tuple) else output).float() - states
        if not plain:
            plain.append(made)
        elif made.shape == plain[0].shape:
            check.moved = float((made - plain[0]).norm() / plain[0].norm())
            handle.remove()

    handle = block.register_forward_hook(seen, with_kwargs=True)
    try:
        with torch.inference_mode(), calibration_forward_context(network):
            network.base_model(input_ids=row, use_cache=False)
        yield check
    finally:
        handle.remove()


@contextmanager
def _without_pinning() -> Iterator[None]:
    """Skip memory pinning where there is no accelerator.

    llm-compressor 0.14 pins the activations that AWQ keeps, whatever the machine; torch refuses that without an
    accelerator. Pinning changes the speed of a later copy to one and nothing else.
    """
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if torch.accelerator.is_available():
        yield
        return
    with holding(IntermediatesCache, "pin_memory", lambda self, batch_index, input_names=None: None):
        yield


@contextmanager
def _released() -> Iterator[None]:
    """Let go of the network afterwards: each variant of a run would stay in memory.

    The library's session holds the last network, and after a failure its hooks. And it traces with functions marked by
    `torch.fx.wrap`, which keeps the globals of every marked function, the network among them, as long as the process
    lives.
    """
    from llmcompressor.core import reset_session
    from torch.fx import _symbolic_trace

    marked = _symbolic_trace._wrapped_fns_to_patch
    before = set(marked)
    try:
        yield
    finally:
        for key in set(marked) - before:
            del marked[key]
        reset_session()


@contextmanager
def _silenced(what: str, said: list[str]) -> Iterator[None]:
    """One progress bar by layer on stderr in place of the library's many and its log; its warnings are collected."""
    from llmcompressor.logger import configure_logger
    from loguru import logger
    from tqdm import tqdm

    bar = tqdm(desc=what, unit="layer", file=sys.stderr, leave=False, disable=None)

    def by_layer(iterable: Any = None, *args: Any, desc: str = "", **more: Any) -> Any:
        if found := _LAYER.match(desc):
            bar.total = int(found[2])
            bar.update(int(found[1]) - bar.n)
        return tqdm(iterable, disable=True)

    def collect(message: Any) -> None:
        text = " ".join(message.record["message"].split())
        # the library has a level of its own above warnings, for losses and times
        if message.record["level"].name != "METRIC" and text not in said and not text.startswith(_EXPECTED):
            said.append(text)

    logger.remove()
    sink = logger.add(collect, level="WARNING")
    tracing = logging.getLogger("torch.fx._symbolic_trace")
    level = tracing.level
    tracing.setLevel(logging.ERROR)
    try:
        with ExitStack() as stack:
            for name, module in list(sys.modules.items()):
                if name.startswith(("llmcompressor.", "compressed_tensors.")) and hasattr(module, "tqdm"):
                    # some import the class, some the package
                    silent = by_layer if isinstance(module.tqdm, type) else SimpleNamespace(tqdm=by_layer)
                    stack.enter_context(holding(module, "tqdm", silent))
            yield
    finally:
        logger.remove(sink)
        tracing.setLevel(level)
        # as the library sets it up when it is imported
        configure_logger()
        bar.close()
