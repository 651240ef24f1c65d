"""Checkpoints that somebody else compressed: what they are is read from them, and measured against their parent."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from suite.compress import check_seed, describe, output_error, with_output_error
from suite.compress.layers import LayerChange, compare, linear_layers
from suite.compress.reference import Reference, remember
from suite.compress.touched import fingerprint, touched
from suite.errors import SuiteError
from suite.files import read_object
from suite.models.checkpoint import GRID_PARAMETERS, NOTE, Checkpoint
from suite.models.model import Model, tensor_bits
from suite.models.quantization import float_kinds, grid_of, packed_bits, quantization_of
from suite.sample_text import SampleTokens
from suite.variant import FLOATS, Variant, parse_variant

# how variants call what checkpoints call otherwise
_NAMES = {"auto-round": "autoround", "mlx": "affine"}
# what llm-compressor's recipes call the methods that this suite names
_RECIPES = {
    "GPTQModifier": "gptq",
    "AWQModifier": "awq",
    "SmoothQuantModifier": "smoothquant",
    "QuantizationModifier": "rtn",
}


def variant_of(model: Model, named: str | None = None) -> Variant:
    """The variant that a checkpoint is, by its own account.

    Args:
        named: what the user calls it, None to read it from the checkpoint.

    Raises:
        SuiteError: a plain checkpoint, which says nothing of how it was made, without a name.
    """
    if named is not None and named != "dense":
        variant = parse_variant(named)
        check_seed(variant)
        return variant
    if model.path.is_file():
        # Model-Q4_K_M.gguf, as the files are usually called
        found = re.search(r"(i?q\d[a-z0-9_]*|f16|bf16|f32)$", model.name.lower().replace("-", "."), flags=re.ASCII)
        if found:
            return parse_variant(f"gguf-{found[1]}")
        raise SuiteError(f"model {model.id}: its name does not say its GGUF type; name it with --variant gguf-q4_k_m")
    note = read_object(model.path / NOTE, "make the checkpoint again with 'suite compress'")
    if "variant" in note:
        return parse_variant(str(note["variant"]["name"]))
    quantization = quantization_of(model.path)
    if not quantization:
        raise SuiteError(
            f"model {model.id}: a plain checkpoint does not say how it was compressed; name it with --variant, such as "
            "wanda-s50 (what it measures as is recorded beside that)"
        )
    method = quantization["quant_method"]
    if method == "bitsandbytes":
        four = quantization.get("load_in_4bit") or quantization.get("_load_in_4bit")
        return parse_variant(_integers("bnb", [(4, 64) if four else (8, None)]))
    if method == "compressed-tensors":
        recipe = model.path / "recipe.yaml"
        text = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else ""
        return parse_variant(_compressed_tensors(f"model {model.id}", quantization, text))
    if kinds := float_kinds(model.path):
        return parse_variant(_one_of(kinds))
    grids = packed_bits(model.path, quantization) or [(quantization.get("bits"), quantization.get("group_size"))]
    return parse_variant(_integers(_NAMES.get(method, method), grids))


def variant_of_network(network: Any) -> Variant:
    """The variant that a network in memory is, by the grids that llm-compressor has left on its modules.

    They say bits and groups and not the method, which is ``ct`` then, or ``int8`` with 8-bit activations.

    Raises:
        SuiteError: a network without them: a pruned one, or one that nobody has compressed.
    """
    quantization = None
    if any(hasattr(module, "quantization_scheme") for module in network.modules()):
        from compressed_tensors.quantization import QuantizationConfig

        quantization = QuantizationConfig.from_pretrained(network)
    if quantization is None:
        raise SuiteError(
            "a model in memory that is not quantized does not say what it is; name its variant (wanda-s50)"
        )
    return parse_variant(_compressed_tensors("model in memory", quantization.model_dump(mode="json"), ""))


def load_ready(
    model: Model,
    dense: Model,
    named: str | None,
    *,
    load_as: Callable[[Model], Checkpoint],
    tokens_of: Callable[[Checkpoint], SampleTokens | None],
) -> tuple[Checkpoint, dict[str, Any]]:
    """Load a checkpoint as a variant of its dense parent, and measure it.

    The parent is loaded first and let go again: its weights wait on disk, so that memory holds one model.

    Args:
        load_as: loads either of them in the dtype and on the device of the run.
        tokens_of: sample text for the output error.

    Returns:
        The compressed model, named as its parent, so that its cells are compared with the parent's; and the
        `variant` section of its cells.

    Raises:
        SuiteError: the checkpoint cannot have been made of that parent.
    """
    variant = variant_of(model, named)
    parent = load_as(dense)
    tokens = tokens_of(parent)
    logits = output_error.sample_logits(parent.network, tokens) if tokens is not None else None
    from suite.models.linearized import linearized

    with ExitStack() as stack:
        with linearized(parent.network):
            reference = stack.enter_context(remember(parent.network))
            shapes = {name: tuple(module.weight.shape) for name, module in linear_layers(parent.network)}
            marks = fingerprint(parent.network, samples=True)
        embedding = tuple(parent.network.get_input_embeddings().weight.shape)
        info, vocabulary, bos = parent.info, parent.tokenizer.get_vocab(), parent.bos
        del parent
        child = load_as(model)
        pieces = stack.enter_context(linearized(child.network))
        if pieces.experts and variant.activation_bits:
            raise SuiteError(
                f"model {model.id}: {variant.name} rounds activations while it runs, and transformers does not do that "
                f"in the experts of architecture {info['architecture']!r}; its scores would be those of another model"
            )
        _check_parent(child, model, dense, shapes, embedding, vocabulary, info["architecture"])
        changes = _changes(child.network, reference, shapes)
        quantization = quantization_of(model.path)
        left_alone = ignored_by(quantization)
        # what a network keeps beside its parameters, such as decays that its configuration makes, is no weight
        buffers = {name for name, _ in child.network.named_buffers() if not name.endswith(GRID_PARAMETERS)}
        measured = describe(
            child.network,
            variant,
            changes,
            bits=float(tensor_bits(model.path, without=child.unread | buffers)),
            params=info["params"],
            recipe=f"ready-made checkpoint, {_described(quantization)}",
            became=touched(marks, child.network, variant, left_alone),
            stated_dense=left_alone,
        )
    if logits is not None and tokens is not None:
        moved = output_error.relative_error(logits, output_error.sample_logits(child.network, tokens))
        measured = with_output_error(measured, moved)
    note = {"checkpoint": {"id": model.id, "revision": model.revision, "weights_hash": child.info["weights_hash"]}}
    if "notes" in child.info:
        note["checkpoint"]["notes"] = child.info["notes"]
    return replace(child, info=info, bos=bos), {**measured.as_metadata(), **note}


def ignored_by(quantization: dict[str, Any]) -> Callable[[str], bool]:
    """Whether a checkpoint's quantization configuration says of a matrix that it was left as it is.

    Args:
        quantization: ``quantization_config`` of its config.json: ``ignore`` of compressed-tensors (names, and patterns
            after ``re:``), ``modules_to_not_convert`` of AWQ and FP8, ``llm_int8_skip_modules`` of bitsandbytes,
            ``modules_in_block_to_quantize`` and the ``-:`` patterns of ``dynamic`` of GPTQ, entries of AutoRound's
            ``extra_config`` with 16 bits, ``exclude_modules`` of Model Optimizer.

    Returns:
        A function of a matrix's name in the network.
    """
    listed = [
        str(entry)
        for key in ("ignore", "ignored_layers", "modules_to_not_convert", "llm_int8_skip_modules")
        for entry in quantization.get(key) or ()
    ]
    # these hold shell patterns
    listed += [f"re:{fnmatch.translate(str(entry))}" for entry in quantization.get("exclude_modules") or ()]
    inside = [str(part) for parts in quantization.get("modules_in_block_to_quantize") or () for part in _list(parts)]

    def ignored(name: str) -> bool:
        module = re.sub(r"\.weight$", "", name)
        for spelled in (module, *_by_expert(module)):
            if quantization and grid_of(quantization, spelled) is None:
                return True
            for entry in listed:
                if entry.startswith("re:"):
                    if re.match(entry[3:], spelled):
                        return True
                elif f".{entry}." in f".{spelled}.":
                    return True
        return bool(inside) and not any(module.endswith(part) for part in inside)

    return ignored


def _list(parts: Any) -> list[Any]:
    return parts if isinstance(parts, list) else [parts]


def _by_expert(module: str) -> list[str]:
    """How else checkpoint files name an expert's matrix: Mixtral's way, and by the parameter that stacks them."""
    found = re.fullmatch(r"(.*)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj", module)
    if found is None:
        return []
    block, number, part = found.groups()
    mixtral = {"gate": "w1", "down": "w2", "up": "w3"}[part]
    stack = "down_proj" if part == "down" else "gate_up_proj"
    return [
        f"{block}.block_sparse_moe.experts.{number}.{mixtral}",
        f"{block}.mlp.experts.{number}.{mixtral}",
        f"{block}.mlp.experts.{stack}",
    ]


def _integers(method: str, grids: list[tuple[int | None, Any]]) -> str:
    """The name of integer weights: ``mixed-…`` where their bits differ, the smallest group where groups do."""
    bits = sorted({bits for bits, _ in grids if bits is not None})
    if not bits:
        raise SuiteError(f"a {method} checkpoint that does not state its bits; name it with --variant {method}-w4-g128")
    if len(bits) > 1:
        return "mixed-" + "-".join(map(str, bits))
    groups = [group for _, group in grids if isinstance(group, int) and group > 0]
    return f"{method}-w{bits[0]}" + (f"-g{min(groups)}" if groups else "")


def _one_of(names: Collection[str]) -> str:
    """One name for modules of several floating-point grids: their own, or ``mixed-4-8``."""
    widths = sorted({FLOATS[name][0] for name in names})
    return min(names) if len(widths) == 1 else "mixed-" + "-".join(map(str, widths))


def _compressed_tensors(where: str, quantization: dict[str, Any], recipe: str) -> str:
    groups = list((quantization.get("config_groups") or {}).values())
    weights = [group["weights"] for group in groups if isinstance(group, dict) and group.get("weights")]
    if not weights:
        raise SuiteError(f"{where}: its compressed-tensors configuration quantizes no weights; name the variant")
    method = next((name for modifier, name in _RECIPES.items() if modifier in recipe), "ct")
    pairs = [(group["weights"], group.get("input_activations")) for group in groups if group.get("weights")]
    floats = {_float_name(weight, activations) for weight, activations in pairs if weight.get("type") == "float"}
    integers = {int(weight["num_bits"]) for weight, _ in pairs if weight.get("type", "int") == "int"}
    widths = sorted({FLOATS[name][0] for name in floats} | integers)
    if len(widths) > 1:
        return "mixed-" + "-".join(map(str, widths))
    if floats:
        return _one_of(floats)
    weight, activations = pairs[0]
    if weight.get("symmetric") is False and method in ("rtn", "ct"):
        # rtn's grid has no zero point
        method = "affine"
    cache = quantization.get("kv_cache_scheme")
    level = (
        f"w{weight['num_bits']}"
        + (f"a{activations['num_bits']}" if activations else "")
        + (f"kv{cache['num_bits']}" if cache else "")
        + (f"-g{weight['group_size']}" if (weight.get("group_size") or 0) > 0 else "")
    )
    # rtn rounds activations with one scale a token, found while it runs
    plain = method == "ct" or (method == "rtn" and activations and activations.get("dynamic") is not True)
    return f"int8-{level}" if plain and level == "w8a8" else f"{method}-{level}"


def _float_name(weight: dict[str, Any], activations: dict[str, Any] | None) -> str:
    if int(weight["num_bits"]) == 4:
        return "mxfp4" if weight.get("group_size") == 32 else "nvfp4"
    if weight.get("group_size") == 32:
        return "mxfp8"
    return "fp8-dynamic" if activations and activations.get("dynamic") is True else "fp8"


def _check_parent(
    child: Checkpoint,
    model: Model,
    dense: Model,
    shapes: dict[str, tuple[int, ...]],
    embedding: tuple[int, ...],
    vocabulary: dict[str, int],
    architecture: str,
) -> None:
    start = f"model {model.id} was not made of {dense.id}: "
    if child.info["architecture"] != architecture:
        raise SuiteError(f"{start}it is a {child.info['architecture']}, the parent a {architecture}; name its parent")
    found = tuple(child.network.get_input_embeddings().weight.shape)
    if found != embedding:
        raise SuiteError(
            f"{start}its embeddings are {_sizes(found)}, the parent's {_sizes(embedding)}; name its parent"
        )
    for name, module in linear_layers(child.network):
        size = tuple(module.weight.shape)
        if name not in shapes:
            raise SuiteError(f"{start}the parent has no layer {name}; name its parent with --dense")
        if any(left > right for left, right in zip(size, shapes[name], strict=True)):
            raise SuiteError(
                f"{start}layer {name} is {_sizes(size)}, the parent's {_sizes(shapes[name])}; "
                "name its parent with --dense"
            )
    # a padding token beyond the embeddings, which quantization tools add, is used by no text
    mine, theirs = (
        {token: index for token, index in words.items() if index < embedding[0]}
        for words in (child.tokenizer.get_vocab(), vocabulary)
    )
    if mine != theirs:
        raise SuiteError(f"{start}their tokenizers differ; name its parent with --dense")


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _changes(network: Any, reference: Reference, shapes: dict[str, tuple[int, ...]]) -> list[LayerChange]:
    """One record a matrix of the parent; one that is gone or smaller counts its missing weights as zeros.

    Blocks that are left are renumbered, so which of a smaller model's matrices was which is not known: there the
    weight error is not measured.
    """
    import torch

    modules = dict(linear_layers(network))
    whole = all(name in modules and tuple(modules[name].weight.shape) == shape for name, shape in shapes.items())
    changes = []
    for name, shape in shapes.items():
        weights = shape[0] * shape[1]
        module = modules.get(name)
        if module is not None and whole:
            weight = module.weight
            changes.append(compare(name, reference.weight(name).to(weight.device), weight.data, 0.0))
            continue
        left = int((module.weight != 0).sum()) if module is not None else 0
        if module is not None and not torch.isfinite(module.weight).all():
            raise SuiteError(f"layer {name}: weights that are not finite; the checkpoint may be damaged")
        changes.append(LayerChange(name, weights, 0.0, 0.0, weights - left, 0.0, changed=True))
    return changes


def _described(quantization: dict[str, Any]) -> str:
    """Method and grid in words, as far as the configuration states them."""
    bits, group = quantization.get("bits"), quantization.get("group_size")
    symmetric = quantization.get("sym")
    if symmetric is None and "zero_point" in quantization:
        symmetric = not quantization["zero_point"]
    groups = [group for group in (quantization.get("config_groups") or {}).values() if isinstance(group, dict)]
    rounded = next((group["input_activations"] for group in groups if group.get("input_activations")), None)
    parts = [
        str(quantization.get("quant_method", "plain")),
        f"activations rounded to {rounded.get('num_bits')} bits" if rounded else "",
        f"{bits} bits" if isinstance(bits, int) else "",
        f"groups of {group}" if isinstance(group, int) and group > 0 else "",
        "" if symmetric is None else "symmetric" if symmetric else "asymmetric",
        "some modules otherwise" if quantization.get("dynamic") or quantization.get("extra_config") else "",
    ]
    return ", ".join(part for part in parts if part)
