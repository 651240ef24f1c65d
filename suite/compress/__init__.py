"""Compressing a model, and the record of what a method did to it; which methods there are says `suite.methods`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import Any

from suite.compress import output_error, peak_memory
from suite.compress.layers import STORED_BITS, LayerChange, Outcome, compare, linear_layers
from suite.compress.reference import remember
from suite.compress.touched import Mark, Touched, fingerprint, touched, visibly_touched
from suite.errors import SuiteError
from suite.methods import METHODS, PRUNER
from suite.models.checkpoint import GRID_PARAMETERS
from suite.models.model import Model, architecture, has_experts
from suite.sample_text import SampleTokens
from suite.variant import Variant, parse_variant

OFF_NOMINAL = 0.02
# architectures to which llm-compressor once showed the sample text without a mask (see `llm_compressor._masked`)
CHOOSE_A_MASK = ("doge", "minimax", "ministral3", "mistral", "mixtral", "phi3", "phimoe", "qwen3_moe", "starcoder2")
# architectures whose layers take [tokens, width], which once had one scale in all (`compressed.each_token_its_scale`)
FLAT_INPUTS = ("opt",)
# beyond this share of matrices that no method can touch a variant is refused instead of made in part
MOST = 0.5


@dataclass(frozen=True)
class VariantInfo:
    """What a variant is and what was measured on its weights: the `variant` section of a cell's metadata.

    Attributes:
        recipe: method, settings and sample text, in words.
        bits_per_weight: stored bits of the whole model, embeddings, scales and zero points included, over the dense
            model's number of weights. Tensors that no method touches count as 16 bits.
        megabytes: that many bits in units of 10^6 bytes.
        sparsity: fraction of the dense model's linear layers' weights (of all matrices where there are none) that are
            exactly zero or gone.
        relative_weight_error: Frobenius norm of (dense - compressed) over that of dense, over all linear layers; None
            where the dense weights are not at hand.
        no_op: no weight differs from the dense model's, and nothing else is rounded.
        n_of_m_held: for N:M patterns, whether every M neighbours have M - N zeros at least; None for others.
        off_nominal: measured sparsity, pattern or bits are not the ones the name promises.
        relative_output_error: see `suite.compress.output_error`, on sample text no method has read; None without text.
        layer_errors: relative weight error of each linear layer by name.
        seconds: wall time of the compression, measuring included.
        peak_memory_mb: highest memory meanwhile, the loaded model included; see `suite.compress.peak_memory`.
        notes: what the method warned of.
        saved_bytes: size of its weight files where it was saved, None otherwise.
        share_touched: weights of matrices inside the blocks that changed over those of all, 0 to 1, counted from the
            tensors (see `suite.compress.touched`); None for dense, and where the dense weights are not at hand.
        untouched: what did not change, by name with its share and the reason that excuses it, if any.
        left_out: what does not count: embeddings, output head, routers, norms and other vectors, by name.
    """

    name: str
    method: str
    family: str
    recipe: str
    bits_per_weight: float
    megabytes: float
    sparsity: float
    relative_weight_error: float | None
    no_op: bool
    n_of_m_held: bool | None = None
    off_nominal: bool = False
    relative_output_error: float | None = None
    layer_errors: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    notes: list[str] = field(default_factory=list)
    saved_bytes: int | None = None
    share_touched: float | None = None
    untouched: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def as_metadata(self) -> dict[str, Any]:
        """As stored in a cell."""
        return asdict(self)


def check_supported(variant: Variant) -> None:
    """Raise one line when no method here makes this variant."""
    if variant.family == "dense":
        return
    name = variant.name
    check_seed(variant)
    if variant.method.startswith("gguf-"):
        raise SuiteError(f"variant {name!r}: GGUF types are ready-made variants; name the .gguf file as the model")
    if variant.family == "joint":
        sparse, quantized = _parts(variant)
        pruners = [method for method in METHODS if METHODS[method].kind == PRUNER]
        if sparse.method not in pruners:
            raise SuiteError(
                f"variant {name!r}: joint variants prune with {', '.join(pruners)}; {sparse.method} stands alone"
            )
        if quantized.method not in ("rtn", "gptq"):
            raise SuiteError(
                f"variant {name!r}: joint variants quantize with rtn or gptq, which keep zeros; "
                f"{quantized.method} would move them"
            )
        check_supported(quantized)
        return
    if variant.method not in METHODS:
        raise SuiteError(
            f"variant {name!r}: {variant.method} is made elsewhere only; name the checkpoint as the model, or import "
            f"its scores. Made here: {', '.join(sorted(('dense', *METHODS)))}"
        )
    if variant.kv_bits and variant.method not in ("rtn", "gptq"):
        raise SuiteError(f"variant {name!r}: a quantized key-value cache goes with rtn and gptq; drop the kv part")
    if variant.kv_bits == 4:
        raise SuiteError(f"variant {name!r}: key-value caches are quantized to 8 bits here; use kv8")
    if variant.method == "awq" and variant.activation_bits:
        raise SuiteError(f"variant {name!r}: awq quantizes weights alone; drop the a part, or use smoothquant")
    if variant.method == "smoothquant" and not variant.activation_bits:
        raise SuiteError(f"variant {name!r}: smoothquant quantizes activations too; use smoothquant-w8a8")


def check_seed(variant: Variant) -> None:
    """Raise one line when a variant has a seed of sample text and reads none."""
    if variant.sample_seed is None or (variant.family != "joint" and variant.method not in METHODS):
        return
    if not reads_text(variant):
        raise SuiteError(
            f"variant {variant.name!r}: {variant.method} reads no sample text: a seed changes nothing; "
            f"leave '@seed{variant.sample_seed}' out"
        )


def reads_text(variant: Variant) -> bool:
    """Whether the variant's weights depend on sample text."""
    if variant.family == "dense":
        return False
    if variant.family == "joint":
        return any(reads_text(part) for part in _parts(variant))
    return METHODS[variant.method].reads_text or variant.kv_bits is not None


def recipe_of(variant: Variant, sample: str = "", *, experts: bool = False, architecture: str = "") -> str:
    """What exactly a variant is, in words; part of the key of every cell.

    Args:
        sample: recipe of the sample text, which counts where the variant reads it.
        experts: whether the model's blocks hold mixtures of experts.
        architecture: the model's type, as its configuration names it.
    """
    if variant.family == "dense":
        return "none"
    if variant.family == "joint":
        words = "; then ".join(METHODS[part.method].recipe for part in _parts(variant))
    else:
        words = METHODS[variant.method].recipe
    if variant.activation_bits:
        words += f"; activations int{variant.activation_bits}, symmetric, one scale a token"
        if architecture in FLAT_INPUTS:
            words += " and no other"
    if variant.kv_bits:
        words += "; key-value cache fp8 (e4m3), one scale a layer"
    if experts:
        words += "; experts one by one"
    if architecture in CHOOSE_A_MASK and reads_text(variant) and variant.family != "structured":
        words += "; sample text under the model's mask"
    return f"{words}; sample text {sample}" if sample and reads_text(variant) else words


def recipe_for(model: Model, variant: Variant, sample: str = "") -> str:
    """`recipe_of` a variant of a model that is not loaded."""
    return recipe_of(variant, sample, experts=has_experts(model), architecture=architecture(model))


def apply(network: Any, variant: Variant, tokens: SampleTokens | None = None) -> VariantInfo:
    """Compress a loaded network in place.

    Args:
        network: a transformers causal language model, dense.
        variant: what to make of it; ``dense`` changes nothing and measures it.
        tokens: sample text as the model's tokens; None will do for methods that read none, and leaves the output error
            unmeasured.

    Raises:
        SuiteError: an unknown method, an unsupported architecture, a group size that does not fit, or no sample text
            for a method that reads it.
    """
    check_supported(variant)
    begin = time.perf_counter()
    peak_memory.reset()
    params = sum(parameter.numel() for parameter in network.parameters())
    if variant.family == "dense":
        return _dense(network, variant, params)
    if tokens is None and reads_text(variant):
        raise SuiteError(f"variant {variant.name!r}: {variant.method} reads sample text and none was given")
    before = output_error.sample_logits(network, tokens) if tokens is not None else None
    from suite.models.linearized import linearized

    with linearized(network, stay=acts_while_running(variant)) as pieces:
        marks = fingerprint(network)
        _check_known(network, variant, marks)
        outcome = _compress(network, variant, tokens)
        bits = sum(change.bits for change in outcome.changes) + STORED_BITS * _untouched(network)
        info = describe(
            network,
            variant,
            outcome.changes,
            bits=bits,
            params=params,
            recipe=recipe_of(
                variant,
                tokens.recipe if tokens else "",
                experts=pieces.experts,
                architecture=network.config.model_type,
            ),
            became=touched(marks, network, variant),
        )
    if pieces.experts and not pieces.stay and not variant.kv_bits:
        from suite.compress.llm_compressor import forget

        # rounded once and for good; a stack has no place for what the library noted on its pieces
        forget(network)
    if tokens is not None and before is not None:
        info = with_output_error(info, output_error.relative_error(before, output_error.sample_logits(network, tokens)))
    return replace(
        info,
        seconds=round(time.perf_counter() - begin, 3),
        peak_memory_mb=peak_memory.megabytes(),
        notes=[*outcome.notes, *info.notes],
    )


def describe(
    network: Any,
    variant: Variant,
    changes: list[LayerChange],
    *,
    bits: float,
    params: int,
    recipe: str,
    became: Touched | None = None,
    stated_dense: Callable[[str], bool] = lambda name: False,
) -> VariantInfo:
    """What was measured on a compressed network, with its gates.

    Args:
        changes: one record a linear layer of the dense network.
        bits: stored bits of the whole compressed model.
        params: weights of the dense model.
        became: what became of all matrices of the dense network, None when that is not known.
        stated_dense: whether the checkpoint says of a layer that it left it as it is: that one is on no grid.
    """
    norm = sum(change.squared_norm for change in changes)
    sparsity = sum(change.zeros for change in changes) / sum(change.weights for change in changes)
    held = _pattern_held(network, variant)
    changed = any(change.changed for change in changes) or variant.activation_bits or variant.kv_bits
    return VariantInfo(
        name=variant.name,
        method=variant.method,
        family=variant.family,
        recipe=recipe,
        bits_per_weight=bits / params,
        megabytes=bits / 8e6,
        sparsity=sparsity,
        relative_weight_error=math.sqrt(sum(change.squared_error for change in changes) / norm) if norm else 0.0,
        no_op=not changed,
        n_of_m_held=held,
        off_nominal=held is False or _off_nominal(network, variant, sparsity, stated_dense),
        layer_errors={change.name: round(change.relative_error, 6) for change in changes},
        **(asdict(became) if became else {}),
    )


def with_output_error(info: VariantInfo, moved: float) -> VariantInfo:
    """The record with its relative output error; one that is not finite is a note instead."""
    if math.isfinite(moved):
        return replace(info, relative_output_error=moved)
    return replace(info, notes=[*info.notes, "outputs on sample text are not finite"])


def acts_while_running(variant: Variant) -> bool:
    """Whether a variant's layers do more than multiply when the model runs: they round activations, or rotate."""
    return variant.activation_bits is not None or variant.method in ("spinquant", "quip")


def measure_network(network: Any, variant: Variant) -> VariantInfo:
    """What can be measured on a network that somebody else has compressed, without its dense parent.

    The relative weight error is not among it: it is None, and a note says so. Bits count the grids that llm-compressor
    left on its modules.
    """
    from suite.compress.llm_compressor import stored_bits
    from suite.models.compressed import each_token_its_scale
    from suite.models.linearized import linearized

    if any(hasattr(module, "quantization_scheme") for module in network.modules()):
        each_token_its_scale()
    with linearized(network):
        changes = [
            LayerChange(
                name,
                module.weight.numel(),
                0.0,
                0.0,
                int((module.weight == 0).sum()),
                stored_bits(module),
                changed=variant.family != "dense",
            )
            for name, module in linear_layers(network)
        ]
        params = sum(module.weight.numel() for _, module in linear_layers(network)) + _untouched(network)
        bits = sum(change.bits for change in changes) + STORED_BITS * _untouched(network)
        info = describe(
            network,
            variant,
            changes,
            bits=bits,
            params=params,
            recipe="given in memory",
            became=visibly_touched(network, variant),
        )
    # weights that are rounded in the forward pass are not on their grid in memory
    off = info.off_nominal and variant.bits is None
    return replace(
        info,
        no_op=False,
        off_nominal=off,
        relative_weight_error=None if variant.family != "dense" else 0.0,
        layer_errors={},
        notes=[*info.notes, "scored in memory: errors against the dense model are not measured"],
    )


def _check_known(network: Any, variant: Variant, marks: Mapping[str, Mark]) -> None:
    """Raise one line when most of a network's matrices are none that methods can touch."""
    known = {f"{name}.weight" for name, _ in linear_layers(network)}
    total = sum(mark.weights for mark in marks.values())
    unknown = [name for name in marks if name not in known]
    share = sum(marks[name].weights for name in unknown) / total
    if share > MOST:
        raise SuiteError(
            f"variant {variant.name!r}: architecture {network.config.model_type!r} keeps {share:.2f} of its weights in "
            f"forms that no method here knows, first {unknown[0]}; it can be scored as it is"
        )


def _method(variant: Variant) -> Callable[[Any, Variant, SampleTokens | None], Outcome]:
    module, function = METHODS[variant.method].compress.split(".")
    return getattr(import_module(f"suite.compress.{module}"), function)  # type: ignore[no-any-return]


def _compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    if variant.family != "joint":
        return _method(variant)(network, variant, tokens)
    sparse, quantized = _parts(variant)
    with remember(network) as reference:
        first = _method(sparse)(network, sparse, tokens)
        second = _method(quantized)(network, quantized, tokens)
        modules = dict(linear_layers(network))
        changes = [
            compare(change.name, reference.weight(change.name).to(weight.device), weight, change.bits)
            for change in second.changes
            for weight in (modules[change.name].weight.data,)
        ]
    return Outcome(changes, [*first.notes, *second.notes])


def _parts(variant: Variant) -> tuple[Variant, Variant]:
    sparse, _, quantized = variant.recipe_name.partition("+")
    return parse_variant(sparse), parse_variant(quantized)


def _untouched(network: Any) -> int:
    """Stored numbers outside the matrices that methods touch: embeddings, norms, biases, rotations."""
    matrices = {id(module.weight) for _, module in linear_layers(network)}
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if id(parameter) not in matrices and not name.endswith(GRID_PARAMETERS)
    )


def _pattern_held(network: Any, variant: Variant) -> bool | None:
    """Whether every M neighbours of every row have at most N weights that are not zero."""
    if variant.n_of_m is None:
        return None
    n, m = variant.n_of_m
    return all(int((module.weight.reshape(-1, m) != 0).sum(dim=1).max()) <= n for _, module in linear_layers(network))


def _off_nominal(network: Any, variant: Variant, sparsity: float, stated_dense: Callable[[str], bool]) -> bool:
    """Whether a level is not what its name says.

    Sparsity: off by more than `OFF_NOMINAL`, for structured levels by more than that and half a block; zeros beyond the
    nominal ones are no fault where weights are rounded as well. Bits: a row of a layer, or a group, with more distinct
    values than that many bits can tell apart.
    """
    if variant.sparsity is not None:
        slack = OFF_NOMINAL
        if variant.family == "structured":
            slack += 0.5 / max(1, network.config.get_text_config().num_hidden_layers)
        more = sparsity - variant.sparsity
        if more < -slack or (more > slack and variant.bits is None):
            return True
    # of these the name does not say how many weights share a scale
    if variant.bits is None or variant.mixed or variant.method.startswith(("gguf-", "fp8")):
        return False
    return any(
        module.weight.data[0, : variant.group or None].unique().numel() > 2**variant.bits
        for name, module in linear_layers(network)
        if not stated_dense(name)
    )


def _dense(network: Any, variant: Variant, params: int) -> VariantInfo:
    from suite.models.linearized import linearized

    with linearized(network):
        try:
            matrices = [module.weight for _, module in linear_layers(network)]
        except SuiteError:  # what no method here can compress can still be scored as it is
            matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
        zeros = sum(int((weight == 0).sum()) for weight in matrices)
    return VariantInfo(
        name=variant.name,
        method=variant.method,
        family=variant.family,
        recipe="none",
        bits_per_weight=STORED_BITS,
        megabytes=STORED_BITS * params / 8e6,
        sparsity=zeros / sum(weight.numel() for weight in matrices),
        relative_weight_error=0.0,
        no_op=False,
    )
