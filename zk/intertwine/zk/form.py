"""Polynomials in the form that is cheapest so far: by values on H, by coefficients, or as a sum of both.

Sums and multiples of columns cost little on values; only a product needs coefficients. So a column that
occurs only linearly is never interpolated by itself, and one that has been interpolated enters later sums by
its coefficients.
"""

from typing import Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from intertwine.zk import domain, field
from intertwine.zk.domain import SIZE
from intertwine.zk.field import MODULUS

_SMALL = 1 << 65
"""Multiples by less stay unreduced: statements multiply by a few such constants only."""

Operand: TypeAlias = Union["Form", int]


class Form:
    """The polynomial of degree below 4096 with these values on H, plus one given by its coefficients."""

    def __init__(self, values: NDArray[np.object_] | None = None, coefficients: Any = None) -> None:
        self._values = values
        self._coefficients = coefficients

    @property
    def polynomial(self) -> Any:
        """Its coefficients; from then on it has no values."""
        if self._values is not None:
            self._coefficients = _sum(self._coefficients, domain.interpolate(self._values))
            self._values = None
        return field.polynomial([]) if self._coefficients is None else self._coefficients

    def __add__(self, other: Operand) -> "Form":
        if isinstance(other, int):
            constant = self._values is None
            other = Form(None, field.polynomial([other])) if constant else Form(np.full(SIZE, other))
        return Form(_sum(self._values, other._values), _sum(self._coefficients, other._coefficients))

    def __mul__(self, other: Operand) -> "Form":
        if isinstance(other, Form):
            return Form(coefficients=self.polynomial * other.polynomial)
        values = None if self._values is None else self._values * other
        if values is not None and abs(other) >= _SMALL:
            values %= MODULUS
        coefficients = None if self._coefficients is None else self._coefficients * field.element(other)
        return Form(values, coefficients)

    def __sub__(self, other: Operand) -> "Form":
        return self + other * -1

    def __radd__(self, other: int) -> "Form":
        return self + other

    def __rmul__(self, other: int) -> "Form":
        return self * other

    def __rsub__(self, other: int) -> "Form":
        return self * -1 + other


def _sum(left: Any, right: Any) -> Any:
    """The sum of what is there."""
    if left is None or right is None:
        return right if left is None else left
    return left + right
