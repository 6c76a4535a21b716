"""The domain H and values of columns outside it (`ARGUMENT.md` section 1)."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat
from operator import mul
from typing import TypeVar

T = TypeVar("T")

MODULUS = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
ROWS = 4096
DATA_ROWS = 4088
OMEGA = pow(7, (MODULUS - 1) // ROWS, MODULUS)


def powers(base: int, count: int) -> list[int]:
    """base^0, base^1, … mod r."""
    return list(
        accumulate(repeat(base, count - 1), lambda power, factor: power * factor % MODULUS, initial=1)
    )


# ω^i in row order.
POINTS = tuple(powers(OMEGA, ROWS))


def page_count(entries: int) -> int:
    """How many pages a vector of that many entries takes."""
    return -(-entries // DATA_ROWS)


def pages_of(vector: Sequence[T]) -> list[Sequence[T]]:
    """The vector cut into pages of at most 4088 entries."""
    return [vector[start : start + DATA_ROWS] for start in range(0, len(vector), DATA_ROWS)]


def inverses(values: Sequence[int]) -> list[int]:
    """1/v mod r for every v, with one inversion (Montgomery's trick); ZeroDivisionError if one is 0 mod r."""
    prefixes = list(accumulate(values, lambda product, value: product * value % MODULUS, initial=1))
    if prefixes[-1] == 0:
        raise ZeroDivisionError("a value has no inverse")
    suffix = pow(prefixes[-1], -1, MODULUS)
    result = [0] * len(values)
    for index in reversed(range(len(values))):
        result[index] = suffix * prefixes[index] % MODULUS
        suffix = suffix * values[index] % MODULUS
    return result


def lagrange(point: int) -> list[int]:
    """L_i(point) = ω^i·(point^4096 − 1)/(4096·(point − ω^i)) for every row i; `point` outside H."""
    scale = vanishing(point) * pow(ROWS, -1, MODULUS) % MODULUS
    denominators = inverses([point - root for root in POINTS])
    return [
        root * inverse % MODULUS * scale % MODULUS for root, inverse in zip(POINTS, denominators, strict=True)
    ]


def evaluate(rows: Iterable[int], basis: Sequence[int]) -> int:
    """The value of a column at the point of `basis` = lagrange(point); rows that are not given are 0."""
    total: int = sum(map(mul, rows, basis))
    return total % MODULUS


def vanishing(point: int) -> int:
    """point^4096 − 1, which is 0 on H."""
    return pow(point, ROWS, MODULUS) - 1


def blind_vanishing(point: int) -> int:
    """Z_B(point), which is 0 on rows 4088 … 4095."""
    product = 1
    for root in POINTS[DATA_ROWS:]:
        product = product * (point - root) % MODULUS
    return product
