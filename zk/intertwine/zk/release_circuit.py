"""The constraints of the release statement, and the witness that satisfies them.

A vector of d entries takes ceil(d/4088) pages; page p holds the entries from 4088·p on, one a row. All pages
share one set of rows, so one accumulator adds up the norm of the whole vector. On a page's rows below its
last entry nothing is constrained and nothing counted: the page's selector switches off every gate, lookup and
norm term that reads them.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from intertwine.zk.circuit import Circuit, Gate, Lookup, Table
from intertwine.zk.domain import CLOSING_ROW, DATA_ROWS
from intertwine.zk.expression import Cell, Expression, total
from intertwine.zk.sampler import Sampler, sampler

LIMB_BITS = 11
LIMBS = 5
RANGE = Table("range", 0, tuple((value,) for value in range(1 << LIMB_BITS)))

DATA, CLOSING = f"rows_{DATA_ROWS}", "row_closing"


def page_sizes(dimension: int) -> list[int]:
    """How many entries each page holds."""
    return [min(DATA_ROWS, dimension - start) for start in range(0, dimension, DATA_ROWS)]


@lru_cache(maxsize=16)
def release_circuit(sigma: int, dimension: int, norm_bound: int) -> Circuit:
    """u = g + z, ‖g‖₂ ≤ norm_bound, z = sample(r + b mod 2^B), for committed r and g and public u and b."""
    chosen, sizes = sampler(sigma), page_sizes(dimension)
    gates: list[Gate] = []
    lookups: list[Lookup] = []
    for page, size in enumerate(sizes):
        gates += _page_gates(page, size)
        lookups += _page_lookups(page, size, chosen)
    gates += _norm_gates(sizes, norm_bound)
    selectors = {_rows(size) for size in sizes} | {_range_selector(0, sizes[0]), DATA, CLOSING}
    pages = range(len(sizes))
    return Circuit(
        name=f"release sigma={sigma} bits={chosen.bits} dimension={dimension} norm_bound={norm_bound}",
        public=(*sorted(selectors), *(f"{name}[{page}]" for page in pages for name in "ub")),
        committed=tuple(f"{name}[{page}]" for page in pages for name in "rg"),
        witness=(*(name for page in pages for name in _page_witness(page)), "norm"),
        own_gates=tuple(gates),
        lookups=tuple(lookups),
    ).check_shape()


def _page_witness(page: int) -> list[str]:
    return [f"{name}[{page}]" for name in ("carry", "sign", *_limb_names("below"), *_limb_names("above"))]


def _page_gates(page: int, size: int) -> list[Gate]:
    carry, sign = Cell(f"carry[{page}]"), Cell(f"sign[{page}]")
    return [
        Gate(f"carry_boolean[{page}]", _rows(size), carry * carry - carry),
        Gate(f"sign_boolean[{page}]", _rows(size), sign * sign - sign),
    ]


def _page_lookups(page: int, size: int, chosen: Sampler) -> list[Lookup]:
    """T_lo ≤ t′ < T_hi for the row (|z|, T_lo, T_hi) with |z| = ±(u - g).

    t′ = r + b - carry·2^B - sign·2^(B-1). As t′ - below = T_lo and t′ + 1 + above = T_hi with both
    differences in [0, 2^55), t′ is an integer in its interval; the intervals are disjoint and lie in [0,
    2^(B-1)), so r + b determines carry, sign and |z|.
    """
    r, g, u, b, carry, sign = (Cell(f"{name}[{page}]") for name in ("r", "g", "u", "b", "carry", "sign"))
    remainder = r + b - (1 << chosen.bits) * carry - (1 << (chosen.bits - 1)) * sign
    below, above = _limbs("below", page), _limbs("above", page)
    magnitude = (1 - 2 * sign) * (u - g)
    interval = (magnitude, remainder - _compose(below), remainder + 1 + _compose(above))
    limbs = [(limb,) for limb in (*below, *above)]
    pairs = [tuple(limbs[index : index + 2]) for index in range(0, len(limbs), 2)]
    selector = _range_selector(page, size)
    return [
        *(Lookup(f"limbs_{index}[{page}]", selector, RANGE, pair) for index, pair in enumerate(pairs)),
        Lookup(f"threshold[{page}]", _rows(size), chosen.table, (interval,)),
    ]


def _norm_gates(sizes: list[int], norm_bound: int) -> list[Gate]:
    """norm runs from 0 over Σ g²; on the closing row norm_bound² - norm is made of page 0's limbs."""
    norm = Cell("norm")
    squares = [Cell(_rows(size)) * Cell(f"g[{page}]") * Cell(f"g[{page}]") for page, size in enumerate(sizes)]
    return [
        Gate("norm_first", "row_first", norm),
        Gate("norm_step", DATA, Cell("norm", 1) - norm - total(squares)),
        Gate("norm_bound", CLOSING, norm_bound**2 - norm - _compose(_limbs("below", 0))),
    ]


def selector_columns(dimension: int) -> dict[str, list[int]]:
    """The circuit's public columns that depend on the dimension alone."""
    sizes = page_sizes(dimension)
    columns = {_rows(size): [1] * size for size in (*sizes, DATA_ROWS)}
    columns[CLOSING] = [0] * CLOSING_ROW + [1]
    columns[_range_selector(0, sizes[0])] = [1] * sizes[0] + [0] * (CLOSING_ROW - sizes[0]) + [1]
    return columns


def page_columns(name: str, values: list[int]) -> dict[str, list[int]]:
    """A vector cut into the pages of a column."""
    starts = range(0, len(values), DATA_ROWS)
    return {f"{name}[{page}]": values[start : start + DATA_ROWS] for page, start in enumerate(starts)}


def release_witness(
    chosen: Sampler,
    norm_bound: int,
    randomness: NDArray[np.uint64],
    public_randomness: NDArray[np.uint64],
    gradient: NDArray[np.int64],
) -> dict[str, list[int]]:
    """The witness columns; satisfying if ‖gradient‖ ≤ norm_bound and the update is gradient + noise.

    randomness, public_randomness: shape (d,), below 2^B; gradient: shape (d,), |entries| < 2^20.
    """
    uniform = add_bits(randomness, public_randomness, chosen.bits)
    signs, remainders, rows = chosen.signs_and_magnitudes(uniform)
    table = np.array(chosen.table.rows, dtype=np.uint64)[rows]
    below = remainders - table[:, 1].astype(np.int64)
    above = (table[:, 2] - np.uint64(1)).astype(np.int64) - remainders
    vectors = {"carry": (uniform < randomness).astype(np.int64), "sign": signs}
    vectors |= dict(zip(_limb_names("below"), _split(below), strict=True))
    vectors |= dict(zip(_limb_names("above"), _split(above), strict=True))
    columns = {"norm": _norm_column(gradient)}
    for name, vector in vectors.items():
        columns |= page_columns(name, vector.tolist())
    room = np.array([norm_bound**2 - columns["norm"][-1]])
    for name, limb in zip(_limb_names("below"), _split(room), strict=True):
        column = columns[f"{name}[0]"]
        columns[f"{name}[0]"] = [*column, *[0] * (CLOSING_ROW - len(column)), *limb.tolist()]
    return columns


def add_bits(left: NDArray[np.uint64], right: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    """(left + right) mod 2^bits; both below 2^bits, bits ≤ 64."""
    return (left + right) & np.uint64((1 << bits) - 1)


def _norm_column(gradient: NDArray[np.int64]) -> list[int]:
    squares = np.zeros(DATA_ROWS, dtype=np.int64)
    for start in range(0, len(gradient), DATA_ROWS):
        page = gradient[start : start + DATA_ROWS]
        squares[: len(page)] += page * page
    return [0, *np.cumsum(squares).tolist()]


def _rows(size: int) -> str:
    """Selector of a page's first `size` rows; pages of equal size share it."""
    return f"rows_{size}"


def _range_selector(page: int, size: int) -> str:
    """Page 0's limbs are looked up on the closing row too: there they hold norm_bound² - norm."""
    return f"rows_{size}_and_closing" if page == 0 else _rows(size)


def _limb_names(name: str) -> list[str]:
    return [f"{name}_{index}" for index in range(LIMBS)]


def _limbs(name: str, page: int) -> list[Expression]:
    return [Cell(f"{limb}[{page}]") for limb in _limb_names(name)]


def _compose(limbs: list[Expression]) -> Expression:
    return total([(1 << (LIMB_BITS * index)) * limb for index, limb in enumerate(limbs)])


def _split(values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [(values >> (LIMB_BITS * index)) & ((1 << LIMB_BITS) - 1) for index in range(LIMBS)]
