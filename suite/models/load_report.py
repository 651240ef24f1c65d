"""What transformers says of a checkpoint it has loaded: every tensor is used or named, else the checkpoint is refused.

transformers fills a weight that the file lacks with random numbers, drops a tensor that no weight takes, and drops
more of them without a word where a class says so. Scores of such a network look like any others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from suite.errors import SuiteError, first_line
from suite.holding import holding
from suite.models.packed import ACTIVATIONS

# Tensors that may stay unread because no score depends on them, and why; {0} dimensions mean any.
HARMLESS = {
    r"(rotary_emb|rotary_pos_emb|rope)\.(inv_freq|cos_cached|sin_cached)$": (0, "computed from the configuration"),
    r"(^|\.)position_ids$": (0, "0, 1, 2, ..."),
    r"(attn|attention)\.masked_bias$": (0, "a constant of the causal mask"),
    r"(attn|attention)\.bias$": (4, "the causal mask itself; a bias has one dimension"),
}
SENSES = "parts that read images or sound"
# Parts of a model beside the decoder that is scored: left out, and said on the row.
BESIDE = {
    r"(^|\.)(mtp|mtp_layers|nextn)\.": "layers that predict further tokens",
    r"(^|\.)(vision_tower|vision_model|visual|vision_embed_tokens|multi_modal_projector|mm_projector|audio_tower|"
    r"audio_model|embed_vision|embed_audio|vision_encoder|image_newline)(\.|$)": SENSES,
    ACTIVATIONS.pattern: "scales for rounding activations and caches",
}


@dataclass
class Report:
    """What a load left over.

    Attributes:
        missing: weights of the network that no tensor fills.
        unexpected: tensors that no weight takes, those included that the class tells transformers to pass over.
        passed_over: the latter alone.
        failed: tensors that could not be turned into the network's form, by name.
    """

    missing: set[str] = field(default_factory=set)
    unexpected: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)
    failed: dict[str, Any] = field(default_factory=dict)


@contextmanager
def report() -> Iterator[Report]:
    """Record what `from_pretrained` calls in this context leave over, before the class's own exceptions hide it."""
    from transformers import PreTrainedModel

    owner: Any = PreTrainedModel
    found = Report()
    adjust = owner._adjust_missing_and_unexpected_keys

    def seen(network: Any, info: Any) -> None:
        found.missing |= set(info.missing_keys)
        found.unexpected |= set(info.unexpected_keys)
        found.failed.update(info.conversion_errors)
        before = set(info.unexpected_keys)
        adjust(network, info)
        found.passed_over |= before - set(info.unexpected_keys)

    try:
        with holding(owner, "_adjust_missing_and_unexpected_keys", seen):
            yield found
    except RuntimeError as error:
        if found.failed:
            name, reason = next(iter(sorted(found.failed.items())))
            raise SuiteError(
                f"tensor {name} cannot be turned into the network's form ({first_line(reason)})"
            ) from error
        raise


def check(
    label: str,
    network: Any,
    found: Report,
    mismatched: Collection[Any],
    shapes: Mapping[str, tuple[int, ...]],
    zeros: Collection[str] = (),
) -> tuple[frozenset[str], list[str]]:
    """Refuse what was not loaded whole.

    Args:
        label: how errors name the model.
        mismatched: (name, shape in the file, shape in the network) of tensors that do not fit.
        shapes: of the file's tensors by name, where known.
        zeros: names of biases that are zero throughout, which packers of GPTQ add to layers that have none.

    Returns:
        Names of the file's tensors that are not part of the network; and for each kind of them that a reader should
        know of, one sentence.

    Raises:
        SuiteError: weights that are missing or do not fit, tensors that nothing takes, a head that the configuration
            ties to the embeddings and that differs from them.
    """
    if mismatched:
        name, theirs, ours = min(mismatched, key=lambda one: str(one[0]))
        raise SuiteError(
            f"model {label}: {len(mismatched)} tensors do not fit the network, first {name}: {list(theirs)} in the "
            f"file, {list(ours)} by config.json; is it the configuration of these weights?"
        )
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    # a class may excuse the lack of a buffer it can compute, never of a weight
    # what reads images or sound is left out of the network before it is used (see `suite.models.text_decoder`)
    missing = sorted(name for name in found.missing if name in parameters and _beside(name, network, shapes) != SENSES)
    left: dict[str, list[str]] = {}
    strange = []
    for name in sorted(found.unexpected):
        if name in zeros or _harmless(name, shapes):
            left.setdefault("", []).append(name)
        elif what := _beside(name, network, shapes) or (
            name in found.passed_over and "parts the architecture passes over"
        ):
            left.setdefault(what, []).append(name)
        else:
            strange.append(name)
    if missing and not strange:
        raise SuiteError(
            f"model {label}: {len(missing)} weights are missing, first {missing[0]}; are all its files there, and is "
            "config.json that of these weights?"
        )
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        lacking = f", and {len(missing)} weights are missing, first {missing[0]}" if missing else ""
        packed = lacking or any(re.search(r"scale|zero|q?weight_", name) for name in strange)
        raise SuiteError(
            f"model {label}: {len(strange)} tensors of the file belong to no weight of the network by config.json: "
            f"{', '.join(strange[:3])}{more}{lacking}; "
            + ("are weights packed, and nothing says how?" if packed else "correct config.json or remove them")
        )
    ties: dict[str, str] = network.get_expanded_tied_weights_keys(all_submodels=False)
    for target, source in ties.items():
        if target not in network.all_tied_weights_keys:
            raise SuiteError(
                f"model {label}: config.json ties {target} to {source}, and the file holds both with different values; "
                "set tie_word_embeddings to false, or remove the tensor that is not meant"
            )
        if target in shapes and source in shapes:
            left.setdefault("", []).append(target)
    notes = [f"{what}: {len(names)} tensors left out, first {names[0]}" for what, names in left.items() if what]
    return frozenset(name for names in left.values() for name in names), notes


def _harmless(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return any(
        re.search(pattern, name) and (not dimensions or len(shapes.get(name, ())) == dimensions)
        for pattern, (dimensions, _) in HARMLESS.items()
    )


def _beside(name: str, network: Any, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    for pattern, what in BESIDE.items():
        if re.search(pattern, name):
            # activations are rounded with one number, or with one a head; a row of numbers would scale weights
            many = pattern == ACTIVATIONS.pattern and len(shapes.get(name, ())) in (1, 2)
            return None if many and math.prod(shapes[name]) > 1 else what
    config = network.config.get_text_config()
    layer = re.search(r"(^|\.)layers\.(\d+)\.", name)
    first = int(getattr(config, "num_hidden_layers", 0) or 0)
    further = int(getattr(config, "num_nextn_predict_layers", 0) or 0)
    if layer and first <= int(layer[2]) < first + further:
        return "layers that predict further tokens"
    return None
