"""Variant names: what each one means, how curves are ordered, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suite.cell import cell_file
from suite.errors import SuiteError, unknown_name
from suite.methods import METHODS
from suite.variant import FAMILIES, WEIGHT_BITS, Variant, parse_variant


def one_line(error: SuiteError) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    return message


def refusal(name: str) -> str:
    with pytest.raises(SuiteError) as caught:
        parse_variant(name)
    return one_line(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense", Variant("dense", "dense", "dense")),
        ("rtn-w4", Variant("rtn-w4", "rtn", "quantization", bits=4)),
        ("rtn-w3-g32", Variant("rtn-w3-g32", "rtn", "quantization", bits=3, group=32)),
        ("gptq-w4a4", Variant("gptq-w4a4", "gptq", "activation quantization", bits=4, activation_bits=4)),
        (
            "spinquant-w4a8kv4-g128",
            Variant(
                "spinquant-w4a8kv4-g128",
                "spinquant",
                "activation quantization",
                bits=4,
                activation_bits=8,
                kv_bits=4,
                group=128,
            ),
        ),
        ("gptq-w4kv8", Variant("gptq-w4kv8", "gptq", "activation quantization", bits=4, kv_bits=8)),
        ("gguf-q4_k_m", Variant("gguf-q4_k_m", "gguf-q4_k_m", "quantization", bits=4)),
        ("gguf-iq2_xs", Variant("gguf-iq2_xs", "gguf-iq2_xs", "quantization", bits=2)),
        ("gguf-f16", Variant("gguf-f16", "gguf-f16", "quantization")),
        ("nvfp4", Variant("nvfp4", "nvfp4", "quantization", bits=4, group=16)),
        ("mxfp4", Variant("mxfp4", "mxfp4", "quantization", bits=4, group=32)),
        ("fp8", Variant("fp8", "fp8", "quantization", bits=8)),
        (
            "fp8-dynamic",
            Variant("fp8-dynamic", "fp8-dynamic", "activation quantization", bits=8, activation_bits=8),
        ),
        ("int8-w8a8", Variant("int8-w8a8", "int8", "activation quantization", bits=8, activation_bits=8)),
        ("affine-w4-g64", Variant("affine-w4-g64", "affine", "quantization", bits=4, group=64)),
        ("mixed-3-6", Variant("mixed-3-6", "mixed", "quantization", bits=6, mixed=(3, 6))),
        ("magnitude-s50", Variant("magnitude-s50", "magnitude", "sparsity", sparsity=0.5)),
        ("wanda-s98", Variant("wanda-s98", "wanda", "sparsity", sparsity=0.98)),
        ("wanda-2:4", Variant("wanda-2:4", "wanda", "N:M", sparsity=0.5, n_of_m=(2, 4))),
        ("sparsegpt-4:8", Variant("sparsegpt-4:8", "sparsegpt", "N:M", sparsity=0.5, n_of_m=(4, 8))),
        ("depth-s25", Variant("depth-s25", "depth", "structured", sparsity=0.25)),
        (
            "sparsegpt-2:4+gptq-w4-g64",
            Variant(
                "sparsegpt-2:4+gptq-w4-g64",
                "sparsegpt+gptq",
                "joint",
                bits=4,
                group=64,
                sparsity=0.5,
                n_of_m=(2, 4),
            ),
        ),
    ],
)
def test_a_name_means_one_recipe(name: str, expected: Variant) -> None:
    assert parse_variant(name) == expected
    assert expected.family in FAMILIES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rtm-w4", "did you mean rtn?"),
        ("magnitud-s50", "did you mean magnitude?"),
        ("", "unknown compression method ''"),
        ("4", "Valid: affine, autoround, awq, bnb, ct, dense, depth, fp8"),
        ("rtn", "expected rtn-w<bits>"),
        ("rtn-", "expected rtn-w<bits>"),
        ("rtn-s50", "expected rtn-w<bits>"),
        ("rtn-w4 ", "expected rtn-w<bits>"),
        ("rtn-w4\n", "expected rtn-w<bits>"),
        ("rtn-w7", "7 weight bits out of range, use one of 8, 6, 5, 4, 3, 2"),
        ("rtn-w1", "1 weight bits out of range"),
        ("rtn-w0", "out of range"),
        ("rtn-w16", "16 weight bits out of range"),
        ("gptq-w4a16", "16 activation bits out of range, use one of 8, 4"),
        ("gptq-w4kv2", "2 key-value bits out of range"),
        ("rtn-w4-g7", "group size 7 out of range, use 8 or more"),
        ("rtn-w4-g0", "group size 0 out of range"),
        ("mixed", "expected mixed-<bits>-<bits>, rising"),
        ("mixed-4", "expected mixed-<bits>-<bits>, rising"),
        ("mixed-6-3", "expected mixed-<bits>-<bits>, rising"),
        ("mixed-3-3", "expected mixed-<bits>-<bits>, rising"),
        ("mixed-3-7", "expected mixed-<bits>-<bits>, rising"),
        ("nvfp4-g16", "unknown compression method 'nvfp4'"),
        ("magnitude", "expected magnitude-s<percent>"),
        ("magnitude-w4", "expected magnitude-s<percent>"),
        ("magnitude-s0", "0 % out of range, use 5, 10, 15, ... 95 or 98"),
        ("magnitude-s33", "33 % out of range"),
        ("magnitude-s100", "100 % out of range"),
        ("magnitude-s-50", "expected magnitude-s<percent>"),
        ("wanda-1:4", "pattern 1:4 out of range, use 2:4 or 4:8"),
        ("width-s99", "99 % out of range"),
        ("dense-w4", "expected 'dense', or 'gguf-<type>'"),
        ("gguf-", "expected 'dense', or 'gguf-<type>'"),
        ("gguf-Q4 K", "expected 'dense', or 'gguf-<type>'"),
        ("rtn-w4+magnitude-s50", "<sparse>+<quantized>"),
        ("magnitude-s50+wanda-s50", "<sparse>+<quantized>"),
        ("dense+rtn-w4", "<sparse>+<quantized>"),
        ("magnitude-s50+gguf-q4_0", "<sparse>+<quantized>"),
        ("magnitude-s50+rtn-w4+rtn-w3", "has two parts"),
        ("magnitude-s50+", "unknown compression method ''"),
        pytest.param("rtn-w" + "4" * 5000, "expected rtn-w<bits>", id="five thousand digits of bits"),
        pytest.param("magnitude-s" + "5" * 5000, "expected magnitude-s<percent>", id="five thousand digits"),
    ],
)
def test_what_is_not_a_name_is_refused_in_one_line(name: str, message: str) -> None:
    assert message in refusal(name)


@pytest.mark.parametrize("name", ["rtn-w04", "magnitude-s050", "rtn-w4-g032", "wanda-02:4", "rtn-w٤", "magnitude-s５"])
def test_a_recipe_has_one_spelling(name: str) -> None:
    """Two spellings would be two curves and two files of the same thing."""
    refusal(name)


def test_severity_rises_along_every_curve() -> None:
    quantized = [parse_variant(name) for name in ("dense", *(f"rtn-w{bits}" for bits in WEIGHT_BITS))]
    pruned = [parse_variant(name) for name in ("dense", *(f"magnitude-s{percent}" for percent in range(5, 100, 5)))]
    activations = [parse_variant(name) for name in ("dense", "gptq-w8a8", "gptq-w4a8", "gptq-w4a4", "gptq-w4a4kv4")]
    joint = [parse_variant(f"wanda-s50+{name}") for name in ("gptq-w8", "gptq-w4", "gptq-w3")]
    for curve in (quantized, pruned, activations, joint):
        severities = [variant.severity for variant in curve]
        assert severities == sorted(severities)
        assert len(set(severities)) == len(severities)


def test_a_curve_keeps_method_and_group_apart_from_the_level() -> None:
    same = {parse_variant(name).curve for name in ("rtn-w8-g32", "rtn-w4-g32", "rtn-w2-g32")}
    assert same == {"rtn-g32"}
    curves = {parse_variant(name).curve for name in ("rtn-w4", "rtn-w4-g32", "rtn-w4-g64", "gptq-w4", "wanda-s50")}
    assert len(curves) == 5


def test_a_file_name_has_no_colon() -> None:
    assert cell_file("wanda-2:4") == "wanda-2of4.parquet"
    assert cell_file("wanda-4:8+gptq-w4") == "wanda-4of8+gptq-w4.parquet"
    assert cell_file("rtn-w4-g32") == "rtn-w4-g32.parquet"


LEVEL = r"-?(w\d{1,2})?(a\d)?(kv\d)?(s\d{1,3})?(\d:\d)?(-g\d{1,3})?(@seed\d{1,2})?"
NAMES = st.one_of(
    st.sampled_from([*METHODS, "gguf", "dense"]).flatmap(
        lambda method: st.from_regex(LEVEL, fullmatch=True).map(lambda level: method + level)
    ),
    st.text(max_size=20),
)


@given(name=st.one_of(NAMES, st.lists(NAMES, min_size=2, max_size=3).map("+".join)))
@example(name="wanda-2:4+rtn-w4-g8")
def test_any_text_is_a_variant_or_one_line(name: str) -> None:
    try:
        variant = parse_variant(name)
    except SuiteError as error:
        one_line(error)
    else:
        assert variant.name == name
        assert parse_variant(variant.name) == variant
        assert (variant.severity > (0.0, 0.0, 0.0)) or name == "dense" or variant.method.startswith("gguf-")


def test_a_close_name_is_proposed_and_all_are_listed() -> None:
    message = str(unknown_name("task", "arc-esy", ["sciq", "arc-easy", "boolq"]))
    assert message == "unknown task 'arc-esy': did you mean arc-easy? Valid: arc-easy, boolq, sciq"
    assert "did you mean" not in str(unknown_name("task", "zzz", ["sciq"]))


def test_grids_of_checkpoints_made_elsewhere_stand_where_their_bits_put_them() -> None:
    names = ["mixed-3-6", "fp8", "nvfp4", "mixed-4-8", "dense"]
    assert sorted(names, key=lambda name: parse_variant(name).severity) == [
        "dense",
        "fp8",
        "mixed-4-8",
        "mixed-3-6",
        "nvfp4",
    ]
    assert parse_variant("nvfp4").curve == "nvfp4"
