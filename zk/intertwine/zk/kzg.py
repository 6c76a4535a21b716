"""Group operations: multi-scalar multiplication, commitments, and strict decoding of points.

Wraps py_arkworks_bls12381, whose `multiexp_unchecked` truncates silently on unequal lengths, whose
`Scalar(int)` reduces silently, and whose decoder accepts several encodings of infinity.
"""

from collections.abc import Sequence

from py_arkworks_bls12381 import G1Point, Scalar

from intertwine.zk import field
from intertwine.zk.domain import DATA_ROWS
from intertwine.zk.field import MODULUS, SCALAR_BYTES

POINT_BYTES = 48


_SMALL = [Scalar.from_le_bytes(field.encode(value)) for value in range(2048)]
"""Most scalars are limbs."""


def scalars(values: Sequence[int]) -> list[Scalar]:
    """Group scalars from integers, reduced mod r."""
    count, decode = len(_SMALL), Scalar.from_le_bytes
    return [
        _SMALL[value] if 0 <= value < count else decode((value % MODULUS).to_bytes(SCALAR_BYTES, "little"))
        for value in values
    ]


def multiexp(points: Sequence[G1Point], values: Sequence[int]) -> G1Point:
    """Sum of values[i]·points[i]; raises ValueError on unequal lengths."""
    if len(points) != len(values):
        raise ValueError(f"{len(points)} points but {len(values)} scalars")
    return G1Point.multiexp_unchecked(list(points), scalars(values))


def commit_column(lagrange: Sequence[G1Point], column: Sequence[int]) -> G1Point:
    """Commitment to a column given by its 4096 rows.

    The blinding rows go separately and small negative values are shifted by a constant, since the cost of a
    multi-scalar multiplication grows with its largest scalar. The Lagrange points add up to the generator.
    """
    data, blinding = column[:DATA_ROWS], column[DATA_ROWS:]
    shift = max(0, -min(data))
    shifted = multiexp(lagrange[:DATA_ROWS], [value + shift for value in data])
    correction = multiexp(
        [*lagrange[DATA_ROWS:], *([G1Point()] if shift else [])],
        [*(value + shift for value in blinding), *([-shift] if shift else [])],
    )
    return shifted + correction


def encode_point(point: G1Point) -> bytes:
    """48 bytes, compressed (the encoding of the BLS signature drafts)."""
    return bytes(point.to_compressed_bytes())


def decode_point(data: bytes) -> G1Point:
    """The inverse of `encode_point`.

    Raises ValueError unless the bytes are the one canonical encoding of a point of the subgroup that is not
    the identity.
    """
    if not isinstance(data, bytes) or len(data) != POINT_BYTES:
        raise ValueError(f"not {POINT_BYTES} bytes")
    point = G1Point.from_compressed_bytes(data)
    if point == G1Point.identity() or encode_point(point) != data:
        raise ValueError("not the canonical encoding of a point other than the identity")
    return point
