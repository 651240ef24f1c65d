"""Where levels stand: the nominal amounts of variants, bits or percent zeros."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suite.arrays import Floats
from suite.errors import SuiteError
from suite.variant import parse_variant

BITS, ZEROS = "bits", "percent zeros"


def nominal_amounts(names: Sequence[str]) -> tuple[Floats | None, str]:
    """Bits or percent zeros of variants, where that is all they differ in.

    >>> nominal_amounts(["rtn-w8", "rtn-w4"])
    (array([8., 4.]), 'bits')
    >>> nominal_amounts(["wanda-s30", "wanda-s50"])
    (array([30., 50.]), 'percent zeros')
    """
    try:
        variants = [parse_variant(name) for name in names]
    except SuiteError:
        return None, ""
    bits = [variant.bits for variant in variants]
    zeros = [variant.sparsity for variant in variants]
    others = {(variant.activation_bits, variant.kv_bits, variant.n_of_m) for variant in variants}
    if len(others) > 1:
        return None, ""
    if all(value is not None for value in bits) and len(set(zeros)) == 1 and (len(set(bits)) > 1 or zeros[0] is None):
        return np.array(bits, dtype=np.float64), BITS
    if all(value is not None for value in zeros) and len(set(bits)) == 1 and (len(set(zeros)) > 1 or bits[0] is None):
        return np.round(100 * np.array(zeros, dtype=np.float64), 9), ZEROS
    return None, ""
