"""The scalar field of BLS12-381: arithmetic on Python integers, python-flint objects and their encodings.

Vectors are lists of integers in [0, MODULUS); polynomials and single values that see much arithmetic are
python-flint objects of the contexts below.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, TypeAlias

import flint
import numpy as np
from numpy.typing import NDArray

MODULUS = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order r of the groups, a prime of 255 bits."""

SCALAR_BYTES = 32

_FIELD = flint.fmpz_mod_ctx(MODULUS)
_POLYNOMIALS = flint.fmpz_mod_poly_ctx(_FIELD)


Elements: TypeAlias = NDArray[np.object_]
"""A vector of python-flint field elements."""


def element(value: int) -> Any:
    """`value` mod r as a python-flint field element."""
    return _FIELD(value)


def polynomial(coefficients: Any) -> Any:
    """The polynomial with these coefficients, a list or a python-flint polynomial, constant term first."""
    return _POLYNOMIALS(coefficients)


def encode(value: int) -> bytes:
    """32 bytes, little-endian, of the representative in [0, r)."""
    return (value % MODULUS).to_bytes(SCALAR_BYTES, "little")


def encode_all(values: Iterable[int]) -> bytes:
    """The encodings of all values, concatenated."""
    return b"".join([(value % MODULUS).to_bytes(SCALAR_BYTES, "little") for value in values])


def decode(data: bytes) -> int:
    """The inverse of `encode`; raises ValueError for a wrong length or a value that is not below r."""
    value = int.from_bytes(data, "little")
    if len(data) != SCALAR_BYTES or value >= MODULUS:
        raise ValueError("not the canonical encoding of a field element")
    return value


def reduce_uniform(data: bytes) -> int:
    """64 uniform bytes to a field element whose distance from uniform is below 2^-256."""
    if len(data) != 64:
        raise ValueError("64 bytes are needed")
    return int.from_bytes(data, "little") % MODULUS


def array(values: Iterable[int]) -> Elements:
    """Field elements whose arithmetic is numpy's loops over python-flint's."""
    return np.array([_FIELD(value) for value in values], dtype=object)


def batch_inverse(values: Elements) -> Elements:
    """Inverses of all elements by one exponentiation; ZeroDivisionError if one is zero.

    Montgomery's trick as a tree: products of pairs upwards, inverses of each half downwards.
    """
    levels = [values]
    while len(levels[-1]) > 1:
        level = levels[-1]
        half = len(level) // 2
        levels.append(np.append(level[0 : 2 * half : 2] * level[1 : 2 * half : 2], level[2 * half :]))
    inverses = np.array([1 / root for root in levels.pop()], dtype=object)
    for level in reversed(levels):
        half = len(level) // 2
        below = np.empty(len(level), dtype=object)
        below[0 : 2 * half : 2] = inverses[:half] * level[1 : 2 * half : 2]
        below[1 : 2 * half : 2] = inverses[:half] * level[0 : 2 * half : 2]
        below[2 * half :] = inverses[half:]
        inverses = below
    return inverses


def sum_of_quotients(numerators: Elements, denominators: Elements) -> Any:
    """Σ numerators[i]/denominators[i] by one inversion; ZeroDivisionError if a denominator is zero."""
    while len(denominators) > 1:
        half = len(denominators) // 2
        (a, b), (c, d) = ((x[:half], x[half : 2 * half]) for x in (numerators, denominators))
        numerators = np.append(a * d + b * c, numerators[2 * half :])
        denominators = np.append(c * d, denominators[2 * half :])
    return numerators[0] * (1 / denominators[0])  # 0/0 would be 0


def powers(base: int, count: int) -> list[int]:
    """base^0, base^1, …, mod r."""
    return list(accumulate(range(count - 1), lambda power, _: power * base % MODULUS, initial=1))


def inner_product(left: Iterable[int], right: Iterable[int]) -> int:
    """Sum of the products, mod r; stops at the end of the shorter vector (missing entries are zero)."""
    return sum(a * b for a, b in zip(left, right, strict=False)) % MODULUS
