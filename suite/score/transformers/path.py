"""Which way a network is scored, found by trying: two small items, each way against forward passes without any trick.

`tree` needs an architecture whose tokens meet in attention alone, under masks that transformers makes, with positions
that are given. Convolutions, recurrent states, ALiBi, windows that are counted along the row, all break that; so does a
head that does more than this suite knows. No list of names says which architectures those are: the network is tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from suite.errors import SuiteError, first_line
from suite.holding import holding
from suite.score.transformers.drift import in_float32
from suite.score.transformers.encode import Encoded
from suite.score.transformers.engine import encode_prefix, log_likelihoods, out_of_memory
from suite.score.transformers.tree_mask import FORMS

# windows are this short while a network is tried, so that two small items leave them
_WINDOW = 4
# tokens that both contexts start with, that each goes on with, and of the options of the first one
_SHARED = 6
_OWN = (4, 2)
_OPTIONS = (4, 1, 6)
# How far scores may be off: this share of what another context does to them, or of the largest score, or so many nats.
# Float32 stays below a tenth of that; masks and positions that are wrong are off by more than twice of it in networks
# of small random weights, and by a hundred times in trained ones.
_TOLERANCE = 2e-3
_ROUNDING = 5e-6
_LEAST = 1e-4
# a router of experts may tip over where two of them are nearly equal; that is seen on one draw of tokens, not on two
_TIPPED = 50
# windows that are no part of transformers' masks, and how many tokens sparse attention picks
_LENGTH_NAME = re.compile(r"(?<!sliding_)window(_size)?$|^index_topk$")
# entries of a configuration that change no number
_NAMES = ("_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype")
# what was found, by how networks look; of networks whose modules somebody has changed, by network
_BY_LOOK: dict[str, Any] = {}
_BY_NETWORK: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Path:
    """How a network is scored.

    Attributes:
        backend: ``tree``, ``plain`` or ``single``.
        limit: tokens in a row up to which that is so; longer items are scored one sequence at a time. None: any.
        remarks: why it is not the fastest way, and what else was found; empty for most.
    """

    backend: str
    limit: int | None = None
    remarks: tuple[str, ...] = ()


def path_of(network: Any) -> Path:
    """The fastest way that gives this network's numbers, found once for all networks that look alike.

    Raises:
        SuiteError: later tokens change what the network says of earlier ones: it is no causal language model.
    """
    form = network.config.get_text_config()._attn_implementation
    path: Path = _remembered(network, f"path {form}", lambda: _found(network, form))
    return path


def sharing_refused(network: Any) -> str:
    """Empty when a start that many contexts have in common may be forwarded once and kept (``tree``), else why not."""
    form = network.config.get_text_config()._attn_implementation

    def find() -> tuple[str, bool]:
        trial = _first_trial(network, form, _filled)
        if trial.form != form and trial.off("tree"):
            trial = _Trial(network, form, _alone)
        return trial.off("tree", shared=True), trial.lively

    refused: str = _remembered(network, f"sharing {form}", find)
    return refused


def _remembered(network: Any, what: str, find: Callable[[], tuple[Any, bool]]) -> Any:
    """What `find` found of a network of this class, configuration and structure before, whatever its weights.

    Args:
        find: gives the finding, and whether it holds for other weights too.
    """
    modules = list(network.named_modules())
    settings = {name: value for name, value in network.config.to_dict().items() if name not in _NAMES}
    parts = [f"{name} {type(module).__module__}.{type(module).__qualname__}" for name, module in modules]
    look = hashlib.sha256("\0".join([what, *parts, json.dumps(settings, sort_keys=True, default=str)]).encode())
    key = look.hexdigest()
    changed = any(map(replaced, network.modules()))
    own = _BY_NETWORK.setdefault(network, {})
    for place in (own,) if changed else (own, _BY_LOOK):
        if key in place:
            return place[key]
    with _bare(network):
        found, general = find()
    (_BY_LOOK if general and not changed else own)[key] = found
    return found


def replaced(module: Any) -> bool:
    """Whether somebody (accelerate, llm-compressor) has given a module another forward pass."""
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


def _found(network: Any, form: str) -> tuple[Path, bool]:
    config = network.config.get_text_config()
    in_row, in_batch = length_limits(config)
    first, remarks = _first_trial(network, form, _filled), []
    if not first.finite:
        return Path("plain", in_batch, ("scores of two short items are not finite",)), False
    picking = _picking(config)
    refused = picking or first.off("tree")
    # where longer items are scored without the tree's masks, the library's own must be right too
    if not refused and not (in_row and first.off("single")):
        return Path("tree", in_row), first.lively
    # slower and surer from here on: sequences that are really alone
    trial = _first_trial(network, form, _alone)
    if trial.form != form and (moved := trial.off("single")):
        # a soft cap that sdpa drops without a word, or a mistake in one of the two
        remarks.append(f"{form} attention is another function than {trial.form} attention here: {moved}")
        trial = _Trial(network, form, _alone)
        refused = picking or trial.off("tree")
        if not refused:
            return Path("tree", in_row, tuple(remarks)), trial.lively
    if first.off_from(trial) and trial.off("filled"):
        raise SuiteError(
            f"architecture {network.config.model_type!r}: what it says of a token changes with the tokens behind it; "
            "only causal language models can be scored"
        )
    remarks.append(f"every option gets its own copy of the context: {refused}")
    if padded := trial.off("plain"):
        return Path("single", None, (*remarks, f"sequences are scored one at a time: {padded}")), trial.lively
    return Path("plain", in_batch, tuple(remarks)), trial.lively


Scores = list[NDArray[np.float64]]
Reference = Callable[[Any, Sequence[Encoded]], Scores]


def _first_trial(network: Any, form: str, reference: Reference) -> _Trial:
    """Against eager attention, which is written out step by step, where an architecture has it."""
    try:
        return _Trial(network, "eager", reference)
    except Exception as error:  # code for one form alone stumbles over others in any way; what its own raises is seen
        if out_of_memory(error):
            raise
        return _Trial(network, form, reference)


class _Trial:
    """Two draws of small items, and what forward passes without any trick say of them in one form of attention."""

    def __init__(self, network: Any, form: str, reference: Reference) -> None:
        self.form = form
        self._network = network
        self._reference = reference
        self._draws = [self._draw(0)]

    @property
    def finite(self) -> bool:
        """Whether the network says anything at all."""
        return bool(np.isfinite(np.concatenate(self._draws[0][1])).all())

    @property
    def lively(self) -> bool:
        """Whether contexts matter to the network: where they do not, a mistake changes nothing."""
        return self._draws[0][2] > max(_LEAST, _ROUNDING * float(np.abs(self._draws[0][1][0]).max()))

    def off_from(self, other: _Trial) -> bool:
        """Whether two references differ."""
        (_, ours, _), (_, theirs, tolerance) = self._draws[0], other._draws[0]
        return not np.abs(np.concatenate(ours) - np.concatenate(theirs)).max() <= tolerance

    def off(self, way: str, *, shared: bool = False) -> str:
        """Empty when a way gives the reference's numbers, else how far it is off or what it stumbles over.

        Args:
            way: a backend, or ``filled``: sequences alone, with other tokens behind them.
        """
        for number in range(2):
            if len(self._draws) == number:
                self._draws.append(self._draw(number))
            items, wanted, tolerance = self._draws[number]
            try:
                off = float(np.abs(np.concatenate(self._scores(items, way, shared)) - np.concatenate(wanted)).max())
            except Exception as error:  # an architecture may stumble over masks and positions in any way
                if out_of_memory(error):
                    raise
                return first_line(error)
            if off <= tolerance:
                return ""
            if not off <= _TIPPED * tolerance:
                break
        return f"two short items came out {off:.2g} nats off, where {tolerance:.1g} are allowed"

    def _scores(self, items: Sequence[Encoded], way: str, shared: bool) -> Scores:
        network = self._network
        if way == "filled":
            return [_filled(network, [item], together=False)[0] for item in items]
        form = network.config.get_text_config()._attn_implementation
        if way == "tree" and form not in FORMS:
            raise NotImplementedError(f"{form} attention takes no masks of booleans or numbers")
        prefix = encode_prefix(network, items[0].prefix[:_SHARED]) if shared else None
        return log_likelihoods(network, items, backend=way, shared=prefix)

    def _draw(self, seed: int) -> tuple[list[Encoded], Scores, float]:
        items = _items(self._network, seed)
        with _attention(self._network, self.form):
            wanted = self._reference(self._network, items)
        # the same options behind another context: how much there is to see
        moved = float(np.abs(wanted[0][::2] - wanted[1]).mean())
        return items, wanted, max(_TOLERANCE * moved, _ROUNDING * float(np.abs(wanted[0]).max()), _LEAST)


def length_limits(config: Any) -> tuple[int | None, int | None]:
    """Tokens up to which an architecture does the same whatever else is in a row, and in a batch; None for any number.

    Some do something else beyond a length and count it along the row (a window that is not among the masks, attention
    that gets sharper or looks at its best tokens alone) or over a whole batch (rotary embeddings that have other
    frequencies for long texts). Short items cannot show that, so the configuration is read.
    """
    along = [
        value
        for name, value in vars(config).items()
        if _LENGTH_NAME.search(name) and isinstance(value, int) and not isinstance(value, bool) and value > 0
    ]
    if getattr(config, "attn_temperature_tuning", None):
        along.append(int(config.floor_scale))
    rope = getattr(config, "rope_parameters", None) or {}
    entries = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    key = "original_max_position_embeddings"
    switching = [entry for entry in entries if entry.get("rope_type") == "longrope"]
    over = [int(length) for entry in switching if (length := entry.get(key) or getattr(config, key, None))]
    return min([*along, *over], default=None), min(over, default=None)


def _picking(config: Any) -> str:
    """Why layers that choose or join tokens by blocks of the row take no tree; empty where there are none."""
    kinds = sorted(set(getattr(config, "layer_types", None) or ()))
    bounded = hasattr(config, "index_topk")
    found = [kind for kind in kinds if "compress" in kind or ("sparse" in kind and not bounded)]
    return f"layers of kind {found[0]} go by blocks of the row" if found else ""


def _items(network: Any, seed: int) -> list[Encoded]:
    """Two items of random tokens: contexts that start alike, longer than a window; options of many lengths.

    The second item's options are among the first one's, so that they can be seen behind another context.
    """
    vocabulary = network.get_input_embeddings().weight.shape[0]
    # the first and the last tokens of a vocabulary are often special ones
    first, beyond = vocabulary // 4, max(vocabulary // 2, vocabulary // 4 + 1)
    generator = np.random.default_rng(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(generator.integers(first, beyond, count).tolist())

    shared, options = draw(_SHARED), tuple(map(draw, _OPTIONS))
    contexts = [(*shared, *draw(own)) for own in _OWN]
    return [
        Encoded(context, chosen, (0,) * len(chosen))
        for context, chosen in zip(contexts, (options, options[::2]), strict=True)
    ]


def _alone(network: Any, items: Sequence[Encoded]) -> Scores:
    """Each option in a sequence and a forward pass of its own."""
    return log_likelihoods(network, items, backend="single")


def _filled(network: Any, items: Sequence[Encoded], *, together: bool = True) -> Scores:
    """Each option in a sequence of its own, filled up with tokens behind it: no mask, no padding.

    Whatever stands behind an option, a causal model does not know of it; so one forward pass serves for all.
    """
    import torch

    rows = [item.prefix + branch for item in items for branch in item.branches]
    longest = max(map(len, rows)) + 1
    filled = [[*row, *items[0].prefix][:longest] for row in rows]
    device = network.get_input_embeddings().weight.device
    with torch.inference_mode():
        parts = [filled] if together else [[row] for row in filled]
        logits = [network(input_ids=torch.tensor(part, device=device), use_cache=False).logits for part in parts]
    scores, row = [], iter(torch.cat(logits))
    for item in items:
        values = []
        for branch in item.branches:
            said = next(row)[len(item.prefix) - 1 :][: len(branch)].double().log_softmax(-1)
            values.append(float(said.gather(1, torch.tensor(branch, device=said.device)[:, None]).sum()))
        scores.append(np.array(values))
    return scores


@contextlib.contextmanager
def _bare(network: Any) -> Iterator[None]:
    """Inside, windows are short, nothing is rounded, and 16-bit weights compute in float32.

    Rounding activations makes steps of small differences; 16-bit arithmetic alone moves scores by more than a wrong
    mask may.
    """
    import torch

    with contextlib.ExitStack() as stack:
        for config in _configs(network):
            for name in ("sliding_window", "attention_chunk_size"):
                value = getattr(config, name, None)
                if isinstance(value, int) and value > _WINDOW:
                    stack.enter_context(holding(config, name, _WINDOW))
        for module in network.modules():
            # compressed-tensors' switch
            if hasattr(module, "quantization_scheme"):
                stack.enter_context(holding(module, "quantization_enabled", False))
        if network.get_input_embeddings().weight.dtype != torch.float32:
            stack.enter_context(in_float32(network))
        yield


@contextlib.contextmanager
def _attention(network: Any, form: str) -> Iterator[None]:
    """Inside, a network computes attention in that form."""
    with contextlib.ExitStack() as stack:
        for config in _configs(network):
            stack.enter_context(holding(config, "_attn_implementation_internal", form))
        yield


def _configs(network: Any) -> list[Any]:
    found = [getattr(module, "config", None) for module in network.modules()]
    found += [network.config, network.config.get_text_config()]
    return list({id(config): config for config in found if hasattr(config, "_attn_implementation")}.values())
