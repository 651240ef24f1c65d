"""A variant: what was done to a model's weights, as named on the command line and in file names.

Names (`<method>-<level>`), with the file name where it differs:

* ``dense``
* quantized ``<method>-w<bits>[a<bits>][kv<bits>][-g<group>]`` and ``gguf-<type>``
* unstructured sparsity ``<method>-s<percent>``
* N:M sparsity ``<method>-2:4`` (file name ``2of4``)
* structured ``depth-s<percent>``, ``width-s<percent>``
* made elsewhere: ``nvfp4``, ``mxfp4``, ``mxfp8``, ``fp8``, ``fp8-dynamic`` (floating-point grids), ``mixed-3-6``
  (weight bits that differ between modules, rising)
* joint ``<sparse>+<quantized>``

Any of them may end in ``@seed<N>``: the same recipe, its sample text drawn with that seed instead of the run's. And
``dense@float32``, ``dense@bfloat16`` and ``dense@repeat`` are dense itself, computed otherwise: in another number
format, or with items in another order, other batches and another number of threads. What they differ by from dense is
noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from suite.errors import SuiteError, unknown_name
from suite.methods import METHODS, PRUNER, QUANTIZER, STRUCTURED

# methods that only checkpoints of others have: bitsandbytes, AutoRound, asymmetric grids of neighbours, integers for
# weights and activations, and compressed-tensors of a method that is not known
MADE_ELSEWHERE = ("bnb", "autoround", "affine", "int8", "ct")
# weight bits, weights that share a scale, and activation bits where the name says so
FLOATS: dict[str, tuple[int, int | None, int | None]] = {
    "nvfp4": (4, 16, None),
    "mxfp4": (4, 32, None),
    "mxfp8": (8, 32, None),
    "fp8": (8, None, None),
    "fp8-dynamic": (8, None, 8),
}
FAMILIES = ("dense", "quantization", "activation quantization", "sparsity", "N:M", "structured", "joint")

WEIGHT_BITS = (8, 6, 5, 4, 3, 2)
ACTIVATION_BITS = (8, 4)
SPARSITIES = (*range(5, 100, 5), 98)

# one spelling a number: w04 would be a second curve and a second file of w4
_N = r"(?:0|[1-9][0-9]{0,5})"
_QUANTIZED = re.compile(rf"w(?P<w>{_N})(a(?P<a>{_N}))?(kv(?P<kv>{_N}))?(-g(?P<g>{_N}))?")
_SPARSE = re.compile(rf"s(?P<s>{_N})")
_N_OF_M = re.compile(rf"(?P<n>{_N}):(?P<m>{_N})")
_MIXED = re.compile(rf"{_N}(-{_N})+")
_SEED = re.compile(rf"seed(?P<seed>{_N})")

COMPUTED_OTHERWISE = ("float32", "bfloat16", "repeat")
"""What may stand behind ``dense@``."""


@dataclass(frozen=True)
class Variant:
    """One compression recipe at one level.

    Attributes:
        name: the name as given, for example ``rtn-w4-g128``.
        method: the algorithm (``rtn``, ``magnitude``, ...); ``a+b`` for joint ones, ``dense`` for none.
        family: one of `FAMILIES`.
        bits: weight bits, None when weights are not quantized.
        activation_bits, kv_bits: bits of activations and of the key-value cache, None when 16-bit.
        group: weights that share one scale along the input dimension; None means one scale an output row.
        sparsity: target fraction of zeros (unstructured, N:M) or of removed structure, 0 to 1; None when not pruned.
        n_of_m: for N:M sparsity, how many of how many neighbours stay.
        mixed: weight bits where they differ between modules, rising; `bits` is then the highest.
        sample_seed: of the sample text, where the name has one of its own; None for that of the run.
        dtype: number format, where the name has one of its own; None for that of the run.
        again: whether dense is scored with items in another order, other batches and another number of threads.
    """

    name: str
    method: str
    family: str
    bits: int | None = None
    activation_bits: int | None = None
    kv_bits: int | None = None
    group: int | None = None
    sparsity: float | None = None
    n_of_m: tuple[int, int] | None = None
    mixed: tuple[int, ...] = ()
    sample_seed: int | None = None
    dtype: str | None = None
    again: bool = False

    @property
    def recipe_name(self) -> str:
        """The name without what stands behind ``@``: what it is a repetition of."""
        return self.name.partition("@")[0]

    @property
    def repeats(self) -> bool:
        """Whether it repeats a recipe, dense included: it has a row, and is no point of a curve and no reference."""
        return self.sample_seed is not None or self.dtype is not None or self.again

    @property
    def curve(self) -> str:
        """What all points of one curve share: the method, and its group size if any; `gguf` for all of its types."""
        if self.method.startswith("gguf-"):
            return "gguf"
        return self.method if self.group is None or self.method in FLOATS else f"{self.method}-g{self.group}"

    @property
    def severity(self) -> tuple[float, float, float]:
        """Sort key along a curve: dense first, then rising severity (fewer bits, more zeros)."""
        if self.family == "dense":
            return (0.0, 0.0, 0.0)
        bits = sum(self.mixed) / len(self.mixed) if self.mixed else self.bits
        lost_bits = 16.0 - (bits if bits is not None else 16)
        lost_activation = 16.0 - (self.activation_bits or 16) + (16.0 - (self.kv_bits or 16)) / 100
        return (self.sparsity or 0.0, lost_bits, lost_activation)


DENSE = Variant(name="dense", method="dense", family="dense")


def curve_title(family: str, curve: str) -> str:
    """A curve's name for readers: a method's curves of different families are told apart.

    >>> curve_title("sparsity", "wanda"), curve_title("N:M", "wanda"), curve_title("activation quantization", "gptq")
    ('wanda', 'wanda N:M', 'gptq, activations too')
    """
    if family == "activation quantization" and curve.partition("-")[0] != "smoothquant":
        return f"{curve}, activations too"
    return f"{curve} N:M" if family == "N:M" else curve


def parse_variant(name: str) -> Variant:
    """Read a variant name.

    Args:
        name: for example ``dense``, ``rtn-w3-g32``, ``magnitude-s50``, ``wanda-2:4``, ``sparsegpt-s50+gptq-w4``.

    Returns:
        The variant, its level checked against the levels the field uses.

    Raises:
        SuiteError: unknown method, or a level that is malformed or out of range.

    >>> parse_variant("rtn-w3-g32").bits, parse_variant("rtn-w3-g32").group
    (3, 32)
    >>> parse_variant("wanda-2:4").n_of_m
    (2, 4)
    >>> parse_variant("gptq-w3@seed1").sample_seed, parse_variant("gptq-w3@seed1").recipe_name
    (1, 'gptq-w3')
    >>> parse_variant("dense@bfloat16").dtype, parse_variant("dense@repeat").again
    ('bfloat16', True)
    """
    recipe, at, ending = name.partition("@")
    if at:
        return _repetition(name, recipe, ending)
    if name == "dense":
        return DENSE
    if "+" in name:
        return _joint(name)
    method, _, level = name.partition("-")
    if method in ("dense", "gguf"):
        if method == "gguf" and re.fullmatch(r"[a-z0-9_]+", level):
            return Variant(name, f"gguf-{level}", "quantization", bits=_gguf_bits(level))
        raise SuiteError(f"variant {name!r}: expected 'dense', or 'gguf-<type>' such as gguf-q4_k_m")
    if name in FLOATS:
        bits, group, act = FLOATS[name]
        family = "activation quantization" if act else "quantization"
        return Variant(name, name, family, bits=bits, activation_bits=act, group=group)
    if method == "mixed":
        return _mixed(name, level)
    if method in MADE_ELSEWHERE:
        return _quantized(name, method, level)
    if method in METHODS:
        return _BY_KIND[METHODS[method].kind](name, method, level)
    made_elsewhere = (*MADE_ELSEWHERE, *FLOATS, "mixed")
    raise unknown_name("compression method", method, ("dense", "gguf", *METHODS, *made_elsewhere))


def known_variant(name: str) -> Variant | None:
    """What a name says; None for one outside the scheme, as scores made elsewhere may have."""
    try:
        return parse_variant(name)
    except SuiteError:
        return None


def is_repeat(name: str) -> bool:
    """Whether a variant repeats another one's recipe (`Variant.repeats`): no point of a curve, nor ranked.

    >>> is_repeat("wanda-s50@seed2"), is_repeat("dense@repeat"), is_repeat("dense"), is_repeat("somebody's@seed2")
    (True, True, False, False)
    """
    variant = known_variant(name)
    return variant is not None and variant.repeats


def check_dtype(variant: Variant, dtype: str) -> None:
    """Raise one line when a variant's own number format is that of the run: it would be dense once more."""
    if variant.dtype == dtype:
        raise SuiteError(
            f"variant {variant.name!r}: the run computes in {dtype} already; use another one, or dense@repeat"
        )


def _repetition(name: str, recipe: str, ending: str) -> Variant:
    seed = _SEED.fullmatch(ending)
    if recipe == "dense" and seed is None:
        if ending not in COMPUTED_OTHERWISE:
            raise SuiteError(f"variant {name!r}: expected {', '.join(f'dense@{way}' for way in COMPUTED_OTHERWISE)}")
        return replace(DENSE, name=name, **({"again": True} if ending == "repeat" else {"dtype": ending}))
    if seed is None:
        raise SuiteError(f"variant {name!r}: expected <variant>@seed<number>, the seed last, such as gptq-w4@seed1")
    if recipe == "dense":
        raise SuiteError(f"variant {name!r}: dense reads no sample text: a seed changes nothing; use 'dense'")
    return replace(parse_variant(recipe), name=name, sample_seed=int(seed["seed"]))


def _quantized(name: str, method: str, level: str) -> Variant:
    match = _QUANTIZED.fullmatch(level)
    if match is None:
        raise SuiteError(
            f"variant {name!r}: expected {method}-w<bits>[a<bits>][kv<bits>][-g<group>], such as {method}-w4-g128"
        )
    bits = int(match["w"])
    if bits not in WEIGHT_BITS:
        raise SuiteError(f"variant {name!r}: {bits} weight bits out of range, use one of {_listed(WEIGHT_BITS)}")
    act = int(match["a"]) if match["a"] else None
    if act is not None and act not in ACTIVATION_BITS:
        raise SuiteError(f"variant {name!r}: {act} activation bits out of range, use one of {_listed(ACTIVATION_BITS)}")
    kv = int(match["kv"]) if match["kv"] else None
    if kv is not None and kv not in ACTIVATION_BITS:
        raise SuiteError(f"variant {name!r}: {kv} key-value bits out of range, use one of {_listed(ACTIVATION_BITS)}")
    group = int(match["g"]) if match["g"] else None
    if group is not None and group < 8:
        raise SuiteError(f"variant {name!r}: group size {group} out of range, use 8 or more (32, 64 and 128 are usual)")
    family = "quantization" if act is None and kv is None else "activation quantization"
    return Variant(name, method, family, bits=bits, activation_bits=act, kv_bits=kv, group=group)


def _mixed(name: str, level: str) -> Variant:
    bits = tuple(int(part) for part in level.split("-")) if _MIXED.fullmatch(level) else ()
    if not bits or list(bits) != sorted(set(bits)) or not set(bits) <= set(WEIGHT_BITS):
        raise SuiteError(
            f"variant {name!r}: expected mixed-<bits>-<bits>, rising, each one of {_listed(WEIGHT_BITS)}, "
            "such as mixed-3-6"
        )
    return Variant(name, "mixed", "quantization", bits=max(bits), mixed=bits)


def _sparse(name: str, method: str, level: str) -> Variant:
    pattern = _N_OF_M.fullmatch(level)
    if pattern is not None:
        n, m = int(pattern["n"]), int(pattern["m"])
        if (n, m) not in ((2, 4), (4, 8)):
            raise SuiteError(f"variant {name!r}: pattern {n}:{m} out of range, use 2:4 or 4:8")
        return Variant(name, method, "N:M", sparsity=1 - n / m, n_of_m=(n, m))
    return Variant(name, method, "sparsity", sparsity=_percent(name, method, level))


def _structured(name: str, method: str, level: str) -> Variant:
    return Variant(name, method, "structured", sparsity=_percent(name, method, level))


_BY_KIND = {QUANTIZER: _quantized, PRUNER: _sparse, STRUCTURED: _structured}


def _percent(name: str, method: str, level: str) -> float:
    match = _SPARSE.fullmatch(level)
    if match is None:
        raise SuiteError(f"variant {name!r}: expected {method}-s<percent>, such as {method}-s50")
    percent = int(match["s"])
    if percent not in SPARSITIES:
        raise SuiteError(f"variant {name!r}: {percent} % out of range, use 5, 10, 15, ... 95 or 98")
    return percent / 100


def _joint(name: str) -> Variant:
    parts = name.split("+")
    if len(parts) != 2:
        raise SuiteError(f"variant {name!r}: a joint variant has two parts, <sparse>+<quantized>")
    sparse, quantized = (parse_variant(part) for part in parts)
    if sparse.sparsity is None or quantized.bits is None or quantized.method.startswith("gguf"):
        raise SuiteError(f"variant {name!r}: a joint variant is <sparse>+<quantized>, such as sparsegpt-s50+gptq-w4")
    return Variant(
        name,
        f"{sparse.method}+{quantized.method}",
        "joint",
        bits=quantized.bits,
        activation_bits=quantized.activation_bits,
        kv_bits=quantized.kv_bits,
        group=quantized.group,
        sparsity=sparse.sparsity,
        n_of_m=sparse.n_of_m,
    )


def _gguf_bits(level: str) -> int | None:
    match = re.match(r"i?q(\d)", level)
    return int(match[1]) if match else None


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values)
