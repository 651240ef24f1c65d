"""AWQ (Lin et al. 2024, arXiv 2306.00978), by llm-compressor.

Before rounding, input channels with large activations are scaled up in the weights and down in what feeds them, which
changes no output; the scale is searched on a grid of 20 exponents for the least output error on sample text. Then
weights are rounded to the nearest value of an asymmetric grid (a zero point for every scale), as in the paper's code.
The relative weight error is that of the rounding, on the scaled weights.

Gemma's norms store w and scale by 1 + w. Scales of a hundred, which the search finds there, leave 1 + w so small that
in bfloat16 w is -1 give or take a rounding step, and outputs move by 0.2. A common factor of all scales of a norm is
free, so there it is chosen for 1 + w to stay as large as it was: a power of two, which changes no rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from suite.compress import llm_compressor
from suite.compress.layers import Outcome
from suite.compress.output_error import check_unchanged, sample_logits
from suite.compress.readers import pattern, readers
from suite.errors import SuiteError
from suite.sample_text import SampleTokens
from suite.variant import Variant

if TYPE_CHECKING:
    import torch


def compress(network: Any, variant: Variant, tokens: SampleTokens | None) -> Outcome:
    """Scale and quantize every linear layer of the blocks in place.

    Raises:
        SuiteError: an architecture whose norms are not known by name, so that nothing would be scaled.
    """
    llm_compressor.load(variant)
    from llmcompressor.modifiers.quantization import QuantizationModifier

    arguments = llm_compressor.scheme(network, variant, symmetric=False)
    assert tokens is not None
    dense = sample_logits(network, tokens)
    scaled: list[str] = []
    spared: list[str] = []
    modifier = _modifier(network, scaled, spared)
    notes = llm_compressor.run(network, variant, [modifier, QuantizationModifier(**arguments)], tokens)
    if not scaled:
        raise SuiteError(
            f"variant {variant.name!r}: awq does not know which norms feed which matrices in architecture "
            f"{network.config.model_type!r}, so it would scale nothing; use rtn or gptq"
        )
    with llm_compressor.unrounded(network):
        notes.append(check_unchanged(network, variant, dense, tokens))
    changes = llm_compressor.settle(network, None)
    return Outcome(changes, [*notes, *llm_compressor.about_spared(spared, "not scaled between their matrices")])


def mappings(network: Any) -> list[Any] | None:
    """What feeds what in blocks with experts or latent attention; None for the library's own table.

    Every norm feeds its readers, attention's value matrix the output matrix, and an expert's up matrix its down
    matrix. The last needs a gate that multiplies what the up matrix gives: gpt-oss adds one to it and cuts it off, so
    there it is left out.
    """
    from llmcompressor.modifiers.transform.awq import AWQMapping

    from suite.models.linearized import Experts

    special = readers(network)
    if special is None:
        return None
    found = [AWQMapping(pattern(norm), [pattern(name) for name in reading]) for norm, reading in special]
    if any(name.endswith(".self_attn.v_proj") for name, _ in network.named_modules()):
        found.append(AWQMapping("re:.*self_attn.v_proj$", ["re:.*self_attn.o_proj$"]))
    plain = all(module.multiplies for module in network.modules() if isinstance(module, Experts))
    place = ".*" if plain else r"(?!.*\.experts\.\d).*"
    found.append(AWQMapping(f"re:{place}up_proj$", [f"re:{place}down_proj$"]))
    return found


def _modifier(network: Any, scaled: list[str], spared: list[str]) -> Any:
    from llmcompressor.modeling.offset_norm import CalibrationOffsetNorm
    from llmcompressor.modifiers.transform.awq import AWQModifier

    from suite.models.linearized import expert_layers

    experts = {name for name, _ in expert_layers(network)}

    class KeptSize(AWQModifier):  # type: ignore[misc]
        """AWQ whose scales leave norms that are stored less one as large as they were, and rare experts alone."""

        def _set_resolved_mappings(self, model: Any) -> None:
            super()._set_resolved_mappings(model)
            scaled.extend(mapping.smooth_name for mapping in self._resolved_mappings)

        def _apply_smoothing(self, model: Any) -> None:
            for mapping in self._resolved_mappings:
                seen = self._smooth_activation_stats.get(mapping.smooth_name)
                if mapping.smooth_name in experts and seen and int(seen[1]) < llm_compressor.FEW_TOKENS:
                    del self._smooth_activation_stats[mapping.smooth_name], self._parent_args_cache[mapping.parent]
                    spared.append(mapping.smooth_name)
            super()._apply_smoothing(model)

        def _compute_best_scale(self, mapping: Any, *args: Any, **more: Any) -> torch.Tensor:
            scales: torch.Tensor = super()._compute_best_scale(mapping, *args, **more)
            if not isinstance(mapping.smooth_layer, CalibrationOffsetNorm):
                return scales
            return scales * _common_factor(mapping.smooth_layer.weight.detach(), scales)

    found = mappings(network)
    return KeptSize() if found is None else KeptSize(mappings=found)


def _common_factor(norm: torch.Tensor, scales: torch.Tensor) -> float:
    """The power of two by which all scales of a norm change, so that its largest weight stays as large as it was.

    Args:
        norm: what the norm multiplies by, [channels].
        scales: what that will be divided by, [channels].
    """
    before = norm.float().abs().max()
    after = (norm.float() / scales.to(norm.device).float()).abs().max()
    if not (before > 0 and after > 0):
        return 1.0
    return 2.0 ** -math.floor(math.log2(float(before / after)))
