"""Constraint expressions: polynomials in columns and challenges, written once and evaluated over any ring.

The prover evaluates an expression on polynomials, the verifier on the columns' values at one point, and the
check of a witness on whole columns of numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


class Expression:
    """A polynomial in cells and challenges; supports +, - and * with expressions and integers."""

    def __add__(self, other: "Expression | int") -> "Expression":
        return Sum((*_terms(self), *_terms(_lift(other))))

    def __mul__(self, other: "Expression | int") -> "Expression":
        return Product(self, _lift(other))

    def __sub__(self, other: "Expression | int") -> "Expression":
        return self + Product(Constant(-1), _lift(other))

    def __radd__(self, other: int) -> "Expression":
        return Constant(other) + self

    def __rmul__(self, other: int) -> "Expression":
        return Constant(other) * self

    def __rsub__(self, other: int) -> "Expression":
        return Constant(other) - self

    def cells(self) -> "Iterator[Cell]":
        """Every cell that occurs, with repetitions."""
        raise NotImplementedError

    def degree(self) -> int:
        """Degree in the cells (challenges are constants)."""
        raise NotImplementedError

    def evaluate(self, leaf: "Callable[[Cell | Challenge], Any]") -> Any:
        """The value, given the values of cells and challenges in any ring that understands integers."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Expression):
    """An integer."""

    value: int

    def cells(self) -> "Iterator[Cell]":
        """None."""
        return iter(())

    def degree(self) -> int:
        """Zero."""
        return 0

    def evaluate(self, leaf: "Callable[[Cell | Challenge], Any]") -> Any:
        """The integer itself."""
        return self.value


@dataclass(frozen=True)
class Cell(Expression):
    """The current row of a column, or its next row (rotation 1)."""

    column: str
    rotation: int = 0

    def cells(self) -> "Iterator[Cell]":
        """Itself."""
        yield self

    def degree(self) -> int:
        """One."""
        return 1

    def evaluate(self, leaf: "Callable[[Cell | Challenge], Any]") -> Any:
        """What `leaf` says."""
        return leaf(self)


@dataclass(frozen=True)
class Challenge(Expression):
    """A challenge of the transcript, by name."""

    name: str

    def cells(self) -> "Iterator[Cell]":
        """None."""
        return iter(())

    def degree(self) -> int:
        """Zero."""
        return 0

    def evaluate(self, leaf: "Callable[[Cell | Challenge], Any]") -> Any:
        """What `leaf` says."""
        return leaf(self)


@dataclass(frozen=True)
class Sum(Expression):
    """A sum of at least one term."""

    terms: tuple[Expression, ...]

    def cells(self) -> Iterator[Cell]:
        """Those of the terms."""
        for term in self.terms:
            yield from term.cells()

    def degree(self) -> int:
        """The largest degree among the terms."""
        return max(term.degree() for term in self.terms)

    def evaluate(self, leaf: "Callable[[Cell | Challenge], Any]") -> Any:
        """The sum of the terms' values."""
        first, *rest = (term.evaluate(leaf) for term in self.terms)
        for value in rest:
            first = first + value
        return first


@dataclass(frozen=True)
class Product(Expression):
    """A product of two factors."""

    left: Expression
    right: Expression

    def cells(self) -> Iterator[Cell]:
        """Those of both factors."""
        yield from self.left.cells()
        yield from self.right.cells()

    def degree(self) -> int:
        """The sum of the factors' degrees."""
        return self.left.degree() + self.right.degree()

    def evaluate(self, leaf: "Callable[[Cell | Challenge], Any]") -> Any:
        """The product of the factors' values."""
        return self.left.evaluate(leaf) * self.right.evaluate(leaf)


def total(terms: "Iterator[Expression] | list[Expression]") -> Expression:
    """The sum of a non-empty series of expressions."""
    return Sum(tuple(part for term in terms for part in _terms(term)))


def _terms(expression: Expression) -> tuple[Expression, ...]:
    return expression.terms if isinstance(expression, Sum) else (expression,)


def _lift(value: Expression | int) -> Expression:
    return Constant(value) if isinstance(value, int) else value
