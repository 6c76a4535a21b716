"""The scalar field of BLS12-381: arithmetic on Python integers, python-flint objects and their encodings.

Vectors are lists of integers in [0, MODULUS); polynomials and single values that see much arithmetic are
python-flint objects of the contexts below.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import flint

MODULUS = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order r of the groups, a prime of 255 bits."""

SCALAR_BYTES = 32

_FIELD = flint.fmpz_mod_ctx(MODULUS)
_POLYNOMIALS = flint.fmpz_mod_poly_ctx(_FIELD)


def element(value: int) -> Any:
    """`value` mod r as a python-flint field element."""
    return _FIELD(value)


def polynomial(coefficients: Any) -> Any:
    """The polynomial with these coefficients, a list or a python-flint polynomial, constant term first."""
    return _POLYNOMIALS(coefficients)


def encode(value: int) -> bytes:
    """32 bytes, little-endian, of the representative in [0, r)."""
    return (value % MODULUS).to_bytes(SCALAR_BYTES, "little")


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


def batch_inverse(values: Sequence[int]) -> list[int]:
    """Inverses of all values by one exponentiation (Montgomery's trick); ZeroDivisionError if one is zero."""
    prefixes = list(accumulate(values, lambda left, right: left * right % MODULUS, initial=1))
    if prefixes[-1] == 0:
        raise ZeroDivisionError("zero has no inverse")
    inverse = pow(prefixes[-1], -1, MODULUS)
    inverses = [0] * len(values)
    for index in range(len(values) - 1, -1, -1):
        inverses[index] = inverse * prefixes[index] % MODULUS
        inverse = inverse * values[index] % MODULUS
    return inverses


def powers(base: int, count: int) -> list[int]:
    """base^0, base^1, …, mod r."""
    return list(accumulate(range(count - 1), lambda power, _: power * base % MODULUS, initial=1))


def inner_product(left: Iterable[int], right: Iterable[int]) -> int:
    """Sum of the products, mod r; stops at the end of the shorter vector (missing entries are zero)."""
    return sum(a * b for a, b in zip(left, right, strict=False)) % MODULUS
