"""The evaluation domain H: the 4096th roots of unity, and how its rows are used.

Rows 0..4087 carry data, row 4088 closes the sums, rows 4089..4095 of every witness column are uniformly
random and hide it. A column is the polynomial of degree below 4096 whose value at OMEGA^i is row i.
"""

from collections.abc import Sequence
from typing import Any

from intertwine.zk import field
from intertwine.zk.field import MODULUS

SIZE = 4096
DATA_ROWS = 4088
CLOSING_ROW = 4088
ACTIVE_ROWS = 4089
"""Rows that a constraint may see: data and closing row."""
BLINDING_ROWS = SIZE - ACTIVE_ROWS
OMEGA = pow(7, (MODULUS - 1) // SIZE, MODULUS)


def _powers(base: int, count: int) -> list[int]:
    powers = [1]
    for _ in range(count - 1):
        powers.append(powers[-1] * base % MODULUS)
    return powers


ROOTS = _powers(OMEGA, SIZE)
"""OMEGA^i, i = 0..4095."""

# Bluestein: jk = (j² + k² - (k-j)²)/2, so the inverse transform is one convolution with THETA^(m²), where
# THETA² = OMEGA. THETA^(m²) has period 4096 in m, so the convolution is cyclic and half as long as usual.
_THETA_POWERS = _powers(pow(7, (MODULUS - 1) // (2 * SIZE), MODULUS), 2 * SIZE)
_CHIRP = [_THETA_POWERS[index * index % (2 * SIZE)] for index in range(SIZE)]
_INVERSE_CHIRP = [_THETA_POWERS[-index * index % (2 * SIZE)] for index in range(SIZE)]
_CHIRP_POLYNOMIAL = field.polynomial(_CHIRP)
_SCALE = pow(SIZE, -1, MODULUS)
_OUTPUT_CHIRP = [value * _SCALE % MODULUS for value in _INVERSE_CHIRP]


def interpolate(values: Sequence[int]) -> Any:
    """The polynomial of degree < 4096 with these values on H; missing rows at the end are zero."""
    if len(values) > SIZE:
        raise ValueError(f"{len(values)} values do not fit into {SIZE} rows")
    twisted = [value * chirp % MODULUS for value, chirp in zip(values, _INVERSE_CHIRP, strict=False)]
    product = field.polynomial(twisted) * _CHIRP_POLYNOMIAL
    folded = _coefficients(product.truncate(SIZE) + product.right_shift(SIZE))
    return field.polynomial(
        [value * chirp % MODULUS for value, chirp in zip(folded, _OUTPUT_CHIRP, strict=False)]
    )


def rotate(column: Any) -> Any:
    """The polynomial f(OMEGA·X): on H, every row sees the next row of f."""
    return field.polynomial(
        [value * root % MODULUS for value, root in zip(_coefficients(column), ROOTS, strict=False)]
    )


def divide_by_vanishing(dividend: Any) -> tuple[Any, Any]:
    """Quotient and remainder of a polynomial by X^4096 - 1."""
    quotient = field.polynomial([])
    while dividend.degree() >= SIZE:
        high = dividend.right_shift(SIZE)
        quotient += high
        dividend = dividend.truncate(SIZE) + high
    return quotient, dividend


def vanishing_at(point: int) -> int:
    """The value of X^4096 - 1."""
    return (pow(point, SIZE, MODULUS) - 1) % MODULUS


def lagrange_at(point: int) -> list[int]:
    """The values at `point` of the 4096 Lagrange polynomials of H; ZeroDivisionError if the point is in H."""
    scale = vanishing_at(point) * _SCALE % MODULUS
    inverses = field.batch_inverse([(point - root) % MODULUS for root in ROOTS])
    return [scale * root % MODULUS * inverse % MODULUS for root, inverse in zip(ROOTS, inverses, strict=True)]


def _coefficients(poly: Any) -> list[int]:
    return [int(value) for value in poly.coeffs()]
