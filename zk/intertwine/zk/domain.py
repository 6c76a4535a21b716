"""The evaluation domain H: the 4096th roots of unity, and how its rows are used.

Rows 0..4087 carry data, rows 4088..4095 of every secret column are uniformly random and hide it. A column is
the polynomial of degree below 4096 whose value at OMEGA^i is row i.
"""

from collections.abc import Sequence
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from intertwine.zk import field
from intertwine.zk.field import MODULUS

SIZE = 4096
DATA_ROWS = 4088
"""Rows that constraints hold on."""
BLINDING_ROWS = SIZE - DATA_ROWS
OMEGA = pow(7, (MODULUS - 1) // SIZE, MODULUS)


ROOTS = field.powers(OMEGA, SIZE)
"""OMEGA^i, i = 0..4095."""

_ROOTS = field.array(ROOTS)

# Bluestein: jk = (j² + k² - (k-j)²)/2, so the inverse transform is one convolution with THETA^(m²), where
# THETA² = OMEGA. THETA^(m²) has period 4096 in m, so the convolution is cyclic and half as long as usual.
_THETA_POWERS = field.powers(pow(7, (MODULUS - 1) // (2 * SIZE), MODULUS), 2 * SIZE)
_CHIRP = field.polynomial([_THETA_POWERS[index * index % (2 * SIZE)] for index in range(SIZE)])
_INVERSE_CHIRP = [flint.fmpz(_THETA_POWERS[-index * index % (2 * SIZE)]) for index in range(SIZE)]
SCALE = pow(SIZE, -1, MODULUS)
"""1/4096."""
_OUTPUT_CHIRP = [field.element(int(value) * SCALE) for value in _INVERSE_CHIRP]


def interpolate(values: Sequence[int] | NDArray[np.object_]) -> Any:
    """The polynomial of degree < 4096 with these values on H; missing rows at the end are zero."""
    if len(values) > SIZE:
        raise ValueError(f"{len(values)} values do not fit into {SIZE} rows")
    twisted = [value * chirp for value, chirp in zip(values, _INVERSE_CHIRP, strict=False)]
    product = field.polynomial(flint.fmpz_poly(twisted)) * _CHIRP
    folded = product.truncate(SIZE) + product.right_shift(SIZE)
    return field.polynomial(
        [value * chirp for value, chirp in zip(folded.coeffs(), _OUTPUT_CHIRP, strict=False)]
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


def blinding_vanishing() -> Any:
    """The polynomial that vanishes on the blinding rows and nowhere else."""
    product = field.polynomial([1])
    for root in ROOTS[DATA_ROWS:]:
        product *= field.polynomial([-root, 1])
    return product


def blinding_vanishing_at(point: int) -> int:
    """The value of the polynomial that vanishes on the blinding rows."""
    product = 1
    for root in ROOTS[DATA_ROWS:]:
        product = product * (point - root) % MODULUS
    return product


class Evaluator:
    """Evaluates columns at one point from their rows; missing rows at the end are zero.

    The barycentric formula: f(x) = (x^n - 1)/n · Σ f_i·ω^i/(x - ω^i). ZeroDivisionError if the point is in H.
    """

    def __init__(self, point: int) -> None:
        self._scale = vanishing_at(point) * SCALE % MODULUS
        self._differences = field.element(point) - _ROOTS
        self._weights: list[int] = []

    def __call__(self, rows: Sequence[int]) -> int:
        """The value of the column with these rows."""
        if len(rows) > len(self._weights):
            inverses = field.batch_inverse(self._differences[: len(rows)])
            self._weights = list(map(int, inverses * _ROOTS[: len(rows)]))
        return self._scale * field.inner_product(rows, self._weights) % MODULUS

    def row(self, index: int) -> int:
        """The value of the column that is 1 in this row and 0 in all others."""
        return int(field.element(self._scale) * _ROOTS[index] / self._differences[index])

    def inverses(self, denominators: field.Elements) -> int:
        """The value of the column with rows 1/denominators[i]."""
        size = len(denominators)
        total = field.sum_of_quotients(_ROOTS[:size], denominators * self._differences[:size])
        return int(field.element(self._scale) * total)
