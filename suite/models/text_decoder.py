"""The language model inside a checkpoint: which class loads it, and the text decoder of one that also sees or hears.

A model that reads images is scored on text alone, so its text decoder is taken out of it and the rest is left: the
decoder is compressed, saved, counted and scored like any other, and the cell says what was left.
"""

from __future__ import annotations

from typing import Any

from suite.errors import SuiteError

# Text decoders without a class of their own for language modelling, and whose they are with equal numbers: positions in
# three directions are all the same in text.
SAME_AS = {
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
}
# share of the spread of logits by which two networks may differ that do the same: 16-bit sums in another order
_TOLERANCE = 0.05
_PROBED = 8


def loader_of(config: Any) -> Any:
    """transformers' class to load a causal language model with, or what holds one.

    Raises:
        SuiteError: an encoder and decoder, a model that fills gaps, or none that models text.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMaskedLM
    from transformers.models.auto.modeling_auto import AutoModelForMultimodalLM

    causal, masked, seeing, hearing = _mappings(
        AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForImageTextToText, AutoModelForMultimodalLM
    )
    text = config.get_text_config()
    named = f"architecture {config.model_type!r}"
    if config.is_encoder_decoder or text.is_encoder_decoder:
        raise SuiteError(
            f"{named} has an encoder beside its decoder; only decoders, which read text once, can be scored"
        )
    gaps = [name for name in getattr(config, "architectures", None) or () if name.endswith("ForMaskedLM")]
    if gaps or (type(config) in masked and getattr(config, "is_decoder", None) is False):
        raise SuiteError(f"{named} fills gaps in a text that it sees whole; only causal language models can be scored")
    if text is not config:
        for mapping, kind in ((seeing, AutoModelForImageTextToText), (hearing, AutoModelForMultimodalLM)):
            if type(config) in mapping:
                return kind
    if type(config) in causal or getattr(config, "auto_map", None):
        return AutoModelForCausalLM
    raise SuiteError(f"{named} is none that transformers has a causal language model for")


def attention_of(config: Any, loader: Any) -> str:
    """``eager`` for architectures that torch's fused attention does not serve, such as those with attention sinks.

    A model that also sees is asked for all its parts: transformers builds none of them with attention it does not have.
    """
    from transformers import AutoModel, AutoModelForCausalLM

    text = config.get_text_config()
    # sdpa leaves out Gemma-2's soft cap on attention logits without a word
    if getattr(text, "attn_logit_softcapping", None):
        return "eager"
    parts = [text, *(getattr(config, name, None) for name in config.sub_configs)]
    causal, any_of = _mappings(AutoModelForCausalLM, AutoModel)
    asked = [(loader._model_mapping, config), (causal, text), *((any_of, part) for part in parts)]
    kinds = [mapping[type(one)] for mapping, one in asked if type(one) in mapping]
    return "sdpa" if all(kind._supports_sdpa for kind in kinds) else "eager"


def in_causal_form(network: Any) -> Any:
    """The network, computing attention step by step where torch's fused attention lets it see tokens to come.

    Some architectures make masks of their own out of the library's, which leaves them away where it can.
    """
    config = network.config
    if config.get_text_config()._attn_implementation == "sdpa" and not _causal(network):
        config._attn_implementation = "eager"
        if not _causal(network):
            # no causal language model, as trying its ways of scoring will show
            config._attn_implementation = "sdpa"
    return network


def text_decoder(network: Any, *, own: bool = True) -> tuple[Any, list[str], int]:
    """A network that models text alone, made of the modules of one that does more.

    Args:
        own: whether modules may be taken out of `network` where its decoder has no class of its own. Without, such a
            network is given back whole.

    Returns:
        The network (the same one where there is nothing to leave), names of the modules that were left, and how many
        parameters they have.

    Raises:
        SuiteError: the parts that are left take part in scores of text, or the decoder is not found.
    """
    if network.config.get_text_config() is network.config:
        return (_findable(network) if own else network), [], 0
    before = sum(parameter.numel() for parameter in network.parameters())
    wanted = _logits(network)
    decoder, head = network.get_decoder(), network.get_output_embeddings()
    if head is None or decoder is network:
        raise SuiteError(f"architecture {network.config.model_type!r}: the text decoder inside it is not found")
    beside = _beside(network, {id(decoder), id(head)})
    left = [path for path, _, _ in beside]
    candidate = decoder if decoder.get_output_embeddings() is head else _alone(decoder, head)
    if candidate is None or not _same(_logits(candidate), wanted):
        if not own:
            return network, [], 0
        candidate = network
        for _, owner, name in beside:
            setattr(owner, name, None)
        if not _same(_logits(candidate), wanted):
            raise SuiteError(
                f"architecture {network.config.model_type!r}: without {', '.join(left)} its scores of text are others"
            )
    kept = sum(parameter.numel() for parameter in candidate.parameters())
    return (_findable(candidate) if own else candidate), left, before - kept


def left_note(left: list[str], parameters: int) -> str:
    """What a row says of the modules that `text_decoder` left."""
    return f"scored on text alone: {', '.join(left)} left out, {parameters:,} parameters"


def _mappings(*loaders: Any) -> list[Any]:
    return [loader._model_mapping for loader in loaders]


def _findable(network: Any) -> Any:
    """Llama 4 looks for its body under another name than it has."""
    if network.base_model is network and hasattr(network, "model"):
        network.base_model_prefix = "model"
    return network


def _beside(network: Any, kept: set[int]) -> list[tuple[str, Any, str]]:
    """The modules of a network that hold none of those kept: (path, owner, name in the owner)."""
    found = []

    def visit(owner: Any, path: str) -> None:
        for name, child in owner.named_children():
            if id(child) in kept:
                continue
            if {id(part) for part in child.modules()} & kept:
                visit(child, f"{path}{name}.")
            elif any(True for _ in child.parameters()):
                found.append((f"{path}{name}", owner, name))

    visit(network, "")
    return found


def _alone(decoder: Any, head: Any) -> Any:
    """The decoder and its head as a causal language model of a class of its own; None where transformers has none."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known: Any = AutoModelForCausalLM
    configs: Any = AutoConfig
    config = decoder.config
    if other := SAME_AS.get(config.model_type):
        values = {name: value for name, value in config.to_dict().items() if name != "model_type"}
        rope = {name: value for name, value in (values.get("rope_parameters") or {}).items() if "mrope" not in name}
        values["rope_parameters"] = {**rope, "rope_type": "default"} if rope.get("rope_type") == "mrope" else rope
        config = configs.for_model(other, **values)
    if type(config) not in known._model_mapping:
        return None
    with torch.device("meta"):
        network = known.from_config(config, attn_implementation=decoder.config._attn_implementation)
    network.to(decoder.dtype)
    body = network.model if hasattr(network, "model") else network.base_model
    if type(body) is type(decoder):
        network.config = decoder.config
        owner, name = next(
            (owner, name) for owner in network.modules() for name, child in owner.named_children() if child is body
        )
        setattr(owner, name, decoder)
    else:
        try:
            body.load_state_dict(decoder.state_dict(), assign=True)
        except RuntimeError:
            return None
        body.rotary_emb = type(body.rotary_emb)(network.config).to(decoder.device)
    network.set_output_embeddings(head)
    if any(parameter.is_meta for parameter in (*network.parameters(), *network.buffers())):
        return None
    return network.eval()


def _logits(network: Any, *, last: int = 0) -> Any:
    """What a network says behind a few tokens from the middle of its vocabulary, float32.

    Args:
        last: added to the last of those tokens.
    """
    import torch

    weight = network.get_input_embeddings().weight
    first = weight.shape[0] // 4
    tokens = torch.arange(first, first + _PROBED, device=weight.device)[None]
    tokens[0, -1] += last
    with torch.inference_mode():
        return network(input_ids=tokens, use_cache=False).logits[0].float()


def _causal(network: Any) -> bool:
    """Whether another last token leaves what is said behind the ones before it."""
    return _same(_logits(network, last=1)[:-1], _logits(network)[:-1])


def _same(found: Any, wanted: Any) -> bool:
    return bool(found.shape == wanted.shape and (found - wanted).abs().max() <= _TOLERANCE * wanted.std())
