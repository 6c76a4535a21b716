"""Polynomials in the form that is cheapest so far: by values on H, by coefficients, or as a sum of both.

Sums and multiples of columns cost little on values; only a product needs coefficients. So a column that
occurs only linearly is never interpolated by itself.
"""

from functools import cached_property
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

    @cached_property
    def polynomial(self) -> Any:
        """Its coefficients."""
        parts = [] if self._coefficients is None else [self._coefficients]
        if self._values is not None:
            parts.append(domain.interpolate(self._values))
        return sum(parts[1:], start=parts[0]) if parts else field.polynomial([])

    def __add__(self, other: Operand) -> "Form":
        if isinstance(other, int):
            other = Form(np.full(SIZE, other, dtype=object))
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
