"""From a model and a variant to a network in memory: the one way for runs, for `suite score` and for Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from suite import sample_text
from suite.errors import SuiteError
from suite.models.device import resolve_device
from suite.models.model import Model, content_parts
from suite.sample_text import SampleTokens, Sampling
from suite.score.scorer import DEFAULT, Scorer, backend
from suite.score.store import content_key
from suite.score.subject import Subject
from suite.variant import Variant, check_dtype

if TYPE_CHECKING:
    from suite.compress import VariantInfo
    from suite.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Conditions:
    """Under which models are loaded and compressed.

    Attributes:
        dtype, device: decided ones, not ``auto`` (see `decide`).
        trust_remote_code: whether code inside a model repository is run.
        sampling: the sample text that data-driven methods read.
        scorer: what runs the model, one of `suite.score.scorer.BACKENDS`.
    """

    dtype: str
    device: str
    trust_remote_code: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    scorer: str = DEFAULT

    def load(self, model: Model) -> Checkpoint:
        """The model in memory."""
        from suite.models.checkpoint import load

        return load(model, dtype=self.dtype, device=self.device, trust_remote_code=self.trust_remote_code)

    def of(self, variant: Variant) -> Conditions:
        """The conditions of a variant, whose name may ask for a number format of its own.

        Raises:
            SuiteError: it is that of these conditions.
        """
        check_dtype(variant, self.dtype)
        return self if variant.dtype is None else replace(self, dtype=variant.dtype)

    def tokens(self, checkpoint: Checkpoint, variant: Variant) -> SampleTokens | None:
        """What `variant` reads of the sample text."""
        return sample_tokens(checkpoint, self.sampling, variant)


def decide(
    dtype: str,
    device: str,
    *,
    trust_remote_code: bool = False,
    sampling: Sampling | None = None,
    scorer: str | None = None,
) -> Conditions:
    """Conditions with ``auto`` decided by this machine."""
    backend(scorer or DEFAULT)
    device = resolve_device(device)
    dtype, _ = resolve_dtype(dtype, device)
    return Conditions(dtype, device, trust_remote_code, sampling or Sampling(), scorer or DEFAULT)


def open_scorer(
    model: Model,
    variant: Variant,
    conditions: Conditions,
    *,
    ready: Model | None = None,
    kept: bool = True,
    making: Callable[[], AbstractContextManager[object]] = nullcontext,
    way: str = "auto",
    remembered: Callable[[str, Callable[[], int]], int] | None = None,
) -> Scorer:
    """The variant of a model before a scorer, ready to be asked; arguments as for `prepare` and `Subject`.

    Raises:
        CellFailure: the scorer does not run this variant.
        SuiteError: as for `prepare`.
    """
    conditions = conditions.of(variant)
    made = partial(prepare, model, variant, conditions, ready=ready, kept=kept, making=making)
    subject = Subject(model, variant, conditions.dtype, conditions.device, made, way, remembered)
    return backend(conditions.scorer).of(subject)


def prepare(
    model: Model,
    variant: Variant,
    conditions: Conditions,
    *,
    ready: Model | None = None,
    kept: bool = True,
    making: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Checkpoint, dict[str, Any]]:
    """The variant of a model in memory, with the `variant` section of its cells.

    Args:
        ready: a checkpoint that is this variant of the model already.
        kept: take a compressed checkpoint from the cache, and put one there, where a method reads sample text.
        making: entered while the variant is made, so that a caller can tell a variant that cannot be made from a model
            that cannot be loaded.

    Raises:
        SuiteError: a model that cannot be loaded or a variant that cannot be made of it.
    """
    from suite.compress import reads_text, recipe_for
    from suite.compress.cache import find, keep
    from suite.compress.ready_made import load_ready

    if ready is not None:
        with making():
            return load_ready(
                ready,
                model,
                variant.name,
                load_as=conditions.load,
                tokens_of=lambda checkpoint: conditions.tokens(checkpoint, variant),
            )
    kept = kept and reads_text(variant)
    recipe = recipe_for(model, variant, sample_recipes(conditions.sampling, [variant])[variant.name])
    parts = {"model": content_parts(model), "variant": variant.name, "recipe": recipe, "dtype": conditions.dtype}
    key = content_key(parts)
    if kept and (found := find(key, model, dtype=conditions.dtype, device=conditions.device)):
        return found
    checkpoint, info = compressed(model, variant, conditions, making=making)
    return checkpoint, (keep(key, checkpoint, info) if kept else info).as_metadata()


def compressed(
    model: Model,
    variant: Variant,
    conditions: Conditions,
    *,
    making: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Checkpoint, VariantInfo]:
    """A model loaded and compressed now, with what was measured on its weights."""
    from suite.compress import apply

    checkpoint = conditions.load(model)
    with making():
        return checkpoint, apply(checkpoint.network, variant, conditions.tokens(checkpoint, variant))


def sample_recipes(sampling: Sampling, variants: Sequence[Variant]) -> dict[str, str]:
    """What of the sample text decides weights, by variant name: bad input is found before anything runs.

    Empty for variants that read none. The text is read once.
    """
    from suite.compress import reads_text

    found = dict.fromkeys((variant.name for variant in variants), "")
    readers = [variant for variant in variants if reads_text(variant)]
    if readers:
        text = sample_text.read_sample_text(sampling.source)
        found |= {one.name: sample_text.recipe(text, sampling.drawn_with(one.sample_seed)) for one in readers}
    return found


def sample_tokens(checkpoint: Checkpoint, sampling: Sampling, variant: Variant) -> SampleTokens | None:
    """Sample text as a model's tokens: what a method reads, and what the output error is measured on.

    Returns:
        None for ``dense``, and where the default text is not installed and the variant can do without.

    Raises:
        SuiteError: a text that is missing or too short for a variant that reads it.
    """
    from suite.compress import reads_text

    if variant.family == "dense":
        return None
    try:
        text = sample_text.read_sample_text(sampling.source)
        drawn = sampling.drawn_with(variant.sample_seed)
        tokens = sample_text.tokenize(text, drawn, checkpoint.tokenizer, bos=checkpoint.bos)
        checkpoint.check_tokens([*tokens.ids.flat, *tokens.check.flat], f"sample text {text.name}")
        return tokens
    except SuiteError:
        # the row's relative output error then is empty
        if reads_text(variant) or sampling != Sampling():
            raise
        return None


def resolve_dtype(dtype: str, device: str) -> tuple[str, dict[str, float]]:
    """``auto`` becomes what a short measurement on this machine favours.

    Returns:
        The dtype and the measured speeds in GFLOP/s (empty when nothing was measured).
    """
    from suite.models.dtype import measure_dtypes, pick_dtype

    if dtype != "auto":
        return dtype, {}
    speeds = measure_dtypes(device)
    return pick_dtype(speeds), {name: round(speed, 1) for name, speed in speeds.items()}
